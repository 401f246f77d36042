// SPDX-License-Identifier: Apache-2.0
// What the anchor must notice, and what it must let pass: whole vaults put back to an earlier
// state, header and journal alone, copies that went their own way, anchors that are lost, damaged
// or foreign. The vault and the state directory are two simulated disks; a snapshot of a disk is
// what an operator of the storage keeps.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crypto/secret.h"
#include "fusefs/anchor.h"
#include "fusefs/fs.h"
#include "fusefs/journal.h"
#include "fusefs/vault.h"
#include "tests/unit/vaultpasswd.h"
#include "tests/crash/simhost.h"
#include "tests/unit/unit_main.h"

#define ck_ok(expr) ck_assert_int_eq((expr), 0)

static const struct argon_params kdf = {ARGON_MEMORY_MIN_KIB, 1, 1};
static struct simhost *disk, *state;
static struct secret pass;
static struct anchor *anchor;
static struct vault *vault;
static struct fs *fs;
static int readonly, accepting, no_place;
static int manual = 1;

static int open_state(void *arg, const uint8_t *vault_id, int create, struct host **ret)
{
	(void)arg;
	(void)vault_id;
	// 1: the folder cannot be made; 2: it may be there, but is closed.
	if (no_place)
		return create || no_place == 2 ? WERR_PERM : WERR_NOTFOUND;
	*ret = simhost_open(state);
	return 0;
}

static struct host *attached(void)
{
	const struct anchor_params params = {
		.open = open_state,
		.machine = "here\n",
		.readonly = readonly,
		.accepting = accepting,
	};
	struct host *h = simhost_open(disk);

	ck_ok(anchor_new(&params, &anchor));
	h->anchor = anchor;
	return h;
}

static void detach(void)
{
	anchor_free(anchor);
	anchor = NULL;
}

// Opens the vault only; the anchor stays attached, for its findings.
static int unlock(void)
{
	return vault_open(attached(), &pass, readonly, &vault);
}

static int mount(void)
{
	const struct fs_params params = {.manual = manual, .readonly = readonly};
	int err = unlock();

	if (err)
		return err;
	err = fs_open(vault, &params, &fs);
	if (err)
		vault_close(vault);
	return err;
}

static void finish(int clean)
{
	if (clean)
		ck_ok(fs_close(fs));
	else
		fs_abandon(fs);
	vault_close(vault);
	detach();
}

static void make(const char *name)
{
	const struct fs_make how = {.type = OBJECT_FILE, .mode = 0644};
	struct fs_stat st;

	ck_ok(fs_make(fs, FS_ROOT, name, &how, &st));
	ck_ok(fs_write(fs, st.ino, 0, name, strlen(name), 0));
	ck_ok(fs_fsync_wait(fs, st.ino));
}

static int is_there(const char *name)
{
	struct fs_stat st;

	return fs_lookup(fs, FS_ROOT, name, &st) == 0;
}

// One whole mount with a file made in it.
static void session(const char *name, int clean)
{
	ck_ok(mount());
	make(name);
	finish(clean);
}

static enum anchor_verdict verdict(void)
{
	struct anchor_state s;

	anchor_get(anchor, &s);
	return s.verdict;
}

// A refused attempt to mount.
static void refused(int code, enum anchor_verdict why, const char *words)
{
	struct anchor_state s;
	char line[512];

	int got = mount();
	ck_assert_msg(got == code, "%d instead of %d for %s", got, code, words);
	ck_assert_int_eq(verdict(), why);
	anchor_get(anchor, &s);
	ck_assert_int_gt(anchor_refusal(&s, line, sizeof(line)), 0);
	ck_assert_msg(strstr(line, words) != NULL, "no '%s' in '%s'", words, line);
	// A worker's message has room for it.
	ck_assert_uint_lt(strlen(line), 256);
	detach();
}

static void expect(enum anchor_verdict v)
{
	ck_ok(mount());
	ck_assert_int_eq(verdict(), v);
	finish(1);
}

static void accept_it(void)
{
	accepting = 1;
	ck_ok(unlock());
	ck_ok(vault_compare_journal(vault));
	ck_ok(vault_accept(vault));
	vault_close(vault);
	detach();
	accepting = 0;
}

