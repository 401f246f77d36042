// SPDX-License-Identifier: Apache-2.0
// Where the control sockets are: a directory that belongs to one user (/run/wardfs for root,
// $XDG_RUNTIME_DIR/wardfs else, then /run/user/UID/wardfs, then /tmp/wardfs-UID). Thread-safe.
#ifndef WARDFS_DAEMON_RUNDIR_H
#define WARDFS_DAEMON_RUNDIR_H

#include <limits.h>
#include <stddef.h>
#include <sys/types.h>

#include "crypto/werr.h"

#define RUNDIR_MAX 3

struct rundir {
	char path[RUNDIR_MAX][PATH_MAX];
	unsigned len;
};

// Where processes of a user put their sockets, best first, each path once.
void rundir_of(uid_t uid, struct rundir *ret);

// 0: a directory that belongs to uid and that nobody else can write to. WERR_PERM, WERR_NOTFOUND ….
int rundir_check(const char *path, uid_t uid) WARN_UNUSED;

// The first of the caller's own directories that exists or can be made. WERR_NOTFOUND.
int rundir_own(char ret[static PATH_MAX]) WARN_UNUSED;

// Calls fn with the path of everything in the user's directories that may be a socket, until it
// returns non-zero; that is returned.
typedef int (*rundir_fn)(void *arg, const char *path, uid_t uid);
int rundir_each(uid_t uid, rundir_fn fn, void *arg);

#endif
