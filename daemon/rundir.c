// SPDX-License-Identifier: Apache-2.0
#include "daemon/rundir.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

__attribute__((format(printf, 2, 3))) static void add(struct rundir *d, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(d->path[d->len], PATH_MAX, fmt, ap);
	va_end(ap);
	if (n <= 0 || n >= PATH_MAX)
		return;
	// $XDG_RUNTIME_DIR mostly is /run/user/UID.
	if (d->len == 0 || strcmp(d->path[d->len], d->path[0]) != 0)
		d->len++;
}

void rundir_of(uid_t uid, struct rundir *ret)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");

	ret->len = 0;
	if (uid == 0) {
		add(ret, "/run/wardfs");
		return;
	}
	if (xdg && xdg[0] == '/' && uid == geteuid())
		add(ret, "%s/wardfs", xdg);
	add(ret, "/run/user/%u/wardfs", uid);
	add(ret, "/tmp/wardfs-%u", uid);
}

int rundir_check(const char *path, uid_t uid)
{
	struct stat st;

	if (lstat(path, &st))
		return werr_from_errno(errno);
	if (!S_ISDIR(st.st_mode) || st.st_uid != uid || (st.st_mode & 022))
		return WERR_PERM;
	return 0;
}

int rundir_own(char ret[static PATH_MAX])
{
	struct rundir d;

	rundir_of(geteuid(), &d);
	for (unsigned i = 0; i < d.len; i++) {
		if (mkdir(d.path[i], 0700) && errno != EEXIST)
			continue;
		if (rundir_check(d.path[i], geteuid()))
			continue;
		memcpy(ret, d.path[i], PATH_MAX);
		return 0;
	}
	return WERR_NOTFOUND;
}

static int each_in(const char *path, uid_t uid, rundir_fn fn, void *arg)
{
	struct dirent *d;
	int stop = 0;

	if (rundir_check(path, uid))
		return 0;
	DIR *dir = opendir(path);
	while (!stop && dir && (d = readdir(dir))) {
		char name[PATH_MAX];
		int n = snprintf(name, sizeof(name), "%s/%s", path, d->d_name);

		if (d->d_name[0] != '.' && n > 0 && (size_t)n < sizeof(name))
			stop = fn(arg, name, uid);
	}
	if (dir)
		closedir(dir);
	return stop;
}

int rundir_each(uid_t uid, rundir_fn fn, void *arg)
{
	struct rundir d;
	int stop = 0;

	rundir_of(uid, &d);
	for (unsigned i = 0; i < d.len && !stop; i++)
		stop = each_in(d.path[i], uid, fn, arg);
	return stop;
}
