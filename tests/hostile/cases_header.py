# SPDX-License-Identifier: Apache-2.0
"""The vault header, the journal, and the whole vault put back."""
import os
import shutil
import subprocess

from base import PAGE, Vault, flip, get, hostile, make_socket, put
from harness import CHEAP, PASSPHRASE, VAULT_FILES, case, check, wait_until

HEADER = 106496
SLOT = 1024


def both(v, change):
    for name in VAULT_FILES:
        change(v.top(name))


@hostile
def any_byte_of_the_header(v):
    """In both copies: 40 places from the magic to the MAC."""
    whole = [get(v.top(name), 0, HEADER) for name in VAULT_FILES]
    for offset in [0, 8, 12, 16, 24, 32, 40, 56, 60, 64, 68, 72, 80, 88, 96, 104, 108, 112, 120, 128, 300, 1010,
                   SLOT, SLOT + 2, SLOT + 4, SLOT + 8, SLOT + 17, SLOT + 80, SLOT + 96, SLOT + 128, SLOT + 160,
                   SLOT + 240, SLOT + 272, SLOT + 304, SLOT + 352, SLOT + 900, 50000, 99328, 99340, HEADER - 1]:
        both(v, lambda path, at=offset: flip(path, at))
        status = v.start()
        check(status in (3, 4, 5, 9, 13, 16), f'byte {offset}: status {status}: {v.lines()}')
        for name, data in zip(VAULT_FILES, whole):
            put(v.top(name), 0, data)
    v.mount()
    v.same()


@hostile
def one_copy_of_the_header(v):
    """Either copy alone opens the vault, and mends the other."""
    for bad, good in (VAULT_FILES, VAULT_FILES[::-1]):
        flip(v.top(bad), 70000)
        v.mount()
        v.same()
        v.umount()
        check(get(v.top(bad), 0, HEADER) == get(v.top(good), 0, HEADER), 'not mended')


@hostile
def keyslot_pasted_from_another_vault(v):
    w = v.w
    w.ok('init', *CHEAP, w.path('foreign'), stdin=b'foreign passphrase\n')
    slot = get(w.path('foreign/wardfs.vault'), SLOT, 3072)
    both(v, lambda path: put(path, SLOT + 3072, slot))
    v.refused(4, 'header was changed')
    check(w.run('mount', v.dir, v.mnt, stdin=b'foreign passphrase\n').returncode in (3, 4), 'the foreign secret')


@hostile
def keyslots_removed_reordered_weakened(v):
    slot = get(v.top(VAULT_FILES[0]), SLOT, 3072)
    changes = {
        'removed': (SLOT, bytes(3072), (5, 9)),
        'moved': (SLOT, bytes(3072) + slot, (4,)),
        'fewer passes': (SLOT + 84, (2).to_bytes(4, 'little'), (3, 4)),
        'memory below the bound': (SLOT + 80, (8191).to_bytes(4, 'little'), (16,)),
        'memory above the bound': (SLOT + 80, (4194305).to_bytes(4, 'little'), (16,)),
        'passes above the bound': (SLOT + 84, (65).to_bytes(4, 'little'), (16,)),
        'no lanes': (SLOT + 88, bytes(4), (16,)),
        'unknown kind': (SLOT, b'\xff\xff', (13,)),
        'flags': (SLOT + 2, b'\x01', (9, 13)),
        'unknown incompatible feature': (32, b'\x80', (13,)),
        'unknown format': (8, b'\x02', (13,)),
        'label changed': (SLOT + 16, b'\x05admin', (4,)),
    }
    whole = get(v.top(VAULT_FILES[0]), 0, HEADER)
    for what, (offset, data, expected) in changes.items():
        both(v, lambda path, at=offset, bytes_=data: put(path, at, bytes_))
        status = v.start()
        check(status in expected, f'{what}: status {status} instead of {expected}: {v.lines()}')
        both(v, lambda path: put(path, 0, whole))
    v.mount()
    v.same()


def instead(v, name, make):
    """Something else stands in place of a top-level file; its copy, where it has one, is gone."""
    kept = v.w.path('kept-' + name)
    os.rename(v.top(name), kept)
    make(v.top(name))
    return kept


THINGS = {
    'fifo': os.mkfifo,
    'symlink to itself': lambda path: os.symlink(os.path.basename(path), path),
    'symlink to a device': lambda path: os.symlink('/dev/zero', path),
    'directory': os.mkdir,
    'socket': make_socket,
    'empty': lambda path: open(path, 'w').close(),
    'short': lambda path: shutil.copyfile('/proc/self/status', path),
    'gigantic': lambda path: subprocess.run(['truncate', '-s', '1T', path], check=True),
}


