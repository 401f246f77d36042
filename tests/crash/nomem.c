// SPDX-License-Identifier: Apache-2.0
// Memory that runs out: the nth allocation of each operation fails, alone or with all that follow
// it in the operation. The caller is told so, nothing has happened, nothing is lost or locked, the
// vault stays writable, and the same call works the next time.
//
//   nomem [OPERATION]
//
// Every third allocation, which ones is random; WARDFS_CRASH_STRIDE: every n-th.
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "crypto/secret.h"
#include "fusefs/rotate.h"
#include "fusefs/vault.h"
#include "tests/crash/simfile.h"
#include "tests/crash/simvault.h"

#define PAGES(n) ((size_t)(n)*SIM_PAGE)
#define FILE_TYPE 1
#define DIR_TYPE 2
#define SYMLINK_TYPE 3
#define SECONDS 900

// --- allocations that fail -----------------------------------------------------------------------

static struct {
	int armed, forever;
	uint64_t nth, seen, failed;
} heap;

static int fails(void)
{
	if (!heap.armed || sim_allocating)
		return 0;
	heap.seen++;
	if (heap.seen != heap.nth && !(heap.forever && heap.seen > heap.nth))
		return 0;
	heap.failed++;
	return 1;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_reallocarray(void *p, size_t n, size_t size);
char *__real_strdup(const char *s);
void *__real_secret_alloc(size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_reallocarray(void *p, size_t n, size_t size);
char *__wrap_strdup(const char *s);
void *__wrap_secret_alloc(size_t n);

void *__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return fails() ? NULL : __real_realloc(p, n);
}

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
	return fails() ? NULL : __real_reallocarray(p, n, size);
}

char *__wrap_strdup(const char *s)
{
	return fails() ? NULL : __real_strdup(s);
}

void *__wrap_secret_alloc(size_t n)
{
	return fails() ? NULL : __real_secret_alloc(n);
}

// --- the vault -----------------------------------------------------------------------------------

static struct {
	struct simvault v;
	uint64_t d, e, link, big, small, linked, new;
	char what[100];
	uint8_t *root_key;
} t;

static const char long_target[] = "a target that is longer than what stands in an entry: "
				  "0123456789012345678901234567890123456789012345678901234567890123"
				  "456789012345678901234567890"
				  "0123456789012345678901234567890123456789012345678901234567890123"
				  "456789012345678901234567890"
				  "0123456789012345678901234567890123456789012345678901234567890123"
				  "456789012345678901234567890"
				  "0123456789012345678901234567890123456789012345678901234567890123"
				  "456789012345678901234567890"
				  "0123456789012345678901234567890123456789012345678901234567890123"
				  "456789012345678901234567890"
				  "0123456789012345678901234567890123456789012345678901234567890123"
				  "456789012345678901234567890"
				  "0123456789012345678901234567890123456789012345678901234567890123"
				  "456789012345678901234567890"
				  "0123456789012345678901234567890123456789012345678901234567890123"
				  "456789012345678901234567890"
				  "0123456789012345678901234567890123456789012345678901234567890123"
				  "456789012345678901234567890"
				  "0123456789012345678901234567890123456789012345678901234567890123"
				  "456789012345678901234567890";

static int make(uint64_t dir, const char *name, uint8_t type, const char *target)
{
	const struct fs_make make = {.type = type, .mode = 0644, .target = target};
	struct fs_stat st;
	int err = fs_make(t.v.fs, dir, name, &make, &st);

	if (!err && type == FILE_TYPE)
		t.new = st.ino;
	return err;
}

static int set_xattr(uint64_t ino, const char *name, size_t len)
{
	static const uint8_t value[30000];

	return fs_setxattr(t.v.fs, ino, name, value, len, 0, NULL);
}

