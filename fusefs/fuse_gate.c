// SPDX-License-Identifier: Apache-2.0
// The gate in front of changes: while it is closed they are kept as they came in, so that they need
// no thread and reads go on; one thread processes them when it opens.
#include "fusefs/fuse_private.h"

#include <stdlib.h>
#include <string.h>

struct fuse_parked {
	struct fuse_parked *next;
	size_t len;
	uint8_t request[];
};

void fuse_gate_init(struct fuse_gate *g)
{
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->changed, NULL);
	g->tail = &g->head;
}

bool fuse_gate_park(struct fuse_server *s, const struct loop_worker *w, size_t len)
{
	struct fuse_gate *g = &s->gate;
	struct fuse_parked *p = NULL;

	if (!atomic_load(&g->closed))
		return false;
	pthread_mutex_lock(&g->lock);
	if (atomic_load(&g->closed) && g->bytes + len <= FUSE_GATE_BYTES)
		p = malloc(sizeof(*p) + len);
	if (p != NULL) {
		p->next = NULL;
		p->len = len;
		memcpy(p->request, w->in, len);
		*g->tail = p;
		g->tail = &p->next;
		g->bytes += len;
	} else if (atomic_load(&g->closed)) {
		// Too many to keep: this thread waits itself.
		loop_blocking();
		while (atomic_load(&g->closed))
			pthread_cond_wait(&g->changed, &g->lock);
	}
	pthread_mutex_unlock(&g->lock);
	return p != NULL;
}

static struct fuse_parked *take(struct fuse_gate *g)
{
	struct fuse_parked *p;

	pthread_mutex_lock(&g->lock);
	while (atomic_load(&g->closed))
		pthread_cond_wait(&g->changed, &g->lock);
	p = g->head;
	if (p != NULL) {
		g->head = p->next;
		g->bytes -= p->len;
	}
	if (g->head == NULL)
		g->tail = &g->head;
	pthread_mutex_unlock(&g->lock);
	return p;
}

static void *release(void *arg)
{
	struct fuse_server *s = arg;
	struct fuse_parked *p;
	struct loop_worker *w;

	// fuse_server_close_gate waits for the word whether there was memory.
	int err = loop_guest_enter(s->loop, LOOP_THREADS_MAX, &w);
	pthread_mutex_lock(&s->gate.lock);
	s->gate.running = err == 0;
	atomic_store(&s->gate.closed, err == 0);
	s->gate.starting = false;
	pthread_cond_broadcast(&s->gate.changed);
	pthread_mutex_unlock(&s->gate.lock);
	if (err != 0)
		return NULL;
	while ((p = take(&s->gate)) != NULL) {
		memcpy(w->in, p->request, p->len);
		fuse_process_again(s, w, p->len);
		explicit_bzero(p->request, p->len);
		free(p);
	}
	loop_guest_leave(s->loop);
	return NULL;
}

int fuse_server_close_gate(struct fuse_server *s)
{
	struct fuse_gate *g = &s->gate;

	if (atomic_load(&g->closed))
		return WERR_BUSY;
	fuse_gate_end(s);
	pthread_mutex_lock(&g->lock);
	g->starting = true;
	int err = pthread_create(&g->thread, NULL, release, s) != 0 ? WERR_NOMEM : 0;
	while (err == 0 && g->starting)
		pthread_cond_wait(&g->changed, &g->lock);
	bool running = g->running;
	pthread_mutex_unlock(&g->lock);
	if (err == 0 && !running) {
		pthread_join(g->thread, NULL);
		err = WERR_NOMEM;
	}
	return err;
}

void fuse_server_open_gate(struct fuse_server *s)
{
	struct fuse_gate *g = &s->gate;

	pthread_mutex_lock(&g->lock);
	atomic_store(&g->closed, false);
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

void fuse_gate_end(struct fuse_server *s)
{
	struct fuse_gate *g = &s->gate;

	fuse_server_open_gate(s);
	pthread_mutex_lock(&g->lock);
	bool join = g->running;
	g->running = false;
	pthread_mutex_unlock(&g->lock);
	if (join)
		pthread_join(g->thread, NULL);
}
