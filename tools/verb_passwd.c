// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "daemon/statedir.h"
#include "fusefs/vault.h"
#include "tools/calibrate.h"
#include "tools/options.h"
#include "tools/passphrase.h"
#include "tools/progress.h"
#include "tools/refusal.h"
#include "tools/report.h"
#include "tools/verbs.h"

struct request {
	struct passphrase_source source;
	struct passphrase_source new_source;
	struct options_kdf kdf;
	const char *dir;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct request *r = state->input;

	if (key == ARGP_KEY_INIT) {
		state->child_inputs[0] = &r->kdf;
		state->child_inputs[1] = &r->source;
		state->child_inputs[2] = &r->new_source;
		return 0;
	}
	return options_operands(key, arg, state, &r->dir, 1, "DIR");
}

static const struct argp_child children[] = {
	{&options_kdf_argp, 0, NULL, 0},
	{&options_passphrase, 0, NULL, 0},
	{&options_new_passphrase, 0, NULL, 0},
	{0},
};
static const struct argp argp = {
	.parser = parse,
	.args_doc = "DIR",
	.doc = "Replaces the passphrase of the vault DIR, which must not be mounted. What is "
	       "written later is out of reach for the old passphrase and an old copy of the "
	       "header.",
	.children = children,
};

// Opens the vault directory, finds out whether it can be changed, and takes its lock.
static int open_host(const char *dir, struct host **ret, struct vault_sealed *ret_sealed)
{
	struct host *host;
	int err = host_posix_open(dir, 0, &host);

	if (err)
		return err;
	err = host->ops->lock(host, 1);
	if (!err)
		err = vault_read_sealed(host, ret_sealed);
	if (err) {
		host->ops->close(host);
		return err;
	}
	*ret = host;
	return 0;
}

// Whether the old passphrase fits: told before a person types the new one twice.
static int try_old(const struct vault_sealed *sealed, const struct secret *old)
{
	struct vault_header *h = malloc(sizeof(*h));
	SECRET_AUTO uint8_t *root_key = NULL;

	if (!h)
		return WERR_NOMEM;
	struct progress *p = progress_start("Deriving the key");
	int err = vault_unlock(sealed, old, &root_key, NULL, h);
	progress_stop(p);
	free(h);
	return err;
}

static int change(struct host *host, const struct vault_sealed *sealed, const struct request *r)
{
	SECRET_STRUCT_AUTO struct secret old = {0};
	SECRET_STRUCT_AUTO struct secret fresh = {0};
	struct argon_params kdf;
	uint32_t ms;

	int err = passphrase_get(&r->source, "Old passphrase", 0, &old);
	if (err)
		return err;
	if (passphrase_asks(&r->new_source)) {
		err = try_old(sealed, &old);
		if (err)
			return report_vault(err, r->dir);
	}
	err = passphrase_get(&r->new_source, "New passphrase", 1, &fresh);
	if (!err)
		err = calibrate_kdf(&r->kdf, &kdf, &ms);
	if (err)
		return err;
	struct progress *p = progress_start("Changing the passphrase");
	err = vault_passwd(host, &old, &fresh, &kdf, (uint64_t)time(NULL));
	progress_stop(p);
	if (err == WERR_BUSY)
		return report_fail(err, r->dir,
				   "was not unmounted cleanly; mount and unmount it "
				   "once, then try again");
	if (err == WERR_LIMIT)
		return report_fail(err, r->dir,
				   "no room for another epoch of keys; make a new "
				   "vault and copy");
	return err ? refusal_report(err, r->dir, host->anchor) : 0;
}

int verb_passwd(int argc, char **argv)
{
	struct request r = {.source = {.credential = "wardfs.passphrase"},
			    .new_source = {.credential = "wardfs.new-passphrase"}};
	struct vault_sealed sealed;
	struct anchor *anchor = NULL;
	struct host *host;

	options_parse(&argp, argc, argv, &r);
	int err = open_host(r.dir, &host, &sealed);
	if (err)
		return report_vault(err, r.dir);
	err = statedir_attach(host, 0, &anchor);
	err = err ? report_vault(err, r.dir) : change(host, &sealed, &r);
	vault_sealed_clear(&sealed);
	host->ops->close(host);
	anchor_free(anchor);
	return err;
}
