// SPDX-License-Identifier: Apache-2.0
// What a rotation changes in the vault header. wardfs-vault(5), "Rotation".
#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"
#include "fusefs/anchor.h"
#include "fusefs/vault.h"

static void free_cleanup(void *pp)
{
	free(*(void **)pp);
}
#define FREE_AUTO __attribute__((cleanup(free_cleanup)))

int vault_copy_header(const struct vault *v, uint8_t *buf)
{
	return vault_header_encode(v->h, keyring_header_mac(v->ring), buf);
}

int vault_root_key(uint8_t *buf, const struct secret *passphrase, uint8_t **ret_root_key)
{
	struct vault_sealed sealed = {.buf = {buf, NULL}};
	FREE_AUTO struct vault_header *h = malloc(sizeof *h);

	if (!h)
		return WERR_NOMEM;
	int err = vault_header_peek(buf, VAULT_HEADER_BYTES, sealed.vault_id, sealed.infos);
	if (err)
		return err; // cppcheck-suppress memleak ; FREE_AUTO
	return vault_unlock(&sealed, passphrase, ret_root_key, NULL, NULL, h);
}

// Writes the changed header; on failure it is in memory what it was, but for its write counter.
static int write_or_restore(struct vault *v, const struct vault_header *before)
{
	int err = vault_write(v);

	if (err) {
		const uint64_t counter = v->h->write_counter;

		*v->h = *before;
		v->h->write_counter = counter;
	}
	return err;
}

// The anchor follows once more: while the header was written, the ring could not yet seal under the
// header's epoch. It must not learn a master before that is durable, as one that was thrown away
// would stay in it under the number of the next.
static void note_epoch(struct vault *v)
{
	FREE_AUTO uint8_t *buf = malloc(VAULT_HEADER_BYTES);

	if (v->host->anchor && buf && !vault_header_encode(v->h, keyring_header_mac(v->ring), buf))
		anchor_note_header(v->host->anchor, v->h, v->ring,
				   buf + VAULT_HEADER_BYTES - ANCHOR_MAC_BYTES);
}

int vault_rotation_begin(struct vault *v, const uint8_t root_key[static ROOT_KEY_BYTES],
			 const struct vault_rotation *rotation)
{
	FREE_AUTO struct vault_header *before = malloc(sizeof *before);

	if (!before)
		return WERR_NOMEM;
	*before = *v->h;
	int err = keyring_add_epoch(v->h, root_key);
	if (err && !(err == WERR_LIMIT && v->h->masters_len == VAULT_MASTERS_MAX))
		return err; // cppcheck-suppress memleak ; FREE_AUTO
	v->h->rotation = *rotation;
	err = write_or_restore(v, before);
	if (!err)
		err = keyring_learn(v->ring, v->h, root_key);
	if (!err)
		note_epoch(v);
	return err;
}

int vault_rotation_end(struct vault *v, int retire)
{
	FREE_AUTO struct vault_header *before = malloc(sizeof *before);

	if (!before)
		return WERR_NOMEM;
	*before = *v->h;
	v->h->rotation = (struct vault_rotation){0};
	if (retire) {
		keyring_retire(v->h);
		v->h->root_epoch = v->h->epoch;
	}
	return write_or_restore(v, before);
}
