// SPDX-License-Identifier: Apache-2.0
// The FUSE side: the low-level operations over fs.h, and the session loop. Works on a kernel
// channel or on a socketpair (tests). One struct fuse_server per mount.
#ifndef WARDFS_FUSEFS_FUSE_SERVER_H
#define WARDFS_FUSEFS_FUSE_SERVER_H

#include <stddef.h>

#include "crypto/werr.h"
#include "fusefs/fs.h"
#include "fusefs/mountopts.h"

struct fuse_server;

// For fs_params.blocking of an engine that is served: while one of the server's threads waits,
// another one takes the next request.
void fuse_server_blocking(void *arg);

// Prepares the session (of libfuse, whose messages are caught process-wide) and, unless channel_fd
// is >= 0, mounts at `mountpoint` (libfuse: mount(2) for root, else fusermount3). channel_fd >= 0:
// serve that descriptor (of /dev/fuse, which somebody else has mounted, or a SOCK_SEQPACKET
// socketpair speaking the FUSE protocol; owned and closed by the server, on failure of this call by
// nobody) and mount nothing. fs must outlive the server. WERR_NODEVICE (no /dev/fuse), WERR_PERM,
// WERR_BUSY …
int fuse_server_new(struct fs *fs, const struct mountopts *opts, const char *mountpoint,
		    int channel_fd, struct fuse_server **ret) WARN_UNUSED;

// Mounts at `mountpoint` for a server in another process: *ret is the channel, the caller's
// (close-on-exec). One thread at a time. Failures as fuse_server_new; fuse_server_error says more.
int fuse_mount_open(const struct mountopts *opts, const char *mountpoint, int *ret) WARN_UNUSED;
// As root, lifts the kernel's limits for the mount with this device number, once it is served. Best
// effort.
void fuse_mount_lift(uint64_t device);

// How many requests have come because somebody uses the folder. Any thread.
uint64_t fuse_server_uses(struct fuse_server *s);

// Before fuse_server_run, of a server with a channel_fd: what detaches the mount when
// fuse_server_stop asks for it, called while the server still serves.
void fuse_server_set_detach(struct fuse_server *s, void (*detach)(void *arg), void *arg);

// What the last mount failed with, as one line ("" if nothing was said); for programs, valid until
// the next fuse_server_new.
const char *fuse_server_error(void);

// Serves until unmounted, or fuse_server_stop. Starts its threads (opts->threads) and returns after
// all have ended. `ready` (may be NULL) is called once when the kernel has finished FUSE_INIT. 0 on
// a clean end. Parked fsyncs have been answered when it returns: fs must still be working.
int fuse_server_run(struct fuse_server *s, void (*ready)(void *arg), void *arg) WARN_UNUSED;

// Async-signal-safe: makes fuse_server_run return soon, after what the kernel holds was written
// back and the mount was detached (a mount in use goes on for its users without a server: they get
// errors).
void fuse_server_stop(struct fuse_server *s);

// From now on requests that change something wait, without a thread each as long as they are at
// most FUSE_GATE_BYTES together; everything else is served. Those that are in hand already go on:
// fs_freeze waits for them. WERR_NOMEM; WERR_BUSY: the gate is closed.
#define FUSE_GATE_BYTES (64u << 20)
int fuse_server_close_gate(struct fuse_server *s) WARN_UNUSED;
// They go on, in their order. Any thread; nothing happens when the gate is open.
void fuse_server_open_gate(struct fuse_server *s);

// --- locking with the mount left in place (fuse_lock.c) ---

// A connection that is set up: the channel, and the request that set it up.
struct fuse_connection {
	int fd;
	uint8_t init[256];
	size_t init_len;
};

// From now on requests get errno `error`, but for those with which the kernel brings what it still
// holds (WRITE, SETATTR of times, FSYNC), gives back (FORGET), or looks at the mount itself
// (GETATTR of the root, STATFS). 0: back to normal.
void fuse_server_refuse(struct fuse_server *s, int error);
// The inodes written to since the last call (or since the refusal began): malloc'd. *ret_all: some
// are missing in the list.
int fuse_server_wrote(struct fuse_server *s, uint64_t **ret, size_t *ret_len,
		      int *ret_all) WARN_UNUSED;
// Makes the kernel forget the names in the root that it knows, and with them what is below: those
// in use keep their inodes.
int fuse_server_forget_names(struct fuse_server *s) WARN_UNUSED;
// A working directory in the root of the mount has lost its name by that, and getcwd(2) fails until
// somebody looks the name up: a thread of its own does, while this server serves. Best effort.
void fuse_server_remind(struct fuse_server *s, const char *mountpoint);
// Async-signal-safe: makes fuse_server_run return when the requests in hand are finished; nothing
// is unmounted, and what the kernel sends meanwhile waits in the channel.
void fuse_server_pause(struct fuse_server *s);
// The connection of a server whose INIT is done. fd stays the server's.
void fuse_server_connection(const struct fuse_server *s, struct fuse_connection *ret);
// A server for a connection that is set up. c->fd is owned as by fuse_server_new. WERR_MALFORMED:
// not an INIT that this program would have accepted.
int fuse_server_resume(struct fs *fs, const struct mountopts *opts, const struct fuse_connection *c,
		       struct fuse_server **ret) WARN_UNUSED;
// Before fuse_server_run: processes a request that somebody else has received. WERR_NOMEM,
// WERR_LIMIT.
int fuse_server_replay(struct fuse_server *s, const void *request, size_t len) WARN_UNUSED;

// Unmounts (if mounted) and frees.
void fuse_server_free(struct fuse_server *s);

#endif
