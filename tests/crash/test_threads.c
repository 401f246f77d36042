// SPDX-License-Identifier: Apache-2.0
// The engine with its real threads (committer, checkpointer, flushers) under several callers at
// once, on the simulated disk. Each worker owns its files and knows their content; all share
// directories, two of which are moved about meanwhile. A round ends in a clean close, a kill or a
// power cut; what then must be there is checked. Worth most under -Db_sanitize=thread.
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crypto/argon.h"
#include "crypto/secret.h"
#include "fusefs/fs.h"
#include "fusefs/journal.h"
#include "fusefs/vault.h"
#include "tests/crash/simhost.h"
#include "tests/model/prng.h"
#include "tests/unit/unit_main.h"

#define WORKERS 3
#define FILES 8 // of one worker
#define DIRS 4  // that stay
#define MOVED 2 // that do not
#define FILE_MAX ((size_t)400 * 1024)
#define ROUND_MS 400
#define SECONDS_DEFAULT 8

struct file {
	uint64_t ino; // 0: there is none
	unsigned dir;
	char name[40];
	uint8_t *bytes; // FILE_MAX, zeros behind the size
	size_t size;
	bool known;   // its content is what bytes says
	bool durable; // nothing was changed since an fsync
};

struct worker {
	pthread_t thread;
	unsigned index;
	struct prng rng;
	unsigned serial; // of names: none is used twice
	uint8_t *buf;    // FILE_MAX
	struct file files[FILES];
};

static struct {
	struct simhost *disk;
	struct vault *vault;
	struct fs *fs;
	struct secret passphrase;
	uint64_t dirs[DIRS + MOVED];
	unsigned moved_in[MOVED]; // the mover's
	struct worker workers[WORKERS];
	_Atomic bool stop;
	_Atomic bool faults; // calls may fail now
	_Atomic uint64_t answered, asked;
	_Atomic uint64_t operations;
} world;

// Directories are locked in any order, one thread at a time: names_lock sees to it, which the
// sanitizer's search for cycles does not know.
__attribute__((visibility("default"))) const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "detect_deadlocks=0";
}

static void give_up(const char *what, const struct file *f, int err)
{
	fprintf(stderr, "%s: %d (%s)", what, err, werr_text(err));
	if (f) {
		fprintf(stderr, ", file %016llx %s in %u, size %zu, durable %d",
			(unsigned long long)f->ino, f->name, f->dir, f->size, f->durable);
	}
	fprintf(stderr, "\n");
	abort();
}

// A call that must work, unless the host fails.
static bool worked(const char *what, struct file *f, int err)
{
	if (err == 0) {
		return true;
	}
	if (!atomic_load(&world.faults)) {
		give_up(what, f, err);
	}
	if (f) {
		f->known = f->durable = false;
	}
	return false;
}

static void log_line(void *arg, int priority, const char *line)
{
	(void)arg;
	if (getenv("WARDFS_THREADS_LOG")) {
		fprintf(stderr, "engine <%d>: %s\n", priority, line);
	}
	if (strstr(line, "refused") && !atomic_load(&world.faults)) {
		give_up(line, NULL, 0);
	}
}

// --- a worker's operations ----------------------------------------------------------------------

static void release(struct file *f)
{
	fs_forget(world.fs, f->ino, 1);
	f->ino = 0;
}

static void new_name(struct worker *w, char name[static 40])
{
	snprintf(name, 40, "w%u-%u", w->index, w->serial++);
}

static void op_make(struct worker *w, struct file *f)
{
	struct fs_make make = {.type = 1, .mode = 0644};
	struct fs_stat st;

	f->dir = (unsigned)prng_below(&w->rng, DIRS + MOVED);
	new_name(w, f->name);
	memset(f->bytes, 0, FILE_MAX);
	f->size = 0;
	f->known = true;
	f->durable = false;
	if (worked("make", f, fs_make(world.fs, world.dirs[f->dir], f->name, &make, &st))) {
		f->ino = st.ino;
	}
}

