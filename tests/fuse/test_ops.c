// SPDX-License-Identifier: Apache-2.0
// Every operation over the FUSE protocol, and messages that no kernel would send.
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fusefs/acl.h"
#include "tests/fuse/backend.h"
#include "tests/fuse/harness.h"
#include "tests/unit/unit_main.h"

static struct peer peer;
static struct fs *backend;

static void setup(void)
{
	backend = backend_open();
	peer_start(&peer, backend, 3, true);
}

static void teardown(void)
{
	ck_assert_int_eq(peer_stop(&peer), 0);
	backend_close(backend);
}

static void expect(struct reply r, int err)
{
	ck_assert_msg(r.err == err, "errno %d, expected %d", r.err, err);
}

static struct fuse_entry_out entry_of(struct reply r)
{
	struct fuse_entry_out e;

	expect(r, 0);
	ck_assert_uint_eq(r.len, sizeof(e));
	memcpy(&e, r.data, sizeof(e));
	return e;
}

static struct fuse_attr attr_of(struct reply r)
{
	struct fuse_attr_out a;

	expect(r, 0);
	ck_assert_uint_eq(r.len, sizeof(a));
	memcpy(&a, r.data, sizeof(a));
	ck_assert_uint_eq(a.attr_valid, 3600);
	return a.attr;
}

static struct reply mknod_reply(uint64_t parent, const char *name, uint32_t mode, uint32_t umask_)
{
	const struct fuse_mknod_in in = {.mode = mode, .umask = umask_, .rdev = 0x1234};

	return peer_call(&peer, FUSE_MKNOD, parent, &in, sizeof(in), name);
}

static uint64_t make_file(uint64_t parent, const char *name, uint32_t mode)
{
	return entry_of(mknod_reply(parent, name, S_IFREG | mode, 0)).nodeid;
}

static struct reply mkdir_reply(uint64_t parent, const char *name, uint32_t mode, uint32_t umask_)
{
	const struct fuse_mkdir_in in = {.mode = mode, .umask = umask_};

	return peer_call(&peer, FUSE_MKDIR, parent, &in, sizeof(in), name);
}

static struct reply lookup(uint64_t parent, const char *name)
{
	return peer_call(&peer, FUSE_LOOKUP, parent, NULL, 0, name);
}

static struct fuse_attr getattr(uint64_t ino)
{
	const struct fuse_getattr_in in = {0};

	return attr_of(peer_call(&peer, FUSE_GETATTR, ino, &in, sizeof(in), NULL));
}

static struct reply setattr(uint64_t ino, struct fuse_setattr_in in)
{
	return peer_call(&peer, FUSE_SETATTR, ino, &in, sizeof(in), NULL);
}

static struct reply write_at(uint64_t ino, uint64_t off, const void *data, uint32_t len,
			     uint32_t flags)
{
	const struct fuse_write_in in = {.offset = off, .size = len, .write_flags = flags};
	const struct piece pieces[] = {{&in, sizeof(in)}, {data, len}};

	return peer_wait(&peer, peer_send(&peer, FUSE_WRITE, ino, pieces, 2));
}

static struct reply read_at(uint64_t ino, uint64_t off, uint32_t len)
{
	const struct fuse_read_in in = {.offset = off, .size = len};

	return peer_call(&peer, FUSE_READ, ino, &in, sizeof(in), NULL);
}

static struct reply setxattr_(uint64_t ino, const char *name, const void *value, uint32_t len,
			      uint32_t flags, uint32_t ext)
{
	const struct fuse_setxattr_in in = {.size = len, .flags = flags, .setxattr_flags = ext};
	const struct piece pieces[] = {{&in, sizeof(in)}, {name, strlen(name) + 1}, {value, len}};

	return peer_wait(&peer, peer_send(&peer, FUSE_SETXATTR, ino, pieces, 3));
}

static struct reply getxattr_(uint64_t ino, const char *name, uint32_t size)
{
	const struct fuse_getxattr_in in = {.size = size};

	return peer_call(&peer, FUSE_GETXATTR, ino, &in, sizeof(in), name);
}

static struct reply two_names(uint32_t opcode, uint64_t ino, const void *arg, size_t len,
			      const char *one, const char *two)
{
	const struct piece pieces[] = {{arg, len}, {one, strlen(one) + 1}, {two, strlen(two) + 1}};

	return peer_wait(&peer, peer_send(&peer, opcode, ino, pieces, 3));
}

START_TEST(init_negotiates)
{
	const uint32_t on = FUSE_ASYNC_READ | FUSE_DONT_MASK | FUSE_DO_READDIRPLUS |
			    FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO | FUSE_WRITEBACK_CACHE |
			    FUSE_PARALLEL_DIROPS | FUSE_POSIX_ACL | FUSE_MAX_PAGES |
			    FUSE_CACHE_SYMLINKS | FUSE_EXPLICIT_INVAL_DATA |
			    FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT | FUSE_BIG_WRITES;
	const uint32_t off = FUSE_ATOMIC_O_TRUNC | FUSE_AUTO_INVAL_DATA | FUSE_POSIX_LOCKS |
			     FUSE_FLOCK_LOCKS | FUSE_EXPORT_SUPPORT;

	ck_assert_uint_eq(peer.init.flags & on, on);
	ck_assert_uint_eq(peer.init.flags & off, 0);
	ck_assert_uint_eq(peer.init.max_write, 1 << 20);
	ck_assert_uint_eq(peer.init.max_pages, 256);
	ck_assert_uint_eq(peer.init.time_gran, 1);
	// A second INIT is refused.
	const struct fuse_init_in in = {.major = 7, .minor = 38};
	expect(peer_call(&peer, FUSE_INIT, 0, &in, sizeof(in), NULL), EIO);
}
END_TEST

