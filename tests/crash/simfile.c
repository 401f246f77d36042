// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/simfile.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/crash/simtape.h"

// One version of a block: immutable, shared by histories and clones. NULL stands for zeros.
struct image {
	atomic_uint refs;
	uint8_t bytes[SIM_BLOCK];
};

enum step_kind { STEP_WRITE, STEP_HOLE, STEP_ZERO };

// One unflushed change of a block. WRITE: the whole new content. HOLE, ZERO (bytes from..to): with
// the metadata of `clock`.
struct step {
	enum step_kind kind;
	uint32_t from, to;
	uint64_t clock;
	struct image *image;
};

struct history {
	struct image *base; // durable
	int base_hole;
	int lost; // a failed datasync took it for clean
	size_t len, cap;
	struct step *steps;
};

struct simblock {
	uint64_t key; // block index + 1; 0: empty
	struct image *image;
	struct history *history;
	int hole;
};

enum event_kind { EVENT_GROW, EVENT_TRUNCATE, EVENT_PUNCH };

struct simevent {
	enum event_kind kind;
	uint64_t clock;
	uint64_t size;
};

_Thread_local volatile unsigned sim_allocating;

static void *checked(void *p)
{
	sim_allocating--;
	if (!p) {
		fputs("simhost: out of memory\n", stderr);
		abort();
	}
	return p;
}

void *sim_alloc(size_t n)
{
	sim_allocating++;
	return checked(calloc(1, n ? n : 1));
}

void *sim_grow(void *p, size_t *cap, size_t need, size_t item)
{
	if (need <= *cap)
		return p;
	size_t grown = *cap * 2 > need ? *cap * 2 : need + 4;

	*cap = grown;
	sim_allocating++;
	return checked(realloc(p, grown * item));
}

uint64_t simfile_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ull; // splitmix64

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

// ---- images ----

static const uint8_t zeros[SIM_BLOCK];

static struct image *image_ref(struct image *i)
{
	if (i)
		atomic_fetch_add_explicit(&i->refs, 1, memory_order_relaxed);
	return i;
}

static void image_unref(struct image *i)
{
	if (i && atomic_fetch_sub_explicit(&i->refs, 1, memory_order_acq_rel) == 1)
		free(i);
}

static const uint8_t *image_bytes(const struct image *i)
{
	return i ? i->bytes : zeros;
}

// Takes over a private image: zeros need none.
static struct image *image_settle(struct image *i)
{
	if (memcmp(i->bytes, zeros, SIM_BLOCK))
		return i;
	free(i);
	return NULL;
}

static struct image *image_new(const uint8_t *from)
{
	sim_allocating++;
	struct image *i = checked(malloc(sizeof(*i)));

	atomic_init(&i->refs, 1);
	if (from)
		memcpy(i->bytes, from, SIM_BLOCK);
	return i;
}

// A copy with bytes from..to zero.
static struct image *image_zeroed(const struct image *old, uint32_t from, uint32_t to)
{
	if (!old)
		return NULL;
	struct image *i = image_new(old->bytes);

	memset(i->bytes + from, 0, to - from);
	return image_settle(i);
}

// ---- the block table ----

static size_t slot_of(const struct simblock *table, size_t cap, uint64_t index)
{
	size_t at = (size_t)((index * 0x9e3779b97f4a7c15ull) >> 20) & (cap - 1);

	while (table[at].key && table[at].key != index + 1)
		at = (at + 1) & (cap - 1);
	return at;
}

static struct simblock *find(const struct simfile *f, uint64_t index)
{
	if (!f->table_cap)
		return NULL;
	struct simblock *b = &f->table[slot_of(f->table, f->table_cap, index)];
	return b->key ? b : NULL;
}

static void table_grow(struct simfile *f)
{
	size_t cap = f->table_cap ? f->table_cap * 2 : 16;
	struct simblock *table = sim_alloc(cap * sizeof(*table));

	for (size_t i = 0; i < f->table_cap; i++)
		if (f->table[i].key)
			table[slot_of(table, cap, f->table[i].key - 1)] = f->table[i];
	free(f->table);
	f->table = table;
	f->table_cap = cap;
}

