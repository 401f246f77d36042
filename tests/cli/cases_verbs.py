# SPDX-License-Identifier: Apache-2.0
"""init, passwd, version, help; wrong usage."""
import os
import re
import subprocess

from harness import CHEAP, PASSPHRASE, USER, VAULT_FILES, case, check, snapshot


@case
def version_names_everything(w):
    text = w.ok('--version')
    for word in (r'^wardfs \d', r'^vault format: 1$', r'^AES-256-GCM: \S', r'^libcrypto: OpenSSL 3',
                 r'^libargon2: \d', r'^libfuse: 3', r'^jansson: \d'):
        check(re.search(word, text, re.M), f'no {word} in {text!r}')
    check(w.ok('version') == text and w.ok('-V') == text, 'the three spellings differ')


@case
def help_lists_every_verb(w):
    text = w.ok('--help')
    for verb in ('init', 'mount', 'umount', 'passwd', 'check', 'rotate', 'status', 'lock', 'unlock', 'freeze', 'thaw', 'version'):
        check(f'wardfs {verb}' in text, f'no {verb} in the help')
        check('Usage: wardfs ' + verb in w.ok(verb, '--help'), f'no help of {verb}')


@case
def install_puts_things_where_they_are_looked_for(w):
    """mount(8) looks for its helpers in /sbin only."""
    build = os.path.dirname(os.path.dirname(os.environ['WARDFSD']))
    done = subprocess.run(['meson', 'install', '-C', build, '--no-rebuild', '--destdir', w.path('root')],
                          capture_output=True, text=True, check=False)
    check(done.returncode == 0, done)
    for helper in ('mount.wardfs', 'mount.fuse.wardfs'):
        target = os.readlink(w.path(f'root/sbin/{helper}'))
        check(os.access(w.path('root') + target, os.X_OK), f'{helper} leads to {target}')
    prefix = os.path.dirname(os.path.dirname(target))
    for name in ('sbin/wardfsd', 'share/man/man1/wardfs.1', 'share/man/man8/mount.wardfs.8', 'lib/systemd/user/wardfsd.socket',
                 'lib/systemd/user/wardfsd.service', 'lib/systemd/system/wardfs@.service'):
        path = w.path('root') + os.path.join(prefix, name)
        check(os.path.exists(path), f'no {path}')
        if name.endswith('.service'):
            with open(path, encoding='utf-8') as f:
                program = re.search(r'^ExecStart=(\S+)', f.read(), re.M).group(1)
            check(os.access(w.path('root') + program, os.X_OK), f'{name} starts {program}')


@case
def unknown_verb_is_named(w):
    w.refused(2, ['frobnicate', 'unknown verb', '--help'], 'frobnicate')


@case
def unknown_option_is_named(w):
    done = w.run('init', '--frobnicate', w.path('v'))
    check(done.returncode == 2 and b'--frobnicate' in done.stderr, repr(done.stderr))


@case
def missing_and_surplus_arguments(w):
    w.refused(2, 'DIR', 'init')
    w.refused(2, 'DIR MNT', 'mount', w.path('v'))
    w.refused(2, 'MNT', 'umount')
    w.refused(2, 'one argument too many', 'init', w.path('v'), w.path('w'))
    w.refused(2, 'one argument too many', 'status', 'x')


@case
def init_makes_a_private_vault(w):
    text = w.ok('init', *CHEAP, w.path('v'))
    check(re.fullmatch(r'Key derivation: Argon2id, 8 MiB, 1 pass, \d+ lanes?, about \d+\.\d s on this '
                       r'machine\nJournal: 8 MiB\n', text), repr(text))
    check(sorted(os.listdir(w.path('v'))) == ['wardfs.journal', *VAULT_FILES], 'other files')
    check(os.stat(w.path('v')).st_mode & 0o077 == 0, 'others may enter the vault')
    for name in os.listdir(w.path('v')):
        check(os.stat(w.path('v', name)).st_mode & 0o077 == 0, f'others may read {name}')


@case
def init_in_an_existing_empty_directory(w):
    os.mkdir(w.path('v'))
    w.ok('init', *CHEAP, w.path('v'))


@case
def init_calibrates(w):
    text = w.ok('init', '--journal', '8', w.path('v'))
    memory, passes = map(int, re.search(r'Argon2id, (\d+) MiB, (\d+) pass', text).groups())
    check(16 <= memory <= 1024 and 1 <= passes <= 64, text)
    seconds = float(re.search(r'about (\d+\.\d) s', text).group(1))
    check(0.2 <= seconds <= 5, text)


@case
def init_says_what_was_asked_for(w):
    text = w.ok('init', '--kdf-memory', '16', '--kdf-passes', '3', '--journal', '9', '--label', 'first',
                w.path('v'))
    check('16 MiB, 3 passes' in text and 'Journal: 9 MiB' in text, text)
    check(os.path.getsize(w.path('v/wardfs.journal')) == 9 << 20, 'size of the journal')
    with open(w.path('v/wardfs.vault'), 'rb') as f:
        check(b'first' in f.read(), 'the label is not in the header')