START_TEST(opens_need_no_request)
{
	const struct fuse_open_in in = {.flags = O_RDONLY};
	const struct fuse_create_in create = {.flags = O_RDWR, .mode = 0644};

	expect(peer_call(&peer, FUSE_OPEN, FS_ROOT, &in, sizeof(in), NULL), ENOSYS);
	expect(peer_call(&peer, FUSE_OPENDIR, FS_ROOT, &in, sizeof(in), NULL), ENOSYS);
	expect(peer_call(&peer, FUSE_CREATE, FS_ROOT, &create, sizeof(create), "f"), ENOSYS);
	expect(lookup(FS_ROOT, "f"), 0); // negative entry
	expect(peer_call(&peer, FUSE_INTERRUPT, 0, &in, sizeof(in), NULL), ENOSYS);
	expect(peer_call(&peer, FUSE_IOCTL, FS_ROOT, &create, sizeof(create), NULL), ENOTTY);
	expect(peer_call(&peer, FUSE_TMPFILE, FS_ROOT, &create, sizeof(create), "f"), ENOSYS);
}
END_TEST

START_TEST(names)
{
	struct fuse_entry_out e = entry_of(lookup(FS_ROOT, "absent"));
	ck_assert_uint_eq(e.nodeid, 0);
	ck_assert_uint_eq(e.entry_valid, 3600);

	uint64_t dir = entry_of(mkdir_reply(FS_ROOT, "dir", 0777, 022)).nodeid;
	uint64_t file = make_file(dir, "file", 0644);
	e = entry_of(lookup(dir, "file"));
	ck_assert_uint_eq(e.nodeid, file);
	ck_assert_uint_eq(e.attr.ino, file);
	ck_assert_uint_eq(e.attr.mode, S_IFREG | 0644);
	ck_assert_uint_eq(e.entry_valid, 3600);
	ck_assert_uint_eq(e.attr_valid, 3600);
	expect(mknod_reply(dir, "file", S_IFREG, 0), EEXIST);
	ck_assert_uint_eq(getattr(dir).mode, S_IFDIR | 0755);

	const struct fuse_link_in link = {.oldnodeid = file};
	e = entry_of(peer_call(&peer, FUSE_LINK, FS_ROOT, &link, sizeof(link), "hard"));
	ck_assert_uint_eq(e.nodeid, file);
	ck_assert_uint_eq(e.attr.nlink, 2);

	expect(peer_call(&peer, FUSE_RMDIR, FS_ROOT, NULL, 0, "dir"), ENOTEMPTY);
	expect(peer_call(&peer, FUSE_UNLINK, dir, NULL, 0, "file"), 0);
	expect(peer_call(&peer, FUSE_UNLINK, dir, NULL, 0, "file"), ENOENT);
	expect(peer_call(&peer, FUSE_RMDIR, FS_ROOT, NULL, 0, "dir"), 0);
	expect(peer_call(&peer, FUSE_UNLINK, FS_ROOT, NULL, 0, "hard"), 0);
	// Still known to the kernel: without a name, but alive.
	ck_assert_uint_eq(getattr(file).nlink, 0);
	expect(write_at(file, 0, "x", 1, 0), 0);
	expect(read_at(file, 0, 10), 0);
}
END_TEST

START_TEST(all_types)
{
	static const uint32_t types[] = {S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK};
	char name[2] = "a";

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++, name[0]++) {
		struct fuse_entry_out e =
			entry_of(mknod_reply(FS_ROOT, name, types[i] | 0666, 027));

		ck_assert_uint_eq(e.attr.mode, types[i] | 0640);
		bool device = types[i] == S_IFCHR || types[i] == S_IFBLK;
		ck_assert_uint_eq(e.attr.rdev, device ? 0x1234 : 0);
	}
	expect(mknod_reply(FS_ROOT, "dir", S_IFDIR | 0700, 0), EINVAL);

	struct fuse_entry_out e =
		entry_of(two_names(FUSE_SYMLINK, FS_ROOT, NULL, 0, "sym", "some/where"));
	ck_assert_uint_eq(e.attr.mode, S_IFLNK | 0777);
	ck_assert_uint_eq(e.attr.size, 10);
	struct reply r = peer_call(&peer, FUSE_READLINK, e.nodeid, NULL, 0, NULL);
	expect(r, 0);
	ck_assert_mem_eq(r.data, "some/where", 10);
	ck_assert_uint_eq(r.len, 10);

	char target[FS_TARGET_MAX + 2];
	memset(target, 't', sizeof(target));
	target[FS_TARGET_MAX] = '\0';
	entry_of(two_names(FUSE_SYMLINK, FS_ROOT, NULL, 0, "long", target));
	target[FS_TARGET_MAX] = 't';
	target[FS_TARGET_MAX + 1] = '\0';
	expect(two_names(FUSE_SYMLINK, FS_ROOT, NULL, 0, "longer", target), ENAMETOOLONG);
}
END_TEST

START_TEST(bad_names)
{
	char name[300];
	static const char *const invalid[] = {"", ".", "..", "a/b", "/"};

	memset(name, 'n', sizeof(name));
	name[255] = '\0';
	make_file(FS_ROOT, name, 0600);
	name[255] = 'n';
	name[256] = '\0';
	expect(lookup(FS_ROOT, name), ENAMETOOLONG);
	expect(mknod_reply(FS_ROOT, name, S_IFREG, 0), ENAMETOOLONG);
	for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
		expect(lookup(FS_ROOT, invalid[i]), EINVAL);
		expect(mknod_reply(FS_ROOT, invalid[i], S_IFREG, 0), EINVAL);
		expect(mkdir_reply(FS_ROOT, invalid[i], 0700, 0), EINVAL);
		expect(peer_call(&peer, FUSE_RMDIR, FS_ROOT, NULL, 0, invalid[i]), EINVAL);
	}
}
END_TEST

