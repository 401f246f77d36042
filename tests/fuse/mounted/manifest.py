#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""manifest.py [--inodes] DIR: one line for everything below DIR: type, mode, owner, links, size, times, device, target,
extended attributes, content. Two equal trees give equal output. --inodes: with inode numbers.

The size of directories is left out (it is the filesystem's own matter), and so are hard links that lead out of the tree."""
import hashlib
import os
import stat
import sys


def digest(path):
    h = hashlib.sha256()
    with open(path, "rb", buffering=0) as f:
        while block := f.read(1 << 20):
            h.update(block)
    return h.hexdigest()


def xattrs(path):
    try:
        names = sorted(os.listxattr(path, follow_symlinks=False))
    except OSError:
        return ""
    found = []
    for name in names:
        if name.startswith(("user.", "system.posix_acl", "security.capability", "trusted.")):
            found.append(name + "=" + os.getxattr(path, name, follow_symlinks=False).hex())
    return ",".join(found)


def line(path, relative, inodes):
    st = os.lstat(path)
    kind = stat.S_IFMT(st.st_mode)
    fields = [oct(st.st_mode), str(st.st_uid), str(st.st_gid), str(st.st_mtime_ns), str(st.st_rdev)]
    if kind != stat.S_IFDIR:
        fields += [str(st.st_nlink), str(st.st_size)]
    if kind == stat.S_IFLNK:
        fields.append(repr(os.readlink(path)))
    if kind == stat.S_IFREG:
        fields.append(digest(path))
    if inodes:
        fields.append(str(st.st_ino))
    fields.append(xattrs(path))
    return repr(relative) + " " + " ".join(fields)


def main():
    inodes = sys.argv[1] == "--inodes"
    top = os.fsencode(sys.argv[-1])
    for folder, folders, files in os.walk(top):
        folders.sort()
        for name in sorted(folders + files):
            path = os.path.join(folder, name)
            print(line(path, path[len(top):], inodes))


if __name__ == "__main__":
    main()
