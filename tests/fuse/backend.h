// SPDX-License-Identifier: Apache-2.0
// What test_ops runs over: the engine on a temporary vault, or the in-memory fake.
#ifndef WARDFS_TESTS_FUSE_BACKEND_H
#define WARDFS_TESTS_FUSE_BACKEND_H

#include "fusefs/fs.h"

struct fs *backend_open(void);
void backend_close(struct fs *fs);
extern const char *const backend_name;

// The engine only: ends as a kill would, and opens the vault again.
// lock_fd: of whoever has the vault's lock meanwhile (the caller's), or -1.
struct fs *backend_reopen(struct fs *fs, int taking_over, int lock_fd);
struct host *backend_host(void);

#endif
