#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""SIGKILL for the process that serves the mount while fio, sqlite, git and a storm of renames work in it. After each kill:
every block of fio's file has its checksum, old or new; sqlite's database is intact and has every committed row; git's
repository is intact and has every commit; every file that is renamed about stands in one place, the one that was answered.

killload.py [ROUNDS [SEED]]"""
import hashlib
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from vaultmount import WARDFS, Vault, require  # noqa: E402

FILES = 12
ROW = "INSERT INTO t(v) VALUES(randomblob(300)); SELECT 'row ' || count(*) FROM t;\n"


class Difference(Exception):
    pass


def run(*command, **kw):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300, **kw)
    if done.returncode:
        raise Difference(f"{' '.join(command)}: status {done.returncode}\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
    return done.stdout


class Fio:
    """The file is written once; then blocks of it are overwritten, so that each has a checksum at every moment. Fio's own
    comparison expects the newest one: here each block is compared with what it says of itself."""

    HEADER = struct.Struct("<HHIQQIIHHI")

    def __init__(self, top):
        self.top = top
        # A thread, not a process of its own, which would outlive the kill.
        self.job = ("fio", "--thread", "--name=job", f"--directory={top}", "--ioengine=psync", "--bs=4096", "--size=6m",
                    "--verify=md5", "--fallocate=none", "--output-format=terse")

    def prepare(self):
        run(*self.job, "--rw=write", "--do_verify=0", "--end_fsync=1", cwd=os.path.dirname(self.top))

    def start(self, seed):
        return subprocess.Popen([*self.job, "--rw=randwrite", "--do_verify=0", "--fsync=32", "--time_based", "--runtime=60",
                                 f"--randseed={seed}"], cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def verify(self):
        with open(os.path.join(self.top, "job.0.0"), "rb") as f:
            data = f.read()
        if len(data) != 6 << 20:
            raise Difference(f"fio's file has {len(data)} bytes")
        for at in range(0, len(data), 4096):
            block = data[at : at + 4096]
            magic, _, length, _, offset = self.HEADER.unpack_from(block)[:5]
            digest = block[self.HEADER.size : self.HEADER.size + 16]
            if (magic, length, offset) != (0xACCA, 4096, at) or digest != hashlib.md5(block[self.HEADER.size + 16 :]).digest():
                raise Difference(f"fio's block at {at}: {block[:64].hex()}")


class Sqlite:
    def __init__(self, top, mode):
        self.db, self.mode, self.rows = os.path.join(top, mode + ".db"), mode, 0
        self.process = None

    def prepare(self):
        run("sqlite3", "-bail", self.db, f"PRAGMA journal_mode={self.mode}; CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB);")

    def start(self, _):
        """Rows as fast as they are committed; each that is printed was."""
        read, write = os.pipe()
        self.process = subprocess.Popen(["sqlite3", "-bail", self.db], stdin=subprocess.PIPE, stdout=write,
                                        stderr=subprocess.DEVNULL)
        os.close(write)
        self.output = os.fdopen(read, "rb")
        feeder = os.fork()
        if feeder == 0:
            try:
                os.write(self.process.stdin.fileno(), b"PRAGMA synchronous=FULL;\n")
                while True:
                    os.write(self.process.stdin.fileno(), ROW.encode())
            finally:
                os._exit(0)
        self.process.stdin.close()
        self.feeder = feeder
        return self.process

    def verify(self):
        os.waitpid(self.feeder, 0)
        lines = self.output.read().decode().splitlines()
        self.output.close()
        committed = [int(line[4:]) for line in lines if line.startswith("row ")]
        result = run("sqlite3", self.db, "PRAGMA integrity_check; SELECT count(*) FROM t;").split()
        if result[0] != "ok":
            raise Difference(f"sqlite, {self.mode}: {result}")
        if committed and int(result[1]) < committed[-1]:
            raise Difference(f"sqlite, {self.mode}: {result[1]} rows, {committed[-1]} were committed")
        self.rows = int(result[1])


class Git:
    def __init__(self, top, outside):
        self.repo, self.done = os.path.join(top, "repo"), os.path.join(outside, "commits")
        self.env = dict(os.environ, GIT_CONFIG_COUNT="4", GIT_CONFIG_KEY_0="safe.directory", GIT_CONFIG_VALUE_0="*",
                        GIT_CONFIG_KEY_1="user.name", GIT_CONFIG_VALUE_1="Test", GIT_CONFIG_KEY_2="user.email",
                        GIT_CONFIG_VALUE_2="test@example.org", GIT_CONFIG_KEY_3="core.fsync", GIT_CONFIG_VALUE_3="all",
                        repo=self.repo, done=self.done)

    def prepare(self):
        run("git", "init", "-q", self.repo, env=self.env)
        run("git", "-C", self.repo, "commit", "-q", "--allow-empty", "-m", "first", env=self.env)

    def start(self, seed):
        script = """cd "$repo" && git reset -q --hard && n=0 && while n=$((n + 1)); do
            seq $n $((n + 200)) >"file$((n % 5))" && git add -A && git commit -q -m "$0 $n" || exit
            git rev-parse HEAD >>"$done"
        done"""
        return subprocess.Popen(["bash", "-c", script, str(seed)], env=self.env, stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def verify(self):
        for name in ("index.lock", "HEAD.lock", "refs/heads/master.lock", "refs/heads/main.lock"):
            path = os.path.join(self.repo, ".git", name)
            if os.path.exists(path):
                os.unlink(path)
        run("git", "-C", self.repo, "fsck", "--full", "--strict", env=self.env)
        if os.path.exists(self.done):
            with open(self.done, encoding="ascii") as f:
                last = f.read().split()[-1:]  # none where the kill came before the first answer
            for commit in last:
                run("git", "-C", self.repo, "merge-base", "--is-ancestor", commit, "HEAD", env=self.env)


class Renames:
    """One process that moves files between directories, over each other, and links them; it says what was answered."""

    def __init__(self, top):
        self.top = os.path.join(top, "storm")
        self.at = {}  # number -> directory
        self.under_way = None
        self.pipe = None

    def prepare(self):
        for d in "abc":
            os.makedirs(os.path.join(self.top, d))
        for i in range(FILES):
            self.at[i] = "a"
            with open(self.path(i, "a"), "wb", buffering=0) as f:
                f.write(b"%d" % i)
                os.fsync(f.fileno())

    def path(self, number, directory):
        return os.path.join(self.top, directory, f"f{number}")

    def start(self, seed):
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(read)
                self.storm(random.Random(seed), write)
            finally:
                os._exit(0)
        os.close(write)
        self.pipe = os.fdopen(read, "rb")
        return pid

    def storm(self, rng, pipe):
        at = dict(self.at)
        while True:
            i, to = rng.randrange(FILES), rng.choice("abc")
            if to == at[i]:
                continue
            os.write(pipe, f"B {i} {to}\n".encode())
            if rng.random() < 0.3:  # by way of a second name
                os.link(self.path(i, at[i]), self.path(i, to))
                os.unlink(self.path(i, at[i]))
            else:
                os.rename(self.path(i, at[i]), self.path(i, to))
            os.write(pipe, f"E {i} {to}\n".encode())
            at[i] = to

    def verify(self):
        pending = None
        for line in self.pipe.read().decode().splitlines():
            letter, number, to = line.split()
            pending = (int(number), to) if letter == "B" else None
            if letter == "E":
                self.at[int(number)] = to
        self.pipe.close()
        for i in range(FILES):
            found = [d for d in "abc" if os.path.exists(self.path(i, d))]
            allowed = [[self.at[i]]]
            if pending and pending[0] == i:
                allowed += [[pending[1]], sorted((self.at[i], pending[1]))]
            if found not in allowed:
                raise Difference(f"rename storm: f{i} is in {found}, allowed {allowed}")
            with open(self.path(i, found[0]), "rb") as f:
                if f.read() != b"%d" % i:
                    raise Difference(f"rename storm: f{i} has other content")
            if os.stat(self.path(i, found[0])).st_nlink != len(found):
                raise Difference(f"rename storm: f{i} has a wrong count of links")
            for extra in found[1:]:
                os.unlink(self.path(i, extra))
            self.at[i] = found[0]


def end(worker):
    """It has lost its filesystem: ends by itself, or is ended."""
    pid = worker if isinstance(worker, int) else worker.pid
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    if isinstance(worker, int):
        os.waitpid(pid, 0)
    else:
        worker.wait(60)


def rounds(vault, count, rng):
    vault.start()
    vault.wait_usable()
    works = [Renames(vault.mnt), Sqlite(vault.mnt, "delete"), Sqlite(vault.mnt, "wal"), Git(vault.mnt, vault.work)]
    if shutil.which("fio"):
        works.append(Fio(vault.mnt))
    for work in works:
        work.prepare()
    # Nobody fsyncs what "git init" writes, so a kill soon afterwards may take it.
    os.sync()
    for verb in ("freeze", "thaw"):
        run(WARDFS, verb, vault.mnt)
    for number in range(count):
        workers = [work.start(rng.getrandbits(30)) for work in works]
        time.sleep(rng.choice((0.3, 1, 2.5)) * (0.5 + rng.random()))
        vault.kill()
        for worker in workers:
            end(worker)
        vault.start_again()
        for work in works:
            try:
                work.verify()
            except (Difference, OSError, subprocess.SubprocessError) as e:
                raise Difference(f"round {number}, {type(work).__name__}: {e}") from e
    print(f"{works[1].rows} and {works[2].rows} rows at the end")


def main():
    require("killload")
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().getrandbits(32)
    print(f"{count} rounds, seed {seed}")
    vault = Vault("killload")
    name = f"killload: {count} kills under fio, sqlite, git and renames lose nothing"
    try:
        rounds(vault, count, random.Random(seed))
    except (Difference, RuntimeError) as e:
        print(e)
        print(vault.last_log())
        print(f"not ok {name}")
        return 1
    print(f"ok {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
