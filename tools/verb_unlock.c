// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "daemon/varlink.h"
#include "tools/handover.h"
#include "tools/mounted.h"
#include "tools/options.h"
#include "tools/refusal.h"
#include "tools/report.h"
#include "tools/verbs.h"

struct request {
	struct secrets_source source;
	const char *mnt;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct request *r = state->input;

	if (key == ARGP_KEY_INIT) {
		state->child_inputs[0] = &r->source;
		return 0;
	}
	return options_operands(key, arg, state, &r->mnt, 1, "MNT");
}

static const struct argp_child children[] = {
	{&secrets_options, 0, NULL, 0},
	{0},
};
static const struct argp argp = {
	.parser = parse,
	.args_doc = "MNT",
	.doc = "Goes on with a mount that was locked: files that are open stay open.",
	.children = children,
};

static int report_unlock(int err, const struct handover *h, const char *mnt)
{
	if (h->failed)
		return h->failed;
	switch (err) {
	case WERR_EXISTS:
		return report_fail(err, mnt, "is not locked");
	default:
		break;
	}
	if (control_detail_of(h->client)[0])
		return report_fail(err, mnt, "%s", control_detail_of(h->client));
	if (err == WERR_BUSY)
		return report_fail(err, mnt,
				   "is being unlocked or unmounted already; see 'wardfs status'");
	return h->stage == HANDOVER_ENGINE ? refusal_report_engine(err, mnt, 0)
					   : report_vault(err, mnt);
}

int verb_unlock(int argc, char **argv)
{
	struct request r = {.source = SECRETS_SOURCE_INIT};
	struct control_client *c;
	json_t *state = NULL;

	options_parse(&argp, argc, argv, &r);
	int err = mounted_connect(r.mnt, &c);
	if (err)
		return err;
	err = control_state(c, &state);
	char *dir = err ? NULL : varlink_path_of(json_object_get(state, "vault"));
	json_decref(state);
	struct handover h = {.source = &r.source, .subject = r.mnt, .dir = dir, .client = c};
	err = dir ? handover_call(&h, c, "Unlock", json_object()) : WERR_NOTFOUND;
	if (err)
		err = report_unlock(err, &h, r.mnt);
	control_close(c);
	free(dir);
	return err;
}
