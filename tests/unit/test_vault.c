// SPDX-License-Identifier: Apache-2.0
#include "fusefs/vault.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "crypto/cursor.h"
#include "tests/unit/vaultenv.h"
#include "unit_main.h"

// ---- create ----

START_TEST(create_makes_a_vault)
{
	struct host *host = fresh_host();
	struct vault *v = NULL;
	struct stat st;
	char path[256];

	ck_ok(create(host, "first", JOURNAL_BYTES));
	drop_host(host);
	ck_assert_uint_eq(count_names(), 3);
	path_of(path, JOURNAL_NAME);
	ck_ok(stat(path, &st));
	ck_assert_int_eq(st.st_size, JOURNAL_BYTES);
	ck_assert(copies_are_equal());
	ck_ok(try_open("first", 0, &v));
	ck_assert_uint_eq(v->h->state, VAULT_CLEAN);
	ck_assert_uint_eq(v->h->mount, 0);
	ck_assert_uint_eq(v->h->root_generation, 0);
	ck_assert_uint_eq(v->h->write_counter, 1);
	ck_assert_uint_eq(v->h->journal_bytes, JOURNAL_BYTES);
	ck_assert_uint_eq(v->h->created_s, 1700000000);
	ck_assert_uint_eq(v->intact, 3);
	struct journal *j = NULL;
	ck_ok(journal_open(v->host, v->ring, v->h->journal_bytes, 0, &j));
	journal_close(j);
	vault_close(v);
	ck_assert_int_eq(opens("First", NULL), WERR_SECRET);
	ck_assert_int_eq(opens("", NULL), WERR_SECRET);
}
END_TEST

START_TEST(create_wants_an_empty_directory)
{
	static const char *const names[] = {"x", ".hidden", VAULT_FILE, JOURNAL_NAME};
	char path[256];

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		spill(names[i], "x", 1);
		struct host *host = fresh_host();
		ck_assert_int_eq(create(host, "first", JOURNAL_BYTES), WERR_NOTEMPTY);
		ck_assert_int_eq(fault.calls, 0);
		drop_host(host);
		path_of(path, names[i]);
		ck_ok(unlink(path));
	}
	path_of(path, "lost+found");
	ck_ok(mkdir(path, 0700));
	struct host *host = fresh_host();
	ck_assert_int_eq(create(host, "first", JOURNAL_BYTES), WERR_NOTEMPTY);
	drop_host(host);
}
END_TEST

START_TEST(create_refuses_bad_parameters)
{
	struct host *host = fresh_host();
	struct vault_create_params params = {.kdf = fixture_kdf, .label = "", .journal_bytes = 0};
	struct secret pass = fixture_pass("first");

	ck_assert_int_eq(create(host, "", JOURNAL_BYTES), WERR_INVALID);
	ck_assert_int_eq(create(host, "first", JOURNAL_BYTES - 4096), WERR_LIMIT);
	ck_assert_int_eq(create(host, "first", JOURNAL_BYTES + 1), WERR_LIMIT);
	ck_assert_int_eq(create(host, "first", VAULT_JOURNAL_MAX_BYTES + 4096), WERR_LIMIT);
	params.kdf.memory_kib--;
	ck_assert_int_eq(vault_create(host, &params, &pass), WERR_LIMIT);
	params.kdf.memory_kib = ARGON_MEMORY_MAX_KIB + 1;
	ck_assert_int_eq(vault_create(host, &params, &pass), WERR_LIMIT);
	params.kdf = fixture_kdf;
	params.label = "a label of sixty-four bytes, which is one byte more than fits in.";
	ck_assert_int_eq(vault_create(host, &params, &pass), WERR_INVALID);
	params.label = "tab\there";
	ck_assert_int_eq(vault_create(host, &params, &pass), WERR_INVALID);
	ck_assert_int_eq(fault.calls, 0);
	ck_assert_uint_eq(count_names(), 0);
	secret_clear(&pass);
	drop_host(host);
}
END_TEST

