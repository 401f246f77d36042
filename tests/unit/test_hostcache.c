// SPDX-License-Identifier: Apache-2.0
// The cache of object descriptors: what it closes, what it must not close, and many threads on it.
#include "fusefs/host.h"

#include <stdatomic.h>

#include "tests/unit/hostenv.h"
#include "tests/unit/unit_main.h"

static struct hostcache *cache;
static int opens, closes;           // of object files; read when no other thread runs
static int open_error, open_errors; // the error of the next open_errors opens

static int counting_open(struct host *h, uint64_t number, unsigned flags, struct host_file **ret)
{
	pthread_mutex_lock(&env.lock);
	int rc = open_errors ? open_error : 0;
	open_errors -= rc != 0;
	opens++;
	pthread_mutex_unlock(&env.lock);
	return rc ? rc : env.real->open_object(h, number, flags, ret);
}

static void counting_close(struct host_file *f)
{
	pthread_mutex_lock(&env.lock);
	closes++;
	pthread_mutex_unlock(&env.lock);
	env.real->file_close(f);
}

static void setup(void)
{
	hostenv_setup();
	env.ops.open_object = counting_open;
	env.ops.file_close = counting_close;
	opens = closes = open_errors = 0;
	ck_ok(hostcache_new(env.host, 4, &cache));
}

static void teardown(void)
{
	hostcache_free(cache);
	ck_assert_int_eq(opens, closes);
	hostenv_teardown();
}

static struct host_file *get(uint64_t number, unsigned flags)
{
	struct host_file *f = NULL;

	ck_ok(hostcache_get(cache, number, flags, &f));
	return f;
}

static void touch(uint64_t number)
{
	hostcache_put(cache, get(number, HOST_RDWR | HOST_CREATE));
}

static void check_count(unsigned open, unsigned dirty)
{
	unsigned now_open, now_dirty;

	hostcache_count(cache, &now_open, &now_dirty);
	ck_assert_uint_eq(now_open, open);
	ck_assert_uint_eq(now_dirty, dirty);
}

START_TEST(test_lru)
{
	struct host_file *f = NULL;

	ck_assert_int_eq(hostcache_get(cache, 10, HOST_RDONLY, &f), WERR_NOTFOUND);
	closes++; // nothing was opened
	check_count(0, 0);
	for (uint64_t n = 10; n < 14; n++)
		touch(n);
	ck_assert_int_eq(opens, 5);
	touch(10);
	ck_assert_int_eq(opens, 5);
	touch(14); // the oldest is 11 now
	check_count(4, 0);
	ck_assert_int_eq(closes, 2);
	touch(10);
	ck_assert_int_eq(opens, 6);
	touch(11);
	ck_assert_int_eq(opens, 7);
	ck_assert_int_eq(hostcache_get(cache, 11, HOST_RDWR | HOST_CREATE | HOST_EXCL, &f),
			 WERR_EXISTS);
}
END_TEST

// Borrowed and unflushed handles stay, whatever else comes.
START_TEST(test_kept)
{
	struct host_file *borrowed = get(10, HOST_RDWR | HOST_CREATE);
	struct host_file *dirty = get(11, HOST_RDWR | HOST_CREATE);

	hostcache_dirty(cache, dirty);
	ck_ok(host_pwrite(dirty, "x", 1, 0));
	hostcache_put(cache, dirty);
	for (uint64_t n = 20; n < 40; n++)
		touch(n);
	check_count(4, 1);
	int before = opens;
	ck_assert_ptr_eq(get(10, HOST_RDWR), borrowed);
	ck_assert_ptr_eq(get(11, HOST_RDWR), dirty);
	ck_assert_int_eq(opens, before);
	hostcache_put(cache, borrowed);
	hostcache_put(cache, borrowed);
	ck_ok(hostcache_sync(cache, dirty));
	check_count(4, 0);
	hostcache_put(cache, dirty);
	for (uint64_t n = 20; n < 40; n++)
		touch(n);
	before = opens;
	touch(10);
	touch(11);
	ck_assert_int_eq(opens, before + 2);
	// More of them than the cache holds: all stay, and go when they may.
	for (uint64_t n = 50; n < 60; n++) {
		struct host_file *f = get(n, HOST_RDWR | HOST_CREATE);

		hostcache_dirty(cache, f);
		hostcache_put(cache, f);
	}
	check_count(10, 10);
	for (uint64_t n = 50; n < 60; n++) {
		struct host_file *f = get(n, HOST_RDWR);

		ck_ok(hostcache_sync(cache, f));
		hostcache_put(cache, f);
	}
	check_count(4, 0);
}
END_TEST

static int sync_error;
static struct host_file *dirty_during_sync;

static int on_sync(struct host_file *f)
{
	(void)f;
	if (dirty_during_sync)
		hostcache_dirty(cache, dirty_during_sync);
	return sync_error;
}

START_TEST(test_sync)
{
	struct host_file *f = get(10, HOST_RDWR | HOST_CREATE);

	env.on_sync = on_sync;
	hostcache_dirty(cache, f);
	sync_error = WERR_IO;
	ck_assert_int_eq(hostcache_sync(cache, f), WERR_IO);
	hostcache_put(cache, f);
	for (uint64_t n = 20; n < 30; n++)
		touch(n);
	check_count(4, 1);
	ck_assert_ptr_eq(get(10, HOST_RDWR), f);
	// Written while the flush ran: still unflushed.
	sync_error = 0;
	dirty_during_sync = f;
	ck_ok(hostcache_sync(cache, f));
	check_count(4, 1);
	dirty_during_sync = NULL;
	ck_ok(hostcache_sync(cache, f));
	check_count(4, 0);
	hostcache_put(cache, f);
}
END_TEST

