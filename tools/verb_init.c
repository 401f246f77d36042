// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/statedir.h"
#include "fusefs/journal.h"
#include "fusefs/vault.h"
#include "tools/calibrate.h"
#include "tools/options.h"
#include "tools/passphrase.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/strength.h"
#include "tools/verbs.h"

struct request {
	struct passphrase_source source;
	struct options_kdf kdf;
	const char *label;
	uint64_t journal_mib;
	const char *dir;
};

enum { KEY_LABEL = 1, KEY_JOURNAL };

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct request *r = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &r->kdf;
		state->child_inputs[1] = &r->source;
		return 0;
	case KEY_LABEL:
		r->label = options_label(state, arg);
		return 0;
	case KEY_JOURNAL:
		r->journal_mib =
			options_number(state, "journal", arg, VAULT_JOURNAL_MIN_BYTES >> 20,
				       VAULT_JOURNAL_MAX_BYTES >> 20);
		return 0;
	default:
		return options_operands(key, arg, state, &r->dir, 1, "DIR");
	}
}

static const struct argp_option table[] = {
	{"label", KEY_LABEL, "TEXT", 0, "name of the first keyslot, readable without a secret", 0},
	{"journal", KEY_JOURNAL, "MIB", 0,
	 "size of the journal, 8 to 4096 MiB (default 64, at most 1 % of the free space)", 0},
	{0},
};
static const struct argp_child children[] = {
	{&options_kdf_argp, 0, NULL, 0},
	{&options_passphrase, 0, NULL, 0},
	{0},
};
static const struct argp argp = {
	.options = table,
	.parser = parse,
	.args_doc = "DIR",
	.doc = "Makes a vault in DIR, which must be empty or not exist.",
	.children = children,
};

static int report_dir(int err, const char *dir)
{
	switch (err) {
	case WERR_NOTEMPTY:
		return report_fail(err, dir, "the directory is not empty; choose a new one");
	case WERR_NOTDIR:
		return report_fail(err, dir, "not a directory; choose a new one");
	case WERR_NOTFOUND:
		return report_fail(err, dir, "the folder above it does not exist; make it first");
	case WERR_PERM:
	case WERR_NOTPERMITTED:
		return report_fail(err, dir, "no permission to write there; choose another place");
	case WERR_READONLY:
		return report_fail(err, dir, "its filesystem is read-only; choose another place");
	case WERR_NOSPACE:
	case WERR_QUOTA:
		return report_fail(err, dir,
				   "no space left for a vault; free some, or use a smaller "
				   "--journal");
	case WERR_KDFMEM:
		return report_fail(err, dir,
				   "too little memory for the key derivation; use a "
				   "smaller --kdf-memory");
	default:
		return report_fail(err, dir, "cannot make a vault: %s", werr_text(err));
	}
}

static int stop_at_first(void *arg, const char *name)
{
	(void)arg, (void)name;
	return WERR_NOTEMPTY;
}

// An existing DIR must be an empty directory that we may write to. Looked at before the passphrase
// is asked for; vault_create looks again under the lock.
static int check_existing(const char *dir)
{
	struct host *host;
	int err = host_posix_open(dir, 0, &host);

	if (err)
		return err;
	err = host->ops->list_top(host, stop_at_first, NULL);
	host->ops->close(host);
	if (!err && access(dir, W_OK | X_OK))
		err = werr_from_errno(errno);
	return err;
}

static int check_parent(const char *dir)
{
	char copy[PATH_MAX];

	if (strlen(dir) >= sizeof(copy))
		return WERR_NAMETOOLONG;
	memcpy(copy, dir, strlen(dir) + 1);
	if (access(dirname(copy), W_OK | X_OK))
		return werr_from_errno(errno);
	return 0;
}

// *ret_is_new: DIR does not exist yet.
static int check_dir(const char *dir, int *ret_is_new)
{
	struct stat st;
	int err = 0;

	*ret_is_new = 0;
	if (!stat(dir, &st)) {
		err = check_existing(dir);
	} else if (errno == ENOENT) {
		*ret_is_new = 1;
		err = check_parent(dir);
	} else {
		err = werr_from_errno(errno);
	}
	return err ? report_dir(err, dir) : 0;
}

static int journal_mib(struct host *host, uint64_t *ret)
{
	struct host_file *f;
	uint64_t bytes = 0;
	int err = host->ops->open_top(host, JOURNAL_NAME, HOST_RDONLY, &f);

	if (err)
		return err;
	err = host->ops->file_size(f, &bytes);
	host->ops->file_close(f);
	*ret = bytes >> 20;
	return err;
}

// A vault without a record on this machine works, but its return to an older state goes unnoticed.
static void warn_anchor(struct anchor *anchor, const char *dir)
{
	struct anchor_state s;

	anchor_get(anchor, &s);
	if (s.trouble)
		report_warn(dir,
			    "this machine cannot keep a record of it (%s): an older state of it "
			    "would not be noticed",
			    werr_text(s.trouble));
}

static int create(const struct request *r, const struct argon_params *kdf,
		  const struct secret *passphrase, uint64_t *ret_journal_mib)
{
	const struct vault_create_params params = {
		.kdf = *kdf,
		.label = r->label,
		.created_s = (uint64_t)time(NULL),
		.journal_bytes = r->journal_mib << 20,
	};
	struct anchor *anchor = NULL;
	struct host *host;
	int err = host_posix_open(r->dir, 1, &host);

	if (err)
		return err;
	err = statedir_attach(host, 0, &anchor);
	if (err) {
		host->ops->close(host);
		return err;
	}
	struct progress *p = progress_start("Making the vault");
	err = vault_create(host, &params, passphrase);
	progress_stop(p);
	if (!err)
		err = journal_mib(host, ret_journal_mib);
	host->ops->close(host);
	if (!err)
		warn_anchor(anchor, r->dir);
	anchor_free(anchor);
	return err;
}

int verb_init(int argc, char **argv)
{
	struct request r = {.label = "", .source = {.credential = "wardfs.passphrase"}};
	SECRET_STRUCT_AUTO struct secret passphrase = {0};
	struct argon_params kdf;
	uint64_t mib = 0;
	uint32_t ms = 0;
	int is_new;

	options_parse(&argp, argc, argv, &r);
	int err = check_dir(r.dir, &is_new);
	if (!err)
		err = passphrase_get(&r.source, "New passphrase", 1, &passphrase);
	if (!err)
		strength_warn(&passphrase);
	if (!err)
		err = calibrate_kdf(&r.kdf, &kdf, &ms);
	if (err)
		return err;
	err = create(&r, &kdf, &passphrase, &mib);
	if (err) {
		// Only if empty: what vault_create made it has removed again.
		if (is_new)
			rmdir(r.dir);
		return report_dir(err, r.dir);
	}
	printf("Key derivation: Argon2id, %u MiB, %u %s, %u %s, about %u.%u s on this machine\n",
	       kdf.memory_kib / 1024, kdf.passes, kdf.passes == 1 ? "pass" : "passes", kdf.lanes,
	       kdf.lanes == 1 ? "lane" : "lanes", ms / 1000, ms % 1000 / 100);
	printf("Journal: %llu MiB\n", (unsigned long long)mib);
	return 0;
}
