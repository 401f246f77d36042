// SPDX-License-Identifier: Apache-2.0
#include "crypto/record.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/cursor.h"
#include "crypto/secret.h"
#include "crypto/vault_header.h"
#include "crypto/xattr_codec.h"

#define ASSIGNMENT_FIXED 8
#define OBJREF_BYTES 24
#define RECORD_CAP_FIRST 4096
#define CLASS 1

void record_init(struct record *r)
{
	memset(r, 0, sizeof(*r));
}

void record_reset(struct record *r)
{
	if (r->len > 0)
		secret_wipe(r->buf, r->len);
	r->len = 0;
	r->err = 0;
}

void record_free(struct record *r)
{
	record_reset(r);
	free(r->buf);
	record_init(r);
}

// Room for n more bytes. Not realloc: the old block would keep names and contents unwiped.
static int record_grow(struct record *r, size_t n)
{
	size_t cap = r->cap > 0 ? r->cap : RECORD_CAP_FIRST;

	if (n > RECORD_PAYLOAD_MAX - r->len)
		return WERR_LIMIT;
	if (n <= r->cap - r->len)
		return 0;
	while (cap - r->len < n)
		cap *= 2;
	uint8_t *buf = malloc(cap);
	if (buf == NULL)
		return WERR_NOMEM;
	if (r->len > 0) {
		memcpy(buf, r->buf, r->len);
		secret_wipe(r->buf, r->len);
	}
	free(r->buf);
	r->buf = buf;
	r->cap = cap;
	return 0;
}

int record_reserve(struct record *r, size_t n)
{
	return r->err ? r->err : record_grow(r, n);
}

// Starts an assignment of exactly body_len bytes; the cursor is in error when r is.
static struct wcursor record_begin(struct record *r, enum record_tag tag, size_t body_len)
{
	struct wcursor w;

	if (r->err == 0 && body_len > RECORD_PAYLOAD_MAX)
		r->err = WERR_LIMIT;
	if (r->err == 0)
		r->err = record_grow(r, ASSIGNMENT_FIXED + body_len);
	if (r->err < 0) {
		wcursor_init(&w, NULL, 0);
		w.err = WERR_LIMIT;
		return w;
	}
	wcursor_init(&w, r->buf + r->len, ASSIGNMENT_FIXED + body_len);
	wcursor_u16(&w, (uint16_t)tag);
	wcursor_u16(&w, 0);
	wcursor_u32(&w, (uint32_t)body_len);
	return w;
}

static void record_end(struct record *r, const struct wcursor *w)
{
	if (r->err < 0)
		return;
	if (w->err < 0 || w->len != w->cap)
		r->err = WERR_INTERNAL;
	else
		r->len += w->len;
}

static void put_objref(struct wcursor *w, const struct objref *ref)
{
	wcursor_u64(w, ref->number);
	wcursor_u64(w, ref->incarnation);
	wcursor_u64(w, ref->base);
}

static void put_bytes(struct wcursor *w, const uint8_t *bytes, size_t len)
{
	if (len > 0)
		wcursor_bytes(w, bytes, len);
}

static void put_place(struct wcursor *w, const struct objref *dir, uint32_t page, uint16_t slot)
{
	put_objref(w, dir);
	wcursor_u32(w, page);
	wcursor_u16(w, slot);
	wcursor_u16(w, 0);
}

void record_slot(struct record *r, const struct objref *dir, uint32_t page, uint16_t slot,
		 const uint8_t *entry, size_t len)
{
	struct wcursor w = record_begin(r, REC_SLOT, OBJREF_BYTES + 8 + len);

	put_place(&w, dir, page, slot);
	put_bytes(&w, entry, len);
	record_end(r, &w);
}

void record_attr(struct record *r, const struct objref *dir, uint32_t page, uint16_t slot,
		 uint64_t number, const struct ward_attr *a)
{
	struct wcursor w = record_begin(r, REC_ATTR, OBJREF_BYTES + 16 + ATTR_BYTES);

	put_place(&w, dir, page, slot);
	wcursor_u64(&w, number);
	uint8_t *out = wcursor_take(&w, ATTR_BYTES);
	if (out != NULL)
		attr_encode(a, out);
	record_end(r, &w);
}

