# SPDX-License-Identifier: Apache-2.0
"""Bytes, pages, objects and subtrees."""
import errno
import json
import os
import shutil

from base import FILES, PAGE, content, flip, get, hostile, put, swap_files
from harness import check, wait_until


# ---- any changed byte ----

@hostile
def byte_of_a_content_page(v):
    flip(v.host('small'), PAGE + 1234)
    v.mount()
    v.broken('small', 'content page', 'changed')
    v.remount()
    v.broken('small', 'content page', 'changed')


@hostile
def byte_of_an_object_header(v):
    for offset in (9, 20, 45, 490, 500, 3000):
        original = get(v.host('inline'), 0, PAGE)
        flip(v.host('inline'), offset)
        v.mount()
        v.broken('inline')
        v.umount()
        put(v.host('inline'), 0, original)
    v.mount()
    v.same()


@hostile
def byte_of_a_node_page(v):
    flip(v.host('large'), 81 * PAGE + 77)
    v.mount()
    v.broken('large', 'node page', 'changed')
    # What the header itself seals is still there.
    with open(v.path('large'), 'rb') as f:
        check(f.read(80 * PAGE) == content('large', FILES['large'])[:80 * PAGE], 'the first pages')


@hostile
def byte_of_an_attribute_page(v):
    flip(v.host('small'), 210 * PAGE + 5)
    v.mount()
    try:
        os.getxattr(v.path('small'), 'user.note')
        check(False, 'the attribute was read')
    except OSError as e:
        check(e.errno == errno.EIO, f'errno {e.errno}')
    v.told('small', 'extended attributes', 'changed')
    v.same(*[n for n in FILES if n != 'small'])


@hostile
def byte_of_a_directory_page(v):
    flip(v.host('d'), PAGE + 4000)
    v.mount()
    try:
        os.listdir(v.path('d'))
        check(False, 'the directory was listed')
    except OSError as e:
        check(e.errno == errno.EIO, f'errno {e.errno}')
    v.told('d', 'directory page', 'changed')
    v.same('inline', 'small', 'large', 'e/one', 'e/other')


# ---- pages ----

@hostile
def pages_swapped_within_an_object(v):
    host = v.host('small')
    one, two = get(host, PAGE, PAGE), get(host, 2 * PAGE, PAGE)
    put(host, PAGE, two)
    put(host, 2 * PAGE, one)
    v.mount()
    v.broken('small', 'content page', 'changed')


@hostile
def page_of_another_object(v):
    put(v.host('d/one'), PAGE, get(v.host('d/two'), PAGE, PAGE))
    v.mount()
    v.broken('d/one', 'content page', 'changed')


@hostile
def page_copied_within_an_object(v):
    host = v.host('twin')
    put(host, 5 * PAGE, get(host, 6 * PAGE, PAGE))
    v.mount()
    v.broken('twin', 'content page', 'changed')


@hostile
def page_zeroed(v):
    put(v.host('small'), PAGE, bytes(PAGE))
    v.mount()
    v.broken('small', 'content page', 'changed')


@hostile
def pages_punched(v):
    import subprocess
    subprocess.run(['fallocate', '-p', '-o', str(2 * PAGE), '-l', str(PAGE), v.host('small')], check=True)
    v.mount()
    v.broken('small', 'content page', 'changed')


@hostile
def object_cut(v):
    for size in (0, 100, PAGE, 2 * PAGE, 3 * PAGE + 1):
        with open(v.host('d/one'), 'rb') as f:
            original = f.read()
        os.truncate(v.host('d/one'), size)
        v.mount()
        v.broken('d/one')
        v.umount()
        with open(v.host('d/one'), 'wb') as f:
            f.write(original)
    v.mount()
    v.same()


@hostile
def bytes_appended(v):
    """What lies behind the sealed size has no effect."""
    with open(v.host('small'), 'ab') as f:
        f.write(b'more' * 5000)
    v.mount()
    v.same()
    v.write('small', content('small', FILES['small']))
    v.remount()
    v.same()


def older(v, name):
    """Writes a file anew; returns a clone of the vault as it was before."""
    before = v.clone()
    v.mount()
    v.write(name, content('newer ' + name, FILES[name]))
    v.umount()
    return before


@hostile
def page_replaced_by_its_older_version(v):
    before = older(v, 'small')
    put(v.host('small'), PAGE, get(v.old(before, 'small'), PAGE, PAGE))
    v.mount()
    v.broken('small', 'content page', 'changed')


# ---- objects ----

@hostile
def objects_swapped(v):
    swap_files(v.host('d/one'), v.host('d/two'))
    v.mount()
    for name in ('d/one', 'd/two'):
        check(v.read(name) == errno.EIO, name)
        v.told(name, 'another object stands in its place', 'missing')
    v.same(*[n for n in FILES if n not in ('d/one', 'd/two')])


@hostile
def object_copied_over_another(v):
    shutil.copyfile(v.host('twin'), v.host('large'))
    v.mount()
    v.broken('large', 'another object stands in its place', 'missing')


