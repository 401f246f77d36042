// SPDX-License-Identifier: Apache-2.0
// What the model test did lately, and the end of the test when the engine and the model differ. Not
// thread-safe.
#ifndef WARDFS_TESTS_TRACE_H
#define WARDFS_TESTS_TRACE_H

#include <stddef.h>
#include <stdint.h>

// Notes one operation (printf form). Kept for the operations since trace_reset().
void trace_op(const char *format, ...) __attribute__((format(printf, 1, 2)));
// Adds to the note made last.
void trace_more(const char *format, ...) __attribute__((format(printf, 1, 2)));
void trace_reset(void);
// Prints each operation at once as well.
void trace_live(int on);
// The line that repeats this run, printed with a failure.
void trace_command(const char *line);
// A difference between engine and model: prints it, the operations noted (the last ones) and ends
// the program with status 1.
void trace_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
#define TRACE_CHECK(condition, ...)              \
	do {                                     \
		if (!(condition))                \
			trace_fail(__VA_ARGS__); \
	} while (0)

// Memory or the end of the program.
void *trace_calloc(size_t n, size_t size);
void *trace_realloc(void *p, size_t size);
char *trace_strdup(const char *s);
// A file name in a printable form (one of a few static buffers).
const char *trace_name(const char *name);

#endif
