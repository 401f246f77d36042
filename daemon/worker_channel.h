// SPDX-License-Identifier: Apache-2.0
// Between worker.c and worker_channel.c only: how a serving worker talks to whoever started it,
// another process or the same one.
#ifndef WARDFS_DAEMON_WORKER_CHANNEL_H
#define WARDFS_DAEMON_WORKER_CHANNEL_H

#include "daemon/worker.h"

struct worker_link {
	int fd; // hangs up when the starter has gone away; -1: the same process
	int (*passphrase)(void *arg, struct secret *ret);
	void (*stage)(void *arg, enum worker_stage stage);
	void (*warn)(void *arg, const char *line);
	void (*tell)(void *arg, const char *line);
	// Leaves the starter's terminal, just before serving.
	void (*detach)(void *arg);
	// The folder is usable. WERR_INTERRUPTED when nobody is there to hear it.
	int (*ready)(void *arg);
	void *arg;
};

// Serves in this process until the end (worker.c). *ret_error is set on failure.
int worker_serve(const struct worker_params *params, const struct worker_link *link,
		 struct worker_error *ret_error) WARN_UNUSED;

#endif
