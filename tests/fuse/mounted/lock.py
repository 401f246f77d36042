#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Locking with everything in use: open files, a removed one, a mapping, a working directory, a running writer. And what is left
in memory meanwhile: no key, no name, no content, no passphrase in any process of wardfs.

lock.py [ROUNDS]"""
import contextlib
import errno
import json
import mmap
import os
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "../../interop"))
from vaultmount import WARDFS, Vault, require  # noqa: E402

NAME = "marker-of-a-name-5e1f"
TEXT = b"marker of a content 9a2c "
LINK = "marker-of-a-target-77aa"
BLOCK = 1 << 16
LIMIT = 120

failures = 0


def report(good, what):
    global failures
    print(("ok " if good else "not ok ") + what, flush=True)
    failures += not good


def is_locked(function):
    try:
        function()
    except OSError as e:
        return e.errno == errno.EKEYREVOKED
    return False


def lock(vault):
    begin = time.monotonic()
    subprocess.run([WARDFS, "lock", vault.mnt], check=True, timeout=LIMIT, stdout=subprocess.DEVNULL)
    return time.monotonic() - begin


def unlock(vault):
    begin = time.monotonic()
    subprocess.run([WARDFS, "unlock", "--passfile", vault.passfile, vault.mnt], check=True, timeout=LIMIT)
    return time.monotonic() - begin


def in_child(function, timeout=60):
    """The wait status of a child that runs the function; None: it did not end."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(function() or 0)
        except BaseException:  # pylint: disable=broad-except
            os._exit(99)
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    return None


