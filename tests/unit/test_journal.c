// SPDX-License-Identifier: Apache-2.0
#include "fusefs/journal.h"

#include "crypto/cursor.h"
#include "tests/unit/journalenv.h"
#include "tests/unit/unit_main.h"

START_TEST(test_create)
{
	static const uint64_t wrong[] = {0, 4096, SMALL - 4096, SMALL + 1,
					 JOURNAL_MAX_BYTES + 4096};
	struct journal *j = NULL;

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		ck_assert_int_eq(journal_create(env.host, ring, wrong[i]), WERR_INVALID);
		ck_assert_int_eq(journal_open(env.host, ring, wrong[i], 0, &j), WERR_INVALID);
	}
	ck_assert_int_eq(journal_open(env.host, ring, SMALL, 0, &j), WERR_DAMAGED);
	ck_ok(journal_create(env.host, ring, SMALL));
	ck_assert_int_eq(journal_create(env.host, ring, SMALL), WERR_EXISTS);
	ck_assert_int_eq(journal_open(env.host, ring, SMALL + BLOCK, 0, &j), WERR_DAMAGED);
	j = open_journal(SMALL);
	ck_assert_uint_eq(journal_superblock(j)->mount, 0);
	ck_assert_uint_eq(journal_capacity(j), SMALL - 3 * BLOCK);
	// Neither replayed nor started, and then a chain of mount 0: no record may be written.
	uint64_t sequence;
	ck_assert_int_eq(journal_append(j, (const uint8_t *)"x", 1, 0, &sequence), WERR_INTERNAL);
	ck_assert_uint_eq(replay(j), 0);
	ck_assert_int_eq(journal_append(j, (const uint8_t *)"x", 1, 0, &sequence), WERR_INTERNAL);
	ck_assert_int_eq(journal_start(j, 0, 0, 0), WERR_INVALID);
	journal_close(j);
}
END_TEST

START_TEST(test_round_trip)
{
	static const size_t lens[] = {0,    1,    7,    8,      9, 100,    4000,
				      4048, 4049, 4096, 100000, 3, 1 << 20};
	const uint64_t bytes = 4 << 20;
	struct journal *j = started(bytes);
	uint64_t n = 0;

	for (unsigned sync = 0; sync < 2; sync++) {
		for (unsigned i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
			ck_ok(append(j, lens[i], 0));
			n++;
			ck_assert_uint_eq(journal_sequence(j), n);
			if (sync)
				ck_ok(journal_sync(j));
		}
		ck_ok(journal_sync(j));
		ck_assert_uint_eq(journal_durable(j), n);
	}
	const struct superblock *sb = journal_superblock(j);
	ck_assert_uint_eq(sb->mount, 1);
	ck_assert_uint_eq(sb->k, 5);
	ck_assert_uint_eq(sb->s, 0);
	ck_assert_uint_eq(sb->root_generation, 77);
	journal_close(j);
	ck_assert_uint_eq(replay_file(bytes), n);
	uint64_t sequence;
	j = open_journal(bytes);
	ck_assert_uint_eq(replay(j), n);
	ck_assert_uint_eq(replay(j), n);
	ck_assert_int_eq(journal_append(j, NULL, JOURNAL_PAYLOAD_MAX + 1, 0, &sequence),
			 WERR_LIMIT);
	ck_ok(append(j, 10, 0));
	ck_assert_uint_eq(journal_sequence(j), n + 1);
	journal_close(j);
	ck_assert_uint_eq(replay_file(bytes), n + 1);
}
END_TEST

START_TEST(test_largest)
{
	const uint64_t bytes = 16 << 20;
	struct journal *j = started(bytes);

	ck_ok(append(j, JOURNAL_PAYLOAD_MAX, 0));
	ck_ok(append(j, JOURNAL_PAYLOAD_MAX - 1, 0));
	journal_close(j);
	ck_assert_uint_eq(replay_file(bytes), 2);
}
END_TEST

