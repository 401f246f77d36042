// SPDX-License-Identifier: Apache-2.0
// The checkpoint (STORAGE.md section 3). At the cut every dirty page of metadata is sealed into
// memory, so that nothing has to be frozen or copied later: the cut is the exact state after record
// S. Then, without holding anybody up:
//   flush the journal · place what is pending · write the places nobody refers to · datasync ·
//   images, CHECKPOINT, flush · overwrite the imaged places · datasync · superblock · give space
//   back.
// A failure leaves the checkpoint unfinished: the next run writes the same bytes again before it
// cuts anew.
#include "fusefs/engine.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/rng.h"
#include "crypto/secret.h"

#define NONCE_POOL 64u
#define WRITERS_MAX 8u
#define WRITERS_FROM 8u // fewer files than this are written by one thread

// One sealed host page that has to reach its place.
struct job {
	uint64_t position;
	bool fresh; // no durable statement refers to the place
	uint8_t *page;
};

// One node of the cut with its jobs [first, first + count).
struct part {
	struct node *n;
	unsigned depth;
	unsigned flags;
	size_t first, count;
	uint64_t placed_end; // what the images know of
	bool sealed;         // the header was made
	bool skipped;        // orphan, or nothing to store
};

struct unlink_entry {
	struct unlink_entry *next;
	uint64_t number;
	uint64_t incarnation;
};

struct checkpoint {
	uint64_t k;
	uint64_t generation;
	struct journal_mark mark;
	struct part *parts;
	size_t parts_len;
	struct job *jobs;
	size_t jobs_len, jobs_cap;
	struct unlink_entry *unlinks;
	bool described; // IMAGES and CHECKPOINT are durable
	// cut only
	uint8_t nonces[NONCE_POOL * GCM_NONCE_BYTES];
	unsigned nonces_left;
	struct part *current;
};

void unlink_later(struct fs *fs, uint64_t number, uint64_t incarnation)
{
	struct unlink_entry *u = malloc(sizeof *u);

	if (!u) {
		return; // the host file stays: without effect, reported by check
	}
	*u = (struct unlink_entry){.number = number, .incarnation = incarnation};
	pthread_mutex_lock(&fs->dirty_lock);
	u->next = fs->unlinks;
	fs->unlinks = u;
	pthread_mutex_unlock(&fs->dirty_lock);
}

static const uint8_t *next_nonce(struct checkpoint *c)
{
	// The plaintext of the cut is final: nothing changes under the exclusive cut.
	if (c->nonces_left == 0) {
		rng_bytes(c->nonces, sizeof c->nonces);
		c->nonces_left = NONCE_POOL;
	}
	return c->nonces + --c->nonces_left * GCM_NONCE_BYTES;
}

static uint8_t *add_job(struct checkpoint *c, uint64_t position, bool fresh)
{
	if (c->jobs_len == c->jobs_cap) {
		size_t cap = c->jobs_cap ? c->jobs_cap * 2 : 256;
		struct job *jobs = realloc(c->jobs, cap * sizeof *jobs);

		if (!jobs) {
			return NULL;
		}
		c->jobs = jobs;
		c->jobs_cap = cap;
	}
	uint8_t *page = malloc(WARD_PAGE);
	if (page) {
		c->jobs[c->jobs_len++] = (struct job){position, fresh, page};
		c->current->count++;
	}
	return page;
}

// --- the cut ---------------------------------------------------------------------------------

static int seal_content(struct checkpoint *c, struct node *n, unsigned level, uint64_t index,
			uint64_t position, bool fresh, const uint8_t *plain, struct seal *ret)
{
	struct object_keys *keys = n->obj->keys;
	uint16_t generation = object_keys_newest(keys);
	uint8_t *page = add_job(c, position, fresh);

	if (!page) {
		return WERR_NOMEM;
	}
	n->obj->data_seals++;
	return seal_page(object_keys_data(keys, generation), generation, level, index,
			 next_nonce(c), plain, page, ret);
}