static struct simhost *snapshot(struct simhost *of)
{
	return simhost_clone_after_kill(of);
}

// The snapshot is put in the place of what is there.
static void restore(struct simhost **to, struct simhost *from)
{
	simhost_free(*to);
	*to = snapshot(from);
}

static void read_file(struct simhost *s, const char *name, size_t max, uint8_t **ret, size_t *len)
{
	struct host *h = simhost_open(s);

	ck_ok(host_read_top(h, name, max, ret, len));
	h->ops->close(h);
}

static void write_file(struct simhost *s, const char *name, const void *buf, size_t len)
{
	struct host *h = simhost_open(s);

	ck_ok(host_replace_top(h, name, buf, len));
	h->ops->close(h);
}

static void copy_file(struct simhost *from, struct simhost *to, const char *name)
{
	uint8_t *buf;
	size_t len;

	read_file(from, name, 64u << 20, &buf, &len);
	write_file(to, name, buf, len);
	free(buf);
}

static void copy_header(struct simhost *from, struct simhost *to)
{
	copy_file(from, to, VAULT_FILE);
	copy_file(from, to, VAULT_FILE_COPY);
}

static void change_state(size_t at)
{
	uint8_t *buf;
	size_t len;

	read_file(state, ANCHOR_FILE, ANCHOR_BYTES, &buf, &len);
	buf[at] ^= 0x40;
	write_file(state, ANCHOR_FILE, buf, len);
	free(buf);
}

static void init(const char *passphrase)
{
	const struct vault_create_params params = {
		.kdf = kdf, .label = "first", .created_s = 1, .journal_bytes = JOURNAL_MIN_BYTES};

	secret_clear(&pass);
	ck_ok(secret_copy(&pass, passphrase, strlen(passphrase)));
	disk = simhost_new();
	struct host *h = attached();
	ck_ok(vault_create(h, &params, &pass));
	h->ops->close(h);
	detach();
}

static void setup(void)
{
	state = simhost_new();
	readonly = accepting = no_place = 0;
	manual = 1;
	init("anchor");
}

static void teardown(void)
{
	simhost_free(disk);
	simhost_free(state);
	secret_clear(&pass);
}

// ---- what passes ----

START_TEST(ordinary_life)
{
	struct anchor_state s;
	char line[512];

	expect(ANCHOR_SAME); // init has made the anchor
	session("a", 1);
	ck_ok(mount());
	anchor_get(anchor, &s);
	ck_assert_int_eq(s.verdict, ANCHOR_SAME);
	ck_assert_int_gt(anchor_news(&s, line, sizeof(line)), 0);
	ck_assert_ptr_nonnull(strstr(line, "last closed cleanly on 20"));
	ck_assert_ptr_nonnull(strstr(line, "by here? (mount 2)"));
	make("b");
	finish(0);
	ck_ok(mount());
	anchor_get(anchor, &s);
	ck_assert_int_gt(anchor_news(&s, line, sizeof(line)), 0);
	ck_assert_ptr_nonnull(strstr(line, "not closed cleanly the last time"));
	ck_assert(is_there("a") && is_there("b"));
	finish(1);
}
END_TEST

START_TEST(missing_is_made)
{
	session("a", 1);
	simhost_free(state);
	state = simhost_new();
	expect(ANCHOR_NEW);
	expect(ANCHOR_SAME);
}
END_TEST

// Another machine has used the vault meanwhile, and crashed there.
START_TEST(used_elsewhere)
{
	struct simhost *here = snapshot(state);

	session("a", 1);
	session("b", 0);
	restore(&state, here);
	ck_ok(mount());
	ck_assert_int_eq(verdict(), ANCHOR_AHEAD);
	ck_assert(is_there("a") && is_there("b"));
	finish(1);
	simhost_free(here);
}
END_TEST

