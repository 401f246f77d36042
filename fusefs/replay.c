// SPDX-License-Identifier: Apache-2.0
// Replay: places + the newest complete image set are the exact state after record S; the records
// after S are applied to it in memory. What comes next is an ordinary checkpoint. wardfs-vault(5),
// "Replay"; STORAGE.md sections 1 and 2.
#include "fusefs/replay.h"

#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "crypto/secret.h"
#include "fusefs/salvage.h"

// --- the nodes that the log touches -----------------------------------------------------------

// Takes over a reference.
static int touch(struct replay *rp, struct node *n, struct touched **ret)
{
	struct touched *t = n->replay_index && n->replay_index <= rp->touched_len &&
					    rp->touched[n->replay_index - 1].n == n
				    ? &rp->touched[n->replay_index - 1]
				    : NULL;

	if (t) {
		node_put(rp->fs, n);
		*ret = t;
		return 0;
	}
	if (rp->touched_len == rp->touched_cap) {
		size_t cap = rp->touched_cap ? rp->touched_cap * 2 : 64;
		struct touched *list = realloc(rp->touched, cap * sizeof *list);

		if (!list) {
			return WERR_NOMEM;
		}
		rp->touched = list;
		rp->touched_cap = cap;
	}
	t = &rp->touched[rp->touched_len++];
	*t = (struct touched){.n = n, .home_known = n == rp->fs->root || n->home != NULL};
	n->replay_index = rp->touched_len;
	*ret = t;
	return 0;
}

static bool host_file_exists(struct fs *fs, uint64_t number)
{
	struct host_file *f;

	if (hostcache_get(fs->hc, number, HOST_RDONLY, &f)) {
		return false;
	}
	hostcache_put(fs->hc, f);
	return true;
}

// Loads a node's content. base 0 in the log means "no completed checkpoint at that time": one may
// have completed since, so the host is asked; what is newer than the base state comes from a
// checkpoint that did not complete and does not count.
static int load_existing(struct replay *rp, struct node *n)
{
	struct fs *fs = rp->fs;

	bool probe = n->base == 0;
	struct salvage *salvage = fs->params.salvage;
	if (probe) {
		if (!host_file_exists(fs, n->number)) {
			return object_load(fs, n);
		}
		fs->quiet = true;
		fs->params.salvage = NULL; // what does not open is a leftover, no damage
		n->base = 1;
	}
	int err = object_load(fs, n);
	if (probe) {
		fs->quiet = false;
		fs->params.salvage = salvage;
	}
	// What the log knows without a checkpoint can only have been stored by the last one, the
	// one in progress then. An equal number of an older generation was left by a checkpoint
	// that a crash took back.
	if (err == 0 && (probe ? n->base == rp->generation : n->base <= rp->generation)) {
		return 0;
	}
	if (!probe && err == 0 && salvage && n->type == OBJECT_DIR) {
		object_free(fs, n->obj); // an earlier repair was cut short
		n->obj = NULL;
		return salvage_lost(fs, n);
	}
	if (!probe) {
		return err ? err
			   : fs_refuse_older(fs, n->number,
					     "newer than the journal's last checkpoint: the "
					     "journal was shortened",
					     n->base, rp->generation);
	}
	if (err == WERR_NOMEM) {
		return err;
	}
	object_free(fs, n->obj);
	n->obj = NULL;
	n->base = n->generation = 0;
	err = object_load(fs, n);
	if (err == 0) {
		n->obj->on_host = true;
	}
	return err;
}

static int replay_load(struct replay *rp, struct node *n)
{
	if (n->obj) {
		return 0;
	}
	int err = load_existing(rp, n);
	if (err == 0 && n->base == 0 && n->type != OBJECT_DIR && !n->target) {
		n->attr.size = n->attr.pages =
			0; // the content says how long it is, and there is none yet
	}
	return err;
}

static struct touched *touched_of(const struct replay *rp, const struct node *n)
{
	return n->replay_index ? &rp->touched[n->replay_index - 1] : NULL;
}

