// SPDX-License-Identifier: Apache-2.0
// What the verbs share that change the secrets of a vault: open it, ask, change, write, and say
// what is in force afterwards. Where it is mounted its worker has the header, and writes it.
#ifndef WARDFS_TOOLS_EDIT_H
#define WARDFS_TOOLS_EDIT_H

#include <limits.h>

#include "fusefs/vault_edit.h"
#include "tools/options.h"
#include "tools/secrets.h"

struct control_client;

struct edit {
	const char *dir;
	struct host *host;
	struct anchor *anchor;
	struct vault_sealed sealed;
	struct secret offer; // what opened it
	struct vault_edit *vault;
	// Of a mounted vault; NULL: it is not.
	struct control_client *client;
	int refusal; // then: why its secrets cannot be changed now, WERR_READONLY or WERR_BUSY; 0
	char mnt[PATH_MAX];
};

// dir: a vault, or the mount point of one. Locks the vault, or finds its mount, gathers the secret
// and opens it. Prints what goes wrong. edit_end in any case.
int edit_begin(const char *dir, const struct secrets_source *source, struct edit *ret) WARN_UNUSED;
// The same in two steps, for what only can be done where nobody has the vault mounted: ret->client
// and the names are set by the first, which asks for nothing.
int edit_take(const char *dir, struct edit *ret) WARN_UNUSED;
int edit_open(struct edit *e, const struct secrets_source *source) WARN_UNUSED;
void edit_end(struct edit *e);

// vault_edit_apply and vault_edit_write with a progress line. Prints what goes wrong, and what is
// in force then. *ret_index may be NULL.
int edit_apply(struct edit *e, const struct slot_change *change, unsigned *ret_index) WARN_UNUSED;

// The same for the policy.
int edit_policy(struct edit *e, const struct vault_policy *policy) WARN_UNUSED;

// Cost of the key derivation for a new slot of this kind: measured where people choose the secret,
// the least where they do not, or what the user asked for. Prints what goes wrong.
int edit_choose_kdf(const struct options_kdf *asked, uint16_t kind,
		    struct argon_params *ret) WARN_UNUSED;

// The used slot with this number. Prints what goes wrong.
int edit_find_slot(const struct edit *e, unsigned index, struct keyslot_info *ret) WARN_UNUSED;

// The number of a slot, as an operand. Prints what goes wrong.
int edit_parse_slot(const char *text, unsigned *ret) WARN_UNUSED;

#endif
