// SPDX-License-Identifier: Apache-2.0
#include "fusefs/mountopts.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define DIGITS_MAX 9

enum kind {
	KIND_SET,    // field := value
	KIND_NUMBER, // name=N
	KIND_TEXT,   // name=TEXT
	KIND_IGNORE, // mount(8)'s own
};

struct row {
	const char *name; // with '=' for a value; a last '*' matches any rest
	enum kind kind;
	size_t field;
	int value;
	size_t cap;        // of a text
	unsigned min, max; // of a number
};

#define SET(name, field, value)                                                   \
	{                                                                         \
		name, KIND_SET, offsetof(struct mountopts, field), value, 0, 0, 0 \
	}
#define NUMBER(name, field, min, max)                                                \
	{                                                                            \
		name, KIND_NUMBER, offsetof(struct mountopts, field), 0, 0, min, max \
	}
#define TEXT(name, field)                                              \
	{                                                              \
		name, KIND_TEXT, offsetof(struct mountopts, field), 0, \
			sizeof(((struct mountopts *)0)->field), 0, 0   \
	}
#define IGNORE(name)                             \
	{                                        \
		name, KIND_IGNORE, 0, 0, 0, 0, 0 \
	}

static const struct row rows[] = {
	SET("ro", readonly, 1),
	SET("rw", readonly, 0),
	SET("allow_other", allow_other, 1),
	SET("allow_root", allow_root, 1),
	SET("default_permissions", default_permissions, 1),
	SET("suid", suid, 1),
	SET("nosuid", suid, 0),
	SET("dev", dev, 1),
	SET("nodev", dev, 0),
	SET("exec", exec, 1),
	SET("noexec", exec, 0),
	SET("atime", noatime, 0),
	SET("noatime", noatime, 1),
	SET("diratime", nodiratime, 0),
	SET("nodiratime", nodiratime, 1),
	SET("relatime", relatime, 1),
	SET("norelatime", relatime, 0),
	SET("strictatime", strictatime, 1),
	SET("nostrictatime", strictatime, 0),
	SET("lazytime", lazytime, 1),
	SET("nolazytime", lazytime, 0),
	SET("sync", sync, 1),
	SET("async", sync, 0),
	SET("dirsync", dirsync, 1),
	NUMBER("threads=", threads, 1, MOUNTOPTS_THREADS_MAX),
	NUMBER("max_background=", max_background, 1, 65535),
	SET("lock_errno=EKEYREVOKED", lock_errno, EKEYREVOKED),
	SET("lock_errno=ENOKEY", lock_errno, ENOKEY),
	SET("lock_errno=EACCES", lock_errno, EACCES),
	SET("lock_errno=EPERM", lock_errno, EPERM),
	SET("lock_errno=EIO", lock_errno, EIO),
	NUMBER("memory=", memory_mib, 16, 65535),
	SET("protect", protect, PROTECT_ALWAYS),
	SET("noprotect", protect, PROTECT_NEVER),
	TEXT("fsname=", fsname),
	TEXT("subtype=", subtype),
	IGNORE("defaults"),
	IGNORE("auto"),
	IGNORE("noauto"),
	IGNORE("user"),
	IGNORE("user=*"),
	IGNORE("nouser"),
	IGNORE("users"),
	IGNORE("owner"),
	IGNORE("group"),
	IGNORE("nofail"),
	IGNORE("_netdev"),
	IGNORE("comment=*"),
	IGNORE("x-*"),
	IGNORE("X-*"),
};

void mountopts_init(struct mountopts *o)
{
	memset(o, 0, sizeof(*o));
	o->exec = 1;
	o->default_permissions = 1;
	memcpy(o->subtype, "wardfs", sizeof("wardfs"));
}

static bool matches(const struct row *row, const char *word, size_t len)
{
	size_t n = strlen(row->name);

	if (row->name[n - 1] == '*')
		return len >= n - 1 && memcmp(row->name, word, n - 1) == 0;
	if (row->name[n - 1] == '=')
		return len >= n && memcmp(row->name, word, n) == 0;
	return len == n && memcmp(row->name, word, n) == 0;
}

static const struct row *find(const char *word, size_t len)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (matches(&rows[i], word, len))
			return &rows[i];
	return NULL;
}

// WERR_LIMIT: out of its bounds.
static int take_number(const struct row *row, const char *text, size_t len, unsigned *ret)
{
	unsigned n = 0;

	if (len == 0)
		return WERR_USAGE;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return WERR_USAGE;
		n = i < DIGITS_MAX ? n * 10 + (unsigned)(text[i] - '0') : UINT_MAX;
	}
	if (n < row->min || n > row->max)
		return WERR_LIMIT;
	*ret = n;
	return 0;
}

static int apply(struct mountopts *o, const char *word, size_t len)
{
	const struct row *row = find(word, len);
	size_t head;
	char *field;

	if (row == NULL)
		return WERR_USAGE;
	head = strlen(row->name);
	field = (char *)o + row->field;
	switch (row->kind) {
	case KIND_SET:
		*(int *)(void *)field = row->value;
		return 0;
	case KIND_NUMBER:
		return take_number(row, word + head, len - head, (unsigned *)(void *)field);
	case KIND_TEXT:
		if (len - head == 0 || len - head >= row->cap)
			return WERR_USAGE;
		memset(field, 0, row->cap);
		memcpy(field, word + head, len - head);
		return 0;
	case KIND_IGNORE:
		return 0;
	}
	return WERR_USAGE;
}

// The ways to keep access times exclude each other, as do the two kinds of sharing: the later word
// wins.
static void settle(struct mountopts *o, const char *word, size_t len)
{
	static const char *const atimes[] = {"noatime", "relatime", "strictatime"};
	int *fields[] = {&o->noatime, &o->relatime, &o->strictatime};

	for (size_t i = 0; i < 3; i++) {
		if (len != strlen(atimes[i]) || memcmp(word, atimes[i], len) != 0)
			continue;
		for (size_t k = 0; k < 3; k++)
			*fields[k] = k == i;
	}
	if (o->allow_other && o->allow_root) {
		o->allow_other = word[sizeof("allow_") - 1] == 'o';
		o->allow_root = !o->allow_other;
	}
}

int mountopts_parse(struct mountopts *o, const char *list)
{
	for (const char *word = list; *word != '\0';) {
		size_t len = strcspn(word, ",");

		int err = len > 0 ? apply(o, word, len) : 0;

		if (err) {
			const struct row *row = find(word, len);
			size_t n = len < sizeof(o->unknown) ? len : sizeof(o->unknown) - 1;

			memcpy(o->unknown, word, n);
			o->unknown[n] = '\0';
			o->min = row ? row->min : 0;
			o->max = row ? row->max : 0;
			return err;
		}
		if (len > 0)
			settle(o, word, len);
		word += len;
		if (*word == ',')
			word++;
	}
	return 0;
}
