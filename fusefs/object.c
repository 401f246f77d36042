// SPDX-License-Identifier: Apache-2.0
// Loading an object's header and nodes, and the raw access to its host file.
#include "fusefs/engine.h"

#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "crypto/cursor.h"
#include "crypto/secret.h"
#include "crypto/xattr_codec.h"
#include "fusefs/ahead.h"
#include "fusefs/salvage.h"

uint64_t pages_of(uint64_t size)
{
	return size / WARD_PAGE + (size % WARD_PAGE != 0);
}

struct objref node_objref(const struct node *n)
{
	return (struct objref){n->number, n->incarnation, n->base};
}

struct object_id node_object_id(const struct node *n)
{
	return (struct object_id){n->number, n->incarnation, n->type, OBJECT_CLASS, n->epoch};
}

size_t object_inline_capacity(const struct object *o)
{
	// Larger sets move to pages of their own, whose seals take the whole inline area of
	// attributes.
	return OBJECT_INLINE_AREA -
	       (o->xattrs_len > OBJECT_XATTR_INLINE_MAX ? OBJECT_XATTR_INLINE_MAX : o->xattrs_len);
}

int object_host_file(struct fs *fs, uint64_t number, struct host_file **ret)
{
	int err = WERR_BUSY;

	if (fs->params.blocking) {
		err = hostcache_get(fs->hc, number, HOST_RDONLY | HOST_CACHED, ret);
		if (err == WERR_BUSY) {
			fs_blocking(fs);
		}
	}
	return err == WERR_BUSY ? hostcache_get(fs->hc, number, HOST_RDONLY, ret) : err;
}

int object_preadv(struct fs *fs, struct host_file *f, const struct iovec *iov, int iovcnt,
		  uint64_t off)
{
	const struct host_ops *ops = fs->host->ops;

	if (fs->params.blocking && ops->preadv_cached) {
		int err = ops->preadv_cached(f, iov, iovcnt, off);

		if (err != WERR_BUSY) {
			return err;
		}
		fs_blocking(fs);
	}
	return ops->preadv(f, iov, iovcnt, off, NULL);
}

int object_open_page(const struct object_keys *keys, const struct seal *s, uint32_t level,
		     uint64_t index, const uint8_t *cipher, uint8_t *plain)
{
	const uint16_t generation = seal_generation(s);
	const struct gcm_key *key = object_keys_data(keys, generation);

	return key ? seal_open(key, s, level, index, cipher, plain)
		   : object_keys_missing(keys, generation);
}

int object_read_raw(struct fs *fs, uint64_t number, uint64_t position, size_t pages, uint8_t *buf)
{
	struct host_file *f;
	int err = object_host_file(fs, number, &f);

	if (err == 0) {
		const struct iovec iov = {buf, pages * WARD_PAGE};

		err = object_preadv(fs, f, &iov, 1, position * WARD_PAGE);
		hostcache_put(fs->hc, f);
	}
	if (fs->images) {
		bool all = true;

		for (size_t i = 0; i < pages; i++) {
			const uint8_t *image = image_find(fs->images, number, position + i);

			if (image) {
				memcpy(buf + i * WARD_PAGE, image, WARD_PAGE);
			} else {
				all = false;
			}
		}
		if (all) {
			err = 0;
		}
	}
	return err;
}

// Pages without a header, or this very object's header from a checkpoint that did not complete:
// left by a crash.
static bool is_own_leftover(const struct node *n, const uint8_t prefix[static OBJECT_PREFIX_BYTES])
{
	static const uint8_t none[OBJECT_PREFIX_BYTES];

	return memcmp(prefix, none, sizeof none) == 0 ||
	       (le64_get(prefix + 16) == n->number && le64_get(prefix + 24) == n->incarnation);
}

