# SPDX-License-Identifier: Apache-2.0
"""mount, umount, status, and the worker behind them."""
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time

from harness import (CHEAP, PASSPHRASE, USER, VAULT_FILES, case, check, mounted, mounts,
                     needs_mounted_root, snapshot, wait_until, workers_in)

STATE = 60  # offset of clean/dirty in the vault header


def is_clean(vault):
    states = []
    for name in VAULT_FILES:
        with open(os.path.join(vault, name), 'rb') as f:
            states.append(int.from_bytes(f.read(STATE + 4)[STATE:], 'little'))
    return states == [0, 0]


def put(path, text='hello\n'):
    with open(path, 'w', encoding='utf-8') as f:
        f.write(text)


def get(path):
    with open(path, encoding='utf-8') as f:
        return f.read()


def both(w, user=None):
    if user is not None:
        w.own(user)
    return w.vault(user=user), w.mountpoint(user=user)


@case
def mount_is_usable_at_once(w):
    v, mnt = both(w)
    for number in range(5):
        w.ok('mount', v, mnt)
        put(os.path.join(mnt, f'file{number}'))
        check(mounted(mnt)['type'] == 'fuse.wardfs', 'type')
        w.ok('umount', mnt)
        check(mounted(mnt) is None and not workers_in(w.folder), 'not unmounted, or the worker lives')
        check(is_clean(v), 'the vault is not clean')
    w.ok('mount', v, mnt)
    check(sorted(os.listdir(mnt)) == [f'file{n}' for n in range(5)], os.listdir(mnt))
    check(get(os.path.join(mnt, 'file3')) == 'hello\n', 'content')


@case
def mount_prints_nothing(w):
    v, mnt = both(w)
    done = w.run('mount', v, mnt)
    check((done.returncode, done.stdout, done.stderr) == (0, b'', b''), repr(done))
    done = w.run('umount', mnt)
    check((done.returncode, done.stdout, done.stderr) == (0, b'', b''), repr(done))


@case
def mount_as_an_ordinary_user(w):
    needs_mounted_root()
    v, mnt = both(w, USER)
    w.ok('mount', v, mnt, user=USER)
    check(f'user_id={USER}' in mounted(mnt)['super'], mounted(mnt))
    w.run('status', user=USER)
    subprocess.run(['cp', '/etc/passwd', mnt], user=USER, group=USER, check=True)
    # Not even root may look in without allow_other.
    check(subprocess.run(['ls', mnt], capture_output=True, check=False).returncode != 0, 'root looks in')
    w.ok('umount', mnt, user=USER)
    check(is_clean(v) and not workers_in(w.folder), 'not clean')


@case
def root_unmounts_for_a_user_and_waits(w):
    v, mnt = both(w, USER)
    w.ok('mount', v, mnt, user=USER)
    done = w.run('umount', mnt)
    check((done.returncode, done.stderr) == (0, b''), repr(done))
    check(is_clean(v) and not workers_in(w.folder), 'not clean')


@case
def a_user_cannot_unmount_for_root(w):
    v, mnt = both(w)
    w.ok('mount', '-o', 'allow_other', v, mnt)
    w.refused(8, 'somebody else', 'umount', mnt, user=USER)
    check(mounted(mnt), 'unmounted')


@case
def mount_defaults(w):
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    m = mounted(mnt)
    check({'rw', 'nosuid', 'nodev'} <= set(m['options']), m)
    check('default_permissions' in m['super'] and 'allow_other' not in m['super'], m)
    check(m['source'] == v, m)


