# SPDX-License-Identifier: Apache-2.0
"""Who has, or had, a secret of the vault or of another one: slots and headers of before, forged headers, the state of
a rotation."""
import hmac
import os
import shutil
import subprocess
import sys

from base import FILES, PAGE, alive, flip, get, hostile, put
from harness import CHEAP, LIMIT_S, PASSPHRASE, VAULT_FILES, Skipped, check, wait_until

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'interop'))

HEADER, SLOT, SLOT_BYTES = 106496, 1024, 3072
ROTATION, ROTATION_END = 960, 1008
OTHER = b'the passphrase of somebody else'


def both(v, data):
    for name in VAULT_FILES:
        put(v.top(name), 0, data)


def header(v):
    return get(v.top(VAULT_FILES[0]), 0, HEADER)


def forget(v):
    """As on a machine that has never seen the vault."""
    shutil.rmtree(v.w.env()['XDG_STATE_HOME'] + '/wardfs')


def secret_file(w, name, secret):
    path = w.path(name)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), 'wb') as f:
        f.write(secret + b'\n')
    return path


def add_key(v):
    v.w.ok('key', 'add', *CHEAP[:4], '--label', 'somebody', '--new-passfile', secret_file(v.w, 'other', OTHER), v.dir)


def forged(data, secret, changes):
    """A header that only somebody who knows `secret` can make: changed, and its MAC is right."""
    try:
        from vault_header import Header, hkdf
    except ImportError as e:
        raise Skipped(f'{e.name} is missing') from None
    found = Header(data, 'header')
    root_key = found._root_key(secret, {})
    data = bytearray(data)
    for at, what in changes.items():
        data[at:at + len(what)] = what
    del data[-32:]
    return bytes(data) + hmac.digest(hkdf(root_key, found.vault_id, b'wardfs 1 header mac', 32), data, 'sha256')


# ---- keyslots ----

@hostile
def keyslots_swapped_between_vaults(v):
    """Both open with the same passphrase: it opens the slot, and the header around it is not the slot's."""
    v.w.ok('init', *CHEAP, v.w.path('second'))
    here, there = header(v), get(v.w.path('second/wardfs.vault'), 0, HEADER)
    both(v, here[:SLOT] + there[SLOT:SLOT + SLOT_BYTES] + here[SLOT + SLOT_BYTES:])
    v.refused(4, 'header was changed')
    both(v, here)
    v.mount()
    v.same()


@hostile
def keyslots_exchanged(v):
    """Two slots of one header in each other's place, and one of them twice."""
    add_key(v)
    whole = header(v)
    one, two = whole[SLOT:SLOT + SLOT_BYTES], whole[SLOT + SLOT_BYTES:SLOT + 2 * SLOT_BYTES]
    check(any(two), 'the second slot is empty')
    for first, second in ((two, one), (one, one), (two, two)):
        both(v, whole[:SLOT] + first + second + whole[SLOT + 2 * SLOT_BYTES:])
        status = v.start()
        check(status in (3, 4), f'status {status}: {v.lines()}')
    both(v, whole)
    v.mount()
    v.same()


@hostile
def keyslot_of_before_a_new_passphrase(v):
    """The slot as it was before passwd, in the header of today: the old passphrase opens nothing."""
    old = header(v)
    v.w.ok('passwd', *CHEAP[:4], '--passfile', secret_file(v.w, 'old', PASSPHRASE),
           '--new-passfile', secret_file(v.w, 'new', OTHER), v.dir, stdin=None)
    new = header(v)
    both(v, new[:SLOT] + old[SLOT:SLOT + SLOT_BYTES] + new[SLOT + SLOT_BYTES:])
    v.refused(4, '')
    both(v, new)
    v.refused(3, '')


@hostile
def header_of_before_a_key_was_removed(v):
    """Its slots open again what was written with them; the anchor tells, and what was written since shows it too."""
    add_key(v)
    old = v.clone()
    v.w.ok('key', 'remove', '--yes', v.dir, '1')
    for name in VAULT_FILES:
        shutil.copyfile(os.path.join(old, name), v.top(name))
    v.refused(4, 'older state')
    v.says('a secret was changed or removed')
    v.restore(old)
    v.w.ok('accept', '--yes', v.dir)
    v.w.ok('key', 'remove', '--yes', v.dir, '1')
    v.mount()
    v.write('small', b'written since')
    v.umount()
    for name in VAULT_FILES:
        shutil.copyfile(os.path.join(old, name), v.top(name))
    forget(v)
    v.refused(4, '')


