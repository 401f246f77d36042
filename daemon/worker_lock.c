// SPDX-License-Identifier: Apache-2.0
// The worker's part in locking: letting go of the mount (keyed), taking it back (unlock), and
// holding it meanwhile (keyless).
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "daemon/keyless.h"
#include "daemon/lock.h"
#include "daemon/sandbox.h"
#include "daemon/scrub.h"
#include "daemon/worker_private.h"
#include "fusefs/rotate.h"

#define LOCK_MS_DEFAULT 10000
// What the kernel has not brought by then waits in it for the unlocking.
#define DRAIN_MS_MAX 1000

// ---- the sandbox ----

static void on_refused(void *arg, const char *call)
{
	char line[96];

	snprintf(line, sizeof(line), "the sandbox refused a system call: %s", call);
	worker_say(arg, CHANNEL_LOG, 0, LOG_ERR, line);
}

int worker_confine(struct worker *w)
{
	const int keyless = w->mode == WORKER_KEYLESS;
	const struct sandbox_params params = {
		.dirs = {keyless ? NULL : w->dir, w->state_dirs[0][0] ? w->state_dirs[0] : NULL,
			 w->state_dirs[1][0] ? w->state_dirs[1] : NULL},
		.readonly = w->opts.readonly,
		.refused = on_refused,
		.arg = w,
	};
	struct sandbox_given given;

	tzset(); // reads a file that is out of reach afterwards
	int err = keyless ? 0 : scrub_prepare();
	return err ? err : sandbox_enter(&params, &given);
}

// ---- letting go ----

// A host that hangs must not keep the keys in memory: STORAGE.md section 5.
static void *deadline(void *arg)
{
	struct worker *w = arg;
	struct timespec at;

	clock_gettime(CLOCK_REALTIME, &at);
	at.tv_sec += w->lock_ms / 1000;
	at.tv_nsec += (long)(w->lock_ms % 1000) * 1000000;
	at.tv_sec += at.tv_nsec / 1000000000;
	at.tv_nsec %= 1000000000;
	pthread_mutex_lock(&w->lock);
	while (w->locking && pthread_cond_timedwait(&w->changed, &w->lock, &at) == 0) {
	}
	int late = w->locking;
	pthread_mutex_unlock(&w->lock);
	if (!late)
		return NULL;
	worker_say(w, CHANNEL_LOG, 0, LOG_CRIT,
		   "the vault's host did not answer in time: the keys are wiped and the connection "
		   "is aborted; what was not flushed is lost");
	scrub_and_die();
}

static struct lock_params params_of(struct worker *w)
{
	return (struct lock_params){
		.fs = w->fs,
		.server = w->server,
		.host = w->vault->host,
		.header = w->vault->h,
		.sock = w->lock_sock,
		.error = w->opts.lock_errno ? w->opts.lock_errno : EKEYREVOKED,
		.drain_ms = w->lock_ms * 2 / 5 < DRAIN_MS_MAX ? w->lock_ms * 2 / 5 : DRAIN_MS_MAX,
	};
}

static void end_locking(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	w->locking = 0;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

static void fail_lock(struct worker *w, int err)
{
	end_locking(w);
	close(w->lock_sock);
	w->lock_sock = -1;
	worker_say(w, CHANNEL_LOCK_FAILED, err, 0, werr_text(err));
}

static void *drain(void *arg)
{
	struct worker *w = arg;
	const struct lock_params params = params_of(w);
	int err = lock_drain(&params);

	// On success the main thread goes on when the server has paused.
	if (err)
		fail_lock(w, err);
	return NULL;
}

static int start_thread(void *(*fn)(void *), void *arg)
{
	sigset_t all, old;
	pthread_t thread;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int err = pthread_create(&thread, NULL, fn, arg) ? WERR_NOMEM : 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!err)
		pthread_detach(thread);
	return err;
}

void worker_lock(struct worker *w, int64_t ms, int sock)
{
	pthread_mutex_lock(&w->lock);
	int possible = w->phase == PHASE_SERVING && w->ready && !w->stopped && !w->locking;
	if (possible) {
		w->locking = 1;
		w->lock_ms = ms > 0 && ms < 60000 ? (int)ms : LOCK_MS_DEFAULT;
		w->lock_sock = sock;
	}
	pthread_mutex_unlock(&w->lock);
	if (!possible) {
		close(sock);
		worker_say(w, CHANNEL_LOCK_FAILED, WERR_BUSY, 0, "not now");
		return;
	}
	int err = start_thread(deadline, w);
	if (!err)
		err = start_thread(drain, w);
	if (err)
		fail_lock(w, err);
}

int worker_is_locking(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	int locking = w->locking;
	pthread_mutex_unlock(&w->lock);
	return locking;
}

// The same engine on the same connection, after all.
static int go_on(struct worker *w)
{
	struct fuse_connection c;

	fuse_server_connection(w->server, &c);
	c.fd = dup(c.fd);
	if (c.fd < 0)
		return WERR_MFILE;
	fuse_server_free(w->server);
	w->server = NULL;
	return fuse_server_resume(w->fs, &w->opts, &c, &w->server);
}

int worker_hand_over(struct worker *w, int *ret_gone)
{
	const struct lock_params params = params_of(w);
	int err = lock_hand_over(&params);

	*ret_gone = !err;
	if (err) {
		fail_lock(w, err);
		return go_on(w);
	}
	fuse_server_free(w->server);
	w->server = NULL;
	fs_abandon(w->fs);
	vault_close(w->vault);
	secret_wipe_all();
	close(w->lock_sock);
	end_locking(w);
	worker_say(w, CHANNEL_LOCKED, 0, 0, NULL);
	return 0;
}

