// SPDX-License-Identifier: Apache-2.0
// The host shim over a real directory. File descriptor first, then one component: no path below the
// vault is ever resolved.
#include "fusefs/host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OBJECT_NAME_BYTES 17 // 16 lower-case hex digits and NUL
#define JUNK_TRIES 100000

struct posix_host {
	struct host base;
	int dir;                         // the vault directory; also carries the lock
	int lock_borrowed;               // another process has the lock, and passes it on
	pthread_mutex_t lock;            // guards the opening of folders and folder_durable
	atomic_int folder[HOST_FOLDERS]; // descriptors, -1 until first used; then fixed until close
	// Whether the folder's own name was seen durable by this handle. It may have been made just
	// before a predecessor was killed, so "it existed at open" is not enough.
	unsigned char folder_durable[HOST_FOLDERS];
};

struct posix_file {
	struct host_file base;
	int fd;
};

static struct posix_host *posix_of(struct host *h)
{
	return (struct posix_host *)h;
}

static int fd_of(const struct host_file *f)
{
	return ((const struct posix_file *)f)->fd;
}

// What a host says that is going away: its device is gone, its server has forgotten us.
static int host_error(int err)
{
	return err == ENODEV || err == ENXIO || err == ESTALE || err == ENOTCONN
		       ? WERR_IO
		       : werr_from_errno(err);
}

// What stands where a plain file or folder is expected (a link, a socket, a device without driver
// …) is damage, not an errno.
static int open_error(int err)
{
	switch (err) {
	case ELOOP:
	case ENXIO:
	case ENODEV:
	case EISDIR:
	case ENOTDIR:
		return WERR_DAMAGED;
	default:
		return host_error(err);
	}
}

static void object_name(uint64_t number, char name[static OBJECT_NAME_BYTES])
{
	snprintf(name, OBJECT_NAME_BYTES, "%016llx", (unsigned long long)number);
}

// The number that a name in a folder stands for; 0 when it is no object's name or stands in a
// foreign folder.
static uint64_t object_number(const char *name, unsigned folder)
{
	uint64_t number = 0;

	for (unsigned i = 0; i < OBJECT_NAME_BYTES - 1; i++) {
		char c = name[i];
		unsigned digit;

		if (c >= '0' && c <= '9')
			digit = (unsigned)(c - '0');
		else if (c >= 'a' && c <= 'f')
			digit = (unsigned)(c - 'a') + 10;
		else
			return 0;
		number = number << 4 | digit;
	}
	if (name[OBJECT_NAME_BYTES - 1] || host_folder(number) != folder)
		return 0;
	return number;
}

static int open_folder(const struct posix_host *p, unsigned folder, int create, int *ret)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	char name[3];

	snprintf(name, sizeof(name), "%02x", folder & 0xffu);
	int fd = openat(p->dir, name, flags);
	if (fd < 0 && errno == ENOENT && create) {
		if (mkdirat(p->dir, name, 0700) && errno != EEXIST)
			return host_error(errno);
		fd = openat(p->dir, name, flags);
	}
	if (fd < 0)
		return open_error(errno);
	*ret = fd;
	return 0;
}

// The descriptor of a folder, opened (and made, when asked) at first use. WERR_NOTFOUND when
// absent.
static int folder_fd(struct posix_host *p, unsigned folder, int create, int *ret)
{
	int fd = atomic_load_explicit(&p->folder[folder], memory_order_acquire);
	int rc = 0;

	if (fd < 0) {
		pthread_mutex_lock(&p->lock);
		fd = atomic_load_explicit(&p->folder[folder], memory_order_relaxed);
		if (fd < 0)
			rc = open_folder(p, folder, create, &fd);
		if (!rc)
			atomic_store_explicit(&p->folder[folder], fd, memory_order_release);
		pthread_mutex_unlock(&p->lock);
	}
	if (!rc)
		*ret = fd;
	return rc;
}

