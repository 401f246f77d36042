// SPDX-License-Identifier: Apache-2.0
// Extended attributes: the whole encoded set is kept with the object.
#include "fusefs/engine.h"

#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "crypto/secret.h"
#include "crypto/xattr_codec.h"

// Takes over set (heap). node->lock exclusive, cut shared.
void xattr_replace(struct fs *fs, struct node *n, uint8_t *set, size_t len)
{
	struct object *o = n->obj;

	if (o->xattrs) {
		secret_wipe(o->xattrs, o->xattrs_len);
		free(o->xattrs);
	}
	o->xattrs = set;
	o->xattrs_len = len;
	o->unlogged_xattr = true;
	if (len) {
		n->attr.flags |= ATTR_HAS_XATTRS;
	} else {
		n->attr.flags &= ~(uint64_t)ATTR_HAS_XATTRS;
	}
	attr_touch(fs, n, false);
	node_dirty(fs, n, DIRTY_CONTENT | DIRTY_ATTR);
}

// A set that grows takes room from inline content.
static int make_room(struct fs *fs, struct node *n, size_t len)
{
	struct object *o = n->obj;
	size_t held = len > OBJECT_XATTR_INLINE_MAX ? OBJECT_XATTR_INLINE_MAX : len;

	if (o->layout == LAYOUT_INLINE && n->attr.size > OBJECT_INLINE_AREA - held) {
		return object_make_tree(fs, n);
	}
	return 0;
}

static int set_locked(struct fs *fs, struct node *n, const char *name, const void *value,
		      size_t len, int flags, const uint32_t *mode)
{
	struct object *o = n->obj;
	const uint8_t *old;
	size_t old_len, set_len;
	int err = xattr_codec_get(o->xattrs, o->xattrs_len, name, &old, &old_len);

	if (err && err != WERR_NODATA) {
		return err;
	}
	if (flags & XATTR_CREATE && err == 0) {
		return WERR_EXISTS;
	}
	if (flags & XATTR_REPLACE && err) {
		return WERR_NODATA;
	}
	uint8_t *set = malloc(OBJECT_XATTR_MAX);
	if (!set) {
		return WERR_NOMEM;
	}
	err = xattr_codec_set(o->xattrs, o->xattrs_len, name, value, len, set, OBJECT_XATTR_MAX,
			      &set_len);
	if (err == 0) {
		err = make_room(fs, n, set_len);
	}
	if (err) {
		secret_wipe(set, OBJECT_XATTR_MAX);
		free(set);
		return err;
	}
	if (mode) {
		n->attr.mode = *mode & 07777;
	}
	xattr_replace(fs, n, set, set_len);
	return 0;
}

static int remove_locked(struct fs *fs, struct node *n, const char *name)
{
	struct object *o = n->obj;
	size_t set_len;
	uint8_t *set = malloc(OBJECT_XATTR_MAX);

	if (!set) {
		return WERR_NOMEM;
	}
	int err =
		xattr_codec_remove(o->xattrs, o->xattrs_len, name, set, OBJECT_XATTR_MAX, &set_len);
	if (err) {
		secret_wipe(set, OBJECT_XATTR_MAX);
		free(set);
		return err;
	}
	xattr_replace(fs, n, set, set_len);
	return 0;
}

int fs_setxattr(struct fs *fs, uint64_t ino, const char *name, const void *value, size_t len,
		int flags, const uint32_t *mode)
{
	struct node *n = node_find(fs, ino);

	if (!n) {
		return WERR_STALE;
	}
	int err = strlen(name) > 255 ? WERR_RANGE
		  : len > UINT16_MAX ? WERR_TOOBIG
				     : fs_admit(fs, len);
	if (err == 0) {
		pthread_rwlock_rdlock(&fs->cut);
		err = node_lock_write(fs, n);
		if (err == 0) {
			err = set_locked(fs, n, name, value, len, flags, mode);
			object_account(fs, n->obj);
			node_unlock(n);
		}
		pthread_rwlock_unlock(&fs->cut);
	}
	node_put(fs, n);
	return err;
}

int fs_removexattr(struct fs *fs, uint64_t ino, const char *name)
{
	struct node *n = node_find(fs, ino);

	if (!n) {
		return WERR_STALE;
	}
	int err = fs_admit(fs, 0);
	if (err == 0) {
		pthread_rwlock_rdlock(&fs->cut);
		err = node_lock_write(fs, n);
		if (err == 0) {
			err = remove_locked(fs, n, name);
			node_unlock(n);
		}
		pthread_rwlock_unlock(&fs->cut);
	}
	node_put(fs, n);
	return err;
}

// Locks for reading; *ret_none: the entry says that there are no attributes, nothing was locked or
// loaded.
static int lock_for_xattrs(struct fs *fs, struct node *n, bool *ret_none)
{
	bool exclusive;

	pthread_rwlock_rdlock(&n->lock);
	*ret_none = !(n->attr.flags & ATTR_HAS_XATTRS);
	pthread_rwlock_unlock(&n->lock);
	return *ret_none ? 0 : node_lock_read(fs, n, &exclusive);
}

int fs_getxattr(struct fs *fs, uint64_t ino, const char *name, void *buf, size_t cap,
		size_t *ret_len)
{
	struct node *n = node_find(fs, ino);
	bool none;

	if (!n) {
		return WERR_STALE;
	}
	int err = lock_for_xattrs(fs, n, &none);
	if (err == 0 && none) {
		err = WERR_NODATA;
	} else if (err == 0) {
		const uint8_t *value;

		err = xattr_codec_get(n->obj->xattrs, n->obj->xattrs_len, name, &value, ret_len);
		if (err == 0 && cap) {
			if (*ret_len > cap) {
				err = WERR_RANGE;
			} else {
				memcpy(buf, value, *ret_len);
			}
		}
		node_unlock(n);
	}
	node_put(fs, n);
	return err;
}

int fs_listxattr(struct fs *fs, uint64_t ino, char *buf, size_t cap, size_t *ret_len)
{
	struct node *n = node_find(fs, ino);
	bool none;

	if (!n) {
		return WERR_STALE;
	}
	int err = lock_for_xattrs(fs, n, &none);
	if (err == 0 && none) {
		*ret_len = 0;
	} else if (err == 0) {
		err = xattr_codec_list(n->obj->xattrs, n->obj->xattrs_len, buf, cap, ret_len);
		node_unlock(n);
	}
	node_put(fs, n);
	return err;
}
