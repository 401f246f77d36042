// SPDX-License-Identifier: Apache-2.0
// What was begun and not ended: a checkpoint that fails after its cut, and goes on meanwhile.
//
//   halfway NAME, or halfway (all of them)
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/crash/simvault.h"

#define FILE_TYPE 1
#define DIR_TYPE 2
#define PAGES(n) ((size_t)(n)*SIM_PAGE)
#define SECONDS 150

// A small file that was never synced: the checkpoint that would store it fails after its cut; then
// it is renamed. What the journal says of it is of the time after the cut, what is durable of the
// time before.
static void flag_after_the_cut(void)
{
	static const struct simcut cuts[] = {
		{.what = SIMCUT_NONE},         {.what = SIMCUT_ALL},    {.what = SIMCUT_ONLY_FILE},
		{.what = SIMCUT_ALL_BUT_FILE}, {.what = SIMCUT_RANDOM}, {.what = SIMCUT_RANDOM},
	};
	static const enum simcall kinds[] = {SIM_SYNC_FOLDER, SIM_WRITE};

	for (unsigned i = 0; i < 2 * sizeof(cuts) / sizeof(cuts[0]); i++) {
		const struct simfault fault = {
			.kind = kinds[i % 2], .nth = 1, .count = 1, .error = WERR_IO};
		struct simvault v;
		char what[40];

		(void)snprintf(what, sizeof(what), "flag-after-the-cut %u", i);
		simvault_begin(&v, NULL);
		uint64_t d = sv_make(&v, FS_ROOT, "d", DIR_TYPE);

		EXPECT_OK(fs_checkpoint(v.fs));
		uint64_t ino = sv_make(&v, d, "f", FILE_TYPE);

		sv_put(&v, ino, 0, 800, 1);
		simhost_fail(v.disk, &fault);
		EXPECT(fs_checkpoint(v.fs), "%s: the checkpoint did not fail", what);
		EXPECT_OK(fs_rename(v.fs, d, "f", d, "g", 0));
		EXPECT_OK(fs_fsync_wait(v.fs, d));
		simvault_cut(&v, &cuts[i / 2], i);
		simvault_open(&v);
		d = sv_find(&v, FS_ROOT, "d");
		ino = sv_find(&v, d, "g");
		uint64_t size = sv_size(&v, ino);

		EXPECT(size == 0 || size == 800, "%s: size %lu", what, (unsigned long)size);
		sv_check_clean(&v, what);
		// Content comes to it, and goes: the entry follows.
		ino = sv_find(&v, sv_find(&v, FS_ROOT, "d"), "g");
		sv_put(&v, ino, 0, 3000, 2);
		sv_check_clean(&v, what);
		simvault_end(&v);
	}
}

// The journal cannot be written while the cut of a checkpoint puts pages into it: the cut is taken
// back, the vault stays writable, and what was changed before and after is stored when the cause is
// gone.
static void cut_taken_back(void)
{
	for (unsigned tries = 1; tries <= 3; tries++) {
		const struct simfault fault = {
			.kind = SIM_WRITE, .nth = 1, .count = UINT32_MAX, .error = WERR_IO};
		struct fs_status st;
		struct simvault v;

		simvault_begin(&v, NULL);
		uint64_t d = sv_make(&v, FS_ROOT, "d", DIR_TYPE);
		uint64_t ino = sv_make(&v, d, "f", FILE_TYPE);

		sv_put(&v, ino, 0, PAGES(30), 1);
		simvault_remount(&v);
		d = sv_find(&v, FS_ROOT, "d");
		ino = sv_find(&v, d, "f");
		sv_put(&v, ino, 0, PAGES(20), 2);
		sv_put(&v, sv_make(&v, d, "new", FILE_TYPE), 0, 800, 2);
		simhost_fail(v.disk, &fault);
		for (unsigned i = 0; i < tries; i++)
			EXPECT(fs_checkpoint(v.fs) == WERR_IO, "the checkpoint did not fail");
		simhost_fail_clear(v.disk);
		fs_get_status(v.fs, &st);
		EXPECT(!st.readonly, "read-only: %s", st.readonly_reason);
		EXPECT(sv_version(&v, ino, 0, PAGES(20)) == 2, "other content");
		sv_put(&v, sv_make(&v, d, "newer", FILE_TYPE), 0, PAGES(3), 3);
		EXPECT_OK(fs_rename(v.fs, d, "new", FS_ROOT, "moved", 0));
		if (tries % 2)
			EXPECT_OK(fs_checkpoint(v.fs));
		sv_check_clean(&v, "cut-taken-back");
		d = sv_find(&v, FS_ROOT, "d");
		EXPECT(sv_version(&v, sv_find(&v, d, "f"), 0, PAGES(20)) == 2,
		       "the overwritten part");
		EXPECT(sv_version(&v, sv_find(&v, d, "f"), PAGES(20), PAGES(10)) == 1, "the rest");
		EXPECT(sv_version(&v, sv_find(&v, d, "newer"), 0, PAGES(3)) == 3, "a newer file");
		EXPECT(sv_version(&v, sv_find(&v, FS_ROOT, "moved"), 0, 800) == 2, "a moved file");
		simvault_end(&v);
	}
}

