// SPDX-License-Identifier: Apache-2.0
// Repairs that the power cuts short, on a disk that is full, of a vault full of junk: whatever
// happens, running it again brings back all that was not in the damaged pages, and a whole vault
// behind it. The seed is printed; WARDFS_REPAIR_STRIDE: only every n-th host call.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "crypto/rng.h"
#include "crypto/secret.h"
#include "fusefs/check.h"
#include "fusefs/engine.h"
#include "fusefs/repair.h"
#include "tests/crash/simhost.h"
#include "tests/unit/unit_main.h"

#define DIRS 6
#define FILES 40
#define LINKED 8
#define BIG_PAGES 420u

static struct secret pass;
static uint64_t stride = 7, seed;

static void fill(uint8_t *buf, size_t len, unsigned d, unsigned f, unsigned page)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(d * 31 + f * 7 + page * 13 + i * 3 + 1);
}

// Inline, one page, some pages; one of them with a node on the way.
static size_t size_of(unsigned d, unsigned f)
{
	if (d == 0 && f == 0)
		return BIG_PAGES * WARD_PAGE;
	return f % 5 == 4 ? 9000 : 50 + f * 40;
}

static void name_of(char *out, size_t cap, const char *what, unsigned n)
{
	(void)snprintf(out, cap, "%s %03u", what, n);
}

// --- the vault ---

static struct vault *open_vault(struct simhost *disk, int readonly)
{
	struct vault *v = NULL;

	ck_assert_int_eq(vault_open(simhost_open(disk), &pass, readonly, &v), 0);
	return v;
}

static uint64_t make(struct fs *fs, uint64_t dir, const char *name, uint8_t type)
{
	struct fs_make m = {.type = type, .mode = 0644};
	struct fs_stat st;

	ck_assert_int_eq(fs_make(fs, dir, name, &m, &st), 0);
	return st.ino;
}

static void write_file(struct fs *fs, uint64_t ino, unsigned d, unsigned f)
{
	size_t size = size_of(d, f);
	uint8_t buf[WARD_PAGE];

	for (size_t at = 0; at < size; at += WARD_PAGE) {
		size_t n = size - at < WARD_PAGE ? size - at : WARD_PAGE;

		fill(buf, n, d, f, (unsigned)(at / WARD_PAGE));
		ck_assert_int_eq(fs_write(fs, ino, at, buf, n, 0), 0);
	}
}

static struct simhost *make_disk(void)
{
	struct vault_create_params params = {
		.kdf = {.memory_kib = ARGON_MEMORY_MIN_KIB, .passes = 1, .lanes = 1},
		.label = "",
		.created_s = 1700000000,
		.journal_bytes = JOURNAL_MIN_BYTES,
	};
	const struct fs_params fsp = {.manual = 1};
	struct simhost *disk = simhost_new();
	struct host *host = simhost_open(disk);
	struct fs *fs;
	char name[32];

	ck_assert_int_eq(vault_create(host, &params, &pass), 0);
	host->ops->close(host);
	struct vault *v = open_vault(disk, 0);
	ck_assert_int_eq(fs_open(v, &fsp, &fs), 0);
	for (unsigned d = 0; d < DIRS; d++) {
		name_of(name, sizeof(name), "dir", d);
		uint64_t dir = make(fs, FS_ROOT, name, OBJECT_DIR);

		for (unsigned f = 0; f < FILES; f++) {
			name_of(name, sizeof(name), "file", f);
			uint64_t ino = make(fs, dir, name, OBJECT_FILE);

			write_file(fs, ino, d, f);
			if (d == 1 && f < LINKED) {
				struct fs_stat st;

				name_of(name, sizeof(name), "link", f);
				ck_assert_int_eq(fs_link(fs, ino, FS_ROOT, name, &st), 0);
			}
		}
	}
	ck_assert_int_eq(fs_close(fs), 0);
	vault_close(v);
	return disk;
}

