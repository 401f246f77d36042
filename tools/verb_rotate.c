// SPDX-License-Identifier: Apache-2.0
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "crypto/vault_header.h"
#include "daemon/control_client.h"
#include "tools/edit.h"
#include "tools/report.h"
#include "tools/rotate.h"
#include "tools/verbs.h"

enum {
	KEY_CONTENTS = 1,
	KEY_LEAK,
	KEY_KEEP,
	KEY_PATH,
	KEY_RATE,
	KEY_PROGRESS,
	KEY_PAUSE,
	KEY_RESUME,
	KEY_BACKGROUND,
	KEY_YES,
};

// "10M": bytes a second.
static uint64_t parse_rate(struct argp_state *state, const char *text)
{
	static const char suffixes[] = "KMG";
	char *end = NULL;

	errno = 0;
	unsigned long long n = isdigit((unsigned char)*text) ? strtoull(text, &end, 10) : 0;
	const char *s = end && *end ? strchr(suffixes, toupper((unsigned char)*end)) : NULL;
	unsigned shift = s ? 10 * (unsigned)(s - suffixes + 1) : 0;
	if (!end || errno || n == 0 || n >> 40 || (*end && (!s || end[1])))
		argp_failure(state, EXIT_WARD_USAGE, 0,
			     "--max-rate: '%s' is no rate; write bytes a second, with K, M or G",
			     text);
	const uint64_t rate = (uint64_t)n << shift;
	if (rate >> shift != n || !vault_rate_valid(rate))
		argp_failure(state, EXIT_WARD_USAGE, 0,
			     "--max-rate: '%s' is out of bounds; write at least 4K", text);
	return rate;
}

static error_t parse_more(int key, char *arg, struct argp_state *state)
{
	struct rotate_request *r = state->input;
	unsigned slot;

	switch (key) {
	case KEY_PATH:
		r->path = arg;
		return 0;
	case KEY_RATE:
		r->max_rate = parse_rate(state, arg);
		r->has_rate = 1;
		return 0;
	case KEY_KEEP:
		if (edit_parse_slot(arg, &slot))
			exit(EXIT_WARD_USAGE);
		r->keep |= 1u << slot;
		return 0;
	case KEY_PROGRESS:
		if (strcmp(arg, "json") != 0)
			argp_failure(state, EXIT_WARD_USAGE, 0,
				     "--progress: '%s' is no form of progress; it can be 'json'",
				     arg);
		r->progress_json = 1;
		return 0;
	default:
		return options_operands(key, arg, state, &r->target, 1, "DIR|MNT");
	}
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct rotate_request *r = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &r->source;
		state->child_inputs[1] = &r->fresh;
		state->child_inputs[2] = &r->kdf;
		return 0;
	case KEY_CONTENTS:
		r->contents = 1;
		return 0;
	case KEY_LEAK:
		r->after_leak = r->contents = 1;
		return 0;
	case KEY_PAUSE:
		r->pause = 1;
		return 0;
	case KEY_RESUME:
		r->resume = 1;
		return 0;
	case KEY_BACKGROUND:
		r->background = 1;
		return 0;
	case KEY_YES:
		r->yes = 1;
		return 0;
	default:
		return parse_more(key, arg, state);
	}
}

