// SPDX-License-Identifier: Apache-2.0
// Locking from the keyed side: the kernel's caches are emptied, everything is made durable, the
// mount goes to the keyless process at the other end of a socket pair (daemon/keyless.h); and, in
// another process, the way back. STORAGE.md section 5 names the order.
#ifndef WARDFS_DAEMON_LOCK_H
#define WARDFS_DAEMON_LOCK_H

#include "crypto/vault_header.h"
#include "crypto/werr.h"
#include "daemon/lock_wire.h"
#include "fusefs/fs.h"
#include "fusefs/fuse_server.h"
#include "fusefs/handover.h"
#include "fusefs/host.h"

struct lock_params {
	struct fs *fs;
	struct fuse_server *server;
	struct host *host; // of host_posix_open
	const struct vault_header *header;
	int sock;     // to the keyless process; the caller's
	int error;    // errno for what is refused
	int drain_ms; // so long the kernel may take to write back what it holds; the rest waits
		      // in the kernel until the unlocking
};

// While fuse_server_run serves in another thread: refuses, lets the kernel write back and forget,
// then pauses the server. On failure the server serves as before.
int lock_drain(const struct lock_params *p) WARN_UNUSED;

// After fuse_server_run has returned: the final checkpoint, then everything goes to the keyless
// process. 0: it serves; nothing of fs and server may be used but to free them (fs_abandon). On
// failure the engine is whole, the connection is still the server's, and a server made by
// fuse_server_resume goes on with both.
int lock_hand_over(const struct lock_params *p) WARN_UNUSED;

// ---- the way back ----

struct lock_taken {
	struct fuse_connection connection; // fd: the caller's
	const struct handover_node *nodes;
	size_t nodes_len;
	void *state, *parked; // mapped
	size_t state_bytes, parked_bytes;
	size_t parked_count;
	bool rotation_paused;
};

// The descriptor that holds the vault's lock, for host_posix_take_lock, and which vault it is.
// WERR_INTERRUPTED: nobody is there.
int lock_ask(int sock, int *ret_fd, struct lock_identity *ret) WARN_UNUSED;
// Whether the header is that vault's. WERR_AUTH: another's. WERR_ROLLBACK: an older one.
int lock_compare(const struct lock_identity *locked, const struct vault_header *h) WARN_UNUSED;
// The keyless process stops serving and gives what it has. Until lock_have it takes everything back
// when this process ends.
int lock_take(int sock, struct lock_taken *ret) WARN_UNUSED;
int lock_have(int sock) WARN_UNUSED;
// Calls fuse_server_replay for each parked request, oldest first.
int lock_replay(const struct lock_taken *t, struct fuse_server *server) WARN_UNUSED;
void lock_taken_clear(struct lock_taken *t); // but for the descriptor

#endif
