// SPDX-License-Identifier: Apache-2.0
#include "crypto/object_header.h"

#include <string.h>

#include "crypto/cursor.h"
#include "crypto/object_header_body.h"
#include "crypto/secret.h"
#include "crypto/xattr_codec.h"

#define MAGIC "WARDOBJ\x01"
#define MAGIC_BYTES 8
#define SUITE 1
#define CLASS 1
#define PREFIX_TLV 40
#define PREFIX_NONCE 484
#define PREFIX_TAG 496

#define BODY_XATTRS 352
#define BODY_SEALS 864
#define XATTRS_INLINE 0
#define XATTRS_PAGES 1

_Static_assert(PREFIX_TLV + OBJECT_KEYS_TLV_MAX == PREFIX_NONCE, "the TLV area fills its place");
_Static_assert(PREFIX_TAG + GCM_TAG_BYTES == OBJECT_PREFIX_BYTES, "the tag ends the prefix");
_Static_assert(BODY_XATTRS + OBJECT_INLINE_AREA == OBJECT_BODY_BYTES, "the areas end the body");
_Static_assert(BODY_SEALS + (OBJECT_DIRECT + OBJECT_ROOTS) * SEAL_BYTES == OBJECT_BODY_BYTES,
	       "the seals end the body");
_Static_assert(OBJECT_XATTR_PAGES *SEAL_BYTES == OBJECT_XATTR_INLINE_MAX, "one area, two uses");

int object_header_prefix(const uint8_t page[static WARD_PAGE], struct object_id *ret_id,
			 const uint8_t **ret_tlv, size_t *ret_tlv_len)
{
	struct object_id id = {0};
	struct rcursor c;

	rcursor_init(&c, page, PREFIX_NONCE);
	const uint8_t *magic = rcursor_take(&c, MAGIC_BYTES);
	if (magic == NULL || memcmp(magic, MAGIC, MAGIC_BYTES) != 0)
		return WERR_MALFORMED;
	uint16_t suite = rcursor_u16(&c);
	id.class_ = rcursor_u16(&c);
	if (suite != SUITE || id.class_ != CLASS)
		return WERR_UNSUPPORTED;
	id.epoch = rcursor_u32(&c);
	id.number = rcursor_u64(&c);
	id.incarnation = rcursor_u64(&c);
	uint16_t tlv_len = rcursor_u16(&c);
	rcursor_zero(&c, 6);
	const uint8_t *tlv = rcursor_take(&c, tlv_len);
	rcursor_zero(&c, rcursor_left(&c));
	if (rcursor_finish(&c, 1) < 0 || tlv == NULL)
		return WERR_MALFORMED;
	if (id.epoch == 0 || object_id_check(id.number, id.incarnation) < 0)
		return WERR_MALFORMED;
	int rc = object_keys_check(tlv, tlv_len);
	if (rc < 0)
		return rc;
	*ret_id = id;
	*ret_tlv = tlv;
	*ret_tlv_len = tlv_len;
	return 0;
}

// Number, incarnation and name of the parent: all known or all zero.
static int parent_check(const struct object_header *h)
{
	if (h->parent_number == 0 && h->parent_incarnation == 0 && h->name_len == 0)
		return 0;
	if (object_id_check(h->parent_number, h->parent_incarnation) < 0 || h->name_len == 0)
		return WERR_MALFORMED;
	if (memchr(h->name, '/', h->name_len) != NULL || memchr(h->name, '\0', h->name_len) != NULL)
		return WERR_MALFORMED;
	return 0;
}

static int xattrs_check(const struct object_header *h)
{
	if (h->xattr_layout == XATTRS_INLINE) {
		if (h->xattr_len > OBJECT_XATTR_INLINE_MAX)
			return WERR_MALFORMED;
		return xattr_codec_check(h->xattr_inline, h->xattr_len);
	}
	if (h->xattr_layout != XATTRS_PAGES || h->xattr_len <= OBJECT_XATTR_INLINE_MAX ||
	    h->xattr_len > OBJECT_XATTR_MAX)
		return WERR_MALFORMED;
	size_t used = (h->xattr_len + WARD_PAGE - 1) / WARD_PAGE;
	for (size_t i = 0; i < OBJECT_XATTR_PAGES; i++) {
		if (seal_check(&h->xattr_seals[i]) < 0 ||
		    seal_is_hole(&h->xattr_seals[i]) != (i >= used))
			return WERR_MALFORMED;
	}
	return 0;
}

static uint32_t xattr_area_used(const struct object_header *h)
{
	return h->xattr_layout == XATTRS_PAGES ? OBJECT_XATTR_INLINE_MAX : h->xattr_len;
}

