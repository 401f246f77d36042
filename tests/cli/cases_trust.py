# SPDX-License-Identifier: Apache-2.0
"""Lists of keyslots out of a header that is authentic and old: what this machine and the mount know is said."""
import json
import os
import shutil

from cases_key import opens, passfile
from cases_secrets import mount, who
from harness import CHEAP, VAULT_FILES, case, check, snapshot

KDF = CHEAP[:4]


def with_a_removed_secret(w):
    """A vault, its passphrase file, that of a removed secret, and the header files of before."""
    v, p, gone = w.vault(), passfile(w), passfile(w, b'amber Falke 20 quince', 'gone')
    w.ok('key', 'add', '--passfile', p, '--new-passfile', gone, *KDF, '--label', 'gone', v, stdin=None)
    old = w.path('old')
    os.mkdir(old)
    put_back(v, old)
    w.ok('key', 'remove', '--passfile', p, v, '1', stdin=None)
    return v, p, gone, old


def put_back(of, to):
    for name in VAULT_FILES:
        shutil.copyfile(os.path.join(of, name), os.path.join(to, name))


def listed(w, v, *args, status=0):
    done = w.run('key', 'list', '--json', *args, v, stdin=None)
    check(done.returncode == status, repr(done))
    return json.loads(done.stdout), done.stderr.decode()


def all_doubt(w, v, secret, basis, status, words):
    """Every verb that opens the header and lists or copies it."""
    found = who(w, v, '--passfile', secret, status=status)
    check(found['basis'] == basis and not found['verified'], found)
    done = w.run('who-can-open', '--passfile', secret, v, stdin=None)
    check(done.returncode == status and b'\nNOT ' in done.stdout and b'\nVerified' not in done.stdout, repr(done))
    found, errors = listed(w, v, '--passfile', secret, status=status)
    check(found['basis'] == basis and not found['verified'] and not errors, found)
    done = w.run('key', 'list', '--passfile', secret, v, stdin=None)
    check(done.returncode == status and b'NOT verified' in done.stdout and words in done.stderr.decode(), repr(done))
    done = w.run('key', 'test', '--passfile', secret, v, stdin=None)
    check(done.returncode == status and b'which a mount refuses' in done.stdout, repr(done))
    check(words in done.stderr.decode(), repr(done))
    copy = w.path('copy')
    done = w.run('header', 'backup', '--passfile', secret, copy, v, stdin=None)
    check(done.returncode == 0 and words in done.stderr.decode(), repr(done))
    os.unlink(copy)


@case
def header_of_before_a_removal_is_not_verified(w):
    v, p, gone, old = with_a_removed_secret(w)
    now = w.path('now')
    os.mkdir(now)
    put_back(v, now)
    check(who(w, v, '--passfile', p)['basis'] == 'secret' and listed(w, v, '--passfile', p)[0]['verified'], 'now')
    put_back(old, v)
    for secret in (gone, p):
        all_doubt(w, v, secret, 'older', 4, 'its keys are of epoch 1 instead of 2')
    check(who(w, v)['basis'] == 'files' and listed(w, v)[0]['basis'] == 'files', 'without a secret')
    # An older header under the same keys, and one of the same age that went its own way.
    put_back(now, v)
    w.ok('umount', mount(w, v, p))
    put_back(now, v)
    all_doubt(w, v, p, 'older', 4, 'an older state than this machine has seen: mount')
    # Nothing is written by all that.
    w.refused(4, 'older state', 'mount', '--passfile', p, v, w.path('mnt'), stdin=None)


@case
def header_of_before_a_removal_beside_a_mount(w):
    v, p, gone, old = with_a_removed_secret(w)
    mnt = mount(w, v, p)
    check(who(w, v, '--passfile', p)['basis'] == 'secret', 'with a secret')
    check(listed(w, v)[0]['basis'] == 'mount' and 'the mount that has' in w.ok('key', 'list', v), 'without one')
    now = w.path('now')
    os.mkdir(now)
    put_back(v, now)
    put_back(old, v)
    for secret in (gone, p):
        all_doubt(w, v, secret, 'contradicted', 4, 'the mount that has the vault open knows others')
    check(listed(w, v, status=4)[0]['basis'] == 'contradicted', 'without a secret')
    put_back(now, v)
    check(opens(w, v, '--passfile', p, stdin=None) == 0, 'the header of now')
    w.ok('umount', mnt)


