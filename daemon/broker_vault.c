// SPDX-License-Identifier: Apache-2.0
// One vault of the broker: what its workers say, and what follows from that.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <syslog.h>
#include <unistd.h>

#include "daemon/broker_private.h"
#include "fusefs/fuse_server.h"

static const char *const stage_names[] = {
	[STAGE_VAULT] = "vault", [STAGE_KEY] = "key",     [STAGE_ENGINE] = "engine",
	[STAGE_MOUNT] = "mount", [STAGE_READY] = "ready", [STAGE_CLOSE] = "close",
};

// ---- who waits for news ----

void attendant_init(struct attendant *a)
{
	*a = (struct attendant){.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
				.replies = json_array()};
}

void attendant_clear(struct attendant *a)
{
	if (a->event >= 0)
		close(a->event);
	json_decref(a->replies);
}

static void tell(struct attendant *a, json_t *reply)
{
	if (!a) {
		json_decref(reply);
		return;
	}
	json_array_append_new(a->replies, reply);
	eventfd_write(a->event, 1);
}

void bvault_tell(struct bvault *v, json_t *reply)
{
	tell(v->attendant ? v->attendant : v->holder, reply);
}

static void let_go(struct attendant **at, int code, const char *detail)
{
	struct attendant *a = *at;

	*at = NULL;
	if (!a)
		return;
	a->done = 1;
	a->code = code;
	snprintf(a->detail, sizeof(a->detail), "%s", detail ? detail : "");
	eventfd_write(a->event, 1);
}

void bvault_done(struct bvault *v, int code, const char *detail)
{
	let_go(&v->attendant, code, detail);
}

static json_t *text_reply(const char *key, const char *text)
{
	json_t *j = json_pack("{ss}", key, text);

	// A line may have the bytes of a path.
	return j ? j : json_pack("{ss}", key, "(not UTF-8)");
}

// ---- ends ----

// Takes the mount away and opens the directory underneath. Both may wait for the filesystem that it
// lies in: no lock held, and nobody else looks at the guard of what is ending. Non-zero: it is
// still mounted, and that matters.
static int leave_place(struct bvault *v)
{
	if (v->detach != DETACH_NOT && bvault_is_mounted(v) &&
	    mountpoint_unmount(v->mountpoint, 1) && v->detach == DETACH_OR_STAY)
		return 1;
	guard_end(&v->guard);
	return 0;
}

static void end_now(struct bvault *v)
{
	v->device[0] = 0;
	v->mount_id = 0;
	v->unique_id = 0;
	// Whoever hears of the end finds nothing left of a private broker.
	if (v->broker->p.one_vault)
		control_unlisten(v->broker->server);
	bvault_enter(v, BSTATE_ABSENT, v->end_detail);
	bvault_done(v, v->end_code, v->end_detail);
	let_go(&v->holder, v->end_code, v->end_detail);
}

static void *end_thread(void *arg)
{
	struct bvault *v = arg;
	struct broker *b = v->broker;
	int stays = leave_place(v);

	pthread_mutex_lock(&b->lock);
	if (stays)
		bvault_enter_silently(v, BSTATE_FAILED);
	else
		end_now(v);
	b->endings--;
	v->users--;
	broker_sweep(b);
	pthread_cond_broadcast(&b->changed);
	pthread_mutex_unlock(&b->lock);
	return NULL;
}

static void end_vault(struct bvault *v, int code, const char *detail, enum detach detach)
{
	v->end_code = code;
	v->detach = detach;
	snprintf(v->end_detail, sizeof(v->end_detail), "%s", detail ? detail : "");
	bvault_enter_silently(v, BSTATE_ENDING);
	if (((detach == DETACH_NOT || !v->device[0]) && v->guard.fd < 0) ||
	    broker_thread(end_thread, v)) {
		if (leave_place(v))
			bvault_enter_silently(v, BSTATE_FAILED);
		else
			end_now(v);
		return;
	}
	v->broker->endings++;
	v->users++;
}

void bvault_fail(struct bvault *v, const char *reason)
{
	if (v->keyed)
		bworker_kill(v->keyed);
	if (v->keyless)
		bworker_kill(v->keyless);
	v->end_code = WERR_IO;
	broker_log(v, LOG_ERR, reason);
	bvault_enter(v, BSTATE_FAILED, reason);
	bvault_done(v, WERR_IO, reason);
	let_go(&v->holder, WERR_IO, reason);
}

int bvault_is_mounted(const struct bvault *v)
{
	struct mountpoint m;

	if (!v->device[0] || mountpoint_find(v->mountpoint, &m) || strcmp(m.device, v->device) ||
	    m.id != v->mount_id)
		return 0;
	if (!v->unique_id)
		return 1;
	uint64_t now = mountpoint_unique_id(v->mountpoint);
	return !now || now == v->unique_id;
}

