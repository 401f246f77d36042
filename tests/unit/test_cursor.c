// SPDX-License-Identifier: Apache-2.0
#include "crypto/cursor.h"

#include <stdlib.h>
#include <string.h>

#include "unit_hex.h"
#include "unit_main.h"

// In a malloc of exactly its size, so that a sanitizer sees any byte too far.
static uint8_t *bytes(size_t n)
{
	uint8_t *p = malloc(n > 0 ? n : 1);

	ck_assert_ptr_nonnull(p);
	unit_pattern(p, n, 1, 1);
	return p;
}

START_TEST(reads_little_endian)
{
	uint8_t *buf = bytes(26);
	uint8_t out[3];
	struct rcursor c;

	rcursor_init(&c, buf, 26);
	ck_assert_uint_eq(rcursor_u8(&c), 0x01);
	ck_assert_uint_eq(rcursor_u16(&c), 0x0302);
	ck_assert_uint_eq(rcursor_u32(&c), 0x07060504);
	ck_assert_uint_eq(rcursor_u64(&c), 0x0f0e0d0c0b0a0908);
	ck_assert_int_eq(rcursor_i64(&c), 0x1716151413121110);
	ck_assert_uint_eq(rcursor_left(&c), 3);
	ck_assert_int_eq(rcursor_finish(&c, 0), 0);
	ck_assert_int_eq(rcursor_finish(&c, 1), WERR_MALFORMED);
	rcursor_bytes(&c, out, 3);
	ck_assert_mem_eq(out, "\x18\x19\x1a", 3);
	ck_assert_int_eq(rcursor_finish(&c, 1), 0);
	free(buf);
}
END_TEST

START_TEST(reads_negative)
{
	uint8_t buf[8];
	struct rcursor c;

	memset(buf, 0xff, sizeof(buf));
	buf[0] = 0xfe;
	rcursor_init(&c, buf, sizeof(buf));
	ck_assert_int_eq(rcursor_i64(&c), -2);
}
END_TEST

static uint64_t read_u8(struct rcursor *c)
{
	return rcursor_u8(c);
}

static uint64_t read_u16(struct rcursor *c)
{
	return rcursor_u16(c);
}

static uint64_t read_u32(struct rcursor *c)
{
	return rcursor_u32(c);
}

static uint64_t read_u64(struct rcursor *c)
{
	return rcursor_u64(c);
}

static uint64_t read_i64(struct rcursor *c)
{
	return (uint64_t)rcursor_i64(c);
}

static uint64_t read_bytes(struct rcursor *c)
{
	uint64_t v = ~0ull;

	rcursor_bytes(c, &v, sizeof(v));
	return v;
}

static uint64_t read_take(struct rcursor *c)
{
	return rcursor_take(c, 5) != NULL;
}

static const struct {
	uint64_t (*read)(struct rcursor *);
	size_t n;
} readers[] = {
	{read_u8, 1},  {read_u16, 2},   {read_u32, 4},  {read_u64, 8},
	{read_i64, 8}, {read_bytes, 8}, {read_take, 5},
};
#define READERS (sizeof(readers) / sizeof(readers[0]))

START_TEST(overruns_stick)
{
	for (size_t len = 0; len < readers[_i].n; len++) {
		uint8_t *buf = bytes(len);
		struct rcursor c;

		rcursor_init(&c, buf, len);
		ck_assert_uint_eq(readers[_i].read(&c), 0);
		ck_assert_int_eq(rcursor_finish(&c, 0), WERR_TRUNCATED);
		ck_assert_int_eq(rcursor_finish(&c, 1), WERR_TRUNCATED);
		ck_assert_uint_eq(rcursor_left(&c), 0);
		// What would have fitted before the overrun does not any more.
		for (size_t i = 0; i < READERS; i++)
			ck_assert_uint_eq(readers[i].read(&c), 0);
		rcursor_zero(&c, 0);
		ck_assert_ptr_null(rcursor_take(&c, 0));
		ck_assert_int_eq(rcursor_finish(&c, 1), WERR_TRUNCATED);
		free(buf);
	}
	uint8_t *exact = bytes(readers[_i].n);
	struct rcursor c;

	rcursor_init(&c, exact, readers[_i].n);
	ck_assert_uint_ne(readers[_i].read(&c), 0);
	ck_assert_int_eq(rcursor_finish(&c, 1), 0);
	free(exact);
}
END_TEST