static int seal_table(struct checkpoint *c, struct node *n)
{
	struct object *o = n->obj;
	int err = 0;

	for (uint32_t i = table_next_dirty(o->table, 0); err == 0 && i != UINT32_MAX;
	     i = table_next_dirty(o->table, i + 1)) {
		const uint8_t *bytes = table_page_bytes(o->table, i);
		struct seal s = {{0}};

		err = tree_prepare(o->tree, i, 1);
		if (err == 0 && bytes) {
			err = seal_content(c, n, 0, i, tree_position(i), i >= o->guard, bytes, &s);
		}
		if (err == 0) {
			(void)tree_set(o->tree, i, &s);
			table_clean(o->table, i);
		}
		if (i >= o->guard) {
			o->guard = (uint64_t)i + 1;
		}
	}
	return err;
}

static int seal_xattrs(struct checkpoint *c, struct node *n, bool fresh)
{
	struct object *o = n->obj;
	int err = 0;

	memset(o->xattr_seals, 0, sizeof o->xattr_seals);
	o->xattr_paged = o->xattrs_len > OBJECT_XATTR_INLINE_MAX;
	for (size_t i = 0; err == 0 && o->xattr_paged && i < pages_of(o->xattrs_len); i++) {
		uint8_t plain[WARD_PAGE] = {0};
		size_t left = o->xattrs_len - i * WARD_PAGE;

		memcpy(plain, o->xattrs + i * WARD_PAGE, left < WARD_PAGE ? left : WARD_PAGE);
		err = seal_content(c, n, LEVEL_XATTR, i, POSITION_XATTR + i, fresh, plain,
				   &o->xattr_seals[i]);
		secret_wipe(plain, sizeof plain);
	}
	return err;
}

struct node_sealing {
	struct checkpoint *c;
	struct node *n;
};

static int seal_node(void *arg, unsigned level, uint64_t first, uint64_t position,
		     const struct seal seals[static SEALS_PER_NODE], int fresh, struct seal *ret)
{
	struct node_sealing *s = arg;

	return seal_content(s->c, s->n, level, first, position, fresh, (const uint8_t *)seals, ret);
}

// The copy of (parent, name) in a header: for repair, and for replay to find a directory's home.
static void header_name(struct fs *fs, struct node *n, struct object_header *h)
{
	struct entry e;

	if (n == fs->root) {
		return;
	}
	pthread_rwlock_rdlock(&n->home->lock);
	if (n->home->obj && table_get(n->home->obj->table, n->place, &e) == 0 &&
	    e.number == n->number) {
		h->parent_number = n->home->number;
		h->parent_incarnation = n->home->incarnation;
		h->name_len = e.name_len;
		memcpy(h->name, e.name, e.name_len);
	}
	pthread_rwlock_unlock(&n->home->lock);
}

static int seal_header(struct checkpoint *c, struct node *n, struct object_header *h, bool fresh)
{
	struct object *o = n->obj;
	struct object_id id = node_object_id(n);
	uint8_t *page = add_job(c, 0, fresh);

	if (!page) {
		return WERR_NOMEM;
	}
	h->type = n->type;
	h->layout = o->layout;
	h->xattr_layout = o->xattr_paged;
	h->generation = c->generation;
	h->size = n->type == OBJECT_DIR ? (uint64_t)table_pages(o->table) * WARD_PAGE
		  : n->target           ? 0 // a short target stands in the entry only
					: n->attr.size;
	h->header_seals = ++o->header_seals;
	h->data_seals = o->data_seals;
	h->xattr_len = (uint32_t)o->xattrs_len;
	if (o->xattr_paged) {
		memcpy(h->xattr_seals, o->xattr_seals, sizeof h->xattr_seals);
	} else if (o->xattrs_len) {
		memcpy(h->xattr_inline, o->xattrs, o->xattrs_len);
	}
	if (o->layout == LAYOUT_INLINE) {
		memcpy(h->inline_data, o->inline_data, (size_t)h->size);
	} else {
		tree_store_roots(o->tree, h->direct, h->roots);
	}
	return object_header_seal(h, &id, o->keys, next_nonce(c), page);
}

static bool nothing_to_store(const struct node *n)
{
	const struct object *o = n->obj;

	if (n->generation) {
		return false;
	}
	if (o->xattrs_len) {
		return false;
	}
	return n->type == OBJECT_DIR ? table_pages(o->table) == 0
				     : o->layout == LAYOUT_INLINE && n->attr.size == 0;
}

