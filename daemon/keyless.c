// SPDX-License-Identifier: Apache-2.0
#include "daemon/keyless.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/lock_wire.h"

// So long the other side may take for a step that needs the vault's host.
#define PATIENCE_MS 60000

struct keyless_holder {
	struct keyless *k; // NULL before the channel has come
	int channel;       // k's
	int lock_fd;       // holds the vault's lock
	struct lock_state state;

	pthread_t server;
	int serving; // the thread is to be joined
	int result;  // the thread's
	struct handover_node *nodes;
	size_t nodes_len;

	// A round of notifications; it may wait for as long as the vault is locked.
	pthread_t forgetter;
	int forgetting;     // the thread is to be joined
	atomic_bool forgot; // it is at its end
	int sock;
	uint64_t *numbers;
	size_t numbers_len;

	void (*ended)(void *arg, int code);
	void *arg;
};

int keyless_holder_new(void (*ended)(void *arg, int code), void *arg, struct keyless_holder **ret)
{
	struct keyless_holder *h = calloc(1, sizeof(*h));

	if (!h)
		return WERR_NOMEM;
	h->lock_fd = h->channel = h->sock = -1;
	h->ended = ended;
	h->arg = arg;
	*ret = h;
	return 0;
}

static int start_thread(pthread_t *thread, void *(*fn)(void *), void *arg)
{
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int err = pthread_create(thread, NULL, fn, arg) ? WERR_NOMEM : 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return err;
}

// ---- forgetting ----

static void *forget(void *arg)
{
	struct keyless_holder *h = arg;
	const struct lock_wire done = {.kind = LOCK_WIRE_DONE};

	keyless_invalidate(h->k, h->numbers, h->numbers_len);
	// Nobody may be waiting for it any more.
	int ignored = lock_wire_send(h->sock, &done, NULL, 0);
	(void)ignored;
	atomic_store(&h->forgot, true);
	return NULL;
}

static void end_forgetting(struct keyless_holder *h)
{
	if (h->forgetting)
		pthread_join(h->forgetter, NULL);
	h->forgetting = 0;
	free(h->numbers);
	h->numbers = NULL;
	if (h->sock >= 0)
		close(h->sock);
	h->sock = -1;
}

static int take_numbers(struct keyless_holder *h, const struct lock_wire *m, int fd)
{
	void *from;
	size_t room;

	if (__builtin_mul_overflow(m->count, sizeof(uint64_t), &room) || room > m->bytes)
		return WERR_MALFORMED;
	int err = lock_wire_map(fd, m->bytes, &from);
	if (err)
		return err;
	h->numbers = malloc(room + 1);
	h->numbers_len = m->count;
	if (h->numbers)
		memcpy(h->numbers, from, room);
	lock_wire_unmap(from, m->bytes);
	return h->numbers ? 0 : WERR_NOMEM;
}

// The channel comes with the first round.
static int begin_round(struct keyless_holder *h, int sock, const struct lock_wire *m,
		       int fds[static LOCK_WIRE_FDS])
{
	if (!h->k) {
		if (fds[1] < 0)
			return WERR_MALFORMED;
		int err = keyless_new(fds[1], &h->k);
		if (err)
			return err;
		h->channel = fds[1];
		fds[1] = -1;
	}
	end_forgetting(h);
	int err = take_numbers(h, m, fds[0]);
	h->sock = dup(sock);
	atomic_store(&h->forgot, false);
	if (!err && h->sock < 0)
		err = WERR_MFILE;
	if (!err)
		err = start_thread(&h->forgetter, forget, h);
	h->forgetting = !err;
	return err;
}

// ---- serving ----

static void *serve(void *arg)
{
	struct keyless_holder *h = arg;

	h->result = keyless_run(h->k, &h->state.face, h->nodes, h->nodes_len);
	if (h->result && h->ended)
		h->ended(h->arg, h->result);
	return NULL;
}

static int begin_serving(struct keyless_holder *h)
{
	int err = start_thread(&h->server, serve, h);

	h->serving = !err;
	return err;
}

static void end_serving(struct keyless_holder *h)
{
	if (!h->serving)
		return;
	keyless_stop(h->k);
	pthread_join(h->server, NULL);
	h->serving = 0;
	free(h->nodes); // the server has its own
	h->nodes = NULL;
	h->nodes_len = 0;
}

// ---- taking ----

static int take_state(struct keyless_holder *h, const struct lock_wire *m,
		      int fds[static LOCK_WIRE_FDS])
{
	size_t room;
	void *from;

	if (!h->k || fds[1] < 0 || m->bytes < sizeof(h->state) ||
	    __builtin_mul_overflow(m->count, sizeof(*h->nodes), &room) ||
	    room > m->bytes - sizeof(h->state))
		return WERR_MALFORMED;
	int err = lock_wire_map(fds[0], m->bytes, &from);
	if (err)
		return err;
	h->nodes = malloc(room + 1);
	if (h->nodes) {
		memcpy(&h->state, from, sizeof(h->state));
		memcpy(h->nodes, (const uint8_t *)from + sizeof(h->state), room);
		h->nodes_len = m->count;
		h->lock_fd = fds[1];
		fds[1] = -1;
	}
	lock_wire_unmap(from, m->bytes);
	return h->nodes ? 0 : WERR_NOMEM;
}

