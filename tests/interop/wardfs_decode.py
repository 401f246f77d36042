#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Reads a cleanly unmounted wardfs vault; written from wardfs-vault(5) alone, as a check of that page.

wardfs_decode.py VAULT PASSFILE list           one line for each entry of the tree
wardfs_decode.py VAULT PASSFILE extract DEST   writes the tree to DEST, which must not exist
wardfs_decode.py VAULT PASSFILE verify         reads every page of every object

The passphrase is the first line of PASSFILE. Instead of PASSFILE, or joined to it with commas, may stand
keyfile=FILE and recovery=FILE, a recovery code in the first line of FILE.

Needs python3-cryptography and python3-argon2. Every check that fails raises VaultError with a text that says
which; a wrong passphrase raises WrongPassphrase. The vault is never written to.
"""
import os
import stat
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from vault_header import PAGE, Secrets, VaultError, WrongPassphrase, check
from vault_objects import (BLOCKDEV, CHARDEV, DIRECTORY, FIFO, FILE, ROOT, SOCKET, SYMLINK, Object, Vault)

__all__ = ['KINDS', 'Object', 'Vault', 'VaultError', 'WrongPassphrase', 'escape', 'extract', 'list_tree',
           'verify']
KINDS = {FILE: '-', DIRECTORY: 'd', SYMLINK: 'l', FIFO: 'p', SOCKET: 's', CHARDEV: 'c', BLOCKDEV: 'b'}


# The verbs.

def escape(name):
    return ''.join(chr(b) if 0x20 < b < 0x7f and b != 0x5c else f'\\{b:03o}' for b in name)


def list_line(vault, path, entry):
    seconds = ' '.join(f'{key}={ns // 1000000000}.{ns % 1000000000:09}' for key, ns in entry.times.items())
    size = f'{os.major(entry.rdev)},{os.minor(entry.rdev)}' if entry.type in (CHARDEV, BLOCKDEV) else entry.size
    line = (f'{KINDS[entry.type]} {entry.mode:04o} {entry.uid} {entry.gid} {entry.links} {size} '
            f'{seconds} {escape(path)}')
    return line + f' -> {escape(vault.target(entry))}' if entry.type == SYMLINK else line


def list_tree(vault):
    for path, entry in vault.walk():
        print(list_line(vault, path, entry))


def verify(vault):
    """Reads every page of every object; returns the numbers of entries, objects and pages."""
    entries, pages, objects = 0, 0, set()
    for _, entry in vault.walk():
        entries += 1
        if not entry.has_object or entry.number in objects:
            continue
        objects.add(entry.number)
        with Object(vault, entry) as obj:
            found = sum(1 for _ in obj.pages())
            check_agreement(entry, obj, found)
            pages += found
        vault.attributes(entry)
    return entries, len(objects), pages


def check_agreement(entry, obj, pages):
    """What the home entry and the object both say of one content."""
    if entry.number != ROOT and not entry.target:
        check(entry.size == obj.size, f'{obj.what}: its entry has another size')
        if entry.type == DIRECTORY:  # pages of its table that have become holes still count
            pages = min(max(pages, entry.blocks), entry.size // PAGE)
        check(entry.blocks == pages, f'{obj.what}: its entry has another number of pages')


def extract_content(vault, entry, path):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if entry.has_object:
            with Object(vault, entry) as obj:
                check(obj.size == entry.size, f'{obj.what}: its entry has another size')
                if obj.inline is not None:
                    os.write(fd, obj.inline)
                for index, page in obj.pages():
                    os.pwrite(fd, page[:obj.size - index * PAGE], index * PAGE)
        os.ftruncate(fd, entry.size)
    finally:
        os.close(fd)


def extract_one(vault, entry, path):
    kinds = {FIFO: stat.S_IFIFO, SOCKET: stat.S_IFSOCK, CHARDEV: stat.S_IFCHR, BLOCKDEV: stat.S_IFBLK}
    if entry.type == FILE:
        extract_content(vault, entry, path)
    elif entry.type == DIRECTORY:
        os.mkdir(path, 0o700)
    elif entry.type == SYMLINK:
        os.symlink(vault.target(entry), path)
    else:
        os.mknod(path, kinds[entry.type] | 0o600, entry.rdev)


def set_attributes(path, attributes):
    for name, value in attributes.items():
        if not name.startswith((b'user.', b'system.posix_acl_')):
            continue
        try:
            os.setxattr(path, name, value, follow_symlinks=False)
        except OSError as error:  # many filesystems hold less of them than a vault
            print(f'wardfs_decode: {escape(path)}: {escape(name)} is not set: {error.strerror}', file=sys.stderr)


def set_metadata(vault, entry, path):
    """Last of all for directories, since what is made in them changes their times."""
    is_link = entry.type == SYMLINK
    if os.geteuid() == 0:
        os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
    if not is_link:
        os.chmod(path, entry.mode)
        set_attributes(path, vault.attributes(entry))
    os.utime(path, ns=(entry.times['a'], entry.times['m']), follow_symlinks=False)


def extract(vault, dest):
    made, directories = {}, []
    if vault.root is None:
        os.mkdir(dest)
    for name, entry in vault.walk():
        path = dest if name == b'.' else os.path.join(dest, name)
        if entry.number in made:
            os.link(made[entry.number], path, follow_symlinks=False)
            continue
        extract_one(vault, entry, path)
        if entry.type == DIRECTORY:
            directories.append((entry, path))
        else:
            set_metadata(vault, entry, path)
        if entry.links > 1:
            made[entry.number] = path
    for entry, path in reversed(directories):
        set_metadata(vault, entry, path)


def read_line(path):
    with open(path, 'rb') as file:
        return file.read().split(b'\n', 1)[0]


def read_secrets(text):
    found = {}
    for word in text.split(','):
        key, _, path = word.rpartition('=')
        if key == 'keyfile':
            with open(path, 'rb') as file:
                found[key] = file.read()
        elif key == 'recovery':
            found[key] = read_line(path).decode()
        else:
            found['passphrase'] = read_line(word)
    return Secrets(**found)


def main(args):
    if len(args) not in (3, 4) or args[2] not in ('list', 'extract', 'verify') \
            or (len(args) == 4) != (args[2] == 'extract'):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    try:
        with Vault(args[0], read_secrets(args[1])) as vault:
            if args[2] == 'list':
                list_tree(vault)
            elif args[2] == 'extract':
                extract(vault, os.fsencode(args[3]))
            else:
                print('{} entries, {} objects, {} pages'.format(*verify(vault)))
    except VaultError as error:
        print(f'wardfs_decode: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