// Everything that changed of one object, sealed into jobs. n->lock held.
static int seal_object(struct fs *fs, struct checkpoint *c, struct part *p, struct object_header *h)
{
	struct node *n = p->n;
	bool fresh = n->generation == 0, bulk = false;
	int err = object_load(fs, n);

	if (err) {
		return err;
	}
	if (nothing_to_store(n)) {
		p->skipped = true;
		return 0;
	}
	struct object *o = n->obj;
	err = object_need_keys(fs, n);
	if (err == 0) {
		err = commit_log(fs, n, LOG_CUT, &bulk);
	}
	if (err == 0 && n->type == OBJECT_DIR) {
		err = seal_table(c, n);
	}
	if (err == 0) {
		err = seal_xattrs(c, n, fresh);
	}
	if (err == 0 && o->layout == LAYOUT_TREE) {
		struct node_sealing s = {c, n};

		err = tree_seal(o->tree, seal_node, &s);
	}
	if (err == 0) {
		err = seal_header(c, n, h, fresh);
	}
	if (err == 0) {
		p->sealed = true;
		p->placed_end = o->placed_end;
		o->guard = o->placed_end > o->guard ? o->placed_end : o->guard;
		n->generation = c->generation;
		n->attr.flags |= ATTR_HAS_OBJECT;
	}
	object_account(fs, o);
	return err;
}

// The home entry follows: attributes and, for what was sealed, the bound.
static int update_home(struct fs *fs, struct part *p)
{
	struct node *n = p->n, *home = n == fs->root ? n : n->home;
	table_place place = n == fs->root ? ROOT_SELF_PLACE : n->place;

	pthread_rwlock_wrlock(&home->lock);
	int err = object_load(fs, home);
	if (err == 0) {
		err = table_set_attr(home->obj->table, place, &n->attr);
	}
	if (err == 0 && p->sealed) {
		n->bound = n->generation;
		n->bound_epoch = n->epoch;
	}
	// Also where only the name is new: the entry in the log may have had an older bound.
	if (err == 0 && n->generation && n != fs->root) {
		err = table_set_bound(home->obj->table, place, n->bound, n->bound_epoch);
	}
	pthread_rwlock_unlock(&home->lock);
	return err;
}

static int cut_part(struct fs *fs, struct checkpoint *c, struct part *p)
{
	struct node *n = p->n;
	struct object_header *h = calloc(1, sizeof *h);
	int err = 0;

	if (!h) {
		return WERR_NOMEM;
	}
	p->first = c->jobs_len;
	c->current = p;
	p->skipped = n->orphan;
	n->cut_change = atomic_load(&n->change);
	if (!n->orphan) {
		// The root's own entry stands in its own table: attributes first, then the table is
		// sealed.
		if (n == fs->root) {
			err = update_home(fs, p);
		}
		if (err == 0 && p->flags & DIRTY_CONTENT) {
			header_name(fs, n, h);
			pthread_rwlock_wrlock(&n->lock);
			err = seal_object(fs, c, p, h);
			pthread_rwlock_unlock(&n->lock);
		}
		if (err == 0 && n != fs->root) {
			err = update_home(fs, p);
		}
	}
	secret_wipe(h, sizeof *h);
	free(h);
	return err;
}

static int compare_depth(const void *a, const void *b)
{
	const struct part *x = a, *y = b;

	return x->depth > y->depth ? -1 : x->depth < y->depth;
}

// Takes the dirty list: children before parents, because a bound changes its parent's table.
static int take_dirty(struct fs *fs, struct checkpoint *c)
{
	size_t count = atomic_load(&fs->dirty_count);

	c->parts = calloc(count + 1, sizeof *c->parts);
	if (!c->parts) {
		return WERR_NOMEM;
	}
	pthread_mutex_lock(&fs->dirty_lock);
	for (struct node *n = fs->dirty_list, *next; n; n = next) {
		struct part *p = &c->parts[c->parts_len++];

		next = n->dirty_next;
		p->n = n;
		p->flags = n->dirty;
		for (struct node *up = n->home; up; up = up->home) {
			p->depth++;
		}
		n->dirty = 0;
		n->dirty_next = NULL;
	}
	fs->dirty_list = NULL;
	atomic_store(&fs->dirty_count, 0);
	c->unlinks = fs->unlinks;
	fs->unlinks = NULL;
	pthread_mutex_unlock(&fs->dirty_lock);
	qsort(c->parts, c->parts_len, sizeof *c->parts, compare_depth);
	return 0;
}

