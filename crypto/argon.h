// SPDX-License-Identifier: Apache-2.0
// Argon2id (RFC 9106, version 0x13) with bounds and calibration arithmetic. Clocks and free memory
// are the caller's: crypto/ reads neither. Thread-safe.
#ifndef WARDFS_CRYPTO_ARGON_H
#define WARDFS_CRYPTO_ARGON_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/werr.h"

#define ARGON_SALT_BYTES 32
#define ARGON_KEK_BYTES 32
#define ARGON_MEMORY_MIN_KIB (8u * 1024)
#define ARGON_MEMORY_MAX_KIB (4u * 1024 * 1024)
#define ARGON_PASSES_MAX 64u
#define ARGON_LANES_MAX 16u
#define ARGON_WORK_MAX_KIB (64ull * 1024 * 1024) // memory * passes

struct argon_params {
	uint32_t memory_kib;
	uint32_t passes;
	uint32_t lanes;
};

// 0 or WERR_LIMIT: refuses both weakening and denial of service by memory or time.
int argon_check(const struct argon_params *params) WARN_UNUSED;

// Memory that this machine can give: what stands in a slot is compared with it before anything is
// taken. UINT64_MAX, as at the start: not known. Set before the first use.
void argon_set_memory(uint64_t kib);

// kek = Argon2id(pass, salt). WERR_LIMIT before any work, WERR_KDFMEM when memory cannot be had.
int argon_derive(const struct argon_params *params, const void *pass, size_t pass_len,
		 const uint8_t salt[static ARGON_SALT_BYTES],
		 uint8_t kek[static ARGON_KEK_BYTES]) WARN_UNUSED;

// The same, always in this process.
int argon_derive_here(const struct argon_params *params, const void *pass, size_t pass_len,
		      const uint8_t salt[static ARGON_SALT_BYTES],
		      uint8_t kek[static ARGON_KEK_BYTES]) WARN_UNUSED;

// Who does the work of argon_derive, after it has checked the parameters: a program that wants its
// memory elsewhere. NULL: argon_derive_here. Set before the first use.
typedef int (*argon_runner)(const struct argon_params *params, const void *pass, size_t pass_len,
			    const uint8_t *salt, uint8_t *kek);
void argon_set_runner(argon_runner runner);

// Parameters for about target_ms, from one measured probe: `probe` took probe_ms on this machine,
// which has free_kib of free memory. Memory first (a quarter of the free memory, at most 1 GiB),
// then passes. Always within argon_check.
struct argon_params argon_calibrate(const struct argon_params *probe, uint32_t probe_ms,
				    uint64_t free_kib, uint32_t target_ms, uint32_t lanes);

#endif