// One message, of whichever kind may come.
static int receive_either(int sock, struct lock_wire *m, int fds[static LOCK_WIRE_FDS])
{
	uint32_t kind = lock_wire_peek(sock, PATIENCE_MS);

	return lock_wire_receive(sock, kind == LOCK_WIRE_HAND ? kind : LOCK_WIRE_INVALIDATE,
				 PATIENCE_MS, m, fds);
}

int keyless_holder_take(struct keyless_holder *h, int sock)
{
	const struct lock_wire taken = {.kind = LOCK_WIRE_TAKEN};

	for (;;) {
		int fds[LOCK_WIRE_FDS];
		struct lock_wire m;
		int err = receive_either(sock, &m, fds);

		if (err)
			return err;
		if (m.kind == LOCK_WIRE_HAND) {
			err = take_state(h, &m, fds);
			lock_wire_close(fds);
			// First the word: once this process serves the other must not go on.
			if (!err)
				err = lock_wire_send(sock, &taken, NULL, 0);
			return err ? err : begin_serving(h);
		}
		err = begin_round(h, sock, &m, fds);
		lock_wire_close(fds);
		if (err)
			return err;
	}
}

// ---- giving ----

static size_t parked_room(const struct keyless *k, size_t *ret_count)
{
	const struct keyless_parked *p = NULL;
	const void *request;
	size_t len, room = 0;

	*ret_count = 0;
	while ((p = keyless_parked(k, p, &request, &len))) {
		room += sizeof(uint64_t) + len;
		*ret_count += 1;
	}
	return room;
}

static void copy_parked(const struct keyless *k, uint8_t *to)
{
	const struct keyless_parked *p = NULL;
	const void *request;
	size_t len;

	while ((p = keyless_parked(k, p, &request, &len))) {
		uint64_t n = len;

		memcpy(to, &n, sizeof(n));
		memcpy(to + sizeof(n), request, len);
		to += sizeof(n) + len;
	}
}

static int send_all(struct keyless_holder *h, int sock)
{
	struct lock_wire m = {.kind = LOCK_WIRE_GIVEN};
	int fds[LOCK_WIRE_FDS] = {-1, h->channel, -1};
	void *state = NULL, *parked = NULL;
	size_t len, count;
	const struct handover_node *nodes = keyless_nodes(h->k, &len);

	m.count = len;
	m.bytes = sizeof(h->state) + len * sizeof(*nodes);
	m.parked_bytes = parked_room(h->k, &count);
	m.parked_count = count;
	int err = lock_wire_make(m.bytes, 0, &fds[0], &state);
	if (!err && count > 0)
		err = lock_wire_make(m.parked_bytes, 1, &fds[2], &parked);
	if (!err) {
		memcpy(state, &h->state, sizeof(h->state));
		if (len > 0)
			memcpy((uint8_t *)state + sizeof(h->state), nodes, len * sizeof(*nodes));
		if (parked)
			copy_parked(h->k, parked);
		err = lock_wire_send(sock, &m, fds, count > 0 ? 3 : 2);
	}
	// Not wiped: the other side reads the same memory.
	lock_wire_drop(state, m.bytes);
	lock_wire_drop(parked, m.parked_bytes);
	if (fds[0] >= 0)
		close(fds[0]);
	if (fds[2] >= 0)
		close(fds[2]);
	return err;
}

static int give(struct keyless_holder *h, int sock)
{
	struct lock_wire m = {.kind = LOCK_WIRE_HOLD};
	int fds[LOCK_WIRE_FDS];
	int err = lock_wire_receive(sock, LOCK_WIRE_ASK, PATIENCE_MS, &m, fds);

	if (err)
		return err;
	lock_wire_close(fds);
	m = (struct lock_wire){.kind = LOCK_WIRE_HOLD, .identity = h->state.identity};
	err = lock_wire_send(sock, &m, &h->lock_fd, 1);
	if (!err)
		err = lock_wire_receive(sock, LOCK_WIRE_GIVE, -1, &m, fds);
	if (err)
		return err;
	lock_wire_close(fds);
	end_serving(h);
	err = send_all(h, sock);
	if (!err)
		err = lock_wire_receive(sock, LOCK_WIRE_HAVE, -1, &m, fds);
	if (!err)
		lock_wire_close(fds);
	return err;
}

int keyless_holder_give(struct keyless_holder *h, int sock)
{
	int err = h->serving ? give(h, sock) : WERR_BUSY;

	if (err && h->k && !h->serving && begin_serving(h))
		return WERR_NOMEM;
	return err;
}

// ---- the rest ----

uint64_t keyless_holder_sleep(struct keyless_holder *h)
{
	return h->serving ? keyless_sleep(h->k) : 0;
}

void keyless_holder_wake(struct keyless_holder *h)
{
	if (h->serving)
		keyless_wake(h->k);
}

void keyless_holder_status(struct keyless_holder *h, struct keyless_status *ret)
{
	*ret = (struct keyless_status){0};
	if (h->k)
		keyless_get_status(h->k, ret);
}

void keyless_holder_free(struct keyless_holder *h)
{
	if (!h)
		return;
	end_serving(h);
	// Where the serving has ended a notification may still wait for a write-back that nobody
	// answers; the end of the process, or of the connection, ends it.
	if (h->forgetting && !atomic_load(&h->forgot)) {
		pthread_detach(h->forgetter);
		return;
	}
	end_forgetting(h);
	keyless_free(h->k);
	if (h->lock_fd >= 0)
		close(h->lock_fd);
	free(h->nodes);
	free(h);
}
