// SPDX-License-Identifier: Apache-2.0
// The session as a whole: starting, stopping, slow requests beside quick ones, replies that nobody
// takes.
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fuse/fakefs.h"
#include "tests/fuse/harness.h"
#include "tests/unit/unit_main.h"

static struct peer peer;
static struct fs *fake;

static void setup(void)
{
	fake = fakefs_new();
}

static void teardown(void)
{
	fakefs_free(fake);
}

static uint64_t send_getattr(uint64_t ino)
{
	static const struct fuse_getattr_in in;
	const struct piece piece = {&in, sizeof(in)};

	return peer_send(&peer, FUSE_GETATTR, ino, &piece, 1);
}

static uint64_t send_read(uint64_t ino, uint32_t size)
{
	const struct fuse_read_in in = {.size = size};
	const struct piece piece = {&in, sizeof(in)};

	return peer_send(&peer, FUSE_READ, ino, &piece, 1);
}

static uint64_t send_fsync(uint64_t ino)
{
	static const struct fuse_fsync_in in;
	const struct piece piece = {&in, sizeof(in)};

	return peer_send(&peer, FUSE_FSYNC, ino, &piece, 1);
}

static uint64_t send_lookup(uint64_t ino, const char *name)
{
	const struct piece piece = {name, strlen(name) + 1};

	return peer_send(&peer, FUSE_LOOKUP, ino, &piece, 1);
}

static uint64_t make_file(const char *name)
{
	const struct fuse_mknod_in in = {.mode = S_IFREG | 0644};
	struct reply r = peer_call(&peer, FUSE_MKNOD, FS_ROOT, &in, sizeof(in), name);
	struct fuse_entry_out e;

	ck_assert_int_eq(r.err, 0);
	memcpy(&e, r.data, sizeof(e));
	return e.nodeid;
}

START_TEST(stops_idle)
{
	peer_start(&peer, fake, 4, true);
	ck_assert_int_eq(peer_stop(&peer), 0);
}
END_TEST

START_TEST(stops_before_init)
{
	peer_start(&peer, fake, 4, false);
	ck_assert_int_eq(peer_stop(&peer), 0);
}
END_TEST

START_TEST(ends_with_the_channel)
{
	peer_start(&peer, fake, 4, true);
	ck_assert_int_eq(peer_hang_up(&peer), 0);
}
END_TEST

START_TEST(nothing_before_init)
{
	const struct fuse_init_in old = {.major = 7, .minor = 12}, none = {.major = 6};

	peer_start(&peer, fake, 2, false);
	ck_assert_int_eq(peer_wait(&peer, send_getattr(FS_ROOT)).err, EIO);
	static const char xattr[] = "\1\0\0\0\0\0\0\0user.a\0v";
	ck_assert_int_eq(
		peer_call(&peer, FUSE_SETXATTR, FS_ROOT, xattr, sizeof(xattr) - 1, NULL).err, EIO);
	ck_assert_int_eq(peer_call(&peer, FUSE_INIT, 0, &old, sizeof(old), NULL).err, EPROTO);
	ck_assert_int_eq(peer_call(&peer, FUSE_INIT, 0, &none, sizeof(none), NULL).err, EPROTO);
	ck_assert_int_eq(peer_stop(&peer), 0);
}
END_TEST

// A kernel of a later major version is told ours and asks again.
START_TEST(later_major_version)
{
	const struct fuse_init_in later = {.major = 8, .minor = 1};
	struct fuse_init_out out;

	peer_start(&peer, fake, 2, false);
	struct reply r = peer_call(&peer, FUSE_INIT, 0, &later, sizeof(later), NULL);
	ck_assert_int_eq(r.err, 0);
	memcpy(&out, r.data, sizeof(out));
	ck_assert_uint_eq(out.major, 7);
	const struct fuse_init_in ours = {.major = 7, .minor = 38};
	ck_assert_int_eq(peer_call(&peer, FUSE_INIT, 0, &ours, sizeof(ours), NULL).err, 0);
	ck_assert_int_eq(peer_wait(&peer, send_getattr(FS_ROOT)).err, 0);
	ck_assert_int_eq(peer_stop(&peer), 0);
}
END_TEST

