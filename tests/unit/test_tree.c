// SPDX-License-Identifier: Apache-2.0
// The page tree against a model: a flat list of pages, and a store that keeps sealed nodes by
// position.
#include "unit_main.h"
#include "unit_random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fusefs/tree.h"

static const struct seal hole;

static struct seal new_seal(void)
{
	static uint64_t counter;
	struct seal s = {0};

	counter++;
	memcpy(s.b, &counter, sizeof counter);
	s.b[28] = 1;
	return s;
}

// The store: what stands at a host position.
#define STORE_SLOTS 4096
struct stored {
	uint64_t position;
	unsigned level;
	uint64_t first;
	struct seal seal;
	struct seal seals[SEALS_PER_NODE];
	int referred; // by the last completed checkpoint
};
struct store {
	struct stored *slots[STORE_SLOTS];
	unsigned loads;
	uint64_t loaded[OBJECT_ROOTS]; // positions of the first loads
	unsigned load_fails_in;        // 0 = never; n = the n-th load from now fails
	unsigned seals;
	unsigned seal_fails_in;
	unsigned fresh;
};

static struct stored *store_at(struct store *st, uint64_t position)
{
	uint64_t i = position * 0x9e3779b97f4a7c15ull >> 52;

	for (unsigned n = 0; st->slots[i] != NULL && st->slots[i]->position != position; n++) {
		ck_assert_uint_lt(n, STORE_SLOTS);
		i = (i + 1) % STORE_SLOTS;
	}
	if (st->slots[i] == NULL) {
		st->slots[i] = calloc(1, sizeof **st->slots);
		ck_assert_ptr_nonnull(st->slots[i]);
		st->slots[i]->position = position;
	}
	return st->slots[i];
}

static int store_load(void *arg, unsigned level, uint64_t first, uint64_t position,
		      const struct seal *seal, struct seal out[static SEALS_PER_NODE])
{
	struct store *st = arg;
	struct stored *s = store_at(st, position);

	if (st->load_fails_in > 0 && --st->load_fails_in == 0)
		return WERR_IO;
	if (st->loads < OBJECT_ROOTS)
		st->loaded[st->loads] = position;
	st->loads++;
	ck_assert_uint_eq(s->level, level);
	ck_assert_uint_eq(s->first, first);
	if (!seal_equal(&s->seal, seal))
		return WERR_AUTH;
	memcpy(out, s->seals, sizeof s->seals);
	return 0;
}

static int store_seal(void *arg, unsigned level, uint64_t first, uint64_t position,
		      const struct seal seals[static SEALS_PER_NODE], int fresh,
		      struct seal *ret_seal)
{
	struct store *st = arg;
	struct stored *s = store_at(st, position);

	if (st->seal_fails_in > 0 && --st->seal_fails_in == 0)
		return WERR_NOSPACE;
	st->seals++;
	st->fresh += fresh != 0;
	// The one that loses data: a place written before the checkpoint although the last one
	// needs it.
	ck_assert(!(fresh && s->referred));
	*s = (struct stored){.position = position,
			     .level = level,
			     .first = first,
			     .seal = new_seal(),
			     .referred = s->referred};
	memcpy(s->seals, seals, sizeof s->seals);
	*ret_seal = s->seal;
	return 0;
}

static uint64_t slow_span(unsigned level)
{
	return level == 0 ? 1 : 1 + 128 * slow_span(level - 1);
}

static uint64_t slow_pages(unsigned level)
{
	return level == 0 ? 1 : 128 * slow_pages(level - 1);
}

static uint64_t slow_root(unsigned level)
{
	if (level == 1)
		return 81;
	return level == 2 ? 226 : slow_root(level - 1) + slow_span(level - 1);
}

static void mark_referred(struct store *st, unsigned level, uint64_t first, uint64_t position,
			  const struct seal *seal)
{
	if (seal_is_hole(seal))
		return;

	struct stored *s = store_at(st, position);

	ck_assert_uint_eq(s->level, level);
	ck_assert_uint_eq(s->first, first);
	ck_assert(seal_equal(&s->seal, seal));
	s->referred = 1;
	int empty = 1;
	for (unsigned i = 0; i < SEALS_PER_NODE; i++) {
		empty &= seal_is_hole(&s->seals[i]);
		if (level > 1)
			mark_referred(st, level - 1, first + i * slow_pages(level - 1),
				      position + 1 + i * slow_span(level - 1), &s->seals[i]);
	}
	ck_assert(!empty);
}

