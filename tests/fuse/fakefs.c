// SPDX-License-Identifier: Apache-2.0
#include "tests/fuse/fakefs.h"

#include <linux/falloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "crypto/object_header.h"
#include "crypto/xattr_codec.h"
#include "fusefs/handover.h"

#define NODES 512
#define NAMES 2048
#define PARKED 256

struct fake_node {
	bool used;
	struct fs_stat st;
	uint64_t lookups;
	uint8_t *data;
	char *target;
	uint8_t *xattrs;
	size_t xattrs_len;
};

struct fake_name {
	uint64_t parent; // 0: free
	uint64_t ino;
	char name[FS_NAME_MAX + 1];
};

struct fs {
	pthread_mutex_t lock; // guards all
	pthread_cond_t changed;
	struct fake_node nodes[NODES]; // by number
	struct fake_name names[NAMES]; // cookie = index + 3
	int64_t clock;
	bool shut[GATE_COUNT];
	unsigned waiting[GATE_COUNT];
	bool hold;
	unsigned parked;
	struct {
		fs_done done;
		void *arg;
	} fsyncs[PARKED];
	unsigned kills;
};

static struct ward_time tick(struct fs *fs)
{
	return (struct ward_time){.s = ++fs->clock};
}

struct fs *fakefs_new(void)
{
	struct fs *fs = calloc(1, sizeof(*fs));

	if (fs == NULL)
		abort();
	pthread_mutex_init(&fs->lock, NULL);
	pthread_cond_init(&fs->changed, NULL);
	struct fake_node *root = &fs->nodes[FS_ROOT];
	root->used = true;
	root->st.ino = FS_ROOT;
	root->st.type = OBJECT_DIR;
	root->st.attr.mode = 0755;
	root->st.attr.nlink = 2;
	return fs;
}

static void wipe_node(struct fake_node *n)
{
	free(n->data);
	free(n->target);
	free(n->xattrs);
	memset(n, 0, sizeof(*n));
}

void fakefs_free(struct fs *fs)
{
	for (unsigned i = 0; i < NODES; i++)
		wipe_node(&fs->nodes[i]);
	pthread_mutex_destroy(&fs->lock);
	pthread_cond_destroy(&fs->changed);
	free(fs);
}

// The lock is held. Lets others in while it waits.
static void gate(struct fs *fs, enum fake_gate g)
{
	fs->waiting[g]++;
	pthread_cond_broadcast(&fs->changed);
	while (fs->shut[g])
		pthread_cond_wait(&fs->changed, &fs->lock);
	fs->waiting[g]--;
}

void fakefs_shut(struct fs *fs, enum fake_gate g)
{
	pthread_mutex_lock(&fs->lock);
	fs->shut[g] = true;
	pthread_mutex_unlock(&fs->lock);
}

void fakefs_open_gate(struct fs *fs, enum fake_gate g)
{
	pthread_mutex_lock(&fs->lock);
	fs->shut[g] = false;
	pthread_cond_broadcast(&fs->changed);
	pthread_mutex_unlock(&fs->lock);
}

void fakefs_await(struct fs *fs, enum fake_gate g, unsigned n)
{
	pthread_mutex_lock(&fs->lock);
	while (fs->waiting[g] < n)
		pthread_cond_wait(&fs->changed, &fs->lock);
	pthread_mutex_unlock(&fs->lock);
}

void fakefs_hold_fsync(struct fs *fs)
{
	pthread_mutex_lock(&fs->lock);
	fs->hold = true;
	pthread_mutex_unlock(&fs->lock);
}

unsigned fakefs_release_fsync(struct fs *fs, int err)
{
	pthread_mutex_lock(&fs->lock);
	fs->hold = false;
	unsigned n = fs->parked;
	fs->parked = 0;
	pthread_mutex_unlock(&fs->lock);
	for (unsigned i = 0; i < n; i++)
		fs->fsyncs[i].done(fs->fsyncs[i].arg, err);
	return n;
}

void fakefs_await_fsync(struct fs *fs, unsigned n)
{
	pthread_mutex_lock(&fs->lock);
	while (fs->parked < n)
		pthread_cond_wait(&fs->changed, &fs->lock);
	pthread_mutex_unlock(&fs->lock);
}

