// SPDX-License-Identifier: Apache-2.0
// Where a file stands while it is renamed, and directories that cannot be read: what fsync has
// answered is found again. places NAME.
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fusefs/engine.h"
#include "tests/crash/simvault.h"

#define PAGES(n) ((size_t)(n)*SIM_PAGE)
#define FILE_TYPE 1
#define DIR_TYPE 2
#define SECONDS 150 // longer is hanging
#define NODES 21u   // files of the directory that is moved

static const struct simcut nothing = {.what = SIMCUT_NONE}, everything = {.what = SIMCUT_ALL};

// ---- an fsync while a rename of the same file waits ----

static struct {
	struct simvault v;
	uint64_t a, x, victim;
	pthread_t reader;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool reading, go_on;
	_Atomic int renamer; // its thread number
	unsigned flags;
} waits = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};

static void hold_reader(void *arg, enum simcall kind)
{
	(void)arg;
	if (kind != SIM_READ || !pthread_equal(pthread_self(), waits.reader)) {
		return;
	}
	pthread_mutex_lock(&waits.lock);
	waits.reading = true;
	pthread_cond_broadcast(&waits.cond);
	while (!waits.go_on) {
		pthread_cond_wait(&waits.cond, &waits.lock);
	}
	pthread_mutex_unlock(&waits.lock);
}

static void *read_victim(void *arg)
{
	uint8_t page[SIM_PAGE];
	size_t got;

	(void)arg;
	pthread_mutex_lock(&waits.lock);
	waits.reader = pthread_self();
	pthread_mutex_unlock(&waits.lock);
	EXPECT_OK(fs_read(waits.v.fs, waits.victim, 0, sizeof page, page, &got));
	return NULL;
}

static void *rename_x(void *arg)
{
	(void)arg;
	atomic_store(&waits.renamer, (int)gettid());
	if (waits.flags & FS_RENAME_EXCHANGE) {
		EXPECT_OK(fs_rename(waits.v.fs, FS_ROOT, "v", waits.a, "x", waits.flags));
	} else {
		EXPECT_OK(fs_rename(waits.v.fs, waits.a, "x", FS_ROOT, "v", waits.flags));
	}
	return NULL;
}

