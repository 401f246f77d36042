# SPDX-License-Identifier: Apache-2.0
"""A vault with some files of every kind, ways to damage it, and what is expected of it then."""
import errno
import functools
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time

import harness
from harness import CHEAP, PASSPHRASE, Failed, check, mounted, wait_until

PAGE = 4096
LIMIT_S = 60


def content(name, size):
    return random.Random(name).randbytes(size)


# name: size; what lies in directories comes after them
FILES = {
    'inline': 100,
    'small': 3 * PAGE + 17,
    'large': 200 * PAGE,       # a node page covers its pages 80 to 199
    'twin': 200 * PAGE,
    'd/one': 5 * PAGE,
    'd/two': 5 * PAGE,
    'd/sub/deep': 2 * PAGE,
    'e/one': 5 * PAGE,
    'e/other': 700,
}


class Vault:
    """One vault below a case's folder; `w` is the case's Work."""

    def __init__(self, w, fill=True):
        self.w = w
        self.dir = w.path('vault')
        self.mnt = w.path('mnt')
        self.log = w.path('log')
        self.outside = w.path('outside')
        self.process = None
        self.inodes = {}
        os.mkdir(self.mnt)
        os.mkdir(self.outside)
        with open(os.path.join(self.outside, 'treasure'), 'wb') as f:
            f.write(b'not part of any vault\n' * 1000)
        w.ok('init', *CHEAP, self.dir)
        if fill:
            self.mount()
            for name, size in FILES.items():
                self.write(name, content(name, size))
            os.setxattr(self.path('small'), 'user.note', b'n' * 2000)
            os.link(self.path('inline'), self.path('linked'))
            os.symlink('small', self.path('symlink'))
            self.learn()
            self.umount()

    # ---- mounting ----

    def path(self, name):
        return os.path.join(self.mnt, name)

    def start(self, *options):
        """Begins to mount in the foreground; the log is kept."""
        with open(self.log, 'wb') as log:
            self.process = self.w.start('mount', '-f', '--log-names', *options, self.dir, self.mnt,
                                        stdin=subprocess.PIPE, stdout=log, stderr=log)
        try:
            self.process.stdin.write(PASSPHRASE + b'\n')
            self.process.stdin.close()
        except BrokenPipeError:
            pass  # refused before it was asked for
        wait_until(lambda: self.process.poll() is not None or mounted(self.mnt), 'it is mounted or refused', LIMIT_S)
        # A mount that is refused late is seen as mounted for a moment.
        if self.process.poll() is None:
            wait_until(self.answers, 'the mount answers', LIMIT_S)
        return self.process.poll()

    def answers(self):
        try:
            os.stat(self.mnt)
            return True
        except OSError:
            return self.process.poll() is not None

    def mount(self, *options):
        status = self.start(*options)
        check(status is None, f'not mounted, status {status}: {self.lines()}')

    def refused(self, status, words, *options):
        """The mount must be refused, with this exit status and a line that has these words."""
        got = self.start(*options)
        if got is None:
            self.umount()
            raise Failed(f'was mounted: {self.lines()}')
        check(got == status, f'status {got} instead of {status}: {self.lines()}')
        check(words in self.lines(), f'no {words!r} in {self.lines()}')
        check(mounted(self.mnt) is None, 'still mounted')

    def umount(self):
        self.w.ok('umount', self.mnt)
        self.process.wait(timeout=LIMIT_S)

    def kill(self):
        """The process that has the keys, and whatever waits for it."""
        worker = self.status()['pid']
        os.kill(worker, signal.SIGKILL)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        wait_until(lambda: not alive(worker), 'the worker has ended', LIMIT_S)
        if mounted(self.mnt):
            subprocess.run(['umount', '-l', self.mnt], stderr=subprocess.DEVNULL, check=False)

    def remount(self):
        self.umount()
        self.mount()

    def lines(self):
        with open(self.log, encoding='utf-8', errors='replace') as f:
            return f.read()

    def says(self, *words):
        """All of it stands in the log, now or soon: a line goes through other processes."""
        wait_until(lambda: all(word in self.lines() for word in words), f'{words} in {self.lines()}')

    # ---- plaintext ----

    def write(self, name, data):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), 'wb') as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())

    def read(self, name):
        """The content, or an errno."""
        try:
            with open(self.path(name), 'rb') as f:
                return f.read()
        except OSError as e:
            return e.errno

    def learn(self):
        for name in [*FILES, 'd', 'e', 'd/sub', '']:
            self.inodes[name] = os.stat(self.path(name)).st_ino

    def same(self, *names):
        for name in names or FILES:
            got = self.read(name)
            check(got == content(name, FILES[name]), f'{name}: {got if isinstance(got, int) else "other bytes"}')

    def broken(self, name, words='', kind=None):
        """EIO for this one, a line in the log, a count in the status; everything else is as it was."""
        got = self.read(name)
        check(got == errno.EIO, f'{name}: {got if isinstance(got, int) else "was read"} instead of EIO')
        self.same(*[n for n in FILES if n != name and not n.startswith(name + '/')])
        self.told(name, words, kind)

    def told(self, name, words='', kind=None):
        number = f'{self.inodes[name]:016x}'
        # The line may be on its way.
        wait_until(lambda: any(number in line and words in line for line in self.lines().splitlines()),
                   f'a line about {name} ({number}) with {words!r} in {self.lines()}')
        lines = [line for line in self.lines().splitlines() if number in line and 'refused' in line]
        check(lines, f'no line about {name} ({number}) in {self.lines()}')
        check(any(words in line for line in lines), f'no {words!r} in {lines}')
        check(all('first seen' in line for line in lines), f'not when: {lines}')
        if kind:
            counts = self.status().get('findings')
            check(counts and counts[kind] > 0, f'{kind} is not counted: {self.status()}')
        check(self.process.poll() is None and mounted(self.mnt), 'the mount has gone')

    def state(self):
        mounts = json.loads(self.w.ok('status', '--json'))['mounts']
        return next((m['state'] for m in mounts if m['mountpoint'] == self.mnt), None)

    def status(self):
        """What the worker says; a broker that has only just mounted may not answer yet."""
        found = []

        def ask():
            found[:] = [s for s in json.loads(self.w.ok('status', '--json'))['mounts'] if s['mountpoint'] == self.mnt]
            return found and 'pid' in found[0]

        wait_until(ask, 'the worker answers for the status')
        return found[0]

    # ---- the vault's directory ----

    def host(self, name):
        number = self.inodes[name]
        return os.path.join(self.dir, f'{number >> 55 & 255:02x}', f'{number:016x}')

    def folder(self, name):
        return os.path.dirname(self.host(name))

    def top(self, name):
        return os.path.join(self.dir, name)

    def clone(self, name='copy'):
        """The whole directory as it is now; returns where."""
        to = self.w.path(name)
        shutil.copytree(self.dir, to, symlinks=True)
        return to

    def restore(self, of):
        shutil.rmtree(self.dir)
        shutil.copytree(of, self.dir, symlinks=True)

    def old(self, of, name):
        """The host file of `name` in a clone."""
        return os.path.join(of, os.path.relpath(self.host(name), self.dir))


