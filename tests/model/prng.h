// SPDX-License-Identifier: Apache-2.0
// A small repeatable random generator (splitmix64). Not for keys.
#ifndef WARDFS_TESTS_PRNG_H
#define WARDFS_TESTS_PRNG_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct prng {
	uint64_t state;
};

static inline uint64_t prng_next(struct prng *p)
{
	uint64_t z = (p->state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

// 0 .. n - 1; n > 0.
static inline uint64_t prng_below(struct prng *p, uint64_t n)
{
	return prng_next(p) % n;
}

// from .. to, both included.
static inline uint64_t prng_range(struct prng *p, uint64_t from, uint64_t to)
{
	return from + prng_below(p, to - from + 1);
}

// True in `percent` of 100 cases.
static inline int prng_chance(struct prng *p, unsigned percent)
{
	return prng_below(p, 100) < percent;
}

static inline void prng_fill(struct prng *p, void *buf, size_t len)
{
	uint8_t *out = buf;

	while (len > 0) {
		uint64_t word = prng_next(p);
		size_t n = len < sizeof(word) ? len : sizeof(word);

		memcpy(out, &word, n);
		out += n;
		len -= n;
	}
}

#endif
