// SPDX-License-Identifier: Apache-2.0
// The broker's side of a worker: starting it, the thread that listens to it, its end.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include "daemon/broker_private.h"
#include "daemon/varlink.h"
#include "daemon/worker.h"

static const char *const role_names[] = {
	[ROLE_KEYED] = "keyed", [ROLE_UNLOCK] = "unlock", [ROLE_KEYLESS] = "keyless"};

int bworker_tell(struct bworker *w, enum channel_kind kind, int64_t n, const char *text, int fd)
{
	struct channel_msg m;

	m.kind = kind;
	m.code = 0;
	m.stage = STAGE_VAULT;
	m.n = n;
	snprintf(m.text, sizeof(m.text), "%s", text ? text : "");
	return channel_send(w->fd, &m, fd, 0);
}

void bworker_kill(struct bworker *w)
{
	if (!w->reaped)
		kill(w->pid, SIGKILL);
}

// Says how a worker ended that did not say it itself.
static void note_death(struct bworker *w, int status)
{
	char line[80];

	if (w->ended)
		return;
	w->code = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_WARD_INTERRUPTED
			  ? WERR_INTERRUPTED
			  : WERR_INTERNAL;
	if (WIFSIGNALED(status))
		snprintf(line, sizeof(line), "the worker was killed by signal %d",
			 WTERMSIG(status));
	else
		snprintf(line, sizeof(line), "the worker ended without a word");
	if (w->code == WERR_INTERNAL)
		broker_log(w->vault, LOG_ERR, line);
	snprintf(w->detail, sizeof(w->detail), "%s", line);
}

static void *supervise(void *arg)
{
	struct bworker *w = arg;
	struct bvault *v = w->vault;
	struct broker *b = v->broker;
	struct channel_msg *m = malloc(sizeof(*m));
	int status = 0, fd = -1;

	while (m && !channel_receive(w->fd, m, &fd)) {
		if (fd >= 0)
			close(fd); // no message of a worker has one
		bvault_hear(v, w, m);
	}
	free(m);
	while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR)
		;
	pthread_mutex_lock(&b->lock);
	w->reaped = 1;
	note_death(w, status);
	bvault_bury(v, w);
	close(w->fd);
	free(w);
	b->workers--;
	v->users--;
	broker_sweep(b);
	pthread_cond_broadcast(&b->changed);
	pthread_mutex_unlock(&b->lock);
	return NULL;
}

int broker_thread(void *(*fn)(void *arg), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, old;

	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int err = pthread_create(&thread, &attr, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return err ? WERR_NOMEM : 0;
}

int64_t bworker_activity_ms(const struct bvault *v)
{
	// A tenth of the idle time is what it can be late.
	return !v->policy.idle_s ? -1 : v->policy.idle_s < 100 ? v->policy.idle_s * 100 : 10000;
}

static int tell_start(struct bworker *w, int fd)
{
	const struct bvault *v = w->vault;
	json_t *j = json_pack("{so so ss ss sb sb}", "vault", varlink_path(v->dir), "mountpoint",
			      varlink_path(v->mountpoint), "options", v->options, "mode",
			      role_names[w->role], "no_anchor", v->no_anchor, "log_names",
			      v->log_names);
	if (j && w->role != ROLE_KEYLESS)
		json_object_set_new(j, "activity_ms", json_integer(bworker_activity_ms(v)));
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	int err = text ? 0 : WERR_NOMEM;

	if (!err && strlen(text) >= CHANNEL_TEXT_MAX)
		err = WERR_NAMETOOLONG;
	if (!err)
		err = bworker_tell(w, CHANNEL_START, 0, text, fd);
	free(text);
	json_decref(j);
	return err;
}

int bworker_start(struct bvault *v, enum worker_role role, int fd, struct bworker **ret)
{
	struct bworker *w = calloc(1, sizeof(*w));
	int ends[2];

	if (!w)
		return WERR_NOMEM;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
		free(w);
		return WERR_MFILE;
	}
	*w = (struct bworker){.vault = v, .role = role, .fd = ends[0]};
	int err = worker_spawn(WORKER_ARGUMENT, ends[1], v->dir, v->mountpoint, &w->pid);
	close(ends[1]);
	if (!err) {
		err = tell_start(w, fd);
		if (!err)
			err = broker_thread(supervise, w);
		if (err) {
			kill(w->pid, SIGKILL);
			waitpid(w->pid, NULL, 0);
		}
	}
	if (err) {
		close(w->fd);
		free(w);
		return err;
	}
	v->users++;
	v->broker->workers++;
	*ret = w;
	return 0;
}
