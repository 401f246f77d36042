// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
	case WERR_NOTSUP:
		return report_fail(err, mnt,
				   "fusermount3 cannot unmount where there is no /etc/mtab; as "
				   "root: ln -s ../proc/self/mounts /etc/mtab");
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
	int closing; // the worker has seen the end of the mount
	int asked;   // it has not, for long: it was told to end
};

// After the unmount. A worker that has not even begun to close by then still has the mount.
#define PATIENCE_MS 5000

// On a connection of its own, once the end cannot be missed on the other one.
static void tell_to_end(struct unmounting *u)
{
	struct control_client *c;
	int err = control_connect(u->path, &c);

	u->asked = 1;
	if (err)
		return; // it has ended by itself
	err = control_call(c, "Stop", NULL, NULL, NULL);
	if (err && err != WERR_NOTFOUND)
		report_warn(u->r->mnt, "the worker cannot be told to end: %s", werr_text(err));
	control_close(c);
}

// What another mount namespace has changed reaches the worker, too, before it may be told to end.
static void write_back(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)syncfs(fd);
	close(fd);
}

static int unmount(void *arg, json_t *reply)
{
	struct unmounting *u = arg;

	const char *stage = json_string_value(json_object_get(reply, "stage"));

	u->closing |= stage && !strcmp(stage, "close");
	if (u->done)
		return 0;
	if (!u->r->lazy)
		write_back(u->path);
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

// Nothing was heard for long. Who has unmounted goes on waiting here, where the end is told of.
static int silence(void *arg)
{
	struct unmounting *u = arg;

	if (!u->done)
		return WERR_IO;
	if (!u->closing && !u->asked) {
		report_warn(u->r->mnt,
			    "unmounted here, but still in use: another mount namespace may hold it "
			    "(a container, a service, 'unshare -m'); its worker is told to end, "
			    "which cuts those off");
		tell_to_end(u);
	}
	return 0;
}

// *ret_code: how the worker ended. An error: the other side went away.
static int wait_for_end(struct control_client *c, struct unmounting *u, int *ret_code)
{
	const struct control_how how = {.more = 1,
					.fd = -1,
					.progress = unmount,
					.silence = silence,
					.arg = u,
					.timeout_ms = PATIENCE_MS};
	json_t *reply = NULL;

	int err = control_call(c, "Wait", NULL, &how, &reply);
	if (!err) {
		const json_t *code = json_object_get(reply, "code");

		*ret_code = json_is_integer(code) ? (int)json_integer_value(code) : WERR_IO;
	}
	json_decref(reply);
	return err;
}

// The other side went away: whoever serves the mount then is asked. WERR_NOTFOUND: nobody does.
static int ask_again(struct unmounting *u, int *ret_code)
{
	struct control_client *c;
	int err = control_connect(u->path, &c);

	if (err)
		return WERR_NOTFOUND;
	err = wait_for_end(c, u, ret_code);
	control_close(c);
	return err == WERR_NOTFOUND ? WERR_IO : err;
}

// Until the worker has ended. c may be NULL: not asked yet.
static int unmount_and_wait(struct control_client *c, struct unmounting *u)
{
	int code = 0;
	int err = c ? wait_for_end(c, u, &code) : WERR_IO;

	while (u->done && !u->r->lazy && err && err != WERR_NOTFOUND)
		err = ask_again(u, &code);
	progress_stop(u->progress);
	if (!u->done || u->r->lazy)
		return u->err;
	if (err)
		return report_fail(WERR_IO, u->r->mnt,
				   "unmounted, but what served it went away without a word about "
				   "the vault; the next mount recovers it from its journal where "
				   "that is needed");
	if (code)
		return report_fail(code, u->r->mnt,
				   "unmounted, but the vault could not be closed cleanly: %s; the "
				   "next mount recovers it from its journal",
				   werr_text(code));
	return 0;
}

// What is not mounted here any more may still be served, for another mount namespace.
static int finish_detached(const struct request *r, const char *path)
{
	struct unmounting u = {.r = r, .path = path, .done = 1};
	struct control_client *c = NULL;

	if (r->lazy || control_connect(path, &c))
		return report_fail(WERR_NOTFOUND, r->mnt,
				   "nothing is mounted here; see 'wardfs status'");
	control_close(c);
	return unmount_and_wait(NULL, &u);
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

static int report_foreign(const struct request *r, const struct mountpoint *m)
{
	return report_fail(WERR_NOTFOUND, r->mnt,
			   "what is mounted here is not wardfs but %s; use umount", m->fstype);
}

static int unmount_at(const struct request *r, const char *path)
{
	struct control_client *c = NULL;
	struct mountpoint m;
	int err = mountpoint_find(path, &m);

	if (err)
		return finish_detached(r, path);
	// Numbers of devices are given out again: what is no FUSE mount is nobody's.
	if (strncmp(m.fstype, "fuse", 4) != 0)
		return report_foreign(r, &m);
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
		return report_foreign(r, &m);
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

// Root knows what a user's wardfs closed by the record that it keeps (daemon/guard.h), but does not
// act on what that user wrote there.
static int report_closed(const char *mnt, const char *path)
{
	struct stat st;

	if (lstat(path, &st))
		return 0;
	if (guard_has_record_of_user(path))
		return report_fail(WERR_PERM, mnt,
				   "still closed: how it was stands in a record of user %u, which "
				   "root does not act on; repeat this as that user, or use 'chmod'",
				   (unsigned)st.st_uid);
	if (geteuid() != 0)
		return report_fail(WERR_PERM, mnt,
				   "still closed, but no mount of yours did that; repeat this as "
				   "root where root mounted here, else use 'chmod'");
	report_warn(mnt, "still closed, but no mount did that; use 'chmod', or 'chattr -i'");
	return 0;
}

static int unprotect(const char *mnt, const char *path)
{
	struct guard guard;
	int err = guard_open(path, &guard);

	guard.stays = 0;
	guard_end(&guard);
	// Also for its owner, who cannot look into one that is.
	if (guard_is_closed_at(path))
		return report_closed(mnt, path);
	// Its contents are its owner's business.
	return err && err != WERR_NOTEMPTY
		       ? report_fail(err, mnt, "the folder cannot be given back: %s",
				     werr_text(err))
		       : 0;
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
