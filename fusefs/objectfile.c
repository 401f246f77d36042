// SPDX-License-Identifier: Apache-2.0
// hostcache: the LRU cache of object descriptors.
#include "fusefs/host.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "fusefs/planted.h"

// One handle. `opening`: the file is being opened by the thread that made the entry; others wait
// for it. `detached`: no longer found by hostcache_get (replaced by a writable one, or dropped),
// closed when the last borrower gives it back.
struct entry {
	struct host_file *file;
	uint64_t number;
	unsigned refs;
	unsigned char writable, opening, detached;
	uint64_t dirty; // 0: flushed; else the value of dirty_clock at the last mark
	struct entry *chain;
	struct entry *older, *newer; // in the list of evictable entries: idle and flushed
};

struct hostcache {
	struct host *host;
	unsigned capacity;
	unsigned mask;        // of the hash table
	pthread_mutex_t lock; // guards everything below and every entry
	pthread_cond_t changed;
	unsigned waiters; // on `changed`
	unsigned open;
	unsigned unflushed; // entries with dirty != 0
	uint64_t dirty_clock;
	struct entry *newest, *oldest;
	struct entry **table;
};

static unsigned bucket(const struct hostcache *c, uint64_t number)
{
	// Random numbers need no mixing, but the two fixed ones and tests' small ones do.
	return (unsigned)((number * 0x9e3779b97f4a7c15ull) >> 40) & c->mask;
}

int hostcache_new(struct host *h, unsigned capacity, struct hostcache **ret)
{
	unsigned buckets = 64;

	while (buckets < capacity * 2 && buckets < 1u << 20)
		buckets *= 2;
	struct hostcache *c = calloc(1, sizeof(*c));
	if (!c)
		return WERR_NOMEM;
	c->table = calloc(buckets, sizeof(struct entry *));
	if (!c->table) {
		free(c);
		return WERR_NOMEM;
	}
	c->host = h;
	c->capacity = capacity ? capacity : 1;
	c->mask = buckets - 1;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	*ret = c;
	return 0;
}

static void wait_change(struct hostcache *c)
{
	c->waiters++;
	pthread_cond_wait(&c->changed, &c->lock);
	c->waiters--;
}

static void announce(struct hostcache *c)
{
	if (c->waiters)
		pthread_cond_broadcast(&c->changed);
}

static struct entry *find(const struct hostcache *c, uint64_t number)
{
	struct entry *e = c->table[bucket(c, number)];

	while (e && (e->number != number || e->detached))
		e = e->chain;
	return e;
}

static void idle_remove(struct hostcache *c, struct entry *e)
{
	*(e->older ? &e->older->newer : &c->oldest) = e->newer;
	*(e->newer ? &e->newer->older : &c->newest) = e->older;
	e->older = e->newer = NULL;
}

static void idle_add(struct hostcache *c, struct entry *e)
{
	e->older = c->newest;
	e->newer = NULL;
	*(c->newest ? &c->newest->newer : &c->oldest) = e;
	c->newest = e;
}

// May be closed as soon as nobody borrows it.
static bool evictable(const struct entry *e)
{
	return !e->dirty || WARD_PLANTED(EVICTED_ERROR);
}

static void take(struct hostcache *c, struct entry *e)
{
	if (!e->refs++ && evictable(e))
		idle_remove(c, e);
}

// Takes an entry out of the table; its owner then closes and frees it without the lock.
static void unhash(struct hostcache *c, struct entry *e)
{
	struct entry **at = &c->table[bucket(c, e->number)];

	while (*at != e)
		at = &(*at)->chain;
	*at = e->chain;
	c->open--;
	c->unflushed -= e->dirty != 0;
}

static void destroy(struct hostcache *c, struct entry *e)
{
	if (e->file)
		c->host->ops->file_close(e->file);
	free(e);
}

// Takes the oldest evictable entry out when there are more than `limit`; NULL when none must or can
// go.
static struct entry *evict(struct hostcache *c, unsigned limit)
{
	struct entry *e = c->open > limit ? c->oldest : NULL;

	if (e) {
		idle_remove(c, e);
		unhash(c, e);
	}
	return e;
}

void hostcache_free(struct hostcache *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i <= c->mask; i++) {
		while (c->table[i]) {
			struct entry *e = c->table[i];

			assert(!e->refs);
			c->table[i] = e->chain;
			destroy(c, e);
		}
	}
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->lock);
	free(c->table);
	free(c);
}

// Opens the file of a placeholder entry, without the lock; when descriptors run out, once more
// without any idle handle.
static int open_entry(struct hostcache *c, struct entry *e, unsigned flags)
{
	int rc = c->host->ops->open_object(c->host, e->number, flags, &e->file);

	if (rc != WERR_MFILE)
		return rc;
	for (;;) {
		pthread_mutex_lock(&c->lock);
		struct entry *victim = evict(c, 0);
		pthread_mutex_unlock(&c->lock);
		if (!victim)
			break;
		destroy(c, victim);
	}
	return c->host->ops->open_object(c->host, e->number, flags, &e->file);
}

