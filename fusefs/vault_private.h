// SPDX-License-Identifier: Apache-2.0
// Between vault.c and what changes the header of a vault that nobody has mounted (vault_edit.c)
// only.
#ifndef WARDFS_FUSEFS_VAULT_PRIVATE_H
#define WARDFS_FUSEFS_VAULT_PRIVATE_H

#include "fusefs/anchor.h"
#include "fusefs/vault.h"

#define VAULT_COPIES 2

// An authentic header with the root key that opened it.
struct vault_opened {
	int err;
	unsigned slot;
	uint8_t *root_key; // secret memory
	struct vault_header *h;
	uint8_t mac[ANCHOR_MAC_BYTES]; // the last bytes of the header as it was read
	unsigned foreign;              // bit n: the nth file claims to be of another vault
};
void vault_opened_clear(struct vault_opened *o);

// The file's name for such bits; NULL: none.
const char *vault_foreign_name(unsigned foreign);

// Reads both copies, opens what the offer opens, and keeps the one that counts. *ret_intact: bit 0
// wardfs.vault, bit 1 its copy, where they hold it. The caller has the lock.
int vault_read_opened(struct host *host, const struct secret *offer, struct vault_opened *ret,
		      unsigned *ret_intact) WARN_UNUSED;

// Writes h (write counter + 1) to both files. After a failure *ret_done tells which of them hold it
// nevertheless; from the first one on it counts.
int vault_write_opened(struct host *host, struct vault_header *h, const struct keyring *ring,
		       unsigned *intact, unsigned *ret_done) WARN_UNUSED;

#endif
