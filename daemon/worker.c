// SPDX-License-Identifier: Apache-2.0
// One vault from the passphrase to the clean end. worker_channel.c is the other half: the fork and
// what parent and worker say to each other.
#include "daemon/worker.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <syslog.h>
#include <unistd.h>

#include "daemon/mountpoint.h"
#include "daemon/statedir.h"
#include "daemon/worker_channel.h"
#include "daemon/worker_control.h"
#include "fusefs/fs.h"
#include "fusefs/fuse_server.h"
#include "fusefs/vault.h"

enum phase {
	PHASE_KEY,    // nothing was written: a signal ends the process at once
	PHASE_ENGINE, // a signal is remembered
	PHASE_SERVING,
	PHASE_ENDED,
};

struct worker {
	const struct worker_params *params;
	const struct worker_link *link;
	struct vault *vault;
	struct anchor *anchor;    // NULL: not asked for
	char state_dir[PATH_MAX]; // the anchor's folder; empty: none
	struct fs *fs;
	struct fuse_server *server;
	struct worker_control *control;
	char device[MOUNTPOINT_DEVICE_BYTES]; // of the mount, set when it is ready

	pthread_t watcher;
	int signals; // signalfd
	int wake;    // eventfd: ends the watcher

	pthread_mutex_t lock; // guards what follows
	enum phase phase;
	int stopped; // an end was asked for
	int ready;
};

// ---- the engine's messages ----

static void log_line(void *arg, int priority, const char *line)
{
	struct worker *w = arg;

	if (w->params->foreground)
		w->link->warn(w->link->arg, line);
	else
		syslog(priority, "%s: %s", w->params->mountpoint, line);
}

// ---- the end: signals, and the parent's death before the mount is ready ----

static void stop(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	w->stopped = 1;
	switch (w->phase) {
	case PHASE_KEY:
		// Nothing but this process knows anything; its end is the cleanest way.
		_exit(EXIT_WARD_INTERRUPTED);
	case PHASE_SERVING:
		fuse_server_stop(w->server);
		break;
	case PHASE_ENGINE:
	case PHASE_ENDED:
		break;
	}
	pthread_mutex_unlock(&w->lock);
}

static int is_ready(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	int ready = w->ready;
	pthread_mutex_unlock(&w->lock);
	return ready;
}

static void *watch(void *arg)
{
	struct worker *w = arg;
	struct pollfd polled[3] = {{.fd = w->wake, .events = POLLIN},
				   {.fd = w->signals, .events = POLLIN},
				   {.fd = w->link->fd, .events = POLLIN}};

	for (;;) {
		struct signalfd_siginfo info;

		if (poll(polled, 3, -1) < 0)
			continue;
		if (polled[0].revents)
			return NULL;
		if (polled[1].revents && read(w->signals, &info, sizeof(info)) == sizeof(info))
			stop(w);
		if (polled[2].revents) {
			polled[2].fd = -1;
			if (!is_ready(w))
				stop(w);
		}
	}
}

// From here on the watcher takes the signals that end a worker; every thread made later inherits
// the mask.
static int watch_start(struct worker *w)
{
	sigset_t ends;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &ends, NULL);
	w->signals = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
	w->wake = eventfd(0, EFD_CLOEXEC);
	if (w->signals < 0 || w->wake < 0)
		return WERR_MFILE;
	if (pthread_create(&w->watcher, NULL, watch, w))
		return WERR_NOMEM;
	return 0;
}

static void watch_end(struct worker *w)
{
	eventfd_write(w->wake, 1);
	pthread_join(w->watcher, NULL);
	close(w->wake);
	close(w->signals);
}

// WERR_INTERRUPTED when an end was asked for meanwhile.
static int enter_phase(struct worker *w, enum phase phase)
{
	pthread_mutex_lock(&w->lock);
	int stopped = w->stopped && phase != PHASE_ENDED;
	if (!stopped)
		w->phase = phase;
	pthread_mutex_unlock(&w->lock);
	return stopped ? WERR_INTERRUPTED : 0;
}

