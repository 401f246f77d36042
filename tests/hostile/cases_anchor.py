# SPDX-License-Identifier: Apache-2.0
"""What this machine knows of a vault: false, old, or of another one; and vaults that went their own ways."""
import errno
import os
import shutil

from base import PAGE, content, FILES, hostile, swap_files
from harness import CHEAP, VAULT_FILES, check

SLOT_BYTES = 3072


def state_of(v):
    return v.w.env()['XDG_STATE_HOME'] + '/wardfs'


def anchor_of(v):
    [name] = os.listdir(state_of(v))
    return os.path.join(state_of(v), name, 'anchor')


def elsewhere(v, name):
    """From here on it is another machine, or this one again."""
    here, kept = state_of(v), v.w.path('machine-' + name)
    os.rename(here, v.w.path('machine-here'))
    if os.path.isdir(kept):
        os.rename(kept, here)


def back(v, name):
    if os.path.isdir(state_of(v)):
        os.rename(state_of(v), v.w.path('machine-' + name))
    os.rename(v.w.path('machine-here'), state_of(v))


@hostile
def anchor_of_another_vault(v):
    """Authentic, with the same passphrase, and of another vault."""
    path = anchor_of(v)
    own = v.w.path('own-anchor')
    shutil.copyfile(path, own)
    before = os.listdir(state_of(v))
    v.w.ok('init', *CHEAP, v.w.path('second'))
    [other] = set(os.listdir(state_of(v))) - set(before)
    shutil.copyfile(os.path.join(state_of(v), other, 'anchor'), path)
    v.refused(20, "is another vault's")
    shutil.copyfile(own, path)
    v.mount()
    v.same()


@hostile
def anchor_put_together_or_put_back(v):
    """Pages of two anchors of the same vault are none. An older one as a whole is no alarm: it claims less."""
    path = anchor_of(v)
    with open(path, 'rb') as f:
        old = f.read()
    v.mount()
    v.write('small', b'newer')
    v.umount()
    with open(path, 'rb') as f:
        new = f.read()
    for mixed in (old[:PAGE] + new[PAGE:], new[:PAGE] + old[PAGE:], new[PAGE:] + new[:PAGE]):
        with open(path, 'wb') as f:
            f.write(mixed)
        v.refused(20, 'cannot be used')
    with open(path, 'wb') as f:
        f.write(old)
    v.mount()
    check(v.read('small') == b'newer', 'small')
    check('refused' not in v.lines(), v.lines())


@hostile
def clones_that_diverge(v):
    """Two machines went on with a copy each. Neither takes a header or a file of the other for its own newer one."""
    twin = v.clone('twin')
    v.mount()
    v.write('small', b'here')
    v.remount()
    v.write('d/one', b'here too')
    v.umount()
    here = v.clone('here')
    elsewhere(v, 'there')
    v.restore(twin)
    v.mount()
    v.says('first use on this machine')
    v.write('small', b'there')
    v.umount()
    there = v.clone('there')
    back(v, 'there')
    v.refused(4, 'older state')  # one mount behind
    # The older header of the other clone beside the files of this one.
    v.restore(here)
    for name in VAULT_FILES:
        shutil.copyfile(os.path.join(there, name), v.top(name))
    v.refused(4, 'older state')
    # A file of the other clone, of a mount with the same number.
    v.restore(here)
    shutil.copyfile(v.old(there, 'small'), v.host('small'))
    v.mount()
    check(v.read('small') == errno.EIO, 'a file of the other clone was read')
    v.told('small', 'than its directory', 'older')
    v.umount()
    # One that is older than what was written here since.
    shutil.copyfile(v.old(here, 'small'), v.host('small'))
    v.mount()
    v.write('small', b'here again')
    v.umount()
    shutil.copyfile(v.old(there, 'small'), v.host('small'))
    v.mount()
    check(v.read('small') == errno.EIO, 'a file of the other clone was read')
    v.told('small', 'older than its directory allows', 'older')
    v.same(*[n for n in FILES if n not in ('small', 'd/one')])
    v.umount()
    # Taken in spite of it, nothing of the history that was given up has a place in it.
    v.restore(there)
    v.w.ok('accept', '--yes', v.dir)
    v.mount()
    check(v.read('small') == b'there', 'small')
    v.write('small', b'accepted')
    v.umount()
    # Nor what is newer there than all that is known of it here.
    for name in ('small', 'd/one'):
        shutil.copyfile(v.old(here, name), v.host(name))
    v.mount()
    for name in ('small', 'd/one'):
        check(v.read(name) == errno.EIO, f'{name} of the history that was given up came back')
    v.told('d/one', 'newer than its directory knows: generation ', 'older')
    v.umount()


@hostile
def slots_changed_elsewhere_are_told(v):
    """A secret that was added on another machine is reported at the next unlock here, once."""
    elsewhere(v, 'there')
    new = v.w.path('new')
    with open(os.open(new, os.O_WRONLY | os.O_CREAT, 0o600), 'wb') as f:
        f.write(b'put in by somebody\n')
    v.w.ok('key', 'add', *CHEAP[:4], '--label', 'intruder', '--new-passfile', new, v.dir)
    back(v, 'there')
    v.mount()
    v.says("keyslot 1 'intruder' was added since the last unlock on this machine")
    v.remount()
    check('intruder' not in v.lines(), v.lines())


@hostile
def crash_is_no_alarm(v):
    """Killed again and again, while the anchor is behind and while it is not: mounted, and right."""
    for i in range(4):
        v.mount()
        v.write('crash', bytes([i]) * 40000)
        v.write('d/one', content('d/one', FILES['d/one']))
        v.kill()
    v.mount()
    check('refused' not in v.lines() and 'older' not in v.lines(), v.lines())
    check(v.read('crash') == bytes([3]) * 40000, 'what was synced')
    v.same()


@hostile
def one_header_file_put_back(v):
    """The copy of before beside the header of now, and the other way round: the newer one counts."""
    old = v.clone()
    v.mount()
    v.write('small', b'newer')
    v.umount()
    for name in VAULT_FILES:
        now = v.w.path('now')
        shutil.copyfile(v.top(name), now)
        shutil.copyfile(os.path.join(old, name), v.top(name))
        v.mount()
        check(v.read('small') == b'newer', 'small')
        v.umount()
    swap_files(*(v.top(name) for name in VAULT_FILES))
    v.mount()
    check(v.read('small') == b'newer', 'small')
