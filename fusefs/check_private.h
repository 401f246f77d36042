// SPDX-License-Identifier: Apache-2.0
// Private to the check: check.c (walk, threads), check_object.c (one file), check_host.c (what is
// around the objects), check_words.c.
#ifndef WARDFS_FUSEFS_CHECK_PRIVATE_H
#define WARDFS_FUSEFS_CHECK_PRIVATE_H

#include <pthread.h>

#include "fusefs/check.h"
#include "fusefs/checkset.h"
#include "fusefs/dirindex.h"
#include "fusefs/engine.h"
#include "fusefs/inspect.h"
#include "fusefs/plan.h"

// An object that an entry names. What the entry says of it is compared with what it is.
struct job {
	struct expected want;
	uint64_t size, pages, flags;
	uint32_t nlink;
	uint16_t target_len;
	char *path; // owned; NULL: not known
};

struct dir_job {
	struct dir_job *next;
	struct job job;
};

#define JOBS 64u
#define CHECK_THREADS_MAX 8u

struct check {
	struct fs *fs;
	const struct check_params *params;
	struct check_totals *totals;

	pthread_mutex_t lock; // totals, findings, the ring
	pthread_cond_t work, room;
	struct job ring[JOBS];
	unsigned head, count;
	bool ending;
	_Atomic int err; // what ended it
	_Atomic uint64_t bytes, done;
	uint64_t expected; // host files at the start, about

	// the walking thread's
	struct numberset named;
	struct linkset links;
	struct dir_job *dirs;
	uint64_t shown_ms;
	uint8_t name_key[DIRINDEX_KEY_BYTES];
};

// What one thread works with.
struct bench {
	struct check *c;
	struct inspected *in;
	uint8_t *buf; // INSPECT_PAGES pages
	struct job *job;
	// findings of pages, joined while they follow each other
	enum check_kind kind;
	uint64_t first, count;
	bool any_bad;
	bool walks; // the thread that shows progress
};

// --- check.c ---
void check_report(struct check *c, const struct check_finding *f);
void check_object_report(struct check *c, const struct job *j, enum check_kind kind);
// Whether it is to end; shows progress where the thread does.
int check_step(struct bench *b, unsigned pages) WARN_UNUSED;

// --- check_object.c ---
// The inspect_calls of a bench.
int check_bad(void *arg, enum check_kind kind, uint64_t first, uint64_t count);
int check_tick(void *arg, unsigned pages, uint64_t index);
void check_bad_end(struct bench *b);
// One file: its header, its pages, and whether they are what its entry says. Negative: ends the
// check.
int check_file(struct bench *b, struct job *j) WARN_UNUSED;
// The node of an object whose truth is in memory, referenced; NULL: it is on the host.
struct node *check_live_node(struct check *c, uint64_t number);

// --- check_host.c ---
int check_headers(struct check *c) WARN_UNUSED;
int check_journal(struct check *c) WARN_UNUSED;
// Counts the host's object files, about.
int check_count(struct check *c) WARN_UNUSED;
// What the host has that nothing names.
int check_folders(struct bench *b) WARN_UNUSED;

#endif