def clear(path):
    if os.path.isdir(path) and not os.path.islink(path):
        os.rmdir(path)
    else:
        os.unlink(path)


@hostile
def something_else_in_place_of_the_header(v):
    for what, make in THINGS.items():
        kept = [instead(v, name, make) for name in VAULT_FILES]
        status = v.start()
        check(status in (5, 9), f'{what}: status {status}: {v.lines()}')
        for name, old in zip(VAULT_FILES, kept):
            clear(v.top(name))
            os.rename(old, v.top(name))
    for what, make in THINGS.items():
        kept = instead(v, VAULT_FILES[0], make)
        status = v.start()
        # The copy counts, unless writing it again is impossible.
        if status is None:
            v.same()
            v.umount()
        else:
            check(what == 'directory' and status in (9, 10, 15, 1), f'{what}: status {status}: {v.lines()}')
        clear(v.top(VAULT_FILES[0]))
        if status is None:
            shutil.copyfile(v.top(VAULT_FILES[1]), v.top(VAULT_FILES[0]))
        else:
            os.rename(kept, v.top(VAULT_FILES[0]))
    v.mount()
    v.same()


@hostile
def header_replaced_by_an_older_one(v):
    old = v.clone()
    v.mount()
    v.write('small', b'newer')
    v.umount()
    for name in VAULT_FILES:
        shutil.copyfile(os.path.join(old, name), v.top(name))
    v.refused(4, 'an older state than this machine has seen: mount 1')
    # Without the anchor the objects themselves show it.
    shutil.rmtree(v.w.env()['XDG_STATE_HOME'] + '/wardfs')
    v.refused(4, '')


# ---- the journal ----

def dirty(v):
    """Killed with records in the journal that are nowhere else."""
    v.mount()
    v.write('new', b'n' * 5000)
    v.kill()


@hostile
def something_else_in_place_of_the_journal(v):
    dirty(v)
    whole = v.clone('dirty')
    for what, make in THINGS.items():
        v.restore(whole)
        instead(v, 'wardfs.journal', make)
        status = v.start()
        check(status in (4, 9), f'{what}: status {status}: {v.lines()}')
        clear(v.top('wardfs.journal'))
        os.unlink(v.w.path('kept-wardfs.journal'))
    v.restore(whole)
    v.mount()
    check(v.read('new') == b'n' * 5000, 'what the journal had')
    v.same()


@hostile
def journal_of_a_clean_vault_does_not_matter(v):
    for what in ('missing', 'empty', 'zeros'):
        if what == 'missing':
            os.unlink(v.top('wardfs.journal'))
        else:
            os.truncate(v.top('wardfs.journal'), 0)
            if what == 'zeros':
                os.truncate(v.top('wardfs.journal'), 8 << 20)
        v.mount()
        v.same()
        v.umount()


@hostile
def journal_missing_foreign_cut(v):
    w = v.w
    dirty(v)
    whole = v.clone('dirty')
    journal = v.top('wardfs.journal')
    os.unlink(journal)
    v.refused(9, 'journal')
    w.ok('init', *CHEAP, w.path('foreign'))
    shutil.copyfile(w.path('foreign/wardfs.journal'), journal)
    v.refused(4, '')
    v.restore(whole)
    os.truncate(journal, 4 << 20)
    v.refused(9, 'journal')
    v.restore(whole)
    put(journal, 8192, bytes((8 << 20) - 8192))
    v.refused(4, '')
    v.restore(whole)
    v.mount()
    v.same()


@hostile
def journal_older_and_end_cut_off(v):
    """The anchor knows how far the journal went."""
    v.mount()
    v.write('one', b'1' * 3000)
    early = get(v.top('wardfs.journal'), 0, 8 << 20)
    v.write('two', b'2' * 3000)
    last = v.status()
    from harness import wait_until
    import time
    # The anchor follows within five seconds; there is no other way to see that it has.
    anchors = v.w.env()['XDG_STATE_HOME'] + '/wardfs'
    path = os.path.join(anchors, os.listdir(anchors)[0], 'anchor')
    since = time.time()
    wait_until(lambda: os.stat(path).st_mtime > since, 'the anchor was written', 20)
    v.kill()
    whole = v.clone('dirty')
    put(v.top('wardfs.journal'), 0, early)
    v.refused(4, 'its journal was cut or replaced by an older one')
    v.restore(whole)
    journal = get(v.top('wardfs.journal'), 0, 8 << 20)
    end = len(journal)
    while not any(journal[end - PAGE:end]):
        end -= PAGE
    put(v.top('wardfs.journal'), end - PAGE, bytes(PAGE))
    v.refused(4, 'its journal was cut or replaced by an older one')
    v.restore(whole)
    v.mount()
    check((v.read('one'), v.read('two')) == (b'1' * 3000, b'2' * 3000), f'{v.read("one")} {v.lines()}')
    check(last['mount_number'] == 2, f'{last}')


