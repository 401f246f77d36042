// SPDX-License-Identifier: Apache-2.0
// The journal on a host whose power goes at every call: what a flush promised is there, in order,
// and nothing else comes back.
#include "fusefs/journal.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"
#include "tests/crash/simhost.h"
#include "tests/unit/unit_main.h"

#define ck_ok(expr) ck_assert_int_eq((expr), 0)
#define BYTES JOURNAL_FILE_MIN
#define STEPS 60
#define LIVES 3

static const struct simcut cuts[] = {
	{.what = SIMCUT_RANDOM},
	{.what = SIMCUT_RANDOM, .tear = SIMCUT_TEAR_ALL},
	{.what = SIMCUT_RANDOM, .tear = JOURNAL_NAME},
	{.what = SIMCUT_NONE},
	{.what = SIMCUT_ALL},
};
#define CUTS (sizeof(cuts) / sizeof(cuts[0]))

static struct keyring *ring;

static uint64_t rnd(uint64_t *state, uint64_t bound)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (*state >> 33) % bound;
}

static void setup(void)
{
	struct vault_header *h = calloc(1, sizeof(*h));
	uint8_t root[ROOT_KEY_BYTES];

	ck_assert_ptr_nonnull(h);
	memset(root, 3, sizeof(root));
	ck_ok(keyring_new(h, root, &ring));
	free(h);
}

static void teardown(void)
{
	keyring_free(ring);
}

// What the users of the journal know when the lights go out.
struct known {
	uint64_t promised;        // durable for sure
	uint64_t issued;          // appended, or tried to
	uint64_t s_least, s_most; // cut of the superblock: written for sure, tried last
	uint64_t k;
	uint8_t life[1 << 13]; // in which life a record was last issued: its content says so
};

static size_t record_len(uint64_t sequence)
{
	return (size_t)((sequence * 2654435761u) % (sequence % 11 ? 900 : 9000));
}

static void record_fill(uint8_t *buf, uint64_t sequence, uint8_t life)
{
	for (size_t i = 0; i < record_len(sequence); i++)
		buf[i] = (uint8_t)(sequence * 7 + i + life * 31u);
}

struct replayed {
	const struct known *known;
	uint64_t last;
};

static int check_record(void *arg, uint64_t sequence, const uint8_t *payload, size_t len)
{
	struct replayed *r = arg;
	uint8_t expected[9000];

	ck_assert_uint_eq(sequence, r->last + 1);
	ck_assert_uint_le(sequence, r->known->issued);
	ck_assert_uint_eq(len, record_len(sequence));
	record_fill(expected, sequence, r->known->life[sequence]);
	ck_assert(!len || !memcmp(payload, expected, len));
	r->last = sequence;
	return 0;
}

static int append(struct journal *j, struct known *known, uint8_t life)
{
	const uint64_t sequence = journal_sequence(j) + 1;
	uint8_t payload[9000];
	uint64_t got = 0;

	ck_assert_uint_lt(sequence, sizeof(known->life));
	record_fill(payload, sequence, life);
	uint8_t before = known->life[sequence];
	known->life[sequence] = life;
	int rc = journal_append(j, payload, record_len(sequence), 0, &got);
	if (rc == WERR_NOSPACE)
		known->life[sequence] = before;
	else
		known->issued = sequence;
	return rc;
}

static int advance(struct journal *j, struct known *known, const struct journal_mark *mark)
{
	known->s_most = mark->sequence;
	known->k++;
	int rc = journal_advance(j, known->k, mark, known->k);
	if (rc)
		return rc;
	known->s_least = mark->sequence;
	known->promised = journal_durable(j);
	return 0;
}

// One life of a process: appends, flushes and checkpoints until the power goes (or STEPS steps).
static void live(struct journal *j, struct known *known, uint64_t seed, uint8_t life)
{
	struct journal_mark mark;
	int rc = 0;

	journal_mark(j, &mark);
	for (unsigned i = 0; i < STEPS && !rc; i++) {
		uint64_t dice = rnd(&seed, 10);

		if (dice < 6)
			rc = append(j, known, life);
		else if (dice < 8)
			rc = journal_sync(j);
		else if (dice < 9)
			journal_mark(j, &mark);
		if (!rc && dice < 8)
			known->promised = journal_durable(j);
		if (rc == WERR_NOSPACE) {
			journal_mark(j, &mark);
			rc = advance(j, known, &mark);
		} else if (!rc && dice == 9 && mark.sequence >= known->s_least) {
			rc = advance(j, known, &mark);
		}
	}
	ck_assert(!rc || rc == WERR_IO);
}

// Opens and replays what is left. The records found are the truth from now on.
static struct journal *revive(struct host *h, struct known *known)
{
	struct replayed r = {.known = known};
	struct journal *j = NULL;
	uint64_t last = 0;

	ck_ok(journal_open(h, ring, BYTES, 0, &j));
	const uint64_t s = journal_superblock(j)->s;
	ck_assert(s >= known->s_least && s <= known->s_most);
	r.last = s;
	ck_ok(journal_replay(j, check_record, &r, &last));
	ck_assert_uint_eq(last, r.last);
	ck_assert_uint_ge(last, known->promised);
	known->s_least = known->s_most = s;
	known->promised = known->issued = last;
	return j;
}

static struct journal *begin(struct host *h, struct known *known)
{
	struct journal *j = NULL;