// The journal's default size, read off the vault that was made.
START_TEST(journal_follows_the_free_space)
{
	static const struct {
		uint64_t avail, bytes;
		int err;
	} cases[] = {
		{1, 0, WERR_NOSPACE},
		{8ull << 20, 0, WERR_NOSPACE}, // the headers have no room
		{9ull << 20, 8ull << 20, 0},
		{800ull << 20, 8ull << 20, 0},
		{(1000ull << 20) + 12345, (10ull << 20), 0},
		{UINT64_MAX, 64ull << 20, 0},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct vault *v = NULL;
		struct host *host = fresh_host();
		fault.avail = cases[i].avail;
		ck_assert_int_eq(create(host, "first", 0), cases[i].err);
		drop_host(host);
		if (cases[i].err) {
			ck_assert_uint_eq(count_names(), 0);
			continue;
		}
		ck_ok(try_open("first", 0, &v));
		ck_assert_uint_eq(v->h->journal_bytes, cases[i].bytes);
		host = v->host;
		ck_ok(host->ops->unlink_top(host, VAULT_FILE));
		ck_ok(host->ops->unlink_top(host, VAULT_FILE_COPY));
		ck_ok(host->ops->unlink_top(host, JOURNAL_NAME));
		vault_close(v);
	}
}
END_TEST

START_TEST(asked_journal_needs_its_room)
{
	struct host *host = fresh_host();

	fault.avail = 100ull << 20;
	ck_assert_int_eq(create(host, "first", 100ull << 20), WERR_NOSPACE);
	ck_assert_uint_eq(count_names(), 0);
	drop_host(host);
}
END_TEST

// ---- what stands where a header file should ----

enum stand_in {
	ABSENT,
	EMPTY,
	CUT,
	LONG,
	HUGE_FILE,
	RANDOM,
	FORMAT,
	FEATURE,
	KDF_WEAK,
	KDF_GREEDY,
	FIFO,
	LINK,
	DANGLING,
	HARD_LINK,
	SOCKET,
	FOLDER,
	STAND_INS
};

static const struct {
	const char *what;
	int err;
	int replaceable; // by a rename
} stand_ins[STAND_INS] = {
	[ABSENT] = {"absent", WERR_NOTVAULT, 1},
	[EMPTY] = {"empty", WERR_TRUNCATED, 1},
	[CUT] = {"cut", WERR_TRUNCATED, 1},
	[LONG] = {"one byte too long", WERR_MALFORMED, 1},
	[HUGE_FILE] = {"1 GiB", WERR_MALFORMED, 1},
	[RANDOM] = {"random", WERR_NOTVAULT, 1},
	[FORMAT] = {"format 2", WERR_UNSUPPORTED, 1},
	[FEATURE] = {"unknown feature", WERR_UNSUPPORTED, 1},
	[KDF_WEAK] = {"weak KDF", WERR_LIMIT, 1},
	[KDF_GREEDY] = {"greedy KDF", WERR_LIMIT, 1},
	[FIFO] = {"a FIFO", WERR_DAMAGED, 1},
	[LINK] = {"a symlink to a true header", WERR_DAMAGED, 1},
	[DANGLING] = {"a dangling symlink", WERR_DAMAGED, 1},
	[HARD_LINK] = {"a header with two links", WERR_DAMAGED, 1},
	[SOCKET] = {"a socket", WERR_DAMAGED, 1},
	[FOLDER] = {"a directory", WERR_DAMAGED, 0},
};

static void put_socket(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_uint_lt(strlen(path), sizeof address.sun_path);
	memcpy(address.sun_path, path, strlen(path) + 1);
	ck_assert_int_ge(fd, 0);
	ck_ok(bind(fd, (const struct sockaddr *)&address, sizeof address));
	close(fd);
}

// Header bytes that do not peek.
static void put_bytes(const char *name, enum stand_in kind, uint8_t *header)
{
	static uint8_t bytes[VAULT_HEADER_BYTES + 1];
	size_t len = VAULT_HEADER_BYTES;
	uint64_t state = 3;

	memcpy(bytes, header, len);
	if (kind == EMPTY)
		len = 0;
	if (kind == CUT)
		len = 4096;
	if (kind == LONG)
		len = VAULT_HEADER_BYTES + 1;
	if (kind == RANDOM)
		fixture_rng(&state, bytes, len);
	if (kind == FORMAT)
		bytes[8] = 2;
	if (kind == FEATURE)
		bytes[32] = 1;
	if (kind == KDF_WEAK)
		le32_put(bytes + 1024 + 80, 8191);
	if (kind == KDF_GREEDY)
		le32_put(bytes + 1024 + 80, UINT32_MAX);
	spill(name, bytes, len);
}

