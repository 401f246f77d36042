// SPDX-License-Identifier: Apache-2.0
// Another root key while the vault is in use. Journal and header cannot change in one write, so for
// a moment both root keys open the vault: with everything at its place and nobody changing anything
// one superblock of the journal goes under the new root key, then the headers; the other superblock
// stays as it is until both headers are durable. Whichever header a crash leaves, its superblock is
// there, and says the same.
#include "fusefs/rekey.h"

#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "fusefs/engine.h"

struct rekey {
	struct vault_header *next;
	struct keyring *ring; // of next
	bool other_root;
};

static void clear(struct rekey *k)
{
	keyring_free(k->ring);
	free(k->next);
}

int rekey_header(struct fs *fs, uint8_t *buf)
{
	pthread_mutex_lock(&fs->header_lock);
	int err = vault_copy_header(fs->v, buf);
	pthread_mutex_unlock(&fs->header_lock);
	return err;
}

// Everything but secrets and masters is as it was. With header_lock.
static int check_rest(const struct vault_header *h, const struct vault_header *next)
{
	bool same = next->mount == h->mount && next->state == h->state &&
		    next->replaying == h->replaying &&
		    next->journal_sequence == h->journal_sequence &&
		    next->root_incarnation == h->root_incarnation &&
		    next->root_generation == h->root_generation &&
		    next->root_epoch == h->root_epoch && next->journal_bytes == h->journal_bytes &&
		    next->created_s == h->created_s && next->rotation.level == h->rotation.level &&
		    next->rotation.number == h->rotation.number &&
		    next->rotation.incarnation == h->rotation.incarnation &&
		    next->rotation.started_s == h->rotation.started_s &&
		    next->rotation.max_rate == h->rotation.max_rate &&
		    next->policy.idle_s == h->policy.idle_s &&
		    next->policy.max_time_s == h->policy.max_time_s &&
		    memcmp(next->policy.on, h->policy.on, sizeof h->policy.on) == 0 &&
		    next->policy.wipe_after == h->policy.wipe_after;

	return same ? 0 : WERR_INVALID;
}

// The masters are ours, and one more where the root key is another one.
static int check_masters(const struct vault *v, const struct rekey *k)
{
	const struct vault_header *h = v->h, *next = k->next;
	const unsigned more = k->other_root ? 1 : 0;

	if (next->masters_len != h->masters_len + more || next->epoch != h->epoch + more) {
		return WERR_INVALID;
	}
	for (unsigned i = 0; i < h->masters_len; i++) {
		const struct master_record *m = &h->masters[i];

		if (next->masters[i].class_ != m->class_ || next->masters[i].epoch != m->epoch) {
			return WERR_INVALID;
		}
		if (!keyring_same_master(v->ring, k->ring, m->class_, m->epoch)) {
			return WERR_AUTH;
		}
	}
	// What this process has of an epoch that never came into force must not be taken for it.
	return more && keyring_master(v->ring, OBJECT_CLASS, next->epoch) ? WERR_LIMIT : 0;
}

// With header_lock.
static int check(const struct fs *fs, struct rekey *k)
{
	const struct vault_header *h = fs->v->h, *next = k->next;

	if (memcmp(next->vault_id, h->vault_id, VAULT_ID_BYTES) != 0) {
		return WERR_AUTH;
	}
	if (next->write_counter != h->write_counter ||
	    memcmp(next->written, h->written, sizeof h->written) != 0) {
		return WERR_BUSY;
	}
	k->other_root = !keyring_same_root(fs->v->ring, k->ring);
	int err = check_masters(fs->v, k);
	err = err ? err : check_rest(h, next);
	return err == 0 && k->other_root && keyring_room(fs->v->ring) == 0 ? WERR_LIMIT : err;
}

// The second superblock, too, comes under the new root key. What fails here is done by the next
// checkpoint.
static void leave_old_superblock(struct fs *fs)
{
	const struct superblock *sb = journal_superblock(fs->j);
	struct journal_mark mark;

	journal_mark(fs->j, &mark);
	(void)!journal_advance(fs->j, sb->k, &mark, sb->root_generation);
}

