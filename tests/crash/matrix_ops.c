// SPDX-License-Identifier: Apache-2.0
// The operations of the crash matrix: those of STORAGE.md section 5, and what lies between them.
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>

#include "fusefs/rotate.h"
#include "fusefs/vault.h"
#include "tests/crash/matrix.h"
#include "tests/model/trace.h"

#define PAGE 4096u
#define PAGES(n) ((size_t)(n)*PAGE)

void matrix_stage(struct model *m)
{
	make(m, "d", OBJECT_DIR);
	make(m, "e", OBJECT_DIR);
	make(m, "d/sub", OBJECT_DIR);
	make(m, "d/sub/inner", OBJECT_FILE);
	make(m, "f", OBJECT_FILE); // large
	put(m, "f", 0, PAGES(30));
	make(m, "g", OBJECT_FILE); // inline
	put(m, "g", 0, 2000);
	make(m, "t", OBJECT_FILE); // with a tail
	put(m, "t", 0, 5000);
	make(m, "d/h", OBJECT_FILE);
	put(m, "d/h", 0, PAGES(6));
	make(m, "k", OBJECT_FILE); // two names
	put(m, "k", 0, PAGES(3));
	link_to(m, "k", "d/k2");
	make_link(m, "s", "where it points to");
	set_xattr(m, "t", 0, 100);
	set_xattr(m, "k", 1, 9000);
	checkpoint(m);
}

// Whether the operations before have left this name; "" is the root.
static int there(struct model *m, const char *path)
{
	char part[FS_NAME_MAX + 1];
	struct shape_node *node = m->shape.nodes[0];

	while (node && *path) {
		size_t len = strcspn(path, "/");

		memcpy(part, path, len);
		part[len] = '\0';
		const struct shape_entry *e = shape_find(node, part);

		node = e ? e->node : NULL;
		path += len + (path[len] == '/');
	}
	return node != NULL;
}

static int is_file(struct model *m, const char *path)
{
	if (!there(m, path))
		make(m, path, OBJECT_FILE);
	const struct shape_node *node = at(m, path);

	return node && node->type == OBJECT_FILE;
}

static uint64_t size_of(struct model *m, const char *path)
{
	const struct shape_node *node = at(m, path);

	return node ? content_size(&node->content) : 0;
}

// A name that is not there yet.
static const char *fresh(struct model *m, const char *stem)
{
	static char name[64];

	for (unsigned i = 0;; i++) {
		(void)snprintf(name, sizeof(name), "%s%u", stem, i);
		if (!there(m, name))
			return name;
	}
}

static void act_create(struct model *m)
{
	make(m, fresh(m, "d/new"), OBJECT_FILE);
}

static void act_mkdir(struct model *m)
{
	make(m, fresh(m, "dir"), OBJECT_DIR);
}

static void act_symlink(struct model *m)
{
	char target[2001];

	memset(target, 'y', 2000);
	target[2000] = '\0';
	make_link(m, fresh(m, "d/short"), "target");
	make_link(m, fresh(m, "d/long"), target);
}

static void act_mknod(struct model *m)
{
	make(m, fresh(m, "fifo"), OBJECT_FIFO);
}

static void act_write_inline(struct model *m)
{
	if (is_file(m, "g"))
		put(m, "g", 100, 500);
}

static void act_write_within(struct model *m)
{
	if (is_file(m, "f"))
		put(m, "f", PAGES(3), PAGES(20));
}

static void act_write_part(struct model *m)
{
	if (is_file(m, "f"))
		put(m, "f", PAGES(7) + 100, 50);
}

static void act_write_beyond(struct model *m)
{
	if (is_file(m, "f"))
		put(m, "f", size_of(m, "f"), PAGES(10));
}

static void act_write_new(struct model *m)
{
	const char *name = fresh(m, "e/big");

	if (!there(m, "e"))
		return;
	make(m, name, OBJECT_FILE);
	put(m, name, 0, PAGES(40));
}

static void act_write_past_tail(struct model *m)
{
	if (is_file(m, "t"))
		put(m, "t", size_of(m, "t") + 6000, 10);
}

static void act_write_to_tree(struct model *m)
{
	if (is_file(m, "g"))
		put(m, "g", 1500, 6000);
}

static void act_append_sync(struct model *m)
{
	if (!is_file(m, "t"))
		return;
	put(m, "t", size_of(m, "t"), 100);
	sync_path(m, "t");
}

