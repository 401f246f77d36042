// SPDX-License-Identifier: Apache-2.0
// Reading content: the overlay first, then the places, whole runs in one host read, opened where
// they lie.
#include "fusefs/engine.h"

#include <string.h>

#include "crypto/secret.h"

#define CHUNK_PAGES 256u // 1 MiB: the largest request
#define IOV_MAX_RUN 64
#define GAP_PAGES 8u // holes and node pages up to this many are read over rather than around

static int open_page(struct fs *fs, struct node *n, const struct seal *s, uint64_t index,
		     const uint8_t *cipher, uint8_t *plain)
{
	int err = object_open_page(n->obj->keys, s, 0, index, cipher, plain);

	if (err) {
		memset(plain, 0, WARD_PAGE);
		return fs_refuse(fs, n->number, err, "content page");
	}
	return 0;
}

// The buffer to read a page from, or NULL; *ret_hole: the overlay says that it is a hole now.
static const struct obuf *overlay_content(const struct object *o, uint64_t index, bool *ret_hole)
{
	const struct opage *p = overlay_find(&o->overlay, index);

	*ret_hole = false;
	if (!p) {
		return NULL;
	}
	if (p->dirty) {
		return p->dirty;
	}
	if (p->dead) {
		*ret_hole = true;
		return NULL;
	}
	return p->pending;
}

enum page_source {
	FROM_PLACE,
	FROM_MEMORY, // done already
};

struct span {
	struct iovec iov[IOV_MAX_RUN];
	int iovcnt;
	uint8_t *next; // where the next byte of the current vector would go; NULL: scratch
};

static bool span_add(struct span *s, uint8_t *to, uint8_t *scratch, size_t pages)
{
	for (size_t i = 0; i < pages; i++) {
		if (to && s->next == to) {
			s->iov[s->iovcnt - 1].iov_len += WARD_PAGE;
			s->next += WARD_PAGE;
			to += WARD_PAGE;
			continue;
		}
		if (s->iovcnt == IOV_MAX_RUN) {
			return false;
		}
		s->iov[s->iovcnt++] = (struct iovec){to ? to : scratch, WARD_PAGE};
		s->next = to ? to + WARD_PAGE : NULL;
		if (to) {
			to += WARD_PAGE;
		}
	}
	return true;
}

// Reads pages [from, to) of a chunk from their places: one host read for as long a stretch as
// possible.
static int read_places(struct fs *fs, struct node *n, uint64_t index, size_t count,
		       const struct seal *seals, const uint8_t *source, uint8_t *buf)
{
	uint8_t scratch[WARD_PAGE];
	struct host_file *f;
	int err = object_host_file(fs, n->number, &f);

	if (err) {
		return err == WERR_NOTFOUND || err == WERR_DAMAGED
			       ? fs_refuse(fs, n->number, WERR_DAMAGED,
					   "its host file is missing or not a plain file")
			       : err;
	}
	for (size_t i = 0; err == 0 && i < count;) {
		if (source[i] == FROM_MEMORY) {
			i++;
			continue;
		}
		struct span span = {.iovcnt = 0, .next = NULL};
		uint64_t start = tree_position(index + i), at = start;
		size_t end = i;

		for (size_t k = i; k < count && k - end <= GAP_PAGES; k++) {
			uint64_t position = tree_position(index + k);

			if (source[k] == FROM_MEMORY) {
				continue;
			}
			if (position - at > GAP_PAGES ||
			    !span_add(&span, NULL, scratch, position - at) ||
			    !span_add(&span, buf + k * WARD_PAGE, scratch, 1)) {
				break;
			}
			at = position + 1;
			end = k + 1;
		}
		err = object_preadv(fs, f, span.iov, span.iovcnt, start * WARD_PAGE);
		for (size_t k = i; err == 0 && k < end; k++) {
			if (source[k] == FROM_PLACE) {
				err = open_page(fs, n, &seals[k], index + k, buf + k * WARD_PAGE,
						buf + k * WARD_PAGE);
			}
		}
		i = end;
	}
	hostcache_put(fs->hc, f);
	return err;
}

static int read_chunk(struct fs *fs, struct node *n, uint64_t index, size_t count, uint8_t *buf)
{
	struct object *o = n->obj;
	struct seal seals[CHUNK_PAGES];
	uint8_t source[CHUNK_PAGES];
	bool any = false;
	int err = tree_get_range(o->tree, index, count, seals);

	for (size_t i = 0; err == 0 && i < count; i++) {
		bool hole;
		const struct obuf *b = overlay_content(o, index + i, &hole);

		source[i] = FROM_MEMORY;
		if (b) {
			err = open_page(fs, n, &b->seal, index + i, b->cipher, buf + i * WARD_PAGE);
		} else if (hole || seal_is_hole(&seals[i])) {
			memset(buf + i * WARD_PAGE, 0, WARD_PAGE);
		} else {
			source[i] = FROM_PLACE;
			any = true;
		}
	}
	if (err == 0 && any) {
		err = read_places(fs, n, index, count, seals, source, buf);
	}
	return err;
}

