// SPDX-License-Identifier: Apache-2.0
#include "tests/model/trace.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINES 4096
#define LINE_BYTES 200
#define SHOWN 120

static char lines[LINES][LINE_BYTES];
static uint64_t count;
static int live;
static char command[256];

static void append(const char *format, va_list args)
{
	char *line = lines[(count - 1) % LINES];
	size_t used = strlen(line);

	(void)vsnprintf(line + used, LINE_BYTES - used, format, args);
	if (live) {
		printf("%s%s", used ? "" : "\n", line + used);
		(void)fflush(stdout);
	}
}

void trace_op(const char *format, ...)
{
	va_list args;

	lines[count % LINES][0] = '\0';
	count++;
	va_start(args, format);
	append(format, args);
	va_end(args);
}

void trace_more(const char *format, ...)
{
	va_list args;

	if (count == 0)
		return;
	va_start(args, format);
	append(format, args);
	va_end(args);
}

void trace_reset(void)
{
	count = 0;
}

void trace_live(int on)
{
	live = on;
}

void trace_command(const char *line)
{
	(void)snprintf(command, sizeof(command), "%s", line);
}

void trace_fail(const char *format, ...)
{
	va_list args;
	uint64_t first = count > SHOWN ? count - SHOWN : 0;

	(void)fflush(stdout);
	for (uint64_t i = first; !live && i < count; i++)
		fprintf(stderr, "  %s\n", lines[i % LINES]);
	fputs("\nDIFFERENCE: ", stderr);
	va_start(args, format);
	(void)vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\nagain with: %s\n", command);
	exit(EXIT_FAILURE);
}

void *trace_calloc(size_t n, size_t size)
{
	void *p = calloc(n, size);

	if (!p)
		trace_fail("out of memory");
	return p;
}

void *trace_realloc(void *p, size_t size)
{
	void *q = realloc(p, size);

	if (!q)
		trace_fail("out of memory");
	return q;
}

char *trace_strdup(const char *s)
{
	size_t n = strlen(s) + 1;

	return memcpy(trace_calloc(1, n), s, n);
}

const char *trace_name(const char *name)
{
	static char buffers[4][64];
	static unsigned next;
	char *out = buffers[next++ % 4];
	size_t used = 0, len = strlen(name);

	for (size_t i = 0; i < len && used < 24; i++) {
		unsigned char c = (unsigned char)name[i];

		used += (size_t)snprintf(out + used, 8, c > 32 && c < 127 ? "%c" : "\\x%02x", c);
	}
	if (len > 20)
		(void)snprintf(out + used, sizeof(buffers[0]) - used, "..(%zu)", len);
	return out;
}