static int cut(struct fs *fs, struct checkpoint *c)
{
	pthread_rwlock_wrlock(&fs->cut);
	int err = take_dirty(fs, c);

	c->k = atomic_fetch_add(&fs->k, 1);
	c->generation = (uint64_t)fs->mount << 40 | c->k;
	for (size_t i = 0; err == 0 && i < c->parts_len; i++) {
		err = cut_part(fs, c, &c->parts[i]);
	}
	journal_mark(fs->j, &c->mark);
	atomic_store(&fs->image_count, 0);
	pthread_rwlock_unlock(&fs->cut);
	secret_wipe(c->nonces, sizeof c->nonces);
	return err;
}

// --- writing it out ---------------------------------------------------------------------------

static int write_jobs(struct fs *fs, const struct checkpoint *c, const struct part *p, bool fresh,
		      bool *ret_wrote)
{
	int err = 0;
	uint8_t *buf = NULL;

	for (size_t i = p->first; err == 0 && i < p->first + p->count;) {
		const struct job *j = &c->jobs[i];
		size_t run = 1;

		if (j->fresh != fresh) {
			i++;
			continue;
		}
		while (run < 32 && i + run < p->first + p->count &&
		       c->jobs[i + run].fresh == fresh &&
		       c->jobs[i + run].position == j->position + run) {
			run++;
		}
		const uint8_t *from = j->page;
		if (run > 1) {
			buf = buf ? buf : malloc(32 * WARD_PAGE);
			if (!buf) {
				return WERR_NOMEM;
			}
			for (size_t k = 0; k < run; k++) {
				memcpy(buf + k * WARD_PAGE, c->jobs[i + k].page, WARD_PAGE);
			}
			from = buf;
		}
		pthread_rwlock_wrlock(&p->n->lock);
		err = object_write_raw(fs, p->n, j->position, from, run);
		pthread_rwlock_unlock(&p->n->lock);
		*ret_wrote = true;
		i += run;
	}
	free(buf);
	return err;
}

static int sync_part(struct fs *fs, const struct part *p)
{
	pthread_rwlock_wrlock(&p->n->lock);
	bool written = p->n->obj && p->n->obj->host_written;
	if (written) {
		p->n->obj->host_written =
			false; // before the flush: a write during it counts as new
	}
	pthread_rwlock_unlock(&p->n->lock);
	if (!written) {
		return 0;
	}
	struct host_file *f;
	int err = hostcache_get(fs->hc, p->n->number, HOST_RDWR, &f);
	if (err == 0) {
		err = hostcache_sync(fs->hc, f);
		hostcache_put(fs->hc, f);
	}
	if (err) {
		pthread_rwlock_wrlock(&p->n->lock);
		p->n->obj->host_written = true;
		pthread_rwlock_unlock(&p->n->lock);
	}
	return err;
}

struct writers {
	struct fs *fs;
	struct checkpoint *c;
	bool fresh;
	_Atomic size_t next;
	_Atomic int err;
};

static void *writer(void *arg)
{
	struct writers *w = arg;

	for (;;) {
		size_t i = atomic_fetch_add(&w->next, 1);

		if (i >= w->c->parts_len || atomic_load(&w->err)) {
			return NULL;
		}
		const struct part *p = &w->c->parts[i];
		bool wrote = false;
		if (p->n->orphan && !p->sealed) {
			continue;
		}
		int err = p->sealed ? write_jobs(w->fs, w->c, p, w->fresh, &wrote) : 0;
		if (err == 0) {
			err = sync_part(w->fs, p);
		}
		if (err) {
			atomic_store(&w->err, err);
		}
	}
}