uint64_t fakefs_lookups(struct fs *fs)
{
	uint64_t sum = 0;

	pthread_mutex_lock(&fs->lock);
	for (unsigned i = 0; i < NODES; i++)
		sum += fs->nodes[i].lookups;
	pthread_mutex_unlock(&fs->lock);
	return sum;
}

unsigned fakefs_kills(struct fs *fs)
{
	pthread_mutex_lock(&fs->lock);
	unsigned n = fs->kills;
	pthread_mutex_unlock(&fs->lock);
	return n;
}

static struct fake_node *node_of(struct fs *fs, uint64_t ino)
{
	return ino < NODES && fs->nodes[ino].used ? &fs->nodes[ino] : NULL;
}

static struct fake_name *find(struct fs *fs, uint64_t parent, const char *name)
{
	for (unsigned i = 0; i < NAMES; i++)
		if (fs->names[i].parent == parent && strcmp(fs->names[i].name, name) == 0)
			return &fs->names[i];
	return NULL;
}

static bool is_empty(struct fs *fs, uint64_t ino)
{
	for (unsigned i = 0; i < NAMES; i++)
		if (fs->names[i].parent == ino)
			return false;
	return true;
}

static int check_dir(struct fs *fs, uint64_t ino)
{
	struct fake_node *n = node_of(fs, ino);

	if (n == NULL)
		return WERR_STALE;
	return n->st.type == OBJECT_DIR ? 0 : WERR_NOTDIR;
}

static int add_name(struct fs *fs, uint64_t parent, const char *name, uint64_t ino)
{
	for (unsigned i = 0; i < NAMES; i++) {
		struct fake_name *e = &fs->names[i];

		if (e->parent != 0)
			continue;
		e->parent = parent;
		e->ino = ino;
		memcpy(e->name, name, strlen(name) + 1);
		return 0;
	}
	return WERR_NOSPACE;
}

// A node without names and look-ups goes.
static void settle(struct fs *fs, uint64_t ino)
{
	struct fake_node *n = node_of(fs, ino);

	if (n != NULL && ino != FS_ROOT && n->st.attr.nlink == 0 && n->lookups == 0)
		wipe_node(n);
}

static void drop_name(struct fs *fs, struct fake_name *e)
{
	struct fake_node *n = node_of(fs, e->ino);
	uint64_t ino = e->ino;

	e->parent = 0;
	n->st.attr.nlink -= n->st.type == OBJECT_DIR ? 2 : 1;
	settle(fs, ino);
}

#define LOCKED(fs, expr)                           \
	do {                                       \
		pthread_mutex_lock(&(fs)->lock);   \
		int locked_err = (expr);           \
		pthread_mutex_unlock(&(fs)->lock); \
		return locked_err;                 \
	} while (0)

static int do_lookup(struct fs *fs, uint64_t parent, const char *name, struct fs_stat *ret)
{
	gate(fs, GATE_LOOKUP);
	int err = check_dir(fs, parent);
	if (err != 0)
		return err;
	struct fake_name *e = find(fs, parent, name);
	if (e == NULL)
		return WERR_NOTFOUND;
	fs->nodes[e->ino].lookups++;
	*ret = fs->nodes[e->ino].st;
	return 0;
}

int fs_lookup(struct fs *fs, uint64_t parent, const char *name, struct fs_stat *ret)
{
	LOCKED(fs, do_lookup(fs, parent, name, ret));
}

void fs_forget(struct fs *fs, uint64_t ino, uint64_t count)
{
	pthread_mutex_lock(&fs->lock);
	struct fake_node *n = node_of(fs, ino);
	if (n != NULL) {
		n->lookups -= count < n->lookups ? count : n->lookups;
		settle(fs, ino);
	}
	pthread_mutex_unlock(&fs->lock);
}

static int do_getattr(struct fs *fs, uint64_t ino, struct fs_stat *ret)
{
	struct fake_node *n = node_of(fs, ino);

	if (n == NULL)
		return WERR_STALE;
	*ret = n->st;
	return 0;
}

int fs_getattr(struct fs *fs, uint64_t ino, struct fs_stat *ret)
{
	LOCKED(fs, do_getattr(fs, ino, ret));
}

static int resize(struct fake_node *n, uint64_t size)
{
	uint64_t old = n->st.attr.size;

	if (size > (8u << 20))
		return WERR_NOSPACE;
	uint8_t *data = realloc(n->data, size + 1);
	if (data == NULL)
		return WERR_NOMEM;
	if (size > old)
		memset(data + old, 0, size - old);
	n->data = data;
	n->st.attr.size = size;
	n->st.attr.pages = (size + 4095) / 4096;
	return 0;
}

