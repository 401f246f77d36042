# SPDX-License-Identifier: Apache-2.0
"""Who can open a vault, header backups, destroying one on purpose, what a guess costs."""
import json
import os
import shutil
import pty
import signal
import subprocess

from cases_key import KDF, opens, passfile, slots, write
from harness import PASSPHRASE, VAULT_FILES, Skipped, case, check, mounted, snapshot, wait_until, workers_in

SLOT, SLOT_BYTES = 1024, 3072


def who(w, v, *args, status=0):
    done = w.run('who-can-open', '--json', *args, v, stdin=None)
    check(done.returncode == status, repr(done))
    return json.loads(done.stdout)


def mount(w, v, p, *args):
    mnt = w.path('mnt')
    os.makedirs(mnt, exist_ok=True)
    w.ok('mount', '--passfile', p, *args, v, mnt, stdin=None)
    return mnt


def fill(w, v, p, name, data):
    mnt = mount(w, v, p)
    with open(os.path.join(mnt, name), 'wb') as f:
        f.write(data)
    w.ok('umount', mnt)


def content(w, v, p, name, *args):
    mnt = mount(w, v, p, *args)
    with open(os.path.join(mnt, name), 'rb') as f:
        data = f.read()
    w.ok('umount', mnt)
    return data


def destroy_headers(v):
    for name in VAULT_FILES:
        with open(os.path.join(v, name), 'wb') as f:
            f.write(os.urandom(106496))


@case
def who_can_open_without_a_secret(w):
    v = w.vault()
    done = w.run('who-can-open', v, stdin=None)
    text = done.stdout.decode()
    check(done.returncode == 0 and done.stderr == b'', repr(done))
    for word in ('1 secret opens the vault', 'no other way in', 'passphrase', 'Not verified', 'old copy of the header',
                 'No secret was removed or changed'):
        check(word in text, f'no {word!r} in {text!r}')
    found = who(w, v)
    check(not found['verified'] and found['basis'] == 'files' and found['epochs'] == [1], found)
    check([s['kind'] for s in found['keyslots']] == ['passphrase'] and found['former_holders'], found)


@case
def who_can_open_with_a_secret(w):
    v, p = w.vault(), passfile(w)
    w.ok('key', 'add', '--passfile', p, '--new-recovery', '--label', 'safe', v, stdin=None)
    found = who(w, v, '--passfile', p)
    check(found['verified'] and found['basis'] == 'secret', found)
    check([(s['slot'], s['label']) for s in found['keyslots']] == [(0, ''), (1, 'safe')], found)
    w.ok('key', 'remove', '--passfile', p, v, '1', stdin=None)
    text = w.ok('who-can-open', '--passfile', p, v, stdin=None)
    check('Verified' in text and '1 older key is' in text and 'rotate --contents' in text, text)
    check(who(w, v)['epochs'] == [1, 2], who(w, v))
    w.refused(3, 'wrong', 'who-can-open', '--extpass', 'echo wrong', v, stdin=None)


@case
def who_can_open_beside_a_mount(w):
    """The worker knows what is in force; files that say otherwise are found out."""
    v, p = w.vault(), passfile(w)
    w.ok('key', 'add', '--passfile', p, '--new-recovery', v, stdin=None)
    with_two = {name: open(os.path.join(v, name), 'rb').read() for name in VAULT_FILES}
    w.ok('key', 'remove', '--passfile', p, v, '1', stdin=None)
    mnt = mount(w, v, p)
    check(who(w, v)['basis'] == 'mount' and who(w, v)['verified'], who(w, v))
    now = {name: open(os.path.join(v, name), 'rb').read() for name in VAULT_FILES}
    for name, data in with_two.items():
        write(os.path.join(v, name), data)
    found = who(w, v, status=4)
    check(found['basis'] == 'contradicted' and not found['verified'] and len(found['keyslots']) == 2, found)
    check('NOT the list that is in force' in w.run('who-can-open', v, stdin=None).stdout.decode(), 'not said')
    for name, data in now.items():
        write(os.path.join(v, name), data)
    w.ok('umount', mnt)


