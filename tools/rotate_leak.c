// SPDX-License-Identifier: Apache-2.0
// After a leak: only what is named stays, and nothing that was known before opens what comes.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fusefs/fs.h"
#include "tools/confirm.h"
#include "tools/edit.h"
#include "tools/new_passphrase.h"
#include "tools/report.h"
#include "tools/rotate.h"

#define NAME_BYTES 192 // of a keyslot: number, kind, label

// Whether the keyslot is in use and not one of those that stay; then its name.
static int goes(const struct edit *e, const struct rotate_request *r, unsigned i,
		char name[static NAME_BYTES])
{
	struct keyslot_info info;
	char kind[64];

	if (r->keep >> i & 1 || keyslot_info(vault_edit_header(e->vault)->slots[i], &info) ||
	    info.kind == KEYSLOT_EMPTY)
		return 0;
	secrets_kind_name(info.kind, kind, sizeof(kind));
	snprintf(name, NAME_BYTES, "%u (%s%s%s)", i, kind, info.label[0] ? ", " : "", info.label);
	return 1;
}

// Nobody can be asked: what was not named must not go without a word.
static int refuse_unnamed(const struct edit *e, const struct rotate_request *r)
{
	char name[NAME_BYTES], names[KEYSLOT_MAX * (NAME_BYTES + 2)] = "";
	size_t len = 0;

	for (unsigned i = 0; i < KEYSLOT_MAX; i++) {
		if (goes(e, r, i, name))
			len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s",
						len ? ", " : "", name);
	}
	if (!len)
		return 0;
	return report_fail(WERR_USAGE, "--after-leak",
			   "would remove keyslot %s; nothing was changed, name those that stay "
			   "with --keep, or repeat with --yes",
			   names);
}

// On a terminal each further keyslot is asked about; else those of --keep stay.
static int choose(const struct edit *e, struct rotate_request *r)
{
	char name[NAME_BYTES], question[NAME_BYTES + 32];

	r->keep |= 1u << vault_edit_slot(e->vault);
	if (r->yes)
		return 0;
	if (!isatty(STDIN_FILENO))
		return refuse_unnamed(e, r);
	for (unsigned i = 0; i < KEYSLOT_MAX; i++) {
		if (!goes(e, r, i, name))
			continue;
		snprintf(question, sizeof(question), "Keep keyslot %s?", name);
		if (!confirm_yes(question))
			r->keep |= 1u << i;
	}
	return 0;
}

static int check_keep(const struct edit *e, const struct rotate_request *r)
{
	struct keyslot_info info;

	for (unsigned i = 0; i < KEYSLOT_MAX; i++) {
		int err = r->keep >> i & 1 ? edit_find_slot(e, i, &info) : 0;

		if (err)
			return err;
	}
	return 0;
}

static int wants_new(const struct rotate_request *r)
{
	return r->fresh.passphrase.kind != PASSPHRASE_AUTO ||
	       (isatty(STDIN_FILENO) && !r->yes &&
		!confirm_yes("Is the secret that you just gave the one that leaked?"));
}

static void say_new(const struct edit *e, const struct slot_change *c, uint16_t was)
{
	char now[64], before[64];

	secrets_kind_name(c->kind, now, sizeof(now));
	secrets_kind_name(was, before, sizeof(before));
	if (c->kind == was)
		printf("%s: keyslot %u has the new passphrase (%s)\n", e->dir, c->index, now);
	else
		printf("%s: keyslot %u is a %s from now on (it was: %s)\n", e->dir, c->index, now,
		       before);
}

// One write: somebody who has a secret that goes never meets a vault with half of it done.
static int change_slots(struct edit *e, struct rotate_request *r, const struct slot_change *c,
			uint16_t was)
{
	char names[KEYSLOT_MAX][NAME_BYTES];

	for (unsigned i = 0; i < KEYSLOT_MAX; i++) {
		if (!goes(e, r, i, names[i]))
			names[i][0] = '\0';
	}
	int err = edit_apply(e, c, NULL);
	if (err)
		return err;
	r->is_rekeyed = 1;
	for (unsigned i = 0; i < KEYSLOT_MAX; i++) {
		if (names[i][0])
			printf("%s: removed keyslot %s\n", e->dir, names[i]);
	}
	if (c->verb == SLOT_REPLACE)
		say_new(e, c, was);
	// The rotation is long, and may be interrupted.
	fflush(stdout);
	return 0;
}

// All that can be asked or can fail comes before the change. The secret that was used may be the
// one that leaked: a new one takes its place.
static int change(struct edit *e, struct rotate_request *r, struct secret *ret_offer)
{
	SECRET_STRUCT_AUTO struct secret offer = {0};
	struct slot_change c = {.verb = SLOT_KEEP};
	uint16_t was = 0;
	int err = wants_new(r) ? new_passphrase(e, vault_edit_slot(e->vault), &r->fresh.passphrase,
						&r->kdf, &offer, &c, &was)
			       : 0;

	if (err)
		return err;
	c.keep = r->keep;
	const struct secret *opens = offer.len ? &offer : &e->offer;
	err = secret_copy(ret_offer, opens->bytes, opens->len);
	if (err)
		return report_fail(err, NULL, "%s", werr_text(err));
	return change_slots(e, r, &c, was);
}

// One that was begun before goes on as it was begun, and no other can begin.
static int check_rotation(const struct edit *e)
{
	const struct vault_header *h = vault_edit_header(e->vault);

	if (h->rotation.level == VAULT_ROTATION_NONE ||
	    (h->rotation.level == VAULT_ROTATION_CONTENTS && h->rotation.number == FS_ROOT))
		return 0;
	return report_fail(
		WERR_BUSY, e->dir,
		"another rotation is under way; nothing was changed, let it end first with "
		"'wardfs rotate %s'",
		e->dir);
}

int rotate_after_leak(struct rotate_request *r, int is_mounted, struct secret *ret_offer)
{
	struct edit e;
	int err = edit_begin(r->target, &r->source, &e);

	if (!err && (e.client != NULL) != is_mounted)
		err = report_fail(WERR_BUSY, r->target, "is in use; name the mount point instead");
	if (!err)
		err = check_keep(&e, r);
	if (!err)
		err = check_rotation(&e);
	if (!err)
		err = choose(&e, r);
	if (!err)
		err = change(&e, r, ret_offer);
	edit_end(&e);
	return err;
}