void bvault_notice_unmount(struct bvault *v)
{
	if (v->state == BSTATE_FAILED && !v->keyed && !v->keyless)
		end_vault(v, v->end_code, "unmounted", DETACH_NOT);
}

void bvault_stop(struct bvault *v)
{
	struct bworker *w = v->keyed ? v->keyed : v->keyless;

	if (v->state == BSTATE_UNLOCKING && v->keyed && v->keyless)
		bworker_kill(v->keyed);
	if (v->keyless)
		w = v->keyless;
	if (w && bworker_tell(w, CHANNEL_STOP, 0, NULL, -1))
		bworker_kill(w);
	if (!w && v->state == BSTATE_FAILED)
		end_vault(v, v->end_code, "unmounted", DETACH_OR_STAY);
}

void bvault_cancel(struct bvault *v)
{
	if (v->state != BSTATE_UNLOCKING || !v->keyless)
		bvault_stop(v);
	else if (v->keyed && !v->keyless->giving)
		bworker_kill(v->keyed);
}

// Whoever asked for it must know that it will not happen.
static void tell_without_effect(struct bvault *v)
{
	json_t *names = bvault_without_effect(v), *name;
	char line[200];
	size_t i;

	snprintf(line, sizeof(line), "%s", logind_lack);
	json_array_foreach(names, i, name)
	{
		size_t n = strlen(line);

		snprintf(line + n, sizeof(line) - n, "%s %s", i ? "," : "",
			 json_string_value(name));
	}
	size_t n = strlen(line);
	snprintf(line + n, sizeof(line) - n, ": that part of the policy is without effect");
	if (json_array_size(names) && v->attendant)
		bvault_tell(v, json_pack("{ss}", "warning", line));
	json_decref(names);
}

static void opened(struct bvault *v, const char *reason)
{
	v->open_ms = v->active_ms = broker_now_ms();
	attempts_forget(v->dir);
	bvault_enter(v, BSTATE_OPEN, reason);
	tell_without_effect(v);
	bvault_tell(v, json_pack("{ss}", "stage", stage_names[STAGE_READY]));
	if (v->attendant == v->holder)
		v->attendant = NULL; // stays for the log
	else
		bvault_done(v, 0, NULL);
}

// ---- a worker is gone ----

static void bury_keyless(struct bvault *v, const struct bworker *w)
{
	switch (v->state) {
	case BSTATE_UNLOCKING:
		if (!w->giving)
			bvault_fail(v, "the locked mount has lost its worker");
		else if (!v->keyed)
			bvault_fail(v, "unlocking has lost its worker");
		else if (v->keyed->ready)
			opened(v, "unlocked");
		break;
	case BSTATE_LOCKED_MOUNTED:
		if (w->ended)
			end_vault(v, w->code, "unmounted", DETACH_NOT);
		else
			bvault_fail(v, "the locked mount has lost its worker");
		break;
	case BSTATE_DRAINING:
		// The keyed worker serves on when the hand-over had not happened.
		if (!v->keyed || v->keyed->locked)
			bvault_fail(v, "locking has lost its worker");
		break;
	default:
		break;
	}
}

static void bury_keyed(struct bvault *v, const struct bworker *w)
{
	switch (v->state) {
	case BSTATE_LOCKED:
	case BSTATE_UNLOCKING:
		if (w->role == ROLE_KEYED) {
			end_vault(v, w->code, w->detail, DETACH);
		} else if (v->keyless) {
			// One that was giving the mount back says READY when it still has it.
			if (!v->keyless->giving)
				bvault_enter(v, BSTATE_LOCKED_MOUNTED, "not unlocked");
			bvault_done(v, w->code, w->detail);
		} else {
			bvault_fail(v, "unlocking has lost its worker");
		}
		break;
	case BSTATE_OPEN:
		if (w->ended)
			end_vault(v, w->code, "unmounted", DETACH_NOT);
		else
			bvault_fail(v, w->detail);
		break;
	case BSTATE_DRAINING:
		if (w->locked && v->keyless && v->keyless->ready)
			bvault_enter(v, BSTATE_LOCKED_MOUNTED, v->reason);
		else if (w->ended && !w->locked)
			end_vault(v, w->code, "unmounted", DETACH_NOT);
		else if (!w->locked)
			bvault_fail(v, w->detail);
		break;
	default:
		break;
	}
}

void bvault_bury(struct bvault *v, struct bworker *w)
{
	if (v->keyless == w) {
		v->keyless = NULL;
		bury_keyless(v, w);
	} else if (v->keyed == w) {
		v->keyed = NULL;
		bury_keyed(v, w);
	}
}

// ---- mounting ----

// "MAJOR:MINOR" -> a device number.
static uint64_t device_number(const char *text)
{
	unsigned major_, minor_;

	return sscanf(text, "%u:%u", &major_, &minor_) == 2 ? makedev(major_, minor_) : 0;
}

