// SPDX-License-Identifier: Apache-2.0
// Renaming, with all its refusals.
#include <stdio.h>
#include <string.h>

#include "tests/model/model.h"
#include "tests/model/trace.h"

#define DIRS (1u << OBJECT_DIR)

struct move {
	struct shape_node *from, *to; // directories
	const char *name, *new_name;
	struct shape_node *node, *victim; // what stands there, or NULL
	unsigned flags;
};

// The codes that a rename may answer with: every refusal that applies; {0} when it must succeed.
static void expect(const struct move *v, int allowed[static 8])
{
	size_t n = 0;
	int dir = v->node && v->node->type == OBJECT_DIR;
	int victim_dir = v->victim && v->victim->type == OBJECT_DIR;

	if (!v->node)
		allowed[n++] = WERR_NOTFOUND;
	if ((v->flags & FS_RENAME_EXCHANGE) && !v->victim)
		allowed[n++] = WERR_NOTFOUND;
	if ((v->flags & FS_RENAME_NOREPLACE) && v->victim)
		allowed[n++] = WERR_EXISTS;
	if (dir && shape_is_below(v->to, v->node))
		allowed[n++] = WERR_INVALID;
	if ((v->flags & FS_RENAME_EXCHANGE) && victim_dir && shape_is_below(v->from, v->victim))
		allowed[n++] = WERR_INVALID;
	if (!(v->flags & FS_RENAME_EXCHANGE) && v->victim && v->victim != v->node) {
		if (dir && !victim_dir)
			allowed[n++] = WERR_NOTDIR;
		if (!dir && victim_dir)
			allowed[n++] = WERR_ISDIR;
		if (victim_dir && v->victim->n_entries > 0)
			allowed[n++] = WERR_NOTEMPTY;
	}
	allowed[n] = 0;
}

static void exchange(struct model *m, const struct move *v)
{
	shape_take(&m->shape, v->from, v->name);
	shape_take(&m->shape, v->to, v->new_name);
	shape_put(&m->shape, v->from, v->name, v->victim);
	shape_put(&m->shape, v->to, v->new_name, v->node);
	shape_name_op(&m->shape);
}

static void replace(struct model *m, const struct move *v)
{
	if (v->victim) {
		if (v->victim->type == OBJECT_DIR)
			stream_drop(m, v->victim);
		shape_take(&m->shape, v->to, v->new_name);
	}
	shape_take(&m->shape, v->from, v->name);
	shape_put(&m->shape, v->to, v->new_name, v->node);
	shape_name_op(&m->shape);
	// The source's data goes first: whoever sees the new name sees all of it.
	if (v->victim && v->victim->type == OBJECT_FILE && v->node->type == OBJECT_FILE)
		shape_add_barrier(v->node, m->shape.name_op, m->seq);
}

void op_rename(struct model *m)
{
	static const unsigned flags[] = {0, 0, 0, FS_RENAME_NOREPLACE, FS_RENAME_EXCHANGE};
	char name[FS_NAME_MAX + 1], new_name[FS_NAME_MAX + 1];
	struct shape_node *from = model_pick(m, DIRS, 0);
	struct shape_node *to = prng_chance(&m->rng, 40) ? from : model_pick(m, DIRS, 0);

	if (!from || !to)
		return;
	model_choose_name(m, from, 95, name);
	model_choose_name(m, to, 50, new_name);
	do_rename(m, from, name, to, new_name, flags[prng_below(&m->rng, 5)]);
}

void do_rename(struct model *m, struct shape_node *from, const char *name, struct shape_node *to,
	       const char *new_name, unsigned rename_flags)
{
	int allowed[8];
	struct move v = {
		.from = from, .to = to, .name = name, .new_name = new_name, .flags = rename_flags};
	const struct shape_entry *a = shape_find(v.from, v.name), *b = shape_find(v.to, v.new_name);

	v.node = a ? a->node : NULL;
	v.victim = b ? b->node : NULL;
	expect(&v, allowed);
	trace_op("%lu rename %s in %016lx to %s in %016lx flags %u (%016lx over %016lx)", m->seq,
		 trace_name(v.name), (unsigned long)v.from->ino, trace_name(v.new_name),
		 (unsigned long)v.to->ino, v.flags, v.node ? (unsigned long)v.node->ino : 0,
		 v.victim ? (unsigned long)v.victim->ino : 0);
	int err = fs_rename(m->fs, v.from->ino, v.name, v.to->ino, v.new_name, v.flags);

	if (!model_answer(m, err, allowed))
		return;
	model_touch(v.from);
	model_touch(v.to);
	model_touch(v.node);
	if (v.victim)
		model_touch(v.victim);
	if (v.node == v.victim) // the same file under two names: nothing happens
		return;
	stream_changed(m, v.from, v.name);
	stream_changed(m, v.to, v.new_name);
	if (v.flags & FS_RENAME_EXCHANGE)
		exchange(m, &v);
	else
		replace(m, &v);
}
