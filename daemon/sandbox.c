// SPDX-License-Identifier: Apache-2.0
#include "daemon/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/sandbox_calls.h"

// A sanitizer opens /proc, maps code and starts its symbolizer whenever it likes.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
	__has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

// ---- Landlock ----

// Rights that the headers of Debian 12 do not name yet.
#define RIGHT_REFER (1ull << 13)     // 2
#define RIGHT_TRUNCATE (1ull << 14)  // 3
#define RIGHT_IOCTL_DEV (1ull << 15) // 5
#define RIGHTS_1 ((1ull << 13) - 1)
#define NET_TCP 3ull // 4: bind and connect
#define SCOPES 3ull  // 6: abstract sockets and signals

struct ruleset {
	uint64_t fs;
	uint64_t net;
	uint64_t scoped;
};

#define READING (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
// Junk of any kind that stands where an object belongs is renamed, and for Landlock what is renamed
// is made. (mknod is no allowed call.)
#define WRITING                                                                       \
	(LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |              \
	 LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |               \
	 LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_SYM |                  \
	 LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SOCK |                \
	 LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK | RIGHT_REFER | \
	 RIGHT_TRUNCATE)

static uint64_t rights_of(int version)
{
	uint64_t all = RIGHTS_1;

	if (version >= 2)
		all |= RIGHT_REFER;
	if (version >= 3)
		all |= RIGHT_TRUNCATE;
	if (version >= 5)
		all |= RIGHT_IOCTL_DEV;
	return all;
}

static int allow_dir(int ruleset, const char *path, uint64_t rights)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? WERR_NOTFOUND : WERR_IO;
	const struct landlock_path_beneath_attr rule = {.allowed_access = rights, .parent_fd = fd};
	long failed = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
	close(fd);
	return failed ? WERR_IO : 0;
}

static int allow_dirs(int ruleset, const struct sandbox_params *params, uint64_t handled)
{
	for (unsigned i = 0; i < SANDBOX_DIRS_MAX; i++) {
		uint64_t rights = i == 0 && params->readonly ? READING : READING | WRITING;

		if (!params->dirs[i])
			continue;
		int err = allow_dir(ruleset, params->dirs[i], rights & handled);
		if (err && (i == 0 || err != WERR_NOTFOUND))
			return err;
	}
	return 0;
}

// Only the calling thread and those it makes later: the kernel knows no other way.
static int landlock(const struct sandbox_params *params, int *ret_version)
{
	int version =
		(int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	*ret_version = 0;
	if (version <= 0)
		return 0; // not built in, or switched off
	const struct ruleset set = {.fs = rights_of(version), .net = NET_TCP, .scoped = SCOPES};
	size_t size = version >= 6   ? sizeof(set)
		      : version >= 4 ? offsetof(struct ruleset, scoped)
				     : offsetof(struct ruleset, net);
	int fd = (int)syscall(SYS_landlock_create_ruleset, &set, size, 0);
	if (fd < 0)
		return WERR_IO;
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	int err = allow_dirs(fd, params, set.fs);
	if (!err && syscall(SYS_landlock_restrict_self, fd, 0))
		err = WERR_IO;
	close(fd);
	if (!err)
		*ret_version = version;
	return err;
}

// ---- privileges and limits ----

// As root: files of any owner, memory locks, and the host's reserved blocks as before; nothing
// else.
static int drop_capabilities(void)
{
	const uint64_t keep = 1ull << CAP_DAC_OVERRIDE | 1ull << CAP_DAC_READ_SEARCH |
			      1ull << CAP_FOWNER | 1ull << CAP_IPC_LOCK | 1ull << CAP_SYS_RESOURCE;
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2] = {{0}};

	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (!(keep & 1ull << cap))
			(void)prctl(PR_CAPBSET_DROP, cap, 0, 0,
				    0); // without CAP_SETPCAP: unused anyway
	if (syscall(SYS_capget, &head, caps))
		return WERR_IO;
	for (unsigned i = 0; i < 2; i++) {
		uint32_t mask = (uint32_t)(keep >> 32 * i);

		caps[i].effective &= mask;
		caps[i].permitted &= mask;
		caps[i].inheritable = 0;
	}
	return syscall(SYS_capset, &head, caps) ? WERR_IO : 0;
}

