// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "crypto/record.h"
#include "tests/unit/fixture.h"
#include "tests/unit/unit_main.h"

static const struct objref ref = {0x123456789abcdef0, 0xfedcba9876543210, 0x0700000000000001};
static struct record r;
static uint8_t entry[ENTRY_BYTES_MAX];
static size_t entry_len;
static uint8_t tlv[OBJECT_KEYS_TLV_MAX];
static size_t tlv_len;
static uint8_t page[WARD_PAGE];
static struct seal seal;
#define XATTRS (const uint8_t *)"\x01\0\x02\0axy"
#define XATTRS_LEN 7

static void setup(void)
{
	struct entry e = fixture_entry("name");

	record_init(&r);
	ck_assert_int_eq(entry_encode(&e, entry, sizeof(entry), &entry_len), 0);
	tlv_len = fixture_tlv(tlv, 2);
	fixture_count(page, sizeof(page), 5);
	seal = fixture_seal(3, 1);
}

static void teardown(void)
{
	record_free(&r);
}

// Exactly one assignment of each kind, in the order of the tags.
static void build_all(void)
{
	struct ward_attr attr = fixture_attr();

	record_slot(&r, &ref, 5, 59, entry, entry_len);
	record_attr(&r, &ref, 6, 58, 0x77, &attr);
	record_object(&r, &ref, OBJECT_FILE, 1, 2, 1, 0x99, tlv, tlv_len);
	record_size(&r, &ref, 1ull << 33, LAYOUT_TREE);
	record_inline(&r, &ref, (const uint8_t *)"content", 7);
	uint8_t *seals = record_run(&r, &ref, 90, 2, RUN_OLD_OK);
	ck_assert_ptr_nonnull(seals);
	memcpy(seals, seal.b, SEAL_BYTES);
	memset(seals + SEAL_BYTES, 0, SEAL_BYTES);
	record_page(&r, &ref, 91, &seal, page);
	record_drop(&r, &ref, 7, UINT64_MAX);
	record_settled(&r, &ref, 8, 9);
	record_xattr(&r, &ref, XATTRS, XATTRS_LEN);
	record_orphan(&r, &ref);
	record_freed(&r, ref.number, ref.incarnation);
	record_image(&r, ref.number, ref.incarnation, 226, page);
	record_checkpoint(&r, 1, 2, 3, 4, 5);
	record_mount(&r, 7);
	ck_assert_int_eq(r.err, 0);
}

static struct assignment next(size_t *offset, enum record_tag tag)
{
	struct assignment a;

	ck_assert_int_eq(record_next(r.buf, r.len, offset, &a), 1);
	ck_assert_uint_eq(a.tag, tag);
	return a;
}

static void check_ref(const struct assignment *a, uint64_t base)
{
	ck_assert_uint_eq(a->ref.number, ref.number);
	ck_assert_uint_eq(a->ref.incarnation, ref.incarnation);
	ck_assert_uint_eq(a->ref.base, base);
}

static void check_names(size_t *offset)
{
	struct assignment a = next(offset, REC_SLOT);

	check_ref(&a, ref.base);
	ck_assert_uint_eq(a.page, 5);
	ck_assert_uint_eq(a.slot, 59);
	ck_assert_uint_eq(a.len, entry_len);
	ck_assert_mem_eq(a.bytes, entry, entry_len);
	a = next(offset, REC_ATTR);
	check_ref(&a, ref.base);
	ck_assert_uint_eq(a.page, 6);
	ck_assert_uint_eq(a.slot, 58);
	ck_assert_uint_eq(a.number, 0x77);
	ck_assert_uint_eq(a.attr.size, 12345);
	ck_assert_uint_eq(a.attr.btime.ns, 4);
	a = next(offset, REC_OBJECT);
	check_ref(&a, ref.base);
	ck_assert_uint_eq(a.type, OBJECT_FILE);
	ck_assert_uint_eq(a.class_, 1);
	ck_assert_uint_eq(a.epoch, 2);
	ck_assert_uint_eq(a.parent_number, 1);
	ck_assert_uint_eq(a.parent_incarnation, 0x99);
	ck_assert_uint_eq(a.len, tlv_len);
	ck_assert_mem_eq(a.bytes, tlv, tlv_len);
}