// Writes and datasyncs all parts; many small files in parallel (a flush waits for the disk, not for
// us).
static int write_parts(struct fs *fs, struct checkpoint *c, bool fresh)
{
	struct writers w = {.fs = fs, .c = c, .fresh = fresh};
	pthread_t threads[WRITERS_MAX];
	unsigned started = 0;

	if (!fs->params.manual && c->parts_len >= WRITERS_FROM) {
		while (started < WRITERS_MAX - 1 &&
		       pthread_create(&threads[started], NULL, writer, &w) == 0) {
			started++;
		}
	}
	(void)writer(&w);
	while (started) {
		pthread_join(threads[--started], NULL);
	}
	int err = atomic_load(&w.err);
	for (unsigned i = 0; err == 0 && i < HOST_FOLDERS; i++) {
		err = object_sync_folder(fs, i);
	}
	return err;
}

#define RECORD_LARGE (256u * 1024)
static int flush_large(struct fs *fs, struct record *r)
{
	if (r->len < RECORD_LARGE) {
		return r->err;
	}
	int err = rec_append(fs, r, NULL);
	record_reset(r);
	return err;
}

// Host files that have to go although no table will say so any more: what is still open, and what is unlinked at the end of
// this checkpoint (and may come back with a power cut until the next one has synced its folder).
static int list_orphans(struct fs *fs, const struct checkpoint *c, struct record *r)
{
	int err = 0;

	for (const struct unlink_entry *u = c->unlinks; u && err == 0; u = u->next) {
		struct objref ref = {u->number, u->incarnation, 0};

		record_orphan(r, &ref);
		err = flush_large(fs, r);
	}
	pthread_mutex_lock(&fs->nodes_lock);
	for (size_t i = 0; atomic_load(&fs->orphan_count) && i < fs->nodes_buckets; i++) {
		for (const struct node *n = fs->nodes[i]; n; n = n->hash_next) {
			if (atomic_load(&n->orphan)) {
				struct objref ref = {n->number, n->incarnation, 0};

				record_orphan(r, &ref);
			}
		}
	}
	pthread_mutex_unlock(&fs->nodes_lock);
	return err ? err : flush_large(fs, r);
}

// IMAGES and CHECKPOINT: after this flush the new state can be rebuilt from the journal.
static int describe(struct fs *fs, struct checkpoint *c)
{
	RECORD_AUTO struct record r;
	uint32_t images = 0;
	int err = 0;

	record_init(&r);
	err = list_orphans(fs, c, &r);
	for (size_t i = 0; i < c->parts_len; i++) {
		const struct part *p = &c->parts[i];

		for (size_t k = p->first; err == 0 && k < p->first + p->count; k++) {
			if (c->jobs[k].fresh) {
				continue;
			}
			record_image(&r, p->n->number, p->n->incarnation, c->jobs[k].position,
				     c->jobs[k].page);
			images++;
			err = flush_large(fs, &r);
		}
	}
	record_checkpoint(&r, c->k, c->mark.sequence, c->generation, fs->root->generation, images);
	if (err == 0) {
		err = rec_append(fs, &r, NULL);
	}
	if (err == 0) {
		err = journal_sync(fs->j);
	}
	c->described = err == 0;
	return err;
}

// Host space of what was dropped, now that no durable statement refers to it. n->lock held, loaded.
static void give_back(struct fs *fs, struct node *n, uint64_t through)
{
	struct object *o = n->obj;
	bool quiet = atomic_load(&n->change) == n->cut_change && o->overlay.count == 0;
	struct host_file *f;

	if (o->drop_from == o->drop_to || o->drop_sequence > through || !o->on_host) {
		return;
	}
	if (hostcache_get(fs->hc, n->number, HOST_RDWR, &f)) {
		return;
	}
	hostcache_dirty(fs->hc, f);
	uint64_t end = pages_of(n->attr.size), from = o->drop_from,
		 to = o->drop_to < end ? o->drop_to : end;
	int err = 0;
	while (err == 0 && from < to) { // holes inside the file
		uint64_t hole, data;

		err = tree_seek(o->tree, from, to, 1, &hole);
		if (err || hole >= to) {
			break;
		}
		err = tree_seek(o->tree, hole, to, 0, &data);
		for (uint64_t i = hole; err == 0 && i < data;) {
			uint64_t run = 1, position = tree_position(i);

			if (overlay_find(&o->overlay, i)) {
				i++;
				continue;
			}
			while (i + run < data && tree_position(i + run) == position + run &&
			       !overlay_find(&o->overlay, i + run)) {
				run++;
			}
			err = fs->host->ops->punch(f, position * WARD_PAGE, run * WARD_PAGE);
			i += run;
		}
		from = data;
	}
	if (quiet && o->layout == LAYOUT_TREE && n->type != OBJECT_DIR) { // the end of the file
		uint64_t extent = tree_extent(end), have;

		if (o->xattr_paged && extent < POSITION_XATTR + OBJECT_XATTR_PAGES) {
			extent = POSITION_XATTR + OBJECT_XATTR_PAGES;
		}
		if (fs->host->ops->file_size(f, &have) == 0 && have > extent * WARD_PAGE &&
		    fs->host->ops->truncate(f, extent * WARD_PAGE) == 0) {
			tree_forget_reference(o->tree, end);
		}
	}
	hostcache_put(fs->hc, f);
	if (quiet || o->drop_to != NO_PAGE) {
		o->drop_from = o->drop_to = 0;
	}
}