	memset(known, 0, sizeof(*known));
	ck_ok(journal_create(h, ring, BYTES));
	ck_ok(journal_open(h, ring, BYTES, 0, &j));
	ck_ok(journal_start(j, 1, 0, 0));
	return j;
}

// Several lives, each ended by a cut after n calls; the nth time the last life ran to its end.
static int lives(uint64_t seed, uint64_t n, const struct simcut *cut)
{
	static struct known known;
	struct simhost *s = simhost_new();
	struct host *h = simhost_open(s);
	struct journal *j = begin(h, &known);
	int off = 0;

	for (uint8_t life = 1; life <= LIVES; life++) {
		simhost_power_off_after(s, n);
		live(j, &known, seed + life, life);
		off |= simhost_is_off(s);
		journal_close(j);
		h->ops->close(h);
		struct simhost *next = simhost_clone_after_cut(s, seed * 1000 + n * 10 + life, cut);
		simhost_free(s);
		s = next;
		h = simhost_open(s);
		j = revive(h, &known);
	}
	journal_close(j);
	h->ops->close(h);
	simhost_free(s);
	return off;
}

START_TEST(test_every_call)
{
	for (uint64_t seed = 1; seed <= 12; seed++)
		for (uint64_t n = 0; lives(seed, n, &cuts[_i]); n++)
			;
}
END_TEST

// Flushes that fail now and then, then a cut: a promise made after the failures holds.
START_TEST(test_failing_flushes)
{
	for (uint64_t seed = 1; seed <= 150; seed++) {
		static struct known known;
		struct simhost *s = simhost_new();
		struct host *h = simhost_open(s);
		struct journal *j = begin(h, &known);

		for (uint8_t round = 1; round <= 5; round++) {
			simhost_fail(
				s, &(struct simfault){.kind = round % 2 ? SIM_DATASYNC : SIM_WRITE,
						      .nth = 1 + seed % 5,
						      .count = 1 + seed % 3,
						      .error = WERR_IO,
						      .after = (int)(seed & 1)});
			live(j, &known, seed * 5 + round, round);
			simhost_fail_clear(s);
			// A record whose append failed was not issued.
			known.issued = journal_sequence(j);
			if (round > 2) {
				ck_ok(journal_sync(j));
				known.promised = journal_durable(j);
				ck_assert_uint_eq(known.promised, known.issued);
			}
		}
		struct simhost *next = simhost_clone_after_cut(s, seed, &cuts[_i]);
		journal_close(j);
		h->ops->close(h);
		simhost_free(s);
		h = simhost_open(next);
		journal_close(revive(h, &known));
		h->ops->close(h);
		simhost_free(next);
	}
}
END_TEST

// What a replay showed after a kill does not vanish in a later power cut.
START_TEST(test_kill_then_cut)
{
	for (uint64_t seed = 1; seed <= 50; seed++) {
		static struct known known;
		struct simhost *s = simhost_new();
		struct host *h = simhost_open(s);
		struct journal *j = begin(h, &known);

		live(j, &known, seed, 1);
		struct simhost *killed = simhost_clone_after_kill(s);
		journal_close(j);
		h->ops->close(h);
		simhost_free(s);
		known.promised = known.issued; // the page cache is still there
		h = simhost_open(killed);
		journal_close(revive(h, &known));
		h->ops->close(h);
		s = simhost_clone_after_cut(killed, seed, &cuts[_i]);
		simhost_free(killed);
		h = simhost_open(s);
		journal_close(revive(h, &known));
		h->ops->close(h);
		simhost_free(s);
	}
}
END_TEST

// A new mount begins: afterwards it is the old chain, whole, or the new one, empty.
START_TEST(test_start)
{
	unsigned old = 0, new_ = 0;

	for (uint64_t seed = 1; seed <= 40; seed++) {
		static struct known known;
		struct simhost *s = simhost_new();
		struct host *h = simhost_open(s);
		struct journal *j = begin(h, &known);

		live(j, &known, seed, 1);
		ck_ok(journal_sync(j));
		known.promised = journal_durable(j);
		simhost_power_off_after(s, seed % 3);
		int rc = journal_start(j, 2, 0, 0);
		struct simhost *next = simhost_clone_after_cut(s, seed, &cuts[_i]);
		journal_close(j);
		h->ops->close(h);
		simhost_free(s);
		h = simhost_open(next);
		ck_ok(journal_open(h, ring, BYTES, 0, &j));
		uint32_t mount = journal_superblock(j)->mount;
		journal_close(j);
		ck_assert(mount == 2 || (mount == 1 && rc));
		if (mount == 2)
			memset(&known, 0, sizeof(known));
		old += mount == 1;
		new_ += mount == 2;
		journal_close(revive(h, &known));
		h->ops->close(h);
		simhost_free(next);
	}
	ck_assert(old && new_);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("journal and cuts");
	TCase *c = tcase_create("all");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_set_timeout(c, 200);
	tcase_add_loop_test(c, test_every_call, 0, CUTS);
	tcase_add_loop_test(c, test_failing_flushes, 0, CUTS);
	tcase_add_loop_test(c, test_kill_then_cut, 0, CUTS);
	tcase_add_loop_test(c, test_start, 0, CUTS);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	if (secret_init())
		return EXIT_FAILURE;
	return unit_main(suite());
}
