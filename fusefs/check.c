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
	free(j->path);
}

// The job is taken over.
static void hand_out(struct bench *b, struct job *j)
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

// --- directories ---

static char *join(const char *dir, const uint8_t *name, size_t len)
{
	size_t dir_len = dir ? strlen(dir) : 0;
	char *path = malloc(dir_len + len + 2);

	if (path) {
		if (dir_len) {
			memcpy(path, dir, dir_len);
		}
		path[dir_len] = '/';
		memcpy(path + dir_len + 1, name, len);
		path[dir_len + 1 + len] = '\0';
	}
	return path;
}

// What a walk through one directory gathers.
struct visit {
	struct bench *b;
	const struct job *dir;
	bool links; // it is the links directory
	uint64_t subdirs;
	struct numberset names; // hashes
	uint64_t page;          // the one that is being looked at
	uint32_t own_entries;   // of the root: "." and ".." seen
	uint32_t root_nlink;
};

static void entry_finding(const struct visit *v, const struct entry *e, enum check_kind kind)
{
	char *path = join(v->dir->path, e->name, e->name_len);
	struct check_finding f = {.kind = kind, .number = e->number, .path = path};

	check_report(v->b->c, &f);
	free(path);
}

static void job_of(const struct entry *e, struct job *ret)
{
	*ret = (struct job){
		.want = {e->number, e->incarnation, e->type, e->generation, e->epoch},
		.size = e->attr.size,
		.pages = e->attr.pages,
		.flags = e->attr.flags,
		.nlink = e->attr.nlink,
		.target_len = e->target_len,
	};
}

static int push_dir(struct check *c, const struct job *j)
{
	struct dir_job *d = malloc(sizeof *d);

	if (!d) {
		return WERR_NOMEM;
	}
	*d = (struct dir_job){.next = c->dirs, .job = *j};
	c->dirs = d;
	return 0;
}

// A home entry in the links directory: its content is looked at when the first of its names comes.
static int linked_home(struct check *c, const struct entry *e)
{
	struct linked *l = linkset_get(&c->links, e->number);

	if (!l) {
		return WERR_NOMEM;
	}
	*l = (struct linked){
		.number = e->number,
		.incarnation = e->incarnation,
		.generation = e->generation,
		.size = e->attr.size,
		.pages = e->attr.pages,
		.flags = e->attr.flags,
		.epoch = e->epoch,
		.nlink = e->attr.nlink,
		.names = l->names,
		.target_len = e->target_len,
		.type = e->type,
		.home = true,
	};
	return 0;
}

static void run_linked(struct bench *b, const struct linked *l, char *path)
{
	struct job j = {
		.want = {l->number, l->incarnation, l->type, l->generation, l->epoch},
		.size = l->size,
		.pages = l->pages,
		.flags = l->flags,
		.nlink = l->nlink,
		.target_len = l->target_len,
		.path = path,
	};

	hand_out(b, &j);
}

static int link_entry(struct visit *v, const struct entry *e)
{
	struct check *c = v->b->c;
	struct linked *l = linkset_get(&c->links, e->number);

	if (!l) {
		return WERR_NOMEM;
	}
	if (!l->home || l->incarnation != e->incarnation || l->type != e->type) {
		if (!l->home) {
			l->incarnation = e->incarnation;
			l->type = e->type;
		}
		l->names++;
		entry_finding(v, e, CHECK_LINK_LOST);
		return 0;
	}
	if (l->names++ == 0) {
		char *path = join(v->dir->path, e->name, e->name_len);

		run_linked(v->b, l, path);
	}
	return 0;
}

static int home_entry(struct visit *v, const struct entry *e)
{
	struct check *c = v->b->c;
	struct job j;
	int err = numberset_add(&c->named, e->number);

	if (err == WERR_EXISTS) {
		entry_finding(v, e, CHECK_NAMED_TWICE);
		return 0;
	}
	if (err || (v->links && !handover_nameless(e))) {
		return err ? err : linked_home(c, e);
	}
	job_of(e, &j);
	j.path = join(v->dir->path, e->name, e->name_len);
	if (!j.path) {
		return WERR_NOMEM;
	}
	if (e->type == OBJECT_DIR) {
		v->subdirs++;
		err = push_dir(c, &j);
		if (err) {
			free(j.path);
		}
		return err;
	}
	hand_out(v->b, &j);
	return 0;
}