static void op_write(struct worker *w, struct file *f)
{
	static const size_t lengths[] = {1, 100, 3000, 5000, 20000, 70000, 200000};
	size_t off = prng_below(&w->rng, 3) ? prng_below(&w->rng, f->size + 1)
					    : prng_below(&w->rng, FILE_MAX);
	size_t len = 1 + prng_below(&w->rng, lengths[prng_below(&w->rng, 7)]);

	len = len < FILE_MAX - off ? len : FILE_MAX - off;
	if (len == 0) {
		return;
	}
	prng_fill(&w->rng, w->buf, len);
	f->durable = false;
	if (worked("write", f, fs_write(world.fs, f->ino, off, w->buf, len, 0))) {
		memcpy(f->bytes + off, w->buf, len);
		f->size = off + len > f->size ? off + len : f->size;
	}
}

static void op_truncate(struct worker *w, struct file *f)
{
	struct fs_setattr set = {.valid = FS_SET_SIZE};
	struct fs_stat st;

	set.size = prng_below(&w->rng, 2)   ? prng_below(&w->rng, f->size + 1)
		   : prng_below(&w->rng, 2) ? 0
					    : prng_below(&w->rng, FILE_MAX);
	f->durable = false;
	if (worked("truncate", f, fs_setattr(world.fs, f->ino, &set, &st))) {
		if (set.size < f->size) {
			memset(f->bytes + set.size, 0, f->size - set.size);
		}
		f->size = set.size;
	}
}

static void op_punch(struct worker *w, struct file *f)
{
	size_t off = prng_below(&w->rng, f->size + 1), len = 1 + prng_below(&w->rng, FILE_MAX);
	int mode = 3; // FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE

	f->durable = false;
	if (worked("punch", f, fs_fallocate(world.fs, f->ino, mode, off, len)) && off < f->size) {
		memset(f->bytes + off, 0, len < f->size - off ? len : f->size - off);
	}
}

static void check_content(struct worker *w, struct file *f, const char *when)
{
	size_t got = 0;
	int err = fs_read(world.fs, f->ino, 0, FILE_MAX, w->buf, &got);

	if (!worked(when, f, err) || !f->known) {
		return;
	}
	if (got != f->size) {
		give_up(when, f, -1000);
	}
	for (size_t i = 0; i < got; i++) {
		if (w->buf[i] != f->bytes[i]) {
			fprintf(stderr, "%s: byte %zu is %02x, not %02x: ", when, i, w->buf[i],
				f->bytes[i]);
			give_up("content", f, -1000);
		}
	}
}

static void op_read(struct worker *w, struct file *f)
{
	size_t off = prng_below(&w->rng, f->size + 1), len = 1 + prng_below(&w->rng, 20000), got;

	if (prng_chance(&w->rng, 20)) {
		check_content(w, f, "read it all");
		return;
	}
	len = len < FILE_MAX - off ? len : FILE_MAX - off;
	size_t want = len < f->size - off ? len : f->size - off;
	if (worked("read", f, fs_read(world.fs, f->ino, off, len, w->buf, &got)) && f->known &&
	    (got != want || memcmp(w->buf, f->bytes + off, want))) {
		give_up("read other content", f, -1000);
	}
}

static void op_fsync(struct worker *w, struct file *f)
{
	(void)w;
	if (worked("fsync", f, fs_fsync_wait(world.fs, f->ino))) {
		f->durable = f->known;
	}
}

static void answered(void *arg, int err)
{
	(void)arg;
	(void)err;
	atomic_fetch_add(&world.answered, 1);
}

static void op_fsync_behind(struct worker *w, struct file *f)
{
	(void)w;
	atomic_fetch_add(&world.asked, 1);
	fs_fsync(world.fs, f->ino, 0, answered, NULL);
}