// The host name of a new object is taken. Numbers are 62 random bits: what stands there was left by
// a crash (nothing refers to it, the file is used again), or somebody put it there (moved aside,
// never deleted).
static int take_over(struct fs *fs, const struct node *n, struct host_file **ret)
{
	uint64_t number = n->number;
	uint8_t prefix[OBJECT_PREFIX_BYTES];
	int err = hostcache_get(fs->hc, number, HOST_RDWR, ret);

	if (err == 0) {
		err = host_pread(*ret, prefix, sizeof prefix, 0, NULL);
		// A repair gives nothing up: what it replaces is moved aside.
		if (err == 0 && !fs->params.salvage && is_own_leftover(n, prefix)) {
			err = fs->host->ops->truncate(*ret, 0);
			if (err) {
				hostcache_put(fs->hc, *ret);
			}
			return err;
		}
		hostcache_put(fs->hc, *ret);
		hostcache_drop(fs->hc, number);
	} else if (err != WERR_DAMAGED) {
		return err;
	}
	fs_log(fs, LOG_WARNING, "object %016llx: its host name was taken; moved aside",
	       (unsigned long long)number);
	err = fs->host->ops->set_aside(fs->host, number);
	return err ? err : hostcache_get(fs->hc, number, HOST_RDWR | HOST_CREATE | HOST_EXCL, ret);
}

int object_write_raw(struct fs *fs, struct node *n, uint64_t position, const uint8_t *buf,
		     size_t pages)
{
	struct host_file *f;
	unsigned flags = HOST_RDWR | HOST_CREATE;

	if (!n->obj->on_host) {
		flags |= HOST_EXCL;
	}
	int err = hostcache_get(fs->hc, n->number, flags, &f);
	if (!n->obj->on_host && (err == WERR_EXISTS || err == WERR_DAMAGED)) {
		err = take_over(fs, n, &f);
	}
	if (err == WERR_NOTFOUND) {
		err = WERR_DAMAGED; // its folder went away at this moment
	}
	if (err) {
		return err;
	}
	if (!n->obj->on_host) {
		n->obj->on_host = true;
		atomic_store(&fs->folder_new[host_folder(n->number)], 1);
	}
	n->obj->host_written = true;
	hostcache_dirty(fs->hc, f);
	err = host_pwrite(f, buf, pages * WARD_PAGE, position * WARD_PAGE);
	hostcache_put(fs->hc, f);
	return err;
}

int object_datasync(struct fs *fs, struct node *n)
{
	struct host_file *f;
	int err = hostcache_get(fs->hc, n->number, HOST_RDWR, &f);

	if (err) {
		return err;
	}
	err = n->obj ? atomic_load(&n->obj->flush_failed) : 0;
	if (err == 0) {
		err = hostcache_sync(fs->hc, f);
	}
	hostcache_put(fs->hc, f);
	if (err) {
		if (n->obj) {
			atomic_store(&n->obj->flush_failed, err);
		}
		return err;
	}
	return object_sync_folder(fs, host_folder(n->number));
}

int object_sync_folder(struct fs *fs, unsigned folder)
{
	if (!atomic_exchange(&fs->folder_new[folder], 0)) {
		return 0;
	}
	int err = fs->host->ops->sync_folder(fs->host, folder);
	if (err) {
		atomic_store(&fs->folder_new[folder], 1);
	}
	return err;
}

// What the page tree's loader needs to know.
struct tree_source {
	struct fs *fs;
	struct node *n;
};

// tree_load_fn: a node page of an object.
static int load_node_page(void *arg, unsigned level, uint64_t first, uint64_t position,
			  const struct seal *seal, struct seal out[static SEALS_PER_NODE])
{
	struct tree_source *src = arg;
	uint8_t *page = (uint8_t *)out;

	src->n->obj->bad_level = level; // should it fail: who reads around it has to know where
	src->n->obj->bad_first = first;
	int err = object_read_raw(src->fs, src->n->number, position, 1, page);

	if (err) {
		return err;
	}
	err = object_open_page(src->n->obj->keys, seal, level, first, page, page);
	for (unsigned i = 0; err == 0 && i < SEALS_PER_NODE; i++) {
		err = seal_check(&out[i]);
	}
	return err ? fs_refuse(src->fs, src->n->number, err, "node page") : 0;
}

int object_tree_init(struct fs *fs, struct node *n)
{
	struct tree_source *src = malloc(sizeof *src);

	if (!src) {
		return WERR_NOMEM;
	}
	*src = (struct tree_source){fs, n};
	int err = tree_new(load_node_page, src, &n->obj->tree);
	if (err) {
		free(src);
		return err;
	}
	n->obj->tree_source = src;
	return 0;
}