static void refuse(struct bvault *v, struct bworker *w, int code, const char *text)
{
	struct channel_msg m = {.kind = CHANNEL_REFUSED, .code = code};

	(void)v;
	snprintf(m.text, sizeof(m.text), "%s", text);
	(void)!channel_send(w->fd, &m, -1, 0);
}

// Closes the directory underneath a mount that was made, or leaves it as it was found. Waits for
// its filesystem. 0: g is closed, and not yet ended.
static int close_underneath(const struct bvault *v, struct guard *g, int why_not, int mounted)
{
	int wanted = v->opts.protect;
	int hard = mounted ? wanted == PROTECT_ALWAYS : g->stays;

	if (mounted)
		g->stays = wanted == PROTECT_ALWAYS;
	int err = why_not;
	if (!err && (mounted ? wanted != PROTECT_NEVER : hard))
		err = guard_close(g, hard);
	if (err || !mounted)
		guard_end(g);
	return err;
}

static void tell_unprotected(struct bvault *v, int err)
{
	char line[160];

	snprintf(line, sizeof(line), "the mount point cannot be protected: %s", werr_text(err));
	bvault_tell(v, text_reply("warning", line));
}

// Mounts, and gives the channel away; nothing of it stays here.
static void hear_mount(struct bvault *v, struct bworker *w)
{
	struct broker *b = v->broker;
	struct mountpoint mount;
	char said[256] = "";
	struct guard guard;
	int fd = -1;

	pthread_mutex_lock(&b->mounting);
	int why_not = guard_open(v->mountpoint, &guard);
	int err = fuse_mount_open(&v->opts, v->mountpoint, &fd);
	if (err)
		snprintf(said, sizeof(said), "%s", fuse_server_error());
	pthread_mutex_unlock(&b->mounting);
	if (!err)
		err = mountpoint_find(v->mountpoint, &mount);
	uint64_t unique = err ? 0 : mountpoint_unique_id(v->mountpoint);
	int open_err = close_underneath(v, &guard, why_not, !err);
	pthread_mutex_lock(&b->lock);
	if (!err && open_err && v->opts.protect == PROTECT_ALWAYS)
		tell_unprotected(v, open_err);
	if (!err && !open_err)
		v->guard = guard;
	if (!err) {
		memcpy(v->device, mount.device, sizeof(v->device));
		v->mount_id = mount.id;
		v->unique_id = unique;
		err = bworker_tell(w, CHANNEL_FUSE, 0, v->device, fd);
	}
	if (err)
		refuse(v, w, err, said);
	pthread_mutex_unlock(&b->lock);
	if (fd >= 0)
		close(fd);
}

