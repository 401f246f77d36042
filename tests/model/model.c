// SPDX-License-Identifier: Apache-2.0
#include "tests/model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/model/trace.h"

void model_pool_name(unsigned i, char out[static FS_NAME_MAX + 1])
{
	static const char *const odd[] = {
		".hidden",      " ", "new\nline", "\xff\xfe\xfd", "a", "...", "-rf",
		"\xe2\x82\xac", "A", "trailing ", "\x01",         "~",
	};
	size_t len = 0;

	if (i < 36) {
		(void)snprintf(out, FS_NAME_MAX + 1, "n%u", i);
		return;
	}
	if (i - 36 < sizeof(odd) / sizeof(odd[0])) {
		(void)snprintf(out, FS_NAME_MAX + 1, "%s", odd[i - 36]);
		return;
	}
	if (i >= MODEL_NAMES) {
		(void)snprintf(out, FS_NAME_MAX + 1, "entry number %u", i);
		return;
	}
	len = i < 60 ? 40 + 7 * (i - 48) : FS_NAME_MAX;
	memset(out, 'x', len);
	out[0] = (char)('A' + (i % 26));
	out[len] = '\0';
}

void model_choose_name(struct model *m, const struct shape_node *dir, unsigned existing,
		       char out[static FS_NAME_MAX + 1])
{
	if (dir->n_entries > 0 && prng_chance(&m->rng, existing)) {
		const char *name = dir->entries[prng_below(&m->rng, dir->n_entries)].name;

		memcpy(out, name, strlen(name) + 1);
		return;
	}
	unsigned pool = dir->ino % 4 == 1 ? MODEL_WIDE_NAMES : MODEL_NAMES;

	model_pool_name((unsigned)prng_below(&m->rng, pool), out);
}

int model_answer(struct model *m, int err, const int *allowed)
{
	trace_more(" = %d", err);
	if (err && (world_dark(m->world) || (m->faults && err == WERR_IO) ||
		    (m->faults && err == WERR_READONLY))) {
		m->dark = 1;
		m->dark_name_op = m->shape.name_op;
		return allowed[0] == 0;
	}
	if (allowed[0] == 0 && err == 0)
		return 1;
	for (const int *a = allowed; *a; a++) {
		if (*a == err)
			return 0;
	}
	trace_fail("the engine answers %d (%s), expected %d (%s)", err, werr_text(err), allowed[0],
		   werr_text(allowed[0]));
}

int model_success(struct model *m, int err)
{
	static const int none[] = {0};

	return model_answer(m, err, none);
}

void model_touch(struct shape_node *node)
{
	node->settled_valid = 0;
}

int model_know(struct model *m, struct shape_node *node)
{
	const char *name = NULL;
	struct fs_stat st;

	if (node->lookups > 0 || node->ino == FS_ROOT)
		return 1;
	struct shape_node *dir = shape_any_name(&m->shape, node, &name);

	if (!dir || !model_know(m, dir))
		return 0;
	int err = fs_lookup(m->fs, dir->ino, name, &st);

	if (err && (world_dark(m->world) || m->faults)) {
		m->dark = 1;
		m->dark_name_op = m->shape.name_op;
		return 0;
	}
	TRACE_CHECK(!err, "look-up of %s in %016lx: %d (%s)", trace_name(name),
		    (unsigned long)dir->ino, err, werr_text(err));
	node->lookups++;
	model_check_stat(m, node, &st);
	return 1;
}

struct shape_node *model_pick(struct model *m, unsigned types, int orphans)
{
	for (unsigned tries = 0; tries < 200; tries++) {
		struct shape_node *node = m->shape.nodes[prng_below(&m->rng, m->shape.n_nodes)];

		if (!(types & (1u << node->type)))
			continue;
		if (node->names == 0 && (!orphans || node->lookups == 0))
			continue;
		if (node->names == 0 && node->type == OBJECT_DIR)
			continue;
		return model_know(m, node) ? node : NULL;
	}
	return NULL;
}

void model_check_stat(struct model *m, const struct shape_node *node, const struct fs_stat *st)
{
	const struct shape_owner *owner = shape_owner(node);
	const struct ward_attr *a = &st->attr;
	unsigned long ino = (unsigned long)node->ino;

	(void)m;
	TRACE_CHECK(st->ino == node->ino, "inode %016lx shows number %016lx", ino,
		    (unsigned long)st->ino);
	TRACE_CHECK(st->type == node->type, "inode %016lx has type %u, expected %u", ino, st->type,
		    node->type);
	TRACE_CHECK(a->mode == owner->mode && a->uid == owner->uid && a->gid == owner->gid,
		    "inode %016lx has mode %o uid %u gid %u, expected %o %u %u", ino, a->mode,
		    a->uid, a->gid, owner->mode, owner->uid, owner->gid);
	TRACE_CHECK(a->nlink == shape_nlink(node), "inode %016lx has %u links, expected %u", ino,
		    a->nlink, shape_nlink(node));
	if (node->type == OBJECT_FILE)
		TRACE_CHECK(a->size == content_size(&node->content),
			    "inode %016lx has size %lu, expected %lu", ino, (unsigned long)a->size,
			    (unsigned long)content_size(&node->content));
	if (node->type == OBJECT_SYMLINK)
		TRACE_CHECK(a->size == strlen(node->target), "symlink %016lx has size %lu", ino,
			    (unsigned long)a->size);
	TRACE_CHECK(a->rdev == node->rdev, "inode %016lx has device %lx, expected %lx", ino,
		    (unsigned long)a->rdev, (unsigned long)node->rdev);
}

void model_all_durable(struct model *m)
{
	shape_names_durable(&m->shape);
	for (size_t i = 0; i < m->shape.n_nodes; i++)
		shape_settle(m->shape.nodes[i], m->seq, 0);
}

// The root is as the engine made it.
static void take_root(struct model *m)
{
	struct fs_stat st;
	int err = fs_getattr(m->fs, FS_ROOT, &st);

	TRACE_CHECK(!err, "getattr of the root: %d (%s)", err, werr_text(err));
	m->shape.nodes[0]->owners[0] =
		(struct shape_owner){0, st.attr.mode, st.attr.uid, st.attr.gid};
}

struct model *model_new(struct world *world, uint64_t seed)
{
	struct model *m = trace_calloc(1, sizeof(*m));

	m->rng.state = seed;
	m->buf = trace_calloc(1, MODEL_BUF);
	m->buf2 = trace_calloc(1, MODEL_BUF);
	m->world = world;
	shape_init(&m->shape);
	int err = world_open(world);

	TRACE_CHECK(!err, "opening a new vault: %d (%s)", err, werr_text(err));
	m->fs = world_fs(world);
	take_root(m);
	return m;
}

void model_free(struct model *m)
{
	stream_drop_all(m);
	shape_clear(&m->shape);
	world_free(m->world);
	free(m->buf);
	free(m->buf2);
	free(m);
}