struct header {
	struct seal direct[OBJECT_DIRECT];
	struct seal roots[OBJECT_ROOTS];
};

// A whole checkpoint: nodes sealed, header written, old references gone.
static void checkpoint(struct store *st, struct tree *t, struct header *h)
{
	uint64_t first = 80;

	ck_assert_int_eq(tree_seal(t, store_seal, st), 0);
	tree_placed(t);
	ck_assert(!tree_is_dirty(t));
	ck_assert_uint_eq(tree_dirty_memory(t), 0);
	tree_store_roots(t, h->direct, h->roots);
	for (unsigned i = 0; i < STORE_SLOTS; i++) {
		if (st->slots[i] != NULL)
			st->slots[i]->referred = 0;
	}
	for (unsigned level = 1; level <= OBJECT_ROOTS; level++) {
		mark_referred(st, level, first, slow_root(level), &h->roots[level - 1]);
		first += slow_pages(level);
	}
}

static struct store *store;
static struct tree *tree;
static void setup(void)
{
	store = calloc(1, sizeof *store);
	ck_assert_ptr_nonnull(store);
	ck_assert_int_eq(tree_new(store_load, store, &tree), 0);
	random_state = 1;
}
static void teardown(void)
{
	tree_free(tree);
	for (unsigned i = 0; i < STORE_SLOTS; i++)
		free(store->slots[i]);
	free(store);
}

static void set(uint64_t index, const struct seal *s)
{
	ck_assert_int_eq(tree_prepare(tree, index, 1), 0);
	(void)tree_set(tree, index, s);
}

static int is_hole(uint64_t index)
{
	struct seal s = new_seal();

	ck_assert_int_eq(tree_get(tree, index, &s), 0);
	return seal_is_hole(&s);
}

START_TEST(test_bounds)
{
	struct seal s = new_seal();
	uint64_t at;

	ck_assert_int_eq(tree_get(tree, TREE_PAGES_MAX, &s), WERR_FBIG);
	ck_assert_int_eq(tree_get(tree, UINT64_MAX, &s), WERR_FBIG);
	ck_assert_int_eq(tree_get_range(tree, 5, SIZE_MAX, &s), WERR_FBIG);
	ck_assert_int_eq(tree_prepare(tree, TREE_PAGES_MAX - 1, 2), WERR_FBIG);
	ck_assert_int_eq(tree_prepare(tree, UINT64_MAX, 1), WERR_FBIG);
	ck_assert_int_eq(tree_prepare(tree, TREE_PAGES_MAX - 1, 1), 0);
	ck_assert_int_eq(tree_set(tree, TREE_PAGES_MAX - 1, &s), 1);
	ck_assert_int_eq(tree_seek(tree, 0, UINT64_MAX, 0, &at), 0);
	ck_assert_uint_eq(at, TREE_PAGES_MAX - 1);
	ck_assert_int_eq(tree_seek(tree, at, UINT64_MAX, 1, &at), 0);
	ck_assert_uint_eq(at, TREE_PAGES_MAX);
	ck_assert_int_eq(tree_seek(tree, at, UINT64_MAX, 0, &at), 0);
	ck_assert_uint_eq(at, UINT64_MAX);
	ck_assert_int_eq(tree_seek(tree, 7, 3, 1, &at), 0);
	ck_assert_uint_eq(at, 3);
}
END_TEST

