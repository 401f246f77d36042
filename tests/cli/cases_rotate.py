# SPDX-License-Identifier: Apache-2.0
"""rotate: of a vault directory, of a mounted vault, of a part; interrupted, paused, refused; after a leak."""
import hashlib
import json
import os
import signal
import time

from cases_mount import both
from cases_terminal import Terminal
from harness import CHEAP, PASSPHRASE, Skipped, case, check, snapshot, wait_until

KDF = CHEAP[:4]


def fill(mnt, files=40, big=6 << 20):
    """A small tree; returns its checksums."""
    for i in range(files):
        folder = os.path.join(mnt, f'd{i % 5}')
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, f'file{i}'), 'wb') as f:
            f.write(os.urandom(100 + i * 997))
    with open(os.path.join(mnt, 'big'), 'wb') as f:
        f.write(os.urandom(big))
    os.link(os.path.join(mnt, 'big'), os.path.join(mnt, 'd1', 'linked'))
    os.symlink('x' * 2000, os.path.join(mnt, 'd2', 'long'))
    return sums(mnt)


def sums(mnt):
    found = {}
    for folder, _, names in os.walk(mnt):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                found[os.path.relpath(path, mnt)] = os.readlink(path)
            else:
                with open(path, 'rb') as f:
                    found[os.path.relpath(path, mnt)] = hashlib.sha256(f.read()).hexdigest()
    return found


def pages(vault):
    """Every page of every object's file."""
    found = set()
    for folder, _, names in os.walk(vault):
        for name in names:
            if len(name) == 16:
                with open(os.path.join(folder, name), 'rb') as f:
                    while page := f.read(4096):
                        if page.count(0) < 4096:
                            found.add(page)
    return found


def filled(w, **more):
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    want = fill(mnt, **more)
    w.ok('umount', mnt)
    return v, mnt, want


def passfile(w):
    with open(w.path('pass'), 'wb') as f:
        f.write(PASSPHRASE + b'\n')
    return w.path('pass')


def rotation(w, mnt):
    entries = json.loads(w.ok('status', '--json', stdin=None))['mounts']
    return next(e for e in entries if e['mountpoint'] == mnt)['rotation']


def same(w, v, mnt, want, **more):
    w.ok('mount', v, mnt, **more)
    check(sums(mnt) == want, 'the content is another one')
    w.ok('umount', mnt)


@case
def rotate_keys_and_contents(w):
    v, mnt, want = filled(w)
    before = pages(v)
    check('epoch 2' in w.ok('rotate', v), 'no epoch in the answer')
    after = pages(v)
    check(len(before & after) > 1000, 'a rotation of the keys has sealed the pages again')
    check('every page' in w.ok('rotate', '--contents', v), 'answer')
    check(not after & pages(v), 'pages are as they were before a rotation of the contents')
    same(w, v, mnt, want)


@case
def rotate_a_mounted_vault(w):
    v, mnt, want = filled(w)
    w.ok('mount', v, mnt)
    check(rotation(w, mnt)['state'] == 'idle', 'state before')
    w.ok('rotate', mnt)
    w.ok('rotate', '--contents', mnt)
    state = rotation(w, mnt)
    check(state['state'] == 'ended' and state['epochs'] == 1 and state['epoch'] == 3, repr(state))
    check(sums(mnt) == want, 'the content is another one')
    w.ok('umount', mnt)
    same(w, v, mnt, want)


@case
def rotate_and_the_anchor(w):
    """What this machine knows goes on while a rotation is under way: an old copy is noticed also then."""
    v, mnt, _ = filled(w, big=20 << 20)
    w.ok('mount', v, mnt)
    state = w.env()['XDG_STATE_HOME'] + '/wardfs'
    path = os.path.join(state, os.listdir(state)[0], 'anchor')
    w.ok('rotate', '--contents', '--background', '--max-rate', '200K', mnt)

    def anchor():
        with open(path, 'rb') as f:
            return f.read()

    seen = anchor()
    with open(os.path.join(mnt, 'new'), 'wb') as f:
        f.write(b'new')
        f.flush()
        os.fsync(f.fileno())
    wait_until(lambda: anchor() != seen, 'the anchor is written during a rotation')
    check(rotation(w, mnt)['state'] == 'running', 'the rotation has ended')
    w.ok('rotate', '--resume', '--max-rate', '1G', mnt)
    wait_until(lambda: rotation(w, mnt)['state'] == 'ended', 'the rotation ended', 60)
    w.ok('umount', mnt)