@hostile
def objects_duplicated(v):
    """Copies under other names, in this folder and in others, have no effect."""
    for name in ('inline', 'small', 'd'):
        number = v.inodes[name]
        shutil.copyfile(v.host(name), f'{v.folder(name)}/{number ^ 1:016x}')
        shutil.copyfile(v.host(name), f'{v.folder(name)}/{number:016X}.copy')
        os.makedirs(v.top('7f'), exist_ok=True)
        shutil.copyfile(v.host(name), v.top(f'7f/{number:016x}'))
    v.mount()
    v.same()


@hostile
def object_hard_linked(v):
    os.link(v.host('small'), v.host('small') + '.link')
    v.mount()
    v.broken('small', kind='missing')


@hostile
def object_moved(v):
    os.makedirs(v.top('3c'), exist_ok=True)
    os.rename(v.host('small'), v.top('3c/' + os.path.basename(v.host('small'))))
    v.mount()
    v.broken('small', kind='missing')


@hostile
def object_missing(v):
    os.unlink(v.host('d/one'))
    v.mount()
    v.broken('d/one', kind='missing')
    os.unlink(v.path('d/one'))
    v.remount()
    check(not os.path.exists(v.path('d/one')), 'it is back')


@hostile
def object_replaced_by_its_older_version(v):
    before = older(v, 'small')
    shutil.copyfile(v.old(before, 'small'), v.host('small'))
    v.mount()
    check(v.read('small') == errno.EIO, 'the older version was read')
    v.told('small', 'older than its directory allows: generation ', 'older')
    v.says('\u00b7', ' < ')
    v.same(*[n for n in FILES if n != 'small'])


@hostile
def linked_file_replaced_by_its_older_version(v):
    """Both names of a file are pinned by one entry."""
    before = older(v, 'inline')
    shutil.copyfile(v.old(before, 'inline'), v.host('inline'))
    v.mount()
    for name in ('linked', 'inline'):
        check(v.read(name) == errno.EIO, f'{name} was read')
    v.told('inline', 'older than its directory allows', 'older')


@hostile
def object_brought_back_after_it_was_deleted(v):
    before = v.clone()
    v.mount()
    os.unlink(v.path('d/one'))
    v.umount()
    shutil.copyfile(v.old(before, 'd/one'), v.host('d/one'))
    v.mount()
    check(v.read('d/one') == errno.ENOENT, 'it is back')
    check('one' not in os.listdir(v.path('d')), 'it is listed')
    v.write('d/one', b'new')
    v.remount()
    check(v.read('d/one') == b'new', 'the new one')


@hostile
def object_brought_back_after_it_was_replaced(v):
    before = v.clone()
    number = v.inodes['d/one']
    v.mount()
    v.write('d/new', b'new content')
    os.rename(v.path('d/new'), v.path('d/one'))
    v.umount()
    shutil.copyfile(v.old(before, 'd/one'), os.path.join(v.dir, f'{number >> 55 & 255:02x}/{number:016x}'))
    v.mount()
    check(v.read('d/one') == b'new content', 'the replaced file is back')


# ---- subtrees ----

@hostile
def subtrees_swapped(v):
    swap_files(v.host('d'), v.host('e'))
    v.mount()
    for name in ('d', 'e'):
        try:
            os.listdir(v.path(name))
            check(False, f'{name} was listed')
        except OSError as e:
            check(e.errno == errno.EIO, f'errno {e.errno}')
        v.told(name, 'another object stands in its place', 'missing')
    v.same('inline', 'small', 'large', 'twin')


@hostile
def subtree_promoted_to_root(v):
    shutil.copyfile(v.host('d'), v.host(''))
    v.refused(9, 'missing')


@hostile
def subtree_rolled_back(v):
    """A directory with all that is in it, as of yesterday."""
    before = v.clone()
    v.mount()
    v.write('d/one', b'x' * 9999)
    v.write('d/three', b'y')
    v.umount()
    for name in ('d', 'd/one', 'd/two', 'd/sub', 'd/sub/deep'):
        shutil.copyfile(v.old(before, name), v.host(name))
    v.mount()
    try:
        os.listdir(v.path('d'))
        check(False, 'the older directory was listed')
    except OSError as e:
        check(e.errno == errno.EIO, f'errno {e.errno}')
    v.told('d', 'older than its directory allows: generation ', 'older')
    v.same('inline', 'small', 'large', 'twin', 'e/one', 'e/other')


@hostile
def root_rolled_back(v):
    before = v.clone()
    v.mount()
    v.write('small', b'newer')
    v.umount()
    shutil.copyfile(v.old(before, ''), v.host(''))
    v.refused(4, 'older than its directory allows')


