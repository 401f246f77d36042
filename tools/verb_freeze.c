// SPDX-License-Identifier: Apache-2.0
// freeze and thaw.
#include <fcntl.h>
#include <unistd.h>

#include "tools/mounted.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/verbs.h"

#define TIMEOUT_S_DEFAULT 60
#define TIMEOUT_S_MAX 3600

struct request {
	uint64_t timeout_s;
	const char *mnt;
};

enum { KEY_TIMEOUT = 1 };

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct request *r = state->input;

	if (key == KEY_TIMEOUT) {
		r->timeout_s = mounted_seconds(state, "timeout", arg, 1, TIMEOUT_S_MAX);
		return 0;
	}
	return options_operands(key, arg, state, &r->mnt, 1, "MNT");
}

static const struct argp_option table[] = {
	{"timeout", KEY_TIMEOUT, "T", 0, "thaw by itself after T (1s to 1h; default 60s)", 0},
	{0},
};
static const struct argp freeze_argp = {
	.options = table,
	.parser = parse,
	.args_doc = "MNT",
	.doc = "Brings everything to its place, and then changes nothing in the vault directory of "
	       "MNT until 'wardfs thaw' or the time limit: the directory can be copied.",
};
static const struct argp thaw_argp = {
	.parser = parse,
	.args_doc = "MNT",
	.doc = "Ends a freeze: what waited goes on.",
};

// What the kernel still holds of the mounted folder belongs into the vault first. Whoever may not
// open the folder has not written to it. One that is frozen already would keep this waiting.
static void write_back(struct control_client *c, const char *mnt)
{
	json_t *state = NULL;
	int frozen = 0;

	if (!control_state(c, &state))
		frozen = json_is_true(json_object_get(state, "frozen"));
	json_decref(state);
	int fd = frozen ? -1 : open(mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)syncfs(fd);
	close(fd);
}

static int report_freeze(int err, const char *mnt)
{
	switch (err) {
	case WERR_BUSY:
		return report_fail(err, mnt, "is frozen already; 'wardfs thaw' ends that");
	case WERR_LOCKED:
		return report_fail(err, mnt, "is locked or being unmounted; nothing changes there");
	case WERR_READONLY:
		return report_fail(err, mnt,
				   "has made itself read-only, so not everything is in its place; "
				   "see 'wardfs status'");
	default:
		return report_fail(err, mnt, "cannot be frozen: %s", werr_text(err));
	}
}

int verb_freeze(int argc, char **argv)
{
	struct request r = {.timeout_s = TIMEOUT_S_DEFAULT};
	struct control_client *c;

	options_parse(&freeze_argp, argc, argv, &r);
	int err = mounted_connect(r.mnt, &c);
	if (err)
		return err;
	struct progress *p = progress_start("Writing everything");
	write_back(c, r.mnt);
	err = control_call(c, "Freeze", json_pack("{sI}", "timeout_s", (json_int_t)r.timeout_s),
			   NULL, NULL);
	progress_stop(p);
	control_close(c);
	return err ? report_freeze(err, r.mnt) : 0;
}

int verb_thaw(int argc, char **argv)
{
	struct request r = {.timeout_s = 0};
	struct control_client *c;
	json_t *reply = NULL;

	options_parse(&thaw_argp, argc, argv, &r);
	int err = mounted_connect(r.mnt, &c);
	if (err)
		return err;
	err = control_call(c, "Thaw", NULL, NULL, &reply);
	control_close(c);
	if (err)
		return report_fail(err, r.mnt, "cannot be thawed: %s", werr_text(err));
	int was = json_is_true(json_object_get(reply, "was_frozen"));
	json_decref(reply);
	if (!was)
		return report_fail(WERR_NOTFOUND, r.mnt,
				   "was not frozen; a copy that was being made is not consistent "
				   "when the time limit has ended the freeze");
	return 0;
}
