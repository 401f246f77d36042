# SPDX-License-Identifier: Apache-2.0
"""Keyslots: every kind that is made of bytes, adding, removing, changing, testing; what is refused."""
import fcntl
import json
import os
import shutil
import signal
import subprocess
import termios
import time

from harness import CHEAP, PASSPHRASE, USER, VAULT_FILES, Skipped, case, check, snapshot, wait_until

KDF = CHEAP[:4]


def write(path, data, mode=0o600):
    with open(path, 'wb') as f:
        f.write(data)
    os.chmod(path, mode)
    return path


def passfile(w, passphrase=PASSPHRASE, name='pass'):
    return write(w.path(name), passphrase + b'\n')


def slots(w, v, *args):
    return {slot['slot']: slot for slot in json.loads(w.ok('key', 'list', '--json', *args, v, stdin=None))['keyslots']}


def opens(w, v, *args, **more):
    """Which slot these options open."""
    text = w.ok('key', 'test', *args, v, **more)
    return int(text.split()[1])


def mounts(w, v, *args):
    """A vault that really opens, with the tree in it."""
    mnt = w.path('mnt')
    os.makedirs(mnt, exist_ok=True)
    w.ok('mount', *args, v, mnt, stdin=None)
    w.ok('umount', mnt)


@case
def key_file_opens(w):
    v, p = w.vault(), passfile(w)
    key = write(w.path('key'), os.urandom(3000))
    w.ok('key', 'add', '--passfile', p, '--new-keyfile', key, '--label', 'stick', v, stdin=None)
    check(opens(w, v, '--keyfile', key, stdin=None) == 1, 'not slot 1')
    mounts(w, v, '--keyfile', key)
    one = slots(w, v)[1]
    check(one['kind'] == 'keyfile' and one['label'] == 'stick' and one['kdf']['memory_kib'] == 8192, one)
    for name, data in (('flipped', b'x' + open(key, 'rb').read()[1:]), ('longer', open(key, 'rb').read() + b'x'),
                       ('shorter', open(key, 'rb').read()[:-1])):
        w.refused(3, 'wrong passphrase or other secret', 'key', 'test', '--keyfile', write(w.path(name), data), v,
                  stdin=None)
    w.refused(14, ['key file', 'not found'], 'key', 'test', '--keyfile', w.path('none'), v, stdin=None)
    w.refused(2, 'directory', 'key', 'test', '--keyfile', w.folder, v, stdin=None)
    w.refused(14, 'has no bytes', 'key', 'test', '--keyfile', write(w.path('empty'), b''), v, stdin=None)


@case
def key_that_opens_already_is_warned_of(w):
    """Removing one of two keyslots with the same secret takes nothing from anybody."""
    v, p, other = w.vault(), passfile(w), passfile(w, b'quartz Vogel 73 umber kite', 'other')
    key = write(w.path('key'), os.urandom(64))
    new = ('--new-passfile', p)

    def said(opening, made):
        done = w.run('key', 'add', *opening, *made, *KDF, v, stdin=None)
        check(done.returncode == 0, repr(done))
        return [line for line in done.stderr.decode().splitlines() if 'has the same secret' in line]

    same = ('--passfile', p)
    check(not said(same, ('--new-passfile', other)), 'another passphrase')
    check(len(said(same, new)) == 1 and 'keyslot 0' in said(same, new)[0], 'the same passphrase')
    both = (*new, '--new-keyfile', key)
    check(not said(same, both), 'with a key file, too')
    with_file = (*same, '--keyfile', key, '--slot', '4')
    check('keyslot 4' in said(with_file, both)[0], 'the same two')
    check(not said(with_file, ('--new-passfile', other, '--new-keyfile', key)), 'another half')
    check(not said(with_file, ('--new-keyfile', key)), 'one half')
    check(said(('--keyfile', key), ('--new-keyfile', key)), 'the same key file')


