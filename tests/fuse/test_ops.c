// SPDX-License-Identifier: Apache-2.0
// Every operation over the FUSE protocol.
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
#include "tests/fuse/calls.h"
#include "tests/unit/unit_main.h"

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
	call_expect(peer_call(&peer, FUSE_INIT, 0, &in, sizeof(in), NULL), EIO);
}
END_TEST

START_TEST(opens_need_no_request)
{
	const struct fuse_open_in in = {.flags = O_RDONLY};
	const struct fuse_create_in create = {.flags = O_RDWR, .mode = 0644};

	call_expect(peer_call(&peer, FUSE_OPEN, FS_ROOT, &in, sizeof(in), NULL), ENOSYS);
	call_expect(peer_call(&peer, FUSE_OPENDIR, FS_ROOT, &in, sizeof(in), NULL), ENOSYS);
	call_expect(peer_call(&peer, FUSE_CREATE, FS_ROOT, &create, sizeof(create), "f"), ENOSYS);
	call_expect(call_lookup(FS_ROOT, "f"), 0); // negative entry
	call_expect(peer_call(&peer, FUSE_INTERRUPT, 0, &in, sizeof(in), NULL), ENOSYS);
	call_expect(peer_call(&peer, FUSE_IOCTL, FS_ROOT, &create, sizeof(create), NULL), ENOTTY);
	call_expect(peer_call(&peer, FUSE_TMPFILE, FS_ROOT, &create, sizeof(create), "f"), ENOSYS);
}
END_TEST

START_TEST(names)
{
	struct fuse_entry_out e = call_entry(call_lookup(FS_ROOT, "absent"));
	ck_assert_uint_eq(e.nodeid, 0);
	ck_assert_uint_eq(e.entry_valid, 3600);

	uint64_t dir = call_entry(call_mkdir(FS_ROOT, "dir", 0777, 022)).nodeid;
	uint64_t file = call_make_file(dir, "file", 0644);
	e = call_entry(call_lookup(dir, "file"));
	ck_assert_uint_eq(e.nodeid, file);
	ck_assert_uint_eq(e.attr.ino, file);
	ck_assert_uint_eq(e.attr.mode, S_IFREG | 0644);
	ck_assert_uint_eq(e.entry_valid, 3600);
	ck_assert_uint_eq(e.attr_valid, 3600);
	call_expect(call_mknod(dir, "file", S_IFREG, 0), EEXIST);
	ck_assert_uint_eq(call_getattr(dir).mode, S_IFDIR | 0755);

	const struct fuse_link_in link = {.oldnodeid = file};
	e = call_entry(peer_call(&peer, FUSE_LINK, FS_ROOT, &link, sizeof(link), "hard"));
	ck_assert_uint_eq(e.nodeid, file);
	ck_assert_uint_eq(e.attr.nlink, 2);

	call_expect(peer_call(&peer, FUSE_RMDIR, FS_ROOT, NULL, 0, "dir"), ENOTEMPTY);
	call_expect(peer_call(&peer, FUSE_UNLINK, dir, NULL, 0, "file"), 0);
	call_expect(peer_call(&peer, FUSE_UNLINK, dir, NULL, 0, "file"), ENOENT);
	call_expect(peer_call(&peer, FUSE_RMDIR, FS_ROOT, NULL, 0, "dir"), 0);
	call_expect(peer_call(&peer, FUSE_UNLINK, FS_ROOT, NULL, 0, "hard"), 0);
	// Still known to the kernel: without a name, but alive.
	ck_assert_uint_eq(call_getattr(file).nlink, 0);
	call_expect(call_write(file, 0, "x", 1, 0), 0);
	call_expect(call_read(file, 0, 10), 0);
}
END_TEST

