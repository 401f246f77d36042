// SPDX-License-Identifier: Apache-2.0
// What the broker answers: mounting, state, events, the end; and calls for a worker, passed on.
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/broker_private.h"
#include "daemon/control_client.h"
#include "daemon/varlink.h"

#define STATUS_MS 3000
#define ENDING_S 10

// ---- finding ----

int broker_take(struct broker *b, struct control_call *c, struct bvault **ret)
{
	char *path = control_path(c, "mount");
	struct bvault *v = NULL;

	if (!path && control_string(c, "mount"))
		return WERR_NOTFOUND;
	pthread_mutex_lock(&b->lock);
	if (path)
		v = broker_find(b, path);
	else if (b->vaults && !b->vaults->next && b->vaults->state != BSTATE_ABSENT)
		v = b->vaults;
	if (v)
		v->users++;
	pthread_mutex_unlock(&b->lock);
	free(path);
	*ret = v;
	return v ? 0 : WERR_NOTFOUND;
}

void broker_release(struct bvault *v)
{
	struct broker *b = v->broker;

	pthread_mutex_lock(&b->lock);
	v->users--;
	broker_sweep(b);
	pthread_mutex_unlock(&b->lock);
}

// A connection to the keyed worker. WERR_LOCKED: there is none that serves.
static int connect_worker(struct bvault *v, int *ret)
{
	int ends[2];

	pthread_mutex_lock(&v->broker->lock);
	int err = v->state == BSTATE_OPEN && v->keyed ? 0 : WERR_LOCKED;
	if (!err && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		err = WERR_MFILE;
	if (!err) {
		err = bworker_tell(v->keyed, CHANNEL_CONTROL, 0, NULL, ends[1]);
		close(ends[1]);
		if (err)
			close(ends[0]);
		else
			*ret = ends[0];
	}
	pthread_mutex_unlock(&v->broker->lock);
	return err;
}

int broker_relay(void *arg, struct control_call *c)
{
	struct bvault *v;
	int fd;
	int err = broker_take(arg, c, &v);

	if (err)
		return err;
	err = connect_worker(v, &fd);
	if (!err)
		err = control_forward(c, fd);
	broker_release(v);
	return err == WERR_NODATA ? WERR_LOCKED : err;
}

// ---- state ----

// What the worker itself adds; nothing when it does not answer.
static void add_worker_state(struct bvault *v, json_t *state)
{
	const struct control_how how = {.fd = -1, .timeout_ms = STATUS_MS};
	struct control_client *c;
	json_t *reply = NULL;
	int fd;

	if (connect_worker(v, &fd) || control_connect_fd(fd, &c))
		return;
	if (!control_call(c, "Status", NULL, &how, &reply))
		json_object_update_missing(state,
					   json_array_get(json_object_get(reply, "mounts"), 0));
	json_decref(reply);
	control_close(c);
}

static json_t *state_of(struct bvault *v, int brief)
{
	pthread_mutex_lock(&v->broker->lock);
	json_t *state = bvault_describe(v);
	pthread_mutex_unlock(&v->broker->lock);
	if (!brief)
		add_worker_state(v, state);
	return state;
}

// Every vault, its users raised: malloc'd.
static struct bvault **take_all(struct broker *b, size_t *ret_n)
{
	size_t n = 0;

	pthread_mutex_lock(&b->lock);
	for (struct bvault *v = b->vaults; v; v = v->next)
		n++;
	struct bvault **all = calloc(n + 1, sizeof(struct bvault *));
	n = 0;
	for (struct bvault *v = b->vaults; all && v; v = v->next) {
		if (v->state == BSTATE_ABSENT)
			continue;
		v->users++;
		all[n++] = v;
	}
	pthread_mutex_unlock(&b->lock);
	*ret_n = n;
	return all;
}

static int status_method(void *arg, struct control_call *c)
{
	json_t *mounts = json_array();
	int brief = json_is_true(json_object_get(control_params(c), "brief"));
	size_t n;
	struct bvault **all = take_all(arg, &n);

	for (size_t i = 0; i < n; i++) {
		json_array_append_new(mounts, state_of(all[i], brief));
		broker_release(all[i]);
	}
	free(all);
	return control_result(c, json_pack("{so}", "mounts", mounts));
}

static int watch_method(void *arg, struct control_call *c)
{
	size_t n;
	struct bvault **all = take_all(arg, &n);
	int gone = 0;

	for (size_t i = 0; i < n; i++) {
		if (!gone)
			gone = control_progress(c, json_pack("{so}", "mount", state_of(all[i], 0)));
		broker_release(all[i]);
	}
	free(all);
	return gone ? control_result(c, NULL) : control_watch(c);
}

// ---- mounting ----

static int in_other_namespace(struct control_call *c)
{
	const json_t *given = json_object_get(control_params(c), "namespace");
	struct stat st;

	return json_is_integer(given) && !stat("/proc/self/ns/mnt", &st) &&
	       (json_int_t)st.st_ino != json_integer_value(given);
}

static struct bvault *new_vault(struct broker *b, char *dir, char *mountpoint, const char *options)
{
	struct bvault *v = calloc(1, sizeof(*v));
	char *copy = strdup(options);

	if (!v || !copy) {
		free(v);
		free(copy);
		return NULL;
	}
	v->broker = b;
	v->dir = dir;
	v->mountpoint = mountpoint;
	v->options = copy;
	v->since = time(NULL);
	v->users = 1;
	v->guard = GUARD_NONE;
	mountopts_init(&v->opts);
	return v;
}

int broker_attend(struct bvault *v, struct attendant *a, struct control_call *c)
{
	struct broker *b = v->broker;
	int gone = 0, done = 0;
	eventfd_t count;

	while (!done) {
		if (!gone && control_wait(c, a->event)) {
			// Whoever holds the mount has let go, or the mount is not wanted any more.
			gone = 1;
			pthread_mutex_lock(&b->lock);
			bvault_cancel(v);
			pthread_mutex_unlock(&b->lock);
		}
		if (gone) {
			struct pollfd polled = {.fd = a->event, .events = POLLIN};

			(void)poll(&polled, 1, -1);
		}
		pthread_mutex_lock(&b->lock);
		(void)!eventfd_read(a->event, &count);
		json_t *replies = a->replies;
		a->replies = json_array();
		done = a->done;
		pthread_mutex_unlock(&b->lock);
		size_t i;
		json_t *reply;
		json_array_foreach(replies, i, reply)
		{
			(void)!control_progress(c, json_incref(reply));
		}
		json_decref(replies);
	}
	return a->code;
}

// Nothing is known to be mounted there. Who was unmounted without a word to us, or killed, is about
// to end: that is waited for. lock held.
static int wait_for_place(struct broker *b, const char *mountpoint)
{
	struct timespec until;
	int rc = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += ENDING_S;
	for (;;) {
		broker_notice_unmounts(b);
		const struct bvault *v = broker_find(b, mountpoint);

		if (b->stopping || (v && (rc || !v->device[0] || bvault_is_mounted(v))))
			return WERR_BUSY;
		if (!v)
			return 0;
		rc = pthread_cond_timedwait(&b->changed, &b->lock, &until);
	}
}

// Registers the vault and starts its worker. dir and mountpoint are taken over on success.
static int start_mount(struct broker *b, struct control_call *c, char *dir, char *mountpoint,
		       struct attendant *a, struct bvault **ret)
{
	const char *options = control_string(c, "options");
	struct bvault *v = NULL;
	int fd = control_fd(c);
	int err = 0;

	pthread_mutex_lock(&b->lock);
	err = wait_for_place(b, mountpoint);
	if (!err) {
		v = new_vault(b, dir, mountpoint, options);
		err = v ? mountopts_parse(&v->opts, options) : WERR_NOMEM;
	}
	// What df and mount(8) show as the source; cut where it does not fit, it means nothing.
	if (!err && !v->opts.fsname[0])
		snprintf(v->opts.fsname, sizeof(v->opts.fsname), "%.*s",
			 (int)sizeof(v->opts.fsname) - 1, dir);
	if (!err) {
		v->holder = json_is_true(json_object_get(control_params(c), "hold")) ? a : NULL;
		v->no_anchor = json_is_true(json_object_get(control_params(c), "no_anchor"));
		v->log_names = json_is_true(json_object_get(control_params(c), "log_names"));
		v->attendant = a;
	}
	if (!err) {
		v->given = json_incref(json_object_get(control_params(c), "policy"));
		err = policy_parse(v->given, &v->policy);
	}
	if (!err && bvault_stays_locked(v)) {
		control_detail(c, "%s", BROKER_ASLEEP);
		err = WERR_BUSY;
	}
	if (!err)
		err = bworker_start(v, ROLE_KEYED, fd, &v->keyed);
	if (err && v) {
		free(v->options);
		json_decref(v->given);
		free(v);
	} else if (!err) {
		v->next = b->vaults;
		b->vaults = v;
		b->had_vault = 1;
		bvault_enter(v, BSTATE_LOCKED, NULL);
		*ret = v;
	}
	pthread_mutex_unlock(&b->lock);
	if (fd >= 0)
		close(fd);
	return err;
}

static int mount_method(void *arg, struct control_call *c)
{
	char *dir = control_path(c, "vault"), *mountpoint = control_path(c, "mountpoint");
	struct attendant a;
	struct bvault *v;
	int err;

	if (!dir || !mountpoint || !control_string(c, "options")) {
		err = control_invalid(c, !dir ? "vault" : !mountpoint ? "mountpoint" : "options");
	} else if (in_other_namespace(c)) {
		err = WERR_NOTSUP;
	} else {
		attendant_init(&a);
		err = broker_wait_for_turn(dir, c);
		if (!err)
			err = start_mount(arg, c, dir, mountpoint, &a, &v);
		if (!err) {
			dir = NULL;
			mountpoint = NULL;
			err = broker_attend(v, &a, c);
			if (a.detail[0])
				control_detail(c, "%s", a.detail);
			broker_count_attempt(v, c, err);
			if (!err)
				err = control_result(c, json_pack("{si}", "code", 0));
			broker_release(v);
		}
		attendant_clear(&a);
	}
	free(dir);
	free(mountpoint);
	return err;
}

// ---- the end ----

static int is_over(struct bvault *v, enum bstate state, int is)
{
	pthread_mutex_lock(&v->broker->lock);
	int over = (v->state == state) == (is != 0);
	pthread_mutex_unlock(&v->broker->lock);
	return over;
}

int broker_await(struct bvault *v, enum bstate state, int is, struct control_call *c)
{
	struct awaiting here = {.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
	struct broker *b = v->broker;
	eventfd_t count;
	int err = 0;

	if (here.event < 0)
		return WERR_MFILE;
	pthread_mutex_lock(&b->lock);
	here.next = v->awaiting;
	// cppcheck-suppress autoVariables ; taken out again below
	v->awaiting = &here;
	pthread_mutex_unlock(&b->lock);
	while (!err && !is_over(v, state, is)) {
		err = control_wait(c, here.event);
		(void)!eventfd_read(here.event, &count);
	}
	pthread_mutex_lock(&b->lock);
	struct awaiting **at = &v->awaiting;
	while (*at != &here)
		at = &(*at)->next;
	*at = here.next;
	pthread_mutex_unlock(&b->lock);
	close(here.event);
	return err;
}

static int wait_method(void *arg, struct control_call *c)
{
	struct broker *b = arg;
	struct bvault *v;
	int err = broker_take(b, c, &v);

	if (err)
		return err;
	// From here on the end is not missed.
	err = control_progress(c, NULL);
	if (!err)
		err = broker_await(v, BSTATE_ABSENT, 1, c);
	pthread_mutex_lock(&b->lock);
	int code = v->end_code;
	pthread_mutex_unlock(&b->lock);
	broker_release(v);
	return err ? err : control_result(c, json_pack("{si}", "code", code));
}

static int stop_method(void *arg, struct control_call *c)
{
	struct bvault *v;
	int err = broker_take(arg, c, &v);

	if (err)
		return err;
	pthread_mutex_lock(&v->broker->lock);
	bvault_stop(v);
	pthread_mutex_unlock(&v->broker->lock);
	broker_release(v);
	return control_result(c, NULL);
}

const struct control_method broker_methods[] = {
	{"Status", status_method, 0},
	{"Watch", watch_method, CONTROL_MORE},
	{"Wait", wait_method, CONTROL_MORE},
	{"Stop", stop_method, 0},
	{"Mount", mount_method, CONTROL_MORE | CONTROL_FD},
	{"Lock", broker_lock_method, 0},
	{"Unlock", broker_unlock_method, CONTROL_MORE | CONTROL_FD},
};
const size_t broker_methods_len = sizeof(broker_methods) / sizeof(broker_methods[0]);