@case
def key_file_in_the_middle_of_a_file(w):
    v, p = w.vault(), passfile(w)
    data = os.urandom(1 << 20)
    big = write(w.path('big'), data)
    w.ok('key', 'add', '--passfile', p, '--new-keyfile', big, '--new-keyfile-offset', '5000', '--new-keyfile-size',
         '64', v, stdin=None)
    part = ('--keyfile-offset', '5000', '--keyfile-size', '64')
    check(opens(w, v, '--keyfile', write(w.path('other'), bytes(5000) + data[5000:5064] + b'more'), *part,
                stdin=None) == 1, 'only the bytes count')
    mounts(w, v, '--keyfile', big, *part)
    for said in ((), part[:2], part[2:], ('--keyfile-offset', '5001', '--keyfile-size', '64')):
        w.refused(3, ['keyslot 1 uses another part', '--keyfile-offset 5000 --keyfile-size 64'], 'key', 'test',
                  '--keyfile', big, *said, v, stdin=None)
    w.refused(2, 'go with --keyfile', 'key', 'test', *part, v, stdin=None)
    w.refused(3, 'wrong', 'key', 'test', '--keyfile', write(w.path('wrong'), data[:5000] + bytes(100)), *part, v,
              stdin=None)
    w.refused(14, 'offset 5000', 'key', 'test', '--keyfile', write(w.path('short'), data[:5063]), *part, v, stdin=None)
    w.refused(14, 'offset 2000000', 'key', 'add', '--passfile', p, '--new-keyfile', big, '--new-keyfile-offset',
              '2000000', v, stdin=None)
    w.refused(2, 'go with --new-keyfile', 'key', 'add', '--new-keyfile-offset', '3', v, stdin=None)
    for size in ('8388609', '15'):
        w.refused(16, 'choose 16 to 8388608', 'key', 'add', '--new-keyfile', big, '--new-keyfile-size', size, v,
                  stdin=None)
    for name, offset in (('tiny', '0'), ('end', '5')):
        tiny = write(w.path(name), os.urandom(15 + int(offset)))
        w.refused(16, 'needs 16 bytes', 'key', 'add', '--passfile', p, '--new-keyfile', tiny, '--new-keyfile-offset',
                  offset, v, stdin=None)
    # Where another keyslot was tried in vain the hint comes along.
    w.ok('key', 'add', '--passfile', p, '--new-keyfile', write(w.path('third'), os.urandom(64)), v, stdin=None)
    w.refused(3, ['wrong', 'keyslot 1 uses another part'], 'key', 'test', '--keyfile', big, v, stdin=None)


@case
def key_file_does_not_open_a_vault_that_was_put_there(w):
    """One whose keyslots take a byte of the file that can be guessed."""
    v, p = w.vault(), passfile(w)
    data = os.urandom(200)
    key = write(w.path('key'), data)
    w.ok('key', 'add', '--passfile', p, '--new-keyfile', key, v, stdin=None)
    evil = w.vault('evil')
    w.ok('key', 'add', '--passfile', p, '--new-keyfile', write(w.path('guess'), data[:16]), '--new-keyfile-offset', '0',
         '--new-keyfile-size', '16', evil, stdin=None)
    for name in (*VAULT_FILES, 'wardfs.journal'):
        shutil.copyfile(os.path.join(evil, name), os.path.join(v, name))
    before = snapshot(v)
    w.refused(3, ['keyslot 1 uses another part', '--keyfile-size 16'], 'mount', '--keyfile', key, v, w.mountpoint(),
              stdin=None)
    check(snapshot(v) == before, 'something was written')


@case
def key_file_that_does_not_end(w):
    v, p = w.vault(), passfile(w)
    before = snapshot(v)
    huge = w.path('huge')
    with open(huge, 'wb') as f:
        f.truncate(5 << 30)
    w.refused(16, 'longer than 8 MiB', 'key', 'add', '--passfile', p, '--new-keyfile', huge, v, stdin=None)
    os.mkfifo(w.path('fifo'))
    for odd in (w.path('fifo'), '/dev/zero', '/dev/null'):
        w.refused(2, 'neither a plain file nor a disk', 'key', 'add', '--passfile', p, '--new-keyfile', odd, v,
                  stdin=None)
    check(snapshot(v) == before, 'something changed')


