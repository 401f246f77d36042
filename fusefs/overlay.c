// SPDX-License-Identifier: Apache-2.0
// Sealed pages that wait in memory: a hash by page index.
#include "fusefs/engine.h"

#include <stdlib.h>

#define OVERLAY_BUCKETS_MIN 16

static size_t hash_index(const struct overlay *ov, uint64_t index)
{
	return (size_t)(index * 0x9e3779b97f4a7c15ull >> 20) & (ov->nbuckets - 1);
}

struct opage *overlay_find(const struct overlay *ov, uint64_t index)
{
	if (ov->count == 0) {
		return NULL;
	}
	struct opage *p = ov->buckets[hash_index(ov, index)];
	while (p && p->index != index) {
		p = p->next;
	}
	return p;
}

static int grow(struct overlay *ov)
{
	struct overlay bigger = *ov;

	bigger.nbuckets = ov->nbuckets ? ov->nbuckets * 2 : OVERLAY_BUCKETS_MIN;
	bigger.buckets = calloc(bigger.nbuckets, sizeof *bigger.buckets);
	if (!bigger.buckets) {
		return WERR_NOMEM;
	}
	for (size_t i = 0; i < ov->nbuckets; i++) {
		while (ov->buckets[i]) {
			struct opage *p = ov->buckets[i];
			size_t b = hash_index(&bigger, p->index);

			ov->buckets[i] = p->next;
			p->next = bigger.buckets[b];
			bigger.buckets[b] = p;
		}
	}
	free(ov->buckets);
	*ov = bigger;
	return 0;
}

struct opage *overlay_make(struct overlay *ov, uint64_t index)
{
	struct opage *p = overlay_find(ov, index);

	if (p) {
		return p;
	}
	if (ov->count >= ov->nbuckets && grow(ov) && !ov->nbuckets) {
		return NULL;
	}
	p = calloc(1, sizeof *p);
	if (!p) {
		return NULL;
	}
	size_t b = hash_index(ov, index);
	p->index = index;
	p->next = ov->buckets[b];
	ov->buckets[b] = p;
	ov->count++;
	return p;
}

struct obuf *overlay_buf(struct fs *fs)
{
	struct obuf *b = malloc(sizeof *b);

	if (b) {
		atomic_fetch_add(&fs->overlay_bytes, sizeof *b);
	}
	return b;
}

void overlay_buf_free(struct fs *fs, struct obuf *b)
{
	if (b) {
		atomic_fetch_sub(&fs->overlay_bytes, sizeof *b);
		free(b); // ciphertext
	}
}

void overlay_prune(struct overlay *ov, struct opage *p)
{
	if (p->dirty || p->pending) {
		return;
	}
	struct opage **q = &ov->buckets[hash_index(ov, p->index)];
	while (*q != p) {
		q = &(*q)->next;
	}
	*q = p->next;
	free(p);
	if (--ov->count == 0) {
		free(ov->buckets);
		ov->buckets = NULL;
		ov->nbuckets = 0;
	}
}

void overlay_clear(struct fs *fs, struct overlay *ov)
{
	for (size_t i = 0; i < ov->nbuckets; i++) {
		while (ov->buckets[i]) {
			struct opage *p = ov->buckets[i];

			ov->buckets[i] = p->next;
			overlay_buf_free(fs, p->dirty);
			overlay_buf_free(fs, p->pending);
			free(p);
		}
	}
	free(ov->buckets);
	*ov = (struct overlay){0};
}

static int compare_index(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

int overlay_indices(const struct overlay *ov, bool pending, uint64_t **ret, size_t *ret_n)
{
	size_t n = 0;
	uint64_t *list = malloc((ov->count + 1) * sizeof *list);

	if (!list) {
		return WERR_NOMEM;
	}
	for (size_t i = 0; i < ov->nbuckets; i++) {
		for (struct opage *p = ov->buckets[i]; p; p = p->next) {
			if (pending ? p->pending != NULL : p->dirty != NULL) {
				list[n++] = p->index;
			}
		}
	}
	qsort(list, n, sizeof *list, compare_index);
	*ret = list;
	*ret_n = n;
	return 0;
}
