// SPDX-License-Identifier: Apache-2.0
#include "crypto/keyslot.h"

#include <string.h>

#include "crypto/cursor.h"
#include "crypto/hkdf.h"
#include "crypto/rng.h"
#include "crypto/sha256.h"
#include "crypto/siv.h"
#include "crypto/text.h"
#include "crypto/x25519.h"

#define PSK_BYTES 32
#define PAIR_BYTES (X25519_BYTES + PSK_BYTES) // what the KEK wraps
#define COMMIT_BYTES 32
#define ARGON_VERSION 0x13u

// Offsets in a slot, wardfs-vault(5), "KEYSLOTS".
enum {
	AT_LABEL_LEN = 16,
	AT_SALT = 96,
	AT_COMMIT = 128,
	AT_PAIR = 160,
	AT_PUBLIC = 240,
	AT_EPHEMERAL = 272,
	AT_ROOT = 304,
	AT_PSK = 352,
	AT_PARAMS_LEN = 400,
	AT_PARAMS = 402,
	AT_RESERVED = 1424,
};
_Static_assert(AT_COMMIT - AT_SALT == ARGON_SALT_BYTES, "salt");
_Static_assert(AT_PUBLIC - AT_PAIR == SIV_OVERHEAD + PAIR_BYTES, "wrapped pair");
_Static_assert(AT_PSK - AT_ROOT == SIV_OVERHEAD + ROOT_KEY_BYTES, "sealed root key");
_Static_assert(AT_PARAMS_LEN - AT_PSK == SIV_OVERHEAD + PSK_BYTES, "wrapped pre-shared secret");
_Static_assert(AT_RESERVED - AT_PARAMS == FACTOR_PARAMS_MAX, "parameters");

// What a sealed field of a slot is for: bound into its AAD, so that none can stand in for another.
enum purpose {
	PURPOSE_KEK = 1,
	PURPOSE_ROOT = 2,
	PURPOSE_PSK = 3,
};

static const uint8_t aad_prefix[16] = "wardfs slot 1";

#define AAD_HEAD_BYTES (sizeof aad_prefix + VAULT_ID_BYTES + 12)
#define AAD_MAX_BYTES (AAD_HEAD_BYTES + (AT_COMMIT - AT_LABEL_LEN) + (AT_RESERVED - AT_PARAMS_LEN))

// All that is secret while a slot is worked on; lives in secret memory.
struct work {
	uint8_t wrap[SIV_KEY_BYTES];
	uint8_t pair[PAIR_BYTES];                   // private key ‖ pre-shared secret
	uint8_t ephemeral[X25519_BYTES];            // private key of the sender
	uint8_t exchange[X25519_BYTES + PSK_BYTES]; // DH ‖ pre-shared secret
	uint8_t check[PSK_BYTES]; // commitment or pre-shared secret to compare with
	uint8_t root[ROOT_KEY_BYTES];
};

// The parameters with their length; nothing where a slot has none.
static void put_params(struct wcursor *c, const uint8_t *slot)
{
	const size_t len = le16_get(slot + AT_PARAMS_LEN);

	if (len > 0)
		wcursor_bytes(c, slot + AT_PARAMS_LEN, 2 + len);
}

static size_t slot_aad(const uint8_t *slot, unsigned index, const uint8_t *vault_id,
		       enum purpose purpose, uint8_t aad[static AAD_MAX_BYTES])
{
	struct wcursor c;

	wcursor_init(&c, aad, AAD_MAX_BYTES);
	wcursor_bytes(&c, aad_prefix, sizeof aad_prefix);
	wcursor_bytes(&c, vault_id, VAULT_ID_BYTES);
	wcursor_u32(&c, index);
	wcursor_bytes(&c, slot + 4, 4); // serial
	wcursor_bytes(&c, slot, 2);     // kind
	wcursor_u16(&c, (uint16_t)purpose);
	if (purpose == PURPOSE_KEK) {
		wcursor_bytes(&c, slot + AT_LABEL_LEN, AT_COMMIT - AT_LABEL_LEN);
		put_params(&c, slot);
	} else {
		wcursor_bytes(&c, slot + AT_PUBLIC, AT_ROOT - AT_PUBLIC);
	}
	return c.len;
}

