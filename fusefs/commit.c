// SPDX-License-Identifier: Apache-2.0
// From memory to the journal, and from there to the places (STORAGE.md sections 2 and 3, "Commit").
#include "fusefs/engine.h"

#include <stdlib.h>
#include <string.h>

#define RUN_SEALS_MAX 8192u        // 256 KiB of seals a run
#define RECORD_SPLIT (512u * 1024) // a payload longer than this is appended as a record of its own
#define PLACE_PAGES 64u

// The record that spoke of pages is appended, or was not: then they are as dirty as before.
static void end_record(struct fs *fs, struct object *o, bool appended)
{
	struct overlay *ov = &o->overlay;

	for (size_t i = 0; ov->nunsaid && i < ov->nbuckets; i++) {
		for (struct opage *p = ov->buckets[i]; p; p = p->next) {
			if (!p->unsaid) {
				continue;
			}
			p->unsaid = false;
			ov->nunsaid--;
			if (appended) {
				overlay_buf_free(fs, p->replaced);
			} else {
				p->dirty = p->pending;
				p->pending = p->replaced;
				p->dead = p->was_dead;
				ov->npending -= p->pending == NULL;
				ov->ndirty++;
				(void)tree_set(o->tree, p->index, &p->before);
			}
			p->replaced = NULL;
		}
	}
}

static int append(struct fs *fs, struct record *r, struct node *n, enum log_mode mode)
{
	uint64_t sequence;
	bool unsettled = n->obj->unsettled == UINT64_MAX;
	int err =
		rec_append_room(fs, r, mode == LOG_CUT ? ROOM_CHECKPOINT : ROOM_COMMIT, &sequence);

	if (err == 0 && unsettled) {
		n->obj->unsettled = sequence;
	}
	end_record(fs, n->obj, err == 0);
	return err;
}

// Appends what has gathered; a commit of many pages is several records. Each says where the home
// entry stands, so that a replay finds the object.
static int split(struct fs *fs, struct record *r, struct node *n, enum log_mode mode)
{
	if (r->err || r->len <= RECORD_SPLIT) {
		return r->err;
	}
	int err = append(fs, r, n, mode);
	record_reset(r);
	rec_attr(fs, r, n);
	return err;
}

void rec_keys(struct record *r, struct node *n)
{
	struct objref ref = node_objref(n);
	size_t len;
	const uint8_t *tlv = object_keys_tlv(n->obj->keys, &len);

	record_object(r, &ref, n->type, OBJECT_CLASS, n->epoch, 0, 0, tlv, len);
}

int rec_new_content(struct fs *fs, struct record *r, struct node *n)
{
	struct object *o = n->obj;
	struct objref ref = node_objref(n);

	(void)fs;
	if (o->layout == LAYOUT_INLINE) {
		record_inline(r, &ref, o->inline_data, (size_t)n->attr.size);
	} else {
		const struct opage *p = overlay_find(&o->overlay, 0);

		if (!p || !p->dirty) {
			return WERR_INTERNAL;
		}
		rec_keys(r, n);
		record_size(r, &ref, n->attr.size, LAYOUT_TREE);
		record_page(r, &ref, 0, &p->dirty->seal, p->dirty->cipher);
	}
	o->logged_size = n->attr.size;
	o->logged_since_cut = true;
	return r->err;
}

// Pages at their places that no record knows: as images when few, else as final seals after a
// datasync.
static int log_placed(struct fs *fs, struct record *r, struct node *n)
{
	struct object *o = n->obj;
	struct objref ref = node_objref(n);
	uint64_t at = o->unlogged_from, end = o->placed_end;
	struct seal seals[256];
	int err = 0;

	if (at >= end) {
		return 0;
	}
	// From here on these pages are not written in place any more.
	o->guard = end > o->guard ? end : o->guard;
	bool images = end - at <= IMAGE_PAGES_MAX && o->flushed_to < end;
	if (!images && o->flushed_to < end) {
		err = object_datasync(fs, n);
		if (err) {
			return err;
		}
		o->host_written = false;
		o->flushed_to = end;
	}
	while (err == 0 && at < end) {
		uint64_t next;

		err = tree_seek(o->tree, at, end, 0, &next);
		if (err || next >= end) {
			break;
		}
		size_t count = 0, want = end - next < 256 ? (size_t)(end - next) : 256;
		err = tree_get_range(o->tree, next, want, seals);
		while (err == 0 && count < want && !seal_is_hole(&seals[count])) {
			count++;
		}
		if (err == 0 && images) {
			uint8_t page[WARD_PAGE];

			for (size_t i = 0; err == 0 && i < count; i++) {
				err = object_read_raw(fs, n->number, tree_position(next + i), 1,
						      page);
				record_page(r, &ref, next + i, &seals[i], page);
			}
		} else if (err == 0) {
			uint8_t *room = record_run(r, &ref, next, (uint32_t)count, RUN_FINAL);

			if (room) {
				memcpy(room, seals, count * SEAL_BYTES);
			}
			err = split(fs, r, n, LOG_COMMIT);
		}
		at = next + count;
	}
	if (err == 0) {
		o->unlogged_from = end;
	}
	return err;
}

