// SPDX-License-Identifier: Apache-2.0
// The likely mistakes with data.
#include <linux/falloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "tests/crash/mistakes.h"

#define PAGES(n) ((size_t)(n)*SIM_PAGE)
#define FILE_TYPE 1

static const struct simcut journal_only = {.what = SIMCUT_ONLY_FILE};
static const struct simcut nothing = {.what = SIMCUT_NONE};
static const struct simcut any = {.what = SIMCUT_RANDOM};

// A file of so many pages of version 1, durable.
static uint64_t durable_file(struct simvault *v, unsigned pages)
{
	uint64_t ino = sv_make(v, FS_ROOT, "f", FILE_TYPE);

	sv_put(v, ino, 0, PAGES(pages), 1);
	sv_sync(v, ino);
	EXPECT_OK(fs_checkpoint(v->fs));
	return ino;
}

// Every journal byte is durable, no byte of the object that was not flushed.
void record_before_pages(void)
{
	struct simvault v;

	simvault_begin(&v, NULL);
	uint64_t ino = sv_make(&v, FS_ROOT, "f", FILE_TYPE);

	sv_put(&v, ino, 0, PAGES(40), 1);
	sv_sync(&v, ino);
	simvault_cut(&v, &journal_only, 1);
	simvault_open(&v);
	ino = sv_find(&v, FS_ROOT, "f");
	EXPECT(sv_size(&v, ino) == PAGES(40), "size %lu", sv_size(&v, ino));
	EXPECT(sv_version(&v, ino, 0, PAGES(40)) == 1, "the pages are not those of the fsync");
	simvault_end(&v);
}

// Old or new, never a mixture and never an error.
static void check_truncated(struct simvault *v, uint64_t n)
{
	simvault_open(v);
	uint64_t ino = sv_find(v, FS_ROOT, "f"), size = sv_size(v, ino);

	if (size == PAGES(30)) {
		EXPECT(sv_version(v, ino, 0, size) == 1,
		       "cut after %lu calls: the old size, other content", n);
		return;
	}
	EXPECT(size <= PAGES(25), "cut after %lu calls: size %lu", n, size);
	for (uint64_t off = 0; off < size; off += SIM_PAGE) {
		uint64_t version = sv_version(v, ino, off, SIM_PAGE);

		EXPECT(version == 0 || version == 2,
		       "cut after %lu calls: page %lu has version %lu", n, off / SIM_PAGE, version);
	}
}

// The file is emptied and written anew; the power goes at each step, whatever was durable of it.
void write_after_truncate(void)
{
	static const enum simcut_what kinds[] = {SIMCUT_NONE, SIMCUT_ALL, SIMCUT_ONLY_FILE,
						 SIMCUT_ALL_BUT_FILE};
	struct fs_setattr empty = {.valid = FS_SET_SIZE};
	static uint8_t bytes[PAGES(25)];
	struct fs_stat st;

	for (uint64_t n = 0, ended = 0; !ended; n++) {
		struct simcut cut = {.what = kinds[n % 4]};
		struct simvault v;

		simvault_begin(&v, NULL);
		uint64_t ino = durable_file(&v, 30);

		sv_put(&v, ino, 0, 0, 2);
		simhost_power_off_after(v.disk, n);
		int err = fs_setattr(v.fs, ino, &empty, &st);

		if (err == 0 && !simhost_is_off(v.disk))
			sv_put(&v, ino, 0, PAGES(12), 2);
		if (err == 0 && !simhost_is_off(v.disk))
			err = fs_write(v.fs, ino, PAGES(12), bytes, PAGES(13), 0);
		ended = !simhost_is_off(v.disk);
		// What is written behind the twelfth page is zeros: as good as the second version.
		simvault_cut(&v, &cut, n);
		check_truncated(&v, n);
		simvault_end(&v);
	}
}

static struct {
	struct simvault v;
	uint64_t ino;
	pthread_t thread;
	int started;
	_Atomic int done;
	enum simcall at;
} injected;

static void *write_page(void *arg)
{
	(void)arg;
	sv_put(&injected.v, injected.ino, PAGES(5), SIM_PAGE, 2);
	atomic_store(&injected.done, 1);
	return NULL;
}

// The engine may rightly make the write wait until the commit has ended.
static void inject(void *arg, enum simcall kind)
{
	const struct timespec nap = {.tv_nsec = 1000000};

	(void)arg;
	if (kind != injected.at || injected.started)
		return;
	injected.started = 1;
	EXPECT(pthread_create(&injected.thread, NULL, write_page, NULL) == 0, "no thread");
	for (int i = 0; i < 200 && !atomic_load(&injected.done); i++)
		(void)nanosleep(&nap, NULL);
}

