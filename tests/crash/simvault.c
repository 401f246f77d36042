// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/simvault.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/argon.h"
#include "fusefs/check.h"
#include "fusefs/journal.h"

#define CHUNK ((size_t)64 * 1024)

void expect_failed(const char *file, int line, const char *format, ...)
{
	va_list args;

	(void)fflush(stdout);
	fprintf(stderr, "%s:%d: ", file, line);
	va_start(args, format);
	(void)vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(EXIT_FAILURE);
}

static void note(void *arg, int priority, const char *line)
{
	struct simvault *v = arg;

	v->refusals += strstr(line, "refused") != NULL;
	if (getenv("WARDFS_TEST_LOG"))
		fprintf(stderr, "engine <%d>: %s\n", priority, line);
}

void simvault_begin(struct simvault *v, const struct fs_params *params)
{
	struct vault_create_params create = {
		.kdf = {.memory_kib = ARGON_MEMORY_MIN_KIB, .passes = 1, .lanes = 1},
		.label = "",
		.created_s = 1700000000,
		.journal_bytes = JOURNAL_MIN_BYTES,
	};

	*v = (struct simvault){.params = {.manual = 1}};
	if (params)
		v->params = *params;
	EXPECT_OK(secret_init());
	EXPECT_OK(secret_copy(&v->passphrase, "simvault", 8));
	v->disk = simhost_new();
	struct host *host = simhost_open(v->disk);
	EXPECT_OK(vault_create(host, &create, &v->passphrase));
	host->ops->close(host);
	simvault_open(v);
}

int simvault_try_open(struct simvault *v)
{
	v->params.log = note;
	v->params.log_arg = v;
	int err = vault_open(simhost_open(v->disk), &v->passphrase, 0, &v->vault);

	if (err) {
		v->vault = NULL;
		return err;
	}
	err = fs_open(v->vault, &v->params, &v->fs);
	if (err) {
		v->fs = NULL;
		vault_close(v->vault);
		v->vault = NULL;
	}
	return err;
}

void simvault_open(struct simvault *v)
{
	EXPECT_OK(simvault_try_open(v));
}

void simvault_close(struct simvault *v)
{
	int err = fs_close(v->fs);

	v->fs = NULL;
	vault_close(v->vault);
	v->vault = NULL;
	EXPECT(err == 0, "closing: %d (%s)", err, werr_text(err));
}

void simvault_remount(struct simvault *v)
{
	simvault_close(v);
	simvault_open(v);
}

void simvault_end(struct simvault *v)
{
	if (v->fs)
		simvault_close(v);
	simhost_free(v->disk);
	secret_clear(&v->passphrase);
}

static void abandon(struct simvault *v)
{
	if (v->fs)
		fs_abandon(v->fs);
	v->fs = NULL;
	if (v->vault)
		vault_close(v->vault);
	v->vault = NULL;
}

static void replace(struct simvault *v, struct simhost *disk)
{
	simhost_free(v->disk);
	v->disk = disk;
}

void simvault_cut(struct simvault *v, const struct simcut *cut, uint64_t seed)
{
	if (!simhost_is_off(v->disk))
		simhost_power_off_after(v->disk, 0);
	abandon(v);
	replace(v, simhost_clone_after_cut(v->disk, seed, cut));
}

void simvault_kill(struct simvault *v)
{
	abandon(v);
	replace(v, simhost_clone_after_kill(v->disk));
}

void simvault_fork(struct simvault *v, const struct simcut *cut, uint64_t seed,
		   struct simvault *ret)
{
	*ret = (struct simvault){.params = v->params};
	EXPECT_OK(secret_copy(&ret->passphrase, v->passphrase.bytes, v->passphrase.len));
	ret->disk = simhost_clone_after_cut(v->disk, seed, cut);
}

