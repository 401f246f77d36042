// SPDX-License-Identifier: Apache-2.0
// The engine's threads: the committer answers fsyncs in groups, flushers datasync large files
// before their commit, the checkpointer runs every few seconds while something is dirty, or when
// space asks for it. And fs_admit, the one place where a change may have to wait.
#include "fusefs/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <syslog.h>
#include <time.h>

#include "fusefs/planted.h"

#define CHECKPOINT_MS_DEFAULT 5000u
#define SPACE_MARGIN (32ull << 20)
#define SPACE_AGE_MS 1000u
#define CHECKPOINT_TRIES 5u // then the host is not to be trusted with anything more

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

// --- fsync ------------------------------------------------------------------------------------

enum fsync_path {
	FSYNC_COMMIT,
	FSYNC_FLUSH,      // many new pages at their places: datasync first, in a flusher
	FSYNC_CHECKPOINT, // more seals than the journal should hold
};

static enum fsync_path classify(struct fs *fs, struct node *n)
{
	enum fsync_path path = FSYNC_COMMIT;

	pthread_rwlock_rdlock(&n->lock);
	const struct object *o = n->obj;
	if (o && !n->orphan && o->layout == LAYOUT_TREE) {
		uint64_t placed = o->placed_end - o->unlogged_from;

		if (o->placed_end > o->unlogged_from && placed > IMAGE_PAGES_MAX) {
			path = placed * SEAL_BYTES > journal_capacity(fs->j) / 16 ? FSYNC_CHECKPOINT
										  : FSYNC_FLUSH;
		}
	}
	pthread_rwlock_unlock(&n->lock);
	return path;
}

// The datasync of a file's new pages, outside of commit_lock. New writes to them go to the overlay
// from here on.
static int flush_placed(struct fs *fs, struct node *n)
{
	pthread_rwlock_wrlock(&n->lock);
	struct object *o = n->obj;
	uint64_t end = o ? o->placed_end : 0;
	if (!o || o->flushed_to >= end) {
		pthread_rwlock_unlock(&n->lock);
		return 0;
	}
	if (!WARD_PLANTED(WRITE_IN_COMMIT)) {
		o->guard = end > o->guard ? end : o->guard;
	}
	pthread_rwlock_unlock(&n->lock);

	int err = WARD_PLANTED(RECORD_BEFORE_PAGES) ? 0 : object_datasync(fs, n);

	pthread_rwlock_wrlock(&n->lock);
	// host_written stays: a checkpoint that runs meanwhile must not take this flush for
	// granted. A lower guard says that one has ended: what was written since is not covered.
	if (n->obj && err == 0 && n->obj->flushed_to < end && n->obj->placed_end >= end &&
	    (n->obj->guard >= end || WARD_PLANTED(WRITE_IN_COMMIT))) {
		n->obj->flushed_to = end;
	}
	pthread_rwlock_unlock(&n->lock);
	return err;
}

static void answer(struct fs *fs, struct fsync_request *q, int err)
{
	q->done(q->arg, err ? err : node_unread(fs, q->node));
	atomic_fetch_add(&fs->fsyncs, 1);
	node_put(fs, q->node);
	free(q);
}

static void enqueue(struct fs *fs, struct fsync_request *q, struct fsync_request ***tail)
{
	pthread_mutex_lock(&fs->work_lock);
	q->next = NULL;
	**tail = q;
	*tail = &q->next;
	pthread_cond_broadcast(&fs->work_cond);
	pthread_mutex_unlock(&fs->work_lock);
}

