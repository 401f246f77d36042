// SPDX-License-Identifier: Apache-2.0
// The inside of a simulated disk, for simhost.c and simcut.c.
#ifndef WARDFS_TESTS_SIMSTATE_H
#define WARDFS_TESTS_SIMSTATE_H

#include <pthread.h>

#include "tests/crash/simdir.h"
#include "tests/crash/simhost.h"

#define FAULTS_MAX 8
#define DISK_BLOCKS (1ull << 32) // when there is no limit

struct pending_fault {
	struct simfault f; // count 0: free
	uint64_t seen;
};

struct simhost {
	pthread_mutex_t lock; // guards all
	struct simdir *top;
	struct simdir *folders[HOST_FOLDERS];
	unsigned views, handles;
	int readers;          // shared locks; -1: one exclusive lock
	uint64_t limit, used; // blocks
	int no_punch;
	uint32_t block; // bytes, as told
	uint64_t calls[SIM_CALLS + 1];
	struct pending_fault faults[FAULTS_MAX];
	int off;
	uint64_t off_after; // value of calls[SIM_ANY] behind which the power is off; UINT64_MAX:
			    // never
	simhost_hook hook;
	void *hook_arg;
};

// A disk without any directory.
struct simhost *simstate_new(void);

#endif