static void put_stand_in(const char *name, enum stand_in kind, uint8_t *header)
{
	char path[256], other[256];

	path_of(path, name);
	ck_ok(unlink(path));
	path_of(other, "elsewhere");
	switch (kind) {
	case ABSENT:
		break;
	case HUGE_FILE:
		put_bytes(name, CUT, header);
		ck_ok(truncate(path, 1ll << 30));
		break;
	case FIFO:
		ck_ok(mkfifo(path, 0600));
		break;
	case LINK:
		spill("elsewhere", header, VAULT_HEADER_BYTES);
		ck_ok(symlink("elsewhere", path));
		break;
	case DANGLING:
		ck_ok(symlink("nowhere", path));
		break;
	case HARD_LINK:
		put_bytes(name, ABSENT, header);
		if (link(path, other)) { // the other header file has it already
			path_of(other, "elsewhere2");
			ck_ok(link(path, other));
		}
		break;
	case SOCKET:
		put_socket(path);
		break;
	case FOLDER:
		ck_ok(mkdir(path, 0700));
		break;
	default:
		put_bytes(name, kind, header);
	}
}

START_TEST(nothing_else_is_a_header)
{
	uint8_t *header = hostenv_slurp(VAULT_FILE, VAULT_HEADER_BYTES);
	struct vault_sealed sealed = {.buf = {NULL, NULL}};

	put_stand_in(VAULT_FILE, (enum stand_in)_i, header);
	put_stand_in(VAULT_FILE_COPY, (enum stand_in)_i, header);
	struct host *host = fresh_host();
	int err = vault_read_sealed(host, &sealed);
	ck_assert_msg(err == stand_ins[_i].err, "%s: %s", stand_ins[_i].what, werr_text(err));
	ck_assert(!sealed.buf[0] && !sealed.buf[1]);
	drop_host(host);
	ck_assert_int_eq(opens("first", NULL), stand_ins[_i].err);
	host = fresh_host();
	ck_assert_int_eq(passwd(host, "first", "third"), stand_ins[_i].err);
	ck_assert_int_eq(fault.calls, 0);
	drop_host(host);
	free(header);
}
END_TEST

static void check_repair(const char *name, enum stand_in kind, unsigned intact)
{
	uint8_t *header = hostenv_slurp(VAULT_FILE, VAULT_HEADER_BYTES);
	struct vault *v = NULL;
	char path[256];

	put_stand_in(name, kind, header);
	ck_assert_int_eq(opens("wrong", NULL), WERR_SECRET);
	ck_ok(try_open("second", 0, &v));
	ck_assert_uint_eq(v->intact, intact);
	if (stand_ins[kind].replaceable) {
		ck_ok(vault_write(v));
		ck_assert(copies_are_equal());
		ck_assert_uint_eq(v->intact, 3);
	} else {
		ck_assert_int_eq(vault_write(v), WERR_DAMAGED);
	}
	vault_close(v);
	ck_ok(opens("first", NULL));
	if (kind == LINK) { // replaced, not written through
		uint8_t *target = hostenv_slurp("elsewhere", VAULT_HEADER_BYTES);
		ck_assert(memcmp(target, header, VAULT_HEADER_BYTES) == 0);
		free(target);
	}
	if (kind == DANGLING) {
		path_of(path, "nowhere");
		ck_assert_int_ne(access(path, F_OK), 0);
	}
	free(header);
}

START_TEST(copy_stands_in_for_the_header)
{
	check_repair(VAULT_FILE, (enum stand_in)_i, 2);
}
END_TEST

START_TEST(header_does_without_its_copy)
{
	check_repair(VAULT_FILE_COPY, (enum stand_in)_i, 1);
}
END_TEST