void fs_fsync(struct fs *fs, uint64_t ino, int datasync, fs_done done, void *arg)
{
	struct node *n = node_find(fs, ino);

	(void)datasync; // attributes cost nothing extra: they are in the same record
	if (!n) {
		done(arg, WERR_STALE);
		return;
	}
	if (atomic_load(&fs->read_only)) {
		node_put(fs, n);
		done(arg, fs->params.readonly ? 0 : WERR_READONLY);
		return;
	}
	struct fsync_request *q = calloc(1, sizeof *q);
	if (!q) {
		node_put(fs, n);
		done(arg, WERR_NOMEM);
		return;
	}
	q->node = n;
	q->done = done;
	q->arg = arg;
	enum fsync_path path = classify(fs, n);
	if (fs->params.manual) {
		int err = path == FSYNC_CHECKPOINT ? checkpoint_run(fs)
			  : path == FSYNC_FLUSH    ? flush_placed(fs, n)
						   : 0;
		if (err || path == FSYNC_CHECKPOINT) {
			answer(fs, q, err);
		} else {
			commit_group(fs, q);
		}
		anchoring_note(fs, true);
		return;
	}
	if (path == FSYNC_COMMIT) {
		enqueue(fs, q, &fs->fsync_tail);
	} else {
		enqueue(fs, q, &fs->flush_tail);
	}
}

struct waiter {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done;
	int err;
};

static void wake_waiter(void *arg, int err)
{
	struct waiter *w = arg;

	pthread_mutex_lock(&w->lock);
	w->err = err;
	w->done = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

int fs_fsync_wait(struct fs *fs, uint64_t ino)
{
	struct waiter w = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0};

	fs_fsync(fs, ino, 0, wake_waiter, &w);
	fs_blocking(fs);
	pthread_mutex_lock(&w.lock);
	while (!w.done) {
		pthread_cond_wait(&w.cond, &w.lock);
	}
	pthread_mutex_unlock(&w.lock);
	return w.err;
}

static void *committer(void *arg)
{
	struct fs *fs = arg;

	pthread_mutex_lock(&fs->work_lock);
	for (;;) {
		while (!fs->fsync_head && !fs->spill_wanted && !fs->stopping) {
			pthread_cond_wait(&fs->work_cond, &fs->work_lock);
		}
		struct fsync_request *list = fs->fsync_head;
		bool spill = fs->spill_wanted;

		if (!list && !spill) {
			break; // stopping
		}
		fs->fsync_head = NULL;
		fs->fsync_tail = &fs->fsync_head;
		pthread_mutex_unlock(&fs->work_lock);
		if (list) {
			commit_group(fs, list);
		}
		if (spill) {
			commit_spill(fs);
		}
		pthread_mutex_lock(&fs->work_lock);
		if (spill) {
			fs->spill_wanted = false;
			fs->spills_done++;
			pthread_cond_broadcast(&fs->done_cond);
		}
	}
	pthread_mutex_unlock(&fs->work_lock);
	return NULL;
}

static void *flusher(void *arg)
{
	struct fs *fs = arg;

	pthread_mutex_lock(&fs->work_lock);
	for (;;) {
		while (!fs->flush_head && !fs->stopping) {
			pthread_cond_wait(&fs->work_cond, &fs->work_lock);
		}
		struct fsync_request *q = fs->flush_head;

		if (!q) {
			break;
		}
		fs->flush_head = q->next;
		if (!fs->flush_head) {
			fs->flush_tail = &fs->flush_head;
		}
		pthread_mutex_unlock(&fs->work_lock);
		bool all = classify(fs, q->node) == FSYNC_CHECKPOINT;
		int err = all ? checkpoint_run(fs) : flush_placed(fs, q->node);
		if (err || all) {
			answer(fs, q, err);
		} else {
			enqueue(fs, q, &fs->fsync_tail);
		}
		pthread_mutex_lock(&fs->work_lock);
	}
	pthread_mutex_unlock(&fs->work_lock);
	return NULL;
}

// --- checkpoints ------------------------------------------------------------------------------

void want_checkpoint(struct fs *fs)
{
	if (fs->params.manual) {
		return; // fs_admit runs it where it must
	}
	pthread_mutex_lock(&fs->work_lock);
	if (fs->checkpoint_wanted == fs->checkpoint_done) {
		fs->checkpoint_wanted++;
		pthread_cond_broadcast(&fs->work_cond);
	}
	pthread_mutex_unlock(&fs->work_lock);
}

