// SPDX-License-Identifier: Apache-2.0
// The session loop: leader and followers over one blocking request channel. One thread, the leader,
// blocks in receive(); what is cheap it processes itself; before what is heavy it hands the lead to
// the most recently idle thread, and so it does when what looked cheap says that it is going to
// block. While several clients are at work, threads that have become free receive beside the leader
// instead of going to sleep. A watchdog takes the lead from a leader whose request runs longer than
// about a millisecond. Knows nothing about FUSE.
#ifndef WARDFS_FUSEFS_LOOP_H
#define WARDFS_FUSEFS_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/werr.h"

// Largest payload of a request or a reply.
#define LOOP_PAYLOAD_BYTES (1u << 20)
#define LOOP_IN_BYTES (LOOP_PAYLOAD_BYTES + (64u << 10))
#define LOOP_OUT_BYTES (LOOP_PAYLOAD_BYTES + (64u << 10))
// Header bytes in front of the payload of a FUSE WRITE: `in` lies so that this payload is
// page-aligned.
#define LOOP_IN_HEADER 80u
#define LOOP_THREADS_MAX 64

// What the callbacks see of a thread. The buffers live as long as the thread and are never dumped.
struct loop_worker {
	unsigned index;
	unsigned flags;  // the owner's, about the request in hand
	unsigned client; // who sent it, for classify to say; 0: nobody who waits
	uint8_t *in;     // LOOP_IN_BYTES
	uint8_t *out;    // LOOP_OUT_BYTES, page-aligned
};

enum loop_class {
	LOOP_INLINE,    // cheap: processed by the leader
	LOOP_HAND_OVER, // heavy: another thread leads meanwhile
	LOOP_ALONE,     // as the first request of all, processed before any other is received
};

struct loop_params {
	unsigned threads; // 0: processors + 4, at most 16
	// Blocks for one request in w->in. WERR_INTERRUPTED: nothing received, come again;
	// WERR_NODEVICE: the channel has ended (a clean end of loop_run); other codes end loop_run
	// with that code. May run in several threads at once.
	int (*receive)(void *arg, struct loop_worker *w, size_t *ret_len);
	// Whether a request waits to be received: called by any thread, often, must not block.
	// NULL: nobody can say; then no thread looks before it sleeps, and loop_blocking always
	// hands over.
	bool (*pending)(void *arg);
	// Called right after receive, by the same thread; may set w->flags.
	enum loop_class (*classify)(void *arg, struct loop_worker *w, size_t len);
	void (*process)(void *arg, struct loop_worker *w, size_t len);
	// Called in the thread of loop_run after loop_kick(); non-zero: end the loop. May be NULL.
	int (*control)(void *arg);
	void *arg;
};

struct loop;
int loop_new(const struct loop_params *params, struct loop **ret) WARN_UNUSED;
// Starts the threads, returns when all have ended. 0 after loop_stop or the end of the channel.
// Once per loop.
int loop_run(struct loop *l) WARN_UNUSED;
// Ends the loop: requests in hand are finished, none is received any more. Async-signal-safe.
void loop_stop(struct loop *l);
// Makes loop_run call control() soon. Async-signal-safe.
void loop_kick(struct loop *l);
void loop_free(struct loop *l);
// How many threads serve requests.
unsigned loop_threads(const struct loop *l);

// From control(): waits at most timeout_ms for the end of the channel, or until no request has been
// in hand for quiet_ms. 1: the channel has ended.
int loop_drain(struct loop *l, unsigned quiet_ms, unsigned timeout_ms);
// The calling thread's worker, or NULL in a thread that is none.
struct loop_worker *loop_self(void);
// The first len bytes of the worker's `out` were used for something confidential: they are wiped
// at most two seconds after the loop has become idle, as what was received is.
void loop_out_used(size_t len);
// Makes the calling thread, which is not the loop's, a worker of index `index` until
// loop_guest_leave: for processing what was received before. WERR_NOMEM.
int loop_guest_enter(struct loop *l, unsigned index, struct loop_worker **ret) WARN_UNUSED;
void loop_guest_leave(struct loop *l);
// The calling thread is going to wait for something: if it leads and others have something to do,
// another thread leads from here on. A client that works alone waits for this very request, and is
// not worth waking another thread (the watchdog does it when the wait is long). Nothing happens in
// a thread that does not lead, or is none. For process(), as often as it likes.
void loop_blocking(void);

#endif