// Between quiet_begin and quiet_end.
static int change_root(struct fs *fs, struct rekey *k, int *ret_in_force)
{
	int err = journal_rekey_live(fs->j, k->ring, atomic_load(&fs->root->base));

	if (err) {
		return err;
	}
	anchoring_note(fs, false);
	err = vault_replace(fs->v, k->next, k->ring, ret_in_force);
	if (!*ret_in_force) {
		journal_rekey_undo(fs->j);
		anchoring_note(fs, false);
		// A host that fails may not have said what it holds: nothing is written that one of
		// the headers would not know.
		if (err == WERR_IO) {
			fs_set_read_only(fs, "the vault header could not be written", err);
		}
		return err;
	}
	journal_rekey_keep(fs->j);
	atomic_store(&fs->epoch, fs->v->h->epoch);
	rotation_renewed(fs);
	fs_log(fs, LOG_NOTICE, "the vault has a new root key, and epoch %u", fs->v->h->epoch);
	if (err) {
		// Either superblock is needed as long as the headers differ.
		fs_set_read_only(fs, "one of the vault headers could not be written", err);
	} else {
		leave_old_superblock(fs);
	}
	return err;
}

// What the root's keys prove has to be under the new epoch.
static void renew_root(struct fs *fs)
{
	pthread_rwlock_rdlock(&fs->cut);
	int err = node_lock_write(fs, fs->root);
	if (err == 0) {
		if (fs->root->generation && fs->root->obj->keys) {
			err = object_need_keys(fs, fs->root);
			if (err == 0) {
				node_dirty(fs, fs->root, DIRTY_CONTENT);
			}
		}
		object_account(fs, fs->root->obj);
		node_unlock(fs->root);
	}
	pthread_rwlock_unlock(&fs->cut);
}

static int other_root(struct fs *fs, struct rekey *k, int *ret_in_force)
{
	int err = quiet_begin(fs);

	if (err) {
		return err;
	}
	err = check(fs, k); // nobody may have been faster
	err = err ? err : change_root(fs, k, ret_in_force);
	quiet_end(fs);
	if (err == 0) {
		renew_root(fs);
		err = checkpoint_run(fs);
		if (err) {
			fs_log(fs, LOG_WARNING, "after a new root key: %s", werr_text(err));
		}
		err = 0;
	}
	return err;
}

// Slots only: nothing but the header changes.
static int other_slots(struct fs *fs, struct rekey *k, int *ret_in_force)
{
	pthread_mutex_lock(&fs->checkpoint_lock);
	pthread_mutex_lock(&fs->header_lock);
	int err = atomic_load(&fs->read_only) ? WERR_READONLY : check(fs, k);
	if (err == 0) {
		err = vault_replace(fs->v, k->next, k->ring, ret_in_force);
	}
	pthread_mutex_unlock(&fs->header_lock);
	pthread_mutex_unlock(&fs->checkpoint_lock);
	return err;
}

int rekey_apply(struct fs *fs, const uint8_t root_key[static ROOT_KEY_BYTES], const uint8_t *buf,
		int *ret_in_force)
{
	struct rekey k = {.next = malloc(sizeof *k.next)};
	int err = k.next ? 0 : WERR_NOMEM;

	*ret_in_force = 0;
	err = err ? err : vault_header_decode(buf, VAULT_HEADER_BYTES, root_key, k.next);
	err = err ? err : keyring_new(k.next, root_key, &k.ring);
	if (err == 0) {
		pthread_mutex_lock(&fs->header_lock);
		err = atomic_load(&fs->read_only) ? WERR_READONLY : check(fs, &k);
		pthread_mutex_unlock(&fs->header_lock);
	}
	if (err == 0 && fs_frozen(fs)) {
		err = WERR_BUSY;
	}
	if (err == 0) {
		err = k.other_root ? other_root(fs, &k, ret_in_force)
				   : other_slots(fs, &k, ret_in_force);
	}
	clear(&k);
	return err;
}
