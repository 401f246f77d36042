// SPDX-License-Identifier: Apache-2.0
// rename(2) and link(2): several slots, one record.
#include "fusefs/engine.h"

#include <stdlib.h>
#include <string.h>

// One side of a rename.
struct side {
	struct node *dir;
	const char *name;
	table_place place;
	struct entry e;                 // pointers end with the next change of the table
	uint8_t bytes[ENTRY_BYTES_MAX]; // the entry as it was
	size_t len;
	struct node *n;
	bool exists;
};

static int find_side(struct fs *fs, struct side *s)
{
	int err = dir_find(s->dir, s->name, &s->place, &s->e);

	if (err) {
		return err;
	}
	const uint8_t *bytes = table_get_bytes(s->dir->obj->table, s->place, &s->len);
	memcpy(s->bytes, bytes, s->len);
	err = dir_node(fs, s->dir, &s->e, s->place, false, &s->n);
	s->exists = err == 0;
	return err;
}

// The entry of `what` under the name of `where`; what->n is locked.
static int entry_for(const struct side *what, const struct side *where, uint8_t *out,
		     size_t *ret_len)
{
	struct entry e;
	int err = entry_decode(what->bytes, what->len, &e);

	if (err) {
		return err;
	}
	e.name = (const uint8_t *)where->name;
	e.name_len = (uint8_t)strlen(where->name);
	if (e.kind == ENTRY_HOME) {
		return rec_entry(what->n, e.name, e.name_len, out, ret_len);
	}
	return entry_encode(&e, out, ENTRY_BYTES_MAX, ret_len);
}

static bool is_ancestor(struct fs *fs, const struct node *above, struct node *below)
{
	bool found = false;

	pthread_mutex_lock(&fs->dirty_lock);
	for (struct node *p = below; p && !found; p = p->home) {
		found = p == above;
	}
	pthread_mutex_unlock(&fs->dirty_lock);
	return found;
}

static int check_target(struct fs *fs, const struct side *from, const struct side *to)
{
	if (from->n->type == OBJECT_DIR && to->n->type != OBJECT_DIR) {
		return WERR_NOTDIR;
	}
	if (from->n->type != OBJECT_DIR && to->n->type == OBJECT_DIR) {
		return WERR_ISDIR;
	}
	if (to->n->type == OBJECT_DIR) {
		int err = node_lock_write(fs, to->n);
		if (err) {
			return err;
		}
		err = table_count(to->n->obj->table) ? WERR_NOTEMPTY
		      : to->n->obj->lost_end         ? WERR_DAMAGED
						     : 0;
		node_unlock(to->n);
		return err;
	}
	return 0;
}

// After its home entry moved: the node follows, its header's copy of (parent, name) is behind. n is
// locked, and stays so until the record is appended.
static void moved(struct fs *fs, struct node *n, struct node *dir, table_place place, uint8_t kind)
{
	if (kind == ENTRY_HOME) {
		node_set_home(fs, n, dir, place);
	}
	fs_now(fs, &n->attr.ctime);
	n->unlogged_attr = true;
	bool header = kind == ENTRY_HOME && n->obj && (n->base || n->generation);
	node_dirty(fs, n, header ? DIRTY_ATTR | DIRTY_CONTENT : DIRTY_ATTR);
}

// A replay finds a directory by what its header says: the checkpoint has to store the new place,
// and has to have the object for that. A damaged one can be renamed (nothing in it can be reached);
// that the host cannot read right now proves no damage. n is locked.
static int load_moved(struct fs *fs, struct node *n)
{
	if (n->type != OBJECT_DIR || n->obj) {
		return 0;
	}
	int err = object_load(fs, n);
	return object_is_damaged(err) ? 0 : err;
}

