// SPDX-License-Identifier: Apache-2.0
#include "fusefs/inspect.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"
#include "crypto/xattr_codec.h"

// What a failed read says of the object; negative: says nothing.
static int kind_of_read(int err)
{
	switch (err) {
	case WERR_NOTFOUND:
		return CHECK_MISSING;
	case WERR_DAMAGED:
		return CHECK_NOT_PLAIN;
	case WERR_NOMEM:
	case WERR_MFILE:
		return err;
	default:
		return CHECK_READ_ERROR;
	}
}

// The keys, for the type that is known or any: the type is part of what the wraps are bound to.
static int unwrap(struct fs *fs, struct inspected *in, uint8_t type, const uint8_t *tlv, size_t len)
{
	int err = WERR_AUTH;

	for (uint16_t t = OBJECT_FILE; t <= OBJECT_BLOCK && err; t++) {
		if (type && t != type) {
			continue;
		}
		in->id.type = t;
		err = object_keys_unwrap(fs->v->ring, &in->id, tlv, len, &in->keys);
		if (err == WERR_NOMEM) {
			break;
		}
	}
	return err;
}

static int judge(const struct fs *fs, const struct expected *want, const struct inspected *in)
{
	if (in->h.generation >> 40 > fs->mount) {
		return CHECK_NEWER;
	}
	if (in->h.generation < want->generation || in->id.epoch < want->epoch) {
		return CHECK_OLD;
	}
	// While it is mounted the object may have been written since its entry was looked at.
	if (in->h.generation > want->generation && want->generation && fs->params.readonly) {
		return CHECK_NEWER;
	}
	return 0;
}

int inspect_open(struct fs *fs, const struct expected *want, struct inspected *ret)
{
	uint8_t page[WARD_PAGE];
	const uint8_t *tlv;
	size_t len;
	int err = object_read_raw(fs, want->number, 0, 1, page);

	ret->keys = NULL;
	if (err) {
		return kind_of_read(err);
	}
	if (object_header_prefix(page, &ret->id, &tlv, &len)) {
		return CHECK_OBJECT_HEADER;
	}
	bool own = ret->id.number == want->number &&
		   (want->incarnation == 0 || ret->id.incarnation == want->incarnation);
	err = unwrap(fs, ret, own ? want->type : 0, tlv, len);
	if (err) {
		return err == WERR_NOMEM ? err : CHECK_OBJECT_HEADER;
	}
	err = object_header_open(page, ret->keys, &ret->h);
	int kind = err ? CHECK_OBJECT_HEADER : own ? judge(fs, want, ret) : CHECK_SWAPPED;
	if (kind == 0 && ret->h.type != ret->id.type) {
		kind = CHECK_OBJECT_HEADER;
	}
	if (kind == 0 && ret->h.xattr_layout == 0 &&
	    xattr_codec_check(ret->h.xattr_inline, ret->h.xattr_len)) {
		kind = CHECK_OBJECT_HEADER;
	}
	if (kind || err) {
		inspect_close(ret);
		return err == WERR_NOMEM ? err : kind;
	}
	return 0;
}

void inspect_close(struct inspected *in)
{
	object_keys_free(in->keys);
	in->keys = NULL;
	secret_wipe(&in->h, sizeof in->h);
}

// One walk over an object.
struct tour {
	struct fs *fs;
	const struct inspected *in;
	const struct inspect_calls *calls;
	uint8_t *buf;
	uint64_t end; // pages that the size allows
	uint64_t pages;
};

static int open_one(const struct tour *t, const struct seal *s, uint32_t level, uint64_t index,
		    uint8_t *page)
{
	return object_open_page(t->in->keys, s, level, index, page, page);
}

static int read_step(const struct tour *t, uint64_t position, size_t pages, uint64_t index,
		     uint8_t *buf)
{
	int err = object_read_raw(t->fs, t->in->id.number, position, pages, buf);

	if (err == 0 && t->calls->step) {
		int stop = t->calls->step(t->calls->arg, (unsigned)pages, index);

		return stop ? stop : 0;
	}
	return err;
}

static bool is_fatal(int err)
{
	return err == WERR_NOMEM || err == WERR_MFILE || err == WERR_INTERRUPTED;
}

static int bad(const struct tour *t, enum check_kind kind, uint64_t first, uint64_t count)
{
	return t->calls->bad(t->calls->arg, kind, first, count);
}

// A page of content that was read. Bad ones that follow each other are told one by one: they are
// rare, and a caller joins them if it wants to.
static int data_page(struct tour *t, const struct seal *s, uint64_t index, uint8_t *page)
{
	int err = seal_check(s) ? WERR_MALFORMED : open_one(t, s, 0, index, page);

	if (err == WERR_NOMEM) {
		return err;
	}
	t->pages++;
	if (err) {
		return bad(t, t->in->id.type == OBJECT_DIR ? CHECK_TABLE_PAGE : CHECK_DATA_PAGE,
			   index, 1);
	}
	return t->calls->page ? t->calls->page(t->calls->arg, index, page) : 0;
}

