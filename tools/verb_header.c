// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/statedir.h"
#include "fusefs/header_backup.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/secrets.h"
#include "tools/slotlist.h"
#include "tools/verbs.h"

struct request {
	struct secrets_source source;
	int older;
	int without_journal;
	const char *operands[2]; // FILE, DIR
};

enum { KEY_OLDER = 1, KEY_WITHOUT_JOURNAL };

static error_t parse_backup(int key, char *arg, struct argp_state *state)
{
	struct request *r = state->input;

	if (key == ARGP_KEY_INIT) {
		state->child_inputs[0] = &r->source;
		return 0;
	}
	return options_operands(key, arg, state, r->operands, 2, "FILE DIR");
}

static error_t parse_restore(int key, char *arg, struct argp_state *state)
{
	struct request *r = state->input;

	switch (key) {
	case KEY_OLDER:
		r->older = 1;
		return 0;
	case KEY_WITHOUT_JOURNAL:
		r->without_journal = 1;
		return 0;
	default:
		return parse_backup(key, arg, state);
	}
}

static const struct argp_option restore_table[] = {
	{"older", KEY_OLDER, NULL, 0,
	 "although secrets were changed or removed since the backup was made", 0},
	{"without-journal", KEY_WITHOUT_JOURNAL, NULL, 0,
	 "although the journal cannot be read: what it held is lost", 0},
	{0},
};
static const struct argp_child children[] = {
	{&secrets_options, 0, NULL, 0},
	{0},
};
static const struct argp backup_argp = {
	.parser = parse_backup,
	.args_doc = "FILE DIR|MNT",
	.doc = "Writes a backup of the header of the vault DIR, or of the one mounted at MNT, to "
	       "the new file FILE. The secret "
	       "makes "
	       "sure that what is kept is authentic. Works beside a mount.",
	.children = children,
};
static const struct argp restore_argp = {
	.options = restore_table,
	.parser = parse_restore,
	.args_doc = "FILE DIR",
	.doc = "Puts the header in FILE back into the vault DIR, which must not be mounted. The "
	       "secret "
	       "is one that opened the vault when the backup was made.",
	.children = children,
};

// ---- backup ----

static int write_file(const char *path, const uint8_t *buf, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	size_t done = 0;
	int err = 0;

	if (fd < 0)
		return werr_from_errno(errno);
	while (!err && done < len) {
		ssize_t n = write(fd, buf + done, len - done);
		if (n < 0 && errno != EINTR)
			err = werr_from_errno(errno);
		done += n > 0 ? (size_t)n : 0;
	}
	if (!err && fsync(fd))
		err = werr_from_errno(errno);
	if (close(fd) && !err)
		err = werr_from_errno(errno);
	if (err)
		unlink(path);
	return err;
}

static int unlock(const struct request *r, const struct vault_sealed *sealed, uint8_t **ret_root,
		  uint8_t *ret_mac, struct vault_header *ret)
{
	SECRET_STRUCT_AUTO struct secret offer = {0};
	int err = secrets_get(&r->source, r->operands[1], sealed, &offer);

	if (err)
		return err;
	struct progress *p = progress_start("Deriving the key");
	err = vault_unlock(sealed, &offer, ret_root, NULL, ret_mac, ret);
	progress_stop(p);
	return err ? report_vault(err, r->operands[1]) : 0;
}

// An older header can be worth keeping, but not unknowingly.
static void warn_of_age(const struct request *r, struct host *host, const struct vault_header *h,
			const uint8_t *root_key, const uint8_t *mac)
{
	struct anchor_claims unused;
	struct trust trust;

	trust_ask_anchor(host, h, root_key, mac, &trust, &unused);
	trust_ask_mount(r->operands[1], h->slots, &trust);
	trust_warn(r->operands[1], &trust);
}

static int backup(const struct request *r, struct host *host, const struct vault_sealed *sealed,
		  struct vault_header *h, uint8_t *buf)
{
	SECRET_AUTO uint8_t *root_key = NULL;
	uint8_t mac[ANCHOR_MAC_BYTES];
	int err = unlock(r, sealed, &root_key, mac, h);

	if (err)
		return err;
	err = header_backup_make(h, root_key, (uint64_t)time(NULL), buf);
	if (err)
		return report_fail(err, r->operands[1], "%s", werr_text(err));
	err = write_file(r->operands[0], buf, HEADER_BACKUP_BYTES);
	if (err == WERR_EXISTS)
		return report_fail(err, r->operands[0], "exists already; name a new file");
	if (err)
		return report_fail(err, r->operands[0], "cannot be written: %s", werr_text(err));
	warn_of_age(r, host, h, root_key, mac);
	return 0;
}

