// SPDX-License-Identifier: Apache-2.0
// What check and repair remember: which objects were named, which files have several names. Not
// thread-safe: for the thread that walks.
#ifndef WARDFS_FUSEFS_CHECKSET_H
#define WARDFS_FUSEFS_CHECKSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/table_page.h"
#include "crypto/werr.h"

// A set of object numbers. Zero-initialized: empty.
struct numberset {
	uint64_t *slots; // 0: free
	size_t cap, len;
};
// 0, WERR_EXISTS, WERR_NOMEM. number is not 0.
int numberset_add(struct numberset *s, uint64_t number) WARN_UNUSED;
bool numberset_has(const struct numberset *s, uint64_t number);
void numberset_remove(struct numberset *s, uint64_t number);
void numberset_clear(struct numberset *s);

// A file with several names: its home entry in the links directory, and the names found so far.
struct linked {
	uint64_t number, incarnation;
	uint64_t generation;
	uint64_t size, pages, flags;
	uint32_t epoch, nlink;
	uint32_t names;
	uint16_t target_len;
	uint8_t type;
	bool home; // its home entry was seen
};
struct linkset {
	struct linked *slots; // number 0: free
	size_t cap, len;
};
// The entry of this number, made (all zero but the number) where it is missing; NULL: no memory.
// Valid until the next call.
struct linked *linkset_get(struct linkset *s, uint64_t number);
struct linked *linkset_find(const struct linkset *s, uint64_t number); // NULL: not there
void linkset_clear(struct linkset *s);

#endif
