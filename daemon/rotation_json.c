// SPDX-License-Identifier: Apache-2.0
#include "daemon/rotation_json.h"

#include <string.h>

static const char *const states[] = {
	[ROTATE_IDLE] = "idle",
	[ROTATE_COUNTING] = "counting",
	[ROTATE_RUNNING] = "running",
	[ROTATE_PAUSED] = "paused",
	[ROTATE_WAITING] = "waiting",
	[ROTATE_ENDED] = "ended",
	[ROTATE_INCOMPLETE] = "incomplete",
};
#define STATES (sizeof(states) / sizeof(states[0]))

static const char *const levels[] = {"none", "keys", "contents"};

json_t *rotation_pack(const struct rotate_status *st)
{
	json_t *j =
		json_pack("{ss ss sb sI sI sI sI sI sI sI sI sI sI}", "state", states[st->state],
			  "level", levels[st->level < 3 ? st->level : 0], "subtree", st->subtree,
			  "epoch", (json_int_t)st->epoch, "epochs", (json_int_t)st->epochs,
			  "objects_done", (json_int_t)st->objects_done, "objects_total",
			  (json_int_t)st->objects_total, "bytes_done", (json_int_t)st->bytes_done,
			  "bytes_total", (json_int_t)st->bytes_total, "rate", (json_int_t)st->rate,
			  "max_rate", (json_int_t)st->max_rate, "failed", (json_int_t)st->failed,
			  "started_s", (json_int_t)st->started_s);

	if (j && st->left_s != UINT64_MAX)
		json_object_set_new(j, "left_s", json_integer((json_int_t)st->left_s));
	if (j && st->error)
		json_object_set_new(j, "error", json_string(werr_text(st->error)));
	return j;
}

json_t *rotation_json(struct fs *fs)
{
	struct rotate_status st;

	rotate_get_status(fs, &st);
	return rotation_pack(&st);
}

static uint64_t number(const json_t *j, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(j, key));

	return v > 0 ? (uint64_t)v : 0;
}

int rotation_parse(const json_t *j, struct rotate_status *ret)
{
	const char *state = json_string_value(json_object_get(j, "state"));
	const char *level = json_string_value(json_object_get(j, "level"));
	struct rotate_status st = {.left_s = UINT64_MAX};
	size_t i = 0;

	while (state && i < STATES && strcmp(state, states[i]) != 0)
		i++;
	if (!state || !level || i == STATES)
		return WERR_MALFORMED;
	st.state = (enum rotate_state)i;
	for (unsigned l = 0; l < 3; l++)
		st.level = strcmp(level, levels[l]) ? st.level : l;
	st.subtree = json_is_true(json_object_get(j, "subtree"));
	st.epoch = (uint32_t)number(j, "epoch");
	st.epochs = (unsigned)number(j, "epochs");
	st.objects_done = number(j, "objects_done");
	st.objects_total = number(j, "objects_total");
	st.bytes_done = number(j, "bytes_done");
	st.bytes_total = number(j, "bytes_total");
	st.rate = number(j, "rate");
	st.max_rate = number(j, "max_rate");
	st.failed = number(j, "failed");
	st.started_s = number(j, "started_s");
	if (json_is_integer(json_object_get(j, "left_s")))
		st.left_s = number(j, "left_s");
	*ret = st;
	return 0;
}
