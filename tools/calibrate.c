// SPDX-License-Identifier: Apache-2.0
#include "tools/calibrate.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/machine.h"
#include "tools/report.h"

#define TARGET_MS 1000
#define PROBE_KIB (64u * 1024)
#define LANES_MAX 4u // more lanes help only those who guess with many cores

static uint64_t free_kib(void)
{
	const uint64_t kib = machine_free_kib();

	return kib ? kib : 4ull * ARGON_MEMORY_MIN_KIB;
}

static uint32_t lanes(void)
{
	const uint32_t cores = machine_cores();

	return cores < LANES_MAX ? cores : LANES_MAX;
}

// Derives once from nothing secret and takes the time.
int calibrate_measure(const struct argon_params *probe, uint32_t *ret_ms)
{
	static const uint8_t salt[ARGON_SALT_BYTES];
	uint8_t kek[ARGON_KEK_BYTES];
	struct timespec from, to;

	clock_gettime(CLOCK_MONOTONIC, &from);
	int err = argon_derive(probe, "probe", 5, salt, kek);
	clock_gettime(CLOCK_MONOTONIC, &to);
	long ms = (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000;

	*ret_ms = ms < 1 ? 1 : (uint32_t)ms;
	return err;
}

// Passes that fill the target time with this much memory.
static uint32_t passes_for(uint32_t target_ms, uint32_t memory_kib, uint32_t probe_kib,
			   uint32_t probe_ms)
{
	uint64_t passes = (uint64_t)target_ms * probe_kib / ((uint64_t)probe_ms * memory_kib);
	uint64_t most = ARGON_WORK_MAX_KIB / memory_kib;

	if (most > ARGON_PASSES_MAX)
		most = ARGON_PASSES_MAX;
	if (passes > most)
		passes = most;
	return passes ? (uint32_t)passes : 1;
}

int calibrate_kdf(const struct options_kdf *asked, struct argon_params *ret, uint32_t *ret_ms)
{
	struct argon_params probe = {.memory_kib = PROBE_KIB, .passes = 1, .lanes = lanes()};
	const uint32_t target_ms = asked->time_ms ? asked->time_ms : TARGET_MS;
	uint32_t probe_ms = 0;
	int err = calibrate_measure(&probe, &probe_ms);

	if (err == WERR_KDFMEM) {
		probe.memory_kib = ARGON_MEMORY_MIN_KIB;
		err = calibrate_measure(&probe, &probe_ms);
	}
	if (err)
		return report_fail(err, NULL, "cannot measure the key derivation: %s",
				   werr_text(err));
	struct argon_params p = argon_calibrate(&probe, probe_ms, free_kib(), target_ms, lanes());
	if (asked->memory_mib) {
		p.memory_kib = asked->memory_mib * 1024;
		p.passes = passes_for(target_ms, p.memory_kib, probe.memory_kib, probe_ms);
	}
	if (asked->passes)
		p.passes = asked->passes;
	if (argon_check(&p))
		return report_fail(WERR_LIMIT, NULL,
				   "key derivation out of bounds: %u MiB times %u passes is more "
				   "than 64 GiB; lower --kdf-memory or --kdf-passes",
				   p.memory_kib / 1024, p.passes);
	*ret_ms = (uint32_t)((uint64_t)probe_ms * p.memory_kib * p.passes / probe.memory_kib);
	*ret = p;
	return 0;
}
