// SPDX-License-Identifier: Apache-2.0
// What a hostile client of the broker's socket sends: the bytes of the stream, NULs included, to
// the broker's own methods (but for Mount, whose parameters are only looked at) with no vault
// there. A message that begins with byte 1 is sent without it, with a descriptor. Every reply is an
// object with parameters, the connection ends when the client has said all, and no descriptor
// stays.
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/broker_private.h"
#include "daemon/varlink.h"
#include "tests/fuzz/fuzz.h"

#define METHODS_MAX 32
#define STEP_MS 20000
// A client whose messages nobody takes hangs up after so long.
#define FULL_MS 500
#define STREAM_MAX 200000u

static struct broker broker = {.mounting = PTHREAD_MUTEX_INITIALIZER,
			       .lock = PTHREAD_MUTEX_INITIALIZER,
			       .changed = PTHREAD_COND_INITIALIZER};

static int look_at_mount(void *arg, struct control_call *c)
{
	char *dir = control_path(c, "vault"), *mountpoint = control_path(c, "mountpoint");
	const char *options = control_string(c, "options");
	struct mountopts opts;
	struct policy policy;
	int fd = control_fd(c);
	int err = dir && mountpoint && options ? 0 : control_invalid(c, "vault");

	(void)arg;
	mountopts_init(&opts);
	if (dir && mountpoint && options) {
		err = mountopts_parse(&opts, options);
		if (!err)
			err = policy_parse(json_object_get(control_params(c), "policy"), &policy);
		if (!err)
			err = control_progress(c, json_pack("{ss}", "stage", "vault"));
		if (!err)
			err = control_result(c, json_pack("{si}", "code", 0));
	}
	if (fd >= 0)
		close(fd);
	free(dir);
	free(mountpoint);
	return err;
}

static size_t methods(struct control_method *ret)
{
	FUZZ_NEED(broker_methods_len <= METHODS_MAX);
	memcpy(ret, broker_methods, broker_methods_len * sizeof(*ret));
	for (size_t i = 0; i < broker_methods_len; i++) {
		if (!strcmp(ret[i].name, "Mount"))
			ret[i].run = look_at_mount;
	}
	return broker_methods_len;
}

static unsigned open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	FUZZ_NEED(dir != NULL);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

// One piece of the stream: up to a NUL. Returns how much was taken of it, 0: not now.
static size_t send_piece(int fd, const uint8_t *p, size_t size)
{
	const uint8_t *nul = memchr(p, 0, size);
	size_t skip = p[0] == 1, n = nul ? (size_t)(nul - p) + 1 : size;
	char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)(p + skip), .iov_len = n - skip};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n == skip)
		return n;
	if (skip) {
		m.msg_control = control;
		m.msg_controllen = sizeof(control);
		struct cmsghdr *h = CMSG_FIRSTHDR(&m);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(h), &fd, sizeof(fd));
	}
	ssize_t sent = sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0)
		return errno == EAGAIN ? 0 : size;
	return (size_t)sent + skip;
}

static void check_reply(const char *text, size_t len)
{
	json_t *j = json_loadb(text, len, 0, NULL);
	const json_t *error = json_object_get(j, "error");

	FUZZ_NEED(json_is_object(j) && json_is_object(json_object_get(j, "parameters")));
	FUZZ_NEED(error == NULL || json_is_string(error));
	json_decref(j);
}

// Takes what came; whole replies are checked. false: the end.
static int take_replies(int fd, char *buf, size_t cap, size_t *len)
{
	ssize_t n = recv(fd, buf + *len, cap - *len, MSG_DONTWAIT);
	char *nul;

	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	*len += (size_t)n;
	while ((nul = memchr(buf, 0, *len))) {
		size_t one = (size_t)(nul - buf);

		check_reply(buf, one);
		*len -= one + 1;
		memmove(buf, nul + 1, *len);
	}
	FUZZ_NEED(*len < cap);
	return 1;
}

static void talk(int fd, const uint8_t *p, size_t size)
{
	static char buf[1 << 20];
	size_t len = 0;
	int more = 1;

	while (more) {
		struct pollfd polled = {.fd = fd, .events = size ? POLLIN | POLLOUT : POLLIN};
		int ready = poll(&polled, 1, size ? FULL_MS : STEP_MS);

		if (size && ready == 0) {
			// While it watches, the broker reads no further message.
			size = 0;
			shutdown(fd, SHUT_WR);
			continue;
		}
		FUZZ_NEED(ready > 0);
		if (size && (polled.revents & (POLLOUT | POLLHUP | POLLERR))) {
			size_t n = send_piece(fd, p, size);

			p += n;
			size -= n;
			if (size == 0)
				shutdown(fd, SHUT_WR);
		}
		more = take_replies(fd, buf, sizeof(buf), &len);
	}
	FUZZ_NEED(len == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct control_method table[METHODS_MAX];
	const struct control_params params = {.methods = table,
					      .methods_len = methods(table),
					      .other = broker_relay,
					      .arg = &broker};
	int ends[2];

	if (size == 0 || size > STREAM_MAX)
		return 0;
	unsigned before = open_descriptors();
	broker.kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	FUZZ_NEED(control_new(&params, &broker.server) == 0);
	FUZZ_NEED(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
	FUZZ_NEED(control_adopt(broker.server, ends[0]) == 0);
	talk(ends[1], data, size);
	close(ends[1]);
	control_free(broker.server);
	close(broker.kick);
	FUZZ_NEED(open_descriptors() == before);
	return 0;
}
