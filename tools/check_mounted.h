// SPDX-License-Identifier: Apache-2.0
// 'wardfs check' of a vault that is mounted: its worker does it.
#ifndef WARDFS_TOOLS_CHECK_MOUNTED_H
#define WARDFS_TOOLS_CHECK_MOUNTED_H

#include <stdatomic.h>
#include <stddef.h>

#include <limits.h>

#include "fusefs/check.h"
#include "tools/check_print.h"

// Whether a vault is mounted at this path.
int check_is_mountpoint(const char *path);
// Where the vault in this directory is mounted, as far as this user may know; 0: nowhere.
int check_find_mount(const char *dir, char ret[static PATH_MAX]);

// Findings go to print. Prints what goes wrong, but for WERR_INTERRUPTED. *stop is looked at with
// each reply.
int check_mounted(const char *mnt, struct check_print *print, _Atomic int *stop,
		  struct check_totals *ret) WARN_UNUSED;

#endif