// An orphan whose removal is durable: nobody will ever look for its content again.
static void free_orphan(struct fs *fs, struct node *n)
{
	struct object *o = n->obj;
	uint64_t *list;
	size_t count;

	if (!o || o->overlay.count == 0) {
		if (o) {
			o->guard = 0;
		}
		return;
	}
	for (int pending = 1; pending >= 0; pending--) {
		if (overlay_indices(&o->overlay, pending, &list, &count)) {
			return;
		}
		for (size_t i = 0; i < count; i++) {
			struct opage *p = overlay_find(&o->overlay, list[i]);
			struct obuf **b = pending ? &p->pending : &p->dirty;

			if ((pending && p->dead) || (tree_prepare(o->tree, list[i], 1) == 0 &&
						     object_write_raw(fs, n, tree_position(list[i]),
								      (*b)->cipher, 1) == 0)) {
				if (!p->dead) {
					(void)tree_set(o->tree, list[i], &(*b)->seal);
				}
				overlay_buf_free(fs, *b);
				*b = NULL;
				*(pending ? &o->overlay.npending : &o->overlay.ndirty) -= 1;
				overlay_prune(&o->overlay, p);
			}
		}
		free(list);
	}
	o->guard = 0;
}

static void complete_part(struct fs *fs, const struct checkpoint *c, const struct part *p)
{
	struct node *n = p->n;

	pthread_rwlock_wrlock(&n->lock);
	struct object *o = n->obj;
	if (n->orphan && p->skipped) {
		free_orphan(fs, n);
	}
	bool unchanged = atomic_load(&n->change) == n->cut_change;
	if (!n->orphan && unchanged) {
		n->unlogged_attr = false;
	}
	if (p->sealed && o) {
		n->base = c->generation;
		o->keys_logged = true;
		if (p->placed_end > o->unlogged_from) {
			o->unlogged_from = p->placed_end;
		}
		if (unchanged) {
			o->unlogged_content = o->unlogged_xattr = false;
			o->logged_size = n->attr.size;
			o->logged_layout = o->layout;
		}
		if (unchanged && o->overlay.count == 0) {
			// The journal and this checkpoint agree on the size: nothing refers to what
			// is behind it.
			o->guard = o->unlogged_from = o->placed_end = o->flushed_to =
				n->type == OBJECT_DIR ? table_pages(o->table)
						      : pages_of(n->attr.size);
		}
		give_back(fs, n, c->mark.sequence);
		object_account(fs, o);
	}
	pthread_rwlock_unlock(&n->lock);
}

static void free_checkpoint(struct fs *fs, struct checkpoint *c)
{
	for (size_t i = 0; i < c->jobs_len; i++) {
		free(c->jobs[i].page);
	}
	for (size_t i = 0; i < c->parts_len; i++) {
		node_put(fs, c->parts[i].n); // the dirty list's reference
	}
	while (c->unlinks) {
		struct unlink_entry *u = c->unlinks;

		c->unlinks = u->next;
		free(u);
	}
	free(c->jobs);
	free(c->parts);
	free(c);
}

