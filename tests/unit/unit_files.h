// SPDX-License-Identifier: Apache-2.0
// Folders of a test on the host, made and removed.
#ifndef WARDFS_TESTS_UNIT_FILES_H
#define WARDFS_TESTS_UNIT_FILES_H

#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A new folder below TMPDIR or /tmp; its path, of UNIT_DIR_BYTES, into dir.
#define UNIT_DIR_BYTES 64
static inline void unit_make_dir(char dir[static UNIT_DIR_BYTES])
{
	const char *base = getenv("TMPDIR");

	// mkdtemp asks for the six letters, and puts others in their place.
	snprintf(dir, UNIT_DIR_BYTES, "%s/wardfs-test.XXXXXX",
		 base && strlen(base) < 32 ? base : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

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
