// SPDX-License-Identifier: Apache-2.0
// Directory tables against a plain list of names; hostile pages.
#include "unit_main.h"
#include "unit_random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/cursor.h"
#include "fusefs/table.h"

static struct table *table;
static void setup(void)
{
	ck_assert_int_eq(table_new(&table), 0);
	random_state = 1;
}
static void teardown(void)
{
	table_free(table);
}

struct bytes {
	uint8_t b[ENTRY_BYTES_MAX];
	size_t len;
};

static struct bytes entry_of(uint8_t kind, const char *name, size_t name_len, uint64_t number,
			     size_t target_len)
{
	static uint8_t target[ENTRY_TARGET_MAX];
	struct entry e = {
		.kind = kind,
		.type = target_len > 0 ? OBJECT_SYMLINK : OBJECT_FILE,
		.name_len = (uint8_t)name_len,
		.name = (const uint8_t *)name,
		.target_len = (uint16_t)target_len,
		.target = target,
		.number = number,
		.incarnation = number + 7,
		.attr = {.mode = 0644, .nlink = 1},
	};
	struct bytes ret;

	memset(target, 't', sizeof target);
	ck_assert_int_eq(entry_encode(&e, ret.b, sizeof ret.b, &ret.len), 0);
	return ret;
}

static struct bytes home(const char *name, uint64_t number)
{
	return entry_of(ENTRY_HOME, name, strlen(name), number, 0);
}

static table_place add(const struct bytes *e)
{
	table_place place;

	ck_assert_int_eq(table_reserve(table, e->len, &place), 0);
	ck_assert_int_eq(table_put(table, place, e->b, e->len), 0);
	return place;
}

static int find(const char *name, table_place *ret)
{
	struct entry e;

	return table_find(table, (const uint8_t *)name, strlen(name), ret, &e);
}

// The table's own numbers agree with its pages, and with a table made from the same bytes.
static void check_table(void)
{
	struct table *again;
	uint64_t count = 0;
	size_t held = 0;

	ck_assert_int_eq(table_new(&again), 0);
	for (uint32_t p = 0; p < table_pages(table); p++) {
		const uint8_t *bytes = table_page_bytes(table, p);

		if (bytes == NULL)
			continue;
		held++;
		count += table_page_used(bytes);
		ck_assert_int_eq(table_page_check(bytes), 0);
		ck_assert_int_eq(table_load_page(again, p, bytes), 0);
	}
	ck_assert_uint_eq(count, table_count(table));
	ck_assert_uint_eq(count, table_count(again));
	ck_assert_uint_eq(table_pages(table), table_pages(again));
	ck_assert_uint_eq(table_next_dirty(again, 0), UINT32_MAX);
	ck_assert_ptr_null(table_page_bytes(table, table_pages(table)));
	ck_assert(table_pages(table) == 0 || table_page_bytes(table, table_pages(table) - 1));
	ck_assert_uint_ge(table_memory(table), held * WARD_PAGE);

	table_place place = 0;
	struct entry e, same;

	for (; table_next(table, place, &place, &e) == 0; place++) {
		table_place at;

		ck_assert_int_eq(table_find(again, e.name, e.name_len, &at, &same), 0);
		ck_assert_uint_eq(at, place);
		ck_assert_int_eq(table_find(table, e.name, e.name_len, &at, &same), 0);
		ck_assert_uint_eq(at, place);
		ck_assert_uint_eq(same.number, e.number);
		count--;
	}
	ck_assert_uint_eq(count, 0);
	table_free(again);
}

