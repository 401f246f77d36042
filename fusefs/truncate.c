// SPDX-License-Identifier: Apache-2.0
// Making content go away: truncation and holes. What durable state may refer to is dropped by a
// record first; the host's space follows after the checkpoint (STORAGE.md section 2, DROPPED).
#include "fusefs/engine.h"

#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"
#include "fusefs/planted.h"

// Records that the pages [from, to) are holes from now on. Appended at once: a record is an
// assignment and may be early.
static int log_drop(struct fs *fs, struct node *n, uint64_t from, uint64_t to, uint64_t size)
{
	struct object *o = n->obj;

	if (o->drop_from == o->drop_to) {
		o->drop_from = from;
		o->drop_to = to;
	} else {
		o->drop_from = from < o->drop_from ? from : o->drop_from;
		o->drop_to = to > o->drop_to ? to : o->drop_to;
	}
	if (n->orphan || from >= o->guard) {
		return 0; // nothing durable refers to them
	}
	RECORD_AUTO struct record r;
	struct objref ref = node_objref(n);

	const uint64_t logged_size = o->logged_size;

	record_init(&r);
	o->logged_size = size < o->logged_size ? size : o->logged_size;
	rec_attr(fs, &r, n);
	record_size(&r, &ref, o->logged_size, LAYOUT_TREE);
	record_drop(&r, &ref, from, to);
	// Also when it fails: a checkpoint that is under way may still refer to these pages.
	o->drop_sequence = journal_sequence(fs->j) + 1;
	int err = rec_append(fs, &r, &o->drop_sequence);
	if (err && err != WERR_NOMEM) { // no checkpoint may make durable what was refused
		fs_set_read_only(fs, "the journal could not be written", err);
	}
	if (err) {
		o->logged_size = logged_size;
	} else {
		o->logged_since_cut = true;
	}
	return err;
}

// What is in memory only goes; what is pending is not read any more.
static void forget_overlay(struct fs *fs, struct object *o, uint64_t from, uint64_t to)
{
	for (size_t i = 0; i < o->overlay.nbuckets; i++) {
		struct opage *next;

		for (struct opage *p = o->overlay.buckets[i]; p; p = next) {
			next = p->next;
			if (p->index < from || p->index >= to) {
				continue;
			}
			if (p->dirty) {
				overlay_buf_free(fs, p->dirty);
				p->dirty = NULL;
				o->overlay.ndirty--;
			}
			p->dead = true;
			bool last = o->overlay.count == 1 && !p->pending;
			overlay_prune(&o->overlay, p);
			if (last) {
				break; // the buckets are gone
			}
		}
	}
}

// Drops whole pages. Pending overlay pages still have to reach their places (a checkpoint's images
// may refer to them), but are not read any more.
static int drop_pages(struct fs *fs, struct node *n, uint64_t from, uint64_t to, uint64_t size)
{
	struct object *o = n->obj;
	uint64_t gone = 0, *list = NULL;
	size_t count = 0;

	if (from >= to) {
		return 0;
	}
	int err = overlay_indices(&o->overlay, false, &list, &count);
	for (size_t i = 0; err == 0 && i < count; i++) {
		struct seal s;

		if (list[i] < from || list[i] >= to) {
			continue;
		}
		err = tree_get(o->tree, list[i], &s);
		gone += err == 0 && seal_is_hole(&s);
	}
	if (err == 0) {
		uint64_t dropped = 0;

		err = tree_drop(o->tree, from, to, from == 0 && to == NO_PAGE ? NULL : &dropped);
		gone += dropped;
	}
	// From here on they are gone, said or not: the next checkpoint says so.
	const bool holes = err == 0;

	if (holes) {
		err = log_drop(fs, n, from, to, size);
	}
	if (holes) {
		forget_overlay(fs, o, from, to);
	}
	free(list);
	if (holes && err) {
		data_changed(fs, n);
	}
	if (holes) {
		n->attr.pages = from == 0 && to == NO_PAGE ? 0
				: gone < n->attr.pages     ? n->attr.pages - gone
							   : 0;
		if (to == NO_PAGE && o->placed_end > from) {
			o->placed_end = from > o->guard ? from : o->guard;
		}
		if (WARD_PLANTED(WRITE_AFTER_TRUNCATE) && to == NO_PAGE && o->guard > from) {
			o->guard = o->placed_end = o->unlogged_from = o->flushed_to = from;
		}
	}
	return err;
}