// The leader stands in a small read: only the watchdog can make another leader.
START_TEST(slow_request_blocks_nobody)
{
	peer_start(&peer, fake, 4, true);
	uint64_t file = make_file("f");
	fakefs_shut(fake, GATE_READ);
	for (unsigned stuck = 1; stuck <= 3; stuck++) {
		send_read(file, 100);
		fakefs_await(fake, GATE_READ, stuck);
		for (unsigned i = 0; i < 10; i++)
			ck_assert_int_eq(peer_wait(&peer, send_getattr(FS_ROOT)).err, 0);
	}
	// All four threads stand in a read, then one comes free.
	send_read(file, 100);
	uint64_t asked = send_getattr(FS_ROOT);
	fakefs_await(fake, GATE_READ, 4);
	fakefs_open_gate(fake, GATE_READ);
	ck_assert_int_eq(peer_wait(&peer, asked).err, 0);
	ck_assert_int_eq(peer_stop(&peer), 0);
}
END_TEST

// A large read hands the lead over by itself.
START_TEST(heavy_request_blocks_nobody)
{
	peer_start(&peer, fake, 2, true);
	uint64_t file = make_file("f");
	fakefs_shut(fake, GATE_READ);
	uint64_t slow = send_read(file, 128 << 10);
	fakefs_await(fake, GATE_READ, 1);
	ck_assert_int_eq(peer_wait(&peer, send_getattr(FS_ROOT)).err, 0);
	fakefs_open_gate(fake, GATE_READ);
	ck_assert_int_eq(peer_wait(&peer, slow).err, 0);
	ck_assert_int_eq(peer_stop(&peer), 0);
}
END_TEST

START_TEST(one_thread_serves)
{
	peer_start(&peer, fake, 1, true);
	uint64_t file = make_file("f");
	for (unsigned i = 0; i < 100; i++) {
		ck_assert_int_eq(peer_wait(&peer, send_read(file, 128 << 10)).err, 0);
		ck_assert_int_eq(peer_wait(&peer, send_getattr(file)).err, 0);
	}
	ck_assert_int_eq(peer_stop(&peer), 0);
}
END_TEST

// More fsyncs wait than there are threads; none of them holds one.
START_TEST(fsyncs_are_parked)
{
	enum { SYNCS = 200 };
	uint64_t waiting[SYNCS];

	peer_start(&peer, fake, 2, true);
	uint64_t file = make_file("f");
	fakefs_hold_fsync(fake);
	for (unsigned i = 0; i < SYNCS; i++)
		waiting[i] = send_fsync(file);
	fakefs_await_fsync(fake, SYNCS);
	for (unsigned i = 0; i < 100; i++)
		ck_assert_int_eq(peer_wait(&peer, send_getattr(file)).err, 0);
	ck_assert_uint_eq(peer_drain(&peer), 0);
	ck_assert_uint_eq(fakefs_release_fsync(fake, WERR_IO), SYNCS);
	for (unsigned i = 0; i < SYNCS; i++)
		ck_assert_int_eq(peer_wait(&peer, waiting[i]).err, EIO);
	ck_assert_int_eq(peer_stop(&peer), 0);
}
END_TEST

static void *release_late(void *arg)
{
	fakefs_await_fsync(arg, 1);
	ck_assert_uint_eq(fakefs_release_fsync(arg, 0), 1);
	return NULL;
}

// fuse_server_run returns only after the last parked fsync was answered.
START_TEST(stop_waits_for_fsync)
{
	pthread_t helper;

	peer_start(&peer, fake, 2, true);
	uint64_t file = make_file("f");
	fakefs_hold_fsync(fake);
	uint64_t asked = send_fsync(file);
	fakefs_await_fsync(fake, 1);
	fuse_server_stop(peer.server);
	pthread_create(&helper, NULL, release_late, fake);
	ck_assert_int_eq(peer_wait(&peer, asked).err, 0);
	pthread_join(helper, NULL);
	ck_assert_int_eq(peer_stop(&peer), 0);
}
END_TEST

