// SPDX-License-Identifier: Apache-2.0
#include "tools/progress.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define SILENT_MS 500
#define TICK_MS 250

struct progress {
	const char *what;
	pthread_t thread;
	pthread_mutex_t lock; // guards ended
	pthread_cond_t cond;
	int ended;
};

static void tick(struct progress *p)
{
	struct timespec next;
	long shown_ms = 0, wait_ms = SILENT_MS;

	clock_gettime(CLOCK_MONOTONIC, &next);
	pthread_mutex_lock(&p->lock);
	while (!p->ended) {
		next.tv_nsec += (wait_ms % 1000) * 1000000;
		next.tv_sec += wait_ms / 1000 + next.tv_nsec / 1000000000;
		next.tv_nsec %= 1000000000;
		while (!p->ended &&
		       pthread_cond_timedwait(&p->cond, &p->lock, &next) != ETIMEDOUT) {
		}
		if (p->ended)
			break;
		shown_ms += wait_ms;
		wait_ms = TICK_MS;
		dprintf(STDERR_FILENO, "\r%s … %ld.%ld s ", p->what, shown_ms / 1000,
			shown_ms % 1000 / 100);
	}
	pthread_mutex_unlock(&p->lock);
	if (shown_ms)
		dprintf(STDERR_FILENO, "\r\033[K");
}

static void *ticker(void *arg)
{
	tick(arg);
	return NULL;
}

// The ticker takes no signal: they are for the thread that works.
static int start_thread(struct progress *p)
{
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int err = pthread_create(&p->thread, NULL, ticker, p);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return err;
}

struct progress *progress_start(const char *what)
{
	pthread_condattr_t attr;

	if (!isatty(STDERR_FILENO))
		return NULL;
	struct progress *p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->what = what;
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->cond, &attr);
	pthread_condattr_destroy(&attr);
	if (start_thread(p)) {
		pthread_cond_destroy(&p->cond);
		pthread_mutex_destroy(&p->lock);
		free(p);
		return NULL;
	}
	return p;
}

void progress_stop(struct progress *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->ended = 1;
	pthread_cond_signal(&p->cond);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	pthread_cond_destroy(&p->cond);
	pthread_mutex_destroy(&p->lock);
	free(p);
}
