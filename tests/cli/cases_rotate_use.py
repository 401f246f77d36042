# SPDX-License-Identifier: Apache-2.0
"""Rotations while the folder is used in every way, and on a host that is full."""
import mmap
import os
import random
import subprocess
import time

from cases_mount import both
from cases_rotate import fill, rotation, sums
from harness import CHEAP, PASSPHRASE, Skipped, case, check, wait_until

KDF = CHEAP[:4]
USE_S = 6
END_S = 60


class Folder:
    """Files that are made, renamed, removed, truncated, written and mapped, and what must be in them."""

    def __init__(self, path, rng):
        self.path, self.rng, self.files, self.made = path, rng, {}, 0
        self.done = dict.fromkeys(('make', 'rename', 'remove', 'truncate', 'write', 'map'), 0)
        os.mkdir(path)
        os.mkdir(os.path.join(path, 'sub'))

    def at(self, name):
        return os.path.join(self.path, name)

    def make(self, _):
        name = self.rng.choice(('', 'sub/')) + f'file{self.made}'
        self.made += 1
        data = bytearray(self.rng.randbytes(self.rng.choice((0, 300, 5000, 70000, 400000))))
        with open(self.at(name), 'wb') as f:
            f.write(data)
        self.files[name] = data

    def rename(self, name):
        over = self.rng.choice(sorted(self.files))
        to = over if self.rng.random() < 0.3 and over != name else f'sub/moved{self.made}'
        self.made += 1
        os.rename(self.at(name), self.at(to))
        self.files[to] = self.files.pop(name)

    def remove(self, name):
        os.unlink(self.at(name))
        del self.files[name]

    def truncate(self, name):
        size = self.rng.randrange(0, 100000)
        os.truncate(self.at(name), size)
        data = self.files[name]
        self.files[name] = data[:size] + bytearray(max(0, size - len(data)))

    def write(self, name):
        off, piece = self.rng.randrange(0, 50000), self.rng.randbytes(self.rng.randrange(1, 9000))
        with open(self.at(name), 'r+b') as f:
            f.seek(off)
            f.write(piece)
        data = self.files[name]
        data.extend(bytes(max(0, off - len(data))))
        data[off:off + len(piece)] = piece

    def map(self, name):
        data = self.files[name]
        if not data:
            return
        with open(self.at(name), 'r+b') as f, mmap.mmap(f.fileno(), len(data)) as mapped:
            for _ in range(4):
                off = self.rng.randrange(0, len(data))
                piece = self.rng.randbytes(min(len(data) - off, self.rng.randrange(1, 6000)))
                mapped[off:off + len(piece)] = piece
                data[off:off + len(piece)] = piece
                if self.rng.random() < 0.5:
                    mapped.flush()

    def step(self):
        what = self.rng.choice(sorted(self.done)) if len(self.files) > 4 else 'make'
        name = self.rng.choice(sorted(self.files)) if self.files else ''
        getattr(self, what)(name)
        self.done[what] += 1

    def verify(self):
        for name, data in self.files.items():
            with open(self.at(name), 'rb') as f:
                check(f.read() == data, f'{name}: another content')
        found = [n for n in os.listdir(self.path) if n != 'sub'] + ['sub/' + n for n in os.listdir(self.at('sub'))]
        check(sorted(found) == sorted(self.files), 'other names')


@case
def rotate_while_files_are_used_in_every_way(w):
    seed = random.SystemRandom().getrandbits(32)
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    want = fill(mnt, files=20, big=3 << 20)
    folder = Folder(os.path.join(mnt, 'used'), random.Random(seed))
    print(f'  seed {seed}')
    for _ in range(40):
        folder.step()
    ended = 0
    until, limit = time.monotonic() + USE_S, time.monotonic() + END_S
    while (time.monotonic() < until or ended < 2 or min(folder.done.values()) < 5) and time.monotonic() < limit:
        if rotation(w, mnt)['state'] in ('idle', 'ended'):
            ended += rotation(w, mnt)['state'] == 'ended'
            w.ok('rotate', '--background', '--max-rate', '4M', *(['--contents'] if ended % 3 < 2 else []), mnt)
        for _ in range(25):
            folder.step()
    check(min(folder.done.values()) >= 5, repr(folder.done))
    if rotation(w, mnt)['state'] != 'ended':
        w.run('rotate', '--resume', '--max-rate', '1G', mnt, stdin=None)  # or it has just ended
    wait_until(lambda: rotation(w, mnt)['state'] == 'ended', 'the last rotation ended', END_S)
    check(rotation(w, mnt)['epochs'] == 1, 'older epochs')
    folder.verify()
    w.ok('umount', mnt)
    w.ok('mount', v, mnt)
    folder.verify()
    check(sums(mnt).items() >= want.items(), 'what nobody wrote to is another one')
    w.ok('umount', mnt)
    w.ok('check', v)


def fill_up(host):
    """A file that takes all the space of a filesystem."""
    path = os.path.join(host, 'filler')
    with open(path, 'wb', buffering=0) as f:
        for size in (1 << 20, 4096):
            try:
                while f.write(b'x' * size) == size:
                    pass
            except OSError:
                pass
    return path


@case
def rotate_on_a_full_host(w):
    host, mnt = w.mountpoint('host'), w.mountpoint()
    done = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=64m', 'none', host], stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise Skipped('no tmpfs can be mounted here')
    v = os.path.join(host, 'vault')
    w.ok('init', *CHEAP, v)
    w.ok('mount', v, mnt)
    want = fill(mnt, files=40, big=4 << 20)
    w.ok('umount', mnt)
    filler = fill_up(host)
    # Without any room it may get through, since it writes over what is there; or it says what to do.
    for args in (['rotate', v], ['rotate', '--contents', v]):
        done = w.run(*args)
        check(done.returncode in (0, 11), f'{args}: {done.returncode} {done.stderr!r}')
        check(done.returncode == 0 or b'space' in done.stderr, repr(done.stderr))
    os.unlink(filler)
    check(w.run('rotate', v).returncode == 0, 'does not go on with room')
    w.ok('mount', v, mnt)
    filler = fill_up(host)
    w.ok('rotate', '--contents', '--background', mnt)
    wait_until(lambda: rotation(w, mnt)['state'] in ('waiting', 'ended'), 'it waits or ends', END_S)
    state = rotation(w, mnt)
    check(state['state'] == 'ended' or 'space' in state['error'], repr(state))
    w.ok('passwd', *KDF, '--new-extpass', 'echo quartz Vogel 73 umber kite', v)
    check(sums(mnt) == want, 'the content is another one')
    os.unlink(filler)
    wait_until(lambda: rotation(w, mnt)['state'] == 'ended', 'it goes on with room', END_S)
    check(sums(mnt) == want, 'the content is another one')
    w.ok('umount', mnt)
    w.ok('check', v, stdin=b'quartz Vogel 73 umber kite\n')
    check(PASSPHRASE not in done.stderr, 'a passphrase in what is said')
    subprocess.run(['umount', '-l', host], check=False)
