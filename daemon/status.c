// SPDX-License-Identifier: Apache-2.0
#include "daemon/status.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "crypto/gcm.h"

#define CLIENTS_MAX 32
#define MESSAGE_MAX_BYTES 16384
#define ANSWER_TIMEOUT_S 5
#define DIRS_MAX 3

struct status_server {
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	char *vault, *mountpoint, *device;
	int readonly;
	time_t since;
	int listener, wake;
	pthread_t thread;
	pthread_mutex_t lock; // guards fs and ended
	struct fs *fs;        // NULL once closing
	int ended;
	int clients[CLIENTS_MAX]; // the thread's; after its end status_finish's
	unsigned clients_len;
};

// ---- where the sockets are ----

struct dirs {
	char path[DIRS_MAX][PATH_MAX];
	unsigned len;
};

__attribute__((format(printf, 2, 3))) static void add_dir(struct dirs *d, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(d->path[d->len], PATH_MAX, fmt, ap);
	va_end(ap);
	if (n > 0 && n < PATH_MAX)
		d->len++;
}

// Where workers of a user put their sockets, best first.
static void dirs_of(uid_t uid, struct dirs *ret)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");

	ret->len = 0;
	if (uid == 0) {
		add_dir(ret, "/run/wardfs");
		return;
	}
	if (xdg && xdg[0] == '/' && uid == geteuid())
		add_dir(ret, "%s/wardfs", xdg);
	add_dir(ret, "/run/user/%u/wardfs", uid);
	add_dir(ret, "/tmp/wardfs-%u", uid);
}

// A directory that belongs to nobody else, or WERR_PERM.
static int check_dir(const char *path, uid_t uid)
{
	struct stat st;

	if (lstat(path, &st))
		return werr_from_errno(errno);
	if (!S_ISDIR(st.st_mode) || st.st_uid != uid || (st.st_mode & 022))
		return WERR_PERM;
	return 0;
}

static int own_dir(char *ret, size_t cap)
{
	struct dirs d;

	dirs_of(geteuid(), &d);
	for (unsigned i = 0; i < d.len; i++) {
		if (mkdir(d.path[i], 0700) && errno != EEXIST)
			continue;
		if (check_dir(d.path[i], geteuid()))
			continue;
		int n = snprintf(ret, cap, "%s/%d", d.path[i], (int)getpid());
		if (n > 0 && (size_t)n < cap)
			return 0;
	}
	return WERR_NOTFOUND;
}

// ---- worker ----

static json_t *counters(struct fs *fs)
{
	struct fs_status st;

	fs_get_status(fs, &st);
	return json_pack("{sI sI sI sI sI sI sI sI sI sI sI sb ss}", "mount_number",
			 (json_int_t)st.mount, "checkpoints", (json_int_t)st.checkpoints,
			 "generation", (json_int_t)st.generation, "journal_used_bytes",
			 (json_int_t)st.journal_used, "journal_capacity_bytes",
			 (json_int_t)st.journal_capacity, "nodes", (json_int_t)st.nodes,
			 "overlay_bytes", (json_int_t)st.overlay_bytes, "metadata_bytes",
			 (json_int_t)st.metadata_bytes, "refusals", (json_int_t)st.refusals,
			 "fsyncs", (json_int_t)st.fsyncs, "commits", (json_int_t)st.commits,
			 "readonly", st.readonly, "readonly_reason", st.readonly_reason);
}

// JSON is text; a path may be any bytes. What is not UTF-8 is shown as '?'.
static json_t *text(const char *s)
{
	json_t *j = json_string(s);

	if (j)
		return j;
	char *copy = strdup(s);
	for (char *c = copy; c && *c; c++) {
		if (*c & 0x80)
			*c = '?';
	}
	j = copy ? json_string(copy) : NULL;
	free(copy);
	return j;
}