START_TEST(test_set_returns_change)
{
	struct seal a = new_seal(), b = new_seal();
	static const uint64_t at[] = {0, 79, 80, 208, 16592, 2113744, 270549200, 1ull << 35};

	for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
		ck_assert_int_eq(tree_set(tree, at[i], &hole), 0); // absent: nothing to prepare
		ck_assert_int_eq(tree_prepare(tree, at[i], 1), 0);
		ck_assert_int_eq(tree_set(tree, at[i], &a), 1);
		ck_assert_int_eq(tree_set(tree, at[i], &b), 0);
		ck_assert_int_eq(tree_set(tree, at[i], &b), 0);
		ck_assert_int_eq(tree_set(tree, at[i], &hole), -1);
		ck_assert_int_eq(tree_set(tree, at[i], &hole), 0);
		ck_assert_int_eq(tree_set(tree, at[i], &a), 1);
	}
	struct header h;

	checkpoint(store, tree, &h);
	// One node per level of each of the five paths, each fresh.
	ck_assert_uint_eq(store->seals, 1 + 2 + 3 + 4 + 5 + 5 - 1);
	ck_assert_uint_eq(store->fresh, store->seals);
	for (size_t i = 0; i < sizeof at / sizeof at[0]; i++)
		ck_assert_int_eq(tree_set(tree, at[i], &a), 0);
	ck_assert(!tree_is_dirty(tree)); // the same seals again
	ck_assert_int_eq(tree_set(tree, 0, &b), 0);
	ck_assert(tree_is_dirty(tree));
	ck_assert_uint_eq(tree_dirty_memory(tree), 0);
}
END_TEST

// Everything gone: no node is sealed, the roots are holes.
START_TEST(test_empty_nodes_vanish)
{
	struct seal a = new_seal();
	struct header h;

	set(300, &a);
	set(20000, &a);
	checkpoint(store, tree, &h);
	unsigned sealed = store->seals;

	set(300, &hole);
	set(20000, &hole);
	checkpoint(store, tree, &h);
	ck_assert_uint_eq(store->seals, sealed);
	for (unsigned i = 0; i < OBJECT_ROOTS; i++)
		ck_assert(seal_is_hole(&h.roots[i]));
	size_t bare = tree_memory(tree);

	tree_shrink(tree);
	ck_assert_uint_eq(tree_memory(tree), bare);
	// Prepared and never set: nothing to seal either.
	ck_assert_int_eq(tree_prepare(tree, 100000, 5000), 0);
	checkpoint(store, tree, &h);
	ck_assert_uint_eq(store->seals, sealed);
	tree_shrink(tree);
	ck_assert_uint_eq(tree_memory(tree), bare);
}
END_TEST

START_TEST(test_drop_does_not_load)
{
	struct header h;
	uint64_t count = 0;

	for (uint64_t i = 0; i < 3000; i++) {
		struct seal s = new_seal();

		set(i, &s);
	}
	checkpoint(store, tree, &h);
	// In part: the nodes at the edge load, and nothing else does.
	tree_load_roots(tree, h.direct, h.roots);
	size_t bare = tree_memory(tree);

	store->loads = 0;
	ck_assert_int_eq(tree_drop(tree, 100, 208 + 128 * 3, NULL), 0);
	ck_assert_uint_eq(store->loads, 2); // the single and the double root
	ck_assert_int_eq(tree_drop(tree, 0, 3001, NULL), 0);
	ck_assert(is_hole(2999));
	ck_assert_int_eq(tree_seal(tree, store_seal, store), 0);
	tree_shrink(tree);
	ck_assert_uint_eq(tree_memory(tree), bare);
	// Whole: no loads.
	tree_load_roots(tree, h.direct, h.roots);
	store->loads = 0;
	ck_assert_int_eq(tree_drop(tree, 0, UINT64_MAX, NULL), 0);
	ck_assert_uint_eq(store->loads, 0);
	ck_assert(is_hole(0) && is_hole(2999));
	// Counted: exact, and what was read is not kept.
	tree_load_roots(tree, h.direct, h.roots);
	ck_assert_int_eq(tree_drop(tree, 50, UINT64_MAX, &count), 0);
	ck_assert_uint_eq(count, 2950);
	ck_assert_uint_eq(tree_memory(tree), bare);
	// A drop that fails to read drops nothing.
	for (unsigned n = 1; n < 10; n++) {
		tree_load_roots(tree, h.direct, h.roots);
		store->load_fails_in = n;
		count = 77;
		ck_assert_int_eq(tree_drop(tree, 50, 2990, &count), WERR_IO);
		ck_assert_uint_eq(count, 77);
		ck_assert(!tree_is_dirty(tree));
		for (uint64_t i = 0; i < 3000; i += 7)
			ck_assert(!is_hole(i));
	}
	ck_assert_int_eq(tree_drop(tree, 2000, 1000, &count), 0);
	ck_assert_uint_eq(count, 0);
	ck_assert(!tree_is_dirty(tree));
}
END_TEST

