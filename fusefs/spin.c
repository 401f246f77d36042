// SPDX-License-Identifier: Apache-2.0
#include "fusefs/spin.h"

#include <time.h>

#define CREDIT_MOST 8u
#define FAILURE_COSTS 3u

uint64_t spin_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void spin_init(struct spin *s)
{
	*s = (struct spin){.credit = FAILURE_COSTS, .skip = SPIN_SKIP_LEAST};
}

bool spin_due(struct spin *s)
{
	if (s->credit > 0)
		return true;
	if (++s->passed < s->skip)
		return false;
	s->passed = 0;
	s->credit = 1;
	return true;
}

void spin_learn(struct spin *s, bool found)
{
	if (found) {
		if (s->credit < CREDIT_MOST)
			s->credit++;
		s->skip = SPIN_SKIP_LEAST;
		return;
	}
	if (s->credit > FAILURE_COSTS) {
		s->credit -= FAILURE_COSTS;
		return;
	}
	s->credit = 0;
	if (s->skip < SPIN_SKIP_MOST)
		s->skip *= 2;
}

bool spin_look(struct spin *s, bool (*pending)(void *arg), void *arg)
{
	uint64_t end = spin_now_ns() + SPIN_NS;
	bool found;

	do
		found = pending(arg);
	while (!found && spin_now_ns() < end);
	spin_learn(s, found);
	return found;
}