START_TEST(test_put_errors)
{
	struct bytes a = home("a", 10), b = home("b", 11);
	struct entry e;
	table_place at;
	size_t len;

	ck_assert_int_eq(table_put(table, table_place_make(0, TABLE_SLOTS), a.b, a.len),
			 WERR_LIMIT);
	ck_assert_int_eq(table_put(table, table_place_make(TABLE_PAGES_MAX, 0), a.b, a.len),
			 WERR_LIMIT);
	ck_assert_int_eq(table_put(table, UINT64_MAX, a.b, a.len), WERR_LIMIT);
	ck_assert_int_eq(table_put(table, 1ull << 38, a.b, a.len), WERR_LIMIT);
	ck_assert_int_eq(table_put(table, 0, a.b, a.len - 1), WERR_MALFORMED);
	ck_assert_int_eq(table_put(table, 0, NULL, 0), 0); // nothing there: nothing to do
	ck_assert_uint_eq(table_next_dirty(table, 0), UINT32_MAX);
	ck_assert_uint_eq(table_count(table), 0);
	ck_assert_uint_eq(table_pages(table), 0);
	ck_assert_int_eq(find("a", &at), WERR_NOTFOUND);

	ck_assert_int_eq(table_put(table, 3, a.b, a.len), 0);
	ck_assert_int_eq(table_put(table, 4, a.b, a.len), WERR_EXISTS);
	ck_assert_int_eq(table_put(table, table_place_make(9, 0), a.b, a.len), WERR_EXISTS);
	ck_assert_uint_eq(table_pages(table), 1);
	ck_assert_int_eq(table_put(table, 3, a.b, a.len), 0); // itself
	ck_assert_int_eq(table_put(table, 4, b.b, b.len), 0);
	ck_assert_int_eq(table_put(table, 4, a.b, a.len), WERR_EXISTS);
	ck_assert_int_eq(find("b", &at), 0);
	ck_assert_uint_eq(at, 4);
	ck_assert_int_eq(table_get(table, 5, &e), WERR_NOTFOUND);
	ck_assert_int_eq(table_get(table, UINT64_MAX, &e), WERR_NOTFOUND);
	ck_assert_ptr_null(table_get_bytes(table, table_place_make(70, 1), &len));
	ck_assert_uint_eq(len, 0);
	ck_assert_ptr_nonnull(table_get_bytes(table, 3, &len));
	ck_assert_uint_eq(len, a.len);
	ck_assert_int_eq(table_reserve(table, 0, &at), WERR_LIMIT);
	ck_assert_int_eq(table_reserve(table, ENTRY_BYTES_MAX + 1, &at), WERR_LIMIT);
	check_table();
}
END_TEST

// The page is full: nothing changes, not the index either.
START_TEST(test_put_nospace)
{
	char long_name[256];
	struct bytes e, big;
	table_place at, where = 0;

	memset(long_name, 'x', 255);
	long_name[255] = 0;
	for (uint64_t i = 0; where < 64; i++) {
		char name[16];

		snprintf(name, sizeof name, "n%llu", (unsigned long long)i);
		e = home(name, 100 + i);
		where = add(&e);
	}
	uint32_t pages = table_pages(table);

	table_clean(table, 0);
	table_clean(table, 1);
	big = entry_of(ENTRY_HOME, long_name, 255, 5, ENTRY_TARGET_MAX);
	ck_assert_uint_eq(big.len, ENTRY_BYTES_MAX);
	ck_assert_int_eq(table_put(table, 7, big.b, big.len), WERR_NOSPACE);
	ck_assert_int_eq(table_put(table, 50, big.b, big.len), WERR_NOSPACE);
	ck_assert_int_eq(find(long_name, &at), WERR_NOTFOUND);
	ck_assert_int_eq(find("n7", &at), 0);
	ck_assert_uint_eq(table_pages(table), pages);
	ck_assert_uint_eq(table_next_dirty(table, 0), UINT32_MAX);
	check_table();
	(void)add(&big); // the largest entry has its place somewhere
	ck_assert_int_eq(find(long_name, &at), 0);
	check_table();
}
END_TEST

