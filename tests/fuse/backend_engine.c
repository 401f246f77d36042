// SPDX-License-Identifier: Apache-2.0
// A real vault in a temporary directory.
#include "tests/fuse/backend.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "crypto/argon.h"
#include "crypto/secret.h"
#include "fusefs/fuse_server.h"
#include "tests/unit/unit_files.h"

const char *const backend_name = "engine";

static char directory[UNIT_DIR_BYTES];
static struct vault *vault;

static void print_line(void *arg, int priority, const char *line)
{
	(void)arg;
	fprintf(stderr, "engine <%d>: %s\n", priority, line);
}

static struct fs *open_vault(int taking_over, int lock_fd)
{
	const struct fs_params params = {
		.log = print_line, .blocking = fuse_server_blocking, .taking_over = taking_over};
	struct secret passphrase = {0};
	struct host *host;
	struct fs *fs;

	ck_assert_int_eq(secret_copy(&passphrase, "fuse", 4), 0);
	ck_assert_int_eq(host_posix_open(directory, 0, &host), 0);
	if (lock_fd >= 0)
		host_posix_borrow_lock(host);
	ck_assert_int_eq(vault_open(host, &passphrase, 0, &vault), 0);
	if (lock_fd >= 0)
		ck_assert_int_eq(host_posix_take_lock(host, lock_fd), 0);
	secret_clear(&passphrase);
	ck_assert_int_eq(fs_open(vault, &params, &fs), 0);
	return fs;
}

struct fs *backend_reopen(struct fs *fs, int taking_over, int lock_fd)
{
	fs_abandon(fs);
	vault_close(vault);
	return open_vault(taking_over, lock_fd);
}

struct host *backend_host(void)
{
	return vault->host;
}

struct fs *backend_open(void)
{
	const struct vault_create_params create = {
		.kdf = {.memory_kib = ARGON_MEMORY_MIN_KIB, .passes = 1, .lanes = 1},
		.label = "",
		.created_s = 1,
		.journal_bytes = 8u << 20,
	};
	struct secret passphrase = {0};
	struct host *host;

	ck_assert_int_eq(secret_init(), 0);
	unit_make_dir(directory);
	ck_assert_int_eq(secret_copy(&passphrase, "fuse", 4), 0);
	ck_assert_int_eq(host_posix_open(directory, 0, &host), 0);
	ck_assert_int_eq(vault_create(host, &create, &passphrase), 0);
	host->ops->close(host);
	secret_clear(&passphrase);
	return open_vault(0, -1);
}

void backend_close(struct fs *fs)
{
	ck_assert_int_eq(fs_close(fs), 0);
	vault_close(vault);
	unit_remove_tree(directory);
}
