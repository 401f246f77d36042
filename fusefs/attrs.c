// SPDX-License-Identifier: Apache-2.0
// Attributes: stat, setattr, the set-id bits.
#include "fusefs/engine.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "crypto/secret.h"
#include "crypto/xattr_codec.h"

void fs_now(struct fs *fs, struct ward_time *ret)
{
	if (fs->params.now) {
		fs->params.now(fs->params.now_arg, ret);
		return;
	}
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	*ret = (struct ward_time){ts.tv_sec, (uint32_t)ts.tv_nsec};
}

void attr_touch(struct fs *fs, struct node *n, bool mtime)
{
	fs_now(fs, &n->attr.ctime);
	if (mtime) {
		n->attr.mtime = n->attr.ctime;
	}
	n->unlogged_attr = true;
	node_dirty(fs, n, DIRTY_ATTR);
}

void fs_fill_stat(const struct node *n, struct fs_stat *ret)
{
	ret->ino = n->number;
	ret->type = n->type;
	ret->attr = n->attr;
}

int attr_kill(struct fs *fs, struct node *n)
{
	struct object *o = n->obj;
	uint32_t mode = n->attr.mode & ~(uint32_t)S_ISUID;

	if (mode & S_IXGRP) {
		mode &= ~(uint32_t)S_ISGID;
	}
	n->attr.mode = mode;
	if (!(n->attr.flags & ATTR_HAS_XATTRS) || !o) {
		return 0;
	}
	uint8_t *set = malloc(OBJECT_XATTR_MAX);
	size_t len;
	if (!set) {
		return WERR_NOMEM;
	}
	int err = xattr_codec_remove(o->xattrs, o->xattrs_len, "security.capability", set,
				     OBJECT_XATTR_MAX, &len);
	if (err == 0) {
		xattr_replace(fs, n, set, len);
		return 0;
	}
	secret_wipe(set, OBJECT_XATTR_MAX);
	free(set);
	return err == WERR_NODATA ? 0 : err;
}

int fs_getattr(struct fs *fs, uint64_t ino, struct fs_stat *ret)
{
	struct node *n = node_find(fs, ino);

	if (!n) {
		return WERR_STALE;
	}
	pthread_rwlock_rdlock(&n->lock);
	fs_fill_stat(n, ret);
	pthread_rwlock_unlock(&n->lock);
	node_put(fs, n);
	return 0;
}

static int set_locked(struct fs *fs, struct node *n, const struct fs_setattr *set)
{
	struct ward_attr *a = &n->attr;
	int err = 0;

	if (set->valid & FS_SET_SIZE) {
		if (set->size != a->size) {
			err = data_truncate(fs, n, set->size);
		}
		attr_touch(fs, n, true); // O_TRUNC of an empty file counts, too
		data_changed(fs, n);
	}
	if (err) {
		return err;
	}
	if (set->valid & FS_SET_MODE) {
		a->mode = set->mode & 07777;
	}
	if (set->valid & FS_SET_UID) {
		a->uid = set->uid;
	}
	if (set->valid & FS_SET_GID) {
		a->gid = set->gid;
	}
	if (set->valid & FS_SET_KILL) {
		err = attr_kill(fs, n);
	}
	attr_touch(fs, n, false);
	if (set->valid & FS_SET_ATIME_NOW) {
		a->atime = a->ctime;
	} else if (set->valid & FS_SET_ATIME) {
		a->atime = set->atime;
	}
	if (set->valid & FS_SET_MTIME_NOW) {
		a->mtime = a->ctime;
	} else if (set->valid & FS_SET_MTIME) {
		a->mtime = set->mtime;
	}
	if (set->valid & FS_SET_CTIME) {
		a->ctime = set->ctime;
	}
	return err;
}

int fs_setattr(struct fs *fs, uint64_t ino, const struct fs_setattr *set, struct fs_stat *ret)
{
	struct node *n = node_find(fs, ino);
	int err = 0;

	if (!n) {
		return WERR_STALE;
	}
	if (set->valid & FS_SET_SIZE && n->type != OBJECT_FILE) {
		err = n->type == OBJECT_DIR ? WERR_ISDIR : WERR_INVALID;
	}
	if (set->atime.ns > 999999999 || set->mtime.ns > 999999999 || set->ctime.ns > 999999999) {
		err = WERR_INVALID;
	}
	if (err == 0) {
		err = fs_admit(fs, 0);
	}
	if (err == 0) {
		pthread_rwlock_rdlock(&fs->cut);
		if (set->valid & (FS_SET_SIZE | FS_SET_KILL)) {
			err = node_lock_write(fs, n);
		} else {
			pthread_rwlock_wrlock(&n->lock);
		}
		if (err == 0) {
			err = set_locked(fs, n, set);
			fs_fill_stat(n, ret);
			node_unlock(n);
		}
		pthread_rwlock_unlock(&fs->cut);
	}
	node_put(fs, n);
	return err;
}