void object_free(struct fs *fs, struct object *o)
{
	if (!o) {
		return;
	}
	atomic_fetch_sub(&fs->cache_bytes, o->accounted);
	atomic_fetch_sub(&fs->dirty_bytes, o->accounted_dirty);
	atomic_fetch_sub(&fs->file_bytes, o->accounted_file);
	overlay_clear(fs, &o->overlay);
	tree_free(o->tree);
	free(o->tree_source);
	table_free(o->table);
	object_keys_free(o->keys);
	if (o->inline_data) {
		secret_wipe(o->inline_data, OBJECT_INLINE_AREA);
		free(o->inline_data);
	}
	if (o->xattrs) {
		secret_wipe(o->xattrs, o->xattrs_len);
		free(o->xattrs);
	}
	replay_object_free(o->replay);
	free(o);
}

// About: two expanded keys in secret memory.
#define KEYS_BYTES 3072u

// The share of one object in a sum becomes `now`; several threads at once leave one of their
// values.
static void account(_Atomic uint64_t *sum, _Atomic uint64_t *share, uint64_t now)
{
	if (atomic_load_explicit(share, memory_order_relaxed) != now) {
		atomic_fetch_add(sum, now - atomic_exchange(share, now));
	}
}

void object_account(struct fs *fs, struct object *o)
{
	size_t now = sizeof *o + (o->keys ? KEYS_BYTES : 0) +
		     (o->inline_data ? OBJECT_INLINE_AREA : 0) + o->xattrs_len +
		     (o->tree ? tree_memory(o->tree) : 0) + (o->table ? table_memory(o->table) : 0);

	account(&fs->cache_bytes, &o->accounted, now);
	account(&fs->dirty_bytes, &o->accounted_dirty, o->tree ? tree_dirty_memory(o->tree) : 0);
	account(&fs->file_bytes, &o->accounted_file, o->table ? 0 : now);
}

static void object_loaded(struct fs *fs, struct node *n)
{
	object_account(fs, n->obj);
	node_lru_add(fs, n);
	want_sweep(fs);
}

// A node that has no object yet: empty content, keys when something is sealed.
static int new_object(struct fs *fs, struct node *n)
{
	struct object *o = n->obj;

	o->layout = n->type == OBJECT_DIR ? LAYOUT_TREE : LAYOUT_INLINE;
	if (n->type == OBJECT_DIR) {
		int err = table_new(&o->table);
		return err ? err : object_tree_init(fs, n);
	}
	o->inline_data = calloc(1, OBJECT_INLINE_AREA);
	return o->inline_data ? 0 : WERR_NOMEM;
}

static int load_xattr_pages(struct fs *fs, struct node *n, const struct object_header *h)
{
	struct object *o = n->obj;
	unsigned count = (unsigned)pages_of(h->xattr_len);
	uint8_t *buf = malloc(OBJECT_XATTR_MAX);
	int err = 0;

	if (!buf) {
		return WERR_NOMEM;
	}
	for (unsigned i = 0; err == 0 && i < count; i++) {
		const struct seal *s = &h->xattr_seals[i];

		err = object_read_raw(fs, n->number, POSITION_XATTR + i, 1, buf + i * WARD_PAGE);
		if (err == 0) {
			err = object_open_page(o->keys, s, LEVEL_XATTR, i, buf + i * WARD_PAGE,
					       buf + i * WARD_PAGE);
		}
	}
	if (err == 0) {
		err = xattr_codec_check(buf, h->xattr_len);
	}
	if (err) {
		secret_wipe(buf, OBJECT_XATTR_MAX);
		free(buf);
		return fs_refuse(fs, n->number, err, "extended attributes");
	}
	o->xattrs = buf;
	return 0;
}

static int load_xattrs(struct fs *fs, struct node *n, const struct object_header *h)
{
	struct object *o = n->obj;

	o->xattrs_len = h->xattr_len;
	o->xattr_paged = h->xattr_layout != 0;
	if (h->xattr_layout) {
		memcpy(o->xattr_seals, h->xattr_seals, sizeof o->xattr_seals);
		return load_xattr_pages(fs, n, h);
	}
	if (h->xattr_len) {
		int err = xattr_codec_check(h->xattr_inline, h->xattr_len);
		if (err) {
			return fs_refuse(fs, n->number, err, "extended attributes");
		}
		o->xattrs = malloc(h->xattr_len);
		if (!o->xattrs) {
			return WERR_NOMEM;
		}
		memcpy(o->xattrs, h->xattr_inline, h->xattr_len);
	}
	return 0;
}

