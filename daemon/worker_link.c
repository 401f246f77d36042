// SPDX-License-Identifier: Apache-2.0
// A worker's side of the channel, and the thread that listens to it and to signals.
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "crypto/offer.h"
#include "daemon/varlink.h"
#include "daemon/worker_private.h"

// ---- the start ----

static int take_path(const json_t *j, const char *name, char ret[static PATH_MAX])
{
	char *path = varlink_path_of(json_object_get(j, name));
	int err = path ? 0 : WERR_INTERNAL;

	if (path)
		memcpy(ret, path, strlen(path) + 1);
	free(path);
	return err;
}

static int take_mode(const json_t *j, enum worker_mode *ret)
{
	static const char *const names[] = {
		[WORKER_KEYED] = "keyed", [WORKER_UNLOCK] = "unlock", [WORKER_KEYLESS] = "keyless"};
	const char *text = json_string_value(json_object_get(j, "mode"));

	for (size_t i = 0; text && i < sizeof(names) / sizeof(names[0]); i++) {
		if (!strcmp(text, names[i])) {
			*ret = (enum worker_mode)i;
			return 0;
		}
	}
	return WERR_INTERNAL;
}

int worker_link_start(struct worker *w, const struct channel_msg *start, int fd)
{
	json_t *j = start->kind == CHANNEL_START ? json_loads(start->text, 0, NULL) : NULL;
	const char *options = json_string_value(json_object_get(j, "options"));
	int err = j && options ? 0 : WERR_INTERNAL;

	w->passphrase_fd = fd;
	mountopts_init(&w->opts);
	if (!err)
		err = take_path(j, "vault", w->dir);
	if (!err)
		err = take_path(j, "mountpoint", w->mountpoint);
	if (!err)
		err = take_mode(j, &w->mode);
	if (!err)
		err = mountopts_parse(&w->opts, options);
	const json_t *every = json_object_get(j, "activity_ms");
	w->activity_ms = json_is_integer(every) ? (int)json_integer_value(every) : -1;
	w->no_anchor = json_is_true(json_object_get(j, "no_anchor"));
	w->log_names = json_is_true(json_object_get(j, "log_names"));
	json_decref(j);
	return err;
}

// ---- saying ----

void worker_say(struct worker *w, enum channel_kind kind, int code, int64_t n, const char *text)
{
	struct channel_msg m;

	m.kind = kind;
	m.code = code;
	m.stage = w->stage;
	m.n = n;
	snprintf(m.text, sizeof(m.text), "%s", text ? text : "");
	// That the broker is gone is seen by the watcher.
	(void)!channel_send(w->channel, &m, -1, 1);
}

void worker_stage(struct worker *w, enum channel_stage stage)
{
	w->stage = stage;
	worker_say(w, CHANNEL_STAGE, 0, 0, NULL);
}

int worker_ask(struct worker *w, enum channel_kind kind, int *ret_fd)
{
	pthread_mutex_lock(&w->lock);
	w->answered = 0;
	pthread_mutex_unlock(&w->lock);
	worker_say(w, kind, 0, 0, NULL);
	pthread_mutex_lock(&w->lock);
	while (!w->answered && !w->broker_gone)
		pthread_cond_wait(&w->changed, &w->lock);
	int kind_or_err = w->answered ? (int)w->answer.kind : WERR_INTERRUPTED;
	*ret_fd = w->answered ? w->answer_fd : -1;
	w->answer_fd = -1;
	pthread_mutex_unlock(&w->lock);
	return kind_or_err;
}

int worker_passphrase(struct worker *w, struct secret *ret)
{
	SECRET_AUTO uint8_t *buf = secret_alloc(OFFER_BYTES_MAX);
	size_t len = 0;
	ssize_t n = 0;

	if (!buf)
		return WERR_NOMEM;
	if (w->passphrase_fd < 0)
		return WERR_USAGE;
	worker_say(w, CHANNEL_ASK, 0, 0, NULL);
	do {
		n = read(w->passphrase_fd, buf + len, OFFER_BYTES_MAX - len);
		if (n > 0)
			len += (size_t)n;
	} while ((n > 0 && len < OFFER_BYTES_MAX) || (n < 0 && errno == EINTR));
	close(w->passphrase_fd);
	w->passphrase_fd = -1;
	if (n < 0)
		return WERR_IO;
	// Whoever was asked has gone away without a word.
	return len ? secret_copy(ret, buf, len) : WERR_INTERRUPTED;
}