// The page becomes pending, and the tree says what the log says (or will, once the record that
// speaks of it is appended).
static int to_pending(struct fs *fs, struct object *o, struct opage *p, bool in_record)
{
	int err = tree_prepare(o->tree, p->index, 1);

	if (err == 0) {
		err = tree_get(o->tree, p->index, &p->before);
	}
	if (err) {
		return err;
	}
	(void)tree_set(o->tree, p->index, &p->dirty->seal);
	o->overlay.npending += p->pending == NULL;
	p->was_dead = p->dead;
	if (in_record) {
		p->replaced = p->pending; // could not be placed before
	} else {
		overlay_buf_free(fs, p->pending);
	}
	p->pending = p->dirty;
	p->dirty = NULL;
	p->dead = false;
	p->unsaid = in_record;
	o->overlay.nunsaid += in_record;
	o->overlay.ndirty--;
	if (p->index >= o->guard) {
		o->guard = p->index + 1;
	}
	return 0;
}

// Consecutive indices of list from i that may share an old-ok run.
static size_t run_length(const uint64_t *list, size_t i, size_t n, uint64_t guard, uint64_t tail)
{
	size_t count = 0;

	while (i + count < n && list[i + count] == list[i] + count && list[i + count] < guard &&
	       list[i + count] != tail && count < RUN_SEALS_MAX) {
		count++;
	}
	return count;
}

// Whether overwritten pages go into the journal as they are: few, or where the host may leave a
// page half old and half new. Then as long as there is room: an old or new page is better than no
// commit.
static bool as_images(struct fs *fs, enum log_mode mode, size_t count)
{
	if (!fs->small_blocks) {
		return mode == LOG_COMMIT && count <= IMAGE_PAGES_MAX;
	}
	return journal_used(fs->j) + count * (WARD_PAGE + 64) <= journal_capacity(fs->j) / 8 * 7;
}

static int log_overlay(struct fs *fs, struct record *r, struct node *n, enum log_mode mode,
		       bool *ret_bulk)
{
	struct object *o = n->obj;
	struct objref ref = node_objref(n);
	uint64_t *list, guard = o->guard,
			tail = n->attr.size % WARD_PAGE ? n->attr.size / WARD_PAGE : NO_PAGE;
	size_t count;

	if (o->overlay.ndirty == 0) {
		return 0;
	}
	int err = overlay_indices(&o->overlay, false, &list, &count);
	if (err) {
		return err;
	}
	bool images = as_images(fs, mode, count);

	for (size_t i = 0; err == 0 && i < count;) {
		struct opage *p = overlay_find(&o->overlay, list[i]);
		size_t run = run_length(list, i, count, guard, tail);

		if (list[i] >= guard && mode != LOG_COMMIT) {
			// unreferenced: needs no record to reach its place
			err = to_pending(fs, o, p, false);
			if (list[i] >= o->placed_end) {
				o->placed_end = list[i] + 1; // a later fsync has to log it
			}
			if (list[i] < o->flushed_to) {
				o->flushed_to = list[i];
			}
			i++;
		} else if (images || run == 0) {
			record_page(r, &ref, list[i], &p->dirty->seal, p->dirty->cipher);
			err = to_pending(fs, o, p, true);
			i++;
		} else {
			uint8_t *room = record_run(r, &ref, list[i], (uint32_t)run, RUN_OLD_OK);

			for (size_t k = 0; room && err == 0 && k < run; k++) {
				struct opage *q = overlay_find(&o->overlay, list[i + k]);

				memcpy(room + k * SEAL_BYTES, &q->dirty->seal, SEAL_BYTES);
				err = to_pending(fs, o, q, true);
			}
			o->unsettled = UINT64_MAX; // the sequence follows
			*ret_bulk = true;
			i += run;
		}
		if (err == 0) {
			err = split(fs, r, n, mode);
		}
	}
	free(list);
	return err;
}