static void posix_close(struct host *h)
{
	struct posix_host *p = posix_of(h);

	for (unsigned i = 0; i < HOST_FOLDERS; i++) {
		int fd = atomic_load_explicit(&p->folder[i], memory_order_relaxed);

		if (fd >= 0)
			close(fd);
	}
	close(p->dir);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static int check_regular(int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		return host_error(errno);
	if (S_ISREG(st.st_mode) && st.st_nlink == 0)
		return WERR_NOTFOUND; // unlinked in between
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1)
		return WERR_DAMAGED;
	return 0;
}

// Only by names and inodes in memory. Whatever is wrong shows when it is opened in earnest.
static int open_cached(int dir, const char *name, int oflags)
{
	const struct open_how how = {.flags = (uint64_t)oflags, .resolve = RESOLVE_CACHED};

	return (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));
}

static int open_file(struct host *h, int dir, const char *name, unsigned flags,
		     struct host_file **ret)
{
	int oflags = O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

	oflags |= flags & HOST_RDWR ? O_RDWR : O_RDONLY;
	if (flags & HOST_CREATE)
		oflags |= O_CREAT;
	if (flags & HOST_EXCL)
		oflags |= O_EXCL;
	struct posix_file *f = malloc(sizeof(*f));
	if (!f)
		return WERR_NOMEM;
	if (flags & HOST_CACHED) {
		f->fd = open_cached(dir, name, oflags);
	} else {
		do {
			f->fd = openat(dir, name, oflags, 0600);
		} while (f->fd < 0 && errno == EINTR);
	}
	int rc = 0;
	if (f->fd < 0)
		rc = flags & HOST_CACHED ? WERR_BUSY : open_error(errno);
	else
		rc = check_regular(f->fd);
	if (rc) {
		if (f->fd >= 0)
			close(f->fd);
		free(f);
		return rc;
	}
	f->base.host = h;
	f->base.cache = NULL;
	*ret = &f->base;
	return 0;
}

static int posix_open_top(struct host *h, const char *name, unsigned flags, struct host_file **ret)
{
	return open_file(h, posix_of(h)->dir, name, flags, ret);
}

static int posix_open_object(struct host *h, uint64_t number, unsigned flags,
			     struct host_file **ret)
{
	char name[OBJECT_NAME_BYTES];
	int dir;
	int rc;

	if (flags & HOST_CACHED && atomic_load_explicit(&posix_of(h)->folder[host_folder(number)],
							memory_order_relaxed) < 0)
		return WERR_BUSY;
	rc = folder_fd(posix_of(h), host_folder(number), (flags & HOST_CREATE) != 0, &dir);
	if (!rc) {
		object_name(number, name);
		rc = open_file(h, dir, name, flags, ret);
	}
	// The sandbox says so of a folder that was moved out of the vault, or leads out of it.
	return rc == WERR_PERM ? WERR_DAMAGED : rc;
}

static void posix_file_close(struct host_file *f)
{
	close(fd_of(f));
	free(f);
}

// The rest of an iovec array from byte `done` on, as at most max elements; returns how many.
static int iov_rest(const struct iovec *iov, int iovcnt, size_t done, struct iovec *out, int max)
{
	int n = 0;

	for (int i = 0; i < iovcnt && n < max; i++) {
		if (done >= iov[i].iov_len) {
			done -= iov[i].iov_len;
			continue;
		}
		out[n].iov_base = (char *)iov[i].iov_base + done;
		out[n].iov_len = iov[i].iov_len - done;
		done = 0;
		n++;
	}
	return n;
}

static size_t iov_bytes(const struct iovec *iov, int iovcnt)
{
	size_t total = 0;

	for (int i = 0; i < iovcnt; i++)
		total += iov[i].iov_len;
	return total;
}

static void iov_zero_from(const struct iovec *iov, int iovcnt, size_t done)
{
	for (int i = 0; i < iovcnt; i++) {
		if (done >= iov[i].iov_len) {
			done -= iov[i].iov_len;
			continue;
		}
		memset((char *)iov[i].iov_base + done, 0, iov[i].iov_len - done);
		done = 0;
	}
}

#define IOV_CHUNK 64

