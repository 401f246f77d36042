// SPDX-License-Identifier: Apache-2.0
// Verifying a whole vault: every page of every object, the tables, the counts, the journal, the
// header copies and the host's folders. wardfs-check(1). Reads only; what repairs is repair.h.
//
// Use: fs_open with `salvage` in its parameters (so that damage in the directories that the engine
// itself needs is read around), fs_check, fs_close. A vault that was not closed cleanly is judged
// as its replay makes it, in memory, when it was opened read-only. fs_check may run beside other
// operations of a mounted fs: it holds one node's lock at a time, for at most a mebibyte of
// content.
//
// Memory: 16 bytes for each object, about 100 for each file with several names, about 150 for each
// directory that was seen but not read yet, and 2 MiB.
#ifndef WARDFS_FUSEFS_CHECK_H
#define WARDFS_FUSEFS_CHECK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/werr.h"

struct fs;
struct salvage;

enum check_kind {
	CHECK_NONE,
	CHECK_HEADER_COPY,    // one of the two vault header files is missing or damaged
	CHECK_HEADER_BEHIND,  // one of them is authentic, but older
	CHECK_JOURNAL,        // of a clean vault: without effect, made anew
	CHECK_JOURNAL_TORN,   // one superblock, and the other one is enough
	CHECK_JOURNAL_LOST,   // of a vault that was not closed cleanly: cannot be replayed
	CHECK_VAULT_ROLLBACK, // header, root and journal are not of one time
	CHECK_FOREIGN,        // a host file that is no part of the vault
	CHECK_FOLDER,         // a host folder that cannot be listed, or is none
	CHECK_UNNAMED,        // an authentic object that no table names
	CHECK_UNNAMED_JUNK,   // an object's name, nothing authentic in it, no table names it
	CHECK_MISSING,        // an object's host file is not there
	CHECK_NOT_PLAIN,      // it is a link, FIFO, directory …, or has several host names
	CHECK_OBJECT_HEADER,  // its header page does not open
	CHECK_SWAPPED,        // another object's header stands in its place
	CHECK_OLD,            // older than its directory allows
	CHECK_NEWER,          // newer than its directory or the vault header knows
	CHECK_NODE_PAGE,      // a page of seals does not open: what it covers cannot be read
	CHECK_DATA_PAGE,      // a page of content does not open
	CHECK_XATTR_PAGE,     // extended attributes do not open
	CHECK_TABLE_PAGE,     // a page of a directory does not open, or is not canonical
	CHECK_BOUNDS,         // pages behind the end of the content
	CHECK_ATTRIBUTES,     // size, pages or flags of the entry are not those of the object
	CHECK_LINK_COUNT,
	CHECK_LINK_LOST,   // a name whose file is not in the links directory
	CHECK_NAMED_TWICE, // two home entries for one object, or one name twice in a directory
	CHECK_ROOT_ENTRIES,
	CHECK_READ_ERROR, // the host could not read; nothing is said about the content
	CHECK_KINDS,
};

enum check_severity {
	CHECK_NOTE,     // without effect on what the vault holds
	CHECK_DAMAGE,   // by accident or on purpose: the two look the same
	CHECK_TAMPERED, // authentic bytes in a place or at a time where they do not belong
};

// The stable machine-readable word ("data-page"), what it means in a sentence, what a repair does
// about it. Never NULL for a kind below CHECK_KINDS.
const char *check_word(enum check_kind kind);
const char *check_meaning(enum check_kind kind);
const char *check_remedy(enum check_kind kind);
enum check_severity check_severity(enum check_kind kind);
// Whether repairing it gives something up for good.
bool check_loses(enum check_kind kind);

struct check_finding {
	enum check_kind kind;
	uint64_t number;        // of the object; 0: none
	const char *path;       // in the vault, plaintext; NULL: not known
	const char *host;       // name on the host, untrusted bytes; NULL: an object's
	uint64_t first, count;  // pages of content concerned, where the kind speaks of pages
	uint64_t found, wanted; // of counts and sizes
};

struct check_progress {
	uint64_t objects, objects_expected; // expected: host files at the start, about
	uint64_t bytes;                     // of ciphertext read so far
	double share;                       // 0 to 1
};

struct check_totals {
	uint64_t objects, directories, names;
	uint64_t bytes; // of ciphertext read
	uint64_t notes, damages, tampered;
	uint64_t kinds[CHECK_KINDS];
};

struct check_params {
	unsigned threads;  // that read content: 1 to 8; 0: 2
	bool live;         // others use fs meanwhile
	_Atomic int *stop; // set by anybody: ends with WERR_INTERRUPTED; may be NULL
	// Each finding, one call at a time, from any of the threads; must not call back. Pointers
	// are valid during the call.
	void (*found)(void *arg, const struct check_finding *f);
	// Now and then, from the calling thread. May be NULL.
	void (*progress)(void *arg, const struct check_progress *p);
	void *arg;
	struct check_plan *plan; // what a repair needs to know; NULL: none is planned
};

// 0 when all could be looked at, whatever was found. WERR_INTERRUPTED, WERR_NOMEM, WERR_MFILE.
// *ret is filled in any case.
int fs_check(struct fs *fs, const struct check_params *params,
	     struct check_totals *ret) WARN_UNUSED;

#endif
