// SPDX-License-Identifier: Apache-2.0
// Names: look-up, making and removing. One journal record per operation, pwritten before the
// answer.
#include "fusefs/engine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/rng.h"
#include "crypto/secret.h"
#include "crypto/xattr_codec.h"
#include "fusefs/planted.h"

int dir_get(struct fs *fs, uint64_t ino, struct node **ret)
{
	struct node *n = node_find(fs, ino);

	if (!n) {
		return WERR_STALE;
	}
	if (n->type != OBJECT_DIR) {
		node_put(fs, n);
		return WERR_NOTDIR;
	}
	*ret = n;
	return 0;
}

static int check_name(const char *name)
{
	size_t len = strlen(name);

	if (len > FS_NAME_MAX) {
		return WERR_NAMETOOLONG;
	}
	if (len == 0 || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, "..")) {
		return WERR_INVALID;
	}
	return 0;
}

int dir_find(struct node *dir, const char *name, table_place *ret_place, struct entry *ret)
{
	int err = check_name(name);

	// "." and ".." are the root's own entries, never a name for users.
	if (err == 0) {
		err = table_find(dir->obj->table, (const uint8_t *)name, strlen(name), ret_place,
				 ret);
	}
	return err == WERR_NOTFOUND && dir->obj->lost_end ? WERR_DAMAGED : err;
}

int dir_insert(struct node *dir, const uint8_t *entry, size_t len, table_place *ret)
{
	int err = dir->obj->lost_end ? WERR_DAMAGED : table_reserve(dir->obj->table, len, ret);

	return err ? err : table_put(dir->obj->table, *ret, entry, len);
}

void links_name(uint64_t number, char out[static 17])
{
	(void)snprintf(out, 17, "%016" PRIx64, number);
}

// A link's home entry stands in the links directory.
static int linked_node(struct fs *fs, uint64_t number, uint64_t incarnation, bool look,
		       struct node **ret)
{
	char name[17];
	bool exclusive;
	table_place place;
	struct entry home;
	struct node *links = fs->links;

	// A live node knows its home already.
	struct node *n = node_find(fs, number);
	if (n) {
		if (n->incarnation != incarnation) {
			node_put(fs, n);
			return fs_refuse(fs, number, WERR_DAMAGED,
					 "a link names another incarnation");
		}
		if (look) {
			node_look(fs, n);
		}
		*ret = n;
		return 0;
	}
	int err = node_lock_read(fs, links, &exclusive);
	if (err) {
		return err;
	}
	links_name(number, name);
	err = table_find(links->obj->table, (const uint8_t *)name, 16, &place, &home);
	if (err == 0 &&
	    (home.kind != ENTRY_HOME || home.number != number || home.incarnation != incarnation)) {
		err = WERR_NOTFOUND;
	}
	if (err == 0 && WARD_PLANTED(LINK_UNBOUND) && home.generation) {
		home.generation = 1;
		home.epoch = 0;
	}
	if (err == 0) {
		err = node_from_entry(fs, &home, links, place, look, ret);
	}
	node_unlock(links);
	return err;
}

// A link without a home entry, found by somebody who held no lock in between: with names_lock the
// name is still there (refused), or it was its last and went away (WERR_NOTFOUND).
static int linked_again(struct fs *fs, struct node *dir, table_place place, uint64_t number,
			struct node **ret)
{
	struct entry e;
	bool exclusive;

	pthread_mutex_lock(&fs->names_lock);
	int err = node_lock_read(fs, dir, &exclusive);
	if (err == 0) {
		err = table_get(dir->obj->table, place, &e);
		if (err == 0 && (e.kind != ENTRY_LINK || e.number != number)) {
			err = WERR_NOTFOUND;
		}
		uint64_t incarnation = err == 0 ? e.incarnation : 0;
		node_unlock(dir);
		if (err == 0) {
			err = linked_node(fs, number, incarnation, true, ret);
			err = err == WERR_NOTFOUND ? fs_refuse(fs, number, WERR_DAMAGED,
							       "a link without a home entry")
						   : err;
		}
	}
	pthread_mutex_unlock(&fs->names_lock);
	return err;
}

int dir_linked(struct fs *fs, struct node *dir, table_place place, uint64_t number,
	       uint64_t incarnation, struct node **ret)
{
	int err = linked_node(fs, number, incarnation, true, ret);

	return err == WERR_NOTFOUND ? linked_again(fs, dir, place, number, ret) : err;
}

int dir_node(struct fs *fs, struct node *dir, const struct entry *e, table_place place, bool look,
	     struct node **ret)
{
	if (e->kind == ENTRY_LINK) {
		int err = linked_node(fs, e->number, e->incarnation, look, ret);

		return err == WERR_NOTFOUND ? fs_refuse(fs, e->number, WERR_DAMAGED,
							"a link without a home entry")
					    : err;
	}
	return node_from_entry(fs, e, dir, place, look, ret);
}