START_TEST(huge_lengths)
{
	uint8_t *buf = bytes(16);
	struct rcursor r;
	struct wcursor w;

	rcursor_init(&r, buf, 16);
	(void)rcursor_u8(&r);
	ck_assert_ptr_null(rcursor_take(&r, SIZE_MAX));
	ck_assert_int_eq(rcursor_finish(&r, 0), WERR_TRUNCATED);
	rcursor_init(&r, buf, 16);
	(void)rcursor_u8(&r);
	rcursor_zero(&r, SIZE_MAX - 1);
	ck_assert_int_eq(rcursor_finish(&r, 0), WERR_TRUNCATED);
	wcursor_init(&w, buf, 16);
	wcursor_u8(&w, 1);
	ck_assert_ptr_null(wcursor_take(&w, SIZE_MAX));
	ck_assert_int_eq(w.err, WERR_LIMIT);
	free(buf);
}
END_TEST

START_TEST(zeros_must_be_zero)
{
	for (size_t at = 0; at <= 8; at++) {
		uint8_t buf[8] = {0};
		struct rcursor c;

		if (at < 8)
			buf[at] = 0x80;
		rcursor_init(&c, buf, sizeof(buf));
		rcursor_zero(&c, 6);
		ck_assert_int_eq(rcursor_finish(&c, 0), at < 6 ? WERR_MALFORMED : 0);
		if (at < 6) {
			// The first error stays the one that is told.
			(void)rcursor_u64(&c);
			ck_assert_int_eq(rcursor_finish(&c, 0), WERR_MALFORMED);
		}
	}
}
END_TEST

START_TEST(take_points_into_the_buffer)
{
	uint8_t buf[8] = {0};
	struct rcursor c;

	rcursor_init(&c, buf, sizeof(buf));
	ck_assert_ptr_eq(rcursor_take(&c, 3), buf);
	ck_assert_ptr_eq(rcursor_take(&c, 0), buf + 3);
	ck_assert_ptr_eq(rcursor_take(&c, 5), buf + 3);
	ck_assert_ptr_eq(rcursor_take(&c, 0), buf + 8);
	ck_assert_int_eq(rcursor_finish(&c, 1), 0);
}
END_TEST

START_TEST(nothing_to_read)
{
	struct rcursor c;

	rcursor_init(&c, NULL, 0);
	ck_assert_int_eq(rcursor_finish(&c, 1), 0);
	rcursor_bytes(&c, NULL, 0);
	ck_assert_int_eq(rcursor_finish(&c, 1), 0);
	(void)rcursor_u8(&c);
	ck_assert_int_eq(rcursor_finish(&c, 1), WERR_TRUNCATED);
	rcursor_init(&c, NULL, 4);
	ck_assert_int_eq(rcursor_finish(&c, 0), WERR_TRUNCATED);
}
END_TEST

START_TEST(writes_little_endian)
{
	static const uint8_t want[] = {0x01, 0x03, 0x02, 0x07, 0x06, 0x05, 0x04, 0x0f, 0x0e,
				       0x0d, 0x0c, 0x0b, 0x0a, 0x09, 0x08, 0xfe, 0xff, 0xff,
				       0xff, 0xff, 0xff, 0xff, 0xff, 'a',  'b',  0,    0};
	uint8_t *buf = bytes(sizeof(want));
	struct wcursor c;

	wcursor_init(&c, buf, sizeof(want));
	wcursor_u8(&c, 0x01);
	wcursor_u16(&c, 0x0203);
	wcursor_u32(&c, 0x04050607);
	wcursor_u64(&c, 0x08090a0b0c0d0e0f);
	wcursor_i64(&c, -2);
	wcursor_bytes(&c, "ab", 2);
	wcursor_bytes(&c, NULL, 0);
	wcursor_zero(&c, 2);
	ck_assert_int_eq(c.err, 0);
	ck_assert_uint_eq(c.len, sizeof(want));
	ck_assert_mem_eq(buf, want, sizeof(want));
	wcursor_zero(&c, 0);
	ck_assert_int_eq(c.err, 0);
	wcursor_u8(&c, 1);
	ck_assert_int_eq(c.err, WERR_LIMIT);
	ck_assert_uint_eq(c.len, sizeof(want));
	free(buf);
}
END_TEST