static int content_check(const struct object_header *h)
{
	if (h->layout == LAYOUT_INLINE) {
		if (h->size > OBJECT_INLINE_AREA - xattr_area_used(h))
			return WERR_MALFORMED;
		return 0;
	}
	if (h->layout != LAYOUT_TREE || h->size > OBJECT_SIZE_MAX)
		return WERR_MALFORMED;
	for (size_t i = 0; i < OBJECT_DIRECT; i++) {
		if (seal_check(&h->direct[i]) < 0)
			return WERR_MALFORMED;
	}
	for (size_t i = 0; i < OBJECT_ROOTS; i++) {
		if (seal_check(&h->roots[i]) < 0)
			return WERR_MALFORMED;
	}
	return 0;
}

static int type_check(const struct object_header *h)
{
	switch (h->type) {
	case OBJECT_FILE:
		return 0;
	case OBJECT_DIR:
		return h->layout == LAYOUT_TREE && h->size % WARD_PAGE == 0 ? 0 : WERR_MALFORMED;
	case OBJECT_SYMLINK:
		return h->size <= OBJECT_SYMLINK_MAX ? 0 : WERR_MALFORMED;
	case OBJECT_FIFO:
	case OBJECT_SOCKET:
	case OBJECT_CHAR:
	case OBJECT_BLOCK:
		return h->layout == LAYOUT_INLINE && h->size == 0 ? 0 : WERR_MALFORMED;
	default:
		return WERR_MALFORMED;
	}
}

static int header_check(const struct object_header *h)
{
	int rc = type_check(h);

	if (rc == 0)
		rc = parent_check(h);
	if (rc == 0)
		rc = xattrs_check(h);
	if (rc == 0)
		rc = content_check(h);
	return rc;
}

// Bytes 0..351. *ret_area_len = the two-byte length of the xattr area.
static void decode_fixed(struct rcursor *c, struct object_header *h)
{
	h->type = rcursor_u16(c);
	h->layout = rcursor_u16(c);
	uint16_t area_len = rcursor_u16(c);
	h->xattr_layout = rcursor_u16(c);
	h->generation = rcursor_u64(c);
	h->size = rcursor_u64(c);
	h->parent_number = rcursor_u64(c);
	h->parent_incarnation = rcursor_u64(c);
	uint32_t pages_len = rcursor_u32(c);
	rcursor_zero(c, 4);
	h->data_seals = rcursor_u64(c);
	h->header_seals = rcursor_u64(c);
	rcursor_zero(c, 32);
	h->name_len = rcursor_u8(c);
	rcursor_bytes(c, h->name, h->name_len);
	rcursor_zero(c, OBJECT_NAME_MAX - (size_t)h->name_len);
	if (h->xattr_layout == XATTRS_PAGES) {
		h->xattr_len = pages_len;
		if (area_len != OBJECT_XATTR_INLINE_MAX)
			c->err = WERR_MALFORMED;
	} else {
		h->xattr_len = area_len;
		if (pages_len != 0 || area_len > OBJECT_XATTR_INLINE_MAX)
			c->err = WERR_MALFORMED;
	}
}

// The areas behind byte 352; lengths are within the arrays of *h or the cursor is in error.
static void decode_areas(struct rcursor *c, struct object_header *h)
{
	if (h->xattr_layout == XATTRS_PAGES)
		rcursor_bytes(c, h->xattr_seals, sizeof(h->xattr_seals));
	else
		rcursor_bytes(c, h->xattr_inline, h->xattr_len);
	if (h->layout == LAYOUT_TREE) {
		rcursor_zero(c, BODY_SEALS - BODY_XATTRS - xattr_area_used(h));
		rcursor_bytes(c, h->direct, sizeof(h->direct));
		rcursor_bytes(c, h->roots, sizeof(h->roots));
	} else if (h->size <= rcursor_left(c)) {
		rcursor_bytes(c, h->inline_data, h->size);
		rcursor_zero(c, rcursor_left(c));
	} else {
		c->err = WERR_MALFORMED;
	}
}

int object_header_body_decode(const uint8_t body[static OBJECT_BODY_BYTES],
			      struct object_header *ret)
{
	struct object_header h;
	struct rcursor c;

	memset(&h, 0, sizeof(h));
	rcursor_init(&c, body, OBJECT_BODY_BYTES);
	decode_fixed(&c, &h);
	if (rcursor_finish(&c, 0) == 0)
		decode_areas(&c, &h);
	int rc = rcursor_finish(&c, 1) == 0 ? header_check(&h) : WERR_MALFORMED;
	if (rc == 0)
		*ret = h;
	secret_wipe(&h, sizeof(h));
	return rc;
}

