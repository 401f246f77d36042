// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/simhost.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/crash/simstate.h"

#define NAME_BYTES 48

struct view {
	struct host base;
	struct simhost *sim;
	int locked; // 1 shared, -1 exclusive
};

struct handle {
	struct host_file base;
	struct simfile *file;
	int writable;
	uint64_t heard; // of the file's write-back errors
};

static struct simhost *sim_of(const struct host *h)
{
	return ((const struct view *)h)->sim;
}

struct simhost *simhost_of(struct host *h)
{
	return sim_of(h);
}

static struct handle *handle_of(struct host_file *f)
{
	return (struct handle *)f;
}

// ---- every call: counting, faults, power ----

static int call_fault(struct simhost *s, enum simcall kind, int *ret_after)
{
	int error = 0;

	for (unsigned i = 0; i < FAULTS_MAX; i++) {
		struct pending_fault *p = &s->faults[i];

		if (!p->f.count || (p->f.kind != SIM_ANY && p->f.kind != kind))
			continue;
		if (++p->seen < p->f.nth)
			continue;
		p->f.count--;
		error = p->f.error;
		*ret_after = p->f.after;
	}
	return error;
}

// Starts a call: returns with the lock held. *ret_error: what the call must return; it happens only
// when there is no error or *ret_after says so.
struct call {
	struct simhost *s;
	int error, happens;
};

static struct call call_begin(struct simhost *s, enum simcall kind)
{
	struct call c = {.s = s};
	int after = 0;

	if (s->hook)
		s->hook(s->hook_arg, kind);
	pthread_mutex_lock(&s->lock);
	s->calls[kind]++;
	s->calls[SIM_ANY]++;
	if (s->calls[SIM_ANY] > s->off_after)
		s->off = 1;
	if (s->off)
		c.error = WERR_IO;
	else
		c.error = call_fault(s, kind, &after);
	c.happens = !c.error || after;
	return c;
}

static int call_end(const struct call *c, int rc)
{
	pthread_mutex_unlock(&c->s->lock);
	return c->error ? c->error : rc;
}

// ---- views and handles ----

static void sim_close(struct host *h)
{
	struct view *v = (struct view *)h;
	struct simhost *s = v->sim;

	pthread_mutex_lock(&s->lock);
	if (v->locked)
		s->readers = v->locked < 0 ? 0 : s->readers - 1;
	s->views--;
	pthread_mutex_unlock(&s->lock);
	free(v);
}

static void object_name(uint64_t number, char text[static NAME_BYTES])
{
	snprintf(text, NAME_BYTES, "%016" PRIx64, number);
}

static uint64_t number_of(const char *text, unsigned folder)
{
	char again[NAME_BYTES];
	uint64_t number = strtoull(text, NULL, 16);

	object_name(number, again);
	return !strcmp(again, text) && host_folder(number) == folder ? number : 0;
}

static struct handle *handle_new(struct host *h, struct simfile *f, unsigned flags)
{
	struct handle *n = sim_alloc(sizeof(*n));

	n->base.host = h;
	n->file = f;
	n->writable = (flags & HOST_RDWR) != 0;
	n->heard = f->writeback_errors;
	f->refs++;
	f->live++;
	sim_of(h)->handles++;
	return n;
}

// A file lost a name or a handle: were they the last, its blocks are free.
static void dead_check(struct simhost *s, const struct simfile *f)
{
	if (!f->live)
		s->used -= f->allocated;
}

static void dir_set(struct simhost *s, struct simdir *d, const char *text, struct simfile *f)
{
	struct simfile *old = simdir_find(d, text);

	if (old)
		old->refs++;
	simdir_set(d, text, f);
	if (old) {
		dead_check(s, old);
		simfile_unref(old);
	}
}

static int open_in(struct host *h, struct simdir *d, const char *text, unsigned flags,
		   struct host_file **ret)
{
	struct simfile *f = simdir_find(d, text);

	if (f && (flags & HOST_EXCL))
		return WERR_EXISTS;
	if (f && f->junk)
		return WERR_DAMAGED;
	if (!f && !(flags & HOST_CREATE))
		return WERR_NOTFOUND;
	if (!f) {
		f = simfile_new();
		if (d == sim_of(h)->top)
			snprintf(f->top_name, sizeof(f->top_name), "%s", text);
		else
			f->number = strtoull(text, NULL, 16);
		simdir_set(d, text, f);
	}
	*ret = &handle_new(h, f, flags)->base;
	return 0;
}

