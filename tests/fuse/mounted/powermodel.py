# SPDX-License-Identifier: Apache-2.0
"""The writer of powercut.py and what its files may look like after a power cut at any moment."""
import hashlib
import os

PAGE = 4096
PAGES = 96


class Difference(Exception):
    pass


def line_bytes(number):
    return f"{number:08d} {hashlib.sha256(b'%d' % number).hexdigest()[: number * 7 % 60]}\n".encode()


def whole_bytes(name, version):
    return (f"{name} {version};".encode() * 9000)[: 30 + version * 7919 % 70000]


def page_bytes(page, version):
    return (f"{page}/{version};".encode() * (PAGE // 4))[:PAGE] if version else bytes(PAGE)


class Writer:
    """Works in one folder. After each fsync it notes how much the disk had been told by then (mark): all that was told is
    what a cut behind that mark must keep."""

    def __init__(self, top, log, anchors, rng):
        self.top = top
        self.anchors = anchors  # folder
        self.anchor_states = []  # (mark, {name: bytes})
        self.anchor_stamp = None
        self.log = log
        self.rng = rng
        self.lines = 0
        self.durable_lines = []  # (mark, lines)
        self.whole = {"config": 0, "lazy": 0}  # name -> newest version
        self.durable_whole = {"config": [], "lazy": []}
        self.pages = [[0] for _ in range(PAGES)]  # all versions that were written, in their order
        self.durable_pages = []  # (mark, newest version of each)
        self.names = [frozenset()]  # after each operation on names
        self.durable_names = []  # (mark, index into names)
        self.files = {}  # complete and fsynced: name -> (mark, version)
        self.version = 0

    def path(self, name):
        return os.path.join(self.top, name)

    def mark(self):
        return os.stat(self.log).st_size

    def begin(self):
        for name in ("names", "files"):
            os.mkdir(self.path(name))
        with open(self.path("pages"), "wb", buffering=0) as f:
            f.write(bytes(PAGE * PAGES))
            os.fsync(f.fileno())
        with open(self.path("lines"), "wb") as f:
            os.fsync(f.fileno())
        for name in self.whole:
            self.replace(name, True)
        self.sync_folder("")

    def sync_folder(self, name):
        fd = os.open(self.path(name), os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        # The journal keeps its order: what was answered before is durable as well.
        self.durable_names.append((self.mark(), len(self.names) - 1))

    def append(self):
        with open(self.path("lines"), "ab", buffering=0) as f:
            for _ in range(self.rng.choice((1, 1, 3))):
                f.write(line_bytes(self.lines))
                self.lines += 1
                os.fsync(f.fileno())
                self.durable_lines.append((self.mark(), self.lines))

    def replace(self, name, sync):
        version = self.whole[name] + 1
        with open(self.path(name + ".new"), "wb", buffering=0) as f:
            f.write(whole_bytes(name, version))
            if sync:
                os.fsync(f.fileno())
        os.rename(self.path(name + ".new"), self.path(name))
        self.whole[name] = version
        if sync:
            self.sync_folder("")
            self.durable_whole[name].append((self.mark(), version))

    def overwrite(self):
        start = self.rng.randrange(PAGES)
        count = min(self.rng.choice((1, 1, 3, 20, 60)), PAGES - start)
        self.version += 1
        with open(self.path("pages"), "r+b", buffering=0) as f:
            f.seek(start * PAGE)
            f.write(b"".join(page_bytes(p, self.version) for p in range(start, start + count)))
            for page in range(start, start + count):
                self.pages[page].append(self.version)
            if self.rng.random() < 0.5:
                os.fsync(f.fileno())
                self.durable_pages.append((self.mark(), [v[-1] for v in self.pages]))

    def change_names(self):
        now = set(self.names[-1])
        if len(now) > 30 or (now and self.rng.random() < 0.4):
            name = self.rng.choice(sorted(now))
            os.unlink(self.path(f"names/{name}"))
            now.remove(name)
        else:
            self.version += 1
            name = f"n{self.version}" + "x" * self.rng.choice((0, 0, 150))
            os.close(os.open(self.path(f"names/{name}"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            now.add(name)
        self.names.append(frozenset(now))
        if self.rng.random() < 0.2:
            self.sync_folder("names")

    def new_file(self):
        self.version += 1
        name = f"file{self.version}"
        with open(self.path(f"files/{name}"), "wb", buffering=0) as f:
            f.write(whole_bytes(name, self.version) * self.rng.choice((1, 1, 8)))
            os.fsync(f.fileno())
            self.files[name] = (self.mark(), f.tell())

    def work(self, until):
        choices = ([self.append] * 3 + [self.overwrite] * 4 + [self.change_names] * 6 + [self.new_file] +
                   [lambda: self.replace("config", True), lambda: self.replace("lazy", False)])
        while not until():
            self.rng.choice(choices)()
            self.note_anchor()

    def note_anchor(self):
        """The anchor as it was before the disk was told more than the mark."""
        try:
            files = [e for e in os.scandir(self.anchors) if e.is_file()]
            stamp = [(e.name, e.stat().st_mtime_ns, e.inode()) for e in files]
            if stamp == self.anchor_stamp:
                return
            state = {}
            for e in files:
                with open(e.path, "rb") as f:
                    state[e.name] = f.read()
        except FileNotFoundError:
            return  # replaced at this moment
        self.anchor_stamp = stamp
        self.anchor_states.append((self.mark(), state))

    def restore_anchor(self, cut):
        os.makedirs(self.anchors, mode=0o700)
        for name, data in self.latest(self.anchor_states, cut, {}).items():
            with open(os.path.join(self.anchors, name), "wb") as f:
                os.fchmod(f.fileno(), 0o600)
                f.write(data)

    # What must be there when all that the disk was told up to `cut` has its effect.

    @staticmethod
    def latest(events, cut, default):
        value = default
        for mark, what in events:
            if mark <= cut:
                value = what
        return value

    def verify(self, top, cut):
        self.verify_lines(os.path.join(top, "lines"), self.latest(self.durable_lines, cut, 0))
        for name, newest in self.whole.items():
            self.verify_whole(os.path.join(top, name), name, self.latest(self.durable_whole[name], cut, 0), newest)
        self.verify_pages(os.path.join(top, "pages"), self.latest(self.durable_pages, cut, [0] * PAGES))
        found = frozenset(os.listdir(os.path.join(top, "names")))
        first = self.latest(self.durable_names, cut, 0)
        if found not in self.names[first:]:
            raise Difference(f"the names are of no moment since the durable one: {sorted(found)}; then "
                             f"{sorted(self.names[first])}")
        for name, (mark, size) in self.files.items():
            if mark <= cut:
                self.verify_file(os.path.join(top, "files", name), name, size)
        for name in os.listdir(os.path.join(top, "files")):
            with open(os.path.join(top, "files", name), "rb") as f:
                f.read()

    @staticmethod
    def verify_lines(path, durable):
        with open(path, "rb") as f:
            data = f.read()
        expected, number = b"", 0
        while len(expected) < len(data):
            expected += line_bytes(number)
            number += 1
        if data != expected:
            raise Difference(f"lines: {len(data)} bytes are not the lines that were appended: ... {data[-120:]!r}")
        if number < durable:
            raise Difference(f"lines: {number}, but {durable} were fsynced")

    @staticmethod
    def verify_whole(path, name, durable, newest):
        with open(path, "rb") as f:
            data = f.read()
        for version in range(durable, newest + 1):
            if data == whole_bytes(name, version):
                return
        raise Difference(f"{name}: {len(data)} bytes, {data[:30]!r}: no version from {durable} to {newest}")

    def verify_pages(self, path, durable):
        with open(path, "rb") as f:
            data = f.read()
        if len(data) != PAGE * PAGES:
            raise Difference(f"pages: size {len(data)}")
        for page, versions in enumerate(self.pages):
            seen = data[page * PAGE : (page + 1) * PAGE]
            if not any(seen == page_bytes(page, v) for v in versions if v >= durable[page]):
                raise Difference(f"page {page} shows {seen[:30]!r}; fsynced: {durable[page]}, written: {versions[-5:]}")

    @staticmethod
    def verify_file(path, name, size):
        with open(path, "rb") as f:
            data = f.read()
        one = whole_bytes(name, int(name[4:]))
        if len(data) != size or data != one * (size // len(one)):
            raise Difference(f"{name}: {len(data)} bytes of {size}, or other content")
