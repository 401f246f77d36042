// SPDX-License-Identifier: Apache-2.0
// The directory underneath a mount: closed, so that nothing is written into it in plain text when
// the mount is not there. wardfs(1), "Mount options", protect.
//
// A closed directory says in an extended attribute how it was before, so that whoever comes after a
// crash can open it again. Not thread-safe for one directory.
#ifndef WARDFS_DAEMON_GUARD_H
#define WARDFS_DAEMON_GUARD_H

#include "crypto/werr.h"

struct guard {
	int fd;     // of the directory; -1: none
	int stays;  // closed until somebody opens it on purpose
	int closed; // by guard_close
};

#define GUARD_NONE ((struct guard){.fd = -1})

// Opens the directory at this resolved path, before something is mounted over it, and undoes what
// an earlier mount did to it. ret->stays: an earlier mount had closed it for good. What is a mount
// point already, or not empty, or cannot be opened, gives GUARD_NONE and WERR_BUSY, WERR_NOTEMPTY,
// WERR_PERM ….
int guard_open(const char *path, struct guard *ret) WARN_UNUSED;

// Closes it: mode 0; hard: immutable where the filesystem and the permissions allow. WERR_NOTSUP:
// its filesystem cannot keep what has to be known to undo it. Nothing has changed on failure.
int guard_close(struct guard *g, int hard) WARN_UNUSED;

// Undoes what was done to it, unless it stays, and ends its use.
void guard_end(struct guard *g);

// Whether this mode of a directory of this user is one that guard_close has made.
int guard_is_closed(unsigned mode);

// Whether the directory at this path is closed, by its mode or because it is immutable.
int guard_is_closed_at(const char *path);

// For root: whether a user's record stands there. Root does not act on what that user wrote.
int guard_has_record_of_user(const char *path);

#endif
