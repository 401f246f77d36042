# SPDX-License-Identifier: Apache-2.0
"""Finds pages of a clean vault with the independent decoder, and changes single bytes in them."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'interop'))

import vault_objects  # noqa: E402

PAGE = 4096
ROOT, LINKS = 1, 2
OF_LINKS = '..'  # the path of the links directory here
DIRECTORY = vault_objects.DIRECTORY


class Map:
    """What stands where in a vault: home entries by path, pages of objects."""

    def __init__(self, vault, passphrase):
        self.vault = vault
        self.entries, self.tables, self.headers = {}, {}, {}
        with vault_objects.Vault(vault, passphrase) as v:
            for path, entry in v.walk():
                self.entries[text(path)] = entry
            for path, entry in list(self.entries.items()):
                if entry.type == DIRECTORY and entry.has_object:
                    self.tables[path] = v._table(entry)
            self.tables[OF_LINKS] = v._table(self.tables['.'][0, 1])

    def host(self, number):
        return os.path.join(self.vault, f'{number >> 55 & 0xff:02x}', f'{number:016x}')

    def number(self, path):
        return self.entries[path].number

    def in_page(self, path, page):
        """The entries in one page of a directory; of all of them: None."""
        return [e for (index, _), e in self.tables[path].items() if page in (index, None)]

    def poke(self, number, position, at=100):
        """One bit of one page of an object's host file."""
        poke(self.host(number), position * PAGE + at)

    def names_in_page(self, path, page):
        return [text(e.name) for e in self.in_page(path, page)]


def text(name):
    return name.decode('utf-8', 'surrogateescape')


def poke(path, offset):
    with open(path, 'r+b') as f:
        f.seek(offset)
        byte = f.read(1)
        f.seek(offset)
        f.write(bytes([byte[0] ^ 0x40]))


def position(index):
    """Host page of a page of content below 16592; wardfs-vault(5), POSITIONS."""
    if index < 80:
        return 1 + index
    if index < 208:
        return 82 + index - 80
    rest = index - 208
    return 226 + 1 + rest // 128 * 129 + 1 + rest % 128


def node_position(index):
    """Host page of the lowest node above a page of content from 208 on."""
    return 226 + 1 + (index - 208) // 128 * 129