static struct simblock *find_or_add(struct simfile *f, uint64_t index)
{
	struct simblock *b = find(f, index);

	if (b)
		return b;
	if (f->table_len * 2 >= f->table_cap)
		table_grow(f);
	b = &f->table[slot_of(f->table, f->table_cap, index)];
	b->key = index + 1;
	b->hole = 1;
	f->table_len++;
	return b;
}

// ---- histories ----

static void history_free(struct history *h)
{
	if (!h)
		return;
	image_unref(h->base);
	for (size_t i = 0; i < h->len; i++)
		image_unref(h->steps[i].image);
	free(h->steps);
	free(h);
}

// Appends a change to a block's history and makes `image` (taken over) its content.
static void block_step(struct simfile *f, struct simblock *b, const struct step *step,
		       struct image *image)
{
	struct history *h = b->history;

	if (!h) {
		h = b->history = sim_alloc(sizeof(*h));
		h->base = image_ref(b->image);
		h->base_hole = b->hole;
		f->dirty = sim_grow(f->dirty, &f->dirty_cap, f->dirty_len + 1, sizeof(*f->dirty));
		f->dirty[f->dirty_len++] = b->key - 1;
	}
	h->steps = sim_grow(h->steps, &h->cap, h->len + 1, sizeof(*h->steps));
	h->steps[h->len] = *step;
	h->steps[h->len].clock = f->clock;
	h->steps[h->len].image = step->kind == STEP_WRITE ? image_ref(image) : NULL;
	h->len++;
	if (step->kind == STEP_WRITE)
		h->lost = 0;
	image_unref(b->image);
	b->image = image;
	f->allocated -= !b->hole;
	b->hole = step->kind == STEP_HOLE;
	f->allocated += !b->hole;
}

static void event(struct simfile *f, enum event_kind kind)
{
	f->events = sim_grow(f->events, &f->events_cap, f->events_len + 1, sizeof(*f->events));
	f->events[f->events_len++] =
		(struct simevent){.kind = kind, .clock = f->clock, .size = f->size};
}

// ---- files ----

struct simfile *simfile_new(void)
{
	return sim_alloc(sizeof(struct simfile));
}

void simfile_unref(struct simfile *f)
{
	if (!f || --f->refs)
		return;
	for (size_t i = 0; i < f->table_cap; i++) {
		image_unref(f->table[i].image);
		history_free(f->table[i].history);
	}
	free(f->table);
	free(f->dirty);
	free(f->events);
	free(f);
}

// A position in an iovec array.
struct vec {
	const struct iovec *iov;
	int left;
	size_t done; // of iov[0]
};

// Copies n bytes at the position, to or from buf (NULL: zeros into the array), and moves on.
static void vec_move(struct vec *v, uint8_t *to, const uint8_t *from, size_t n)
{
	while (n && v->left) {
		size_t part = v->iov->iov_len - v->done;
		uint8_t *at = (uint8_t *)v->iov->iov_base + v->done;

		if (part > n)
			part = n;
		if (to) {
			memcpy(to, at, part);
			to += part;
		} else if (from) {
			memcpy(at, from, part);
			from += part;
		} else if (part) {
			memset(at, 0, part);
		}
		v->done += part;
		n -= part;
		if (v->done == v->iov->iov_len) {
			v->iov++;
			v->left--;
			v->done = 0;
		}
	}
}

static size_t vec_bytes(const struct iovec *iov, int iovcnt)
{
	size_t n = 0;

	for (int i = 0; i < iovcnt; i++)
		n += iov[i].iov_len;
	return n;
}

static size_t block_part(uint64_t off, size_t left)
{
	size_t part = SIM_BLOCK - (size_t)(off % SIM_BLOCK);

	return part < left ? part : left;
}