@hostile
def links_directory_rolled_back(v):
    links = os.path.join(v.dir, '00', f'{2:016x}')
    with open(links, 'rb') as f:
        before = f.read()
    v.mount()
    os.link(v.path('small'), v.path('small2'))
    v.umount()
    with open(links, 'wb') as f:
        f.write(before)
    v.mount()
    check(v.read('small2') == errno.EIO and v.read('linked') == errno.EIO, 'through the links directory')
    v.says('0000000000000002', 'older than its directory allows')
    v.same('large', 'twin', 'd/one', 'e/one')


@hostile
def after_a_refusal_the_mount_works_on(v):
    flip(v.host('small'), PAGE + 1)
    os.unlink(v.host('e/one'))
    v.mount()
    for _ in range(50):
        check(v.read('small') == errno.EIO and v.read('e/one') == errno.EIO, 'no EIO')
    v.write('new', b'n' * 10000)
    v.write('d/one', content('d/one', FILES['d/one']))
    os.rename(v.path('new'), v.path('e/new'))
    v.remount()
    check(v.read('e/new') == b'n' * 10000, 'what was written beside it')
    v.same('inline', 'large', 'twin', 'd/one', 'd/two')
    # A finding that comes again and again is not a line each.
    lines = [line for line in v.lines().splitlines() if 'refused' in line]
    check(len(lines) < 20, f'{len(lines)} lines')


@hostile
def names_are_not_logged_unless_asked_for(v):
    flip(v.host('d/sub/deep'), PAGE + 1)
    v.mount()
    check(v.read('d/sub/deep') == errno.EIO, 'no EIO')
    v.says("'d/sub/deep'")
    v.umount()
    with open(v.log, 'wb') as log:
        v.w.ok('mount', v.dir, v.mnt)
        del log
    check(v.read('d/sub/deep') == errno.EIO, 'no EIO')
    counts = v.status()['findings']
    check(counts['changed'] > 0, f'{counts}')
    v.w.ok('umount', v.mnt)


FINDINGS_LINES = 100  # of a minute, fusefs/findings.h


@hostile
def every_finding_is_explained(v):
    """A line each in the log, counts in the status, and the same objects in the list of check."""
    before = older(v, 'small')
    shutil.copyfile(v.old(before, 'small'), v.host('small'))
    flip(v.host('twin'), PAGE + 7)
    os.unlink(v.host('e/one'))
    v.mount()
    damaged = {'small': 'object-old', 'twin': 'data-page', 'e/one': 'object-missing'}
    for _ in range(3):
        for name in damaged:
            check(v.read(name) == errno.EIO, f'{name} was read')
    v.says(*(f'{v.inodes[name]:016x}' for name in damaged))
    for name in damaged:
        lines = [line for line in v.lines().splitlines() if f'{v.inodes[name]:016x}' in line]
        check(len(lines) == 1 and 'first seen 20' in lines[0] and 'UTC' in lines[0], f'{name}: {lines}')
    counts = v.status()['findings']
    check(all(counts[kind] > 0 for kind in ('older', 'changed', 'missing')) and not counts['malformed'], f'{counts}')
    said = v.w.ok('status')
    check('wardfs check --names' in said and 'see the log' in said, said)
    for where in (v.mnt, v.dir):
        done = v.w.run('check', '--json', where)
        found = json.loads(done.stdout)['findings']
        check(done.returncode == 4, f'check {where}: status {done.returncode}')
        kinds = {f['object']: f['kind'] for f in found if 'object' in f}
        for name, kind in damaged.items():
            got = kinds.get(f'{v.inodes[name]:016x}')
            check(got == kind, f'check {where}: {name}: {got} instead of {kind}: {found}')
        check(len(kinds) == len(damaged), f'check {where}: {found}')
        if where == v.mnt:
            text = v.w.run('check', '--names', where).stdout.decode()
            check(all(name in text for name in damaged), text)
            v.umount()


@hostile
def findings_are_rate_limited(v):
    """A minute of the log holds so many lines, whatever is damaged; the counts go on, and what is missing is told."""
    v.mount()
    many = FINDINGS_LINES + 60
    for i in range(many):
        with open(v.path(f'd/many{i}'), 'wb') as f:
            f.write(b'm' * 100)
    numbers = [os.stat(v.path(f'd/many{i}')).st_ino for i in range(many)]
    v.umount()
    for number in numbers:
        flip(os.path.join(v.dir, f'{number >> 55 & 255:02x}', f'{number:016x}'), 2000)
    v.mount()
    for i in range(many):
        check(v.read(f'd/many{i}') == errno.EIO, f'many{i} was read')
    wait_until(lambda: v.lines().count('refused') >= FINDINGS_LINES, f'so many lines in {v.lines()}')
    lines = [line for line in v.lines().splitlines() if 'refused' in line]
    # Two minutes at most have begun meanwhile.
    check(FINDINGS_LINES <= len(lines) <= 2 * FINDINGS_LINES and len(lines) < many, f'{len(lines)} lines')
    check(v.status()['findings']['changed'] >= many, f'{v.status()["findings"]}')
    v.same()
