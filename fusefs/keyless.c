// SPDX-License-Identifier: Apache-2.0
#include "fusefs/keyless.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "crypto/secret.h"

#define REQUEST_BYTES ((1u << 20) + (64u << 10))

struct keyless_parked {
	struct keyless_parked *next;
	size_t len;
	uint8_t request[];
};

struct keyless {
	int fd;
	bool socket;
	int wake; // eventfd
	struct keyless_face face;
	uint8_t *request; // REQUEST_BYTES, never secret memory: the kernel pins it

	// The table: open addressing by number; the thread of keyless_run's.
	struct handover_node *nodes;
	size_t nodes_len;
	uint32_t *slots; // 1 + index into nodes
	size_t slots_len;

	pthread_mutex_t lock;
	struct keyless_parked *parked, **parked_end; // secret memory; guarded by lock
	uint64_t parked_count, parked_bytes, failed; // guarded by lock
	bool asleep;                                 // guarded by lock
	atomic_uint_fast64_t requests;
};

int keyless_new(int fd, struct keyless **ret)
{
	struct keyless *k = calloc(1, sizeof(*k));
	struct stat st;

	if (k == NULL)
		return WERR_NOMEM;
	k->request = malloc(REQUEST_BYTES);
	k->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (k->request == NULL || k->wake < 0) {
		if (k->wake >= 0)
			close(k->wake);
		free(k->request);
		free(k);
		return WERR_NOMEM;
	}
	k->fd = fd;
	k->socket = fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
	k->parked_end = &k->parked;
	pthread_mutex_init(&k->lock, NULL);
	*ret = k;
	return 0;
}

static void drop_parked(struct keyless *k)
{
	while (k->parked != NULL) {
		struct keyless_parked *p = k->parked;

		k->parked = p->next;
		secret_free(p);
	}
	k->parked_end = &k->parked;
	k->parked_count = k->parked_bytes = 0;
}

void keyless_free(struct keyless *k)
{
	if (k == NULL)
		return;
	drop_parked(k);
	close(k->fd);
	close(k->wake);
	secret_wipe(k->request, REQUEST_BYTES);
	free(k->request);
	free(k->nodes);
	free(k->slots);
	pthread_mutex_destroy(&k->lock);
	free(k);
}

// ---- the channel ----

static void send_all(struct keyless *k, struct iovec *iov, int count)
{
	const struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)count};

	// A failure means that nobody waits any more.
	ssize_t n = k->socket ? sendmsg(k->fd, &msg, MSG_NOSIGNAL) : writev(k->fd, iov, count);
	(void)n;
}

static void answer(struct keyless *k, uint64_t unique, int error, const void *data, size_t len)
{
	struct fuse_out_header head = {
		.len = (uint32_t)(sizeof(head) + len), .error = -error, .unique = unique};
	struct iovec iov[2] = {{.iov_base = &head, .iov_len = sizeof(head)},
			       {.iov_base = (void *)(uintptr_t)data, .iov_len = len}};

	send_all(k, iov, len > 0 ? 2 : 1);
}

static void notify_inode(struct keyless *k, uint64_t number, int64_t off)
{
	struct fuse_notify_inval_inode_out arg = {.ino = number, .off = off};
	struct fuse_out_header head = {.len = sizeof(head) + sizeof(arg),
				       .error = FUSE_NOTIFY_INVAL_INODE};
	struct iovec iov[2] = {{.iov_base = &head, .iov_len = sizeof(head)},
			       {.iov_base = &arg, .iov_len = sizeof(arg)}};

	send_all(k, iov, 2);
}

void keyless_invalidate(struct keyless *k, const uint64_t *numbers, size_t len)
{
	// The attributes first: from then on write(2) asks for them, and is refused, so that
	// nothing becomes dirty behind us.
	for (size_t i = 0; i < len; i++)
		notify_inode(k, numbers[i], -1);
	for (size_t i = 0; i < len; i++)
		notify_inode(k, numbers[i], 0);
}

// ---- the table ----

static size_t slot_of(const struct keyless *k, uint64_t number)
{
	size_t i = (size_t)((number * 0x9e3779b97f4a7c15ull) >> 20) & (k->slots_len - 1);

	while (k->slots[i] != 0 && k->nodes[k->slots[i] - 1].number != number)
		i = (i + 1) & (k->slots_len - 1);
	return i;
}

static int take_nodes(struct keyless *k, const struct handover_node *nodes, size_t len)
{
	size_t slots = 64;

	if (len > UINT32_MAX / 4)
		return WERR_LIMIT;
	while (slots < 2 * len)
		slots *= 2;
	free(k->nodes);
	free(k->slots);
	k->nodes_len = 0;
	k->nodes = malloc((len + 1) * sizeof(*k->nodes));
	k->slots = calloc(slots, sizeof(*k->slots));
	if (k->nodes == NULL || k->slots == NULL)
		return WERR_NOMEM;
	k->slots_len = slots;
	if (len > 0)
		memcpy(k->nodes, nodes, len * sizeof(*nodes));
	k->nodes_len = len;
	for (size_t i = 0; i < len; i++)
		k->slots[slot_of(k, nodes[i].number)] = (uint32_t)i + 1;
	return 0;
}