@case
def list_beside_an_anchor_that_is_damaged(w):
    v, p = w.vault(), passfile(w)
    state = w.env()['XDG_STATE_HOME'] + '/wardfs'
    [name] = os.listdir(state)
    with open(os.path.join(state, name, 'anchor'), 'r+b') as f:
        f.truncate(100)
    all_doubt(w, v, p, 'no-record', 20, 'the anchor) cannot be used')
    w.ok('accept', '--passfile', p, '--yes', v, stdin=None)
    check(who(w, v, '--passfile', p)['verified'], 'after an accept')


def objects(v):
    """Path and content of each object."""
    found = {}
    for folder in os.listdir(v):
        if os.path.isdir(os.path.join(v, folder)):
            for name in os.listdir(os.path.join(v, folder)):
                with open(os.path.join(v, folder, name), 'rb') as f:
                    found[os.path.join(folder, name)] = f.read()
    return found


def write(w, v, p, text):
    mnt = mount(w, v, p)
    for name in ('one', 'two'):
        with open(os.path.join(mnt, name), 'w', encoding='ascii') as f:
            f.write(text * 5000)
    w.ok('umount', mnt)


@case
def accept_of_a_header_that_does_not_fit_the_files(w):
    """What no mount would take is not accepted, and nothing is written; what can be mounted is, with its losses."""
    v, p, gone = w.vault(), passfile(w), passfile(w, b'amber Falke 20 quince', 'gone')
    write(w, v, p, 'first')
    w.ok('key', 'add', '--passfile', p, '--new-passfile', gone, *KDF, v, stdin=None)
    shutil.copytree(v, w.path('whole'))
    write(w, v, p, 'second')
    now = w.path('now')
    os.mkdir(now)
    put_back(v, now)
    put_back(w.path('whole'), v)
    before = snapshot(v)
    w.refused(4, ['the root directory is newer than the header says', 'nothing was changed'], 'accept', '--yes',
              '--passfile', p, v, stdin=None)
    check(snapshot(v) == before, 'something was written')
    put_back(now, v)
    w.ok('key', 'remove', '--passfile', p, v, '1', stdin=None)
    write(w, v, p, 'third')
    put_back(v, now)
    put_back(w.path('whole'), v)
    before = snapshot(v)
    for secret in (p, gone):
        w.refused(4, ['older than its files: ', f' of {len(objects(v))} objects, the root', 'nothing was changed'],
                  'accept', '--yes', '--passfile', secret, v, stdin=None)
    w.refused(4, 'older state', 'mount', '--passfile', p, v, w.path('mnt'), stdin=None)
    check(snapshot(v) == before, 'something was written')
    put_back(now, v)
    w.ok('check', '--passfile', p, v, stdin=None)
    # The whole copy, but for one file of later.
    later = objects(v)
    os.rename(v, w.path('later'))
    shutil.copytree(w.path('whole'), v)
    new = [path for path, data in objects(v).items() if later.get(path, data) != data and int(path[3:], 16) > 2]
    check(new, 'no file has another object')
    with open(os.path.join(v, new[0]), 'wb') as f:
        f.write(later[new[0]])
    done = w.run('accept', '--yes', '--passfile', p, v, stdin=None)
    check(done.returncode == 0 and b'Accepted.' in done.stdout and b'cannot be shown' in done.stdout, repr(done))
    check(f'1 of {len(objects(v))} objects are under keys' in done.stderr.decode(), repr(done))
    # What was given up is refused from then on, whether or not what was accepted has been mounted.
    for _ in range(2):
        os.rename(v, w.path('accepted'))
        os.rename(w.path('later'), v)
        done = w.run('mount', '--passfile', p, v, w.path('mnt'), stdin=None)
        check(done.returncode == 4 and b'an older state than this machine' in done.stderr, repr(done))
        os.rename(v, w.path('later'))
        os.rename(w.path('accepted'), v)
        w.ok('umount', mount(w, v, gone))


@case
def mount_point_stands_for_its_vault(w):
    """In every verb that only reads the header; locked, too."""
    v, p = w.vault(), passfile(w)
    mnt = mount(w, v, p)
    for _ in range(2):
        check(who(w, mnt, '--passfile', p)['vault'] == v, 'who-can-open')
        check(listed(w, mnt, '--passfile', p)[0]['vault'] == v, 'key list')
        check(opens(w, mnt, '--passfile', p, stdin=None) == 0, 'key test')
        w.ok('header', 'backup', '--passfile', p, w.path('copy'), mnt, stdin=None)
        os.unlink(w.path('copy'))
        w.ok('lock', mnt)
    w.ok('unlock', '--passfile', p, mnt, stdin=None)
    w.ok('umount', mnt)
    w.refused(5, 'not a wardfs vault', 'key', 'list', mnt, stdin=None)
