// SPDX-License-Identifier: Apache-2.0
// A repeatable random generator (splitmix64) for tests: the runs must be the same everywhere. Set
// random_state first. Not for keys, not thread-safe.
#ifndef WARDFS_TESTS_UNIT_RANDOM_H
#define WARDFS_TESTS_UNIT_RANDOM_H

#include <stdint.h>

static uint64_t random_state;

static inline uint64_t random_u64(void)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

// 0..n-1; n > 0.
static inline uint64_t random_below(uint64_t n)
{
	return random_u64() % n;
}

#endif
