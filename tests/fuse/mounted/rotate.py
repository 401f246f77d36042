#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Rotations of a mounted vault, one after the other, while two writers work and the process that serves the mount is
killed at random moments. After each kill: nothing that was fsynced or answered is lost; at the end the rotation ends by
itself, older epochs are gone, and what nobody wrote to is as it was.

rotate.py [ROUNDS [SEED]]"""
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from kill import WRITERS, mount_again, run_writers  # noqa: E402
from killmodel import Difference, Folder  # noqa: E402
from vaultmount import WARDFS, Vault, require  # noqa: E402

FILES = 200
LARGE = 8 << 20
END_S = 300


def status(vault):
    text = subprocess.run([WARDFS, "status", "--json"], stdout=subprocess.PIPE, check=True, timeout=60).stdout
    for entry in json.loads(text)["mounts"]:
        if entry["mountpoint"] == vault.mnt and "pid" in entry:  # and not one that was killed
            return entry
    return {}


class Worker:
    """The process with the keys: not a child of ours."""

    def __init__(self, pid):
        self.pid, self.returncode = pid, 0

    def kill(self):
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def poll(self):
        try:
            with open(f"/proc/{self.pid}/stat", encoding="ascii", errors="replace") as f:
                return 0 if f.read().rsplit(")", 1)[1].split()[0] in "ZX" else None
        except OSError:
            return 0

    def wait(self, limit=60):
        until = time.monotonic() + limit
        while self.poll() is None:
            if time.monotonic() > until:
                raise RuntimeError("the killed worker does not end")
            time.sleep(0.005)


class Served(Vault):
    """Mounted in the background; self.process is the worker."""

    def start(self):
        self.mount()
        self.process = Worker(status(self)["pid"])

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.detach()


def fill(vault, rng):
    """Files that nobody touches later; their checksums."""
    sums = {}
    for i in range(FILES + 2):
        folder = os.path.join(vault.mnt, f"still{i % 7}")
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, f"file{i}")
        data = rng.randbytes(LARGE if i >= FILES else rng.randrange(1, 30000))
        with open(path, "wb", buffering=0) as f:
            f.write(data)
            os.fsync(f.fileno())
        sums[path] = hashlib.sha256(data).digest()
    return sums


def compare(sums, share, rng):
    for path, want in sums.items():
        if rng.random() < share:
            with open(path, "rb") as f:
                data = f.read()
                if hashlib.sha256(data).digest() != want:
                    raise Difference(f"{path}: another content: {len(data)} bytes, {len(data.rstrip(bytes(1)))} without zeros")


def rotation(vault):
    return status(vault).get("rotation") or {"state": "unknown"}


def begin(vault, level):
    """Begins a rotation unless one is under way. True when it has begun."""
    done = subprocess.run([WARDFS, "rotate", "--background", "--max-rate", "20M", *level, "--passfile", vault.passfile,
                           vault.mnt], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False, timeout=120)
    if done.returncode and b"under way" not in done.stderr:
        raise Difference(f"rotate: {done.returncode} {done.stderr!r}")
    return done.returncode == 0


def rounds(vault, count, rng):
    folders = [Folder(f"writer{i}") for i in range(WRITERS)]
    operations = begun = 0
    vault.start()
    vault.wait_usable()
    sums = fill(vault, rng)
    for folder in folders:
        os.mkdir(os.path.join(vault.mnt, folder.name))
    for number in range(count):
        begun += begin(vault, rng.choice(([], ["--contents"], ["--contents"])))
        operations += run_writers(vault, folders, rng)
        mount_again(vault, rng)
        try:
            for folder in folders:
                folder.verify(vault.mnt)
            compare(sums, 0.1, rng)
        except (Difference, OSError) as e:
            raise Difference(f"round {number}: {e}") from e
    begin(vault, ["--contents"])
    until = time.monotonic() + END_S
    while rotation(vault)["state"] != "ended":
        if time.monotonic() > until:
            raise Difference(f"the rotation does not end: {rotation(vault)}")
        time.sleep(0.2)
    if rotation(vault)["epochs"] != 1:
        raise Difference(f"older epochs after the end: {rotation(vault)}")
    compare(sums, 1, rng)
    return operations, begun


def main():
    require("rotate")
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().getrandbits(32)
    print(f"{count} rounds, seed {seed}")
    vault = Served("rotate")
    try:
        operations, begun = rounds(vault, count, random.Random(seed))
    except (Difference, RuntimeError, KeyError, subprocess.SubprocessError) as e:
        print(e)
        print(vault.last_log())
        print(f"not ok rotate: {count} kills during rotations lose nothing")
        return 1
    print(f"{operations} answered operations, {begun} rotations begun")
    print(f"ok rotate: {count} kills during rotations lose nothing")
    vault.umount()
    done = subprocess.run([WARDFS, "check", "--passfile", vault.passfile, vault.dir], stdout=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, check=False, timeout=300)
    if done.returncode:
        print(done.stdout.decode(errors="replace"))
    print(f"{'not ' if done.returncode else ''}ok rotate: check finds nothing")
    return 1 if done.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
