// SPDX-License-Identifier: Apache-2.0
// The seals of one object's content pages: 80 direct ones and five indirect trees of fan-out 128,
// nodes loaded on demand through a callback. wardfs-vault(5), "Positions" and "Object header". No
// keys, no host I/O of its own. The node's lock guards it: tree_get, tree_get_range, tree_missing
// and tree_memory may run in several threads at once (shared lock), all others alone (exclusive
// lock).
#ifndef WARDFS_FUSEFS_TREE_H
#define WARDFS_FUSEFS_TREE_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/object_header.h"
#include "crypto/seal.h"
#include "crypto/werr.h"

#define TREE_PAGES_MAX (80ull + 128 + (1ull << 14) + (1ull << 21) + (1ull << 28) + (1ull << 35))

struct tree;

// Reads, opens and checks a node page: level 1..5, first index, host position, its seal; fills 128
// seals. Called with the lock as the caller of the tree holds it, in several threads at once as
// tree_get is, perhaps for the same node. The tree checks the seals' form and refuses a node of
// holes only (WERR_MALFORMED): such a node is written as a hole.
typedef int (*tree_load_fn)(void *arg, unsigned level, uint64_t first, uint64_t position,
			    const struct seal *seal, struct seal out[static SEALS_PER_NODE]);

// WERR_NOMEM. An empty tree: every page is a hole and every node fresh.
int tree_new(tree_load_fn load, void *arg, struct tree **ret) WARN_UNUSED;
void tree_free(struct tree *t);
// From a decoded header (layout tree); forgets all nodes in memory. Call tree_forget_reference
// after it with the header's size in pages, where host pages behind the size are known to be
// unreferenced: without it every node below a present root counts as referred to.
void tree_load_roots(struct tree *t, const struct seal direct[static OBJECT_DIRECT],
		     const struct seal roots[static OBJECT_ROOTS]);
// Into a header. The roots are right only while nothing is dirty (right after tree_seal).
void tree_store_roots(const struct tree *t, struct seal direct[static OBJECT_DIRECT],
		      struct seal roots[static OBJECT_ROOTS]);
// No completed checkpoint refers to a node whose first page is at or behind `pages` (the truncation
// to `pages` is in a completed checkpoint, and nothing behind was sealed since): such nodes are
// fresh again.
void tree_forget_reference(struct tree *t, uint64_t pages);

// Host position (page number in the object's file) of content page `index` < TREE_PAGES_MAX; the
// xattr pages stand at 210 + i.
uint64_t tree_position(uint64_t index);
// One more than the highest host position that content pages [0, pages) and their nodes occupy (for
// trimming the host file); xattr pages are the caller's matter. pages is clamped to TREE_PAGES_MAX.
uint64_t tree_extent(uint64_t pages);

// The seal of a page (a hole for an absent node). Loads nodes as needed (changes the cache only).
// WERR_FBIG at TREE_PAGES_MAX and beyond; otherwise only the loader's errors and WERR_NOMEM.
int tree_get(struct tree *t, uint64_t index, struct seal *ret) WARN_UNUSED;
// Seals of [index, index + n): fills out[n]; on failure a part of it.
int tree_get_range(struct tree *t, uint64_t index, size_t n, struct seal *out) WARN_UNUSED;
// Host positions of the node pages that tree_get(index) would load, the uppermost first, as far as
// can be known before they are there: 0..OBJECT_ROOTS of them. For reading ahead.
unsigned tree_missing(const struct tree *t, uint64_t index, uint64_t ret[static OBJECT_ROOTS]);
// Makes every node for [index, index + n) present in memory (loading or creating), so that tree_set
// cannot fail. Holds until the next tree_seal, tree_shrink, tree_drop, tree_seek or
// tree_load_roots. On failure the tree's contents are as before. WERR_FBIG beyond TREE_PAGES_MAX.
int tree_prepare(struct tree *t, uint64_t index, size_t n) WARN_UNUSED;
// Sets a seal (prepared before: never fails). Marks nodes on the path dirty, unless the page has
// this seal already. Returns +1, 0 or -1: the change in allocated pages.
int tree_set(struct tree *t, uint64_t index, const struct seal *seal);
// All seals in [from, to) become holes; `to` may be UINT64_MAX. Subtrees inside the range are
// dropped without being loaded when `count_dropped` is NULL; else they are read once and not kept,
// and *count_dropped is the exact number of allocated pages that went away. On failure (loader,
// WERR_NOMEM) nothing is dropped and *count_dropped is untouched.
int tree_drop(struct tree *t, uint64_t from, uint64_t to, uint64_t *count_dropped) WARN_UNUSED;
// The first index >= from that holds data (hole = 0) or is a hole (hole = 1); to = limit: returns
// limit when there is none. Skips absent subtrees without walking them. May shrink the tree on a
// long way.
int tree_seek(struct tree *t, uint64_t from, uint64_t limit, int hole, uint64_t *ret) WARN_UNUSED;

// Sealing for a checkpoint, bottom-up: calls fn for each dirty node (children before parents) with
// its 128 seals; fn writes the new seal of the node into *ret_seal (not a hole: WERR_INTERNAL), and
// the tree stores it in the parent. A node whose 128 seals are all holes is not sealed: it becomes
// a hole and is dropped. `fresh` says that this node's position was never referred to by a
// checkpoint (no image needed); in doubt it is 0. Afterwards nothing is dirty. When fn fails,
// everything that was dirty still is, and the next call seals all of it again: what fn kept of this
// call is void.
typedef int (*tree_seal_fn)(void *arg, unsigned level, uint64_t first, uint64_t position,
			    const struct seal seals[static SEALS_PER_NODE], int fresh,
			    struct seal *ret_seal);
int tree_seal(struct tree *t, tree_seal_fn fn, void *arg) WARN_UNUSED;
// What the last tree_seal gave out reaches no host: every node in memory is dirty again.
void tree_mark_all(struct tree *t);
// What the last tree_seal gave out stands at its places. Until then they hold what was before, so
// the nodes that it sealed stay in memory.
void tree_placed(struct tree *t);
// Whether any seal, direct ones included, changed since the last tree_load_roots or tree_seal.
int tree_is_dirty(const struct tree *t);

// Memory: bytes of the tree and its nodes; those of dirty nodes; and dropping nodes that are clean
// and at their places (they load again).
size_t tree_memory(const struct tree *t);
size_t tree_dirty_memory(const struct tree *t);
void tree_shrink(struct tree *t);

#endif