// What the log has for a directory that is damaged, or for something in it, is dropped.
static int lose_dir(struct replay *rp, struct touched *t, int err)
{
	if (rp->fs->params.salvage || !object_is_damaged(err) || err == WERR_ROLLBACK) {
		return err;
	}
	if (!t->lost) {
		fs_log(rp->fs, LOG_ERR,
		       "directory %016llx is damaged: what the journal had for it is lost",
		       (unsigned long long)t->n->number);
	}
	t->lost = t->home_known = true;
	return WERR_NOTFOUND;
}

// A directory by reference, loaded. WERR_NOTFOUND: it is damaged.
static int replay_dir(struct replay *rp, const struct objref *ref, struct touched **ret)
{
	struct fs *fs = rp->fs;
	struct node *n = node_find(fs, ref->number);
	int err = 0;

	if (!n) {
		err = node_new(fs, ref->number, ref->incarnation, OBJECT_DIR, &n);
		if (err == 0) {
			node_set_generation(n, ref->base);
		}
	}
	if (err == 0 && (n->type != OBJECT_DIR || n->incarnation != ref->incarnation)) {
		node_put(fs, n);
		return fs_refuse(fs, ref->number, WERR_DAMAGED,
				 "the journal names another directory");
	}
	if (err == 0) {
		err = touch(rp, n, ret);
	}
	if (err) {
		return err;
	}
	err = replay_load(rp, (*ret)->n);
	return err ? lose_dir(rp, *ret, err) : 0;
}

// The node of a home entry, its bound the highest that any entry of it had.
static int replay_entry_node(struct replay *rp, const struct entry *e, struct touched **ret)
{
	struct fs *fs = rp->fs;
	struct node *n = node_find(fs, e->number);
	int err = 0;

	if (!n) {
		err = node_new(fs, e->number, e->incarnation, e->type, &n);
		if (err == 0) {
			n->attr = e->attr;
			n->base = n->generation = e->generation;
			err = node_set_target(n, e->target, e->target_len);
		}
	}
	if (err) {
		return err;
	}
	if (n->incarnation != e->incarnation || n->type != e->type) {
		node_put(fs, n);
		return fs_refuse(fs, e->number, WERR_DAMAGED, "two entries claim one number");
	}
	if (e->generation > n->bound) {
		n->bound = e->generation;
		n->bound_epoch = e->epoch;
		if (!n->obj) {
			n->base = n->generation = e->generation;
		}
	}
	return touch(rp, n, ret);
}

static void set_attr(struct node *n, const struct ward_attr *a)
{
	uint64_t size = n->attr.size, pages = n->attr.pages;

	n->attr = *a;
	if (n->obj && n->type != OBJECT_DIR) { // the content says how long it is
		n->attr.size = size;
		n->attr.pages = pages;
	}
}

// An entry that goes into a directory that is damaged: what it names must not count as removed.
static int lose_entry(struct replay *rp, const struct assignment *a)
{
	struct touched *t;
	struct entry e;

	if (a->len == 0 || entry_decode(a->bytes, a->len, &e) || e.kind != ENTRY_HOME) {
		return 0;
	}
	int err = replay_entry_node(rp, &e, &t);
	if (err == 0) {
		node_set_home(rp->fs, t->n, NULL, 0);
		t->lost = t->home_known = true;
	}
	return err;
}

static int apply_slot(struct replay *rp, const struct assignment *a)
{
	struct touched *d, *t;
	struct entry e;
	table_place place = table_place_make(a->page, a->slot);
	int err = replay_dir(rp, &a->ref, &d);

	if (err) {
		return err == WERR_NOTFOUND ? lose_entry(rp, a) : err;
	}
	struct node *dir = d->n;
	if (object_page_lost(dir, a->page)) {
		return fs_refuse(rp->fs, dir->number, WERR_DAMAGED,
				 "the journal changes a page of it that does not open");
	}
	if (table_get(dir->obj->table, place, &e) == 0 && e.kind == ENTRY_HOME) {
		err = replay_entry_node(rp, &e, &t);
		if (err == 0 && (!t->home_known || (t->n->home == dir && t->n->place == place))) {
			node_set_home(rp->fs, t->n, NULL, 0);
			t->home_known = true;
			t->unnamed = true;
		}
	}
	if (err == 0) {
		err = table_put(dir->obj->table, place, a->len ? a->bytes : NULL, a->len);
	}
	if (err || a->len == 0) {
		return err;
	}
	err = entry_decode(a->bytes, a->len, &e);
	if (err == 0 && e.kind == ENTRY_HOME) {
		err = replay_entry_node(rp, &e, &t);
		if (err == 0) {
			node_set_home(rp->fs, t->n, dir, place);
			t->home_known = t->attr_known = true;
			t->unnamed = false;
			t->lost &= t->n->type == OBJECT_DIR && !t->n->obj;
			set_attr(t->n, &e.attr);
		}
	}
	return err;
}

