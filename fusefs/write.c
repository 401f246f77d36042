// SPDX-License-Identifier: Apache-2.0
// Writing content: page states of STORAGE.md section 2.
#include "fusefs/engine.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/rng.h"
#include "crypto/secret.h"
#include "fusefs/planted.h"

#define CHUNK_PAGES 256u

void data_changed(struct fs *fs, struct node *n)
{
	n->obj->unlogged_content = true;
	n->unlogged_attr = true;
	node_dirty(fs, n, DIRTY_CONTENT | DIRTY_ATTR);
}

// Whether the page holds data now (tree or overlay).
static bool is_allocated(const struct object *o, uint64_t index, const struct seal *seal)
{
	const struct opage *p = overlay_find(&o->overlay, index);

	return !seal_is_hole(seal) || (p && p->dirty);
}

// One sealed page into the overlay: replaces what was dirty there.
static int overlay_store(struct fs *fs, struct node *n, uint64_t index, const uint8_t *nonce,
			 const uint8_t *plain)
{
	struct object *o = n->obj;
	struct opage *p = overlay_make(&o->overlay, index);
	struct obuf *b = p ? p->dirty ? p->dirty : overlay_buf(fs) : NULL;
	uint16_t generation = object_keys_newest(o->keys);

	if (!b) {
		if (p) {
			overlay_prune(&o->overlay, p);
		}
		return WERR_NOMEM;
	}
	int err = seal_page(object_keys_data(o->keys, generation), generation, 0, index, nonce,
			    plain, b->cipher, &b->seal);
	if (err) {
		overlay_buf_free(fs, b);
		o->overlay.ndirty -= p->dirty != NULL;
		p->dirty = NULL;
		overlay_prune(&o->overlay, p);
		return err;
	}
	o->overlay.ndirty += p->dirty == NULL;
	p->dirty = b;
	return 0;
}

// A page that is sealed already into the overlay; never sealed a second time under its nonce.
static int overlay_keep(struct fs *fs, struct node *n, uint64_t index, const struct seal *seal,
			const uint8_t *cipher)
{
	struct object *o = n->obj;
	struct opage *p = overlay_make(&o->overlay, index);
	struct obuf *b = p ? p->dirty ? p->dirty : overlay_buf(fs) : NULL;

	if (!b) {
		if (p) {
			overlay_prune(&o->overlay, p);
		}
		return WERR_NOMEM;
	}
	b->seal = *seal;
	memcpy(b->cipher, cipher, WARD_PAGE);
	o->overlay.ndirty += p->dirty == NULL;
	p->dirty = b;
	return 0;
}

// Takes a page's dirty buffer away: its place has, or is about to have, newer content.
static void overlay_drop_dirty(struct fs *fs, struct object *o, uint64_t index)
{
	struct opage *p = overlay_find(&o->overlay, index);

	if (p && p->dirty) {
		overlay_buf_free(fs, p->dirty);
		p->dirty = NULL;
		o->overlay.ndirty--;
		overlay_prune(&o->overlay, p);
	}
}

// The file outgrew what waits in memory: its deferred pages (all at or above the guard) go to their
// places.
static int place_deferred(struct fs *fs, struct node *n)
{
	struct object *o = n->obj;
	uint64_t *list;
	size_t count;

	if (o->overlay.ndirty == 0 || o->guard || o->placed_end) {
		return 0; // pages are deferred only while nothing of the file has a place
	}
	int err = overlay_indices(&o->overlay, false, &list, &count);
	if (err) {
		return err;
	}
	for (size_t i = 0; err == 0 && i < count; i++) {
		struct opage *p = overlay_find(&o->overlay, list[i]);

		if (list[i] < o->guard) {
			continue;
		}
		err = tree_prepare(o->tree, list[i], 1);
		if (err == 0) {
			err = object_write_raw(fs, n, tree_position(list[i]), p->dirty->cipher, 1);
		}
		if (err == 0) {
			(void)tree_set(o->tree, list[i], &p->dirty->seal);
			if (list[i] >= o->placed_end) {
				o->placed_end = list[i] + 1;
			}
			overlay_drop_dirty(fs, o, list[i]);
		}
	}
	free(list);
	return err;
}

