// SPDX-License-Identifier: Apache-2.0
// The node table: every inode that the kernel knows, that is dirty, or that a child needs.
#include "fusefs/engine.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"
#include "fusefs/planted.h"

static size_t bucket_of(const struct fs *fs, uint64_t number)
{
	// Numbers are random; the low bits are as good as any. Root and links are 1 and 2.
	return (size_t)number & (fs->nodes_buckets - 1);
}

int node_table_init(struct fs *fs)
{
	fs->nodes_buckets = NODE_BUCKETS_MIN;
	fs->nodes = calloc(fs->nodes_buckets, sizeof *fs->nodes);
	return fs->nodes ? 0 : WERR_NOMEM;
}

static void free_node(struct fs *fs, struct node *n)
{
	object_free(fs, n->obj);
	if (n->target) {
		secret_wipe(n->target, n->target_len);
		free(n->target);
	}
	pthread_rwlock_destroy(&n->lock);
	free(n->grave);
	free(n);
}

void node_table_free(struct fs *fs)
{
	for (size_t i = 0; fs->nodes && i < fs->nodes_buckets; i++) {
		while (fs->nodes[i]) {
			struct node *n = fs->nodes[i];

			fs->nodes[i] = n->hash_next;
			free_node(fs, n);
		}
	}
	free(fs->nodes);
	fs->nodes = NULL;
}

// Doubling keeps look-ups constant; failing to grow only makes chains longer.
static void grow_locked(struct fs *fs)
{
	size_t buckets = fs->nodes_buckets * 2;
	struct node **table = calloc(buckets, sizeof *table);

	if (!table) {
		return;
	}
	for (size_t i = 0; i < fs->nodes_buckets; i++) {
		while (fs->nodes[i]) {
			struct node *n = fs->nodes[i];
			size_t b = (size_t)n->number & (buckets - 1);

			fs->nodes[i] = n->hash_next;
			n->hash_next = table[b];
			table[b] = n;
		}
	}
	free(fs->nodes);
	fs->nodes = table;
	fs->nodes_buckets = buckets;
}

struct node *node_find_locked(const struct fs *fs, uint64_t number)
{
	struct node *n = fs->nodes[bucket_of(fs, number)];

	while (n && n->number != number) {
		n = n->hash_next;
	}
	return n;
}

struct node *node_find(struct fs *fs, uint64_t number)
{
	pthread_mutex_lock(&fs->nodes_lock);
	struct node *n = node_find_locked(fs, number);
	if (n) {
		n->refs++;
	}
	pthread_mutex_unlock(&fs->nodes_lock);
	return n;
}