static void forget(struct keyless *k, uint64_t number, uint64_t count)
{
	uint32_t at = k->slots[slot_of(k, number)];

	if (at == 0)
		return;
	uint64_t *lookups = &k->nodes[at - 1].lookups;
	*lookups = count < *lookups ? *lookups - count : 0;
}

const struct handover_node *keyless_nodes(const struct keyless *k, size_t *ret_len)
{
	*ret_len = k->nodes_len;
	return k->nodes;
}

// ---- what the kernel still had to write ----

static void park(struct keyless *k, const struct fuse_in_header *h)
{
	struct keyless_parked *p = NULL;

	pthread_mutex_lock(&k->lock);
	bool asleep = k->asleep;
	if (!asleep && k->parked_bytes + h->len <= KEYLESS_PARKED_BYTES)
		p = secret_alloc(sizeof(*p) + h->len);
	if (p != NULL) {
		p->len = h->len;
		memcpy(p->request, k->request, h->len);
		*k->parked_end = p;
		k->parked_end = &p->next;
		k->parked_count++;
		k->parked_bytes += h->len;
	} else {
		k->failed++;
	}
	pthread_mutex_unlock(&k->lock);
	if (p == NULL)
		answer(k, h->unique, k->face.error, NULL, 0);
}

uint64_t keyless_sleep(struct keyless *k)
{
	pthread_mutex_lock(&k->lock);
	k->asleep = true;
	for (struct keyless_parked *p = k->parked; p != NULL; p = p->next) {
		struct fuse_in_header h;

		memcpy(&h, p->request, sizeof(h));
		answer(k, h.unique, k->face.error, NULL, 0);
		k->failed++;
	}
	drop_parked(k);
	uint64_t failed = k->failed;
	pthread_mutex_unlock(&k->lock);
	return failed;
}

void keyless_wake(struct keyless *k)
{
	pthread_mutex_lock(&k->lock);
	k->asleep = false;
	pthread_mutex_unlock(&k->lock);
}

const struct keyless_parked *keyless_parked(const struct keyless *k,
					    const struct keyless_parked *previous,
					    const void **ret_request, size_t *ret_len)
{
	const struct keyless_parked *p = previous != NULL ? previous->next : k->parked;

	if (p != NULL) {
		*ret_request = p->request;
		*ret_len = p->len;
	}
	return p;
}

void keyless_get_status(struct keyless *k, struct keyless_status *ret)
{
	pthread_mutex_lock(&k->lock);
	*ret = (struct keyless_status){.requests = atomic_load(&k->requests),
				       .parked = k->parked_count,
				       .parked_bytes = k->parked_bytes,
				       .failed = k->failed};
	pthread_mutex_unlock(&k->lock);
}

// ---- requests ----

// A write of the kernel's cache, not one that a program waits for.
static bool is_writeback(const struct keyless *k, const struct fuse_in_header *h)
{
	struct fuse_write_in write;
	struct fuse_setattr_in set;
	const uint32_t times = FATTR_MTIME | FATTR_CTIME | FATTR_FH | FATTR_LOCKOWNER;

	if (h->opcode == FUSE_WRITE && h->len >= sizeof(*h) + sizeof(write)) {
		memcpy(&write, k->request + sizeof(*h), sizeof(write));
		return (write.write_flags & FUSE_WRITE_CACHE) != 0;
	}
	if (h->opcode == FUSE_SETATTR && h->len >= sizeof(*h) + sizeof(set)) {
		memcpy(&set, k->request + sizeof(*h), sizeof(set));
		return (set.valid & FATTR_CTIME) != 0 && (set.valid & ~times) == 0;
	}
	return false;
}

static void answer_root(struct keyless *k, uint64_t unique)
{
	const struct stat *st = &k->face.root;
	// Not to be kept: the real ones come with the unlocking.
	const struct fuse_attr_out out = {
		.attr = {.ino = FUSE_ROOT_ID,
			 .size = (uint64_t)st->st_size,
			 .blocks = (uint64_t)st->st_blocks,
			 .atime = (uint64_t)st->st_atim.tv_sec,
			 .mtime = (uint64_t)st->st_mtim.tv_sec,
			 .ctime = (uint64_t)st->st_ctim.tv_sec,
			 .atimensec = (uint32_t)st->st_atim.tv_nsec,
			 .mtimensec = (uint32_t)st->st_mtim.tv_nsec,
			 .ctimensec = (uint32_t)st->st_ctim.tv_nsec,
			 .mode = st->st_mode,
			 .nlink = (uint32_t)st->st_nlink,
			 .uid = st->st_uid,
			 .gid = st->st_gid,
			 .blksize = (uint32_t)st->st_blksize},
	};

	answer(k, unique, 0, &out, sizeof(out));
}

