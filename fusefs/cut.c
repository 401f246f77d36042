// SPDX-License-Identifier: Apache-2.0
// The cut of a checkpoint: the exact state after record S, sealed into memory, so that nothing has
// to be frozen or copied later (STORAGE.md section 3, step 1).
#include "fusefs/checkpoint.h"

#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>

#include "crypto/rng.h"
#include "crypto/secret.h"
#include "fusefs/planted.h"

#define LOAD_ROUNDS 16u

static const uint8_t *next_nonce(struct checkpoint *c)
{
	// The plaintext of the cut is final: nothing changes under the exclusive cut.
	if (c->nonces_left == 0) {
		rng_bytes(c->nonces, sizeof c->nonces);
		c->nonces_left = CUT_NONCES;
	}
	return c->nonces + --c->nonces_left * GCM_NONCE_BYTES;
}

static uint8_t *add_job(struct checkpoint *c, uint64_t position, bool fresh, uint32_t table_page)
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
		c->jobs[c->jobs_len++] = (struct job){position, fresh, page, table_page};
		c->current->count++;
	}
	return page;
}

static int seal_content(struct checkpoint *c, struct node *n, unsigned level, uint64_t index,
			uint64_t position, bool fresh, const uint8_t *plain, struct seal *ret)
{
	struct object_keys *keys = n->obj->keys;
	uint16_t generation = object_keys_newest(keys);
	const bool table = n->type == OBJECT_DIR && level == 0;
	uint8_t *page = add_job(c, position, fresh, table ? (uint32_t)index : UINT32_MAX);

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
static int header_name(struct fs *fs, struct node *n, struct object_header *h)
{
	struct entry e;

	if (n == fs->root) {
		return 0;
	}
	int err = node_lock_write(
		fs, n->home); // the cache may have let it go since the child was loaded
	if (err) {
		return err;
	}
	err = table_get(n->home->obj->table, n->place, &e);
	if (err == 0 && e.number == n->number) {
		h->parent_number = n->home->number;
		h->parent_incarnation = n->home->incarnation;
		h->name_len = e.name_len;
		memcpy(h->name, e.name, e.name_len);
	}
	node_unlock(n->home);
	return err;
}

// Data keys that nothing is sealed under any more are left out of the header: of inline content,
// and of what a rotation has sealed again. In memory they go when this checkpoint is complete:
// until then a replay needs them, and no record may say that they are gone.
static int trim_keys(struct fs *fs, struct node *n, struct part *p)
{
	struct object *o = n->obj;
	struct object_id id = node_object_id(n);
	const uint16_t newest = object_keys_newest(o->keys);

	if (object_keys_count(o->keys) == 1 || (o->layout != LAYOUT_INLINE && o->trim != newest)) {
		return 0;
	}
	struct object_keys *trimmed;
	int err = object_keys_trim(fs->v->ring, &id, o->keys, &trimmed);

	// With the area full the newest key may be of an older epoch: there is room for a fresh one
	// now. As long as there are two an object counts as not sealed again.
	if (err == 0 && object_keys_full(o->keys)) {
		struct object_keys *next;

		err = object_keys_renew(fs->v->ring, &id, trimmed, n->epoch, &next);
		object_keys_free(trimmed);
		trimmed = next;
	}
	if (err == 0) {
		p->trimmed = trimmed;
		p->trimmed_to = newest;
		p->trimmed_epoch = n->epoch;
	}
	return err;
}

static int seal_header(struct checkpoint *c, struct node *n, struct object_header *h, bool fresh,
		       const struct object_keys *keys)
{
	struct object *o = n->obj;
	struct object_id id = node_object_id(n);
	uint8_t *page = add_job(c, 0, fresh, UINT32_MAX);

	if (!page) {
		return WERR_NOMEM;
	}
	h->type = n->type;
	h->layout = o->layout;
	h->xattr_layout = o->xattr_paged;
	h->generation = c->generation;
	h->size = n->type == OBJECT_DIR ? (uint64_t)object_table_pages(o) * WARD_PAGE
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
	int err = object_header_seal(h, &id, keys, next_nonce(c), page);
	object_keys_settle(o->keys);
	return err;
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
	p->guard = o->guard;
	p->content = true;
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
		err = trim_keys(fs, n, p);
	}
	const struct object_keys *keys = p->trimmed ? p->trimmed : o->keys;
	if (err == 0) {
		err = seal_header(c, n, h, fresh && !o->reborn, keys);
	}
	if (err == 0) {
		p->sealed = true;
		p->placed_end = o->placed_end;
		p->size = n->attr.size;
		o->logged_since_cut = false;
		p->newest = object_keys_newest(keys);
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
	p->begun = true;
	p->generation = n->generation;
	p->bound = n->bound;
	p->bound_epoch = n->bound_epoch;
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
			err = header_name(fs, n, h);
		}
		if (err == 0 && p->flags & DIRTY_CONTENT) {
			pthread_rwlock_wrlock(&n->lock);
			err = seal_object(fs, c, p, h);
			pthread_rwlock_unlock(&n->lock);
		}
		if (err == 0 && n != fs->root) {
			err = update_home(fs, p);
		}
	}
	if (err == 0) {
		atomic_store(&n->in_log, false);
	}
	secret_wipe(h, sizeof *h);
	free(h);
	return err;
}

