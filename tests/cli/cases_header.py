# SPDX-License-Identifier: Apache-2.0
"""Vault headers that were cut, replaced or changed: told before or after the passphrase, nothing changed."""
import os
import shutil

from harness import PASSPHRASE, VAULT_FILES, case, check, snapshot

HEADER_BYTES = 106496
SLOT = 1024


def change(vault, edit, files=VAULT_FILES):
    for name in files:
        path = os.path.join(vault, name)
        with open(path, 'rb') as f:
            data = edit(bytearray(f.read()))
        with open(path, 'wb') as f:
            f.write(data)


def put(offset, value, size=4):
    def edit(data):
        data[offset:offset + size] = value.to_bytes(size, 'little')
        return data
    return edit


def refused_everywhere(w, vault, status, words, stdin=None):
    """By mount (both ways) and passwd, and nothing is changed."""
    before = snapshot(vault)
    mnt = w.path('mnt')
    if not os.path.exists(mnt):
        w.mountpoint()
    new = ['--new-extpass', 'echo new', '--kdf-memory', '8', '--kdf-passes', '1']
    w.refused(status, words, 'mount', vault, mnt, stdin=stdin)
    w.refused(status, words, 'mount', '--ro', vault, mnt, stdin=stdin)
    w.refused(status, words, 'mount', '-f', vault, mnt, stdin=stdin)
    w.refused(status, words, 'passwd', *new, vault, stdin=stdin)
    check(snapshot(vault) == before, 'something changed')


@case
def header_missing(w):
    v = w.vault()
    for name in VAULT_FILES:
        os.unlink(os.path.join(v, name))
    refused_everywhere(w, v, 5, ['not a wardfs vault', 'wardfs init'])


@case
def header_empty(w):
    v = w.vault()
    change(v, lambda data: b'')
    refused_everywhere(w, v, 9, 'cut short')


@case
def header_cut(w):
    v = w.vault()
    for length in (1, 100, 4096, HEADER_BYTES - 1):
        change(v, lambda data, n=length: data[:n])
        refused_everywhere(w, v, 9, 'cut short')


@case
def header_of_one_gibibyte(w):
    v = w.vault()
    for name in VAULT_FILES:
        os.truncate(os.path.join(v, name), 1 << 30)
    refused_everywhere(w, v, 9, 'damaged')


@case
def header_of_random_bytes(w):
    v = w.vault()
    change(v, lambda data: os.urandom(HEADER_BYTES))
    refused_everywhere(w, v, 5, 'not a wardfs vault')


@case
def header_of_zeros(w):
    v = w.vault()
    change(v, lambda data: bytes(HEADER_BYTES))
    refused_everywhere(w, v, 5, 'not a wardfs vault')


@case
def header_of_an_unknown_version(w):
    v = w.vault()
    change(v, put(8, 2))
    refused_everywhere(w, v, 13, 'newer version')


@case
def header_with_an_unknown_feature(w):
    v = w.vault()
    change(v, put(32, 1, 8))
    refused_everywhere(w, v, 13, 'newer version')


@case
def header_with_kdf_parameters_out_of_bounds(w):
    v = w.vault()
    for offset, value in ((80, 0), (80, 8191), (80, 4194305), (80, 0xffffffff), (84, 0), (84, 65),
                          (84, 0xffffffff), (88, 0), (88, 17)):
        shutil.copytree(v, w.path('copy'))
        change(w.path('copy'), put(SLOT + offset, value))
        refused_everywhere(w, w.path('copy'), 16, 'out of bounds')
        shutil.rmtree(w.path('copy'))


@case
def header_with_weakened_kdf_parameters(w):
    """Within the bounds, but not those of the slot: the passphrase does not open it."""
    v = w.vault()
    change(v, put(SLOT + 84, 2))
    refused_everywhere(w, v, 3, 'wrong passphrase', stdin=PASSPHRASE + b'\n')


@case
def header_changed(w):
    v = w.vault()
    for offset in (56, 72, 120, 200, SLOT + 3072 + 5, 99328 + 20, HEADER_BYTES - 1):
        shutil.copytree(v, w.path('copy'))

        def flip(data, at=offset):
            data[at] ^= 1
            return data

        change(w.path('copy'), flip)
        before = snapshot(w.path('copy'))
        if not os.path.exists(w.path('mnt')):
            w.mountpoint()
        done = w.run('mount', w.path('copy'), w.path('mnt'))
        check(done.returncode in (4, 9), f'byte {offset}: {done}')
        check(done.stderr.count(b'\n') == 1, repr(done.stderr))
        check(snapshot(w.path('copy')) == before, 'something changed')
        shutil.rmtree(w.path('copy'))


@case
def header_that_is_no_file(w):
    v = w.vault()
    makers = (os.mkfifo, os.mkdir, lambda path: os.symlink('/etc/passwd', path))
    for make in makers:
        shutil.copytree(v, w.path('copy'))
        for name in VAULT_FILES:
            os.unlink(w.path('copy', name))
            make(w.path('copy', name))
        refused_everywhere(w, w.path('copy'), 9, 'no plain file')
        shutil.rmtree(w.path('copy'))


@case
def wrong_passphrase(w):
    refused_everywhere(w, w.vault(), 3, ['wrong passphrase', 'try again'], stdin=b'wrong\n')


@case
def empty_passphrase(w):
    refused_everywhere(w, w.vault(), 2, 'empty passphrase', stdin=b'\n')


@case
def vault_that_is_not_there(w):
    w.mountpoint()
    w.refused(14, ['no such directory', 'nowhere'], 'mount', w.path('nowhere'), w.path('mnt'))
    with open(w.path('file'), 'w', encoding='ascii'):
        pass
    w.refused(2, 'not a directory', 'mount', w.path('file'), w.path('mnt'))
    w.refused(2, 'not a directory', 'passwd', w.path('file'))


@case
def directory_that_is_no_vault(w):
    os.mkdir(w.path('d'))
    refused_everywhere(w, w.path('d'), 5, ['not a wardfs vault', 'wardfs init'])
