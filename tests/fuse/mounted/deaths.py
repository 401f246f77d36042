#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The processes of wardfs are killed, each one that there is in each state of a vault, with a worker of its own and through a
wardfsd. Afterwards: whoever waited was told, the state is the one of the table, no key is left, no process hangs, the data is there.

deaths.py [STATE]...    all states, or only these"""
import errno
import json
import os
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import insides  # noqa: E402
from vaultmount import WARDFS, Vault, kill, require  # noqa: E402

TEXT = b"what was written before\n" * 100
LIMIT = 60
CONTROL = "/run/wardfs/control"

# State, who is killed, what the state is afterwards: "gone" is a vault that nobody serves; what is left of its mount is dead.
TABLE = [
    ("absent", "broker", "gone"),
    ("locked", "broker", "gone"),
    ("locked", "worker", "gone"),
    ("unlocking", "broker", "gone"),
    ("unlocking", "worker", "gone"),
    ("unlocking", "kdf", "gone"),
    ("unlocking-again", "broker", "gone"),
    ("unlocking-again", "worker", "locked-with-mount"),
    ("unlocking-again", "keyless", "failed"),
    ("unlocking-again", "kdf", "locked-with-mount"),
    ("open", "broker", "gone"),
    ("open", "worker", "failed"),
    ("open", "passwd", "open"),
    ("open", "key add", "open"),
    ("draining", "broker", "gone"),
    ("draining", "worker", "failed"),
    ("draining", "keyless", "open"),
    ("locked-with-mount", "broker", "gone"),
    ("locked-with-mount", "keyless", "failed"),
    ("failed", "broker", "gone"),
]
failures = 0


def is_stopped(pid):
    """Stops a process; not one that has just ended."""
    try:
        os.kill(pid, signal.SIGSTOP)
        while True:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
                state = f.read().rsplit(")", 1)[1].split()[0]
            if state in "TZX":
                return state == "T"
    except (ProcessLookupError, FileNotFoundError):
        return False


def report(problems, what):
    global failures
    print(("not ok " if problems else "ok ") + what + (": " + "; ".join(problems) if problems else ""), flush=True)
    failures += bool(problems)


def wait_for(condition, what):
    end = time.monotonic() + LIMIT
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise RuntimeError("waited in vain until " + what)
        time.sleep(0.001)


def zombies(parent):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
                state, ppid = f.read().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        if state == "Z" and int(ppid) == parent:
            found.append(int(pid))
    return found


class Scene:
    """A vault, the one or two who serve it, and what was asked of them."""

    def __init__(self, vault, through_daemon):
        self.vault, self.through_daemon = vault, through_daemon
        self.daemon = self.command = self.held = None
        self.keyless = self.stopped = None

    def begin(self):
        if self.through_daemon and (self.daemon is None or self.daemon.poll() is not None):
            self.daemon = subprocess.Popen([WARDFS + "d"], stderr=self.vault.log, preexec_fn=self.vault.before)
            wait_for(lambda: self.answers() or self.daemon.poll() is not None, "wardfsd answers")

    @staticmethod
    def answers():
        done = subprocess.run([WARDFS, "status", "--json"], capture_output=True, check=False)
        return os.path.exists(CONTROL) and done.returncode == 0

    def end(self):
        if self.daemon and self.daemon.poll() is None:
            self.daemon.terminate()
            self.daemon.wait(LIMIT)

    def entry(self):
        text = subprocess.run([WARDFS, "status", "--json"], stdout=subprocess.PIPE, check=True).stdout
        return next((m for m in json.loads(text)["mounts"] if m["mountpoint"] == self.vault.mnt), None)

    def state(self):
        entry = self.entry()
        return entry["state"] if entry else "gone"

    def reach(self, *states):
        wait_for(lambda: self.state() in states, f"the state is one of {states}")

    def wardfs(self, *args):
        return subprocess.Popen([WARDFS, *args], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                preexec_fn=self.vault.before)

    def run(self, *args):
        """Must succeed."""
        subprocess.run([WARDFS, *args], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.vault.log, check=True)

    def say(self, text=b"a test passphrase\n"):
        self.command.stdin.write(text)
        self.command.stdin.flush()

    # ---- states ----

    def mount(self):
        self.vault.mount()
        self.held = os.open(os.path.join(self.vault.mnt, "file"), os.O_RDONLY)

    def stop_kdf(self, args):
        """The child that derives the key, stopped in the middle."""
        for _ in range(20):
            known = set(insides.processes())
            self.command = self.wardfs(*args)
            wait_for(lambda: set(insides.processes()) - known and self.entry() and
                     self.entry().get("pid") not in (None, self.keyless), "there is a worker")
            worker = self.entry()["pid"]
            self.say()
            self.command.stdin.close()
            self.command.stdin = None
            while self.command.poll() is None:
                with open(f"/proc/{worker}/task/{worker}/children", encoding="ascii") as f:
                    children = f.read().split()
                if children and is_stopped(int(children[0])):
                    self.stopped = int(children[0])
                    self.reach("unlocking")
                    return
            # It was too fast: again.
            self.command.communicate()
            self.run(*(("lock", self.vault.mnt) if self.keyless else ("umount", self.vault.mnt)))
            self.keyless = self.entry()["pid"] if self.keyless else None
        raise RuntimeError("the child that derives the key was never seen")

    def go_to(self, state):
        vault = self.vault
        if state == "absent":
            return
        if state == "locked":
            self.command = self.wardfs("mount", vault.dir, vault.mnt)
            self.reach("locked")
        elif state == "unlocking":
            self.stop_kdf(("mount", vault.dir, vault.mnt))
        else:
            self.mount()
        if state == "failed":
            kill(self.entry()["pid"])
            self.reach("failed")
        if state == "draining":
            self.stopped = self.entry()["pid"]
            kill(self.stopped, signal.SIGSTOP)
            before = set(insides.processes())
            self.command = self.wardfs("lock", vault.mnt)
            self.reach("draining")
            self.keyless = wait_for(lambda: [p for p, role in insides.processes().items() if p not in before and
                                             role == "--worker"], "there is a second worker")[0]
        if state in ("locked-with-mount", "unlocking-again"):
            self.run("lock", vault.mnt)
            self.keyless = self.entry()["pid"]
        if state == "unlocking-again":
            self.stop_kdf(("unlock", vault.mnt))

    # ---- deaths ----

    def kill_verb(self, *args):
        """A change of secrets, killed while it derives a key."""
        self.command = self.wardfs(*args, "--kdf-memory", "8", "--kdf-passes", "64", self.vault.dir)
        self.say(b"a test passphrase\nanother one of theirs\nanother one of theirs\n")
        pid = self.command.pid
        wait_for(lambda: self.command.poll() is not None or len(os.listdir(f"/proc/{pid}/task")) > 1, "it derives")
        self.command.kill()

    def strike(self, victim):
        entry = self.entry()
        if victim == "broker":
            kill(entry["broker_pid"] if entry else self.daemon.pid)
            if self.daemon:
                self.daemon.wait(LIMIT)
        elif victim == "worker":
            kill(entry["pid"])
        elif victim == "keyless":
            kill(self.keyless)
        elif victim == "kdf":
            kill(self.stopped)
        else:
            self.kill_verb(*victim.split())
        if self.stopped:
            kill(self.stopped, signal.SIGCONT)
            self.stopped = None

    # ---- afterwards ----

    def told(self, victim):
        """Whoever waited: one line, no success."""
        if not self.command:
            return []
        if self.command.stdin and not self.command.stdin.closed:
            try:
                self.say()
            except BrokenPipeError:
                pass
        try:
            text = self.command.communicate(timeout=LIMIT)[1].decode()
        except subprocess.TimeoutExpired:
            self.command.kill()
            return ["the command hangs"]
        status, self.command = self.command.returncode, None
        if victim in ("passwd", "key add"):
            return [] if status == -signal.SIGKILL else [f"it was not killed: {status}"]
        lines = text.splitlines()
        good = status > 0 and lines and all(line.startswith("wardfs: ") for line in lines)
        return [] if good else [f"status {status}, {text!r}"]

    def left(self, state, keys):
        """What must not be left: keys, processes, dead children."""
        expected = {"gone": bool(self.daemon and self.daemon.poll() is None), "failed": 1}.get(state, 2)
        wait_for(lambda: len(insides.processes()) <= expected, f"{expected} processes are left of {insides.processes()}")
        entry = self.entry()
        dead = zombies(entry["broker_pid"]) if entry and "broker_pid" in entry else []
        problems = [f"zombies {dead}"] if dead else []
        if state != "open":
            problems += insides.search(keys, state)[0][:3]
        return problems

    def content(self):
        with open(os.path.join(self.vault.mnt, "file"), "rb") as f:
            return [] if f.read() == TEXT else ["the content differs"]

    def usable(self, state):
        problems, vault = [], self.vault
        if state == "locked-with-mount":
            self.run("unlock", "--passfile", vault.passfile, vault.mnt)
        if state in ("locked-with-mount", "open"):
            problems += [] if os.pread(self.held, len(TEXT), 0) == TEXT else ["the open file differs"]
            problems += self.content()
        elif vault.mounted():
            try:
                os.listdir(vault.mnt)
                problems.append("a dead mount can be listed")
            except OSError as error:
                problems += [] if error.errno == errno.ENOTCONN else [f"a dead mount says {error}"]
        if self.held is not None:
            os.close(self.held)
            self.held = None
        if vault.mounted():
            self.run("umount", vault.mnt)
        self.begin()
        vault.mount()
        problems += self.content()
        vault.umount()
        wait_for(lambda: self.state() == "gone", "the vault is closed")
        return problems


def play(scene, row, keys):
    state, victim, after = row
    problems = []
    scene.keyless = None
    try:
        scene.begin()
        scene.go_to(state)
        scene.strike(victim)
        problems += scene.told(victim)
        scene.reach(*("gone", "unknown") if after == "gone" else (after,))
        problems += scene.left(after, keys)
        problems += scene.usable(after)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        problems.append(f"{type(error).__name__}: {error}")
        if scene.held is not None:
            os.close(scene.held)
            scene.held = None
        for pid in scene.vault.workers():
            kill(pid)
        scene.vault.detach()
    return problems


def main():
    require("deaths")
    vault = Vault("deaths", "--kdf-passes", "8")
    os.environ["XDG_STATE_HOME"] = os.path.join(vault.work, "state")
    if insides.can_refuse_hidden_memory():
        vault.before = insides.no_hidden_memory
    else:
        print("skip deaths: keys that cannot hide # memfd_secret cannot be refused here")
    vault.mount()
    with open(os.path.join(vault.mnt, "file"), "wb") as f:
        f.write(TEXT)
    vault.umount()
    keys = insides.key_parts(insides.record_keys(vault))
    for through_daemon in (False, True):
        if through_daemon and os.path.exists(CONTROL):
            print("skip deaths through wardfsd # there is a wardfsd already")
            break
        scene = Scene(vault, through_daemon)
        for row in TABLE:
            if row[0].startswith("unlocking") and not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
                print(f"skip deaths: {row[0]} # this kernel does not tell the children of a process")
            elif (row[0] != "absent" or through_daemon) and (len(sys.argv) < 2 or row[0] in sys.argv[1:]):
                way = "wardfsd" if through_daemon else "a worker of its own"
                report(play(scene, row, keys), f"deaths: {way}, {row[0]}: {row[1]} killed, then {row[2]}")
        scene.end()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
