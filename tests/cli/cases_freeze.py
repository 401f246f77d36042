# SPDX-License-Identifier: Apache-2.0
"""freeze and thaw: the vault directory holds still, a copy of it opens, and reads go on meanwhile."""
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

from cases_control import control
from cases_mount import both, get, put
from harness import case, check, snapshot, wait_until, workers_in
from varlink import Client, Refused

# Appends to a file of its own with fsync, and renames; says how far it has come, and stops when told.
LOAD = r'''
import os, sys
folder, n = sys.argv[1], 0
log = os.open(os.path.join(folder, 'log'), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
big = os.open(os.path.join(folder, 'big'), os.O_CREAT | os.O_RDWR)
print('started', flush=True)
while not os.path.exists(sys.argv[2]):
    n += 1
    name = os.path.join(folder, f'name-{n}')
    fd = os.open(name + '.new', os.O_CREAT | os.O_WRONLY)
    os.write(fd, b'%d\n' % n * (n % 3000 + 1))
    os.close(fd)
    os.rename(name + '.new', name)
    if n > 20:
        os.unlink(os.path.join(folder, f'name-{n - 20}'))
    os.pwrite(big, bytes([n % 256]) * 70000, (n * 7919 % 300) * 4096)
    os.write(log, b'%08d\n' % n)
    os.fsync(log)
    print(n, flush=True)
'''


class Load:
    """Processes that change things in the mount, with how far each has come."""

    def __init__(self, w, mnt, count=4):
        self.stop = w.path('stop')
        self.done = [0] * count
        self.processes = []
        for i in range(count):
            folder = os.path.join(mnt, f'load-{i}')
            os.mkdir(folder)
            p = w_process = subprocess.Popen([sys.executable, '-c', LOAD, folder, self.stop], stdout=subprocess.PIPE)
            w.processes.append(w_process)
            p.stdout.readline()
            self.processes.append(p)
            threading.Thread(target=self.follow, args=(i, p), daemon=True).start()

    def follow(self, i, process):
        for line in process.stdout:
            self.done[i] = int(line)

    def going(self, start, more):
        wait_until(lambda: all(now >= before + more for now, before in zip(self.done, start)), 'the load goes on', 60)

    def end(self):
        put(self.stop)
        for p in self.processes:
            check(p.wait(60) == 0, 'the load has failed')


def check_load(folder, low, high):
    """What one process of the load has left: between two of its steps."""
    with open(os.path.join(folder, 'log'), encoding='ascii') as f:
        lines = [int(line) for line in f]
    check(lines == list(range(1, len(lines) + 1)), f'{folder}: the log {lines[-3:]}')
    check(low <= len(lines) <= high, f'{folder}: {len(lines)} steps, not {low} to {high}')
    names = {n for n in os.listdir(folder) if n.startswith('name-') and not n.endswith('.new')}
    numbers = sorted(int(n[5:]) for n in names)
    check(numbers and len(lines) <= numbers[-1] <= len(lines) + 1, f'{folder}: {numbers[-3:]}, {len(lines)} steps')
    for n in numbers[:-2]:
        want = b'%d\n' % n * (n % 3000 + 1)
        with open(os.path.join(folder, f'name-{n}'), 'rb') as f:
            check(f.read() == want, f'{folder}/name-{n}')


@case
def freeze_under_load_makes_a_copy(w):
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    os.mkdir(os.path.join(mnt, 'still'))
    for i in range(50):
        put(os.path.join(mnt, 'still', f'file-{i}'), f'{i} ' * (i * 101))
    load = Load(w, mnt)
    for turn in range(3):
        load.going(list(load.done), 30)
        put(os.path.join(mnt, f'written-just-before-{turn}'), 'x' * 100000)
        w.ok('freeze', mnt)
        # A step that was under way may still have been told as done just now.
        time.sleep(0.2)
        low = list(load.done)
        before = snapshot(v)
        check(get(os.path.join(mnt, 'still', 'file-49')) == '49 ' * 49 * 101, 'reading')
        check(len(os.listdir(os.path.join(mnt, 'still'))) == 50, 'listing')
        state = json.loads(w.ok('status', '--json'))['mounts']
        check([m['frozen'] for m in state if m['mountpoint'] == mnt] == [True], state)
        w.refused(6, 'frozen already', 'freeze', mnt)
        copy = w.path(f'copy-{turn}')
        shutil.copytree(v, copy)
        time.sleep(1)
        check(snapshot(v) == before, 'the vault has changed while it was frozen')
        check(load.done == low, f'changes went on: {low}, {load.done}')
        w.ok('thaw', mnt)
        load.going(low, 5)
        w.mountpoint(f'mnt-{turn}')
        # As on another machine: to this one it is the same vault, which is mounted.
        w.ok('mount', copy, w.path(f'mnt-{turn}'), env=dict(os.environ, XDG_STATE_HOME=w.path(f'state-{turn}')))
        for i in range(50):
            check(get(w.path(f'mnt-{turn}', 'still', f'file-{i}')) == f'{i} ' * (i * 101), f'file-{i} of the copy')
        check(get(w.path(f'mnt-{turn}', f'written-just-before-{turn}')) == 'x' * 100000, 'the last file')
        for i, steps in enumerate(low):
            check_load(w.path(f'mnt-{turn}', f'load-{i}'), steps, steps + 1)
        w.ok('umount', w.path(f'mnt-{turn}'))
    load.end()
    for i, steps in enumerate(load.done):
        check_load(os.path.join(mnt, f'load-{i}'), steps, steps)
    w.ok('umount', mnt)


