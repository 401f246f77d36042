// SPDX-License-Identifier: Apache-2.0
#include "crypto/x25519.h"

#include <openssl/err.h>
#include <openssl/evp.h>

#include "crypto/rng.h"
#include "crypto/secret.h"

int x25519_public(const uint8_t private_key[static X25519_BYTES],
		  uint8_t public_key[static X25519_BYTES])
{
	size_t n = X25519_BYTES;
	EVP_PKEY *own =
		EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, private_key, X25519_BYTES);
	int ok = own && EVP_PKEY_get_raw_public_key(own, public_key, &n) == 1 && n == X25519_BYTES;

	EVP_PKEY_free(own);
	if (ok)
		return 0;
	ERR_clear_error();
	return WERR_INTERNAL;
}

int x25519_generate(uint8_t private_key[static X25519_BYTES],
		    uint8_t public_key[static X25519_BYTES])
{
	rng_bytes(private_key, X25519_BYTES);
	int err = x25519_public(private_key, public_key);

	if (err)
		secret_wipe(private_key, X25519_BYTES);
	return err;
}

int x25519_shared(const uint8_t private_key[static X25519_BYTES],
		  const uint8_t peer_public[static X25519_BYTES],
		  uint8_t shared[static X25519_BYTES])
{
	static const uint8_t zeros[X25519_BYTES];
	size_t n = X25519_BYTES;
	int err = WERR_INTERNAL;
	EVP_PKEY *own =
		EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, private_key, X25519_BYTES);
	EVP_PKEY *peer =
		EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, peer_public, X25519_BYTES);
	EVP_PKEY_CTX *ctx = own ? EVP_PKEY_CTX_new_from_pkey(NULL, own, NULL) : NULL;

	// The derivation itself fails only for a peer of small order (RFC 7748, section 6.1): a
	// forged slot.
	if (peer && ctx && EVP_PKEY_derive_init(ctx) == 1 &&
	    EVP_PKEY_derive_set_peer(ctx, peer) == 1)
		err = EVP_PKEY_derive(ctx, shared, &n) == 1 && n == X25519_BYTES &&
				      !secret_equal(shared, zeros, X25519_BYTES)
			      ? 0
			      : WERR_AUTH;
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(peer);
	EVP_PKEY_free(own);
	if (err) {
		secret_wipe(shared, X25519_BYTES);
		ERR_clear_error();
	}
	return err;
}