static int wrap_field(const struct work *w, const uint8_t *slot, unsigned index,
		      const uint8_t *vault_id, enum purpose purpose, const uint8_t *in, size_t len,
		      uint8_t *out)
{
	uint8_t aad[AAD_MAX_BYTES];
	size_t aad_len = slot_aad(slot, index, vault_id, purpose, aad);

	return siv_wrap(w->wrap, aad, aad_len, in, len, out);
}

static int unwrap_field(const struct work *w, const uint8_t *slot, unsigned index,
			const uint8_t *vault_id, enum purpose purpose, size_t at, size_t len,
			uint8_t *out)
{
	uint8_t aad[AAD_MAX_BYTES];
	size_t aad_len = slot_aad(slot, index, vault_id, purpose, aad);

	return siv_unwrap(w->wrap, aad, aad_len, slot + at, len, out);
}

// A label is shown on terminals before anything of the vault is authenticated: no control bytes.
static int label_check(const uint8_t *label, size_t len)
{
	if (len > KEYSLOT_LABEL_MAX)
		return WERR_MALFORMED;
	for (size_t i = 0; i < KEYSLOT_LABEL_MAX; i++) {
		if (i < len ? label[i] < 0x20 || label[i] == 0x7f : label[i] != 0)
			return WERR_MALFORMED;
	}
	return 0;
}

static int parse_used(struct rcursor *c, struct keyslot_info *info)
{
	if (rcursor_u16(c) != 0) // flags
		return WERR_MALFORMED;
	info->serial = rcursor_u32(c);
	if (info->serial == 0)
		return WERR_MALFORMED;
	info->created_s = rcursor_u64(c);
	size_t label_len = rcursor_u8(c);
	const uint8_t *label = rcursor_take(c, KEYSLOT_LABEL_MAX);
	if (!label)
		return WERR_TRUNCATED;
	int err = label_check(label, label_len);
	if (err)
		return err;
	memcpy(info->label, label, label_len);
	info->kdf.memory_kib = rcursor_u32(c);
	info->kdf.passes = rcursor_u32(c);
	info->kdf.lanes = rcursor_u32(c);
	if (rcursor_u32(c) != ARGON_VERSION)
		return WERR_UNSUPPORTED;
	err = argon_check(&info->kdf);
	if (err)
		return err;
	(void)rcursor_take(c, AT_PARAMS_LEN - AT_SALT);
	info->params_len = rcursor_u16(c);
	info->params = rcursor_take(c, info->params_len);
	if (!info->params || info->params_len > FACTOR_PARAMS_MAX)
		return WERR_MALFORMED;
	return factor_params_check(info->kind, info->params, info->params_len);
}

int keyslot_info(const uint8_t slot[static KEYSLOT_BYTES], struct keyslot_info *ret)
{
	struct keyslot_info info = {0};
	struct rcursor c;

	rcursor_init(&c, slot, KEYSLOT_BYTES);
	info.kind = rcursor_u16(&c);
	enum factor factors[FACTORS_IN_KIND];
	if (info.kind != KEYSLOT_EMPTY) {
		if (factor_split(info.kind, factors) == 0)
			return WERR_UNSUPPORTED;
		int err = parse_used(&c, &info);
		if (err)
			return err;
	}
	rcursor_zero(&c, rcursor_left(&c));
	int err = rcursor_finish(&c, 1);
	if (err)
		return err;
	*ret = info;
	return 0;
}

// The clear part of a slot that is about to be used.
static int used_slot(const uint8_t *slot, unsigned index, struct keyslot_info *info)
{
	if (index >= KEYSLOT_MAX)
		return WERR_LIMIT;
	int err = keyslot_info(slot, info);
	if (err)
		return err;
	return info->kind == KEYSLOT_EMPTY ? WERR_NOTFOUND : 0;
}

int keyslot_tag(const uint8_t slot[static KEYSLOT_BYTES], uint8_t tag[static OFFER_TAG_BYTES])
{
	uint8_t bytes[AT_COMMIT + AT_RESERVED - AT_PARAMS_LEN];
	uint8_t digest[SHA256_BYTES];
	struct keyslot_info info;
	struct wcursor c;
	int err = used_slot(slot, 0, &info);

	if (err)
		return err;
	wcursor_init(&c, bytes, sizeof bytes);
	wcursor_bytes(&c, slot, AT_COMMIT);
	put_params(&c, slot);
	err = sha256_of(bytes, c.len, digest);
	if (!err)
		memcpy(tag, digest, OFFER_TAG_BYTES);
	return err;
}

