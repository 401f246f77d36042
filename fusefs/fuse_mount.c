// SPDX-License-Identifier: Apache-2.0
// Mounting and unmounting, and the kernel's limits for the mount.
#include "fusefs/fuse_private.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_AHEAD_KB "1024"

// What libfuse said last, and errno at that moment. Mounting is done by one thread at a time.
static pthread_mutex_t said_lock = PTHREAD_MUTEX_INITIALIZER;
static char said[256];
static int said_errno;

static void say(const char *text, int err)
{
	static const char prefix[] = "fuse: ";

	if (strncmp(text, prefix, sizeof(prefix) - 1) == 0)
		text += sizeof(prefix) - 1;
	size_t len = strcspn(text, "\n");
	if (len == 0)
		return;
	if (len >= sizeof(said))
		len = sizeof(said) - 1;
	pthread_mutex_lock(&said_lock);
	memcpy(said, text, len);
	said[len] = '\0';
	said_errno = err;
	pthread_mutex_unlock(&said_lock);
}

__attribute__((format(printf, 2, 0))) static void log_line(enum fuse_log_level level,
							   const char *fmt, va_list ap)
{
	int err = errno;
	char line[256];

	(void)level;
	if (vsnprintf(line, sizeof(line), fmt, ap) > 0)
		say(line, err);
}

void fuse_capture_log(void)
{
	fuse_set_log_func(log_line);
	pthread_mutex_lock(&said_lock);
	said[0] = '\0';
	said_errno = 0;
	pthread_mutex_unlock(&said_lock);
}

const char *fuse_server_error(void)
{
	return said;
}

// fusermount3, and libfuse in places, write to standard error: caught in memory, so that the caller
// can report one line.
static int catch_begin(int *ret_saved)
{
	int caught = memfd_create("wardfs", MFD_CLOEXEC);

	*ret_saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	if (caught < 0 || *ret_saved < 0)
		return caught;
	fflush(stderr);
	(void)dup2(caught, STDERR_FILENO);
	return caught;
}

static void catch_end(int caught, int saved)
{
	char text[4096];

	if (saved >= 0) {
		fflush(stderr);
		(void)dup2(saved, STDERR_FILENO);
		close(saved);
	}
	if (caught < 0)
		return;
	ssize_t n = pread(caught, text, sizeof(text) - 1, 0);
	close(caught);
	if (n <= 0)
		return;
	text[n] = '\0';
	char *line, *rest = text;
	while ((line = strsep(&rest, "\n")) != NULL)
		say(line, 0);
}

// Undoes the octal escapes of /proc/self/mountinfo, in place.
static void unescape(char *text)
{
	char *out = text;

	for (; *text != '\0'; out++) {
		if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] != '\0' &&
		    text[3] != '\0') {
			*out = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 |
				      (text[3] - '0'));
			text += 4;
		} else {
			*out = *text++;
		}
	}
	*out = '\0';
}

// The topmost mount at a path: its device number and whether it is a FUSE one. false: nothing is
// mounted there.
static bool find_mount(const char *path, uint64_t *ret_device, bool *ret_fuse)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t cap = 0;
	bool found = false;

	if (f == NULL)
		return false;
	while (getline(&line, &cap, f) > 0) {
		unsigned major_, minor_;
		int start, end;

		if (sscanf(line, "%*s %*s %u:%u %*s %n%*s%n", &major_, &minor_, &start, &end) < 2)
			continue;
		char *type = strstr(line + end, " - ");
		line[end] = '\0';
		unescape(line + start);
		if (type == NULL || strcmp(line + start, path) != 0)
			continue;
		found = true;
		*ret_device = makedev(major_, minor_);
		*ret_fuse = strncmp(type + 3, "fuse", 4) == 0;
	}
	free(line);
	fclose(f);
	return found;
}