int data_drop_beyond(struct fs *fs, struct node *n, uint64_t end)
{
	struct overlay *ov = &n->obj->overlay;

	for (int pending = 0; pending < 2; pending++) {
		uint64_t *list;
		size_t count;
		int err = overlay_indices(ov, pending, &list, &count);

		if (err) {
			return err;
		}
		for (size_t i = 0; i < count; i++) {
			struct opage *p = overlay_find(ov, list[i]);
			struct obuf **b = pending ? &p->pending : &p->dirty;

			if (list[i] >= end) {
				overlay_buf_free(fs, *b);
				*b = NULL;
				*(pending ? &ov->npending : &ov->ndirty) -= 1;
				overlay_prune(ov, p);
			}
		}
		free(list);
	}
	return tree_drop(n->obj->tree, end, NO_PAGE, NULL);
}

// Zeroes a part of one page, if there is anything in it.
static int zero_part(struct fs *fs, struct node *n, uint64_t index, size_t skip, size_t len)
{
	uint8_t page[WARD_PAGE];
	int err = page_read(fs, n, index, page);
	bool any = false;

	for (size_t i = skip; err == 0 && i < skip + len; i++) {
		any |= page[i] != 0;
	}
	if (any) {
		memset(page + skip, 0, len);
		err = page_write(fs, n, index, 1, page);
	}
	secret_wipe(page, sizeof page);
	return err;
}

int data_zero(struct fs *fs, struct node *n, uint64_t off, uint64_t len)
{
	struct object *o = n->obj;
	uint64_t size = n->attr.size;

	if (off >= size || len == 0) {
		return 0;
	}
	uint64_t end = len > size - off ? size : off + len;

	if (o->layout == LAYOUT_INLINE) {
		memset(o->inline_data + off, 0, (size_t)(end - off));
		return 0;
	}
	// The rest of the last page is zero already: up to the end of the file means whole pages.
	uint64_t first = off / WARD_PAGE, last = end == size ? pages_of(size) : end / WARD_PAGE;
	size_t skip = (size_t)(off % WARD_PAGE), tail = (size_t)(end % WARD_PAGE);
	int err = 0;

	if (skip) {
		size_t part = WARD_PAGE - skip;

		if (first >= last) {
			return zero_part(fs, n, first, skip, (size_t)(end - off));
		}
		err = zero_part(fs, n, first, skip, part);
		first++;
	}
	if (err == 0 && tail && end != size) {
		err = zero_part(fs, n, last, 0, tail);
	}
	return err ? err : drop_pages(fs, n, first, last, size);
}

int data_truncate(struct fs *fs, struct node *n, uint64_t size)
{
	struct object *o = n->obj;
	uint64_t old = n->attr.size;
	int err = 0;

	if (size > FS_SIZE_MAX) {
		return WERR_FBIG;
	}
	if (o->layout == LAYOUT_INLINE) {
		if (size > object_inline_capacity(o)) {
			err = object_make_tree(fs, n);
		} else if (size < old) {
			secret_wipe(o->inline_data + size, (size_t)(old - size));
		}
	} else if (size < old) {
		// The bytes behind the end are zero, always: a later extension shows zeros without
		// touching the page.
		if (size % WARD_PAGE && !WARD_PLANTED(OLD_TAIL)) {
			err = zero_part(fs, n, size / WARD_PAGE, (size_t)(size % WARD_PAGE),
					WARD_PAGE - (size_t)(size % WARD_PAGE));
		}
		if (err == 0) {
			err = drop_pages(fs, n, pages_of(size), NO_PAGE, size);
		}
	}
	if (err == 0) {
		n->attr.size = size;
	}
	return err;
}

static int fallocate_locked(struct fs *fs, struct node *n, int mode, uint64_t off, uint64_t len)
{
	uint64_t end = off + len;
	int err = 0;

	if (end > FS_SIZE_MAX || end < off) {
		return WERR_FBIG;
	}
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) {
		err = data_zero(fs, n, off, len);
	}
	if (err == 0 && !(mode & FALLOC_FL_KEEP_SIZE) && end > n->attr.size) {
		err = data_truncate(fs, n, end);
	}
	if (err == 0) {
		attr_touch(fs, n, true);
		data_changed(fs, n);
	}
	return err;
}

int fs_fallocate(struct fs *fs, uint64_t ino, int mode, uint64_t off, uint64_t len)
{
	switch (mode) {
	case 0:
	case FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_ZERO_RANGE:
	case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
		break;
	default:
		return WERR_NOTSUP;
	}
	struct node *n = node_find(fs, ino);
	if (!n) {
		return WERR_STALE;
	}
	int err = n->type != OBJECT_FILE || len == 0
			  ? WERR_INVALID
			  : fs_admit(fs, mode & FALLOC_FL_PUNCH_HOLE ? 0 : len);
	if (err == 0) {
		pthread_rwlock_rdlock(&fs->cut);
		err = node_lock_write(fs, n);
		if (err == 0) {
			err = fallocate_locked(fs, n, mode, off, len);
			object_account(fs, n->obj);
			node_unlock(n);
		}
		pthread_rwlock_unlock(&fs->cut);
	}
	node_put(fs, n);
	return err;
}
