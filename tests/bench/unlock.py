#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How long it takes from the start of 'wardfs mount' or 'wardfs unlock' until a file of the vault has been read, beside the key
derivation itself, with a worker of its own and through wardfsd; and whether wardfsd costs anything when files are read and written.

unlock.py [--files N,N] [--times N] [--mib N] [--pairs N] [--folder FOLDER] WARDFS      as root; needs FOLDER on a real disk

Works in a mount namespace with a /run of its own, so that no wardfsd of the machine is met."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

CHEAP = ["--kdf-memory", "8", "--kdf-passes", "1"]
CONTROL = "/run/wardfs/control"
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True}


class Vault:
    def __init__(self, wardfs, work, name):
        self.wardfs, self.dir, self.mnt = wardfs, f"{work}/{name}", f"{work}/mnt-{name}"
        self.key, self.files = f"{work}/pass", 0
        os.mkdir(self.mnt)
        self.run("init", "--passfile", self.key, *CHEAP, self.dir)

    def run(self, *args):
        subprocess.run([self.wardfs, *args], **QUIET)

    def mount(self):
        self.run("mount", "--passfile", self.key, self.dir, self.mnt)

    def unlock(self):
        self.run("unlock", "--passfile", self.key, self.mnt)

    def lock(self):
        self.run("lock", self.mnt)

    def umount(self):
        self.run("umount", self.mnt)

    def fill(self, files):
        self.files = files
        for n in range(files):
            if n % 1000 == 0:
                os.mkdir(f"{self.mnt}/{n // 1000}")
            with open(f"{self.mnt}/{n // 1000}/{n}", "w", encoding="ascii") as f:
                f.write("one file of many\n")

    def usable_after(self, function):
        """Milliseconds until a file has been read, too."""
        begin = time.perf_counter()
        function()
        with open(f"{self.mnt}/0/3", encoding="ascii") as f:
            f.read()
        return (time.perf_counter() - begin) * 1e3


class Daemon:
    def __init__(self, wardfs):
        self.process = subprocess.Popen([wardfs + "d"], stderr=subprocess.DEVNULL)
        while not os.path.exists(CONTROL):
            time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def kdf_ms(wardfs):
    """The program's own figure for the same cost."""
    text = subprocess.run([wardfs, "bench", "--kdf", "--json", *CHEAP], stdout=subprocess.PIPE, check=True).stdout
    return json.loads(text)["seconds_here"] * 1e3


def row(what, times, kdf):
    times = sorted(times)
    print(f"{what:48} median {statistics.median(times):6.1f} ms  longest {times[-1]:6.1f} ms   "
          f"without the derivation {statistics.median(times) - kdf:6.1f} ms", flush=True)


def measure(vaults, way, times, kdf):
    """All of them in turn, so that what else the machine does hits each of them."""
    mounts, unlocks = {}, {}
    for _ in range(times):
        for vault in vaults:
            mounts.setdefault(vault, []).append(vault.usable_after(vault.mount))
            vault.lock()
            unlocks.setdefault(vault, []).append(vault.usable_after(vault.unlock))
            vault.umount()
    for vault in vaults:
        row(f"mount, {vault.files} files, {way}", mounts[vault], kdf)
        row(f"unlock, {vault.files} files, {way}", unlocks[vault], kdf)


def latencies(wardfs, work, files, times):
    vaults = []
    for count in files:
        vaults.append(Vault(wardfs, work, f"v{count}"))
        vaults[-1].mount()
        vaults[-1].fill(count)
        vaults[-1].umount()
    os.sync()  # what filling left to the disk is no part of an unlocking
    kdf = statistics.median(kdf_ms(wardfs) for _ in range(5))
    print(f"key derivation: {kdf:.1f} ms")
    measure(vaults, "a worker of its own", times, kdf)
    with Daemon(wardfs):
        measure(vaults, "through wardfsd", times, kdf)


def dd(*words):
    begin = time.perf_counter()
    subprocess.run(["dd", "bs=1M", "status=none", *words], check=True)
    return time.perf_counter() - begin


def read_cold(path, mib):
    """As the process that serves has it; nothing in the kernel's cache of the mount."""
    subprocess.run(["dd", f"if={path}", "iflag=nocache", "count=0", "status=none"], check=True)
    return dd(f"if={path}", "of=/dev/null", f"count={mib}")


def ratios(wardfs, work, mib, pairs):
    """Both mounted at the same time, used in turn, who is first changes."""
    alone, served = Vault(wardfs, work, "alone"), Vault(wardfs, work, "served")
    alone.mount()
    with Daemon(wardfs):
        served.mount()
        found = {"write": [], "read": []}
        for n in range(pairs):
            took = {}
            for vault in (alone, served) if n % 2 else (served, alone):
                path = f"{vault.mnt}/file"
                took[vault] = (dd("if=/dev/zero", f"of={path}", f"count={mib}", "conv=fsync"), read_cold(path, mib))
            for i, kind in enumerate(found):
                found[kind].append(took[served][i] / took[alone][i])
        served.umount()
    alone.umount()
    for kind, values in found.items():
        print(f"{kind} of {mib} MiB, time through wardfsd to time with a worker of its own: median {statistics.median(values):.3f}, "
              f"{min(values):.2f} to {max(values):.2f} in {pairs} pairs", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", default="10,100000")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--mib", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--folder", default="/var/tmp")
    parser.add_argument("wardfs")
    given = parser.parse_args()
    if not os.environ.get("UNLOCK_OWN_RUN"):
        script = 'mount -t tmpfs -o mode=0755 tmpfs /run && exec "$@"'
        os.execvpe("unshare", ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, *sys.argv],
                   dict(os.environ, UNLOCK_OWN_RUN="1"))
    with tempfile.TemporaryDirectory(dir=given.folder) as work:
        os.environ["XDG_STATE_HOME"] = f"{work}/state"
        with open(os.open(f"{work}/pass", os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write("a test passphrase\n")
        if given.pairs:
            ratios(given.wardfs, work, given.mib, given.pairs)
        if given.times:
            latencies(given.wardfs, work, [int(n) for n in given.files.split(",")], given.times)


if __name__ == "__main__":
    main()