START_TEST(test_attr_and_bound)
{
	struct bytes a = home("a", 10), l = entry_of(ENTRY_LINK, "l", 1, 11, 0);
	struct ward_attr attr = {.mode = 0600, .nlink = 3, .size = 12345, .uid = 7};
	struct entry e;
	table_place at;

	ck_assert_int_eq(table_put(table, 0, a.b, a.len), 0);
	ck_assert_int_eq(table_put(table, 64, l.b, l.len), 0);
	table_clean(table, 0);
	table_clean(table, 1);
	ck_assert_int_eq(table_set_attr(table, 64, &attr), WERR_NOTFOUND);
	ck_assert_int_eq(table_set_bound(table, 64, 1, 1), WERR_NOTFOUND);
	ck_assert_int_eq(table_set_attr(table, 1, &attr), WERR_NOTFOUND);
	ck_assert_int_eq(table_set_attr(table, 1ull << 40, &attr), WERR_NOTFOUND);
	attr.nlink = 0;
	ck_assert_int_ne(table_set_attr(table, 0, &attr), 0);
	attr.nlink = 3;
	ck_assert_uint_eq(table_next_dirty(table, 0), UINT32_MAX);
	ck_assert_int_eq(table_set_attr(table, 0, &attr), 0);
	ck_assert_uint_eq(table_next_dirty(table, 0), 0);
	table_clean(table, 0);
	ck_assert_int_eq(table_set_bound(table, 0, 99, 5), 0);
	ck_assert_uint_eq(table_next_dirty(table, 0), 0);
	ck_assert_int_eq(table_get(table, 0, &e), 0);
	ck_assert_uint_eq(e.attr.size, 12345);
	ck_assert_uint_eq(e.attr.uid, 7);
	ck_assert_uint_eq(e.generation, 99);
	ck_assert_uint_eq(e.epoch, 5);
	ck_assert_int_eq(table_find_number(table, 10, &at, &e), 0);
	ck_assert_uint_eq(at, 0);
	ck_assert_int_eq(table_find_number(table, 11, &at, &e), WERR_NOTFOUND); // a link is no home
	check_table();
}
END_TEST

START_TEST(test_creation_order)
{
	table_place last = 0, again;

	for (uint64_t i = 0; i < 5000; i++) {
		char name[64];
		int len = snprintf(name, sizeof name, "file-%llu-%.*s", (unsigned long long)i,
				   (int)random_below(30), "abcdefghijklmnopqrstuvwxyzabcd");
		struct bytes e = entry_of(ENTRY_HOME, name, (size_t)len, 10 + i, 0);
		table_place place;

		ck_assert_int_eq(table_reserve(table, e.len, &place), 0);
		ck_assert_int_eq(table_reserve(table, e.len, &again), 0);
		ck_assert_uint_eq(place, again);
		ck_assert(i == 0 || place > last);
		last = place;
		ck_assert_int_eq(table_put(table, place, e.b, e.len), 0);
	}
	// Well filled: at least 20 a page.
	ck_assert_uint_lt(table_pages(table), 5000 / 20);
	check_table();
}
END_TEST

static void number_name(char out[static 24], uint64_t i)
{
	snprintf(out, 24, "name%llu", (unsigned long long)i);
}

static void put_number(uint64_t i)
{
	char name[24];

	number_name(name, i);
	struct bytes e = home(name, 10 + i);
	(void)add(&e);
}

static void remove_number(uint64_t i)
{
	char name[24];
	table_place at;

	number_name(name, i);
	ck_assert_int_eq(find(name, &at), 0);
	ck_assert_int_eq(table_put(table, at, NULL, 0), 0);
	ck_assert_int_eq(find(name, &at), WERR_NOTFOUND);
}

START_TEST(test_space_comes_back)
{
	const uint64_t n = 6000;

	for (uint64_t i = 0; i < n; i++)
		put_number(i);
	uint32_t full = table_pages(table);

	// Thinned out, pages never empty: what comes next goes into the gaps.
	for (uint64_t i = 0; i < n; i++) {
		if (i % 4 != 0)
			remove_number(i);
	}
	ck_assert_uint_ge(table_pages(table), full - 1);
	for (uint64_t i = 0; i < n / 2; i++)
		put_number(n + i);
	ck_assert_uint_le(table_pages(table), full + 2);
	check_table();
	// From the end: the table gets shorter, and the memory goes.
	for (uint64_t i = n / 2; i-- > 0;)
		remove_number(n + i);
	for (uint64_t i = n; i-- > 0;) {
		if (i % 4 == 0)
			remove_number(i);
	}
	ck_assert_uint_eq(table_pages(table), 0);
	ck_assert_uint_eq(table_count(table), 0);
	ck_assert_uint_lt(table_memory(table), 16384);
	// A page that is gone is dirty: its seal has to go.
	ck_assert_uint_eq(table_next_dirty(table, full - 1), full - 1);
	ck_assert_ptr_null(table_page_bytes(table, full - 1));
	put_number(1);
	ck_assert_uint_eq(table_pages(table), 1);
}
END_TEST