@hostile
def any_byte_of_the_journal(v):
    """A record that does not authenticate ends the journal; what was durable is missed by the anchor, or the vault
    is as of a moment before. Never a mixture, never another byte."""
    dirty(v)
    whole = v.clone('dirty')
    journal = get(v.top('wardfs.journal'), 0, 8 << 20)
    used = [n for n in range(0, 8 << 20, PAGE) if any(journal[n:n + PAGE])]
    for block in used[:12]:
        v.restore(whole)
        flip(v.top('wardfs.journal'), block + 40)
        status = v.start()
        if status is None:
            got = v.read('new')
            check(got in (b'n' * 5000, b'', 2), f'block {block // PAGE}: {str(got)[:60]}')
            v.same()
            v.umount()
        else:
            check(status in (4, 9), f'status {status}: {v.lines()}')


# ---- everything ----

@hostile
def whole_vault_rolled_back(v):
    old = v.clone()
    v.mount()
    v.write('small', b'newer')
    v.umount()
    new = v.clone('new')
    v.restore(old)
    v.refused(4, 'an older state than this machine has seen: mount 1, header write 3, instead of mount 2')
    v.refused(4, "take this one with 'wardfs accept'", '--ro')
    v.mount('--ro', '--no-anchor')
    v.same()
    v.umount()
    done = v.w.run('accept', '--yes', v.dir)
    check(done.returncode == 0 and b'instead of mount 2' in done.stdout, f'{done}')
    v.mount()
    v.same()
    v.umount()
    v.restore(new)
    v.refused(4, 'older state')


@hostile
def rolled_back_with_another_vault_id_in_one_copy(v):
    """The id that nobody vouches for does not decide where the anchor is looked for."""
    old = v.clone()
    v.mount()
    v.write('small', b'newer')
    v.umount()
    new = v.clone('new')
    for name in VAULT_FILES:
        v.restore(old)
        put(v.top(name), 40, b'\xaa\xbb')
        v.refused(4, 'an older state than this machine has seen')
        v.refused(4, 'an older state than this machine has seen', '--ro')
        v.restore(new)
        put(v.top(name), 40, b'\xaa\xbb')
        v.mount()
        v.says(f'{name} has the id of another vault')
        v.umount()
        check(len({get(v.top(n), 0, HEADER) for n in VAULT_FILES}) == 1, 'not mended')
        shutil.rmtree(v.w.path('new'))
        new = v.clone('new')


@hostile
def rolled_back_under_a_locked_mount(v):
    old = v.clone()
    v.w.ok('mount', v.dir, v.mnt)
    v.write('small', b'newer')
    v.w.ok('lock', v.mnt)
    locked = {name: get(v.top(name), 0, HEADER) for name in VAULT_FILES}
    for name in VAULT_FILES:
        shutil.copyfile(os.path.join(old, name), v.top(name))
    put(v.top(VAULT_FILES[0]), 40, b'\xaa\xbb')
    v.w.refused(4, 'an older state than this machine has seen', 'unlock', v.mnt)
    for name in VAULT_FILES:
        put(v.top(name), 0, locked[name])
    put(v.top(VAULT_FILES[0]), 40, b'\xaa\xbb')
    done = v.w.run('unlock', v.mnt)
    check(done.returncode == 0 and b'wardfs.vault has the id of another vault' in done.stderr, f'{done}')
    check(v.read('small') == b'newer', 'the file')
    v.w.ok('umount', v.mnt)


@hostile
def another_vault_under_a_locked_mount(v):
    """One that the same passphrase opens, and an older header where no anchor is asked."""
    v.w.ok('init', *CHEAP, v.w.path('second'))
    old = v.clone()
    v.w.ok('mount', v.dir, v.mnt)
    v.w.ok('lock', v.mnt)
    locked = v.clone('locked')
    anchors = v.w.env()['XDG_STATE_HOME'] + '/wardfs'
    for name in os.listdir(anchors):
        if os.path.exists(os.path.join(anchors, name, 'anchor')):
            os.unlink(os.path.join(anchors, name, 'anchor'))
    names = (*VAULT_FILES, 'wardfs.journal')
    for words, place in (('another vault is in the place', 'second'), ('an older one than at the locking', old)):
        for name in names:
            shutil.copyfile(v.w.path(place, name), v.top(name))
        v.w.refused(4, words, 'unlock', v.mnt)
        wait_until(lambda: v.state() == 'locked-with-mount', 'it is locked again')
        for name in names:
            put(v.top(name), 0, get(os.path.join(locked, name), 0, 8 << 20))
    v.w.ok('unlock', v.mnt)
    v.same()
    v.w.ok('umount', v.mnt)