static int move_one(struct fs *fs, struct record *r, struct side *from, struct side *to)
{
	uint8_t bytes[ENTRY_BYTES_MAX];
	size_t len;
	table_place place;
	int err = entry_for(from, to, bytes, &len);

	if (err) {
		return err;
	}
	struct table *source = from->dir->obj->table, *target = to->dir->obj->table;
	(void)!table_put(source, from->place, NULL, 0);
	if (to->exists) {
		(void)!table_put(target, to->place, NULL, 0);
	}
	err = dir_insert(to->dir, bytes, len, &place);
	if (err) { // as it was: the room is still there
		if (to->exists) {
			(void)!table_put(target, to->place, to->bytes, to->len);
		}
		(void)!table_put(source, from->place, from->bytes, from->len);
		return err;
	}
	if (!(from->dir == to->dir && from->place == place)) {
		rec_slot(r, from->dir, from->place);
	}
	if (to->exists && to->place != place) {
		rec_slot(r, to->dir, to->place);
	}
	rec_slot(r, to->dir, place);
	moved(fs, from->n, to->dir, place, from->e.kind);
	return 0;
}

// from->n and, where there is one, to->n are locked: no commit of them comes between the new place
// and the record that speaks of it. A replay would not find what it logged there.
static int replace_locked(struct fs *fs, struct side *from, struct side *to)
{
	RECORD_AUTO struct record r;
	bool is_dir = from->n->type == OBJECT_DIR;
	bool victim_dir = to->exists && to->n->type == OBJECT_DIR;
	bool victim_link = to->exists && to->e.kind == ENTRY_LINK;

	record_init(&r);
	int err = rec_prepare_names(fs, &r, to->exists ? to->n : NULL);
	if (err == 0) {
		err = move_one(fs, &r, from, to);
	}
	if (err) {
		return err;
	}
	if (to->exists) {
		node_unname(fs, &r, to->n, victim_link);
	}
	int down = is_dir ? -1 : 0, up = (is_dir ? 1 : 0) - (victim_dir ? 1 : 0);
	if (from->dir == to->dir) {
		dir_changed(fs, &r, to->dir, down + up);
	} else {
		dir_changed(fs, &r, from->dir, down);
		dir_changed(fs, &r, to->dir, up);
	}
	return rec_append_names(fs, &r);
}

static int rename_over(struct fs *fs, struct side *from, struct side *to, unsigned flags)
{
	int err = find_side(fs, from);

	if (err) {
		return err;
	}
	err = find_side(fs, to);
	if (err && err != WERR_NOTFOUND) {
		return err;
	}
	if (to->exists && flags & FS_RENAME_NOREPLACE) {
		return WERR_EXISTS;
	}
	if (to->dir->orphan) {
		return WERR_NOTFOUND;
	}
	if (to->exists && to->n == from->n) {
		return 0; // two names of one file: POSIX asks for nothing
	}
	bool is_dir = from->n->type == OBJECT_DIR;
	if (is_dir && is_ancestor(fs, from->n, to->dir)) {
		return WERR_INVALID;
	}
	if (to->exists && (to->n == from->dir || is_ancestor(fs, to->n, from->dir))) {
		return from->n->type == OBJECT_DIR ? WERR_NOTEMPTY
						   : WERR_ISDIR; // what is moved is in it
	}
	err = to->exists ? check_target(fs, from, to) : 0;
	if (err) {
		return err;
	}
	struct node *victim = to->exists ? to->n : NULL;
	bool link = victim && to->e.kind == ENTRY_LINK;

	err = nodes_lock(fs, from->n, victim, link);
	if (err == 0) {
		err = load_moved(fs, from->n);
		if (err == 0) {
			err = replace_locked(fs, from, to);
		}
		nodes_unlock(fs, from->n, victim, link);
	}
	return err;
}

