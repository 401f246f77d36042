// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/attempts.h"
#include "daemon/policy.h"
#include "tools/confirm.h"
#include "tools/edit.h"
#include "tools/report.h"
#include "tools/verbs.h"

struct request {
	struct secrets_source source;
	json_t *changes; // a Policy; null: as if never said
	int changes_wipe, yes_wipe, json;
	uint32_t wipe_after;
	const char *dir;
};

enum { KEY_JSON = 1, KEY_WIPE, KEY_YES_WIPE, KEY_WORDS };

// Options that are words of a policy: daemon/policy.h.
static const struct word {
	const char *option, *name, *key, *arg, *doc;
} words[] = {
	{"idle", "idle", "idle_s", "T", "lock when nothing was asked of the folder for T"},
	{"max-time", "max_time", "max_time_s", "T", "lock T after it was unlocked"},
	{"on-idle", "on_idle", "on_idle", "A", "what happens then: lock, unmount, off or default"},
	{"on-max-time", "on_max_time", "on_max_time", "A", "the same for --max-time"},
	{"sleep", "on_sleep", "on_sleep", "A", "before the machine sleeps"},
	{"screen-lock", "on_screen_lock", "on_screen_lock", "A", "when the screen is locked"},
	{"session-end", "on_session_end", "on_session_end", "A",
	 "when the last session of the user ends"},
	{"signal", "on_signal", "on_signal", "A", "at SIGUSR1"},
};
#define WORDS (sizeof(words) / sizeof(words[0]))

static void take_word(struct argp_state *state, struct request *r, const struct word *w,
		      const char *arg)
{
	char text[64];

	if (!strcmp(arg, "default")) {
		json_object_set_new(r->changes, w->key, json_null());
		return;
	}
	snprintf(text, sizeof(text), "%s=%s", w->name, arg);
	if (strlen(arg) > 16 || policy_word(r->changes, text))
		argp_failure(
			state, EXIT_WARD_USAGE, 0,
			w->arg[0] == 'T'
				? "--%s: '%s' is no time; write a number with s, m, h or d, or "
				  "off"
				: "--%s: '%s': write lock, unmount, off or default",
			w->option, arg);
}

static void take_wipe(struct argp_state *state, struct request *r, const char *arg)
{
	char *end;
	unsigned long n = strcmp(arg, "off") != 0 ? strtoul(arg, &end, 10) : 0;

	if (strcmp(arg, "off") != 0 &&
	    (*arg < '0' || *arg > '9' || *end || n < VAULT_WIPE_MIN || n > VAULT_WIPE_MAX))
		argp_failure(state, EXIT_WARD_USAGE, 0,
			     "--wipe-after: '%s' is no number from %d to %d, and not off", arg,
			     VAULT_WIPE_MIN, VAULT_WIPE_MAX);
	r->wipe_after = (uint32_t)n;
	r->changes_wipe = 1;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct request *r = state->input;

	if (key >= KEY_WORDS && key < KEY_WORDS + (int)WORDS) {
		take_word(state, r, &words[key - KEY_WORDS], arg);
		return 0;
	}
	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &r->source;
		return 0;
	case KEY_JSON:
		r->json = 1;
		return 0;
	case KEY_WIPE:
		take_wipe(state, r, arg);
		return 0;
	case KEY_YES_WIPE:
		r->yes_wipe = 1;
		return 0;
	default:
		return options_operands(key, arg, state, &r->dir, 1, "DIR");
	}
}

static const struct argp_child children[] = {
	{&secrets_options, 0, NULL, 0},
	{0},
};
static const char doc[] =
	"Shows when the vault DIR is locked by itself, or sets it, which needs a secret that opens "
	"the vault, and the vault unmounted. 'wardfs mount' can say otherwise for one mount.";

// ---- showing ----

static void show_action(const char *name, unsigned action, const char *unsaid)
{
	static const char *const names[] = {
		[VAULT_POLICY_LOCK] = "lock",
		[VAULT_POLICY_UNMOUNT] = "unmount",
		[VAULT_POLICY_NOTHING] = "off",
	};

	if (action == VAULT_POLICY_UNSAID)
		printf("  %-12s not set (%s)\n", name, unsaid);
	else
		printf("  %-12s %s\n", name, names[action]);
}

static void show_time(const char *name, uint32_t seconds, unsigned action)
{
	char text[24];

	policy_time(seconds, text);
	if (seconds)
		show_action(name, action, "lock");
	if (seconds)
		printf("  %-12s after %s\n", "", text);
	else
		printf("  %-12s off\n", name);
}

static void show(const struct vault_policy *p)
{
	puts("locked by itself, as the header says (unverified: no secret was asked for):");
	show_time("idle", p->idle_s, p->on[POLICY_IDLE]);
	show_time("max-time", p->max_time_s, p->on[POLICY_MAX_TIME]);
	show_action("sleep", p->on[POLICY_SLEEP], "off");
	show_action("screen-lock", p->on[POLICY_SCREEN_LOCK], "off");
	show_action("session-end", p->on[POLICY_SESSION_END], "off");
	show_action("signal", p->on[POLICY_SIGNAL], "lock");
	if (p->wipe_after)
		printf("  %-12s %u failed attempts: every keyslot is destroyed\n", "wipe-after",
		       p->wipe_after);
	else
		printf("  %-12s off\n", "wipe-after");
}

