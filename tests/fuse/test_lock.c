// SPDX-License-Identifier: Apache-2.0
// Locking over a socketpair: a server leaves a connection to the keyless one, and another server on
// a newly opened vault takes it back.
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fusefs/handover.h"
#include "fusefs/keyless.h"
#include "tests/fuse/calls.h"
#include "tests/unit/unit_main.h"

#define LOCKED EKEYREVOKED

static struct handover_node *nodes;
static size_t nodes_len, lost;
static struct fuse_connection connection;
static struct keyless *keyless;
static pthread_t keyless_thread;
static int keyless_result;

static void *run_keyless(void *arg)
{
	const struct keyless_face *face = arg;

	keyless_result = keyless_run(keyless, face, nodes, nodes_len);
	return NULL;
}

// The server refuses, ends, and leaves the connection behind.
static void leave(void)
{
	fuse_server_refuse(peer.server, LOCKED);
	fuse_server_pause(peer.server);
	pthread_join(peer.thread, NULL);
	ck_assert_int_eq(peer.result, 0);
	ck_assert_int_eq(fs_hand_over(backend, &nodes, &nodes_len), 0);
	fuse_server_connection(peer.server, &connection);
	connection.fd = dup(connection.fd);
	ck_assert_int_ge(connection.fd, 0);
	fuse_server_free(peer.server);
}

static void serve_keyless(void)
{
	static struct keyless_face face = {
		.error = LOCKED,
		.root = {.st_mode = S_IFDIR | 0755, .st_nlink = 2, .st_uid = 7},
		.space = {.f_bsize = 4096, .f_frsize = 4096, .f_blocks = 1000, .f_namemax = 255},
	};

	ck_assert_int_eq(keyless_new(dup(connection.fd), &keyless), 0);
	ck_assert_int_eq(pthread_create(&keyless_thread, NULL, run_keyless, &face), 0);
}

static void end_keyless(void)
{
	size_t len;

	keyless_stop(keyless);
	pthread_join(keyless_thread, NULL);
	ck_assert_int_eq(keyless_result, 0);
	free(nodes);
	const struct handover_node *now = keyless_nodes(keyless, &len);
	ck_assert_uint_eq(len, nodes_len);
	nodes = malloc((len + 1) * sizeof(*nodes));
	memcpy(nodes, now, len * sizeof(*nodes));
}

static void *server_main(void *arg)
{
	(void)arg;
	peer.result = fuse_server_run(peer.server, NULL, NULL);
	return NULL;
}

static void come_back(void)
{
	const struct keyless_parked *p = NULL;
	struct mountopts opts;
	const void *request;
	size_t len;

	backend = backend_reopen(backend, 1, -1);
	ck_assert_int_eq(fs_take_over(backend, nodes, nodes_len, &lost), 0);
	free(nodes);
	mountopts_init(&opts);
	opts.threads = 3;
	ck_assert_int_eq(fuse_server_resume(backend, &opts, &connection, &peer.server), 0);
	while (keyless != NULL && (p = keyless_parked(keyless, p, &request, &len)) != NULL)
		ck_assert_int_eq(fuse_server_replay(peer.server, request, len), 0);
	ck_assert_int_eq(pthread_create(&peer.thread, NULL, server_main, NULL), 0);
	keyless_free(keyless);
	keyless = NULL;
}

static void forget(uint64_t ino, uint64_t count)
{
	const struct fuse_forget_in in = {.nlookup = count};
	const struct piece piece = {&in, sizeof(in)};

	(void)peer_send(&peer, FUSE_FORGET, ino, &piece, 1);
}

static uint64_t send_write(uint64_t ino, uint64_t off, const char *data, uint32_t flags)
{
	const struct fuse_write_in in = {
		.offset = off, .size = (uint32_t)strlen(data), .write_flags = flags};
	const struct piece pieces[] = {{&in, sizeof(in)}, {data, strlen(data)}};

	return peer_send(&peer, FUSE_WRITE, ino, pieces, 2);
}

static void expect_text(uint64_t ino, const char *text)
{
	struct reply r = call_read(ino, 0, 4096);

	call_expect(r, 0);
	ck_assert_uint_eq(r.len, strlen(text));
	ck_assert_mem_eq(r.data, text, strlen(text));
}

