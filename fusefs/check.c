// SPDX-License-Identifier: Apache-2.0
// The walk: one thread reads the directories and hands the files out, the others (and it, when they
// have enough to do) read the content.
#include "fusefs/check_private.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crypto/rng.h"
#include "crypto/secret.h"
#include "fusefs/salvage.h"

#define SHOW_MS 200u
#define WALKS_AGAIN 3

void check_report(struct check *c, const struct check_finding *f)
{
	struct check_plan *plan = c->params->plan;

	pthread_mutex_lock(&c->lock);
	c->totals->kinds[f->kind]++;
	switch (check_severity(f->kind)) {
	case CHECK_NOTE:
		c->totals->notes++;
		break;
	case CHECK_DAMAGE:
		c->totals->damages++;
		break;
	case CHECK_TAMPERED:
		c->totals->tampered++;
		break;
	}
	if (plan && f->number && check_severity(f->kind) != CHECK_NOTE) {
		int err = numberset_add(&plan->damaged, f->number);

		if (err == WERR_NOMEM) {
			atomic_store(&c->err, err);
		}
	}
	if (c->params->found) {
		c->params->found(c->params->arg, f);
	}
	pthread_mutex_unlock(&c->lock);
}

void check_object_report(struct check *c, const struct job *j, enum check_kind kind)
{
	struct check_finding f = {.kind = kind, .number = j->want.number, .path = j->path};

	check_report(c, &f);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void show(struct check *c)
{
	uint64_t now = now_ms(), done = atomic_load(&c->done);

	if (!c->params->progress || now - c->shown_ms < SHOW_MS) {
		return;
	}
	c->shown_ms = now;
	struct check_progress p = {.objects = done,
				   .objects_expected = c->expected > done ? c->expected : done,
				   .bytes = atomic_load(&c->bytes)};
	p.share = p.objects_expected ? (double)done / (double)p.objects_expected : 0;
	c->params->progress(c->params->arg, &p);
}

int check_step(struct bench *b, unsigned pages)
{
	struct check *c = b->c;

	atomic_fetch_add(&c->bytes, (uint64_t)pages * WARD_PAGE);
	if (c->params->stop && atomic_load(c->params->stop)) {
		return WERR_INTERRUPTED;
	}
	if (b->walks) {
		show(c);
	}
	return atomic_load(&c->err);
}

// --- files, handed out ---

static void fail(struct check *c, int err)
{
	int none = 0;

	if (err) {
		atomic_compare_exchange_strong(&c->err, &none, err);
	}
}

// A job from the ring; false: there is none (and none will come, when `wait`).
static bool take(struct check *c, struct job *ret, bool wait)
{
	pthread_mutex_lock(&c->lock);
	while (wait && c->count == 0 && !c->ending) {
		pthread_cond_wait(&c->work, &c->lock);
	}
	bool any = c->count > 0;
	if (any) {
		*ret = c->ring[c->head];
		c->head = (c->head + 1) % JOBS;
		c->count--;
		pthread_cond_signal(&c->room);
	}
	pthread_mutex_unlock(&c->lock);
	return any;
}

static void run_job(struct bench *b, struct job *j)
{
	if (atomic_load(&b->c->err) == 0) {
		fail(b->c, check_file(b, j));
	}
	check_job_clear(b->c, j);
}

// The job is taken over.
void check_hand_out(struct bench *b, struct job *j)
{
	struct check *c = b->c;

	pthread_mutex_lock(&c->lock);
	bool full = c->count == JOBS || c->params->threads == 1;
	if (!full) {
		c->ring[(c->head + c->count++) % JOBS] = *j;
		pthread_cond_signal(&c->work);
	}
	pthread_mutex_unlock(&c->lock);
	if (full) {
		run_job(b, j);
	}
}

static int bench_init(struct bench *b, struct check *c, bool walks)
{
	*b = (struct bench){.c = c, .walks = walks};
	b->in = calloc(1, sizeof *b->in);
	b->buf = malloc(INSPECT_PAGES * WARD_PAGE);
	return b->in && b->buf ? 0 : WERR_NOMEM;
}

static void bench_clear(struct bench *b)
{
	free(b->in);
	free(b->buf);
}

static void *reader(void *arg)
{
	struct check *c = arg;
	struct bench b;
	struct job j;

	fail(c, bench_init(&b, c, false));
	while (take(c, &j, true)) {
		run_job(&b, &j);
	}
	bench_clear(&b);
	return NULL;
}

static struct job job_of_node(const struct node *n)
{
	return (struct job){
		.want = {n->number, n->incarnation, OBJECT_DIR, n->bound, n->bound_epoch},
		.flags = ATTR_HAS_OBJECT,
	};
}

static bool has_host_file(struct fs *fs, uint64_t number)
{
	struct host_file *f;
	int err = hostcache_get(fs->hc, number, HOST_RDONLY, &f);

	if (err == 0) {
		hostcache_put(fs->hc, f);
	}
	return err != WERR_NOTFOUND;
}

// What the root's entry says of the links directory; where that is lost, what the host shows.
static struct job links_job(struct fs *fs)
{
	struct job j = job_of_node(fs->links);
	const struct salvage *s = fs->params.salvage;

	j.flags = fs->links->attr.flags;
	if (s && salvage_has(s, FS_ROOT) && has_host_file(fs, LINKS_NUMBER)) {
		j.flags |= ATTR_HAS_OBJECT;
	}
	return j;
}

// The links directory first, then the tree from the root on, depth first.
static int walk(struct bench *b)
{
	struct check *c = b->c;
	struct fs *fs = c->fs;
	int err = 0;

	if (fs->links) {
		struct job links = links_job(fs);

		links.path = strdup("/(links)");
		err = check_dir(b, &links);
		free(links.path);
	}
	struct job root = job_of_node(fs->root);
	if (fs->root->bound == 0) { // read around: what the vault header says of it
		root.want.generation = fs->v->h->root_generation;
		root.want.epoch = fs->v->h->root_epoch;
	}
	root.path = strdup("");
	err = err ? err : check_dir(b, &root);
	free(root.path);
	while (err == 0 && c->dirs) {
		struct dir_job *d = c->dirs;

		c->dirs = d->next;
		err = check_dir(b, &d->job);
		check_job_clear(c, &d->job);
		free(d);
	}
	return err;
}

// Files with several names: all of them were seen now.
static void count_links(struct bench *b)
{
	struct check *c = b->c;

	for (size_t i = 0; i < c->links.cap; i++) {
		const struct linked *l = &c->links.slots[i];

		if (l->number == 0 || !l->home) {
			continue;
		}
		if (l->names != l->nlink) {
			struct check_finding f = {.kind = CHECK_LINK_COUNT,
						  .number = l->number,
						  .found = l->nlink,
						  .wanted = l->names};
			check_report(c, &f);
		}
		if (l->names == 0) {
			check_linked(b, l, NULL);
		}
	}
}

// --- the whole ---

static unsigned start_readers(struct check *c, pthread_t *threads)
{
	unsigned started = 0;
	sigset_t all, old;

	sigfillset(&all); // signals are for the caller
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (started + 1 < c->params->threads &&
	       pthread_create(&threads[started], NULL, reader, c) == 0) {
		started++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return started;
}

static void end_readers(struct bench *b, pthread_t *threads, unsigned started)
{
	struct check *c = b->c;
	struct job j;

	while (take(c, &j, false)) { // what is left, by us too
		run_job(b, &j);
		fail(c, check_step(b, 0));
	}
	pthread_mutex_lock(&c->lock);
	c->ending = true;
	pthread_cond_broadcast(&c->work);
	pthread_mutex_unlock(&c->lock);
	while (started) {
		pthread_join(threads[--started], NULL);
	}
}

// What was renamed while we walked may have been missed by it.
static int look_again(struct check *c, struct bench *b)
{
	struct check_params alone = *c->params;
	const struct check_params *params = c->params;
	uint64_t unnamed = 1;
	int err = 0;

	alone.threads = 1;
	c->params = &alone;
	c->again = true;
	for (int i = 0; err == 0 && unnamed && i < WALKS_AGAIN; i++) {
		err = check_folders(b, false, &unnamed);
		if (err == 0 && unnamed) {
			err = walk(b);
		}
	}
	c->params = params;
	return err;
}

static int check_all(struct check *c, struct bench *b)
{
	pthread_t threads[CHECK_THREADS_MAX];
	int err = check_headers(c);

	err = err ? err : check_journal(c);
	err = err ? err : check_count(c);
	if (err) {
		return err;
	}
	unsigned started = start_readers(c, threads);
	fail(c, walk(b));
	if (atomic_load(&c->err) == 0) {
		count_links(b);
	}
	end_readers(b, threads, started);
	err = atomic_load(&c->err);
	if (err == 0 && c->params->live) {
		err = look_again(c, b);
	}
	return err ? err : check_folders(b, true, &(uint64_t){0});
}

static void check_clear(struct check *c)
{
	while (c->dirs) {
		struct dir_job *d = c->dirs;

		c->dirs = d->next;
		check_job_clear(c, &d->job);
		free(d);
	}
	numberset_clear(&c->named);
	if (c->params->plan) {
		linkset_clear(&c->params->plan->links);
		c->params->plan->links = c->links;
	} else {
		linkset_clear(&c->links);
	}
	pthread_cond_destroy(&c->work);
	pthread_cond_destroy(&c->room);
	pthread_mutex_destroy(&c->lock);
}

int fs_check(struct fs *fs, const struct check_params *params, struct check_totals *ret)
{
	struct check_params p = *params;
	struct check c = {.fs = fs, .params = &p, .totals = ret};
	struct bench b;

	*ret = (struct check_totals){0};
	p.threads = p.threads ? p.threads : 2;
	p.threads = p.threads < CHECK_THREADS_MAX ? p.threads : CHECK_THREADS_MAX;
	pthread_mutex_init(&c.lock, NULL);
	pthread_cond_init(&c.work, NULL);
	pthread_cond_init(&c.room, NULL);
	rng_bytes(c.name_key, sizeof c.name_key);
	int err = bench_init(&b, &c, true);
	if (err == 0) {
		err = check_all(&c, &b);
	}
	bench_clear(&b);
	ret->objects = atomic_load(&c.done);
	ret->bytes = atomic_load(&c.bytes);
	check_clear(&c);
	return err;
}

void check_plan_clear(struct check_plan *p)
{
	for (size_t i = 0; i < p->strays_len; i++) {
		free(p->strays[i].name);
	}
	free(p->strays);
	numberset_clear(&p->damaged);
	linkset_clear(&p->links);
	*p = (struct check_plan){0};
}