@case
def mount_options_have_an_effect(w):
    v, mnt = both(w)
    for options, words, super_words in (
            ('suid,dev,noexec', {'noexec'}, set()), ('ro', {'ro'}, set()),
            ('noatime', {'noatime'}, set()), ('allow_other', set(), {'allow_other'}),
            ('rw,nosuid,allow_other,defaults,nofail', {'rw', 'nosuid'}, {'allow_other'})):
        w.ok('mount', '-o', options, v, mnt)
        m = mounted(mnt)
        check(words <= set(m['options']) and super_words <= set(m['super']), f'{options}: {m}')
        check('nosuid' in m['options'] or 'suid' in options, f'{options}: {m}')
        w.ok('umount', mnt)
    w.ok('mount', '-o', 'fsname=a name', '-o', 'subtype=other', v, mnt)
    check(mounted(mnt)['type'] == 'fuse.other' and mounted(mnt)['source'] == 'a\\040name', mounted(mnt))
    w.ok('umount', mnt)
    check(is_clean(v), 'not clean')


@case
def unknown_mount_option_is_named(w):
    v, mnt = both(w)
    before = snapshot(v)
    for options in ('frobnicate', 'ro,frobnicate', 'frobnicate=1,ro'):
        w.refused(2, 'frobnicate', 'mount', '-o', options, v, mnt, stdin=None)
    w.refused(2, 'threads=x', 'mount', '-o', 'threads=x', v, mnt, stdin=None)
    check(snapshot(v) == before, 'something changed')


@case
def others_may_not_look_in(w):
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    os.chmod(mnt, 0o755)
    look = {'user': USER, 'group': USER, 'extra_groups': [], 'capture_output': True, 'check': False}
    check(subprocess.run(['ls', mnt], **look).returncode != 0, 'another user looks in')
    w.ok('umount', mnt)
    w.ok('mount', '-o', 'allow_other', v, mnt)
    check(subprocess.run(['ls', mnt], **look).returncode == 0, 'allow_other does not')


@case
def mount_with_relative_paths(w):
    both(w)
    w.ok('mount', 'vault', 'mnt/')
    put(w.path('mnt/file'))
    w.ok('umount', './mnt')
    os.symlink('mnt', w.path('link'))
    w.ok('mount', '../' + os.path.basename(w.folder) + '/vault/', 'link')
    check(get(w.path('mnt/file')) == 'hello\n', 'content')
    w.ok('umount', 'link')
    check(is_clean(w.path('vault')), 'not clean')


@case
def mount_point_with_odd_bytes(w):
    v = w.vault('a vault,with=\\odd "bytes"')
    mnt = w.mountpoint('mnt \\, x')
    w.ok('mount', v, mnt)
    put(os.path.join(mnt, 'file'))
    state = json.loads(w.ok('status', '--json'))
    check(mnt in [m['mountpoint'] for m in state['mounts']], state)
    w.ok('umount', mnt)
    check(is_clean(v), 'not clean')


@case
def mount_read_only(w):
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    put(os.path.join(mnt, 'file'))
    w.ok('umount', mnt)
    before = snapshot(v)
    for how in (['--ro'], ['-o', 'ro']):
        w.ok('mount', *how, v, mnt)
        check(get(os.path.join(mnt, 'file')) == 'hello\n', 'content')
        try:
            put(os.path.join(mnt, 'other'))
            check(False, 'it can be written to')
        except OSError as error:
            check(error.errno == 30, error)
        w.ok('umount', mnt)
    check(snapshot(v) == before, 'a read-only mount changed the vault')


@case
def two_read_only_mounts(w):
    v, mnt = both(w)
    w.mountpoint('second')
    w.ok('mount', '--ro', v, mnt)
    w.ok('mount', '--ro', v, w.path('second'))
    w.mountpoint('third')
    w.refused(6, 'already mounted', 'mount', v, w.path('third'), stdin=None)
    w.ok('umount', mnt)
    w.ok('umount', w.path('second'))


@case
def mount_on_a_read_only_host(w):
    os.mkdir(w.path('host'))
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=40m', 'none', w.path('host')], check=True)
    v, mnt = w.vault('host/vault'), w.mountpoint()
    subprocess.run(['mount', '-o', 'remount,ro', w.path('host')], check=True)
    w.refused(17, ['read-only', '--ro'], 'mount', v, mnt, stdin=None)
    w.refused(17, 'read-only', 'passwd', '--new-extpass', 'echo another horse', *CHEAP[:4], v)
    w.ok('mount', '--ro', v, mnt)
    os.listdir(mnt)
    w.ok('umount', mnt)


