// SPDX-License-Identifier: Apache-2.0
// Inside of superblock.c: the body's codec without the AEAD, for the fuzzer and the vectors.
// Nothing else includes this.
#ifndef WARDFS_CRYPTO_SUPERBLOCK_BODY_H
#define WARDFS_CRYPTO_SUPERBLOCK_BODY_H

#include <stdint.h>

#include "crypto/superblock.h"

#define SUPERBLOCK_BODY_BYTES 256

// WERR_MALFORMED; *ret untouched on failure.
int superblock_body_decode(const uint8_t body[static SUPERBLOCK_BODY_BYTES],
			   struct superblock *ret) WARN_UNUSED;
// WERR_INVALID; body untouched then.
int superblock_body_encode(const struct superblock *s,
			   uint8_t body[static SUPERBLOCK_BODY_BYTES]) WARN_UNUSED;

#endif
