// SPDX-License-Identifier: Apache-2.0
// One vault from the passphrase to the clean end.
#include "daemon/worker_private.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon/kdf_child.h"
#include "daemon/memory_limit.h"
#include "daemon/policy.h"
#include "daemon/statedir.h"

// The engine's, the host's folders, and some.
#define DESCRIPTOR_TABLE 1024

// ---- the engine's messages ----

static void log_line(void *arg, int priority, const char *line)
{
	worker_say(arg, CHANNEL_LOG, 0, priority, line);
}

// ---- the end ----

void worker_stop(struct worker *w)
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

// WERR_INTERRUPTED when an end was asked for meanwhile.
static int enter_phase(struct worker *w, enum worker_phase phase)
{
	pthread_mutex_lock(&w->lock);
	int stopped = w->stopped && phase != PHASE_ENDED;
	if (!stopped)
		w->phase = phase;
	pthread_mutex_unlock(&w->lock);
	return stopped ? WERR_INTERRUPTED : 0;
}

// ---- the vault ----

static int fail(struct worker *w, enum channel_stage stage, int code)
{
	w->stage = stage;
	return code;
}

// The folder of the vault's anchor, made while it can be. Its absence is told of later.
static void find_state_dir(struct worker *w, const uint8_t *vault_id, char path[static PATH_MAX])
{
	int err = w->no_anchor ? WERR_NOTFOUND : statedir_vault_path(vault_id, path, PATH_MAX);

	if (!err && !w->opts.readonly)
		err = statedir_make(vault_id);
	if (err)
		path[0] = 0;
}

// How many failures its owner allows. The broker counts them.
static void tell_wipe(struct worker *w, const struct vault_sealed *sealed)
{
	const uint8_t *buf = sealed->buf[0] ? sealed->buf[0] : sealed->buf[1];
	struct vault_policy p;

	if (!vault_header_peek_policy(buf, &p))
		worker_say(w, CHANNEL_WIPE_AFTER, 0, p.wipe_after, NULL);
}

// Everything that can be found out before the passphrase: the directory, its lock, its header.
static int look_at_vault(struct worker *w, struct host **ret)
{
	struct vault_sealed sealed;
	struct host *host;
	int err = host_posix_open(w->dir, 0, &host);

	if (err)
		return err;
	err = vault_read_sealed(host, &sealed);
	if (!err) {
		for (unsigned i = 0; i < 2; i++)
			find_state_dir(w, sealed.ids[i], w->state_dirs[i]);
		tell_wipe(w, &sealed);
		vault_sealed_clear(&sealed);
	}
	// Whoever serves the locked mount has it until this process is ready for it.
	if (!err && w->mode == WORKER_UNLOCK)
		host_posix_borrow_lock(host);
	if (!err)
		err = host->ops->lock(host, !w->opts.readonly);
	if (!err && !w->opts.readonly && access(w->dir, W_OK | X_OK))
		err = werr_from_errno(errno);
	if (err) {
		host->ops->close(host);
		return err;
	}
	*ret = host;
	return 0;
}

// Why the anchor refused the vault, and which keyslots differ.
static void explain(struct worker *w)
{
	struct anchor_state s;
	char line[256];

	if (!w->anchor)
		return;
	anchor_get(w->anchor, &s);
	// It may have been refused for something else, which has said why.
	if (anchor_refusal(&s, line, sizeof(line)) <= 0)
		return;
	memcpy(w->detail, line, sizeof(line));
	for (unsigned n = 0; anchor_change_line(&s, n, line, sizeof(line)) > 0; n++)
		worker_say(w, CHANNEL_WARN, 0, 0, line);
}

// A header file that was not believed is written anew, so this is the only trace of it.
static void tell_foreign(struct worker *w)
{
	const char *name = vault_foreign_copy(w->vault);
	char line[256];

	if (!name)
		return;
	snprintf(line, sizeof(line),
		 "%s has the id of another vault: it was changed or put there by somebody; the "
		 "other header file is authentic and is used",
		 name);
	worker_say(w, CHANNEL_WARN, 0, 0, line);
	worker_say(w, CHANNEL_LOG, 0, 4, line);
}

// What this machine knows of the vault that is now open.
static void tell_anchor(struct worker *w)
{
	struct anchor_state s;
	char line[256];

	if (!w->anchor)
		return;
	anchor_get(w->anchor, &s);
	const int records = !w->opts.readonly;
	// A locked vault was not closed, and nobody else could have used it: only what does not
	// fit to that is news then.
	const int news = w->mode != WORKER_UNLOCK || s.verdict != ANCHOR_SAME;
	if (news && (records || s.verdict != ANCHOR_NEW) && anchor_news(&s, line, sizeof(line)) > 0)
		worker_say(w, s.verdict == ANCHOR_NOPLACE ? CHANNEL_WARN : CHANNEL_TELL, 0, 0,
			   line);
	for (unsigned n = 0; anchor_change_line(&s, n, line, sizeof(line)) > 0; n++)
		worker_say(w, CHANNEL_WARN, 0, 0, line);
	anchor_tell_slots(w->anchor);
}

