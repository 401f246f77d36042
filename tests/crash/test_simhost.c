// SPDX-License-Identifier: Apache-2.0
// The simulator is only worth something if it loses what may be lost, keeps what must be kept, and
// finds planted bugs.
#include "tests/crash/simhost.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/unit_main.h"

#define ck_ok(expr) ck_assert_int_eq((expr), 0)
#define BLOCK 4096u
#define SEEDS 300

static const struct simcut cut_random = {.what = SIMCUT_RANDOM};
static const struct simcut cut_none = {.what = SIMCUT_NONE};
static const struct simcut cut_all = {.what = SIMCUT_ALL};

static uint64_t random_state;

static uint64_t rnd(uint64_t bound)
{
	random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
	return (random_state >> 33) % bound;
}

static struct host_file *open_top(struct host *h, const char *name, unsigned flags)
{
	struct host_file *f = NULL;

	ck_ok(h->ops->open_top(h, name, flags, &f));
	return f;
}

static void fill(struct host_file *f, uint8_t value, size_t len, uint64_t off)
{
	uint8_t *buf = malloc(len);

	ck_assert_ptr_nonnull(buf);
	memset(buf, value, len);
	ck_ok(host_pwrite(f, buf, len, off));
	free(buf);
}

// One byte of a file; -1 behind its end.
static int byte_at(struct host_file *f, uint64_t off)
{
	uint8_t byte = 0;
	size_t got = 0;

	ck_ok(host_pread(f, &byte, 1, off, &got));
	return got ? byte : -1;
}

static uint64_t size_of(struct host_file *f)
{
	uint64_t size = 0;

	ck_ok(f->host->ops->file_size(f, &size));
	return size;
}

// A synced top-level file "f" of `blocks` blocks of value 1, open in *ret_file.
static struct simhost *with_file(unsigned blocks, struct host **ret_host,
				 struct host_file **ret_file)
{
	struct simhost *s = simhost_new();
	struct host *h = simhost_open(s);
	struct host_file *f = open_top(h, "f", HOST_RDWR | HOST_CREATE | HOST_EXCL);

	fill(f, 1, blocks * BLOCK, 0);
	ck_ok(h->ops->datasync(f));
	ck_ok(h->ops->sync_top(h));
	*ret_host = h;
	*ret_file = f;
	return s;
}

static void done(struct simhost *s, struct host *h, struct host_file *f)
{
	if (f)
		h->ops->file_close(f);
	h->ops->close(h);
	simhost_free(s);
}

// The disk after a cut, with "f" opened in it (NULL when its name is gone).
static struct simhost *after(struct simhost *s, uint64_t seed, const struct simcut *cut,
			     struct host **ret_host, struct host_file **ret_file)
{
	struct simhost *n = simhost_clone_after_cut(s, seed, cut);

	*ret_host = simhost_open(n);
	*ret_file = NULL;
	int rc = (*ret_host)->ops->open_top(*ret_host, "f", HOST_RDWR, ret_file);
	ck_assert(!rc || rc == WERR_NOTFOUND);
	return n;
}

// ---- content against a plain array ----

#define ARRAY (40 * BLOCK)
static uint8_t array[ARRAY], synced[ARRAY];
static uint64_t array_size, synced_size;

static void check_equal(struct host_file *f, const uint8_t *bytes, uint64_t size)
{
	static uint8_t buf[ARRAY];
	size_t got = 0;

	ck_assert_uint_eq(size_of(f), size);
	ck_ok(host_pread(f, buf, ARRAY, 0, &got));
	ck_assert_uint_eq(got, size);
	ck_assert(!memcmp(buf, bytes, ARRAY));
}

