// SPDX-License-Identifier: Apache-2.0
// What fsync has answered is there after a power cut that keeps nothing else: behind a spill, with
// a journal that is full, after a failure that was tried again.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/argon.h"
#include "crypto/secret.h"
#include "fusefs/fs.h"
#include "fusefs/journal.h"
#include "fusefs/vault.h"
#include "tests/crash/simhost.h"
#include "tests/unit/unit_main.h"

#define ck_ok(expr) ck_assert_int_eq((expr), 0)
#define PAGE 4096u
#define CHUNK ((size_t)64 * 1024)

static struct {
	struct simhost *disk;
	struct vault *vault;
	struct fs *fs;
	struct secret passphrase;
} world;

static void open_world(void)
{
	struct fs_params params = {.manual = 1, .overlay_mib = 16};

	ck_ok(vault_open(simhost_open(world.disk), &world.passphrase, 0, &world.vault));
	ck_ok(fs_open(world.vault, &params, &world.fs));
}

static void setup(void)
{
	struct vault_create_params create = {
		.kdf = {.memory_kib = ARGON_MEMORY_MIN_KIB, .passes = 1, .lanes = 1},
		.label = "",
		.created_s = 1700000000,
		.journal_bytes = JOURNAL_MIN_BYTES,
	};

	ck_ok(secret_init());
	ck_ok(secret_copy(&world.passphrase, "fsync", 5));
	world.disk = simhost_new();
	struct host *host = simhost_open(world.disk);
	ck_ok(vault_create(host, &create, &world.passphrase));
	host->ops->close(host);
	open_world();
}

static void teardown(void)
{
	ck_ok(fs_close(world.fs));
	vault_close(world.vault);
	simhost_free(world.disk);
	secret_clear(&world.passphrase);
}

// The power goes; only what was flushed is left.
static void cut(void)
{
	struct simcut none = {.what = SIMCUT_NONE};

	simhost_power_off_after(world.disk, 0);
	fs_abandon(world.fs);
	vault_close(world.vault);
	struct simhost *after = simhost_clone_after_cut(world.disk, 1, &none);
	simhost_free(world.disk);
	world.disk = after;
	open_world();
}

static uint64_t make(const char *name)
{
	struct fs_make file = {.type = 1, .mode = 0644};
	struct fs_stat st;

	ck_ok(fs_make(world.fs, FS_ROOT, name, &file, &st));
	return st.ino;
}

static uint64_t find(const char *name)
{
	struct fs_stat st;

	ck_ok(fs_lookup(world.fs, FS_ROOT, name, &st));
	return st.ino;
}

static void fill(uint64_t ino, uint64_t off, size_t len, int with)
{
	uint8_t *buf = malloc(CHUNK);

	memset(buf, with, CHUNK);
	for (size_t at = 0; at < len; at += CHUNK) {
		size_t take = len - at < CHUNK ? len - at : CHUNK;

		ck_ok(fs_write(world.fs, ino, off + at, buf, take, 0));
	}
	free(buf);
}

// Every page of the range is filled with one byte.
static void check(uint64_t ino, uint64_t off, size_t len, int with)
{
	uint8_t *buf = malloc(len), *want = malloc(len);
	size_t got = 0;

	memset(want, with, len);
	ck_ok(fs_read(world.fs, ino, off, len, buf, &got));
	ck_assert_uint_eq(got, len);
	for (size_t at = 0; at < len; at += PAGE) {
		size_t take = len - at < PAGE ? len - at : PAGE;

		ck_assert_msg(memcmp(buf + at, want, take) == 0, "byte %zu is %d, not %d", at,
			      buf[at], with);
	}
	free(buf);
	free(want);
}

// Pages that left memory before the fsync: what it answers for is not only what it finds dirty.
START_TEST(test_behind_a_spill)
{
	const size_t len = (size_t)20 << 20;
	uint64_t ino = make("f");

	fill(ino, 0, len, 1);
	ck_ok(fs_checkpoint(world.fs));
	fill(ino, 0, len, 2);
	uint64_t flushes = simhost_calls(world.disk, SIM_DATASYNC);
	ck_ok(fs_fsync_wait(world.fs, ino));
	ck_assert_uint_gt(simhost_calls(world.disk, SIM_DATASYNC), flushes);
	fill(ino, 0, PAGE, 3); // one page, its image in the journal
	ck_ok(fs_fsync_wait(world.fs, ino));
	cut();
	ino = find("f");
	check(ino, 0, PAGE, 3);
	check(ino, PAGE, len - PAGE, 2);
}
END_TEST

