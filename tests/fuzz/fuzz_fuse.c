// SPDX-License-Identifier: Apache-2.0
// The FUSE request stream: messages over a socketpair to the server, on a vault in memory. Input:
// messages, each: opcode u8, node u8, flags u8, length u16, that many bytes of argument. Node n is
// the n-th one that a reply told of (0: the root). Flags: 1: the first 8 bytes of the argument are
// such a node too; 2: the header's length is the one that the first two bytes say; 4: node is taken
// as it is.
#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fusefs/fuse_server.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/world.h"

#define NODES_MAX 64
#define MESSAGES_MAX 48
#define ARGUMENT_MAX 8192u
#define REPLY_MS 2000

struct stream {
	const uint8_t *p, *end;
	int fd;
	uint64_t unique;
	uint64_t nodes[NODES_MAX];
	unsigned nodes_len;
};

static void *serve(void *arg)
{
	(void)!fuse_server_run(arg, NULL, NULL);
	return NULL;
}

static uint64_t node(const struct stream *s, uint64_t n)
{
	return s->nodes[n % s->nodes_len];
}

static void learn(struct stream *s, uint32_t opcode, const uint8_t *body, size_t len)
{
	uint64_t id;

	if (opcode != FUSE_LOOKUP && opcode != FUSE_MKNOD && opcode != FUSE_MKDIR &&
	    opcode != FUSE_SYMLINK && opcode != FUSE_LINK && opcode != FUSE_CREATE)
		return;
	if (len < sizeof(struct fuse_entry_out) || s->nodes_len == NODES_MAX)
		return;
	memcpy(&id, body, sizeof(id));
	if (id)
		s->nodes[s->nodes_len++] = id;
}

static int has_reply(uint32_t opcode)
{
	return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && opcode != FUSE_INTERRUPT &&
	       opcode != FUSE_DESTROY && opcode != FUSE_NOTIFY_REPLY;
}

// One reply to the last request; notifications are passed over.
static void receive(struct stream *s, uint32_t opcode)
{
	static uint8_t buf[1u << 20];
	struct fuse_out_header h;

	for (;;) {
		struct pollfd polled = {.fd = s->fd, .events = POLLIN};

		if (poll(&polled, 1, has_reply(opcode) ? REPLY_MS : 0) <= 0)
			return;
		ssize_t n = recv(s->fd, buf, sizeof(buf), 0);
		if (n < (ssize_t)sizeof(h))
			return;
		memcpy(&h, buf, sizeof(h));
		FUZZ_NEED(h.len == (uint32_t)n);
		FUZZ_NEED(h.unique == 0 || (h.error <= 0 && h.error > -1000));
		if (h.unique == s->unique) {
			if (!h.error)
				learn(s, opcode, buf + sizeof(h), (size_t)n - sizeof(h));
			return;
		}
	}
}

static void send_message(struct stream *s, uint32_t opcode, uint64_t nodeid, const uint8_t *arg,
			 size_t len, uint32_t claimed)
{
	static uint8_t buf[sizeof(struct fuse_in_header) + ARGUMENT_MAX];
	const struct fuse_in_header h = {
		.len = claimed ? claimed : (uint32_t)(sizeof(h) + len),
		.opcode = opcode,
		.unique = s->unique += 2,
		.nodeid = nodeid,
	};

	memcpy(buf, &h, sizeof(h));
	if (len)
		memcpy(buf + sizeof(h), arg, len);
	if (send(s->fd, buf, sizeof(h) + len, MSG_NOSIGNAL) > 0)
		receive(s, opcode);
}

static void initialize(struct stream *s)
{
	const struct fuse_init_in in = {
		.major = FUSE_KERNEL_VERSION,
		.minor = FUSE_KERNEL_MINOR_VERSION,
		.max_readahead = 128 << 10,
		.flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_DONT_MASK | FUSE_DO_READDIRPLUS |
			 FUSE_WRITEBACK_CACHE | FUSE_NO_OPEN_SUPPORT | FUSE_PARALLEL_DIROPS |
			 FUSE_POSIX_ACL | FUSE_MAX_PAGES | FUSE_NO_OPENDIR_SUPPORT |
			 FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT | FUSE_INIT_EXT,
	};

	send_message(s, FUSE_INIT, 0, (const uint8_t *)&in, sizeof(in), 0);
}

static void next_message(struct stream *s)
{
	static uint8_t arg[ARGUMENT_MAX];
	const uint8_t opcode = s->p[0], to = s->p[1], flags = s->p[2];
	size_t len = (size_t)s->p[3] | (size_t)s->p[4] << 8;
	uint32_t claimed = 0;

	s->p += 5;
	if (len > ARGUMENT_MAX)
		len = ARGUMENT_MAX;
	if (len > (size_t)(s->end - s->p))
		len = (size_t)(s->end - s->p);
	memcpy(arg, s->p, len);
	s->p += len;
	if (flags & 1 && len >= 8) {
		const uint64_t id = node(s, arg[0]);

		memcpy(arg, &id, sizeof(id));
	}
	if (flags & 2 && len >= 2)
		claimed = 1u + arg[0] + 256u * arg[1];
	if (opcode == FUSE_INIT || opcode == FUSE_DESTROY)
		return; // the end of the session is not what is looked at
	send_message(s, opcode, flags & 4 ? to : node(s, to), arg, len, claimed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stream s = {.p = data, .end = data + size, .nodes = {FS_ROOT}, .nodes_len = 1};
	struct simhost *disk = world_disk(1);
	struct fuse_server *server;
	struct mountopts opts;
	pthread_t thread;
	struct vault *v;
	struct fs *fs;
	int fds[2];

	FUZZ_NEED(world_open_engine(disk, &v, &fs) == 0);
	FUZZ_NEED(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) == 0);
	mountopts_init(&opts);
	opts.threads = 1;
	FUZZ_NEED(fuse_server_new(fs, &opts, NULL, fds[1], &server) == 0);
	FUZZ_NEED(pthread_create(&thread, NULL, serve, server) == 0);
	s.fd = fds[0];
	initialize(&s);
	for (unsigned i = 0; i < MESSAGES_MAX && s.end - s.p >= 5; i++)
		next_message(&s);
	close(s.fd);
	pthread_join(thread, NULL);
	fuse_server_free(server);
	// Whatever was asked for, the vault closes cleanly and opens again.
	FUZZ_NEED(fs_close(fs) == 0);
	vault_close(v);
	FUZZ_NEED(world_open_engine(disk, &v, &fs) == 0);
	world_walk(fs);
	fs_abandon(fs);
	vault_close(v);
	simhost_free(disk);
	return 0;
}