// The new keyed worker takes over from the keyless one.
static void hear_mount_again(struct bvault *v, struct bworker *w)
{
	int ends[2];

	pthread_mutex_lock(&v->broker->lock);
	int err = v->keyless ? 0 : WERR_IO;
	if (!err && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		err = WERR_MFILE;
	if (err) {
		refuse(v, w, err, "the locked mount is gone");
	} else {
		v->keyless->giving = 1;
		(void)!bworker_tell(v->keyless, CHANNEL_GIVE, 0, NULL, ends[0]);
		(void)!bworker_tell(w, CHANNEL_TAKE, 0, v->device, ends[1]);
		close(ends[0]);
		close(ends[1]);
	}
	pthread_mutex_unlock(&v->broker->lock);
}

// While the worker still serves: the kernel writes back what it holds.
static void hear_detach(struct bvault *v, struct bworker *w)
{
	if (bvault_is_mounted(v)) {
		int fd = open(v->mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (fd >= 0) {
			(void)syncfs(fd);
			close(fd);
		}
		(void)!mountpoint_unmount(v->mountpoint, 1);
	}
	pthread_mutex_lock(&v->broker->lock);
	(void)!bworker_tell(w, CHANNEL_DETACHED, 0, NULL, -1);
	pthread_mutex_unlock(&v->broker->lock);
}

// ---- what a worker says ----

static void hear_stage(struct bvault *v, const struct channel_msg *m)
{
	if (m->stage < STAGE_VAULT || m->stage > STAGE_CLOSE)
		return;
	if (m->stage == STAGE_KEY && v->state == BSTATE_LOCKED)
		bvault_enter(v, BSTATE_UNLOCKING, NULL);
	bvault_tell(v, json_pack("{ss}", "stage", stage_names[m->stage]));
}

static void hear_ready(struct bvault *v, struct bworker *w)
{
	w->ready = 1;
	if (w == v->keyless) {
		if (v->state == BSTATE_DRAINING && !v->keyed)
			bvault_enter(v, BSTATE_LOCKED_MOUNTED, v->reason);
		if (v->state == BSTATE_UNLOCKING && !v->keyed)
			bvault_enter(v, BSTATE_LOCKED_MOUNTED, "not unlocked");
		w->giving = 0;
		return;
	}
	fuse_mount_lift(device_number(v->device));
	// At unlock it is open when the one that served until now is gone.
	if (!v->keyless)
		opened(v, w->role == ROLE_UNLOCK ? "unlocked" : "mounted");
}

static void hear_log(struct bvault *v, const struct channel_msg *m)
{
	if (v->holder)
		tell(v->holder, text_reply("log", m->text));
	else
		broker_log(v, (int)m->n, m->text);
}

static void hear_end(struct bvault *v, struct bworker *w, const struct channel_msg *m)
{
	w->ended = 1;
	w->code = m->code;
	snprintf(w->detail, sizeof(w->detail), "%.*s", (int)sizeof(w->detail) - 1, m->text);
	if (m->stage >= STAGE_VAULT && m->stage <= STAGE_CLOSE && m->code)
		bvault_tell(v, json_pack("{ss}", "stage", stage_names[m->stage]));
}

// What was said at the mount goes before what the header says.
static void hear_policy(struct bvault *v, struct bworker *w, const char *text)
{
	json_t *j = json_loads(text, 0, NULL);
	struct policy p;

	if (json_is_object(j)) {
		json_object_update(j, v->given);
		if (!policy_parse(j, &p))
			v->policy = p;
		(void)!bworker_tell(w, CHANNEL_ACTIVITY, bworker_activity_ms(v), NULL, -1);
		if (v->state == BSTATE_UNLOCKING && bvault_stays_locked(v))
			bvault_turn_away(w);
	}
	json_decref(j);
}

static void hear_slept(struct bvault *v, int64_t failed)
{
	char line[80];

	v->slept = 1;
	snprintf(line, sizeof(line), "%lld writes that waited have failed, because of the sleep",
		 (long long)failed);
	if (failed)
		broker_log(v, LOG_WARNING, line);
	eventfd_write(v->broker->kick, 1);
}

static void hear_lock_failed(struct bvault *v, const struct channel_msg *m)
{
	if (v->keyless) {
		bworker_kill(v->keyless);
		v->keyless = NULL;
	}
	v->lock_code = m->code ? m->code : WERR_IO;
	if (v->state == BSTATE_DRAINING)
		bvault_enter(v, BSTATE_OPEN, m->text[0] ? m->text : "locking failed");
}

// With the lock.
static void hear(struct bvault *v, struct bworker *w, const struct channel_msg *m)
{
	switch (m->kind) {
	case CHANNEL_STAGE:
		hear_stage(v, m);
		break;
	case CHANNEL_WARN:
		bvault_tell(v, text_reply("warning", m->text));
		break;
	case CHANNEL_TELL:
		bvault_tell(v, text_reply("note", m->text));
		break;
	case CHANNEL_LOG:
		hear_log(v, m);
		break;
	case CHANNEL_EVENT:
		control_event(v->broker->server,
			      json_pack("{ss so}", "event", m->text, "mount", bvault_describe(v)));
		break;
	case CHANNEL_ASK:
		bvault_tell(v, json_pack("{ss}", "stage", "passphrase"));
		break;
	case CHANNEL_READY:
		hear_ready(v, w);
		break;
	case CHANNEL_FAILED:
	case CHANNEL_ENDED:
		hear_end(v, w, m);
		break;
	case CHANNEL_ACTIVE:
		v->active_ms = broker_now_ms();
		break;
	case CHANNEL_POLICY:
		hear_policy(v, w, m->text);
		break;
	case CHANNEL_WIPE_AFTER:
		v->wipe_after = m->n > 0 && m->n <= VAULT_WIPE_MAX ? (unsigned)m->n : 0;
		break;
	case CHANNEL_SLEPT:
		hear_slept(v, m->n);
		break;
	case CHANNEL_LOCK_WANTED:
		(void)!bvault_begin_lock(v, "signal", POLICY_DEADLINE_MS);
		break;
	case CHANNEL_LOCKED:
		w->locked = 1;
		v->lost = m->n;
		break;
	case CHANNEL_LOCK_FAILED:
		hear_lock_failed(v, m);
		break;
	default:
		break;
	}
}

void bvault_hear(struct bvault *v, struct bworker *w, const struct channel_msg *m)
{
	if (m->kind == CHANNEL_MOUNT && w->role == ROLE_KEYED) {
		hear_mount(v, w);
	} else if (m->kind == CHANNEL_MOUNT) {
		hear_mount_again(v, w);
	} else if (m->kind == CHANNEL_DETACH) {
		hear_detach(v, w);
	} else {
		pthread_mutex_lock(&v->broker->lock);
		hear(v, w, m);
		pthread_mutex_unlock(&v->broker->lock);
	}
}
