// SPDX-License-Identifier: Apache-2.0
#include "tools/check_mounted.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/mountpoint.h"
#include "tools/mounted.h"
#include "tools/report.h"

struct listener {
	struct check_print *print;
	_Atomic int *stop;
};

static enum check_kind kind_of(const char *word)
{
	for (int k = 1; word && k < CHECK_KINDS; k++) {
		if (strcmp(check_word((enum check_kind)k), word) == 0) {
			return (enum check_kind)k;
		}
	}
	return CHECK_NONE;
}

static uint64_t number(const json_t *j, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(j, key));

	return n > 0 ? (uint64_t)n : 0;
}

static const char *string(const json_t *j, const char *key)
{
	return json_string_value(json_object_get(j, key));
}

// Text, or bytes that came as hexadecimal digits.
static const char *text(const json_t *j, const char *key, char *buf, size_t cap)
{
	const char *s = string(j, key);
	char hex_key[32];
	size_t n = 0;

	if (s) {
		return s;
	}
	snprintf(hex_key, sizeof(hex_key), "%s_hex", key);
	s = string(j, hex_key);
	for (; s && s[2 * n] && s[2 * n + 1] && n + 1 < cap; n++) {
		const char pair[3] = {s[2 * n], s[2 * n + 1], 0};

		buf[n] = (char)strtoul(pair, NULL, 16);
	}
	buf[n] = 0;
	return s ? buf : NULL;
}

static void show_finding(struct check_print *p, const json_t *j)
{
	char path[4097], host[4097];
	const char *object = string(j, "object");
	struct check_finding f = {
		.kind = kind_of(string(j, "kind")),
		.number = object ? strtoull(object, NULL, 16) : 0,
		.path = text(j, "path", path, sizeof(path)),
		.host = text(j, "host", host, sizeof(host)),
		.first = number(j, "first_page"),
		.count = number(j, "pages"),
		.found = number(j, "found"),
		.wanted = number(j, "wanted"),
	};

	check_print_finding(p, &f);
}

static int on_reply(void *arg, json_t *reply)
{
	struct listener *l = arg;
	const json_t *finding = json_object_get(reply, "finding");
	const json_t *progress = json_object_get(reply, "progress");

	if (finding) {
		show_finding(l->print, finding);
	}
	if (progress) {
		const struct check_progress p = {
			.objects = number(progress, "objects"),
			.objects_expected = number(progress, "objects_expected"),
			.bytes = number(progress, "bytes"),
			.share = json_number_value(json_object_get(progress, "share")),
		};

		check_print_progress(l->print, &p);
	}
	return atomic_load(l->stop) ? WERR_INTERRUPTED : 0;
}

static void read_totals(const json_t *j, struct check_totals *t)
{
	const json_t *kinds = json_object_get(j, "kinds");

	*t = (struct check_totals){
		.objects = number(j, "objects"),
		.directories = number(j, "directories"),
		.names = number(j, "names"),
		.bytes = number(j, "bytes"),
		.notes = number(j, "notes"),
		.damages = number(j, "damage"),
		.tampered = number(j, "tampering"),
	};
	for (int k = 1; k < CHECK_KINDS; k++) {
		t->kinds[k] = number(kinds, check_word((enum check_kind)k));
	}
}

int check_mounted(const char *mnt, struct check_print *print, _Atomic int *stop,
		  struct check_totals *ret)
{
	struct control_client *c;
	struct listener l = {print, stop};
	const struct control_how how = {.more = 1, .fd = -1, .progress = on_reply, .arg = &l};
	json_t *reply = NULL;
	char detail[256];
	int err = mounted_connect(mnt, &c);

	*ret = (struct check_totals){0};
	if (err) {
		return err;
	}
	check_print_begin(print, mnt, 0);
	err = control_call(c, "Check", json_pack("{sb}", "names", print->names), &how, &reply);
	snprintf(detail, sizeof(detail), "%s", err ? control_detail_of(c) : "");
	control_close(c);
	if (err == 0) {
		read_totals(json_object_get(reply, "totals"), ret);
	}
	json_decref(reply);
	switch (err) {
	case WERR_BUSY:
		return report_fail(err, mnt, "is being checked already");
	case WERR_LOCKED:
		return report_fail(err, mnt, "is locked or being unmounted; unlock it first");
	case 0:
	case WERR_INTERRUPTED:
		return err;
	default:
		return report_fail(err, mnt, "cannot be checked by its worker: %s%s%s",
				   werr_text(err), *detail ? ": " : "", detail);
	}
}

int check_is_mountpoint(const char *path)
{
	struct mountpoint m;
	char real[PATH_MAX];

	return mountpoint_resolve(path, real) == 0 && mountpoint_find(real, &m) == 0 &&
	       strcmp(m.fstype, MOUNTPOINT_FSTYPE) == 0;
}

int check_find_mount(const char *dir, char ret[static PATH_MAX])
{
	char real[PATH_MAX];
	json_t *mounts = NULL;
	const json_t *m;
	size_t i;
	int found = 0;

	if (!realpath(dir, real) || control_status(&mounts)) {
		return 0;
	}
	json_array_foreach(mounts, i, m)
	{
		const char *state = string(m, "state");

		if (state && strcmp(state, "open") == 0 && mounted_path_is(m, "vault", real) &&
		    mounted_path(m, "mountpoint", ret) == 0) {
			found = 1;
		}
	}
	json_decref(mounts);
	return found;
}