// Once. Until the folder is usable whoever mounts is told, later the log.
static void on_unlocked(void *arg)
{
	struct worker *w = arg;
	static const char line[] = "the keys may be swapped to disk: memory could not be locked; "
				   "raise RLIMIT_MEMLOCK";

	if (w->stage < STAGE_READY)
		worker_say(w, CHANNEL_WARN, 0, 0, line);
	else
		worker_say(w, CHANNEL_LOG, 0, 4, line);
}

// Of a header that is authentic now.
static void tell_policy(struct worker *w)
{
	json_t *policy = policy_of_header(&w->vault->h->policy);
	char *text = policy ? json_dumps(policy, JSON_COMPACT) : NULL;

	if (text)
		worker_say(w, CHANNEL_POLICY, 0, 0, text);
	free(text);
	json_decref(policy);
}

static int unlock(struct worker *w, struct host *host, const struct secret *passphrase)
{
	worker_stage(w, STAGE_KEY);

	secret_on_unlocked(on_unlocked, w);
	int err = vault_open(host, passphrase, w->opts.readonly, &w->vault);
	if (!err)
		tell_policy(w);
	return err;
}

static int open_engine(struct worker *w)
{
	int is_root = 0;
	struct fs_params params = {
		.ret_is_root = &is_root,
		.readonly = w->opts.readonly,
		.log_names = w->log_names,
		.log = log_line,
		.log_arg = w,
		.blocking = fuse_server_blocking,
		.taking_over = w->mode == WORKER_UNLOCK,
	};

	fs_params_memory(&params, w->memory_mib);
	worker_stage(w, STAGE_ENGINE);
	int err = enter_phase(w, PHASE_ENGINE);
	// From here on this process writes: it has the vault's lock.
	if (!err && w->mode == WORKER_UNLOCK)
		err = worker_ask_lock(w);
	if (!err)
		err = fs_open(w->vault, &params, &w->fs);
	const char *why = err && is_root ? fs_root_refusal(err) : NULL;
	if (why)
		snprintf(w->detail, sizeof(w->detail), "%s", why);
	return err;
}

// ---- mounting ----

// Called while the server still serves.
static void detach(void *arg)
{
	int fd;

	// A broker that is gone cannot: the mount ends with the channel then.
	if (worker_ask(arg, CHANNEL_DETACH, &fd) >= 0 && fd >= 0)
		close(fd);
}

static int open_channel(struct worker *w)
{
	int fd;

	if (w->mode == WORKER_UNLOCK) {
		int err = worker_take_over(w);

		if (!err)
			fuse_server_set_detach(w->server, detach, w);
		return err;
	}
	int answer = worker_ask(w, CHANNEL_MOUNT, &fd);

	if (answer == CHANNEL_FUSE && fd >= 0) {
		snprintf(w->device, sizeof(w->device), "%.*s", (int)sizeof(w->device) - 1,
			 w->answer.text);
		int err = fuse_server_new(w->fs, &w->opts, NULL, fd, &w->server);

		if (err)
			close(fd);
		else
			fuse_server_set_detach(w->server, detach, w);
		return err;
	}
	if (fd >= 0)
		close(fd);
	if (answer < 0)
		return answer;
	snprintf(w->detail, sizeof(w->detail), "%.*s", (int)sizeof(w->detail) - 1, w->answer.text);
	return answer == CHANNEL_REFUSED && w->answer.code ? w->answer.code : WERR_INTERNAL;
}

static void stop_asked(void *arg)
{
	worker_stop(arg);
}

static void tell_event(void *arg, const char *name)
{
	worker_say(arg, CHANNEL_EVENT, 0, 0, name);
}

// Called by fuse_server_run when the kernel has answered: now the folder is usable.
static void on_ready(void *arg)
{
	struct worker *w = arg;
	const struct worker_about about = {
		.readonly = w->opts.readonly,
		.fs = w->fs,
		.server = w->server,
		.stop = stop_asked,
		.event = tell_event,
		.arg = w,
	};
	int err = worker_control_start(&about, &w->control);

	if (err)
		log_line(w, 4, "no memory for control calls");
	pthread_mutex_lock(&w->lock);
	w->ready = err == 0;
	int gone = w->broker_gone;
	pthread_mutex_unlock(&w->lock);
	w->stage = STAGE_READY;
	worker_say(w, CHANNEL_READY, 0, 0, NULL);
	if (w->mode == WORKER_UNLOCK)
		fuse_server_remind(w->server, w->mountpoint);
	if (gone || err)
		worker_stop(w);
}

static void end_control(struct worker *w)
{
	worker_control_closing(w->control);
	pthread_mutex_lock(&w->lock);
	struct worker_control *control = w->control;
	w->control = NULL;
	pthread_mutex_unlock(&w->lock);
	worker_control_finish(control);
}

// The server has paused for a lock. *ret_gone: somebody else has the mount, and nothing is left
// here. Otherwise this process serves it on.
static int lock_or_go_on(struct worker *w, int *ret_gone)
{
	end_control(w);
	int err = worker_hand_over(w, ret_gone);
	if (!err && !*ret_gone)
		fuse_server_set_detach(w->server, detach, w);
	return err;
}

