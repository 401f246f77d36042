#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Power cuts of a whole disk. A vault lies on a filesystem on a loop device whose file is served by tests/crash/recorder, which
keeps every write and flush. The vault is worked on, closed, mounted again, its process killed, mounted again. Then the disk is
made as a power cut at a random moment would have left it: everything up to the last flush, and any part of what came later, in
units of 4 KiB. The host's filesystem is mounted (it replays its own journal), then the vault, and its content is compared
with what was fsynced. What this machine remembers of the vault (the anchor) is that of the moment, too.

powercut.py [CUTS [SEED]]      (WARDFS_POWER_CUTS, or 30, in all; the random seed is printed)"""
import atexit
import bisect
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from powermodel import Difference, Writer  # noqa: E402
from vaultmount import BUILD, WARDFS, require  # noqa: E402

RECORDER = os.path.join(BUILD, "normal", "tests", "crash", "recorder")
MIB = 1 << 20
FLUSH = (1 << 64) - 1
UNIT = 4096
# name, filesystem, size, options of mkfs and of mount
HOSTS = (
    ("ext4", "ext4", 256, ("-q", "-b", "4096", "-E", "nodiscard"), ()),
    ("ext4 data=writeback", "ext4", 256, ("-q", "-b", "4096", "-E", "nodiscard"), ("-o", "data=writeback")),
    # A page lies in four places of the disk there: none is written as a whole.
    ("ext4 blocks of 1 KiB", "ext4", 256, ("-q", "-b", "1024", "-E", "nodiscard"), ()),
    ("xfs", "xfs", 320, ("-q", "-K"), ()),
    ("btrfs", "btrfs", 256, ("-q", "-K"), ()),
)


def run(*command, **kw):
    return subprocess.run([str(word) for word in command], check=True, stdin=subprocess.DEVNULL, timeout=180, **kw)


class Stack:
    """What has to be undone, latest first."""

    def __init__(self):
        self.undo = []
        atexit.register(self.clear)

    def add(self, *command):
        self.undo.append(command)

    def clear(self, keep=0):
        while len(self.undo) > keep:
            command = self.undo.pop()
            if callable(command[0]):
                command[0]()
            elif subprocess.run(command, capture_output=True, check=False, timeout=180).returncode:
                if command[0] == "umount":
                    subprocess.run(["umount", "-l", command[1]], capture_output=True, check=False, timeout=60)


class Log:
    """The recorder's log: positions of its entries."""

    def __init__(self, path):
        self.file = open(path, "rb")  # pylint: disable=consider-using-with
        self.starts, self.entries = [], []  # entries: (offset or FLUSH, position of the bytes, length)
        position, end = 0, os.fstat(self.file.fileno()).st_size
        while position + 16 <= end:
            offset, length = struct.unpack("<QQ", os.pread(self.file.fileno(), 16, position))
            self.starts.append(position)
            self.entries.append((offset, position + 16, length))
            position += 16 + length
        self.starts.append(position)

    def bytes(self, entry):
        return os.pread(self.file.fileno(), entry[2], entry[1])

    def moments(self, begin, rng, count):
        """Random entries before which the power goes: half of them anywhere, half where much is not flushed."""
        busy, units = [], 0
        for index in range(begin, len(self.entries)):
            offset, _, length = self.entries[index]
            units = 0 if offset == FLUSH else units + (length + UNIT - 1) // UNIT
            if units >= 8:
                busy.append(index + 1)
        anywhere = range(begin, len(self.entries) + 1)
        return sorted(rng.choice(busy if busy and i % 2 else anywhere) for i in range(count))