static int sim_open_top(struct host *h, const char *name, unsigned flags, struct host_file **ret)
{
	struct call c = call_begin(sim_of(h), SIM_OPEN);
	int rc = 0;

	if (!c.error)
		rc = open_in(h, c.s->top, name, flags, ret);
	return call_end(&c, rc);
}

static int sim_open_object(struct host *h, uint64_t number, unsigned flags, struct host_file **ret)
{
	struct call c = call_begin(sim_of(h), SIM_OPEN);
	struct simdir **d = &c.s->folders[host_folder(number)];
	char text[NAME_BYTES];
	int rc = 0;

	object_name(number, text);
	if (!c.error && !*d && (flags & HOST_CREATE))
		*d = simdir_new();
	if (!c.error)
		rc = *d ? open_in(h, *d, text, flags, ret) : WERR_NOTFOUND;
	return call_end(&c, rc);
}

static void sim_file_close(struct host_file *f)
{
	struct handle *n = handle_of(f);
	struct simhost *s = sim_of(f->host);

	pthread_mutex_lock(&s->lock);
	n->file->live--;
	dead_check(s, n->file);
	simfile_unref(n->file);
	s->handles--;
	pthread_mutex_unlock(&s->lock);
	free(n);
}

// ---- content ----

static int sim_preadv(struct host_file *f, const struct iovec *iov, int iovcnt, uint64_t off,
		      size_t *ret_got)
{
	struct call c = call_begin(sim_of(f->host), SIM_READ);

	if (!c.error) {
		size_t got = simfile_read(handle_of(f)->file, iov, iovcnt, off);

		if (ret_got)
			*ret_got = got;
	}
	return call_end(&c, 0);
}

static int sim_pwritev(struct host_file *f, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct call c = call_begin(sim_of(f->host), SIM_WRITE);
	struct handle *n = handle_of(f);
	int rc = 0;

	if (!n->writable) {
		rc = WERR_INTERNAL;
	} else if (c.happens) {
		uint64_t left = c.s->limit > c.s->used ? c.s->limit - c.s->used : 0;
		uint64_t before = n->file->allocated;

		if (simfile_write(n->file, iov, iovcnt, off, &left))
			rc = WERR_NOSPACE;
		c.s->used += n->file->allocated - before;
	}
	return call_end(&c, rc);
}

static int sim_datasync(struct host_file *f)
{
	struct call c = call_begin(sim_of(f->host), SIM_DATASYNC);
	struct handle *n = handle_of(f);

	if (!c.error && n->heard != n->file->writeback_errors) {
		n->heard = n->file->writeback_errors;
		c.error = WERR_IO;
	}
	if (!c.error)
		simfile_sync(handle_of(f)->file);
	else if (!c.s->off)
		simfile_sync_failed(handle_of(f)->file);
	return call_end(&c, 0);
}

static int sim_truncate(struct host_file *f, uint64_t size)
{
	struct call c = call_begin(sim_of(f->host), SIM_TRUNCATE);
	struct handle *n = handle_of(f);
	int rc = n->writable ? 0 : WERR_INTERNAL;

	if (!rc && c.happens) {
		uint64_t before = n->file->allocated;

		simfile_truncate(n->file, size);
		c.s->used -= before - n->file->allocated;
	}
	return call_end(&c, rc);
}

static int sim_punch(struct host_file *f, uint64_t off, uint64_t len)
{
	struct call c = call_begin(sim_of(f->host), SIM_PUNCH);
	struct handle *n = handle_of(f);
	int rc = n->writable ? 0 : WERR_INTERNAL;

	if (c.s->no_punch)
		rc = WERR_NOTSUP;
	if (!rc && c.happens && len) {
		uint64_t before = n->file->allocated;

		simfile_punch(n->file, off, len);
		c.s->used -= before - n->file->allocated;
	}
	return call_end(&c, rc);
}

static int sim_file_size(struct host_file *f, uint64_t *ret)
{
	struct call c = call_begin(sim_of(f->host), SIM_SIZE);

	if (!c.error)
		*ret = handle_of(f)->file->size;
	return call_end(&c, 0);
}

// ---- names ----

