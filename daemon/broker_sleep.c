// SPDX-License-Identifier: Apache-2.0
// Locking when the machine sleeps and when the user is away: what logind says, and what follows.
//
// Sleep waits for the broker as long as it holds logind's inhibitor, but not for ever. So a vault
// that cannot be locked in time loses its worker, keys and all, and its mount is dead; and requests
// that wait on a locked mount fail, since a task that waits for a FUSE filesystem cannot be frozen.
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <syslog.h>

#include "daemon/broker_private.h"

// Of the time that logind gives; the rest is for killing and for logind itself.
#define SHARE_PERCENT 80
#define LONGEST_MS 10000
// A worker must be done so much earlier than the broker stops to wait.
#define SPARE_MS 500
// How long the end of a killed worker is waited for.
#define KILL_MS 400
#define LOCKS_MAX 3

static const enum policy_event away[] = {POLICY_SLEEP, POLICY_SCREEN_LOCK, POLICY_SESSION_END};

static int follows(const struct bvault *v, enum policy_event e)
{
	return v->state != BSTATE_ABSENT && v->policy.on[e] != POLICY_NOTHING;
}

// ---- no key while the machine sleeps ----

int bvault_stays_locked(const struct bvault *v)
{
	return v->broker->sleeping && v->policy.on[POLICY_SLEEP] != POLICY_NOTHING;
}

// Nothing of the vault is lost by it: where it was mounted already another process serves on.
void bvault_turn_away(struct bworker *w)
{
	w->ended = 1;
	w->code = WERR_BUSY;
	snprintf(w->detail, sizeof(w->detail), "%s", BROKER_ASLEEP);
	bworker_kill(w);
}

// ---- one vault before the sleep ----

static void lock_or_stop(struct bvault *v)
{
	int64_t left_ms = v->broker->sleep_by_ms - broker_now_ms() - SPARE_MS;

	// What fails again and again waits for the deadline.
	if (v->sleep_tries++ >= LOCKS_MAX)
		return;
	if (v->policy.on[POLICY_SLEEP] == POLICY_UNMOUNT) {
		v->sleep_tries = LOCKS_MAX;
		bvault_stop(v);
	} else if (bvault_begin_lock(v, policy_event_name(POLICY_SLEEP),
				     left_ms > 100 ? left_ms : 100)) {
		broker_log(v, LOG_ERR, "could not be locked");
	}
}

// On a locked mount nothing may wait; one to be unmounted ends.
static int quieten(struct bvault *v)
{
	if (v->policy.on[POLICY_SLEEP] == POLICY_UNMOUNT) {
		lock_or_stop(v);
		return 1;
	}
	if (!v->sleep_told && v->keyless)
		v->sleep_told = !bworker_tell(v->keyless, CHANNEL_SLEEP, 1, NULL, -1);
	return !v->slept;
}

// Does what is to be done for a vault. Whether the machine must not sleep yet.
static int prepare(struct bvault *v)
{
	int wanted = follows(v, POLICY_SLEEP);

	switch (v->state) {
	case BSTATE_OPEN:
		if (wanted)
			lock_or_stop(v);
		return wanted;
	case BSTATE_UNLOCKING:
		// What is derived now would be a key in memory. One that takes the mount over is
		// locked when it has it.
		if (wanted && v->keyed && !(v->keyless && v->keyless->giving))
			bvault_turn_away(v->keyed);
		return wanted;
	case BSTATE_DRAINING:
		return 1;
	case BSTATE_LOCKED_MOUNTED:
		return quieten(v);
	case BSTATE_FAILED:
		// Killed, but not yet gone.
		return v->keyed != NULL;
	default:
		return 0;
	}
}