static bool is_own(const struct visit *v, unsigned slot, const struct entry *e)
{
	return v->dir->want.number == FS_ROOT && v->page == 0 && slot < 2 &&
	       e->number == FS_ROOT + slot && e->kind == ENTRY_HOME;
}

static bool is_dots(const struct entry *e)
{
	return e->name[0] == '.' && (e->name_len == 1 || (e->name_len == 2 && e->name[1] == '.'));
}

static int visit_entry(struct visit *v, unsigned slot, const struct entry *e)
{
	if (is_own(v, slot, e)) {
		v->own_entries++;
		if (slot == 0) {
			v->root_nlink = e->attr.nlink;
		}
		return 0;
	}
	if (is_dots(e) || e->number <= LINKS_NUMBER || (v->links && e->kind != ENTRY_HOME)) {
		entry_finding(v, e, CHECK_ROOT_ENTRIES);
		return 0;
	}
	uint64_t hash = dirindex_siphash(v->b->c->name_key, e->name, e->name_len);
	int err = numberset_add(&v->names, hash | 1);
	if (err == WERR_EXISTS) {
		entry_finding(v, e, CHECK_NAMED_TWICE);
		return 0;
	}
	if (err == 0) {
		v->b->c->totals->names++;
		err = e->kind == ENTRY_LINK ? link_entry(v, e) : home_entry(v, e);
	}
	return err;
}

static int visit_page(void *arg, uint64_t index, const uint8_t *page)
{
	struct visit *v = arg;
	int err = 0;

	if (table_page_check(page)) {
		(void)check_bad(v->b, CHECK_TABLE_PAGE, index, 1);
		check_bad_end(v->b);
		return 0;
	}
	v->page = index;
	for (unsigned slot = 0; err == 0 && slot < TABLE_SLOTS; slot++) {
		size_t len;
		const uint8_t *bytes = table_page_slot(page, slot, &len);
		struct entry e;

		if (bytes && entry_decode(bytes, len, &e) == 0) { // the page was checked
			err = visit_entry(v, slot, &e);
		}
	}
	return err;
}

// A file met in a directory may be handed to this very thread, which works on one object at a time:
// pages are copied out and looked at when the directory's own read is over.
struct pages {
	struct visit *v;
	uint8_t *buf;
	size_t len, cap;
	uint64_t *index;
};

static int keep_page(void *arg, uint64_t index, const uint8_t *plain)
{
	struct pages *p = arg;

	if (p->len == p->cap) {
		size_t cap = p->cap ? p->cap * 2 : 8;
		uint8_t *buf = malloc(cap * WARD_PAGE);
		uint64_t *list = realloc(p->index, cap * sizeof *list);

		p->index = list ? list : p->index;
		if (!buf || !list) {
			free(buf);
			return WERR_NOMEM;
		}
		if (p->len) {
			memcpy(buf, p->buf, p->len * WARD_PAGE);
			secret_wipe(p->buf, p->len * WARD_PAGE);
		}
		free(p->buf);
		p->buf = buf;
		p->cap = cap;
	}
	memcpy(p->buf + p->len * WARD_PAGE, plain, WARD_PAGE);
	p->index[p->len++] = index;
	return 0;
}

static int pages_bad(void *arg, enum check_kind kind, uint64_t first, uint64_t count)
{
	return check_bad(((struct pages *)arg)->v->b, kind, first, count);
}

static int pages_step(void *arg, unsigned pages, uint64_t index)
{
	(void)index;
	return check_step(((struct pages *)arg)->v->b, pages);
}

static int host_dir(struct visit *v, struct pages *p)
{
	const struct inspect_calls calls = {keep_page, pages_bad, pages_step, p};
	struct bench *b = v->b;
	uint64_t pages;
	int err = inspect_open(b->c->fs, &v->dir->want, b->in);

	if (err > 0) {
		check_object_report(b->c, v->dir, (enum check_kind)err);
		return 0;
	}
	if (err < 0) {
		return err;
	}
	bool xattrs = (v->dir->flags & ATTR_HAS_XATTRS) != 0;
	// The root's own entry is older than the page that it stands in.
	if (v->dir->want.number > LINKS_NUMBER && xattrs != (b->in->h.xattr_len != 0)) {
		check_object_report(b->c, v->dir, CHECK_ATTRIBUTES);
	}
	err = inspect_pages(b->c->fs, b->in, &calls, b->buf, &pages);
	inspect_close(b->in);
	return err;
}

