// SPDX-License-Identifier: Apache-2.0
// The verbs of the wardfs command. argv[0] is "wardfs VERB". Each prints its own errors and returns
// 0 or a werr code.
#ifndef WARDFS_TOOLS_VERBS_H
#define WARDFS_TOOLS_VERBS_H

int verb_init(int argc, char **argv);
int verb_mount(int argc, char **argv);
int verb_umount(int argc, char **argv);
int verb_accept(int argc, char **argv);
int verb_passwd(int argc, char **argv);
int verb_check(int argc, char **argv);
int verb_key(int argc, char **argv);
int verb_header(int argc, char **argv);
int verb_erase(int argc, char **argv);
int verb_policy(int argc, char **argv);
int verb_who(int argc, char **argv);
int verb_bench(int argc, char **argv);
int verb_rotate(int argc, char **argv);
int verb_status(int argc, char **argv);
int verb_lock(int argc, char **argv);
int verb_unlock(int argc, char **argv);
int verb_freeze(int argc, char **argv);
int verb_thaw(int argc, char **argv);
int verb_version(int argc, char **argv);

// The program was called by mount(8), as mount.wardfs or mount.fuse.wardfs.
int mount_helper(int argc, char **argv);

#endif