@case
def freeze_ends_by_itself(w):
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    w.ok('freeze', '--timeout', '1s', mnt)
    put(os.path.join(mnt, 'file'))
    os.rename(os.path.join(mnt, 'file'), os.path.join(mnt, 'other'))
    check(get(os.path.join(mnt, 'other')) == 'hello\n', 'what waited')
    w.refused(14, 'not frozen', 'thaw', mnt)
    w.refused(2, 'is no time', 'freeze', '--timeout', '1 s', mnt)
    w.refused(16, 'out of bounds', 'freeze', '--timeout', '2h', mnt)
    w.refused(16, 'out of bounds', 'freeze', '--timeout', '0', mnt)
    w.refused(14, 'no vault is mounted', 'freeze', w.folder)
    w.refused(14, 'no vault is mounted', 'thaw', '/')
    with Client(control(w)) as client:
        for wrong in (0, 3601, -1):
            try:
                client.call('Freeze', {'timeout_s': wrong})
                check(False, f'{wrong} is taken')
            except Refused as refused:
                check(refused.parameters == {'parameter': 'timeout_s'}, refused)
    w.ok('umount', mnt)


@case
def frozen_vault_is_let_go_by_a_signal(w):
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    put(os.path.join(mnt, 'file'))
    os.mkdir(os.path.join(mnt, 'sub'))
    path = os.path.join(mnt, 'sub', 'dir')
    w.ok('freeze', '--timeout', '1h', mnt)
    waiting = subprocess.Popen([sys.executable, '-c', 'import os, sys; os.mkdir(sys.argv[1])', path],
                               stderr=subprocess.DEVNULL)
    w.processes.append(waiting)
    time.sleep(0.5)
    for pid in workers_in(w.folder):
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not workers_in(w.folder), 'the worker has ended', 40)
    waiting.wait(20)
    w.ok('mount', v, mnt)
    check(get(os.path.join(mnt, 'file')) == 'hello\n', 'content')
    check(waiting.returncode != 0 or os.path.isdir(path), 'an answered name is lost')
    w.ok('umount', mnt)


@case
def many_changes_wait_while_frozen(w):
    """More than there are threads, and reads still go on."""
    v, mnt = both(w)
    w.ok('mount', '-o', 'threads=2', v, mnt)
    put(os.path.join(mnt, 'file'), 'x' * 50000)
    os.mkdir(os.path.join(mnt, 'other'))
    put(os.path.join(mnt, 'other', 'file'))
    w.ok('freeze', mnt)
    script = 'import os, sys\nos.mkdir(sys.argv[1])\nopen(sys.argv[1] + "/f", "w").write(sys.argv[1])'
    waiting = [subprocess.Popen([sys.executable, '-c', script, os.path.join(mnt, f'dir-{i}')]) for i in range(30)]
    w.processes += waiting
    time.sleep(1)
    check(not any(p.poll() is not None for p in waiting), 'a change did not wait')
    with open('/proc/sys/vm/drop_caches', 'w', encoding='ascii') as f:
        f.write('1\n')
    check(get(os.path.join(mnt, 'file')) == 'x' * 50000, 'reading')
    check(os.listdir(os.path.join(mnt, 'other')) == ['file'], 'listing')
    w.ok('thaw', mnt)
    check([p.wait(30) for p in waiting] == [0] * 30, 'a change has failed')
    w.ok('umount', mnt)
    w.ok('mount', v, mnt)
    for i in range(30):
        path = os.path.join(mnt, f'dir-{i}')
        check(get(path + '/f') == path, path)
    w.ok('umount', mnt)


@case
def copy_of_a_frozen_vault_is_checked(w):
    """The machine that has seen what came after it says so; nothing in the copy is wrong."""
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    put(os.path.join(mnt, 'file'))
    w.ok('freeze', mnt)
    shutil.copytree(v, w.path('copy'))
    w.ok('thaw', mnt)
    state = w.env()['XDG_STATE_HOME'] + '/wardfs'
    path = os.path.join(state, os.listdir(state)[0], 'anchor')
    with open(path, 'rb') as f:
        seen = f.read()
    with open(os.path.join(mnt, 'later'), 'wb', buffering=0) as f:
        f.write(b'later')
        os.fsync(f.fileno())

    def told():
        with open(path, 'rb') as f:
            return f.read() != seen

    wait_until(told, 'the anchor was written', 30)
    done = w.run('check', w.path('copy'))
    check(done.returncode == 4 and b"'wardfs accept'" in done.stderr and b'repair nothing' not in done.stderr, repr(done))
    check('0 tampering, 0 damage' in w.ok('check', '--no-anchor', w.path('copy')), 'the copy')
    w.refused(2, ['--no-anchor', '--repair'], 'check', '--no-anchor', '--repair', w.path('copy'))
    w.ok('umount', mnt)


@case
def rotate_of_a_frozen_mount_says_what_it_waits_for(w):
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    w.ok('freeze', mnt)
    process = w.start('rotate', '--extpass', 'echo correct horse', mnt, stdin=subprocess.DEVNULL,
                      stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    line = process.stderr.readline().decode()
    check('warning: ' in line and 'frozen: the rotation waits' in line, line)
    check(process.poll() is None, 'it has ended while the mount was frozen')
    w.ok('thaw', mnt)
    out, errors = process.communicate(timeout=60)
    check(process.returncode == 0 and b'every object has keys' in out, repr((out, errors)))
    w.ok('umount', mnt)
