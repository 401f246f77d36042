// SPDX-License-Identifier: Apache-2.0
// The states of a vault, what may follow what, and how a vault looks in each.
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <syslog.h>
#include <unistd.h>

#include "daemon/broker_private.h"
#include "daemon/varlink.h"

#define BIT(state) (1u << BSTATE_##state)

enum need { NO, YES, ANY };

static const struct state_row {
	const char *name;
	unsigned next;     // states that may follow
	enum need keyed;   // has a worker that may know the key
	enum need keyless; // has one that serves without
	enum need mounted; // has a device
} table[BSTATE_STATES] = {
	[BSTATE_ABSENT] = {"absent", BIT(LOCKED), ANY, ANY, ANY},
	[BSTATE_LOCKED] = {"locked", BIT(UNLOCKING) | BIT(ENDING), YES, NO, NO},
	[BSTATE_UNLOCKING] = {"unlocking",
			      BIT(OPEN) | BIT(LOCKED_MOUNTED) | BIT(ENDING) | BIT(FAILED), ANY, ANY,
			      ANY},
	[BSTATE_OPEN] = {"open", BIT(DRAINING) | BIT(ENDING) | BIT(FAILED), YES, NO, YES},
	[BSTATE_DRAINING] = {"draining",
			     BIT(LOCKED_MOUNTED) | BIT(OPEN) | BIT(ENDING) | BIT(FAILED), ANY, ANY,
			     YES},
	[BSTATE_LOCKED_MOUNTED] = {"locked-with-mount", BIT(UNLOCKING) | BIT(ENDING) | BIT(FAILED),
				   NO, YES, YES},
	[BSTATE_FAILED] = {"failed", BIT(ENDING), ANY, ANY, YES},
	[BSTATE_ENDING] = {"ending", BIT(ABSENT) | BIT(FAILED), ANY, ANY, ANY},
};

const char *bvault_state_name(enum bstate state)
{
	return table[state].name;
}

static int is_as(enum need need, int has)
{
	return need == ANY || (need == YES) == (has != 0);
}

int bvault_consistent(const struct bvault *v)
{
	const struct state_row *row = &table[v->state];

	return is_as(row->keyed, v->keyed != NULL) && is_as(row->keyless, v->keyless != NULL) &&
	       is_as(row->mounted, v->device[0] != 0);
}

json_t *bvault_describe(const struct bvault *v)
{
	const struct bworker *w = v->keyed ? v->keyed : v->keyless;
	json_t *j = json_pack(
		"{so so ss ss sI sI sb ss sI}", "mountpoint", varlink_path(v->mountpoint), "vault",
		varlink_path(v->dir), "device", v->device, "state", table[v->state].name, "since",
		(json_int_t)v->since, "user_id", (json_int_t)geteuid(), "mounted_readonly",
		v->opts.readonly, "reason", v->reason, "broker_pid", (json_int_t)getpid());

	int64_t next_ms = bvault_next_lock_ms(v);

	json_object_set_new(j, "policy", policy_json(&v->policy));
	json_object_set_new(j, "without_effect", bvault_without_effect(v));
	if (next_ms >= 0)
		json_object_set_new(j, "next_lock_s", json_integer((next_ms + 999) / 1000));
	if (j && v->unique_id)
		json_object_set_new(j, "mount_id", json_integer((json_int_t)v->unique_id));
	if (j && w)
		json_object_set_new(j, "pid", json_integer(w->pid));
	return j;
}

void bvault_enter_silently(struct bvault *v, enum bstate state)
{
	int allowed = v->state == state || (table[v->state].next & 1u << state);

	if (!allowed)
		syslog(LOG_CRIT, "%s: %s cannot follow %s", v->mountpoint, table[state].name,
		       table[v->state].name);
	v->state = allowed ? state : BSTATE_FAILED;
	v->since = time(NULL);
	if (!bvault_consistent(v)) {
		syslog(LOG_CRIT, "%s: does not look as %s should", v->mountpoint,
		       table[v->state].name);
		v->state = BSTATE_FAILED;
	}
}

void bvault_enter(struct bvault *v, enum bstate state, const char *reason)
{
	if (reason != v->reason)
		snprintf(v->reason, sizeof(v->reason), "%s", reason ? reason : "");
	bvault_enter_silently(v, state);
	control_event(v->broker->server, json_pack("{ss so}", "event", table[v->state].name,
						   "mount", bvault_describe(v)));
	for (struct awaiting *a = v->awaiting; a; a = a->next)
		eventfd_write(a->event, 1);
	eventfd_write(v->broker->kick, 1);
}
