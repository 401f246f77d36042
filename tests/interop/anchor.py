# SPDX-License-Identifier: Apache-2.0
"""The anchor of wardfs-vault(5), section ANCHOR."""
import hashlib
import hmac

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault_header import Cursor, check, hkdf, unseal

ANCHOR_BYTES, PAGE, HEAD = 8192, 4096, 64
SLOTS = 32


def folder_name(vault_id):
    return hashlib.sha256(b'wardfs 1 anchor name' + vault_id).hexdigest()[:32]


def slot_digest(slot):
    """Of a keyslot of the vault header, as it stands there."""
    return hashlib.sha256(b'wardfs 1 anchor slot' + slot[:272]).digest()


class SlotSeen:
    def __init__(self, c):
        self.serial, self.kind = c.u32(), c.u16()
        length = c.u8()
        check(length <= 63, 'anchor: label too long')
        self.label = c.take(length)
        c.zeros(63 - length)
        c.zeros(2)
        self.digest, self.last_use = c.take(32), c.u64()
        if self.serial == 0:
            check((self.kind, self.label, self.digest, self.last_use) == (0, b'', bytes(32), 0),
                  'anchor: something in an empty slot')
        else:
            check(self.kind != 0, 'anchor: a slot without a kind')


class Claims:
    """The plaintext of either page."""

    def __init__(self, data):
        c = Cursor(data, 'anchor')
        self.counter, self.written = c.u64(), c.u64()
        self.mount, self.state = c.u32(), c.u32()
        self.write_counter, self.header_mac = c.u64(), c.take(32)
        self.root_generation = c.u64()
        self.journal_mount = c.u32()
        c.zeros(4)
        self.journal_sequence, self.journal_counter, self.journal_salt = c.u64(), c.u64(), c.take(32)
        self.closed, self.closed_mount = c.u64(), c.u32()
        length = c.u8()
        check(length <= 63, 'anchor: name too long')
        self.closed_machine = c.take(length)
        c.zeros(63 - length)
        c.zeros(4)
        self.slots = [SlotSeen(c) for _ in range(SLOTS)]
        c.zeros(c.left())
        check(self.state <= 2, 'anchor: unknown state')
        if self.journal_mount == 0:
            check((self.journal_sequence, self.journal_counter, self.journal_salt) == (0, 0, bytes(32)),
                  'anchor: a journal of no mount')


def read_page(data, index, vault_id, key):
    """key(epoch): what opens it, or None."""
    page = data[index * PAGE:(index + 1) * PAGE]
    epoch = int.from_bytes(page[16:20], 'little')
    found = key(epoch)
    if found is None:
        return None
    aad = page[:24] + vault_id + (data[:HEAD] if index else b'')
    return unseal(AESGCM(found), page[24:36], page[36:52], page[HEAD:], aad, f'anchor: page {index}')


def open_anchor(data, vault_id, root_key, masters):
    """masters: of class 1, by epoch."""
    check(len(data) == ANCHOR_BYTES, f'anchor: has not {ANCHOR_BYTES} bytes')
    for index in range(2):
        c = Cursor(data[index * PAGE:index * PAGE + HEAD], f'anchor: page {index}')
        check(c.take(8) == b'WARDANC\1', f'{c.what}: not an anchor')
        check(c.u32() == 1, f'{c.what}: unsupported version')
        check(c.u32() == index, f'{c.what}: in another place')
        check(c.u32() != 0, f'{c.what}: no epoch')
        c.zeros(4)
        c.take(12 + 16)
        if index:
            c.zeros(12)
    check(data[16:20] == data[PAGE + 16:PAGE + 20], 'anchor: pages of different epochs')
    anchor_key = hkdf(root_key, vault_id, b'wardfs 1 anchor', 32)
    ours = data[52:64] == hmac.digest(anchor_key, b'wardfs 1 anchor key id', 'sha256')[:12]

    def epoch_key(epoch):
        return epoch in masters and hkdf(masters[epoch], vault_id, b'wardfs 1 epoch anchor', 32) or None

    bodies = [read_page(data, 1, vault_id, epoch_key)]
    if ours:
        bodies.append(read_page(data, 0, vault_id, lambda epoch: anchor_key))
    bodies = [body for body in bodies if body is not None]
    check(bodies, 'anchor: of keys that this vault does not have')
    check(len(set(bodies)) == 1, 'anchor: its pages differ')
    return Claims(bodies[0])
