// SPDX-License-Identifier: Apache-2.0
// X25519 (RFC 7748): key pairs from rng_bytes and the shared secret; an all-zero shared secret is
// WERR_AUTH.
#ifndef WARDFS_CRYPTO_X25519_H
#define WARDFS_CRYPTO_X25519_H

#include <stdint.h>

#include "crypto/werr.h"

#define X25519_BYTES 32

int x25519_generate(uint8_t private_key[static X25519_BYTES],
		    uint8_t public_key[static X25519_BYTES]) WARN_UNUSED;
int x25519_public(const uint8_t private_key[static X25519_BYTES],
		  uint8_t public_key[static X25519_BYTES]) WARN_UNUSED;
int x25519_shared(const uint8_t private_key[static X25519_BYTES],
		  const uint8_t peer_public[static X25519_BYTES],
		  uint8_t shared[static X25519_BYTES]) WARN_UNUSED;

#endif
