// SPDX-License-Identifier: Apache-2.0
// What a person offers to open a vault with: a set of secrets as one string of secret bytes, so
// that it passes through a pipe to the process that opens the vault. A string that does not begin
// with the magic is a passphrase and nothing else: the magic has a newline in it, which no
// passphrase has that a program of wardfs reads. Not part of the on-disk format. Thread-safe.
#ifndef WARDFS_CRYPTO_OFFER_H
#define WARDFS_CRYPTO_OFFER_H

#include <stdint.h>

#include "crypto/factor.h"
#include "crypto/secret.h"
#include "crypto/werr.h"

#define OFFER_TAG_BYTES 16
#define OFFER_BYTES_MAX 8192

// Adds a secret to an offer ({NULL, 0} to begin with; the caller clears it at last). tag: the slot
// that it is for (keyslot_tag), NULL for every slot. A passphrase has 1 to FACTOR_PASSPHRASE_MAX
// bytes, every other factor FACTOR_SECRET_BYTES: else WERR_INVALID. WERR_LIMIT: too many of them.
int offer_add(struct secret *offer, enum factor f, const uint8_t *tag, const void *bytes,
	      size_t len) WARN_UNUSED;

// The secret of one factor for the slot of this tag, within the offer. WERR_NOTFOUND.
int offer_find(const struct secret *offer, enum factor f, const uint8_t tag[static OFFER_TAG_BYTES],
	       const uint8_t **ret, size_t *ret_len) WARN_UNUSED;

// What Argon2id derives the KEK of a slot from: wardfs-vault(5), "From secrets to the KEK".
// WERR_SECRET: the offer lacks a factor of this kind, or its passphrase is empty. *ret is the
// caller's to clear.
int offer_password(const struct secret *offer, uint16_t kind,
		   const uint8_t tag[static OFFER_TAG_BYTES], struct secret *ret) WARN_UNUSED;

#endif