static char *describe(struct status_server *s)
{
	json_t *j = json_object(), *more = NULL;

	json_object_set_new(j, "pid", json_integer(getpid()));
	json_object_set_new(j, "user_id", json_integer(geteuid()));
	json_object_set_new(j, "vault", text(s->vault));
	json_object_set_new(j, "mountpoint", text(s->mountpoint));
	json_object_set_new(j, "device", text(s->device));
	json_object_set_new(j, "mounted_readonly", json_boolean(s->readonly));
	json_object_set_new(j, "since", json_integer(s->since));
	json_object_set_new(j, "aes_backend", text(gcm_backend()));
	pthread_mutex_lock(&s->lock);
	json_object_set_new(j, "state", json_string(s->fs ? "mounted" : "closing"));
	if (s->fs)
		more = counters(s->fs);
	pthread_mutex_unlock(&s->lock);
	if (more) {
		json_object_update(j, more);
		json_decref(more);
	}
	char *dump = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	return dump;
}

static int peer_may_ask(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

static void accept_one(struct status_server *s)
{
	int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (s->clients_len == CLIENTS_MAX || !peer_may_ask(fd)) {
		close(fd);
		return;
	}
	char *dump = describe(s);
	ssize_t n = dump ? send(fd, dump, strlen(dump), MSG_NOSIGNAL) : -1;
	free(dump);
	if (n < 0)
		close(fd);
	else
		s->clients[s->clients_len++] = fd;
}

static int has_ended(struct status_server *s)
{
	pthread_mutex_lock(&s->lock);
	int ended = s->ended;
	pthread_mutex_unlock(&s->lock);
	return ended;
}

// Clients say nothing: whatever comes from one is its end.
static void drop_gone(struct status_server *s, const struct pollfd *polled, unsigned len)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < s->clients_len; i++) {
		if (i < len && polled[i].revents)
			close(s->clients[i]);
		else
			s->clients[kept++] = s->clients[i];
	}
	s->clients_len = kept;
}

static void *serve(void *arg)
{
	struct status_server *s = arg;
	struct pollfd polled[2 + CLIENTS_MAX];

	while (!has_ended(s)) {
		unsigned len = s->clients_len;

		polled[0] = (struct pollfd){.fd = s->wake, .events = POLLIN};
		polled[1] = (struct pollfd){.fd = s->listener, .events = POLLIN};
		for (unsigned i = 0; i < len; i++)
			polled[2 + i] = (struct pollfd){.fd = s->clients[i], .events = POLLIN};
		if (poll(polled, 2 + len, -1) < 0)
			continue;
		drop_gone(s, polled + 2, len);
		if (polled[1].revents)
			accept_one(s);
	}
	return NULL;
}

static int listen_at(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	memcpy(addr.sun_path, path, strlen(path) + 1);
	// Of a process that was killed: its number is ours now.
	unlink(path);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || chmod(path, 0600) ||
	    listen(fd, CLIENTS_MAX)) {
		close(fd);
		return -1;
	}
	return fd;
}

static void server_free(struct status_server *s)
{
	if (s->listener >= 0) {
		unlink(s->path);
		close(s->listener);
	}
	if (s->wake >= 0)
		close(s->wake);
	free(s->vault);
	free(s->mountpoint);
	free(s->device);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

// All signals are the main program's business.
static int start_thread(struct status_server *s)
{
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int err = pthread_create(&s->thread, NULL, serve, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return err;
}

int status_start(const struct status_about *about, struct fs *fs, struct status_server **ret)
{
	struct status_server *s = calloc(1, sizeof(*s));

	if (!s)
		return WERR_NOMEM;
	pthread_mutex_init(&s->lock, NULL);
	s->fs = fs;
	s->readonly = about->readonly;
	s->since = time(NULL);
	s->vault = strdup(about->vault);
	s->mountpoint = strdup(about->mountpoint);
	s->device = strdup(about->device);
	s->listener = -1;
	s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int err = s->vault && s->mountpoint && s->device && s->wake >= 0 ? 0 : WERR_NOMEM;
	if (!err)
		err = own_dir(s->path, sizeof(s->path));
	if (!err) {
		s->listener = listen_at(s->path);
		err = s->listener < 0 ? WERR_IO : 0;
	}
	if (!err && start_thread(s))
		err = WERR_NOMEM;
	if (err) {
		server_free(s);
		return err;
	}
	*ret = s;
	return 0;
}

void status_closing(struct status_server *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->fs = NULL;
	pthread_mutex_unlock(&s->lock);
}

void status_finish(struct status_server *s, int code)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->ended = 1;
	pthread_mutex_unlock(&s->lock);
	eventfd_write(s->wake, 1);
	pthread_join(s->thread, NULL);
	for (unsigned i = 0; i < s->clients_len; i++) {
		char end[48];

		snprintf(end, sizeof(end), "{\"end\":%d}", code);
		send(s->clients[i], end, strlen(end), MSG_NOSIGNAL);
		// Not closed: the process's own end closes it, which is what the other side waits
		// for.
	}
	server_free(s);
}

// ---- asking ----

static json_t *receive(int fd)
{
	char *buf = malloc(MESSAGE_MAX_BYTES);
	ssize_t n;

	do
		n = buf ? recv(fd, buf, MESSAGE_MAX_BYTES, 0) : -1;
	while (n < 0 && errno == EINTR);
	json_t *j = n > 0 ? json_loadb(buf, (size_t)n, 0, NULL) : NULL;
	free(buf);
	return j;
}

// Connects to a worker that runs as uid; -1 when there is none.
static int connect_to(const char *path, uid_t uid)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	const struct timeval timeout = {.tv_sec = ANSWER_TIMEOUT_S};
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (strlen(path) >= sizeof(addr.sun_path))
		return -1;
	memcpy(addr.sun_path, path, strlen(path) + 1);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	if (!connect(fd, (struct sockaddr *)&addr, sizeof(addr)) &&
	    !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) && peer.uid == uid)
		return fd;
	// What a killed worker left behind.
	if (errno == ECONNREFUSED && uid == geteuid())
		unlink(path);
	close(fd);
	return -1;
}

