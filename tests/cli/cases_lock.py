# SPDX-License-Identifier: Apache-2.0
"""lock and unlock, what locks by itself, and wardfsd, which serves many vaults."""
import errno
import json
import os
import signal
import stat
import subprocess
import sys
import time

from cases_control import RUN, control
from cases_mount import both, get, is_clean, put
from harness import Failed, Skipped, case, check, mounted, wait_until, workers_in
from varlink import Client


def state_of(w, mnt):
    """The mount as status tells it, or None."""
    found = [m for m in json.loads(w.ok('status', '--json'))['mounts'] if m['mountpoint'] == mnt]
    return found[0] if found else None


def is_in(w, mnt, state):
    found = state_of(w, mnt)
    return found is not None and found['state'] == state


def fails_with(number, function, *args):
    try:
        function(*args)
    except OSError as error:
        check(error.errno == number, f'{error} instead of {os.strerror(number)}')
        return
    raise Failed(f'no {os.strerror(number)}')


class Daemon:
    """A wardfsd of root."""

    def __init__(self, w, **more):
        if os.path.exists(os.path.join(RUN, 'control')):
            raise Skipped('there is a wardfsd already')
        self.program = os.environ['WARDFSD']
        if not os.path.exists(self.program):
            raise Skipped(f'{self.program} is not built')
        self.process = subprocess.Popen([self.program], stderr=subprocess.PIPE, **more)
        w.processes.append(self.process)
        wait_until(lambda: os.path.exists(os.path.join(RUN, 'control')) or self.process.poll() is not None,
                   'the socket is there')
        check(self.process.poll() is None, 'wardfsd has ended')

    def end(self):
        self.process.terminate()
        check(self.process.wait(60) == 0, 'wardfsd')
        check(not os.path.exists(os.path.join(RUN, 'control')), 'the socket stays')


def lock_and_unlock(w, v, mnt):
    put(os.path.join(mnt, 'file'), 'before\n')
    held = os.open(os.path.join(mnt, 'file'), os.O_RDWR)
    for turn in range(3):
        w.ok('lock', mnt)
        check(is_in(w, mnt, 'locked-with-mount'), 'state')
        fails_with(errno.EKEYREVOKED, os.listdir, mnt)
        fails_with(errno.EKEYREVOKED, os.read, held, 10)
        check(os.stat(mnt).st_ino == 1, 'stat of the mount point')
        w.ok('lock', mnt)  # is nothing new
        w.refused(7, 'locked', 'freeze', mnt)
        w.refused(3, 'wrong', 'unlock', mnt, stdin=b'wrong\n')
        check(is_in(w, mnt, 'locked-with-mount'), 'state after a wrong passphrase')
        w.ok('unlock', mnt)
        check(is_in(w, mnt, 'open'), 'state after unlocking')
        check(os.pread(held, 20, 0) == b'before\n' if turn == 0 else True, 'content through the open file')
        os.pwrite(held, b'turn %d\n' % turn, 0)
        check(get(os.path.join(mnt, 'file')) == f'turn {turn}\n', 'content')
        check([w_ for w_ in workers_in(w.folder) if w_ == state_of(w, mnt)['pid']], 'the worker')
    os.close(held)
    w.refused(15, 'not locked', 'unlock', mnt)


@case
def lock_keeps_the_mount(w):
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    lock_and_unlock(w, v, mnt)
    w.ok('umount', mnt)
    w.ok('mount', v, mnt)
    check(get(os.path.join(mnt, 'file')) == 'turn 2\n', 'content after a mount')
    w.ok('umount', mnt)
    w.refused(14, 'no vault is mounted', 'lock', mnt)
    w.refused(14, 'no vault is mounted', 'unlock', mnt)


@case
def a_locked_mount_can_be_unmounted(w):
    v, mnt = both(w)
    for way in ('umount', 'stop', 'signal'):
        w.ok('mount', v, mnt)
        put(os.path.join(mnt, way))
        w.ok('lock', mnt)
        if way == 'umount':
            w.ok('umount', mnt)
        elif way == 'stop':
            with Client(control(w)) as client:
                client.call('Stop', {'mount': mnt})
        else:
            os.kill(state_of(w, mnt)['broker_pid'], signal.SIGTERM)
        wait_until(lambda: not workers_in(w.folder) and mounted(mnt) is None, f'it has ended by {way}', 40)
        check(is_clean(v), f'the vault is not clean after {way}')
    w.ok('mount', v, mnt)
    check(sorted(os.listdir(mnt)) == ['signal', 'stop', 'umount'], os.listdir(mnt))
    w.ok('umount', mnt)