class Disk:
    """The disk with everything that was flushed before entry number `done`."""

    def __init__(self, path, size, log):
        self.path, self.log, self.done = path, log, 0
        with open(path, "wb") as f:
            f.truncate(size)

    def advance(self, last_flush):
        with open(self.path, "r+b") as f:
            for entry in self.log.entries[self.done : last_flush]:
                if entry[0] != FLUSH:
                    f.seek(entry[0])
                    f.write(self.log.bytes(entry))
        self.done = max(self.done, last_flush)

    def cut(self, index, path, rng):
        """The disk after a cut right before entry `index`: returns how many units were not flushed, and how many are there."""
        last_flush = index
        while last_flush and self.log.entries[last_flush - 1][0] != FLUSH:
            last_flush -= 1
        self.advance(last_flush)
        run("cp", "--sparse=always", self.path, path)
        chance = rng.choice((0, 0.1, 0.5, 0.5, 0.9, 1))
        lost = kept = 0
        with open(path, "r+b") as f:
            for entry in self.log.entries[last_flush:index]:
                data, at = self.log.bytes(entry), 0
                while at < len(data):
                    n = UNIT - (entry[0] + at) % UNIT
                    if rng.random() < chance:
                        f.seek(entry[0] + at)
                        f.write(data[at : at + n])
                        kept += 1
                    else:
                        lost += 1
                    at += n
        return lost, kept


