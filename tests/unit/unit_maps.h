// SPDX-License-Identifier: Apache-2.0
// The mappings of the secret heap, as the kernel sees them.
#ifndef WARDFS_TESTS_UNIT_MAPS_H
#define WARDFS_TESTS_UNIT_MAPS_H

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct unit_map {
	uintptr_t start;
	uintptr_t end;
	char perms[5];
	int dumped; // 0: left out of core dumps
	int locked;
};

// Reads /proc/self/smaps; returns the number of mappings.
static inline size_t unit_maps(struct unit_map *v, size_t cap)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[512];
	size_t n = 0;

	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f)) {
		unsigned long start, end;
		char perms[5];

		if (sscanf(line, "%lx-%lx %4s", &start, &end, perms) == 3) {
			ck_assert_uint_lt(n, cap);
			v[n] = (struct unit_map){.start = start, .end = end};
			memcpy(v[n++].perms, perms, sizeof(perms));
		} else if (n > 0 && strncmp(line, "VmFlags:", 8) == 0) {
			v[n - 1].dumped = !strstr(line, " dd");
			v[n - 1].locked = strstr(line, " lo") != NULL;
		}
	}
	(void)fclose(f);
	return n;
}

// Whether a mapping of unit_maps() looks like one of the heap's, and not like a sanitizer's shadow:
// writable, not dumped, at a multiple of 256 KiB, between inaccessible ones, and not vast. Never
// the first or the last of a process.
static inline int unit_map_secret(const struct unit_map *m)
{
	return (memcmp(m->perms, "rw-p", 4) == 0 || memcmp(m->perms, "rw-s", 4) == 0) &&
	       !m->dumped && m->start % (256 * 1024) == 0 &&
	       m->end - m->start <= (size_t)64 * 1024 * 1024 && m[-1].end == m->start &&
	       memcmp(m[-1].perms, "---p", 4) == 0 && m[1].start == m->end &&
	       memcmp(m[1].perms, "---p", 4) == 0;
}

// Bytes in the heap's mappings.
static inline size_t unit_maps_secret_bytes(void)
{
	static struct unit_map v[8192];
	size_t n = unit_maps(v, 8192);
	size_t sum = 0;

	for (size_t i = 0; i < n; i++)
		if (unit_map_secret(&v[i]))
			sum += v[i].end - v[i].start;
	return sum;
}

// Compares behind the sanitizer's back: free objects are poisoned.
__attribute__((no_sanitize("address"), noinline, unused)) static int
unit_raw_equal(const volatile uint8_t *p, const uint8_t *masked, uint8_t mask, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != (uint8_t)(masked[i] ^ mask))
			return 0;
	return 1;
}

// How often needle[0..n) (given xored with mask, lest it finds itself) stands in the heap at a
// multiple of 4.
static inline unsigned unit_maps_count(const uint8_t *masked, uint8_t mask, size_t n)
{
	static struct unit_map v[8192];
	size_t maps = unit_maps(v, 8192);
	unsigned found = 0;

	for (size_t i = 0; i < maps; i++)
		for (uintptr_t p = v[i].start; unit_map_secret(&v[i]) && p + n <= v[i].end; p += 4)
			if (unit_raw_equal((const uint8_t *)p, masked, mask, n))
				found++;
	return found;
}

#endif
