// SPDX-License-Identifier: Apache-2.0
// A keyslot in its resealable form: a KEK-wrapped X25519 private key and pre-shared secret, and the
// root key sealed with HKDF(DH ‖ pre-shared secret). wardfs-vault(5), "Keyslots". Bytes in, bytes
// out; thread-safe.
#ifndef WARDFS_CRYPTO_KEYSLOT_H
#define WARDFS_CRYPTO_KEYSLOT_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/argon.h"
#include "crypto/factor.h"
#include "crypto/offer.h"
#include "crypto/secret.h"
#include "crypto/werr.h"

#define KEYSLOT_BYTES 3072
#define KEYSLOT_MAX 32
#define KEYSLOT_LABEL_MAX 63
#define VAULT_ID_BYTES 16
#define ROOT_KEY_BYTES 32

// Every other kind: factor_kind() of crypto/factor.h.
enum keyslot_kind {
	KEYSLOT_EMPTY = 0,
	KEYSLOT_PASSPHRASE = FACTOR_PASSPHRASE,
};

// What may be read of a slot without a secret.
struct keyslot_info {
	uint16_t kind;
	uint32_t serial;
	uint64_t created_s;
	char label[KEYSLOT_LABEL_MAX + 1];
	struct argon_params kdf;
	const uint8_t *params; // of the factors, within the slot's own bytes
	size_t params_len;     // 0 for a passphrase
};

// Parses and checks the clear part (canonical zeros, no control bytes in the label, bounds of the
// KDF *before* any use). An empty slot is fine and yields kind KEYSLOT_EMPTY. WERR_MALFORMED,
// WERR_LIMIT, WERR_UNSUPPORTED (kind, Argon2 version).
int keyslot_info(const uint8_t slot[static KEYSLOT_BYTES], struct keyslot_info *ret) WARN_UNUSED;

// Names the clear part of a slot: kind, serial, label, cost, salt and parameters. A secret that a
// file, chip or token gives for the parameters of one slot is offered under this name
// (crypto/offer.h).
int keyslot_tag(const uint8_t slot[static KEYSLOT_BYTES],
		uint8_t tag[static OFFER_TAG_BYTES]) WARN_UNUSED;

// Every function below checks the clear part first, with the codes of keyslot_info, and answers
// WERR_NOTFOUND for an empty slot and WERR_LIMIT for an index beyond the last slot. Outputs are
// untouched on failure.

// The KEK of a slot, from an offer (crypto/offer.h; a plain passphrase is one). The slow step
// (Argon2id), separate so that it can run elsewhere. WERR_SECRET at once when the offer lacks what
// this kind of slot needs, or is the empty passphrase. WERR_KDFMEM.
int keyslot_kek(const uint8_t slot[static KEYSLOT_BYTES], const struct secret *offer,
		uint8_t kek[static ARGON_KEK_BYTES]) WARN_UNUSED;

// Opens the slot: WERR_SECRET when the commitment does not match (compared before anything is
// unwrapped), WERR_AUTH when it does and the rest fails: the wrapped pair, the public key that must
// belong to it, the sealed root key, or the pre-shared secret under the root key, which must be the
// one of the pair.
int keyslot_open(const uint8_t slot[static KEYSLOT_BYTES], unsigned index,
		 const uint8_t vault_id[static VAULT_ID_BYTES],
		 const uint8_t kek[static ARGON_KEK_BYTES],
		 uint8_t root_key[static ROOT_KEY_BYTES]) WARN_UNUSED;

// Makes a new slot (fresh salt, key pair, pre-shared secret), sealing root_key. The offer holds the
// factors of info->kind for every slot (tag NULL), or is a plain passphrase. WERR_INVALID: a factor
// is missing, empty passphrase, serial 0, kind, parameters, label that is not printable UTF-8.
// WERR_LIMIT: KDF parameters.
int keyslot_make(uint8_t slot[static KEYSLOT_BYTES], unsigned index,
		 const uint8_t vault_id[static VAULT_ID_BYTES], const struct keyslot_info *info,
		 const struct secret *offer,
		 const uint8_t root_key[static ROOT_KEY_BYTES]) WARN_UNUSED;

// Gives the slot another label. The label is bound to the slot's key pair, so this takes the KEK.
// Codes of keyslot_open; WERR_INVALID: the label.
int keyslot_relabel(uint8_t slot[static KEYSLOT_BYTES], unsigned index,
		    const uint8_t vault_id[static VAULT_ID_BYTES],
		    const uint8_t kek[static ARGON_KEK_BYTES], const char *label) WARN_UNUSED;

// Reseals a slot for a new root key without its secret: needs the old root key (WERR_AUTH when it
// is not this slot's).
int keyslot_reseal(uint8_t slot[static KEYSLOT_BYTES], unsigned index,
		   const uint8_t vault_id[static VAULT_ID_BYTES],
		   const uint8_t old_root[static ROOT_KEY_BYTES],
		   const uint8_t new_root[static ROOT_KEY_BYTES]) WARN_UNUSED;

#endif
