// SPDX-License-Identifier: Apache-2.0
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/statedir.h"
#include "fusefs/fs.h"
#include "fusefs/salvage.h"
#include "fusefs/vault.h"
#include "tools/check_mounted.h"
#include "tools/check_print.h"
#include "tools/check_repair.h"
#include "tools/options.h"
#include "tools/secrets.h"
#include "tools/progress.h"
#include "tools/refusal.h"
#include "tools/report.h"
#include "tools/secrets.h"
#include "tools/verbs.h"

struct request {
	struct secrets_source source;
	struct anchor *anchor;
	const char *dir;
	const char *report;
	int repair;
	int yes;
	int no_anchor;
	struct check_print print;
};

#define ROUNDS_MAX 8 // each brings a level of directories into reach that were lost

enum { KEY_JSON = 1, KEY_PROGRESS, KEY_NAMES, KEY_REPAIR, KEY_YES, KEY_REPORT, KEY_NO_ANCHOR };

static _Atomic int stopped;

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct request *r = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &r->source;
		return 0;
	case KEY_JSON:
		r->print.json = 1;
		return 0;
	case KEY_NAMES:
		r->print.names = 1;
		return 0;
	case KEY_REPAIR:
		r->repair = 1;
		return 0;
	case KEY_YES:
		r->yes = 1;
		return 0;
	case KEY_NO_ANCHOR:
		r->no_anchor = 1;
		return 0;
	case KEY_REPORT:
		r->report = arg;
		return 0;
	case KEY_PROGRESS:
		if (strcmp(arg, "json") != 0) {
			argp_failure(state, EXIT_WARD_USAGE, 0,
				     "--progress: '%s' is no form of progress; it can be 'json'",
				     arg);
		}
		r->print.progress_json = 1;
		return 0;
	default:
		return options_operands(key, arg, state, &r->dir, 1, "DIR|MNT");
	}
}

static const struct argp_option table[] = {
	{"repair", KEY_REPAIR, NULL, 0, "put right what can be, and list what is lost", 0},
	{"yes", KEY_YES, NULL, 0, "with --repair: give up what cannot be read, without asking", 0},
	{"report", KEY_REPORT, "FILE", 0, "with --repair: a copy of the report, in plaintext", 0},
	{"no-anchor", KEY_NO_ANCHOR, NULL, 0,
	 "without --repair: also what this machine has seen a newer state of", 0},
	{"json", KEY_JSON, NULL, 0, "print one JSON object", 0},
	{"names", KEY_NAMES, NULL, 0, "show names of files, also where nobody watches", 0},
	{"progress", KEY_PROGRESS, "json", 0, "say how far it is, in lines on standard error", 0},
	{0},
};
static const struct argp_child children[] = {
	{&secrets_options, 0, NULL, 0},
	{0},
};
static const struct argp argp = {
	.options = table,
	.parser = parse,
	.args_doc = "DIR|MNT",
	.doc = "Verifies every page of the vault DIR, or of the one mounted at MNT, and lists what "
	       "is "
	       "wrong; --repair puts it right.",
	.children = children,
};

static void on_signal(int sig)
{
	(void)sig;
	atomic_store(&stopped, 1);
}

static void catch_signals(void)
{
	const struct sigaction act = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGHUP, &act, NULL);
}

// Whether it is a vault and free is told before anything is asked.
static int open_host(struct request *r, struct vault_sealed *ret_sealed, struct host **ret)
{
	struct host *host;
	int err = host_posix_open(r->dir, 0, &host);

	if (err) {
		return err;
	}
	err = host->ops->lock(host, r->repair);
	if (!err) {
		err = vault_read_sealed(host, ret_sealed);
	}
	if (!err && !r->no_anchor) {
		err = statedir_attach(host, r->repair ? 0 : STATEDIR_READONLY, &r->anchor);
		if (err) {
			vault_sealed_clear(ret_sealed);
		}
	}
	if (err) {
		host->ops->close(host);
		return err;
	}
	*ret = host;
	return 0;
}

