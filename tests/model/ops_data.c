// SPDX-License-Identifier: Apache-2.0
// Reading, writing, sizes, and making durable.
#include <string.h>

#include "tests/model/model.h"
#include "tests/model/trace.h"

#define FILES (1u << OBJECT_FILE)
#define FILE_PAGES_MAX 1500 // of the model, one file
#define ALL_PAGES_MAX 24000 // of the model, all files

static unsigned long number(const struct shape_node *node)
{
	return (unsigned long)node->ino;
}

// Offsets where something changes in the format: inline content, direct pages, the indirect trees.
static uint64_t choose_edge(struct model *m)
{
	static const uint64_t edges[] = {
		2720,
		3232,
		4096,
		8192,
		80 * 4096,
		(80 + 128) * 4096,
		(80ull + 128 + (1 << 14)) * 4096,
		(80ull + 128 + (1 << 14) + (1 << 21)) * 4096,
		1ull << 32,
		1ull << 40,
	};
	// The large ones make sparse files; those are dear, so they are rare.
	size_t n = prng_chance(&m->rng, 90) ? 6 : sizeof(edges) / sizeof(edges[0]);

	return edges[prng_below(&m->rng, n)] - 20 + prng_below(&m->rng, 40);
}

static uint64_t choose_offset(struct model *m, const struct shape_node *node)
{
	uint64_t size = content_size(&node->content);
	uint64_t dice = prng_below(&m->rng, 100);

	if (dice < 30)
		return size;
	if (dice < 65)
		return prng_below(&m->rng, size + 1);
	if (dice < 80)
		return prng_below(&m->rng, size / 4096 + 1) * 4096;
	if (dice < 92)
		return size + prng_below(&m->rng, 40000);
	return choose_edge(m);
}

static size_t choose_length(struct model *m)
{
	uint64_t dice = prng_below(&m->rng, 100);

	if (dice < 40)
		return prng_range(&m->rng, 1, 200);
	if (dice < 65)
		return prng_range(&m->rng, 1, 9000);
	if (dice < 80)
		return prng_range(&m->rng, 1, 12) * 4096;
	if (dice < 97)
		return prng_range(&m->rng, 1, 70000);
	return prng_range(&m->rng, 1, 400000);
}

// The kill flag of the kernel: writing takes the privileges away.
static void kill_privileges(struct model *m, struct shape_node *node)
{
	const struct shape_owner *owner = shape_owner(node);
	uint32_t mode = owner->mode & ~04000u;

	if (mode & 010)
		mode &= ~02000u;
	shape_set_owner(node, m->seq, mode, owner->uid, owner->gid);
	if (shape_xset(node)->len[10])
		shape_new_xset(node, m->seq)->len[10] = 0;
}

void op_write(struct model *m)
{
	struct shape_node *node = model_pick(m, FILES, 1);

	if (!node)
		return;
	uint64_t off = choose_offset(m, node);
	size_t len = choose_length(m);
	int kill = prng_chance(&m->rng, 10);

	if (content_pages(&node->content) > FILE_PAGES_MAX)
		off = prng_below(&m->rng, 100 * 4096);
	do_write(m, node, off, len, kill);
}

void do_write(struct model *m, struct shape_node *node, uint64_t off, size_t len, int kill)
{
	prng_fill(&m->rng, m->buf, len);
	if (prng_chance(&m->rng, 3))
		memset(m->buf, 0, len);
	trace_op("%lu write %016lx at %lu, %zu bytes, kill %d (size %lu)", m->seq, number(node),
		 off, len, kill, content_size(&node->content));
	if (!model_success(m, fs_write(m->fs, node->ino, off, m->buf, len, kill)))
		return;
	model_touch(node);
	content_write(&node->content, m->seq, off, len, m->buf);
	if (kill)
		kill_privileges(m, node);
}

void op_read(struct model *m)
{
	size_t got = 0;
	struct shape_node *node = model_pick(m, FILES, 1);

	if (!node)
		return;
	uint64_t size = content_size(&node->content), off = choose_offset(m, node);
	size_t len = prng_chance(&m->rng, 80) ? choose_length(m) : prng_range(&m->rng, 1, 1u << 20);
	size_t want = off >= size ? 0 : size - off < len ? size - off : len;

	trace_op("%lu read %016lx at %lu, %zu bytes (size %lu)", m->seq, number(node), off, len,
		 size);
	memset(m->buf, 0xaa, len);
	if (!model_success(m, fs_read(m->fs, node->ino, off, len, m->buf, &got)) || m->dark)
		return;
	TRACE_CHECK(got == want, "read %zu bytes, expected %zu", got, want);
	content_read(&node->content, off, want, m->buf2);
	for (size_t i = 0; i < want; i++) {
		TRACE_CHECK(m->buf[i] == m->buf2[i],
			    "byte %zu of the read (offset %lu, page %lu) is %02x, expected %02x", i,
			    off + i, (off + i) / 4096, m->buf[i], m->buf2[i]);
	}
}