uint32_t object_table_pages(const struct object *o)
{
	uint32_t pages = table_pages(o->table);

	return pages > o->lost_end ? pages : o->lost_end;
}

bool object_page_lost(struct node *n, uint32_t page)
{
	struct object *o = n->obj;
	struct seal s;

	if (page >= o->lost_end || table_page_bytes(o->table, page)) {
		return false;
	}
	// Emptied, and not sealed since, is something else.
	return table_next_dirty(o->table, page) != page &&
	       (tree_get(o->tree, page, &s) || !seal_is_hole(&s));
}

static bool is_damage(int err)
{
	return err == WERR_AUTH || err == WERR_MALFORMED || err == WERR_DAMAGED;
}

bool object_is_damaged(int err)
{
	return is_damage(err) || err == WERR_ROLLBACK;
}

// Page by page, where not all of a run can be had: the others are there to be read.
static int load_around(struct fs *fs, struct node *n, uint64_t from, size_t count, uint8_t *page)
{
	struct object *o = n->obj;
	int err = 0;

	for (uint64_t i = from; err == 0 && i < from + count; i++) {
		struct seal s;

		err = tree_get(o->tree, i, &s);
		if (err == 0 && !seal_is_hole(&s) && !table_page_bytes(o->table, (uint32_t)i)) {
			err = object_read_raw(fs, n->number, tree_position(i), 1, page);
			if (err == 0) {
				err = object_open_page(o->keys, &s, 0, i, page, page);
			}
			if (err == 0) {
				err = table_load_page(o->table, (uint32_t)i, page);
			}
		}
		if (is_damage(err)) {
			o->lost_end = (uint32_t)i + 1;
			err = 0;
		}
	}
	return err;
}

// Every page of a directory's table, in runs of up to 64 pages a host read.
static int load_table(struct fs *fs, struct node *n, uint64_t pages)
{
	struct object *o = n->obj;
	uint8_t *buf = malloc(64 * WARD_PAGE);
	int err = table_new(&o->table);

	if (!buf) {
		return WERR_NOMEM;
	}
	for (uint64_t i = 0; err == 0 && i < pages;) {
		struct seal seals[64];
		size_t run = 1;

		while (run < 64 && i + run < pages &&
		       tree_position(i + run) == tree_position(i) + run) {
			run++;
		}
		err = tree_get_range(o->tree, i, run, seals);
		if (err == 0) {
			err = object_read_raw(fs, n->number, tree_position(i), run, buf);
		}
		for (size_t k = 0; err == 0 && k < run; k++) {
			uint8_t *page = buf + k * WARD_PAGE;

			if (seal_is_hole(&seals[k])) {
				continue;
			}
			err = object_open_page(o->keys, &seals[k], 0, i + k, page, page);
			if (err == 0) {
				err = table_load_page(o->table, (uint32_t)(i + k), page);
			}
			if (err) {
				err = fs_refuse(fs, n->number, err, "directory page");
			}
		}
		if (salvage_wanted(fs, err)) {
			err = salvage_table(fs, n, i, run);
		} else if (is_damage(err)) {
			err = load_around(fs, n, i, run, buf);
		}
		i += run;
	}
	secret_wipe(buf, 64 * WARD_PAGE);
	free(buf);
	return err;
}

