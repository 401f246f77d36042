// SPDX-License-Identifier: Apache-2.0
// What the log says of content pages: sets of candidates, compared with what is at the place
// (STORAGE.md section 2).
#include "fusefs/replay.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"
#include "crypto/xattr_codec.h"
#include "fusefs/planted.h"

struct candidate {
	struct candidate *next;
	uint64_t index;
	struct seal *seals; // oldest first
	size_t len, cap;
	struct obuf *image; // always there to fall back to
	bool hole;          // the fall-back is a hole
};

struct replay_object {
	struct candidate *buckets[256];
	size_t count;
};

static void candidate_clear(struct candidate *c)
{
	free(c->seals);
	free(c->image);
	c->seals = NULL;
	c->image = NULL;
	c->len = c->cap = 0;
	c->hole = false;
}

void replay_object_free(struct replay_object *ro)
{
	for (size_t b = 0; ro && b < 256; b++) {
		while (ro->buckets[b]) {
			struct candidate *c = ro->buckets[b];

			ro->buckets[b] = c->next;
			candidate_clear(c);
			free(c);
		}
	}
	free(ro);
}

static int candidate_add(struct candidate *c, const uint8_t *seal)
{
	if (WARD_PLANTED(TWO_CANDIDATES) && c->len == 2) {
		c->len = 1; // the checkpointed one, and the latest
	}
	if (c->len == c->cap) {
		size_t cap = c->cap ? c->cap * 2 : 2;
		struct seal *seals = realloc(c->seals, cap * sizeof *seals);

		if (!seals) {
			return WERR_NOMEM;
		}
		c->seals = seals;
		c->cap = cap;
	}
	memcpy(&c->seals[c->len++], seal, SEAL_BYTES);
	return 0;
}

// The candidate set of a page; a new one starts with what the base state says.
static int candidate_get(struct object *o, uint64_t index, struct candidate **ret)
{
	struct candidate **b;

	if (!o->replay) {
		o->replay = calloc(1, sizeof *o->replay);
		if (!o->replay) {
			return WERR_NOMEM;
		}
	}
	b = &o->replay->buckets[index % 256];
	for (struct candidate *c = *b; c; c = c->next) {
		if (c->index == index) {
			*ret = c;
			return 0;
		}
	}
	struct candidate *c = calloc(1, sizeof *c);
	struct seal base;
	int err = c ? tree_get(o->tree, index, &base) : WERR_NOMEM;

	if (err == 0) {
		c->index = index;
		c->hole = seal_is_hole(&base);
		err = c->hole ? 0 : candidate_add(c, base.b);
	}
	if (err) {
		free(c);
		return err;
	}
	c->next = *b;
	*b = c;
	o->replay->count++;
	*ret = c;
	return 0;
}

int replay_pages_tree(struct fs *fs, struct node *n)
{
	if (n->obj->layout == LAYOUT_TREE) {
		return 0;
	}
	// Inline content becomes page 0; during replay everything is behind the guard.
	int err = object_make_tree(fs, n);
	n->obj->guard = TREE_PAGES_MAX;
	return err;
}

int replay_pages_run(struct node *n, const struct assignment *a)
{
	struct object *o = n->obj;
	int err = 0;

	for (uint32_t i = 0; err == 0 && i < a->count; i++) {
		struct candidate *c;
		const uint8_t *seal = a->seals + (size_t)i * SEAL_BYTES;

		err = candidate_get(o, a->from + i, &c);
		if (err == 0 && a->flags == RUN_FINAL) {
			candidate_clear(c);
		}
		if (err == 0) {
			err = candidate_add(c, seal);
		}
	}
	return err;
}

int replay_pages_image(struct node *n, const struct assignment *a)
{
	struct object *o = n->obj;
	struct candidate *c;
	int err = candidate_get(o, a->from, &c);

	if (err) {
		return err;
	}
	candidate_clear(c);
	c->image = malloc(sizeof *c->image);
	if (!c->image) {
		return WERR_NOMEM;
	}
	memcpy(&c->image->seal, a->seals, SEAL_BYTES);
	memcpy(c->image->cipher, a->bytes, WARD_PAGE);
	return 0;
}