START_TEST(one_flipped_byte_is_repaired)
{
	static const size_t places[] = {8,          40,         56,         72,
					100,        128,        1024 + 20,  1024 + 130,
					1024 + 170, 1024 + 300, 99328 + 10, 106495};

	for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
		for (int which = 0; which < 2; which++) {
			const char *name = which ? VAULT_FILE_COPY : VAULT_FILE;
			uint8_t *header = hostenv_slurp(name, VAULT_HEADER_BYTES);
			struct vault *v = NULL;

			header[places[i]] ^= 4;
			spill(name, header, VAULT_HEADER_BYTES);
			ck_ok(try_open("first", 0, &v));
			ck_assert_uint_eq(v->intact, which ? 1 : 2);
			ck_ok(vault_write(v));
			vault_close(v);
			ck_assert(copies_are_equal());
			free(header);
		}
	}
}
END_TEST

START_TEST(both_flipped_is_tampering)
{
	uint8_t *header = hostenv_slurp(VAULT_FILE, VAULT_HEADER_BYTES);

	header[60] ^= 1; // state
	spill(VAULT_FILE, header, VAULT_HEADER_BYTES);
	spill(VAULT_FILE_COPY, header, VAULT_HEADER_BYTES);
	ck_assert_int_eq(opens("first", NULL), WERR_AUTH);
	ck_assert_int_eq(opens("second", NULL), WERR_AUTH);
	ck_assert_int_eq(opens("wrong", NULL), WERR_SECRET);
	header[60] ^= 1;
	header[1024 + 304] ^= 1; // the root key sealed in slot 0
	spill(VAULT_FILE, header, VAULT_HEADER_BYTES);
	spill(VAULT_FILE_COPY, header, VAULT_HEADER_BYTES);
	ck_assert_int_eq(opens("first", NULL), WERR_AUTH);
	free(header);
}
END_TEST

// Another vault with the same passphrase and a higher counter, its header put in the place of a
// copy.
START_TEST(foreign_copy_is_refused)
{
	uint8_t *header = hostenv_slurp(VAULT_FILE, VAULT_HEADER_BYTES);
	struct vault *v = NULL;
	char home[sizeof env.dir];
	uint8_t id[VAULT_ID_BYTES];

	memcpy(home, env.dir, sizeof home);
	memcpy(id, header + 40, sizeof id);
	hostenv_setup();
	hostenv_close();
	struct host *host = fresh_host();
	ck_ok(create(host, "first", JOURNAL_BYTES));
	drop_host(host);
	ck_ok(try_open("first", 0, &v));
	for (int i = 0; i < 5; i++)
		ck_ok(vault_write(v));
	vault_close(v);
	uint8_t *foreign = hostenv_slurp(VAULT_FILE, VAULT_HEADER_BYTES);
	hostenv_teardown();
	memcpy(env.dir, home, sizeof home);
	ck_assert_uint_gt(le64_get(foreign + 72), le64_get(header + 72));
	spill(VAULT_FILE_COPY, foreign, VAULT_HEADER_BYTES);
	ck_assert_int_eq(try_open("first", 0, &v), WERR_AUTH);
	spill(VAULT_FILE_COPY, header, VAULT_HEADER_BYTES);
	spill(VAULT_FILE, foreign, VAULT_HEADER_BYTES);
	ck_assert_int_eq(try_open("first", 0, &v), WERR_AUTH);
	// Where only one of them opens it counts, and the other is not passed over in silence.
	foreign[VAULT_HEADER_BYTES - 1] ^= 1;
	spill(VAULT_FILE, foreign, VAULT_HEADER_BYTES);
	ck_ok(try_open("first", 0, &v));
	ck_assert(memcmp(v->h->vault_id, id, sizeof id) == 0);
	ck_assert_uint_eq(v->intact, 2);
	ck_assert_str_eq(vault_foreign_copy(v), VAULT_FILE);
	vault_close(v);
	spill(VAULT_FILE, header, VAULT_HEADER_BYTES);
	ck_ok(try_open("first", 0, &v));
	ck_assert_ptr_null(vault_foreign_copy(v));
	vault_close(v);
	free(header);
	free(foreign);
}
END_TEST

