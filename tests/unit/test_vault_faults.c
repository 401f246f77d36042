// SPDX-License-Identifier: Apache-2.0
// Every host call of fusefs/vault.c that changes something fails once, or is the last one before
// the lights go out.
#include "tests/unit/unit_files.h"
#include "fusefs/vault.h"

#include "crypto/cursor.h"
#include "tests/unit/vaultenv.h"
#include "unit_main.h"

#define CALLS_MAX 400 // no operation makes more

static uint8_t *base[2]; // the header files of the vault that each round starts from

static void faults_setup(void)
{
	vault_setup();
	base[0] = hostenv_slurp(VAULT_FILE, VAULT_HEADER_BYTES);
	base[1] = hostenv_slurp(VAULT_FILE_COPY, VAULT_HEADER_BYTES);
}

static void faults_teardown(void)
{
	free(base[0]);
	free(base[1]);
	hostenv_teardown();
}

static void restore(void)
{
	spill(VAULT_FILE, base[0], VAULT_HEADER_BYTES);
	spill(VAULT_FILE_COPY, base[1], VAULT_HEADER_BYTES);
}

static void arm(int at, int dark, int code)
{
	fault.calls = 0;
	fault.at = at;
	fault.dark = dark;
	fault.code = code;
}

// ---- create ----

static void empty_dir(void)
{
	unit_empty_folder(env.dir);
}

// A failure that is answered leaves the directory empty.
START_TEST(failed_create_leaves_nothing)
{
	static const int codes[] = {WERR_IO, WERR_NOSPACE};
	int at = 1;

	for (;; at++) {
		struct host *host = fresh_host();
		arm(at, 0, codes[at % 2]);
		int err = create(host, "first", JOURNAL_BYTES);
		int reached = fault.calls >= at;
		drop_host(host);
		ck_assert_int_lt(at, CALLS_MAX);
		if (!reached) {
			ck_ok(err);
			break;
		}
		// Only the removal of a temporary file that is not there may fail without notice.
		if (err)
			ck_assert_msg(count_names() == 0, "call %d", at);
		else
			ck_ok(opens("first", NULL));
		empty_dir();
	}
	ck_assert_int_gt(at, 10);
}
END_TEST

// When the lights go out the directory holds no vault, or a whole one.
START_TEST(cut_create_is_a_vault_or_none)
{
	int none = 0, whole = 0;

	for (int at = 1;; at++) {
		struct host *host = fresh_host();
		arm(at, 1, WERR_IO);
		int made = create(host, "first", JOURNAL_BYTES);
		int reached = fault.calls >= at;
		drop_host(host);
		if (!reached)
			break;
		ck_assert_int_eq(made, WERR_IO);
		int err = opens("first", NULL);
		ck_assert_msg(err == 0 || err == WERR_NOTVAULT, "call %d: %s", at, werr_text(err));
		if (err)
			none++;
		else
			whole++;
		empty_dir();
	}
	ck_assert_int_gt(none, 0);
	ck_assert_int_gt(whole, 0);
}
END_TEST

// ---- write ----

// One write of the header under a fault; afterwards the vault opens with the counter before or
// after.
static int quiet; // failures of which nobody was told: of overwriting what was replaced
static int write_round(int at, int dark, int full)
{
	struct vault *v = NULL;
	uint64_t counter = 0;

	restore();
	ck_ok(try_open("first", 0, &v));
	const uint64_t before = v->h->write_counter;
	fault.full = full;
	arm(at, dark, WERR_IO);
	v->h->mount = 3;
	int err = vault_write(v);
	int reached = fault.calls >= at;
	ck_assert_uint_eq(v->h->write_counter, before + 1);
	ck_assert(err == 0 || (reached && err == WERR_IO));
	quiet += reached && !err;
	vault_close(v);
	ck_ok(opens("first", &counter));
	ck_assert_msg(counter == before || counter == before + 1, "call %d", at);
	if (!err) {
		ck_assert_uint_eq(counter, before + 1);
		ck_assert(copies_are_equal());
	}
	return reached;
}

