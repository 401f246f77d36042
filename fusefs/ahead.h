// SPDX-License-Identifier: Apache-2.0
// Asking the host for the headers of the files that will probably be read next. A hint: nothing is
// kept, nothing fails, nothing of it is in the format.
#ifndef WARDFS_FUSEFS_AHEAD_H
#define WARDFS_FUSEFS_AHEAD_H

#include "fusefs/engine.h"

// Before n, whose content is not in memory, is loaded: decides what fs_read_ahead of this thread
// asks for. n->lock is not held.
void ahead_of(struct fs *fs, struct node *n);

#endif
