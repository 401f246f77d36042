// SPDX-License-Identifier: Apache-2.0
#include <linux/falloc.h>
#include <string.h>

#include "tests/crash/crash_ops.h"
#include "tests/model/trace.h"

static int off(struct model *m)
{
	m->seq++;
	return m->dark || world_dark(m->world);
}

// The directory of a path; *ret_name: its last component.
static struct shape_node *dir_of(struct model *m, const char *path, const char **ret_name)
{
	char part[FS_NAME_MAX + 1];
	struct shape_node *dir = m->shape.nodes[0];
	const char *slash;

	for (; (slash = strchr(path, '/')) != NULL; path = slash + 1) {
		memcpy(part, path, (size_t)(slash - path));
		part[slash - path] = '\0';
		const struct shape_entry *e = shape_find(dir, part);

		TRACE_CHECK(e, "the scenario has no directory %s", part);
		dir = e->node;
	}
	*ret_name = path;
	return model_know(m, dir) ? dir : NULL;
}

struct shape_node *at(struct model *m, const char *path)
{
	const char *name = path;

	if (off(m))
		return NULL;
	if (!*path)
		return m->shape.nodes[0];
	struct shape_node *dir = dir_of(m, path, &name);

	if (!dir)
		return NULL;
	const struct shape_entry *e = shape_find(dir, name);

	TRACE_CHECK(e, "the scenario has no %s", path);
	return model_know(m, e->node) ? e->node : NULL;
}

void make(struct model *m, const char *path, uint8_t type)
{
	struct fs_make how = {.type = type, .mode = 0640, .uid = 1, .gid = 2};
	const char *name = NULL;
	struct shape_node *dir = off(m) ? NULL : dir_of(m, path, &name);

	if (!dir)
		return;
	struct shape_node *node = shape_add_node(&m->shape, 0, type);

	node->owners[0] = (struct shape_owner){0, how.mode, how.uid, how.gid};
	do_make(m, dir, name, &how, node);
}

void make_link(struct model *m, const char *path, const char *target)
{
	struct fs_make how = {.type = OBJECT_SYMLINK, .mode = 0777, .target = target};
	const char *name = NULL;
	struct shape_node *dir = off(m) ? NULL : dir_of(m, path, &name);

	if (!dir)
		return;
	struct shape_node *node = shape_add_node(&m->shape, 0, OBJECT_SYMLINK);

	node->owners[0] = (struct shape_owner){0, how.mode, 0, 0};
	node->target = trace_strdup(target);
	do_make(m, dir, name, &how, node);
}

void put(struct model *m, const char *path, uint64_t off_bytes, size_t len)
{
	struct shape_node *node = at(m, path);

	if (node)
		do_write(m, node, off_bytes, len, 0);
}

void sync_path(struct model *m, const char *path)
{
	struct shape_node *node = at(m, path);

	if (node)
		do_fsync(m, node, 0);
}

void resize(struct model *m, const char *path, uint64_t size)
{
	struct shape_node *node = at(m, path);

	if (node)
		do_truncate(m, node, size);
}

void punch(struct model *m, const char *path, uint64_t off_bytes, uint64_t len)
{
	struct shape_node *node = at(m, path);

	if (node)
		do_fallocate(m, node, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off_bytes, len);
}

void move(struct model *m, const char *from, const char *to, unsigned flags)
{
	const char *name = NULL, *new_name = NULL;
	struct shape_node *a = at(m, from) ? dir_of(m, from, &name) : NULL;
	struct shape_node *b = a ? dir_of(m, to, &new_name) : NULL;

	if (b)
		do_rename(m, a, name, b, new_name, flags);
}

void link_to(struct model *m, const char *from, const char *to)
{
	const char *name = NULL;
	struct shape_node *node = at(m, from), *dir = node ? dir_of(m, to, &name) : NULL;

	if (dir)
		do_link(m, node, dir, name);
}

void discard(struct model *m, const char *path)
{
	const char *name = NULL;
	struct shape_node *node = at(m, path), *dir = node ? dir_of(m, path, &name) : NULL;

	if (!dir)
		return;
	if (node->type == OBJECT_DIR)
		do_rmdir(m, dir, name);
	else
		do_unlink(m, dir, name);
}

void forget(struct model *m, const char *path)
{
	struct shape_node *node = at(m, path);

	if (node)
		do_forget(m, node, node->lookups);
}

void chmod_path(struct model *m, const char *path, uint32_t mode)
{
	struct fs_setattr set = {.valid = FS_SET_MODE, .mode = mode};
	struct shape_node *node = at(m, path);

	if (node)
		do_setattr(m, node, &set);
}

void set_xattr(struct model *m, const char *path, unsigned i, size_t len)
{
	struct shape_node *node = at(m, path);

	if (node)
		do_setxattr(m, node, i, len, 0);
}

void checkpoint(struct model *m)
{
	if (!off(m))
		op_checkpoint(m);
}
