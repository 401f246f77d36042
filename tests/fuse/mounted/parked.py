#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writers on a mount whose host is frozen for some seconds, and slow afterwards, the worker in a control group of 64 MiB (where no group can
be made: told to plan with 16 MiB): overwriting, an mmap writer, small files. What they write has to wait; the worker's memory stays
bounded, nobody is killed, and in the end all of it is there."""
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hang import Host, Skip  # noqa: E402
from limits import GROUP_BYTES, anonymous_bytes, block, make_group, mount  # noqa: E402
from vaultmount import Vault, require  # noqa: E402

LIMIT_S = 300
FROZEN_S = 3
PAUSES, PAUSE_S = 12, 0.2
CHUNK = 1 << 20
BIG, MAPPED = 64, 24  # chunks that are overwritten
FILES = 3000


def small(number):
    return b"%d " % number * (50 + number % 700)


def begun():
    print(".", flush=True)


def overwrite(mnt):
    with open(f"{mnt}/big", "r+b", buffering=0) as f:
        for number in range(BIG):
            os.pwrite(f.fileno(), block(number, "new"), number * CHUNK)
            begun()
        os.fsync(f.fileno())


def through_mmap(mnt):
    with open(f"{mnt}/mapped", "r+b") as f, mmap.mmap(f.fileno(), MAPPED * CHUNK) as memory:
        for number in range(MAPPED):
            memory[number * CHUNK:(number + 1) * CHUNK] = block(number, "mapped")
            begun()
        memory.flush()


def many(mnt):
    for number in range(FILES):
        with open(f"{mnt}/many/{number}", "wb", buffering=0) as f:
            f.write(small(number))
        if number % 100 == 99:
            begun()
    with open(f"{mnt}/many/{number}", "rb") as f:
        os.fsync(f.fileno())


WRITERS = (overwrite, through_mmap, many)


class Test:
    def __init__(self):
        self.work = tempfile.mkdtemp(prefix="parked.", dir=os.environ.get("WARDFS_TEST_TMP") or "/var/tmp")
        self.host = Host(self.work)
        self.group = make_group()
        self.vault = Vault("parked", "--journal", "8", disk=self.host.path)
        self.most = 0
        self.writers, self.pauses = [], 0

    def watch(self, condition, limit_s):
        """Until the condition holds or the time is over; whether it holds."""
        until = time.monotonic() + limit_s
        while not condition():
            self.most = max(self.most, anonymous_bytes(self.vault))
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        return True

    def ended(self):
        return all(w.poll() is not None for w in self.writers)

    def killed(self):
        """Kills for want of memory in the group, as far as the kernel says so."""
        for name in "memory.oom_control", "memory.events":
            try:
                with open(f"{self.group}/{name}", encoding="ascii") as f:
                    return sum(int(line.split()[1]) for line in f if line.split()[0] == "oom_kill")
            except OSError:
                continue
        return 0

    def fill(self):
        for name, chunks in ("big", BIG), ("mapped", MAPPED):
            with open(f"{self.vault.mnt}/{name}", "wb", buffering=0) as f:
                for number in range(chunks):
                    f.write(block(number, "old"))
                os.fsync(f.fileno())
        os.mkdir(f"{self.vault.mnt}/many")

    def slow(self):
        """A host that answers now and then."""
        while not self.ended() and self.pauses < PAUSES:
            self.host.freeze()
            try:
                self.watch(self.ended, PAUSE_S)
            finally:
                self.host.thaw()
            self.pauses += 1
            self.watch(self.ended, PAUSE_S / 4)

    def run(self):
        mount(self.vault, self.group)
        self.fill()
        for writer in WRITERS:
            # pylint: disable-next=consider-using-with
            self.writers.append(subprocess.Popen([sys.executable, __file__, writer.__name__, self.vault.mnt],
                                                 stdout=subprocess.PIPE))
        for w in self.writers:
            w.stdout.readline()  # it has begun
        self.host.freeze()
        try:
            early = self.watch(self.ended, FROZEN_S)
        finally:
            self.host.thaw()
        assert not early, "the writers did not wait for the host, or have failed"
        self.slow()
        assert self.watch(self.ended, LIMIT_S), "a writer hangs"
        statuses = [w.returncode for w in self.writers]
        assert not any(statuses) and not self.killed(), f"{statuses}, {self.killed()} killed"
        self.verify()
        self.vault.umount()
        mount(self.vault, self.group)
        self.verify()
        self.vault.umount()

    def verify(self):
        for name, chunks, salt in ("big", BIG, "new"), ("mapped", MAPPED, "mapped"):
            with open(f"{self.vault.mnt}/{name}", "rb") as f:
                for number in range(chunks):
                    assert f.read(CHUNK) == block(number, salt), f"{name}: block {number}"
        for number in range(FILES):
            with open(f"{self.vault.mnt}/many/{number}", "rb") as f:
                assert f.read() == small(number), f"small file {number}"

    def clean_up(self):
        for w in self.writers:
            if w.poll() is None:
                w.kill()
                w.wait()
        self.vault.clean_up()
        self.host.clear()
        if not os.path.ismount(self.host.path):
            shutil.rmtree(self.work, ignore_errors=True)
        if self.group:
            try:
                os.rmdir(self.group)
            except OSError:
                pass  # the worker that a failure left is about to go


def main():
    require("parked")
    try:
        test = Test()
    except Skip as e:
        print(f"skip parked # {e}")
        return 0
    try:
        test.run()
        print(f"ok parked: {'a control group of 64 MiB' if test.group else 'a plan of 16 MiB'}, a host frozen {1 + test.pauses} times")
        if test.most > GROUP_BYTES:
            print("not ", end="")
        print(f"ok parked: at most {test.most >> 10} KiB of memory in the worker, {GROUP_BYTES >> 10} allowed")
        return int(test.most > GROUP_BYTES)
    except (AssertionError, OSError, RuntimeError, subprocess.SubprocessError) as e:
        print(f"not ok parked: {type(e).__name__}: {e}")
        return 1
    finally:
        test.clean_up()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        {w.__name__: w for w in WRITERS}[sys.argv[1]](sys.argv[2])
        sys.exit(0)
    sys.exit(main())
