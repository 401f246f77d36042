// SPDX-License-Identifier: Apache-2.0
// Planted bugs: each mistake that a storage engine of this kind is likely to make, so that the test
// that is there to find it can be seen to find it (tests/crash/README.md lists both). Only in a
// build with -Dplanted=true, and only the one that the environment variable WARDFS_PLANTED names;
// in any other build the condition is 0 and nothing is left of it.
#ifndef WARDFS_FUSEFS_PLANTED_H
#define WARDFS_FUSEFS_PLANTED_H

#include <stdbool.h>

#ifdef WARDFS_PLANTED_BUGS
bool planted_is(const char *name);
#define WARD_PLANTED(name) planted_is(#name)
#else
#define WARD_PLANTED(name) 0
#endif

#endif
