// SPDX-License-Identifier: Apache-2.0
#include <time.h>

#include "tools/edit.h"
#include "tools/report.h"
#include "tools/strength.h"
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
	return options_operands(key, arg, state, &r->dir, 1, "DIR");
}

static const struct argp_child children[] = {
	{&options_kdf_argp, 0, NULL, 0},
	{&secrets_options, 0, NULL, 0},
	{&secrets_new_passphrase_options, 0, NULL, 0},
	{0},
};
static const struct argp argp = {
	.parser = parse,
	.args_doc = "DIR",
	.doc = "Replaces the passphrase of the vault DIR, mounted or not. What is "
	       "written later is out of reach for the old passphrase and an old copy of the "
	       "header.",
	.children = children,
};

// The new passphrase, and the slot's other factor as it was.
static int make_offer(const struct edit *e, unsigned index, uint16_t kind,
		      const struct secret *passphrase, struct secret *ret)
{
	const uint8_t *slot = vault_edit_header(e->vault)->slots[index];
	enum factor factors[FACTORS_IN_KIND];
	const unsigned n = factor_split(kind, factors);
	uint8_t tag[OFFER_TAG_BYTES];
	int err = keyslot_tag(slot, tag);

	for (unsigned i = 0; i < n && !err; i++) {
		const uint8_t *bytes = passphrase->bytes;
		size_t len = passphrase->len;

		if (factors[i] != FACTOR_PASSPHRASE)
			err = offer_find(&e->offer, factors[i], tag, &bytes, &len);
		if (!err)
			err = offer_add(ret, factors[i], NULL, bytes, len);
	}
	return err;
}

static int change(struct edit *e, const struct request *r)
{
	SECRET_STRUCT_AUTO struct secret passphrase = {0};
	SECRET_STRUCT_AUTO struct secret offer = {0};
	struct keyslot_info info;
	const unsigned index = vault_edit_slot(e->vault);

	int err = edit_find_slot(e, index, &info);
	if (err)
		return err;
	if (!factor_in(info.kind, FACTOR_PASSPHRASE))
		return report_fail(WERR_USAGE, e->dir,
				   "keyslot %u, which this opens, has no passphrase; use 'wardfs "
				   "key change'",
				   index);
	err = passphrase_get(&r->fresh.passphrase, "New passphrase", 1, &passphrase);
	if (err)
		return err;
	strength_warn(&passphrase);
	struct slot_change c = {.verb = SLOT_REPLACE,
				.index = index,
				.kind = info.kind,
				.offer = &offer,
				.params = info.params,
				.params_len = info.params_len,
				.now_s = (uint64_t)time(NULL)};
	err = edit_choose_kdf(&r->kdf, info.kind, &c.kdf);
	if (err)
		return err;
	err = make_offer(e, index, info.kind, &passphrase, &offer);
	if (err)
		return report_fail(err, e->dir, "%s", werr_text(err));
	return edit_apply(e, &c, NULL);
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