static struct reply rename2(uint64_t from, const char *name, uint64_t to, const char *new_name,
			    uint32_t flags)
{
	const struct fuse_rename2_in in = {.newdir = to, .flags = flags};

	return two_names(FUSE_RENAME2, from, &in, sizeof(in), name, new_name);
}

START_TEST(renames)
{
	const struct fuse_rename_in old = {.newdir = FS_ROOT};
	uint64_t a = make_file(FS_ROOT, "a", 0600), b = make_file(FS_ROOT, "b", 0600);

	expect(rename2(FS_ROOT, "a", FS_ROOT, "b", RENAME_NOREPLACE), EEXIST);
	expect(rename2(FS_ROOT, "a", FS_ROOT, "b", RENAME_WHITEOUT), EINVAL);
	expect(rename2(FS_ROOT, "a", FS_ROOT, "b", RENAME_EXCHANGE | RENAME_NOREPLACE), EINVAL);
	expect(rename2(FS_ROOT, "a", FS_ROOT, "b", RENAME_EXCHANGE), 0);
	ck_assert_uint_eq(entry_of(lookup(FS_ROOT, "a")).nodeid, b);
	ck_assert_uint_eq(entry_of(lookup(FS_ROOT, "b")).nodeid, a);
	expect(two_names(FUSE_RENAME, FS_ROOT, &old, sizeof(old), "a", "c"), 0);
	expect(rename2(FS_ROOT, "c", FS_ROOT, "b", 0), 0);
	ck_assert_uint_eq(entry_of(lookup(FS_ROOT, "b")).nodeid, b);
	ck_assert_uint_eq(entry_of(lookup(FS_ROOT, "c")).nodeid, 0);
	expect(rename2(FS_ROOT, "none", FS_ROOT, "b", 0), ENOENT);
}
END_TEST

START_TEST(contents)
{
	static uint8_t data[128 << 10];
	uint64_t file = make_file(FS_ROOT, "f", 0644);

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + (i >> 8));
	struct reply r = write_at(file, 0, data, sizeof(data), FUSE_WRITE_CACHE);
	expect(r, 0);
	struct fuse_write_out out;
	memcpy(&out, r.data, sizeof(out));
	ck_assert_uint_eq(out.size, sizeof(data));
	r = read_at(file, 0, sizeof(data));
	expect(r, 0);
	ck_assert_uint_eq(r.len, sizeof(data));
	ck_assert_mem_eq(r.data, data, sizeof(data));
	r = read_at(file, 100001, 999);
	ck_assert_uint_eq(r.len, 999);
	ck_assert_mem_eq(r.data, data + 100001, 999);
	r = read_at(file, sizeof(data) - 10, 4096);
	ck_assert_uint_eq(r.len, 10);
	ck_assert_uint_eq(read_at(file, 1 << 20, 4096).len, 0);
	struct fuse_attr a = getattr(file);
	ck_assert_uint_eq(a.size, sizeof(data));
	ck_assert_uint_eq(a.blocks, sizeof(data) / 512);
	ck_assert_uint_eq(a.blksize, 4096);

	const struct fuse_fsync_in sync = {0};
	expect(peer_call(&peer, FUSE_FSYNC, file, &sync, sizeof(sync), NULL), 0);
	expect(peer_call(&peer, FUSE_FSYNCDIR, FS_ROOT, &sync, sizeof(sync), NULL), 0);
	expect(write_at(file, FS_SIZE_MAX, "x", 1, 0), EFBIG);
	expect(read_at(FS_ROOT, 0, 10), EISDIR);
}
END_TEST

START_TEST(small_file_has_blocks)
{
	uint64_t file = make_file(FS_ROOT, "f", 0644);

	ck_assert_uint_eq(getattr(file).blocks, 0);
	expect(write_at(file, 0, "hello", 5, 0), 0);
	ck_assert_uint_eq(getattr(file).blocks, 8);
}
END_TEST

START_TEST(holes_and_copies)
{
	uint64_t file = make_file(FS_ROOT, "f", 0644), copy = make_file(FS_ROOT, "g", 0644);
	struct fuse_fallocate_in alloc = {.length = 8192};
	unsigned before = peer.notifications;

	expect(peer_call(&peer, FUSE_FALLOCATE, file, &alloc, sizeof(alloc), NULL), 0);
	ck_assert_uint_eq(getattr(file).size, 8192);
	expect(write_at(file, 4096, "data", 4, 0), 0);
	struct fuse_lseek_in seek = {.offset = 4096, .whence = SEEK_DATA};
	struct reply r = peer_call(&peer, FUSE_LSEEK, file, &seek, sizeof(seek), NULL);
	expect(r, 0);
	struct fuse_lseek_out at;
	memcpy(&at, r.data, sizeof(at));
	ck_assert_uint_eq(at.offset, 4096);
	// The kernel was asked for what it had not written back yet, before the answer.
	ck_assert_uint_eq(peer.notifications, before + 1);
	seek = (struct fuse_lseek_in){.offset = 9000, .whence = SEEK_HOLE};
	expect(peer_call(&peer, FUSE_LSEEK, file, &seek, sizeof(seek), NULL), ENXIO);
	seek.whence = SEEK_END;
	expect(peer_call(&peer, FUSE_LSEEK, file, &seek, sizeof(seek), NULL), EINVAL);

	alloc = (struct fuse_fallocate_in){
		.offset = 4096, .length = 4096, .mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE};
	expect(peer_call(&peer, FUSE_FALLOCATE, file, &alloc, sizeof(alloc), NULL), 0);
	r = read_at(file, 4096, 4);
	ck_assert_mem_eq(r.data, "\0\0\0\0", 4);
	alloc.mode = FALLOC_FL_COLLAPSE_RANGE;
	expect(peer_call(&peer, FUSE_FALLOCATE, file, &alloc, sizeof(alloc), NULL), EOPNOTSUPP);
	alloc = (struct fuse_fallocate_in){.offset = FS_SIZE_MAX, .length = 1};
	expect(peer_call(&peer, FUSE_FALLOCATE, file, &alloc, sizeof(alloc), NULL), EFBIG);

	expect(write_at(file, 0, "content", 7, 0), 0);
	struct fuse_copy_file_range_in cp = {.nodeid_out = copy, .len = 1 << 30, .off_out = 3};
	r = peer_call(&peer, FUSE_COPY_FILE_RANGE, file, &cp, sizeof(cp), NULL);
	expect(r, 0);
	struct fuse_write_out done;
	memcpy(&done, r.data, sizeof(done));
	ck_assert_uint_eq(done.size, 8192);
	r = read_at(copy, 3, 7);
	ck_assert_mem_eq(r.data, "content", 7);
	cp.flags = 1;
	expect(peer_call(&peer, FUSE_COPY_FILE_RANGE, file, &cp, sizeof(cp), NULL), EINVAL);
}
END_TEST

