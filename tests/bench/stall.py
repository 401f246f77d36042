#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How long the foreground waits while a big file is overwritten: the longest of many look-ups of names that do not exist (each one
reaches the daemon), every 2 ms, beside an idle mount, a bulk overwrite with its fsync, and the five seconds after it.

stall.py WARDFS [MIB [FOLDER]]      needs FOLDER on a real disk (default /var/tmp); prints one line a phase."""
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time


class Prober(threading.Thread):
    """Look-ups until it is stopped; in a thread of a process that does nothing else meanwhile."""

    def __init__(self, folder):
        super().__init__()
        self.folder, self.phase, self.times, self.end = folder, None, {}, False

    def run(self):
        number = 0
        while not self.end:
            number += 1
            phase, start = self.phase, time.perf_counter()
            try:
                os.stat(f"{self.folder}/absent-{number}")
            except FileNotFoundError:
                pass
            if phase:
                self.times.setdefault(phase, []).append(time.perf_counter() - start)
            time.sleep(0.002)


def report(name, times):
    times = sorted(times)
    print(f"{name:24} {len(times):6} look-ups   median {statistics.median(times) * 1e3:7.3f} ms   "
          f"99 % {times[int(len(times) * 0.99)] * 1e3:7.3f} ms   longest {times[-1] * 1e3:7.3f} ms", flush=True)


def write(path, mib, notrunc):
    subprocess.run(["dd", "if=/dev/zero", f"of={path}", "bs=1M", f"count={mib}", "conv=fsync" + (",notrunc" if notrunc else ""),
                    "status=none"], check=True)


def main():
    wardfs, mib = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1024
    with tempfile.TemporaryDirectory(dir=sys.argv[3] if len(sys.argv) > 3 else "/var/tmp") as work:
        vault, mnt, key = f"{work}/vault", f"{work}/mnt", f"{work}/pass"
        with open(os.open(key, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write("a test passphrase\n")
        os.mkdir(mnt)
        subprocess.run([wardfs, "init", "--passfile", key, "--kdf-memory", "8", "--kdf-passes", "1", vault], check=True,
                       stdout=subprocess.DEVNULL)
        subprocess.run([wardfs, "mount", *os.environ.get("STALL_OPTS", "").split(), "--passfile", key, vault, mnt], check=True)
        try:
            prober = Prober(mnt)
            prober.start()
            for phase, work_done in (("idle", lambda: time.sleep(3)),
                                     (f"first write of {mib} MiB", lambda: write(f"{mnt}/big", mib, False)),
                                     (f"overwrite of {mib} MiB", lambda: write(f"{mnt}/big", mib, True)),
                                     ("the 6 s after", lambda: time.sleep(6))):
                prober.phase = phase
                start = time.monotonic()
                work_done()
                prober.phase = None
                time.sleep(0.01)
                report(phase, prober.times[phase])
                print(f"{'':24} took {time.monotonic() - start:.1f} s", flush=True)
            prober.end = True
            prober.join()
        finally:
            subprocess.run([wardfs, "umount", mnt], check=True)


if __name__ == "__main__":
    main()
