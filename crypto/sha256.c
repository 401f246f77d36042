// SPDX-License-Identifier: Apache-2.0
#include "crypto/sha256.h"

#include <openssl/evp.h>

// The context is OpenSSL's, whose allocator is that of secret memory (crypto/secret.h).
struct sha256;

static EVP_MD_CTX *context(struct sha256 *s)
{
	return (EVP_MD_CTX *)(void *)s;
}

struct sha256 *sha256_new(void)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	if (ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1) {
		EVP_MD_CTX_free(ctx);
		ctx = NULL;
	}
	return (struct sha256 *)(void *)ctx;
}

int sha256_update(struct sha256 *s, const void *bytes, size_t len)
{
	return EVP_DigestUpdate(context(s), bytes, len) == 1 ? 0 : WERR_INTERNAL;
}

int sha256_final(struct sha256 *s, uint8_t out[static SHA256_BYTES])
{
	unsigned len = SHA256_BYTES;

	return EVP_DigestFinal_ex(context(s), out, &len) == 1 ? 0 : WERR_INTERNAL;
}

void sha256_free(struct sha256 *s)
{
	EVP_MD_CTX_free(context(s));
}

int sha256_of(const void *bytes, size_t len, uint8_t out[static SHA256_BYTES])
{
	struct sha256 *s = sha256_new();

	if (!s)
		return WERR_NOMEM;
	int err = sha256_update(s, bytes, len);
	if (!err)
		err = sha256_final(s, out);
	sha256_free(s);
	return err;
}
