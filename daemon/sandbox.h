// SPDX-License-Identifier: Apache-2.0
// What a worker gives up before it sees a key: core dumps, being traced, new privileges, the
// capabilities it has no use for, every file outside the vault (Landlock), and every system call
// that serving a vault does not need (seccomp). A refused call is reported and fails with EPERM.
#ifndef WARDFS_DAEMON_SANDBOX_H
#define WARDFS_DAEMON_SANDBOX_H

#include "crypto/werr.h"

#define SANDBOX_DIRS_MAX 4

struct sandbox_params {
	// Absolute paths of the directories that may be read and written from here on, with all
	// below them; NULL or absent ones are skipped.
	const char *dirs[SANDBOX_DIRS_MAX];
	int readonly; // nothing may be written in the first one
	// Told of every refused system call, by its name or number, from a thread of the sandbox;
	// may be NULL. Must use allowed calls only.
	void (*refused)(void *arg, const char *call);
	void *arg;
};

// What this machine could give.
struct sandbox_given {
	int landlock; // version of the interface, 0: none
	int seccomp;  // 1: refused calls are reported; 2: they are refused silently; 0: none
};

// Closes the sandbox around the process, which must have one thread only. What the kernel lacks is
// left out and shows in *ret; sanitizer builds leave out Landlock and seccomp. WERR_IO: what it has
// could not be used, WERR_NOTFOUND: the first directory is not there; the process must not go on
// with a secret then. Once per process.
int sandbox_enter(const struct sandbox_params *params, struct sandbox_given *ret) WARN_UNUSED;

#endif
