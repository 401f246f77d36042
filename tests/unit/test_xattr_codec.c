// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>

#include "crypto/xattr_codec.h"
#include "tests/unit/unit_main.h"

#define BYTES(s) (const uint8_t *)(s), sizeof(s) - 1

// One attribute: name length, zero, value length, name, value.
#define A1             \
	"\x01\0\x02\0" \
	"a"            \
	"xy"
#define AB             \
	"\x02\0\x00\0" \
	"ab"
#define B1             \
	"\x01\0\x01\0" \
	"b"            \
	"\0"

static const struct {
	const char *what;
	const char *set;
	size_t len;
	int rc;
} rows[] = {
	{"empty", "", 0, 0},
	{"one", A1, sizeof(A1) - 1, 0},
	{"three, a prefix first", A1 AB B1, sizeof(A1 AB B1) - 1, 0},
	{"order", B1 A1, sizeof(B1 A1) - 1, WERR_MALFORMED},
	{"a prefix last", AB A1, sizeof(AB A1) - 1, WERR_MALFORMED},
	{"duplicate", A1 A1, sizeof(A1 A1) - 1, WERR_MALFORMED},
	{"cut value", A1, sizeof(A1) - 2, WERR_MALFORMED},
	{"cut name", AB, sizeof(AB) - 2, WERR_MALFORMED},
	{"cut header", A1 "\x01\0\0", sizeof(A1 "\x01\0\0") - 1, WERR_MALFORMED},
	{"trailing zero", A1 "\0", sizeof(A1 "\0") - 1, WERR_MALFORMED},
	{"no name", "\0\0\x01\0x", 5, WERR_MALFORMED},
	{"reserved byte", "\x01\x01\0\0a", 5, WERR_MALFORMED},
	{"NUL in name", "\x02\0\0\0a\0", 6, WERR_MALFORMED},
};

START_TEST(check_rows)
{
	ck_assert_msg(xattr_codec_check((const uint8_t *)rows[_i].set, rows[_i].len) == rows[_i].rc,
		      "%s", rows[_i].what);
}
END_TEST

START_TEST(get_rows)
{
	const uint8_t *value;
	size_t len;

	ck_assert_int_eq(xattr_codec_get(BYTES(A1 AB B1), "a", &value, &len), 0);
	ck_assert_uint_eq(len, 2);
	ck_assert_mem_eq(value, "xy", 2);
	ck_assert_int_eq(xattr_codec_get(BYTES(A1 AB B1), "ab", &value, &len), 0);
	ck_assert_uint_eq(len, 0);
	ck_assert_int_eq(xattr_codec_get(BYTES(A1 AB B1), "aa", &value, &len), WERR_NODATA);
	ck_assert_int_eq(xattr_codec_get(BYTES(A1 AB B1), "c", &value, &len), WERR_NODATA);
	ck_assert_int_eq(xattr_codec_get(NULL, 0, "c", &value, &len), WERR_NODATA);
	ck_assert_int_eq(xattr_codec_get(NULL, 0, "", &value, &len), WERR_INVALID);
	ck_assert_int_eq(xattr_codec_get(BYTES("\x05\0\0\0a"), "a", &value, &len), WERR_MALFORMED);
}
END_TEST

START_TEST(set_orders)
{
	static const char *const orders[][3] = {
		{"a", "ab", "b"}, {"b", "ab", "a"}, {"ab", "b", "a"}, {"b", "a", "ab"}};
	uint8_t buf[2][64];
	size_t len = 0;

	for (int i = 0; i < 3; i++) {
		const char *name = orders[_i][i];
		const char *value = strcmp(name, "a") == 0 ? "xy" : "";
		size_t value_len = strcmp(name, "a") == 0 ? 2 : strcmp(name, "b") == 0;

		ck_assert_int_eq(xattr_codec_set(buf[i % 2], len, name, value, value_len,
						 buf[(i + 1) % 2], 64, &len),
				 0);
	}
	ck_assert_uint_eq(len, sizeof(A1 AB B1) - 1);
	ck_assert_mem_eq(buf[1], A1 AB B1, len);
}
END_TEST

