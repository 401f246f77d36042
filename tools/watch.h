// SPDX-License-Identifier: Apache-2.0
// Following every mount that this user may ask about, for 'wardfs status --watch'.
#ifndef WARDFS_TOOLS_WATCH_H
#define WARDFS_TOOLS_WATCH_H

#include "crypto/werr.h"

// Prints a line for every mount and every change until SIGINT, SIGTERM or SIGHUP comes (0), or
// nobody reads what is printed. json: each line is an object. Prints what goes wrong.
int watch_mounts(int json) WARN_UNUSED;

#endif
