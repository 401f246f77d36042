# SPDX-License-Identifier: Apache-2.0
"""A person at a terminal, played through a pseudo terminal."""
import fcntl
import os
import pty
import select
import signal
import subprocess
import termios
import time

from harness import CHEAP, PASSPHRASE, case, check, wait_until

KDF = CHEAP[:4]


class Terminal:
    """wardfs with a controlling terminal of its own."""

    def __init__(self, w, *args):
        self.master, self.slave = pty.openpty()
        self.text = b''
        slave = self.slave

        def take_terminal():
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            # As a shell starts it, however these cases were started.
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP):
                signal.signal(number, signal.SIG_DFL)

        self.process = w.start(*args, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                               preexec_fn=take_terminal)

    def read(self, limit_s):
        if select.select([self.master], [], [], limit_s)[0]:
            self.text += os.read(self.master, 4096)

    def expect(self, words, limit_s=20):
        """Reads until these words are there, and forgets what stood before them."""
        end = time.monotonic() + limit_s
        while words not in self.text:
            check(time.monotonic() < end, f'no {words!r} in {self.text!r}')
            self.read(0.1)
        self.text = self.text.split(words, 1)[1]

    def echoes(self):
        return bool(termios.tcgetattr(self.slave)[3] & termios.ECHO)

    def answer(self, question, line):
        self.expect(question + b': ')
        check(not self.echoes(), 'the terminal echoes')
        os.write(self.master, line)

    def end(self):
        status = self.process.wait(20)
        while select.select([self.master], [], [], 0.1)[0]:
            self.text += os.read(self.master, 4096)
        check(self.echoes(), 'the terminal does not echo any more')
        os.close(self.master)
        os.close(self.slave)
        return status


@case
def terminal_init_asks_twice(w):
    t = Terminal(w, 'init', *CHEAP, w.path('v'))
    t.answer(b'New passphrase', PASSPHRASE + b'\n')
    t.answer(b'New passphrase again', PASSPHRASE + b'\n')
    check(t.end() == 0, t.text)
    check(b'correct' not in t.text and b'Journal: 8 MiB' in t.text, t.text)
    w.ok('passwd', *KDF, w.path('v'), stdin=PASSPHRASE + b'\nx\n')


@case
def terminal_init_refuses_two_different(w):
    t = Terminal(w, 'init', *CHEAP, w.path('v'))
    t.answer(b'New passphrase', b'one\n')
    t.answer(b'New passphrase again', b'two\n')
    check(t.end() == 2 and b'differ' in t.text, t.text)
    check(not os.path.exists(w.path('v')), 'a vault was made')


@case
def terminal_init_refuses_an_empty_one(w):
    t = Terminal(w, 'init', *CHEAP, w.path('v'))
    t.answer(b'New passphrase', b'\n')
    check(t.end() == 2 and b'empty passphrase' in t.text, t.text)


@case
def terminal_passwd(w):
    v = w.vault()
    t = Terminal(w, 'passwd', *KDF, v)
    t.answer(b'Old passphrase', PASSPHRASE + b'\n')
    t.answer(b'New passphrase', b'second\n')
    t.answer(b'New passphrase again', b'second\n')
    check(t.end() == 0, t.text)
    w.ok('passwd', *KDF, v, stdin=b'second\nx\n')


@case
def terminal_passwd_tells_a_wrong_one_at_once(w):
    t = Terminal(w, 'passwd', *KDF, w.vault())
    t.answer(b'Old passphrase', b'wrong\n')
    check(t.end() == 3 and b'wrong passphrase' in t.text and b'New' not in t.text, t.text)


@case
def terminal_is_restored_on_signals(w):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        t = Terminal(w, 'init', *CHEAP, w.path('v'))
        t.expect(b'New passphrase: ')
        if number == signal.SIGINT:
            os.write(t.master, b'\x03')
        else:
            t.process.send_signal(number)
        check(t.end() == -number, f'{number}: {t.process.returncode}')


@case
def terminal_asks_again_after_a_stop(w):
    t = Terminal(w, 'init', *CHEAP, w.path('v'))
    t.expect(b'New passphrase: ')
    t.process.send_signal(signal.SIGTSTP)

    def state():
        with open(f'/proc/{t.process.pid}/stat', encoding='ascii') as f:
            return f.read().rsplit(')', 1)[1].split()[0]

    # A process group without a parent in its session is not stopped: then it asks again at once.
    wait_until(lambda: state() == 'T' or b'New passphrase: ' in t.text or t.read(0.05), 'it stops')
    if state() == 'T':
        check(t.echoes(), 'a stopped program leaves the terminal silent')
        t.process.send_signal(signal.SIGCONT)
    t.answer(b'New passphrase', PASSPHRASE + b'\n')
    t.answer(b'New passphrase again', PASSPHRASE + b'\n')
    check(t.end() == 0, t.text)


@case
def terminal_shows_progress(w):
    t = Terminal(w, 'init', '--kdf-memory', '256', '--kdf-passes', '12', '--journal', '8', w.path('v'))
    t.answer(b'New passphrase', PASSPHRASE + b'\n')
    t.answer(b'New passphrase again', PASSPHRASE + b'\n')
    t.expect('Making the vault … 0.'.encode())
    t.expect(b'\r\x1b[K')
    check(t.end() == 0, t.text)


@case
def no_progress_without_a_terminal(w):
    done = w.run('init', '--kdf-memory', '256', '--kdf-passes', '8', '--journal', '8', w.path('v'))
    check(done.returncode == 0 and done.stderr == b'', repr(done))


@case
def input_that_is_no_terminal_is_not_asked_for(w):
    """Standard input goes first even where there is a terminal."""
    master, slave = pty.openpty()

    def take_terminal():
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    done = subprocess.run([w.program, 'init', *CHEAP, w.path('v')], input=PASSPHRASE + b'\n',
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
                          preexec_fn=take_terminal, pass_fds=[slave], timeout=30, check=False)
    check(done.returncode == 0, repr(done))
    os.close(master)
    os.close(slave)
