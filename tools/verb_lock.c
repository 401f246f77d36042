// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/varlink.h"
#include "tools/mounted.h"
#include "tools/options.h"
#include "tools/report.h"
#include "tools/verbs.h"

struct request {
	int all;
	uint64_t deadline_s;
	const char *mnt;
};

enum { KEY_ALL = 1, KEY_DEADLINE };

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct request *r = state->input;

	switch (key) {
	case KEY_ALL:
		r->all = 1;
		return 0;
	case KEY_DEADLINE:
		r->deadline_s = mounted_seconds(state, "deadline", arg, 1, 600);
		return 0;
	default:
		return options_operands(key, arg, state, &r->mnt, r->all ? 0 : 1, "MNT, or --all");
	}
}

static const struct argp_option table[] = {
	{"all", KEY_ALL, NULL, 0, "every vault that this user may lock", 0},
	{"deadline", KEY_DEADLINE, "T", 0,
	 "how long it may take (1s to 10m; default 10s); then the keys are wiped all the same, and "
	 "the mount is dead",
	 0},
	{0},
};
static const struct argp argp = {
	.options = table,
	.parser = parse,
	.args_doc = "MNT\n--all",
	.doc = "Wipes the keys of a mounted vault, and everything of it that is in memory. The "
	       "mount stays and answers with an error until 'wardfs unlock'.",
};

static int report_lock(int err, struct control_client *c, const char *mnt)
{
	if (err == WERR_BUSY)
		return report_fail(err, mnt,
				   "is not in a state in which it can be locked; see 'wardfs "
				   "status'");
	if (control_detail_of(c)[0])
		return report_fail(err, mnt, "%s", control_detail_of(c));
	return report_fail(err, mnt, "cannot be locked: %s", werr_text(err));
}

static int lock(struct control_client *c, const struct request *r, const char *mnt)
{
	json_t *params =
		r->deadline_s ? json_pack("{sI}", "deadline_ms", (json_int_t)r->deadline_s * 1000)
			      : NULL;
	json_t *reply = NULL;

	int err = control_call(c, "Lock", params, NULL, &reply);
	if (err)
		return report_lock(err, c, mnt);
	json_int_t lost = json_integer_value(json_object_get(reply, "lost_writes"));
	json_decref(reply);
	if (lost)
		report_warn(mnt, "locked; %lld writes could not be stored any more",
			    (long long)lost);
	return 0;
}

static int lock_all(const struct request *r)
{
	json_t *mounts = NULL, *mount;
	int err = control_status(&mounts);
	size_t i;

	json_array_foreach(mounts, i, mount)
	{
		char *path = varlink_path_of(json_object_get(mount, "mountpoint"));
		const char *state = json_string_value(json_object_get(mount, "state"));
		struct control_client *c;

		if (path && state && !strcmp(state, "open")) {
			int one = mounted_connect(path, &c);

			if (!one) {
				one = lock(c, r, path);
				control_close(c);
			}
			err = err ? err : one;
		}
		free(path);
	}
	json_decref(mounts);
	return err;
}

int verb_lock(int argc, char **argv)
{
	struct request r = {.mnt = NULL};
	struct control_client *c;

	options_parse(&argp, argc, argv, &r);
	if (r.all)
		return lock_all(&r);
	int err = mounted_connect(r.mnt, &c);
	if (err)
		return err;
	err = lock(c, &r, r.mnt);
	control_close(c);
	return err;
}