START_TEST(refusing)
{
	const struct fuse_fsync_in sync = {0};
	const struct fuse_getattr_in get = {0};
	uint64_t ino = call_make_file(FUSE_ROOT_ID, "file", 0600), *wrote;
	size_t len;
	int all;

	fuse_server_refuse(peer.server, LOCKED);
	call_expect(call_lookup(FUSE_ROOT_ID, "file"), LOCKED);
	call_expect(call_read(ino, 0, 100), LOCKED);
	call_expect(peer_call(&peer, FUSE_GETATTR, ino, &get, sizeof(get), NULL), LOCKED);
	call_expect(call_mkdir(FUSE_ROOT_ID, "dir", 0700, 0), LOCKED);
	call_expect(call_setxattr(ino, "user.x", "y", 1, 0, 0), LOCKED);
	call_expect(call_write(ino, 0, "more", 4, FUSE_WRITE_CACHE), 0);
	call_expect(peer_call(&peer, FUSE_FSYNC, ino, &sync, sizeof(sync), NULL), 0);
	call_expect(peer_call(&peer, FUSE_GETATTR, FUSE_ROOT_ID, &get, sizeof(get), NULL), 0);
	ck_assert_int_eq(fuse_server_wrote(peer.server, &wrote, &len, &all), 0);
	ck_assert_uint_eq(len, 1);
	ck_assert_uint_eq(wrote[0], ino);
	ck_assert_int_eq(all, 0);
	free(wrote);
	ck_assert_int_eq(fuse_server_wrote(peer.server, &wrote, &len, &all), 0);
	ck_assert_uint_eq(len, 0);
	free(wrote);
	fuse_server_refuse(peer.server, 0);
	expect_text(ino, "more");
}
END_TEST

START_TEST(locked)
{
	const struct fuse_getattr_in get = {0};
	const struct fuse_fsync_in sync = {0};
	const struct fuse_release_in release = {0};
	uint64_t ino = call_make_file(FUSE_ROOT_ID, "file", 0600);

	call_expect(call_write(ino, 0, "content", 7, FUSE_WRITE_CACHE), 0);
	leave();
	serve_keyless();
	call_expect(call_lookup(FUSE_ROOT_ID, "file"), LOCKED);
	call_expect(call_read(ino, 0, 100), LOCKED);
	call_expect(peer_call(&peer, FUSE_GETATTR, ino, &get, sizeof(get), NULL), LOCKED);
	call_expect(peer_call(&peer, FUSE_FSYNC, ino, &sync, sizeof(sync), NULL), LOCKED);
	call_expect(call_write(ino, 0, "direct", 6, 0), LOCKED);
	call_expect(peer_call(&peer, FUSE_RELEASE, ino, &release, sizeof(release), NULL), 0);
	struct reply r = peer_call(&peer, FUSE_GETATTR, FUSE_ROOT_ID, &get, sizeof(get), NULL);
	call_expect(r, 0);
	struct fuse_attr_out root;
	ck_assert_uint_eq(r.len, sizeof(root));
	memcpy(&root, r.data, sizeof(root));
	ck_assert_uint_eq(root.attr.mode, S_IFDIR | 0755);
	ck_assert_uint_eq(root.attr.uid, 7);
	ck_assert_uint_eq(root.attr_valid, 0);
	r = peer_call(&peer, FUSE_STATFS, FUSE_ROOT_ID, NULL, 0, NULL);
	call_expect(r, 0);
	ck_assert_uint_eq(((const struct fuse_statfs_out *)(const void *)r.data)->st.blocks, 1000);
	end_keyless();
	come_back();
	ck_assert_uint_eq(lost, 0);
	expect_text(ino, "content");
	call_expect(call_lookup(FUSE_ROOT_ID, "file"), 0);
}
END_TEST