static void op_rename(struct worker *w, struct file *f)
{
	unsigned dir = (unsigned)prng_below(&w->rng, DIRS + MOVED);
	struct file *over = prng_chance(&w->rng, 50) ? &w->files[prng_below(&w->rng, FILES)] : NULL;
	char name[40];

	if (over && (over == f || over->ino == 0)) {
		over = NULL;
	}
	new_name(w, name);
	if (over) {
		dir = over->dir;
		memcpy(name, over->name, sizeof name);
	}
	int err = fs_rename(world.fs, world.dirs[f->dir], f->name, world.dirs[dir], name, 0);
	// Half a rename would show as a file that is not found at the end.
	f->durable = false;
	if (!worked("rename", f, err)) {
		return;
	}
	f->dir = dir;
	memcpy(f->name, name, sizeof name);
	if (over) {
		check_content(w, over, "read a file without name");
		release(over);
	}
}

static void op_unlink(struct worker *w, struct file *f)
{
	if (worked("unlink", f, fs_unlink(world.fs, world.dirs[f->dir], f->name))) {
		if (prng_chance(&w->rng, 50)) {
			op_write(w, f);
			check_content(w, f, "read an unlinked file");
		}
		release(f);
	}
}

static void op_link(struct worker *w, struct file *f)
{
	unsigned dir = (unsigned)prng_below(&w->rng, DIRS + MOVED);
	struct fs_stat st;
	char name[40];

	new_name(w, name);
	f->durable = false;
	if (!worked("link", f, fs_link(world.fs, f->ino, world.dirs[dir], name, &st))) {
		return;
	}
	fs_forget(world.fs, st.ino, 1);
	if (worked("unlink the first", f, fs_unlink(world.fs, world.dirs[f->dir], f->name))) {
		f->dir = dir;
		memcpy(f->name, name, sizeof name);
	}
}

static void op_lookup(struct worker *w, struct file *f)
{
	struct fs_stat st;

	(void)w;
	if (worked("lookup", f, fs_lookup(world.fs, world.dirs[f->dir], f->name, &st))) {
		if (st.ino != f->ino || (f->known && st.attr.size != f->size)) {
			give_up("lookup found another", f, -1000);
		}
		fs_forget(world.fs, st.ino, 1);
	}
}

static void op_xattr(struct worker *w, struct file *f)
{
	size_t len = prng_below(&w->rng, 2) ? prng_below(&w->rng, 100) : 3000;

	f->durable = false;
	prng_fill(&w->rng, w->buf, len);
	(void)worked("setxattr", f, fs_setxattr(world.fs, f->ino, "user.k", w->buf, len, 0, NULL));
}

static void one_operation(struct worker *w)
{
	static void (*const ops[])(struct worker *, struct file *) = {
		op_write,        op_write,    op_write, op_write,  op_read,   op_read,
		op_fsync,        op_fsync,    op_punch, op_link,   op_rename, op_lookup,
		op_fsync_behind, op_truncate, op_xattr, op_unlink,
	};
	struct file *f = &w->files[prng_below(&w->rng, FILES)];

	if (f->ino == 0) {
		op_make(w, f);
	} else {
		ops[prng_below(&w->rng, sizeof ops / sizeof *ops)](w, f);
	}
	atomic_fetch_add(&world.operations, 1);
}

static void *work(void *arg)
{
	while (!atomic_load(&world.stop)) {
		one_operation(arg);
	}
	return NULL;
}

// --- those who only disturb ---------------------------------------------------------------------

