// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/statedir.h"
#include "fusefs/header_backup.h"
#include "tools/options.h"
#include "tools/secrets.h"
#include "tools/progress.h"
#include "tools/refusal.h"
#include "tools/report.h"
#include "tools/verbs.h"

struct request {
	struct secrets_source source;
	int yes;
	const char *dir;
};

enum { KEY_YES = 1 };

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct request *r = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &r->source;
		return 0;
	case KEY_YES:
		r->yes = 1;
		return 0;
	default:
		return options_operands(key, arg, state, &r->dir, 1, "DIR");
	}
}

static const struct argp_option table[] = {
	{"yes", KEY_YES, NULL, 0, "do not ask", 0},
	{0},
};
static const struct argp_child children[] = {
	{&secrets_options, 0, NULL, 0},
	{0},
};
static const struct argp argp = {
	.options = table,
	.parser = parse,
	.args_doc = "DIR",
	.doc = "Takes the vault DIR as it is, although this machine has seen a newer state of it "
	       "(a restored backup, a copy that went its own way). Shows what goes back in time, "
	       "and asks.",
	.children = children,
};

// ---- what there is to say ----

static const char *state_word(uint32_t state)
{
	return state == VAULT_CLEAN ? "closed cleanly" : "not closed cleanly";
}

static void show(const struct anchor_state *s, const char *dir)
{
	char line[512], shown[1024];
	const struct anchor_claims *k = &s->known;

	anchor_refusal(s, line, sizeof(line));
	report_escape(dir, shown, sizeof(shown));
	printf("%s: %s\n", shown, line);
	printf("  this copy:       mount %u, header write %llu, %s\n", s->mount,
	       (unsigned long long)s->write_counter, state_word(s->state));
	if (s->verdict != ANCHOR_UNUSABLE && s->verdict != ANCHOR_OLDER_KEYS)
		printf("  seen here:       mount %u, header write %llu, %s\n", k->mount,
		       (unsigned long long)k->write_counter, state_word(k->state));
	if (s->verdict == ANCHOR_OLDER_KEYS)
		puts("  seen here:       under keys that this copy does not have, so which "
		     "keyslots "
		     "differ cannot be shown");
	for (unsigned n = 0; anchor_change_line(s, n, line, sizeof(line)) > 0; n++) {
		report_escape(line, shown, sizeof(shown));
		printf("  %s\n", shown);
	}
	if (s->verdict != ANCHOR_UNUSABLE)
		puts("Files that were made or changed in between are missing or old, and secrets "
		     "that were removed in between may open it again.");
}

// "yes", typed out.
static int confirm(void)
{
	char answer[16];

	if (!isatty(STDIN_FILENO))
		return report_fail(WERR_USAGE, NULL,
				   "nobody to ask: say --yes when the vault is to be taken as it "
				   "is");
	fputs("Take it as the newest state? Type 'yes': ", stdout);
	fflush(stdout);
	if (!fgets(answer, sizeof(answer), stdin) || strcmp(answer, "yes\n") != 0)
		return report_fail(WERR_INTERRUPTED, NULL, "nothing was changed");
	return 0;
}

// ---- whether it can be used then ----

// A header of before beside files of after is no state that ever was: a mount would refuse it,
// whatever this machine knows. What a part of the files lacks is only told of.
static int judge(const struct vault_header *h, const struct header_state *st, const char *dir)
{
	static const char next[] = "nothing was changed; restore the header files that belong to "
				   "them, or the whole vault from one backup";

	if (st->newer && !st->generation)
		return report_fail(WERR_ROLLBACK, dir,
				   "its header is older than its files: %llu of %llu objects, the "
				   "root directory too, are under keys that it does not have; %s",
				   (unsigned long long)st->newer, (unsigned long long)st->objects,
				   next);
	if (h->state == VAULT_CLEAN && st->generation && st->generation != h->root_generation)
		return report_fail(WERR_ROLLBACK, dir,
				   "its header and its files are of different times: the root "
				   "directory is %s than the header says; %s",
				   st->generation > h->root_generation ? "newer" : "older", next);
	if (st->newer)
		report_warn(
			dir,
			"%llu of %llu objects are under keys that this copy does not have: they "
			"cannot be read",
			(unsigned long long)st->newer, (unsigned long long)st->objects);
	return 0;
}

