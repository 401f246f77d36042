// SPDX-License-Identifier: Apache-2.0
#include "fusefs/table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"
#include "fusefs/dirindex.h"

#define PAGE_ROOM (WARD_PAGE - TABLE_HEAP_START)
#define WORD_PAGES 64u
// Pages that one search for free space looks at.
#define SCAN_PAGES 64u
// Empty pages kept in memory: an exchange that fails half-way puts two entries back, and must not
// fail.
#define SPARES 2

_Static_assert(ENTRY_BYTES_MAX <= PAGE_ROOM, "every entry fits into an empty page");
_Static_assert(TABLE_PAGES_MAX <= DIRINDEX_PLACE_MAX / 64 + 1, "places fit into the index");

struct table {
	uint8_t **pages;     // NULL: empty
	uint16_t *room;      // table_page_free; PAGE_ROOM where there is no page
	uint64_t *dirty;     // one bit a page
	uint32_t cap;        // of the three; a multiple of WORD_PAGES
	uint32_t n_pages;    // 1 + the highest page with an entry
	uint32_t held;       // pages that are not NULL
	uint32_t current;    // where entries go as long as they fit
	uint32_t scan;       // where the search for free space goes on
	uint64_t room_total; // of pages [0, n_pages)
	uint64_t count;
	uint8_t *spare[SPARES]; // wiped
	struct dirindex index;
};

int table_new(struct table **ret)
{
	struct table *t = calloc(1, sizeof *t);

	if (t == NULL)
		return WERR_NOMEM;
	dirindex_init(&t->index);
	*ret = t;
	return 0;
}

// Names are as confidential as contents.
static void page_free(uint8_t *page)
{
	if (page == NULL)
		return;
	secret_wipe(page, WARD_PAGE);
	free(page);
}

void table_free(struct table *t)
{
	if (t == NULL)
		return;
	for (uint32_t i = 0; i < t->n_pages; i++)
		page_free(t->pages[i]);
	for (unsigned i = 0; i < SPARES; i++)
		page_free(t->spare[i]);
	dirindex_clear(&t->index);
	free(t->pages);
	free(t->room);
	free(t->dirty);
	free(t);
}

// Arrays for pages [0, page]. A part that has grown does no harm when the next one cannot.
static int grow(struct table *t, uint32_t page)
{
	uint32_t cap = t->cap > 0 ? t->cap : WORD_PAGES;

	if (page < t->cap)
		return 0;
	while (cap <= page)
		cap *= 2;

	uint8_t **pages = reallocarray(t->pages, cap, sizeof *pages);
	if (pages == NULL)
		return WERR_NOMEM;
	t->pages = pages;
	uint16_t *room = reallocarray(t->room, cap, sizeof *room);
	if (room == NULL)
		return WERR_NOMEM;
	t->room = room;
	uint64_t *dirty = reallocarray(t->dirty, cap / WORD_PAGES, sizeof *dirty);
	if (dirty == NULL)
		return WERR_NOMEM;
	t->dirty = dirty;
	memset(dirty + t->cap / WORD_PAGES, 0, (cap - t->cap) / WORD_PAGES * sizeof *dirty);
	for (uint32_t i = t->cap; i < cap; i++) {
		pages[i] = NULL;
		room[i] = PAGE_ROOM;
	}
	t->cap = cap;
	return 0;
}

static uint8_t *page_at(const struct table *t, uint32_t page)
{
	return page < t->cap ? t->pages[page] : NULL;
}

static uint8_t *page_new(struct table *t)
{
	uint8_t *page = NULL;

	for (unsigned i = 0; i < SPARES && page == NULL; i++) {
		page = t->spare[i];
		t->spare[i] = NULL;
	}
	if (page == NULL)
		page = malloc(WARD_PAGE);
	if (page != NULL)
		table_page_init(page);
	return page;
}

// Wipes a page; keeps it for page_new, or frees it.
static void page_drop(struct table *t, uint8_t *page)
{
	secret_wipe(page, WARD_PAGE);
	for (unsigned i = 0; i < SPARES; i++) {
		if (t->spare[i] == NULL) {
			t->spare[i] = page;
			return;
		}
	}
	free(page);
}

// A page in reserve, so that page_new does not fail.
static int page_reserve(struct table *t)
{
	uint8_t *page = page_new(t);

	if (page == NULL)
		return WERR_NOMEM;
	page_drop(t, page);
	return 0;
}