START_TEST(attributes)
{
	uint64_t file = make_file(FS_ROOT, "f", 0644);
	struct fuse_attr a = attr_of(
		setattr(file, (struct fuse_setattr_in){.valid = FATTR_SIZE, .size = 100000}));

	ck_assert_uint_eq(a.size, 100000);
	a = attr_of(
		setattr(file, (struct fuse_setattr_in){.valid = FATTR_MODE | FATTR_UID | FATTR_GID,
						       .mode = 04711,
						       .uid = 12,
						       .gid = 13}));
	ck_assert_uint_eq(a.mode, S_IFREG | 04711);
	ck_assert_uint_eq(a.uid, 12);
	ck_assert_uint_eq(a.gid, 13);
	a = attr_of(setattr(
		file, (struct fuse_setattr_in){.valid = FATTR_ATIME | FATTR_MTIME | FATTR_CTIME,
					       .atime = 1000,
					       .atimensec = 1,
					       .mtime = (uint64_t)-5,
					       .mtimensec = 999999999,
					       .ctime = 3000,
					       .ctimensec = 3}));
	ck_assert_uint_eq(a.atime, 1000);
	ck_assert_uint_eq(a.atimensec, 1);
	ck_assert_int_eq((int64_t)a.mtime, -5);
	ck_assert_uint_eq(a.mtimensec, 999999999);
	ck_assert_uint_eq(a.ctime, 3000);
	a = attr_of(
		setattr(file, (struct fuse_setattr_in){.valid = FATTR_ATIME | FATTR_ATIME_NOW |
								FATTR_MTIME | FATTR_MTIME_NOW}));
	ck_assert_uint_ne(a.atime, 1000);
	ck_assert_int_ge((int64_t)a.mtime, 0);
	expect(setattr(file,
		       (struct fuse_setattr_in){.valid = FATTR_MTIME, .mtimensec = 1000000000}),
	       EINVAL);
	expect(setattr(file,
		       (struct fuse_setattr_in){.valid = FATTR_SIZE, .size = FS_SIZE_MAX + 1}),
	       EFBIG);
	expect(setattr(file, (struct fuse_setattr_in){.valid = FATTR_SIZE, .size = UINT64_MAX}),
	       EFBIG);
	expect(setattr(FS_ROOT, (struct fuse_setattr_in){.valid = FATTR_FH}), 0);
}
END_TEST

START_TEST(privileges_are_cleared)
{
	uint64_t file = make_file(FS_ROOT, "f", 04755);

	expect(write_at(file, 0, "x", 1, FUSE_WRITE_CACHE), 0);
	ck_assert_uint_eq(getattr(file).mode & 07777, 04755);
	unsigned before = peer.notifications;
	expect(write_at(file, 0, "x", 1, FUSE_WRITE_KILL_SUIDGID), 0);
	ck_assert_uint_eq(getattr(file).mode & 07777, 0755);
	// The kernel would go on with its cached mode.
	ck_assert_uint_eq(peer.notifications, before + 1);
	expect(write_at(file, 0, "x", 1, FUSE_WRITE_KILL_SUIDGID), 0);
	ck_assert_uint_eq(peer.notifications, before + 1);
	setattr(file, (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 04755});
	struct fuse_attr a = attr_of(setattr(
		file, (struct fuse_setattr_in){.valid = FATTR_UID | FATTR_KILL_SUIDGID, .uid = 7}));
	ck_assert_uint_eq(a.mode & 07777, 0755);
	setattr(file, (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 04755});
	a = attr_of(
		setattr(file, (struct fuse_setattr_in){.valid = FATTR_SIZE | FATTR_KILL_SUIDGID}));
	ck_assert_uint_eq(a.mode & 07777, 0755);
	// Of FALLOCATE and COPY_FILE_RANGE the kernel says nothing.
	const struct fuse_fallocate_in alloc = {.length = 10};
	const struct fuse_copy_file_range_in cp = {.nodeid_out = file, .len = 5, .off_out = 5};
	setattr(file, (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 04755});
	expect(peer_call(&peer, FUSE_FALLOCATE, file, &alloc, sizeof(alloc), NULL), 0);
	ck_assert_uint_eq(getattr(file).mode & 07777, 04755);
	peer.uid = 1000;
	expect(peer_call(&peer, FUSE_FALLOCATE, file, &alloc, sizeof(alloc), NULL), 0);
	ck_assert_uint_eq(getattr(file).mode & 07777, 0755);
	setattr(file, (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 04755});
	expect(peer_call(&peer, FUSE_COPY_FILE_RANGE, file, &cp, sizeof(cp), NULL), 0);
	ck_assert_uint_eq(getattr(file).mode & 07777, 0755);
	ck_assert_uint_eq(peer.notifications, before + 3);
}
END_TEST

