// SPDX-License-Identifier: Apache-2.0
// AES-256-SIV (RFC 5297, CMAC-256 + CTR-256, one associated-data string): deterministic key
// wrapping. Output = 16-byte synthetic IV ‖ ciphertext. Thread-safe, no state.
#ifndef WARDFS_CRYPTO_SIV_H
#define WARDFS_CRYPTO_SIV_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/werr.h"

#define SIV_KEY_BYTES 64
#define SIV_OVERHEAD 16

// out has len + SIV_OVERHEAD bytes; in and out do not overlap.
int siv_wrap(const uint8_t key[static SIV_KEY_BYTES], const void *aad, size_t aad_len,
	     const void *in, size_t len, void *out) WARN_UNUSED;

// in has len + SIV_OVERHEAD bytes, out has len. WERR_AUTH and out wiped on a mismatch.
int siv_unwrap(const uint8_t key[static SIV_KEY_BYTES], const void *aad, size_t aad_len,
	       const void *in, size_t len, void *out) WARN_UNUSED;

#endif
