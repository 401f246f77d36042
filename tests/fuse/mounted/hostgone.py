#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The filesystem under a vault becomes read-only, or goes away, while programs write, rename and read. They get EROFS or EIO, nothing
hangs, the log and the status say why the mount is read-only, unmounting ends. When the disk is back everything fsynced is there."""
import errno
import fcntl
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from vaultmount import WARDFS, Vault, require  # noqa: E402

SHUTDOWN = 0x8004587D  # FS_IOC_SHUTDOWN of ext4 and XFS; without flushing their log
NOLOGFLUSH = 2
LIMIT_S = 120
FILES = 60
REFUSALS = {errno.EROFS, errno.EIO}


class Missing(Exception):
    """This machine cannot do it."""


def able(*command):
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=LIMIT_S)
    except FileNotFoundError as e:
        raise Missing(f"{command[0]}: {e.strerror}") from e
    except subprocess.CalledProcessError as e:
        raise Missing(f"{' '.join(command)}: {e.stderr.decode(errors='replace').strip().splitlines()[:1]}") from e


class Disk:
    """A filesystem in a file of its own."""

    def __init__(self, kind):
        self.kind = kind
        self.work = tempfile.mkdtemp(prefix="hostgone.", dir=os.environ.get("WARDFS_TEST_TMP") or "/var/tmp")
        self.image, self.dir = os.path.join(self.work, "image"), os.path.join(self.work, "disk")
        os.mkdir(self.dir)

    def make(self):
        with open(self.image, "wb") as f:
            f.truncate(320 << 20)
        able(f"mkfs.{self.kind}", "-q", self.image)
        self.mount()

    def mount(self):
        able("mount", "-o", "loop", self.image, self.dir)

    def umount(self):
        subprocess.run(["umount", self.dir], check=True, capture_output=True, timeout=LIMIT_S)

    def read_only(self):
        """As ext4 does it by itself after an error."""
        able("mount", "-o", "remount,abort", self.dir)

    def gone(self):
        fd = os.open(self.dir, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        except OSError as e:
            raise Missing(f"shutting down {self.kind}: {e.strerror}") from e
        finally:
            os.close(fd)

    def clean_up(self):
        if os.path.ismount(self.dir):
            subprocess.run(["umount", "-l", self.dir], check=False, capture_output=True, timeout=LIMIT_S)
        shutil.rmtree(self.work, ignore_errors=True)


def content(name, version):
    return hashlib.sha256(f"{name} {version}".encode()).digest() * (300 if version % 2 else 40)


def page(number, version):
    return hashlib.sha256(f"page {number} {version}".encode()).digest() * 128


def wrong(path, wanted):
    """What is wrong with a file, or None; it is read from the worker, not from the kernel's cache."""
    try:
        with open(path, "rb", buffering=0) as f:
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            return None if f.read() == wanted else "another content"
    except OSError as e:
        return e.strerror


class Program(threading.Thread):
    """Does one thing again and again, until it fails or is told to end."""

    def __init__(self, name, step, ending):
        super().__init__(daemon=True)
        self.what, self.step, self.ending = name, step, ending
        self.count, self.error = 0, None

    def run(self):
        while not self.ending.is_set() and self.error is None:
            try:
                self.step(self.count)
                self.count += 1
            except OSError as e:
                self.error = e.errno


