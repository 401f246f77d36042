// SPDX-License-Identifier: Apache-2.0
// The keys of one open vault: what is derived from the root key, and the master keys of every
// (class, epoch). The root key itself is not kept. Opaque, in secret memory; after keyring_new only
// masters are added, so reading is thread-safe. wardfs-vault(5), "Keys".
#ifndef WARDFS_CRYPTO_KEYRING_H
#define WARDFS_CRYPTO_KEYRING_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/vault_header.h"
#include "crypto/werr.h"

struct keyring;

// Derives everything from the root key and unwraps the masters of a decoded header. WERR_AUTH when
// one does not open.
int keyring_new(const struct vault_header *h, const uint8_t root_key[static ROOT_KEY_BYTES],
		struct keyring **ret) WARN_UNUSED;
void keyring_free(struct keyring *ring);

const uint8_t *keyring_vault_id(const struct keyring *ring);   // 16 bytes
const uint8_t *keyring_header_mac(const struct keyring *ring); // 32 bytes
const uint8_t *keyring_journal(const struct keyring *ring);    // 32 bytes
const uint8_t *keyring_anchor(const struct keyring *ring);     // 32 bytes
// The 64-byte master key, or NULL when this epoch is unknown.
const uint8_t *keyring_master(const struct keyring *ring, uint16_t class_, uint32_t epoch);

// Fills a new header for a new vault: random id and root incarnation, root key (returned, secret
// memory of ROOT_KEY_BYTES, caller frees with secret_free), one passphrase slot (index 0, serial 1:
// kind and serial of *info are not read), one master of class 1, epoch 1. The caller sets
// journal_bytes, created_s and write_counter after. WERR_LIMIT (KDF parameters), WERR_INVALID
// (label, empty passphrase); *h is undefined on failure.
int keyring_create(struct vault_header *h, const struct keyslot_info *info,
		   const struct secret *passphrase, uint8_t **ret_root_key) WARN_UNUSED;

// Changes the root key: new random root key, every used slot resealed, all masters wrapped again,
// one new master epoch appended and made current. On failure *h is untouched. The new root key is
// returned as above. WERR_LIMIT: no room for another epoch (VAULT_MASTERS_MAX; a rotation drops the
// retired ones). WERR_AUTH: old_root is not this header's.
int keyring_renew(struct vault_header *h, const uint8_t old_root[static ROOT_KEY_BYTES],
		  uint8_t **ret_root_key) WARN_UNUSED;

// Appends a new random master of the next epoch to the header and makes it current; the root key
// stays. On failure *h is untouched. WERR_LIMIT as above; WERR_AUTH: root_key is not this header's.
int keyring_add_epoch(struct vault_header *h,
		      const uint8_t root_key[static ROOT_KEY_BYTES]) WARN_UNUSED;
// Unwraps the masters of a header that the ring does not have yet. What it has stays, also when the
// header has dropped it: an object that was open then may still need it. One thread at a time;
// others may read meanwhile. WERR_LIMIT: more masters than one process can keep.
int keyring_learn(struct keyring *ring, const struct vault_header *h,
		  const uint8_t root_key[static ROOT_KEY_BYTES]) WARN_UNUSED;
// Whether the two were derived from the same root key.
int keyring_same_root(const struct keyring *a, const struct keyring *b) WARN_UNUSED;
// Whether both have the master key of this epoch, and it is the same.
int keyring_same_master(const struct keyring *a, const struct keyring *b, uint16_t class_,
			uint32_t epoch) WARN_UNUSED;
// How many masters can still be learned.
unsigned keyring_room(const struct keyring *ring);
// Takes over what `from`, a ring of the same vault, derived from its root key, and the masters that
// it has beyond; there must be room for them (keyring_room). Masters may be read meanwhile, nothing
// else of the ring.
void keyring_adopt(struct keyring *ring, const struct keyring *from);
// Removes the masters of every epoch but the current one from the header.
void keyring_retire(struct vault_header *h);

#endif