static void complete(struct fs *fs, struct checkpoint *c)
{
	for (size_t i = 0; i < c->parts_len; i++) {
		complete_part(fs, c, &c->parts[i]);
	}
	for (struct unlink_entry *u = c->unlinks; u; u = u->next) {
		hostcache_drop(fs->hc, u->number);
		(void)!fs->host->ops->unlink_object(fs->host, u->number);
		atomic_store(&fs->folder_new[host_folder(u->number)], 1);
	}
	atomic_store(&fs->last_generation, c->generation);
	atomic_fetch_add(&fs->checkpoints, 1);
	free_checkpoint(fs, c);
}

// Everything after the cut. May be called again after a failure. *locked: commit_lock is still
// held, until nothing is pending.
static int write_out(struct fs *fs, struct checkpoint *c, bool *locked)
{
	int err = journal_sync(fs->j);

	for (size_t i = 0; err == 0 && i < c->parts_len; i++) {
		err = commit_place(fs, c->parts[i].n);
	}
	if (err == 0 && *locked) {
		pthread_mutex_unlock(&fs->commit_lock);
		*locked = false;
	}
	if (err == 0 && !c->described) {
		err = write_parts(fs, c, true);
		if (err == 0) {
			err = describe(fs, c);
		}
	}
	if (err == 0) {
		err = write_parts(fs, c, false);
	}
	if (err == 0) {
		err = journal_advance(fs->j, c->k, &c->mark, fs->root->generation);
	}
	return err;
}

static int finish(struct fs *fs, struct checkpoint *c, bool *locked)
{
	int err = write_out(fs, c, locked);

	if (err == 0) {
		fs->unfinished = NULL;
		complete(fs, c);
	} else {
		fs->unfinished = c;
	}
	return err;
}

static bool anything_to_do(struct fs *fs)
{
	pthread_mutex_lock(&fs->dirty_lock);
	bool any = fs->dirty_list || fs->unlinks;
	pthread_mutex_unlock(&fs->dirty_lock);
	return any;
}

int checkpoint_run(struct fs *fs)
{
	bool locked = true;
	int err = 0;

	pthread_mutex_lock(&fs->checkpoint_lock);
	pthread_mutex_lock(&fs->commit_lock);
	if (fs->unfinished) {
		err = finish(fs, fs->unfinished, &locked);
		if (err == 0 && !locked) {
			pthread_mutex_lock(&fs->commit_lock);
			locked = true;
		}
	}
	if (err == 0 && anything_to_do(fs)) {
		struct checkpoint *c = calloc(1, sizeof *c);

		err = c ? cut(fs, c) : WERR_NOMEM;
		if (err == 0) {
			err = finish(fs, c, &locked);
		} else if (c) {
			// Half a cut cannot be taken back: what is durable stays as it is, nothing
			// more is written.
			fs_set_read_only(fs, "a checkpoint could not be prepared");
			fs->unfinished = NULL;
			free_checkpoint(fs, c);
		}
	} else if (err == 0) {
		err = journal_sync(fs->j);
	}
	if (locked) {
		pthread_mutex_unlock(&fs->commit_lock);
	}
	pthread_mutex_unlock(&fs->checkpoint_lock);
	return err;
}

int checkpoint_last(struct fs *fs)
{
	// The first may only finish what an earlier failure left; what it let go may still have to be unlinked.
	int err = checkpoint_run(fs);

	if (err == 0 && anything_to_do(fs)) {
		err = checkpoint_run(fs);
	}
	if (err == 0) {
		err = hostcache_sync_all(fs->hc);
	}
	for (unsigned i = 0; err == 0 && i < HOST_FOLDERS; i++) {
		err = object_sync_folder(fs, i);
	}
	return err;
}

void checkpoint_discard(struct fs *fs)
{
	if (fs->unfinished) {
		free_checkpoint(fs, fs->unfinished);
		fs->unfinished = NULL;
	}
	struct checkpoint rest = {0};
	if (take_dirty(fs, &rest) == 0) {
		for (size_t i = 0; i < rest.parts_len; i++) {
			node_put(fs, rest.parts[i].n);
		}
		while (rest.unlinks) {
			struct unlink_entry *u = rest.unlinks;

			rest.unlinks = u->next;
			free(u);
		}
		free(rest.parts);
	}
}
