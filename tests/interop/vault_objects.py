# SPDX-License-Identifier: Apache-2.0
"""Objects, directories and the tree of wardfs-vault(5)."""
import os
import struct
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault_header import PAGE, Cursor, VaultError, check, check_zero, open_file, open_header, unseal, unwrap

SEAL_BYTES, FANOUT, LEVELS, DIRECT = 32, 128, 5, 80
ATTR_LEVEL, ATTR_PAGES, ATTR_AT, ATTR_INLINE = 128, 16, 210, 512
ROOT, LINKS = 1, 2
FILE, DIRECTORY, SYMLINK, FIFO, SOCKET, CHARDEV, BLOCKDEV = TYPES = range(1, 8)
HAS_OBJECT, HAS_ATTRIBUTES = 1, 2


# Sections PAGES AND SEALS, POSITIONS, OBJECT KEYS and OBJECT HEADER.

def span(level):
    return 1 if level == 0 else 1 + FANOUT * span(level - 1)


def top_rows():
    """(level, position, first index) of the nodes whose seals stand in the object's header."""
    rows, position, index = [], 1 + DIRECT, DIRECT
    for level in range(1, LEVELS + 1):
        rows.append((level, position, index))
        position += span(level)
        index += FANOUT ** level
        if level == 1:
            check(position == ATTR_AT, 'rows of positions')
            position += ATTR_PAGES
    return rows, index


TOP_ROWS, MAX_PAGES = top_rows()


def split_seals(data, what):
    seals = [data[at:at + SEAL_BYTES] for at in range(0, len(data), SEAL_BYTES)]
    for seal in seals:
        generation, flags = struct.unpack('<HH', seal[28:])
        check(flags == 0, f'{what}: flags in a seal')
        check(generation != 0 or is_hole(seal), f'{what}: seal without a generation')
    return seals


def is_hole(seal):
    return seal.count(0) == SEAL_BYTES


class OtherTime(VaultError):
    """Authentic, but older or newer than what refers to it."""