// ---- the vault ----

static int fail(struct worker_error *e, enum worker_stage stage, int code)
{
	e->stage = stage;
	return code;
}

// The folder of the vault's anchor, made while it can be. Its absence is told of later.
static void find_state_dir(struct worker *w, const uint8_t *vault_id)
{
	int err = w->params->no_anchor
			  ? WERR_NOTFOUND
			  : statedir_vault_path(vault_id, w->state_dir, sizeof(w->state_dir));

	if (!err && !w->params->opts.readonly)
		err = statedir_make(vault_id);
	if (err)
		w->state_dir[0] = 0;
}

// Everything that can be found out before the passphrase: the directory, its lock, its header.
static int look_at_vault(struct worker *w, struct host **ret)
{
	struct vault_sealed sealed;
	struct host *host;
	int err = host_posix_open(w->params->dir, 0, &host);

	if (err)
		return err;
	err = vault_read_sealed(host, &sealed);
	if (!err) {
		find_state_dir(w, sealed.vault_id);
		vault_sealed_clear(&sealed);
	}
	if (!err)
		err = host->ops->lock(host, !w->params->opts.readonly);
	if (!err && !w->params->opts.readonly && access(w->params->dir, W_OK | X_OK))
		err = werr_from_errno(errno);
	if (err) {
		host->ops->close(host);
		return err;
	}
	*ret = host;
	return 0;
}

// Why the anchor refused the vault, and which keyslots differ.
static void explain(struct worker *w, struct worker_error *e)
{
	struct anchor_state s;
	char line[256];

	if (!w->anchor)
		return;
	anchor_get(w->anchor, &s);
	if (anchor_refusal(&s, e->detail, sizeof(e->detail)) <= 0)
		return;
	for (unsigned n = 0; anchor_change_line(&s, n, line, sizeof(line)) > 0; n++)
		w->link->warn(w->link->arg, line);
}

// What this machine knows of the vault that is now open.
static void tell_anchor(struct worker *w)
{
	struct anchor_state s;
	char line[256];

	if (!w->anchor)
		return;
	anchor_get(w->anchor, &s);
	const int records = !w->params->opts.readonly;
	if ((records || s.verdict != ANCHOR_NEW) && anchor_news(&s, line, sizeof(line)) > 0) {
		if (s.verdict == ANCHOR_NOPLACE)
			w->link->warn(w->link->arg, line);
		else
			w->link->tell(w->link->arg, line);
	}
	for (unsigned n = 0; anchor_change_line(&s, n, line, sizeof(line)) > 0; n++)
		w->link->warn(w->link->arg, line);
	anchor_tell_slots(w->anchor);
}

static int unlock(struct worker *w, struct host *host, const struct secret *passphrase)
{
	w->link->stage(w->link->arg, WORKER_KEY);
	int err = vault_open(host, passphrase, w->params->opts.readonly, &w->vault);

	if (!err && secret_unlocked())
		w->link->warn(w->link->arg,
			      "the keys may be swapped to disk: memory could not be locked; raise "
			      "RLIMIT_MEMLOCK");
	return err;
}

static int open_engine(struct worker *w)
{
	const struct fs_params params = {
		.readonly = w->params->opts.readonly,
		.log = log_line,
		.log_arg = w,
		.blocking = fuse_server_blocking,
	};

	w->link->stage(w->link->arg, WORKER_ENGINE);
	int err = enter_phase(w, PHASE_ENGINE);
	return err ? err : fs_open(w->vault, &params, &w->fs);
}

// ---- mounting ----

static void find_device(struct worker *w)
{
	struct mountpoint m;

	if (!mountpoint_find(w->params->mountpoint, &m))
		snprintf(w->device, sizeof(w->device), "%s", m.device);
}

static void stop_asked(void *arg)
{
	stop(arg);
}

