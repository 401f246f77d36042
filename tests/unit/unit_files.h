// SPDX-License-Identifier: Apache-2.0
// Removing what a test made on the host.
#ifndef WARDFS_TESTS_UNIT_FILES_H
#define WARDFS_TESTS_UNIT_FILES_H

#include <check.h>
#include <ftw.h>
#include <stdio.h>

static inline int unit_remove_one(const char *path, const struct stat *st, int flag,
				  struct FTW *ftw)
{
	(void)st;
	(void)flag;
	// The folder itself stays when only its contents are meant.
	return ftw->level == 0 ? 0 : remove(path);
}

// Everything in the folder, not the folder.
static inline void unit_empty_folder(const char *path)
{
	ck_assert_int_eq(nftw(path, unit_remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

// The folder, too.
static inline void unit_remove_tree(const char *path)
{
	unit_empty_folder(path);
	ck_assert_int_eq(remove(path), 0);
}

#endif
