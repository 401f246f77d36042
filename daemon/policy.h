// SPDX-License-Identifier: Apache-2.0
// When a vault is locked or unmounted by itself. wardfs(1), "When to lock". Pure functions.
#ifndef WARDFS_DAEMON_POLICY_H
#define WARDFS_DAEMON_POLICY_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/vault_header.h"
#include "crypto/werr.h"

// What a lock by itself may take.
#define POLICY_DEADLINE_MS 4000
#define POLICY_TIME_MAX_S VAULT_POLICY_TIME_MAX_S

// In the order of the header.
enum policy_event {
	POLICY_IDLE,     // no request for idle_s
	POLICY_MAX_TIME, // unlocked for max_time_s
	POLICY_SIGNAL,   // SIGUSR1
	// What logind says; nothing unless it is asked for.
	POLICY_SLEEP,
	POLICY_SCREEN_LOCK,
	POLICY_SESSION_END, // the last session of the user
	POLICY_EVENTS,
};

enum policy_action { POLICY_LOCK, POLICY_UNMOUNT, POLICY_NOTHING };

struct policy {
	int64_t idle_s;     // 0: never
	int64_t max_time_s; // 0: never
	enum policy_action on[POLICY_EVENTS];
};

// No times; a signal locks, and what logind says does nothing.
void policy_init(struct policy *p);
// A Policy of the interface description (NULL: none). WERR_INVALID.
int policy_parse(const json_t *j, struct policy *ret) WARN_UNUSED;
json_t *policy_json(const struct policy *p);
// What a vault's header says, as a Policy object in which only that is.
json_t *policy_of_header(const struct vault_policy *h);
// The other way round; wipe_after stays. WERR_INVALID.
int policy_to_header(const json_t *j, struct vault_policy *ret) WARN_UNUSED;
// For people: "idle 10m: lock, sleep: unmount"; empty when nothing ever happens by itself. What a
// signal does is not said.
void policy_line(const json_t *policy, char *ret, size_t cap);
// "idle=10m" and the like, a word of a list of mount options: sets it in a Policy object.
// WERR_NOTFOUND: none of ours; WERR_INVALID: one of ours with a value that is none.
int policy_word(json_t *policy, const char *word) WARN_UNUSED;
// Seconds of "90", "90s", "10m", "1h", "2d"; -1: no time.
int64_t policy_seconds(const char *text);
// 600 -> "10m".
void policy_time(int64_t seconds, char ret[static 24]);
// For people, and the key of its action without "on_": "idle".
const char *policy_event_name(enum policy_event e);

#endif
