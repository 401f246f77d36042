// SPDX-License-Identifier: Apache-2.0
// The loop over a pipe whose bytes are requests: 'i' inline, 'h' handed over, 'a' alone, 'g' inline
// and held at a gate, 'b' inline and about to block, 'w' the same and waits until another thread
// receives, 'k' kick, 's' and 't' confidential, inline and handed over.
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fusefs/loop.h"
#include "fusefs/spin.h"
#include "tests/unit/unit_main.h"

struct rig {
	struct loop *loop;
	int fds[2];
	pthread_t runner;
	int result;
	sem_t gate, arrived, done;
	atomic_uint receiving, processed, controls;
	atomic_uint by_thread[LOOP_THREADS_MAX];
	atomic_uint short_waits; // of 'w'
	atomic_bool overlapped;  // two receivers at once
	bool see;
	atomic_bool end_on_control;
	atomic_int broken; // code that receive fails with at the end of the pipe
};

// Of the threads that served an 's'.
static struct {
	const uint8_t *in, *out;
} buffers_of[LOOP_THREADS_MAX];

static int receive(void *arg, struct loop_worker *w, size_t *ret_len)
{
	struct rig *r = arg;

	if (atomic_fetch_add(&r->receiving, 1) != 0)
		atomic_store(&r->overlapped, true);
	ssize_t n = read(r->fds[0], w->in, 1);
	int err = errno;
	atomic_fetch_sub(&r->receiving, 1);
	if (n < 0)
		return err == EINTR ? WERR_INTERRUPTED : WERR_IO;
	*ret_len = (size_t)n;
	return n == 0 ? atomic_load(&r->broken) : 0;
}

