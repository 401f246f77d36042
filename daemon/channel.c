// SPDX-License-Identifier: Apache-2.0
#include "daemon/channel.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD_BYTES offsetof(struct channel_msg, text)

union control {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

int channel_send(int fd, const struct channel_msg *m, int pass_fd, int wait)
{
	union control control = {.bytes = {0}};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)m,
			    .iov_len = HEAD_BYTES + strnlen(m->text, CHANNEL_TEXT_MAX - 1)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (pass_fd >= 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &pass_fd, sizeof(int));
	}
	do
		n = sendmsg(fd, &msg, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? WERR_BUSY : WERR_NODATA;
	return 0;
}

int channel_receive(int fd, struct channel_msg *ret, int *ret_fd)
{
	union control control;
	struct iovec iov = {.iov_base = ret, .iov_len = sizeof(*ret) - 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	ssize_t n;

	*ret_fd = -1;
	// A peer that ends without having read all that it was told resets the connection, once;
	// what it had said itself comes after that.
	do
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	if (n < (ssize_t)HEAD_BYTES)
		return WERR_NODATA;
	ret->text[(size_t)n - HEAD_BYTES] = 0;
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
	return 0;
}
