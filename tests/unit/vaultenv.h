// SPDX-License-Identifier: Apache-2.0
// A vault in a temporary directory, and faults on what changes it: for the check programs of
// fusefs/vault.c.
#ifndef WARDFS_TESTS_VAULTENV_H
#define WARDFS_TESTS_VAULTENV_H

#include <dirent.h>

#include "fusefs/journal.h"
#include "fusefs/vault.h"
#include "key_fixture.h"
#include "tests/unit/hostenv.h"
#include "tests/unit/vaultpasswd.h"

#define JOURNAL_BYTES (8u << 20)

// The faults of the host that hostenv_open() gave; counted are all calls that change something.
static struct {
	int calls;
	int at;         // the call that fails, 0: none
	int code;       // with this
	int dark;       // and so does every call after it; a write is torn in the middle
	int full;       // no new file can be made
	int perm;       // no header file may be read
	uint64_t avail; // free bytes to tell, 0: the truth
} fault;

static inline int fault_step(void)
{
	fault.calls++;
	if (fault.at == 0 || fault.calls < fault.at || (fault.calls > fault.at && !fault.dark))
		return 0;
	return fault.code;
}

static inline int faulty_open_top(struct host *h, const char *name, unsigned flags,
				  struct host_file **ret)
{
	int rc = 0;

	if (fault.perm && strncmp(name, VAULT_FILE, strlen(VAULT_FILE)) == 0)
		return WERR_PERM;
	if (flags & HOST_CREATE)
		rc = fault.full ? WERR_NOSPACE : fault_step();
	return rc ? rc : env.real->open_top(h, name, flags, ret);
}

static inline int faulty_pwritev(struct host_file *f, const struct iovec *iov, int iovcnt,
				 uint64_t off)
{
	int rc = fault_step();

	if (rc && fault.dark && fault.calls == fault.at) {
		struct iovec half = {.iov_base = iov[0].iov_base, .iov_len = iov[0].iov_len / 2};
		int ignored = env.real->pwritev(f, &half, 1, off);
		(void)ignored;
	}
	return rc ? rc : env.real->pwritev(f, iov, iovcnt, off);
}

static inline int faulty_datasync(struct host_file *f)
{
	int rc = fault_step();

	return rc ? rc : env.real->datasync(f);
}

static inline int faulty_truncate(struct host_file *f, uint64_t size)
{
	int rc = fault_step();

	return rc ? rc : env.real->truncate(f, size);
}

static inline int faulty_unlink_top(struct host *h, const char *name)
{
	int rc = fault_step();

	return rc ? rc : env.real->unlink_top(h, name);
}

static inline int faulty_rename_top(struct host *h, const char *from, const char *to)
{
	int rc = fault_step();

	return rc ? rc : env.real->rename_top(h, from, to);
}

static inline int faulty_sync_top(struct host *h)
{
	int rc = fault_step();

	return rc ? rc : env.real->sync_top(h);
}

static inline int faulty_space(struct host *h, struct host_space *ret)
{
	int rc = env.real->space(h, ret);

	if (!rc && fault.avail) {
		ret->block_bytes = 1;
		ret->blocks_avail = fault.avail;
	}
	return rc;
}

// A fresh handle of the directory, with no fault set.
static inline struct host *fresh_host(void)
{
	memset(&fault, 0, sizeof fault);
	hostenv_open();
	env.ops.open_top = faulty_open_top;
	env.ops.pwritev = faulty_pwritev;
	env.ops.datasync = faulty_datasync;
	env.ops.truncate = faulty_truncate;
	env.ops.unlink_top = faulty_unlink_top;
	env.ops.rename_top = faulty_rename_top;
	env.ops.sync_top = faulty_sync_top;
	env.ops.space = faulty_space;
	return env.host;
}

static inline void dir_setup(void)
{
	hostenv_setup();
	hostenv_close();
}

