// SPDX-License-Identifier: Apache-2.0
// The keeper of the other processor: alone, and in a loop over a pipe whose bytes are clients, 'B'
// one with large replies, 'H' one with heavy requests.
#include "fusefs/keeper.h"

#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fusefs/loop.h"
#include "fusefs/spin.h"
#include "tests/unit/unit_main.h"

#define LIMIT_S 60 // for what happens sooner or later

static unsigned processors(void)
{
	cpu_set_t cpus;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
	return (unsigned)CPU_COUNT(&cpus);
}

// Leaves this thread, and those that it makes, so many processors. False: there are not so many.
static bool leave_processors(unsigned n, cpu_set_t *ret)
{
	cpu_set_t cpus;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
	CPU_ZERO(ret);
	for (int i = 0; i < CPU_SETSIZE && n > 0; i++) {
		if (!CPU_ISSET(i, &cpus))
			continue;
		CPU_SET(i, ret);
		n--;
	}
	return n == 0 && sched_setaffinity(0, sizeof(*ret), ret) == 0;
}

static uint64_t limit(void)
{
	return spin_now_ns() + LIMIT_S * UINT64_C(1000000000);
}

// Not an assertion in each turn of a loop: each writes to a file.
static void before(uint64_t end)
{
	if (spin_now_ns() >= end)
		ck_abort_msg("it has not happened for %d s", LIMIT_S);
}

static uint64_t cpu_ns(clockid_t clock)
{
	struct timespec t;

	ck_assert_int_eq(clock_gettime(clock, &t), 0);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

// Of all other threads.
static uint64_t others_ns(void)
{
	uint64_t own = cpu_ns(CLOCK_THREAD_CPUTIME_ID);

	return cpu_ns(CLOCK_PROCESS_CPUTIME_ID) - own;
}

START_TEST(of_no_use_with_one_processor)
{
	struct keeper *k;
	cpu_set_t cpus;

	ck_assert(leave_processors(1, &cpus));
	ck_assert_int_eq(keeper_new(&k), 0);
	ck_assert_ptr_null(k);
	ck_assert(!keeper_keep(k, spin_now_ns() + SPIN_NS));
	keeper_leave(k);
	ck_assert_uint_eq(processors(), 1);
	keeper_free(k);
}
END_TEST

START_TEST(is_awake_until_then)
{
	const uint64_t end = limit(), used = UINT64_C(5000000);
	struct keeper *k;
	cpu_set_t cpus;

	if (!leave_processors(2, &cpus))
		return; // the other test is all there is to see here
	ck_assert_int_eq(keeper_new(&k), 0);
	ck_assert_ptr_nonnull(k);
	while (others_ns() < used) {
		(void)keeper_keep(k, spin_now_ns() + UINT64_C(50000000));
		before(end);
	}
	ck_assert_uint_eq(processors(), 1);
	keeper_leave(k);
	ck_assert_uint_eq(processors(), 2);
	// Asleep when the time is over.
	const uint64_t little = UINT64_C(1000000); // for reading two clocks, one after the other
	for (uint64_t last = 0, now; (now = others_ns()) - last > little; last = now) {
		before(end);
		(void)poll(NULL, 0, 100);
	}
	keeper_free(k);
}
END_TEST

static atomic_bool no_more;

static void *work(void *arg)
{
	ck_assert_int_eq(sched_setaffinity(0, sizeof(cpu_set_t), arg), 0);
	while (!atomic_load(&no_more))
		;
	return NULL;
}

// Somebody else needs both processors: the keeper is not one of those who compete for them.
START_TEST(gives_way)
{
	const uint64_t end = limit();
	pthread_t workers[2];
	struct keeper *k;
	cpu_set_t cpus;

	if (!leave_processors(2, &cpus))
		return;
	ck_assert_int_eq(keeper_new(&k), 0);
	atomic_store(&no_more, false);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&workers[i], NULL, work, &cpus), 0);
	while (keeper_keep(k, spin_now_ns() + UINT64_C(100000000)))
		before(end);
	atomic_store(&no_more, true);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(workers[i], NULL);
	while (!keeper_keep(k, spin_now_ns() + SPIN_NS))
		before(end);
	keeper_free(k);
}
END_TEST

