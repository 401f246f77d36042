// SPDX-License-Identifier: Apache-2.0
// Rotation of a mounted vault: its worker does it, this process asks and watches.
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/rotation_json.h"
#include "tools/mounted.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/rotate.h"

#define TICK_MS 500

static volatile sig_atomic_t stopped;

static void on_signal(int sig)
{
	(void)sig;
	stopped = 1;
}

static int report(int err, const struct rotate_request *r, struct control_client *c)
{
	switch (err) {
	case WERR_BUSY:
		return report_fail(err, r->target,
				   "another rotation is under way; see 'wardfs status'");
	case WERR_LOCKED:
		return report_fail(err, r->target, "is locked or being unmounted; unlock it first");
	case WERR_SECRET:
		return report_fail(err, r->target, "wrong passphrase; try again");
	case WERR_NOTFOUND:
		return r->path ? report_fail(err, r->path, "no such file or folder in the vault")
			       : report_fail(err, r->target, "no rotation is under way");
	default:
		return report_fail(err, r->target, "cannot be rotated: %s%s%s", werr_text(err),
				   *control_detail_of(c) ? "; " : "", control_detail_of(c));
	}
}

static int get_status(struct control_client *c, const char *method, json_t *params,
		      const struct control_how *how, struct rotate_status *st)
{
	json_t *reply = NULL;
	int err = control_call(c, method, params, how, &reply);

	if (!err)
		err = rotation_parse(json_object_get(reply, "rotation"), st);
	json_decref(reply);
	return err;
}

// A pipe from which the worker reads what opens the vault.
static int offer_pipe(const struct secret *offer, int *ret)
{
	int fds[2];

	if (pipe(fds))
		return werr_from_errno(errno);
	ssize_t n = write(fds[1], offer->bytes, offer->len); // fits: OFFER_BYTES_MAX

	close(fds[1]);
	if (n != (ssize_t)offer->len) {
		close(fds[0]);
		return WERR_IO;
	}
	*ret = fds[0];
	return 0;
}

// Where the vault directory is, which says which secrets there are.
static int gather(struct control_client *c, struct rotate_request *r, struct secret *offer)
{
	json_t *state = NULL;
	int err = control_state(c, &state);
	char dir[PATH_MAX];

	if (!err)
		err = mounted_path(state, "vault", dir);
	if (err)
		err = report_fail(WERR_IO, r->target, "its worker does not answer");
	else
		err = secrets_get_at(&r->source, dir, offer);
	json_decref(state);
	return err;
}

// Nothing would be seen of it until the freeze ends.
static void warn_of_freeze(struct control_client *c, const struct rotate_request *r)
{
	json_t *state = NULL;

	if (!control_state(c, &state) && json_is_true(json_object_get(state, "frozen")))
		report_warn(r->target, "is frozen: the rotation waits until that ends, as with "
				       "'wardfs thaw'");
	json_decref(state);
}

static int start(struct control_client *c, struct rotate_request *r, struct rotate_status *st)
{
	SECRET_STRUCT_AUTO struct secret offer = {0};
	json_t *params = json_pack("{ss sI}", "level", r->contents ? "contents" : "keys",
				   "max_rate", (json_int_t)r->max_rate);
	int fd = -1;

	if (r->path)
		json_object_set_new(params, "path", json_string(r->path));
	int err = r->after_leak ? rotate_after_leak(r, 1, &offer) : gather(c, r, &offer);
	if (!err && (err = offer_pipe(&offer, &fd)))
		err = report_fail(err, r->target, "cannot ask its worker: %s", werr_text(err));
	if (err) {
		json_decref(params);
		return err;
	}
	const struct control_how how = {.fd = fd};
	struct progress *p = progress_start("Deriving the key");
	err = get_status(c, "Rotate", params, &how, st);
	progress_stop(p);
	close(fd);
	if (err)
		return report(err, r, c);
	r->is_rekeyed = 0;
	return 0;
}

static int is_over(const struct rotate_status *st)
{
	return st->state == ROTATE_ENDED || st->state == ROTATE_INCOMPLETE ||
	       st->state == ROTATE_IDLE;
}

static int follow(struct control_client *c, const struct rotate_request *r,
		  struct rotate_status *st)
{
	const struct sigaction act = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
	const struct timespec tick = {.tv_nsec = TICK_MS * 1000000L};

	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	while (!is_over(st)) {
		rotate_show(r, st);
		(void)nanosleep(&tick, NULL);
		if (stopped)
			return report_fail(WERR_INTERRUPTED, r->target,
					   "the rotation goes on in the mount; see 'wardfs "
					   "status', or stop it with 'wardfs rotate --pause'");
		int err = get_status(c, "RotateStatus", NULL, NULL, st);
		if (err)
			return report_fail(err, r->target,
					   "its worker has ended; the rotation goes on at the "
					   "next mount");
	}
	return rotate_show_end(r, st);
}

// Takes up what was left incomplete; that needs no secret.
static int again(struct control_client *c, struct rotate_request *r, struct rotate_status *st)
{
	int err = get_status(c, "Rotate", NULL, NULL, st);

	return err ? report(err, r, c) : 0;
}

static int change(struct control_client *c, struct rotate_request *r, struct rotate_status *st)
{
	json_t *params = json_object();

	if (r->pause || r->resume)
		json_object_set_new(params, "pause", json_boolean(r->pause));
	if (r->has_rate)
		json_object_set_new(params, "max_rate", json_integer((json_int_t)r->max_rate));
	int err = get_status(c, "RotatePause", params, NULL, st);
	return err ? report(err, r, c) : 0;
}

static int run(struct control_client *c, struct rotate_request *r)
{
	struct rotate_status st;
	int err = get_status(c, "RotateStatus", NULL, NULL, &st);

	if (err)
		return report(err, r, c);
	if (r->pause || r->resume)
		return change(c, r, &st);
	warn_of_freeze(c, r);
	if (st.state == ROTATE_INCOMPLETE && !r->after_leak)
		err = again(c, r, &st);
	else if (!is_over(&st) || st.state == ROTATE_INCOMPLETE)
		return report(WERR_BUSY, r, c);
	else
		err = start(c, r, &st);
	return err || r->background ? err : follow(c, r, &st);
}

int rotate_mounted(struct rotate_request *r, const char *mnt)
{
	struct control_client *c;

	int err = mounted_connect(mnt, &c);
	if (err)
		return err;
	err = run(c, r);
	control_close(c);
	return err;
}
