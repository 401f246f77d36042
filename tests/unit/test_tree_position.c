// SPDX-License-Identifier: Apache-2.0
// Where pages stand in an object's host file, against the text of the format.
#include "unit_main.h"
#include "unit_random.h"

#include "fusefs/tree.h"

static uint64_t slow_span(unsigned level)
{
	return level == 0 ? 1 : 1 + 128 * slow_span(level - 1);
}

static uint64_t slow_pages(unsigned level)
{
	return level == 0 ? 1 : 128 * slow_pages(level - 1);
}

// The text of the format, word by word: a level-L node sits at p, its child i at p + 1 + i * span(L
// - 1).
static uint64_t slow_below(uint64_t p, unsigned level, uint64_t rest)
{
	uint64_t i = 0;

	if (level == 0)
		return p;
	while (rest >= slow_pages(level - 1)) {
		rest -= slow_pages(level - 1);
		i++;
	}
	return slow_below(p + 1 + i * slow_span(level - 1), level - 1, rest);
}

static uint64_t slow_root(unsigned level)
{
	if (level == 1)
		return 81;
	return level == 2 ? 226 : slow_root(level - 1) + slow_span(level - 1);
}

static uint64_t slow_position(uint64_t index)
{
	if (index < 80)
		return 1 + index;
	index -= 80;
	for (unsigned level = 1;; level++) {
		if (index < slow_pages(level))
			return slow_below(slow_root(level), level, index);
		index -= slow_pages(level);
	}
}

START_TEST(test_position_definition)
{
	static const uint64_t fixed[][2] = {
		{0, 1},     {79, 80},   {80, 82},       {207, 209},     {208, 228},
		{335, 355}, {336, 357}, {16591, 16738}, {16592, 16742},
	};

	for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++)
		ck_assert_uint_eq(tree_position(fixed[i][0]), fixed[i][1]);
	for (uint64_t i = 0; i < 40000; i++)
		ck_assert_uint_eq(tree_position(i), slow_position(i));
	for (int i = 0; i < 40000; i++) {
		uint64_t index = random_below(TREE_PAGES_MAX) >> random_below(36);

		ck_assert_uint_eq(tree_position(index), slow_position(index));
	}
	ck_assert_uint_eq(tree_position(TREE_PAGES_MAX - 1), slow_position(TREE_PAGES_MAX - 1));
	ck_assert_uint_eq(tree_position(TREE_PAGES_MAX - 1), slow_root(5) + slow_span(5) - 1);
}
END_TEST

// Strictly ascending, so unique; and no content page where a node, an xattr page or the header
// stands.
START_TEST(test_position_unique)
{
	uint64_t last = 0;

	for (uint64_t i = 0; i < 300000; i++) {
		uint64_t p = tree_position(i);

		ck_assert_uint_gt(p, last);
		ck_assert(p < 210 || p > 226);
		ck_assert_uint_ne(p, 81);
		last = p;
	}
	for (int k = 0; k < 100000; k++) {
		uint64_t i = random_below(TREE_PAGES_MAX - 1) >> random_below(36);

		ck_assert_uint_lt(tree_position(i), tree_position(i + 1));
	}
	// 80 content pages and 5 subtrees with their nodes fill everything but the 16 + 1 pages.
	ck_assert_uint_eq(tree_position(207) + 1, 210);
	ck_assert_uint_eq(tree_extent(0), 1);
	ck_assert_uint_eq(tree_extent(1), 2);
	ck_assert_uint_eq(tree_extent(80), 81);
	ck_assert_uint_eq(tree_extent(81), 83);
	ck_assert_uint_eq(tree_extent(209), 229);
	ck_assert_uint_eq(tree_extent(UINT64_MAX), slow_root(5) + slow_span(5));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tree_position");
	TCase *tc = tcase_create("tree_position");

	tcase_add_test(tc, test_position_definition);
	tcase_add_test(tc, test_position_unique);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
