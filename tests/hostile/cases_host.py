# SPDX-License-Identifier: Apache-2.0
"""Nothing that the host says is believed: what stands in place of an object or a folder, before and while it is
mounted."""
import errno
import mmap
import os
import shutil
import stat
import threading
import time

from base import FILES, PAGE, content, flip, hostile, make_socket, put
from harness import Skipped, check


def in_place_of(v, name, make):
    os.unlink(v.host(name))
    make(v.host(name))
    start = time.monotonic()
    v.mount()
    v.broken(name, kind='missing')
    check(time.monotonic() - start < 50, 'it took too long')
    # What cannot be read can be removed and made anew.
    os.unlink(v.path(name))
    v.write(name, content(name, FILES[name]))
    v.remount()
    v.same()


@hostile
def symlink_in_place_of_an_object(v):
    in_place_of(v, 'small', lambda path: os.symlink(v.outside + '/treasure', path))


@hostile
def symlink_to_the_object_itself(v):
    kept = v.w.path('elsewhere')
    shutil.copyfile(v.host('small'), kept)
    in_place_of(v, 'small', lambda path: os.symlink(kept, path))


@hostile
def fifo_in_place_of_an_object(v):
    in_place_of(v, 'small', os.mkfifo)


@hostile
def socket_in_place_of_an_object(v):
    in_place_of(v, 'small', make_socket)


@hostile
def directory_in_place_of_an_object(v):
    in_place_of(v, 'small', os.mkdir)


@hostile
def devices_in_place_of_an_object(v):
    try:
        os.mknod(v.w.path('probe'), stat.S_IFCHR | 0o600, os.makedev(1, 5))
        with open(v.w.path('probe'), 'rb') as f:
            f.read(1)
    except OSError as e:
        raise Skipped(f'no devices here: {e.strerror}') from None
    in_place_of(v, 'small', lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5)))
    v.umount()
    in_place_of_again(v)


def in_place_of_again(v):
    """A terminal: opening it must neither hang nor make it ours."""
    v.mount()
    v.learn()
    v.umount()
    os.unlink(v.host('d/one'))
    os.mknod(v.host('d/one'), stat.S_IFCHR | 0o600, os.makedev(5, 0))
    v.mount()
    v.broken('d/one', kind='missing')


@hostile
def fifo_in_place_of_a_directory_object(v):
    os.unlink(v.host('d'))
    os.mkfifo(v.host('d'))
    v.mount()
    try:
        os.listdir(v.path('d'))
        check(False, 'listed')
    except OSError as e:
        check(e.errno == errno.EIO, f'errno {e.errno}')
    v.same('inline', 'small', 'large', 'e/one')


@hostile
def something_in_place_of_the_root(v):
    kept = v.w.path('root')
    os.rename(v.host(''), kept)
    def zeroed(path):
        shutil.copyfile(kept, path)
        put(path, 0, bytes(PAGE))

    for make in (os.mkfifo, os.mkdir, lambda path: os.symlink(kept, path), make_socket, zeroed,
                 lambda path: open(path, 'w').close()):
        make(v.host(''))
        v.refused(9, 'its root directory is missing or damaged')
        check('vault header' not in v.lines() and 'check --repair' in v.lines(), v.lines())
        done = v.w.run('rotate', v.dir)
        check(done.returncode == 9 and b': its root directory is missing or damaged' in done.stderr, repr(done))
        if os.path.isdir(v.host('')) and not os.path.islink(v.host('')):
            os.rmdir(v.host(''))
        else:
            os.unlink(v.host(''))
    shutil.copyfile(kept, v.host(''))
    flip(v.host(''), 3000)
    v.refused(4, 'its root directory was changed outside wardfs')
    os.rename(kept, v.host(''))
    v.mount()
    v.same()


# ---- folders ----

def elsewhere(v):
    """A folder without the root directory, and a file with an object in it."""
    for name in FILES:
        if v.folder(name) != v.folder(''):
            return v.folder(name), name
    raise Skipped('all objects are in one folder')


@hostile
def folder_replaced_by_a_symlink_before_the_mount(v):
    """Even if it leads to the true folder: the next moment it may lead elsewhere."""
    folder, name = elsewhere(v)
    shutil.copytree(folder, v.w.path('true-folder'))
    os.rename(folder, v.w.path('moved'))
    os.symlink(v.w.path('moved'), folder)
    v.mount()
    check(v.read(name) == errno.EIO, 'through the symlink')
    # New files that belong there are not made through it.
    for i in range(20):
        try:
            v.write(f'new{i}', b'x' * 20000)
        except OSError as e:
            check(e.errno in (errno.EIO, errno.ENOSPC, errno.EROFS), f'errno {e.errno}')
    before = sorted(os.listdir(v.w.path('true-folder')))
    v.w.run('umount', v.mnt)
    check(sorted(os.listdir(v.w.path('moved'))) == before, 'written through the symlink')