size_t simfile_read(const struct simfile *f, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct vec v = {.iov = iov, .left = iovcnt};
	const size_t total = vec_bytes(iov, iovcnt);
	size_t got = off >= f->size ? 0 : total;

	if (got && total > f->size - off)
		got = (size_t)(f->size - off);
	for (size_t done = 0; done < got;) {
		size_t part = block_part(off + done, got - done);
		const struct simblock *b = find(f, (off + done) / SIM_BLOCK);

		vec_move(&v, NULL, image_bytes(b ? b->image : NULL) + (off + done) % SIM_BLOCK,
			 part);
		done += part;
	}
	vec_move(&v, NULL, NULL, total - got);
	return got;
}

int simfile_write(struct simfile *f, const struct iovec *iov, int iovcnt, uint64_t off,
		  uint64_t *budget)
{
	static const struct step step = {.kind = STEP_WRITE};
	struct vec v = {.iov = iov, .left = iovcnt};
	const size_t total = vec_bytes(iov, iovcnt);
	size_t done = 0;
	int rc = 0;

	f->clock++;
	while (done < total) {
		size_t part = block_part(off + done, total - done);
		struct simblock *b = find_or_add(f, (off + done) / SIM_BLOCK);

		if (b->hole && !*budget) {
			rc = -1;
			break;
		}
		*budget -= (uint64_t)b->hole;
		struct image *image = image_new(part < SIM_BLOCK ? image_bytes(b->image) : NULL);
		vec_move(&v, image->bytes + (off + done) % SIM_BLOCK, NULL, part);
		block_step(f, b, &step, image_settle(image));
		done += part;
	}
	if (off + done > f->size && done) {
		f->size = off + done;
		event(f, EVENT_GROW);
	}
	return rc;
}

static void zero_part(struct simfile *f, uint64_t index, uint32_t from, uint32_t to)
{
	const struct step step = {.kind = STEP_ZERO, .from = from, .to = to};
	struct simblock *b = find(f, index);

	if (b && !b->hole && from < to)
		block_step(f, b, &step, image_zeroed(b->image, from, to));
}

// Blocks first..end become holes.
static void make_holes(struct simfile *f, uint64_t first, uint64_t end)
{
	static const struct step step = {.kind = STEP_HOLE};

	if (end > first && end - first < f->table_cap) {
		for (uint64_t i = first; i < end; i++) {
			struct simblock *b = find(f, i);

			if (b && !b->hole)
				block_step(f, b, &step, NULL);
		}
		return;
	}
	for (size_t i = 0; i < f->table_cap; i++) {
		struct simblock *b = &f->table[i];

		if (b->key && b->key - 1 >= first && b->key - 1 < end && !b->hole)
			block_step(f, b, &step, NULL);
	}
}

void simfile_truncate(struct simfile *f, uint64_t size)
{
	f->clock++;
	if (size < f->size) {
		if (size % SIM_BLOCK)
			zero_part(f, size / SIM_BLOCK, (uint32_t)(size % SIM_BLOCK), SIM_BLOCK);
		make_holes(f, (size + SIM_BLOCK - 1) / SIM_BLOCK, UINT64_MAX);
	}
	f->size = size;
	event(f, EVENT_TRUNCATE);
}

void simfile_punch(struct simfile *f, uint64_t off, uint64_t len)
{
	const uint64_t end = off + len;
	const uint64_t first = (off + SIM_BLOCK - 1) / SIM_BLOCK;
	const uint64_t last = end / SIM_BLOCK;

	f->clock++;
	if (first > last) { // inside of one block
		zero_part(f, last, (uint32_t)(off % SIM_BLOCK), (uint32_t)(end % SIM_BLOCK));
	} else {
		if (off % SIM_BLOCK)
			zero_part(f, off / SIM_BLOCK, (uint32_t)(off % SIM_BLOCK), SIM_BLOCK);
		if (end % SIM_BLOCK)
			zero_part(f, last, 0, (uint32_t)(end % SIM_BLOCK));
		make_holes(f, first, last);
	}
	event(f, EVENT_PUNCH);
}