// Hangs a page in, or brings the numbers of one up to date after a change.
static void page_account(struct table *t, uint32_t page, uint8_t *bytes)
{
	uint16_t room = (uint16_t)table_page_free(bytes);

	if (t->pages[page] == NULL)
		t->held++;
	t->pages[page] = bytes;
	for (; t->n_pages <= page; t->n_pages++)
		t->room_total += PAGE_ROOM;
	t->room_total = t->room_total - t->room[page] + room;
	t->room[page] = room;
}

// An empty page is a hole; holes at the end are no part of the table.
static void page_vanish(struct table *t, uint32_t page)
{
	page_drop(t, t->pages[page]);
	t->pages[page] = NULL;
	t->held--;
	t->room_total = t->room_total - t->room[page] + PAGE_ROOM;
	t->room[page] = PAGE_ROOM;
	for (; t->n_pages > 0 && t->pages[t->n_pages - 1] == NULL; t->n_pages--)
		t->room_total -= PAGE_ROOM;
}

static void mark_dirty(struct table *t, uint32_t page)
{
	t->dirty[page / WORD_PAGES] |= 1ull << (page % WORD_PAGES);
}

static int place_in_bounds(table_place place)
{
	return place >> 6 < TABLE_PAGES_MAX && table_place_slot(place) < TABLE_SLOTS;
}

const uint8_t *table_get_bytes(const struct table *t, table_place place, size_t *ret_len)
{
	const uint8_t *page = place_in_bounds(place) ? page_at(t, table_place_page(place)) : NULL;

	if (page == NULL) {
		*ret_len = 0;
		return NULL;
	}
	return table_page_slot(page, table_place_slot(place), ret_len);
}

int table_get(const struct table *t, table_place place, struct entry *ret)
{
	size_t len;
	const uint8_t *bytes = table_get_bytes(t, place, &len);

	return bytes != NULL ? entry_decode(bytes, len, ret) : WERR_NOTFOUND;
}

static int find_fingerprint(const struct table *t, uint32_t fingerprint, const uint8_t *name,
			    size_t name_len, table_place *ret_place, struct entry *ret)
{
	size_t cursor = 0;
	uint32_t place;

	while (dirindex_next(&t->index, fingerprint, &cursor, &place)) {
		struct entry e;
		int err = table_get(t, place, &e);

		if (err != 0)
			return err == WERR_NOTFOUND ? WERR_INTERNAL : err;
		if (e.name_len == name_len && memcmp(e.name, name, name_len) == 0) {
			*ret_place = place;
			*ret = e;
			return 0;
		}
	}
	return WERR_NOTFOUND;
}

int table_find(const struct table *t, const uint8_t *name, size_t name_len, table_place *ret_place,
	       struct entry *ret)
{
	return find_fingerprint(t, dirindex_fingerprint(&t->index, name, name_len), name, name_len,
				ret_place, ret);
}

static void unindex(struct table *t, table_place place, const struct entry *e)
{
	dirindex_remove(&t->index, dirindex_fingerprint(&t->index, e->name, e->name_len),
			(uint32_t)place);
}

// Indexes the entries of a page that hangs in; a name that stands in the table already undoes it.
static int index_page(struct table *t, uint32_t page)
{
	int err = 0;
	uint16_t slot;

	for (slot = 0; slot < TABLE_SLOTS && err == 0; slot++) {
		table_place place = table_place_make(page, slot), other;
		struct entry e, same;

		if (table_get(t, place, &e) != 0)
			continue;
		uint32_t fingerprint = dirindex_fingerprint(&t->index, e.name, e.name_len);

		err = find_fingerprint(t, fingerprint, e.name, e.name_len, &other, &same);
		if (err == WERR_NOTFOUND) {
			dirindex_insert(&t->index, fingerprint, (uint32_t)place);
			err = 0;
		} else if (err == 0) {
			err = WERR_MALFORMED;
		}
	}
	if (err == 0)
		return 0;
	for (slot--; slot > 0; slot--) {
		table_place place = table_place_make(page, (uint16_t)(slot - 1));
		struct entry e;

		if (table_get(t, place, &e) == 0)
			unindex(t, place, &e);
	}
	return err;
}

