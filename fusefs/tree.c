// SPDX-License-Identifier: Apache-2.0
#include "fusefs/tree.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define FANOUT_BITS 7
#define LEVELS OBJECT_ROOTS
#define SINGLE_POSITION 81u
#define DOUBLE_POSITION 226u // behind the 16 xattr pages
// What one seek may load before it lets clean nodes go again: a seek over a terabyte holds this
// much.
#define SEEK_MEMORY (1u << 20)

_Static_assert(SEALS_PER_NODE == 1 << FANOUT_BITS, "fan-out");

// NULL becomes a node in any thread that reads; the rest of a tree changes in one thread alone.
typedef _Atomic(struct node *) node_slot;

struct node {
	struct seal seals[SEALS_PER_NODE]; // stale where a child is dirty
	node_slot *child;                  // levels >= 2: SEALS_PER_NODE of them; else NULL
	int dirty;                         // then every ancestor is dirty too
	int sealed;                        // and not yet placed; then every ancestor is that, too
};

struct tree {
	tree_load_fn load;
	void *arg;
	struct seal direct[OBJECT_DIRECT];
	struct seal root_seal[LEVELS];
	node_slot root[LEVELS];
	int changed; // since the last load or seal; set whenever any node is dirty
	// No checkpoint refers to a node whose first index is >= watermark.
	uint64_t watermark;
	uint64_t set_top; // 1 + the highest index set since the last seal
	atomic_size_t memory;
	size_t dirty_memory;
};

// Where a node hangs: its seal and its pointer in the parent (or in the tree).
struct link {
	unsigned level;
	uint64_t first;
	uint64_t position;
	struct seal *seal;
	node_slot *node;
};

// Content pages below a node of this level.
static uint64_t level_pages(unsigned level)
{
	return 1ull << (FANOUT_BITS * level);
}

// Host pages of a subtree: span(0) = 1, span(L) = 1 + 128 * span(L - 1).
static uint64_t level_span(unsigned level)
{
	static const uint64_t span[LEVELS + 1] = {
		1, 129, 16513, 2113665, 270549121, 34630287489,
	};

	return span[level];
}

// First index of the root of this level.
static uint64_t root_first(unsigned level)
{
	static const uint64_t first[LEVELS + 1] = {
		0, 80, 208, 16592, 2113744, 270549200,
	};

	return first[level];
}

static uint64_t root_position(unsigned level)
{
	static const uint64_t position[LEVELS + 1] = {
		1, SINGLE_POSITION, DOUBLE_POSITION, 16739, 2130404, 272679525,
	};

	return position[level];
}

// 0 for a direct page. index < TREE_PAGES_MAX.
static unsigned root_level(uint64_t index)
{
	unsigned level = 0;

	while (level < LEVELS && index >= root_first(level + 1))
		level++;
	return level;
}

// Readers only read through the link.
static struct link root_link(const struct tree *t, unsigned level)
{
	return (struct link){
		.level = level,
		.first = root_first(level),
		.position = root_position(level),
		.seal = (struct seal *)&t->root_seal[level - 1],
		.node = (node_slot *)&t->root[level - 1],
	};
}

// The link of child i; the parent is in memory and of level >= 2.
static struct link child_link(const struct link *l, unsigned i)
{
	struct node *n = *l->node;

	return (struct link){
		.level = l->level - 1,
		.first = l->first + i * level_pages(l->level - 1),
		.position = l->position + 1 + i * level_span(l->level - 1),
		.seal = &n->seals[i],
		.node = &n->child[i],
	};
}

static unsigned child_of(const struct link *l, uint64_t index)
{
	return (unsigned)((index - l->first) >> (FANOUT_BITS * (l->level - 1)));
}

static uint64_t link_end(const struct link *l)
{
	return l->first + level_pages(l->level);
}

static int link_absent(const struct link *l)
{
	return *l->node == NULL && seal_is_hole(l->seal);
}

static size_t node_bytes(const struct node *n)
{
	return sizeof *n + (n->child ? SEALS_PER_NODE * sizeof *n->child : 0);
}

static struct node *node_new(unsigned level)
{
	struct node *n = calloc(1, sizeof *n);

	if (n == NULL)
		return NULL;
	if (level >= 2) {
		n->child = calloc(SEALS_PER_NODE, sizeof *n->child);
		if (n->child == NULL) {
			free(n);
			return NULL;
		}
	}
	return n;
}

static void node_release(struct node *n)
{
	free(n->child);
	free(n);
}