static void act_overwrite_sync(struct model *m)
{
	for (unsigned i = 0; i < 2 && is_file(m, "f"); i++) {
		put(m, "f", PAGES(i), PAGES(20));
		sync_path(m, "f");
	}
}

static void act_chmod(struct model *m)
{
	if (is_file(m, "f"))
		chmod_path(m, "f", 0600);
}

static void act_chown_times(struct model *m)
{
	struct fs_setattr set = {.valid = FS_SET_UID | FS_SET_GID | FS_SET_MTIME,
				 .uid = 7,
				 .gid = 8,
				 .mtime = {.s = 5}};
	struct shape_node *node = is_file(m, "t") ? at(m, "t") : NULL;

	if (node)
		do_setattr(m, node, &set);
}

static void act_truncate_down(struct model *m)
{
	if (is_file(m, "f"))
		resize(m, "f", size_of(m, "f") / 3 + 7);
}

static void act_truncate_zero(struct model *m)
{
	if (is_file(m, "f"))
		resize(m, "f", 0);
}

static void act_truncate_up(struct model *m)
{
	if (is_file(m, "t"))
		resize(m, "t", size_of(m, "t") + 20000);
}

static void act_truncate_tail(struct model *m)
{
	if (!is_file(m, "t"))
		return;
	resize(m, "t", 100);
	resize(m, "t", 5000);
}

static void act_punch(struct model *m)
{
	if (is_file(m, "f"))
		punch(m, "f", PAGES(4), PAGES(16));
}

static void act_zero_range(struct model *m)
{
	struct shape_node *node = is_file(m, "f") ? at(m, "f") : NULL;

	if (node)
		do_fallocate(m, node, FALLOC_FL_ZERO_RANGE, PAGES(2) + 9, PAGES(31));
}

static void act_rename(struct model *m)
{
	if (there(m, "d/h") && there(m, "e") && !there(m, "e/h"))
		move(m, "d/h", "e/h", 0);
	else if (there(m, "e/h") && there(m, "d") && !there(m, "d/h"))
		move(m, "e/h", "d/h", 0);
}

static void act_rename_dir(struct model *m)
{
	if (there(m, "d/sub") && there(m, "e") && !there(m, "e/sub"))
		move(m, "d/sub", "e/sub", 0);
	else if (there(m, "e/sub") && there(m, "d") && !there(m, "d/sub"))
		move(m, "e/sub", "d/sub", 0);
}

static void over(struct model *m, const char *path, size_t bytes)
{
	char name[64];

	(void)snprintf(name, sizeof(name), "%s", fresh(m, "over"));
	make(m, name, OBJECT_FILE);
	put(m, name, 0, bytes);
	if (!there(m, path) || is_file(m, path))
		move(m, name, path, 0);
}

static void act_rename_over_inline(struct model *m)
{
	over(m, "t", 2000);
}

static void act_rename_over_small(struct model *m)
{
	over(m, "f", PAGES(5));
}

static void act_rename_over_large(struct model *m)
{
	over(m, "f", PAGES(40));
}

// The source is durable, and was overwritten since.
static void act_rename_over_old(struct model *m)
{
	if (!is_file(m, "f") || !is_file(m, "t"))
		return;
	put(m, "f", 0, PAGES(18));
	move(m, "f", "t", 0);
}

static void act_exchange(struct model *m)
{
	if (there(m, "t") && there(m, "d/h"))
		move(m, "t", "d/h", FS_RENAME_EXCHANGE);
	if (there(m, "d/sub") && there(m, "g"))
		move(m, "d/sub", "g", FS_RENAME_EXCHANGE);
}

static void act_link(struct model *m)
{
	if (is_file(m, "f") && there(m, "d"))
		link_to(m, "f", fresh(m, "d/f"));
}

static void act_write_link(struct model *m)
{
	if (is_file(m, "k"))
		put(m, "k", 50, PAGES(2));
	if (there(m, "d/k2"))
		sync_path(m, "d/k2");
}

static void act_unlink(struct model *m)
{
	if (is_file(m, "f"))
		discard(m, "f");
}

static void act_unlink_link(struct model *m)
{
	if (there(m, "k"))
		discard(m, "k");
	else if (there(m, "d/k2"))
		discard(m, "d/k2");
}

static void act_rmdir(struct model *m)
{
	if (there(m, "e") && at(m, "e") && at(m, "e")->n_entries == 0)
		discard(m, "e");
}

