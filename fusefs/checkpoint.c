// SPDX-License-Identifier: Apache-2.0
// The checkpoint (STORAGE.md section 3). At the cut every dirty page of metadata is sealed into
// memory, so that nothing has to be frozen or copied later: the cut is the exact state after record
// S. Then, without holding anybody up:
//   flush the journal · place what is pending · write the places nobody refers to · datasync ·
//   images, CHECKPOINT, flush · overwrite the imaged places · datasync · superblock · give space
//   back.
// A failure leaves the checkpoint unfinished: the next run writes the same bytes again before it
// cuts anew.
#include "fusefs/checkpoint.h"

#include <stdlib.h>
#include <string.h>

#define WRITERS_MAX 8u
#define WRITERS_FROM 8u // fewer files than this are written by one thread

static int write_jobs(struct fs *fs, const struct checkpoint *c, const struct part *p, bool fresh,
		      bool *ret_wrote)
{
	int err = 0;
	uint8_t *buf = NULL;

	for (size_t i = p->first; err == 0 && i < p->first + p->count;) {
		const struct job *j = &c->jobs[i];
		size_t run = 1;

		if (j->fresh != fresh) {
			i++;
			continue;
		}
		while (run < 32 && i + run < p->first + p->count &&
		       c->jobs[i + run].fresh == fresh &&
		       c->jobs[i + run].position == j->position + run) {
			run++;
		}
		const uint8_t *from = j->page;
		if (run > 1) {
			buf = buf ? buf : malloc(32 * WARD_PAGE);
			if (!buf) {
				return WERR_NOMEM;
			}
			for (size_t k = 0; k < run; k++) {
				memcpy(buf + k * WARD_PAGE, c->jobs[i + k].page, WARD_PAGE);
			}
			from = buf;
		}
		pthread_rwlock_wrlock(&p->n->lock);
		err = object_write_raw(fs, p->n, j->position, from, run);
		pthread_rwlock_unlock(&p->n->lock);
		*ret_wrote = true;
		i += run;
	}
	free(buf);
	return err;
}

static int sync_part(struct fs *fs, const struct part *p)
{
	struct node *n = p->n;
	int err = 0;

	pthread_rwlock_wrlock(&n->lock);
	bool written = n->obj && (n->obj->host_written || n->obj->flush_failed);
	if (written && n->obj->flush_failed) {
		err = object_rewrite(fs, n);
	}
	if (written && err == 0) {
		n->obj->host_written = false; // before the flush: a write during it counts as new
	}
	pthread_rwlock_unlock(&n->lock);
	if (!written || err) {
		return err;
	}
	struct host_file *f;
	err = hostcache_get(fs->hc, n->number, HOST_RDWR, &f);
	if (err == 0) {
		err = hostcache_sync(fs->hc, f);
		hostcache_put(fs->hc, f);
	}
	if (err) {
		pthread_rwlock_wrlock(&n->lock);
		n->obj->host_written = true;
		n->obj->flush_failed = err;
		pthread_rwlock_unlock(&n->lock);
	}
	return err;
}

struct writers {
	struct fs *fs;
	struct checkpoint *c;
	bool fresh;
	_Atomic size_t next;
	_Atomic int err;
};

static void *writer(void *arg)
{
	struct writers *w = arg;

	for (;;) {
		size_t i = atomic_fetch_add(&w->next, 1);

		if (i >= w->c->parts_len || atomic_load(&w->err)) {
			return NULL;
		}
		const struct part *p = &w->c->parts[i];
		bool wrote = false;
		if (p->n->orphan && !p->sealed) {
			continue;
		}
		int err = p->sealed ? write_jobs(w->fs, w->c, p, w->fresh, &wrote) : 0;
		if (err == 0) {
			err = sync_part(w->fs, p);
		}
		if (err) {
			atomic_store(&w->err, err);
		}
	}
}