START_TEST(test_loads_once)
{
	struct seal out[300];
	struct header h;

	for (uint64_t i = 0; i < 1000; i++) {
		struct seal s = new_seal();

		set(i, &s);
	}
	checkpoint(store, tree, &h);
	tree_shrink(tree);
	ck_assert_int_eq(tree_get_range(tree, 400, 300, out), 0);
	ck_assert_uint_gt(store->loads, 0);
	store->loads = 0;
	size_t memory = tree_memory(tree);
	ck_assert_int_eq(tree_get_range(tree, 400, 300, out), 0);
	ck_assert_int_eq(tree_get_range(tree, 1000000, 300, out), 0); // a hole needs no node
	ck_assert_uint_eq(store->loads, 0);
	ck_assert_uint_eq(tree_memory(tree), memory);
}
END_TEST

// What is said to be missing is what is loaded then, in this order.
START_TEST(test_missing)
{
	static const uint64_t at[] = {80,    207,     208,     5000,     16591,
				      16592, 2113743, 2113744, 300000000};
	uint64_t positions[OBJECT_ROOTS];
	struct header h;

	for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
		struct seal s = new_seal();

		set(at[i], &s);
	}
	checkpoint(store, tree, &h);
	for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
		struct seal got;

		tree_shrink(tree);
		for (unsigned round = 0; round < 2; round++) {
			unsigned count = tree_missing(tree, at[i], positions);

			store->loads = 0;
			ck_assert_int_eq(tree_get(tree, at[i], &got), 0);
			ck_assert_uint_eq(store->loads, count);
			ck_assert_int_eq(memcmp(positions, store->loaded, count * 8), 0);
			ck_assert_uint_eq(count == 0, round == 1);
		}
	}
	ck_assert_uint_eq(tree_missing(tree, 5, positions), 0);
	ck_assert_uint_eq(tree_missing(tree, 1ull << 33, positions), 0); // a hole
	ck_assert_uint_eq(tree_missing(tree, TREE_PAGES_MAX, positions), 0);
}
END_TEST

// What was sealed stays until it is where it would be loaded from.
START_TEST(test_unplaced_stays)
{
	struct seal a = new_seal(), got;
	struct header h;

	set(5000, &a);
	set(20000, &a);
	checkpoint(store, tree, &h);
	tree_shrink(tree);
	a = new_seal();
	set(5000, &a);
	ck_assert_int_eq(tree_seal(tree, store_seal, store), 0);
	size_t memory = tree_memory(tree);
	tree_shrink(tree);
	ck_assert_uint_eq(tree_memory(tree), memory);
	ck_assert_int_eq(tree_get(tree, 20000, &got), 0); // loaded below a root that stays
	tree_shrink(tree);
	ck_assert_uint_eq(tree_memory(tree), memory);
	tree_placed(tree);
	tree_shrink(tree);
	ck_assert_uint_lt(tree_memory(tree), memory);
	ck_assert_int_eq(tree_get(tree, 5000, &got), 0);
	ck_assert(seal_equal(&got, &a));
}
END_TEST

START_TEST(test_load_errors)
{
	struct seal a = new_seal(), got;
	struct header h;

	set(208, &a);
	checkpoint(store, tree, &h);
	for (unsigned n = 1; n <= 2; n++) {
		tree_shrink(tree);
		store->load_fails_in = n;
		ck_assert_int_eq(tree_get(tree, 208, &got), WERR_IO);
		tree_shrink(tree);
		store->load_fails_in = n;
		ck_assert_int_eq(tree_prepare(tree, 208, 1), WERR_IO);
		ck_assert(!tree_is_dirty(tree));
	}
	store->load_fails_in = 0;
	// Nodes that no writer makes: of holes only; a seal with flags; generation 0 in a non-hole.
	struct stored *leaf = store_at(store, 227);
	static const struct seal bad[] = {
		{.b = {0}}, {.b = {[0] = 1}}, {.b = {[28] = 1, [30] = 1}}};

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		tree_shrink(tree);
		leaf->seals[0] = bad[i];
		ck_assert_int_eq(tree_get(tree, 208, &got), WERR_MALFORMED);
	}
	leaf->seals[0] = a;
	ck_assert_int_eq(tree_get(tree, 208, &got), 0);
	ck_assert(seal_equal(&got, &a));
}
END_TEST

