# SPDX-License-Identifier: Apache-2.0
"""The vault header of wardfs-vault(5): keyslots, MAC and master keys; and what all of the decoder shares."""
import errno
import hashlib
import os
import stat
import struct

from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import constant_time, hashes, hmac
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PAGE = 4096
HEADER_BYTES = 106496
HEADER_FILES = (b'wardfs.vault', b'wardfs.vault.2')
SLOTS, SLOT_BYTES, SLOTS_AT = 32, 3072, 1024
MASTERS, MASTER_BYTES, MASTERS_AT = 64, 96, 99328


class VaultError(Exception):
    """The vault is not what the format says, was changed, or cannot be read by this program."""


class WrongPassphrase(VaultError):
    """No keyslot has this passphrase."""


def check(condition, text):
    if not condition:
        raise VaultError(text)


def check_zero(data, what):
    check(data.count(0) == len(data), f'{what}: reserved bytes are not zero')


class Cursor:
    """Takes fields from bytes, in order; reading past the end is an error."""

    def __init__(self, data, what):
        self.data, self.what, self.at = data, what, 0

    def take(self, length):
        check(self.at + length <= len(self.data), f'{self.what}: ends too early')
        self.at += length
        return self.data[self.at - length:self.at]

    def number(self, length, signed=False):
        return int.from_bytes(self.take(length), 'little', signed=signed)

    def u8(self):
        return self.number(1)

    def u16(self):
        return self.number(2)

    def u32(self):
        return self.number(4)

    def u64(self):
        return self.number(8)

    def i64(self):
        return self.number(8, signed=True)

    def zeros(self, length):
        check_zero(self.take(length), self.what)

    def left(self):
        return len(self.data) - self.at


# Cryptography: section CONVENTIONS and KEY DERIVATION.

def hkdf(ikm, salt, info, length):
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info).derive(ikm)


def unwrap(key, aad, wrapped, what):
    """AES-256-SIV, with one string of associated data."""
    try:
        return AESSIV(key).decrypt(wrapped, [aad])
    except InvalidTag:
        raise VaultError(f'{what}: not authentic') from None


def unseal(cipher, nonce, tag, ciphertext, aad, what):
    """AES-256-GCM, with tag and ciphertext in different places."""
    try:
        return cipher.decrypt(nonce, ciphertext + tag, aad)
    except InvalidTag:
        raise VaultError(f'{what}: not authentic') from None


# Host files: each name is one component below a descriptor, never a link, never something that blocks.

def open_file(name, folder, what):
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        raise VaultError(f'{what}: the file is missing') from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENOTDIR):
            raise VaultError(f'{what}: not a regular file') from None
        raise
    info = os.fstat(fd)
    if not stat.S_ISREG(info.st_mode) or info.st_nlink != 1:
        os.close(fd)
        raise VaultError(f'{what}: not a regular file with one link')
    return fd


# Section KEYSLOTS.

PASSPHRASE, KEYFILE, RECOVERY, TPM2, FIDO2 = 1, 2, 3, 4, 5
ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'


def times_x(value):
    return (value << 1 ^ (0x25 if value & 16 else 0)) & 31


def recovery_secret(text):
    """The 32 bytes of a recovery code."""
    text = text.upper().replace('O', '0').replace('I', '1').replace('L', '1')
    values = [ALPHABET.find(c) for c in text if c not in ' \t\r\n-.,:/_']
    check(len(values) == 65 and -1 not in values, 'recovery code: not 13 groups of 5')
    number = 0
    for group in range(13):
        sum_ = group + 1
        for value in values[5 * group:5 * group + 4]:
            sum_ = times_x(sum_) ^ value
            number = number << 5 | value
        check(times_x(sum_) == values[5 * group + 4], f'recovery code: group {group + 1} is wrong')
    secret = (number >> 4).to_bytes(32, 'big')
    check(hashlib.sha256(secret).digest()[0] >> 4 == number & 15, 'recovery code: groups of different codes')
    return secret


class Secrets:
    """What opens a slot: a passphrase, the content of a key file, a recovery code; or the 32 bytes that a factor
    gives."""

    def __init__(self, passphrase=None, keyfile=None, recovery=None, raw=None):
        self.passphrase, self.keyfile, self.raw = passphrase, keyfile, dict(raw or {})
        if recovery is not None:
            self.raw[RECOVERY] = recovery_secret(recovery)

    def of(self, factor, params):
        if factor == PASSPHRASE:
            return self.passphrase
        if factor == KEYFILE and self.keyfile is not None:
            offset, length = struct.unpack('<QQ', params)
            part = self.keyfile[offset:offset + length] if length else self.keyfile[offset:]
            if not part or len(part) < length or len(part) > 8 << 20:
                return None
            return hashlib.sha256(part).digest()
        return self.raw.get(factor)


