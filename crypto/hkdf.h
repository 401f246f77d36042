// SPDX-License-Identifier: Apache-2.0
// HKDF-SHA-256 (RFC 5869) with a registry of labels, and HMAC-SHA-256 (RFC 2104). Thread-safe.
// wardfs-vault(5), "Key derivation".
#ifndef WARDFS_CRYPTO_HKDF_H
#define WARDFS_CRYPTO_HKDF_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/werr.h"

// Every derivation of the format; the text of each label stands in hkdf_label().
enum hkdf_label {
	HKDF_KEK_WRAP,       // 64 bytes
	HKDF_KEK_COMMIT,     // 32
	HKDF_SLOT_ROOT,      // 64; context: slot public key ‖ ephemeral public key (64)
	HKDF_HEADER_MAC,     // 32
	HKDF_JOURNAL,        // 32
	HKDF_ANCHOR,         // 32
	HKDF_MASTER_WRAP,    // 64
	HKDF_PSK_WRAP,       // 64
	HKDF_JOURNAL_RECORD, // 32; context: u32 mount number
	HKDF_EPOCH_ANCHOR,   // 32; of a master key
	HKDF_HEADER_BACKUP,  // 32
	HKDF_LABELS
};
const char *hkdf_label(enum hkdf_label label);
// Bytes that this label always yields.
size_t hkdf_label_bytes(enum hkdf_label label);

// out = HKDF(ikm, salt, info = label ‖ context), of exactly hkdf_label_bytes(label) bytes.
int hkdf_derive(enum hkdf_label label, const void *ikm, size_t ikm_len, const void *salt,
		size_t salt_len, const void *context, size_t context_len, void *out) WARN_UNUSED;

int hkdf_hmac_sha256(const uint8_t key[static 32], const void *msg, size_t len,
		     uint8_t mac[static 32]) WARN_UNUSED;

#endif