@hostile
def folder_replaced_by_a_symlink_while_mounted(v):
    v.mount()
    folder = v.folder('small')
    others = [n for n in FILES if v.folder(n) != folder]
    os.rename(folder, v.w.path('moved'))
    os.symlink(v.outside, folder)
    for name in FILES:
        got = v.read(name)
        check(got in (errno.EIO, content(name, FILES[name])), f'{name}: {str(got)[:40]}')
    v.same(*others)
    for i in range(10):
        try:
            v.write(f'new{i}', b'x' * 20000)
        except OSError as e:
            check(e.errno in (errno.EIO, errno.EROFS, errno.ENOSPC), f'errno {e.errno}')
    check(os.listdir(v.outside) == ['treasure'], 'written outside')
    v.w.run('umount', v.mnt)


@hostile
def folder_swapped_in_a_race(v):
    """While files are opened and made the folder is a symlink now and then."""
    v.mount()
    folder, moved = v.folder('small'), v.w.path('moved')
    end = time.monotonic() + 4
    stop = threading.Event()

    def race():
        while not stop.is_set():
            try:
                os.rename(folder, moved)
                os.symlink(v.outside, folder)
                os.unlink(folder)
                os.rename(moved, folder)
            except OSError:
                pass

    racer = threading.Thread(target=race)
    racer.start()
    try:
        i = 0
        while time.monotonic() < end:
            i += 1
            for name in ('small', 'd/one', 'e/one', 'large'):
                got = v.read(name)
                check(got in (errno.EIO, content(name, FILES[name])), f'{name}: {str(got)[:40]}')
            try:
                v.write(f'race{i % 50}', b'r' * 9000)
            except OSError as e:
                check(e.errno in (errno.EIO, errno.EROFS), f'errno {e.errno}')
    finally:
        stop.set()
        racer.join()
    if os.path.islink(folder):
        os.unlink(folder)
    if os.path.isdir(moved):
        os.rename(moved, folder)
    check(os.listdir(v.outside) == ['treasure'], 'written outside')
    v.w.run('umount', v.mnt)


@hostile
def folder_replaced_by_other_things(v):
    for make in (lambda path: open(path, 'w').close(), os.mkfifo, make_socket):
        folder = v.folder('small')
        os.rename(folder, v.w.path('moved'))
        make(folder)
        start = v.start()
        if start is None:
            check(v.read('small') == errno.EIO, 'read')
            v.w.run('umount', v.mnt)
            v.process.wait(timeout=60)
        os.unlink(folder)
        os.rename(v.w.path('moved'), folder)
    v.mount()
    v.same()


# ---- junk, sizes, changes under us ----

@hostile
def junk_by_the_hundred_thousand(v):
    for folder in range(100):
        path = v.top(f'{folder:02x}')
        os.makedirs(path, exist_ok=True)
        for i in range(1000):
            os.close(os.open(f'{path}/{folder << 55 | i + 3:016x}', os.O_WRONLY | os.O_CREAT, 0o600))
    start = time.monotonic()
    v.mount()
    v.same()
    for i in range(50):
        v.write(f'new{i}', b'j' * 5000)
    v.remount()
    for i in range(50):
        check(v.read(f'new{i}') == b'j' * 5000, f'new{i}')
    check(time.monotonic() - start < 55, 'it took too long')


@hostile
def names_in_other_cases_and_encodings(v):
    for name in ('small', 'd'):
        base = os.path.basename(v.host(name))
        folder = os.fsencode(v.folder(name))
        for other in (base.upper() + 'X', base.upper(), base + ' ', base[:-1], '0' + base, base + '.junk.1', '.' + base):
            path = folder + b'/' + other.encode()
            if not os.path.exists(path):
                shutil.copyfile(v.host(name), path)
        for odd in (b'\xff\xfe', b'new\nline', b'\xc3\x28', 'ａ'.encode() * 8, b'x' * 255):
            with open(folder + b'/' + odd, 'wb') as f:
                f.write(b'junk')
    for other in ('WARDFS.VAULT', 'Wardfs.Journal', '0A', '00 ', 'FF', 'zz', '100', 'wardfs.vault.3'):
        path = v.top(other)
        if not os.path.exists(path):
            with open(path, 'wb') as f:
                f.write(b'junk')
    v.mount()
    v.same()
    v.write('more', b'm' * 9000)
    v.remount()
    check(v.read('more') == b'm' * 9000, 'more')