static int apply_attr(struct replay *rp, const struct assignment *a)
{
	struct touched *d, *t;
	struct entry e;
	table_place place = table_place_make(a->page, a->slot);
	int err = replay_dir(rp, &a->ref, &d);

	if (err) {
		return err == WERR_NOTFOUND ? 0 : err;
	}
	struct node *dir = d->n;
	if (object_page_lost(dir, a->page)) {
		return fs_refuse(rp->fs, dir->number, WERR_DAMAGED,
				 "the journal changes a page of it that does not open");
	}
	err = table_get(dir->obj->table, place, &e);
	if (err == 0 && (e.kind != ENTRY_HOME || e.number != a->number)) {
		err = WERR_NOTFOUND;
	}
	if (err) {
		// The name went away while the attributes were being logged: they mean nothing any
		// more.
		return err == WERR_NOTFOUND ? 0 : err;
	}
	err = replay_entry_node(rp, &e, &t);
	if (err) {
		return err;
	}
	if (!t->home_known && t->n != rp->fs->root) {
		node_set_home(rp->fs, t->n, dir, place);
		t->home_known = true;
	}
	t->attr_known = true;
	set_attr(t->n, &a->attr);
	return table_set_attr(dir->obj->table, place, &a->attr);
}

// The node whose content an assignment speaks of, loaded. NULL: it has no name any more, its
// content does not matter.
static int content_node(struct replay *rp, uint8_t tag, const struct objref *ref, struct node **ret)
{
	struct touched *t;
	struct node *n = node_find(rp->fs, ref->number);
	struct entry e;

	*ret = NULL;
	// Logged while its rename was, whose record came later.
	if (!n && tag != REC_SETTLED &&
	    replay_named(rp->payloads, rp->payloads_len, ref, &e) == 0) {
		int err = replay_entry_node(rp, &e, &t);
		if (err) {
			return err;
		}
		n = t->n;
		node_ref(rp->fs, n);
	}
	if (!n) {
		return 0;
	}
	if (n->incarnation != ref->incarnation) {
		node_put(rp->fs, n);
		return 0;
	}
	int err = touch(rp, n, &t);
	if (err || t->unnamed) {
		return err;
	}
	err = replay_load(rp, n);
	if (err == WERR_NOMEM || (err == WERR_IO && !salvage_wanted(rp->fs, err))) {
		return err;
	}
	if (err) {
		fs_log(rp->fs, LOG_ERR,
		       "object %016llx is damaged: what the journal had for it is lost",
		       (unsigned long long)n->number);
		return 0;
	}
	*ret = n;
	return 0;
}

static int apply_keys(struct replay *rp, struct node *n, const struct assignment *a)
{
	struct object *o = n->obj;
	struct object_keys *keys = NULL;
	struct object_id id = node_object_id(n);

	id.epoch = a->epoch;
	int err = object_keys_unwrap(rp->fs->v->ring, &id, a->bytes, a->len, &keys);
	if (err) {
		return fs_refuse(rp->fs, n->number, err, "keys in the journal");
	}
	if (o->keys &&
	    (a->epoch < n->epoch ||
	     (a->epoch == n->epoch && object_keys_newest(keys) <= object_keys_newest(o->keys)))) {
		object_keys_free(keys); // of before what the header knows
		return 0;
	}
	if (!o->keys) {
		o->on_host = host_file_exists(rp->fs, n->number);
	} else if (object_keys_newest(keys) != object_keys_newest(o->keys)) {
		o->data_seals = o->header_seals = 0;
	}
	object_keys_free(o->keys);
	o->keys = keys;
	o->keys_logged = true;
	n->epoch = a->epoch;
	return 0;
}

