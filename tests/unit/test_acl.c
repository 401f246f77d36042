// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <string.h>

#include "fusefs/acl.h"
#include "tests/unit/unit_main.h"

#define OWNER 0x01
#define USER 0x02
#define GROUP 0x04
#define NAMED 0x08
#define MASK 0x10
#define OTHER 0x20

struct entry {
	uint8_t tag, perm, id;
};
#define ENTRIES_MAX 8

static size_t encode(const struct entry *e, uint8_t out[static 4 + 8 * ENTRIES_MAX])
{
	size_t len = 4;

	memcpy(out, "\2\0\0\0", 4);
	for (; e->tag != 0; e++, len += 8) {
		memset(out + len, 0, 8);
		out[len] = e->tag;
		out[len + 2] = e->perm;
		out[len + 4] = e->id;
	}
	return len;
}

struct acl_case {
	const char *what;
	struct entry e[ENTRIES_MAX];
	int err;
	bool minimal;
	uint32_t mode;
};

static const struct acl_case cases[] = {
	{"three entries", {{OWNER, 7, 0}, {GROUP, 5, 0}, {OTHER, 1, 0}}, 0, true, 0751},
	{"mask hides group",
	 {{OWNER, 6, 0}, {GROUP, 7, 0}, {MASK, 4, 0}, {OTHER, 0, 0}},
	 0,
	 false,
	 0640},
	{"named",
	 {{OWNER, 6, 0},
	  {USER, 7, 1},
	  {USER, 7, 2},
	  {GROUP, 5, 0},
	  {NAMED, 7, 9},
	  {MASK, 6, 0},
	  {OTHER, 4, 0}},
	 0,
	 false,
	 0664},
	{"empty", {{0, 0, 0}}, WERR_INVALID, false, 0},
	{"no owner", {{GROUP, 5, 0}, {OTHER, 1, 0}}, WERR_INVALID, false, 0},
	{"no group", {{OWNER, 5, 0}, {OTHER, 1, 0}}, WERR_INVALID, false, 0},
	{"no others", {{OWNER, 5, 0}, {GROUP, 1, 0}}, WERR_INVALID, false, 0},
	{"named without mask",
	 {{OWNER, 6, 0}, {USER, 7, 1}, {GROUP, 5, 0}, {OTHER, 4, 0}},
	 WERR_INVALID,
	 false,
	 0},
	{"two owners",
	 {{OWNER, 6, 0}, {OWNER, 6, 0}, {GROUP, 5, 0}, {OTHER, 4, 0}},
	 WERR_INVALID,
	 false,
	 0},
	{"two masks",
	 {{OWNER, 6, 0}, {GROUP, 5, 0}, {MASK, 5, 0}, {MASK, 5, 0}, {OTHER, 4, 0}},
	 WERR_INVALID,
	 false,
	 0},
	{"order", {{OWNER, 6, 0}, {OTHER, 4, 0}, {GROUP, 5, 0}}, WERR_INVALID, false, 0},
	{"permission 8", {{OWNER, 8, 0}, {GROUP, 5, 0}, {OTHER, 4, 0}}, WERR_INVALID, false, 0},
	{"tag 3", {{OWNER, 6, 0}, {3, 6, 0}, {GROUP, 5, 0}, {OTHER, 4, 0}}, WERR_INVALID, false, 0},
	{"tag 0x40",
	 {{OWNER, 6, 0}, {GROUP, 5, 0}, {OTHER, 4, 0}, {0x40, 0, 0}},
	 WERR_INVALID,
	 false,
	 0},
};

START_TEST(check_and_mode)
{
	const struct acl_case *c = &cases[_i];
	uint8_t acl[4 + 8 * ENTRIES_MAX];
	size_t len = encode(c->e, acl);

	ck_assert_msg(acl_check(acl, len) == c->err, "%s", c->what);
	if (c->err != 0)
		return;
	ck_assert_msg(acl_is_minimal(acl, len) == c->minimal, "%s", c->what);
	ck_assert_msg(acl_mode(acl, len) == c->mode, "%s", c->what);
	// Any other length or version is refused.
	for (size_t n = 0; n < len; n++)
		ck_assert_int_eq(acl_check(acl, n), WERR_INVALID);
	acl[0] = 1;
	ck_assert_int_eq(acl_check(acl, len), WERR_INVALID);
	acl[0] = 2;
	acl[2] = 1;
	ck_assert_int_eq(acl_check(acl, len), WERR_INVALID);
}
END_TEST

struct change_case {
	struct entry e[ENTRIES_MAX];
	uint32_t mode;
	uint8_t chmod[ENTRIES_MAX];   // permissions after acl_chmod
	uint8_t inherit[ENTRIES_MAX]; // permissions after acl_inherit
	uint32_t inherited;
};

static const struct change_case changes[] = {
	{{{OWNER, 7, 0}, {GROUP, 5, 0}, {OTHER, 5, 0}}, 0640, {6, 4, 0}, {6, 4, 0}, 0640},
	{{{OWNER, 6, 0}, {USER, 7, 1}, {GROUP, 5, 0}, {MASK, 7, 0}, {OTHER, 4, 0}},
	 0761,
	 {7, 7, 5, 6, 1},
	 {6, 7, 5, 6, 0},
	 0660},
	{{{OWNER, 6, 0}, {USER, 7, 1}, {GROUP, 5, 0}, {MASK, 3, 0}, {OTHER, 4, 0}},
	 02777,
	 {7, 7, 5, 7, 7},
	 {6, 7, 5, 3, 4},
	 02634},
};

START_TEST(changes_with_mode)
{
	const struct change_case *c = &changes[_i];
	uint8_t acl[4 + 8 * ENTRIES_MAX];
	size_t len = encode(c->e, acl);

	acl_chmod(acl, len, c->mode);
	for (size_t i = 0; c->e[i].tag != 0; i++)
		ck_assert_uint_eq(acl[4 + i * 8 + 2], c->chmod[i]);
	ck_assert_uint_eq(acl_mode(acl, len), c->mode & 0777);
	ck_assert_int_eq(acl_check(acl, len), 0);
	encode(c->e, acl);
	ck_assert_uint_eq(acl_inherit(acl, len, c->mode), c->inherited);
	for (size_t i = 0; c->e[i].tag != 0; i++)
		ck_assert_uint_eq(acl[4 + i * 8 + 2], c->inherit[i]);
	ck_assert_uint_eq(acl_mode(acl, len), c->inherited & 0777);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("acl");
	TCase *t = tcase_create("acl");

	tcase_add_loop_test(t, check_and_mode, 0, sizeof(cases) / sizeof(cases[0]));
	tcase_add_loop_test(t, changes_with_mode, 0, sizeof(changes) / sizeof(changes[0]));
	suite_add_tcase(s, t);
	return unit_main(s);
}