// Every kind of object, twice over, all of it durable.
static void stage(struct simvault *v)
{
	struct fs_stat st;

	t.v = *v;
	t.d = sv_make(&t.v, FS_ROOT, "d", DIR_TYPE);
	t.e = sv_make(&t.v, t.d, "e", DIR_TYPE);
	(void)sv_make(&t.v, t.d, "empty", DIR_TYPE);
	sv_put(&t.v, sv_make(&t.v, t.d, "big", FILE_TYPE), 0, PAGES(150), 1);
	sv_put(&t.v, sv_make(&t.v, t.d, "small", FILE_TYPE), 0, 800, 1);
	sv_put(&t.v, sv_make(&t.v, t.e, "other", FILE_TYPE), 0, PAGES(5), 1);
	uint64_t linked = sv_make(&t.v, t.d, "linked", FILE_TYPE);

	sv_put(&t.v, linked, 0, PAGES(3), 1);
	EXPECT_OK(fs_link(t.v.fs, linked, t.e, "second", &st));
	EXPECT_OK(set_xattr(linked, "user.big", 9000));
	uint64_t once = sv_make(&t.v, t.d, "once", FILE_TYPE); // linked, but one name is left

	sv_put(&t.v, once, 0, PAGES(3), 1);
	EXPECT_OK(fs_link(t.v.fs, once, t.e, "again", &st));
	EXPECT_OK(fs_unlink(t.v.fs, t.e, "again"));
	EXPECT_OK(make(t.d, "short", SYMLINK_TYPE, "target"));
	EXPECT_OK(make(t.d, "long", SYMLINK_TYPE, long_target));
	*v = t.v;
}

// Looked up, not loaded.
static void begin(struct simvault *base)
{
	static const struct simcut kept = {.what = SIMCUT_ALL};
	const struct fs_params params = {.manual = 1, .cache_mib = 1};

	simvault_fork(base, &kept, 1, &t.v);
	t.v.params = params;
	simvault_open(&t.v);
}

static void look(void)
{
	t.d = sv_find(&t.v, FS_ROOT, "d");
	t.e = sv_find(&t.v, t.d, "e");
	t.link = sv_find(&t.v, t.d, "long");
	t.big = sv_find(&t.v, t.d, "big");
	t.small = sv_find(&t.v, t.d, "small");
	t.linked = sv_find(&t.v, t.d, "linked");
}

// --- operations ----------------------------------------------------------------------------------

static int no_more(void *arg, const struct fs_dirent *d)
{
	(void)arg;
	(void)d;
	return 0;
}

static int op_lookup(void)
{
	struct fs_stat st;

	return fs_lookup(t.v.fs, t.e, "other", &st);
}

static int op_lookup_link(void)
{
	struct fs_stat st;

	return fs_lookup(t.v.fs, t.e, "second", &st);
}

static int op_readdir(void)
{
	return fs_readdir(t.v.fs, t.d, 0, 1, no_more, NULL);
}

static int op_readlink(void)
{
	static char buf[FS_TARGET_MAX + 1];

	return fs_readlink(t.v.fs, t.link, buf);
}

static int op_read(void)
{
	static uint8_t buf[PAGES(150)];
	size_t got;

	return fs_read(t.v.fs, t.big, 0, sizeof(buf), buf, &got);
}

static int op_create(void)
{
	return make(t.d, "new", FILE_TYPE, NULL);
}

static int op_mkdir(void)
{
	return make(t.e, "newdir", DIR_TYPE, NULL);
}

static int op_symlink(void)
{
	return make(t.d, "newlink", SYMLINK_TYPE, "to here");
}

static int op_symlink_long(void)
{
	return make(t.d, "newlink", SYMLINK_TYPE, long_target);
}

static int op_unlink(void)
{
	return fs_unlink(t.v.fs, t.d, "big");
}

static int op_unlink_link(void)
{
	return fs_unlink(t.v.fs, t.e, "second");
}

static int op_unlink_last_link(void)
{
	return fs_unlink(t.v.fs, t.d, "once");
}

static int op_rmdir(void)
{
	return fs_rmdir(t.v.fs, t.d, "empty");
}

