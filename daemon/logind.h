// SPDX-License-Identifier: Apache-2.0
// What systemd-logind says about the machine and the sessions of the user that this process runs
// as: org.freedesktop.login1(5). A thread of its own talks to it, so that a bus that hangs holds up
// nobody. Thread-safe; nothing here waits.
#ifndef WARDFS_DAEMON_LOGIND_H
#define WARDFS_DAEMON_LOGIND_H

#include <stdint.h>

#include "crypto/werr.h"

enum logind_event {
	LOGIND_SLEEP,       // the machine is about to sleep: see logind_let_sleep
	LOGIND_WAKE,        // it has slept, or did not
	LOGIND_SCREEN_LOCK, // a session of the user is locked
	LOGIND_SESSION_END, // the last session of the user is over
};

enum logind_state {
	LOGIND_ASKING,   // not known yet, or not wanted
	LOGIND_ABSENT,   // there is none, or it does not answer; tried again now and then
	LOGIND_PRESENT,  // but sleep cannot be delayed
	LOGIND_DELAYING, // and sleep waits for us
};

struct logind_params {
	// Called by the thread, which holds nothing.
	void (*event)(void *arg, enum logind_event e);
	// The state has changed, and why, for people; NULL: nothing to say.
	void (*news)(void *arg, const char *line);
	void *arg;
};

struct logind;

// Starts the thread, which does nothing until something is wanted.
int logind_new(const struct logind_params *params, struct logind **ret) WARN_UNUSED;
// events: whether anything is to be told. delay: whether sleep has to wait for us: an inhibitor
// of mode "delay" is held from now on, except between logind_let_sleep and LOGIND_WAKE.
void logind_want(struct logind *l, int events, int delay);
// After LOGIND_SLEEP: everything is done, the machine may sleep.
void logind_let_sleep(struct logind *l);
enum logind_state logind_state(struct logind *l);
// Why nobody would tell of something, for people; what it is follows.
extern const char logind_lack[];
// How long sleep waits for us at most.
int64_t logind_delay_ms(struct logind *l);
// No event comes after it. NULL: nothing.
void logind_free(struct logind *l);

#endif