@case
def rotate_a_part(w):
    v, mnt, want = filled(w)
    w.refused(14, ['nosuch', 'no such file'], 'rotate', '--contents', '--path', 'nosuch', v)
    before = pages(v)
    check('older epochs stay' in w.ok('rotate', '--contents', '--path', 'd3', v), 'answer')
    check(len(before & pages(v)) > 1000, 'the whole was sealed again')
    w.ok('mount', v, mnt)
    w.refused(2, '--contents', 'rotate', os.path.join(mnt, 'd1'))
    w.ok('rotate', '--contents', os.path.join(mnt, 'd1'))
    state = rotation(w, mnt)
    check(state['subtree'] and state['epochs'] == 3, repr(state))
    w.ok('rotate', mnt)
    check(rotation(w, mnt)['epochs'] == 1, 'older epochs after a whole rotation')
    w.ok('umount', mnt)
    same(w, v, mnt, want)


@case
def rotate_pauses_resumes_and_refuses_a_second(w):
    v, mnt, want = filled(w, big=20 << 20)
    w.ok('mount', v, mnt)
    w.refused(14, 'no rotation is under way', 'rotate', '--pause', mnt)
    w.ok('rotate', '--contents', '--background', '--max-rate', '200K', mnt)
    w.refused(6, ['another rotation', 'status'], 'rotate', mnt)
    w.ok('rotate', '--pause', mnt)
    check(rotation(w, mnt)['state'] == 'paused', 'not paused')
    check('rotation: paused, of the contents, ' in w.ok('status', stdin=None), 'no line about the rotation')
    done = rotation(w, mnt)['bytes_done']
    time.sleep(0.5)
    check(rotation(w, mnt)['bytes_done'] <= done + (1 << 20), 'it goes on in a pause')
    w.ok('rotate', '--resume', '--max-rate', '1G', mnt)
    wait_until(lambda: rotation(w, mnt)['state'] == 'ended', 'the rotation ended', 60)
    check(sums(mnt) == want, 'the content is another one')
    w.ok('umount', mnt)


