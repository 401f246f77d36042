# SPDX-License-Identifier: Apache-2.0
"""The journal of wardfs-vault(5), as far as somebody needs it who looks for records that he has the key of: no
chain is followed, every place where a record could start is tried."""
import array
import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault_header import Header, VaultError, check, check_zero, hkdf, unseal

BLOCK = 4096
LOG_START = 2 * BLOCK
FRAME, INNER, CIPHER_MAX = 32, 16, 4194304


class Superblock:
    def __init__(self, data, block, key, vault_id):
        what = f'superblock {block}'
        check(data[:8] == b'WARDJNL\x01', f'{what}: no magic')
        check_zero(data[12:16] + data[44:64] + data[320:], what)
        plain = unseal(AESGCM(key), data[16:28], data[28:44], data[64:320],
                       data[:16] + vault_id + struct.pack('<I', block), what)
        self.mount, zero, self.checkpoint, self.done, self.tail = struct.unpack_from('<IIQQQ', plain)
        check(zero == 0 and plain[:4] == data[8:12], f'{what}: fields')
        self.salt = plain[32:64]
        self.bytes, self.counter = struct.unpack_from('<QQ', plain, 88)
        check_zero(plain[104:], what)


class Holder:
    """What somebody has who knows a secret, a header that it opens, and superblocks of that time."""

    def __init__(self, header_data, secret):
        self.header = Header(header_data, 'header')
        root_key = self.header._root_key(secret, {})
        self.vault_id = self.header.vault_id
        self.key = hkdf(root_key, self.vault_id, b'wardfs 1 journal', 32)
        self.record_keys = {}

    def learn(self, journal):
        """Takes the record keys that the superblocks of this journal give; how many of them open."""
        opened = 0
        for block in (0, 1):
            try:
                found = Superblock(journal[block * BLOCK:(block + 1) * BLOCK], block, self.key, self.vault_id)
            except VaultError:
                continue
            opened += 1
            info = b'wardfs 1 journal record' + struct.pack('<I', found.mount)
            self.record_keys[found.salt] = (found.mount, hkdf(self.key, found.salt, info, 32))
        return opened

    def records(self, journal):
        """Every record in this journal, wherever, that one of the keys opens: its assignments."""
        words = array.array('I', journal[:len(journal) & ~7])
        for index in range(LOG_START // 4, len(words) - FRAME // 4, 2):
            length = words[index]
            if not INNER <= length <= CIPHER_MAX or index * 4 + FRAME + length > len(journal):
                continue
            at = index * 4
            for mount, key in self.record_keys.values():
                # The tag cannot be checked without the tag of the predecessor; twelve known bytes can.
                mode = modes.CTR(journal[at + 4:at + 16] + b'\0\0\0\2')
                decryptor = Cipher(algorithms.AES(key), mode).decryptor()
                start = decryptor.update(journal[at + FRAME:at + FRAME + INNER])
                if struct.unpack('<II', start[8:]) == (mount, 0):
                    yield decryptor.update(journal[at + FRAME + INNER:at + FRAME + length])
