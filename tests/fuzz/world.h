// SPDX-License-Identifier: Apache-2.0
// A small vault on a simulated disk, the same in every run, for the targets that drive the engine.
#ifndef WARDFS_TESTS_FUZZ_WORLD_H
#define WARDFS_TESTS_FUZZ_WORLD_H

#include "crypto/secret.h"
#include "fusefs/fs.h"
#include "fusefs/vault.h"
#include "tests/crash/simhost.h"

// A directory "d" with files (inline, of 12 and of 400 pages), a symlink, a hard link, a FIFO,
// extended attributes; an empty directory. clean: closed; else killed with records in its journal.
// A new disk; the caller frees it.
struct simhost *world_disk(int clean);
const struct secret *world_passphrase(void);
// The engine without threads. The code of vault_open or fs_open; *ret_vault is closed after fs.
int world_open_engine(struct simhost *disk, struct vault **ret_vault,
		      struct fs **ret_fs) WARN_UNUSED;
// Names, attributes and contents of the whole tree are read; errors are fine, hangs and crashes are
// not.
void world_walk(struct fs *fs);

#endif
