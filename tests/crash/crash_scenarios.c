// SPDX-License-Identifier: Apache-2.0
// The likely mistakes of a storage engine, one scenario each. The model says at every point what
// must be there.
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "tests/crash/crash_ops.h"
#include "tests/model/trace.h"

#define PAGE 4096u
#define PAGES(n) ((size_t)(n)*PAGE)

static void file_of(struct model *m, const char *path, unsigned pages)
{
	make(m, path, OBJECT_FILE);
	put(m, path, 0, PAGES(pages));
	sync_path(m, path);
	checkpoint(m);
}

// A record that is durable before its pages.
static void new_files(struct model *m)
{
	make(m, "d", OBJECT_DIR);
	make(m, "d/small", OBJECT_FILE);
	put(m, "d/small", 0, 1000);
	make(m, "d/middle", OBJECT_FILE);
	put(m, "d/middle", 0, PAGES(10));
	make(m, "d/large", OBJECT_FILE);
	put(m, "d/large", 0, PAGES(40));
	sync_path(m, "d/large");
	sync_path(m, "d/small");
	make(m, "d/unsynced", OBJECT_FILE);
	put(m, "d/unsynced", 0, PAGES(30) + 5);
	checkpoint(m);
	put(m, "d/middle", PAGES(10), PAGES(20));
	sync_path(m, "d/middle");
}

static void prepare_30(struct model *m)
{
	file_of(m, "f", 30);
}

// A direct write after a truncation destroys what was durable.
static void truncate_and_write(struct model *m)
{
	resize(m, "f", 0);
	put(m, "f", 0, PAGES(25));
	sync_path(m, "f");
	resize(m, "f", PAGES(3) + 7);
	put(m, "f", PAGES(2), PAGES(8));
	checkpoint(m);
	resize(m, "f", 0);
	put(m, "f", 0, 100);
	sync_path(m, "f");
}

static void prepare_5000(struct model *m)
{
	make(m, "f", OBJECT_FILE);
	put(m, "f", 0, 5000);
	sync_path(m, "f");
	checkpoint(m);
}

// What was cut off comes back when the file grows.
static void old_tail(struct model *m)
{
	resize(m, "f", 100);
	resize(m, "f", 5000);
	sync_path(m, "f");
	put(m, "f", 9000, 10);
	sync_path(m, "f");
	resize(m, "f", 4500);
	checkpoint(m);
	resize(m, "f", 9000);
	checkpoint(m);
}

struct injection {
	struct model *m;
	struct shape_node *node;
	uint64_t page;
	uint8_t data[PAGE];
	pthread_t thread;
	int started, done;
};

static void *write_meanwhile(void *arg)
{
	struct injection *in = arg;
	int err = fs_write(in->m->fs, in->node->ino, in->page * PAGE, in->data, PAGE, 0);

	__atomic_store_n(&in->done, err ? -1 : 1, __ATOMIC_RELEASE);
	return NULL;
}

// Writes from another thread while the commit flushes; waits for it a while, because the engine may
// rightly make it wait.
static void during_flush(void *arg)
{
	struct injection *in = arg;
	struct timespec nap = {.tv_nsec = 1000000};

	if (in->started)
		return;
	in->started = 1;
	if (pthread_create(&in->thread, NULL, write_meanwhile, in))
		trace_fail("no thread");
	for (int i = 0; i < 20 && !__atomic_load_n(&in->done, __ATOMIC_ACQUIRE); i++)
		(void)nanosleep(&nap, NULL);
}

// A write between the flush and the record of a commit: durable is what was there when fsync was
// called, or newer.
static void write_in_commit(struct model *m)
{
	for (unsigned i = 0; i < 6; i++) {
		put(m, "f", PAGES(i), PAGES(18));
		struct shape_node *node = at(m, "f");

		if (!node)
			return;
		struct injection in = {.m = m, .node = node, .page = i + prng_below(&m->rng, 18)};
		uint64_t before = m->seq;

		prng_fill(&m->rng, in.data, PAGE);
		trace_op("%lu fsync with a write of page %lu meanwhile", m->seq, in.page);
		world_on_flush(m->world, during_flush, &in);
		int err = fs_fsync_wait(m->fs, node->ino);

		world_on_flush(m->world, NULL, NULL);
		if (in.started)
			(void)pthread_join(in.thread, NULL);
		m->seq++;
		if (in.started)
			content_write(&node->content, m->seq, in.page * PAGE, PAGE, in.data);
		model_touch(node);
		if (!model_success(m, err) || m->dark)
			return;
		node->durable = before;
		if (i == 3)
			checkpoint(m);
	}
}

// A late punch on the host destroys a newer page.
static void punch_and_write(struct model *m)
{
	punch(m, "f", PAGES(4), PAGES(16));
	sync_path(m, "f");
	put(m, "f", PAGES(10), PAGES(2));
	sync_path(m, "f");
	checkpoint(m);
	punch(m, "f", PAGES(10), PAGES(2));
	put(m, "f", PAGES(11) + 50, 100);
	checkpoint(m);
	put(m, "f", PAGES(5), PAGES(3));
	sync_path(m, "f");
}

