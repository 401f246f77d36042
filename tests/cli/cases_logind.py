# SPDX-License-Identifier: Apache-2.0
"""Sleep, screen lock and the end of a session, as logind tells of them.

Against a stand-in for logind on a bus of its own, not against the machine's: a test machine has no logind, or must not be sent to
sleep. The stand-in is tests/cli/fake_logind.c: Debian's sd-bus, like wardfs itself, with a dbus-daemon between them; it sends
what logind sends, and gives out inhibitors that end as logind's do, when every copy of the descriptor is closed.
DBUS_SYSTEM_BUS_ADDRESS brings the two together."""
import errno
import os
import queue
import shutil
import signal
import subprocess
import threading
import time

from cases_control import RUN
from cases_lock import Daemon, fails_with, is_in, state_of
from cases_mount import both, get, put
from harness import Failed, Skipped, case, check, mounted, wait_until, workers_in

FAKE = 'fake_logind'
UID = '0'
CONFIG = '''<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>
</busconfig>
'''


class Logind:
    """The stand-in and its bus."""

    def __init__(self, w, own_broker=True):
        program = os.path.join(os.path.dirname(os.environ['WARDFSD']), '..', 'tests', 'cli', FAKE)
        if not os.path.exists(program):
            raise Skipped('built without libsystemd')
        if not shutil.which('dbus-daemon'):
            raise Skipped('no dbus-daemon')
        if own_broker and os.path.exists(os.path.join(RUN, 'control')):
            raise Skipped('there is a wardfsd, which listens elsewhere')
        put(w.path('bus.conf'), CONFIG.format(w.path('bus')))
        self.bus = subprocess.Popen(['dbus-daemon', '--nofork', '--config-file', w.path('bus.conf')], stderr=subprocess.DEVNULL)
        w.processes.append(self.bus)
        wait_until(lambda: os.path.exists(w.path('bus')), 'the bus is there')
        self.env = dict(w.env(), DBUS_SYSTEM_BUS_ADDRESS='unix:path=' + w.path('bus'))
        self.work, self.program = w, program
        self.start()

    def start(self):
        self.process = process = subprocess.Popen([self.program], env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                                  text=True, bufsize=1)
        self.work.processes.append(process)
        self.lines = lines = queue.Queue()
        threading.Thread(target=lambda: [lines.put(line.strip()) for line in process.stdout], daemon=True).start()
        self.expect('ready')

    def crash(self):
        """Another one comes, which knows of nothing."""
        self.process.kill()
        self.process.wait()
        self.start()

    def tell(self, line):
        self.process.stdin.write(line + '\n')

    def next(self, limit_s=20):
        try:
            return self.lines.get(timeout=limit_s)
        except queue.Empty:
            raise Failed('logind was not told anything') from None

    def expect(self, line, limit_s=20):
        got = self.next(limit_s)
        check(got == line, f'{got!r} instead of {line!r}')

    def silent(self):
        check(self.lines.empty(), f'logind heard {list(self.lines.queue)}')


class Load:
    """Writes until it is refused."""

    def __init__(self, path):
        self.error = None
        self.thread = threading.Thread(target=self.work, args=(path,), daemon=True)
        self.thread.start()

    def work(self, path):
        try:
            with open(path, 'wb', buffering=0) as f:
                while True:
                    for n in range(32):
                        f.write(bytes([n]) * (1 << 16))
                    f.seek(0)
        except OSError as error:
            self.error = error.errno

    def ended(self, limit_s):
        self.thread.join(limit_s)
        return not self.thread.is_alive()


def delaying(w, mnt):
    """Its broker has found logind: nothing is without effect."""
    found = state_of(w, mnt)
    return found is not None and found['without_effect'] == []


