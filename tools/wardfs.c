// SPDX-License-Identifier: Apache-2.0
// The wardfs command: hardens itself, then hands over to a verb.
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "crypto/argon.h"
#include "crypto/secret.h"
#include "crypto/werr.h"
#include "daemon/broker.h"
#include "daemon/channel.h"
#include "daemon/worker.h"
#include "tools/machine.h"
#include "tools/report.h"
#include "tools/verbs.h"

static const struct verb {
	const char *name;
	const char *full_name; // argv[0] of the verb, for its messages
	int (*run)(int argc, char **argv);
	const char *synopsis;
	const char *summary;
} verbs[] = {
	{"init", "wardfs init", verb_init, "[OPTION...] DIR",
	 "make a vault in a new or empty directory"},
	{"mount", "wardfs mount", verb_mount, "[-f] [--ro] [-o OPTS] [OPTION...] DIR MNT",
	 "mount the vault DIR at the folder MNT"},
	{"umount", "wardfs umount", verb_umount, "[-l] [--unprotect] MNT",
	 "unmount, and wait until everything is written"},
	{"passwd", "wardfs passwd", verb_passwd, "[OPTION...] DIR|MNT", "change the passphrase"},
	{"check", "wardfs check", verb_check, "[--repair] [--json] [OPTION...] DIR|MNT",
	 "verify a vault, and repair it"},
	{"accept", "wardfs accept", verb_accept, "[--yes] [OPTION...] DIR",
	 "take a vault that is older than this machine has seen it"},
	{"header", "wardfs header", verb_header,
	 "backup [OPTION...] FILE DIR|MNT\n  wardfs header restore [OPTION...] FILE DIR",
	 "keep a copy of what opens a vault, and put it back"},
	{"erase", "wardfs erase", verb_erase, "[--yes-destroy] DIR",
	 "destroy every key of a vault for good"},
	{"who-can-open", "wardfs who-can-open", verb_who, "[--json] [SECRET] DIR|MNT",
	 "say who can open a vault, and what removed secrets still can"},
	{"key", "wardfs key", verb_key, "list|add|remove|change|test|label [OPTION...] DIR|MNT ...",
	 "the secrets that open a vault"},
	{"rotate", "wardfs rotate", verb_rotate, "[OPTION...] DIR|MNT",
	 "give every object new keys, and drop the old ones"},
	{"policy", "wardfs policy", verb_policy, "[OPTION...] DIR",
	 "when a vault is locked by itself"},
	{"status", "wardfs status", verb_status, "[--watch] [--json]", "list what is mounted"},
	{"lock", "wardfs lock", verb_lock, "[--deadline T] MNT|--all",
	 "wipe the keys of a mounted vault; the mount stays"},
	{"unlock", "wardfs unlock", verb_unlock, "[OPTION...] MNT",
	 "go on with a mount that was locked"},
	{"freeze", "wardfs freeze", verb_freeze, "[--timeout T] MNT",
	 "hold the vault still, for a copy or snapshot of it while it is mounted"},
	{"thaw", "wardfs thaw", verb_thaw, "MNT", "end a freeze"},
	{"bench", "wardfs bench", verb_bench, "--kdf [OPTION...] [DIR]",
	 "what an attacker pays for a guess"},
	{"version", "wardfs version", verb_version, "",
	 "versions of program, format and libraries"},
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static void print_help(FILE *out)
{
	fputs("Usage: wardfs VERB [OPTION...] [ARGUMENT...]\n"
	      "Keeps a folder encrypted at rest.\n\n",
	      out);
	for (size_t i = 0; i < VERBS; i++)
		fprintf(out, "  wardfs %s%s%s\n        %s\n", verbs[i].name,
			verbs[i].synopsis[0] ? " " : "", verbs[i].synopsis, verbs[i].summary);
	fputs("\n'wardfs VERB --help' lists the options of a verb, 'wardfs --version' says what "
	      "this is;\nthe manual page is wardfs(1).\n",
	      out);
}

// No core dump and no debugger shows what this process knows; before any secret is read.
static int harden(void)
{
	const struct rlimit none = {0, 0};

	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) || setrlimit(RLIMIT_CORE, &none))
		return WERR_INTERNAL;
	return 0;
}

static const struct verb *find_verb(const char *name)
{
	if (!strcmp(name, "--version") || !strcmp(name, "-V"))
		name = "version";
	for (size_t i = 0; i < VERBS; i++) {
		if (!strcmp(verbs[i].name, name))
			return &verbs[i];
	}
	return NULL;
}

static int is_mount_helper(const char *name)
{
	const char *base = strrchr(name, '/');

	base = base ? base + 1 : name;
	return !strcmp(base, "mount.wardfs") || !strcmp(base, "mount.fuse.wardfs");
}

static int run(int argc, char **argv)
{
	if (argc >= 1 && is_mount_helper(argv[0]))
		return mount_helper(argc, argv);
	if (argc < 2) {
		print_help(stderr);
		return WERR_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		print_help(stdout);
		return 0;
	}
	const struct verb *verb = find_verb(argv[1]);
	if (!verb)
		return report_fail(WERR_USAGE, argv[1], "unknown verb; see 'wardfs --help'");

	static char name[32];
	snprintf(name, sizeof(name), "%s", verb->full_name);
	argv[1] = name;
	return verb->run(argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
	argp_err_exit_status = EXIT_WARD_USAGE;
	// First of all: OpenSSL must not have allocated anything before.
	int err = secret_init();

	if (!err)
		err = harden();
	argon_set_memory(machine_most_kib());
	if (err)
		return werr_exit(
			report_fail(err, NULL, "cannot protect memory: %s", werr_text(err)));
	// Started by ourselves, with a channel: not for people.
	if (argc >= 2 && !strcmp(argv[1], WORKER_ARGUMENT))
		worker_main(CHANNEL_FD);
	if (argc == 2 && !strcmp(argv[1], BROKER_ARGUMENT))
		return broker_main_private(CHANNEL_FD);
	err = run(argc, argv);
	if (fflush(stdout) && !err)
		err = report_fail(WERR_IO, "standard output", "cannot be written");
	return werr_exit(err);
}
