// SPDX-License-Identifier: Apache-2.0
#include "daemon/policy.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const event_names[POLICY_EVENTS] = {"idle",  "max_time",    "signal",
						       "sleep", "screen_lock", "session_end"};
static const char *const action_names[] = {"lock", "unmount", "nothing"};
_Static_assert(POLICY_EVENTS == VAULT_POLICY_EVENTS, "events of the header");
_Static_assert(POLICY_LOCK + 1 == VAULT_POLICY_LOCK && POLICY_NOTHING + 1 == VAULT_POLICY_NOTHING,
	       "actions of the header");

const char *policy_event_name(enum policy_event e)
{
	return event_names[e];
}

void policy_init(struct policy *p)
{
	*p = (struct policy){.on = {[POLICY_SLEEP] = POLICY_NOTHING,
				    [POLICY_SCREEN_LOCK] = POLICY_NOTHING,
				    [POLICY_SESSION_END] = POLICY_NOTHING}};
}

static int action_of(const char *text)
{
	if (!strcmp(text, "off"))
		return POLICY_NOTHING;
	for (int i = 0; i <= POLICY_NOTHING; i++) {
		if (!strcmp(text, action_names[i]))
			return i;
	}
	return -1;
}

static void key_of(enum policy_event e, char ret[static 24])
{
	snprintf(ret, 24, "on_%s", event_names[e]);
}

static int take_time(const json_t *j, const char *name, int64_t *ret)
{
	const json_t *n = json_object_get(j, name);

	if (!n || json_is_null(n))
		return 0;
	if (!json_is_integer(n) || json_integer_value(n) < 0 ||
	    json_integer_value(n) > POLICY_TIME_MAX_S)
		return WERR_INVALID;
	*ret = json_integer_value(n);
	return 0;
}

int policy_parse(const json_t *j, struct policy *ret)
{
	policy_init(ret);
	if (!j || json_is_null(j))
		return 0;
	if (!json_is_object(j) || take_time(j, "idle_s", &ret->idle_s) ||
	    take_time(j, "max_time_s", &ret->max_time_s))
		return WERR_INVALID;
	for (int e = 0; e < POLICY_EVENTS; e++) {
		char key[24];

		key_of((enum policy_event)e, key);
		const json_t *action = json_object_get(j, key);
		if (!action || json_is_null(action))
			continue;
		int n = json_is_string(action) ? action_of(json_string_value(action)) : -1;
		if (n < 0)
			return WERR_INVALID;
		ret->on[e] = (enum policy_action)n;
	}
	return 0;
}

json_t *policy_json(const struct policy *p)
{
	json_t *j = json_object();

	if (p->idle_s)
		json_object_set_new(j, "idle_s", json_integer(p->idle_s));
	if (p->max_time_s)
		json_object_set_new(j, "max_time_s", json_integer(p->max_time_s));
	for (int e = 0; e < POLICY_EVENTS; e++) {
		char key[24];

		key_of((enum policy_event)e, key);
		json_object_set_new(j, key, json_string(action_names[p->on[e]]));
	}
	return j;
}

json_t *policy_of_header(const struct vault_policy *h)
{
	json_t *j = json_object();

	if (h->idle_s)
		json_object_set_new(j, "idle_s", json_integer(h->idle_s));
	if (h->max_time_s)
		json_object_set_new(j, "max_time_s", json_integer(h->max_time_s));
	for (int e = 0; e < POLICY_EVENTS; e++) {
		char key[24];

		key_of((enum policy_event)e, key);
		if (h->on[e] > VAULT_POLICY_UNSAID && h->on[e] <= VAULT_POLICY_NOTHING)
			json_object_set_new(j, key, json_string(action_names[h->on[e] - 1]));
	}
	return j;
}

int policy_to_header(const json_t *j, struct vault_policy *ret)
{
	struct policy p;
	int err = policy_parse(j, &p);

	if (err)
		return err;
	ret->idle_s = (uint32_t)p.idle_s;
	ret->max_time_s = (uint32_t)p.max_time_s;
	for (int e = 0; e < POLICY_EVENTS; e++) {
		char key[24];

		key_of((enum policy_event)e, key);
		ret->on[e] = json_is_string(json_object_get(j, key)) ? (uint8_t)(p.on[e] + 1)
								     : VAULT_POLICY_UNSAID;
	}
	return 0;
}

int64_t policy_seconds(const char *text)
{
	static const struct {
		const char *suffix;
		int64_t seconds;
	} units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
	char *end = NULL;

	errno = 0;
	long long n = isdigit((unsigned char)*text) ? strtoll(text, &end, 10) : -1;
	for (size_t i = 0; end && !errno && i < sizeof(units) / sizeof(units[0]); i++) {
		if (!strcmp(end, units[i].suffix) && n <= POLICY_TIME_MAX_S / units[i].seconds)
			return n * units[i].seconds;
	}
	return -1;
}

int policy_word(json_t *policy, const char *word)
{
	static const struct {
		const char *name, *key;
	} times[] = {{"idle=", "idle_s"}, {"max_time=", "max_time_s"}};

	for (size_t i = 0; i < 2; i++) {
		size_t n = strlen(times[i].name);

		if (strncmp(word, times[i].name, n) != 0)
			continue;
		int64_t seconds = strcmp(word + n, "off") != 0 ? policy_seconds(word + n) : 0;
		if (seconds < 0)
			return WERR_INVALID;
		return json_object_set_new(policy, times[i].key, json_integer(seconds)) ? WERR_NOMEM
											: 0;
	}
	for (int e = 0; e < POLICY_EVENTS; e++) {
		char key[24];

		key_of((enum policy_event)e, key);
		size_t n = strlen(key);
		if (strncmp(word, key, n) != 0 || word[n] != '=')
			continue;
		if (action_of(word + n + 1) < 0)
			return WERR_INVALID;
		return json_object_set_new(policy, key, json_string(word + n + 1)) ? WERR_NOMEM : 0;
	}
	return WERR_NOTFOUND;
}

void policy_time(int64_t seconds, char ret[static 24])
{
	static const struct {
		const char *suffix;
		int64_t seconds;
	} units[] = {{"d", 86400}, {"h", 3600}, {"m", 60}, {"s", 1}};
	size_t i = 0;

	while (i < 3 && seconds % units[i].seconds)
		i++;
	snprintf(ret, 24, "%lld%s", (long long)(seconds / units[i].seconds), units[i].suffix);
}

void policy_line(const json_t *policy, char *ret, size_t cap)
{
	size_t len = 0;
	struct policy p;

	ret[0] = 0;
	if (policy_parse(policy, &p))
		return;
	for (int e = 0; e < POLICY_EVENTS; e++) {
		int64_t seconds = e == POLICY_IDLE ? p.idle_s : p.max_time_s;
		int timed = e == POLICY_IDLE || e == POLICY_MAX_TIME;
		char time[24] = "";

		if (p.on[e] == POLICY_NOTHING || e == POLICY_SIGNAL || (timed && !seconds))
			continue;
		if (timed)
			policy_time(seconds, time);
		int n = snprintf(ret + len, cap - len, "%s%s%s%s: %s", len ? ", " : "",
				 event_names[e], timed ? " " : "", time, action_names[p.on[e]]);
		if (n < 0 || (size_t)n >= cap - len)
			return;
		len += (size_t)n;
	}
}