START_TEST(anchor_lags_behind_at_any_point)
{
	// Whatever the anchor was at some time, every later state of the vault passes.
	struct simhost *old[6];
	char name[2] = "a";

	for (unsigned i = 0; i < 6; i++) {
		old[i] = snapshot(state);
		name[0] = (char)('a' + i);
		session(name, i % 2);
	}
	struct simhost *now = snapshot(disk);
	for (unsigned i = 0; i < 6; i++) {
		restore(&state, old[i]);
		restore(&disk, now);
		ck_ok(mount());
		ck_assert(is_there("f"));
		finish(1);
		simhost_free(old[i]);
	}
	simhost_free(now);
}
END_TEST

START_TEST(no_place_is_no_error)
{
	struct anchor_state s;

	no_place = 1;
	ck_ok(mount());
	ck_assert_int_eq(verdict(), ANCHOR_NOPLACE);
	make("a");
	anchor_get(anchor, &s);
	ck_assert_int_eq(s.trouble, WERR_PERM);
	finish(1);
}
END_TEST

START_TEST(closed_place_is_refused)
{
	no_place = 2;
	refused(WERR_ANCHOR, ANCHOR_UNREACHABLE, "out of reach");
	readonly = 1;
	refused(WERR_ANCHOR, ANCHOR_UNREACHABLE, "out of reach");
	no_place = readonly = 0;
	ck_ok(mount());
	finish(1);
}
END_TEST

START_TEST(full_state_disk_is_no_error)
{
	const struct simfault fault = {SIM_WRITE, 1, 1000, WERR_NOSPACE, 0};
	struct anchor_state s;

	simhost_fail(state, &fault);
	ck_ok(mount());
	anchor_get(anchor, &s);
	ck_assert_int_eq(s.trouble, WERR_NOSPACE);
	// And when there is room again the next news are written.
	simhost_fail_clear(state);
	make("a");
	anchor_get(anchor, &s);
	ck_assert_int_eq(s.trouble, 0);
	finish(1);
	expect(ANCHOR_SAME);
}
END_TEST

START_TEST(readonly_writes_nothing)
{
	uint8_t *before, *after;
	size_t n, m;

	session("a", 0);
	read_file(state, ANCHOR_FILE, ANCHOR_BYTES, &before, &n);
	readonly = 1;
	ck_ok(mount());
	ck_assert(is_there("a"));
	finish(1);
	read_file(state, ANCHOR_FILE, ANCHOR_BYTES, &after, &m);
	ck_assert_uint_eq(n, m);
	ck_assert_mem_eq(before, after, n);
	free(before);
	free(after);
}
END_TEST

// The thread of a real mount keeps it up without any checkpoint being asked for.
START_TEST(follows_fsync_within_seconds)
{
	struct anchor_claims first, now;
	const struct timespec nap = {.tv_nsec = 50000000};
	const time_t start = time(NULL);

	manual = 0;
	ck_ok(mount());
	anchor_get_claims(anchor, &first);
	make("a");
	do {
		(void)nanosleep(&nap, NULL);
		anchor_get_claims(anchor, &now);
	} while (now.journal_sequence <= first.journal_sequence && time(NULL) - start < 60);
	ck_assert_uint_gt(now.journal_sequence, first.journal_sequence);
	ck_assert_uint_eq(now.journal_mount, first.journal_mount);
	finish(1);
}
END_TEST

// ---- what is refused ----

START_TEST(whole_vault_rolled_back)
{
	session("a", 1);
	struct simhost *old = snapshot(disk);
	session("b", 1);
	struct simhost *newest = snapshot(disk);

	restore(&disk, old);
	refused(WERR_ROLLBACK, ANCHOR_OLDER, "mount 1, header write 3, instead of mount 2, header");
	refused(WERR_ROLLBACK, ANCHOR_OLDER, "older state");
	readonly = 1;
	refused(WERR_ROLLBACK, ANCHOR_OLDER, "older state");
	readonly = 0;
	// Nothing was changed by the attempts.
	restore(&disk, newest);
	expect(ANCHOR_SAME);
	// A person may take the old one all the same: from then on it is the newest.
	restore(&disk, old);
	accept_it();
	ck_ok(mount());
	ck_assert(is_there("a") && !is_there("b"));
	make("c");
	finish(1);
	expect(ANCHOR_SAME);
	struct simhost *accepted = snapshot(disk);
	restore(&disk, newest);
	refused(WERR_ROLLBACK, ANCHOR_OLDER, "older state");
	restore(&disk, accepted);
	expect(ANCHOR_SAME);
	simhost_free(old);
	simhost_free(newest);
	simhost_free(accepted);
}
END_TEST

