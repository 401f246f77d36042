#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A host that hangs: the filesystem below the vault is frozen, so that whoever writes to it waits and cannot even be killed.
Locking wipes the keys by its deadline all the same, ends the connection, and says so; once the host is back, the vault opens
with everything that was durable."""
import atexit
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "../../interop"))
import insides  # noqa: E402
import lock as locking  # noqa: E402
from vaultmount import WARDFS, Vault, require  # noqa: E402

MIB = 1 << 20
DEADLINE_S = 3
LIMIT = 120


class Skip(Exception):
    pass


def run(*command):
    return subprocess.run([str(word) for word in command], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=LIMIT).stdout.decode().strip()


class Host:
    """A small filesystem of its own that can be frozen."""

    def __init__(self, work):
        self.image, self.path = os.path.join(work, "image"), os.path.join(work, "host")
        self.device, self.frozen = None, False
        os.mkdir(self.path)
        atexit.register(self.clear)
        try:
            with open(self.image, "wb") as f:
                f.truncate(256 * MIB)
            self.device = run("losetup", "--show", "-f", self.image)
            run("mkfs.ext4", "-q", self.device)
            run("mount", self.device, self.path)
            self.freeze()
            self.thaw()
        except FileNotFoundError as e:
            raise Skip(f"{e.filename} is missing") from e
        except subprocess.CalledProcessError as e:
            raise Skip(f"{e.cmd[0]}: {e.stderr.decode(errors='replace').strip()}") from e

    def freeze(self):
        run("fsfreeze", "-f", self.path)
        self.frozen = True

    def thaw(self):
        self.frozen = False
        run("fsfreeze", "-u", self.path)

    def clear(self):
        if self.frozen:
            subprocess.run(["fsfreeze", "-u", self.path], check=False, timeout=LIMIT)
        until = time.monotonic() + 30
        while os.path.ismount(self.path) and time.monotonic() < until:
            if subprocess.run(["umount", self.path], capture_output=True, check=False, timeout=LIMIT).returncode:
                time.sleep(0.1)  # what was killed still ends
        if os.path.ismount(self.path):
            subprocess.run(["umount", "-l", self.path], capture_output=True, check=False, timeout=LIMIT)
        if self.device:
            subprocess.run(["losetup", "-d", self.device], capture_output=True, check=False, timeout=LIMIT)
            self.device = None


def threads_of_all():
    """Every thread of every process of wardfs: of one that is being killed, the first may be gone before the others."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
            tasks = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue
        for tid in tasks:
            try:
                if os.path.realpath(f"/proc/{pid}/task/{tid}/exe") == os.path.realpath(WARDFS):
                    found.append((f"{pid}/task/{tid}", b" ".join(words[1:2]).decode()))
                    break
            except OSError:
                continue
    return found


def search(secrets):
    """Which secrets stand in the memory of which process; and how many could be looked into."""
    found, seen = [], 0
    for where, role in threads_of_all():
        try:
            for data, line in insides.memory_of(where):
                found += [f"{name} in {where} {role}: {line}" for name, secret in secrets if secret in data]
            seen += 1
        except OSError:
            continue
    return found, seen


def ends_with_error(function, limit=30):
    """Whether a child that does this is answered with an error, and soon."""
    def attempt():
        try:
            function()
        except OSError:
            return 0
        return 1

    return locking.in_child(attempt, limit) == 0


def hang(vault, host):
    vault.mount()
    name = os.path.join(vault.mnt, locking.NAME)
    with open(name, "wb", buffering=0) as f:
        f.write(locking.TEXT * 4000)
        os.fsync(f.fileno())
    vault.umount()
    keys = insides.record_keys(vault)
    locking.report(len(keys) >= 5, f"hang: {len(keys)} keys are known")
    secrets = [(f"key {i}", key[:16]) for i, key in enumerate(sorted(keys))]
    secrets += [("a name", locking.NAME.encode()), ("content", locking.TEXT)]
    vault.mount()
    with open(name, "rb") as f:
        f.read()
    found, _ = search(secrets[-2:])
    locking.report(bool(found), "hang: the search finds the name or the content of the open vault")
    stream = os.path.join(vault.mnt, "stream")
    writer = locking.Writer(stream)
    while not os.path.exists(stream) or not os.path.getsize(stream):
        time.sleep(0.01)
    host.freeze()
    begin = time.monotonic()
    done = subprocess.run([WARDFS, "lock", "--deadline", f"{DEADLINE_S}s", vault.mnt], capture_output=True, check=False,
                          timeout=LIMIT)
    took = time.monotonic() - begin
    locking.report(host.frozen and done.returncode != 0 and b"in time" in done.stderr and done.stderr.count(b"\n") == 1,
                   f"hang: lock says that it was not in time ({took:.1f} s): {done.returncode} {done.stderr!r}")
    found, seen = search(secrets)
    locking.report(not found, f"hang: nothing is left in {seen} processes while the host still hangs")
    for line in found[:10]:
        print(line)
    locking.report(ends_with_error(lambda: os.listdir(vault.mnt)), "hang: the dead mount answers with an error")
    if not writer.ended(30):
        locking.report(False, "hang: the writer is not let go")
        writer.stop()
    state = locking.state_of(vault)
    locking.report(state == "failed", f"hang: status says {state}")
    host.thaw()
    done = subprocess.run([WARDFS, "umount", vault.mnt], capture_output=True, check=False, timeout=LIMIT)
    locking.report(done.returncode == 0 and not vault.mounted(), f"hang: the dead mount can be unmounted: {done.stderr!r}")
    until = time.monotonic() + LIMIT
    while vault.workers() and time.monotonic() < until:
        time.sleep(0.02)
    vault.mount()
    with open(name, "rb") as f:
        locking.report(f.read() == locking.TEXT * 4000, "hang: what was durable is there once the host is back")
    vault.umount()
    done = subprocess.run([WARDFS, "check", "--passfile", vault.passfile, vault.dir], capture_output=True, check=False,
                          timeout=LIMIT)
    locking.report(done.returncode == 0, f"hang: check finds nothing: {done.stdout[-300:]!r}")


def main():
    require("hang")
    vault = Vault("hang")
    try:
        host = Host(vault.work)
    except Skip as reason:
        print(f"skip hang # {reason}")
        return 0
    # Where it can be frozen, and unmounted after the vault.
    atexit.unregister(vault.clean_up)
    place = os.path.join(host.path, "vault")
    run("cp", "-a", vault.dir, place)
    vault.dir = place
    try:
        hang(vault, host)
    finally:
        if host.frozen:
            host.thaw()
        if vault.mounted():
            subprocess.run(["umount", "-l", vault.mnt], capture_output=True, check=False, timeout=LIMIT)
        host.clear()
        vault.clean_up()
    left = os.path.exists(vault.work) or host.image in run("losetup", "-a")
    locking.report(not left, "hang: the machine is left clean")
    return 1 if locking.failures else 0


if __name__ == "__main__":
    sys.exit(main())
