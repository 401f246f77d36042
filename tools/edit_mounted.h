// SPDX-License-Identifier: Apache-2.0
// Changing the secrets of a mounted vault: the header comes from its worker and goes back there.
#ifndef WARDFS_TOOLS_EDIT_MOUNTED_H
#define WARDFS_TOOLS_EDIT_MOUNTED_H

#include "tools/edit.h"

// Finds the mount whose vault or mount point e->dir is, and gets its header into e->sealed. *ret
// tells whether there is one; then what goes wrong is printed.
int edit_mounted_begin(struct edit *e, int *ret) WARN_UNUSED;

// Hands the changed header over, and goes on from what is in force then. Codes as rekey_apply;
// *ret_in_force likewise.
int edit_mounted_write(struct edit *e, int *ret_in_force) WARN_UNUSED;
int edit_mounted_report(int err, const struct edit *e);

#endif
