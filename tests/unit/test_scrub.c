// SPDX-License-Identifier: Apache-2.0
// A process that wipes itself to death, seen by an observer that shares its memory and survives.
#include "daemon/scrub.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include "crypto/secret.h"
#include "daemon/sandbox.h"
#include "unit_main.h"
#include "unit_process.h"

#define BARE __attribute__((no_stack_protector, noinline, no_sanitize("address", "thread")))
#define PLACES 6
#define LEN 64

// In shared memory, which is not the process's own and stays.
struct watch {
	uint8_t stack[65536];
	const volatile uint8_t *at[PLACES];
	volatile pid_t victim;
	volatile int result; // 0: not yet; 1 + number of places that still hold something
};

BARE static int observe(void *arg)
{
	struct watch *w = arg;
	struct timespec pause = {.tv_nsec = 10000000};

	// Until the victim has gone and all is wiped, or for 20 seconds.
	for (int i = 0; i < 2000; i++) {
		int held = 0;

		syscall(SYS_nanosleep, &pause, 0);
		for (int k = 0; k < PLACES; k++) {
			int any = 0;

			for (int b = 0; b < LEN; b++)
				any |= w->at[k][b];
			held += any != 0;
		}
		w->result = 1 + held;
		if (held == 0 && syscall(SYS_getppid) != w->victim)
			break;
	}
	syscall(SYS_exit, 0);
	return 0;
}

static uint8_t variable[LEN];
static struct watch *watch;
static pthread_barrier_t barrier;

static void *hold(void *arg)
{
	uint8_t local[LEN];

	(void)arg;
	memset(local, 5, LEN);
	watch->at[4] = local;
	pthread_barrier_wait(&barrier);
	for (;;)
		pause();
	return NULL;
}

static void on_refused(void *arg, const char *call)
{
	(void)arg;
	(void)call;
}

// As a worker is: who answers for a refused call dies with the victim, so that one would wait for
// ever.
static int confine(void)
{
	const struct sandbox_params params = {.refused = on_refused};
	struct sandbox_given given;

	return sandbox_enter(&params, &given);
}

// arg: not NULL: in the sandbox.
static int victim(void *arg)
{
	sigset_t all;
	pthread_t thread;
	uint8_t *big = malloc(1 << 20), *small = malloc(LEN);
	uint8_t *secret = secret_alloc(LEN), *large = secret_alloc(100000);

	if (scrub_prepare())
		return 1;
	memset(big, 1, 1 << 20);
	memset(small, 2, LEN);
	memset(secret, 3, LEN);
	memset(large, 4, 100000);
	memset(variable, 6, LEN);
	watch->at[0] = big + 500000;
	watch->at[1] = small;
	watch->at[2] = secret;
	watch->at[3] = large + 50000;
	watch->at[5] = variable;
	pthread_barrier_init(&barrier, NULL, 2);
	// A thread that no signal reaches.
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	if (pthread_create(&thread, NULL, hold, NULL))
		return 2;
	pthread_barrier_wait(&barrier);
	watch->victim = getpid();
	if (clone(observe, watch->stack + sizeof(watch->stack), CLONE_VM, watch) < 0)
		return 3;
	if (arg && confine())
		return 4;
	scrub_and_die();
}

START_TEST(nothing_is_left)
{
	const struct timespec pause = {.tv_nsec = 10000000};

	if (UNIT_SANITIZED) {
		puts("skip scrub # a sanitizer's memory cannot be wiped");
		return;
	}
	watch = mmap(NULL, sizeof(*watch), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	ck_assert_ptr_ne(watch, MAP_FAILED);
	int status = unit_child(victim, _i ? watch : NULL);
	ck_assert_signalled(status, SIGKILL);
	for (int i = 0; i < 2500 && watch->result != 1; i++)
		nanosleep(&pause, NULL);
	ck_assert_int_eq(watch->result, 1);
}
END_TEST

static int unprepared(void *arg)
{
	(void)arg;
	scrub_and_die();
}

START_TEST(dies_unprepared)
{
	ck_assert_signalled(unit_child(unprepared, NULL), SIGKILL);
}
END_TEST

int main(void)
{
	if (secret_init() != 0)
		return EXIT_FAILURE;

	Suite *suite = suite_create("scrub");
	TCase *tc = tcase_create("scrub");

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, nothing_is_left, 0, 2);
	tcase_add_test(tc, dies_unprepared);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
