// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/mountpoint.h"
#include "daemon/worker.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/refusal.h"
#include "tools/report.h"
#include "tools/secrets.h"
#include "tools/verbs.h"

struct request {
	struct secrets_source source;
	struct mountopts opts;
	int nonempty;
	int foreground;
	int no_anchor;
	const char *operands[2]; // DIR, MNT as given
	char dir[PATH_MAX];      // absolute
	char mountpoint[PATH_MAX];
	struct progress *progress;
};

enum { KEY_RO = 1, KEY_NO_ANCHOR };

// "nonempty" is about the mount point, which the FUSE side does not look at. Takes it out of the
// list.
static int take_nonempty(char *list)
{
	static const char word[] = "nonempty";
	char *out = list, *next;
	int found = 0;

	for (char *p = list; p; p = next) {
		next = strchr(p, ',');
		size_t n = next ? (size_t)(next - p) : strlen(p);

		if (next)
			next++;
		if (n == strlen(word) && !strncmp(p, word, n)) {
			found = 1;
			continue;
		}
		if (out != list)
			*out++ = ',';
		memmove(out, p, n);
		out += n;
	}
	*out = 0;
	return found;
}

static void parse_options(struct argp_state *state, struct request *r, const char *text)
{
	char *list = strdup(text);

	if (!list)
		argp_failure(state, EXIT_WARD_NOMEM, 0, "out of memory");
	r->nonempty |= take_nonempty(list);
	if (*list && mountopts_parse(&r->opts, list))
		argp_failure(state, EXIT_WARD_USAGE, 0,
			     "-o: unknown or malformed option '%s'; see 'wardfs mount --help'",
			     r->opts.unknown);
	free(list);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct request *r = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &r->source;
		return 0;
	case 'o':
		parse_options(state, r, arg);
		return 0;
	case 'f':
		r->foreground = 1;
		return 0;
	case KEY_RO:
		r->opts.readonly = 1;
		return 0;
	case KEY_NO_ANCHOR:
		r->no_anchor = 1;
		return 0;
	case ARGP_KEY_SUCCESS:
		if (r->no_anchor && !r->opts.readonly)
			argp_failure(state, EXIT_WARD_USAGE, 0,
				     "--no-anchor is for looking only: say --ro as well, or take "
				     "an older state with 'wardfs accept'");
		return 0;
	default:
		return options_operands(key, arg, state, r->operands, 2, "DIR MNT");
	}
}

static const struct argp_option table[] = {
	{NULL, 'o', "OPTS", 0, "mount options, separated by commas", 0},
	{"ro", KEY_RO, NULL, 0, "read-only; writes nothing to the vault", 0},
	{"no-anchor", KEY_NO_ANCHOR, NULL, 0,
	 "with --ro: also when this machine has seen a newer state of the vault", 0},
	{"foreground", 'f', NULL, 0, "stay in the foreground, log to standard error", 0},
	{0},
};
static const struct argp_child children[] = {
	{&secrets_options, 0, NULL, 0},
	{0},
};
static const struct argp argp = {
	.options = table,
	.parser = parse,
	.args_doc = "DIR MNT",
	.doc = "Mounts the vault DIR at the folder MNT, and returns when MNT is usable."
	       "\v"
	       "Mount options: ro rw allow_other allow_root suid nosuid dev nodev exec noexec "
	       "atime noatime diratime nodiratime relatime norelatime strictatime nostrictatime "
	       "lazytime nolazytime sync async dirsync default_permissions nonempty threads=N "
	       "max_background=N fsname=NAME subtype=NAME. nosuid, nodev and default_permissions "
	       "are on unless said otherwise.",
	.children = children,
};

// ---- before anything is asked ----

static int check_device(void)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd >= 0) {
		close(fd);
		return 0;
	}
	if (errno == EACCES || errno == EPERM)
		return report_fail(WERR_PERM, "/dev/fuse",
				   "permission denied; as root: chmod 666 /dev/fuse");
	return report_fail(WERR_NODEVICE, "/dev/fuse",
			   "FUSE is not available here; as root: modprobe fuse");
}

static int report_mountpoint(int err, const char *path)
{
	switch (err) {
	case WERR_NOTFOUND:
		return report_fail(err, path, "no such directory; make it with mkdir");
	case WERR_NOTDIR:
		return report_fail(err, path, "not a directory; choose one to mount at");
	case WERR_BUSY:
		return report_fail(err, path,
				   "something is mounted here already; unmount it "
				   "first, or choose another directory");
	case WERR_NOTEMPTY:
		return report_fail(err, path,
				   "the directory is not empty; choose another one, or "
				   "hide what is in it with -o nonempty");
	case WERR_PERM:
		return report_fail(err, path,
				   "no permission to mount here; choose a directory of "
				   "your own");
	default:
		return report_fail(err, path, "cannot be mounted at: %s", werr_text(err));
	}
}

