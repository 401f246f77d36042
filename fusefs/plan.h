// SPDX-License-Identifier: Apache-2.0
// What a check leaves behind for a repair. wardfs-check(1).
#ifndef WARDFS_FUSEFS_PLAN_H
#define WARDFS_FUSEFS_PLAN_H

#include "fusefs/check.h"
#include "fusefs/checkset.h"

// An authentic object that no table named.
struct stray {
	uint64_t number, incarnation;
	uint64_t generation;
	uint64_t parent_number, parent_incarnation;
	uint8_t *name;
	uint32_t epoch;
	uint8_t type;
	uint8_t name_len;
	bool taken;    // a table names it by now
	bool unmarked; // and its attribute does not say so yet
};

struct check_plan {
	struct numberset damaged; // objects of which something is to be put right
	struct linkset links;
	struct stray *strays;
	size_t strays_len, strays_cap;
	bool journal; // it is to be made anew
};
void check_plan_clear(struct check_plan *p);

#endif
