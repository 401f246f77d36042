// SPDX-License-Identifier: Apache-2.0
// The index of one directory by name: open addressing, cells of (fingerprint, place). It holds no
// names: the caller compares. SipHash-2-4 under a random key, so that names cannot be chosen to
// collide. wardfs-vault(5), "Directories" (derived: never written). Not thread-safe for changes.
#ifndef WARDFS_FUSEFS_DIRINDEX_H
#define WARDFS_FUSEFS_DIRINDEX_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/werr.h"

#define DIRINDEX_KEY_BYTES 16
// Places are below this.
#define DIRINDEX_PLACE_MAX UINT32_MAX

struct dircell {
	uint32_t fingerprint;
	uint32_t place; // UINT32_MAX: free
};

struct dirindex {
	struct dircell *cells; // NULL until the first dirindex_reserve
	size_t capacity;       // a power of two, or 0
	size_t used;
	uint8_t key[DIRINDEX_KEY_BYTES];
};

// SipHash-2-4 (64 bits, little-endian key halves).
uint64_t dirindex_siphash(const uint8_t key[static DIRINDEX_KEY_BYTES], const uint8_t *in,
			  size_t len);

// Draws the key.
void dirindex_init(struct dirindex *x);
// Wipes and frees.
void dirindex_clear(struct dirindex *x);
uint32_t dirindex_fingerprint(const struct dirindex *x, const uint8_t *name, size_t len);
// Room for n more insertions. WERR_NOMEM: unchanged.
int dirindex_reserve(struct dirindex *x, size_t n) WARN_UNUSED;
// After dirindex_reserve; the pair is not there yet.
void dirindex_insert(struct dirindex *x, uint32_t fingerprint, uint32_t place);
// The pair is there.
void dirindex_remove(struct dirindex *x, uint32_t fingerprint, uint32_t place);
// All places with this fingerprint: start with *cursor = 0; 1 and a place, or 0 at the end. No
// change in between.
int dirindex_next(const struct dirindex *x, uint32_t fingerprint, size_t *cursor,
		  uint32_t *ret_place);
size_t dirindex_memory(const struct dirindex *x);

#endif
