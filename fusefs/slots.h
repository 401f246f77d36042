// SPDX-License-Identifier: Apache-2.0
// The secrets of a vault as a set: adding, replacing, removing and renaming keyslots in a decoded
// header, in memory. Whoever writes the header afterwards makes it count. wardfs-vault(5),
// "Changing secrets". Thread-safe.
#ifndef WARDFS_FUSEFS_SLOTS_H
#define WARDFS_FUSEFS_SLOTS_H

#include <stdint.h>

#include "crypto/vault_header.h"
#include "crypto/werr.h"

enum slot_verb {
	SLOT_ADD, // into the first free slot; root key and epochs stay
	// Another secret in the same place; new root key and master epoch. With `keep` all others
	// but those in it are removed by the same change.
	SLOT_REPLACE,
	SLOT_REMOVE,  // new root key and master epoch, too
	SLOT_KEEP,    // removes all but those in `keep`; new root key and master epoch
	SLOT_RELABEL, // takes the slot's own secret; root key and epochs stay
};

struct slot_change {
	enum slot_verb verb;
	unsigned index;    // not for SLOT_ADD
	uint32_t keep;     // SLOT_KEEP: a bit for each slot; SLOT_REPLACE: the same, or 0 for all
	const char *label; // NULL: the one it has, or none
	// The secret: of the new slot with all its factors (SLOT_ADD, SLOT_REPLACE), or the slot's
	// own (SLOT_RELABEL).
	const struct secret *offer;
	// Of SLOT_ADD and SLOT_REPLACE.
	uint16_t kind;
	struct argon_params kdf;
	const uint8_t *params; // factor_params_put(), NULL where the kind has none
	size_t params_len;
	uint64_t now_s;
};

// Changes *h, which root_key opens. *ret_root_key: the root key from now on, secret memory of
// ROOT_KEY_BYTES (free with secret_free); *ret_index (may be NULL): the slot. WERR_LIMIT: no slot
// is free, no room for another epoch, KDF parameters. WERR_NOTFOUND: no slot there. WERR_SECRET:
// not the slot's own secret (SLOT_RELABEL). WERR_INVALID: secret, label; SLOT_REMOVE of the last
// slot. *h is untouched on failure.
int slots_apply(struct vault_header *h, const uint8_t root_key[static ROOT_KEY_BYTES],
		const struct slot_change *change, uint8_t **ret_root_key,
		unsigned *ret_index) WARN_UNUSED;

unsigned slots_used(const struct vault_header *h);

// A digest of everything that decides who can open the vault: for each used slot its index and all
// that the slot's holder depends on (which a new root key does not change). Equal digests, equal
// secrets. Of an authentic header it is a statement, of a mere file a claim.
#define SLOTS_DIGEST_BYTES 32
int slots_digest(const uint8_t slots[static KEYSLOT_MAX][KEYSLOT_BYTES],
		 uint8_t out[static SLOTS_DIGEST_BYTES]) WARN_UNUSED;

#endif