static uint64_t find(struct fs *fs, const char *dir, const char *name)
{
	struct fs_stat st = {.ino = FS_ROOT};

	if (fs_lookup(fs, FS_ROOT, dir, &st))
		return 0;
	if (name && fs_lookup(fs, st.ino, name, &st))
		return 0;
	return st.ino;
}

// --- damage ---

static void poke(struct simhost *disk, uint64_t number, uint64_t position)
{
	struct host *host = simhost_open(disk);
	struct host_file *f;
	uint8_t byte;

	ck_assert_int_eq(host->ops->open_object(host, number, HOST_RDWR, &f), 0);
	ck_assert_int_eq(host_pread(f, &byte, 1, position * WARD_PAGE + 600, NULL), 0);
	byte ^= 0x20;
	ck_assert_int_eq(host_pwrite(f, &byte, 1, position * WARD_PAGE + 600), 0);
	ck_assert_int_eq(host->ops->datasync(f), 0);
	host->ops->file_close(f);
	host->ops->close(host);
}

enum damage {
	DAMAGE_FILE = 1,   // a data page, a node page, a file's header
	DAMAGE_TABLE = 2,  // a page of a directory
	DAMAGE_HEADER = 4, // a directory's header
	DAMAGE_LINKS = 8,
	DAMAGE_ROOT = 16,
	DAMAGE_ALL = 15, // with the root the name of a directory without header would be lost
};

static void damage(struct simhost *disk, unsigned what)
{
	const struct fs_params params = {.manual = 1, .readonly = 1};
	struct vault *v = open_vault(disk, 1);
	struct fs *fs;

	ck_assert_int_eq(fs_open(v, &params, &fs), 0);
	uint64_t big = find(fs, "dir 000", "file 000"), small = find(fs, "dir 002", "file 003");
	uint64_t table = find(fs, "dir 003", NULL), header = find(fs, "dir 004", NULL);
	ck_assert_int_eq(fs_close(fs), 0);
	vault_close(v);
	ck_assert(big && small && table && header);
	if (what & DAMAGE_FILE) {
		poke(disk, big, tree_position(5));
		poke(disk, big, tree_position(250) - 1 - (250 - 208) % 128); // node of level 1
		poke(disk, small, 0);
	}
	if (what & DAMAGE_TABLE)
		poke(disk, table, tree_position(0));
	if (what & DAMAGE_HEADER)
		poke(disk, header, 0);
	if (what & DAMAGE_LINKS)
		poke(disk, LINKS_NUMBER, 0);
	if (what & DAMAGE_ROOT)
		poke(disk, FS_ROOT, tree_position(0));
}

// --- check and repair ---

// 0, and what was found; or the error of a disk that is off or full.
static int look(struct simhost *disk, struct check_plan *plan, struct check_totals *t)
{
	struct salvage salvage = {0};
	const struct fs_params params = {.manual = 1, .readonly = 1, .salvage = &salvage};
	const struct check_params check = {.threads = 1, .plan = plan};
	struct vault *v;
	struct fs *fs;
	int err = vault_open(simhost_open(disk), &pass, 1, &v);

	if (err)
		return err;
	err = fs_open(v, &params, &fs);
	if (!err) {
		err = fs_check(fs, &check, t);
		int closed = fs_close(fs);
		err = err ? err : closed;
	}
	free(salvage.dirs);
	vault_close(v);
	return err;
}

static int mend(struct simhost *disk, struct check_plan *plan)
{
	struct repair r = {.params = {.plan = plan, .quarantine = "quarantine"}};
	struct vault *v;
	struct fs *fs;
	int err = vault_open(simhost_open(disk), &pass, 0, &v);

	if (err)
		return err;
	err = repair_open(v, &r, &fs);
	if (!err)
		err = fs_close(fs);
	repair_clear(&r);
	vault_close(v);
	return err;
}