@hostile
def objects_of_an_enormous_size(v):
    """As sparse as the host allows, up to 2^62 bytes."""
    for name in ('inline', 'small', 'd', ''):
        for power in (62, 50, 43, 40):
            try:
                os.truncate(v.host(name), 1 << power)
                break
            except OSError:
                continue
    start = time.monotonic()
    v.mount()
    v.same()
    v.write('small', content('small', FILES['small']))
    v.write('d/new', b'n' * 30000)
    v.remount()
    v.same()
    check(time.monotonic() - start < 55, 'it took too long')


def direct(v, name, size):
    """Reads past the kernel's cache: bytes or an errno."""
    try:
        fd = os.open(v.path(name), os.O_RDONLY | os.O_DIRECT)
    except OSError as e:
        return e.errno
    with mmap.mmap(-1, size) as buf:
        try:
            n = os.preadv(fd, [buf], 0)
            return buf[:n]
        except OSError as e:
            return e.errno
        finally:
            os.close(fd)


@hostile
def object_shrinks_under_us(v):
    v.mount()
    v.same()
    os.truncate(v.host('twin'), 50 * PAGE)
    check(direct(v, 'twin', 200 * PAGE) == errno.EIO, 'what is gone was read')
    check(direct(v, 'twin', 40 * PAGE) == content('twin', FILES['twin'])[:40 * PAGE], 'the rest')
    v.told('twin', kind='changed')
    v.same(*[n for n in FILES if n != 'twin'])


@hostile
def object_grows_under_us(v):
    v.mount()
    os.truncate(v.host('small'), 1 << 40)
    with open(v.host('d/one'), 'ab') as f:
        f.write(b'behind' * 100000)
    v.same()
    v.write('small', content('small', FILES['small']))
    v.remount()
    v.same()


@hostile
def object_changes_under_us(v):
    v.mount()
    v.same()
    flip(v.host('small'), 2 * PAGE + 9)
    got = direct(v, 'small', 2 * PAGE)
    check(got == errno.EIO, 'changed bytes were read')
    v.told('small', 'content page', 'changed')
    flip(v.host('small'), 2 * PAGE + 9)
    check(direct(v, 'small', 2 * PAGE) == content('small', FILES['small'])[:2 * PAGE], 'mended')


@hostile
def object_changes_while_it_is_read(v):
    v.mount()
    wanted = content('large', FILES['large'])
    stop = threading.Event()

    def change():
        while not stop.is_set():
            for page in (1, 7, 50):
                flip(v.host('large'), page * PAGE + 5)
                flip(v.host('large'), page * PAGE + 5)

    changer = threading.Thread(target=change)
    changer.start()
    try:
        seen = set()
        end = time.monotonic() + 3
        while time.monotonic() < end:
            got = direct(v, 'large', 60 * PAGE)
            check(got in (errno.EIO, wanted[:60 * PAGE]), 'something else was read')
            seen.add(got == errno.EIO)
    finally:
        stop.set()
        changer.join()
    v.remount()
    v.same()


@hostile
def object_replaced_while_it_is_open(v):
    v.mount()
    with open(v.path('small'), 'rb') as f:
        check(f.read(10) == content('small', FILES['small'])[:10], 'before')
        os.rename(v.host('twin'), v.host('small'))
        f.seek(0)
        check(f.read() == content('small', FILES['small']), 'the cache')
    v.umount()
    v.mount()
    for name in ('small', 'twin'):
        check(v.read(name) == errno.EIO, name)
    v.same(*[n for n in FILES if n not in ('small', 'twin')])


@hostile
def modes_times_and_owners_of_the_host_mean_nothing(v):
    for name in ('inline', 'small', 'd', ''):
        os.utime(v.host(name), (0, 1 << 33))
        os.chown(v.host(name), 12345, 54321)
        os.chmod(v.host(name), 0o000)
        os.setxattr(v.host(name), 'user.note', b'from the host') if name == 'small' else None
    v.mount()
    v.same()
    check(os.getxattr(v.path('small'), 'user.note') == b'n' * 2000, 'an attribute of the host')
    check(os.stat(v.path('small')).st_uid == 0, 'an owner of the host')


@hostile
def what_occupies_the_name_of_a_new_object(v):
    """Junk where a new file's object is to stand is moved aside, never opened or written."""
    v.mount()
    v.write('fresh', b'')
    number = os.stat(v.path('fresh')).st_ino
    v.inodes['fresh'] = number
    os.makedirs(v.folder('fresh'), exist_ok=True)
    os.symlink(v.outside + '/treasure', v.host('fresh'))
    v.write('fresh', b'f' * 20000)
    v.remount()
    check(v.read('fresh') == b'f' * 20000, 'the new file')
    check(not os.path.islink(v.host('fresh')), 'the symlink')
