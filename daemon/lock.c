// SPDX-License-Identifier: Apache-2.0
#include "daemon/lock.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/lock_wire.h"
#include "fusefs/rotate.h"

#define ROUNDS_MAX 4
// The other side only moves what it has in memory.
#define ANSWER_MS 2000

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

// ---- making the kernel forget ----

static int send_numbers(const struct lock_params *p, const uint64_t *numbers, size_t len, int first)
{
	struct fuse_connection c;
	struct lock_wire m = {.kind = LOCK_WIRE_INVALIDATE, .count = len};
	int fds[2];
	void *to;

	m.bytes = (len + 1) * sizeof(*numbers);
	int err = lock_wire_make(m.bytes, 0, &fds[0], &to);
	if (err)
		return err;
	memcpy(to, numbers, len * sizeof(*numbers));
	fuse_server_connection(p->server, &c);
	fds[1] = c.fd;
	err = lock_wire_send(p->sock, &m, fds, first ? 2 : 1);
	lock_wire_drop(to, m.bytes);
	close(fds[0]);
	return err;
}

// One round of the keyless process. WERR_BUSY: not done in time; it goes on by itself.
static int forget_round(const struct lock_params *p, const uint64_t *numbers, size_t len, int first,
			int64_t until)
{
	int fds[LOCK_WIRE_FDS];
	struct lock_wire m;
	int err = send_numbers(p, numbers, len, first);

	if (!err && first)
		err = fuse_server_forget_names(p->server);
	if (err)
		return err;
	int64_t left = until - now_ms();
	err = lock_wire_receive(p->sock, LOCK_WIRE_DONE, left > 0 ? (int)left : 0, &m, fds);
	lock_wire_close(fds);
	return err;
}

static int forget_all(const struct lock_params *p, int64_t until)
{
	uint64_t *numbers;
	size_t len;
	int all = 0;
	int err = fs_known_nodes(p->fs, &numbers, &len);

	for (int round = 0; !err; round++) {
		err = forget_round(p, numbers, len, round == 0, until);
		free(numbers);
		numbers = NULL;
		if (err || round == ROUNDS_MAX)
			break;
		// What was written in the meantime may have left clean pages.
		err = fuse_server_wrote(p->server, &numbers, &len, &all);
		if (!err && all) {
			free(numbers);
			err = fs_known_nodes(p->fs, &numbers, &len);
		}
		if (!err && len == 0) {
			free(numbers);
			break;
		}
	}
	// What the kernel could not bring in time waits there, and in the keyless process.
	return err == WERR_BUSY ? 0 : err;
}

int lock_drain(const struct lock_params *p)
{
	fuse_server_refuse(p->server, p->error);
	int err = forget_all(p, now_ms() + p->drain_ms);
	if (err) {
		fuse_server_refuse(p->server, 0);
		return err;
	}
	fuse_server_pause(p->server);
	return 0;
}

// ---- handing over ----

static int make_face(const struct lock_params *p, struct keyless_face *ret)
{
	struct host_space space = {0};
	struct fs_stat st;
	int err = fs_getattr(p->fs, FS_ROOT, &st);

	if (!err)
		err = fs_statfs(p->fs, &space);
	if (err)
		return err;
	*ret = (struct keyless_face){.error = p->error};
	// Who may enter, and nothing else of the root.
	ret->root.st_mode = S_IFDIR | st.attr.mode;
	ret->root.st_uid = st.attr.uid;
	ret->root.st_gid = st.attr.gid;
	ret->root.st_nlink = 2;
	ret->root.st_blksize = 4096;
	clock_gettime(CLOCK_REALTIME, &ret->root.st_mtim);
	ret->root.st_atim = ret->root.st_ctim = ret->root.st_mtim;
	ret->space.f_bsize = ret->space.f_frsize = space.block_bytes;
	ret->space.f_blocks = space.blocks;
	ret->space.f_bfree = space.blocks_free;
	ret->space.f_bavail = space.blocks_avail;
	ret->space.f_files = space.files;
	ret->space.f_ffree = space.files_free;
	ret->space.f_namemax = FS_NAME_MAX;
	return 0;
}

static struct lock_identity identity_of(const struct vault_header *h)
{
	struct lock_identity id = {.root_incarnation = h->root_incarnation,
				   .write_counter = h->write_counter};

	memcpy(id.vault_id, h->vault_id, sizeof(id.vault_id));
	return id;
}

static int send_state(const struct lock_params *p, const struct handover_node *nodes, size_t len)
{
	struct lock_wire m = {.kind = LOCK_WIRE_HAND, .count = len};
	struct fuse_connection c;
	int fds[LOCK_WIRE_FDS];
	struct rotate_status rotation;
	struct lock_state *state;
	void *to;

	size_t size = sizeof(*state) + len * sizeof(*nodes);
	m.bytes = size;
	int err = lock_wire_make(m.bytes, 0, &fds[0], &to);
	if (err)
		return err;
	state = to;
	err = make_face(p, &state->face);
	state->identity = identity_of(p->header);
	fuse_server_connection(p->server, &c);
	state->init_len = c.init_len;
	memcpy(state->init, c.init, sizeof(state->init));
	rotate_get_status(p->fs, &rotation);
	state->rotation_paused = rotation.state == ROTATE_PAUSED;
	if (len > 0)
		memcpy(state + 1, nodes, len * sizeof(*nodes));
	fds[1] = host_posix_lock_fd(p->host);
	if (!err)
		err = lock_wire_send(p->sock, &m, fds, 2);
	lock_wire_drop(to, size);
	close(fds[0]);
	if (!err)
		err = lock_wire_receive(p->sock, LOCK_WIRE_TAKEN, ANSWER_MS, &m, fds);
	if (!err)
		lock_wire_close(fds);
	return err;
}

