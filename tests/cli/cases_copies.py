# SPDX-License-Identifier: Apache-2.0
"""What stands twice must agree: exit statuses, options, mount options."""
import os
import re

from harness import SOURCE, case, check

VERBS = ('init', 'mount', 'umount', 'passwd', 'accept', 'status', 'lock', 'unlock', 'freeze', 'thaw', 'who-can-open', 'erase', 'bench', 'version')
KEY_VERBS = ('list', 'add', 'remove', 'change', 'test', 'label')


def source(*names):
    with open(os.path.join(SOURCE, *names), encoding='utf-8') as f:
        return f.read()


def manual():
    return source('man', 'wardfs.1')


def section(title):
    return manual().split(f'.Sh {title}\n')[1].split('\n.Sh ')[0]


def manual_mount_options():
    names = set()
    for line in re.findall(r'^\.It Cm (.*)$', section('MOUNT OPTIONS'), re.M):
        words = line.replace(' Ns = Ns Ar ', '=').split()
        names |= {word for word in words if word != ','}
    return names


@case
def exit_statuses_of_header_and_manual(w):
    header = dict((int(n), name) for name, n in
                  re.findall(r'(EXIT_WARD_\w+) = (\d+)', source('crypto', 'werr.h')))
    table = [int(n) for n in re.findall(r'^\.It (\d+)$', section('EXIT STATUS'), re.M)]
    check(table == sorted(header), f'manual {table}, header {sorted(header)}')


@case
def options_of_help_and_manual(w):
    text = manual().replace('Fl -', '--')
    listed = set(re.findall(r'--([a-z][a-z0-9-]+)', text))
    known = {'help', 'usage'}
    for verb in VERBS:
        helped = set(re.findall(r'--([a-z][a-z0-9-]+)', w.ok(verb, '--help')))
        check(helped - known <= listed, f'{verb}: not in the manual: {helped - known - listed}')
        known |= helped
    for verb in ('backup', 'restore'):
        helped = set(re.findall(r'--([a-z][a-z0-9-]+)', w.ok('header', verb, '--help')))
        check(helped - known <= listed, f'header {verb}: not in the manual: {helped - known - listed}')
        known |= helped
    # --list is systemd-inhibit's.
    for verb in ('check', 'rotate'):  # their own pages list them
        known |= set(re.findall(r'--([a-z][a-z0-9-]+)', w.ok(verb, '--help')))
    check(listed - known <= {'version', 'list'}, f'in the manual only: {listed - known}')


@case
def options_of_key_verbs_and_manual(w):
    text = source('man', 'wardfs-key.1').replace('Fl -', '--')
    listed = set(re.findall(r'--([a-z][a-z0-9-]+)', text))
    known = {'help', 'usage'}
    for verb in KEY_VERBS:
        check(f'.Cm key {verb}' in text, f'{verb} is not in the manual')
        helped = set(re.findall(r'--([a-z][a-z0-9-]+)', w.ok('key', verb, '--help')))
        check(helped - known <= listed, f'{verb}: not in the manual: {helped - known - listed}')
        known |= helped
    for verb in (['who-can-open'], ['header', 'backup'], ['header', 'restore'], ['erase'], ['bench']):
        known |= set(re.findall(r'--([a-z][a-z0-9-]+)', w.ok(*verb, '--help')))
    check(listed - known <= {'contents'}, f'in the manual only: {listed - known}')
    overview = w.ok('key', '--help')
    check(all(f'wardfs key {verb}' in overview for verb in KEY_VERBS), overview)


@case
def short_options_of_help_and_manual(w):
    for verb, letters in (('mount', 'fo'), ('umount', 'l')):
        text = w.ok(verb, '--help')
        found = set(re.findall(r'^ +-([a-zA-Z])[, ]', text, re.M))
        check(found == set(letters), f'{verb}: {found}')
        for letter in letters:
            check(f'.It Fl {letter} ' in manual(), f'-{letter} of {verb} is not in the manual')


@case
def mount_options_of_help_and_manual(w):
    text = w.ok('mount', '--help').split('Mount options:')[1].split('. ')[0]
    helped = {re.sub(r'=.*', '', word) for word in text.replace('.', ' ').split()
              if not word.startswith('said')}
    helped = {word for word in helped if re.fullmatch(r'[a-z_]+', word)}
    listed = {re.sub(r'=.*', '', word) for word in manual_mount_options()}
    check(helped == listed, f'help only {helped - listed}, manual only {listed - helped}')


