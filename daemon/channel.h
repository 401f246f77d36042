// SPDX-License-Identifier: Apache-2.0
// What the broker and its workers say to each other, over a SOCK_SEQPACKET socket pair: one message
// is one packet, with at most one descriptor. No secret passes here: a passphrase is read from a
// descriptor that came with CHANNEL_START. Thread-safe.
#ifndef WARDFS_DAEMON_CHANNEL_H
#define WARDFS_DAEMON_CHANNEL_H

#include <stdint.h>

#include "crypto/werr.h"

#define CHANNEL_TEXT_MAX 20480

// A worker's descriptor number of the channel.
#define CHANNEL_FD 3

enum channel_kind {
	// worker to broker
	CHANNEL_STAGE,       // stage
	CHANNEL_WARN,        // text: a line for whoever mounts
	CHANNEL_TELL,        // text: the same, when it is no trouble
	CHANNEL_LOG,         // n: syslog priority; text
	CHANNEL_EVENT,       // text: a word for whoever watches
	CHANNEL_ASK,         // the passphrase is wanted
	CHANNEL_FAILED,      // code, stage, text; the worker ends with it
	CHANNEL_MOUNT,       // the FUSE channel is wanted: FUSE, REFUSED, or TAKE at unlock
	CHANNEL_READY,       // the folder is usable; keyless: the hand-over is complete
	CHANNEL_DETACH,      // unmount lazily, please, while I serve: DETACHED
	CHANNEL_LOCKED,      // n: writes lost; handed over, the worker ends with it
	CHANNEL_LOCK_FAILED, // code, text; it serves on
	CHANNEL_ENDED,       // code: the clean end
	CHANNEL_SLEPT,       // n: writes that failed because of CHANNEL_SLEEP
	CHANNEL_ACTIVE,      // requests have come since the last time
	CHANNEL_LOCK_WANTED, // by a signal
	CHANNEL_POLICY,      // text: Policy object of the vault's header, which is authentic
	CHANNEL_WIPE_AFTER,  // n: failed attempts, of the header that is not verified yet
	// broker to worker
	CHANNEL_START,    // text: JSON object of parameters; descriptor: of the passphrase
	CHANNEL_FUSE,     // descriptor: the FUSE channel; text: "MAJOR:MINOR" of the mount
	CHANNEL_REFUSED,  // code, text
	CHANNEL_DETACHED, //
	CHANNEL_LOCK,     // n: deadline in ms; descriptor: hand over through it
	CHANNEL_TAKE,     // descriptor: take over through it
	CHANNEL_GIVE,     // descriptor: hand back through it, and end
	CHANNEL_CONTROL,  // descriptor: connection of a control client
	CHANNEL_STOP,     // the clean end, please
	CHANNEL_SLEEP,    // what waits fails now
	CHANNEL_ACTIVITY, // n: ms between two reports of use, -1: none
};

enum channel_stage {
	STAGE_VAULT,  // looking at the vault directory and its header
	STAGE_KEY,    // deriving the key, unlocking
	STAGE_ENGINE, // opening the engine: replay after a crash
	STAGE_MOUNT,  // mounting
	STAGE_READY,  // the folder is usable
	STAGE_CLOSE,  // writing everything, after the unmount
};

struct channel_msg {
	enum channel_kind kind;
	int code; // werr
	enum channel_stage stage;
	int64_t n;
	char text[CHANNEL_TEXT_MAX]; // NUL-terminated
};

// pass_fd: stays the caller's; -1: none. wait: until there is room; else WERR_BUSY when the other
// side does not read. WERR_NODATA: it is gone.
int channel_send(int fd, const struct channel_msg *m, int pass_fd, int wait) WARN_UNUSED;

// Waits for a message. *ret_fd: the descriptor that came along, the caller's; -1: none.
// WERR_NODATA: the other side is gone.
int channel_receive(int fd, struct channel_msg *ret, int *ret_fd) WARN_UNUSED;

#endif
