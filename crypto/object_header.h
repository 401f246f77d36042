// SPDX-License-Identifier: Apache-2.0
// The header page of an object (host page 0): clear prefix, sealed body. wardfs-vault(5), "Object
// header". Bytes in, bytes out; thread-safe.
#ifndef WARDFS_CRYPTO_OBJECT_HEADER_H
#define WARDFS_CRYPTO_OBJECT_HEADER_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/object_keys.h"
#include "crypto/seal.h"
#include "crypto/werr.h"

#define OBJECT_PREFIX_BYTES 512
#define OBJECT_BODY_BYTES 3584
#define OBJECT_DIRECT 80
#define OBJECT_ROOTS 5
#define OBJECT_XATTR_INLINE_MAX 512
#define OBJECT_XATTR_PAGES 16
#define OBJECT_XATTR_MAX 65536
#define OBJECT_INLINE_AREA 3232 // inline content capacity = this - inline xattr bytes
#define OBJECT_NAME_MAX 255
#define OBJECT_SYMLINK_MAX 4095
// What the direct seals and the five trees can hold: content pages, bytes, and host pages of the
// whole file.
#define OBJECT_PAGES_MAX (80ull + 128 + (1ull << 14) + (1ull << 21) + (1ull << 28) + (1ull << 35))
#define OBJECT_SIZE_MAX (OBJECT_PAGES_MAX * WARD_PAGE)
#define OBJECT_POSITIONS_MAX 34902967014ull

enum object_type {
	OBJECT_FILE = 1,
	OBJECT_DIR = 2,
	OBJECT_SYMLINK = 3,
	OBJECT_FIFO = 4,
	OBJECT_SOCKET = 5,
	OBJECT_CHAR = 6,
	OBJECT_BLOCK = 7,
};
enum object_layout {
	LAYOUT_INLINE = 0,
	LAYOUT_TREE = 1,
};

// The decoded body. What the layout does not use is zero after opening and ignored (written as
// zero) when sealing. Rules checked in both directions: sizes within their areas; parent number,
// parent incarnation and name all zero or all set; a directory has layout tree and whole pages;
// FIFOs, sockets and devices have no content; exactly the seals of the xattr pages in use are set.
struct object_header {
	uint16_t type;
	uint16_t layout;       // enum object_layout
	uint16_t xattr_layout; // 0 inline, 1 pages
	uint64_t generation;
	uint64_t size;
	uint64_t parent_number;
	uint64_t parent_incarnation;
	uint64_t data_seals;   // made under the newest data key
	uint64_t header_seals; // made under the header key
	uint8_t name_len;
	uint8_t name[OBJECT_NAME_MAX];
	uint32_t xattr_len; // inline: 0..512; pages: 513..65536
	uint8_t xattr_inline[OBJECT_XATTR_INLINE_MAX];
	struct seal xattr_seals[OBJECT_XATTR_PAGES];
	uint8_t inline_data[OBJECT_INLINE_AREA]; // layout inline: size bytes
	struct seal direct[OBJECT_DIRECT];       // layout tree
	struct seal roots[OBJECT_ROOTS];
};

// Reads the clear prefix only (to find the keys). Numbers must match what the caller looked for: it
// compares. WERR_MALFORMED, WERR_UNSUPPORTED (suite, class). tlv points into page.
int object_header_prefix(const uint8_t page[static WARD_PAGE], struct object_id *ret_id,
			 const uint8_t **ret_tlv, size_t *ret_tlv_len) WARN_UNUSED;

// Opens and decodes the body (WERR_AUTH, WERR_MALFORMED). *ret untouched on failure; ret holds
// plaintext: wipe.
int object_header_open(const uint8_t page[static WARD_PAGE], const struct object_keys *keys,
		       struct object_header *ret) WARN_UNUSED;

// Encodes prefix and body, seals with a fresh nonce (12 bytes given). id->type must equal h->type.
// WERR_INVALID: what object_header_open would refuse. page is undefined on failure, but holds no
// plaintext.
int object_header_seal(const struct object_header *h, const struct object_id *id,
		       const struct object_keys *keys, const uint8_t nonce[static GCM_NONCE_BYTES],
		       uint8_t page[static WARD_PAGE]) WARN_UNUSED;

#endif
