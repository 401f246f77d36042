// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/control_client.h"
#include "daemon/mountpoint.h"
#include "daemon/policy.h"
#include "daemon/varlink.h"
#include "tools/options.h"
#include "tools/report.h"
#include "tools/verbs.h"
#include "tools/watch.h"

struct request {
	int json, watch;
};

enum { KEY_JSON = 1, KEY_WATCH };

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct request *r = state->input;

	if (key == KEY_JSON) {
		r->json = 1;
		return 0;
	}
	if (key == KEY_WATCH) {
		r->watch = 1;
		return 0;
	}
	return options_operands(key, arg, state, NULL, 0, "");
}

static const struct argp_option table[] = {
	{"json", KEY_JSON, NULL, 0, "print one JSON object; with --watch, one on each line", 0},
	{"watch", KEY_WATCH, NULL, 0, "print a line for every change, until it is interrupted", 0},
	{0},
};
static const struct argp argp = {
	.options = table,
	.parser = parse,
	.doc = "Lists the mounted vaults.",
};

static int is_listed(const json_t *mounts, const char *device)
{
	size_t i;
	json_t *state;

	json_array_foreach(mounts, i, state)
	{
		const char *d = json_string_value(json_object_get(state, "device"));

		if (d && !strcmp(d, device))
			return 1;
	}
	return 0;
}

// Mounts of others, whose workers do not talk to us, and those whose worker was killed.
static int add_unknown(void *arg, const struct mountpoint *m)
{
	json_t *mounts = arg;

	if (strcmp(m->fstype, MOUNTPOINT_FSTYPE) != 0 || is_listed(mounts, m->device))
		return 0;
	if (geteuid() != 0 && m->user_id != (int64_t)geteuid())
		return 0;
	json_t *j = json_pack("{ss so so ss sI sb}", "state", "unknown", "mountpoint",
			      varlink_path(m->path), "vault", varlink_path(m->source), "device",
			      m->device, "user_id", (json_int_t)m->user_id, "mounted_readonly",
			      m->readonly);
	if (j)
		json_array_append_new(mounts, j);
	return 0;
}

static void print_text(const char *what, const char *s)
{
	char shown[4 * PATH_MAX];

	report_escape(s ? s : "?", shown, sizeof(shown));
	printf("%s%s\n", what, shown);
}

static void print_path(const char *what, const json_t *path)
{
	char *bytes = varlink_path_of(path);

	print_text(what, bytes ? bytes : json_string_value(path));
	free(bytes);
}

static json_int_t number(const json_t *state, const char *key)
{
	return json_integer_value(json_object_get(state, key));
}

// When the vault was closed cleanly the last time, and whether an older state would be noticed.
static void print_anchor(const json_t *state)
{
	const char *anchor = json_string_value(json_object_get(state, "anchor"));
	const char *by = json_string_value(json_object_get(state, "last_closed_by"));
	const time_t closed = (time_t)number(state, "last_closed_s");
	char when[64], shown[512];
	struct tm tm;

	if (by && closed && gmtime_r(&closed, &tm) &&
	    strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S UTC", &tm)) {
		report_escape(by, shown, sizeof(shown));
		printf("  closed:   last closed cleanly on %s by %s\n", when, shown);
	}
	if (anchor && strcmp(anchor, "kept") != 0)
		print_text("  anchor:   an older state would not be noticed: ", anchor);
}

static void print_findings(const json_t *findings)
{
	static const char *const kinds[] = {"changed", "older", "missing", "malformed"};
	const char *between = "";

	fputs("  refused:  ", stdout);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const json_int_t n = number(findings, kinds[i]);

		if (n)
			printf("%s%lld %s", between, (long long)n, kinds[i]);
		between = n ? ", " : between;
	}
	putchar('\n');
}

// What locks it by itself, and what was to and cannot.
static void print_policy(const json_t *state)
{
	const json_t *policy = json_object_get(state, "policy");
	const json_t *without = json_object_get(state, "without_effect"), *name;
	const json_t *next = json_object_get(state, "next_lock_s");
	char line[400];
	size_t i;

	policy_line(policy, line, sizeof(line));
	if (line[0])
		printf("  locks at: %s\n", line);
	if (next)
		printf("  next:     in %lld s at the latest\n",
		       (long long)json_integer_value(next));
	if (!json_array_size(without))
		return;
	fputs("  nobody tells of, without effect:", stdout);
	json_array_foreach(without, i, name)
	{
		printf("%s %s", i ? "," : "", json_string_value(name));
	}
	putchar('\n');
}