@case
def recovery_code_opens(w):
    v, p = w.vault(), passfile(w)
    code = w.ok('key', 'add', '--passfile', p, '--new-recovery', v, stdin=None).strip()
    groups = code.split('-')
    check(len(groups) == 13 and all(len(g) == 5 for g in groups), code)
    for typed in (code, code.lower(), code.replace('-', ' '), code.replace('-', ''),
                  code.replace('0', 'O').replace('1', 'l')):
        check(opens(w, v, '--recovery-file', write(w.path('code'), typed.encode() + b'\n'), stdin=None) == 1, typed)
    check(opens(w, v, '--recovery', stdin=code.encode() + b'\n') == 1, 'from standard input')
    mounts(w, v, '--recovery-file', write(w.path('code'), code.encode()))
    other = 'A' if groups[6][2] != 'A' else 'B'
    wrong = code[:6 * 6 + 2] + other + code[6 * 6 + 3:]
    w.refused(2, 'group 7', 'key', 'test', '--recovery', v, stdin=wrong.encode() + b'\n')
    w.refused(2, 'group 13', 'key', 'test', '--recovery', v, stdin=code[:-1].encode() + b'\n')
    w.refused(2, 'more than 13 groups', 'key', 'test', '--recovery', v, stdin=code.encode() + b'-00000\n')
    second = w.ok('key', 'add', '--passfile', p, '--new-recovery', v, stdin=None).strip()
    check(second != code and opens(w, v, '--recovery', stdin=second.encode()) == 2, 'codes are not drawn anew')
    w.ok('key', 'remove', '--passfile', p, v, '2', stdin=None)
    w.refused(3, 'wrong', 'key', 'test', '--recovery', v, stdin=second.encode() + b'\n')
    for name in os.listdir(v):
        if os.path.isfile(os.path.join(v, name)):
            with open(os.path.join(v, name), 'rb') as f:
                check(code.encode() not in f.read(), 'the code is in the vault')


@case
def recovery_code_as_qr(w):
    v, p = w.vault(), passfile(w)
    done = w.run('key', 'add', '--passfile', p, '--new-recovery', '--qr', v, stdin=None)
    if done.returncode == 13:
        check(b'libqrencode' in done.stderr and len(slots(w, v)) == 1, repr(done))
        return
    check(done.returncode == 0 and '\u2580'.encode() in done.stdout, repr(done))
    check(opens(w, v, '--recovery', stdin=done.stdout.split(b'\n')[0]) == 1, 'the line is no code')
    w.refused(2, 'goes with', 'key', 'add', '--passfile', p, '--qr', v, stdin=None)


def ordinary_memory(pid):
    """What a process has outside secret memory, which is left out of core dumps and may be hidden."""
    found, span = [], None
    with open(f'/proc/{pid}/smaps', encoding='utf-8') as maps, open(f'/proc/{pid}/mem', 'rb', 0) as memory:
        for line in maps:
            words = line.split()
            if '-' in words[0] and not words[0].endswith(':'):
                span = [int(x, 16) for x in words[0].split('-')] if words[1][0] == 'r' and '[v' not in line else None
            elif words[0] == 'VmFlags:' and span and 'dd' not in words:
                try:
                    memory.seek(span[0])
                    found.append(memory.read(span[1] - span[0]))
                except (OSError, ValueError, OverflowError):
                    pass
    return found


@case
def recovery_code_as_qr_leaves_nothing_in_the_heap(w):
    """The pipe is nearly full, so that the command stands still in the middle of the drawing."""
    v, p = w.vault(), passfile(w)
    out, into = os.pipe()
    room = fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, 4096) - 400
    os.write(into, b' ' * room)
    process = w.start('key', 'add', '--passfile', p, '--new-recovery', '--qr', v, stdin=subprocess.DEVNULL,
                      stdout=into, stderr=subprocess.PIPE)

    def in_pipe():
        return int.from_bytes(fcntl.ioctl(out, termios.FIONREAD, bytes(4)), 'little') - room

    wait_until(lambda: in_pipe() > 120 or process.poll() is not None, 'the drawing has begun')
    os.close(into)
    if process.poll() is not None:
        said = process.stderr.read()
        process.stderr.close()
        check(process.returncode == 13 and b'libqrencode' in said, repr(said))
        raise Skipped('this build cannot draw QR codes')
    process.send_signal(signal.SIGSTOP)
    code = os.read(out, 8192).split()[0]
    groups = code.split(b'-')
    check(len(groups) == 13, repr(code))
    pairs = [b'-'.join(pair) for pair in zip(groups, groups[1:])]
    # In the code's bits the text stands behind 12 others.
    pairs += [(int.from_bytes(pair, 'big') >> 4).to_bytes(len(pair), 'big')[1:] for pair in pairs]
    memory = ordinary_memory(process.pid)
    check(any(v.encode() in data for data in memory), 'nothing was read')
    left = [pair for pair in pairs if any(pair in data for data in memory)]
    process.send_signal(signal.SIGCONT)
    while os.read(out, 8192):
        pass
    os.close(out)
    process.stderr.close()
    check(process.wait() == 0 and opens(w, v, '--recovery', stdin=code) == 1, 'no slot')
    check(not left, f'{len(left)} of {len(pairs)} parts of the code')