// What libfuse would fail with, seen beforehand where the reason can be told.
static int check_place(const char *path, char **ret_real)
{
	struct stat st;
	uint64_t device;
	bool is_fuse;

	if (find_mount(path, &device, &is_fuse) && is_fuse)
		return WERR_BUSY;
	char *real = realpath(path, NULL);
	if (real == NULL)
		return errno == ENOTCONN ? WERR_BUSY : werr_from_errno(errno);
	int err = 0;
	if (find_mount(real, &device, &is_fuse) && is_fuse)
		err = WERR_BUSY;
	else if (stat(real, &st) != 0)
		err = errno == ENOTCONN ? WERR_BUSY : werr_from_errno(errno);
	else if (!S_ISDIR(st.st_mode))
		err = WERR_NOTDIR;
	if (err != 0) {
		free(real);
		return err;
	}
	*ret_real = real;
	return 0;
}

static int check_device(void)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd >= 0) {
		close(fd);
		return 0;
	}
	if (errno == EACCES || errno == EPERM)
		return WERR_PERM;
	return errno == EMFILE || errno == ENFILE ? WERR_MFILE : WERR_NODEVICE;
}

static int mount_failure(void)
{
	static const struct {
		const char *text;
		int err;
	} causes[] = {
		{"modprobe", WERR_NODEVICE},       {"device not found", WERR_NODEVICE},
		{"No such file", WERR_NOTFOUND},   {"Not a directory", WERR_NOTDIR},
		{"not a directory", WERR_NOTDIR},  {"busy", WERR_BUSY},
		{"Transport endpoint", WERR_BUSY},
	};

	pthread_mutex_lock(&said_lock);
	int err = said_errno != 0 ? werr_from_errno(said_errno) : WERR_PERM;
	for (size_t i = 0; said_errno == 0 && i < sizeof(causes) / sizeof(causes[0]); i++)
		if (strstr(said, causes[i].text) != NULL)
			err = causes[i].err;
	pthread_mutex_unlock(&said_lock);
	return err == WERR_NOTPERMITTED ? WERR_PERM : err;
}

int fuse_mount_place(struct fuse_server *s, const char *mountpoint)
{
	char *real = NULL;
	int saved;
	int err = check_device();

	if (err == 0)
		err = check_place(mountpoint, &real);
	if (err != 0) {
		say(werr_text(err), 0);
		return err;
	}
	int caught = catch_begin(&saved);
	int failed = fuse_session_mount(s->se, real);
	catch_end(caught, saved);
	if (failed != 0) {
		free(real);
		return mount_failure();
	}
	s->mountpoint = real;
	s->fd = fuse_session_fd(s->se);
	return 0;
}

static void write_limit(uint64_t device, const char *name, const char *value)
{
	char path[96];

	(void)snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/%s", major(device), minor(device),
		       name);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	// An older kernel may lack one: slower, not wrong.
	ssize_t n = write(fd, value, strlen(value));
	(void)n;
	close(fd);
}

void fuse_mount_tune(struct fuse_server *s)
{
	bool is_fuse = false;
	uint64_t device = 0;

	// Not stat(2): the answer would have to come from here.
	if (s->mountpoint == NULL || !find_mount(s->mountpoint, &device, &is_fuse) || !is_fuse)
		return;
	s->device = device;
	fuse_mount_lift(device);
}

void fuse_mount_lift(uint64_t device)
{
	if (geteuid() != 0)
		return;
	write_limit(device, "read_ahead_kb", READ_AHEAD_KB);
	// A FUSE mount starts with one percent of the memory for dirty pages.
	write_limit(device, "strict_limit", "0");
	write_limit(device, "max_ratio", "100");
}

static int detach_as_user(const char *mountpoint)
{
	const char *argv[] = {"fusermount3", "-u", "-q", "-z", "--", mountpoint, NULL};
	pid_t pid;

	if (posix_spawnp(&pid, "fusermount3", NULL, NULL, (char **)argv, environ) != 0)
		return -1;
	int status = -1;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status == 0 ? 0 : -1;
}

void fuse_mount_detach(struct fuse_server *s)
{
	bool is_fuse = false;
	uint64_t device = 0;

	// Somebody may have unmounted us, or mounted something over us.
	if (!find_mount(s->mountpoint, &device, &is_fuse) || !is_fuse ||
	    (s->device != 0 && device != s->device))
		return;
	int fd = open(s->mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		// Of a mount that others keep busy, too, everything written so far must come out.
		(void)syncfs(fd);
		close(fd);
	}
	if (umount2(s->mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW) == 0 ||
	    detach_as_user(s->mountpoint) == 0)
		s->detached = true;
}
