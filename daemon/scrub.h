// SPDX-License-Identifier: Apache-2.0
// The last resort of a lock that the vault's host holds up: a thread that hangs in the kernel keeps
// the process, and with it its memory, although it was killed. Here another process that shares the
// memory outlives it for a moment and wipes all of it.
#ifndef WARDFS_DAEMON_SCRUB_H
#define WARDFS_DAEMON_SCRUB_H

#include "crypto/werr.h"

// What scrub_and_die needs and a sandbox would refuse. Once, while the process has one thread.
// WERR_IO, WERR_NOMEM.
int scrub_prepare(void) WARN_UNUSED;

// Kills this process, then wipes every page that it could write to, keys first. No thread of it
// runs again; no buffer is flushed, no handler called. Any thread, any locks held.
_Noreturn void scrub_and_die(void);

#endif
