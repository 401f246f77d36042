// SPDX-License-Identifier: Apache-2.0
// The server of a locked vault: answers every request at once with an error, keeps the kernel's
// look-up counts, and keeps what the kernel still had to write until somebody can. It has no key,
// no name, and no engine. Also the one who makes the kernel forget: a notification waits until
// what it concerns is written back, and no keyed process may have to wait for that.
#ifndef WARDFS_FUSEFS_KEYLESS_H
#define WARDFS_FUSEFS_KEYLESS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "crypto/werr.h"
#include "fusefs/handover.h"

// Bytes of parked writes; what comes beyond fails and is counted.
#define KEYLESS_PARKED_BYTES (64u << 20)

struct keyless;

// fd: the channel (or a SOCK_SEQPACKET socketpair), owned from success on.
int keyless_new(int fd, struct keyless **ret) WARN_UNUSED;
void keyless_free(struct keyless *k); // closes the channel, wipes what is parked

// Makes the kernel write back and drop pages, attributes and link targets of these inodes. Blocks
// until it has; any thread. Before and while keyless_run.
void keyless_invalidate(struct keyless *k, const uint64_t *numbers, size_t len);

// What it answers with.
struct keyless_face {
	int error;        // to what is refused
	struct stat root; // of the mount point
	struct statvfs space;
};

// Serves until keyless_stop (0), or the end of the channel (WERR_NODEVICE), or a failure of it.
// nodes are copied. May be called again after a stop, with nodes NULL: what it has already.
int keyless_run(struct keyless *k, const struct keyless_face *face,
		const struct handover_node *nodes, size_t len) WARN_UNUSED;
void keyless_stop(struct keyless *k); // any thread, async-signal-safe

// The machine is going to sleep: what is parked fails now, and so does what comes until
// keyless_wake. Returns how many writes have failed so far, in all. Any thread.
uint64_t keyless_sleep(struct keyless *k);
void keyless_wake(struct keyless *k);

// After keyless_run has returned: the nodes with their counts now (k's), and the parked requests,
// oldest first.
const struct handover_node *keyless_nodes(const struct keyless *k, size_t *ret_len);
// The next one after `previous` (NULL: the first), or NULL.
struct keyless_parked;
const struct keyless_parked *keyless_parked(const struct keyless *k,
					    const struct keyless_parked *previous,
					    const void **ret_request, size_t *ret_len);

struct keyless_status {
	uint64_t requests; // answered
	uint64_t parked, parked_bytes, failed;
};
void keyless_get_status(struct keyless *k, struct keyless_status *ret);

#endif
