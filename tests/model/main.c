// SPDX-License-Identifier: Apache-2.0
// Random operations on the engine and on a plain model, with remounts, kills and power cuts.
//
//   model [--seed N] [--ops N] [--live] [--calm]
//
// Without --seed: the seeds that once found something, then random ones, each printed, until N
// operations (WARDFS_MODEL_OPS, or 100,000) are done. --live prints each operation.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "tests/model/model.h"
#include "tests/model/trace.h"

#define OPS_PER_SEED 5000

// Runs that once showed a difference.
static const struct regression {
	uint64_t seed;
	uint64_t ops;
} regressions[] = {
	{2, 3000},
	{7, 3000},
	{127, 3000},
};

static const struct weight {
	void (*op)(struct model *m);
	unsigned weight;
} weights[] = {
	{op_make, 110},   {op_unlink, 55},   {op_rmdir, 14},       {op_rename, 75},
	{op_link, 25},    {op_lookup, 30},   {op_forget, 60},      {op_write, 190},
	{op_read, 90},    {op_truncate, 50}, {op_fallocate, 40},   {op_seek, 30},
	{op_copy, 25},    {op_fsync, 60},    {op_checkpoint, 8},   {op_setattr, 40},
	{op_getattr, 20}, {op_setxattr, 30}, {op_removexattr, 10}, {op_listxattr, 15},
	{op_readlink, 5}, {op_readdir, 40},  {op_rotate, 30},      {epoch_remount, 2},
	{epoch_kill, 3},  {epoch_cut, 4},
};

static int calm;

static void one_operation(struct model *m)
{
	static unsigned total;

	if (total == 0) {
		for (size_t i = 0; i < sizeof(weights) / sizeof(weights[0]); i++)
			total += weights[i].weight;
	}
	unsigned dice = (unsigned)prng_below(&m->rng, total);
	size_t i = 0;

	while (dice >= weights[i].weight)
		dice -= weights[i++].weight;
	m->seq++;
	if (calm && (weights[i].op == epoch_kill || weights[i].op == epoch_cut))
		return;
	weights[i].op(m);
	if (m->dark || world_dark(m->world))
		epoch_cut(m);
	else if (!calm && prng_below(&m->rng, 500) == 0)
		world_arm(m->world, prng_range(&m->rng, 1, 80));
}

static void run(uint64_t seed, uint64_t ops)
{
	char command[128];
	struct timespec from, to;

	(void)snprintf(command, sizeof(command), "model --seed %lu --ops %lu", seed, ops);
	trace_command(command);
	trace_reset();
	(void)clock_gettime(CLOCK_MONOTONIC, &from);
	struct model *m = model_new(world_new(seed), seed);

	while (m->seq < ops)
		one_operation(m);
	world_disarm(m->world);
	epoch_remount(m);
	int err = world_close(m->world);

	TRACE_CHECK(!err, "closing: %d (%s)", err, werr_text(err));
	(void)clock_gettime(CLOCK_MONOTONIC, &to);
	printf("seed %lu: %lu operations, %lu rotations, %lu remounts, %lu kills, %lu power cuts "
	       "(%lu while opening), %.1f s\n",
	       seed, ops, m->rotations, m->remounts, m->kills, m->cuts + m->dark_opens,
	       m->dark_opens,
	       (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9);
	(void)fflush(stdout);
	model_free(m);
}

static void run_all(uint64_t ops)
{
	uint64_t done = 0;

	for (size_t i = 0; i < sizeof(regressions) / sizeof(regressions[0]) && done < ops; i++) {
		run(regressions[i].seed, regressions[i].ops);
		done += regressions[i].ops;
	}
	while (done < ops) {
		uint64_t seed = 0, n = ops - done < OPS_PER_SEED ? ops - done : OPS_PER_SEED;

		TRACE_CHECK(getrandom(&seed, 4, 0) == 4, "no randomness");
		run(seed, n);
		done += n;
	}
	printf("%lu operations without a difference\n", done);
}

int main(int argc, char **argv)
{
	const char *env = getenv("WARDFS_MODEL_OPS");
	uint64_t seed = 0, ops = env ? strtoull(env, NULL, 10) : 0;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--live") == 0) {
			trace_live(1);
		} else if (strcmp(argv[i], "--calm") == 0) {
			calm = 1;
		} else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
			seed = strtoull(argv[++i], NULL, 10);
		} else if (strcmp(argv[i], "--ops") == 0 && i + 1 < argc) {
			ops = strtoull(argv[++i], NULL, 10);
		} else {
			fprintf(stderr, "usage: model [--seed N] [--ops N] [--live] [--calm]\n");
			return 2;
		}
	}
	if (seed)
		run(seed, ops ? ops : OPS_PER_SEED);
	else
		run_all(ops ? ops : 100000);
	return 0;
}