int replay_pages_drop(struct fs *fs, struct node *n, const struct assignment *a)
{
	struct object *o = n->obj;
	int err = replay_pages_tree(fs, n);

	for (size_t b = 0; err == 0 && o->replay && b < 256; b++) {
		for (struct candidate *c = o->replay->buckets[b]; c; c = c->next) {
			if (c->index >= a->from && c->index < a->to) {
				candidate_clear(c);
				c->hole = true;
			}
		}
	}
	if (err == 0) {
		err = tree_drop(o->tree, a->from, a->to, NULL);
	}
	// What the conversion of inline content left in memory.
	struct opage *first = err == 0 && a->from == 0 ? overlay_find(&o->overlay, 0) : NULL;
	if (first && first->dirty) {
		overlay_buf_free(fs, first->dirty);
		first->dirty = NULL;
		o->overlay.ndirty--;
		overlay_prune(&o->overlay, first);
	}
	if (err == 0) {
		bool none = o->drop_from == o->drop_to;

		o->drop_from = none || a->from < o->drop_from ? a->from : o->drop_from;
		o->drop_to = none || a->to > o->drop_to ? a->to : o->drop_to;
	}
	return err;
}

void replay_pages_settled(struct node *n, const struct assignment *a)
{
	struct object *o = n->obj;

	for (size_t b = 0; o->replay && b < 256; b++) {
		for (struct candidate *c = o->replay->buckets[b]; c; c = c->next) {
			if (c->index < a->from || c->index >= a->to || c->len == 0) {
				continue;
			}
			c->seals[0] = c->seals[c->len - 1];
			c->len = 1;
			c->hole = false;
			free(c->image);
			c->image = NULL;
		}
	}
}

// The version that stands at the place, if it is one that the log knows.
static int match_candidate(struct fs *fs, struct node *n, const struct candidate *c,
			   struct seal *found)
{
	const struct object *o = n->obj;
	uint8_t cipher[WARD_PAGE], plain[WARD_PAGE];
	int err = object_read_raw(fs, n->number, tree_position(c->index), 1, cipher);
	bool match = false;

	for (size_t i = c->len; err == 0 && !match && i-- > 0;) {
		int rc = object_open_page(o->keys, &c->seals[i], 0, c->index, cipher, plain);

		match = rc == 0;
		if (match) {
			*found = c->seals[i];
		} else if (rc == WERR_NOMEM) {
			err = rc; // says nothing about the page
		}
	}
	secret_wipe(plain, sizeof plain);
	if (err != WERR_NOMEM && !match && !c->image && !c->hole) {
		(void)fs_refuse(fs, n->number, WERR_AUTH,
				"no version of a page that the journal knows is there");
		*found = c->seals[c->len - 1];
	}
	return err == WERR_NOTFOUND ? 0 : err;
}

static int resolve_candidate(struct fs *fs, struct node *n, struct candidate *c)
{
	struct object *o = n->obj;
	struct seal found = {{0}};
	int err = tree_prepare(o->tree, c->index, 1);

	if (err) {
		return err;
	}
	if (c->len == 1 && !c->image && !c->hole) {
		found = c->seals[0]; // the log is sure of it
	} else if (c->len) {
		err = match_candidate(fs, n, c, &found);
	}
	// What conversion to a tree left in memory is older than what the log says of the page.
	struct opage *p = err ? NULL : overlay_find(&o->overlay, c->index);
	if (p && p->dirty) {
		overlay_buf_free(fs, p->dirty);
		p->dirty = NULL;
		o->overlay.ndirty--;
		overlay_prune(&o->overlay, p);
	}
	if (err == 0 && seal_is_hole(&found) && c->image) {
		struct obuf *b;

		// The journal has the image until the checkpoint that follows is complete: it needs
		// no second record.
		p = overlay_make(&o->overlay, c->index);
		b = p ? overlay_buf(fs) : NULL;
		if (!b) {
			return WERR_NOMEM;
		}
		*b = *c->image;
		p->pending = b;
		o->overlay.npending++;
		found = b->seal;
	}
	if (err == 0) {
		(void)tree_set(o->tree, c->index, &found);
	}
	return err;
}