// Equal payloads look unequal, and nothing of them shows.
START_TEST(test_ciphertext)
{
	static const uint8_t payload[256] = "the same words, the same words, the same words";
	struct journal *j = started(SMALL);
	uint64_t sequence;

	for (int i = 0; i < 2; i++)
		ck_ok(journal_append(j, payload, sizeof(payload), 0, &sequence));
	journal_close(j);
	uint8_t *file = hostenv_slurp(JOURNAL_NAME, SMALL);
	const size_t size = 48 + sizeof(payload);
	uint8_t *first = file + LOG_START;
	ck_assert_uint_eq(le32_get(first), 16 + sizeof(payload));
	ck_assert(memcmp(first + 4, first + size + 4, 12));
	ck_assert(memcmp(first + 48, first + size + 48, sizeof(payload)));
	ck_assert_ptr_null(memmem(file, SMALL, "same words", 10));
	free(file);
}
END_TEST

static struct journal *with_records(unsigned n, size_t max_len)
{
	struct journal *j = started(SMALL);

	for (unsigned i = 0; i < n; i++) {
		ck_ok(append(j, (size_t)rnd(max_len), 0));
		if (rnd(3) == 0)
			ck_ok(journal_sync(j));
	}
	ck_ok(journal_sync(j));
	return j;
}

// Only the first n blocks of the log reached the disk.
START_TEST(test_prefixes)
{
	uint8_t *before = NULL;
	const unsigned records = 20;

	journal_close(started(SMALL));
	before = hostenv_slurp(JOURNAL_NAME, SMALL);
	ck_ok(env.host->ops->unlink_top(env.host, JOURNAL_NAME));
	journal_close(with_records(records, 2500));
	uint8_t *after = hostenv_slurp(JOURNAL_NAME, SMALL);
	for (unsigned n = 0; n <= (SMALL - LOG_START) / BLOCK; n++) {
		uint64_t end = LOG_START + n * BLOCK;
		uint64_t whole = 0;

		hostenv_poke(JOURNAL_NAME, after, end, 0);
		hostenv_poke(JOURNAL_NAME, before + end, SMALL - end, end);
		while (whole < records && sent[whole + 1].end <= end)
			whole++;
		ck_assert_uint_eq(replay_file(SMALL), whole);
	}
	free(before);
	free(after);
}
END_TEST

// A changed bit ends the chain at its record, wherever it stands in it; in the padding it does
// nothing.
START_TEST(test_bit_flips)
{
	const unsigned records = 16;
	unsigned hits = 0;

	journal_close(with_records(records, 1500));
	uint8_t *file = hostenv_slurp(JOURNAL_NAME, SMALL);
	for (uint64_t n = 1; n <= records; n++) {
		const struct payload *p = &sent[n];

		for (uint64_t at = p->start; at < p->end; at += at < p->start + 48 ? 3 : 101) {
			uint8_t byte = file[at] ^ (uint8_t)(1u << rnd(8));

			hostenv_poke(JOURNAL_NAME, &byte, 1, at);
			ck_assert_uint_eq(replay_file(SMALL),
					  at < p->start + 48 + p->len ? n - 1 : records);
			hostenv_poke(JOURNAL_NAME, file + at, 1, at);
			hits++;
		}
	}
	ck_assert_uint_gt(hits, 200);
	ck_assert_uint_eq(replay_file(SMALL), records);
	free(file);
}
END_TEST

// Lengths that lead out of the file or of all bounds are no records and cost nothing.
START_TEST(test_lengths)
{
	static const uint32_t lens[] = {0, 15, 65536, (4u << 20) + 1, 0x7fffffff, 0xffffffff};

	journal_close(with_records(3, 100));
	for (unsigned i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		uint8_t len[4];

		le32_put(len, lens[i]);
		hostenv_poke(JOURNAL_NAME, len, 4, sent[2].start);
		ck_assert_uint_eq(replay_file(SMALL), 1);
	}
}
END_TEST

