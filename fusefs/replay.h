// SPDX-License-Identifier: Apache-2.0
// Private to the replay: images.c, replay_pages.c (what the log says of content pages),
// replay_log.c (the records), replay_find.c (what is not where it should be), replay.c (names,
// attributes, order).
// wardfs-vault(5), "Replay"; STORAGE.md sections 1 and 2.
#ifndef WARDFS_FUSEFS_REPLAY_H
#define WARDFS_FUSEFS_REPLAY_H

#include "fusefs/engine.h"

int image_add(struct image_map *m, const struct assignment *a) WARN_UNUSED;
// An empty map; NULL: no memory.
struct image_map *image_map_new(void);

// Assignments of content to a loaded node.
int replay_inline(struct node *n, const struct assignment *a) WARN_UNUSED;
int replay_xattr(struct node *n, const struct assignment *a) WARN_UNUSED;
int replay_pages_tree(struct fs *fs, struct node *n) WARN_UNUSED; // inline content becomes page 0
int replay_pages_run(struct node *n, const struct assignment *a) WARN_UNUSED;
int replay_pages_image(struct node *n, const struct assignment *a) WARN_UNUSED;
int replay_pages_drop(struct fs *fs, struct node *n, const struct assignment *a) WARN_UNUSED;
void replay_pages_settled(struct node *n, const struct assignment *a);
// The end: candidates are compared with the host, what lies beyond the size goes, allocated pages
// are counted.
int replay_pages_finish(struct fs *fs, struct node *n) WARN_UNUSED;

// A record after S.
struct payload {
	uint64_t sequence;
	size_t len;
	uint8_t *bytes;
};

struct touched {
	struct node *n;
	bool home_known;
	bool attr_known; // the log said its attributes
	bool unnamed;    // its entry went away
	bool lost;       // it, or where it stands, cannot be read: it is left alone
};

struct replay {
	struct fs *fs;
	struct payload *payloads;
	size_t payloads_len, payloads_cap;
	struct touched *touched;
	size_t touched_len, touched_cap;
	uint64_t generation; // of the base state: nothing authentic in it is newer
	uint64_t root_generation;
	uint32_t images; // IMAGE assignments seen since the last CHECKPOINT
	struct image_map *map;
};

// replay_log.c: a journal_replay callback (arg: the replay) that keeps the records, and the images
// of the last checkpoint; and the end of the records up to a sequence.
int replay_collect(void *arg, uint64_t sequence, const uint8_t *payload, size_t len) WARN_UNUSED;
void replay_forget(struct replay *rp, uint64_t through);

// replay_find.c: looks for the home entry of an object in every directory that `load` can load.
// *ret_dir is referenced; WERR_NOTFOUND, WERR_NOMEM.
typedef int (*replay_load_fn)(void *arg, struct node *dir);
int replay_search(struct fs *fs, uint64_t number, uint64_t incarnation, replay_load_fn load,
		  void *arg, struct node **ret_dir, table_place *ret_place,
		  struct entry *ret) WARN_UNUSED;
// The first home entry that a record gives this object; it points into the payload. WERR_NOTFOUND.
int replay_named(const struct payload *payloads, size_t len, const struct objref *ref,
		 struct entry *ret) WARN_UNUSED;

#endif
