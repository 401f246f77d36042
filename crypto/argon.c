// SPDX-License-Identifier: Apache-2.0
#include "crypto/argon.h"

#include <argon2.h>
#include <sys/mman.h>

#include "crypto/secret.h"

#define CALIBRATE_MEMORY_MAX_KIB (1024u * 1024)

int argon_check(const struct argon_params *params)
{
	if (params->memory_kib < ARGON_MEMORY_MIN_KIB || params->memory_kib > ARGON_MEMORY_MAX_KIB)
		return WERR_LIMIT;
	if (params->passes < 1 || params->passes > ARGON_PASSES_MAX)
		return WERR_LIMIT;
	if (params->lanes < 1 || params->lanes > ARGON_LANES_MAX)
		return WERR_LIMIT;
	if ((uint64_t)params->memory_kib * params->passes > ARGON_WORK_MAX_KIB)
		return WERR_LIMIT;
	return 0;
}

// The blocks hold what the KEK is made of: kept out of core dumps. They are not locked: no limit
// would allow hundreds of MiB, and the library wipes them before it gives them back.
static int blocks_new(uint8_t **ret, size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return ARGON2_MEMORY_ALLOCATION_ERROR;
	if (madvise(p, bytes, MADV_DONTDUMP) != 0) {
		munmap(p, bytes);
		return ARGON2_MEMORY_ALLOCATION_ERROR;
	}
	// Fewer TLB misses; without it the result is the same.
	(void)madvise(p, bytes, MADV_HUGEPAGE);
	*ret = p;
	return ARGON2_OK;
}

static void blocks_free(uint8_t *memory, size_t bytes)
{
	munmap(memory, bytes);
}

static argon_runner current;
static uint64_t memory_kib = UINT64_MAX;

void argon_set_memory(uint64_t kib)
{
	memory_kib = kib;
}

void argon_set_runner(argon_runner runner)
{
	current = runner;
}

int argon_derive(const struct argon_params *params, const void *pass, size_t pass_len,
		 const uint8_t salt[static ARGON_SALT_BYTES], uint8_t kek[static ARGON_KEK_BYTES])
{
	int err = argon_check(params);

	if (err)
		return err;
	// An unauthenticated number: not even tried where it cannot be had, since the kernel would
	// promise it and then end this or another program.
	if (params->memory_kib > memory_kib)
		return WERR_KDFMEM;
	return (current ? current : argon_derive_here)(params, pass, pass_len, salt, kek);
}

int argon_derive_here(const struct argon_params *params, const void *pass, size_t pass_len,
		      const uint8_t salt[static ARGON_SALT_BYTES],
		      uint8_t kek[static ARGON_KEK_BYTES])
{
	int err = argon_check(params);

	if (err || pass_len > ARGON2_MAX_PWD_LENGTH)
		return WERR_LIMIT;
	// The library takes these pointers without const and writes to none of them with these
	// flags.
	argon2_context ctx = {
		.out = kek,
		.outlen = ARGON_KEK_BYTES,
		.pwd = pass_len > 0 ? (uint8_t *)pass : NULL,
		.pwdlen = (uint32_t)pass_len,
		.salt = (uint8_t *)salt,
		.saltlen = ARGON_SALT_BYTES,
		.t_cost = params->passes,
		.m_cost = params->memory_kib,
		.lanes = params->lanes,
		.threads = params->lanes,
		.version = ARGON2_VERSION_13,
		.allocate_cbk = blocks_new,
		.free_cbk = blocks_free,
		.flags = ARGON2_DEFAULT_FLAGS,
	};
	int res = argon2id_ctx(&ctx);

	// Where no thread may be started, one does all lanes: slower, same result.
	if (res == ARGON2_THREAD_FAIL) {
		ctx.threads = 1;
		res = argon2id_ctx(&ctx);
	}
	if (res == ARGON2_OK)
		return 0;
	secret_wipe(kek, ARGON_KEK_BYTES);
	return res == ARGON2_MEMORY_ALLOCATION_ERROR ? WERR_KDFMEM : WERR_INTERNAL;
}

static uint64_t clamp(uint64_t v, uint64_t low, uint64_t high)
{
	if (v < low)
		return low;
	return v > high ? high : v;
}

struct argon_params argon_calibrate(const struct argon_params *probe, uint32_t probe_ms,
				    uint64_t free_kib, uint32_t target_ms, uint32_t lanes)
{
	uint64_t cap = clamp(free_kib / 4, ARGON_MEMORY_MIN_KIB, CALIBRATE_MEMORY_MAX_KIB);
	// Work is memory * passes, and the time is proportional to it. Both factors fit in 32 bits,
	// and the bound keeps the product with target_ms within 64.
	uint64_t probe_work =
		clamp((uint64_t)probe->memory_kib * probe->passes, 1, ARGON_WORK_MAX_KIB);
	uint64_t work = probe_work * target_ms / (probe_ms > 0 ? probe_ms : 1);

	work = clamp(work, ARGON_MEMORY_MIN_KIB, ARGON_WORK_MAX_KIB);
	// Whole MiB: the numbers are shown to people.
	uint64_t memory = clamp(work, ARGON_MEMORY_MIN_KIB, cap) & ~(uint64_t)1023;
	uint64_t passes = clamp(work / memory, 1, ARGON_PASSES_MAX);

	return (struct argon_params){
		.memory_kib = (uint32_t)memory,
		.passes = (uint32_t)passes,
		.lanes = (uint32_t)clamp(lanes, 1, ARGON_LANES_MAX),
	};
}
