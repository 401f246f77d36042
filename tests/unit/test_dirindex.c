// SPDX-License-Identifier: Apache-2.0
// The index by name: its hash against the reference vectors, its cells against a plain array.
#include "unit_main.h"
#include "unit_random.h"

#include <string.h>

#include "fusefs/dirindex.h"

// The reference vectors of SipHash-2-4 (key 00..0f, input 00..n-1).
START_TEST(test_siphash)
{
	static const struct {
		size_t len;
		uint64_t want;
	} rows[] = {
		{0, 0x726fdb47dd0e0e31ull},  {1, 0x74f839c593dc67fdull},
		{7, 0xab0200f58b01d137ull},  {8, 0x93f5f5799a932462ull},
		{15, 0xa129ca6149be45e5ull}, {63, 0x958a324ceb064572ull},
	};
	uint8_t key[DIRINDEX_KEY_BYTES], in[64];

	for (uint8_t i = 0; i < sizeof in; i++)
		in[i] = i;
	memcpy(key, in, sizeof key);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		ck_assert_uint_eq(dirindex_siphash(key, in, rows[i].len), rows[i].want);
}
END_TEST

static void index_compare(const struct dirindex *x, const uint32_t *fingerprints,
			  const uint32_t *fp_of, size_t places)
{
	for (size_t f = 0; f < 6; f++) {
		size_t cursor = 0, want = 0, got = 0;
		uint32_t place, seen[64];

		for (size_t p = 0; p < places; p++)
			want += fp_of[p] == f;
		while (dirindex_next(x, fingerprints[f], &cursor, &place)) {
			ck_assert_uint_lt(place, places);
			ck_assert_uint_eq(fp_of[place], f);
			for (size_t i = 0; i < got; i++)
				ck_assert_uint_ne(seen[i], place);
			ck_assert_uint_lt(got, 64);
			seen[got++] = place;
		}
		ck_assert_uint_eq(got, want);
	}
}

// Runs that collide, overlap and wrap around the end of the array.
START_TEST(test_index_model)
{
	static const uint32_t fingerprints[] = {0, 1, UINT32_MAX, UINT32_MAX - 1, 0x80000000u, 15};
	uint32_t fp_of[48]; // 6 = not there
	struct dirindex x;

	dirindex_init(&x);
	for (size_t i = 0; i < 48; i++)
		fp_of[i] = 6;
	for (int step = 0; step < 6000; step++) {
		uint32_t place = (uint32_t)random_below(step / 500 % 2 ? 6 : 48);

		if (fp_of[place] < 6) {
			dirindex_remove(&x, fingerprints[fp_of[place]], place);
			fp_of[place] = 6;
		} else {
			fp_of[place] = (uint32_t)random_below(6);
			ck_assert_int_eq(dirindex_reserve(&x, 1), 0);
			dirindex_insert(&x, fingerprints[fp_of[place]], place);
		}
		index_compare(&x, fingerprints, fp_of, 48);
	}
	ck_assert_uint_le(dirindex_memory(&x), 8 * 8 * 48);
	dirindex_clear(&x);
}
END_TEST

// Two tables hash the same name differently.
START_TEST(test_index_keys_differ)
{
	struct dirindex a, b;

	dirindex_init(&a);
	dirindex_init(&b);
	ck_assert_mem_ne(a.key, b.key, sizeof a.key);
	dirindex_clear(&a);
	dirindex_clear(&b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("dirindex");
	TCase *tc = tcase_create("dirindex");

	tcase_add_test(tc, test_siphash);
	tcase_add_test(tc, test_index_model);
	tcase_add_test(tc, test_index_keys_differ);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
