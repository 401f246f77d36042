// SPDX-License-Identifier: Apache-2.0
// Writes the line format of tests/vectors (see its README.md), one file after the other. For the
// programs that made them.
#ifndef WARDFS_TESTS_VECTORS_WRITING_H
#define WARDFS_TESTS_VECTORS_WRITING_H

#include <inttypes.h>
#include <stdio.h>

#include "tests/unit/fixture.h"
#include "tests/vectors/fields.h"

#define RUN_MIN 8

static FILE *out;

static inline void begin(const char *dir, const char *file)
{
	char path[512];

	if (out != NULL)
		fixture_need(fclose(out) == 0);
	(void)snprintf(path, sizeof(path), "%s/%s", dir, file);
	out = fopen(path, "w");
	fixture_need(out != NULL);
}

static inline void start_case(const char *name)
{
	(void)fprintf(out, "\ncase %s\n", name);
}

static inline void put_int(const char *field, uint64_t v)
{
	(void)fprintf(out, "%s %" PRIu64 "\n", field, v);
}

static inline size_t run_length(const uint8_t *p, size_t len)
{
	size_t n = 1;

	while (n < len && p[n] == p[0])
		n++;
	return n;
}

static inline void put_hex(const uint8_t *p, size_t len)
{
	int glued = 0;

	for (size_t i = 0; i < len;) {
		size_t n = run_length(p + i, len - i);
		if (n >= RUN_MIN) {
			(void)fprintf(out, " %02x*%zu", p[i], n);
			glued = 0;
			i += n;
		} else {
			(void)fprintf(out, "%s%02x", glued ? "" : " ", p[i]);
			glued = 1;
			i++;
		}
	}
	(void)fputs(len == 0 ? " -\n" : "\n", out);
}

static inline void put_bytes(const char *field, const void *p, size_t len)
{
	(void)fputs(field, out);
	put_hex(p, len);
}

static inline void put_fields(const struct field *fields, const void *structure)
{
	for (; fields->name != NULL; fields++) {
		if (field_get(structure, fields) != 0)
			put_int(fields->name, field_get(structure, fields));
	}
}

static inline void expect(const char *what)
{
	(void)fprintf(out, "expect %s\n", what);
}

// A refusal: the case `like` with bytes of one field overwritten.
static inline void refuse(const char *like, const char *why, const char *field, size_t at,
			  const char *hex, const char *what)
{
	(void)fprintf(out, "\ncase %s, %s\nlike %s\npatch %s %zu %s\nexpect %s\n", like, why, like,
		      field, at, hex, what);
}

static inline void refuse_cut(const char *like, const char *field, size_t length, const char *what)
{
	(void)fprintf(out, "\ncase %s, cut to %zu\nlike %s\ncut %s %zu\nexpect %s\n", like, length,
		      like, field, length, what);
}

static inline void refuse_int(const char *like, const char *field, uint64_t v, const char *what)
{
	(void)fprintf(out, "\ncase %s, other %s\nlike %s\n%s %" PRIu64 "\nexpect %s\n", like, field,
		      like, field, v, what);
}

#endif
