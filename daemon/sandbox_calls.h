// SPDX-License-Identifier: Apache-2.0
// The seccomp filter of sandbox.c: which system calls serving a vault needs.
#ifndef WARDFS_DAEMON_SANDBOX_CALLS_H
#define WARDFS_DAEMON_SANDBOX_CALLS_H

#include <stdint.h>

#include "crypto/werr.h"

// Loads the filter for the calling thread and those it makes later: refused calls fail with EPERM.
// ret_listener: the descriptor on which they are reported first (seccomp_unotify(2)); a thread
// without this filter must answer there. -1 where the kernel has none. NULL: nobody is asked.
// WERR_UNSUPPORTED: no seccomp, or an unknown processor. WERR_IO.
int sandbox_calls_load(int *ret_listener) WARN_UNUSED;

// The name of a call that somebody might try, or NULL.
const char *sandbox_calls_name(int nr);

#endif