// After a failure in the middle everything is sealed again.
START_TEST(test_seal_failure)
{
	struct seal s = new_seal();
	struct header h;

	for (uint64_t i = 0; i < 2000; i += 10)
		set(i, &s);
	size_t dirty = tree_dirty_memory(tree);
	unsigned nodes = 1 + 1 + 14;

	for (unsigned n = 1; n <= nodes; n++) {
		store->seal_fails_in = n;
		ck_assert_int_eq(tree_seal(tree, store_seal, store), WERR_NOSPACE);
		ck_assert(tree_is_dirty(tree));
		ck_assert_uint_eq(tree_dirty_memory(tree), dirty);
	}
	store->seals = 0;
	store->fresh = 0;
	checkpoint(store, tree, &h);
	ck_assert_uint_eq(store->seals, nodes);
	ck_assert_uint_eq(store->fresh, nodes);
}
END_TEST

START_TEST(test_fresh)
{
	struct seal s = new_seal(), s2 = new_seal();
	struct header h;

	// Appending: every new leaf is fresh, the root only once.
	for (uint64_t i = 0; i < 10; i++) {
		set(208 + 128 * i, &s);
		store->seals = store->fresh = 0;
		checkpoint(store, tree, &h);
		ck_assert_uint_eq(store->seals, 2);
		ck_assert_uint_eq(store->fresh, i == 0 ? 2 : 1);
	}
	// Dropped and created again before a checkpoint: the last one still refers to it.
	ck_assert_int_eq(tree_drop(tree, 0, UINT64_MAX, NULL), 0);
	set(208, &s2);
	store->seals = store->fresh = 0;
	checkpoint(store, tree, &h);
	ck_assert_uint_eq(store->fresh, 0);
	// The same after a dense file.
	for (uint64_t i = 0; i < 2000; i++)
		set(i, &s);
	checkpoint(store, tree, &h);
	ck_assert_int_eq(tree_drop(tree, 0, UINT64_MAX, NULL), 0);
	for (uint64_t i = 0; i < 2100; i++)
		set(i, &s2);
	store->seals = store->fresh = 0;
	checkpoint(store, tree, &h);
	ck_assert_uint_eq(store->seals, 17);
	ck_assert_uint_eq(store->fresh, 1); // pages 2000 and on
	ck_assert_int_eq(tree_drop(tree, 0, UINT64_MAX, NULL), 0);
	set(208, &s);
	// The same with a node of which only the first pages were in use.
	for (uint64_t end = 207; end < 213; end++) {
		ck_assert_int_eq(tree_drop(tree, 0, UINT64_MAX, NULL), 0);
		checkpoint(store, tree, &h);
		tree_forget_reference(tree, 0);
		for (uint64_t i = 200; i < end; i++)
			set(i, &s2);
		checkpoint(store, tree, &h);
		set(208, &s); // the store refuses a wrong fresh
		store->seals = store->fresh = 0;
		checkpoint(store, tree, &h);
		ck_assert_uint_eq(store->seals, 2);
		ck_assert_uint_eq(store->fresh, end <= 208 ? 2 : 0);
	}
}
END_TEST

