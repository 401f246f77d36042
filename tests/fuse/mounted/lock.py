#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Locking with everything in use: open files, a removed one, a mapping, a working directory, a running writer. And what is left
in memory meanwhile: no key, no name, no content, no passphrase in any process of wardfs.

lock.py [ROUNDS]"""
import errno
import json
import mmap
import os
import re
import select
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import insides  # noqa: E402
from vaultmount import WARDFS, Vault, finish, kill, require  # noqa: E402

NAME = "marker-of-a-name-5e1f"
TEXT = b"marker of a content 9a2c "
LINK = "marker-of-a-target-77aa"
BLOCK = 1 << 16
LIMIT = 120
WAITS = 0.3  # a writer that is not refused by then waits for the unlocking; no verdict hangs on it

failures = 0


def report(good, what):
    global failures
    print(("ok " if good else "not ok ") + what, flush=True)
    failures += not good


def error_of(function):
    """0, or the errno."""
    try:
        function()
    except OSError as e:
        return e.errno
    return 0


def is_locked(function):
    return error_of(function) == errno.EKEYREVOKED


def lock(vault):
    begin = time.monotonic()
    finish(subprocess.Popen([WARDFS, "lock", vault.mnt], stdout=subprocess.DEVNULL), LIMIT)
    return time.monotonic() - begin


def unlock(vault):
    begin = time.monotonic()
    finish(subprocess.Popen([WARDFS, "unlock", "--passfile", vault.passfile, vault.mnt]), LIMIT)
    return time.monotonic() - begin


def in_child(function, timeout=60):
    """The wait status of a child that runs the function; None: it did not end."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(function() or 0)
        except BaseException:  # pylint: disable=broad-except
            os._exit(99)
    if ends_within(pid, timeout):
        return os.waitpid(pid, 0)[1]
    os.kill(pid, signal.SIGKILL)
    return None


def ends_within(pid, limit):
    """Waits for the end of a child with a descriptor: what looks now and then is late."""
    fd = os.pidfd_open(pid)
    try:
        return bool(select.select([fd], [], [], limit)[0])
    finally:
        os.close(fd)