@case
def changed_keyslots_are_told_of_at_the_next_mount(w):
    v, p = w.vault(), passfile(w)
    w.ok('umount', mount(w, v, p))
    w.ok('key', 'add', '--passfile', p, '--new-recovery', '--label', 'safe', v, stdin=None)
    mnt = w.path('mnt')
    done = w.run('mount', '--passfile', p, v, mnt, stdin=None)
    w.ok('umount', mnt)
    check(done.returncode == 0 and b"keyslot 1 'safe' was added" in done.stderr, repr(done))


@case
def header_backup_brings_a_vault_back(w):
    v, p = w.vault(), passfile(w)
    fill(w, v, p, 'before', b'one')
    w.ok('header', 'backup', '--passfile', p, w.path('backup'), v, stdin=None)
    check(os.stat(w.path('backup')).st_mode & 0o077 == 0, 'others may read it')
    # The vault goes on being used, the backup grows old but not out of date.
    fill(w, v, p, 'after', b'two' * 100000)
    destroy_headers(v)
    w.refused(5, 'not a wardfs vault', 'mount', '--passfile', p, v, w.path('mnt'), stdin=None)
    w.ok('header', 'restore', '--passfile', p, w.path('backup'), v, stdin=None)
    check(content(w, v, p, 'after') == b'two' * 100000 and content(w, v, p, 'before') == b'one', 'other content')
    check('0 tampering, 0 damage' in w.ok('check', '--passfile', p, v, stdin=None), 'damage')
    # And again, with the header gone altogether.
    for name in VAULT_FILES:
        os.unlink(os.path.join(v, name))
    w.ok('header', 'restore', '--passfile', p, w.path('backup'), v, stdin=None)
    check(content(w, v, p, 'after') == b'two' * 100000, 'other content')


@case
def header_backup_of_a_mounted_vault_that_is_killed(w):
    """The journal is replayed through the restored header."""
    v, p = w.vault(), passfile(w)
    mnt = mount(w, v, p)
    w.ok('header', 'backup', '--passfile', p, w.path('backup'), v, stdin=None)
    fd = os.open(os.path.join(mnt, 'file'), os.O_WRONLY | os.O_CREAT)
    os.write(fd, b'synced' * 1000)
    os.fsync(fd)
    os.close(fd)
    for pid in workers_in(w.folder):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not workers_in(w.folder), 'the worker is gone')
    subprocess.run(['umount', '-l', mnt], check=True)
    wait_until(lambda: not mounted(mnt), 'the mount is gone')
    w.refused(6, 'already mounted', 'header', 'restore', '--passfile', p, w.path('backup'), mount_elsewhere(w, p),
              stdin=None)
    destroy_headers(v)
    w.ok('header', 'restore', '--passfile', p, w.path('backup'), v, stdin=None)
    check(content(w, v, p, 'file') == b'synced' * 1000, 'what was fsynced is lost')


def mount_elsewhere(w, p):
    other = w.vault('other')
    os.mkdir(w.path('elsewhere'))
    w.ok('mount', '--passfile', p, other, w.path('elsewhere'), stdin=None)
    return other