static int op_rename(void)
{
	return fs_rename(t.v.fs, t.d, "big", t.e, "moved", 0);
}

static int op_rename_dir(void)
{
	return fs_rename(t.v.fs, t.d, "e", FS_ROOT, "moved", 0);
}

static int op_rename_over(void)
{
	return fs_rename(t.v.fs, t.d, "small", t.d, "big", 0);
}

static int op_rename_over_link(void)
{
	return fs_rename(t.v.fs, t.d, "small", t.d, "once", 0);
}

static int op_exchange(void)
{
	return fs_rename(t.v.fs, t.d, "small", t.e, "other", FS_RENAME_EXCHANGE);
}

static int op_link(void)
{
	struct fs_stat st;

	return fs_link(t.v.fs, t.big, t.e, "name", &st);
}

static int op_link_again(void)
{
	struct fs_stat st;

	return fs_link(t.v.fs, t.linked, t.e, "name", &st);
}

static int op_chmod(void)
{
	const struct fs_setattr set = {.valid = FS_SET_MODE, .mode = 0600};
	struct fs_stat st;

	return fs_setattr(t.v.fs, t.big, &set, &st);
}

static int truncate_to(uint64_t ino, uint64_t size)
{
	const struct fs_setattr set = {.valid = FS_SET_SIZE, .size = size};
	struct fs_stat st;

	return fs_setattr(t.v.fs, ino, &set, &st);
}

static int op_truncate_down(void)
{
	return truncate_to(t.big, PAGES(100) + 7);
}

static int op_truncate_up(void)
{
	return truncate_to(t.small, PAGES(3));
}

static int write_some(uint64_t ino, uint64_t off, size_t len)
{
	static const uint8_t zeros[PAGES(60)];

	return fs_write(t.v.fs, ino, off, zeros, len, 0);
}

static int op_write_inline(void)
{
	return write_some(t.small, 800, 100);
}

static int op_write_to_tree(void)
{
	return write_some(t.small, 800, 6000);
}

static int op_write_over(void)
{
	return write_some(t.big, PAGES(150), PAGES(50));
}

static int op_write_beyond(void)
{
	return write_some(t.big, PAGES(400), PAGES(20) + 5);
}

static int op_punch(void)
{
	return fs_fallocate(t.v.fs, t.linked, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGES(1),
			    PAGES(1));
}

static int op_copy(void)
{
	uint64_t done;

	return fs_copy_range(t.v.fs, t.linked, 0, t.small, PAGES(2), PAGES(3), &done);
}

static int op_getxattr(void)
{
	static uint8_t buf[10000];
	size_t len;

	return fs_getxattr(t.v.fs, t.linked, "user.big", buf, sizeof(buf), &len);
}

static int op_setxattr(void)
{
	return set_xattr(t.small, "user.a", 100);
}

static int op_setxattr_pages(void)
{
	return set_xattr(t.small, "user.a", 20000);
}

static int op_removexattr(void)
{
	return fs_removexattr(t.v.fs, t.linked, "user.big");
}

// Something of every kind is in memory only.
static void dirty(void)
{
	EXPECT_OK(make(t.d, "dirty", FILE_TYPE, NULL));
	EXPECT_OK(write_some(t.new, 0, PAGES(40)));
	EXPECT_OK(write_some(t.small, 0, 100));
	EXPECT_OK(write_some(t.big, PAGES(150), PAGES(20)));
	EXPECT_OK(set_xattr(t.linked, "user.a", 20000));
	EXPECT_OK(fs_unlink(t.v.fs, t.e, "other"));
	EXPECT_OK(fs_rename(t.v.fs, t.d, "empty", t.e, "not so empty", 0));
	EXPECT_OK(make(t.d, "dirtydir", DIR_TYPE, NULL));
	EXPECT_OK(truncate_to(t.big, PAGES(165)));
}

static void dirty_and_forgotten(void)
{
	dirty();
	fs_forget(t.v.fs, sv_find(&t.v, t.d, "once"), 1);
}

