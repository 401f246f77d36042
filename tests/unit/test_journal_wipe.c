// SPDX-License-Identifier: Apache-2.0
// Overwriting what the journal holds of before, while it is in use: nothing is left, nothing that
// counts is touched, at no moment.
#include "fusefs/journal.h"

#include <stdbool.h>

#include "tests/unit/losing_sync.h"
#include "tests/unit/unit_main.h"

#define BYTES (1u << 20)
#define ROUNDS_MAX 100u

static uint8_t *before;

// Words of `before` that still stand where they stood.
static unsigned left_of_before(uint64_t bytes)
{
	uint8_t *now = hostenv_slurp(JOURNAL_NAME, bytes);
	unsigned left = 0;

	for (uint64_t at = 0; at < bytes; at += 8) {
		// The superblock's first bytes are the same in all of one mount.
		bool fixed = at < LOG_START && at % BLOCK < 16;
		uint64_t word;

		memcpy(&word, before + at, sizeof(word));
		left += word && !fixed && memcmp(now + at, &word, sizeof(word)) == 0;
	}
	free(now);
	return left;
}

static void advance(struct journal *j)
{
	struct journal_mark mark;

	journal_mark(j, &mark);
	ck_ok(journal_advance(j, 9, &mark, 1));
}

// A log that has been gone round in, with something in use.
static struct journal *used_journal(uint64_t bytes, size_t max_len)
{
	struct journal *j = started(bytes);
	uint64_t sum = 0;

	while (sum < 2 * bytes) {
		const size_t len = (size_t)rnd(max_len);

		if (append(j, len, 0))
			advance(j);
		else
			sum += len + 48;
	}
	// The next record goes into the same block.
	ck_ok(append(j, 100, 0));
	before = hostenv_slurp(JOURNAL_NAME, bytes);
	return j;
}

static void end_of(struct journal *j)
{
	journal_wipe_end(j);
	journal_close(j);
	free(before);
	before = NULL;
}

// Each state that the file goes through replays to all records. busy: size of records in between.
static void wipe_to_the_end(struct journal *j, uint64_t bytes, size_t busy)
{
	enum journal_wipe_state state = JOURNAL_WIPE_MORE;
	unsigned rounds = 0;

	ck_ok(journal_wipe_begin(j));
	ck_ok(append(j, 5000, 0)); // part of a block, and a whole one
	while (state != JOURNAL_WIPE_DONE) {
		ck_assert_uint_lt(rounds++, ROUNDS_MAX);
		ck_ok(journal_wipe(j, &state));
		ck_assert_uint_eq(replay_file(bytes), journal_sequence(j));
		if (busy && append(j, (size_t)rnd(busy), 0))
			advance(j);
		if (state == JOURNAL_WIPE_IN_USE) {
			ck_ok(append(j, 10, 0));
			advance(j);
			ck_assert_uint_eq(replay_file(bytes), journal_sequence(j));
		}
	}
	ck_assert_uint_eq(left_of_before(bytes), 0);
}

START_TEST(test_nothing_is_left)
{
	static const struct {
		uint64_t bytes;
		size_t records, busy;
	} cases[] = {
		{SMALL, 3000, 0},
		{SMALL, 3000, 5000},
		{BYTES, 9000, 0},
		{BYTES, 150000, 200000},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct journal *j = used_journal(cases[i].bytes, cases[i].records);

		ck_assert_uint_gt(left_of_before(cases[i].bytes), cases[i].bytes / 16);
		wipe_to_the_end(j, cases[i].bytes, cases[i].busy);
		// The log goes on behind it, and round.
		for (unsigned n = 0; n < 100; n++) {
			if (append(j, (size_t)rnd(3000), 0))
				advance(j);
		}
		ck_ok(journal_sync(j));
		ck_assert_uint_eq(replay_file(cases[i].bytes), journal_sequence(j));
		end_of(j);
		forget_sent();
		hostenv_teardown();
		hostenv_setup();
	}
}
END_TEST

// What is in use is not touched: without a checkpoint it stays, and is asked for.
START_TEST(test_in_use)
{
	struct journal *j = used_journal(SMALL, 3000);
	enum journal_wipe_state state = JOURNAL_WIPE_MORE;

	ck_ok(journal_wipe_begin(j));
	for (unsigned i = 0; i < 5; i++)
		ck_ok(journal_wipe(j, &state));
	ck_assert_int_eq(state, JOURNAL_WIPE_IN_USE);
	ck_assert_uint_gt(left_of_before(SMALL), 0);
	ck_assert_uint_eq(replay_file(SMALL), journal_sequence(j));
	end_of(j);
}
END_TEST

// Whoever's flush it is that fails.
START_TEST(test_flush_fails)
{
	for (unsigned ours = 0; ours < 2; ours++) {
		struct journal *j = used_journal(SMALL, 3000);
		enum journal_wipe_state state = JOURNAL_WIPE_MORE;

		durable_file = hostenv_slurp(JOURNAL_NAME, SMALL);
		env.on_sync = losing_sync;
		ck_ok(journal_wipe_begin(j));
		fail_syncs = ours ? 2 : 0;
		ck_assert_int_eq(journal_wipe(j, &state), ours ? WERR_IO : 0);
		for (unsigned i = 0; i < 2; i++) {
			ck_ok(append(j, 10, 0));
			fail_syncs = ours ? 0 : 1;
			advance(j);
			if (i == 0)
				ck_ok(journal_wipe(j, &state));
		}
		// All blocks had been overwritten by now, and all of that is lost.
		ck_ok(journal_wipe(j, &state));
		ck_assert_int_eq(state, ours ? JOURNAL_WIPE_DONE : JOURNAL_WIPE_MORE);
		wipe_to_the_end(j, SMALL, 0);
		env.on_sync = NULL;
		hostenv_poke(JOURNAL_NAME, durable_file, SMALL, 0);
		ck_assert_uint_eq(left_of_before(SMALL), 0);
		ck_assert_uint_eq(replay_file(SMALL), journal_sequence(j));
		end_of(j);
		free(durable_file);
		durable_file = NULL;
		forget_sent();
		hostenv_teardown();
		hostenv_setup();
	}
}
END_TEST

START_TEST(test_refusals)
{
	struct journal *j = used_journal(SMALL, 3000);
	struct keyring *other = new_ring(2);
	enum journal_wipe_state state;

	ck_assert_int_eq(journal_wipe(j, &state), WERR_INTERNAL);
	ck_ok(journal_wipe_begin(j));
	ck_ok(journal_sync(j));
	ck_ok(journal_rekey_live(j, other, 1));
	ck_assert_int_eq(journal_wipe(j, &state), WERR_BUSY);
	journal_rekey_undo(j);
	wipe_to_the_end(j, SMALL, 0);
	end_of(j);
	keyring_free(other);
	ck_ok(journal_open(env.host, ring, SMALL, 1, &j));
	ck_assert_int_eq(journal_wipe_begin(j), WERR_READONLY);
	journal_close(j);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("journal wipe");
	TCase *c = tcase_create("all");

	tcase_add_checked_fixture(c, journalenv_setup, journalenv_teardown);
	tcase_set_timeout(c, 60);
	tcase_add_test(c, test_nothing_is_left);
	tcase_add_test(c, test_in_use);
	tcase_add_test(c, test_flush_fails);
	tcase_add_test(c, test_refusals);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	if (secret_init())
		return EXIT_FAILURE;
	return unit_main(suite());
}