// Before a host file comes into being the log knows the object's keys: after a crash the replay
// finds the file and gives it back, whatever became of its content.
static int announce_host_file(struct fs *fs, struct node *n)
{
	struct object *o = n->obj;

	if (o->on_host || o->keys_logged || n->orphan || fs->replaying) {
		return 0;
	}
	RECORD_AUTO struct record r;
	record_init(&r);
	rec_attr(fs, &r, n);
	rec_keys(&r, n);
	int err = rec_append(fs, &r, NULL);
	o->keys_logged = err == 0;
	return err;
}

// Pages that no durable statement refers to: sealed into a buffer, written to their places in runs.
static int write_in_place(struct fs *fs, struct node *n, uint64_t index, size_t pages,
			  const uint8_t *nonces, const uint8_t *plain)
{
	struct object *o = n->obj;
	uint16_t generation = object_keys_newest(o->keys);
	const struct gcm_key *key = object_keys_data(o->keys, generation);
	struct seal seals[CHUNK_PAGES];
	uint8_t *cipher = malloc(pages * WARD_PAGE);
	int err = cipher ? announce_host_file(fs, n) : WERR_NOMEM;

	if (err == 0) {
		err = place_deferred(fs, n);
	}

	for (size_t i = 0; err == 0 && i < pages; i++) {
		err = seal_page(key, generation, 0, index + i, nonces + i * GCM_NONCE_BYTES,
				plain + i * WARD_PAGE, cipher + i * WARD_PAGE, &seals[i]);
	}
	for (size_t i = 0; err == 0 && i < pages;) {
		size_t run = 1;
		uint64_t position = tree_position(index + i);

		while (i + run < pages && tree_position(index + i + run) == position + run) {
			run++;
		}
		err = object_write_raw(fs, n, position, cipher + i * WARD_PAGE, run);
		for (size_t k = i; err == 0 && k < i + run; k++) {
			(void)tree_set(o->tree, index + k, &seals[k]);
			overlay_drop_dirty(fs, o, index + k);
		}
		// What a failed write left at places that were written before is unknown: keep the
		// new content in memory.
		for (size_t k = i; err && k < i + run && index + k < o->placed_end; k++) {
			if (overlay_keep(fs, n, index + k, &seals[k], cipher + k * WARD_PAGE)) {
				break;
			}
		}
		if (err == 0 && index + i + run > o->placed_end) {
			o->placed_end = index + i + run;
		}
		if (err == 0 && index + i < o->flushed_to) {
			o->flushed_to = index + i;
		}
		i += run;
	}
	free(cipher);
	return err;
}

static int write_chunk(struct fs *fs, struct node *n, uint64_t index, size_t pages,
		       const uint8_t *plain)
{
	struct object *o = n->obj;
	uint8_t nonces[CHUNK_PAGES * GCM_NONCE_BYTES];
	struct seal seals[CHUNK_PAGES];
	int err = object_need_keys(fs, n);

	if (err == 0 && o->data_seals > SEALS_MAX - pages) {
		err = WERR_LIMIT; // all data keys are used up: the file can be copied
	}
	if (err == 0) {
		err = tree_prepare(o->tree, index, pages);
	}
	if (err == 0) {
		err = tree_get_range(o->tree, index, pages, seals);
	}
	if (err) {
		return err;
	}
	bool was[CHUNK_PAGES];
	for (size_t i = 0; i < pages; i++) {
		was[i] = is_allocated(o, index + i, &seals[i]);
	}
	rng_bytes(nonces, pages * GCM_NONCE_BYTES);
	o->data_seals += pages; // also of a write that fails: the host may have seen it

	size_t below = index >= o->guard          ? 0
		       : o->guard - index < pages ? (size_t)(o->guard - index)
						  : pages;
	if (below < pages && index + pages <= DEFER_PAGES && o->placed_end <= o->guard &&
	    o->guard == 0) {
		below = pages; // a new small file: memory until the write-out
	}
	for (size_t i = 0; err == 0 && i < below; i++) {
		err = overlay_store(fs, n, index + i, nonces + i * GCM_NONCE_BYTES,
				    plain + i * WARD_PAGE);
	}
	if (err == 0 && below < pages) {
		err = write_in_place(fs, n, index + below, pages - below,
				     nonces + below * GCM_NONCE_BYTES, plain + below * WARD_PAGE);
	}
	// Of a write that failed a part may be there. The nodes are in memory.
	for (size_t i = 0; i < pages; i++) {
		struct seal now;

		n->attr.pages += !was[i] && (err == 0 || (tree_get(o->tree, index + i, &now) == 0 &&
							  is_allocated(o, index + i, &now)));
	}
	return err;
}

