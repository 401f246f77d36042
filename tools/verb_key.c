// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>

#include "crypto/werr.h"
#include "tools/key.h"
#include "tools/report.h"
#include "tools/verbs.h"

static const struct sub {
	const char *name;
	const char *full_name;
	int (*run)(int argc, char **argv);
	const char *synopsis;
	const char *summary;
} subs[] = {
	{"list", "wardfs key list", key_list, "[--json] [SECRET] DIR|MNT", "list the keyslots"},
	{"add", "wardfs key add", key_add, "[--label TEXT] [OPTION...] DIR|MNT",
	 "add a secret that opens the vault"},
	{"remove", "wardfs key remove", key_remove, "[--yes] [SECRET] DIR|MNT SLOT", "remove one"},
	{"change", "wardfs key change", key_change, "[OPTION...] DIR|MNT [SLOT]",
	 "put another secret in the place of one"},
	{"test", "wardfs key test", key_test, "[SECRET] DIR|MNT",
	 "say which keyslot a secret opens"},
	{"label", "wardfs key label", key_label, "[SECRET] DIR|MNT TEXT",
	 "give the keyslot that a secret opens another label"},
};
#define SUBS (sizeof(subs) / sizeof(subs[0]))

static void print_help(FILE *out)
{
	fputs("Usage: wardfs key VERB [OPTION...] DIR|MNT [ARGUMENT...]\n"
	      "Who can open a vault: up to 32 secrets, each in a keyslot of its own.\n\n",
	      out);
	for (size_t i = 0; i < SUBS; i++)
		fprintf(out, "  %s %s\n        %s\n", subs[i].full_name, subs[i].synopsis,
			subs[i].summary);
	fputs("\n'wardfs key VERB --help' lists the options of a verb; the manual page is "
	      "wardfs-key(1).\n",
	      out);
}

int verb_key(int argc, char **argv)
{
	static char name[32];

	if (argc < 2)
		return report_fail(WERR_USAGE, NULL,
				   "argument missing: what to do with keys; see 'wardfs key "
				   "--help'");
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-?") || !strcmp(argv[1], "--usage")) {
		print_help(stdout);
		return 0;
	}
	for (size_t i = 0; i < SUBS; i++) {
		if (strcmp(subs[i].name, argv[1]) != 0)
			continue;
		snprintf(name, sizeof(name), "%s", subs[i].full_name);
		argv[1] = name;
		return subs[i].run(argc - 1, argv + 1);
	}
	return report_fail(WERR_USAGE, argv[1],
			   "unknown verb of 'wardfs key'; see 'wardfs key --help'");
}