int keyslot_kek(const uint8_t slot[static KEYSLOT_BYTES], const struct secret *offer,
		uint8_t kek[static ARGON_KEK_BYTES])
{
	SECRET_STRUCT_AUTO struct secret password = {NULL, 0};
	uint8_t tag[OFFER_TAG_BYTES];
	struct keyslot_info info;
	int err = used_slot(slot, 0, &info);

	if (err)
		return err;
	err = keyslot_tag(slot, tag);
	if (err)
		return err;
	// No slot is ever made for the empty passphrase: an answer without the slow step.
	err = offer_password(offer, info.kind, tag, &password);
	if (err)
		return err;
	return argon_derive(&info.kdf, password.bytes, password.len, slot + AT_SALT, kek);
}

// Both values that follow from the KEK: the key commitment and the key that wraps the pair.
static int derive_commit(const uint8_t *slot, const uint8_t *kek, uint8_t *commit)
{
	return hkdf_derive(HKDF_KEK_COMMIT, kek, ARGON_KEK_BYTES, slot + AT_SALT, ARGON_SALT_BYTES,
			   NULL, 0, commit);
}

static int derive_pair_wrap(const uint8_t *slot, const uint8_t *kek, struct work *w)
{
	return hkdf_derive(HKDF_KEK_WRAP, kek, ARGON_KEK_BYTES, slot + AT_SALT, ARGON_SALT_BYTES,
			   NULL, 0, w->wrap);
}

static int derive_psk_wrap(const uint8_t *root_key, const uint8_t *vault_id, struct work *w)
{
	return hkdf_derive(HKDF_PSK_WRAP, root_key, ROOT_KEY_BYTES, vault_id, VAULT_ID_BYTES, NULL,
			   0, w->wrap);
}

// The key that seals the root key, from w->exchange and the slot's two public keys.
static int derive_root_wrap(const uint8_t *slot, const uint8_t *vault_id, struct work *w)
{
	return hkdf_derive(HKDF_SLOT_ROOT, w->exchange, sizeof w->exchange, vault_id,
			   VAULT_ID_BYTES, slot + AT_PUBLIC, AT_ROOT - AT_PUBLIC, w->wrap);
}

// After the KEK has opened w->pair: the root key into w->root.
static int open_root(const uint8_t *slot, unsigned index, const uint8_t *vault_id, struct work *w)
{
	uint8_t public_key[X25519_BYTES];
	int err = x25519_public(w->pair, public_key);

	if (err)
		return err;
	// The sender sealed for the public key in the slot: one that does not belong to the wrapped
	// private key would make every later reseal useless to this slot's holder.
	if (!secret_equal(public_key, slot + AT_PUBLIC, X25519_BYTES))
		return WERR_AUTH;
	err = x25519_shared(w->pair, slot + AT_EPHEMERAL, w->exchange);
	if (err)
		return err;
	memcpy(w->exchange + X25519_BYTES, w->pair + X25519_BYTES, PSK_BYTES);
	err = derive_root_wrap(slot, vault_id, w);
	if (err)
		return err;
	err = unwrap_field(w, slot, index, vault_id, PURPOSE_ROOT, AT_ROOT, ROOT_KEY_BYTES,
			   w->root);
	if (err)
		return err;
	// The copy under the root key is what reseals this slot: it must be the same secret.
	err = derive_psk_wrap(w->root, vault_id, w);
	if (err)
		return err;
	err = unwrap_field(w, slot, index, vault_id, PURPOSE_PSK, AT_PSK, PSK_BYTES, w->check);
	if (err)
		return err;
	return secret_equal(w->check, w->pair + X25519_BYTES, PSK_BYTES) ? 0 : WERR_AUTH;
}