static int unlink_in(struct simhost *s, struct simdir *d, const char *text)
{
	const struct simfile *f = d ? simdir_find(d, text) : NULL;

	if (!f)
		return WERR_NOTFOUND;
	if (f->junk)
		return WERR_DAMAGED;
	dir_set(s, d, text, NULL);
	return 0;
}

static int sim_unlink_object(struct host *h, uint64_t number)
{
	struct call c = call_begin(sim_of(h), SIM_UNLINK);
	char text[NAME_BYTES];
	int rc = 0;

	object_name(number, text);
	if (c.happens)
		rc = unlink_in(c.s, c.s->folders[host_folder(number)], text);
	return call_end(&c, rc);
}

static int sim_unlink_top(struct host *h, const char *name)
{
	struct call c = call_begin(sim_of(h), SIM_UNLINK);
	int rc = 0;

	if (c.happens)
		rc = unlink_in(c.s, c.s->top, name);
	return call_end(&c, rc);
}

static int rename_top(struct simhost *s, const char *from, const char *to)
{
	struct simfile *f = simdir_find(s->top, from);
	struct simfile *old = simdir_find(s->top, to);

	if (!f)
		return WERR_NOTFOUND;
	if (f == old)
		return 0;
	if (old)
		old->refs++;
	simdir_rename(s->top, from, to);
	snprintf(f->top_name, sizeof(f->top_name), "%s", to);
	if (old) {
		dead_check(s, old);
		simfile_unref(old);
	}
	return 0;
}

static int sim_rename_top(struct host *h, const char *from, const char *to)
{
	struct call c = call_begin(sim_of(h), SIM_RENAME);
	int rc = 0;

	if (c.happens)
		rc = rename_top(c.s, from, to);
	return call_end(&c, rc);
}

static int set_aside(struct simdir *d, const char *text)
{
	char aside[NAME_BYTES + 16];

	if (!d || !simdir_find(d, text))
		return WERR_NOTFOUND;
	for (unsigned n = 0;; n++) {
		snprintf(aside, sizeof(aside), "%s.junk.%u", text, n);
		if (!simdir_find(d, aside))
			break;
	}
	simdir_rename(d, text, aside);
	return 0;
}

static int sim_set_aside(struct host *h, uint64_t number)
{
	struct call c = call_begin(sim_of(h), SIM_RENAME);
	char text[NAME_BYTES];
	int rc = 0;

	object_name(number, text);
	if (c.happens)
		rc = set_aside(c.s->folders[host_folder(number)], text);
	return call_end(&c, rc);
}

static int sim_sync_folder(struct host *h, unsigned folder)
{
	struct call c = call_begin(sim_of(h), SIM_SYNC_FOLDER);
	struct simdir *d = folder < HOST_FOLDERS ? c.s->folders[folder] : NULL;

	if (!c.error && d) {
		simdir_sync(d);
		d->durable = 1;
	}
	return call_end(&c, folder < HOST_FOLDERS ? 0 : WERR_INVALID);
}

static int sim_sync_top(struct host *h)
{
	struct call c = call_begin(sim_of(h), SIM_SYNC_TOP);

	if (!c.error) {
		simdir_sync(c.s->top);
		for (unsigned i = 0; i < HOST_FOLDERS; i++)
			if (c.s->folders[i])
				c.s->folders[i]->durable = 1;
	}
	return call_end(&c, 0);
}

// The names of a directory, copied, since a callback may call the host. Ends with NULL.
static char **names_of(const struct simdir *d)
{
	size_t cap = 0, len = 0;
	char **names = sim_grow(NULL, &cap, 1, sizeof(*names));

	for (unsigned i = 0; d && i < SIMDIR_BUCKETS; i++) {
		for (const struct simname *n = d->buckets[i]; n; n = n->chain) {
			if (!n->now)
				continue;
			names = sim_grow(names, &cap, len + 2, sizeof(*names));
			names[len] = sim_alloc(strlen(n->text) + 1);
			memcpy(names[len], n->text, strlen(n->text) + 1);
			len++;
		}
	}
	names[len] = NULL;
	return names;
}