// Where the durable content is inline, a replay makes page 0 of it: that it is a hole now has to be
// said.
static int log_first_hole(struct record *r, struct node *n)
{
	struct object *o = n->obj;
	struct objref ref = node_objref(n);
	struct seal s;
	int err = tree_get(o->tree, 0, &s);

	if (err == 0 && seal_is_hole(&s) && !overlay_find(&o->overlay, 0)) {
		record_drop(r, &ref, 0, 1);
	}
	return err;
}

// The whole state of a loaded node, for a fsync.
static int log_state(struct fs *fs, struct record *r, struct node *n, bool *ret_bulk)
{
	struct object *o = n->obj;
	struct objref ref = node_objref(n);
	bool content = o->unlogged_content && n->type != OBJECT_DIR;
	uint64_t from = o->unlogged_from, size = o->logged_size;
	int err = 0;

	if (content && o->layout == LAYOUT_INLINE) {
		record_inline(r, &ref, o->inline_data, (size_t)n->attr.size);
	} else if (content) {
		record_size(r, &ref, n->attr.size, LAYOUT_TREE);
		err = log_first_hole(r, n);
		if (err == 0) {
			err = log_placed(fs, r, n);
		}
	}
	if (err == 0 && o->unlogged_xattr) {
		record_xattr(r, &ref, o->xattrs, o->xattrs_len);
	}
	if (err == 0 && o->layout == LAYOUT_TREE && n->type != OBJECT_DIR) {
		err = log_overlay(fs, r, n, LOG_COMMIT, ret_bulk);
	}
	if (err == 0 && content) {
		o->unlogged_content = false;
		o->logged_size = n->attr.size;
	}
	if (err == 0) {
		rec_attr(fs, r, n);
		err = append(fs, r, n, LOG_COMMIT);
	}
	if (err) {
		o->unlogged_content |= content;
		o->unlogged_from = from;
		o->logged_size = size;
		return err;
	}
	if (content) {
		o->logged_since_cut = true;
		o->unlogged_from = o->guard; // what is below it has been logged now, or is a hole
	}
	o->unlogged_xattr = n->unlogged_attr = false;
	// Pages that an earlier record, of a spill or a cut, left old or new: not this caller's.
	*ret_bulk |= o->unsettled != 0;
	return 0;
}

static int log_attr(struct fs *fs, struct node *n)
{
	RECORD_AUTO struct record r;

	record_init(&r);
	rec_attr(fs, &r, n);
	int err = rec_append_room(fs, &r, ROOM_COMMIT, NULL);
	n->unlogged_attr = err != 0;
	return err;
}

int commit_log(struct fs *fs, struct node *n, enum log_mode mode, bool *ret_bulk)
{
	RECORD_AUTO struct record r;
	struct object *o = n->obj;
	int err = 0;

	record_init(&r);
	if (n->orphan) {
		return 0;
	}
	if (!o) {
		return mode == LOG_COMMIT && n->unlogged_attr ? log_attr(fs, n) : 0;
	}
	rec_attr(fs, &r, n);
	size_t locator = r.len;
	// Whenever a seal of this record may be under a key that no durable statement knows.
	bool keys = (mode == LOG_COMMIT || (o->guard && n->type != OBJECT_DIR)) && o->keys &&
		    !o->keys_logged;
	// No record speaks of an epoch that a rotation may be about to end.
	if (keys) {
		err = object_need_keys(fs, n);
	}
	if (err) {
		return err;
	}
	if (keys) {
		rec_keys(&r, n);
	}
	if (mode == LOG_COMMIT) {
		err = log_state(fs, &r, n, ret_bulk);
	} else if (o->layout == LAYOUT_TREE && n->type != OBJECT_DIR) {
		err = log_overlay(fs, &r, n, mode, ret_bulk);
		if (err == 0 && r.len > locator) {
			err = append(fs, &r, n, mode);
		}
	}
	if (err) {
		end_record(fs, o, false);
	}
	if (err == 0 && keys) {
		o->keys_logged = true;
	}
	return err;
}

