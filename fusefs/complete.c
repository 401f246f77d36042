// SPDX-License-Identifier: Apache-2.0
// The end of a checkpoint: what nodes may forget, host space that nothing refers to any more
// (STORAGE.md section 3, step 6).
#include "fusefs/checkpoint.h"

#include <stdlib.h>
#include <string.h>

#include "fusefs/planted.h"

static void list_unlink(struct fs *fs, struct unlink_entry *u, uint64_t number,
			uint64_t incarnation)
{
	*u = (struct unlink_entry){.number = number, .incarnation = incarnation};
	pthread_mutex_lock(&fs->dirty_lock);
	u->next = fs->unlinks;
	fs->unlinks = u;
	pthread_mutex_unlock(&fs->dirty_lock);
}

void unlink_later(struct fs *fs, uint64_t number, uint64_t incarnation)
{
	struct unlink_entry *u = malloc(sizeof *u);

	if (u) {
		list_unlink(fs, u, number, incarnation);
	} // else the host file stays: without effect, reported by check
}

int unlink_prepare(struct node *n)
{
	n->grave = n->grave ? n->grave : malloc(sizeof *n->grave);
	return n->grave ? 0 : WERR_NOMEM;
}

void unlink_node_later(struct fs *fs, struct node *n)
{
	struct unlink_entry *u = n->grave;

	if (!u) {
		unlink_later(fs, n->number, n->incarnation);
		return;
	}
	n->grave = NULL;
	list_unlink(fs, u, n->number, n->incarnation);
}

bool unlink_is_listed(struct fs *fs, uint64_t number)
{
	bool listed = false;

	pthread_mutex_lock(&fs->dirty_lock);
	for (const struct unlink_entry *u = fs->unlinks; u && !listed; u = u->next) {
		listed = u->number == number;
	}
	pthread_mutex_unlock(&fs->dirty_lock);
	return listed;
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
	// Not marked as unflushed: nothing refers to what is given back, so it may also come back.
	uint64_t end = pages_of(n->attr.size), from = o->drop_from,
		 to = o->drop_to < end ? o->drop_to : end;
	int err = 0;
	if (WARD_PLANTED(LATE_PUNCH)) {
		for (uint64_t i = from; i < to; i++) {
			err = fs->host->ops->punch(f, tree_position(i) * WARD_PAGE, WARD_PAGE);
		}
	}
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
	// Else each removed file that is open would keep a descriptor.
	struct host_file *f;
	if (o->on_host && hostcache_get(fs->hc, n->number, HOST_RDWR, &f) == 0) {
		hostcache_clean(fs->hc, f);
		hostcache_put(fs->hc, f);
	}
}

static void complete_part(struct fs *fs, const struct checkpoint *c, struct part *p)
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
		if (o->tree) {
			tree_placed(o->tree);
		}
		if (p->trimmed && p->trimmed_to == object_keys_newest(o->keys) &&
		    p->trimmed_epoch == n->epoch) {
			object_keys_free(o->keys);
			o->keys = p->trimmed;
			o->data_seals = p->newest == p->trimmed_to ? o->data_seals : 0;
			p->trimmed = NULL;
			o->trim = 0;
		}
		o->reborn = false;
		// Renewed since: the header that is in its place does not have the newest key.
		o->keys_logged |= p->newest == object_keys_newest(o->keys);
		if (o->unsettled <= c->mark.sequence) {
			o->unsettled = 0; // datasynced by this checkpoint
		}
		if (p->placed_end > o->unlogged_from) {
			o->unlogged_from = p->placed_end;
		}
		if (unchanged) {
			o->unlogged_content = o->unlogged_xattr = false;
		}
		if (!o->logged_since_cut) {
			o->logged_size = p->size;
		}
		if (unchanged && o->overlay.count == 0) {
			// The journal and this checkpoint agree on the size: nothing refers to what
			// is behind it.
			o->guard = o->unlogged_from = o->placed_end = o->flushed_to =
				n->type == OBJECT_DIR ? object_table_pages(o)
						      : pages_of(n->attr.size);
		}
		give_back(fs, n, c->mark.sequence);
		object_account(fs, o);
	}
	pthread_rwlock_unlock(&n->lock);
}

void complete_free(struct fs *fs, struct checkpoint *c)
{
	for (size_t i = 0; i < c->jobs_len; i++) {
		free(c->jobs[i].page);
	}
	for (size_t i = 0; i < c->parts_len; i++) {
		object_keys_free(c->parts[i].trimmed);
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

void complete_checkpoint(struct fs *fs, struct checkpoint *c)
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
	complete_free(fs, c);
}
