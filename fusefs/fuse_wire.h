// SPDX-License-Identifier: Apache-2.0
// The raw side of the FUSE protocol: what must be known of a request before libfuse parses it.
// libfuse trusts lengths and strings, and drops the kill flags; so each request is checked here
// first. Pure functions.
#ifndef WARDFS_FUSEFS_FUSE_WIRE_H
#define WARDFS_FUSEFS_FUSE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_DROP (-1)
// A request of at least this many bytes of payload is heavy.
#define WIRE_HEAVY_BYTES (64u << 10)

struct wire_request {
	uint32_t opcode;
	uint64_t unique;
	uint64_t nodeid;
	uint32_t uid, pid; // pid 0: nobody waits for the reply
	bool kill;         // suid, sgid and capabilities are to be cleared
	bool heavy;        // may take long or block
	bool change;       // changes something in the vault
	bool times; // SETATTR of what the kernel has kept: times of a file that was written to
	// INIT: what the kernel offers.
	uint32_t init_flags;
	// SETXATTR
	const char *name;
	const void *value;
	uint32_t value_len;
	uint32_t flags;
	bool kill_sgid;
};

// Looks at the len bytes of a received message. 0: well-formed, *ret is set; > 0: the errno of the
// refusal (ret->unique is set); WIRE_DROP: no reply is due or possible. setxattr_ext:
// FUSE_SETXATTR_EXT is negotiated. payload_max: largest READ, WRITE or READDIR accepted.
int wire_parse(const uint8_t *buf, size_t len, bool setxattr_ext, size_t payload_max,
	       struct wire_request *ret);

#endif
