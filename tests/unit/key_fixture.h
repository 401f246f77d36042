// SPDX-License-Identifier: Apache-2.0
// What the tests of keyslots, key ring and vault header share: cheap KDF parameters, passphrases, a
// repeatable source of randomness, and a look at whether bytes are keys at all.
#ifndef WARDFS_TESTS_KEY_FIXTURE_H
#define WARDFS_TESTS_KEY_FIXTURE_H

#include <stdint.h>
#include <string.h>

#include <check.h>

#include "crypto/keyslot.h"
#include "crypto/secret.h"

static const struct argon_params fixture_kdf = {
	.memory_kib = ARGON_MEMORY_MIN_KIB,
	.passes = 1,
	.lanes = 1,
};

// A passphrase as secret memory; the caller clears it.
static inline struct secret fixture_pass(const char *text)
{
	struct secret s = {NULL, 0};

	ck_assert_int_eq(secret_copy(&s, text, strlen(text)), 0);
	return s;
}

static inline struct keyslot_info fixture_info(uint32_t serial, const char *label)
{
	struct keyslot_info info = {.kind = KEYSLOT_PASSPHRASE,
				    .serial = serial,
				    .created_s = 1700000000,
				    .kdf = fixture_kdf};

	ck_assert_uint_lt(strlen(label), sizeof info.label);
	memcpy(info.label, label, strlen(label));
	return info;
}

// For rng_replace: SplitMix64 from the state at arg. The same state gives the same bytes, on every
// machine.
static inline void fixture_rng(void *arg, void *buf, size_t n)
{
	uint64_t *state = arg;
	uint8_t *out = buf;

	for (size_t i = 0; i < n; i++) {
		if (i % 8 == 0)
			*state += 0x9e3779b97f4a7c15u;
		uint64_t z = *state;
		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
		z = (z ^ z >> 27) * 0x94d049bb133111ebu;
		out[i] = (uint8_t)((z ^ z >> 31) >> i % 8 * 8);
	}
}

// Whether n bytes (32 or more) can be a random key: all zero, a counter in few bytes, a repeated
// block and text are not. A true key fails with a probability below 2^-40.
static inline int fixture_is_random(const uint8_t *p, size_t n)
{
	unsigned seen[256] = {0};
	size_t distinct = 0;

	for (size_t i = 0; i < n; i++)
		distinct += seen[p[i]]++ == 0;
	for (size_t i = 8; i + 8 <= n; i += 8) {
		if (memcmp(p, p + i, 8) == 0)
			return 0;
	}
	return distinct * 2 > n;
}

#endif
