# SPDX-License-Identifier: Apache-2.0
"""A rich tree for the decoder: fill() makes it and returns what it put in, look() reads back what stands somewhere."""
import hashlib
import os
import random
import socket
import stat
import struct

PAGE = 4096
ZERO_PAGE = bytes(PAGE)
GIB = 1 << 30
NS = 1000000000


class Plan:
    """What was put in: content as written extents, so that a checksum needs no file. Paths are bytes below root."""

    def __init__(self, root, seed):
        self.root = root
        self.random = random.Random(seed)
        self.sums, self.sizes, self.attributes, self.targets, self.gone = {}, {}, {}, {}, []

    def path(self, name):
        return os.path.join(self.root, name)

    def file(self, name, *extents, size=None):
        """A file of (offset, bytes) extents that do not overlap."""
        fd = os.open(self.path(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        end = 0
        for offset, data in extents:
            at = 0
            while at < len(data):
                at += os.pwrite(fd, data[at:at + (1 << 20)], offset + at)
            end = max(end, offset + len(data))
        if size is not None:
            os.ftruncate(fd, size)
        os.close(fd)
        self.sizes[name] = end if size is None else size
        self.sums[name] = checksum(pages_of(extents, self.sizes[name]))

    def random_file(self, name, length):
        self.file(name, (0, self.random.randbytes(length)))

    def attribute(self, name, key, value):
        os.setxattr(self.path(name), key, value)
        self.attributes.setdefault(name, {})[key] = value

    def link(self, old, new):
        os.link(self.path(old), self.path(new), follow_symlinks=False)
        for table in (self.sums, self.sizes, self.targets, self.attributes):
            if old in table:
                table[new] = table[old]

    def symlink(self, name, target):
        os.symlink(target, self.path(name))
        self.targets[name] = target

    def remove(self, name):
        os.unlink(self.path(name))
        for table in (self.sums, self.sizes, self.targets, self.attributes):
            table.pop(name, None)
        self.gone.append(name)

    def mkdir(self, name):
        os.mkdir(self.path(name))


def pages_of(extents, size):
    pages = {}
    for offset, data in extents:
        at = 0
        while at < len(data):
            index, inside = divmod(offset + at, PAGE)
            part = data[at:at + PAGE - inside]
            if len(part) == PAGE:
                pages[index] = part
            else:
                page = bytearray(pages.get(index, ZERO_PAGE))
                page[inside:inside + len(part)] = part
                pages[index] = bytes(page)
            at += len(part)
    kept = {}
    for index, page in pages.items():
        page = page[:max(0, size - index * PAGE)]
        kept[index] = page + bytes(PAGE - len(page))
    return sorted(kept.items())


def checksum(pages):
    """Of the pages that are not zero, with their numbers: the same for a sparse file and a full one."""
    digest = hashlib.sha256()
    for index, page in pages:
        if page != ZERO_PAGE:
            digest.update(struct.pack('<Q', index) + page)
    return digest.hexdigest()


def file_pages(path):
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        at, size = 0, os.fstat(fd).st_size
        while at < size:
            try:
                at = os.lseek(fd, at, os.SEEK_DATA)
            except OSError:
                return
            end = os.lseek(fd, at, os.SEEK_HOLE)
            at -= at % PAGE
            while at < end:
                page = os.pread(fd, PAGE, at)
                yield at // PAGE, page + bytes(PAGE - len(page))
                at += PAGE
    finally:
        os.close(fd)


def fill_files(plan):
    plan.mkdir(b'files')
    for length in (0, 1, 3, 2700, 3200, 3231, 3232, 3233, 3584, 4095, 4096, 4097, 8191, 8192, 8193):
        plan.random_file(b'files/%d' % length, length)
    for pages in (79, 80, 81, 82, 207, 208, 209, 210):
        plan.random_file(b'files/pages-%d' % pages, pages * PAGE)
        plan.random_file(b'files/pages-%d-more' % pages, pages * PAGE - 13)
    plan.file(b'files/zeros', (0, bytes(50000)))
    plan.file(b'files/same', (0, b'\xa5' * PAGE * 3))
    block = plan.random.randbytes(1 << 20)
    plan.file(b'files/70MiB', (0, b''.join(struct.pack('<Q', i) + block[8:] for i in range(70)) + b'end'))


def fill_sparse(plan):
    plan.mkdir(b'sparse')
    noise = plan.random.randbytes
    plan.file(b'sparse/2GiB', (1, noise(3)), (79 * PAGE + 5, noise(PAGE)), (207 * PAGE + 4090, noise(12)),
              (16591 * PAGE, noise(2 * PAGE)), (16592 * PAGE + 128 * 128 * PAGE - 1, noise(2)),
              (GIB + 77, noise(100000)), size=2 * GIB)
    plan.file(b'sparse/9GiB', (2113743 * PAGE + 9, noise(2 * PAGE)), (9 * GIB + 1, noise(1)))
    plan.file(b'sparse/1TiB', (270549199 * PAGE, noise(3 * PAGE)), (1200 * GIB - 5, noise(10)))
    plan.file(b'sparse/hole', size=1 << 20)
    plan.file(b'sparse/last-byte', (5 * PAGE - 1, b'x'))
    plan.file(b'sparse/end', (PAGE, noise(10)), size=100 * PAGE + 1)


def fill_names(plan):
    plan.mkdir(b'names')
    plan.random_file(b'names/' + b'n' * 255, 5)
    plan.mkdir(b'names/' + b'\xc3\xa4' * 127 + b'd')
    legal = bytes(b for b in range(1, 256) if b != 0x2f)
    for at in range(0, len(legal), 50):
        plan.random_file(b'names/' + legal[at:at + 50], at)
    for name in (b'...', b'..a', b' ', b'-', b'\\', b'\n', b'\xff', b'0000000000000002'):
        plan.file(b'names/' + name)
    deep = b'names'
    for _ in range(40):
        deep += b'/deep'
        plan.mkdir(deep)
    plan.random_file(deep + b'/file', 1000)


def fill_links(plan):
    plan.mkdir(b'links')
    for length in (1, 40, 1023, 1024, 1025, 2800, 3231, 3232, 3233, 4094, 4095):
        plan.symlink(b'links/symlink-%d' % length, (b'/%d\xff ' % length * 1000)[:length])
    plan.symlink(b'links/loop', b'loop')
    plan.random_file(b'links/one', 6000)
    plan.link(b'links/one', b'links/two')
    plan.link(b'links/one', b'names/three')
    plan.file(b'links/empty')
    plan.link(b'links/empty', b'links/empty-too')
    plan.link(b'links/symlink-40', b'links/symlink-40-too')
    plan.link(b'links/symlink-4095', b'links/symlink-4095-too')
    plan.random_file(b'links/was-two', 100)
    plan.link(b'links/was-two', b'links/is-one')
    plan.remove(b'links/was-two')


def fill_special(plan):
    plan.mkdir(b'special')
    os.mkfifo(plan.path(b'special/fifo'), 0o640)
    plan.link(b'special/fifo', b'special/fifo-too')
    os.mknod(plan.path(b'special/socket'), stat.S_IFSOCK | 0o600)
    os.mknod(plan.path(b'special/null'), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(plan.path(b'special/far'), stat.S_IFBLK | 0o600, os.makedev(4095, 1048575))
    try:
        bound = socket.socket(socket.AF_UNIX)
        bound.bind(os.fsdecode(plan.path(b'special/bound')))
        bound.close()
    except OSError:
        plan.gone.append(b'special/bound')


def fill_directories(plan):
    for name in (b'many', b'few', b'none'):
        plan.mkdir(name)
        for i in range(3000):
            os.close(os.open(plan.path(name + b'/entry-%d' % i), os.O_WRONLY | os.O_CREAT, 0o644))
    for i in range(3000):
        if i % 100:
            os.unlink(plan.path(b'few/entry-%d' % i))
        os.unlink(plan.path(b'none/entry-%d' % i))
    plan.random_file(b'few/late', 4000)
    plan.mkdir(b'empty')


def fill_attributes(plan):
    plan.mkdir(b'attr')
    noise = plan.random.randbytes
    for name in (b'small', b'inline', b'over', b'large', b'many', b'shrunk', b'access'):
        plan.random_file(b'attr/' + name, 1500)
    plan.attribute(b'attr/small', b'user.a', b'')
    plan.attribute(b'attr/small', b'user.' + b'n' * 250, b'x')
    plan.attribute(b'attr/inline', b'user.v', noise(512 - 4 - 6))
    plan.attribute(b'attr/over', b'user.v', noise(513 - 4 - 6))
    plan.attribute(b'attr/large', b'user.large', noise(60 << 10))
    for i in range(100):
        plan.attribute(b'attr/many', b'user.%d' % (i * 7919 % 1000), noise(i))
    plan.attribute(b'attr/shrunk', b'user.gone', noise(5000))
    plan.attribute(b'attr/shrunk', b'user.stays', noise(50))
    os.removexattr(plan.path(b'attr/shrunk'), b'user.gone')
    del plan.attributes[b'attr/shrunk'][b'user.gone']
    plan.attribute(b'attr', b'user.directory', b'yes')
    plan.file(b'attr/empty')
    plan.attribute(b'attr/empty', b'user.x', b'alone')
    acl = struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *e) for e in (
        (1, 6, 0xffffffff), (2, 5, 1234), (4, 4, 0xffffffff), (8, 2, 99), (16, 7, 0xffffffff), (32, 0, 0xffffffff)))
    plan.attribute(b'attr/access', b'system.posix_acl_access', acl)
    plan.attribute(b'attr', b'system.posix_acl_default', acl)


def fill_modes(plan):
    plan.mkdir(b'modes')
    for mode in (0, 0o1, 0o644, 0o777, 0o1777, 0o2755, 0o4711, 0o7777):
        plan.file(b'modes/%o' % mode)
        os.chown(plan.path(b'modes/%o' % mode), mode + 1, 0xfffffffe - mode)
        os.chmod(plan.path(b'modes/%o' % mode), mode)
    for i, ns in enumerate((0, 1, -1, -NS, 999999999, 4102444800 * NS + 123456789, -2000000000 * NS + 5)):
        plan.file(b'modes/time-%d' % i, (0, b'x' * i))
        os.utime(plan.path(b'modes/time-%d' % i), ns=(ns, ns + 1))
    plan.symlink(b'modes/link', b'7777')
    os.chown(plan.path(b'modes/link'), 7, 8, follow_symlinks=False)
    os.utime(plan.path(b'modes/link'), ns=(3, 4), follow_symlinks=False)


def fill(plan):
    for part in (fill_files, fill_sparse, fill_names, fill_links, fill_special, fill_directories,
                 fill_attributes, fill_modes):
        part(plan)


def change(plan):
    """Changes a filled tree, under a later mount."""
    data = plan.random.randbytes(100 * PAGE)
    plan.file(b'files/changed', (0, data))
    for name, old in ((b'files/pages-82', 82 * PAGE), (b'files/4097', 4097)):
        os.truncate(plan.path(name), 10)
        os.truncate(plan.path(name), old)
        with open(plan.path(name), 'rb') as file:
            head = file.read(10)
        plan.sizes[name], plan.sums[name] = old, checksum(pages_of([(0, head)], old))
    plan.file(b'files/pages-210', (3, b'once more'))
    plan.file(b'files/1', (0, plan.random.randbytes(5 * PAGE)))
    plan.file(b'files/8193', (0, b'short again'))
    plan.remove(b'links/two')
    plan.remove(b'files/pages-209')
    for table in (plan.sums, plan.sizes):
        table[b'names/moved'] = table.pop(b'files/pages-208')
    os.rename(plan.path(b'files/pages-208'), plan.path(b'names/moved'))
    plan.gone.append(b'files/pages-208')
    plan.attribute(b'attr/inline', b'user.w', plan.random.randbytes(30000))
    for i in range(2, 700):
        plan.file(b'none/again-%d' % i)


def look(root):
    """lstat and target of everything below root, by path; '.' is root."""
    found = {b'.': (os.lstat(root), None)}
    pending = [b'']
    while pending:
        folder = pending.pop()
        for name in os.listdir(os.path.join(root, folder)):
            path = os.path.join(folder, name)
            info = os.lstat(os.path.join(root, path))
            target = os.readlink(os.path.join(root, path)) if stat.S_ISLNK(info.st_mode) else None
            found[path] = (info, target)
            if stat.S_ISDIR(info.st_mode):
                pending.append(path)
    return found
