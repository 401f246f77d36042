// SPDX-License-Identifier: Apache-2.0
#include "fusefs/keeper.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "fusefs/spin.h"

// Without the processor for longer than this: somebody else needs it, not only the leader.
#define TAKEN_NS 500000u
// How long it is left to them: doubled from least to most while they come again.
#define REST_LEAST_NS 10000000ull
#define REST_MOST_NS 1000000000ull

struct keeper {
	pthread_t thread;
	sem_t wake;
	cpu_set_t both;
	cpu_set_t here; // where the keeper is to be; set by who finds it asleep
	atomic_uint_fast64_t until, rest_until; // spin_now_ns
	atomic_bool asleep, stop;
	uint64_t rest; // the next one; the thread's
};

// The calling thread is kept away from the keeper's processor.
static _Thread_local bool apart;

// Of the calling thread. Where it does not work everything is slower, that is all.
static void run_on(const cpu_set_t *cpus)
{
	(void)sched_setaffinity(0, sizeof(*cpus), cpus);
}

// Awake until the time that was asked for, or somebody takes the processor.
static void keep(struct keeper *k)
{
	uint64_t begun = spin_now_ns(), last = begun;

	for (uint64_t now = begun; now < atomic_load_explicit(&k->until, memory_order_relaxed);
	     now = spin_now_ns()) {
		if (now - last > TAKEN_NS) {
			atomic_store(&k->rest_until, now + k->rest);
			k->rest = k->rest < REST_MOST_NS ? k->rest * 2 : k->rest;
			return;
		}
		last = now;
	}
	if (last - begun > REST_LEAST_NS)
		k->rest = REST_LEAST_NS;
}

static void *thread_main(void *arg)
{
	struct keeper *k = arg;
	sigset_t set;

	sigfillset(&set);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	(void)setpriority(PRIO_PROCESS, 0, PRIO_MAX - 1); // of this thread
	for (;;) {
		while (sem_wait(&k->wake) != 0)
			;
		if (atomic_load(&k->stop))
			return NULL;
		run_on(&k->here);
		keep(k);
		atomic_store(&k->asleep, true);
	}
}

// The keeper goes where the leader is now, and the leader to the other processor, where its client
// waits for it.
static void begin(struct keeper *k)
{
	cpu_set_t there;
	int cpu = sched_getcpu();

	CPU_ZERO(&k->here);
	CPU_SET(cpu < 0 ? 0 : cpu, &k->here);
	CPU_XOR(&there, &k->here, &k->both);
	run_on(&there);
	apart = true;
	atomic_store(&k->asleep, false);
	sem_post(&k->wake);
}

bool keeper_keep(struct keeper *k, uint64_t until_ns)
{
	if (!k || until_ns < atomic_load_explicit(&k->rest_until, memory_order_relaxed))
		return false;
	atomic_store(&k->until, until_ns);
	if (atomic_load(&k->asleep))
		begin(k);
	return true;
}

void keeper_leave(struct keeper *k)
{
	if (!apart)
		return;
	apart = false;
	run_on(&k->both);
}

int keeper_new(struct keeper **ret)
{
	cpu_set_t cpus;

	*ret = NULL;
	if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0 || CPU_COUNT(&cpus) != 2)
		return 0;
	struct keeper *k = calloc(1, sizeof(*k));
	if (!k)
		return WERR_NOMEM;
	k->both = cpus;
	k->rest = REST_LEAST_NS;
	k->asleep = true;
	sem_init(&k->wake, 0, 0);
	if (pthread_create(&k->thread, NULL, thread_main, k) != 0) {
		sem_destroy(&k->wake);
		free(k);
		return WERR_NOMEM;
	}
	*ret = k;
	return 0;
}

void keeper_free(struct keeper *k)
{
	if (!k)
		return;
	atomic_store(&k->until, 0);
	atomic_store(&k->stop, true);
	sem_post(&k->wake);
	pthread_join(k->thread, NULL);
	sem_destroy(&k->wake);
	free(k);
}
