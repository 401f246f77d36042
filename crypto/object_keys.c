// SPDX-License-Identifier: Apache-2.0
#include "crypto/object_keys.h"

#include <stdatomic.h>
#include <string.h>

#include "crypto/cursor.h"
#include "crypto/rng.h"
#include "crypto/secret.h"
#include "crypto/siv.h"

#define TLV_HEADER_KEY 1
#define TLV_DATA_KEY 2
#define TLV_FIXED 4
#define WRAPPED_BYTES (SIV_OVERHEAD + GCM_KEY_BYTES)
#define HEADER_KEY_LEN WRAPPED_BYTES
#define DATA_KEY_LEN (4 + WRAPPED_BYTES)
#define WRAP_LABEL "wardfs wrap 1\0\0"
#define WRAP_AAD_BYTES 60

_Static_assert(sizeof(WRAP_LABEL) == 16, "the label fills its field");
_Static_assert(TLV_FIXED + HEADER_KEY_LEN + OBJECT_DATA_KEYS_MAX * (TLV_FIXED + DATA_KEY_LEN) ==
		       OBJECT_KEYS_TLV_MAX,
	       "the area holds all data keys");

// Raw until first used: most objects in the cache are small, and the expanded form is 30 times as
// long.
struct lazy_key {
	uint16_t generation; // of a data key
	_Atomic(struct gcm_key *) key;
	uint8_t raw[GCM_KEY_BYTES];
};

struct object_keys {
	struct lazy_key header;
	struct lazy_key data[OBJECT_DATA_KEYS_MAX];
	unsigned data_len;
	uint8_t tlv[OBJECT_KEYS_TLV_MAX];
	size_t tlv_len;
};

// One TLV, structure only. generation is 0 for the header key.
struct key_tlv {
	uint16_t kind;
	uint16_t generation;
	const uint8_t *wrapped; // WRAPPED_BYTES
};

static int key_tlv_next(struct rcursor *c, struct key_tlv *ret)
{
	struct key_tlv t = {0};

	t.kind = rcursor_u16(c);
	uint16_t len = rcursor_u16(c);
	if (rcursor_finish(c, 0) < 0)
		return WERR_MALFORMED;
	if (t.kind > TLV_DATA_KEY)
		return WERR_UNSUPPORTED;
	if (t.kind == 0 || len != (t.kind == TLV_HEADER_KEY ? HEADER_KEY_LEN : DATA_KEY_LEN))
		return WERR_MALFORMED;
	if (t.kind == TLV_DATA_KEY) {
		t.generation = rcursor_u16(c);
		rcursor_zero(c, 2);
	}
	t.wrapped = rcursor_take(c, WRAPPED_BYTES);
	if (rcursor_finish(c, 0) < 0)
		return WERR_MALFORMED;
	*ret = t;
	return 0;
}

int object_keys_check(const uint8_t *tlv, size_t tlv_len)
{
	struct rcursor c;
	struct key_tlv t;
	unsigned data_keys = 0;
	unsigned newest = 0;

	if (tlv_len > OBJECT_KEYS_TLV_MAX)
		return WERR_MALFORMED;
	rcursor_init(&c, tlv, tlv_len);
	int rc = key_tlv_next(&c, &t);
	if (rc < 0)
		return rc;
	if (t.kind != TLV_HEADER_KEY)
		return WERR_MALFORMED;
	while (rcursor_left(&c) > 0) {
		rc = key_tlv_next(&c, &t);
		if (rc < 0)
			return rc;
		if (t.kind != TLV_DATA_KEY || t.generation <= newest)
			return WERR_MALFORMED;
		newest = t.generation;
		data_keys++;
	}
	return data_keys >= 1 ? 0 : WERR_MALFORMED;
}

// Everything that a key belongs to: a wrapped key opens for this object, type, class and epoch
// only.
static void wrap_aad(const struct keyring *ring, const struct object_id *id, uint16_t kind,
		     uint16_t generation, uint8_t aad[static WRAP_AAD_BYTES])
{
	struct wcursor w;

	wcursor_init(&w, aad, WRAP_AAD_BYTES);
	wcursor_bytes(&w, WRAP_LABEL, sizeof(WRAP_LABEL));
	wcursor_bytes(&w, keyring_vault_id(ring), VAULT_ID_BYTES);
	wcursor_u64(&w, id->number);
	wcursor_u64(&w, id->incarnation);
	wcursor_u16(&w, id->type);
	wcursor_u16(&w, id->class_);
	wcursor_u32(&w, id->epoch);
	wcursor_u16(&w, kind);
	wcursor_u16(&w, generation);
}

