// SPDX-License-Identifier: Apache-2.0
// A simulated directory: names, and the changes of names that are not durable (simhost.h says what
// it means). Not thread-safe.
#ifndef WARDFS_TESTS_SIMDIR_H
#define WARDFS_TESTS_SIMDIR_H

#include <stdint.h>

#include "tests/crash/simfile.h"

#define SIMDIR_BUCKETS 64

struct simname {
	struct simname *chain;
	struct simfile *now;     // NULL: no such name
	struct simfile *durable; // NULL: no such name
	unsigned changes;        // unflushed ones
	// While a clone is made:
	struct simfile *survives;
	int frozen;
	char text[];
};

// One change, of a name or (rename) of two at once: what they are afterwards.
struct simchange {
	struct simname *name[2];
	struct simfile *file[2];
};

struct simdir {
	int durable; // its own name
	struct simname *buckets[SIMDIR_BUCKETS];
	struct simchange *changes; // since the last sync, in their order
	size_t changes_len, changes_cap;
};

struct simdir *simdir_new(void);
void simdir_free(struct simdir *d);
// The file under a name, or NULL.
struct simfile *simdir_find(const struct simdir *d, const char *text);
// Makes a name stand for a file, or for nothing (NULL).
void simdir_set(struct simdir *d, const char *text, struct simfile *file);
void simdir_rename(struct simdir *d, const char *from, const char *to);
void simdir_sync(struct simdir *d);
uint64_t simdir_unflushed(const struct simdir *d);

// Copies with history; every file's copy hangs on its `copy` (made here when NULL).
struct simdir *simdir_clone(struct simdir *d);
// What a cut leaves: choose(arg) says for each change whether it happened; copy(arg, file) yields
// the surviving file.
struct simdir *simdir_clone_cut(struct simdir *d, int (*choose)(void *arg),
				struct simfile *(*copy)(void *arg, struct simfile *f), void *arg);
// Clears every file's `copy`.
void simdir_forget_copies(struct simdir *d);

#endif