// One host read failed: page by page, to know which.
static int single_pages(struct tour *t, const struct seal *seals, uint64_t index, uint64_t position,
			size_t n)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < n; i++) {
		err = read_step(t, position + i, 1, index + i, t->buf);
		if (err == 0) {
			err = data_page(t, &seals[i], index + i, t->buf);
		} else if (!is_fatal(err)) {
			t->pages++;
			err = bad(t, CHECK_READ_ERROR, index + i, 1);
		}
	}
	return err;
}

// Neighbours on the host: one read for each stretch without a hole.
static int data_pages(struct tour *t, const struct seal *seals, size_t n, uint64_t index,
		      uint64_t position)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < n;) {
		size_t run = 0;

		if (seal_is_hole(&seals[i])) {
			i++;
			continue;
		}
		if (index + i >= t->end) {
			return bad(t, CHECK_BOUNDS, index + i, n - i);
		}
		while (i + run < n && index + i + run < t->end && !seal_is_hole(&seals[i + run])) {
			run++;
		}
		err = read_step(t, position + i, run, index + i, t->buf);
		if (is_fatal(err)) {
			return err;
		}
		if (err) {
			err = single_pages(t, seals + i, index + i, position + i, run);
		} else {
			for (size_t k = 0; err == 0 && k < run; k++) {
				err = data_page(t, &seals[i + k], index + i + k,
						t->buf + k * WARD_PAGE);
			}
		}
		i += run;
	}
	return err;
}

static uint64_t covers(unsigned level)
{
	return UINT64_C(1) << (7 * level);
}

static uint64_t span(unsigned level)
{
	uint64_t pages = 1;

	while (level--) {
		pages = 1 + SEALS_PER_NODE * pages;
	}
	return pages;
}

// Opens a node page; a positive kind when it cannot be used.
static int node_page(struct tour *t, const struct seal *s, unsigned level, uint64_t first,
		     uint64_t position, struct seal seals[static SEALS_PER_NODE])
{
	int err = read_step(t, position, 1, first, (uint8_t *)seals);
	bool any = false;

	if (err) {
		return is_fatal(err) ? err : CHECK_READ_ERROR;
	}
	err = seal_check(s) ? WERR_MALFORMED : open_one(t, s, level, first, (uint8_t *)seals);
	for (unsigned i = 0; err == 0 && i < SEALS_PER_NODE; i++) {
		err = seal_check(&seals[i]);
		any |= !seal_is_hole(&seals[i]);
	}
	if (err == WERR_NOMEM) {
		return err;
	}
	return err || !any ? CHECK_NODE_PAGE : 0;
}

static int subtree(struct tour *t, const struct seal *s, unsigned level, uint64_t first,
		   uint64_t position)
{
	if (seal_is_hole(s)) {
		return 0;
	}
	if (first >= t->end) {
		return bad(t, CHECK_BOUNDS, first, covers(level));
	}
	struct seal *seals = malloc(SEALS_PER_NODE * sizeof *seals);
	if (!seals) {
		return WERR_NOMEM;
	}
	int err = node_page(t, s, level, first, position, seals);
	if (err > 0) {
		err = bad(t, (enum check_kind)err, first, covers(level));
	} else if (err == 0 && level == 1) {
		err = data_pages(t, seals, SEALS_PER_NODE, first, position + 1);
	} else {
		for (unsigned i = 0; err == 0 && i < SEALS_PER_NODE; i++) {
			err = subtree(t, &seals[i], level - 1, first + i * covers(level - 1),
				      position + 1 + i * span(level - 1));
		}
	}
	free(seals);
	return err;
}

static int xattr_pages(struct tour *t)
{
	const struct object_header *h = &t->in->h;
	unsigned count = (unsigned)pages_of(h->xattr_len);
	uint8_t *set = t->buf;

	if (h->xattr_layout == 0) {
		return 0;
	}
	int err = read_step(t, POSITION_XATTR, count, 0, set);
	if (err) {
		return is_fatal(err) ? err : bad(t, CHECK_XATTR_PAGE, 0, count);
	}
	for (unsigned i = 0; err == 0 && i < count; i++) {
		err = open_one(t, &h->xattr_seals[i], LEVEL_XATTR, i, set + (size_t)i * WARD_PAGE);
		if (err && err != WERR_NOMEM) {
			return bad(t, CHECK_XATTR_PAGE, i, 1);
		}
	}
	if (err == 0 && xattr_codec_check(set, h->xattr_len)) {
		return bad(t, CHECK_XATTR_PAGE, 0, count);
	}
	return err;
}

int inspect_pages(struct fs *fs, const struct inspected *in, const struct inspect_calls *calls,
		  uint8_t *buf, uint64_t *ret_pages)
{
	struct tour t = {fs, in, calls, buf, pages_of(in->h.size), 0};
	uint64_t first = OBJECT_DIRECT;
	int err = xattr_pages(&t);

	if (err == 0 && in->h.layout == LAYOUT_TREE) {
		err = data_pages(&t, in->h.direct, OBJECT_DIRECT, 0, tree_position(0));
	}
	for (unsigned level = 1; err == 0 && in->h.layout == LAYOUT_TREE && level <= OBJECT_ROOTS;
	     level++) {
		// A node stands right before what it covers.
		err = subtree(&t, &in->h.roots[level - 1], level, first,
			      tree_position(first) - level);
		first += covers(level);
	}
	secret_wipe(buf, INSPECT_PAGES * WARD_PAGE);
	*ret_pages = t.pages;
	return err;
}
