// SPDX-License-Identifier: Apache-2.0
// The fork, and what parent and worker say to each other over a socket pair: the worker reports
// stages, warnings and its failure, and asks for the passphrase; the parent answers with nothing
// else.
#include "daemon/worker_channel.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#define PASSPHRASE_ROOM_BYTES 8192

enum message_kind {
	MESSAGE_STAGE,
	MESSAGE_WARN,
	MESSAGE_TELL,
	MESSAGE_ASK, // for the passphrase
	MESSAGE_READY,
	MESSAGE_FAILED,
};

struct message {
	enum message_kind kind;
	int code;
	enum worker_stage stage;
	char text[256];
};

static int send_message(int fd, const struct message *m)
{
	ssize_t n;

	do
		n = send(fd, m, sizeof(*m), MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(*m) ? 0 : WERR_INTERRUPTED;
}

static ssize_t receive(int fd, void *buf, size_t cap)
{
	ssize_t n;

	do
		n = recv(fd, buf, cap, 0);
	while (n < 0 && errno == EINTR);
	return n;
}

// ---- the worker's side ----

struct channel {
	int fd;
};

static int channel_passphrase(void *arg, struct secret *ret)
{
	struct channel *c = arg;
	const struct message ask = {.kind = MESSAGE_ASK};
	SECRET_AUTO uint8_t *buf = secret_alloc(PASSPHRASE_ROOM_BYTES);

	if (!buf)
		return WERR_NOMEM;
	int err = send_message(c->fd, &ask);
	if (err)
		return err;
	ssize_t n = receive(c->fd, buf, PASSPHRASE_ROOM_BYTES);
	return n > 0 ? secret_copy(ret, buf, (size_t)n) : WERR_INTERRUPTED;
}

// That the parent is gone is seen by the watcher and at MESSAGE_READY.
static void channel_stage(void *arg, enum worker_stage stage)
{
	struct channel *c = arg;
	const struct message m = {.kind = MESSAGE_STAGE, .stage = stage};

	(void)!send_message(c->fd, &m);
}

static void channel_warn(void *arg, const char *line)
{
	struct channel *c = arg;
	struct message m = {.kind = MESSAGE_WARN};

	snprintf(m.text, sizeof(m.text), "%s", line);
	(void)!send_message(c->fd, &m);
}

static void channel_tell(void *arg, const char *line)
{
	struct channel *c = arg;
	struct message m = {.kind = MESSAGE_TELL};

	snprintf(m.text, sizeof(m.text), "%s", line);
	(void)!send_message(c->fd, &m);
}

// Whoever waits for the end of our output must not wait for the unmount.
static void channel_detach(void *arg)
{
	(void)arg;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return;
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	if (null > STDERR_FILENO)
		close(null);
}

static int channel_ready(void *arg)
{
	struct channel *c = arg;
	const struct message m = {.kind = MESSAGE_READY, .stage = WORKER_READY};

	return send_message(c->fd, &m);
}

// Only the channel is kept: what the caller had open (a file that --passfd named, a lock, the
// other end of a pipe) is not for a process that lives on.
static void close_others(int keep)
{
	if (keep > 3)
		close_range(3, (unsigned)keep - 1, 0);
	close_range((unsigned)keep + 1, ~0u, 0);
}

static _Noreturn void child(const struct worker_params *params, int fd)
{
	struct channel c = {.fd = fd};
	const struct worker_link link = {
		.fd = fd,
		.passphrase = channel_passphrase,
		.stage = channel_stage,
		.warn = channel_warn,
		.tell = channel_tell,
		.detach = channel_detach,
		.ready = channel_ready,
		.arg = &c,
	};
	struct worker_error error = {.stage = WORKER_VAULT};

	setsid();
	if (chdir("/"))
		exit(EXIT_WARD_INTERNAL);
	close_others(fd);
	openlog("wardfs", LOG_PID, LOG_DAEMON);
	int err = worker_serve(params, &link, &error);
	if (err) {
		struct message m = {.kind = MESSAGE_FAILED, .code = err, .stage = error.stage};

		snprintf(m.text, sizeof(m.text), "%s", error.detail);
		(void)!send_message(fd, &m);
	}
	exit(werr_exit(err));
}

// ---- the parent's side ----

static int answer_passphrase(int fd, const struct worker_hooks *hooks)
{
	SECRET_STRUCT_AUTO struct secret passphrase = {0};
	int err = hooks->passphrase(hooks->arg, &passphrase);

	if (err)
		return err;
	ssize_t n;
	do
		n = send(fd, passphrase.bytes, passphrase.len, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)passphrase.len ? 0 : WERR_INTERNAL;
}

static int worker_died(pid_t pid, struct worker_error *e)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			break;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_WARD_INTERRUPTED)
		return WERR_INTERRUPTED;
	if (WIFSIGNALED(status))
		snprintf(e->detail, sizeof(e->detail), "the worker was killed by signal %d",
			 WTERMSIG(status));
	else
		snprintf(e->detail, sizeof(e->detail), "the worker ended without a word");
	return WERR_INTERNAL;
}

