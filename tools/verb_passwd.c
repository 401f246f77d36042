// SPDX-License-Identifier: Apache-2.0
#include "tools/edit.h"
#include "tools/new_passphrase.h"
#include "tools/verbs.h"

struct request {
	struct secrets_source source;
	struct secrets_new fresh;
	struct options_kdf kdf;
	const char *dir;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct request *r = state->input;

	if (key == ARGP_KEY_INIT) {
		state->child_inputs[0] = &r->kdf;
		state->child_inputs[1] = &r->source;
		state->child_inputs[2] = &r->fresh;
		return 0;
	}
	return options_operands(key, arg, state, &r->dir, 1, "DIR|MNT");
}

static const struct argp_child children[] = {
	{&options_kdf_argp, 0, NULL, 0},
	{&secrets_options, 0, NULL, 0},
	{&secrets_new_passphrase_options, 0, NULL, 0},
	{0},
};
static const struct argp argp = {
	.parser = parse,
	.args_doc = "DIR|MNT",
	.doc = "Replaces the passphrase of the vault DIR, mounted or not, or of the one mounted at "
	       "MNT. What is "
	       "written later is out of reach for the old passphrase and an old copy of the "
	       "header.",
	.children = children,
};

static int change(struct edit *e, const struct request *r)
{
	SECRET_STRUCT_AUTO struct secret offer = {0};
	struct slot_change c;
	int err = new_passphrase(e, vault_edit_slot(e->vault), &r->fresh.passphrase, &r->kdf,
				 &offer, &c, NULL);

	return err ? err : edit_apply(e, &c, NULL);
}

int verb_passwd(int argc, char **argv)
{
	struct request r = {.source = SECRETS_SOURCE_INIT, .fresh = SECRETS_NEW_INIT};
	struct edit e;

	r.source.prompt = "Old passphrase";
	options_parse(&argp, argc, argv, &r);
	int err = edit_begin(r.dir, &r.source, &e);
	if (!err)
		err = change(&e, &r);
	edit_end(&e);
	return err;
}
