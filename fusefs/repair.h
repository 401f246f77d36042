// SPDX-License-Identifier: Apache-2.0
// Putting right what a check found. wardfs-check(1), "Repair". Everything changes in memory and
// reaches the vault through ordinary checkpoints, so a crash at any moment leaves a vault that can
// be checked and repaired again. Nothing on the host is removed: what a repair replaces is moved
// aside, unreadable pages stay where they are without being referred to.
//
// Use: check with a plan, repair_open, fs_close, and check again: what was out of reach below a
// damaged directory is found then, and wants another round. Single-threaded.
#ifndef WARDFS_FUSEFS_REPAIR_H
#define WARDFS_FUSEFS_REPAIR_H

#include "fusefs/plan.h"
#include "fusefs/salvage.h"

enum repair_act_kind {
	REPAIR_HOLES,       // pages of a file became holes
	REPAIR_EMPTIED,     // a file lost its header: all of it is holes, its old host file aside
	REPAIR_XATTRS,      // extended attributes are lost
	REPAIR_TABLE,       // a directory lost entries
	REPAIR_REBUILT,     // an object has its name again
	REPAIR_QUARANTINED, // it has a name in the quarantine
	REPAIR_ATTRIBUTES,
	REPAIR_LINK_COUNT,
	REPAIR_LINK,  // a name with several files has a file again
	REPAIR_TWICE, // the second of two entries was taken away
	REPAIR_ACTS,
};
const char *repair_word(enum repair_act_kind kind);
const char *repair_meaning(enum repair_act_kind kind);

struct repair_act {
	enum repair_act_kind kind;
	uint64_t number;
	const char *path;      // in the vault; NULL: not known
	uint64_t first, count; // pages
};

#define REPAIR_NAME_MAX 64
struct repair_params {
	struct check_plan *plan;
	const char *quarantine; // name of the directory that is made in the root when needed
	void (*did)(void *arg, const struct repair_act *act); // may be NULL
	void *arg;
};

struct repair {
	struct repair_params params;
	uint64_t acts;
	// private
	struct fs *fs;
	struct stray **by_number;
	struct numberset named, mended;
	struct linkset links;
	struct node *quarantine;
};

// Opens a writable vault, repairing it. On success it can be used (manual mode) and has to be
// closed with fs_close.
int repair_open(struct vault *v, struct repair *r, struct fs **ret) WARN_UNUSED;
void repair_clear(struct repair *r);

#define REPAIR_MARK_DAMAGED "user.wardfs.damaged"
#define REPAIR_MARK_RECOVERED "user.wardfs.recovered"

#endif