void want_sweep(struct fs *fs)
{
	uint64_t limit = (uint64_t)fs->params.cache_mib << 20;

	if (atomic_load(&fs->cache_bytes) <= limit + limit / 4 ||
	    atomic_exchange(&fs->sweep_wanted, true)) {
		return;
	}
	pthread_mutex_lock(&fs->work_lock);
	pthread_cond_broadcast(&fs->work_cond);
	pthread_mutex_unlock(&fs->work_lock);
}

void want_spill(struct fs *fs)
{
	pthread_mutex_lock(&fs->work_lock);
	if (!fs->spill_wanted) {
		fs->spill_wanted = true;
		pthread_cond_broadcast(&fs->work_cond);
	}
	pthread_mutex_unlock(&fs->work_lock);
}

static void deadline(struct timespec *ts, unsigned ms)
{
	clock_gettime(CLOCK_MONOTONIC, ts);
	ts->tv_sec += ms / 1000;
	ts->tv_nsec += (long)(ms % 1000) * 1000000;
	if (ts->tv_nsec >= 1000000000) {
		ts->tv_sec++;
		ts->tv_nsec -= 1000000000;
	}
}

// One timed or wanted checkpoint. *failures: in a row, for another reason than what comes and goes:
// space, memory, descriptors.
static int checkpoint_turn(struct fs *fs, unsigned *failures)
{
	int err = checkpoint_run(fs);
	bool space = err == WERR_NOSPACE || err == WERR_QUOTA;

	bool passing = space || err == WERR_NOMEM || err == WERR_MFILE;

	*failures = err && !passing ? *failures + 1 : 0;
	if (*failures == CHECKPOINT_TRIES) {
		fs_set_read_only(fs, "what changed cannot be written", err);
	} else if (err && !atomic_load(&fs->read_only)) {
		fs_log(fs, LOG_ERR, "checkpoint failed: %s; it will be tried again",
		       fs_host_text(err));
	}
	atomic_store(&fs->no_space, space);
	return err;
}

static void *checkpointer(void *arg)
{
	struct fs *fs = arg;
	unsigned every =
		fs->params.checkpoint_ms ? fs->params.checkpoint_ms : CHECKPOINT_MS_DEFAULT;
	unsigned failures = 0;
	struct timespec due;

	deadline(&due, every);
	pthread_mutex_lock(&fs->work_lock);
	while (!fs->stopping) {
		int rc = 0;

		while (!fs->stopping && rc != ETIMEDOUT && !atomic_load(&fs->sweep_wanted) &&
		       fs->checkpoint_wanted == fs->checkpoint_done) {
			rc = pthread_cond_timedwait(&fs->work_cond, &fs->work_lock, &due);
		}
		if (fs->stopping) {
			break;
		}
		uint64_t ticket = fs->checkpoint_wanted;
		bool turn = rc == ETIMEDOUT || ticket != fs->checkpoint_done;
		pthread_mutex_unlock(&fs->work_lock);
		int err = turn && !fs->params.readonly ? checkpoint_turn(fs, &failures) : 0;
		atomic_store(&fs->sweep_wanted, false);
		node_sweep(fs);
		pthread_mutex_lock(&fs->work_lock);
		if (turn) {
			fs->checkpoint_error = err;
			fs->checkpoint_done = ticket;
			pthread_cond_broadcast(&fs->done_cond);
			deadline(&due, err ? 1000 : every);
		}
	}
	fs->checkpoint_done = fs->checkpoint_wanted;
	pthread_cond_broadcast(&fs->done_cond);
	pthread_mutex_unlock(&fs->work_lock);
	return NULL;
}