@case
def recovery_code_that_cannot_be_shown_makes_no_slot(w):
    v, p = w.vault(), passfile(w)
    with open('/dev/full', 'wb') as full:
        done = subprocess.run([w.program, 'key', 'add', '--passfile', p, '--new-recovery', v], stdout=full,
                              stderr=subprocess.PIPE, check=False)
    check(done.returncode == 10 and len(slots(w, v)) == 1, repr(done))


@case
def combination_needs_both(w):
    v, p = w.vault(), passfile(w)
    second = passfile(w, b'another horse', 'second')
    key = write(w.path('key'), os.urandom(64))
    w.ok('key', 'add', '--passfile', p, *KDF, '--new-passfile', second, '--new-keyfile', key, v, stdin=None)
    code = w.ok('key', 'add', '--passfile', p, '--new-recovery', '--new-keyfile', key, v, stdin=None).encode()
    check([s['kind'] for s in slots(w, v).values()] == ['passphrase', 'passphrase+keyfile', 'keyfile+recovery'],
          slots(w, v))
    check(opens(w, v, '--passfile', second, '--keyfile', key, stdin=None) == 1, 'both given')
    check(opens(w, v, '--keyfile', key, '--passphrase', stdin=b'another horse\n') == 1, 'the other half asked for')
    check(opens(w, v, '--keyfile', key, stdin=b'another horse\n') == 1, 'the other half asked for')
    check(opens(w, v, '--keyfile', key, '--recovery', stdin=code) == 2, 'both given')
    mounts(w, v, '--passfile', second, '--keyfile', key)
    other = write(w.path('other'), os.urandom(64))
    w.refused(3, 'wrong', 'key', 'test', '--passfile', second, '--keyfile', other, v, stdin=None)
    w.refused(3, 'wrong', 'key', 'test', '--keyfile', key, '--slot', '1', v)
    w.refused(3, 'wrong', 'key', 'test', '--passfile', second, v, stdin=None)
    w.refused(2, ['keyslot 2', '--keyfile'], 'key', 'test', '--recovery', v, stdin=code)
    # Only one half is changed, the other is needed as before.
    w.ok('passwd', *KDF, '--passfile', second, '--keyfile', key, '--new-extpass', 'echo third horse', v, stdin=None)
    check(opens(w, v, '--keyfile', key, stdin=b'third horse\n') == 1, 'passwd of a combination')
    w.refused(3, 'wrong', 'key', 'test', '--keyfile', key, v, stdin=b'another horse\n')
    w.refused(2, 'one secret or of two', 'key', 'add', '--passfile', p, '--new-passfile', p, '--new-keyfile', key,
              '--new-recovery', v, stdin=None)


@case
def vault_without_a_passphrase_asks_for_what_it_has(w):
    v, p = w.vault(), passfile(w)
    key = write(w.path('key'), os.urandom(64))
    w.ok('key', 'add', '--passfile', p, '--new-keyfile', key, v, stdin=None)
    code = w.ok('key', 'add', '--passfile', p, '--new-recovery', v, stdin=None).encode()
    w.ok('key', 'remove', '--yes', '--passfile', p, v, '0', stdin=None)
    check(opens(w, v, stdin=code) == 2, 'the recovery code is what can be asked for')
    w.refused(3, 'no keyslot takes such a secret', 'mount', '--passfile', p, v, w.mountpoint(), stdin=None)
    w.ok('key', 'remove', '--keyfile', key, v, '2', stdin=None)
    w.refused(2, ['keyslot 1', '--keyfile'], 'key', 'test', v, stdin=None)
    w.refused(2, 'no passphrase', 'passwd', '--keyfile', key, '--new-extpass', 'echo x', v, stdin=None)


