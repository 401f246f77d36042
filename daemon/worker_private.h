// SPDX-License-Identifier: Apache-2.0
// Shared by the files of the worker only: its state, and its side of the channel.
#ifndef WARDFS_DAEMON_WORKER_PRIVATE_H
#define WARDFS_DAEMON_WORKER_PRIVATE_H

#include <limits.h>
#include <pthread.h>

#include "crypto/secret.h"
#include "daemon/channel.h"
#include "daemon/mountpoint.h"
#include "daemon/worker.h"
#include "daemon/worker_control.h"
#include "fusefs/fs.h"
#include "fusefs/fuse_server.h"
#include "fusefs/mountopts.h"
#include "fusefs/vault.h"

enum worker_mode {
	WORKER_KEYED,   // mounts
	WORKER_UNLOCK,  // continues a mount that a keyless worker serves
	WORKER_KEYLESS, // serves a mount without a key
};

enum worker_phase {
	PHASE_KEY,    // nothing was written: an end is immediate
	PHASE_ENGINE, // an end is remembered
	PHASE_SERVING,
	PHASE_ENDED,
};

struct worker {
	int channel;
	enum worker_mode mode;
	char dir[PATH_MAX]; // absolute
	char mountpoint[PATH_MAX];
	struct mountopts opts;
	int passphrase_fd; // -1: none
	int activity_ms;   // how often use is reported; -1: never; the watcher's

	int log_names; // name files in the log
	int no_anchor; // do not ask whether this machine has seen a newer state

	unsigned memory_mib;   // the engine's
	struct anchor *anchor; // NULL: not asked for
	// The anchor's folder, by either header file's vault id: nobody vouches for those before a
	// secret does. Empty: none.
	char state_dirs[2][PATH_MAX];
	struct vault *vault;
	struct fs *fs;
	struct fuse_server *server;
	struct worker_control *control;
	char device[MOUNTPOINT_DEVICE_BYTES]; // of the mount

	pthread_t watcher;
	int signals; // signalfd
	int wake;    // eventfd: ends the watcher

	pthread_mutex_t lock; // guards what follows
	pthread_cond_t changed;
	enum worker_phase phase;
	int stopped; // an end was asked for
	int ready;
	int broker_gone;
	int answered; // what MOUNT or DETACH asked for has come
	struct channel_msg answer;
	int answer_fd;

	int locking;   // until the deadline
	int lock_ms;   // set before locking
	int lock_sock; // to the other process of the hand-over; -1: none

	enum channel_stage stage; // main thread only: what is under way
	char detail[256];         // more about a failure
};

// worker_link.c: the channel.
int worker_link_start(struct worker *w, const struct channel_msg *start, int fd) WARN_UNUSED;
void worker_say(struct worker *w, enum channel_kind kind, int code, int64_t n, const char *text);
void worker_stage(struct worker *w, enum channel_stage stage);
// Sends what asks the broker for something, and waits for the answer: its kind, w->answer and
// *ret_fd (the caller's). WERR_INTERRUPTED: the broker is gone.
int worker_ask(struct worker *w, enum channel_kind kind, int *ret_fd) WARN_UNUSED;
// The passphrase that came with the start.
int worker_passphrase(struct worker *w, struct secret *ret) WARN_UNUSED;
// The thread that takes what the broker says, and signals.
int worker_watch_start(struct worker *w) WARN_UNUSED;
void worker_watch_end(struct worker *w);
int worker_is_ready(struct worker *w);

// worker_lock.c
// Closes the sandbox; the process has one thread.
int worker_confine(struct worker *w) WARN_UNUSED;
// The broker wants a lock within ms through sock (taken over). Returns at once: the server pauses
// when it may be handed over, or LOCK_FAILED is said.
void worker_lock(struct worker *w, int64_t ms, int sock);
int worker_is_locking(struct worker *w);
// The server has paused: hands over and frees engine, server and vault (*ret_gone), or makes the
// server anew.
int worker_hand_over(struct worker *w, int *ret_gone) WARN_UNUSED;
// Unlocking: the vault's lock; then the mount itself.
int worker_ask_lock(struct worker *w) WARN_UNUSED;
int worker_take_over(struct worker *w) WARN_UNUSED;
// All of a keyless worker's life.
int worker_hold(struct worker *w) WARN_UNUSED;

// worker.c
void worker_stop(struct worker *w);

#endif
