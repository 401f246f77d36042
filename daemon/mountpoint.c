// SPDX-License-Identifier: Apache-2.0
#include "daemon/mountpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/guard.h"

extern char **environ;

// STATX_MNT_ID_UNIQUE of Linux 6.8, which the headers here may not know.
#define MNT_ID_UNIQUE 0x4000u

// ---- /proc/self/mountinfo ----

// Undoes the kernel's \ooo in place.
static void unescape(char *s)
{
	char *out = s;

	while (*s) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*out++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else {
			*out++ = *s++;
		}
	}
	*out = 0;
}

static int take_field(char **rest, char *ret, size_t cap)
{
	char *field = strsep(rest, " \n");

	if (!field || (ret && strlen(field) >= cap))
		return -1;
	if (ret) {
		memcpy(ret, field, strlen(field) + 1);
		unescape(ret);
	}
	return 0;
}

static int has_word(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = list; p; p = strchr(p, ',')) {
		p += *p == ',';
		if (!strncmp(p, word, n) && (p[n] == ',' || p[n] == 0))
			return 1;
	}
	return 0;
}

// proc(5): id parent major:minor root mountpoint options [tags] - type source super-options
static int parse_line(char *line, struct mountpoint *ret)
{
	char options[512], tag[256], super[1024];

	if (take_field(&line, tag, sizeof(tag)) || take_field(&line, NULL, 0) ||
	    take_field(&line, ret->device, sizeof(ret->device)) || take_field(&line, NULL, 0) ||
	    take_field(&line, ret->path, sizeof(ret->path)) ||
	    take_field(&line, options, sizeof(options)))
		return -1;
	ret->id = strtol(tag, NULL, 10);
	do {
		if (take_field(&line, tag, sizeof(tag)))
			return -1;
	} while (strcmp(tag, "-") != 0);
	if (take_field(&line, ret->fstype, sizeof(ret->fstype)) ||
	    take_field(&line, ret->source, sizeof(ret->source)) ||
	    take_field(&line, super, sizeof(super)))
		return -1;
	ret->readonly = has_word(options, "ro") || has_word(super, "ro");
	const char *user = strstr(super, "user_id=");
	ret->user_id = user ? strtol(user + strlen("user_id="), NULL, 10) : -1;
	return 0;
}

int mountpoint_each(mountpoint_fn fn, void *arg)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	struct mountpoint m;
	char *line = NULL;
	size_t cap = 0;
	int err = 0;

	if (!f)
		return werr_from_errno(errno);
	// A line that does not parse (too long for us) is no mount of ours.
	while (!err && getline(&line, &cap, f) >= 0) {
		if (!parse_line(line, &m))
			err = fn(arg, &m);
	}
	free(line);
	fclose(f);
	return err;
}

struct search {
	const char *path;
	struct mountpoint *ret;
	int found;
};

static int match(void *arg, const struct mountpoint *m)
{
	struct search *s = arg;

	if (!strcmp(m->path, s->path)) {
		*s->ret = *m;
		s->found = 1;
	}
	return 0;
}

int mountpoint_find(const char *path, struct mountpoint *ret)
{
	struct search s = {.path = path, .ret = ret};
	int err = mountpoint_each(match, &s);

	if (err)
		return err;
	return s.found ? 0 : WERR_NOTFOUND;
}

uint64_t mountpoint_unique_id(const char *path)
{
	struct statx st = {0};

	// Without synchronizing, no request is made of the filesystem.
	if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT | AT_SYMLINK_NOFOLLOW,
		  MNT_ID_UNIQUE, &st) ||
	    !(st.stx_mask & MNT_ID_UNIQUE))
		return 0;
	return st.stx_mnt_id;
}

// ---- paths ----

// "a/b/c//" -> the length without the slashes at the end, and where the last component starts.
static void split_path(const char *path, size_t *ret_len, size_t *ret_base)
{
	size_t len = strlen(path), base;

	while (len > 1 && path[len - 1] == '/')
		len--;
	for (base = len; base > 0 && path[base - 1] != '/'; base--) {
	}
	*ret_len = len;
	*ret_base = base;
}

