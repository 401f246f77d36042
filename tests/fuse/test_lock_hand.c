// SPDX-License-Identifier: Apache-2.0
// The two sides of a lock and what they say to each other, with the kernel's side on a socketpair.
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/keyless.h"
#include "daemon/lock.h"
#include "daemon/lock_wire.h"
#include "tests/fuse/calls.h"
#include "tests/unit/unit_main.h"

#define LOCKED EKEYREVOKED

static struct keyless_holder *holder;
static int ends[2]; // keyed, keyless
static pthread_t other;
static int other_result;

static void *take(void *arg)
{
	(void)arg;
	other_result = keyless_holder_take(holder, ends[1]);
	return NULL;
}

static void *give(void *arg)
{
	(void)arg;
	other_result = keyless_holder_give(holder, ends[1]);
	return NULL;
}

static void make_ends(void)
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
}

static struct vault_header header = {
	.vault_id = "the locked vault", .root_incarnation = 7, .write_counter = 9};

static struct lock_params lock_with(void)
{
	return (struct lock_params){.fs = backend,
				    .header = &header,
				    .server = peer.server,
				    .host = backend_host(),
				    .sock = ends[0],
				    .error = LOCKED,
				    .drain_ms = 5000};
}

static void *server_main(void *arg)
{
	(void)arg;
	peer.result = fuse_server_run(peer.server, NULL, NULL);
	return NULL;
}

static void serve_again(void)
{
	ck_assert_int_eq(pthread_create(&peer.thread, NULL, server_main, NULL), 0);
}

static void lock(void)
{
	make_ends();
	ck_assert_int_eq(keyless_holder_new(NULL, NULL, &holder), 0);
	ck_assert_int_eq(pthread_create(&other, NULL, take, NULL), 0);
	const struct lock_params p = lock_with();
	ck_assert_int_eq(lock_drain(&p), 0);
	pthread_join(peer.thread, NULL);
	ck_assert_int_eq(peer.result, 0);
	ck_assert_int_eq(lock_hand_over(&p), 0);
	pthread_join(other, NULL);
	ck_assert_int_eq(other_result, 0);
	fuse_server_free(peer.server);
	close(ends[0]);
	close(ends[1]);
}

static void same_vault_only(const struct lock_identity *locked)
{
	struct vault_header h = header;

	ck_assert_int_eq(lock_compare(locked, &h), 0);
	h.write_counter++;
	ck_assert_int_eq(lock_compare(locked, &h), 0);
	h.write_counter -= 2;
	ck_assert_int_eq(lock_compare(locked, &h), WERR_ROLLBACK);
	h = header;
	h.root_incarnation++;
	ck_assert_int_eq(lock_compare(locked, &h), WERR_AUTH);
	h = header;
	h.vault_id[15] ^= 1;
	ck_assert_int_eq(lock_compare(locked, &h), WERR_AUTH);
}

static void unlock(void)
{
	struct lock_identity locked;
	struct lock_taken t;
	struct mountopts opts;
	size_t lost;
	int fd;

	make_ends();
	ck_assert_int_eq(pthread_create(&other, NULL, give, NULL), 0);
	ck_assert_int_eq(lock_ask(ends[0], &fd, &locked), 0);
	same_vault_only(&locked);
	// The lock goes from one to the next: nobody else can have it in between.
	backend = backend_reopen(backend, 1, fd);
	close(fd);
	ck_assert_int_eq(lock_take(ends[0], &t), 0);
	ck_assert_int_eq(fs_take_over(backend, t.nodes, t.nodes_len, &lost), 0);
	ck_assert_uint_eq(lost, 0);
	mountopts_init(&opts);
	opts.threads = 3;
	ck_assert_int_eq(fuse_server_resume(backend, &opts, &t.connection, &peer.server), 0);
	ck_assert_int_eq(lock_replay(&t, peer.server), 0);
	serve_again();
	lock_taken_clear(&t);
	ck_assert_int_eq(lock_have(ends[0]), 0);
	pthread_join(other, NULL);
	ck_assert_int_eq(other_result, 0);
	keyless_holder_free(holder);
	close(ends[0]);
	close(ends[1]);
}

static void expect_text(uint64_t ino, const char *text)
{
	struct reply r = call_read(ino, 0, 4096);

	call_expect(r, 0);
	ck_assert_uint_eq(r.len, strlen(text));
	ck_assert_mem_eq(r.data, text, strlen(text));
}

START_TEST(there_and_back)
{
	uint64_t dir = call_entry(call_mkdir(FUSE_ROOT_ID, "dir", 0700, 0)).nodeid;
	uint64_t file = call_make_file(dir, "file", 0600), gone = call_make_file(dir, "gone", 0600);

	call_expect(call_write(file, 0, "content", 7, FUSE_WRITE_CACHE), 0);
	call_expect(call_write(gone, 0, "nameless", 8, FUSE_WRITE_CACHE), 0);
	call_expect(peer_call(&peer, FUSE_UNLINK, dir, NULL, 0, "gone"), 0);
	for (int i = 0; i < 5; i++) {
		unsigned inodes = peer.notifications, names = peer.forgotten_names;

		lock();
		call_expect(call_read(file, 0, 10), LOCKED);
		// Attributes and pages of the directory and both files; the name in the root.
		ck_assert_uint_ge(peer.notifications - inodes, 6);
		ck_assert_uint_eq(peer.forgotten_names - names, 1);
		unlock();
		expect_text(file, "content");
		expect_text(gone, "nameless");
	}
}
END_TEST

