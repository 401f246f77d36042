// SPDX-License-Identifier: Apache-2.0
// The anchor: what this machine knows of a vault, so that an older copy of the whole vault is told
// from the newest. Two pages with the same content: one sealed under the anchor key (which follows
// from the root key), one under a key of a master key, so that the anchor still opens after the
// root key was replaced on another machine. wardfs-vault(5), "Anchor". Bytes in, bytes out;
// thread-safe.
#ifndef WARDFS_CRYPTO_ANCHOR_CODEC_H
#define WARDFS_CRYPTO_ANCHOR_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/gcm.h"
#include "crypto/keyring.h"
#include "crypto/superblock.h"
#include "crypto/vault_header.h"
#include "crypto/werr.h"

#define ANCHOR_PAGE_BYTES 4096
#define ANCHOR_PAGES 2
#define ANCHOR_BYTES (ANCHOR_PAGES * ANCHOR_PAGE_BYTES)
#define ANCHOR_MACHINE_MAX 63
#define ANCHOR_DIGEST_BYTES 32
#define ANCHOR_MAC_BYTES 32
#define ANCHOR_NAME_BYTES 33 // 32 hex digits and NUL

// A keyslot as it was at the last unlock on this machine.
struct anchor_slot {
	uint32_t serial; // 0: the slot was empty, and the rest is zero
	uint16_t kind;
	char label[KEYSLOT_LABEL_MAX + 1];
	uint8_t digest[ANCHOR_DIGEST_BYTES]; // of what does not change when the slot is resealed
	uint64_t last_use_s;                 // on this machine; 0: never
};

// Everything in it was durable in the vault when the anchor was written.
struct anchor_claims {
	uint64_t counter;   // raised with every anchor written
	uint64_t written_s; // when
	// The vault header.
	uint32_t mount;
	uint32_t state; // enum vault_state
	uint64_t write_counter;
	uint8_t header_mac[ANCHOR_MAC_BYTES]; // the last bytes of the encoded header
	uint64_t root_generation;             // of the last completed checkpoint
	// The journal: its chain (mount, salt), the newest superblock, the last durable record.
	uint32_t journal_mount; // 0: nothing is known of the journal
	uint64_t journal_sequence;
	uint64_t journal_counter;
	uint8_t journal_salt[SUPERBLOCK_SALT_BYTES];
	// The last clean end on this machine.
	uint64_t closed_s; // 0: none
	uint32_t closed_mount;
	char closed_machine[ANCHOR_MACHINE_MAX + 1];
	struct anchor_slot slots[KEYSLOT_MAX];
};

// The keys that an anchor is sealed with. Opaque; secret memory.
struct anchor_keys;
// Of the key ring's root key, and of its master key of `epoch` (the current one of the vault
// header). WERR_NOTFOUND: no such epoch.
int anchor_keys_new(const struct keyring *ring, uint32_t epoch,
		    struct anchor_keys **ret) WARN_UNUSED;
void anchor_keys_free(struct anchor_keys *keys);

// The name of a vault's anchor: what it reveals is whether somebody who has the vault used it here.
void anchor_codec_name(const uint8_t vault_id[static VAULT_ID_BYTES],
		       char out[static ANCHOR_NAME_BYTES]);

// What the anchor keeps of a keyslot: kind, serial, label, digest; last_use_s is 0. WERR codes of
// keyslot_info.
int anchor_codec_slot(const uint8_t slot[static KEYSLOT_BYTES],
		      struct anchor_slot *ret) WARN_UNUSED;

// nonces: two fresh ones. WERR_INVALID: claims that anchor_codec_open would refuse.
int anchor_codec_seal(const struct anchor_claims *claims, const struct anchor_keys *keys,
		      const uint8_t nonces[static ANCHOR_PAGES * GCM_NONCE_BYTES],
		      uint8_t out[static ANCHOR_BYTES]) WARN_UNUSED;
// Opens either page with what the ring has. WERR_TRUNCATED, WERR_MALFORMED, WERR_UNSUPPORTED (a
// later version), WERR_AUTH (changed, or of another vault, or sealed under keys that this vault no
// longer has). *ret untouched on failure.
int anchor_codec_open(const uint8_t *in, size_t len, const struct keyring *ring,
		      struct anchor_claims *ret) WARN_UNUSED;

// The epoch that an anchor says it is of, unproved: for the explanation why it does not open. 0:
// none.
uint32_t anchor_codec_epoch(const uint8_t *in, size_t len);

// The plaintext of a page, for tests and the fuzzer.
#define ANCHOR_BODY_BYTES (ANCHOR_PAGE_BYTES - 64)
int anchor_body_encode(const struct anchor_claims *claims,
		       uint8_t body[static ANCHOR_BODY_BYTES]) WARN_UNUSED;
int anchor_body_decode(const uint8_t body[static ANCHOR_BODY_BYTES],
		       struct anchor_claims *ret) WARN_UNUSED;

#endif