// Removed while it is open, written on, then let go.
static void act_orphan(struct model *m)
{
	struct shape_node *node = is_file(m, "f") ? at(m, "f") : NULL;

	if (!node)
		return;
	discard(m, "f");
	if (!m->dark && node->names == 0)
		do_write(m, node, PAGES(2), PAGES(5), 0);
	if (!m->dark && node->names == 0)
		do_forget(m, node, node->lookups);
}

static void act_xattr_small(struct model *m)
{
	if (is_file(m, "f"))
		set_xattr(m, "f", 0, 200);
}

static void act_xattr_pages(struct model *m)
{
	if (!is_file(m, "t"))
		return;
	set_xattr(m, "t", 1, 20000);
	set_xattr(m, "t", 0, 0);
}

static void act_xattr_back(struct model *m)
{
	if (is_file(m, "k"))
		set_xattr(m, "k", 1, 10);
}

static void act_sync(struct model *m)
{
	if (is_file(m, "f"))
		sync_path(m, "f");
}

static void act_sync_dir(struct model *m)
{
	if (there(m, "d"))
		sync_path(m, "d");
}

static void act_checkpoint(struct model *m)
{
	checkpoint(m);
}

// Closed and opened again.
static void act_remount(struct model *m)
{
	if (!at(m, ""))
		return;
	trace_op("clean end");
	int err = world_close(m->world);

	if (!err) {
		model_all_durable(m);
		err = world_open(m->world);
	}
	TRACE_CHECK(!err || world_dark(m->world), "remount: %d (%s)", err, werr_text(err));
	m->fs = world_fs(m->world);
	m->dark = world_dark(m->world);
	if (!m->dark)
		verify_tree(m, AFTER_CUT);
}

static int rotation_runs(struct model *m)
{
	struct rotate_status st;

	rotate_get_status(m->fs, &st);
	return st.state != ROTATE_IDLE && st.state != ROTATE_ENDED;
}

void matrix_rotate(struct model *m, unsigned level, uint64_t steps)
{
	if (!m->dark && !rotation_runs(m))
		do_rotate(m, level, NULL);
	if (!m->dark)
		(void)do_rotate_steps(m, steps);
}

static void act_rotate_keys(struct model *m)
{
	matrix_rotate(m, VAULT_ROTATION_KEYS, 4);
}

static void act_rotate_contents(struct model *m)
{
	matrix_rotate(m, VAULT_ROTATION_CONTENTS, 4);
}

static void act_rotate_to_the_end(struct model *m)
{
	matrix_rotate(m, VAULT_ROTATION_KEYS, 0);
	if (!m->dark)
		do_rotate_to_the_end(m);
}

const struct matrix_op matrix_ops[] = {
	{"create", act_create},
	{"mkdir", act_mkdir},
	{"symlink", act_symlink},
	{"mknod", act_mknod},
	{"write-inline", act_write_inline},
	{"write-within", act_write_within},
	{"write-part", act_write_part},
	{"write-beyond", act_write_beyond},
	{"write-new", act_write_new},
	{"write-past-tail", act_write_past_tail},
	{"write-to-tree", act_write_to_tree},
	{"append-sync", act_append_sync},
	{"overwrite-sync", act_overwrite_sync},
	{"chmod", act_chmod},
	{"chown-times", act_chown_times},
	{"truncate-down", act_truncate_down},
	{"truncate-zero", act_truncate_zero},
	{"truncate-up", act_truncate_up},
	{"truncate-tail", act_truncate_tail},
	{"punch", act_punch},
	{"zero-range", act_zero_range},
	{"rename", act_rename},
	{"rename-dir", act_rename_dir},
	{"rename-over-inline", act_rename_over_inline},
	{"rename-over-small", act_rename_over_small},
	{"rename-over-large", act_rename_over_large},
	{"rename-over-old", act_rename_over_old},
	{"exchange", act_exchange},
	{"link", act_link},
	{"write-link", act_write_link},
	{"unlink", act_unlink},
	{"unlink-link", act_unlink_link},
	{"rmdir", act_rmdir},
	{"orphan", act_orphan},
	{"xattr-small", act_xattr_small},
	{"xattr-pages", act_xattr_pages},
	{"xattr-back", act_xattr_back},
	{"sync", act_sync},
	{"sync-dir", act_sync_dir},
	{"checkpoint", act_checkpoint},
	{"remount", act_remount},
	{"rotate-keys", act_rotate_keys},
	{"rotate-contents", act_rotate_contents},
	{"rotate-to-the-end", act_rotate_to_the_end},
};
const unsigned n_matrix_ops = sizeof(matrix_ops) / sizeof(matrix_ops[0]);