// One system call moves all in nearly every case; the loop is for signals, short counts and long
// arrays.
static int transfer(int fd, const struct iovec *iov, int iovcnt, uint64_t off, int writing,
		    size_t *ret_done)
{
	const size_t total = iov_bytes(iov, iovcnt);
	struct iovec rest[IOV_CHUNK];
	const struct iovec *now = iov;
	int count = iovcnt;
	size_t done = 0;

	*ret_done = 0;
	if (off > INT64_MAX || total > INT64_MAX - off)
		return WERR_FBIG;
	if (count > IOV_MAX) {
		now = rest;
		count = iov_rest(iov, iovcnt, 0, rest, IOV_CHUNK);
	}
	while (done < total) {
		off_t at = (off_t)(off + done);
		ssize_t n = writing ? pwritev(fd, now, count, at) : preadv(fd, now, count, at);

		if (n < 0 && errno != EINTR)
			return host_error(errno);
		if (n == 0)
			break;
		if (n > 0)
			done += (size_t)n;
		if (done < total) {
			now = rest;
			count = iov_rest(iov, iovcnt, done, rest, IOV_CHUNK);
		}
	}
	*ret_done = done;
	return 0;
}

static int posix_preadv(struct host_file *f, const struct iovec *iov, int iovcnt, uint64_t off,
			size_t *ret_got)
{
	size_t done;
	int rc = transfer(fd_of(f), iov, iovcnt, off, 0, &done);

	if (rc)
		return rc;
	iov_zero_from(iov, iovcnt, done);
	if (ret_got)
		*ret_got = done;
	return 0;
}

// What is not there is on its way when this returns.
static int posix_preadv_cached(struct host_file *f, const struct iovec *iov, int iovcnt,
			       uint64_t off)
{
	if (off > INT64_MAX || iovcnt > IOV_MAX)
		return WERR_BUSY;
	ssize_t n = preadv2(fd_of(f), iov, iovcnt, (off_t)off, RWF_NOWAIT);
	if (n >= 0)
		return (size_t)n == iov_bytes(iov, iovcnt) ? 0 : WERR_BUSY;
	// A host that knows no such reads may always have to wait.
	return errno == EAGAIN || errno == EINTR || errno == EOPNOTSUPP ? WERR_BUSY
									: host_error(errno);
}

static int posix_pwritev(struct host_file *f, const struct iovec *iov, int iovcnt, uint64_t off)
{
	size_t done;
	int rc = transfer(fd_of(f), iov, iovcnt, off, 1, &done);

	if (rc)
		return rc;
	return done == iov_bytes(iov, iovcnt) ? 0 : WERR_IO;
}

static int posix_datasync(struct host_file *f)
{
	int rc;

	do {
		rc = fdatasync(fd_of(f));
	} while (rc && errno == EINTR);
	return rc ? host_error(errno) : 0;
}

static int posix_truncate(struct host_file *f, uint64_t size)
{
	int rc;

	if (size > INT64_MAX)
		return WERR_FBIG;
	do {
		rc = ftruncate(fd_of(f), (off_t)size);
	} while (rc && errno == EINTR);
	return rc ? host_error(errno) : 0;
}

static int posix_punch(struct host_file *f, uint64_t off, uint64_t len)
{
	int rc;

	if (off > INT64_MAX || len > INT64_MAX - off)
		return WERR_FBIG;
	if (!len)
		return 0;
	do {
		rc = fallocate(fd_of(f), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off,
			       (off_t)len);
	} while (rc && errno == EINTR);
	if (rc && (errno == EOPNOTSUPP || errno == ENOSYS))
		return WERR_NOTSUP;
	return rc ? host_error(errno) : 0;
}

static int posix_file_size(struct host_file *f, uint64_t *ret)
{
	struct stat st;

	if (fstat(fd_of(f), &st))
		return host_error(errno);
	*ret = (uint64_t)st.st_size;
	return 0;
}

static int posix_unlink_object(struct host *h, uint64_t number)
{
	char name[OBJECT_NAME_BYTES];
	int dir;
	int rc = folder_fd(posix_of(h), host_folder(number), 0, &dir);

	if (rc)
		return rc;
	object_name(number, name);
	return unlinkat(dir, name, 0) ? open_error(errno) : 0;
}

static int posix_unlink_top(struct host *h, const char *name)
{
	return unlinkat(posix_of(h)->dir, name, 0) ? open_error(errno) : 0;
}

