// SPDX-License-Identifier: Apache-2.0
// What the programs print when something is wrong: one line each, on standard error.
#ifndef WARDFS_TOOLS_REPORT_H
#define WARDFS_TOOLS_REPORT_H

#include <stddef.h>

#include "crypto/werr.h"

// Prints "wardfs: SUBJECT: what was wrong; what to do next" (subject may be NULL) as exactly one
// line: control bytes, which may stand in a path, are shown as \ooo. Returns code.
int report_fail(int code, const char *subject, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

// The same for what does not end the program.
void report_warn(const char *subject, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// What a code means for a vault directory that is to be opened, with what to do next.
int report_vault(int code, const char *dir);

// Copies text to out (cap > 4), what is not printable (crypto/text.h) as \ooo, cut where it does
// not fit.
void report_escape(const char *text, char *out, size_t cap);

// What goes along with the next "wrong secret" of report_vault: the first such text counts.
void report_hint(const char *text);

#endif
