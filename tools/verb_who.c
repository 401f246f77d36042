// SPDX-License-Identifier: Apache-2.0
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/options.h"
#include "tools/report.h"
#include "tools/slotlist.h"
#include "tools/verbs.h"

struct request {
	struct secrets_source source;
	int json;
	const char *dir;
};

enum { KEY_JSON = 1 };

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct request *r = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &r->source;
		return 0;
	case KEY_JSON:
		r->json = 1;
		return 0;
	default:
		return options_operands(key, arg, state, &r->dir, 1, "DIR|MNT");
	}
}

static const struct argp_option table[] = {
	{"json", KEY_JSON, NULL, 0, "print one JSON object", 0},
	{0},
};
static const struct argp_child children[] = {
	{&secrets_options, 0, NULL, 0},
	{0},
};
static const struct argp argp = {
	.options = table,
	.parser = parse,
	.args_doc = "DIR|MNT",
	.doc = "Lists every secret that opens the vault DIR, or the one mounted at MNT, and says "
	       "what secrets that were "
	       "removed "
	       "can still do. Needs no secret; the list is verified with one, and while the vault "
	       "is "
	       "mounted.",
	.children = children,
};

static const char former_text[] =
	"Whoever once had a secret that was removed or changed cannot read what is written after "
	"the "
	"removal, on machines that know of it, even with an old copy of the header. What was "
	"written before, and not again since, they can still read, and alter unnoticed, if they "
	"kept "
	"such a copy, until 'wardfs rotate --contents' has ended.";

// How many times the root key was replaced since the oldest key that is still needed.
static unsigned older_epochs(const struct slotlist *list)
{
	return list->epochs_len > 0 ? list->epochs_len - 1 : 0;
}

static int print_json(const struct slotlist *list)
{
	json_t *slots = json_array();
	json_t *epochs = json_array();
	char shown[PATH_MAX];

	report_escape(list->dir, shown, sizeof(shown));
	for (unsigned i = 0; slots && i < KEYSLOT_MAX; i++) {
		if (list->infos[i].kind != KEYSLOT_EMPTY)
			json_array_append_new(slots, slotlist_json(list, i));
	}
	for (unsigned i = 0; epochs && i < list->epochs_len; i++)
		json_array_append_new(epochs, json_integer(list->epochs[i]));
	json_t *all = json_pack("{ss sb ss sb so so ss}", "vault", shown, "verified",
				trust_is_verified(&list->trust), "basis", trust_word(&list->trust),
				"copies_differ", list->copies_differ, "keyslots", slots, "epochs",
				epochs, "former_holders", former_text);
	return slotlist_print_json(all);
}

static void print_slot(const struct slotlist *list, unsigned index)
{
	const struct keyslot_info *info = &list->infos[index];
	char kind[64], cost[64], date[32], label[4 * KEYSLOT_LABEL_MAX + 8];

	secrets_kind_name(info->kind, kind, sizeof(kind));
	slotlist_cost(&info->kdf, cost, sizeof(cost));
	slotlist_date(info->created_s, date, sizeof(date));
	report_escape(info->label, label, sizeof(label));
	printf("%4u  %s%s%s%s, since %s", index, kind, label[0] ? " \"" : "", label,
	       label[0] ? "\"" : "", date);
	if (factor_guessable(info->kind))
		printf("; a guess costs %s", cost);
	puts("");
}

static void print_basis(const struct slotlist *list)
{
	char line[512];

	switch (list->trust.basis) {
	case TRUST_SECRET:
		printf("Verified: the vault was opened with keyslot %u, and this is its list.\n",
		       list->opened_by);
		break;
	case TRUST_MOUNT:
		puts("Verified: the mount that has the vault open says the same.");
		break;
	case TRUST_CONTRADICTED:
		puts("NOT the list that is in force: the mount that has the vault open knows "
		     "another "
		     "one.\nThe files were changed outside wardfs, or are being changed just now.");
		break;
	case TRUST_OLDER:
	case TRUST_NO_RECORD:
		anchor_refusal(&list->trust.seen, line, sizeof(line));
		printf("NOT verified: the vault was opened with keyslot %u, but this is %s.\n"
		       "The list that is in force may be another one.\n",
		       list->opened_by, line);
		break;
	case TRUST_FILES:
		puts("Not verified: this is what the files say, and whoever can write to them may "
		     "have "
		     "changed\nit. It was authentic when it was last opened. Name a secret to "
		     "verify "
		     "it.");
		break;
	}
}

static void print_text(const struct slotlist *list)
{
	printf("%u %s the vault. There is no other way in:\n", list->used,
	       list->used == 1 ? "secret opens" : "secrets open");
	for (unsigned i = 0; i < KEYSLOT_MAX; i++) {
		if (list->infos[i].kind != KEYSLOT_EMPTY)
			print_slot(list, i);
	}
	print_basis(list);
	printf("\n%s\n", former_text);
	if (older_epochs(list))
		printf("Secrets were removed or changed since the vault was made or last rotated: "
		       "%u older %s still\nneeded for what was written before. 'wardfs rotate "
		       "--contents' ends that.\n",
		       older_epochs(list), older_epochs(list) == 1 ? "key is" : "keys are");
	else
		puts("No secret was removed or changed since the vault was made or last rotated.\n"
		     "Where that rotation was one without --contents, pages of larger files can "
		     "still be "
		     "under\nkeys of before.");
}

int verb_who(int argc, char **argv)
{
	struct request r = {.source = SECRETS_SOURCE_INIT};
	struct slotlist *list;

	options_parse(&argp, argc, argv, &r);
	int err = slotlist_get(r.dir, &r.source, &list);
	if (err)
		return err;
	if (r.json)
		err = print_json(list);
	else
		print_text(list);
	if (list->copies_differ)
		report_warn(r.dir, "wardfs.vault and wardfs.vault.2 name different secrets: those "
				   "of both may open it; mount the vault once to make them equal");
	// A list that is contradicted or old is no answer.
	if (!err)
		err = trust_code(&list->trust);
	slotlist_free(list);
	return err;
}
