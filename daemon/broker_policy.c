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

// Until the next of the two times at which something is to be done; *ret: which. A time at which
// nothing is to be done must not stand before the other. -1: none.
static int64_t next_event(const struct bvault *v, enum policy_event *ret)
{
	const struct {
		enum policy_event event;
		int64_t from_ms, seconds;
	} times[] = {{POLICY_MAX_TIME, v->open_ms, v->policy.max_time_s},
		     {POLICY_IDLE, v->active_ms, v->policy.idle_s}};
	int64_t next = -1;

	for (size_t i = 0; v->state == BSTATE_OPEN && i < sizeof(times) / sizeof(times[0]); i++) {
		int64_t left = left_of(times[i].from_ms, times[i].seconds);

		if (v->policy.on[times[i].event] == POLICY_NOTHING || left < 0 ||
		    (next >= 0 && left >= next))
			continue;
		next = left;
		*ret = times[i].event;
	}
	return next;
}

int64_t bvault_next_lock_ms(const struct bvault *v)
{
	enum policy_event ignored;

	return next_event(v, &ignored);
}

int broker_tick(struct broker *b)
{
	broker_follow_logind(b);
	int64_t next = broker_sleep_tick(b) ? DRAINING_MS : -1;

	for (struct bvault *v = b->vaults; v; v = v->next) {
		enum policy_event event;

		bvault_check_lock(v);
		if (next_event(v, &event) == 0)
			act(v, event);
		int64_t left = v->state == BSTATE_DRAINING ? DRAINING_MS : bvault_next_lock_ms(v);
		if (left == 0)
			left = 1000; // it did not work: not again at once
		if (left > 0 && (next < 0 || left < next))
			next = left;
	}
	return next > 3600000 ? 3600000 : (int)next;
}