static int op_fsync(void)
{
	return fs_fsync_wait(t.v.fs, t.big);
}

static int op_fsync_new(void)
{
	return fs_fsync_wait(t.v.fs, t.new);
}

static int op_fsync_small(void)
{
	return fs_fsync_wait(t.v.fs, t.small);
}

static int op_fsync_dir(void)
{
	return fs_fsync_wait(t.v.fs, t.d);
}

static int op_checkpoint(void)
{
	return fs_checkpoint(t.v.fs);
}

static int op_freeze(void)
{
	int err = fs_freeze(t.v.fs, 10000, NULL, NULL);

	return err ? err : fs_thaw(t.v.fs);
}

static void with_rotation(void)
{
	const struct rotate_params params = {.level = VAULT_ROTATION_CONTENTS, .now_s = 1700000000};

	dirty();
	EXPECT_OK(rotate_begin(t.v.fs, t.root_key, &params));
}

static int op_rotate_begin(void)
{
	const struct rotate_params params = {.level = VAULT_ROTATION_KEYS, .now_s = 1700000000};

	return rotate_begin(t.v.fs, t.root_key, &params);
}

static int op_rotate(void)
{
	bool more = true;
	int err = 0;

	for (unsigned i = 0; more && err == 0 && i < 60; i++)
		err = rotate_step(t.v.fs, &more);
	return err;
}

static void close_it(void)
{
	simvault_close(&t.v);
}

static void kill_it(void)
{
	dirty();
	EXPECT_OK(fs_fsync_wait(t.v.fs, t.big));
	simvault_kill(&t.v);
}

static int op_open(void)
{
	return simvault_try_open(&t.v);
}

static const struct operation {
	const char *name;
	void (*before)(void);
	int (*act)(void);
} operations[] = {
	{"lookup", NULL, op_lookup},
	{"lookup-link", NULL, op_lookup_link},
	{"readdir", NULL, op_readdir},
	{"readlink", NULL, op_readlink},
	{"read", NULL, op_read},
	{"create", NULL, op_create},
	{"mkdir", NULL, op_mkdir},
	{"symlink", NULL, op_symlink},
	{"symlink-long", NULL, op_symlink_long},
	{"unlink", NULL, op_unlink},
	{"unlink-link", NULL, op_unlink_link},
	{"unlink-last-link", NULL, op_unlink_last_link},
	{"rmdir", NULL, op_rmdir},
	{"rename", NULL, op_rename},
	{"rename-dir", NULL, op_rename_dir},
	{"rename-over", NULL, op_rename_over},
	{"rename-over-dirty", dirty, op_rename_over},
	{"rename-over-link", NULL, op_rename_over_link},
	{"exchange", NULL, op_exchange},
	{"link", NULL, op_link},
	{"link-again", NULL, op_link_again},
	{"chmod", NULL, op_chmod},
	{"truncate-down", NULL, op_truncate_down},
	{"truncate-up", NULL, op_truncate_up},
	{"write-inline", NULL, op_write_inline},
	{"write-to-tree", NULL, op_write_to_tree},
	{"write-over", dirty, op_write_over},
	{"write-beyond", NULL, op_write_beyond},
	{"punch", NULL, op_punch},
	{"copy", NULL, op_copy},
	{"getxattr", NULL, op_getxattr},
	{"setxattr", NULL, op_setxattr},
	{"setxattr-pages", NULL, op_setxattr_pages},
	{"removexattr", NULL, op_removexattr},
	{"fsync", dirty, op_fsync},
	{"fsync-new", dirty, op_fsync_new},
	{"fsync-small", dirty, op_fsync_small},
	{"fsync-dir", dirty, op_fsync_dir},
	{"checkpoint", dirty_and_forgotten, op_checkpoint},
	{"freeze", dirty, op_freeze},
	{"rotate-begin", NULL, op_rotate_begin},
	{"rotate", with_rotation, op_rotate},
	{"open", close_it, op_open},
	{"replay", kill_it, op_open},
};