@case
def key_remove(w):
    v, p = w.vault(), passfile(w)
    key = write(w.path('key'), os.urandom(64))
    w.ok('key', 'add', '--passfile', p, '--new-keyfile', key, v, stdin=None)
    before = snapshot(v)
    w.refused(2, ['keyslot 0', 'in use', '--yes'], 'key', 'remove', '--passfile', p, v, '0', stdin=None)
    w.refused(14, 'no keyslot 7', 'key', 'remove', '--passfile', p, v, '7', stdin=None)
    w.refused(16, '0 to 31', 'key', 'remove', '--passfile', p, v, '32', stdin=None)
    w.refused(2, 'not the number', 'key', 'remove', '--passfile', p, v, 'one', stdin=None)
    w.refused(3, 'wrong', 'key', 'remove', v, '1', stdin=b'wrong\n')
    check(snapshot(v) == before, 'something changed')
    w.ok('key', 'remove', '--keyfile', key, v, '0', stdin=None)
    w.refused(3, 'no keyslot', 'key', 'test', '--passfile', p, v, stdin=None)
    mounts(w, v, '--keyfile', key)


@case
def key_change(w):
    v, p = w.vault(), passfile(w)
    key = write(w.path('key'), os.urandom(64))
    w.ok('key', 'label', '--passfile', p, v, 'mine', stdin=None)
    serial = slots(w, v)[0]['serial']
    w.ok('key', 'change', '--passfile', p, '--new-keyfile', key, v, stdin=None)
    now = slots(w, v, '--keyfile', key)[0]
    check(now['kind'] == 'keyfile' and now['label'] == 'mine' and now['serial'] > serial, now)
    w.refused(3, 'no keyslot', 'key', 'test', '--passfile', p, v, stdin=None)
    w.ok('key', 'add', *KDF, '--keyfile', key, '--new-passfile', p, v, stdin=None)
    w.ok('key', 'change', *KDF, '--passfile', p, '--new-extpass', 'echo other horse', v, '0', stdin=None)
    check(opens(w, v, stdin=b'other horse\n') == 0 and opens(w, v, '--passfile', p, stdin=None) == 1, slots(w, v))
    w.refused(14, 'no keyslot 9', 'key', 'change', '--passfile', p, v, '9', stdin=None)


@case
def key_label(w):
    v, p = w.vault(), passfile(w)
    w.ok('key', 'label', '--passfile', p, v, 'Zuhaus \u00fc', stdin=None)
    check(slots(w, v, '--passfile', p)[0]['label'] == 'Zuhaus \u00fc', slots(w, v))
    for bad in ('a\nb', 'a\x1b[2J', 'a\u009bb', 'a\u202eb', '\udcff'):
        w.refused(2, 'label', 'key', 'label', '--passfile', p, v, bad, stdin=None)
    w.refused(16, 'label', 'key', 'label', '--passfile', p, v, 'x' * 64, stdin=None)
    w.ok('key', 'label', '--passfile', p, v, '', stdin=None)
    check(slots(w, v)[0]['label'] == '', slots(w, v))
    # What a stranger wrote there is shown, but not obeyed.
    for name in VAULT_FILES:
        with open(os.path.join(v, name), 'r+b') as f:
            f.seek(1024 + 16)
            f.write(b'\x03\xc2\x9bZ')
    check('\\302\\233Z' in w.ok('key', 'list', v), w.ok('key', 'list', v))
    check(slots(w, v)[0]['label'] == '\\302\\233Z', slots(w, v))
    w.refused(4, 'changed outside wardfs', 'key', 'list', '--passfile', p, v, stdin=None)


@case
def key_list_says_what_it_knows(w):
    v, p = w.vault(), passfile(w)
    check('not verified' in w.ok('key', 'list', v, stdin=None), 'claims too much')
    check('verified: opened with keyslot 0' in w.ok('key', 'list', '--passfile', p, v, stdin=None), 'verified')
    w.refused(3, 'wrong', 'key', 'list', '--extpass', 'echo wrong', v, stdin=None)
    w.refused(5, 'not a wardfs vault', 'key', 'list', w.folder)
    w.refused(8, 'permission', 'key', 'list', v, user=USER)
    mnt = w.mountpoint()
    w.ok('mount', '--passfile', p, v, mnt, stdin=None)
    check('passphrase' in w.ok('key', 'list', v, stdin=None), 'beside a mount')
    check(opens(w, v, '--passfile', p, stdin=None) == 0, 'beside a mount')
    w.ok('umount', mnt)


