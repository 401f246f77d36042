# SPDX-License-Identifier: Apache-2.0
"""For the tests on a real mount that are written in Python: a vault, its mounts, one line a test."""
import atexit
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

SRC = os.environ.get("WARDFS_SRC") or os.path.abspath(os.path.join(os.path.dirname(__file__), "../../.."))
BUILD = os.environ.get("WARDFS_TEST_BUILD") or os.path.join(SRC, "build-test")
WARDFS = os.path.join(BUILD, "normal", "tools", "wardfs")


def require(group):
    """Ends with a "skip" line where mounting is impossible."""
    if os.getuid() != 0:
        print(f"skip {group} # needs root")
        sys.exit(0)
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as e:
        print(f"skip {group} # /dev/fuse: {e.strerror}")
        sys.exit(0)
    if not os.access(WARDFS, os.X_OK):
        print(f"not ok {group}: {WARDFS} is not built")
        sys.exit(1)
    # So that a time limit's SIGTERM unmounts as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def finish(process, limit):
    """Waits for a good end, without the pauses of Popen.wait with a limit."""
    timer = threading.Timer(limit, process.kill)
    timer.start()
    status = process.wait()
    timer.cancel()
    if status:
        raise subprocess.CalledProcessError(status, process.args)


def kill(pid, number=signal.SIGKILL):
    """Returns when the killed process is gone."""
    try:
        fd = os.pidfd_open(pid)
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return
    if number == signal.SIGKILL and not select.select([fd], [], [], 60)[0]:
        raise RuntimeError(f"process {pid} does not end")
    os.close(fd)


class Vault:
    """A new vault in a folder of its own, or in one of a disk of its own; everything is unmounted and removed at exit."""

    def __init__(self, group, *init_options, disk=None):
        self.work = tempfile.mkdtemp(prefix=group + ".", dir=os.environ.get("WARDFS_TEST_TMP") or "/var/tmp")
        os.chmod(self.work, 0o711)  # other users have to reach the mount
        self.dir = os.path.join(disk or self.work, "vault")
        self.mnt = os.path.join(self.work, "mnt")
        self.passfile = os.path.join(self.work, "pass")
        self.log = open(os.path.join(self.work, "log"), "ab")
        self.process = None
        self.options = ()
        self.before = None  # what the mounting process does before it is wardfs
        atexit.register(self.clean_up)
        os.mkdir(self.mnt)
        with open(self.passfile, "w", encoding="ascii") as f:
            f.write("a test passphrase\n")
        os.chmod(self.passfile, 0o600)
        subprocess.run([WARDFS, "init", "--passfile", self.passfile, "--kdf-memory", "8", "--kdf-passes", "1",
                        *init_options, self.dir], check=True)

    def mounted(self):
        try:
            return os.stat(self.mnt).st_dev != os.stat(self.work).st_dev
        except OSError:
            return True  # mounted, but nobody answers

    def mount(self):
        """A dead process's hold on the vault lasts until its last thread has ended what it does on the host."""
        until = time.monotonic() + 60
        while True:
            done = subprocess.run([WARDFS, "mount", "--passfile", self.passfile, *self.options, self.dir, self.mnt],
                                  stderr=subprocess.PIPE, check=False, preexec_fn=self.before)
            if done.returncode and b"in use" in done.stderr and time.monotonic() < until:
                time.sleep(0.05)
                continue
            sys.stderr.buffer.write(done.stderr)
            done.check_returncode()
            return

    def umount(self):
        subprocess.run([WARDFS, "umount", self.mnt], check=True)
        assert not self.mounted()

    def remount(self):
        self.umount()
        self.mount()

    def start(self):
        """Begins to mount in the foreground: self.process ends with the mount."""
        self.process = subprocess.Popen([WARDFS, "mount", "-f", "--passfile", self.passfile, self.dir, self.mnt],
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def wait_usable(self, limit=60):
        until = time.monotonic() + limit
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise RuntimeError(f"mount ended with status {self.process.returncode}:\n{self.last_log()}")
            try:
                if os.stat(self.mnt).st_dev != os.stat(self.work).st_dev and self.is_open() and self.awaits_signals():
                    return
            except OSError:
                pass
            time.sleep(0.005)
        raise RuntimeError(f"not usable after {limit} s:\n{self.last_log()}")

    def start_again(self):
        """After a kill: mount() says why that may take more than one beginning."""
        until = time.monotonic() + 60
        while True:
            self.start()
            try:
                return self.wait_usable()
            except RuntimeError as e:
                if "in use" not in str(e) or time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def is_open(self):
        """The folder is usable, and whoever mounted it has been told."""
        text = subprocess.run([WARDFS, "status", "--json"], stdout=subprocess.PIPE, check=True, timeout=60).stdout
        return any(entry["mountpoint"] == self.mnt and entry["state"] == "open" for entry in json.loads(text)["mounts"])

    def awaits_signals(self):
        """Whoever mounts in the foreground has heard of it: a signal unmounts from here on, and no longer ends just that process."""
        if not isinstance(self.process, subprocess.Popen):
            return True
        with open(f"/proc/{self.process.pid}/status", encoding="ascii", errors="replace") as f:
            blocked = next(line for line in f if line.startswith("SigBlk:"))
        return int(blocked.split()[1], 16) >> (signal.SIGTERM - 1) & 1 == 1

    def last_log(self):
        with open(self.log.name, "rb") as f:
            return f.read()[-3000:].decode(errors="replace")

    def workers(self):
        """The processes that have the keys of this mount."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    words = f.read().split(b"\0")
            except OSError:
                continue
            if b"--worker" in words and os.fsencode(self.mnt) in words:
                found.append(int(pid))
        return found

    def kill_workers(self):
        """No one but the kernel does anything for the vault afterwards."""
        for pid in self.workers() or [self.process.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def killed(self):
        """Waits for the end of what was killed, its hold on the vault included, and takes the dead mount away."""
        self.process.wait()
        # Of a mount that had just begun, the worker ends by itself; of one that derived the key, the child does.
        until = time.monotonic() + 60
        while self.workers() and time.monotonic() < until:
            time.sleep(0.005)
        self.detach()

    def kill(self):
        self.kill_workers()
        self.killed()

    def detach(self):
        while self.mounted():
            if subprocess.run(["umount", "-l", self.mnt], stderr=subprocess.DEVNULL, check=False).returncode:
                break

    def clean_up(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.mounted():
            subprocess.run(["umount", "-l", self.mnt], stderr=subprocess.DEVNULL, check=False)
        self.log.close()
        if not self.mounted():
            shutil.rmtree(self.work, ignore_errors=True)
