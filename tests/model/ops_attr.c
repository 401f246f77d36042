// SPDX-License-Identifier: Apache-2.0
// Attributes and extended attributes.
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "crypto/xattr_codec.h"
#include "tests/model/model.h"
#include "tests/model/trace.h"

#define ALL_TYPES 0xfeu
#define FILES_AND_DIRS (1u << OBJECT_FILE | 1u << OBJECT_DIR)

void op_getattr(struct model *m)
{
	struct fs_stat st;
	struct shape_node *node = model_pick(m, ALL_TYPES, 1);

	if (!node)
		return;
	trace_op("%lu getattr %016lx", m->seq, (unsigned long)node->ino);
	if (model_success(m, fs_getattr(m->fs, node->ino, &st)) && !m->dark)
		model_check_stat(m, node, &st);
}

static void choose_times(struct model *m, struct fs_setattr *set)
{
	static const int64_t seconds[] = {0, -1, 1700000000, 5000000000, -3000000000};

	if (prng_chance(&m->rng, 40)) {
		set->valid |= prng_chance(&m->rng, 70) ? FS_SET_MTIME : FS_SET_MTIME_NOW;
		set->mtime.s = seconds[prng_below(&m->rng, 5)] + (int64_t)prng_below(&m->rng, 1000);
		set->mtime.ns = (uint32_t)prng_below(&m->rng, 1000000000);
	}
	if (prng_chance(&m->rng, 40)) {
		set->valid |= prng_chance(&m->rng, 70) ? FS_SET_ATIME : FS_SET_ATIME_NOW;
		set->atime.s = seconds[prng_below(&m->rng, 5)];
		set->atime.ns = (uint32_t)prng_below(&m->rng, 1000000000);
	}
}

static int same_time(const struct ward_time *a, const struct ward_time *b)
{
	return a->s == b->s && a->ns == b->ns;
}

void op_setattr(struct model *m)
{
	struct shape_node *node = model_pick(m, ALL_TYPES, 1);
	struct fs_setattr set = {0};

	if (!node)
		return;
	if (prng_chance(&m->rng, 60)) {
		set.valid |= FS_SET_MODE;
		set.mode = (uint32_t)prng_below(&m->rng, 010000);
	}
	if (prng_chance(&m->rng, 30)) {
		set.valid |= FS_SET_UID;
		set.uid = (uint32_t)prng_next(&m->rng) >> 1;
	}
	if (prng_chance(&m->rng, 30)) {
		set.valid |= FS_SET_GID;
		set.gid = (uint32_t)prng_below(&m->rng, 5);
	}
	choose_times(m, &set);
	do_setattr(m, node, &set);
}

// Mode, owner and times.
void do_setattr(struct model *m, struct shape_node *node, const struct fs_setattr *set)
{
	struct fs_stat st;
	struct shape_owner owner = *shape_owner(node);

	owner.mode = set->valid & FS_SET_MODE ? set->mode : owner.mode;
	owner.uid = set->valid & FS_SET_UID ? set->uid : owner.uid;
	owner.gid = set->valid & FS_SET_GID ? set->gid : owner.gid;
	trace_op("%lu setattr %016lx valid %x mode %o uid %u gid %u", m->seq,
		 (unsigned long)node->ino, set->valid, set->mode, set->uid, set->gid);
	if (!model_success(m, fs_setattr(m->fs, node->ino, set, &st)))
		return;
	model_touch(node);
	shape_set_owner(node, m->seq, owner.mode, owner.uid, owner.gid);
	if (m->dark)
		return;
	model_check_stat(m, node, &st);
	TRACE_CHECK(!(set->valid & FS_SET_MTIME) || same_time(&st.attr.mtime, &set->mtime),
		    "the time of the last change was not set");
	TRACE_CHECK(!(set->valid & FS_SET_ATIME) || same_time(&st.attr.atime, &set->atime),
		    "the time of the last access was not set");
}

static size_t choose_value_length(struct model *m)
{
	uint64_t dice = prng_below(&m->rng, 100);

	if (dice < 10)
		return 0;
	if (dice < 55)
		return prng_range(&m->rng, 1, 120);
	if (dice < 80)
		return prng_range(&m->rng, 400, 560);
	if (dice < 95)
		return prng_range(&m->rng, 1, 9000);
	return prng_range(&m->rng, 1, 64000);
}

void do_setxattr(struct model *m, struct shape_node *node, unsigned i, size_t len, int flags)
{
	static const int none[] = {0}, exists[] = {WERR_EXISTS, 0}, missing[] = {WERR_NODATA, 0},
			 full[] = {WERR_NOSPACE, WERR_TOOBIG, WERR_LIMIT, 0};
	struct shape_xset next = *shape_xset(node);
	const int *expected = none;

	if (flags == XATTR_CREATE && next.len[i])
		expected = exists;
	else if (flags == XATTR_REPLACE && !next.len[i])
		expected = missing;
	next.len[i] = (uint32_t)len + 1;
	next.seed[i] = prng_next(&m->rng);
	if (expected == none && shape_xset_bytes(&next) > XATTR_SET_MAX)
		expected = full;
	uint8_t *value = shape_xattr_value(next.seed[i], len);

	trace_op("%lu setxattr %016lx %s, %zu bytes, flags %d", m->seq, (unsigned long)node->ino,
		 shape_xattr_name(i), len, flags);
	int err = fs_setxattr(m->fs, node->ino, shape_xattr_name(i), value, len, flags, NULL);

	free(value);
	if (!model_answer(m, err, expected))
		return;
	model_touch(node);
	next.seq = m->seq;
	*shape_new_xset(node, m->seq) = next;
}

