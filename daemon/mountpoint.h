// SPDX-License-Identifier: Apache-2.0
// Mount points: the kernel's list of mounts, the checks before mounting, and unmounting.
// Thread-safe.
#ifndef WARDFS_DAEMON_MOUNTPOINT_H
#define WARDFS_DAEMON_MOUNTPOINT_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "crypto/werr.h"

#define MOUNTPOINT_FSTYPE "fuse.wardfs"
#define MOUNTPOINT_DEVICE_BYTES 24

// One line of /proc/self/mountinfo.
struct mountpoint {
	char path[PATH_MAX];
	char source[PATH_MAX];
	char fstype[80];
	char device[MOUNTPOINT_DEVICE_BYTES]; // "MAJOR:MINOR", unique while mounted
	int64_t id;                           // of the mount; like the device's, used again
	int readonly;
	int64_t user_id; // who mounted it (FUSE), or -1
};

// Calls fn for every mount in the order of mounting; its non-zero return stops with that code.
typedef int (*mountpoint_fn)(void *arg, const struct mountpoint *m);
int mountpoint_each(mountpoint_fn fn, void *arg) WARN_UNUSED;

// The topmost mount at exactly this absolute path. WERR_NOTFOUND.
int mountpoint_find(const char *path, struct mountpoint *ret) WARN_UNUSED;

// What no other mount ever has until the machine starts again, or 0 where the kernel (6.8) or the
// permission to tell is missing. Never waits for whoever serves the mount.
uint64_t mountpoint_unique_id(const char *path);

// Makes the path of a mount point absolute and free of links without asking the filesystem that may
// be mounted there (it may hang or be gone). WERR_NOTFOUND, WERR_PERM, WERR_NOTDIR ….
int mountpoint_resolve(const char *path, char ret[static PATH_MAX]) WARN_UNUSED;

// Whether a vault can be mounted at this resolved path: WERR_BUSY (a FUSE filesystem is mounted
// there), WERR_NOTFOUND, WERR_NOTDIR, WERR_NOTEMPTY (unless nonempty), WERR_PERM (this user may not
// write to it).
int mountpoint_check(const char *path, int nonempty) WARN_UNUSED;

// Unmounts what is mounted at a resolved path: umount2() for root, else fusermount3. lazy: detach
// now, end when the last user is gone. WERR_BUSY, WERR_PERM, WERR_NOTFOUND (fusermount3 is not
// installed), WERR_NOTSUP (it needs /etc/mtab, which is not there), WERR_IO.
int mountpoint_unmount(const char *path, int lazy) WARN_UNUSED;

#endif
