// SPDX-License-Identifier: Apache-2.0
// Holes: fallocate and lseek.
#include <linux/falloc.h>
#include <unistd.h>

#include "tests/model/model.h"
#include "tests/model/trace.h"

#define FILES (1u << OBJECT_FILE)

void op_fallocate(struct model *m)
{
	static const int modes[] = {
		0,
		FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_COLLAPSE_RANGE,
	};
	struct shape_node *node = model_pick(m, FILES, 1);

	if (!node)
		return;
	int mode = modes[prng_below(&m->rng, sizeof(modes) / sizeof(modes[0]))];
	uint64_t size = content_size(&node->content);
	uint64_t off = prng_below(&m->rng, size + 20000);
	uint64_t len = prng_range(&m->rng, 1, prng_chance(&m->rng, 50) ? 5000 : 300000);

	if (prng_chance(&m->rng, 30)) {
		off = off / 4096 * 4096;
		len = (len / 4096 + 1) * 4096;
	}
	do_fallocate(m, node, mode, off, len);
}

void do_fallocate(struct model *m, struct shape_node *node, int mode, uint64_t off, uint64_t len)
{
	static const int none[] = {0}, not_supported[] = {WERR_NOTSUP, 0};
	uint64_t size = content_size(&node->content);

	trace_op("%lu fallocate %016lx mode %d at %lu, %lu bytes (size %lu)", m->seq,
		 (unsigned long)node->ino, mode, off, len, size);
	int err = fs_fallocate(m->fs, node->ino, mode, off, len);

	if (!model_answer(m, err, mode == FALLOC_FL_COLLAPSE_RANGE ? not_supported : none))
		return;
	model_touch(node);
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		content_zero(&node->content, m->seq, off, len);
	if (!(mode & FALLOC_FL_KEEP_SIZE) && off + len > size)
		content_resize(&node->content, m->seq, off + len);
}

// What lseek answers must agree with the content: before data there are only zeros, and a hole is
// zeros to its page's end.
void op_seek(struct model *m)
{
	static const int none[] = {0}, beyond[] = {WERR_NXIO, 0};
	uint64_t to = 0;
	struct shape_node *node = model_pick(m, FILES, 1);

	if (!node)
		return;
	uint64_t size = content_size(&node->content);
	uint64_t off = prng_below(&m->rng, size + 5000);
	int whence = prng_chance(&m->rng, 50) ? SEEK_DATA : SEEK_HOLE;

	trace_op("%lu seek %016lx %s from %lu (size %lu)", m->seq, (unsigned long)node->ino,
		 whence == SEEK_DATA ? "data" : "hole", off, size);
	int err = fs_lseek(m->fs, node->ino, off, whence, &to);

	if (off < size && whence == SEEK_DATA && err == WERR_NXIO) {
		TRACE_CHECK(content_is_zero(&node->content, off, size - off),
			    "no data is said to come, but some does");
		return;
	}
	if (!model_answer(m, err, off < size ? none : beyond) || m->dark)
		return;
	trace_more(" -> %lu", to);
	TRACE_CHECK(to >= off && to <= size, "outside of the file");
	if (whence == SEEK_DATA) {
		TRACE_CHECK(to < size, "data at the end of the file");
		TRACE_CHECK(content_is_zero(&node->content, off, to - off), "data is passed over");
	} else if (to < size) {
		TRACE_CHECK(content_is_zero(&node->content, to, 4096 - to % 4096),
			    "a hole with data in it");
	}
}
