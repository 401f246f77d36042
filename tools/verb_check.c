// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fusefs/fs.h"
#include "fusefs/salvage.h"
#include "fusefs/vault.h"
#include "tools/check_print.h"
#include "tools/options.h"
#include "tools/secrets.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/verbs.h"

struct request {
	struct secrets_source source;
	const char *dir;
	int names;
	struct check_print print;
};

enum { KEY_JSON = 1, KEY_PROGRESS, KEY_NAMES };

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
	case KEY_PROGRESS:
		if (strcmp(arg, "json") != 0) {
			argp_failure(state, EXIT_WARD_USAGE, 0,
				     "--progress: '%s' is no form of progress; it can be 'json'",
				     arg);
		}
		r->print.progress_json = 1;
		return 0;
	default:
		return options_operands(key, arg, state, &r->dir, 1, "DIR");
	}
}

static const struct argp_option table[] = {
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
	.args_doc = "DIR",
	.doc = "Verifies every page of the vault DIR, which must not be mounted, and lists what is "
	       "wrong.",
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

// Before anything is asked: whether it is a vault, and free.
static int open_vault(const struct request *r, struct vault **ret)
{
	SECRET_STRUCT_AUTO struct secret pass = {0};
	struct vault_sealed sealed;
	struct host *host;
	int err = host_posix_open(r->dir, 0, &host);

	if (err) {
		return report_vault(err, r->dir);
	}
	err = host->ops->lock(host, 0);
	if (!err) {
		err = vault_read_sealed(host, &sealed);
	}
	if (err) {
		host->ops->close(host);
		return report_vault(err, r->dir);
	}
	err = secrets_get(&r->source, r->dir, &sealed, &pass);
	vault_sealed_clear(&sealed);
	if (err) {
		host->ops->close(host);
		return err;
	}
	struct progress *p = progress_start("Deriving the key");
	err = vault_open(host, &pass, 1, ret); // closes host on failure
	progress_stop(p);
	return err ? report_vault(err, r->dir) : 0;
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

static int look(struct request *r, struct vault *v, struct check_totals *t)
{
	struct salvage salvage = {0};
	const struct fs_params params = {.readonly = 1, .manual = 1, .salvage = &salvage};
	const struct check_params check = {
		.stop = &stopped,
		.found = check_print_finding,
		.progress = check_print_progress,
		.arg = &r->print,
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

static int verdict(const struct check_totals *t, const char **ret_word)
{
	if (t->tampered) {
		*ret_word = "tampered";
		return WERR_ROLLBACK;
	}
	*ret_word = t->damages ? "damaged" : "clean";
	return t->damages ? WERR_DAMAGED : 0;
}

static int run(struct request *r, struct vault *v)
{
	struct check_totals t = {0};
	const char *word;

	catch_signals();
	check_print_begin(&r->print, r->dir, 0);
	int err = look(r, v, &t);
	int result = verdict(&t, &word);
	check_print_end(&r->print, &t,
			err == WERR_INTERRUPTED ? "interrupted"
			: err                   ? "failed"
						: word,
			0, NULL);
	if (err == WERR_INTERRUPTED) {
		return report_fail(err, r->dir,
				   "interrupted; nothing was changed, begin again at any time");
	}
	return err ? report_vault(err, r->dir) : result;
}

int verb_check(int argc, char **argv)
{
	struct request r = {.source = SECRETS_SOURCE_INIT};
	struct vault *v;

	options_parse(&argp, argc, argv, &r);
	r.print.names |= isatty(STDOUT_FILENO) && !r.print.json;
	int err = open_vault(&r, &v);
	if (err) {
		return err;
	}
	err = run(&r, v);
	vault_close(v);
	return err;
}