@case
def sleep_waits_until_the_keys_are_gone(w):
    logind = Logind(w)
    v, mnt = both(w)
    w.ok('mount', '-o', 'on_sleep=lock', v, mnt, env=logind.env)
    logind.expect('inhibit sleep delay')
    kept = os.open(os.path.join(mnt, 'kept'), os.O_RDWR | os.O_CREAT)
    for turn in range(3):
        os.pwrite(kept, b'turn %d' % turn, 0)
        load = Load(os.path.join(mnt, 'load'))
        logind.tell(f'watch {state_of(w, mnt)["pid"]}')
        logind.silent()  # it is held
        logind.tell('sleep')
        logind.expect('released gone')
        logind.expect('asleep 0')
        check(is_in(w, mnt, 'locked-with-mount'), state_of(w, mnt))
        check(state_of(w, mnt)['reason'] == 'sleep', state_of(w, mnt))
        check(load.ended(20), 'a writer still waits when the machine sleeps')
        fails_with(errno.EKEYREVOKED, os.pread, kept, 10, 0)
        logind.silent()  # not taken again before the machine is awake
        logind.tell('wake')
        logind.expect('inhibit sleep delay')
        w.ok('unlock', mnt)
        check(os.pread(kept, 10, 0) == b'turn %d' % turn, 'content')
    os.close(kept)
    w.ok('umount', mnt)
    logind.expect('released gone')


@case
def a_sleep_can_unmount_or_do_nothing(w):
    """Through one broker, which keeps the inhibitor as long as one vault needs it."""
    logind = Logind(w)
    daemon = Daemon(w, env=logind.env)
    vaults = {}
    for action in ('off', 'unmount', 'lock'):
        vaults[action] = (w.vault(action), w.mountpoint('mnt-' + action))
        w.ok('mount', '-o', f'on_sleep={action}', *vaults[action])
        put(os.path.join(vaults[action][1], 'file'), action)
        if action == 'off':
            check(state_of(w, vaults[action][1])['policy']['on_sleep'] == 'nothing', 'policy')
            logind.silent()
    logind.expect('inhibit sleep delay')
    held = open(os.path.join(vaults['unmount'][1], 'file'), encoding='ascii')
    logind.tell(f'watch {state_of(w, vaults["unmount"][1])["pid"]}')
    logind.tell('sleep')
    logind.expect('released gone')
    logind.expect('asleep 0')
    check(mounted(vaults['unmount'][1]) is None, 'still mounted')
    check(is_in(w, vaults['lock'][1], 'locked-with-mount') and is_in(w, vaults['off'][1], 'open'), 'states')
    held.close()
    logind.tell('wake')
    logind.expect('inhibit sleep delay')
    w.ok('umount', vaults['lock'][1])
    logind.expect('released gone')
    check(get(os.path.join(vaults['off'][1], 'file')) == 'off', 'content')
    w.ok('mount', *vaults['unmount'])
    check(get(os.path.join(vaults['unmount'][1], 'file')) == 'unmount', 'content')
    w.ok('umount', vaults['unmount'][1])
    w.ok('umount', vaults['off'][1])
    daemon.end()


@case
def a_hung_worker_does_not_prevent_sleep(w):
    """Stopped, it stands for one whose host does not answer: it is killed in time, its mount is dead."""
    logind = Logind(w)
    logind.tell('delay 2000')
    v, mnt = both(w)
    w.ok('mount', '-o', 'on_sleep=lock', v, mnt, env=logind.env)
    logind.expect('inhibit sleep delay')
    with open(os.path.join(mnt, 'file'), 'w', encoding='ascii') as f:
        f.write('before')
        f.flush()
        os.fsync(f.fileno())
    pid = state_of(w, mnt)['pid']
    os.kill(pid, signal.SIGSTOP)
    blocked = threading.Thread(target=lambda: os.path.exists(os.path.join(mnt, 'other')), daemon=True)
    blocked.start()
    logind.tell(f'watch {pid}')
    logind.tell('sleep')
    logind.expect('released gone')
    logind.expect('asleep 0')
    blocked.join(20)
    check(not blocked.is_alive(), 'a request still waits when the machine sleeps')
    check(is_in(w, mnt, 'failed') and 'sleep' in state_of(w, mnt)['reason'], state_of(w, mnt))
    logind.tell('wake')
    w.ok('umount', mnt)
    w.ok('mount', v, mnt)
    check(get(os.path.join(mnt, 'file')) == 'before', 'content')
    w.ok('umount', mnt)