static int place_locked(struct fs *fs, struct node *n)
{
	struct object *o = n->obj;
	uint64_t *list;
	size_t count;
	uint8_t *buf;
	int err = overlay_indices(&o->overlay, true, &list, &count);

	if (err) {
		return err;
	}
	buf = malloc(PLACE_PAGES * WARD_PAGE);
	err = buf ? 0 : WERR_NOMEM;
	for (size_t i = 0; err == 0 && i < count;) {
		size_t run = 0;
		uint64_t position = tree_position(list[i]);

		while (run < PLACE_PAGES && i + run < count &&
		       tree_position(list[i + run]) == position + run) {
			const struct opage *p = overlay_find(&o->overlay, list[i + run]);

			memcpy(buf + run * WARD_PAGE, p->pending->cipher, WARD_PAGE);
			run++;
		}
		err = object_write_raw(fs, n, position, buf, run);
		for (size_t k = 0; err == 0 && k < run; k++) {
			struct opage *p = overlay_find(&o->overlay, list[i + k]);

			overlay_buf_free(fs, p->pending);
			p->pending = NULL;
			p->dead = false;
			o->overlay.npending--;
			overlay_prune(&o->overlay, p);
		}
		i += run;
	}
	free(buf);
	free(list);
	return err;
}

int commit_place(struct fs *fs, struct node *n)
{
	int err = 0;

	if (atomic_load(&fs->read_only)) {
		return WERR_READONLY;
	}
	pthread_rwlock_wrlock(&n->lock);
	if (n->obj && n->obj->overlay.npending) {
		err = place_locked(fs, n);
	}
	pthread_rwlock_unlock(&n->lock);
	return err;
}

// What an earlier failure left pending goes first.
static int settle_earlier(struct fs *fs, struct node *n)
{
	pthread_rwlock_rdlock(&n->lock);
	bool pending = n->obj && n->obj->overlay.npending;
	pthread_rwlock_unlock(&n->lock);
	if (!pending) {
		return 0;
	}
	int err = journal_sync(fs->j);
	return err ? err : commit_place(fs, n);
}

static int log_one(struct fs *fs, struct node *n, enum log_mode mode, bool *ret_bulk)
{
	int err = settle_earlier(fs, n);

	if (err == 0 && mode == LOG_COMMIT) {
		err = node_unread(fs, n); // no replay would find it
	}
	if (err) {
		return err;
	}
	pthread_rwlock_rdlock(&fs->cut);
	pthread_rwlock_wrlock(&n->lock);
	err = commit_log(fs, n, mode, ret_bulk);
	pthread_rwlock_unlock(&n->lock);
	pthread_rwlock_unlock(&fs->cut);
	return err;
}

int commit_before_rename(struct fs *fs, struct node *n)
{
	pthread_rwlock_rdlock(&n->lock);
	struct object *o = n->obj;
	bool content = o && (o->unlogged_content || o->unlogged_xattr);
	// Without a flush only if nothing that a durable statement refers to gets overwritten, and
	// few pages are in question.
	bool small = content && o->overlay.npending == 0 && o->unsettled == 0 &&
		     (o->layout == LAYOUT_INLINE ||
		      (o->placed_end - o->unlogged_from <= IMAGE_PAGES_MAX &&
		       (o->overlay.ndirty == 0 ||
			(o->guard == 0 && o->overlay.ndirty <= IMAGE_PAGES_MAX))));
	pthread_rwlock_unlock(&n->lock);
	if (!content) {
		return 0;
	}
	if (!small) {
		return fs_fsync_wait(fs, n->number);
	}
	bool bulk = false;
	fs_blocking(fs); // for a flush that is under way
	pthread_mutex_lock(&fs->commit_lock);
	int err = log_one(fs, n, LOG_COMMIT, &bulk);
	if (err == 0 && bulk) {
		err = journal_sync(fs->j); // it grew meanwhile
	}
	if (err == 0) {
		err = settle_earlier(fs, n);
	}
	pthread_mutex_unlock(&fs->commit_lock);
	return err == WERR_NOSPACE ? checkpoint_run(fs) : err;
}

// A bulk fsync ends the sets of candidates: everything in place, datasynced, said so.
static int settle_bulk(struct fs *fs, struct node *n)
{
	RECORD_AUTO struct record r;
	struct objref ref = node_objref(n);

	record_init(&r);
	int err = object_datasync(fs, n);
	if (err == 0) {
		pthread_rwlock_rdlock(&n->lock);
		rec_attr(fs, &r, n);
		record_settled(&r, &ref, 0, NO_PAGE);
		err = rec_append(fs, &r, NULL);
		pthread_rwlock_unlock(&n->lock);
	}
	if (err == 0) { // runs are logged under commit_lock only: none came since
		pthread_rwlock_wrlock(&n->lock);
		if (n->obj) {
			n->obj->unsettled = 0;
		}
		pthread_rwlock_unlock(&n->lock);
	}
	return err;
}

