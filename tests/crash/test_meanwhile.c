// SPDX-License-Identifier: Apache-2.0
// What happens to a file while a checkpoint of it is being written, and afterwards; what a
// checkpoint leaves behind.
#include <linux/falloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "crypto/object_header.h"
#include "crypto/secret.h"
#include "fusefs/engine.h"
#include "tests/crash/simvault.h"

static struct simvault v;
static uint64_t ino;
static bool armed;

// The file changes when the checkpoint has cut and writes.
static void change(void *arg, enum simcall kind)
{
	const struct fs_setattr set = {.valid = FS_SET_MODE, .mode = 0600};
	struct fs_stat st;

	(void)arg;
	if (kind == SIM_SYNC_FOLDER && armed) {
		armed = false;
		EXPECT_OK(fs_setattr(v.fs, ino, &set, &st));
	}
}

static void checkpoint_with_change(void)
{
	armed = true;
	simhost_on_call(v.disk, change, NULL);
	EXPECT_OK(fs_checkpoint(v.fs));
	simhost_on_call(v.disk, NULL, NULL);
	EXPECT(!armed, "the file did not change meanwhile");
}

// Never fsynced, but a whole checkpoint has it.
static void begin(void)
{
	simvault_begin(&v, NULL);
	ino = sv_make(&v, FS_ROOT, "f", OBJECT_FILE);
	sv_put(&v, ino, 0, (size_t)100 * SIM_PAGE, 1);
	checkpoint_with_change();
}

static void expect_after_kill(uint64_t pages)
{
	simvault_kill(&v);
	simvault_open(&v);
	ino = sv_find(&v, FS_ROOT, "f");
	EXPECT(sv_size(&v, ino) == pages * SIM_PAGE, "%lu bytes", sv_size(&v, ino));
	EXPECT(sv_version(&v, ino, 0, (size_t)50 * SIM_PAGE) == 1, "another content");
	simvault_end(&v);
}

static void punch_after_a_change(void)
{
	begin();
	EXPECT_OK(fs_fallocate(v.fs, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       (uint64_t)50 * SIM_PAGE, SIM_PAGE));
	expect_after_kill(100);
}

static void truncate_after_a_change(void)
{
	begin();
	sv_truncate(&v, ino, (uint64_t)60 * SIM_PAGE);
	expect_after_kill(60);
}

// A fsync while the checkpoint is written knows more than the checkpoint.
static void sync_meanwhile(void *arg, enum simcall kind)
{
	(void)arg;
	if (kind == SIM_SYNC_FOLDER && armed) {
		armed = false;
		sv_put(&v, ino, (uint64_t)100 * SIM_PAGE, (size_t)20 * SIM_PAGE, 1);
		sv_sync(&v, ino);
	}
}

static void fsync_during_a_checkpoint(void)
{
	begin();
	sv_put(&v, ino, 0, SIM_PAGE, 1);
	sv_put(&v, sv_make(&v, FS_ROOT, "new", OBJECT_FILE), 0, 9000, 1); // in a new host folder
	armed = true;
	simhost_on_call(v.disk, sync_meanwhile, NULL);
	EXPECT_OK(fs_checkpoint(v.fs));
	simhost_on_call(v.disk, NULL, NULL);
	EXPECT(!armed, "nothing was fsynced meanwhile");
	EXPECT_OK(fs_fallocate(v.fs, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       (uint64_t)70 * SIM_PAGE, SIM_PAGE));
	expect_after_kill(120);
}

// More nodes than a seek keeps in memory, all of them on its way.
#define SOUGHT_PAGES UINT64_C(40000)
#define CHANGED UINT64_C(848)

static void seek_all(void)
{
	uint64_t at;

	EXPECT_OK(fs_lseek(v.fs, ino, 0, SEEK_HOLE, &at));
	EXPECT(at == SOUGHT_PAGES * SIM_PAGE, "a hole at %lu", at);
}

static void expect_changed(const char *when)
{
	EXPECT(sv_version(&v, ino, CHANGED * SIM_PAGE, SIM_PAGE) == 2, "%s", when);
}

// The checkpoint has cut and writes.
static void seek_while_written(void *arg, enum simcall kind)
{
	(void)arg;
	if (kind != SIM_DATASYNC || !armed)
		return;
	armed = false;
	seek_all();
	expect_changed("read after the seek");
}

// Whether the cut goes on, and this thread has sealed the file and left it.
static bool is_sealed(void)
{
	struct node *n = node_find(v.fs, ino);
	bool sealed = false;

	if (pthread_rwlock_tryrdlock(&v.fs->cut) == 0) {
		pthread_rwlock_unlock(&v.fs->cut);
	} else if (pthread_rwlock_tryrdlock(&n->lock) == 0) {
		sealed = !tree_is_dirty(n->obj->tree);
		pthread_rwlock_unlock(&n->lock);
	}
	node_put(v.fs, n);
	return sealed;
}

