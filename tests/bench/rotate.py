#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How long a rotation of a mounted vault takes at each level, and how long others wait meanwhile: fio writes at random and
git checks out two branches in turn, and a prober looks names up, reads, and creates and removes a file, every few
milliseconds.

rotate.py [--files N] [--mib N] [--max-rate RATE] [--dir DIR] --wardfs PROGRAM"""
import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

PER_FOLDER = 250


def run(*args, **more):
    more.setdefault("stdout", subprocess.DEVNULL)
    return subprocess.run(args, stdin=subprocess.DEVNULL, check=True, **more)


class Prober(threading.Thread):
    """The longest time that each kind of call took."""

    def __init__(self, mnt, names):
        super().__init__(daemon=True)
        self.mnt, self.names, self.ends = mnt, names, threading.Event()
        self.worst, self.all = {}, []

    def timed(self, what, call):
        begun = time.monotonic()
        call()
        took = time.monotonic() - begun
        self.worst[what] = max(self.worst.get(what, 0), took)
        self.all.append(took)

    def run(self):
        own, files = os.path.join(self.mnt, "probe"), []
        while not self.ends.is_set():
            name = random.choice(self.names)
            self.timed("stat", lambda: os.stat(name))
            self.timed("open", lambda: files.append(open(name, "rb")))
            self.timed("read", files[-1].read)
            files.pop().close()
            self.timed("create", lambda: open(own, "w").close())
            self.timed("unlink", lambda: os.unlink(own))
            time.sleep(0.003)

    def stop(self):
        self.ends.set()
        self.join()
        ordered = sorted(self.all)
        line = ", ".join(f"{k} {v * 1000:.0f}" for k, v in sorted(self.worst.items()))
        return f"{ordered[-1] * 1000:.0f} ms ({line}) | {ordered[len(ordered) * 999 // 1000] * 1000:.1f} ms | {len(ordered)}"


class Load:
    """fio and git in the folder, until stopped."""

    def __init__(self, mnt):
        self.fio = subprocess.Popen(["fio", "--name=load", f"--directory={mnt}", "--rw=randwrite", "--bs=4k",
                                     "--size=64m", "--fsync=64", "--rate=8m", "--time_based", "--runtime=3600",
                                     "--output=/dev/null"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.ends, self.checkouts = threading.Event(), 0
        self.git = threading.Thread(target=self.check_out, args=(os.path.join(mnt, "repo"),), daemon=True)
        self.git.start()

    def check_out(self, repo):
        while not self.ends.is_set():
            for branch in ("one", "two"):
                run("git", "-C", repo, "checkout", "-qf", branch, stderr=subprocess.DEVNULL)
                self.checkouts += 1

    def stop(self):
        self.ends.set()
        self.git.join()
        self.fio.terminate()
        self.fio.wait()


def fill(mnt, files, mib):
    """files of which a few are large enough for the sum, and a repository with two branches."""
    names, each = [], min(mib * 1048576 // files, 40000)
    for i in range(files):
        folder = os.path.join(mnt, f"d{i // PER_FOLDER}")
        if i % PER_FOLDER == 0:
            os.mkdir(folder)
        names.append(os.path.join(folder, f"f{i}"))
        with open(names[-1], "wb") as f:
            f.write(os.urandom(random.randrange(1, 2 * each)))
    for i in range(max(0, mib - files * each // 1048576) // 64):
        with open(os.path.join(mnt, f"large{i}"), "wb") as f:
            for _ in range(64):
                f.write(os.urandom(1048576))
    repo = os.path.join(mnt, "repo")
    run("git", "init", "-q", repo)
    for branch in ("one", "two"):
        run("git", "-C", repo, "checkout", "-qb", branch, stderr=subprocess.DEVNULL)
        for i in range(400):
            with open(os.path.join(repo, f"source{i}"), "w", encoding="ascii") as f:
                f.write(f"{branch} {i}\n" * random.randrange(1, 400))
        run("git", "-C", repo, "add", "-A")
        run("git", "-C", repo, "-c", "user.name=x", "-c", "user.email=x", "commit", "-qm", branch)
    return names


def rotate(args, mnt, level):
    """One level; returns what the table says of it: objects, bytes, or None."""
    if level is None:
        time.sleep(15)
        return None
    if level == ["passwd"]:
        run(args.wardfs, "passwd", "--passfile", args.passfile, "--new-passfile", args.passfile, "--kdf-memory", "8",
            "--kdf-passes", "1", mnt, stderr=subprocess.DEVNULL)
        return None
    limit = ["--max-rate", args.max_rate] if args.max_rate else []
    done = run(args.wardfs, "rotate", *level, *limit, "--progress=json", "--passfile", args.passfile, mnt,
               stderr=subprocess.PIPE)
    last = json.loads(done.stderr.decode().strip().splitlines()[-1])
    return last["objects_total"], last["bytes_total"]


def measure(args, mnt, names, title, level):
    load, prober = Load(mnt), Prober(mnt, names)
    time.sleep(3)
    prober.start()
    begun = time.monotonic()
    total = rotate(args, mnt, level)
    took = time.monotonic() - begun
    time.sleep(0 if total else 1)  # what a change of the secrets leaves behind is felt by somebody, too
    stalls = prober.stop()
    sizes = (f"{total[0]} | {total[1] / 1e6:.0f} MB | {total[0] / took:.0f} objects/s, {total[1] / took / 1e6:.1f} MB/s"
             if total else "| |")
    print(f"| {title} | {took:.1f} s | {sizes} | {load.checkouts} | {stalls} |", flush=True)
    load.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=100000)
    parser.add_argument("--mib", type=int, default=5120)
    parser.add_argument("--max-rate")
    parser.add_argument("--dir", default="/var/tmp")
    parser.add_argument("--wardfs", required=True)
    args = parser.parse_args()
    work = tempfile.mkdtemp(prefix="wardfs-rotate.", dir=args.dir)
    vault, mnt = os.path.join(work, "vault"), os.path.join(work, "mnt")
    args.passfile = os.path.join(work, "pass")
    with open(os.open(args.passfile, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as f:
        f.write("a passphrase to measure with\n")
    os.mkdir(mnt)
    try:
        run(args.wardfs, "init", "--passfile", args.passfile, "--kdf-memory", "8", "--kdf-passes", "1", vault)
        run(args.wardfs, "mount", "--passfile", args.passfile, vault, mnt)
        names = fill(mnt, args.files, args.mib)
        os.sync()
        print("| level | time | objects | bytes | rate | checkouts | longest call (each kind, ms) | 99.9 % under | calls |")
        print("| --- " * 9 + "|", flush=True)
        for title, level in (("no rotation", None), ("passwd", ["passwd"]), ("keys", []), ("contents", ["--contents"])):
            measure(args, mnt, names, title, level)
        run(args.wardfs, "umount", mnt)
        run(args.wardfs, "check", "--passfile", args.passfile, vault, stdout=None)
    finally:
        if os.path.ismount(mnt):
            run("umount", "-l", mnt)
        shutil.rmtree(work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