static inline void drop_host(struct host *host)
{
	host->ops->close(host);
	env.host = NULL;
}

static inline int create(struct host *host, const char *text, uint64_t journal_bytes)
{
	struct vault_create_params params = {.kdf = fixture_kdf,
					     .label = "first",
					     .created_s = 1700000000,
					     .journal_bytes = journal_bytes};
	struct secret pass = fixture_pass(text);
	int err = vault_create(host, &params, &pass);

	secret_clear(&pass);
	return err;
}

// vault_open over a fresh host. The vault's ops are faulty ones too.
static inline int try_open(const char *text, int readonly, struct vault **ret)
{
	struct secret pass = fixture_pass(text);
	int err = vault_open(fresh_host(), &pass, readonly, ret);

	env.host = NULL; // taken over
	secret_clear(&pass);
	return err;
}

// Whether the passphrase opens the vault; *ret_counter (may be NULL): the write counter.
static inline int opens(const char *text, uint64_t *ret_counter)
{
	struct vault *v = NULL;
	int err = try_open(text, 0, &v);

	if (err)
		return err;
	if (ret_counter)
		*ret_counter = v->h->write_counter;
	vault_close(v);
	return 0;
}

static inline int passwd(struct host *host, const char *old_text, const char *new_text)
{
	struct secret old = fixture_pass(old_text);
	struct secret new_ = fixture_pass(new_text);
	int err = vault_passwd(host, &old, &new_, &fixture_kdf, 1700000001);

	secret_clear(&old);
	secret_clear(&new_);
	return err;
}

static inline void path_of(char path[static 256], const char *name)
{
	hostenv_path(path, 256, name);
}

// A header file written behind the shim's back.
static inline void spill(const char *name, const void *buf, size_t len)
{
	char path[256];

	path_of(path, name);
	FILE *f = fopen(path, "we");
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(buf, 1, len, f), len);
	ck_assert_int_eq(fclose(f), 0);
}

static inline unsigned count_names(void)
{
	DIR *d = opendir(env.dir);
	unsigned n = 0;

	ck_assert_ptr_nonnull(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2; // "." and ".."
}

static inline int copies_are_equal(void)
{
	uint8_t *a = hostenv_slurp(VAULT_FILE, VAULT_HEADER_BYTES);
	uint8_t *b = hostenv_slurp(VAULT_FILE_COPY, VAULT_HEADER_BYTES);
	int equal = memcmp(a, b, VAULT_HEADER_BYTES) == 0;

	free(a);
	free(b);
	return equal;
}

// Adds a slot for another passphrase to a clean vault.
static inline void add_slot(const char *text, const char *more, unsigned index)
{
	struct vault_sealed sealed;
	struct vault_header *h = malloc(sizeof *h);
	struct secret pass = fixture_pass(text);
	struct secret other = fixture_pass(more);
	struct keyslot_info info = fixture_info(1000 + index, "more");
	struct vault *v = NULL;
	uint8_t *root = NULL;

	ck_assert_ptr_nonnull(h);
	ck_ok(vault_open(fresh_host(), &pass, 0, &v));
	env.host = NULL;
	ck_ok(vault_read_sealed(v->host, &sealed));
	ck_ok(vault_unlock(&sealed, &pass, &root, NULL, NULL, h));
	ck_ok(keyslot_make(v->h->slots[index], index, h->vault_id, &info, &other, root));
	ck_ok(vault_write(v));
	vault_close(v);
	vault_sealed_clear(&sealed);
	secret_free(root);
	secret_clear(&pass);
	secret_clear(&other);
	free(h);
}

// A vault for the passphrases "first" (slot 0) and "second" (slot 9).
static inline void vault_setup(void)
{
	dir_setup();
	struct host *host = fresh_host();
	ck_ok(create(host, "first", JOURNAL_BYTES));
	drop_host(host);
	add_slot("first", "second", 9);
}

#endif