static int do_setattr(struct fs *fs, uint64_t ino, const struct fs_setattr *set,
		      struct fs_stat *ret)
{
	struct fake_node *n = node_of(fs, ino);

	if (n == NULL)
		return WERR_STALE;
	struct ward_attr *a = &n->st.attr;
	if (set->valid & FS_SET_SIZE) {
		int err = n->st.type == OBJECT_FILE ? resize(n, set->size) : WERR_INVALID;

		if (err != 0)
			return err;
	}
	if (set->valid & FS_SET_MODE)
		a->mode = set->mode;
	if (set->valid & FS_SET_UID)
		a->uid = set->uid;
	if (set->valid & FS_SET_GID)
		a->gid = set->gid;
	if (set->valid & FS_SET_ATIME)
		a->atime = set->atime;
	if (set->valid & FS_SET_MTIME)
		a->mtime = set->mtime;
	if (set->valid & FS_SET_ATIME_NOW)
		a->atime = tick(fs);
	if (set->valid & FS_SET_MTIME_NOW)
		a->mtime = tick(fs);
	a->ctime = set->valid & FS_SET_CTIME ? set->ctime : tick(fs);
	if (set->valid & FS_SET_KILL) {
		fs->kills++;
		a->mode &= ~(uint32_t)S_ISUID;
	}
	*ret = n->st;
	return 0;
}

int fs_setattr(struct fs *fs, uint64_t ino, const struct fs_setattr *set, struct fs_stat *ret)
{
	LOCKED(fs, do_setattr(fs, ino, set, ret));
}

static int do_readlink(struct fs *fs, uint64_t ino, char *buf)
{
	struct fake_node *n = node_of(fs, ino);

	if (n == NULL || n->target == NULL)
		return n == NULL ? WERR_STALE : WERR_INVALID;
	memcpy(buf, n->target, strlen(n->target) + 1);
	return 0;
}

int fs_readlink(struct fs *fs, uint64_t ino, char *buf)
{
	LOCKED(fs, do_readlink(fs, ino, buf));
}

static int do_make(struct fs *fs, uint64_t parent, const char *name, const struct fs_make *make,
		   struct fs_stat *ret)
{
	int err = check_dir(fs, parent);
	uint64_t ino = FS_ROOT + 2;

	if (err != 0)
		return err;
	if (find(fs, parent, name) != NULL)
		return WERR_EXISTS;
	while (ino < NODES && fs->nodes[ino].used)
		ino++;
	if (ino == NODES)
		return WERR_NOSPACE;
	err = add_name(fs, parent, name, ino);
	if (err != 0)
		return err;
	struct fake_node *n = &fs->nodes[ino];
	n->used = true;
	n->lookups = 1;
	n->st.ino = ino;
	n->st.type = make->type;
	n->st.attr = (struct ward_attr){.mode = make->mode,
					.uid = make->uid,
					.gid = make->gid,
					.rdev = make->rdev,
					.nlink = make->type == OBJECT_DIR ? 2 : 1};
	n->st.attr.mtime = n->st.attr.ctime = n->st.attr.atime = tick(fs);
	if (make->target != NULL) {
		n->target = strdup(make->target);
		n->st.attr.size = strlen(make->target);
	}
	if (make->xattrs_len > 0) {
		n->xattrs = malloc(make->xattrs_len);
		memcpy(n->xattrs, make->xattrs, make->xattrs_len);
		n->xattrs_len = make->xattrs_len;
		n->st.attr.flags |= ATTR_HAS_XATTRS;
	}
	*ret = n->st;
	return 0;
}

int fs_make(struct fs *fs, uint64_t parent, const char *name, const struct fs_make *make,
	    struct fs_stat *ret)
{
	LOCKED(fs, do_make(fs, parent, name, make, ret));
}

static int do_remove(struct fs *fs, uint64_t parent, const char *name, bool dir)
{
	int err = check_dir(fs, parent);

	if (err != 0)
		return err;
	struct fake_name *e = find(fs, parent, name);
	if (e == NULL)
		return WERR_NOTFOUND;
	bool is_dir = fs->nodes[e->ino].st.type == OBJECT_DIR;
	if (is_dir != dir)
		return is_dir ? WERR_ISDIR : WERR_NOTDIR;
	if (is_dir && !is_empty(fs, e->ino))
		return WERR_NOTEMPTY;
	drop_name(fs, e);
	return 0;
}

