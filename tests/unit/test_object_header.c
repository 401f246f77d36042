// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "crypto/object_header_body.h"
#include "crypto/secret.h"
#include "tests/unit/fixture.h"
#include "tests/unit/unit_main.h"

static struct keyring *ring;
static struct object_keys *keys;
static struct object_id id;
static uint8_t nonce[GCM_NONCE_BYTES];
static struct object_header h;
static struct object_header out;
static uint8_t page[WARD_PAGE];
static uint8_t body[OBJECT_BODY_BYTES];
static uint8_t again[OBJECT_BODY_BYTES];

// An inline file with a name, two bytes of attributes missing and 20 bytes of content.
static void sample_inline(void)
{
	static const char xattrs[] = "\x01\0\x02\0axy";

	memset(&h, 0, sizeof(h));
	h.type = OBJECT_FILE;
	h.layout = LAYOUT_INLINE;
	h.generation = (uint64_t)7 << 40 | 3;
	h.size = 20;
	h.parent_number = 1;
	h.parent_incarnation = 0x1122334455667788;
	h.data_seals = 5;
	h.header_seals = 6;
	h.name_len = 4;
	memcpy(h.name, "name", 4);
	h.xattr_len = sizeof(xattrs) - 1;
	memcpy(h.xattr_inline, xattrs, h.xattr_len);
	fixture_count(h.inline_data, 20, 'A');
}

// A tree of 81 pages with xattrs in two pages.
static void sample_tree(void)
{
	sample_inline();
	memset(h.inline_data, 0, sizeof(h.inline_data));
	memset(h.xattr_inline, 0, sizeof(h.xattr_inline));
	h.layout = LAYOUT_TREE;
	h.size = 81 * WARD_PAGE - 7;
	for (size_t i = 0; i < OBJECT_DIRECT; i++)
		h.direct[i] = fixture_seal((uint8_t)i, 1);
	h.roots[0] = fixture_seal(200, 2);
	h.xattr_layout = 1;
	h.xattr_len = 4097;
	h.xattr_seals[0] = fixture_seal(50, 1);
	h.xattr_seals[1] = fixture_seal(51, 1);
}

static void setup(void)
{
	ring = fixture_keyring();
	id = fixture_id(OBJECT_FILE);
	ck_assert_int_eq(object_keys_new(ring, &id, &keys), 0);
	fixture_count(nonce, sizeof(nonce), 0x70);
	sample_inline();
}

static void teardown(void)
{
	object_keys_free(keys);
	keyring_free(ring);
}

static void seal_sample(void)
{
	ck_assert_int_eq(object_header_seal(&h, &id, keys, nonce, page), 0);
}

START_TEST(round_trip)
{
	struct object_id got;
	const uint8_t *tlv;
	const uint8_t *own;
	size_t tlv_len;
	size_t own_len;

	if (_i == 1)
		sample_tree();
	seal_sample();
	ck_assert_int_eq(object_header_prefix(page, &got, &tlv, &tlv_len), 0);
	ck_assert_uint_eq(got.number, id.number);
	ck_assert_uint_eq(got.incarnation, id.incarnation);
	ck_assert_uint_eq(got.epoch, 2);
	ck_assert_uint_eq(got.class_, 1);
	own = object_keys_tlv(keys, &own_len);
	ck_assert_uint_eq(own_len, tlv_len);
	ck_assert_mem_eq(own, tlv, tlv_len);
	memset(&out, 0xaa, sizeof(out));
	ck_assert_int_eq(object_header_open(page, keys, &out), 0);
	ck_assert_mem_eq(&out, &h, sizeof(h));
}
END_TEST

START_TEST(layout_inline)
{
	ck_assert_int_eq(object_header_body_encode(&h, body), 0);
	ck_assert_mem_eq(body, "\x01\0\0\0\x07\0\0\0\x03\0\0\0\0\x07\0\0\x14\0\0\0\0\0\0\0", 24);
	ck_assert_mem_eq(body + 24, "\x01\0\0\0\0\0\0\0\x88\x77\x66\x55\x44\x33\x22\x11", 16);
	ck_assert_mem_eq(body + 40, "\0\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0", 24);
	ck_assert_mem_eq(body + 96, "\x04name\0", 6);
	ck_assert_mem_eq(body + 352, "\x01\0\x02\0axyABCDEFGHIJKLMNOPQRST\0", 28);
}
END_TEST