START_TEST(cut_write_leaves_old_or_new)
{
	for (int dark = 0; dark < 2; dark++) {
		int at = 1;

		quiet = 0;
		while (write_round(at, dark, 0))
			at++;
		ck_assert_int_gt(at, 10);
		// Of each file: writing over the one before, and the flush of that. In the dark the
		// rounds leave temporary files, which are written over too, so the calls differ.
		ck_assert(dark || quiet == 4);
	}
}
END_TEST

// Two writes by one owner, the first one cut short: the second one must not spoil the only whole
// file.
START_TEST(second_try_after_a_failed_write)
{
	for (int at = 1; at < 13; at++) {
		struct vault *v = NULL;
		uint64_t counter = 0;

		restore();
		ck_ok(try_open("first", 0, &v));
		arm(at, 0, WERR_IO);
		int first = vault_write(v);
		arm(0, 0, 0);
		ck_ok(vault_write(v));
		ck_assert(copies_are_equal());
		const uint64_t want = v->h->write_counter;
		vault_close(v);
		ck_ok(opens("second", &counter));
		ck_assert_uint_eq(counter, want);
		(void)first;
	}
}
END_TEST

START_TEST(full_host_is_written_in_place)
{
	struct vault *v = NULL;
	uint64_t counter = 0;

	for (int bad = -1; bad < 2; bad++) {
		restore();
		if (bad >= 0)
			spill(bad ? VAULT_FILE_COPY : VAULT_FILE, "torn", 4);
		ck_ok(try_open("first", 0, &v));
		fault.full = 1;
		v->h->mount++;
		ck_ok(vault_write(v));
		ck_assert_uint_eq(v->intact, 3);
		const uint64_t want = v->h->write_counter;
		vault_close(v);
		ck_assert(copies_are_equal());
		ck_ok(opens("first", &counter));
		ck_assert_uint_eq(counter, want);
	}
}
END_TEST

START_TEST(cut_write_in_place_leaves_old_or_new)
{
	for (int dark = 0; dark < 2; dark++) {
		int at = 1;

		for (;; at++) {
			struct vault *v = NULL;
			uint64_t counter = 0;

			restore();
			ck_ok(try_open("first", 0, &v));
			const uint64_t before = v->h->write_counter;
			fault.full = 1;
			arm(at, dark, WERR_IO);
			int err = vault_write(v);
			int reached = fault.calls >= at;
			vault_close(v);
			ck_ok(opens("first", &counter));
			ck_assert_msg(counter == before || counter == before + 1, "call %d", at);
			if (!err)
				ck_assert(copies_are_equal());
			if (!reached)
				break;
		}
		ck_assert_int_gt(at, 6);
	}
}
END_TEST

// With one file only and no room for another, nothing is risked.
START_TEST(last_whole_file_is_never_written_over)
{
	struct vault *v = NULL;
	char path[256];

	path_of(path, VAULT_FILE_COPY);
	ck_ok(unlink(path));
	ck_ok(try_open("first", 0, &v));
	fault.full = 1;
	v->h->mount++;
	ck_assert_int_eq(vault_write(v), WERR_NOSPACE);
	vault_close(v);
	uint8_t *after = hostenv_slurp(VAULT_FILE, VAULT_HEADER_BYTES);
	ck_assert(memcmp(after, base[0], VAULT_HEADER_BYTES) == 0);
	free(after);
	ck_ok(opens("first", NULL));
}
END_TEST

// ---- passwd ----

