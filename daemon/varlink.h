// SPDX-License-Identifier: Apache-2.0
// The Varlink wire form on a stream socket: JSON objects, each ended by a NUL byte, with at most
// one descriptor beside each. wardfs-control(5). One thread per connection, except varlink_gone.
#ifndef WARDFS_DAEMON_VARLINK_H
#define WARDFS_DAEMON_VARLINK_H

#include <jansson.h>
#include <stddef.h>

#include "crypto/werr.h"

struct varlink {
	int fd;     // of the connection; owned
	int passed; // descriptor that came with the message under way, or -1; owned
	char *buf;  // received, not yet parsed
	size_t len, cap, max_bytes;
	size_t used; // of the message that was returned last
};

struct varlink_wait {
	int wake_fd;    // readable: give up with WERR_INTERRUPTED; -1: none
	int gone_fd;    // hung up: likewise; -1: none
	int idle_ms;    // for the first byte of a message; -1: for ever
	int message_ms; // from the first byte to the last; -1: for ever
};

// Takes over fd. max_bytes: the longest message that is taken in.
void varlink_init(struct varlink *v, int fd, size_t max_bytes);
void varlink_clear(struct varlink *v);

// The next message: *ret is an object, the caller's. WERR_NODATA: the other side has closed;
// WERR_INTERRUPTED: wake_fd, or out of time; WERR_LIMIT: too long, or too many descriptors;
// WERR_MALFORMED: no JSON object (duplicate keys are none); WERR_IO. After a failure the connection
// is of no use any more, but for one out of time: what has come of a message is kept.
int varlink_receive(struct varlink *v, const struct varlink_wait *wait, json_t **ret) WARN_UNUSED;

// The next message as bytes with their NUL, not parsed; valid until the next receive.
int varlink_receive_raw(struct varlink *v, const struct varlink_wait *wait, const char **ret,
			size_t *ret_len) WARN_UNUSED;

// Sends a message (not taken over), with a descriptor unless pass_fd is -1. The socket's send
// timeout bounds it. WERR_NODATA: nobody is there any more.
int varlink_send(int fd, const json_t *message, int pass_fd) WARN_UNUSED;
int varlink_send_raw(int fd, const char *bytes, size_t len, int pass_fd) WARN_UNUSED;

// Whether the other side has hung up.
int varlink_gone(int fd) WARN_UNUSED;

// The descriptor that came with the last message, the caller's from now on; -1: none came.
int varlink_take_fd(struct varlink *v);

// A path as the interface writes it: the string itself where it is UTF-8, else "hex:" and its
// bytes. varlink_path_of: back to bytes, absolute, malloc'd; NULL: it is no path.
json_t *varlink_path(const char *path);
char *varlink_path_of(const json_t *j);

#endif