static int sim_list_folder(struct host *h, unsigned folder,
			   int (*fn)(void *arg, const char *name, uint64_t number), void *arg)
{
	struct call c = call_begin(sim_of(h), SIM_LIST);

	if (c.error || folder >= HOST_FOLDERS)
		return call_end(&c, WERR_INVALID);
	char **names = names_of(c.s->folders[folder]);
	int rc = call_end(&c, 0);
	for (char **n = names; *n; n++) {
		if (!rc)
			rc = fn(arg, *n, number_of(*n, folder));
		free(*n);
	}
	free(names);
	return rc;
}

static int sim_list_top(struct host *h, int (*fn)(void *arg, const char *name), void *arg)
{
	struct call c = call_begin(sim_of(h), SIM_LIST);
	char folder[8];

	if (c.error)
		return call_end(&c, 0);
	char **names = names_of(c.s->top);
	unsigned char there[HOST_FOLDERS];
	for (unsigned i = 0; i < HOST_FOLDERS; i++)
		there[i] = c.s->folders[i] != NULL;
	int rc = call_end(&c, 0);
	for (char **n = names; *n; n++) {
		if (!rc)
			rc = fn(arg, *n);
		free(*n);
	}
	free(names);
	for (unsigned i = 0; !rc && i < HOST_FOLDERS; i++) {
		snprintf(folder, sizeof(folder), "%02x", i);
		if (there[i])
			rc = fn(arg, folder);
	}
	return rc;
}

static int sim_space(struct host *h, struct host_space *ret)
{
	struct call c = call_begin(sim_of(h), SIM_SPACE);

	if (!c.error) {
		uint64_t left = c.s->limit > c.s->used ? c.s->limit - c.s->used : 0;
		uint64_t per = SIM_BLOCK / c.s->block;

		*ret = (struct host_space){.block_bytes = c.s->block,
					   .blocks = c.s->limit * per,
					   .blocks_free = left * per,
					   .blocks_avail = left * per,
					   .files = 1u << 30,
					   .files_free = 1u << 29};
	}
	return call_end(&c, 0);
}

static int sim_lock(struct host *h, int exclusive)
{
	struct call c = call_begin(sim_of(h), SIM_LOCK);
	struct view *v = (struct view *)h;
	// As flock does: a view may change its own lock.
	int others = v->locked < 0 ? 0 : c.s->readers - (v->locked > 0);
	int rc = 0;

	if (!c.error) {
		if (others < 0 || (exclusive && others > 0)) {
			rc = WERR_BUSY;
		} else {
			v->locked = exclusive ? -1 : 1;
			c.s->readers = exclusive ? -1 : others + 1;
		}
	}
	return call_end(&c, rc);
}

static const struct host_ops sim_ops = {
	.close = sim_close,
	.open_top = sim_open_top,
	.open_object = sim_open_object,
	.file_close = sim_file_close,
	.preadv = sim_preadv,
	.pwritev = sim_pwritev,
	.datasync = sim_datasync,
	.truncate = sim_truncate,
	.punch = sim_punch,
	.file_size = sim_file_size,
	.unlink_object = sim_unlink_object,
	.unlink_top = sim_unlink_top,
	.rename_top = sim_rename_top,
	.set_aside = sim_set_aside,
	.sync_folder = sim_sync_folder,
	.sync_top = sim_sync_top,
	.list_folder = sim_list_folder,
	.list_top = sim_list_top,
	.space = sim_space,
	.lock = sim_lock,
};

// ---- the disk ----

struct simhost *simstate_new(void)
{
	struct simhost *s = sim_alloc(sizeof(*s));

	pthread_mutex_init(&s->lock, NULL);
	s->limit = DISK_BLOCKS;
	s->block = SIM_BLOCK;
	s->off_after = UINT64_MAX;
	return s;
}

struct simhost *simhost_new(void)
{
	struct simhost *s = simstate_new();

	s->top = simdir_new();
	s->top->durable = 1;
	return s;
}