// Rounds as the program makes them.
static int repair(struct simhost *disk, struct check_totals *t)
{
	for (int round = 0;; round++) {
		struct check_plan plan = {0};
		int err = look(disk, &plan, t);
		int more = !err && (plan.damaged.len || plan.strays_len || plan.journal);

		if (more && round < 6)
			err = mend(disk, &plan);
		check_plan_clear(&plan);
		if (err || !more || round == 6)
			return err;
	}
}

// --- what must be there ---

static void check_content(struct fs *fs, uint64_t ino, unsigned d, unsigned f, unsigned what)
{
	bool header = d == 2 && f == 3, big = d == 0 && f == 0;
	size_t size = size_of(d, f), got;
	uint8_t buf[WARD_PAGE], wanted[WARD_PAGE];

	for (size_t at = 0; at < size; at += WARD_PAGE) {
		size_t n = size - at < WARD_PAGE ? size - at : WARD_PAGE;
		size_t page = at / WARD_PAGE;

		ck_assert_int_eq(fs_read(fs, ino, at, n, buf, &got), 0);
		ck_assert_uint_eq(got, n);
		fill(wanted, n, d, f, (unsigned)page);
		if (what & DAMAGE_FILE &&
		    (header || (big && (page == 5 || (page >= 208 && page < 336)))))
			memset(wanted, 0, n);
		ck_assert_msg(!memcmp(buf, wanted, n), "dir %u file %u page %zu differs", d, f,
			      page);
	}
}

static void check_tree(struct simhost *disk, unsigned what)
{
	const struct fs_params params = {.manual = 1};
	struct vault *v = open_vault(disk, 0);
	struct fs *fs;
	char dir[32], name[32];

	ck_assert_int_eq(fs_open(v, &params, &fs), 0);
	for (unsigned d = 0; d < DIRS; d++) {
		for (unsigned f = 0; f < FILES; f++) {
			name_of(dir, sizeof(dir), "dir", d);
			name_of(name, sizeof(name), "file", f);
			uint64_t ino = find(fs, dir, name);

			ck_assert_msg(ino, "%s/%s is gone", dir, name);
			check_content(fs, ino, d, f, what);
			// Names of links that stood in the damaged page of the root are in it
			// alone.
			if (d == 1 && f < LINKED && !(what & DAMAGE_ROOT)) {
				name_of(name, sizeof(name), "link", f);
				ck_assert_uint_eq(find(fs, name, NULL), ino);
			}
		}
	}
	ck_assert_int_eq(fs_close(fs), 0);
	vault_close(v);
}

static void check_whole(struct simhost *disk, unsigned what)
{
	struct check_totals t;

	ck_assert_int_eq(repair(disk, &t), 0);
	ck_assert_uint_eq(t.damages + t.tampered, 0);
	check_tree(disk, what);
	ck_assert_int_eq(look(disk, NULL, &t), 0);
	ck_assert_uint_eq(t.damages + t.tampered, 0);
}

static struct simhost *damaged(unsigned what)
{
	struct simhost *disk = make_disk();

	damage(disk, what);
	return disk;
}

static const unsigned combinations[] = {DAMAGE_FILE,  DAMAGE_TABLE, DAMAGE_HEADER,
					DAMAGE_LINKS, DAMAGE_ROOT,  DAMAGE_ALL};

START_TEST(test_each)
{
	unsigned what = combinations[_i];
	struct simhost *disk = damaged(what);
	struct check_totals t;

	ck_assert_int_eq(look(disk, NULL, &t), 0);
	ck_assert_uint_gt(t.damages, 0);
	check_whole(disk, what);
	simhost_free(disk);
}
END_TEST

