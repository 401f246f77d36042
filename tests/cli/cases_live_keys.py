# SPDX-License-Identifier: Apache-2.0
"""Other secrets for a vault that is mounted: every verb, beside locks, freezes, rotations and kills."""
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import termios

from cases_control import US, control
from cases_key import opens, passfile, slots, write
from cases_mount import both
from harness import CHEAP, Skipped, case, check, mounted, wait_until
from varlink import Client

KDF = CHEAP[:4]
LOCKED = -10  # WERR_LOCKED
OTHER = b'quartz Vogel 73 umber kite'  # nothing that is warned of


def state(w, mnt):
    entries = json.loads(w.ok('status', '--json', stdin=None))['mounts']
    return next(e for e in entries if e['mountpoint'] == mnt)


def put(path, data):
    with open(path, 'wb') as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())


def get(path):
    with open(path, 'rb') as f:
        return f.read()


def kill(w, mnt):
    os.kill(state(w, mnt)['pid'], signal.SIGKILL)

    def detached():
        subprocess.run(['umount', '-l', mnt], stderr=subprocess.DEVNULL, check=False)
        return not mounted(mnt)
    wait_until(detached, 'the mount is gone')


@case
def live_add_label_test_remove(w):
    v, mnt = both(w)
    p, second = passfile(w), passfile(w, OTHER, 'second')
    w.ok('mount', '--passfile', p, v, mnt, stdin=None)
    put(os.path.join(mnt, 'a'), b'a' * 100000)
    w.ok('key', 'add', '--passfile', p, '--new-passfile', second, *KDF, '--label', 'two', v, stdin=None)
    check(opens(w, v, '--passfile', second, stdin=None) == 1, 'the new one opens nothing')
    w.ok('key', 'label', '--passfile', second, v, 'zwei', stdin=None)
    check(slots(w, v, '--passfile', p)[1]['label'] == 'zwei', 'label')
    check(state(w, mnt)['rotation']['epochs'] == 1, 'a new epoch without need')
    check('Verified: the mount' in w.ok('who-can-open', v, stdin=None), 'the mount says something else')
    w.ok('key', 'remove', '--passfile', second, v, '0', stdin=None)
    check(state(w, mnt)['rotation']['epochs'] == 2, 'no new epoch after a removal')
    check('Verified: the mount' in w.ok('who-can-open', v, stdin=None), 'the mount says something else')
    w.refused(3, 'wrong passphrase', 'key', 'test', '--passfile', p, v, stdin=None)
    w.refused(14, 'no keyslot 0', 'key', 'remove', '--passfile', second, v, '0', stdin=None)
    w.refused(6, ['last one', 'unmount'], 'key', 'remove', '--yes', '--passfile', second, v, '1', stdin=None)
    put(os.path.join(mnt, 'b'), b'b')
    check(get(os.path.join(mnt, 'a')) == b'a' * 100000, 'content')
    w.ok('umount', mnt)
    w.ok('check', '--passfile', second, v, stdin=None)
    w.refused(3, 'wrong passphrase', 'mount', '--passfile', p, v, mnt, stdin=None)
    w.ok('mount', '--passfile', second, v, mnt, stdin=None)
    check(get(os.path.join(mnt, 'a')) == b'a' * 100000 and get(os.path.join(mnt, 'b')) == b'b', 'content')
    w.ok('umount', mnt)


def unread(sock):
    """Bytes that the other end has not taken."""
    return struct.unpack('i', fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0]


def has_child(pid):
    for child in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{child}/stat', encoding='utf-8', errors='replace') as f:
                if f.read().rsplit(')', 1)[1].split()[1] == str(pid):
                    return True
        except OSError:
            pass
    return False


@case
def a_lock_waits_for_no_client_and_no_derivation(w):
    """A rotation that derives its key, or one that waits for a secret which never comes, is ended by a lock; before, the lock
    waited until its own time was over, which costs the mount."""
    v, mnt = both(w)
    p, dear = passfile(w), passfile(w, OTHER, 'dear')
    w.ok('key', 'add', '--passfile', p, '--new-passfile', dear, '--kdf-memory', '128', '--kdf-passes', '40', v, stdin=None)
    w.ok('mount', '--passfile', p, v, mnt, stdin=None)
    put(os.path.join(mnt, 'a'), b'a')
    with open(os.path.join(mnt, 'a'), 'rb') as held:
        rotation = w.start('rotate', '--passfile', dear, mnt, stderr=subprocess.PIPE)
        wait_until(lambda: has_child(state(w, mnt)['pid']), 'it derives')
        w.ok('lock', '--deadline', '2s', mnt)
        words = rotation.communicate(timeout=60)[1]
        check(rotation.returncode == 7 and b'locked' in words, (rotation.returncode, words))
        for method in ('Rotate', 'ChangeKeyslots'):
            w.ok('unlock', '--passfile', p, mnt, stdin=None)
            near, far = socket.socketpair()
            with near, Client(control(w)) as client:
                client.send(f'{US}.{method}', {'mount': mnt}, fds=[far.fileno()])
                far.close()
                near.sendall(b'x')
                wait_until(lambda: not unread(near), 'it reads')
                w.ok('lock', '--deadline', '2s', mnt)
                check(client.message()['parameters']['code'] == LOCKED, 'the code of ' + method)
        w.ok('unlock', '--passfile', p, mnt, stdin=None)
        check(state(w, mnt)['rotation']['epochs'] == 1 and held.read() == b'a', 'content')
    w.ok('umount', mnt)


