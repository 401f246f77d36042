// SPDX-License-Identifier: Apache-2.0
// After a failed flush. The kernel marks pages whose write-back failed as clean, so a second
// datasync succeeds although nothing reached the disk: what stands at the places has to be written
// once more before it may be relied on (STORAGE.md section 3, "A failed flush").
#include "fusefs/engine.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"

// One page: read back, compared with its seal, written again as it is. Pages that wait in memory
// are written from there.
static int rewrite_page(struct fs *fs, struct node *n, uint64_t index, uint8_t *cipher,
			uint8_t *plain)
{
	const struct opage *p = overlay_find(&n->obj->overlay, index);
	struct seal s;

	if (p && p->pending) {
		return 0;
	}
	int err = tree_get(n->obj->tree, index, &s);
	if (err == 0) {
		err = object_read_raw(fs, n->number, tree_position(index), 1, cipher);
	}
	if (err == 0) {
		err = object_open_page(n->obj->keys, &s, 0, index, cipher, plain);
		secret_wipe(plain, WARD_PAGE);
	}
	return err ? err : object_write_raw(fs, n, tree_position(index), cipher, 1);
}

int object_rewrite(struct fs *fs, struct node *n)
{
	struct object *o = n->obj;
	uint8_t *buf = malloc(2 * WARD_PAGE);
	uint64_t at = 0, end = o->placed_end > o->guard ? o->placed_end : o->guard;
	int err = buf ? 0 : WERR_NOMEM;

	while (err == 0 && o->layout == LAYOUT_TREE && at < end) {
		err = tree_seek(o->tree, at, end, 0, &at);
		if (err == 0 && at < end) {
			err = rewrite_page(fs, n, at, buf, buf + WARD_PAGE);
			at++;
		}
	}
	free(buf);
	if (err == WERR_NOMEM) {
		return err; // the next checkpoint tries again
	}
	if (err) {
		fs_set_read_only(fs, "the host lost what was written to it", err);
		return err;
	}
	o->flush_failed = 0;
	return 0;
}