// More than two candidates for a page: large overwrites without a checkpoint between.
static void overwrite_five_times(struct model *m)
{
	for (unsigned i = 0; i < 5; i++) {
		put(m, "f", 0, PAGES(20));
		sync_path(m, "f");
	}
	put(m, "f", PAGES(3), PAGES(20));
	checkpoint(m);
}

static void small_overwrites(struct model *m)
{
	for (unsigned i = 0; i < 5; i++) {
		put(m, "f", PAGES(7) + 100, 50);
		put(m, "f", PAGES(20), PAGES(1));
		sync_path(m, "f");
	}
	checkpoint(m);
	put(m, "f", PAGES(7), PAGES(2));
	sync_path(m, "f");
}

static void prepare_two_dirs(struct model *m)
{
	make(m, "a", OBJECT_DIR);
	make(m, "b", OBJECT_DIR);
	make(m, "a/f", OBJECT_FILE);
	put(m, "a/f", 0, 100);
	make(m, "a/sub", OBJECT_DIR);
	make(m, "a/sub/inner", OBJECT_FILE);
	checkpoint(m);
}

// Half a rename in an image of a checkpoint.
static void rename_between_directories(struct model *m)
{
	for (unsigned i = 0; i < 4; i++) {
		move(m, i % 2 ? "b/f" : "a/f", i % 2 ? "a/f" : "b/f", 0);
		move(m, i % 2 ? "b/sub" : "a/sub", i % 2 ? "a/sub" : "b/sub", 0);
		checkpoint(m);
	}
}

static void prepare_target(struct model *m)
{
	file_of(m, "target", 6);
	file_of(m, "other", 2);
}

// The new name shows all of the source's data, or the old file is still there.
static void rename_over(struct model *m)
{
	make(m, "new", OBJECT_FILE);
	put(m, "new", 0, 2000);
	move(m, "new", "target", 0);
	make(m, "new", OBJECT_FILE);
	put(m, "new", 0, PAGES(5));
	move(m, "new", "target", 0);
	make(m, "new", OBJECT_FILE);
	put(m, "new", 0, PAGES(40));
	move(m, "new", "target", 0);
	put(m, "other", 0, PAGES(30));
	move(m, "other", "target", 0);
	checkpoint(m);
}

static void exchange(struct model *m)
{
	move(m, "a/f", "b", FS_RENAME_EXCHANGE);
	checkpoint(m);
	move(m, "a/f", "b", FS_RENAME_EXCHANGE);
	move(m, "a/sub/inner", "a/f", FS_RENAME_EXCHANGE);
	sync_path(m, "a");
}

// A file with several names, by way of the hidden links directory, and back to one name.
static void links(struct model *m)
{
	link_to(m, "a/f", "b/second");
	put(m, "b/second", 50, 5000);
	sync_path(m, "a/f");
	link_to(m, "a/sub/inner", "b/third");
	discard(m, "a/f");
	checkpoint(m);
	put(m, "b/second", 0, PAGES(3));
	chmod_path(m, "b/third", 0444);
	sync_path(m, "b/second");
	discard(m, "b/second");
	discard(m, "a/sub/inner");
	checkpoint(m);
}

static void prepare_many(struct model *m)
{
	char path[32];

	make(m, "d", OBJECT_DIR);
	for (unsigned i = 0; i < 12; i++) {
		(void)snprintf(path, sizeof(path), "d/f%u", i);
		make(m, path, OBJECT_FILE);
		put(m, path, 0, PAGES(i % 3) + 100);
	}
	checkpoint(m);
}

// Files that are removed while the kernel knows them: freed neither early nor never.
static void orphans(struct model *m)
{
	char path[32];
	struct shape_node *nodes[12] = {0};

	for (unsigned i = 0; i < 12; i++) {
		(void)snprintf(path, sizeof(path), "d/f%u", i);
		nodes[i] = at(m, path);
		discard(m, path);
	}
	sync_path(m, "d");
	if (!at(m, ""))
		return;
	do_write(m, nodes[5], 0, PAGES(3), 0);
	for (unsigned i = 0; i < 6 && !m->dark; i++)
		do_forget(m, nodes[i], nodes[i]->lookups);
	checkpoint(m);
	checkpoint(m);
	checkpoint(m);
}

static void xattrs(struct model *m)
{
	set_xattr(m, "f", 0, 100);
	sync_path(m, "f");
	set_xattr(m, "f", 1, 9000);
	sync_path(m, "f");
	set_xattr(m, "", 2, 300);
	checkpoint(m);
	set_xattr(m, "f", 1, 20000);
	set_xattr(m, "f", 0, 0);
	checkpoint(m);
	set_xattr(m, "f", 1, 10);
	sync_path(m, "f");
}

