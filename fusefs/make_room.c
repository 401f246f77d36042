// SPDX-License-Identifier: Apache-2.0
// A checkpoint that the host has no room for: host files of what was removed go before it is
// complete, or deleting would give nothing back.
#include "fusefs/checkpoint.h"

#include <stdlib.h>

struct numbers {
	uint64_t *list;
	size_t len;
};

// Of listed files nobody has a node any more; one that is there again is another matter.
static void add_listed(struct fs *fs, const struct unlink_entry *u, struct numbers *ret)
{
	for (; u; u = u->next) {
		struct node *n = node_find(fs, u->number);

		if (n) {
			node_put(fs, n);
		} else {
			ret->list[ret->len++] = u->number;
		}
	}
}

// Orphans that only the checkpoint itself still holds. Whoever is about to remove a name holds its
// node until the record is appended.
static void add_orphans(struct fs *fs, const struct checkpoint *c, struct numbers *ret)
{
	pthread_mutex_lock(&fs->nodes_lock);
	for (size_t i = 0; i < c->parts_len; i++) {
		const struct node *n = c->parts[i].n;

		if (n->refs == 1 && atomic_load(&n->orphan) && !c->parts[i].sealed && n->base) {
			ret->list[ret->len++] = n->number;
		}
	}
	pthread_mutex_unlock(&fs->nodes_lock);
}

static size_t count_listed(const struct unlink_entry *u)
{
	size_t count = 0;

	for (; u; u = u->next) {
		count++;
	}
	return count;
}

bool make_room(struct fs *fs, struct checkpoint *c)
{
	struct numbers gone = {
		malloc((c->parts_len + count_listed(c->unlinks) + 1) * sizeof(uint64_t)), 0};
	bool any = false;

	if (!gone.list) {
		return false;
	}
	add_listed(fs, c->unlinks, &gone);
	add_orphans(fs, c, &gone);
	// The removals were in the journal before: after this flush a replay drops what they name.
	if (gone.len && journal_sync(fs->j) == 0) {
		for (size_t i = 0; i < gone.len; i++) {
			hostcache_drop(fs->hc, gone.list[i]);
			any |= fs->host->ops->unlink_object(fs->host, gone.list[i]) == 0;
			atomic_store(&fs->folder_new[host_folder(gone.list[i])], 1);
		}
	}
	free(gone.list);
	return any;
}