START_TEST(test_fresh_after_truncation)
{
	struct seal s = new_seal(), s2 = new_seal();
	struct header h;

	// Truncated for good.
	set(2000, &s2);
	checkpoint(store, tree, &h);
	ck_assert_int_eq(tree_drop(tree, 0, UINT64_MAX, NULL), 0);
	checkpoint(store, tree, &h);
	tree_forget_reference(tree, 0);
	set(208, &s);
	store->seals = store->fresh = 0;
	checkpoint(store, tree, &h);
	ck_assert_uint_eq(store->fresh, 2);
	// From disk: below a present root nothing is fresh; with the size known, what is behind it
	// is.
	for (int hint = 0; hint < 2; hint++) {
		tree_load_roots(tree, h.direct, h.roots);
		if (hint)
			tree_forget_reference(tree, 209);
		set(400, hint ? &s : &s2);
		set(20000, hint ? &s : &s2);
		store->seals = store->fresh = 0;
		ck_assert_int_eq(tree_seal(tree, store_seal, store), 0);
		ck_assert_uint_eq(store->seals, 5);
		ck_assert_uint_eq(store->fresh, hint ? 4 : 3);
		// Not a checkpoint: put the node of the header back.
		struct stored *root = store_at(store, 226);

		root->seal = h.roots[1];
		memset(&root->seals[1], 0, sizeof root->seals[1]);
	}
}
END_TEST

// A seek over a long dense file does not keep it in memory.
START_TEST(test_seek_memory)
{
	struct seal s = new_seal();
	struct header h;
	uint64_t at;

	ck_assert_int_eq(tree_prepare(tree, 0, 70000), 0);
	for (uint64_t i = 0; i < 70000; i++)
		(void)tree_set(tree, i, &s);
	checkpoint(store, tree, &h);
	tree_shrink(tree);
	ck_assert_int_eq(tree_seek(tree, 0, UINT64_MAX, 1, &at), 0);
	ck_assert_uint_eq(at, 70000);
	ck_assert_uint_lt(tree_memory(tree), 3u << 19);
}
END_TEST

// The model: a sorted list of places; all others are holes for ever.
#define PLACES 900
struct model {
	uint64_t index[PLACES];
	struct seal seal[PLACES];
	size_t n;
};