// Bytes behind the end are zero, always; a size from the log may cut a page that was not written
// again.
static int zero_tail(struct fs *fs, struct node *n)
{
	uint8_t page[WARD_PAGE];
	uint64_t index = n->attr.size / WARD_PAGE;
	size_t keep = (size_t)(n->attr.size % WARD_PAGE);
	struct seal s;
	int err = keep ? tree_get(n->obj->tree, index, &s) : 0;

	if (err || keep == 0 || (seal_is_hole(&s) && !overlay_find(&n->obj->overlay, index))) {
		return err;
	}
	err = page_read(fs, n, index, page);
	bool any = false;
	for (size_t i = keep; err == 0 && i < WARD_PAGE; i++) {
		any |= page[i] != 0;
	}
	if (any) {
		memset(page + keep, 0, WARD_PAGE - keep);
		err = page_write(fs, n, index, 1, page);
	}
	secret_wipe(page, sizeof page);
	return err == WERR_AUTH || err == WERR_DAMAGED
		       ? 0
		       : err; // such a page is reported when it is read
}

// Allocated pages: the log's figure is of a state that may not have survived.
static int count_pages(struct node *n, uint64_t end)
{
	uint64_t pages = 0, at = 0;
	int err = 0;

	while (err == 0 && at < end) {
		uint64_t data, hole;

		err = tree_seek(n->obj->tree, at, end, 0, &data);
		if (err == 0) {
			err = tree_seek(n->obj->tree, data, end, 1, &hole);
		}
		if (err == 0) {
			pages += hole - data;
			at = hole;
		}
	}
	n->attr.pages = pages;
	return err == WERR_AUTH || err == WERR_DAMAGED ? 0 : err; // reported when it is read
}

int replay_pages_finish(struct fs *fs, struct node *n)
{
	struct object *o = n->obj;
	uint64_t end = pages_of(n->attr.size);
	int err = 0;

	if (o->layout != LAYOUT_TREE) {
		n->attr.pages = 0;
		return 0;
	}
	o->guard = TREE_PAGES_MAX;
	for (size_t b = 0; err == 0 && o->replay && b < 256; b++) {
		for (struct candidate *c = o->replay->buckets[b]; err == 0 && c; c = c->next) {
			err = resolve_candidate(fs, n, c);
		}
	}
	replay_object_free(o->replay);
	o->replay = NULL;
	if (err == 0) { // what lies beyond the size has no effect
		err = data_drop_beyond(fs, n, end);
	}
	if (err == 0) {
		err = zero_tail(fs, n);
	}
	if (err == 0) {
		err = count_pages(n, end);
	}
	o->unlogged_from = o->placed_end = o->flushed_to = o->guard;
	return err;
}

int replay_inline(struct node *n, const struct assignment *a)
{
	struct object *o = n->obj;

	if (o->layout != LAYOUT_INLINE || a->len > OBJECT_INLINE_AREA) {
		return WERR_MALFORMED; // a tree never becomes inline again
	}
	memset(o->inline_data, 0, OBJECT_INLINE_AREA);
	if (a->len) {
		memcpy(o->inline_data, a->bytes, a->len);
	}
	n->attr.size = a->len;
	n->attr.pages = 0;
	return 0;
}

int replay_xattr(struct node *n, const struct assignment *a)
{
	struct object *o = n->obj;
	uint8_t *set = malloc(OBJECT_XATTR_MAX);

	if (!set) {
		return WERR_NOMEM;
	}
	if (a->len) {
		memcpy(set, a->bytes, a->len);
	}
	if (o->xattrs) {
		secret_wipe(o->xattrs, o->xattrs_len);
		free(o->xattrs);
	}
	o->xattrs = set;
	o->xattrs_len = a->len;
	return 0;
}