// A table that was large and is empty forgets the gaps it had: a page with room left does not
// attract what comes now.
START_TEST(test_room_is_forgotten)
{
	for (uint64_t i = 0; i < 4000; i++)
		put_number(i);
	for (uint64_t i = 0; i < 4000; i++)
		remove_number(i);
	for (uint64_t i = 0; i < 3; i++) {
		char name[255];

		memset(name, 'a' + (int)i, sizeof name);
		struct bytes e = entry_of(ENTRY_HOME, name, sizeof name, 5 + i, ENTRY_TARGET_MAX);
		(void)add(&e);
	}
	ck_assert_uint_eq(table_page_used(table_page_bytes(table, 0)), 2);
	ck_assert_uint_eq(table_page_used(table_page_bytes(table, 1)), 1);
	for (uint64_t i = 0; i < 1000; i++)
		put_number(i);
	ck_assert_uint_eq(table_page_used(table_page_bytes(table, 0)), 2);
	check_table();
}
END_TEST

// The answer stands until something is put, however far the search for space got.
START_TEST(test_reserve_is_stable)
{
	struct bytes e = home("new", 5);
	table_place place, first;
	struct entry old;

	for (uint64_t i = 0; table_pages(table) < 300; i++)
		put_number(i);
	// Full in front and at the end, nearly empty between.
	for (place = table_place_make(70, 1); table_next(table, place, &place, &old) == 0;
	     place++) {
		if (table_place_page(place) < 298 && table_place_slot(place) > 0)
			ck_assert_int_eq(table_put(table, place, NULL, 0), 0);
	}
	struct bytes big = entry_of(ENTRY_HOME, "big", 3, 4, ENTRY_TARGET_MAX);

	while (table_pages(table) == 300) { // the current page fills up
		ck_assert_int_eq(table_reserve(table, big.len, &first), 0);
		for (int i = 0; i < 10; i++) {
			ck_assert_int_eq(table_reserve(table, big.len, &place), 0);
			ck_assert_uint_eq(place, first);
		}
		if (table_place_page(first) != 299)
			break;
		put_number(1000000 + random_below(1ull << 40));
	}
	// 64 full pages were looked at: a new page. Then the search goes on, and finds.
	ck_assert_uint_eq(first, table_place_make(300, 0));
	ck_assert_int_eq(table_put(table, first, big.b, big.len), 0);
	do {
		ck_assert_int_eq(table_reserve(table, e.len, &place), 0);
		if (table_place_page(place) == 300)
			put_number(1000000 + random_below(1ull << 40));
	} while (table_place_page(place) == 300);
	ck_assert_uint_eq(table_place_page(place), 70);
	check_table();
}
END_TEST

// Create and delete, for ever: the table does not wander.
START_TEST(test_churn_is_bounded)
{
	for (uint64_t i = 0; i < 1000; i++)
		put_number(i);
	uint32_t pages = table_pages(table);

	for (uint64_t i = 0; i < 20000; i++) {
		put_number(1000 + i);
		remove_number(i);
	}
	ck_assert_uint_lt(table_pages(table), pages * 2 + 64);
	check_table();
}
END_TEST

