// SPDX-License-Identifier: Apache-2.0
// A host that fails: each call of each kind, with each error, once, a few times, or from then on.
// The caller is told (with the host's own error), the vault stays whole, what an fsync answered
// stays, and when the cause is gone everything works again: at once, or, where the vault had to
// become read-only, after the next mount.
//
//   faults [--seed N] [--stride N] [--script data|rotate]
//
// WARDFS_CRASH_STRIDE, --stride (the larger one): only every n-th case, which ones depends on the
// seed.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "crypto/secret.h"
#include "fusefs/rotate.h"
#include "tests/crash/simvault.h"

#define PAGES(n) ((size_t)(n)*SIM_PAGE)
#define FILE_TYPE 1
#define DIR_TYPE 2
#define FILES 5u
#define FOREVER 1000000u
#define SECONDS 900

// A file with the versions that each page of it may show.
struct tracked {
	uint64_t ino; // 0: not there
	size_t len;
	uint64_t pending; // every page is at least of this version
	uint64_t durable; // and this is what a fsync has answered
	uint64_t newest;  // nothing newer was ever written
	int sized;        // its size is len since the last fsync
};

static struct {
	struct simvault v;
	struct simfault fault;
	struct tracked files[FILES];
	uint64_t version;
	uint64_t dir;
	unsigned errors;             // that callers were told
	uint64_t answered, readonly; // cases in which callers were told, and the vault read-only
	char what[120];
	void (*script)(void);
} t;

static const struct {
	const char *name;
	enum simcall kind;
} kinds[] = {
	{"open", SIM_OPEN},         {"read", SIM_READ},
	{"write", SIM_WRITE},       {"datasync", SIM_DATASYNC},
	{"truncate", SIM_TRUNCATE}, {"punch", SIM_PUNCH},
	{"unlink", SIM_UNLINK},     {"sync folder", SIM_SYNC_FOLDER},
	{"space", SIM_SPACE},       {"size", SIM_SIZE},
	{"any call", SIM_ANY}, // from some moment on: the host is gone, or has become read-only
};
static const int errors[] = {WERR_IO, WERR_NOSPACE, WERR_QUOTA, WERR_MFILE, WERR_READONLY};
static const unsigned counts[] = {1, 4, FOREVER};

// An answer that the fault explains: its own error, or that the vault has become read-only by it.
static int told(int err, const char *call)
{
	if (err == 0)
		return 0;
	t.errors++;
	struct fs_status st;

	fs_get_status(t.v.fs, &st);
	EXPECT(err == t.fault.error || (err == WERR_READONLY && st.readonly),
	       "%s: %s answers %d (%s)", t.what, call, err, werr_text(err));
	return 1;
}

static void write_file(unsigned i, uint64_t off, size_t len)
{
	static uint64_t buf[PAGES(64) / 8];
	struct tracked *f = &t.files[i];

	if (!f->ino)
		return;
	t.version++;
	f->newest = t.version;
	f->sized = 0;
	for (size_t k = 0; k < len / 8; k++)
		buf[k] = sv_word((off / 8) + k, t.version);
	int failed = told(fs_write(t.v.fs, f->ino, off, buf, len, 0), "write");

	if (!failed && off == 0 && len >= f->len) {
		f->pending = t.version;
		f->len = len;
	}
}

static void sync_file(unsigned i)
{
	struct tracked *f = &t.files[i];

	if (f->ino && !told(fs_fsync_wait(t.v.fs, f->ino), "fsync")) {
		f->durable = f->pending;
		f->sized = 1;
	}
}

static void make_file(unsigned i)
{
	struct fs_make make = {.type = FILE_TYPE, .mode = 0644};
	struct fs_stat st;
	char name[16];

	(void)snprintf(name, sizeof(name), "f%u", i);
	if (!told(fs_make(t.v.fs, t.dir, name, &make, &st), "make"))
		t.files[i] = (struct tracked){.ino = st.ino};
}

static void checkpoint(void)
{
	if (told(fs_checkpoint(t.v.fs), "checkpoint"))
		return;
	for (unsigned i = 0; i < FILES; i++) {
		t.files[i].durable = t.files[i].pending;
		t.files[i].sized = t.files[i].ino != 0;
	}
}

// There and back.
static void rename_file(void)
{
	if (t.files[3].ino && !told(fs_rename(t.v.fs, t.dir, "f3", t.dir, "g3", 0), "rename"))
		(void)told(fs_rename(t.v.fs, t.dir, "g3", t.dir, "f3", 0), "rename");
}