static void check_content(size_t *offset)
{
	struct assignment a = next(offset, REC_SIZE);

	ck_assert_uint_eq(a.size, 1ull << 33);
	ck_assert_uint_eq(a.layout, LAYOUT_TREE);
	a = next(offset, REC_INLINE);
	ck_assert_uint_eq(a.len, 7);
	ck_assert_mem_eq(a.bytes, "content", 7);
	a = next(offset, REC_RUN);
	check_ref(&a, ref.base);
	ck_assert_uint_eq(a.from, 90);
	ck_assert_uint_eq(a.count, 2);
	ck_assert_uint_eq(a.flags, RUN_OLD_OK);
	ck_assert_mem_eq(a.seals, seal.b, SEAL_BYTES);
	a = next(offset, REC_PAGE);
	ck_assert_uint_eq(a.from, 91);
	ck_assert_mem_eq(a.seals, seal.b, SEAL_BYTES);
	ck_assert_uint_eq(a.len, WARD_PAGE);
	ck_assert_mem_eq(a.bytes, page, WARD_PAGE);
	a = next(offset, REC_DROP);
	ck_assert_uint_eq(a.from, 7);
	ck_assert_uint_eq(a.to, UINT64_MAX);
	a = next(offset, REC_SETTLED);
	ck_assert_uint_eq(a.from, 8);
	ck_assert_uint_eq(a.to, 9);
	a = next(offset, REC_XATTR);
	ck_assert_uint_eq(a.len, XATTRS_LEN);
	ck_assert_mem_eq(a.bytes, XATTRS, XATTRS_LEN);
}

static void check_lifetimes(size_t *offset)
{
	struct assignment a = next(offset, REC_ORPHAN);

	check_ref(&a, ref.base);
	a = next(offset, REC_FREED);
	check_ref(&a, 0);
	a = next(offset, REC_IMAGE);
	check_ref(&a, 0);
	ck_assert_uint_eq(a.from, 226);
	ck_assert_uint_eq(a.len, WARD_PAGE);
	ck_assert_mem_eq(a.bytes, page, WARD_PAGE);
	a = next(offset, REC_CHECKPOINT);
	ck_assert_uint_eq(a.k, 1);
	ck_assert_uint_eq(a.s, 2);
	ck_assert_uint_eq(a.generation, 3);
	ck_assert_uint_eq(a.root_generation, 4);
	ck_assert_uint_eq(a.count, 5);
	a = next(offset, REC_MOUNT);
	ck_assert_uint_eq(a.mount, 7);
}

START_TEST(round_trip)
{
	struct assignment a;
	size_t offset = 0;

	build_all();
	check_names(&offset);
	check_content(&offset);
	check_lifetimes(&offset);
	ck_assert_int_eq(record_next(r.buf, r.len, &offset, &a), 0);
	ck_assert_int_eq(record_next(NULL, 0, &(size_t){0}, &a), 0);
}
END_TEST

START_TEST(empty_forms)
{
	size_t offset = 0;

	record_slot(&r, &ref, 0, 0, NULL, 0);
	record_inline(&r, &ref, NULL, 0);
	record_xattr(&r, &ref, NULL, 0);
	record_object(&r, &ref, OBJECT_FILE, 1, 1, 0, 0, tlv, tlv_len);
	for (enum record_tag tag = REC_SLOT; tag != REC_OBJECT;) {
		struct assignment a = next(&offset, tag);
		ck_assert_uint_eq(a.len, 0);
		ck_assert_ptr_null(a.bytes);
		tag = tag == REC_SLOT ? REC_INLINE : tag == REC_INLINE ? REC_XATTR : REC_OBJECT;
	}
	struct assignment a = next(&offset, REC_OBJECT);
	ck_assert_uint_eq(a.parent_number, 0);
}
END_TEST

