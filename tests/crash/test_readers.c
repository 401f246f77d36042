// SPDX-License-Identifier: Apache-2.0
// Readers of one file wait for the host side by side, also where the nodes of its tree are still to
// be loaded: while the host holds back the page of one, another reads a page that needs nodes of
// its own. However many there are, they keep no writer out.
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#include "fusefs/engine.h"
#include "tests/crash/simvault.h"

#define PAGES 400
#define HELD 100  // below the first root
#define OTHER 300 // below the second
#define PATIENCE_MS 60000u
#define MOMENT_MS 20u
#define READERS 3
#define WRITES 10

static struct simvault v;
static const struct host_ops *real;
static struct host_ops mine;
static uint64_t file;
static sem_t held, go_on;
static atomic_bool too_late, stop;

static bool wait_for(sem_t *s, unsigned ms)
{
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += ms % 1000 * 1000000l;
	end.tv_sec += ms / 1000 + end.tv_nsec / 1000000000;
	end.tv_nsec %= 1000000000;
	while (sem_clockwait(s, CLOCK_MONOTONIC, &end) != 0) {
		if (errno == ETIMEDOUT)
			return false;
	}
	return true;
}

static void use_host(int (*preadv)(struct host_file *f, const struct iovec *iov, int iovcnt,
				   uint64_t off, size_t *ret_got))
{
	mine = *real;
	mine.preadv = preadv;
	v.fs->host->ops = &mine;
}

static int preadv_held(struct host_file *f, const struct iovec *iov, int iovcnt, uint64_t off,
		       size_t *ret_got)
{
	if (off == tree_position(HELD) * WARD_PAGE) {
		sem_post(&held);
		if (!wait_for(&go_on, PATIENCE_MS))
			atomic_store(&too_late, true);
	}
	return real->preadv(f, iov, iovcnt, off, ret_got);
}

static void *read_held(void *arg)
{
	(void)arg;
	EXPECT(sv_version(&v, file, HELD * WARD_PAGE, WARD_PAGE) == 1, "the page held back");
	return NULL;
}

static void side_by_side(void)
{
	pthread_t thread;

	use_host(preadv_held);
	sem_init(&held, 0, 0);
	sem_init(&go_on, 0, 0);
	EXPECT(pthread_create(&thread, NULL, read_held, NULL) == 0, "thread");
	EXPECT(wait_for(&held, PATIENCE_MS), "nobody reads");
	EXPECT(sv_version(&v, file, OTHER * WARD_PAGE, WARD_PAGE) == 1, "the other page");
	EXPECT(!atomic_load(&too_late), "it waited for the page that is held back");
	sem_post(&go_on);
	pthread_join(thread, NULL);
}

// Whoever reads stays in the host until the next one comes, or for a moment where nobody can.
static int preadv_overlapping(struct host_file *f, const struct iovec *iov, int iovcnt,
			      uint64_t off, size_t *ret_got)
{
	static sem_t *waits;
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	sem_t next;

	sem_init(&next, 0, 0);
	pthread_mutex_lock(&lock);
	if (waits != NULL)
		sem_post(waits);
	waits = &next;
	pthread_mutex_unlock(&lock);
	(void)wait_for(&next, MOMENT_MS);
	pthread_mutex_lock(&lock);
	if (waits == &next)
		waits = NULL;
	pthread_mutex_unlock(&lock);
	sem_destroy(&next);
	return real->preadv(f, iov, iovcnt, off, ret_got);
}

static void *read_on(void *arg)
{
	struct timespec begun, now;

	(void)arg;
	clock_gettime(CLOCK_MONOTONIC, &begun);
	while (!atomic_load(&stop) && !atomic_load(&too_late)) {
		EXPECT(sv_version(&v, file, OTHER * WARD_PAGE, WARD_PAGE) == 1, "another content");
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - begun.tv_sec > PATIENCE_MS / 1000)
			atomic_store(&too_late, true);
	}
	return NULL;
}

// Some reader always has the file locked; a writer and a checkpoint come to their turn all the
// same.
static void writer_among_readers(void)
{
	pthread_t thread[READERS];

	use_host(preadv_overlapping);
	for (unsigned i = 0; i < READERS; i++)
		EXPECT(pthread_create(&thread[i], NULL, read_on, NULL) == 0, "thread");
	for (uint64_t i = 0; i < WRITES; i++)
		sv_put(&v, file, i * WARD_PAGE, WARD_PAGE, 2);
	EXPECT_OK(fs_checkpoint(v.fs));
	EXPECT(!atomic_load(&too_late), "it waited until nobody read any more");
	atomic_store(&stop, true);
	for (unsigned i = 0; i < READERS; i++)
		pthread_join(thread[i], NULL);
}

int main(void)
{
	simvault_begin(&v, NULL);
	file = sv_make(&v, FS_ROOT, "f", OBJECT_FILE);
	sv_put(&v, file, 0, PAGES * WARD_PAGE, 1);
	simvault_remount(&v);
	file = sv_find(&v, FS_ROOT, "f");
	// The header, which is read alone.
	EXPECT(sv_version(&v, file, 0, WARD_PAGE) == 1, "the first page");
	real = v.fs->host->ops;
	side_by_side();
	writer_among_readers();
	v.fs->host->ops = real;
	simvault_end(&v);
	return 0;
}