static int exchange_locked(struct fs *fs, struct side *a, struct side *b)
{
	RECORD_AUTO struct record r;
	uint8_t a_bytes[ENTRY_BYTES_MAX], b_bytes[ENTRY_BYTES_MAX];
	size_t a_len, b_len;
	table_place a_place, b_place;
	bool a_dir = a->n->type == OBJECT_DIR, b_dir = b->n->type == OBJECT_DIR;
	int err = entry_for(b, a, a_bytes, &a_len); // b's object under a's name

	record_init(&r);
	if (err == 0) {
		err = rec_prepare_names(fs, &r, NULL);
	}
	if (err == 0) {
		err = entry_for(a, b, b_bytes, &b_len);
	}
	if (err) {
		return err;
	}
	struct table *ta = a->dir->obj->table, *tb = b->dir->obj->table;
	(void)!table_put(ta, a->place, NULL, 0);
	(void)!table_put(tb, b->place, NULL, 0);
	err = dir_insert(a->dir, a_bytes, a_len, &a_place);
	if (err == 0) {
		err = dir_insert(b->dir, b_bytes, b_len, &b_place);
		if (err) {
			(void)!table_put(ta, a_place, NULL, 0);
		}
	}
	if (err) {
		(void)!table_put(ta, a->place, a->bytes, a->len);
		(void)!table_put(tb, b->place, b->bytes, b->len);
		return err;
	}
	// Emptied slots first: at no point of a replay does one name stand twice in a table.
	struct objref ra = node_objref(a->dir), rb = node_objref(b->dir);
	record_slot(&r, &ra, table_place_page(a->place), table_place_slot(a->place), NULL, 0);
	record_slot(&r, &rb, table_place_page(b->place), table_place_slot(b->place), NULL, 0);
	rec_slot(&r, a->dir, a_place);
	rec_slot(&r, b->dir, b_place);
	moved(fs, b->n, a->dir, a_place, b->e.kind);
	moved(fs, a->n, b->dir, b_place, a->e.kind);
	int change = (int)b_dir - (int)a_dir;
	if (a->dir == b->dir) {
		dir_changed(fs, &r, a->dir, 0);
	} else {
		dir_changed(fs, &r, a->dir, change);
		dir_changed(fs, &r, b->dir, -change);
	}
	return rec_append_names(fs, &r);
}

static int exchange(struct fs *fs, struct side *a, struct side *b)
{
	int err = find_side(fs, a);

	if (err == 0) {
		err = find_side(fs, b);
	}
	if (err) {
		return err;
	}
	bool a_dir = a->n->type == OBJECT_DIR, b_dir = b->n->type == OBJECT_DIR;
	if (a->n == b->n) {
		return 0;
	}
	if ((a_dir && is_ancestor(fs, a->n, b->dir)) || (b_dir && is_ancestor(fs, b->n, a->dir))) {
		return WERR_INVALID;
	}
	err = nodes_lock(fs, a->n, b->n, false);
	if (err == 0) {
		err = load_moved(fs, a->n);
		if (err == 0) {
			err = load_moved(fs, b->n);
		}
		if (err == 0) {
			err = exchange_locked(fs, a, b);
		}
		nodes_unlock(fs, a->n, b->n, false);
	}
	return err;
}

// What can be slow or may fail happens before any lock: the source's data goes into the log before
// a rename over something, and objects whose header has to follow are loaded.
static int prepare(struct fs *fs, struct node *dir, const char *name, bool over)
{
	table_place place;
	struct entry e;
	struct node *n = NULL;
	bool exclusive;
	int err = node_lock_read(fs, dir, &exclusive);

	if (err) {
		return err;
	}
	err = dir_find(dir, name, &place, &e);
	if (err == 0 && e.kind == ENTRY_HOME) {
		err = node_from_entry(fs, &e, dir, place, false, &n);
	} else if (err == 0) {
		n = node_find(fs, e.number);
	}
	node_unlock(dir);
	if (n) {
		pthread_rwlock_rdlock(&n->lock);
		bool loaded = n->obj != NULL, durable = n->base != 0;
		pthread_rwlock_unlock(&n->lock);
		if (!loaded && durable && node_lock_write(fs, n) == 0) {
			node_unlock(n); // a damaged object can be renamed: its copy of the name
					// stays old
		}
		if (over && n->type == OBJECT_FILE && loaded) {
			err = commit_before_rename(fs, n);
		}
		node_put(fs, n);
	}
	return err;
}