static int ask(const char *path, uid_t uid, status_fn fn, void *arg)
{
	int fd = connect_to(path, uid), kept = 0;

	if (fd < 0)
		return 0;
	json_t *state = receive(fd);
	if (json_is_object(state))
		kept = fn(arg, state, fd);
	json_decref(state);
	if (!kept)
		close(fd);
	return kept;
}

static int ask_dir(const char *path, uid_t uid, status_fn fn, void *arg)
{
	struct dirent *d;
	int kept = 0;

	if (check_dir(path, uid))
		return 0;
	DIR *dir = opendir(path);
	while (!kept && dir && (d = readdir(dir))) {
		char name[PATH_MAX];
		int n = snprintf(name, sizeof(name), "%s/%s", path, d->d_name);

		if (d->d_name[0] != '.' && n > 0 && (size_t)n < sizeof(name))
			kept = ask(name, uid, fn, arg);
	}
	if (dir)
		closedir(dir);
	return kept;
}

static int ask_user(uid_t uid, status_fn fn, void *arg)
{
	struct dirs d;
	int kept = 0;

	dirs_of(uid, &d);
	for (unsigned i = 0; i < d.len && !kept; i++) {
		// $XDG_RUNTIME_DIR mostly is /run/user/UID.
		if (i == 0 || strcmp(d.path[i], d.path[0]) != 0)
			kept = ask_dir(d.path[i], uid, fn, arg);
	}
	return kept;
}

// The users that have something mounted.
struct users {
	uid_t ids[256];
	unsigned len;
};

static int collect_user(void *arg, const struct mountpoint *m)
{
	struct users *u = arg;

	if (m->user_id <= 0 || strncmp(m->fstype, "fuse", 4) != 0)
		return 0;
	for (unsigned i = 0; i < u->len; i++) {
		if (u->ids[i] == (uid_t)m->user_id)
			return 0;
	}
	if (u->len < sizeof(u->ids) / sizeof(u->ids[0]))
		u->ids[u->len++] = (uid_t)m->user_id;
	return 0;
}

void status_each(status_fn fn, void *arg)
{
	struct users users = {.len = 0};

	if (ask_user(geteuid(), fn, arg) || geteuid() != 0 || mountpoint_each(collect_user, &users))
		return;
	for (unsigned i = 0; i < users.len; i++) {
		if (ask_user(users.ids[i], fn, arg))
			return;
	}
}

void status_wait(int fd, int *ret_code)
{
	const struct timeval forever = {0};
	json_t *end;

	*ret_code = WERR_IO;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof(forever));
	while ((end = receive(fd))) {
		json_t *code = json_object_get(end, "end");

		if (json_is_integer(code))
			*ret_code = (int)json_integer_value(code);
		json_decref(end);
	}
	close(fd);
}
