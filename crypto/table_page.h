// SPDX-License-Identifier: Apache-2.0
// Directory entries and table pages. wardfs-vault(5), "Directories". Works on the encoded page in
// place: a page in memory is the page that gets sealed. Not thread-safe per page.
#ifndef WARDFS_CRYPTO_TABLE_PAGE_H
#define WARDFS_CRYPTO_TABLE_PAGE_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/object_header.h"
#include "crypto/werr.h"

#define TABLE_SLOTS 60
#define TABLE_HEAP_START 128
#define ENTRY_LINK_FIXED 24
#define ENTRY_HOME_FIXED 136
#define ENTRY_NAME_MAX 255
#define ENTRY_TARGET_MAX 1024
#define ENTRY_BYTES_MAX (ENTRY_HOME_FIXED + ENTRY_NAME_MAX + ENTRY_TARGET_MAX)
#define ATTR_BYTES 96

enum entry_kind {
	ENTRY_HOME = 1, // names the object and holds its attributes and bound
	ENTRY_LINK = 2, // names an object whose home is in the links directory
};
#define ATTR_HAS_OBJECT 1u
#define ATTR_HAS_XATTRS 2u
#define ATTR_FLAGS_ALL 3u

struct ward_time {
	int64_t s;
	uint32_t ns;
};

struct ward_attr {
	uint32_t mode; // permission bits 0..07777; the type stands in the entry
	uint32_t uid;
	uint32_t gid;
	uint32_t nlink;
	uint64_t size;
	uint64_t pages; // allocated content pages
	uint64_t rdev;
	uint64_t flags; // ATTR_*
	struct ward_time atime, mtime, ctime, btime;
};

struct entry {
	uint8_t kind;
	uint8_t type;
	uint8_t name_len;
	const uint8_t *name; // decode: into the page; encode: the caller's
	uint16_t target_len;
	const uint8_t *target;
	uint64_t number;
	uint64_t incarnation;
	struct ward_attr attr; // home only
	uint64_t generation;   // home only: least generation, 0 = no object yet
	uint32_t epoch;        // home only: least epoch
};

// attr_encode writes what it is given; attr_decode refuses what is out of range (WERR_MALFORMED).
void attr_encode(const struct ward_attr *a, uint8_t out[static ATTR_BYTES]);
int attr_decode(const uint8_t in[static ATTR_BYTES], struct ward_attr *ret) WARN_UNUSED;

// Encoded length of an entry; entry_encode writes exactly that. WERR_NOSPACE (cap), WERR_INVALID:
// what entry_decode would refuse; out is then undefined. ENTRY_BYTES_MAX always suffices.
size_t entry_size(const struct entry *e);
int entry_encode(const struct entry *e, uint8_t *out, size_t cap, size_t *ret_len) WARN_UNUSED;
// Decodes strictly len bytes. ret->name and target point into in. WERR_MALFORMED, WERR_TRUNCATED;
// *ret untouched then.
int entry_decode(const uint8_t *in, size_t len, struct entry *ret) WARN_UNUSED;

void table_page_init(uint8_t page[static WARD_PAGE]);
// Full strict check of a page read from disk: WERR_MALFORMED. Every function below requires a page
// that passed it (or came from table_page_init) and keeps it so. Equal names in two slots are the
// caller's to find.
int table_page_check(const uint8_t page[static WARD_PAGE]) WARN_UNUSED;
// Free heap bytes for one more entry (assuming a free slot); 0 when all 60 slots are taken.
size_t table_page_free(const uint8_t page[static WARD_PAGE]);
unsigned table_page_used(const uint8_t page[static WARD_PAGE]); // non-empty slots
// The first empty slot, or -1.
int table_page_free_slot(const uint8_t page[static WARD_PAGE]);
// The encoded entry in a slot; NULL and *ret_len = 0 when empty.
const uint8_t *table_page_slot(const uint8_t page[static WARD_PAGE], unsigned slot,
			       size_t *ret_len);
// slot := entry bytes (replacing what was there; len 0 empties it), which must not lie inside page.
// WERR_NOSPACE, WERR_MALFORMED (entry) and WERR_INVALID (slot) leave the page untouched.
int table_page_put(uint8_t page[static WARD_PAGE], unsigned slot, const uint8_t *entry,
		   size_t len) WARN_UNUSED;
// Overwrites the attributes, or the bound, of a home entry in place; the entry keeps its length.
// WERR_NOTFOUND: empty slot; WERR_INVALID: a link, or attributes that attr_decode would refuse. The
// page is untouched on failure.
int table_page_set_attr(uint8_t page[static WARD_PAGE], unsigned slot,
			const struct ward_attr *a) WARN_UNUSED;
int table_page_set_bound(uint8_t page[static WARD_PAGE], unsigned slot, uint64_t generation,
			 uint32_t epoch) WARN_UNUSED;

#endif
