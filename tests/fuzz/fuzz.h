// SPDX-License-Identifier: Apache-2.0
// What every fuzz target is made of: one function that takes bytes, and a check that aborts. A
// target is linked with libFuzzer (option fuzz) or with driver.c, which runs it over the files of a
// corpus.
#ifndef WARDFS_TESTS_FUZZ_H
#define WARDFS_TESTS_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Aborts when what must hold does not: the fuzzer keeps the input.
#define FUZZ_NEED(truth)                                                                  \
	do {                                                                              \
		if (!(truth)) {                                                           \
			(void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #truth); \
			abort();                                                          \
		}                                                                         \
	} while (0)

// buf := data, cut or padded with zeros to cap: short inputs reach structures of a fixed size.
static inline void fuzz_pad(uint8_t *buf, size_t cap, const uint8_t *data, size_t size)
{
	size_t n = size < cap ? size : cap;

	if (n > 0)
		memcpy(buf, data, n);
	memset(buf + n, 0, cap - n);
}

#endif
