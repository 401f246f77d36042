# SPDX-License-Identifier: Apache-2.0
"""Names, nodes and attributes. Used by posix.py."""
import ctypes
import errno
import os
import socket
import stat
import subprocess
import time

from posix_data import fails_with, libc, read_file, write_file

AT_FDCWD, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = -100, 1, 2, 4


def renameat2(old, new, flags):
    if libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags):
        raise OSError(ctypes.get_errno(), "renameat2")


def test_names(p):
    """Any byte but slash and NUL, up to 255 of them; not one more."""
    names = [b"n" * 255, b"\xff" * 255, "ä€".encode(), b"new\nline", b"-rf", b"a\\b", b"..."]
    names += [bytes([b]) for b in range(1, 256) if b not in b"./"]
    top = os.fsencode(p.dir)
    for i, name in enumerate(names):
        write_file(os.path.join(top, name), b"%d" % i)
    fails_with(errno.ENAMETOOLONG, write_file, os.path.join(top, b"n" * 256), b"")
    for _ in range(2):
        assert sorted(os.listdir(top)) == sorted(names)
        for i, name in enumerate(names):
            assert read_file(os.path.join(top, name)) == b"%d" % i
        p.remount()


def test_symlinks(p):
    """Targets up to 4095 bytes, of any kind."""
    targets = ["x", "../../etc/passwd", "t" * 1024, "t" * 1025, "u" * 4095, "/" + "ü" * 500]
    for i, target in enumerate(targets):
        os.symlink(target, p.path(str(i)))
    fails_with(errno.ENAMETOOLONG, os.symlink, "v" * 4096, p.path("long"))
    for _ in range(2):
        for i, target in enumerate(targets):
            st = os.lstat(p.path(str(i)))
            assert os.readlink(p.path(str(i))) == target and st.st_size == len(target.encode())
        p.remount()
    os.symlink("loop", p.path("loop"))
    fails_with(errno.ELOOP, os.open, p.path("loop"), os.O_RDONLY)


def test_inode_numbers(p):
    """They are the same after a mount, different for different files, and never 0 or 1."""
    for i in range(200):
        write_file(p.path(f"f{i}"), b"")
    os.link(p.path("f0"), p.path("link"))
    before = {name: os.stat(p.path(name)).st_ino for name in os.listdir(p.dir)}
    assert before["link"] == before["f0"] and len(set(before.values())) == 200 and min(before.values()) > 1
    assert before == {entry.name: entry.inode() for entry in os.scandir(p.dir)}
    p.remount()
    assert before == {name: os.stat(p.path(name)).st_ino for name in os.listdir(p.dir)}
    assert before == {entry.name: entry.inode() for entry in os.scandir(p.dir)}


def test_read_while_deleting(p):
    """10,000 entries are removed while they are listed: each is listed once, none is left."""
    for i in range(10000):
        os.close(os.open(p.path(f"entry-{i:05}"), os.O_CREAT | os.O_WRONLY))
    seen = []
    with os.scandir(p.dir) as entries:
        for entry in entries:
            seen.append(entry.name)
            os.unlink(entry.path)
    assert len(seen) == 10000 and len(set(seen)) == 10000, len(seen)
    assert os.listdir(p.dir) == []
    os.rmdir(p.dir)


def test_read_while_adding(p):
    """What was there when the listing began is listed exactly once, whatever is added meanwhile."""
    old = {f"old-{i}" for i in range(1500)}
    for name in old:
        write_file(p.path(name), b"")
    seen = []
    with os.scandir(p.dir) as entries:
        for number, entry in enumerate(entries):
            seen.append(entry.name)
            if number < 1000:
                write_file(p.path(f"new-{number}"), b"")
    assert len(seen) == len(set(seen)) and old <= set(seen)


