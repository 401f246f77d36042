// SPDX-License-Identifier: Apache-2.0
#include "crypto/werr.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "unit_main.h"

struct expected {
	int code;
	int err;
	int status;
};

static const struct expected table[] = {
	{WERR_OK, 0, 0},
	{WERR_SECRET, EKEYREJECTED, 3},
	{WERR_AUTH, EIO, 4},
	{WERR_UNSUPPORTED, EPROTONOSUPPORT, 13},
	{WERR_TRUNCATED, EIO, 9},
	{WERR_MALFORMED, EIO, 9},
	{WERR_LIMIT, EOVERFLOW, 16},
	{WERR_NOTFOUND, ENOENT, 14},
	{WERR_EXISTS, EEXIST, 15},
	{WERR_BUSY, EBUSY, 6},
	{WERR_LOCKED, ENOKEY, 7},
	{WERR_PERM, EACCES, 8},
	{WERR_NOSPACE, ENOSPC, 11},
	{WERR_IO, EIO, 10},
	{WERR_NOMEM, ENOMEM, 12},
	{WERR_INTERNAL, EIO, 1},
	{WERR_USAGE, EINVAL, 2},
	{WERR_NOTVAULT, EINVAL, 5},
	{WERR_DAMAGED, EIO, 9},
	{WERR_ROLLBACK, EIO, 4},
	{WERR_READONLY, EROFS, 17},
	{WERR_QUOTA, EDQUOT, 11},
	{WERR_NOTDIR, ENOTDIR, 2},
	{WERR_ISDIR, EISDIR, 2},
	{WERR_NOTEMPTY, ENOTEMPTY, 15},
	{WERR_NAMETOOLONG, ENAMETOOLONG, 2},
	{WERR_INVALID, EINVAL, 2},
	{WERR_MLINK, EMLINK, 16},
	{WERR_FBIG, EFBIG, 16},
	{WERR_NODATA, ENODATA, 14},
	{WERR_RANGE, ERANGE, 16},
	{WERR_NXIO, ENXIO, 14},
	{WERR_KDFMEM, ENOMEM, 12},
	{WERR_MFILE, EMFILE, 16},
	{WERR_STALE, ESTALE, 14},
	{WERR_NOTSUP, EOPNOTSUPP, 13},
	{WERR_TOOBIG, E2BIG, 16},
	{WERR_NOTPERMITTED, EPERM, 8},
	{WERR_NODEVICE, ENODEV, 18},
	{WERR_INTERRUPTED, EINTR, 19},
	{WERR_ANCHOR, EIO, 20},
	{WERR_NOHARDWARE, ENXIO, 21},
	{WERR_LOCKOUT, EBUSY, 22},
	{WERR_REPAIRED, EIO, 23},
};
#define CODES (sizeof(table) / sizeof(table[0]))

START_TEST(every_code)
{
	const struct expected *e = &table[_i];

	ck_assert_int_eq(e->code, -_i);
	ck_assert_int_eq(werr_errno(e->code), e->err);
	ck_assert_int_eq(werr_exit(e->code), e->status);
}
END_TEST

START_TEST(texts_are_distinct_lines)
{
	for (int i = 0; i < (int)CODES; i++) {
		const char *text = werr_text(-i);

		ck_assert_ptr_nonnull(text);
		ck_assert_uint_gt(strlen(text), 0);
		ck_assert_ptr_null(strpbrk(text, "\n%"));
		ck_assert_int_ne(text[strlen(text) - 1], '.');
		ck_assert_str_ne(text, werr_text(1));
		for (int k = 0; k < i; k++)
			ck_assert_str_ne(text, werr_text(-k));
	}
}
END_TEST

START_TEST(unknown_codes)
{
	static const int codes[] = {1, 2, INT_MAX, -(int)CODES, -1000, INT_MIN, INT_MIN + 1};

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		ck_assert_str_eq(werr_text(codes[i]), "unknown error");
		ck_assert_int_eq(werr_errno(codes[i]), EIO);
		ck_assert_int_eq(werr_exit(codes[i]), EXIT_WARD_INTERNAL);
	}
}
END_TEST

// The enum and the tables stand in different files.
START_TEST(header_has_no_more)
{
	const char *src = getenv("WARDFS_SRC");
	char line[256];
	char path[4096];
	unsigned seen = 0;

	ck_assert_msg(src, "WARDFS_SRC names the source tree");
	ck_assert_int_lt(snprintf(path, sizeof(path), "%s/crypto/werr.h", src), 4096);
	FILE *f = fopen(path, "re");

	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f)) {
		int code;

		if (sscanf(line, " WERR_%*[A-Z] = %d", &code) != 1)
			continue;
		ck_assert_int_le(code, 0);
		ck_assert_int_gt(code, -(int)CODES);
		seen++;
	}
	(void)fclose(f);
	ck_assert_uint_eq(seen, CODES);
}
END_TEST

START_TEST(errno_round_trip)
{
	int codes = 0;

	for (int err = 1; err < 134; err++) {
		int code = werr_from_errno(err);

		ck_assert_int_lt(code, 0);
		ck_assert_int_gt(code, -(int)CODES);
		codes += werr_errno(code) == err;
	}
	// As many as there are distinct numbers in the table above.
	int distinct = 0;

	for (size_t i = 0; i < CODES; i++) {
		int err = table[i].err;
		int first = err != 0;

		for (size_t k = 0; k < i; k++)
			first = first && table[k].err != err;
		distinct += first;
		ck_assert_int_eq(werr_errno(werr_from_errno(err)), err);
	}
	ck_assert_int_eq(codes, distinct);
}
END_TEST

START_TEST(errno_of_the_host)
{
	static const struct {
		int err;
		int code;
	} rows[] = {
		{0, WERR_OK},         {EACCES, WERR_PERM},  {EPERM, WERR_NOTPERMITTED},
		{EIO, WERR_IO},       {ENOMEM, WERR_NOMEM}, {EINVAL, WERR_INVALID},
		{ENFILE, WERR_MFILE}, {EAGAIN, WERR_BUSY},  {ENOSYS, WERR_NOTSUP},
		{EDQUOT, WERR_QUOTA}, {ELOOP, WERR_IO},     {-1, WERR_IO},
		{INT_MAX, WERR_IO},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ck_assert_int_eq(werr_from_errno(rows[i].err), rows[i].code);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("werr");
	TCase *tc = tcase_create("werr");

	tcase_add_loop_test(tc, every_code, 0, (int)CODES);
	tcase_add_test(tc, texts_are_distinct_lines);
	tcase_add_test(tc, unknown_codes);
	tcase_add_test(tc, header_has_no_more);
	tcase_add_test(tc, errno_round_trip);
	tcase_add_test(tc, errno_of_the_host);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
