// SPDX-License-Identifier: Apache-2.0
#include "crypto/siv.h"

#include <limits.h>
#include <pthread.h>

#include <openssl/err.h>
#include <openssl/evp.h>

#include "crypto/secret.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_CIPHER *cipher; // written once

static void fetch(void)
{
	cipher = EVP_CIPHER_fetch(NULL, "AES-256-SIV", NULL);
}

// Empty strings are refused: OpenSSL before 3.0.10 silently leaves an empty associated-data string
// out of the authentication (CVE-2023-2975), and makes no tag for an empty plaintext.
static int check_lengths(size_t aad_len, size_t len)
{
	if (aad_len == 0 || len == 0)
		return WERR_INVALID;
	return aad_len > INT_MAX || len > INT_MAX ? WERR_LIMIT : 0;
}

static EVP_CIPHER_CTX *context_new(const uint8_t *key, const void *aad, size_t aad_len, int enc)
{
	int n;

	if (pthread_once(&once, fetch) != 0 || !cipher)
		return NULL;
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();

	if (!ctx)
		return NULL;
	if (EVP_CipherInit_ex2(ctx, cipher, key, NULL, enc, NULL) == 1 &&
	    EVP_CipherUpdate(ctx, NULL, &n, aad, (int)aad_len) == 1)
		return ctx;
	EVP_CIPHER_CTX_free(ctx);
	return NULL;
}

int siv_wrap(const uint8_t key[static SIV_KEY_BYTES], const void *aad, size_t aad_len,
	     const void *in, size_t len, void *out)
{
	uint8_t *siv = out;
	int err = check_lengths(aad_len, len);
	int n = 0;

	if (err)
		return err;
	EVP_CIPHER_CTX *ctx = context_new(key, aad, aad_len, 1);

	err = WERR_INTERNAL;
	if (ctx && EVP_CipherUpdate(ctx, siv + SIV_OVERHEAD, &n, in, (int)len) == 1 &&
	    (size_t)n == len && EVP_CipherFinal_ex(ctx, siv + SIV_OVERHEAD + len, &n) == 1 &&
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, SIV_OVERHEAD, siv) == 1)
		err = 0;
	EVP_CIPHER_CTX_free(ctx);
	if (err) {
		secret_wipe(out, len + SIV_OVERHEAD);
		ERR_clear_error();
	}
	return err;
}

int siv_unwrap(const uint8_t key[static SIV_KEY_BYTES], const void *aad, size_t aad_len,
	       const void *in, size_t len, void *out)
{
	const uint8_t *siv = in;
	uint8_t tag[SIV_OVERHEAD];
	int err = check_lengths(aad_len, len);
	int n = 0;

	if (err)
		return err;
	EVP_CIPHER_CTX *ctx = context_new(key, aad, aad_len, 0);

	for (size_t i = 0; i < sizeof(tag); i++)
		tag[i] = siv[i];
	if (!ctx || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, SIV_OVERHEAD, tag) != 1)
		err = WERR_INTERNAL;
	else if (EVP_CipherUpdate(ctx, out, &n, siv + SIV_OVERHEAD, (int)len) != 1 ||
		 (size_t)n != len || EVP_CipherFinal_ex(ctx, (uint8_t *)out + len, &n) != 1)
		err = WERR_AUTH;
	EVP_CIPHER_CTX_free(ctx);
	if (err) {
		secret_wipe(out, len);
		ERR_clear_error();
	}
	return err;
}