class Writer:
    """Appends blocks for as long as it is let, as dd does; tells how many were written when it ends."""

    def __init__(self, path):
        self.path = path
        self.out, inner = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.out)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            count, code = 0, 0
            try:
                while True:
                    os.write(fd, count.to_bytes(8, "little") * (BLOCK // 8))
                    count += 1
                    if count % 64 == 0:
                        os.ftruncate(fd, 0)
                        os.lseek(fd, 0, os.SEEK_SET)
                        count = 0
            except OSError as e:
                code = e.errno
            os.write(inner, f"{count} {code}".encode())
            os._exit(0)
        os.close(inner)

    def ended(self, limit):
        end = time.monotonic() + limit
        while os.waitpid(self.pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > end:
                return False
            time.sleep(0.002)
        return True

    def said(self):
        """How many blocks it wrote last, and the errno that ended it."""
        words = os.read(self.out, 100).split()
        os.close(self.out)
        return (int(words[0]), int(words[1])) if words else (None, None)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def blocks_good(path, count):
    """The blocks that were written before the lock are there."""
    with open(path, "rb") as f:
        for n in range(count):
            if f.read(BLOCK) != n.to_bytes(8, "little") * (BLOCK // 8):
                return f"block {n} of {count} differs"
    return ""


def map_faults(path):
    """A page of a mapping, touched while locked."""
    fd = os.open(path, os.O_RDONLY)
    area = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
    os.close(fd)

    def touch():
        return area[5000] == 0x3e7

    return area, touch


def rounds(vault, count):
    mnt = vault.mnt
    here = os.path.join(mnt, "dir")
    deep = os.path.join(here, "deep")
    os.makedirs(deep)
    os.chdir(deep)
    kept = os.open("kept", os.O_RDWR | os.O_CREAT)
    gone = os.open("gone", os.O_RDWR | os.O_CREAT)
    os.write(gone, TEXT * 1000)
    os.unlink("gone")
    with open(os.path.join(here, "mapped"), "wb") as f:
        f.write(TEXT * 1000)
    os.symlink(LINK, os.path.join(here, "link"))
    times = []
    waited = 0
    bad = []

    def must(condition, what):
        if not condition:
            bad.append(what)

    for n in range(count):
        data = n.to_bytes(8, "little") * 1000
        os.pwrite(kept, data, 0)
        # Dirty in the kernel, mapped, looked up: all at the same time.
        area, touch = map_faults(os.path.join(here, "mapped"))
        must(area[:10] == TEXT[:10], "mapped content")
        os.readlink(os.path.join(here, "link"))
        writer = Writer(os.path.join(here, "stream"))
        time.sleep(0.02 + 0.01 * (n % 5))
        took = lock(vault)
        must(is_locked(lambda: os.listdir(".")), "listing the working directory")
        must(is_locked(lambda: os.listdir(mnt)), "listing the root")
        must(is_locked(lambda: os.pread(kept, 10, 0)), "reading an open file")
        must(is_locked(lambda: os.pwrite(kept, b"x", 0)), "writing an open file")
        must(is_locked(lambda: os.readlink(os.path.join(here, "link"))), "reading a link")
        must(is_locked(lambda: os.stat(here)), "looking at a folder")
        must(is_locked(lambda: os.open("kept", os.O_RDONLY)), "opening a file")
        must(os.path.ismount(mnt) and os.stat(mnt).st_mode & 0o40000, "looking at the mount point")
        status = in_child(touch)
        must(status is not None and os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGBUS,
             f"touching a mapped page gave {status}")
        # Mostly refused; where its data is still in the kernel it waits for the unlocking, and goes on.
        waits = not writer.ended(5)
        back = unlock(vault)
        if waits:
            waited += 1
            writer.kill()
        written, code = writer.said()
        must(waits or code == errno.EKEYREVOKED, f"the writer ended with {written, code}")
        times.append((took, back))
        must(os.pread(kept, 8000, 0) == data, "content of the open file")
        must(os.pread(gone, 30000, 0) == TEXT * 1000, "content of the removed file")
        must(sorted(os.listdir(".")) == ["kept"], "the working directory")
        must(os.getcwd() == deep, "the working directory's name")
        must(os.readlink(os.path.join(here, "link")) == LINK, "the link")
        must(area[:10] == TEXT[:10] and area[5000:5010] == (TEXT * 1000)[5000:5010], "the mapping afterwards")
        del touch
        area.close()
        trouble = blocks_good(os.path.join(here, "stream"), written or 0)
        must(not trouble, trouble)
        if bad:
            break
    os.close(kept)
    os.close(gone)
    os.chdir("/")
    for what in bad:
        print(f"round {len(times)}: {what}")
    report(not bad, f"lock: {count} times with everything in use")
    if times:
        print(f"{waited} writers waited; longest lock {max(t for t, _ in times):.3f} s, longest unlock {max(t for _, t in times):.3f} s")


# ---- memory ----

def record_keys(vault):
    """Every key of a clean vault, as the independent decoder finds them."""
    import vault_header
    import vault_objects
    import wardfs_decode
    keys = set()
    unwrap, hkdf = vault_header.unwrap, vault_header.hkdf

    def unwrap_seen(*args):
        key = unwrap(*args)
        keys.add(bytes(key))
        return key

    def hkdf_seen(ikm, salt, info, length):
        key = hkdf(ikm, salt, info, length)
        keys.add(bytes(ikm))
        # The commitment stands in the header for all to see.
        if b"commit" not in info:
            keys.add(bytes(key))
        return key

    vault_header.unwrap = vault_objects.unwrap = unwrap_seen
    vault_header.hkdf = hkdf_seen
    try:
        with open(os.devnull, "w", encoding="ascii") as null, contextlib.redirect_stdout(null):
            wardfs_decode.main([vault.dir, vault.passfile, "verify"])
    finally:
        vault_header.unwrap = vault_objects.unwrap = unwrap
        vault_header.hkdf = hkdf
    return {key for key in keys if len(key) >= 32}


def processes():
    """Every process of wardfs but the command line."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
            if os.path.realpath(f"/proc/{pid}/exe") == os.path.realpath(WARDFS):
                found[int(pid)] = b" ".join(words[1:2]).decode()
        except OSError:
            continue
    return found


def memory_of(pid):
    """All memory of a process that root can read, mapping by mapping."""
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            area, perms = line.split()[:2]
            if "r" not in perms or line.rstrip().endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            at, end = (int(x, 16) for x in area.split("-"))
            parts = []
            while at < end:
                try:
                    mem.seek(at)
                    part = mem.read(min(end - at, 1 << 20))
                except OSError:
                    part = b""
                if not part:
                    break  # hidden memory
                # Most of it was never used.
                if part.strip(b"\0"):
                    parts.append(part)
                at += len(part)
            if parts:
                yield b"".join(parts), line.rstrip()


def search(secrets, what):
    """Which of the secrets stand in the memory of which process."""
    found = []
    for pid, role in processes().items():
        try:
            for data, line in memory_of(pid):
                for name, secret in secrets:
                    if secret in data:
                        found.append(f"{what}: {name} in process {pid} {role}: {line}")
        except OSError:
            continue
    return found


def memory(vault):
    """Keys and markers of a vault that is opened, locked, unlocked, and unmounted."""
    vault.mount()
    folder = os.path.join(vault.mnt, NAME)
    os.mkdir(folder)
    for n in range(20):
        with open(os.path.join(folder, f"{NAME}.{n}"), "wb") as f:
            f.write(TEXT * (1 if n % 2 else 4000))
    os.symlink(LINK, os.path.join(folder, "link"))
    os.setxattr(folder, "user.x", TEXT)
    vault.umount()
    keys = record_keys(vault)
    report(len(keys) >= 20, f"memory: {len(keys)} keys are known")
    with open(vault.passfile, "rb") as f:
        passphrase = f.readline().rstrip(b"\n")
    # An expanded key begins with it, too.
    key_parts = [(f"key {i}", part) for i, key in enumerate(sorted(keys)) for part in (key[:16],)]
    texts = [("a name", NAME.encode()), ("content", TEXT), ("a link's target", LINK.encode()), ("the passphrase", passphrase)]
    vault.mount()
    handle = os.open(os.path.join(folder, f"{NAME}.0"), os.O_RDWR)

    def use():
        for name in os.listdir(folder):
            if name != "link":
                with open(os.path.join(folder, name), "rb") as f:
                    f.read()
        os.getxattr(folder, "user.x")
        os.readlink(os.path.join(folder, "link"))
        os.pwrite(handle, TEXT, 0)
        os.fsync(handle)

    use()
    with open(f"/proc/{vault.workers()[0]}/maps", encoding="ascii", errors="replace") as f:
        hidden = "secretmem" in f.read()
    if hidden:
        found = search(key_parts, "open")
        report(not found, "memory: not even root finds a key of the open vault")
        for line in found[:10]:
            print(line)
    else:
        print("skip memory: keys of the open vault # no memfd_secret here")
    found = search(texts[3:], "open")
    report(not found, "memory: no passphrase once the vault is mounted")
    lock(vault)
    found = search(key_parts + texts, "locked")
    report(not found, f"memory: nothing is left in {len(processes())} processes of a locked vault")
    for line in found[:10]:
        print(line)
    unlock(vault)
    use()
    os.close(handle)
    vault.umount()
    found = search(key_parts + texts, "unmounted")
    report(not found, "memory: nothing is left after the unmount")
    for line in found[:10]:
        print(line)


# ---- kills ----

def state_of(vault):
    said = subprocess.run([WARDFS, "status", "--json"], capture_output=True, timeout=LIMIT, check=False).stdout
    for mount in json.loads(said or b"{}").get("mounts", []):
        if mount.get("mountpoint") == vault.mnt:
            return mount.get("state")
    return None


def dead_and_well(vault, expected):
    """The mount is dead, can be taken away, and the vault is whole."""
    vault.detach()
    end = time.monotonic() + 60
    while vault.workers() and time.monotonic() < end:
        time.sleep(0.05)
    vault.mount()
    with open(os.path.join(vault.mnt, "file"), "rb") as f:
        good = f.read() == expected
    vault.umount()
    return good


def kills(vault):
    vault.mount()
    path = os.path.join(vault.mnt, "file")
    with open(path, "wb") as f:
        f.write(TEXT * 1000)
    handle = os.open(path, os.O_RDWR)
    lock(vault)
    # A wrong passphrase, and an unlocking that is killed: it stays locked.
    wrong = subprocess.run([WARDFS, "unlock", vault.mnt], input=b"wrong\n", capture_output=True, timeout=LIMIT, check=False)
    report(wrong.returncode != 0 and is_locked(lambda: os.listdir(vault.mnt)), "kill: a wrong passphrase changes nothing")
    before = set(vault.workers())
    good = True
    for delay in (0, 0.01, 0.03, 0.06):
        child = subprocess.Popen([WARDFS, "unlock", "--passfile", vault.passfile, vault.mnt], stderr=subprocess.DEVNULL)
        time.sleep(delay)
        for pid in set(vault.workers()) - before:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        child.wait(LIMIT)
        if child.returncode == 0:
            try:
                good = good and os.pread(handle, 25, 0) == TEXT
            except OSError as e:
                if e.errno != errno.ENOTCONN:
                    raise
                # It served already when it was killed: a dead mount, which is another matter.
                os.close(handle)
                good = dead_and_well(vault, TEXT * 1000) and good
                vault.mount()
                handle = os.open(path, os.O_RDWR)
            lock(vault)
            before = set(vault.workers())
        good = good and is_locked(lambda: os.listdir(vault.mnt))
    report(good, "kill: an unlocking that is killed leaves it locked")
    unlock(vault)
    report(os.pread(handle, 25, 0) == TEXT, "kill: and the next one works")
    os.close(handle)
    vault.umount()
    # The one that holds the locked mount.
    vault.mount()
    lock(vault)
    for pid in vault.workers():
        os.kill(pid, signal.SIGKILL)
    report(dead_and_well(vault, TEXT * 1000), "kill: of the keyless worker")
    # During the locking, at several moments.
    good = True
    for delay in (0.001, 0.01, 0.03):
        vault.mount()
        child = subprocess.Popen([WARDFS, "lock", vault.mnt], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        time.sleep(delay)
        for pid in vault.workers():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        child.wait(LIMIT)
        good = dead_and_well(vault, TEXT * 1000) and good
    report(good, "kill: of all workers while locking")
    # The broker: the workers end without it, cleanly.
    vault.mount()
    lock(vault)
    for pid, role in processes().items():
        if role == "--broker":
            os.kill(pid, signal.SIGKILL)
    report(dead_and_well(vault, TEXT * 1000), "kill: of the broker of a locked vault")


def main():
    require("lock")
    if subprocess.run([WARDFS, "lock", "--help"], capture_output=True, check=False).returncode:
        print("skip lock # this program cannot lock")
        return 0
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    vault = Vault("lock")
    memory(vault)
    vault.mount()
    rounds(vault, count)
    vault.umount()
    kills(Vault("lock-kill"))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
