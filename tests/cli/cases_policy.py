# SPDX-License-Identifier: Apache-2.0
"""wardfs policy: what the vault's header says about locking, and the destruction after too many failed attempts."""
import json
import os
import stat
import subprocess
import time

from cases_control import RUN
from cases_lock import Daemon, is_in, state_of
from cases_mount import both, get, put
from cases_terminal import Terminal
from harness import PASSPHRASE, VAULT_FILES, Skipped, case, check, mounted, wait_until, workers_in


def policy_of(w, v):
    return json.loads(w.ok('policy', '--json', v, stdin=None))


@case
def policy_is_kept_in_the_header(w):
    v, mnt = both(w)
    check(policy_of(w, v) == {'policy': {}, 'wipe_after': 0}, policy_of(w, v))
    check('not set' in w.ok('policy', v, stdin=None), 'text')
    w.refused(2, 'no time', 'policy', '--idle', 'soon', v)
    w.refused(2, 'lock, unmount', 'policy', '--sleep', 'burn', v)
    w.refused(3, 'wrong', 'policy', '--idle', '2s', v, stdin=b'wrong\n')
    check(policy_of(w, v)['policy'] == {}, 'set by a wrong passphrase')
    w.ok('policy', '--idle', '2s', '--max-time', '1h', '--on-max-time', 'unmount', '--session-end', 'unmount', v)
    w.ok('policy', '--signal', 'off', v)  # beside what is there
    said = {'idle_s': 2, 'max_time_s': 3600, 'on_max_time': 'unmount', 'on_session_end': 'unmount', 'on_signal': 'nothing'}
    check(policy_of(w, v) == {'policy': said, 'wipe_after': 0}, policy_of(w, v))
    with open(os.path.join(v, VAULT_FILES[0]), 'rb') as one, open(os.path.join(v, VAULT_FILES[1]), 'rb') as other:
        check(one.read() == other.read(), 'the copies differ')
    # A mount follows it, and shows it.
    done = w.run('mount', v, mnt)
    check(done.returncode == 0, done)
    now = state_of(w, mnt)['policy']
    check({k: now[k] for k in said} == said and now['on_sleep'] == 'nothing', now)
    # Before a secret, or a word of confirmation, is asked for.
    for folder in (v, mnt):
        w.refused(6, 'unmounted', 'policy', '--idle', 'off', folder, stdin=b'wrong\n')
        w.refused(6, 'unmounted', 'policy', '--wipe-after', '5', '--idle', 'off', folder, stdin=None)
    check(policy_of(w, v)['policy'] == said, 'shown while it is mounted')
    put(os.path.join(mnt, 'file'), 'here\n')
    wait_until(lambda: is_in(w, mnt, 'locked-with-mount'), 'it is locked by itself', 30)
    check(state_of(w, mnt)['reason'] == 'idle', state_of(w, mnt))
    w.ok('unlock', mnt)
    wait_until(lambda: is_in(w, mnt, 'locked-with-mount'), 'it is locked again', 30)
    w.ok('umount', mnt)


@case
def a_time_that_does_nothing_hides_no_other(w):
    """Both at once: the first one has passed before the second is over."""
    daemon = Daemon(w)
    places = {}
    for silent, acts in (('max_time', 'idle'), ('idle', 'max_time')):
        v, places[acts] = w.vault(acts), w.mountpoint('mnt-' + acts)
        w.ok('mount', '-o', f'{silent}=1s,on_{silent}=off,{acts}=3s', v, places[acts])
    time.sleep(1.5)
    for acts, mnt in places.items():
        wait_until(lambda: is_in(w, mnt, 'locked-with-mount'), 'it is locked by ' + acts)
        check(state_of(w, mnt)['reason'] == acts, state_of(w, mnt))
        w.ok('umount', mnt)
    daemon.end()


@case
def a_mount_overrides_the_policy(w):
    v, mnt = both(w)
    w.ok('policy', '--idle', '1s', '--max-time', '2s', '--on-max-time', 'unmount', v)
    w.ok('mount', '-o', 'idle=off,max_time=off', v, mnt)
    time.sleep(3)
    check(is_in(w, mnt, 'open') and 'next_lock_s' not in state_of(w, mnt), state_of(w, mnt))
    w.ok('umount', mnt)
    w.ok('mount', '-o', 'idle=1h', v, mnt)
    wait_until(lambda: mounted(mnt) is None and not workers_in(w.folder), 'it is unmounted as the header says', 30)
    # Setting other things, and a new passphrase, keep it.
    w.ok('passwd', *('--kdf-memory', '8', '--kdf-passes', '1'), v, stdin=b'correct horse\nnew horse\nnew horse\n')
    check(policy_of(w, v)['policy']['idle_s'] == 1, policy_of(w, v))
    w.ok('policy', '--idle', 'off', '--max-time', 'default', '--on-max-time', 'default', v, stdin=b'new horse\n')
    check(policy_of(w, v) == {'policy': {}, 'wipe_after': 0}, policy_of(w, v))


def wrong(w, *args):
    """One failed attempt; what was said about it."""
    done = w.run(*args, stdin=b'wrong\n')
    check(done.returncode == 3, done)
    return done.stderr.decode()


def is_destroyed(v):
    return not any(os.path.exists(os.path.join(v, name)) for name in VAULT_FILES)