@hostile
def header_files_of_two_vaults(v):
    """With one passphrase both would open."""
    v.w.ok('init', *CHEAP, v.w.path('second'))
    whole = v.clone()
    for name in VAULT_FILES:
        shutil.copyfile(v.w.path('second', name), v.top(name))
        v.refused(4, 'changed outside wardfs')
        check(v.w.run('key', 'list', v.dir).returncode in (0, 4), 'the list')
        done = v.w.run('passwd', v.dir, stdin=PASSPHRASE + b'\nnew words here\nnew words here\n')
        check(done.returncode == 4, f'{done}')
        v.restore(whole)
    v.mount()
    v.same()


@hostile
def anchor_out_of_reach(v):
    """Not with DAC rights, which root passes over: it is no folder of this user's."""
    anchors = v.w.env()['XDG_STATE_HOME'] + '/wardfs'
    folder = os.path.join(anchors, os.listdir(anchors)[0])
    os.chmod(folder, 0o777)
    v.refused(20, 'out of reach')
    v.refused(20, 'out of reach', '--ro')
    check(v.w.run('accept', '--yes', v.dir).returncode == 8, 'accepted')
    os.chmod(folder, 0o700)
    os.rename(folder, folder + '.away')
    os.symlink(folder + '.away', folder)
    v.refused(20, 'out of reach')
    os.unlink(folder)
    os.rename(folder + '.away', folder)
    v.mount()
    v.same()


@hostile
def accept_asks_and_shows(v):
    old = v.clone()
    v.mount()
    v.umount()
    v.restore(old)
    done = v.w.run('accept', v.dir)
    check(done.returncode == 2 and b'--yes' in done.stderr, f'{done}')
    v.refused(4, 'older state')
    check(b'Nothing to accept' not in v.w.run('accept', '--yes', v.dir).stdout, 'nothing?')
    check(b'Nothing to accept' in v.w.run('accept', '--yes', v.dir).stdout, 'again?')


@hostile
def anchor_damaged_foreign_missing(v):
    anchors = v.w.env()['XDG_STATE_HOME'] + '/wardfs'
    path = os.path.join(anchors, os.listdir(anchors)[0], 'anchor')
    for offset in (3, 30, 60, 500, 4100, 8000):
        flip(path, offset)
        v.refused(20, 'cannot be used')
        flip(path, offset)
    whole = get(path, 0, 8192)
    for data in (b'', whole[:4096], os.urandom(8192), whole + b'x'):
        with open(path, 'wb') as f:
            f.write(data)
        v.refused(20, 'cannot be used')
    os.unlink(path)
    os.mkfifo(path)
    v.refused(20, 'cannot be used')
    os.unlink(path)
    os.symlink(v.outside + '/treasure', path)
    v.refused(20, 'cannot be used')
    os.unlink(path)
    v.mount()
    v.says('first use on this machine')
    v.remount()
    v.says('last closed cleanly on')
    check('first use' not in v.lines(), v.lines())


@hostile
def clones_take_turns(v):
    twin = v.clone('twin')
    v.mount()
    v.umount()
    here = v.clone('here')
    v.restore(twin)
    v.refused(4, 'older state')
    v.restore(here)
    v.mount()
    v.same()
    # Both at once, the second one a copy of the first as it is now.
    v.w.mountpoint('mnt2')
    shutil.copytree(v.dir, v.w.path('second'))
    done = v.w.run('mount', v.w.path('second'), v.w.path('mnt2'))
    check(done.returncode in (4, 6), f'{done}')


@case
def init_records_the_vault(w):
    """No older state passes, not even that of the vault's birth."""
    v = Vault(w, fill=False)
    born = v.clone()
    v.mount()
    check('first use' not in v.lines(), v.lines())
    v.write('a', b'a')
    v.umount()
    v.restore(born)
    v.refused(4, 'mount 0, header write 1, instead of mount 1')
    shutil.rmtree(w.env()['XDG_STATE_HOME'] + '/wardfs')
