// SPDX-License-Identifier: Apache-2.0
// One object of a rotation.
#include "fusefs/rotate_private.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"

// Trouble of this machine or of the host: the same object can be tried again.
static bool is_passing(int err)
{
	return err == WERR_NOMEM || err == WERR_MFILE || err == WERR_NOSPACE || err == WERR_QUOTA ||
	       err == WERR_READONLY;
}

// Loads under the node's lock alone: no cut waits for the disk behind it.
static int load(struct fs *fs, struct node *n)
{
	bool exclusive;
	int err = node_lock_read(fs, n, &exclusive);

	if (err == 0) {
		node_unlock(n);
	}
	return err;
}

// cut shared and n->lock exclusive, loaded; false: it went away meanwhile.
static int lock_object(struct fs *fs, struct node *n)
{
	pthread_rwlock_rdlock(&fs->cut);
	int err = node_lock_write(fs, n);

	if (err) {
		pthread_rwlock_unlock(&fs->cut);
	}
	return err;
}

static void unlock_object(struct fs *fs, struct node *n)
{
	object_account(fs, n->obj);
	node_unlock(n);
	pthread_rwlock_unlock(&fs->cut);
}

static void changed(struct fs *fs, struct rotation *r, struct node *n)
{
	node_dirty(fs, n, DIRTY_CONTENT);
	r->found++;
}

static uint16_t seal_key(const struct seal *s)
{
	return seal_is_hole(s) ? 0 : seal_generation(s);
}

// Pages of a directory's table under older data keys: the next checkpoint seals them. Not more of
// them at once than a checkpoint takes easily. *at: where to go on; NO_PAGE: that was all.
static int mark_table(struct node *n, uint16_t key, uint64_t *at, uint64_t limit, uint64_t *marked)
{
	struct object *o = n->obj;
	uint32_t pages = table_pages(o->table), i = (uint32_t)*at;
	int err = 0;

	for (; err == 0 && i < pages && *marked < limit; i++) {
		struct seal s;

		err = tree_get(o->tree, i, &s);
		if (err == 0 && !seal_is_hole(&s) && seal_key(&s) != key &&
		    table_page_bytes(o->table, i)) {
			table_mark(o->table, i);
			*marked += 1;
		}
	}
	*at = err == 0 && i >= pages ? NO_PAGE : i;
	return err;
}

// The object is locked. Whether its keys, or their bound in the entry, are behind.
static int renew(struct fs *fs, struct rotation *r, struct node *n)
{
	uint32_t epoch = atomic_load(&fs->epoch);
	struct object *o = n->obj;
	// The root's bound stands in the vault header, and follows at the end.
	bool behind = n->epoch < epoch || (n != fs->root && n->bound_epoch < epoch);
	int err = object_need_keys(fs, n);

	if (err || !behind) {
		return err;
	}
	o->trim = 0;
	changed(fs, r, n);
	return 0;
}

// Whether the pages have to be sealed again: asked for, or there is no room for a new data key.
// Names and attributes, the pages of a directory, are few and tell much: no level leaves them.
static bool wants_content(const struct rotation *r, const struct node *n)
{
	const struct object_keys *keys = n->obj->keys;

	return object_keys_count(keys) > 1 && (r->what.level == VAULT_ROTATION_CONTENTS ||
					       n->type == OBJECT_DIR || object_keys_full(keys));
}

int rotate_object(struct fs *fs, struct rotation *r, struct node *n)
{
	int err = atomic_load(&n->orphan) ? WERR_NOTFOUND : load(fs, n);

	err = err ? err : lock_object(fs, n);
	if (err) {
		if (err != WERR_NOTFOUND && !is_passing(err)) {
			rotate_failed(r);
			err = 0;
		}
		return err == WERR_NOTFOUND ? 0 : err;
	}
	// What was never stored gets current keys when it is.
	if (!atomic_load(&n->orphan) && n->generation && n->obj->keys) {
		err = renew(fs, r, n);
		if (err == 0 && wants_content(r, n)) {
			struct object *o = n->obj;

			if (o->layout == LAYOUT_INLINE) {
				changed(fs, r, n); // the next header does without the old keys
			} else if (o->trim != object_keys_newest(o->keys) && !r->file) {
				node_ref(fs, n);
				r->file = n;
				r->at = 0;
				r->file_key = object_keys_newest(o->keys);
				r->file_bad = false;
			}
		}
		rotate_count(r, 1, WARD_PAGE);
	}
	unlock_object(fs, n);
	if (err && !is_passing(err)) {
		rotate_failed(r);
		err = 0;
	}
	return err;
}

// Seals a run of pages again, each from what it is now.
static int reseal(struct fs *fs, struct rotation *r, struct node *n, uint64_t index, size_t count)
{
	const size_t bytes = count * WARD_PAGE;
	uint8_t *plain = calloc(1, bytes);
	int err = plain ? 0 : WERR_NOMEM;

	for (size_t i = 0; err == 0 && i < count; i++) {
		err = page_read(fs, n, index + i, plain + i * WARD_PAGE);
	}
	if (err == 0) {
		err = page_write(fs, n, index, count, plain);
	}
	if (plain) {
		secret_wipe(plain, bytes);
	}
	free(plain);
	if (err == 0) {
		data_changed(fs, n);
		r->found++;
		rotate_count(r, 0, bytes);
	}
	return err;
}

