// SPDX-License-Identifier: Apache-2.0
// What a worker tells others about itself: one socket per mount in a directory that belongs to the
// user (/run/wardfs for root, $XDG_RUNTIME_DIR/wardfs else). Whoever connects (the same user, or
// root) is sent one message with the state as a JSON object at once, and one more when the worker
// has ended; so nothing goes stale, and an end can be waited for. No secret passes here.
#ifndef WARDFS_DAEMON_STATUS_H
#define WARDFS_DAEMON_STATUS_H

#include <jansson.h>

#include "daemon/mountpoint.h"
#include "fusefs/fs.h"

// ---- worker ----

struct status_server;

struct status_about {
	const char *vault;      // absolute path
	const char *mountpoint; // absolute path
	const char *device;     // of the mount; see struct mountpoint
	int readonly;
};

// Listens and answers from a thread of its own. fs must live until status_closing. Strings are
// copied.
int status_start(const struct status_about *about, struct fs *fs,
		 struct status_server **ret) WARN_UNUSED;
// The mount is gone and fs is about to be closed: it is not used any more.
void status_closing(struct status_server *s);
// Tells all who wait how the worker ended (a werr code), and frees. NULL is fine.
void status_finish(struct status_server *s, int code);

// ---- asking ----

// Calls fn for every worker that this user may see (root: of every user), with its state. fn may
// keep `fd`, the connection to wait on, by storing it and returning 1; it is closed otherwise.
typedef int (*status_fn)(void *arg, json_t *state, int fd);
void status_each(status_fn fn, void *arg);

// Waits on a kept connection until the worker has ended, and closes it. *ret_code: how it ended;
// WERR_IO when it went away without a word (killed).
void status_wait(int fd, int *ret_code);

#endif
