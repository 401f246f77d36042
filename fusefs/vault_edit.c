// SPDX-License-Identifier: Apache-2.0
#include "fusefs/vault_edit.h"

#include <stdlib.h>

#include "crypto/secret.h"
#include "fusefs/journal.h"
#include "fusefs/vault_private.h"

struct vault_edit {
	struct host *host;
	struct vault_opened o;
	unsigned intact;
	struct keyring *before; // of the header as it was read
	int is_rekeyed;         // the root key is another one than before
};

int vault_edit_open(struct host *host, const struct secret *offer, struct vault_edit **ret)
{
	int err = host->ops->lock(host, 1);

	if (err)
		return err;
	struct vault_edit *e = calloc(1, sizeof *e);
	if (!e)
		return WERR_NOMEM;
	e->host = host;
	err = vault_read_opened(host, offer, &e->o, &e->intact);
	if (!err)
		err = keyring_new(e->o.h, e->o.root_key, &e->before);
	// An older state is no ground to build on.
	if (!err && host->anchor)
		err = anchor_check(host->anchor, e->o.h, e->before, e->o.mac, e->o.slot);
	if (err) {
		vault_edit_close(e);
		return err;
	}
	*ret = e;
	return 0;
}

int vault_edit_open_sealed(const struct vault_sealed *sealed, const struct secret *offer,
			   struct vault_edit **ret)
{
	struct vault_edit *e = calloc(1, sizeof *e);

	if (!e)
		return WERR_NOMEM;
	e->o.h = malloc(sizeof *e->o.h);
	int err = e->o.h ? vault_unlock(sealed, offer, &e->o.root_key, &e->o.slot, NULL, e->o.h)
			 : WERR_NOMEM;
	if (err) {
		vault_edit_close(e);
		return err;
	}
	*ret = e;
	return 0;
}

int vault_edit_encode(const struct vault_edit *e, const uint8_t **ret_root_key, uint8_t *buf)
{
	struct keyring *ring = NULL;
	int err = keyring_new(e->o.h, e->o.root_key, &ring);

	if (!err)
		err = vault_header_encode(e->o.h, keyring_header_mac(ring), buf);
	keyring_free(ring);
	if (!err)
		*ret_root_key = e->o.root_key;
	return err;
}

int vault_edit_follow(struct vault_edit *e, const uint8_t *buf)
{
	return vault_header_decode(buf, VAULT_HEADER_BYTES, e->o.root_key, e->o.h);
}

void vault_edit_close(struct vault_edit *e)
{
	if (!e)
		return;
	if (e->host && e->host->anchor)
		anchor_forget(e->host->anchor);
	keyring_free(e->before);
	vault_opened_clear(&e->o);
	free(e);
}

const struct vault_header *vault_edit_header(const struct vault_edit *e)
{
	return e->o.h;
}

unsigned vault_edit_slot(const struct vault_edit *e)
{
	return e->o.slot;
}

const char *vault_edit_foreign(const struct vault_edit *e)
{
	return vault_foreign_name(e->o.foreign);
}

int vault_edit_is_clean(const struct vault_edit *e)
{
	return !e->host || e->o.h->state == VAULT_CLEAN;
}

int vault_edit_apply(struct vault_edit *e, const struct slot_change *change, unsigned *ret_index)
{
	uint8_t *root_key = NULL;

	if (!vault_edit_is_clean(e))
		return WERR_BUSY;
	int err = slots_apply(e->o.h, e->o.root_key, change, &root_key, ret_index);
	if (err)
		return err;
	if (change->verb != SLOT_ADD && change->verb != SLOT_RELABEL)
		e->is_rekeyed = 1;
	secret_free(e->o.root_key);
	e->o.root_key = root_key;
	return 0;
}

int vault_edit_policy(struct vault_edit *e, const struct vault_policy *policy)
{
	if (!vault_edit_is_clean(e))
		return WERR_BUSY;
	e->o.h->policy = *policy;
	return 0;
}

int vault_edit_write(struct vault_edit *e, int *ret_in_force)
{
	struct keyring *ring = NULL;
	unsigned done = 0;
	int err = keyring_new(e->o.h, e->o.root_key, &ring);

	*ret_in_force = 0;
	if (err)
		return err;
	err = vault_write_opened(e->host, e->o.h, ring, &e->intact, &done);
	*ret_in_force = done != 0;
	// Last: a clean header ignores a journal that it cannot open, but not the other way round.
	// For the same reason a failure here changes nothing: the next mount makes the superblocks
	// anew.
	if (!err && e->is_rekeyed) {
		int ignored = journal_rekey(e->host, e->before, ring, e->o.h->journal_bytes);
		(void)ignored;
	}
	keyring_free(ring);
	return err;
}
