// SPDX-License-Identifier: Apache-2.0
// A line on the terminal for work that takes longer than half a second.
#ifndef WARDFS_TOOLS_PROGRESS_H
#define WARDFS_TOOLS_PROGRESS_H

struct progress;

// Starts a ticker that shows "WHAT … 1.5 s" on standard error, if that is a terminal, until
// progress_stop. what: kept, not copied. NULL when there is no terminal or no thread to be had;
// that is no error.
struct progress *progress_start(const char *what);
// Ends the ticker and clears its line; NULL is fine.
void progress_stop(struct progress *p);

#endif
