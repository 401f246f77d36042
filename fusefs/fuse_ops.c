// SPDX-License-Identifier: Apache-2.0
// Look-ups, attributes, extended attributes, and the table of operations.
#include "fusefs/fuse_private.h"

#include <errno.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

#include "crypto/object_header.h"
#include "crypto/xattr_codec.h"
#include "fusefs/acl.h"
#include "fusefs/planted.h"

#define BLOCK_BYTES 4096
#define BLOCK_SECTORS 8

static const mode_t type_modes[] = {
	[OBJECT_FILE] = S_IFREG,  [OBJECT_DIR] = S_IFDIR,     [OBJECT_SYMLINK] = S_IFLNK,
	[OBJECT_FIFO] = S_IFIFO,  [OBJECT_SOCKET] = S_IFSOCK, [OBJECT_CHAR] = S_IFCHR,
	[OBJECT_BLOCK] = S_IFBLK,
};

static struct timespec to_timespec(struct ward_time t)
{
	return (struct timespec){.tv_sec = t.s, .tv_nsec = t.ns};
}

void fuse_convert_stat(const struct fs_stat *in, struct stat *ret)
{
	const struct ward_attr *a = &in->attr;

	memset(ret, 0, sizeof(*ret));
	ret->st_ino = in->ino;
	if (in->type < sizeof(type_modes) / sizeof(type_modes[0]))
		ret->st_mode = type_modes[in->type] | a->mode;
	ret->st_nlink = a->nlink;
	ret->st_uid = a->uid;
	ret->st_gid = a->gid;
	ret->st_rdev = a->rdev;
	ret->st_size = (off_t)a->size;
	ret->st_blksize = BLOCK_BYTES;
	ret->st_blocks = (blkcnt_t)(a->pages * BLOCK_SECTORS);
	// Content inside the header: programs take "no blocks" for "all zeros".
	if (in->type == OBJECT_FILE && a->pages == 0 && a->size > 0 &&
	    a->size <= OBJECT_INLINE_AREA)
		ret->st_blocks = BLOCK_SECTORS;
	ret->st_atim = to_timespec(a->atime);
	ret->st_mtim = to_timespec(a->mtime);
	ret->st_ctim = to_timespec(a->ctime);
}

void fuse_convert_entry(const struct fs_stat *in, struct fuse_entry_param *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->ino = in->ino;
	ret->attr_timeout = FUSE_TIMEOUT_S;
	ret->entry_timeout = FUSE_TIMEOUT_S;
	fuse_convert_stat(in, &ret->attr);
}

void fuse_fail(fuse_req_t req, int err)
{
	int e = werr_errno(err);

	// ENOSYS would make the kernel give up the operation for good.
	fuse_reply_err(req, e == ENOSYS ? EOPNOTSUPP : e);
}

void fuse_answer_entry(fuse_req_t req, const struct fs_stat *st)
{
	struct fuse_server *s = fuse_server_of(req);
	struct fuse_entry_param entry;

	fuse_convert_entry(st, &entry);
	// A reply that nobody waited for: the kernel will not forget what it never saw.
	if (fuse_reply_entry(req, &entry) != 0)
		fs_forget(s->fs, st->ino, 1);
}

