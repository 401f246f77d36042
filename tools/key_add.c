// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tools/edit.h"
#include "tools/key.h"
#include "tools/report.h"

struct request {
	struct secrets_source source;
	struct secrets_new fresh;
	struct options_kdf kdf;
	const char *label;
	const char *dir;
};

enum { KEY_LABEL = 1 };

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct request *r = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &r->kdf;
		state->child_inputs[1] = &r->source;
		state->child_inputs[2] = &r->fresh;
		return 0;
	case KEY_LABEL:
		r->label = options_label(state, arg);
		return 0;
	default:
		return options_operands(key, arg, state, &r->dir, 1, "DIR|MNT");
	}
}

static const struct argp_option table[] = {
	{"label", KEY_LABEL, "TEXT", 0, "name of the keyslot, readable without a secret", 0},
	{0},
};
static const struct argp_child children[] = {
	{&options_kdf_argp, 0, NULL, 0},
	{&secrets_options, 0, NULL, 0},
	{&secrets_new_options, 0, NULL, 0},
	{0},
};
static const struct argp argp = {
	.options = table,
	.parser = parse,
	.args_doc = "DIR|MNT",
	.doc = "Adds a secret that opens the vault DIR, mounted or not, or the one mounted at MNT: "
	       "a passphrase where nothing else is named. Two new secrets make one keyslot that "
	       "needs both.",
	.children = children,
};

// Whether what was made is what the vault was opened with.
static int is_in_use(const struct edit *e, const struct secrets_made *made)
{
	const uint8_t *slot = vault_edit_header(e->vault)->slots[vault_edit_slot(e->vault)];
	enum factor factors[FACTORS_IN_KIND];
	const unsigned n = factor_split(made->kind, factors);
	uint8_t tag[OFFER_TAG_BYTES];
	struct keyslot_info info;

	if (keyslot_info(slot, &info) || info.kind != made->kind || keyslot_tag(slot, tag))
		return 0;
	for (unsigned i = 0; i < n; i++) {
		const uint8_t *now, *fresh;
		size_t now_len, fresh_len;

		if (offer_find(&e->offer, factors[i], tag, &now, &now_len) ||
		    offer_find(&made->offer, factors[i], tag, &fresh, &fresh_len) ||
		    now_len != fresh_len || !secret_equal(now, fresh, now_len))
			return 0;
	}
	return n > 0;
}

static int add(struct edit *e, const struct request *r)
{
	struct secrets_made made = {0};
	char kind[64];
	unsigned index;

	// Before anything is drawn or enrolled that would then belong to nothing.
	if (slots_used(vault_edit_header(e->vault)) == KEYSLOT_MAX)
		return report_fail(WERR_LIMIT, e->dir,
				   "all %d keyslots are in use; remove one first", KEYSLOT_MAX);
	int err = secrets_make(&r->fresh, &made);
	struct slot_change c = {.verb = SLOT_ADD,
				.label = r->label,
				.offer = &made.offer,
				.kind = made.kind,
				.params = made.params,
				.params_len = made.params_len,
				.now_s = (uint64_t)time(NULL)};
	if (!err && is_in_use(e, &made))
		report_warn(
			e->dir,
			"keyslot %u has the same secret: as long as one of the two is there, it "
			"opens the vault",
			vault_edit_slot(e->vault));
	if (!err)
		err = edit_choose_kdf(&r->kdf, made.kind, &c.kdf);
	if (!err)
		err = edit_apply(e, &c, &index);
	secrets_made_clear(&made);
	if (err)
		return err;
	secrets_kind_name(made.kind, kind, sizeof(kind));
	fprintf(stderr, "wardfs: keyslot %u added: %s\n", index, kind);
	return 0;
}

int key_add(int argc, char **argv)
{
	struct request r = {.source = SECRETS_SOURCE_INIT, .fresh = SECRETS_NEW_INIT};
	struct edit e;

	options_parse(&argp, argc, argv, &r);
	int err = edit_begin(r.dir, &r.source, &e);
	if (!err)
		err = add(&e, &r);
	edit_end(&e);
	return err;
}