static void random_change(struct host_file *f)
{
	const struct host_ops *ops = f->host->ops;
	uint64_t off = rnd(ARRAY);
	size_t len = (size_t)rnd(rnd(3) ? 300 : 5 * BLOCK);

	if (len > ARRAY - off)
		len = (size_t)(ARRAY - off);
	switch (rnd(6)) {
	case 0:
		ck_ok(ops->truncate(f, off));
		if (off < array_size)
			memset(array + off, 0, ARRAY - off);
		array_size = off;
		break;
	case 1:
		ck_ok(ops->punch(f, off, len));
		memset(array + off, 0, len);
		break;
	case 2:
		ck_ok(ops->datasync(f));
		memcpy(synced, array, ARRAY);
		synced_size = array_size;
		break;
	default: {
		uint8_t bytes[5 * BLOCK];
		const struct iovec iov[3] = {
			{bytes, len / 3}, {bytes + len / 3, 0}, {bytes + len / 3, len - len / 3}};

		for (size_t i = 0; i < len; i++)
			bytes[i] = (uint8_t)rnd(256);
		ck_ok(ops->pwritev(f, iov, 3, off));
		memcpy(array + off, bytes, len);
		if (len && off + len > array_size)
			array_size = off + len;
	}
	}
}

START_TEST(test_array)
{
	struct host *h, *h2;
	struct host_file *f, *f2;
	struct simhost *s = with_file(0, &h, &f);

	random_state = 7;
	for (unsigned i = 0; i < 1500; i++) {
		random_change(f);
		check_equal(f, array, array_size);
		if (i % 10)
			continue;
		struct simhost *n = after(s, i, &cut_all, &h2, &f2);
		check_equal(f2, array, array_size);
		ck_assert_uint_eq(simhost_unflushed(n), 0);
		done(n, h2, f2);
		n = after(s, i, &cut_none, &h2, &f2);
		check_equal(f2, synced, synced_size);
		done(n, h2, f2);
		// After a kill all is there, and still unflushed.
		struct simhost *k = simhost_clone_after_kill(s);
		ck_assert_uint_eq(simhost_unflushed(k), simhost_unflushed(s));
		n = after(k, i, &cut_none, &h2, &f2);
		check_equal(f2, synced, synced_size);
		done(n, h2, f2);
		n = after(k, i, &cut_all, &h2, &f2);
		check_equal(f2, array, array_size);
		done(n, h2, f2);
		simhost_free(k);
	}
	done(s, h, f);
}
END_TEST

// ---- what may be lost, and what not ----

// Every version of an unflushed block is found, each block for itself; nothing else is.
START_TEST(test_versions)
{
	struct host *h, *h2;
	struct host_file *f, *f2;
	struct simhost *s = with_file(2, &h, &f);
	unsigned seen[5][5] = {0};

	for (uint8_t v = 2; v <= 4; v++)
		fill(f, v, 2 * BLOCK, 0);
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct simhost *n = after(s, seed, &cut_random, &h2, &f2);
		int a = byte_at(f2, 0);
		int b = byte_at(f2, BLOCK);

		ck_assert(a >= 1 && a <= 4 && b >= 1 && b <= 4);
		ck_assert_int_eq(byte_at(f2, BLOCK - 1), a);
		ck_assert_int_eq(byte_at(f2, 2 * BLOCK - 1), b);
		seen[a][b]++;
		done(n, h2, f2);
	}
	for (int a = 1; a <= 4; a++)
		for (int b = 1; b <= 4; b++)
			ck_assert_msg(seen[a][b], "%d with %d never seen", a, b);
	// The same seed, the same disk.
	struct simhost *n = after(s, 5, &cut_random, &h2, &f2);
	int a = byte_at(f2, 0);
	done(n, h2, f2);
	n = after(s, 5, &cut_random, &h2, &f2);
	ck_assert_int_eq(byte_at(f2, 0), a);
	done(n, h2, f2);
	done(s, h, f);
}
END_TEST

START_TEST(test_tearing)
{
	static const char *const tears[] = {SIMCUT_TEAR_NONE, SIMCUT_TEAR_ALL, "f", "g"};
	struct host *h, *h2;
	struct host_file *f, *f2;
	struct simhost *s = with_file(1, &h, &f);

	fill(f, 2, BLOCK, 0);
	for (unsigned t = 0; t < 4; t++) {
		const struct simcut cut = {.what = SIMCUT_RANDOM, .tear = tears[t]};
		unsigned torn = 0;

		for (uint64_t seed = 0; seed < SEEDS; seed++) {
			struct simhost *n = after(s, seed, &cut, &h2, &f2);

			for (uint64_t at = 512; at < BLOCK; at += 512) {
				torn += byte_at(f2, at) != byte_at(f2, at - 1);
				ck_assert_int_eq(byte_at(f2, at), byte_at(f2, at + 511));
			}
			done(n, h2, f2);
		}
		ck_assert_int_eq(torn > 0, t == 1 || t == 2);
	}
	done(s, h, f);
}
END_TEST