static int by_index(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void model_init(struct model *m)
{
	static const uint64_t edges[] = {0, 80, 208, 336, 16592, 2113744, 270549200};
	uint64_t all[2 * PLACES];
	size_t n = 0;

	for (size_t e = 0; e < sizeof edges / sizeof edges[0]; e++) {
		for (uint64_t i = 0; i < 40; i++)
			all[n++] = edges[e] >= 20 ? edges[e] - 20 + i : i;
	}
	for (uint64_t i = 0; i < 300; i++)
		all[n++] = 900 + i;
	for (uint64_t i = 0; i < 40; i++)
		all[n++] = TREE_PAGES_MAX - 1 - i;
	while (n < PLACES)
		all[n++] = random_below(TREE_PAGES_MAX) >> random_below(30);
	qsort(all, n, sizeof all[0], by_index);
	for (size_t i = 0; i < n && m->n < PLACES; i++) {
		if (i == 0 || all[i] != all[i - 1])
			m->index[m->n++] = all[i];
	}
}

static uint64_t model_seek(const struct model *m, uint64_t from, uint64_t limit, int want_hole)
{
	for (size_t i = 0; i < m->n && from < limit; i++) {
		if (m->index[i] < from || seal_is_hole(&m->seal[i]))
			continue;
		if (!want_hole)
			return m->index[i] < limit ? m->index[i] : limit;
		if (m->index[i] != from)
			return from;
		from++;
	}
	return want_hole && from < limit ? from : limit;
}

static uint64_t model_drop(struct model *m, uint64_t from, uint64_t to)
{
	uint64_t count = 0;

	for (size_t i = 0; i < m->n; i++) {
		if (m->index[i] < from || m->index[i] >= to)
			continue;
		count += !seal_is_hole(&m->seal[i]);
		m->seal[i] = hole;
	}
	return count;
}

static void model_compare(const struct model *m)
{
	struct seal got;

	for (size_t i = 0; i < m->n; i++) {
		ck_assert_int_eq(tree_get(tree, m->index[i], &got), 0);
		ck_assert_msg(seal_equal(&got, &m->seal[i]), "page %llu",
			      (unsigned long long)m->index[i]);
	}
}

// A range around a place equals the single pages.
static void model_range(const struct model *m)
{
	struct seal out[500], one;
	uint64_t from = m->index[random_below(m->n)];
	size_t n = 1 + random_below(500);

	from -= random_below(from + 1 < 300 ? from + 1 : 300);
	if (from + n > TREE_PAGES_MAX)
		n = TREE_PAGES_MAX - from;
	memset(out, 0xee, sizeof out);
	ck_assert_int_eq(tree_get_range(tree, from, n, out), 0);
	for (size_t i = 0; i < n; i++) {
		ck_assert_int_eq(tree_get(tree, from + i, &one), 0);
		ck_assert(seal_equal(&one, &out[i]));
	}
}

static void model_set(struct model *m)
{
	size_t i = random_below(m->n);
	size_t n = 1 + random_below(20);

	for (; n > 0 && i < m->n; i++, n--) {
		struct seal s = random_below(4) == 0 ? hole : new_seal();
		int change = !seal_is_hole(&s) - !seal_is_hole(&m->seal[i]);

		ck_assert_int_eq(tree_prepare(tree, m->index[i], 1), 0);
		ck_assert_int_eq(tree_set(tree, m->index[i], &s), change);
		m->seal[i] = s;
	}
}

static void model_drop_both(struct model *m)
{
	uint64_t from = random_below(8) == 0 ? 0 : m->index[random_below(m->n)];
	uint64_t to =
		random_below(8) == 0 ? UINT64_MAX : m->index[random_below(m->n)] + random_below(2);
	uint64_t want = model_drop(m, from, to);
	uint64_t got = 0;
	int counted = random_below(2) == 0;

	ck_assert_int_eq(tree_drop(tree, from, to, counted ? &got : NULL), 0);
	if (counted)
		ck_assert_uint_eq(got, want);
}

static void model_seek_both(const struct model *m)
{
	uint64_t from = m->index[random_below(m->n)] + random_below(2);
	uint64_t limit = random_below(2) ? UINT64_MAX : m->index[random_below(m->n)];
	int want_hole = (int)random_below(2);
	uint64_t got = 0;

	ck_assert_int_eq(tree_seek(tree, from, limit, want_hole, &got), 0);
	uint64_t want = from < limit ? model_seek(m, from, limit, want_hole) : limit;

	ck_assert_uint_eq(got, want);
}

static void model_reload(const struct model *m, const struct header *h)
{
	uint64_t pages = 0;

	tree_free(tree);
	ck_assert_int_eq(tree_new(store_load, store, &tree), 0);
	tree_load_roots(tree, h->direct, h->roots);
	for (size_t i = 0; i < m->n; i++) {
		if (!seal_is_hole(&m->seal[i]))
			pages = m->index[i] + 1;
	}
	if (random_below(2))
		tree_forget_reference(tree, pages);
}

START_TEST(test_model)
{
	struct model m = {.n = 0};
	struct model durable;
	struct header h = {0};

	random_state = (uint64_t)_i + 100;
	model_init(&m);
	durable = m;
	for (int step = 0; step < 3000; step++) {
		switch (random_below(20)) {
		case 0:
			checkpoint(store, tree, &h);
			durable = m;
			break;
		case 1:
			tree_shrink(tree);
			break;
		case 2:
			// A crash: back to the checkpoint.
			if (random_below(3) == 0) {
				m = durable;
				model_reload(&m, &h);
			}
			break;
		case 3:
			model_drop_both(&m);
			break;
		case 4 ... 7:
			model_seek_both(&m);
			break;
		case 8 ... 9:
			model_range(&m);
			break;
		default:
			model_set(&m);
			break;
		}
		if (step % 500 == 0)
			model_compare(&m);
	}
	model_compare(&m);
	checkpoint(store, tree, &h);
	model_reload(&m, &h);
	model_compare(&m);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tree");
	TCase *tc = tcase_create("tree");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, test_bounds);
	tcase_add_test(tc, test_set_returns_change);
	tcase_add_test(tc, test_empty_nodes_vanish);
	tcase_add_test(tc, test_drop_does_not_load);
	tcase_add_test(tc, test_loads_once);
	tcase_add_test(tc, test_missing);
	tcase_add_test(tc, test_unplaced_stays);
	tcase_add_test(tc, test_load_errors);
	tcase_add_test(tc, test_seal_failure);
	tcase_add_test(tc, test_fresh);
	tcase_add_test(tc, test_fresh_after_truncation);
	tcase_add_test(tc, test_seek_memory);
	tcase_add_loop_test(tc, test_model, 0, 5);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
