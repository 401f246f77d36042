// SPDX-License-Identifier: Apache-2.0
// Hexadecimal test data, and the byte pattern that the expected values were computed from.
#ifndef WARDFS_TESTS_UNIT_HEX_H
#define WARDFS_TESTS_UNIT_HEX_H

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

// Decodes a string of hexadecimal digits into out[cap]; returns the number of bytes.
static inline size_t unit_unhex(const char *hex, uint8_t *out, size_t cap)
{
	size_t n = strlen(hex) / 2;

	ck_assert_uint_le(n, cap);
	for (size_t i = 0; i < n; i++) {
		unsigned byte;

		ck_assert_int_eq(sscanf(hex + 2 * i, "%2x", &byte), 1);
		out[i] = (uint8_t)byte;
	}
	return n;
}

// out[i] = step * i + first, modulo 256.
static inline void unit_pattern(uint8_t *out, size_t n, unsigned step, size_t first)
{
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)(step * i + first);
}

static inline int unit_all(const uint8_t *p, size_t n, uint8_t value)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != value)
			return 0;
	return 1;
}

#endif