// Children before parents, because a bound changes its parent's table. Else as directories name
// them: so the host lays new files out in the order in which they will mostly be read.
static int compare_parts(const void *a, const void *b)
{
	const struct part *x = a, *y = b;

	if (x->depth != y->depth) {
		return x->depth > y->depth ? -1 : 1;
	}
	if (x->home != y->home) {
		return x->home < y->home ? -1 : 1;
	}
	return x->place < y->place ? -1 : x->place > y->place;
}

// What above the node, or of itself, is not loaded; NULL: nothing.
static const struct node *missing(const struct node *n)
{
	while (n && !n->unloaded) {
		n = n->home;
	}
	return n;
}

static void list_again(struct fs *fs, struct node *n)
{
	n->dirty_next = fs->dirty_list;
	fs->dirty_list = n;
	atomic_fetch_add(&fs->dirty_count, 1);
}

// The bounds of what was left out come later, into the tables above it.
static void list_above(struct fs *fs)
{
	for (struct node *n = fs->dirty_list, *next; n; n = next) {
		next = n->dirty_next;
		for (struct node *up = n->home; up && !up->dirty; up = up->home) {
			up->dirty = DIRTY_CONTENT | DIRTY_ATTR;
			node_ref(fs, up);
			list_again(fs, up);
		}
	}
}

// Takes the dirty list, in the order in which it is stored.
int cut_take_dirty(struct fs *fs, struct checkpoint *c, bool all)
{
	size_t count = atomic_load(&fs->dirty_count);

	c->parts = calloc(count + 1, sizeof *c->parts);
	if (!c->parts) {
		return WERR_NOMEM;
	}
	pthread_mutex_lock(&fs->dirty_lock);
	struct node *n = fs->dirty_list, *next;
	fs->dirty_list = NULL;
	atomic_store(&fs->dirty_count, 0);
	for (; n; n = next) {
		next = n->dirty_next;
		if (!all && !n->orphan && missing(n)) {
			list_again(fs, n);
			continue;
		}
		struct part *p = &c->parts[c->parts_len++];

		p->n = n;
		p->flags = n->dirty;
		p->home = n->home ? n->home->number : 0;
		p->place = n->place;
		for (struct node *up = n->home; up; up = up->home) {
			p->depth++;
		}
		n->dirty = 0;
		n->dirty_next = NULL;
	}
	list_above(fs);
	c->unlinks = fs->unlinks;
	fs->unlinks = NULL;
	pthread_mutex_unlock(&fs->dirty_lock);
	qsort(c->parts, c->parts_len, sizeof *c->parts, compare_parts);
	return 0;
}

// Once more where the host may only have had a bad moment.
static void load_one(struct fs *fs, struct node *n)
{
	pthread_rwlock_wrlock(&n->lock);
	int err = object_load(fs, n);
	if (err && !object_is_damaged(err)) {
		err = object_load(fs, n);
	}
	if (err && !atomic_load(&n->unread)) {
		fs_log(fs, LOG_ERR,
		       "object %016llx cannot be read (%s): what changes in it and below it is "
		       "not stored",
		       (unsigned long long)n->number, werr_text(err));
	}
	atomic_store(&n->unread, (int8_t)err);
	pthread_rwlock_unlock(&n->lock);
}

static bool is_loaded(struct node *n)
{
	pthread_rwlock_rdlock(&n->lock);
	bool loaded = n->obj != NULL;
	pthread_rwlock_unlock(&n->lock);
	return loaded;
}

void cut_load(struct fs *fs)
{
	size_t count = 0;

	pthread_mutex_lock(&fs->dirty_lock);
	struct node **nodes = malloc((atomic_load(&fs->dirty_count) + 1) * sizeof(struct node *));
	for (struct node *n = fs->dirty_list; nodes && n; n = n->dirty_next) {
		if (n->dirty & DIRTY_CONTENT && !atomic_load(&n->orphan)) {
			node_ref(fs, n);
			nodes[count++] = n;
		}
	}
	pthread_mutex_unlock(&fs->dirty_lock);
	for (size_t i = 0; i < count; i++) {
		if (!is_loaded(nodes[i])) {
			load_one(fs, nodes[i]);
		}
		node_put(fs, nodes[i]);
	}
	free(nodes);
}