class Slot:
    """The clear part of a used keyslot, checked."""

    def __init__(self, data, index):
        what = f'keyslot {index}'
        self.data, self.index, self.what = data, index, what
        c = Cursor(data, what)
        self.kind = c.u16()
        low, high = self.kind & 0xff, self.kind >> 8
        check(self.kind == 0 or low in range(1, 6) and (high == 0 or high in range(low + 1, 6)), f'{what}: unknown kind')
        self.factors = [low, high] if high else [low]
        if self.kind == 0:
            check_zero(data, what)
            return
        check(c.u16() == 0, f'{what}: flags are not zero')
        self.serial = c.u32()
        check(self.serial != 0, f'{what}: serial is zero')
        self.created = c.u64()
        length = c.u8()
        check(length <= 63, f'{what}: label is too long')
        self.label = c.take(length)
        c.zeros(63 - length)
        check(all(byte >= 0x20 and byte != 0x7f for byte in self.label), f'{what}: control byte in label')
        self.memory, self.passes, self.lanes, version = c.u32(), c.u32(), c.u32(), c.u32()
        check(8192 <= self.memory <= 4194304, f'{what}: Argon2id memory out of bounds')
        check(1 <= self.passes <= 64, f'{what}: Argon2id passes out of bounds')
        check(1 <= self.lanes <= 16, f'{what}: Argon2id lanes out of bounds')
        check(self.memory * self.passes <= 67108864, f'{what}: Argon2id memory times passes out of bounds')
        check(version == 0x13, f'{what}: unknown Argon2 version')
        self.salt, self.commitment = c.take(32), c.take(32)
        self.sealed_keys, self.public, self.ephemeral = c.take(80), c.take(32), c.take(32)
        self.sealed_root, self.sealed_psk = c.take(48), c.take(48)
        length = c.u16()
        check(length <= 1022, f'{what}: parameters are too long')
        self.params = self._split(c.take(length))
        c.zeros(c.left())

    def _split(self, data):
        """The parameters of each factor that has some."""
        params, c = {}, Cursor(data, f'{self.what}: parameters')
        for factor in self.factors:
            if factor in (PASSPHRASE, RECOVERY):
                continue
            check(c.u8() == factor and c.u8() == 0, f'{c.what}: not of this factor')
            params[factor] = c.take(c.u16())
            self._check_params(factor, Cursor(params[factor], c.what))
        check(c.left() == 0, f'{c.what}: too long')
        return params

    @staticmethod
    def _check_params(factor, c):
        if factor == KEYFILE:
            check(c.u64() < 1 << 63 and c.u64() <= 8 << 20, f'{c.what}: out of bounds')
        elif factor == TPM2:
            for _ in range(2):
                length = c.u16()
                check(1 <= length <= 400, f'{c.what}: blob out of bounds')
                c.take(length)
        elif factor == FIDO2:
            check(c.u16() <= 3, f'{c.what}: unknown flags')
            c.take(32)
            length = c.u16()
            check(1 <= length <= 512, f'{c.what}: credential out of bounds')
            c.take(length)
        check(c.left() == 0, f'{c.what}: too long')

    def password(self, secrets):
        """What Argon2id is fed, or None when a factor is missing."""
        if isinstance(secrets, bytes):
            secrets = Secrets(passphrase=secrets)
        found = [secrets.of(factor, self.params.get(factor)) for factor in self.factors]
        if None in found:
            return None
        if self.kind == PASSPHRASE:
            return found[0]
        return b''.join(struct.pack('<BBH', factor, 0, len(secret)) + secret
                        for factor, secret in zip(self.factors, found))

    def aad(self, vault_id, purpose):
        tail = self.data[16:128] if purpose == 1 else self.data[240:304]
        length = int.from_bytes(self.data[400:402], 'little')
        if purpose == 1 and length:
            tail += self.data[400:402 + length]
        return b'wardfs slot 1\0\0\0' + vault_id + struct.pack(
            '<IIHH', self.index, self.serial, self.kind, purpose) + tail

    def open(self, secrets, vault_id, known_keks):
        """The root key, or None when the secrets are not this slot's."""
        password = self.password(secrets)
        if password is None:
            return None
        params = (self.salt, self.memory, self.passes, self.lanes, password)
        if params not in known_keks:
            known_keks[params] = hash_secret_raw(
                password, self.salt, time_cost=self.passes, memory_cost=self.memory,
                parallelism=self.lanes, hash_len=32, type=Type.ID, version=0x13)
        kek = known_keks[params]
        if not constant_time.bytes_eq(hkdf(kek, self.salt, b'wardfs 1 kek commit', 32), self.commitment):
            return None
        keys = unwrap(hkdf(kek, self.salt, b'wardfs 1 kek wrap', 64), self.aad(vault_id, 1),
                      self.sealed_keys, f'{self.what}: private key')
        private, psk = X25519PrivateKey.from_private_bytes(keys[:32]), keys[32:]
        public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        check(constant_time.bytes_eq(public, self.public), f'{self.what}: public key is another one')
        try:
            shared = private.exchange(X25519PublicKey.from_public_bytes(self.ephemeral))
        except ValueError:
            raise VaultError(f'{self.what}: shared secret of zeros') from None
        root = unwrap(hkdf(shared + psk, vault_id, b'wardfs 1 slot root' + self.public + self.ephemeral, 64),
                      self.aad(vault_id, 2), self.sealed_root, f'{self.what}: root key')
        again = unwrap(hkdf(root, vault_id, b'wardfs 1 psk wrap', 64), self.aad(vault_id, 3),
                       self.sealed_psk, f'{self.what}: pre-shared secret')
        check(constant_time.bytes_eq(again, psk), f'{self.what}: pre-shared secrets differ')
        return root


