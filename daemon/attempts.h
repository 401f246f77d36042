// SPDX-License-Identifier: Apache-2.0
// Failed attempts to unlock a vault through the broker: each one more costs a longer wait before
// the next. Kept in the state directory, so that the count survives a restart. It slows whoever
// sits at this machine and nobody else: who has the vault's files needs no broker. Thread-safe.
#ifndef WARDFS_DAEMON_ATTEMPTS_H
#define WARDFS_DAEMON_ATTEMPTS_H

#include <stdint.h>

// Milliseconds until the next attempt is allowed; 0: now.
int64_t attempts_left_ms(const char *dir);
// One more failure. Returns how many in a row that makes.
unsigned attempts_count(const char *dir);
// After a success.
void attempts_forget(const char *dir);
// The wait after this many failures in a row: none for three, then 1 s, twice as long each time, at
// most ten minutes.
int64_t attempts_delay_ms(unsigned failures);

#endif