class Object:
    """An object's file, its header opened and checked against the home entry."""

    def __init__(self, vault, entry):
        self.number, self.entry = entry.number, entry
        self.what = f'object {entry.number:016x}'
        self.fd = vault.open_object(entry.number, self.what)
        try:
            page = self._read_host(0, 'header')
            self.epoch, body = self._open_header(page, vault.header)
            self._parse_body(body, vault.header)
        except BaseException:
            os.close(self.fd)
            raise

    def close(self):
        os.close(self.fd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _read_host(self, position, what):
        data = os.pread(self.fd, PAGE, position * PAGE)
        check(len(data) == PAGE, f'{self.what}: {what}: the file ends before page {position}')
        return data

    def _open_header(self, page, vault_header):
        what = f'{self.what}: header'
        c = Cursor(page, what)
        check(c.take(8) == b'WARDOBJ\1', f'{what}: wrong magic')
        check(c.u16() == 1, f'{what}: unknown suite')
        group, epoch, number, incarnation, key_bytes = c.u16(), c.u32(), c.u64(), c.u64(), c.u16()
        check(group == 1, f'{what}: unknown class')
        check(epoch != 0, f'{what}: epoch is zero')
        check(number == self.entry.number, f'{what}: number of another object')
        check(incarnation == self.entry.incarnation, f'{what}: another incarnation')
        check(epoch >= self.entry.least_epoch, f'{what}: old copy (epoch)')
        check((group, epoch) in vault_header.masters, f'{what}: no master key of its epoch')
        c.zeros(6)
        check(key_bytes <= 444, f'{what}: too many key bytes')
        keys = c.take(key_bytes)
        c.zeros(444 - key_bytes)
        nonce, tag = c.take(12), c.take(16)
        bound = struct.pack('<QQHHI', number, incarnation, self.entry.type, group, epoch)
        header_key = self._unwrap_keys(keys, vault_header, (group, epoch), bound)
        return epoch, unseal(AESGCM(header_key), nonce, tag, page[512:], page[:484], what)

    def _unwrap_keys(self, data, vault_header, master, bound):
        """Returns the header key; the data keys become ciphers by generation."""
        what = f'{self.what}: keys'
        c = Cursor(data, what)
        header_key, self.ciphers, newest = None, {}, 0
        while c.left():
            kind, length, generation = c.u16(), c.u16(), 0
            if header_key is None:
                check(kind == 1 and length == 48, f'{what}: header key is not first')
            else:
                check(kind == 2 and length == 52, f'{what}: not a data key')
                generation = c.u16()
                c.zeros(2)
                check(generation > newest, f'{what}: generations are not ascending')
            aad = b'wardfs wrap 1\0\0\0' + vault_header.vault_id + bound + struct.pack('<HH', kind, generation)
            key = unwrap(vault_header.masters[master], aad, c.take(48), what)
            if header_key is None:
                header_key = key
            else:
                self.ciphers[generation] = AESGCM(key)
                newest = generation
        check(1 <= len(self.ciphers) <= 7, f'{what}: not from one to seven data keys')
        return header_key

    def _parse_body(self, body, vault_header):
        what = f'{self.what}: header'
        c = Cursor(body, what)
        kind, layout, area_bytes, attr_layout = c.u16(), c.u16(), c.u16(), c.u16()
        check(kind == self.entry.type, f'{what}: another type than its entry')
        check(layout in (0, 1) and attr_layout in (0, 1), f'{what}: unknown layout')
        self.generation, self.size = c.u64(), c.u64()
        self.parent, self.parent_incarnation = c.u64(), c.u64()
        attr_bytes = c.u32()
        c.zeros(4)
        c.take(16)
        c.zeros(32)
        name_bytes = c.u8()
        self.name = c.take(name_bytes)
        c.zeros(255 - name_bytes)
        if self.generation >> 40 > vault_header.mount:
            raise OtherTime(f'{what}: written by a later mount than the vault header knows')
        if self.generation < self.entry.least_generation:
            raise OtherTime(f'{what}: old copy (generation)')
        if self.generation > self.entry.least_generation > 0:
            raise OtherTime(f'{what}: of another copy (generation)')
        unknown = [self.parent == 0, self.parent_incarnation == 0, name_bytes == 0]
        check(all(unknown) or not any(unknown), f'{what}: half a parent')
        check(b'\0' not in self.name and b'/' not in self.name, f'{what}: bad name')
        check(area_bytes <= ATTR_INLINE, f'{what}: attribute area is too long')
        area = c.take(area_bytes)
        self._parse_attributes(area, attr_layout, attr_bytes)
        self.inline, self.direct, self.tops = None, [], []
        if layout == 0:
            check(kind != DIRECTORY, f'{what}: a directory cannot be inline')
            check(self.size <= c.left(), f'{what}: inline content is too long')
            self.inline = c.take(self.size)
            c.zeros(c.left())
        else:
            c.zeros(864 - c.at)
            self.direct = split_seals(c.take(DIRECT * SEAL_BYTES), what)
            self.tops = split_seals(c.take(LEVELS * SEAL_BYTES), what)
            check(self.size <= MAX_PAGES * PAGE, f'{what}: size out of bounds')
        check(kind != DIRECTORY or self.size % PAGE == 0, f'{what}: size of the directory is no whole page')
        check(kind in (FILE, DIRECTORY, SYMLINK) or self.size == 0, f'{what}: content in a special file')

    def _parse_attributes(self, area, layout, length):
        self.encoded, self.attr_seals = None, []
        if layout == 0:
            check(length == 0, f'{self.what}: length of attribute pages without pages')
            self.encoded = area
            self.attributes()
            return
        check(len(area) == ATTR_INLINE, f'{self.what}: attribute area is too short for seals')
        check(ATTR_INLINE < length <= 65536, f'{self.what}: bytes of attributes out of bounds')
        self.attr_seals, self.attr_bytes = split_seals(area, self.what), length
        for index, seal in enumerate(self.attr_seals):
            check(is_hole(seal) == (index * PAGE >= length), f'{self.what}: wrong attribute pages')

    def open_page(self, seal, level, index, position):
        what = f'{self.what}: page {index} of level {level}'
        nonce, tag = seal[:12], seal[12:28]
        generation = int.from_bytes(seal[28:30], 'little')
        check(generation in self.ciphers, f'{what}: no data key of its generation')
        aad = struct.pack('<IIQ', level, generation, index)
        return unseal(self.ciphers[generation], nonce, tag, self._read_host(position, what), aad, what)

    def _below(self, seal, level, index, position):
        """All pages of content at and below one seal, by ascending index."""
        if is_hole(seal):
            return
        page = self.open_page(seal, level, index, position)
        if level == 0:
            check(index * PAGE < self.size, f'{self.what}: page {index} is behind the end')
            yield index, page
            return
        for i, child in enumerate(split_seals(page, self.what)):
            yield from self._below(child, level - 1, index + i * FANOUT ** (level - 1),
                                   position + 1 + i * span(level - 1))

    def pages(self):
        """(index, plaintext) of the pages of content that are not holes; of inline content none."""
        for index, seal in enumerate(self.direct):
            yield from self._below(seal, 0, index, 1 + index)
        for seal, (level, position, index) in zip(self.tops, TOP_ROWS):
            yield from self._below(seal, level, index, position)

    def content(self, limit):
        """The whole content, for what is known to be short."""
        check(self.size <= limit, f'{self.what}: content is too long')
        if self.inline is not None:
            return self.inline
        data = bytearray(self.size + PAGE)
        for index, page in self.pages():
            data[index * PAGE:index * PAGE + PAGE] = page
        return bytes(data[:self.size])

    def attributes(self):
        """Extended attributes, a dict by name. Section EXTENDED ATTRIBUTES."""
        data = self.encoded
        if data is None:
            pages = [self.open_page(seal, ATTR_LEVEL, i, ATTR_AT + i)
                     for i, seal in enumerate(self.attr_seals) if not is_hole(seal)]
            data = b''.join(pages)
            check_zero(data[self.attr_bytes:], f'{self.what}: attributes')
            data = data[:self.attr_bytes]
        found, last = {}, b''
        c = Cursor(data, f'{self.what}: attributes')
        while c.left():
            name_bytes = c.u8()
            c.zeros(1)
            value_bytes = c.u16()
            name = c.take(name_bytes)
            check(name and b'\0' not in name, f'{c.what}: bad name')
            check(name > last, f'{c.what}: not in order')
            found[name] = c.take(value_bytes)
            last = name
        return found


# Section DIRECTORIES.

@dataclass
class Entry:
    """A home entry; or only the first fields, of a link."""
    name: bytes
    type: int
    number: int
    incarnation: int
    is_home: bool = True
    target: bytes = b''
    mode: int = 0
    uid: int = 0
    gid: int = 0
    links: int = 0
    size: int = 0
    blocks: int = 0
    rdev: int = 0
    times: dict = field(default_factory=dict)
    flags: int = 0
    least_generation: int = 0
    least_epoch: int = 0

    @property
    def has_object(self):
        return bool(self.flags & HAS_OBJECT)


def parse_entry(data, what):
    c = Cursor(data, what)
    length, kind, file_type, name_bytes = c.u16(), c.u8(), c.u8(), c.u8()
    c.zeros(1)
    target_bytes, number, incarnation = c.u16(), c.u64(), c.u64()
    check(length == len(data), f'{what}: wrong length')
    check(kind in (1, 2), f'{what}: unknown kind')
    check(file_type in TYPES, f'{what}: unknown type')
    check(0 < number < 1 << 63 and incarnation != 0, f'{what}: impossible number')
    entry = Entry(b'', file_type, number, incarnation, is_home=kind == 1)
    if entry.is_home:
        parse_home(c, entry, what)
    else:
        check(file_type != DIRECTORY, f'{what}: link to a directory')
    entry.name, entry.target = c.take(name_bytes), c.take(target_bytes)
    check(c.left() == 0, f'{what}: bytes behind the target')
    check(entry.name and b'\0' not in entry.name and b'/' not in entry.name, f'{what}: bad name')
    check(target_bytes <= 1024 and b'\0' not in entry.target, f'{what}: bad target')
    check(target_bytes == 0 or (entry.is_home and file_type == SYMLINK), f'{what}: unexpected target')
    if entry.is_home and file_type in (FILE, DIRECTORY, SYMLINK) and not entry.has_object:
        check((entry.size, entry.blocks) == (target_bytes, 0), f'{what}: content without an object')
    return entry


def parse_home(c, entry, what):
    entry.mode, entry.uid, entry.gid, entry.links = c.u32(), c.u32(), c.u32(), c.u32()
    entry.size, entry.blocks, entry.rdev = c.u64(), c.u64(), c.u64()
    seconds = [c.i64() for _ in range(4)]
    nanoseconds = [c.u32() for _ in range(4)]
    entry.flags, entry.least_generation, entry.least_epoch = c.u64(), c.u64(), c.u32()
    c.zeros(4)
    check(entry.mode <= 0o7777, f'{what}: mode out of bounds')
    check(entry.links >= 1, f'{what}: no links')
    check(entry.size <= MAX_PAGES * PAGE, f'{what}: size out of bounds')
    check(entry.rdev == 0 or entry.type in (CHARDEV, BLOCKDEV), f'{what}: device number without device')
    check(all(n < 1000000000 for n in nanoseconds), f'{what}: nanoseconds out of bounds')
    check(entry.flags & ~(HAS_OBJECT | HAS_ATTRIBUTES) == 0, f'{what}: unknown flags')
    check(entry.flags != HAS_ATTRIBUTES, f'{what}: extended attributes without an object')
    entry.times = {key: s * 1000000000 + n for key, s, n in zip('amcb', seconds, nanoseconds)}


def parse_table_page(page, what):
    """(slot, entry) of a page of a directory's table."""
    count, start, reserved = struct.unpack('<HHI', page[:8])
    slots = struct.unpack('<60H', page[8:128])
    used = [slot for slot in range(60) if slots[slot]]
    check(reserved == 0, f'{what}: reserved bytes are not zero')
    check(count == (used[-1] + 1 if used else 0), f'{what}: wrong number of slots')
    check(128 <= start <= PAGE, f'{what}: entries start out of bounds')
    check_zero(page[128:start], what)
    ends, at, entries = {}, start, []
    for slot in sorted(used, key=lambda s: slots[s]):
        check(slots[slot] == at and at + 2 <= PAGE, f'{what}: entries are not side by side')
        at += int.from_bytes(page[at:at + 2], 'little')
        check(slots[slot] < at <= PAGE, f'{what}: entry out of bounds')
        ends[slot] = at
    check(at == PAGE, f'{what}: bytes behind the entries')
    for slot in used:
        entries.append((slot, parse_entry(page[slots[slot]:ends[slot]], f'{what}, slot {slot}')))
    return entries


class Vault:
    """An open vault. It must be clean."""

    def __init__(self, path, passphrase):
        check(passphrase and getattr(passphrase, 'passphrase', True) != b'', 'the passphrase is empty')
        self.folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.root = None
        self.homes, self.seen = {}, set()
        try:
            self.header = open_header(self.folder, passphrase)
            check(self.header.state == 0, 'the vault is dirty: its journal must be replayed first')
            self._read_root()
        except BaseException:
            os.close(self.folder)
            raise

    def close(self):
        os.close(self.folder)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def open_object(self, number, what):
        try:
            folder = os.open(b'%02x' % (number >> 55 & 0xff), dir_fd=self.folder,
                             flags=os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise VaultError(f'{what}: its folder is missing') from None
        try:
            return open_file(b'%016x' % number, folder, what)
        finally:
            os.close(folder)

    def _read_root(self):
        h = self.header
        bound = Entry(b'', DIRECTORY, ROOT, h.root_incarnation, flags=HAS_OBJECT,
                      least_generation=h.root_generation, least_epoch=h.root_epoch)
        if h.root_generation == 0:
            self._expect_no_root(bound)
            return
        with Object(self, bound) as obj:
            check(obj.generation == h.root_generation, 'root directory: newer than the vault header')
        table = self._table(bound)
        own, links = table.pop((0, 0), None), table.pop((0, 1), None)
        for entry, name, number in (own, b'.', ROOT), (links, b'..', LINKS):
            check(entry and entry.name == name and entry.is_home and entry.type == DIRECTORY
                  and entry.number == number, f'root directory: no entry {name!r} in its slot')
        check(own.incarnation == h.root_incarnation, 'root directory: its own entry is of another object')
        # What the entry says of the root's object is older than the page that it stands in.
        own.flags |= HAS_OBJECT
        own.least_generation, own.least_epoch = bound.least_generation, bound.least_epoch
        self.root = own
        self.seen = {ROOT, LINKS}
        for entry in self._children(links, self._table(links).values()):
            check(entry.is_home and entry.type != DIRECTORY and entry.name == b'%016x' % entry.number,
                  'links directory: unexpected entry')
            self.homes[entry.number] = entry
        self.found = dict.fromkeys(self.homes, 0)
        self.root_children = list(table.values())

    def _expect_no_root(self, bound):
        try:
            Object(self, bound).close()
        except OtherTime:
            pass
        except VaultError:
            return
        raise VaultError('root directory: it is there, but the vault header is older')

    def _table(self, directory):
        """All entries of a directory, by (page, slot)."""
        table, names = {}, set()
        if not directory.has_object:
            return table
        with Object(self, directory) as obj:
            pages = 0
            for index, page in obj.pages():
                pages += 1
                for slot, entry in parse_table_page(page, f'{obj.what}: table page {index}'):
                    check(entry.name not in names, f'{obj.what}: name {entry.name!r} stands twice')
                    names.add(entry.name)
                    table[index, slot] = entry
        return table

    def _children(self, directory, entries):
        """Checks what holds for entries by where they stand."""
        for entry in entries:
            what = f'entry {entry.name!r} of {directory.number:016x}'
            check(entry.name not in (b'.', b'..'), f'{what}: reserved name')
            check(entry.number not in (ROOT, LINKS), f'{what}: reserved number')
            if entry.is_home:
                check(entry.number not in self.seen, f'{what}: a second home entry of its object')
                self.seen.add(entry.number)
            yield entry

    def _resolve(self, entry):
        """The home entry of what an entry names."""
        if entry.is_home:
            return entry
        home = self.homes.get(entry.number)
        check(home and home.incarnation == entry.incarnation and home.type == entry.type,
              f'link {entry.name!r}: no such home entry')
        self.found[entry.number] += 1
        return home

    def walk(self):
        """(path, home entry) of the whole tree, directories before what is in them; once for each Vault."""
        if self.root is None:
            return
        yield b'.', self.root
        pending = [(b'', self.root, self.root_children)]
        while pending:
            path, directory, entries = pending.pop()
            children = list(self._children(directory, entries))
            for entry in sorted(children, key=lambda e: e.name):
                home = self._resolve(entry)
                yield path + entry.name, home
                if home.type == DIRECTORY:
                    pending.append((path + entry.name + b'/', home, self._table(home).values()))
        for number, count in self.found.items():
            check(self.homes[number].links == count, f'object {number:016x}: wrong number of links')

    def target(self, entry):
        """The target of a symbolic link."""
        if entry.target or not entry.has_object:
            return entry.target
        with Object(self, entry) as obj:
            return obj.content(4095)

    def attributes(self, entry):
        if not entry.has_object:
            return {}
        with Object(self, entry) as obj:
            found = obj.attributes()
        check(bool(found) == bool(entry.flags & HAS_ATTRIBUTES),
              f'object {entry.number:016x}: the entry is wrong about extended attributes')
        return found
