// SPDX-License-Identifier: Apache-2.0
// Making, linking, removing and looking up names.
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "crypto/xattr_codec.h"
#include "tests/model/model.h"
#include "tests/model/trace.h"

#define DIRS (1u << OBJECT_DIR)
#define ALL_TYPES 0xfeu
#define NOT_DIRS (ALL_TYPES & ~DIRS)

static unsigned long number(const struct shape_node *node)
{
	return (unsigned long)node->ino;
}

static uint8_t choose_type(struct model *m)
{
	static const uint8_t types[] = {OBJECT_FILE,    OBJECT_FILE, OBJECT_FILE,   OBJECT_FILE,
					OBJECT_FILE,    OBJECT_DIR,  OBJECT_DIR,    OBJECT_DIR,
					OBJECT_SYMLINK, OBJECT_FIFO, OBJECT_SOCKET, OBJECT_CHAR,
					OBJECT_BLOCK};

	return types[prng_below(&m->rng, sizeof(types))];
}

// A symlink's target: mostly short, some beyond what an entry can hold.
static char *choose_target(struct model *m)
{
	size_t len = prng_chance(&m->rng, 70) ? prng_range(&m->rng, 1, 100)
					      : prng_range(&m->rng, 900, FS_TARGET_MAX);
	char *target = trace_calloc(1, len + 1);

	for (size_t i = 0; i < len; i++)
		target[i] = (char)prng_range(&m->rng, 1, 255);
	return target;
}

// The first extended attributes of a new node, as an inherited ACL would be.
static void choose_first_xattrs(struct model *m, struct shape_node *node, struct fs_make *make,
				uint8_t *buf)
{
	struct shape_xset *set = shape_new_xset(node, m->seq);
	unsigned i = (unsigned)prng_below(&m->rng, SHAPE_XATTRS);

	set->len[i] = (uint32_t)prng_range(&m->rng, 1, 900);
	set->seed[i] = prng_next(&m->rng);
	uint8_t *value = shape_xattr_value(set->seed[i], set->len[i] - 1);
	int err = xattr_codec_set(NULL, 0, shape_xattr_name(i), value, set->len[i] - 1, buf,
				  XATTR_SET_MAX, &make->xattrs_len);

	free(value);
	TRACE_CHECK(!err, "cannot encode first attributes");
	make->xattrs = buf;
	// A new node has them from the start: no version without.
	node->xsets[0] = *set;
	node->n_xsets = 1;
}

// The node was made (or may have been: number 0, when the power went off).
static void made(struct model *m, struct shape_node *dir, const char *name, struct shape_node *node,
		 const struct fs_stat *st)
{
	model_touch(dir);
	if (m->dark) {
		m->pending = node;
		m->pending_dir = dir;
		memcpy(m->pending_name, name, strlen(name) + 1);
		return;
	}
	TRACE_CHECK(!shape_by_ino(&m->shape, st->ino), "number %016lx is given twice",
		    (unsigned long)st->ino);
	node->ino = st->ino;
	node->lookups = 1;
	shape_put(&m->shape, dir, name, node);
	shape_name_op(&m->shape);
	stream_changed(m, dir, name);
	model_check_stat(m, node, st);
	trace_more(" -> %016lx", number(node));
}

void op_make(struct model *m)
{
	char name[FS_NAME_MAX + 1];
	struct shape_node *dir = model_pick(m, DIRS, 0);

	if (!dir)
		return;
	if (m->shape.live >= MODEL_LIVE_MAX) {
		op_unlink(m);
		return;
	}
	model_choose_name(m, dir, 5, name);
	struct fs_make make = {.type = choose_type(m),
			       .mode = (uint32_t)prng_below(&m->rng, 010000)};
	struct shape_node *node = shape_add_node(&m->shape, 0, make.type);

	make.uid = (uint32_t)prng_below(&m->rng, 4);
	make.gid = (uint32_t)prng_next(&m->rng) >> 1;
	node->owners[0] = (struct shape_owner){0, make.mode, make.uid, make.gid};
	if (make.type == OBJECT_CHAR || make.type == OBJECT_BLOCK)
		node->rdev = make.rdev = makedev((unsigned)prng_below(&m->rng, 4096),
						 (unsigned)prng_below(&m->rng, 256));
	if (make.type == OBJECT_SYMLINK)
		make.target = node->target = choose_target(m);
	if (prng_chance(&m->rng, 4))
		choose_first_xattrs(m, node, &make, m->buf);
	do_make(m, dir, name, &make, node);
}

void do_make(struct model *m, struct shape_node *dir, const char *name, const struct fs_make *make,
	     struct shape_node *node)
{
	static const int exists[] = {WERR_EXISTS, 0}, none[] = {0};
	struct fs_stat st;

	trace_op("%lu make type %u %s in %016lx%s", m->seq, make->type, trace_name(name),
		 number(dir), make->xattrs ? " with attributes" : "");
	int there = shape_find(dir, name) != NULL;
	int err = fs_make(m->fs, dir->ino, name, make, &st);

	if (model_answer(m, err, there ? exists : none))
		made(m, dir, name, node, &st);
	else
		shape_remove_node(&m->shape, node);
}