static int show_json(const struct vault_policy *p)
{
	json_t *j = json_pack("{so sI}", "policy", policy_of_header(p), "wipe_after",
			      (json_int_t)p->wipe_after);
	int failed = !j || json_dumpf(j, stdout, JSON_INDENT(2));

	json_decref(j);
	if (failed)
		return report_fail(WERR_IO, "standard output", "cannot be written");
	putchar('\n');
	return 0;
}

static int print_policy(const struct request *r)
{
	struct vault_policy p = {0};
	struct vault_sealed sealed;
	struct host *host;
	int err = host_posix_open(r->dir, 0, &host);

	if (err)
		return report_vault(err, r->dir);
	err = vault_read_sealed(host, &sealed);
	host->ops->close(host);
	if (!err) {
		err = vault_header_peek_policy(sealed.buf[0] ? sealed.buf[0] : sealed.buf[1], &p);
		vault_sealed_clear(&sealed);
	}
	if (err)
		return report_vault(err, r->dir);
	if (r->json)
		return show_json(&p);
	show(&p);
	return 0;
}

// ---- setting ----

static const char wipe_text[] =
	"After %u wrong secrets in a row, typed at this machine through wardfs, both header files\n"
	"of the vault are destroyed: no secret opens it any more, yours neither, and nothing "
	"brings\n"
	"it back but a header backup or a backup of the vault. Keep one, elsewhere.\n"
	"It does not protect from somebody who has a copy of the vault's files, or of its header:\n"
	"a guesser works on a copy, where nobody counts. Whoever can type here can destroy it.\n";

static int confirm_wipe(const struct request *r)
{
	char question[160], word[64];

	if (!r->changes_wipe || !r->wipe_after || r->yes_wipe)
		return 0;
	fprintf(stderr, wipe_text, r->wipe_after);
	snprintf(word, sizeof(word), "destroy after %u", r->wipe_after);
	snprintf(question, sizeof(question), "Type '%s' to go on:", word);
	return confirm_word(question, word)
		       ? report_fail(WERR_USAGE, r->dir,
				     "nothing was changed; type the words on a terminal, or use "
				     "--yes-wipe")
		       : 0;
}

static int merge(const struct request *r, struct vault_policy *p)
{
	json_t *all = policy_of_header(p), *value;
	const char *key;

	json_object_foreach(r->changes, key, value)
	{
		if (json_is_null(value))
			json_object_del(all, key);
		else
			json_object_set(all, key, value);
	}
	int err = all ? policy_to_header(all, p) : WERR_NOMEM;
	json_decref(all);
	if (r->changes_wipe)
		p->wipe_after = r->wipe_after;
	return err ? report_fail(err, r->dir, "the policy cannot be set: %s", werr_text(err)) : 0;
}

static int set_policy(const struct request *r)
{
	char path[PATH_MAX];
	struct edit e;
	int err = edit_take(r->dir, &e);

	// Its worker changes keyslots only. Said before anything is asked.
	if (!err && e.client)
		err = report_fail(WERR_BUSY, r->dir,
				  "is mounted; its policy can be set when it is unmounted, and for "
				  "this mount with options of 'wardfs mount'");
	if (!err)
		err = confirm_wipe(r);
	if (!err)
		err = edit_open(&e, &r->source);
	if (!err) {
		struct vault_policy p = vault_edit_header(e.vault)->policy;

		err = merge(r, &p);
		if (!err)
			err = edit_policy(&e, &p);
	}
	edit_end(&e);
	// What was counted before was another vault's, or no reason to destroy this one.
	if (!err && r->changes_wipe && realpath(r->dir, path))
		attempts_forget(path);
	return err;
}

int verb_policy(int argc, char **argv)
{
	struct request r = {.source = SECRETS_SOURCE_INIT, .changes = json_object()};
	struct argp_option table[WORDS + 4] = {{0}};
	const struct argp argp = {.options = table,
				  .parser = parse,
				  .args_doc = "DIR",
				  .doc = doc,
				  .children = children};
	size_t n = 0;

	for (; n < WORDS; n++)
		table[n] = (struct argp_option){
			words[n].option, KEY_WORDS + (int)n, words[n].arg, 0, words[n].doc, 0};
	table[n++] = (struct argp_option){
		"wipe-after",
		KEY_WIPE,
		"N",
		0,
		"destroy every keyslot after N failed attempts in a row; off: never",
		0};
	table[n++] = (struct argp_option){
		"yes-wipe", KEY_YES_WIPE, NULL, 0, "do not ask before --wipe-after is set", 0};
	table[n] = (struct argp_option){"json", KEY_JSON, NULL, 0, "print one JSON object", 0};
	options_parse(&argp, argc, argv, &r);
	int err = json_object_size(r.changes) || r.changes_wipe ? set_policy(&r) : print_policy(&r);
	json_decref(r.changes);
	return err;
}
