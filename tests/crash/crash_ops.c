// SPDX-License-Identifier: Apache-2.0
// Cuts the power (or kills, or fails a flush) at every host call of a scenario, and again at every
// host call of the mount that follows.
//
//   crash_ops [--seed N] [--only SCENARIO] [--list]
//
// WARDFS_CRASH_STRIDE: only every n-th call (sanitizers). The kind of the cut changes from call to
// call and with the seed, which is random unless given.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "tests/crash/crash_ops.h"
#include "tests/model/trace.h"

static uint64_t stride = 1;

// A new vault in which the scenario's preparations were made; the same for each call.
static struct model *prepared(const struct world *base, const struct scenario *sc, uint64_t seed)
{
	struct model *m = model_new(world_copy(base), seed);

	if (sc->prepare)
		sc->prepare(m);
	return m;
}

// The vault goes on working: a last operation and a clean end.
static void finish(struct model *m)
{
	world_cut_kind(m->world, -1);
	m->faults = 0;
	do_rotate_to_the_end(m);
	make(m, "at the end", OBJECT_FILE);
	put(m, "at the end", 0, 10000);
	epoch_remount(m);
	int err = world_close(m->world);

	TRACE_CHECK(!err, "closing: %d (%s)", err, werr_text(err));
	model_free(m);
	trace_reset();
}

// The power goes off after n calls; kind WORLD_CUTS: a kill instead. True when the scenario needs
// more calls.
static int cut_at(const struct world *base, const struct scenario *sc, uint64_t seed, uint64_t n,
		  int kind)
{
	struct model *m = prepared(base, sc, seed);

	trace_op("%s: the end comes after %lu calls, kind %d", sc->name, n, kind);
	world_arm(m->world, n);
	world_cut_kind(m->world, kind < WORLD_CUTS ? kind : -1);
	sc->act(m);
	int more = m->dark || world_dark(m->world) || m->cuts > 0;

	if (kind < WORLD_CUTS)
		epoch_cut(m);
	else
		epoch_kill(m);
	finish(m);
	return more;
}

// After the whole scenario: a power cut, and another one after n calls of the next mount.
static int cut_replay_at(const struct world *base, const struct scenario *sc, uint64_t seed,
			 uint64_t n, int kind)
{
	struct model *m = prepared(base, sc, seed);

	trace_op("%s: the replay ends after %lu calls, kind %d", sc->name, n, kind);
	sc->act(m);
	world_cut_kind(m->world, kind);
	int more = epoch_cut_twice(m, n);

	finish(m);
	return more;
}

// The n-th flush fails (once, or from then on): the error is answered or made good, and nothing
// durable is lost.
static int fail_flush_at(const struct world *base, const struct scenario *sc, uint64_t seed,
			 uint64_t n, int kind)
{
	struct model *m = prepared(base, sc, seed);

	trace_op("%s: flush %lu fails, kind %d", sc->name, n, kind);
	m->faults = 1;
	world_fail_flush(m->world, n, kind % 2 ? 1 : 1000000);
	sc->act(m);
	int more = world_flushes_failed(m->world);

	epoch_cut(m);
	finish(m);
	return more;
}

static const struct {
	const char *name;
	int (*at)(const struct world *base, const struct scenario *sc, uint64_t seed, uint64_t n,
		  int kind);
	uint64_t first, kinds;
} passes[] = {
	{"cut", cut_at, 0, WORLD_CUTS + 1},
	{"cut in replay", cut_replay_at, 0, WORLD_CUTS},
	{"failed flush", fail_flush_at, 1, 2},
};

static void run(const struct world *base, const struct scenario *sc, uint64_t seed)
{
	char command[160];

	(void)snprintf(command, sizeof(command), "crash_ops --seed %lu --only %s", seed, sc->name);
	trace_command(command);
	printf("%-28s", sc->name);
	for (size_t p = 0; p < sizeof(passes) / sizeof(passes[0]); p++) {
		uint64_t n = passes[p].first + seed % stride, count = 0;

		while (passes[p].at(base, sc, seed, n, (int)((n + seed) % passes[p].kinds))) {
			n += stride;
			count++;
		}
		printf("  %s: %lu", passes[p].name, count);
		(void)fflush(stdout);
	}
	printf("\n");
}

int main(int argc, char **argv)
{
	const char *only = NULL, *env = getenv("WARDFS_CRASH_STRIDE");
	uint64_t seed = 0;
	int found = 0;

	TRACE_CHECK(getrandom(&seed, 4, 0) == 4, "no randomness");
	stride = env ? strtoull(env, NULL, 10) : 1;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--list") == 0) {
			for (size_t k = 0; k < n_scenarios; k++)
				printf("%s\n", scenarios[k].name);
			return 0;
		}
		if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
			seed = strtoull(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
			only = argv[++i];
	}
	printf("seed %lu\n", seed);
	struct world *base = world_new(seed);

	for (size_t k = 0; k < n_scenarios; k++) {
		if (only && strcmp(only, scenarios[k].name) != 0)
			continue;
		found = 1;
		run(base, &scenarios[k], seed);
	}
	world_free(base);
	return found ? 0 : 2;
}
