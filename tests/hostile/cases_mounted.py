# SPDX-License-Identifier: Apache-2.0
"""What is done to the vault's directory while it is mounted, on hosts of other kinds, and without Landlock."""
import ctypes
import errno
import os
import stat
import struct
import subprocess
import time

from base import FILES, PAGE, Vault, content, get, hostile, make_socket, put, swap_files, treasure
from cases_host import direct
from harness import VAULT_FILES, Skipped, case, check


def fine_or_refused(v, names=FILES):
    """Right, or an error; and all reads come back."""
    start = time.monotonic()
    for name in names:
        got = direct(v, name, (FILES[name] + PAGE - 1) // PAGE * PAGE)
        check(got in (errno.EIO, content(name, FILES[name])), f'{name}: {str(got)[:40]}')
    check(time.monotonic() - start < 50, 'it took too long')


@hostile
def object_replaced_by_other_things_while_mounted(v):
    """Each in place of an object that was read before, and of one that was not."""
    for make in (os.mkfifo, os.mkdir, make_socket, lambda path: os.symlink(v.outside + '/treasure', path)):
        v.mount()
        check(v.read('small') == content('small', FILES['small']), 'before')
        for name in ('small', 'd/two'):
            os.rename(v.host(name), v.w.path('kept'))
            make(v.host(name))
            fine_or_refused(v, [name])
            try:
                v.write(name, b'w' * 9000)
            except OSError as e:
                check(e.errno == errno.EIO, f'errno {e.errno}')
            if os.path.isdir(v.host(name)) and not os.path.islink(v.host(name)):
                os.rmdir(v.host(name))
            elif os.path.lexists(v.host(name)):
                os.unlink(v.host(name))
            os.rename(v.w.path('kept'), v.host(name))
        v.same(*[n for n in FILES if n not in ('small', 'd/two')])
        v.w.run('umount', v.mnt)
        v.process.wait(timeout=60)
        v.mount()
        for name in ('small', 'd/two'):
            try:
                v.write(name, content(name, FILES[name]))
            except OSError as e:
                # A checkpoint stored it in what stood there meanwhile, and is gone with that.
                check(e.errno == errno.EIO, f'errno {e.errno}')
                os.unlink(v.path(name))
                v.write(name, content(name, FILES[name]))
        v.learn()  # the number of one that was written anew
        v.remount()
        v.same()
        v.umount()


@hostile
def folders_exchanged_while_mounted(v):
    folders = sorted({v.folder(name) for name in FILES})
    if len(folders) < 2:
        raise Skipped('all objects are in one folder')
    v.mount()
    swap_files(folders[0], folders[1])
    fine_or_refused(v)
    v.w.run('umount', v.mnt)
    v.process.wait(timeout=60)
    swap_files(folders[0], folders[1])
    v.mount()
    v.same()


@hostile
def links_where_new_files_are_made(v):
    """The names under which a header is written before it takes its place, and the journal, lead elsewhere."""
    def links():
        for name in [n + '.new' for n in VAULT_FILES]:
            if not os.path.lexists(v.top(name)):
                os.symlink(v.outside + '/treasure', v.top(name))

    links()
    status = v.start()
    if status is None:
        v.same()
        v.write('small', content('small', FILES['small']))
        links()
        v.w.run('umount', v.mnt)
        v.process.wait(timeout=60)
    for name in VAULT_FILES:
        if os.path.islink(v.top(name + '.new')):
            os.unlink(v.top(name + '.new'))
        check(stat.S_ISREG(os.lstat(v.top(name)).st_mode), f'{name} is a link')
    v.mount()
    v.same()


@hostile
def header_and_journal_replaced_while_mounted(v):
    """They are written again in their places, never through what stands there."""
    v.mount()
    v.write('small', content('small', FILES['small']))
    for name in (*VAULT_FILES, 'wardfs.journal'):
        os.rename(v.top(name), v.w.path('kept-' + name))
        os.symlink(v.outside + '/treasure', v.top(name))
    v.write('small', content('small', FILES['small']))
    v.same()
    v.w.run('umount', v.mnt)
    v.process.wait(timeout=60)
    for name in VAULT_FILES:
        check(not os.path.islink(v.top(name)), f'{name} is a link still')
    os.unlink(v.top('wardfs.journal'))
    os.rename(v.w.path('kept-wardfs.journal'), v.top('wardfs.journal'))
    v.mount()
    v.same()


@hostile
def junk_of_every_kind(v):
    """In every folder and at the top, under names that could be objects and under others."""
    makers = (os.mkfifo, os.mkdir, make_socket, lambda path: os.symlink('/', path),
              lambda path: os.symlink('.', path), lambda path: os.close(os.open(path, os.O_CREAT | os.O_WRONLY)))
    folders = [n for n in os.listdir(v.dir) if len(n) == 2]
    for i in range(600):
        folder = folders[i % len(folders)]
        number = int(folder, 16) << 55 | 1 << 40 | i
        makers[i % len(makers)](v.top(f'{folder}/{number:016x}'))
        makers[i % len(makers)](v.top(f'junk{i}'))
    v.mount()
    v.same()
    for i in range(20):
        v.write(f'd/new{i}', b'n' * 9000)
    v.remount()
    v.same()
    check(all(v.read(f'd/new{i}') == b'n' * 9000 for i in range(20)), 'the new files')


@case
def objects_of_two_to_the_62_bytes(w):
    """On a host that lets files be as long as that."""
    os.mkdir(w.path('vault'))
    done = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=200m', 'tmpfs', w.path('vault')],
                          stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise Skipped(f'no tmpfs here: {done.stderr.decode().strip()}')
    v = Vault(w)
    for name in ('inline', 'small', 'd', '', 'large'):
        os.truncate(v.host(name), 1 << 62)
    start = time.monotonic()
    v.mount()
    v.same()
    v.write('small', content('small', FILES['small']))
    v.write('d/new', b'n' * 30000)
    v.remount()
    v.same()
    v.umount()
    os.truncate(v.top('wardfs.journal'), 1 << 62)
    for name in VAULT_FILES:
        os.truncate(v.top(name), 1 << 62)
    v.refused(9, '')
    check(time.monotonic() - start < 50, 'it took too long')


# ---- without Landlock ----

class Filter(ctypes.Structure):
    _fields_ = [('len', ctypes.c_ushort), ('filter', ctypes.c_void_p)]


LANDLOCK_CREATE_RULESET = 444  # on every architecture


def no_landlock():
    """In the child: the kernel seems to have none."""
    code = (struct.pack('=HBBI', 0x20, 0, 0, 0) +                       # load the number
            struct.pack('=HBBI', 0x15, 0, 1, LANDLOCK_CREATE_RULESET) +  # is it this one?
            struct.pack('=HBBI', 0x06, 0, 0, 0x50000 | errno.ENOSYS) +  # then ENOSYS
            struct.pack('=HBBI', 0x06, 0, 0, 0x7fff0000))               # else it is allowed
    buffer = ctypes.create_string_buffer(code, len(code))
    program = Filter(4, ctypes.cast(buffer, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(22, 2, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), 'prctl')


@case
def without_landlock_nothing_is_written_outside(w):
    """The same attacks by links, where only the descriptors protect."""
    v = Vault(w)
    before = treasure(v.outside)
    w.start = lambda *args, start=w.start, **more: start(*args, preexec_fn=no_landlock, **more)
    v.mount()
    folder = v.folder('small')
    os.rename(folder, w.path('moved'))
    os.symlink(v.outside, folder)
    for name in FILES:
        got = v.read(name)
        check(got in (errno.EIO, content(name, FILES[name])), f'{name}: {str(got)[:40]}')
    for name in VAULT_FILES:
        os.symlink(v.outside + '/treasure', v.top(name + '.new'))
    for i in range(20):
        try:
            v.write(f'new{i}', b'x' * 20000)
        except OSError as e:
            check(e.errno in (errno.EIO, errno.EROFS, errno.ENOSPC), f'errno {e.errno}')
    w.run('umount', v.mnt)
    v.process.wait(timeout=60)
    check(treasure(v.outside) == before, 'something outside the vault was changed')
    os.unlink(folder)
    os.rename(w.path('moved'), folder)
    v.mount()
    v.same()
    v.umount()
    check(treasure(v.outside) == before, 'something outside the vault was changed')


# ---- tables and nodes ----

@hostile
def node_and_directory_pages_of_before(v):
    """What stands between a header and the contents, as it was earlier, and in each other's place."""
    before = v.clone()
    v.mount()
    with open(v.path('large'), 'r+b') as f:
        f.seek(150 * PAGE)
        f.write(b'newer' * 2000)
    v.write('d/three', b'3')
    v.umount()
    now = get(v.host('large'), 0, 260 * PAGE)
    old = get(v.old(before, 'large'), 0, 260 * PAGE)
    changed = [p for p in range(1, len(now) // PAGE) if now[p * PAGE:p * PAGE + PAGE] != old[p * PAGE:p * PAGE + PAGE]]
    check(len(changed) >= 2, f'{changed}')
    for page in changed:
        put(v.host('large'), page * PAGE, old[page * PAGE:page * PAGE + PAGE])
        v.mount()
        check(v.read('large') == errno.EIO, f'page {page} of before was read')
        v.told('large', 'page', 'changed')
        v.umount()
        put(v.host('large'), 0, now)
    for page in (1, 2):
        put(v.host('d'), page * PAGE, get(v.old(before, 'd'), page * PAGE, PAGE))
    v.mount()
    try:
        check(v.read('d/three') == errno.EIO and not os.listdir(v.path('d')), 'the directory of before was listed')
    except OSError as e:
        check(e.errno == errno.EIO, f'errno {e.errno}')
    v.told('d', 'directory page', 'changed')
    v.same('inline', 'small', 'twin', 'e/one', 'e/other')


@hostile
def byte_of_the_links_directory(v):
    """Every name of a linked file goes through it."""
    links = os.path.join(v.dir, '00', f'{2:016x}')
    put(links, PAGE + 4000, bytes([get(links, PAGE + 4000, 1)[0] ^ 1]))
    v.mount()
    for name in ('inline', 'linked'):
        check(v.read(name) == errno.EIO, f'{name} was read')
    v.says('0000000000000002', 'first seen')
    v.same(*[n for n in FILES if n != 'inline'])