int page_write(struct fs *fs, struct node *n, uint64_t index, size_t pages, const uint8_t *plain)
{
	int err = 0;

	while (err == 0 && pages) {
		size_t take = pages < CHUNK_PAGES ? pages : CHUNK_PAGES;

		err = write_chunk(fs, n, index, take, plain);
		index += take;
		plain += take * WARD_PAGE;
		pages -= take;
	}
	return err;
}

// A part of one page: the rest is what it was.
static int write_part(struct fs *fs, struct node *n, uint64_t index, size_t skip,
		      const uint8_t *buf, size_t len)
{
	uint8_t page[WARD_PAGE];
	int err = page_read(fs, n, index, page);

	if (err == 0) {
		memcpy(page + skip, buf, len);
		err = page_write(fs, n, index, 1, page);
	}
	secret_wipe(page, sizeof page);
	return err;
}

// A write beyond the end failed half-way: what was written stays, nothing is left behind the new
// end.
static void cut_failed(struct fs *fs, struct node *n, uint64_t written, uint64_t end)
{
	uint64_t keep = written > n->attr.size ? written : n->attr.size;

	if (end <= keep) {
		return;
	}
	n->attr.size = end;
	if (data_truncate(fs, n, keep)) {
		n->attr.size = keep;
	}
}

int data_write(struct fs *fs, struct node *n, uint64_t off, const uint8_t *buf, size_t len)
{
	struct object *o = n->obj;
	uint64_t end = off + len, at = off;
	int err = 0;

	if (end > FS_SIZE_MAX || end < off) {
		return WERR_FBIG;
	}
	if (o->layout == LAYOUT_INLINE && end > object_inline_capacity(o)) {
		err = object_make_tree(fs, n);
	}
	if (err) {
		return err;
	}
	if (o->layout == LAYOUT_INLINE) {
		memcpy(o->inline_data + off, buf, len);
		at = end;
	}
	while (err == 0 && at < end) {
		uint64_t index = at / WARD_PAGE;
		size_t skip = (size_t)(at % WARD_PAGE), left = (size_t)(end - at), take;

		if (skip || left < WARD_PAGE) {
			take = WARD_PAGE - skip < left ? WARD_PAGE - skip : left;
			err = write_part(fs, n, index, skip, buf, take);
		} else {
			take = left / WARD_PAGE * WARD_PAGE;
			err = page_write(fs, n, index, take / WARD_PAGE, buf);
		}
		at += err ? 0 : take;
		buf += take;
	}
	if (err) {
		cut_failed(fs, n, at, end);
	} else if (end > n->attr.size) {
		n->attr.size = end;
	}
	return err;
}

int fs_write(struct fs *fs, uint64_t ino, uint64_t off, const void *buf, size_t len, int flags)
{
	struct node *n = node_find(fs, ino);

	if (!n) {
		return WERR_STALE;
	}
	if (WARD_PLANTED(WRITE_PARKED)) {
		pthread_rwlock_rdlock(&fs->cut); // while it waits for a checkpoint
	}
	int err = n->type == OBJECT_FILE ? fs_admit(fs, len) : WERR_INVALID;
	if (WARD_PLANTED(WRITE_PARKED)) {
		pthread_rwlock_unlock(&fs->cut);
	}
	if (err == 0) {
		pthread_rwlock_rdlock(&fs->cut);
		err = node_lock_write(fs, n);
		if (err == 0) {
			err = data_write(fs, n, off, buf, len);
			if (err == 0 && flags & FS_WRITE_KILL) {
				err = attr_kill(fs, n);
			}
			if (!(flags & FS_WRITE_CACHED)) {
				attr_touch(fs, n, true);
			}
			data_changed(fs, n); // also after a failure: part of it may be there
			object_account(fs, n->obj);
			node_unlock(n);
		}
		pthread_rwlock_unlock(&fs->cut);
	}
	node_put(fs, n);
	return err;
}
