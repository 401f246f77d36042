// SPDX-License-Identifier: Apache-2.0
// Randomness behind one replaceable function. Thread-safe.
#ifndef WARDFS_CRYPTO_RNG_H
#define WARDFS_CRYPTO_RNG_H

#include <stddef.h>
#include <stdint.h>

// Fills buf with n bytes from the kernel (getrandom), or from the replacement. Never fails:
// aborts the process when the kernel has no randomness to give.
void rng_bytes(void *buf, size_t n);

// Replaces the source (tests, vectors, fuzzing); NULL restores the kernel's. Not thread-safe:
// set before threads start.
typedef void (*rng_fn)(void *arg, void *buf, size_t n);
void rng_replace(rng_fn fn, void *arg);

#endif