// Files in directories, links, files without a name: the same numbers go on.
START_TEST(numbers_stay)
{
	uint64_t dir = call_entry(call_mkdir(FUSE_ROOT_ID, "dir", 0700, 0)).nodeid;
	uint64_t sub = call_entry(call_mkdir(dir, "sub", 0700, 0)).nodeid;
	uint64_t deep = call_make_file(sub, "deep", 0600);
	uint64_t linked = call_make_file(sub, "linked", 0600);
	uint64_t small = call_make_file(sub, "small", 0600), large = call_make_file(dir, "l", 0600);
	const struct fuse_link_in link = {.oldnodeid = linked};
	static char big[100001];

	call_expect(peer_call(&peer, FUSE_LINK, dir, &link, sizeof(link), "other"), 0);
	call_expect(call_write(deep, 0, "deep down", 9, FUSE_WRITE_CACHE), 0);
	call_expect(call_write(linked, 0, "two names", 9, FUSE_WRITE_CACHE), 0);
	call_expect(call_write(small, 0, "no name", 7, FUSE_WRITE_CACHE), 0);
	memset(big, 'x', sizeof(big) - 1);
	call_expect(call_write(large, 0, big, 100000, FUSE_WRITE_CACHE), 0);
	call_expect(peer_call(&peer, FUSE_UNLINK, sub, NULL, 0, "small"), 0);
	call_expect(peer_call(&peer, FUSE_UNLINK, dir, NULL, 0, "l"), 0);
	for (int round = 0; round < 3; round++) {
		leave();
		serve_keyless();
		call_expect(call_read(deep, 0, 100), LOCKED);
		end_keyless();
		come_back();
		ck_assert_uint_eq(lost, 0);
		expect_text(deep, "deep down");
		expect_text(linked, "two names");
		expect_text(small, "no name");
		ck_assert_uint_eq(call_getattr(linked).nlink, 2);
		ck_assert_uint_eq(call_getattr(small).nlink, 0);
		struct reply r = call_read(large, 0, 100000);
		call_expect(r, 0);
		ck_assert_uint_eq(r.len, 100000);
		ck_assert_mem_eq(r.data, big, 100000);
		call_expect(call_write(large, 4096, "y", 1, FUSE_WRITE_CACHE), 0);
		big[4096] = 'y';
		struct fuse_entry_out none;
		r = call_lookup(sub, "small");
		call_expect(r, 0);
		memcpy(&none, r.data, sizeof(none));
		ck_assert_uint_eq(none.nodeid, 0);
	}
	// Given back, it is gone for good.
	forget(small, 1);
	forget(large, 1);
	call_await_gone(small);
	call_await_gone(large);
	leave();
	for (size_t i = 0; i < nodes_len; i++)
		ck_assert(nodes[i].number != small && nodes[i].number != large);
	come_back();
}
END_TEST

// What is forgotten meanwhile is counted.
START_TEST(forgotten_meanwhile)
{
	const struct fuse_getattr_in get = {0};
	uint64_t ino = call_make_file(FUSE_ROOT_ID, "a", 0600);
	uint64_t kept = call_make_file(FUSE_ROOT_ID, "b", 0600);

	call_expect(call_lookup(FUSE_ROOT_ID, "a"), 0);
	call_expect(call_lookup(FUSE_ROOT_ID, "b"), 0);
	leave();
	serve_keyless();
	forget(ino, 2);
	forget(kept, 1);
	call_expect(call_lookup(FUSE_ROOT_ID, "a"), LOCKED); // behind the forgetting
	end_keyless();
	come_back();
	call_expect(peer_call(&peer, FUSE_GETATTR, ino, &get, sizeof(get), NULL), ESTALE);
	(void)call_getattr(kept);
	forget(kept, 1);
	call_await_gone(kept);
	call_expect(call_lookup(FUSE_ROOT_ID, "a"), 0);
}
END_TEST

// What the kernel still writes waits, in its order, and reaches the file.
START_TEST(writes_wait)
{
	const struct fuse_setattr_in times = {
		.valid = FATTR_MTIME | FATTR_CTIME, .mtime = 1000, .ctime = 1000};
	const struct piece piece = {&times, sizeof(times)};
	uint64_t ino = call_make_file(FUSE_ROOT_ID, "a", 0600);
	struct keyless_status st;

	leave();
	serve_keyless();
	uint64_t first = send_write(ino, 0, "first", FUSE_WRITE_CACHE);
	uint64_t second = send_write(ino, 0, "secon", FUSE_WRITE_CACHE);
	uint64_t third = peer_send(&peer, FUSE_SETATTR, ino, &piece, 1);
	call_expect(call_lookup(FUSE_ROOT_ID, "a"), LOCKED);
	keyless_get_status(keyless, &st);
	ck_assert_uint_eq(st.parked, 3);
	end_keyless();
	come_back();
	call_expect(peer_wait(&peer, first), 0);
	call_expect(peer_wait(&peer, second), 0);
	call_expect(peer_wait(&peer, third), 0);
	expect_text(ino, "secon");
	ck_assert_uint_eq(call_getattr(ino).mtime, 1000);
}
END_TEST