void simfile_sync(struct simfile *f)
{
	size_t kept = 0;

	for (size_t i = 0; i < f->dirty_len; i++) {
		struct simblock *b = find(f, f->dirty[i]);

		if (b->history->lost) {
			f->dirty[kept++] = f->dirty[i];
			continue;
		}
		history_free(b->history);
		b->history = NULL;
	}
	f->dirty_len = kept;
	f->events_len = 0;
	f->durable_clock = f->clock;
	f->durable_size = f->size;
}

void simfile_sync_failed(struct simfile *f)
{
	for (size_t i = 0; i < f->dirty_len; i++)
		find(f, f->dirty[i])->history->lost = 1;
}

uint64_t simfile_unflushed(const struct simfile *f)
{
	return f->dirty_len + f->events_len;
}

// ---- copies ----

static struct history *history_clone(const struct history *h)
{
	struct history *c = sim_alloc(sizeof(*c));

	*c = *h;
	image_ref(c->base);
	c->cap = h->len;
	c->steps = sim_alloc(h->len * sizeof(*h->steps));
	memcpy(c->steps, h->steps, h->len * sizeof(*h->steps));
	for (size_t i = 0; i < c->len; i++)
		image_ref(c->steps[i].image);
	return c;
}

static struct simfile *clone_shell(const struct simfile *f)
{
	struct simfile *c = simfile_new();

	memcpy(c->top_name, f->top_name, sizeof(c->top_name));
	c->number = f->number;
	c->junk = f->junk;
	c->table_cap = f->table_cap;
	c->table_len = f->table_len;
	c->table = sim_alloc(f->table_cap * sizeof(*f->table));
	if (f->table_cap)
		memcpy(c->table, f->table, f->table_cap * sizeof(*f->table));
	return c;
}

struct simfile *simfile_clone(const struct simfile *f)
{
	struct simfile *c = clone_shell(f);

	c->size = f->size;
	c->allocated = f->allocated;
	c->clock = f->clock;
	c->durable_clock = f->durable_clock;
	c->durable_size = f->durable_size;
	for (size_t i = 0; i < c->table_cap; i++) {
		image_ref(c->table[i].image);
		if (c->table[i].history)
			c->table[i].history = history_clone(c->table[i].history);
	}
	c->dirty = sim_grow(NULL, &c->dirty_cap, f->dirty_len, sizeof(*f->dirty));
	c->events = sim_grow(NULL, &c->events_cap, f->events_len, sizeof(*f->events));
	if (f->dirty_len)
		memcpy(c->dirty, f->dirty, f->dirty_len * sizeof(*f->dirty));
	if (f->events_len)
		memcpy(c->events, f->events, f->events_len * sizeof(*f->events));
	c->dirty_len = f->dirty_len;
	c->events_len = f->events_len;
	return c;
}

static int chance(const struct simpick *pick)
{
	if (pick->mode == SIMPICK_TAPE)
		return (int)simtape_take(pick->tape, 2);
	return (simfile_random(pick->random) & 255) < pick->chance;
}

// 0 .. n: how many of n things happened.
static size_t some_of(const struct simpick *pick, size_t n)
{
	if (pick->mode == SIMPICK_NONE)
		return 0;
	if (pick->mode == SIMPICK_TAPE)
		return simtape_take(pick->tape, (uint32_t)n + 1);
	if (pick->mode == SIMPICK_ALL || chance(pick))
		return n;
	return simfile_random(pick->random) % (n + 1);
}

// Up to which clock metadata happened, and the size that results.
static uint64_t cut_metadata(const struct simfile *f, const struct simpick *pick,
			     uint64_t *ret_size)
{
	const size_t happened = some_of(pick, f->events_len);
	uint64_t size = f->durable_size;

	for (size_t i = 0; i < happened; i++) {
		const struct simevent *e = &f->events[i];

		if (e->kind == EVENT_TRUNCATE)
			size = e->size;
		else if (e->kind == EVENT_GROW && e->size > size &&
			 (pick->mode == SIMPICK_ALL || chance(pick)))
			size = e->size;
	}
	*ret_size = size;
	return happened ? f->events[happened - 1].clock : f->durable_clock;
}