static void *move_dirs(void *arg)
{
	struct prng *rng = arg;

	while (!atomic_load(&world.stop)) {
		unsigned i = (unsigned)prng_below(rng, MOVED), to = (unsigned)prng_below(rng, DIRS);
		char name[8] = {'m', (char)('0' + i)}, other[8] = {'m', (char)('1' - i)};
		struct fs_make make = {.type = 2, .mode = 0755};
		struct fs_stat st;

		if (prng_chance(rng, 20) && world.moved_in[0] != world.moved_in[1]) {
			if (worked("exchange", NULL,
				   fs_rename(world.fs, world.dirs[world.moved_in[i]], name,
					     world.dirs[world.moved_in[1 - i]], other,
					     FS_RENAME_EXCHANGE)) &&
			    worked("name again", NULL,
				   fs_rename(world.fs, world.dirs[world.moved_in[i]], name,
					     world.dirs[world.moved_in[i]], "swap", 0)) &&
			    worked("name again", NULL,
				   fs_rename(world.fs, world.dirs[world.moved_in[1 - i]], other,
					     world.dirs[world.moved_in[1 - i]], name, 0)) &&
			    worked("name again", NULL,
				   fs_rename(world.fs, world.dirs[world.moved_in[i]], "swap",
					     world.dirs[world.moved_in[i]], other, 0))) {
				unsigned in = world.moved_in[i];

				world.moved_in[i] = world.moved_in[1 - i];
				world.moved_in[1 - i] = in;
			}
		} else if (worked("move a directory", NULL,
				  fs_rename(world.fs, world.dirs[world.moved_in[i]], name,
					    world.dirs[to], name, 0))) {
			world.moved_in[i] = to;
		}
		if (worked("mkdir", NULL,
			   fs_make(world.fs, world.dirs[DIRS + i], "empty", &make, &st))) {
			(void)worked("rmdir", NULL,
				     fs_rmdir(world.fs, world.dirs[DIRS + i], "empty"));
			fs_forget(world.fs, st.ino, 1);
		}
		atomic_fetch_add(&world.operations, 1);
	}
	return NULL;
}

struct listing {
	uint64_t found[64];
	unsigned count;
};

static int note_entry(void *arg, const struct fs_dirent *d)
{
	struct listing *l = arg;

	if (d->cookie <= 2) {
		return 0;
	}
	if (l->count == 64) {
		return 1;
	}
	l->found[l->count++] = d->stat.ino;
	return 0;
}

static void look_around(struct prng *rng, uint8_t *buf)
{
	struct listing l = {.count = 0};
	uint64_t dir = world.dirs[prng_below(rng, DIRS + MOVED)];

	(void)worked("readdir", NULL, fs_readdir(world.fs, dir, 0, 1, note_entry, &l));
	for (unsigned i = 0; i < l.count; i++) {
		struct fs_stat st;
		size_t got;
		int err = fs_getattr(world.fs, l.found[i], &st);

		if (err == 0 && st.type == 1) {
			err = fs_read(world.fs, l.found[i], prng_below(rng, FILE_MAX), 5000, buf,
				      &got);
		}
		(void)worked("look at a file", NULL, err);
		if (prng_chance(rng, 20)) {
			(void)!fs_getxattr(world.fs, l.found[i], "user.k", buf, FILE_MAX, &got);
		}
		fs_forget(world.fs, l.found[i], 1);
	}
}

static void *watch(void *arg)
{
	struct prng *rng = arg;
	uint8_t *buf = malloc(FILE_MAX);

	while (!atomic_load(&world.stop)) {
		struct fs_status status;

		look_around(rng, buf);
		fs_get_status(world.fs, &status);
		if (prng_chance(rng, 5)) {
			(void)worked("checkpoint", NULL, fs_checkpoint(world.fs));
		}
		atomic_fetch_add(&world.operations, 1);
	}
	free(buf);
	return NULL;
}

// --- rounds -------------------------------------------------------------------------------------

// A disk takes its time: whoever waits for it lets the others go first.
static void slow_disk(void *arg, enum simcall kind)
{
	(void)arg;
	if (kind == SIM_DATASYNC || kind == SIM_SYNC_FOLDER) {
		nanosleep(&(struct timespec){.tv_nsec = 300000}, NULL);
	}
}

static void open_world(void)
{
	// Small caches: nodes are loaded, swept and spilled all the time.
	struct fs_params params = {
		.checkpoint_ms = 20, .cache_mib = 1, .overlay_mib = 1, .log = log_line};
	int err = vault_open(simhost_open(world.disk), &world.passphrase, 0, &world.vault);

	if (err == 0) {
		err = fs_open(world.vault, &params, &world.fs);
	}
	if (err) {
		give_up("open", NULL, err);
	}
	simhost_on_call(world.disk, slow_disk, NULL);
}