@case
def key_list_tells_the_last_use(w):
    v, p = w.vault(), passfile(w)
    w.ok('key', 'add', '--passfile', p, '--new-recovery', v, stdin=None)
    begin = int(time.time())
    mounts(w, v, '--passfile', p)
    found = slots(w, v, '--passfile', p)
    check(begin <= found[0]['last_use'] <= time.time() and found[1]['last_use'] is None, found)
    check(slots(w, v)[0]['last_use'] is None, 'known without a secret')
    before = snapshot(v)
    w.ok('key', 'list', '--passfile', p, v, stdin=None)
    check(snapshot(v) == before, 'something changed')


@case
def key_slots_have_an_end(w):
    v, p = w.vault(), passfile(w)
    key = write(w.path('key'), os.urandom(64))
    for i in range(1, 32):
        w.ok('key', 'add', '--passfile', p, '--slot', '0', '--new-keyfile', key, '--new-keyfile-offset', str(i), v,
             stdin=None)
    check(len(slots(w, v, '--passfile', p, '--slot', '0')) == 32, 'not 32')
    w.refused(16, 'all 32 keyslots', 'key', 'add', '--passfile', p, '--slot', '0', '--new-recovery', v, stdin=None)
    w.refused(14, 'no keyslot', 'key', 'test', '--passfile', p, '--slot', '31', w.vault('other'), stdin=None)
    w.ok('key', 'remove', '--passfile', p, '--slot', '0', v, '17', stdin=None)
    w.ok('key', 'add', '--passfile', p, '--slot', '0', '--new-keyfile', key, v, stdin=None)
    check(opens(w, v, '--keyfile', key, '--slot', '17', stdin=None) == 17, 'the free slot is used again')


@case
def key_wrong_usage(w):
    v = w.vault()
    w.refused(2, 'what to do with keys', 'key')
    w.refused(2, ['frobnicate', 'unknown verb'], 'key', 'frobnicate', v)
    w.refused(2, 'DIR|MNT SLOT', 'key', 'remove', v)
    w.refused(2, 'DIR|MNT TEXT', 'key', 'label', v)
    w.refused(2, 'one argument too many', 'key', 'list', v, v)
    w.refused(16, 'out of bounds', 'key', 'test', '--slot', '32', v)


@case
def either_header_file_alone_opens(w):
    v, p = w.vault(), passfile(w)
    key = write(w.path('key'), os.urandom(64))
    w.ok('key', 'add', '--passfile', p, '--new-keyfile', key, v, stdin=None)
    for name in VAULT_FILES:
        path = os.path.join(v, name)
        with open(path, 'rb') as f:
            data = f.read()
        os.unlink(path)
        check(opens(w, v, '--keyfile', key, stdin=None) == 1, f'without {name}')
        mounts(w, v, '--passfile', p)
        check(os.path.getsize(path) == len(data), f'{name} was not written again')


@case
def tampered_parameters_in_one_file_do_not_lock_out(w):
    """The right key file is read for the right file's parameters too."""
    v, p = w.vault(), passfile(w)
    key = write(w.path('key'), os.urandom(64))
    w.ok('key', 'add', '--passfile', p, '--new-keyfile', key, v, stdin=None)
    with open(os.path.join(v, 'wardfs.vault'), 'r+b') as f:
        f.seek(1024 + 3072 + 406)
        f.write(b'\x07')
    check(opens(w, v, '--keyfile', key, stdin=None) == 1, 'locked out by a changed offset')
    with open(os.path.join(v, 'wardfs.vault.2'), 'r+b') as f:
        f.seek(1024 + 3072 + 406)
        f.write(b'\x07')
    w.refused(3, 'keyslot 1 uses another part', 'key', 'test', '--keyfile', key, v, stdin=None)


@case
def kdf_time(w):
    v = w.path('v')
    text = w.ok('init', '--journal', '8', '--kdf-time', '0.1', v)
    check('Argon2id' in text, text)
    w.refused(16, '--kdf-time', 'init', '--kdf-time', '0.05', w.path('x'))
    w.refused(16, '--kdf-time', 'init', '--kdf-time', '61', w.path('x'))
    w.refused(2, '--kdf-time', 'init', '--kdf-time', 'long', w.path('x'))
    costs = []
    for seconds in ('0.1', '2'):
        w.ok('passwd', '--kdf-time', seconds, v, stdin=PASSPHRASE + b'\n' + PASSPHRASE + b'\n')
        kdf = slots(w, v)[0]['kdf']
        costs.append(kdf['memory_kib'] * kdf['passes'])
    check(costs[1] > costs[0], costs)