@case
def header_backup_from_before_a_change_is_refused(w):
    v, p, other = w.vault(), passfile(w), passfile(w, b'another horse', 'other')
    fill(w, v, p, 'before', b'one')
    w.ok('header', 'backup', '--passfile', p, w.path('backup'), v, stdin=None)
    w.ok('passwd', *KDF, '--passfile', p, '--new-passfile', other, v, stdin=None)
    before = snapshot(v)
    w.refused(4, ['epoch 1', 'epoch 2', '--older'], 'header', 'restore', '--passfile', p, w.path('backup'), v, stdin=None)
    check(snapshot(v) == before, 'something changed')
    # Also when only the objects tell: they were written under the new key.
    fill(w, v, other, 'after', b'two' * 100000)
    destroy_headers(v)
    before = snapshot(v)
    w.refused(4, ['epoch 2', '--older'], 'header', 'restore', '--passfile', p, w.path('backup'), v, stdin=None)
    w.refused(3, 'wrong', 'header', 'restore', '--passfile', other, w.path('backup'), v, stdin=None)
    check(snapshot(v) == before, 'something changed')
    w.ok('header', 'restore', '--older', '--passfile', p, w.path('backup'), v, stdin=None)
    check(opens(w, v, '--passfile', p, stdin=None) == 0, 'the old secret is not back')


@case
def header_backup_from_before_a_removal_is_refused_without_headers(w):
    """Nothing was written since, so only the journal and this machine's anchor tell."""
    v, p, other = w.vault(), passfile(w), passfile(w, b'another horse', 'other')
    w.ok('key', 'add', *KDF, '--passfile', p, '--new-passfile', other, v, stdin=None)
    w.ok('header', 'backup', '--passfile', p, w.path('backup'), v, stdin=None)
    w.ok('key', 'remove', '--passfile', p, v, '1', stdin=None)
    destroy_headers(v)
    before = snapshot(v)
    elsewhere = dict(os.environ, XDG_STATE_HOME=w.path('elsewhere'))
    for words, more in ((['epoch 1', 'epoch 2', '--older'], {}),
                        (['under another root key', '--older'], {'env': elsewhere})):
        for option in ((), ('--without-journal',)):
            w.refused(4, words, 'header', 'restore', *option, '--passfile', p, w.path('backup'), v, stdin=None, **more)
    check(snapshot(v) == before, 'something changed')
    # The anchor alone.
    os.unlink(os.path.join(v, 'wardfs.journal'))
    w.refused(4, ['epoch 1', 'epoch 2', '--older'], 'header', 'restore', '--without-journal', '--passfile', p,
              w.path('backup'), v, stdin=None)
    w.ok('header', 'restore', '--older', '--passfile', p, w.path('backup'), v, stdin=None)
    check(opens(w, v, '--passfile', other, stdin=None) == 1, 'the old secret is not back')


@case
def header_backup_that_was_changed_is_refused(w):
    v, p, b = w.vault(), passfile(w), w.path('backup')
    w.ok('header', 'backup', '--passfile', p, b, v, stdin=None)
    with open(b, 'rb') as f:
        good = f.read()
    check(len(good) == 106560, 'other size')
    before = snapshot(v)
    for at, status in ((0, 5), (8, 9), (12, 9), (16, 4), (24, 9), (32 + 56, 4), (32 + SLOT + 300, 4), (106527, 4),
                       (106559, 4)):
        write(b, good[:at] + bytes([good[at] ^ 1]) + good[at + 1:])
        done = w.run('header', 'restore', '--passfile', p, b, v, stdin=None)
        check(done.returncode == status and done.stderr.count(b'\n') == 1, f'byte {at}: {done}')
    for data, status in ((good[:-1], 9), (good + b'x', 9), (b'', 5), (good[32:], 5)):
        write(b, data)
        done = w.run('header', 'restore', '--passfile', p, b, v, stdin=None)
        check(done.returncode == status and done.stderr.count(b'\n') == 1, f'{len(data)} bytes: {done}')
    write(b, good)
    other = w.vault('other')
    fill(w, other, p, 'x', b'x' * 10000)
    w.refused(4, 'another vault', 'header', 'restore', '--passfile', p, b, other, stdin=None)
    w.refused(5, 'not a header backup', 'header', 'restore', '--passfile', p, '/dev/zero', v, stdin=None)
    w.refused(15, 'exists already', 'header', 'backup', '--passfile', p, b, v, stdin=None)
    w.refused(3, 'wrong', 'header', 'backup', '--extpass', 'echo wrong', w.path('new'), v, stdin=None)
    w.refused(2, 'header backup FILE DIR', 'header', 'frobnicate')
    w.refused(2, 'FILE DIR', 'header', 'backup', v)
    check(snapshot(v) == before and not os.path.exists(w.path('new')), 'something changed')


