// SPDX-License-Identifier: Apache-2.0
// Readers of one file wait for the host side by side, also where the nodes of its tree are still to
// be loaded: while the host holds back the page of one, another reads a page that needs nodes of
// its own.
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>

#include "fusefs/engine.h"
#include "tests/crash/simvault.h"

#define PAGES 400
#define HELD 100  // below the first root
#define OTHER 300 // below the second
#define PATIENCE_S 60

static struct simvault v;
static const struct host_ops *real;
static struct host_ops mine;
static uint64_t file;
static sem_t held, go_on;
static atomic_bool too_late;

static void wait_for(sem_t *s)
{
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += PATIENCE_S;
	while (sem_clockwait(s, CLOCK_MONOTONIC, &end) != 0) {
		if (errno == ETIMEDOUT) {
			atomic_store(&too_late, true);
			return;
		}
	}
}

static int preadv_held(struct host_file *f, const struct iovec *iov, int iovcnt, uint64_t off,
		       size_t *ret_got)
{
	if (off == tree_position(HELD) * WARD_PAGE) {
		sem_post(&held);
		wait_for(&go_on);
	}
	return real->preadv(f, iov, iovcnt, off, ret_got);
}

static void *read_held(void *arg)
{
	(void)arg;
	EXPECT(sv_version(&v, file, HELD * WARD_PAGE, WARD_PAGE) == 1, "the page held back");
	return NULL;
}

int main(void)
{
	pthread_t thread;

	simvault_begin(&v, NULL);
	file = sv_make(&v, FS_ROOT, "f", OBJECT_FILE);
	sv_put(&v, file, 0, PAGES * WARD_PAGE, 1);
	simvault_remount(&v);
	file = sv_find(&v, FS_ROOT, "f");
	// The header, which is read alone.
	EXPECT(sv_version(&v, file, 0, WARD_PAGE) == 1, "the first page");
	mine = *v.fs->host->ops;
	real = v.fs->host->ops;
	mine.preadv = preadv_held;
	v.fs->host->ops = &mine;
	sem_init(&held, 0, 0);
	sem_init(&go_on, 0, 0);
	EXPECT(pthread_create(&thread, NULL, read_held, NULL) == 0, "thread");
	wait_for(&held);
	EXPECT(sv_version(&v, file, OTHER * WARD_PAGE, WARD_PAGE) == 1, "the other page");
	EXPECT(!atomic_load(&too_late), "it waited for the page that is held back");
	sem_post(&go_on);
	pthread_join(thread, NULL);
	v.fs->host->ops = real;
	simvault_end(&v);
	return 0;
}
