// SPDX-License-Identifier: Apache-2.0
// One object as the host has it (with the images of a replayed journal over it), read without the
// node table and without believing anything. For check and repair. Thread-safe per struct.
#ifndef WARDFS_FUSEFS_INSPECT_H
#define WARDFS_FUSEFS_INSPECT_H

#include "fusefs/check.h"
#include "fusefs/engine.h"

struct inspected {
	struct object_id id; // type 0: not known
	struct object_keys *keys;
	struct object_header h;
};

// What a home entry allows; number 0 … see inspect_open.
struct expected {
	uint64_t number;
	uint64_t incarnation; // 0: any
	uint8_t type;         // 0: any
	uint64_t generation;  // least; exactly it where nobody writes; 0: any
	uint32_t epoch;       // least
};

// Opens the header. 0 with *ret filled (release with inspect_close), a positive enum check_kind for
// what is wrong, or a negative code: WERR_NOMEM, WERR_MFILE.
int inspect_open(struct fs *fs, const struct expected *want, struct inspected *ret) WARN_UNUSED;
void inspect_close(struct inspected *in);

struct inspect_calls {
	// Good content pages when wanted (may be NULL): plaintext, valid during the call.
	int (*page)(void *arg, uint64_t index, const uint8_t *plain);
	// What cannot be read: pages [first, first + count) of content, or of attributes.
	int (*bad)(void *arg, enum check_kind kind, uint64_t first, uint64_t count);
	// Host pages read since the last call; a non-zero return ends with it. May be NULL.
	int (*step)(void *arg, unsigned pages, uint64_t index);
	void *arg;
};
#define INSPECT_PAGES 128u // at most so many in one host read

// Every page that the header leads to. *ret_pages: pages of content that are no holes and whose
// seal could be read. buf: INSPECT_PAGES pages, scratch, wiped afterwards. Returns what a call
// returned, WERR_NOMEM, or 0.
int inspect_pages(struct fs *fs, const struct inspected *in, const struct inspect_calls *calls,
		  uint8_t *buf, uint64_t *ret_pages) WARN_UNUSED;

#endif