// What the header says goes into the object; the caller frees on failure.
static int load_body(struct fs *fs, struct node *n, const struct object_header *h)
{
	struct object *o = n->obj;

	o->layout = h->layout;
	o->data_seals = h->data_seals;
	o->header_seals = h->header_seals;
	o->parent_number = h->parent_number;
	o->parent_incarnation = h->parent_incarnation;
	o->name_len = h->name_len;
	memcpy(o->name, h->name, h->name_len);
	o->on_host = o->keys_logged = true;
	int err = load_xattrs(fs, n, h);
	if (salvage_wanted(fs, err)) {
		o->xattrs_len = 0;
		o->xattr_paged = false;
		err = n->type == OBJECT_DIR ? salvage_note(fs->params.salvage, n->number) : 0;
	}
	if (err) {
		return err;
	}
	if (n->type != OBJECT_DIR) {
		if (h->size > FS_SIZE_MAX) {
			return fs_refuse(fs, n->number, WERR_LIMIT, "size");
		}
		o->logged_size = h->size;
		n->attr.size = n->target ? n->target_len
					 : h->size; // the header's size wins (STORAGE.md rule 4)
	}
	if (h->layout == LAYOUT_INLINE) {
		o->inline_data = calloc(1, OBJECT_INLINE_AREA);
		if (!o->inline_data) {
			return WERR_NOMEM;
		}
		memcpy(o->inline_data, h->inline_data, (size_t)h->size);
		return 0;
	}
	err = object_tree_init(fs, n);
	if (err) {
		return err;
	}
	tree_load_roots(o->tree, h->direct, h->roots);
	o->guard = o->unlogged_from = o->placed_end = o->flushed_to = pages_of(h->size);
	return n->type == OBJECT_DIR ? load_table(fs, n, o->guard) : 0;
}

// Order of checks: identity, keys, header's seal, type, generation (wardfs-vault(5), "Order of
// checks").
static int open_header(struct fs *fs, struct node *n, const uint8_t *page, struct object_header *h)
{
	struct object_id id;
	const uint8_t *tlv;
	size_t tlv_len;
	int err = object_header_prefix(page, &id, &tlv, &tlv_len);

	if (err) {
		return fs_refuse(fs, n->number, err, "header prefix");
	}
	if (id.number != n->number || id.incarnation != n->incarnation) {
		return fs_refuse(fs, n->number, WERR_DAMAGED, "another object stands in its place");
	}
	if (id.epoch < n->bound_epoch) {
		return fs_refuse(fs, n->number, WERR_ROLLBACK,
				 "keys of an older epoch than its directory allows");
	}
	id.type = n->type;
	err = object_keys_unwrap(fs->v->ring, &id, tlv, tlv_len, &n->obj->keys);
	if (err) {
		return fs_refuse(fs, n->number, err, "wrapped keys");
	}
	n->epoch = id.epoch;
	err = object_header_open(page, n->obj->keys, h);
	object_keys_settle(n->obj->keys);
	if (err) {
		return fs_refuse(fs, n->number, err, "header");
	}
	if (h->type != n->type) {
		return fs_refuse(fs, n->number, WERR_DAMAGED, "type differs from its entry");
	}
	if (h->generation < n->bound) {
		return fs_refuse_older(fs, n->number, "older than its directory allows",
				       h->generation, n->bound);
	}
	// Both are written by one checkpoint, and put right by one replay.
	if (h->generation > n->bound && n->bound && !fs->replaying) {
		return fs_refuse_older(fs, n->number, "newer than its directory knows",
				       h->generation, n->bound);
	}
	// What this mount has written itself is known by its entry, or by the node.
	if (h->generation >> 40 > fs->known_mount && h->generation > n->generation) {
		return fs_refuse(fs, n->number, WERR_ROLLBACK,
				 "from a later mount than the vault header knows: the header was "
				 "rolled back");
	}
	return 0;
}

int object_load(struct fs *fs, struct node *n)
{
	if (n->obj) {
		n->used = true;
		return 0;
	}
	n->obj = calloc(1, sizeof *n->obj);
	if (!n->obj) {
		return WERR_NOMEM;
	}
	int err;
	if (n->base == 0) {
		err = new_object(fs, n);
	} else {
		struct object_header *h = calloc(1, sizeof *h);
		uint8_t *page = malloc(WARD_PAGE);

		err = h && page ? object_read_raw(fs, n->number, 0, 1, page) : WERR_NOMEM;
		if (err == WERR_NOTFOUND || err == WERR_DAMAGED) {
			err = fs_refuse(fs, n->number, WERR_DAMAGED,
					"its host file is missing or not a plain file");
		}
		if (err == 0) {
			err = open_header(fs, n, page, h);
		}
		if (err == 0) {
			n->generation = n->base = h->generation;
			err = load_body(fs, n, h);
		}
		if (h) {
			secret_wipe(h, sizeof *h);
		}
		free(h);
		free(page);
	}
	if (err) {
		object_free(fs, n->obj);
		n->obj = NULL;
		bool lost = n->type == OBJECT_DIR && n->base && salvage_wanted(fs, err);
		return lost ? salvage_lost(fs, n) : err;
	}
	n->used = true;
	atomic_store(&n->unread, 0);
	object_loaded(fs, n);
	return 0;
}