@case
def header_restore_without_a_journal(w):
    v, p, b = w.vault(), passfile(w), w.path('backup')
    fill(w, v, p, 'file', b'one' * 1000)
    w.ok('header', 'backup', '--passfile', p, b, v, stdin=None)
    destroy_headers(v)
    os.unlink(os.path.join(v, 'wardfs.journal'))
    w.refused(9, ['journal', '--without-journal'], 'header', 'restore', '--passfile', p, b, v, stdin=None)
    w.ok('header', 'restore', '--without-journal', '--passfile', p, b, v, stdin=None)
    check(content(w, v, p, 'file') == b'one' * 1000, 'other content')


@case
def header_restore_after_an_idle_mount_and_a_new_passphrase(w):
    """The new journal keys open no record: nothing may then promise one."""
    v, p, other, b = w.vault(), passfile(w), passfile(w, b'another horse', 'other'), w.path('backup')
    fill(w, v, p, 'file', b'one' * 1000)
    w.ok('umount', mount(w, v, p))  # idle
    w.ok('passwd', *KDF, '--passfile', p, '--new-passfile', other, v, stdin=None)
    check('0 tampering, 0 damage' in w.ok('check', '--passfile', other, v, stdin=None), 'damage')
    w.ok('header', 'backup', '--passfile', other, b, v, stdin=None)
    w.ok('header', 'restore', '--passfile', other, b, v, stdin=None)
    said = w.run('mount', '--passfile', other, v, w.path('mnt'), stdin=None).stderr
    w.ok('umount', w.path('mnt'))
    check(b'not closed cleanly' not in said and b'last closed cleanly on' in said, said)
    w.ok('header', 'restore', '--passfile', other, b, v, stdin=None)
    said = w.run('mount', '--passfile', other, v, w.path('mnt'), stdin=None).stderr
    w.ok('umount', w.path('mnt'))
    check(b'its header was restored' in said and b'not closed cleanly' not in said, said)
    check(content(w, v, other, 'file') == b'one' * 1000, 'other content')


@case
def header_restore_gives_up_a_journal_that_is_there(w):
    """--without-journal: neither this mount nor a later restore takes anything from it."""
    v, p, b = w.vault(), passfile(w), w.path('backup')
    fill(w, v, p, 'file', b'one' * 1000)
    w.ok('header', 'backup', '--passfile', p, b, v, stdin=None)
    path = os.path.join(v, 'wardfs.journal')
    with open(path, 'rb') as f:
        before = f.read(8192)
    w.ok('header', 'restore', '--without-journal', '--passfile', p, b, v, stdin=None)
    with open(path, 'rb') as f:
        after = f.read(8192)
    numbers = [int.from_bytes(after[i + 8:i + 12], 'little') for i in (0, 4096)]
    check(before != after and numbers == [0, 0], f'mounts {numbers}')
    w.ok('header', 'restore', '--passfile', p, b, v, stdin=None)
    check(content(w, v, p, 'file') == b'one' * 1000, 'other content')


