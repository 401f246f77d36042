# SPDX-License-Identifier: Apache-2.0
"""Lets the decoder answer tests/vectors; their README.md says how the files are written."""
import os
import types

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import anchor
from vault_header import FIDO2, TPM2, Header, Secrets, Slot, VaultError, WrongPassphrase
from vault_objects import HAS_OBJECT, Entry, Object, parse_entry, parse_table_page, split_seals

NUMBERS = {'generation', 'level', 'index', 'number', 'incarnation', 'epoch', 'type', 'class', 'size', 'journal-bytes',
           'mode', 'uid', 'gid', 'nlink', 'pages', 'kind', 'mount', 'created', 'journal-sequence',
           'parent-number', 'parent-incarnation', 'counter', 'written', 'state', 'write-counter', 'root-generation',
           'journal-mount', 'journal-counter', 'closed', 'closed-mount', 'slot-serial', 'slot-kind', 'slot-last-use',
           'rotation-level', 'rotation-number', 'rotation-incarnation', 'rotation-began',
           'idle', 'max-time', 'on-idle', 'on-max-time', 'on-signal', 'on-sleep', 'on-screen-lock', 'on-session-end',
           'wipe-after'}


def to_bytes(text):
    data = b''
    for word in text.split():
        if '*' in word:
            byte, count = word.split('*')
            data += bytes.fromhex(byte) * int(count)
        elif word != '-':
            data += bytes.fromhex(word)
    return data


def read_cases(path):
    cases, by_name, case = [], {}, None
    with open(path, encoding='ascii') as lines:
        for line in lines:
            key, _, text = line.strip().partition(' ')
            if not key or key.startswith('#'):
                continue
            if key == 'case':
                case = by_name[text] = {'name of case': text, 'edits': []}
                cases.append(case)
            elif key == 'like':
                case.update(by_name[text], **{'name of case': case['name of case'], 'edits': []})
            elif key in ('patch', 'cut'):
                case['edits'].append([key] + text.split(' ', 3 if key == 'patch' else 2))
            elif key == 'expect':
                case['expect'] = text
            else:
                case[key] = int(text) if key in NUMBERS else text
    return [finish(case) for case in cases]


def finish(case):
    done = {k: v if k in ('edits', 'expect', 'name of case') or isinstance(v, int) else plain_or_bytes(v) for k, v in case.items()}
    for kind, name, at, *data in case['edits']:
        if kind == 'cut':
            done[name] = done[name][:int(at)]
        else:
            patch, at = to_bytes(' '.join(data)), int(at)
            done[name] = done[name][:at] + patch + done[name][at + len(patch):]
    return done


def plain_or_bytes(text):
    """Numbers that no case needs here stay what they look like as bytes, or text."""
    try:
        return to_bytes(text)
    except ValueError:
        return text