// --- one case ------------------------------------------------------------------------------------

static void works(void)
{
	static const char name[] = "afterwards";

	t.d = sv_find(&t.v, FS_ROOT, "d");
	uint64_t ino = sv_make(&t.v, t.d, name, FILE_TYPE);

	sv_put(&t.v, ino, 0, PAGES(30), 1);
	sv_sync(&t.v, ino);
	EXPECT_OK(fs_checkpoint(t.v.fs));
	EXPECT(sv_version(&t.v, ino, 0, PAGES(30)) == 1, "%s: other content", t.what);
	EXPECT_OK(fs_unlink(t.v.fs, t.d, name));
	fs_forget(t.v.fs, ino, 1);
}

// What no operation touches reads as it was.
static void untouched(void)
{
	uint64_t e = sv_lookup(&t.v, t.d, "e");
	uint64_t linked = sv_lookup(&t.v, t.d, "linked");

	e = e ? e : sv_find(&t.v, FS_ROOT, "moved");
	EXPECT(linked, "%s: a name is gone", t.what);
	EXPECT(sv_version(&t.v, linked, 0, PAGES(1)) == 1, "%s: other content", t.what);
	EXPECT(t.v.refusals == 0, "%s: something was refused", t.what);
}

static int one(struct simvault *base, const struct operation *op, uint64_t nth, int forever)
{
	struct fs_status st;

	(void)snprintf(t.what, sizeof(t.what), "%s, allocation %lu fails%s", op->name,
		       (unsigned long)nth, forever ? " with all that follow" : "");
	begin(base);
	look();
	if (op->before)
		op->before();
	heap.nth = nth;
	heap.forever = forever;
	heap.seen = heap.failed = 0;
	heap.armed = 1;
	int err = op->act();

	heap.armed = 0;
	int reached = heap.failed > 0;

	EXPECT(err == 0 || (reached && err == WERR_NOMEM), "%s: answers %d (%s)", t.what, err,
	       werr_text(err));
	if (err) {
		err = op->act();
		EXPECT(err == 0, "%s: the second time %d (%s)", t.what, err, werr_text(err));
	}
	fs_get_status(t.v.fs, &st);
	EXPECT(!st.readonly, "%s: read-only: %s", t.what, st.readonly_reason);
	works();
	untouched();
	if (nth % 2) {
		simvault_kill(&t.v);
		simvault_open(&t.v);
	}
	sv_check_clean(&t.v, t.what);
	t.d = sv_find(&t.v, FS_ROOT, "d");
	untouched();
	simvault_end(&t.v);
	return reached;
}

int main(int argc, char **argv)
{
	const char *env = getenv("WARDFS_CRASH_STRIDE");
	uint64_t seed = 0, number = 0, stride = env ? strtoull(env, NULL, 10) : 3, cases = 0;
	struct simvault base;

	EXPECT(getrandom(&seed, 4, 0) == 4, "no randomness");
	stride = stride ? stride : 1;
	(void)alarm(SECONDS);
	simvault_begin(&base, NULL);
	stage(&base);
	static uint8_t header[VAULT_HEADER_BYTES];

	EXPECT_OK(vault_copy_header(base.vault, header));
	EXPECT_OK(vault_root_key(header, &base.passphrase, &t.root_key));
	simvault_close(&base);
	for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
		if (argc == 2 && strcmp(argv[1], operations[i].name) != 0)
			continue;
		for (int forever = 0; forever < 2; forever++) {
			int reached = 1;

			for (uint64_t nth = 1; reached; nth++) {
				if ((number++ + seed) % stride && nth < 2000)
					continue;
				reached = one(&base, &operations[i], nth, forever);
				cases++;
			}
		}
	}
	secret_free(t.root_key);
	simvault_end(&base);
	printf("%lu cases\n", (unsigned long)cases);
	return 0;
}
