// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>

#include "daemon/attempts.h"
#include "daemon/policy.h"
#include "tests/unit/unit_main.h"

START_TEST(nothing_is_said)
{
	struct policy p;
	char line[200];

	ck_assert_int_eq(policy_parse(NULL, &p), 0);
	ck_assert(p.idle_s == 0 && p.max_time_s == 0);
	ck_assert(p.on[POLICY_IDLE] == POLICY_LOCK && p.on[POLICY_MAX_TIME] == POLICY_LOCK &&
		  p.on[POLICY_SIGNAL] == POLICY_LOCK);
	ck_assert(p.on[POLICY_SLEEP] == POLICY_NOTHING &&
		  p.on[POLICY_SCREEN_LOCK] == POLICY_NOTHING &&
		  p.on[POLICY_SESSION_END] == POLICY_NOTHING);
	json_t *j = policy_json(&p);
	policy_line(j, line, sizeof(line));
	ck_assert_str_eq(line, "");
	json_decref(j);
}
END_TEST

static const struct {
	const char *word, *json;
	int err;
} words[] = {
	{"idle=90", "{\"idle_s\": 90}", 0},
	{"idle=10m", "{\"idle_s\": 600}", 0},
	{"idle=off", "{\"idle_s\": 0}", 0},
	{"max_time=366d", "{\"max_time_s\": 31622400}", 0},
	{"max_time=367d", "{}", WERR_INVALID},
	{"idle=-1", "{}", WERR_INVALID},
	{"idle=", "{}", WERR_INVALID},
	{"idle=1w", "{}", WERR_INVALID},
	{"idle=99999999999999999999s", "{}", WERR_INVALID},
	{"on_sleep=lock", "{\"on_sleep\": \"lock\"}", 0},
	{"on_screen_lock=unmount", "{\"on_screen_lock\": \"unmount\"}", 0},
	{"on_session_end=off", "{\"on_session_end\": \"off\"}", 0},
	{"on_sleep=burn", "{}", WERR_INVALID},
	{"on_sleep=", "{}", WERR_INVALID},
	{"on_sleepy=lock", "{}", WERR_NOTFOUND},
	{"noatime", "{}", WERR_NOTFOUND},
};

START_TEST(words_of_a_list)
{
	json_t *j = json_object();

	ck_assert_int_eq(policy_word(j, words[_i].word), words[_i].err);
	char *text = json_dumps(j, 0);
	ck_assert_str_eq(text, words[_i].json);
	free(text);
	json_decref(j);
}
END_TEST

// Every event and action through the header and back; what is not said stays unsaid.
START_TEST(headers_keep_what_is_said)
{
	static const char *const keys[] = {"on_idle",  "on_max_time",    "on_signal",
					   "on_sleep", "on_screen_lock", "on_session_end"};
	static const char *const actions[] = {"lock", "unmount", "nothing"};

	for (size_t e = 0; e < 6; e++) {
		for (size_t a = 0; a < 3; a++) {
			struct vault_policy h = {.wipe_after = 7};
			json_t *said = json_pack("{sI ss}", "max_time_s", (json_int_t)(60 + e),
						 keys[e], actions[a]);

			ck_assert_int_eq(policy_to_header(said, &h), 0);
			ck_assert_uint_eq(h.wipe_after, 7);
			ck_assert_uint_eq(h.idle_s, 0);
			ck_assert_uint_eq(h.max_time_s, 60 + e);
			for (size_t i = 0; i < 6; i++)
				ck_assert_uint_eq(h.on[i], i == e ? a + 1 : 0);
			json_t *back = policy_of_header(&h);
			ck_assert(json_equal(said, back));
			json_decref(back);
			json_decref(said);
		}
	}
}
END_TEST

START_TEST(policies_that_are_none)
{
	static const char *const texts[] = {
		"[]",
		"{\"idle_s\": -1}",
		"{\"idle_s\": \"10m\"}",
		"{\"idle_s\": 31622401}",
		"{\"on_sleep\": 1}",
		"{\"on_sleep\": \"\"}",
		"{\"max_time_s\": 1.5}",
	};
	struct vault_policy h = {.idle_s = 5};
	struct policy p;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		json_t *j = json_loads(texts[i], 0, NULL);

		ck_assert_ptr_nonnull(j);
		ck_assert_int_eq(policy_parse(j, &p), WERR_INVALID);
		ck_assert_int_eq(policy_to_header(j, &h), WERR_INVALID);
		ck_assert_uint_eq(h.idle_s, 5);
		json_decref(j);
	}
}
END_TEST

START_TEST(lines_for_people)
{
	json_t *j = json_pack("{sI sI ss ss ss}", "idle_s", (json_int_t)600, "max_time_s",
			      (json_int_t)90, "on_max_time", "unmount", "on_sleep", "lock",
			      "on_signal", "unmount");
	char line[200], little[12];

	policy_line(j, line, sizeof(line));
	ck_assert_str_eq(line, "idle 10m: lock, max_time 90s: unmount, sleep: lock");
	policy_line(j, little, sizeof(little)); // stays inside
	json_decref(j);
}
END_TEST

START_TEST(waits_grow)
{
	static const struct {
		unsigned failures;
		int64_t ms;
	} waits[] = {{0, 0},     {2, 0},       {3, 1000},    {4, 2000},
		     {8, 32000}, {12, 512000}, {13, 600000}, {4000000000u, 600000}};

	for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++)
		ck_assert_int_eq(attempts_delay_ms(waits[i].failures), waits[i].ms);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("policy");
	TCase *t = tcase_create("policy");

	tcase_add_test(t, nothing_is_said);
	tcase_add_loop_test(t, words_of_a_list, 0, sizeof(words) / sizeof(words[0]));
	tcase_add_test(t, headers_keep_what_is_said);
	tcase_add_test(t, policies_that_are_none);
	tcase_add_test(t, lines_for_people);
	tcase_add_test(t, waits_grow);
	suite_add_tcase(suite, t);
	return unit_main(suite);
}
