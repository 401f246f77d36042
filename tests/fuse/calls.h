// SPDX-License-Identifier: Apache-2.0
// One call per operation for the tests over a backend. There is one peer; every failure ends the
// test.
#ifndef WARDFS_TESTS_FUSE_CALLS_H
#define WARDFS_TESTS_FUSE_CALLS_H

#include "tests/fuse/backend.h"
#include "tests/fuse/harness.h"

extern struct peer peer;
extern struct fs *backend;

// The fixture: a fresh backend with a server on it.
void calls_setup(void);
void calls_teardown(void);

// Ends the test unless the reply has this errno.
void call_expect(struct reply r, int err);
struct fuse_entry_out call_entry(struct reply r);
struct fuse_attr call_attr(struct reply r);

struct reply call_mknod(uint64_t parent, const char *name, uint32_t mode, uint32_t umask_);
uint64_t call_make_file(uint64_t parent, const char *name, uint32_t mode);
struct reply call_mkdir(uint64_t parent, const char *name, uint32_t mode, uint32_t umask_);
struct reply call_lookup(uint64_t parent, const char *name);
struct fuse_attr call_getattr(uint64_t ino);
// Until nothing is left of what was forgotten: what is asked behind a FORGET may be answered before
// that has been dealt with.
void call_await_gone(uint64_t ino);
struct reply call_setattr(uint64_t ino, struct fuse_setattr_in in);
struct reply call_write(uint64_t ino, uint64_t off, const void *data, uint32_t len, uint32_t flags);
struct reply call_read(uint64_t ino, uint64_t off, uint32_t len);
struct reply call_setxattr(uint64_t ino, const char *name, const void *value, uint32_t len,
			   uint32_t flags, uint32_t ext);
struct reply call_getxattr(uint64_t ino, const char *name, uint32_t size);
// Two strings behind the argument structure.
struct reply call_two_names(uint32_t opcode, uint64_t ino, const void *arg, size_t len,
			    const char *one, const char *two);
struct reply call_rename(uint64_t from, const char *name, uint64_t to, const char *new_name,
			 uint32_t flags);

#endif
