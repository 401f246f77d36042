// SPDX-License-Identifier: Apache-2.0
#include "tools/machine.h"

#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>

// A line of /proc/meminfo in KiB; 0: not there.
static uint64_t meminfo(const char *key)
{
	unsigned long long kib = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "re");
	const size_t len = strlen(key);

	while (f && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, key, len) && sscanf(line + len, ": %llu kB", &kib) == 1)
			break;
	}
	if (f)
		fclose(f);
	return kib;
}

// Where a hierarchy of control groups tells its limit, in bytes. What is in use counts cached files
// that are given up when needed, so it says nothing.
struct hierarchy {
	const char *line; // in /proc/self/cgroup, up to the path
	const char *root;
	const char *max;
};
static const struct hierarchy hierarchies[] = {
	{"0::", "/sys/fs/cgroup", "memory.max"},
	{"memory:", "/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
};

static int read_number(const struct hierarchy *h, const char *group, const char *file,
		       unsigned long long *ret)
{
	char path[512];
	int n = snprintf(path, sizeof(path), "%s%s/%s", h->root, group, file);
	FILE *f = n > 0 && (size_t)n < sizeof(path) ? fopen(path, "re") : NULL;
	int found = f && fscanf(f, "%llu", ret) == 1;

	if (f)
		fclose(f);
	return found;
}

// Our group in this hierarchy, without a slash at the end.
static int find_group(const struct hierarchy *h, char *group, size_t cap)
{
	char line[512];
	FILE *f = fopen("/proc/self/cgroup", "re");
	int found = 0;

	while (f && !found && fgets(line, sizeof(line), f)) {
		const char *at = strstr(line, h->line);

		// "0::/path" or "4:memory:/path"
		if (!at || (at != line && at[-1] != ':'))
			continue;
		at += strlen(h->line);
		const size_t len = strcspn(at, "\n");
		found = *at == '/' && len < cap;
		if (found) {
			memcpy(group, at, len);
			group[len] = 0;
		}
	}
	if (f)
		fclose(f);
	return found;
}

// What our group and those above it allow, in KiB; UINT64_MAX: no limit.
static uint64_t left_in(const struct hierarchy *h)
{
	uint64_t least = UINT64_MAX;
	char group[256];

	if (!find_group(h, group, sizeof(group)))
		return UINT64_MAX;
	for (char *slash = group + strlen(group); slash; slash = strrchr(group, '/')) {
		unsigned long long max;

		*slash = 0;
		if (read_number(h, group, h->max, &max) && max / 1024 < least)
			least = max / 1024;
	}
	return least;
}

static uint64_t group_kib(void)
{
	const uint64_t a = left_in(&hierarchies[0]), b = left_in(&hierarchies[1]);

	return a < b ? a : b;
}

static uint64_t within_group(uint64_t kib)
{
	const uint64_t most = group_kib();

	return kib < most ? kib : most;
}

uint64_t machine_free_kib(void)
{
	const uint64_t kib = meminfo("MemAvailable");

	return kib ? within_group(kib) : 0;
}

uint64_t machine_most_kib(void)
{
	const uint64_t kib = meminfo("MemAvailable");

	return kib ? within_group(kib + meminfo("SwapFree")) : UINT64_MAX;
}

uint32_t machine_cores(void)
{
	const int cores = get_nprocs();

	return cores < 1 ? 1 : (uint32_t)cores;
}