// A directory over several table pages grows and is emptied.
static void directories(struct model *m)
{
	char path[128];

	make(m, "d", OBJECT_DIR);
	for (unsigned i = 0; i < 70; i++) {
		(void)snprintf(path, sizeof(path), "d/a name that takes some room in its page %u",
			       i);
		make(m, path, i % 3 ? OBJECT_FILE : OBJECT_DIR);
		if (i == 40)
			checkpoint(m);
	}
	sync_path(m, "d");
	for (unsigned i = 0; i < 70; i++) {
		(void)snprintf(path, sizeof(path), "d/a name that takes some room in its page %u",
			       i);
		discard(m, path);
		if (i == 30)
			checkpoint(m);
	}
	discard(m, "d");
	checkpoint(m);
}

static void appends(struct model *m)
{
	make(m, "log", OBJECT_FILE);
	for (unsigned i = 0; i < 12; i++) {
		put(m, "log", 700 * i, 700);
		sync_path(m, "log");
	}
	checkpoint(m);
	put(m, "log", 8400, 100);
	sync_path(m, "log");
}

static void inline_and_tree(struct model *m)
{
	make(m, "g", OBJECT_FILE);
	put(m, "g", 0, 3000);
	sync_path(m, "g");
	put(m, "g", 3000, 6000);
	sync_path(m, "g");
	checkpoint(m);
	resize(m, "g", 10);
	sync_path(m, "g");
	put(m, "g", 10, 3500);
	checkpoint(m);
}

static void sparse(struct model *m)
{
	make(m, "s", OBJECT_FILE);
	put(m, "s", 100ull * PAGE, 100);
	put(m, "s", 20000ull * PAGE, PAGES(2));
	put(m, "s", 1ull << 41, 100);
	sync_path(m, "s");
	checkpoint(m);
	put(m, "s", 20000ull * PAGE, PAGES(1));
	put(m, "s", 150ull * PAGE, PAGES(20));
	sync_path(m, "s");
	resize(m, "s", 20001ull * PAGE);
	checkpoint(m);
}

// Attributes that go to the old parent's entry.
static void attributes_after_rename(struct model *m)
{
	put(m, "a/f", 0, 500);
	chmod_path(m, "a/f", 0600);
	move(m, "a/f", "b/g", 0);
	chmod_path(m, "b/g", 0400);
	sync_path(m, "b/g");
	move(m, "a/sub", "b/sub", 0);
	chmod_path(m, "b/sub", 0700);
	sync_path(m, "b/sub");
	checkpoint(m);
}

static void symlinks(struct model *m)
{
	char target[4001];

	for (unsigned i = 0; i < 4000; i++)
		target[i] = (char)('a' + i % 26);
	target[4000] = '\0';
	make_link(m, "short", target + 3990);
	make_link(m, "long", target);
	checkpoint(m);
	make_link(m, "another", target + 1000);
	move(m, "another", "long", 0);
	discard(m, "short");
	checkpoint(m);
}

// The end of a mount is a series of host calls too.
static void clean_end(struct model *m)
{
	make(m, "d", OBJECT_DIR);
	make(m, "d/f", OBJECT_FILE);
	put(m, "d/f", 0, PAGES(20));
	put(m, "f", 0, PAGES(20));
	if (at(m, ""))
		epoch_remount(m);
}

const struct scenario scenarios[] = {
	{"new-files", NULL, new_files},
	{"truncate-and-write", prepare_30, truncate_and_write},
	{"old-tail", prepare_5000, old_tail},
	{"write-in-commit", prepare_30, write_in_commit},
	{"punch-and-write", prepare_30, punch_and_write},
	{"overwrite-five-times", prepare_30, overwrite_five_times},
	{"small-overwrites", prepare_30, small_overwrites},
	{"rename-between-directories", prepare_two_dirs, rename_between_directories},
	{"rename-over", prepare_target, rename_over},
	{"exchange", prepare_two_dirs, exchange},
	{"links", prepare_two_dirs, links},
	{"orphans", prepare_many, orphans},
	{"xattrs", prepare_5000, xattrs},
	{"directories", NULL, directories},
	{"appends", NULL, appends},
	{"inline-and-tree", NULL, inline_and_tree},
	{"sparse", NULL, sparse},
	{"attributes-after-rename", prepare_two_dirs, attributes_after_rename},
	{"symlinks", NULL, symlinks},
	{"clean-end", prepare_30, clean_end},
	{"rotate-keys", prepare_rotation, rotate_keys},
	{"rotate-contents", prepare_rotation, rotate_contents},
	{"rotate-subtree", prepare_rotation, rotate_subtree},
	{"rotate-while-used", prepare_rotation, rotate_while_used},
	{"rotate-moved", prepare_rotation, rotate_moved},
	{"rekey-while-used", prepare_rotation, rekey_while_used},
	{"rekey-while-rotating", prepare_rotation, rekey_while_rotating},
};
const size_t n_scenarios = sizeof(scenarios) / sizeof(scenarios[0]);