// Called by fuse_server_run when the kernel has answered: now the folder is usable, and others may
// find the worker.
static void on_ready(void *arg)
{
	struct worker *w = arg;

	find_device(w);
	const struct worker_about about = {
		.vault = w->params->dir,
		.mountpoint = w->params->mountpoint,
		.device = w->device,
		.readonly = w->params->opts.readonly,
		.fs = w->fs,
		.server = w->server,
		.stop = stop_asked,
		.arg = w,
	};
	if (worker_control_start(&about, &w->control))
		log_line(w, LOG_WARNING,
			 "no place for a control socket: 'wardfs status' will not "
			 "see this mount");
	pthread_mutex_lock(&w->lock);
	w->ready = 1;
	pthread_mutex_unlock(&w->lock);
	// A parent that has gone away in the meantime did not want the mount any more.
	if (w->link->ready(w->link->arg))
		stop(w);
}

static int serve(struct worker *w)
{
	int err = enter_phase(w, PHASE_SERVING);

	if (!err) {
		w->link->detach(w->link->arg);
		err = fuse_server_run(w->server, on_ready, w);
		(void)enter_phase(w, PHASE_ENDED);
		if (!err && !is_ready(w))
			err = WERR_INTERRUPTED;
	}
	worker_control_closing(w->control);
	fuse_server_free(w->server);
	return err;
}

// ---- all of it ----

// On failure the vault is closed again as it was found.
static int mount_and_serve(struct worker *w, struct worker_error *e)
{
	int err = open_engine(w);

	if (err) {
		if (err == WERR_ROLLBACK)
			explain(w, e);
		return fail(e, WORKER_ENGINE, err);
	}
	tell_anchor(w);
	w->link->stage(w->link->arg, WORKER_MOUNT);
	err = fuse_server_new(w->fs, &w->params->opts, w->params->mountpoint, -1, &w->server);
	if (err) {
		e->stage = WORKER_MOUNT;
		snprintf(e->detail, sizeof(e->detail), "%s", fuse_server_error());
	} else {
		err = serve(w);
		if (err)
			e->stage = is_ready(w) ? WORKER_CLOSE : WORKER_MOUNT;
	}
	int close_err = fs_close(w->fs);
	if (close_err && !err)
		err = fail(e, WORKER_CLOSE, close_err);
	return err;
}

static int run(struct worker *w, struct host *host, struct secret *passphrase,
	       struct worker_error *e)
{
	int err = watch_start(w);

	if (err) {
		host->ops->close(host);
		return fail(e, WORKER_VAULT, err);
	}
	err = unlock(w, host, passphrase);
	secret_clear(passphrase);
	if (err) {
		watch_end(w);
		if (err == WERR_ROLLBACK || err == WERR_ANCHOR)
			explain(w, e);
		return fail(e, WORKER_KEY, err);
	}
	err = mount_and_serve(w, e);
	vault_close(w->vault);
	watch_end(w);
	worker_control_finish(w->control, err);
	return err;
}

int worker_serve(const struct worker_params *params, const struct worker_link *link,
		 struct worker_error *ret_error)
{
	struct worker w = {.params = params, .link = link, .lock = PTHREAD_MUTEX_INITIALIZER};
	SECRET_STRUCT_AUTO struct secret passphrase = {0};
	struct host *host;

	int err = look_at_vault(&w, &host);
	if (!err && !params->no_anchor) {
		const unsigned flags = params->opts.readonly ? STATEDIR_READONLY : 0;

		err = statedir_attach(host, flags, &w.anchor);
		if (err)
			host->ops->close(host);
	}
	if (err)
		return fail(ret_error, WORKER_VAULT, err);
	err = link->passphrase(link->arg, &passphrase);
	if (err) {
		host->ops->close(host);
		anchor_free(w.anchor);
		ret_error->reported = 1;
		return fail(ret_error, WORKER_KEY, err);
	}
	err = run(&w, host, &passphrase, ret_error);
	if (err && is_ready(&w))
		log_line(&w, LOG_ERR,
			 "the vault could not be closed cleanly; the next mount "
			 "recovers it from its journal");
	anchor_free(w.anchor);
	return err;
}
