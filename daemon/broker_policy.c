// SPDX-License-Identifier: Apache-2.0
// When the broker locks by itself: times that have passed, and what happens to the machine.
#include <stdio.h>
#include <syslog.h>

#include "daemon/broker_private.h"

// While something is being locked its deadline is looked at so often.
#define DRAINING_MS 100

static void act(struct bvault *v, enum policy_event event)
{
	char reason[48];

	if (v->state != BSTATE_OPEN && v->state != BSTATE_LOCKED_MOUNTED)
		return;
	snprintf(reason, sizeof(reason), "%s", policy_event_name(event));
	switch (v->policy.on[event]) {
	case POLICY_LOCK:
		if (v->state == BSTATE_OPEN && bvault_begin_lock(v, reason, POLICY_DEADLINE_MS))
			broker_log(v, LOG_ERR, "could not be locked");
		break;
	case POLICY_UNMOUNT:
		bvault_stop(v);
		break;
	case POLICY_NOTHING:
		break;
	}
}

void broker_trigger(struct broker *b, enum policy_event event)
{
	for (struct bvault *v = b->vaults; v; v = v->next)
		act(v, event);
}

// Milliseconds until a time is over; -1: there is none.
static int64_t left_of(int64_t from_ms, int64_t seconds)
{
	if (!seconds)
		return -1;
	int64_t left = from_ms + seconds * 1000 - broker_now_ms();
	return left > 0 ? left : 0;
}

int64_t bvault_next_lock_ms(const struct bvault *v)
{
	int64_t idle = v->policy.on[POLICY_IDLE] == POLICY_NOTHING
			       ? -1
			       : left_of(v->active_ms, v->policy.idle_s);
	int64_t most = v->policy.on[POLICY_MAX_TIME] == POLICY_NOTHING
			       ? -1
			       : left_of(v->open_ms, v->policy.max_time_s);

	if (v->state != BSTATE_OPEN)
		return -1;
	return idle < 0 || (most >= 0 && most < idle) ? most : idle;
}

int broker_tick(struct broker *b)
{
	broker_follow_logind(b);
	int64_t next = broker_sleep_tick(b) ? DRAINING_MS : -1;

	for (struct bvault *v = b->vaults; v; v = v->next) {
		bvault_check_lock(v);
		if (bvault_next_lock_ms(v) == 0)
			act(v, left_of(v->open_ms, v->policy.max_time_s) == 0 ? POLICY_MAX_TIME
									      : POLICY_IDLE);
		int64_t left = v->state == BSTATE_DRAINING ? DRAINING_MS : bvault_next_lock_ms(v);
		if (left == 0)
			left = 1000; // it did not work: not again at once
		if (left > 0 && (next < 0 || left < next))
			next = left;
	}
	return next > 3600000 ? 3600000 : (int)next;
}