// Under the exclusive cut: no list changes any more. Whether something is to be loaded that nobody
// has tried to load since.
static bool look_at_list(struct fs *fs)
{
	bool untried = false;

	for (struct node *n = fs->dirty_list; n; n = n->dirty_next) {
		n->unloaded = n->dirty & DIRTY_CONTENT && !atomic_load(&n->orphan) && !is_loaded(n);
		untried |= n->unloaded && !atomic_load(&n->unread);
	}
	return untried;
}

// What cannot be stored stays in memory. But where the host may read it again, the journal has to
// keep what it has of it: then no checkpoint can be completed.
static int judge_list(struct fs *fs)
{
	bool left_out = false;
	int err = 0;

	for (const struct node *n = fs->dirty_list; n && err == 0; n = n->dirty_next) {
		const struct node *up = atomic_load(&n->orphan) ? NULL : missing(n);
		int why = up ? atomic_load(&up->unread) : 0;

		left_out |= up != NULL;
		if (up && !object_is_damaged(why) && atomic_load(&n->in_log)) {
			err = why ? why : WERR_IO;
		}
	}
	atomic_store(&fs->left_out, left_out);
	return err;
}

// What was sealed of one object reaches no place: it has to be sealed again, all of it.
static void take_back_part(struct checkpoint *c, struct part *p)
{
	struct node *n = p->n;
	struct object *o = n->obj;

	pthread_rwlock_wrlock(&n->lock);
	for (size_t i = p->first; p->content && i < p->first + p->count; i++) {
		if (c->jobs[i].table_page != UINT32_MAX) {
			table_mark(o->table, c->jobs[i].table_page);
		}
	}
	if (p->content && o->tree) {
		tree_mark_all(o->tree);
	}
	if (p->content && n->type == OBJECT_DIR) {
		o->guard = p->guard;
	}
	n->generation = p->generation;
	if (!n->generation) {
		n->attr.flags &= ~(uint64_t)ATTR_HAS_OBJECT;
	}
	n->bound = p->bound;
	n->bound_epoch = p->bound_epoch;
	atomic_store(&n->in_log, true); // as it may have been
	pthread_rwlock_unlock(&n->lock);
}

// After a failure: nothing of this cut counts, everything is as dirty as it was. What the journal
// was told of content stands there and is true. cut held exclusively.
static void take_back(struct fs *fs, struct checkpoint *c)
{
	for (size_t i = 0; i < c->parts_len; i++) {
		if (c->parts[i].begun) {
			take_back_part(c, &c->parts[i]);
		}
		node_dirty(fs, c->parts[i].n, c->parts[i].flags);
	}
	pthread_mutex_lock(&fs->dirty_lock);
	for (struct unlink_entry *u = c->unlinks; u; u = c->unlinks) {
		c->unlinks = u->next;
		u->next = fs->unlinks;
		fs->unlinks = u;
	}
	pthread_mutex_unlock(&fs->dirty_lock);
}

// Takes cut exclusively.
static int cut_begin(struct fs *fs)
{
	pthread_rwlock_wrlock(&fs->cut);
	for (unsigned i = 0; look_at_list(fs) && i < LOAD_ROUNDS; i++) {
		pthread_rwlock_unlock(&fs->cut); // what was changed meanwhile
		cut_load(fs);
		pthread_rwlock_wrlock(&fs->cut);
	}
	return judge_list(fs);
}

int cut_make(struct fs *fs, struct checkpoint *c)
{
	int err = cut_begin(fs);

	if (err == 0) {
		err = cut_take_dirty(fs, c, false);
	}
	if (err) {
		pthread_rwlock_unlock(&fs->cut);
		return err;
	}
	c->k = atomic_fetch_add(&fs->k, 1);
	c->generation = (uint64_t)fs->mount << 40 | c->k;
	for (size_t i = 0; err == 0 && i < c->parts_len; i++) {
		err = cut_part(fs, c, &c->parts[i]);
		if (WARD_PLANTED(HALF_RENAME)) {
			const struct timespec meanwhile = {.tv_nsec = 300000};

			pthread_rwlock_unlock(&fs->cut);
			(void)nanosleep(&meanwhile, NULL);
			pthread_rwlock_wrlock(&fs->cut);
		}
	}
	if (err) {
		take_back(fs, c);
	} else {
		journal_mark(fs->j, &c->mark);
		atomic_store(&fs->image_count, 0);
	}
	pthread_rwlock_unlock(&fs->cut);
	secret_wipe(c->nonces, sizeof c->nonces);
	return err;
}