// The steps of a block that may have left the version that survives: [ret_start, ret_end), where
// step ret_start - 1 is the last hole that happened (or ret_start is 0: the durable version).
static void cut_range(const struct history *h, uint64_t happened, size_t *ret_start,
		      size_t *ret_end)
{
	size_t start = 0;
	size_t end;

	for (end = 0; end < h->len; end++) {
		if (h->steps[end].kind == STEP_WRITE)
			continue;
		if (h->steps[end].clock > happened)
			break;
		if (h->steps[end].kind == STEP_HOLE)
			start = end + 1;
	}
	*ret_start = start;
	*ret_end = end;
}

// One choice of a version: its content after the zeroings that happened behind it. *ret_hole:
// nothing stands there.
static struct image *cut_choose(const struct history *h, size_t start, size_t end,
				const struct simpick *pick, int *ret_hole)
{
	size_t writes = 0;
	size_t at = SIZE_MAX; // the version before all steps of the range

	for (size_t i = start; i < end; i++)
		writes += h->steps[i].kind == STEP_WRITE;
	size_t choice = some_of(pick, writes);
	for (size_t i = start; i < end && choice; i++) {
		if (h->steps[i].kind != STEP_WRITE)
			continue;
		at = i;
		choice--;
	}
	*ret_hole = at == SIZE_MAX && (start ? 1 : h->base_hole);
	struct image *image = at != SIZE_MAX ? h->steps[at].image : start ? NULL : h->base;
	image_ref(image);
	for (size_t i = at == SIZE_MAX ? start : at + 1; i < end; i++) {
		if (h->steps[i].kind != STEP_ZERO)
			continue;
		struct image *next = image_zeroed(image, h->steps[i].from, h->steps[i].to);
		image_unref(image);
		image = next;
	}
	return image;
}

static struct image *cut_block(const struct history *h, uint64_t happened,
			       const struct simpick *pick, int tear, int *ret_hole)
{
	size_t start, end;

	cut_range(h, happened, &start, &end);
	if (!tear)
		return cut_choose(h, start, end, pick, ret_hole);
	struct image *torn = image_new(NULL);
	*ret_hole = 1;
	for (size_t at = 0; at < SIM_BLOCK; at += SIM_SECTOR) {
		int hole;
		struct image *one = cut_choose(h, start, end, pick, &hole);

		memcpy(torn->bytes + at, image_bytes(one) + at, SIM_SECTOR);
		image_unref(one);
		*ret_hole &= hole;
	}
	return image_settle(torn);
}

struct simfile *simfile_clone_cut(const struct simfile *f, const struct simpick *pick)
{
	struct simfile *c = clone_shell(f);
	const uint64_t happened = cut_metadata(f, pick, &c->size);

	c->durable_size = c->size;
	for (size_t i = 0; i < c->table_cap; i++) {
		struct simblock *b = &c->table[i];

		if (!b->key)
			continue;
		int tear = pick->tear && pick->mode == SIMPICK_SOME && b->history &&
			   (!pick->tear_block ||
			    pick->tear_block(pick->tear_arg, f->number, b->key - 1));
		if (b->history)
			b->image = cut_block(b->history, happened, pick, tear, &b->hole);
		else
			image_ref(b->image);
		b->history = NULL;
		const uint64_t start = (b->key - 1) * SIM_BLOCK;
		if (start + SIM_BLOCK > c->size) {
			uint32_t keep = start < c->size ? (uint32_t)(c->size - start) : 0;
			struct image *cut = image_zeroed(b->image, keep, SIM_BLOCK);

			image_unref(b->image);
			b->image = cut;
			b->hole |= start >= c->size;
		}
		c->allocated += !b->hole;
	}
	return c;
}
