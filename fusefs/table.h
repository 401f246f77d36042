// SPDX-License-Identifier: Apache-2.0
// A directory in memory: its table pages (encoded, as they get sealed), a free-space map and an
// index by name. No I/O, no keys. wardfs-vault(5), "Directories". The const functions write nothing
// and may run in several threads at once; for the others the directory's lock guards it. Names are
// indexed with SipHash-2-4 under a random key of this table (drawn with rng_bytes), so that names
// cannot be chosen to collide.
#ifndef WARDFS_FUSEFS_TABLE_H
#define WARDFS_FUSEFS_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/table_page.h"
#include "crypto/werr.h"

// Pages of a table are below this: a place fits into 32 bits.
#define TABLE_PAGES_MAX (1u << 26)

struct table;

// Where an entry stands: page * 64 + slot. Stable as long as the entry exists. readdir cookie = 3 +
// place.
typedef uint64_t table_place;
static inline uint32_t table_place_page(table_place p)
{
	return (uint32_t)(p >> 6);
}
static inline uint16_t table_place_slot(table_place p)
{
	return (uint16_t)(p & 63);
}
static inline table_place table_place_make(uint32_t page, uint16_t slot)
{
	return (table_place)page << 6 | slot;
}

// WERR_NOMEM.
int table_new(struct table **ret) WARN_UNUSED;
void table_free(struct table *t); // wipes the pages

// Loading: page i := 4096 bytes (copied; not dirty). Pages not loaded are empty. On failure the
// table is as before. WERR_MALFORMED: the page is not canonical, has no entry (such a page is a
// hole), or a name stands twice in the table. WERR_EXISTS: the page has entries already.
// WERR_LIMIT, WERR_NOMEM.
int table_load_page(struct table *t, uint32_t page, const uint8_t *bytes) WARN_UNUSED;
uint32_t table_pages(const struct table *t); // 1 + the highest page with an entry, 0 if none
// The encoded page, for sealing; NULL when the page is empty (a hole).
const uint8_t *table_page_bytes(const struct table *t, uint32_t page);

uint64_t table_count(const struct table *t); // entries
size_t table_memory(const struct table *t);  // bytes of heap

// Looks a name up: *ret decoded (pointers into the page, valid until the next change).
// WERR_NOTFOUND.
int table_find(const struct table *t, const uint8_t *name, size_t name_len, table_place *ret_place,
	       struct entry *ret) WARN_UNUSED;
// The entry at a place. WERR_NOTFOUND.
int table_get(const struct table *t, table_place place, struct entry *ret) WARN_UNUSED;
// The entry's encoded bytes (for the journal), NULL when empty. Valid until the next change.
const uint8_t *table_get_bytes(const struct table *t, table_place place, size_t *ret_len);

// Where an entry of this encoded size (1..ENTRY_BYTES_MAX) would go: next-fit, so that creation
// order keeps to the end of the table, and once more than a quarter of the table is free it is
// filled again. Changes no entry: the next call answers the same until a table_put. The page may be
// new. One table_put to that place does not fail for memory afterwards. WERR_NOMEM, WERR_LIMIT.
int table_reserve(struct table *t, size_t entry_len, table_place *ret) WARN_UNUSED;
// Puts an encoded entry at a place (replacing, or empty for removal with len 0; removing what is
// not there is 0); marks the page dirty. entry does not point into this table. A removal never
// fails within bounds, and putting back the one or two entries removed last does not fail for
// memory. On failure nothing changes. WERR_NOSPACE: does not fit into that page. WERR_EXISTS:
// another place holds the same name. WERR_MALFORMED: not an entry. WERR_LIMIT: no such place.
// WERR_NOMEM.
int table_put(struct table *t, table_place place, const uint8_t *entry, size_t len) WARN_UNUSED;
// In place; marks dirty. The entry must be a home entry (WERR_NOTFOUND otherwise). WERR_INVALID:
// such attributes cannot be encoded; unchanged.
int table_set_attr(struct table *t, table_place place, const struct ward_attr *a) WARN_UNUSED;
int table_set_bound(struct table *t, table_place place, uint64_t generation,
		    uint32_t epoch) WARN_UNUSED;

// Iterates: the first entry at or after place `from`; WERR_NOTFOUND at the end. Places of other
// entries do not move when entries come and go in between.
int table_next(const struct table *t, table_place from, table_place *ret_place,
	       struct entry *ret) WARN_UNUSED;
// Finds the home entry of an object by number (linear: repair and replay only). WERR_NOTFOUND.
int table_find_number(const struct table *t, uint64_t number, table_place *ret_place,
		      struct entry *ret) WARN_UNUSED;

// Dirty pages: the lowest dirty page at or after `from`, or UINT32_MAX; and clearing the mark. A
// page that was emptied is dirty too, at or behind table_pages() even: its seal has to become a
// hole.
uint32_t table_next_dirty(const struct table *t, uint32_t from);
void table_clean(struct table *t, uint32_t page);
// The page (with an entry) has to be sealed again as it is.
void table_mark(struct table *t, uint32_t page);

#endif