// ---- listening ----

static void take_answer(struct worker *w, const struct channel_msg *m, int *fd)
{
	pthread_mutex_lock(&w->lock);
	w->answered = 1;
	w->answer = *m;
	w->answer_fd = *fd;
	*fd = -1;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

static void take_message(struct worker *w, const struct channel_msg *m, int fd)
{
	switch (m->kind) {
	case CHANNEL_FUSE:
	case CHANNEL_REFUSED:
	case CHANNEL_DETACHED:
	case CHANNEL_TAKE:
		take_answer(w, m, &fd);
		break;
	case CHANNEL_CONTROL:
		if (worker_is_ready(w)) {
			worker_control_adopt(w->control, fd);
			fd = -1;
		}
		break;
	case CHANNEL_LOCK:
		worker_lock(w, m->n, fd);
		fd = -1;
		break;
	case CHANNEL_ACTIVITY:
		w->activity_ms = m->n >= 0 && m->n <= 60000 ? (int)m->n : -1;
		break;
	case CHANNEL_STOP:
		worker_stop(w);
		break;
	default:
		break;
	}
	if (fd >= 0)
		close(fd);
}

static void lose_broker(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	w->broker_gone = 1;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
	worker_stop(w);
}

static void report_use(struct worker *w, uint64_t *used)
{
	pthread_mutex_lock(&w->lock);
	uint64_t now = w->phase == PHASE_SERVING && w->ready ? fuse_server_uses(w->server) : *used;
	pthread_mutex_unlock(&w->lock);
	if (w->activity_ms >= 0 && now != *used)
		worker_say(w, CHANNEL_ACTIVE, 0, 0, NULL);
	*used = now;
}

static void *watch(void *arg)
{
	struct worker *w = arg;
	struct pollfd polled[3] = {{.fd = w->wake, .events = POLLIN},
				   {.fd = w->signals, .events = POLLIN},
				   {.fd = w->channel, .events = POLLIN}};

	uint64_t used = 0;

	for (;;) {
		struct signalfd_siginfo info;
		struct channel_msg m;
		int fd;

		if (poll(polled, 3, w->activity_ms) < 0)
			continue;
		report_use(w, &used);
		if (polled[0].revents)
			return NULL;
		if (polled[1].revents && read(w->signals, &info, sizeof(info)) == sizeof(info)) {
			if (info.ssi_signo == SIGUSR1)
				worker_say(w, CHANNEL_LOCK_WANTED, 0, 0, NULL);
			else
				worker_stop(w);
		}
		if (!polled[2].revents)
			continue;
		if (channel_receive(w->channel, &m, &fd)) {
			polled[2].fd = -1;
			lose_broker(w);
		} else {
			take_message(w, &m, fd);
		}
	}
}

// From here on the watcher takes the signals that end a worker; every thread made later inherits
// the mask.
int worker_watch_start(struct worker *w)
{
	sigset_t ends;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGHUP);
	sigaddset(&ends, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &ends, NULL);
	w->signals = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
	w->wake = eventfd(0, EFD_CLOEXEC);
	if (w->signals < 0 || w->wake < 0)
		return WERR_MFILE;
	if (pthread_create(&w->watcher, NULL, watch, w))
		return WERR_NOMEM;
	return 0;
}

void worker_watch_end(struct worker *w)
{
	eventfd_write(w->wake, 1);
	pthread_join(w->watcher, NULL);
	close(w->wake);
	close(w->signals);
}

int worker_is_ready(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	int ready = w->ready;
	pthread_mutex_unlock(&w->lock);
	return ready;
}