// Old (1), cut to nothing, new (2): the old whole, or nothing of it.
START_TEST(test_truncate)
{
	struct host *h, *h2;
	struct host_file *f, *f2;
	struct simhost *s = with_file(3, &h, &f);
	unsigned old = 0, empty = 0, written = 0, lost = 0;

	ck_ok(h->ops->truncate(f, 0));
	fill(f, 2, BLOCK, BLOCK);
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct simhost *n = after(s, seed, &cut_random, &h2, &f2);
		uint64_t size = size_of(f2);

		if (size == 3 * BLOCK) {
			old++;
			for (unsigned b = 0; b < 3; b++)
				ck_assert_int_eq(byte_at(f2, b * BLOCK), 1);
		} else if (size == 0) {
			empty++;
			// Nothing comes back when it grows again.
			ck_ok(h2->ops->truncate(f2, 3 * BLOCK));
			ck_assert_int_eq(byte_at(f2, BLOCK), 0);
			ck_assert_int_eq(byte_at(f2, 2 * BLOCK), 0);
		} else {
			ck_assert_uint_eq(size, 2 * BLOCK);
			ck_assert_int_eq(byte_at(f2, 0), 0);
			int b = byte_at(f2, BLOCK);
			ck_assert(b == 2 || b == 0);
			written += b == 2;
			lost += b == 0;
		}
		done(n, h2, f2);
	}
	ck_assert_msg(old && empty && written && lost, "%u %u %u %u", old, empty, written, lost);
	done(s, h, f);
}
END_TEST

START_TEST(test_punch)
{
	struct host *h, *h2;
	struct host_file *f, *f2;
	struct simhost *s = with_file(3, &h, &f);
	unsigned seen[4] = {0};

	ck_ok(h->ops->punch(f, BLOCK, BLOCK));
	fill(f, 3, BLOCK, BLOCK);
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct simhost *n = after(s, seed, &cut_random, &h2, &f2);
		int b = byte_at(f2, BLOCK);

		ck_assert_int_eq(byte_at(f2, 0), 1);
		ck_assert_int_eq(byte_at(f2, 2 * BLOCK), 1);
		ck_assert(b == 0 || b == 1 || b == 3);
		seen[b]++;
		done(n, h2, f2);
	}
	ck_assert(seen[0] && seen[1] && seen[3]);
	simhost_no_punch(s);
	ck_assert_int_eq(h->ops->punch(f, 0, BLOCK), WERR_NOTSUP);
	done(s, h, f);
}
END_TEST

static int object_there(struct host *h, uint64_t number)
{
	struct host_file *f = NULL;
	int rc = h->ops->open_object(h, number, HOST_RDONLY, &f);

	if (!rc)
		h->ops->file_close(f);
	ck_assert(!rc || rc == WERR_NOTFOUND);
	return !rc;
}

static void make_object(struct host *h, uint64_t number)
{
	struct host_file *f = NULL;

	ck_ok(h->ops->open_object(h, number, HOST_RDWR | HOST_CREATE | HOST_EXCL, &f));
	fill(f, 9, BLOCK, 0);
	ck_ok(h->ops->datasync(f));
	h->ops->file_close(f);
}