// Appends one wrapped key to keys->tlv.
static int append_tlv(struct object_keys *keys, const struct keyring *ring,
		      const struct object_id *id, uint16_t kind, uint16_t generation,
		      const uint8_t raw[static GCM_KEY_BYTES])
{
	uint8_t aad[WRAP_AAD_BYTES];
	struct wcursor w;

	wcursor_init(&w, keys->tlv + keys->tlv_len, sizeof(keys->tlv) - keys->tlv_len);
	wcursor_u16(&w, kind);
	wcursor_u16(&w, kind == TLV_HEADER_KEY ? HEADER_KEY_LEN : DATA_KEY_LEN);
	if (kind == TLV_DATA_KEY) {
		wcursor_u16(&w, generation);
		wcursor_u16(&w, 0);
	}
	uint8_t *wrapped = wcursor_take(&w, WRAPPED_BYTES);
	if (wrapped == NULL)
		return WERR_LIMIT;
	wrap_aad(ring, id, kind, generation, aad);
	int rc = siv_wrap(keyring_master(ring, id->class_, id->epoch), aad, sizeof(aad), raw,
			  GCM_KEY_BYTES, wrapped);
	if (rc < 0)
		return rc;
	keys->tlv_len += w.len;
	return 0;
}

// Puts a raw key into its place.
static void add_key(struct object_keys *keys, uint16_t kind, uint16_t generation,
		    const uint8_t raw[static GCM_KEY_BYTES])
{
	struct lazy_key *key =
		kind == TLV_HEADER_KEY ? &keys->header : &keys->data[keys->data_len++];

	key->generation = generation;
	memcpy(key->raw, raw, GCM_KEY_BYTES);
}

// Threads may meet here: one of them brings the key, the others take it.
static const struct gcm_key *expanded(const struct lazy_key *lazy)
{
	struct lazy_key *l = (struct lazy_key *)(uintptr_t)lazy;
	struct gcm_key *key = atomic_load_explicit(&l->key, memory_order_acquire);

	if (key != NULL)
		return key;
	struct gcm_key *made = gcm_key_new(l->raw);
	if (made == NULL || atomic_compare_exchange_strong(&l->key, &key, made))
		return made;
	gcm_key_free(made);
	return key;
}

static int generate(struct object_keys *keys, const struct keyring *ring,
		    const struct object_id *id)
{
	// Both in one call: one system call for each new object.
	uint8_t raw[2 * GCM_KEY_BYTES];

	rng_bytes(raw, sizeof(raw));
	int rc = append_tlv(keys, ring, id, TLV_HEADER_KEY, 0, raw);
	if (rc == 0)
		rc = append_tlv(keys, ring, id, TLV_DATA_KEY, 1, raw + GCM_KEY_BYTES);
	if (rc == 0) {
		add_key(keys, TLV_HEADER_KEY, 0, raw);
		add_key(keys, TLV_DATA_KEY, 1, raw + GCM_KEY_BYTES);
	}
	secret_wipe(raw, sizeof(raw));
	return rc;
}

static int id_check(const struct object_id *id)
{
	if (object_id_check(id->number, id->incarnation) < 0 || id->type == 0)
		return WERR_INVALID;
	return id->class_ == 0 || id->epoch == 0 ? WERR_INVALID : 0;
}

int object_keys_new(const struct keyring *ring, const struct object_id *id,
		    struct object_keys **ret)
{
	int rc = id_check(id);

	if (rc < 0)
		return rc;
	if (keyring_master(ring, id->class_, id->epoch) == NULL)
		return WERR_AUTH;
	struct object_keys *keys = secret_alloc(sizeof(*keys));
	if (keys == NULL)
		return WERR_NOMEM;
	rc = generate(keys, ring, id);
	if (rc < 0) {
		object_keys_free(keys);
		return rc;
	}
	*ret = keys;
	return 0;
}

// tlv has passed object_keys_check.
static int unwrap_all(struct object_keys *keys, const struct keyring *ring,
		      const struct object_id *id)
{
	const uint8_t *master = keyring_master(ring, id->class_, id->epoch);
	uint8_t aad[WRAP_AAD_BYTES];
	uint8_t raw[GCM_KEY_BYTES];
	struct rcursor c;
	struct key_tlv t;
	int rc = 0;

	rcursor_init(&c, keys->tlv, keys->tlv_len);
	while (rc == 0 && rcursor_left(&c) > 0) {
		rc = key_tlv_next(&c, &t);
		if (rc < 0)
			break;
		wrap_aad(ring, id, t.kind, t.generation, aad);
		rc = siv_unwrap(master, aad, sizeof(aad), t.wrapped, GCM_KEY_BYTES, raw);
		if (rc == 0)
			add_key(keys, t.kind, t.generation, raw);
	}
	secret_wipe(raw, sizeof(raw));
	return rc;
}

int object_keys_unwrap(const struct keyring *ring, const struct object_id *id, const uint8_t *tlv,
		       size_t tlv_len, struct object_keys **ret)
{
	int rc = object_keys_check(tlv, tlv_len);

	if (rc < 0)
		return rc;
	if (keyring_master(ring, id->class_, id->epoch) == NULL)
		return WERR_AUTH;
	struct object_keys *keys = secret_alloc(sizeof(*keys));
	if (keys == NULL)
		return WERR_NOMEM;
	memcpy(keys->tlv, tlv, tlv_len);
	keys->tlv_len = tlv_len;
	rc = unwrap_all(keys, ring, id);
	if (rc < 0) {
		object_keys_free(keys);
		return rc;
	}
	*ret = keys;
	return 0;
}

