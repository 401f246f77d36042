// SPDX-License-Identifier: Apache-2.0
// 'wardfs check --repair': rounds of looking and mending, the question before something is given
// up, and the report, which goes into the vault itself.
#ifndef WARDFS_TOOLS_CHECK_REPAIR_H
#define WARDFS_TOOLS_CHECK_REPAIR_H

#include "fusefs/plan.h"
#include "fusefs/repair.h"
#include "fusefs/vault.h"
#include "tools/check_print.h"

struct check_repair {
	struct check_print *print;
	char quarantine[REPAIR_NAME_MAX];
	char *report; // text with names: never outside the vault, but where the user wants it
	size_t report_len, report_cap;
	uint64_t acts;
	uint64_t listed;
	int in_vault; // the report was written there
};

void check_repair_init(struct check_repair *c, struct check_print *print);
void check_repair_clear(struct check_repair *c);
// Whether repairing these findings gives something up; asks on the terminal unless `yes`. 0,
// WERR_DAMAGED (no; said so), WERR_INTERRUPTED.
int check_repair_ask(const char *dir, const struct check_totals *t, int yes) WARN_UNUSED;
// One round.
int check_repair_round(struct check_repair *c, struct vault *v,
		       struct check_plan *plan) WARN_UNUSED;
// The report into the vault, below the quarantine directory; file (may be NULL) gets a copy.
int check_repair_report(struct check_repair *c, struct vault *v, const char *file) WARN_UNUSED;

#endif