START_TEST(set_gid_directories)
{
	peer.uid = 1000;
	peer.gid = 1001;
	struct fuse_entry_out e = entry_of(mkdir_reply(FS_ROOT, "dir", 0777, 022));
	ck_assert_uint_eq(e.attr.uid, 1000);
	ck_assert_uint_eq(e.attr.gid, 1001);
	attr_of(setattr(e.nodeid, (struct fuse_setattr_in){.valid = FATTR_MODE | FATTR_GID,
							   .mode = 02777,
							   .gid = 55}));
	struct fuse_entry_out f = entry_of(mknod_reply(e.nodeid, "f", S_IFREG | 0666, 022));
	ck_assert_uint_eq(f.attr.gid, 55);
	ck_assert_uint_eq(f.attr.mode, S_IFREG | 0644);
	f = entry_of(mkdir_reply(e.nodeid, "d", 0777, 022));
	ck_assert_uint_eq(f.attr.gid, 55);
	ck_assert_uint_eq(f.attr.mode, S_IFDIR | 02755);
	f = entry_of(two_names(FUSE_SYMLINK, e.nodeid, NULL, 0, "s", "t"));
	ck_assert_uint_eq(f.attr.gid, 55);
}
END_TEST

START_TEST(extended_attributes)
{
	uint64_t file = make_file(FS_ROOT, "f", 0644);
	char *big = calloc(1, 70000);

	expect(getxattr_(file, "user.a", 100), ENODATA);
	expect(setxattr_(file, "user.a", "value", 5, XATTR_REPLACE, 0), ENODATA);
	expect(setxattr_(file, "user.a", "value", 5, XATTR_CREATE, 0), 0);
	expect(setxattr_(file, "user.a", "value", 5, XATTR_CREATE, 0), EEXIST);
	expect(setxattr_(file, "user.a", "value", 5, 4, 0), EINVAL);
	expect(setxattr_(file, "trusted.t", "", 0, 0, 0), 0);
	expect(setxattr_(file, "security.capability", "c", 1, 0, 0), 0);
	expect(setxattr_(file, "system.other", "c", 1, 0, 0), EOPNOTSUPP);
	expect(setxattr_(file, "nonsense", "c", 1, 0, 0), EOPNOTSUPP);
	expect(setxattr_(file, "user.", "c", 1, 0, 0), EOPNOTSUPP);
	expect(setxattr_(file, "user.big", big, 65537, 0, 0), E2BIG);
	free(big);

	struct reply r = getxattr_(file, "user.a", 100);
	ck_assert_uint_eq(r.len, 5);
	ck_assert_mem_eq(r.data, "value", 5);
	expect(getxattr_(file, "user.a", 4), ERANGE);
	r = getxattr_(file, "user.a", 0);
	struct fuse_getxattr_out size;
	ck_assert_uint_eq(r.len, sizeof(size));
	memcpy(&size, r.data, sizeof(size));
	ck_assert_uint_eq(size.size, 5);
	expect(getxattr_(file, "trusted.t", 10), 0);

	const struct fuse_getxattr_in list = {.size = 1000};
	static const char all[] = "security.capability\0trusted.t\0user.a";
	static const char some[] = "security.capability\0user.a";
	r = peer_call(&peer, FUSE_LISTXATTR, file, &list, sizeof(list), NULL);
	ck_assert_uint_eq(r.len, sizeof(all));
	ck_assert_mem_eq(r.data, all, r.len);
	peer.uid = 1000;
	r = peer_call(&peer, FUSE_LISTXATTR, file, &list, sizeof(list), NULL);
	ck_assert_uint_eq(r.len, sizeof(some));
	ck_assert_mem_eq(r.data, some, r.len);
	const struct fuse_getxattr_in tight = {.size = 10};
	expect(peer_call(&peer, FUSE_LISTXATTR, file, &tight, sizeof(tight), NULL), ERANGE);

	expect(peer_call(&peer, FUSE_REMOVEXATTR, file, NULL, 0, "user.a"), 0);
	expect(peer_call(&peer, FUSE_REMOVEXATTR, file, NULL, 0, "user.a"), ENODATA);
	expect(getxattr_(file, "user.a", 100), ENODATA);
}
END_TEST

// user::rw- user:5:rwx group::r-- mask::rwx other::r--
static const uint8_t acl_full[] = {
	2,    0, 0, 0,                                                             // version
	1,    0, 6, 0, 0xff, 0xff, 0xff, 0xff, 2,    0, 7, 0, 5,    0,    0,    0, // owner, user 5
	4,    0, 4, 0, 0xff, 0xff, 0xff, 0xff, 0x10, 0, 7, 0, 0xff, 0xff, 0xff, 0xff, // group, mask
	0x20, 0, 4, 0, 0xff, 0xff, 0xff, 0xff,
};
static const uint8_t acl_small[] = {
	2, 0, 0,    0,    1,    0,    6,    0, 0xff, 0xff, 0xff, 0xff, 4,    0,
	0, 0, 0xff, 0xff, 0xff, 0xff, 0x20, 0, 4,    0,    0xff, 0xff, 0xff, 0xff,
};