static void answer_space(struct keyless *k, uint64_t unique)
{
	const struct statvfs *v = &k->face.space;
	const struct fuse_statfs_out out = {
		.st = {.blocks = v->f_blocks,
		       .bfree = v->f_bfree,
		       .bavail = v->f_bavail,
		       .files = v->f_files,
		       .ffree = v->f_ffree,
		       .bsize = (uint32_t)v->f_bsize,
		       .namelen = (uint32_t)v->f_namemax,
		       .frsize = (uint32_t)v->f_frsize},
	};

	answer(k, unique, 0, &out, sizeof(out));
}

static void forget_batch(struct keyless *k, size_t len)
{
	struct fuse_batch_forget_in in;
	struct fuse_forget_one one;
	size_t at = sizeof(struct fuse_in_header) + sizeof(in);

	if (len < at)
		return;
	memcpy(&in, k->request + sizeof(struct fuse_in_header), sizeof(in));
	for (uint32_t i = 0; i < in.count && at + sizeof(one) <= len; i++, at += sizeof(one)) {
		memcpy(&one, k->request + at, sizeof(one));
		forget(k, one.nodeid, one.nlookup);
	}
}

static void handle(struct keyless *k, const struct fuse_in_header *h)
{
	struct fuse_forget_in in;

	atomic_fetch_add(&k->requests, 1);
	switch (h->opcode) {
	case FUSE_FORGET:
		if (h->len >= sizeof(*h) + sizeof(in)) {
			memcpy(&in, k->request + sizeof(*h), sizeof(in));
			forget(k, h->nodeid, in.nlookup);
		}
		return;
	case FUSE_BATCH_FORGET:
		forget_batch(k, h->len);
		return;
	case FUSE_INTERRUPT: // nothing that a program waits for is kept
	case FUSE_NOTIFY_REPLY:
		return;
	case FUSE_GETATTR:
		if (h->nodeid == FUSE_ROOT_ID)
			answer_root(k, h->unique);
		else
			answer(k, h->unique, k->face.error, NULL, 0);
		return;
	case FUSE_STATFS:
		answer_space(k, h->unique);
		return;
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
	case FUSE_FLUSH:
	case FUSE_DESTROY:
		answer(k, h->unique, 0, NULL, 0);
		return;
	default:
		if (is_writeback(k, h))
			park(k, h);
		else
			answer(k, h->unique, k->face.error, NULL, 0);
	}
}

// One request. Names and contents that came with it do not stay.
static int serve_one(struct keyless *k)
{
	struct fuse_in_header h;
	ssize_t n = read(k->fd, k->request, REQUEST_BYTES);

	if (n == 0)
		return WERR_NODEVICE;
	if (n < 0) {
		if (errno == EINTR || errno == EAGAIN || errno == ENOENT)
			return 0;
		return errno == ENODEV || errno == ECONNABORTED || errno == ECONNRESET
			       ? WERR_NODEVICE
			       : werr_from_errno(errno);
	}
	memcpy(&h, k->request, sizeof(h));
	if ((size_t)n >= sizeof(h) && h.len == (size_t)n)
		handle(k, &h);
	secret_wipe(k->request, (size_t)n);
	return 0;
}

static int serve(struct keyless *k)
{
	struct pollfd polled[2] = {{.fd = k->wake, .events = POLLIN},
				   {.fd = k->fd, .events = POLLIN}};
	int err = 0;

	while (err == 0) {
		if (poll(polled, 2, -1) < 0) {
			err = errno == EINTR ? 0 : werr_from_errno(errno);
			continue;
		}
		if (polled[0].revents != 0)
			return 0;
		if (polled[1].revents != 0)
			err = serve_one(k);
	}
	return err;
}

int keyless_run(struct keyless *k, const struct keyless_face *face,
		const struct handover_node *nodes, size_t len)
{
	int err = nodes != NULL || k->nodes == NULL ? take_nodes(k, nodes, len) : 0;
	int flags = fcntl(k->fd, F_GETFL);

	if (err != 0)
		return err;
	k->face = *face;
	// A request may have gone between poll and read; whoever serves next wants to block again.
	(void)fcntl(k->fd, F_SETFL, flags | O_NONBLOCK);
	err = serve(k);
	(void)fcntl(k->fd, F_SETFL, flags);
	eventfd_t none;
	(void)eventfd_read(k->wake, &none);
	return err;
}

void keyless_stop(struct keyless *k)
{
	(void)eventfd_write(k->wake, 1);
}