// Records may not change places, be repeated, or come from another mount or journal.
START_TEST(test_foreign_records)
{
	struct journal *j = started(SMALL);
	const size_t size = 48 + 200;

	for (int i = 0; i < 4; i++)
		ck_ok(append(j, 200, 0));
	ck_ok(journal_sync(j));
	journal_close(j);
	uint8_t *file = hostenv_slurp(JOURNAL_NAME, SMALL);
	hostenv_poke(JOURNAL_NAME, file + sent[3].start, size, sent[2].start);
	hostenv_poke(JOURNAL_NAME, file + sent[2].start, size, sent[3].start);
	ck_assert_uint_eq(replay_file(SMALL), 1);
	hostenv_poke(JOURNAL_NAME, file + sent[1].start, size, sent[2].start);
	ck_assert_uint_eq(replay_file(SMALL), 1);
	// Record 3 right behind record 1: a hole in the sequence.
	hostenv_poke(JOURNAL_NAME, file + sent[3].start, size, sent[2].start);
	ck_assert_uint_eq(replay_file(SMALL), 1);
	hostenv_poke(JOURNAL_NAME, file, SMALL, 0);
	j = open_journal(SMALL);
	ck_assert_uint_eq(replay(j), 4);
	ck_ok(journal_start(j, 2, 6, 78));
	uint64_t tail = journal_superblock(j)->tail;
	ck_assert_uint_eq(tail % BLOCK, 0);
	ck_assert_uint_ge(tail, sent[4].end);
	ck_assert_uint_eq(journal_used(j), 0);
	journal_close(j);
	hostenv_poke(JOURNAL_NAME, file + sent[1].start, 4 * size, tail);
	ck_assert_uint_eq(replay_file(SMALL), 0);
	// The same mount number again, in another life of the journal: another salt.
	ck_ok(env.host->ops->unlink_top(env.host, JOURNAL_NAME));
	journal_close(started(SMALL));
	hostenv_poke(JOURNAL_NAME, file + LOG_START, SMALL - LOG_START, LOG_START);
	ck_assert_uint_eq(replay_file(SMALL), 0);
	free(file);
}
END_TEST

// A record of a branch that a crash cut off does not go on behind the new record of the same
// number.
START_TEST(test_other_branch)
{
	struct journal *j = started(SMALL);
	uint8_t zeros[BLOCK] = {0};

	for (int i = 0; i < 3; i++) {
		ck_ok(append(j, 200, 0));
		ck_ok(journal_sync(j));
	}
	journal_close(j);
	hostenv_poke(JOURNAL_NAME, zeros, BLOCK, sent[2].start);
	uint64_t start = sent[2].start;
	j = open_journal(SMALL);
	ck_assert_uint_eq(replay(j), 1);
	ck_ok(append(j, 200, 0));
	ck_assert_uint_eq(sent[2].start, start);
	journal_close(j);
	ck_assert_uint_eq(replay_file(SMALL), 2);
}
END_TEST

// Which blocks of the file must not be written now: live and made durable by a flush.
static uint8_t
	block_state[SMALL / BLOCK]; // bit 0: written since the last flush, bit 1: durable and live

static int guard_write(struct host_file *f, const struct iovec *iov, int iovcnt, uint64_t off)
{
	uint64_t end = off;

	(void)f;
	for (int i = 0; i < iovcnt; i++)
		end += iov[i].iov_len;
	ck_assert_uint_le(end, SMALL);
	for (uint64_t b = off / BLOCK; b <= (end - 1) / BLOCK; b++) {
		ck_assert_msg(b < 2 || !(block_state[b] & 2), "live block %u written again",
			      (unsigned)b);
		block_state[b] |= 1;
	}
	return 0;
}

static int guard_sync(struct host_file *f)
{
	(void)f;
	for (unsigned b = 2; b < SMALL / BLOCK; b++)
		if (block_state[b] & 1)
			block_state[b] = 2;
	return 0;
}

// After an advance: blocks outside [tail, head) are free.
static void guard_free(struct journal *j)
{
	struct journal_mark mark;

	journal_mark(j, &mark);
	uint64_t tail = journal_superblock(j)->tail / BLOCK;
	uint64_t head = (mark.offset + BLOCK - 1) / BLOCK;
	for (uint64_t b = 2; b < SMALL / BLOCK; b++) {
		int live = tail <= head ? b >= tail && b < head : b >= tail || b < head;

		if (!live)
			block_state[b] = 0;
	}
}