static int apply_size(struct replay *rp, struct node *n, const struct assignment *a)
{
	int err = 0;

	if (a->layout == LAYOUT_TREE) {
		err = replay_pages_tree(rp->fs, n);
	} else if (n->obj->layout != LAYOUT_INLINE || a->size > object_inline_capacity(n->obj)) {
		return WERR_MALFORMED;
	}
	n->attr.size = a->size;
	return err;
}

static int apply_content(struct replay *rp, const struct assignment *a)
{
	struct node *n;
	int err = content_node(rp, a->tag, &a->ref, &n);

	if (err || !n) {
		return err;
	}
	struct object *o = n->obj;
	switch (a->tag) {
	case REC_OBJECT:
		return apply_keys(rp, n, a);
	case REC_SIZE:
		return apply_size(rp, n, a);
	case REC_INLINE:
		return replay_inline(n, a);
	case REC_XATTR:
		return replay_xattr(n, a);
	case REC_DROP:
		return replay_pages_drop(rp->fs, n, a);
	case REC_RUN:
	case REC_PAGE:
		err = replay_pages_tree(rp->fs, n);
		if (err == 0 && !o->keys) {
			return 0; // of a checkpoint that did not complete: nothing durable needs it
		}
		return err                 ? err
		       : a->tag == REC_RUN ? replay_pages_run(n, a)
					   : replay_pages_image(n, a);
	case REC_SETTLED:
		replay_pages_settled(n, a);
		return 0;
	default:
		return WERR_MALFORMED;
	}
}

// Removed, but perhaps still on the host: unless the log gives it a name (a node of it is then in
// memory), it has to go.
static int apply_orphan(struct replay *rp, const struct assignment *a)
{
	struct node *n = node_find(rp->fs, a->ref.number);
	struct touched *t;

	if (n) {
		node_put(rp->fs, n);
		return 0;
	}
	// An object without any entry: a node of unknown type that only carries the number.
	int err = node_new(rp->fs, a->ref.number, a->ref.incarnation, OBJECT_FILE, &n);
	if (err == 0) {
		err = touch(rp, n, &t);
	}
	if (err == 0) {
		t->unnamed = t->home_known = true;
	}
	return err;
}

static int apply(struct replay *rp, const struct payload *p)
{
	struct assignment a;
	size_t offset = 0;
	int more;

	while ((more = record_next(p->bytes, p->len, &offset, &a)) > 0) {
		int err = 0;

		switch (a.tag) {
		case REC_SLOT:
			err = apply_slot(rp, &a);
			break;
		case REC_ATTR:
			err = apply_attr(rp, &a);
			break;
		case REC_IMAGE:
		case REC_CHECKPOINT:
		case REC_MOUNT:
		case REC_FREED:
			break;
		case REC_ORPHAN:
			err = apply_orphan(rp, &a);
			break;
		default:
			err = apply_content(rp, &a);
		}
		if (err) {
			return err;
		}
	}
	return more;
}

// --- the end of it: homes, candidates, sizes ----------------------------------------------------

static int search_load(void *arg, struct node *dir)
{
	return replay_load(arg, dir);
}

