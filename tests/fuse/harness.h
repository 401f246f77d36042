// SPDX-License-Identifier: Apache-2.0
// The kernel's side of the FUSE protocol over a socketpair, and a fuse_server at the other end.
// Every failure ends the test.
#ifndef WARDFS_TESTS_FUSE_HARNESS_H
#define WARDFS_TESTS_FUSE_HARNESS_H

#include <linux/fuse.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>

#include "fusefs/fuse_server.h"

#define PEER_BUFFER (256u << 10)

// A reply: err is positive, data lies in the peer's buffer until the next call.
struct reply {
	uint64_t unique;
	int err;
	const uint8_t *data;
	size_t len;
};

struct stashed;

struct peer {
	int fd;
	struct fuse_server *server;
	pthread_t thread;
	int result; // of fuse_server_run
	sem_t ready;
	uint64_t unique;
	uint32_t uid, gid;
	struct fuse_init_out init;
	unsigned notifications; // inval_inode messages seen
	unsigned forgotten_names;
	uint8_t buf[PEER_BUFFER];
	struct stashed *stash; // replies to others than the one waited for
};

// One piece of a request.
struct piece {
	const void *data;
	size_t len;
};

void peer_start(struct peer *p, struct fs *fs, unsigned threads, bool init);
// Asks the server to stop, or closes the channel under it; joins its thread and returns its result.
int peer_stop(struct peer *p);
int peer_hang_up(struct peer *p);

uint64_t peer_send(struct peer *p, uint32_t opcode, uint64_t nodeid, const struct piece *pieces,
		   unsigned count);
void peer_send_raw(struct peer *p, const void *buf, size_t len);
// The reply to this request.
struct reply peer_wait(struct peer *p, uint64_t unique);
// Any reply.
struct reply peer_next(struct peer *p);
// Takes whatever has arrived, without blocking; returns how many.
unsigned peer_drain(struct peer *p);

// Sends an argument structure, then a string (or NULL), then waits.
struct reply peer_call(struct peer *p, uint32_t opcode, uint64_t nodeid, const void *arg,
		       size_t len, const char *name);

#endif
