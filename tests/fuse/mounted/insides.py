# SPDX-License-Identifier: Apache-2.0
"""What the processes of wardfs have in their memory and registers, and the keys to look for."""
import contextlib
import ctypes
import errno
import os
import platform
import shutil
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../interop"))
from vaultmount import WARDFS  # noqa: E402

PROGRAMS = {os.path.realpath(WARDFS), os.path.realpath(WARDFS + "d")}
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long
libc.prctl.argtypes = [ctypes.c_int] + 4 * [ctypes.c_ulong]


# ---- what to look for ----

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


def key_parts(keys):
    """An expanded key begins with the key, too."""
    return [(f"key {i}", key[:16]) for i, key in enumerate(sorted(keys))]


# ---- where to look ----

def processes():
    """Every process of wardfs but the command line: by its number, what it is."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
            if os.path.realpath(f"/proc/{pid}/exe") in PROGRAMS:
                found[int(pid)] = b" ".join(words[1:2]).decode()
        except OSError:
            continue
    return found


NOTHING = bytes(1 << 20)


def _used(file, at, end):
    """The bytes from at to end, without what was never used; as far as they can be read: not if hidden."""
    parts = []
    while at < end:
        try:
            file.seek(at)
            part = file.read(min(end - at, len(NOTHING)))
        except OSError:
            break
        if not part:
            break
        if part != NOTHING[:len(part)]:
            parts.append(part)
        at += len(part)
    return b"".join(parts)


def memory_of(pid):
    """All memory of a process that root can read, mapping by mapping; what memfd_secret(2) hides not even root can."""
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            area, perms = line.split()[:2]
            # Code is what stands in its file, as nobody may write to it.
            if "r" not in perms or ("x" in perms and "/" in line) or \
                    line.rstrip().endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            at, end = (int(x, 16) for x in area.split("-"))
            data = _used(mem, at, end)
            if data:
                yield data, line.rstrip()


def hides_memory(pid):
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as f:
        return "secretmem" in f.read()


# ---- a core ----

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_GETREGSET, PTRACE_DETACH = 0x4206, 0x4207, 0x4204, 17
REGISTER_SETS = {"general": 1, "floating": 2, "extended": 0x202}  # the last: vectors of x86
WALL = 0x40000000


class Cannot(Exception):
    """This machine does not let a test do it."""


class _Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


def _registers_of(tid):
    buf = ctypes.create_string_buffer(1 << 14)
    for name, number in REGISTER_SETS.items():
        vector = _Vector(ctypes.addressof(buf), len(buf))
        if libc.ptrace(PTRACE_GETREGSET, tid, number, ctypes.addressof(vector)) == 0:
            yield buf.raw[:vector.len], f"{name} registers of thread {tid}"


def core_of(pid):
    """What a core of this process would have, were it allowed to dump one: every thread's registers, and all memory, also what
    is excluded from dumps, at one moment."""
    stopped = []
    try:
        for tid in map(int, os.listdir(f"/proc/{pid}/task")):
            if libc.ptrace(PTRACE_SEIZE, tid, None, None):
                if ctypes.get_errno() == errno.ESRCH:
                    continue  # a thread that has ended meanwhile
                raise Cannot(f"ptrace: {os.strerror(ctypes.get_errno())}")
            stopped.append(tid)
            libc.ptrace(PTRACE_INTERRUPT, tid, None, None)
            os.waitpid(tid, WALL)
        for tid in stopped:
            yield from _registers_of(tid)
        yield from memory_of(pid)
    finally:
        for tid in stopped:
            libc.ptrace(PTRACE_DETACH, tid, None, None)


def gcore_of(pid):
    """The same as gdb makes it, all mappings included; Cannot where there is no gdb."""
    if not shutil.which("gcore"):
        raise Cannot("no gdb")
    with tempfile.TemporaryDirectory(dir=os.environ.get("WARDFS_TEST_TMP") or "/var/tmp") as folder:
        done = subprocess.run(["gcore", "-a", "-o", f"{folder}/core", str(pid)], stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=120, check=False)
        try:
            with open(f"{folder}/core.{pid}", "rb") as f:
                yield _used(f, 0, os.fstat(f.fileno()).st_size), "the core that gdb made"
        except FileNotFoundError:
            raise Cannot(f"gcore: {done.stderr[-200:]!r}") from None


# ---- looking ----

def search(secrets, what, way=memory_of):
    """Which of the secrets stand in which process, and how many parts were searched. Fails when nothing is to be had of a process
    that stays. way: memory_of, core_of or gcore_of."""
    found, parts = [], 0
    for pid, role in processes().items():
        before = parts
        try:
            for data, where in way(pid):
                parts += 1
                found += [f"{what}: {name} in process {pid} {role}: {where}" for name, secret in secrets if secret in data]
        except OSError:
            pass
        if parts == before and pid in processes():
            raise RuntimeError(f"the memory of process {pid} {role} cannot be read")
    return found, parts


# ---- without memfd_secret(2) ----

NR_MEMFD_SECRET = 447  # of every architecture
SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO = 0x7fff0000, 0x50000


def no_hidden_memory():
    """For subprocess' preexec_fn: as on a kernel without memfd_secret(2), so that keys are where root can see them."""
    code = [(0x20, 0, 0, 0),  # load the number of the call
            (0x15, 0, 1, NR_MEMFD_SECRET), (0x06, 0, 0, SECCOMP_RET_ERRNO | errno.ENOSYS), (0x06, 0, 0, SECCOMP_RET_ALLOW)]
    filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(filters)))
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.addressof(program), 0, 0):  # no new privileges; the filter
        os._exit(99)


def can_refuse_hidden_memory():
    return platform.machine() in ("x86_64", "aarch64") and \
        subprocess.run(["true"], preexec_fn=no_hidden_memory, check=False).returncode == 0
