// SPDX-License-Identifier: Apache-2.0
// How much memory a worker may plan with.
#ifndef WARDFS_DAEMON_MEMORY_LIMIT_H
#define WARDFS_DAEMON_MEMORY_LIMIT_H

#include <stdint.h>

// Bytes that this process may use at most: the machine's memory, or less where a control group
// (version 1 or 2) that it is in or below says so. Reads /proc and /sys; never 0.
uint64_t memory_limit(void);
// What memory_limit reads, below another root ("" is the real one), for a machine of so many bytes;
// for tests.
uint64_t memory_limit_below(const char *root, uint64_t machine);

// The engine's share in MiB (fs_params_memory) for what was asked for (0: 256), at most a quarter
// of the limit in bytes, at least 16.
unsigned memory_share(unsigned asked_mib, uint64_t limit);

#endif