static int look_at_objects(const struct vault *v, const char *dir)
{
	struct header_state st;
	struct progress *p = progress_start("Looking at the objects");
	int err = header_state_read(v->host, v->h, v->ring, NULL, NULL, &st);

	progress_stop(p);
	return err ? report_vault(err, dir) : judge(v->h, &st, dir);
}

// ---- doing it ----

static int take(struct vault *v, const struct request *r)
{
	struct anchor_state s;
	int err = vault_compare_journal(v);

	// A journal that cannot be read at all is the next mount's business.
	if (err == WERR_NOMEM || err == WERR_IO)
		return report_vault(err, r->dir);
	anchor_get(v->host->anchor, &s);
	if (s.verdict == ANCHOR_NOPLACE || s.verdict == ANCHOR_UNREACHABLE)
		return report_fail(s.trouble, r->dir,
				   "this machine cannot keep a record of vaults: %s",
				   werr_text(s.trouble));
	if (s.verdict == ANCHOR_SAME || s.verdict == ANCHOR_AHEAD) {
		puts("Nothing to accept: the vault is as new as this machine has seen it.");
		return 0;
	}
	if (s.verdict == ANCHOR_NEW) {
		err = vault_accept(v);
		if (!err)
			puts("The vault is recorded on this machine from now on.");
		return err ? report_vault(err, r->dir) : 0;
	}
	err = look_at_objects(v, r->dir);
	if (err)
		return err;
	show(&s, r->dir);
	err = r->yes ? 0 : confirm();
	if (err)
		return err;
	err = vault_accept(v);
	if (err == WERR_LIMIT)
		return report_fail(err, r->dir,
				   "no mount number is left; make a new vault and "
				   "copy");
	if (err)
		return report_vault(err, r->dir);
	anchor_get(v->host->anchor, &s);
	if (s.trouble)
		return report_fail(s.trouble, r->dir,
				   "the vault was changed, but this machine's record cannot be "
				   "written: %s",
				   werr_text(s.trouble));
	puts("Accepted.");
	return 0;
}

static int open_and_take(const struct request *r, struct host *host, struct anchor *anchor)
{
	SECRET_STRUCT_AUTO struct secret passphrase = {0};
	struct vault *v;
	int err = secrets_get_at(&r->source, r->dir, &passphrase);

	if (err) {
		host->ops->close(host);
		return err;
	}
	struct progress *p = progress_start("Deriving the key");
	err = vault_open(host, &passphrase, 0, &v);
	progress_stop(p);
	if (err)
		return refusal_report(err, r->dir, anchor);
	refusal_warn_foreign(r->dir, vault_foreign_copy(v));
	err = take(v, r);
	vault_close(v);
	return err;
}

int verb_accept(int argc, char **argv)
{
	struct request r = {.source = SECRETS_SOURCE_INIT};
	struct anchor *anchor = NULL;
	struct vault_sealed sealed;
	struct host *host;

	options_parse(&argp, argc, argv, &r);
	int err = host_posix_open(r.dir, 0, &host);
	if (err)
		return report_vault(err, r.dir);
	// Before anybody types a passphrase: is it a vault, can it be changed.
	err = vault_read_sealed(host, &sealed);
	if (!err)
		vault_sealed_clear(&sealed);
	if (!err)
		err = host->ops->lock(host, 1);
	if (!err && access(r.dir, W_OK | X_OK))
		err = werr_from_errno(errno);
	if (!err)
		err = statedir_attach(host, STATEDIR_ACCEPTING, &anchor);
	if (err) {
		host->ops->close(host);
		return report_vault(err, r.dir);
	}
	err = open_and_take(&r, host, anchor);
	anchor_free(anchor);
	return err;
}
