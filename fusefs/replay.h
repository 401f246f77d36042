// SPDX-License-Identifier: Apache-2.0
// Private to the replay: images.c, replay_pages.c (what the log says of content pages), replay.c
// (names, attributes, order). wardfs-vault(5), "Replay"; STORAGE.md sections 1 and 2.
#ifndef WARDFS_FUSEFS_REPLAY_H
#define WARDFS_FUSEFS_REPLAY_H

#include "fusefs/engine.h"

int image_add(struct image_map *m, const struct assignment *a) WARN_UNUSED;
// An empty map; NULL: no memory.
struct image_map *image_map_new(void);

// Assignments of content pages to a loaded node.
int replay_pages_tree(struct fs *fs, struct node *n) WARN_UNUSED; // inline content becomes page 0
int replay_pages_run(struct node *n, const struct assignment *a) WARN_UNUSED;
int replay_pages_image(struct node *n, const struct assignment *a) WARN_UNUSED;
int replay_pages_drop(struct fs *fs, struct node *n, const struct assignment *a) WARN_UNUSED;
void replay_pages_settled(struct node *n, const struct assignment *a);
// The end: candidates are compared with the host, what lies beyond the size goes, allocated pages
// are counted.
int replay_pages_finish(struct fs *fs, struct node *n) WARN_UNUSED;

#endif