START_TEST(layout)
{
	record_mount(&r, 0x010203);
	record_size(&r, &ref, 9, LAYOUT_INLINE);
	ck_assert_uint_eq(r.len, 16 + 48);
	ck_assert_mem_eq(r.buf, "\x0f\0\0\0\x08\0\0\0\x03\x02\x01\0\0\0\0\0", 16);
	ck_assert_mem_eq(r.buf + 16, "\x04\0\0\0\x28\0\0\0", 8);
	ck_assert_mem_eq(r.buf + 24, "\xf0\xde\xbc\x9a\x78\x56\x34\x12", 8);
	ck_assert_mem_eq(r.buf + 32, "\x10\x32\x54\x76\x98\xba\xdc\xfe", 8);
	ck_assert_mem_eq(r.buf + 40, "\x01\0\0\0\0\0\0\x07\x09\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24);
	record_reset(&r);
	record_run(&r, &ref, 0x0102, 1, RUN_OLD_OK);
	ck_assert_mem_eq(r.buf, "\x06\0\0\0\x48\0\0\0", 8);
	ck_assert_mem_eq(r.buf + 32, "\x02\x01\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0", 16);
	record_reset(&r);
	record_object(&r, &ref, 2, 1, 3, 4, 5, tlv, tlv_len);
	ck_assert_mem_eq(r.buf, "\x03\0\0\0\xd6\0\0\0", 8);
	ck_assert_mem_eq(r.buf + 32, "\x02\0\x01\0\x03\0\0\0\x04\0\0\0\0\0\0\0", 16);
	ck_assert_mem_eq(r.buf + 48, "\x05\0\0\0\0\0\0\0\xa4\0\x01\0\x30\0", 14);
}
END_TEST

// Every prefix of the payload is whole assignments, or refused.
START_TEST(every_prefix)
{
	struct assignment a;
	size_t whole = 0;

	build_all();
	for (size_t len = 0; len < r.len; len += len % 97 == 0 ? 1 : 3) {
		// An exact copy, so that a read behind its end shows under a sanitizer.
		uint8_t *copy = malloc(len + 1);
		ck_assert_ptr_nonnull(copy);
		memcpy(copy, r.buf, len);
		size_t offset = 0;
		int rc;
		while ((rc = record_next(copy, len, &offset, &a)) == 1)
			whole++;
		ck_assert(rc == 0 ? offset == len : rc == WERR_TRUNCATED && offset < len);
		free(copy);
	}
	ck_assert_uint_gt(whole, 0);
}
END_TEST

// One assignment, one changed byte (offset within the assignment; 8 is the body's first).
enum build {
	B_SLOT,
	B_ATTR,
	B_OBJECT,
	B_SIZE,
	B_INLINE,
	B_RUN,
	B_PAGE,
	B_DROP,
	B_XATTR,
	B_ORPHAN,
	B_FREED,
	B_IMAGE,
	B_CHECKPOINT,
	B_MOUNT,
};

static void build(enum build what)
{
	struct ward_attr attr = fixture_attr();
	uint8_t *seals;

	switch (what) {
	case B_SLOT:
		record_slot(&r, &ref, 5, 59, entry, entry_len);
		break;
	case B_ATTR:
		record_attr(&r, &ref, 6, 58, 0x77, &attr);
		break;
	case B_OBJECT:
		record_object(&r, &ref, OBJECT_FILE, 1, 2, 0x55, 0x99, tlv, tlv_len);
		break;
	case B_SIZE:
		record_size(&r, &ref, 200, LAYOUT_INLINE);
		break;
	case B_INLINE:
		record_inline(&r, &ref, page, OBJECT_INLINE_AREA);
		break;
	case B_RUN:
		seals = record_run(&r, &ref, 0, 2, RUN_FINAL);
		memcpy(seals, seal.b, SEAL_BYTES);
		memcpy(seals + SEAL_BYTES, seal.b, SEAL_BYTES);
		break;
	case B_PAGE:
		record_page(&r, &ref, 0, &seal, page);
		break;
	case B_DROP:
		record_drop(&r, &ref, 5, 6);
		break;
	case B_XATTR:
		record_xattr(&r, &ref, XATTRS, XATTRS_LEN);
		break;
	case B_ORPHAN:
		record_orphan(&r, &ref);
		break;
	case B_FREED:
		record_freed(&r, ref.number, ref.incarnation);
		break;
	case B_IMAGE:
		record_image(&r, ref.number, ref.incarnation, 0, page);
		break;
	case B_CHECKPOINT:
		record_checkpoint(&r, 1, 2, 3, 4, 5);
		break;
	case B_MOUNT:
		record_mount(&r, 7);
		break;
	}
	ck_assert_int_eq(r.err, 0);
}

static const struct {
	const char *what;
	enum build build;
	size_t at;
	uint8_t value;
} bad[] = {
	{"tag 0", B_MOUNT, 0, 0},
	{"tag 16", B_MOUNT, 0, 16},
	{"tag 271", B_MOUNT, 1, 1},
	{"another tag", B_MOUNT, 0, 14},
	{"reserved", B_MOUNT, 2, 1},
	{"body shorter", B_MOUNT, 4, 7},
	{"body longer", B_MOUNT, 4, 9},
	{"body much longer", B_MOUNT, 7, 0xff},
	{"slot of number with the top bit", B_SLOT, 15, 0x92},
	{"slot 60", B_SLOT, 36, 60},
	{"slot 315", B_SLOT, 37, 1},
	{"slot reserved", B_SLOT, 38, 1},
	{"slot entry length", B_SLOT, 40, 1},
	{"slot entry reserved", B_SLOT, 45, 1},
	{"slot entry cut", B_SLOT, 4, 171},
	{"attr slot", B_ATTR, 36, 60},
	{"attr of object 0", B_ATTR, 40, 0},
	{"attr mode", B_ATTR, 50, 1},
	{"attr flags", B_ATTR, 143, 1},
	{"object type 0", B_OBJECT, 32, 0},
	{"object type 8", B_OBJECT, 32, 8},
	{"object class", B_OBJECT, 34, 2},
	{"object epoch 0", B_OBJECT, 36, 0},
	{"object half a parent", B_OBJECT, 40, 0},
	{"object other half a parent", B_OBJECT, 48, 0},
	{"object keys length", B_OBJECT, 56, 0xa3},
	{"object keys kind", B_OBJECT, 58, 2},
	{"object later key kind", B_OBJECT, 58 + 52, 3},
	{"size beyond inline", B_SIZE, 33, 0x0d},
	{"layout 2", B_SIZE, 40, 2},
	{"size reserved", B_SIZE, 42, 1},
	{"size reserved, end", B_SIZE, 47, 1},
	{"inline too long", B_INLINE, 4, 0xb9},
	{"run beyond the tree", B_RUN, 36, 9},
	{"run far beyond", B_RUN, 39, 0x80},
	{"run of none", B_RUN, 40, 0},
	{"run of one, two seals", B_RUN, 40, 1},
	{"run of three, two seals", B_RUN, 40, 3},
	{"run of many", B_RUN, 43, 0xff},
	{"run flags", B_RUN, 44, 2},
	{"run seal generation", B_RUN, 48 + 28, 0},
	{"run second seal's flags", B_RUN, 48 + 63, 1},
	{"page beyond the tree", B_PAGE, 36, 9},
	{"page seal flags", B_PAGE, 40 + 30, 1},
	{"page cut", B_PAGE, 5, 0x0f},
	{"drop of nothing", B_DROP, 40, 5},
	{"drop backwards", B_DROP, 40, 4},
	{"xattr set", B_XATTR, 33, 1},
	{"orphan 0", B_ORPHAN, 15, 0x80},
	{"orphan shorter", B_ORPHAN, 4, 23},
	{"freed incarnation", B_FREED, 15, 0x80},
	{"image far beyond", B_IMAGE, 28, 9},
	{"image cut", B_IMAGE, 5, 0x0f},
	{"checkpoint reserved", B_CHECKPOINT, 44, 1},
	{"mount 0", B_MOUNT, 8, 0},
	{"mount beyond 24 bits", B_MOUNT, 11, 1},
	{"mount reserved", B_MOUNT, 12, 1},
};

START_TEST(refusals)
{
	struct assignment a = {.mount = 4711};
	size_t offset = 0;

	build(bad[_i].build);
	// A second assignment, so that a length too large does not end at the payload's end.
	record_mount(&r, 1);
	ck_assert_uint_lt(bad[_i].at, r.len);
	r.buf[bad[_i].at] = bad[_i].value;
	int rc = record_next(r.buf, r.len, &offset, &a);
	ck_assert_msg(rc == WERR_MALFORMED || rc == WERR_TRUNCATED, "%s: %d", bad[_i].what, rc);
	ck_assert_uint_eq(offset, 0);
	ck_assert_uint_eq(a.mount, 4711);
}
END_TEST

// Zero in a field of eight bytes.
static const struct {
	const char *what;
	enum build build;
	size_t at;
} zero_ids[] = {
	{"number", B_SLOT, 8},  {"incarnation", B_ORPHAN, 16}, {"freed", B_FREED, 8},
	{"image", B_IMAGE, 16}, {"size", B_SIZE, 8},           {"page", B_PAGE, 16},
};

START_TEST(refuses_zero_ids)
{
	struct assignment a;
	size_t offset = 0;

	build(zero_ids[_i].build);
	memset(r.buf + zero_ids[_i].at, 0, 8);
	ck_assert_msg(record_next(r.buf, r.len, &offset, &a) == WERR_MALFORMED, "%s",
		      zero_ids[_i].what);
}
END_TEST

START_TEST(index_limits)
{
	struct assignment a;
	size_t offset = 0;

	record_run(&r, &ref, OBJECT_PAGES_MAX - 1, 1, RUN_FINAL);
	memset(r.buf + 48, 0, SEAL_BYTES);
	record_image(&r, 1, 1, OBJECT_POSITIONS_MAX - 1, page);
	size_t good = r.len;
	record_run(&r, &ref, OBJECT_PAGES_MAX - 1, 2, RUN_FINAL);
	memset(r.buf + good + 48, 0, 2 * SEAL_BYTES);
	size_t image = r.len;
	record_image(&r, 1, 1, OBJECT_POSITIONS_MAX, page);
	size_t hole = r.len;
	record_page(&r, &ref, 0, &(struct seal){{0}}, page);
	ck_assert_int_eq(record_next(r.buf, r.len, &offset, &a), 1);
	ck_assert_int_eq(record_next(r.buf, r.len, &offset, &a), 1);
	ck_assert_int_eq(record_next(r.buf, r.len, &offset, &a), WERR_MALFORMED);
	ck_assert_int_eq(record_next(r.buf, r.len, &image, &a), WERR_MALFORMED);
	ck_assert_int_eq(record_next(r.buf, r.len, &hole, &a), WERR_MALFORMED);
}
END_TEST

// The builder grows up to the limit, keeps what it has when it is full, and is usable again after a
// reset.
START_TEST(growth)
{
	struct assignment a;
	size_t offset = 0;
	size_t n = 0;
	size_t before;

	do {
		before = r.len;
		record_image(&r, ref.number, ref.incarnation, n++ % 1000, page);
	} while (r.err == 0);
	ck_assert_int_eq(r.err, WERR_LIMIT);
	ck_assert_uint_eq(r.len, before);
	ck_assert_uint_eq(n - 1, RECORD_PAYLOAD_MAX / (8 + 24 + WARD_PAGE));
	record_mount(&r, 1);
	ck_assert_ptr_null(record_run(&r, &ref, 0, 1, 0));
	ck_assert_uint_eq(r.len, before);
	size_t found = 0;
	while (record_next(r.buf, r.len, &offset, &a) == 1)
		ck_assert_uint_eq(a.from, found++ % 1000);
	ck_assert_uint_eq(found, n - 1);
	ck_assert_uint_eq(offset, r.len);
	record_reset(&r);
	ck_assert_int_eq(r.err, 0);
	ck_assert_ptr_null(record_run(&r, &ref, 0, UINT32_MAX, 0));
	ck_assert_int_eq(r.err, WERR_LIMIT);
	record_reset(&r);
	record_mount(&r, 1);
	ck_assert_int_eq(r.err, 0);
	ck_assert_uint_eq(r.len, 16);
	ck_assert_int_eq(record_next(r.buf, RECORD_PAYLOAD_MAX + 1, &offset, &a), WERR_LIMIT);
	offset = r.len + 1;
	ck_assert_int_eq(record_next(r.buf, r.len, &offset, &a), WERR_MALFORMED);
}
END_TEST

// Names and contents do not stay behind in a buffer that is used again.
START_TEST(reset_wipes)
{
	record_inline(&r, &ref, (const uint8_t *)"plaintext", 9);
	const uint8_t *at = r.buf;
	size_t len = r.len;

	record_reset(&r);
	ck_assert_ptr_eq(r.buf, at);
	for (size_t i = 0; i < len; i++)
		ck_assert_uint_eq(at[i], 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("record");
	TCase *tc = tcase_create("record");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, round_trip);
	tcase_add_test(tc, empty_forms);
	tcase_add_test(tc, layout);
	tcase_add_test(tc, every_prefix);
	tcase_add_loop_test(tc, refusals, 0, sizeof(bad) / sizeof(bad[0]));
	tcase_add_loop_test(tc, refuses_zero_ids, 0, sizeof(zero_ids) / sizeof(zero_ids[0]));
	tcase_add_test(tc, index_limits);
	tcase_add_test(tc, growth);
	tcase_add_test(tc, reset_wipes);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