int fs_lookup(struct fs *fs, uint64_t parent, const char *name, struct fs_stat *ret)
{
	struct node *dir, *n = NULL;
	table_place place;
	struct entry e;
	bool exclusive;
	int err = dir_get(fs, parent, &dir);

	if (err) {
		return err;
	}
	err = node_lock_read(fs, dir, &exclusive);
	if (err == 0) {
		err = dir_find(dir, name, &place, &e);
		bool link = err == 0 && e.kind == ENTRY_LINK;
		if (err == 0 && !link) {
			err = node_from_entry(fs, &e, dir, place, true, &n);
		}
		node_unlock(dir);
		// Readers hold one directory at a time: see the lock order.
		if (link) {
			err = dir_linked(fs, dir, place, e.number, e.incarnation, &n);
		}
	}
	if (err == 0) {
		pthread_rwlock_rdlock(&n->lock);
		fs_fill_stat(n, ret);
		pthread_rwlock_unlock(&n->lock);
		node_put(fs, n);
	}
	node_put(fs, dir);
	return err;
}

void fs_forget(struct fs *fs, uint64_t ino, uint64_t count)
{
	struct node *n = node_find(fs, ino);

	if (n) {
		node_forget(fs, n, count);
		node_put(fs, n);
	}
}

void dir_changed(struct fs *fs, struct record *r, struct node *dir, int nlink_change)
{
	dir->attr.nlink = (uint32_t)((int)dir->attr.nlink + nlink_change);
	dir->attr.pages = object_table_pages(dir->obj);
	dir->attr.size = dir->attr.pages * WARD_PAGE;
	fs_now(fs, &dir->attr.mtime);
	dir->attr.ctime = dir->attr.mtime;
	node_dirty(fs, dir, DIRTY_CONTENT | DIRTY_ATTR);
	rec_attr(fs, r, dir);
}

// Neighbours stay neighbours on the host: a directory chooses its folder at random, what is made in
// it shares the folder.
static uint64_t new_number(struct fs *fs, const struct node *dir, uint8_t type)
{
	for (;;) {
		uint64_t number;

		rng_bytes(&number, sizeof number);
		number &= ~(UINT64_C(1) << 63);
		if (type != OBJECT_DIR) {
			number = (number & ~(UINT64_C(0xff) << 55)) |
				 (dir->number & (UINT64_C(0xff) << 55));
		}
		struct node *taken = number > LINKS_NUMBER ? node_find(fs, number) : NULL;
		if (number > LINKS_NUMBER && !taken) {
			return number;
		}
		if (taken) {
			node_put(fs, taken);
		}
	}
}

static uint64_t new_incarnation(void)
{
	uint64_t v;

	do {
		rng_bytes(&v, sizeof v);
	} while (v == 0);
	return v;
}

// Content that belongs to the name operation itself: a long symlink target, inherited attributes.
static int make_content(struct fs *fs, struct record *r, struct node *n, const struct fs_make *make,
			bool long_target)
{
	struct objref ref = node_objref(n);
	int err = node_lock_write(fs, n);

	if (err) {
		return err;
	}
	if (make->xattrs_len) {
		uint8_t *set = malloc(OBJECT_XATTR_MAX);

		err = !set ? WERR_NOMEM : xattr_codec_check(make->xattrs, make->xattrs_len);
		if (err) {
			free(set); // nothing was put into it
		} else {
			memcpy(set, make->xattrs, make->xattrs_len);
			xattr_replace(fs, n, set, make->xattrs_len);
			record_xattr(r, &ref, set, make->xattrs_len);
		}
	}
	if (err == 0 && long_target) {
		size_t len = strlen(make->target);

		err = data_write(fs, n, 0, (const uint8_t *)make->target, len);
		data_changed(fs, n);
		if (err == 0) {
			err = rec_new_content(fs, r, n);
		}
	}
	node_unlock(n);
	return err;
}

static void init_attr(struct fs *fs, struct node *n, const struct fs_make *make)
{
	n->attr = (struct ward_attr){
		.mode = make->mode & 07777,
		.uid = make->uid,
		.gid = make->gid,
		.nlink = make->type == OBJECT_DIR ? 2 : 1,
		.rdev = make->type == OBJECT_CHAR || make->type == OBJECT_BLOCK ? make->rdev : 0,
	};
	fs_now(fs, &n->attr.mtime);
	n->attr.atime = n->attr.ctime = n->attr.btime = n->attr.mtime;
}