static void trash(void)
{
	struct fs_make make = {.type = FILE_TYPE, .mode = 0644};
	struct fs_stat st;

	if (told(fs_make(t.v.fs, t.dir, "trash", &make, &st), "make"))
		return;
	static uint8_t bytes[PAGES(20)];
	(void)told(fs_write(t.v.fs, st.ino, 0, bytes, sizeof(bytes), 0), "write");
	(void)told(fs_fsync_wait(t.v.fs, st.ino), "fsync");
	(void)told(fs_unlink(t.v.fs, t.dir, "trash"), "unlink");
	fs_forget(t.v.fs, st.ino, 1);
}

static void read_files(void)
{
	static uint8_t buf[PAGES(64)];
	size_t got;

	for (unsigned i = 0; i < FILES; i++) {
		if (t.files[i].ino)
			(void)told(fs_read(t.v.fs, t.files[i].ino, 0, sizeof(buf), buf, &got),
				   "read");
	}
}

// Every way that data takes: inline, images, flushed pages, overwritten ones, a checkpoint.
static void script(void)
{
	write_file(0, 0, PAGES(24));
	sync_file(0);
	write_file(1, 0, 2000);
	sync_file(1);
	make_file(2);
	write_file(2, 0, PAGES(40));
	sync_file(2);
	write_file(0, PAGES(2), PAGES(20));
	sync_file(0);
	make_file(3);
	write_file(3, 0, PAGES(5));
	rename_file();
	checkpoint();
	trash();
	write_file(0, 0, PAGES(24));
	write_file(3, 0, PAGES(30));
	sync_file(3);
	sync_file(0);
	read_files();
	checkpoint();
	checkpoint();
	write_file(2, 0, PAGES(40));
	sync_file(2);
}

// A rotation of the contents, with writes between its steps: each failure is followed by another
// try.
static void rotate_script(void)
{
	uint8_t *root_key = NULL;
	const struct rotate_params params = {.level = VAULT_ROTATION_CONTENTS, .now_s = 1700000000};
	bool more = true;

	if (told(rotate_root_key(t.v.fs, &t.v.passphrase, &root_key), "the root key"))
		return;
	int err = rotate_begin(t.v.fs, root_key, &params);
	secret_free(root_key);
	if (told(err, "the beginning of a rotation"))
		return;
	for (unsigned i = 0; more && i < 60; i++) {
		(void)told(rotate_step(t.v.fs, &more), "a step of a rotation");
		if (i % 8 == 3) {
			write_file(1, 0, 2000);
			write_file(0, PAGES(i % 5), PAGES(3));
			sync_file(0);
		}
	}
}

// It goes on, and ends with everything under one epoch.
static void rotate_to_the_end(const char *when)
{
	struct rotate_status st;
	bool more = true;

	rotate_get_status(t.v.fs, &st);
	if (st.state == ROTATE_IDLE)
		return; // none was begun, or it has ended
	if (st.state == ROTATE_INCOMPLETE)
		EXPECT_OK(rotate_again(t.v.fs));
	for (unsigned i = 0; more && i < 5000; i++) {
		int err = rotate_step(t.v.fs, &more);

		EXPECT(err == 0, "%s: %s: a step: %d (%s)", t.what, when, err, werr_text(err));
	}
	rotate_get_status(t.v.fs, &st);
	EXPECT(st.state == ROTATE_ENDED && st.epochs == 1, "%s: %s: state %d, %u epochs", t.what,
	       when, (int)st.state, st.epochs);
}

static void check_file(unsigned i, const char *when)
{
	struct tracked *f = &t.files[i];
	char name[16];

	(void)snprintf(name, sizeof(name), "f%u", i);
	uint64_t ino = sv_lookup(&t.v, t.dir, name);

	if (!ino && i == 3)
		ino = sv_lookup(&t.v, t.dir, "g3"); // a rename that failed
	EXPECT(ino || !f->durable, "%s: %s: %s is gone", t.what, when, name);
	if (!ino)
		return;
	uint64_t size = sv_size(&t.v, ino);

	EXPECT(!f->durable || size >= f->len || !f->sized, "%s: %s: %s has size %lu of %zu", t.what,
	       when, name, size, f->len);
	for (uint64_t off = 0; off + 8 <= size; off += SIM_PAGE) {
		size_t len = size - off < SIM_PAGE ? (size - off) / 8 * 8 : SIM_PAGE;
		uint64_t version = sv_version(&t.v, ino, off, len);

		EXPECT(version <= f->newest && version >= f->durable,
		       "%s: %s: page %lu of %s has version %ld, allowed %lu to %lu", t.what, when,
		       off / SIM_PAGE, name, (long)version, f->durable, f->newest);
	}
}

static void check_all(const char *when)
{
	for (unsigned i = 0; i < FILES; i++)
		check_file(i, when);
	EXPECT(t.v.refusals == 0, "%s: %s: something was refused", t.what, when);
}

