#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A tamperer that knows nothing of the vault's format.

It watches a directory of ciphertext while somebody works in the mount: what files are there, which parts of them
change with which step. Then it attacks: it flips, cuts, grows, zeroes, swaps, copies and removes files and parts of
files, and brings back what they were at an earlier step, singly or in pairs, and looks at the mount. A file must
read as it was written last, or be an error; without the machine's own record (the anchor) the whole tree may also be
a complete earlier state. Anything else is a silent change, and the end.

  tests/hostile/tamper.py [--attacks N] [--seed N] [--keep]

WARDFS            the program (default: normal/tools/wardfs in WARDFS_TEST_BUILD)
WARDFS_TEST_TMP   where it works
"""
import argparse
import collections
import hashlib
import os
import random
import shutil
import stat
import subprocess
import sys
import tempfile
import time

SOURCE = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..'))
STEPS = 6
BLOCK = 4096
LIMIT_S = 60


class Silent(Exception):
    """Something was changed and nobody said so."""


# ---- the user ----

class Mount:
    def __init__(self, program, folder):
        self.program, self.folder = program, folder
        self.vault = os.path.join(folder, 'vault')
        self.mnt = os.path.join(folder, 'mnt')
        self.state = os.path.join(folder, 'state')
        self.pass_file = os.path.join(folder, 'pass')
        os.mkdir(self.mnt)
        with open(os.open(self.pass_file, os.O_WRONLY | os.O_CREAT, 0o600), 'w', encoding='ascii') as f:
            f.write('a passphrase of the tamperer\n')
        self.run('init', '--kdf-memory', '8', '--kdf-passes', '1', '--journal', '8', self.vault)

    def run(self, verb, *args):
        env = dict(os.environ, XDG_STATE_HOME=self.state)
        secret = [] if verb == 'umount' else ['--passfile', self.pass_file]
        done = subprocess.run([self.program, verb, *secret, *args], stdin=subprocess.DEVNULL, env=env,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S, check=False)
        return done.returncode, done.stdout.decode(errors='replace')

    def mount(self):
        end = time.monotonic() + LIMIT_S
        while True:
            status, text = self.run('mount', self.vault, self.mnt)
            # The worker of an unmount that failed is still at its end.
            if status != 6 or time.monotonic() > end:
                return status, text
            time.sleep(0.1)

    def umount(self):
        # An unmount may end in an error; the mount must be gone.
        self.run('umount', self.mnt)
        if os.path.ismount(self.mnt):
            subprocess.run(['umount', '-l', self.mnt], check=False)

    def tree(self):
        """What the mount shows: path -> content hash, link target, or None for an error."""
        found = {}
        todo = ['']
        while todo:
            rel = todo.pop()
            path = os.path.join(self.mnt, rel)
            try:
                with os.scandir(path) as entries:
                    names = sorted(e.name for e in entries)
            except OSError:
                found[rel or '.'] = None
                continue
            found[rel or '.'] = 'directory'
            for name in names:
                child = os.path.join(rel, name)
                full = os.path.join(self.mnt, child)
                try:
                    info = os.lstat(full)
                    if stat.S_ISDIR(info.st_mode):
                        todo.append(child)
                    elif stat.S_ISLNK(info.st_mode):
                        found[child] = 'link ' + os.readlink(full)
                    else:
                        with open(full, 'rb') as f:
                            data = f.read()
                        found[child] = f'{len(data)} {hashlib.sha256(data).hexdigest()} {info.st_mode:o}'
                        if len(data) != info.st_size:
                            raise Silent(f'{child}: {info.st_size} bytes, but {len(data)} can be read')
                except OSError:
                    found[child] = None
        return found


def work(mount, step, rng):
    """One step of ordinary work in the mount."""
    def put(name, size):
        path = os.path.join(mount.mnt, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as f:
            f.write(rng.randbytes(size))

    if step == 0:
        for i, size in enumerate((0, 10, 3000, 3300, 9000, 60000, 700000)):
            put(f'plain{i}', size)
            put(f'dir/in{i}', size)
        os.symlink('plain1', os.path.join(mount.mnt, 'link'))
        os.link(os.path.join(mount.mnt, 'plain4'), os.path.join(mount.mnt, 'dir/linked'))
        return
    for i in range(3, 7):
        path = os.path.join(mount.mnt, f'plain{i}')
        with open(path, 'r+b') as f:
            f.seek(rng.randrange(3000))
            f.write(rng.randbytes(2000))
    put(f'dir/step{step}', 5000 * step)
    put('dir/in2', 3000)
    put(f'sub{step}/deep/file', 20000)
    os.rename(os.path.join(mount.mnt, 'plain2'), os.path.join(mount.mnt, 'plain2.tmp'))
    os.rename(os.path.join(mount.mnt, 'plain2.tmp'), os.path.join(mount.mnt, 'plain2'))
    if step > 2:
        shutil.rmtree(os.path.join(mount.mnt, f'sub{step - 2}'))
        os.truncate(os.path.join(mount.mnt, 'dir/in6'), 100000 // step)


# ---- the tamperer ----

def files_of(folder):
    found = {}
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            found[os.path.relpath(path, folder)] = path
    return found


class Tamperer:
    """Sees directories of ciphertext only: one copy of them for each step."""

    def __init__(self, vault, rng):
        self.vault, self.rng = vault, rng
        self.copies = []
        self.touched = collections.Counter()  # (name, block): in how many steps it changed

    def watch(self, copy):
        if self.copies:
            before, after = files_of(self.copies[-1]), files_of(copy)
            for name in after:
                new = self.blocks(after[name])
                old = self.blocks(before[name]) if name in before else []
                for i, block in enumerate(new):
                    if i >= len(old) or old[i] != block:
                        self.touched[name, i] += 1
        self.copies.append(copy)

    @staticmethod
    def blocks(path):
        with open(path, 'rb') as f:
            data = f.read()
        return [data[i:i + BLOCK] for i in range(0, len(data), BLOCK)]

    def file(self):
        """A file of the vault, those with parts that change more often than others."""
        names = sorted(files_of(self.vault))
        if self.rng.random() < 0.7:
            hot = sorted({name for name, _ in self.touched} & set(names))
            names = hot or names
        return self.rng.choice(names)

    def place(self, name):
        """A block of it, one that has changed if there is one."""
        size = os.path.getsize(os.path.join(self.vault, name))
        hot = [i for n, i in self.touched if n == name and i * BLOCK < size]
        if hot and self.rng.random() < 0.8:
            return self.rng.choice(hot)
        return self.rng.randrange(max(1, (size + BLOCK - 1) // BLOCK))

    def full(self, name):
        return os.path.join(self.vault, name)

    def read(self, path, block):
        with open(path, 'rb') as f:
            f.seek(block * BLOCK)
            return f.read(BLOCK)

    def write(self, name, block, data):
        with open(self.full(name), 'r+b') as f:
            f.seek(block * BLOCK)
            f.write(data)

    # Each attack does one thing and returns what it was.

    def flip(self):
        name = self.file()
        block = self.place(name)
        data = bytearray(self.read(self.full(name), block))
        if not data:
            return f'{name} is empty'
        at = self.rng.randrange(len(data))
        data[at] ^= 1 << self.rng.randrange(8)
        self.write(name, block, data)
        return f'flip a bit of byte {at} in block {block} of {name}'

    def zero(self):
        name = self.file()
        block = self.place(name)
        self.write(name, block, bytes(len(self.read(self.full(name), block))))
        return f'zero block {block} of {name}'

    def noise(self):
        name = self.file()
        block = self.place(name)
        self.write(name, block, self.rng.randbytes(BLOCK))
        return f'noise in block {block} of {name}'

    def cut(self):
        name = self.file()
        size = os.path.getsize(self.full(name))
        to = self.rng.choice((0, size // 2, max(0, size - 1), self.place(name) * BLOCK))
        os.truncate(self.full(name), to)
        return f'cut {name} from {size} to {to}'

    def grow(self):
        name = self.file()
        with open(self.full(name), 'ab') as f:
            f.write(self.rng.randbytes(self.rng.randrange(1, 3 * BLOCK)))
        return f'grow {name}'

    def swap_blocks(self):
        a, b = self.file(), self.file()
        i, k = self.place(a), self.place(b)
        one, two = self.read(self.full(a), i), self.read(self.full(b), k)
        self.write(a, i, two)
        self.write(b, k, one)
        return f'swap block {i} of {a} with block {k} of {b}'

    def copy_block(self):
        a, b = self.file(), self.file()
        i, k = self.place(a), self.place(b)
        self.write(b, k, self.read(self.full(a), i))
        return f'copy block {i} of {a} to block {k} of {b}'

    def swap_files(self):
        a, b = self.file(), self.file()
        if a != b:
            os.rename(self.full(a), self.full(a) + '~')
            os.rename(self.full(b), self.full(a))
            os.rename(self.full(a) + '~', self.full(b))
        return f'swap {a} with {b}'

    def copy_file(self):
        a, b = self.file(), self.file()
        if a != b:
            shutil.copyfile(self.full(a), self.full(b))
        return f'copy {a} over {b}'

    def move_file(self):
        a = self.file()
        folders = [f for f in os.listdir(self.vault) if os.path.isdir(self.full(f))] or ['.']
        os.rename(self.full(a), os.path.join(self.vault, self.rng.choice(folders), os.path.basename(a) + '-moved'))
        return f'move {a}'

    def remove(self):
        a = self.file()
        os.unlink(self.full(a))
        return f'remove {a}'

    def replay_file(self):
        step = self.rng.randrange(len(self.copies))
        names = files_of(self.copies[step])
        name = self.rng.choice(sorted(names))
        os.makedirs(os.path.dirname(self.full(name)), exist_ok=True)
        shutil.copyfile(names[name], self.full(name))
        return f'{name} as it was at step {step}'

    def replay_block(self):
        step = self.rng.randrange(len(self.copies))
        name = self.file()
        old = os.path.join(self.copies[step], name)
        block = self.place(name)
        if os.path.exists(old):
            self.write(name, block, self.read(old, block))
        return f'block {block} of {name} as it was at step {step}'

    def replay_together(self):
        """All that changed in one step, or a half of it: files that belong together."""
        step = self.rng.randrange(len(self.copies) - 1)
        before, after = files_of(self.copies[step]), files_of(self.copies[step + 1])
        names = [n for n in sorted(after) if n in before and self.blocks(before[n]) != self.blocks(after[n])]
        chosen = [n for n in names if self.rng.random() < self.rng.choice((0.5, 0.9, 1))]
        for name in chosen:
            os.makedirs(os.path.dirname(self.full(name)), exist_ok=True)
            shutil.copyfile(before[name], self.full(name))
        return f'{len(chosen)} of {len(names)} files that changed in step {step + 1} as they were before'

    def replay_all(self):
        step = self.rng.randrange(len(self.copies))
        shutil.rmtree(self.vault)
        shutil.copytree(self.copies[step], self.vault)
        return f'everything as it was at step {step}'

    def attack(self):
        """One attack, or two at once."""
        kinds = [self.flip, self.zero, self.noise, self.cut, self.grow, self.swap_blocks, self.copy_block,
                 self.swap_files, self.copy_file, self.move_file, self.remove, self.replay_file, self.replay_block,
                 self.replay_together, self.replay_all]
        said = []
        for _ in range(1 if self.rng.random() < 0.5 else 2):
            try:
                said.append(self.rng.choice(kinds)())
            except (FileNotFoundError, IsADirectoryError) as e:
                said.append(f'nothing ({e.strerror})')
        return '; '.join(said)


# ---- the judge ----

def judge(seen, states, anchored):
    """Raises Silent unless every file is right or an error, or the whole is an earlier state."""
    newest = states[-1]
    wrong = [path for path, what in seen.items() if what is not None and what != newest.get(path)]
    gone = [path for path in newest if path not in seen and
            not any(seen.get(up, 0) is None for up in above(path))]
    if not wrong and not gone:
        return 'right' if None not in seen.values() else 'error'
    if not anchored:
        for n, state in enumerate(states):
            if all(what is None or what == state.get(path) for path, what in seen.items()) and \
                    all(path in seen or any(seen.get(up, 0) is None for up in above(path)) for path in state):
                return f'older: step {n}'
    raise Silent(f'other content: {[(w, seen[w], newest.get(w)) for w in wrong[:3]]}, gone without an error: {gone[:5]}')


def above(path):
    """The directories that a path is in."""
    found = ['.']
    while os.path.dirname(path):
        path = os.path.dirname(path)
        found.append(path)
    return found


def prepare(mount, tamperer, rng, folder):
    """The work that is watched; returns the states of the tree and of the machine's record."""
    states = []
    for step in range(STEPS):
        status, text = mount.mount()
        if status:
            raise RuntimeError(f'mount: {text}')
        work(mount, step, rng)
        states.append(mount.tree())
        if None in states[-1].values():
            raise RuntimeError('errors before any attack')
        mount.umount()
        copy = os.path.join(folder, f'copy{step}')
        shutil.copytree(mount.vault, copy)
        tamperer.watch(copy)
    return states


