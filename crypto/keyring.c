// SPDX-License-Identifier: Apache-2.0
#include "crypto/keyring.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/cursor.h"
#include "crypto/hkdf.h"
#include "crypto/rng.h"
#include "crypto/secret.h"
#include "crypto/siv.h"

#define SUBKEY_BYTES 32
#define KEYRING_MASTERS_MAX (2 * VAULT_MASTERS_MAX)

struct keyring_master {
	uint16_t class_;
	uint32_t epoch;
	uint8_t key[MASTER_KEY_BYTES];
};

struct keyring {
	uint8_t header_mac[SUBKEY_BYTES];
	uint8_t journal[SUBKEY_BYTES];
	uint8_t anchor[SUBKEY_BYTES];
	uint8_t vault_id[VAULT_ID_BYTES];
	_Atomic unsigned masters_len; // raised after the master behind it was written
	struct keyring_master masters[KEYRING_MASTERS_MAX];
};

static const uint8_t aad_prefix[16] = "wardfs mastr 1";

#define AAD_BYTES (sizeof aad_prefix + VAULT_ID_BYTES + 8)

static void master_aad(const uint8_t *vault_id, uint16_t class_, uint32_t epoch,
		       uint8_t aad[static AAD_BYTES])
{
	struct wcursor c;

	wcursor_init(&c, aad, AAD_BYTES);
	wcursor_bytes(&c, aad_prefix, sizeof aad_prefix);
	wcursor_bytes(&c, vault_id, VAULT_ID_BYTES);
	wcursor_u16(&c, class_);
	wcursor_u16(&c, 0);
	wcursor_u32(&c, epoch);
}

static int derive(enum hkdf_label label, const uint8_t *root_key, const uint8_t *vault_id,
		  uint8_t *out)
{
	return hkdf_derive(label, root_key, ROOT_KEY_BYTES, vault_id, VAULT_ID_BYTES, NULL, 0, out);
}

// Those of the header that the ring does not have.
static int unwrap_masters(struct keyring *ring, const struct vault_header *h, const uint8_t *wrap)
{
	uint8_t aad[AAD_BYTES];

	if (h->masters_len > VAULT_MASTERS_MAX)
		return WERR_MALFORMED;
	for (unsigned i = 0; i < h->masters_len; i++) {
		const struct master_record *m = &h->masters[i];
		unsigned len = atomic_load(&ring->masters_len);

		if (keyring_master(ring, m->class_, m->epoch))
			continue;
		if (len == KEYRING_MASTERS_MAX)
			return WERR_LIMIT;
		struct keyring_master *to = &ring->masters[len];
		master_aad(h->vault_id, m->class_, m->epoch, aad);
		int err = siv_unwrap(wrap, aad, sizeof aad, m->wrapped, MASTER_KEY_BYTES, to->key);
		if (err)
			return err;
		to->class_ = m->class_;
		to->epoch = m->epoch;
		atomic_store(&ring->masters_len, len + 1);
	}
	return 0;
}

static int wrap_master(const uint8_t *wrap, const uint8_t *vault_id, const uint8_t *key,
		       struct master_record *m)
{
	uint8_t aad[AAD_BYTES];

	master_aad(vault_id, m->class_, m->epoch, aad);
	return siv_wrap(wrap, aad, sizeof aad, key, MASTER_KEY_BYTES, m->wrapped);
}

static int fill(struct keyring *ring, const struct vault_header *h, const uint8_t *root_key)
{
	SECRET_AUTO uint8_t *wrap = secret_alloc(SIV_KEY_BYTES);

	if (!wrap)
		return WERR_NOMEM;
	memcpy(ring->vault_id, h->vault_id, VAULT_ID_BYTES);
	int err = derive(HKDF_HEADER_MAC, root_key, h->vault_id, ring->header_mac);
	if (err)
		return err;
	err = derive(HKDF_JOURNAL, root_key, h->vault_id, ring->journal);
	if (err)
		return err;
	err = derive(HKDF_ANCHOR, root_key, h->vault_id, ring->anchor);
	if (err)
		return err;
	err = derive(HKDF_MASTER_WRAP, root_key, h->vault_id, wrap);
	return err ? err : unwrap_masters(ring, h, wrap);
}

int keyring_new(const struct vault_header *h, const uint8_t root_key[static ROOT_KEY_BYTES],
		struct keyring **ret)
{
	struct keyring *ring = secret_alloc(sizeof *ring);

