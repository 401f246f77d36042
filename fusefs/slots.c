// SPDX-License-Identifier: Apache-2.0
#include "fusefs/slots.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/keyring.h"
#include "crypto/secret.h"
#include "crypto/sha256.h"

// What the holder of a slot's secret depends on: everything but the root key sealed for them.
#define AT_EPHEMERAL 272
#define AT_PARAMS 400

static int is_used(const struct vault_header *h, unsigned index)
{
	return index < KEYSLOT_MAX && le16_get(h->slots[index]) != KEYSLOT_EMPTY;
}

unsigned slots_used(const struct vault_header *h)
{
	unsigned used = 0;

	for (unsigned i = 0; i < KEYSLOT_MAX; i++)
		used += is_used(h, i) ? 1u : 0u;
	return used;
}

static int first_free(const struct vault_header *h, unsigned *ret)
{
	for (unsigned i = 0; i < KEYSLOT_MAX; i++) {
		if (!is_used(h, i)) {
			*ret = i;
			return 0;
		}
	}
	return WERR_LIMIT;
}

// Fills slot `index` with a new secret. label: NULL for what info has already.
static int make_slot(struct vault_header *h, unsigned index, const struct slot_change *c,
		     struct keyslot_info *info, const uint8_t *root_key)
{
	if (c->label) {
		const size_t len = strlen(c->label);

		if (len > KEYSLOT_LABEL_MAX)
			return WERR_INVALID;
		memset(info->label, 0, sizeof info->label);
		memcpy(info->label, c->label, len);
	}
	// The number of the header write that brings the slot: greater than any serial before, so
	// never used again.
	uint64_t serial = h->write_counter + 1;
	for (unsigned i = 0; i < KEYSLOT_MAX; i++) {
		if (is_used(h, i) && le32_get(h->slots[i] + 4) == serial) {
			serial++; // of a slot that comes with the same write: look again
			i = UINT_MAX;
		}
	}
	if (serial > UINT32_MAX)
		return WERR_LIMIT;
	info->serial = (uint32_t)serial;
	info->kind = c->kind;
	info->created_s = c->now_s;
	info->kdf = c->kdf;
	info->params = c->params;
	info->params_len = c->params_len;
	return keyslot_make(h->slots[index], index, h->vault_id, info, c->offer, root_key);
}

static int relabel(struct vault_header *h, const struct slot_change *c)
{
	SECRET_AUTO uint8_t *kek = secret_alloc(ARGON_KEK_BYTES);

	if (!kek)
		return WERR_NOMEM;
	int err = keyslot_kek(h->slots[c->index], c->offer, kek);
	if (err)
		return err;
	return keyslot_relabel(h->slots[c->index], c->index, h->vault_id, kek,
			       c->label ? c->label : "");
}

static int keep_root(const uint8_t *root_key, uint8_t **ret)
{
	uint8_t *copy = secret_alloc(ROOT_KEY_BYTES);

	if (!copy)
		return WERR_NOMEM;
	memcpy(copy, root_key, ROOT_KEY_BYTES);
	*ret = copy;
	return 0;
}

static void keep_only(struct vault_header *h, uint32_t keep)
{
	for (unsigned i = 0; i < KEYSLOT_MAX; i++) {
		if (!(keep >> i & 1))
			memset(h->slots[i], 0, KEYSLOT_BYTES);
	}
}

static int apply(struct vault_header *h, const uint8_t *root_key, const struct slot_change *c,
		 unsigned index, uint8_t **ret_root)
{
	struct keyslot_info info = {0};
	int err = 0;

	if (c->verb != SLOT_ADD && c->verb != SLOT_KEEP) {
		if (!is_used(h, index))
			return WERR_NOTFOUND;
		err = keyslot_info(h->slots[index], &info);
		if (err)
			return err;
	}
	switch (c->verb) {
	case SLOT_ADD:
		err = make_slot(h, index, c, &info, root_key);
		return err ? err : keep_root(root_key, ret_root);
	case SLOT_RELABEL:
		err = relabel(h, c);
		return err ? err : keep_root(root_key, ret_root);
	case SLOT_REMOVE:
		if (slots_used(h) == 1)
			return WERR_INVALID;
		// Before the new root key is sealed for every slot that is there.
		memset(h->slots[index], 0, KEYSLOT_BYTES);
		return keyring_renew(h, root_key, ret_root);
	case SLOT_KEEP:
		keep_only(h, c->keep);
		return slots_used(h) ? keyring_renew(h, root_key, ret_root) : WERR_INVALID;
	case SLOT_REPLACE:
		if (c->keep)
			keep_only(h, c->keep | 1u << index);
		err = keyring_renew(h, root_key, ret_root);
		return err ? err : make_slot(h, index, c, &info, *ret_root);
	}
	return WERR_INVALID;
}

int slots_apply(struct vault_header *h, const uint8_t root_key[static ROOT_KEY_BYTES],
		const struct slot_change *change, uint8_t **ret_root_key, unsigned *ret_index)
{
	uint8_t *root = NULL;
	unsigned index = change->index;
	int err = 0;

	if (change->verb == SLOT_ADD)
		err = first_free(h, &index);
	if (err)
		return err;
	struct vault_header *next = malloc(sizeof *next);
	if (!next)
		return WERR_NOMEM;
	*next = *h;
	err = apply(next, root_key, change, index, &root);
	if (!err) {
		*h = *next;
		*ret_root_key = root;
		if (ret_index)
			*ret_index = index;
	} else {
		secret_free(root);
	}
	free(next);
	return err;
}

int slots_digest(const uint8_t slots[static KEYSLOT_MAX][KEYSLOT_BYTES],
		 uint8_t out[static SLOTS_DIGEST_BYTES])
{
	struct sha256 *s = sha256_new();
	int err = s ? 0 : WERR_NOMEM;

	for (unsigned i = 0; !err && i < KEYSLOT_MAX; i++) {
		uint8_t index[4];

		if (le16_get(slots[i]) == KEYSLOT_EMPTY)
			continue;
		le32_put(index, i);
		err = sha256_update(s, index, sizeof index);
		if (!err)
			err = sha256_update(s, slots[i], AT_EPHEMERAL);
		if (!err)
			err = sha256_update(s, slots[i] + AT_PARAMS, KEYSLOT_BYTES - AT_PARAMS);
	}
	if (!err)
		err = sha256_final(s, out);
	sha256_free(s);
	return err;
}
