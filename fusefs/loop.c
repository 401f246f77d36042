// SPDX-License-Identifier: Apache-2.0
#include "fusefs/loop.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "crypto/secret.h"
#include "fusefs/keeper.h"
#include "fusefs/spin.h"

#define PAGE 4096u
// A request and a reply of at most so many bytes each are worth no second processor.
#define SMALL_BYTES 2048u
// So many of those from one client, and no others between them: it and the leader take turns.
#define TURNS_LEAST 8u
#define WATCHDOG_PERIOD_NS 1000000
// Polls without any request after which the watchdog goes to sleep.
#define WATCHDOG_QUIET 20
// Buffers are wiped about this long after the last request, and as often while requests come.
#define WIPE_AFTER_MS 1000
// Requests, served by threads that do not lead, until company is forgotten.
#define COMPANY_LASTS 32
// Interrupts a blocked receive(). Not used elsewhere by wardfs.
#define WAKE_SIGNAL (SIGRTMIN + 5)

struct thread {
	struct loop_worker self;
	struct loop *loop;
	pthread_t id;
	uint8_t *map;
	sem_t wake;
	struct thread *next_idle; // guarded by loop->lock
	uint_fast64_t run;        // loop->run while it processes its last inline request; its own
	bool served;              // it has processed a request; its own
	// What the buffers hold from their starts on; its own.
	size_t in_used, out_used;
	size_t out_last;     // of the request in hand
	atomic_uint wiped;   // loop->wipe at its last wipe; written by itself
	atomic_bool waiting; // in receive() or idle: a signal makes it look at loop->wipe
	pthread_t me;        // guarded by loop->lock
	bool alive;          // guarded by loop->lock: me is there
	atomic_bool exited;
};

struct loop {
	struct loop_params p;
	struct thread *threads;
	unsigned count;
	unsigned started;

	pthread_mutex_t lock;
	struct thread *idle; // most recently idle first; guarded by lock
	bool leaderless;     // guarded by lock

	// Even: the leader receives (only it changes the value). Odd: the leader processes a
	// request inline; who moves the value on by one leads: the leader when it is done or is
	// going to block (then for another thread), or the watchdog.
	atomic_uint_fast64_t run;
	atomic_uint_fast64_t received; // written by the leader only
	atomic_uint_fast64_t finished;
	struct spin spin;       // the leader's
	atomic_uint company;    // while not 0, several clients are at work
	atomic_uint companions; // threads in receive() beside the leader
	unsigned client, turns; // who sent the last request, and so many small ones; the leader's
	struct keeper *keeper;  // NULL: of no use here
	bool spins;             // there is another processor for the client

	atomic_bool stop;
	atomic_bool ended; // the channel is at its end
	atomic_int result;
	sem_t control;

	atomic_uint wipe;             // raised when everybody is to wipe
	uint_fast64_t wiped_received; // the watchdog's: received at that time

	pthread_t watchdog;
	sem_t watchdog_wake;
	atomic_bool watchdog_asleep;
};

static _Thread_local struct thread *self;

struct loop_worker *loop_self(void)
{
	return self != NULL ? &self->self : NULL;
}

static void wake_handler(int sig)
{
	(void)sig;
}

static void install_handler(void)
{
	// Without SA_RESTART: its only purpose is EINTR.
	struct sigaction sa = {.sa_handler = wake_handler};

	sigemptyset(&sa.sa_mask);
	(void)sigaction(WAKE_SIGNAL, &sa, NULL);
}

// More than there are processors: most requests that do not come from memory wait for the disk, and
// with few on their way together it has little to do.
static unsigned default_threads(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (cpus < 1)
		cpus = 1;
	return cpus + 4 > 16 ? 16 : (unsigned)cpus + 4;
}

static int thread_init(struct loop *l, struct thread *t, unsigned index)
{
	// One page of room in front, so that the payload of a write is page-aligned.
	size_t in = PAGE + LOOP_IN_BYTES, all = in + LOOP_OUT_BYTES;

	t->loop = l;
	t->self.index = index;
	t->map = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (t->map == MAP_FAILED) {
		t->map = NULL;
		return WERR_NOMEM;
	}
	// Plaintext of files passes through here.
	(void)madvise(t->map, all, MADV_DONTDUMP);
	t->self.in = t->map + PAGE - LOOP_IN_HEADER;
	t->self.out = t->map + in;
	return sem_init(&t->wake, 0, 0) == 0 ? 0 : WERR_NOMEM;
}