// A root key that was replaced must not read what is written from now on, and no key seals more
// than is safe with random nonces. Not while replaying: the log may know the next key.
static bool keys_due(const struct fs *fs, const struct node *n)
{
	const struct object *o = n->obj;

	if (fs->replaying) {
		return false;
	}
	return n->epoch < atomic_load(&fs->epoch) || o->header_seals >= SEALS_RENEW ||
	       (o->data_seals >= SEALS_RENEW && !object_keys_full(o->keys));
}

int object_need_keys(struct fs *fs, struct node *n)
{
	struct object *o = n->obj;
	struct object_id id = node_object_id(n);
	struct object_keys *next = NULL;
	const uint32_t epoch = atomic_load(&fs->epoch);
	int err;

	if (!o->keys) {
		n->epoch = id.epoch = epoch;
		return object_keys_new(fs->v->ring, &id, &o->keys);
	}
	if (!keys_due(fs, n)) {
		return 0;
	}
	err = object_keys_renew(fs->v->ring, &id, o->keys, epoch, &next);
	if (err) {
		return err;
	}
	bool full = object_keys_newest(next) == object_keys_newest(o->keys);
	if (!full) {
		o->data_seals = 0;
	}
	object_keys_free(o->keys);
	o->keys = next;
	o->keys_logged = false;
	o->header_seals = 0;
	n->epoch = epoch;
	if (full) {
		rotation_full(fs, n);
	}
	return 0;
}

int object_make_tree(struct fs *fs, struct node *n)
{
	struct object *o = n->obj;

	if (o->layout == LAYOUT_TREE) {
		return 0;
	}
	int err = object_tree_init(fs, n);
	if (err) {
		return err;
	}
	uint8_t *data = o->inline_data;
	uint8_t plain[WARD_PAGE] = {0};
	uint64_t size = n->attr.size;

	memcpy(plain, data, (size_t)size);
	o->layout = LAYOUT_TREE;
	o->inline_data = NULL;
	o->guard = o->unlogged_from = o->placed_end = o->flushed_to = 0;
	if (size) {
		err = page_write(fs, n, 0, 1, plain);
	}
	secret_wipe(plain, sizeof plain);
	if (err) {
		o->layout = LAYOUT_INLINE;
		o->inline_data = data;
		overlay_clear(fs, &o->overlay);
		tree_free(o->tree);
		free(o->tree_source);
		o->tree = NULL;
		o->tree_source = NULL;
		return err;
	}
	secret_wipe(data, OBJECT_INLINE_AREA);
	free(data);
	o->unlogged_content = true;
	return 0;
}

int node_lock_write(struct fs *fs, struct node *n)
{
	if (pthread_rwlock_trywrlock(&n->lock)) {
		fs_blocking(fs);
		pthread_rwlock_wrlock(&n->lock);
	}
	int err = object_load(fs, n);
	if (err) {
		pthread_rwlock_unlock(&n->lock);
	}
	return err;
}

int node_lock_read(struct fs *fs, struct node *n, bool *ret_exclusive)
{
	if (pthread_rwlock_tryrdlock(&n->lock)) {
		fs_blocking(fs);
		pthread_rwlock_rdlock(&n->lock);
	}
	if (n->obj) {
		*ret_exclusive = false;
		if (!n->used) {
			n->used = true; // a hint for the sweep: losing one is harmless
		}
		return 0;
	}
	pthread_rwlock_unlock(&n->lock);
	ahead_of(fs, n);
	*ret_exclusive = true;
	return node_lock_write(fs, n);
}

void node_unlock(struct node *n)
{
	pthread_rwlock_unlock(&n->lock);
}