START_TEST(test_image_behind_a_spill)
{
	const size_t len = (size_t)17 << 20;
	uint64_t ino = make("f");

	fill(ino, 0, len, 1);
	ck_ok(fs_checkpoint(world.fs));
	// Memory for a page is a little more than a page: the last of these writes finds too much,
	// and brings all before it to their places. What it writes itself is few pages.
	fill(ino, 0, (size_t)16 << 20, 2);
	ck_ok(fs_fsync_wait(world.fs, ino));
	cut();
	check(find("f"), 0, (size_t)16 << 20, 2);
}
END_TEST

// More images than the journal takes: a checkpoint answers, and the vault lives on.
START_TEST(test_full_journal)
{
	enum { FILES = 220 };
	uint64_t ino[FILES];
	char name[8];

	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof name, "f%d", i);
		ino[i] = make(name);
		fill(ino[i], 0, CHUNK, 1);
	}
	ck_ok(fs_checkpoint(world.fs));
	for (int i = 0; i < FILES; i++) {
		fill(ino[i], 0, CHUNK, 2);
	}
	for (int i = 0; i < FILES; i++) {
		ck_ok(fs_fsync_wait(world.fs, ino[i]));
	}
	ck_ok(fs_checkpoint(world.fs));
	fill(ino[0], 0, CHUNK, 3);
	ck_ok(fs_fsync_wait(world.fs, ino[0]));
	cut();
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof name, "f%d", i);
		check(find(name), 0, CHUNK, i ? 2 : 3);
	}
}
END_TEST

// The record could not be written: nothing counts as logged, nothing durable is overwritten.
// Loop: three sizes, and whether the fsync is tried again.
START_TEST(test_failed_append)
{
	static const size_t sizes[] = {100, 3 * PAGE, 40 * PAGE};
	const size_t size = sizes[_i % 3];
	const int again = _i / 3;
	struct simfault fault = {SIM_WRITE, 1, JOURNAL_WRITE_TRIES, WERR_IO, 0};
	uint64_t ino = make("f");

	fill(ino, 0, size, 1);
	ck_ok(fs_checkpoint(world.fs));
	fill(ino, 0, size, 2);
	simhost_fail(world.disk, &fault);
	ck_assert_int_eq(fs_fsync_wait(world.fs, ino), WERR_IO);
	simhost_fail_clear(world.disk);
	if (again) {
		ck_ok(fs_fsync_wait(world.fs, ino));
	}
	cut();
	check(find("f"), 0, size, 1 + again);
}
END_TEST

// The kernel takes pages whose write-back failed for clean: a second datasync proves nothing. Loop:
// which one fails.
START_TEST(test_lost_flush)
{
	uint64_t ino = make("f");
	fill(ino, 0, 3 * PAGE, 1);
	ck_ok(fs_checkpoint(world.fs));
	fill(ino, 0, 3 * PAGE, 2);
	ck_ok(fs_fsync_wait(world.fs, ino)); // images in the journal, placed
	fill(ino, 3 * PAGE, PAGE, 2);
	struct simfault fault = {SIM_DATASYNC, 1 + (unsigned)_i, 1, WERR_IO, 0};
	simhost_fail(world.disk, &fault);
	int err = fs_checkpoint(world.fs);
	simhost_fail_clear(world.disk);
	if (err) {
		ck_ok(fs_checkpoint(world.fs));
	}
	cut();
	check(find("f"), 0, 3 * PAGE, 2);
}
END_TEST

// Durable inline content must not come back as the first page of what was a hole when fsync
// answered.
START_TEST(test_hole_over_inline)
{
	struct fs_setattr empty = {.valid = FS_SET_SIZE};
	struct fs_stat st;
	uint64_t ino = make("f");

	fill(ino, 0, 584, 1);
	ck_ok(fs_checkpoint(world.fs));
	ck_ok(fs_setattr(world.fs, ino, &empty, &st));
	fill(ino, 4 * PAGE, PAGE, 2);
	ck_ok(fs_fsync_wait(world.fs, ino));
	cut();
	check(find("f"), 0, 4 * PAGE, 0);
	check(find("f"), 4 * PAGE, PAGE, 2);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("fsync");
	TCase *tcase = tcase_create("fsync");

	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, test_behind_a_spill);
	tcase_add_test(tcase, test_image_behind_a_spill);
	tcase_add_test(tcase, test_full_journal);
	tcase_add_test(tcase, test_hole_over_inline);
	tcase_add_loop_test(tcase, test_lost_flush, 0, 6);
	tcase_add_loop_test(tcase, test_failed_append, 0, 6);
	suite_add_tcase(suite, tcase);
	return unit_main(suite);
}
