// SPDX-License-Identifier: Apache-2.0
// The vault directory: creating it, opening it with a secret, its header files and their atomic replacement, the lock.
// wardfs-vault(5), "Vault header". Not thread-safe per struct vault, except vault_write (called by one thread at a time).
#ifndef WARDFS_FUSEFS_VAULT_H
#define WARDFS_FUSEFS_VAULT_H

#include <stdint.h>

#include "crypto/keyring.h"
#include "crypto/vault_header.h"
#include "fusefs/host.h"

#define VAULT_FILE "wardfs.vault"
#define VAULT_FILE_COPY "wardfs.vault.2"

// An open vault: members are read-only for others.
struct vault {
	struct host *host;	 // owned
	struct vault_header *h;	 // decoded; owned
	struct keyring *ring;	 // owned
	int readonly;
};

struct vault_create_params {
	struct argon_params kdf;
	const char *label;	// of the first slot, may be ""
	uint64_t created_s;
	uint64_t journal_bytes; // 0: default for this host (64 MiB, at most 1 % of its free space, at least 8 MiB)
};

// Makes a vault in an empty directory (host already open; WERR_NOTEMPTY otherwise): lock, journal, objects of root and links
// directories are *not* made here (the engine treats a vault whose root generation is 0 as empty). On failure what was made is
// removed again. Writes wardfs.vault last, so that a half-made vault is not a vault.
int vault_create(struct host *host, const struct vault_create_params *params,
		 const struct secret *passphrase) WARN_UNUSED;

// The header as bytes before any secret: reads wardfs.vault, or its copy when the first is missing or does not peek. Bounded; nothing is
// followed or blocked on. Used by programs to run the KDF separately.
struct vault_sealed {
	uint8_t *buf[2]; // wardfs.vault, wardfs.vault.2: NULL where unusable; both VAULT_HEADER_BYTES
	uint8_t vault_id[VAULT_ID_BYTES];
	struct keyslot_info infos[KEYSLOT_MAX];
};
int vault_read_sealed(struct host *host, struct vault_sealed *ret) WARN_UNUSED;
void vault_sealed_clear(struct vault_sealed *s);

// Tries the passphrase on every used slot (Argon2id once per slot); WERR_SECRET when none opens. root_key: secret memory, freed by the caller
// with secret_free. ret_slot may be NULL. Authenticates the header (either copy; of two authentic ones the higher write counter wins;
// the damaged one is written again at the next vault_write).
int vault_unlock(const struct vault_sealed *s, const struct secret *passphrase, uint8_t **ret_root_key,
		 unsigned *ret_slot, struct vault_header *ret) WARN_UNUSED;

// All of it: lock (exclusive, or shared when readonly), read, unlock, key ring. Takes over host (closes it on failure too).
int vault_open(struct host *host, const struct secret *passphrase, int readonly,
	       struct vault **ret) WARN_UNUSED;
void vault_close(struct vault *v); // wipes keys, releases the lock

// Writes v->h (write counter + 1) to wardfs.vault, durably, then to its copy.
int vault_write(struct vault *v) WARN_UNUSED;

// New passphrase for the slot that `old` opens: new root key and master epoch, all slots resealed (vault must not be mounted: takes the
// exclusive lock). kdf: parameters of the new slot.
int vault_passwd(struct host *host, const struct secret *old, const struct secret *new_,
		 const struct argon_params *kdf, uint64_t now_s) WARN_UNUSED;

#endif
