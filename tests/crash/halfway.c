// SPDX-License-Identifier: Apache-2.0
// What was begun and not ended: a checkpoint that fails after its cut, and goes on meanwhile.
//
//   halfway NAME, or halfway (all of them)
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fusefs/check.h"
#include "tests/crash/simvault.h"

#define FILE_TYPE 1
#define DIR_TYPE 2
#define SECONDS 150

static void report(void *arg, const struct check_finding *f)
{
	fprintf(stderr, "%s: check: %s, object %016lx, %s\n", (const char *)arg,
		check_word(f->kind), (unsigned long)f->number, f->path ? f->path : "no path");
}

// A whole vault, closed, has nothing that check would report. Opens it again.
static void check_clean(struct simvault *v, const char *what)
{
	const struct check_params params = {
		.threads = 1, .found = report, .arg = (void *)(uintptr_t)what};
	const struct fs_params before = v->params;
	struct check_totals totals;

	simvault_close(v);
	v->params.readonly = 1;
	simvault_open(v);
	EXPECT_OK(fs_check(v->fs, &params, &totals));
	EXPECT(totals.notes + totals.damages + totals.tampered == 0, "%s: %lu findings", what,
	       (unsigned long)(totals.notes + totals.damages + totals.tampered));
	simvault_close(v);
	v->params = before;
	simvault_open(v);
}

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
		check_clean(&v, what);
		// Content comes to it, and goes: the entry follows.
		ino = sv_find(&v, sv_find(&v, FS_ROOT, "d"), "g");
		sv_put(&v, ino, 0, 3000, 2);
		check_clean(&v, what);
		simvault_end(&v);
	}
}

static const struct {
	const char *name;
	void (*test)(void);
} tests[] = {
	{"flag-after-the-cut", flag_after_the_cut},
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
