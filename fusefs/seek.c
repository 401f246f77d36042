// SPDX-License-Identifier: Apache-2.0
// SEEK_DATA and SEEK_HOLE, copy_file_range, statfs.
#include "fusefs/engine.h"

#include <stdlib.h>
#include <unistd.h>

#include "crypto/secret.h"

// Whether a page holds data, the overlay included.
static int page_is_data(struct object *o, uint64_t index, bool *ret)
{
	const struct opage *p = overlay_find(&o->overlay, index);

	if (p) {
		*ret = p->dirty || !p->dead;
		return 0;
	}
	struct seal s;
	int err = tree_get(o->tree, index, &s);
	*ret = !seal_is_hole(&s);
	return err;
}

// The lowest page with a dirty buffer at or after from (such pages may still be holes in the tree).
static uint64_t next_dirty(const struct object *o, uint64_t from)
{
	uint64_t best = NO_PAGE;

	for (size_t i = 0; i < o->overlay.nbuckets; i++) {
		for (const struct opage *p = o->overlay.buckets[i]; p; p = p->next) {
			if (p->dirty && p->index >= from && p->index < best) {
				best = p->index;
			}
		}
	}
	return best;
}

static int seek_page(struct object *o, uint64_t from, uint64_t limit, bool hole, uint64_t *ret)
{
	while (from < limit) {
		bool data;
		int err = page_is_data(o, from, &data);

		if (err) {
			return err;
		}
		if (data != hole) {
			break;
		}
		uint64_t next;
		err = tree_seek(o->tree, from + 1, limit, hole, &next);
		if (err) {
			return err;
		}
		uint64_t memory = o->overlay.count && !hole ? next_dirty(o, from + 1) : NO_PAGE;
		from = memory < next ? memory : next;
	}
	*ret = from < limit ? from : limit;
	return 0;
}

int fs_lseek(struct fs *fs, uint64_t ino, uint64_t off, int whence, uint64_t *ret)
{
	struct node *n = node_find(fs, ino);

	if (!n) {
		return WERR_STALE;
	}
	int err = n->type != OBJECT_FILE || (whence != SEEK_DATA && whence != SEEK_HOLE)
			  ? WERR_INVALID
			  : node_lock_write(fs, n); // may load nodes
	if (err) {
		node_put(fs, n);
		return err;
	}
	uint64_t size = n->attr.size, page = 0;
	bool hole = whence == SEEK_HOLE;

	if (off >= size) {
		err = WERR_NXIO;
	} else if (n->obj->layout == LAYOUT_INLINE) {
		*ret = hole ? size : off;
	} else {
		err = seek_page(n->obj, off / WARD_PAGE, pages_of(size), hole, &page);
		uint64_t at = page * WARD_PAGE;

		*ret = at > off ? at : off;
		if (err == 0 && page == pages_of(size)) {
			*ret = size;
			err = hole ? 0 : WERR_NXIO;
		}
	}
	object_account(fs, n->obj);
	node_unlock(n);
	node_put(fs, n);
	return err;
}

#define COPY_BYTES ((size_t)1 << 20)

int fs_copy_range(struct fs *fs, uint64_t in, uint64_t in_off, uint64_t out, uint64_t out_off,
		  uint64_t len, uint64_t *ret_len)
{
	uint64_t done = 0;
	int err = 0;
	uint8_t *buf = malloc(COPY_BYTES);

	if (!buf) {
		return WERR_NOMEM;
	}
	// Bounded, so that one request does not hold a thread for minutes: the caller comes back
	// for the rest.
	while (err == 0 && done < len && done < 64 * COPY_BYTES) {
		size_t take = len - done < COPY_BYTES ? (size_t)(len - done) : COPY_BYTES, got = 0;

		err = fs_read(fs, in, in_off + done, take, buf, &got);
		if (err || got == 0) {
			break;
		}
		err = fs_write(fs, out, out_off + done, buf, got, 0);
		done += err ? 0 : got;
	}
	secret_wipe(buf, COPY_BYTES);
	free(buf);
	*ret_len = done;
	return done ? 0 : err;
}

int fs_statfs(struct fs *fs, struct host_space *ret)
{
	return fs->host->ops->space(fs->host, ret);
}