int table_load_page(struct table *t, uint32_t page, const uint8_t *bytes)
{
	unsigned used;
	uint8_t *copy;
	int err;

	if (page >= TABLE_PAGES_MAX)
		return WERR_LIMIT;
	if (page_at(t, page) != NULL)
		return WERR_EXISTS;
	err = table_page_check(bytes);
	if (err != 0)
		return err;
	used = table_page_used(bytes);
	if (used == 0)
		return WERR_MALFORMED; // is written as a hole
	err = grow(t, page);
	if (err == 0)
		err = dirindex_reserve(&t->index, used);
	if (err != 0)
		return err;
	copy = page_new(t);
	if (copy == NULL)
		return WERR_NOMEM;
	memcpy(copy, bytes, WARD_PAGE);
	page_account(t, page, copy);
	err = index_page(t, page);
	if (err != 0) {
		page_vanish(t, page);
		return err;
	}
	t->count += used;
	return 0;
}

uint32_t table_pages(const struct table *t)
{
	return t->n_pages;
}

const uint8_t *table_page_bytes(const struct table *t, uint32_t page)
{
	return page_at(t, page);
}

uint64_t table_count(const struct table *t)
{
	return t->count;
}

size_t table_memory(const struct table *t)
{
	size_t pages = t->held;

	for (unsigned i = 0; i < SPARES; i++)
		pages += t->spare[i] != NULL;

	return sizeof *t + pages * WARD_PAGE + dirindex_memory(&t->index) +
	       (size_t)t->cap * (sizeof *t->pages + sizeof *t->room) +
	       t->cap / WORD_PAGES * sizeof *t->dirty;
}

static size_t room_at(const struct table *t, uint32_t page)
{
	return page < t->cap ? t->room[page] : PAGE_ROOM;
}

// The next page to fill. While the table is well filled that is a new one at its end; once more
// than a quarter of it is free, a page with a quarter free that a bounded search meets.
static uint32_t choose_page(struct table *t, size_t entry_len)
{
	size_t want = entry_len > PAGE_ROOM / 4 ? entry_len : PAGE_ROOM / 4;

	if (t->room_total * 4 <= (uint64_t)t->n_pages * PAGE_ROOM)
		return t->n_pages;
	for (uint32_t i = 0; i < SCAN_PAGES && i < t->n_pages; i++) {
		uint32_t page = t->scan < t->n_pages ? t->scan : 0;

		t->scan = page + 1;
		if (room_at(t, page) >= want)
			return page;
	}
	return t->n_pages;
}

int table_reserve(struct table *t, size_t entry_len, table_place *ret)
{
	uint32_t page = t->current;
	int err;

	if (entry_len == 0 || entry_len > ENTRY_BYTES_MAX)
		return WERR_LIMIT;
	if (page > t->n_pages)
		page = t->n_pages > 0 ? t->n_pages - 1 : 0;
	if (room_at(t, page) < entry_len)
		page = choose_page(t, entry_len);
	if (page >= TABLE_PAGES_MAX)
		return WERR_LIMIT;
	err = grow(t, page);
	if (err == 0)
		err = dirindex_reserve(&t->index, 1);
	if (err == 0 && t->pages[page] == NULL)
		err = page_reserve(t);
	if (err != 0)
		return err;
	t->current = page;

	int slot = t->pages[page] != NULL ? table_page_free_slot(t->pages[page]) : 0;

	if (slot < 0)
		return WERR_INTERNAL; // room is 0 without a free slot
	*ret = table_place_make(page, (uint16_t)slot);
	return 0;
}

static int remove_entry(struct table *t, table_place place)
{
	uint32_t page = table_place_page(place);
	struct entry old;
	int err = table_get(t, place, &old);

	if (err != 0)
		return err == WERR_NOTFOUND ? 0 : err;
	unindex(t, place, &old);
	err = table_page_put(t->pages[page], table_place_slot(place), NULL, 0);
	assert(err == 0); // emptying a slot always fits
	t->count--;
	mark_dirty(t, page);
	if (table_page_used(t->pages[page]) == 0)
		page_vanish(t, page);
	else
		page_account(t, page, t->pages[page]);
	return 0;
}

// The index entry of a place moves from the old name (if any) to the new one.
static void reindex(struct table *t, table_place place, int had_old, uint32_t old_fingerprint,
		    uint32_t fingerprint)
{
	if (had_old && old_fingerprint == fingerprint)
		return;
	if (had_old)
		dirindex_remove(&t->index, old_fingerprint, (uint32_t)place);
	dirindex_insert(&t->index, fingerprint, (uint32_t)place);
}