static int do_backup(struct request *r)
{
	struct vault_header *h = malloc(sizeof(*h));
	uint8_t *buf = malloc(HEADER_BACKUP_BYTES);
	char dir[PATH_MAX];
	struct vault_sealed sealed;
	struct host *host;

	if (!h || !buf) {
		free(buf);
		free(h);
		return report_fail(WERR_NOMEM, NULL, "out of memory");
	}
	int err = slotlist_read(r->operands[1], dir, &host, &sealed);
	if (!err) {
		r->operands[1] = dir;
		err = backup(r, host, &sealed, h, buf);
		vault_sealed_clear(&sealed);
		host->ops->close(host);
	}
	free(buf);
	free(h);
	return err;
}

// ---- restore ----

static int read_file(const char *path, uint8_t *buf, size_t *ret_len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	size_t done = 0;
	ssize_t n = 1;

	if (fd < 0)
		return werr_from_errno(errno);
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		close(fd);
		return WERR_NOTVAULT;
	}
	// One byte more than there may be, so that a longer file is noticed.
	while (done < HEADER_BACKUP_BYTES + 1 && n) {
		n = read(fd, buf + done, HEADER_BACKUP_BYTES + 1 - done);
		if (n < 0 && errno != EINTR)
			break;
		done += n > 0 ? (size_t)n : 0;
	}
	close(fd);
	*ret_len = done;
	return n < 0 ? WERR_IO : 0;
}

static int report_file(int err, const char *path)
{
	switch (err) {
	case WERR_NOTVAULT:
		return report_fail(err, path,
				   "not a header backup; name a file that 'wardfs header backup' "
				   "made");
	case WERR_TRUNCATED:
	case WERR_MALFORMED:
	case WERR_LIMIT:
		return report_fail(err == WERR_LIMIT ? WERR_MALFORMED : err, path,
				   "the header backup is damaged; use another one");
	case WERR_AUTH:
		return report_fail(err, path,
				   "the header backup was changed since it was made; use another "
				   "one");
	default:
		return report_fail(err, path, "cannot be read: %s", werr_text(err));
	}
}

// The newest epoch that anything speaks of.
static uint32_t newest_epoch(const struct header_state *st, const struct anchor_state *seen)
{
	uint32_t epoch = st->epoch > st->other_epoch ? st->epoch : st->other_epoch;

	return seen->known_epoch > epoch ? seen->known_epoch : epoch;
}

static int judge_age(const struct request *r, const struct vault_header *h,
		     const struct header_state *st, const struct anchor_state *seen,
		     const char *date)
{
	const uint32_t newest = newest_epoch(st, seen);

	if (r->older)
		return 0;
	if (st->newer > 0 || st->other_epoch > h->epoch || seen->known_epoch > h->epoch)
		return report_fail(
			WERR_ROLLBACK, r->operands[0],
			"made on %s, before secrets were changed or removed (epoch %u, the vault "
			"has epoch %u): restoring it brings the old secrets back and makes %llu "
			"of %llu objects unreadable; use a newer backup, or --older if that is "
			"what you want",
			date, h->epoch, newest, (unsigned long long)st->newer,
			(unsigned long long)st->objects);
	// Changing or removing a secret seals the journal under a new root key, even where nothing
	// else was written since.
	if (st->is_journal_of_others)
		return report_fail(
			WERR_ROLLBACK, r->operands[0],
			"made on %s; the vault's journal is under another root key, as after a "
			"change or removal of secrets, or damaged: restoring it may bring removed "
			"secrets back; use a newer backup, or --older if that is what you want",
			date);
	return 0;
}

static int judge_vault(const struct request *r, const struct header_state *st)
{
	if (st->is_foreign || (st->objects > 0 && st->opened == 0 && st->newer == 0))
		return report_fail(WERR_AUTH, r->operands[0],
				   "is the header of another vault; nothing was changed");
	return 0;
}

static int judge(const struct request *r, const struct vault_header *h,
		 const struct header_state *st, const struct anchor_state *seen, uint64_t made_s)
{
	char date[32];

	slotlist_date(made_s, date, sizeof(date));
	int err = judge_age(r, h, st, seen, date);
	if (err)
		return err;
	if (!st->has_journal && !r->without_journal && !r->older)
		return report_fail(
			WERR_DAMAGED, r->operands[1],
			"its journal is missing or cannot be read: what was written last "
			"may be in it; bring wardfs.journal back, or use "
			"--without-journal");
	return 0;
}

