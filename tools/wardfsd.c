// SPDX-License-Identifier: Apache-2.0
// The broker for many vaults, as a service of a user or of the system. wardfsd(8).
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "crypto/secret.h"
#include "daemon/broker.h"
#include "daemon/channel.h"
#include "daemon/worker.h"

#define LISTEN_FDS_START 3

static error_t parse(int key, char *arg, struct argp_state *state)
{
	if (key == ARGP_KEY_ARG)
		argp_failure(state, EXIT_WARD_USAGE, 0, "'%s' is one argument too many", arg);
	return ARGP_ERR_UNKNOWN;
}

// ---- the service manager: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3) ----

static void notify(const char *text)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path ? strlen(path) : 0;

	if (len < 2 || len >= sizeof(addr.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(addr.sun_path, path, len);
	if (addr.sun_path[0] == '@')
		addr.sun_path[0] = 0;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&addr,
		     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
	close(fd);
}

static int is_ours(const char *variable)
{
	const char *pid = getenv(variable);

	return pid && strtol(pid, NULL, 10) == getpid();
}

// The socket that we were started for; -1: none.
static int activated_socket(void)
{
	const char *count = getenv("LISTEN_FDS");

	if (!is_ours("LISTEN_PID") || !count || strtol(count, NULL, 10) < 1)
		return -1;
	fcntl(LISTEN_FDS_START, F_SETFD, FD_CLOEXEC);
	int flags = fcntl(LISTEN_FDS_START, F_GETFL);
	fcntl(LISTEN_FDS_START, F_SETFL, flags | O_NONBLOCK);
	return LISTEN_FDS_START;
}

// Half of the time after which the manager takes us for hung, in ms; 0: it does not look.
static int watchdog_ms(void)
{
	const char *usec = getenv("WATCHDOG_USEC");
	long long n = usec ? strtoll(usec, NULL, 10) : 0;

	if (n <= 0 || (getenv("WATCHDOG_PID") && !is_ours("WATCHDOG_PID")))
		return 0;
	return n / 2000 > 3600000 ? 3600000 : n < 2000 ? 1 : (int)(n / 2000);
}

static void on_ready(void *arg)
{
	(void)arg;
	notify("READY=1");
}

static void on_alive(void *arg)
{
	(void)arg;
	notify("WATCHDOG=1");
}

int main(int argc, char **argv)
{
	const struct argp argp = {
		.parser = parse,
		.doc = "Supervises mounted vaults and answers the control socket. Stays in the "
		       "foreground; SIGTERM unmounts everything, SIGUSR1 locks everything.",
	};
	const struct rlimit none = {0, 0};

	argp_err_exit_status = EXIT_WARD_USAGE;
	if (secret_init() || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) || setrlimit(RLIMIT_CORE, &none))
		return EXIT_WARD_INTERNAL;
	if (argc >= 2 && !strcmp(argv[1], WORKER_ARGUMENT))
		worker_main(CHANNEL_FD);
	argp_parse(&argp, argc, argv, 0, NULL, NULL);
	openlog("wardfsd", LOG_PID | LOG_PERROR, LOG_DAEMON);
	int every = watchdog_ms();
	const struct broker_params params = {
		.client_fd = -1,
		.listen_fd = activated_socket(),
		.ready = on_ready,
		.alive = every ? on_alive : NULL,
		.alive_ms = every,
	};
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	if (chdir("/"))
		return EXIT_WARD_INTERNAL;
	int status = broker_run(&params);
	notify("STOPPING=1");
	return status;
}
