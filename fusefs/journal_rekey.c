// SPDX-License-Identifier: Apache-2.0
// The journal under another root key, while it is in use.
#include <string.h>

#include "crypto/rng.h"
#include "fusefs/journal_private.h"

// With the lock.
static int rekey_locked(struct journal *j, const struct keyring *ring, uint64_t root_generation)
{
	struct gcm_key *record_key = NULL, *key;
	struct superblock sb = j->sb;

	if (!j->record_key || j->before.key || j->has_ghost || j->durable != j->sequence)
		return WERR_INTERNAL;
	j->head = journal_block_up(j->head);
	sb.s = j->sequence;
	sb.tail = journal_file_offset(j, j->head);
	sb.root_generation = root_generation;
	memcpy(sb.previous_tag, j->tag, sizeof(sb.previous_tag));
	rng_bytes(sb.salt, sizeof(sb.salt));
	key = gcm_key_new(keyring_journal(ring));
	int rc = key ? journal_record_key(ring, &sb, &record_key) : WERR_NOMEM;
	if (rc) {
		gcm_key_free(key);
		return rc;
	}
	j->before.key = j->key;
	j->before.record_key = j->record_key;
	j->before.sb = j->sb;
	j->before.sb_block = j->sb_block;
	j->before.tail = j->tail;
	j->key = key;
	j->record_key = record_key;
	rc = journal_put_superblock(j, &sb);
	if (!rc)
		j->tail = j->head;
	return rc;
}

int journal_rekey_live(struct journal *j, const struct keyring *ring, uint64_t root_generation)
{
	if (j->readonly)
		return WERR_READONLY;
	pthread_mutex_lock(&j->lock);
	int rc = rekey_locked(j, ring, root_generation);
	pthread_mutex_unlock(&j->lock);
	if (rc)
		journal_rekey_undo(j);
	return rc;
}

// With the lock: forgets the keys of one of the two sides.
static void rekey_end(struct journal *j, struct gcm_key *key, struct gcm_key *record_key)
{
	gcm_key_free(key);
	gcm_key_free(record_key);
	j->before.key = j->before.record_key = NULL;
}

void journal_rekey_keep(struct journal *j)
{
	pthread_mutex_lock(&j->lock);
	rekey_end(j, j->before.key, j->before.record_key);
	pthread_mutex_unlock(&j->lock);
}

void journal_rekey_undo(struct journal *j)
{
	pthread_mutex_lock(&j->lock);
	if (j->before.key) {
		struct gcm_key *key = j->key, *record_key = j->record_key;

		j->key = j->before.key;
		j->record_key = j->before.record_key;
		j->sb = j->before.sb;
		j->sb_block = j->before.sb_block;
		j->tail = j->before.tail;
		rekey_end(j, key, record_key);
	}
	pthread_mutex_unlock(&j->lock);
}