# Sections VAULT HEADER and MASTER RECORDS.

class Header:
    """One copy of the vault header. The constructor does what needs no secret, open() the rest."""

    def __init__(self, data, name):
        self.data, self.name = data, name
        check(len(data) >= 16, f'{name}: too short for a vault header')
        check(data[:8] == b'WARDVLT\1', f'{name}: not a wardfs vault')
        c = Cursor(data, name)
        c.take(8)
        check(c.u32() == 1, f'{name}: unsupported format')
        check(len(data) == HEADER_BYTES, f'{name}: has not {HEADER_BYTES} bytes')
        check(c.u32() == HEADER_BYTES, f'{name}: wrong header length')
        self.compatible, self.read_only_compatible = c.u64(), c.u64()
        check(c.u64() == 0, f'{name}: unsupported incompatible feature')
        self.vault_id = c.take(16)
        self.mount, self.state, self.replaying, self.slot_count = c.u32(), c.u32(), c.u32(), c.u32()
        self.write_counter, self.journal_sequence = c.u64(), c.u64()
        self.root_incarnation, self.root_generation = c.u64(), c.u64()
        self.root_epoch, self.epoch = c.u32(), c.u32()
        self.journal_bytes, self.created = c.u64(), c.u64()
        at = [SLOTS_AT + i * SLOT_BYTES for i in range(SLOTS)]
        slots = [Slot(data[a:a + SLOT_BYTES], i) for i, a in enumerate(at)]
        self.slots = [slot for slot in slots if slot.kind != 0]
        check(self.slots, f'{name}: no keyslot is used')
        self.masters = {}

    def open(self, passphrase, known_keks):
        """Steps 5 to 12 of the order of checks."""
        root = self._root_key(passphrase, known_keks)
        mac = hmac.HMAC(hkdf(root, self.vault_id, b'wardfs 1 header mac', 32), hashes.SHA256())
        mac.update(self.data[:-32])
        check(constant_time.bytes_eq(mac.finalize(), self.data[-32:]), f'{self.name}: wrong MAC')
        self._check_fields()
        self._open_masters(hkdf(root, self.vault_id, b'wardfs 1 master wrap', 64))

    def _root_key(self, passphrase, known_keks):
        damage = None
        for slot in self.slots:
            try:
                root = slot.open(passphrase, self.vault_id, known_keks)
            except VaultError as error:
                damage = damage or error
                continue
            if root is not None:
                return root
        raise damage or WrongPassphrase(f'{self.name}: no keyslot opens with this passphrase')

    def _check_fields(self):
        name = self.name
        check(self.compatible == 0 and self.read_only_compatible == 0, f'{name}: unsupported feature')
        self._check_policy()
        self._check_rotation()
        check_zero(self.data[105472:106464], name)
        check(self.slot_count == SLOTS, f'{name}: number of keyslots is not {SLOTS}')
        check(self.mount <= 0xffffff, f'{name}: mount number out of bounds')
        if self.state == 0:
            valid = self.replaying == 0
        elif self.state == 1:
            valid = self.replaying == 0 and self.journal_sequence == 0 and self.mount >= 1
        else:
            valid = self.state == 2 and self.journal_sequence == 0 and 1 <= self.replaying < self.mount
        check(valid, f'{name}: impossible state')
        check(len({slot.serial for slot in self.slots}) == len(self.slots), f'{name}: serials repeat')
        check(self.root_incarnation != 0, f'{name}: root incarnation is zero')
        check(1 <= self.root_epoch <= self.epoch, f'{name}: root epoch out of bounds')
        check(self.root_generation >> 40 <= self.mount, f'{name}: root generation of a later mount')
        check(8388608 <= self.journal_bytes <= 4294967296 and self.journal_bytes % PAGE == 0,
              f'{name}: journal bytes out of bounds')

    def _check_policy(self):
        """Bytes 128 to 959: when the vault is locked by itself."""
        c = Cursor(self.data[128:960], f'{self.name}: policy')
        idle, max_time = c.u32(), c.u32()
        actions = [c.u8() for _ in range(6)]
        c.zeros(2)
        wipe_after = c.u32()
        c.zeros(c.left())
        valid = max(idle, max_time) <= 31622400 and max(actions) <= 3 and (wipe_after == 0 or 3 <= wipe_after <= 1000)
        check(valid, f'{self.name}: impossible policy')
        self.policy = {'idle': idle, 'max_time': max_time, 'on': actions, 'wipe_after': wipe_after}

    def _check_rotation(self):
        """Bytes 960 to 1007: a rotation that is under way."""
        c = Cursor(self.data[960:1008], f'{self.name}: rotation')
        level, reserved, number, incarnation, started, rate = c.u32(), c.u32(), c.u64(), c.u64(), c.u64(), c.u64()
        c.zeros(c.left())
        if level == 0:
            valid = (number, incarnation, started, rate) == (0, 0, 0, 0)
        elif number == 1:
            valid = level in (1, 2) and incarnation == self.root_incarnation
        else:
            valid = level == 2 and 0 < number < 1 << 63 and incarnation != 0
        valid = valid and (rate == 0 or 4096 <= rate <= 1 << 50)
        check(valid and reserved == 0, f'{self.name}: impossible rotation')
        self.rotation = level, number, incarnation, started
        self.rotation_rate = rate

    def _open_masters(self, key):
        last = (0, 0)
        ended = False
        for index in range(MASTERS):
            what = f'{self.name}: master record {index}'
            at = MASTERS_AT + index * MASTER_BYTES
            record = self.data[at:at + MASTER_BYTES]
            c = Cursor(record, what)
            group, flags, epoch, wrapped = c.u16(), c.u16(), c.u32(), c.take(80)
            if group == 0:
                check_zero(record, what)
                ended = True
                continue
            check(not ended, f'{what}: behind an empty record')
            check(group == 1, f'{what}: unknown class')
            check(flags == 0 and epoch != 0, f'{what}: flags or epoch out of bounds')
            c.zeros(8)
            check((group, epoch) > last, f'{what}: not in order')
            last = (group, epoch)
            aad = b'wardfs mastr 1\0\0' + self.vault_id + struct.pack('<HHI', group, 0, epoch)
            self.masters[group, epoch] = unwrap(key, aad, wrapped, what)
        check(self.masters, f'{self.name}: no master record')
        check(last[1] == self.epoch, f'{self.name}: current epoch is not the last one')


def read_header(folder, name):
    """Steps 1 to 3 of the order of checks, of one copy."""
    text = name.decode()
    with open(open_file(name, folder, text), 'rb') as file:
        check(os.fstat(file.fileno()).st_size <= HEADER_BYTES, f'{text}: too long')
        return Header(file.read(HEADER_BYTES), text)


def open_header(folder, passphrase):
    """The copy of the header that counts, opened."""
    copies, opened, clear_errors, secret_errors, known_keks = [], [], [], [], {}
    for name in HEADER_FILES:
        try:
            copies.append(read_header(folder, name))
        except VaultError as error:
            clear_errors.append(error)
    for header in copies:
        try:
            header.open(passphrase, known_keks)
            opened.append(header)
        except VaultError as error:
            secret_errors.append(error)
    if not opened:
        # What failed behind a matching commitment says more than a commitment that did not match.
        secret_errors.sort(key=lambda error: isinstance(error, WrongPassphrase))
        raise (secret_errors + clear_errors)[0]
    first, second = opened[0], opened[-1]
    if second.vault_id == first.vault_id and second.write_counter > first.write_counter:
        return second
    return first
