// SPDX-License-Identifier: Apache-2.0
// Reading a directory: places are cookies, so entries may come and go between two calls.
#include "fusefs/engine.h"

#include <errno.h>
#include <string.h>

#include "fusefs/planted.h"

#define COOKIE_DOT 1u
#define COOKIE_DOTDOT 2u
#define COOKIE_FIRST 3u

static int emit_dots(struct fs *fs, struct node *dir, uint64_t cookie, fs_dirent_fn fn, void *arg,
		     bool *ret_stop)
{
	struct fs_dirent d = {.name = ".", .cookie = COOKIE_DOT};

	pthread_rwlock_rdlock(&dir->lock);
	fs_fill_stat(dir, &d.stat);
	pthread_rwlock_unlock(&dir->lock);
	if (cookie < COOKIE_DOT && fn(arg, &d)) {
		*ret_stop = true;
		return 0;
	}
	pthread_mutex_lock(&fs->dirty_lock);
	d.stat.ino = dir->home && dir->home != fs->links ? dir->home->number : dir->number;
	pthread_mutex_unlock(&fs->dirty_lock);
	d.name = "..";
	d.cookie = COOKIE_DOTDOT;
	*ret_stop = cookie < COOKIE_DOTDOT && fn(arg, &d);
	return 0;
}

// One entry copied out, so that no lock is held while the child's attributes are read and the
// caller is called. *ret_child: what kept the child from being found; the entry is there all the
// same.
static int next_entry(struct fs *fs, struct node *dir, table_place *from, bool plus, char *name,
		      struct fs_dirent *d, struct node **ret_node, int *ret_child)
{
	bool exclusive;
	struct entry e;
	table_place place;
	int err = node_lock_read(fs, dir, &exclusive);

	if (err) {
		return err;
	}
	do {
		err = table_next(dir->obj->table, *from, &place, &e);
		*from = place + 1;
	} while (err == 0 && dir == fs->root && place <= ROOT_LINKS_PLACE);
	*ret_node = NULL;
	*ret_child = 0;
	if (err == 0) {
		memcpy(name, e.name, e.name_len);
		name[e.name_len] = '\0';
		d->cookie = COOKIE_FIRST + place;
		d->stat = (struct fs_stat){.ino = e.number, .type = e.type};
		if (plus && e.kind == ENTRY_HOME) {
			*ret_child = node_from_entry(fs, &e, dir, place, true, ret_node);
		}
	}
	bool link = err == 0 && plus && e.kind == ENTRY_LINK;
	uint64_t incarnation = e.incarnation;
	node_unlock(dir);
	if (link) {
		*ret_child = dir_linked(fs, dir, place, d->stat.ino, incarnation, ret_node);
	}
	return err;
}

static bool is_partial(struct node *dir)
{
	pthread_rwlock_rdlock(&dir->lock);
	bool partial = dir->obj && dir->obj->lost_end;
	pthread_rwlock_unlock(&dir->lock);
	return partial;
}

// A planted bug: cookies that count the entries.
static table_place nth_place(struct node *dir, uint64_t n)
{
	table_place from = 0, place;
	struct entry e;

	for (; n && table_next(dir->obj->table, from, &place, &e) == 0; n--) {
		from = place + 1;
	}
	return from;
}

int fs_readdir(struct fs *fs, uint64_t ino, uint64_t cookie, int plus, fs_dirent_fn fn, void *arg)
{
	struct node *dir;
	char name[FS_NAME_MAX + 1];
	bool stop = false, any = false;
	int err = dir_get(fs, ino, &dir);

	if (err) {
		return err;
	}
	err = emit_dots(fs, dir, cookie, fn, arg, &stop);
	table_place from = cookie >= COOKIE_FIRST ? cookie - COOKIE_FIRST + 1 : 0;
	uint64_t count = from; // NOLINT(clang-analyzer-deadcode.DeadStores): for the planted bug
	if (WARD_PLANTED(COUNTING_COOKIE)) {
		from = nth_place(dir, count);
	}
	while (err == 0 && !stop) {
		struct fs_dirent d = {.name = name};
		struct node *n;
		int child;

		err = next_entry(fs, dir, &from, plus, name, &d, &n, &child);
		if (err == WERR_NOTFOUND) {
			// Nobody shall believe that this was all.
			err = any || !is_partial(dir) ? 0 : WERR_DAMAGED;
			break;
		}
		if (err == 0 && child == WERR_NOTFOUND) {
			continue; // unlinked right now
		}
		if (err == 0 && child && werr_errno(child) != EIO) {
			err = child; // no memory …
		}
		if (err) {
			break;
		}
		// What was refused is logged, and still listed: a look-up says EIO.
		d.unknown = child != 0;
		if (n) {
			pthread_rwlock_rdlock(&n->lock);
			fs_fill_stat(n, &d.stat);
			pthread_rwlock_unlock(&n->lock);
		}
		if (WARD_PLANTED(COUNTING_COOKIE)) {
			d.cookie = COOKIE_FIRST + count++;
		}
		stop = fn(arg, &d);
		any |= !stop;
		if (n) {
			if (stop) {
				node_forget(fs, n, 1);
			}
			node_put(fs, n);
		}
	}
	node_put(fs, dir);
	return err;
}
