# SPDX-License-Identifier: Apache-2.0
"""Keyslots that need hardware: a TPM (swtpm) with PIN, a FIDO2 token (a fake one, in a program of its own)."""
import os
import shutil
import subprocess

import harness
from cases_key import KDF, mounts, opens, passfile, slots, write
from harness import Skipped, case, check, snapshot, wait_until

FAKE = 'wardfs_fake_token'


class Tpm:
    """A software TPM with a state of its own."""

    def __init__(self, w, name='tpm'):
        self.w, self.folder, self.process = w, w.path(name), None
        os.mkdir(self.folder)
        self.socket = os.path.join(self.folder, 's')
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ['swtpm', 'socket', '--tpm2', '--tpmstate', f'dir={self.folder}', '--server',
             f'type=unixio,path={self.socket}', '--ctrl', f'type=unixio,path={self.socket}.ctrl', '--flags',
             'not-need-init,startup-clear'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.w.processes.append(self.process)
        wait_until(lambda: os.path.exists(self.socket) and os.path.exists(self.socket + '.ctrl'), 'swtpm is there')

    def stop(self):
        self.process.terminate()
        self.process.wait()
        for path in (self.socket, self.socket + '.ctrl'):
            if os.path.exists(path):
                os.unlink(path)

    def at(self, new=''):
        return [f'--{new}tpm2-device', f'swtpm:path={self.socket}']


def tpm(w, name='tpm'):
    if not shutil.which('swtpm'):
        raise Skipped('swtpm is missing')
    made = w.run('key', 'add', '--passfile', passfile(w), '--new-tpm2', '--new-pinfile', pin(w), w.vault('probe'),
                 stdin=None)
    if made.returncode == 13:
        raise Skipped('built without tpm2-tss')
    return Tpm(w, name)


def pin(w, digits=b'1234', name='pin'):
    return write(w.path(name), digits + b'\n')


@case
def tpm2_opens_with_its_pin(w):
    chip = tpm(w)
    v, p = w.vault(), passfile(w)
    right, wrong = pin(w), pin(w, b'0000', 'wrong')
    w.ok('key', 'add', '--passfile', p, '--new-tpm2', *chip.at('new-'), '--new-pinfile', right, v, stdin=None)
    with_tpm = ['--tpm2', *chip.at(), '--pinfile']
    check(slots(w, v)[1]['kind'] == 'tpm2', slots(w, v))
    check(opens(w, v, *with_tpm, right, stdin=None) == 1, 'does not open')
    check(opens(w, v, '--tpm2', *chip.at(), stdin=b'1234\n') == 1, 'PIN from standard input')
    mounts(w, v, *with_tpm, right)
    # The machine is switched off and on again.
    chip.stop()
    w.refused(21, ['no TPM', '--tpm2-device'], 'key', 'test', *with_tpm, right, v, stdin=None)
    w.refused(21, 'no TPM', 'mount', *with_tpm, right, v, w.path('mnt'), stdin=None)
    chip.start()
    check(opens(w, v, *with_tpm, right, stdin=None) == 1, 'does not open after a restart')
    w.refused(3, ['wrong PIN', 'more before it locks'], 'key', 'test', *with_tpm, wrong, v, stdin=None)
    # Only this chip: another one has other seeds.
    other = Tpm(w, 'other')
    w.refused(21, 'another TPM', 'key', 'test', '--tpm2', *other.at(), '--pinfile', right, v, stdin=None)
    # Without a passphrase the vault asks for the PIN by itself.
    w.ok('key', 'remove', *with_tpm, right, v, '0', stdin=None)
    check(opens(w, v, *chip.at(), stdin=b'1234\n') == 1, 'does not ask for the PIN')


@case
def tpm2_locks_after_wrong_pins(w):
    chip = tpm(w)
    v, p = w.vault(), passfile(w)
    w.ok('key', 'add', '--passfile', p, '--new-tpm2', *chip.at('new-'), '--new-pinfile', pin(w), v, stdin=None)
    before = snapshot(v)
    for _ in range(40):
        done = w.run('key', 'test', '--tpm2', *chip.at(), '--pinfile', pin(w, b'0000', 'wrong'), v, stdin=None)
        if done.returncode != 3:
            break
    check(done.returncode == 22, repr(done))
    w.refused(22, ['locked', ' min '], 'key', 'test', '--tpm2', *chip.at(), '--pinfile', pin(w), v, stdin=None)
    w.refused(22, 'locked', 'mount', '--tpm2', *chip.at(), '--pinfile', pin(w), v, w.mountpoint(), stdin=None)
    check(opens(w, v, '--passfile', p, stdin=None) == 0, 'other secrets still open the vault')
    check(snapshot(v) == before, 'something changed')


@case
def tpm2_together_with_another_secret(w):
    chip = tpm(w)
    v, p = w.vault(), passfile(w)
    key = write(w.path('key'), os.urandom(64))
    fresh = ['--new-tpm2', *chip.at('new-'), '--new-pinfile', pin(w)]
    w.ok('key', 'add', '--passfile', p, *fresh, *KDF, '--new-extpass', 'echo other horse', v, stdin=None)
    w.ok('key', 'add', '--passfile', p, *fresh, '--new-keyfile', key, v, stdin=None)
    with_tpm = ['--tpm2', *chip.at(), '--pinfile', pin(w)]
    check(opens(w, v, *with_tpm, '--extpass', 'echo other horse', stdin=None) == 1, 'passphrase and TPM')
    check(opens(w, v, *with_tpm, '--keyfile', key, stdin=None) == 2, 'key file and TPM')
    check(opens(w, v, *with_tpm, stdin=b'other horse\n') == 1, 'asks for the other half')
    w.refused(3, 'wrong', 'key', 'test', *with_tpm, '--extpass', 'echo another', v, stdin=None)
    w.refused(3, 'wrong', 'key', 'test', '--extpass', 'echo other horse', v, stdin=None)
    w.ok('passwd', *KDF, *with_tpm, '--extpass', 'echo other horse', '--new-extpass', 'echo third horse', v,
         stdin=None)
    check(opens(w, v, *with_tpm, '--extpass', 'echo third horse', stdin=None) == 1, 'passwd keeps the TPM')
    check(slots(w, v, '--passfile', p)[1]['kind'] == 'passphrase+tpm2', slots(w, v))


@case
def tpm2_wrong_usage(w):
    chip = tpm(w)
    v, p = w.vault(), passfile(w)
    before = snapshot(v)
    w.refused(2, 'empty PIN', 'key', 'add', '--passfile', p, '--new-tpm2', *chip.at('new-'), '--new-pinfile',
              write(w.path('empty'), b'\n'), v, stdin=None)
    w.refused(21, 'no TPM', 'key', 'add', '--passfile', p, '--new-tpm2', '--new-tpm2-device', 'swtpm:path=/nowhere',
              '--new-pinfile', w.path('empty'), v, stdin=None)  # before it asks for a PIN
    w.refused(3, 'no keyslot takes such a secret', 'key', 'test', '--tpm2', *chip.at(), v, stdin=None)
    check(snapshot(v) == before, 'something changed')


def fake(w):
    """The program with a token that is a file takes the place of the real one in this case."""
    build = os.environ.get('WARDFS_TEST_BUILD', os.path.join(harness.SOURCE, 'build-test'))
    real = os.environ.get('WARDFS') or os.path.join(build, 'normal/tools/wardfs')
    path = os.path.join(os.path.dirname(os.path.dirname(real)), 'tests', 'cli', FAKE)
    check(os.path.exists(path), f'{path} was not built')
    w.program = shutil.copy(path, w.path('wardfs'))


def token(w, name='token', has_pin=True, touched=True, tries=8, code=b'4711'):
    data = b'FAKETOKEN%d%d%d' % (has_pin, touched, tries) + os.urandom(32) + code
    return write(w.path(name), data)


@case
def fido2_opens_with_touch_and_pin(w):
    fake(w)
    v, p, t = w.vault(), passfile(w), token(w)
    right, wrong = pin(w, b'4711'), pin(w, b'0000', 'wrong')
    w.ok('key', 'add', '--passfile', p, '--new-fido2', '--new-fido2-device', t, '--new-pinfile', right, v, stdin=None)
    with_token = ['--fido2', '--fido2-device', t, '--pinfile']
    check(slots(w, v)[1]['kind'] == 'fido2', slots(w, v))
    check(opens(w, v, *with_token, right, stdin=None) == 1, 'does not open')
    mounts(w, v, *with_token, right)
    w.refused(3, 'wrong PIN', 'key', 'test', *with_token, wrong, v, stdin=None)
    other = token(w, 'other')
    w.refused(21, 'another one', 'key', 'test', '--fido2', '--fido2-device', other, '--pinfile', right, v, stdin=None)
    w.refused(21, 'plug it in', 'key', 'test', '--fido2', '--fido2-device', w.path('gone'), '--pinfile', right, v,
              stdin=None)
    with open(t, 'r+b') as f:
        f.seek(10)
        f.write(b'0')
    w.refused(19, 'not touched', 'key', 'test', *with_token, right, v, stdin=None)
    with open(t, 'r+b') as f:
        f.seek(10)
        f.write(b'10')
    w.refused(22, 'locked for good', 'key', 'test', *with_token, right, v, stdin=None)
    check(opens(w, v, '--passfile', p, stdin=None) == 0, 'other secrets still open the vault')


@case
def fido2_without_a_pin(w):
    fake(w)
    v, p, t = w.vault(), passfile(w), token(w, has_pin=False)
    w.ok('key', 'add', '--passfile', p, '--new-fido2', '--new-fido2-device', t, v, stdin=None)
    check(opens(w, v, '--fido2', '--fido2-device', t, stdin=None) == 1, 'asks for a PIN')
    w.ok('key', 'add', '--passfile', p, '--new-fido2', '--new-fido2-device', t, '--new-passfile', p, *KDF, v,
         stdin=None)
    check(opens(w, v, '--fido2', '--fido2-device', t, '--passfile', p, '--slot', '2', stdin=None) == 2, 'combination')
    w.ok('key', 'remove', '--yes', '--passfile', p, v, '0', stdin=None)
    w.refused(3, 'wrong', 'key', 'test', '--passphrase', '--slot', '2', '--fido2', '--fido2-device', t, v,
              stdin=b'wrong\n')


@case
def fido2_without_a_token(w):
    v, p = w.vault(), passfile(w)
    done = w.run('key', 'add', '--passfile', p, '--new-fido2', '--new-fido2-device', '/dev/null', v, stdin=None)
    check(done.returncode in (13, 21) and done.stderr.count(b'\n') == 1, repr(done))
    check(len(slots(w, v)) == 1, 'a slot was made')