void record_object(struct record *r, const struct objref *ref, uint16_t type, uint16_t class_,
		   uint32_t epoch, uint64_t parent_number, uint64_t parent_incarnation,
		   const uint8_t *tlv, size_t tlv_len)
{
	struct wcursor w = record_begin(r, REC_OBJECT, OBJREF_BYTES + 26 + tlv_len);

	put_objref(&w, ref);
	wcursor_u16(&w, type);
	wcursor_u16(&w, class_);
	wcursor_u32(&w, epoch);
	wcursor_u64(&w, parent_number);
	wcursor_u64(&w, parent_incarnation);
	wcursor_u16(&w, (uint16_t)tlv_len);
	put_bytes(&w, tlv, tlv_len);
	record_end(r, &w);
}

void record_size(struct record *r, const struct objref *ref, uint64_t size, uint16_t layout)
{
	struct wcursor w = record_begin(r, REC_SIZE, OBJREF_BYTES + 16);

	put_objref(&w, ref);
	wcursor_u64(&w, size);
	wcursor_u16(&w, layout);
	wcursor_zero(&w, 6);
	record_end(r, &w);
}

static void record_ref_bytes(struct record *r, enum record_tag tag, const struct objref *ref,
			     const uint8_t *bytes, size_t len)
{
	struct wcursor w = record_begin(r, tag, OBJREF_BYTES + len);

	put_objref(&w, ref);
	put_bytes(&w, bytes, len);
	record_end(r, &w);
}

void record_inline(struct record *r, const struct objref *ref, const uint8_t *data, size_t len)
{
	record_ref_bytes(r, REC_INLINE, ref, data, len);
}

uint8_t *record_run(struct record *r, const struct objref *ref, uint64_t first, uint32_t count,
		    uint32_t flags)
{
	struct wcursor w = record_begin(r, REC_RUN, OBJREF_BYTES + 16 + (size_t)count * SEAL_BYTES);

	put_objref(&w, ref);
	wcursor_u64(&w, first);
	wcursor_u32(&w, count);
	wcursor_u32(&w, flags);
	uint8_t *seals = wcursor_take(&w, (size_t)count * SEAL_BYTES);
	record_end(r, &w);
	return r->err < 0 ? NULL : seals;
}

void record_page(struct record *r, const struct objref *ref, uint64_t index,
		 const struct seal *seal, const uint8_t *cipher)
{
	struct wcursor w = record_begin(r, REC_PAGE, OBJREF_BYTES + 8 + SEAL_BYTES + WARD_PAGE);

	put_objref(&w, ref);
	wcursor_u64(&w, index);
	wcursor_bytes(&w, seal->b, SEAL_BYTES);
	wcursor_bytes(&w, cipher, WARD_PAGE);
	record_end(r, &w);
}

static void record_range(struct record *r, enum record_tag tag, const struct objref *ref,
			 uint64_t from, uint64_t to)
{
	struct wcursor w = record_begin(r, tag, OBJREF_BYTES + 16);

	put_objref(&w, ref);
	wcursor_u64(&w, from);
	wcursor_u64(&w, to);
	record_end(r, &w);
}

void record_drop(struct record *r, const struct objref *ref, uint64_t from, uint64_t to)
{
	record_range(r, REC_DROP, ref, from, to);
}

void record_settled(struct record *r, const struct objref *ref, uint64_t first, uint64_t to)
{
	record_range(r, REC_SETTLED, ref, first, to);
}

void record_xattr(struct record *r, const struct objref *ref, const uint8_t *set, size_t len)
{
	record_ref_bytes(r, REC_XATTR, ref, set, len);
}

void record_orphan(struct record *r, const struct objref *ref)
{
	record_ref_bytes(r, REC_ORPHAN, ref, NULL, 0);
}

void record_freed(struct record *r, uint64_t number, uint64_t incarnation)
{
	struct wcursor w = record_begin(r, REC_FREED, 16);

	wcursor_u64(&w, number);
	wcursor_u64(&w, incarnation);
	record_end(r, &w);
}

void record_image(struct record *r, uint64_t number, uint64_t incarnation, uint64_t position,
		  const uint8_t *page)
{
	struct wcursor w = record_begin(r, REC_IMAGE, 24 + WARD_PAGE);

	wcursor_u64(&w, number);
	wcursor_u64(&w, incarnation);
	wcursor_u64(&w, position);
	wcursor_bytes(&w, page, WARD_PAGE);
	record_end(r, &w);
}

void record_checkpoint(struct record *r, uint64_t k, uint64_t s, uint64_t generation,
		       uint64_t root_generation, uint32_t images)
{
	struct wcursor w = record_begin(r, REC_CHECKPOINT, 40);

	wcursor_u64(&w, k);
	wcursor_u64(&w, s);
	wcursor_u64(&w, generation);
	wcursor_u64(&w, root_generation);
	wcursor_u32(&w, images);
	wcursor_u32(&w, 0);
	record_end(r, &w);
}