// One passwd under a fault. Nobody is locked out, and what was answered with success is so.
static int passwd_round(int at, int dark, int full)
{
	restore();
	struct host *host = fresh_host();
	fault.full = full;
	arm(at, dark, WERR_IO);
	vault_passwd_in_force = 0;
	int err = passwd(host, "first", "third");
	int in_force = vault_passwd_in_force;
	int reached = fault.calls >= at;
	drop_host(host);
	int old = opens("first", NULL);
	int new_ = opens("third", NULL);
	ck_ok(opens("second", NULL));
	ck_assert_msg(old == 0 || new_ == 0, "call %d: %s, %s", at, werr_text(old),
		      werr_text(new_));
	if (!err) {
		ck_ok(new_);
		ck_assert_int_eq(old, WERR_SECRET);
	}
	// A failure that left the change in force says so. In the dark nothing could be looked at.
	if (!dark)
		ck_assert_msg(!in_force == !!new_, "call %d: in force %d, opens: %s", at, in_force,
			      werr_text(new_));
	// Whichever opens: the next write makes both files agree, and ends the other passphrase.
	struct vault *v = NULL;
	ck_ok(try_open(new_ ? "first" : "third", 0, &v));
	ck_ok(vault_write(v));
	vault_close(v);
	ck_assert(copies_are_equal());
	ck_assert_int_eq(opens(new_ ? "third" : "first", NULL), WERR_SECRET);
	ck_ok(opens("second", NULL));
	return reached;
}

START_TEST(cut_passwd_locks_nobody_out)
{
	for (int dark = 0; dark < 2; dark++) {
		int at = 1;

		while (passwd_round(at, dark, 0))
			at++;
		ck_assert_int_gt(at, 14);
	}
}
END_TEST

START_TEST(cut_passwd_on_a_full_host)
{
	int at = 1;

	while (passwd_round(at, 1, 1))
		at++;
	ck_assert_int_gt(at, 6);
}
END_TEST

// Between the two files both passphrases open; a second passwd with either ends it.
START_TEST(passwd_can_be_tried_again)
{
	struct host *host = fresh_host();
	ck_ok(passwd(host, "first", "third"));
	drop_host(host);
	spill(VAULT_FILE_COPY, base[1], VAULT_HEADER_BYTES);
	ck_ok(opens("first", NULL));
	ck_ok(opens("third", NULL));
	host = fresh_host();
	ck_ok(passwd(host, "first", "fourth"));
	drop_host(host);
	ck_assert(copies_are_equal());
	ck_assert_int_eq(opens("first", NULL), WERR_SECRET);
	ck_assert_int_eq(opens("third", NULL), WERR_SECRET);
	ck_ok(opens("second", NULL));
	ck_ok(opens("fourth", NULL));
}
END_TEST

// A clean vault does without its journal: the passphrase is changed whatever became of it.
START_TEST(passwd_needs_no_journal)
{
	char path[256];

	path_of(path, JOURNAL_NAME);
	ck_ok(unlink(path));
	struct host *host = fresh_host();
	ck_ok(passwd(host, "first", "third"));
	drop_host(host);
	ck_assert_int_eq(opens("first", NULL), WERR_SECRET);
	ck_ok(opens("third", NULL));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vault_faults");
	TCase *make = tcase_create("create");
	TCase *use = tcase_create("use");

	tcase_add_checked_fixture(make, dir_setup, hostenv_teardown);
	tcase_set_timeout(make, 100);
	tcase_add_test(make, failed_create_leaves_nothing);
	tcase_add_test(make, cut_create_is_a_vault_or_none);
	suite_add_tcase(s, make);
	tcase_add_checked_fixture(use, faults_setup, faults_teardown);
	tcase_set_timeout(use, 100);
	tcase_add_test(use, cut_write_leaves_old_or_new);
	tcase_add_test(use, second_try_after_a_failed_write);
	tcase_add_test(use, full_host_is_written_in_place);
	tcase_add_test(use, cut_write_in_place_leaves_old_or_new);
	tcase_add_test(use, last_whole_file_is_never_written_over);
	tcase_add_test(use, cut_passwd_locks_nobody_out);
	tcase_add_test(use, cut_passwd_on_a_full_host);
	tcase_add_test(use, passwd_can_be_tried_again);
	tcase_add_test(use, passwd_needs_no_journal);
	suite_add_tcase(s, use);
	return unit_main(s);
}
