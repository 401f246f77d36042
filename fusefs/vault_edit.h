// SPDX-License-Identifier: Apache-2.0
// Changing the secrets of a vault: open it with a secret once, change its slots in memory, write,
// or hand the result to the process that has it mounted. wardfs-vault(5), "Changing secrets". Not
// thread-safe per struct vault_edit.
#ifndef WARDFS_FUSEFS_VAULT_EDIT_H
#define WARDFS_FUSEFS_VAULT_EDIT_H

#include "fusefs/slots.h"
#include "fusefs/vault.h"

struct vault_edit;

// Takes the exclusive lock (held until the caller closes host, which stays the caller's and must
// outlive the edit) and opens the header. WERR_BUSY: mounted. WERR_SECRET, WERR_AUTH … as
// vault_unlock. WERR_ROLLBACK, WERR_ANCHOR: host->anchor says no.
int vault_edit_open(struct host *host, const struct secret *offer,
		    struct vault_edit **ret) WARN_UNUSED;
void vault_edit_close(struct vault_edit *e); // forgets what was not written; wipes; NULL is fine

// Of a vault that is mounted: the header comes from whoever serves it (rekey_header), and goes back
// there instead of being written. Locks nothing.
int vault_edit_open_sealed(const struct vault_sealed *sealed, const struct secret *offer,
			   struct vault_edit **ret) WARN_UNUSED;
// What rekey_apply takes: the root key that is to be, in secret memory (the edit's), and the
// encoded header.
int vault_edit_encode(const struct vault_edit *e, const uint8_t **ret_root_key,
		      uint8_t *buf) WARN_UNUSED;
// The header as it is in force after that: goes on from there. WERR_AUTH: somebody else's.
int vault_edit_follow(struct vault_edit *e, const uint8_t *buf) WARN_UNUSED;

const struct vault_header *vault_edit_header(const struct vault_edit *e);
unsigned vault_edit_slot(const struct vault_edit *e); // the slot that the offer opened
// Whether the vault was unmounted cleanly, or is mounted and served. Only then can it be changed:
// its journal can be read under the root key of that time only.
int vault_edit_is_clean(const struct vault_edit *e) WARN_UNUSED;
// vault_foreign_copy.
const char *vault_edit_foreign(const struct vault_edit *e);

// slots_apply on what is to be written. WERR_BUSY: not clean.
int vault_edit_apply(struct vault_edit *e, const struct slot_change *change,
		     unsigned *ret_index) WARN_UNUSED;

// Puts another policy into what is to be written. WERR_BUSY: not clean.
int vault_edit_policy(struct vault_edit *e, const struct vault_policy *policy) WARN_UNUSED;

// Writes the header to wardfs.vault, then to its copy, then, where the root key is new, seals the
// journal's superblocks again (a clean vault does without: a failure there is none). After a
// failure *ret_in_force tells whether the change counts all the same: then one file holds it and
// the other still the state before, until the next write of the header. A crash in between is the
// same.
int vault_edit_write(struct vault_edit *e, int *ret_in_force) WARN_UNUSED;

#endif
