// SPDX-License-Identifier: Apache-2.0
#include "tools/mounted.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/mountpoint.h"
#include "daemon/varlink.h"
#include "tools/report.h"

int mounted_connect(const char *mnt, struct control_client **ret)
{
	struct mountpoint m;
	char path[PATH_MAX];
	int err = mountpoint_resolve(mnt, path);

	if (err)
		return report_fail(err, mnt, "no mount point: %s; see 'wardfs status'",
				   werr_text(err));
	err = control_connect(path, ret);
	if (!err)
		return 0;
	if (err != WERR_NOTFOUND)
		return report_fail(err, mnt, "its worker cannot be asked: %s", werr_text(err));
	if (!mountpoint_find(path, &m) && !strcmp(m.fstype, MOUNTPOINT_FSTYPE))
		return report_fail(err, mnt,
				   "its worker does not answer, or belongs to another user; see "
				   "'wardfs status'");
	return report_fail(err, mnt, "no vault is mounted here; see 'wardfs status'");
}

int mounted_path(const json_t *mount, const char *key, char ret[static PATH_MAX])
{
	char *path = varlink_path_of(json_object_get(mount, key));

	if (!path)
		return WERR_NOTFOUND;
	snprintf(ret, PATH_MAX, "%s", path);
	free(path);
	return 0;
}

int mounted_path_is(const json_t *mount, const char *key, const char *real)
{
	char path[PATH_MAX];

	return mounted_path(mount, key, path) == 0 && !strcmp(path, real);
}

int mounted_vault(const char *dir, char ret[static PATH_MAX])
{
	char real[PATH_MAX];
	json_t *mounts = NULL, *m;
	int found = 0;
	size_t i;

	if (mountpoint_resolve(dir, real) || control_status(&mounts))
		return 0;
	json_array_foreach(mounts, i, m)
	{
		if (!found && mounted_path_is(m, "mountpoint", real))
			found = mounted_path(m, "vault", ret) == 0;
	}
	json_decref(mounts);
	return found;
}

uint64_t mounted_seconds(struct argp_state *state, const char *option, const char *text,
			 uint64_t min, uint64_t max)
{
	static const struct {
		const char *suffix;
		uint64_t seconds;
	} units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}};
	char *end = NULL;
	uint64_t unit = 0;

	errno = 0;
	unsigned long long n = isdigit((unsigned char)*text) ? strtoull(text, &end, 10) : 0;
	for (size_t i = 0; end && !errno && i < sizeof(units) / sizeof(units[0]); i++) {
		if (!strcmp(end, units[i].suffix))
			unit = units[i].seconds;
	}
	if (!unit)
		argp_failure(state, EXIT_WARD_USAGE, 0,
			     "--%s: '%s' is no time; write a number with s, m or h", option, text);
	else if (n > max || n * unit < min || n * unit > max)
		argp_failure(state, EXIT_WARD_LIMIT, 0,
			     "--%s: %s is out of bounds; choose %llus to %llus", option, text,
			     (unsigned long long)min, (unsigned long long)max);
	return n * unit;
}