START_TEST(layout_tree)
{
	sample_tree();
	ck_assert_int_eq(object_header_body_encode(&h, body), 0);
	ck_assert_mem_eq(body, "\x01\0\x01\0\0\x02\x01\0", 8);
	ck_assert_mem_eq(body + 40, "\x01\x10\0\0\0\0\0\0", 8);
	ck_assert_mem_eq(body + 352, h.xattr_seals[0].b, 32);
	ck_assert_mem_eq(body + 384, h.xattr_seals[1].b, 32);
	ck_assert_mem_eq(body + 864, h.direct[0].b, 32);
	ck_assert_mem_eq(body + 864 + 79 * 32, h.direct[79].b, 32);
	ck_assert_mem_eq(body + 864 + 80 * 32, h.roots[0].b, 32);
}
END_TEST

START_TEST(layout_prefix)
{
	uint8_t plain[OBJECT_BODY_BYTES];
	size_t len;

	seal_sample();
	ck_assert_mem_eq(page, "WARDOBJ\x01\x01\0\x01\0\x02\0\0\0", 16);
	ck_assert_mem_eq(page + 16, "\xf0\xde\xbc\x9a\x78\x56\x34\x12", 8);
	ck_assert_mem_eq(page + 24, "\x10\x32\x54\x76\x98\xba\xdc\xfe", 8);
	ck_assert_mem_eq(page + 32, "\x6c\0\0\0\0\0\0\0", 8);
	ck_assert_mem_eq(page + 40, object_keys_tlv(keys, &len), 108);
	ck_assert_mem_eq(page + 484, nonce, 12);
	ck_assert_int_eq(gcm_open(object_keys_header(keys), nonce, page, 484, page + 512, 3584,
				  plain, page + 496),
			 0);
	ck_assert_int_eq(object_header_body_encode(&h, body), 0);
	ck_assert_mem_eq(plain, body, sizeof(body));
}
END_TEST

// Every byte of the page counts, and a refusal leaves the output alone.
START_TEST(changed_bytes)
{
	out.size = 4711;
	seal_sample();
	for (size_t at = 0; at < WARD_PAGE; at++) {
		page[at] ^= 0x04;
		int rc = object_header_open(page, keys, &out);
		ck_assert_msg(rc == WERR_AUTH || rc == WERR_MALFORMED || rc == WERR_UNSUPPORTED,
			      "byte %zu: %d", at, rc);
		if (at >= 484)
			ck_assert_int_eq(rc, WERR_AUTH);
		page[at] ^= 0x04;
	}
	ck_assert_uint_eq(out.size, 4711);
	ck_assert_int_eq(object_header_open(page, keys, &out), 0);
}
END_TEST

START_TEST(other_keys)
{
	struct object_keys *other = NULL;

	seal_sample();
	ck_assert_int_eq(object_keys_new(ring, &id, &other), 0);
	ck_assert_int_eq(object_header_open(page, other, &out), WERR_AUTH);
	object_keys_free(other);
}
END_TEST

static const struct {
	const char *what;
	size_t at;
	uint8_t value;
	int rc;
} bad_prefixes[] = {
	{"magic", 0, 'w', WERR_MALFORMED},
	{"magic version", 7, 2, WERR_MALFORMED},
	{"suite", 8, 2, WERR_UNSUPPORTED},
	{"class 0", 10, 0, WERR_UNSUPPORTED},
	{"class 2", 10, 2, WERR_UNSUPPORTED},
	{"epoch 0", 12, 0, WERR_MALFORMED},
	{"number with the top bit", 23, 0x80, WERR_MALFORMED},
	{"keys_len too small", 32, 0x6b, WERR_MALFORMED},
	{"keys_len too large", 32, 0x6d, WERR_MALFORMED},
	{"keys_len beyond the area", 33, 2, WERR_MALFORMED},
	{"keys_len without data key", 32, 52, WERR_MALFORMED},
	{"reserved", 34, 1, WERR_MALFORMED},
	{"reserved, end", 39, 1, WERR_MALFORMED},
	{"key kind", 92, 7, WERR_UNSUPPORTED},
	{"behind the keys", 148, 1, WERR_MALFORMED},
	{"end of the area", 483, 1, WERR_MALFORMED},
};

