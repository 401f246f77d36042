// SPDX-License-Identifier: Apache-2.0
// A copy of the vault header outside the vault, and putting it back. wardfs-vault(5), "Header
// backup". Not thread-safe.
#ifndef WARDFS_FUSEFS_HEADER_BACKUP_H
#define WARDFS_FUSEFS_HEADER_BACKUP_H

#include "fusefs/vault.h"

#define HEADER_BACKUP_BYTES (32 + VAULT_HEADER_BYTES + 32)

// The backup of an authentic header, into out[HEADER_BACKUP_BYTES].
int header_backup_make(const struct vault_header *h, const uint8_t root_key[static ROOT_KEY_BYTES],
		       uint64_t now_s, uint8_t *out) WARN_UNUSED;

// The header in a backup, before any secret (*ret: vault_sealed_clear). WERR_NOTVAULT: no backup.
// WERR_TRUNCATED, WERR_MALFORMED, WERR_UNSUPPORTED, WERR_LIMIT. *ret_made_s: when it was made.
int header_backup_peek(const uint8_t *buf, size_t len, struct vault_sealed *ret,
		       uint64_t *ret_made_s) WARN_UNUSED;
// Its own MAC. WERR_AUTH.
int header_backup_check(const uint8_t buf[static HEADER_BACKUP_BYTES],
			const uint8_t root_key[static ROOT_KEY_BYTES]) WARN_UNUSED;

// What a vault directory says about a header that is to be put back.
struct header_state {
	uint64_t objects;    // host files of objects
	uint64_t opened;     // that open with its keys
	uint64_t newer;      // of an epoch that it does not know yet
	uint32_t epoch;      // the newest one seen
	uint32_t mount;      // the highest mount number that is authentic
	uint64_t generation; // of the root directory; 0: it does not open
	int has_journal;     // an authentic one
	uint32_t journal_mount;
	int is_journal_of_others; // one of the right size is there, under another root key or
				  // damaged
	int is_foreign;           // the header that stands there is of another vault
	uint32_t other_epoch; // of the header that stands there, as it claims; 0: none can be read
};
// Reads the header of each object. step: called now and then, non-zero ends it with that code; may
// be NULL.
int header_state_read(struct host *host, const struct vault_header *h, const struct keyring *ring,
		      int (*step)(void *arg, uint64_t objects), void *arg,
		      struct header_state *ret) WARN_UNUSED;

// Makes h the header of this vault: its slots and masters, with mount number, state and root
// generation as the vault needs them, so that the next mount replays the journal and numbers go on
// behind everything seen. The caller has the lock, and has looked at the state. The anchor on host
// (opened to accept, compared) is taken along. WERR_LIMIT: no mount number is left.
int header_restore(struct host *host, struct vault_header *h, const struct keyring *ring,
		   const struct header_state *state) WARN_UNUSED;

// Destroys both header files: their bytes are overwritten in place, durably, and then unlinked.
// From then on nothing opens the vault. The caller has the lock. *ret_done: bit 0 wardfs.vault, bit
// 1 its copy, where it was there and is gone. WERR_NOTVAULT: neither was there. Goes on after a
// failure, and returns the first.
int header_erase(struct host *host, unsigned *ret_done) WARN_UNUSED;

#endif
