// SPDX-License-Identifier: Apache-2.0
#include "tools/edit_mounted.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/control_client.h"
#include "tools/mounted.h"
#include "tools/report.h"

#define MESSAGE_BYTES (ROOT_KEY_BYTES + VAULT_HEADER_BYTES)

// The mount of a vault, as its service describes it (borrowed from mounts), or NULL.
static const json_t *find_mount(const json_t *mounts, const char *dir)
{
	char real[PATH_MAX];
	const json_t *m;
	size_t i;

	if (!realpath(dir, real))
		return NULL;
	json_array_foreach(mounts, i, m)
	{
		if (mounted_path_is(m, "vault", real) || mounted_path_is(m, "mountpoint", real))
			return m;
	}
	return NULL;
}

static int hex_value(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

// The header in a reply; buf: VAULT_HEADER_BYTES.
static int take_header(const json_t *reply, uint8_t *buf)
{
	const char *text = json_string_value(json_object_get(reply, "header"));

	if (!text || strlen(text) != 2 * (size_t)VAULT_HEADER_BYTES)
		return WERR_MALFORMED;
	for (size_t i = 0; i < VAULT_HEADER_BYTES; i++) {
		int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return WERR_MALFORMED;
		buf[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

static int get_header(struct edit *e)
{
	json_t *reply = NULL;
	uint8_t *buf = malloc(VAULT_HEADER_BYTES);
	int err = buf ? control_call(e->client, "Header", NULL, NULL, &reply) : WERR_NOMEM;

	if (!err)
		err = take_header(reply, buf);
	if (!err)
		err = vault_header_peek(buf, VAULT_HEADER_BYTES, e->sealed.vault_id,
					e->sealed.infos);
	json_decref(reply);
	if (err)
		free(buf);
	else
		e->sealed.buf[0] = buf;
	return err;
}

int edit_mounted_report(int err, const struct edit *e)
{
	switch (err) {
	case WERR_LOCKED:
		return report_fail(err, e->dir,
				   "is mounted and locked; unlock it with 'wardfs unlock %s', or "
				   "unmount it, then try again",
				   e->mnt);
	case WERR_BUSY:
		return report_fail(err, e->dir,
				   "is frozen, or its secrets were changed just now; try again "
				   "('wardfs thaw %s' ends a freeze)",
				   e->mnt);
	case WERR_READONLY:
		return report_fail(err, e->dir,
				   "is mounted read-only, and nothing is written to it; unmount "
				   "it, then try again");
	case WERR_LIMIT:
		return report_fail(err, e->dir,
				   "no room for another epoch of keys; unmount it, then "
				   "'wardfs rotate' drops the old ones");
	case WERR_NOSPACE:
	case WERR_QUOTA:
	case WERR_IO:
		return report_fail(err, e->dir,
				   "nothing was changed: %s; end the cause, then try again",
				   werr_text(err));
	default:
		return report_fail(err, e->dir, "its worker does not change the secrets: %s%s%s",
				   werr_text(err), *control_detail_of(e->client) ? "; " : "",
				   control_detail_of(e->client));
	}
}

// What rekey_apply would refuse.
static int refusal_of(const json_t *m)
{
	if (json_is_true(json_object_get(m, "mounted_readonly")) ||
	    json_is_true(json_object_get(m, "readonly")))
		return WERR_READONLY;
	return json_is_true(json_object_get(m, "frozen")) ? WERR_BUSY : 0;
}

int edit_mounted_begin(struct edit *e, int *ret)
{
	json_t *mounts = NULL;
	int err = 0;

	*ret = 0;
	if (control_status(&mounts))
		return 0;
	const json_t *m = find_mount(mounts, e->dir);
	const char *state = json_string_value(json_object_get(m, "state"));
	if (state && mounted_path(m, "mountpoint", e->mnt) == 0) {
		*ret = 1;
		e->refusal = refusal_of(m);
		err = strcmp(state, "open") ? WERR_LOCKED : control_connect(e->mnt, &e->client);
		if (!err)
			err = get_header(e);
		if (err)
			err = e->client || err == WERR_LOCKED
				      ? edit_mounted_report(err, e)
				      : report_fail(err, e->dir, "its worker cannot be asked: %s",
						    werr_text(err));
	}
	json_decref(mounts);
	return err;
}

// A pipe with root key and header in it.
static int fill_pipe(const struct edit *e, int *ret)
{
	uint8_t *buf = malloc(VAULT_HEADER_BYTES);
	const uint8_t *root_key = NULL;
	int fds[2] = {-1, -1};
	int err = buf ? vault_edit_encode(e->vault, &root_key, buf) : WERR_NOMEM;

	if (!err && pipe2(fds, O_CLOEXEC))
		err = werr_from_errno(errno);
	// All of it has to fit: nobody reads yet.
	if (!err && (fcntl(fds[1], F_SETPIPE_SZ, MESSAGE_BYTES) < MESSAGE_BYTES ||
		     write(fds[1], root_key, ROOT_KEY_BYTES) != ROOT_KEY_BYTES ||
		     write(fds[1], buf, VAULT_HEADER_BYTES) != VAULT_HEADER_BYTES))
		err = WERR_IO;
	free(buf);
	if (fds[1] >= 0)
		close(fds[1]);
	if (err && fds[0] >= 0)
		close(fds[0]);
	if (!err)
		*ret = fds[0];
	return err;
}

int edit_mounted_write(struct edit *e, int *ret_in_force)
{
	json_t *reply = NULL;
	uint8_t *buf = malloc(VAULT_HEADER_BYTES);
	int fd = -1;
	int err = buf ? fill_pipe(e, &fd) : WERR_NOMEM;

	*ret_in_force = 0;
	if (!err) {
		const struct control_how how = {.fd = fd};

		err = control_call(e->client, "ChangeKeyslots", NULL, &how, &reply);
		close(fd);
		*ret_in_force = err && *control_detail_of(e->client) != 0;
	}
	if (!err)
		err = take_header(reply, buf);
	if (!err)
		err = vault_edit_follow(e->vault, buf);
	json_decref(reply);
	free(buf);
	return err;
}
