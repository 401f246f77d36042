// SPDX-License-Identifier: Apache-2.0
// The journal's file and its two superblocks, for journal.c; journal_create, journal_recreate and
// journal_rekey stand in journalfile.c too. wardfs-vault(5), "Journal". Thread-safe; no state.
#ifndef WARDFS_FUSEFS_JOURNALFILE_H
#define WARDFS_FUSEFS_JOURNALFILE_H

#include <stdint.h>

#include "crypto/gcm.h"
#include "crypto/keyring.h"
#include "crypto/superblock.h"
#include "crypto/werr.h"
#include "fusefs/host.h"

#define JOURNALFILE_BLOCK 4096ull
#define JOURNALFILE_LOG_START (2 * JOURNALFILE_BLOCK) // behind the superblocks

// Whether a journal may have this size.
int journalfile_bytes_valid(uint64_t bytes) WARN_UNUSED;

// Opens the file. WERR_DAMAGED: missing or not of this size.
int journalfile_open(struct host *h, uint64_t bytes, unsigned flags,
		     struct host_file **ret) WARN_UNUSED;

// The authentic superblock with the higher counter. WERR_AUTH: none is; errors of the host.
int journalfile_read(struct host_file *f, const struct gcm_key *key, const struct keyring *ring,
		     struct superblock *ret, uint32_t *ret_block) WARN_UNUSED;

// Whether an authentic superblock fits a journal of this size: 0 or WERR_DAMAGED.
int journalfile_check(const struct superblock *sb, uint64_t bytes) WARN_UNUSED;

// Seals a superblock for block 0 or 1 under a fresh nonce.
int journalfile_seal(const struct superblock *sb, const struct gcm_key *key,
		     const struct keyring *ring, uint32_t block,
		     uint8_t out[static SUPERBLOCK_BYTES]) WARN_UNUSED;

#endif
