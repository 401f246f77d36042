// SPDX-License-Identifier: Apache-2.0
// Limits of control groups, read from made-up trees of /proc and /sys.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/memory_limit.h"
#include "tests/unit/unit_files.h"
#include "tests/unit/unit_main.h"

#define MIB (1024ull * 1024)

static char root[UNIT_DIR_BYTES];

// Writes a file and makes the folders above it.
static void put(const char *name, const char *text)
{
	char path[512];

	snprintf(path, sizeof(path), "%s%s", root, name);
	for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')) != NULL; p++) {
		*p = '\0';
		(void)!mkdir(path, 0700);
		*p = '/';
	}
	FILE *f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	fclose(f);
}

static void setup(void)
{
	unit_make_dir(root);
}

static void teardown(void)
{
	unit_remove_tree(root);
}

START_TEST(no_groups)
{
	ck_assert_uint_eq(memory_limit_below(root, 1000 * MIB), 1000 * MIB);
	put("/proc/self/cgroup", "0::/\n");
	ck_assert_uint_eq(memory_limit_below(root, 1000 * MIB), 1000 * MIB);
}
END_TEST

START_TEST(version_2)
{
	put("/proc/self/cgroup", "0::/user.slice/session-1.scope\n");
	put("/sys/fs/cgroup/user.slice/session-1.scope/memory.max", "max\n");
	ck_assert_uint_eq(memory_limit_below(root, 1000 * MIB), 1000 * MIB);
	// The group above limits what is below it.
	put("/sys/fs/cgroup/user.slice/memory.max", "134217728\n");
	ck_assert_uint_eq(memory_limit_below(root, 1000 * MIB), 128 * MIB);
	put("/sys/fs/cgroup/user.slice/session-1.scope/memory.max", "67108864\n");
	ck_assert_uint_eq(memory_limit_below(root, 1000 * MIB), 64 * MIB);
	ck_assert_uint_eq(memory_limit_below(root, 10 * MIB), 10 * MIB);
	// As in a container: its own group is the root.
	put("/proc/self/cgroup", "0::/\n");
	put("/sys/fs/cgroup/memory.max", "33554432\n");
	ck_assert_uint_eq(memory_limit_below(root, 1000 * MIB), 32 * MIB);
}
END_TEST

START_TEST(version_1)
{
	put("/proc/self/cgroup", "broken\n12:cpu,cpuacct:/a\n7:memory:/a/b\n0::/\n");
	put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
	put("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "67108864\n");
	put("/sys/fs/cgroup/cpu,cpuacct/a/memory.limit_in_bytes", "1\n");
	ck_assert_uint_eq(memory_limit_below(root, 1000 * MIB), 64 * MIB);
}
END_TEST

START_TEST(odd_contents)
{
	put("/proc/self/cgroup", "0::/a\n");
	put("/sys/fs/cgroup/a/memory.max", "");
	ck_assert_uint_eq(memory_limit_below(root, 1000 * MIB), 1000 * MIB);
	put("/sys/fs/cgroup/a/memory.max", "-5\n");
	ck_assert_uint_eq(memory_limit_below(root, 1000 * MIB), 1000 * MIB);
	put("/sys/fs/cgroup/a/memory.max", "0\n");
	ck_assert_uint_eq(memory_limit_below(root, 1000 * MIB), 1);
}
END_TEST

START_TEST(shares)
{
	ck_assert_uint_eq(memory_share(0, 4096 * MIB), 256);
	ck_assert_uint_eq(memory_share(0, 100 * MIB), 25);
	ck_assert_uint_eq(memory_share(0, 20 * MIB), 16);
	ck_assert_uint_eq(memory_share(100, 4096 * MIB), 100);
	ck_assert_uint_eq(memory_share(4000000000u, 4096 * MIB), 1024);
	ck_assert_uint_eq(memory_share(1, UINT64_MAX), 16);
	ck_assert_uint_ge(memory_limit(), MIB);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("memory_limit");
	TCase *t = tcase_create("memory_limit");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, no_groups);
	tcase_add_test(t, version_2);
	tcase_add_test(t, version_1);
	tcase_add_test(t, odd_contents);
	tcase_add_test(t, shares);
	suite_add_tcase(s, t);
	return unit_main(s);
}