// Called with the lock, returns without it.
static int get_new(struct hostcache *c, uint64_t number, unsigned flags, struct host_file **ret)
{
	struct entry *e = calloc(1, sizeof(*e));

	if (!e) {
		pthread_mutex_unlock(&c->lock);
		return WERR_NOMEM;
	}
	e->number = number;
	e->refs = 1;
	e->opening = 1;
	e->writable = (flags & HOST_RDWR) != 0;
	e->chain = c->table[bucket(c, number)];
	c->table[bucket(c, number)] = e;
	c->open++;
	struct entry *victim = evict(c, c->capacity);
	pthread_mutex_unlock(&c->lock);
	if (victim)
		destroy(c, victim);

	int rc = open_entry(c, e, flags);
	pthread_mutex_lock(&c->lock);
	e->opening = 0;
	if (rc) {
		unhash(c, e);
	} else {
		e->file->cache = e;
		*ret = e->file;
	}
	announce(c);
	pthread_mutex_unlock(&c->lock);
	if (rc)
		free(e);
	return rc;
}

int hostcache_get(struct hostcache *c, uint64_t number, unsigned flags, struct host_file **ret)
{
	struct entry *e;
	struct entry *closed = NULL;

	pthread_mutex_lock(&c->lock);
	while ((e = find(c, number)) && e->opening)
		wait_change(c);
	if (e && flags & HOST_EXCL) {
		pthread_mutex_unlock(&c->lock);
		return WERR_EXISTS;
	}
	if (e && (e->writable || !(flags & HOST_RDWR))) {
		take(c, e);
		*ret = e->file;
		pthread_mutex_unlock(&c->lock);
		return 0;
	}
	if (e) { // read-only, and writing is asked for: never unflushed
		e->detached = 1;
		if (!e->refs) {
			idle_remove(c, e);
			unhash(c, e);
			closed = e;
		}
	}
	int rc = get_new(c, number, flags, ret);
	if (closed)
		destroy(c, closed);
	return rc;
}

void hostcache_put(struct hostcache *c, struct host_file *f)
{
	struct entry *e = f->cache;
	struct entry *closed = NULL;

	pthread_mutex_lock(&c->lock);
	assert(e->refs);
	if (!--e->refs) {
		if (e->detached) {
			unhash(c, e);
			closed = e;
		} else if (evictable(e)) {
			idle_add(c, e);
			closed = evict(c, c->capacity);
		}
		announce(c);
	}
	pthread_mutex_unlock(&c->lock);
	if (closed)
		destroy(c, closed);
}

void hostcache_dirty(struct hostcache *c, struct host_file *f)
{
	struct entry *e = f->cache;

	pthread_mutex_lock(&c->lock);
	c->unflushed += e->dirty == 0;
	e->dirty = ++c->dirty_clock;
	pthread_mutex_unlock(&c->lock);
}

void hostcache_clean(struct hostcache *c, struct host_file *f)
{
	struct entry *e = f->cache;

	pthread_mutex_lock(&c->lock);
	c->unflushed -= e->dirty != 0;
	e->dirty = 0;
	pthread_mutex_unlock(&c->lock);
}

int hostcache_sync(struct hostcache *c, struct host_file *f)
{
	struct entry *e = f->cache;

	pthread_mutex_lock(&c->lock);
	uint64_t before = e->dirty;
	pthread_mutex_unlock(&c->lock);
	int rc = c->host->ops->datasync(f);
	if (rc)
		return rc;
	pthread_mutex_lock(&c->lock);
	if (before && e->dirty == before) {
		e->dirty = 0;
		c->unflushed--;
	}
	pthread_mutex_unlock(&c->lock);
	return 0;
}

int hostcache_sync_all(struct hostcache *c)
{
	int rc = 0;

	pthread_mutex_lock(&c->lock);
	for (unsigned b = 0; b <= c->mask && !rc; b++) {
		struct entry *e = c->table[b];

		while (e && !rc) {
			if (!e->dirty || e->opening || e->refs) {
				e = e->chain;
				continue;
			}
			uint64_t number = e->number;
			struct host_file *f;

			pthread_mutex_unlock(&c->lock);
			rc = hostcache_get(c, number, HOST_RDWR, &f);
			if (!rc) {
				rc = hostcache_sync(c, f);
				hostcache_put(c, f);
			}
			pthread_mutex_lock(&c->lock);
			e = c->table[b]; // the chain may have changed
		}
	}
	pthread_mutex_unlock(&c->lock);
	return rc;
}

// An entry of this number, detached ones included.
static struct entry *find_any(const struct hostcache *c, uint64_t number)
{
	struct entry *e = c->table[bucket(c, number)];

	while (e && e->number != number)
		e = e->chain;
	return e;
}

void hostcache_drop(struct hostcache *c, uint64_t number)
{
	struct entry *e;

	pthread_mutex_lock(&c->lock);
	while ((e = find_any(c, number))) {
		if (!e->opening && !e->refs) {
			if (evictable(e))
				idle_remove(c, e);
			unhash(c, e);
			pthread_mutex_unlock(&c->lock);
			destroy(c, e);
			pthread_mutex_lock(&c->lock);
			continue;
		}
		if (!e->opening)
			e->detached = 1;
		wait_change(c);
	}
	pthread_mutex_unlock(&c->lock);
}

void hostcache_count(struct hostcache *c, unsigned *ret_open, unsigned *ret_dirty)
{
	pthread_mutex_lock(&c->lock);
	*ret_open = c->open;
	*ret_dirty = c->unflushed;
	pthread_mutex_unlock(&c->lock);
}