// datasync is not enough for a name; sync_folder is, for the folder's own as well.
START_TEST(test_names)
{
	struct simhost *s = simhost_new();
	struct host *h = simhost_open(s);
	const uint64_t kept = 77, other = 78, gone = 79, elsewhere = 5ull << 55;
	unsigned seen[3][2] = {0};

	ck_assert_int_eq(object_there(h, kept), 0);
	make_object(h, kept);
	make_object(h, gone);
	ck_ok(h->ops->sync_folder(h, host_folder(kept)));
	ck_ok(h->ops->unlink_object(h, gone));
	make_object(h, other);
	make_object(h, elsewhere);
	ck_assert_uint_eq(simhost_objects(s), 3);
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct simhost *n = simhost_clone_after_cut(s, seed, &cut_random);
		struct host *h2 = simhost_open(n);

		ck_assert_int_eq(object_there(h2, kept), 1);
		seen[0][object_there(h2, other)]++;
		seen[1][object_there(h2, elsewhere)]++;
		seen[2][object_there(h2, gone)]++;
		done(n, h2, NULL);
	}
	for (unsigned i = 0; i < 3; i++)
		ck_assert_msg(seen[i][0] && seen[i][1], "name %u: %u %u", i, seen[i][0],
			      seen[i][1]);
	done(s, h, NULL);
}
END_TEST

static int count_name(void *arg, const char *name)
{
	(void)name;
	++*(int *)arg;
	return 0;
}

static int find_number(void *arg, const char *name, uint64_t number)
{
	uint64_t *found = arg;

	(void)name;
	found[number ? 0 : 1] = number ? number : found[1] + 1;
	return 0;
}

START_TEST(test_rename_and_lists)
{
	struct host *h, *h2;
	struct host_file *f, *f2;
	struct simhost *s = with_file(1, &h, &f);
	unsigned before = 0, afterwards = 0;
	uint64_t found[2] = {0};

	ck_ok(h->ops->rename_top(h, "f", "g"));
	ck_assert_int_eq(h->ops->rename_top(h, "f", "g"), WERR_NOTFOUND);
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct simhost *n = after(s, seed, &cut_random, &h2, &f2);
		int names = 0;

		ck_ok(h2->ops->list_top(h2, count_name, &names));
		ck_assert_int_eq(names, 1);
		before += f2 != NULL;
		afterwards += f2 == NULL;
		done(n, h2, f2);
	}
	ck_assert(before && afterwards);
	simhost_junk_object(s, 77);
	ck_assert_int_eq(h->ops->open_object(h, 77, HOST_RDWR | HOST_CREATE, &f2), WERR_DAMAGED);
	ck_ok(h->ops->set_aside(h, 77));
	ck_assert_int_eq(h->ops->set_aside(h, 77), WERR_NOTFOUND);
	make_object(h, 77);
	ck_ok(h->ops->list_folder(h, host_folder(77), find_number, found));
	ck_assert_uint_eq(found[0], 77);
	ck_assert_uint_eq(found[1], 1);
	done(s, h, f);
}
END_TEST

// Changes of one name keep their order, also through a rename: the victim is not removed before it
// was replaced.
START_TEST(test_name_order)
{
	struct host *h, *h2;
	struct host_file *f, *f2;
	struct simhost *s = with_file(1, &h, &f);
	unsigned seen[2][2] = {0};

	h->ops->file_close(open_top(h, "g", HOST_RDWR | HOST_CREATE));
	ck_ok(h->ops->sync_top(h));
	ck_ok(h->ops->rename_top(h, "f", "g"));
	ck_ok(h->ops->unlink_top(h, "g"));
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct simhost *n = after(s, seed, &cut_random, &h2, &f2);
		int names = 0;

		ck_ok(h2->ops->list_top(h2, count_name, &names));
		names -= f2 != NULL;
		seen[f2 != NULL][names]++;
		done(n, h2, f2);
	}
	ck_assert(seen[1][1] && seen[0][1] && seen[0][0]);
	ck_assert_uint_eq(seen[1][0], 0);
	done(s, h, f);
}
END_TEST

// ---- faults ----

