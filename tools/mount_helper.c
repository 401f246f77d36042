// SPDX-License-Identifier: Apache-2.0
// mount.wardfs and mount.fuse.wardfs: what mount(8) calls. Turned into 'wardfs mount'.
// mount.wardfs(8).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/report.h"
#include "tools/verbs.h"

#define ARGS_MAX 32

// Mount options that name where the secret comes from, and the option of 'wardfs mount' for each.
static const struct {
	const char *word, *option;
} sources[] = {
	{"passfile=", "--passfile="},
	{"keyfile=", "--keyfile="},
	{"keyfile-offset=", "--keyfile-offset="},
	{"keyfile-size=", "--keyfile-size="},
	{"extpass=", "--extpass="},
};

struct arguments {
	char *list[ARGS_MAX];
	int count;
};

static int add(struct arguments *a, const char *first, const char *second)
{
	char *text = NULL;

	if (a->count + 1 >= ARGS_MAX || asprintf(&text, "%s%s", first, second) < 0)
		return report_fail(WERR_LIMIT, NULL, "too many mount options");
	a->list[a->count++] = text;
	return 0;
}

// Adds one word of -o.
static int add_word(struct arguments *a, const char *word)
{
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		size_t n = strlen(sources[i].word);

		if (!strncmp(word, sources[i].word, n))
			return add(a, sources[i].option, word + n);
	}
	return 0;
}

static int is_source(const char *word)
{
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		if (!strncmp(word, sources[i].word, strlen(sources[i].word)))
			return 1;
	}
	return 0;
}

// The words that stay go into one -o, so that there can be any number.
static int add_options(struct arguments *a, const char *list)
{
	char *copy = strdup(list), *kept = calloc(1, strlen(list) + 2), *rest = copy, *word;
	int err = copy && kept ? 0 : WERR_NOMEM;

	while (!err && (word = strsep(&rest, ","))) {
		if (is_source(word)) {
			err = add_word(a, word);
		} else {
			if (kept[0])
				memcpy(kept + strlen(kept), ",", 2);
			memcpy(kept + strlen(kept), word, strlen(word) + 1);
		}
	}
	if (!err && kept[0])
		err = add(a, "-o", kept);
	free(copy);
	free(kept);
	return err;
}

// mount(8) calls: SPEC DIR [-sfnv] [-N namespace] [-o options] [-t type.subtype]
static int translate(int argc, char **argv, struct arguments *a, int *ret_fake)
{
	const char *operands[2] = {NULL, NULL};
	int count = 0, err = add(a, "wardfs mount", "");

	for (int i = 1; !err && i < argc; i++) {
		const char *word = argv[i];

		if (word[0] != '-' || !word[1]) {
			if (count == 2)
				return report_fail(WERR_USAGE, word, "one argument too many");
			operands[count++] = word;
		} else if (!strcmp(word, "-o") || !strcmp(word, "-t") || !strcmp(word, "-N")) {
			if (++i == argc)
				return report_fail(WERR_USAGE, word, "its value is missing");
			if (word[1] == 'o')
				err = add_options(a, argv[i]);
		} else if (strspn(word + 1, "sfnvrw") == strlen(word + 1)) {
			*ret_fake |= strchr(word, 'f') != NULL;
			if (strchr(word, 'r'))
				err = add(a, "--ro", "");
		} else {
			return report_fail(WERR_USAGE, word,
					   "unknown option; this is called by mount(8)");
		}
	}
	if (!err && count != 2)
		return report_fail(WERR_USAGE, NULL,
				   "a vault and a mount point are needed: mount -t wardfs DIR MNT");
	if (!err)
		err = add(a, "--", "");
	for (int i = 0; !err && i < 2; i++)
		err = add(a, operands[i], "");
	return err;
}

int mount_helper(int argc, char **argv)
{
	struct arguments a = {.count = 0};
	int fake = 0;
	int err = translate(argc, argv, &a, &fake);

	if (!err && !fake)
		err = verb_mount(a.count, a.list);
	for (int i = 0; i < a.count; i++)
		free(a.list[i]);
	return err;
}