static int put_entry(struct table *t, table_place place, const uint8_t *entry, size_t len)
{
	uint32_t page = table_place_page(place);
	uint32_t fingerprint, old_fingerprint = 0;
	struct entry e, old;
	table_place other;
	int err = entry_decode(entry, len, &e);

	if (err != 0)
		return WERR_MALFORMED;
	fingerprint = dirindex_fingerprint(&t->index, e.name, e.name_len);
	err = find_fingerprint(t, fingerprint, e.name, e.name_len, &other, &old);
	if (err == 0 && other != place)
		return WERR_EXISTS;
	if (err != 0 && err != WERR_NOTFOUND)
		return err;
	err = grow(t, page);
	if (err == 0)
		err = dirindex_reserve(&t->index, 1);
	if (err != 0)
		return err;

	int had_old = table_get(t, place, &old) == 0;
	if (had_old)
		old_fingerprint = dirindex_fingerprint(&t->index, old.name, old.name_len);
	uint8_t *bytes = t->pages[page] != NULL ? t->pages[page] : page_new(t);
	if (bytes == NULL)
		return WERR_NOMEM;
	err = table_page_put(bytes, table_place_slot(place), entry, len);
	if (err != 0) {
		if (bytes != t->pages[page])
			page_drop(t, bytes);
		return err;
	}
	page_account(t, page, bytes);
	reindex(t, place, had_old, old_fingerprint, fingerprint);
	t->count += !had_old;
	mark_dirty(t, page);
	return 0;
}

int table_put(struct table *t, table_place place, const uint8_t *entry, size_t len)
{
	if (!place_in_bounds(place))
		return WERR_LIMIT;
	return len == 0 ? remove_entry(t, place) : put_entry(t, place, entry, len);
}

// The page of a home entry. WERR_NOTFOUND.
static int home_page(struct table *t, table_place place, uint8_t **ret)
{
	struct entry e;
	int err = table_get(t, place, &e);

	if (err != 0)
		return err;
	if (e.kind != ENTRY_HOME)
		return WERR_NOTFOUND;
	*ret = t->pages[table_place_page(place)];
	return 0;
}

int table_set_attr(struct table *t, table_place place, const struct ward_attr *a)
{
	uint8_t *page;
	int err = home_page(t, place, &page);

	if (err == 0)
		err = table_page_set_attr(page, table_place_slot(place), a);
	if (err == 0)
		mark_dirty(t, table_place_page(place));
	return err;
}

int table_set_bound(struct table *t, table_place place, uint64_t generation, uint32_t epoch)
{
	uint8_t *page;
	int err = home_page(t, place, &page);

	if (err == 0)
		err = table_page_set_bound(page, table_place_slot(place), generation, epoch);
	if (err == 0)
		mark_dirty(t, table_place_page(place));
	return err;
}

int table_next(const struct table *t, table_place from, table_place *ret_place, struct entry *ret)
{
	uint64_t page = from >> 6;
	unsigned slot = table_place_slot(from);

	for (; page < t->n_pages; page++, slot = 0) {
		if (t->pages[page] == NULL)
			continue;
		for (; slot < TABLE_SLOTS; slot++) {
			table_place place = table_place_make((uint32_t)page, (uint16_t)slot);
			int err = table_get(t, place, ret);

			if (err == WERR_NOTFOUND)
				continue;
			if (err == 0)
				*ret_place = place;
			return err;
		}
	}
	return WERR_NOTFOUND;
}

int table_find_number(const struct table *t, uint64_t number, table_place *ret_place,
		      struct entry *ret)
{
	table_place place = 0;
	struct entry e;
	int err;

	while ((err = table_next(t, place, &place, &e)) == 0) {
		if (e.kind == ENTRY_HOME && e.number == number) {
			*ret_place = place;
			*ret = e;
			return 0;
		}
		place++;
	}
	return err;
}

uint32_t table_next_dirty(const struct table *t, uint32_t from)
{
	for (uint32_t page = from; page < t->cap;) {
		uint64_t word = t->dirty[page / WORD_PAGES] >> (page % WORD_PAGES);

		if (word != 0)
			return page + (uint32_t)__builtin_ctzll(word);
		page = (page / WORD_PAGES + 1) * WORD_PAGES;
	}
	return UINT32_MAX;
}

void table_clean(struct table *t, uint32_t page)
{
	if (page < t->cap)
		t->dirty[page / WORD_PAGES] &= ~(1ull << (page % WORD_PAGES));
}

void table_mark(struct table *t, uint32_t page)
{
	if (page < t->cap)
		mark_dirty(t, page);
}