// Where a moved directory is now, and what it is called: an exchange may have been interrupted.
static void find_moved(unsigned i, char called[static 8])
{
	static const char *const names[] = {"m0", "m1", "swap"};
	unsigned found = 0;
	struct fs_stat st;

	for (unsigned in = 0; in < DIRS; in++) {
		for (unsigned k = 0; k < 3; k++) {
			if (fs_lookup(world.fs, world.dirs[in], names[k], &st)) {
				continue;
			}
			if (st.ino == world.dirs[DIRS + i]) {
				snprintf(called, 8, "%s", names[k]);
				world.moved_in[i] = in;
				found++;
			} else {
				fs_forget(world.fs, st.ino, 1);
			}
		}
	}
	if (found != 1) {
		give_up("a moved directory is lost, or there twice", NULL, (int)found);
	}
}

static void find_dirs(void)
{
	char called[MOVED][8], name[8];
	struct fs_stat st;

	for (unsigned i = 0; i < DIRS; i++) {
		snprintf(name, sizeof name, "d%u", i);
		if (fs_lookup(world.fs, FS_ROOT, name, &st) || st.ino != world.dirs[i]) {
			give_up("a directory is lost", NULL, (int)i);
		}
	}
	for (unsigned i = 0; i < MOVED; i++) {
		find_moved(i, called[i]);
		// A cut may have kept the mkdir and lost the rmdir behind it.
		int err = fs_rmdir(world.fs, world.dirs[DIRS + i], "empty");
		if (err && err != WERR_NOTFOUND) {
			give_up("remove what a cut left", NULL, err);
		}
	}
	for (unsigned i = 0; i < 2 * MOVED; i++) {
		uint64_t in = world.dirs[world.moved_in[i % MOVED]];

		snprintf(name, sizeof name, "%c%u", i < MOVED ? 't' : 'm', i % MOVED);
		int err = fs_rename(world.fs, in, called[i % MOVED], in, name, 0);
		if (err) {
			give_up("name a moved directory", NULL, err);
		}
		memcpy(called[i % MOVED], name, sizeof name);
	}
}

static void setup(void)
{
	struct vault_create_params create = {
		.kdf = {.memory_kib = ARGON_MEMORY_MIN_KIB, .passes = 1, .lanes = 1},
		.label = "",
		.created_s = 1700000000,
		.journal_bytes = JOURNAL_MIN_BYTES,
	};
	struct fs_make make = {.type = 2, .mode = 0755};
	struct fs_stat st;
	char name[8];

	memset(&world, 0, sizeof world);
	ck_assert_int_eq(secret_init(), 0);
	ck_assert_int_eq(secret_copy(&world.passphrase, "threads", 7), 0);
	world.disk = simhost_new();
	struct host *host = simhost_open(world.disk);
	ck_assert_int_eq(vault_create(host, &create, &world.passphrase), 0);
	host->ops->close(host);
	open_world();
	for (unsigned i = 0; i < DIRS + MOVED; i++) {
		snprintf(name, sizeof name, "%c%u", i < DIRS ? 'd' : 'm', i < DIRS ? i : i - DIRS);
		ck_assert_int_eq(
			fs_make(world.fs, i < DIRS ? FS_ROOT : world.dirs[0], name, &make, &st), 0);
		world.dirs[i] = st.ino;
	}
	ck_assert_int_eq(fs_checkpoint(world.fs), 0);
	for (unsigned i = 0; i < WORKERS; i++) {
		struct worker *w = &world.workers[i];

		w->index = i;
		w->rng.state = 1000 + i;
		w->buf = malloc(FILE_MAX);
		for (unsigned k = 0; k < FILES; k++) {
			w->files[k].bytes = calloc(1, FILE_MAX);
		}
	}
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void run_for(unsigned ms, struct prng *rng)
{
	pthread_t mover, watchers[2];
	struct prng mover_rng = {prng_next(rng)},
		    watcher_rng[2] = {{prng_next(rng)}, {prng_next(rng)}};

	atomic_store(&world.stop, false);
	for (unsigned i = 0; i < WORKERS; i++) {
		struct worker *w = &world.workers[i];

		ck_assert_int_eq(pthread_create(&w->thread, NULL, work, w), 0);
	}
	ck_assert_int_eq(pthread_create(&mover, NULL, move_dirs, &mover_rng), 0);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_int_eq(pthread_create(&watchers[i], NULL, watch, &watcher_rng[i]), 0);
	}
	for (uint64_t end = now_ms() + ms; now_ms() < end;) {
		nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	}
	atomic_store(&world.stop, true);
	for (unsigned i = 0; i < WORKERS; i++) {
		pthread_join(world.workers[i].thread, NULL);
	}
	pthread_join(mover, NULL);
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(watchers[i], NULL);
	}
}

