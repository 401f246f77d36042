// SPDX-License-Identifier: Apache-2.0
// The -o options of mount: parsing and what they mean. wardfs(1), "Mount options".
#ifndef WARDFS_FUSEFS_MOUNTOPTS_H
#define WARDFS_FUSEFS_MOUNTOPTS_H

#include <stddef.h>

#include "crypto/werr.h"

// What becomes of the directory underneath the mount.
enum mountopts_protect {
	PROTECT_MOUNTED, // closed while it is mounted, the default
	PROTECT_ALWAYS,  // "protect": also afterwards
	PROTECT_NEVER,   // "noprotect"
};

struct mountopts {
	int readonly; // ro / rw
	int allow_other;
	int allow_root;
	int suid, dev, exec; // suid=0 and dev=0 by default, exec=1
	int noatime, nodiratime, relatime, strictatime, lazytime, sync, dirsync;
	int default_permissions; // always on; the option is accepted
	unsigned threads;        // threads=N; 0: default
	unsigned max_background; // max_background=N
	int lock_errno;          // what a locked vault answers; 0: EKEYREVOKED
	unsigned memory_mib;     // memory=MIB; 0: default
	int protect;             // the directory underneath
	char fsname[256];        // fsname=, default: the vault's path
	char subtype[64];        // default "wardfs"
	char unknown[64];        // the first unknown option, when parsing failed
	unsigned min, max;       // and its bounds, when it is a number
};
#define MOUNTOPTS_THREADS_MAX 256
void mountopts_init(struct mountopts *o);
// Parses one comma-separated list, later words win. WERR_USAGE with o->unknown set,
// WERR_LIMIT with min and max, too. Options that
// mount(8) handles itself (auto, noauto, user, nofail, _netdev, x-*, defaults …) are accepted and
// ignored.
int mountopts_parse(struct mountopts *o, const char *list) WARN_UNUSED;

#endif