// The node and its home entry; *ret is set on failure, too, or NULL.
static int new_node(struct fs *fs, const struct node *dir, const char *name,
		    const struct fs_make *make, size_t short_target, struct node **ret,
		    uint8_t entry[static ENTRY_BYTES_MAX], size_t *ret_len)
{
	struct node *n = NULL;
	int err = node_new(fs, new_number(fs, dir, make->type), new_incarnation(), make->type, &n);

	*ret = n;
	if (err) {
		return err;
	}
	init_attr(fs, n, make);
	if (make->type == OBJECT_SYMLINK) {
		n->attr.size = strlen(make->target);
	}
	err = node_set_target(n, make->target, short_target);
	return err ? err : rec_entry(n, (const uint8_t *)name, strlen(name), entry, ret_len);
}

static int make_locked(struct fs *fs, struct node *dir, const char *name,
		       const struct fs_make *make, struct node **ret)
{
	RECORD_AUTO struct record r;
	uint8_t bytes[ENTRY_BYTES_MAX];
	struct entry e;
	table_place place;
	size_t len, target_len = make->type == OBJECT_SYMLINK ? strlen(make->target) : 0;
	bool long_target = target_len > ENTRY_TARGET_MAX;
	struct node *n;

	record_init(&r);
	if (dir->orphan) {
		return WERR_NOTFOUND;
	}
	int err = dir_find(dir, name, &place, &e);
	if (err != WERR_NOTFOUND) {
		return err ? err : WERR_EXISTS;
	}
	err = new_node(fs, dir, name, make, long_target ? 0 : target_len, &n, bytes, &len);
	if (err == 0) {
		err = dir_insert(dir, bytes, len, &place);
	}
	if (err) {
		node_put(fs, n);
		return err;
	}
	node_set_home(fs, n, dir, place);
	rec_slot(&r, dir, place);
	if (long_target) {
		n->attr.size = 0; // data_write brings it
	}
	if (make->xattrs_len || long_target) {
		err = make_content(fs, &r, n, make, long_target);
		rec_attr(fs, &r,
			 n); // behind the content: the attributes of the entry were made before it
	}
	dir_changed(fs, &r, dir, make->type == OBJECT_DIR ? 1 : 0);
	if (err == 0) {
		err = rec_append(fs, &r, NULL);
	}
	if (err) { // nothing was promised: take it back
		(void)!table_put(dir->obj->table, place, NULL, 0);
		dir->attr.nlink -= make->type == OBJECT_DIR ? 1 : 0;
		node_make_orphan(fs, n);
		node_set_home(fs, n, NULL, 0);
		node_put(fs, n);
		return err;
	}
	*ret = n;
	return 0;
}

int fs_make(struct fs *fs, uint64_t parent, const char *name, const struct fs_make *make,
	    struct fs_stat *ret)
{
	struct node *dir, *n;

	if (make->type < OBJECT_FILE || make->type > OBJECT_BLOCK ||
	    make->xattrs_len > OBJECT_XATTR_MAX) {
		return WERR_INVALID;
	}
	if (make->type == OBJECT_SYMLINK &&
	    (!make->target || !*make->target || strlen(make->target) > FS_TARGET_MAX)) {
		return make->target && *make->target ? WERR_NAMETOOLONG : WERR_NOTFOUND;
	}
	int err = dir_get(fs, parent, &dir);
	if (err) {
		return err;
	}
	err = fs_admit(fs, WARD_PAGE);
	if (err == 0) {
		pthread_rwlock_rdlock(&fs->cut);
		pthread_mutex_lock(&fs->names_lock);
		err = node_lock_write(fs, dir);
		if (err == 0) {
			err = make_locked(fs, dir, name, make, &n);
			object_account(fs, dir->obj);
			node_unlock(dir);
		}
		if (err == 0) {
			node_look(fs, n);
			pthread_rwlock_rdlock(&n->lock); // it can be found already
			fs_fill_stat(n, ret);
			pthread_rwlock_unlock(&n->lock);
			node_put(fs, n);
		}
		pthread_mutex_unlock(&fs->names_lock);
		pthread_rwlock_unlock(&fs->cut);
	}
	node_put(fs, dir);
	return err;
}

static void lock_waiting(struct fs *fs, struct node *n)
{
	if (pthread_rwlock_trywrlock(&n->lock)) {
		fs_blocking(fs);
		pthread_rwlock_wrlock(&n->lock);
	}
}

int nodes_lock(struct fs *fs, struct node *a, struct node *b, bool links)
{
	int err = links ? node_lock_write(fs, fs->links) : 0;

	if (err) {
		return err;
	}
	for (;;) { // who waits for one holds none: a commit of the other goes on
		lock_waiting(fs, a);
		if (!b || pthread_rwlock_trywrlock(&b->lock) == 0) {
			return 0;
		}
		pthread_rwlock_unlock(&a->lock);
		struct node *busy = b;
		b = a;
		a = busy;
	}
}