@case
def lock_all_locks_every_vault(w):
    first, mnt = both(w)
    second = w.vault('second')
    w.mountpoint('mnt2')
    w.ok('mount', first, mnt)
    w.ok('mount', second, w.path('mnt2'))
    others = [m for m in json.loads(w.ok('status', '--json'))['mounts']
              if m['state'] == 'open' and not m['mountpoint'].startswith(w.folder)]
    if others:
        raise Skipped('somebody else has a vault mounted here, which this would lock')
    w.ok('lock', '--all')
    check(is_in(w, mnt, 'locked-with-mount') and is_in(w, w.path('mnt2'), 'locked-with-mount'), 'state')
    w.ok('unlock', mnt)
    w.ok('umount', mnt)
    w.ok('umount', w.path('mnt2'))


@case
def the_death_of_workers_is_survived(w):
    """Of the one with keys, of the one without, of the broker: in each state."""
    v, mnt = both(w)
    for locked in (False, True):
        w.ok('mount', v, mnt)
        put(os.path.join(mnt, f'file-{locked}'))
        if locked:
            w.ok('lock', mnt)
        os.kill(state_of(w, mnt)['pid'], signal.SIGKILL)
        wait_until(lambda: is_in(w, mnt, 'failed'), 'the death is noticed')
        fails_with(errno.ENOTCONN, os.listdir, mnt)
        w.ok('umount', mnt)
        w.ok('mount', v, mnt)
        w.ok('umount', mnt)
        w.ok('mount', v, mnt)
        if locked:
            w.ok('lock', mnt)
        os.kill(state_of(w, mnt)['broker_pid'], signal.SIGKILL)
        wait_until(lambda: not workers_in(w.folder), 'the workers of a dead broker have ended', 40)
        w.run('umount', mnt)
        check(mounted(mnt) is None, 'still mounted')
    w.ok('mount', v, mnt)
    check(sorted(os.listdir(mnt)) == ['file-False', 'file-True'], os.listdir(mnt))
    w.ok('umount', mnt)


@case
def idle_vaults_lock_by_themselves(w):
    v, mnt = both(w)
    w.refused(2, 'no time', 'mount', '--idle', 'soon', v, mnt)
    w.refused(2, 'on_idle=burn', 'mount', '-o', 'on_idle=burn', v, mnt)
    w.ok('mount', '--idle', '2s', v, mnt)
    held = os.open(os.path.join(mnt, 'file'), os.O_CREAT | os.O_RDWR)
    policy = state_of(w, mnt)
    check(policy['policy']['idle_s'] == 2 and policy['next_lock_s'] <= 2, policy)
    until = time.monotonic() + 5
    while time.monotonic() < until:
        os.listdir(mnt)
        os.mkdir(os.path.join(mnt, 'd'))
        os.rmdir(os.path.join(mnt, 'd'))
        time.sleep(0.1)
    check(is_in(w, mnt, 'open'), 'locked while it was used')
    # A file that is open is no use.
    wait_until(lambda: is_in(w, mnt, 'locked-with-mount'), 'it is locked', 30)
    check(state_of(w, mnt)['reason'] == 'idle', state_of(w, mnt))
    w.ok('unlock', mnt)
    os.write(held, b'x')
    os.close(held)
    w.ok('umount', mnt)
    w.ok('mount', '-o', 'max_time=1s,on_max_time=unmount', v, mnt)
    wait_until(lambda: mounted(mnt) is None and not workers_in(w.folder), 'it is unmounted and closed', 30)
    w.ok('mount', '-o', 'max_time=1s,on_max_time=nothing', v, mnt)
    time.sleep(2)
    check(is_in(w, mnt, 'open'), 'nothing was to happen')
    w.ok('umount', mnt)


@case
def a_signal_locks(w):
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    for who in ('pid', 'broker_pid'):
        os.kill(state_of(w, mnt)[who], signal.SIGUSR1)
        wait_until(lambda: is_in(w, mnt, 'locked-with-mount'), 'it is locked', 30)
        w.ok('unlock', mnt)
    w.ok('umount', mnt)


@case
def failed_attempts_cost_time(w):
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    w.ok('lock', mnt)
    took = []
    for _ in range(5):
        start = time.monotonic()
        w.refused(3, 'wrong', 'unlock', mnt, stdin=b'wrong\n')
        took.append(time.monotonic() - start)
    check(took[3] >= 0.9 and took[4] >= 1.9, took)
    # Another broker, the same count.
    w.ok('umount', mnt)
    start = time.monotonic()
    w.ok('mount', v, mnt)
    check(time.monotonic() - start >= 1.5, 'the count is forgotten')
    w.ok('lock', mnt)
    start = time.monotonic()
    w.ok('unlock', mnt)
    check(time.monotonic() - start < 3.5, 'the count stays after a success')
    w.ok('umount', mnt)


