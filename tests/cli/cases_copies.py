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