@case
def live_passwd_and_change(w):
    v, mnt = both(w)
    p, new = passfile(w), passfile(w, OTHER, 'new')
    key = write(w.path('key'), os.urandom(100))
    w.ok('mount', '--passfile', p, v, mnt, stdin=None)
    with open(os.path.join(mnt, 'held'), 'w+b', buffering=0) as held:
        held.write(b'1')
        w.ok('passwd', '--passfile', p, '--new-passfile', new, *KDF, mnt, stdin=None)  # the mount point does, too
        held.write(b'2')
        os.fsync(held.fileno())
        w.refused(3, 'wrong passphrase', 'passwd', '--passfile', p, '--new-passfile', new, v, stdin=None)
        w.ok('key', 'change', '--passfile', new, '--new-keyfile', key, v, stdin=None)
        held.write(b'3')
        w.ok('lock', mnt)
        for name in (v, mnt):
            words = ['locked', 'unlock']
            w.refused(7, words, 'passwd', '--passfile', new, '--new-passfile', p, name, stdin=None)
            w.refused(7, words, 'key', 'change', '--keyfile', key, '--new-passfile', p, name, stdin=None)
            w.refused(7, words, 'key', 'add', '--keyfile', key, '--new-recovery', name, stdin=None)
            w.refused(7, words, 'key', 'remove', '--keyfile', key, name, '0', stdin=None)
            w.refused(7, words, 'key', 'label', '--keyfile', key, name, 'text', stdin=None)
        w.refused(3, 'no keyslot takes', 'unlock', '--passfile', new, mnt, stdin=None)
        w.ok('unlock', '--keyfile', key, mnt, stdin=None)
        held.write(b'4')
        held.seek(0)
        check(held.read() == b'1234', 'an open file')
    kill(w, mnt)
    w.ok('mount', '--keyfile', key, v, mnt, stdin=None)
    check(get(os.path.join(mnt, 'held'))[:2] == b'12', 'lost in a kill')
    w.ok('umount', mnt)
    w.ok('mount', '--ro', '--keyfile', key, v, mnt, stdin=None)
    for name in (v, mnt):  # before a code is drawn and shown
        w.refused(17, 'read-only', 'key', 'add', '--keyfile', key, '--new-recovery', name, stdin=None)
    w.refused(17, 'read-only', 'key', 'add', '--keyfile', w.path('none'), '--new-passfile', p, v, stdin=None)
    w.ok('umount', mnt)
    w.ok('check', '--keyfile', key, v, stdin=None)


@case
def live_change_while_frozen_or_rotating(w):
    v, mnt = both(w)
    p, new = passfile(w), passfile(w, OTHER, 'new')
    w.ok('mount', '--passfile', p, v, mnt, stdin=None)
    data = os.urandom(12 << 20)
    put(os.path.join(mnt, 'big'), data)
    w.ok('freeze', mnt)
    w.refused(6, ['frozen', 'thaw'], 'passwd', '--passfile', p, '--new-passfile', new, *KDF, v, stdin=None)
    w.refused(6, ['frozen', 'thaw'], 'key', 'add', '--passfile', p, '--new-recovery', mnt, stdin=None)
    w.ok('thaw', mnt)
    w.ok('rotate', '--contents', '--background', '--max-rate', '300K', '--passfile', p, mnt, stdin=None)
    w.ok('passwd', '--passfile', p, '--new-passfile', new, *KDF, v, stdin=None)
    check(state(w, mnt)['rotation']['state'] != 'ended', 'the rotation was over before')
    w.ok('rotate', '--resume', '--max-rate', '1G', mnt, stdin=None)
    wait_until(lambda: state(w, mnt)['rotation']['state'] == 'ended', 'the rotation ended', 60)
    rotation = state(w, mnt)['rotation']
    check(rotation['epochs'] == 1 and rotation['epoch'] == 3, repr(rotation))
    check(get(os.path.join(mnt, 'big')) == data, 'the content is another one')
    w.ok('umount', mnt)
    w.ok('check', '--passfile', new, v, stdin=None)


@case
def live_vault_whose_path_is_no_text(w):
    v, mnt = w.path('n\udcff'), w.path('m\udcff')
    try:
        os.mkdir(mnt)
    except OSError as error:
        raise Skipped(f'no such name here: {error.strerror}') from error
    w.ok('init', *CHEAP, v)
    w.ok('mount', v, mnt)
    p, other = passfile(w), passfile(w, OTHER, 'other')
    w.ok('key', 'add', *KDF, '--passfile', p, '--new-passfile', other, v, stdin=None)
    w.ok('key', 'remove', '--passfile', p, mnt, '1', stdin=None)
    check(json.loads(w.ok('who-can-open', '--json', v, stdin=None))['basis'] == 'mount', 'the mount was not found')
    for args in (['rotate', '--passfile', p, mnt], ['check', v], ['check', mnt]):
        done = w.run(*args, stdin=None)
        check(done.returncode == 0, repr(done))
    w.ok('passwd', *KDF, '--passfile', p, '--new-passfile', other, v, stdin=None)
    w.ok('umount', mnt)
    check(opens(w, v, '--passfile', other, stdin=None) == 0, 'the passphrase')
