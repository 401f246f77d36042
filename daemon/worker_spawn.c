// SPDX-License-Identifier: Apache-2.0
// Starting this program again: a fork of a process with threads could not go on safely, and a new
// program has nothing of its parent's memory.
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

#include "daemon/channel.h"
#include "daemon/worker.h"

extern char **environ;

static int prepare(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attr, int fd)
{
	sigset_t none, all;

	sigemptyset(&none);
	sigfillset(&all);
	int err = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", 2, 0);
	for (int i = STDOUT_FILENO; !err && i <= STDERR_FILENO; i++)
		err = posix_spawn_file_actions_adddup2(actions, STDIN_FILENO, i);
	// Of the same number, too, this takes close-on-exec away.
	if (!err)
		err = posix_spawn_file_actions_adddup2(actions, fd, CHANNEL_FD);
	if (!err)
		err = posix_spawn_file_actions_addclosefrom_np(actions, CHANNEL_FD + 1);
	if (!err)
		err = posix_spawn_file_actions_addchdir_np(actions, "/");
	posix_spawnattr_setsigmask(attr, &none);
	posix_spawnattr_setsigdefault(attr, &all);
	posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
					       POSIX_SPAWN_SETSIGDEF);
	return err;
}

int worker_spawn(const char *argument, int fd, const char *dir, const char *mountpoint, pid_t *ret)
{
	char self[PATH_MAX];
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;

	// The name is for lists of processes; what runs is the program itself, wherever it is now.
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0)
		return werr_from_errno(errno);
	self[n] = 0;
	char *argv[] = {self, (char *)(uintptr_t)argument, (char *)(uintptr_t)dir,
			(char *)(uintptr_t)mountpoint, NULL};
	if (posix_spawn_file_actions_init(&actions))
		return WERR_NOMEM;
	posix_spawnattr_init(&attr);
	int err = prepare(&actions, &attr, fd);
	if (!err)
		err = posix_spawn(ret, "/proc/self/exe", &actions, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return werr_from_errno(err);
}
