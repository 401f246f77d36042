// SPDX-License-Identifier: Apache-2.0
// SHA-256 (FIPS 180-4), in one piece or bit by bit. The state lives in secret memory, since what is
// hashed here is mostly secret. One state per thread.
#ifndef WARDFS_CRYPTO_SHA256_H
#define WARDFS_CRYPTO_SHA256_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/werr.h"

#define SHA256_BYTES 32

struct sha256;

struct sha256 *sha256_new(void); // NULL: out of memory
int sha256_update(struct sha256 *s, const void *bytes, size_t len) WARN_UNUSED;
int sha256_final(struct sha256 *s, uint8_t out[static SHA256_BYTES]) WARN_UNUSED;
void sha256_free(struct sha256 *s); // NULL is fine

int sha256_of(const void *bytes, size_t len, uint8_t out[static SHA256_BYTES]) WARN_UNUSED;

#endif