int rwlock_init_fair(pthread_rwlock_t *lock)
{
	pthread_rwlockattr_t attr;
	int rc = pthread_rwlockattr_init(&attr);

	if (rc) {
		return rc;
	}
	rc = pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	rc = rc ? rc : pthread_rwlock_init(lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	return rc;
}

static struct node *make_node(uint64_t number, uint64_t incarnation, uint8_t type)
{
	struct node *n = calloc(1, sizeof *n);

	if (!n) {
		return NULL;
	}
	if (rwlock_init_fair(&n->lock)) {
		free(n);
		return NULL;
	}
	n->number = number;
	n->incarnation = incarnation;
	n->type = type;
	n->refs = 1;
	return n;
}

void node_set_generation(struct node *n, uint64_t generation)
{
	n->bound = generation;
	atomic_store(&n->base, generation);
	atomic_store(&n->generation, generation);
}

int node_set_target(struct node *n, const void *target, size_t len)
{
	if (len == 0) {
		return 0;
	}
	n->target = malloc(len);
	if (!n->target) {
		return WERR_NOMEM;
	}
	memcpy(n->target, target, len);
	n->target_len = (uint16_t)len;
	return 0;
}

static void insert_locked(struct fs *fs, struct node *n)
{
	if (fs->nodes_count >= fs->nodes_buckets) {
		grow_locked(fs);
	}
	size_t b = bucket_of(fs, n->number);

	n->hash_next = fs->nodes[b];
	fs->nodes[b] = n;
	n->hashed = true;
	fs->nodes_count++;
}

int node_new(struct fs *fs, uint64_t number, uint64_t incarnation, uint8_t type, struct node **ret)
{
	struct node *n = make_node(number, incarnation, type);

	if (!n) {
		return WERR_NOMEM;
	}
	pthread_mutex_lock(&fs->nodes_lock);
	if (node_find_locked(fs, number)) {
		pthread_mutex_unlock(&fs->nodes_lock);
		free_node(fs, n);
		return WERR_EXISTS;
	}
	insert_locked(fs, n);
	pthread_mutex_unlock(&fs->nodes_lock);
	*ret = n;
	return 0;
}

static void look_locked(struct node *n)
{
	if (n->lookups++ == 0) {
		n->refs++; // the kernel's look-ups together hold one reference
	}
}

int node_from_entry(struct fs *fs, const struct entry *e, struct node *home, table_place place,
		    bool look, struct node **ret)
{
	pthread_mutex_lock(&fs->nodes_lock);
	struct node *n = node_find_locked(fs, e->number);
	if (n) {
		// One number, two objects: only a forged or mixed table says so.
		if (n->incarnation != e->incarnation || n->type != e->type) {
			pthread_mutex_unlock(&fs->nodes_lock);
			return fs_refuse(fs, e->number, WERR_DAMAGED,
					 "two entries claim one number");
		}
		n->refs++;
	} else {
		n = make_node(e->number, e->incarnation, e->type);
		if (n && node_set_target(n, e->target, e->target_len)) {
			free_node(fs, n);
			n = NULL;
		}
		if (!n) {
			pthread_mutex_unlock(&fs->nodes_lock);
			return WERR_NOMEM;
		}
		n->attr = e->attr;
		node_set_generation(n, e->generation);
		n->bound_epoch = e->epoch;
		n->home = home;
		n->place = place;
		home->refs++;
		insert_locked(fs, n);
	}
	if (look) {
		look_locked(n);
	}
	pthread_mutex_unlock(&fs->nodes_lock);
	*ret = n;
	return 0;
}

void node_ref(struct fs *fs, struct node *n)
{
	pthread_mutex_lock(&fs->nodes_lock);
	n->refs++;
	pthread_mutex_unlock(&fs->nodes_lock);
}

void node_lru_add(struct fs *fs, struct node *n)
{
	pthread_mutex_lock(&fs->nodes_lock);
	if (!n->in_lru && n->hashed) {
		n->lru_prev = NULL;
		n->lru_next = fs->lru;
		*(fs->lru ? &fs->lru->lru_prev : &fs->lru_tail) = n;
		fs->lru = n;
		n->in_lru = true;
	}
	pthread_mutex_unlock(&fs->nodes_lock);
}

static void lru_remove_locked(struct fs *fs, struct node *n)
{
	if (!n->in_lru) {
		return;
	}
	*(n->lru_prev ? &n->lru_prev->lru_next : &fs->lru) = n->lru_next;
	*(n->lru_next ? &n->lru_next->lru_prev : &fs->lru_tail) = n->lru_prev;
	n->in_lru = false;
}

static void unhash_locked(struct fs *fs, struct node *n)
{
	struct node **p = &fs->nodes[bucket_of(fs, n->number)];

	while (*p != n) {
		p = &(*p)->hash_next;
	}
	*p = n->hash_next;
	fs->nodes_count--;
	lru_remove_locked(fs, n);
}

static bool has_host_file(const struct node *n)
{
	return n->base || n->generation || (n->obj && n->obj->on_host);
}

void node_put(struct fs *fs, struct node *n)
{
	while (n) {
		pthread_mutex_lock(&fs->nodes_lock);
		if (n->refs == 1 && atomic_load(&n->orphan) && !n->unlink_listed &&
		    has_host_file(n) && !WARD_PLANTED(ORPHAN_NEVER)) {
			// Listed before it leaves the table: at every moment a checkpoint finds it
			// in one of the two.
			n->unlink_listed = true;
			pthread_mutex_unlock(&fs->nodes_lock);
			unlink_node_later(fs, n);
			continue;
		}
		if (--n->refs) {
			pthread_mutex_unlock(&fs->nodes_lock);
			return;
		}
		unhash_locked(fs, n);
		pthread_mutex_unlock(&fs->nodes_lock);

		struct node *home = n->home;
		if (atomic_load(&n->orphan)) {
			atomic_fetch_sub(&fs->orphan_count, 1);
		}
		free_node(fs, n);
		n = home; // the child held a reference
	}
}

void node_look(struct fs *fs, struct node *n)
{
	pthread_mutex_lock(&fs->nodes_lock);
	look_locked(n);
	pthread_mutex_unlock(&fs->nodes_lock);
}

void node_forget(struct fs *fs, struct node *n, uint64_t count)
{
	bool last = false;

	pthread_mutex_lock(&fs->nodes_lock);
	if (n->lookups) {
		n->lookups = count < n->lookups ? n->lookups - count : 0;
		last = n->lookups == 0;
	}
	pthread_mutex_unlock(&fs->nodes_lock);
	if (last) {
		node_put(fs, n);
	}
}

void node_set_home(struct fs *fs, struct node *n, struct node *home, table_place place)
{
	if (WARD_PLANTED(OLD_PARENT) && home && n->home && !fs->replaying) {
		return;
	}
	if (home) {
		node_ref(fs, home);
	}
	pthread_mutex_lock(&fs->dirty_lock);
	struct node *old = n->home;
	n->home = home;
	n->place = place;
	pthread_mutex_unlock(&fs->dirty_lock);
	node_put(fs, old);
}

void node_make_orphan(struct fs *fs, struct node *n)
{
	if (!atomic_exchange(&n->orphan, true)) {
		atomic_fetch_add(&fs->orphan_count, 1);
	}
}

void node_free_orphans(struct fs *fs)
{
	// No lock: the engine's threads have ended, and nobody calls any more.
	for (size_t i = 0; i < fs->nodes_buckets; i++) {
		for (struct node *n = fs->nodes[i]; n; n = n->hash_next) {
			if (!atomic_load(&n->orphan)) {
				continue;
			}
			if (has_host_file(n) && !WARD_PLANTED(ORPHAN_NEVER)) {
				unlink_node_later(fs, n);
			}
			n->base = n->generation = 0; // once
			if (n->obj) {
				overlay_clear(fs, &n->obj->overlay); // nobody will read it
				n->obj->on_host = false;
			}
		}
	}
}

void node_dirty(struct fs *fs, struct node *n, unsigned flags)
{
	atomic_fetch_add(&n->change, 1);
	pthread_mutex_lock(&fs->dirty_lock);
	for (struct node *p = n; p; p = p->home) {
		unsigned was = p->dirty;

		// The node itself gets the flags asked for; its ancestors' tables and headers
		// change with the bound. The root's own entry stands in its own table.
		p->dirty |= p == n && n != fs->root ? flags : DIRTY_CONTENT | DIRTY_ATTR;
		if (!was) {
			node_ref(fs, p); // the list's reference
			p->dirty_next = fs->dirty_list;
			fs->dirty_list = p;
			atomic_fetch_add(&fs->dirty_count, 1);
			if (p->base) {
				// About: its header, and a page, node or table page of it.
				atomic_fetch_add(&fs->image_count, 2);
			}
		} else if (p != n && (was & DIRTY_CONTENT)) {
			break; // it and what is above it are listed already
		}
	}
	pthread_mutex_unlock(&fs->dirty_lock);
}

int node_unread(struct fs *fs, const struct node *n)
{
	int err = 0;

	if (!atomic_load(&fs->left_out) || atomic_load(&n->orphan)) {
		return 0;
	}
	pthread_mutex_lock(&fs->dirty_lock);
	for (const struct node *p = n; p && err == 0; p = p->home) {
		err = atomic_load(&p->unread);
	}
	pthread_mutex_unlock(&fs->dirty_lock);
	return err;
}

#define SWEEP_ROUNDS 64u

void node_sweep(struct fs *fs)
{
	uint64_t limit = (uint64_t)fs->params.cache_mib << 20;

	if (atomic_load(&fs->cache_bytes) <= limit) {
		return;
	}
	// The first round lets go what was not touched since the last sweep, the next ones
	// anything.
	for (unsigned pass = 0; pass < SWEEP_ROUNDS && atomic_load(&fs->cache_bytes) > limit;
	     pass++) {
		struct node *victims[256];
		size_t count = 0;

		pthread_mutex_lock(&fs->nodes_lock);
		// From the oldest on; what is kept goes to the front again.
		for (struct node *n = fs->lru_tail, *next; n && count < 256; n = next) {
			next = n->lru_prev;
			if (n->used && pass == 0) {
				n->used = false;
			} else if (n != fs->root && n != fs->links) {
				lru_remove_locked(fs, n);
				n->refs++;
				victims[count++] = n;
			}
		}
		pthread_mutex_unlock(&fs->nodes_lock);
		// Not inside a cut: it has emptied the dirty list, and what it has not sealed yet
		// looks clean.
		pthread_rwlock_rdlock(&fs->cut);
		for (size_t i = 0; i < count; i++) {
			struct node *n = victims[i];

			pthread_rwlock_wrlock(&n->lock);
			pthread_mutex_lock(&fs->dirty_lock);
			bool dirty = n->dirty || n->orphan;
			pthread_mutex_unlock(&fs->dirty_lock);
			if (n->obj && !dirty && n->obj->overlay.count == 0 && n->base &&
			    n->obj->drop_from == n->obj->drop_to && n->base == n->generation &&
			    !n->obj->host_written) {
				object_free(fs, n->obj);
				n->obj = NULL;
			}
			bool kept = n->obj != NULL;
			pthread_rwlock_unlock(&n->lock);
			if (kept) {
				node_lru_add(fs, n);
			}
			node_put(fs, n);
		}
		pthread_rwlock_unlock(&fs->cut);
	}
}
