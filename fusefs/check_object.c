// SPDX-License-Identifier: Apache-2.0
// One file: on the host where that is the truth, through the engine where memory is.
#include "fusefs/check_private.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"

struct node *check_live_node(struct check *c, uint64_t number)
{
	struct node *n = NULL;

	if (c->fs->v->h->state != VAULT_CLEAN) {
		n = node_find(c->fs, number);
	}
	if (!n) {
		return NULL;
	}
	pthread_mutex_lock(&c->fs->dirty_lock);
	bool dirty = n->dirty != 0; // replayed, and nowhere else yet
	pthread_mutex_unlock(&c->fs->dirty_lock);
	if (!dirty) {
		node_put(c->fs, n);
	}
	return dirty ? n : NULL;
}

void check_bad_end(struct bench *b)
{
	if (b->count) {
		struct check_finding f = {.kind = b->kind,
					  .number = b->job->want.number,
					  .path = b->job->path,
					  .first = b->first,
					  .count = b->count};
		b->count = 0;
		if (b->hold && b->held_len < INSPECT_PAGES) {
			b->held[b->held_len++] = f;
		} else {
			check_report(b->c, &f);
		}
	}
}

static void tell_held(struct bench *b)
{
	b->hold = false;
	for (size_t i = 0; i < b->held_len; i++) {
		check_report(b->c, &b->held[i]);
	}
	b->held_len = 0;
}

int check_bad(void *arg, enum check_kind kind, uint64_t first, uint64_t count)
{
	struct bench *b = arg;

	b->any_bad = true;
	if (b->count && b->kind == kind && b->first + b->count == first) {
		b->count += count;
		return 0;
	}
	check_bad_end(b);
	b->kind = kind;
	b->first = first;
	b->count = count;
	return 0;
}

int check_tick(void *arg, unsigned pages, uint64_t index)
{
	(void)index;
	return check_step(arg, pages);
}

// What the entry says of an object that it has none of.
static void check_no_object(struct check *c, const struct job *j)
{
	bool content = j->want.type == OBJECT_FILE && (j->size || j->pages);
	bool target = j->want.type == OBJECT_SYMLINK && j->size != j->target_len;

	if (content || target || j->want.generation || j->flags) {
		check_object_report(c, j, CHECK_ATTRIBUTES);
	}
}

static void compare(struct bench *b, const struct job *j, uint64_t pages, bool all)
{
	const struct object_header *h = &b->in->h;
	bool xattrs = (j->flags & ATTR_HAS_XATTRS) != 0;
	uint64_t size = j->target_len ? j->target_len : h->size;

	if (j->size != size || xattrs != (h->xattr_len != 0) || (all && j->pages != pages)) {
		struct check_finding f = {.kind = CHECK_ATTRIBUTES,
					  .number = j->want.number,
					  .path = j->path,
					  .found = j->size == size ? j->pages : j->size,
					  .wanted = j->size == size ? pages : size};
		check_report(b->c, &f);
	}
}

static int on_host(struct bench *b, struct job *j)
{
	const struct inspect_calls calls = {.bad = check_bad, .step = check_tick, .arg = b};
	uint64_t pages = 0;
	int err = inspect_open(b->c->fs, &j->want, b->in);

	if (err > 0) {
		check_object_report(b->c, j, (enum check_kind)err);
		return 0;
	}
	if (err < 0) {
		return err;
	}
	b->job = j;
	b->any_bad = false;
	err = check_step(b, 1);
	err = err ? err : inspect_pages(b->c->fs, b->in, &calls, b->buf, &pages);
	check_bad_end(b);
	if (err == 0) {
		compare(b, j, pages, !b->any_bad);
	}
	inspect_close(b->in);
	return err;
}

// Content through the engine, at most INSPECT_PAGES under one lock.
static int live_run(struct bench *b, struct node *n, uint64_t at, size_t pages)
{
	struct fs *fs = b->c->fs;
	int err = data_read(fs, n, at * WARD_PAGE, pages * WARD_PAGE, b->buf);

	for (size_t i = 0; err && !(err == WERR_NOMEM || err == WERR_MFILE) && i < pages; i++) {
		int one = page_read(fs, n, at + i, b->buf);

		if (one == WERR_NOMEM || one == WERR_MFILE) {
			return one;
		}
		if (one) {
			check_bad(b, one == WERR_IO ? CHECK_READ_ERROR : CHECK_DATA_PAGE, at + i,
				  1);
		}
	}
	secret_wipe(b->buf, pages * WARD_PAGE);
	return err == WERR_NOMEM || err == WERR_MFILE ? err : 0;
}

// The next stretch of content from *at on; *at moves behind it. n->lock exclusive.
static int live_stretch(struct bench *b, struct node *n, uint64_t *at, uint64_t end)
{
	struct object *o = n->obj;
	uint64_t data, hole;
	int err = tree_seek(o->tree, *at, end, 0, &data);

	if (err == 0 && data < end) {
		uint64_t limit = end - data > INSPECT_PAGES ? data + INSPECT_PAGES : end;

		err = tree_seek(o->tree, data, limit, 1, &hole);
	}
	if (err == WERR_NOMEM) {
		return err;
	}
	if (err) { // everything before the node that does not load is a hole, or was seen
		uint64_t count = UINT64_C(1) << (7 * o->bad_level);

		check_bad(b, CHECK_NODE_PAGE, o->bad_first, count);
		*at = o->bad_first + count > *at ? o->bad_first + count : *at + 1;
		return 0;
	}
	if (data >= end) {
		*at = end;
		return 0;
	}
	*at = hole;
	return live_run(b, n, data, (size_t)(hole - data));
}

static int live_content(struct bench *b, struct node *n)
{
	uint64_t at = 0;
	int err = 0;

	for (bool more = true; err == 0 && more;) {
		err = node_lock_write(b->c->fs, n);
		if (err) {
			break;
		}
		uint64_t end = pages_of(n->attr.size), from = at;

		b->hold = true;

		more = n->obj->layout == LAYOUT_TREE && n->type != OBJECT_DIR && at < end;
		err = more ? live_stretch(b, n, &at, end) : 0;
		object_account(b->c->fs, n->obj);
		node_unlock(n);
		tell_held(b);
		if (err == 0) {
			err = check_step(b, more ? (unsigned)((at - from) & 0xff) : 1);
		}
	}
	return err;
}

// Attributes in the table may be behind those in memory, so they are not compared.
static int in_memory(struct bench *b, struct node *n, struct job *j)
{
	struct fs *fs = b->c->fs;
	int err = node_lock_write(fs, n);

	b->job = j;
	if (err == 0) {
		node_unlock(n);
		err = live_content(b, n);
		check_bad_end(b);
		return err;
	}
	if (err == WERR_NOMEM || err == WERR_MFILE) {
		return err;
	}
	// It does not load, so the host's bytes are all there is of it.
	err = atomic_load(&n->orphan) ? 0 : on_host(b, j);
	return err;
}

int check_file(struct bench *b, struct job *j)
{
	struct check *c = b->c;
	struct node *n = NULL;
	int err = 0;

	if (c->params->live) {
		err = check_live_open(c, j, &n);
	} else {
		n = check_live_node(c, j->want.number);
	}
	if (n) {
		err = in_memory(b, n, j);
		node_put(c->fs, n);
	} else if (c->params->live) {
		return err; // gone meanwhile
	} else if (j->flags & ATTR_HAS_OBJECT) {
		err = on_host(b, j);
	} else {
		check_no_object(c, j);
	}
	atomic_fetch_add(&c->done, 1);
	return err;
}
