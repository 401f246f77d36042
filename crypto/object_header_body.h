// SPDX-License-Identifier: Apache-2.0
// Inside of object_header.c: the body's codec without the AEAD, for the fuzzer and the vectors,
// which must get past the AEAD. Nothing else includes this.
#ifndef WARDFS_CRYPTO_OBJECT_HEADER_BODY_H
#define WARDFS_CRYPTO_OBJECT_HEADER_BODY_H

#include <stdint.h>

#include "crypto/object_header.h"

// WERR_MALFORMED; *ret untouched on failure.
int object_header_body_decode(const uint8_t body[static OBJECT_BODY_BYTES],
			      struct object_header *ret) WARN_UNUSED;
// WERR_INVALID; body is zero on failure.
int object_header_body_encode(const struct object_header *h,
			      uint8_t body[static OBJECT_BODY_BYTES]) WARN_UNUSED;

#endif