static void write_u8(struct wcursor *c)
{
	wcursor_u8(c, 0xff);
}

static void write_u16(struct wcursor *c)
{
	wcursor_u16(c, 0xffff);
}

static void write_u32(struct wcursor *c)
{
	wcursor_u32(c, 0xffffffff);
}

static void write_u64(struct wcursor *c)
{
	wcursor_u64(c, ~0ull);
}

static void write_i64(struct wcursor *c)
{
	wcursor_i64(c, -1);
}

static void write_bytes(struct wcursor *c)
{
	wcursor_bytes(c, "\xff\xff\xff", 3);
}

static void write_zero(struct wcursor *c)
{
	wcursor_zero(c, 3);
}

static const struct {
	void (*write)(struct wcursor *);
	size_t n;
} writers[] = {
	{write_u8, 1},  {write_u16, 2},   {write_u32, 4},  {write_u64, 8},
	{write_i64, 8}, {write_bytes, 3}, {write_zero, 3},
};
#define WRITERS (sizeof(writers) / sizeof(writers[0]))

START_TEST(write_overruns_stick)
{
	for (size_t cap = 0; cap < writers[_i].n; cap++) {
		uint8_t *buf = malloc(cap > 0 ? cap : 1);
		struct wcursor c;

		ck_assert_ptr_nonnull(buf);
		memset(buf, 0x11, cap > 0 ? cap : 1);
		wcursor_init(&c, buf, cap);
		writers[_i].write(&c);
		ck_assert_int_eq(c.err, WERR_LIMIT);
		for (size_t i = 0; i < WRITERS; i++)
			writers[i].write(&c);
		ck_assert_ptr_null(wcursor_take(&c, 1));
		ck_assert_int_eq(c.err, WERR_LIMIT);
		ck_assert_uint_eq(c.len, 0);
		ck_assert(unit_all(buf, cap, 0x11));
		free(buf);
	}
}
END_TEST

START_TEST(loads_and_stores)
{
	uint8_t b[8];

	le64_put(b, 0x8877665544332211);
	ck_assert_mem_eq(b, "\x11\x22\x33\x44\x55\x66\x77\x88", 8);
	ck_assert_uint_eq(le64_get(b), 0x8877665544332211);
	ck_assert_uint_eq(le32_get(b + 4), 0x88776655);
	ck_assert_uint_eq(le16_get(b + 6), 0x8877);
	le32_put(b, 0xfedcba98);
	le16_put(b + 4, 0xf00d);
	ck_assert_mem_eq(b, "\x98\xba\xdc\xfe\x0d\xf0\x77\x88", 8);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cursor");
	TCase *tc = tcase_create("cursor");

	tcase_add_test(tc, reads_little_endian);
	tcase_add_test(tc, reads_negative);
	tcase_add_loop_test(tc, overruns_stick, 0, (int)READERS);
	tcase_add_test(tc, huge_lengths);
	tcase_add_test(tc, zeros_must_be_zero);
	tcase_add_test(tc, take_points_into_the_buffer);
	tcase_add_test(tc, nothing_to_read);
	tcase_add_test(tc, writes_little_endian);
	tcase_add_loop_test(tc, write_overruns_stick, 0, (int)WRITERS);
	tcase_add_test(tc, loads_and_stores);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
