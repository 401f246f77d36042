// SPDX-License-Identifier: Apache-2.0
#include "tools/check_repair.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "crypto/secret.h"
#include "fusefs/fs.h"
#include "tools/report.h"

#define REPORT_MAX_BYTES (16u << 20)
#define REPORT_NAME "report.txt"

static void add(struct check_repair *c, const char *text)
{
	size_t n = strlen(text);

	if (c->report_len + n + 1 > REPORT_MAX_BYTES) {
		return;
	}
	if (c->report_len + n + 1 > c->report_cap) {
		size_t cap = c->report_cap ? c->report_cap * 2 : 65536;
		char *grown = malloc(cap);

		if (!grown) {
			return;
		}
		if (c->report_len) {
			memcpy(grown, c->report, c->report_len);
			secret_wipe(c->report, c->report_len);
		}
		free(c->report);
		c->report = grown;
		c->report_cap = cap;
	}
	memcpy(c->report + c->report_len, text, n + 1);
	c->report_len += n;
}

void check_repair_init(struct check_repair *c, struct check_print *print)
{
	char date[32];
	time_t now = time(NULL);
	struct tm tm;

	*c = (struct check_repair){.print = print};
	gmtime_r(&now, &tm);
	strftime(date, sizeof(date), "%Y%m%d-%H%M%S", &tm);
	snprintf(c->quarantine, sizeof(c->quarantine), "wardfs-quarantine-%s", date);
	strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
	add(c, "wardfs check --repair, ");
	add(c, date);
	add(c,
	    " UTC\n\n"
	    "What was recovered by object (rebuilt, quarantined, link-rebuilt) is authentic, but\n"
	    "nothing proves that it is the newest state, nor that it had not been deleted: look\n"
	    "at it before you rely on it. Files with holes carry the attribute\n"
	    "user.wardfs.damaged, recovered ones user.wardfs.recovered.\n\n");
}

void check_repair_clear(struct check_repair *c)
{
	if (c->report) {
		secret_wipe(c->report, c->report_len);
	}
	free(c->report);
	c->report = NULL;
}

static int ask(const char *question)
{
	char answer[16] = "";
	int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);

	if (fd < 0) {
		return 0;
	}
	dprintf(fd, "%s [y/N] ", question);
	ssize_t n = read(fd, answer, sizeof(answer) - 1);
	close(fd);
	return n > 0 && (answer[0] == 'y' || answer[0] == 'Y');
}

int check_repair_ask(const char *dir, const struct check_totals *t, int yes)
{
	char question[160];
	uint64_t losing = 0;

	for (int k = 1; k < CHECK_KINDS; k++) {
		losing += check_loses((enum check_kind)k) ? t->kinds[k] : 0;
	}
	if (yes || losing == 0) {
		return 0;
	}
	snprintf(question, sizeof(question),
		 "For %" PRIu64 " of these findings what cannot be read is given up for good. "
		 "Repair?",
		 losing);
	if (ask(question)) {
		return 0;
	}
	return report_fail(
		WERR_DAMAGED, dir,
		"nothing was changed: to repair it something has to be given up; look at "
		"the findings, make a copy of the vault, then use --yes");
}

static void on_act(void *arg, const struct repair_act *act)
{
	struct check_repair *c = arg;
	char shown[4 * 4096 + 8] = "", line[sizeof(shown) + 400], pages[64] = "";

	if (act->path) {
		report_escape(act->path[0] ? act->path : "/", shown, sizeof(shown));
	}
	if (act->count) {
		snprintf(pages, sizeof(pages), ", bytes %" PRIu64 " to %" PRIu64, act->first * 4096,
			 (act->first + act->count) * 4096 - 1);
	}
	snprintf(line, sizeof(line), "%s: object %016" PRIx64 "%s%s%s: %s\n",
		 repair_word(act->kind), act->number, pages, *shown ? ", " : "", shown,
		 repair_meaning(act->kind));
	add(c, line);
	c->listed++;
	check_print_clear(c->print);
	if (!c->print->json) {
		fputs("repaired: ", stdout);
		if (c->print->names) {
			fputs(line, stdout);
		} else {
			printf("%s: object %016" PRIx64 "%s: %s\n", repair_word(act->kind),
			       act->number, pages, repair_meaning(act->kind));
		}
	}
	secret_wipe(line, sizeof(line));
}

int check_repair_round(struct check_repair *c, struct vault *v, struct check_plan *plan)
{
	struct repair r = {
		.params = {.plan = plan, .quarantine = c->quarantine, .did = on_act, .arg = c}};
	struct fs *fs;

	vault_set_readonly(v, 0);
	int err = repair_open(v, &r, &fs);
	if (!err) {
		err = fs_close(fs);
	}
	vault_set_readonly(v, 1);
	c->acts += r.acts;
	repair_clear(&r);
	return err;
}

// The directory of this repair, made where there is none yet.
static int quarantine_dir(struct fs *fs, const char *name, uint64_t *ret)
{
	const struct fs_make make = {
		.type = OBJECT_DIR, .mode = 0700, .uid = geteuid(), .gid = getegid()};
	struct fs_stat st;
	int err = fs_lookup(fs, FS_ROOT, name, &st);

	if (err == WERR_NOTFOUND) {
		err = fs_make(fs, FS_ROOT, name, &make, &st);
	}
	*ret = st.ino;
	return err;
}

static int write_in_vault(const struct check_repair *c, struct vault *v)
{
	const struct fs_params params = {.manual = 1};
	const struct fs_make make = {
		.type = OBJECT_FILE, .mode = 0600, .uid = geteuid(), .gid = getegid()};
	struct fs_stat st = {0};
	struct fs *fs;
	uint64_t dir;

	vault_set_readonly(v, 0);
	int err = fs_open(v, &params, &fs);
	if (!err) {
		err = quarantine_dir(fs, c->quarantine, &dir);
		if (!err) {
			err = fs_make(fs, dir, REPORT_NAME, &make, &st);
		}
		if (!err) {
			err = fs_write(fs, st.ino, 0, c->report, c->report_len, 0);
		}
		int closed = fs_close(fs);
		err = err ? err : closed;
	}
	vault_set_readonly(v, 1);
	return err;
}

static int write_file(const struct check_repair *c, const char *file)
{
	int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	size_t done = 0;

	if (fd < 0) {
		return werr_from_errno(errno);
	}
	while (done < c->report_len) {
		ssize_t n = write(fd, c->report + done, c->report_len - done);

		if (n < 0 && errno != EINTR) {
			int err = werr_from_errno(errno);

			close(fd);
			return err;
		}
		done += n > 0 ? (size_t)n : 0;
	}
	return close(fd) ? werr_from_errno(errno) : 0;
}

int check_repair_report(struct check_repair *c, struct vault *v, const char *file)
{
	int err = c->acts ? write_in_vault(c, v) : 0;

	c->in_vault = c->acts && !err;
	if (!err && file) {
		err = write_file(c, file);
		if (err) {
			return report_fail(err, file, "the report cannot be written: %s",
					   werr_text(err));
		}
		return 0;
	}
	return err ? report_fail(err, NULL, "the report cannot be written into the vault: %s",
				 werr_text(err))
		   : 0;
}
