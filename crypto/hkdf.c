// SPDX-License-Identifier: Apache-2.0
#include "crypto/hkdf.h"

#include <pthread.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "crypto/secret.h"

#define INFO_MAX 128

// Each label has one length of context, so that no two (label, context) pairs run into the same
// info string.
struct label {
	const char *text;
	size_t bytes;
	size_t context_bytes;
};

static const struct label labels[HKDF_LABELS] = {
	[HKDF_KEK_WRAP] = {"wardfs 1 kek wrap", 64, 0},
	[HKDF_KEK_COMMIT] = {"wardfs 1 kek commit", 32, 0},
	[HKDF_SLOT_ROOT] = {"wardfs 1 slot root", 64, 64},
	[HKDF_HEADER_MAC] = {"wardfs 1 header mac", 32, 0},
	[HKDF_JOURNAL] = {"wardfs 1 journal", 32, 0},
	[HKDF_ANCHOR] = {"wardfs 1 anchor", 32, 0},
	[HKDF_MASTER_WRAP] = {"wardfs 1 master wrap", 64, 0},
	[HKDF_PSK_WRAP] = {"wardfs 1 psk wrap", 64, 0},
	[HKDF_JOURNAL_RECORD] = {"wardfs 1 journal record", 32, 4},
	[HKDF_EPOCH_ANCHOR] = {"wardfs 1 epoch anchor", 32, 0},
	[HKDF_HEADER_BACKUP] = {"wardfs 1 header backup", 32, 0},
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_KDF *kdf; // written once

static void fetch(void)
{
	kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
}

const char *hkdf_label(enum hkdf_label label)
{
	return labels[label].text;
}

size_t hkdf_label_bytes(enum hkdf_label label)
{
	return labels[label].bytes;
}

static int derive(const struct label *l, const void *ikm, size_t ikm_len, const void *salt,
		  size_t salt_len, void *info, size_t info_len, void *out)
{
	char digest[] = "SHA256";
	OSSL_PARAM params[5];
	OSSL_PARAM *p = params;

	// OSSL_PARAM has no const variant; a KDF only reads them.
	*p++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0);
	*p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)ikm, ikm_len);
	if (salt_len > 0)
		*p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)salt,
							 salt_len);
	*p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, info_len);
	*p = OSSL_PARAM_construct_end();

	EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
	int ok = ctx && EVP_KDF_derive(ctx, out, l->bytes, params) == 1;

	EVP_KDF_CTX_free(ctx);
	return ok ? 0 : WERR_INTERNAL;
}

int hkdf_derive(enum hkdf_label label, const void *ikm, size_t ikm_len, const void *salt,
		size_t salt_len, const void *context, size_t context_len, void *out)
{
	uint8_t info[INFO_MAX];

	if ((unsigned)label >= HKDF_LABELS || ikm_len == 0 ||
	    context_len != labels[label].context_bytes)
		return WERR_INVALID;
	if (pthread_once(&once, fetch) != 0 || !kdf)
		return WERR_INTERNAL;

	const struct label *l = &labels[label];
	size_t text_len = strlen(l->text);

	memcpy(info, l->text, text_len);
	if (context_len > 0)
		memcpy(info + text_len, context, context_len);
	int err = derive(l, ikm, ikm_len, salt, salt_len, info, text_len + context_len, out);

	if (err) {
		secret_wipe(out, l->bytes);
		ERR_clear_error();
	}
	return err;
}

int hkdf_hmac_sha256(const uint8_t key[static 32], const void *msg, size_t len,
		     uint8_t mac[static 32])
{
	static const uint8_t nothing[1];
	unsigned n = 0;

	if (HMAC(EVP_sha256(), key, 32, len > 0 ? msg : nothing, len, mac, &n) && n == 32)
		return 0;
	secret_wipe(mac, 32);
	ERR_clear_error();
	return WERR_INTERNAL;
}