// Writes and datasyncs all parts; many small files in parallel (a flush waits for the disk, not for
// us).
static int write_parts(struct fs *fs, struct checkpoint *c, bool fresh)
{
	struct writers w = {.fs = fs, .c = c, .fresh = fresh};
	pthread_t threads[WRITERS_MAX];
	unsigned started = 0;

	if (!fs->params.manual && c->parts_len >= WRITERS_FROM) {
		while (started < WRITERS_MAX - 1 &&
		       pthread_create(&threads[started], NULL, writer, &w) == 0) {
			started++;
		}
	}
	(void)writer(&w);
	while (started) {
		pthread_join(threads[--started], NULL);
	}
	int err = atomic_load(&w.err);
	for (unsigned i = 0; err == 0 && i < HOST_FOLDERS; i++) {
		err = object_sync_folder(fs, i);
	}
	return err;
}

#define RECORD_LARGE (256u * 1024)
static int flush_large(struct fs *fs, struct record *r)
{
	if (r->len < RECORD_LARGE) {
		return r->err;
	}
	int err = rec_append_room(fs, r, ROOM_CHECKPOINT, NULL);
	record_reset(r);
	return err;
}

// Host files that have to go although no table will say so any more: what is still open, and what
// is unlinked at the end of this checkpoint (and may come back with a power cut until the next one
// has synced its folder).
static int list_orphans(struct fs *fs, const struct checkpoint *c, struct record *r)
{
	int err = 0;

	for (const struct unlink_entry *u = c->unlinks; u && err == 0; u = u->next) {
		struct objref ref = {u->number, u->incarnation, 0};

		record_orphan(r, &ref);
		err = flush_large(fs, r);
	}
	pthread_mutex_lock(&fs->nodes_lock);
	for (size_t i = 0; atomic_load(&fs->orphan_count) && i < fs->nodes_buckets; i++) {
		for (const struct node *n = fs->nodes[i]; n; n = n->hash_next) {
			if (atomic_load(&n->orphan)) {
				struct objref ref = {n->number, n->incarnation, 0};

				record_orphan(r, &ref);
			}
		}
	}
	pthread_mutex_unlock(&fs->nodes_lock);
	return err ? err : flush_large(fs, r);
}

// Whether all images fit: what does not fit now must not be begun again and again until nothing
// fits any more.
static bool images_fit(struct fs *fs, const struct checkpoint *c)
{
	uint64_t images = 0;

	for (size_t i = 0; i < c->jobs_len; i++) {
		images += !c->jobs[i].fresh;
	}
	return journal_used(fs->j) + images * WARD_PAGE <= journal_capacity(fs->j);
}

static int list_images(struct fs *fs, const struct checkpoint *c)
{
	RECORD_AUTO struct record r;
	uint32_t images = 0;

	record_init(&r);
	int err = images_fit(fs, c) ? list_orphans(fs, c, &r) : WERR_NOSPACE;
	for (size_t i = 0; i < c->parts_len; i++) {
		const struct part *p = &c->parts[i];

		for (size_t k = p->first; err == 0 && k < p->first + p->count; k++) {
			if (c->jobs[k].fresh) {
				continue;
			}
			record_image(&r, p->n->number, p->n->incarnation, c->jobs[k].position,
				     c->jobs[k].page);
			images++;
			err = flush_large(fs, &r);
		}
	}
	record_checkpoint(&r, c->k, c->mark.sequence, c->generation, fs->root->generation, images);
	return err ? err : rec_append_room(fs, &r, ROOM_CHECKPOINT, NULL);
}

// IMAGES and CHECKPOINT: after this flush the new state can be rebuilt from the journal.
static int describe(struct fs *fs, struct checkpoint *c)
{
	int err = c->listed ? 0 : list_images(fs, c);

	c->listed = err == 0;
	if (err == 0) {
		err = journal_sync(fs->j);
	}
	c->described = err == 0;
	return err;
}