@case
def mount_on_a_full_host(w):
    """What is there can be read and deleted; what does not fit says so."""
    os.mkdir(w.path('host'))
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=24m', 'none', w.path('host')], check=True)
    v, mnt = w.vault('host/vault'), w.mountpoint()
    w.ok('mount', v, mnt)
    put(os.path.join(mnt, 'file'), 'x' * 1000000)
    w.ok('umount', mnt)
    with open(w.path('host/filler'), 'wb', buffering=0) as f:
        try:
            while f.write(bytes(4096)):
                pass
        except OSError as error:
            check(error.errno == 28, error)
    w.ok('mount', v, mnt)
    check(len(get(os.path.join(mnt, 'file'))) == 1000000, 'content')
    os.unlink(os.path.join(mnt, 'file'))
    w.ok('umount', mnt)
    w.ok('mount', v, mnt)
    check(os.listdir(mnt) == [], 'the file is still there')


@case
def mount_twice(w):
    v, mnt = both(w)
    w.mountpoint('second')
    w.ok('mount', v, mnt)
    put(os.path.join(mnt, 'file'))
    w.refused(6, 'already mounted', 'mount', v, w.path('second'), stdin=None)
    w.refused(6, 'already mounted', 'mount', '--ro', v, w.path('second'), stdin=None)
    w.refused(6, 'mounted', 'mount', v, mnt, stdin=None)
    check(get(os.path.join(mnt, 'file')) == 'hello\n', 'the first mount suffered')


@case
def mount_point_bad_input(w):
    v = w.vault()
    before = snapshot(v)
    w.refused(14, ['no such directory', 'mkdir'], 'mount', v, w.path('nowhere'), stdin=None)
    w.refused(14, 'no such directory', 'mount', v, w.path('no/where'), stdin=None)
    put(w.path('file'))
    w.refused(2, 'not a directory', 'mount', v, w.path('file'), stdin=None)
    w.refused(2, 'in the vault itself', 'mount', v, v, stdin=None)
    os.mkdir(w.path('full'))
    put(w.path('full/file'))
    w.refused(15, ['not empty', '-o nonempty'], 'mount', v, w.path('full'), stdin=None)
    check(snapshot(v) == before, 'something changed')
    w.ok('mount', '-o', 'nonempty,ro', v, w.path('full'))
    check(os.listdir(w.path('full')) == [], 'the mount is not on top')
    w.ok('umount', w.path('full'))
    check(get(w.path('full/file')) == 'hello\n', 'what was below is gone')


@case
def mount_point_without_permission(w):
    v = w.vault()
    w.own(USER)
    subprocess.run(['chown', '-R', str(USER), v], check=True)
    mnt = w.mountpoint()
    before = snapshot(v)
    w.refused(8, 'no permission to mount', 'mount', v, mnt, user=USER, stdin=None)
    check(snapshot(v) == before, 'something changed')


@case
def vault_without_permission(w):
    needs_mounted_root()
    v = w.vault()
    w.mountpoint(user=USER)
    w.refused(8, 'permission denied', 'mount', v, w.path('mnt'), user=USER, stdin=None)
    # It may be read, but not written to.
    os.chmod(v, 0o755)
    for name in os.listdir(v):
        os.chmod(os.path.join(v, name), 0o644)
    w.refused(8, 'permission denied', 'mount', v, w.path('mnt'), user=USER, stdin=None)
    w.ok('mount', '--ro', v, w.path('mnt'), user=USER)
    w.ok('umount', w.path('mnt'), user=USER)


@case
def no_fuse_device(w):
    needs_mounted_root()
    v, mnt = both(w)
    before = snapshot(v)
    script = 'mount -t tmpfs none /dev && exec "$@"'
    done = subprocess.run(['unshare', '-m', 'sh', '-c', script, 'sh', w.program, 'mount', v, mnt],
                          input=PASSPHRASE + b'\n', capture_output=True, check=False)
    check(done.returncode == 18, repr(done))
    check(b'/dev/fuse' in done.stderr and done.stderr.count(b'\n') == 1, repr(done.stderr))
    check(snapshot(v) == before, 'something changed')