def test_rename(p):
    """Over files and folders, within and across folders, with the refusals that POSIX asks for."""
    write_file(p.path("a"), b"a")
    write_file(p.path("b"), b"b")
    for d in ("empty", "full/sub", "other"):
        os.makedirs(p.path(d))
    write_file(p.path("full/x"), b"x")
    os.rename(p.path("a"), p.path("b"))
    assert read_file(p.path("b")) == b"a" and not os.path.exists(p.path("a"))
    fails_with(errno.ENOENT, os.rename, p.path("a"), p.path("c"))
    fails_with(errno.EISDIR, os.rename, p.path("b"), p.path("empty"))
    fails_with(errno.ENOTDIR, os.rename, p.path("empty"), p.path("b"))
    fails_with(errno.ENOTEMPTY, os.rename, p.path("empty"), p.path("full"))
    fails_with(errno.EINVAL, os.rename, p.path("full"), p.path("full/sub/below"))
    os.rename(p.path("full"), p.path("empty"))
    assert read_file(p.path("empty/x")) == b"x" and not os.path.exists(p.path("full"))
    before = os.stat(p.path("other")).st_nlink
    os.rename(p.path("empty/sub"), p.path("other/sub"))
    assert os.stat(p.path("other")).st_nlink == before + 1
    assert os.stat(p.path("other/sub/..")).st_ino == os.stat(p.path("other")).st_ino
    os.link(p.path("b"), p.path("b2"))
    os.rename(p.path("b"), p.path("b2"))
    assert os.path.exists(p.path("b")) and os.path.exists(p.path("b2"))


def test_rename_flags(p):
    write_file(p.path("a"), b"a")
    write_file(p.path("b"), b"b")
    os.mkdir(p.path("d"))
    write_file(p.path("d/inner"), b"inner")
    fails_with(errno.EEXIST, renameat2, p.path("a"), p.path("b"), RENAME_NOREPLACE)
    renameat2(p.path("a"), p.path("c"), RENAME_NOREPLACE)
    renameat2(p.path("b"), p.path("c"), RENAME_EXCHANGE)
    assert read_file(p.path("b")) == b"a" and read_file(p.path("c")) == b"b"
    renameat2(p.path("b"), p.path("d"), RENAME_EXCHANGE)
    assert read_file(p.path("d")) == b"a" and read_file(p.path("b/inner")) == b"inner"
    fails_with(errno.ENOENT, renameat2, p.path("b"), p.path("none"), RENAME_EXCHANGE)
    fails_with(errno.EINVAL, renameat2, p.path("b"), p.path("w"), RENAME_WHITEOUT)
    p.remount()
    assert read_file(p.path("d")) == b"a" and read_file(p.path("b/inner")) == b"inner"


def test_links(p):
    """One file, many names: contents, attributes and counts are shared, across a mount as well."""
    write_file(p.path("a"), b"first")
    os.mkdir(p.path("d"))
    for i in range(50):
        os.link(p.path("a"), p.path(f"d/{i}"))
    assert os.stat(p.path("d/7")).st_nlink == 51
    write_file(p.path("d/3"), b"second")
    os.chmod(p.path("d/4"), 0o604)
    p.remount()
    st = os.stat(p.path("a"))
    assert st.st_nlink == 51 and st.st_mode & 0o777 == 0o604 and read_file(p.path("a")) == b"second"
    os.unlink(p.path("a"))
    for i in range(49):
        os.unlink(p.path(f"d/{i}"))
    assert os.stat(p.path("d/49")).st_nlink == 1
    p.remount()
    assert read_file(p.path("d/49")) == b"second"
    fails_with(errno.EPERM, os.link, p.path("d"), p.path("dirlink"))