START_TEST(prefix_refusals)
{
	struct object_id got = {.number = 4711};
	const uint8_t *tlv = NULL;
	size_t len = 4711;

	seal_sample();
	page[bad_prefixes[_i].at] = bad_prefixes[_i].value;
	ck_assert_msg(object_header_prefix(page, &got, &tlv, &len) == bad_prefixes[_i].rc, "%s",
		      bad_prefixes[_i].what);
	ck_assert_int_eq(object_header_open(page, keys, &out), bad_prefixes[_i].rc);
	ck_assert_uint_eq(got.number, 4711);
	ck_assert_ptr_null(tlv);
	ck_assert_uint_eq(len, 4711);
}
END_TEST

START_TEST(prefix_zero_ids)
{
	struct object_id got;
	const uint8_t *tlv;
	size_t len;

	seal_sample();
	memset(page + (_i == 0 ? 16 : 24), 0, 8);
	ck_assert_int_eq(object_header_prefix(page, &got, &tlv, &len), WERR_MALFORMED);
}
END_TEST

// Changes to the encoded body of a sample: 0 inline, 1 tree.
static const struct {
	const char *what;
	int sample;
	size_t at;
	uint8_t value;
} bad_bodies[] = {
	{"type 0", 0, 0, 0},
	{"type 8", 0, 0, 8},
	{"a directory inline", 0, 0, 2},
	{"a FIFO with content", 0, 0, 4},
	{"layout 2", 0, 2, 2},
	{"xattr layout 2", 0, 6, 2},
	{"xattrs cut", 0, 4, 6},
	{"xattrs too long", 0, 4, 8},
	{"xattrs beyond the area", 0, 5, 2},
	{"size beyond the area", 0, 17, 0x0d},
	{"size beyond 32 bits", 0, 20, 1},
	{"content behind the size", 0, 16, 19},
	{"parent 0", 0, 24, 0},
	{"parent with the top bit", 0, 31, 0x80},
	{"xattr page bytes without pages", 0, 40, 1},
	{"reserved word", 0, 44, 1},
	{"reserved", 0, 64, 1},
	{"reserved, end", 0, 95, 1},
	{"no name", 0, 96, 0},
	{"name shorter", 0, 96, 3},
	{"NUL in name", 0, 96, 5},
	{"slash in name", 0, 97, '/'},
	{"behind the name", 0, 351, 1},
	{"last byte", 0, 3583, 1},
	{"a directory of broken pages", 1, 0, 2},
	{"a symlink too long", 1, 0, 3},
	{"a device with pages", 1, 0, 6},
	{"xattr area length in pages", 1, 5, 1},
	{"xattr bytes that would be inline", 1, 41, 0x02},
	{"xattr bytes beyond 65536", 1, 42, 0x01},
	{"xattr bytes of one page", 1, 40, 0x00},
	{"xattr bytes of three pages", 1, 41, 0x20},
	{"xattr seal flags", 1, 382, 1},
	{"size beyond the tree", 1, 22, 0x82},
	{"seal flags", 1, 864 + 30, 1},
	{"seal generation 0", 1, 864 + 28, 0},
	{"root seal flags", 1, 864 + 84 * 32 + 31, 1},
	{"root seal generation 0", 1, 864 + 84 * 32, 1},
};

START_TEST(body_refusals)
{
	if (bad_bodies[_i].sample == 1)
		sample_tree();
	ck_assert_int_eq(object_header_body_encode(&h, body), 0);
	ck_assert_int_eq(object_header_body_decode(body, &out), 0);
	body[bad_bodies[_i].at] = bad_bodies[_i].value;
	out.size = 4711;
	ck_assert_msg(object_header_body_decode(body, &out) == WERR_MALFORMED, "%s",
		      bad_bodies[_i].what);
	ck_assert_uint_eq(out.size, 4711);
}
END_TEST

// In a tree, the bytes between inline xattrs and the seals are zero.
START_TEST(gap_is_zero)
{
	sample_tree();
	h.xattr_layout = 0;
	h.xattr_len = 0;
	ck_assert_int_eq(object_header_body_encode(&h, body), 0);
	ck_assert_int_eq(object_header_body_decode(body, &out), 0);
	body[352] = 1;
	ck_assert_int_eq(object_header_body_decode(body, &out), WERR_MALFORMED);
	body[352] = 0;
	body[863] = 1;
	ck_assert_int_eq(object_header_body_decode(body, &out), WERR_MALFORMED);
}
END_TEST