@case
def wardfsd_serves_many_vaults(w):
    daemon = Daemon(w)
    first, mnt = both(w)
    second = w.vault('second')
    w.mountpoint('mnt2')
    w.ok('mount', first, mnt)
    w.ok('mount', second, w.path('mnt2'))
    for m in (mnt, w.path('mnt2')):
        check(state_of(w, m)['broker_pid'] == daemon.process.pid, state_of(w, m))
    check(stat.S_IMODE(os.stat(os.path.join(RUN, 'control')).st_mode) == 0o600, 'mode')
    w.refused(3, 'wrong', 'mount', w.vault('third'), w.mountpoint('mnt3'), stdin=b'wrong\n')
    lock_and_unlock(w, first, mnt)
    for turn in range(3):
        put(os.path.join(mnt, 'file'), f'{turn}' * 100000)
        # Nobody tells wardfsd of it: a mount that follows at once waits for the end of the one before.
        subprocess.run(['umount', mnt], check=True)
        w.ok('mount', first, mnt)
        check(get(os.path.join(mnt, 'file')) == f'{turn}' * 100000, 'content')
    w.ok('umount', mnt)
    check(is_in(w, w.path('mnt2'), 'open'), 'the other vault')
    process = w.start('mount', '-f', '--extpass', 'echo correct horse', first, mnt, stdin=subprocess.DEVNULL)
    wait_until(lambda: mounted(mnt), 'it is mounted')
    put(os.path.join(mnt, 'more'))
    process.send_signal(signal.SIGINT)
    check(process.wait(30) == 0 and mounted(mnt) is None, 'the foreground')
    daemon.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: is_in(w, w.path('mnt2'), 'locked-with-mount'), 'it is locked', 30)
    daemon.end()
    check(mounted(w.path('mnt2')) is None and not workers_in(w.folder), 'something is left')
    w.ok('mount', second, w.path('mnt2'))
    w.ok('umount', w.path('mnt2'))


@case
def wardfsd_is_started_by_its_socket(w):
    """As systemd does it: a listening socket as descriptor 3, told when it is ready, asked for signs of life."""
    program = os.environ['WARDFSD']
    if not os.path.exists(program):
        raise Skipped(f'{program} is not built')
    script = '''
import os, socket, sys
folder, program = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX)
listener.bind(os.path.join(folder, 'control'))
listener.listen()
if listener.fileno() != 3:
    os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()), WATCHDOG_USEC='400000',
                  WATCHDOG_PID=str(os.getpid()), NOTIFY_SOCKET=os.path.join(folder, 'notify'))
os.execv(program, [program])
'''
    import socket
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(w.path('notify'))
    notify.settimeout(30)
    process = subprocess.Popen([sys.executable, '-c', script, w.folder, program])
    w.processes.append(process)
    check(notify.recv(100) == b'READY=1', 'the first word')
    check([notify.recv(100) for _ in range(3)] == [b'WATCHDOG=1'] * 3, 'signs of life')
    with Client(w.path('control')) as client:
        check(client.call('Status')['mounts'] == [], 'status')
    process.terminate()
    check(process.wait(30) == 0, 'the end')


@case
def mount_helper_of_mount(w):
    v, mnt = both(w)
    put(w.path('pass'), 'correct horse\n')
    os.chmod(w.path('pass'), 0o600)
    for name in ('mount.wardfs', 'mount.fuse.wardfs'):
        helper = w.path(name)
        os.symlink(w.program, helper)
        options = f'rw,user,noauto,noatime,passfile={w.path("pass")},x-systemd.automount'
        done = subprocess.run([helper, v, mnt, '-o', options, '-n', '-v'], stdin=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, timeout=60, check=False)
        check(done.returncode == 0 and mounted(mnt), done)
        check('noatime' in mounted(mnt)['options'], mounted(mnt))
        w.ok('umount', mnt)
        done = subprocess.run([helper, '-f', v, mnt], check=False)
        check(done.returncode == 0 and mounted(mnt) is None, 'a fake mount')
        done = subprocess.run([helper, v], stderr=subprocess.PIPE, check=False)
        check(done.returncode == 2 and b'mount point' in done.stderr, done)
        done = subprocess.run([helper, v, mnt, '-o', 'nonsense'], stderr=subprocess.PIPE, check=False)
        check(done.returncode == 2 and b'nonsense' in done.stderr, done)