void simhost_free(struct simhost *s)
{
	if (!s)
		return;
	if (s->views || s->handles) {
		fprintf(stderr, "simhost: %u views and %u files were not closed\n", s->views,
			s->handles);
		abort();
	}
	simdir_free(s->top);
	for (unsigned i = 0; i < HOST_FOLDERS; i++)
		simdir_free(s->folders[i]);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

struct host *simhost_open(struct simhost *s)
{
	struct view *v = sim_alloc(sizeof(*v));

	v->base.ops = &sim_ops;
	v->sim = s;
	pthread_mutex_lock(&s->lock);
	s->views++;
	pthread_mutex_unlock(&s->lock);
	return &v->base;
}

uint64_t simhost_calls(struct simhost *s, enum simcall kind)
{
	pthread_mutex_lock(&s->lock);
	uint64_t n = s->calls[kind];
	pthread_mutex_unlock(&s->lock);
	return n;
}

void simhost_fail(struct simhost *s, const struct simfault *fault)
{
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < FAULTS_MAX; i++) {
		if (s->faults[i].f.count)
			continue;
		s->faults[i] = (struct pending_fault){.f = *fault};
		pthread_mutex_unlock(&s->lock);
		return;
	}
	fputs("simhost: too many faults\n", stderr);
	abort();
}

void simhost_fail_clear(struct simhost *s)
{
	pthread_mutex_lock(&s->lock);
	memset(s->faults, 0, sizeof(s->faults));
	pthread_mutex_unlock(&s->lock);
}

void simhost_power_off_after(struct simhost *s, uint64_t n)
{
	pthread_mutex_lock(&s->lock);
	s->off_after = s->calls[SIM_ANY] + n;
	if (n == 0)
		s->off = 1;
	pthread_mutex_unlock(&s->lock);
}

int simhost_is_off(struct simhost *s)
{
	pthread_mutex_lock(&s->lock);
	int off = s->off;
	pthread_mutex_unlock(&s->lock);
	return off;
}

void simhost_on_call(struct simhost *s, simhost_hook hook, void *arg)
{
	s->hook = hook;
	s->hook_arg = arg;
}

void simhost_set_space(struct simhost *s, uint64_t bytes)
{
	pthread_mutex_lock(&s->lock);
	s->limit = bytes ? bytes / SIM_BLOCK : DISK_BLOCKS;
	pthread_mutex_unlock(&s->lock);
}

void simhost_set_block(struct simhost *s, uint32_t bytes)
{
	pthread_mutex_lock(&s->lock);
	s->block = bytes;
	pthread_mutex_unlock(&s->lock);
}

void simhost_no_punch(struct simhost *s)
{
	pthread_mutex_lock(&s->lock);
	s->no_punch = 1;
	pthread_mutex_unlock(&s->lock);
}

void simhost_fail_writeback(struct simhost *s, uint64_t number)
{
	char text[NAME_BYTES];

	object_name(number, text);
	pthread_mutex_lock(&s->lock);
	struct simdir *d = s->folders[host_folder(number)];
	struct simfile *f = d ? simdir_find(d, text) : NULL;
	if (f) {
		simfile_sync_failed(f);
		f->writeback_errors++;
	}
	pthread_mutex_unlock(&s->lock);
}

void simhost_junk_object(struct simhost *s, uint64_t number)
{
	struct simdir **d = &s->folders[host_folder(number)];
	char text[NAME_BYTES];

	object_name(number, text);
	pthread_mutex_lock(&s->lock);
	if (!*d)
		*d = simdir_new();
	struct simfile *f = simfile_new();
	f->junk = 1;
	dir_set(s, *d, text, f);
	simdir_sync(*d);
	(*d)->durable = 1;
	pthread_mutex_unlock(&s->lock);
}

static uint64_t dir_unflushed(const struct simdir *d)
{
	uint64_t n = simdir_unflushed(d);

	for (unsigned i = 0; i < SIMDIR_BUCKETS; i++)
		for (const struct simname *x = d->buckets[i]; x; x = x->chain)
			n += x->now ? simfile_unflushed(x->now) : 0;
	return n;
}

uint64_t simhost_unflushed(struct simhost *s)
{
	pthread_mutex_lock(&s->lock);
	uint64_t n = dir_unflushed(s->top);
	for (unsigned i = 0; i < HOST_FOLDERS; i++)
		n += s->folders[i] ? dir_unflushed(s->folders[i]) : 0;
	pthread_mutex_unlock(&s->lock);
	return n;
}

uint64_t simhost_objects(struct simhost *s)
{
	uint64_t n = 0;

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < HOST_FOLDERS; i++)
		for (unsigned b = 0; s->folders[i] && b < SIMDIR_BUCKETS; b++)
			for (const struct simname *x = s->folders[i]->buckets[b]; x; x = x->chain)
				n += x->now && number_of(x->text, i);
	pthread_mutex_unlock(&s->lock);
	return n;
}