START_TEST(set_replaces)
{
	uint8_t out[64];
	size_t len;

	ck_assert_int_eq(xattr_codec_set(BYTES(A1 AB B1), "ab", "123", 3, out, 64, &len), 0);
	ck_assert_uint_eq(len, sizeof(A1 AB B1) - 1 + 3);
	ck_assert_mem_eq(out, A1 "\x02\0\x03\0ab123" B1, len);
	ck_assert_int_eq(xattr_codec_check(out, len), 0);
}
END_TEST

START_TEST(remove_one)
{
	uint8_t out[64];
	size_t len;

	ck_assert_int_eq(xattr_codec_remove(BYTES(A1 AB B1), "ab", out, 64, &len), 0);
	ck_assert_uint_eq(len, sizeof(A1 B1) - 1);
	ck_assert_mem_eq(out, A1 B1, len);
	ck_assert_int_eq(xattr_codec_remove(BYTES(A1 B1), "ab", out, 64, &len), WERR_NODATA);
	ck_assert_int_eq(xattr_codec_remove(BYTES(A1), "a", out, 0, &len), 0);
	ck_assert_uint_eq(len, 0);
	ck_assert_int_eq(xattr_codec_remove(BYTES(A1 B1), "a", out, 3, &len), WERR_NOSPACE);
}
END_TEST

START_TEST(limits)
{
	static uint8_t out[XATTR_SET_MAX + 16];
	static uint8_t value[65536];
	char name[257];
	size_t len;

	memset(name, 'n', sizeof(name));
	name[255] = '\0';
	ck_assert_int_eq(xattr_codec_set(NULL, 0, name, value, 1, out, sizeof(out), &len), 0);
	name[255] = 'n';
	name[256] = '\0';
	ck_assert_int_eq(xattr_codec_set(NULL, 0, name, value, 1, out, sizeof(out), &len),
			 WERR_RANGE);
	ck_assert_int_eq(xattr_codec_set(NULL, 0, "", value, 1, out, sizeof(out), &len),
			 WERR_INVALID);
	ck_assert_int_eq(xattr_codec_set(NULL, 0, "a", value, 65536, out, sizeof(out), &len),
			 WERR_TOOBIG);
	// One attribute fills the whole set; one byte more does not fit, however large the buffer.
	ck_assert_int_eq(
		xattr_codec_set(NULL, 0, "a", value, XATTR_SET_MAX - 5, out, sizeof(out), &len), 0);
	ck_assert_uint_eq(len, XATTR_SET_MAX);
	ck_assert_int_eq(xattr_codec_check(out, len), 0);
	// Two well-formed attributes, longer than a set may be.
	memcpy(out + len, "\x01\0\0\0b", 5);
	ck_assert_int_eq(xattr_codec_check(out, len + 5), WERR_MALFORMED);
	ck_assert_int_eq(
		xattr_codec_set(NULL, 0, "a", value, XATTR_SET_MAX - 4, out, sizeof(out), &len),
		WERR_NOSPACE);
	ck_assert_int_eq(xattr_codec_set(NULL, 0, "a", value, 10, out, 14, &len), WERR_NOSPACE);
}
END_TEST

START_TEST(list_names)
{
	char buf[16];
	size_t len;

	ck_assert_int_eq(xattr_codec_list(BYTES(A1 AB B1), NULL, 0, &len), 0);
	ck_assert_uint_eq(len, 7);
	ck_assert_int_eq(xattr_codec_list(BYTES(A1 AB B1), buf, 7, &len), 0);
	ck_assert_mem_eq(buf, "a\0ab\0b\0", 7);
	ck_assert_int_eq(xattr_codec_list(BYTES(A1 AB B1), buf, 6, &len), WERR_RANGE);
	ck_assert_int_eq(xattr_codec_list(NULL, 0, buf, 6, &len), 0);
	ck_assert_uint_eq(len, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("xattr_codec");
	TCase *tc = tcase_create("xattr_codec");

	tcase_add_loop_test(tc, check_rows, 0, sizeof(rows) / sizeof(rows[0]));
	tcase_add_test(tc, get_rows);
	tcase_add_loop_test(tc, set_orders, 0, 4);
	tcase_add_test(tc, set_replaces);
	tcase_add_test(tc, remove_one);
	tcase_add_test(tc, limits);
	tcase_add_test(tc, list_names);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