START_TEST(all_types)
{
	static const uint32_t types[] = {S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK};
	char name[2] = "a";

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++, name[0]++) {
		struct fuse_entry_out e =
			call_entry(call_mknod(FS_ROOT, name, types[i] | 0666, 027));

		ck_assert_uint_eq(e.attr.mode, types[i] | 0640);
		bool device = types[i] == S_IFCHR || types[i] == S_IFBLK;
		ck_assert_uint_eq(e.attr.rdev, device ? 0x1234 : 0);
	}
	call_expect(call_mknod(FS_ROOT, "dir", S_IFDIR | 0700, 0), EINVAL);

	struct fuse_entry_out e =
		call_entry(call_two_names(FUSE_SYMLINK, FS_ROOT, NULL, 0, "sym", "some/where"));
	ck_assert_uint_eq(e.attr.mode, S_IFLNK | 0777);
	ck_assert_uint_eq(e.attr.size, 10);
	struct reply r = peer_call(&peer, FUSE_READLINK, e.nodeid, NULL, 0, NULL);
	call_expect(r, 0);
	ck_assert_mem_eq(r.data, "some/where", 10);
	ck_assert_uint_eq(r.len, 10);

	char target[FS_TARGET_MAX + 2];
	memset(target, 't', sizeof(target));
	target[FS_TARGET_MAX] = '\0';
	call_entry(call_two_names(FUSE_SYMLINK, FS_ROOT, NULL, 0, "long", target));
	target[FS_TARGET_MAX] = 't';
	target[FS_TARGET_MAX + 1] = '\0';
	call_expect(call_two_names(FUSE_SYMLINK, FS_ROOT, NULL, 0, "longer", target), ENAMETOOLONG);
}
END_TEST

START_TEST(renames)
{
	const struct fuse_rename_in old = {.newdir = FS_ROOT};
	uint64_t a = call_make_file(FS_ROOT, "a", 0600), b = call_make_file(FS_ROOT, "b", 0600);

	call_expect(call_rename(FS_ROOT, "a", FS_ROOT, "b", RENAME_NOREPLACE), EEXIST);
	call_expect(call_rename(FS_ROOT, "a", FS_ROOT, "b", RENAME_WHITEOUT), EINVAL);
	call_expect(call_rename(FS_ROOT, "a", FS_ROOT, "b", RENAME_EXCHANGE | RENAME_NOREPLACE),
		    EINVAL);
	call_expect(call_rename(FS_ROOT, "a", FS_ROOT, "b", RENAME_EXCHANGE), 0);
	ck_assert_uint_eq(call_entry(call_lookup(FS_ROOT, "a")).nodeid, b);
	ck_assert_uint_eq(call_entry(call_lookup(FS_ROOT, "b")).nodeid, a);
	call_expect(call_two_names(FUSE_RENAME, FS_ROOT, &old, sizeof(old), "a", "c"), 0);
	call_expect(call_rename(FS_ROOT, "c", FS_ROOT, "b", 0), 0);
	ck_assert_uint_eq(call_entry(call_lookup(FS_ROOT, "b")).nodeid, b);
	ck_assert_uint_eq(call_entry(call_lookup(FS_ROOT, "c")).nodeid, 0);
	call_expect(call_rename(FS_ROOT, "none", FS_ROOT, "b", 0), ENOENT);
}
END_TEST

START_TEST(contents)
{
	static uint8_t data[128 << 10];
	uint64_t file = call_make_file(FS_ROOT, "f", 0644);

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + (i >> 8));
	struct reply r = call_write(file, 0, data, sizeof(data), FUSE_WRITE_CACHE);
	call_expect(r, 0);
	struct fuse_write_out out;
	memcpy(&out, r.data, sizeof(out));
	ck_assert_uint_eq(out.size, sizeof(data));
	r = call_read(file, 0, sizeof(data));
	call_expect(r, 0);
	ck_assert_uint_eq(r.len, sizeof(data));
	ck_assert_mem_eq(r.data, data, sizeof(data));
	r = call_read(file, 100001, 999);
	ck_assert_uint_eq(r.len, 999);
	ck_assert_mem_eq(r.data, data + 100001, 999);
	r = call_read(file, sizeof(data) - 10, 4096);
	ck_assert_uint_eq(r.len, 10);
	ck_assert_uint_eq(call_read(file, 1 << 20, 4096).len, 0);
	struct fuse_attr a = call_getattr(file);
	ck_assert_uint_eq(a.size, sizeof(data));
	ck_assert_uint_eq(a.blocks, sizeof(data) / 512);
	ck_assert_uint_eq(a.blksize, 4096);

	const struct fuse_fsync_in sync = {0};
	call_expect(peer_call(&peer, FUSE_FSYNC, file, &sync, sizeof(sync), NULL), 0);
	call_expect(peer_call(&peer, FUSE_FSYNCDIR, FS_ROOT, &sync, sizeof(sync), NULL), 0);
	call_expect(call_write(file, FS_SIZE_MAX, "x", 1, 0), EFBIG);
	call_expect(call_read(FS_ROOT, 0, 10), EISDIR);
}
END_TEST

