// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/edit.h"
#include "tools/key.h"
#include "tools/report.h"

struct request {
	struct secrets_source source;
	struct secrets_new fresh;
	struct options_kdf kdf;
	const char *operands[2]; // DIR, SLOT
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct request *r = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &r->kdf;
		state->child_inputs[1] = &r->source;
		state->child_inputs[2] = &r->fresh;
		return 0;
	case ARGP_KEY_END:
		// The slot may be left out.
		return options_operands(key, arg, state, r->operands, 1, "DIR|MNT");
	default:
		return options_operands(key, arg, state, r->operands, 2, "DIR|MNT");
	}
}

static const struct argp_child children[] = {
	{&options_kdf_argp, 0, NULL, 0},
	{&secrets_options, 0, NULL, 0},
	{&secrets_new_options, 0, NULL, 0},
	{0},
};
static const struct argp argp = {
	.parser = parse,
	.args_doc = "DIR|MNT [SLOT]",
	.doc = "Puts a new secret, of any kind, in the place of keyslot SLOT of the vault DIR, "
	       "mounted or not, or of the one mounted at MNT; without SLOT of the keyslot that "
	       "the given secret opens. What is "
	       "written later is out of reach for the old secret and an old copy of the header.",
	.children = children,
};

static int change(struct edit *e, const struct request *r, unsigned index)
{
	struct secrets_made made = {0};
	struct keyslot_info info;

	int err = edit_find_slot(e, index, &info);
	if (err)
		return err;
	err = secrets_make(&r->fresh, &made);
	struct slot_change c = {.verb = SLOT_REPLACE,
				.index = index,
				.offer = &made.offer,
				.kind = made.kind,
				.params = made.params,
				.params_len = made.params_len,
				.now_s = (uint64_t)time(NULL)};
	if (!err)
		err = edit_choose_kdf(&r->kdf, made.kind, &c.kdf);
	if (!err)
		err = edit_apply(e, &c, NULL);
	secrets_made_clear(&made);
	return err;
}

int key_change(int argc, char **argv)
{
	struct request r = {.source = SECRETS_SOURCE_INIT, .fresh = SECRETS_NEW_INIT};
	unsigned index = 0;
	struct edit e;

	options_parse(&argp, argc, argv, &r);
	int err = r.operands[1] ? edit_parse_slot(r.operands[1], &index) : 0;
	if (err)
		return err;
	err = edit_begin(r.operands[0], &r.source, &e);
	if (!err)
		err = change(&e, &r, r.operands[1] ? index : vault_edit_slot(e.vault));
	edit_end(&e);
	return err;
}