START_TEST(higher_counter_wins)
{
	uint8_t *old = hostenv_slurp(VAULT_FILE, VAULT_HEADER_BYTES);
	struct vault *v = NULL;

	ck_ok(try_open("first", 0, &v));
	v->h->mount = 7;
	v->h->state = VAULT_DIRTY;
	ck_ok(vault_write(v));
	const uint64_t counter = v->h->write_counter;
	vault_close(v);
	ck_assert_uint_eq(counter, le64_get(old + 72) + 1);
	uint8_t *new_ = hostenv_slurp(VAULT_FILE, VAULT_HEADER_BYTES);
	for (int which = 0; which < 2; which++) {
		spill(VAULT_FILE, which ? new_ : old, VAULT_HEADER_BYTES);
		spill(VAULT_FILE_COPY, which ? old : new_, VAULT_HEADER_BYTES);
		ck_ok(try_open("first", 0, &v));
		ck_assert_uint_eq(v->h->write_counter, counter);
		ck_assert_uint_eq(v->h->mount, 7);
		ck_assert_uint_eq(v->intact, which ? 1 : 2);
		ck_ok(vault_write(v));
		ck_assert(copies_are_equal());
		vault_close(v);
	}
	free(old);
	free(new_);
}
END_TEST

START_TEST(unreadable_is_not_absent)
{
	struct vault_sealed sealed;
	struct host *host = fresh_host();

	fault.perm = 1;
	ck_assert_int_eq(vault_read_sealed(host, &sealed), WERR_PERM);
	drop_host(host);
}
END_TEST

// ---- unlock, lock, write ----

START_TEST(unlock_tells_the_slot)
{
	static const struct {
		const char *text;
		unsigned slot;
	} cases[] = {{"first", 0}, {"second", 9}};
	struct vault_header *h = malloc(sizeof *h);
	struct vault_sealed sealed;
	uint8_t roots[2][ROOT_KEY_BYTES];

	ck_assert_ptr_nonnull(h);
	struct host *host = fresh_host();
	ck_ok(vault_read_sealed(host, &sealed));
	ck_assert_str_eq(sealed.infos[0].label, "first");
	ck_assert_str_eq(sealed.infos[9].label, "more");
	for (size_t i = 0; i < 2; i++) {
		struct secret pass = fixture_pass(cases[i].text);
		uint8_t *root = NULL;
		unsigned slot = 77;
		ck_ok(vault_unlock(&sealed, &pass, &root, &slot, NULL, h));
		ck_assert_uint_eq(slot, cases[i].slot);
		ck_assert(memcmp(h->vault_id, sealed.vault_id, VAULT_ID_BYTES) == 0);
		ck_assert(fixture_is_random(root, ROOT_KEY_BYTES));
		memcpy(roots[i], root, ROOT_KEY_BYTES);
		secret_free(root);
		secret_clear(&pass);
	}
	ck_assert(memcmp(roots[0], roots[1], ROOT_KEY_BYTES) == 0);
	vault_sealed_clear(&sealed);
	drop_host(host);
	free(h);
}
END_TEST

START_TEST(one_owner_at_a_time)
{
	struct vault *v = NULL, *second = NULL;

	ck_ok(try_open("first", 0, &v));
	ck_assert_int_eq(opens("first", NULL), WERR_BUSY);
	ck_assert_int_eq(try_open("first", 1, &second), WERR_BUSY);
	struct host *host = fresh_host();
	ck_assert_int_eq(passwd(host, "first", "third"), WERR_BUSY);
	drop_host(host);
	vault_close(v);
	ck_ok(try_open("first", 1, &v));
	ck_ok(try_open("second", 1, &second));
	ck_assert_int_eq(opens("first", NULL), WERR_BUSY);
	vault_close(v);
	vault_close(second);
	ck_ok(opens("first", NULL));
}
END_TEST

START_TEST(readonly_writes_nothing)
{
	struct vault *v = NULL;

	ck_ok(try_open("first", 1, &v));
	const uint64_t counter = v->h->write_counter;
	ck_assert_int_eq(vault_write(v), WERR_READONLY);
	ck_assert_uint_eq(v->h->write_counter, counter);
	ck_assert_int_eq(fault.calls, 0);
	vault_close(v);
}
END_TEST

