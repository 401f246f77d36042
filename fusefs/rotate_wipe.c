// SPDX-License-Identifier: Apache-2.0
// The last part of a whole rotation of the contents: the journal. Records of before the rotation
// tell names and contents that are still true, and open with the secret of their time.
#include "fusefs/rotate_private.h"

bool rotate_wants_wipe(const struct rotation *r)
{
	return r->what.number == FS_ROOT && r->what.level == VAULT_ROTATION_CONTENTS;
}

int rotate_wipe_begin(struct fs *fs, struct rotation *r)
{
	int err = journal_wipe_begin(fs->j);

	r->wiping = err == 0;
	return err;
}

void rotate_wipe_end(struct fs *fs, struct rotation *r)
{
	if (r->wiping) {
		journal_wipe_end(fs->j);
	}
	r->wiping = false;
}

// A checkpoint that has something to seal, also where nothing was changed: the journal's tail
// moves behind all that is in it now, and a superblock is written.
static int move_tail(struct fs *fs)
{
	pthread_rwlock_rdlock(&fs->cut);
	int err = node_lock_write(fs, fs->root);
	if (err == 0) {
		node_dirty(fs, fs->root, DIRTY_CONTENT);
		object_account(fs, fs->root->obj);
		node_unlock(fs->root);
	}
	pthread_rwlock_unlock(&fs->cut);
	return err ? err : checkpoint_run(fs);
}

int rotate_wipe(struct fs *fs, bool *ret_done)
{
	enum journal_wipe_state state = JOURNAL_WIPE_MORE;

	// Nothing in the vault directory changes while it is frozen; and no other root key comes.
	pthread_mutex_lock(&fs->checkpoint_lock);
	int err = atomic_load(&fs->read_only) ? WERR_READONLY : journal_wipe(fs->j, &state);
	pthread_mutex_unlock(&fs->checkpoint_lock);
	*ret_done = err == 0 && state == JOURNAL_WIPE_DONE;
	return err == 0 && state == JOURNAL_WIPE_IN_USE ? move_tail(fs) : err;
}
