// SPDX-License-Identifier: Apache-2.0
// The factors that a keyslot's secret is made of: one, or two that are both needed. What a factor
// is beyond bytes (a file, a chip, a token) is the business of programs; here stand the table of
// factors and the codecs of their clear parameters, one file each. wardfs-vault(5), "Kinds". Bytes
// in, bytes out; thread-safe.
#ifndef WARDFS_CRYPTO_FACTOR_H
#define WARDFS_CRYPTO_FACTOR_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/cursor.h"
#include "crypto/werr.h"

enum factor {
	FACTOR_NONE = 0,
	FACTOR_PASSPHRASE = 1,
	FACTOR_KEYFILE = 2,
	FACTOR_RECOVERY = 3,
	FACTOR_TPM2 = 4,
	FACTOR_FIDO2 = 5,
	FACTOR_END
};

#define FACTORS_IN_KIND 2
#define FACTOR_PARAMS_MAX 1022 // bytes of the parameters of a slot
#define FACTOR_SECRET_BYTES 32 // of every factor but the passphrase
#define FACTOR_PASSPHRASE_MAX 4096

// A slot's kind: the factor, or the lower one and 256 times the higher one.
static inline uint16_t factor_kind(enum factor a, enum factor b)
{
	if (b != FACTOR_NONE && a > b)
		return (uint16_t)(a << 8 | b);
	return (uint16_t)(b << 8 | a);
}

struct factor_type {
	const char *name; // "key file": for people
	const char *word; // "keyfile": for options and JSON
	int guessable;    // people choose it: it needs a costly key derivation
	// Checks the factor's parameters; NULL: it has none.
	int (*check)(const uint8_t *params, size_t len);
};

// NULL where there is no such factor.
const struct factor_type *factor_type(enum factor f);

// The factors of a kind, ascending; returns how many, or 0 for a kind that does not exist.
unsigned factor_split(uint16_t kind, enum factor out[static FACTORS_IN_KIND]);
int factor_in(uint16_t kind, enum factor f) WARN_UNUSED;
// Whether people choose one of its factors: its key derivation must then be costly.
int factor_guessable(uint16_t kind) WARN_UNUSED;

// The parameters of a slot are those of its factors that have some, ascending, each with a head of
// 4 bytes. WERR_MALFORMED, WERR_UNSUPPORTED.
int factor_params_check(uint16_t kind, const uint8_t *params, size_t len) WARN_UNUSED;
// Those of one factor, within `params`. WERR_NOTFOUND.
int factor_params_find(const uint8_t *params, size_t len, enum factor f, const uint8_t **ret,
		       size_t *ret_len) WARN_UNUSED;
// Appends those of one factor.
void factor_params_put(struct wcursor *c, enum factor f, const uint8_t *params, size_t len);

// ---- key file: which bytes of the file ----

#define FACTOR_KEYFILE_MAX (8u << 20) // most bytes that are read
#define FACTOR_KEYFILE_MIN 16         // fewer make no new key: they could be guessed
struct factor_keyfile {
	uint64_t offset; // below 2^63
	uint64_t length; // 0: to the end of the file
};
#define FACTOR_KEYFILE_PARAMS 16
int factor_keyfile_decode(const uint8_t *params, size_t len,
			  struct factor_keyfile *ret) WARN_UNUSED;
void factor_keyfile_encode(const struct factor_keyfile *k,
			   uint8_t out[static FACTOR_KEYFILE_PARAMS]);

// ---- TPM2: the sealed object ----

#define FACTOR_TPM2_BLOB_MAX 400
struct factor_tpm2 {
	const uint8_t *pub; // TPM2B_PUBLIC
	size_t pub_len;
	const uint8_t *priv; // TPM2B_PRIVATE
	size_t priv_len;
};
int factor_tpm2_decode(const uint8_t *params, size_t len, struct factor_tpm2 *ret) WARN_UNUSED;
void factor_tpm2_encode(struct wcursor *c, const struct factor_tpm2 *t);

// ---- FIDO2: the credential and what it is asked ----

#define FACTOR_FIDO2_SALT 32
#define FACTOR_FIDO2_CREDENTIAL_MAX 512
#define FACTOR_FIDO2_PIN 1u   // the token asks for its PIN
#define FACTOR_FIDO2_TOUCH 2u // the token asks for a touch
struct factor_fido2 {
	uint16_t flags;
	uint8_t salt[FACTOR_FIDO2_SALT];
	const uint8_t *credential;
	size_t credential_len;
};
int factor_fido2_decode(const uint8_t *params, size_t len, struct factor_fido2 *ret) WARN_UNUSED;
void factor_fido2_encode(struct wcursor *c, const struct factor_fido2 *f);

// For the table only.
int factor_keyfile_check(const uint8_t *params, size_t len) WARN_UNUSED;
int factor_tpm2_check(const uint8_t *params, size_t len) WARN_UNUSED;
int factor_fido2_check(const uint8_t *params, size_t len) WARN_UNUSED;

#endif
