// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/simdir.h"

#include <stdlib.h>
#include <string.h>

static unsigned bucket(const char *text)
{
	unsigned h = 5381;

	while (*text)
		h = h * 33 + (unsigned char)*text++;
	return (h ^ h >> 11) % SIMDIR_BUCKETS;
}

static struct simname *find(const struct simdir *d, const char *text)
{
	struct simname *n = d->buckets[bucket(text)];

	while (n && strcmp(n->text, text))
		n = n->chain;
	return n;
}

static struct simname *find_or_add(struct simdir *d, const char *text)
{
	struct simname *n = find(d, text);

	if (n)
		return n;
	const size_t len = strlen(text);
	n = sim_alloc(sizeof(*n) + len + 1);
	memcpy(n->text, text, len + 1);
	n->chain = d->buckets[bucket(text)];
	d->buckets[bucket(text)] = n;
	return n;
}

static struct simfile *hold(struct simfile *f)
{
	if (f)
		f->refs++;
	return f;
}

struct simdir *simdir_new(void)
{
	return sim_alloc(sizeof(struct simdir));
}

static void forget_changes(struct simdir *d)
{
	for (size_t i = 0; i < d->changes_len; i++) {
		simfile_unref(d->changes[i].file[0]);
		simfile_unref(d->changes[i].file[1]);
	}
	d->changes_len = 0;
}

void simdir_free(struct simdir *d)
{
	if (!d)
		return;
	forget_changes(d);
	for (unsigned i = 0; i < SIMDIR_BUCKETS; i++) {
		while (d->buckets[i]) {
			struct simname *n = d->buckets[i];

			d->buckets[i] = n->chain;
			simfile_unref(n->now);
			simfile_unref(n->durable);
			free(n);
		}
	}
	free(d->changes);
	free(d);
}

struct simfile *simdir_find(const struct simdir *d, const char *text)
{
	const struct simname *n = find(d, text);

	return n ? n->now : NULL;
}

static void put_now(struct simname *n, struct simfile *f)
{
	struct simfile *old = n->now;

	if (f)
		f->live++;
	n->now = hold(f);
	if (old)
		old->live--;
	simfile_unref(old);
}

static void log_change(struct simdir *d, struct simname *a, struct simfile *fa, struct simname *b,
		       struct simfile *fb)
{
	d->changes = sim_grow(d->changes, &d->changes_cap, d->changes_len + 1, sizeof(*d->changes));
	d->changes[d->changes_len++] =
		(struct simchange){.name = {a, b}, .file = {hold(fa), hold(fb)}};
	a->changes++;
	if (b)
		b->changes++;
}

void simdir_set(struct simdir *d, const char *text, struct simfile *file)
{
	struct simname *n = find_or_add(d, text);

	log_change(d, n, file, NULL, NULL);
	put_now(n, file);
}

void simdir_rename(struct simdir *d, const char *from, const char *to)
{
	struct simname *a = find_or_add(d, from);
	struct simname *b = find_or_add(d, to);
	struct simfile *f = a->now;

	if (a == b)
		return;
	log_change(d, a, NULL, b, f);
	put_now(b, f);
	put_now(a, NULL);
}

static void sync_name(struct simname *n)
{
	if (!n || !n->changes)
		return;
	simfile_unref(n->durable);
	n->durable = hold(n->now);
	n->changes = 0;
}

void simdir_sync(struct simdir *d)
{
	if (!d->changes_len)
		return;
	for (size_t i = 0; i < d->changes_len; i++) {
		sync_name(d->changes[i].name[0]);
		sync_name(d->changes[i].name[1]);
	}
	forget_changes(d);
	for (unsigned i = 0; i < SIMDIR_BUCKETS; i++) {
		struct simname **at = &d->buckets[i];

		while (*at) {
			struct simname *n = *at;

			if (n->now) {
				at = &n->chain;
				continue;
			}
			*at = n->chain;
			free(n);
		}
	}
}

uint64_t simdir_unflushed(const struct simdir *d)
{
	return d->changes_len + !d->durable;
}

// ---- copies ----

static struct simfile *exact_copy(struct simfile *f)
{
	if (f && !f->copy)
		f->copy = simfile_clone(f);
	return f ? f->copy : NULL;
}

struct simdir *simdir_clone(struct simdir *d)
{
	struct simdir *c = simdir_new();

	c->durable = d->durable;
	for (unsigned i = 0; i < SIMDIR_BUCKETS; i++) {
		for (struct simname *n = d->buckets[i]; n; n = n->chain) {
			struct simname *m = find_or_add(c, n->text);

			put_now(m, exact_copy(n->now));
			m->durable = hold(exact_copy(n->durable));
		}
	}
	for (size_t i = 0; i < d->changes_len; i++) {
		const struct simchange *x = &d->changes[i];

		log_change(c, find(c, x->name[0]->text), exact_copy(x->file[0]),
			   x->name[1] ? find(c, x->name[1]->text) : NULL, exact_copy(x->file[1]));
	}
	return c;
}

static void cut_change(const struct simchange *x, int (*choose)(void *arg), void *arg)
{
	struct simname *a = x->name[0];
	struct simname *b = x->name[1];

	if (a->frozen || (b && b->frozen) || !choose(arg)) {
		a->frozen = 1;
		if (b)
			b->frozen = 1;
		return;
	}
	a->survives = x->file[0];
	if (b)
		b->survives = x->file[1];
}

struct simdir *simdir_clone_cut(struct simdir *d, int (*choose)(void *arg),
				struct simfile *(*copy)(void *arg, struct simfile *f), void *arg)
{
	struct simdir *c = simdir_new();

	c->durable = 1;
	for (unsigned i = 0; i < SIMDIR_BUCKETS; i++) {
		for (struct simname *n = d->buckets[i]; n; n = n->chain) {
			n->survives = n->durable;
			n->frozen = 0;
		}
	}
	for (size_t i = 0; i < d->changes_len; i++)
		cut_change(&d->changes[i], choose, arg);
	for (unsigned i = 0; i < SIMDIR_BUCKETS; i++) {
		for (struct simname *n = d->buckets[i]; n; n = n->chain) {
			if (!n->survives)
				continue;
			struct simname *m = find_or_add(c, n->text);

			if (!n->survives->copy)
				n->survives->copy = copy(arg, n->survives);
			put_now(m, n->survives->copy);
			m->durable = hold(m->now);
		}
	}
	return c;
}

void simdir_forget_copies(struct simdir *d)
{
	for (unsigned i = 0; i < SIMDIR_BUCKETS; i++) {
		for (struct simname *n = d->buckets[i]; n; n = n->chain) {
			if (n->now)
				n->now->copy = NULL;
			if (n->durable)
				n->durable->copy = NULL;
		}
	}
	for (size_t i = 0; i < d->changes_len; i++)
		for (unsigned side = 0; side < 2; side++)
			if (d->changes[i].file[side])
				d->changes[i].file[side]->copy = NULL;
}
