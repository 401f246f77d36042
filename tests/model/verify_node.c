// SPDX-License-Identifier: Apache-2.0
#include "tests/model/verify.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/model/trace.h"

// Bytes of unexpected data extents that are read, at most, per file.
#define EXTRA_MAX (16u << 20)

static void check_owner(struct shape_node *node, const struct fs_stat *st, uint64_t durable)
{
	const struct ward_attr *a = &st->attr;

	for (size_t i = node->n_owners; i-- > 0;) {
		const struct shape_owner *o = &node->owners[i];

		if (o->mode == a->mode && o->uid == a->uid && o->gid == a->gid) {
			node->owners[0] = *o;
			node->n_owners = 1;
			return;
		}
		if (o->seq <= durable)
			break;
	}
	const struct shape_owner *o = shape_owner(node);

	trace_fail("inode %016lx: mode %o uid %u gid %u is none of the allowed ones (last: %o %u "
		   "%u; durable as of %lu)",
		   (unsigned long)node->ino, a->mode, a->uid, a->gid, o->mode, o->uid, o->gid,
		   durable);
}

static int same_time(const struct ward_time *a, const struct ward_time *b)
{
	return a->s == b->s && a->ns == b->ns;
}

// Nothing happened since it was made durable: every attribute is as it was then.
static void check_settled(const struct shape_node *node, const struct fs_stat *st)
{
	const struct ward_attr *a = &st->attr, *b = &node->settled;
	unsigned long ino = (unsigned long)node->ino;

	TRACE_CHECK(a->mode == b->mode && a->uid == b->uid && a->gid == b->gid &&
			    a->rdev == b->rdev,
		    "inode %016lx: owner or mode changed", ino);
	TRACE_CHECK(a->nlink == b->nlink, "inode %016lx: %u links, was %u", ino, a->nlink,
		    b->nlink);
	// The size of a directory is the engine's own matter.
	TRACE_CHECK(node->type == OBJECT_DIR || (a->size == b->size && a->pages == b->pages),
		    "inode %016lx: size %lu, %lu pages; was %lu, %lu", ino, a->size, a->pages,
		    b->size, b->pages);
	TRACE_CHECK(same_time(&a->mtime, &b->mtime), "inode %016lx: mtime %ld, was %ld", ino,
		    (long)a->mtime.s, (long)b->mtime.s);
	TRACE_CHECK(same_time(&a->ctime, &b->ctime), "inode %016lx: ctime %ld, was %ld", ino,
		    (long)a->ctime.s, (long)b->ctime.s);
	TRACE_CHECK(same_time(&a->btime, &b->btime), "inode %016lx: birth time changed", ino);
	TRACE_CHECK(same_time(&a->atime, &b->atime), "inode %016lx: atime %ld, was %ld", ino,
		    (long)a->atime.s, (long)b->atime.s);
}

// The attributes as the engine shows them: len and seed are of no use here, so values stay where
// they were read.
struct seen_xattrs {
	int there[SHAPE_XATTRS];
	uint8_t *value[SHAPE_XATTRS];
	size_t len[SHAPE_XATTRS];
};

static void read_xattrs(struct model *m, const struct shape_node *node, struct seen_xattrs *seen)
{
	size_t list = 0;

	memset(seen, 0, sizeof(*seen));
	int err = fs_listxattr(m->fs, node->ino, (char *)m->buf, MODEL_BUF, &list);

	TRACE_CHECK(!err, "inode %016lx: listxattr: %d (%s)", (unsigned long)node->ino, err,
		    werr_text(err));
	for (const char *name = (char *)m->buf; name < (char *)m->buf + list;
	     name += strlen(name) + 1) {
		unsigned i = 0;

		while (i < SHAPE_XATTRS && strcmp(name, shape_xattr_name(i)) != 0)
			i++;
		TRACE_CHECK(i < SHAPE_XATTRS, "unknown attribute %s", name);
		seen->there[i] = 1;
	}
	for (unsigned i = 0; i < SHAPE_XATTRS; i++) {
		if (!seen->there[i])
			continue;
		seen->value[i] = trace_calloc(1, 65536);
		err = fs_getxattr(m->fs, node->ino, shape_xattr_name(i), seen->value[i], 65536,
				  &seen->len[i]);
		TRACE_CHECK(!err, "inode %016lx: attribute %s is listed: %d (%s)",
			    (unsigned long)node->ino, shape_xattr_name(i), err, werr_text(err));
	}
}

static int same_xattrs(const struct shape_xset *set, const struct seen_xattrs *seen)
{
	int same = 1;

	for (unsigned i = 0; i < SHAPE_XATTRS && same; i++) {
		if (!set->len[i] || !seen->there[i]) {
			same = !set->len[i] && !seen->there[i];
			continue;
		}
		size_t len = set->len[i] - 1;
		uint8_t *value = shape_xattr_value(set->seed[i], len);

		same = len == seen->len[i] && memcmp(value, seen->value[i], len) == 0;
		free(value);
	}
	return same;
}