START_TEST(small_file_has_blocks)
{
	uint64_t file = call_make_file(FS_ROOT, "f", 0644);

	ck_assert_uint_eq(call_getattr(file).blocks, 0);
	call_expect(call_write(file, 0, "hello", 5, 0), 0);
	ck_assert_uint_eq(call_getattr(file).blocks, 8);
}
END_TEST

START_TEST(holes_and_copies)
{
	uint64_t file = call_make_file(FS_ROOT, "f", 0644),
		 copy = call_make_file(FS_ROOT, "g", 0644);
	struct fuse_fallocate_in alloc = {.length = 8192};
	unsigned before = peer.notifications;

	call_expect(peer_call(&peer, FUSE_FALLOCATE, file, &alloc, sizeof(alloc), NULL), 0);
	ck_assert_uint_eq(call_getattr(file).size, 8192);
	call_expect(call_write(file, 4096, "data", 4, 0), 0);
	struct fuse_lseek_in seek = {.offset = 4096, .whence = SEEK_DATA};
	struct reply r = peer_call(&peer, FUSE_LSEEK, file, &seek, sizeof(seek), NULL);
	call_expect(r, 0);
	struct fuse_lseek_out at;
	memcpy(&at, r.data, sizeof(at));
	ck_assert_uint_eq(at.offset, 4096);
	// The kernel was asked for what it had not written back yet, before the answer.
	ck_assert_uint_eq(peer.notifications, before + 1);
	seek = (struct fuse_lseek_in){.offset = 9000, .whence = SEEK_HOLE};
	call_expect(peer_call(&peer, FUSE_LSEEK, file, &seek, sizeof(seek), NULL), ENXIO);
	seek.whence = SEEK_END;
	call_expect(peer_call(&peer, FUSE_LSEEK, file, &seek, sizeof(seek), NULL), EINVAL);

	alloc = (struct fuse_fallocate_in){
		.offset = 4096, .length = 4096, .mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE};
	call_expect(peer_call(&peer, FUSE_FALLOCATE, file, &alloc, sizeof(alloc), NULL), 0);
	r = call_read(file, 4096, 4);
	ck_assert_mem_eq(r.data, "\0\0\0\0", 4);
	alloc.mode = FALLOC_FL_COLLAPSE_RANGE;
	call_expect(peer_call(&peer, FUSE_FALLOCATE, file, &alloc, sizeof(alloc), NULL),
		    EOPNOTSUPP);
	alloc = (struct fuse_fallocate_in){.offset = FS_SIZE_MAX, .length = 1};
	call_expect(peer_call(&peer, FUSE_FALLOCATE, file, &alloc, sizeof(alloc), NULL), EFBIG);

	call_expect(call_write(file, 0, "content", 7, 0), 0);
	struct fuse_copy_file_range_in cp = {.nodeid_out = copy, .len = 1 << 30, .off_out = 3};
	r = peer_call(&peer, FUSE_COPY_FILE_RANGE, file, &cp, sizeof(cp), NULL);
	call_expect(r, 0);
	struct fuse_write_out done;
	memcpy(&done, r.data, sizeof(done));
	ck_assert_uint_eq(done.size, 8192);
	r = call_read(copy, 3, 7);
	ck_assert_mem_eq(r.data, "content", 7);
	cp.flags = 1;
	call_expect(peer_call(&peer, FUSE_COPY_FILE_RANGE, file, &cp, sizeof(cp), NULL), EINVAL);
}
END_TEST