@case
def fuse_device_without_permission(w):
    v, mnt = both(w, USER)
    mode = os.stat('/dev/fuse').st_mode & 0o777
    os.chmod('/dev/fuse', 0o600)
    try:
        w.refused(8, ['/dev/fuse', 'chmod'], 'mount', v, mnt, user=USER, stdin=None)
    finally:
        os.chmod('/dev/fuse', mode)


@case
def allow_other_needs_permission(w):
    if os.path.exists('/etc/fuse.conf') and 'user_allow_other' in [
            line.strip() for line in get('/etc/fuse.conf').splitlines()]:
        return
    v, mnt = both(w, USER)
    w.refused(8, 'user_allow_other', 'mount', '-o', 'allow_other', v, mnt, user=USER)
    check(is_clean(v) and not workers_in(w.folder), 'not clean')


@case
def umount_of_a_mount_in_use(w):
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    with open(os.path.join(mnt, 'file'), 'w', encoding='ascii') as f:
        w.refused(6, ['in use', 'fuser', '-l'], 'umount', mnt)
        check(mounted(mnt), 'unmounted')
        f.write('still here')
        f.flush()
    w.ok('umount', mnt)
    check(is_clean(v), 'not clean')


@case
def umount_of_a_users_mount_in_use(w):
    needs_mounted_root()
    v, mnt = both(w, USER)
    w.ok('mount', v, mnt, user=USER)
    holder = subprocess.Popen(['sh', '-c', f'exec 5>{mnt}/held; echo x; read x'], user=USER, group=USER,
                              extra_groups=[], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    holder.stdout.readline()
    w.refused(6, 'in use', 'umount', mnt, user=USER)
    holder.communicate()
    w.ok('umount', mnt, user=USER)


@case
def umount_of_a_user_without_mtab(w):
    """As in a root that debootstrap made."""
    needs_mounted_root()
    v, mnt = both(w, USER)
    w.ok('mount', v, mnt, user=USER)
    # Hidden in a namespace of its own; setpriv, since what sets the user id shall not need /etc.
    script = 'mount -t tmpfs none /etc && exec setpriv --reuid "$0" --regid "$0" --clear-groups "$@"'
    done = subprocess.run(['unshare', '-m', 'sh', '-c', script, str(USER), w.program, 'umount', mnt], env=w.env(USER),
                          capture_output=True, text=True, timeout=60, check=False)
    check(done.returncode == 13 and done.stderr.count('\n') == 1 and '/etc/mtab' in done.stderr, done)
    w.ok('umount', mnt, user=USER)


@case
def room_for_descriptors_is_made_at_once(w):
    """The kernel takes its time to make more while a process has several threads: a request would wait for it."""
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    limit = min(1024, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    sizes = [int(line.split()[1]) for pid in workers_in(w.folder)
             for line in get(f'/proc/{pid}/status').splitlines() if line.startswith('FDSize')]
    check(sizes and min(sizes) >= limit, sizes)
    w.ok('umount', mnt)


@case
def umount_lazily(w):
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    with open(os.path.join(mnt, 'file'), 'w', encoding='ascii') as f:
        w.ok('umount', '-l', mnt)
        check(mounted(mnt) is None, 'still mounted')
        f.write('written after the unmount')
    wait_until(lambda: not workers_in(w.folder), 'the worker has ended')
    check(is_clean(v), 'not clean')
    w.ok('mount', v, mnt)
    check(get(os.path.join(mnt, 'file')) == 'written after the unmount', 'content')


@case
def umount_bad_input(w):
    w.refused(14, 'nothing is mounted', 'umount', w.path('nowhere'))
    w.refused(14, 'nothing is mounted', 'umount', w.folder)
    mnt = w.mountpoint()
    subprocess.run(['mount', '-t', 'tmpfs', 'none', mnt], check=True)
    w.refused(14, ['not wardfs but tmpfs', 'umount'], 'umount', mnt)
    check(mounted(mnt), 'it was unmounted all the same')


@case
def umount_by_others(w):
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    put(os.path.join(mnt, 'file'))
    subprocess.run(['umount', mnt], check=True)
    wait_until(lambda: not workers_in(w.folder), 'the worker has ended')
    check(is_clean(v), 'not clean')


@case
def umount_when_the_worker_was_killed(w):
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    put(os.path.join(mnt, 'file'))
    for pid in workers_in(w.folder):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not workers_in(w.folder), 'the worker has ended')
    w.refused(6, 'mounted', 'mount', v, mnt, stdin=None)
    done = w.run('umount', mnt)
    check(done.returncode == 0 and b'worker had died' in done.stderr, repr(done))
    check(mounted(mnt) is None, 'still mounted')
    w.ok('mount', v, mnt)
    check(os.listdir(mnt) == ['file'], 'the name is lost')
    w.ok('umount', mnt)
    check(is_clean(v), 'not clean')


@case
def passwd_after_a_kill_asks_for_a_mount(w):
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    for pid in workers_in(w.folder):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not workers_in(w.folder), 'the worker has ended')
    w.run('umount', mnt)
    w.refused(6, 'mount and unmount it once', 'passwd', *CHEAP[:4], v, stdin=PASSPHRASE + b'\nx\n')
    w.ok('mount', v, mnt)
    w.ok('umount', mnt)
    w.ok('passwd', *CHEAP[:4], v, stdin=PASSPHRASE + b'\nx\n')
    w.refused(3, 'wrong passphrase', 'mount', v, mnt)
    w.ok('mount', v, mnt, stdin=b'x\n')


