// SPDX-License-Identifier: Apache-2.0
// Reading around damage, for check and repair only: with fs_params.salvage set, a directory of
// which something cannot be read is loaded with what can be, instead of being refused. Such a
// directory in memory must not be stored by anything but a repair: check opens the vault read-only.
#ifndef WARDFS_FUSEFS_SALVAGE_H
#define WARDFS_FUSEFS_SALVAGE_H

#include "fusefs/engine.h"

struct salvage {
	// Called by fs_open of a writable vault: `early` when the state is complete in memory,
	// before the first checkpoint; `repair` when the vault could be used. NULL: nothing to do.
	int (*early)(struct fs *fs, void *arg);
	int (*repair)(struct fs *fs, void *arg);
	void *arg;
	uint64_t *dirs; // numbers of the directories that were read around; free()
	size_t dirs_len, dirs_cap;
};

// Whether this error is damage that is to be read around.
bool salvage_wanted(const struct fs *fs, int err);
bool salvage_has(const struct salvage *s, uint64_t number);
int salvage_note(struct salvage *s, uint64_t number) WARN_UNUSED;
// After the load of a directory failed: it starts empty (n->lock exclusive, n->obj NULL).
int salvage_lost(struct fs *fs, struct node *n) WARN_UNUSED;
// Pages [from, from + count) of a table, one by one: what does not open becomes a hole.
int salvage_table(struct fs *fs, struct node *n, uint64_t from, size_t count) WARN_UNUSED;
// The root's own entries, where its table has lost them.
int salvage_root(struct fs *fs) WARN_UNUSED;

#endif