// Opens the wrapped pair into w->pair: WERR_SECRET, WERR_AUTH.
static int open_pair(const uint8_t *slot, unsigned index, const uint8_t *vault_id,
		     const uint8_t *kek, struct work *w)
{
	int err = derive_commit(slot, kek, w->check);

	if (err)
		return err;
	// Before any unwrapping: a ciphertext made to open under several KEKs tells nothing.
	if (!secret_equal(w->check, slot + AT_COMMIT, COMMIT_BYTES))
		return WERR_SECRET;
	err = derive_pair_wrap(slot, kek, w);
	if (err)
		return err;
	return unwrap_field(w, slot, index, vault_id, PURPOSE_KEK, AT_PAIR, PAIR_BYTES, w->pair);
}

int keyslot_open(const uint8_t slot[static KEYSLOT_BYTES], unsigned index,
		 const uint8_t vault_id[static VAULT_ID_BYTES],
		 const uint8_t kek[static ARGON_KEK_BYTES], uint8_t root_key[static ROOT_KEY_BYTES])
{
	struct keyslot_info info;
	int err = used_slot(slot, index, &info);

	if (err)
		return err;
	SECRET_AUTO struct work *w = secret_alloc(sizeof *w);
	if (!w)
		return WERR_NOMEM;
	err = open_pair(slot, index, vault_id, kek, w);
	if (err)
		return err;
	err = open_root(slot, index, vault_id, w);
	if (err)
		return err;
	memcpy(root_key, w->root, ROOT_KEY_BYTES);
	return 0;
}

// Seals root_key for the holder of the slot's private key, with a fresh ephemeral key and the
// pre-shared secret in w->pair, which is wrapped again under the new root key.
static int seal_root(uint8_t *slot, unsigned index, const uint8_t *vault_id,
		     const uint8_t *root_key, struct work *w)
{
	int err = x25519_generate(w->ephemeral, slot + AT_EPHEMERAL);

	if (err)
		return err;
	err = x25519_shared(w->ephemeral, slot + AT_PUBLIC, w->exchange);
	if (err)
		return err;
	memcpy(w->exchange + X25519_BYTES, w->pair + X25519_BYTES, PSK_BYTES);
	err = derive_root_wrap(slot, vault_id, w);
	if (err)
		return err;
	err = wrap_field(w, slot, index, vault_id, PURPOSE_ROOT, root_key, ROOT_KEY_BYTES,
			 slot + AT_ROOT);
	if (err)
		return err;
	err = derive_psk_wrap(root_key, vault_id, w);
	if (err)
		return err;
	return wrap_field(w, slot, index, vault_id, PURPOSE_PSK, w->pair + X25519_BYTES, PSK_BYTES,
			  slot + AT_PSK);
}

static int encode_label(struct wcursor *c, const char *label)
{
	const size_t len = strnlen(label, KEYSLOT_LABEL_MAX + 1);

	if (len > KEYSLOT_LABEL_MAX || !text_is_printable(label, len))
		return WERR_INVALID;
	wcursor_u8(c, (uint8_t)len);
	wcursor_bytes(c, label, len);
	wcursor_zero(c, KEYSLOT_LABEL_MAX - len);
	return 0;
}

static int encode_clear(uint8_t slot[static KEYSLOT_BYTES], const struct keyslot_info *info)
{
	struct wcursor c;

	if (info->serial == 0 || factor_params_check(info->kind, info->params, info->params_len))
		return WERR_INVALID;
	int err = argon_check(&info->kdf);
	if (err)
		return err;
	memset(slot, 0, KEYSLOT_BYTES);
	wcursor_init(&c, slot, KEYSLOT_BYTES);
	wcursor_u16(&c, info->kind);
	wcursor_u16(&c, 0);
	wcursor_u32(&c, info->serial);
	wcursor_u64(&c, info->created_s);
	err = encode_label(&c, info->label);
	if (err)
		return err;
	wcursor_u32(&c, info->kdf.memory_kib);
	wcursor_u32(&c, info->kdf.passes);
	wcursor_u32(&c, info->kdf.lanes);
	wcursor_u32(&c, ARGON_VERSION);
	le16_put(slot + AT_PARAMS_LEN, (uint16_t)info->params_len);
	if (info->params_len > 0)
		memcpy(slot + AT_PARAMS, info->params, info->params_len);
	return c.err;
}

