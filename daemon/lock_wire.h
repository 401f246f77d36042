// SPDX-License-Identifier: Apache-2.0
// Between the keyed and the keyless process of one mount, over a SOCK_SEQPACKET socket pair: fixed
// messages, bulk in shared memory that goes along as a descriptor. Both are this program; what
// comes is checked all the same, since one of them has parsed the kernel's requests.
#ifndef WARDFS_DAEMON_LOCK_WIRE_H
#define WARDFS_DAEMON_LOCK_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/keyslot.h"
#include "crypto/werr.h"
#include "fusefs/fuse_server.h"
#include "fusefs/keyless.h"

#define LOCK_WIRE_FDS 3

enum lock_wire_kind {
	// keyed → keyless, at lock
	LOCK_WIRE_INVALIDATE = 1, // numbers; the first time with the channel: [numbers, channel]
	LOCK_WIRE_HAND,           // the state: [state, lock of the vault]
	// keyless → keyed, at lock
	LOCK_WIRE_DONE,  // the kernel has let go
	LOCK_WIRE_TAKEN, // I serve
	// unlocking → keyless
	LOCK_WIRE_ASK,  // who holds the vault's lock?
	LOCK_WIRE_GIVE, // stop serving, I am ready
	LOCK_WIRE_HAVE, // I serve: end
	// keyless → unlocking
	LOCK_WIRE_HOLD,  // [lock of the vault]
	LOCK_WIRE_GIVEN, // [state, channel, parked requests]
};

// Which vault, and no earlier state of it: what is locked is unlocked as that and as nothing else.
struct lock_identity {
	uint8_t vault_id[VAULT_ID_BYTES];
	uint64_t root_incarnation;
	uint64_t write_counter; // of the header
};

struct lock_wire {
	uint32_t kind;
	int32_t code;
	uint64_t count; // numbers, nodes
	uint64_t bytes; // of the shared memory
	uint64_t parked_count, parked_bytes;
	struct lock_identity identity; // HOLD
};

// The state, at the start of its shared memory; `count` nodes follow.
struct lock_state {
	struct keyless_face face;
	struct lock_identity identity;
	uint64_t init_len;
	uint8_t init[sizeof(((struct fuse_connection *)0)->init)];
	uint64_t rotation_paused; // 0 or 1
};

// Closes on exit; no SIGPIPE. WERR_INTERRUPTED: the other side is gone.
int lock_wire_send(int fd, const struct lock_wire *m, const int *fds, unsigned count) WARN_UNUSED;
// Waits at most timeout_ms (-1: for ever) for one message of this kind. fds: LOCK_WIRE_FDS, -1
// where none came; the caller's. WERR_BUSY: not in time. WERR_MALFORMED: something else came.
// WERR_INTERRUPTED: the other side is gone.
int lock_wire_receive(int fd, uint32_t kind, int timeout_ms, struct lock_wire *ret,
		      int fds[static LOCK_WIRE_FDS]) WARN_UNUSED;
// The kind of the next message, which stays; 0: none in time, or the other side is gone.
uint32_t lock_wire_peek(int fd, int timeout_ms);
void lock_wire_close(int fds[static LOCK_WIRE_FDS]);

// Shared memory of this size, zeroed: *ret is mapped. secret: hidden from everybody else where the
// kernel can. WERR_NOMEM.
int lock_wire_make(size_t bytes, int secret, int *ret_fd, void **ret) WARN_UNUSED;
// What came. WERR_MALFORMED: it is not that big.
int lock_wire_map(int fd, size_t bytes, void **ret) WARN_UNUSED;
void lock_wire_unmap(void *p, size_t bytes); // wiped for both sides
void lock_wire_drop(void *p, size_t bytes);  // not wiped

#endif