START_TEST(test_faults)
{
	struct host *h;
	struct host_file *f;
	struct simhost *s = with_file(1, &h, &f);
	uint8_t byte = 5;

	uint64_t writes = simhost_calls(s, SIM_WRITE);
	simhost_fail(s, &(struct simfault){
				.kind = SIM_WRITE, .nth = 2, .count = 2, .error = WERR_QUOTA});
	ck_ok(host_pwrite(f, &byte, 1, 0));
	byte = 6;
	ck_assert_int_eq(host_pwrite(f, &byte, 1, 0), WERR_QUOTA);
	ck_assert_int_eq(host_pwrite(f, &byte, 1, 0), WERR_QUOTA);
	ck_assert_int_eq(byte_at(f, 0), 5);
	ck_ok(host_pwrite(f, &byte, 1, 0));
	ck_assert_uint_eq(simhost_calls(s, SIM_WRITE), writes + 4);
	simhost_fail(
		s, &(struct simfault){
			   .kind = SIM_WRITE, .nth = 1, .count = 1, .error = WERR_IO, .after = 1});
	byte = 7;
	ck_assert_int_eq(host_pwrite(f, &byte, 1, 0), WERR_IO);
	ck_assert_int_eq(byte_at(f, 0), 7);
	simhost_fail(
		s, &(struct simfault){.kind = SIM_ANY, .nth = 1, .count = 9, .error = WERR_MFILE});
	ck_assert_int_eq(h->ops->sync_top(h), WERR_MFILE);
	simhost_fail_clear(s);
	ck_ok(h->ops->sync_top(h));
	uint64_t calls = simhost_calls(s, SIM_ANY);
	simhost_power_off_after(s, 2);
	ck_ok(host_pwrite(f, &byte, 1, 1));
	ck_ok(host_pwrite(f, &byte, 1, 2));
	ck_assert_int_eq(simhost_is_off(s), 0);
	ck_assert_int_eq(host_pwrite(f, &byte, 1, 3), WERR_IO);
	ck_assert_int_eq(h->ops->datasync(f), WERR_IO);
	ck_assert_int_eq(simhost_is_off(s), 1);
	ck_assert_uint_eq(simhost_calls(s, SIM_ANY), calls + 4);
	struct simhost *n = simhost_clone_after_kill(s);
	struct host *h2 = simhost_open(n);
	struct host_file *f2 = open_top(h2, "f", HOST_RDONLY);
	ck_assert_int_eq(byte_at(f2, 2), 7);
	ck_assert_int_eq(byte_at(f2, 3), 1);
	ck_assert_int_eq(host_pwrite(f2, &byte, 1, 3), WERR_INTERNAL); // opened for reading
	done(n, h2, f2);
	done(s, h, f);
}
END_TEST

// After a failed flush the next one says that all is well, and it is not.
START_TEST(test_lost_pages)
{
	for (int rewritten = 0; rewritten < 2; rewritten++) {
		struct host *h, *h2;
		struct host_file *f, *f2;
		struct simhost *s = with_file(2, &h, &f);

		fill(f, 2, BLOCK, 0);
		simhost_fail(s,
			     &(struct simfault){
				     .kind = SIM_DATASYNC, .nth = 1, .count = 1, .error = WERR_IO});
		ck_assert_int_eq(h->ops->datasync(f), WERR_IO);
		fill(f, 2, BLOCK, rewritten ? 0 : BLOCK);
		ck_ok(h->ops->datasync(f));
		struct simhost *n = after(s, 1, &cut_none, &h2, &f2);
		ck_assert_int_eq(byte_at(f2, 0), rewritten ? 2 : 1);
		ck_assert_int_eq(byte_at(f2, BLOCK), rewritten ? 1 : 2);
		done(n, h2, f2);
		done(s, h, f);
	}
}
END_TEST