static bool name_exists(struct fs *fs, struct node *dir, const char *name)
{
	table_place place;
	struct entry e;
	bool exclusive;

	if (node_lock_read(fs, dir, &exclusive)) {
		return false;
	}
	int err = dir_find(dir, name, &place, &e);
	node_unlock(dir);
	return err == 0;
}

int fs_rename(struct fs *fs, uint64_t parent, const char *name, uint64_t new_parent,
	      const char *new_name, unsigned flags)
{
	struct side from = {.name = name}, to = {.name = new_name};

	if (flags & ~(FS_RENAME_NOREPLACE | FS_RENAME_EXCHANGE) ||
	    flags == (FS_RENAME_NOREPLACE | FS_RENAME_EXCHANGE)) {
		return WERR_INVALID;
	}
	int err = dir_get(fs, parent, &from.dir);
	if (err) {
		return err;
	}
	err = dir_get(fs, new_parent, &to.dir);
	if (err) {
		node_put(fs, from.dir);
		return err;
	}
	err = fs_admit(fs, 0);
	if (err == 0) {
		bool over = name_exists(fs, to.dir, new_name);

		err = prepare(fs, from.dir, name, over);
		if (err == 0 && flags & FS_RENAME_EXCHANGE) {
			err = prepare(fs, to.dir, new_name, over);
		}
	}
	if (err == 0) {
		pthread_rwlock_rdlock(&fs->cut);
		pthread_mutex_lock(&fs->names_lock);
		err = node_lock_write(fs, from.dir);
		if (err == 0 && to.dir != from.dir) {
			err = node_lock_write(fs, to.dir);
			if (err) {
				node_unlock(from.dir);
			}
		}
		if (err == 0) {
			err = flags & FS_RENAME_EXCHANGE ? exchange(fs, &from, &to)
							 : rename_over(fs, &from, &to, flags);
			rotation_moved(fs, from.n);
			if (flags & FS_RENAME_EXCHANGE) {
				rotation_moved(fs, to.n);
			}
			object_account(fs, to.dir->obj);
			node_unlock(from.dir);
			if (to.dir != from.dir) {
				node_unlock(to.dir);
			}
		}
		pthread_mutex_unlock(&fs->names_lock);
		pthread_rwlock_unlock(&fs->cut);
	}
	node_put(fs, from.n);
	node_put(fs, to.n);
	node_put(fs, from.dir);
	node_put(fs, to.dir);
	return err;
}

// Encodes a name of a linked file.
static int link_entry(const struct node *n, const uint8_t *name, size_t name_len,
		      uint8_t out[static ENTRY_BYTES_MAX], size_t *ret_len)
{
	struct entry e = {
		.kind = ENTRY_LINK,
		.type = n->type,
		.name_len = (uint8_t)name_len,
		.name = name,
		.number = n->number,
		.incarnation = n->incarnation,
	};

	return entry_encode(&e, out, ENTRY_BYTES_MAX, ret_len);
}

// The first link: the home entry moves to the links directory, its old slot becomes a link.
// Directories and n are locked.
static int move_home(struct fs *fs, struct record *r, struct node *n, struct node *home)
{
	uint8_t bytes[ENTRY_BYTES_MAX];
	char hex[17];
	size_t len;
	struct entry e;
	table_place place, old = n->place;
	int err = table_get(home->obj->table, old, &e);

	if (err) {
		return err;
	}
	uint8_t name[ENTRY_NAME_MAX];
	size_t name_len = e.name_len;

	memcpy(name, e.name, name_len);
	links_name(n->number, hex);
	err = rec_entry(n, (const uint8_t *)hex, 16, bytes, &len);
	if (err == 0) {
		err = dir_insert(fs->links, bytes, len, &place);
	}
	if (err) {
		return err;
	}
	err = link_entry(n, name, name_len, bytes, &len);
	if (err == 0) {
		err = table_put(home->obj->table, old, bytes,
				len); // a link is shorter than a home entry
	}
	if (err) {
		(void)!table_put(fs->links->obj->table, place, NULL, 0);
		return err;
	}
	rec_slot(r, fs->links, place);
	rec_slot(r, home, old);
	node_set_home(fs, n, fs->links, place);
	node_dirty(fs, fs->links, DIRTY_CONTENT);
	node_dirty(fs, home, DIRTY_CONTENT);
	return 0;
}

