// SPDX-License-Identifier: Apache-2.0
// Seals and pages: one 4096-byte page sealed under one key of an object. wardfs-vault(5), "Pages
// and seals".
#ifndef WARDFS_CRYPTO_SEAL_H
#define WARDFS_CRYPTO_SEAL_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/gcm.h"
#include "crypto/werr.h"

#define WARD_PAGE 4096
#define SEAL_BYTES 32
#define SEALS_PER_NODE 128
#define LEVEL_XATTR 0x80u

// A seal as it stands on disk (32 bytes, no padding): kept encoded, so that nodes need no
// conversion.
struct seal {
	uint8_t b[SEAL_BYTES];
};
_Static_assert(sizeof(struct seal) == SEAL_BYTES, "a seal is its encoding");

int seal_is_hole(const struct seal *s);
int seal_equal(const struct seal *a, const struct seal *b); // not secret: plain comparison
uint16_t seal_generation(const struct seal *s);
// 0, or WERR_MALFORMED: generation 0 in a non-hole, or flags.
int seal_check(const struct seal *s) WARN_UNUSED;

// Seals one page. nonce: 12 fresh random bytes from the caller (drawn in one call per request).
// Writes cipher[4096] (may be plain) and *ret. WERR_INVALID: generation 0. No allocation;
// thread-safe.
int seal_page(const struct gcm_key *key, uint16_t generation, uint32_t level, uint64_t index,
	      const uint8_t nonce[static GCM_NONCE_BYTES], const uint8_t *plain, uint8_t *cipher,
	      struct seal *ret) WARN_UNUSED;

// Opens one page (plain may be cipher). The caller has found the key of seal_generation(s).
// WERR_AUTH wipes plain; WERR_MALFORMED (a hole, flags) leaves it as it was.
int seal_open(const struct gcm_key *key, const struct seal *s, uint32_t level, uint64_t index,
	      const uint8_t *cipher, uint8_t *plain) WARN_UNUSED;

#endif
