// SPDX-License-Identifier: Apache-2.0
#include "tests/model/shape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/model/prng.h"
#include "tests/model/trace.h"

// Room for one more element of an array.
#define GROW(array, n, cap)                                                         \
	do {                                                                        \
		if ((n) == (cap)) {                                                 \
			(cap) = (cap) ? 2 * (cap) : 4;                              \
			(array) = trace_realloc((array), (cap) * sizeof(*(array))); \
		}                                                                   \
	} while (0)

static void push_hash(struct shape *s)
{
	GROW(s->hashes, s->n_hashes, s->cap_hashes);
	s->hashes[s->n_hashes++] = s->hash;
}

void shape_init(struct shape *s)
{
	*s = (struct shape){0};
	push_hash(s);
	struct shape_node *root = shape_add_node(s, FS_ROOT, OBJECT_DIR);

	root->names = 1;
	root->parent = root;
	s->live = 1;
}

static void free_node(struct shape_node *node)
{
	for (size_t i = 0; i < node->n_entries; i++)
		free(node->entries[i].name);
	free(node->entries);
	free(node->target);
	free(node->owners);
	free(node->xsets);
	free(node->barriers);
	content_clear(&node->content);
	free(node);
}

void shape_clear(struct shape *s)
{
	for (size_t i = 0; i < s->n_nodes; i++)
		free_node(s->nodes[i]);
	free(s->nodes);
	free(s->hashes);
	*s = (struct shape){0};
}

struct shape_node *shape_add_node(struct shape *s, uint64_t ino, uint8_t type)
{
	struct shape_node *node = trace_calloc(1, sizeof(*node));

	node->ino = ino;
	node->type = type;
	GROW(node->owners, node->n_owners, node->cap_owners);
	node->owners[node->n_owners++] = (struct shape_owner){0};
	GROW(node->xsets, node->n_xsets, node->cap_xsets);
	node->xsets[node->n_xsets++] = (struct shape_xset){0};
	GROW(s->nodes, s->n_nodes, s->cap_nodes);
	s->nodes[s->n_nodes++] = node;
	return node;
}

struct shape_node *shape_by_ino(const struct shape *s, uint64_t ino)
{
	for (size_t i = 0; i < s->n_nodes; i++) {
		if (s->nodes[i]->ino == ino)
			return s->nodes[i];
	}
	return NULL;
}

void shape_remove_node(struct shape *s, struct shape_node *node)
{
	for (size_t i = 0; i < s->n_nodes; i++) {
		if (s->nodes[i] != node)
			continue;
		s->nodes[i] = s->nodes[--s->n_nodes];
		free_node(node);
		return;
	}
}

struct shape_entry *shape_find(const struct shape_node *dir, const char *name)
{
	for (size_t i = 0; i < dir->n_entries; i++) {
		if (strcmp(dir->entries[i].name, name) == 0)
			return &dir->entries[i];
	}
	return NULL;
}

struct shape_node *shape_any_name(const struct shape *s, const struct shape_node *node,
				  const char **ret_name)
{
	for (size_t i = 0; i < s->n_nodes; i++) {
		struct shape_node *dir = s->nodes[i];

		for (size_t k = 0; k < dir->n_entries; k++) {
			if (dir->entries[k].node == node) {
				*ret_name = dir->entries[k].name;
				return dir;
			}
		}
	}
	return NULL;
}

int shape_is_below(const struct shape_node *node, const struct shape_node *dir)
{
	while (node != dir && node->parent && node->parent != node)
		node = node->parent;
	return node == dir;
}

uint64_t shape_hash(uint64_t dir, const char *name, uint64_t ino)
{
	struct prng p = {.state = dir};
	uint64_t h = prng_next(&p);

	for (const char *c = name; *c; c++)
		h = (h ^ (unsigned char)*c) * 0x100000001b3u;
	p.state = h ^ (ino * 0x9e3779b97f4a7c15u);
	return prng_next(&p);
}

void shape_put(struct shape *s, struct shape_node *dir, const char *name, struct shape_node *node)
{
	GROW(dir->entries, dir->n_entries, dir->cap_entries);
	dir->entries[dir->n_entries++] =
		(struct shape_entry){.name = trace_strdup(name), .node = node};
	s->hash += shape_hash(dir->ino, name, node->ino);
	if (node->names++ == 0)
		s->live++;
	if (node->type == OBJECT_DIR) {
		node->parent = dir;
		dir->subdirs++;
	}
}