// Draws a key and puts it into its place.
static int add_fresh(struct object_keys *keys, const struct keyring *ring,
		     const struct object_id *id, uint16_t kind, uint16_t generation)
{
	uint8_t raw[GCM_KEY_BYTES];

	rng_bytes(raw, sizeof(raw));
	int rc = append_tlv(keys, ring, id, kind, generation, raw);
	if (rc == 0)
		add_key(keys, kind, generation, raw);
	secret_wipe(raw, sizeof(raw));
	return rc;
}

// The data keys of `old` (of id `was`), wrapped again for `id`.
static int rewrap_data(struct object_keys *keys, const struct keyring *ring,
		       const struct object_id *id, const struct object_keys *old,
		       const struct object_id *was)
{
	const uint8_t *master = keyring_master(ring, was->class_, was->epoch);
	uint8_t aad[WRAP_AAD_BYTES];
	uint8_t raw[GCM_KEY_BYTES];
	struct rcursor c;
	struct key_tlv t;
	int rc = 0;

	rcursor_init(&c, old->tlv, old->tlv_len);
	while (rc == 0 && rcursor_left(&c) > 0) {
		rc = key_tlv_next(&c, &t);
		if (rc < 0 || t.kind != TLV_DATA_KEY)
			continue;
		wrap_aad(ring, was, t.kind, t.generation, aad);
		rc = siv_unwrap(master, aad, sizeof(aad), t.wrapped, GCM_KEY_BYTES, raw);
		if (rc == 0)
			rc = append_tlv(keys, ring, id, t.kind, t.generation, raw);
		if (rc == 0)
			add_key(keys, t.kind, t.generation, raw);
	}
	secret_wipe(raw, sizeof(raw));
	return rc;
}

int object_keys_full(const struct object_keys *keys)
{
	return keys->data_len == OBJECT_DATA_KEYS_MAX || object_keys_newest(keys) == UINT16_MAX;
}

int object_keys_renew(const struct keyring *ring, const struct object_id *id,
		      const struct object_keys *keys, uint32_t epoch, struct object_keys **ret)
{
	struct object_id next = *id;

	next.epoch = epoch;
	int rc = id_check(&next);
	if (rc < 0)
		return rc;
	if (keyring_master(ring, id->class_, id->epoch) == NULL ||
	    keyring_master(ring, id->class_, epoch) == NULL)
		return WERR_AUTH;
	struct object_keys *made = secret_alloc(sizeof(*made));
	if (made == NULL)
		return WERR_NOMEM;
	rc = add_fresh(made, ring, &next, TLV_HEADER_KEY, 0);
	if (rc == 0)
		rc = rewrap_data(made, ring, &next, keys, id);
	if (rc == 0 && !object_keys_full(keys))
		rc = add_fresh(made, ring, &next, TLV_DATA_KEY,
			       (uint16_t)(object_keys_newest(keys) + 1));
	if (rc < 0) {
		object_keys_free(made);
		return rc;
	}
	*ret = made;
	return 0;
}

unsigned object_keys_count(const struct object_keys *keys)
{
	return keys->data_len;
}

int object_keys_trim(const struct keyring *ring, const struct object_id *id,
		     const struct object_keys *keys, struct object_keys **ret)
{
	const size_t header = TLV_FIXED + HEADER_KEY_LEN, data = TLV_FIXED + DATA_KEY_LEN;
	uint8_t tlv[TLV_FIXED + HEADER_KEY_LEN + TLV_FIXED + DATA_KEY_LEN];

	memcpy(tlv, keys->tlv, header);
	memcpy(tlv + header, keys->tlv + keys->tlv_len - data, data);
	return object_keys_unwrap(ring, id, tlv, sizeof tlv, ret);
}

void object_keys_free(struct object_keys *keys)
{
	if (keys == NULL)
		return;
	gcm_key_free(keys->header.key);
	for (unsigned i = 0; i < keys->data_len; i++)
		gcm_key_free(keys->data[i].key);
	secret_free(keys);
}

const struct gcm_key *object_keys_header(const struct object_keys *keys)
{
	return expanded(&keys->header);
}

void object_keys_settle(struct object_keys *keys)
{
	gcm_key_free(atomic_exchange(&keys->header.key, NULL));
}

const struct gcm_key *object_keys_data(const struct object_keys *keys, uint16_t generation)
{
	for (unsigned i = keys->data_len; i-- > 0;) {
		if (keys->data[i].generation == generation)
			return expanded(&keys->data[i]);
	}
	return NULL;
}

int object_keys_missing(const struct object_keys *keys, uint16_t generation)
{
	for (unsigned i = 0; i < keys->data_len; i++) {
		if (keys->data[i].generation == generation)
			return WERR_NOMEM;
	}
	return WERR_AUTH;
}

uint16_t object_keys_newest(const struct object_keys *keys)
{
	return keys->data[keys->data_len - 1].generation;
}

const uint8_t *object_keys_tlv(const struct object_keys *keys, size_t *ret_len)
{
	*ret_len = keys->tlv_len;
	return keys->tlv;
}