// Waits for one whole checkpoint that begins after the call.
static int wait_checkpoint(struct fs *fs)
{
	fs_blocking(fs);
	if (fs->params.manual) {
		return checkpoint_run(fs);
	}
	pthread_mutex_lock(&fs->work_lock);
	if (fs->checkpoint_wanted == fs->checkpoint_done) {
		fs->checkpoint_wanted++;
	}
	uint64_t ticket = fs->checkpoint_wanted;
	pthread_cond_broadcast(&fs->work_cond);
	while (fs->checkpoint_done < ticket && !fs->stopping) {
		pthread_cond_wait(&fs->done_cond, &fs->work_lock);
	}
	int err = fs->checkpoint_error;
	pthread_mutex_unlock(&fs->work_lock);
	return err;
}

int fs_checkpoint(struct fs *fs)
{
	if (atomic_load(&fs->read_only)) {
		return fs->params.readonly ? 0 : WERR_READONLY;
	}
	int err = checkpoint_run(fs);
	node_sweep(fs);
	if (fs->params.manual) {
		anchoring_note(fs, true);
	}
	return err == 0 && atomic_load(&fs->left_out) ? WERR_IO : err;
}

// --- admission --------------------------------------------------------------------------------

static bool space_for(struct fs *fs, uint64_t growth)
{
	struct host_space s;

	if (growth == 0) {
		return true;
	}
	pthread_mutex_lock(&fs->space_lock);
	uint64_t now = now_ms();
	bool fits = fs->space_left >= growth && now - fs->space_checked_ms < SPACE_AGE_MS &&
		    !atomic_load(&fs->no_space);
	if (!fits && fs->host->ops->space(fs->host, &s) == 0) {
		uint64_t avail = s.blocks_avail * s.block_bytes, total = s.blocks * s.block_bytes;
		uint64_t margin = total / 32 < SPACE_MARGIN ? total / 32 : SPACE_MARGIN;
		uint64_t promised = atomic_load(&fs->overlay_bytes) +
				    atomic_load(&fs->dirty_bytes) +
				    atomic_load(&fs->dirty_count) * WARD_PAGE;

		fs->space_checked_ms = now;
		fs->space_left = avail > margin + promised ? avail - margin - promised : 0;
		fits = fs->space_left >= growth;
	} else if (!fits) {
		fits = true; // the host does not say: it will, when written to
		fs->space_left = growth;
	}
	if (fits) {
		fs->space_left -= growth;
	}
	pthread_mutex_unlock(&fs->space_lock);
	return fits;
}

static void wait_spill(struct fs *fs)
{
	fs_blocking(fs);
	if (fs->params.manual) {
		commit_spill(fs);
		return;
	}
	pthread_mutex_lock(&fs->work_lock);
	uint64_t done = fs->spills_done;
	fs->spill_wanted = true;
	pthread_cond_broadcast(&fs->work_cond);
	while (fs->spills_done == done && !fs->stopping) {
		pthread_cond_wait(&fs->done_cond, &fs->work_lock);
	}
	pthread_mutex_unlock(&fs->work_lock);
}

// What a change may have to wait for: how full everything is, in percent of its limit. A checkpoint
// lowers `checkpoint`, a spill `overlay`.
struct pressure {
	uint64_t checkpoint;
	uint64_t overlay;
};

static void raise(uint64_t *percent, uint64_t used, uint64_t limit)
{
	uint64_t now = limit ? used * 100 / limit : 0;

	*percent = now > *percent ? now : *percent;
}

static struct pressure pressure(struct fs *fs)
{
	const struct fs_params *p = &fs->params;
	uint64_t capacity = journal_capacity(fs->j);
	uint64_t dirty_max = capacity / 4, overlay_max = (uint64_t)p->overlay_mib << 20;
	struct pressure now = {0, 0};
	unsigned open, unflushed;