// The soft limit as far up as it may go.
static void raise_limit(int which)
{
	struct rlimit limit;

	if (!getrlimit(which, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(which, &limit);
	}
}

static int limit_process(void)
{
	const struct rlimit none = {0, 0};

	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) || setrlimit(RLIMIT_CORE, &none) ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return WERR_IO;
	(void)setrlimit(RLIMIT_MSGQUEUE, &none);
	raise_limit(RLIMIT_MEMLOCK);
	return 0;
}

// ---- refused calls ----

struct listener {
	int fd;
	int result; // of its own filter
	sem_t filtered, listening;
	void (*refused)(void *arg, const char *call);
	void *arg;
};

static void say(const struct listener *l, int nr)
{
	const char *name = sandbox_calls_name(nr);
	char number[24];

	if (!l->refused)
		return;
	if (!name) {
		snprintf(number, sizeof(number), "number %d", nr);
		name = number;
	}
	l->refused(l->arg, name);
}

static void *listen_main(void *arg)
{
	struct listener *l = arg;

	// A filter of its own: a refused call of this thread must not wait for this thread.
	l->result = sandbox_calls_load(NULL);
	sem_post(&l->filtered);
	while (sem_wait(&l->listening) != 0) {
	}
	while (l->fd >= 0) {
		struct seccomp_notif in = {0};
		struct seccomp_notif_resp out = {.error = -EPERM};

		if (ioctl(l->fd, SECCOMP_IOCTL_NOTIF_RECV, &in)) {
			// The caller was killed meanwhile, or the filter has no task any more.
			if (errno == ENOENT || errno == EINTR)
				continue;
			break;
		}
		// The caller first: it waits.
		out.id = in.id;
		(void)ioctl(l->fd, SECCOMP_IOCTL_NOTIF_SEND, &out);
		say(l, in.data.nr);
	}
	return NULL;
}

static int start_listener(struct listener *l)
{
	sigset_t all, old;
	pthread_t thread;

	sem_init(&l->filtered, 0, 0);
	sem_init(&l->listening, 0, 0);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int err = pthread_create(&thread, NULL, listen_main, l) ? WERR_NOMEM : 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return err;
	pthread_detach(thread);
	while (sem_wait(&l->filtered) != 0) {
	}
	return l->result;
}

static int filter_calls(const struct sandbox_params *params, int *ret)
{
	struct listener *l = malloc(sizeof(*l)); // the thread's, for the life of the process

	*ret = 0;
	if (!l)
		return WERR_NOMEM;
	*l = (struct listener){.fd = -1, .refused = params->refused, .arg = params->arg};
	int err = start_listener(l);
	if (!err)
		err = sandbox_calls_load(&l->fd);
	if (!err)
		*ret = l->fd >= 0 ? 1 : 2;
	sem_post(&l->listening);
	return err == WERR_UNSUPPORTED ? 0 : err;
}

static void *end_at_once(void *arg)
{
	pthread_exit(arg);
}

// The first pthread_exit (libargon2 ends its threads with it) loads a library, which is out of
// reach afterwards.
static int load_late_libraries(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, end_at_once, NULL))
		return WERR_NOMEM;
	pthread_join(thread, NULL);
	return 0;
}

int sandbox_enter(const struct sandbox_params *params, struct sandbox_given *ret)
{
	*ret = (struct sandbox_given){0};
	int err = load_late_libraries();
	if (!err)
		err = limit_process();
	if (!err)
		err = drop_capabilities();
	if (err || SANITIZED)
		return err;
	err = landlock(params, &ret->landlock);
	return err ? err : filter_calls(params, &ret->seccomp);
}
