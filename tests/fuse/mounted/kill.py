#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""SIGKILL for the process that serves the mount, at random moments, while two writers work. After each kill: no byte that was
fsynced is lost, no name operation that was answered is lost, no page shows anything that was never written, no error on reading.

kill.py [ROUNDS [SEED]]"""
import os
import random
import selectors
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from killmodel import Difference, Folder  # noqa: E402
from killwriter import start_writer  # noqa: E402
from vaultmount import Vault, require  # noqa: E402

WRITERS = 2


def run_writers(vault, folders, rng):
    """Lets the writers work, kills the mount meanwhile, and feeds what they report into their folders' models."""
    selector = selectors.DefaultSelector()
    for folder in folders:
        folder.pid, pipe = start_writer(os.path.join(vault.mnt, folder.name), folder.writer_state(rng.getrandbits(60)))
        folder.pipe = os.fdopen(pipe, "rb")
        os.set_blocking(pipe, False)
        folder.unread = b""
        selector.register(folder.pipe, selectors.EVENT_READ, folder)
    until = time.monotonic() + rng.choice((0.02, 0.1, 0.3, 0.8)) * (0.5 + rng.random())
    killed = False
    open_pipes = len(folders)
    while open_pipes:
        if not killed and time.monotonic() >= until:
            vault.kill_workers()
            killed = True
        for key, _ in selector.select(None if killed else max(0, until - time.monotonic())):
            folder = key.data
            data = folder.pipe.read()
            if data:
                folder.unread += data
                continue
            if data is None:
                continue
            selector.unregister(folder.pipe)
            folder.pipe.close()
            os.waitpid(folder.pid, 0)
            open_pipes -= 1
            if not killed:
                raise Difference(f"{folder.name}: the writer ended before the kill: {folder.unread[-400:]!r}")
    operations = 0
    for folder in folders:
        operations += folder.take_report(folder.unread)
    vault.killed()
    return operations


def mount_again(vault, rng):
    """Mounts; now and then the mount is killed while it is still replaying."""
    while rng.random() < 0.2:
        vault.start()
        time.sleep(rng.random() * 0.2)
        vault.kill()
    vault.start_again()


def rounds(vault, count, rng):
    folders = [Folder(f"writer{i}") for i in range(WRITERS)]
    operations = 0
    vault.start()
    vault.wait_usable()
    for folder in folders:
        os.mkdir(os.path.join(vault.mnt, folder.name))
    for number in range(count):
        operations += run_writers(vault, folders, rng)
        mount_again(vault, rng)
        for folder in folders:
            try:
                folder.verify(vault.mnt)
            except Difference as e:
                raise Difference(f"round {number}, {folder.name}: {e}; last: {folder.last_operations()}") from e
            except OSError as e:
                raise Difference(f"round {number}, {folder.name}: {e}; last: {folder.last_operations()}") from e
    return operations


def main():
    require("kill")
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().getrandbits(32)
    print(f"{count} rounds, seed {seed}")
    vault = Vault("kill")
    try:
        operations = rounds(vault, count, random.Random(seed))
    except (Difference, RuntimeError) as e:
        print(e)
        print(vault.last_log())
        print(f"not ok kill: {count} kills lose nothing")
        return 1
    print(f"{operations} answered operations")
    print(f"ok kill: {count} kills lose nothing")
    vault.process.terminate()
    vault.process.wait(60)
    if vault.process.returncode == 0 and not vault.mounted():
        print("ok kill: SIGTERM ends it cleanly")
        return 0
    print("not ok kill: SIGTERM ends it cleanly", vault.process.returncode)
    return 1


if __name__ == "__main__":
    sys.exit(main())