// Members that the layout does not use do not reach the page.
START_TEST(unused_members)
{
	ck_assert_int_eq(object_header_body_encode(&h, body), 0);
	memset(h.direct, 0xaa, sizeof(h.direct));
	memset(h.roots, 0xaa, sizeof(h.roots));
	memset(h.xattr_seals, 0xaa, sizeof(h.xattr_seals));
	memset(h.xattr_inline + h.xattr_len, 0xaa, sizeof(h.xattr_inline) - h.xattr_len);
	memset(h.inline_data + h.size, 0xaa, sizeof(h.inline_data) - h.size);
	memset(h.name + h.name_len, 0xaa, sizeof(h.name) - h.name_len);
	ck_assert_int_eq(object_header_body_encode(&h, again), 0);
	ck_assert_mem_eq(body, again, sizeof(body));
}
END_TEST

START_TEST(capacities)
{
	h.xattr_len = 0;
	h.size = OBJECT_INLINE_AREA;
	memset(h.inline_data, 'x', sizeof(h.inline_data));
	seal_sample();
	ck_assert_int_eq(object_header_open(page, keys, &out), 0);
	ck_assert_mem_eq(out.inline_data, h.inline_data, sizeof(h.inline_data));
	sample_inline();
	h.size = OBJECT_INLINE_AREA - h.xattr_len;
	seal_sample();
	h.size++;
	ck_assert_int_eq(object_header_seal(&h, &id, keys, nonce, page), WERR_INVALID);
	sample_tree();
	h.size = OBJECT_SIZE_MAX;
	seal_sample();
	h.size++;
	ck_assert_int_eq(object_header_seal(&h, &id, keys, nonce, page), WERR_INVALID);
	sample_inline();
	h.type = OBJECT_SYMLINK;
	ck_assert_int_eq(object_header_seal(&h, &id, keys, nonce, page), WERR_INVALID);
	sample_inline();
	h.name_len = 0;
	ck_assert_int_eq(object_header_seal(&h, &id, keys, nonce, page), WERR_INVALID);
	sample_inline();
	id.number = 0;
	ck_assert_int_eq(object_header_seal(&h, &id, keys, nonce, page), WERR_INVALID);
}
END_TEST

START_TEST(types)
{
	static const uint16_t rows[] = {OBJECT_DIR,    OBJECT_SYMLINK, OBJECT_FIFO,
					OBJECT_SOCKET, OBJECT_CHAR,    OBJECT_BLOCK};

	h.type = rows[_i];
	id.type = rows[_i];
	h.size = 0;
	h.parent_number = 0;
	h.parent_incarnation = 0;
	h.name_len = 0;
	if (h.type == OBJECT_DIR) {
		h.layout = LAYOUT_TREE;
		h.size = 2 * WARD_PAGE;
	} else if (h.type == OBJECT_SYMLINK) {
		h.size = 2000;
		memset(h.inline_data, 't', 2000);
	}
	seal_sample();
	ck_assert_int_eq(object_header_open(page, keys, &out), 0);
	ck_assert_uint_eq(out.type, rows[_i]);
}
END_TEST

// Where the positions of wardfs-vault(5) end.
START_TEST(bounds)
{
	uint64_t span = 1;
	uint64_t end = 81;
	uint64_t pages = OBJECT_DIRECT;
	uint64_t leaves = 1;

	for (int level = 1; level <= OBJECT_ROOTS; level++) {
		span = 1 + SEALS_PER_NODE * span;
		leaves *= SEALS_PER_NODE;
		end += span + (level == 1 ? OBJECT_XATTR_PAGES : 0);
		pages += leaves;
	}
	ck_assert_uint_eq(end, OBJECT_POSITIONS_MAX);
	ck_assert_uint_eq(pages, OBJECT_PAGES_MAX);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("object_header");
	TCase *tc = tcase_create("object_header");

	if (secret_init() < 0)
		return EXIT_FAILURE;
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, round_trip, 0, 2);
	tcase_add_test(tc, layout_inline);
	tcase_add_test(tc, layout_tree);
	tcase_add_test(tc, layout_prefix);
	tcase_add_test(tc, changed_bytes);
	tcase_add_test(tc, other_keys);
	tcase_add_loop_test(tc, prefix_refusals, 0, sizeof(bad_prefixes) / sizeof(bad_prefixes[0]));
	tcase_add_loop_test(tc, prefix_zero_ids, 0, 2);
	tcase_add_loop_test(tc, body_refusals, 0, sizeof(bad_bodies) / sizeof(bad_bodies[0]));
	tcase_add_test(tc, gap_is_zero);
	tcase_add_test(tc, unused_members);
	tcase_add_test(tc, capacities);
	tcase_add_loop_test(tc, types, 0, 6);
	tcase_add_test(tc, bounds);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
