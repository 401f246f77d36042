// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>

#include "daemon/control_client.h"
#include "daemon/guard.h"
#include "daemon/mountpoint.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/verbs.h"

struct request {
	int lazy;
	int unprotect;
	const char *mnt;
};

enum { KEY_UNPROTECT = 1 };

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct request *r = state->input;

	if (key == 'l') {
		r->lazy = 1;
		return 0;
	}
	if (key == KEY_UNPROTECT) {
		r->unprotect = 1;
		return 0;
	}
	return options_operands(key, arg, state, &r->mnt, 1, "MNT");
}

static const struct argp_option table[] = {
	{"lazy", 'l', NULL, 0,
	 "detach now although it is in use; end, unwaited for, when its last user is gone", 0},
	{"unprotect", KEY_UNPROTECT, NULL, 0,
	 "give the folder back that 'mount -o protect' or a crash has left closed; also when "
	 "nothing is mounted",
	 0},
	{0},
};
static const struct argp argp = {
	.options = table,
	.parser = parse,
	.args_doc = "MNT",
	.doc = "Unmounts MNT, and returns when everything is written and the vault is clean.",
};

static int report_unmount(int err, const char *mnt)
{
	switch (err) {
	case WERR_BUSY:
		return report_fail(err, mnt,
				   "in use; end the programs that use it ('fuser -vm' "
				   "lists them), or unmount with -l");
	case WERR_PERM:
	case WERR_NOTPERMITTED:
		return report_fail(WERR_PERM, mnt,
				   "mounted by somebody else; unmount it as that user or as root");
	case WERR_NOTFOUND:
		return report_fail(err, mnt, "fusermount3 is missing; install the package fuse3");
	default:
		return report_fail(err, mnt, "cannot be unmounted: %s", werr_text(err));
	}
}

// What wait_for_end does as soon as the end of the worker cannot be missed.
struct unmounting {
	const struct request *r;
	const char *path;
	struct progress *progress;
	int err; // of the unmount, reported
	int done;
};

static int unmount(void *arg, json_t *reply)
{
	struct unmounting *u = arg;

	(void)reply;
	if (u->done)
		return 0;
	int err = mountpoint_unmount(u->path, u->r->lazy);
	if (err) {
		u->err = report_unmount(err, u->r->mnt);
		return u->err;
	}
	u->done = 1;
	if (u->r->lazy)
		return WERR_INTERRUPTED;
	u->progress = progress_start("Writing everything");
	return 0;
}

// Until the worker has ended.
static int unmount_and_wait(struct control_client *c, struct unmounting *u)
{
	const struct control_how how = {.more = 1, .fd = -1, .progress = unmount, .arg = u};
	json_t *reply = NULL;

	int err = control_call(c, "Wait", NULL, &how, &reply);
	if (!err) {
		const json_t *code = json_object_get(reply, "code");

		err = json_is_integer(code) ? (int)json_integer_value(code) : WERR_IO;
	}
	json_decref(reply);
	progress_stop(u->progress);
	if (!u->done || u->r->lazy)
		return u->err;
	if (err)
		return report_fail(err, u->r->mnt,
				   "unmounted, but the vault could not be closed cleanly: %s; the "
				   "next mount recovers it from its journal",
				   werr_text(err));
	return 0;
}

static int has_failed(struct control_client *c)
{
	json_t *state = NULL;
	const char *name = NULL;

	if (!control_state(c, &state))
		name = json_string_value(json_object_get(state, "state"));
	int failed = name && !strcmp(name, "failed");
	json_decref(state);
	return failed;
}

static int unmount_at(const struct request *r, const char *path)
{
	struct control_client *c = NULL;
	struct mountpoint m;
	int err = mountpoint_find(path, &m);

	if (err)
		return report_fail(err, r->mnt, "nothing is mounted here; see 'wardfs status'");
	struct unmounting u = {.r = r, .path = path};
	int failed = 0;
	if (!control_connect(path, &c)) {
		failed = has_failed(c);
		err = failed ? 0 : unmount_and_wait(c, &u);
	}
	control_close(c);
	if (c && (err || u.done))
		return err;
	if (!c && strcmp(m.fstype, MOUNTPOINT_FSTYPE) != 0)
		return report_fail(WERR_NOTFOUND, r->mnt,
				   "what is mounted here is not wardfs but %s; use umount",
				   m.fstype);
	err = mountpoint_unmount(path, r->lazy);
	if (err)
		return report_unmount(err, r->mnt);
	if (failed)
		report_warn(r->mnt,
			    "unmounted; its worker had died, so the next mount recovers the "
			    "vault from its journal");
	else if (!r->lazy)
		report_warn(r->mnt, "unmounted; its worker was not found, so it may still be "
				    "writing");
	return 0;
}

static int unprotect(const char *mnt, const char *path)
{
	struct guard guard;
	int err = guard_open(path, &guard);

	// Its contents are its owner's business.
	if (err && err != WERR_NOTEMPTY)
		return report_fail(err, mnt, "the folder cannot be given back: %s", werr_text(err));
	guard.stays = 0;
	guard_end(&guard);
	return 0;
}

int verb_umount(int argc, char **argv)
{
	struct request r = {.lazy = 0};
	char path[PATH_MAX];
	struct mountpoint m;

	options_parse(&argp, argc, argv, &r);
	int err = mountpoint_resolve(r.mnt, path);
	if (err)
		return report_fail(err, r.mnt, "nothing is mounted here; see 'wardfs status'");
	if (!r.unprotect || !mountpoint_find(path, &m))
		err = unmount_at(&r, path);
	return err || !r.unprotect ? err : unprotect(r.mnt, path);
}