static const struct argp_option table[] = {
	{"contents", KEY_CONTENTS, NULL, 0, "seal every page again, not only the keys", 0},
	{"path", KEY_PATH, "PATH", 0, "with --contents: only what is at PATH inside the vault", 0},
	{"after-leak", KEY_LEAK, NULL, 0,
	 "remove all keyslots but those that are to stay, then --contents", 0},
	{"keep", KEY_KEEP, "SLOT", 0, "with --after-leak: this keyslot stays, too", 0},
	{"yes", KEY_YES, NULL, 0, "with --after-leak: ask nothing", 0},
	{"max-rate", KEY_RATE, "RATE", 0, "read and write at most so many bytes a second (10M)", 0},
	{"progress", KEY_PROGRESS, "json", 0, "say how far it is, in lines on standard error", 0},
	{"background", KEY_BACKGROUND, NULL, 0, "of a mounted vault: do not wait for the end", 0},
	{"pause", KEY_PAUSE, NULL, 0, "of a mounted vault: stop for now", 0},
	{"resume", KEY_RESUME, NULL, 0, "of a mounted vault: go on", 0},
	{0},
};
static const struct argp_child children[] = {
	{&secrets_options, 0, NULL, 0},
	{&secrets_new_passphrase_options, 0, NULL, 0},
	{&options_kdf_argp, 0, NULL, 0},
	{0},
};
static const struct argp argp = {
	.options = table,
	.parser = parse,
	.args_doc = "DIR|MNT",
	.doc = "Gives every object of a vault new keys under a new epoch, and with --contents "
	       "seals "
	       "every page again; then the keys of older epochs go. MNT may be a file or folder "
	       "inside a mounted vault with --contents. See wardfs-rotate(1).",
	.children = children,
};

static int is_vault(const char *dir)
{
	char path[PATH_MAX];
	struct stat st;
	int n = snprintf(path, sizeof(path), "%s/%s", dir, VAULT_FILE);

	return n > 0 && (size_t)n < sizeof(path) && !lstat(path, &st);
}

// The mount point at or above a path; *ret_inside: what is below it, or "".
static int find_mount(const char *target, char mnt[static PATH_MAX], const char **ret_inside,
		      char full[static PATH_MAX])
{
	struct control_client *c;

	if (!realpath(target, full))
		return werr_from_errno(errno);
	snprintf(mnt, PATH_MAX, "%s", full);
	for (;;) {
		int err = control_connect(mnt, &c);

		if (!err) {
			control_close(c);
			*ret_inside = full + strlen(mnt);
			return 0;
		}
		char *slash = strrchr(mnt, '/');
		if (err != WERR_NOTFOUND || !slash || slash == mnt)
			return err;
		*slash = 0;
	}
}

static int run_mounted(struct rotate_request *r)
{
	char mnt[PATH_MAX], full[PATH_MAX];
	const char *inside;
	int err = find_mount(r->target, mnt, &inside, full);

	if (err == WERR_NOTFOUND)
		return report_fail(err, r->target,
				   "neither a vault nor inside a mounted one; see 'wardfs status'");
	if (err)
		return report_fail(err, r->target, "%s", werr_text(err));
	if (*inside && !r->path) {
		if (!r->contents)
			return report_fail(WERR_USAGE, r->target,
					   "only --contents can be aimed at a part of a vault; "
					   "name the mount point %s",
					   mnt);
		r->path = inside;
	}
	return rotate_mounted(r, mnt);
}

static int run(struct rotate_request *r)
{
	int err = is_vault(r->target) ? rotate_offline(r) : run_mounted(r);

	if (err && r->is_rekeyed)
		report_warn(r->target,
			    "the keyslots are changed already and stay so; the rotation is still "
			    "to come: 'wardfs rotate --contents %s'",
			    r->target);
	return err;
}

int verb_rotate(int argc, char **argv)
{
	struct rotate_request r = {.source = SECRETS_SOURCE_INIT, .fresh = SECRETS_NEW_INIT};

	options_parse(&argp, argc, argv, &r);
	if (r.pause && r.resume)
		return report_fail(WERR_USAGE, "--pause", "does not go with --resume; choose one");
	if (r.path && !r.contents)
		return report_fail(WERR_USAGE, "--path", "needs --contents");
	if (r.after_leak && r.path)
		return report_fail(WERR_USAGE, "--after-leak",
				   "means the whole vault: leave --path out");
	if ((r.keep || r.yes) && !r.after_leak)
		return report_fail(WERR_USAGE, "--keep", "and --yes need --after-leak");
	if (is_vault(r.target) && (r.pause || r.resume || r.background))
		return report_fail(WERR_USAGE, r.target,
				   "is a vault directory; --pause, --resume and --background need "
				   "the mount point (a running 'wardfs rotate' pauses on SIGUSR1 "
				   "and goes on on SIGUSR2)");
	return run(&r);
}