// A write of a page between the flush and the record that speaks of it.
void write_in_commit(void)
{
	struct simvault *v = &injected.v;

	simvault_begin(v, NULL);
	injected.ino = sv_make(v, FS_ROOT, "f", FILE_TYPE);
	sv_put(v, injected.ino, 0, PAGES(40), 1);
	injected.at = SIM_SYNC_FOLDER; // follows the flush of a new file
	simhost_on_call(v->disk, inject, NULL);
	sv_sync(v, injected.ino);
	simhost_on_call(v->disk, NULL, NULL);
	EXPECT(injected.started, "the moment did not come");
	pthread_join(injected.thread, NULL);
	simvault_cut(v, &journal_only, 1);
	simvault_open(v);
	uint64_t ino = sv_find(v, FS_ROOT, "f"), version = sv_version(v, ino, PAGES(5), SIM_PAGE);

	EXPECT(version == 1 || version == 2, "the page has version %lu", version);
	EXPECT(sv_version(v, ino, 0, PAGES(5)) == 1, "its neighbours have changed");
	simvault_end(v);
}

// A hole is committed, written to again; what gives the host its space back comes late.
void late_punch(void)
{
	struct simvault v;

	simvault_begin(&v, NULL);
	uint64_t ino = durable_file(&v, 30);

	EXPECT_OK(fs_fallocate(v.fs, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGES(4),
			       PAGES(16)));
	sv_sync(&v, ino);
	sv_put(&v, ino, PAGES(10), PAGES(2), 2);
	sv_sync(&v, ino);
	EXPECT_OK(fs_checkpoint(v.fs));
	EXPECT_OK(fs_checkpoint(v.fs));
	simvault_remount(&v);
	ino = sv_find(&v, FS_ROOT, "f");
	EXPECT(sv_version(&v, ino, PAGES(10), PAGES(2)) == 2, "the newer pages are gone");
	EXPECT(sv_version(&v, ino, PAGES(4), PAGES(6)) == 0, "the hole is none");
	simvault_end(&v);
}

// The same pages are overwritten five times without a flush of the file; any version of each may be
// on the disk.
void two_candidates(void)
{
	const struct fs_params params = {.manual = 1, .overlay_mib = 1};
	struct simvault v, after;

	simvault_begin(&v, &params);
	uint64_t ino = durable_file(&v, 300);

	for (uint64_t version = 2; version <= 6; version++)
		sv_put(&v, ino, 0, PAGES(300), version);
	for (uint64_t seed = 0; seed < 40; seed++) {
		simvault_fork(&v, &any, seed, &after);
		simvault_open(&after);
		uint64_t again = sv_find(&after, FS_ROOT, "f");

		for (uint64_t i = 0; i < 300; i++) {
			uint64_t version = sv_version(&after, again, PAGES(i), SIM_PAGE);

			EXPECT(version >= 1 && version <= 6, "page %lu has version %lu", i,
			       version);
		}
		EXPECT(after.refusals == 0, "a page was refused");
		simvault_end(&after);
	}
	simvault_end(&v);
}

// Cut inside the replay, and inside the replay of that, three levels deep.
void replay_once(void)
{
	struct simvault v, after;
	unsigned levels[4] = {0};

	simvault_begin(&v, NULL);
	uint64_t ino = durable_file(&v, 30);

	sv_put(&v, ino, 0, PAGES(20), 2);
	sv_make(&v, FS_ROOT, "g", FILE_TYPE);
	sv_sync(&v, ino);
	for (uint64_t n = 1; n < 60; n++) {
		simvault_fork(&v, &any, n, &after);
		for (unsigned level = 1; level <= 3; level++) {
			simhost_power_off_after(after.disk, n / level);
			int err = simvault_try_open(&after);

			EXPECT(err == 0 || simhost_is_off(after.disk),
			       "level %u: the vault is refused: %d (%s)", level, err,
			       werr_text(err));
			levels[level] += simhost_is_off(after.disk);
			simvault_cut(&after, &any, n + level);
		}
		simvault_open(&after);
		uint64_t again = sv_find(&after, FS_ROOT, "f");

		EXPECT(sv_version(&after, again, 0, PAGES(20)) == 2, "the fsynced pages are gone");
		EXPECT(sv_version(&after, again, PAGES(20), PAGES(10)) == 1, "the rest is gone");
		(void)sv_find(&after, FS_ROOT, "g");
		simvault_end(&after);
	}
	EXPECT(levels[3] > 10, "the third level was reached %u times only", levels[3]);
	simvault_end(&v);
}