static int open_vault(struct request *r, struct vault **ret)
{
	SECRET_STRUCT_AUTO struct secret offer = {0};
	struct vault_sealed sealed;
	struct host *host;
	int err = open_host(r, &sealed, &host);

	if (err) {
		return report_vault(err, r->dir);
	}
	err = secrets_get(&r->source, r->dir, &sealed, &offer);
	vault_sealed_clear(&sealed);
	if (err) {
		host->ops->close(host);
		return err;
	}
	struct progress *p = progress_start("Deriving the key");
	err = vault_open(host, &offer, !r->repair, ret); // closes host on failure
	progress_stop(p);
	if (err) {
		return refusal_report(err, r->dir, r->anchor);
	}
	refusal_warn_foreign(r->dir, vault_foreign_copy(*ret));
	vault_set_readonly(*ret, 1);
	return 0;
}

// The engine refused the vault as a whole: that is the finding.
static void refused(struct request *r, int err, struct check_totals *t)
{
	struct check_finding f = {.kind = err == WERR_ROLLBACK ? CHECK_VAULT_ROLLBACK
							       : CHECK_JOURNAL_LOST};

	check_print_finding(&r->print, &f);
	t->kinds[f.kind]++;
	t->tampered++;
}

static int look(struct request *r, struct vault *v, struct check_plan *plan, struct check_totals *t)
{
	struct salvage salvage = {0};
	const struct fs_params params = {.readonly = 1, .manual = 1, .salvage = &salvage};
	const struct check_params check = {
		.stop = &stopped,
		.found = check_print_finding,
		.progress = check_print_progress,
		.arg = &r->print,
		.plan = plan,
	};
	struct fs *fs;
	int err = fs_open(v, &params, &fs);

	if (err == WERR_AUTH || err == WERR_DAMAGED || err == WERR_ROLLBACK ||
	    err == WERR_MALFORMED) {
		refused(r, err, t);
		err = 0;
	} else if (!err) {
		err = fs_check(fs, &check, t);
		int closed = fs_close(fs);
		err = err ? err : closed;
	}
	free(salvage.dirs);
	return err;
}

// Nothing in it is wrong, but this machine has seen a newer state: what a mount says then helps.
static int is_older_copy(const struct request *r)
{
	struct anchor_state s;
	char line[512];

	if (!r->anchor) {
		return 0;
	}
	anchor_get(r->anchor, &s);
	return anchor_refusal(&s, line, sizeof(line)) > 0;
}

static int verdict(const struct check_totals *t, const char **ret_word)
{
	if (t->tampered) {
		*ret_word = "tampered";
		return WERR_ROLLBACK;
	}
	*ret_word = t->damages ? "damaged" : "clean";
	return t->damages ? WERR_DAMAGED : 0;
}

static void say_end(struct request *r, const struct check_totals *t, const char *word, int err,
		    const struct check_repair *c)
{
	if (err) {
		word = err == WERR_INTERRUPTED ? "interrupted" : "failed";
	}
	check_print_end(&r->print, t, word, c ? c->acts : 0,
			c && c->in_vault ? c->quarantine : NULL);
}

static int say_error(const struct request *r, int err)
{
	if (err == WERR_INTERRUPTED) {
		return report_fail(err, r->dir, "interrupted; begin again at any time");
	}
	return report_vault(err, r->dir);
}

static int run_check(struct request *r, struct vault *v)
{
	struct check_totals t = {0};
	const char *word;
	int err = look(r, v, NULL, &t);
	int result = verdict(&t, &word);

	say_end(r, &t, word, err, NULL);
	if (!err && result == WERR_ROLLBACK && is_older_copy(r)) {
		return refusal_report(result, r->dir, r->anchor);
	}
	if (!err && result) {
		check_print_next(&r->print, &t, 0);
	}
	return err ? say_error(r, err) : result;
}