enum ending {
	END_CLOSE,
	END_KILL,
	END_CUT,
};

static void end_world(enum ending how, uint64_t seed)
{
	struct simhost *after = NULL;

	if (how == END_CUT) {
		simhost_power_off_after(world.disk, 0);
	}
	if (how == END_CLOSE) {
		int err = fs_close(world.fs);

		if (err) {
			give_up("close", NULL, err);
		}
	} else {
		fs_abandon(world.fs);
	}
	vault_close(world.vault);
	if (atomic_load(&world.answered) != atomic_load(&world.asked)) {
		give_up("an fsync was never answered", NULL, -1000);
	}
	if (how == END_KILL) {
		after = simhost_clone_after_kill(world.disk);
	} else if (how == END_CUT) {
		struct simcut cut = {.what = SIMCUT_RANDOM};

		after = simhost_clone_after_cut(world.disk, seed, &cut);
	}
	if (after) {
		simhost_free(world.disk);
		world.disk = after;
	}
}

// After the end of a round: is every file what it has to be? What need not be is taken as it is.
static void find_files(struct worker *w, enum ending how)
{
	for (unsigned i = 0; i < FILES; i++) {
		struct file *f = &w->files[i];
		struct fs_stat st;
		size_t got = 0;

		if (f->ino == 0) {
			continue;
		}
		int err = fs_lookup(world.fs, world.dirs[f->dir], f->name, &st);
		// A rename that is lost leaves nothing there, or what it replaced.
		if (how == END_CUT && !f->durable &&
		    (err == WERR_NOTFOUND || (!err && st.ino != f->ino))) {
			if (!err)
				fs_forget(world.fs, st.ino, 1);
			f->ino = 0;
			continue;
		}
		if (err || st.ino != f->ino) {
			fprintf(stderr, "ending %d: ", (int)how);
			give_up("a file is lost", f, err);
		}
		if (how == END_CLOSE || f->durable) {
			check_content(w, f, "after the end");
			continue;
		}
		err = fs_read(world.fs, f->ino, 0, FILE_MAX, f->bytes, &got);
		if (err || got != st.attr.size) {
			give_up("a file cannot be read", f, err);
		}
		memset(f->bytes + got, 0, FILE_MAX - got);
		f->size = got;
		f->known = true;
		f->durable = false;
	}
}

static void round_of(enum ending how, struct prng *rng)
{
	run_for(ROUND_MS, rng);
	end_world(how, prng_next(rng));
	open_world();
	find_dirs();
	for (unsigned i = 0; i < WORKERS; i++) {
		find_files(&world.workers[i], how);
	}
}

static void teardown(void)
{
	end_world(END_CLOSE, 0);
	simhost_free(world.disk);
	secret_clear(&world.passphrase);
	for (unsigned i = 0; i < WORKERS; i++) {
		for (unsigned k = 0; k < FILES; k++) {
			free(world.workers[i].files[k].bytes);
		}
		free(world.workers[i].buf);
	}
}

START_TEST(test_rounds)
{
	const char *text = getenv("WARDFS_THREADS_SECONDS");
	uint64_t seconds = text ? strtoull(text, NULL, 10) : SECONDS_DEFAULT;
	struct prng rng = {42};

	setup();
	for (uint64_t end = now_ms() + seconds * 1000; now_ms() < end;) {
		round_of((enum ending)prng_below(&rng, 3), &rng);
	}
	teardown();
	ck_assert_uint_gt(atomic_load(&world.operations), 100);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("threads");
	TCase *tcase = tcase_create("threads");

	tcase_set_timeout(tcase, 300);
	tcase_add_test(tcase, test_rounds);
	suite_add_tcase(suite, tcase);
	return unit_main(suite);
}
