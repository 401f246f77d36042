// SPDX-License-Identifier: Apache-2.0
// Looking for the next request for a moment before sleeping. Waking a thread on another processor
// costs tens of microseconds, more than most requests; a client that works alone sends its next
// request sooner than that. Looking pays only while it mostly succeeds, so it is given up after a
// few failures and tried again after more and more requests: it never costs more than a small share
// of one processor. One thread at a time.
#ifndef WARDFS_FUSEFS_SPIN_H
#define WARDFS_FUSEFS_SPIN_H

#include <stdbool.h>
#include <stdint.h>

// The longest look.
#define SPIN_NS 100000
// Requests between two tries while it does not succeed: doubled from least to most.
#define SPIN_SKIP_LEAST 16u
#define SPIN_SKIP_MOST 4096u

struct spin {
	unsigned credit; // looks that may fail before it is given up
	unsigned skip;   // requests to let pass, once given up
	unsigned passed; // of those
};

void spin_init(struct spin *s);
// Whether to look now; counts a request.
bool spin_due(struct spin *s);
// Looks until pending() says yes or SPIN_NS are over, and learns from it. True: there is a request.
bool spin_look(struct spin *s, bool (*pending)(void *arg), void *arg);
// What spin_look learns, for who has waited in another way: whether the request came in time.
void spin_learn(struct spin *s, bool found);
// CLOCK_MONOTONIC.
uint64_t spin_now_ns(void);

#endif