def test_node_types(p):
    os.mkfifo(p.path("fifo"), 0o640)
    os.mknod(p.path("null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(p.path("block"), stat.S_IFBLK | 0o600, os.makedev(250, 300))
    with socket.socket(socket.AF_UNIX) as s:
        os.chdir(p.dir)
        s.bind("socket")
    p.remount()
    assert stat.S_ISFIFO(os.lstat(p.path("fifo")).st_mode) and os.lstat(p.path("fifo")).st_mode & 0o777 == 0o640
    st = os.lstat(p.path("null"))
    assert stat.S_ISCHR(st.st_mode) and st.st_rdev == os.makedev(1, 3)
    st = os.lstat(p.path("block"))
    assert stat.S_ISBLK(st.st_mode) and st.st_rdev == os.makedev(250, 300)
    assert stat.S_ISSOCK(os.lstat(p.path("socket")).st_mode)


def test_times(p):
    """utimensat with nanoseconds, before 1970 and after 2038; NOW and OMIT; for symlinks themselves."""
    write_file(p.path(), b"")
    os.symlink("nowhere", p.path("link"))
    os.utime(p.path(), ns=(-123456789, 5000000000123456789))
    os.utime(p.path("link"), ns=(1, 2), follow_symlinks=False)
    p.remount()
    st = os.stat(p.path())
    assert (st.st_atime_ns, st.st_mtime_ns) == (-123456789, 5000000000123456789)
    assert os.lstat(p.path("link")).st_mtime_ns == 2
    assert subprocess.run(["touch", "-a", p.path()], check=False).returncode == 0  # atime NOW, mtime OMIT
    st = os.stat(p.path())
    assert abs(st.st_atime - time.time()) < 60 and st.st_mtime_ns == 5000000000123456789
    assert subprocess.run(["touch", "-m", p.path()], check=False).returncode == 0
    assert abs(os.stat(p.path()).st_mtime - time.time()) < 60


def test_directory_times(p):
    """Making, renaming and removing changes the folder's times."""
    changes = [lambda: write_file(p.path("a"), b""), lambda: os.rename(p.path("a"), p.path("b")),
               lambda: os.link(p.path("b"), p.path("c")), lambda: os.unlink(p.path("c")),
               lambda: os.mkdir(p.path("d")), lambda: os.rmdir(p.path("d")), lambda: os.symlink("x", p.path("s"))]
    for number, change in enumerate(changes):
        os.utime(p.dir, ns=(10**18, 10**18))
        change()
        st = os.stat(p.dir)
        assert abs(st.st_mtime - time.time()) < 60, f"change {number}"


def test_owner_and_mode(p):
    write_file(p.path(), b"")
    os.chown(p.path(), 4294967294, 123456)
    os.chmod(p.path(), 0o7123)
    p.remount()
    st = os.stat(p.path())
    assert (st.st_uid, st.st_gid, st.st_mode & 0o7777) == (4294967294, 123456, 0o7123)
    os.chown(p.path(), -1, 5)
    st = os.stat(p.path())
    assert (st.st_uid, st.st_gid) == (4294967294, 5)
    # A set-gid folder hands its group on.
    os.mkdir(p.path("d"))
    os.chown(p.path("d"), 0, 77)
    os.chmod(p.path("d"), 0o2775)
    write_file(p.path("d/f"), b"")
    os.mkdir(p.path("d/sub"))
    assert os.stat(p.path("d/f")).st_gid == 77 and os.stat(p.path("d/sub")).st_gid == 77
    assert os.stat(p.path("d/sub")).st_mode & 0o2000


def test_permissions(p):
    """The mode is obeyed: another user cannot read what he must not, nor delete from a sticky folder."""
    def as_nobody(code):
        script = f"import os,sys\nos.setgid(65534)\nos.setuid(65534)\ntry:\n    {code}\nexcept PermissionError: sys.exit(7)"
        return subprocess.run(["/usr/bin/python3", "-c", script], check=False, stderr=subprocess.DEVNULL).returncode

    write_file(p.path("secret"), b"s", mode=0o600)
    os.chmod(p.dir, 0o1777)
    assert as_nobody(f"open({p.path('secret')!r})") != 0
    assert as_nobody(f"os.unlink({p.path('secret')!r})") != 0
    assert read_file(p.path("secret")) == b"s"


def test_xattrs(p):
    """user.*, security.*, trusted.*: small and large values, flags, lists, too large ones; on files and folders."""
    write_file(p.path(), b"content")
    os.mkdir(p.path("d"))
    values = {"user.small": b"v", "user.empty": b"", "user.large": os.urandom(10000), "trusted.t": b"\0\xff",
              "user." + "n" * 240: b"long name"}
    for path in (p.path(), p.path("d")):
        for name, value in values.items():
            os.setxattr(path, name, value)
    fails_with(errno.EEXIST, os.setxattr, p.path(), "user.small", b"", os.XATTR_CREATE)
    fails_with(errno.ENODATA, os.setxattr, p.path(), "user.none", b"", os.XATTR_REPLACE)
    fails_with(errno.ENODATA, os.getxattr, p.path(), "user.none")
    for _ in range(2):
        for path in (p.path(), p.path("d")):
            assert sorted(os.listxattr(path)) == sorted(values)
            assert all(os.getxattr(path, name) == value for name, value in values.items())
        p.remount()
    os.setxattr(p.path(), "user.small", b"other")
    os.removexattr(p.path(), "user.large")
    fails_with(errno.ENODATA, os.removexattr, p.path(), "user.large")
    assert os.getxattr(p.path(), "user.small") == b"other" and "user.large" not in os.listxattr(p.path())
    os.setxattr(p.path(), "user.huge", bytes(60000))
    try:
        os.setxattr(p.path(), "user.too", bytes(60000))
        raise AssertionError("more than 64 KiB of attributes")
    except OSError as e:
        assert e.errno in (errno.ENOSPC, errno.E2BIG)
    assert read_file(p.path()) == b"content"


def test_acl(p):
    """POSIX ACLs are kept, obeyed, inherited from a folder's default, and tied to the mode."""
    def run(*command):
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    write_file(p.path(), b"for user 65534", mode=0o600)
    os.chmod(p.dir, 0o755)
    run("setfacl", "-m", "u:65534:r,g:77:rw", p.path())
    run("setfacl", "-d", "-m", "u:65534:rwx", p.dir)
    write_file(p.path("child"), b"")
    os.mkdir(p.path("sub"))
    p.remount()
    acl = run("getfacl", "-cpn", p.path())
    assert "user:65534:r--" in acl and "group:77:rw-" in acl and "mask::rw-" in acl
    assert os.stat(p.path()).st_mode & 0o777 == 0o660
    assert "user:65534:rwx" in run("getfacl", "-cpn", p.path("child"))
    assert "default:user:65534:rwx" in run("getfacl", "-cpn", p.path("sub"))
    script = f"import os\nos.setgid(65534)\nos.setuid(65534)\nprint(open({p.path()!r}).read())"
    reader = subprocess.run(["/usr/bin/python3", "-c", script], check=False, capture_output=True)
    assert reader.stdout == b"for user 65534\n", reader.stderr
    os.chmod(p.path(), 0o600)
    assert "mask::---" in run("getfacl", "-cpn", p.path())
    run("setfacl", "-b", p.path())
    assert "user:65534" not in run("getfacl", "-cpn", p.path())


def test_deep_tree(p):
    """Two hundred folders deep, and up again."""
    os.chdir(p.dir)
    for i in range(200):
        os.mkdir(f"d{i}")
        os.chdir(f"d{i}")
    with open("bottom", "w", encoding="ascii") as f:
        f.write("here")
    for i in reversed(range(200)):
        os.chdir("..")
    assert os.getcwd() == p.dir
    p.remount()
    path = p.dir
    for i in range(200):
        path = f"{path}/d{i}"
    assert os.path.exists(path + "/bottom")
    assert subprocess.run(["rm", "-r", p.path("d0")], check=False).returncode == 0


def test_wide_folder(p):
    """5,000 names of 200 bytes in one folder, found again after a mount."""
    names = [f"{i:05}" + "w" * 195 for i in range(5000)]
    for name in names:
        os.close(os.open(p.path(name), os.O_CREAT | os.O_WRONLY))
    p.remount()
    assert sorted(os.listdir(p.dir)) == names
    assert os.path.exists(p.path(names[4321])) and not os.path.exists(p.path("5" * 200))
    for name in names:
        os.unlink(p.path(name))
    assert os.listdir(p.dir) == []


def test_statfs(p):
    """The host's space is told; sync works."""
    here, host = os.statvfs(p.dir), os.statvfs(p.vault.dir)
    assert here.f_namemax == 255
    total, host_total = here.f_blocks * here.f_frsize, host.f_blocks * host.f_frsize
    assert total == host_total, (total, host_total)
    os.sync()
