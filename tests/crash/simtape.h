// SPDX-License-Identifier: Apache-2.0
// A tape of choices, so that everything a power cut may leave can be gone through one by one:
// whoever makes choices takes each from the tape; simtape_next() then sets it to the next series of
// choices, until there is none left. How many alternatives a choice has may depend on the ones
// before it. Not thread-safe.
#ifndef WARDFS_TESTS_SIMTAPE_H
#define WARDFS_TESTS_SIMTAPE_H

#include <stdint.h>

#define SIMTAPE_MAX 256

// Zeroed: at the first series (all choices 0).
struct simtape {
	uint32_t choice[SIMTAPE_MAX], of[SIMTAPE_MAX];
	unsigned len, at;
	int newest; // every choice is the last one: to see how many there are
	int full;   // more choices than fit: those were made 0, and not all series are gone through
};

// 0 .. of - 1.
static inline uint32_t simtape_take(struct simtape *t, uint32_t of)
{
	if (of < 2)
		return 0;
	if (t->at == SIMTAPE_MAX) {
		t->full = 1;
		return 0;
	}
	if (t->at == t->len)
		t->choice[t->len++] = 0;
	t->of[t->at++] = of;
	return t->newest ? of - 1 : t->choice[t->at - 1];
}

// False when that was the last series.
static inline int simtape_next(struct simtape *t)
{
	t->len = t->at;
	t->at = 0;
	while (t->len && ++t->choice[t->len - 1] >= t->of[t->len - 1])
		t->len--;
	return t->len > 0;
}

// About how many series there are: the product of the alternatives of the last one, or UINT64_MAX.
static inline uint64_t simtape_about(const struct simtape *t)
{
	uint64_t n = 1;

	for (unsigned i = 0; i < t->at; i++) {
		if (t->full || __builtin_mul_overflow(n, t->of[i], &n))
			return UINT64_MAX;
	}
	return n;
}

#endif
