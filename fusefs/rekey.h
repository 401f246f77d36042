// SPDX-License-Identifier: Apache-2.0
// Other secrets for a vault that is in use. Whoever knows one of its secrets takes a copy of the
// header, changes it (fusefs/vault_edit.h), and hands it back with the root key that it is sealed
// under; that root key opening all of the vault's masters is what shows that a secret was known.
// wardfs-vault(5), "Changing secrets". Thread-safe.
#ifndef WARDFS_FUSEFS_REKEY_H
#define WARDFS_FUSEFS_REKEY_H

#include "crypto/vault_header.h"
#include "fusefs/fs.h"

// The header that is in force, encoded: VAULT_HEADER_BYTES.
int rekey_header(struct fs *fs, uint8_t *buf) WARN_UNUSED;

// Puts the header in force that was made of such a copy: other slots, and with another root key one
// more epoch of masters. Everything written from then on is sealed under keys that the root key
// before does not open; open files and a running rotation go on. WERR_BUSY: the header was changed
// since the copy was made, or the vault is frozen. WERR_AUTH: not this vault's root key, or header.
// WERR_INVALID: more than the secrets was changed. WERR_LIMIT: no room for another epoch in this
// process. WERR_READONLY; the errors of a checkpoint and of writing the header. After a failure
// *ret_in_force tells whether it counts all the same: then one of the two header files still holds
// the state before.
int rekey_apply(struct fs *fs, const uint8_t root_key[static ROOT_KEY_BYTES], const uint8_t *buf,
		int *ret_in_force) WARN_UNUSED;

#endif