@hostile
def header_forged_by_a_former_holder(v):
    """Whoever had a secret knows the old root key, and can make old headers with any number in them. The slot of the
    owner is in them too, and the owner's passphrase opens it."""
    add_key(v)
    old = header(v)
    v.w.ok('key', 'remove', '--yes', v.dir, '1')
    v.mount()
    v.write('small', b'written since')
    v.umount()
    new = header(v)
    # The state of today stands in the clear: the old header claims it, and a later write.
    for counter in (int.from_bytes(new[72:80], 'little') + 1, 1 << 40):
        both(v, forged(old, OTHER, {56: new[56:72], 72: counter.to_bytes(8, 'little'), 80: new[80:104]}))
        status = v.start()
        check(status in (4, 20), f'status {status}: {v.lines()}')
    forget(v)
    status = v.start()
    check(status in (4, 9), f'without the anchor: status {status}: {v.lines()}')
    both(v, new)
    v.mount()
    check(v.read('small') == b'written since', 'small')


# ---- rotation ----

def rotating(v):
    """Rotates the contents; returns the header as it was meanwhile."""
    process = v.w.start('rotate', '--contents', v.dir, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL)
    process.stdin.write(PASSPHRASE + b'\n')
    process.stdin.close()
    found = []

    def look():
        if not found:
            seen = [get(v.top(name), 0, HEADER) for name in VAULT_FILES if os.path.exists(v.top(name))]
            found.extend(s for s in seen if len(s) == HEADER and any(s[ROTATION:ROTATION_END]))
        return process.poll() is not None

    wait_until(look, 'the rotation has ended', LIMIT_S)
    check(process.returncode == 0, f'rotate: status {process.returncode}')
    check(found, 'no header of a rotation under way was seen')
    check(not any(header(v)[ROTATION:ROTATION_END]), 'the rotation has not ended')
    return found[0]


@hostile
def rotation_state_replayed(v):
    """The header of a rotation under way, put back when the rotation is over: its master keys of before open nothing
    any more, and the mount that it belongs to is gone."""
    during = rotating(v)
    done = v.clone('done')
    both(v, during)
    v.refused(4, 'older state')
    # A machine that never saw the vault takes it for a crash of that mount, or refuses: never another byte.
    forget(v)
    status = v.start()
    if status is None:
        v.same()
        v.remount()
        v.same()
        v.umount()
    else:
        check(status in (4, 9), f'status {status}: {v.lines()}')
    v.restore(done)
    if os.path.isdir(v.w.env()['XDG_STATE_HOME'] + '/wardfs'):
        forget(v)
    v.mount()
    v.write('small', b'written since')
    v.umount()
    both(v, during)
    forget(v)
    v.refused(4, '')


@hostile
def rotation_state_forged(v):
    """Without a secret: any of its bytes. With one: numbers that no rotation can have."""
    whole = header(v)
    for at in range(ROTATION, ROTATION_END, 5):
        for name in VAULT_FILES:
            flip(v.top(name), at)
        v.refused(4, '')
        both(v, whole)
    root = whole[88:96]
    impossible = {
        'level': {960: b'\x03', 968: b'\x01', 976: root},
        'keys of one object': {960: b'\x01', 968: b'\x07', 976: root},
        'another root': {960: b'\x02', 968: b'\x01', 976: bytes([root[0] ^ 1]) + root[1:]},
        'no incarnation': {960: b'\x02', 968: b'\x07'},
        'a number of no object': {960: b'\x02', 968: b'\xff' * 8, 976: root},
        'begun, but not under way': {984: b'\x01'},
        'zeros': {992: b'\x01'},
    }
    for what, changes in impossible.items():
        both(v, forged(whole, PASSPHRASE, changes))
        status = v.start()
        check(status in (4, 9, 13), f'{what}: status {status}: {v.lines()}')
    both(v, whole)
    v.mount()
    v.same()


@hostile
def object_of_before_a_rotation(v):
    """It is of an older epoch than its entry allows, whatever its generation is."""
    before = v.clone()
    rotating(v)
    shutil.copyfile(v.old(before, 'd/one'), v.host('d/one'))
    page = get(v.old(before, 'small'), PAGE, PAGE)
    put(v.host('small'), PAGE, page)
    v.mount()
    for name in ('d/one', 'small'):
        check(isinstance(v.read(name), int), f'{name} of before the rotation was read')
    v.told('d/one')
    v.told('small', 'content page', 'changed')
    v.same(*[n for n in FILES if n not in ('d/one', 'small')])


@hostile
def rotation_cut_short_goes_on(v):
    """Killed in the midst of it: the next mount goes on, and no false alarm is raised."""
    big = b'r' * PAGE * 3000
    v.mount()
    v.write('big', big)
    process = v.w.start('rotate', '--contents', v.mnt, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL)
    process.stdin.write(PASSPHRASE + b'\n')
    process.stdin.close()
    wait_until(lambda: any(header(v)[ROTATION:ROTATION_END]) or process.poll() is not None, 'it is under way', LIMIT_S)
    v.kill()
    wait_until(lambda: process.poll() is not None or not alive(process.pid), 'rotate has ended', LIMIT_S)
    v.mount()
    check('refused' not in v.lines(), v.lines())
    v.same()
    check(v.read('big') == big, 'big')