START_TEST(test_dirty)
{
	struct bytes a = home("a", 1000), b = home("b", 1001), c = home("c", 1002);
	static const uint32_t pages[] = {0, 63, 64, 500};

	struct bytes d = home("d", 1003);

	// Ascending, so that the marks survive the table's growth.
	ck_assert_int_eq(table_put(table, 0, d.b, d.len), 0);
	ck_assert_int_eq(table_put(table, table_place_make(63, 0), b.b, b.len), 0);
	ck_assert_int_eq(table_put(table, table_place_make(64, 5), c.b, c.len), 0);
	ck_assert_int_eq(table_put(table, table_place_make(500, 0), a.b, a.len), 0);
	uint32_t at = 0;

	for (size_t i = 0; i < 4; i++) {
		at = table_next_dirty(table, at);
		ck_assert_uint_eq(at, pages[i]);
		table_clean(table, at);
		at++;
	}
	ck_assert_uint_eq(table_next_dirty(table, at), UINT32_MAX);
	ck_assert_uint_eq(table_next_dirty(table, 0), UINT32_MAX);
	ck_assert_uint_eq(table_next_dirty(table, UINT32_MAX), UINT32_MAX);
	table_clean(table, UINT32_MAX);
	ck_assert_int_eq(table_put(table, table_place_make(500, 0), NULL, 0), 0);
	ck_assert_uint_eq(table_pages(table), 65);
	ck_assert_uint_eq(table_next_dirty(table, 0), 500);
	check_table();
}
END_TEST

static void page_with(uint8_t page[static WARD_PAGE], unsigned slot, const char *name,
		      uint64_t number)
{
	struct bytes e = home(name, number);

	ck_assert_int_eq(table_page_put(page, slot, e.b, e.len), 0);
}

START_TEST(test_hostile_pages)
{
	uint8_t one[WARD_PAGE], two[WARD_PAGE];
	table_place at;

	table_page_init(one);
	ck_assert_int_eq(table_load_page(table, 0, one), WERR_MALFORMED); // empty: a hole
	page_with(one, 0, "a", 10);
	page_with(one, 2, "b", 11);
	ck_assert_int_eq(table_load_page(table, TABLE_PAGES_MAX, one), WERR_LIMIT);
	ck_assert_int_eq(table_load_page(table, 3, one), 0);
	ck_assert_int_eq(table_load_page(table, 3, one), WERR_EXISTS);
	// A name of another page: nothing of this page stays.
	table_page_init(two);
	page_with(two, 0, "c", 12);
	page_with(two, 1, "d", 13);
	page_with(two, 5, "b", 14);
	page_with(two, 6, "e", 15);
	ck_assert_int_eq(table_load_page(table, 7, two), WERR_MALFORMED);
	ck_assert_uint_eq(table_pages(table), 4);
	ck_assert_uint_eq(table_count(table), 2);
	ck_assert_int_eq(find("c", &at), WERR_NOTFOUND);
	ck_assert_int_eq(find("e", &at), WERR_NOTFOUND);
	ck_assert_int_eq(find("b", &at), 0);
	ck_assert_uint_eq(at, table_place_make(3, 2));
	check_table();
	// A name twice in one page.
	table_page_init(two);
	page_with(two, 0, "x", 12);
	page_with(two, 9, "x", 13);
	ck_assert_int_eq(table_load_page(table, 0, two), WERR_MALFORMED);
	ck_assert_int_eq(find("x", &at), WERR_NOTFOUND);
	// Not zero where it has to be; an offset outside; a count too high.
	memcpy(two, one, WARD_PAGE);
	two[200] = 1;
	ck_assert_int_eq(table_load_page(table, 0, two), WERR_MALFORMED);
	memcpy(two, one, WARD_PAGE);
	le16_put(two + 8, 4090);
	ck_assert_int_eq(table_load_page(table, 0, two), WERR_MALFORMED);
	memcpy(two, one, WARD_PAGE);
	le16_put(two, 61);
	ck_assert_int_eq(table_load_page(table, 0, two), WERR_MALFORMED);
	ck_assert_uint_eq(table_next_dirty(table, 0), UINT32_MAX);
	check_table();
}
END_TEST

// Flipped bytes: refused, or a table that is sound in itself.
START_TEST(test_hostile_flips)
{
	uint8_t page[WARD_PAGE], bad[WARD_PAGE];
	int refused = 0;

	table_page_init(page);
	for (unsigned i = 0; i < 18; i++) {
		char name[24];

		number_name(name, i);
		page_with(page, i, name, 10 + i);
	}
	for (int i = 0; i < 3000; i++) {
		memcpy(bad, page, WARD_PAGE);
		for (uint64_t n = 1 + random_below(3); n > 0; n--)
			bad[random_below(2) ? random_below(WARD_PAGE) : random_below(200)] ^=
				(uint8_t)(1u << random_below(8));
		table_free(table);
		ck_assert_int_eq(table_new(&table), 0);
		if (table_load_page(table, (uint32_t)random_below(5), bad) == 0)
			check_table();
		else
			refused++;
		ck_assert(table_count(table) == 0 || table_count(table) == 18);
	}
	ck_assert_int_gt(refused, 1000);
}
END_TEST

