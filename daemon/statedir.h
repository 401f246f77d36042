// SPDX-License-Identifier: Apache-2.0
// Where this machine keeps what it knows of vaults, one folder a vault: $XDG_STATE_HOME/wardfs, or
// else /var/lib/wardfs for root and ~/.local/state/wardfs for others. wardfs(1), "FILES".
// Thread-safe.
#ifndef WARDFS_DAEMON_STATEDIR_H
#define WARDFS_DAEMON_STATEDIR_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/keyslot.h"
#include "crypto/werr.h"
#include "fusefs/anchor.h"

// The folder of all vaults. WERR_NOTFOUND: there is no home directory.
int statedir_path(char *buf, size_t cap) WARN_UNUSED;
// The same, and makes it with what is missing above it, for this user only.
int statedir_own(char *buf, size_t cap) WARN_UNUSED;
// The folder of one vault; it need not exist.
int statedir_vault_path(const uint8_t vault_id[static VAULT_ID_BYTES], char *buf,
			size_t cap) WARN_UNUSED;

// Makes that folder, for this user only, with what is above it; so that the sandbox can name it.
int statedir_make(const uint8_t vault_id[static VAULT_ID_BYTES]) WARN_UNUSED;

#define STATEDIR_READONLY 1u  // compares only, makes and writes nothing
#define STATEDIR_ACCEPTING 2u // see struct anchor_params
// Makes the anchor that belongs to this machine and attaches it to a vault's host. Nothing is
// opened before the vault is. To be freed with anchor_free after the host was closed. WERR_NOMEM.
int statedir_attach(struct host *host, unsigned flags, struct anchor **ret) WARN_UNUSED;

#endif