static int posix_rename_top(struct host *h, const char *from, const char *to)
{
	const struct posix_host *p = posix_of(h);

	return renameat(p->dir, from, p->dir, to) ? open_error(errno) : 0;
}

// NFS and others know no RENAME_NOREPLACE. The look first is enough there: the vault's lock keeps
// others out.
static int rename_noreplace(int dir, const char *from, const char *to)
{
	if (!renameat2(dir, from, dir, to, RENAME_NOREPLACE))
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	if (!faccessat(dir, to, F_OK, AT_SYMLINK_NOFOLLOW)) {
		errno = EEXIST;
		return -1;
	}
	return errno == ENOENT ? renameat(dir, from, dir, to) : -1;
}

static int posix_set_aside(struct host *h, uint64_t number)
{
	char name[OBJECT_NAME_BYTES];
	char aside[OBJECT_NAME_BYTES + 32];
	int dir;
	int rc = folder_fd(posix_of(h), host_folder(number), 0, &dir);

	if (rc)
		return rc;
	object_name(number, name);
	for (unsigned n = 0; n < JUNK_TRIES; n++) {
		snprintf(aside, sizeof(aside), "%s.junk.%u", name, n);
		if (!rename_noreplace(dir, name, aside))
			return 0;
		if (errno != EEXIST)
			return host_error(errno);
	}
	return WERR_LIMIT;
}

// A host that cannot flush folders at all says EINVAL: it promises nothing, and nothing better is
// to be had from it.
static int sync_fd(int fd)
{
	int rc;

	do {
		rc = fsync(fd);
	} while (rc && errno == EINTR);
	return rc && errno != EINVAL ? host_error(errno) : 0;
}

static int posix_sync_top(struct host *h)
{
	struct posix_host *p = posix_of(h);
	unsigned char there[HOST_FOLDERS];

	pthread_mutex_lock(&p->lock);
	for (unsigned i = 0; i < HOST_FOLDERS; i++)
		there[i] = atomic_load_explicit(&p->folder[i], memory_order_relaxed) >= 0;
	pthread_mutex_unlock(&p->lock);
	int rc = sync_fd(p->dir);
	if (rc)
		return rc;
	pthread_mutex_lock(&p->lock);
	for (unsigned i = 0; i < HOST_FOLDERS; i++)
		p->folder_durable[i] |= there[i];
	pthread_mutex_unlock(&p->lock);
	return 0;
}

static int posix_sync_folder(struct host *h, unsigned folder)
{
	struct posix_host *p = posix_of(h);
	int fd;

	if (folder >= HOST_FOLDERS)
		return WERR_INVALID;
	int rc = folder_fd(p, folder, 0, &fd);
	if (rc)
		return rc == WERR_NOTFOUND ? 0 : rc;
	rc = sync_fd(fd);
	if (rc)
		return rc;
	pthread_mutex_lock(&p->lock);
	int durable = p->folder_durable[folder];
	pthread_mutex_unlock(&p->lock);
	return durable ? 0 : posix_sync_top(h);
}

// A fresh descriptor: a dup would share the read position with other listings of the same folder.
// NULL with *ret_rc set.
static DIR *open_stream(int fd, int *ret_rc)
{
	int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream = own < 0 ? NULL : fdopendir(own);

	if (!stream) {
		*ret_rc = host_error(errno);
		if (own >= 0)
			close(own);
	}
	return stream;
}

// The next name; 1, or 0 at the end.
static int next_name(DIR *stream, const char **ret)
{
	for (;;) {
		errno = 0;
		const struct dirent *e = readdir(stream);
		if (!e)
			return errno ? host_error(errno) : 0;
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		*ret = e->d_name;
		return 1;
	}
}

static int posix_list_folder(struct host *h, unsigned folder,
			     int (*fn)(void *arg, const char *name, uint64_t number), void *arg)
{
	const char *name = NULL;
	int fd;

	if (folder >= HOST_FOLDERS)
		return WERR_INVALID;
	int rc = folder_fd(posix_of(h), folder, 0, &fd);
	if (rc)
		return rc == WERR_NOTFOUND ? 0 : rc;
	DIR *stream = open_stream(fd, &rc);
	if (!stream)
		return rc;
	while ((rc = next_name(stream, &name)) == 1) {
		rc = fn(arg, name, object_number(name, folder));
		if (rc)
			break;
	}
	closedir(stream);
	return rc;
}