int fs_unlink(struct fs *fs, uint64_t parent, const char *name)
{
	LOCKED(fs, do_remove(fs, parent, name, false));
}

int fs_rmdir(struct fs *fs, uint64_t parent, const char *name)
{
	LOCKED(fs, do_remove(fs, parent, name, true));
}

static int do_rename(struct fs *fs, uint64_t parent, const char *name, uint64_t new_parent,
		     const char *new_name, unsigned flags)
{
	int err = check_dir(fs, parent);

	if (err == 0)
		err = check_dir(fs, new_parent);
	if (err != 0)
		return err;
	struct fake_name *from = find(fs, parent, name);
	struct fake_name *to = find(fs, new_parent, new_name);
	if (from == NULL || (to == NULL && (flags & FS_RENAME_EXCHANGE)))
		return WERR_NOTFOUND;
	if (to != NULL && (flags & FS_RENAME_NOREPLACE))
		return WERR_EXISTS;
	if (flags & FS_RENAME_EXCHANGE) {
		uint64_t ino = from->ino;

		from->ino = to->ino;
		to->ino = ino;
		return 0;
	}
	if (to == from)
		return 0;
	if (to != NULL) {
		if (!is_empty(fs, to->ino))
			return WERR_NOTEMPTY;
		drop_name(fs, to);
	}
	from->parent = new_parent;
	memmove(from->name, new_name, strlen(new_name) + 1);
	return 0;
}

int fs_rename(struct fs *fs, uint64_t parent, const char *name, uint64_t new_parent,
	      const char *new_name, unsigned flags)
{
	LOCKED(fs, do_rename(fs, parent, name, new_parent, new_name, flags));
}

static int do_link(struct fs *fs, uint64_t ino, uint64_t parent, const char *name,
		   struct fs_stat *ret)
{
	struct fake_node *n = node_of(fs, ino);
	int err = n == NULL ? WERR_STALE : check_dir(fs, parent);

	if (err != 0)
		return err;
	if (n->st.type == OBJECT_DIR)
		return WERR_NOTPERMITTED;
	if (find(fs, parent, name) != NULL)
		return WERR_EXISTS;
	err = add_name(fs, parent, name, ino);
	if (err != 0)
		return err;
	n->st.attr.nlink++;
	n->lookups++;
	*ret = n->st;
	return 0;
}

int fs_link(struct fs *fs, uint64_t ino, uint64_t new_parent, const char *new_name,
	    struct fs_stat *ret)
{
	LOCKED(fs, do_link(fs, ino, new_parent, new_name, ret));
}

static int file_of(struct fs *fs, uint64_t ino, struct fake_node **ret)
{
	*ret = node_of(fs, ino);
	if (*ret == NULL)
		return WERR_STALE;
	if ((*ret)->st.type != OBJECT_FILE)
		return (*ret)->st.type == OBJECT_DIR ? WERR_ISDIR : WERR_INVALID;
	return 0;
}

static int do_read(struct fs *fs, uint64_t ino, uint64_t off, size_t len, void *buf,
		   size_t *ret_len)
{
	struct fake_node *n;

	gate(fs, GATE_READ);
	int err = file_of(fs, ino, &n);
	if (err != 0)
		return err;
	uint64_t size = n->st.attr.size;
	uint64_t left = off < size ? size - off : 0;
	*ret_len = len < left ? len : left;
	if (*ret_len > 0)
		memcpy(buf, n->data + off, *ret_len);
	return 0;
}

void fs_read_ahead(struct fs *fs)
{
	(void)fs;
}

int fs_read(struct fs *fs, uint64_t ino, uint64_t off, size_t len, void *buf, size_t *ret_len)
{
	LOCKED(fs, do_read(fs, ino, off, len, buf, ret_len));
}

static int do_write(struct fs *fs, uint64_t ino, uint64_t off, const void *buf, size_t len,
		    int kill)
{
	struct fake_node *n;
	int err = file_of(fs, ino, &n);

	if (err == 0 && off + len > n->st.attr.size)
		err = resize(n, off + len);
	if (err != 0)
		return err;
	if (kill) {
		fs->kills++;
		n->st.attr.mode &= ~(uint32_t)S_ISUID;
	}
	if (len > 0)
		memcpy(n->data + off, buf, len);
	n->st.attr.mtime = n->st.attr.ctime = tick(fs);
	return 0;
}