// From then on nothing can be written: the cut is taken back at the next file.
static void seek_while_cut(void *arg, enum simcall kind)
{
	const struct simfault fault = {
		.kind = SIM_WRITE, .nth = 1, .count = UINT32_MAX, .error = WERR_IO};

	(void)arg;
	(void)kind;
	if (!armed || !is_sealed())
		return;
	armed = false;
	seek_all();
	simhost_fail(v.disk, &fault);
}

// What the checkpoint has sealed and not yet written is in memory alone.
static void seek_during_a_checkpoint(simhost_hook hook, bool fails)
{
	simvault_begin(&v, NULL);
	ino = sv_make(&v, FS_ROOT, "f", OBJECT_FILE);
	sv_put(&v, ino, 0, SOUGHT_PAGES * SIM_PAGE, 1);
	sv_put(&v, sv_make(&v, FS_ROOT, "g", OBJECT_FILE), 0, 100 * SIM_PAGE, 1);
	EXPECT_OK(fs_checkpoint(v.fs));
	simvault_remount(&v);
	ino = sv_find(&v, FS_ROOT, "f");
	sv_put(&v, ino, CHANGED * SIM_PAGE, SIM_PAGE, 2);
	sv_put(&v, sv_find(&v, FS_ROOT, "g"), 0, SIM_PAGE, 2); // is cut after the other
	armed = true;
	simhost_on_call(v.disk, hook, NULL);
	EXPECT((fs_checkpoint(v.fs) != 0) == fails, "the checkpoint");
	simhost_on_call(v.disk, NULL, NULL);
	simhost_fail_clear(v.disk);
	EXPECT(!armed, "nobody sought meanwhile");
	EXPECT_OK(fs_checkpoint(v.fs));
	expect_changed("afterwards");
	simvault_remount(&v);
	ino = sv_find(&v, FS_ROOT, "f");
	expect_changed("after mounting again");
	simvault_end(&v);
}

// A truncation that was refused has not happened, now or later.
static void refused_truncation(void)
{
	const struct simfault fault = {.kind = SIM_WRITE, .nth = 1, .count = 64, .error = WERR_IO};
	const struct fs_setattr set = {.valid = FS_SET_SIZE, .size = (uint64_t)10 * SIM_PAGE};
	struct fs_stat st;

	begin();
	sv_sync(&v, ino);
	simhost_fail(v.disk, &fault);
	EXPECT(fs_setattr(v.fs, ino, &set, &st) == WERR_IO, "no error");
	simhost_fail_clear(v.disk);
	(void)!fs_checkpoint(v.fs);
	expect_after_kill(100);
}

#define FILES 200u

// Descriptors that no flush will ever set free.
static void expect_no_descriptors(const char *what)
{
	unsigned open, unflushed;

	for (unsigned i = 0; i < 3; i++)
		EXPECT_OK(fs_checkpoint(v.fs));
	hostcache_count(v.fs->hc, &open, &unflushed);
	EXPECT(unflushed < 8 && open <= 64, "%s: %u open, %u unflushed", what, open, unflushed);
}

static void truncated_files_keep_no_descriptors(void)
{
	const struct fs_params params = {.manual = 1, .descriptors = 64};
	uint64_t inos[FILES];
	char name[16];

	simvault_begin(&v, &params);
	for (unsigned i = 0; i < FILES; i++) {
		(void)snprintf(name, sizeof(name), "f%u", i);
		inos[i] = sv_make(&v, FS_ROOT, name, OBJECT_FILE);
		sv_put(&v, inos[i], 0, (size_t)8 * SIM_PAGE, 1);
	}
	EXPECT_OK(fs_checkpoint(v.fs));
	for (unsigned i = 0; i < FILES; i++)
		sv_truncate(&v, inos[i], (uint64_t)2 * SIM_PAGE);
	expect_no_descriptors("truncated");
	for (unsigned i = 0; i < FILES; i++) { // written, removed, and still open
		(void)snprintf(name, sizeof(name), "f%u", i);
		sv_put(&v, inos[i], 0, SIM_PAGE, 2);
		EXPECT_OK(fs_unlink(v.fs, FS_ROOT, name));
	}
	expect_no_descriptors("removed");
	for (unsigned i = 0; i < FILES; i++)
		EXPECT(sv_version(&v, inos[i], 0, SIM_PAGE) == 2, "a removed file that is open");
	simvault_end(&v);
}

int main(void)
{
	punch_after_a_change();
	truncate_after_a_change();
	fsync_during_a_checkpoint();
	seek_during_a_checkpoint(seek_while_written, false);
	seek_during_a_checkpoint(seek_while_cut, true);
	refused_truncation();
	truncated_files_keep_no_descriptors();
	return 0;
}
