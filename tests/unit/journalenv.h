// SPDX-License-Identifier: Apache-2.0
// A journal with known records in a temporary host: for the check programs of the journal.
#ifndef WARDFS_TESTS_JOURNALENV_H
#define WARDFS_TESTS_JOURNALENV_H

#include "crypto/secret.h"
#include "fusefs/journal.h"
#include "tests/unit/hostenv.h"

#define SMALL (64u << 10)
#define LOG_START 8192u
#define BLOCK 4096u
#define RECORDS_MAX 4096

static struct keyring *ring;
static uint64_t random_state;

static inline uint64_t rnd(uint64_t bound)
{
	random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
	return (random_state >> 33) % bound;
}

static inline struct keyring *new_ring(uint8_t seed)
{
	struct vault_header *h = calloc(1, sizeof(*h));
	uint8_t root[ROOT_KEY_BYTES];
	struct keyring *ret = NULL;

	ck_assert_ptr_nonnull(h);
	memset(h->vault_id, 7, sizeof(h->vault_id));
	memset(root, seed, sizeof(root));
	ck_ok(keyring_new(h, root, &ret));
	free(h);
	return ret;
}

// What was appended: record n is payload n.
struct payload {
	uint8_t *bytes;
	size_t len;
	uint64_t start, end; // in the file
};
static struct payload sent[RECORDS_MAX + 1];

static inline void forget_sent(void)
{
	for (unsigned i = 0; i <= RECORDS_MAX; i++)
		free(sent[i].bytes);
	memset(sent, 0, sizeof(sent));
}

static inline void journalenv_setup(void)
{
	random_state = 42;
	hostenv_setup();
	ring = new_ring(1);
}

static inline void journalenv_teardown(void)
{
	forget_sent();
	keyring_free(ring);
	hostenv_teardown();
}

static inline int append(struct journal *j, size_t len, uint64_t reserve)
{
	struct journal_mark mark;
	uint64_t sequence = 0;
	uint8_t *bytes = malloc(len + 1);

	ck_assert_ptr_nonnull(bytes);
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)rnd(256);
	int rc = journal_append(j, bytes, len, reserve, &sequence);
	if (rc) {
		free(bytes);
		return rc;
	}
	ck_assert_uint_le(sequence, RECORDS_MAX);
	ck_assert_uint_eq(sequence, journal_sequence(j));
	journal_mark(j, &mark);
	free(sent[sequence].bytes);
	sent[sequence].bytes = bytes;
	sent[sequence].len = len;
	sent[sequence].end = mark.offset == LOG_START ? 0 : mark.offset;
	sent[sequence].start = sent[sequence].end - ((48 + len + 7) & ~(size_t)7);
	return 0;
}

static inline int check_payload(void *arg, uint64_t sequence, const uint8_t *payload, size_t len)
{
	uint64_t *last = arg;

	ck_assert_uint_eq(sequence, *last + 1);
	ck_assert_uint_eq(len, sent[sequence].len);
	ck_assert(!len || !memcmp(payload, sent[sequence].bytes, len));
	*last = sequence;
	return 0;
}

static inline struct journal *open_journal(uint64_t bytes)
{
	struct journal *j = NULL;

	ck_ok(journal_open(env.host, ring, bytes, 0, &j));
	return j;
}

static inline uint64_t replay(struct journal *j)
{
	uint64_t seen = journal_superblock(j)->s;
	uint64_t last = 99;

	ck_ok(journal_replay(j, check_payload, &seen, &last));
	ck_assert_uint_eq(last, seen);
	ck_assert_uint_eq(last, journal_sequence(j));
	ck_assert_uint_eq(last, journal_durable(j));
	return last;
}

// Opens, replays, closes: the last sequence.
static inline uint64_t replay_file(uint64_t bytes)
{
	struct journal *j = open_journal(bytes);
	uint64_t last = replay(j);

	journal_close(j);
	return last;
}

static inline struct journal *started(uint64_t bytes)
{
	ck_ok(journal_create(env.host, ring, bytes));
	struct journal *j = open_journal(bytes);
	ck_ok(journal_start(j, 1, 5, 77));
	return j;
}

#endif
