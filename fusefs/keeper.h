// SPDX-License-Identifier: Apache-2.0
// Keeping one of two processors busy while a client and the loop's leader take turns.
//
// The kernel puts a thread that it wakes on an idle processor where there is one, and that has to
// be woken, too: 20 to 40 microseconds in a virtual machine, at every request and every reply, more
// than most requests take. While the other processor has something to do, client and leader stay on
// one, and a wake-up is a change of threads. So a thread of the least priority has something to do,
// for a moment after each reply. Of more processors than two some other would be idle, and with one
// there is no need.
#ifndef WARDFS_FUSEFS_KEEPER_H
#define WARDFS_FUSEFS_KEEPER_H

#include <stdbool.h>
#include <stdint.h>

#include "crypto/werr.h"

struct keeper;

// Starts the thread, which sleeps. *ret is NULL where the process has not two processors.
// WERR_NOMEM.
int keeper_new(struct keeper **ret) WARN_UNUSED;
void keeper_free(struct keeper *k);
// Keeps a processor busy until this time (spin_now_ns), the one where the caller is when it begins;
// the caller runs on the other from then on. False: there is no keeper, or somebody else had a use
// for the processor lately. One thread at a time.
bool keeper_keep(struct keeper *k, uint64_t until_ns);
// The calling thread may run on both again. k may be NULL where keeper_keep was never true.
void keeper_leave(struct keeper *k);

#endif
