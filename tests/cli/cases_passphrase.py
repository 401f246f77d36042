# SPDX-License-Identifier: Apache-2.0
"""Where passphrases come from, without a terminal."""
import os

from harness import CHEAP, PASSPHRASE, case, check

KDF = CHEAP[:4]


def write(path, data, mode=0o600):
    with open(path, 'wb') as f:
        f.write(data)
    os.chmod(path, mode)
    return path


def opens(w, v, *args, **more):
    """The old passphrase comes from `args`; it stays the same."""
    return w.run('passwd', *KDF, '--new-extpass', 'printf "correct horse"', *args, v, **more)


@case
def passfile_is_its_first_line(w):
    v = w.vault()
    for data in (PASSPHRASE, PASSPHRASE + b'\n', PASSPHRASE + b'\nsecond line\n'):
        done = opens(w, v, '--passfile', write(w.path('p'), data), stdin=None)
        check(done.returncode == 0 and done.stderr == b'', repr(done))
    done = opens(w, v, '--passfile', write(w.path('p'), PASSPHRASE + b' \n'), stdin=None)
    check(done.returncode == 3, 'white space was cut')


@case
def passfile_that_others_can_read_is_warned_of(w):
    v = w.vault()
    for mode in (0o640, 0o604):
        done = opens(w, v, '--passfile', write(w.path('p'), PASSPHRASE, mode), stdin=None)
        check(done.returncode == 0 and done.stderr.count(b'\n') == 1, repr(done))
        check(b'warning' in done.stderr and b'chmod 600' in done.stderr, repr(done.stderr))


@case
def passfile_that_is_not_there(w):
    w.refused(14, [w.path('p'), 'passphrase'], 'init', *CHEAP, '--passfile', w.path('p'), w.path('v'))
    w.refused(2, 'Is a directory', 'init', *CHEAP, '--passfile', w.folder, w.path('v'))
    check(not os.path.exists(w.path('v')), 'a vault was made')


@case
def passphrases_are_bytes(w):
    odd = bytes(b for b in range(256) if b != 10) + 'pässwörd'.encode()
    v = w.vault(passphrase=odd)
    check(w.run('passwd', *KDF, v, stdin=odd + b'\nx\n').returncode == 0, 'not the same bytes')


@case
def passphrases_have_a_longest(w):
    v = w.vault(passphrase=b'x' * 4096)
    check(w.run('passwd', *KDF, v, stdin=b'x' * 4096 + b'\ny\n').returncode == 0, '4096 bytes')
    w.refused(16, 'longer than 4096', 'init', *CHEAP, w.path('w'), stdin=b'x' * 4097 + b'\n')


@case
def empty_passphrase_is_refused_from_everywhere(w):
    empty = write(w.path('empty'), b'')
    line = write(w.path('line'), b'\nsecond\n')
    for args, more in ((['--passfile', empty], {}), (['--passfile', line], {}),
                       (['--extpass', 'true'], {}), ([], {'stdin': None}), ([], {'stdin': b'\n'})):
        w.refused(2, 'empty passphrase', 'init', *CHEAP, *args, w.path('v'), **more)
    check(not os.path.exists(w.path('v')), 'a vault was made')


@case
def passfd_takes_one_line_and_no_more(w):
    v = w.vault()
    read_end, write_end = os.pipe()
    os.write(write_end, PASSPHRASE + b'\nsecond\nthird\n')
    os.close(write_end)
    fd = str(read_end)
    w.ok('passwd', *KDF, '--passfd', fd, '--new-passfd', fd, v, stdin=None, pass_fds=[read_end])
    check(os.read(read_end, 100) == b'third\n', 'more than two lines were taken')
    os.close(read_end)
    w.ok('passwd', *KDF, v, stdin=b'second\nthird\n')


@case
def passfd_that_is_not_open(w):
    w.refused(2, ['file descriptor 77', 'not open'], 'init', *CHEAP, '--passfd', '77', w.path('v'))
    w.refused(2, 'not a number', 'init', *CHEAP, '--passfd', 'x', w.path('v'))


@case
def extpass_is_the_first_line_of_a_command(w):
    v = w.vault()
    check(opens(w, v, '--extpass', 'echo "correct horse"; echo more', stdin=None).returncode == 0, 'echo')
    big = 'echo "correct horse"; head -c 300000 /dev/zero'
    check(opens(w, v, '--extpass', big, stdin=None).returncode == 0, 'a command that says a lot')
    check(opens(w, v, '--extpass', 'read x; echo "$x"').returncode == 0, 'standard input is the command\'s')


@case
def extpass_that_fails(w):
    w.refused(10, ['exit 7', 'status 7'], 'init', *CHEAP, '--extpass', 'echo secret; exit 7', w.path('v'))
    w.refused(10, 'status 127', 'init', *CHEAP, '--extpass', 'exec /nowhere/program 2>/dev/null', w.path('v'))
    w.refused(10, 'status 143', 'init', *CHEAP, '--extpass', 'kill -TERM $$', w.path('v'))
    check(not os.path.exists(w.path('v')), 'a vault was made')


@case
def one_source_only(w):
    w.refused(2, 'more than one source', 'init', '--passfd', '0', '--extpass', 'echo x', w.path('v'))


@case
def systemd_credentials(w):
    v = w.vault()
    os.mkdir(w.path('credentials'))
    environment = dict(os.environ, CREDENTIALS_DIRECTORY=w.path('credentials'))
    write(w.path('credentials/wardfs.passphrase'), PASSPHRASE)
    write(w.path('credentials/wardfs.new-passphrase'), b'second\n')
    w.ok('passwd', *KDF, v, stdin=None, env=environment)
    # An option goes first; without the file it is standard input again.
    w.ok('passwd', *KDF, '--extpass', 'echo second', v, stdin=None, env=environment)
    os.unlink(w.path('credentials/wardfs.passphrase'))
    w.ok('passwd', *KDF, v, stdin=b'second\n', env=environment)


@case
def no_terminal_and_no_input(w):
    w.refused(2, 'empty passphrase', 'init', *CHEAP, w.path('v'), stdin=None, start_new_session=True)