@case
def too_many_attempts_destroy_the_keys(w):
    """Off unless asked for; by mounting and unlocking, across brokers; a success in between begins anew."""
    v, mnt = both(w)
    for bad in ('2', '1001', '-3', 'many', ''):
        w.refused(2, 'wipe-after', 'policy', '--yes-wipe', '--wipe-after', bad, v)
    w.ok('policy', '--wipe-after', '4', '--yes-wipe', v)
    check(policy_of(w, v)['wipe_after'] == 4 and '4 failed attempts' in w.ok('policy', v), policy_of(w, v))
    for _ in range(3):
        check('destroyed' not in wrong(w, 'mount', v, mnt), 'too early')
    w.ok('mount', v, mnt)  # waits a second
    put(os.path.join(mnt, 'file'), 'here\n')
    w.ok('lock', mnt)
    for _ in range(2):
        wrong(w, 'unlock', mnt)
    w.ok('unlock', mnt)
    w.ok('umount', mnt)
    w.ok('header', 'backup', w.path('backup'), v)
    wrong(w, 'mount', v, mnt)
    w.ok('mount', v, mnt, '--ro')
    w.ok('lock', mnt)
    for _ in range(3):
        wrong(w, 'unlock', mnt)
    check(not is_destroyed(v), 'too early')
    check('destroyed' in wrong(w, 'unlock', mnt), 'not said')
    check(is_destroyed(v), 'the keys are still there')
    done = w.run('unlock', mnt)
    check(done.returncode != 0 and is_in(w, mnt, 'locked-with-mount'), done)
    w.ok('umount', mnt)
    done = w.run('mount', v, mnt)
    check(done.returncode != 0 and mounted(mnt) is None, done)
    # As the manual says: a header backup opens it again.
    w.ok('header', 'restore', w.path('backup'), v)
    w.ok('mount', v, mnt)
    check(get(os.path.join(mnt, 'file')) == 'here\n', 'content')
    w.ok('umount', mnt)


@case
def attempts_are_counted_where_no_state_folder_is_yet(w):
    """Read-only, nobody else makes it."""
    if os.path.exists(os.path.join(RUN, 'control')):
        raise Skipped('there is a wardfsd, which has a state folder')
    v, mnt = both(w)
    w.ok('policy', '--wipe-after', '3', '--yes-wipe', v)
    fresh = dict(w.env(), XDG_STATE_HOME=w.path('new', 'state'))
    for _ in range(3):
        done = w.run('mount', '--ro', v, mnt, stdin=b'wrong\n', env=fresh)
        check(done.returncode == 3, done)
    check(b'destroyed' in done.stderr, done)
    check(stat.S_IMODE(os.stat(w.path('new')).st_mode) == 0o700, 'the mode of what was made')
    check(w.run('mount', '--ro', v, mnt, env=fresh).returncode != 0, 'the keys are still there')


@case
def attempts_destroy_nothing_unless_asked_for(w):
    v, mnt = both(w)
    for _ in range(4):
        wrong(w, 'mount', v, mnt)
    check(not is_destroyed(v), 'destroyed')
    # What was counted before counts for nothing.
    w.ok('policy', '--wipe-after', '3', '--yes-wipe', v)
    wrong(w, 'mount', v, mnt)
    wrong(w, 'mount', v, mnt)
    check(not is_destroyed(v), 'too early')
    w.ok('policy', '--wipe-after', 'off', v)
    for _ in range(3):
        wrong(w, 'mount', v, mnt)
    check(not is_destroyed(v), 'destroyed although it is off')
    w.ok('mount', v, mnt)
    w.ok('umount', mnt)


@case
def destruction_is_confirmed_in_words(w):
    v = w.vault()
    done = w.run('policy', '--wipe-after', '10', v)
    check(done.returncode == 2 and b'--yes-wipe' in done.stderr and b'nothing was changed' in done.stderr, done)
    check(policy_of(w, v)['wipe_after'] == 0, 'set without an answer')
    for words, wipe_after in ((b'yes\n', 0), (b'destroy after 10\n', 10)):
        t = Terminal(w, 'policy', '--wipe-after', '10', v)
        t.expect(b'somebody who has a copy')
        t.expect(b"Type 'destroy after 10' to go on:")
        os.write(t.master, words)
        if wipe_after:
            t.expect(b': ')
            os.write(t.master, PASSPHRASE + b'\n')
        check(t.end() == (0 if wipe_after else 2), t.text)
        check(policy_of(w, v)['wipe_after'] == wipe_after, policy_of(w, v))


@case
def waiting_attempts_block_nobody(w):
    """As many as may wait do, one more is refused, another vault is unlocked meanwhile, and who gives up makes room."""
    daemon = Daemon(w, env=w.env())
    mounts = []
    for name in ('first', 'second'):
        mounts.append(w.mountpoint('mnt-' + name))
        w.ok('mount', w.vault(name), mounts[-1])
        w.ok('lock', mounts[-1])
    wrong(w, 'unlock', mounts[0])
    records = [os.path.join(root, name) for root, _, names in os.walk(w.env()['XDG_STATE_HOME']) for name in names
               if name.startswith('attempts-')]
    check(len(records) == 1, records)
    # Thirteen failures, just now: ten minutes.
    put(records[0], f'13 {int(time.time() * 1000)}\n')
    waiting = [w.start('unlock', mounts[0], stdin=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(17)]
    wait_until(lambda: [p for p in waiting if p.poll() is not None], 'one is refused')
    refused = [p for p in waiting if p.poll() is not None]
    check(len(refused) == 1 and b'too many' in refused[0].stderr.read(), refused)
    w.ok('unlock', mounts[1])
    check(is_in(w, mounts[1], 'open') and is_in(w, mounts[0], 'locked-with-mount'), 'states')
    check(len([p for p in waiting if p.poll() is None]) == 16, 'the others wait')
    for process in waiting:
        process.kill()
    os.unlink(records[0])
    wait_until(lambda: w.run('unlock', mounts[0]).returncode == 0, 'there is room again')
    for mnt in mounts:
        w.ok('umount', mnt)
    daemon.end()