static struct journal *reopen_at(struct journal *j, uint64_t expected)
{
	journal_close(j);
	j = open_journal(SMALL);
	ck_assert_uint_eq(replay(j), expected);
	return j;
}

// Many laps of a small log, with flushes, checkpoints, and reopening in between.
START_TEST(test_laps)
{
	struct journal *j = started(SMALL);
	struct journal_mark mark = {0};
	uint64_t k = 5;
	uint64_t n = 0;
	unsigned full = 0;

	memset(block_state, 0, sizeof(block_state));
	journal_mark(j, &mark);
	env.on_write = guard_write;
	env.on_sync = guard_sync;
	while (n < 3000) {
		int rc = append(j, rnd(20) ? (size_t)rnd(1200) : (size_t)rnd(16000), 0);

		if (rc) {
			ck_assert_int_eq(rc, WERR_NOSPACE);
			full++;
			journal_mark(j, &mark);
		} else {
			n++;
		}
		ck_assert_uint_le(journal_used(j), journal_capacity(j));
		if (rnd(4) == 0)
			ck_ok(journal_sync(j));
		if (rnd(30) == 0)
			journal_mark(j, &mark);
		if (rc || rnd(60) == 0) {
			k++;
			ck_ok(journal_advance(j, k, &mark, k * 10));
			ck_assert_uint_eq(journal_superblock(j)->s, mark.sequence);
			ck_assert_uint_eq(journal_superblock(j)->k, k);
			guard_free(j);
		}
		if (rnd(25) == 0) {
			j = reopen_at(j, n);
			journal_mark(j, &mark);
			// What was found in the file counts as durable now.
			guard_sync(NULL);
		}
	}
	ck_assert_uint_gt(full, 5);
	env.on_write = NULL;
	env.on_sync = NULL;
	journal_close(reopen_at(j, n));
}
END_TEST

START_TEST(test_full)
{
	struct journal *j = started(SMALL);
	uint64_t n = 0;
	int rc;

	while ((rc = append(j, 1000, 16384)) == 0)
		n++;
	ck_assert_int_eq(rc, WERR_NOSPACE);
	ck_assert_uint_le(journal_used(j), journal_capacity(j) - 16384);
	ck_assert_int_eq(append(j, 0, 1u << 30), WERR_NOSPACE);
	ck_ok(journal_sync(j));
	while ((rc = append(j, 3000, 0)) == 0)
		n++;
	ck_assert_int_eq(rc, WERR_NOSPACE);
	ck_ok(journal_sync(j));
	journal_close(j);
	j = open_journal(SMALL);
	ck_assert_uint_eq(replay(j), n);
	while ((rc = append(j, 4000, 0)) == 0)
		n++;
	ck_assert_int_eq(rc, WERR_NOSPACE);
	journal_close(j);
	ck_assert_uint_eq(replay_file(SMALL), n);
}
END_TEST

// A checkpoint of everything empties the log to the last byte, at every fill.
START_TEST(test_empty_again)
{
	struct journal *j = started(SMALL);
	struct journal_mark mark;

	for (unsigned i = 0; i < 100; i++) {
		ck_ok(append(j, (size_t)rnd(9000), 0));
		ck_assert_uint_gt(journal_used(j), 0);
		journal_mark(j, &mark);
		ck_ok(journal_advance(j, i, &mark, 0));
		ck_assert_uint_eq(journal_used(j), 0);
	}
	ck_ok(append(j, (size_t)journal_capacity(j) / 2 - 100, 0));
	mark.sequence = 3;
	ck_assert_int_eq(journal_advance(j, 101, &mark, 0), WERR_INTERNAL);
	journal_close(j);
	ck_assert_uint_eq(replay_file(SMALL), 101);
}
END_TEST

