// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/broker.h"
#include "daemon/control_client.h"
#include "daemon/mountpoint.h"
#include "daemon/policy.h"
#include "daemon/rundir.h"
#include "daemon/varlink.h"
#include "fusefs/mountopts.h"
#include "tools/handover.h"
#include "tools/options.h"
#include "tools/refusal.h"
#include "tools/report.h"
#include "tools/secrets.h"
#include "tools/verbs.h"

struct request {
	struct secrets_source source;
	struct mountopts opts;
	char *options; // all -o lists and what other options mean, for the worker
	int nonempty;
	int foreground;
	int no_anchor;
	int log_names;
	const char *operands[2]; // DIR, MNT as given
	char dir[PATH_MAX];      // absolute
	char mountpoint[PATH_MAX];
	struct handover handover;
	json_t *policy;
};

enum {
	KEY_RO = 1,
	KEY_NO_ANCHOR,
	KEY_LOG_NAMES,
	KEY_IDLE,
	KEY_MAX_TIME,
	KEY_SLEEP,
	KEY_SCREEN_LOCK,
	KEY_SESSION_END,
	KEY_SIGNAL,
};

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

// Takes what says when to lock out of the list.
static void take_policy(struct argp_state *state, struct request *r, char *list)
{
	char *out = list, *word, *rest = list;

	while ((word = strsep(&rest, ","))) {
		int err = policy_word(r->policy, word);

		if (err == WERR_INVALID)
			argp_failure(state, EXIT_WARD_USAGE, 0,
				     "-o: '%s': a time is a number with s, m, h or d, an action is "
				     "lock, unmount or off",
				     word);
		if (err != WERR_NOTFOUND)
			continue;
		size_t n = strlen(word);
		if (out != list)
			*out++ = ',';
		memmove(out, word, n);
		out += n;
	}
	*out = 0;
}

static void set_time(struct argp_state *state, struct request *r, const char *name,
		     const char *text)
{
	char word[64];

	snprintf(word, sizeof(word), "%s=%s", name, text);
	if (policy_word(r->policy, word))
		argp_failure(state, EXIT_WARD_USAGE, 0,
			     "'%s' is no time; write a number with s, m, h or d", text);
}

static void set_action(struct argp_state *state, struct request *r, const char *name,
		       const char *text)
{
	char word[64];

	snprintf(word, sizeof(word), "%s=%s", name, text);
	if (policy_word(r->policy, word))
		argp_failure(state, EXIT_WARD_USAGE, 0, "'%s': write lock, unmount or off", text);
}

static void add_options(struct argp_state *state, struct request *r, const char *list)
{
	char *all = NULL;

	if (asprintf(&all, "%s%s%s", r->options ? r->options : "", r->options ? "," : "", list) < 0)
		argp_failure(state, EXIT_WARD_NOMEM, 0, "out of memory");
	free(r->options);
	r->options = all;
}