	if (p->dirty_mib && (uint64_t)p->dirty_mib << 20 < dirty_max) {
		dirty_max = (uint64_t)p->dirty_mib << 20;
	}
	if (fs->small_blocks && overlay_max > capacity / 8) {
		overlay_max = capacity / 8; // all of it goes through the journal
	}
	raise(&now.overlay, atomic_load(&fs->overlay_bytes), overlay_max);
	raise(&now.checkpoint, atomic_load(&fs->dirty_bytes), dirty_max);
	// Images, and those of the table pages of many dirty entries.
	raise(&now.checkpoint, atomic_load(&fs->image_count) + atomic_load(&fs->dirty_count) / 16,
	      capacity / 4 / WARD_PAGE);
	// Thousands of new small files are memory that only a checkpoint sets free. What it sets
	// free is kept up to the cache's share, so half of it is no pressure.
	raise(&now.checkpoint, atomic_load(&fs->file_bytes) / 3, (uint64_t)p->cache_mib << 20);
	// A descriptor is kept until its file was flushed: many new large files are many
	// descriptors.
	hostcache_count(fs->hc, &open, &unflushed);
	raise(&now.checkpoint, unflushed, p->descriptors * 3 / 4);
	return now;
}

// Waits until memory and journal have room, as far as waiting helps.
static int wait_room(struct fs *fs, uint64_t growth)
{
	uint64_t capacity = journal_capacity(fs->j);

	// The limits are soft; the journal's own end is not.
	for (unsigned round = 0; round < 8; round++) {
		if (atomic_load(&fs->read_only)) {
			return WERR_READONLY;
		}
		uint64_t used = journal_used(fs->j);
		struct pressure now = pressure(fs);

		if (now.checkpoint > 100 || used > capacity / 8 * 3) {
			int err = wait_checkpoint(fs);

			// Removing must work on a full disk, as long as the journal itself has
			// room.
			if (err && !(growth == 0 && used < capacity / 2)) {
				return err;
			}
		} else if (now.overlay > 100) {
			wait_spill(fs);
		} else {
			if (now.checkpoint > 50) {
				want_checkpoint(fs);
			} else if (now.overlay > 50 && !fs->params.manual) {
				want_spill(fs);
			}
			return 0;
		}
	}
	return 0;
}

int fs_admit(struct fs *fs, uint64_t growth)
{
	freeze_wait(fs);
	int err = wait_room(fs, growth);

	if (err) {
		return err;
	}
	// On a full host: what was removed gives its space back at the end of a checkpoint, the
	// latest removals at the second.
	bool fits = space_for(fs, growth);
	for (unsigned round = 0; !fits && round < 2 && checkpoint_pending(fs); round++) {
		(void)!wait_checkpoint(fs);
		fits = space_for(fs, growth);
	}
	return fits ? 0 : WERR_NOSPACE;
}

int threads_start(struct fs *fs)
{
	if (fs->params.manual) {
		return 0;
	}
	struct {
		pthread_t *thread;
		void *(*fn)(void *);
	} all[] = {
		{&fs->checkpointer,
		 checkpointer}, // a read-only mount has this one only, for the cache
		{&fs->committer, committer},
		{&fs->flusher[0], flusher},
		{&fs->flusher[1], flusher},
	};

	for (; fs->threads < (fs->params.readonly ? 1u : 4u); fs->threads++) {
		if (pthread_create(all[fs->threads].thread, NULL, all[fs->threads].fn, fs)) {
			threads_stop(fs);
			return WERR_NOMEM;
		}
	}
	return 0;
}

void threads_stop(struct fs *fs)
{
	pthread_t all[] = {fs->checkpointer, fs->committer, fs->flusher[0], fs->flusher[1]};

	pthread_mutex_lock(&fs->work_lock);
	fs->stopping = true;
	pthread_cond_broadcast(&fs->work_cond);
	pthread_cond_broadcast(&fs->done_cond);
	pthread_mutex_unlock(&fs->work_lock);
	// Flushers hand over to the committer: they end first, so nothing is left unanswered.
	for (unsigned i = fs->threads; i-- > 0;) {
		pthread_join(all[i], NULL);
	}
	fs->threads = 0;
	struct fsync_request *rest = fs->fsync_head;
	fs->fsync_head = NULL;
	fs->fsync_tail = &fs->fsync_head;
	if (rest) {
		commit_group(fs, rest);
	}
}