START_TEST(acl_and_mode)
{
	uint64_t file = make_file(FS_ROOT, "f", 02600);

	expect(setxattr_(file, ACL_ACCESS, acl_full, sizeof(acl_full), 0, 0), 0);
	ck_assert_uint_eq(getattr(file).mode, S_IFREG | 02674);
	// chmod changes owner, mask and others.
	attr_of(setattr(file, (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 02750}));
	struct reply r = getxattr_(file, ACL_ACCESS, 1000);
	ck_assert_uint_eq(r.len, sizeof(acl_full));
	ck_assert_uint_eq(r.data[4 + 2], 7);         // owner
	ck_assert_uint_eq(r.data[4 + 2 * 8 + 2], 4); // group, as before
	ck_assert_uint_eq(r.data[4 + 3 * 8 + 2], 5); // mask
	ck_assert_uint_eq(r.data[4 + 4 * 8 + 2], 0); // others
	ck_assert_uint_eq(getattr(file).mode, S_IFREG | 02750);
	// Set-gid goes when the caller is a stranger to the group.
	expect(setxattr_(file, ACL_ACCESS, acl_full, sizeof(acl_full), 0,
			 FUSE_SETXATTR_ACL_KILL_SGID),
	       0);
	ck_assert_uint_eq(getattr(file).mode, S_IFREG | 0674);
	// An ACL that says no more than the mode becomes the mode.
	expect(setxattr_(file, ACL_ACCESS, acl_small, sizeof(acl_small), 0, 0), 0);
	ck_assert_uint_eq(getattr(file).mode, S_IFREG | 0604);
	expect(getxattr_(file, ACL_ACCESS, 1000), ENODATA);
	expect(peer_call(&peer, FUSE_REMOVEXATTR, file, NULL, 0, ACL_ACCESS), 0);

	expect(setxattr_(file, ACL_DEFAULT, acl_full, sizeof(acl_full), 0, 0), EACCES);
	expect(setxattr_(file, ACL_ACCESS, acl_full, sizeof(acl_full) - 8, 0, 0), EINVAL);
	expect(setxattr_(file, ACL_ACCESS, acl_full, 5, 0, 0), EINVAL);
	uint64_t link = entry_of(two_names(FUSE_SYMLINK, FS_ROOT, NULL, 0, "s", "t")).nodeid;
	expect(setxattr_(link, ACL_ACCESS, acl_full, sizeof(acl_full), 0, 0), EOPNOTSUPP);
}
END_TEST

START_TEST(acl_is_inherited)
{
	uint64_t dir = entry_of(mkdir_reply(FS_ROOT, "d", 0755, 0)).nodeid;

	expect(setxattr_(dir, ACL_DEFAULT, acl_full, sizeof(acl_full), 0, 0), 0);
	// The umask does not count where there is a default ACL.
	struct fuse_entry_out e = entry_of(mknod_reply(dir, "f", S_IFREG | 0660, 077));
	ck_assert_uint_eq(e.attr.mode, S_IFREG | 0660);
	struct reply r = getxattr_(e.nodeid, ACL_ACCESS, 1000);
	ck_assert_uint_eq(r.len, sizeof(acl_full));
	ck_assert_uint_eq(r.data[4 + 3 * 8 + 2], 6); // mask
	ck_assert_uint_eq(r.data[4 + 4 * 8 + 2], 0); // others
	expect(getxattr_(e.nodeid, ACL_DEFAULT, 1000), ENODATA);

	e = entry_of(mkdir_reply(dir, "sub", 0777, 077));
	ck_assert_uint_eq(e.attr.mode, S_IFDIR | 0674);
	r = getxattr_(e.nodeid, ACL_DEFAULT, 1000);
	ck_assert_uint_eq(r.len, sizeof(acl_full));
	ck_assert_mem_eq(r.data, acl_full, sizeof(acl_full));
	expect(getxattr_(e.nodeid, ACL_ACCESS, 1000), 0);

	expect(setxattr_(dir, ACL_DEFAULT, acl_small, sizeof(acl_small), 0, 0), 0);
	e = entry_of(mknod_reply(dir, "g", S_IFREG | 0666, 077));
	ck_assert_uint_eq(e.attr.mode, S_IFREG | 0604);
	expect(getxattr_(e.nodeid, ACL_ACCESS, 1000), ENODATA);
	e = entry_of(two_names(FUSE_SYMLINK, dir, NULL, 0, "s", "t"));
	ck_assert_uint_eq(e.attr.mode, S_IFLNK | 0777);
}
END_TEST

START_TEST(filesystem_size)
{
	struct reply r = peer_call(&peer, FUSE_STATFS, FS_ROOT, NULL, 0, NULL);
	struct fuse_statfs_out st;

	expect(r, 0);
	ck_assert_uint_eq(r.len, sizeof(st));
	memcpy(&st, r.data, sizeof(st));
	ck_assert_uint_eq(st.st.bsize, 4096);
	ck_assert_uint_eq(st.st.frsize, 4096);
	ck_assert_uint_eq(st.st.namelen, 255);
	ck_assert_uint_ge(st.st.blocks, st.st.bfree);
	ck_assert_uint_ge(st.st.bfree, st.st.bavail);
}
END_TEST

#define LISTED 100

// One READDIR or READDIRPLUS of `size` bytes: marks what it lists, returns the cookie to go on with
// (0: the end).
static uint64_t list_some(uint64_t dir, uint64_t cookie, uint32_t size, bool plus,
			  unsigned seen[static LISTED], unsigned *dots)
{
	const struct fuse_read_in in = {.offset = cookie, .size = size};
	struct reply r = peer_call(&peer, plus ? FUSE_READDIRPLUS : FUSE_READDIR, dir, &in,
				   sizeof(in), NULL);
	size_t at = 0;

	expect(r, 0);
	ck_assert_uint_le(r.len, size);
	if (r.len == 0)
		return 0;
	while (at < r.len) {
		struct fuse_direntplus e = {0};
		const uint8_t *head = r.data + at;

		if (plus)
			memcpy(&e, head, sizeof(e));
		else
			memcpy(&e.dirent, head, sizeof(e.dirent));
		const char *name = (const char *)head +
				   (plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET);
		if (name[0] == '.') {
			++*dots;
			ck_assert_uint_eq(e.entry_out.nodeid, 0);
		} else {
			unsigned n = (unsigned)strtoul(name + 1, NULL, 10);

			ck_assert_uint_lt(n, LISTED);
			seen[n]++;
			ck_assert_uint_eq(e.dirent.type, S_IFREG >> 12);
			if (plus) {
				ck_assert_uint_eq(e.entry_out.nodeid, e.dirent.ino);
				ck_assert_uint_eq(e.entry_out.attr.mode, S_IFREG | 0640);
			}
		}
		ck_assert_uint_gt(e.dirent.off, cookie);
		cookie = e.dirent.off;
		at += plus ? FUSE_DIRENTPLUS_SIZE(&e) : FUSE_DIRENT_SIZE(&e.dirent);
	}
	ck_assert_uint_eq(at, r.len);
	return cookie;
}

