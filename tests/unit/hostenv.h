// SPDX-License-Identifier: Apache-2.0
// A temporary directory as a vault's host, with hooks on the writes and flushes that go through it:
// for check programs.
#ifndef WARDFS_TESTS_HOSTENV_H
#define WARDFS_TESTS_HOSTENV_H

#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/unit_files.h"
#include "fusefs/host.h"

#define ck_ok(expr) ck_assert_int_eq((expr), 0)

struct hostenv {
	char dir[64];
	struct host *host;
	const struct host_ops *real;
	struct host_ops ops; // what host->ops points to
	// Called before the real operation; non-zero is returned instead of doing it.
	int (*on_write)(struct host_file *f, const struct iovec *iov, int iovcnt, uint64_t off);
	int (*on_sync)(struct host_file *f);
	int writes, syncs; // calls so far (read them when no other thread runs)
	pthread_mutex_t lock;
};
static struct hostenv env = {.lock = PTHREAD_MUTEX_INITIALIZER};

static inline int hostenv_pwritev(struct host_file *f, const struct iovec *iov, int iovcnt,
				  uint64_t off)
{
	pthread_mutex_lock(&env.lock);
	env.writes++;
	pthread_mutex_unlock(&env.lock);
	int rc = env.on_write ? env.on_write(f, iov, iovcnt, off) : 0;
	return rc ? rc : env.real->pwritev(f, iov, iovcnt, off);
}

static inline int hostenv_datasync(struct host_file *f)
{
	pthread_mutex_lock(&env.lock);
	env.syncs++;
	pthread_mutex_unlock(&env.lock);
	int rc = env.on_sync ? env.on_sync(f) : 0;
	return rc ? rc : env.real->datasync(f);
}

// Opens (again) with the hooks in place.
static inline void hostenv_open(void)
{
	ck_ok(host_posix_open(env.dir, 0, &env.host));
	env.real = env.host->ops;
	env.ops = *env.real;
	env.ops.pwritev = hostenv_pwritev;
	env.ops.datasync = hostenv_datasync;
	env.host->ops = &env.ops;
}

static inline void hostenv_close(void)
{
	env.host->ops->close(env.host);
	env.host = NULL;
}

static inline void hostenv_setup(void)
{
	unit_make_dir(env.dir);
	env.on_write = NULL;
	env.on_sync = NULL;
	env.writes = env.syncs = 0;
	hostenv_open();
}

static inline void hostenv_teardown(void)
{
	if (env.host)
		hostenv_close();
	unit_remove_tree(env.dir);
}

static inline void hostenv_path(char *path, size_t cap, const char *name)
{
	ck_assert_int_lt(snprintf(path, cap, "%s/%s", env.dir, name), (int)cap);
}

// The whole of a file, read behind the shim's back.
static inline uint8_t *hostenv_slurp(const char *name, size_t len)
{
	char path[256];
	uint8_t *buf = malloc(len);

	hostenv_path(path, sizeof(path), name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_ptr_nonnull(buf);
	ck_assert_int_eq(pread(fd, buf, len, 0), (ssize_t)len);
	close(fd);
	return buf;
}

// Overwrites a part of a file behind the shim's back.
static inline void hostenv_poke(const char *name, const void *buf, size_t len, uint64_t off)
{
	char path[256];

	hostenv_path(path, sizeof(path), name);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, buf, len, (off_t)off), (ssize_t)len);
	close(fd);
}

#endif