// A directory that the log named without saying where it stands: its header knows (exact at the
// base state).
static int find_home(struct replay *rp, struct touched *t)
{
	struct node *n = t->n;
	struct objref parent = {
		.number = n->obj ? n->obj->parent_number : 0,
		.incarnation = n->obj ? n->obj->parent_incarnation : 0,
		.base = 1, // it has a header, of whatever generation
	};
	size_t index = (size_t)(t - rp->touched);
	struct touched *p;
	table_place place;
	struct entry e;

	if (parent.number == 0 && rp->fs->params.salvage) {
		t->lost = t->home_known = true;
		return 0;
	}
	if (parent.number == 0) {
		return fs_refuse(rp->fs, n->number, WERR_DAMAGED, "its directory is not known");
	}
	int err = replay_dir(rp, &parent, &p);
	t = &rp->touched[index]; // the list may have moved
	bool damaged = err == WERR_NOTFOUND || (err == 0 && p->n->obj->lost_end);
	if (err == 0) {
		err = table_find_number(p->n->obj->table, n->number, &place, &e);
	}
	struct node *home = err ? NULL : p->n; // NULL: looked for
	if (err == WERR_NOTFOUND || (err == 0 && e.incarnation != n->incarnation)) {
		// The header has an older place. No record took the entry away: it is somewhere.
		err = replay_search(rp->fs, n->number, n->incarnation, search_load, rp, &home,
				    &place, &e);
		if (err == 0) {
			err = touch(rp, home, &p);
			t = &rp->touched[index];
		}
	}
	if (err == WERR_NOTFOUND && (rp->fs->params.salvage || damaged)) {
		t->lost = t->home_known = true;
		return 0;
	}
	if (err == WERR_NOTFOUND) {
		return fs_refuse(rp->fs, n->number, WERR_DAMAGED, "its name is not found");
	}
	if (err == 0) {
		node_set_home(rp->fs, n, home, place);
		t->home_known = true;
		if (e.generation > n->bound) {
			n->bound = e.generation;
			n->bound_epoch = e.epoch;
		}
		if (!t->attr_known) {
			set_attr(n, &e.attr);
		}
	}
	return err;
}

// After a kill what the dead process wrote may stand in the host's cache only: the checkpoint that
// follows flushes it.
static int count_as_unflushed(struct fs *fs, struct node *n)
{
	struct host_file *f;

	if (!n->obj->on_host) {
		return 0;
	}
	int err = hostcache_get(fs->hc, n->number, HOST_RDWR, &f);
	if (err) {
		return err == WERR_NOTFOUND ? 0 : err;
	}
	hostcache_dirty(fs->hc, f);
	hostcache_put(fs->hc, f);
	n->obj->host_written = true;
	atomic_store(&fs->folder_new[host_folder(n->number)], 1);
	return 0;
}

// The node goes into the checkpoint that follows.
static int finish_loaded(struct fs *fs, struct node *n)
{
	int err = fs->params.readonly ? 0 : count_as_unflushed(fs, n);

	// Not as the log says: its records of after a cut speak of an object that was about to be
	// stored, those of before of one that was not yet.
	n->attr.flags &= ~(uint64_t)(ATTR_HAS_OBJECT | ATTR_HAS_XATTRS);
	n->attr.flags |= n->base ? ATTR_HAS_OBJECT : 0;
	n->attr.flags |= n->obj->xattrs_len ? ATTR_HAS_XATTRS : 0;
	object_account(fs, n->obj);
	atomic_store(&n->in_log, true);
	node_dirty(fs, n, DIRTY_CONTENT | DIRTY_ATTR);
	return err;
}

// Below a directory that is damaged nothing can be reached, or stored.
static bool below_lost(const struct replay *rp, const struct node *n)
{
	const struct touched *t = NULL;

	if (rp->fs->params.salvage) {
		return false;
	}
	for (n = n->home; n && !(t && t->lost); n = n->home) {
		t = touched_of(rp, n);
	}
	return t && t->lost;
}