@case
def an_unlocking_does_not_outlast_the_sleep(w):
    """The passphrase is being asked for, or just taken: afterwards the vault is locked."""
    logind = Logind(w)
    v, mnt = both(w)
    w.ok('mount', '-o', 'on_sleep=lock', v, mnt, env=logind.env)
    logind.expect('inhibit sleep delay')
    w.ok('lock', mnt)
    process = w.start('unlock', mnt, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: is_in(w, mnt, 'unlocking'), 'it is being unlocked')
    logind.tell('sleep')
    logind.expect('released gone')
    logind.expect('asleep 0')
    process.communicate(b'correct horse\n', 20)
    check(process.returncode != 0, 'unlocked before the sleep')
    check(is_in(w, mnt, 'locked-with-mount'), state_of(w, mnt))
    logind.tell('wake')
    logind.expect('inhibit sleep delay')
    w.ok('unlock', mnt)
    w.ok('umount', mnt)


@case
def an_unlocking_between_sleep_and_wake_is_refused(w):
    """By a script that runs before logind tells of the waking: its mount must not be killed as one that could not be locked."""
    logind = Logind(w)
    logind.tell('delay 500')
    daemon = Daemon(w, env=logind.env)
    v, mnt = both(w)
    other, place = w.vault('other'), w.mountpoint('place')
    w.ok('policy', '--sleep', 'lock', other)
    w.ok('mount', '-o', 'on_sleep=lock', v, mnt)
    logind.expect('inhibit sleep delay')
    put(os.path.join(mnt, 'file'), 'kept')
    held = os.open(os.path.join(mnt, 'file'), os.O_RDONLY)
    logind.tell('sleep')
    logind.expect('released gone')
    logind.expect('asleep 0')
    time.sleep(1)  # past the time that logind gives, which nothing can be asked for
    for _ in range(2):
        w.refused(6, 'going to sleep', 'unlock', mnt)
        wait_until(lambda: is_in(w, mnt, 'locked-with-mount'), 'it is locked again')
    # What only the header says is known when it is opened; what the command says, before.
    w.refused(6, 'going to sleep', 'mount', other, place)
    w.refused(6, 'going to sleep', 'mount', '-o', 'on_sleep=unmount', other, place)
    check(mounted(place) is None, 'mounted in the sleep')
    w.ok('mount', '-o', 'on_sleep=off', other, place)  # as its user wants
    logind.tell('wake')
    logind.expect('inhibit sleep delay')
    w.ok('unlock', mnt)
    check(os.pread(held, 10, 0) == b'kept', 'content')
    os.close(held)
    for folder in (mnt, place):
        w.ok('umount', folder)
    daemon.end()


@case
def a_logind_that_crashes_in_the_sleep_leaves_nothing_locked(w):
    logind = Logind(w)
    v, mnt = both(w)
    w.ok('mount', '-o', 'on_sleep=lock', v, mnt, env=logind.env)
    logind.expect('inhibit sleep delay')
    logind.tell('sleep')
    logind.expect('released gone')
    logind.expect('asleep 0')
    logind.crash()
    logind.expect('inhibit sleep delay')
    w.ok('unlock', mnt)
    w.ok('umount', mnt)