// The number of the next mount lies behind every one that was seen, so that no generation of the
// lost history comes again.
START_TEST(accepted_numbers_go_on)
{
	struct simhost *old = snapshot(disk);

	for (unsigned i = 0; i < 3; i++)
		expect(ANCHOR_SAME);
	restore(&disk, old);
	accept_it();
	ck_ok(mount());
	ck_assert_uint_eq(vault->h->mount, 4);
	finish(1);
	simhost_free(old);
}
END_TEST

START_TEST(dirty_vault_rolled_back_and_accepted)
{
	session("a", 0);
	struct simhost *old = snapshot(disk);
	session("b", 1);
	restore(&disk, old);
	refused(WERR_ROLLBACK, ANCHOR_OLDER, "older state");
	accept_it();
	ck_ok(mount());
	ck_assert(is_there("a") && !is_there("b"));
	ck_assert_uint_gt(vault->h->mount, 3);
	finish(1);
	simhost_free(old);
}
END_TEST

// Both header files of an earlier mount beside today's objects: one mount ago, and from the birth
// of the vault.
START_TEST(header_rolled_back)
{
	struct simhost *born = snapshot(disk);

	session("a", 1);
	struct simhost *one = snapshot(disk);
	ck_ok(mount());
	make("b0");
	ck_ok(fs_checkpoint(fs));
	make("b");
	finish(0);
	copy_header(one, disk);
	refused(WERR_ROLLBACK, ANCHOR_OLDER, "older state");
	copy_header(born, disk);
	refused(WERR_ROLLBACK, ANCHOR_OLDER, "older state");
	simhost_free(born);
	simhost_free(one);
}
END_TEST

// The end of a dirty vault's journal, zeroed behind its superblocks, or a half of it.
START_TEST(journal_cut)
{
	uint8_t *journal;
	size_t len;

	session("a", 1);
	ck_ok(mount());
	make("b");
	make("c");
	finish(0);
	read_file(disk, JOURNAL_NAME, 64u << 20, &journal, &len);
	// The last block that has anything is the record of c.
	size_t end = len;
	static const uint8_t zeros[4096];
	while (end > 8192 && memcmp(journal + end - 4096, zeros, 4096) == 0)
		end -= 4096;
	memset(journal + end - 4096, 0, 4096);
	write_file(disk, JOURNAL_NAME, journal, len);
	free(journal);
	struct simhost *shortened = snapshot(disk);
	refused(WERR_ROLLBACK, ANCHOR_CUT, "its journal was cut");
	restore(&disk, shortened);
	// Without an anchor it cannot be told from a crash before the fsync.
	struct simhost *keep = snapshot(state);
	simhost_free(state);
	state = simhost_new();
	ck_ok(mount());
	ck_assert(is_there("b") && !is_there("c"));
	finish(0);
	restore(&state, keep);
	restore(&disk, shortened);
	accept_it();
	ck_ok(mount());
	ck_assert(is_there("a") && is_there("b") && !is_there("c"));
	finish(1);
	expect(ANCHOR_SAME);
	simhost_free(shortened);
	simhost_free(keep);
}
END_TEST

// The whole vault as it was earlier in the same mount: the header is the same.
START_TEST(state_within_the_mount)
{
	ck_ok(mount());
	make("a");
	ck_ok(fs_checkpoint(fs));
	struct simhost *early = snapshot(disk);
	make("b");
	ck_ok(fs_checkpoint(fs));
	make("c");
	finish(0);
	struct simhost *late = snapshot(disk);
	restore(&disk, early);
	refused(WERR_ROLLBACK, ANCHOR_CUT, "its journal was cut or replaced by an older one");
	// The journal alone.
	restore(&disk, late);
	copy_file(early, disk, JOURNAL_NAME);
	refused(WERR_ROLLBACK, ANCHOR_CUT, "older one");
	restore(&disk, late);
	ck_ok(mount());
	ck_assert(is_there("a") && is_there("b") && is_there("c"));
	finish(1);
	simhost_free(early);
	simhost_free(late);
}
END_TEST

