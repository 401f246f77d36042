#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a kill may leave behind: nothing of files that were unlinked while they were open (3,000 unless told; the engine's own
test, orphan-never, has 10,000); hard links between directories
with their counts; extended attributes up to 64 KiB.

leftovers.py [FILES]"""
import os
import resource
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from vaultmount import Vault, require  # noqa: E402

XATTR_ROOM = 65536 - 64  # the names count as well


def host_files(vault):
    return sum(len(files) for top, _, files in os.walk(vault.dir) if top != vault.dir)


def end_cleanly(vault):
    vault.process.terminate()
    assert vault.process.wait(120) == 0, vault.last_log()


def unlinked_while_open(vault, count):
    vault.start_again()
    before = host_files(vault)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 200, max(count + 200, hard)))
    top = os.path.join(vault.mnt, "orphans")
    os.mkdir(top)
    fds = []
    for i in range(count):
        fds.append(os.open(os.path.join(top, f"f{i}"), os.O_CREAT | os.O_RDWR, 0o600))
        os.write(fds[-1], b"%d " % i * 1000)
    os.sync()
    fd = os.open(top, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    for i in range(count):
        os.unlink(os.path.join(top, f"f{i}"))
    assert os.pread(fds[count // 2], 10, 0) == (b"%d " % (count // 2) * 10)[:10], "an open file has lost its content"
    vault.kill()
    for fd in fds:
        try:
            os.close(fd)
        except OSError:
            pass  # its filesystem is gone
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, max(count + 200, hard)))
    vault.start_again()
    assert os.listdir(top) == [], "unlinked names are back"
    os.rmdir(top)
    end_cleanly(vault)
    after = host_files(vault)
    assert after <= before + 1, f"{after} host files, {before} before"


def links_between_directories(vault):
    vault.start_again()
    top = os.path.join(vault.mnt, "links")
    for i in range(20):
        os.makedirs(os.path.join(top, f"d{i}"))
    for i in range(200):
        first = os.path.join(top, f"d{i % 20}", f"f{i}")
        with open(first, "wb") as f:
            f.write(b"%d" % i * 2000)
        for k in range(1, 5):
            os.link(first, os.path.join(top, f"d{(i + k) % 20}", f"l{i}"))
        os.rename(first, os.path.join(top, f"d{(i + 7) % 20}", f"g{i}"))
        os.unlink(os.path.join(top, f"d{(i + 2) % 20}", f"l{i}"))
    fd = os.open(top, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    for i in range(200):
        with open(os.path.join(top, f"d{(i + 1) % 20}", f"l{i}"), "r+b", buffering=0) as f:
            f.write(b"changed")
            os.fsync(f.fileno())
    vault.kill()
    vault.start_again()
    for i in range(200):
        paths = [os.path.join(top, f"d{(i + 7) % 20}", f"g{i}")]
        paths += [os.path.join(top, f"d{(i + k) % 20}", f"l{i}") for k in (1, 3, 4)]
        assert len({os.stat(p).st_ino for p in paths}) == 1, f"the names of {i} are of several files"
        assert {os.stat(p).st_nlink for p in paths} == {4}, f"count of links of {i}: {os.stat(paths[0]).st_nlink}"
        for path in paths:
            with open(path, "rb") as f:
                assert f.read() == b"changed" + (b"%d" % i * 2000)[7:], f"{path}: content"
    for i in range(0, 200, 2):  # by one of its names, to the last
        for name in (f"d{(i + 7) % 20}/g{i}", f"d{(i + 1) % 20}/l{i}", f"d{(i + 3) % 20}/l{i}"):
            os.unlink(os.path.join(top, name))
        assert os.stat(os.path.join(top, f"d{(i + 4) % 20}", f"l{i}")).st_nlink == 1
    vault.kill()
    vault.start_again()
    for i in range(0, 200, 2):
        assert os.stat(os.path.join(top, f"d{(i + 4) % 20}", f"l{i}")).st_nlink == 1
    end_cleanly(vault)


def large_attributes(vault):
    vault.start_again()
    path = os.path.join(vault.mnt, "attributes")
    with open(path, "wb") as f:
        f.write(b"x" * 5000)
    for size in (1, 500, 512, 513, 4096, 20000, 40000, XATTR_ROOM):
        value = os.urandom(size)
        os.setxattr(path, "user.large", value)
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        vault.kill()
        vault.start_again()
        assert os.getxattr(path, "user.large") == value, f"{size} bytes differ after a kill"
        with open(path, "rb") as f:
            assert f.read() == b"x" * 5000
    try:
        os.setxattr(path, "user.more", os.urandom(1000))
        raise AssertionError("more than 64 KiB are taken")
    except OSError as e:
        assert e.errno in (28, 7, 34), e
    os.removexattr(path, "user.large")
    for i in range(100):
        os.setxattr(path, f"user.a{i}", b"%d" % i * 100)
    end_cleanly(vault)
    vault.start_again()
    assert sorted(os.listxattr(path)) == sorted(f"user.a{i}" for i in range(100))
    assert all(os.getxattr(path, f"user.a{i}") == b"%d" % i * 100 for i in range(100))
    end_cleanly(vault)


def main():
    require("leftovers")
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    vault = Vault("leftovers")
    bad = 0
    for name, test in ((f"{count} unlinked open files and a kill leave no host file", lambda v: unlinked_while_open(v, count)),
                       ("links between directories, renames, kills", links_between_directories),
                       ("extended attributes to 64 KiB and kills", large_attributes)):
        try:
            test(vault)
            print(f"ok leftovers: {name}")
        except (AssertionError, OSError, RuntimeError) as e:
            print(f"{type(e).__name__}: {e}\n{vault.last_log()}")
            print(f"not ok leftovers: {name}")
            bad = 1
            if vault.process.poll() is None:
                vault.kill()
    return bad


if __name__ == "__main__":
    sys.exit(main())