static int node_is_empty(const struct node *n)
{
	for (unsigned i = 0; i < SEALS_PER_NODE; i++) {
		if (!seal_is_hole(&n->seals[i]))
			return 0;
	}
	return 1;
}

static void mark_dirty(struct tree *t, struct node *n)
{
	t->changed = 1;
	if (n->dirty)
		return;
	n->dirty = 1;
	t->dirty_memory += node_bytes(n);
}

static void free_subtree(struct tree *t, node_slot *pn)
{
	struct node *n = *pn;

	if (n == NULL)
		return;
	if (n->child != NULL) {
		for (unsigned i = 0; i < SEALS_PER_NODE; i++)
			free_subtree(t, &n->child[i]);
	}
	t->memory -= node_bytes(n);
	if (n->dirty)
		t->dirty_memory -= node_bytes(n);
	node_release(n);
	*pn = NULL;
}

int tree_new(tree_load_fn load, void *arg, struct tree **ret)
{
	struct tree *t = calloc(1, sizeof *t);

	if (t == NULL)
		return WERR_NOMEM;
	t->load = load;
	t->arg = arg;
	t->memory = sizeof *t;
	*ret = t;
	return 0;
}

static void free_nodes(struct tree *t)
{
	for (unsigned i = 0; i < LEVELS; i++)
		free_subtree(t, &t->root[i]);
}

void tree_free(struct tree *t)
{
	if (t == NULL)
		return;
	free_nodes(t);
	free(t);
}

void tree_load_roots(struct tree *t, const struct seal direct[static OBJECT_DIRECT],
		     const struct seal roots[static OBJECT_ROOTS])
{
	free_nodes(t);
	memcpy(t->direct, direct, sizeof t->direct);
	memcpy(t->root_seal, roots, sizeof t->root_seal);
	t->changed = 0;
	t->set_top = 0;
	// Which pages are below a root is not known without reading it: all may be.
	for (unsigned level = 1; level <= LEVELS; level++) {
		uint64_t end = root_first(level) + level_pages(level);

		if (!seal_is_hole(&t->root_seal[level - 1]) && end > t->watermark)
			t->watermark = end;
	}
}

void tree_store_roots(const struct tree *t, struct seal direct[static OBJECT_DIRECT],
		      struct seal roots[static OBJECT_ROOTS])
{
	memcpy(direct, t->direct, sizeof t->direct);
	memcpy(roots, t->root_seal, sizeof t->root_seal);
}

void tree_forget_reference(struct tree *t, uint64_t pages)
{
	if (pages < t->watermark)
		t->watermark = pages;
}

uint64_t tree_position(uint64_t index)
{
	assert(index < TREE_PAGES_MAX);
	unsigned level = root_level(index);
	uint64_t rest = index - root_first(level);
	uint64_t position = root_position(level);

	if (level == 0)
		return position + rest;
	for (; level > 0; level--) {
		position += 1 + rest / level_pages(level - 1) * level_span(level - 1);
		rest %= level_pages(level - 1);
	}
	return position;
}

uint64_t tree_extent(uint64_t pages)
{
	if (pages == 0)
		return 1;
	if (pages > TREE_PAGES_MAX)
		pages = TREE_PAGES_MAX;
	// A node stands before the pages below it, so the last page is the highest.
	return tree_position(pages - 1) + 1;
}

// Reads, checks and returns a node that the link's seal describes; attaches nothing.
static int read_node(struct tree *t, const struct link *l, struct node **ret)
{
	struct node *n = node_new(l->level);
	int err;

	if (n == NULL)
		return WERR_NOMEM;
	err = t->load(t->arg, l->level, l->first, l->position, l->seal, n->seals);
	for (unsigned i = 0; i < SEALS_PER_NODE && err == 0; i++)
		err = seal_check(&n->seals[i]);
	if (err == 0 && node_is_empty(n))
		err = WERR_MALFORMED; // an empty node is written as a hole
	if (err != 0) {
		node_release(n);
		return err;
	}
	*ret = n;
	return 0;
}

// Takes the node. Where another thread has attached the same one, that stays.
static void attach(struct tree *t, const struct link *l, struct node *n)
{
	struct node *none = NULL;

	if (atomic_compare_exchange_strong(l->node, &none, n))
		t->memory += node_bytes(n);
	else
		node_release(n);
}

// The node into memory unless it is there (then nothing is written) or absent.
static int fetch(struct tree *t, const struct link *l)
{
	struct node *n;
	int err;

	if (*l->node != NULL || seal_is_hole(l->seal))
		return 0;
	err = read_node(t, l, &n);
	if (err == 0)
		attach(t, l, n);
	return err;
}

