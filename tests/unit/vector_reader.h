// SPDX-License-Identifier: Apache-2.0
// Reads the line format of tests/vectors (see its README.md). A file is read whole; cases point
// into it.
#ifndef WARDFS_TESTS_UNIT_VECTOR_READER_H
#define WARDFS_TESTS_UNIT_VECTOR_READER_H

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VECTOR_LINES_MAX 64
#define VECTOR_CASES_MAX 128

struct vector_line {
	const char *field;
	const char *value;
};

struct vector_case {
	const char *name;
	const char *expect;
	struct vector_line lines[VECTOR_LINES_MAX]; // patch and cut lines too
	size_t lines_len;
};

struct vector_file {
	char *text;
	struct vector_case cases[VECTOR_CASES_MAX];
	size_t cases_len;
};

static inline const struct vector_case *vector_find(const struct vector_file *f, const char *name)
{
	for (size_t i = 0; i < f->cases_len; i++) {
		if (strcmp(f->cases[i].name, name) == 0)
			return &f->cases[i];
	}
	ck_abort_msg("no case '%s'", name);
	return NULL;
}

static inline void vector_like(const struct vector_file *f, struct vector_case *c, const char *name)
{
	const struct vector_case *from = vector_find(f, name);

	memcpy(c->lines, from->lines, sizeof(c->lines));
	c->lines_len = from->lines_len;
}

// Adds a line to the case; an integer or bytes named again replace what was there.
static inline void vector_add(struct vector_case *c, const char *field, const char *value)
{
	int change = strcmp(field, "patch") == 0 || strcmp(field, "cut") == 0;

	for (size_t i = 0; !change && i < c->lines_len; i++) {
		if (strcmp(c->lines[i].field, field) == 0) {
			c->lines[i].value = value;
			return;
		}
	}
	ck_assert_uint_lt(c->lines_len, VECTOR_LINES_MAX);
	c->lines[c->lines_len++] = (struct vector_line){field, value};
}

static inline void vector_line(struct vector_file *f, char *line)
{
	char *value = strchr(line, ' ');

	if (line[0] == '\0' || line[0] == '#')
		return;
	ck_assert_ptr_nonnull(value);
	*value++ = '\0';
	if (strcmp(line, "case") == 0) {
		ck_assert_uint_lt(f->cases_len, VECTOR_CASES_MAX);
		f->cases[f->cases_len++].name = value;
		return;
	}
	ck_assert_uint_gt(f->cases_len, 0);
	struct vector_case *c = &f->cases[f->cases_len - 1];
	if (strcmp(line, "expect") == 0)
		c->expect = value;
	else if (strcmp(line, "like") == 0)
		vector_like(f, c, value);
	else
		vector_add(c, line, value);
}

static inline struct vector_file *vector_load(const char *name)
{
	const char *src = getenv("WARDFS_SRC");
	struct vector_file *f = calloc(1, sizeof(*f));
	size_t len = 0;
	char path[4096];

	(void)snprintf(path, sizeof(path), "%s/tests/vectors/%s.txt", src ? src : ".", name);
	FILE *in = fopen(path, "r");
	ck_assert_msg(in != NULL, "%s", path);
	ck_assert_ptr_nonnull(f);
	ck_assert(getdelim(&f->text, &len, '\0', in) > 0);
	ck_assert_int_eq(fclose(in), 0);
	for (char *line = f->text, *next; line != NULL; line = next) {
		next = strchr(line, '\n');
		if (next != NULL)
			*next++ = '\0';
		vector_line(f, line);
	}
	return f;
}

static inline void vector_free(struct vector_file *f)
{
	free(f->text);
	free(f);
}

static inline const char *vector_value(const struct vector_case *c, const char *field)
{
	for (size_t i = 0; i < c->lines_len; i++) {
		if (strcmp(c->lines[i].field, field) == 0)
			return c->lines[i].value;
	}
	return NULL;
}

static inline uint64_t vector_int(const struct vector_case *c, const char *field)
{
	const char *value = vector_value(c, field);

	return value != NULL ? strtoull(value, NULL, 10) : 0;
}

// Decodes words of hexadecimal digits, HH*N and - into out[cap].
static inline size_t vector_hex(const char *p, uint8_t *out, size_t cap)
{
	size_t len = 0;
	unsigned byte;
	size_t times;
	int used;

	for (; *p != '\0'; p += used) {
		if (*p == ' ' || *p == '-') {
			used = 1;
			continue;
		}
		times = 1;
		ck_assert_int_eq(sscanf(p, "%2x%n", &byte, &used), 1);
		ck_assert_int_eq(used, 2);
		if (p[2] == '*') {
			char *end;
			times = strtoull(p + 3, &end, 10);
			used = (int)(end - p);
		}
		ck_assert_uint_le(times, cap - len);
		memset(out + len, (int)byte, times);
		len += times;
	}
	return len;
}

// The bytes of a field with its patches and cuts; 0 bytes when it is not there.
static inline size_t vector_bytes(const struct vector_case *c, const char *field, void *buf,
				  size_t cap)
{
	const char *value = vector_value(c, field);
	size_t name_len = strlen(field);
	uint8_t *out = buf;
	size_t len = value != NULL ? vector_hex(value, out, cap) : 0;

	for (size_t i = 0; i < c->lines_len; i++) {
		const char *change = c->lines[i].value;
		char *rest;
		int cut = strcmp(c->lines[i].field, "cut") == 0;

		if ((!cut && strcmp(c->lines[i].field, "patch") != 0) ||
		    strncmp(change, field, name_len) != 0 || change[name_len] != ' ')
			continue;
		size_t at = strtoull(change + name_len, &rest, 10);
		ck_assert_uint_le(at, len);
		if (cut)
			len = at;
		else
			ck_assert_uint_gt(vector_hex(rest, out + at, len - at), 0);
	}
	return len;
}

#endif