def restore(mount, newest, state):
    # The worker of the last mount may still be at its end.
    for _ in range(100):
        shutil.rmtree(mount.vault, ignore_errors=True)
        if not os.path.exists(mount.vault):
            break
        time.sleep(0.05)
    shutil.copytree(newest, mount.vault)
    shutil.rmtree(mount.state, ignore_errors=True)
    if state:
        shutil.copytree(state, mount.state)


def attacks(mount, tamperer, states, count, kept_state, results):
    newest = tamperer.copies[-1]
    for n in range(count):
        anchored = tamperer.rng.random() < 0.6
        restore(mount, newest, kept_state if anchored else None)
        said = tamperer.attack()
        status, text = mount.mount()
        if status:
            if not text.startswith('wardfs: ') or status in (1, 2, 12, 124) or status < 0:
                raise Silent(f'attack {n} ({said}): status {status}: {text!r}')
            results['refused'] += 1
            continue
        try:
            verdict = judge(mount.tree(), states, anchored)
        except Silent as e:
            raise Silent(f'attack {n} ({said}), {"with" if anchored else "without"} the anchor: {e}') from None
        finally:
            mount.umount()
        results[verdict.split(':')[0]] += 1


def main(args):
    parser = argparse.ArgumentParser()
    parser.add_argument('--attacks', type=int, default=5000)
    parser.add_argument('--seed', type=int)
    parser.add_argument('--keep', action='store_true')
    options = parser.parse_args(args)
    if os.geteuid() != 0:
        print('skip tamper # needs root')
        return 0
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(4), 'little')
    program = os.environ.get('WARDFS') or os.path.join(
        os.environ.get('WARDFS_TEST_BUILD', os.path.join(SOURCE, 'build-test')), 'normal/tools/wardfs')
    folder = tempfile.mkdtemp(prefix='tamper.', dir=os.environ.get('WARDFS_TEST_TMP') or '/var/tmp')
    results = collections.Counter()
    start = time.monotonic()
    mount = Mount(program, folder)
    rng = random.Random(seed)
    tamperer = Tamperer(mount.vault, rng)
    failed = 1
    try:
        states = prepare(mount, tamperer, rng, folder)
        kept = os.path.join(folder, 'kept-state')
        shutil.copytree(mount.state, kept)
        attacks(mount, tamperer, states, options.attacks, kept, results)
        failed = 0
    except Silent as e:
        print(f'not ok tamper: {e}; again with --seed {seed} --attacks {options.attacks}')
    finally:
        mount.umount()
        if not (options.keep and failed):
            shutil.rmtree(folder, ignore_errors=True)
    total = ', '.join(f'{n} {what}' for what, n in sorted(results.items()))
    if not failed:
        print(f'ok tamper ({options.attacks} attacks, seed {seed}: {total}; {time.monotonic() - start:.0f} s)')
    return failed


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
