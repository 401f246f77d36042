// SPDX-License-Identifier: Apache-2.0
// The payload of a journal record: a sequence of assignments. wardfs-vault(5), "Journal records".
// The framing and the AEAD are fusefs/journal's. Bytes in, bytes out; not thread-safe per builder.
#ifndef WARDFS_CRYPTO_RECORD_H
#define WARDFS_CRYPTO_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/object_header.h"
#include "crypto/table_page.h"
#include "crypto/werr.h"

enum record_tag {
	REC_SLOT = 1,
	REC_ATTR = 2,
	REC_OBJECT = 3,
	REC_SIZE = 4,
	REC_INLINE = 5,
	REC_RUN = 6,
	REC_PAGE = 7,
	REC_DROP = 8,
	REC_SETTLED = 9,
	REC_XATTR = 10,
	REC_ORPHAN = 11,
	REC_FREED = 12,
	REC_IMAGE = 13,
	REC_CHECKPOINT = 14,
	REC_MOUNT = 15,
};
#define RUN_FINAL 0u
#define RUN_OLD_OK 1u

struct objref {
	uint64_t number;
	uint64_t incarnation;
	uint64_t base; // generation of the object's last completed checkpoint, 0 if none
};

// One decoded assignment; which members are meant depends on tag. Pointers go into the payload.
struct assignment {
	enum record_tag tag;
	// SLOT and ATTR: the directory; IMAGE and FREED: number and incarnation only; not in
	// CHECKPOINT and MOUNT.
	struct objref ref;
	uint32_t page;        // SLOT ATTR
	uint16_t slot;        // SLOT ATTR
	const uint8_t *bytes; // SLOT entry, OBJECT TLVs, INLINE, XATTR, PAGE and IMAGE (4096)
	size_t len;
	uint64_t number;                            // ATTR: the object whose attributes these are
	struct ward_attr attr;                      // ATTR
	uint16_t type, class_;                      // OBJECT
	uint32_t epoch;                             // OBJECT
	uint64_t parent_number, parent_incarnation; // OBJECT
	uint64_t size;                              // SIZE
	uint16_t layout;                            // SIZE
	uint64_t from,
		to;     // DROP SETTLED; RUN PAGE: from = first index; IMAGE: from = host position
	uint32_t count; // RUN; CHECKPOINT: number of images
	uint32_t flags; // RUN
	const uint8_t *seals;                       // RUN: count * 32 bytes; PAGE: 32 bytes
	uint64_t k, s, generation, root_generation; // CHECKPOINT
	uint32_t mount;                             // MOUNT
};

// A growing buffer for one payload. Plain heap (what it holds is ciphertext, or plaintext of names
// and small files: wiped by record_reset and record_free).
struct record {
	uint8_t *buf;
	size_t len;
	size_t cap;
	int err; // sticky: WERR_NOMEM, WERR_LIMIT
};
// Largest assignments part of a record: the frame (sequence, mount) and the AEAD come on top.
#define RECORD_PAYLOAD_MAX (4u * 1024 * 1024 - 64)

// After a failure every builder does nothing; r->err says why and r->len still ends at a whole
// assignment. The builders check no values: the caller's are its own, and record_next refuses what
// is out of range.
void record_init(struct record *r);
void record_reset(struct record *r);
void record_free(struct record *r);
#define RECORD_AUTO __attribute__((cleanup(record_free)))

// Room for n more bytes of assignments: they do not fail for memory. WERR_NOMEM, WERR_LIMIT.
int record_reserve(struct record *r, size_t n) WARN_UNUSED;
void record_slot(struct record *r, const struct objref *dir, uint32_t page, uint16_t slot,
		 const uint8_t *entry, size_t len);
void record_attr(struct record *r, const struct objref *dir, uint32_t page, uint16_t slot,
		 uint64_t number, const struct ward_attr *a);
void record_object(struct record *r, const struct objref *ref, uint16_t type, uint16_t class_,
		   uint32_t epoch, uint64_t parent_number, uint64_t parent_incarnation,
		   const uint8_t *tlv, size_t tlv_len);
void record_size(struct record *r, const struct objref *ref, uint64_t size, uint16_t layout);
void record_inline(struct record *r, const struct objref *ref, const uint8_t *data, size_t len);
// Starts a run and returns room for count seals (count * 32 bytes), or NULL (sticky error).
uint8_t *record_run(struct record *r, const struct objref *ref, uint64_t first, uint32_t count,
		    uint32_t flags);
void record_page(struct record *r, const struct objref *ref, uint64_t index,
		 const struct seal *seal, const uint8_t *cipher);
void record_drop(struct record *r, const struct objref *ref, uint64_t from, uint64_t to);
void record_settled(struct record *r, const struct objref *ref, uint64_t first, uint64_t to);
void record_xattr(struct record *r, const struct objref *ref, const uint8_t *set, size_t len);
void record_orphan(struct record *r, const struct objref *ref);
void record_freed(struct record *r, uint64_t number, uint64_t incarnation);
void record_image(struct record *r, uint64_t number, uint64_t incarnation, uint64_t position,
		  const uint8_t *page);
void record_checkpoint(struct record *r, uint64_t k, uint64_t s, uint64_t generation,
		       uint64_t root_generation, uint32_t images);
void record_mount(struct record *r, uint32_t mount);

// Decodes the next assignment at *offset (starts at 0) and advances it. Returns 1 with *ret filled,
// 0 at the end, or WERR_MALFORMED / WERR_TRUNCATED / WERR_LIMIT (payload too long), with *ret and
// *offset untouched. Everything is checked strictly: entry bytes, key TLVs, attributes, xattr sets,
// seals, ids; content indexes below OBJECT_PAGES_MAX (RUN, PAGE; DROP and SETTLED may end anywhere,
// e.g. UINT64_MAX), host positions below OBJECT_POSITIONS_MAX. Thread-safe.
int record_next(const uint8_t *payload, size_t len, size_t *offset,
		struct assignment *ret) WARN_UNUSED;

#endif
