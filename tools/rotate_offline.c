// SPDX-License-Identifier: Apache-2.0
// Rotation of a vault that is not mounted: this process opens the engine.
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "daemon/statedir.h"
#include "fusefs/fs.h"
#include "fusefs/vault.h"
#include "tools/progress.h"
#include "tools/refusal.h"
#include "tools/report.h"
#include "tools/rotate.h"

#define TICK_MS 250u

static volatile sig_atomic_t stopped, paused, asked;

static void on_signal(int sig)
{
	if (sig == SIGUSR1 || sig == SIGUSR2) {
		paused = sig == SIGUSR1;
		asked = 1;
	} else {
		stopped = 1;
	}
}

static void catch_signals(void)
{
	static const int ends[] = {SIGINT, SIGTERM, SIGHUP}, switches[] = {SIGUSR1, SIGUSR2};
	const struct sigaction once = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
	const struct sigaction often = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		sigaction(ends[i], &once, NULL);
	for (size_t i = 0; i < sizeof(switches) / sizeof(switches[0]); i++)
		sigaction(switches[i], &often, NULL);
}

static void log_line(void *arg, int priority, const char *line)
{
	const struct rotate_request *r = arg;

	if (priority <= 4) // warnings and worse
		report_warn(r->target, "%s", line);
}

// The vault directory, its lock and header.
static int open_host(const char *dir, struct host **ret, struct vault_sealed *ret_sealed,
		     struct anchor **ret_anchor)
{
	struct host *host;
	int err = host_posix_open(dir, 0, &host);

	if (err)
		return report_vault(err, dir);
	err = host->ops->lock(host, 1);
	if (!err)
		err = vault_read_sealed(host, ret_sealed);
	if (!err) {
		err = statedir_attach(host, 0, ret_anchor);
		if (err)
			vault_sealed_clear(ret_sealed);
	}
	if (err) {
		host->ops->close(host);
		return err == WERR_BUSY ? report_fail(err, dir,
						      "is in use; where it is mounted, name the "
						      "mount point instead")
					: report_vault(err, dir);
	}
	*ret = host;
	return 0;
}

// Follows the engine's thread. WERR_INTERRUPTED: a signal; the rest is for another time.
static int follow(struct fs *fs, const struct rotate_request *r, struct rotate_status *st)
{
	for (;;) {
		if (asked) {
			asked = 0;
			rotate_pause(fs, paused);
		}
		rotate_get_status(fs, st);
		if (st->state == ROTATE_ENDED || st->state == ROTATE_INCOMPLETE)
			return 0;
		// Nobody makes room or mends a disk while this waits, unless asked to.
		if (st->state == ROTATE_WAITING)
			return st->error;
		if (stopped)
			return WERR_INTERRUPTED;
		rotate_show(r, st);
		rotate_wait(fs, st->state, TICK_MS);
	}
}

static int begin(struct fs *fs, const struct rotate_request *r, const struct secret *offer)
{
	SECRET_AUTO uint8_t *root_key = NULL;
	struct rotate_status st;
	const struct rotate_params params = {
		.level = r->contents ? VAULT_ROTATION_CONTENTS : VAULT_ROTATION_KEYS,
		.path = r->path,
		.max_rate = r->max_rate,
		.now_s = (uint64_t)time(NULL),
	};

	rotate_get_status(fs, &st);
	if (st.state != ROTATE_IDLE) { // left by an earlier one: goes on by itself
		if (params.level > st.level ||
		    (r->contents && (r->path != NULL) != (st.subtree != 0)))
			return report_fail(WERR_BUSY, r->target,
					   "another rotation is under way; let it end first with "
					   "'wardfs rotate %s'",
					   r->target);
		rotate_set_rate(fs, r->max_rate);
		report_warn(r->target, "goes on with the rotation that was begun before");
		return 0;
	}
	struct progress *p = progress_start("Deriving the key");
	int err = rotate_root_key(fs, offer, &root_key);
	progress_stop(p);
	if (!err)
		err = rotate_begin(fs, root_key, &params);
	if (err == WERR_NOTFOUND)
		return report_fail(err, r->path, "no such file or folder in the vault");
	if (err == WERR_LIMIT)
		return report_fail(err, r->target, "no number for another epoch is left");
	return err ? report_vault(err, r->target) : 0;
}

static int report_cut(int err, const struct rotate_request *r)
{
	if (err == WERR_INTERRUPTED)
		return report_fail(err, r->target,
				   "interrupted; it goes on with 'wardfs rotate %s', or by itself "
				   "when the vault is mounted",
				   r->target);
	return report_fail(err, r->target,
			   "%s; nothing is lost, end the cause and go on with 'wardfs rotate %s'",
			   werr_text(err), r->target);
}

static int rotate_vault(struct vault *v, struct rotate_request *r, const struct secret *offer)
{
	int is_root = 0;
	const struct fs_params params = {.log = log_line, .log_arg = r, .ret_is_root = &is_root};
	struct rotate_status st = {0};
	struct fs *fs;
	int err = fs_open(v, &params, &fs);

	if (err)
		return refusal_report_engine(err, r->target, is_root);
	catch_signals();
	int failed = begin(fs, r, offer);
	if (!failed)
		r->is_rekeyed = 0;
	err = failed ? 0 : follow(fs, r, &st);
	int closed = fs_close(fs);
	if (failed)
		return failed;
	if (err)
		return report_cut(err, r);
	return closed ? report_vault(closed, r->target) : rotate_show_end(r, &st);
}

int rotate_offline(struct rotate_request *r)
{
	SECRET_STRUCT_AUTO struct secret offer = {0};
	struct vault_sealed sealed;
	struct anchor *anchor = NULL;
	struct host *host = NULL;
	struct vault *v;

	int err = r->after_leak ? rotate_after_leak(r, 0, &offer) : 0;
	if (!err)
		err = open_host(r->target, &host, &sealed, &anchor);
	if (err || !host)
		return err;
	if (!offer.len)
		err = secrets_get(&r->source, r->target, &sealed, &offer);
	vault_sealed_clear(&sealed);
	if (err) {
		host->ops->close(host);
		anchor_free(anchor);
		return err;
	}
	struct progress *p = progress_start("Deriving the key");
	err = vault_open(host, &offer, 0, &v); // closes host on failure
	progress_stop(p);
	if (err) {
		err = refusal_report(err, r->target, anchor);
	} else {
		refusal_warn_foreign(r->target, vault_foreign_copy(v));
		err = rotate_vault(v, r, &offer);
		vault_close(v);
	}
	anchor_free(anchor);
	return err;
}