static void finish(struct fs *fs, struct fsync_request *q, int err)
{
	if (err == 0 && q->node) {
		err = node_unread(fs, q->node); // a checkpoint left it out
	}
	q->done(q->arg, err);
	atomic_fetch_add(&fs->fsyncs, 1);
	if (q->node) {
		node_put(fs, q->node);
	}
	free(q);
}

// Logs what each asks for. Those for which the journal has no room are taken out of the list, to be
// answered by a checkpoint.
static struct fsync_request *log_group(struct fs *fs, struct fsync_request **list)
{
	struct fsync_request *full = NULL;

	for (struct fsync_request **p = list; *p;) {
		struct fsync_request *q = *p;

		q->err = q->node ? log_one(fs, q->node, LOG_COMMIT, &q->bulk) : 0;
		if (q->err == WERR_NOSPACE) {
			*p = q->next;
			q->next = full;
			full = q;
		} else {
			p = &q->next;
		}
	}
	return full;
}

void commit_group(struct fs *fs, struct fsync_request *list)
{
	pthread_mutex_lock(&fs->commit_lock);
	struct fsync_request *full = log_group(fs, &list);
	int sync_err = journal_sync(fs->j);
	atomic_fetch_add(&fs->commits, 1);

	struct fsync_request *settled = NULL, *next;
	struct fsync_request *replied = NULL;
	for (struct fsync_request *q = list; q; q = next) {
		next = q->next;
		q->err = q->err ? q->err : sync_err;
		if (q->node && q->err == 0) {
			node_ref(fs, q->node); // placing outlives the reply
		}
		struct fsync_request **to = q->err == 0 && q->bulk ? &settled : &replied;
		q->next = *to;
		*to = q;
	}
	// Durable is durable: the answer does not wait for the places.
	struct node *place[64];
	size_t places = 0;
	for (struct fsync_request *q = replied; q; q = next) {
		next = q->next;
		struct node *n = q->err == 0 ? q->node : NULL;

		finish(fs, q, q->err);
		if (n && places == 64) {
			(void)!commit_place(
				fs,
				n); // a failure leaves it pending: tried again before the next log
			node_put(fs, n);
		} else if (n) {
			place[places++] = n;
		}
	}
	for (size_t i = 0; i < places; i++) {
		(void)!commit_place(fs, place[i]);
		node_put(fs, place[i]);
	}
	for (struct fsync_request *q = settled; q; q = q->next) {
		q->err = commit_place(fs, q->node);
		if (q->err == 0) {
			q->err = settle_bulk(fs, q->node);
		}
		node_put(fs, q->node);
	}
	if (settled) {
		sync_err = journal_sync(fs->j);
	}
	for (struct fsync_request *q = settled; q; q = next) {
		next = q->next;
		finish(fs, q, q->err ? q->err : sync_err);
	}
	pthread_mutex_unlock(&fs->commit_lock);
	int full_err = full ? checkpoint_run(fs) : 0;
	for (struct fsync_request *q = full; q; q = next) {
		next = q->next;
		finish(fs, q, full_err);
	}
}

// Frees overlay memory: every dirty node's pages are logged (those below the guard), flushed once,
// placed.
void commit_spill(struct fs *fs)
{
	struct node **nodes;
	size_t count = 0, cap;
	bool bulk = false;

	pthread_mutex_lock(&fs->commit_lock);
	pthread_mutex_lock(&fs->dirty_lock);
	cap = atomic_load(&fs->dirty_count);
	nodes = malloc((cap + 1) * sizeof *nodes);
	for (struct node *n = fs->dirty_list; nodes && n && count < cap; n = n->dirty_next) {
		if (n->type != OBJECT_DIR) {
			node_ref(fs, n);
			nodes[count++] = n;
		}
	}
	pthread_mutex_unlock(&fs->dirty_lock);
	int err = nodes ? 0 : WERR_NOMEM;
	for (size_t i = 0; err == 0 && i < count; i++) {
		err = log_one(fs, nodes[i], LOG_SPILL, &bulk);
	}
	if (err == 0) {
		err = journal_sync(fs->j);
	}
	// What was listed first stands at the end.
	while (count-- > 0) {
		if (err == 0) {
			(void)!commit_place(fs, nodes[count]);
		}
		node_put(fs, nodes[count]);
	}
	free(nodes);
	pthread_mutex_unlock(&fs->commit_lock);
}
