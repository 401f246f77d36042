// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "tools/key.h"
#include "tools/options.h"
#include "tools/report.h"
#include "tools/slotlist.h"

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
	.doc = "Lists the keyslots of the vault DIR, or of the one mounted at MNT. Needs no "
	       "secret, but only with one the list "
	       "is "
	       "verified.",
	.children = children,
};

static int print_json(const struct slotlist *list)
{
	json_t *slots = json_array();
	char shown[4096];

	report_escape(list->dir, shown, sizeof(shown));
	for (unsigned i = 0; slots && i < KEYSLOT_MAX; i++) {
		if (list->infos[i].kind != KEYSLOT_EMPTY)
			json_array_append_new(slots, slotlist_json(list, i));
	}
	json_t *all = json_pack("{ss sb ss sb so}", "vault", shown, "verified",
				trust_is_verified(&list->trust), "basis", trust_word(&list->trust),
				"copies_differ", list->copies_differ, "keyslots", slots);
	return slotlist_print_json(all);
}

static void print_slot(const struct slotlist *list, unsigned index)
{
	const struct keyslot_info *info = &list->infos[index];
	char kind[64], cost[64], date[32], used[32] = "-", label[4 * KEYSLOT_LABEL_MAX + 8];

	secrets_kind_name(info->kind, kind, sizeof(kind));
	slotlist_cost(&info->kdf, cost, sizeof(cost));
	slotlist_date(info->created_s, date, sizeof(date));
	if (list->last_use_s[index])
		slotlist_date(list->last_use_s[index], used, sizeof(used));
	report_escape(info->label, label, sizeof(label));
	printf("%4u  %-28s  %s  %-10s  %-20s  %s\n", index, kind, date, used, cost, label);
}

static void print_trust(const struct slotlist *list)
{
	switch (list->trust.basis) {
	case TRUST_SECRET:
		printf("verified: opened with keyslot %u\n", list->opened_by);
		break;
	case TRUST_MOUNT:
		puts("verified: the mount that has the vault open says the same");
		break;
	case TRUST_FILES:
		puts("not verified: this is what the files say; name a secret to verify it");
		break;
	default:
		puts("NOT verified: the list that is in force may be another one");
		break;
	}
	trust_warn(list->dir, &list->trust);
}

static void print_text(const struct slotlist *list)
{
	printf("%4s  %-28s  %-10s  %-10s  %-20s  %s\n", "slot", "kind", "since", "last use",
	       "cost of a guess", "label");
	for (unsigned i = 0; i < KEYSLOT_MAX; i++) {
		if (list->infos[i].kind != KEYSLOT_EMPTY)
			print_slot(list, i);
	}
	print_trust(list);
	if (list->copies_differ)
		report_warn(list->dir, "wardfs.vault and wardfs.vault.2 name different secrets; "
				       "mount the vault once to make them equal");
}

int key_list(int argc, char **argv)
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
	if (!err)
		err = trust_code(&list->trust);
	slotlist_free(list);
	return err;
}