static void check_xattrs(struct model *m, struct shape_node *node, uint64_t durable)
{
	struct seen_xattrs seen;
	int found = 0;

	read_xattrs(m, node, &seen);
	for (size_t i = node->n_xsets; i-- > 0 && !found;) {
		found = same_xattrs(&node->xsets[i], &seen);
		if (found)
			node->xsets[0] = node->xsets[i];
		if (node->xsets[i].seq <= durable)
			break;
	}
	for (unsigned i = 0; i < SHAPE_XATTRS; i++) {
		if (!found)
			trace_op("%s: there %d, %zu bytes; last set: there %d, %d bytes",
				 shape_xattr_name(i), seen.there[i], seen.len[i],
				 shape_xset(node)->len[i] != 0, (int)shape_xset(node)->len[i] - 1);
		free(seen.value[i]);
	}
	TRACE_CHECK(found,
		    "inode %016lx: extended attributes are none of the allowed sets (%zu of them)",
		    (unsigned long)node->ino, node->n_xsets);
	node->n_xsets = 1;
}

// Reads one page; what lies beyond the size is zeros.
static size_t read_page(struct model *m, const struct shape_node *node, uint64_t index,
			uint64_t size, uint8_t page[static CONTENT_PAGE])
{
	uint64_t start = index * CONTENT_PAGE;
	size_t want = size - start < CONTENT_PAGE ? size - start : CONTENT_PAGE, got = 0;

	memset(page, 0, CONTENT_PAGE);
	int err = fs_read(m->fs, node->ino, start, CONTENT_PAGE, page, &got);

	TRACE_CHECK(!err, "inode %016lx: reading page %lu: %d (%s)", (unsigned long)node->ino,
		    index, err, werr_text(err));
	TRACE_CHECK(got == want, "inode %016lx: page %lu gives %zu bytes, expected %zu",
		    (unsigned long)node->ino, index, got, want);
	return want;
}

static void check_page(struct model *m, struct shape_node *node, uint64_t index, uint64_t size,
		       uint64_t durable)
{
	uint8_t page[CONTENT_PAGE];
	size_t len = read_page(m, node, index, size, page);

	if (content_page_allowed(&node->content, durable, index, len, page)) {
		content_adopt_page(&node->content, index, page);
		return;
	}
	size_t zeros = 0;

	while (zeros < len && page[zeros] == 0)
		zeros++;
	trace_fail("inode %016lx: page %lu (of size %lu) is none of the allowed versions (durable "
		   "as of %lu)%s",
		   (unsigned long)node->ino, index, size, durable,
		   zeros == len ? "; it is zeros" : "");
}

// What the engine calls data and the model does not know must be zeros.
static void check_extents(struct model *m, struct shape_node *node, uint64_t size, uint64_t durable)
{
	uint64_t off = 0, to = 0, left = EXTRA_MAX;

	while (off < size && left > 0) {
		int err = fs_lseek(m->fs, node->ino, off, SEEK_DATA, &off);

		if (err == WERR_NXIO)
			return;
		TRACE_CHECK(!err, "seek for data: %d (%s)", err, werr_text(err));
		err = fs_lseek(m->fs, node->ino, off, SEEK_HOLE, &to);
		TRACE_CHECK(!err && to > off, "seek for a hole: %d (%s), %lu", err, werr_text(err),
			    to);
		for (; off < to && left > 0; left -= CONTENT_PAGE) {
			uint8_t page[CONTENT_PAGE];
			uint64_t index = off / CONTENT_PAGE;

			off = (index + 1) * CONTENT_PAGE;
			if (content_has_page(&node->content, index))
				continue;
			size_t len = read_page(m, node, index, size, page);

			TRACE_CHECK(content_page_allowed(&node->content, durable, index, len, page),
				    "inode %016lx: page %lu has data from nowhere",
				    (unsigned long)node->ino, index);
		}
	}
}

static void check_content(struct model *m, struct shape_node *node, uint64_t size, uint64_t durable)
{
	struct content *c = &node->content;

	TRACE_CHECK(
		content_size_allowed(c, durable, size),
		"inode %016lx: size %lu is none of the allowed ones (last: %lu, durable as of %lu)",
		(unsigned long)node->ino, size, content_size(c), durable);
	for (size_t i = 0; i < c->n_pages && c->pages[i].index * CONTENT_PAGE < size; i++)
		check_page(m, node, c->pages[i].index, size, durable);
	check_extents(m, node, size, durable);
	content_adopt_size(c, size);
	// Pages beyond the size are gone.
	content_zero(c, UINT64_MAX, size, UINT64_MAX / 2 - size);
}

void verify_node(struct model *m, struct shape_node *node, const struct fs_stat *st,
		 uint64_t durable, uint64_t durable_attr)
{
	char target[FS_TARGET_MAX + 1];

	TRACE_CHECK(st->type == node->type, "inode %016lx has type %u, expected %u",
		    (unsigned long)node->ino, st->type, node->type);
	check_owner(node, st, durable_attr);
	check_xattrs(m, node, durable_attr);
	if (node->settled_valid)
		check_settled(node, st);
	if (node->type == OBJECT_FILE)
		check_content(m, node, st->attr.size, durable);
	if (node->type == OBJECT_SYMLINK) {
		int err = fs_readlink(m->fs, node->ino, target);

		TRACE_CHECK(!err, "inode %016lx: readlink: %d (%s)", (unsigned long)node->ino, err,
			    werr_text(err));
		TRACE_CHECK(strcmp(target, node->target) == 0, "inode %016lx: the target differs",
			    (unsigned long)node->ino);
	}
	// Links, size, device: everything again, now that the model has taken over what is there.
	model_check_stat(m, node, st);
}
