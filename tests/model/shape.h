// SPDX-License-Identifier: Apache-2.0
// The plain in-memory filesystem that the engine is compared with: nodes, names, attributes,
// extended attributes, and what of them may be seen after a crash.
//
// Names: every name operation ends in a tree with a hash. After a kill the tree must be the current
// one; after a power cut it must be one of the trees since the last durable point. Contents and
// attributes: see content.h.
#ifndef WARDFS_TESTS_SHAPE_H
#define WARDFS_TESTS_SHAPE_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/object_header.h"
#include "fusefs/fs.h"
#include "tests/model/content.h"

#define SHAPE_XATTRS 12

struct shape_owner {
	uint64_t seq;
	uint32_t mode, uid, gid;
};
// A set of extended attributes: attribute i has len[i] - 1 bytes made from seed[i]; len 0: absent.
struct shape_xset {
	uint64_t seq;
	uint32_t len[SHAPE_XATTRS];
	uint64_t seed[SHAPE_XATTRS];
};
// From this name operation on, the content must be at least as new as operation seq made it (rename
// over a file).
struct shape_barrier {
	uint64_t name_op;
	uint64_t seq;
};
struct shape_entry {
	char *name;
	struct shape_node *node;
};

struct shape_node {
	uint64_t ino;
	uint8_t type; // enum object_type
	uint64_t rdev;
	char *target;
	unsigned names;            // how many entries show it
	unsigned subdirs;          // directories: directories in it
	uint64_t lookups;          // what the engine counts
	struct shape_node *parent; // directories: where its entry stands
	struct shape_entry *entries;
	size_t n_entries, cap_entries;
	struct content content;
	struct shape_owner *owners; // oldest first, at least one
	size_t n_owners, cap_owners;
	struct shape_xset *xsets; // oldest first, at least one
	size_t n_xsets, cap_xsets;
	struct shape_barrier *barriers;
	size_t n_barriers, cap_barriers;
	uint64_t durable;         // content: durable as of this operation
	uint64_t durable_attr;    // attributes likewise
	struct ward_attr settled; // what the engine said when it was made durable
	int settled_valid;        // nothing happened to it since
};

struct shape {
	struct shape_node **nodes; // nodes[0] is the root
	size_t n_nodes, cap_nodes;
	uint64_t *hashes; // of the tree after each name operation since the last durable point,
			  // that point first
	size_t n_hashes, cap_hashes;
	uint64_t name_op; // operations on names so far
	uint64_t hash;    // of the tree now
	size_t live;      // nodes with a name
	size_t pages;     // content pages in memory, as of the last shape_count_pages()
};

void shape_init(struct shape *s);
void shape_clear(struct shape *s);

struct shape_node *shape_add_node(struct shape *s, uint64_t ino, uint8_t type);
struct shape_node *shape_by_ino(const struct shape *s, uint64_t ino);
void shape_remove_node(struct shape *s, struct shape_node *node);

struct shape_entry *shape_find(const struct shape_node *dir, const char *name);
// Some name of a node: its directory; *ret_name stays the model's.
struct shape_node *shape_any_name(const struct shape *s, const struct shape_node *node,
				  const char **ret_name);
// True when node is dir or below it.
int shape_is_below(const struct shape_node *node, const struct shape_node *dir);
void shape_put(struct shape *s, struct shape_node *dir, const char *name, struct shape_node *node);
void shape_take(struct shape *s, struct shape_node *dir, const char *name);
// Ends a name operation: the tree as it stands now is one that a power cut may leave.
void shape_name_op(struct shape *s);
// All name operations up to now are durable.
void shape_names_durable(struct shape *s);
// The part of the tree's hash that one entry makes.
uint64_t shape_hash(uint64_t dir, const char *name, uint64_t ino);
// True when the tree had this hash after a name operation since the last durable point (or at it),
// not before operation `from`. *ret_name_op: the first such operation.
int shape_prefix(const struct shape *s, uint64_t hash, uint64_t from, uint64_t *ret_name_op);

uint32_t shape_nlink(const struct shape_node *node);
struct shape_owner *shape_owner(const struct shape_node *node);
void shape_set_owner(struct shape_node *node, uint64_t seq, uint32_t mode, uint32_t uid,
		     uint32_t gid);
struct shape_xset *shape_xset(const struct shape_node *node);
// A copy of the current set as the version of operation seq, to be changed.
struct shape_xset *shape_new_xset(struct shape_node *node, uint64_t seq);
size_t shape_xset_bytes(const struct shape_xset *set); // encoded
const char *shape_xattr_name(unsigned i);
// The bytes of an attribute's value (trace_calloc).
uint8_t *shape_xattr_value(uint64_t seed, size_t len);

void shape_add_barrier(struct shape_node *node, uint64_t name_op, uint64_t seq);
// The operation whose content must at least be seen when the names show the state after name_op.
uint64_t shape_durable_at(const struct shape_node *node, uint64_t name_op);
// Content (and attributes, unless data_only) of this node are durable as of operation seq.
void shape_settle(struct shape_node *node, uint64_t seq, int data_only);
void shape_count_pages(struct shape *s);

#endif
