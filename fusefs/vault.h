// SPDX-License-Identifier: Apache-2.0
// The vault directory: creating it, opening it with a secret, its header files and their atomic
// replacement, the lock. wardfs-vault(5), "Vault header". Not thread-safe per struct vault, except
// vault_write (called by one thread at a time).
#ifndef WARDFS_FUSEFS_VAULT_H
#define WARDFS_FUSEFS_VAULT_H

#include <pthread.h>
#include <stdint.h>

#include "crypto/keyring.h"
#include "crypto/vault_header.h"
#include "fusefs/host.h"
#include "fusefs/slots.h"

#define VAULT_FILE "wardfs.vault"
#define VAULT_FILE_COPY "wardfs.vault.2"

// An open vault: members are read-only for others.
struct vault {
	struct host *host;      // owned
	struct vault_header *h; // decoded; owned
	struct keyring *ring;   // owned
	int readonly;
	// The header files known to hold what was last read or written: bit 0 wardfs.vault, bit 1
	// its copy.
	unsigned intact;
	unsigned foreign; // likewise: those that were found with the id of another vault
	unsigned slot;    // that was opened
	pthread_mutex_t slots_lock;
	uint8_t slots_digest[SLOTS_DIGEST_BYTES]; // of h as it was last read or written; guarded by
						  // slots_lock
};

struct vault_create_params {
	struct argon_params kdf;
	const char *label; // of the first slot, may be "", at most KEYSLOT_LABEL_MAX bytes, no
			   // control bytes
	uint64_t created_s;
	uint64_t journal_bytes; // 0: default for this host (64 MiB, at most 1 % of its free space,
				// at least 8 MiB); else
				// VAULT_JOURNAL_MIN_BYTES..VAULT_JOURNAL_MAX_BYTES, whole pages
				// (WERR_LIMIT)
};

// Makes a vault in an empty directory: takes the exclusive lock (WERR_BUSY; held until the caller
// closes host, which stays the caller's), then journal, header copy, and wardfs.vault last. The
// objects of the root and links directories are *not* made here (the engine treats a vault whose
// root generation is 0 as empty). WERR_NOTEMPTY: any name at all is there. WERR_NOSPACE: no room
// for the journal and the headers. WERR_LIMIT (KDF parameters, journal size), WERR_INVALID (label,
// empty passphrase). On failure what was made is removed again; a crash leaves a journal without a
// header, which is no vault, or a whole vault.
int vault_create(struct host *host, const struct vault_create_params *params,
		 const struct secret *passphrase) WARN_UNUSED;

// The header as bytes before any secret: every copy that peeks. Bounded; nothing is followed or
// blocked on. Used by programs to run the KDF separately. When no copy is usable the code of
// wardfs.vault is returned, or of its copy when the first is absent: WERR_NOTVAULT (no header file
// at all, or another magic), WERR_TRUNCATED, WERR_MALFORMED (also: longer than a header),
// WERR_UNSUPPORTED, WERR_LIMIT, WERR_DAMAGED (not a plain file with one link), WERR_IO. A copy that
// may not be read (WERR_PERM) or for which this process has no memory or descriptors fails the call
// even when the other is there. *ret untouched on failure.
struct vault_sealed {
	uint8_t *buf[2];                  // wardfs.vault, wardfs.vault.2: NULL where unusable; both
					  // VAULT_HEADER_BYTES
	uint8_t vault_id[VAULT_ID_BYTES]; // of the first usable one
	// Of each; where a copy is unusable the other's. Nobody vouches for any of it.
	uint8_t ids[2][VAULT_ID_BYTES];
	struct keyslot_info infos[KEYSLOT_MAX]; // likewise
};
int vault_read_sealed(struct host *host, struct vault_sealed *ret) WARN_UNUSED;
void vault_sealed_clear(struct vault_sealed *s);