@case
def init_refuses_a_directory_with_content(w):
    os.mkdir(w.path('v'))
    with open(w.path('v/file'), 'w', encoding='ascii') as f:
        f.write('mine')
    before = snapshot(w.path('v'))
    w.refused(15, ['v', 'not empty', 'new one'], 'init', *CHEAP, w.path('v'), stdin=None)
    check(snapshot(w.path('v')) == before, 'something changed')


@case
def init_refuses_a_vault(w):
    before = snapshot(w.vault())
    w.refused(15, 'not empty', 'init', *CHEAP, w.path('vault'))
    check(snapshot(w.path('vault')) == before, 'something changed')


@case
def init_refuses_what_is_no_directory(w):
    with open(w.path('v'), 'w', encoding='ascii'):
        pass
    w.refused(2, 'not a directory', 'init', *CHEAP, w.path('v'))
    w.refused(14, 'above it does not exist', 'init', *CHEAP, w.path('a/b'))


@case
def init_without_permission(w):
    w.refused(8, 'permission', 'init', *CHEAP, w.path('v'), user=USER)
    os.mkdir(w.path('d'), 0o755)
    w.refused(8, 'permission', 'init', *CHEAP, w.path('d'), user=USER)
    check(os.listdir(w.folder) == ['d'], 'something was made')


@case
def init_on_a_read_only_host(w):
    os.mkdir(w.path('host'))
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'ro', 'none', w.path('host')], check=True)
    w.refused(17, 'read-only', 'init', *CHEAP, w.path('host/v'))
    w.refused(17, 'read-only', 'init', *CHEAP, w.path('host'))


@case
def init_on_a_full_host(w):
    os.mkdir(w.path('host'))
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=4m', 'none', w.path('host')], check=True)
    w.refused(11, 'no space', 'init', *CHEAP, w.path('host/v'))
    check(os.listdir(w.path('host')) == [], 'something was left behind')


@case
def init_bounds(w):
    for option, value in (('kdf-memory', '7'), ('kdf-memory', '4097'), ('kdf-passes', '0'),
                          ('kdf-passes', '65'), ('journal', '7'), ('journal', '4097')):
        w.refused(16, [option, 'out of bounds'], 'init', f'--{option}', value, w.path('v'))
    w.refused(16, 'out of bounds', 'init', '--kdf-memory', '4096', '--kdf-passes', '17', w.path('v'))
    for value in ('x', '', '-8', '8x', ' 8', '99999999999999999999999'):
        w.refused(2, 'not a number', 'init', '--kdf-memory', value, w.path('v'))
    w.refused(16, 'label', 'init', '--label', 'x' * 64, w.path('v'))
    w.refused(2, 'label', 'init', '--label', 'a\nb', w.path('v'))
    check(os.listdir(w.folder) == [], 'something was made')


@case
def passwd_changes_the_passphrase(w):
    v = w.vault()
    w.ok('passwd', *CHEAP[:4], v, stdin=PASSPHRASE + b'\nsecond\n')
    w.refused(3, 'wrong passphrase', 'passwd', *CHEAP[:4], v, stdin=PASSPHRASE + b'\nthird\n')
    w.ok('passwd', *CHEAP[:4], v, stdin=b'second\nthird\n')


@case
def passwd_from_files(w):
    v = w.vault()
    for name, text in (('old', PASSPHRASE), ('new', b'second')):
        with open(w.path(name), 'wb', opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write(text + b'\nmore\n')
    w.ok('passwd', *CHEAP[:4], '--passfile', w.path('old'), '--new-passfile', w.path('new'), v, stdin=None)
    w.ok('passwd', *CHEAP[:4], '--passfile', w.path('new'), '--new-extpass', 'echo third', v, stdin=None)
    w.refused(3, 'wrong passphrase', 'passwd', *CHEAP[:4], '--passfile', w.path('new'),
              '--new-extpass', 'echo fourth', v, stdin=None)


@case
def passwd_bad_input(w):
    v = w.vault()
    before = snapshot(v)
    w.refused(3, 'wrong passphrase', 'passwd', *CHEAP[:4], v, stdin=b'wrong\nnew\n')
    w.refused(2, 'empty passphrase', 'passwd', *CHEAP[:4], v, stdin=PASSPHRASE + b'\n\n')
    w.refused(2, 'empty passphrase', 'passwd', *CHEAP[:4], v, stdin=b'\nnew\n')
    w.refused(16, 'kdf-memory', 'passwd', '--kdf-memory', '1', v)
    check(snapshot(v) == before, 'something changed')
    w.refused(14, 'no such directory', 'passwd', w.path('nowhere'))
    w.refused(5, 'not a wardfs vault', 'passwd', w.folder)
    w.refused(8, 'permission', 'passwd', v, user=USER)


@case
def output_that_cannot_be_written(w):
    with open('/dev/full', 'wb') as full:
        done = subprocess.run([w.program, '--version'], stdout=full, stderr=subprocess.PIPE, check=False)
    check(done.returncode == 10 and done.stderr.count(b'\n') == 1, repr(done))


@case
def control_bytes_in_a_path_stay_on_one_line(w):
    text = w.refused(14, 'no such directory', 'passwd', w.path('a\nb\x1b'))
    check('a\\012b\\033' in text, repr(text))