START_TEST(test_space_and_lock)
{
	struct host *h;
	struct host_file *f, *f2;
	struct simhost *s = with_file(2, &h, &f);
	struct host_space space;

	simhost_set_space(s, 4 * BLOCK);
	ck_ok(h->ops->space(h, &space));
	ck_assert_uint_eq(space.blocks_avail, 2);
	fill(f, 1, 2 * BLOCK, 2 * BLOCK);
	uint8_t byte = 1;
	ck_assert_int_eq(host_pwrite(f, &byte, 1, 9 * BLOCK), WERR_NOSPACE);
	ck_ok(host_pwrite(f, &byte, 1, 0)); // in place
	ck_ok(h->ops->punch(f, BLOCK, BLOCK));
	ck_ok(host_pwrite(f, &byte, 1, 9 * BLOCK));
	ck_ok(h->ops->truncate(f, BLOCK));
	f2 = open_top(h, "g", HOST_RDWR | HOST_CREATE);
	fill(f2, 1, 3 * BLOCK, 0);
	ck_ok(h->ops->unlink_top(h, "g"));
	ck_assert_int_eq(host_pwrite(f, &byte, 1, 9 * BLOCK), WERR_NOSPACE);
	h->ops->file_close(f2); // only now its blocks are free
	ck_ok(host_pwrite(f, &byte, 1, 9 * BLOCK));

	struct host *other = simhost_open(s);
	ck_ok(h->ops->lock(h, 0));
	ck_ok(other->ops->lock(other, 0));
	ck_assert_int_eq(other->ops->lock(other, 1), WERR_BUSY);
	h->ops->file_close(f);
	h->ops->close(h);
	ck_ok(other->ops->lock(other, 1));
	h = simhost_open(s);
	ck_assert_int_eq(h->ops->lock(h, 0), WERR_BUSY);
	struct simhost *n = simhost_clone_after_kill(s);
	struct host *h2 = simhost_open(n);
	ck_ok(h2->ops->lock(h2, 1));
	done(n, h2, NULL);
	other->ops->close(other);
	ck_ok(h->ops->lock(h, 1));
	done(s, h, NULL);
}
END_TEST

// ---- planted bugs ----

// A toy protocol: a new object of value v is written, then the log's byte v - 1 says that it is
// there, then the next. What a step leaves out is the planted bug.
struct toy {
	const char *name;
	int no_data_flush, no_folder_flush, no_log_flush, log_first, rename_unflushed;
	int broken;
};
static const struct toy toys[] = {
	{.name = "correct"},
	{.name = "no flush of the object", .no_data_flush = 1, .broken = 1},
	{.name = "no flush of the folder", .no_folder_flush = 1, .broken = 1},
	{.name = "no flush of the log", .no_log_flush = 1, .broken = 1},
	{.name = "log before the object", .log_first = 1, .broken = 1},
	{.name = "replaces without flushing", .rename_unflushed = 1, .broken = 1},
};
#define TOY_STEPS 3

// The summary file, replaced as a whole.
static int toy_summary(struct host *h, const struct toy *t, uint8_t v)
{
	uint8_t text[5000];
	struct host_file *f = NULL;

	memset(text, v, sizeof(text));
	if (!t->rename_unflushed)
		return host_replace_top(h, "summary", text, sizeof(text));
	int rc = h->ops->open_top(h, "summary.new", HOST_RDWR | HOST_CREATE, &f);
	if (rc)
		return rc;
	rc = host_pwrite(f, text, sizeof(text), 0);
	h->ops->file_close(f);
	if (!rc)
		rc = h->ops->rename_top(h, "summary.new", "summary");
	return rc ? rc : h->ops->sync_top(h);
}

static int toy_log(struct host *h, const struct toy *t, struct host_file *log, uint8_t v)
{
	int rc = host_pwrite(log, &v, 1, v - 1);

	return rc || t->no_log_flush ? rc : h->ops->datasync(log);
}

static int toy_step(struct host *h, const struct toy *t, struct host_file *log, uint8_t v)
{
	uint8_t page[BLOCK];
	struct host_file *f = NULL;
	int rc = t->log_first ? toy_log(h, t, log, v) : 0;

	if (!rc)
		rc = h->ops->open_object(h, v, HOST_RDWR | HOST_CREATE, &f);
	if (rc)
		return rc;
	memset(page, v, sizeof(page));
	rc = host_pwrite(f, page, sizeof(page), 0);
	if (!rc && !t->no_data_flush)
		rc = h->ops->datasync(f);
	h->ops->file_close(f);
	if (!rc && !t->no_folder_flush)
		rc = h->ops->sync_folder(h, host_folder(v));
	if (!rc && !t->log_first)
		rc = toy_log(h, t, log, v);
	return rc ? rc : toy_summary(h, t, v);
}

