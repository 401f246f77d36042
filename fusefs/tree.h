// SPDX-License-Identifier: Apache-2.0
// The seals of one object's content pages: 80 direct ones and five indirect trees of fan-out 128, nodes loaded on demand
// through a callback. wardfs-vault(5), "Positions" and "Object header". No keys, no host I/O of its own. Not thread-safe for changes: the node's lock
// guards it; but tree_get on pages whose nodes are in memory may run in several threads at once (shared lock).
#ifndef WARDFS_FUSEFS_TREE_H
#define WARDFS_FUSEFS_TREE_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/object_header.h"
#include "crypto/seal.h"
#include "crypto/werr.h"

#define TREE_PAGES_MAX (80ull + 128 + (1ull << 14) + (1ull << 21) + (1ull << 28) + (1ull << 35))

struct tree;

// Reads, opens and checks a node page: level 1..5, first index, host position, its seal; fills 128 seals. Called with the lock held.
typedef int (*tree_load_fn)(void *arg, unsigned level, uint64_t first, uint64_t position,
			    const struct seal *seal, struct seal out[static SEALS_PER_NODE]);

int tree_new(tree_load_fn load, void *arg, struct tree **ret) WARN_UNUSED;
void tree_free(struct tree *t);
// From a decoded header (layout tree).
void tree_load_roots(struct tree *t, const struct seal direct[static OBJECT_DIRECT],
		     const struct seal roots[static OBJECT_ROOTS]);
// Into a header.
void tree_store_roots(const struct tree *t, struct seal direct[static OBJECT_DIRECT],
		      struct seal roots[static OBJECT_ROOTS]);

// Host position (page number in the object's file) of content page `index`; of the xattr pages: 210 + i.
uint64_t tree_position(uint64_t index);
// One more than the highest host position that content pages [0, pages) and their nodes occupy (for trimming the host file).
uint64_t tree_extent(uint64_t pages);

// The seal of a page (a hole for an absent node). Loads nodes as needed (changes the cache only).
int tree_get(struct tree *t, uint64_t index, struct seal *ret) WARN_UNUSED;
// Seals of [index, index + n): fills out[n].
int tree_get_range(struct tree *t, uint64_t index, size_t n, struct seal *out) WARN_UNUSED;
// Makes every node for [index, index + n) present in memory (loading or creating), so that tree_set cannot fail.
int tree_prepare(struct tree *t, uint64_t index, size_t n) WARN_UNUSED;
// Sets a seal (prepared before: never fails). Marks nodes on the path dirty. Returns +1, 0 or -1: the change in allocated pages.
int tree_set(struct tree *t, uint64_t index, const struct seal *seal);
// All seals in [from, to) become holes. Whole subtrees are dropped without being loaded when `count_dropped` is NULL or the caller accepts loading: with
// count_dropped the number of allocated pages that went away is returned exactly (loads what it must).
int tree_drop(struct tree *t, uint64_t from, uint64_t to, uint64_t *count_dropped) WARN_UNUSED;
// The first index >= from that holds data (hole = 0) or is a hole (hole = 1); to = limit: returns limit when there is none. Skips absent subtrees
// without walking them.
int tree_seek(struct tree *t, uint64_t from, uint64_t limit, int hole, uint64_t *ret) WARN_UNUSED;

// Sealing for a checkpoint, bottom-up: calls fn for each dirty node (children before parents) with its 128 seals; fn writes the new seal of the node into
// *ret_seal, and the tree stores it in the parent. A node whose 128 seals are all holes is not sealed: it becomes a hole and is dropped.
// `fresh` says that this node's position was never referred to by a checkpoint (no image needed). Afterwards nothing is dirty.
typedef int (*tree_seal_fn)(void *arg, unsigned level, uint64_t first, uint64_t position,
			    const struct seal seals[static SEALS_PER_NODE], int fresh,
			    struct seal *ret_seal);
int tree_seal(struct tree *t, tree_seal_fn fn, void *arg) WARN_UNUSED;
int tree_is_dirty(const struct tree *t);

// Memory: bytes held by nodes; and dropping clean nodes (they load again).
size_t tree_memory(const struct tree *t);
size_t tree_dirty_memory(const struct tree *t);
void tree_shrink(struct tree *t);

#endif
