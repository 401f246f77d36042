// SPDX-License-Identifier: Apache-2.0
// A change of the passphrase in one call, as wardfs passwd does it.
#ifndef WARDFS_TESTS_VAULTPASSWD_H
#define WARDFS_TESTS_VAULTPASSWD_H

#include "fusefs/vault_edit.h"

// A new passphrase for the slot that `old` opens, in one call.
// What vault_edit_write said last: whether the change counts although it failed.
static int vault_passwd_in_force;

static inline int vaultenv_passwd_opened(struct vault_edit *e, const struct secret *new_,
					 const struct argon_params *kdf, uint64_t now_s)
{
	const struct slot_change change = {.verb = SLOT_REPLACE,
					   .index = vault_edit_slot(e),
					   .kind = KEYSLOT_PASSPHRASE,
					   .offer = new_,
					   .kdf = *kdf,
					   .now_s = now_s};

	int err = vault_edit_apply(e, &change, NULL);
	return err ? err : vault_edit_write(e, &vault_passwd_in_force);
}

static inline int vault_passwd(struct host *host, const struct secret *old,
			       const struct secret *new_, const struct argon_params *kdf,
			       uint64_t now_s)
{
	struct vault_edit *e;

	if (new_->len == 0)
		return WERR_INVALID;
	int err = argon_check(kdf);
	if (err)
		return err;
	err = vault_edit_open(host, old, &e);
	if (err)
		return err;
	err = vaultenv_passwd_opened(e, new_, kdf, now_s);
	vault_edit_close(e);
	return err;
}

#endif
