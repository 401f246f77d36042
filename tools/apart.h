// SPDX-License-Identifier: Apache-2.0
// Runs what deals with secrets in memory that it does not wipe (libraries of chips and tokens) in a
// child of its own, whose end is the wipe. Only the answer comes back.
#ifndef WARDFS_TOOLS_APART_H
#define WARDFS_TOOLS_APART_H

#include <stddef.h>

#include "crypto/werr.h"

// Calls fn(arg, answer) in a child with `size` zeroed bytes for the answer, which are copied to
// `answer` when it returns; fn's code is returned. What else fn changes is lost. WERR_NOMEM;
// WERR_INTERNAL: the child died.
int apart_run(int (*fn)(void *arg, void *answer), void *arg, void *answer, size_t size) WARN_UNUSED;

#endif