class Host:
    def __init__(self, work, stack, kind):
        self.name, self.fs, size, self.mkfs, self.options = kind
        self.work, self.stack, self.size = work, stack, size * MIB
        self.image, self.log = os.path.join(work, "image"), os.path.join(work, "log")
        self.served, self.dir, self.mnt = (os.path.join(work, d) for d in ("served", "host", "mnt"))
        for d in (self.served, self.dir, self.mnt):
            os.makedirs(d, exist_ok=True)
        self.vault = os.path.join(self.dir, "vault")
        self.passfile, self.messages = os.path.join(work, "pass"), os.path.join(work, "messages")
        # Where this machine remembers the vault: as of the cut, too, so that no crash looks like an older copy.
        self.state = os.path.join(work, "state")
        self.env = dict(os.environ, XDG_STATE_HOME=self.state)
        self.process = None

    def attach(self, path):
        device = run("losetup", "-f", "--show", path, capture_output=True, text=True).stdout.strip()
        self.stack.add("losetup", "-d", device)
        return device

    def mount_host(self, device):
        run("mount", "-t", self.fs, *self.options, device, self.dir)
        self.stack.add("umount", self.dir)

    def mount_vault(self):
        """The lock of a process that was killed may be held until the last of its I/O has ended: then once more."""
        until = time.monotonic() + 120
        while not self.try_mount(until):
            with open(self.messages, encoding="utf-8", errors="replace") as f:
                message = f.read()
            if "in use" not in message or time.monotonic() > until:
                raise Difference(f"the vault cannot be mounted: {message}")
            time.sleep(0.2)
        self.stack.add(self.kill_vault)

    def try_mount(self, until):
        with open(self.messages, "wb") as f:
            self.process = subprocess.Popen([WARDFS, "mount", "-f", "--passfile", self.passfile, self.vault, self.mnt],
                                            stdin=subprocess.DEVNULL, stderr=f, env=self.env)
        while os.stat(self.mnt).st_dev == os.stat(self.work).st_dev:
            if self.process.poll() is not None or time.monotonic() > until:
                self.process.kill()
                self.process.wait()
                return False
            time.sleep(0.005)
        return True

    def kill_vault(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
            subprocess.run(["umount", "-l", self.mnt], capture_output=True, check=False, timeout=60)

    def close_vault(self):
        run(WARDFS, "umount", self.mnt, env=self.env)
        if self.process.wait(120):
            raise Difference(f"unmounting ended with {self.process.returncode}")
        self.process = None
        self.stack.undo.pop()

    def record(self, rng, seconds):
        """Makes the vault and works on it; returns the writer and where in the log a cut is meaningful at first."""
        recorder = subprocess.Popen([RECORDER, str(self.size), self.image, self.log, self.served], stderr=subprocess.DEVNULL)

        def end_recorder():
            if subprocess.run(["umount", self.served], capture_output=True, check=False, timeout=60).returncode:
                subprocess.run(["umount", "-l", self.served], capture_output=True, check=False, timeout=60)
            try:
                recorder.wait(20)
            except subprocess.TimeoutExpired:
                recorder.kill()

        self.stack.add(end_recorder)
        disk, until = os.path.join(self.served, "disk"), time.monotonic() + 60
        while not os.path.exists(disk):
            if recorder.poll() is not None or time.monotonic() > until:
                raise RuntimeError("the recorder does not serve")
            time.sleep(0.01)
        device = self.attach(disk)
        run(f"mkfs.{self.fs}", *self.mkfs, device, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.mount_host(device)
        run(WARDFS, "init", "--passfile", self.passfile, "--kdf-memory", "8", "--kdf-passes", "1", self.vault,
            stdout=subprocess.DEVNULL, env=self.env)
        self.mount_vault()
        writer = Writer(self.mnt, self.log, os.path.join(self.state, "wardfs"), rng)
        writer.begin()
        first = os.stat(self.log).st_size
        for part, end in ((0.35, self.close_vault), (0.45, self.kill_vault), (0.2, self.close_vault)):
            if not self.process:
                self.mount_vault()
            stop = time.monotonic() + seconds * part
            writer.work(lambda stop=stop: time.monotonic() > stop)
            end()
        self.stack.clear()
        return writer, first

    def check(self, path, writer, mark):
        keep = len(self.stack.undo)
        try:
            self.mount_host(self.attach(path))
            shutil.rmtree(self.state, ignore_errors=True)
            writer.restore_anchor(mark)
            self.mount_vault()
            writer.verify(self.mnt, mark)
            with open(os.path.join(self.mnt, "afterwards"), "wb", buffering=0) as f:
                f.write(b"works" * 5000)
                os.fsync(f.fileno())
            self.close_vault()
        finally:
            self.stack.clear(keep)


def one_host(kind, cuts, rng, work):
    stack = Stack()
    host = Host(work, stack, kind)
    with open(host.passfile, "w", encoding="ascii") as f:
        f.write("a test passphrase\n")
    os.chmod(host.passfile, 0o600)
    try:
        writer, first = host.record(rng, 4 + cuts / 10)
        log = Log(host.log)
        begin = bisect.bisect_left(log.starts, first)
        disk = Disk(os.path.join(work, "durable"), host.size, log)
        copy = os.path.join(work, "cut")
        lost = kept = 0
        for index in log.moments(begin, rng, cuts):
            a, b = disk.cut(index, copy, rng)
            lost, kept = lost + a, kept + b
            try:
                host.check(copy, writer, log.starts[index])
            except (Difference, OSError, subprocess.SubprocessError) as e:
                with open(host.messages, encoding="utf-8", errors="replace") as f:
                    raise Difference(f"cut before entry {index} of {len(log.entries)}: {e}\n{f.read()}") from e
        print(f"{host.name}: {len(log.entries) - begin} writes and flushes recorded, {writer.version} changes; {cuts} cuts lost "
              f"{lost} units that were not flushed and kept {kept}")
    finally:
        stack.clear()


def missing(kind):
    """Why this host cannot be tried here, or None."""
    with open("/proc/filesystems", encoding="ascii") as f:
        known = f.read().split()
    if kind[1] not in known and subprocess.run(["modprobe", "-q", kind[1]], check=False).returncode:
        return f"the kernel has no {kind[1]}"
    if not shutil.which(f"mkfs.{kind[1]}"):
        return f"mkfs.{kind[1]} is missing"
    return None


def main():
    require("powercut")
    if subprocess.run(["losetup", "-f"], capture_output=True, check=False).returncode:
        print("skip powercut # no loop devices")
        return 0
    cuts = int(sys.argv[1]) if len(sys.argv) > 1 else int(os.environ.get("WARDFS_POWER_CUTS", 30))
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().getrandbits(32)
    print(f"{cuts} cuts, seed {seed}")
    bad = 0
    for kind in HOSTS:
        reason = missing(kind)
        if reason:
            print(f"skip powercut: {kind[0]} # {reason}")
            continue
        work = tempfile.mkdtemp(prefix="powercut.", dir=os.environ.get("WARDFS_TEST_TMP") or "/var/tmp")
        try:
            one_host(kind, cuts // len(HOSTS), random.Random(f"{seed} {kind[0]}"), work)
            print(f"ok powercut: {kind[0]}, {cuts // len(HOSTS)} cuts")
        except Difference as e:
            print(f"{kind[0]}: {e}")
            print(f"not ok powercut: {kind[0]}")
            bad = 1
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return bad


if __name__ == "__main__":
    sys.exit(main())