// Goes down to the leaf node of an indirect page, loading. *ret is the leaf's link, or the link of
// the highest absent node on the way.
static int descend(struct tree *t, uint64_t index, struct link *ret)
{
	struct link l = root_link(t, root_level(index));

	for (;;) {
		int err = fetch(t, &l);

		if (err != 0)
			return err;
		if (*l.node == NULL || l.level == 1)
			break;
		l = child_link(&l, child_of(&l, index));
	}
	*ret = l;
	return 0;
}

// Whether [index, index + n) stands inside the tree.
static int in_bounds(uint64_t index, size_t n)
{
	return n <= TREE_PAGES_MAX && index <= TREE_PAGES_MAX - n;
}

int tree_get_range(struct tree *t, uint64_t index, size_t n, struct seal *out)
{
	if (!in_bounds(index, n))
		return WERR_FBIG;
	while (n > 0) {
		const struct seal *from = NULL;
		struct link l;
		uint64_t run;

		if (index < OBJECT_DIRECT) {
			from = &t->direct[index];
			run = OBJECT_DIRECT - index;
		} else {
			int err = descend(t, index, &l);

			if (err != 0)
				return err;
			run = link_end(&l) - index;
			if (*l.node != NULL)
				from = &(*l.node)->seals[index - l.first];
		}
		if (run > n)
			run = n;
		if (from != NULL)
			memcpy(out, from, run * sizeof *out);
		else
			memset(out, 0, run * sizeof *out);
		out += run;
		index += run;
		n -= run;
	}
	return 0;
}

int tree_get(struct tree *t, uint64_t index, struct seal *ret)
{
	return tree_get_range(t, index, 1, ret);
}

unsigned tree_missing(const struct tree *t, uint64_t index, uint64_t ret[static OBJECT_ROOTS])
{
	if (!in_bounds(index, 1) || index < OBJECT_DIRECT)
		return 0;
	struct link l = root_link(t, root_level(index));
	unsigned count = 0;

	while (*l.node != NULL && l.level > 1)
		l = child_link(&l, child_of(&l, index));
	if (*l.node != NULL || seal_is_hole(l.seal))
		return 0;
	for (ret[count++] = l.position; l.level > 1; l.level--) {
		unsigned i = child_of(&l, index);

		l.first += i * level_pages(l.level - 1);
		l.position += 1 + i * level_span(l.level - 1);
		ret[count++] = l.position;
	}
	return count;
}

// Creates what is absent from this link down to the leaf of index.
static int create_path(struct tree *t, struct link l, uint64_t index)
{
	for (;;) {
		struct node *n = node_new(l.level);

		if (n == NULL)
			return WERR_NOMEM;
		attach(t, &l, n);
		if (l.level == 1)
			return 0;
		l = child_link(&l, child_of(&l, index));
	}
}

int tree_prepare(struct tree *t, uint64_t index, size_t n)
{
	if (!in_bounds(index, n))
		return WERR_FBIG;
	for (uint64_t end = index + n; index < end;) {
		struct link l;
		int err;

		if (index < OBJECT_DIRECT) {
			index = OBJECT_DIRECT;
			continue;
		}
		err = descend(t, index, &l);
		if (err == 0 && *l.node == NULL)
			err = create_path(t, l, index);
		if (err == 0)
			err = descend(t, index, &l);
		if (err != 0)
			return err;
		index = link_end(&l);
	}
	return 0;
}

// Changes one seal; says by how much the number of allocated pages changed.
static int replace(struct tree *t, struct seal *where, const struct seal *seal, uint64_t index)
{
	int was = !seal_is_hole(where);
	int is = !seal_is_hole(seal);

	*where = *seal;
	t->changed = 1;
	if (is && index >= t->set_top)
		t->set_top = index + 1;
	return is - was;
}

int tree_set(struct tree *t, uint64_t index, const struct seal *seal)
{
	struct node *path[LEVELS];
	unsigned depth = 0;
	struct seal *where;

	assert(index < TREE_PAGES_MAX);
	if (index < OBJECT_DIRECT) {
		where = &t->direct[index];
	} else {
		struct link l = root_link(t, root_level(index));

		for (;;) {
			if (link_absent(&l) && seal_is_hole(seal))
				return 0;
			assert(*l.node != NULL); // tree_prepare was called
			path[depth++] = *l.node;
			if (l.level == 1)
				break;
			l = child_link(&l, child_of(&l, index));
		}
		where = &path[depth - 1]->seals[index - l.first];
	}
	if (seal_equal(where, seal))
		return 0;
	for (unsigned i = 0; i < depth; i++)
		mark_dirty(t, path[i]);
	return replace(t, where, seal, index);
}

