// SPDX-License-Identifier: Apache-2.0
// The journal's superblock (blocks 0 and 1). wardfs-vault(5), "Journal". Bytes in, bytes out;
// thread-safe.
#ifndef WARDFS_CRYPTO_SUPERBLOCK_H
#define WARDFS_CRYPTO_SUPERBLOCK_H

#include <stdint.h>

#include "crypto/gcm.h"
#include "crypto/keyslot.h"
#include "crypto/werr.h"

#define SUPERBLOCK_BYTES 4096
#define SUPERBLOCK_SALT_BYTES 32

struct superblock {
	uint32_t mount;
	uint64_t k;    // checkpoint number
	uint64_t s;    // sequence of the cut: records <= s are in their places
	uint64_t tail; // byte offset in the journal where the search for record s + 1 starts
	uint8_t salt[SUPERBLOCK_SALT_BYTES]; // of this mount's record key
	uint8_t previous_tag[GCM_TAG_BYTES]; // tag of record s; zero if none
	uint64_t root_generation;
	uint64_t journal_bytes;
	uint64_t counter; // raised with every superblock written
};

// Rules checked in both directions: mount within 24 bits; journal_bytes whole blocks; tail a
// multiple of 8 from 8192 to journal_bytes; no previous tag when s is 0. block: 0 or 1, bound into
// the AEAD. nonce: 12 fresh bytes. WERR_INVALID: what superblock_open would refuse.
int superblock_seal(const struct superblock *s, const struct gcm_key *key,
		    const uint8_t vault_id[static VAULT_ID_BYTES], uint32_t block,
		    const uint8_t nonce[static GCM_NONCE_BYTES],
		    uint8_t out[static SUPERBLOCK_BYTES]) WARN_UNUSED;
// WERR_MALFORMED, WERR_AUTH; *ret untouched on failure.
int superblock_open(const uint8_t in[static SUPERBLOCK_BYTES], const struct gcm_key *key,
		    const uint8_t vault_id[static VAULT_ID_BYTES], uint32_t block,
		    struct superblock *ret) WARN_UNUSED;

#endif
