# SPDX-License-Identifier: Apache-2.0
"""The writer of kill.py: a process that works in one folder, and says before and after each operation what it is.

A line "B <operation as JSON>" is sent before the operation, "E <result as JSON>" when it was answered, "X <errno>" when it
failed; then the writer ends."""
import json
import os
import random

PAGE = 4096


def page_bytes(file_id, page, version):
    """The only content that page of that file may have in that version."""
    return (f"{file_id}/{page}/{version};".encode() * (PAGE // 4))[:PAGE]


def small_bytes(version):
    """A small file's content: its length depends on its version, across the inline limit."""
    return (f"small {version};".encode() * 700)[: 20 + version * 977 % 6000]


class Writer:
    def __init__(self, top, state, pipe):
        self.top = top
        self.rng = random.Random(state["seed"])
        self.version = state["version"]
        self.files = state["files"]  # path -> {"id", "pages"}
        self.dirs = state["dirs"]
        self.others = state["others"]  # symlinks, further links, small files
        self.pipe = pipe

    def path(self, relative):
        return os.path.join(self.top, relative)

    def say(self, letter, value):
        os.write(self.pipe, f"{letter} {json.dumps(value)}\n".encode())

    def step(self, operation, action):
        self.say("B", operation)
        result = action()
        self.say("E", result)

    def next_version(self):
        self.version += 1
        return self.version

    def new_name(self):
        folder = self.rng.choice([""] + self.dirs)
        name = f"f{self.next_version()}" + "x" * self.rng.choice((0, 0, 0, 100, 200))
        return os.path.join(folder, name)

    def create(self):
        if len(self.files) > 25:
            return self.unlink()
        name, file_id = self.new_name(), self.next_version()

        def act():
            os.close(os.open(self.path(name), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            return os.stat(self.path(name)).st_ino

        self.step({"op": "create", "path": name, "id": file_id}, act)
        self.files[name] = {"id": file_id, "pages": 0}
        return None

    def pick(self):
        return self.rng.choice(sorted(self.files)) if self.files else None

    def write(self):
        name = self.pick()
        if not name:
            return
        file = self.files[name]
        start = self.rng.randint(0, min(file["pages"], 60))
        count = self.rng.choice((1, 1, 2, 5, 20))
        version = self.next_version()
        data = b"".join(page_bytes(file["id"], p, version) for p in range(start, start + count))

        def act():
            fd = os.open(self.path(name), os.O_WRONLY)
            os.pwrite(fd, data, start * PAGE)
            os.close(fd)

        self.step({"op": "write", "path": name, "start": start, "count": count, "version": version}, act)
        file["pages"] = max(file["pages"], start + count)

    def truncate(self):
        name = self.pick()
        if not name:
            return
        pages = self.rng.randint(0, self.files[name]["pages"])
        self.step({"op": "truncate", "path": name, "pages": pages},
                  lambda: os.truncate(self.path(name), pages * PAGE))
        self.files[name]["pages"] = pages

    def fsync(self):
        name = self.pick()
        if not name:
            return

        def act():
            fd = os.open(self.path(name), os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)

        self.step({"op": "fsync", "path": name}, act)

    def chmod(self):
        name = self.pick()
        if name:
            mode = self.rng.randint(0, 0o777)
            self.step({"op": "chmod", "path": name, "mode": mode}, lambda: os.chmod(self.path(name), mode))

    def unlink(self):
        name = self.pick()
        if name:
            self.step({"op": "unlink", "path": name}, lambda: os.unlink(self.path(name)))
            del self.files[name]

    def rename(self):
        name = self.pick()
        if not name:
            return
        # Over another file in half of the cases.
        to = self.pick() if self.rng.random() < 0.5 else self.new_name()
        if to == name:
            return
        self.step({"op": "rename", "path": name, "to": to}, lambda: os.rename(self.path(name), self.path(to)))
        self.files[to] = self.files.pop(name)

    def replace(self):
        """The way editors save: write a new file, rename it over the old one; with fsync or without."""
        target = f"small{self.rng.randint(0, 5)}"
        version = self.next_version()
        # Only a rename over something promises that the data goes first.
        sync = self.rng.random() < 0.5 or not os.path.exists(self.path(target))

        def act():
            temporary = self.path(target + ".new")
            fd = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
            os.write(fd, small_bytes(version))
            if sync:
                os.fsync(fd)
            os.close(fd)
            os.rename(temporary, self.path(target))

        self.step({"op": "replace", "path": target, "version": version}, act)

    def mkdir(self):
        if len(self.dirs) < 8:
            name = f"d{self.next_version()}"
            self.step({"op": "mkdir", "path": name}, lambda: os.mkdir(self.path(name)))
            self.dirs.append(name)

    def rmdir(self):
        for name in self.dirs:
            if not any(p.startswith(name + "/") for p in list(self.files) + self.others):
                self.step({"op": "rmdir", "path": name}, lambda name=name: os.rmdir(self.path(name)))
                self.dirs.remove(name)
                return

    def symlink(self):
        if len(self.others) < 20:
            name = self.new_name()
            target = "t" * self.rng.choice((1, 30, 1500, 4000))
            self.step({"op": "symlink", "path": name, "target": target}, lambda: os.symlink(target, self.path(name)))
            self.others.append(name)

    def unlink_other(self):
        if self.others:
            name = self.rng.choice(self.others)
            self.step({"op": "unlink", "path": name}, lambda: os.unlink(self.path(name)))
            self.others.remove(name)

    def run(self):
        choices = ([self.write] * 10 + [self.fsync] * 5 + [self.create] * 4 + [self.rename] * 4 + [self.replace] * 4 +
                   [self.unlink] * 2 + [self.truncate] * 2 + [self.mkdir, self.rmdir, self.symlink, self.unlink_other] +
                   [self.chmod])
        try:
            while True:
                self.rng.choice(choices)()
        except OSError as e:
            self.say("X", [e.errno, str(e)])


def start_writer(top, state):
    """Returns (pid, reading end of the pipe)."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    try:
        os.close(reading)
        Writer(top, state, writing).run()
    finally:
        os._exit(0)
    return None