void shape_take(struct shape *s, struct shape_node *dir, const char *name)
{
	struct shape_entry *entry = shape_find(dir, name);
	struct shape_node *node = entry->node;

	s->hash -= shape_hash(dir->ino, name, node->ino);
	free(entry->name);
	*entry = dir->entries[--dir->n_entries];
	if (--node->names == 0)
		s->live--;
	if (node->type == OBJECT_DIR)
		dir->subdirs--;
}

void shape_name_op(struct shape *s)
{
	s->name_op++;
	push_hash(s);
}

void shape_names_durable(struct shape *s)
{
	s->hashes[0] = s->hash;
	s->n_hashes = 1;
	for (size_t i = 0; i < s->n_nodes;) {
		struct shape_node *node = s->nodes[i];

		if (node->names == 0 && node->lookups == 0)
			shape_remove_node(s, node);
		else
			i++;
	}
}

int shape_prefix(const struct shape *s, uint64_t hash, uint64_t from, uint64_t *ret_name_op)
{
	for (size_t i = 0; i < s->n_hashes; i++) {
		uint64_t op = s->name_op - (s->n_hashes - 1 - i);

		if (s->hashes[i] == hash && op >= from) {
			*ret_name_op = op;
			return 1;
		}
	}
	return 0;
}

uint32_t shape_nlink(const struct shape_node *node)
{
	if (node->type == OBJECT_DIR)
		return node->names ? 2 + node->subdirs : 0;
	return node->names;
}

struct shape_owner *shape_owner(const struct shape_node *node)
{
	return &node->owners[node->n_owners - 1];
}

void shape_set_owner(struct shape_node *node, uint64_t seq, uint32_t mode, uint32_t uid,
		     uint32_t gid)
{
	GROW(node->owners, node->n_owners, node->cap_owners);
	node->owners[node->n_owners++] =
		(struct shape_owner){.seq = seq, .mode = mode, .uid = uid, .gid = gid};
}

struct shape_xset *shape_xset(const struct shape_node *node)
{
	return &node->xsets[node->n_xsets - 1];
}

struct shape_xset *shape_new_xset(struct shape_node *node, uint64_t seq)
{
	GROW(node->xsets, node->n_xsets, node->cap_xsets);
	node->xsets[node->n_xsets] = node->xsets[node->n_xsets - 1];
	node->xsets[node->n_xsets].seq = seq;
	return &node->xsets[node->n_xsets++];
}

const char *shape_xattr_name(unsigned i)
{
	static const char *const names[SHAPE_XATTRS] = {
		"user.a",
		"user.b",
		"user.name.with.dots",
		"user.\xc3\xa9t\xc3\xa9",
		"user.e",
		"user.f",
		"user.g",
		"user.h",
		"trusted.thing",
		"security.whatever",
		"security.capability",
		"user.a.b",
	};
	return names[i];
}

uint8_t *shape_xattr_value(uint64_t seed, size_t len)
{
	uint8_t *value = trace_calloc(1, len + 1);
	struct prng p = {.state = seed};

	prng_fill(&p, value, len);
	return value;
}

size_t shape_xset_bytes(const struct shape_xset *set)
{
	size_t bytes = 0;

	for (unsigned i = 0; i < SHAPE_XATTRS; i++) {
		if (set->len[i])
			bytes += 4 + strlen(shape_xattr_name(i)) + set->len[i] - 1;
	}
	return bytes;
}

void shape_add_barrier(struct shape_node *node, uint64_t name_op, uint64_t seq)
{
	GROW(node->barriers, node->n_barriers, node->cap_barriers);
	node->barriers[node->n_barriers++] = (struct shape_barrier){.name_op = name_op, .seq = seq};
}

uint64_t shape_durable_at(const struct shape_node *node, uint64_t name_op)
{
	uint64_t durable = node->durable;

	for (size_t i = 0; i < node->n_barriers; i++) {
		if (node->barriers[i].name_op <= name_op && node->barriers[i].seq > durable)
			durable = node->barriers[i].seq;
	}
	return durable;
}

void shape_settle(struct shape_node *node, uint64_t seq, int data_only)
{
	node->durable = seq;
	node->n_barriers = 0;
	content_settle(&node->content);
	if (data_only)
		return;
	node->durable_attr = seq;
	node->owners[0] = *shape_owner(node);
	node->n_owners = 1;
	node->xsets[0] = *shape_xset(node);
	node->n_xsets = 1;
}

void shape_count_pages(struct shape *s)
{
	s->pages = 0;
	for (size_t i = 0; i < s->n_nodes; i++)
		s->pages += content_pages(&s->nodes[i]->content);
}