int lock_hand_over(const struct lock_params *p)
{
	struct handover_node *nodes;
	size_t len, lost;
	int err = fs_hand_over(p->fs, &nodes, &len);

	if (err)
		return err;
	err = send_state(p, nodes, len);
	free(nodes);
	if (err) {
		int ignored = fs_take_over(p->fs, NULL, 0, &lost);
		(void)ignored;
	}
	return err;
}

// ---- the way back ----

int lock_ask(int sock, int *ret_fd, struct lock_identity *ret)
{
	struct lock_wire m = {.kind = LOCK_WIRE_ASK};
	int fds[LOCK_WIRE_FDS];
	int err = lock_wire_send(sock, &m, NULL, 0);

	if (!err)
		err = lock_wire_receive(sock, LOCK_WIRE_HOLD, ANSWER_MS, &m, fds);
	if (err)
		return err;
	*ret = m.identity;
	*ret_fd = fds[0];
	fds[0] = -1;
	lock_wire_close(fds);
	return *ret_fd >= 0 ? 0 : WERR_MALFORMED;
}

int lock_compare(const struct lock_identity *locked, const struct vault_header *h)
{
	const struct lock_identity id = identity_of(h);

	if (memcmp(id.vault_id, locked->vault_id, sizeof(id.vault_id)) != 0 ||
	    id.root_incarnation != locked->root_incarnation)
		return WERR_AUTH;
	// An unlocking that was cut short may have written it since.
	return id.write_counter < locked->write_counter ? WERR_ROLLBACK : 0;
}

static int check_taken(const struct lock_wire *m, const int fds[static LOCK_WIRE_FDS],
		       struct lock_taken *ret)
{
	const struct lock_state *state;
	size_t room;

	if (fds[1] < 0 || m->bytes < sizeof(*state) ||
	    __builtin_mul_overflow(m->count, sizeof(struct handover_node), &room) ||
	    room > m->bytes - sizeof(*state))
		return WERR_MALFORMED;
	int err = lock_wire_map(fds[0], m->bytes, &ret->state);
	if (err)
		return err;
	ret->state_bytes = m->bytes;
	state = ret->state;
	if (state->init_len > sizeof(ret->connection.init))
		return WERR_MALFORMED;
	ret->connection.init_len = state->init_len;
	memcpy(ret->connection.init, state->init, sizeof(state->init));
	ret->nodes = (const struct handover_node *)(const void *)(state + 1);
	ret->nodes_len = m->count;
	ret->rotation_paused = state->rotation_paused != 0;
	if (m->parked_count == 0)
		return 0;
	err = lock_wire_map(fds[2], m->parked_bytes, &ret->parked);
	if (!err) {
		ret->parked_bytes = m->parked_bytes;
		ret->parked_count = m->parked_count;
	}
	return err;
}

int lock_take(int sock, struct lock_taken *ret)
{
	struct lock_wire m = {.kind = LOCK_WIRE_GIVE};
	struct lock_taken t = {.connection = {.fd = -1}};
	int fds[LOCK_WIRE_FDS];
	int err = lock_wire_send(sock, &m, NULL, 0);

	if (!err)
		err = lock_wire_receive(sock, LOCK_WIRE_GIVEN, ANSWER_MS, &m, fds);
	if (err)
		return err;
	err = check_taken(&m, fds, &t);
	if (!err) {
		t.connection.fd = fds[1];
		fds[1] = -1;
		*ret = t;
	} else {
		lock_taken_clear(&t);
	}
	lock_wire_close(fds);
	return err;
}

int lock_have(int sock)
{
	const struct lock_wire m = {.kind = LOCK_WIRE_HAVE};

	return lock_wire_send(sock, &m, NULL, 0);
}

int lock_replay(const struct lock_taken *t, struct fuse_server *server)
{
	const uint8_t *at = t->parked;
	size_t left = t->parked_bytes;
	int err = 0;

	for (size_t i = 0; !err && i < t->parked_count; i++) {
		uint64_t len;

		if (left < sizeof(len))
			return WERR_MALFORMED;
		memcpy(&len, at, sizeof(len));
		left -= sizeof(len);
		at += sizeof(len);
		if (len > left)
			return WERR_MALFORMED;
		err = fuse_server_replay(server, at, len);
		at += len;
		left -= len;
	}
	return err;
}

void lock_taken_clear(struct lock_taken *t)
{
	lock_wire_unmap(t->state, t->state_bytes);
	lock_wire_unmap(t->parked, t->parked_bytes);
	t->state = t->parked = NULL;
	t->nodes = NULL;
	t->nodes_len = t->parked_count = 0;
}
