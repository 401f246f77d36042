// SPDX-License-Identifier: Apache-2.0
// Full images of host pages from the journal: the newest complete set stands over the places during
// replay.
#include "fusefs/replay.h"

#include <stdlib.h>
#include <string.h>

#define MAP_BUCKETS 4096u

struct image {
	struct image *next;
	uint64_t number;
	uint64_t position;
	uint8_t page[WARD_PAGE];
};

struct image_map {
	struct image *buckets[MAP_BUCKETS];
};

static size_t image_bucket(uint64_t number, uint64_t position)
{
	return (size_t)((number ^ position * 0x9e3779b97f4a7c15ull) % MAP_BUCKETS);
}

const uint8_t *image_find(const struct image_map *m, uint64_t number, uint64_t position)
{
	for (const struct image *i = m->buckets[image_bucket(number, position)]; i; i = i->next) {
		if (i->number == number && i->position == position) {
			return i->page;
		}
	}
	return NULL;
}

struct image_map *image_map_new(void)
{
	return calloc(1, sizeof(struct image_map));
}

void image_map_free(struct image_map *m)
{
	for (size_t b = 0; m && b < MAP_BUCKETS; b++) {
		while (m->buckets[b]) {
			struct image *i = m->buckets[b];

			m->buckets[b] = i->next;
			free(i);
		}
	}
	free(m);
}

int image_map_place(struct fs *fs)
{
	int err = 0;

	for (size_t b = 0; fs->images && b < MAP_BUCKETS; b++) {
		// Oldest last in the chain: where a set was written twice both forms are the same
		// state, the newest wins.
		for (const struct image *i = fs->images->buckets[b]; i && err == 0; i = i->next) {
			struct host_file *f;

			if (image_find(fs->images, i->number, i->position) != i->page) {
				continue;
			}
			err = hostcache_get(fs->hc, i->number, HOST_RDWR, &f);
			if (err == WERR_NOTFOUND) {
				// A repair was cut short between moving an object aside and making
				// it anew.
				atomic_store(&fs->folder_new[host_folder(i->number)], 1);
				err = hostcache_get(fs->hc, i->number, HOST_RDWR | HOST_CREATE, &f);
			}
			if (err == WERR_DAMAGED) {
				err = 0; // refused when something needs it
				continue;
			}
			if (err == 0) {
				hostcache_dirty(fs->hc, f);
				err = host_pwrite(f, i->page, WARD_PAGE, i->position * WARD_PAGE);
				hostcache_put(fs->hc, f);
			}
		}
	}
	if (err == 0) {
		err = hostcache_sync_all(fs->hc);
	}
	if (err == 0) {
		image_map_free(fs->images);
		fs->images = NULL;
	}
	return err;
}

int image_add(struct image_map *m, const struct assignment *a)
{
	struct image *i = malloc(sizeof *i);
	size_t b = image_bucket(a->ref.number, a->from);

	if (!i) {
		return WERR_NOMEM;
	}
	i->number = a->ref.number;
	i->position = a->from;
	memcpy(i->page, a->bytes, WARD_PAGE);
	i->next = m->buckets[b]; // the newest first: a set that was written twice is found by its
				 // last form
	m->buckets[b] = i;
	return 0;
}
