// SPDX-License-Identifier: Apache-2.0
// Files are mostly read in the order in which their directory names them (cp -r, tar, cat of what
// find says). While that lasts, the host is asked for the headers of the next ones before they are
// wanted, so that they are on their way together: a wait for the disk costs more than all the rest
// of a small file.

#include "fusefs/ahead.h"

// Entries behind the one that is read.
#define AHEAD_ENTRIES 8u
// So many at once: the next request may be here already.
#define AHEAD_AT_ONCE 2u
// Places between two files that are taken to follow each other: directories stand in between, and
// pages that are not full.
#define AHEAD_GAP 128u

static struct node *home_of(struct fs *fs, struct node *n, table_place *ret_place)
{
	pthread_mutex_lock(&fs->dirty_lock);
	struct node *home = n->home;
	*ret_place = n->place;
	if (home) {
		node_ref(fs, home);
	}
	pthread_mutex_unlock(&fs->dirty_lock);
	return home;
}

// The numbers of the files to ask for, when the one at place is read; how many. dir->lock held.
static unsigned next_files(struct object *o, table_place place, uint64_t number[AHEAD_AT_ONCE])
{
	const table_place after = atomic_exchange(&o->ahead_after, place + 1);
	const table_place asked = atomic_load(&o->ahead_to);
	table_place at = place;
	unsigned count = 0;

	// 0: the first one that is read of this directory says nothing. Backwards is far, too.
	if (after == 0 || place - after > AHEAD_GAP) {
		atomic_store(&o->ahead_to, 0);
		return 0;
	}
	for (unsigned i = 0; i < AHEAD_ENTRIES && count < AHEAD_AT_ONCE; i++) {
		struct entry e;

		if (table_next(o->table, at + 1, &at, &e)) {
			break;
		}
		if (at >= asked && e.kind == ENTRY_HOME && e.type == OBJECT_FILE && e.generation) {
			number[count++] = e.number;
		}
	}
	atomic_store(&o->ahead_to, at + 1);
	return count;
}

static void ask_for(struct fs *fs, uint64_t number)
{
	uint8_t page[WARD_PAGE];
	const struct iovec iov = {page, sizeof page};
	struct host_file *f;

	if (object_host_file(fs, number, &f) == 0) {
		(void)!fs->host->ops->preadv_cached(f, &iov, 1, 0);
		hostcache_put(fs->hc, f);
	}
}

// What is to be asked for when whoever waits for this thread has got an answer.
static _Thread_local struct {
	uint64_t number[AHEAD_AT_ONCE];
	unsigned count;
} due;

void ahead_of(struct fs *fs, struct node *n)
{
	table_place place;

	if (!fs->params.blocking || !fs->host->ops->preadv_cached || n->type != OBJECT_FILE) {
		return;
	}
	struct node *dir = home_of(fs, n, &place);
	if (!dir) {
		return;
	}
	// The caller may hold locks that come after a directory's.
	if (dir != fs->links && pthread_rwlock_tryrdlock(&dir->lock) == 0) {
		if (dir->obj && dir->obj->table) {
			due.count = next_files(dir->obj, place, due.number);
		}
		pthread_rwlock_unlock(&dir->lock);
	}
	node_put(fs, dir);
}

void fs_read_ahead(struct fs *fs)
{
	for (unsigned i = 0; i < due.count; i++) {
		ask_for(fs, due.number[i]);
	}
	due.count = 0;
}