// The power goes after n host calls of a repair, and again in the next one.
START_TEST(test_cut)
{
	unsigned what = combinations[_i];
	struct simhost *base = damaged(what);
	struct check_totals t;
	int more = 1;

	for (uint64_t n = 1 + seed % stride; more; n += stride) {
		static const struct simcut cuts[] = {
			{.what = SIMCUT_NONE},
			{.what = SIMCUT_ALL},
			{.what = SIMCUT_RANDOM, .tear = "wardfs.journal"},
			{.what = SIMCUT_ONLY_FILE, .file = "wardfs.journal"},
			{.what = SIMCUT_ALL_BUT_FILE, .file = "wardfs.journal"},
		};
		const struct simcut *cut = &cuts[(n / stride + seed) % 5];
		struct simhost *disk = simhost_clone_after_kill(base);

		simhost_power_off_after(disk, n);
		(void)!repair(disk, &t);
		more = simhost_is_off(disk);
		struct simhost *next = simhost_clone_after_cut(disk, seed + n, cut);
		simhost_free(disk);
		if (n % 3 == 0 && more) {
			simhost_power_off_after(next, n / 2 + 5);
			(void)!repair(next, &t);
			disk = simhost_clone_after_cut(next, seed + n + 1, cut);
			simhost_free(next);
			next = disk;
		}
		check_whole(next, what);
		simhost_free(next);
	}
	simhost_free(base);
}
END_TEST

// No room at any moment of it: it says so, and goes on when there is some.
START_TEST(test_no_space)
{
	struct simhost *base = damaged(DAMAGE_ALL);

	for (uint64_t nth = 1; nth < 400; nth += stride * 3) {
		struct simhost *disk = simhost_clone_after_kill(base);
		struct simfault fault = {
			.kind = SIM_WRITE, .nth = nth, .count = 1000000, .error = WERR_NOSPACE};
		struct check_totals t;

		simhost_fail(disk, &fault);
		(void)!repair(disk, &t);
		simhost_fail_clear(disk);
		check_whole(disk, DAMAGE_ALL);
		simhost_free(disk);
	}
	simhost_free(base);
}
END_TEST

// Random bytes under objects' names, objects in each other's places, things that are no files.
START_TEST(test_hostile)
{
	struct simhost *disk = make_disk();
	struct host *host = simhost_open(disk);
	struct check_totals t;
	uint8_t buf[WARD_PAGE];

	for (uint64_t i = 0; i < 300; i++) {
		uint64_t number = 0x0100000000000000ull + i * 0x0037000000000013ull;
		struct host_file *f;

		if (i % 10 == 9) {
			simhost_junk_object(disk, number & ~(1ull << 63));
			continue;
		}
		rng_bytes(buf, sizeof(buf));
		if (i % 2)
			memcpy(buf, "WARDOBJ\1\1\0\1\0\1\0\0\0", 16);
		ck_assert_int_eq(host->ops->open_object(host, number & ~(1ull << 63),
							HOST_RDWR | HOST_CREATE, &f),
				 0);
		ck_assert_int_eq(host_pwrite(f, buf, sizeof(buf), 0), 0);
		host->ops->file_close(f);
	}
	host->ops->close(host);
	ck_assert_int_eq(look(disk, NULL, &t), 0);
	ck_assert_uint_eq(t.damages + t.tampered, 0);
	ck_assert_uint_eq(t.kinds[CHECK_UNNAMED_JUNK], 300);
	check_whole(disk, 0);
	simhost_free(disk);
}
END_TEST

int main(void)
{
	const char *env = getenv("WARDFS_REPAIR_STRIDE");
	Suite *s = suite_create("repair");
	TCase *tc = tcase_create("repair");

	if (secret_init() || secret_copy(&pass, "repair", 6) || getrandom(&seed, 4, 0) != 4)
		return 1;
	if (getenv("WARDFS_REPAIR_SEED"))
		seed = strtoull(getenv("WARDFS_REPAIR_SEED"), NULL, 10);
	stride = env ? strtoull(env, NULL, 10) : 61;
	printf("WARDFS_REPAIR_SEED=%" PRIu64 "\n", seed);
	tcase_set_timeout(tc, 300);
	tcase_add_loop_test(tc, test_each, 0, 6);
	tcase_add_loop_test(tc, test_cut, 0, 6);
	tcase_add_test(tc, test_no_space);
	tcase_add_test(tc, test_hostile);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
