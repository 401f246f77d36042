// SPDX-License-Identifier: Apache-2.0
#include "daemon/guard.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "daemon/mountpoint.h"

#define MODE_BITS 07777u
#define RECORD_BYTES 32
#define USERS_RECORD "user.wardfs.underneath"

// root's is out of reach for the directory's owner, who would otherwise say what mode root gives.
static const char *record_name(void)
{
	return geteuid() == 0 ? "trusted.wardfs.underneath" : USERS_RECORD;
}

int guard_is_closed(unsigned mode)
{
	return (mode & MODE_BITS) == 0;
}

// ---- the flag ----

static int set_immutable(int fd, int on)
{
	int flags = 0;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags))
		return werr_from_errno(errno);
	int wanted = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
	if (wanted != flags && ioctl(fd, FS_IOC_SETFLAGS, &wanted))
		return werr_from_errno(errno);
	return 0;
}

static int is_immutable(int fd)
{
	int flags = 0;

	return !ioctl(fd, FS_IOC_GETFLAGS, &flags) && (flags & FS_IMMUTABLE_FL);
}

// ---- how it was ----

// "MODE STAYS", in octal. 0: it is as its owner made it.
static int read_record(int fd, unsigned *ret_mode, int *ret_stays)
{
	char text[RECORD_BYTES];
	ssize_t n = fgetxattr(fd, record_name(), text, sizeof(text) - 1);

	if (n <= 0)
		return 0;
	text[n] = 0;
	return sscanf(text, "%o %d", ret_mode, ret_stays) == 2 && *ret_mode <= MODE_BITS;
}

// The flag first: nothing else can be changed under it. Then the mode: of a directory of mode 0 its
// own owner cannot read the attribute. The record of one that is not closed is stale, or was
// written by somebody who may write there: what it says does not count.
static int undo(int fd, int *ret_stays)
{
	unsigned mode = 0;
	struct stat st;

	*ret_stays = 0;
	if (fstat(fd, &st))
		return werr_from_errno(errno);
	int blind = guard_is_closed(st.st_mode) && st.st_uid == geteuid();
	int immutable = is_immutable(fd);
	if (blind && !immutable && fchmod(fd, 0700))
		return werr_from_errno(errno);
	if (!read_record(fd, &mode, ret_stays)) {
		if (blind && !immutable)
			(void)!fchmod(fd, 0);
		return 0;
	}
	if (!guard_is_closed(st.st_mode) && !immutable) {
		*ret_stays = 0;
		(void)!fremovexattr(fd, record_name());
		return 0;
	}
	int err = immutable ? set_immutable(fd, 0) : 0;
	if (!err && (fchmod(fd, mode) || fremovexattr(fd, record_name())))
		err = werr_from_errno(errno);
	return err;
}

// ---- opening ----

static int check_empty(int fd)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
	struct dirent *d;
	int err = 0;

	if (!dir) {
		err = werr_from_errno(errno);
		if (copy >= 0)
			close(copy);
		return err;
	}
	while (!err && (d = readdir(dir))) {
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			err = WERR_NOTEMPTY;
	}
	closedir(dir);
	return err;
}

// The path is resolved already: a link in it was put there since.
static int open_place(const char *path, int flags)
{
	const struct open_how how = {.flags = (uint64_t)flags, .resolve = RESOLVE_NO_SYMLINKS};
	int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));

	return fd < 0 && errno == ENOSYS ? open(path, flags) : fd;
}

// A directory of mode 0 opens for its owner only when it is given back for a moment.
static int open_closed(const char *path)
{
	int place = open_place(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), fd = -1;
	char name[64];
	struct stat st;

	if (place < 0)
		return -1;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", place);
	if (!fstat(place, &st) && guard_is_closed(st.st_mode) && st.st_uid == geteuid() &&
	    !chmod(name, 0700)) {
		fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		(void)!chmod(name, 0);
	}
	close(place);
	return fd;
}

int guard_open(const char *path, struct guard *ret)
{
	struct mountpoint m;
	int stays = 0;

	*ret = GUARD_NONE;
	// An automount point would wait for the very mount that is being made.
	if (!mountpoint_find(path, &m))
		return WERR_BUSY;
	int fd = open_place(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == EACCES)
		fd = open_closed(path);
	if (fd < 0)
		return werr_from_errno(errno);
	int err = undo(fd, &stays);
	if (!err)
		err = check_empty(fd);
	if (err)
		close(fd);
	else
		*ret = (struct guard){.fd = fd, .stays = stays};
	return err;
}

// ---- closing ----

int guard_close(struct guard *g, int hard)
{
	char text[RECORD_BYTES];
	struct stat st;

	if (g->fd < 0 || fstat(g->fd, &st))
		return WERR_NOTSUP;
	// One that its owner has closed is none of ours.
	if (guard_is_closed(st.st_mode) || is_immutable(g->fd))
		return 0;
	int n = snprintf(text, sizeof(text), "%04o %d", (unsigned)st.st_mode & MODE_BITS,
			 g->stays != 0);
	if (fsetxattr(g->fd, record_name(), text, (size_t)n, 0))
		return WERR_NOTSUP;
	if ((!hard || set_immutable(g->fd, 1)) && fchmod(g->fd, 0)) {
		int err = werr_from_errno(errno);

		(void)!fremovexattr(g->fd, record_name());
		return err;
	}
	g->closed = 1;
	return 0;
}

void guard_end(struct guard *g)
{
	int stays;

	if (g->fd < 0)
		return;
	if (g->closed && !g->stays)
		(void)!undo(g->fd, &stays);
	close(g->fd);
	*g = GUARD_NONE;
}

// ---- looking ----

int guard_is_closed_at(const char *path)
{
	struct stat st;

	if (lstat(path, &st))
		return 0;
	if (guard_is_closed(st.st_mode))
		return 1;
	const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return 0;
	int ret = is_immutable(fd);
	close(fd);
	return ret;
}

int guard_has_record_of_user(const char *path)
{
	return geteuid() == 0 && lgetxattr(path, USERS_RECORD, NULL, 0) > 0;
}