@case
def signals_end_cleanly(w):
    v, mnt = both(w)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        w.ok('mount', v, mnt)
        put(os.path.join(mnt, f'file{number}'), 'x' * 300000)
        os.kill(workers_in(w.folder)[0], number)
        wait_until(lambda: not workers_in(w.folder), 'the worker has ended')
        check(mounted(mnt) is None, 'still mounted')
        check(is_clean(v), 'not clean')
    w.ok('mount', v, mnt)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        check(get(os.path.join(mnt, f'file{number}')) == 'x' * 300000, 'content')


@case
def a_signal_loses_nothing_of_a_mount_in_use(w):
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    fd = os.open(os.path.join(mnt, 'file'), os.O_WRONLY | os.O_CREAT)
    check(os.write(fd, b'x' * 5000000) == 5000000, 'a short write')
    os.kill(workers_in(w.folder)[0], signal.SIGTERM)
    wait_until(lambda: not workers_in(w.folder), 'the worker has ended')
    try:
        os.close(fd)
    except OSError as error:
        check(error.errno == 107, error)
    check(mounted(mnt) is None and is_clean(v), 'not clean')
    w.ok('mount', v, mnt)
    check(get(os.path.join(mnt, 'file')) == 'x' * 5000000, 'content')


@case
def foreground(w):
    v, mnt = both(w)
    for number in (signal.SIGTERM, signal.SIGINT, None, 'lock'):
        process = w.start('mount', '-f', '--extpass', 'echo correct horse', v, mnt,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_until(lambda: mounted(mnt), 'it is mounted')
        os.listdir(mnt)
        check(process.poll() is None and len(workers_in(w.folder)) == 2, 'no worker')
        if number == 'lock':  # another client asks to unlock: whoever holds the mount stays
            w.ok('lock', mnt)
            w.ok('unlock', mnt)
        if number in (None, 'lock'):
            w.ok('umount', mnt)
        else:
            process.send_signal(number)
        out, err = process.communicate(timeout=20)
        check((process.returncode, out) == (0, b''), repr((process.returncode, out, err)))
        lines = [line for line in err.decode().splitlines() if 'last closed cleanly on' not in line]
        check(lines == [], repr(lines))
        check(mounted(mnt) is None and is_clean(v), 'not clean')


@case
def foreground_reports_a_failure(w):
    v, mnt = both(w)
    w.refused(3, 'wrong passphrase', 'mount', '-f', v, mnt, stdin=b'wrong\n')
    w.refused(14, 'no such directory', 'mount', '-f', w.path('nowhere'), mnt)


@case
def interrupted_while_deriving_the_key(w):
    """The end of whoever asked for the mount ends the worker too."""
    v, mnt = w.path('vault'), w.mountpoint()
    w.ok('init', '--kdf-memory', '256', '--kdf-passes', '20', '--journal', '8', v)
    before = snapshot(v)
    process = w.start('mount', v, mnt, stdin=subprocess.PIPE)
    process.stdin.write(PASSPHRASE + b'\n')
    process.stdin.close()
    # wardfs, the worker, and its short-lived child that derives the key
    wait_until(lambda: len(workers_in(w.folder)) >= 2, 'the worker was started')
    time.sleep(0.2)  # into the derivation; it does not matter how far
    process.kill()
    wait_until(lambda: not workers_in(w.folder), 'the worker has ended')
    check(mounted(mnt) is None and snapshot(v) == before, 'something changed')


@case
def the_worker_is_a_daemon(w):
    v, mnt = both(w)
    read_end, write_end = os.pipe()
    held = os.open('/etc/hostname', os.O_RDONLY)
    done = w.run('mount', '--passfd', str(held), v, mnt, stdin=None, pass_fds=[held, write_end])
    check(done.returncode != 0, 'the host name is the passphrase')
    os.close(held)
    w.ok('mount', v, mnt, pass_fds=[write_end])
    os.close(write_end)
    # Nobody holds the pipe open any more.
    check(select.select([read_end], [], [], 5)[0], 'the worker keeps what its parent had open')
    os.close(read_end)
    pid = workers_in(w.folder)[0]
    check(os.readlink(f'/proc/{pid}/cwd') == '/', 'working directory')
    check(os.getsid(pid) == pid, 'session')
    for fd in range(3):
        check(os.readlink(f'/proc/{pid}/fd/{fd}') == '/dev/null', f'descriptor {fd}')


@case
def the_worker_is_closed_to_debuggers(w):
    v, mnt = both(w, USER)
    w.ok('mount', v, mnt, user=USER)
    pid = workers_in(w.folder)[0]
    check(os.stat(f'/proc/{pid}/mem').st_uid == 0, 'its user can open its memory')
    with open(f'/proc/{pid}/limits', encoding='ascii') as f:
        check([line.split()[4:6] for line in f if line.startswith('Max core')] == [['0', '0']], 'core files')
    # Locked memory, unless RLIMIT_MEMLOCK forbids it.
    with open(f'/proc/{pid}/status', encoding='ascii') as f:
        locked = [int(line.split()[1]) for line in f if line.startswith('VmLck')]
    check(locked and locked[0] > 0, f'no memory is locked: {locked}')


@case
def the_passphrase_shows_nowhere(w):
    secret = b'unlikely-to-be-there-by-chance'
    v, mnt = w.vault(passphrase=secret), w.mountpoint()
    w.ok('mount', v, mnt, stdin=secret + b'\n')
    put(os.path.join(mnt, 'file'))
    for pid in workers_in(w.folder):
        for name in ('cmdline', 'environ'):
            with open(f'/proc/{pid}/{name}', 'rb') as f:
                check(secret not in f.read(), f'in {name}')
    check(secret not in w.ok('status', '--json').encode(), 'in status')
    for folder in ('/run/wardfs', v):
        for root, _, files in os.walk(folder):
            for name in files:
                path = os.path.join(root, name)
                if os.path.isfile(path):
                    with open(path, 'rb') as f:
                        check(secret not in f.read(), f'in {path}')


@case
def the_passphrase_is_wiped_from_the_worker(w):
    secret = b'unlikely-to-be-there-by-chance'
    v, mnt = w.vault(passphrase=secret), w.mountpoint()
    w.ok('mount', v, mnt, stdin=secret + b'\n')
    pid = workers_in(w.folder)[0]
    with open(f'/proc/{pid}/maps', encoding='utf-8') as maps, open(f'/proc/{pid}/mem', 'rb', 0) as memory:
        for line in maps:
            span, mode = line.split()[:2]
            if mode[0] != 'r' or '[v' in line:
                continue
            first, last = (int(x, 16) for x in span.split('-'))
            memory.seek(first)
            try:
                data = memory.read(last - first)
            except OSError:
                continue
            check(secret not in data, f'in {line}')


@case
def status_lists_mounts(w):
    v, mnt = both(w)
    second = w.vault('second')
    w.mountpoint('mnt2')
    w.ok('mount', v, mnt)
    w.ok('mount', '--ro', second, w.path('mnt2'))
    put(os.path.join(mnt, 'file'))
    state = {m['mountpoint']: m for m in json.loads(w.ok('status', '--json'))['mounts']}
    one, two = state[mnt], state[w.path('mnt2')]
    check(one['vault'] == v and two['vault'] == second, state)
    check((one['mounted_readonly'], two['mounted_readonly']) == (False, True), state)
    check(one['state'] == 'open' and one['device'] == mounted(mnt)['device'], state)
    check(one['pid'] in workers_in(w.folder) and one['mount_number'] == 1, state)
    check(one['nodes'] >= 2 and one['journal_capacity_bytes'] > 0 and one['refusals'] == 0, state)
    check('correct horse' not in str(state), 'the passphrase')
    text = w.ok('status')
    check(f'{mnt}\n  vault:    {v}\n  state:    open, read-write\n' in text, text)
    w.ok('umount', mnt)
    w.ok('umount', w.path('mnt2'))
    check(mnt not in w.ok('status'), 'still listed')


@case
def status_of_users(w):
    v, mnt = both(w, USER)
    w.ok('mount', v, mnt, user=USER)
    mine = json.loads(w.ok('status', '--json', user=USER))['mounts']
    check([m['state'] for m in mine if m['mountpoint'] == mnt] == ['open'], mine)
    every = json.loads(w.ok('status', '--json'))['mounts']
    check([m['state'] for m in every if m['mountpoint'] == mnt] == ['open'], 'root does not see it')
    stranger = json.loads(w.ok('status', '--json', user=USER - 1))['mounts']
    check(mnt not in [m['mountpoint'] for m in stranger], stranger)
    check('pid' not in str(stranger), 'a stranger is told more')
    # Not even through a door that somebody left open.
    folder = f'/tmp/wardfs-{USER}'
    name = os.path.join(folder, str(mine[0]['broker_pid']))
    os.chmod(folder, 0o755)
    os.chmod(name, 0o666)
    ask = ('import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n'
           'try: s.sendall(b\'{"method":"org.wardfs.Control.Status"}\\0\'); print(len(s.recv(9999)))\n'
           'except OSError: print(0)')
    told = [subprocess.run([sys.executable, '-c', ask, name], user=uid, group=uid, extra_groups=[],
                           stdout=subprocess.PIPE, check=True).stdout for uid in (USER, USER - 1)]
    os.chmod(folder, 0o700)
    check(int(told[0]) > 100 and int(told[1]) == 0, f'a stranger is told {told}')


@case
def status_of_a_killed_worker(w):
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    for pid in workers_in(w.folder):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not workers_in(w.folder), 'the worker has ended')
    wait_until(lambda: [m['state'] for m in json.loads(w.ok('status', '--json'))['mounts']
                        if m['mountpoint'] == mnt] == ['failed'], 'the death is noticed')
    w.run('umount', mnt)
    # Nobody is left to tell its broker, which looks at the table of mounts.
    wait_until(lambda: not any(m['mountpoint'] == mnt for m in json.loads(w.ok('status', '--json'))['mounts']),
               'it is no longer listed')