static void parse_options(struct argp_state *state, struct request *r, const char *text)
{
	char *list = strdup(text);

	if (!list)
		argp_failure(state, EXIT_WARD_NOMEM, 0, "out of memory");
	r->nonempty |= take_nonempty(list);
	take_policy(state, r, list);
	int err = *list ? mountopts_parse(&r->opts, list) : 0;
	if (err == WERR_LIMIT)
		argp_failure(state, EXIT_WARD_LIMIT, 0,
			     "-o: '%s' is out of its bounds; choose %u to %u", r->opts.unknown,
			     r->opts.min, r->opts.max);
	if (err)
		argp_failure(state, EXIT_WARD_USAGE, 0,
			     "-o: unknown or malformed option '%s'; see 'wardfs mount --help'",
			     r->opts.unknown);
	add_options(state, r, list);
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
		add_options(state, r, "ro");
		return 0;
	case KEY_IDLE:
		set_time(state, r, "idle", arg);
		return 0;
	case KEY_MAX_TIME:
		set_time(state, r, "max_time", arg);
		return 0;
	case KEY_SLEEP:
		set_action(state, r, "on_sleep", arg);
		return 0;
	case KEY_SCREEN_LOCK:
		set_action(state, r, "on_screen_lock", arg);
		return 0;
	case KEY_SESSION_END:
		set_action(state, r, "on_session_end", arg);
		return 0;
	case KEY_SIGNAL:
		set_action(state, r, "on_signal", arg);
		return 0;
	case KEY_NO_ANCHOR:
		r->no_anchor = 1;
		return 0;
	case KEY_LOG_NAMES:
		r->log_names = 1;
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
	{"log-names", KEY_LOG_NAMES, NULL, 0,
	 "name the files in the log that were changed outside wardfs", 0},
	{"idle", KEY_IDLE, "T", 0, "lock when nothing was asked of the folder for T (10m, 2h)", 0},
	{"max-time", KEY_MAX_TIME, "T", 0, "lock T after it was unlocked", 0},
	{"sleep", KEY_SLEEP, "A", 0, "before the machine sleeps: lock, unmount or off", 0},
	{"screen-lock", KEY_SCREEN_LOCK, "A", 0, "when the screen is locked: the same", 0},
	{"session-end", KEY_SESSION_END, "A", 0, "when the last session of the user ends", 0},
	{"signal", KEY_SIGNAL, "A", 0, "at SIGUSR1; lock unless said otherwise", 0},
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
	       "max_background=N fsname=NAME subtype=NAME idle=T max_time=T on_idle=A "
	       "on_max_time=A "
	       "on_signal=A on_sleep=A on_screen_lock=A on_session_end=A memory=MIB "
	       "lock_errno=NAME protect noprotect. nosuid, nodev and "
	       "default_permissions are on unless said otherwise. T is a time like 10m, A is lock, "
	       "unmount or off.",
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

static int report_mount(int err, const char *detail, const char *mnt)
{
	if (err == WERR_NODEVICE)
		return report_fail(err, "/dev/fuse",
				   "FUSE is not available here; as root: "
				   "modprobe fuse");
	if (detail[0])
		return report_fail(err, mnt, "cannot be mounted: %s", detail);
	return report_fail(err, mnt, "cannot be mounted: %s", werr_text(err));
}

static int report_error(int err, const char *detail, const struct request *r)
{
	if (r->handover.failed)
		return r->handover.failed;
	if (err == WERR_INTERRUPTED)
		return report_fail(err, r->operands[0], "interrupted; nothing is mounted");
	if (detail[0] && (err == WERR_ROLLBACK || err == WERR_ANCHOR))
		return refusal_report_text(err, r->operands[0], detail);
	switch (r->handover.stage) {
	case HANDOVER_MOUNT:
		return report_mount(err, detail, r->operands[1]);
	case HANDOVER_CLOSE:
		return report_fail(err, r->operands[0],
				   "could not be closed cleanly: %s; the next mount recovers it "
				   "from its journal",
				   werr_text(err));
	case HANDOVER_ENGINE:
		if (detail[0])
			break;
		return refusal_report_engine(err, r->operands[0], 0);
	case HANDOVER_VAULT:
	case HANDOVER_PASSPHRASE:
	case HANDOVER_KEY:
	case HANDOVER_READY:
		break;
	}
	if (detail[0])
		return report_fail(err, r->operands[0], "%s", detail);
	return report_vault(err, r->operands[0]);
}

// ---- the broker ----

// A running wardfsd of this user, or nobody. One that sees other mounts than we do is refused by
// its own check, later.
static int connect_daemon(struct control_client **ret)
{
	char dir[PATH_MAX], path[PATH_MAX + 16];
	int err = rundir_own(dir);

	if (err)
		return err;
	snprintf(path, sizeof(path), "%s/" BROKER_SOCKET, dir);
	return control_connect_path(path, geteuid(), ret);
}

static int connect_private(struct control_client **ret)
{
	int fd;
	int err = broker_start_private(&fd);

	return err ? err : control_connect_fd(fd, ret);
}

static json_t *mount_params(const struct request *r)
{
	json_t *options = json_string(r->options ? r->options : "");
	struct stat st = {0};

	if (!options || stat("/proc/self/ns/mnt", &st)) {
		json_decref(options);
		return NULL;
	}
	return json_pack("{so so so sb sb sb sO sI}", "vault", varlink_path(r->dir), "mountpoint",
			 varlink_path(r->mountpoint), "options", options, "hold", r->foreground,
			 "no_anchor", r->no_anchor, "log_names", r->log_names, "policy", r->policy,
			 "namespace", (json_int_t)st.st_ino);
}

int verb_mount(int argc, char **argv)
{
	struct request r = {.source = SECRETS_SOURCE_INIT};
	struct control_client *c = NULL;

	r.policy = json_object();
	mountopts_init(&r.opts);
	options_parse(&argp, argc, argv, &r);
	int err = check_paths(&r);
	if (!err)
		err = check_device();
	if (err)
		return err;
	if (geteuid() != 0 && (r.opts.suid || r.opts.dev))
		report_warn(r.operands[1],
			    "mounted nosuid,nodev: -o suid and -o dev are for root only");
	r.handover = (struct handover){.source = &r.source,
				       .subject = r.operands[0],
				       .dir = r.dir,
				       .foreground = r.foreground};
	err = connect_daemon(&c);
	if (!err) {
		err = handover_call(&r.handover, c, "Mount", mount_params(&r));
		// It sees other mounts than we do.
		if (err == WERR_NOTSUP) {
			control_close(c);
			c = NULL;
		}
	}
	if (!c) {
		err = connect_private(&c);
		if (err)
			return report_fail(err, r.operands[0], "cannot start the worker: %s",
					   werr_text(err));
		err = handover_call(&r.handover, c, "Mount", mount_params(&r));
	}
	if (err)
		err = report_error(err, control_detail_of(c), &r);
	control_close(c);
	free(r.options);
	json_decref(r.policy);
	return err;
}
