// SPDX-License-Identifier: Apache-2.0
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/control_client.h"
#include "tools/options.h"
#include "tools/mounted.h"
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
		return options_operands(key, arg, state, &r->dir, 1, "DIR");
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
	.args_doc = "DIR",
	.doc = "Lists every secret that opens the vault DIR, and says what secrets that were "
	       "removed "
	       "can still do. Needs no secret; the list is verified with one, and while the vault "
	       "is "
	       "mounted.",
	.children = children,
};

// What the list rests on.
enum basis { BASIS_FILES, BASIS_SECRET, BASIS_MOUNT, BASIS_CONTRADICTED };

static void hex_digest(const struct slotlist *list, char *out)
{
	uint8_t digest[SLOTS_DIGEST_BYTES];

	out[0] = 0;
	if (slots_digest(list->slots, digest))
		return;
	for (size_t i = 0; i < sizeof(digest); i++)
		snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

// A mount of this vault knows what is in force.
static enum basis ask_mount(const char *dir, const struct slotlist *list)
{
	char hex[2 * SLOTS_DIGEST_BYTES + 1], path[PATH_MAX];
	enum basis found = BASIS_FILES;
	json_t *mounts = NULL, *m;
	size_t i;

	hex_digest(list, hex);
	if (!realpath(dir, path) || control_status(&mounts))
		return BASIS_FILES;
	json_array_foreach(mounts, i, m)
	{
		const char *digest = json_string_value(json_object_get(m, "keyslots"));

		if (digest && mounted_path_is(m, "vault", path))
			found = strcmp(digest, hex) ? BASIS_CONTRADICTED : BASIS_MOUNT;
	}
	json_decref(mounts);
	return found;
}

static const char *const basis_words[] = {"files", "secret", "mount", "contradicted"};

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

static int print_json(const char *dir, const struct slotlist *list, enum basis basis)
{
	json_t *slots = json_array();
	json_t *epochs = json_array();
	char shown[PATH_MAX];

	report_escape(dir, shown, sizeof(shown));
	for (unsigned i = 0; slots && i < KEYSLOT_MAX; i++) {
		if (list->infos[i].kind != KEYSLOT_EMPTY)
			json_array_append_new(slots, slotlist_json(list, i));
	}
	for (unsigned i = 0; epochs && i < list->epochs_len; i++)
		json_array_append_new(epochs, json_integer(list->epochs[i]));
	json_t *all = json_pack("{ss sb ss sb so so ss}", "vault", shown, "verified",
				basis == BASIS_SECRET || basis == BASIS_MOUNT, "basis",
				basis_words[basis], "copies_differ", list->copies_differ,
				"keyslots", slots, "epochs", epochs, "former_holders", former_text);
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

static void print_basis(enum basis basis, const struct slotlist *list)
{
	switch (basis) {
	case BASIS_SECRET:
		printf("Verified: the vault was opened with keyslot %u, and this is its list.\n",
		       list->opened_by);
		break;
	case BASIS_MOUNT:
		puts("Verified: the mount that has the vault open says the same.");
		break;
	case BASIS_CONTRADICTED:
		puts("NOT the list that is in force: the mount that has the vault open knows "
		     "another "
		     "one.\nThe files were changed outside wardfs, or are being changed just now.");
		break;
	case BASIS_FILES:
		puts("Not verified: this is what the files say, and whoever can write to them may "
		     "have "
		     "changed\nit. It was authentic when it was last opened. Name a secret to "
		     "verify "
		     "it.");
		break;
	}
}

static void print_text(const struct slotlist *list, enum basis basis)
{
	printf("%u %s the vault. There is no other way in:\n", list->used,
	       list->used == 1 ? "secret opens" : "secrets open");
	for (unsigned i = 0; i < KEYSLOT_MAX; i++) {
		if (list->infos[i].kind != KEYSLOT_EMPTY)
			print_slot(list, i);
	}
	print_basis(basis, list);
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
	const enum basis basis = list->is_verified ? BASIS_SECRET : ask_mount(r.dir, list);
	if (r.json)
		err = print_json(r.dir, list, basis);
	else
		print_text(list, basis);
	if (list->copies_differ)
		report_warn(r.dir, "wardfs.vault and wardfs.vault.2 name different secrets: those "
				   "of both may open it; mount the vault once to make them equal");
	// A list that is contradicted is no answer.
	if (!err && basis == BASIS_CONTRADICTED)
		err = WERR_AUTH;
	slotlist_free(list);
	return err;
}