// Loads the nodes that [from, to) covers in part, so that the drop itself cannot fail; with count
// also reads (and lets go again) what it covers whole, adding up its pages.
static int drop_measure(struct tree *t, struct link *l, uint64_t from, uint64_t to, uint64_t *count)
{
	int whole = from <= l->first && link_end(l) <= to;
	struct node *transient = NULL;
	int err = 0;

	if (link_end(l) <= from || to <= l->first || link_absent(l) || (whole && count == NULL))
		return 0;
	if (*l->node == NULL) {
		err = read_node(t, l, &transient);
		if (err != 0)
			return err;
		*l->node = transient;
		if (!whole)
			t->memory += node_bytes(transient);
	}
	for (unsigned i = 0; i < SEALS_PER_NODE && err == 0; i++) {
		if (l->level > 1) {
			struct link c = child_link(l, i);

			err = drop_measure(t, &c, from, to, count);
		} else if (count != NULL && from <= l->first + i && l->first + i < to) {
			*count += !seal_is_hole(&(*l->node)->seals[i]);
		}
	}
	if (transient != NULL && whole) {
		// Its children were let go likewise.
		node_release(transient);
		*l->node = NULL;
	}
	return err;
}

// Returns whether anything changed.
static int drop_apply(struct tree *t, struct link *l, uint64_t from, uint64_t to)
{
	static const struct seal hole;
	int changed = 0;

	if (link_end(l) <= from || to <= l->first || link_absent(l))
		return 0;
	if (from <= l->first && link_end(l) <= to) {
		free_subtree(t, l->node);
		*l->seal = hole;
		return 1;
	}
	for (unsigned i = 0; i < SEALS_PER_NODE; i++) {
		struct seal *s = &(*l->node)->seals[i];

		if (l->level > 1) {
			struct link c = child_link(l, i);

			changed |= drop_apply(t, &c, from, to);
		} else if (from <= l->first + i && l->first + i < to && !seal_is_hole(s)) {
			*s = hole;
			changed = 1;
		}
	}
	if (changed)
		mark_dirty(t, *l->node);
	return changed;
}

static int drop_direct(struct tree *t, uint64_t from, uint64_t to, uint64_t *count)
{
	int changed = 0;

	for (uint64_t i = from; i < to && i < OBJECT_DIRECT; i++) {
		if (seal_is_hole(&t->direct[i]))
			continue;
		memset(&t->direct[i], 0, sizeof t->direct[i]);
		changed = 1;
		(*count)++;
	}
	return changed;
}

int tree_drop(struct tree *t, uint64_t from, uint64_t to, uint64_t *count_dropped)
{
	uint64_t indirect = 0;
	uint64_t direct = 0;

	for (unsigned level = 1; level <= LEVELS && from < to; level++) {
		struct link l = root_link(t, level);
		int err = drop_measure(t, &l, from, to, count_dropped ? &indirect : NULL);

		if (err != 0)
			return err;
	}
	if (drop_direct(t, from, to, &direct))
		t->changed = 1;
	for (unsigned level = 1; level <= LEVELS && from < to; level++) {
		struct link l = root_link(t, level);

		if (drop_apply(t, &l, from, to))
			t->changed = 1;
	}
	if (from < t->set_top && to >= t->set_top)
		t->set_top = from;
	if (count_dropped != NULL)
		*count_dropped = direct + indirect;
	return 0;
}

// The first of seals[0..n) that is (or is not) a hole; n if none.
static uint64_t scan(const struct seal *seals, uint64_t n, int hole)
{
	uint64_t i = 0;

	while (i < n && seal_is_hole(&seals[i]) != hole)
		i++;
	return i;
}

// As far as one array or one absent subtree goes: *ret is a hit, or where to go on.
static int seek_step(struct tree *t, uint64_t index, int hole, int *ret_hit, uint64_t *ret)
{
	const struct seal *seals;
	struct link l;
	uint64_t n;
	int err;

	if (index < OBJECT_DIRECT) {
		seals = &t->direct[index];
		n = OBJECT_DIRECT - index;
	} else {
		err = descend(t, index, &l);
		if (err != 0)
			return err;
		n = link_end(&l) - index;
		if (*l.node == NULL) {
			*ret_hit = hole;
			*ret = hole ? index : index + n;
			return 0;
		}
		seals = &(*l.node)->seals[index - l.first];
	}
	uint64_t skipped = scan(seals, n, hole);

	*ret_hit = skipped < n;
	*ret = index + skipped;
	return 0;
}

