// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>

#include "daemon/mountpoint.h"
#include "daemon/status.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/verbs.h"

struct request {
	int lazy;
	const char *mnt;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct request *r = state->input;

	if (key == 'l') {
		r->lazy = 1;
		return 0;
	}
	return options_operands(key, arg, state, &r->mnt, 1, "MNT");
}

static const struct argp_option table[] = {
	{"lazy", 'l', NULL, 0,
	 "detach now although it is in use; end, unwaited for, when its last user is gone", 0},
	{0},
};
static const struct argp argp = {
	.options = table,
	.parser = parse,
	.args_doc = "MNT",
	.doc = "Unmounts MNT, and returns when everything is written and the vault is clean.",
};

struct search {
	const char *device;
	int fd;
};

static int match(void *arg, json_t *state, int fd)
{
	struct search *s = arg;
	const char *device = json_string_value(json_object_get(state, "device"));

	if (!device || strcmp(device, s->device) != 0)
		return 0;
	s->fd = fd;
	return 1;
}

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

// Until the worker has ended.
static int wait_for_worker(int fd, const char *mnt)
{
	int code;

	struct progress *p = progress_start("Writing everything");
	status_wait(fd, &code);
	progress_stop(p);
	if (code)
		return report_fail(code, mnt,
				   "unmounted, but the vault could not be closed cleanly: %s; the "
				   "next mount recovers it from its journal",
				   werr_text(code));
	return 0;
}

int verb_umount(int argc, char **argv)
{
	struct request r = {.lazy = 0};
	struct search s = {.fd = -1};
	char path[PATH_MAX];
	struct mountpoint m;

	options_parse(&argp, argc, argv, &r);
	int err = mountpoint_resolve(r.mnt, path);
	if (!err)
		err = mountpoint_find(path, &m);
	if (err)
		return report_fail(err, r.mnt, "nothing is mounted here; see 'wardfs status'");
	s.device = m.device;
	status_each(match, &s);
	if (s.fd < 0 && strcmp(m.fstype, MOUNTPOINT_FSTYPE) != 0)
		return report_fail(WERR_NOTFOUND, r.mnt,
				   "what is mounted here is not wardfs but %s; use umount",
				   m.fstype);
	err = mountpoint_unmount(path, r.lazy);
	if (err)
		return report_unmount(err, r.mnt);
	if (r.lazy)
		return 0;
	if (s.fd < 0) {
		report_warn(r.mnt, "unmounted; its worker was not found, so it may still be "
				   "writing");
		return 0;
	}
	return wait_for_worker(s.fd, r.mnt);
}