// The model: per number whether it stands in the table, where, and with which bytes.
#define NAMES 2500
struct model {
	int there[NAMES];
	table_place place[NAMES];
	struct bytes entry[NAMES];
	uint64_t count;
};

// The same number has the same name, of a length between 1 and 255, and bytes that differ each
// time.
static struct bytes random_entry(unsigned i)
{
	char name[256];
	size_t len = (size_t)snprintf(name, sizeof name, "%u", i);
	size_t pad = i % 17 == 0 ? 255 - len : i % 23;
	uint8_t kind = random_below(4) == 0 ? ENTRY_LINK : ENTRY_HOME;

	memset(name + len, '_', pad);
	return entry_of(kind, name, len + pad, 10 + random_below(1u << 30),
			kind == ENTRY_HOME && random_below(5) == 0
				? 1 + random_below(ENTRY_TARGET_MAX)
				: 0);
}

static void model_check(const struct model *m, unsigned i)
{
	struct bytes any = random_entry(i);
	struct entry e, want;
	table_place at;
	size_t len;

	ck_assert_int_eq(entry_decode(any.b, any.len, &want), 0);
	int err = table_find(table, want.name, want.name_len, &at, &e);

	if (!m->there[i]) {
		ck_assert_int_eq(err, WERR_NOTFOUND);
		return;
	}
	ck_assert_int_eq(err, 0);
	ck_assert_uint_eq(at, m->place[i]);
	const uint8_t *b = table_get_bytes(table, at, &len);

	ck_assert_uint_eq(len, m->entry[i].len);
	ck_assert_mem_eq(b, m->entry[i].b, len);
}

static void model_insert(struct model *m, unsigned i)
{
	m->entry[i] = random_entry(i);
	ck_assert_int_eq(table_reserve(table, m->entry[i].len, &m->place[i]), 0);
	ck_assert_int_eq(table_put(table, m->place[i], m->entry[i].b, m->entry[i].len), 0);
	m->there[i] = 1;
	m->count++;
}

static void model_remove(struct model *m, unsigned i)
{
	ck_assert_int_eq(table_put(table, m->place[i], NULL, 0), 0);
	m->there[i] = 0;
	m->count--;
}

// Other bytes under the same name; moves when the page is too full.
static void model_replace(struct model *m, unsigned i)
{
	struct bytes e = random_entry(i);
	int err = table_put(table, m->place[i], e.b, e.len);

	if (err == WERR_NOSPACE) {
		model_check(m, i);
		model_remove(m, i);
		model_insert(m, i);
		return;
	}
	ck_assert_int_eq(err, 0);
	m->entry[i] = e;
}

// A rename: the other name takes the place (or another one), and the old name goes.
static void model_rename(struct model *m, unsigned from, unsigned to)
{
	struct bytes e = random_entry(to);

	if (from == to)
		return;
	if (m->there[to]) {
		ck_assert_int_eq(table_put(table, m->place[from], e.b, e.len), WERR_EXISTS);
		return;
	}
	if (table_put(table, m->place[from], e.b, e.len) != 0) {
		model_insert(m, to);
		model_remove(m, from);
		return;
	}
	m->there[to] = 1;
	m->place[to] = m->place[from];
	m->entry[to] = e;
	m->there[from] = 0;
}