void nodes_unlock(struct fs *fs, struct node *a, struct node *b, bool links)
{
	pthread_rwlock_unlock(&a->lock);
	if (b) {
		pthread_rwlock_unlock(&b->lock);
	}
	if (links) {
		node_unlock(fs->links);
	}
}

void node_unname(struct fs *fs, struct record *r, struct node *n, bool link)
{
	n->attr.nlink = link && n->attr.nlink ? n->attr.nlink - 1 : 0;
	fs_now(fs, &n->attr.ctime);
	n->unlogged_attr = true;
	bool last = n->attr.nlink == 0;
	if (last) {
		node_make_orphan(fs, n);
	}
	if (last && WARD_PLANTED(ORPHAN_EARLY)) {
		unlink_later(fs, n->number, n->incarnation);
	}
	node_dirty(fs, n, DIRTY_ATTR);
	if (!last) {
		rec_attr(fs, r, n);
		return;
	}
	if (link) {
		(void)!table_put(fs->links->obj->table, n->place, NULL, 0);
		rec_slot(r, fs->links, n->place);
		node_dirty(fs, fs->links, DIRTY_CONTENT);
	}
	struct objref ref = node_objref(n);
	record_orphan(r, &ref);
	node_set_home(fs, n, NULL, 0);
}

// A directory that is to go: empty, and nothing can be put into it any more.
static int check_empty(struct fs *fs, struct node *n)
{
	int err = node_lock_write(fs, n);

	if (err) {
		return err;
	}
	err = table_count(n->obj->table) ? WERR_NOTEMPTY : n->obj->lost_end ? WERR_DAMAGED : 0;
	node_unlock(n);
	return err;
}

static int remove_locked(struct fs *fs, struct node *dir, const char *name, bool want_dir)
{
	RECORD_AUTO struct record r;
	table_place place;
	struct entry e;
	struct node *n;
	int err = dir_find(dir, name, &place, &e);

	record_init(&r);
	if (err) {
		return err;
	}
	if (want_dir != (e.type == OBJECT_DIR)) {
		return want_dir ? WERR_NOTDIR : WERR_ISDIR;
	}
	bool link = e.kind == ENTRY_LINK;
	err = dir_node(fs, dir, &e, place, false, &n);
	if (err) {
		return err;
	}
	if (want_dir) {
		err = check_empty(fs, n);
	}
	if (err == 0) {
		err = rec_prepare_names(fs, &r, n);
	}
	if (err == 0) {
		err = nodes_lock(fs, n, NULL, link);
	}
	if (err == 0) { // an fsync of it sees the name, or its removal in the journal
		err = table_put(dir->obj->table, place, NULL, 0);
		if (err == 0) {
			rec_slot(&r, dir, place);
			node_unname(fs, &r, n, link);
			dir_changed(fs, &r, dir, want_dir ? -1 : 0);
			err = rec_append_names(fs, &r);
		}
		nodes_unlock(fs, n, NULL, link);
	}
	node_put(fs, n);
	return err;
}

static int remove_name(struct fs *fs, uint64_t parent, const char *name, bool want_dir)
{
	struct node *dir;
	int err = dir_get(fs, parent, &dir);

	if (err) {
		return err;
	}
	err = fs_admit(fs, 0);
	if (err == 0) {
		pthread_rwlock_rdlock(&fs->cut);
		pthread_mutex_lock(&fs->names_lock);
		err = node_lock_write(fs, dir);
		if (err == 0) {
			err = remove_locked(fs, dir, name, want_dir);
			node_unlock(dir);
		}
		pthread_mutex_unlock(&fs->names_lock);
		pthread_rwlock_unlock(&fs->cut);
	}
	node_put(fs, dir);
	return err;
}

int fs_unlink(struct fs *fs, uint64_t parent, const char *name)
{
	return remove_name(fs, parent, name, false);
}

int fs_rmdir(struct fs *fs, uint64_t parent, const char *name)
{
	return remove_name(fs, parent, name, true);
}

int fs_readlink(struct fs *fs, uint64_t ino, char *buf)
{
	struct node *n = node_find(fs, ino);
	bool exclusive;

	if (!n) {
		return WERR_STALE;
	}
	int err = n->type == OBJECT_SYMLINK ? 0 : WERR_INVALID;
	if (err == 0 && n->target) {
		memcpy(buf, n->target, n->target_len);
		buf[n->target_len] = '\0';
	} else if (err == 0) {
		err = node_lock_read(fs, n, &exclusive);
		if (err == 0) {
			size_t size = (size_t)n->attr.size;

			err = size > FS_TARGET_MAX ? WERR_DAMAGED
						   : data_read(fs, n, 0, size, (uint8_t *)buf);
			buf[err ? 0 : size] = '\0';
			node_unlock(n);
		}
	}
	node_put(fs, n);
	return err;
}
