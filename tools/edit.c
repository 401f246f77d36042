// SPDX-License-Identifier: Apache-2.0
#include "tools/edit.h"

#include <ctype.h>
#include <stdlib.h>

#include "daemon/control_client.h"
#include "daemon/statedir.h"
#include "tools/calibrate.h"
#include "tools/edit_mounted.h"
#include "tools/progress.h"
#include "tools/refusal.h"
#include "tools/report.h"

// Takes the vault itself. Whatever fails: perhaps it is mounted, or a mount point, which answers
// with any error while it is locked.
static int take_vault(struct edit *e)
{
	int err = host_posix_open(e->dir, 0, &e->host);

	if (!err)
		err = e->host->ops->lock(e->host, 1);
	if (!err)
		err = vault_read_sealed(e->host, &e->sealed);
	if (!err)
		err = statedir_attach(e->host, 0, &e->anchor);
	return err;
}

static void let_go(struct edit *e)
{
	if (e->host)
		e->host->ops->close(e->host);
	anchor_free(e->anchor);
	e->host = NULL;
	e->anchor = NULL;
}

static int take(struct edit *e)
{
	int is_mounted = 0;
	int err = take_vault(e);

	if (err) {
		int failed = edit_mounted_begin(e, &is_mounted);

		if (is_mounted) {
			let_go(e);
			return failed;
		}
	}
	return err ? report_vault(err, e->dir) : 0;
}

static int open_vault(struct edit *e, const struct secrets_source *source)
{
	int err = secrets_get(source, e->dir, &e->sealed, &e->offer);

	if (err)
		return err;
	struct progress *p = progress_start("Deriving the key");
	err = e->client ? vault_edit_open_sealed(&e->sealed, &e->offer, &e->vault)
			: vault_edit_open(e->host, &e->offer, &e->vault);
	progress_stop(p);
	if (err)
		return refusal_report(err, e->dir, e->anchor);
	refusal_warn_foreign(e->dir, vault_edit_foreign(e->vault));
	return 0;
}

static int report_unclean(const char *dir)
{
	return report_fail(WERR_BUSY, dir,
			   "was not unmounted cleanly; mount and unmount it once, then try again");
}

int edit_take(const char *dir, struct edit *ret)
{
	*ret = (struct edit){.dir = dir};
	return take(ret);
}

int edit_open(struct edit *e, const struct secrets_source *source)
{
	// Told before anything is asked for, or drawn and shown.
	if (e->refusal)
		return edit_mounted_report(e->refusal, e);
	int err = open_vault(e, source);

	// Told before a person thinks of a new passphrase.
	if (!err && !vault_edit_is_clean(e->vault))
		err = report_unclean(e->dir);
	return err;
}

int edit_begin(const char *dir, const struct secrets_source *source, struct edit *ret)
{
	int err = edit_take(dir, ret);

	return err ? err : edit_open(ret, source);
}

void edit_end(struct edit *e)
{
	vault_edit_close(e->vault);
	secret_clear(&e->offer);
	vault_sealed_clear(&e->sealed);
	let_go(e);
	if (e->client)
		control_close(e->client);
}

static int report_apply(int err, const struct edit *e, const struct slot_change *change)
{
	switch (err) {
	case WERR_BUSY:
		return report_unclean(e->dir);
	case WERR_LIMIT:
		if (change->verb == SLOT_ADD)
			return report_fail(err, e->dir,
					   "all %d keyslots are in use; remove one first",
					   KEYSLOT_MAX);
		return report_fail(err, e->dir,
				   "no room for another epoch of keys; 'wardfs rotate' drops the "
				   "old ones");
	case WERR_INVALID:
		return report_fail(err, e->dir, "the keyslot cannot be made like this: %s",
				   change->label ? "the label is longer than 63 bytes or not "
						   "printable"
						 : werr_text(err));
	default:
		return report_vault(err, e->dir);
	}
}

static int report_write(int err, const struct edit *e, int in_force)
{
	if (!in_force)
		return e->client ? edit_mounted_report(err, e) : report_vault(err, e->dir);
	return report_fail(err, e->dir,
			   "the change is in force, but one of wardfs.vault and wardfs.vault.2 "
			   "still holds the state before (%s); end the cause, then mount the "
			   "vault once",
			   werr_text(err));
}

int edit_apply(struct edit *e, const struct slot_change *change, unsigned *ret_index)
{
	int in_force = 0;
	struct progress *p = progress_start("Changing the keyslots");
	int err = vault_edit_apply(e->vault, change, ret_index);

	if (err) {
		progress_stop(p);
		return report_apply(err, e, change);
	}
	err = e->client ? edit_mounted_write(e, &in_force) : vault_edit_write(e->vault, &in_force);
	progress_stop(p);
	return err ? report_write(err, e, in_force) : 0;
}

int edit_policy(struct edit *e, const struct vault_policy *policy)
{
	int in_force = 0;
	int err = vault_edit_policy(e->vault, policy);

	if (err == WERR_BUSY)
		return report_unclean(e->dir);
	if (!err)
		err = vault_edit_write(e->vault, &in_force);
	return err ? report_write(err, e, in_force) : 0;
}

int edit_choose_kdf(const struct options_kdf *asked, uint16_t kind, struct argon_params *ret)
{
	const int is_asked = asked->memory_mib || asked->passes || asked->time_ms;
	uint32_t ms;

	if (factor_guessable(kind) || is_asked)
		return calibrate_kdf(asked, ret, &ms);
	// 256 random bits cannot be guessed at any price.
	*ret = (struct argon_params){.memory_kib = ARGON_MEMORY_MIN_KIB, .passes = 1, .lanes = 1};
	return 0;
}

int edit_find_slot(const struct edit *e, unsigned index, struct keyslot_info *ret)
{
	const struct vault_header *h = vault_edit_header(e->vault);

	if (index >= KEYSLOT_MAX || keyslot_info(h->slots[index], ret) ||
	    ret->kind == KEYSLOT_EMPTY)
		return report_fail(WERR_NOTFOUND, e->dir,
				   "has no keyslot %u; see 'wardfs key list'", index);
	return 0;
}

int edit_parse_slot(const char *text, unsigned *ret)
{
	char *end = NULL;
	unsigned long n = isdigit((unsigned char)*text) ? strtoul(text, &end, 10) : KEYSLOT_MAX;

	if (!end || *end)
		return report_fail(WERR_USAGE, text,
				   "not the number of a keyslot; see 'wardfs key "
				   "list'");
	if (n >= KEYSLOT_MAX)
		return report_fail(WERR_LIMIT, text, "keyslots have the numbers 0 to %d",
				   KEYSLOT_MAX - 1);
	*ret = (unsigned)n;
	return 0;
}
