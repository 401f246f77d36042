// SPDX-License-Identifier: Apache-2.0
// Private to the check: check.c (walk, threads), check_dir.c (one directory), check_object.c (one
// file), check_host.c (what is around the objects), check_words.c.
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
	// On a mounted vault: where its entry stands, or the node itself (with a look-up) where the
	// entry is a link. Both referenced.
	struct node *home, *node;
	table_place place;
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
	bool again; // a further walk, for what the first one missed
	uint64_t shown_ms;
	uint8_t name_key[DIRINDEX_KEY_BYTES];
};

// What one thread works with.
struct bench {
	struct check *c;
	struct inspected *in;
	uint8_t *buf; // INSPECT_PAGES pages
	const struct job *job;
	// findings of pages, joined while they follow each other
	enum check_kind kind;
	uint64_t first, count;
	bool any_bad;
	// While a node is locked nothing is told: whoever listens may be slow.
	bool hold;
	struct check_finding held[INSPECT_PAGES];
	size_t held_len;
	bool walks; // the thread that shows progress
};

// --- check.c ---
void check_report(struct check *c, const struct check_finding *f);
void check_object_report(struct check *c, const struct job *j, enum check_kind kind);
// Whether it is to end; shows progress where the thread does.
int check_step(struct bench *b, unsigned pages) WARN_UNUSED;

// Hands a file out to whoever reads content; the job is taken over.
void check_hand_out(struct bench *b, struct job *j);

// --- check_dir.c ---
// One directory; what it names is handed out, or put on the list of directories to read.
int check_dir(struct bench *b, const struct job *dir) WARN_UNUSED;
// The content of a file of the links directory; the path is taken over.
void check_linked(struct bench *b, const struct linked *l, char *path);

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

// --- check_live.c ---
// The node of a job on a mounted vault, referenced; *ret NULL: its name is gone meanwhile.
int check_live_open(struct check *c, const struct job *j, struct node **ret) WARN_UNUSED;
// Gives back what a job holds.
void check_job_clear(struct check *c, struct job *j);

// --- check_host.c ---
int check_headers(struct check *c) WARN_UNUSED;
int check_journal(struct check *c) WARN_UNUSED;
// Counts the host's object files, about.
int check_count(struct check *c) WARN_UNUSED;
// What the host has that nothing names. `tell` false: only counts into *ret_unnamed what a walk
// beside others' renames may have missed.
int check_folders(struct bench *b, bool tell, uint64_t *ret_unnamed) WARN_UNUSED;

#endif