START_TEST(test_superblocks)
{
	struct journal *j = started(SMALL);
	struct journal_mark mark;
	uint8_t junk[512];

	for (int i = 0; i < 3; i++)
		ck_ok(append(j, 100, 0));
	journal_mark(j, &mark);
	ck_ok(append(j, 100, 0));
	uint8_t *before = hostenv_slurp(JOURNAL_NAME, SMALL);
	ck_ok(journal_advance(j, 6, &mark, 78));
	journal_close(j);
	uint8_t *after = hostenv_slurp(JOURNAL_NAME, SMALL);
	// One block was written, the other one is as it was.
	int newer = memcmp(before, after, BLOCK) ? 0 : 1;
	ck_assert_int_eq(memcmp(before + BLOCK, after + BLOCK, BLOCK) != 0, newer);
	j = open_journal(SMALL);
	ck_assert_uint_eq(journal_superblock(j)->s, 3);
	ck_assert_uint_eq(replay(j), 4);
	journal_close(j);
	// The newer one torn: the older one and all its records.
	memset(junk, 0x5a, sizeof(junk));
	hostenv_poke(JOURNAL_NAME, junk, 256, (uint64_t)newer * BLOCK + 128);
	j = open_journal(SMALL);
	ck_assert_uint_eq(journal_superblock(j)->s, 0);
	ck_assert_uint_eq(replay(j), 4);
	// Its successor goes into the torn block, not over the only good one.
	journal_mark(j, &mark);
	ck_ok(journal_advance(j, 7, &mark, 79));
	journal_close(j);
	hostenv_poke(JOURNAL_NAME, junk, sizeof(junk), (uint64_t)(1 - newer) * BLOCK);
	j = open_journal(SMALL);
	ck_assert_uint_eq(journal_superblock(j)->k, 7);
	journal_close(j);
	// One block in the other's place is not authentic there.
	hostenv_poke(JOURNAL_NAME, after, BLOCK, BLOCK);
	hostenv_poke(JOURNAL_NAME, after + BLOCK, BLOCK, 0);
	ck_assert_int_eq(journal_open(env.host, ring, SMALL, 0, &j), WERR_AUTH);
	free(before);
	free(after);
}
END_TEST

START_TEST(test_recreate)
{
	struct journal *j = with_records(5, 100);
	uint8_t junk[8192];
	char path[256];

	journal_close(j);
	memset(junk, 1, sizeof(junk));
	hostenv_poke(JOURNAL_NAME, junk, sizeof(junk), 0);
	ck_assert_int_eq(journal_open(env.host, ring, SMALL, 0, &j), WERR_AUTH);
	ck_ok(journal_recreate(env.host, ring, SMALL));
	ck_assert_uint_eq(replay_file(SMALL), 0);
	ck_ok(journal_recreate(env.host, ring, SMALL + BLOCK));
	ck_assert_uint_eq(replay_file(SMALL + BLOCK), 0);
	hostenv_path(path, sizeof(path), JOURNAL_NAME);
	ck_ok(truncate(path, 100));
	ck_ok(journal_recreate(env.host, ring, SMALL));
	ck_ok(unlink(path));
	ck_ok(journal_recreate(env.host, ring, SMALL));
	j = open_journal(SMALL);
	ck_ok(journal_start(j, 9, 1, 1));
	ck_ok(append(j, 10, 0));
	journal_close(j);
	ck_assert_uint_eq(replay_file(SMALL), 1);
}
END_TEST

