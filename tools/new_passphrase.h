// SPDX-License-Identifier: Apache-2.0
// Another passphrase for the keyslot that was opened: what passwd and rotate --after-leak do.
#ifndef WARDFS_TOOLS_NEW_PASSPHRASE_H
#define WARDFS_TOOLS_NEW_PASSPHRASE_H

#include "tools/edit.h"

// Asks for the passphrase and makes *ret a SLOT_REPLACE of slot `index`, which e was opened with:
// where it needs another secret, too, that one stays. *offer (to be cleared by the caller, and
// outliving *ret) opens the new slot. *ret borrows from e until it is applied. A slot without a
// passphrase: WERR_USAGE, where *ret_kind is NULL; else it becomes a passphrase. *ret_kind (may be
// NULL): what kind it was. Prints what goes wrong.
int new_passphrase(const struct edit *e, unsigned index, const struct passphrase_source *source,
		   const struct options_kdf *kdf, struct secret *offer, struct slot_change *ret,
		   uint16_t *ret_kind) WARN_UNUSED;

#endif
