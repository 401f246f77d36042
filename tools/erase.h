// SPDX-License-Identifier: Apache-2.0
// Destroying a vault on purpose.
#ifndef WARDFS_TOOLS_ERASE_H
#define WARDFS_TOOLS_ERASE_H

#include "fusefs/host.h"

// Destroys both header files of a vault that is locked for this, and says what that means and what
// not. Prints what goes wrong. dir: for messages.
int erase_vault(struct host *host, const char *dir) WARN_UNUSED;

#endif