static enum loop_class classify(void *arg, struct loop_worker *w, size_t len)
{
	(void)arg;
	ck_assert_uint_eq(len, 1);
	if (w->in[0] == 'h' || w->in[0] == 't')
		return LOOP_HAND_OVER;
	return w->in[0] == 'a' ? LOOP_ALONE : LOOP_INLINE;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void await_receiver(struct rig *r)
{
	uint64_t start = now_ns();

	while (atomic_load(&r->receiving) == 0)
		sched_yield();
	uint64_t took = now_ns() - start;
	if (took < 500000)
		atomic_fetch_add(&r->short_waits, 1);
}

static void process(void *arg, struct loop_worker *w, size_t len)
{
	struct rig *r = arg;

	(void)len;
	if (loop_self() != w)
		abort();
	if (w->in[0] == 'g') {
		sem_post(&r->arrived);
		while (sem_wait(&r->gate) != 0)
			;
	}
	if (w->in[0] == 'b' || w->in[0] == 'w')
		loop_blocking();
	if (w->in[0] == 'w')
		await_receiver(r);
	if (w->in[0] == 'b' || w->in[0] == 'w')
		loop_blocking(); // does not make a second one receive
	if (w->in[0] == 'k')
		loop_kick(r->loop);
	w->out[0] = w->out[LOOP_OUT_BYTES - 1] = 1;
	if (w->in[0] == 's' || w->in[0] == 't') {
		memset(w->out, 's', 5000);
		loop_out_used(5000);
		buffers_of[w->index].in = w->in;
		buffers_of[w->index].out = w->out;
	}
	atomic_fetch_add(&r->processed, 1);
	atomic_fetch_add(&r->by_thread[w->index], 1);
	sem_post(&r->done);
}

static int control(void *arg)
{
	struct rig *r = arg;

	atomic_fetch_add(&r->controls, 1);
	if (!atomic_load(&r->end_on_control))
		return 0;
	ck_assert_int_eq(loop_drain(r->loop, 10, 10000), 0);
	return 1;
}

static void *run(void *arg)
{
	struct rig *r = arg;

	r->result = loop_run(r->loop);
	return NULL;
}

static bool pending(void *arg)
{
	const struct rig *r = arg;
	struct pollfd p = {.fd = r->fds[0], .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

// see: the loop can ask whether a request waits.
static void start_as(struct rig *r, unsigned threads, bool see)
{
	*r = (struct rig){.broken = WERR_NODEVICE, .see = see};
	const struct loop_params params = {
		.threads = threads,
		.receive = receive,
		.pending = see ? pending : NULL,
		.classify = classify,
		.process = process,
		.control = control,
		.arg = r,
	};
	ck_assert_int_eq(pipe(r->fds), 0);
	sem_init(&r->gate, 0, 0);
	sem_init(&r->arrived, 0, 0);
	sem_init(&r->done, 0, 0);
	ck_assert_int_eq(loop_new(&params, &r->loop), 0);
	ck_assert_int_eq(pthread_create(&r->runner, NULL, run, r), 0);
}

static void start(struct rig *r, unsigned threads)
{
	start_as(r, threads, true);
}

static int finish(struct rig *r)
{
	pthread_join(r->runner, NULL);
	// Without seeing who waits there is one receiver at a time.
	ck_assert(r->see || !atomic_load(&r->overlapped));
	loop_free(r->loop);
	close(r->fds[0]);
	close(r->fds[1]);
	sem_destroy(&r->gate);
	sem_destroy(&r->arrived);
	sem_destroy(&r->done);
	return r->result;
}

static void feed(struct rig *r, char request, unsigned n)
{
	while (n-- > 0)
		ck_assert_int_eq(write(r->fds[1], &request, 1), 1);
}

static void await(sem_t *s, unsigned n)
{
	while (n > 0)
		if (sem_wait(s) == 0)
			n--;
}

START_TEST(stops_idle)
{
	struct rig r;

	for (unsigned i = 0; i < 20; i++) {
		start(&r, 3);
		if (i & 1) {
			feed(&r, 'i', 1);
			await(&r.done, 1);
		}
		loop_stop(r.loop);
		ck_assert_int_eq(finish(&r), 0);
	}
}
END_TEST

START_TEST(ends_with_channel)
{
	struct rig r;

	start(&r, 3);
	feed(&r, 'i', 100);
	close(r.fds[1]);
	r.fds[1] = -1;
	ck_assert_int_eq(finish(&r), 0);
	ck_assert_uint_eq(atomic_load(&r.processed), 100);
}
END_TEST

START_TEST(failure_of_the_channel)
{
	struct rig r;

	start(&r, 3);
	feed(&r, 'i', 1);
	await(&r.done, 1);
	atomic_store(&r.broken, WERR_IO);
	close(r.fds[1]);
	r.fds[1] = -1;
	ck_assert_int_eq(finish(&r), WERR_IO);
}
END_TEST

// The watchdog replaces a leader that is stuck, once for each.
START_TEST(watchdog_promotes)
{
	struct rig r;

	start(&r, 4);
	for (unsigned stuck = 1; stuck <= 3; stuck++) {
		feed(&r, 'g', 1);
		await(&r.arrived, 1);
		feed(&r, 'i', 5);
		await(&r.done, 5);
	}
	for (unsigned i = 0; i < 3; i++)
		sem_post(&r.gate);
	await(&r.done, 3);
	feed(&r, 'i', 5);
	await(&r.done, 5);
	loop_stop(r.loop);
	ck_assert_int_eq(finish(&r), 0);
	ck_assert_uint_eq(atomic_load(&r.processed), 23);
}
END_TEST

// The lead goes on at once: the watchdog's way takes a millisecond and more each time.
START_TEST(blocking_hands_over)
{
	struct rig r;

	start_as(&r, 3, false);
	for (unsigned i = 0; i < 200; i++) {
		feed(&r, 'w', 1);
		await(&r.done, 1);
		feed(&r, 'i', 1);
		await(&r.done, 1);
	}
	loop_blocking(); // in a thread that is no worker
	loop_stop(r.loop);
	ck_assert_int_eq(finish(&r), 0);
	ck_assert_uint_eq(atomic_load(&r.processed), 400);
	ck_assert_uint_ge(atomic_load(&r.short_waits), 50);
}
END_TEST

// The same where the loop sees the request that waits.
START_TEST(blocking_hands_over_to_who_waits)
{
	struct rig r;

	start(&r, 3);
	for (unsigned i = 0; i < 200; i++) {
		ck_assert_int_eq(write(r.fds[1], "wi", 2), 2);
		await(&r.done, 2);
	}
	loop_stop(r.loop);
	ck_assert_int_eq(finish(&r), 0);
	ck_assert_uint_ge(atomic_load(&r.short_waits), 50);
}
END_TEST

// Nobody else wants anything: no thread is woken, and only the watchdog gives the lead away.
START_TEST(blocking_alone_keeps_the_lead)
{
	struct rig r;

	start(&r, 3);
	for (unsigned i = 0; i < 200; i++) {
		feed(&r, 'w', 1);
		await(&r.done, 1);
	}
	loop_stop(r.loop);
	ck_assert_int_eq(finish(&r), 0);
	ck_assert_uint_le(atomic_load(&r.short_waits), 150);
}
END_TEST

// Looking is given up after a few failures, tried again ever more seldom, and worth it at once when
// it succeeds.
START_TEST(spin_learns)
{
	struct spin s;
	unsigned looks = 0, last = 0, longest = 0;

	spin_init(&s);
	for (unsigned i = 1; i <= 100000; i++) {
		if (!spin_due(&s))
			continue;
		spin_learn(&s, false);
		looks++;
		if (i - last > longest)
			longest = i - last;
		last = i;
	}
	ck_assert_uint_le(looks, 40);
	ck_assert_uint_eq(longest, SPIN_SKIP_MOST);
	unsigned waited = 1;
	while (!spin_due(&s))
		waited++;
	ck_assert_uint_le(waited, SPIN_SKIP_MOST);
	for (unsigned i = 0; i < 100; i++) {
		spin_learn(&s, true);
		ck_assert(spin_due(&s));
	}
	// Single failures do not end it, a row of them does.
	spin_learn(&s, false);
	ck_assert(spin_due(&s));
	spin_learn(&s, true);
	ck_assert(spin_due(&s));
	for (unsigned i = 0; i < 4; i++)
		spin_learn(&s, false);
	ck_assert(!spin_due(&s));
}
END_TEST

static bool third_time(void *arg)
{
	unsigned *n = arg;

	return ++*n == 3;
}

static bool never(void *arg)
{
	(void)arg;
	return false;
}

START_TEST(spin_looks)
{
	struct spin s;
	unsigned asked = 0;

	// A thread that is held up for the whole of the time has looked less often.
	do {
		spin_init(&s);
		asked = 0;
	} while (!spin_look(&s, third_time, &asked));
	ck_assert_uint_eq(asked, 3);
	uint64_t from = now_ns();
	ck_assert(!spin_look(&s, never, NULL));
	ck_assert_uint_ge(now_ns() - from, SPIN_NS);
}
END_TEST

// Without a number there are more than processors, so many wait for the disk together. wardfs(1),
// "threads".
START_TEST(threads_of_its_own_accord)
{
	struct rig r;
	const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	const unsigned expected = cpus < 12 ? (unsigned)cpus + 4 : 16;

	start(&r, 0);
	ck_assert_uint_eq(loop_threads(r.loop), expected);
	feed(&r, 'g', expected);
	await(&r.arrived, expected);
	for (unsigned i = 0; i < expected; i++)
		sem_post(&r.gate);
	await(&r.done, expected);
	loop_stop(r.loop);
	ck_assert_int_eq(finish(&r), 0);
}
END_TEST

// All threads are stuck; the first that comes free leads.
START_TEST(nobody_left_to_lead)
{
	struct rig r;

	start(&r, 2);
	feed(&r, 'g', 2);
	await(&r.arrived, 2);
	feed(&r, 'i', 3);
	sem_post(&r.gate);
	await(&r.done, 4);
	sem_post(&r.gate);
	await(&r.done, 1);
	loop_stop(r.loop);
	ck_assert_int_eq(finish(&r), 0);
}
END_TEST

START_TEST(quick_requests_stay_with_the_leader)
{
	struct rig r;
	unsigned most = 0;

	start(&r, 4);
	for (unsigned i = 0; i < 500; i++) {
		feed(&r, i % 100 == 0 ? 'a' : 'i', 1);
		await(&r.done, 1);
	}
	loop_stop(r.loop);
	ck_assert_int_eq(finish(&r), 0);
	// A machine that stalls a thread for a millisecond may move the lead now and then.
	for (unsigned i = 0; i < 4; i++) {
		unsigned n = atomic_load(&r.by_thread[i]);

		if (n > most)
			most = n;
	}
	ck_assert_uint_ge(most, 100);
}
END_TEST

// One heavy request at a time needs two threads: the most recently idle one is taken again and
// again.
START_TEST(most_recently_idle_first)
{
	struct rig r;
	unsigned used = 0;

	start(&r, 8);
	for (unsigned i = 0; i < 200; i++) {
		feed(&r, 'h', 1);
		await(&r.done, 1);
	}
	loop_stop(r.loop);
	ck_assert_int_eq(finish(&r), 0);
	for (unsigned i = 0; i < 8; i++)
		if (atomic_load(&r.by_thread[i]) > 20)
			used++;
	ck_assert_uint_le(used, 6);
}
END_TEST

START_TEST(mixture)
{
	static const char kinds[] = "ihibaihik";
	struct rig r;

	start(&r, 5);
	for (unsigned i = 0; i < 5000; i++)
		feed(&r, kinds[i % (sizeof(kinds) - 1)], 1);
	await(&r.done, 5000);
	ck_assert_uint_ge(atomic_load(&r.controls), 1);
	loop_stop(r.loop);
	ck_assert_int_eq(finish(&r), 0);
	ck_assert_uint_eq(atomic_load(&r.processed), 5000);
}
END_TEST

// Requests come in faster than they are served: several threads receive, and every request is
// served once. When one client is left, one thread serves it.
START_TEST(company)
{
	struct rig r;
	unsigned fed = 0;

	start(&r, 4);
	while (!atomic_load(&r.overlapped)) {
		feed(&r, 'b', 64);
		await(&r.done, 64);
		fed += 64;
	}
	feed(&r, 'g', 4);
	await(&r.arrived, 4);
	for (unsigned i = 0; i < 4; i++)
		sem_post(&r.gate);
	await(&r.done, 4);
	for (unsigned i = 0; i < 1000; i++) {
		feed(&r, 'i', 1);
		await(&r.done, 1);
	}
	loop_stop(r.loop);
	ck_assert_int_eq(finish(&r), 0);
	ck_assert_uint_eq(atomic_load(&r.processed), fed + 1004);
}
END_TEST

START_TEST(control_ends_it)
{
	struct rig r;

	start(&r, 2);
	feed(&r, 'i', 3);
	await(&r.done, 3);
	atomic_store(&r.end_on_control, true);
	feed(&r, 'k', 1);
	ck_assert_int_eq(finish(&r), 0);
}
END_TEST

START_TEST(buffers)
{
	struct rig r;

	start(&r, 0);
	feed(&r, 'i', 1);
	await(&r.done, 1);
	loop_stop(r.loop);
	ck_assert_int_eq(finish(&r), 0);
	ck_assert_ptr_null(loop_self());
}
END_TEST

// Looks at another thread's memory without asking it.
__attribute__((no_sanitize("address", "thread"), noinline)) static bool is_wiped(const uint8_t *p,
										 size_t n)
{
	const volatile uint8_t *v = p;
	uint8_t any = 0;

	for (size_t i = 0; i < n; i++)
		any |= v[i];
	return any == 0;
}

static bool all_wiped(void)
{
	for (unsigned i = 0; i < LOOP_THREADS_MAX; i++)
		if (buffers_of[i].in != NULL &&
		    !(is_wiped(buffers_of[i].in, 1) && is_wiped(buffers_of[i].out, 5000)))
			return false;
	return true;
}

// What was confidential is gone soon after the last request, in every thread.
START_TEST(wiped_when_idle)
{
	struct rig r;

	start(&r, 4);
	for (int round = 0; round < 2; round++) {
		memset(buffers_of, 0, sizeof(buffers_of));
		feed(&r, 's', 5);
		feed(&r, 't', 20);
		await(&r.done, 25);
		uint64_t begin = now_ns();
		while (!all_wiped() && now_ns() - begin < 20000000000ull)
			usleep(1000);
		ck_assert(all_wiped());
	}
	loop_stop(r.loop);
	ck_assert_int_eq(finish(&r), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("loop");
	TCase *t = tcase_create("loop");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, stops_idle);
	tcase_add_test(t, ends_with_channel);
	tcase_add_test(t, failure_of_the_channel);
	tcase_add_test(t, watchdog_promotes);
	tcase_add_test(t, blocking_hands_over);
	tcase_add_test(t, blocking_hands_over_to_who_waits);
	tcase_add_test(t, blocking_alone_keeps_the_lead);
	tcase_add_test(t, spin_learns);
	tcase_add_test(t, spin_looks);
	tcase_add_test(t, threads_of_its_own_accord);
	tcase_add_test(t, nobody_left_to_lead);
	tcase_add_test(t, quick_requests_stay_with_the_leader);
	tcase_add_test(t, most_recently_idle_first);
	tcase_add_test(t, mixture);
	tcase_add_test(t, company);
	tcase_add_test(t, control_ends_it);
	tcase_add_test(t, buffers);
	tcase_add_test(t, wiped_when_idle);
	suite_add_tcase(s, t);
	return unit_main(s);
}