@case
def rotate_counts_what_was_just_written(w):
    """A file that was written a moment before is in the totals, and how long it takes is said from the start."""
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    size = 4 << 20
    with open(os.path.join(mnt, 'new'), 'wb') as f:
        f.write(os.urandom(size))
    w.ok('rotate', '--contents', '--background', '--max-rate', '20K', mnt)
    wait_until(lambda: rotation(w, mnt)['state'] == 'running', 'the contents are sealed again')
    state = rotation(w, mnt)
    check(state['bytes_total'] >= size and state['bytes_done'] < size // 2, repr(state))
    check((size // 2) // (20 << 10) <= state['left_s'] <= 3600, repr(state))
    wait_until(lambda: rotation(w, mnt)['rate'] > 0, 'a rate is told')
    check(0 < rotation(w, mnt)['left_s'], 'no time is left')
    w.ok('rotate', '--resume', '--max-rate', '1G', mnt)
    wait_until(lambda: rotation(w, mnt)['state'] == 'ended', 'the rotation ended', 60)
    w.ok('umount', mnt)


@case
def rotate_goes_on_at_the_next_mount(w):
    v, mnt, want = filled(w, big=20 << 20)
    w.ok('mount', v, mnt)
    w.ok('rotate', '--contents', '--background', '--max-rate', '20K', mnt)
    w.ok('umount', mnt)
    w.refused(6, 'another rotation', 'rotate', '--contents', '--path', 'd1', v)
    w.ok('mount', v, mnt)
    state = rotation(w, mnt)
    check(state['max_rate'] == 20 << 10, f'another limit at the next mount: {state}')
    w.ok('rotate', '--resume', '--max-rate', '40K', mnt)
    w.ok('umount', mnt)
    w.ok('mount', v, mnt)
    check(rotation(w, mnt)['max_rate'] == 40 << 10, 'the limit that was set later is another one')
    time.sleep(1)
    state = rotation(w, mnt)
    check(state['state'] in ('counting', 'running') and state['bytes_done'] < 4 << 20, f'the limit does not hold: {state}')
    w.ok('rotate', '--resume', '--max-rate', '1G', mnt)
    wait_until(lambda: rotation(w, mnt)['state'] == 'ended', 'the rotation ended', 60)
    check(rotation(w, mnt)['epochs'] == 1, 'older epochs')
    check(sums(mnt) == want, 'the content is another one')
    w.ok('umount', mnt)


@case
def rotate_interrupted_goes_on(w):
    v, mnt, want = filled(w, big=20 << 20)
    work = w.start('rotate', '--contents', '--max-rate', '100K', '--progress=json', v,
                   stdin=open(passfile(w), 'rb'), stderr=-1)
    line = json.loads(work.stderr.readline())
    check(line['level'] == 'contents' and line['epoch'] == 2, repr(line))
    work.send_signal(signal.SIGUSR1)
    while json.loads(work.stderr.readline())['state'] != 'paused':
        pass
    work.send_signal(signal.SIGUSR2)
    while json.loads(work.stderr.readline())['state'] == 'paused':
        pass
    work.send_signal(signal.SIGINT)
    rest = work.stderr.read()
    work.stderr.close()
    check(work.wait(60) != 0 and b'goes on' in rest, repr(rest))
    done = w.run('rotate', v)
    check(done.returncode == 0 and b'begun before' in done.stderr, repr(done.stderr))
    check(b'epoch 2' in done.stdout and b'every page' in done.stdout, repr(done.stdout))
    same(w, v, mnt, want)


@case
def rotate_after_a_kill_goes_on(w):
    v, mnt, want = filled(w, big=20 << 20)
    for _ in range(3):
        work = w.start('rotate', '--contents', '--max-rate', '4M', '--progress=json', v,
                       stdin=open(passfile(w), 'rb'), stderr=-1)
        for line in work.stderr:
            if b'"running"' in line:
                break
        work.kill()
        work.wait()
        work.stderr.close()
    check(w.run('rotate', v).returncode == 0, 'the rotation does not go on')
    same(w, v, mnt, want)


@case
def rotate_after_a_leak(w):
    v, mnt, want = filled(w)
    new, other = w.path('new'), w.path('other')
    for path, text in ((new, b'a new one\n'), (other, b'another\n')):
        with open(path, 'wb') as f:
            f.write(text)
        os.chmod(path, 0o600)
    w.ok('key', 'add', *KDF, '--new-passfile', other, '--label', 'spare', v)
    w.refused(2, '--after-leak', 'rotate', '--keep', '1', v)
    w.ok('mount', v, mnt)
    w.refused(6, 'mount point', 'rotate', '--after-leak', '--yes', v)
    check(sums(mnt) == want, 'the content is another one')
    w.ok('umount', mnt)
    # Nobody is there to be asked: nothing goes unless it is said.
    before = w.ok('key', 'list', v, stdin=None)
    w.refused(2, ['keyslot 1 (passphrase, spare)', '--keep', '--yes'], 'rotate', '--after-leak', v)
    check('spare' in w.ok('key', 'list', v, stdin=None), before)
    check('removed keyslot 1 (passphrase, spare)\n' in
          w.ok('rotate', '--after-leak', '--yes', '--new-passfile', new, *KDF, v), 'not said what went')
    w.refused(3, 'wrong passphrase', 'mount', v, mnt)
    w.refused(3, 'wrong passphrase', 'mount', v, mnt, stdin=b'another\n')
    same(w, v, mnt, want, stdin=b'a new one\n')
    w.ok('key', 'add', *KDF, '--new-passfile', other, v, stdin=b'a new one\n')
    check('removed' not in w.ok('rotate', '--after-leak', '--keep', '1', v, stdin=b'a new one\n'), 'removed')
    same(w, v, mnt, want, stdin=b'another\n')
    same(w, v, mnt, want, stdin=b'a new one\n')


@case
def rotate_after_a_leak_keeps_the_other_half(w):
    """Only the passphrase of a keyslot that needs a key file too is another one; one without any changes its kind."""
    v, mnt = w.vault(), w.mountpoint()
    for name, data in (('old', b'old half\n'), ('new', b'new half\n'), ('alone', b'a third one\n'),
                       ('key', os.urandom(64))):
        with open(os.open(w.path(name), os.O_WRONLY | os.O_CREAT, 0o600), 'wb') as f:
            f.write(data)
    key = ('--keyfile', w.path('key'))
    w.ok('key', 'add', *KDF, '--new-passfile', w.path('old'), '--new-keyfile', w.path('key'), v)

    def leak(at, slot, old, new):
        return w.ok('rotate', '--after-leak', '--yes', *old, '--slot', slot, '--new-passfile', w.path(new), *KDF, at,
                    stdin=None)

    text = leak(v, '1', ('--passfile', w.path('old'), *key), 'new')
    check('removed keyslot 0' in text and 'keyslot 1 has the new passphrase (passphrase and key file)' in text, text)
    for alone in (('--passfile', w.path('new')), key, ('--passfile', w.path('old'), *key)):
        check(w.run('key', 'test', *alone, v, stdin=None).returncode in (2, 3), f'{alone} opens it')
    w.ok('mount', '--passfile', w.path('new'), *key, v, mnt, stdin=None)
    leak(mnt, '1', ('--passfile', w.path('new'), *key), 'old')
    w.ok('umount', mnt)
    check('key file' in w.ok('key', 'test', '--passfile', w.path('old'), *key, v, stdin=None), 'kind')
    w.ok('key', 'change', '--passfile', w.path('old'), *key, '--new-keyfile', w.path('key'), v, stdin=None)
    text = leak(v, '1', key, 'alone')
    check('keyslot 1 is a passphrase from now on (it was: key file)' in text, text)
    w.refused(3, 'no keyslot takes', 'key', 'test', *key, v, stdin=None)
    w.ok('key', 'test', '--passfile', w.path('alone'), v, stdin=None)


@case
def rotate_after_a_leak_of_a_mounted_vault(w):
    v, mnt, want = filled(w)
    new, other = w.path('new'), w.path('other')
    for path, text in ((new, b'a new one\n'), (other, b'another\n')):
        with open(path, 'wb') as f:
            f.write(text)
        os.chmod(path, 0o600)
    w.ok('key', 'add', *KDF, '--new-passfile', other, v)
    w.ok('mount', v, mnt)
    before = pages(v)
    with open(os.path.join(mnt, 'big'), 'rb') as held:
        w.ok('rotate', '--after-leak', '--yes', '--new-passfile', new, *KDF, mnt)
        check(hashlib.sha256(held.read()).hexdigest() == want['big'], 'the content of an open file')
    check(not before & pages(v), 'pages are as they were before')
    check(rotation(w, mnt)['epochs'] == 1, 'older epochs')
    w.ok('umount', mnt)
    w.refused(3, 'wrong passphrase', 'mount', v, mnt)
    w.refused(3, 'wrong passphrase', 'mount', v, mnt, stdin=b'another\n')
    same(w, v, mnt, want, stdin=b'a new one\n')


def passfiles(w, **texts):
    for name, text in texts.items():
        with open(w.path(name), 'wb', opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write(text)


def epochs(w, v):
    return json.loads(w.ok('who-can-open', '--json', v, stdin=None))['epochs']


@case
def rotate_after_a_leak_without_a_new_secret_changes_nothing(w):
    v = w.vault()
    passfiles(w, empty=b'', other=b'another\n')
    w.ok('key', 'add', *KDF, '--new-passfile', w.path('other'), v)
    before = snapshot(v)
    for words, name in (('empty passphrase', 'empty'), ('cannot read', 'missing')):
        done = w.run('rotate', '--after-leak', '--yes', '--new-passfile', w.path(name), *KDF, v)
        check(snapshot(v) == before, f'{name}: something changed')
        check(done.returncode and done.stdout == b'' and words.encode() in done.stderr, repr(done))
    for keys in ((b'new\n', b'other\n'), (b'\x03',)):
        t = Terminal(w, 'rotate', '--after-leak', *KDF, v)
        t.answer(b'Passphrase', PASSPHRASE + b'\n')
        for question in (b'Keep keyslot 1', b'the one that leaked'):
            t.expect(question)
            os.write(t.master, b'no\n' if b'Keep' in question else b'yes\n')
        for question, line in zip((b'New passphrase', b'New passphrase again'), keys):
            t.answer(question, line)
        check(t.end() and b'removed' not in t.text, t.text)
        check(snapshot(v) == before, f'{keys}: something changed')
    # All of it is one change: one more epoch, and the one before goes with the rotation.
    passfiles(w, new=b'a new one\n')
    w.ok('rotate', '--after-leak', '--yes', '--new-passfile', w.path('new'), *KDF, v)
    check(epochs(w, v) == [3], epochs(w, v))


@case
def rotate_after_a_leak_that_cannot_rotate_says_what_is_in_force(w):
    v, mnt = both(w)
    passfiles(w, new=b'a new one\n')
    w.ok('key', 'add', *KDF, '--new-passfile', w.path('new'), v)
    w.ok('mount', v, mnt)
    fill(mnt, files=3, big=1 << 20)
    w.ok('umount', mnt)
    for folder, _, names in os.walk(v):
        for name in names:
            if len(name) == 16:
                os.truncate(os.path.join(folder, name), 0)
    done = w.run('rotate', '--after-leak', '--yes', v)
    check(done.returncode and b'removed keyslot 1' in done.stdout, repr(done))
    check(b'changed already' in done.stderr and b'rotate --contents ' + v.encode() in done.stderr, repr(done))


@case
def rotate_after_a_leak_waits_for_another_rotation(w):
    """One of the keys, or of a part, goes on as it was begun: too little after a leak."""
    v, mnt, _ = filled(w, files=10, big=20 << 20)
    passfiles(w, other=b'another\n')
    w.ok('key', 'add', *KDF, '--new-passfile', w.path('other'), v)
    w.ok('mount', v, mnt)
    w.ok('rotate', '--contents', '--path', 'big', '--background', '--max-rate', '100K', mnt)
    w.ok('umount', mnt)
    before = snapshot(v)
    w.refused(6, ['another rotation', 'nothing was changed'], 'rotate', '--after-leak', '--yes', v)
    check(snapshot(v) == before, 'something changed')
    w.refused(6, 'another rotation', 'rotate', '--contents', v)
    w.ok('rotate', v)
    w.ok('rotate', '--after-leak', '--yes', v)


@case
def rotate_refuses(w):
    v, mnt = both(w)
    w.refused(3, 'wrong passphrase', 'rotate', v, stdin=b'wrong\n')
    w.refused(2, '--contents', 'rotate', '--path', 'x', v)
    w.refused(2, ['mount point', 'SIGUSR1'], 'rotate', '--pause', v)
    for rate in ('0', '4095', '3K', '18446744073709551616', '2097152G', '5X'):
        w.refused(2, '--max-rate', 'rotate', '--max-rate', rate, v)
    w.refused(14, 'neither a vault', 'rotate', mnt)
    w.ok('mount', v, mnt)
    w.refused(6, 'mount point', 'rotate', v)
    w.refused(3, 'wrong passphrase', 'rotate', mnt, stdin=b'wrong\n')
    w.ok('umount', mnt)
    w.ok('mount', '--ro', v, mnt)
    done = w.run('rotate', mnt)
    check(done.returncode != 0 and b'read-only' in done.stderr, repr(done.stderr))
    w.ok('umount', mnt)
    check(PASSPHRASE not in w.run('rotate', v).stdout, 'a passphrase in the answer')


@case
def rotate_goes_on_after_a_lock(w):
    v, mnt, want = filled(w, big=20 << 20)
    w.ok('mount', v, mnt)
    done = w.run('lock', '--help', stdin=None)
    if done.returncode:
        raise Skipped('this program has no lock')
    w.ok('rotate', '--contents', '--background', '--max-rate', '20K', mnt)
    w.ok('lock', mnt)
    w.ok('unlock', mnt)
    check(rotation(w, mnt)['level'] == 'contents', 'the rotation does not go on')
    state = rotation(w, mnt)
    check(state['max_rate'] == 20 << 10, f'a lock lifts the limit: {state}')
    w.ok('rotate', '--pause', '--max-rate', '40K', mnt)
    w.ok('lock', mnt)
    w.ok('unlock', mnt)
    done = rotation(w, mnt)['bytes_done']
    time.sleep(0.5)
    state = rotation(w, mnt)
    check((state['state'], state['max_rate'], state['bytes_done']) == ('paused', 40 << 10, done), f'a lock ends a pause: {state}')
    w.ok('rotate', '--resume', '--max-rate', '1G', mnt)
    wait_until(lambda: rotation(w, mnt)['state'] == 'ended', 'the rotation ended', 60)
    check(rotation(w, mnt)['epochs'] == 1, 'older epochs')
    check(sums(mnt) == want, 'the content is another one')
    w.ok('umount', mnt)
