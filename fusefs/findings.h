// SPDX-License-Identifier: Apache-2.0
// Integrity findings: what was refused, counted by kind, and one log line for each that is new.
// Whoever stores a vault may make as many as he likes, so the log is limited: a finding that comes
// again is logged at its 10th, 100th … time, and not more than FINDINGS_LINES lines in a minute.
// Thread-safe; its lock is a leaf.
#ifndef WARDFS_FUSEFS_FINDINGS_H
#define WARDFS_FUSEFS_FINDINGS_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/werr.h"

enum finding_kind {
	FINDING_CHANGED,   // does not authenticate
	FINDING_OLDER,     // authentic, but of an earlier state
	FINDING_MISSING,   // not there, or something else in its place
	FINDING_MALFORMED, // authentic, but not in the format
	FINDING_KINDS
};

#define FINDINGS_LINES 100u
#define FINDINGS_KEPT 1024u

struct findings;

struct findings *findings_new(void); // NULL: no memory
void findings_free(struct findings *f);
const char *findings_word(enum finding_kind kind); // "changed" …

struct finding {
	uint64_t number;  // of the object
	int code;         // werr
	const char *what; // a literal: its address tells findings apart
	const char *more; // numbers and the like; may be ""
	const char *name; // path in the vault; "" where it is not to be told or not known
};
// Counts it. Returns the length of the line that is to be logged now (0: none), in line.
size_t findings_note(struct findings *f, const struct finding *found, char *line, size_t cap);
void findings_count(struct findings *f, uint64_t ret[static FINDING_KINDS]);

#endif