static void wipe_buffers(struct thread *t)
{
	secret_wipe(t->self.in, t->in_used);
	secret_wipe(t->self.out, t->out_used);
	t->in_used = t->out_used = 0;
}

static void wipe_if_asked(struct thread *t)
{
	unsigned now = atomic_load_explicit(&t->loop->wipe, memory_order_relaxed);

	if (atomic_load_explicit(&t->wiped, memory_order_relaxed) == now)
		return;
	wipe_buffers(t);
	atomic_store(&t->wiped, now);
}

void loop_out_used(size_t len)
{
	if (self == NULL)
		return;
	self->out_last = len;
	if (len > self->out_used)
		self->out_used = len;
}

static void thread_free(struct thread *t)
{
	wipe_buffers(t);
	munmap(t->map, PAGE + LOOP_IN_BYTES + LOOP_OUT_BYTES);
	sem_destroy(&t->wake);
}

int loop_guest_enter(struct loop *l, unsigned index, struct loop_worker **ret)
{
	struct thread *t = calloc(1, sizeof(*t));

	if (t == NULL || thread_init(l, t, index) != 0) {
		free(t);
		return WERR_NOMEM;
	}
	self = t;
	t->in_used = LOOP_IN_BYTES; // filled by the caller
	*ret = &t->self;
	return 0;
}

void loop_guest_leave(struct loop *l)
{
	struct thread *t = self;

	(void)l;
	self = NULL;
	thread_free(t);
	free(t);
}

unsigned loop_threads(const struct loop *l)
{
	return l->count;
}

int loop_new(const struct loop_params *params, struct loop **ret)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct loop *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return WERR_NOMEM;
	pthread_once(&once, install_handler);
	l->p = *params;
	l->count = params->threads != 0 ? params->threads : default_threads();
	if (l->count > LOOP_THREADS_MAX)
		l->count = LOOP_THREADS_MAX;
	l->leaderless = true;
	spin_init(&l->spin);
	l->spins = sysconf(_SC_NPROCESSORS_ONLN) > 1;
	pthread_mutex_init(&l->lock, NULL);
	sem_init(&l->control, 0, 0);
	sem_init(&l->watchdog_wake, 0, 0);
	l->threads = calloc(l->count, sizeof(*l->threads));
	int err = l->threads == NULL ? WERR_NOMEM : 0;
	for (unsigned i = 0; err == 0 && i < l->count; i++)
		err = thread_init(l, &l->threads[i], i);
	if (err != 0) {
		loop_free(l);
		return err;
	}
	*ret = l;
	return 0;
}

