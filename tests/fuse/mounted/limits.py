#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Little memory and a small journal: a vault with a journal of 8 MiB, its worker in a control group of 64 MiB (or, where no group can be
made, told to plan with 16 MiB), under overwriting, random writes, thousands of small files and renames. Everything ends, everything is
there afterwards, and the worker stays within its memory."""
import hashlib
import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from vaultmount import WARDFS, Vault, require  # noqa: E402

GROUP_BYTES = 64 << 20
PLAN_MIB = 16
BIG = 96 << 20
FILES = 16000
CHUNK = 1 << 20


def make_group():
    """A control group of 64 MiB: its folder, or None."""
    for parent, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = f"{parent}/wardfs-test-{os.getpid()}"
        if not os.path.exists(f"{parent}/cgroup.procs"):
            continue
        try:
            os.mkdir(group)
            with open(f"{group}/{limit}", "w", encoding="ascii") as f:
                f.write(str(GROUP_BYTES))
            return group
        except OSError:
            if os.path.isdir(group):
                os.rmdir(group)
    return None


def mount(vault, group):
    def enter():
        if group:
            with open(f"{group}/cgroup.procs", "w", encoding="ascii") as f:
                f.write(str(os.getpid()))

    options = [] if group else ["-o", f"memory={PLAN_MIB}"]
    # pylint: disable-next=subprocess-popen-preexec-fn
    subprocess.run([WARDFS, "mount", "--passfile", vault.passfile, *options, vault.dir, vault.mnt], check=True, preexec_fn=enter)


def anonymous_bytes(vault):
    """The most that any process of this mount has: they are those with the vault's path on their command line or in our group."""
    most = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                if vault.mnt.encode() not in f.read():
                    continue
            with open(f"/proc/{pid}/status", encoding="ascii") as f:
                for line in f:
                    if line.startswith("RssAnon"):
                        most = max(most, int(line.split()[1]) << 10)
        except OSError:
            continue
    return most


def block(number, salt):
    return hashlib.sha256(f"{number} {salt}".encode()).digest() * (CHUNK // 32)


def overwrite(path, salt, order):
    with open(path, "r+b" if os.path.exists(path) else "w+b", buffering=0) as f:
        for number in order:
            os.pwrite(f.fileno(), block(number, salt), number * CHUNK)
        os.fsync(f.fileno())


def work(vault, note):
    numbers = list(range(BIG // CHUNK))
    big = os.path.join(vault.mnt, "big")
    overwrite(big, 1, numbers)
    note("a new file")
    overwrite(big, 2, numbers)
    note("its overwriting")
    random.shuffle(numbers)
    with open(big, "r+b", buffering=0) as f:
        for number in numbers[:40]:
            for page in range(0, CHUNK, 16384):  # every fourth page: nothing merges
                os.pwrite(f.fileno(), block(number, 3)[:4096], number * CHUNK + page)
        os.fsync(f.fileno())
    note("scattered pages")
    folder = os.path.join(vault.mnt, "many")
    os.mkdir(folder)
    for number in range(FILES):
        with open(f"{folder}/{number}", "wb", buffering=0) as f:
            f.write(b"%d" % number * 200)
    note(f"{FILES} small files")
    for number in range(0, FILES, 2):
        os.rename(f"{folder}/{number}", f"{folder}/renamed {number}")
    for number in range(1, FILES, 4):
        os.unlink(f"{folder}/{number}")
    note("renames and removals")
    return set(numbers[:40])


def verify(vault, scattered):
    with open(os.path.join(vault.mnt, "big"), "rb") as f:
        for number in range(BIG // CHUNK):
            want = bytearray(block(number, 2))
            if number in scattered:
                for page in range(0, CHUNK, 16384):
                    want[page:page + 4096] = block(number, 3)[:4096]
            assert f.read(CHUNK) == want, f"block {number}"
    folder = os.path.join(vault.mnt, "many")
    names = set(os.listdir(folder))
    want = {f"renamed {n}" for n in range(0, FILES, 2)} | {str(n) for n in range(3, FILES, 4)}
    assert names == want, sorted(names ^ want)[:5]
    for name in names:
        with open(f"{folder}/{name}", "rb") as f:
            assert f.read() == b"%d" % int(name.rsplit(" ", maxsplit=1)[-1]) * 200, name


def main():
    require("limits")
    group = make_group()
    vault = Vault("limits", "--journal", "8")
    bound = GROUP_BYTES
    most = 0

    def note(what):
        nonlocal most
        now = anonymous_bytes(vault)
        most = max(most, now)
        print(f"{what}: {now >> 10} KiB", flush=True)

    bad = 0
    try:
        mount(vault, group)
        if not anonymous_bytes(vault):
            raise RuntimeError("the worker was not found")
        scattered = work(vault, note)
        verify(vault, scattered)
        note("reading it back")
        vault.umount()
        mount(vault, group)
        verify(vault, scattered)
        note("reading after a remount")
        vault.umount()
        print(f"ok limits: a journal of 8 MiB and {'a control group of 64 MiB' if group else 'a plan of 16 MiB'}")
        if most > bound:
            bad = 1
            print("not ", end="")
        print(f"ok limits: at most {most >> 10} KiB of memory, {bound >> 10} allowed")
    except (AssertionError, OSError, RuntimeError, subprocess.CalledProcessError) as e:
        print(f"not ok limits: {type(e).__name__}: {e}")
        bad = 1
    finally:
        vault.clean_up()
        if group:
            try:
                os.rmdir(group)
            except OSError:
                pass  # the worker that a failure left is about to go
    return bad


if __name__ == "__main__":
    sys.exit(main())