// *ret_gone: as above.
static int serve(struct worker *w, int *ret_gone)
{
	int err = enter_phase(w, PHASE_SERVING);

	*ret_gone = 0;
	while (!err) {
		err = fuse_server_run(w->server, on_ready, w);
		(void)enter_phase(w, PHASE_ENDED);
		if (err || !worker_is_locking(w))
			break;
		err = lock_or_go_on(w, ret_gone);
		if (*ret_gone)
			return 0;
		if (!err)
			err = enter_phase(w, PHASE_SERVING);
	}
	if (!err && !worker_is_ready(w))
		err = WERR_INTERRUPTED;
	worker_control_closing(w->control);
	fuse_server_free(w->server);
	return err;
}

// ---- all of it ----

// On failure the vault is closed again as it was found. *ret_gone: it was locked, and everything is
// freed.
static int mount_and_serve(struct worker *w, int *ret_gone)
{
	int err = open_engine(w);

	*ret_gone = 0;
	if (err) {
		if (err == WERR_ROLLBACK)
			explain(w);
		return fail(w, STAGE_ENGINE, err);
	}
	tell_foreign(w);
	tell_anchor(w);
	worker_stage(w, STAGE_MOUNT);
	err = open_channel(w);
	if (!err)
		err = serve(w, ret_gone);
	if (*ret_gone)
		return 0;
	w->stage = worker_is_ready(w) ? STAGE_CLOSE : STAGE_MOUNT;
	if (w->stage == STAGE_CLOSE)
		worker_stage(w, STAGE_CLOSE); // who waits sees that nobody holds the mount any more
	int close_err = fs_close(w->fs);
	if (close_err && !err)
		err = fail(w, STAGE_CLOSE, close_err);
	return err;
}

// Room for all descriptors that the engine keeps. In a process of several threads the kernel makes
// the table larger only after a grace period of all processors, 10 ms and more in the middle of a
// request; now there is one thread.
static void make_descriptor_table(void)
{
	struct rlimit limit;
	const rlim_t most = DESCRIPTOR_TABLE;
	int fd = open("/", O_PATH | O_CLOEXEC);

	if (fd < 0)
		return;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		const rlim_t end = limit.rlim_cur < most ? limit.rlim_cur : most;
		int last = fcntl(fd, F_DUPFD_CLOEXEC, (int)end - 1);

		if (last >= 0)
			close(last);
	}
	close(fd);
}

static int run(struct worker *w)
{
	SECRET_STRUCT_AUTO struct secret passphrase = {0};
	struct host *host;
	int gone = 0;

	// Threads pass on what they allocate: arenas of their own would hold a third more memory
	// for the same contents, in pieces that nobody else can use.
	(void)mallopt(M_ARENA_MAX, 1);
	make_descriptor_table();
	// Before the sandbox hides /sys.
	w->memory_mib = memory_share(w->opts.memory_mib, memory_limit());
	int err = look_at_vault(w, &host);
	if (err)
		return fail(w, STAGE_VAULT, err);
	if (!w->no_anchor)
		err = statedir_attach(host, w->opts.readonly ? STATEDIR_READONLY : 0, &w->anchor);
	// The last moment with one thread, and before anything secret is here.
	if (!err)
		err = worker_confine(w);
	kdf_child_install();
	if (!err)
		err = worker_watch_start(w);
	if (err) {
		host->ops->close(host);
		return fail(w, STAGE_VAULT, err);
	}
	err = worker_passphrase(w, &passphrase);
	if (!err)
		err = unlock(w, host, &passphrase);
	else
		host->ops->close(host);
	secret_clear(&passphrase);
	if (err) {
		w->stage = STAGE_KEY;
		if (err == WERR_ROLLBACK || err == WERR_ANCHOR)
			explain(w);
	} else {
		err = mount_and_serve(w, &gone);
		if (!gone)
			vault_close(w->vault);
	}
	worker_watch_end(w);
	anchor_free(w->anchor);
	return err;
}

void worker_main(int fd)
{
	static struct worker w = {.lock = PTHREAD_MUTEX_INITIALIZER,
				  .changed = PTHREAD_COND_INITIALIZER};
	struct channel_msg start;
	int passed;

	w.channel = fd;
	w.answer_fd = -1;
	w.lock_sock = -1;
	if (channel_receive(fd, &start, &passed))
		_exit(EXIT_WARD_INTERRUPTED);
	int err = worker_link_start(&w, &start, passed);
	if (!err)
		err = w.mode == WORKER_KEYLESS ? worker_hold(&w) : run(&w);
	if (err && worker_is_ready(&w))
		log_line(&w, 3,
			 "the vault could not be closed cleanly; the next mount recovers it from "
			 "its journal");
	worker_say(&w, err && !worker_is_ready(&w) ? CHANNEL_FAILED : CHANNEL_ENDED, err, 0,
		   w.detail);
	worker_control_finish(w.control);
	// Nothing is buffered here, and what libraries clean up at exit may have been wiped
	// already, or still be in use by a thread that answers somebody.
	_exit(werr_exit(err));
}