START_TEST(write_refuses_a_header_that_breaks_the_format)
{
	struct vault *v = NULL;

	ck_ok(try_open("first", 0, &v));
	v->h->mount = MOUNT_NUMBER_MAX + 1;
	ck_assert_int_eq(vault_write(v), WERR_LIMIT);
	v->h->mount = 1;
	v->h->state = VAULT_REPLAYING;
	ck_assert_int_eq(vault_write(v), WERR_MALFORMED);
	ck_assert_int_eq(fault.calls, 0);
	v->h->state = VAULT_CLEAN;
	v->h->write_counter = UINT64_MAX;
	ck_assert_int_eq(vault_write(v), WERR_LIMIT);
	vault_close(v);
	ck_ok(opens("first", NULL));
}
END_TEST

// ---- passwd ----

START_TEST(passwd_changes_one_slot)
{
	uint8_t *before = hostenv_slurp(VAULT_FILE, VAULT_HEADER_BYTES);
	struct vault *v = NULL;
	struct keyslot_info info;

	struct host *host = fresh_host();
	ck_ok(passwd(host, "first", "third"));
	drop_host(host);
	ck_assert(copies_are_equal());
	ck_assert_uint_eq(count_names(), 3);
	ck_assert_int_eq(opens("first", NULL), WERR_SECRET);
	ck_ok(opens("second", NULL));
	ck_ok(try_open("third", 0, &v));
	ck_assert_uint_eq(v->h->epoch, 2);
	ck_assert_uint_eq(v->h->masters_len, 2);
	ck_assert_uint_eq(v->h->write_counter, le64_get(before + 72) + 1);
	ck_ok(keyslot_info(v->h->slots[0], &info));
	ck_assert_str_eq(info.label, "first");
	ck_assert_uint_eq(info.created_s, 1700000001);
	ck_assert_uint_eq(info.serial, v->h->write_counter);
	// Slot 9: the holder's part as before, the root key sealed anew.
	const uint8_t *old = vault_header_slot(before, 9);
	ck_assert(memcmp(v->h->slots[9], old, 272) == 0);
	ck_assert(memcmp(v->h->slots[9] + 304, old + 304, 48) != 0);
	struct journal *j = NULL;
	ck_ok(journal_open(v->host, v->ring, v->h->journal_bytes, 0, &j));
	journal_close(j);
	vault_close(v);
	// The header of before in both places is a rollback that only the anchor can see; in one
	// place it loses.
	spill(VAULT_FILE_COPY, before, VAULT_HEADER_BYTES);
	ck_ok(try_open("second", 0, &v));
	ck_assert_uint_eq(v->h->epoch, 2);
	vault_close(v);
	free(before);
}
END_TEST

START_TEST(passwd_chain)
{
	static const char *const texts[] = {"first", "a", "b", "first", "c"};

	for (size_t i = 0; i + 1 < sizeof texts / sizeof texts[0]; i++) {
		struct host *host = fresh_host();
		ck_ok(passwd(host, texts[i], texts[i + 1]));
		drop_host(host);
		ck_assert_int_eq(opens(texts[i], NULL), WERR_SECRET);
		ck_ok(opens("second", NULL));
		ck_ok(opens(texts[i + 1], NULL));
	}
	struct host *host = fresh_host();
	ck_ok(passwd(host, "second", "other"));
	drop_host(host);
	ck_assert_int_eq(opens("second", NULL), WERR_SECRET);
	ck_ok(opens("c", NULL));
	ck_ok(opens("other", NULL));
}
END_TEST

