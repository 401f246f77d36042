// SPDX-License-Identifier: Apache-2.0
// The worker: the process that serves one vault, and the only one that ever has its keys. The
// broker starts it as a program of its own (worker_spawn) and talks to it over a channel. It ends
// when the vault is unmounted, when the broker says so or is gone, or on SIGTERM, SIGINT and
// SIGHUP, and leaves a clean vault where the host lets it.
#ifndef WARDFS_DAEMON_WORKER_H
#define WARDFS_DAEMON_WORKER_H

#include <sys/types.h>

#include "crypto/werr.h"

// First argument of a program that was started as a worker, or as a private broker.
#define WORKER_ARGUMENT "--worker"
#define BROKER_ARGUMENT "--broker"

// All of a worker's life in this process; ends it. fd: the channel.
void worker_main(int fd) __attribute__((noreturn));

// Starts this program again, with `fd` as its descriptor CHANNEL_FD and no other, in a session of
// its own. dir, mountpoint: for lists of processes only; may be NULL. Thread-safe.
int worker_spawn(const char *argument, int fd, const char *dir, const char *mountpoint,
		 pid_t *ret) WARN_UNUSED;

#endif