// A name is gone (and with it, perhaps, the node's last one).
static void removed(struct model *m, struct shape_node *dir, const char *name)
{
	struct shape_node *node = shape_find(dir, name)->node;

	model_touch(dir);
	model_touch(node);
	if (node->type == OBJECT_DIR)
		stream_drop(m, node);
	shape_take(&m->shape, dir, name);
	shape_name_op(&m->shape);
	stream_changed(m, dir, name);
}

void do_unlink(struct model *m, struct shape_node *dir, const char *name)
{
	static const int none[] = {0}, missing[] = {WERR_NOTFOUND, 0}, is_dir[] = {WERR_ISDIR, 0};
	const struct shape_entry *entry = shape_find(dir, name);
	const int *expected = !entry ? missing : entry->node->type == OBJECT_DIR ? is_dir : none;

	trace_op("%lu unlink %s in %016lx", m->seq, trace_name(name), number(dir));
	if (model_answer(m, fs_unlink(m->fs, dir->ino, name), expected))
		removed(m, dir, name);
}

void op_unlink(struct model *m)
{
	char name[FS_NAME_MAX + 1];
	struct shape_node *dir = model_pick(m, DIRS, 0);

	if (!dir)
		return;
	model_choose_name(m, dir, 92, name);
	do_unlink(m, dir, name);
}

void do_rmdir(struct model *m, struct shape_node *dir, const char *name)
{
	static const int none[] = {0}, missing[] = {WERR_NOTFOUND, 0}, not_dir[] = {WERR_NOTDIR, 0},
			 full[] = {WERR_NOTEMPTY, 0};
	const int *expected = none;
	const struct shape_entry *entry = shape_find(dir, name);

	if (!entry)
		expected = missing;
	else if (entry->node->type != OBJECT_DIR)
		expected = not_dir;
	else if (entry->node->n_entries > 0)
		expected = full;
	trace_op("%lu rmdir %s in %016lx", m->seq, trace_name(name), number(dir));
	if (model_answer(m, fs_rmdir(m->fs, dir->ino, name), expected))
		removed(m, dir, name);
}

void op_rmdir(struct model *m)
{
	char name[FS_NAME_MAX + 1];
	struct shape_node *dir = model_pick(m, DIRS, 0);

	if (!dir)
		return;
	model_choose_name(m, dir, 92, name);
	// Most tries would meet a file or a full directory: look for an empty one.
	for (size_t i = 0; i < dir->n_entries && prng_chance(&m->rng, 90); i++) {
		const struct shape_entry *e = &dir->entries[i];

		if (e->node->type == OBJECT_DIR && e->node->n_entries == 0)
			memcpy(name, e->name, strlen(e->name) + 1);
	}
	do_rmdir(m, dir, name);
}

void do_link(struct model *m, struct shape_node *node, struct shape_node *dir, const char *name)
{
	static const int none[] = {0}, exists[] = {WERR_EXISTS, 0};
	struct fs_stat st;
	int there = shape_find(dir, name) != NULL;

	trace_op("%lu link %016lx as %s in %016lx", m->seq, number(node), trace_name(name),
		 number(dir));
	int err = fs_link(m->fs, node->ino, dir->ino, name, &st);

	if (!model_answer(m, err, there ? exists : none))
		return;
	model_touch(dir);
	model_touch(node);
	shape_put(&m->shape, dir, name, node);
	shape_name_op(&m->shape);
	stream_changed(m, dir, name);
	if (m->dark)
		return;
	node->lookups++;
	model_check_stat(m, node, &st);
}

void op_link(struct model *m)
{
	char name[FS_NAME_MAX + 1];
	struct shape_node *node = model_pick(m, NOT_DIRS, 0);
	struct shape_node *dir = model_pick(m, DIRS, 0);

	if (!node || !dir)
		return;
	model_choose_name(m, dir, 5, name);
	do_link(m, node, dir, name);
}

void do_forget(struct model *m, struct shape_node *node, uint64_t count)
{
	trace_op("%lu forget %016lx %lu of %lu", m->seq, number(node), count, node->lookups);
	fs_forget(m->fs, node->ino, count);
	node->lookups -= count;
}

void op_lookup(struct model *m)
{
	static const int none[] = {0}, missing[] = {WERR_NOTFOUND, 0};
	char name[FS_NAME_MAX + 1];
	struct fs_stat st;
	struct shape_node *dir = model_pick(m, DIRS, 0);

	if (!dir)
		return;
	model_choose_name(m, dir, 60, name);
	const struct shape_entry *entry = shape_find(dir, name);

	trace_op("%lu lookup %s in %016lx", m->seq, trace_name(name), number(dir));
	int err = fs_lookup(m->fs, dir->ino, name, &st);

	if (!model_answer(m, err, entry ? none : missing) || m->dark)
		return;
	entry->node->lookups++;
	model_check_stat(m, entry->node, &st);
}

// Like a kernel that is short of memory: a directory is kept while something in it is.
void op_forget(struct model *m)
{
	struct shape_node *node = m->shape.nodes[prng_below(&m->rng, m->shape.n_nodes)];

	if (node->ino == FS_ROOT || node->lookups == 0)
		return;
	uint64_t count =
		prng_chance(&m->rng, 70) ? node->lookups : prng_range(&m->rng, 1, node->lookups);

	for (size_t i = 0; i < node->n_entries; i++) {
		if (node->entries[i].node->lookups > 0)
			return;
	}
	do_forget(m, node, count);
}
