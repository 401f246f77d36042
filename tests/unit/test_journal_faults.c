// SPDX-License-Identifier: Apache-2.0
// The journal under failing writes and flushes, and under many threads.
#include "fusefs/journal.h"

#include "tests/unit/losing_sync.h"
#include "tests/unit/unit_main.h"

START_TEST(test_flush_fails)
{
	struct journal *j = started(SMALL);
	struct journal_mark mark;

	durable_file = hostenv_slurp(JOURNAL_NAME, SMALL);
	env.on_sync = losing_sync;
	ck_ok(append(j, 100, 0));
	fail_syncs = 1;
	ck_ok(append(j, 300, 0));
	ck_ok(journal_sync(j));
	ck_assert_uint_eq(journal_durable(j), 2);
	hostenv_poke(JOURNAL_NAME, durable_file, SMALL, 0);
	env.on_sync = NULL;
	ck_assert_uint_eq(replay_file(SMALL), 2);
	env.on_sync = losing_sync;
	ck_ok(append(j, 500, 0));
	fail_syncs = 2;
	ck_assert_int_eq(journal_sync(j), WERR_IO);
	ck_assert_uint_eq(journal_durable(j), 2);
	ck_ok(append(j, 5000, 0));
	fail_syncs = 1;
	ck_assert_int_eq(journal_sync(j),
			 WERR_IO); // it had rewritten first, and that flush failed too
	ck_ok(append(j, 50, 0));
	ck_ok(journal_sync(j));
	ck_assert_uint_eq(journal_durable(j), 5);
	hostenv_poke(JOURNAL_NAME, durable_file, SMALL, 0);
	// A checkpoint whose flush fails frees nothing and can be repeated; it loses no record
	// either.
	journal_mark(j, &mark);
	ck_ok(append(j, 600, 0));
	uint64_t used = journal_used(j);
	fail_syncs = 2;
	ck_assert_int_eq(journal_advance(j, 6, &mark, 1), WERR_IO);
	ck_assert_uint_eq(journal_superblock(j)->s, 0);
	ck_assert_uint_eq(journal_used(j), used);
	ck_ok(journal_advance(j, 7, &mark, 1));
	ck_assert_uint_eq(journal_durable(j), 6);
	journal_close(j);
	hostenv_poke(JOURNAL_NAME, durable_file, SMALL, 0);
	ck_assert_uint_eq(replay_file(SMALL), 6);
	// A new mount's superblock that did not become durable for sure: nothing goes on.
	j = open_journal(SMALL);
	ck_assert_uint_eq(replay(j), 6);
	fail_syncs = 2;
	ck_assert_int_eq(journal_start(j, 2, 1, 1), WERR_IO);
	ck_assert_int_eq(append(j, 1, 0), WERR_INTERNAL);
	journal_close(j);
	free(durable_file);
	durable_file = NULL;
}
END_TEST

// The write fails, but the bytes are there: they must not come back as a record.
static int lie_once, fail_once;

static int lying_write(struct host_file *f, const struct iovec *iov, int iovcnt, uint64_t off)
{
	if (fail_once) {
		fail_once--;
		return WERR_IO;
	}
	if (!lie_once)
		return 0;
	lie_once--;
	ck_ok(env.real->pwritev(f, iov, iovcnt, off));
	return WERR_IO;
}

START_TEST(test_write_fails)
{
	struct journal *j = started(SMALL);
	uint64_t n = 0;

	env.on_write = lying_write;
	for (unsigned i = 0; i < 4; i++) {
		ck_ok(append(j, 100, 0));
		n++;
		lie_once = JOURNAL_WRITE_TRIES;
		ck_assert_int_eq(append(j, 333, 0), WERR_IO);
		ck_assert_uint_eq(journal_sequence(j), n);
		// With and without a flush, and with one that cannot remove the ghost at first.
		if (i == 2) {
			fail_once = JOURNAL_WRITE_TRIES;
			ck_assert_int_eq(journal_sync(j), WERR_IO);
		}
		if (i)
			ck_ok(journal_sync(j));
		if (i == 3)
			ck_assert_uint_eq(replay_file(SMALL), n);
		ck_ok(append(j, 77, 0));
		n++;
	}
	ck_ok(journal_sync(j));
	journal_close(j);
	ck_assert_uint_eq(replay_file(SMALL), n);
}
END_TEST

// The flush of the first waits until all have appended.
#define SHARERS 12
static struct journal *shared;
static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_cond = PTHREAD_COND_INITIALIZER;
static int appended, in_flush;

static int waiting_sync(struct host_file *f)
{
	(void)f;
	pthread_mutex_lock(&gate_lock);
	in_flush = 1;
	pthread_cond_broadcast(&gate_cond);
	while (appended < SHARERS)
		pthread_cond_wait(&gate_cond, &gate_lock);
	pthread_mutex_unlock(&gate_lock);
	return 0;
}

static void *sharer(void *arg)
{
	static const uint8_t payload[64];
	uint64_t sequence = 0;

	// All but the first begin when the first flush is under way.
	pthread_mutex_lock(&gate_lock);
	while (arg && !in_flush)
		pthread_cond_wait(&gate_cond, &gate_lock);
	pthread_mutex_unlock(&gate_lock);
	int rc = journal_append(shared, payload, sizeof(payload), 0, &sequence);
	pthread_mutex_lock(&gate_lock);
	appended++;
	pthread_cond_broadcast(&gate_cond);
	pthread_mutex_unlock(&gate_lock);
	if (!rc)
		rc = journal_sync(shared);
	if (!rc && journal_durable(shared) < sequence)
		rc = WERR_INTERNAL;
	return (void *)(intptr_t)rc;
}

