# SPDX-License-Identifier: Apache-2.0
"""The directory underneath a mount: closed while it is mounted or for good, and given back."""
import os
import signal
import stat
import subprocess

from cases_lock import Daemon, is_in, state_of
from harness import PASSPHRASE, Skipped, case, check, mounted, needs_mounted_root, wait_until

OWNER_MODE = 0o751


def underneath(w, name='under'):
    """The case's folder seen without what is mounted in it."""
    needs_mounted_root()
    path = w.path(name)
    os.mkdir(path)
    subprocess.run(['mount', '--bind', w.folder, path], check=True)
    return path


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def can_write(folder, user=None):
    """Whether a file can be made there; it is removed again."""
    done = subprocess.run(['sh', '-c', 'echo plain > "$1/stray" && rm "$1/stray"', 'sh', folder], stderr=subprocess.DEVNULL,
                          check=False, **({} if user is None else {'user': user, 'group': user, 'extra_groups': []}))
    return done.returncode == 0


def prepare(w, user=None):
    if user is not None:
        w.own(user)
    v, mnt = w.vault(user=user), w.mountpoint(user=user)
    os.chmod(mnt, OWNER_MODE)
    return v, mnt


def needs_records(w, mnt, user=None):
    """Extended attributes, in which it is kept how the directory was."""
    name = b'user.wardfs-test' if user else b'trusted.wardfs-test'
    try:
        os.setxattr(mnt, name, b'x')
        os.removexattr(mnt, name)
    except OSError as error:
        raise Skipped(f'no extended attributes on {w.folder}: {error.strerror}') from error


def can_be_immutable(w):
    path = w.path('immutable')
    os.mkdir(path)
    done = subprocess.run(['chattr', '+i', path], stderr=subprocess.DEVNULL, check=False).returncode == 0
    subprocess.run(['chattr', '-i', path], stderr=subprocess.DEVNULL, check=False)
    os.rmdir(path)
    return done


def closed_while_mounted(w, user):
    v, mnt = prepare(w, user)
    needs_records(w, mnt, user)
    below = os.path.join(underneath(w), 'mnt')
    w.ok('mount', v, mnt, user=user)
    check(mode_of(below) == 0, f'{mode_of(below):o} underneath')
    check(not can_write(below, user or 65534), 'a stray file is written underneath')
    check(can_write(mnt, user), 'the mount cannot be written to')
    w.ok('lock', mnt, user=user)
    check(not can_write(mnt, user), 'a locked one takes a stray file')
    w.ok('umount', mnt, user=user)
    check(mode_of(mnt) == OWNER_MODE, f'{mode_of(mnt):o} after the unmount')
    check(os.listxattr(mnt) == [], os.listxattr(mnt))
    # Without wardfs umount, too, when whoever serves it sees it.
    w.ok('mount', v, mnt, user=user)
    subprocess.run(['umount', mnt], check=True)
    wait_until(lambda: mode_of(mnt) == OWNER_MODE, 'the directory is given back')


@case
def what_is_underneath_is_closed_while_mounted(w):
    closed_while_mounted(w, None)


@case
def what_is_underneath_a_users_mount_is_closed(w):
    closed_while_mounted(w, 65534)


def closed_for_good(w, user):
    v, mnt = prepare(w, user)
    needs_records(w, mnt, user)
    w.ok('mount', '-o', 'protect', v, mnt, user=user)
    check(can_write(mnt, user), 'the mount cannot be written to')
    w.ok('umount', mnt, user=user)
    writer = user
    if user is None and not can_be_immutable(w):
        writer = 65534
    check(not can_write(mnt, writer), 'a stray file is written after the unmount')
    # A mount that fails changes nothing.
    w.refused(3, 'passphrase', 'mount', v, mnt, user=user, stdin=b'wrong\n')
    check(not can_write(mnt, writer), 'a stray file is written after a mount that failed')
    w.ok('mount', '-o', 'protect', v, mnt, user=user)
    check(can_write(mnt, user), 'the second mount cannot be written to')
    w.ok('umount', mnt, user=user)
    check(not can_write(mnt, writer), 'a stray file is written after the second unmount')
    # The last mount decides.
    w.ok('mount', v, mnt, user=user)
    w.ok('umount', mnt, user=user)
    check(mode_of(mnt) == OWNER_MODE and can_write(mnt, user), f'{mode_of(mnt):o} is not given back')
    w.ok('mount', '-o', 'protect', v, mnt, user=user)
    w.ok('umount', '--unprotect', mnt, user=user)
    check(mode_of(mnt) == OWNER_MODE and can_write(mnt, user), f'{mode_of(mnt):o} is not given back by umount')
    w.ok('mount', '-o', 'protect', v, mnt, user=user)
    w.ok('umount', mnt, user=user)
    w.ok('umount', '--unprotect', mnt, user=user)
    check(mode_of(mnt) == OWNER_MODE and can_write(mnt, user), f'{mode_of(mnt):o} is not given back afterwards')
    w.ok('umount', '--unprotect', mnt, user=user)
    check(mode_of(mnt) == OWNER_MODE and os.listxattr(mnt) == [], 'what is open is left alone')


