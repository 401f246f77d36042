// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fusefs/header_backup.h"
#include "tools/confirm.h"
#include "tools/erase.h"
#include "tools/options.h"
#include "tools/report.h"
#include "tools/verbs.h"

struct request {
	int destroy;
	const char *dir;
};

enum { KEY_DESTROY = 1 };

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct request *r = state->input;

	if (key == KEY_DESTROY) {
		r->destroy = 1;
		return 0;
	}
	return options_operands(key, arg, state, &r->dir, 1, "DIR");
}

static const struct argp_option table[] = {
	{"yes-destroy", KEY_DESTROY, NULL, 0, "do not ask for the vault's name", 0},
	{0},
};
static const struct argp argp = {
	.options = table,
	.parser = parse,
	.args_doc = "DIR",
	.doc = "Destroys every keyslot and every key of the vault DIR in both header files, so "
	       "that "
	       "nothing opens it any more. Needs no secret, and cannot be undone. DIR must not be "
	       "mounted.",
};

static const char honest_text[] =
	"Every secret of this vault is now worthless, here. It still opens every copy of the two "
	"header\n"
	"files that exists elsewhere: in backups of the vault, header backups, snapshots of the\n"
	"filesystem, a cloud's older versions. Destroy these too. Flash (SSD, SD card, stick) and\n"
	"filesystems that never write in place (btrfs, ZFS, and others on flash) keep what was\n"
	"overwritten for a while where the disk itself can be read; 'fstrim' helps against that, "
	"and only\n"
	"its own erase command or its destruction is certain. Earlier headers were overwritten "
	"when they\n"
	"were replaced, unless a crash came just between. The encrypted files are still there and "
	"may\n"
	"be removed.\n";

int erase_vault(struct host *host, const char *dir)
{
	unsigned done = 0;
	int err = header_erase(host, &done);

	if (err == WERR_NOTVAULT)
		return report_vault(err, dir);
	if (err)
		return report_fail(err, dir,
				   "%s could not be destroyed (%s); the vault may still open: end "
				   "the cause and try again",
				   done & 1u   ? "wardfs.vault.2"
				   : done & 2u ? "wardfs.vault"
					       : "the header files",
				   werr_text(err));
	fputs(honest_text, stdout);
	return 0;
}

// The last component of the vault's true path.
static int ask(const char *dir)
{
	char path[PATH_MAX], question[PATH_MAX + 128], shown[PATH_MAX];

	if (!realpath(dir, path))
		return report_vault(werr_from_errno(errno), dir);
	const char *name = strrchr(path, '/') + 1;
	report_escape(name, shown, sizeof(shown));
	snprintf(question, sizeof(question),
		 "This destroys the vault '%s' for good. Type its name to go on:", shown);
	int err = confirm_word(question, name);
	return err ? report_fail(err, dir,
				 "nothing was destroyed; type the vault's name on a terminal, or "
				 "use --yes-destroy")
		   : 0;
}

int verb_erase(int argc, char **argv)
{
	struct request r = {.destroy = 0};
	struct host *host;

	options_parse(&argp, argc, argv, &r);
	int err = host_posix_open(r.dir, 0, &host);
	if (err)
		return report_vault(err, r.dir);
	// A mount has the keys and would write the header again.
	err = host->ops->lock(host, 1);
	if (err)
		err = report_vault(err, r.dir);
	if (!err && !r.destroy)
		err = ask(r.dir);
	if (!err)
		err = erase_vault(host, r.dir);
	host->ops->close(host);
	return err;
}