static int posix_list_top(struct host *h, int (*fn)(void *arg, const char *name), void *arg)
{
	const char *name = NULL;
	int rc = 0;
	DIR *stream = open_stream(posix_of(h)->dir, &rc);

	if (!stream)
		return rc;
	while ((rc = next_name(stream, &name)) == 1) {
		rc = fn(arg, name);
		if (rc)
			break;
	}
	closedir(stream);
	return rc;
}

static int posix_space(struct host *h, struct host_space *ret)
{
	struct statvfs st;

	if (fstatvfs(posix_of(h)->dir, &st))
		return host_error(errno);
	ret->block_bytes = st.f_frsize ? st.f_frsize : st.f_bsize;
	ret->blocks = st.f_blocks;
	ret->blocks_free = st.f_bfree;
	ret->blocks_avail = st.f_bavail;
	ret->files = st.f_files;
	ret->files_free = st.f_ffree;
	return 0;
}

static int posix_lock(struct host *h, int exclusive)
{
	int rc;

	if (posix_of(h)->lock_borrowed)
		return 0;
	do {
		rc = flock(posix_of(h)->dir, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB);
	} while (rc && errno == EINTR);
	if (rc && errno == EWOULDBLOCK)
		return WERR_BUSY;
	return rc ? host_error(errno) : 0;
}

static const struct host_ops posix_ops = {
	.close = posix_close,
	.open_top = posix_open_top,
	.open_object = posix_open_object,
	.file_close = posix_file_close,
	.preadv = posix_preadv,
	.preadv_cached = posix_preadv_cached,
	.pwritev = posix_pwritev,
	.datasync = posix_datasync,
	.truncate = posix_truncate,
	.punch = posix_punch,
	.file_size = posix_file_size,
	.unlink_object = posix_unlink_object,
	.unlink_top = posix_unlink_top,
	.rename_top = posix_rename_top,
	.set_aside = posix_set_aside,
	.sync_folder = posix_sync_folder,
	.sync_top = posix_sync_top,
	.list_folder = posix_list_folder,
	.list_top = posix_list_top,
	.space = posix_space,
	.lock = posix_lock,
};

// Makes the vault directory's own name durable. Where the parent may not be read, the user's next
// sync does it.
static void sync_parent(int dir)
{
	int parent = openat(dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (parent < 0)
		return;
	int ignored = sync_fd(parent);
	(void)ignored;
	close(parent);
}

int host_posix_open(const char *path, int create, struct host **ret)
{
	int made = 0;

	if (create) {
		made = !mkdir(path, 0700);
		if (!made && errno != EEXIST)
			return host_error(errno);
	}
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return host_error(errno);
	struct posix_host *p = calloc(1, sizeof(*p));
	if (!p) {
		close(dir);
		return WERR_NOMEM;
	}
	if (made)
		sync_parent(dir);
	p->base.ops = &posix_ops;
	p->dir = dir;
	for (unsigned i = 0; i < HOST_FOLDERS; i++)
		atomic_init(&p->folder[i], -1);
	pthread_mutex_init(&p->lock, NULL);
	*ret = &p->base;
	return 0;
}

int host_posix_lock_fd(struct host *h)
{
	return posix_of(h)->dir;
}

void host_posix_borrow_lock(struct host *h)
{
	posix_of(h)->lock_borrowed = 1;
}

int host_posix_take_lock(struct host *h, int fd)
{
	struct stat ours, theirs;

	if (fstat(posix_of(h)->dir, &ours) || fstat(fd, &theirs))
		return host_error(errno);
	if (ours.st_dev != theirs.st_dev || ours.st_ino != theirs.st_ino)
		return WERR_STALE;
	if (dup3(fd, posix_of(h)->dir, O_CLOEXEC) < 0)
		return host_error(errno);
	return 0;
}