// Requests in hand are finished when a stop comes, whatever their thread.
START_TEST(stops_under_load)
{
	for (unsigned round = 0; round < 20; round++) {
		char name[16];

		peer_start(&peer, fake, 4, true);
		snprintf(name, sizeof(name), "f%u", round);
		uint64_t file = make_file(name);
		for (unsigned i = 0; i < 50; i++) {
			send_getattr(file);
			send_read(file, i % 2 ? 100 : 128 << 10);
		}
		ck_assert_int_eq(round % 2 ? peer_stop(&peer) : peer_hang_up(&peer), 0);
	}
}
END_TEST

// The kernel does not know of a look-up whose reply it did not take.
START_TEST(undelivered_lookups_are_forgotten)
{
	peer_start(&peer, fake, 2, true);
	make_file("f");
	make_file("g");
	ck_assert_uint_eq(fakefs_lookups(fake), 2);
	fakefs_shut(fake, GATE_LOOKUP);
	fakefs_shut(fake, GATE_READDIR);
	const struct fuse_read_in list = {.size = 4096};
	const struct piece piece = {&list, sizeof(list)};
	send_lookup(FS_ROOT, "f");
	fakefs_await(fake, GATE_LOOKUP, 1);
	peer_send(&peer, FUSE_READDIRPLUS, FS_ROOT, &piece, 1);
	fakefs_await(fake, GATE_READDIR, 1);
	shutdown(peer.fd, SHUT_RD);
	fakefs_open_gate(fake, GATE_LOOKUP);
	fakefs_open_gate(fake, GATE_READDIR);
	ck_assert_int_eq(peer_hang_up(&peer), 0);
	ck_assert_uint_eq(fakefs_lookups(fake), 2);
}
END_TEST

START_TEST(many_requests_at_once)
{
	enum { ROUNDS = 100, BATCH = 60 };
	uint64_t files[8];
	char name[8];

	peer_start(&peer, fake, 6, true);
	for (unsigned i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		files[i] = make_file(name);
	}
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < BATCH; i++) {
			uint64_t file = files[i % 8];

			switch (i % 5) {
			case 0:
				send_read(file, 128 << 10);
				break;
			case 1:
				send_fsync(file);
				break;
			case 2:
				send_lookup(FS_ROOT, "f3");
				break;
			default:
				send_getattr(file);
			}
		}
		for (unsigned i = 0; i < BATCH; i++)
			ck_assert_int_eq(peer_next(&peer).err, 0);
	}
	ck_assert_int_eq(peer_stop(&peer), 0);
	ck_assert_uint_eq(fakefs_lookups(fake), 8 + ROUNDS * BATCH / 5);
}
END_TEST

START_TEST(kill_flags_reach_the_engine)
{
	peer_start(&peer, fake, 2, true);
	uint64_t file = make_file("f");
	const struct fuse_write_in in = {.size = 1, .write_flags = FUSE_WRITE_KILL_SUIDGID},
				   quiet = {.size = 1, .write_flags = FUSE_WRITE_CACHE};
	ck_assert_int_eq(peer_call(&peer, FUSE_WRITE, file, &quiet, sizeof(quiet), "").err, 0);
	ck_assert_uint_eq(fakefs_kills(fake), 0);
	ck_assert_int_eq(peer_call(&peer, FUSE_WRITE, file, &in, sizeof(in), "").err, 0);
	ck_assert_uint_eq(fakefs_kills(fake), 1);
	ck_assert_int_eq(peer_call(&peer, FUSE_WRITE, file, &quiet, sizeof(quiet), "").err, 0);
	ck_assert_uint_eq(fakefs_kills(fake), 1);
	ck_assert_int_eq(peer_stop(&peer), 0);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("session");
	TCase *t = tcase_create("session");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, stops_idle);
	tcase_add_test(t, stops_before_init);
	tcase_add_test(t, ends_with_the_channel);
	tcase_add_test(t, nothing_before_init);
	tcase_add_test(t, later_major_version);
	tcase_add_test(t, slow_request_blocks_nobody);
	tcase_add_test(t, heavy_request_blocks_nobody);
	tcase_add_test(t, one_thread_serves);
	tcase_add_test(t, fsyncs_are_parked);
	tcase_add_test(t, stop_waits_for_fsync);
	tcase_add_test(t, stops_under_load);
	tcase_add_test(t, undelivered_lookups_are_forgotten);
	tcase_add_test(t, many_requests_at_once);
	tcase_add_test(t, kill_flags_reach_the_engine);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return unit_main(suite());
}