def alive(pid):
    try:
        with open(f'/proc/{pid}/stat', encoding='utf-8', errors='replace') as f:
            return f.read().rsplit(')', 1)[1].split()[0] not in 'ZX'
    except OSError:
        return False


def treasure(folder):
    found = []
    for root, dirs, files in os.walk(folder):
        dirs.sort()
        for name in sorted(files):
            path = os.path.join(root, name)
            with open(path, 'rb') as f:
                found.append((path, os.stat(path).st_mtime_ns, hashlib.sha256(f.read()).hexdigest()))
        found.append((root, os.stat(root).st_mtime_ns))
    return found


def hostile(function):
    """A case: gets a filled vault, unmounted. Nothing outside the vault may change."""
    @functools.wraps(function)
    def run(w):
        v = Vault(w)
        before = treasure(v.outside)
        function(v)
        if mounted(v.mnt):
            v.umount()
        check(treasure(v.outside) == before, 'something outside the vault was changed')
    return harness.case(run)


# ---- damage ----

def flip(path, offset, bit=0):
    with open(path, 'r+b') as f:
        f.seek(offset)
        byte = f.read(1)[0]
        f.seek(offset)
        f.write(bytes([byte ^ 1 << bit]))


def get(path, offset, size):
    with open(path, 'rb') as f:
        f.seek(offset)
        return f.read(size)


def put(path, offset, data):
    with open(path, 'r+b') as f:
        f.seek(offset)
        f.write(data)


def swap_files(a, b):
    os.rename(a, a + '.swap')
    os.rename(b, a)
    os.rename(a + '.swap', b)


def make_socket(path):
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    s.close()


def settle():
    """Times of the host differ from here on."""
    time.sleep(0.01)
