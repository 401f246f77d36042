// SPDX-License-Identifier: Apache-2.0
// Locking without unmounting, and unlocking: the broker's part. The workers drain and hand over
// between themselves.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <syslog.h>
#include <unistd.h>

#include "daemon/broker_private.h"

#define DEADLINE_MS 10000
#define DEADLINE_MS_MAX 600000
// Beyond what the worker itself was given.
#define MARGIN_MS 1000

int64_t broker_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

// ---- locking ----

int bvault_begin_lock(struct bvault *v, const char *reason, int64_t deadline_ms)
{
	int ends[2];

	if (v->state == BSTATE_LOCKED_MOUNTED || v->state == BSTATE_DRAINING)
		return 0;
	if (v->state != BSTATE_OPEN)
		return WERR_BUSY;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		return WERR_MFILE;
	bvault_enter(v, BSTATE_DRAINING, reason);
	v->sleep_told = v->slept = 0;
	int err = bworker_start(v, ROLE_KEYLESS, -1, &v->keyless);
	if (!err)
		err = bworker_tell(v->keyless, CHANNEL_TAKE, deadline_ms, v->device, ends[0]);
	if (!err)
		err = bworker_tell(v->keyed, CHANNEL_LOCK, deadline_ms, v->device, ends[1]);
	close(ends[0]);
	close(ends[1]);
	v->lock_code = err;
	if (err && v->keyless) {
		bworker_kill(v->keyless);
		v->keyless = NULL;
	}
	if (err)
		bvault_enter(v, BSTATE_OPEN, "could not be locked");
	v->lock_by_ms = broker_now_ms() + deadline_ms + MARGIN_MS;
	return err;
}

// The kernel's list of connections, where it is not mounted. -1: not for this user.
static int open_connections(void)
{
	int context = fsopen("fusectl", FSOPEN_CLOEXEC), list = -1;

	if (context < 0)
		return -1;
	if (!fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		list = fsmount(context, FSMOUNT_CLOEXEC, 0);
	close(context);
	return list;
}

// The number of the connection is that of the mount.
void bvault_abort(const char *device)
{
	char path[64], name[32];
	const char *minor_ = strchr(device, ':');

	if (!minor_)
		return;
	snprintf(name, sizeof(name), "%.16s/abort", minor_ + 1);
	snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%s", name);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0) {
		int list = open_connections();

		fd = list < 0 ? -1 : openat(list, name, O_WRONLY | O_CLOEXEC);
		if (list >= 0)
			close(list);
	}
	if (fd < 0)
		return;
	(void)!write(fd, "1", 1);
	close(fd);
}

void bvault_check_lock(struct bvault *v)
{
	char device[MOUNTPOINT_DEVICE_BYTES];

	if (v->state != BSTATE_DRAINING || broker_now_ms() < v->lock_by_ms)
		return;
	memcpy(device, v->device, sizeof(device));
	v->lock_code = WERR_IO;
	bvault_fail(v, "could not be locked in time: its keys are wiped, the mount is dead");
	bvault_abort(device);
}

static int lock_and_wait(struct bvault *v, struct control_call *c, int64_t deadline_ms)
{
	struct broker *b = v->broker;

	pthread_mutex_lock(&b->lock);
	int err = bvault_begin_lock(v, "command", deadline_ms);
	pthread_mutex_unlock(&b->lock);
	if (!err)
		err = broker_await(v, BSTATE_DRAINING, 0, c);
	pthread_mutex_lock(&b->lock);
	if (!err && v->state != BSTATE_LOCKED_MOUNTED)
		err = v->lock_code ? v->lock_code : WERR_IO;
	pthread_mutex_unlock(&b->lock);
	return err;
}

int broker_lock_method(void *arg, struct control_call *c)
{
	const json_t *given = json_object_get(control_params(c), "deadline_ms");
	json_int_t deadline_ms = DEADLINE_MS;
	struct bvault *v;

	if (json_is_integer(given))
		deadline_ms = json_integer_value(given);
	if ((given && !json_is_integer(given) && !json_is_null(given)) || deadline_ms < 1 ||
	    deadline_ms > DEADLINE_MS_MAX)
		return control_invalid(c, "deadline_ms");
	int err = broker_take(arg, c, &v);
	if (err)
		return err;
	err = lock_and_wait(v, c, deadline_ms);
	if (err)
		control_detail(c, "%s", v->reason);
	else
		err = control_result(c, json_pack("{sI}", "lost_writes", (json_int_t)v->lost));
	broker_release(v);
	return err;
}

// ---- unlocking ----

static int begin_unlock(struct bvault *v, struct attendant *a, struct control_call *c, int fd)
{
	pthread_mutex_lock(&v->broker->lock);
	int err = v->state == BSTATE_OPEN             ? WERR_EXISTS
		  : v->state != BSTATE_LOCKED_MOUNTED ? WERR_BUSY
						      : 0;
	if (!err && bvault_stays_locked(v)) {
		control_detail(c, "%s", BROKER_ASLEEP);
		err = WERR_BUSY;
	}
	if (!err) {
		bvault_enter(v, BSTATE_UNLOCKING, NULL);
		v->attendant = a;
		err = bworker_start(v, ROLE_UNLOCK, fd, &v->keyed);
		if (err) {
			v->attendant = NULL;
			bvault_enter(v, BSTATE_LOCKED_MOUNTED, "not unlocked");
		}
	}
	pthread_mutex_unlock(&v->broker->lock);
	return err;
}

static int unlock(struct bvault *v, struct control_call *c)
{
	struct attendant a;
	int fd = control_fd(c);
	int err = fd < 0 ? WERR_USAGE : broker_wait_for_turn(v->dir, c);

	attendant_init(&a);
	if (!err)
		err = begin_unlock(v, &a, c, fd);
	if (fd >= 0)
		close(fd);
	if (!err) {
		err = broker_attend(v, &a, c);
		if (a.detail[0])
			control_detail(c, "%s", a.detail);
		broker_count_attempt(v, c, err);
	}
	attendant_clear(&a);
	return err;
}

int broker_unlock_method(void *arg, struct control_call *c)
{
	struct bvault *v;
	int err = broker_take(arg, c, &v);

	if (err)
		return err;
	err = unlock(v, c);
	broker_release(v);
	return err ? err : control_result(c, json_pack("{si}", "code", 0));
}
