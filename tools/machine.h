// SPDX-License-Identifier: Apache-2.0
// What this machine has.
#ifndef WARDFS_TOOLS_MACHINE_H
#define WARDFS_TOOLS_MACHINE_H

#include <stdint.h>

// Memory that could be had now without pushing others out, within the limit of our control group.
// 0: unknown.
uint64_t machine_free_kib(void);
// The same with what could be swapped out: beyond it a key derivation cannot succeed. UINT64_MAX:
// unknown.
uint64_t machine_most_kib(void);
uint32_t machine_cores(void);

#endif