@case
def mount_options_of_the_manual_are_known(w):
    """An accepted option gets as far as the vault, which is not there."""
    v = w.path('d')
    os.mkdir(v)
    w.mountpoint()
    more = {'defaults', 'auto', 'noauto', 'user', 'nofail', '_netdev', 'x-systemd.automount'}
    for option in sorted(manual_mount_options() | more):
        option = option.replace('lock_errno=NAME', 'lock_errno=EIO').replace('=MIB', '=64').replace('=N', '=2').replace('=2AME', '=name').replace('=T', '=10m').replace('=A', '=lock')
        w.refused(5, 'not a wardfs vault', 'mount', '-o', option, v, w.path('mnt'), stdin=None)


@case
def mount_options_of_the_program_are_in_the_manual(w):
    text = source('fusefs', 'mountopts.c')
    names = set(re.findall(r'\b(?:SET|NUMBER|TEXT|IGNORE)\("([A-Za-z_-]+)', text)) - {'X-'}
    check(len(names) > 20, f'the option table was not found: {names}')
    words = set(re.split(r'[\s,=*]+', section('MOUNT OPTIONS')))
    check(names <= words, f'not in the manual: {names - words}')


@case
def verbs_of_help_and_manual(w):
    text = w.ok('--help')
    for verb in VERBS:
        check(f'wardfs {verb}' in text and re.search(rf'^\.It Cm {verb}\b', manual(), re.M), verb)


class Synopsis:
    """How a verb is called, as one place says it: options, words that stand for more of them, operands."""

    def __init__(self):
        self.options, self.groups, self.operands = set(), set(), []

    def operand(self, word, optional=False):
        """The alternatives of each place; what "..." stands for is not said."""
        if word == '|' or not self.operands or not self.operands[-1].endswith('|'):
            if word != '|':
                self.operands.append(f'[{word}]' if optional else word)
            elif self.operands:
                self.operands[-1] += '|'
        else:
            self.operands[-1] += word

    def places(self):
        return [{word for word in place.split('|') if word} for place in self.operands]


def verbs_of(words):
    """"header backup | restore" are two."""
    first, *more = [part.split() for part in ' '.join(words).split('|') if part.strip()]
    return [' '.join(first)] + [' '.join(first[:-1] + part) for part in more]


def synopses_of_manual(page):
    found = {}
    text = source('man', page).split('.Sh SYNOPSIS\n')[1].split('\n.Sh ')[0]
    for block in re.split(r'^\.Nm.*$', text, flags=re.M)[1:]:
        s, verb = Synopsis(), []
        for line in block.strip().splitlines():
            mode, optional, valued = '', False, False
            for word in line.lstrip('.').split():
                if word in ('Op', 'Oo', 'Oc', 'Fl', 'Ar', 'Cm', 'Ns'):
                    optional |= word == 'Op'
                    valued &= word != 'Op'
                    mode = word
                elif mode == 'Fl' and word != '|':
                    s.options.add('-' + word)
                    valued = True
                elif mode == 'Cm' and not valued:
                    verb.append(word)
                elif mode == 'Ar' and not valued and (word.isupper() or word in ('|', '...') and not optional):
                    s.operand(word, optional)
                elif mode == 'Ar' and not valued:
                    s.groups.add(word)
        for name in verbs_of(verb):
            found.setdefault(name, []).append(s)
    return found


def synopses_of_help(text):
    """The lines of an overview."""
    found = {}
    for line in re.findall(r'^  wardfs (.*)$', text, re.M):
        s = Synopsis()
        verb, rest = re.fullmatch(r'([a-z|-]+(?: [a-z|]+)*)(.*)', line).groups()
        for optional, word in re.findall(r'(\[?)([^\[\] ]+(?: [A-Z]+\])?)', rest):
            for option in re.findall(r'(?<![a-z])--?[a-z][a-z-]*', word):
                s.options.add(option)
            word = re.sub(r'\|?--?[a-z-]+( [A-Z]+)?', '', word)
            if word in ('OPTION...', 'SECRET'):
                s.groups.add({'OPTION...': 'option'}.get(word, 'secret'))
            elif word.strip(']'):
                s.operand(word.strip(']'), bool(optional))
        for name in verbs_of([verb.replace('|', ' | ')]):
            found.setdefault(name, []).append(s)
    return found