START_TEST(test_shared_flush)
{
	pthread_t threads[SHARERS];

	shared = started(SMALL);
	appended = in_flush = 0;
	env.syncs = 0;
	env.on_sync = waiting_sync;
	for (intptr_t i = 0; i < SHARERS; i++)
		ck_ok(pthread_create(&threads[i], NULL, sharer, (void *)i));
	for (unsigned i = 0; i < SHARERS; i++) {
		void *rc;

		ck_ok(pthread_join(threads[i], &rc));
		ck_assert_ptr_null(rc);
	}
	ck_assert_int_eq(env.syncs, 2);
	ck_assert_uint_eq(journal_durable(shared), SHARERS);
	journal_close(shared);
}
END_TEST

// A record appended while a flush is under way is not covered by it.
static int appending_sync(struct host_file *f)
{
	(void)f;
	env.on_sync = NULL;
	return append(shared, 30, 0);
}

START_TEST(test_append_during_flush)
{
	struct journal *j = started(SMALL);

	shared = j;
	ck_ok(append(j, 20, 0));
	env.on_sync = appending_sync;
	ck_ok(journal_sync(j));
	ck_assert_uint_eq(journal_sequence(j), 2);
	ck_assert_uint_eq(journal_durable(j), 1);
	ck_assert_uint_ne(sent[1].end / BLOCK, sent[2].end / BLOCK);
	ck_ok(journal_sync(j));
	ck_assert_uint_eq(journal_durable(j), 2);
	journal_close(j);
}
END_TEST

// Threads that append, flush and checkpoint at will; every record that a flush covered comes back.
#define WRITERS 4
#define PER_WRITER 150

static void *writer(void *arg)
{
	uint8_t payload[700];
	uint64_t sequence = 0;
	int rc = 0;

	for (unsigned i = 0; !rc && i < PER_WRITER; i++) {
		memset(payload, (int)(intptr_t)arg, sizeof(payload));
		rc = journal_append(shared, payload, 1 + (i * 37) % sizeof(payload), 0, &sequence);
		if (!rc && i % 3 == 0)
			rc = journal_sync(shared);
		if (!rc && i % 3 == 0 && journal_durable(shared) < sequence)
			rc = WERR_INTERNAL;
	}
	return (void *)(intptr_t)rc;
}

static int count_payload(void *arg, uint64_t sequence, const uint8_t *payload, size_t len)
{
	uint64_t *last = arg;

	for (size_t i = 1; i < len; i++)
		ck_assert_uint_eq(payload[i], payload[0]);
	*last = sequence;
	return 0;
}

START_TEST(test_threads)
{
	const uint64_t bytes = 8 << 20;
	pthread_t threads[WRITERS];
	struct journal_mark mark;
	uint64_t last = 0, seen = 0;

	shared = started(bytes);
	for (intptr_t i = 0; i < WRITERS; i++)
		ck_ok(pthread_create(&threads[i], NULL, writer, (void *)(i + 1)));
	for (uint64_t k = 6; k < 26; k++) {
		journal_mark(shared, &mark);
		ck_ok(journal_advance(shared, k, &mark, k));
	}
	for (unsigned i = 0; i < WRITERS; i++) {
		void *rc;

		ck_ok(pthread_join(threads[i], &rc));
		ck_assert_ptr_null(rc);
	}
	ck_ok(journal_sync(shared));
	journal_close(shared);
	shared = open_journal(bytes);
	ck_ok(journal_replay(shared, count_payload, &seen, &last));
	ck_assert_uint_eq(last, WRITERS * PER_WRITER);
	journal_close(shared);
}
END_TEST

// What waits for a flush is bounded.
START_TEST(test_unflushed_bound)
{
	const uint64_t bytes = 24 << 20;
	struct journal *j = started(bytes);
	uint8_t *payload = calloc(1, 1 << 20);
	uint64_t sequence;

	ck_assert_ptr_nonnull(payload);
	env.syncs = 0;
	for (unsigned i = 0; i < 20; i++) {
		ck_ok(journal_append(j, payload, 1 << 20, 0, &sequence));
		if (i == 7)
			ck_assert_int_eq(env.syncs, 0);
	}
	ck_assert_int_eq(env.syncs, 2);
	ck_assert_uint_gt(journal_durable(j), 8);
	free(payload);
	journal_close(j);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("journal faults");
	TCase *c = tcase_create("all");

	tcase_add_checked_fixture(c, journalenv_setup, journalenv_teardown);
	tcase_set_timeout(c, 60);
	tcase_add_test(c, test_flush_fails);
	tcase_add_test(c, test_write_fails);
	tcase_add_test(c, test_shared_flush);
	tcase_add_test(c, test_append_during_flush);
	tcase_add_test(c, test_threads);
	tcase_add_test(c, test_unflushed_bound);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	if (secret_init())
		return EXIT_FAILURE;
	return unit_main(suite());
}