int fs_write(struct fs *fs, uint64_t ino, uint64_t off, const void *buf, size_t len, int flags)
{
	LOCKED(fs, do_write(fs, ino, off, buf, len, flags & FS_WRITE_KILL));
}

void fs_fsync(struct fs *fs, uint64_t ino, int datasync, fs_done done, void *arg)
{
	(void)datasync;
	pthread_mutex_lock(&fs->lock);
	int err = node_of(fs, ino) == NULL ? WERR_STALE : 0;
	bool park = err == 0 && fs->hold && fs->parked < PARKED;
	if (park) {
		fs->fsyncs[fs->parked].done = done;
		fs->fsyncs[fs->parked].arg = arg;
		fs->parked++;
		pthread_cond_broadcast(&fs->changed);
	}
	pthread_mutex_unlock(&fs->lock);
	if (!park)
		done(arg, err);
}

int fs_thaw(struct fs *fs)
{
	(void)fs;
	return WERR_NOTFOUND;
}

int fs_checkpoint(struct fs *fs)
{
	(void)fs;
	return 0;
}

static int deliver(uint64_t cookie, const char *name, struct fake_node *n, fs_dirent_fn fn,
		   void *arg)
{
	const struct fs_dirent d = {.name = name, .cookie = cookie, .stat = n->st};

	return fn(arg, &d);
}

static int do_readdir(struct fs *fs, uint64_t ino, uint64_t cookie, int plus, fs_dirent_fn fn,
		      void *arg)
{
	gate(fs, GATE_READDIR);
	int err = check_dir(fs, ino);
	if (err != 0)
		return err;
	for (uint64_t c = cookie; c < 2; c++)
		if (deliver(c + 1, c == 0 ? "." : "..", node_of(fs, ino), fn, arg) != 0)
			return 0;
	for (uint64_t i = cookie < 3 ? 0 : cookie - 2; i < NAMES; i++) {
		struct fake_name *e = &fs->names[i];

		if (e->parent != ino)
			continue;
		if (deliver(i + 3, e->name, node_of(fs, e->ino), fn, arg) != 0)
			return 0;
		if (plus)
			fs->nodes[e->ino].lookups++;
	}
	return 0;
}

int fs_readdir(struct fs *fs, uint64_t ino, uint64_t cookie, int plus, fs_dirent_fn fn, void *arg)
{
	LOCKED(fs, do_readdir(fs, ino, cookie, plus, fn, arg));
}

int fs_statfs(struct fs *fs, struct host_space *ret)
{
	(void)fs;
	*ret = (struct host_space){.block_bytes = 1024,
				   .blocks = 4000,
				   .blocks_free = 2000,
				   .blocks_avail = 1000,
				   .files = 100,
				   .files_free = 50};
	return 0;
}

static int do_getxattr(struct fs *fs, uint64_t ino, const char *name, void *buf, size_t cap,
		       size_t *ret_len)
{
	struct fake_node *n = node_of(fs, ino);
	const uint8_t *value;

	if (n == NULL)
		return WERR_STALE;
	int err = xattr_codec_get(n->xattrs, n->xattrs_len, name, &value, ret_len);
	if (err != 0 || cap == 0)
		return err;
	if (*ret_len > cap)
		return WERR_RANGE;
	memcpy(buf, value, *ret_len);
	return 0;
}

int fs_getxattr(struct fs *fs, uint64_t ino, const char *name, void *buf, size_t cap,
		size_t *ret_len)
{
	LOCKED(fs, do_getxattr(fs, ino, name, buf, cap, ret_len));
}