// Two copies of one vault on one machine: the one that is behind is refused, the one ahead passes,
// and two of the same age are told apart.
START_TEST(clones)
{
	session("a", 1);
	struct simhost *twin = snapshot(disk), *other_machine = snapshot(state);

	session("b", 1); // the original is ahead now
	struct simhost *original = snapshot(disk), *here = snapshot(state);
	restore(&disk, twin);
	refused(WERR_ROLLBACK, ANCHOR_OLDER, "older state");
	// The twin makes as many steps elsewhere.
	restore(&state, other_machine);
	restore(&disk, twin);
	session("c", 1);
	restore(&state, here);
	refused(WERR_ROLLBACK, ANCHOR_FORKED, "went its own way");
	// And one more: now it is ahead, and the original is behind.
	restore(&state, other_machine);
	session("d", 1);
	restore(&state, here);
	expect(ANCHOR_AHEAD);
	restore(&disk, original);
	refused(WERR_ROLLBACK, ANCHOR_OLDER, "older state");
	simhost_free(twin);
	simhost_free(other_machine);
	simhost_free(original);
	simhost_free(here);
}
END_TEST

START_TEST(two_copies_at_once)
{
	struct simhost *twin = snapshot(disk);

	ck_ok(mount());
	struct anchor *first_anchor = anchor;
	struct simhost *first_disk = disk;
	struct vault *first_vault = vault;
	disk = twin;
	ck_assert_int_eq(unlock(), WERR_BUSY);
	detach();
	simhost_free(twin);
	disk = first_disk;
	anchor = first_anchor;
	vault = first_vault;
	finish(1);
}
END_TEST

START_TEST(damaged_anchor)
{
	session("a", 1);
	change_state(_i == 0 ? 100 : _i == 1 ? 3 : _i == 2 ? 5000 : 60);
	refused(WERR_ANCHOR, ANCHOR_UNUSABLE, "cannot be used");
	refused(WERR_ANCHOR, ANCHOR_UNUSABLE, "cannot be used");
	accept_it();
	expect(ANCHOR_SAME);
}
END_TEST

START_TEST(cut_and_empty_anchor)
{
	session("a", 1);
	write_file(state, ANCHOR_FILE, "", (size_t)_i);
	refused(WERR_ANCHOR, ANCHOR_UNUSABLE, "cannot be used");
}
END_TEST

START_TEST(foreign_anchor)
{
	struct simhost *ours = disk, *our_state = state;
	struct secret our_pass = pass;

	pass = (struct secret){0};
	state = simhost_new();
	init("another");
	simhost_free(disk);
	secret_clear(&pass);
	disk = ours;
	pass = our_pass;
	simhost_free(our_state);
	refused(WERR_ANCHOR, ANCHOR_UNUSABLE, "another vault's");
}
END_TEST

// ---- keyslots ----

static void change_passphrase(const char *text)
{
	struct secret fresh;
	struct host *h = attached();

	ck_ok(secret_copy(&fresh, text, strlen(text)));
	ck_ok(vault_passwd(h, &pass, &fresh, &kdf, 2));
	h->ops->close(h);
	detach();
	secret_clear(&pass);
	pass = fresh;
}

static void announced(const char *words)
{
	struct anchor_state s;
	char line[256];

	ck_ok(mount());
	anchor_get(anchor, &s);
	ck_assert_uint_eq(s.changes_len, words ? 1 : 0);
	if (words) {
		ck_assert_int_gt(anchor_change_line(&s, 0, line, sizeof(line)), 0);
		ck_assert_msg(strstr(line, words) != NULL, "%s", line);
	}
	ck_assert_int_eq(anchor_change_line(&s, words ? 1 : 0, line, sizeof(line)), 0);
	anchor_tell_slots(anchor);
	finish(1);
}