// The part that depends on the secret: commitment, key pair, pre-shared secret.
static int make_pair(uint8_t *slot, unsigned index, const uint8_t *vault_id,
		     const struct secret *offer, struct work *w)
{
	SECRET_AUTO uint8_t *kek = secret_alloc(ARGON_KEK_BYTES);
	if (!kek)
		return WERR_NOMEM;
	rng_bytes(slot + AT_SALT, ARGON_SALT_BYTES);
	int err = keyslot_kek(slot, offer, kek);
	if (err)
		return err == WERR_SECRET ? WERR_INVALID : err;
	err = derive_commit(slot, kek, slot + AT_COMMIT);
	if (err)
		return err;
	err = x25519_generate(w->pair, slot + AT_PUBLIC);
	if (err)
		return err;
	rng_bytes(w->pair + X25519_BYTES, PSK_BYTES);
	err = derive_pair_wrap(slot, kek, w);
	if (err)
		return err;
	return wrap_field(w, slot, index, vault_id, PURPOSE_KEK, w->pair, PAIR_BYTES,
			  slot + AT_PAIR);
}

int keyslot_make(uint8_t slot[static KEYSLOT_BYTES], unsigned index,
		 const uint8_t vault_id[static VAULT_ID_BYTES], const struct keyslot_info *info,
		 const struct secret *offer, const uint8_t root_key[static ROOT_KEY_BYTES])
{
	uint8_t made[KEYSLOT_BYTES];

	if (index >= KEYSLOT_MAX)
		return WERR_LIMIT;
	int err = encode_clear(made, info);
	if (err)
		return err;
	SECRET_AUTO struct work *w = secret_alloc(sizeof *w);
	if (!w)
		return WERR_NOMEM;
	err = make_pair(made, index, vault_id, offer, w);
	if (err)
		return err;
	err = seal_root(made, index, vault_id, root_key, w);
	if (err)
		return err;
	memcpy(slot, made, KEYSLOT_BYTES);
	return 0;
}

int keyslot_reseal(uint8_t slot[static KEYSLOT_BYTES], unsigned index,
		   const uint8_t vault_id[static VAULT_ID_BYTES],
		   const uint8_t old_root[static ROOT_KEY_BYTES],
		   const uint8_t new_root[static ROOT_KEY_BYTES])
{
	uint8_t made[KEYSLOT_BYTES];
	struct keyslot_info info;
	int err = used_slot(slot, index, &info);

	if (err)
		return err;
	SECRET_AUTO struct work *w = secret_alloc(sizeof *w);
	if (!w)
		return WERR_NOMEM;
	memcpy(made, slot, KEYSLOT_BYTES);
	err = derive_psk_wrap(old_root, vault_id, w);
	if (err)
		return err;
	err = unwrap_field(w, made, index, vault_id, PURPOSE_PSK, AT_PSK, PSK_BYTES,
			   w->pair + X25519_BYTES);
	if (err)
		return err;
	err = seal_root(made, index, vault_id, new_root, w);
	if (err)
		return err;
	memcpy(slot, made, KEYSLOT_BYTES);
	return 0;
}

int keyslot_relabel(uint8_t slot[static KEYSLOT_BYTES], unsigned index,
		    const uint8_t vault_id[static VAULT_ID_BYTES],
		    const uint8_t kek[static ARGON_KEK_BYTES], const char *label)
{
	uint8_t made[KEYSLOT_BYTES];
	struct keyslot_info info;
	struct wcursor c;
	int err = used_slot(slot, index, &info);

	if (err)
		return err;
	SECRET_AUTO struct work *w = secret_alloc(sizeof *w);
	if (!w)
		return WERR_NOMEM;
	err = open_pair(slot, index, vault_id, kek, w);
	if (err)
		return err;
	memcpy(made, slot, KEYSLOT_BYTES);
	wcursor_init(&c, made + AT_LABEL_LEN, KEYSLOT_LABEL_MAX + 1);
	err = encode_label(&c, label);
	if (err)
		return err;
	err = wrap_field(w, made, index, vault_id, PURPOSE_KEK, w->pair, PAIR_BYTES,
			 made + AT_PAIR);
	if (!err)
		memcpy(slot, made, KEYSLOT_BYTES);
	return err;
}