START_TEST(parked_writes_arrive)
{
	uint64_t file = call_make_file(FUSE_ROOT_ID, "file", 0600);
	const struct fuse_write_in in = {.size = 4, .write_flags = FUSE_WRITE_CACHE};
	const struct piece pieces[] = {{&in, sizeof(in)}, {"late", 4}};
	struct keyless_status st;

	lock();
	uint64_t unique = peer_send(&peer, FUSE_WRITE, file, pieces, 2);
	call_expect(call_lookup(FUSE_ROOT_ID, "file"), LOCKED);
	keyless_holder_status(holder, &st);
	ck_assert_uint_eq(st.parked, 1);
	unlock();
	call_expect(peer_wait(&peer, unique), 0);
	expect_text(file, "late");
}
END_TEST

// The keyless process dies before anything was handed over: nothing has happened.
START_TEST(nobody_there)
{
	uint64_t file = call_make_file(FUSE_ROOT_ID, "file", 0600);

	make_ends();
	close(ends[1]);
	const struct lock_params p = lock_with();
	ck_assert_int_ne(lock_drain(&p), 0);
	close(ends[0]);
	call_expect(call_write(file, 0, "x", 1, FUSE_WRITE_CACHE), 0);
	expect_text(file, "x");
}
END_TEST

static void *answer_rounds(void *arg)
{
	const struct lock_wire done = {.kind = LOCK_WIRE_DONE};
	struct lock_wire m;
	int fds[LOCK_WIRE_FDS];

	(void)arg;
	while (lock_wire_receive(ends[1], LOCK_WIRE_INVALIDATE, 20000, &m, fds) == 0) {
		lock_wire_close(fds);
		ck_assert_int_eq(lock_wire_send(ends[1], &done, NULL, 0), 0);
	}
	close(ends[1]);
	return NULL;
}

// It dies at the last moment: the engine and the connection go on together.
START_TEST(dies_late)
{
	uint64_t file = call_make_file(FUSE_ROOT_ID, "file", 0600);
	struct fuse_connection c;
	struct mountopts opts;

	make_ends();
	ck_assert_int_eq(pthread_create(&other, NULL, answer_rounds, NULL), 0);
	const struct lock_params p = lock_with();
	ck_assert_int_eq(lock_drain(&p), 0);
	pthread_join(peer.thread, NULL);
	ck_assert_int_ne(lock_hand_over(&p), 0);
	pthread_join(other, NULL);
	close(ends[0]);
	fuse_server_connection(peer.server, &c);
	c.fd = fcntl(c.fd, F_DUPFD_CLOEXEC, 3);
	fuse_server_free(peer.server);
	mountopts_init(&opts);
	ck_assert_int_eq(fuse_server_resume(backend, &opts, &c, &peer.server), 0);
	serve_again();
	call_expect(call_write(file, 0, "x", 1, FUSE_WRITE_CACHE), 0);
	expect_text(file, "x");
	call_expect(call_lookup(FUSE_ROOT_ID, "file"), 0);
}
END_TEST

// Whoever unlocks dies after the giving: the keyless side serves on.
START_TEST(unlocker_dies)
{
	uint64_t file = call_make_file(FUSE_ROOT_ID, "file", 0600);
	struct lock_taken t;
	struct lock_identity locked;
	int fd;

	call_expect(call_write(file, 0, "content", 7, FUSE_WRITE_CACHE), 0);
	lock();
	for (int step = 0; step < 3; step++) {
		make_ends();
		ck_assert_int_eq(pthread_create(&other, NULL, give, NULL), 0);
		if (step > 0) {
			ck_assert_int_eq(lock_ask(ends[0], &fd, &locked), 0);
			close(fd);
		}
		if (step > 1) {
			ck_assert_int_eq(lock_take(ends[0], &t), 0);
			close(t.connection.fd);
			lock_taken_clear(&t);
		}
		close(ends[0]);
		pthread_join(other, NULL);
		ck_assert_int_ne(other_result, 0);
		close(ends[1]);
		call_expect(call_read(file, 0, 10), LOCKED);
	}
	unlock();
	expect_text(file, "content");
}
END_TEST

// What comes from the other side is not believed.
START_TEST(nonsense_is_refused)
{
	const struct lock_wire wrong[] = {
		{.kind = LOCK_WIRE_HAND, .count = 1, .bytes = 8},
		{.kind = LOCK_WIRE_INVALIDATE, .count = UINT64_MAX, .bytes = 8},
		{.kind = LOCK_WIRE_INVALIDATE, .count = 1, .bytes = 1u << 30},
		{.kind = LOCK_WIRE_GIVEN},
		{.kind = 77},
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		int fds[2];
		void *p;

		make_ends();
		ck_assert_int_eq(keyless_holder_new(NULL, NULL, &holder), 0);
		ck_assert_int_eq(lock_wire_make(4096, 0, &fds[0], &p), 0);
		fds[1] = dup(fds[0]);
		ck_assert_int_eq(lock_wire_send(ends[0], &wrong[i], fds, 2), 0);
		ck_assert_int_eq(keyless_holder_take(holder, ends[1]), WERR_MALFORMED);
		keyless_holder_free(holder);
		lock_wire_unmap(p, 4096);
		close(fds[0]);
		close(fds[1]);
		close(ends[0]);
		close(ends[1]);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lock-hand");
	TCase *tc = tcase_create("lock-hand");

	tcase_add_checked_fixture(tc, calls_setup, calls_teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, there_and_back);
	tcase_add_test(tc, parked_writes_arrive);
	tcase_add_test(tc, nobody_there);
	tcase_add_test(tc, dies_late);
	tcase_add_test(tc, unlocker_dies);
	tcase_add_test(tc, nonsense_is_refused);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
