// SPDX-License-Identifier: Apache-2.0
// AES-256-GCM with expanded keys and two back ends: libipsec-mb where the CPU has VAES, AVX512 or
// AVX2+VPCLMUL (and the program was built with it), else OpenSSL EVP. NIST SP 800-38D. 96-bit
// nonces, 128-bit tags. A key may be used by many threads at once; contexts are per thread.
#ifndef WARDFS_CRYPTO_GCM_H
#define WARDFS_CRYPTO_GCM_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/werr.h"

#define GCM_KEY_BYTES 32
#define GCM_NONCE_BYTES 12
#define GCM_TAG_BYTES 16

struct gcm_key; // expanded key in secret memory

// Chooses the back end ("ipsec-mb", "evp", or NULL for the best that this machine has) and runs the
// known-answer self-test of it, and of one against the other. Called implicitly with NULL by the
// first gcm_key_new. WERR_UNSUPPORTED: the named one is not there; WERR_INTERNAL: the self-test
// failed.
int gcm_init(const char *backend) WARN_UNUSED;

// "ipsec-mb" or "evp" with its version, e.g. "OpenSSL 3.0.19" (static string).
const char *gcm_backend(void);

// Expands a key; NULL when out of memory or the self-test failed. (Sealing and opening with NULL
// gives WERR_NOMEM.)
struct gcm_key *gcm_key_new(const uint8_t key[static GCM_KEY_BYTES]);
void gcm_key_free(struct gcm_key *key);

// Seals len bytes (in == out is allowed). The nonce must never have been used with this key.
int gcm_seal(const struct gcm_key *key, const uint8_t nonce[static GCM_NONCE_BYTES],
	     const void *aad, size_t aad_len, const void *in, size_t len, void *out,
	     uint8_t tag[static GCM_TAG_BYTES]) WARN_UNUSED;

// Opens; compares the tag in constant time; on a mismatch wipes out[0..len) and returns WERR_AUTH.
int gcm_open(const struct gcm_key *key, const uint8_t nonce[static GCM_NONCE_BYTES],
	     const void *aad, size_t aad_len, const void *in, size_t len, void *out,
	     const uint8_t tag[static GCM_TAG_BYTES]) WARN_UNUSED;

#endif