// A page that cannot be read stays as it is, and its neighbours do not suffer for it.
static int reseal_run(struct fs *fs, struct rotation *r, struct node *n, uint64_t index,
		      size_t count)
{
	int err = reseal(fs, r, n, index, count);

	if (err == 0 || is_passing(err)) {
		return err;
	}
	err = 0;
	for (size_t i = 0; err == 0 && i < count; i++) {
		err = reseal(fs, r, n, index + i, 1);
		if (err && !is_passing(err)) {
			r->file_bad = true;
			err = 0;
		}
	}
	return err;
}

// Pages in memory that the tree does not know yet, sealed before the key was renewed.
static int reseal_waiting(struct fs *fs, struct rotation *r, struct node *n, bool *ret_any)
{
	uint64_t *list;
	size_t count, done = 0;
	int err = overlay_indices(&n->obj->overlay, false, &list, &count);

	if (err) {
		return err;
	}
	for (size_t i = 0; err == 0 && i < count && done < ROTATE_RUN_PAGES; i++) {
		const struct opage *p = overlay_find(&n->obj->overlay, list[i]);

		if (p && p->dirty && seal_key(&p->dirty->seal) != r->file_key) {
			err = reseal_run(fs, r, n, list[i], 1);
			done++;
		}
	}
	free(list);
	*ret_any = done > 0 && !r->file_bad;
	return err;
}

// The next pages at their places (or on the way there) that have an older key.
static int reseal_placed(struct fs *fs, struct rotation *r, struct node *n)
{
	struct object *o = n->obj;
	struct seal seals[ROTATE_RUN_PAGES];
	uint64_t end = pages_of(n->attr.size), from = end;
	size_t run = 0;
	int err = r->at < end ? tree_seek(o->tree, r->at, end, 0, &from) : 0;

	if (err || from >= end) {
		r->at = err ? r->at : NO_PAGE;
		return err;
	}
	size_t count = end - from < ROTATE_RUN_PAGES ? (size_t)(end - from) : ROTATE_RUN_PAGES;
	err = tree_get_range(o->tree, from, count, seals);
	for (size_t i = 0; err == 0 && i < count; i += run) {
		for (run = 0; i + run < count; run++) {
			const struct opage *p = overlay_find(&o->overlay, from + i + run);
			const struct seal *s = p && p->dirty ? &p->dirty->seal : &seals[i + run];

			if (seal_is_hole(s) || seal_key(s) == r->file_key ||
			    (p && p->dead && !p->dirty)) {
				break;
			}
		}
		if (run) {
			err = reseal_run(fs, r, n, from + i, run);
		} else {
			run = 1;
		}
	}
	r->at = err ? r->at : from + count;
	return err;
}

static int content_locked(struct fs *fs, struct rotation *r, struct node *n)
{
	struct object *o = n->obj;
	bool waiting = false;
	int err = object_need_keys(fs, n);

	if (err == 0 && object_keys_newest(o->keys) != r->file_key) { // renewed meanwhile
		r->file_key = object_keys_newest(o->keys);
		r->at = 0;
	}
	if (err == 0 && n->type == OBJECT_DIR) {
		uint64_t marked = 0;

		err = mark_table(n, r->file_key, &r->at, ROTATE_BATCH_OBJECTS, &marked);
		if (err == 0 && marked) {
			r->batch = ROTATE_BATCH_OBJECTS; // a checkpoint, before there are more
			changed(fs, r, n);
			rotate_count(r, 0, marked * WARD_PAGE);
		}
	} else if (err == 0 && o->layout == LAYOUT_TREE) {
		err = r->at == 0 ? reseal_waiting(fs, r, n, &waiting) : 0;
		if (err == 0 && !waiting) {
			err = reseal_placed(fs, r, n);
		}
	} else {
		r->at = NO_PAGE;
	}
	if (err == 0 && r->at == NO_PAGE && !r->file_bad) {
		if (o->trim != r->file_key && object_keys_count(o->keys) > 1) {
			changed(fs, r, n);
		}
		o->trim = r->file_key;
	}
	return err;
}

int rotate_content(struct fs *fs, struct rotation *r)
{
	struct node *n = r->file;
	int err = load(fs, n);

	err = err ? err : lock_object(fs, n);
	if (err == 0) {
		bool gone = atomic_load(&n->orphan) || !n->obj->keys;

		err = gone ? 0 : content_locked(fs, r, n);
		r->at = gone ? NO_PAGE : r->at;
		unlock_object(fs, n);
	}
	if (err && is_passing(err)) {
		return err;
	}
	if (err || r->at == NO_PAGE) {
		if (err || r->file_bad) {
			rotate_failed(r);
		}
		r->file = NULL;
		node_put(fs, n);
	}
	return 0;
}