void op_truncate(struct model *m)
{
	struct shape_node *node = model_pick(m, FILES, 1);

	if (!node)
		return;
	uint64_t size = content_size(&node->content), dice = prng_below(&m->rng, 100), to = 0;

	if (dice < 20)
		to = 0;
	else if (dice < 60)
		to = prng_below(&m->rng, size + 1);
	else if (dice < 70)
		to = size / 4096 * 4096;
	else if (dice < 90)
		to = size + prng_below(&m->rng, 100000);
	else
		to = choose_edge(m);
	shape_count_pages(&m->shape);
	if (m->shape.pages > ALL_PAGES_MAX || content_pages(&node->content) > FILE_PAGES_MAX)
		to = prng_below(&m->rng, 5000);
	do_truncate(m, node, to);
}

void do_truncate(struct model *m, struct shape_node *node, uint64_t to)
{
	struct fs_stat st;
	struct fs_setattr set = {.valid = FS_SET_SIZE, .size = to};

	trace_op("%lu truncate %016lx from %lu to %lu", m->seq, number(node),
		 content_size(&node->content), to);
	if (!model_success(m, fs_setattr(m->fs, node->ino, &set, &st)))
		return;
	model_touch(node);
	content_resize(&node->content, m->seq, to);
	if (!m->dark)
		model_check_stat(m, node, &st);
}

void op_copy(struct model *m)
{
	uint64_t copied = 0;
	struct shape_node *in = model_pick(m, FILES, 1), *out = model_pick(m, FILES, 1);

	if (!in || !out || in == out)
		return;
	uint64_t size = content_size(&in->content);
	uint64_t in_off = prng_below(&m->rng, size + 1), out_off = choose_offset(m, out);

	if (prng_chance(&m->rng, 30))
		in_off = out_off = 4096 * prng_below(&m->rng, 3);
	uint64_t len = choose_length(m);
	uint64_t there = in_off >= size ? 0 : size - in_off < len ? size - in_off : len;

	trace_op("%lu copy %lu bytes of %016lx at %lu (size %lu) to %016lx at %lu (size %lu)",
		 m->seq, len, number(in), in_off, size, number(out), out_off,
		 content_size(&out->content));
	int err = fs_copy_range(m->fs, in->ino, in_off, out->ino, out_off, len, &copied);

	if (!model_success(m, err))
		return;
	if (m->dark)
		copied = there;
	TRACE_CHECK(copied <= there && (copied > 0 || there == 0), "%lu bytes copied of %lu",
		    copied, there);
	trace_more(" copied %lu", copied);
	if (copied == 0)
		return;
	model_touch(in);
	model_touch(out);
	content_read(&in->content, in_off, copied, m->buf);
	content_write(&out->content, m->seq, out_off, copied, m->buf);
}

struct parked {
	int done, err;
};

static void fsync_done(void *arg, int err)
{
	struct parked *p = arg;

	p->done++;
	p->err = err;
}

void op_fsync(struct model *m)
{
	struct shape_node *node = model_pick(m, FILES | 1u << OBJECT_DIR, 0);

	if (node)
		do_fsync(m, node, node->type == OBJECT_FILE && prng_chance(&m->rng, 30));
}

void do_fsync(struct model *m, struct shape_node *node, int data_only)
{
	struct parked p = {0};
	struct fs_stat st;

	trace_op("%lu %s %016lx (size %lu)", m->seq, data_only ? "fdatasync" : "fsync",
		 number(node), content_size(&node->content));
	fs_fsync(m->fs, node->ino, data_only, fsync_done, &p);
	TRACE_CHECK(p.done == 1, "fsync answered %d times", p.done);
	if (!model_success(m, p.err) || m->dark)
		return;
	shape_settle(node, m->seq, data_only);
	shape_names_durable(&m->shape);
	if (data_only)
		return;
	if (!model_success(m, fs_getattr(m->fs, node->ino, &st)) || m->dark)
		return;
	node->settled = st.attr;
	node->settled_valid = 1;
}

void op_checkpoint(struct model *m)
{
	trace_op("%lu checkpoint", m->seq);
	if (model_success(m, fs_checkpoint(m->fs)) && !m->dark)
		model_all_durable(m);
}