// Until the folder is usable or the worker has failed.
static int attend(int fd, pid_t pid, const struct worker_hooks *hooks, struct worker_error *e)
{
	struct message m;

	for (;;) {
		if (receive(fd, &m, sizeof(m)) != (ssize_t)sizeof(m))
			return worker_died(pid, e);
		m.text[sizeof(m.text) - 1] = 0;
		switch (m.kind) {
		case MESSAGE_STAGE:
			e->stage = m.stage;
			hooks->stage(hooks->arg, m.stage);
			break;
		case MESSAGE_WARN:
			hooks->warn(hooks->arg, m.text);
			break;
		case MESSAGE_TELL:
			hooks->tell(hooks->arg, m.text);
			break;
		case MESSAGE_ASK: {
			int err = answer_passphrase(fd, hooks);

			if (err) {
				e->reported = 1;
				return err;
			}
			break;
		}
		case MESSAGE_READY:
			hooks->stage(hooks->arg, WORKER_READY);
			return 0;
		case MESSAGE_FAILED:
			e->stage = m.stage;
			snprintf(e->detail, sizeof(e->detail), "%s", m.text);
			return m.code;
		}
	}
}

static int mount_in_background(const struct worker_params *params, const struct worker_hooks *hooks,
			       struct worker_error *e)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		return werr_from_errno(errno);
	fflush(NULL);
	pid_t pid = fork();
	if (pid < 0) {
		int err = werr_from_errno(errno);

		close(ends[0]);
		close(ends[1]);
		return err;
	}
	if (pid == 0) {
		close(ends[0]);
		child(params, ends[1]);
	}
	close(ends[1]);
	int err = attend(ends[0], pid, hooks, e);
	// A worker that is not ready ends when its parent hangs up.
	close(ends[0]);
	if (err) {
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
		}
	}
	return err;
}

// ---- the same process ----

static int own_passphrase(void *arg, struct secret *ret)
{
	const struct worker_hooks *hooks = arg;

	return hooks->passphrase(hooks->arg, ret);
}

static void own_stage(void *arg, enum worker_stage stage)
{
	const struct worker_hooks *hooks = arg;

	hooks->stage(hooks->arg, stage);
}

static void own_warn(void *arg, const char *line)
{
	const struct worker_hooks *hooks = arg;

	hooks->warn(hooks->arg, line);
}

static void own_tell(void *arg, const char *line)
{
	const struct worker_hooks *hooks = arg;

	hooks->tell(hooks->arg, line);
}

static void own_detach(void *arg)
{
	(void)arg;
}

static int own_ready(void *arg)
{
	own_stage(arg, WORKER_READY);
	return 0;
}

static int mount_in_foreground(const struct worker_params *params, const struct worker_hooks *hooks,
			       struct worker_error *e)
{
	const struct worker_link link = {
		.fd = -1,
		.passphrase = own_passphrase,
		.stage = own_stage,
		.warn = own_warn,
		.tell = own_tell,
		.detach = own_detach,
		.ready = own_ready,
		.arg = (void *)(uintptr_t)hooks,
	};

	return worker_serve(params, &link, e);
}

int worker_mount(const struct worker_params *params, const struct worker_hooks *hooks,
		 struct worker_error *ret_error)
{
	*ret_error = (struct worker_error){.stage = WORKER_VAULT};
	return params->foreground ? mount_in_foreground(params, hooks, ret_error)
				  : mount_in_background(params, hooks, ret_error);
}