int tree_seek(struct tree *t, uint64_t from, uint64_t limit, int hole, uint64_t *ret)
{
	uint64_t index = from;
	size_t start = t->memory;
	int hit = 0;

	hole = hole != 0;
	while (!hit && index < limit && index < TREE_PAGES_MAX) {
		int err = seek_step(t, index, hole, &hit, &index);

		if (err != 0)
			return err;
		if (t->memory > start + SEEK_MEMORY) {
			tree_shrink(t);
			start = t->memory;
		}
	}
	if (!hit && !hole)
		index = limit; // behind the last possible page there is only hole
	*ret = index < limit ? index : limit;
	return 0;
}

static int seal_subtree(struct tree *t, struct link *l, tree_seal_fn fn, void *arg)
{
	struct node *n = *l->node;
	struct seal seal = {0};
	int err;

	if (n == NULL || !n->dirty)
		return 0;
	for (unsigned i = 0; n->child != NULL && i < SEALS_PER_NODE; i++) {
		struct link c = child_link(l, i);

		err = seal_subtree(t, &c, fn, arg);
		if (err != 0)
			return err;
	}
	if (node_is_empty(n)) {
		free_subtree(t, l->node);
		*l->seal = seal;
		return 0;
	}
	err = fn(arg, l->level, l->first, l->position, n->seals, l->first >= t->watermark, &seal);
	if (err != 0)
		return err;
	if (seal_is_hole(&seal))
		return WERR_INTERNAL; // would lose the subtree
	*l->seal = seal;
	return 0;
}

static void clean_subtree(struct tree *t, struct node *n)
{
	if (n == NULL || !n->dirty)
		return;
	n->dirty = 0;
	n->sealed = 1;
	t->dirty_memory -= node_bytes(n);
	for (unsigned i = 0; n->child != NULL && i < SEALS_PER_NODE; i++)
		clean_subtree(t, n->child[i]);
}

int tree_seal(struct tree *t, tree_seal_fn fn, void *arg)
{
	for (unsigned level = 1; level <= LEVELS; level++) {
		struct link l = root_link(t, level);
		int err = seal_subtree(t, &l, fn, arg);

		if (err != 0)
			return err;
	}
	// Only now, so that after a failure the next attempt seals every node again: nobody knows
	// what became of the pages of this one.
	for (unsigned i = 0; i < LEVELS; i++)
		clean_subtree(t, t->root[i]);
	if (t->set_top > t->watermark)
		t->watermark = t->set_top;
	t->set_top = 0;
	t->changed = 0;
	return 0;
}

static void place_subtree(struct node *n)
{
	if (n == NULL || !n->sealed)
		return;
	n->sealed = 0;
	for (unsigned i = 0; n->child != NULL && i < SEALS_PER_NODE; i++)
		place_subtree(n->child[i]);
}

void tree_placed(struct tree *t)
{
	for (unsigned i = 0; i < LEVELS; i++)
		place_subtree(t->root[i]);
}

static void mark_subtree(struct tree *t, struct node *n)
{
	if (n == NULL)
		return;
	mark_dirty(t, n);
	for (unsigned i = 0; n->child != NULL && i < SEALS_PER_NODE; i++)
		mark_subtree(t, n->child[i]);
}

void tree_mark_all(struct tree *t)
{
	t->changed = 1;
	for (unsigned i = 0; i < LEVELS; i++)
		mark_subtree(t, t->root[i]);
}

int tree_is_dirty(const struct tree *t)
{
	return t->changed;
}

size_t tree_memory(const struct tree *t)
{
	return t->memory;
}

size_t tree_dirty_memory(const struct tree *t)
{
	return t->dirty_memory;
}

// What may go has nothing below it that may not.
static void shrink_subtree(struct tree *t, node_slot *pn)
{
	struct node *n = *pn;

	if (n == NULL)
		return;
	if (!n->dirty && !n->sealed) {
		free_subtree(t, pn);
		return;
	}
	for (unsigned i = 0; n->child != NULL && i < SEALS_PER_NODE; i++)
		shrink_subtree(t, &n->child[i]);
}

void tree_shrink(struct tree *t)
{
	for (unsigned i = 0; i < LEVELS; i++)
		shrink_subtree(t, &t->root[i]);
}