int fuse_check_name(const char *name)
{
	size_t len = strlen(name);

	if (len > FS_NAME_MAX)
		return WERR_NAMETOOLONG;
	if (len == 0 || strchr(name, '/') != NULL || strcmp(name, ".") == 0 ||
	    strcmp(name, "..") == 0)
		return WERR_INVALID;
	return 0;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_server *s = fuse_server_of(req);
	struct fs_stat st;
	int err = fuse_check_name(name);

	if (err == 0)
		err = fs_lookup(s->fs, parent, name, &st);
	if (err == 0) {
		fuse_answer_entry(req, &st);
	} else if (err == WERR_NOTFOUND) {
		// Number 0 with a timeout: the kernel remembers that the name is absent.
		const struct fuse_entry_param none = {.entry_timeout = FUSE_TIMEOUT_S};

		fuse_reply_entry(req, &none);
	} else {
		fuse_fail(req, err);
	}
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	fs_forget(fuse_server_of(req)->fs, ino, count);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		fs_forget(fuse_server_of(req)->fs, forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static void answer_attr(fuse_req_t req, int err, const struct fs_stat *st)
{
	struct stat out;

	if (err != 0) {
		fuse_fail(req, err);
		return;
	}
	fuse_convert_stat(st, &out);
	// While it is being locked the kernel is not told what it had just forgotten.
	bool locking = atomic_load_explicit(&fuse_server_of(req)->refusal.error,
					    memory_order_relaxed) != 0;
	fuse_reply_attr(req, &out, locking ? 0 : FUSE_TIMEOUT_S);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs_stat st = {0};

	(void)fi;
	int err = fs_getattr(fuse_server_of(req)->fs, ino, &st);
	answer_attr(req, err, &st);
}

static int take_time(const struct timespec *in, struct ward_time *ret)
{
	if (in->tv_nsec < 0 || in->tv_nsec >= 1000000000)
		return WERR_INVALID;
	ret->s = in->tv_sec;
	ret->ns = (uint32_t)in->tv_nsec;
	return 0;
}

static int take_times(const struct stat *attr, int valid, struct fs_setattr *set)
{
	int err = 0;

	if (valid & FUSE_SET_ATTR_ATIME_NOW) {
		set->valid |= FS_SET_ATIME_NOW;
	} else if (valid & FUSE_SET_ATTR_ATIME) {
		set->valid |= FS_SET_ATIME;
		err = take_time(&attr->st_atim, &set->atime);
	}
	if (valid & FUSE_SET_ATTR_MTIME_NOW) {
		set->valid |= FS_SET_MTIME_NOW;
	} else if ((valid & FUSE_SET_ATTR_MTIME) && err == 0) {
		set->valid |= FS_SET_MTIME;
		err = take_time(&attr->st_mtim, &set->mtime);
	}
	if ((valid & FUSE_SET_ATTR_CTIME) && err == 0) {
		set->valid |= FS_SET_CTIME;
		err = take_time(&attr->st_ctim, &set->ctime);
	}
	return err;
}

static int take_setattr(const struct stat *attr, int valid, struct fs_setattr *set)
{
	memset(set, 0, sizeof(*set));
	if (valid & FUSE_SET_ATTR_MODE) {
		set->valid |= FS_SET_MODE;
		set->mode = attr->st_mode & 07777;
	}
	if (valid & FUSE_SET_ATTR_UID) {
		set->valid |= FS_SET_UID;
		set->uid = attr->st_uid;
	}
	if (valid & FUSE_SET_ATTR_GID) {
		set->valid |= FS_SET_GID;
		set->gid = attr->st_gid;
	}
	if (valid & FUSE_SET_ATTR_SIZE) {
		if (attr->st_size < 0 || (uint64_t)attr->st_size > FS_SIZE_MAX)
			return WERR_FBIG;
		set->valid |= FS_SET_SIZE;
		set->size = (uint64_t)attr->st_size;
	}
	if (loop_self()->flags & REQUEST_KILL)
		set->valid |= FS_SET_KILL;
	return take_times(attr, valid, set);
}

// chmod of a file with an ACL changes the ACL with the mode, in one step.
static int chmod_acl(struct fs *fs, uint64_t ino, uint32_t mode)
{
	uint8_t *acl = loop_self()->out;
	loop_out_used(XATTR_SET_MAX);
	size_t len;
	int err = fs_getxattr(fs, ino, ACL_ACCESS, acl, XATTR_SET_MAX, &len);

	if (err == WERR_NODATA || err == WERR_NOTSUP)
		return 0;
	if (err != 0)
		return err;
	err = acl_check(acl, len);
	if (err != 0)
		return err;
	acl_chmod(acl, len, mode);
	return fs_setxattr(fs, ino, ACL_ACCESS, acl, len, 0, &mode);
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int valid,
		       struct fuse_file_info *fi)
{
	struct fs *fs = fuse_server_of(req)->fs;
	struct fs_setattr set;
	struct fs_stat st = {0};
	int err = take_setattr(attr, valid, &set);

	(void)fi;
	if (err == 0 && (set.valid & FS_SET_MODE)) {
		err = fs_getattr(fs, ino, &st);
		if (err == 0 && (st.attr.flags & ATTR_HAS_XATTRS))
			err = chmod_acl(fs, ino, set.mode);
	}
	if (err == 0)
		err = fs_setattr(fs, ino, &set, &st);
	answer_attr(req, err, &st);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	char *target = (char *)loop_self()->out;
	loop_out_used(FS_TARGET_MAX + 1);
	int err = fs_readlink(fuse_server_of(req)->fs, ino, target);

	if (err != 0)
		fuse_fail(req, err);
	else
		fuse_reply_readlink(req, target);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct host_space space = {0};
	struct statvfs st = {0};

	(void)ino;
	int err = fs_statfs(fuse_server_of(req)->fs, &space);
	if (err != 0) {
		fuse_fail(req, err);
		return;
	}
	// In the vault's own blocks; the host's may be of any power of two.
	uint64_t unit = space.block_bytes;
	st.f_bsize = st.f_frsize = BLOCK_BYTES;
	st.f_blocks = (fsblkcnt_t)((__uint128_t)space.blocks * unit / BLOCK_BYTES);
	st.f_bfree = (fsblkcnt_t)((__uint128_t)space.blocks_free * unit / BLOCK_BYTES);
	st.f_bavail = (fsblkcnt_t)((__uint128_t)space.blocks_avail * unit / BLOCK_BYTES);
	st.f_files = space.files;
	st.f_ffree = space.files_free;
	st.f_namemax = FS_NAME_MAX;
	fuse_reply_statfs(req, &st);
}

static bool has_prefix(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0 && name[strlen(prefix)] != '\0';
}

static bool is_acl(const char *name)
{
	return strcmp(name, ACL_ACCESS) == 0 || strcmp(name, ACL_DEFAULT) == 0;
}

static int check_xattr(const char *name)
{
	if (strlen(name) > XATTR_NAME_MAX)
		return WERR_RANGE;
	if (is_acl(name) || has_prefix(name, "user.") || has_prefix(name, "security.") ||
	    has_prefix(name, "trusted."))
		return 0;
	return WERR_NOTSUP;
}

// The access ACL and the mode say the same: they change together.
static int set_access_acl(struct fs *fs, const struct wire_request *r, const struct fs_stat *st)
{
	uint32_t mode = (st->attr.mode & 07000) | acl_mode(r->value, r->value_len);

	if (r->kill_sgid)
		mode &= ~(uint32_t)S_ISGID;
	if (!acl_is_minimal(r->value, r->value_len))
		return fs_setxattr(fs, r->nodeid, r->name, r->value, r->value_len, 0, &mode);
	struct fs_setattr set = {.valid = FS_SET_MODE, .mode = mode};
	struct fs_stat after;
	int err = fs_setattr(fs, r->nodeid, &set, &after);
	if (err == 0)
		err = fs_removexattr(fs, r->nodeid, r->name);
	return err == WERR_NODATA ? 0 : err;
}

static int set_acl(struct fs *fs, const struct wire_request *r)
{
	struct fs_stat st;
	int err = fs_getattr(fs, r->nodeid, &st);

	if (err != 0)
		return err;
	if (st.type == OBJECT_SYMLINK)
		return WERR_NOTSUP;
	err = acl_check(r->value, r->value_len);
	if (err != 0)
		return err;
	if (strcmp(r->name, ACL_ACCESS) == 0)
		return set_access_acl(fs, r, &st);
	if (st.type != OBJECT_DIR)
		return WERR_PERM;
	return fs_setxattr(fs, r->nodeid, r->name, r->value, r->value_len, 0, NULL);
}

int fuse_do_setxattr(struct fuse_server *s, const struct wire_request *r)
{
	int err = check_xattr(r->name);

	if (err != 0)
		return err;
	if (r->value_len > XATTR_SIZE_MAX)
		return WERR_TOOBIG;
	if (r->flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE))
		return WERR_INVALID;
	if (is_acl(r->name))
		return set_acl(s->fs, r);
	return fs_setxattr(s->fs, r->nodeid, r->name, r->value, r->value_len, (int)r->flags, NULL);
}

// Replies as getxattr(2) and listxattr(2) do: with size 0 only the length.
static void answer_xattr(fuse_req_t req, int err, size_t size, size_t len)
{
	loop_out_used(len < LOOP_PAYLOAD_BYTES ? len : LOOP_PAYLOAD_BYTES);
	if (err == 0 && size != 0 && len > size)
		err = WERR_RANGE;
	if (err != 0)
		fuse_fail(req, err);
	else if (size == 0)
		fuse_reply_xattr(req, len);
	else
		fuse_reply_buf(req, (const char *)loop_self()->out, len);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct fs *fs = fuse_server_of(req)->fs;
	size_t cap = size < LOOP_PAYLOAD_BYTES ? size : LOOP_PAYLOAD_BYTES;
	size_t len = 0;
	int err = check_xattr(name);

	if (err == 0)
		err = fs_getxattr(fs, ino, name, loop_self()->out, cap, &len);
	answer_xattr(req, err, size, len);
}

// trusted.* is for root's eyes only. Works in place.
static size_t hide_trusted(char *list, size_t len)
{
	size_t kept = 0;

	for (size_t at = 0, n; at < len; at += n) {
		n = strlen(list + at) + 1;
		if (has_prefix(list + at, "trusted."))
			continue;
		memmove(list + kept, list + at, n);
		kept += n;
	}
	return kept;
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	char *list = (char *)loop_self()->out;
	size_t len = 0;
	int err = fs_listxattr(fuse_server_of(req)->fs, ino, list, LOOP_PAYLOAD_BYTES, &len);

	if (err == 0 && fuse_req_ctx(req)->uid != 0)
		len = hide_trusted(list, len);
	answer_xattr(req, err, size, len);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	int err = check_xattr(name);

	if (err == 0)
		err = fs_removexattr(fuse_server_of(req)->fs, ino, name);
	// Removing an ACL that is not there is no error.
	if (err == WERR_NODATA && is_acl(name))
		err = 0;
	fuse_fail(req, err);
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct fuse_server *s = userdata;
	const unsigned wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_DONT_MASK | FUSE_CAP_READDIRPLUS |
				FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_ASYNC_DIO |
				FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_PARALLEL_DIROPS |
				FUSE_CAP_POSIX_ACL | FUSE_CAP_CACHE_SYMLINKS |
				FUSE_CAP_EXPLICIT_INVAL_DATA;

	// Not the defaults of libfuse: ATOMIC_O_TRUNC is lost without an OPEN, AUTO_INVAL_DATA
	// drops the cache.
	conn->want = wanted & conn->capable;
	if (WARD_PLANTED(LOST_O_TRUNC))
		conn->want |= FUSE_CAP_ATOMIC_O_TRUNC;
	conn->max_write = LOOP_PAYLOAD_BYTES;
	if (conn->max_readahead > LOOP_PAYLOAD_BYTES)
		conn->max_readahead = LOOP_PAYLOAD_BYTES;
	// Requests are served in the order of their arrival: whatever is written back, up to 1 MiB
	// each and waiting for the host at times, stands in front of a stat. One thread is left.
	unsigned background = loop_threads(s->loop) > 2 ? loop_threads(s->loop) - 1 : 2;
	conn->max_background = s->opts.max_background != 0 ? s->opts.max_background : background;
	conn->congestion_threshold = 0; // three quarters of it
	conn->time_gran = 1;
	s->negotiated = true;
	s->no_open = (conn->capable & FUSE_CAP_NO_OPEN_SUPPORT) != 0;
	s->no_opendir = (conn->capable & FUSE_CAP_NO_OPENDIR_SUPPORT) != 0;
}

// No create, flush, release, access, ioctl, locks: the kernel does without.
// setxattr is answered before libfuse, whose parser depends on its version.
const struct fuse_lowlevel_ops fuse_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.statfs = op_statfs,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.removexattr = op_removexattr,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.symlink = op_symlink,
	.link = op_link,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.rename = op_rename,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.fsyncdir = op_fsync,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.fsync = op_fsync,
	.fallocate = op_fallocate,
	.lseek = op_lseek,
	.copy_file_range = op_copy_file_range,
};