// Everything after the cut. May be called again after a failure. *locked: commit_lock is still
// held, until nothing is pending.
static int write_out(struct fs *fs, struct checkpoint *c, bool *locked)
{
	int err = journal_sync(fs->j);

	for (size_t i = 0; err == 0 && i < c->parts_len; i++) {
		err = commit_place(fs, c->parts[i].n);
	}
	if (err == 0 && *locked) {
		pthread_mutex_unlock(&fs->commit_lock);
		*locked = false;
	}
	if (err == 0 && !c->described) {
		err = write_parts(fs, c, true);
		if (err == 0) {
			err = describe(fs, c);
		}
	}
	if (err == 0) {
		err = write_parts(fs, c, false);
	}
	if (err == 0) {
		err = journal_advance(fs->j, c->k, &c->mark, fs->root->generation);
	}
	return err;
}

static int finish(struct fs *fs, struct checkpoint *c, bool *locked)
{
	int err = write_out(fs, c, locked);

	if ((err == WERR_NOSPACE || err == WERR_QUOTA) && make_room(fs, c)) {
		err = write_out(fs, c, locked);
	}
	if (err == 0) {
		fs->unfinished = NULL;
		complete_checkpoint(fs, c);
	} else {
		fs->unfinished = c;
	}
	return err;
}

bool checkpoint_pending(struct fs *fs)
{
	pthread_mutex_lock(&fs->dirty_lock);
	bool any = fs->dirty_list || fs->unlinks;
	pthread_mutex_unlock(&fs->dirty_lock);
	return any;
}

int checkpoint_run(struct fs *fs)
{
	bool locked = true;
	int err = 0;

	if (atomic_load(&fs->read_only)) {
		return WERR_READONLY; // what is durable stays as it is
	}
	pthread_mutex_lock(&fs->checkpoint_lock);
	cut_load(fs);
	pthread_mutex_lock(&fs->commit_lock);
	if (fs->unfinished) {
		err = finish(fs, fs->unfinished, &locked);
		if (err == 0 && !locked) {
			pthread_mutex_lock(&fs->commit_lock);
			locked = true;
		}
	}
	if (err == 0 && checkpoint_pending(fs)) {
		struct checkpoint *c = calloc(1, sizeof *c);

		err = c ? cut_make(fs, c) : WERR_NOMEM;
		if (err == 0) {
			err = finish(fs, c, &locked);
		} else if (c) {
			complete_free(fs, c); // taken back
		}
	} else if (err == 0) {
		err = journal_sync(fs->j);
	}
	if (locked) {
		pthread_mutex_unlock(&fs->commit_lock);
	}
	pthread_mutex_unlock(&fs->checkpoint_lock);
	return err;
}

int checkpoint_last(struct fs *fs)
{
	// The first may only finish what an earlier failure left; what it let go may still have to
	// be unlinked.
	int err = checkpoint_run(fs);

	if (err == 0 && checkpoint_pending(fs)) {
		err = checkpoint_run(fs);
	}
	if (err == 0 && atomic_load(&fs->left_out)) {
		err = WERR_IO; // the journal keeps what it has
	}
	if (err == 0) {
		err = hostcache_sync_all(fs->hc);
	}
	for (unsigned i = 0; err == 0 && i < HOST_FOLDERS; i++) {
		err = object_sync_folder(fs, i);
	}
	return err;
}

static void free_unlinks(struct unlink_entry **list)
{
	while (*list) {
		struct unlink_entry *u = *list;

		*list = u->next;
		free(u);
	}
}

void checkpoint_discard(struct fs *fs)
{
	if (fs->unfinished) {
		complete_free(fs, fs->unfinished);
		fs->unfinished = NULL;
	}
	struct checkpoint rest = {0};
	if (cut_take_dirty(fs, &rest, true) == 0) {
		for (size_t i = 0; i < rest.parts_len; i++) {
			node_put(fs, rest.parts[i].n);
		}
		free_unlinks(&rest.unlinks);
		free(rest.parts);
	}
	free_unlinks(&fs->unlinks); // of orphans that only the list held
}
