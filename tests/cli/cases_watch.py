# SPDX-License-Identifier: Apache-2.0
"""wardfs status --watch: every change of every mount, as text and as lines of JSON."""
import json
import os
import queue
import signal
import subprocess
import threading

from cases_control import RUN
from cases_lock import state_of
from cases_mount import both
from harness import Failed, case, check, workers_in, wait_until


class Watch:
    """A running 'wardfs status --watch', and what it has said about the mounts of a case."""

    def __init__(self, w, *args):
        self.folder = w.folder
        self.process = w.start('status', '--watch', *args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.lines = queue.Queue()
        threading.Thread(target=lambda: [self.lines.put(line) for line in self.process.stdout], daemon=True).start()

    def next(self, limit_s=20):
        """The next line about this case."""
        while True:
            try:
                line = self.lines.get(timeout=limit_s)
            except queue.Empty:
                raise Failed('nothing was said') from None
            if self.folder in line:
                check(line.endswith('\n'), line)
                return line[:-1]

    def until(self, words):
        line = self.next()
        while words not in line:
            line = self.next()
        return line

    def event(self, name):
        """Reads to the event of this name; the others in between are returned, too."""
        seen = []
        while name not in seen:
            line = json.loads(self.next())
            check(set(line) == {'time_s', 'event', 'mount'}, line)
            seen.append(line['event'])
        return seen

    def opened(self):
        """A mount is open: seen coming, or first seen when it was."""
        while True:
            line = json.loads(self.next())
            if line['mount']['state'] == 'open':
                return line['event'] in ('open', 'present')

    def end(self, number=signal.SIGINT):
        self.process.send_signal(number)
        check(self.process.wait(20) == 0, f'status {self.process.returncode}')


@case
def watching_sees_every_change(w):
    v, mnt = both(w)
    text, lines = Watch(w), Watch(w, '--json')
    w.ok('mount', v, mnt)
    check(lines.opened(), 'open')
    check(mnt + ': open' in text.until(': open'), 'text')
    late = Watch(w, '--json')
    check(late.event('present') == ['present'], 'what is there is said first')
    w.ok('lock', mnt)
    check(lines.event('locked-with-mount')[-2:] == ['draining', 'locked-with-mount'], 'locking')
    check(text.until('locked-with-mount').endswith('(command)'), 'the reason')
    w.ok('unlock', mnt)
    check(lines.event('open') == ['unlocking', 'open'], 'unlocking')
    check(text.until(': open').endswith('(unlocked)'), 'the reason')
    w.ok('freeze', mnt)
    lines.event('frozen')
    w.ok('thaw', mnt)
    check(lines.event('thawed') == ['thawed'], 'thawing')
    w.ok('umount', mnt)
    check(lines.event('absent') == ['absent'], 'unmounting')
    text.until(': absent')
    check(late.event('absent')[:2] == ['draining', 'locked-with-mount'], 'the same for everybody')
    # The next one is another broker's.
    wait_until(lambda: not workers_in(w.folder), 'the worker has ended')
    w.ok('mount', v, mnt)
    check(lines.opened(), 'open')
    w.ok('umount', mnt)
    lines.event('absent')
    text.end()
    lines.end(signal.SIGTERM)
    late.end(signal.SIGHUP)


@case
def watching_survives_brokers_and_ends_with_its_reader(w):
    v, mnt = both(w)
    if not os.path.exists(os.path.join(RUN, 'control')):
        watch = Watch(w, '--json')
        w.ok('mount', v, mnt)
        check(watch.opened(), 'open')
        os.kill(state_of(w, mnt)['broker_pid'], signal.SIGKILL)
        watch.event('lost')
        w.run('umount', mnt)
        wait_until(lambda: not workers_in(w.folder), 'the worker of the dead broker has ended', 40)
        w.ok('mount', v, mnt)
        check(watch.opened(), 'open')
        w.ok('umount', mnt)
        watch.event('absent')
        watch.end()
    out, inner = os.pipe()
    process = w.start('status', '--watch', stdin=subprocess.DEVNULL, stdout=inner)
    os.close(inner)
    os.close(out)
    process.wait(20)
    with open('/dev/full', 'w', encoding='ascii') as full:
        w.ok('mount', v, mnt)
        process = w.start('status', '--watch', '--json', stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE)
        said = process.communicate(timeout=20)[1]
        check(process.returncode != 0 and b'cannot be written' in said, said)
    w.ok('umount', mnt)
