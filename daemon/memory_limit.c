// SPDX-License-Identifier: Apache-2.0
#include "daemon/memory_limit.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#define SHARE_DEFAULT_MIB 256u
#define SHARE_LEAST_MIB 16u

// A file with one number, or the word "max"; UINT64_MAX where there is none.
static uint64_t read_limit(const char *path)
{
	char text[64];
	FILE *f = fopen(path, "re");

	if (!f)
		return UINT64_MAX;
	char *end = fgets(text, sizeof(text), f);
	fclose(f);
	if (!end || text[0] < '0' || text[0] > '9')
		return UINT64_MAX;
	return strtoull(text, NULL, 10);
}

// The least limit from a control group up to the hierarchy's root.
static uint64_t least_above(const char *mount, const char *group, const char *file)
{
	char dir[PATH_MAX], path[PATH_MAX + 64];
	uint64_t least = UINT64_MAX;
	int n = snprintf(dir, sizeof(dir), "%s%s", mount, group);

	if (n < 0 || (size_t)n >= sizeof(dir))
		return UINT64_MAX;
	for (size_t root = strlen(mount);;) {
		snprintf(path, sizeof(path), "%s/%s", dir, file);
		uint64_t limit = read_limit(path);
		least = limit < least ? limit : least;
		char *slash = strrchr(dir, '/');
		if (!slash || (size_t)(slash - dir) < root)
			return least;
		*slash = '\0';
	}
}

uint64_t memory_limit_below(const char *root, uint64_t machine)
{
	char path[PATH_MAX], line[PATH_MAX], mount[PATH_MAX];
	uint64_t least = machine;

	snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
	FILE *f = fopen(path, "re");
	// HIERARCHY:CONTROLLERS:PATH, version 2 with nothing between the colons.
	while (f && fgets(line, sizeof(line), f)) {
		char *controllers = strchr(line, ':'), *group;
		uint64_t limit = UINT64_MAX;

		line[strcspn(line, "\n")] = '\0';
		if (!controllers || !(group = strchr(controllers + 1, ':')))
			continue;
		*group++ = '\0';
		if (controllers[1] == '\0') {
			snprintf(mount, sizeof(mount), "%s/sys/fs/cgroup", root);
			limit = least_above(mount, group, "memory.max");
		} else if (strcmp(controllers + 1, "memory") == 0) {
			snprintf(mount, sizeof(mount), "%s/sys/fs/cgroup/memory", root);
			limit = least_above(mount, group, "memory.limit_in_bytes");
		}
		least = limit < least ? limit : least;
	}
	if (f)
		fclose(f);
	return least > 0 ? least : 1;
}

uint64_t memory_limit(void)
{
	struct sysinfo info;
	uint64_t machine =
		sysinfo(&info) == 0 ? (uint64_t)info.totalram * info.mem_unit : UINT64_MAX;

	return memory_limit_below("", machine);
}

unsigned memory_share(unsigned asked_mib, uint64_t limit)
{
	uint64_t most = limit / 4 >> 20, share = asked_mib ? asked_mib : SHARE_DEFAULT_MIB;

	share = share > most ? most : share;
	return share < SHARE_LEAST_MIB ? SHARE_LEAST_MIB : (unsigned)share;
}
