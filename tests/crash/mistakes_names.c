// SPDX-License-Identifier: Apache-2.0
// The likely mistakes with names.
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/crash/mistakes.h"
#include "tests/model/prng.h"

#define PAGES(n) ((size_t)(n)*SIM_PAGE)
#define FILE_TYPE 1
#define DIR_TYPE 2
#define MOVED_FILES 16u
#define ORPHANS 10000u
#define LISTED 100000u
#define BATCH 50u

static const struct simcut nothing = {.what = SIMCUT_NONE};

static struct {
	struct simvault v;
	uint64_t dirs[2];
	pthread_mutex_t turn; // held by the mover during a rename
	_Atomic int stop;
} moving = {.turn = PTHREAD_MUTEX_INITIALIZER};

static void *move_about(void *arg)
{
	struct prng rng = {.state = 1};
	unsigned in[MOVED_FILES] = {0};
	char name[16];

	(void)arg;
	while (!atomic_load(&moving.stop)) {
		unsigned i = (unsigned)prng_below(&rng, MOVED_FILES);

		(void)snprintf(name, sizeof(name), "f%u", i);
		pthread_mutex_lock(&moving.turn);
		EXPECT_OK(fs_rename(moving.v.fs, moving.dirs[in[i]], name, moving.dirs[1 - in[i]],
				    name, 0));
		pthread_mutex_unlock(&moving.turn);
		in[i] = 1 - in[i];
	}
	return NULL;
}

// Files move between two directories while checkpoints are made; each checkpoint has every file
// once.
void half_rename(void)
{
	struct simvault after;
	pthread_t thread;
	char name[16];

	simvault_begin(&moving.v, NULL);
	moving.dirs[0] = sv_make(&moving.v, FS_ROOT, "a", DIR_TYPE);
	moving.dirs[1] = sv_make(&moving.v, FS_ROOT, "b", DIR_TYPE);
	for (unsigned i = 0; i < MOVED_FILES; i++) {
		(void)snprintf(name, sizeof(name), "f%u", i);
		(void)sv_make(&moving.v, moving.dirs[0], name, FILE_TYPE);
	}
	EXPECT_OK(fs_checkpoint(moving.v.fs));
	EXPECT(pthread_create(&thread, NULL, move_about, NULL) == 0, "no thread");
	for (unsigned round = 0; round < 60; round++) {
		EXPECT_OK(fs_checkpoint(moving.v.fs));
		pthread_mutex_lock(&moving.turn);
		simvault_fork(&moving.v, &nothing, round, &after);
		pthread_mutex_unlock(&moving.turn);
		simvault_open(&after);
		uint64_t a = sv_find(&after, FS_ROOT, "a"), b = sv_find(&after, FS_ROOT, "b");

		for (unsigned i = 0; i < MOVED_FILES; i++) {
			(void)snprintf(name, sizeof(name), "f%u", i);
			int seen = (sv_lookup(&after, a, name) != 0) +
				   (sv_lookup(&after, b, name) != 0);

			EXPECT(seen == 1, "checkpoint %u has %s %d times", round, name, seen);
		}
		simvault_end(&after);
	}
	atomic_store(&moving.stop, 1);
	pthread_join(thread, NULL);
	simvault_end(&moving.v);
}

static uint8_t *host_bytes(struct simvault *v, uint64_t number, size_t *ret_len)
{
	struct host *host = simhost_open(v->disk);
	struct host_file *f;
	uint64_t size = 0;

	EXPECT_OK(host->ops->open_object(host, number, HOST_RDONLY, &f));
	EXPECT_OK(host->ops->file_size(f, &size));
	uint8_t *bytes = malloc((size_t)size);

	EXPECT(bytes, "no memory");
	EXPECT_OK(host_pread(f, bytes, (size_t)size, 0, NULL));
	host->ops->file_close(f);
	host->ops->close(host);
	*ret_len = (size_t)size;
	return bytes;
}

static void set_host_bytes(struct simvault *v, uint64_t number, const uint8_t *bytes, size_t len)
{
	struct host *host = simhost_open(v->disk);
	struct host_file *f;

	EXPECT_OK(host->ops->open_object(host, number, HOST_RDWR, &f));
	EXPECT_OK(host->ops->truncate(f, len));
	EXPECT_OK(host_pwrite(f, bytes, len, 0));
	EXPECT_OK(host->ops->datasync(f));
	host->ops->file_close(f);
	host->ops->close(host);
}

// Somebody brings the older object of a linked file back; it is opened by its second name.
void link_rolled_back(void)
{
	struct simvault v;
	struct fs_stat st;
	uint8_t page[SIM_PAGE];
	size_t len, got = 0;

	simvault_begin(&v, NULL);
	uint64_t d = sv_make(&v, FS_ROOT, "d", DIR_TYPE);
	uint64_t ino = sv_make(&v, FS_ROOT, "f", FILE_TYPE);

	sv_put(&v, ino, 0, PAGES(10), 1);
	EXPECT_OK(fs_link(v.fs, ino, d, "second", &st));
	simvault_close(&v);
	uint8_t *old = host_bytes(&v, ino, &len);

	simvault_open(&v);
	sv_put(&v, sv_find(&v, FS_ROOT, "f"), 0, PAGES(10), 2);
	simvault_close(&v);
	set_host_bytes(&v, ino, old, len);
	free(old);
	simvault_open(&v);
	ino = sv_find(&v, sv_find(&v, FS_ROOT, "d"), "second");
	int err = fs_read(v.fs, ino, 0, SIM_PAGE, page, &got);

	EXPECT(err, "the older content is read");
	simvault_end(&v);
}

