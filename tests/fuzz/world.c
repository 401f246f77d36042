// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/world.h"

#include "crypto/rng.h"
#include "fusefs/journal.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/fixture.h"

#define DIRS_MAX 64
#define READ_BYTES 65536u

static struct simhost *disks[2];
static struct secret passphrase;
static uint64_t rng_state;

static uint64_t make(struct fs *fs, uint64_t parent, const char *name, uint8_t type,
		     const char *target)
{
	const struct fs_make how = {.type = type, .mode = 0644, .target = target};
	struct fs_stat st;

	FUZZ_NEED(fs_make(fs, parent, name, &how, &st) == 0);
	return st.ino;
}

static void fill(struct fs *fs, uint64_t ino, size_t len)
{
	uint8_t *buf = calloc(1, len);

	FUZZ_NEED(buf != NULL);
	memset(buf, 'w', len);
	FUZZ_NEED(fs_write(fs, ino, 0, buf, len, 0) == 0);
	free(buf);
}

static void populate(struct fs *fs)
{
	uint64_t d = make(fs, FS_ROOT, "d", OBJECT_DIR, NULL);
	struct fs_stat st;

	(void)make(fs, FS_ROOT, "empty", OBJECT_DIR, NULL);
	uint64_t small = make(fs, d, "small", OBJECT_FILE, NULL);
	fill(fs, small, 100);
	uint64_t middle = make(fs, d, "middle", OBJECT_FILE, NULL);
	fill(fs, middle, 12 * 4096 + 7);
	fill(fs, make(fs, d, "large", OBJECT_FILE, NULL), 400 * 4096);
	(void)make(fs, d, "symlink", OBJECT_SYMLINK, "middle");
	(void)make(fs, d, "fifo", OBJECT_FIFO, NULL);
	FUZZ_NEED(fs_link(fs, small, FS_ROOT, "linked", &st) == 0);
	FUZZ_NEED(fs_setxattr(fs, middle, "user.a", "value", 5, 0, NULL) == 0);
	FUZZ_NEED(fs_checkpoint(fs) == 0);
	// What a journal has records of.
	fill(fs, middle, 3 * 4096);
	FUZZ_NEED(fs_fsync_wait(fs, middle) == 0);
	fill(fs, make(fs, d, "new", OBJECT_FILE, NULL), 20000);
	FUZZ_NEED(fs_rename(fs, d, "new", FS_ROOT, "moved", 0) == 0);
	FUZZ_NEED(fs_unlink(fs, d, "fifo") == 0);
}

static void begin(void)
{
	const struct vault_create_params params = {
		.kdf = {.memory_kib = ARGON_MEMORY_MIN_KIB, .passes = 1, .lanes = 1},
		.label = "",
		.created_s = 1,
		.journal_bytes = JOURNAL_MIN_BYTES,
	};
	struct vault *v;
	struct fs *fs;

	FUZZ_NEED(secret_init() == 0 && secret_copy(&passphrase, "fuzz", 4) == 0);
	rng_state = 1;
	rng_replace(fixture_rng, &rng_state);
	struct simhost *disk = simhost_new();
	struct host *host = simhost_open(disk);
	FUZZ_NEED(vault_create(host, &params, &passphrase) == 0);
	host->ops->close(host);
	FUZZ_NEED(world_open_engine(disk, &v, &fs) == 0);
	populate(fs);
	disks[0] = simhost_clone_after_kill(disk);
	FUZZ_NEED(fs_close(fs) == 0);
	vault_close(v);
	disks[1] = simhost_clone_after_kill(disk);
	simhost_free(disk);
}

const struct secret *world_passphrase(void)
{
	return &passphrase;
}

struct simhost *world_disk(int clean)
{
	if (!disks[0])
		begin();
	rng_state = 99;
	return simhost_clone_after_kill(disks[clean != 0]);
}

int world_open_engine(struct simhost *disk, struct vault **ret_vault, struct fs **ret_fs)
{
	const struct fs_params params = {.manual = 1};
	int err = vault_open(simhost_open(disk), &passphrase, 0, ret_vault);

	if (err)
		return err;
	err = fs_open(*ret_vault, &params, ret_fs);
	if (err)
		vault_close(*ret_vault);
	return err;
}

struct walk {
	struct fs *fs;
	uint64_t dirs[DIRS_MAX];
	unsigned len, entries;
};

static int visit(void *arg, const struct fs_dirent *d)
{
	struct walk *w = arg;

	if (strcmp(d->name, ".") == 0 || strcmp(d->name, "..") == 0)
		return 0;
	if (++w->entries > 1000)
		return 1;
	if (w->len < DIRS_MAX)
		w->dirs[w->len++] = d->stat.ino;
	return 0;
}

void world_walk(struct fs *fs)
{
	static uint8_t buf[READ_BYTES];
	static char target[FS_TARGET_MAX + 1];
	struct walk w = {.fs = fs, .dirs = {FS_ROOT}, .len = 1};
	struct fs_stat st;
	size_t len;
	uint64_t at;

	for (unsigned i = 0; i < w.len; i++) {
		const uint64_t ino = w.dirs[i];

		if (fs_getattr(fs, ino, &st))
			continue;
		if (st.type == OBJECT_DIR)
			(void)!fs_readdir(fs, ino, 0, 1, visit, &w);
		if (st.type == OBJECT_SYMLINK)
			(void)!fs_readlink(fs, ino, target);
		if (st.type == OBJECT_FILE) {
			(void)!fs_read(fs, ino, 0, sizeof(buf), buf, &len);
			(void)!fs_read(fs, ino, 300ull * 4096, 4096, buf, &len);
			(void)!fs_lseek(fs, ino, 5, 4, &at); // SEEK_HOLE
		}
		(void)!fs_listxattr(fs, ino, (char *)buf, sizeof(buf), &len);
	}
}
