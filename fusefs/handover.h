// SPDX-License-Identifier: Apache-2.0
// Locking a mounted vault: what one engine leaves to the next, so that the kernel's inode numbers,
// open files and working directories stay valid. Numbers and places only, no name, no attribute.
// Nobody else uses the engine during these calls.
#ifndef WARDFS_FUSEFS_HANDOVER_H
#define WARDFS_FUSEFS_HANDOVER_H

#include <stddef.h>
#include <stdint.h>

#include "fusefs/fs.h"

// A node that the kernel refers to, or a directory above one (lookups 0).
struct handover_node {
	uint64_t number, incarnation;
	uint64_t parent; // the directory of its home entry
	uint64_t place;  // of that entry
	uint64_t lookups;
	uint64_t type; // enum object_type
};

// Makes everything durable with a checkpoint, gives open files without a name a place where the
// next engine finds them, and lists what the kernel refers to, directories before what is in them,
// without the root. *ret: malloc'd. On failure the engine goes on as before. Afterwards only
// fs_take_over (the same engine goes on after all) or fs_abandon.
int fs_hand_over(struct fs *fs, struct handover_node **ret, size_t *ret_len) WARN_UNUSED;

// After fs_open with params.taking_over: brings the nodes back with their look-up counts. Those
// that are not there any more, or are something else now, are left out and counted: requests for
// them get WERR_STALE. Ends what fs_hand_over prepared.
int fs_take_over(struct fs *fs, const struct handover_node *nodes, size_t len,
		 size_t *ret_lost) WARN_UNUSED;

// Calls fn with each name in a directory whose node the kernel refers to.
int fs_known_names(struct fs *fs, uint64_t dir, void (*fn)(void *arg, const char *name),
		   void *arg) WARN_UNUSED;

// The numbers of all nodes that the kernel refers to: malloc'd.
int fs_known_nodes(struct fs *fs, uint64_t **ret, size_t *ret_len) WARN_UNUSED;

#endif