START_TEST(passwd_refuses)
{
	uint8_t *before = hostenv_slurp(VAULT_FILE, VAULT_HEADER_BYTES);
	struct secret old = fixture_pass("first");
	struct secret new_ = fixture_pass("third");
	struct argon_params weak = fixture_kdf;
	struct vault *v = NULL;

	struct host *host = fresh_host();
	ck_assert_int_eq(passwd(host, "wrong", "third"), WERR_SECRET);
	ck_assert_int_eq(passwd(host, "first", ""), WERR_INVALID);
	weak.memory_kib--;
	ck_assert_int_eq(vault_passwd(host, &old, &new_, &weak, 0), WERR_LIMIT);
	ck_assert_int_eq(fault.calls, 0);
	drop_host(host);
	uint8_t *after = hostenv_slurp(VAULT_FILE, VAULT_HEADER_BYTES);
	ck_assert(memcmp(before, after, VAULT_HEADER_BYTES) == 0);
	// Not unmounted cleanly: its journal would be lost with the old root key.
	for (uint32_t state = VAULT_DIRTY; state <= VAULT_REPLAYING; state++) {
		ck_ok(try_open("first", 0, &v));
		v->h->mount = 2;
		v->h->state = state;
		v->h->replaying = state == VAULT_REPLAYING ? 1 : 0;
		ck_ok(vault_write(v));
		vault_close(v);
		host = fresh_host();
		ck_assert_int_eq(passwd(host, "first", "third"), WERR_BUSY);
		ck_assert_int_eq(fault.calls, 0);
		drop_host(host);
	}
	ck_ok(opens("first", NULL));
	secret_clear(&old);
	secret_clear(&new_);
	free(before);
	free(after);
}
END_TEST

START_TEST(removals_seal_the_journal_again)
{
	const struct slot_change changes[] = {{.verb = SLOT_REMOVE, .index = 9},
					      {.verb = SLOT_KEEP, .keep = 1}};
	struct secret first = fixture_pass("first");
	struct host *host = fresh_host();
	struct journal *j = NULL;
	struct vault_edit *e;
	struct vault *v = NULL;
	int in_force = 0;

	ck_ok(vault_edit_open(host, &first, &e));
	ck_ok(vault_edit_apply(e, &changes[_i], NULL));
	ck_ok(vault_edit_write(e, &in_force));
	vault_edit_close(e);
	drop_host(host);
	ck_assert_int_eq(opens("second", NULL), WERR_SECRET);
	ck_ok(try_open("first", 0, &v));
	ck_ok(journal_open(v->host, v->ring, v->h->journal_bytes, 0, &j));
	journal_close(j);
	vault_close(v);
	secret_clear(&first);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vault");
	TCase *make = tcase_create("create");
	TCase *use = tcase_create("use");

	tcase_add_checked_fixture(make, dir_setup, hostenv_teardown);
	tcase_set_timeout(make, 60);
	tcase_add_test(make, create_makes_a_vault);
	tcase_add_test(make, create_wants_an_empty_directory);
	tcase_add_test(make, create_refuses_bad_parameters);
	tcase_add_test(make, journal_follows_the_free_space);
	tcase_add_test(make, asked_journal_needs_its_room);
	suite_add_tcase(s, make);
	tcase_add_checked_fixture(use, vault_setup, hostenv_teardown);
	tcase_set_timeout(use, 60);
	tcase_add_loop_test(use, nothing_else_is_a_header, 0, STAND_INS);
	tcase_add_loop_test(use, copy_stands_in_for_the_header, 0, STAND_INS);
	tcase_add_loop_test(use, header_does_without_its_copy, 0, STAND_INS);
	tcase_add_test(use, one_flipped_byte_is_repaired);
	tcase_add_test(use, both_flipped_is_tampering);
	tcase_add_test(use, foreign_copy_is_refused);
	tcase_add_test(use, higher_counter_wins);
	tcase_add_test(use, unreadable_is_not_absent);
	tcase_add_test(use, unlock_tells_the_slot);
	tcase_add_test(use, one_owner_at_a_time);
	tcase_add_test(use, readonly_writes_nothing);
	tcase_add_test(use, write_refuses_a_header_that_breaks_the_format);
	tcase_add_test(use, passwd_changes_one_slot);
	tcase_add_test(use, passwd_chain);
	tcase_add_test(use, passwd_refuses);
	tcase_add_loop_test(use, removals_seal_the_journal_again, 0, 2);
	suite_add_tcase(s, use);
	return unit_main(s);
}