void record_mount(struct record *r, uint32_t mount)
{
	struct wcursor w = record_begin(r, REC_MOUNT, 8);

	wcursor_u32(&w, mount);
	wcursor_u32(&w, 0);
	record_end(r, &w);
}

// The decoders: each reads one body; 0 or a code. Whether the body was read to its end is checked
// behind them.

static int get_id(struct rcursor *c, struct assignment *a)
{
	a->ref.number = rcursor_u64(c);
	a->ref.incarnation = rcursor_u64(c);
	return object_id_check(a->ref.number, a->ref.incarnation);
}

static int get_objref(struct rcursor *c, struct assignment *a)
{
	int rc = get_id(c, a);

	a->ref.base = rcursor_u64(c);
	return rc;
}

static void get_rest(struct rcursor *c, struct assignment *a)
{
	a->len = rcursor_left(c);
	a->bytes = a->len > 0 ? rcursor_take(c, a->len) : NULL;
}

static int get_place(struct rcursor *c, struct assignment *a)
{
	int rc = get_objref(c, a);

	a->page = rcursor_u32(c);
	a->slot = rcursor_u16(c);
	rcursor_zero(c, 2);
	return a->slot < TABLE_SLOTS ? rc : WERR_MALFORMED;
}

static int next_slot(struct rcursor *c, struct assignment *a)
{
	struct entry e;
	int rc = get_place(c, a);

	get_rest(c, a);
	if (rc == 0 && a->len > 0 && entry_decode(a->bytes, a->len, &e) < 0)
		return WERR_MALFORMED;
	return rc;
}

static int next_attr(struct rcursor *c, struct assignment *a)
{
	int rc = get_place(c, a);

	a->number = rcursor_u64(c);
	const uint8_t *attr = rcursor_take(c, ATTR_BYTES);
	if (rc < 0 || attr == NULL || object_id_check(a->number, 1) < 0)
		return WERR_MALFORMED;
	return attr_decode(attr, &a->attr);
}

static int next_object(struct rcursor *c, struct assignment *a)
{
	int rc = get_objref(c, a);

	a->type = rcursor_u16(c);
	a->class_ = rcursor_u16(c);
	a->epoch = rcursor_u32(c);
	a->parent_number = rcursor_u64(c);
	a->parent_incarnation = rcursor_u64(c);
	uint16_t tlv_len = rcursor_u16(c);
	get_rest(c, a);
	if (rc < 0 || a->type < OBJECT_FILE || a->type > OBJECT_BLOCK || a->class_ != CLASS ||
	    a->epoch == 0)
		return WERR_MALFORMED;
	int orphan = a->parent_number == 0 && a->parent_incarnation == 0;
	if (!orphan && object_id_check(a->parent_number, a->parent_incarnation) < 0)
		return WERR_MALFORMED;
	if (a->bytes == NULL || a->len != tlv_len || object_keys_check(a->bytes, a->len) < 0)
		return WERR_MALFORMED;
	return 0;
}

static int next_size(struct rcursor *c, struct assignment *a)
{
	int rc = get_objref(c, a);

	a->size = rcursor_u64(c);
	a->layout = rcursor_u16(c);
	rcursor_zero(c, 6);
	if (a->layout == LAYOUT_INLINE)
		return a->size <= OBJECT_INLINE_AREA ? rc : WERR_MALFORMED;
	return a->layout == LAYOUT_TREE && a->size <= OBJECT_SIZE_MAX ? rc : WERR_MALFORMED;
}

static int next_inline(struct rcursor *c, struct assignment *a)
{
	int rc = get_objref(c, a);

	get_rest(c, a);
	return a->len <= OBJECT_INLINE_AREA ? rc : WERR_MALFORMED;
}

static int next_run(struct rcursor *c, struct assignment *a)
{
	struct seal seal;
	int rc = get_objref(c, a);

	a->from = rcursor_u64(c);
	a->count = rcursor_u32(c);
	a->flags = rcursor_u32(c);
	if (rc < 0 || a->count == 0 || a->flags > RUN_OLD_OK || a->from >= OBJECT_PAGES_MAX ||
	    a->count > OBJECT_PAGES_MAX - a->from)
		return WERR_MALFORMED;
	a->seals = rcursor_take(c, (size_t)a->count * SEAL_BYTES);
	for (size_t i = 0; a->seals != NULL && i < a->count; i++) {
		memcpy(seal.b, a->seals + i * SEAL_BYTES, SEAL_BYTES);
		if (seal_check(&seal) < 0)
			return WERR_MALFORMED;
	}
	return 0;
}