START_TEST(changed_passphrase_here_and_elsewhere)
{
	announced(NULL);
	change_passphrase("here");
	announced("keyslot 0 'first' was changed");
	announced(NULL);
	struct simhost *here = snapshot(state);
	change_passphrase("elsewhere");
	restore(&state, here); // sealed under the root key of before
	announced("keyslot 0 'first' was changed");
	announced(NULL);
	simhost_free(here);
}
END_TEST

// An older header must not become the newest by a change of its passphrase.
START_TEST(passwd_of_an_older_vault)
{
	struct simhost *old = snapshot(disk);
	struct secret fresh;

	session("a", 1);
	restore(&disk, old);
	ck_ok(secret_copy(&fresh, "x", 1));
	struct host *h = attached();
	ck_assert_int_eq(vault_passwd(h, &pass, &fresh, &kdf, 2), WERR_ROLLBACK);
	h->ops->close(h);
	detach();
	secret_clear(&fresh);
	simhost_free(old);
}
END_TEST

START_TEST(times_of_use)
{
	struct anchor_claims c;
	const uint64_t before = (uint64_t)time(NULL);

	session("a", 1);
	ck_ok(mount());
	anchor_get_claims(anchor, &c);
	ck_assert_uint_ge(c.slots[0].last_use_s, before);
	ck_assert_uint_eq(c.slots[1].last_use_s, 0);
	finish(1);
}
END_TEST

// The anchor is of the header that says so, and under its epoch, as soon as a rotation has begun.
START_TEST(rotation_begins)
{
	struct vault_rotation what = {.level = VAULT_ROTATION_CONTENTS, .number = FS_ROOT};
	struct anchor_state s;
	uint8_t *root_key, *header = malloc(VAULT_HEADER_BYTES);

	session("a", 1);
	ck_ok(unlock());
	ck_assert_ptr_nonnull(header);
	what.incarnation = vault->h->root_incarnation;
	ck_ok(vault_copy_header(vault, header));
	ck_ok(vault_root_key(header, &pass, &root_key));
	free(header);
	ck_ok(vault_rotation_begin(vault, root_key, &what));
	const uint64_t counter = vault->h->write_counter;
	anchor_get(anchor, &s);
	ck_assert_int_eq(s.trouble, 0);
	secret_free(root_key);
	vault_close(vault);
	detach();
	ck_ok(unlock());
	anchor_get(anchor, &s);
	ck_assert_int_eq(s.verdict, ANCHOR_SAME);
	ck_assert_uint_eq(s.known.write_counter, counter);
	vault_close(vault);
	detach();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("anchor");
	TCase *tc = tcase_create("anchor");

	if (secret_init())
		return EXIT_FAILURE;
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, ordinary_life);
	tcase_add_test(tc, missing_is_made);
	tcase_add_test(tc, used_elsewhere);
	tcase_add_test(tc, anchor_lags_behind_at_any_point);
	tcase_add_test(tc, no_place_is_no_error);
	tcase_add_test(tc, closed_place_is_refused);
	tcase_add_test(tc, full_state_disk_is_no_error);
	tcase_add_test(tc, readonly_writes_nothing);
	tcase_add_test(tc, follows_fsync_within_seconds);
	tcase_add_test(tc, whole_vault_rolled_back);
	tcase_add_test(tc, accepted_numbers_go_on);
	tcase_add_test(tc, dirty_vault_rolled_back_and_accepted);
	tcase_add_test(tc, header_rolled_back);
	tcase_add_test(tc, journal_cut);
	tcase_add_test(tc, state_within_the_mount);
	tcase_add_test(tc, clones);
	tcase_add_test(tc, two_copies_at_once);
	tcase_add_loop_test(tc, damaged_anchor, 0, 4);
	tcase_add_loop_test(tc, cut_and_empty_anchor, 0, 2);
	tcase_add_test(tc, foreign_anchor);
	tcase_add_test(tc, changed_passphrase_here_and_elsewhere);
	tcase_add_test(tc, passwd_of_an_older_vault);
	tcase_add_test(tc, times_of_use);
	tcase_add_test(tc, rotation_begins);
	tcase_set_timeout(tc, 120);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
