// SPDX-License-Identifier: Apache-2.0
#include "tests/fuse/calls.h"

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

struct peer peer;
struct fs *backend;

void calls_setup(void)
{
	backend = backend_open();
	peer_start(&peer, backend, 3, true);
}

void calls_teardown(void)
{
	ck_assert_int_eq(peer_stop(&peer), 0);
	backend_close(backend);
}

void call_expect(struct reply r, int err)
{
	ck_assert_msg(r.err == err, "errno %d, expected %d", r.err, err);
}

struct fuse_entry_out call_entry(struct reply r)
{
	struct fuse_entry_out e;

	call_expect(r, 0);
	ck_assert_uint_eq(r.len, sizeof(e));
	memcpy(&e, r.data, sizeof(e));
	return e;
}

struct fuse_attr call_attr(struct reply r)
{
	struct fuse_attr_out a;

	call_expect(r, 0);
	ck_assert_uint_eq(r.len, sizeof(a));
	memcpy(&a, r.data, sizeof(a));
	ck_assert_uint_eq(a.attr_valid, 3600);
	return a.attr;
}

struct reply call_mknod(uint64_t parent, const char *name, uint32_t mode, uint32_t umask_)
{
	const struct fuse_mknod_in in = {.mode = mode, .umask = umask_, .rdev = 0x1234};

	return peer_call(&peer, FUSE_MKNOD, parent, &in, sizeof(in), name);
}

uint64_t call_make_file(uint64_t parent, const char *name, uint32_t mode)
{
	return call_entry(call_mknod(parent, name, S_IFREG | mode, 0)).nodeid;
}

struct reply call_mkdir(uint64_t parent, const char *name, uint32_t mode, uint32_t umask_)
{
	const struct fuse_mkdir_in in = {.mode = mode, .umask = umask_};

	return peer_call(&peer, FUSE_MKDIR, parent, &in, sizeof(in), name);
}

struct reply call_lookup(uint64_t parent, const char *name)
{
	return peer_call(&peer, FUSE_LOOKUP, parent, NULL, 0, name);
}

struct fuse_attr call_getattr(uint64_t ino)
{
	const struct fuse_getattr_in in = {0};

	return call_attr(peer_call(&peer, FUSE_GETATTR, ino, &in, sizeof(in), NULL));
}

void call_await_gone(uint64_t ino)
{
	const struct fuse_getattr_in in = {0};
	struct reply r;
	int turns = 4000; // twenty seconds

	do {
		(void)poll(NULL, 0, 5);
		ck_assert_int_eq(fs_checkpoint(backend), 0);
		r = peer_call(&peer, FUSE_GETATTR, ino, &in, sizeof(in), NULL);
	} while (r.err == 0 && --turns > 0);
	call_expect(r, ESTALE);
}

struct reply call_setattr(uint64_t ino, struct fuse_setattr_in in)
{
	return peer_call(&peer, FUSE_SETATTR, ino, &in, sizeof(in), NULL);
}

struct reply call_write(uint64_t ino, uint64_t off, const void *data, uint32_t len, uint32_t flags)
{
	const struct fuse_write_in in = {.offset = off, .size = len, .write_flags = flags};
	const struct piece pieces[] = {{&in, sizeof(in)}, {data, len}};

	return peer_wait(&peer, peer_send(&peer, FUSE_WRITE, ino, pieces, 2));
}

struct reply call_read(uint64_t ino, uint64_t off, uint32_t len)
{
	const struct fuse_read_in in = {.offset = off, .size = len};

	return peer_call(&peer, FUSE_READ, ino, &in, sizeof(in), NULL);
}

struct reply call_setxattr(uint64_t ino, const char *name, const void *value, uint32_t len,
			   uint32_t flags, uint32_t ext)
{
	const struct fuse_setxattr_in in = {.size = len, .flags = flags, .setxattr_flags = ext};
	const struct piece pieces[] = {{&in, sizeof(in)}, {name, strlen(name) + 1}, {value, len}};

	return peer_wait(&peer, peer_send(&peer, FUSE_SETXATTR, ino, pieces, 3));
}

struct reply call_getxattr(uint64_t ino, const char *name, uint32_t size)
{
	const struct fuse_getxattr_in in = {.size = size};

	return peer_call(&peer, FUSE_GETXATTR, ino, &in, sizeof(in), name);
}

struct reply call_two_names(uint32_t opcode, uint64_t ino, const void *arg, size_t len,
			    const char *one, const char *two)
{
	const struct piece pieces[] = {{arg, len}, {one, strlen(one) + 1}, {two, strlen(two) + 1}};

	return peer_wait(&peer, peer_send(&peer, opcode, ino, pieces, 3));
}

struct reply call_rename(uint64_t from, const char *name, uint64_t to, const char *new_name,
			 uint32_t flags)
{
	const struct fuse_rename2_in in = {.newdir = to, .flags = flags};

	return call_two_names(FUSE_RENAME2, from, &in, sizeof(in), name, new_name);
}