// Everything that a user does works.
static void works(const char *when)
{
	static const char name[] = "afterwards";

	if (sv_lookup(&t.v, t.dir, name))
		EXPECT_OK(fs_unlink(t.v.fs, t.dir, name));
	uint64_t ino = sv_make(&t.v, t.dir, name, FILE_TYPE);

	sv_put(&t.v, ino, 0, PAGES(30), 1);
	sv_sync(&t.v, ino);
	EXPECT_OK(fs_checkpoint(t.v.fs));
	for (unsigned i = 0; i < FILES; i++) {
		if (t.files[i].ino) {
			int err = fs_fsync_wait(t.v.fs, t.files[i].ino);

			EXPECT(err == 0, "%s: %s: fsync of f%u: %d (%s)", t.what, when, i, err,
			       werr_text(err));
		}
	}
	EXPECT(sv_version(&t.v, ino, 0, PAGES(30)) == 1, "%s: %s: other content", t.what, when);
}

static void begin(const struct simvault *base)
{
	static const struct simcut kept = {.what = SIMCUT_ALL};
	const struct fs_params params = {.manual = 1};

	memset(&t.files, 0, sizeof(t.files));
	t.version = 100;
	t.errors = 0;
	simvault_fork((struct simvault *)(uintptr_t)base, &kept, 1, &t.v);
	t.v.params = params;
	simvault_open(&t.v);
	t.dir = sv_find(&t.v, FS_ROOT, "d");
	make_file(0);
	make_file(1);
	write_file(0, 0, PAGES(24));
	checkpoint();
}

// One case; false when the script does not make so many calls.
static int one(const struct simvault *base)
{
	begin(base);
	uint64_t before = simhost_calls(t.v.disk, t.fault.kind);

	simhost_fail(t.v.disk, &t.fault);
	t.script();
	int reached = simhost_calls(t.v.disk, t.fault.kind) - before >= t.fault.nth;

	simhost_fail_clear(t.v.disk);
	struct fs_status st;

	fs_get_status(t.v.fs, &st);
	t.answered += t.errors > 0;
	t.readonly += st.readonly != 0;
	if (st.readonly) {
		EXPECT(st.readonly_reason[0], "%s: read-only without a reason", t.what);
		check_all("read-only");
	} else {
		// What a fault left half done is made good by the next checkpoint or two.
		int err = fs_checkpoint(t.v.fs);

		if (err)
			err = fs_checkpoint(t.v.fs);
		EXPECT(err == 0, "%s: the checkpoint afterwards: %d (%s)", t.what, err,
		       werr_text(err));
		rotate_to_the_end("the cause is gone");
		works("the cause is gone");
		check_all("the cause is gone");
	}
	if (st.readonly || t.fault.nth % 2) {
		simvault_kill(&t.v);
		simvault_open(&t.v);
	} else {
		simvault_remount(&t.v);
	}
	t.dir = sv_find(&t.v, FS_ROOT, "d");
	rotate_to_the_end("mounted again");
	check_all("mounted again");
	memset(&t.files, 0, sizeof(t.files));
	works("mounted again");
	simvault_end(&t.v);
	return reached;
}

int main(int argc, char **argv)
{
	const char *env = getenv("WARDFS_CRASH_STRIDE");
	const uint64_t least = env ? strtoull(env, NULL, 10) : 1;
	uint64_t seed = 0, stride = 1, cases = 0, number = 0;
	struct simvault base;

	t.script = script;
	EXPECT(getrandom(&seed, 4, 0) == 4, "no randomness");
	for (int i = 1; i + 1 < argc; i++) {
		if (strcmp(argv[i], "--seed") == 0)
			seed = strtoull(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "--stride") == 0)
			stride = strtoull(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "--script") == 0)
			t.script = strcmp(argv[++i], "rotate") == 0 ? rotate_script : script;
	}
	printf("seed %lu\n", seed);
	(void)fflush(stdout);
	(void)alarm(SECONDS);
	stride = stride > least ? stride : least;
	simvault_begin(&base, NULL);
	(void)sv_make(&base, FS_ROOT, "d", DIR_TYPE);
	simvault_close(&base);
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		for (size_t e = 0; e < sizeof(errors) / sizeof(errors[0]); e++) {
			for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
				uint64_t n = 1;

				for (int reached = 1; reached; n++) {
					if ((number++ + seed) % stride && n < 400)
						continue;
					t.fault = (struct simfault){.kind = kinds[k].kind,
								    .nth = n,
								    .count = counts[c],
								    .error = errors[e]};
					(void)snprintf(t.what, sizeof(t.what),
						       "%s %lu fails %u times with %d",
						       kinds[k].name, n, counts[c], errors[e]);
					reached = one(&base);
					cases++;
				}
			}
		}
	}
	simvault_end(&base);
	printf("%lu cases: in %lu callers were told, in %lu the vault became read-only; nothing "
	       "lost\n",
	       cases, t.answered, t.readonly);
	return 0;
}