// Tries the offer (crypto/offer.h: a plain passphrase is one) on every used slot of both copies
// that it has the factors for (Argon2id once per slot; again only where the copies differ in a
// slot's clear part) and authenticates what it opens. Of two authentic copies the higher write
// counter wins, wardfs.vault in a tie; those of two vaults are refused (WERR_AUTH). root_key:
// secret memory, freed by the caller with secret_free. ret_slot and ret_mac (ANCHOR_MAC_BYTES, the
// last of the header) may be NULL. WERR_SECRET when nothing opens; WERR_AUTH when the passphrase
// fits a slot and slot or header were changed; WERR_KDFMEM when a slot could not be tried on this
// machine; WERR_NOMEM. Outputs untouched on failure. A damaged or older copy is written again at
// the next vault_write.
int vault_unlock(const struct vault_sealed *s, const struct secret *passphrase,
		 uint8_t **ret_root_key, unsigned *ret_slot, uint8_t *ret_mac,
		 struct vault_header *ret) WARN_UNUSED;

// All of it: lock (exclusive, or shared when readonly; WERR_BUSY), read, unlock, key ring, and the
// comparison with host->anchor (WERR_ROLLBACK, WERR_ANCHOR). Takes over host (closes it on failure
// too).
int vault_open(struct host *host, const struct secret *passphrase, int readonly,
	       struct vault **ret) WARN_UNUSED;
// The header file that was found with another vault's id (changed, or put there), and was not
// believed; NULL: none. For people to be told.
const char *vault_foreign_copy(const struct vault *v);
// Of a vault that was opened writable: nothing is written as long as it is read-only.
void vault_set_readonly(struct vault *v, int readonly);
void vault_close(struct vault *v); // wipes keys, releases the lock
// slots_digest of the authentic header that is in force. Any thread.
void vault_slots_digest(struct vault *v, uint8_t out[static SLOTS_DIGEST_BYTES]);

// Takes a vault that is older than this machine's anchor (opened with an anchor that accepts) for
// the newest: the header is written with a mount number and a write counter that no state seen here
// had, and the anchor forgets what it knew. WERR_LIMIT: no higher number is left.
int vault_accept(struct vault *v) WARN_UNUSED;
// Of a vault that is not clean: compares the journal's end with the anchor, which then knows.
// WERR_ROLLBACK (unless the anchor accepts); the codes of journal_open.
int vault_compare_journal(struct vault *v) WARN_UNUSED;

// Writes v->h (write counter + 1) to wardfs.vault, durably, then to its copy. The counter stays
// raised on failure. A full host is no failure: then the files are written over in place, one after
// the other, so that one of them is whole at every moment (WERR_NOSPACE when that cannot be done
// either). WERR_READONLY, WERR_MALFORMED and WERR_LIMIT (v->h breaks a rule of the format),
// WERR_IO.
int vault_write(struct vault *v) WARN_UNUSED;

// ---- rotation (vault_rotate.c); one thread at a time, and not beside vault_write ----

// The header as it is in force, encoded (VAULT_HEADER_BYTES): what is on the host was not checked
// since the vault was opened.
int vault_copy_header(const struct vault *v, uint8_t *buf) WARN_UNUSED;
// The root key, from such a copy and a secret that opens it. Codes as vault_unlock.
int vault_root_key(uint8_t *buf, const struct secret *passphrase,
		   uint8_t **ret_root_key) WARN_UNUSED;
// Writes `next`, a header with other secrets that `ring` belongs to, durably to both files in the
// place of v->h, and takes both over. After a failure *ret_in_force tells whether the new header
// counts all the same (and was taken over): then one file holds it and the other may still hold the
// state before.
int vault_replace(struct vault *v, struct vault_header *next, const struct keyring *ring,
		  int *ret_in_force) WARN_UNUSED;
// A new master epoch, and the rotation written down, durably in both header files; only then the
// key ring knows the new master. A header with no room for another epoch keeps its current one,
// which is as good for all that is older. WERR_AUTH: not this vault's root key. On failure the
// header says what it said (a part of it may have reached the host; the next write ends that).
int vault_rotation_begin(struct vault *v, const uint8_t root_key[static ROOT_KEY_BYTES],
			 const struct vault_rotation *rotation) WARN_UNUSED;
// The rotation is over. retire: every object is under the current epoch, durably, and no record of
// the journal speaks of an older one: their masters go, and the root object's least epoch rises.
int vault_rotation_end(struct vault *v, int retire) WARN_UNUSED;

#endif
