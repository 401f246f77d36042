// SPDX-License-Identifier: Apache-2.0
// Names: making, linking, removing, renaming and listing.
#include "fusefs/fuse_private.h"

#include <errno.h>
#include <linux/fs.h>
#include <linux/fuse.h>
#include <string.h>

#include "crypto/object_header.h"
#include "crypto/xattr_codec.h"
#include "fusefs/acl.h"

// The thread's reply buffer, cut up for building a new file's attributes.
struct scratch {
	uint8_t given[XATTR_SET_MAX];     // the directory's default ACL
	uint8_t inherited[XATTR_SET_MAX]; // made from it
	uint8_t one[XATTR_SET_MAX];
	uint8_t two[XATTR_SET_MAX];
};
_Static_assert(sizeof(struct scratch) <= LOOP_OUT_BYTES, "scratch fits the reply buffer");

static int object_type(mode_t mode)
{
	switch (mode & S_IFMT) {
	case 0: // as mknod(2)
	case S_IFREG:
		return OBJECT_FILE;
	case S_IFIFO:
		return OBJECT_FIFO;
	case S_IFSOCK:
		return OBJECT_SOCKET;
	case S_IFCHR:
		return OBJECT_CHAR;
	case S_IFBLK:
		return OBJECT_BLOCK;
	default:
		return 0;
	}
}

// Puts the inherited access ACL (unless the mode says it all) and, for a directory, the default ACL
// into the new set.
static int build_xattrs(struct scratch *b, size_t acl_len, struct fs_make *make)
{
	const uint8_t *set = b->one;
	size_t len = 0;
	int err = 0;

	if (!acl_is_minimal(b->inherited, acl_len)) {
		err = xattr_codec_set(b->two, 0, ACL_ACCESS, b->inherited, acl_len, b->one,
				      sizeof(b->one), &len);
		if (err != 0)
			return err;
	}
	if (make->type == OBJECT_DIR) {
		err = xattr_codec_set(b->one, len, ACL_DEFAULT, b->given, acl_len, b->two,
				      sizeof(b->two), &len);
		set = b->two;
	}
	make->xattrs = len > 0 ? set : NULL;
	make->xattrs_len = len;
	return err;
}

static int inherit_acl(struct fs *fs, uint64_t parent, mode_t umask_, struct fs_make *make)
{
	struct scratch *b = (struct scratch *)(void *)loop_self()->out;
	loop_out_used(sizeof(*b));
	size_t len = 0;
	int err = fs_getxattr(fs, parent, ACL_DEFAULT, b->given, sizeof(b->given), &len);

	if (err == WERR_NODATA || err == WERR_NOTSUP) {
		make->mode &= ~(uint32_t)umask_;
		return 0;
	}
	if (err == 0)
		err = acl_check(b->given, len);
	if (err != 0)
		return err;
	memcpy(b->inherited, b->given, len);
	make->mode = acl_inherit(b->inherited, len, make->mode);
	return build_xattrs(b, len, make);
}

// Owner, group, mode and ACLs as the directory and the caller have them.
static int inherit(fuse_req_t req, uint64_t parent, struct fs_make *make)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct fs *fs = fuse_server_of(req)->fs;
	struct fs_stat dir;
	int err = fs_getattr(fs, parent, &dir);

	if (err != 0)
		return err;
	if (dir.type != OBJECT_DIR)
		return WERR_NOTDIR;
	make->uid = ctx->uid;
	make->gid = ctx->gid;
	if (dir.attr.mode & S_ISGID) {
		make->gid = dir.attr.gid;
		if (make->type == OBJECT_DIR)
			make->mode |= S_ISGID;
	}
	if (make->type == OBJECT_SYMLINK)
		return 0;
	if (dir.attr.flags & ATTR_HAS_XATTRS)
		return inherit_acl(fs, parent, ctx->umask, make);
	make->mode &= ~(uint32_t)ctx->umask;
	return 0;
}

static void make_node(fuse_req_t req, uint64_t parent, const char *name, struct fs_make *make)
{
	struct fs_stat st;
	int err = fuse_check_name(name);

	if (err == 0)
		err = inherit(req, parent, make);
	if (err == 0)
		err = fs_make(fuse_server_of(req)->fs, parent, name, make, &st);
	if (err != 0)
		fuse_fail(req, err);
	else
		fuse_answer_entry(req, &st);
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct fs_make make = {.type = (uint8_t)object_type(mode), .mode = mode & 07777};

	if (make.type == 0) {
		fuse_fail(req, WERR_INVALID);
		return;
	}
	if (make.type == OBJECT_CHAR || make.type == OBJECT_BLOCK)
		make.rdev = rdev;
	make_node(req, parent, name, &make);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct fs_make make = {.type = OBJECT_DIR, .mode = mode & 07777};

	make_node(req, parent, name, &make);
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct fs_make make = {.type = OBJECT_SYMLINK, .mode = 0777, .target = target};
	size_t len = strlen(target);

	if (len == 0 || len > FS_TARGET_MAX)
		fuse_fail(req, len == 0 ? WERR_INVALID : WERR_NAMETOOLONG);
	else
		make_node(req, parent, name, &make);
}