// Nothing while none was begun since the mount.
static void print_rotation(const json_t *state)
{
	const json_t *rotation = json_object_get(state, "rotation");
	const char *word = json_string_value(json_object_get(rotation, "state"));
	const char *level = json_string_value(json_object_get(rotation, "level"));
	const char *why = json_string_value(json_object_get(rotation, "error"));
	const json_int_t total = number(rotation, "bytes_total");
	const json_int_t left = number(rotation, "left_s");

	if (!word || !strcmp(word, "idle"))
		return;
	printf("  rotation: %s, of the %s%s", word, level ?: "?",
	       json_is_true(json_object_get(rotation, "subtree")) ? " of a part" : "");
	if (strcmp(word, "ended") != 0 && total > 0)
		printf(", %lld %%, %.*f MB/s",
		       (long long)(number(rotation, "bytes_done") * 100 / total),
		       number(rotation, "rate") < 100000 ? 3 : 1,
		       (double)number(rotation, "rate") / 1e6);
	if (json_object_get(rotation, "left_s") && !strcmp(word, "running"))
		printf(", %lld:%02lld left", (long long)left / 60, (long long)left % 60);
	if (number(rotation, "failed"))
		printf(", %lld objects cannot be read", (long long)number(rotation, "failed"));
	printf("%s%s\n", why ? ": " : "", why ?: "");
}

static void print_mount(const json_t *state)
{
	const char *reason = json_string_value(json_object_get(state, "readonly_reason"));
	json_t *pid = json_object_get(state, "pid");
	json_int_t refusals = number(state, "refusals");

	print_path("", json_object_get(state, "mountpoint"));
	print_path("  vault:    ", json_object_get(state, "vault"));
	printf("  state:    %s, %s\n", json_string_value(json_object_get(state, "state")) ?: "?",
	       json_is_true(json_object_get(state, "mounted_readonly")) ? "read-only"
									: "read-write");
	if (reason && *reason)
		print_text("  trouble:  made itself read-only: ", reason);
	print_policy(state);
	if (!pid)
		return;
	printf("  worker:   process %lld, for %lld min\n", (long long)json_integer_value(pid),
	       (long long)(time(NULL) - number(state, "since")) / 60);
	printf("  journal:  %lld of %lld KiB, %lld checkpoints\n",
	       (long long)number(state, "journal_used_bytes") / 1024,
	       (long long)number(state, "journal_capacity_bytes") / 1024,
	       (long long)number(state, "checkpoints"));
	print_rotation(state);
	if (json_is_true(json_object_get(state, "frozen")))
		puts("  frozen:   changes wait until 'wardfs thaw' or the time limit");
	print_anchor(state);
	printf("  memory:   %lld KiB metadata, %lld KiB data not yet in place\n",
	       (long long)number(state, "metadata_bytes") / 1024,
	       (long long)number(state, "overlay_bytes") / 1024);
	if (refusals)
		print_findings(json_object_get(state, "findings"));
	if (refusals)
		printf("  REFUSED:  %lld times something changed outside wardfs (see the log; "
		       "'wardfs "
		       "check --names' lists the files)\n",
		       (long long)refusals);
}

static int print_json(json_t *mounts)
{
	json_t *all = json_pack("{sO}", "mounts", mounts);

	if (!all || json_dumpf(all, stdout, JSON_INDENT(2))) {
		json_decref(all);
		return report_fail(WERR_IO, "standard output", "cannot be written");
	}
	putchar('\n');
	json_decref(all);
	return 0;
}

int verb_status(int argc, char **argv)
{
	struct request r = {.json = 0};
	int err = 0;
	size_t i;
	json_t *state;

	options_parse(&argp, argc, argv, &r);
	if (r.watch)
		return watch_mounts(r.json);
	json_t *mounts = NULL;
	if (control_status(&mounts))
		return report_fail(WERR_NOMEM, NULL, "out of memory");
	if (mountpoint_each(add_unknown, mounts))
		report_warn(NULL, "/proc/self/mountinfo cannot be read; the list may be short");
	if (r.json) {
		err = print_json(mounts);
	} else if (json_array_size(mounts) == 0) {
		puts("nothing is mounted");
	} else {
		json_array_foreach(mounts, i, state)
		{
			print_mount(state);
		}
	}
	json_decref(mounts);
	return err;
}
