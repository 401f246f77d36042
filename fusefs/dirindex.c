// SPDX-License-Identifier: Apache-2.0
#include "fusefs/dirindex.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/cursor.h"
#include "crypto/rng.h"
#include "crypto/secret.h"

#define CAPACITY_MIN 16
#define FREE UINT32_MAX

static uint64_t rotate(uint64_t v, unsigned n)
{
	return v << n | v >> (64 - n);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[0] = rotate(v[0], 32);
	v[2] += v[3];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t m)
{
	v[3] ^= m;
	sip_round(v);
	sip_round(v);
	v[0] ^= m;
}

uint64_t dirindex_siphash(const uint8_t key[static DIRINDEX_KEY_BYTES], const uint8_t *in,
			  size_t len)
{
	uint64_t k0 = le64_get(key), k1 = le64_get(key + 8);
	uint64_t v[4] = {
		k0 ^ 0x736f6d6570736575ull,
		k1 ^ 0x646f72616e646f6dull,
		k0 ^ 0x6c7967656e657261ull,
		k1 ^ 0x7465646279746573ull,
	};
	uint8_t tail[8] = {0};
	size_t whole = len & ~(size_t)7;

	for (size_t i = 0; i < whole; i += 8)
		sip_word(v, le64_get(in + i));
	if (len > whole)
		memcpy(tail, in + whole, len - whole);
	tail[7] = (uint8_t)len;
	sip_word(v, le64_get(tail));
	v[2] ^= 0xff;
	for (unsigned i = 0; i < 4; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void dirindex_init(struct dirindex *x)
{
	*x = (struct dirindex){.cells = NULL};
	rng_bytes(x->key, sizeof x->key);
}

void dirindex_clear(struct dirindex *x)
{
	free(x->cells);
	secret_wipe(x, sizeof *x);
}

uint32_t dirindex_fingerprint(const struct dirindex *x, const uint8_t *name, size_t len)
{
	return (uint32_t)dirindex_siphash(x->key, name, len);
}

static void place_cell(struct dircell *cells, size_t capacity, struct dircell cell)
{
	size_t i = cell.fingerprint & (capacity - 1);

	while (cells[i].place != FREE)
		i = (i + 1) & (capacity - 1);
	cells[i] = cell;
}

static int resize(struct dirindex *x, size_t capacity)
{
	struct dircell *cells = reallocarray(NULL, capacity, sizeof *cells);

	if (cells == NULL)
		return WERR_NOMEM;
	memset(cells, 0xff, capacity * sizeof *cells);
	for (size_t i = 0; i < x->capacity; i++) {
		if (x->cells[i].place != FREE)
			place_cell(cells, capacity, x->cells[i]);
	}
	free(x->cells);
	x->cells = cells;
	x->capacity = capacity;
	return 0;
}

int dirindex_reserve(struct dirindex *x, size_t n)
{
	size_t capacity = x->capacity > 0 ? x->capacity : CAPACITY_MIN;

	// At most two thirds full: runs stay short and every probe ends.
	while ((x->used + n) * 3 > capacity * 2)
		capacity *= 2;
	return capacity == x->capacity ? 0 : resize(x, capacity);
}

void dirindex_insert(struct dirindex *x, uint32_t fingerprint, uint32_t place)
{
	assert(place != FREE && x->used < x->capacity);
	place_cell(x->cells, x->capacity, (struct dircell){fingerprint, place});
	x->used++;
}

void dirindex_remove(struct dirindex *x, uint32_t fingerprint, uint32_t place)
{
	size_t mask = x->capacity - 1;
	size_t hole = fingerprint & mask;

	while (x->cells[hole].place != place) {
		assert(x->cells[hole].place != FREE);
		hole = (hole + 1) & mask;
	}
	// Moves back whatever may stand closer to its home, so that no probe stops too early.
	for (size_t i = (hole + 1) & mask; x->cells[i].place != FREE; i = (i + 1) & mask) {
		size_t home = x->cells[i].fingerprint & mask;

		if (((i - home) & mask) < ((i - hole) & mask))
			continue;
		x->cells[hole] = x->cells[i];
		hole = i;
	}
	x->cells[hole].place = FREE;
	x->used--;
	// Without memory for the smaller one the larger one stays.
	if (x->capacity > CAPACITY_MIN && x->used * 8 < x->capacity &&
	    resize(x, x->capacity / 4 < CAPACITY_MIN ? CAPACITY_MIN : x->capacity / 4) != 0)
		return;
}

int dirindex_next(const struct dirindex *x, uint32_t fingerprint, size_t *cursor,
		  uint32_t *ret_place)
{
	if (x->capacity == 0)
		return 0;
	for (size_t mask = x->capacity - 1;;) {
		const struct dircell *c = &x->cells[(fingerprint + *cursor) & mask];

		if (c->place == FREE)
			return 0;
		(*cursor)++;
		if (c->fingerprint == fingerprint) {
			*ret_place = c->place;
			return 1;
		}
	}
}

size_t dirindex_memory(const struct dirindex *x)
{
	return x->capacity * sizeof *x->cells;
}