// ---- taking back ----

// The same secret may open other vaults too: none of them is served in the place of the locked one.
static int is_locked_one(struct worker *w, const struct lock_identity *locked)
{
	int err = lock_compare(locked, w->vault->h);

	if (err == WERR_AUTH)
		snprintf(w->detail, sizeof(w->detail),
			 "another vault is in the place of the one that was locked; put its own "
			 "files back");
	if (err == WERR_ROLLBACK)
		snprintf(w->detail, sizeof(w->detail),
			 "the vault header is an older one than at the locking; put the newest "
			 "files back");
	return err;
}

int worker_ask_lock(struct worker *w)
{
	int sock, fd;
	int answer = worker_ask(w, CHANNEL_MOUNT, &sock);

	if (answer != CHANNEL_TAKE || sock < 0) {
		if (sock >= 0)
			close(sock);
		snprintf(w->detail, sizeof(w->detail), "%.*s", (int)sizeof(w->detail) - 1,
			 answer < 0 ? "" : w->answer.text);
		return answer < 0 ? answer : WERR_INTERNAL;
	}
	snprintf(w->device, sizeof(w->device), "%.*s", (int)sizeof(w->device) - 1, w->answer.text);
	w->lock_sock = sock;
	struct lock_identity locked;
	int err = lock_ask(sock, &fd, &locked);
	if (err)
		return err;
	err = is_locked_one(w, &locked);
	if (!err)
		err = host_posix_take_lock(w->vault->host, fd);
	close(fd);
	return err;
}

int worker_take_over(struct worker *w)
{
	struct lock_taken t;
	size_t lost;
	int err = lock_take(w->lock_sock, &t);

	if (err)
		return err;
	if (t.rotation_paused)
		rotate_pause(w->fs, true);
	err = fs_take_over(w->fs, t.nodes, t.nodes_len, &lost);
	if (!err)
		err = fuse_server_resume(w->fs, &w->opts, &t.connection, &w->server);
	if (err)
		close(t.connection.fd);
	else
		err = lock_replay(&t, w->server);
	lock_taken_clear(&t);
	if (!err)
		err = lock_have(w->lock_sock);
	close(w->lock_sock);
	w->lock_sock = -1;
	return err;
}

// ---- holding ----

// The mount is gone, or its channel: nothing is left to hold.
static void on_end(void *arg, int code)
{
	struct worker *w = arg;

	worker_say(w, CHANNEL_ENDED, code == WERR_NODEVICE ? 0 : code, 0, NULL);
	_exit(EXIT_WARD_OK);
}

static int hold_stop(struct worker *w, struct keyless_holder *h)
{
	struct channel_msg m;
	int fd;

	// Nothing waits for an unlocking any more.
	(void)keyless_holder_sleep(h);
	worker_say(w, CHANNEL_DETACH, 0, 0, NULL);
	while (!channel_receive(w->channel, &m, &fd)) {
		if (fd >= 0)
			close(fd);
		if (m.kind == CHANNEL_DETACHED)
			break;
	}
	worker_say(w, CHANNEL_ENDED, 0, 0, NULL);
	return 1;
}

// 1: the end.
static int hold_message(struct worker *w, struct keyless_holder *h, const struct channel_msg *m,
			int fd)
{
	int err;

	switch (m->kind) {
	case CHANNEL_TAKE:
		err = keyless_holder_take(h, fd);
		if (!err)
			worker_say(w, CHANNEL_READY, 0, 0, NULL);
		return err != 0;
	case CHANNEL_GIVE:
		err = keyless_holder_give(h, fd);
		if (err)
			worker_say(w, CHANNEL_READY, 0, 0, NULL); // it still serves
		else
			worker_say(w, CHANNEL_ENDED, 0, 0, NULL);
		return !err;
	case CHANNEL_SLEEP:
		if (m->n == 0)
			keyless_holder_wake(h);
		else
			worker_say(w, CHANNEL_SLEPT, 0, (int64_t)keyless_holder_sleep(h), NULL);
		return 0;
	case CHANNEL_STOP:
		return hold_stop(w, h);
	default:
		return 0;
	}
}

static void hold(struct worker *w, struct keyless_holder *h, int signals)
{
	struct pollfd polled[2] = {{.fd = signals, .events = POLLIN},
				   {.fd = w->channel, .events = POLLIN}};

	for (int end = 0; !end;) {
		static struct channel_msg m;
		int fd;

		if (poll(polled, 2, -1) < 0)
			continue;
		if (polled[0].revents)
			end = hold_stop(w, h);
		else if (channel_receive(w->channel, &m, &fd))
			end = 1;
		else {
			end = hold_message(w, h, &m, fd);
			if (fd >= 0)
				close(fd);
		}
	}
}

int worker_hold(struct worker *w)
{
	struct keyless_holder *h;
	sigset_t ends;

	int err = worker_confine(w);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &ends, NULL);
	int signals = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
	if (!err && signals < 0)
		err = WERR_MFILE;
	if (!err)
		err = keyless_holder_new(on_end, w, &h);
	if (err)
		return err;
	hold(w, h, signals);
	keyless_holder_free(h);
	return 0;
}