uint64_t sv_make(struct simvault *v, uint64_t parent, const char *name, uint8_t type)
{
	struct fs_make make = {.type = type, .mode = 0755};
	struct fs_stat st;

	EXPECT_OK(fs_make(v->fs, parent, name, &make, &st));
	return st.ino;
}

uint64_t sv_lookup(struct simvault *v, uint64_t parent, const char *name)
{
	struct fs_stat st;
	int err = fs_lookup(v->fs, parent, name, &st);

	EXPECT(err == 0 || err == WERR_NOTFOUND, "look-up of %s: %d (%s)", name, err,
	       werr_text(err));
	return err ? 0 : st.ino;
}

uint64_t sv_find(struct simvault *v, uint64_t parent, const char *name)
{
	uint64_t ino = sv_lookup(v, parent, name);

	EXPECT(ino, "%s is gone", name);
	return ino;
}

uint64_t sv_word(uint64_t word, uint64_t version)
{
	return version ? (word * 0x9e3779b97f4a7c15ull << 20) | version : 0;
}

void sv_put(struct simvault *v, uint64_t ino, uint64_t off, size_t len, uint64_t version)
{
	static uint64_t buf[CHUNK / 8];

	for (size_t done = 0; done < len; done += CHUNK) {
		size_t n = len - done < CHUNK ? len - done : CHUNK;

		for (size_t i = 0; i < (n + 7) / 8; i++)
			buf[i] = sv_word((off + done) / 8 + i, version);
		EXPECT_OK(fs_write(v->fs, ino, off + done, buf, n, 0));
	}
}

uint64_t sv_version(struct simvault *v, uint64_t ino, uint64_t off, size_t len)
{
	static _Thread_local uint64_t buf[CHUNK / 8];
	uint64_t version = 0;

	for (size_t done = 0; done < len; done += CHUNK) {
		size_t n = len - done < CHUNK ? len - done : CHUNK, got = 0;

		EXPECT_OK(fs_read(v->fs, ino, off + done, n, buf, &got));
		EXPECT(got == n, "read %zu bytes of %zu", got, n);
		for (size_t i = 0; i < n / 8; i++) {
			if (done == 0 && i == 0)
				version = buf[0] & 0xfffff;
			if (buf[i] != sv_word((off + done) / 8 + i, version))
				return UINT64_MAX;
		}
	}
	return version;
}

uint64_t sv_size(struct simvault *v, uint64_t ino)
{
	struct fs_stat st;

	EXPECT_OK(fs_getattr(v->fs, ino, &st));
	return st.attr.size;
}

void sv_truncate(struct simvault *v, uint64_t ino, uint64_t size)
{
	struct fs_setattr set = {.valid = FS_SET_SIZE, .size = size};
	struct fs_stat st;

	EXPECT_OK(fs_setattr(v->fs, ino, &set, &st));
}

void sv_sync(struct simvault *v, uint64_t ino)
{
	EXPECT_OK(fs_fsync_wait(v->fs, ino));
}

static void report_finding(void *arg, const struct check_finding *f)
{
	fprintf(stderr, "%s: check: %s, object %016lx, %s, %lu instead of %lu\n", (const char *)arg,
		check_word(f->kind), (unsigned long)f->number, f->path ? f->path : "no path",
		(unsigned long)f->found, (unsigned long)f->wanted);
}

void sv_check_clean(struct simvault *v, const char *what)
{
	const struct check_params params = {
		.threads = 1, .found = report_finding, .arg = (void *)(uintptr_t)what};
	const struct fs_params before = v->params;
	struct check_totals totals;

	simvault_close(v);
	v->params.readonly = 1;
	simvault_open(v);
	EXPECT_OK(fs_check(v->fs, &params, &totals));
	EXPECT(totals.notes + totals.damages + totals.tampered == 0, "%s: %lu findings", what,
	       (unsigned long)(totals.notes + totals.damages + totals.tampered));
	simvault_close(v);
	v->params = before;
	simvault_open(v);
}
