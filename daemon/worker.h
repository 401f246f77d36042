// SPDX-License-Identifier: Apache-2.0
// The worker: the process that holds the keys of one vault, mounts it and serves it. It is forked
// before the passphrase is known, so no other process ever has a key; it ends when the vault is
// unmounted, or on SIGTERM, SIGINT and SIGHUP, and leaves a clean vault where the host lets it.
#ifndef WARDFS_DAEMON_WORKER_H
#define WARDFS_DAEMON_WORKER_H

#include "crypto/secret.h"
#include "crypto/werr.h"
#include "fusefs/mountopts.h"

// What was under way, for messages and progress.
enum worker_stage {
	WORKER_VAULT,  // looking at the vault directory and its header
	WORKER_KEY,    // deriving the key, unlocking
	WORKER_ENGINE, // opening the engine: replay after a crash
	WORKER_MOUNT,  // mounting
	WORKER_READY,  // the folder is usable
	WORKER_CLOSE,  // writing everything, after the unmount
};

struct worker_params {
	const char *dir;        // the vault, absolute
	const char *mountpoint; // absolute, checked
	struct mountopts opts;
	int foreground; // serve in this process
	int no_anchor;  // do not ask whether this machine has seen a newer state (read-only)
};

// Called in the calling process (never in a forked worker). passphrase: prints its own errors and
// returns a code. stage: may be NULL. warn: a line for the user, before WORKER_READY; in the
// foreground also what the engine has to say later, from any thread. tell: the same for what is no
// trouble.
struct worker_hooks {
	int (*passphrase)(void *arg, struct secret *ret);
	void (*stage)(void *arg, enum worker_stage stage);
	void (*warn)(void *arg, const char *line);
	void (*tell)(void *arg, const char *line);
	void *arg;
};

struct worker_error {
	enum worker_stage stage;
	int reported;     // the passphrase hook has printed the reason
	char detail[256]; // more about it in words, or empty
};

// Mounts. In the background: returns 0 as soon as the folder is usable, or the failure, with
// nothing left behind. In the foreground: returns after the end. The caller must have one thread
// only, and must have made itself undumpable (prctl, RLIMIT_CORE), which a fork inherits.
// *ret_error is set on failure only.
int worker_mount(const struct worker_params *params, const struct worker_hooks *hooks,
		 struct worker_error *ret_error) WARN_UNUSED;

#endif
