# SPDX-License-Identifier: Apache-2.0
"""What a folder may look like after a kill, from what its writer reported."""
import copy
import json
import os
import stat

from killwriter import PAGE, page_bytes, small_bytes


class Difference(Exception):
    pass


class File:
    """Pages with the versions that they may show: all since the last fsync, and the one before. 0: zeros."""

    def __init__(self, file_id):
        self.id = file_id
        self.ino = None
        self.pages = {}  # page -> list of versions, oldest first
        self.sizes = [0]  # in pages
        self.modes = [0o600]

    def write(self, start, count, version):
        for page in range(start, start + count):
            self.pages.setdefault(page, [0]).append(version)
        if start + count > self.sizes[-1]:
            self.sizes.append(start + count)

    def truncate(self, pages):
        for page, versions in self.pages.items():
            if page >= pages:
                versions.append(0)
        if pages != self.sizes[-1]:
            self.sizes.append(pages)

    def fsync(self):
        self.sizes = self.sizes[-1:]
        self.modes = self.modes[-1:]
        for page in self.pages:
            self.pages[page] = self.pages[page][-1:]

    def verify(self, path):
        st = os.lstat(path)
        if self.ino not in (None, st.st_ino):
            raise Difference(f"{path} has inode number {st.st_ino}, was {self.ino}")
        self.ino = st.st_ino
        if stat.S_IMODE(st.st_mode) not in self.modes:
            raise Difference(f"{path} has mode {st.st_mode:o}, allowed {self.modes}")
        self.modes = [stat.S_IMODE(st.st_mode)]
        if st.st_size % PAGE or st.st_size // PAGE not in self.sizes:
            raise Difference(f"{path} has size {st.st_size}, allowed pages {self.sizes}")
        self.sizes = [st.st_size // PAGE]
        with open(path, "rb") as f:
            data = f.read()
        if len(data) != st.st_size:
            raise Difference(f"{path}: {len(data)} bytes read of {st.st_size}")
        found = {}
        for page in range(self.sizes[0]):
            found[page] = [self.version_of(path, page, data[page * PAGE : (page + 1) * PAGE])]
        self.pages = found

    def version_of(self, path, page, seen):
        allowed = self.pages.get(page, [0])
        for version in reversed(allowed):
            if seen == (page_bytes(self.id, page, version) if version else bytes(PAGE)):
                return version
        raise Difference(f"{path}: page {page} starts with {seen[:40]!r}; allowed versions of {self.id}: {allowed}")


class State:
    """Names and what they show."""

    def __init__(self):
        self.files = {}  # path -> File
        self.dirs = []
        self.symlinks = {}  # path -> target
        self.small = {}  # path -> version, whole

    def apply(self, op, result):
        kind, path = op["op"], op["path"]
        if kind == "create":
            self.files[path] = File(op["id"])
            self.files[path].ino = result
        elif kind == "write":
            self.files[path].write(op["start"], op["count"], op["version"])
        elif kind == "truncate":
            self.files[path].truncate(op["pages"])
        elif kind == "chmod":
            self.files[path].modes.append(op["mode"])
        elif kind == "unlink":
            if self.files.pop(path, None) is None:
                del self.symlinks[path]
        elif kind == "rename":
            self.files[op["to"]] = self.files.pop(path)
        elif kind == "replace":
            self.small[path] = op["version"]
        elif kind == "mkdir":
            self.dirs.append(path)
        elif kind == "rmdir":
            self.dirs.remove(path)
        elif kind == "symlink":
            self.symlinks[path] = op["target"]

    def names(self):
        return {**{p: "file" for p in list(self.files) + list(self.small)}, **{p: "dir" for p in self.dirs},
                **{p: "symlink" for p in self.symlinks}}


def walk(top):
    """path -> kind for everything below top."""
    found = {}
    for entry in os.scandir(top):
        if entry.is_dir(follow_symlinks=False):
            found[entry.name] = "dir"
            for path, kind in walk(entry.path).items():
                found[entry.name + "/" + path] = kind
        else:
            found[entry.name] = "symlink" if entry.is_symlink() else "file"
    return found


class Folder:
    """One writer's folder: its state as answered, and the operation that was under way at the kill."""

    def __init__(self, name):
        self.name = name
        self.state = State()
        self.pending = None
        self.version = 0
        self.history = []
        self.pid = self.pipe = None
        self.unread = b""

    def writer_state(self, seed):
        s = self.state
        return {"seed": seed, "version": self.version, "dirs": list(s.dirs), "others": list(s.symlinks),
                "files": {p: {"id": f.id, "pages": f.sizes[-1]} for p, f in s.files.items()}}

    def take_report(self, data):
        """Returns how many operations were answered."""
        answered = 0
        self.pending = None
        self.history = []
        for line in data.decode().splitlines():
            letter, value = line[0], json.loads(line[2:])
            if letter == "B":
                self.pending = value
                self.version = max([self.version] + [value[k] for k in ("version", "id") if k in value]) + 1
                self.history.append(line)
            elif letter == "E":
                answered += 1
                if self.pending["op"] == "fsync":
                    self.state.files[self.pending["path"]].fsync()
                else:
                    self.state.apply(self.pending, value)
                self.pending = None
        # Names are numbered with versions that no report shows when the writer was stopped early.
        self.version += 1000
        return answered

    def last_operations(self):
        return self.history[-25:]

    def verify(self, mnt):
        top = os.path.join(mnt, self.name)
        found = walk(top)
        without = self.state
        names = without.names()
        pending = self.pending
        if pending and pending["op"] == "replace":
            # Its temporary file may be there, with anything in it.
            found.pop(pending["path"] + ".new", None)
            if os.path.exists(os.path.join(top, pending["path"] + ".new")):
                os.unlink(os.path.join(top, pending["path"] + ".new"))
        if pending and pending["op"] != "fsync":
            after = copy.deepcopy(without)
            after.apply(pending, None)
            if pending["op"] in ("write", "truncate", "chmod") or (found == after.names() and found != names):
                self.state = after
            elif pending["op"] in ("rename", "replace"):
                self.state = self.decide(top, without, after, found)
        names = self.state.names()
        if found != names:
            lost = sorted(set(names) - set(found))
            extra = sorted(set(found) - set(names))
            raise Difference(f"names: lost {lost}, unexpected {extra}; under way: {pending}")
        for path, target in self.state.symlinks.items():
            if os.readlink(os.path.join(top, path)) != target:
                raise Difference(f"{path}: the target differs")
        for path, version in self.state.small.items():
            self.verify_small(os.path.join(top, path), version)
        for path, file in self.state.files.items():
            file.verify(os.path.join(top, path))
        self.pending = None

    @staticmethod
    def verify_small(path, version):
        with open(path, "rb") as f:
            data = f.read()
        if data != small_bytes(version):
            raise Difference(f"{path}: {len(data)} bytes, {data[:40]!r}; expected version {version}")

    def decide(self, top, without, after, found):
        """A rename over something was under way and both outcomes have the same names."""
        pending = self.pending
        if pending["op"] == "replace":
            if pending["path"] not in found:
                return without  # the first of its name, and not renamed yet
            with open(os.path.join(top, pending["path"]), "rb") as f:
                return after if f.read() == small_bytes(pending["version"]) else without
        return after if found == after.names() else without