START_TEST(test_upgrade)
{
	touch(10);
	hostcache_drop(cache, 10);
	struct host_file *reader = get(10, HOST_RDONLY);
	ck_assert_ptr_eq(get(10, HOST_RDONLY), reader);
	struct host_file *writer = get(10, HOST_RDWR);
	ck_assert_ptr_ne(reader, writer);
	ck_ok(host_pwrite(writer, "abc", 3, 0));
	char text[3];
	ck_ok(host_pread(reader, text, 3, 0, NULL));
	ck_assert(!memcmp(text, "abc", 3));
	ck_assert_ptr_eq(get(10, HOST_RDONLY), writer); // one for both now
	check_count(2, 0);
	hostcache_put(cache, reader);
	hostcache_put(cache, reader);
	check_count(1, 0);
	hostcache_put(cache, writer);
	hostcache_put(cache, writer);
	hostcache_drop(cache, 10);
	hostcache_drop(cache, 10); // nothing there
	hostcache_put(cache, get(10, HOST_RDONLY));
	int before = closes;
	touch(10); // an idle reader is replaced
	ck_assert_int_eq(closes, before + 1);
	check_count(1, 0);
	hostcache_drop(cache, 10);
	check_count(0, 0);
}
END_TEST

// When descriptors run out, idle ones are given up before the caller hears of it.
START_TEST(test_descriptors_run_out)
{
	struct host_file *f = NULL;

	for (uint64_t n = 10; n < 14; n++)
		touch(n);
	struct host_file *borrowed = get(10, HOST_RDWR);
	open_error = WERR_MFILE;
	open_errors = 1;
	touch(20);
	check_count(2, 0);
	closes++; // the open that failed
	open_errors = 2;
	ck_assert_int_eq(hostcache_get(cache, 21, HOST_RDWR | HOST_CREATE, &f), WERR_MFILE);
	closes += 2;
	check_count(1, 0);
	hostcache_put(cache, borrowed);
	touch(21);
}
END_TEST

static void *dropper(void *arg)
{
	hostcache_drop(cache, 10);
	atomic_store((atomic_int *)arg, 1);
	return NULL;
}

// A drop waits until the last borrower is done; who asks meanwhile gets another handle.
START_TEST(test_drop_waits)
{
	struct host_file *f = get(10, HOST_RDWR | HOST_CREATE);
	atomic_int dropped = 0;
	pthread_t thread;
	struct host_file *other;

	hostcache_dirty(cache, f);
	ck_ok(pthread_create(&thread, NULL, dropper, &dropped));
	// The drop is under way when the old handle is no longer given out.
	while ((other = get(10, HOST_RDWR)) == f)
		hostcache_put(cache, f);
	ck_assert_int_eq(atomic_load(&dropped), 0);
	hostcache_put(cache, other);
	ck_assert_int_eq(atomic_load(&dropped), 0);
	hostcache_put(cache, f);
	ck_ok(pthread_join(thread, NULL));
	check_count(0, 0);
}
END_TEST

#define THREADS 6
#define ROUNDS 4000
#define FILES 12

static void *worker(void *arg)
{
	uint64_t state = (uint64_t)(uintptr_t)arg * 77 + 5;

	for (unsigned i = 0; i < ROUNDS; i++) {
		state = state * 6364136223846793005ull + 1442695040888963407ull;
		const uint64_t number = 10 + (state >> 33) % FILES;
		const unsigned dice = (unsigned)(state >> 50) % 16;
		struct host_file *f = NULL;

		if (dice == 0) {
			hostcache_drop(cache, number);
			continue;
		}
		int rc = hostcache_get(cache, number, dice < 8 ? HOST_RDONLY : HOST_RDWR, &f);
		if (rc)
			return (void *)(intptr_t)rc;
		uint64_t text = 0;
		if (dice >= 12) {
			hostcache_dirty(cache, f);
			rc = host_pwrite(f, &number, sizeof(number), 0);
		}
		if (!rc && dice == 15)
			rc = hostcache_sync(cache, f);
		if (!rc)
			rc = host_pread(f, &text, sizeof(text), 0, NULL);
		if (!rc && text != number)
			rc = WERR_INTERNAL;
		hostcache_put(cache, f);
		if (rc)
			return (void *)(intptr_t)rc;
	}
	return NULL;
}

static int no_sync_wait(struct host_file *f)
{
	(void)f;
	return 0;
}

START_TEST(test_threads)
{
	pthread_t threads[THREADS];

	env.ops.datasync = no_sync_wait; // the disk is not what is tested
	for (uint64_t n = 10; n < 10 + FILES; n++) {
		struct host_file *f = get(n, HOST_RDWR | HOST_CREATE);

		ck_ok(host_pwrite(f, &n, sizeof(n), 0));
		hostcache_put(cache, f);
	}
	for (uintptr_t i = 0; i < THREADS; i++)
		ck_ok(pthread_create(&threads[i], NULL, worker, (void *)i));
	for (unsigned i = 0; i < THREADS; i++) {
		void *rc;

		ck_ok(pthread_join(threads[i], &rc));
		ck_assert_ptr_null(rc);
	}
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("hostcache");
	TCase *c = tcase_create("all");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_set_timeout(c, 60);
	tcase_add_test(c, test_lru);
	tcase_add_test(c, test_kept);
	tcase_add_test(c, test_sync);
	tcase_add_test(c, test_upgrade);
	tcase_add_test(c, test_descriptors_run_out);
	tcase_add_test(c, test_drop_waits);
	tcase_add_test(c, test_threads);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	return unit_main(suite());
}