static int change_name(struct simvault *v, uint64_t d, unsigned which)
{
	struct fs_stat st;

	switch (which) {
	case 0:
		return fs_rename(v->fs, d, "f", d, "g", 0);
	case 1:
		return fs_rename(v->fs, d, "f", d, "over", 0);
	case 2:
		return fs_rename(v->fs, d, "f", d, "over", FS_RENAME_EXCHANGE);
	case 3:
		return fs_unlink(v->fs, d, "f");
	case 4:
		return fs_link(v->fs, sv_find(v, d, "over"), d, "linked", &st);
	default:
		return fs_rmdir(v->fs, d, "empty");
	}
}

// The journal cannot be written when a name changes: the caller is told, nothing more is changed,
// reading goes on; the next mount has the names of before or of after, and everything that was
// durable.
static void names_without_a_journal(void)
{
	const struct simfault fault = {
		.kind = SIM_WRITE, .nth = 1, .count = UINT32_MAX, .error = WERR_IO};

	for (unsigned which = 0; which < 6; which++) {
		struct fs_status st;
		struct simvault v;

		simvault_begin(&v, NULL);
		uint64_t d = sv_make(&v, FS_ROOT, "d", DIR_TYPE);

		(void)sv_make(&v, d, "empty", DIR_TYPE);
		sv_put(&v, sv_make(&v, d, "f", FILE_TYPE), 0, PAGES(5), 1);
		sv_put(&v, sv_make(&v, d, "over", FILE_TYPE), 0, PAGES(5), 2);
		EXPECT_OK(fs_checkpoint(v.fs));
		simhost_fail(v.disk, &fault);
		int err = change_name(&v, d, which);

		simhost_fail_clear(v.disk);
		EXPECT(err == WERR_IO, "%u: answers %d", which, err);
		fs_get_status(v.fs, &st);
		EXPECT(st.readonly && strstr(st.readonly_reason, "journal"), "%u: '%s'", which,
		       st.readonly_reason);
		EXPECT(change_name(&v, d, (which + 1) % 6) == WERR_READONLY, "%u: goes on", which);
		uint64_t ino = sv_lookup(&v, d, "over");

		EXPECT(!ino || sv_version(&v, ino, 0, PAGES(5)) - 1 < 2, "%u: reading", which);
		simvault_kill(&v);
		simvault_open(&v);
		d = sv_find(&v, FS_ROOT, "d");
		uint64_t f = sv_lookup(&v, d, "f"), g = sv_lookup(&v, d, "g");
		uint64_t over = sv_find(&v, d, "over");
		uint64_t in_over = sv_version(&v, over, 0, PAGES(5));

		EXPECT(in_over == 2 || (in_over == 1 && (which == 1 || which == 2)), "%u: over",
		       which);
		EXPECT(f || which == 0 || which == 1 || which == 3, "%u: f is gone", which);
		EXPECT(f || g || which != 0, "%u: both names are gone", which);
		EXPECT(!f || sv_version(&v, f, 0, PAGES(5)) == 3 - in_over || which != 2, "%u: f",
		       which);
		sv_check_clean(&v, "names-without-a-journal");
		simvault_end(&v);
	}
}

static const struct {
	const char *name;
	void (*test)(void);
} tests[] = {
	{"flag-after-the-cut", flag_after_the_cut},
	{"cut-taken-back", cut_taken_back},
	{"names-without-a-journal", names_without_a_journal},
};

int main(int argc, char **argv)
{
	unsigned ran = 0;

	(void)alarm(SECONDS);
	for (unsigned i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		if (argc == 2 && strcmp(argv[1], tests[i].name) != 0)
			continue;
		tests[i].test();
		ran++;
	}
	return ran ? 0 : 2;
}
