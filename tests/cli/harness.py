# SPDX-License-Identifier: Apache-2.0
"""What the cases share: a work folder each, running wardfs, expecting one-line errors, cleaning up."""
import fnmatch
import hashlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import traceback

SOURCE = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..'))
USER = 65534
PASSPHRASE = b'correct horse'
CHEAP = ['--kdf-memory', '8', '--kdf-passes', '1', '--journal', '8']
VAULT_FILES = ('wardfs.vault', 'wardfs.vault.2')
LIMIT_S = 60

_cases = []


class Failed(Exception):
    pass


class Skipped(Exception):
    pass


def case(function):
    """Registers a case; it is called with a Work."""
    _cases.append(function)
    return function


def check(condition, message):
    if not condition:
        raise Failed(message)


def needs_mounted_root():
    """unshare(1) and fusermount3 -u refuse where / is not a mount point, as in a plain chroot."""
    with open('/proc/self/mountinfo', encoding='ascii', errors='surrogateescape') as mounts:
        if not any(line.split()[4] == '/' for line in mounts):
            raise Skipped('/ is not a mount point here (a plain chroot), which unshare and fusermount3 need')


def wait_until(condition, what, limit_s=20):
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise Failed('waited in vain until ' + what)
        time.sleep(0.02)


class Work:
    """One case's folder and what it started there."""

    def __init__(self, folder, program):
        self.folder = folder
        self.program = program
        self.processes = []
        self.states = []  # of users, beside the folder

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def env(self, user=None):
        """The environment of a run: what this machine knows of vaults goes away with the case."""
        state = f'{self.folder}.state-{user or 0}'
        if not os.path.isdir(state):
            os.mkdir(state, 0o700)
            os.chown(state, user or 0, user or 0)
            self.states.append(state)
        return dict(os.environ, XDG_STATE_HOME=state)

    def run(self, *args, stdin=PASSPHRASE + b'\n', user=None, **more):
        """Runs wardfs to its end; stdin None is /dev/null."""
        feed = {'stdin': subprocess.DEVNULL} if stdin is None else {'input': stdin}
        more.setdefault('env', self.env(user))
        if user is not None:
            more.update(user=user, group=user, extra_groups=[])
        more.setdefault('cwd', self.folder)
        return subprocess.run([self.program, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=LIMIT_S, check=False, **feed, **more)

    def ok(self, *args, **more):
        """Must succeed; returns what was printed."""
        done = self.run(*args, **more)
        check(done.returncode == 0, f'{args}: status {done.returncode}: {done.stderr!r}')
        return done.stdout.decode()

    def refused(self, status, words, *args, **more):
        """Must fail with this status and one line on standard error that has these words."""
        done = self.run(*args, **more)
        text = done.stderr.decode()
        check(done.returncode == status,
              f'{args}: status {done.returncode} instead of {status}: {text!r}')
        check(text.count('\n') == 1 and text.endswith('\n'), f'{args}: not one line: {text!r}')
        check(text.startswith('wardfs'), f'{args}: {text!r}')
        for word in [words] if isinstance(words, str) else words:
            check(word in text, f'{args}: no {word!r} in {text!r}')
        check(done.stdout == b'', f'{args}: printed {done.stdout!r}')
        return text

    def start(self, *args, user=None, **more):
        """Starts wardfs and does not wait."""
        more.setdefault('env', self.env(user))
        if user is not None:
            more.update(user=user, group=user, extra_groups=[])
        more.setdefault('cwd', self.folder)
        process = subprocess.Popen([self.program, *args], **more)
        self.processes.append(process)
        return process

    def vault(self, name='vault', user=None, passphrase=PASSPHRASE):
        path = self.path(name)
        self.ok('init', *CHEAP, path, stdin=passphrase + b'\n', user=user)
        return path

    def mountpoint(self, name='mnt', user=None):
        path = self.path(name)
        os.mkdir(path, 0o755)
        if user is not None:
            os.chown(path, user, user)
        return path

    def own(self, user):
        """The case's folder belongs to this user."""
        os.chown(self.folder, user, user)

    def close(self):
        for entry in mounts():
            if entry['path'].startswith(self.folder + '/'):
                subprocess.run(['umount', '-l', entry['path']], stderr=subprocess.DEVNULL, check=False)
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        wait_until(lambda: not workers_in(self.folder), 'the workers of the case have ended')
        # What a case that failed has left closed.
        subprocess.run(['chattr', '-R', '-f', '-i', self.folder], stderr=subprocess.DEVNULL, check=False)
        for folder in (self.folder, *self.states):
            shutil.rmtree(folder)


def mounts():
    found = []
    with open('/proc/self/mountinfo', encoding='utf-8', errors='surrogateescape') as lines:
        for line in lines:
            left, right = line.split(' - ', 1)
            fields, rest = left.split(), right.split()
            found.append({'device': fields[2], 'path': fields[4], 'options': fields[5].split(','),
                          'type': rest[0], 'source': rest[1], 'super': rest[2].split(',')})
    return found


def mounted(path):
    """The mount at a path, or None."""
    hits = [m for m in mounts() if m['path'] == path]
    return hits[-1] if hits else None


def workers_in(folder):
    """Processes of wardfs whose arguments name something in this folder."""
    found = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/cmdline', 'rb') as f:
                words = f.read().split(b'\0')
        except OSError:
            continue
        if words[0].endswith((b'/wardfs', b'/wardfsd')) and any(w.startswith(folder.encode()) for w in words[1:]):
            with open(f'/proc/{pid}/stat', encoding='utf-8', errors='replace') as f:
                if f.read().rsplit(')', 1)[1].split()[0] == 'Z':
                    continue
            found.append(int(pid))
    return found


def snapshot(folder):
    """Names, sizes and contents of all that is in a folder."""
    lines = []
    for root, _, files in sorted(os.walk(folder)):
        lines.append(root)
        for name in sorted(files):
            path = os.path.join(root, name)
            info = os.lstat(path)
            if stat.S_ISREG(info.st_mode) and info.st_size <= 64 << 20:
                with open(path, 'rb') as f:
                    lines.append(f'{path} {hashlib.sha256(f.read()).hexdigest()}')
            else:
                lines.append(f'{path} {info.st_mode} {info.st_size}')
    return lines


def run_case(function, program, tmp, through_daemon):
    folder = os.path.join(tmp, function.__name__)
    os.mkdir(folder, 0o755)
    work = Work(folder, program)
    daemon = None
    try:
        if through_daemon:
            daemon = start_daemon(os.environ['WARDFSD'], work.env())
        function(work)
        if daemon:
            end_daemon(daemon)
    finally:
        if daemon:
            daemon.kill()
            daemon.wait()
        work.close()


def open_device():
    """An ordinary user may open /dev/fuse where udev runs; returns what undoes the change."""
    mode = stat.S_IMODE(os.stat('/dev/fuse').st_mode)
    os.chmod('/dev/fuse', mode | 0o666)
    return lambda: os.chmod('/dev/fuse', mode)


def run_all(selected, program, tmp, through_daemon):
    passed = failed = 0
    for function in selected:
        name = function.__name__.replace('_', '-')
        try:
            run_case(function, program, tmp, through_daemon)
            print(f'ok {name}', flush=True)
            passed += 1
        except Skipped as reason:
            print(f'skip {name} # {reason}', flush=True)
        except Failed as reason:
            print(f'not ok {name} {reason}', flush=True)
            failed += 1
        except Exception as error:  # a case that breaks has failed; the others still run
            traceback.print_exc()
            print(f'not ok {name} {type(error).__name__}: {error}', flush=True)
            failed += 1
    print(f'{passed} passed, {failed} failed')
    return 1 if failed else 0


def names():
    """Of all cases, as patterns for main."""
    return [c.__name__.replace('_', '-') for c in _cases]


def answers(path):
    """Somebody listens there; the name alone may be left of one that was killed."""
    with socket.socket(socket.AF_UNIX) as s:
        return s.connect_ex(path) == 0


def start_daemon(program, env):
    """Every mount of root goes through this wardfsd until it ends."""
    process = subprocess.Popen([program], env=env)
    wait_until(lambda: answers('/run/wardfs/control') or process.poll() is not None, 'wardfsd answers')
    check(process.poll() is None, 'wardfsd has ended')
    return process


def end_daemon(process):
    """It was there all the time, and ends well."""
    early = process.poll()
    if early is None:
        process.terminate()
    status = process.wait(LIMIT_S)
    check(early is None and status == 0, f'wardfsd ended {"by itself " if early is not None else ""}with {status}')


def main(arguments):
    patterns = [a for a in arguments if a != '--daemon']
    if os.geteuid() != 0:
        print('skip cli # these cases need root')
        print('0 passed, 0 failed')
        return 0
    program = os.environ.get('WARDFS') or os.path.join(
        os.environ.get('WARDFS_TEST_BUILD', os.path.join(SOURCE, 'build-test')), 'normal/tools/wardfs')
    selected = [c for c in _cases if not patterns or any(
        fnmatch.fnmatch(c.__name__.replace('_', '-'), p) for p in patterns)]
    # Not in WARDFS_TEST_TMP itself, which an ordinary user need not be able to enter.
    parent = os.path.dirname(os.environ.get('WARDFS_TEST_TMP', '/var/tmp/x').rstrip('/'))
    tmp = tempfile.mkdtemp(prefix='wardfs-cli.', dir=parent)
    os.chmod(tmp, 0o755)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for name in ('XDG_RUNTIME_DIR', 'CREDENTIALS_DIRECTORY'):
        os.environ.pop(name, None)
    undo = open_device()
    try:
        copy = os.path.join(tmp, 'wardfs')
        shutil.copy(program, copy)
        os.environ['WARDFSD'] = os.path.join(os.path.dirname(program), 'wardfsd')
        return run_all(selected, copy, tmp, '--daemon' in arguments)
    finally:
        undo()
        shutil.rmtree(tmp, ignore_errors=True)