// Until the thread sleeps: nothing else makes it.
static void wait_for_sleep(int thread)
{
	char path[64], line[256];

	(void)snprintf(path, sizeof path, "/proc/self/task/%d/stat", thread);
	for (unsigned asleep = 0; asleep < 5;) {
		FILE *f = fopen(path, "re");
		EXPECT(f && fgets(line, sizeof line, f), "no %s", path);
		(void)fclose(f);
		const char *state = strrchr(line, ')');

		asleep = state && state[1] && state[2] == 'S' ? asleep + 1 : 0;
		(void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
}

static void synced_in_rename(unsigned flags)
{
	pthread_t reader, renamer;
	struct simvault before;

	waits.flags = flags;
	simvault_begin(&waits.v, NULL);
	waits.a = sv_make(&waits.v, FS_ROOT, "a", DIR_TYPE);
	sv_put(&waits.v, sv_make(&waits.v, waits.a, "x", FILE_TYPE), 0, PAGES(40), 1);
	sv_put(&waits.v, sv_make(&waits.v, FS_ROOT, "v", FILE_TYPE), 0, PAGES(40), 1);
	simvault_remount(&waits.v);
	waits.a = sv_find(&waits.v, FS_ROOT, "a");
	waits.x = sv_find(&waits.v, waits.a, "x");
	waits.victim = sv_find(&waits.v, FS_ROOT, "v");
	EXPECT(sv_version(&waits.v, waits.x, 0, PAGES(40)) == 1, "x is not read");
	if (flags & FS_RENAME_EXCHANGE) { // it is loaded: only the change itself waits
		EXPECT(sv_version(&waits.v, waits.victim, 0, SIM_PAGE) == 1, "v is not read");
	}

	simhost_on_call(waits.v.disk, hold_reader, NULL);
	pthread_mutex_lock(&waits.lock);
	EXPECT(pthread_create(&reader, NULL, read_victim, NULL) == 0, "no thread");
	while (!waits.reading) {
		pthread_cond_wait(&waits.cond, &waits.lock);
	}
	pthread_mutex_unlock(&waits.lock);
	EXPECT(pthread_create(&renamer, NULL, rename_x, NULL) == 0, "no thread");
	while (!atomic_load(&waits.renamer)) {
		(void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	wait_for_sleep(atomic_load(&waits.renamer));

	sv_put(&waits.v, waits.x, 0, SIM_PAGE, 2);
	sv_sync(&waits.v, waits.x);
	simvault_fork(&waits.v, &nothing, 1, &before);
	simvault_open(&before);
	uint64_t x = sv_find(&before, sv_find(&before, FS_ROOT, "a"), "x");
	uint64_t version = sv_version(&before, x, 0, SIM_PAGE);
	EXPECT(version == 2, "a/x has version %llu", (unsigned long long)version);
	simvault_end(&before);

	pthread_mutex_lock(&waits.lock);
	waits.go_on = true;
	pthread_cond_broadcast(&waits.cond);
	pthread_mutex_unlock(&waits.lock);
	pthread_join(reader, NULL);
	pthread_join(renamer, NULL);
	simhost_on_call(waits.v.disk, NULL, NULL);
	simvault_cut(&waits.v, &everything, 1);
	simvault_open(&waits.v);
	x = sv_find(&waits.v, FS_ROOT, "v");
	EXPECT(sv_version(&waits.v, x, 0, SIM_PAGE) == 2, "the first page of v is another");
	EXPECT(sv_version(&waits.v, x, SIM_PAGE, PAGES(39)) == 1, "the rest of v is another");
	simvault_end(&waits.v);
}

static void rename_over_waits(void)
{
	synced_in_rename(0);
}

static void exchange_waits(void)
{
	synced_in_rename(FS_RENAME_EXCHANGE);
}

// ---- a directory that the host could not read when it was renamed ----

static void moved_unread(void)
{
	struct simfault fault = {SIM_READ, 1, 1, WERR_IO, 0};
	struct simvault v;
	char name[16];

	simvault_begin(&v, NULL);
	uint64_t a = sv_make(&v, FS_ROOT, "a", DIR_TYPE), b = sv_make(&v, FS_ROOT, "b", DIR_TYPE);
	uint64_t h = sv_make(&v, a, "h", DIR_TYPE);
	(void)sv_make(&v, b, "other", FILE_TYPE);
	for (unsigned i = 0; i < NODES; i++) {
		(void)snprintf(name, sizeof name, "x%u", i);
		sv_put(&v, sv_make(&v, h, name, FILE_TYPE), 0, 100, 1);
	}
	simvault_remount(&v);
	a = sv_find(&v, FS_ROOT, "a");
	b = sv_find(&v, FS_ROOT, "b");
	h = sv_find(&v, a, "h");
	(void)sv_find(&v, b, "other");
	simhost_fail(v.disk, &fault);
	int err = fs_rename(v.fs, a, "h", b, "h", 0);
	simhost_fail_clear(v.disk);
	EXPECT(err == 0 || err == WERR_IO, "rename: %d", err);
	EXPECT_OK(fs_checkpoint(v.fs));
	uint64_t x = sv_find(&v, h, "x0");
	sv_put(&v, x, 0, 100, 2);
	sv_sync(&v, x);
	simvault_kill(&v);
	simvault_open(&v);
	EXPECT_OK(fs_checkpoint(v.fs));
	simvault_remount(&v);
	h = sv_find(&v, sv_find(&v, FS_ROOT, err ? "a" : "b"), "h");
	EXPECT(sv_version(&v, sv_find(&v, h, "x0"), 0, 96) == 2, "x0 is another");
	for (unsigned i = 1; i < NODES; i++) {
		(void)snprintf(name, sizeof name, "x%u", i);
		EXPECT(sv_version(&v, sv_find(&v, h, name), 0, 96) == 1, "%s is another", name);
	}
	simvault_end(&v);
}

// ---- a directory that cannot be read when a checkpoint needs it ----

#define OTHERS 600u

static uint64_t others[OTHERS];

// d/x is looked up, d itself is not in memory any more.
static void begin_swept(struct simvault *v, uint64_t *ret_d, uint64_t *ret_x)
{
	static const struct fs_params params = {.manual = 1, .cache_mib = 1};
	char name[16];

	simvault_begin(v, &params);
	uint64_t d = sv_make(v, FS_ROOT, "d", DIR_TYPE), o = sv_make(v, FS_ROOT, "o", DIR_TYPE);
	sv_put(v, sv_make(v, d, "x", FILE_TYPE), 0, 100, 1);
	for (unsigned i = 0; i < OTHERS; i++) {
		(void)snprintf(name, sizeof name, "y%u", i);
		sv_put(v, sv_make(v, o, name, FILE_TYPE), 0, 100, 1);
	}
	simvault_remount(v);
	*ret_d = sv_find(v, FS_ROOT, "d");
	*ret_x = sv_find(v, *ret_d, "x");
	o = sv_find(v, FS_ROOT, "o");
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < OTHERS; i++) {
			(void)snprintf(name, sizeof name, "y%u", i);
			others[i] = round ? others[i] : sv_find(v, o, name);
			EXPECT(sv_version(v, others[i], 0, 96) == 1, "%s is another", name);
		}
		EXPECT_OK(fs_checkpoint(v->fs));
	}
	struct node *n = node_find(v->fs, *ret_d);
	EXPECT(n && !n->obj, "the directory is still in memory");
	node_put(v->fs, n);
}

static void expect_other(struct simvault *v, uint64_t version)
{
	uint64_t y = sv_find(v, sv_find(v, FS_ROOT, "o"), "y0");

	EXPECT(sv_version(v, y, 0, 96) == version, "y0 is another");
}

static void expect_writable(struct simvault *v)
{
	struct fs_status status;

	fs_get_status(v->fs, &status);
	EXPECT(!status.readonly, "read-only: %s", status.readonly_reason);
}

// The host has one bad moment.
static void one_bad_read(void)
{
	struct simfault fault = {SIM_READ, 1, 1, WERR_IO, 0};
	struct simvault v;
	uint64_t d, x;

	begin_swept(&v, &d, &x);
	sv_put(&v, others[0], 0, 100, 7);
	sv_put(&v, x, 0, 100, 2);
	simhost_fail(v.disk, &fault);
	int err = fs_checkpoint(v.fs);
	simhost_fail_clear(v.disk);
	expect_writable(&v);
	if (err) {
		EXPECT_OK(fs_checkpoint(v.fs));
	}
	simvault_cut(&v, &nothing, 1);
	simvault_open(&v);
	expect_other(&v, 7);
	x = sv_find(&v, sv_find(&v, FS_ROOT, "d"), "x");
	EXPECT(sv_version(&v, x, 0, 96) == 2, "x is another");
	simvault_end(&v);
}

// It stays bad for a while: what fsync has answered must not leave the journal meanwhile.
static void bad_reads(void)
{
	struct simfault fault = {SIM_READ, 1, 1000, WERR_IO, 0};

	for (unsigned synced = 0; synced < 2; synced++) {
		struct simvault v;
		uint64_t d, x;

		begin_swept(&v, &d, &x);
		sv_put(&v, others[0], 0, 100, 7);
		sv_put(&v, x, 0, 100, 2);
		if (synced) {
			sv_sync(&v, others[0]);
			sv_sync(&v, x);
		}
		(void)sv_find(&v, sv_find(&v, FS_ROOT, "o"), "y0"); // this directory is there
		simhost_fail(v.disk, &fault);
		EXPECT(fs_checkpoint(v.fs) == WERR_IO, "not everything is stored");
		EXPECT(fs_fsync_wait(v.fs, x) == WERR_IO, "fsync below what cannot be read");
		simhost_fail_clear(v.disk);
		expect_writable(&v);
		struct simvault after;
		simvault_fork(&v, &nothing, 1, &after);
		simvault_open(&after);
		expect_other(&after, 7);
		uint64_t again = sv_find(&after, sv_find(&after, FS_ROOT, "d"), "x");
		EXPECT(sv_version(&after, again, 0, 96) == 1 + synced, "x is another");
		simvault_end(&after);
		EXPECT_OK(fs_checkpoint(v.fs)); // now it can be read
		sv_sync(&v, x);
		simvault_cut(&v, &nothing, 1);
		simvault_open(&v);
		x = sv_find(&v, sv_find(&v, FS_ROOT, "d"), "x");
		EXPECT(sv_version(&v, x, 0, 96) == 2, "x is another");
		simvault_end(&v);
	}
}

// Its host file is gone for good.
static void bad_forever(void)
{
	for (unsigned synced = 0; synced < 2; synced++) {
		struct simvault v;
		struct fs_stat st;
		uint64_t d, x;

		begin_swept(&v, &d, &x);
		sv_put(&v, others[0], 0, 100, 7);
		sv_put(&v, x, 0, 100, 2);
		if (synced) {
			sv_sync(&v, x);
		}
		hostcache_drop(v.fs->hc, d);
		simhost_junk_object(v.disk, d);
		if (!synced) {
			EXPECT(fs_checkpoint(v.fs), "not everything is stored");
			expect_writable(&v);
			EXPECT(fs_fsync_wait(v.fs, x), "an fsync of what is not stored");
		} else {
			sv_sync(&v, others[0]);
		}
		simvault_cut(&v, &nothing, 1);
		simvault_open(&v);
		expect_other(&v, 7);
		EXPECT(fs_lookup(v.fs, sv_find(&v, FS_ROOT, "d"), "x", &st), "d is readable");
		sv_put(&v, sv_find(&v, sv_find(&v, FS_ROOT, "o"), "y0"), 0, 100, 8);
		EXPECT_OK(fs_checkpoint(v.fs));
		simvault_remount(&v);
		expect_other(&v, 8);
		simvault_end(&v);
	}
}

// ---- a host without room ----

static void deleted_when_full(void)
{
	struct simvault v, after;
	struct host_space space;

	simvault_begin(&v, NULL);
	uint64_t big = sv_make(&v, FS_ROOT, "big", FILE_TYPE);
	sv_put(&v, big, 0, (size_t)64 << 20, 1);
	EXPECT_OK(fs_checkpoint(v.fs));
	uint64_t x = sv_make(&v, FS_ROOT, "x", FILE_TYPE);
	sv_put(&v, x, 0, 30000, 2);
	sv_sync(&v, x);
	EXPECT_OK(fs_statfs(v.fs, &space));
	uint64_t used = (space.blocks - space.blocks_free) * space.block_bytes;
	simhost_set_space(v.disk, used);
	EXPECT_OK(fs_unlink(v.fs, FS_ROOT, "big"));
	fs_forget(v.fs, big, 1);
	EXPECT_OK(fs_fsync_wait(v.fs, FS_ROOT));
	simvault_fork(&v, &nothing, 1, &after); // the replay's checkpoint has no room either
	simhost_set_space(after.disk, used);
	simvault_open(&after);
	EXPECT(sv_version(&after, sv_find(&after, FS_ROOT, "x"), 0, 30000) == 2, "x is another");
	simvault_end(&after);

	EXPECT_OK(fs_checkpoint(v.fs));
	EXPECT_OK(fs_statfs(v.fs, &space));
	EXPECT(space.blocks_free * space.block_bytes > (uint64_t)60 << 20, "nothing is given back");
	simvault_cut(&v, &nothing, 1);
	simvault_open(&v);
	EXPECT(sv_version(&v, sv_find(&v, FS_ROOT, "x"), 0, 30000) == 2, "x is another");
	EXPECT(!sv_lookup(&v, FS_ROOT, "big"), "big is back");
	EXPECT(v.refusals == 0, "%u refusals", v.refusals);
	simvault_end(&v);
}

// ---- what vaults of earlier versions may have ----

// A record of a file's content that stands before the one of the rename that it was written in.
static void logged_before_named(void)
{
	struct simvault v;
	table_place place;

	simvault_begin(&v, NULL);
	uint64_t a = sv_make(&v, FS_ROOT, "a", DIR_TYPE);
	sv_put(&v, sv_make(&v, a, "x", FILE_TYPE), 0, PAGES(40), 1);
	simvault_remount(&v);
	a = sv_find(&v, FS_ROOT, "a");
	uint64_t x = sv_find(&v, a, "x");
	struct node *n = node_find(v.fs, x), *dir = node_find(v.fs, a);
	table_place old = n->place;

	EXPECT_OK(table_reserve(v.fs->root->obj->table, 200, &place));
	sv_put(&v, x, 0, SIM_PAGE, 2);
	node_set_home(v.fs, n, v.fs->root, place);
	sv_sync(&v, x);
	node_set_home(v.fs, n, dir, old);
	node_put(v.fs, n);
	node_put(v.fs, dir);
	EXPECT_OK(fs_rename(v.fs, a, "x", FS_ROOT, "y", 0));
	simvault_kill(&v);
	simvault_open(&v);
	x = sv_find(&v, FS_ROOT, "y");
	EXPECT(sv_version(&v, x, 0, SIM_PAGE) == 2, "the first page is another");
	EXPECT(sv_version(&v, x, SIM_PAGE, PAGES(39)) == 1, "the rest is another");
	simvault_remount(&v);
	EXPECT(sv_version(&v, sv_find(&v, FS_ROOT, "y"), 0, SIM_PAGE) == 2, "not stored");
	simvault_end(&v);
}

// A directory whose header says where it stood before a rename.
static void old_header(void)
{
	struct simvault v;

	simvault_begin(&v, NULL);
	uint64_t a = sv_make(&v, FS_ROOT, "a", DIR_TYPE), b = sv_make(&v, FS_ROOT, "b", DIR_TYPE);
	uint64_t deep = sv_make(&v, b, "deep", DIR_TYPE), h = sv_make(&v, a, "h", DIR_TYPE);
	sv_put(&v, sv_make(&v, h, "x", FILE_TYPE), 0, 100, 1);
	(void)sv_make(&v, a, "stays", FILE_TYPE);
	EXPECT_OK(fs_checkpoint(v.fs));
	EXPECT_OK(fs_rename(v.fs, a, "h", deep, "g", 0));
	struct node *n = node_find(v.fs, h);

	n->dirty = DIRTY_ATTR;
	node_put(v.fs, n);
	simvault_remount(&v);
	deep = sv_find(&v, sv_find(&v, FS_ROOT, "b"), "deep");
	uint64_t x = sv_find(&v, sv_find(&v, deep, "g"), "x");
	sv_put(&v, x, 0, 100, 2);
	sv_sync(&v, x);
	simvault_kill(&v);
	for (unsigned i = 0; i < 2; i++) {
		simvault_open(&v);
		deep = sv_find(&v, sv_find(&v, FS_ROOT, "b"), "deep");
		x = sv_find(&v, sv_find(&v, deep, "g"), "x");
		EXPECT(sv_version(&v, x, 0, 96) == 2, "x is another");
		simvault_close(&v);
	}
	simvault_end(&v);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*test)(void);
	} tests[] = {
		{"rename-over", rename_over_waits},
		{"exchange", exchange_waits},
		{"moved-unread", moved_unread},
		{"one-bad-read", one_bad_read},
		{"bad-reads", bad_reads},
		{"bad-forever", bad_forever},
		{"deleted-when-full", deleted_when_full},
		{"logged-before-named", logged_before_named},
		{"old-header", old_header},
	};

	(void)alarm(SECONDS);
	for (unsigned i = 0; i < sizeof tests / sizeof *tests; i++) {
		if (argc == 2 && strcmp(argv[1], tests[i].name) == 0) {
			tests[i].test();
			return 0;
		}
	}
	return 2;
}