// Something a round of repair can put right.
static int is_repairable(const struct check_plan *plan, const struct check_totals *t)
{
	return plan->damaged.len || plan->strays_len || plan->journal ||
	       t->kinds[CHECK_HEADER_COPY] || t->kinds[CHECK_HEADER_BEHIND] ||
	       t->kinds[CHECK_JOURNAL_TORN];
}

// Looks and mends in turns until nothing is left to be mended, or nothing changes any more.
// *ret_changed: anything was.
static int mend(struct request *r, struct vault *v, struct check_repair *c, struct check_totals *t,
		int *ret_changed)
{
	*ret_changed = 0;
	for (int round = 0;; round++) {
		struct check_plan plan = {0};
		uint64_t before = c->acts;
		int err = look(r, v, &plan, t);

		if (!err && round == 0 && is_repairable(&plan, t)) {
			err = check_repair_ask(r->dir, t, r->yes);
			if (err) {
				check_plan_clear(&plan);
				return err;
			}
		}
		int more = !err && round < ROUNDS_MAX && is_repairable(&plan, t);
		if (more && !atomic_load(&stopped)) {
			err = check_repair_round(c, v, &plan);
			*ret_changed |= !err;
		}
		// Header copy and journal are done in the first round.
		more = more && (round == 0 || c->acts > before);
		check_plan_clear(&plan);
		if (err || !more) {
			return err;
		}
	}
}

static int run_repair(struct request *r, struct vault *v)
{
	struct check_totals t = {0};
	struct check_repair c;
	const char *word;
	int changed;

	check_repair_init(&c, &r->print);
	int err = mend(r, v, &c, &t, &changed);
	int result = verdict(&t, &word);
	if (!err && result == 0 && changed) {
		word = "repaired";
		result = WERR_REPAIRED;
	}
	int asked = err == WERR_DAMAGED && !changed; // and said so
	int reported = err ? 0 : check_repair_report(&c, v, r->report);
	say_end(r, &t, word, asked ? 0 : err, &c);
	check_repair_clear(&c);
	if (err) {
		return asked ? result : say_error(r, err);
	}
	return reported ? reported : result;
}

static int run(struct request *r, struct vault *v)
{
	catch_signals();
	check_print_begin(&r->print, r->dir, r->repair);
	return r->repair ? run_repair(r, v) : run_check(r, v);
}

static int run_mounted(struct request *r, const char *mnt)
{
	struct check_totals t = {0};
	const char *word;

	if (r->repair) {
		return report_fail(WERR_BUSY, r->dir,
				   "is mounted; unmount it first, then repair the vault directory");
	}
	catch_signals();
	int err = check_mounted(mnt, &r->print, &stopped, &t);
	int result = verdict(&t, &word);
	if (r->print.announced || !err) {
		say_end(r, &t, word, err, NULL);
	}
	if (!err && result) {
		check_print_next(&r->print, &t, 1);
	}
	if (err == WERR_INTERRUPTED) {
		return say_error(r, err);
	}
	return err ? err : result;
}

int verb_check(int argc, char **argv)
{
	char mnt[PATH_MAX];

	struct request r = {.source = SECRETS_SOURCE_INIT};
	struct vault *v;

	options_parse(&argp, argc, argv, &r);
	if ((r.yes || r.report) && !r.repair) {
		return report_fail(WERR_USAGE, NULL, "--yes and --report need --repair");
	}
	if (r.no_anchor && r.repair) {
		return report_fail(WERR_USAGE, "--no-anchor",
				   "is not for --repair; take the vault as it is with 'wardfs "
				   "accept' first");
	}
	r.print.names |= isatty(STDOUT_FILENO) && !r.print.json;
	if (check_is_mountpoint(r.dir)) {
		return run_mounted(&r, r.dir);
	}
	if (check_find_mount(r.dir, mnt)) {
		return run_mounted(&r, mnt);
	}
	int err = open_vault(&r, &v);
	if (!err) {
		err = run(&r, v);
		vault_close(v);
	}
	anchor_free(r.anchor);
	return err;
}
