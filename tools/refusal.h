// SPDX-License-Identifier: Apache-2.0
// What a verb says when the vault is older than this machine has seen it.
#ifndef WARDFS_TOOLS_REFUSAL_H
#define WARDFS_TOOLS_REFUSAL_H

#include "crypto/werr.h"
#include "fusefs/anchor.h"

// As report_vault, with the anchor's reason for WERR_ROLLBACK and WERR_ANCHOR and the keyslots that
// differ. a may be NULL. Returns code.
int refusal_report(int code, const char *dir, struct anchor *a);
// The same for a reason that a worker sent.
int refusal_report_text(int code, const char *dir, const char *reason);
// What fs_open returned; is_root: of struct fs_params. The header was authentic then.
int refusal_report_engine(int code, const char *dir, int is_root);
// Warns of the header file that has another vault's id (vault_foreign_copy); NULL is fine.
void refusal_warn_foreign(const char *dir, const char *name);

#endif