START_TEST(listing)
{
	static const uint32_t sizes[] = {512, 4096, 128 << 10};
	uint64_t dir = entry_of(mkdir_reply(FS_ROOT, "d", 0755, 0)).nodeid;
	char name[8];

	for (unsigned i = 0; i < LISTED; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		make_file(dir, name, 0640);
	}
	for (unsigned i = 0; i < 6; i++) {
		unsigned seen[LISTED] = {0}, dots = 0;
		uint64_t cookie = 0;

		while ((cookie = list_some(dir, cookie, sizes[i / 2], i & 1, seen, &dots)) != 0)
			;
		ck_assert_uint_eq(dots, 2);
		for (unsigned k = 0; k < LISTED; k++)
			ck_assert_uint_eq(seen[k], 1);
	}
	const struct fuse_read_in in = {.size = 4096};
	uint64_t file = make_file(FS_ROOT, "f", 0644);
	expect(peer_call(&peer, FUSE_READDIR, file, &in, sizeof(in), NULL), ENOTDIR);
}
END_TEST

START_TEST(forgetting)
{
	uint64_t file = make_file(FS_ROOT, "f", 0644), other = make_file(FS_ROOT, "g", 0644);
	const struct fuse_forget_in one = {.nlookup = 1};
	const struct {
		struct fuse_batch_forget_in head;
		struct fuse_forget_one rows[2];
	} batch = {{.count = 2}, {{other, 1}, {99999, 1}}};
	const struct piece single = {&one, sizeof(one)}, many = {&batch, sizeof(batch)};

	entry_of(lookup(FS_ROOT, "f"));
	expect(peer_call(&peer, FUSE_UNLINK, FS_ROOT, NULL, 0, "f"), 0);
	expect(peer_call(&peer, FUSE_UNLINK, FS_ROOT, NULL, 0, "g"), 0);
	peer_send(&peer, FUSE_FORGET, file, &single, 1);
	getattr(file); // one count is left
	peer_send(&peer, FUSE_FORGET, file, &single, 1);
	peer_send(&peer, FUSE_BATCH_FORGET, 0, &many, 1);
	getattr(FS_ROOT); // both have been dealt with
	ck_assert_int_eq(fs_checkpoint(backend), 0);
	const struct fuse_getattr_in in = {0};
	expect(peer_call(&peer, FUSE_GETATTR, file, &in, sizeof(in), NULL), ESTALE);
	expect(peer_call(&peer, FUSE_GETATTR, other, &in, sizeof(in), NULL), ESTALE);
}
END_TEST

START_TEST(wrong_nodes)
{
	static const uint64_t nodes[] = {0, 400, 99999, UINT64_MAX, 1ull << 63};
	const struct fuse_getattr_in get = {0};
	const struct fuse_fsync_in sync = {0};

	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
		uint64_t n = nodes[i];
		const struct fuse_link_in link = {.oldnodeid = n};
		const struct fuse_copy_file_range_in cp = {.nodeid_out = n, .len = 10};
		const struct fuse_lseek_in seek = {.whence = SEEK_DATA};

		expect(peer_call(&peer, FUSE_GETATTR, n, &get, sizeof(get), NULL), ESTALE);
		expect(setattr(n, (struct fuse_setattr_in){.valid = FATTR_MODE}), ESTALE);
		expect(lookup(n, "x"), ESTALE);
		expect(mknod_reply(n, "x", S_IFREG, 0), ESTALE);
		expect(read_at(n, 0, 10), ESTALE);
		expect(write_at(n, 0, "x", 1, 0), ESTALE);
		expect(peer_call(&peer, FUSE_READLINK, n, NULL, 0, NULL), ESTALE);
		expect(peer_call(&peer, FUSE_UNLINK, n, NULL, 0, "x"), ESTALE);
		expect(peer_call(&peer, FUSE_FSYNC, n, &sync, sizeof(sync), NULL), ESTALE);
		expect(peer_call(&peer, FUSE_LINK, FS_ROOT, &link, sizeof(link), "x"), ESTALE);
		expect(peer_call(&peer, FUSE_LSEEK, n, &seek, sizeof(seek), NULL), ESTALE);
		ck_assert_int_ne(
			peer_call(&peer, FUSE_COPY_FILE_RANGE, FS_ROOT, &cp, sizeof(cp), NULL).err,
			0);
		ck_assert_int_ne(rename2(FS_ROOT, "x", n, "y", 0).err, 0);
		expect(getxattr_(n, "user.x", 10), ESTALE);
		expect(setxattr_(n, "user.x", "v", 1, 0, 0), ESTALE);
	}
}
END_TEST

// A header with a length of its own, followed by len bytes of rubbish.
static struct reply send_odd(uint32_t opcode, uint32_t claimed, const void *arg, size_t len)
{
	uint8_t buf[4096];
	const struct fuse_in_header h = {
		.len = claimed, .opcode = opcode, .unique = peer.unique += 2, .nodeid = FS_ROOT};

