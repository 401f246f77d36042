// SPDX-License-Identifier: Apache-2.0
// What a worker answers to control calls that the broker passes on: its state, and what is done
// inside the engine of its vault. wardfs-control(5). A method is a row in the table of
// worker_control.c.
#ifndef WARDFS_DAEMON_WORKER_CONTROL_H
#define WARDFS_DAEMON_WORKER_CONTROL_H

#include "daemon/control.h"
#include "daemon/mountpoint.h"
#include "fusefs/fs.h"
#include "fusefs/fuse_server.h"

struct worker_control;

struct worker_about {
	int readonly;
	struct fs *fs;
	struct fuse_server *server;
	// Asks for the end of the mount; any thread. The end may come before it returns.
	void (*stop)(void *arg);
	// Something has happened that watchers of the mount may want to know.
	void (*event)(void *arg, const char *name);
	void *arg;
};

// fs must live until worker_control_closing.
int worker_control_start(const struct worker_about *about, struct worker_control **ret) WARN_UNUSED;
// Serves a connection; taken over. Any thread, before worker_control_closing.
void worker_control_adopt(struct worker_control *w, int fd);
// The mount is gone and fs is about to be closed: running handlers come to their end (waits for
// them), and it is not used any more. NULL is fine.
void worker_control_closing(struct worker_control *w);
// Frees. NULL is fine.
void worker_control_finish(struct worker_control *w);

// ---- for handlers ----

// Methods in files of their own.
int worker_freeze(void *arg, struct control_call *c);
int worker_thaw(void *arg, struct control_call *c);
int worker_check(void *arg, struct control_call *c);

int worker_rotate(void *arg, struct control_call *c);
int worker_rotate_status(void *arg, struct control_call *c);
int worker_rotate_pause(void *arg, struct control_call *c);

int worker_header(void *arg, struct control_call *c);
int worker_change_keyslots(void *arg, struct control_call *c);

// The engine, held open until worker_control_done; NULL: it is closing.
struct fs *worker_control_fs(struct worker_control *w);
void worker_control_done(struct worker_control *w);
void worker_control_event(struct worker_control *w, const char *name);
// Serves the same mount as the engine; valid as long as that.
struct fuse_server *worker_control_fuse(struct worker_control *w);

#endif
