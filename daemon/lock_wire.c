// SPDX-License-Identifier: Apache-2.0
#include "daemon/lock_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "crypto/secret.h"

union control {
	struct cmsghdr head;
	char bytes[CMSG_SPACE(LOCK_WIRE_FDS * sizeof(int))];
};

int lock_wire_send(int fd, const struct lock_wire *m, const int *fds, unsigned count)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)m, .iov_len = sizeof(*m)};
	union control control = {0};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (count > 0) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		if (!c)
			return WERR_INTERNAL;
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, count * sizeof(int));
	}
	do
		n = sendmsg(fd, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(*m) ? 0 : WERR_INTERRUPTED;
}

static int wait_readable(int fd, int timeout_ms)
{
	struct pollfd polled = {.fd = fd, .events = POLLIN};
	int n;

	do
		n = poll(&polled, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	return n > 0 ? 0 : n == 0 ? WERR_BUSY : werr_from_errno(errno);
}

uint32_t lock_wire_peek(int fd, int timeout_ms)
{
	struct lock_wire m;

	if (wait_readable(fd, timeout_ms))
		return 0;
	ssize_t n = recv(fd, &m, sizeof(m), MSG_PEEK);
	return n == (ssize_t)sizeof(m) ? m.kind : 0;
}

void lock_wire_close(int fds[static LOCK_WIRE_FDS])
{
	for (unsigned i = 0; i < LOCK_WIRE_FDS; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}

static void take_fds(struct msghdr *msg, int fds[static LOCK_WIRE_FDS])
{
	unsigned at = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (at < LOCK_WIRE_FDS)
				fds[at++] = fd;
			else
				close(fd);
		}
	}
}

int lock_wire_receive(int fd, uint32_t kind, int timeout_ms, struct lock_wire *ret,
		      int fds[static LOCK_WIRE_FDS])
{
	struct iovec iov = {.iov_base = ret, .iov_len = sizeof(*ret)};
	union control control;
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	ssize_t n;

	for (unsigned i = 0; i < LOCK_WIRE_FDS; i++)
		fds[i] = -1;
	int err = wait_readable(fd, timeout_ms);
	if (err)
		return err;
	do
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return WERR_INTERRUPTED;
	take_fds(&msg, fds);
	if (n != (ssize_t)sizeof(*ret) || ret->kind != kind || (msg.msg_flags & MSG_CTRUNC)) {
		lock_wire_close(fds);
		return WERR_MALFORMED;
	}
	return 0;
}

static int make_fd(int secret)
{
#ifdef SYS_memfd_secret
	if (secret) {
		int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);

		if (fd >= 0)
			return fd;
	}
#else
	(void)secret;
#endif
	return memfd_create("wardfs", MFD_CLOEXEC);
}

int lock_wire_make(size_t bytes, int secret, int *ret_fd, void **ret)
{
	for (;; secret = 0) {
		int fd = make_fd(secret);

		if (fd < 0)
			return WERR_NOMEM;
		void *p = MAP_FAILED;
		if (!ftruncate(fd, (off_t)bytes))
			p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (p != MAP_FAILED) {
			(void)madvise(p, bytes, MADV_DONTDUMP);
			*ret_fd = fd;
			*ret = p;
			return 0;
		}
		close(fd);
		if (!secret) // hidden memory counts as locked, and may not be had for that
			return WERR_NOMEM;
	}
}

int lock_wire_map(int fd, size_t bytes, void **ret)
{
	struct stat st;

	if (bytes == 0 || fd < 0 || fstat(fd, &st) || st.st_size < 0 || (size_t)st.st_size < bytes)
		return WERR_MALFORMED;
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return WERR_NOMEM;
	(void)madvise(p, bytes, MADV_DONTDUMP);
	*ret = p;
	return 0;
}

void lock_wire_unmap(void *p, size_t bytes)
{
	if (!p)
		return;
	secret_wipe(p, bytes);
	munmap(p, bytes);
}

void lock_wire_drop(void *p, size_t bytes)
{
	if (p)
		munmap(p, bytes);
}
