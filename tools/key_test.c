// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "tools/key.h"
#include "tools/options.h"
#include "tools/report.h"
#include "tools/slotlist.h"

struct request {
	struct secrets_source source;
	const char *dir;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct request *r = state->input;

	if (key == ARGP_KEY_INIT) {
		state->child_inputs[0] = &r->source;
		return 0;
	}
	return options_operands(key, arg, state, &r->dir, 1, "DIR|MNT");
}

static const struct argp_child children[] = {
	{&secrets_options, 0, NULL, 0},
	{0},
};
static const struct argp argp = {
	.parser = parse,
	.args_doc = "DIR|MNT",
	.doc = "Says which keyslot of the vault DIR, or of the one mounted at MNT, a secret opens; "
	       "changes nothing, and works "
	       "beside "
	       "a mount.",
	.children = children,
};

int key_test(int argc, char **argv)
{
	struct request r = {.source = SECRETS_SOURCE_INIT};
	char kind[64], label[4 * KEYSLOT_LABEL_MAX + 8];
	struct slotlist *list;

	options_parse(&argp, argc, argv, &r);
	// Without a named secret: ask as mount would.
	if (!secrets_given(&r.source))
		r.source.is_wanted = 1;
	int err = slotlist_get(r.dir, &r.source, &list);
	if (err)
		return err;
	const struct keyslot_info *info = &list->infos[list->opened_by];
	secrets_kind_name(info->kind, kind, sizeof(kind));
	report_escape(info->label, label, sizeof(label));
	printf("keyslot %u opens%s: %s%s%s\n", list->opened_by,
	       trust_is_verified(&list->trust) ? "" : " these files, which a mount refuses", kind,
	       label[0] ? ", " : "", label);
	trust_warn(list->dir, &list->trust);
	err = trust_code(&list->trust);
	slotlist_free(list);
	return err;
}