void op_setxattr(struct model *m)
{
	static const int flag_choice[] = {0, 0, 0, XATTR_CREATE, XATTR_REPLACE};
	struct shape_node *node = model_pick(m, FILES_AND_DIRS, 1);

	if (node)
		do_setxattr(m, node, (unsigned)prng_below(&m->rng, SHAPE_XATTRS),
			    choose_value_length(m), flag_choice[prng_below(&m->rng, 5)]);
}

void op_removexattr(struct model *m)
{
	static const int none[] = {0}, missing[] = {WERR_NODATA, 0};
	struct shape_node *node = model_pick(m, FILES_AND_DIRS, 1);

	if (!node)
		return;
	const struct shape_xset *set = shape_xset(node);
	unsigned i = (unsigned)prng_below(&m->rng, SHAPE_XATTRS);

	for (unsigned k = 0; k < SHAPE_XATTRS && !set->len[i]; k++)
		i = (i + 1) % SHAPE_XATTRS;
	trace_op("%lu removexattr %016lx %s", m->seq, (unsigned long)node->ino,
		 shape_xattr_name(i));
	int err = fs_removexattr(m->fs, node->ino, shape_xattr_name(i));

	if (!model_answer(m, err, set->len[i] ? none : missing))
		return;
	model_touch(node);
	shape_new_xset(node, m->seq)->len[i] = 0;
}

static unsigned count_names(const struct shape_xset *set, const char *list, size_t len)
{
	unsigned found = 0;

	for (const char *name = list; name < list + len; name += strlen(name) + 1) {
		unsigned i = 0;

		while (i < SHAPE_XATTRS && strcmp(name, shape_xattr_name(i)) != 0)
			i++;
		TRACE_CHECK(i < SHAPE_XATTRS && set->len[i], "unexpected attribute %s", name);
		found++;
	}
	return found;
}

// The list of names, and one value, also into buffers that are too small.
void op_listxattr(struct model *m)
{
	static const int none[] = {0}, small[] = {WERR_RANGE, 0}, missing[] = {WERR_NODATA, 0};
	size_t len = 0, got = 0;
	unsigned there = 0;
	struct shape_node *node = model_pick(m, ALL_TYPES, 1);

	if (!node)
		return;
	const struct shape_xset *set = shape_xset(node);
	unsigned i = (unsigned)prng_below(&m->rng, SHAPE_XATTRS);

	trace_op("%lu listxattr %016lx and %s", m->seq, (unsigned long)node->ino,
		 shape_xattr_name(i));
	for (unsigned k = 0; k < SHAPE_XATTRS; k++)
		there += set->len[k] != 0;
	if (!model_success(m, fs_listxattr(m->fs, node->ino, NULL, 0, &len)) || m->dark)
		return;
	if (!model_success(m, fs_listxattr(m->fs, node->ino, (char *)m->buf, len, &got)) || m->dark)
		return;
	TRACE_CHECK(got == len && count_names(set, (char *)m->buf, len) == there,
		    "%zu bytes of names; there are %u attributes", len, there);
	if (len > 1)
		(void)model_answer(m, fs_listxattr(m->fs, node->ino, (char *)m->buf, len - 1, &got),
				   small);
	int err = fs_getxattr(m->fs, node->ino, shape_xattr_name(i), m->buf, 65536, &len);

	if (!model_answer(m, err, set->len[i] ? none : missing) || m->dark)
		return;
	uint8_t *value = shape_xattr_value(set->seed[i], set->len[i] - 1);

	TRACE_CHECK(len == set->len[i] - 1 && memcmp(value, m->buf, len) == 0,
		    "the value of %s differs (%zu bytes)", shape_xattr_name(i), len);
	free(value);
	if (len > 1)
		(void)model_answer(
			m,
			fs_getxattr(m->fs, node->ino, shape_xattr_name(i), m->buf, len - 1, &got),
			small);
}

void op_readlink(struct model *m)
{
	char target[FS_TARGET_MAX + 1];
	struct shape_node *node = model_pick(m, 1u << OBJECT_SYMLINK, 0);

	if (!node)
		return;
	trace_op("%lu readlink %016lx", m->seq, (unsigned long)node->ino);
	if (model_success(m, fs_readlink(m->fs, node->ino, target)) && !m->dark)
		TRACE_CHECK(strcmp(target, node->target) == 0, "the target differs");
}