// Nothing may wait while the machine sleeps.
START_TEST(writes_fail_asleep)
{
	uint64_t ino = call_make_file(FUSE_ROOT_ID, "a", 0600);

	leave();
	serve_keyless();
	uint64_t first = send_write(ino, 0, "first", FUSE_WRITE_CACHE);
	call_expect(call_lookup(FUSE_ROOT_ID, "a"), LOCKED);
	ck_assert_uint_eq(keyless_sleep(keyless), 1);
	call_expect(peer_wait(&peer, first), LOCKED);
	call_expect(peer_wait(&peer, send_write(ino, 0, "x", FUSE_WRITE_CACHE)), LOCKED);
	keyless_wake(keyless);
	uint64_t later = send_write(ino, 0, "later", FUSE_WRITE_CACHE);
	call_expect(call_lookup(FUSE_ROOT_ID, "a"), LOCKED);
	end_keyless();
	come_back();
	call_expect(peer_wait(&peer, later), 0);
	expect_text(ino, "later");
}
END_TEST

// Another object under the same number, or none: the old handle is stale, nothing else.
START_TEST(others_are_stale)
{
	const struct fuse_getattr_in get = {0};
	uint64_t ino = call_make_file(FUSE_ROOT_ID, "a", 0600);
	uint64_t gone = call_make_file(FUSE_ROOT_ID, "b", 0600);
	uint64_t good = call_make_file(FUSE_ROOT_ID, "c", 0600);

	leave();
	for (size_t i = 0; i < nodes_len; i++) {
		if (nodes[i].number == ino)
			nodes[i].incarnation ^= 1;
		if (nodes[i].number == gone)
			nodes[i].number ^= 1;
	}
	come_back();
	ck_assert_uint_eq(lost, 2);
	call_expect(peer_call(&peer, FUSE_GETATTR, ino, &get, sizeof(get), NULL), ESTALE);
	call_expect(peer_call(&peer, FUSE_GETATTR, gone, &get, sizeof(get), NULL), ESTALE);
	(void)call_getattr(good);
}
END_TEST

// A lock that nobody comes back from: the next mount clears up.
START_TEST(nobody_comes_back)
{
	uint64_t ino = call_make_file(FUSE_ROOT_ID, "a", 0600), *known;
	struct mountopts opts;
	size_t len;

	call_expect(call_write(ino, 0, "no name", 7, FUSE_WRITE_CACHE), 0);
	call_expect(peer_call(&peer, FUSE_UNLINK, FUSE_ROOT_ID, NULL, 0, "a"), 0);
	leave();
	free(nodes);
	backend = backend_reopen(backend, 0, -1);
	ck_assert_int_eq(fs_checkpoint(backend), 0);
	ck_assert_int_eq(fs_known_nodes(backend, &known, &len), 0);
	ck_assert_uint_eq(len, 1); // the root
	free(known);
	struct fs_stat st;
	ck_assert_int_eq(fs_getattr(backend, ino, &st), WERR_STALE);
	mountopts_init(&opts);
	ck_assert_int_eq(fuse_server_resume(backend, &opts, &connection, &peer.server), 0);
	ck_assert_int_eq(pthread_create(&peer.thread, NULL, server_main, NULL), 0);
}
END_TEST

// The same engine goes on: the other side has died.
START_TEST(taken_back_at_once)
{
	uint64_t ino = call_make_file(FUSE_ROOT_ID, "a", 0600);
	uint64_t nameless = call_make_file(FUSE_ROOT_ID, "b", 0600);
	struct mountopts opts;

	call_expect(call_write(nameless, 0, "no name", 7, FUSE_WRITE_CACHE), 0);
	call_expect(peer_call(&peer, FUSE_UNLINK, FUSE_ROOT_ID, NULL, 0, "b"), 0);
	leave();
	ck_assert_int_eq(fs_take_over(backend, NULL, 0, &lost), 0);
	free(nodes);
	mountopts_init(&opts);
	ck_assert_int_eq(fuse_server_resume(backend, &opts, &connection, &peer.server), 0);
	ck_assert_int_eq(pthread_create(&peer.thread, NULL, server_main, NULL), 0);
	(void)call_getattr(ino);
	expect_text(nameless, "no name");
	ck_assert_uint_eq(call_getattr(nameless).nlink, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lock");
	TCase *tc = tcase_create("lock");

	tcase_add_checked_fixture(tc, calls_setup, calls_teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, refusing);
	tcase_add_test(tc, locked);
	tcase_add_test(tc, numbers_stay);
	tcase_add_test(tc, forgotten_meanwhile);
	tcase_add_test(tc, writes_wait);
	tcase_add_test(tc, writes_fail_asleep);
	tcase_add_test(tc, others_are_stale);
	tcase_add_test(tc, nobody_comes_back);
	tcase_add_test(tc, taken_back_at_once);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
