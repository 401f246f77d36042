// SPDX-License-Identifier: Apache-2.0
// The payload of a journal record: the builders make the same bytes of every assignment that
// decodes.
#include "crypto/record.h"
#include "tests/fuzz/fuzz.h"

static void build_object(struct record *r, const struct assignment *a)
{
	struct seal seal;
	uint8_t *seals;

	switch (a->tag) {
	case REC_OBJECT:
		record_object(r, &a->ref, a->type, a->class_, a->epoch, a->parent_number,
			      a->parent_incarnation, a->bytes, a->len);
		break;
	case REC_SIZE:
		record_size(r, &a->ref, a->size, a->layout);
		break;
	case REC_INLINE:
		record_inline(r, &a->ref, a->bytes, a->len);
		break;
	case REC_RUN:
		seals = record_run(r, &a->ref, a->from, a->count, a->flags);
		FUZZ_NEED(seals != NULL);
		memcpy(seals, a->seals, (size_t)a->count * SEAL_BYTES);
		break;
	case REC_PAGE:
		memcpy(seal.b, a->seals, SEAL_BYTES);
		record_page(r, &a->ref, a->from, &seal, a->bytes);
		break;
	case REC_DROP:
		record_drop(r, &a->ref, a->from, a->to);
		break;
	case REC_SETTLED:
		record_settled(r, &a->ref, a->from, a->to);
		break;
	case REC_XATTR:
		record_xattr(r, &a->ref, a->bytes, a->len);
		break;
	default:
		FUZZ_NEED(a->tag == REC_XATTR);
	}
}

static void build(struct record *r, const struct assignment *a)
{
	switch (a->tag) {
	case REC_SLOT:
		record_slot(r, &a->ref, a->page, a->slot, a->bytes, a->len);
		break;
	case REC_ATTR:
		record_attr(r, &a->ref, a->page, a->slot, a->number, &a->attr);
		break;
	case REC_ORPHAN:
		record_orphan(r, &a->ref);
		break;
	case REC_FREED:
		record_freed(r, a->ref.number, a->ref.incarnation);
		break;
	case REC_IMAGE:
		record_image(r, a->ref.number, a->ref.incarnation, a->from, a->bytes);
		break;
	case REC_CHECKPOINT:
		record_checkpoint(r, a->k, a->s, a->generation, a->root_generation, a->count);
		break;
	case REC_MOUNT:
		record_mount(r, a->mount);
		break;
	default:
		build_object(r, a);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct record r;
	struct assignment a;
	size_t offset = 0;
	size_t before = 0;
	int rc;

	record_reset(&r);
	while ((rc = record_next(data, size, &offset, &a)) == 1) {
		FUZZ_NEED(offset > before && offset <= size);
		before = offset;
		build(&r, &a);
		FUZZ_NEED(r.err == 0 && r.len == offset);
	}
	FUZZ_NEED(offset == before && (rc < 0 || offset == size));
	FUZZ_NEED(offset == 0 || memcmp(r.buf, data, offset) == 0);
	return 0;
}
