// SPDX-License-Identifier: Apache-2.0
// STORAGE.md section 7: the mistakes that a storage engine of this kind is likely to make, and for
// each the test that finds it. fusefs/planted.h has the mistakes.
#ifndef WARDFS_TESTS_MISTAKES_H
#define WARDFS_TESTS_MISTAKES_H

#include "tests/crash/simvault.h"

struct mistake {
	const char *name;
	const char *planted; // WARDFS_PLANTED
	void (*test)(void);  // returns, or ends the program with status 1
};

// Data (mistakes_data.c).
void record_before_pages(void);
void write_after_truncate(void);
void write_in_commit(void);
void late_punch(void);
void two_candidates(void);
void replay_once(void);
void evicted_error(void);
void old_tail(void);
void write_parked(void);
// Names (mistakes_names.c).
void half_rename(void);
void link_rolled_back(void);
void old_parent(void);
void orphan_early(void);
void orphan_never(void);
void counting_cookie(void);

#endif