@case
def screen_lock_locks(w):
    logind = Logind(w)
    logind.tell(f'session ours {UID} user')
    logind.tell('session theirs 12345 user')
    v, mnt = both(w)
    w.ok('mount', '-o', 'on_screen_lock=lock', v, mnt, env=logind.env)
    wait_until(lambda: delaying(w, mnt), 'logind is found')
    logind.silent()  # no inhibitor for this
    for event in ('lock ours', 'hint ours'):
        logind.tell(event.replace('ours', 'theirs'))
        logind.tell('session later_' + event.split()[0] + f' {UID} user')
        time.sleep(0.3)
        check(is_in(w, mnt, 'open'), 'the screen of another user')
        logind.tell(event)
        wait_until(lambda: is_in(w, mnt, 'locked-with-mount'), 'it is locked by ' + event)
        check(state_of(w, mnt)['reason'] == 'screen_lock', state_of(w, mnt))
        w.ok('unlock', mnt)
    logind.tell('lock later_lock')
    wait_until(lambda: is_in(w, mnt, 'locked-with-mount'), 'it is locked through a session that is new')
    w.ok('umount', mnt)


@case
def session_end_unmounts(w):
    logind = Logind(w)
    for line in (f'session first {UID} user', f'session second {UID} user', f'session manager {UID} manager',
                 'session theirs 12345 user'):
        logind.tell(line)
    v, mnt = both(w)
    w.ok('mount', '-o', 'on_session_end=unmount', v, mnt, env=logind.env)
    wait_until(lambda: delaying(w, mnt), 'logind is found')
    logind.tell('remove first')
    logind.tell('remove theirs')
    time.sleep(0.3)
    check(is_in(w, mnt, 'open'), 'the user has another session')
    logind.tell('remove second')
    wait_until(lambda: mounted(mnt) is None and not workers_in(w.folder), 'it is unmounted and closed')
    # What is closing has ended, although processes of it go on: ours may be one.
    for name in ('third', 'fourth'):
        logind.tell(f'session {name} {UID} user')
    w.ok('mount', '-o', 'on_session_end=lock', v, mnt, env=logind.env)
    wait_until(lambda: delaying(w, mnt), 'logind is found')
    logind.tell('state third closing')
    logind.tell('remove fourth')
    wait_until(lambda: is_in(w, mnt, 'locked-with-mount'), 'it is locked')
    w.ok('umount', mnt)


@case
def absence_is_said(w):
    if os.path.exists(os.path.join(RUN, 'control')):
        raise Skipped('there is a wardfsd, which may know a logind')
    v, mnt = both(w)
    nowhere = dict(w.env(), DBUS_SYSTEM_BUS_ADDRESS='unix:path=' + w.path('nowhere'))
    done = w.run('mount', '-o', 'on_sleep=lock,on_session_end=unmount', v, mnt, env=nowhere)
    check(done.returncode == 0 and done.stderr.count(b'\n') == 1, done)
    check(b'logind' in done.stderr and b'sleep, session_end' in done.stderr, done)
    check(state_of(w, mnt)['without_effect'] == ['sleep', 'session_end'], state_of(w, mnt))
    check('without effect: sleep, session_end' in w.ok('status'), w.ok('status'))
    w.ok('umount', mnt)
    done = w.run('mount', v, mnt, env=nowhere)
    check(done.returncode == 0 and b'logind' not in done.stderr, done)
    check(state_of(w, mnt)['without_effect'] == [], state_of(w, mnt))
    w.ok('umount', mnt)


@case
def a_refused_inhibitor_is_said(w):
    """logind tells of sleep, but does not wait."""
    logind = Logind(w)
    logind.tell('refuse')
    v, mnt = both(w)
    w.ok('mount', '-o', 'on_sleep=lock,on_screen_lock=lock', v, mnt, env=logind.env)
    logind.expect('refused')
    wait_until(lambda: state_of(w, mnt)['without_effect'] == ['sleep'], 'it is told')
    logind.tell('sleep')
    logind.expect('asleep 0')
    wait_until(lambda: is_in(w, mnt, 'locked-with-mount'), 'it is locked all the same')
    w.ok('umount', mnt)
