# SPDX-License-Identifier: Apache-2.0
"""What the ciphertext tells, and what the program leaves where others can see it."""
import collections
import glob
import os
import zlib

from base import PAGE, Vault
from harness import PASSPHRASE, case, check, mounted


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


@case
def nothing_secret_in_arguments_environment_and_logs(w):
    v = Vault(w, fill=False)
    v.mount()
    v.write('a name nobody should read', b'contents nobody should read' * 10)
    places = {}
    for kind in ('cmdline', 'environ', 'status', 'maps', 'comm'):
        try:
            with open(f'/proc/{v.process.pid}/{kind}', 'rb') as f:
                places[kind] = f.read()
        except OSError:
            places[kind] = b''
    places['status output'] = w.ok('status', '--json').encode() + w.ok('status').encode()
    v.umount()
    with open(v.log, 'rb') as f:
        places['log'] = f.read()
    for root, _, files in os.walk(w.env()['XDG_STATE_HOME']):
        for name in files:
            with open(os.path.join(root, name), 'rb') as f:
                places['anchor'] = f.read()
    for where, data in places.items():
        for secret in (PASSPHRASE, b'a name nobody', b'contents nobody'):
            check(secret not in data, f'{secret} in {where}')
    check(mounted(v.mnt) is None, 'mounted')


@case
def the_worker_leaves_no_core(w):
    v = Vault(w, fill=False)
    v.mount()
    with open(f'/proc/{v.process.pid}/limits', encoding='ascii') as f:
        cores = [line.split()[4:6] for line in f if line.startswith('Max core file size')]
    check(cores == [['0', '0']], f'{cores}')
    # Of an undumpable process not even the owner is the owner.
    check(os.stat(f'/proc/{v.process.pid}/mem').st_uid == 0, 'owner')
    v.umount()
