# SPDX-License-Identifier: Apache-2.0
"""What the ciphertext tells, and what the program leaves where others can see it."""
import collections
import glob
import os
import sys
import types
import zlib

from base import PAGE, Vault
from harness import CHEAP, PASSPHRASE, SOURCE, case, check, mounted, wait_until

sys.path.append(os.path.join(SOURCE, 'tests', 'fuse', 'mounted'))
import insides  # noqa: E402


def pages(folder):
    """Every page of every object, with where it stands; holes left out."""
    found = []
    for path in glob.glob(folder + '/[0-9a-f][0-9a-f]/*'):
        with open(path, 'rb') as f:
            data = f.read()
        for at in range(0, len(data), PAGE):
            if any(data[at:at + PAGE]):
                found.append((os.path.basename(path), at // PAGE, data[at:at + PAGE]))
    return found


def unrelated(a, b):
    """Two strings of random bytes: equal bytes at the same place are a 256th, and nothing longer is common."""
    equal = sum(x == y for x, y in zip(a, b))
    check(equal < 80, f'{equal} bytes of a page are equal')
    words = collections.Counter(a[i:i + 8] for i in range(0, len(a), 8))
    common = [b[i:i + 8] for i in range(len(b) - 7) if words.get(b[i:i + 8])]
    check(not common, f'common: {common[:3]}')


@case
def equal_contents_give_unrelated_ciphertext(w):
    v = Vault(w, fill=False)
    v.mount()
    data = b'the same page, over and over. ' * 137
    for name in ('a', 'b'):
        v.write(name, data[:PAGE] * 6)
    v.umount()
    found = [page for _, position, page in pages(v.dir) if position in range(1, 7)]
    check(len(found) >= 12, f'{len(found)} pages')
    check(len(set(found)) == len(found), 'equal pages of ciphertext')
    for page in found[1:]:
        unrelated(found[0], page)


@case
def equal_names_give_unrelated_ciphertext(w):
    v = Vault(w, fill=False)
    v.mount()
    for directory in ('d1', 'd2', 'd3'):
        os.mkdir(v.path(directory))
        for i in range(30):
            v.write(f'{directory}/the same name {i}', b'')
    v.umount()
    found = [page for _, _, page in pages(v.dir)]
    check(len(set(found)) == len(found), 'equal pages of ciphertext')
    for i, a in enumerate(found):
        for b in found[i + 1:]:
            unrelated(a[512:], b[512:])


@case
def a_page_rewritten_and_a_rename_give_unrelated_ciphertext(w):
    v = Vault(w, fill=False)
    v.mount()
    data = b'z' * 5 * PAGE
    v.write('file', data)
    v.umount()
    first = {(name, at): page for name, at, page in pages(v.dir)}
    v.mount()
    v.write('file', data)
    v.umount()
    second = {(name, at): page for name, at, page in pages(v.dir)}
    v.mount()
    os.rename(v.path('file'), v.path('elif'))
    v.umount()
    third = {(name, at): page for name, at, page in pages(v.dir)}
    changed = 0
    for before, after in ((first, second), (second, third)):
        for place in before.keys() & after.keys():
            if before[place] != after[place]:
                unrelated(before[place][512:], after[place][512:])
                changed += 1
    check(changed >= 6, f'{changed} pages changed')


@case
def ciphertext_is_incompressible_and_has_no_plaintext(w):
    v = Vault(w, fill=False)
    v.mount()
    needle = b'a needle that stands in names and contents'
    for i in range(20):
        v.write(f'{needle.decode()} {i}', needle * (30 * i + 1))
        os.setxattr(v.path(f'{needle.decode()} {i}'), 'user.' + needle.decode().replace(' ', '_'), needle * 5)
    os.symlink(needle.decode(), v.path('symlink'))
    v.umount()
    names = []
    for root, _, files in os.walk(v.dir):
        for name in files:
            names.append(name)
            with open(os.path.join(root, name), 'rb') as f:
                data = f.read()
            check(needle not in data and needle.replace(b' ', b'_') not in data, f'plaintext in {name}')
    check(not any('needle' in name for name in names), 'plaintext in a name')
    for name, position, page in pages(v.dir):
        body = page[484:] if position == 0 else page
        check(len(zlib.compress(body, 9)) >= len(body), f'page {position} of {name} can be compressed')


@case
def no_nonce_repeats(w):
    """All nonces that stand in the clear, in objects, journal, header and anchor, over many writes; those inside
    seals are counted by the unit test of leaks."""
    v = Vault(w, fill=False)
    seen = collections.Counter()

    def collect():
        for name, position, page in pages(v.dir):
            if position == 0:
                seen[('object', name, page[484:496])] += 0
        with open(v.top('wardfs.journal'), 'rb') as f:
            journal = f.read(8 << 20)
        for block in (0, 1):
            seen[('superblock', journal[block * PAGE + 16:block * PAGE + 28])] += 0

    headers = set()
    for i in range(6):
        v.mount()
        for k in range(10):
            v.write(f'f{k}', bytes([i]) * (100 * k))
        v.umount()
        collect()
        for name, position, page in pages(v.dir):
            if position == 0:
                headers.add((name, page[484:496], page[496:512]))
    nonces = collections.Counter(nonce for _, nonce, _ in headers)
    check(len(headers) > 30 and max(nonces.values()) == 1, 'a nonce of object headers repeats')
    blocks = [key[1] for key in seen if key[0] == 'superblock']
    check(len(set(blocks)) == len(blocks), 'a nonce of superblocks repeats')


@case
def no_wrapped_keys_are_equal(w):
    v = Vault(w, fill=False)
    v.mount()
    for i in range(200):
        v.write(f'f{i}', b'content')
    v.umount()
    keys = []
    for name, position, page in pages(v.dir):
        if position == 0:
            keys += [page[44:92], page[100:148]]
    check(len(keys) >= 400 and len(set(keys)) == len(keys), 'equal key bytes in two objects')
    together = b''.join(keys)
    check(len(zlib.compress(together, 9)) > len(together) * 0.98, 'wrapped keys can be compressed')


def processes():
    """Every process of wardfs on this machine: pid -> its arguments."""
    found = {}
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/comm', 'rb') as comm, open(f'/proc/{pid}/cmdline', 'rb') as words:
                if comm.read().startswith(b'wardfs'):
                    found[int(pid)] = words.read()
        except OSError:
            continue
    return found


def memory_of(pid):
    """What a core of it would hold: every mapping that root can read."""
    try:
        with open(f'/proc/{pid}/maps', encoding='utf-8', errors='replace') as maps, \
                open(f'/proc/{pid}/mem', 'rb', 0) as memory:
            for line in maps.read().splitlines():
                first, last = (int(n, 16) for n in line.split()[0].split('-'))
                if line.split()[1][0] != 'r' or '[v' in line or last - first > 1 << 31:
                    continue
                before = b''
                while first < last:
                    try:
                        memory.seek(first)
                        data = memory.read(min(last - first, 1 << 20))
                    except (OSError, ValueError, OverflowError):
                        break  # what even root cannot read
                    if not data:
                        break
                    yield before[-100:] + data
                    before = data
                    first += len(data)
    except OSError:
        return


def keys_of(v):
    """The beginning of every key of a vault that is not mounted, from the root key to those of objects."""
    passfile = v.w.path('pass')
    with open(os.open(passfile, os.O_WRONLY | os.O_CREAT, 0o600), 'wb') as f:
        f.write(PASSPHRASE + b'\n')
    keys = insides.record_keys(types.SimpleNamespace(dir=v.dir, passfile=passfile))
    check(len(keys) >= 15, f'{len(keys)} keys are known')
    return [part for _, part in insides.key_parts(keys)]


def found_in(pids, secrets):
    return [(pid, secret[:12]) for pid in pids for data in memory_of(pid) for secret in secrets if secret in data]


NAME, TEXT, SECRET = b'a name nobody should read', b'contents nobody should read', b'a passphrase nobody should read'


def used(w, *options):
    """A vault with a name and a content to look for, mounted."""
    v = Vault(w, fill=False)
    new = w.path('new')
    with open(os.open(new, os.O_WRONLY | os.O_CREAT, 0o600), 'wb') as f:
        f.write(SECRET + b'\n')
    w.ok('key', 'add', *CHEAP[:4], '--new-passfile', new, v.dir)
    os.unlink(new)
    v.mount(*options)
    v.write(NAME.decode(), TEXT * 400)
    os.setxattr(v.path(NAME.decode()), 'user.note', TEXT)
    check(v.read(NAME.decode()) == TEXT * 400, 'what was written')
    return v


@case
def nothing_secret_in_arguments_environment_and_logs(w):
    """Of all processes: the one in front, the one that has the keys, and who else there is."""
    v = used(w)
    v.remount()
    check(v.read(NAME.decode()) == TEXT * 400, 'what was written')
    places = {}
    ours = {v.process.pid, v.status()['pid'], v.status()['broker_pid']}
    for pid in ours | set(processes()):
        for kind in ('cmdline', 'environ', 'status', 'maps', 'comm', 'mountinfo'):
            try:
                with open(f'/proc/{pid}/{kind}', 'rb') as f:
                    places[f'{kind} of {pid}'] = f.read()
            except OSError:
                check(kind != 'cmdline' or pid not in ours, f'no {kind} of {pid}')
    places['status output'] = w.ok('status', '--json').encode() + w.ok('status').encode()
    v.umount()
    with open(v.log, 'rb') as f:
        places['log'] = f.read()
    for root, _, files in os.walk(w.env()['XDG_STATE_HOME']):
        for name in files:
            with open(os.path.join(root, name), 'rb') as f:
                places['anchor'] = f.read()
    for where, data in places.items():
        for secret in (PASSPHRASE, SECRET, NAME, TEXT):
            check(secret not in data, f'{secret} in {where}')
    check(mounted(v.mnt) is None, 'mounted')


@case
def the_worker_leaves_no_core(w):
    v = Vault(w, fill=False)
    v.mount()
    for pid in {v.process.pid, v.status()['pid'], v.status()['broker_pid']}:
        with open(f'/proc/{pid}/limits', encoding='ascii') as f:
            cores = [line.split()[4:6] for line in f if line.startswith('Max core file size')]
        check(cores == [['0', '0']], f'{pid}: {cores}')
        # Of an undumpable process not even the owner is the owner.
        check(os.stat(f'/proc/{pid}/mem').st_uid == 0, 'owner')
    v.umount()


@case
def nothing_is_left_after_an_unmount(w):
    """In no process of wardfs that is still there, and the passphrase is gone as soon as the vault is open."""
    v = used(w)
    v.umount()
    keys = keys_of(v)
    v.mount()
    check(v.read(NAME.decode()) == TEXT * 400, 'what was written')
    ours = {v.process.pid, v.status()['pid'], v.status()['broker_pid']}
    check(found_in(ours, [PASSPHRASE, SECRET]) == [], f'a passphrase stays: {found_in(ours, [PASSPHRASE, SECRET])}')
    # The search finds what is there: the worker keeps names while the vault is open.
    check(found_in([v.status()['pid']], [NAME]), 'the name is not seen where it must be')
    worker = v.status()['pid']
    # So it does with keys, where this kernel does not hide them even from root.
    check(insides.hides_memory(worker) or found_in([worker], keys), 'no key is seen where they must be')
    check(found_in([os.getpid()], keys[:1]), 'a key is not seen in this process')
    check(found_in(ours - {worker}, keys) == [], 'keys in a process that needs none')
    v.umount()
    wait_until(lambda: worker not in processes(), 'the worker has ended')
    left = found_in(processes(), [PASSPHRASE, SECRET, NAME, TEXT, *keys])
    check(left == [], f'{left}')


@case
def a_rename_alone_gives_unrelated_ciphertext(w):
    """Nothing but a name changes, to one that differs in a letter and back: every page that is written is new."""
    v = Vault(w, fill=False)
    v.mount()
    v.write('the name of a file', b'x' * 100)
    v.umount()
    states = []
    for old, new in (('the name of a file', 'the name of a filf'), ('the name of a filf', 'the name of a file')):
        states.append({(name, at): page for name, at, page in pages(v.dir)})
        v.mount()
        os.rename(v.path(old), v.path(new))
        v.umount()
    states.append({(name, at): page for name, at, page in pages(v.dir)})
    changed = 0
    for before, after in ((states[0], states[1]), (states[1], states[2]), (states[0], states[2])):
        for place in before.keys() & after.keys():
            if before[place] != after[place]:
                unrelated(before[place][512:], after[place][512:])
                changed += 1
    check(changed >= 3, f'{changed} pages changed')
