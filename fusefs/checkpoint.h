// SPDX-License-Identifier: Apache-2.0
// Private to the checkpoint: cut.c seals, checkpoint.c writes, complete.c gives back. STORAGE.md
// section 3.
#ifndef WARDFS_FUSEFS_CHECKPOINT_H
#define WARDFS_FUSEFS_CHECKPOINT_H

#include "fusefs/engine.h"

#define CUT_NONCES 64u

// One sealed host page that has to reach its place.
struct job {
	uint64_t position;
	bool fresh; // no durable statement refers to the place
	uint8_t *page;
	uint32_t table_page; // of a directory, that it is; else UINT32_MAX
};

// One node of the cut with its jobs [first, first + count).
struct part {
	struct node *n;
	unsigned depth;
	unsigned flags;
	uint64_t home; // number of its directory, and its place there; 0: orphan, or the root
	table_place place;
	size_t first, count;
	uint64_t placed_end; // what the images know of
	uint64_t size;       // of the content, in the header
	uint16_t newest;     // data key that the header knows
	uint32_t trimmed_epoch;
	uint16_t trimmed_to; // newest data key of the object when `trimmed` was made of its keys
	struct object_keys *trimmed; // keys in the header without those that no page needs, or NULL
	bool sealed;                 // the header was made
	bool skipped;                // orphan, or nothing to store
	bool begun;                  // what follows is as it was before the cut
	bool content;                // something of the object may have been sealed
	uint64_t generation, bound, guard;
	uint32_t bound_epoch;
};

struct unlink_entry {
	struct unlink_entry *next;
	uint64_t number;
	uint64_t incarnation;
};

struct checkpoint {
	uint64_t k;
	uint64_t generation;
	struct journal_mark mark;
	struct part *parts;
	size_t parts_len;
	struct job *jobs;
	size_t jobs_len, jobs_cap;
	struct unlink_entry *unlinks;
	bool listed;    // IMAGES and CHECKPOINT are in the log
	bool described; // and durable
	// cut only
	uint8_t nonces[CUT_NONCES * GCM_NONCE_BYTES];
	unsigned nonces_left;
	struct part *current;
};

// Loads what the cut will need: dirty objects and the directories above them, which are dirty, too,
// and so stay loaded. What cannot be loaded is noted in its node.
void cut_load(struct fs *fs);
// The cut: takes the dirty list and seals everything in it into jobs. commit_lock held; takes cut
// exclusively. After a failure everything is as dirty as it was, and c is to be freed.
int cut_make(struct fs *fs, struct checkpoint *c) WARN_UNUSED;
// Only takes the dirty list and what is to be unlinked. Without `all`, what cannot be stored stays.
int cut_take_dirty(struct fs *fs, struct checkpoint *c, bool all) WARN_UNUSED;
// After the superblock: bookkeeping of every node, host space, unlinks. Frees c.
void complete_checkpoint(struct fs *fs, struct checkpoint *c);
// After the host had no room for c: unlinks what is removed for good, durably, before c is
// complete. Whether anything was (make_room.c).
bool make_room(struct fs *fs, struct checkpoint *c);
// Frees c and the references that it holds.
void complete_free(struct fs *fs, struct checkpoint *c);

#endif
