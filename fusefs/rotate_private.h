// SPDX-License-Identifier: Apache-2.0
// Private to the rotation: rotate.c begins, drives and ends it, rotate_walk.c finds the objects,
// rotate_object.c gives one its new keys, rotate_wipe.c overwrites what the journal has of before.
#ifndef WARDFS_FUSEFS_ROTATE_PRIVATE_H
#define WARDFS_FUSEFS_ROTATE_PRIVATE_H

#include "fusefs/engine.h"
#include "fusefs/rotate.h"

// Work per lock hold, so that nobody waits long behind it.
#define ROTATE_RUN_PAGES 32u
#define ROTATE_RUN_ENTRIES 64u
#define ROTATE_BATCH_OBJECTS 512u // sealed by one checkpoint, at most

struct rotate_frame {
	struct node *dir; // referenced
	table_place next;
};

enum rotate_pass {
	PASS_FIND,  // where the object stands at whose subtree the rotation is aimed
	PASS_COUNT, // how much there is
	PASS_WORK,
};

struct rotation {
	// Of the one thread that works (or the caller, when driven by hand).
	enum rotate_pass pass;
	bool running; // the first pass has begun
	bool resumed; // the first working pass looks at every object: notes of before are lost
	bool wiping;  // all passes are done, and the journal is overwritten
	struct rotate_frame *stack;
	size_t depth, cap;
	struct node *top;  // referenced: where a pass starts; NULL: not found yet
	struct node *file; // referenced: content that is being sealed again; NULL: none
	uint64_t at;       // next page of it
	uint16_t file_key; // data key under which it is sealed
	bool file_bad;     // a page of it could not be read
	uint64_t found;    // of this pass: what had to be done
	unsigned passes;
	unsigned idle;  // passes in a row that found nothing but failures
	unsigned batch; // objects since the last checkpoint
	uint64_t pass_objects, pass_bytes;
	uint64_t window_bytes, window_ms; // for the rate

	pthread_mutex_t lock; // guards all below
	pthread_cond_t cond;
	bool active;        // the vault header says so
	bool found_unnoted; // something moved that could not be queued: another pass is due
	bool paused;        //
	bool taken_over;    // see rotation_go_on
	bool closing;       // the engine ends
	pthread_t thread;
	bool has_thread;
	struct vault_rotation what;
	struct rotate_status status;
	struct node **queue; // referenced: moved since, to be walked once more
	size_t queue_len, queue_cap;
};

// --- rotate_walk.c ---
// One piece of the walk. *ret_end: the stack is empty.
int rotate_walk(struct fs *fs, struct rotation *r, bool *ret_end) WARN_UNUSED;
int rotate_push(struct fs *fs, struct rotation *r, struct node *dir) WARN_UNUSED;
void rotate_unwind(struct fs *fs, struct rotation *r);

// --- rotate_object.c ---
// New keys where they are due; content that has to be sealed again becomes r->file.
int rotate_object(struct fs *fs, struct rotation *r, struct node *n) WARN_UNUSED;
// The next pages of r->file.
int rotate_content(struct fs *fs, struct rotation *r) WARN_UNUSED;

// --- rotate_wipe.c ---
// Whether the journal belongs to this rotation.
bool rotate_wants_wipe(const struct rotation *r);
int rotate_wipe_begin(struct fs *fs, struct rotation *r) WARN_UNUSED;
void rotate_wipe_end(struct fs *fs, struct rotation *r);
// A piece. *ret_done: it was the last one.
int rotate_wipe(struct fs *fs, bool *ret_done) WARN_UNUSED;

// --- rotate.c ---
void rotate_count(struct rotation *r, uint64_t objects, uint64_t bytes);
void rotate_failed(struct rotation *r);

#endif
