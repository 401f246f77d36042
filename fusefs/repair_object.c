// SPDX-License-Identifier: Apache-2.0
#include "fusefs/repair_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"
#include "crypto/xattr_codec.h"

void repair_mark(struct repair *r, struct node *n, const char *name, const char *value)
{
	struct object *o = n->obj;
	uint8_t *set = malloc(OBJECT_XATTR_MAX);
	size_t len;

	if (!set) {
		return; // the report says it all the same
	}
	int err = xattr_codec_set(o->xattrs, o->xattrs_len, name, value, strlen(value), set,
				  OBJECT_XATTR_MAX, &len);
	size_t held = len > OBJECT_XATTR_INLINE_MAX ? OBJECT_XATTR_INLINE_MAX : len;
	if (err == 0 && o->layout == LAYOUT_INLINE && n->attr.size > OBJECT_INLINE_AREA - held) {
		err = object_make_tree(r->fs, n);
		n->attr.pages = err ? 0 : 1;
	}
	if (err) {
		free(set);
		return;
	}
	xattr_replace(r->fs, n, set, len);
}

// The list of holes for the mark: bytes, as many as fit.
struct holes {
	char text[400];
	size_t len;
	uint64_t pages;
};

static void add_hole(struct holes *h, uint64_t first, uint64_t count)
{
	char one[64];
	int n = snprintf(one, sizeof one, "%s%" PRIu64 "-%" PRIu64, h->len ? "," : "",
			 first * WARD_PAGE, (first + count) * WARD_PAGE - 1);

	h->pages += count;
	if (n > 0 && h->len + (size_t)n + 5 < sizeof h->text) {
		memcpy(h->text + h->len, one, (size_t)n + 1);
		h->len += (size_t)n;
	} else if (h->len && h->text[h->len - 1] != '.') {
		memcpy(h->text + h->len, ",...", 5);
		h->len += 4;
	}
}

struct scan {
	struct repair *r;
	struct node *n;
	const char *path;
	struct holes holes;
	uint64_t end;          // of the content
	uint64_t pages;        // readable
	uint64_t first, count; // a stretch that is lost
};

static void flush_hole(struct scan *s)
{
	if (s->count) {
		add_hole(&s->holes, s->first, s->count);
		repair_did(s->r, REPAIR_HOLES, s->n->number, s->path, s->first, s->count);
	}
	s->count = 0;
}

// Pages [first, first + count) are holes from now on. On the host they stay as they are.
static int lose(struct scan *s, uint64_t first, uint64_t count)
{
	int err = tree_drop(s->n->obj->tree, first, first + count, NULL);

	// A node may reach behind the end, where nothing can be lost.
	count = first >= s->end ? 0 : first + count > s->end ? s->end - first : count;
	if (err || count == 0) {
		return err;
	}
	if (s->count && s->first + s->count == first) {
		s->count += count;
	} else {
		flush_hole(s);
		s->first = first;
		s->count = count;
	}
	return 0;
}

static int lose_node(struct scan *s)
{
	const struct object *o = s->n->obj;

	return lose(s, o->bad_first, UINT64_C(1) << (7 * o->bad_level));
}

// What stands behind the end, where a node that does not open may reach over it.
static int drop_behind(struct scan *s)
{
	struct tree *t = s->n->obj->tree;
	int err = tree_drop(t, s->end, UINT64_MAX, NULL);

	for (unsigned level = 0; level < OBJECT_ROOTS && salvage_wanted(s->r->fs, err); level++) {
		err = lose_node(s);
		err = err ? err : tree_drop(t, s->end, UINT64_MAX, NULL);
	}
	return err;
}

static int scan_run(struct scan *s, uint64_t at, uint64_t count, uint8_t *page)
{
	int err = 0;

	for (uint64_t i = at; err == 0 && i < at + count; i++) {
		err = page_read(s->r->fs, s->n, i, page);
		if (err == 0) {
			s->pages++;
		} else if (salvage_wanted(s->r->fs, err)) {
			err = lose(s, i, 1);
		}
	}
	return err;
}

static int scan_tree(struct scan *s, uint8_t *page)
{
	struct object *o = s->n->obj;
	uint64_t at = 0, end = s->end, data, hole;
	int err = 0;

	while (err == 0 && at < end) {
		err = tree_seek(o->tree, at, end, 0, &data);
		if (err == 0 && data < end) {
			err = tree_seek(o->tree, data, end, 1, &hole);
		}
		if (salvage_wanted(s->r->fs, err)) { // a node: what it covers is lost
			err = lose_node(s);
			continue;
		}
		if (err || data >= end) {
			break;
		}
		err = scan_run(s, data, hole - data, page);
		at = hole;
	}
	return err;
}

int repair_content(struct repair *r, struct node *n, const char *path, uint64_t *ret_lost)
{
	struct scan s = {.r = r, .n = n, .path = path, .end = pages_of(n->attr.size)};
	uint8_t *page = malloc(WARD_PAGE);
	int err = page ? 0 : WERR_NOMEM;

	*ret_lost = 0;
	if (err == 0 && n->obj->layout == LAYOUT_TREE) {
		err = drop_behind(&s);
		err = err ? err : scan_tree(&s, page);
		flush_hole(&s);
	}
	if (page) {
		secret_wipe(page, WARD_PAGE);
	}
	free(page);
	if (err) {
		return err;
	}
	n->attr.pages = s.pages;
	if (s.holes.pages) {
		repair_mark(r, n, REPAIR_MARK_DAMAGED, s.holes.text);
	}
	*ret_lost = s.holes.pages;
	return 0;
}