// A listing in pieces while entries come and go: what was there all the time is told once.
static void model_iterate(struct model *m)
{
	static uint8_t told[NAMES], stays[NAMES];
	table_place from = 0, at;
	struct entry e;

	for (unsigned i = 0; i < NAMES; i++) {
		told[i] = 0;
		stays[i] = m->there[i] != 0;
	}
	for (; table_next(table, from, &at, &e) == 0; from = at + 1) {
		char name[256] = "";

		memcpy(name, e.name, e.name_len);
		unsigned i = (unsigned)strtoul(name, NULL, 10);

		ck_assert_uint_lt(i, NAMES);
		ck_assert_uint_ge(at, from);
		ck_assert(m->there[i] && m->place[i] == at);
		ck_assert(!told[i] || !stays[i]);
		told[i] = 1;
		unsigned k = (unsigned)random_below(NAMES);

		if (m->there[k] && random_below(2)) {
			model_remove(m, k);
			stays[k] = 0;
		} else if (!m->there[k] && random_below(8) == 0) {
			model_insert(m, k);
		}
	}
	for (unsigned i = 0; i < NAMES; i++)
		ck_assert(!stays[i] || told[i]);
}

static void model_reload(const struct model *m)
{
	struct table *again;

	ck_assert_int_eq(table_new(&again), 0);
	// In any order.
	for (uint32_t p = table_pages(table); p-- > 0;) {
		if (table_page_bytes(table, p) != NULL)
			ck_assert_int_eq(table_load_page(again, p, table_page_bytes(table, p)), 0);
	}
	table_free(table);
	table = again;
	for (unsigned i = 0; i < NAMES; i++)
		model_check(m, i);
}

START_TEST(test_model)
{
	struct model *m = calloc(1, sizeof *m);

	ck_assert_ptr_nonnull(m);
	random_state = (uint64_t)_i + 1000;
	for (int step = 0; step < 20000; step++) {
		unsigned i = (unsigned)random_below(NAMES);
		int shrinking = step / 5000 % 2;

		if (!m->there[i] && random_below(10) < (shrinking ? 2 : 8))
			model_insert(m, i);
		else if (m->there[i] && random_below(10) < (shrinking ? 7 : 2))
			model_remove(m, i);
		else if (m->there[i] && random_below(2))
			model_replace(m, i);
		else if (m->there[i])
			model_rename(m, i, (unsigned)random_below(NAMES));
		model_check(m, i);
		ck_assert_uint_eq(table_count(table), m->count);
		if (step % 2500 == 0)
			model_iterate(m);
		if (step % 5000 == 4999)
			model_reload(m);
	}
	check_table();
	for (unsigned i = 0; i < NAMES; i++) {
		model_check(m, i);
		if (m->there[i])
			model_remove(m, i);
	}
	ck_assert_uint_eq(table_pages(table), 0);
	free(m);
}
END_TEST

START_TEST(test_many)
{
	const uint64_t n = 100000;
	char name[24];
	table_place at;

	for (uint64_t i = 0; i < n; i++)
		put_number(i);
	ck_assert_uint_eq(table_count(table), n);
	for (uint64_t i = 0; i < n; i++) {
		number_name(name, i);
		ck_assert_int_eq(find(name, &at), 0);
		number_name(name, n + i);
		ck_assert_int_eq(find(name, &at), WERR_NOTFOUND);
	}
	// In the order of the table, as rm -rf does.
	struct entry e;

	for (uint64_t i = 0; table_next(table, 0, &at, &e) == 0; i++) {
		ck_assert_uint_eq(e.number, 10 + i);
		ck_assert_int_eq(table_put(table, at, NULL, 0), 0);
	}
	ck_assert_uint_eq(table_pages(table), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("table");
	TCase *tc = tcase_create("table");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, test_put_errors);
	tcase_add_test(tc, test_put_nospace);
	tcase_add_test(tc, test_attr_and_bound);
	tcase_add_test(tc, test_creation_order);
	tcase_add_test(tc, test_space_comes_back);
	tcase_add_test(tc, test_room_is_forgotten);
	tcase_add_test(tc, test_reserve_is_stable);
	tcase_add_test(tc, test_churn_is_bounded);
	tcase_add_test(tc, test_dirty);
	tcase_add_test(tc, test_hostile_pages);
	tcase_add_test(tc, test_hostile_flips);
	tcase_add_loop_test(tc, test_model, 0, 3);
	tcase_add_test(tc, test_many);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
