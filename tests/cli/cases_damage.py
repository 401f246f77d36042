# SPDX-License-Identifier: Apache-2.0
"""One page of every kind damaged in a vault of 10,000 files, one at a time: the others read on, check names it, and --repair brings
back all that did not stand in it."""
import errno
import hashlib
import json
import os
import signal
import stat
import subprocess

import damage
from cases_check import errno_of, run_check, unmount
from harness import PASSPHRASE, VAULT_FILES, Skipped, case, check, wait_until, workers_in

DIRS, FILES = 33, 200
FLAT = 3000  # files in one directory: more than a journal of 8 MiB takes headers of
BIG_PAGES = 700
LINKED = 150
NAME, WHOLE = 'only its name', 'all of it'  # what may be another after a repair: its attributes, or its content, too


def content(d, f):
    """Of very different lengths: empty, inline, one page, many."""
    seed = hashlib.sha256(f'{d}/{f}'.encode()).digest()
    if f % 50 == 49:
        return b''
    size = seed[0] * 14 if seed[1] % 8 else 4096 * (seed[2] % 12) + seed[3]
    return (seed * (size // 32 + 1))[:size]


def write(path, data):
    with open(path, 'wb', buffering=0) as f:
        f.write(data)


def read(path):
    with open(path, 'rb') as f:
        return f.read()


def big(name):
    name = name.split('/')[-1]
    return b''.join(hashlib.sha256(f'{name} {i}'.encode()).digest() * 128 for i in range(BIG_PAGES))


def fill(root):
    for d in range(DIRS):
        os.mkdir(f'{root}/d{d:02}')
        for f in range(FILES):
            write(f'{root}/d{d:02}/file {f:03}', content(d, f))
    os.mkdir(f'{root}/flat')
    for f in range(FLAT):
        write(f'{root}/flat/{f}', b'%d' % f * 20 if f % 5 else b'')
    for name in 'big', 'big too', 'big linked':
        write(f'{root}/{name}', big(name))
    os.link(f'{root}/big linked', f'{root}/d05/big linked')
    for i in range(LINKED):
        os.link(f'{root}/d00/file {i:03}', f'{root}/d{i % DIRS:02}/link {i:03}')
    for i in range(60):
        os.symlink(f'target {i}', f'{root}/d07/symlink {i}')
        os.setxattr(f'{root}/d09/file {i:03}', 'user.small', b'%d' % i)
        os.chmod(f'{root}/d07/file {i:03}', 0o400 + i)
        os.chown(f'{root}/d07/file {i:03}', 1000 + i, 2000 + i)
    os.symlink('l' * 2000, f'{root}/d07/long symlink')
    os.mkfifo(f'{root}/d07/fifo')
    os.makedirs(f'{root}/d07/below/further/empty')
    for i in range(200):
        write(f'{root}/d07/below/further/leaf {i}', b'leaf %d' % i * 900)
        write(f'{root}/in the root {i}', b'%d' % i * 700)
    os.setxattr(f'{root}/big too', 'user.large', b'x' * 9000)
    os.setxattr(f'{root}/d07', 'user.of a directory', b'yes')


def one(path, st):
    """Attributes and content of one thing; what cannot be read is an error number."""
    what = (stat.S_IFMT(st.st_mode), stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid, st.st_nlink, st.st_mtime_ns)
    if stat.S_ISLNK(st.st_mode):
        return what, os.readlink(path)
    if not stat.S_ISREG(st.st_mode):
        return what, None
    digest = hashlib.sha256()
    try:
        names = os.listxattr(path)
        fd = os.open(path, os.O_RDONLY)
        try:
            while data := os.read(fd, 1 << 17):
                digest.update(data)
        finally:
            os.close(fd)
    except OSError as e:
        return what, e.errno
    for name in sorted(names):
        if not name.startswith('user.wardfs.'):
            digest.update(name.encode() + os.getxattr(path, name))
    return what, (st.st_size, digest.digest())


def look(root, known=()):
    """Every path; of a directory that cannot be listed to its end what could be seen, and what is known to be in it."""
    seen, pending = {}, ['']
    while pending:
        folder = pending.pop()
        entries = []
        try:
            with os.scandir(root + folder) as listing:
                for entry in listing:
                    entries.append(entry)
        except OSError as e:
            seen[folder + '/'] = e.errno
        for entry in entries:
            path = f'{folder}/{entry.name}'
            try:
                st = os.lstat(root + path)
            except OSError as e:
                seen[path] = None, e.errno
                continue
            seen[path] = one(root + path, st)
            if stat.S_ISDIR(st.st_mode):
                pending.append(path)
    for path in known:
        if path not in seen:
            try:
                seen[path] = one(root + path, os.lstat(root + path))
            except OSError as e:
                seen[path] = None, e.errno
    return seen


class Big:
    """The vault, what is in it, and where. What is hit in one round is not used by a later one."""

    def __init__(self, w):
        if not os.path.exists('/dev/fuse'):
            raise Skipped('no /dev/fuse')
        self.w = w
        self.mnt = w.mountpoint()
        self.vault = w.vault()
        w.ok('mount', self.vault, self.mnt)
        fill(self.mnt)
        unmount(w, self.mnt)
        self.tree = self.looked()
        check(len(self.tree) > 10000, 'it is no vault of 10,000 files')
        self.map = damage.Map(self.vault, PASSPHRASE)
        self.paths = {}
        for path, entry in self.map.entries.items():
            self.paths.setdefault(entry.number, set()).add('/' + path)

    def looked(self, *options, known=(), more=None):
        self.w.ok('mount', *options, self.vault, self.mnt)
        try:
            seen = look(self.mnt, known)
            if more:
                more(self.mnt)
            return seen
        finally:
            unmount(self.w, self.mnt)

    def number(self, path):
        return self.map.number(path[1:])

    def gone(self, folder, page=None):
        """Of a page of a directory (or its header: None): the names in it, those that have nothing but their entry, and those that
        come back with other attributes."""
        names, lost, other = set(), set(), set()
        for e in self.map.in_page(folder[1:] or '.', page):
            path = f'{folder}/{damage.text(e.name)}'
            names.add(path)
            if e.is_home and e.has_object:
                other.add(path)
                continue
            lost.add(path)
            other |= self.paths[e.number] - {path} if not e.is_home else set()
        return names, lost, other - lost

    def others_read_on(self, hit=(), folder=None, more=None):
        """Everything but what is named is as it was; what is named is an error. Listing this folder is one."""
        seen = self.looked('--ro', known=self.tree, more=more)
        for path, what in self.tree.items():
            if path in hit:
                check(seen[path][1] == errno.EIO, f'{path}: {seen[path]} instead of an error')
            else:
                check(seen[path] == what, f'{path} does not read on: {seen[path]} instead of {what}')
        surplus = {(path, seen[path]) for path in set(seen) - set(self.tree)}
        wanted = set() if folder is None else {(folder + '/', errno.EIO)}
        check(surplus == wanted, f'{surplus} instead of {wanted}')

    def found(self, *wanted, counts=False, status=9):
        """Exactly these findings, notes apart: (kind, path, first page, pages). Counts: links that were counted wrong are there, too."""
        result = run_check(self.w, self.vault, status=status)
        found = [f for f in result['findings'] if f['severity'] != 'note']
        said = {(f['kind'], f.get('path', f.get('host')), f.get('first_page'), f.get('pages')) for f in found}
        check(said == set(wanted) | ({('link-count', None, None, None)} if counts else set()), f'{said} instead of {wanted}')
        for f in found:
            number = self.map.entries.get(f.get('path', '')[1:])
            check(not number or int(f['object'], 16) == number.number, str(f))
        return result

    def repair(self, attributes=(), contents=(), lost=(), more=None):
        """Everything comes back as it was but for what is named: other attributes, other contents, or not at all."""
        repaired = run_check(self.w, self.vault, '--repair', '--yes', status=23)
        check(repaired['result'] == 'repaired', repaired['result'])
        after = self.looked(more=more)
        for path, what in self.tree.items():
            now = after.get(path)
            if path in lost:
                check(now is None, f'{path} is there: {now}')
                continue
            check(now is not None, f'{path} is gone')
            if path in attributes:
                check((now[0][0], now[1]) == (what[0][0], what[1]), f'{path}: {now} instead of {what}')
            elif path not in contents:
                check(now == what, f'{path}: {now} instead of {what}')
        surplus = {p for p in set(after) - set(self.tree) if not p.startswith('/wardfs-quarantine-')}
        check(not surplus, f'surplus: {sorted(surplus)[:5]}')
        self.tree = after
        return repaired


def pages_are(path, lost, repaired):
    """Exactly these pages are errors, or zeros when it was repaired."""
    wanted = big(path[1:])

    def there(mnt):
        with open(mnt + path, 'rb', buffering=0) as f:
            for i in range(BIG_PAGES):
                page = wanted[i * 4096:i * 4096 + 4096]
                if i in lost and not repaired:
                    check(errno_of(os.pread, f.fileno(), 4096, i * 4096) == errno.EIO, f'{path}: page {i} is no error')
                else:
                    check(os.pread(f.fileno(), 4096, i * 4096) == (bytes(4096) if i in lost else page), f'{path}: page {i}')
            if repaired:
                mark = os.getxattr(f.fileno(), 'user.wardfs.damaged').decode()
                check(mark == f'{lost[0] * 4096}-{lost[-1] * 4096 + 4095}', mark)
    return there


def pages_of(b, names, position, kind, lost, told=None):
    """Of a file with these names a page is hit, on which these pages hang (as far as the file goes)."""
    path = sorted(names)[0]
    b.map.poke(b.number(path), position)
    b.found((kind, path, lost[0], told or len(lost)))
    b.others_read_on(names, more=pages_are(path, lost, False))
    b.repair(contents=names, more=pages_are(path, lost, True))


def a_data_page(b):
    pages_of(b, {'/big'}, damage.position(300), 'data-page', range(300, 301))


def a_node_page(b):
    """The lower one of the two above page 400, of a file with two names."""
    pages_of(b, {'/big linked', '/d05/big linked'}, damage.node_position(400), 'node-page', range(336, 464))


def a_high_node_page(b):
    """Of two levels, and reaching over the end of the file."""
    pages_of(b, {'/big too'}, 226, 'node-page', range(208, BIG_PAGES), told=16384)


def a_file_header(b):
    path = '/d03/file 007'
    b.map.poke(b.number(path), 0, 600)
    b.found(('object-header', path, None, None))
    b.others_read_on({path})
    b.repair(contents={path})
    check(b.tree[path][1][0] == len(content(3, 7)), 'its size is lost')


def a_directory_header(b, folder):
    """With directories below it, attributes, and links to files elsewhere; or with very many files."""
    names, lost, other = b.gone(folder)
    back = sorted(p for p in names - lost if 'symlink' not in p)
    b.map.poke(b.number(folder), 0, 600)
    b.found(('object-header', folder, None, None), counts=any(not e.is_home for e in b.map.in_page(folder[1:], None)))
    b.others_read_on({p for p in b.tree if p.startswith(folder + '/')}, folder)

    def marked(mnt):
        for path in back[0], back[-1]:
            check(os.getxattr(mnt + path, 'user.wardfs.recovered'), f'{path} does not say that its age is not proven')
    b.repair(attributes=other, contents={folder}, lost=lost, more=marked)


def a_table_page(b, folder, page):
    names, lost, other = b.gone(folder, page)
    check(len(names) > 10, 'too little stands in it')
    b.map.poke(b.map.number(folder[1:] or '.'), damage.position(page))
    b.found(('table-page', folder or '/', page, 1), counts=any(not e.is_home for e in b.map.in_page(folder[1:] or '.', page)))
    b.others_read_on(names, folder)
    b.repair(attributes=other, contents={folder}, lost=lost)


def a_links_page(b):
    hit = set().union(*(b.paths[e.number] for e in b.map.in_page(damage.OF_LINKS, 2))) & set(b.tree)  # those of earlier rounds are gone
    check(len(hit) > 20, 'too little stands in it')
    b.map.poke(damage.LINKS, damage.position(2))
    b.found(('table-page', '/(links)', 2, 1), *(('link-without-file', path, None, None) for path in hit))
    b.others_read_on(hit)
    b.repair(attributes=hit)


def a_journal_page(b):
    damage.poke(os.path.join(b.vault, 'wardfs.journal'), 2 * 4096 + 100)


def journal_kinds(b, block):
    """What check says of the journal when this block is hit; it is as before afterwards."""
    journal = os.path.join(b.vault, 'wardfs.journal')
    damage.poke(journal, block * 4096 + 100)
    done = b.w.run('check', '--json', b.vault)
    damage.poke(journal, block * 4096 + 100)
    findings = [(f['kind'], f['severity']) for f in json.loads(done.stdout)['findings']
                if f['kind'] != 'foreign-file']  # what a repair moved aside
    check(done.returncode == (9 if ('journal', 'damage') in findings else 0), f'{findings}: status {done.returncode}')
    return findings


def a_journal_page(b):
    """The superblock that counts. The other one is only a note: a power cut may leave it torn."""
    said = [journal_kinds(b, block) for block in (0, 1)]
    check(sorted(said) == [[('journal', 'damage')], [('journal-superblock', 'note')]], str(said))
    damage.poke(os.path.join(b.vault, 'wardfs.journal'), said.index([('journal', 'damage')]) * 4096 + 100)
    b.found(('journal', 'wardfs.journal', None, None))
    b.others_read_on()
    b.repair()


def a_header_copy(b):
    damage.poke(os.path.join(b.vault, 'wardfs.vault.2'), 50000)
    b.found(('header-copy', 'wardfs.vault.2', None, None))
    b.others_read_on()
    b.repair()


@case
def damage_of_one_page_of_every_kind(w):
    b = Big(w)
    a_data_page(b)
    a_node_page(b)
    a_high_node_page(b)
    a_file_header(b)
    a_directory_header(b, '/d07')
    a_directory_header(b, '/flat')
    a_table_page(b, '/d09', 1)
    a_table_page(b, '', 5)  # of the root
    a_links_page(b)
    a_header_copy(b)
    a_journal_page(b)
    check({f['kind'] for f in run_check(w, b.vault)['findings']} == {'foreign-file'}, 'findings are left')
    damage.Map(b.vault, PASSPHRASE)  # the independent decoder walks all of it


@case
def damage_of_a_superblock_by_a_power_cut(w):
    """The superblock of a mount that came no further: torn, or whole while the header still says that the vault is clean."""
    vault = w.vault()
    mnt = w.mountpoint()
    for _ in range(2):
        w.ok('mount', vault, mnt)
        write(f'{mnt}/file', b'content' * 5000)
        unmount(w, mnt)
    journal = os.path.join(vault, 'wardfs.journal')
    headers = {name: read(os.path.join(vault, name)) for name in VAULT_FILES}
    log = read(journal)[8192:]
    w.ok('mount', vault, mnt)
    for pid in workers_in(w.folder):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not workers_in(w.folder), 'the worker is gone')
    subprocess.run(['umount', '-l', mnt], check=False, stderr=subprocess.DEVNULL)
    for block in 0, 1:  # killed: replayed from the one that opens; the other one may be needed or not
        said = torn(w, vault, journal, block)
        check(said in ([('journal-superblock', 'note')], [('vault-rollback', 'tampering')]), str(said))
    for name, was in headers.items():  # of the mount nothing but its superblock came to the disk
        write(os.path.join(vault, name), was)
    write(journal, read(journal)[:8192] + log)
    check(not run_check(w, vault, '--no-anchor')['findings'], 'a mount that had just begun')
    said = [torn(w, vault, journal, block) for block in (0, 1)]
    check(said == [[('journal-superblock', 'note')]] * 2, str(said))


def torn(w, vault, journal, block):
    damage.poke(journal, block * 4096 + 100)
    done = w.run('check', '--json', '--no-anchor', vault)
    damage.poke(journal, block * 4096 + 100)
    return [(f['kind'], f['severity']) for f in json.loads(done.stdout)['findings']]