@case
def runtime_directory_of_a_stranger_is_not_used(w):
    needs_mounted_root()
    v, mnt = both(w, USER)
    os.mkdir(w.path('run'), 0o777)
    os.chmod(w.path('run'), 0o777)
    os.mkdir(w.path('run/wardfs'))
    os.chmod(w.path('run/wardfs'), 0o777)
    environment = dict(os.environ, XDG_RUNTIME_DIR=w.path('run'), XDG_STATE_HOME=w.path('state'))
    os.makedirs(w.path('state'), exist_ok=True)
    os.chown(w.path('state'), USER, USER)
    w.ok('mount', v, mnt, user=USER, env=environment)
    check(os.listdir(w.path('run/wardfs')) == [], 'a directory of root was used')
    w.ok('umount', mnt, user=USER, env=environment)


@case
def runtime_directory_of_the_user_is_used(w):
    needs_mounted_root()
    v, mnt = both(w, USER)
    os.mkdir(w.path('run'), 0o700)
    os.chown(w.path('run'), USER, USER)
    environment = dict(os.environ, XDG_RUNTIME_DIR=w.path('run'), XDG_STATE_HOME=w.path('state'))
    os.makedirs(w.path('state'), exist_ok=True)
    os.chown(w.path('state'), USER, USER)
    w.ok('mount', v, mnt, user=USER, env=environment)
    check(len(os.listdir(w.path('run/wardfs'))) == 1, 'no socket')
    check(os.stat(w.path('run/wardfs')).st_mode & 0o077 == 0, 'others may enter')
    w.ok('umount', mnt, user=USER, env=environment)
    check(os.listdir(w.path('run/wardfs')) == [], 'the socket is still there')


