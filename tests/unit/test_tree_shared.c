// SPDX-License-Identifier: Apache-2.0
// The page tree under several readers at once: what they load together is what one loads.
#include "unit_main.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "fusefs/tree.h"

#define READERS 4
#define PAGES 5000u // the direct ones, the first tree, and a part of the second
#define STEP 100u

// The seal of the page (level 0) or node at this index.
static struct seal seal_of(unsigned level, uint64_t first)
{
	struct seal s = {.b = {[28] = 1}};

	s.b[0] = (uint8_t)(level + 1);
	memcpy(s.b + 1, &first, sizeof first);
	return s;
}

// Nodes that are full. The other threads come meanwhile.
static int load(void *arg, unsigned level, uint64_t first, uint64_t position,
		const struct seal *seal, struct seal out[static SEALS_PER_NODE])
{
	const struct seal own = seal_of(level, first);

	(void)arg;
	(void)position;
	if (first % 1024 == 80)
		sched_yield();
	for (uint64_t i = 0; i < SEALS_PER_NODE; i++)
		out[i] = seal_of(level - 1, first + (i << 7 * (level - 1)));
	return seal_equal(seal, &own) ? 0 : WERR_AUTH;
}

static struct tree *full_tree(void)
{
	struct seal direct[OBJECT_DIRECT], roots[OBJECT_ROOTS] = {seal_of(1, 80), seal_of(2, 208)};
	struct tree *tree;

	for (unsigned i = 0; i < OBJECT_DIRECT; i++)
		direct[i] = seal_of(0, i);
	ck_assert_int_eq(tree_new(load, NULL, &tree), 0);
	tree_load_roots(tree, direct, roots);
	return tree;
}

struct reader {
	pthread_t thread;
	pthread_barrier_t *start;
	struct tree *tree;
	unsigned errors;
};

// All run into the same nodes at the same time.
static void *read_all(void *arg)
{
	struct reader *r = arg;
	struct seal out[STEP];
	uint64_t positions[OBJECT_ROOTS];

	pthread_barrier_wait(r->start);
	for (uint64_t i = 0; i < PAGES; i += STEP) {
		(void)tree_missing(r->tree, i, positions);
		r->errors += tree_get_range(r->tree, i, STEP, out) != 0;
		for (uint64_t k = 0; k < STEP; k++) {
			const struct seal expected = seal_of(0, i + k);

			r->errors += !seal_equal(&out[k], &expected);
		}
	}
	return NULL;
}

static unsigned read_together(struct tree *tree, unsigned readers)
{
	struct reader r[READERS];
	pthread_barrier_t start;
	unsigned errors = 0;

	pthread_barrier_init(&start, NULL, readers);
	for (unsigned i = 0; i < readers; i++) {
		r[i] = (struct reader){.start = &start, .tree = tree};
		ck_assert_int_eq(pthread_create(&r[i].thread, NULL, read_all, &r[i]), 0);
	}
	for (unsigned i = 0; i < readers; i++) {
		pthread_join(r[i].thread, NULL);
		errors += r[i].errors;
	}
	pthread_barrier_destroy(&start);
	return errors;
}

START_TEST(test_shared)
{
	struct tree *tree = full_tree();

	ck_assert_uint_eq(read_together(tree, 1), 0);
	const size_t memory = tree_memory(tree);
	for (unsigned round = 0; round < 30; round++) {
		tree_shrink(tree);
		ck_assert_uint_lt(tree_memory(tree), memory);
		ck_assert_uint_eq(read_together(tree, READERS), 0);
		ck_assert_uint_eq(tree_memory(tree), memory);
	}
	tree_free(tree);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tree_shared");
	TCase *tc = tcase_create("tree_shared");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, test_shared);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
