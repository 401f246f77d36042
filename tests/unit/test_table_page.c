// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>

#include "crypto/table_page.h"
#include "tests/unit/fixture.h"
#include "tests/unit/unit_main.h"

static struct entry symlink_entry(void)
{
	struct entry e = fixture_entry("s");

	e.type = OBJECT_SYMLINK;
	e.target = (const uint8_t *)"/tmp/target";
	e.target_len = 11;
	return e;
}

static struct entry link_entry(void)
{
	struct entry e = fixture_entry("second name");

	e.kind = ENTRY_LINK;
	return e;
}

START_TEST(attr_round_trip)
{
	struct ward_attr a = fixture_attr();
	struct ward_attr b;
	uint8_t bytes[ATTR_BYTES];
	uint8_t again[ATTR_BYTES];

	a.rdev = 0x0102030405060708;
	a.mode = 07777;
	a.flags = ATTR_FLAGS_ALL;
	attr_encode(&a, bytes);
	ck_assert_mem_eq(bytes, "\xff\x0f\0\0\xe8\x03\0\0\x64\0\0\0\x01\0\0\0", 16);
	ck_assert_mem_eq(bytes + 16, "\x39\x30\0\0\0\0\0\0\x04\0\0\0\0\0\0\0", 16);
	ck_assert_mem_eq(bytes + 32, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
	ck_assert_mem_eq(bytes + 48, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
	ck_assert_mem_eq(bytes + 72, "\x01\0\0\0\xff\xc9\x9a\x3b\x03\0\0\0\x04\0\0\0\x03", 17);
	ck_assert_int_eq(attr_decode(bytes, &b), 0);
	attr_encode(&b, again);
	ck_assert_mem_eq(bytes, again, ATTR_BYTES);
	ck_assert_int_eq(b.mtime.s, -1);
	ck_assert_uint_eq(b.mtime.ns, 999999999);
}
END_TEST

static const struct {
	const char *what;
	size_t at;
	uint8_t value;
} bad_attrs[] = {
	{"mode", 1, 0x10},      {"mode type bits", 2, 0x01},
	{"nlink 0", 12, 0},     {"size", 22, 0x81},
	{"atime ns", 75, 0x40}, {"mtime ns", 79, 0x40},
	{"ctime ns", 83, 0x40}, {"birth ns", 87, 0x40},
	{"flag", 88, 4},        {"flag in a high byte", 95, 1},
};

START_TEST(attr_refusals)
{
	struct ward_attr a = fixture_attr();
	struct ward_attr out = {.uid = 77};
	uint8_t bytes[ATTR_BYTES];

	attr_encode(&a, bytes);
	bytes[bad_attrs[_i].at] = bad_attrs[_i].value;
	ck_assert_msg(attr_decode(bytes, &out) == WERR_MALFORMED, "%s", bad_attrs[_i].what);
	ck_assert_uint_eq(out.uid, 77);
}
END_TEST

START_TEST(size_limit)
{
	struct ward_attr a = fixture_attr();
	uint8_t bytes[ATTR_BYTES];

	a.size = OBJECT_SIZE_MAX;
	attr_encode(&a, bytes);
	ck_assert_int_eq(attr_decode(bytes, &a), 0);
	a.size = OBJECT_SIZE_MAX + 1;
	attr_encode(&a, bytes);
	ck_assert_int_eq(attr_decode(bytes, &a), WERR_MALFORMED);
}
END_TEST

START_TEST(entry_round_trip)
{
	struct entry rows[] = {fixture_entry("a"), fixture_entry("."), fixture_entry(".."),
			       symlink_entry(),    link_entry(),       fixture_entry("\xff\n")};
	struct entry out;
	uint8_t bytes[ENTRY_BYTES_MAX];
	uint8_t again[ENTRY_BYTES_MAX];
	size_t len;
	size_t again_len;

	ck_assert_int_eq(entry_encode(&rows[_i], bytes, sizeof(bytes), &len), 0);
	ck_assert_uint_eq(len, entry_size(&rows[_i]));
	ck_assert_int_eq(entry_decode(bytes, len, &out), 0);
	ck_assert_uint_eq(out.name_len, rows[_i].name_len);
	ck_assert_mem_eq(out.name, rows[_i].name, out.name_len);
	ck_assert_uint_eq(out.target_len, rows[_i].target_len);
	ck_assert(out.target_len == 0 ? out.target == NULL
				      : memcmp(out.target, rows[_i].target, out.target_len) == 0);
	ck_assert_int_eq(entry_encode(&out, again, sizeof(again), &again_len), 0);
	ck_assert_uint_eq(len, again_len);
	ck_assert_mem_eq(bytes, again, len);
	ck_assert_int_eq(entry_encode(&out, again, len - 1, &again_len), WERR_NOSPACE);
}
END_TEST

START_TEST(entry_layout)
{
	struct entry e = symlink_entry();
	uint8_t bytes[ENTRY_BYTES_MAX];
	size_t len;

	e.epoch = 0x01020304;
	ck_assert_int_eq(entry_encode(&e, bytes, sizeof(bytes), &len), 0);
	ck_assert_uint_eq(len, 136 + 1 + 11);
	ck_assert_mem_eq(bytes, "\x94\0\x01\x03\x01\0\x0b\0", 8);
	ck_assert_mem_eq(bytes + 8, "\xf0\xde\xbc\x9a\x78\x56\x34\x12", 8);
	ck_assert_mem_eq(bytes + 16, "\x10\x32\x54\x76\x98\xba\xdc\xfe", 8);
	ck_assert_mem_eq(bytes + 120, "\x01\0\0\0\0\x07\0\0\x04\x03\x02\x01\0\0\0\0", 16);
	ck_assert_mem_eq(bytes + 136, "s/tmp/target", 12);
}
END_TEST

// One changed byte in the encoded symlink entry (or a cut) each.
static const struct {
	const char *what;
	size_t at;
	uint8_t value;
	int cut;
} bad_entries[] = {
	{"total too small", 0, 0x93, 0},
	{"total too large", 0, 0x95, 0},
	{"total high byte", 1, 0x01, 0},
	{"kind 0", 2, 0, 0},
	{"kind 3", 2, 3, 0},
	{"a link with attributes", 2, 2, 0},
	{"type 0", 3, 0, 0},
	{"type 8", 3, 8, 0},
	{"a target in a file", 3, 1, 0},
	{"no name", 4, 0, 0},
	{"longer name", 4, 2, 0},
	{"reserved byte", 5, 1, 0},
	{"shorter target", 6, 10, 0},
	{"target beyond the limit", 7, 5, 0},
	{"top bit of number", 15, 0x92, 0},
	{"mode", 25, 0x10, 0},
	{"nlink", 36, 0, 0},
	{"device number of a symlink", 56, 1, 0},
	{"flags", 112, 4, 0},
	{"reserved word", 132, 1, 0},
	{"reserved word, last byte", 135, 1, 0},
	{"slash in name", 136, '/', 0},
	{"NUL in name", 136, 0, 0},
	{"NUL in target", 140, 0, 0},
	{"cut", 2, 1, 1},
	{"cut in the fixed part", 2, 1, 20},
	{"cut to nothing", 2, 1, 148},
};

START_TEST(entry_refusals)
{
	struct entry e = symlink_entry();
	struct entry out = {.epoch = 99};
	uint8_t bytes[ENTRY_BYTES_MAX];
	size_t len;

	ck_assert_int_eq(entry_encode(&e, bytes, sizeof(bytes), &len), 0);
	bytes[bad_entries[_i].at] = bad_entries[_i].value;
	int rc = entry_decode(bytes, len - (size_t)bad_entries[_i].cut, &out);
	ck_assert_msg(rc == WERR_MALFORMED || rc == WERR_TRUNCATED, "%s: %d", bad_entries[_i].what,
		      rc);
	ck_assert_uint_eq(out.epoch, 99);
}
END_TEST

START_TEST(entry_encode_refusals)
{
	uint8_t long_target[ENTRY_TARGET_MAX + 1];
	struct entry rows[] = {fixture_entry(""),  fixture_entry("a/b"), fixture_entry("a"),
			       fixture_entry("a"), fixture_entry("a"),   link_entry(),
			       symlink_entry(),    fixture_entry("dev")};
	uint8_t bytes[2 * ENTRY_BYTES_MAX];
	size_t len = 4711;

	memset(long_target, 't', sizeof(long_target));
	rows[2].number = 0;
	rows[3].number = 1ull << 63;
	rows[4].incarnation = 0;
	rows[5].type = OBJECT_DIR;
	rows[6].target = long_target;
	rows[6].target_len = sizeof(long_target);
	rows[7].attr.rdev = 5;
	ck_assert_int_eq(entry_encode(&rows[_i], bytes, sizeof(bytes), &len), WERR_INVALID);
	ck_assert_uint_eq(len, 4711);
	rows[7].type = OBJECT_CHAR;
	ck_assert_int_eq(entry_encode(&rows[7], bytes, sizeof(bytes), &len), 0);
}
END_TEST

// A page with entries "e0", "e1" … in slots 0..n-1, the one in slot 1 removed and put again at the
// end.
static void fill(uint8_t page[static WARD_PAGE], unsigned n)
{
	uint8_t bytes[ENTRY_BYTES_MAX];
	char name[8];
	size_t len;

	table_page_init(page);
	for (unsigned i = 0; i < n; i++) {
		(void)snprintf(name, sizeof(name), "e%u", i);
		struct entry e = fixture_entry(name);
		e.number += i;
		ck_assert_int_eq(entry_encode(&e, bytes, sizeof(bytes), &len), 0);
		ck_assert_int_eq(table_page_put(page, i, bytes, len), 0);
	}
	ck_assert_int_eq(table_page_check(page), 0);
}

START_TEST(page_empty)
{
	uint8_t page[WARD_PAGE];
	size_t len = 1;

	table_page_init(page);
	ck_assert_int_eq(table_page_check(page), 0);
	ck_assert_uint_eq(table_page_free(page), WARD_PAGE - TABLE_HEAP_START);
	ck_assert_uint_eq(table_page_used(page), 0);
	ck_assert_int_eq(table_page_free_slot(page), 0);
	ck_assert_ptr_null(table_page_slot(page, 0, &len));
	ck_assert_uint_eq(len, 0);
	ck_assert_ptr_null(table_page_slot(page, 60, &len));
	memset(page, 0, sizeof(page));
	ck_assert_int_eq(table_page_check(page), WERR_MALFORMED);
}
END_TEST

START_TEST(page_layout)
{
	uint8_t page[WARD_PAGE];

	fill(page, 3);
	// Three entries of 138 bytes, packed from the end.
	ck_assert_mem_eq(page, "\x03\0\x62\x0e\0\0\0\0\x76\x0f\xec\x0e\x62\x0e\0\0", 16);
	ck_assert_int_eq(table_page_put(page, 1, NULL, 0), 0);
	ck_assert_mem_eq(page, "\x03\0\xec\x0e\0\0\0\0\x76\x0f\0\0\xec\x0e\0\0", 16);
	ck_assert_int_eq(table_page_check(page), 0);
	ck_assert_uint_eq(table_page_used(page), 2);
	ck_assert_int_eq(table_page_free_slot(page), 1);
	ck_assert_int_eq(table_page_put(page, 2, NULL, 0), 0);
	ck_assert_mem_eq(page, "\x01\0\x76\x0f\0\0\0\0\x76\x0f\0\0\0\0\0\0", 16);
	ck_assert_int_eq(table_page_put(page, 2, NULL, 0), 0);
	ck_assert_int_eq(table_page_check(page), 0);
}
END_TEST

START_TEST(page_slots_run_out)
{
	uint8_t page[WARD_PAGE];
	uint8_t bytes[ENTRY_BYTES_MAX];
	struct entry e = link_entry();
	size_t len;

	table_page_init(page);
	e.name_len = 1;
	for (unsigned i = 0; i < TABLE_SLOTS; i++) {
		ck_assert_int_eq(table_page_free_slot(page), (int)i);
		ck_assert_int_eq(entry_encode(&e, bytes, sizeof(bytes), &len), 0);
		ck_assert_int_eq(table_page_put(page, i, bytes, len), 0);
	}
	ck_assert_int_eq(table_page_check(page), 0);
	ck_assert_int_eq(table_page_free_slot(page), -1);
	ck_assert_uint_eq(table_page_free(page), 0);
	ck_assert_uint_eq(table_page_used(page), TABLE_SLOTS);
	ck_assert_int_eq(table_page_put(page, TABLE_SLOTS, bytes, len), WERR_INVALID);
}
END_TEST

START_TEST(page_bytes_run_out)
{
	uint8_t page[WARD_PAGE];
	uint8_t before[WARD_PAGE];
	uint8_t bytes[ENTRY_BYTES_MAX];
	uint8_t target[ENTRY_TARGET_MAX];
	struct entry e = symlink_entry();
	size_t len;

	memset(target, 't', sizeof(target));
	e.target = target;
	e.target_len = sizeof(target);
	table_page_init(page);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(entry_encode(&e, bytes, sizeof(bytes), &len), 0);
		ck_assert_int_eq(table_page_put(page, i, bytes, len), 0);
	}
	memcpy(before, page, WARD_PAGE);
	ck_assert_int_eq(table_page_put(page, 3, bytes, len), WERR_NOSPACE);
	ck_assert_mem_eq(page, before, WARD_PAGE);
	// What is free, exactly, fits; replacing counts what the old entry gives back.
	e.target_len = (uint16_t)(table_page_free(page) - ENTRY_HOME_FIXED - 1);
	ck_assert_int_eq(entry_encode(&e, bytes, sizeof(bytes), &len), 0);
	ck_assert_int_eq(table_page_put(page, 3, bytes, len), 0);
	ck_assert_uint_eq(table_page_free(page), 0);
	ck_assert_int_eq(table_page_check(page), 0);
	e.target_len++;
	ck_assert_int_eq(entry_encode(&e, bytes, sizeof(bytes), &len), 0);
	memcpy(before, page, WARD_PAGE);
	ck_assert_int_eq(table_page_put(page, 3, bytes, len), WERR_NOSPACE);
	ck_assert_mem_eq(page, before, WARD_PAGE);
	ck_assert_int_eq(table_page_put(page, 0, bytes, len), 0);
	ck_assert_int_eq(table_page_put(page, 3, bytes, len), 0);
	ck_assert_int_eq(table_page_check(page), 0);
	bytes[5] = 1;
	ck_assert_int_eq(table_page_put(page, 3, bytes, len), WERR_MALFORMED);
	ck_assert_int_eq(table_page_check(page), 0);
}
END_TEST

START_TEST(page_set_in_place)
{
	uint8_t page[WARD_PAGE];
	uint8_t bytes[ENTRY_BYTES_MAX];
	struct ward_attr a = fixture_attr();
	struct entry link = link_entry();
	struct entry e;
	size_t len;

	fill(page, 2);
	ck_assert_int_eq(entry_encode(&link, bytes, sizeof(bytes), &len), 0);
	ck_assert_int_eq(table_page_put(page, 2, bytes, len), 0);
	a.size = 999;
	ck_assert_int_eq(table_page_set_attr(page, 1, &a), 0);
	ck_assert_int_eq(table_page_set_bound(page, 1, 0x0102030405060708, 0x0a0b0c0d), 0);
	const uint8_t *at = table_page_slot(page, 1, &len);
	ck_assert_int_eq(entry_decode(at, len, &e), 0);
	ck_assert_uint_eq(e.attr.size, 999);
	ck_assert_uint_eq(e.generation, 0x0102030405060708);
	ck_assert_uint_eq(e.epoch, 0x0a0b0c0d);
	ck_assert_mem_eq(e.name, "e1", 2);
	at = table_page_slot(page, 0, &len);
	ck_assert_int_eq(entry_decode(at, len, &e), 0);
	ck_assert_uint_eq(e.attr.size, 12345);
	ck_assert_int_eq(table_page_check(page), 0);
	ck_assert_int_eq(table_page_set_attr(page, 2, &a), WERR_INVALID);
	ck_assert_int_eq(table_page_set_bound(page, 2, 1, 1), WERR_INVALID);
	ck_assert_int_eq(table_page_set_attr(page, 3, &a), WERR_NOTFOUND);
	ck_assert_int_eq(table_page_set_bound(page, 60, 1, 1), WERR_NOTFOUND);
	a.nlink = 0;
	ck_assert_int_eq(table_page_set_attr(page, 1, &a), WERR_INVALID);
	a = fixture_attr();
	a.rdev = 1;
	ck_assert_int_eq(table_page_set_attr(page, 1, &a), WERR_INVALID);
	ck_assert_int_eq(table_page_check(page), 0);
}
END_TEST

// Random puts and removals against a copy of each entry kept outside the page.
START_TEST(page_model)
{
	static uint8_t model[TABLE_SLOTS][ENTRY_BYTES_MAX];
	static size_t model_len[TABLE_SLOTS];
	uint8_t page[WARD_PAGE];
	uint8_t bytes[ENTRY_BYTES_MAX];
	char name[256];
	uint64_t state = 42;
	uint8_t dice[4];
	size_t sum = 0;

	memset(model_len, 0, sizeof(model_len));
	table_page_init(page);
	for (int round = 0; round < 5000; round++) {
		fixture_rng(&state, dice, sizeof(dice));
		unsigned slot = dice[0] % TABLE_SLOTS;
		size_t len = 0;

		if (dice[1] % 3 != 0) {
			size_t name_len = 1 + dice[2] % (dice[3] % 8 == 0 ? 255 : 12);
			memset(name, 'a' + dice[3] % 26, name_len);
			name[name_len] = '\0';
			struct entry e = fixture_entry(name);
			e.kind = dice[1] % 3 == 1 ? ENTRY_HOME : ENTRY_LINK;
			ck_assert_int_eq(entry_encode(&e, bytes, sizeof(bytes), &len), 0);
		}
		int fits = sum - model_len[slot] + len <= WARD_PAGE - TABLE_HEAP_START;
		ck_assert_int_eq(table_page_put(page, slot, bytes, len), fits ? 0 : WERR_NOSPACE);
		if (fits) {
			sum = sum - model_len[slot] + len;
			model_len[slot] = len;
			memcpy(model[slot], bytes, len);
		}
		ck_assert_int_eq(table_page_check(page), 0);
		for (unsigned i = 0; i < TABLE_SLOTS; i++) {
			const uint8_t *at = table_page_slot(page, i, &len);
			ck_assert_uint_eq(len, model_len[i]);
			ck_assert(len == 0 || memcmp(at, model[i], len) == 0);
		}
	}
}
END_TEST

// Changes to the page of fill(4) (138 bytes an entry: 3958, 3820, 3682, 3544), each refused.
struct patch {
	size_t at;
	uint16_t value;
};
static const struct {
	const char *what;
	struct patch patches[3];
} bad_pages[] = {
	{"count too small", {{0, 3}}},
	{"count too large", {{0, 5}}},
	{"count beyond the slots", {{0, 61}}},
	{"reserved word", {{4, 1}}},
	{"reserved word, high half", {{6, 0x8000}}},
	{"heap starts early", {{2, 3543}}},
	{"heap starts late", {{2, 3545}}},
	{"heap starts in the slots", {{2, 127}}},
	{"heap starts behind the page", {{2, 4097}}},
	{"heap start 65535", {{2, 65535}}},
	{"two slots, one entry", {{8, 3820}}},
	{"an offset into the slots", {{8, 100}}},
	{"an offset in the middle of an entry", {{8, 3960}}},
	{"an offset near the end", {{8, 4090}}},
	{"an offset behind the page", {{8, 5000}}},
	{"an entry without a slot", {{10, 0}}},
	{"the last entry without a slot", {{8, 0}}},
	{"a slot behind the count", {{8 + 2 * 59, 3544}}},
	{"dirt in free space", {{3000, 1}}},
	{"dirt at the start of free space", {{128, 1}}},
	{"an entry too long", {{3544, 139}}},
	{"an entry too short", {{3544, 137}}},
	{"the last entry too long", {{3958, 139}}},
	{"an entry of length 0", {{3544, 0}}},
	{"a bad entry", {{3544 + 132, 1}}},
	{"one slot less, its entry left in free space", {{0, 3}, {14, 0}, {2, 3682}}},
};

START_TEST(page_refusals)
{
	uint8_t page[WARD_PAGE];

	fill(page, 4);
	ck_assert_uint_eq(le16_get(page + 2), 3544);
	for (size_t i = 0;
	     i < 3 && bad_pages[_i].patches[i].at + bad_pages[_i].patches[i].value > 0; i++)
		le16_put(page + bad_pages[_i].patches[i].at, bad_pages[_i].patches[i].value);
	ck_assert_msg(table_page_check(page) == WERR_MALFORMED, "%s", bad_pages[_i].what);
}
END_TEST

// An entry cut by the page's end.
START_TEST(page_end)
{
	static const unsigned left[] = {1, 2, 23, 137};
	uint8_t page[WARD_PAGE];
	uint8_t bytes[ENTRY_BYTES_MAX];
	struct entry e = fixture_entry("e");
	unsigned at = WARD_PAGE - left[_i];
	size_t len;

	ck_assert_int_eq(entry_encode(&e, bytes, sizeof(bytes), &len), 0);
	table_page_init(page);
	le16_put(page, 1);
	le16_put(page + 2, (uint16_t)at);
	le16_put(page + 8, (uint16_t)at);
	memcpy(page + at, bytes, left[_i] < len ? left[_i] : len);
	ck_assert_int_eq(table_page_check(page), left[_i] == len ? 0 : WERR_MALFORMED);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("table_page");
	TCase *tc = tcase_create("table_page");

	tcase_add_test(tc, attr_round_trip);
	tcase_add_loop_test(tc, attr_refusals, 0, sizeof(bad_attrs) / sizeof(bad_attrs[0]));
	tcase_add_test(tc, size_limit);
	tcase_add_loop_test(tc, entry_round_trip, 0, 6);
	tcase_add_test(tc, entry_layout);
	tcase_add_loop_test(tc, entry_refusals, 0, sizeof(bad_entries) / sizeof(bad_entries[0]));
	tcase_add_loop_test(tc, entry_encode_refusals, 0, 8);
	tcase_add_test(tc, page_empty);
	tcase_add_test(tc, page_layout);
	tcase_add_test(tc, page_slots_run_out);
	tcase_add_test(tc, page_bytes_run_out);
	tcase_add_test(tc, page_set_in_place);
	tcase_add_test(tc, page_model);
	tcase_add_loop_test(tc, page_refusals, 0, sizeof(bad_pages) / sizeof(bad_pages[0]));
	tcase_add_loop_test(tc, page_end, 0, 4);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