void loop_free(struct loop *l)
{
	if (l == NULL)
		return;
	for (unsigned i = 0; l->threads != NULL && i < l->count; i++) {
		if (l->threads[i].map == NULL)
			break;
		thread_free(&l->threads[i]);
	}
	free(l->threads);
	sem_destroy(&l->control);
	sem_destroy(&l->watchdog_wake);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

void loop_kick(struct loop *l)
{
	sem_post(&l->control);
}

void loop_stop(struct loop *l)
{
	atomic_store(&l->stop, true);
	sem_post(&l->control);
}

// The channel has ended (WERR_NODEVICE) or failed.
static void channel_ended(struct loop *l, int err)
{
	int none = 0;

	if (err != WERR_NODEVICE)
		atomic_compare_exchange_strong(&l->result, &none, err);
	atomic_store(&l->ended, true);
	loop_stop(l);
}

// Gives the lead to the most recently idle thread; without one, the next that becomes idle takes
// it.
static void promote(struct loop *l)
{
	pthread_mutex_lock(&l->lock);
	struct thread *t = l->idle;

	if (t != NULL)
		l->idle = t->next_idle;
	else
		l->leaderless = true;
	pthread_mutex_unlock(&l->lock);
	if (t != NULL)
		sem_post(&t->wake);
}

// Ends the leader's inline request and makes another thread lead, unless that has happened.
static void take_lead(struct loop *l, uint_fast64_t odd)
{
	if (atomic_compare_exchange_strong(&l->run, &odd, odd + 1))
		promote(l);
}

// A thread is going to wait, and its client with it: whether there are other clients. One whose
// request waits now, or did a short while ago. (After a reply a request that waits says nothing:
// the same client may have sent it.)
static bool in_company(struct loop *l)
{
	if (l->p.pending == NULL)
		return true;
	if (l->p.pending(l->p.arg)) {
		atomic_store_explicit(&l->company, COMPANY_LASTS, memory_order_relaxed);
		return true;
	}
	return atomic_load_explicit(&l->company, memory_order_relaxed) > 0;
}

// One step nearer to the end of the company. False: it has ended.
static bool company_lasts(struct loop *l)
{
	unsigned left = atomic_load_explicit(&l->company, memory_order_relaxed);

	if (left > 0)
		atomic_store_explicit(&l->company, left - 1, memory_order_relaxed);
	return left > 0;
}

void loop_blocking(void)
{
	if (self == NULL || !in_company(self->loop))
		return;
	// The value never comes back: a request that is handed over, or was, is not mistaken for
	// it. Nobody is woken while somebody receives beside the leader.
	if (self->run != 0 && atomic_load(&self->loop->run) == self->run &&
	    atomic_load(&self->loop->companions) == 0)
		take_lead(self->loop, self->run);
}

enum turn {
	TURN_END, // the loop has ended
	TURN_LEAD,
	TURN_ACCOMPANY, // receive and process one request beside the leader
};

// Waits until there is something to do. In company nobody goes to sleep here: waking costs more
// than most requests, and whoever waits in receive() is woken by the kernel.
static enum turn await_turn(struct thread *t)
{
	struct loop *l = t->loop;
	bool stay = t->served && company_lasts(l);

	pthread_mutex_lock(&l->lock);
	bool lead = l->leaderless;
	if (lead) {
		l->leaderless = false;
	} else if (!stay) {
		t->next_idle = l->idle;
		l->idle = t;
	}
	pthread_mutex_unlock(&l->lock);
	if (!lead && stay && !atomic_load(&l->stop))
		return TURN_ACCOMPANY;
	atomic_store(&t->waiting, true);
	while (!lead && !atomic_load(&l->stop)) {
		wipe_if_asked(t);
		lead = sem_wait(&t->wake) == 0;
	}
	atomic_store_explicit(&t->waiting, false, memory_order_relaxed);
	return atomic_load(&l->stop) ? TURN_END : TURN_LEAD;
}

static void process(struct thread *t, size_t len)
{
	struct loop *l = t->loop;

	t->served = true;
	t->out_last = 0;
	// Pairs with the watchdog's store of asleep and its second look at run and received.
	if (atomic_load(&l->watchdog_asleep) && atomic_exchange(&l->watchdog_asleep, false))
		sem_post(&l->watchdog_wake);
	l->p.process(l->p.arg, &t->self, len);
	atomic_fetch_add(&l->finished, 1);
}

// Processes as the leader. false: another thread leads meanwhile.
static bool process_inline(struct thread *t, size_t len)
{
	struct loop *l = t->loop;
	uint_fast64_t odd = atomic_load_explicit(&l->run, memory_order_relaxed) + 1;

	t->run = odd;
	atomic_store(&l->run, odd);
	process(t, len);
	return atomic_compare_exchange_strong(&l->run, &odd, odd + 1);
}

// false: nothing was received.
static bool receive(struct thread *t, size_t *ret_len)
{
	struct loop *l = t->loop;

	atomic_store_explicit(&t->waiting, true, memory_order_relaxed);
	wipe_if_asked(t);
	int err = l->p.receive(l->p.arg, &t->self, ret_len);
	atomic_store_explicit(&t->waiting, false, memory_order_relaxed);
	if (err == 0 && *ret_len > t->in_used)
		t->in_used = *ret_len;
	if (err != 0) {
		if (err != WERR_INTERRUPTED)
			channel_ended(l, err);
		return false;
	}
	atomic_fetch_add(&l->received, 1);
	t->self.flags = 0;
	t->self.client = 0;
	return true;
}

// One request beside the leader. Whatever it is and however long it takes, nobody waits for this
// thread.
static void accompany(struct thread *t)
{
	struct loop *l = t->loop;
	size_t len = 0;

	t->run = 0;
	atomic_fetch_add(&l->companions, 1);
	bool got = receive(t, &len);
	atomic_fetch_sub(&l->companions, 1);
	if (!got)
		return;
	(void)l->p.classify(l->p.arg, &t->self, len);
	process(t, len);
}

static void end_turns(struct loop *l)
{
	l->turns = 0;
	keeper_leave(l->keeper);
}

// Learns from the request that was processed last. (What waits after a reply does not tell how many
// clients there are: the same one may have gone on before the leader is back.)
static void note_client(struct thread *t, size_t len)
{
	struct loop *l = t->loop;

	if (t->self.client == 0)
		return;
	if (len > SMALL_BYTES || t->out_last > SMALL_BYTES || t->self.client != l->client)
		l->turns = 0;
	else if (l->turns < TURNS_LEAST)
		l->turns++;
	l->client = t->self.client;
}

// Awake for a moment first. Where turns are taken this thread sleeps, and the keeper is awake.
static bool receive_next(struct thread *t, size_t *ret_len)
{
	struct loop *l = t->loop;

	if (l->p.pending == NULL || !l->spins || !spin_due(&l->spin)) {
		keeper_leave(l->keeper);
		return receive(t, ret_len);
	}
	uint64_t end = spin_now_ns() + SPIN_NS;
	if (l->turns < TURNS_LEAST || !keeper_keep(l->keeper, end)) {
		keeper_leave(l->keeper);
		(void)spin_look(&l->spin, l->p.pending, l->p.arg);
		return receive(t, ret_len);
	}
	bool got = receive(t, ret_len);
	bool in_time = got && spin_now_ns() < end;
	spin_learn(&l->spin, in_time);
	if (!in_time)
		end_turns(l);
	return got;
}

static void lead(struct thread *t)
{
	struct loop *l = t->loop;

	while (!atomic_load_explicit(&l->stop, memory_order_relaxed)) {
		size_t len = 0;

		if (!receive_next(t, &len))
			continue;
		enum loop_class class_ = l->p.classify(l->p.arg, &t->self, len);
		// Somebody receives already: the watchdog will do if that one is busy, too.
		if (class_ == LOOP_HAND_OVER && atomic_load(&l->companions) > 0)
			class_ = LOOP_INLINE;
		switch (class_) {
		case LOOP_INLINE:
			if (!process_inline(t, len)) {
				keeper_leave(l->keeper);
				return;
			}
			note_client(t, len);
			break;
		case LOOP_HAND_OVER:
			end_turns(l);
			promote(l);
			process(t, len);
			return;
		case LOOP_ALONE:
			process(t, len);
			break;
		}
	}
}

static void set_alive(struct thread *t, bool alive)
{
	pthread_mutex_lock(&t->loop->lock);
	t->me = pthread_self();
	t->alive = alive;
	pthread_mutex_unlock(&t->loop->lock);
}

static void *thread_main(void *arg)
{
	struct thread *t = arg;
	sigset_t set;

	// Signals for the program go to its own threads.
	sigfillset(&set);
	sigdelset(&set, WAKE_SIGNAL);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	self = t;
	set_alive(t, true);
	for (enum turn turn; (turn = await_turn(t)) != TURN_END;) {
		if (turn == TURN_LEAD)
			lead(t);
		else
			accompany(t);
	}
	set_alive(t, false);
	wipe_buffers(t);
	self = NULL;
	atomic_store(&t->exited, true);
	sem_post(&t->loop->control);
	return NULL;
}

// Interrupts those that wait and have not wiped yet. false: there are none.
static bool wipe_remind(struct loop *l)
{
	unsigned now = atomic_load(&l->wipe);
	bool any = false;

	pthread_mutex_lock(&l->lock);
	for (unsigned i = 0; i < l->count; i++) {
		struct thread *t = &l->threads[i];

		if (!t->alive || !atomic_load(&t->waiting) || atomic_load(&t->wiped) == now)
			continue;
		pthread_kill(t->me, WAKE_SIGNAL);
		any = true;
	}
	pthread_mutex_unlock(&l->lock);
	return any;
}

// Makes every thread wipe its buffers: those at work when they are done, the others now. Only they
// themselves may: the kernel fills the buffer of one that receives at any moment.
static void wipe_all(struct loop *l, unsigned tries)
{
	const struct timespec pause = {.tv_nsec = WATCHDOG_PERIOD_NS};
	uint_fast64_t received = atomic_load(&l->received);

	if (received == l->wiped_received)
		return;
	l->wiped_received = received;
	atomic_fetch_add(&l->wipe, 1);
	// Again and again: a signal that arrives just before the thread blocks is lost.
	while (tries-- > 0 && wipe_remind(l))
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

// Waits for the wake-up, at most so long. false: it did not come.
static bool watchdog_wait(struct loop *l, unsigned ms)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_nsec += (long)(ms % 1000) * 1000000;
	at.tv_sec += ms / 1000 + at.tv_nsec / 1000000000;
	at.tv_nsec %= 1000000000;
	for (;;) {
		if (sem_clockwait(&l->watchdog_wake, CLOCK_MONOTONIC, &at) == 0)
			return true;
		if (errno == ETIMEDOUT)
			return false;
	}
}

// Sleeps until somebody starts a request. Returns false when one has started in the meantime.
static void watchdog_sleep(struct loop *l, uint_fast64_t last, uint_fast64_t received)
{
	atomic_store(&l->watchdog_asleep, true);
	if (atomic_load(&l->run) != last || atomic_load(&l->received) != received ||
	    atomic_load(&l->stop)) {
		if (atomic_exchange(&l->watchdog_asleep, false))
			return;
		// The leader has taken the mark: its post is on the way.
	}
	if (received != l->wiped_received) {
		if (watchdog_wait(l, WIPE_AFTER_MS))
			return;
		wipe_all(l, 100);
	}
	while (sem_wait(&l->watchdog_wake) != 0)
		;
}

static void *watchdog_main(void *arg)
{
	struct loop *l = arg;
	const struct timespec period = {.tv_nsec = WATCHDOG_PERIOD_NS};
	uint_fast64_t last = 0, last_received = 0;
	unsigned quiet = 0, since_wipe = 0;
	sigset_t set;

	sigfillset(&set);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	while (!atomic_load(&l->stop)) {
		uint_fast64_t run = atomic_load(&l->run), received = atomic_load(&l->received);

		if (++since_wipe >= WIPE_AFTER_MS) {
			since_wipe = 0;
			wipe_all(l, 1);
		}
		if (run != last) {
			last = run;
			quiet = 0;
		} else if (run & 1) {
			// The same request as one period ago.
			take_lead(l, run);
		} else if (received != last_received) {
			last_received = received;
			quiet = 0;
		} else if (++quiet >= WATCHDOG_QUIET) {
			watchdog_sleep(l, last, received);
			quiet = 0;
		}
		clock_nanosleep(CLOCK_MONOTONIC, 0, &period, NULL);
	}
	return NULL;
}

static void wait_control(struct loop *l, long ms)
{
	struct timespec at;

	clock_gettime(CLOCK_REALTIME, &at);
	at.tv_nsec += ms * 1000000;
	at.tv_sec += at.tv_nsec / 1000000000;
	at.tv_nsec %= 1000000000;
	(void)sem_timedwait(&l->control, &at);
}

static void join_all(struct loop *l)
{
	for (unsigned i = 0; i < l->started; i++)
		sem_post(&l->threads[i].wake);
	for (unsigned i = 0; i < l->started; i++) {
		struct thread *t = &l->threads[i];

		// Again and again: a signal that arrives just before the thread blocks is lost.
		while (!atomic_load(&t->exited)) {
			pthread_kill(t->id, WAKE_SIGNAL);
			wait_control(l, 2);
		}
		pthread_join(t->id, NULL);
	}
	if (atomic_exchange(&l->watchdog_asleep, false))
		sem_post(&l->watchdog_wake);
	pthread_join(l->watchdog, NULL);
	keeper_free(l->keeper);
}

int loop_run(struct loop *l)
{
	if (pthread_create(&l->watchdog, NULL, watchdog_main, l) != 0)
		return WERR_NOMEM;
	if (keeper_new(&l->keeper) != 0)
		l->keeper = NULL; // slower, that is all
	while (l->started < l->count) {
		struct thread *t = &l->threads[l->started];

		if (pthread_create(&t->id, NULL, thread_main, t) != 0)
			break;
		l->started++;
	}
	if (l->started == 0)
		channel_ended(l, WERR_NOMEM);
	while (!atomic_load(&l->stop)) {
		if (sem_wait(&l->control) != 0 || atomic_load(&l->stop))
			continue;
		if (l->p.control != NULL && l->p.control(l->p.arg) != 0)
			break;
	}
	atomic_store(&l->stop, true);
	join_all(l);
	return atomic_load(&l->result);
}

int loop_drain(struct loop *l, unsigned quiet_ms, unsigned timeout_ms)
{
	const unsigned step_ms = 5;
	uint_fast64_t last = UINT64_MAX;
	unsigned quiet = 0;

	for (unsigned spent = 0; spent < timeout_ms && quiet < quiet_ms; spent += step_ms) {
		const struct timespec step = {.tv_nsec = step_ms * 1000000};

		if (atomic_load(&l->ended))
			return 1;
		uint_fast64_t received = atomic_load(&l->received);
		if (received == last && atomic_load(&l->finished) == received)
			quiet += step_ms;
		else
			quiet = 0;
		last = received;
		clock_nanosleep(CLOCK_MONOTONIC, 0, &step, NULL);
	}
	return atomic_load(&l->ended);
}