	if (!ring)
		return WERR_NOMEM;
	int err = fill(ring, h, root_key);
	if (err) {
		secret_free(ring);
		return err;
	}
	*ret = ring;
	return 0;
}

void keyring_free(struct keyring *ring)
{
	secret_free(ring);
}

const uint8_t *keyring_vault_id(const struct keyring *ring)
{
	return ring->vault_id;
}

const uint8_t *keyring_header_mac(const struct keyring *ring)
{
	return ring->header_mac;
}

const uint8_t *keyring_journal(const struct keyring *ring)
{
	return ring->journal;
}

const uint8_t *keyring_anchor(const struct keyring *ring)
{
	return ring->anchor;
}

const uint8_t *keyring_master(const struct keyring *ring, uint16_t class_, uint32_t epoch)
{
	const unsigned len = atomic_load(&ring->masters_len);

	for (unsigned i = 0; i < len; i++) {
		if (ring->masters[i].class_ == class_ && ring->masters[i].epoch == epoch)
			return ring->masters[i].key;
	}
	return NULL;
}

int keyring_same_root(const struct keyring *a, const struct keyring *b)
{
	return secret_equal(a->header_mac, b->header_mac, SUBKEY_BYTES);
}

int keyring_same_master(const struct keyring *a, const struct keyring *b, uint16_t class_,
			uint32_t epoch)
{
	const uint8_t *one = keyring_master(a, class_, epoch);
	const uint8_t *other = keyring_master(b, class_, epoch);

	return one && other && secret_equal(one, other, MASTER_KEY_BYTES);
}

unsigned keyring_room(const struct keyring *ring)
{
	return KEYRING_MASTERS_MAX - atomic_load(&ring->masters_len);
}

void keyring_adopt(struct keyring *ring, const struct keyring *from)
{
	const unsigned from_len = atomic_load(&from->masters_len);

	memcpy(ring->header_mac, from->header_mac, SUBKEY_BYTES);
	memcpy(ring->journal, from->journal, SUBKEY_BYTES);
	memcpy(ring->anchor, from->anchor, SUBKEY_BYTES);
	for (unsigned i = 0; i < from_len; i++) {
		const struct keyring_master *m = &from->masters[i];
		unsigned len = atomic_load(&ring->masters_len);

		if (keyring_master(ring, m->class_, m->epoch) || len == KEYRING_MASTERS_MAX)
			continue;
		ring->masters[len] = *m;
		atomic_store(&ring->masters_len, len + 1);
	}
}

// Appends a new random master of the given epoch and makes it the current one.
static int append_master(struct vault_header *h, uint32_t epoch, const uint8_t *wrap)
{
	SECRET_AUTO uint8_t *key = secret_alloc(MASTER_KEY_BYTES);

	if (!key)
		return WERR_NOMEM;
	if (h->masters_len >= VAULT_MASTERS_MAX)
		return WERR_LIMIT;
	struct master_record *m = &h->masters[h->masters_len];
	rng_bytes(key, MASTER_KEY_BYTES);
	m->class_ = VAULT_CLASS;
	m->epoch = epoch;
	int err = wrap_master(wrap, h->vault_id, key, m);
	if (err)
		return err;
	h->masters_len++;
	h->epoch = epoch;
	return 0;
}

static int fill_new(struct vault_header *h, const struct keyslot_info *info,
		    const struct secret *passphrase, const uint8_t *root_key)
{
	struct keyslot_info first = *info;
	SECRET_AUTO uint8_t *wrap = secret_alloc(SIV_KEY_BYTES);

	if (!wrap)
		return WERR_NOMEM;
	first.kind = KEYSLOT_PASSPHRASE;
	first.serial = 1;
	rng_bytes(h->vault_id, VAULT_ID_BYTES);
	do {
		rng_bytes(&h->root_incarnation, sizeof h->root_incarnation);
	} while (h->root_incarnation == 0);
	h->state = VAULT_CLEAN;
	h->root_epoch = 1;
	int err = derive(HKDF_MASTER_WRAP, root_key, h->vault_id, wrap);
	if (err)
		return err;
	err = append_master(h, 1, wrap);
	if (err)
		return err;
	return keyslot_make(h->slots[0], 0, h->vault_id, &first, passphrase, root_key);
}