class Writer:
    """Overwrites blocks for as long as it is let; tells how many were written when it ends."""

    def __init__(self, path):
        self.out, inner = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.out)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            count, code = 0, 0
            try:
                while True:
                    os.write(fd, self.block(count))
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

    @staticmethod
    def block(number):
        return number.to_bytes(8, "little") * (BLOCK // 8)

    def ended(self, limit):
        return ends_within(self.pid, limit)

    def stop(self):
        os.kill(self.pid, signal.SIGKILL)

    def said(self):
        """How many blocks it wrote last, and whether the lock ended it."""
        os.waitpid(self.pid, 0)
        words = os.read(self.out, 100).split()
        os.close(self.out)
        return (int(words[0]), int(words[1]) == errno.EKEYREVOKED) if words else (0, False)


class Dd:
    """dd, fed without an end, and no faster than a slow disk could write it in the second that a lock gives the kernel."""
    LINE = "one line of what dd writes, 64 bytes with its end: 0123456789ab"

    def __init__(self, path, *more):
        self.feed = subprocess.Popen(["sh", "-c", 'while yes "$0" | head -c 1048576; do sleep 0.01; done', self.LINE],
                                     stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.dd = subprocess.Popen(["dd", f"of={path}", f"bs={BLOCK}", "iflag=fullblock", *more], stdin=self.feed.stdout,
                                   stderr=subprocess.PIPE, env=dict(os.environ, LC_ALL="C"))
        self.feed.stdout.close()

    @classmethod
    def block(cls, _):
        return (cls.LINE + "\n").encode() * (BLOCK // 64)

    def ended(self, limit):
        return ends_within(self.dd.pid, limit)

    def stop(self):
        self.dd.send_signal(signal.SIGINT)  # which it answers with its count

    def said(self):
        text = self.dd.communicate(timeout=LIMIT)[1].decode()
        self.feed.kill()
        self.feed.wait()
        count = re.search(r"^(\d+)\+\d+ records out", text, re.M)
        return int(count[1]) if count else 0, os.strerror(errno.EKEYREVOKED) in text


def make_writer(turn, path):
    if turn % 2 == 0:
        return Writer(path)
    if turn % 34 == 1:
        return Dd(path)  # as fast as it can, which is much to check afterwards
    return Dd(path, "oflag=dsync" if turn % 4 == 1 else "oflag=direct")


def blocks_good(writer, path, count):
    """The blocks that were written before the lock are there."""
    with open(path, "rb") as f:
        for n in range(count):
            if f.read(BLOCK) != writer.block(n):
                return f"block {n} of {count} of {type(writer).__name__} differs"
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
    waited = total = 0
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
        writer = make_writer(n, os.path.join(here, "stream"))
        time.sleep(0.01 + 0.007 * (n % 5))  # the lock comes at different moments of its work
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
        waits = not writer.ended(WAITS)
        back = unlock(vault)
        if waits:
            waited += 1
            writer.stop()
        written, by_lock = writer.said()
        must(waits or by_lock, f"the writer {type(writer).__name__} ended after {written} blocks, not by the lock")
        times.append((took, back))
        must(os.pread(kept, 8000, 0) == data, "content of the open file")
        must(os.pread(gone, 30000, 0) == TEXT * 1000, "content of the removed file")
        must(sorted(os.listdir(".")) == ["kept"], "the working directory")
        must(os.getcwd() == deep, "the working directory's name")
        must(os.readlink(os.path.join(here, "link")) == LINK, "the link")
        must(area[:10] == TEXT[:10] and area[5000:5010] == (TEXT * 1000)[5000:5010], "the mapping afterwards")
        del touch
        area.close()
        total += written
        trouble = blocks_good(writer, os.path.join(here, "stream"), written)
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
        print(f"{total} blocks written, {waited} writers waited; longest lock {max(t for t, _ in times):.3f} s, longest unlock {max(t for _, t in times):.3f} s")


# ---- memory ----

class Marked:
    """A vault with marks in everything that may be found in memory, and the list of them."""

    def __init__(self, vault):
        self.vault = vault
        self.folder = os.path.join(vault.mnt, NAME)
        vault.mount()
        os.mkdir(self.folder)
        for n in range(20):
            with open(os.path.join(self.folder, f"{NAME}.{n}"), "wb") as f:
                f.write(TEXT * (1 if n % 2 else 4000))
        os.symlink(LINK, os.path.join(self.folder, "link"))
        os.setxattr(self.folder, "user.x", TEXT)
        vault.umount()
        keys = insides.record_keys(vault)
        report(len(keys) >= 20, f"memory: {len(keys)} keys are known")
        self.keys = insides.key_parts(keys)
        with open(vault.passfile, "rb") as f:
            self.passphrase = [("the passphrase", f.readline().rstrip(b"\n"))]
        self.texts = [("a name", NAME.encode()), ("content", TEXT), ("a link's target", LINK.encode())]
        self.all = self.keys + self.texts + self.passphrase

    def use(self, handle):
        for name in os.listdir(self.folder):
            if name != "link":
                with open(os.path.join(self.folder, name), "rb") as f:
                    f.read()
        os.getxattr(self.folder, "user.x")
        os.readlink(os.path.join(self.folder, "link"))
        os.pwrite(handle, TEXT, 0)
        os.fsync(handle)


def kinds(found):
    """What was found: without the numbers of keys, and without where."""
    return {line.split(" in process ")[0].split(": ", 1)[1].rstrip(" 0123456789") for line in found}


def nothing_in(found, what):
    report(not found, "memory: " + what)
    for line in found[:10]:
        print(line)


def locked(marked, what, turn):
    """Nothing is found in the cores of the two that are left; the second time, also as gdb makes them."""
    for way in (insides.core_of, insides.gcore_of)[:turn + 1]:
        try:
            found, parts = insides.search(marked.all, "locked", way)
            report(parts >= 2, f"memory: {parts} parts of cores to be searched, {what}")
            nothing_in(found, f"nothing is in the cores of a locked vault ({way.__name__}), {what}")
        except insides.Cannot as reason:
            print(f"skip memory: {way.__name__}, {what} # {reason}")
            if way == insides.core_of:
                nothing_in(insides.search(marked.all, "locked")[0], f"nothing is left of a locked vault, {what}")


def memory(marked, hidden):
    """What is found of an open, locked, unlocked and unmounted vault. hidden: keys cannot be seen, as this kernel has
    memfd_secret; else it was refused, and the search proves itself: open it finds what it must not find later."""
    vault = marked.vault
    vault.mount()
    handle = os.open(os.path.join(marked.folder, f"{NAME}.0"), os.O_RDWR)
    marked.use(handle)
    for turn in range(2):
        what = f"{'hidden' if hidden else 'ordinary'} memory, turn {turn}"
        found = insides.search(marked.all, "open")[0]
        report("a name" in kinds(found), "memory: names of the open vault are found, " + what)
        report("the passphrase" not in kinds(found), "memory: no passphrase once the vault is open, " + what)
        if hidden:
            report("key" not in kinds(found), "memory: not even root finds a key of the open vault, " + what)
        else:
            report("key" in kinds(found), "memory: keys of the open vault are found, " + what)
        lock(vault)
        locked(marked, what, turn)
        unlock(vault)
        marked.use(handle)
    os.close(handle)
    vault.umount()
    nothing_in(insides.search(marked.all, "unmounted")[0], "nothing is left after the unmount, " + what)


def memories():
    marked = Marked(Vault("lock"))
    vault = marked.vault
    # The search finds what is there: in this process, which has the keys, as in any other.
    own = b"".join(data for data, _ in insides.memory_of(os.getpid()))
    report(all(key in own for _, key in marked.keys), "memory: the keys are found where they are known to be")
    vault.mount()
    hidden = any(insides.hides_memory(pid) for pid in vault.workers())
    vault.umount()
    if hidden:
        memory(marked, True)
    else:
        print("skip memory: keys of the open vault # no memfd_secret here")
    if not hidden or insides.can_refuse_hidden_memory():
        vault.before = insides.no_hidden_memory if hidden else None
        memory(marked, False)
        vault.before = None
    else:
        print("skip memory: without memfd_secret # it cannot be refused here")
    return vault


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
            kill(pid)
        child.wait(LIMIT)
        state = error_of(lambda: os.listdir(vault.mnt))
        if state not in (0, errno.EKEYREVOKED):
            # It had the mount already, whether or not the command had heard of it: a dead mount, which is another matter.
            os.close(handle)
            good = dead_and_well(vault, TEXT * 1000) and good
            vault.mount()
            handle = os.open(path, os.O_RDWR)
        elif state == 0:
            good = good and os.pread(handle, 25, 0) == TEXT
        if state != errno.EKEYREVOKED:
            lock(vault)
            before = set(vault.workers())
        good = good and is_locked(lambda: os.listdir(vault.mnt))
    report(good, "kill: an unlocking that is killed leaves it locked")
    unlock(vault)
    report(os.pread(handle, 25, 0) == TEXT, "kill: and the next one works")
    os.close(handle)
    vault.umount()
    # During the locking, at several moments.
    good = True
    for delay in (0.001, 0.01, 0.03):
        vault.mount()
        child = subprocess.Popen([WARDFS, "lock", vault.mnt], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        time.sleep(delay)
        for pid in vault.workers():
            kill(pid)
        child.wait(LIMIT)
        good = dead_and_well(vault, TEXT * 1000) and good
    report(good, "kill: of all workers while locking")


def main():
    require("lock")
    if subprocess.run([WARDFS, "lock", "--help"], capture_output=True, check=False).returncode:
        print("skip lock # this program cannot lock")
        return 0
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    vault = memories()
    vault.mount()
    rounds(vault, count)
    vault.umount()
    kills(Vault("lock-kill"))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