struct rig {
	struct loop *loop;
	int fds[2];
	pthread_t runner;
	sem_t done;
	unsigned processors; // of the thread that processed the last request
};

static int receive(void *arg, struct loop_worker *w, size_t *ret_len)
{
	struct rig *r = arg;
	ssize_t n = read(r->fds[0], w->in, 1);

	*ret_len = 1;
	return n < 0 ? WERR_INTERRUPTED : n == 0 ? WERR_NODEVICE : 0;
}

static bool pending(void *arg)
{
	const struct rig *r = arg;
	struct pollfd p = {.fd = r->fds[0], .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

static enum loop_class classify(void *arg, struct loop_worker *w, size_t len)
{
	(void)arg;
	(void)len;
	w->client = w->in[0];
	return w->in[0] == 'H' ? LOOP_HAND_OVER : LOOP_INLINE;
}

static void process(void *arg, struct loop_worker *w, size_t len)
{
	struct rig *r = arg;

	(void)len;
	if (w->in[0] == 'B')
		loop_out_used(100000);
	r->processors = processors();
	sem_post(&r->done);
}

static void *run(void *arg)
{
	const struct rig *r = arg;

	ck_assert_int_eq(loop_run(r->loop), 0);
	return NULL;
}

static void request(struct rig *r, char client)
{
	ck_assert_int_eq(write(r->fds[1], &client, 1), 1);
	while (sem_wait(&r->done) != 0)
		;
}

// The clients, one request each in turn, until the leader has so many processors.
static void until(struct rig *r, const char *clients, unsigned wanted)
{
	const uint64_t end = limit();

	for (size_t i = 0; i < 16 || r->processors != wanted; i++) {
		request(r, clients[i % strlen(clients)]);
		before(end);
	}
}

static void start(struct rig *r)
{
	const struct loop_params params = {
		.threads = 2,
		.receive = receive,
		.pending = pending,
		.classify = classify,
		.process = process,
		.arg = r,
	};

	*r = (struct rig){.processors = 0};
	ck_assert_int_eq(pipe(r->fds), 0);
	sem_init(&r->done, 0, 0);
	ck_assert_int_eq(loop_new(&params, &r->loop), 0);
	ck_assert_int_eq(pthread_create(&r->runner, NULL, run, r), 0);
}

static void finish(struct rig *r)
{
	close(r->fds[1]);
	pthread_join(r->runner, NULL);
	loop_free(r->loop);
	close(r->fds[0]);
	sem_destroy(&r->done);
}

// The leader is kept beside its client as long as there is one, with little to say.
START_TEST(turns)
{
	cpu_set_t cpus;
	struct rig r;

	if (!leave_processors(2, &cpus))
		return;
	start(&r);
	for (unsigned i = 0; i < 6; i++) {
		until(&r, "a", 1);
		until(&r, i % 2 ? "ab" : "B", 2);
		until(&r, "a", 1);
		request(&r, 'H');
		ck_assert_uint_eq(r.processors, 2);
	}
	finish(&r);
}
END_TEST

// Neither where there are two, nor where there is much to say.
START_TEST(no_turns)
{
	cpu_set_t cpus;
	struct rig r;

	if (!leave_processors(2, &cpus))
		return;
	start(&r);
	for (unsigned i = 0; i < 2000; i++) {
		request(&r, i < 1000 ? "ab"[i % 2] : 'B');
		ck_assert_uint_eq(r.processors, 2);
	}
	finish(&r);
}
END_TEST

// Without a process of its own for each test (CK_FORK=no) the next one has them again.
static cpu_set_t at_start;

static void setup(void)
{
	ck_assert_int_eq(sched_getaffinity(0, sizeof(at_start), &at_start), 0);
}

static void teardown(void)
{
	ck_assert_int_eq(sched_setaffinity(0, sizeof(at_start), &at_start), 0);
}

int main(void)
{
	Suite *s = suite_create("keeper");
	TCase *t = tcase_create("keeper");

	tcase_set_timeout(t, 2 * LIMIT_S);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, of_no_use_with_one_processor);
	tcase_add_test(t, is_awake_until_then);
	tcase_add_test(t, gives_way);
	tcase_add_test(t, turns);
	tcase_add_test(t, no_turns);
	suite_add_tcase(s, t);
	return unit_main(s);
}
