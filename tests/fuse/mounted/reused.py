#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A worker dies, its mount is taken away, and the vault mounted again at the same place at once, with the same numbers from
the kernel: whoever served the dead mount ends, and only the new one answers.

reused.py [ROUNDS]"""
import json
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from vaultmount import WARDFS, Vault, require  # noqa: E402

LIMIT = 60


def entries(vault):
    text = subprocess.run([WARDFS, "status", "--json"], stdout=subprocess.PIPE, check=True, timeout=LIMIT).stdout
    return [entry for entry in json.loads(text)["mounts"] if entry["mountpoint"] == vault.mnt]


def wait_until(condition, limit=LIMIT):
    until = time.monotonic() + limit
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


def is_gone(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return f.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


def tells_mounts():
    """Whether this kernel has an id of a mount that it never gives again (6.8)."""
    return tuple(int(n) for n in os.uname().release.split("-")[0].split(".")[:2]) >= (6, 8)


def one_round(vault):
    """What went wrong, and whether the new mount got the number of the dead one."""
    vault.mount()
    old = entries(vault)[0]
    # It sleeps through all of it, as a broker on a busy machine may.
    os.kill(old["broker_pid"], signal.SIGSTOP)
    try:
        os.kill(old["pid"], signal.SIGKILL)
        if not wait_until(lambda: is_gone(old["pid"])):
            return "the killed worker does not end", False
        vault.detach()
        vault.mount()
        with open("/proc/self/mountinfo", encoding="ascii", errors="replace") as f:
            same = any(line.split()[2] == old["device"] and line.split()[4] == vault.mnt for line in f)
    finally:
        os.kill(old["broker_pid"], signal.SIGCONT)
    # Passed on to the worker with the key, by whoever is found.
    asked = subprocess.run([WARDFS, "check", vault.mnt], capture_output=True, check=False, timeout=LIMIT)
    trouble = f"check: {asked.returncode} {asked.stderr!r}" if asked.returncode else ""
    if not trouble and not wait_until(lambda: is_gone(old["broker_pid"])):
        trouble = f"whoever served the dead mount stays: {entries(vault)}"
    if trouble:
        os.kill(old["broker_pid"], signal.SIGKILL)
    elif [entry["state"] for entry in entries(vault)] != ["open"]:
        trouble = f"afterwards: {entries(vault)}"
    if not vault.mounted():
        trouble = trouble or "the new mount was taken away with the old one"
    else:
        vault.umount()
    return trouble, same


def main():
    require("reused")
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    if not tells_mounts():
        print("skip reused # before Linux 6.8 a mount's numbers are all used again")
        return 0
    vault = Vault("reused")
    if not subprocess.run([WARDFS, "status"], capture_output=True, check=False, timeout=LIMIT).returncode == 0:
        print("not ok reused: wardfs status")
        return 1
    reused = 0
    for number in range(count):
        trouble, same = one_round(vault)
        reused += same
        if trouble:
            print(f"round {number}: {trouble}")
            print("not ok reused: a mount with the numbers of a dead one is another mount")
            return 1
    if not reused:
        print(f"skip reused # in {count} rounds no number of a device was given again")
        return 0
    print(f"ok reused: a mount with the numbers of a dead one is another mount ({reused} of {count} rounds)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