// Written, renamed, changed again, fsynced, killed.
void old_parent(void)
{
	struct fs_setattr set = {.valid = FS_SET_MODE, .mode = 0600};
	struct simvault v;
	struct fs_stat st;

	simvault_begin(&v, NULL);
	uint64_t a = sv_make(&v, FS_ROOT, "a", DIR_TYPE), b = sv_make(&v, FS_ROOT, "b", DIR_TYPE);
	uint64_t ino = sv_make(&v, a, "f", FILE_TYPE);

	sv_put(&v, ino, 0, 100, 1);
	EXPECT_OK(fs_checkpoint(v.fs));
	EXPECT_OK(fs_rename(v.fs, a, "f", b, "g", 0));
	EXPECT_OK(fs_setattr(v.fs, ino, &set, &st));
	sv_sync(&v, ino);
	simvault_cut(&v, &nothing, 1);
	simvault_open(&v);
	b = sv_find(&v, FS_ROOT, "b");
	EXPECT_OK(fs_lookup(v.fs, b, "g", &st));
	EXPECT(st.attr.mode == 0600, "mode %o", st.attr.mode);
	simvault_end(&v);
}

// An unlinked file that is still open is read, and written, as before.
void orphan_early(void)
{
	struct simvault v;

	simvault_begin(&v, NULL);
	uint64_t ino = sv_make(&v, FS_ROOT, "f", FILE_TYPE);

	sv_put(&v, ino, 0, PAGES(30), 1);
	EXPECT_OK(fs_checkpoint(v.fs));
	EXPECT_OK(fs_unlink(v.fs, FS_ROOT, "f"));
	for (unsigned i = 0; i < 3; i++)
		EXPECT_OK(fs_checkpoint(v.fs));
	EXPECT(sv_version(&v, ino, 0, PAGES(30)) == 1, "its content is gone");
	sv_put(&v, ino, PAGES(5), PAGES(10), 2);
	EXPECT_OK(fs_checkpoint(v.fs));
	EXPECT(sv_version(&v, ino, PAGES(5), PAGES(10)) == 2, "what was written is gone");
	fs_forget(v.fs, ino, 1);
	for (unsigned i = 0; i < 3; i++)
		EXPECT_OK(fs_checkpoint(v.fs));
	EXPECT(simhost_objects(v.disk) == 1, "%lu host files are left", simhost_objects(v.disk));
	simvault_end(&v);
}

// Ten thousand unlinked files are open when the process is killed.
void orphan_never(void)
{
	struct simvault v;
	char name[16];

	simvault_begin(&v, NULL);
	for (unsigned i = 0; i < ORPHANS; i++) {
		(void)snprintf(name, sizeof(name), "f%u", i);
		sv_put(&v, sv_make(&v, FS_ROOT, name, FILE_TYPE), 0, 4096, 1 + i);
	}
	EXPECT_OK(fs_checkpoint(v.fs));
	EXPECT(simhost_objects(v.disk) == ORPHANS + 1, "%lu host files", simhost_objects(v.disk));
	for (unsigned i = 0; i < ORPHANS; i++) {
		(void)snprintf(name, sizeof(name), "f%u", i);
		EXPECT_OK(fs_unlink(v.fs, FS_ROOT, name));
	}
	simvault_kill(&v);
	simvault_open(&v);
	simvault_close(&v);
	EXPECT(simhost_objects(v.disk) == 1, "%lu host files are left", simhost_objects(v.disk));
	simvault_end(&v);
}

struct listing {
	uint8_t *seen;
	uint64_t cookie;
	unsigned n;
	char names[BATCH][16];
};

static int take_entry(void *arg, const struct fs_dirent *d)
{
	struct listing *l = arg;

	if (l->n == BATCH)
		return 1;
	l->cookie = d->cookie;
	if (d->name[0] == '.')
		return 0;
	(void)snprintf(l->names[l->n++], sizeof(l->names[0]), "%s", d->name);
	return 0;
}

// As rm -rf does: what was listed is removed before the next piece is asked for.
void counting_cookie(void)
{
	static struct listing l;
	struct simvault v;
	char name[16];

	simvault_begin(&v, NULL);
	uint64_t d = sv_make(&v, FS_ROOT, "d", DIR_TYPE);

	for (unsigned i = 0; i < LISTED; i++) {
		(void)snprintf(name, sizeof(name), "f%u", i);
		fs_forget(v.fs, sv_make(&v, d, name, FILE_TYPE), 1);
	}
	l.seen = calloc(1, LISTED);
	EXPECT(l.seen, "no memory");
	unsigned all = 0;

	do {
		l.n = 0;
		EXPECT_OK(fs_readdir(v.fs, d, l.cookie, 0, take_entry, &l));
		for (unsigned i = 0; i < l.n; i++) {
			unsigned long k = strtoul(l.names[i] + 1, NULL, 10);

			EXPECT(k < LISTED && !l.seen[k], "%s is listed twice", l.names[i]);
			l.seen[k] = 1;
			all++;
			if (k % 3)
				EXPECT_OK(fs_unlink(v.fs, d, l.names[i]));
		}
	} while (l.n);
	EXPECT(all == LISTED, "%u entries were listed of %u", all, LISTED);
	free(l.seen);
	simvault_end(&v);
}
