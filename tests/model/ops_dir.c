// SPDX-License-Identifier: Apache-2.0
// Reading directories in pieces while they change: what stays is seen exactly once.
#include <stdlib.h>
#include <string.h>

#include "tests/model/model.h"
#include "tests/model/trace.h"

static struct stream_name *find_name(struct stream *s, const char *name)
{
	for (size_t i = 0; i < s->n; i++) {
		if (strcmp(s->names[i].name, name) == 0)
			return &s->names[i];
	}
	return NULL;
}

static void add_name(struct stream *s, const char *name, int expected, int changed)
{
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 16;
		s->names = trace_realloc(s->names, s->cap * sizeof(*s->names));
	}
	s->names[s->n++] = (struct stream_name){
		.name = trace_strdup(name), .expected = expected, .changed = changed};
}

static void reset(struct stream *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->names[i].name);
	free(s->names);
	*s = (struct stream){0};
}

void stream_changed(struct model *m, const struct shape_node *dir, const char *name)
{
	for (unsigned i = 0; i < MODEL_STREAMS; i++) {
		struct stream *s = &m->streams[i];

		if (s->ino != dir->ino)
			continue;
		struct stream_name *n = find_name(s, name);

		if (n)
			n->changed = 1;
		else
			add_name(s, name, 0, 1);
	}
}

void stream_drop(struct model *m, const struct shape_node *dir)
{
	for (unsigned i = 0; i < MODEL_STREAMS; i++) {
		if (m->streams[i].ino == dir->ino)
			reset(&m->streams[i]);
	}
}

void stream_drop_all(struct model *m)
{
	for (unsigned i = 0; i < MODEL_STREAMS; i++)
		reset(&m->streams[i]);
}

struct piece {
	struct model *m;
	struct stream *stream;
	const struct shape_node *dir;
	unsigned left;
	int plus;
};

static void check_dot(const struct piece *p, const struct fs_dirent *d)
{
	int up = strcmp(d->name, "..") == 0;
	const struct shape_node *expected = up ? p->dir->parent : p->dir;

	TRACE_CHECK(d->cookie == (up ? 2 : 1), "%s has cookie %lu", d->name,
		    (unsigned long)d->cookie);
	TRACE_CHECK(d->stat.ino == expected->ino && d->stat.type == OBJECT_DIR,
		    "%s of %016lx is %016lx", d->name, (unsigned long)p->dir->ino,
		    (unsigned long)d->stat.ino);
}

static int take_entry(void *arg, const struct fs_dirent *d)
{
	struct piece *p = arg;

	if (p->left == 0)
		return 1;
	p->left--;
	TRACE_CHECK(d->cookie != p->stream->cookie, "the cookie stands still at %s",
		    trace_name(d->name));
	p->stream->cookie = d->cookie;
	if (strcmp(d->name, ".") == 0 || strcmp(d->name, "..") == 0) {
		check_dot(p, d);
		return 0;
	}
	const struct shape_entry *entry = shape_find(p->dir, d->name);

	TRACE_CHECK(entry, "%s is listed but not there", trace_name(d->name));
	TRACE_CHECK(entry->node->ino == d->stat.ino && entry->node->type == d->stat.type,
		    "%s is listed as %016lx", trace_name(d->name), (unsigned long)d->stat.ino);
	if (p->plus) {
		entry->node->lookups++;
		model_check_stat(p->m, entry->node, &d->stat);
	}
	struct stream_name *name = find_name(p->stream, d->name);

	TRACE_CHECK(name, "%s is listed; the model's stream does not know it", trace_name(d->name));
	name->seen++;
	TRACE_CHECK(name->seen == 1 || name->changed, "%s is listed twice", trace_name(d->name));
	return 0;
}

static void end_of_directory(const struct stream *s)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct stream_name *n = &s->names[i];

		TRACE_CHECK(!n->expected || n->changed || n->seen == 1,
			    "%s was there and is not listed", trace_name(n->name));
	}
}

void op_readdir(struct model *m)
{
	struct stream *s = &m->streams[prng_below(&m->rng, MODEL_STREAMS)];

	if (s->ino == 0 || prng_chance(&m->rng, 2)) {
		struct shape_node *dir = model_pick(m, 1u << OBJECT_DIR, 0);

		reset(s);
		if (!dir)
			return;
		s->ino = dir->ino;
		for (size_t i = 0; i < dir->n_entries; i++)
			add_name(s, dir->entries[i].name, 1, 0);
	}
	struct shape_node *dir = shape_by_ino(&m->shape, s->ino);
	struct piece p = {.m = m,
			  .stream = s,
			  .dir = dir,
			  .left = (unsigned)prng_range(&m->rng, 1, 60),
			  .plus = prng_chance(&m->rng, 50)};
	unsigned asked = p.left;

	if (!model_know(m, dir))
		return;
	trace_op("%lu readdir %016lx after %lu, %u entries, plus %d", m->seq,
		 (unsigned long)dir->ino, s->cookie, asked, p.plus);
	int err = fs_readdir(m->fs, dir->ino, s->cookie, p.plus, take_entry, &p);

	if (!model_success(m, err) || m->dark) {
		reset(s);
		return;
	}
	if (p.left == asked || (p.left > 0 && prng_chance(&m->rng, 50))) {
		end_of_directory(s);
		reset(s);
	}
}