START_TEST(test_rekey)
{
	struct keyring *old = ring;
	struct journal *j = started(SMALL);
	struct journal_mark mark;

	ck_ok(append(j, 10, 0));
	journal_mark(j, &mark);
	ck_ok(journal_advance(j, 6, &mark, 80));
	struct superblock sb = *journal_superblock(j);
	journal_close(j);
	ring = new_ring(2);
	ck_assert_int_eq(journal_open(env.host, ring, SMALL, 0, &j), WERR_AUTH);
	ck_ok(journal_rekey(env.host, old, ring, SMALL));
	ck_assert_int_eq(journal_open(env.host, old, SMALL, 0, &j), WERR_AUTH);
	for (uint32_t torn = 0; torn < 2; torn++) {
		uint8_t *file = hostenv_slurp(JOURNAL_NAME, SMALL);
		uint8_t zeros[256] = {0};

		hostenv_poke(JOURNAL_NAME, zeros, sizeof(zeros), torn * BLOCK);
		j = open_journal(SMALL);
		// Nothing that was logged opens any more, so nothing promises it.
		ck_assert_uint_eq(journal_superblock(j)->mount, 0);
		ck_assert_uint_eq(journal_superblock(j)->s, 0);
		ck_assert_uint_eq(journal_superblock(j)->k, 0);
		ck_assert_uint_gt(journal_superblock(j)->counter, sb.counter);
		journal_close(j);
		hostenv_poke(JOURNAL_NAME, file, SMALL, 0);
		free(file);
	}
	// Nothing opens under the "old" ring: an empty journal, which a clean vault can start from.
	struct keyring *third = new_ring(3);
	ck_ok(journal_rekey(env.host, old, third, SMALL));
	keyring_free(ring);
	ring = third;
	j = open_journal(SMALL);
	ck_assert_uint_eq(journal_superblock(j)->mount, 0);
	ck_ok(journal_start(j, 2, 1, 1));
	journal_close(j);
	ck_assert_int_eq(journal_rekey(env.host, old, ring, SMALL + BLOCK), WERR_DAMAGED);
	keyring_free(old);
}
END_TEST

static int no_write(struct host_file *f, const struct iovec *iov, int iovcnt, uint64_t off)
{
	(void)f, (void)iov, (void)iovcnt, (void)off;
	return WERR_READONLY;
}

START_TEST(test_readonly)
{
	struct journal *j = with_records(3, 100);
	struct journal_mark mark;
	uint64_t sequence, last, seen = 0;

	journal_close(j);
	env.on_write = no_write;
	env.syncs = 0;
	ck_ok(journal_open(env.host, ring, SMALL, 1, &j));
	ck_ok(journal_replay(j, check_payload, &seen, &last));
	ck_assert_uint_eq(last, 3);
	ck_assert_int_eq(journal_append(j, NULL, 0, 0, &sequence), WERR_READONLY);
	ck_assert_int_eq(journal_start(j, 2, 1, 1), WERR_READONLY);
	journal_mark(j, &mark);
	ck_assert_int_eq(journal_advance(j, 2, &mark, 1), WERR_READONLY);
	ck_ok(journal_sync(j));
	journal_close(j);
	ck_assert_int_eq(env.syncs, 0);
}
END_TEST

static int stop_at_two(void *arg, uint64_t sequence, const uint8_t *payload, size_t len)
{
	(void)arg, (void)payload, (void)len;
	return sequence == 2 ? WERR_MALFORMED : 0;
}

START_TEST(test_callback_stops)
{
	struct journal *j = with_records(3, 100);
	uint64_t last;

	journal_close(j);
	j = open_journal(SMALL);
	ck_assert_int_eq(journal_replay(j, stop_at_two, NULL, &last), WERR_MALFORMED);
	ck_assert_int_eq(append(j, 1, 0), WERR_INTERNAL);
	ck_assert_uint_eq(replay(j), 3);
	journal_close(j);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("journal");
	TCase *c = tcase_create("all");

	tcase_add_checked_fixture(c, journalenv_setup, journalenv_teardown);
	tcase_set_timeout(c, 60);
	tcase_add_test(c, test_create);
	tcase_add_test(c, test_round_trip);
	tcase_add_test(c, test_largest);
	tcase_add_test(c, test_ciphertext);
	tcase_add_test(c, test_prefixes);
	tcase_add_test(c, test_bit_flips);
	tcase_add_test(c, test_lengths);
	tcase_add_test(c, test_foreign_records);
	tcase_add_test(c, test_other_branch);
	tcase_add_test(c, test_laps);
	tcase_add_test(c, test_full);
	tcase_add_test(c, test_empty_again);
	tcase_add_test(c, test_superblocks);
	tcase_add_test(c, test_recreate);
	tcase_add_test(c, test_rekey);
	tcase_add_test(c, test_readonly);
	tcase_add_test(c, test_callback_stops);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	if (secret_init())
		return EXIT_FAILURE;
	return unit_main(suite());
}