class KnownKeys(Object):
    """An object whose page and keys a case gives."""

    def __init__(self, case):
        self.keys = case['keys']
        fd = os.memfd_create('page')
        os.write(fd, case.get('page', b''))
        header = types.SimpleNamespace(vault_id=bytes(16), mount=0xffffff, masters={(1, case['epoch']): b''})
        vault = types.SimpleNamespace(header=header, open_object=lambda number, what: fd)
        entry = Entry(b'', case['type'], case['number'], case['incarnation'], flags=HAS_OBJECT)
        super().__init__(vault, entry)

    def _unwrap_keys(self, data, vault_header, master, bound):
        self.ciphers = {g: AESGCM(self.keys[32 * g:32 * g + 32]) for g in range(1, len(self.keys) // 32)}
        return self.keys[:32]


class KnownBody(KnownKeys):
    """An object whose opened header a case gives."""

    def __init__(self, case):
        self.body = case['body']
        super().__init__(dict(case, page=bytes(4096)))

    def _open_header(self, page, vault_header):
        return 1, self.body


def answer_seal(case, check):
    fd = os.memfd_create('page')
    os.write(fd, case['cipher'])
    obj = Object.__new__(Object)
    obj.fd, obj.what, obj.ciphers = fd, 'case', {case['generation']: AESGCM(case['key'])}
    try:
        [seal] = split_seals(case['seal'], 'case')
        page = obj.open_page(seal, case['level'], case['index'], 0)
    finally:
        os.close(fd)
    check(page == case['plain'], 'plain text differs')


def answer_entry(case, check):
    entry = parse_entry(case['bytes'], 'case')
    check((entry.name, entry.target, entry.type, entry.number, entry.incarnation) ==
          (case['name'], case['target'], case['type'], case['number'], case['incarnation']), 'entry differs')
    if entry.is_home:
        check((entry.mode, entry.uid, entry.gid, entry.links, entry.size, entry.blocks, entry.least_epoch) ==
              tuple(case.get(k, 0) for k in ('mode', 'uid', 'gid', 'nlink', 'size', 'pages', 'epoch')),
              'attributes differ')


def answer_table(case, check):
    entries = dict(parse_table_page(case['bytes'], 'case'))
    check(set(entries) == {s for s in range(60) if f'slot-{s}' in case}, 'slots differ')
    for slot, entry in entries.items():
        check(entry == parse_entry(case[f'slot-{slot}'], 'case'), f'slot {slot} differs')


def answer_xattr(case, check):
    obj = Object.__new__(Object)
    obj.what, obj.encoded = 'case', case['bytes']
    wanted = {case[f'name-{i}']: case[f'value-{i}'] for i in range(9) if f'name-{i}' in case}
    check(obj.attributes() == wanted, 'attributes differ')


def answer_keys(case, check):
    obj = Object.__new__(Object)
    obj.what = 'case'
    header = types.SimpleNamespace(vault_id=case['vault-id'], masters={0: case['master']})
    bound = b''.join(case[k].to_bytes(n, 'little') for k, n in (
        ('number', 8), ('incarnation', 8), ('type', 2), ('class', 2), ('epoch', 4)))
    # The data keys are compared by what they do: a cipher does not show its key.
    key = obj._unwrap_keys(case['tlv'], header, 0, bound)
    check(key == case['keys'][:32], 'header key differs')
    nonce, wanted = bytes(12), case['keys'][32:]
    for i, cipher in enumerate(obj.ciphers.values()):
        check(cipher.encrypt(nonce, b'', b'') == AESGCM(wanted[32 * i:32 * i + 32]).encrypt(nonce, b'', b''),
              'data key differs')


def answer_header(case, check):
    edited = {edit[1] for edit in case['edits']} or {'page', 'body'}
    for field, kind in ('page', KnownKeys), ('body', KnownBody):
        if field not in edited:
            continue
        with kind(case) as obj:
            check((obj.size, obj.generation, obj.name) == (case['size'], case['generation'], case['name']),
                  f'{field} differs')
            check((obj.parent, obj.parent_incarnation) == (case['parent-number'], case['parent-incarnation']),
                  f'parent in {field} differs')


EVENTS = ('on-idle', 'on-max-time', 'on-signal', 'on-sleep', 'on-screen-lock', 'on-session-end')


def answer_vault(case, check):
    header = Header(case['file'], 'case')
    header.open(case['passphrase'], {})
    check((header.vault_id, header.masters[1, 1], header.mount, header.journal_bytes, header.created) ==
          (case['vault-id'], case['master'], case['mount'], case['journal-bytes'], case['created']), 'header differs')
    check(header.policy == {'idle': case.get('idle', 0), 'max_time': case.get('max-time', 0), 'on': [case.get(e, 0) for e in EVENTS],
                            'wipe_after': case.get('wipe-after', 0)}, 'policy differs')


def answer_rotation(case, check):
    answer_vault(case, check)
    header = Header(case['file'], 'case')
    header.open(case['passphrase'], {})
    check(header.rotation == tuple(case.get('rotation-' + k, 0) for k in ('level', 'number', 'incarnation', 'began')),
          'rotation differs')


def answer_anchor(case, check):
    header = Header(case['header'], 'case')
    header.open(case['passphrase'], {})
    masters = {epoch: key for (group, epoch), key in header.masters.items() if group == 1}
    claims = anchor.open_anchor(case['file'], header.vault_id, header._root_key(case['passphrase'], {}), masters)
    slot = claims.slots[0]
    for name, got in (('counter', claims.counter), ('written', claims.written), ('mount', claims.mount),
                      ('state', claims.state), ('write-counter', claims.write_counter),
                      ('header-mac', claims.header_mac), ('root-generation', claims.root_generation),
                      ('journal-mount', claims.journal_mount), ('journal-sequence', claims.journal_sequence),
                      ('journal-counter', claims.journal_counter), ('journal-salt', claims.journal_salt),
                      ('closed', claims.closed), ('closed-mount', claims.closed_mount),
                      ('closed-machine', claims.closed_machine), ('slot-serial', slot.serial),
                      ('slot-kind', slot.kind), ('slot-label', slot.label), ('slot-digest', slot.digest),
                      ('slot-last-use', slot.last_use),
                      ('slot-digest', anchor.slot_digest(case['header'][1024:1024 + 3072])),
                      ('folder', anchor.folder_name(header.vault_id).encode())):
        check(got == case[name], f'{name} differs')
    check(all(other.serial == 0 for other in claims.slots[1:]), 'more than one slot')


def answer_slot(case, check):
    slot = Slot(case['slot'], case['index'])
    raw = {factor: case[word] for factor, word in ((TPM2, 'tpm2'), (FIDO2, 'fido2')) if word in case}
    code = case['code'].decode() if 'code' in case else None
    secrets = Secrets(case.get('passphrase'), case.get('file'), code, raw)
    root = slot.open(secrets, case['vault-id'], {})
    if root is None:
        raise WrongPassphrase('not its secret')
    check((root, slot.kind) == (case['root-key'], case['kind']), 'root key differs')


ANSWERS = {'seal': answer_seal, 'entry': answer_entry, 'table': answer_table, 'xattr': answer_xattr,
           'keys': answer_keys, 'header': answer_header, 'vault': answer_vault,
           'slot': answer_slot, 'rotation': answer_rotation, 'anchor': answer_anchor}


def run(folder, check):
    """check(condition, text) fails the test."""
    for topic, answer in ANSWERS.items():
        for case in read_cases(os.path.join(folder, topic + '.txt')):
            where, ok = f'{topic}.txt: {case["name of case"]}', case['expect'] == 'ok'

            def check_ok(condition, text, where=where, ok=ok):
                check(condition or not ok, f'{where}: {text}')
            try:
                answer(case, check_ok)
            except VaultError as error:
                check(not ok, f'{where}: refused: {error}')
            else:
                check(ok, f'{where}: accepted')