// A vault must not disappear below its own mount.
static int is_inside(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return !strncmp(path, dir, n) && (path[n] == '/' || path[n] == 0);
}

static int check_paths(struct request *r)
{
	const char *dir = r->operands[0], *mnt = r->operands[1];

	if (!realpath(dir, r->dir))
		return report_vault(werr_from_errno(errno), dir);
	int err = mountpoint_resolve(mnt, r->mountpoint);
	if (err)
		return report_mountpoint(err, mnt);
	if (is_inside(r->mountpoint, r->dir))
		return report_fail(WERR_USAGE, mnt,
				   "lies in the vault itself; choose a directory "
				   "outside of it");
	err = mountpoint_check(r->mountpoint, r->nonempty);
	return err ? report_mountpoint(err, mnt) : 0;
}

// ---- the worker's hooks ----

static int on_passphrase(void *arg, struct secret *ret)
{
	struct request *r = arg;

	return secrets_get_at(&r->source, r->dir, ret);
}

static void on_stage(void *arg, enum worker_stage stage)
{
	struct request *r = arg;

	progress_stop(r->progress);
	r->progress = NULL;
	if (stage == WORKER_KEY)
		r->progress = progress_start("Deriving the key");
	else if (stage == WORKER_ENGINE)
		r->progress = progress_start("Opening the vault");
}

static void on_warn(void *arg, const char *line)
{
	struct request *r = arg;

	report_warn(r->operands[0], "%s", line);
}

static void on_tell(void *arg, const char *line)
{
	struct request *r = arg;

	(void)report_fail(0, r->operands[0], "%s", line);
}

static int report_mount(int err, const struct worker_error *e, const char *mnt)
{
	if (err == WERR_NODEVICE)
		return report_fail(err, "/dev/fuse",
				   "FUSE is not available here; as root: "
				   "modprobe fuse");
	if (e->detail[0])
		return report_fail(err, mnt, "cannot be mounted: %s", e->detail);
	return report_fail(err, mnt, "cannot be mounted: %s", werr_text(err));
}

static int report_error(int err, const struct worker_error *e, const struct request *r)
{
	if (e->reported)
		return err;
	if (err == WERR_INTERRUPTED)
		return report_fail(err, r->operands[0], "interrupted; nothing is mounted");
	if (e->detail[0] && (err == WERR_ROLLBACK || err == WERR_ANCHOR))
		return refusal_report_text(err, r->operands[0], e->detail);
	switch (e->stage) {
	case WORKER_MOUNT:
		return report_mount(err, e, r->operands[1]);
	case WORKER_CLOSE:
		return report_fail(err, r->operands[0],
				   "could not be closed cleanly: %s; the next mount recovers it "
				   "from its journal",
				   werr_text(err));
	case WORKER_ENGINE:
		if (err == WERR_AUTH)
			return report_fail(
				err, r->operands[0],
				"files of the vault were changed outside wardfs; restore "
				"them from a backup");
		return report_vault(err, r->operands[0]);
	case WORKER_VAULT:
	case WORKER_KEY:
	case WORKER_READY:
		break;
	}
	if (e->detail[0])
		return report_fail(err, r->operands[0], "%s", e->detail);
	return report_vault(err, r->operands[0]);
}

int verb_mount(int argc, char **argv)
{
	struct request r = {.source = SECRETS_SOURCE_INIT};
	struct worker_error e;

	mountopts_init(&r.opts);
	options_parse(&argp, argc, argv, &r);
	int err = check_paths(&r);
	if (!err)
		err = check_device();
	if (err)
		return err;
	// What df and mount(8) show as the source; cut where it does not fit, it means nothing.
	if (!r.opts.fsname[0])
		snprintf(r.opts.fsname, sizeof(r.opts.fsname), "%.*s",
			 (int)sizeof(r.opts.fsname) - 1, r.dir);
	const struct worker_params params = {
		.dir = r.dir,
		.mountpoint = r.mountpoint,
		.opts = r.opts,
		.foreground = r.foreground,
		.no_anchor = r.no_anchor,
	};
	const struct worker_hooks hooks = {
		.passphrase = on_passphrase,
		.stage = on_stage,
		.warn = on_warn,
		.tell = on_tell,
		.arg = &r,
	};
	err = worker_mount(&params, &hooks, &e);
	progress_stop(r.progress);
	return err ? report_error(err, &e, &r) : 0;
}
