// SPDX-License-Identifier: Apache-2.0
#include "tests/fuse/harness.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

#define PIECES_MAX 4
#define TIMEOUT_S 60

struct stashed {
	struct stashed *next;
	size_t len;
	uint8_t data[];
};

static void on_ready(void *arg)
{
	struct peer *p = arg;

	sem_post(&p->ready);
}

static void *server_main(void *arg)
{
	struct peer *p = arg;

	p->result = fuse_server_run(p->server, on_ready, p);
	return NULL;
}

static void do_init(struct peer *p)
{
	const struct fuse_init_in in = {
		.major = FUSE_KERNEL_VERSION,
		.minor = FUSE_KERNEL_MINOR_VERSION,
		.max_readahead = 128 << 10,
		.flags = FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_DONT_MASK |
			 FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO |
			 FUSE_ASYNC_DIO | FUSE_WRITEBACK_CACHE | FUSE_NO_OPEN_SUPPORT |
			 FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV | FUSE_POSIX_ACL |
			 FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS | FUSE_NO_OPENDIR_SUPPORT |
			 FUSE_EXPLICIT_INVAL_DATA | FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT |
			 FUSE_INIT_EXT | FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS,
	};
	struct reply r = peer_call(p, FUSE_INIT, 0, &in, sizeof(in), NULL);

	ck_assert_int_eq(r.err, 0);
	ck_assert_uint_eq(r.len, sizeof(p->init));
	memcpy(&p->init, r.data, sizeof(p->init));
	while (sem_wait(&p->ready) != 0)
		;
}

void peer_start(struct peer *p, struct fs *fs, unsigned threads, bool init)
{
	const struct timeval timeout = {.tv_sec = TIMEOUT_S};
	struct mountopts opts;
	int fds[2];

	memset(p, 0, sizeof(*p));
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	p->fd = fds[0];
	setsockopt(p->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(p->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	sem_init(&p->ready, 0, 0);
	mountopts_init(&opts);
	opts.threads = threads;
	ck_assert_int_eq(fuse_server_new(fs, &opts, NULL, fds[1], &p->server), 0);
	ck_assert_int_eq(pthread_create(&p->thread, NULL, server_main, p), 0);
	if (init)
		do_init(p);
}

static int finish(struct peer *p)
{
	pthread_join(p->thread, NULL);
	fuse_server_free(p->server);
	if (p->fd >= 0)
		close(p->fd);
	while (p->stash != NULL) {
		struct stashed *next = p->stash->next;

		free(p->stash);
		p->stash = next;
	}
	sem_destroy(&p->ready);
	return p->result;
}

int peer_stop(struct peer *p)
{
	fuse_server_stop(p->server);
	return finish(p);
}

int peer_hang_up(struct peer *p)
{
	close(p->fd);
	p->fd = -1;
	return finish(p);
}

uint64_t peer_send(struct peer *p, uint32_t opcode, uint64_t nodeid, const struct piece *pieces,
		   unsigned count)
{
	struct iovec iov[PIECES_MAX + 1];
	struct fuse_in_header h = {
		.len = sizeof(h),
		.opcode = opcode,
		.unique = p->unique += 2,
		.nodeid = nodeid,
		.uid = p->uid,
		.gid = p->gid,
		.pid = 1,
	};

	ck_assert_uint_le(count, PIECES_MAX);
	iov[0] = (struct iovec){.iov_base = &h, .iov_len = sizeof(h)};
	for (unsigned i = 0; i < count; i++) {
		iov[i + 1].iov_base = (void *)(uintptr_t)pieces[i].data;
		iov[i + 1].iov_len = pieces[i].len;
		h.len += (uint32_t)pieces[i].len;
	}
	ck_assert_int_eq(writev(p->fd, iov, (int)count + 1), h.len);
	return h.unique;
}

void peer_send_raw(struct peer *p, const void *buf, size_t len)
{
	ck_assert_int_eq(send(p->fd, buf, len, 0), (ssize_t)len);
}

static struct reply parse(const uint8_t *buf, size_t len)
{
	struct fuse_out_header h;

	ck_assert_uint_ge(len, sizeof(h));
	memcpy(&h, buf, sizeof(h));
	ck_assert_uint_eq(h.len, len);
	ck_assert_int_le(h.error, 0);
	ck_assert_int_gt(h.error, -1000);
	return (struct reply){.unique = h.unique,
			      .err = -h.error,
			      .data = buf + sizeof(h),
			      .len = len - sizeof(h)};
}

// One message that is no notification. false: nothing there (flags say not to wait).
static bool receive(struct peer *p, int flags, size_t *ret_len)
{
	for (;;) {
		ssize_t n = recv(p->fd, p->buf, sizeof(p->buf), flags);
		struct fuse_out_header h;

		if (n < 0 && errno == EAGAIN && (flags & MSG_DONTWAIT))
			return false;
		ck_assert_msg(n >= (ssize_t)sizeof(h), "no reply: %s", strerror(errno));
		memcpy(&h, p->buf, sizeof(h));
		*ret_len = (size_t)n;
		if (h.unique != 0)
			return true;
		ck_assert(h.error == FUSE_NOTIFY_INVAL_INODE || h.error == FUSE_NOTIFY_INVAL_ENTRY);
		if (h.error == FUSE_NOTIFY_INVAL_INODE)
			p->notifications++;
		else
			p->forgotten_names++;
	}
}

struct reply peer_next(struct peer *p)
{
	size_t len;

	ck_assert(receive(p, 0, &len));
	return parse(p->buf, len);
}

unsigned peer_drain(struct peer *p)
{
	unsigned n = 0;
	size_t len;

	while (receive(p, MSG_DONTWAIT, &len))
		n++;
	return n;
}

static bool from_stash(struct peer *p, uint64_t unique, struct reply *ret)
{
	for (struct stashed **at = &p->stash; *at != NULL; at = &(*at)->next) {
		struct stashed *s = *at;

		if (parse(s->data, s->len).unique != unique)
			continue;
		memcpy(p->buf, s->data, s->len);
		*ret = parse(p->buf, s->len);
		*at = s->next;
		free(s);
		return true;
	}
	return false;
}

struct reply peer_wait(struct peer *p, uint64_t unique)
{
	struct reply r;

	if (from_stash(p, unique, &r))
		return r;
	for (;;) {
		size_t len;

		ck_assert(receive(p, 0, &len));
		r = parse(p->buf, len);
		if (r.unique == unique)
			return r;
		struct stashed *s = malloc(sizeof(*s) + len);
		s->len = len;
		memcpy(s->data, p->buf, len);
		s->next = p->stash;
		p->stash = s;
	}
}

struct reply peer_call(struct peer *p, uint32_t opcode, uint64_t nodeid, const void *arg,
		       size_t len, const char *name)
{
	const struct piece pieces[] = {{arg, len}, {name, name != NULL ? strlen(name) + 1 : 0}};

	return peer_wait(p, peer_send(p, opcode, nodeid, pieces, 2));
}
