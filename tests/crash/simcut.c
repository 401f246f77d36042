// SPDX-License-Identifier: Apache-2.0
// What is left of a simulated disk after a power cut or a kill.
#include "tests/crash/simhost.h"

#include <string.h>

#include "tests/crash/simstate.h"
#include "tests/crash/simtape.h"

struct cutting {
	const struct simcut *cut;
	const char *file; // the one that `what` is about
	uint64_t random;
};

// What happens to one change of a name, or (RANDOM) how likely it is to have happened.
static int cut_name(void *arg)
{
	struct cutting *c = arg;

	switch (c->cut->what) {
	case SIMCUT_RANDOM:
		return (simfile_random(&c->random) & 3) != 0;
	case SIMCUT_ALL:
	case SIMCUT_ALL_BUT_FILE:
		return 1;
	case SIMCUT_TAPE:
		return (int)simtape_take(c->cut->tape, 2);
	case SIMCUT_NONE:
	case SIMCUT_ONLY_FILE:
		break;
	}
	return 0;
}

static struct simfile *cut_file(void *arg, struct simfile *f)
{
	static const unsigned chances[] = {16, 64, 128, 192, 240};
	struct cutting *c = arg;
	struct simpick pick = {.random = &c->random};
	const int named = !strcmp(f->top_name, c->file);
	const char *tear = c->cut->tear;

	switch (c->cut->what) {
	case SIMCUT_NONE:
		pick.mode = SIMPICK_NONE;
		break;
	case SIMCUT_ALL:
		pick.mode = SIMPICK_ALL;
		break;
	case SIMCUT_ONLY_FILE:
		pick.mode = named ? SIMPICK_ALL : SIMPICK_NONE;
		break;
	case SIMCUT_ALL_BUT_FILE:
		pick.mode = named ? SIMPICK_NONE : SIMPICK_ALL;
		break;
	case SIMCUT_RANDOM: {
		unsigned way = (unsigned)(simfile_random(&c->random) % 8);

		pick.mode = way == 0 ? SIMPICK_NONE : way == 1 ? SIMPICK_ALL : SIMPICK_SOME;
		pick.chance = chances[simfile_random(&c->random) % 5];
		pick.tear = tear && (!strcmp(tear, SIMCUT_TEAR_ALL) || !strcmp(tear, f->top_name));
		pick.tear_block = c->cut->tear_block;
		pick.tear_arg = c->cut->tear_arg;
		break;
	}
	case SIMCUT_TAPE:
		pick.mode = SIMPICK_TAPE;
		pick.tape = c->cut->tape;
		break;
	}
	return simfile_clone_cut(f, &pick);
}

static uint64_t dir_used(const struct simdir *d)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < SIMDIR_BUCKETS; i++)
		for (const struct simname *x = d->buckets[i]; x; x = x->chain)
			n += x->now ? x->now->allocated : 0;
	return n;
}

// c: what a cut leaves; NULL: an exact copy.
static struct simhost *clone_with(struct simhost *s, struct cutting *c)
{
	struct simhost *n = simstate_new();

	pthread_mutex_lock(&s->lock);
	n->limit = s->limit;
	n->no_punch = s->no_punch;
	n->block = s->block;
	n->top = c ? simdir_clone_cut(s->top, cut_name, cut_file, c) : simdir_clone(s->top);
	for (unsigned i = 0; i < HOST_FOLDERS; i++) {
		struct simdir *d = s->folders[i];

		if (!d || (c && !d->durable && !cut_name(c)))
			continue;
		n->folders[i] = c ? simdir_clone_cut(d, cut_name, cut_file, c) : simdir_clone(d);
	}
	simdir_forget_copies(s->top);
	n->used = dir_used(n->top);
	for (unsigned i = 0; i < HOST_FOLDERS; i++) {
		if (s->folders[i])
			simdir_forget_copies(s->folders[i]);
		if (n->folders[i])
			n->used += dir_used(n->folders[i]);
	}
	pthread_mutex_unlock(&s->lock);
	return n;
}

struct simhost *simhost_clone_after_cut(struct simhost *s, uint64_t seed, const struct simcut *cut)
{
	struct cutting c = {
		.cut = cut,
		.file = cut->file ? cut->file : "wardfs.journal",
		.random = seed,
	};

	return clone_with(s, &c);
}

struct simhost *simhost_clone_after_kill(struct simhost *s)
{
	return clone_with(s, NULL);
}