// Of a directory that memory knows better than the host.
static int live_dir(struct visit *v, struct node *n, struct pages *p)
{
	struct fs *fs = v->b->c->fs;
	int err = node_lock_write(fs, n);

	if (err == WERR_NOMEM || err == WERR_MFILE) {
		return err;
	}
	if (err) {
		return host_dir(v, p);
	}
	uint32_t end = table_pages(n->obj->table);
	for (uint32_t i = 0; err == 0 && i < end; i++) {
		const uint8_t *page = table_page_bytes(n->obj->table, i);

		err = page ? keep_page(p, i, page) : 0;
	}
	node_unlock(n);
	return err;
}

// What the engine read around is told from the host's bytes; what a replay made of it counts.
static int read_dir(struct visit *v, struct pages *p)
{
	struct check *c = v->b->c;
	const struct salvage *s = c->fs->params.salvage;
	struct node *n = check_live_node(c, v->dir->want.number);
	bool around = s && salvage_has(s, v->dir->want.number);
	int err = 0;

	if ((!n && v->dir->flags & ATTR_HAS_OBJECT) || (n && around)) {
		err = host_dir(v, p);
	}
	if (n && err == 0) {
		p->len = 0;
		err = live_dir(v, n, p);
	}
	if (n) {
		node_put(c->fs, n);
	}
	return err;
}

static int visit_dir(struct bench *b, const struct job *dir)
{
	struct job j = *dir;
	struct visit v = {.b = b, .dir = &j, .links = j.want.number == LINKS_NUMBER};
	struct pages p = {.v = &v};

	b->job = &j;
	b->any_bad = false;
	int err = read_dir(&v, &p);
	bool whole = !b->any_bad;
	b->job = &j;
	check_bad_end(b);
	for (size_t i = 0; err == 0 && i < p.len; i++) {
		b->job = &j; // cppcheck-suppress autoVariables ; for this visit only
		err = visit_page(&v, p.index[i], p.buf + i * WARD_PAGE);
	}
	if (p.len) {
		secret_wipe(p.buf, p.len * WARD_PAGE);
	}
	free(p.buf);
	free(p.index);
	numberset_clear(&v.names);
	bool root = j.want.number == FS_ROOT;
	if (err == 0 && root && whole && v.own_entries != 2 && p.len) {
		check_object_report(b->c, &j, CHECK_ROOT_ENTRIES);
	}
	uint32_t nlink = root ? v.root_nlink : j.nlink;
	if (err == 0 && whole && !v.links && p.len && nlink != 2 + v.subdirs) {
		struct check_finding f = {.kind = CHECK_LINK_COUNT,
					  .number = j.want.number,
					  .path = j.path,
					  .found = nlink,
					  .wanted = 2 + v.subdirs};
		check_report(b->c, &f);
	}
	b->c->totals->directories++;
	atomic_fetch_add(&b->c->done, 1);
	return err ? err : check_step(b, 0);
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
		err = visit_dir(b, &links);
		free(links.path);
	}
	struct job root = job_of_node(fs->root);
	if (fs->root->bound == 0) { // read around: what the vault header says of it
		root.want.generation = fs->v->h->root_generation;
		root.want.epoch = fs->v->h->root_epoch;
	}
	root.path = strdup("");
	err = err ? err : visit_dir(b, &root);
	free(root.path);
	while (err == 0 && c->dirs) {
		struct dir_job *d = c->dirs;

		c->dirs = d->next;
		err = visit_dir(b, &d->job);
		free(d->job.path);
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
			run_linked(b, l, NULL);
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
	return err ? err : check_folders(b);
}

static void check_clear(struct check *c)
{
	while (c->dirs) {
		struct dir_job *d = c->dirs;

		c->dirs = d->next;
		free(d->job.path);
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
