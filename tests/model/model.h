// SPDX-License-Identifier: Apache-2.0
// The model test: random operations on the engine and on shape.h at once. Each op_* function makes
// one operation and compares; a difference ends the program (trace_fail).
#ifndef WARDFS_TESTS_MODEL_H
#define WARDFS_TESTS_MODEL_H

#include "tests/model/prng.h"
#include "tests/model/shape.h"
#include "tests/model/world.h"

#define MODEL_STREAMS 3
#define MODEL_NAMES 72
#define MODEL_WIDE_NAMES 700 // in some directories
#define MODEL_LIVE_MAX 600

// A directory that is being read in pieces while it changes.
struct stream_name {
	char *name;
	int expected; // there from the start
	int changed;  // came or went meanwhile: may or may not be seen
	unsigned seen;
};
struct stream {
	uint64_t ino; // 0: not in use
	uint64_t cookie;
	struct stream_name *names;
	size_t n, cap;
};

struct model {
	struct shape shape;
	struct world *world;
	struct fs *fs;
	struct prng rng;
	uint64_t seq; // number of the current operation
	int dark;     // the power went off during an operation: recover before the next one
	int faults;   // host errors were asked for: an operation that answers one ends like one
		      // without power
	uint64_t dark_name_op; // name operations answered when it went off
	// A node whose making was not answered: it may be there under a number that nobody knows.
	struct shape_node *pending, *pending_dir;
	char pending_name[FS_NAME_MAX + 1];
	struct stream streams[MODEL_STREAMS];
	uint8_t *buf, *buf2; // MODEL_BUF bytes each
	uint64_t remounts, kills, cuts, dark_opens, rotations;
};
#define MODEL_BUF (2u << 20)

// Opens the world's vault, which must be new, and begins with an empty model. Takes the world over.
struct model *model_new(struct world *world, uint64_t seed);
void model_free(struct model *m); // closed or abandoned before
// Names of the pool that operations draw from.
void model_pool_name(unsigned i, char out[static FS_NAME_MAX + 1]);
// A name for an operation on a directory: one that is there (in about `existing` of 100 cases) or
// any of the pool.
void model_choose_name(struct model *m, const struct shape_node *dir, unsigned existing,
		       char out[static FS_NAME_MAX + 1]);
// Compares an answer with what was expected (0, or one of the codes in `allowed`, ended by 0). True
// when the operation changed something: it succeeded, or the power went off during it and it would
// have succeeded.
int model_answer(struct model *m, int err, const int *allowed);
// The same for an operation that has to succeed.
int model_success(struct model *m, int err);
// A random node whose type is in the mask (1 << type), known to the kernel's side; orphans where
// allowed. NULL: there is none.
struct shape_node *model_pick(struct model *m, unsigned types, int orphans);
// Looks a node up (and what stands above it) until the engine counts at least one look-up for it.
// Ends false when the power is off.
int model_know(struct model *m, struct shape_node *node);
void model_check_stat(struct model *m, const struct shape_node *node, const struct fs_stat *st);
// Something happens to the node.
void model_touch(struct shape_node *node);
// The engine says that everything is durable.
void model_all_durable(struct model *m);

// Operations with everything given; the op_* ones below choose.
// node: a new one with number 0 that shows what is made; becomes the model's.
void do_make(struct model *m, struct shape_node *dir, const char *name, const struct fs_make *make,
	     struct shape_node *node);
void do_unlink(struct model *m, struct shape_node *dir, const char *name);
void do_rmdir(struct model *m, struct shape_node *dir, const char *name);
void do_link(struct model *m, struct shape_node *node, struct shape_node *dir, const char *name);
void do_rename(struct model *m, struct shape_node *from, const char *name, struct shape_node *to,
	       const char *new_name, unsigned rename_flags);
void do_forget(struct model *m, struct shape_node *node, uint64_t count);
void do_write(struct model *m, struct shape_node *node, uint64_t off, size_t len, int kill);
void do_truncate(struct model *m, struct shape_node *node, uint64_t to);
void do_fallocate(struct model *m, struct shape_node *node, int mode, uint64_t off, uint64_t len);
void do_fsync(struct model *m, struct shape_node *node, int data_only);
void do_setattr(struct model *m, struct shape_node *node, const struct fs_setattr *set);
void do_setxattr(struct model *m, struct shape_node *node, unsigned i, size_t len, int flags);

void op_make(struct model *m);
void op_unlink(struct model *m);
void op_rmdir(struct model *m);
void op_rename(struct model *m);
void op_link(struct model *m);
void op_lookup(struct model *m);
void op_forget(struct model *m);

void op_write(struct model *m);
void op_read(struct model *m);
void op_truncate(struct model *m);
void op_fallocate(struct model *m);
void op_seek(struct model *m);
void op_copy(struct model *m);
void op_fsync(struct model *m);
void op_checkpoint(struct model *m);

void op_setattr(struct model *m);
void op_getattr(struct model *m);
void op_setxattr(struct model *m);
void op_removexattr(struct model *m);
void op_listxattr(struct model *m);
void op_readlink(struct model *m);

void op_rotate(struct model *m);
void do_rotate(struct model *m, unsigned level, const char *path);
// True while there is more to do.
void do_rekey(struct model *m);
int do_rotate_steps(struct model *m, uint64_t steps);
void do_rotate_to_the_end(struct model *m);

void op_readdir(struct model *m);
// A name of the directory came, went, or shows something else.
void stream_changed(struct model *m, const struct shape_node *dir, const char *name);
void stream_drop(struct model *m, const struct shape_node *dir);
void stream_drop_all(struct model *m);

// What the tree is compared with after it was opened again.
enum model_after { AFTER_CLOSE, AFTER_KILL, AFTER_KILL_IN_CALL, AFTER_CUT };
// Walks the whole tree, compares it, and takes over what the crash left.
void verify_tree(struct model *m, enum model_after after);
// No host file without a name: an object that was removed is gone from the host.
void verify_no_leak(struct model *m);

// Closes, kills or cuts, and opens again, with the comparison.
void epoch_remount(struct model *m);
void epoch_kill(struct model *m);
void epoch_cut(struct model *m);
// A power cut, and another one after `calls` host calls of the next mount. True when that mount
// needed more calls than those.
int epoch_cut_twice(struct model *m, uint64_t calls);

#endif