// value NULL: remove.
static int change_xattr(struct fs *fs, uint64_t ino, const char *name, const void *value,
			size_t len, int flags, const uint32_t *mode)
{
	struct fake_node *n = node_of(fs, ino);
	const uint8_t *old;
	size_t old_len, set_len;

	if (n == NULL)
		return WERR_STALE;
	int err = xattr_codec_get(n->xattrs, n->xattrs_len, name, &old, &old_len);
	if (err == 0 && (flags & XATTR_CREATE))
		return WERR_EXISTS;
	if (err != 0 && (value == NULL || (flags & XATTR_REPLACE)))
		return err;
	uint8_t *set = malloc(XATTR_SET_MAX);
	err = value == NULL ? xattr_codec_remove(n->xattrs, n->xattrs_len, name, set, XATTR_SET_MAX,
						 &set_len)
			    : xattr_codec_set(n->xattrs, n->xattrs_len, name, value, len, set,
					      XATTR_SET_MAX, &set_len);
	if (err != 0) {
		free(set);
		return err;
	}
	free(n->xattrs);
	n->xattrs = set;
	n->xattrs_len = set_len;
	n->st.attr.flags = set_len > 0 ? ATTR_HAS_XATTRS : 0;
	if (mode != NULL)
		n->st.attr.mode = *mode;
	return 0;
}

int fs_setxattr(struct fs *fs, uint64_t ino, const char *name, const void *value, size_t len,
		int flags, const uint32_t *mode)
{
	LOCKED(fs, change_xattr(fs, ino, name, value, len, flags, mode));
}

static int do_listxattr(struct fs *fs, uint64_t ino, char *buf, size_t cap, size_t *ret_len)
{
	struct fake_node *n = node_of(fs, ino);

	if (n == NULL)
		return WERR_STALE;
	return xattr_codec_list(n->xattrs, n->xattrs_len, buf, cap, ret_len);
}

int fs_listxattr(struct fs *fs, uint64_t ino, char *buf, size_t cap, size_t *ret_len)
{
	LOCKED(fs, do_listxattr(fs, ino, buf, cap, ret_len));
}

int fs_removexattr(struct fs *fs, uint64_t ino, const char *name)
{
	LOCKED(fs, change_xattr(fs, ino, name, NULL, 0, 0, NULL));
}

static int do_fallocate(struct fs *fs, uint64_t ino, int mode, uint64_t off, uint64_t len)
{
	struct fake_node *n;
	int err = file_of(fs, ino, &n);

	if (err != 0 || (mode != 0 && mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)))
		return err != 0 ? err : WERR_NOTSUP;
	uint64_t size = n->st.attr.size;
	if (mode == 0)
		return off + len > size ? resize(n, off + len) : 0;
	if (off < size)
		memset(n->data + off, 0, len < size - off ? len : size - off);
	return 0;
}

int fs_fallocate(struct fs *fs, uint64_t ino, int mode, uint64_t off, uint64_t len)
{
	LOCKED(fs, do_fallocate(fs, ino, mode, off, len));
}

static int do_lseek(struct fs *fs, uint64_t ino, uint64_t off, int whence, uint64_t *ret)
{
	struct fake_node *n;
	int err = file_of(fs, ino, &n);

	if (err != 0)
		return err;
	if (off >= n->st.attr.size)
		return WERR_NXIO;
	*ret = whence == SEEK_DATA ? off : n->st.attr.size;
	return 0;
}

int fs_lseek(struct fs *fs, uint64_t ino, uint64_t off, int whence, uint64_t *ret)
{
	LOCKED(fs, do_lseek(fs, ino, off, whence, ret));
}

static int do_copy(struct fs *fs, uint64_t in, uint64_t in_off, uint64_t out, uint64_t out_off,
		   uint64_t len, uint64_t *ret_len)
{
	struct fake_node *a, *b;
	int err = file_of(fs, in, &a);

	if (err == 0)
		err = file_of(fs, out, &b);
	if (err != 0)
		return err;
	uint64_t left = in_off < a->st.attr.size ? a->st.attr.size - in_off : 0;
	*ret_len = len < left ? len : left;
	if (*ret_len > 0 && out_off + *ret_len > b->st.attr.size)
		err = resize(b, out_off + *ret_len);
	if (err == 0 && *ret_len > 0)
		memmove(b->data + out_off, a->data + in_off, *ret_len);
	return err;
}

int fs_copy_range(struct fs *fs, uint64_t in, uint64_t in_off, uint64_t out, uint64_t out_off,
		  uint64_t len, uint64_t *ret_len)
{
	LOCKED(fs, do_copy(fs, in, in_off, out, out_off, len, ret_len));
}

int fs_known_names(struct fs *fs, uint64_t dir, void (*fn)(void *arg, const char *name), void *arg)
{
	(void)fs;
	(void)dir;
	(void)fn;
	(void)arg;
	return 0;
}
