// SPDX-License-Identifier: Apache-2.0
// Rotation among the other operations: begun, driven a few steps at a time, and looked at when it
// ends.
#include <stdlib.h>

#include "crypto/object_header.h"
#include "fusefs/rotate.h"
#include "tests/model/model.h"
#include "tests/model/trace.h"

// What the host has of a named object after a whole rotation: keys of the current epoch, and after
// one of the contents a single data key.
static void check_object(struct model *m, const struct rotate_status *st, uint64_t ino)
{
	uint8_t page[WARD_PAGE];
	struct fs_stat known;
	struct object_id id;
	const uint8_t *tlv;
	size_t len;

	// What a checkpoint that a crash took back left on the host has no effect.
	if (fs_getattr(m->fs, ino, &known) || !(known.attr.flags & ATTR_HAS_OBJECT) ||
	    !world_read_object(m->world, ino, page) || page[0] == 0)
		return; // no header of it was stored yet
	int err = object_header_prefix(page, &id, &tlv, &len);

	TRACE_CHECK(!err, "object %016lx: header %d", (unsigned long)ino, err);
	TRACE_CHECK(id.epoch == st->epoch,
		    "object %016lx has keys of epoch %u after a rotation to %u", (unsigned long)ino,
		    id.epoch, st->epoch);
	TRACE_CHECK(st->level != VAULT_ROTATION_CONTENTS || len == 108,
		    "object %016lx still has old data keys (%zu bytes)", (unsigned long)ino, len);
}

static void check_rotated(struct model *m, const struct rotate_status *st)
{
	if (st->subtree)
		return;
	TRACE_CHECK(st->epochs == 1, "%u epochs after a rotation", st->epochs);
	for (size_t i = 0; i < m->shape.n_nodes; i++) {
		if (m->shape.nodes[i]->names > 0)
			check_object(m, st, m->shape.nodes[i]->ino);
	}
}

void do_rotate(struct model *m, unsigned level, const char *path)
{
	struct rotate_params params = {.level = level, .path = path, .now_s = 1700000000};

	trace_op("%lu rotation of level %u begins%s%s", m->seq, level, path ? " below " : "",
		 path ? path : "");
	int err = world_rotate(m->world, &params);

	if (!(m->faults && err == WERR_BUSY)) // one that failures have left incomplete
		(void)model_success(m, err);
}

int do_rotate_steps(struct model *m, uint64_t steps)
{
	struct rotate_status st;
	bool more = true;

	trace_op("%lu rotation, %lu steps", m->seq, steps);
	while (more && steps-- && !m->dark) {
		int err = rotate_step(m->fs, &more);

		if (!model_success(m, err))
			return 0;
	}
	if (world_dark(m->world)) // it may have been looked upon as objects that cannot be read
		m->dark = 1;
	if (m->dark)
		return 0;
	rotate_get_status(m->fs, &st);
	TRACE_CHECK(st.state != ROTATE_INCOMPLETE || m->faults, "%lu objects cannot be rotated",
		    st.failed);
	if (!more && st.state == ROTATE_ENDED) {
		check_rotated(m, &st);
		m->rotations++;
	}
	return more;
}

void do_rotate_to_the_end(struct model *m)
{
	int more = do_rotate_steps(m, 20000);

	TRACE_CHECK(!more || m->dark, "the rotation does not end");
}

void do_rekey(struct model *m)
{
	trace_op("%lu another root key", m->seq);
	int err = world_rekey(m->world);

	if (err != WERR_LIMIT)
		(void)model_success(m, err);
}

void op_rotate(struct model *m)
{
	struct rotate_status st;

	// Also in the middle of a rotation.
	if (prng_chance(&m->rng, 4)) {
		do_rekey(m);
		return;
	}
	rotate_get_status(m->fs, &st);
	if (st.state == ROTATE_IDLE || st.state == ROTATE_ENDED) {
		if (prng_chance(&m->rng, 90))
			return;
		struct shape_node *dir = model_pick(m, 1u << OBJECT_DIR, 0);
		const char *name = NULL;

		if (dir && dir->ino != FS_ROOT && prng_chance(&m->rng, 20) &&
		    shape_any_name(&m->shape, dir, &name) == m->shape.nodes[0])
			do_rotate(m, VAULT_ROTATION_CONTENTS, name);
		else
			do_rotate(m, 1 + (unsigned)prng_below(&m->rng, 2), NULL);
		return;
	}
	(void)do_rotate_steps(m, prng_range(&m->rng, 1, prng_chance(&m->rng, 10) ? 3000 : 40));
}
