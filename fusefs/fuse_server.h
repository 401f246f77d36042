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
// serve that descriptor (a SOCK_SEQPACKET socketpair speaking the FUSE protocol; owned and closed
// by the server, on failure of this call by nobody) and mount nothing. fs must outlive the server.
// WERR_NODEVICE (no /dev/fuse), WERR_PERM, WERR_BUSY …
int fuse_server_new(struct fs *fs, const struct mountopts *opts, const char *mountpoint,
		    int channel_fd, struct fuse_server **ret) WARN_UNUSED;

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

// Unmounts (if mounted) and frees.
void fuse_server_free(struct fuse_server *s);

#endif