// Directories and n are locked.
static int link_locked(struct fs *fs, struct node *n, struct node *home, struct node *dir,
		       const char *new_name)
{
	RECORD_AUTO struct record r;
	uint8_t bytes[ENTRY_BYTES_MAX];
	size_t len;
	table_place place;
	struct entry e;
	int err = dir_find(dir, new_name, &place, &e);

	record_init(&r);
	if (err != WERR_NOTFOUND) {
		return err ? err : WERR_EXISTS;
	}
	if (dir->orphan || n->orphan) {
		return WERR_NOTFOUND;
	}
	if (n->attr.nlink >= 65000) {
		return WERR_MLINK;
	}
	err = rec_prepare_names(fs, &r, NULL);
	if (err == 0) {
		err = link_entry(n, (const uint8_t *)new_name, strlen(new_name), bytes, &len);
	}
	if (err == 0) {
		err = dir_insert(dir, bytes, len, &place);
	}
	if (err) {
		return err;
	}
	if (home != fs->links) {
		err = move_home(fs, &r, n, home);
		if (err) {
			(void)!table_put(dir->obj->table, place, NULL, 0);
			return err;
		}
	}
	rec_slot(&r, dir, place);
	n->attr.nlink++;
	fs_now(fs, &n->attr.ctime);
	n->unlogged_attr = true;
	node_dirty(fs, n, n->obj && n->generation ? DIRTY_ATTR | DIRTY_CONTENT : DIRTY_ATTR);
	rec_attr(fs, &r, n);
	dir_changed(fs, &r, dir, 0);
	return rec_append_names(fs, &r);
}

int fs_link(struct fs *fs, uint64_t ino, uint64_t new_parent, const char *new_name,
	    struct fs_stat *ret)
{
	struct node *n = node_find(fs, ino), *dir, *home;

	if (!n) {
		return WERR_STALE;
	}
	int err = n->type == OBJECT_DIR ? WERR_NOTPERMITTED : dir_get(fs, new_parent, &dir);
	if (err) {
		node_put(fs, n);
		return err;
	}
	err = fs_admit(fs, WARD_PAGE);
	if (err == 0) {
		pthread_rwlock_rdlock(&fs->cut);
		pthread_mutex_lock(&fs->names_lock);
		home = n->home; // names_lock holds it still
		struct node *lock[3] = {dir, home && home != dir ? home : NULL,
					home != fs->links && dir != fs->links ? fs->links : NULL};
		unsigned held = 0;

		err = home ? 0 : WERR_NOTFOUND;
		for (; err == 0 && held < 3; held++) {
			err = lock[held] ? node_lock_write(fs, lock[held]) : 0;
			if (err) {
				break;
			}
		}
		if (err == 0) {
			(void)nodes_lock(fs, n, NULL, false);
			err = link_locked(fs, n, home, dir, new_name);
			nodes_unlock(fs, n, NULL, false);
			rotation_moved(fs, n);
		}
		while (held--) {
			if (lock[held]) {
				node_unlock(lock[held]);
			}
		}
		if (err == 0) {
			node_look(fs, n);
			pthread_rwlock_rdlock(&n->lock);
			fs_fill_stat(n, ret);
			pthread_rwlock_unlock(&n->lock);
		}
		pthread_mutex_unlock(&fs->names_lock);
		pthread_rwlock_unlock(&fs->cut);
	}
	node_put(fs, dir);
	node_put(fs, n);
	return err;
}