// Runs until the power goes after n calls; what was promised.
static uint8_t toy_run(struct simhost *s, const struct toy *t, uint64_t n)
{
	struct host *h = simhost_open(s);
	struct host_file *log = open_top(h, "log", HOST_RDWR | HOST_CREATE);
	uint8_t promised = 0;

	ck_ok(h->ops->sync_top(h));
	simhost_power_off_after(s, n);
	for (uint8_t v = 1; v <= TOY_STEPS && !toy_step(h, t, log, v); v++)
		promised = v;
	h->ops->file_close(log);
	h->ops->close(h);
	return promised;
}

static int toy_page_ok(struct host *h, uint8_t v)
{
	struct host_file *f = NULL;

	if (h->ops->open_object(h, v, HOST_RDONLY, &f))
		return 0;
	int ok = byte_at(f, 0) == v && byte_at(f, BLOCK - 1) == v;
	h->ops->file_close(f);
	return ok;
}

// Whether the disk holds all that was promised and nothing half.
static int toy_check(struct simhost *s, uint8_t promised)
{
	struct host *h = simhost_open(s);
	struct host_file *f = open_top(h, "log", HOST_RDONLY);
	uint8_t *summary = NULL;
	size_t len = 0;
	int ok = 1;

	for (uint8_t v = 1; v <= TOY_STEPS; v++) {
		int logged = byte_at(f, v - 1) == v;

		ok &= logged || v > promised;
		ok &= !logged || toy_page_ok(h, v);
	}
	h->ops->file_close(f);
	int rc = host_read_top(h, "summary", 5000, &summary, &len);
	if (rc)
		ok &= rc == WERR_NOTFOUND && !promised;
	else
		ok &= len == 5000 && summary[0] >= promised && summary[0] == summary[4999];
	free(summary);
	h->ops->close(h);
	return ok;
}

START_TEST(test_planted)
{
	const struct toy *t = &toys[_i];
	const struct simcut cuts[] = {{.what = SIMCUT_RANDOM},
				      {.what = SIMCUT_RANDOM, .tear = SIMCUT_TEAR_ALL},
				      {.what = SIMCUT_NONE},
				      {.what = SIMCUT_ALL},
				      {.what = SIMCUT_ONLY_FILE, .file = "log"},
				      {.what = SIMCUT_ALL_BUT_FILE, .file = "log"}};
	unsigned found = 0;

	for (uint64_t n = 0;; n++) {
		struct simhost *s = simhost_new();
		uint8_t promised = toy_run(s, t, n);
		int off = simhost_is_off(s);

		for (unsigned c = 0; c < sizeof(cuts) / sizeof(cuts[0]); c++) {
			for (uint64_t seed = 0; seed < 8; seed++) {
				struct simhost *d =
					simhost_clone_after_cut(s, seed + n * 8, &cuts[c]);

				found += !toy_check(d, promised);
				simhost_free(d);
			}
		}
		struct simhost *k = simhost_clone_after_kill(s);
		if (!t->log_first)
			ck_assert(toy_check(k, promised));
		simhost_free(k);
		simhost_free(s);
		if (!off)
			break;
	}
	ck_assert_msg(!found == !t->broken, "%s: %u found", t->name, found);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("simhost");
	TCase *c = tcase_create("all");

	tcase_set_timeout(c, 60);
	tcase_add_test(c, test_array);
	tcase_add_test(c, test_versions);
	tcase_add_test(c, test_tearing);
	tcase_add_test(c, test_truncate);
	tcase_add_test(c, test_punch);
	tcase_add_test(c, test_names);
	tcase_add_test(c, test_rename_and_lists);
	tcase_add_test(c, test_name_order);
	tcase_add_test(c, test_faults);
	tcase_add_test(c, test_lost_pages);
	tcase_add_test(c, test_space_and_lock);
	tcase_add_loop_test(c, test_planted, 0, sizeof(toys) / sizeof(toys[0]));
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	return unit_main(suite());
}