@case
def an_unmounted_folder_stays_closed_when_wanted(w):
    closed_for_good(w, None)


@case
def an_unmounted_folder_of_a_user_stays_closed(w):
    closed_for_good(w, 65534)


def crash(w, v, mnt, user, *options):
    """Everybody who could give the directory back dies, and the mount is taken away."""
    w.ok('mount', *options, v, mnt, user=user)
    state = state_of(w, mnt)
    for pid in (state['broker_pid'], state['pid']):
        os.kill(pid, signal.SIGKILL)
    subprocess.run(['umount', '-l', mnt], check=True)
    wait_until(lambda: not os.path.exists(f'/proc/{state["pid"]}'), 'the worker has gone')


@case
def a_closed_folder_is_given_back_after_a_crash(w):
    if os.path.exists('/run/wardfs/control'):
        raise Skipped('a wardfsd is not to be killed')
    v, mnt = prepare(w)
    needs_records(w, mnt)
    for options in ((), ('-o', 'protect')):
        crash(w, v, mnt, None, *options)
        check(not can_write(mnt, 65534), 'a stray file is written after a crash')
        w.ok('mount', v, mnt)
        w.ok('umount', mnt)
        check(mode_of(mnt) == OWNER_MODE and can_write(mnt), f'{mode_of(mnt):o} after crash and mount')
        check(os.listxattr(mnt) == [], os.listxattr(mnt))
        crash(w, v, mnt, None, *options)
        w.ok('umount', '--unprotect', mnt)
        check(mode_of(mnt) == OWNER_MODE and can_write(mnt), f'{mode_of(mnt):o} after crash and --unprotect')


@case
def what_its_owner_has_opened_stays_as_it_is(w):
    """After a crash by chmod; or with a record that is none of ours, by somebody who may write there."""
    if os.path.exists('/run/wardfs/control'):
        raise Skipped('a wardfsd is not to be killed')
    v, mnt = prepare(w, 65534)
    needs_records(w, mnt, 65534)
    for options in ((), ('-o', 'protect')):
        crash(w, v, mnt, 65534, *options)
        os.chmod(mnt, 0o700)
        w.ok('mount', v, mnt, user=65534)
        w.ok('umount', mnt, user=65534)
        check(mode_of(mnt) == 0o700 and os.listxattr(mnt) == [], f'{mode_of(mnt):o} after crash, chmod and mount')
    for record in (b'7777 0', b'0777 1'):
        os.setxattr(mnt, 'user.wardfs.underneath', record)
        w.ok('umount', '--unprotect', mnt, user=65534)
        check(mode_of(mnt) == 0o700 and os.listxattr(mnt) == [], f'{mode_of(mnt):o} after --unprotect')
        os.setxattr(mnt, 'user.wardfs.underneath', record)
        w.ok('mount', v, mnt, user=65534)
        w.ok('umount', mnt, user=65534)
        check(mode_of(mnt) == 0o700 and os.listxattr(mnt) == [], f'{mode_of(mnt):o} after a mount')