START_TEST(attributes)
{
	uint64_t file = call_make_file(FS_ROOT, "f", 0644);
	struct fuse_attr a = call_attr(
		call_setattr(file, (struct fuse_setattr_in){.valid = FATTR_SIZE, .size = 100000}));

	ck_assert_uint_eq(a.size, 100000);
	a = call_attr(call_setattr(
		file, (struct fuse_setattr_in){.valid = FATTR_MODE | FATTR_UID | FATTR_GID,
					       .mode = 04711,
					       .uid = 12,
					       .gid = 13}));
	ck_assert_uint_eq(a.mode, S_IFREG | 04711);
	ck_assert_uint_eq(a.uid, 12);
	ck_assert_uint_eq(a.gid, 13);
	a = call_attr(call_setattr(
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
	a = call_attr(call_setattr(
		file, (struct fuse_setattr_in){.valid = FATTR_ATIME | FATTR_ATIME_NOW |
							FATTR_MTIME | FATTR_MTIME_NOW}));
	ck_assert_uint_ne(a.atime, 1000);
	ck_assert_int_ge((int64_t)a.mtime, 0);
	call_expect(call_setattr(file, (struct fuse_setattr_in){.valid = FATTR_MTIME,
								.mtimensec = 1000000000}),
		    EINVAL);
	call_expect(call_setattr(file, (struct fuse_setattr_in){.valid = FATTR_SIZE,
								.size = FS_SIZE_MAX + 1}),
		    EFBIG);
	call_expect(call_setattr(file,
				 (struct fuse_setattr_in){.valid = FATTR_SIZE, .size = UINT64_MAX}),
		    EFBIG);
	call_expect(call_setattr(FS_ROOT, (struct fuse_setattr_in){.valid = FATTR_FH}), 0);
}
END_TEST

START_TEST(privileges_are_cleared)
{
	uint64_t file = call_make_file(FS_ROOT, "f", 04755);

	call_expect(call_write(file, 0, "x", 1, FUSE_WRITE_CACHE), 0);
	ck_assert_uint_eq(call_getattr(file).mode & 07777, 04755);
	unsigned before = peer.notifications;
	call_expect(call_write(file, 0, "x", 1, FUSE_WRITE_KILL_SUIDGID), 0);
	ck_assert_uint_eq(call_getattr(file).mode & 07777, 0755);
	// The kernel would go on with its cached mode.
	ck_assert_uint_eq(peer.notifications, before + 1);
	call_expect(call_write(file, 0, "x", 1, FUSE_WRITE_KILL_SUIDGID), 0);
	ck_assert_uint_eq(peer.notifications, before + 1);
	call_setattr(file, (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 04755});
	struct fuse_attr a = call_attr(call_setattr(
		file, (struct fuse_setattr_in){.valid = FATTR_UID | FATTR_KILL_SUIDGID, .uid = 7}));
	ck_assert_uint_eq(a.mode & 07777, 0755);
	call_setattr(file, (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 04755});
	a = call_attr(call_setattr(
		file, (struct fuse_setattr_in){.valid = FATTR_SIZE | FATTR_KILL_SUIDGID}));
	ck_assert_uint_eq(a.mode & 07777, 0755);
	// Of FALLOCATE and COPY_FILE_RANGE the kernel says nothing.
	const struct fuse_fallocate_in alloc = {.length = 10};
	const struct fuse_copy_file_range_in cp = {.nodeid_out = file, .len = 5, .off_out = 5};
	call_setattr(file, (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 04755});
	call_expect(peer_call(&peer, FUSE_FALLOCATE, file, &alloc, sizeof(alloc), NULL), 0);
	ck_assert_uint_eq(call_getattr(file).mode & 07777, 04755);
	peer.uid = 1000;
	call_expect(peer_call(&peer, FUSE_FALLOCATE, file, &alloc, sizeof(alloc), NULL), 0);
	ck_assert_uint_eq(call_getattr(file).mode & 07777, 0755);
	call_setattr(file, (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 04755});
	call_expect(peer_call(&peer, FUSE_COPY_FILE_RANGE, file, &cp, sizeof(cp), NULL), 0);
	ck_assert_uint_eq(call_getattr(file).mode & 07777, 0755);
	ck_assert_uint_eq(peer.notifications, before + 3);
}
END_TEST

START_TEST(set_gid_directories)
{
	peer.uid = 1000;
	peer.gid = 1001;
	struct fuse_entry_out e = call_entry(call_mkdir(FS_ROOT, "dir", 0777, 022));
	ck_assert_uint_eq(e.attr.uid, 1000);
	ck_assert_uint_eq(e.attr.gid, 1001);
	call_attr(call_setattr(e.nodeid, (struct fuse_setattr_in){.valid = FATTR_MODE | FATTR_GID,
								  .mode = 02777,
								  .gid = 55}));
	struct fuse_entry_out f = call_entry(call_mknod(e.nodeid, "f", S_IFREG | 0666, 022));
	ck_assert_uint_eq(f.attr.gid, 55);
	ck_assert_uint_eq(f.attr.mode, S_IFREG | 0644);
	f = call_entry(call_mkdir(e.nodeid, "d", 0777, 022));
	ck_assert_uint_eq(f.attr.gid, 55);
	ck_assert_uint_eq(f.attr.mode, S_IFDIR | 02755);
	f = call_entry(call_two_names(FUSE_SYMLINK, e.nodeid, NULL, 0, "s", "t"));
	ck_assert_uint_eq(f.attr.gid, 55);
}
END_TEST

START_TEST(extended_attributes)
{
	uint64_t file = call_make_file(FS_ROOT, "f", 0644);
	char *big = calloc(1, 70000);

	call_expect(call_getxattr(file, "user.a", 100), ENODATA);
	call_expect(call_setxattr(file, "user.a", "value", 5, XATTR_REPLACE, 0), ENODATA);
	call_expect(call_setxattr(file, "user.a", "value", 5, XATTR_CREATE, 0), 0);
	call_expect(call_setxattr(file, "user.a", "value", 5, XATTR_CREATE, 0), EEXIST);
	call_expect(call_setxattr(file, "user.a", "value", 5, 4, 0), EINVAL);
	call_expect(call_setxattr(file, "trusted.t", "", 0, 0, 0), 0);
	call_expect(call_setxattr(file, "security.capability", "c", 1, 0, 0), 0);
	call_expect(call_setxattr(file, "system.other", "c", 1, 0, 0), EOPNOTSUPP);
	call_expect(call_setxattr(file, "nonsense", "c", 1, 0, 0), EOPNOTSUPP);
	call_expect(call_setxattr(file, "user.", "c", 1, 0, 0), EOPNOTSUPP);
	call_expect(call_setxattr(file, "user.big", big, 65537, 0, 0), E2BIG);
	free(big);

	struct reply r = call_getxattr(file, "user.a", 100);
	ck_assert_uint_eq(r.len, 5);
	ck_assert_mem_eq(r.data, "value", 5);
	call_expect(call_getxattr(file, "user.a", 4), ERANGE);
	r = call_getxattr(file, "user.a", 0);
	struct fuse_getxattr_out size;
	ck_assert_uint_eq(r.len, sizeof(size));
	memcpy(&size, r.data, sizeof(size));
	ck_assert_uint_eq(size.size, 5);
	call_expect(call_getxattr(file, "trusted.t", 10), 0);

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
	call_expect(peer_call(&peer, FUSE_LISTXATTR, file, &tight, sizeof(tight), NULL), ERANGE);

	call_expect(peer_call(&peer, FUSE_REMOVEXATTR, file, NULL, 0, "user.a"), 0);
	call_expect(peer_call(&peer, FUSE_REMOVEXATTR, file, NULL, 0, "user.a"), ENODATA);
	call_expect(call_getxattr(file, "user.a", 100), ENODATA);
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
	uint64_t file = call_make_file(FS_ROOT, "f", 02600);

	call_expect(call_setxattr(file, ACL_ACCESS, acl_full, sizeof(acl_full), 0, 0), 0);
	ck_assert_uint_eq(call_getattr(file).mode, S_IFREG | 02674);
	// chmod changes owner, mask and others.
	call_attr(call_setattr(file, (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 02750}));
	struct reply r = call_getxattr(file, ACL_ACCESS, 1000);
	ck_assert_uint_eq(r.len, sizeof(acl_full));
	ck_assert_uint_eq(r.data[4 + 2], 7);         // owner
	ck_assert_uint_eq(r.data[4 + 2 * 8 + 2], 4); // group, as before
	ck_assert_uint_eq(r.data[4 + 3 * 8 + 2], 5); // mask
	ck_assert_uint_eq(r.data[4 + 4 * 8 + 2], 0); // others
	ck_assert_uint_eq(call_getattr(file).mode, S_IFREG | 02750);
	// Set-gid goes when the caller is a stranger to the group.
	call_expect(call_setxattr(file, ACL_ACCESS, acl_full, sizeof(acl_full), 0,
				  FUSE_SETXATTR_ACL_KILL_SGID),
		    0);
	ck_assert_uint_eq(call_getattr(file).mode, S_IFREG | 0674);
	// An ACL that says no more than the mode becomes the mode.
	call_expect(call_setxattr(file, ACL_ACCESS, acl_small, sizeof(acl_small), 0, 0), 0);
	ck_assert_uint_eq(call_getattr(file).mode, S_IFREG | 0604);
	call_expect(call_getxattr(file, ACL_ACCESS, 1000), ENODATA);
	call_expect(peer_call(&peer, FUSE_REMOVEXATTR, file, NULL, 0, ACL_ACCESS), 0);

	call_expect(call_setxattr(file, ACL_DEFAULT, acl_full, sizeof(acl_full), 0, 0), EACCES);
	call_expect(call_setxattr(file, ACL_ACCESS, acl_full, sizeof(acl_full) - 8, 0, 0), EINVAL);
	call_expect(call_setxattr(file, ACL_ACCESS, acl_full, 5, 0, 0), EINVAL);
	uint64_t link = call_entry(call_two_names(FUSE_SYMLINK, FS_ROOT, NULL, 0, "s", "t")).nodeid;
	call_expect(call_setxattr(link, ACL_ACCESS, acl_full, sizeof(acl_full), 0, 0), EOPNOTSUPP);
}
END_TEST

START_TEST(acl_is_inherited)
{
	uint64_t dir = call_entry(call_mkdir(FS_ROOT, "d", 0755, 0)).nodeid;

	call_expect(call_setxattr(dir, ACL_DEFAULT, acl_full, sizeof(acl_full), 0, 0), 0);
	// The umask does not count where there is a default ACL.
	struct fuse_entry_out e = call_entry(call_mknod(dir, "f", S_IFREG | 0660, 077));
	ck_assert_uint_eq(e.attr.mode, S_IFREG | 0660);
	struct reply r = call_getxattr(e.nodeid, ACL_ACCESS, 1000);
	ck_assert_uint_eq(r.len, sizeof(acl_full));
	ck_assert_uint_eq(r.data[4 + 3 * 8 + 2], 6); // mask
	ck_assert_uint_eq(r.data[4 + 4 * 8 + 2], 0); // others
	call_expect(call_getxattr(e.nodeid, ACL_DEFAULT, 1000), ENODATA);

	e = call_entry(call_mkdir(dir, "sub", 0777, 077));
	ck_assert_uint_eq(e.attr.mode, S_IFDIR | 0674);
	r = call_getxattr(e.nodeid, ACL_DEFAULT, 1000);
	ck_assert_uint_eq(r.len, sizeof(acl_full));
	ck_assert_mem_eq(r.data, acl_full, sizeof(acl_full));
	call_expect(call_getxattr(e.nodeid, ACL_ACCESS, 1000), 0);

	call_expect(call_setxattr(dir, ACL_DEFAULT, acl_small, sizeof(acl_small), 0, 0), 0);
	e = call_entry(call_mknod(dir, "g", S_IFREG | 0666, 077));
	ck_assert_uint_eq(e.attr.mode, S_IFREG | 0604);
	call_expect(call_getxattr(e.nodeid, ACL_ACCESS, 1000), ENODATA);
	e = call_entry(call_two_names(FUSE_SYMLINK, dir, NULL, 0, "s", "t"));
	ck_assert_uint_eq(e.attr.mode, S_IFLNK | 0777);
}
END_TEST

START_TEST(filesystem_size)
{
	struct reply r = peer_call(&peer, FUSE_STATFS, FS_ROOT, NULL, 0, NULL);
	struct fuse_statfs_out st;

	call_expect(r, 0);
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

	call_expect(r, 0);
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
	uint64_t dir = call_entry(call_mkdir(FS_ROOT, "d", 0755, 0)).nodeid;
	char name[8];

	for (unsigned i = 0; i < LISTED; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		call_make_file(dir, name, 0640);
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
	uint64_t file = call_make_file(FS_ROOT, "f", 0644);
	call_expect(peer_call(&peer, FUSE_READDIR, file, &in, sizeof(in), NULL), ENOTDIR);
}
END_TEST

START_TEST(forgetting)
{
	uint64_t file = call_make_file(FS_ROOT, "f", 0644),
		 other = call_make_file(FS_ROOT, "g", 0644);
	const struct fuse_forget_in one = {.nlookup = 1};
	const struct {
		struct fuse_batch_forget_in head;
		struct fuse_forget_one rows[2];
	} batch = {{.count = 2}, {{other, 1}, {99999, 1}}};
	const struct piece single = {&one, sizeof(one)}, many = {&batch, sizeof(batch)};

	call_entry(call_lookup(FS_ROOT, "f"));
	call_expect(peer_call(&peer, FUSE_UNLINK, FS_ROOT, NULL, 0, "f"), 0);
	call_expect(peer_call(&peer, FUSE_UNLINK, FS_ROOT, NULL, 0, "g"), 0);
	peer_send(&peer, FUSE_FORGET, file, &single, 1);
	call_getattr(file); // one count is left
	peer_send(&peer, FUSE_FORGET, file, &single, 1);
	peer_send(&peer, FUSE_BATCH_FORGET, 0, &many, 1);
	call_await_gone(file);
	call_await_gone(other);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create(backend_name);
	TCase *t = tcase_create("operations");

	tcase_add_checked_fixture(t, calls_setup, calls_teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, init_negotiates);
	tcase_add_test(t, opens_need_no_request);
	tcase_add_test(t, names);
	tcase_add_test(t, all_types);
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
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return unit_main(suite());
}
