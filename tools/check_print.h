// SPDX-License-Identifier: Apache-2.0
// What 'wardfs check' says: findings as lines or as one JSON object, and how far it is. Plaintext
// names only where they were asked for, or where standard output is a terminal.
#ifndef WARDFS_TOOLS_CHECK_PRINT_H
#define WARDFS_TOOLS_CHECK_PRINT_H

#include <stdint.h>

#include "fusefs/check.h"

struct check_print {
	int json;
	int names;
	int progress_json; // lines on standard error; else a bar, if that is a terminal
	uint64_t started_ms;
	uint64_t findings;
	int bar;       // one is on the screen
	int announced; // the JSON object was begun
};

void check_print_begin(struct check_print *p, const char *dir, int repair);
// The found and progress functions of struct check_params; arg: struct check_print.
void check_print_finding(void *arg, const struct check_finding *f);
void check_print_progress(void *arg, const struct check_progress *progress);
// Takes the bar off the screen.
void check_print_clear(struct check_print *p);
// The totals and the verdict; ends the JSON object. result: "clean", "damaged" …
void check_print_end(struct check_print *p, const struct check_totals *t, const char *result,
		     uint64_t repaired, const char *quarantine);
// After an end that was not clean, and not mended: what a person can do now.
void check_print_next(const struct check_print *p, const struct check_totals *t, int mounted);

#endif
