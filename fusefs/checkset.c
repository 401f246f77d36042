// SPDX-License-Identifier: Apache-2.0
#include "fusefs/checkset.h"

#include <stdlib.h>
#include <string.h>

#define CAP_MIN 256u

// Numbers are random, but for those that somebody chose: they only make their own check slow.
static size_t place(uint64_t number, size_t cap)
{
	return (size_t)(number * 0x9e3779b97f4a7c15ull >> 20) & (cap - 1);
}

static size_t probe(const struct numberset *s, uint64_t number)
{
	size_t i = place(number, s->cap);

	while (s->slots[i] && s->slots[i] != number) {
		i = (i + 1) & (s->cap - 1);
	}
	return i;
}

static int grow(struct numberset *s)
{
	struct numberset next = {.cap = s->cap ? s->cap * 2 : CAP_MIN, .len = s->len};

	next.slots = calloc(next.cap, sizeof *next.slots);
	if (!next.slots) {
		return WERR_NOMEM;
	}
	for (size_t i = 0; i < s->cap; i++) {
		if (s->slots[i]) {
			next.slots[probe(&next, s->slots[i])] = s->slots[i];
		}
	}
	free(s->slots);
	*s = next;
	return 0;
}

int numberset_add(struct numberset *s, uint64_t number)
{
	int err = s->len * 4 >= s->cap * 3 ? grow(s) : 0;

	if (err) {
		return err;
	}
	size_t i = probe(s, number);
	if (s->slots[i]) {
		return WERR_EXISTS;
	}
	s->slots[i] = number;
	s->len++;
	return 0;
}

bool numberset_has(const struct numberset *s, uint64_t number)
{
	return s->len && s->slots[probe(s, number)];
}

void numberset_remove(struct numberset *s, uint64_t number)
{
	if (!numberset_has(s, number)) {
		return;
	}
	size_t hole = probe(s, number);

	s->slots[hole] = 0;
	s->len--;
	// What came to stand behind it because of it moves up.
	for (size_t i = (hole + 1) & (s->cap - 1); s->slots[i]; i = (i + 1) & (s->cap - 1)) {
		uint64_t moved = s->slots[i];

		s->slots[i] = 0;
		s->slots[probe(s, moved)] = moved;
	}
}

void numberset_clear(struct numberset *s)
{
	free(s->slots);
	*s = (struct numberset){0};
}

static size_t link_probe(const struct linkset *s, uint64_t number)
{
	size_t i = place(number, s->cap);

	while (s->slots[i].number && s->slots[i].number != number) {
		i = (i + 1) & (s->cap - 1);
	}
	return i;
}

static int link_grow(struct linkset *s)
{
	struct linkset next = {.cap = s->cap ? s->cap * 2 : CAP_MIN, .len = s->len};

	next.slots = calloc(next.cap, sizeof *next.slots);
	if (!next.slots) {
		return WERR_NOMEM;
	}
	for (size_t i = 0; i < s->cap; i++) {
		if (s->slots[i].number) {
			next.slots[link_probe(&next, s->slots[i].number)] = s->slots[i];
		}
	}
	free(s->slots);
	*s = next;
	return 0;
}

struct linked *linkset_get(struct linkset *s, uint64_t number)
{
	if (s->len * 4 >= s->cap * 3 && link_grow(s)) {
		return NULL;
	}
	struct linked *l = &s->slots[link_probe(s, number)];
	if (l->number == 0) {
		l->number = number;
		s->len++;
	}
	return l;
}

struct linked *linkset_find(const struct linkset *s, uint64_t number)
{
	struct linked *l = s->len ? &s->slots[link_probe(s, number)] : NULL;

	return l && l->number ? l : NULL;
}

void linkset_clear(struct linkset *s)
{
	free(s->slots);
	*s = (struct linkset){0};
}
