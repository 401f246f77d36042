// SPDX-License-Identifier: Apache-2.0
#include "daemon/kdf_child.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crypto/secret.h"
#include "unit_main.h"
#include "unit_process.h"

static const struct argon_params small = {8192, 1, 1}, large = {262144, 8, 2};
static const uint8_t salt[ARGON_SALT_BYTES] = {1, 2, 3};

START_TEST(same_result)
{
	uint8_t here[ARGON_KEK_BYTES], there[ARGON_KEK_BYTES] = {0};

	for (uint32_t lanes = 1; lanes <= 4; lanes++) {
		struct argon_params p = small;

		p.lanes = lanes;
		ck_assert_int_eq(argon_derive_here(&p, "secret", 6, salt, here), 0);
		ck_assert_int_eq(kdf_child_derive(&p, "secret", 6, salt, there), 0);
		ck_assert_mem_eq(here, there, sizeof(here));
	}
}
END_TEST

START_TEST(installed)
{
	uint8_t here[ARGON_KEK_BYTES], there[ARGON_KEK_BYTES] = {0};
	const struct argon_params bad = {1, 1, 1};

	kdf_child_install();
	ck_assert_int_eq(argon_derive(&bad, "x", 1, salt, there), WERR_LIMIT);
	ck_assert_int_eq(argon_derive(&small, "x", 1, salt, there), 0);
	ck_assert_int_eq(argon_derive_here(&small, "x", 1, salt, here), 0);
	ck_assert_mem_eq(here, there, sizeof(here));
}
END_TEST

// A child of this process, or 0.
static pid_t find_child(void)
{
	char path[64];
	int pid = 0;

	(void)snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	FILE *f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%d", &pid) != 1)
		pid = 0;
	(void)fclose(f);
	return pid;
}

static atomic_bool ended;

// Kills every child that shows up, after a delay.
static void *killer(void *arg)
{
	const struct timespec delay = {.tv_nsec = *(const long *)arg};

	while (!atomic_load(&ended)) {
		pid_t pid = find_child();

		if (pid == 0)
			continue;
		nanosleep(&delay, NULL);
		kill(pid, SIGKILL);
	}
	return NULL;
}

static const long delays[] = {0, 100000, 1000000, 20000000, 100000000};

START_TEST(killed)
{
	uint8_t kek[ARGON_KEK_BYTES] = {0};
	long delay = delays[_i];
	pthread_t thread;

	if (access("/proc/self/task", X_OK) != 0)
		return;
	atomic_store(&ended, false);
	ck_assert_int_eq(pthread_create(&thread, NULL, killer, &delay), 0);
	int err = kdf_child_derive(&large, "secret", 6, salt, kek);
	atomic_store(&ended, true);
	pthread_join(thread, NULL);
	ck_assert_int_eq(err, WERR_KDFMEM);
	// And the next one works.
	ck_assert_int_eq(kdf_child_derive(&small, "secret", 6, salt, kek), 0);
}
END_TEST

static void *refuser(void *arg)
{
	const struct timespec delay = {.tv_nsec = *(const long *)arg};

	nanosleep(&delay, NULL);
	kdf_child_refuse(1);
	return NULL;
}

// Before its child is there, or while that works: many seconds, or it would be done.
START_TEST(refused)
{
	const struct argon_params p = {262144, 60, 1};
	uint8_t kek[ARGON_KEK_BYTES] = {0};
	long delay = delays[_i];
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, refuser, &delay), 0);
	ck_assert_int_eq(kdf_child_derive(&p, "secret", 6, salt, kek), WERR_INTERRUPTED);
	pthread_join(thread, NULL);
	ck_assert_int_eq(kdf_child_derive(&p, "secret", 6, salt, kek), WERR_INTERRUPTED);
	kdf_child_refuse(0);
	ck_assert_int_eq(kdf_child_derive(&small, "secret", 6, salt, kek), 0);
}
END_TEST

static int derive_long(void *arg)
{
	uint8_t kek[ARGON_KEK_BYTES];
	const struct argon_params p = {524288, 60, 1};

	(void)arg;
	return kdf_child_derive(&p, "secret", 6, salt, kek);
}

// The child of a killed process does not go on with a passphrase.
START_TEST(parent_killed)
{
	int ends[2];
	char none;

	ck_assert_int_eq(pipe(ends), 0);
	pid_t pid = fork();
	if (pid == 0) {
		close(ends[0]);
		_exit(derive_long(NULL) ? 1 : 0);
	}
	close(ends[1]);
	const struct timespec a_while = {.tv_nsec = 200000000};
	nanosleep(&a_while, NULL);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	// The end of the pipe: nobody of them holds it any more (the child closed its own).
	ck_assert_int_eq(read(ends[0], &none, 1), 0);
	close(ends[0]);
}
END_TEST

int main(void)
{
	if (secret_init() != 0)
		return EXIT_FAILURE;

	Suite *suite = suite_create("kdf_child");
	TCase *tc = tcase_create("kdf_child");

	tcase_set_timeout(tc, 100);
	tcase_add_test(tc, same_result);
	tcase_add_test(tc, installed);
	tcase_add_loop_test(tc, killed, 0, sizeof(delays) / sizeof(delays[0]));
	tcase_add_loop_test(tc, refused, 0, sizeof(delays) / sizeof(delays[0]));
	tcase_add_test(tc, parent_killed);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
