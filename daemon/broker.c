// SPDX-License-Identifier: Apache-2.0
// The broker's life: its socket, its main thread, its end.
#include "daemon/broker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include "daemon/broker_private.h"
#include "daemon/rundir.h"
#include "daemon/worker.h"

#define END_S 120 // for writing everything at the end

// ---- the vaults ----

struct bvault *broker_find(struct broker *b, const char *mountpoint)
{
	for (struct bvault *v = b->vaults; v; v = v->next) {
		if (v->state != BSTATE_ABSENT && !strcmp(v->mountpoint, mountpoint))
			return v;
	}
	return NULL;
}

void broker_sweep(struct broker *b)
{
	for (struct bvault **at = &b->vaults; *at;) {
		struct bvault *v = *at;

		if (v->state != BSTATE_ABSENT || v->users || v->attendant || v->holder) {
			at = &v->next;
			continue;
		}
		*at = v->next;
		free(v->dir);
		free(v->mountpoint);
		free(v->options);
		json_decref(v->given);
		free(v);
	}
	eventfd_write(b->kick, 1);
}

void broker_log(const struct bvault *v, int priority, const char *line)
{
	syslog(priority, "%s: %s", v->mountpoint, line);
}

// ---- mounts that go away by themselves ----

void broker_notice_unmounts(struct broker *b)
{
	int ended = 0;

	for (struct bvault *v = b->vaults; v; v = v->next) {
		if (v->state != BSTATE_FAILED || bvault_is_mounted(v))
			continue;
		bvault_notice_unmount(v);
		ended |= v->state == BSTATE_ABSENT;
	}
	if (ended)
		broker_sweep(b);
}

// ---- life ----

static void stop_all(struct broker *b)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += END_S;
	pthread_mutex_lock(&b->lock);
	b->stopping = 1;
	for (struct bvault *v = b->vaults; v; v = v->next)
		bvault_stop(v);
	int rc = 0;
	while ((b->workers || b->endings) && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&b->changed, &b->lock, &until);
	for (struct bvault *v = b->vaults; rc == ETIMEDOUT && v; v = v->next) {
		if (v->keyed)
			bworker_kill(v->keyed);
		if (v->keyless)
			bworker_kill(v->keyless);
	}
	while (b->workers)
		pthread_cond_wait(&b->changed, &b->lock);
	pthread_mutex_unlock(&b->lock);
}

// A private broker ends with its vault, or when nobody came to name one.
static int is_over(struct broker *b)
{
	pthread_mutex_lock(&b->lock);
	int idle = !b->vaults && !b->workers;
	int had = b->had_vault;
	pthread_mutex_unlock(&b->lock);
	return b->p.one_vault && idle && (had || control_clients(b->server) == 0);
}

// Whether it ends the broker.
static int take_signal(struct broker *b, int signals)
{
	struct signalfd_siginfo info;

	if (read(signals, &info, sizeof(info)) != sizeof(info))
		return 0;
	if (info.ssi_signo != SIGUSR1)
		return 1;
	pthread_mutex_lock(&b->lock);
	broker_trigger(b, POLICY_SIGNAL);
	pthread_mutex_unlock(&b->lock);
	return 0;
}

static void attend_all(struct broker *b, int signals)
{
	int mounts = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	struct pollfd polled[3] = {{.fd = signals, .events = POLLIN},
				   {.fd = b->kick, .events = POLLIN},
				   {.fd = mounts, .events = POLLPRI}};
	eventfd_t count;

	while (!is_over(b)) {
		pthread_mutex_lock(&b->lock);
		int every = broker_tick(b);
		if (!b->had_vault && b->p.one_vault)
			every = 500;
		pthread_mutex_unlock(&b->lock);
		if (b->p.alive && (every < 0 || every > b->p.alive_ms))
			every = b->p.alive_ms;
		int n = poll(polled, 3, every);

		if (b->p.alive)
			b->p.alive(b->p.arg);
		if (n <= 0)
			continue;
		if (polled[0].revents && take_signal(b, signals))
			break;
		if (polled[1].revents)
			(void)!eventfd_read(b->kick, &count);
		// Of a worker that was killed we may hear after its mount has gone.
		pthread_mutex_lock(&b->lock);
		broker_notice_unmounts(b);
		pthread_mutex_unlock(&b->lock);
	}
	if (mounts >= 0)
		close(mounts);
}

static int open_socket(struct broker *b)
{
	char dir[PATH_MAX], path[PATH_MAX + 32];

	if (b->p.listen_fd >= 0)
		return control_listen_fd(b->server, b->p.listen_fd);
	int err = rundir_own(dir);
	if (err)
		return err;
	if (b->p.one_vault)
		snprintf(path, sizeof(path), "%s/%d", dir, (int)getpid());
	else
		snprintf(path, sizeof(path), "%s/%s", dir, BROKER_SOCKET);
	return control_listen(b->server, path);
}

static int begin(struct broker *b)
{
	const struct control_params params = {
		.methods = broker_methods,
		.methods_len = broker_methods_len,
		.other = broker_relay,
		.arg = b,
	};
	int err = control_new(&params, &b->server);

	if (err)
		return err;
	err = open_socket(b);
	// A private one still serves whoever started it.
	if (err && b->p.client_fd < 0)
		return err;
	if (err)
		syslog(LOG_WARNING, "no place for a control socket: %s", werr_text(err));
	return b->p.client_fd >= 0 ? control_adopt(b->server, b->p.client_fd) : 0;
}

int broker_run(const struct broker_params *params)
{
	static struct broker b = {.mounting = PTHREAD_MUTEX_INITIALIZER,
				  .lock = PTHREAD_MUTEX_INITIALIZER,
				  .changed = PTHREAD_COND_INITIALIZER};
	sigset_t ends;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGHUP);
	sigaddset(&ends, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &ends, NULL);
	b.p = *params;
	b.kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int signals = signalfd(-1, &ends, SFD_CLOEXEC);
	int err = b.kick < 0 || signals < 0 ? WERR_MFILE : begin(&b);
	if (err) {
		syslog(LOG_ERR, "cannot serve: %s", werr_text(err));
		return werr_exit(err);
	}
	if (params->ready)
		params->ready(params->arg);
	attend_all(&b, signals);
	stop_all(&b);
	logind_free(b.logind);
	control_free(b.server);
	return EXIT_WARD_OK;
}

// ---- private ----

int broker_start_private(int *ret_fd)
{
	int ends[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return WERR_MFILE;
	int err = worker_spawn(BROKER_ARGUMENT, ends[1], NULL, NULL, &pid);
	close(ends[1]);
	if (err)
		close(ends[0]);
	else
		*ret_fd = ends[0];
	return err;
}

int broker_main_private(int fd)
{
	const struct broker_params params = {.client_fd = fd, .listen_fd = -1, .one_vault = 1};

	openlog("wardfs", LOG_PID, LOG_DAEMON);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	return broker_run(&params);
}