// The host loses what was written and says so once, to those who have the file open then; more
// files are read meanwhile than may be open.
void evicted_error(void)
{
	static const char *const others[] = {"a", "b", "c", "d"};
	const struct fs_params params = {.manual = 1, .descriptors = 2};
	struct simvault v;

	simvault_begin(&v, &params);
	for (unsigned i = 0; i < 4; i++)
		sv_put(&v, sv_make(&v, FS_ROOT, others[i], FILE_TYPE), 0, PAGES(20), 1);
	EXPECT_OK(fs_checkpoint(v.fs));
	uint64_t ino = sv_make(&v, FS_ROOT, "f", FILE_TYPE);

	sv_put(&v, ino, 0, PAGES(40), 1);
	simhost_fail_writeback(v.disk, ino);
	for (unsigned i = 0; i < 4; i++)
		EXPECT(sv_version(&v, sv_find(&v, FS_ROOT, others[i]), 0, PAGES(20)) == 1,
		       "%s differs", others[i]);
	// The error is answered, or made good; then everything is written once more.
	int err = fs_fsync_wait(v.fs, ino);

	if (err) {
		err = fs_checkpoint(v.fs);
		EXPECT(err == 0 || err == WERR_IO, "checkpoint: %d (%s)", err, werr_text(err));
		EXPECT_OK(fs_checkpoint(v.fs));
	}
	simvault_cut(&v, &nothing, 1);
	simvault_open(&v);
	ino = sv_find(&v, FS_ROOT, "f");
	EXPECT(sv_size(&v, ino) == PAGES(40), "size %lu", sv_size(&v, ino));
	EXPECT(sv_version(&v, ino, 0, PAGES(40)) == 1, "what fsync answered is lost");
	simvault_end(&v);
}

// 5000 → 100 → 5000: what was cut off is zeros.
void old_tail(void)
{
	struct simvault v;

	simvault_begin(&v, NULL);
	uint64_t ino = sv_make(&v, FS_ROOT, "f", FILE_TYPE);

	sv_put(&v, ino, 0, 5000, 1);
	sv_sync(&v, ino);
	sv_truncate(&v, ino, 96);
	sv_truncate(&v, ino, 5000);
	simvault_remount(&v);
	ino = sv_find(&v, FS_ROOT, "f");
	EXPECT(sv_version(&v, ino, 0, 96) == 1, "the beginning is gone");
	EXPECT(sv_version(&v, ino, 96, 4000) == 0, "the old tail is back");
	EXPECT(sv_version(&v, ino, 4096, 904) == 0, "the old second page is back");
	simvault_end(&v);
}

#define PARKED 60u // 14 pages of each are more than three eighths of the journal

static struct {
	struct simvault v;
	uint64_t inos[PARKED];
	_Atomic unsigned left;
	_Atomic int slow;
} parked;

static void slow_flush(void *arg, enum simcall kind)
{
	const struct timespec nap = {.tv_nsec = 20000000};

	(void)arg;
	if (kind == SIM_DATASYNC && atomic_load(&parked.slow))
		(void)nanosleep(&nap, NULL);
}

static void one_less(void *arg, int err)
{
	(void)arg;
	EXPECT(err == 0, "fsync: %d (%s)", err, werr_text(err));
	atomic_fetch_sub(&parked.left, 1);
}

// The journal is full at once, and those who write wait for a checkpoint: it must not wait for
// them.
void write_parked(void)
{
	const struct fs_params params = {.checkpoint_ms = 60000};
	struct simvault *v = &parked.v;
	char name[16];

	simvault_begin(v, &params);
	simvault_close(v);
	simhost_on_call(v->disk, slow_flush, NULL);
	simvault_open(v);
	for (unsigned i = 0; i < PARKED; i++) {
		(void)snprintf(name, sizeof(name), "f%u", i);
		parked.inos[i] = sv_make(v, FS_ROOT, name, FILE_TYPE);
		sv_put(v, parked.inos[i], 0, PAGES(20), 1);
	}
	EXPECT_OK(fs_checkpoint(v->fs));
	for (uint64_t round = 2; round < 6; round++) {
		for (unsigned i = 0; i < PARKED; i++)
			sv_put(v, parked.inos[i], 0, PAGES(14), round);
		atomic_store(&parked.slow, 1);
		atomic_store(&parked.left, PARKED);
		for (unsigned i = 0; i < PARKED; i++)
			fs_fsync(v->fs, parked.inos[i], 0, one_less, NULL);
		while (atomic_load(&parked.left))
			sv_put(v, parked.inos[0], 0, PAGES(1), round);
		atomic_store(&parked.slow, 0);
	}
	simvault_remount(v);
	for (unsigned i = 0; i < PARKED; i++) {
		(void)snprintf(name, sizeof(name), "f%u", i);
		EXPECT(sv_version(v, sv_find(v, FS_ROOT, name), 0, PAGES(14)) == 5, "%s differs",
		       name);
	}
	simvault_end(v);
}