class Case:
    def __init__(self, kind, cause):
        self.name, self.cause = f"{kind} {cause}", cause
        self.disk, self.vault = Disk(kind), None
        self.durable, self.newest = {}, {}  # versions of files, by name
        self.pages_durable, self.pages = {}, {}  # of one file
        self.reason = None

    def path(self, name):
        return os.path.join(self.vault.mnt, name)

    def write(self, name, version):
        """Durable when it returns."""
        self.newest[name] = version
        with open(self.path(name), "wb", buffering=0) as f:
            f.write(content(name, version))
            os.fsync(f.fileno())
        self.durable[name] = version

    def rename(self, n):
        os.rename(self.path(f"moved {n % 2}"), self.path(f"moved {(n + 1) % 2}"))

    def in_place(self, n):
        with open(self.path("in place"), "r+b", buffering=0) as f:
            for number in range(n % 50, n % 50 + 30):
                self.pages.setdefault(number, []).append(n)
                os.pwrite(f.fileno(), page(number, n), number * 4096)
            os.fsync(f.fileno())
        self.pages_durable = {number: len(versions) - 1 for number, versions in self.pages.items()}

    def programs(self, ending):
        return [
            Program("writing and fsync", lambda n: self.write(f"written {n % 7}", n), ending),
            Program("making files", lambda n: self.write(f"new {n}", n), ending),
            Program("renaming", self.rename, ending),
            Program("writing in place", self.in_place, ending),
            Program("chmod", lambda n: os.chmod(self.path("mode"), 0o600 + n % 8), ending),
        ]

    def begin(self):
        self.disk.make()
        self.vault = Vault("hostgone", "--journal", "8", disk=self.disk.dir)
        self.vault.start()
        self.vault.wait_usable()
        for n in range(FILES):
            self.write(f"kept {n}", n)
        for name in "moved 0", "mode", "in place":
            self.write(name, 1)
        for n in range(-50, 0):
            self.in_place(n)

    def break_it(self):
        """Each program is told of it, by an error that says it."""
        ending = threading.Event()
        programs = self.programs(ending)
        for p in programs:
            p.start()
        until = time.monotonic() + LIMIT_S
        while any(p.count < 5 for p in programs):
            assert time.monotonic() < until and not any(p.error for p in programs), "the programs do not get on"
            time.sleep(0.01)
        if self.cause == "read-only":
            self.disk.read_only()
        else:
            self.disk.gone()
        until = time.monotonic() + LIMIT_S
        for p in programs:
            p.join(max(0.1, until - time.monotonic()))
            assert not p.is_alive(), f"{p.what}: hangs, or was never told"
            assert p.error in REFUSALS, f"{p.what}: {os.strerror(p.error)}"
        ending.set()

    def told(self):
        """Why it is read-only: in the status and in the log."""
        text = subprocess.run([WARDFS, "status", "--json"], stdout=subprocess.PIPE, check=True, timeout=LIMIT_S).stdout
        state = next(entry for entry in json.loads(text)["mounts"] if entry["mountpoint"] == self.vault.mnt)
        words = "filesystem is read-only" if self.cause == "read-only" else "input/output error"
        assert state["readonly"] and words in state["readonly_reason"], state["readonly_reason"]
        # The line goes through the broker, the status does not.
        until = time.monotonic() + LIMIT_S
        while "read-only from now on: " + state["readonly_reason"] not in self.vault.last_log():
            assert time.monotonic() < until, self.vault.last_log()
            time.sleep(0.02)
        text = subprocess.run([WARDFS, "status"], stdout=subprocess.PIPE, check=True, timeout=LIMIT_S).stdout
        assert state["readonly_reason"].encode() in text, text

    def read(self):
        """What was durable is still read, unless there is nothing to read from."""
        for n in range(FILES):
            said = wrong(self.path(f"kept {n}"), content(f"kept {n}", n))
            allowed = (None,) if self.cause == "read-only" else (None, os.strerror(errno.EIO))
            assert said in allowed, f"kept {n}: {said}"
        try:
            self.write("after", 1)
        except OSError as e:
            assert e.errno in REFUSALS, e.strerror
        else:
            raise AssertionError("a file was made on a disk that is not there")

    def end(self):
        done = subprocess.run([WARDFS, "umount", self.vault.mnt], capture_output=True, timeout=LIMIT_S, check=False)
        assert done.returncode and b"could not be closed cleanly" in done.stderr, f"umount: {done}"
        assert self.vault.process.wait(LIMIT_S), "the mount says that it ended well"
        assert not self.vault.mounted(), "it is still mounted"

    def compare(self):
        for name, version in self.durable.items():
            if self.newest[name] == version and name not in ("in place", "mode") and not name.startswith("moved"):
                said = wrong(self.path(name), content(name, version))
                assert said is None, f"{name}: {said}"
        there = [n for n in (0, 1) if os.path.exists(self.path(f"moved {n}"))]
        assert len(there) == 1 and wrong(self.path(f"moved {there[0]}"), content("moved 0", 1)) is None, f"moved: {there}"
        with open(self.path("in place"), "rb") as f:
            for number, versions in self.pages.items():
                f.seek(number * 4096)
                allowed = [page(number, n) for n in versions[self.pages_durable[number]:]]
                assert f.read(4096) in allowed, f"in place: page {number}"

    def again(self):
        """The disk is back."""
        self.disk.umount()
        self.disk.mount()
        self.vault.start()
        self.vault.wait_usable()
        self.compare()
        self.write("works again", 3)
        self.vault.umount()
        self.vault.process.wait(LIMIT_S)
        done = subprocess.run([WARDFS, "check", "--passfile", self.vault.passfile, self.vault.dir], capture_output=True,
                              timeout=LIMIT_S, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def run(self):
        self.begin()
        self.break_it()
        self.told()
        self.read()
        self.end()
        self.again()

    def clean_up(self):
        if self.vault:
            self.vault.clean_up()
        self.disk.clean_up()


def main():
    require("hostgone")
    bad = 0
    for kind, cause in (("ext4", "read-only"), ("ext4", "gone"), ("xfs", "gone")):
        case = Case(kind, cause)
        try:
            case.run()
            print(f"ok hostgone: {case.name}", flush=True)
        except Missing as e:
            print(f"skip hostgone: {case.name} # {e}", flush=True)
        except (AssertionError, KeyError, OSError, RuntimeError, StopIteration, subprocess.SubprocessError) as e:
            log = case.vault.last_log() if case.vault else ""
            print(f"not ok hostgone: {case.name}: {type(e).__name__}: {e}\n{log}", flush=True)
            bad = 1
        finally:
            case.clean_up()
    return bad


if __name__ == "__main__":
    sys.exit(main())
