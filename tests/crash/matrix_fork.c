// SPDX-License-Identifier: Apache-2.0
// One cell of the crash matrix. Before every host call that changes something the process forks:
// the child has no power any more, its operations end as they do then, and what the disk may look
// like afterwards is mounted in children of it; the parent goes on to the next call. So each moment
// of a cell is reached once, and the model knows in every process what was promised until then.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fusefs/tree.h"
#include "tests/crash/matrix.h"
#include "tests/crash/simhost.h"
#include "tests/crash/simtape.h"
#include "tests/model/trace.h"

#define CHILD_SECONDS 1800 // a child that takes longer hangs
#define LEVELS 3u
#define POSITIONS 4096u
#define PAGES_LOOKED_AT 3000u

static struct {
	struct model *m;
	const char *name;
	const struct matrix_effort *effort;
	struct matrix_count *count;
	struct prng rng;
	uint64_t calls; // of this process, that change something
	unsigned level; // 0: the operations; else of the replay
	int cut_now;    // this is the child whose power is off
	uint64_t state; // of those after this cut
	uint8_t is_data[POSITIONS];
} cell;

// 0 in the child; the parent returns when the child ended, or ends as it did.
static int fork_and_wait(void)
{
	int status = 0;

	(void)fflush(NULL);
	pid_t pid = fork();

	TRACE_CHECK(pid >= 0, "fork");
	if (pid == 0) {
		(void)alarm(CHILD_SECONDS);
		return 0;
	}
	while (waitpid(pid, &status, 0) < 0) {
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 1;
	if (WIFSIGNALED(status))
		fprintf(stderr, "a child of %s ended by signal %d\n", cell.name, WTERMSIG(status));
	fprintf(stderr, "  %s: level %u, call %lu, state %lu\n", cell.name, cell.level,
		(unsigned long)cell.calls, (unsigned long)cell.state);
	_exit(1);
}

// Which blocks may be torn: all that images in the journal protect, and the journal. A page of
// content is written whole (DESIGN.md section 7).
static int may_tear(void *arg, uint64_t number, uint64_t block)
{
	const struct shape_node *node = number ? shape_by_ino(&cell.m->shape, number) : NULL;

	(void)arg;
	if (number <= 2 || (node && node->type == OBJECT_DIR))
		return 1;
	return block < POSITIONS && !cell.is_data[block];
}

// The i-th of a random series of cuts; the first four are the extremes.
static struct simhost *random_cut(uint64_t i)
{
	static const enum simcut_what extremes[] = {SIMCUT_NONE, SIMCUT_ALL, SIMCUT_ONLY_FILE,
						    SIMCUT_ALL_BUT_FILE};
	struct simcut cut = {.what = i < 4 ? extremes[i] : SIMCUT_RANDOM};

	if (i >= 4 && i % 2) {
		cut.tear = SIMCUT_TEAR_ALL;
		cut.tear_block = cell.effort->small ? NULL : may_tear;
	}
	trace_op("cut %lu", i);
	return world_cut_copy(cell.m->world, prng_next(&cell.rng), &cut);
}

static void at_call(void *arg)
{
	(void)arg;
	cell.calls++;
	if (cell.level == 0 && cell.calls % cell.effort->stride)
		return;
	if (cell.level > LEVELS ||
	    (cell.level > 0 && prng_below(&cell.rng, 1000) >= cell.effort->replay[cell.level - 1]))
		return;
	if (fork_and_wait())
		return;
	cell.cut_now = 1;
	world_on_change(cell.m->world, NULL, NULL);
	world_power_off(cell.m->world);
}

// Mounts the disk; in children, with a power cut on the way, deeper and deeper.
static void open_again(void)
{
	int err;

	for (cell.level = 1;; cell.level++) {
		cell.calls = 0;
		cell.cut_now = 0;
		world_on_change(cell.m->world, at_call, NULL);
		err = world_open(cell.m->world);
		world_on_change(cell.m->world, NULL, NULL);
		if (!cell.cut_now)
			break;
		atomic_fetch_add(&cell.count->replay[cell.level - 1], 1);
		trace_op("power cut in the replay, level %u, before call %lu", cell.level,
			 cell.calls);
		world_take(cell.m->world, random_cut(prng_below(&cell.rng, 8)));
	}
	TRACE_CHECK(!err, "the vault cannot be opened again: %d (%s)", err, werr_text(err));
	cell.m->fs = world_fs(cell.m->world);
	cell.m->dark = 0;
}

static void go_on_working(struct model *m)
{
	make(m, "at the end", OBJECT_FILE);
	put(m, "at the end", 0, 10000);
	if (cell.effort->rotating)
		do_rotate_to_the_end(m);
	epoch_remount(m);
	int err = world_close(m->world);

	TRACE_CHECK(!err, "closing: %d (%s)", err, werr_text(err));
}

// In a child of its own: one disk as a cut has left it.
static void check_state(struct simhost *disk)
{
	if (fork_and_wait()) {
		simhost_free(disk);
		return;
	}
	cell.m->cuts++;
	world_take(cell.m->world, disk);
	open_again();
	verify_tree(cell.m, AFTER_CUT);
	atomic_fetch_add(&cell.count->states, 1);
	if (prng_below(&cell.rng, 1000) < cell.effort->after)
		go_on_working(cell.m);
	_exit(0);
}

// Everything, or a part, of what may be left of the disk at this moment.
static void check_states(void)
{
	struct world *w = cell.m->world;
	struct simtape tape = {.newest = 1};
	const struct simcut cut = {.what = SIMCUT_TAPE, .tape = &tape};

	atomic_fetch_add(&cell.count->cuts, 1);
	simhost_free(world_cut_copy(w, 0, &cut));
	if (simtape_about(&tape) > cell.effort->states) {
		for (cell.state = 0; cell.state < cell.effort->states; cell.state++) {
			// The extremes are not tried at every call.
			uint64_t i =
				cell.effort->states > 4 ? cell.state : prng_below(&cell.rng, 10);

			check_state(random_cut(i));
			cell.rng.state += cell.state; // the child has gone its own way
		}
		return;
	}
	tape = (struct simtape){0};
	do {
		check_state(world_cut_copy(w, 0, &cut));
		cell.state++;
	} while (simtape_next(&tape));
	atomic_fetch_add(&cell.count->whole, 1);
}

static void act_all(struct model *m, const struct matrix_op *const *ops, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (m->dark)
			return;
		trace_op("-- %s", ops[i]->name);
		ops[i]->act(m);
		if (cell.effort->rotating)
			matrix_rotate(m, cell.effort->rotating, 2);
	}
}

void matrix_cell(struct model *m, const char *name, const struct matrix_op *const *ops, unsigned n,
		 uint64_t seed, const struct matrix_effort *effort, struct matrix_count *count)
{
	cell.m = m;
	cell.name = name;
	cell.effort = effort;
	cell.count = count;
	cell.rng.state = seed;
	cell.calls = seed % effort->stride;
	for (uint64_t i = 0; i < PAGES_LOOKED_AT; i++) {
		if (tree_position(i) < POSITIONS)
			cell.is_data[tree_position(i)] = 1;
	}
	m->rng.state = seed + 1;
	world_on_change(m->world, at_call, NULL);
	act_all(m, ops, n);
	world_on_change(m->world, NULL, NULL);
	trace_op("power cut before call %lu", cell.calls);
	check_states(); // in a child: of the moment it stopped at; else of the end
	if (cell.cut_now)
		_exit(0);
}