static int resolve_all(const char *path, char ret[static PATH_MAX])
{
	return realpath(path, ret) ? 0 : werr_from_errno(errno);
}

int mountpoint_resolve(const char *path, char ret[static PATH_MAX])
{
	char parent[PATH_MAX], resolved[PATH_MAX], joined[PATH_MAX];
	struct mountpoint m;
	size_t len, base;

	split_path(path, &len, &base);
	const char *name = path + base;
	size_t name_len = len - base;
	if (name_len == 0 || !strncmp(name, ".", name_len) || !strncmp(name, "..", name_len))
		return resolve_all(path, ret);
	int n = snprintf(parent, sizeof(parent), "%.*s", base ? (int)base : 1, base ? path : ".");
	if (n < 0 || (size_t)n >= sizeof(parent))
		return WERR_NAMETOOLONG;
	int err = resolve_all(parent, resolved);
	if (err)
		return err;
	n = snprintf(joined, sizeof(joined), "%s/%.*s", strcmp(resolved, "/") ? resolved : "",
		     (int)name_len, name);
	if (n < 0 || (size_t)n >= sizeof(joined))
		return WERR_NAMETOOLONG;
	// A mount point is no link; only the path to something else is followed to its end.
	if (mountpoint_find(joined, &m))
		return resolve_all(joined, ret);
	memcpy(ret, joined, strlen(joined) + 1);
	return 0;
}

static int check_empty(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *d;
	int err = 0;

	if (!dir)
		return werr_from_errno(errno);
	while (!err && (d = readdir(dir))) {
		if (strcmp(d->d_name, ".") && strcmp(d->d_name, ".."))
			err = WERR_NOTEMPTY;
	}
	closedir(dir);
	return err;
}

int mountpoint_check(const char *path, int nonempty)
{
	struct mountpoint m;
	struct stat st;

	if (!mountpoint_find(path, &m) && !strncmp(m.fstype, "fuse", 4))
		return WERR_BUSY;
	if (stat(path, &st))
		return werr_from_errno(errno);
	if (!S_ISDIR(st.st_mode))
		return WERR_NOTDIR;
	// Closed by an earlier mount, it was empty; the next one opens it.
	if (guard_is_closed(st.st_mode) && st.st_uid == geteuid())
		return 0;
	if (geteuid() != 0 && access(path, W_OK | X_OK))
		return werr_from_errno(errno);
	return nonempty ? 0 : check_empty(path);
}

// ---- unmounting ----

static int spawn_fusermount(const char *path, int lazy, pid_t *ret)
{
	char *argv[] = {(char *)"fusermount3", (char *)"-u", (char *)"-q",
			(char *)"--",          (char *)path, NULL};
	char *argv_lazy[] = {(char *)"fusermount3", (char *)"-u", (char *)"-q", (char *)"-z",
			     (char *)"--",          (char *)path, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none;

	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	sigemptyset(&none);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	int err =
		posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	if (!err)
		err = posix_spawnp(ret, "fusermount3", &actions, &attr, lazy ? argv_lazy : argv,
				   environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return werr_from_errno(err);
}

// fusermount3 says with one status only that it failed; the reason is looked up.
static int unmount_error(const char *path)
{
	struct mountpoint m;

	if (mountpoint_find(path, &m))
		return 0;
	if (m.user_id != (int64_t)getuid())
		return WERR_PERM;
	// It reads there what an ordinary user may unmount.
	return access("/etc/mtab", R_OK) ? WERR_NOTSUP : WERR_BUSY;
}

static int unmount_as_user(const char *path, int lazy)
{
	int status = 0;
	pid_t pid;
	int err = spawn_fusermount(path, lazy, &pid);

	if (err)
		return err;
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return WERR_IO;
	}
	return status ? unmount_error(path) : 0;
}

int mountpoint_unmount(const char *path, int lazy)
{
	if (geteuid() != 0)
		return unmount_as_user(path, lazy);
	if (umount2(path, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)))
		return werr_from_errno(errno);
	return 0;
}
