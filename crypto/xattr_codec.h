// SPDX-License-Identifier: Apache-2.0
// The encoded set of extended attributes of one object: sorted, no duplicates. wardfs-vault(5),
// "Extended attributes". Names are 1..255 bytes without NUL (else WERR_INVALID when empty,
// WERR_RANGE when longer), values 0..65535 bytes. A malformed set is WERR_MALFORMED everywhere;
// outputs are then undefined. Thread-safe; owns nothing.
#ifndef WARDFS_CRYPTO_XATTR_CODEC_H
#define WARDFS_CRYPTO_XATTR_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/werr.h"

#define XATTR_SET_MAX 65536

// 0 or WERR_MALFORMED. An empty set (len 0) is canonical.
int xattr_codec_check(const uint8_t *set, size_t len) WARN_UNUSED;
// Finds a value: pointer into set. WERR_NODATA.
int xattr_codec_get(const uint8_t *set, size_t len, const char *name, const uint8_t **ret_value,
		    size_t *ret_len) WARN_UNUSED;
// Writes a new set with name := value into out[cap], which must not overlap set or value.
// WERR_NOSPACE when it would exceed cap or XATTR_SET_MAX; WERR_TOOBIG for a value that no set can
// hold.
int xattr_codec_set(const uint8_t *set, size_t len, const char *name, const void *value,
		    size_t value_len, uint8_t *out, size_t cap, size_t *ret_len) WARN_UNUSED;
// Same without name. WERR_NODATA when it is not there.
int xattr_codec_remove(const uint8_t *set, size_t len, const char *name, uint8_t *out, size_t cap,
		       size_t *ret_len) WARN_UNUSED;
// NUL-terminated names one behind the other, as listxattr(2); buf NULL or cap 0: only *ret_len.
// WERR_RANGE.
int xattr_codec_list(const uint8_t *set, size_t len, char *buf, size_t cap,
		     size_t *ret_len) WARN_UNUSED;

#endif
