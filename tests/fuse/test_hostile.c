// SPDX-License-Identifier: Apache-2.0
// Messages that no kernel would send.
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fuse/calls.h"
#include "tests/unit/unit_main.h"

START_TEST(bad_names)
{
	char name[300];
	static const char *const invalid[] = {"", ".", "..", "a/b", "/"};

	memset(name, 'n', sizeof(name));
	name[255] = '\0';
	call_make_file(FS_ROOT, name, 0600);
	name[255] = 'n';
	name[256] = '\0';
	call_expect(call_lookup(FS_ROOT, name), ENAMETOOLONG);
	call_expect(call_mknod(FS_ROOT, name, S_IFREG, 0), ENAMETOOLONG);
	for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
		call_expect(call_lookup(FS_ROOT, invalid[i]), EINVAL);
		call_expect(call_mknod(FS_ROOT, invalid[i], S_IFREG, 0), EINVAL);
		call_expect(call_mkdir(FS_ROOT, invalid[i], 0700, 0), EINVAL);
		call_expect(peer_call(&peer, FUSE_RMDIR, FS_ROOT, NULL, 0, invalid[i]), EINVAL);
	}
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

		call_expect(peer_call(&peer, FUSE_GETATTR, n, &get, sizeof(get), NULL), ESTALE);
		call_expect(call_setattr(n, (struct fuse_setattr_in){.valid = FATTR_MODE}), ESTALE);
		call_expect(call_lookup(n, "x"), ESTALE);
		call_expect(call_mknod(n, "x", S_IFREG, 0), ESTALE);
		call_expect(call_read(n, 0, 10), ESTALE);
		call_expect(call_write(n, 0, "x", 1, 0), ESTALE);
		call_expect(peer_call(&peer, FUSE_READLINK, n, NULL, 0, NULL), ESTALE);
		call_expect(peer_call(&peer, FUSE_UNLINK, n, NULL, 0, "x"), ESTALE);
		call_expect(peer_call(&peer, FUSE_FSYNC, n, &sync, sizeof(sync), NULL), ESTALE);
		call_expect(peer_call(&peer, FUSE_LINK, FS_ROOT, &link, sizeof(link), "x"), ESTALE);
		call_expect(peer_call(&peer, FUSE_LSEEK, n, &seek, sizeof(seek), NULL), ESTALE);
		ck_assert_int_ne(
			peer_call(&peer, FUSE_COPY_FILE_RANGE, FS_ROOT, &cp, sizeof(cp), NULL).err,
			0);
		ck_assert_int_ne(call_rename(FS_ROOT, "x", n, "y", 0).err, 0);
		call_expect(call_getxattr(n, "user.x", 10), ESTALE);
		call_expect(call_setxattr(n, "user.x", "v", 1, 0, 0), ESTALE);
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
			call_expect(send_odd(rows[i].opcode,
					     (uint32_t)sizeof(struct fuse_in_header) + len, junk,
					     len),
				    EINVAL);
	call_expect(send_odd(FUSE_LOOKUP, sizeof(struct fuse_in_header) + 256, junk, 256), EINVAL);
	call_expect(send_odd(FUSE_SYMLINK, sizeof(struct fuse_in_header) + 2, "a", 2), EINVAL);
	// The header says another length than what came.
	call_expect(send_odd(FUSE_GETATTR, 4000, &get, sizeof(get)), EINVAL);
	call_expect(send_odd(FUSE_GETATTR, 0, &get, sizeof(get)), EINVAL);
	// A write of more bytes than are there, a read of more than fits.
	const struct fuse_write_in in = {.size = 5000};
	call_expect(
		send_odd(FUSE_WRITE, sizeof(struct fuse_in_header) + sizeof(in), &in, sizeof(in)),
		EINVAL);
	call_expect(call_read(FS_ROOT, 0, (1 << 20) + 1), EINVAL);
	call_expect(call_read(FS_ROOT, UINT64_MAX, 1), EINVAL);
	// Less than a header, and requests without a reply: nothing happens.
	peer_send_raw(&peer, junk, 1);
	peer_send_raw(&peer, junk, sizeof(struct fuse_in_header) - 1);
	const struct fuse_batch_forget_in many = {.count = UINT32_MAX};
	const struct piece batch = {&many, sizeof(many)};
	peer_send(&peer, FUSE_BATCH_FORGET, 0, &batch, 1);
	peer_send(&peer, FUSE_FORGET, FS_ROOT, NULL, 0);
	peer_send(&peer, FUSE_NOTIFY_REPLY, FS_ROOT, &batch, 1);
	call_getattr(FS_ROOT);
	ck_assert_uint_eq(peer_drain(&peer), 0);
}
END_TEST

START_TEST(unknown_opcodes)
{
	static const uint32_t codes[] = {0,  7,  19,   48,   49,       50,
					 52, 53, 1000, 4096, 1u << 20, UINT32_MAX};

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		call_expect(send_odd(codes[i], sizeof(struct fuse_in_header), NULL, 0), ENOSYS);
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
	call_getattr(FS_ROOT);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create(backend_name);
	TCase *t = tcase_create("hostile");

	tcase_add_checked_fixture(t, calls_setup, calls_teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, bad_names);
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