static int finish_node(struct replay *rp, struct touched *t)
{
	struct fs *fs = rp->fs;
	struct node *n = t->n;
	int err = 0;

	if (n == fs->root) {
		return finish_loaded(fs, n);
	}
	if (t->lost || below_lost(rp, n)) {
		return 0;
	}
	if (t->unnamed || !n->home) {
		node_make_orphan(fs, n); // its host file goes when the node does
		n->generation = n->generation ? n->generation : 1;
		return unlink_prepare(n);
	}
	err = replay_load(rp, n);
	if (err && n->type != OBJECT_DIR && err != WERR_NOMEM &&
	    (err != WERR_IO || salvage_wanted(fs, err))) {
		node_dirty(
			fs, n,
			DIRTY_ATTR); // damaged: its name and attributes stand, reading it says so
		return 0;
	}
	if (err) {
		return err;
	}
	if (n->bound > n->base) {
		return fs_refuse_older(fs, n->number, "older than its directory allows", n->base,
				       n->bound);
	}
	if (n->type != OBJECT_DIR) {
		err = replay_pages_finish(fs, n);
	} else {
		n->obj->guard = TREE_PAGES_MAX;
	}
	if (err == 0 && n->base == 0 && n->type != OBJECT_DIR && n->obj->layout == LAYOUT_INLINE &&
	    n->attr.size == 0 && n->obj->xattrs_len == 0 && host_file_exists(fs, n->number)) {
		n->obj->on_host = false; // what was written into it was never committed
		err = unlink_prepare(n);
		if (err == 0) {
			unlink_node_later(fs, n);
		}
	}
	return err ? err : finish_loaded(fs, n);
}

static int finish(struct replay *rp)
{
	int err = 0;

	// The list grows while homes of homes are found.
	for (size_t i = 0; err == 0 && i < rp->touched_len; i++) {
		struct touched *t = &rp->touched[i];

		if (!t->home_known && !t->unnamed && t->n->type != OBJECT_DIR) {
			t->lost = true; // its entry was lost with a directory
		} else if (!t->home_known && !t->unnamed) {
			err = find_home(rp, t);
		}
	}
	for (size_t i = 0; err == 0 && i < rp->touched_len; i++) {
		err = finish_node(rp, &rp->touched[i]);
	}
	return err;
}

// --- reading the log ----------------------------------------------------------------------------

static int base_state(struct replay *rp)
{
	struct fs *fs = rp->fs;

	if (rp->root_generation == 0) {
		return engine_make_root(fs); // the very first checkpoint did not complete
	}
	node_set_generation(fs->root, rp->root_generation);
	int err = engine_load_root(fs);
	bool lost = fs->params.salvage && fs->root->base == 0;
	if (err == 0 && !lost && fs->root->base != rp->root_generation) {
		err = fs_refuse(fs, FS_ROOT, WERR_ROLLBACK,
				"the root is not of the journal's last checkpoint");
	}
	return err;
}

int replay_journal(struct fs *fs, bool needs_mount)
{
	const struct superblock *sb = journal_superblock(fs->j);
	struct replay rp = {
		.fs = fs,
		.generation = (uint64_t)sb->mount << 40 | sb->k,
		.root_generation = sb->root_generation,
	};
	uint64_t last;
	bool fresh = sb->s == 0;
	int err = journal_replay(fs->j, replay_collect, &rp, &last);

	if (rp.root_generation > rp.generation) {
		rp.generation = rp.root_generation;
	}
	if (err == 0 && fresh && last == 0 && needs_mount) {
		// The record MOUNT was durable before the header said dirty: somebody cut the
		// journal.
		fs_log(fs, LOG_ERR, "the journal lacks the record of its mount: it was cut");
		err = WERR_ROLLBACK;
	}
	if (err == 0) {
		err = anchoring_check(fs, rp.root_generation);
		if (err) {
			fs_log(fs, LOG_ERR,
			       "the journal is older than this machine has seen it: its end was "
			       "cut "
			       "off, or an older one was put in its place");
		}
	}
	if (err == 0) {
		err = base_state(&rp);
	}
	for (size_t i = 0; err == 0 && i < rp.payloads_len; i++) {
		err = apply(&rp, &rp.payloads[i]);
	}
	if (err == 0) {
		err = finish(&rp);
	}
	if (err == 0) {
		fs_log(fs, LOG_NOTICE, "replayed %zu journal records of mount %u", rp.payloads_len,
		       sb->mount);
	}
	for (size_t i = 0; i < rp.touched_len; i++) {
		rp.touched[i].n->replay_index = 0;
		node_put(fs, rp.touched[i].n);
	}
	replay_forget(&rp, UINT64_MAX);
	image_map_free(rp.map);
	free(rp.payloads);
	free(rp.touched);
	return err;
}
