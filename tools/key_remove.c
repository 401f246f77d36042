// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "tools/confirm.h"
#include "tools/edit.h"
#include "tools/erase.h"
#include "tools/key.h"
#include "tools/report.h"

struct request {
	struct secrets_source source;
	int yes;
	const char *operands[2]; // DIR, SLOT
};

enum { KEY_YES = 1 };

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct request *r = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &r->source;
		return 0;
	case KEY_YES:
		r->yes = 1;
		return 0;
	default:
		return options_operands(key, arg, state, r->operands, 2, "DIR|MNT SLOT");
	}
}

static const struct argp_option table[] = {
	{"yes", KEY_YES, NULL, 0, "even the keyslot that is in use, or the last one", 0},
	{0},
};
static const struct argp_child children[] = {
	{&secrets_options, 0, NULL, 0},
	{0},
};
static const struct argp argp = {
	.options = table,
	.parser = parse,
	.args_doc = "DIR|MNT SLOT",
	.doc = "Removes keyslot SLOT of the vault DIR, mounted or not, or of the one mounted at "
	       "MNT. What is written "
	       "later is out of reach for the removed secret and an old copy of the header.",
	.children = children,
};

// Nothing opens the vault afterwards: a header without a keyslot is none.
static int remove_last(struct edit *e, const struct request *r, unsigned index)
{
	if (e->client)
		return report_fail(WERR_BUSY, e->dir,
				   "keyslot %u is the last one, and a mounted vault is not "
				   "destroyed: unmount it first, with 'wardfs umount %s'",
				   index, e->mnt);
	if (!r->yes) {
		int err =
			confirm_yes("This keyslot is the last one: nothing opens the vault without "
				    "it, ever. Remove it?");
		if (err)
			return report_fail(
				err, e->dir,
				"keyslot %u is the last one, and nothing opens the vault "
				"without it; nothing was changed, repeat with --yes",
				index);
	}
	return erase_vault(e->host, e->dir);
}

static int remove_slot(struct edit *e, const struct request *r, unsigned index)
{
	const struct slot_change c = {.verb = SLOT_REMOVE, .index = index};
	struct keyslot_info info;

	int err = edit_find_slot(e, index, &info);
	if (err)
		return err;
	if (slots_used(vault_edit_header(e->vault)) == 1)
		return remove_last(e, r, index);
	if (index == vault_edit_slot(e->vault) && !r->yes) {
		err = confirm_yes("This keyslot is the one that you opened the vault with. "
				  "Remove it?");
		if (err)
			return report_fail(err, e->dir,
					   "keyslot %u is the one in use; nothing was changed, "
					   "repeat with --yes",
					   index);
	}
	return edit_apply(e, &c, NULL);
}

int key_remove(int argc, char **argv)
{
	struct request r = {.source = SECRETS_SOURCE_INIT};
	struct edit e;
	unsigned index;

	options_parse(&argp, argc, argv, &r);
	int err = edit_parse_slot(r.operands[1], &index);
	if (err)
		return err;
	err = edit_begin(r.operands[0], &r.source, &e);
	if (!err)
		err = remove_slot(&e, &r, index);
	edit_end(&e);
	return err;
}