	memcpy(buf, &h, sizeof(h));
	if (len > 0)
		memcpy(buf + sizeof(h), arg, len);
	peer_send_raw(&peer, buf, sizeof(h) + len);
	return peer_wait(&peer, h.unique);
}

START_TEST(truncated_requests)
{
	static const struct {
		uint32_t opcode;
		unsigned need;
	} rows[] = {
		{FUSE_LOOKUP, 1},       {FUSE_GETATTR, 16},
		{FUSE_SETATTR, 88},     {FUSE_SYMLINK, 1},
		{FUSE_MKNOD, 17},       {FUSE_MKDIR, 9},
		{FUSE_UNLINK, 1},       {FUSE_RENAME, 9},
		{FUSE_RENAME2, 17},     {FUSE_LINK, 9},
		{FUSE_READ, 40},        {FUSE_WRITE, 40},
		{FUSE_FSYNC, 16},       {FUSE_SETXATTR, 9},
		{FUSE_GETXATTR, 9},     {FUSE_LISTXATTR, 8},
		{FUSE_REMOVEXATTR, 1},  {FUSE_READDIR, 40},
		{FUSE_READDIRPLUS, 40}, {FUSE_COPY_FILE_RANGE, 56},
		{FUSE_LSEEK, 24},       {FUSE_FALLOCATE, 32},
	};
	uint8_t junk[256];
	const struct fuse_getattr_in get = {0};

	memset(junk, 0xff, sizeof(junk)); // no string ends in it
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (unsigned len = 0; len < rows[i].need; len++)
			expect(send_odd(rows[i].opcode,
					(uint32_t)sizeof(struct fuse_in_header) + len, junk, len),
			       EINVAL);
	expect(send_odd(FUSE_LOOKUP, sizeof(struct fuse_in_header) + 256, junk, 256), EINVAL);
	expect(send_odd(FUSE_SYMLINK, sizeof(struct fuse_in_header) + 2, "a", 2), EINVAL);
	// The header says another length than what came.
	expect(send_odd(FUSE_GETATTR, 4000, &get, sizeof(get)), EINVAL);
	expect(send_odd(FUSE_GETATTR, 0, &get, sizeof(get)), EINVAL);
	// A write of more bytes than are there, a read of more than fits.
	const struct fuse_write_in in = {.size = 5000};
	expect(send_odd(FUSE_WRITE, sizeof(struct fuse_in_header) + sizeof(in), &in, sizeof(in)),
	       EINVAL);
	expect(read_at(FS_ROOT, 0, (1 << 20) + 1), EINVAL);
	expect(read_at(FS_ROOT, UINT64_MAX, 1), EINVAL);
	// Less than a header, and requests without a reply: nothing happens.
	peer_send_raw(&peer, junk, 1);
	peer_send_raw(&peer, junk, sizeof(struct fuse_in_header) - 1);
	const struct fuse_batch_forget_in many = {.count = UINT32_MAX};
	const struct piece batch = {&many, sizeof(many)};
	peer_send(&peer, FUSE_BATCH_FORGET, 0, &batch, 1);
	peer_send(&peer, FUSE_FORGET, FS_ROOT, NULL, 0);
	peer_send(&peer, FUSE_NOTIFY_REPLY, FS_ROOT, &batch, 1);
	getattr(FS_ROOT);
	ck_assert_uint_eq(peer_drain(&peer), 0);
}
END_TEST

START_TEST(unknown_opcodes)
{
	static const uint32_t codes[] = {0,  7,  19,   48,   49,       50,
					 52, 53, 1000, 4096, 1u << 20, UINT32_MAX};

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		expect(send_odd(codes[i], sizeof(struct fuse_in_header), NULL, 0), ENOSYS);
}
END_TEST

static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

// Requests that are half right: known codes, few nodes, arguments of small random words.
START_TEST(random_requests)
{
	uint32_t state = 12345;
	uint8_t buf[512];

	for (unsigned i = 0; i < 20000; i++) {
		struct fuse_in_header h = {
			.opcode = next_random(&state) % 54,
			.unique = peer.unique += 2,
			.nodeid = next_random(&state) % 8,
		};
		size_t len = next_random(&state) % (sizeof(buf) - sizeof(h));

		if (h.opcode == FUSE_FALLOCATE || h.opcode == FUSE_SETATTR)
			continue; // huge sizes are legal, and slow in memory
		for (size_t k = 0; k < len; k++)
			buf[sizeof(h) + k] = next_random(&state) % 4 == 0
						     ? (uint8_t)(next_random(&state) % 120)
						     : 0;
		h.len = (uint32_t)(sizeof(h) + len);
		memcpy(buf, &h, sizeof(h));
		peer_send_raw(&peer, buf, h.len);
		peer_drain(&peer);
	}
	getattr(FS_ROOT);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create(backend_name);
	TCase *t = tcase_create("operations");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, init_negotiates);
	tcase_add_test(t, opens_need_no_request);
	tcase_add_test(t, names);
	tcase_add_test(t, all_types);
	tcase_add_test(t, bad_names);
	tcase_add_test(t, renames);
	tcase_add_test(t, contents);
	tcase_add_test(t, small_file_has_blocks);
	tcase_add_test(t, holes_and_copies);
	tcase_add_test(t, attributes);
	tcase_add_test(t, privileges_are_cleared);
	tcase_add_test(t, set_gid_directories);
	tcase_add_test(t, extended_attributes);
	tcase_add_test(t, acl_and_mode);
	tcase_add_test(t, acl_is_inherited);
	tcase_add_test(t, filesystem_size);
	tcase_add_test(t, listing);
	tcase_add_test(t, forgetting);
	tcase_add_test(t, wrong_nodes);
	tcase_add_test(t, truncated_requests);
	tcase_add_test(t, unknown_opcodes);
	tcase_add_test(t, random_requests);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return unit_main(suite());
}