@case
def a_damaged_header_copy_is_no_obstacle(w):
    v, mnt = both(w)
    for name in VAULT_FILES:
        with open(os.path.join(v, name), 'r+b') as f:
            f.write(bytes(4096))
        w.ok('mount', v, mnt)
        w.ok('umount', mnt)
        check(is_clean(v), 'the copy was not made anew')


@case
def mounts_over_one_another(w):
    """The topmost mount is the one that is unmounted."""
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    check(len([m for m in mounts() if m['path'] == mnt]) == 1, 'mounted more than once')
    subprocess.run(['mount', '-t', 'tmpfs', 'none', mnt], check=True)
    w.refused(14, 'not wardfs', 'umount', mnt)
    subprocess.run(['umount', mnt], check=True)
    w.ok('umount', mnt)
    check(is_clean(v), 'not clean')


@case
def another_namespace_holds_the_mount(w):
    """umount says so and ends the worker; so does a later one where the first was interrupted."""
    needs_mounted_root()
    v, mnt = both(w)
    for first in (True, False):
        w.ok('mount', v, mnt)
        put(os.path.join(mnt, f'file{first}'))
        keeper = subprocess.Popen(['unshare', '-m', '--propagation', 'private', 'sh', '-c', 'echo; exec sleep 300'],
                                  stdout=subprocess.PIPE)
        try:
            check(keeper.stdout.readline() == b'\n', 'no namespace')
            if not first:
                subprocess.run(['umount', mnt], check=True)
            done = w.run('umount', mnt, stdin=None)
            check(done.returncode == 0 and b'another mount namespace' in done.stderr, repr(done))
            check(is_clean(v) and not workers_in(w.folder), 'not closed')
        finally:
            keeper.kill()
            keeper.wait()
            keeper.stdout.close()
    w.refused(14, 'nothing is mounted', 'umount', mnt, stdin=None)
    w.ok('mount', v, mnt)
    check(sorted(os.listdir(mnt)) == ['fileFalse', 'fileTrue'], os.listdir(mnt))
    w.ok('umount', mnt)


@case
def mounts_of_others_are_theirs(w):
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    check(mnt in w.ok('status', stdin=None), 'root does not see it')
    check(mnt not in w.ok('status', user=USER, stdin=None), 'another user sees it')
    w.ok('umount', mnt)


@case
def numbers_out_of_bounds(w):
    v, mnt = both(w)
    for word, bounds in (('memory=3', '16 to 65535'), ('threads=0', '1 to 256'), ('threads=100000', '1 to 256'),
                         ('max_background=0', '1 to 65535')):
        w.refused(16, [word, bounds], 'mount', '-o', word, v, mnt)
