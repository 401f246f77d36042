// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <errno.h>
#include <string.h>

#include "fusefs/mountopts.h"
#include "tests/unit/unit_main.h"

START_TEST(defaults)
{
	struct mountopts o;

	mountopts_init(&o);
	ck_assert_int_eq(mountopts_parse(&o, ""), 0);
	ck_assert(!o.readonly && !o.suid && !o.dev && o.exec && !o.allow_other && !o.allow_root);
	ck_assert(o.default_permissions);
	ck_assert_uint_eq(o.threads, 0);
	ck_assert_str_eq(o.fsname, "");
	ck_assert_str_eq(o.subtype, "wardfs");
}
END_TEST

START_TEST(all_options)
{
	struct mountopts o;

	mountopts_init(&o);
	ck_assert_int_eq(
		mountopts_parse(&o, "ro,suid,dev,noexec,noatime,nodiratime,lazytime,sync,"
				    "dirsync,threads=5,max_background=33,memory=40,fsname=a b/c,"
				    "subtype=x,allow_other,default_permissions"),
		0);
	ck_assert(o.readonly && o.suid && o.dev && !o.exec && o.noatime && o.nodiratime);
	ck_assert(o.lazytime && o.sync && o.dirsync && o.allow_other);
	ck_assert_uint_eq(o.threads, 5);
	ck_assert_uint_eq(o.max_background, 33);
	ck_assert_int_eq(o.lock_errno, 0);
	ck_assert_int_eq(mountopts_parse(&o, "lock_errno=EIO"), 0);
	ck_assert_int_eq(o.lock_errno, EIO);
	ck_assert_int_eq(mountopts_parse(&o, "lock_errno=EXDEV"), WERR_USAGE);
	ck_assert_str_eq(o.unknown, "lock_errno=EXDEV");
	ck_assert_uint_eq(o.memory_mib, 40);
	ck_assert_int_eq(o.protect, PROTECT_MOUNTED);
	ck_assert_int_eq(mountopts_parse(&o, "protect"), 0);
	ck_assert_int_eq(o.protect, PROTECT_ALWAYS);
	ck_assert_int_eq(mountopts_parse(&o, "protect,noprotect"), 0);
	ck_assert_int_eq(o.protect, PROTECT_NEVER);
	ck_assert_str_eq(o.fsname, "a b/c");
	ck_assert_str_eq(o.subtype, "x");
}
END_TEST

START_TEST(later_words_win)
{
	struct mountopts o;

	mountopts_init(&o);
	ck_assert_int_eq(mountopts_parse(&o, "ro,suid,dev,noexec,sync,noatime,allow_other"), 0);
	ck_assert_int_eq(mountopts_parse(&o, "rw,nosuid,nodev,exec,async,strictatime,allow_root,"
					     "fsname=long,fsname=s"),
			 0);
	ck_assert(!o.readonly && !o.suid && !o.dev && o.exec && !o.sync);
	ck_assert(!o.noatime && o.strictatime && !o.relatime);
	ck_assert(o.allow_root && !o.allow_other);
	ck_assert_str_eq(o.fsname, "s");
	ck_assert_int_eq(mountopts_parse(&o, "relatime,allow_other"), 0);
	ck_assert(o.relatime && !o.strictatime && o.allow_other && !o.allow_root);
}
END_TEST

static const char *const ignored[] = {
	"defaults",
	"auto,noauto",
	"user,nouser,users",
	"user=joe",
	"nofail",
	"_netdev",
	"x-systemd.automount,x-gvfs-show",
	"comment=a=b",
	",,defaults,,ro,",
};

START_TEST(mount_own_options)
{
	struct mountopts o;

	mountopts_init(&o);
	ck_assert_int_eq(mountopts_parse(&o, ignored[_i]), 0);
}
END_TEST

static const struct {
	const char *list, *unknown;
} bad[] = {
	{"bogus", "bogus"},
	{"ro,bogus=1,rw", "bogus=1"},
	{"r", "r"},
	{"roo", "roo"},
	{"ro=1", "ro=1"},
	{"threads=", "threads="},
	{"threads=x", "threads=x"},
	{"threads=-1", "threads=-1"},
	{"threads", "threads"},
	{"fsname=", "fsname="},
	{"userx", "userx"},
	{"subtype=0123456789012345678901234567890123456789012345678901234567890123",
	 "subtype=0123456789012345678901234567890123456789012345678901234"},
};

START_TEST(bad_options)
{
	struct mountopts o;

	mountopts_init(&o);
	ck_assert_int_eq(mountopts_parse(&o, bad[_i].list), WERR_USAGE);
	ck_assert_str_eq(o.unknown, bad[_i].unknown);
}
END_TEST

static const struct {
	const char *word;
	unsigned min, max;
} beyond[] = {
	{"threads=0", 1, 256},           {"threads=257", 1, 256},
	{"threads=99999999999", 1, 256}, {"threads=4294967297", 1, 256},
	{"max_background=0", 1, 65535},  {"max_background=65536", 1, 65535},
	{"memory=3", 16, 65535},         {"memory=15", 16, 65535},
};

START_TEST(out_of_bounds)
{
	struct mountopts o;

	mountopts_init(&o);
	ck_assert_int_eq(mountopts_parse(&o, beyond[_i].word), WERR_LIMIT);
	ck_assert_str_eq(o.unknown, beyond[_i].word);
	ck_assert_uint_eq(o.min, beyond[_i].min);
	ck_assert_uint_eq(o.max, beyond[_i].max);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mountopts");
	TCase *t = tcase_create("mountopts");

	tcase_add_test(t, defaults);
	tcase_add_test(t, all_options);
	tcase_add_test(t, later_words_win);
	tcase_add_loop_test(t, mount_own_options, 0, sizeof(ignored) / sizeof(ignored[0]));
	tcase_add_loop_test(t, bad_options, 0, sizeof(bad) / sizeof(bad[0]));
	tcase_add_loop_test(t, out_of_bounds, 0, sizeof(beyond) / sizeof(beyond[0]));
	suite_add_tcase(s, t);
	return unit_main(s);
}
