// SPDX-License-Identifier: Apache-2.0
#include "daemon/statedir.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fusefs/host.h"

int statedir_path(char *buf, size_t cap)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	int n;

	if (state && state[0] == '/')
		n = snprintf(buf, cap, "%s/wardfs", state);
	else if (geteuid() == 0)
		n = snprintf(buf, cap, "/var/lib/wardfs");
	else if (home && home[0] == '/')
		n = snprintf(buf, cap, "%s/.local/state/wardfs", home);
	else
		return WERR_NOTFOUND;
	return n > 0 && (size_t)n < cap ? 0 : WERR_NAMETOOLONG;
}

int statedir_vault_path(const uint8_t vault_id[static VAULT_ID_BYTES], char *buf, size_t cap)
{
	char name[ANCHOR_NAME_BYTES];
	int err = statedir_path(buf, cap);

	if (err)
		return err;
	anchor_codec_name(vault_id, name);
	const size_t len = strlen(buf);
	int n = snprintf(buf + len, cap - len, "/%s", name);
	return n > 0 && (size_t)n < cap - len ? 0 : WERR_NAMETOOLONG;
}

// Every folder on the way that is not there yet, for this user only.
static int make_parents(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		int failed = mkdir(path, 0700) && errno != EEXIST;
		int err = failed ? werr_from_errno(errno) : 0;

		*slash = '/';
		// A folder above that may not be written to mostly exists.
		if (err && err != WERR_PERM && err != WERR_READONLY)
			return err;
	}
	return 0;
}

int statedir_own(char *buf, size_t cap)
{
	int err = statedir_path(buf, cap);

	if (!err)
		err = make_parents(buf);
	if (!err && mkdir(buf, 0700) && errno != EEXIST)
		err = werr_from_errno(errno);
	return err;
}

// What others can write to is no place for it: they could put an older one back.
static int check_own(const char *path)
{
	struct stat st;

	if (lstat(path, &st))
		return werr_from_errno(errno);
	if (!S_ISDIR(st.st_mode))
		return WERR_NOTDIR;
	return st.st_uid == geteuid() && !(st.st_mode & 022) ? 0 : WERR_PERM;
}

static int open_vault_dir(void *arg, const uint8_t vault_id[static VAULT_ID_BYTES], int create,
			  struct host **ret)
{
	char path[PATH_MAX];
	int err = statedir_vault_path(vault_id, path, sizeof(path));

	(void)arg;
	if (!err && create)
		err = make_parents(path);
	if (err)
		return err;
	err = host_posix_open(path, create, ret);
	if (err)
		return err;
	err = check_own(path);
	if (err)
		(*ret)->ops->close(*ret);
	return err;
}

int statedir_make(const uint8_t vault_id[static VAULT_ID_BYTES])
{
	struct host *host;
	int err = open_vault_dir(NULL, vault_id, 1, &host);

	if (!err)
		host->ops->close(host);
	return err;
}

int statedir_attach(struct host *host, unsigned flags, struct anchor **ret)
{
	char machine[HOST_NAME_MAX + 1] = "";
	const struct anchor_params params = {
		.open = open_vault_dir,
		.machine = machine,
		.readonly = (flags & STATEDIR_READONLY) != 0,
		.accepting = (flags & STATEDIR_ACCEPTING) != 0,
	};

	if (gethostname(machine, sizeof(machine) - 1))
		machine[0] = 0;
	int err = anchor_new(&params, ret);
	if (!err)
		host->anchor = *ret;
	return err;
}