// The time is over.
static void give_up(struct bvault *v)
{
	char device[MOUNTPOINT_DEVICE_BYTES];

	memcpy(device, v->device, sizeof(device));
	if (v->state == BSTATE_UNLOCKING) {
		if (v->keyed)
			bvault_turn_away(v->keyed);
		return;
	}
	if (v->state == BSTATE_FAILED)
		return;
	v->lock_code = WERR_IO;
	bvault_fail(v, "could not be locked before the sleep: its keys are wiped, the mount is "
		       "dead");
	bvault_abort(device);
}

int broker_sleep_tick(struct broker *b)
{
	int64_t late_ms = broker_now_ms() - b->sleep_by_ms;
	int waiting = 0;

	if (!b->sleeping)
		return 0;
	for (struct bvault *v = b->vaults; v; v = v->next) {
		int one = prepare(v);

		if (one && late_ms >= 0)
			give_up(v);
		waiting |= one;
	}
	if (!waiting || late_ms >= KILL_MS)
		logind_let_sleep(b->logind);
	return waiting && late_ms < KILL_MS;
}

// ---- what logind says ----

static void begin_sleep(struct broker *b)
{
	int64_t most_ms = logind_delay_ms(b->logind) * SHARE_PERCENT / 100;

	b->sleeping = 1;
	b->sleep_by_ms = broker_now_ms() + (most_ms < LONGEST_MS ? most_ms : LONGEST_MS);
	for (struct bvault *v = b->vaults; v; v = v->next)
		v->sleep_told = v->slept = v->sleep_tries = 0;
}

static void end_sleep(struct broker *b)
{
	b->sleeping = 0;
	for (struct bvault *v = b->vaults; v; v = v->next) {
		if (v->state == BSTATE_LOCKED_MOUNTED && v->sleep_told && v->keyless)
			(void)!bworker_tell(v->keyless, CHANNEL_SLEEP, 0, NULL, -1);
		v->sleep_told = v->slept = v->sleep_tries = 0;
	}
}

static void on_event(void *arg, enum logind_event e)
{
	struct broker *b = arg;

	pthread_mutex_lock(&b->lock);
	switch (e) {
	case LOGIND_SLEEP:
		begin_sleep(b);
		break;
	case LOGIND_WAKE:
		end_sleep(b);
		break;
	case LOGIND_SCREEN_LOCK:
		broker_trigger(b, POLICY_SCREEN_LOCK);
		break;
	case LOGIND_SESSION_END:
		broker_trigger(b, POLICY_SESSION_END);
		break;
	}
	pthread_mutex_unlock(&b->lock);
	eventfd_write(b->kick, 1);
}

static void on_news(void *arg, const char *line)
{
	struct broker *b = arg;

	// Once, not at every attempt.
	pthread_mutex_lock(&b->lock);
	if (line && !b->logind_told)
		syslog(LOG_WARNING, "%s", line);
	b->logind_told |= line != NULL;
	pthread_mutex_unlock(&b->lock);
}

void broker_follow_logind(struct broker *b)
{
	const struct logind_params params = {.event = on_event, .news = on_news, .arg = b};
	int events = 0, delay = 0;

	for (struct bvault *v = b->vaults; v; v = v->next) {
		for (size_t i = 0; i < sizeof(away) / sizeof(away[0]); i++)
			events |= follows(v, away[i]);
		delay |= follows(v, POLICY_SLEEP);
	}
	if (!b->logind && (!events || logind_new(&params, &b->logind)))
		return;
	logind_want(b->logind, events, delay);
}

// ---- what is without effect ----

json_t *bvault_without_effect(const struct bvault *v)
{
	enum logind_state state =
		v->broker->logind ? logind_state(v->broker->logind) : LOGIND_ASKING;
	json_t *names = json_array();

	for (size_t i = 0; i < sizeof(away) / sizeof(away[0]); i++) {
		int without = state == LOGIND_ABSENT ||
			      (state == LOGIND_PRESENT && away[i] == POLICY_SLEEP);

		if (without && follows(v, away[i]))
			json_array_append_new(names, json_string(policy_event_name(away[i])));
	}
	return names;
}