int repair_fresh(struct repair *r, struct node *n, uint64_t size)
{
	struct fs *fs = r->fs;

	object_free(fs, n->obj);
	n->obj = NULL;
	n->base = n->generation = 0;
	n->bound = 0;
	n->bound_epoch = n->epoch = 0;
	n->attr.flags = 0;
	n->attr.size = n->attr.pages = 0;
	int err = object_load(fs, n);
	if (err == 0) {
		n->obj->reborn = true;
	}
	if (err == 0 && n->type == OBJECT_FILE && size) {
		err = object_make_tree(fs, n);
		n->attr.size = size;
	}
	return err;
}

// The entry with what the node says now; its place may change where a target comes into it.
static int put_entry(struct repair *r, struct node *dir, table_place place, const struct entry *e,
		     struct node *n)
{
	uint8_t bytes[ENTRY_BYTES_MAX];
	size_t len;
	int err = rec_entry(n, e->name, e->name_len, bytes, &len);

	if (err) {
		return err;
	}
	err = table_put(dir->obj->table, place, bytes, len);
	if (err == WERR_NOSPACE) {
		err = table_put(dir->obj->table, place, NULL, 0);
		err = err ? err : dir_insert(dir, bytes, len, &place);
		if (err == 0) {
			node_set_home(r->fs, n, dir, place);
		}
	}
	return err;
}

// Its header is lost, and with it the keys of all of its pages.
static int lost(struct repair *r, struct node *dir, table_place place, const struct entry *e,
		struct node *n, const char *path)
{
	static const char gone[] = "wardfs-lost-target";
	uint64_t size = e->attr.size;
	int err = repair_fresh(r, n, size);

	if (err == 0 && n->type == OBJECT_SYMLINK && !n->target) {
		err = node_set_target(n, gone, sizeof gone - 1);
	}
	if (err == 0 && n->target) {
		n->attr.size = n->target_len;
	}
	if (err == 0) {
		err = put_entry(r, dir, place, e, n);
	}
	if (err == 0) {
		if (n->type == OBJECT_FILE) {
			repair_mark(r, n, REPAIR_MARK_DAMAGED, "all");
		}
		node_dirty(r->fs, n, DIRTY_CONTENT | DIRTY_ATTR);
		repair_did(r, REPAIR_EMPTIED, n->number, path, 0, pages_of(size));
	}
	return err;
}

// Attributes and content of an object whose header opens.
static int mend(struct repair *r, struct node *n, const struct entry *e, bool live,
		const char *path)
{
	uint64_t flags = e->attr.flags, lost_pages;
	bool lost_xattrs = flags & ATTR_HAS_XATTRS && n->obj->xattrs_len == 0;
	uint64_t size = n->target ? n->target_len : n->obj->logged_size;

	size = live ? n->attr.size : size; // replayed: memory knows best
	n->attr.size = size;
	int err = repair_content(r, n, path, &lost_pages);
	if (err) {
		return err;
	}
	n->attr.flags = ATTR_HAS_OBJECT | (n->obj->xattrs_len ? ATTR_HAS_XATTRS : 0);
	if (lost_xattrs) {
		repair_mark(r, n, REPAIR_MARK_DAMAGED, "extended attributes");
		repair_did(r, REPAIR_XATTRS, n->number, path, 0, 0);
	} else if (lost_pages == 0 && !live &&
		   (e->attr.size != size || e->attr.pages != n->attr.pages ||
		    flags != n->attr.flags)) {
		repair_did(r, REPAIR_ATTRIBUTES, n->number, path, 0, 0);
	}
	object_account(r->fs, n->obj);
	node_dirty(r->fs, n, DIRTY_CONTENT | DIRTY_ATTR);
	return 0;
}

// No object, but attributes as if there were one.
static int without_object(struct repair *r, struct node *n, const struct entry *e, const char *path)
{
	if (n->base == 0 && e->attr.flags == 0 && (e->type != OBJECT_FILE || e->attr.size == 0)) {
		return 0;
	}
	int err = repair_fresh(r, n, 0);
	if (err == 0) {
		n->attr.size = n->target ? n->target_len : 0;
		node_dirty(r->fs, n, DIRTY_ATTR);
		repair_did(r, REPAIR_ATTRIBUTES, n->number, path, 0, 0);
	}
	return err;
}

int repair_object(struct repair *r, struct node *dir, table_place place, const struct entry *e,
		  const char *path)
{
	struct node *n;
	struct fs *fs = r->fs;
	int err = node_from_entry(fs, e, dir, place, false, &n);

	if (err) {
		return err;
	}
	if (!(e->attr.flags & ATTR_HAS_OBJECT) && !n->obj) {
		err = without_object(r, n, e, path);
		node_put(fs, n);
		return err;
	}
	bool live = n->obj != NULL;
	err = object_load(fs, n);
	if (err == 0) {
		err = mend(r, n, e, live, path);
	} else if (salvage_wanted(fs, err)) {
		err = lost(r, dir, place, e, n, path);
	}
	node_put(fs, n);
	return err;
}