int object_header_body_encode(const struct object_header *h, uint8_t body[static OBJECT_BODY_BYTES])
{
	struct wcursor w;
	int in_pages = h->xattr_layout == XATTRS_PAGES;

	memset(body, 0, OBJECT_BODY_BYTES);
	if (header_check(h) < 0)
		return WERR_INVALID;
	wcursor_init(&w, body, OBJECT_BODY_BYTES);
	wcursor_u16(&w, h->type);
	wcursor_u16(&w, h->layout);
	wcursor_u16(&w, (uint16_t)xattr_area_used(h));
	wcursor_u16(&w, h->xattr_layout);
	wcursor_u64(&w, h->generation);
	wcursor_u64(&w, h->size);
	wcursor_u64(&w, h->parent_number);
	wcursor_u64(&w, h->parent_incarnation);
	wcursor_u32(&w, in_pages ? h->xattr_len : 0);
	wcursor_zero(&w, 4);
	wcursor_u64(&w, h->data_seals);
	wcursor_u64(&w, h->header_seals);
	wcursor_zero(&w, 32);
	wcursor_u8(&w, h->name_len);
	wcursor_bytes(&w, h->name, h->name_len);
	wcursor_zero(&w, OBJECT_NAME_MAX - (size_t)h->name_len);
	if (in_pages)
		wcursor_bytes(&w, h->xattr_seals, sizeof(h->xattr_seals));
	else
		wcursor_bytes(&w, h->xattr_inline, h->xattr_len);
	if (h->layout == LAYOUT_TREE) {
		wcursor_zero(&w, BODY_SEALS - w.len);
		wcursor_bytes(&w, h->direct, sizeof(h->direct));
		wcursor_bytes(&w, h->roots, sizeof(h->roots));
	} else {
		wcursor_bytes(&w, h->inline_data, h->size);
	}
	return w.err < 0 ? WERR_INTERNAL : 0;
}

int object_header_open(const uint8_t page[static WARD_PAGE], const struct object_keys *keys,
		       struct object_header *ret)
{
	uint8_t body[OBJECT_BODY_BYTES];
	struct object_id id;
	const uint8_t *tlv;
	size_t tlv_len;
	int rc = object_header_prefix(page, &id, &tlv, &tlv_len);

	if (rc < 0)
		return rc;
	rc = gcm_open(object_keys_header(keys), page + PREFIX_NONCE, page, PREFIX_NONCE,
		      page + OBJECT_PREFIX_BYTES, OBJECT_BODY_BYTES, body, page + PREFIX_TAG);
	if (rc < 0)
		return rc;
	rc = object_header_body_decode(body, ret);
	secret_wipe(body, sizeof(body));
	return rc;
}

static int encode_prefix(const struct object_id *id, const struct object_keys *keys,
			 uint8_t page[static WARD_PAGE])
{
	struct wcursor w;
	size_t tlv_len;
	const uint8_t *tlv = object_keys_tlv(keys, &tlv_len);

	if (object_id_check(id->number, id->incarnation) < 0 || id->epoch == 0 ||
	    id->class_ != CLASS)
		return WERR_INVALID;
	wcursor_init(&w, page, PREFIX_NONCE);
	wcursor_bytes(&w, MAGIC, MAGIC_BYTES);
	wcursor_u16(&w, SUITE);
	wcursor_u16(&w, CLASS);
	wcursor_u32(&w, id->epoch);
	wcursor_u64(&w, id->number);
	wcursor_u64(&w, id->incarnation);
	wcursor_u16(&w, (uint16_t)tlv_len);
	wcursor_zero(&w, 6);
	wcursor_bytes(&w, tlv, tlv_len);
	wcursor_zero(&w, PREFIX_NONCE - w.len);
	return w.err < 0 ? WERR_INTERNAL : 0;
}

int object_header_seal(const struct object_header *h, const struct object_id *id,
		       const struct object_keys *keys, const uint8_t nonce[static GCM_NONCE_BYTES],
		       uint8_t page[static WARD_PAGE])
{
	uint8_t body[OBJECT_BODY_BYTES];

	if (id->type != h->type)
		return WERR_INVALID;
	int rc = encode_prefix(id, keys, page);
	if (rc < 0)
		return rc;
	rc = object_header_body_encode(h, body);
	if (rc == 0) {
		memcpy(page + PREFIX_NONCE, nonce, GCM_NONCE_BYTES);
		rc = gcm_seal(object_keys_header(keys), nonce, page, PREFIX_NONCE, body,
			      OBJECT_BODY_BYTES, page + OBJECT_PREFIX_BYTES, page + PREFIX_TAG);
	}
	secret_wipe(body, sizeof(body));
	return rc;
}