int page_read(struct fs *fs, struct node *n, uint64_t index, uint8_t plain[static WARD_PAGE])
{
	return read_chunk(fs, n, index, 1, plain);
}

// A part of one page, through a page of our own.
static int read_part(struct fs *fs, struct node *n, uint64_t index, size_t skip, size_t len,
		     uint8_t *buf)
{
	uint8_t page[WARD_PAGE];
	int err = page_read(fs, n, index, page);

	if (err == 0) {
		memcpy(buf, page + skip, len);
	}
	secret_wipe(page, sizeof page);
	return err;
}

int data_read(struct fs *fs, struct node *n, uint64_t off, size_t len, uint8_t *buf)
{
	if (n->obj->layout == LAYOUT_INLINE) {
		memcpy(buf, n->obj->inline_data + off, len);
		return 0;
	}
	int err = 0;
	while (err == 0 && len) {
		uint64_t index = off / WARD_PAGE;
		size_t skip = (size_t)(off % WARD_PAGE), take;

		if (skip || len < WARD_PAGE) {
			take = WARD_PAGE - skip < len ? WARD_PAGE - skip : len;
			err = read_part(fs, n, index, skip, take, buf);
		} else {
			size_t pages = len / WARD_PAGE;

			pages = pages < CHUNK_PAGES ? pages : CHUNK_PAGES;
			take = pages * WARD_PAGE;
			err = read_chunk(fs, n, index, pages, buf);
		}
		off += take;
		buf += take;
		len -= take;
	}
	return err;
}

// The bytes to read for `take` bytes at off into a buffer of len: where it has room for the rest of
// the last page, that is opened where it lies, too.
static size_t with_last_page(const struct node *n, uint64_t off, size_t take, size_t len)
{
	size_t rest = (WARD_PAGE - (off + take) % WARD_PAGE) % WARD_PAGE;

	return n->obj->layout == LAYOUT_TREE && take && rest <= len - take ? take + rest : take;
}

// Waits for the node pages that a small read lacks, with its page on the way at the same time. A
// hint only: what it reads is not kept, and the tree finds it in the host's cache.
static void expect_nodes(struct fs *fs, struct node *n, uint64_t off)
{
	const struct host_ops *ops = fs->host->ops;
	uint64_t index = off / WARD_PAGE, position[OBJECT_ROOTS];
	unsigned count =
		n->obj->layout == LAYOUT_TREE ? tree_missing(n->obj->tree, index, position) : 0;
	uint8_t scratch[WARD_PAGE];
	const struct iovec iov = {scratch, WARD_PAGE};
	struct host_file *f;

	if (count == 0 || !fs->params.blocking || !ops->preadv_cached ||
	    object_host_file(fs, n->number, &f)) {
		return;
	}
	(void)!ops->preadv_cached(f, &iov, 1, tree_position(index) * WARD_PAGE);
	for (unsigned i = 1; i < count; i++) {
		(void)!ops->preadv_cached(f, &iov, 1, position[i] * WARD_PAGE);
	}
	for (unsigned i = 0; i < count; i++) {
		(void)!object_preadv(fs, f, &iov, 1, position[i] * WARD_PAGE);
	}
	hostcache_put(fs->hc, f);
}

int fs_read(struct fs *fs, uint64_t ino, uint64_t off, size_t len, void *buf, size_t *ret_len)
{
	struct node *n = node_find(fs, ino);
	bool exclusive;

	if (!n) {
		return WERR_STALE;
	}
	int err = n->type == OBJECT_FILE  ? node_lock_read(fs, n, &exclusive)
		  : n->type == OBJECT_DIR ? WERR_ISDIR
					  : WERR_INVALID;
	if (err == 0 && exclusive && n->obj->layout == LAYOUT_TREE) { // others need not wait
		node_unlock(n);
		err = node_lock_read(fs, n, &exclusive);
	}
	if (err) {
		node_put(fs, n);
		return err;
	}
	uint64_t size = n->attr.size;
	size_t take = off >= size ? 0 : size - off < len ? (size_t)(size - off) : len;

	if (take) {
		expect_nodes(fs, n, off);
		err = data_read(fs, n, off, with_last_page(n, off, take, len), buf);
		object_account(fs, n->obj);
	}
	*ret_len = take;
	node_unlock(n);
	node_put(fs, n);
	return err;
}