int keyring_create(struct vault_header *h, const struct keyslot_info *info,
		   const struct secret *passphrase, uint8_t **ret_root_key)
{
	uint8_t *root_key = secret_alloc(ROOT_KEY_BYTES);

	if (!root_key)
		return WERR_NOMEM;
	rng_bytes(root_key, ROOT_KEY_BYTES);
	memset(h, 0, sizeof *h);
	int err = fill_new(h, info, passphrase, root_key);
	if (err) {
		secret_free(root_key);
		return err;
	}
	*ret_root_key = root_key;
	return 0;
}

// Wraps every master of `ring` again, and a new one, under the new root key.
static int renew_masters(struct vault_header *h, const struct keyring *ring,
			 const uint8_t *new_root)
{
	SECRET_AUTO uint8_t *wrap = secret_alloc(SIV_KEY_BYTES);

	if (!wrap)
		return WERR_NOMEM;
	if (h->epoch == UINT32_MAX)
		return WERR_LIMIT;
	int err = derive(HKDF_MASTER_WRAP, new_root, h->vault_id, wrap);
	for (unsigned i = 0; !err && i < h->masters_len; i++)
		err = wrap_master(wrap, h->vault_id, ring->masters[i].key, &h->masters[i]);
	return err ? err : append_master(h, h->epoch + 1, wrap);
}

static int reseal_slots(struct vault_header *h, const uint8_t *old_root, const uint8_t *new_root)
{
	for (unsigned i = 0; i < KEYSLOT_MAX; i++) {
		struct keyslot_info info;
		int err = keyslot_info(h->slots[i], &info);
		if (err)
			return err;
		if (info.kind == KEYSLOT_EMPTY)
			continue;
		err = keyslot_reseal(h->slots[i], i, h->vault_id, old_root, new_root);
		if (err)
			return err;
	}
	return 0;
}

static int renew(struct vault_header *h, const uint8_t *old_root, const uint8_t *new_root)
{
	struct keyring *ring = NULL;
	int err = keyring_new(h, old_root, &ring);

	if (err)
		return err;
	err = renew_masters(h, ring, new_root);
	keyring_free(ring);
	return err ? err : reseal_slots(h, old_root, new_root);
}

int keyring_renew(struct vault_header *h, const uint8_t old_root[static ROOT_KEY_BYTES],
		  uint8_t **ret_root_key)
{
	struct vault_header *next = malloc(sizeof *next);
	uint8_t *root_key = secret_alloc(ROOT_KEY_BYTES);
	int err = WERR_NOMEM;

	if (!next || !root_key)
		goto out;
	rng_bytes(root_key, ROOT_KEY_BYTES);
	*next = *h;
	err = renew(next, old_root, root_key);
	if (err)
		goto out;
	*h = *next;
	*ret_root_key = root_key;
	root_key = NULL;
out:
	secret_free(root_key);
	free(next);
	return err;
}

static int add_epoch(struct vault_header *h, const uint8_t *root_key)
{
	struct keyring *ring = NULL;
	SECRET_AUTO uint8_t *wrap = secret_alloc(SIV_KEY_BYTES);

	if (!wrap)
		return WERR_NOMEM;
	if (h->epoch == UINT32_MAX)
		return WERR_LIMIT;
	int err = keyring_new(h, root_key, &ring); // the root key is this header's
	keyring_free(ring);
	if (err)
		return err;
	err = derive(HKDF_MASTER_WRAP, root_key, h->vault_id, wrap);
	return err ? err : append_master(h, h->epoch + 1, wrap);
}

int keyring_add_epoch(struct vault_header *h, const uint8_t root_key[static ROOT_KEY_BYTES])
{
	struct vault_header *next = malloc(sizeof *next);

	if (!next)
		return WERR_NOMEM;
	*next = *h;
	int err = add_epoch(next, root_key);
	if (!err)
		*h = *next;
	free(next);
	return err;
}

int keyring_learn(struct keyring *ring, const struct vault_header *h,
		  const uint8_t root_key[static ROOT_KEY_BYTES])
{
	SECRET_AUTO uint8_t *wrap = secret_alloc(SIV_KEY_BYTES);

	if (!wrap)
		return WERR_NOMEM;
	int err = derive(HKDF_MASTER_WRAP, root_key, h->vault_id, wrap);
	return err ? err : unwrap_masters(ring, h, wrap);
}

void keyring_retire(struct vault_header *h)
{
	struct master_record current = h->masters[h->masters_len - 1];

	memset(h->masters, 0, sizeof h->masters);
	h->masters[0] = current;
	h->masters_len = 1;
}
