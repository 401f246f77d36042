# SPDX-License-Identifier: Apache-2.0
"""Contents: flags of open, mmap, holes, truncation, locks, times of writing. Used by posix.py."""
import ctypes
import errno
import fcntl
import mmap
import os
import struct
import subprocess
import sys

libc = ctypes.CDLL(None, use_errno=True)
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_COLLAPSE, FALLOC_ZERO = 1, 2, 8, 16


def write_file(path, data, flags=os.O_CREAT | os.O_TRUNC | os.O_WRONLY, mode=0o644):
    fd = os.open(path, flags, mode)
    try:
        assert os.write(fd, data) == len(data)
    finally:
        os.close(fd)


def read_file(path):
    with open(path, "rb") as f:
        return f.read()


def fails_with(code, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except OSError as e:
        assert e.errno == code, f"errno {e.errno}, expected {code}"
        return
    raise AssertionError(f"succeeded, expected errno {code}")


def fallocate(fd, mode, off, length):
    if libc.fallocate(fd, mode, ctypes.c_long(off), ctypes.c_long(length)):
        raise OSError(ctypes.get_errno(), "fallocate")


def test_append(p):
    """O_APPEND from two descriptors and after truncation: always at the end."""
    a = os.open(p.path(), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    b = os.open(p.path(), os.O_WRONLY | os.O_APPEND)
    for i in range(500):
        os.write(a if i % 2 else b, b"%05d" % i)
    os.lseek(a, 0, os.SEEK_SET)
    os.write(a, b"last!")
    assert read_file(p.path()) == b"".join(b"%05d" % i for i in range(500)) + b"last!"
    os.truncate(p.path(), 3)
    os.write(b, b"x")
    assert read_file(p.path()) == b"000x"
    os.close(a)
    os.close(b)


def test_append_from_processes(p):
    """Four processes append lines: none is lost, none is torn."""
    code = ("import os,sys\nfd=os.open(sys.argv[1],os.O_WRONLY|os.O_APPEND)\n"
            "for i in range(300): os.write(fd,(sys.argv[2]*99+'\\n').encode())")
    write_file(p.path(), b"")
    running = [subprocess.Popen([sys.executable, "-c", code, p.path(), c]) for c in "abcd"]
    assert all(r.wait() == 0 for r in running)
    lines = read_file(p.path()).split(b"\n")[:-1]
    assert len(lines) == 1200 and all(len(set(line)) == 1 and len(line) == 99 for line in lines)


def test_direct(p):
    """O_DIRECT: aligned and unaligned lengths at the end of the file, mixed with cached reads."""
    fd = os.open(p.path(), os.O_CREAT | os.O_RDWR | os.O_DIRECT)
    buffer = mmap.mmap(-1, 1 << 20)
    data = os.urandom(1 << 20)
    buffer[:] = data
    assert os.pwritev(fd, [buffer], 0) == 1 << 20
    assert read_file(p.path()) == data
    assert os.pwritev(fd, [memoryview(buffer)[:4096]], 8192) == 4096
    expected = data[:8192] + data[:4096] + data[12288:]
    assert read_file(p.path()) == expected
    back = mmap.mmap(-1, 1 << 20)
    assert os.preadv(fd, [back], 0) == 1 << 20 and back[:] == expected
    write_file(p.path(), b"cached", os.O_WRONLY)
    assert os.preadv(fd, [memoryview(back)[:4096]], 0) == 4096 and back[:4096] == b"cached" + expected[6:4096]
    os.close(fd)


def test_truncate_on_open(p):
    """O_TRUNC without a write is kept across a mount."""
    write_file(p.path("a"), os.urandom(300000))
    write_file(p.path("b"), b"inline")
    p.remount()
    for name in "ab":
        os.close(os.open(p.path(name), os.O_WRONLY | os.O_TRUNC))
        assert os.stat(p.path(name)).st_size == 0
    p.remount()
    for name in "ab":
        assert os.stat(p.path(name)).st_size == 0 and read_file(p.path(name)) == b""


def test_truncate(p):
    """What was cut off does not come back when the file grows again, across a mount as well."""
    data = os.urandom(5000)
    write_file(p.path(), data)
    p.remount()
    os.truncate(p.path(), 100)
    os.truncate(p.path(), 5000)
    assert read_file(p.path()) == data[:100] + bytes(4900)
    p.remount()
    assert read_file(p.path()) == data[:100] + bytes(4900)
    write_file(p.path("big"), os.urandom(3 << 20))
    os.truncate(p.path("big"), (1 << 20) + 5)
    os.truncate(p.path("big"), 3 << 20)
    tail = read_file(p.path("big"))[(1 << 20) + 5 :]
    assert tail == bytes(len(tail))
    fails_with(errno.EFBIG, os.truncate, p.path("big"), 1 << 62)


def test_sync_flags(p):
    """O_SYNC and O_DSYNC write, fsync and fdatasync succeed, syncfs too."""
    for flag in (os.O_SYNC, os.O_DSYNC):
        write_file(p.path(), b"x" * 10000, os.O_CREAT | os.O_WRONLY | flag)
    fd = os.open(p.path(), os.O_RDWR)
    os.fsync(fd)
    os.fdatasync(fd)
    assert libc.syncfs(fd) == 0
    os.close(fd)
    fd = os.open(p.dir, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)


def test_mmap(p):
    """A shared mapping: seen by read, synced, kept across a mount; a private one does not write."""
    write_file(p.path(), bytes(100000))
    fd = os.open(p.path(), os.O_RDWR)
    with mmap.mmap(fd, 100000) as m:
        m[5000:5005] = b"hello"
        m[99990:100000] = b"0123456789"
        m.flush()
        assert os.pread(fd, 5, 5000) == b"hello"
        os.pwrite(fd, b"HE", 5000)
        assert m[5000:5005] == b"HEllo"
    with mmap.mmap(fd, 100000, flags=mmap.MAP_PRIVATE) as m:
        m[0:3] = b"xyz"
        assert os.pread(fd, 3, 0) == bytes(3)
    os.close(fd)
    p.remount()
    data = read_file(p.path())
    assert data[5000:5005] == b"HEllo" and data[99990:] == b"0123456789" and data[:5000] == bytes(5000)


def test_unlinked_open(p):
    """A file lives while it is open: reading, writing, growing, fstat; and so do a replaced file and a removed folder."""
    fd = os.open(p.path(), os.O_CREAT | os.O_RDWR)
    os.write(fd, b"before")
    os.unlink(p.path())
    assert os.fstat(fd).st_nlink == 0 and not os.path.exists(p.path())
    os.pwrite(fd, os.urandom(200000), 6)
    os.fsync(fd)
    os.ftruncate(fd, 150000)
    assert os.pread(fd, 6, 0) == b"before" and os.fstat(fd).st_size == 150000
    write_file(p.path(), b"another")
    assert read_file(p.path()) == b"another" and os.pread(fd, 3, 0) == b"bef"
    os.close(fd)
    write_file(p.path("old"), b"old content")
    write_file(p.path("new"), b"new content")
    fd = os.open(p.path("old"), os.O_RDWR)
    os.rename(p.path("new"), p.path("old"))
    assert os.read(fd, 100) == b"old content" and read_file(p.path("old")) == b"new content"
    assert os.fstat(fd).st_nlink == 0
    os.close(fd)
    os.mkdir(p.path("d"))
    fd = os.open(p.path("d"), os.O_RDONLY)
    os.rmdir(p.path("d"))
    fails_with(errno.ENOENT, os.open, "x", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=fd)
    assert os.listdir(fd) == []
    os.close(fd)


def test_holes(p):
    """SEEK_DATA and SEEK_HOLE tell where data is; holes read as zeros, from 1 TiB as well."""
    fd = os.open(p.path(), os.O_CREAT | os.O_RDWR)
    os.pwrite(fd, b"d" * 4096, 1 << 20)
    os.pwrite(fd, b"end", 1 << 40)
    os.fsync(fd)
    assert os.lseek(fd, 0, os.SEEK_DATA) == 1 << 20
    hole = os.lseek(fd, 1 << 20, os.SEEK_HOLE)
    assert hole == (1 << 20) + 4096
    assert os.lseek(fd, hole, os.SEEK_DATA) == 1 << 40
    assert os.lseek(fd, 1 << 40, os.SEEK_HOLE) == (1 << 40) + 3
    fails_with(errno.ENXIO, os.lseek, fd, (1 << 40) + 3, os.SEEK_DATA)
    assert os.pread(fd, 100, (1 << 40) - 50) == bytes(50) + b"end"
    assert os.fstat(fd).st_size == (1 << 40) + 3 and os.fstat(fd).st_blocks < 1000
    os.close(fd)
    p.remount()
    fd = os.open(p.path(), os.O_RDONLY)
    assert os.lseek(fd, 0, os.SEEK_DATA) == 1 << 20 and os.pread(fd, 3, 1 << 40) == b"end"
    os.close(fd)


def test_fallocate(p):
    """Allocation, holes and zeros, with the size kept or not; what is not supported says so."""
    data = bytearray(os.urandom(100000))
    write_file(p.path(), bytes(data))
    fd = os.open(p.path(), os.O_RDWR)
    fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 5000, 30000)
    data[5000:35000] = bytes(30000)
    assert read_file(p.path()) == data
    assert os.lseek(fd, 8192, os.SEEK_HOLE) == 8192 and os.lseek(fd, 8192, os.SEEK_DATA) == 32768
    fallocate(fd, FALLOC_ZERO, 90000, 20000)
    data[90000:] = bytes(20000)
    assert read_file(p.path()) == data
    fallocate(fd, FALLOC_KEEP_SIZE, 0, 1 << 20)
    assert os.fstat(fd).st_size == 110000
    fallocate(fd, 0, 100000, 50000)
    data += bytes(40000)
    assert read_file(p.path()) == data
    fails_with(errno.EOPNOTSUPP, fallocate, fd, FALLOC_COLLAPSE, 0, 4096)
    os.close(fd)
    p.remount()
    assert read_file(p.path()) == data


def test_copy_file_range(p):
    """Copies between files, at odd offsets, past the end of the source."""
    data = os.urandom(300000)
    write_file(p.path("a"), data)
    a, b = os.open(p.path("a"), os.O_RDONLY), os.open(p.path("b"), os.O_CREAT | os.O_RDWR)
    done = 0
    while n := os.copy_file_range(a, b, 500000, 12345 + done, 100 + done):
        done += n
    assert done == len(data) - 12345 and read_file(p.path("b")) == bytes(100) + data[12345:]
    os.close(a)
    os.close(b)
    p.remount()
    assert read_file(p.path("b")) == bytes(100) + data[12345:]


def locked_by_other(path, code):
    """Whether another process is refused: code gets the descriptor fd and tries without waiting."""
    script = ("import fcntl,os,sys,struct\nfd=os.open(sys.argv[1],os.O_RDWR)\n"
              f"try:\n    {code}\nexcept OSError: sys.exit(7)")
    status = subprocess.run([sys.executable, "-c", script, path], check=False).returncode
    assert status in (0, 7)
    return status == 7


def test_flock(p):
    write_file(p.path(), b"x")
    fd = os.open(p.path(), os.O_RDWR)
    attempt = "fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)"
    shared = "fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)"
    fcntl.flock(fd, fcntl.LOCK_SH)
    assert locked_by_other(p.path(), attempt) and not locked_by_other(p.path(), shared)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert locked_by_other(p.path(), shared)
    os.close(fd)
    assert not locked_by_other(p.path(), attempt)


def test_posix_locks(p):
    write_file(p.path(), bytes(1000))
    fd = os.open(p.path(), os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_EX, 100, 200)
    inside = "fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 250)"
    outside = "fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 500)"
    assert locked_by_other(p.path(), inside) and not locked_by_other(p.path(), outside)
    lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    assert not locked_by_other(p.path(), f"sys.exit(struct.unpack('hhqqi4x', fcntl.fcntl(fd, fcntl.F_GETLK, {lock!r}))"
                               f"[4] != {os.getpid()})")
    fcntl.lockf(fd, fcntl.LOCK_UN, 100, 200)
    assert not locked_by_other(p.path(), inside)
    os.close(fd)


def test_privileges_are_cleared(p):
    """Writing and truncating by another user takes suid away, and sgid where the group may execute; chown as well."""
    def writes_as_nobody(path, call):
        script = f"import os,sys\nos.setgid(65534)\nos.setuid(65534)\npath=sys.argv[1]\n{call}"
        assert subprocess.run([sys.executable, "-c", script, path], check=False).returncode == 0

    for number, call in enumerate(("open(path, 'r+b').write(b'x')", "os.truncate(path, 3)")):
        path = p.path(f"f{number}")
        write_file(path, b"program")
        os.chmod(path, 0o6777)
        writes_as_nobody(path, call)
        assert os.stat(path).st_mode & 0o7777 == 0o777, oct(os.stat(path).st_mode)
        os.chmod(path, 0o2767)
        writes_as_nobody(path, call)
        assert os.stat(path).st_mode & 0o2000, "sgid without group-execute is a lock mark and stays"
    write_file(p.path("owned"), b"")
    os.chmod(p.path("owned"), 0o6755)
    os.chown(p.path("owned"), 1000, 1000)
    assert os.stat(p.path("owned")).st_mode & 0o6000 == 0


def test_written_times(p):
    """Writing changes the times of content and change, chmod that of change only; a mount keeps nanoseconds."""
    write_file(p.path(), b"x")
    os.utime(p.path(), ns=(10**18, 10**18))
    before = os.stat(p.path())
    write_file(p.path(), b"more", os.O_WRONLY)
    after = os.stat(p.path())
    assert after.st_mtime_ns > before.st_mtime_ns and after.st_ctime_ns >= before.st_ctime_ns
    os.utime(p.path(), ns=(10**18 + 1, 10**18 + 2))
    changed = os.stat(p.path()).st_ctime_ns
    os.chmod(p.path(), 0o600)
    st = os.stat(p.path())
    assert st.st_mtime_ns == 10**18 + 2 and st.st_ctime_ns >= changed
    p.remount()
    st2 = os.stat(p.path())
    assert (st2.st_atime_ns, st2.st_mtime_ns, st2.st_ctime_ns) == (10**18 + 1, 10**18 + 2, st.st_ctime_ns)


def test_many_sizes(p):
    """Every size around the limits of the format, whole and in pieces, across a mount."""
    sizes = [0, 1, 100, 2719, 2720, 2721, 3231, 3232, 3233, 4095, 4096, 4097, 80 * 4096 - 1, 80 * 4096, 80 * 4096 + 1,
             208 * 4096 - 1, 208 * 4096 + 1, (208 + 128) * 4096 + 7]
    contents = {}
    for size in sizes:
        contents[size] = os.urandom(size)
        with open(p.path(str(size)), "wb", buffering=0) as f:
            for start in range(0, size, 77777):
                f.write(contents[size][start : start + 77777])
    for _ in range(2):
        for size in sizes:
            assert read_file(p.path(str(size))) == contents[size], size
        p.remount()