@case
def headers_that_were_replaced_are_overwritten(w):
    """The blocks of a replaced file are free, and readable on a plain disk: no slot may be left in them."""
    v, p, other = w.vault(), passfile(w), passfile(w, b'another horse', 'other')
    paths = [os.path.join(v, name) for name in VAULT_FILES]

    def all_overwritten(what, *args):
        held = [open(path, 'rb') for path in paths]
        w.ok(*args, stdin=None)
        for f in held:
            data = f.read()
            check(data == b'\xff' * len(data) and len(data) == 106496, f'{what}: {f.name} is readable')
            f.close()
    all_overwritten('a new secret', 'key', 'add', *KDF, '--passfile', p, '--new-passfile', other, v)
    # What a replacement that was cut has left.
    shutil.copyfile(paths[0], paths[0] + '.new')
    with open(paths[0] + '.new', 'rb') as cut:
        all_overwritten('a removal', 'key', 'remove', '--passfile', p, v, '1')
        check(cut.read().strip(b'\xff') == b'', 'the temporary file is readable')
    all_overwritten('passwd', 'passwd', *KDF, '--passfile', p, '--new-passfile', other, v)
    w.mountpoint()
    all_overwritten('a mount', 'mount', '--passfile', other, v, w.path('mnt'))
    all_overwritten('an unmount', 'umount', w.path('mnt'))


@case
def erase_destroys_both_headers(w):
    v, p = w.vault(), passfile(w)
    fill(w, v, p, 'file', b'x' * 10000)
    paths = [os.path.join(v, name) for name in VAULT_FILES]
    with open(paths[0], 'rb') as f:
        header = f.read()
    # A descriptor that was open before shows what became of the bytes themselves.
    held = [open(path, 'rb') for path in paths]
    text = w.ok('erase', '--yes-destroy', v, stdin=None)
    for word in ('backups', 'snapshots', 'Flash', 'fstrim'):
        check(word in text, f'no {word!r} in {text!r}')
    for f, path in zip(held, paths):
        check(f.read() == bytes(len(header)), 'the bytes were not overwritten')
        check(not os.path.exists(path), 'the file is still there')
        f.close()
    w.refused(5, 'not a wardfs vault', 'mount', '--passfile', p, v, w.path('mnt'), stdin=None)
    w.refused(5, 'not a wardfs vault', 'erase', '--yes-destroy', v, stdin=None)
    for root, _, files in os.walk(v):
        for name in files:
            with open(os.path.join(root, name), 'rb') as f:
                data = f.read()
            for i in range(2):
                check(header[SLOT + 160 + 80 * i:SLOT + 192 + 80 * i] not in data, f'{name} has a slot in it')


@case
def erase_asks_for_the_name(w):
    v = w.vault()
    before = snapshot(v)
    w.refused(2, ['nothing was destroyed', '--yes-destroy'], 'erase', v)
    for typed, status in ((b'yes\n', 2), (b'Vault\n', 2), (b'vault\n', 0)):
        check(snapshot(v) == before, 'something changed')
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(w.program, [w.program, 'erase', v])
        seen = b''
        while b'Type its name' not in seen:
            seen += os.read(terminal, 1000)
        os.write(terminal, typed)
        try:
            while os.read(terminal, 1000):
                pass
        except OSError:
            pass
        _, ended = os.waitpid(pid, 0)
        os.close(terminal)
        check(os.waitstatus_to_exitcode(ended) == status, f'{typed}: {ended}')
    check(not os.path.exists(os.path.join(v, 'wardfs.vault')), 'nothing was destroyed')


@case
def erase_of_what_is_mounted_or_no_vault(w):
    v, p = w.vault(), passfile(w)
    mnt = mount(w, v, p)
    w.refused(6, 'mounted', 'erase', '--yes-destroy', v, stdin=None)
    w.ok('umount', mnt)
    check(opens(w, v, '--passfile', p, stdin=None) == 0, 'destroyed nevertheless')
    w.refused(5, 'not a wardfs vault', 'erase', '--yes-destroy', w.folder, stdin=None)
    w.refused(14, 'no such directory', 'erase', '--yes-destroy', w.path('nowhere'), stdin=None)
    # A damaged header is destroyed all the same; a link is not followed.
    with open(w.path('mine'), 'wb') as f:
        f.write(b'mine')
    path = os.path.join(v, 'wardfs.vault')
    os.unlink(path)
    os.symlink(w.path('mine'), path)
    done = w.run('erase', '--yes-destroy', v, stdin=None)
    check(done.returncode == 9 and not os.path.exists(os.path.join(v, 'wardfs.vault.2')), repr(done))
    with open(w.path('mine'), 'rb') as f:
        check(f.read() == b'mine', 'a link was followed')


