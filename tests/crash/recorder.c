// SPDX-License-Identifier: Apache-2.0
// A disk that remembers: a filesystem of one file, "disk", meant to lie under a loop device. Every
// write and every flush that reaches it is appended to a log, from which a test makes the disk as a
// power cut at any moment would have left it.
//
//   recorder SIZE IMAGE LOG MOUNTPOINT      (runs until it is unmounted)
//
// A log entry: offset (8 bytes, little-endian; all ones: a flush), length (8), the bytes.
#define FUSE_USE_VERSION 314
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME "/disk"

static struct {
	int image, log;
	off_t size;
	pthread_mutex_t lock; // the log's order is the order in which writes are there
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int put(int fd, const void *buf, size_t len, off_t off)
{
	const char *p = buf;

	while (len) {
		ssize_t n = off < 0 ? write(fd, p, len) : pwrite(fd, p, len, off);

		if (n <= 0)
			return n < 0 && errno == EINTR ? put(fd, p, len, off) : -EIO;
		p += n;
		len -= (size_t)n;
		off += off < 0 ? 0 : n;
	}
	return 0;
}

static int note(uint64_t off, const void *buf, size_t len)
{
	uint64_t head[2] = {htole64(off), htole64((uint64_t)len)};
	int err = put(disk.log, head, sizeof(head), -1);

	return err ? err : put(disk.log, buf, len, -1);
}

static int op_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	(void)fi;
	memset(st, 0, sizeof(*st));
	if (strcmp(path, "/") == 0) {
		st->st_mode = S_IFDIR | 0700;
		st->st_nlink = 2;
		return 0;
	}
	if (strcmp(path, NAME) != 0)
		return -ENOENT;
	st->st_mode = S_IFREG | 0600;
	st->st_nlink = 1;
	st->st_size = disk.size;
	st->st_blocks = disk.size / 512;
	return 0;
}

static int op_open(const char *path, struct fuse_file_info *fi)
{
	fi->keep_cache = 1;
	return strcmp(path, NAME) == 0 ? 0 : -ENOENT;
}

static int op_read(const char *path, char *buf, size_t len, off_t off, struct fuse_file_info *fi)
{
	(void)path;
	(void)fi;
	ssize_t n = pread(disk.image, buf, len, off);

	return n < 0 ? -EIO : (int)n;
}

static int op_write(const char *path, const char *buf, size_t len, off_t off,
		    struct fuse_file_info *fi)
{
	(void)path;
	(void)fi;
	if (off < 0 || off > disk.size || (off_t)len > disk.size - off)
		return -EFBIG;
	pthread_mutex_lock(&disk.lock);
	int err = note((uint64_t)off, buf, len);
	if (err == 0)
		err = put(disk.image, buf, len, off);
	pthread_mutex_unlock(&disk.lock);
	return err ? err : (int)len;
}

static int op_fsync(const char *path, int data, struct fuse_file_info *fi)
{
	(void)path;
	(void)data;
	(void)fi;
	pthread_mutex_lock(&disk.lock);
	int err = note(UINT64_MAX, NULL, 0);
	pthread_mutex_unlock(&disk.lock);
	return err;
}

static const struct fuse_operations operations = {
	.getattr = op_getattr,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.fsync = op_fsync,
};

int main(int argc, char **argv)
{
	if (argc != 5) {
		fprintf(stderr, "usage: recorder SIZE IMAGE LOG MOUNTPOINT\n");
		return 2;
	}
	disk.size = (off_t)strtoll(argv[1], NULL, 10);
	disk.image = open(argv[2], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	disk.log = open(argv[3], O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	if (disk.image < 0 || disk.log < 0 || ftruncate(disk.image, disk.size) != 0) {
		perror("recorder");
		return 1;
	}
	char foreground[] = "-f";
	char *args[] = {argv[0], foreground, argv[4], NULL};

	return fuse_main(3, args, &operations, NULL);
}
