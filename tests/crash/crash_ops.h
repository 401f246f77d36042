// SPDX-License-Identifier: Apache-2.0
// Scripted operations on the engine and its model (tests/model), by path, for the tests that cut
// the power at every host call. Each does nothing when the power is off already.
#ifndef WARDFS_TESTS_CRASH_OPS_H
#define WARDFS_TESTS_CRASH_OPS_H

#include "tests/model/model.h"

struct scenario {
	const char *name;
	void (*prepare)(struct model *m); // with the power on; NULL: nothing
	void (*act)(struct model *m);     // the power goes off at some point of it
};
extern const struct scenario scenarios[];
extern const size_t n_scenarios;

// The node of a path ("a/b/c"; "" is the root); it must be there, unless the power is off: then
// NULL.
struct shape_node *at(struct model *m, const char *path);
void make(struct model *m, const char *path, uint8_t type);
void make_link(struct model *m, const char *path, const char *target);
void put(struct model *m, const char *path, uint64_t off, size_t len);
void sync_path(struct model *m, const char *path);
void resize(struct model *m, const char *path, uint64_t size);
void punch(struct model *m, const char *path, uint64_t off, uint64_t len);
void move(struct model *m, const char *from, const char *to, unsigned flags);
void link_to(struct model *m, const char *from, const char *to);
void discard(struct model *m, const char *path); // unlink or rmdir
void forget(struct model *m, const char *path);
void chmod_path(struct model *m, const char *path, uint32_t mode);
void set_xattr(struct model *m, const char *path, unsigned i, size_t len);
void checkpoint(struct model *m);

// crash_rotate.c
void prepare_rotation(struct model *m);
void rotate_keys(struct model *m);
void rotate_contents(struct model *m);
void rotate_subtree(struct model *m);
void rotate_while_used(struct model *m);
void rotate_moved(struct model *m);
void rekey_while_used(struct model *m);
void rekey_while_rotating(struct model *m);

#endif