def compare(where, verb, said, text, secrets):
    """What is said about a verb, with its own --help."""
    usage = re.search(rf'^Usage: wardfs {verb} \[OPTION\.\.\.\] ?(.*)$', text, re.M).group(1)
    want = [set(place.split('|')) for place in usage.split()]
    places = [set() for _ in want]
    for s in said:
        mine = s.places()
        if mine and '...' in mine[-1]:
            mine[-1:] = want[len(mine) - 1:]
        check(len(mine) == len(want) and all(m <= p for m, p in zip(mine, want)), f'{where}, {verb}: {mine}, its help {usage!r}')
        places = [a | b for a, b in zip(places, mine)]
    check(places == want, f'{where}, {verb}: {places}, its help {usage!r}')
    helped = [set(re.findall(r'(?<![a-z-])--?[a-zA-Z][a-z0-9-]*', line.split('  ')[0]))
              for line in re.findall(r'^ {2,6}(-.*)$', text, re.M)]
    options = set().union(*(s.options for s in said)) - ({'--version'} if verb == 'version' else set())
    groups = set().union(*(s.groups for s in said))
    check(options <= set().union(*helped), f'{where}, {verb}: {options - set().union(*helped)} is not in its help')
    if 'option' in groups:
        return
    known = options | {'--help', '--usage'}
    known |= secrets if groups & {'source', 'secret'} else set()
    for names in helped:
        check(names & known or ('cost' in groups and any(n.startswith('--kdf-') for n in names)) or
              (groups & {'new-source', 'new-secret'} and any(n.startswith('--new-') or n == '--qr' for n in names)),
              f'{where}, {verb}: {names} is not there')


@case
def synopses_of_help_and_manual(w):
    secrets = set(re.findall(r'--[a-z][a-z0-9-]+', w.ok('unlock', '--help')))
    overview = synopses_of_help(w.ok('--help'))
    manual_verbs = synopses_of_manual('wardfs.1')
    check(set(overview) == set(manual_verbs) and len(overview) > 20, f'one only: {set(overview) ^ set(manual_verbs)}')
    helps = {verb: w.ok(*verb.split(), '--help') for verb in overview}
    more = {page: synopses_of_manual(page) for page in ('wardfs-key.1', 'wardfs-rotate.1', 'wardfs-check.1', 'wardfs-policy.1')}
    more |= {'wardfs --help': overview, 'wardfs(1)': manual_verbs, 'wardfs key --help': synopses_of_help(w.ok('key', '--help'))}
    check(set(more['wardfs key --help']) == {f'key {verb}' for verb in KEY_VERBS}, 'the verbs of key')
    for where, found in more.items():
        for verb, said in found.items():
            compare(where, verb, said, helps[verb], secrets)


@case
def methods_of_the_control_protocol_and_its_manual(_):
    text, idl = source('man', 'wardfs-control.5'), source('daemon', 'control_idl.c').replace('"\n\t"', '').replace('\\n', '\n')
    listed = {name: words.split() for name, words in re.findall(r'^\.It Fn (\w+) ?(.*)$', text, re.M)}
    served = {name: re.findall(r'(\w+):', words) for name, words in re.findall(r'^method (\w+)\(([^)]*)\)', idl, re.M)}
    check(len(served) > 15 and listed == served, f'manual {listed}, program {served}')
    code = ''.join(source('daemon', name) for name in os.listdir(os.path.join(SOURCE, 'daemon')) if name.endswith('.c'))
    secrets = text.split('.Ss Secrets')[1].split('.Ss ')[0]
    with_fd = set(re.findall(r'\{"(\w+)", \w+, [^}]*CONTROL_FD\}', code))
    check(len(with_fd) > 3 and with_fd == set(re.findall(r'^\.(?:Cm|Fn) (\w+)', secrets, re.M)), f'a descriptor goes with {with_fd}')
    events = set(re.findall(r'worker_control_event\(w, "(\w+)"\)', code))
    watch = text.split('.It Fn Watch')[1].split('.It Fn ')[0]
    check(len(events) > 3 and all(f'.Cm {event}' in watch for event in events), f'events: {events}')


@case
def what_the_readme_lists(_):
    readme, quickstart = source('README.md'), source('tools', 'quickstart.sh')
    packages = set(re.search(r'^ +apt-get install (.*)$', readme, re.M).group(1).split())
    quick = set(re.search(r'packages=\(([^)]*)\)', quickstart).group(1).split())
    check(packages - {'check'} == quick - {'libc6-dev', 'ninja-build'}, f'one only: {packages ^ quick}')
    pages = {re.sub(r'\.(\d)$', r'(\1)', name) for name in os.listdir(os.path.join(SOURCE, 'man')) if name[-1].isdigit()}
    row = set(re.search(r'^\| `man/` \| (.*) \|$', readme, re.M).group(1).split(', '))
    check(pages == row, f'man/: {pages ^ row}')
    also = {f'{name}({number})' for name, number in re.findall(r'^\.Xr (\S+) (\d)', section('SEE ALSO'), re.M)}
    check(pages - {'wardfs(1)'} <= also, f'not in SEE ALSO: {pages - also}')
