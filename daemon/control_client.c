// SPDX-License-Identifier: Apache-2.0
#include "daemon/control_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/mountpoint.h"
#include "daemon/rundir.h"
#include "daemon/varlink.h"

#define ANSWER_MS 5000 // for what is answered at once
#define METHOD_MAX 128

struct control_client {
	struct varlink conn;
	json_t *mount; // of control_connect; NULL: none
	char detail[512];
};

void control_close(struct control_client *c)
{
	if (!c)
		return;
	varlink_clear(&c->conn);
	json_decref(c->mount);
	free(c);
}

const char *control_detail_of(const struct control_client *c)
{
	return c->detail;
}

// ---- a call ----

static int send_call(struct control_client *c, const char *method, json_t *params,
		     const struct control_how *how)
{
	char name[METHOD_MAX];
	json_t *message;

	if (!params)
		params = json_object();
	if (c->mount && !json_object_get(params, "mount"))
		json_object_set(params, "mount", c->mount);
	snprintf(name, sizeof(name), CONTROL_INTERFACE ".%s", method);
	message = json_pack("{ss so}", "method", name, "parameters", params);
	if (!message)
		return WERR_NOMEM;
	if (how->more)
		json_object_set_new(message, "more", json_true());
	int err = varlink_send(c->conn.fd, message, how->fd);
	json_decref(message);
	return err ? WERR_IO : 0;
}

static int code_of_error(struct control_client *c, const json_t *reply)
{
	const char *error = json_string_value(json_object_get(reply, "error"));
	const json_t *p = json_object_get(reply, "parameters");
	const json_t *code = json_object_get(p, "code");
	const char *detail = json_string_value(json_object_get(p, "detail"));

	if (!error)
		return 0;
	snprintf(c->detail, sizeof(c->detail), "%s", detail ? detail : "");
	if (!strcmp(error, CONTROL_INTERFACE ".Failed") && json_integer_value(code) < 0)
		return (int)json_integer_value(code);
	if (!strcmp(error, CONTROL_INTERFACE ".VersionMismatch") ||
	    !strcmp(error, "org.varlink.service.MethodNotFound"))
		return WERR_UNSUPPORTED;
	snprintf(c->detail, sizeof(c->detail), "%s", error);
	return WERR_INTERNAL;
}

static int receive_reply(struct control_client *c, const struct control_how *how, json_t **ret)
{
	const struct varlink_wait wait = {
		.wake_fd = -1,
		.gone_fd = -1,
		.idle_ms = how->timeout_ms ? how->timeout_ms : -1,
		.message_ms = how->timeout_ms ? how->timeout_ms : -1,
	};
	int err = varlink_receive(&c->conn, &wait, ret);

	while (err == WERR_INTERRUPTED && how->silence) {
		err = how->silence(how->arg);
		if (err)
			return err;
		err = varlink_receive(&c->conn, &wait, ret);
	}
	return err == WERR_MALFORMED ? err : err ? WERR_IO : 0;
}

int control_call(struct control_client *c, const char *method, json_t *params,
		 const struct control_how *how, json_t **ret)
{
	static const struct control_how plain = {.fd = -1};

	if (!how)
		how = &plain;
	c->detail[0] = 0;
	int err = send_call(c, method, params, how);
	for (int continues = 1; !err && continues;) {
		json_t *reply = NULL;

		err = receive_reply(c, how, &reply);
		if (err)
			break;
		continues = json_is_true(json_object_get(reply, "continues"));
		json_t *p = json_object_get(reply, "parameters");
		err = code_of_error(c, reply);
		if (!err && continues && how->progress)
			err = how->progress(how->arg, p);
		if (!err && !continues && ret)
			*ret = json_incref(p);
		json_decref(reply);
	}
	return err;
}

void control_let_go(struct control_client *c)
{
	shutdown(c->conn.fd, SHUT_WR);
}

// ---- connecting ----

static int handshake(struct control_client *c)
{
	const struct control_how how = {.fd = -1, .timeout_ms = ANSWER_MS};

	return control_call(c, "Handshake", json_pack("{si}", "protocol", CONTROL_PROTOCOL), &how,
			    NULL);
}

int control_connect_fd(int fd, struct control_client **ret)
{
	const struct timeval limit = {.tv_sec = ANSWER_MS / 1000};
	struct control_client *c = calloc(1, sizeof(*c));

	if (!c) {
		close(fd);
		return WERR_NOMEM;
	}
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	varlink_init(&c->conn, fd, CONTROL_REPLY_MAX_BYTES);
	int err = handshake(c);
	if (err)
		control_close(c);
	else
		*ret = c;
	return err;
}

int control_connect_path(const char *path, uid_t uid, struct control_client **ret)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int err = WERR_NOTFOUND;

	if (strlen(path) >= sizeof(addr.sun_path))
		return WERR_NOTFOUND;
	memcpy(addr.sun_path, path, strlen(path) + 1);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return WERR_MFILE;
	if (!connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		if (!getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) && peer.uid == uid)
			return control_connect_fd(fd, ret);
		err = WERR_PERM;
	} else if (errno == ECONNREFUSED && uid == geteuid()) {
		unlink(path); // what a killed process left behind
	}
	close(fd);
	return err;
}

