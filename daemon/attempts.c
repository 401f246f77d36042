// SPDX-License-Identifier: Apache-2.0
#include "daemon/attempts.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/statedir.h"

#define FREE_FAILURES 3u
#define DELAY_MAX_MS 600000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

struct record {
	unsigned failures;
	int64_t last_ms; // wall clock: a restart must not forget it
};

int64_t attempts_delay_ms(unsigned failures)
{
	int64_t ms = 1000;

	if (failures < FREE_FAILURES)
		return 0;
	for (unsigned i = FREE_FAILURES; i < failures && ms < DELAY_MAX_MS; i++)
		ms *= 2;
	return ms < DELAY_MAX_MS ? ms : DELAY_MAX_MS;
}

static int64_t wall_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

// One file per vault directory, named by a hash of its path: FNV-1a, only a name.
static int record_path(const char *dir, char *buf, size_t cap)
{
	char base[PATH_MAX - 64];
	uint64_t hash = 14695981039346656037ull;

	for (const char *p = dir; *p; p++)
		hash = (hash ^ (unsigned char)*p) * 1099511628211ull;
	if (statedir_own(base, sizeof(base)))
		return -1;
	int n = snprintf(buf, cap, "%s/attempts-%016" PRIx64, base, hash);
	return n < 0 || (size_t)n >= cap ? -1 : 0;
}

static void load(const char *dir, struct record *ret)
{
	char path[PATH_MAX];

	*ret = (struct record){0};
	FILE *f = record_path(dir, path, sizeof(path)) ? NULL : fopen(path, "re");
	if (!f)
		return;
	if (fscanf(f, "%u %" SCNd64, &ret->failures, &ret->last_ms) != 2)
		*ret = (struct record){0};
	fclose(f);
	// A clock that was set back must not lock anybody out for longer than the longest wait.
	if (ret->last_ms > wall_ms())
		ret->last_ms = wall_ms();
}

static void store(const char *dir, const struct record *r)
{
	char path[PATH_MAX], fresh[PATH_MAX + 8];

	if (record_path(dir, path, sizeof(path)))
		return;
	snprintf(fresh, sizeof(fresh), "%s.new", path);
	int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return;
	int failed = dprintf(fd, "%u %" PRId64 "\n", r->failures, r->last_ms) < 0;
	failed |= fsync(fd);
	close(fd);
	if (failed || rename(fresh, path))
		unlink(fresh);
}

int64_t attempts_left_ms(const char *dir)
{
	struct record r;

	pthread_mutex_lock(&lock);
	load(dir, &r);
	pthread_mutex_unlock(&lock);
	int64_t left = r.last_ms + attempts_delay_ms(r.failures) - wall_ms();
	return left > 0 ? left : 0;
}

unsigned attempts_count(const char *dir)
{
	struct record r;

	pthread_mutex_lock(&lock);
	load(dir, &r);
	r.failures++;
	r.last_ms = wall_ms();
	store(dir, &r);
	pthread_mutex_unlock(&lock);
	return r.failures;
}

void attempts_forget(const char *dir)
{
	char path[PATH_MAX];

	pthread_mutex_lock(&lock);
	if (!record_path(dir, path, sizeof(path)))
		unlink(path);
	pthread_mutex_unlock(&lock);
}
