// SPDX-License-Identifier: Apache-2.0
#include "tests/model/verify.h"

#include <stdlib.h>
#include <string.h>

#include "tests/model/trace.h"

// One entry as found on the way through the tree.
struct found {
	uint64_t dir;
	char *name;
	struct fs_stat st;
};
struct walk {
	struct model *m;
	uint64_t dir;
	struct found *found;
	size_t n, cap;
};

static int take(void *arg, const struct fs_dirent *d)
{
	struct walk *w = arg;

	if (strcmp(d->name, ".") == 0 || strcmp(d->name, "..") == 0)
		return 0;
	if (w->n == w->cap) {
		w->cap = w->cap ? 2 * w->cap : 64;
		w->found = trace_realloc(w->found, w->cap * sizeof(*w->found));
	}
	w->found[w->n++] =
		(struct found){.dir = w->dir, .name = trace_strdup(d->name), .st = d->stat};
	return 0;
}

// Breadth first: the list grows while it is walked.
static void walk_tree(struct model *m, struct walk *w)
{
	*w = (struct walk){.m = m, .dir = FS_ROOT};
	for (size_t next = 0;;) {
		int err = fs_readdir(m->fs, w->dir, 0, 1, take, w);

		TRACE_CHECK(!err, "readdir of %016lx: %d (%s)", (unsigned long)w->dir, err,
			    werr_text(err));
		while (next < w->n && w->found[next].st.type != OBJECT_DIR)
			next++;
		if (next == w->n)
			return;
		w->dir = w->found[next++].st.ino;
	}
}

// A node whose making was not answered gets its number; its hash is not in the list.
static uint64_t adopt_pending(struct model *m, const struct walk *w)
{
	uint64_t extra = 0;

	for (size_t i = 0; i < w->n; i++) {
		const struct found *f = &w->found[i];

		if (shape_by_ino(&m->shape, f->st.ino))
			continue;
		TRACE_CHECK(m->pending && m->pending->ino == 0 && m->pending_dir->ino == f->dir &&
				    strcmp(m->pending_name, f->name) == 0,
			    "%s (%016lx) in %016lx was never made", trace_name(f->name),
			    (unsigned long)f->st.ino, (unsigned long)f->dir);
		m->pending->ino = f->st.ino;
		extra += shape_hash(f->dir, f->name, f->st.ino);
	}
	return extra;
}

static uint64_t check_names(struct model *m, const struct walk *w, enum model_after after)
{
	uint64_t hash = 0, op = 0, extra = adopt_pending(m, w);

	for (size_t i = 0; i < w->n; i++)
		hash += shape_hash(w->found[i].dir, w->found[i].name, w->found[i].st.ino);
	if (after == AFTER_CUT) {
		TRACE_CHECK(shape_prefix(&m->shape, hash - extra, 0, &op),
			    "the names (%zu entries) are of no moment since the last durable one "
			    "(%zu of them, %zu entries now)",
			    w->n, m->shape.n_hashes, m->shape.live - 1);
		trace_op("power cut: names as after name operation %lu of %lu", op,
			 m->shape.name_op);
		return op;
	}
	// The operation under way at the kill was not answered: it may have happened or not.
	if (after == AFTER_KILL_IN_CALL &&
	    shape_prefix(&m->shape, hash - extra, m->dark_name_op, &op))
		return op;
	for (size_t i = 0; i < w->n && hash - extra != m->shape.hash; i++) {
		const struct shape_node *dir = shape_by_ino(&m->shape, w->found[i].dir);

		TRACE_CHECK(shape_find(dir, w->found[i].name), "%s in %016lx should be gone",
			    trace_name(w->found[i].name), (unsigned long)dir->ino);
	}
	TRACE_CHECK(hash - extra == m->shape.hash,
		    "the names differ: %zu entries, expected %zu with names", w->n,
		    m->shape.live - 1);
	return m->shape.name_op;
}

// The model's names become those found.
static void take_names(struct model *m, const struct walk *w)
{
	struct shape *s = &m->shape;

	for (size_t i = 0; i < s->n_nodes; i++) {
		struct shape_node *node = s->nodes[i];

		for (size_t k = 0; k < node->n_entries; k++)
			free(node->entries[k].name);
		node->n_entries = 0;
		node->names = node->ino == FS_ROOT;
		node->subdirs = 0;
		node->lookups = 0;
	}
	s->hash = 0;
	s->live = 1;
	for (size_t i = 0; i < w->n; i++) {
		struct shape_node *node = shape_by_ino(s, w->found[i].st.ino);

		shape_put(s, shape_by_ino(s, w->found[i].dir), w->found[i].name, node);
		node->lookups++;
	}
}

static void check_nodes(struct model *m, const struct walk *w, uint64_t op, enum model_after after)
{
	for (size_t i = 0; i < w->n; i++) {
		const struct found *f = &w->found[i];
		struct shape_node *node = shape_by_ino(&m->shape, f->st.ino);
		uint64_t durable = after == AFTER_CLOSE ? UINT64_MAX : shape_durable_at(node, op);
		uint64_t durable_attr = after == AFTER_CLOSE ? UINT64_MAX : node->durable_attr;

		verify_node(m, node, &f->st, durable, durable_attr);
	}
}

static void check_root(struct model *m, enum model_after after)
{
	struct fs_stat st;
	struct shape_node *root = m->shape.nodes[0];
	int err = fs_getattr(m->fs, FS_ROOT, &st);

	TRACE_CHECK(!err, "getattr of the root: %d (%s)", err, werr_text(err));
	uint64_t durable = after == AFTER_CLOSE ? UINT64_MAX : root->durable_attr;

	verify_node(m, root, &st, durable, durable);
}

void verify_tree(struct model *m, enum model_after after)
{
	struct walk w;

	walk_tree(m, &w);
	uint64_t op = check_names(m, &w, after);

	take_names(m, &w);
	check_nodes(m, &w, op, after);
	check_root(m, after);
	for (size_t i = 0; i < w.n; i++)
		free(w.found[i].name);
	free(w.found);
	m->pending = NULL;
	model_all_durable(m);
	if (after != AFTER_CLOSE)
		stream_drop_all(m);
}

static void check_object(void *arg, uint64_t object, const char *name)
{
	const struct model *m = arg;

	TRACE_CHECK(object == 1 || object == 2 || (object && shape_by_ino(&m->shape, object)),
		    "the host has the file %s, which belongs to nothing", name);
}

void verify_no_leak(struct model *m)
{
	for (unsigned i = 0; i < 2; i++) {
		int err = fs_checkpoint(m->fs);

		TRACE_CHECK(!err, "checkpoint: %d (%s)", err, werr_text(err));
	}
	world_objects(m->world, check_object, m);
}
