// SPDX-License-Identifier: Apache-2.0
// The process that serves a mount while its vault is locked: takes it from a keyed process over a
// socket pair and gives it back over another. Serves in a thread of its own in between.
#ifndef WARDFS_DAEMON_KEYLESS_H
#define WARDFS_DAEMON_KEYLESS_H

#include <stdint.h>

#include "crypto/werr.h"
#include "fusefs/keyless.h"

struct keyless_holder;

// ended: called once, from the serving thread, when the channel ends by itself (WERR_NODEVICE: it
// was unmounted).
int keyless_holder_new(void (*ended)(void *arg, int code), void *arg,
		       struct keyless_holder **ret) WARN_UNUSED;
// Takes over what comes through sock (the caller's), until it serves. WERR_INTERRUPTED: the keyed
// process went away or thought better of it.
int keyless_holder_take(struct keyless_holder *h, int sock) WARN_UNUSED;
// Gives back through sock. 0: somebody else serves. Otherwise it serves as before.
int keyless_holder_give(struct keyless_holder *h, int sock) WARN_UNUSED;
// keyless_sleep, keyless_wake, keyless_get_status; 0 and nothing before it serves.
uint64_t keyless_holder_sleep(struct keyless_holder *h);
void keyless_holder_wake(struct keyless_holder *h);
void keyless_holder_status(struct keyless_holder *h, struct keyless_status *ret);
// Ends the serving; when nobody else has taken over, the connection ends with it.
void keyless_holder_free(struct keyless_holder *h);

#endif
