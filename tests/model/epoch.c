// SPDX-License-Identifier: Apache-2.0
// The ends of a mount: clean, killed, without power; and the next mount, which may lose its power
// too.
#include "tests/model/model.h"
#include "tests/model/trace.h"

// Opens; the power may go off meanwhile, up to three times in a row. Returns how the tree is to be
// compared.
static enum model_after open_again(struct model *m, enum model_after after)
{
	for (unsigned tries = 0;; tries++) {
		int arm = after != AFTER_CLOSE && tries < 3 && prng_chance(&m->rng, 40);

		if (arm)
			world_arm(m->world,
				  prng_range(&m->rng, 1, prng_chance(&m->rng, 50) ? 8 : 60));
		int err = world_open(m->world);

		if (!err) {
			world_disarm(m->world);
			if (!world_dark(m->world))
				break;
		}
		TRACE_CHECK(world_dark(m->world) || (m->faults && err == WERR_IO),
			    "the vault cannot be opened again: %d (%s)", err, werr_text(err));
		trace_op("power cut while opening");
		m->dark_opens++;
		world_cut(m->world);
		after = AFTER_CUT;
	}
	m->fs = world_fs(m->world);
	return after;
}

static void recover(struct model *m, enum model_after after)
{
	m->dark = 0;
	after = open_again(m, after);
	verify_tree(m, after);
	// A power cut may leave a host file whose name became durable before the record of its
	// making: without effect, reported by check. Nothing else may be left behind.
	if (m->cuts == 0 && m->dark_opens == 0 && prng_chance(&m->rng, 25))
		verify_no_leak(m);
	trace_reset();
}

void epoch_cut(struct model *m)
{
	trace_op("power cut");
	m->cuts++;
	world_cut(m->world);
	recover(m, AFTER_CUT);
}

int epoch_cut_twice(struct model *m, uint64_t calls)
{
	m->cuts++;
	world_cut(m->world);
	m->dark = 0;
	world_arm(m->world, calls);
	int err = world_open(m->world);

	if (world_dark(m->world)) {
		world_cut(m->world);
		recover(m, AFTER_CUT);
		return 1;
	}
	TRACE_CHECK(!err, "opening after a power cut: %d (%s)", err, werr_text(err));
	world_disarm(m->world);
	m->fs = world_fs(m->world);
	verify_tree(m, AFTER_CUT);
	return 0;
}

void epoch_kill(struct model *m)
{
	trace_op("kill");
	m->kills++;
	world_kill(m->world);
	recover(m, m->dark ? AFTER_KILL_IN_CALL : AFTER_KILL);
}

// What a clean end must keep: every attribute of every node.
static int note_attributes(struct model *m)
{
	struct fs_stat st;

	for (size_t i = 0; i < m->shape.n_nodes; i++) {
		struct shape_node *node = m->shape.nodes[i];

		if (node->names == 0)
			continue;
		if (!model_know(m, node))
			return 0;
		if (!model_success(m, fs_getattr(m->fs, node->ino, &st)) || m->dark)
			return 0;
		node->settled = st.attr;
		node->settled_valid = 1;
	}
	return 1;
}

void epoch_remount(struct model *m)
{
	trace_op("remount");
	int noted = note_attributes(m);
	int err = noted ? world_close(m->world) : 0;

	if (noted)
		m->remounts++;
	if (!noted || world_dark(m->world) || (err && m->faults)) {
		// It was no clean end: nothing of what was noted has to be kept.
		for (size_t i = 0; i < m->shape.n_nodes; i++)
			model_touch(m->shape.nodes[i]);
		epoch_cut(m);
		return;
	}
	TRACE_CHECK(!err, "closing: %d (%s)", err, werr_text(err));
	model_all_durable(m);
	recover(m, AFTER_CLOSE);
}