@case
def removing_the_last_keyslot_destroys_the_vault(w):
    v, p = w.vault(), passfile(w)
    w.refused(2, ['last', '--yes'], 'key', 'remove', '--passfile', p, v, '0', stdin=None)
    check('worthless' in w.ok('key', 'remove', '--yes', '--passfile', p, v, '0', stdin=None), 'says nothing')
    w.refused(5, 'not a wardfs vault', 'key', 'list', v, stdin=None)


def memory_group():
    """A control group of 64 MiB, of either version."""
    for top, limit in (('/sys/fs/cgroup', 'memory.max'), ('/sys/fs/cgroup/memory', 'memory.limit_in_bytes')):
        group = f'{top}/wardfs-test-{os.getpid()}'
        if not os.path.exists(f'{top}/cgroup.procs'):
            continue
        try:
            os.mkdir(group)
            with open(f'{group}/{limit}', 'w', encoding='ascii') as f:
                f.write(str(64 << 20))
            return group
        except OSError:
            if os.path.isdir(group):
                os.rmdir(group)
    raise Skipped('no memory control group can be made here')


@case
def kdf_memory_that_the_machine_has_not(w):
    """Compared before it is taken; here the limit of a memory control group stands in for a small machine."""
    v, p = w.vault(), passfile(w)
    group = memory_group()
    for name in VAULT_FILES:
        with open(os.path.join(v, name), 'r+b') as f:
            f.seek(SLOT + 80)
            f.write((4 << 20).to_bytes(4, 'little'))
    try:
        w.refused(12, 'too little free memory', 'key', 'test', '--passfile', p, v, stdin=None, preexec_fn=lambda: open(
            group + '/cgroup.procs', 'w', encoding='ascii').write('0'))
    finally:
        wait_until(lambda: not open(group + '/cgroup.procs', encoding='ascii').read(), 'the group is empty')
        os.rmdir(group)


@case
def bench_tells_the_price_of_a_guess(w):
    v, p = w.vault(), passfile(w)
    found = json.loads(w.ok('bench', '--kdf', '--json', v, stdin=None))
    check(found['kdf'] == slots(w, v)[0]['kdf'], found)
    check(0 < found['seconds_here'] < 60 and 0 < found['usd_per_guess'] < 1, found)
    check(len(found['examples']) >= 3 and all(e['years'] > 0 for e in found['examples']), found)
    dearer = json.loads(w.ok('bench', '--kdf', '--json', '--kdf-memory', '64', '--kdf-passes', '2', stdin=None))
    check(dearer['kdf']['memory_kib'] == 65536 and dearer['usd_per_guess'] > found['usd_per_guess'], dearer)
    check('guesses a second' in w.ok('bench', '--kdf', v, stdin=None), 'no text')
    w.ok('key', 'change', '--passfile', p, '--new-recovery', v, stdin=None)
    w.refused(14, 'nothing to guess', 'bench', '--kdf', v, stdin=None)
    w.refused(2, '--kdf', 'bench')


@case
def weak_passphrases_are_warned_of(w):
    """Where libpwquality is; never refused."""
    done = w.run('init', *KDF, '--journal', '8', w.path('v'), stdin=b'abc\n')
    check(done.returncode == 0, repr(done))
    if b'weak passphrase' not in done.stderr:
        raise Skipped('built without libpwquality')
    check(done.stderr.count(b'\n') == 1 and b'abc' not in done.stderr, repr(done))
    done = w.run('passwd', *KDF, w.path('v'), stdin=b'abc\n' + PASSPHRASE + b' battery staple\n')
    check(done.returncode == 0 and done.stderr == b'', repr(done))