static int next_page(struct rcursor *c, struct assignment *a)
{
	struct seal seal;
	int rc = get_objref(c, a);

	a->from = rcursor_u64(c);
	a->seals = rcursor_take(c, SEAL_BYTES);
	a->bytes = rcursor_take(c, WARD_PAGE);
	a->len = WARD_PAGE;
	if (rc < 0 || a->from >= OBJECT_PAGES_MAX || a->seals == NULL || a->bytes == NULL)
		return WERR_MALFORMED;
	memcpy(seal.b, a->seals, SEAL_BYTES);
	return seal_is_hole(&seal) ? WERR_MALFORMED : seal_check(&seal);
}

static int next_range(struct rcursor *c, struct assignment *a)
{
	int rc = get_objref(c, a);

	a->from = rcursor_u64(c);
	a->to = rcursor_u64(c);
	return a->from < a->to ? rc : WERR_MALFORMED;
}

static int next_xattr(struct rcursor *c, struct assignment *a)
{
	int rc = get_objref(c, a);

	get_rest(c, a);
	return rc < 0 ? rc : xattr_codec_check(a->bytes, a->len);
}

static int next_image(struct rcursor *c, struct assignment *a)
{
	int rc = get_id(c, a);

	a->from = rcursor_u64(c);
	get_rest(c, a);
	return a->from < OBJECT_POSITIONS_MAX && a->len == WARD_PAGE ? rc : WERR_MALFORMED;
}

static int next_checkpoint(struct rcursor *c, struct assignment *a)
{
	a->k = rcursor_u64(c);
	a->s = rcursor_u64(c);
	a->generation = rcursor_u64(c);
	a->root_generation = rcursor_u64(c);
	a->count = rcursor_u32(c);
	rcursor_zero(c, 4);
	return 0;
}

static int next_mount(struct rcursor *c, struct assignment *a)
{
	a->mount = rcursor_u32(c);
	rcursor_zero(c, 4);
	return a->mount >= 1 && a->mount <= MOUNT_NUMBER_MAX ? 0 : WERR_MALFORMED;
}

typedef int (*next_fn)(struct rcursor *c, struct assignment *a);
static const next_fn next_of[] = {
	[REC_SLOT] = next_slot,     [REC_ATTR] = next_attr,
	[REC_OBJECT] = next_object, [REC_SIZE] = next_size,
	[REC_INLINE] = next_inline, [REC_RUN] = next_run,
	[REC_PAGE] = next_page,     [REC_DROP] = next_range,
	[REC_SETTLED] = next_range, [REC_XATTR] = next_xattr,
	[REC_ORPHAN] = get_objref,  [REC_FREED] = get_id,
	[REC_IMAGE] = next_image,   [REC_CHECKPOINT] = next_checkpoint,
	[REC_MOUNT] = next_mount,
};

int record_next(const uint8_t *payload, size_t len, size_t *offset, struct assignment *ret)
{
	struct assignment a;
	struct rcursor c;
	struct rcursor body;

	if (len > RECORD_PAYLOAD_MAX)
		return WERR_LIMIT;
	if (*offset >= len)
		return *offset == len ? 0 : WERR_MALFORMED;
	memset(&a, 0, sizeof(a));
	rcursor_init(&c, payload + *offset, len - *offset);
	uint16_t tag = rcursor_u16(&c);
	rcursor_zero(&c, 2);
	uint32_t body_len = rcursor_u32(&c);
	const uint8_t *start = rcursor_take(&c, body_len);
	int rc = rcursor_finish(&c, 0);
	if (rc < 0)
		return rc;
	if (tag == 0 || tag >= sizeof(next_of) / sizeof(next_of[0]))
		return WERR_MALFORMED;
	rcursor_init(&body, start, body_len);
	a.tag = (enum record_tag)tag;
	rc = next_of[tag](&body, &a);
	int whole = rcursor_finish(&body, 1);
	if (rc < 0 || whole < 0)
		return whole == WERR_TRUNCATED ? WERR_TRUNCATED : WERR_MALFORMED;
	*ret = a;
	*offset = len - rcursor_left(&c);
	return 1;
}