@case
def what_cannot_be_given_back_is_told(w):
    """Root does not act on a user's record, nor a user on root's; what was closed by neither is left alone."""
    if os.path.exists('/run/wardfs/control'):
        raise Skipped('a wardfsd is not to be killed')
    v, mnt = prepare(w, 65534)
    needs_records(w, mnt, 65534)
    crash(w, v, mnt, 65534)
    w.refused(8, ['still closed', 'user 65534', 'that user'], 'umount', '--unprotect', mnt)
    check(mode_of(mnt) == 0, f'{mode_of(mnt):o}')
    w.ok('umount', '--unprotect', mnt, user=65534)
    check(mode_of(mnt) == OWNER_MODE, f'{mode_of(mnt):o}')
    if can_be_immutable(w):
        subprocess.run(['chattr', '+i', mnt], check=True)
        try:
            w.refused(8, ['still closed', 'as root'], 'umount', '--unprotect', mnt, user=65534)
        finally:
            subprocess.run(['chattr', '-i', mnt], check=True)
    os.chmod(mnt, 0)
    w.refused(8, ['still closed', 'no mount of yours', 'chmod'], 'umount', '--unprotect', mnt, user=65534)
    done = w.run('umount', '--unprotect', mnt)
    check(done.returncode == 0 and b'still closed' in done.stderr and b'chmod' in done.stderr, repr(done))
    check(mode_of(mnt) == 0, f'{mode_of(mnt):o}')
    os.chmod(mnt, OWNER_MODE)
    done = w.run('umount', '--unprotect', mnt)
    check(done.returncode == 0 and done.stderr == b'', repr(done))


@case
def what_a_user_closed_is_left_alone(w):
    v, mnt = prepare(w)
    below = os.path.join(underneath(w), 'mnt')
    with open(os.path.join(mnt, 'hidden'), 'w', encoding='ascii') as f:
        f.write('below')
    done = w.run('mount', '-o', 'nonempty,protect', v, mnt)
    check(done.returncode == 0 and b'cannot be protected' in done.stderr, done)
    check(mode_of(below) == OWNER_MODE, f'{mode_of(below):o}: one with content is closed')
    w.ok('umount', mnt)
    os.unlink(os.path.join(mnt, 'hidden'))
    w.ok('mount', '-o', 'noprotect', v, mnt)
    check(mode_of(below) == OWNER_MODE, f'{mode_of(below):o} with noprotect')
    w.ok('umount', mnt)
    os.chmod(mnt, 0)
    w.ok('mount', v, mnt)
    w.ok('umount', '--unprotect', mnt)
    check(mode_of(mnt) == 0, f'{mode_of(mnt):o}: root has opened what was closed before')
    os.chmod(mnt, OWNER_MODE)
    if can_be_immutable(w):
        subprocess.run(['chattr', '+i', mnt], check=True)
        try:
            w.ok('mount', v, mnt)
            w.ok('umount', '--unprotect', mnt)
            check(not can_write(mnt), "the owner's immutable flag is gone")
        finally:
            if mounted(mnt):
                w.run('umount', mnt)
            subprocess.run(['chattr', '-i', mnt], check=True)


@case
def a_host_that_hangs_holds_up_no_other_vault(w):
    """A mount point in a frozen vault stands for one on a server that does not answer: what is done to the directory underneath waits
    for it, and nothing else may."""
    daemon = Daemon(w)
    outer, inner, mnt = w.vault('outer'), w.vault('inner'), w.mountpoint()
    p = w.path('pass')
    with open(p, 'wb') as f:
        f.write(PASSPHRASE + b'\n')
    os.chmod(p, 0o600)
    w.ok('mount', outer, mnt)
    place = os.path.join(mnt, 'place')
    os.mkdir(place, 0o755)
    needs_records(w, mnt)
    for verb in ('mount', 'umount'):
        w.ok('freeze', '--timeout', '40s', mnt)
        if verb == 'mount':
            process = w.start('mount', '--passfile', p, inner, place)
            wait_until(lambda: mounted(place), 'the kernel has mounted it')
        else:
            process = w.start('umount', place)
            wait_until(lambda: is_in(w, place, 'ending'), 'its worker has ended')
        for _ in range(3):
            # Answers, although the freezing is not over.
            check(is_in(w, mnt, 'open'), 'state')
        check(process.poll() is None, verb + ' did not have to wait')
        w.ok('thaw', mnt)
        check(process.wait(60) == 0, verb)
    check(mode_of(place) == 0o755, oct(mode_of(place)))
    w.ok('umount', mnt)
    daemon.end()