// ---- finding ----

struct finder {
	control_each_fn fn;
	void *arg;
};

static int try_path(void *arg, const char *path, uid_t uid)
{
	const struct finder *f = arg;
	struct control_client *c = NULL;

	if (control_connect_path(path, uid, &c))
		return 0;
	int kept = f->fn(f->arg, c);
	if (!kept)
		control_close(c);
	return kept == CONTROL_KEEP ? 0 : kept;
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

int control_each_path(rundir_fn fn, void *arg)
{
	struct users users = {.len = 0};
	int stop = rundir_each(geteuid(), fn, arg);

	if (stop || geteuid() != 0 || mountpoint_each(collect_user, &users))
		return stop;
	for (unsigned i = 0; i < users.len && !stop; i++)
		stop = rundir_each(users.ids[i], fn, arg);
	return stop;
}

int control_each(control_each_fn fn, void *arg)
{
	struct finder f = {.fn = fn, .arg = arg};

	return control_each_path(try_path, &f);
}

static json_t *ask_status(struct control_client *c, int brief)
{
	const struct control_how how = {.fd = -1, .timeout_ms = ANSWER_MS};
	json_t *reply = NULL;

	if (control_call(c, "Status", json_pack("{sb}", "brief", brief), &how, &reply))
		return NULL;
	json_t *mounts = json_incref(json_object_get(reply, "mounts"));
	json_decref(reply);
	return mounts;
}

struct wanted {
	const char *path;
	char device[MOUNTPOINT_DEVICE_BYTES];
	uint64_t unique_id; // of what is mounted there; 0: cannot be told
	int rank;           // of found
	struct control_client *found;
};

#define RANK_BEST 4

// The device tells the mount even when the path to it has changed since, or when something else is
// mounted over it. Where nothing is mounted any more there is only the path.
static int is_wanted(const struct wanted *w, const json_t *mount)
{
	const char *device = json_string_value(json_object_get(mount, "device"));

	if (w->device[0])
		return device && !strcmp(device, w->device);
	char *path = varlink_path_of(json_object_get(mount, "mountpoint"));
	int same = path && !strcmp(path, w->path);
	free(path);
	return same;
}

// The kernel gives numbers of devices out again, so that a dead mount that was taken away may look
// like a living one. Seen from another mount namespace one mount has several ids.
static int rank_of(const struct wanted *w, const json_t *mount)
{
	const char *state = json_string_value(json_object_get(mount, "state"));
	json_int_t id = json_integer_value(json_object_get(mount, "mount_id"));
	int living = !state || strcmp(state, "failed") != 0;

	if (!is_wanted(w, mount))
		return 0;
	return 1 + living + (w->unique_id && (json_int_t)w->unique_id == id ? 2 : 0);
}

static int match(void *arg, struct control_client *c)
{
	struct wanted *w = arg;
	json_t *mounts = ask_status(c, 1), *mount;
	int better = 0;
	size_t i;

	json_array_foreach(mounts, i, mount)
	{
		int rank = rank_of(w, mount);

		if (rank <= w->rank)
			continue;
		better = 1;
		w->rank = rank;
		json_decref(c->mount);
		c->mount = json_incref(json_object_get(mount, "mountpoint"));
	}
	json_decref(mounts);
	if (!better)
		return 0;
	control_close(w->found);
	w->found = c;
	return w->rank == RANK_BEST ? 1 : CONTROL_KEEP;
}

int control_connect(const char *mountpoint, struct control_client **ret)
{
	struct wanted w = {.path = mountpoint};
	struct mountpoint m;

	if (!mountpoint_find(mountpoint, &m)) {
		memcpy(w.device, m.device, sizeof(w.device));
		w.unique_id = mountpoint_unique_id(mountpoint);
	}
	(void)control_each(match, &w);
	if (!w.found)
		return WERR_NOTFOUND;
	*ret = w.found;
	return 0;
}

static int collect_status(void *arg, struct control_client *c)
{
	json_t *mounts = ask_status(c, 0);

	json_array_extend(arg, mounts);
	json_decref(mounts);
	return 0;
}

int control_status(json_t **ret)
{
	json_t *all = json_array();

	if (!all)
		return WERR_NOMEM;
	(void)control_each(collect_status, all);
	*ret = all;
	return 0;
}

int control_state(struct control_client *c, json_t **ret)
{
	json_t *mounts = ask_status(c, 0), *mount;
	int err = WERR_NOTFOUND;
	size_t i;

	json_array_foreach(mounts, i, mount)
	{
		if (err && json_equal(json_object_get(mount, "mountpoint"), c->mount)) {
			*ret = json_incref(mount);
			err = 0;
		}
	}
	json_decref(mounts);
	return err;
}