void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	struct fs_stat st;
	int err = fuse_check_name(name);

	if (err == 0)
		err = fs_link(fuse_server_of(req)->fs, ino, parent, name, &st);
	if (err != 0)
		fuse_fail(req, err);
	else
		fuse_answer_entry(req, &st);
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	int err = fuse_check_name(name);

	if (err == 0)
		err = fs_unlink(fuse_server_of(req)->fs, parent, name);
	fuse_fail(req, err);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	int err = fuse_check_name(name);

	if (err == 0)
		err = fs_rmdir(fuse_server_of(req)->fs, parent, name);
	fuse_fail(req, err);
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
	       const char *new_name, unsigned flags)
{
	unsigned ours = 0;
	int err = fuse_check_name(name);

	if (err == 0)
		err = fuse_check_name(new_name);
	if (flags & RENAME_NOREPLACE)
		ours |= FS_RENAME_NOREPLACE;
	if (flags & RENAME_EXCHANGE)
		ours |= FS_RENAME_EXCHANGE;
	// RENAME_WHITEOUT and what is yet to come; and the two exclude each other.
	if (err == 0 && ((flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0 ||
			 ours == (FS_RENAME_NOREPLACE | FS_RENAME_EXCHANGE)))
		err = WERR_INVALID;
	if (err == 0)
		err = fs_rename(fuse_server_of(req)->fs, parent, name, new_parent, new_name, ours);
	fuse_fail(req, err);
}

void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	// ENOSYS: the kernel opens directories by itself from now on, and caches listings.
	if (fuse_server_of(req)->no_opendir) {
		fuse_reply_err(req, ENOSYS);
		return;
	}
	fi->cache_readdir = 1;
	fi->keep_cache = 1;
	fuse_reply_open(req, fi);
}

struct listing {
	fuse_req_t req;
	char *buf;
	size_t size;
	size_t used;
};

static int add_entry(void *arg, const struct fs_dirent *d)
{
	struct listing *l = arg;
	struct stat st;

	fuse_convert_stat(&d->stat, &st);
	size_t n = fuse_add_direntry(l->req, l->buf + l->used, l->size - l->used, d->name, &st,
				     (off_t)d->cookie);
	if (n > l->size - l->used)
		return 1;
	l->used += n;
	return 0;
}

static int add_entry_plus(void *arg, const struct fs_dirent *d)
{
	struct listing *l = arg;
	struct fuse_entry_param entry;

	fuse_convert_entry(&d->stat, &entry);
	// No look-up is counted for these: number 0 tells the kernel to make nothing of the
	// attributes, which are zeros where something was refused.
	if (strcmp(d->name, ".") == 0 || strcmp(d->name, "..") == 0 || d->unknown)
		entry.ino = 0;
	size_t n = fuse_add_direntry_plus(l->req, l->buf + l->used, l->size - l->used, d->name,
					  &entry, (off_t)d->cookie);
	if (n > l->size - l->used)
		return 1;
	l->used += n;
	return 0;
}

// Takes back the look-ups of a listing that was not delivered.
static void forget_listing(struct fs *fs, const char *buf, size_t used)
{
	for (size_t at = 0; at + sizeof(struct fuse_direntplus) <= used;) {
		struct fuse_direntplus e;

		memcpy(&e, buf + at, sizeof(e));
		if (e.entry_out.nodeid != 0)
			fs_forget(fs, e.entry_out.nodeid, 1);
		at += FUSE_DIRENTPLUS_SIZE(&e);
	}
}

static void list(fuse_req_t req, uint64_t ino, size_t size, off_t off, int plus)
{
	struct fs *fs = fuse_server_of(req)->fs;
	struct listing l = {
		.req = req,
		.buf = (char *)loop_self()->out,
		.size = size < LOOP_PAYLOAD_BYTES ? size : LOOP_PAYLOAD_BYTES,
	};
	int err = fs_readdir(fs, ino, (uint64_t)off, plus, plus ? add_entry_plus : add_entry, &l);

	loop_out_used(l.used);
	// What is already in the buffer is delivered; an error shows up again at the next call.
	if (err != 0 && l.used == 0)
		fuse_fail(req, err);
	else if (fuse_reply_buf(req, l.buf, l.used) != 0 && plus)
		forget_listing(fs, l.buf, l.used);
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	list(req, ino, size, off, 0);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	(void)fi;
	list(req, ino, size, off, 1);
}
