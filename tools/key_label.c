// SPDX-License-Identifier: Apache-2.0
#include "tools/edit.h"
#include "tools/key.h"
#include "tools/report.h"

struct request {
	struct secrets_source source;
	const char *operands[2]; // DIR, TEXT
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct request *r = state->input;

	if (key == ARGP_KEY_INIT) {
		state->child_inputs[0] = &r->source;
		return 0;
	}
	if (key == ARGP_KEY_ARG && state->arg_num == 1)
		(void)options_label(state, arg);
	return options_operands(key, arg, state, r->operands, 2, "DIR|MNT TEXT");
}

static const struct argp_child children[] = {
	{&secrets_options, 0, NULL, 0},
	{0},
};
static const struct argp argp = {
	.parser = parse,
	.args_doc = "DIR|MNT TEXT",
	.doc = "Gives a keyslot of the vault DIR, mounted or not, or of the one mounted at MNT, "
	       "another label: the slot "
	       "that the given secret opens, since the label is sealed with it. The label can be "
	       "read without a secret.",
	.children = children,
};

int key_label(int argc, char **argv)
{
	struct request r = {.source = SECRETS_SOURCE_INIT};
	struct edit e;

	options_parse(&argp, argc, argv, &r);
	int err = edit_begin(r.operands[0], &r.source, &e);
	if (!err) {
		const struct slot_change c = {.verb = SLOT_RELABEL,
					      .index = vault_edit_slot(e.vault),
					      .label = r.operands[1],
					      .offer = &e.offer};
		err = edit_apply(&e, &c, NULL);
	}
	edit_end(&e);
	return err;
}