// Which numbers and keys this machine has seen; the anchor is told to accept.
static int look_at_anchor(const struct request *r, struct host *host, const struct vault_header *h,
			  const struct keyring *ring, struct anchor_state *ret)
{
	uint8_t unknown[ANCHOR_MAC_BYTES] = {0};

	if (!host->anchor)
		return 0;
	int err = anchor_check(host->anchor, h, ring, unknown, KEYSLOT_MAX);
	anchor_get(host->anchor, ret);
	return err == WERR_BUSY ? report_vault(err, r->operands[1]) : 0;
}

static int put_back(const struct request *r, struct host *host, struct vault_header *h,
		    const uint8_t *root_key, uint64_t made_s)
{
	struct anchor_state seen = {.known_epoch = 0};
	struct header_state st;
	struct keyring *ring = NULL;
	struct progress *p = progress_start("Looking at the objects");
	int err = keyring_new(h, root_key, &ring);

	if (!err)
		err = header_state_read(host, h, ring, NULL, NULL, &st);
	progress_stop(p);
	if (err)
		(void)report_vault(err, r->operands[1]);
	else
		err = judge_vault(r, &st);
	if (!err)
		err = look_at_anchor(r, host, h, ring, &seen);
	if (!err)
		err = judge(r, h, &st, &seen, made_s);
	if (!err) {
		if (r->without_journal)
			st.has_journal = 0;
		err = header_restore(host, h, ring, &st);
		if (err)
			(void)report_vault(err, r->operands[1]);
	}
	keyring_free(ring);
	return err;
}

static int restore(const struct request *r, struct host *host, const uint8_t *buf, size_t len)
{
	struct vault_header *h = malloc(sizeof(*h));
	struct vault_sealed sealed;
	uint64_t made_s = 0;

	if (!h)
		return report_fail(WERR_NOMEM, NULL, "out of memory");
	int err = header_backup_peek(buf, len, &sealed, &made_s);
	if (err) {
		free(h);
		return report_file(err, r->operands[0]);
	}
	SECRET_AUTO uint8_t *root_key = NULL;
	err = unlock(r, &sealed, &root_key, NULL, h);
	if (!err) {
		err = header_backup_check(buf, root_key);
		if (err)
			(void)report_file(err, r->operands[0]);
	}
	if (!err)
		err = put_back(r, host, h, root_key, made_s);
	vault_sealed_clear(&sealed);
	free(h);
	return err;
}

static int do_restore(const struct request *r)
{
	uint8_t *buf = malloc(HEADER_BACKUP_BYTES + 1);
	struct anchor *anchor = NULL;
	struct host *host = NULL;
	size_t len = 0;

	if (!buf)
		return report_fail(WERR_NOMEM, NULL, "out of memory");
	int err = read_file(r->operands[0], buf, &len);
	if (err) {
		free(buf);
		return report_file(err, r->operands[0]);
	}
	err = host_posix_open(r->operands[1], 0, &host);
	if (!err)
		err = host->ops->lock(host, 1);
	if (!err && access(r->operands[1], W_OK | X_OK))
		err = werr_from_errno(errno);
	if (!err)
		err = statedir_attach(host, STATEDIR_ACCEPTING, &anchor);
	if (err)
		(void)report_vault(err, r->operands[1]);
	else
		err = restore(r, host, buf, len);
	if (host)
		host->ops->close(host);
	anchor_free(anchor);
	free(buf);
	return err;
}

int verb_header(int argc, char **argv)
{
	struct request r = {.source = SECRETS_SOURCE_INIT};
	static char name[32];

	if (argc >= 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-?"))) {
		puts("Usage: wardfs header backup [SECRET] FILE DIR|MNT\n"
		     "  or:  wardfs header restore [--older] [--without-journal] [SECRET] FILE "
		     "DIR\n"
		     "Keeps a copy of what opens a vault, and puts it back.");
		return 0;
	}
	const int is_backup = argc >= 2 && !strcmp(argv[1], "backup");
	if (argc < 2 || (!is_backup && strcmp(argv[1], "restore") != 0))
		return report_fail(WERR_USAGE, argc < 2 ? NULL : argv[1],
				   "say 'wardfs header backup FILE DIR' or 'wardfs header restore "
				   "FILE DIR'");
	snprintf(name, sizeof(name), "wardfs header %s", is_backup ? "backup" : "restore");
	argv[1] = name;
	options_parse(is_backup ? &backup_argp : &restore_argp, argc - 1, argv + 1, &r);
	return is_backup ? do_backup(&r) : do_restore(&r);
}
