// SPDX-License-Identifier: Apache-2.0
// Connections: listening, who may ask, one thread each. What a call is stands in control_call.c.
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/control_private.h"

// Between two calls, for the rest of a call, and for a client that does not read its replies.
#define IDLE_MS 600000
#define MESSAGE_MS 10000
#define SEND_S 10

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

int control_new(const struct control_params *p, struct control_server **ret)
{
	struct control_server *s = calloc(1, sizeof(*s));

	if (!s)
		return WERR_NOMEM;
	s->p = *p;
	s->listener = -1;
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		s->slots[i].kick = -1;
	s->wake = eventfd(0, EFD_CLOEXEC);
	if (s->wake < 0) {
		free(s);
		return WERR_MFILE;
	}
	pthread_mutex_init(&s->lock, NULL);
	*ret = s;
	return 0;
}

// ---- one connection ----

static void *serve(void *arg)
{
	struct control_client_slot *slot = arg;
	const struct varlink_wait wait = {.wake_fd = slot->server->wake,
					  .gone_fd = -1,
					  .idle_ms = IDLE_MS,
					  .message_ms = MESSAGE_MS};
	json_t *message;

	while (!atomic_load(&slot->server->ending) &&
	       !varlink_receive(&slot->conn, &wait, &message)) {
		int end = control_call_serve(slot, message);

		json_decref(message);
		int unused = varlink_take_fd(&slot->conn);
		close_fd(&unused);
		if (end)
			break;
	}
	varlink_clear(&slot->conn);
	atomic_store(&slot->ended, 1);
	return NULL;
}

// Frees what a connection had whose thread has ended. lock held, or the server's end.
static void reap(struct control_client_slot *slot)
{
	pthread_join(slot->thread, NULL);
	close_fd(&slot->kick);
	slot->used = 0;
}

// All signals are the main program's business.
static int start_thread(pthread_t *ret, void *(*fn)(void *arg), void *arg)
{
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int err = pthread_create(ret, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return err ? WERR_NOMEM : 0;
}

static int start_client(struct control_client_slot *slot, struct control_server *s, int fd)
{
	const struct timeval limit = {.tv_sec = SEND_S};

	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	slot->server = s;
	slot->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (slot->kick < 0)
		return WERR_MFILE;
	varlink_init(&slot->conn, fd, CONTROL_MESSAGE_MAX_BYTES);
	atomic_store(&slot->ended, 0);
	int err = start_thread(&slot->thread, serve, slot);
	if (err)
		close_fd(&slot->kick);
	else
		slot->used = 1;
	return err;
}

int control_adopt(struct control_server *s, int fd)
{
	struct control_client_slot *slot = NULL;
	int err = WERR_BUSY;

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		if (s->slots[i].used && atomic_load(&s->slots[i].ended))
			reap(&s->slots[i]);
		if (!s->slots[i].used && !slot)
			slot = &s->slots[i];
	}
	if (slot && !atomic_load(&s->ending))
		err = start_client(slot, s, fd);
	pthread_mutex_unlock(&s->lock);
	if (err)
		close(fd);
	return err;
}

unsigned control_clients(struct control_server *s)
{
	unsigned n = 0;

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		n += s->slots[i].used && !atomic_load(&s->slots[i].ended);
	pthread_mutex_unlock(&s->lock);
	return n;
}

// ---- listening ----

static int peer_may_ask(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

static void *accept_all(void *arg)
{
	struct control_server *s = arg;
	struct pollfd polled[2] = {{.fd = s->wake, .events = POLLIN},
				   {.fd = s->listener, .events = POLLIN}};

	while (!atomic_load(&s->ending)) {
		if (poll(polled, 2, -1) < 0 || !polled[1].revents)
			continue;
		int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		// Refused without a word: a stranger, or one client too many.
		if (peer_may_ask(fd) && !atomic_load(&s->quiet))
			(void)!control_adopt(s, fd);
		else
			close(fd);
	}
	return NULL;
}

int control_listen_fd(struct control_server *s, int fd)
{
	s->listener = fd;
	int err = start_thread(&s->acceptor, accept_all, s);
	if (err)
		close_fd(&s->listener);
	return err;
}

// The same name with a dot in front, which nobody looks for. False: too long.
static bool hidden_name(const char *path, char *ret, size_t size)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	int n = snprintf(ret, size, "%.*s.%s", (int)(name - path), path, name);

	return n > 0 && (size_t)n < size;
}

int control_listen(struct control_server *s, const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	if (!hidden_name(path, addr.sun_path, sizeof(addr.sun_path)))
		return WERR_NAMETOOLONG;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return werr_from_errno(errno);
	// Of a process that was killed: its number is ours now.
	unlink(addr.sun_path);
	mode_t mask = umask(0177);
	// Who finds a socket that nobody listens to removes it.
	int failed = bind(fd, (struct sockaddr *)&addr, sizeof(addr)) ||
		     listen(fd, CONTROL_CLIENTS_MAX) || rename(addr.sun_path, path);
	umask(mask);
	if (failed) {
		int err = werr_from_errno(errno);

		unlink(addr.sun_path);
		close(fd);
		return err;
	}
	s->path = strdup(path);
	return control_listen_fd(s, fd);
}

// ---- events ----

void control_event(struct control_server *s, json_t *event)
{
	char *text = event ? json_dumps(event, JSON_COMPACT) : NULL;

	json_decref(event);
	if (!text)
		return;
	pthread_mutex_lock(&s->lock);
	char **place = &s->events[s->events_next % EVENTS_KEPT];
	free(*place);
	*place = text;
	s->events_next++;
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		if (s->slots[i].used)
			eventfd_write(s->slots[i].kick, 1);
	}
	pthread_mutex_unlock(&s->lock);
}

// ---- the end ----

void control_quiesce(struct control_server *s)
{
	atomic_store(&s->quiet, true);
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		if (s->slots[i].used)
			eventfd_write(s->slots[i].kick, 1);
	}
	pthread_mutex_unlock(&s->lock);
}

void control_unlisten(struct control_server *s)
{
	if (s->path)
		unlink(s->path);
	free(s->path);
	s->path = NULL;
}

void control_free(struct control_server *s)
{
	if (!s)
		return;
	control_quiesce(s);
	atomic_store(&s->ending, true);
	eventfd_write(s->wake, 1);
	if (s->listener >= 0)
		pthread_join(s->acceptor, NULL);
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		if (s->slots[i].used)
			reap(&s->slots[i]);
	}
	control_unlisten(s);
	close_fd(&s->listener);
	close_fd(&s->wake);
	for (unsigned i = 0; i < EVENTS_KEPT; i++)
		free(s->events[i]);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
