// SPDX-License-Identifier: Apache-2.0
#include "daemon/varlink.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <limits.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK_BYTES 4096u
#define FDS_MAX 4u // that one recvmsg can bring; more than one is refused

void varlink_init(struct varlink *v, int fd, size_t max_bytes)
{
	*v = (struct varlink){.fd = fd, .passed = -1, .max_bytes = max_bytes};
}

void varlink_clear(struct varlink *v)
{
	int fd = varlink_take_fd(v);

	if (fd >= 0)
		close(fd);
	if (v->fd >= 0)
		close(v->fd);
	v->fd = -1;
	free(v->buf);
	v->buf = NULL;
}

int varlink_take_fd(struct varlink *v)
{
	int fd = v->passed;

	v->passed = -1;
	return fd;
}

// ---- receiving ----

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

// Keeps one descriptor; closes every other one.
static int keep_fds(struct varlink *v, struct msghdr *msg)
{
	int err = msg->msg_flags & MSG_CTRUNC ? WERR_LIMIT : 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (v->passed < 0) {
				v->passed = fd;
				continue;
			}
			close(fd);
			err = WERR_LIMIT;
		}
	}
	return err;
}

static int grow(struct varlink *v)
{
	if (v->cap - v->len >= CHUNK_BYTES)
		return 0;
	size_t cap = v->cap ? 2 * v->cap : 2 * (size_t)CHUNK_BYTES;
	char *buf = realloc(v->buf, cap);
	if (!buf)
		return WERR_NOMEM;
	v->buf = buf;
	v->cap = cap;
	return 0;
}

static int receive_some(struct varlink *v)
{
	union {
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	int err = grow(v);

	if (err)
		return err;
	struct iovec iov = {.iov_base = v->buf + v->len, .iov_len = CHUNK_BYTES};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	ssize_t n = recvmsg(v->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : WERR_IO;
	err = keep_fds(v, &msg);
	if (err)
		return err;
	if (n == 0)
		return WERR_NODATA;
	v->len += (size_t)n;
	return 0;
}

// Until there is something to receive. started: a message is under way since started_ms.
static int wait_for_bytes(const struct varlink *v, const struct varlink_wait *wait, long started_ms)
{
	struct pollfd polled[3] = {{.fd = v->fd, .events = POLLIN},
				   {.fd = wait->wake_fd, .events = POLLIN},
				   {.fd = wait->gone_fd, .events = POLLRDHUP}};
	int limit = v->len ? wait->message_ms : wait->idle_ms;
	int left = -1;

	if (limit >= 0) {
		long spent = now_ms() - started_ms;

		left = spent >= limit ? 0 : limit - (int)spent;
	}
	int n = poll(polled, 3, left);
	if (n < 0)
		return errno == EINTR ? 0 : WERR_IO;
	if (n == 0 || polled[1].revents || polled[2].revents)
		return WERR_INTERRUPTED;
	return 0;
}

// Forgets the message that was returned last.
static void forget_last(struct varlink *v)
{
	if (v->used)
		memmove(v->buf, v->buf + v->used, v->len - v->used);
	v->len -= v->used;
	v->used = 0;
}

int varlink_receive_raw(struct varlink *v, const struct varlink_wait *wait, const char **ret,
			size_t *ret_len)
{
	size_t looked = 0;
	long started = now_ms();

	forget_last(v);
	for (;;) {
		const char *end =
			looked < v->len ? memchr(v->buf + looked, 0, v->len - looked) : NULL;
		if (end) {
			v->used = (size_t)(end - v->buf) + 1;
			*ret = v->buf;
			*ret_len = v->used;
			return v->used > v->max_bytes ? WERR_LIMIT : 0;
		}
		if (v->len > v->max_bytes)
			return WERR_LIMIT;
		looked = v->len;
		int err = wait_for_bytes(v, wait, started);
		if (!err)
			err = receive_some(v);
		if (err)
			return err;
		if (looked == 0 && v->len)
			started = now_ms();
	}
}

int varlink_receive(struct varlink *v, const struct varlink_wait *wait, json_t **ret)
{
	const char *bytes;
	size_t len;
	int err = varlink_receive_raw(v, wait, &bytes, &len);

	if (err)
		return err;
	json_t *j = json_loadb(bytes, len - 1, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(j)) {
		json_decref(j);
		return WERR_MALFORMED;
	}
	*ret = j;
	return 0;
}

// ---- sending ----

static ssize_t send_some(int fd, const char *bytes, size_t len, int pass_fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {.bytes = {0}};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (pass_fd >= 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &pass_fd, sizeof(int));
	}
	return sendmsg(fd, &msg, MSG_NOSIGNAL);
}

int varlink_send_raw(int fd, const char *bytes, size_t len, int pass_fd)
{
	while (len) {
		ssize_t n = send_some(fd, bytes, len, pass_fd);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return WERR_NODATA;
		bytes += n;
		len -= (size_t)n;
		pass_fd = -1;
	}
	return 0;
}

int varlink_send(int fd, const json_t *message, int pass_fd)
{
	char *text = json_dumps(message, JSON_COMPACT);

	if (!text)
		return WERR_NOMEM;
	int err = varlink_send_raw(fd, text, strlen(text) + 1, pass_fd);
	free(text);
	return err;
}

int varlink_gone(int fd)
{
	struct pollfd polled = {.fd = fd, .events = POLLRDHUP};

	return poll(&polled, 1, 0) > 0 && polled.revents;
}

// ---- paths ----

#define HEX "hex:"

json_t *varlink_path(const char *path)
{
	char text[sizeof(HEX) + 2 * (size_t)PATH_MAX];
	json_t *j = json_string(path);
	size_t n = strlen(HEX);

	if (j)
		return j;
	memcpy(text, HEX, n + 1);
	for (; *path && n + 3 <= sizeof(text); path++, n += 2)
		snprintf(text + n, 3, "%02x", (unsigned char)*path);
	return json_string(text);
}

static int hex_digit(char c)
{
	if (isdigit((unsigned char)c))
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static char *path_of_hex(const char *hex)
{
	size_t n = strlen(hex);
	char *path = n % 2 ? NULL : calloc(1, n / 2 + 1);

	for (size_t i = 0; path && i < n; i += 2) {
		int high = hex_digit(hex[i]), low = hex_digit(hex[i + 1]);

		if (high < 0 || low < 0 || (high == 0 && low == 0)) {
			free(path);
			return NULL;
		}
		path[i / 2] = (char)(high << 4 | low);
	}
	return path;
}

char *varlink_path_of(const json_t *j)
{
	const char *text = json_string_value(j);
	char *path = NULL;

	if (text && !strncmp(text, HEX, strlen(HEX)))
		path = path_of_hex(text + strlen(HEX));
	else if (text)
		path = strdup(text);
	if (path && (path[0] != '/' || strlen(path) >= PATH_MAX)) {
		free(path);
		return NULL;
	}
	return path;
}
