// SPDX-License-Identifier: Apache-2.0
// Beginning, driving and ending a rotation.
//
// Passes over the whole tree are repeated until one finds nothing to do; each ends with a
// checkpoint. Then nothing refers to an older epoch any more: no object (the entries say so), no
// record of the journal behind the last checkpoint's, since new keys are always of the current one.
// After the contents what the journal still holds of before is overwritten, and only then does the
// header say that the rotation has ended.
#include "fusefs/rotate_private.h"
#include "fusefs/rekey.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>

#define IDLE_PASSES 3u  // that found nothing but failures
#define PASSES_MAX 200u // then it is not going to end
#define RETRY_MS 1000u  // while the host is full or failing
#define RATE_WINDOW_MS 3000u
#define RATE_LEAST_MS 250u // for a first guess

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

// --- state and numbers ------------------------------------------------------------------------

int rotation_init(struct fs *fs)
{
	struct rotation *r = calloc(1, sizeof *r);
	pthread_condattr_t attr;

	if (!r) {
		return WERR_NOMEM;
	}
	pthread_mutex_init(&r->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&r->cond, &attr);
	pthread_condattr_destroy(&attr);
	fs->rotation = r;
	return 0;
}

void rotation_free(struct fs *fs)
{
	struct rotation *r = fs->rotation;

	if (!r) {
		return;
	}
	rotation_stop(fs);
	pthread_mutex_destroy(&r->lock);
	pthread_cond_destroy(&r->cond);
	free(r->stack);
	free(r->queue);
	free(r);
	fs->rotation = NULL;
}

static void set_state(struct rotation *r, enum rotate_state state, int error)
{
	pthread_mutex_lock(&r->lock);
	if (r->status.state != state || r->status.error != error) {
		r->status.state = state;
		r->status.error = error;
		pthread_cond_broadcast(&r->cond);
	}
	pthread_mutex_unlock(&r->lock);
}

void rotate_count(struct rotation *r, uint64_t objects, uint64_t bytes)
{
	uint64_t now = now_ms();

	r->batch += (unsigned)objects;
	pthread_mutex_lock(&r->lock);
	struct rotate_status *s = &r->status;
	s->objects_done += objects;
	s->bytes_done += bytes;
	r->window_bytes += bytes;
	if (now - r->window_ms >= RATE_WINDOW_MS) {
		s->rate = r->window_bytes * 1000 / (now - r->window_ms);
		r->window_ms = now;
		r->window_bytes = 0;
	}
	pthread_mutex_unlock(&r->lock);
}

void rotate_failed(struct rotation *r)
{
	pthread_mutex_lock(&r->lock);
	r->status.failed++;
	pthread_mutex_unlock(&r->lock);
}

void rotate_get_status(struct fs *fs, struct rotate_status *ret)
{
	struct rotation *r = fs->rotation;

	pthread_mutex_lock(&r->lock);
	const uint64_t elapsed = now_ms() - r->window_ms;
	*ret = r->status;
	if (ret->rate == 0 && elapsed >= RATE_LEAST_MS) { // the first window has not ended yet
		ret->rate = r->window_bytes * 1000 / elapsed;
	}
	ret->epoch = atomic_load(&fs->epoch);
	if (r->paused && r->active && ret->state != ROTATE_INCOMPLETE) {
		ret->state = ROTATE_PAUSED;
	}
	pthread_mutex_unlock(&r->lock);
	if (ret->objects_done > ret->objects_total) {
		ret->objects_done = ret->objects_total;
	}
	if (ret->bytes_done > ret->bytes_total) {
		ret->bytes_done = ret->bytes_total;
	}
	// Nothing was done yet, or a first piece at once: the limit tells how long it takes at
	// least.
	uint64_t rate = ret->rate;
	if (ret->max_rate && (rate == 0 || rate > ret->max_rate)) {
		rate = ret->max_rate;
	}
	ret->left_s = rate ? (ret->bytes_total - ret->bytes_done) / rate : UINT64_MAX;
}

static void deadline(struct timespec *ts, uint64_t ms)
{
	clock_gettime(CLOCK_MONOTONIC, ts);
	ts->tv_sec += (time_t)(ms / 1000);
	ts->tv_nsec += (long)(ms % 1000) * 1000000;
	if (ts->tv_nsec >= 1000000000) {
		ts->tv_sec++;
		ts->tv_nsec -= 1000000000;
	}
}

void rotate_wait(struct fs *fs, enum rotate_state state, unsigned ms)
{
	struct rotation *r = fs->rotation;
	struct timespec due;

	deadline(&due, ms);
	pthread_mutex_lock(&r->lock);
	while (r->status.state == state &&
	       pthread_cond_timedwait(&r->cond, &r->lock, &due) != ETIMEDOUT) {
	}
	pthread_mutex_unlock(&r->lock);
}

void rotate_pause(struct fs *fs, bool pause)
{
	struct rotation *r = fs->rotation;

	pthread_mutex_lock(&r->lock);
	r->paused = pause;
	pthread_cond_broadcast(&r->cond);
	pthread_mutex_unlock(&r->lock);
}

void rotate_set_rate(struct fs *fs, uint64_t max_rate)
{
	struct rotation *r = fs->rotation;

	pthread_mutex_lock(&fs->header_lock);
	if (fs->v->h->rotation.level != VAULT_ROTATION_NONE) {
		fs->v->h->rotation.max_rate = max_rate;
	}
	pthread_mutex_lock(&r->lock);
	r->status.max_rate = max_rate;
	pthread_cond_broadcast(&r->cond);
	pthread_mutex_unlock(&r->lock);
	pthread_mutex_unlock(&fs->header_lock);
}

// --- what moves meanwhile ---------------------------------------------------------------------

static void note(struct fs *fs, struct node *n)
{
	struct rotation *r = fs->rotation;

	pthread_mutex_lock(&r->lock);
	if (r->active && r->status.state != ROTATE_INCOMPLETE && !n->rotate_queued &&
	    r->what.number == FS_ROOT) {
		if (r->queue_len == r->queue_cap) {
			size_t cap = r->queue_cap ? r->queue_cap * 2 : 64;
			struct node **queue = reallocarray(r->queue, cap, sizeof *queue);

			// Without memory for a note nothing is forgotten: another pass follows.
			r->found_unnoted |= queue == NULL;
			r->queue = queue ? queue : r->queue;
			r->queue_cap = queue ? cap : r->queue_cap;
		} // cppcheck-suppress memleak ; in r->queue
		if (r->queue_len < r->queue_cap) {
			node_ref(fs, n);
			n->rotate_queued = true;
			r->queue[r->queue_len++] = n;
		}
	}
	pthread_mutex_unlock(&r->lock);
}

void rotation_moved(struct fs *fs, struct node *n)
{
	if (n) {
		note(fs, n);
	}
}

void rotation_full(struct fs *fs, struct node *n)
{
	struct rotation *r = fs->rotation;

	note(fs, n);
	pthread_mutex_lock(&r->lock);
	r->found_unnoted |= r->active; // also when this pass is at its end already
	pthread_mutex_unlock(&r->lock);
}

// The next moved node, with the note's reference, or NULL.
static struct node *take_moved(struct rotation *r)
{
	struct node *n = NULL;

	pthread_mutex_lock(&r->lock);
	if (r->queue_len) {
		n = r->queue[--r->queue_len];
		n->rotate_queued = false;
	}
	pthread_mutex_unlock(&r->lock);
	return n;
}

static void forget_moved(struct fs *fs, struct rotation *r)
{
	struct node *n;

	while ((n = take_moved(r))) {
		node_put(fs, n);
	}
}

static int walk_moved(struct fs *fs, struct rotation *r, struct node *n)
{
	int err = rotate_object(fs, r, n);

	if (err == 0 && n->type == OBJECT_DIR) {
		err = rotate_push(fs, r, n);
	}
	if (err) {
		pthread_mutex_lock(&r->lock);
		r->found_unnoted = true;
		pthread_mutex_unlock(&r->lock);
	}
	node_put(fs, n);
	return err;
}

// --- passes -----------------------------------------------------------------------------------

static int start_pass(struct fs *fs, struct rotation *r, enum rotate_pass pass)
{
	rotate_wipe_end(fs, r);
	r->pass = pass;
	r->found = 0;
	r->pass_objects = r->pass_bytes = 0;
	pthread_mutex_lock(&r->lock);
	r->status.failed = 0;
	r->found_unnoted = false;
	if (r->status.state != ROTATE_WAITING) {
		r->status.state = pass == PASS_WORK ? ROTATE_RUNNING : ROTATE_COUNTING;
	}
	pthread_mutex_unlock(&r->lock);
	struct node *from = pass == PASS_FIND ? fs->root : r->top;
	int err = pass == PASS_WORK ? rotate_object(fs, r, from) : 0;
	return err == 0 && from->type == OBJECT_DIR ? rotate_push(fs, r, from) : err;
}

// The tree is looked through for the object again after the engine was opened.
static int first_pass(struct fs *fs, struct rotation *r)
{
	if (r->what.number == FS_ROOT && !r->top) {
		node_ref(fs, fs->root);
		r->top = fs->root;
	}
	// What was written before the beginning counts, and is then where the entries say it.
	int err = checkpoint_run(fs);
	return err ? err : start_pass(fs, r, r->top ? PASS_COUNT : PASS_FIND);
}

// Nothing in the vault directory changes while it is frozen, the header neither.
static void lock_header(struct fs *fs)
{
	pthread_mutex_lock(&fs->checkpoint_lock);
	pthread_mutex_lock(&fs->header_lock);
}

static void unlock_header(struct fs *fs)
{
	pthread_mutex_unlock(&fs->header_lock);
	pthread_mutex_unlock(&fs->checkpoint_lock);
}

// Something came after the last pass: with the header's lock, whether the epoch is still that of
// the pass.
static bool moved_on(struct rotation *r)
{
	pthread_mutex_lock(&r->lock);
	bool more = r->found_unnoted && r->top;
	pthread_mutex_unlock(&r->lock);
	return more;
}

void rotation_renewed(struct fs *fs)
{
	struct rotation *r = fs->rotation;

	pthread_mutex_lock(&r->lock);
	r->found_unnoted = true;
	r->status.epochs = fs->v->h->masters_len;
	pthread_mutex_unlock(&r->lock);
}

// The end: in the header, and then here.
static int end_rotation(struct fs *fs, struct rotation *r)
{
	bool whole = r->what.number == FS_ROOT;

	lock_header(fs);
	if (moved_on(r)) {
		unlock_header(fs);
		return start_pass(fs, r, PASS_WORK);
	}
	int err = atomic_load(&fs->read_only) ? WERR_READONLY : vault_rotation_end(fs->v, whole);
	unsigned epochs = fs->v->h->masters_len;
	unlock_header(fs);
	if (err) {
		return err;
	}
	fs_log(fs, LOG_NOTICE, "rotation to epoch %u is complete", atomic_load(&fs->epoch));
	pthread_mutex_lock(&r->lock);
	r->active = false;
	r->status.epochs = epochs;
	r->status.objects_done = r->status.objects_total;
	r->status.bytes_done = r->status.bytes_total;
	r->status.state = ROTATE_ENDED;
	r->status.error = 0;
	pthread_cond_broadcast(&r->cond);
	pthread_mutex_unlock(&r->lock);
	rotate_wipe_end(fs, r);
	forget_moved(fs, r);
	return 0;
}

static int wipe(struct fs *fs, struct rotation *r)
{
	bool done;
	int err = rotate_wipe(fs, &done);

	return err == 0 && done ? end_rotation(fs, r) : err;
}

static int end_incomplete(struct fs *fs, struct rotation *r)
{
	fs_log(fs, LOG_WARNING,
	       "rotation: %llu objects cannot be read; they keep their keys, and older epochs stay",
	       (unsigned long long)r->status.failed);
	set_state(r, ROTATE_INCOMPLETE, 0);
	forget_moved(fs, r);
	return 0;
}

static int end_of_pass(struct fs *fs, struct rotation *r)
{
	// After this everything that the pass changed is at its place, and every entry says so.
	int err = checkpoint_run(fs);

	r->batch = 0;
	if (err) {
		return err;
	}
	r->resumed = r->resumed && (r->pass != PASS_WORK || r->status.failed);
	if (r->pass == PASS_FIND) {
		return r->top ? start_pass(fs, r, PASS_COUNT) : end_rotation(fs, r);
	}
	if (r->pass == PASS_COUNT) {
		pthread_mutex_lock(&r->lock);
		r->status.objects_total = r->pass_objects + 1;
		r->status.bytes_total = r->pass_bytes + WARD_PAGE;
		r->status.objects_done = r->status.bytes_done = 0;
		pthread_mutex_unlock(&r->lock);
		return start_pass(fs, r, PASS_WORK);
	}
	pthread_mutex_lock(&r->lock);
	bool more = r->found || r->found_unnoted, failed = r->status.failed != 0;
	pthread_mutex_unlock(&r->lock);
	r->idle = more || !failed ? 0 : r->idle + 1;
	if (!more && !failed) {
		return rotate_wants_wipe(r) ? rotate_wipe_begin(fs, r) : end_rotation(fs, r);
	}
	return r->idle == IDLE_PASSES || ++r->passes == PASSES_MAX ? end_incomplete(fs, r)
								   : start_pass(fs, r, PASS_WORK);
}

// Room in memory and journal, without taking it from those who work in the folder.
static int make_room(struct fs *fs, struct rotation *r)
{
	uint64_t capacity = journal_capacity(fs->j);
	int err = 0;

	if (atomic_load(&fs->read_only)) {
		return WERR_READONLY;
	}
	freeze_wait(fs);
	if (r->batch >= ROTATE_BATCH_OBJECTS ||
	    atomic_load(&fs->image_count) > capacity / 16 / WARD_PAGE ||
	    journal_used(fs->j) > capacity / 4 || atomic_load(&fs->dirty_bytes) > capacity / 16) {
		err = checkpoint_run(fs);
		r->batch = err ? r->batch : 0;
		node_sweep(fs);
	} else if (atomic_load(&fs->overlay_bytes) > ((uint64_t)fs->params.overlay_mib << 20) / 4) {
		commit_spill(fs);
	}
	return err;
}

static int one_step(struct fs *fs, struct rotation *r)
{
	bool end = false;
	int err = make_room(fs, r);

	if (err) {
		return err;
	}
	if (r->wiping) {
		return wipe(fs, r);
	}
	if (r->file) {
		return rotate_content(fs, r);
	}
	if (!r->running) {
		err = first_pass(fs, r);
		r->running = err == 0;
		return err;
	}
	err = rotate_walk(fs, r, &end);
	if (err || !end) {
		return err;
	}
	struct node *n = r->pass == PASS_WORK ? take_moved(r) : NULL;
	return n ? walk_moved(fs, r, n) : end_of_pass(fs, r);
}

static bool has_work(struct rotation *r)
{
	pthread_mutex_lock(&r->lock);
	bool work = r->active && !r->closing && r->status.state != ROTATE_INCOMPLETE;
	pthread_mutex_unlock(&r->lock);
	return work;
}

int rotate_step(struct fs *fs, bool *ret_more)
{
	struct rotation *r = fs->rotation;
	int err = has_work(r) ? one_step(fs, r) : 0;

	*ret_more = has_work(r);
	return err;
}

// --- the thread -------------------------------------------------------------------------------

// Bytes in so many milliseconds.
static uint64_t allowance(uint64_t rate, uint64_t ms)
{
	uint64_t bytes;

	return (__builtin_mul_overflow(rate, ms, &bytes) ? UINT64_MAX : bytes) / 1000;
}

// Pause, the limit of the rate, and the time until another try. False: the engine closes.
static bool may_go_on(struct rotation *r, bool later, uint64_t *begun_ms, uint64_t *begun_bytes)
{
	struct timespec due;

	pthread_mutex_lock(&r->lock);
	if (later) {
		deadline(&due, RETRY_MS);
		while (!r->closing &&
		       pthread_cond_timedwait(&r->cond, &r->lock, &due) != ETIMEDOUT) {
		}
	}
	while (!r->closing && r->active) {
		uint64_t now = now_ms(), done = r->status.bytes_done - *begun_bytes, rate;

		if (r->paused) {
			pthread_cond_wait(&r->cond, &r->lock);
			*begun_ms = now_ms();
			*begun_bytes = r->status.bytes_done;
			continue;
		}
		rate = r->status.max_rate;
		uint64_t allowed = allowance(rate, now - *begun_ms);
		// Time in which little was done, as the host was slow, is not made up for.
		if (rate == 0 || allowed > done + rate) {
			*begun_ms = now;
			*begun_bytes = r->status.bytes_done;
			break;
		}
		if (done <= allowed + rate / 8) {
			break;
		}
		deadline(&due, 20);
		(void)pthread_cond_timedwait(&r->cond, &r->lock, &due);
	}
	bool go = !r->closing;
	pthread_mutex_unlock(&r->lock);
	return go;
}

static void *worker(void *arg)
{
	struct fs *fs = arg;
	struct rotation *r = fs->rotation;
	uint64_t begun_ms = now_ms(), begun_bytes = 0;
	bool more = true;
	int err = 0, logged = 0;

	unsigned idle = 0;

	// A pass that found failures only is followed by another one after a while.
	while (more && may_go_on(r, err || r->idle > idle, &begun_ms, &begun_bytes)) {
		uint64_t before = r->status.bytes_done;

		idle = r->idle;
		err = rotate_step(fs, &more);
		if (r->status.bytes_done < before) { // a new pass counts anew
			begun_ms = now_ms();
			begun_bytes = 0;
		}
		if (err && err != logged) {
			fs_log(fs, LOG_WARNING, "rotation waits: %s", werr_text(err));
			logged = err;
		}
		if (err) {
			set_state(r, ROTATE_WAITING, err);
		} else if (more && r->status.state == ROTATE_WAITING) {
			set_state(r, r->pass == PASS_WORK ? ROTATE_RUNNING : ROTATE_COUNTING, 0);
			logged = 0;
		}
	}
	return NULL;
}

static int start_thread(struct fs *fs)
{
	struct rotation *r = fs->rotation;

	if (fs->params.manual || r->has_thread) {
		return 0;
	}
	if (pthread_create(&r->thread, NULL, worker, fs)) {
		return WERR_NOMEM;
	}
	r->has_thread = true;
	return 0;
}

static void join_thread(struct rotation *r)
{
	if (r->has_thread) {
		pthread_join(r->thread, NULL);
		r->has_thread = false;
	}
}

void rotation_stop(struct fs *fs)
{
	struct rotation *r = fs->rotation;

	pthread_mutex_lock(&r->lock);
	r->closing = true;
	pthread_cond_broadcast(&r->cond);
	pthread_mutex_unlock(&r->lock);
	join_thread(r);
	rotate_wipe_end(fs, r);
	rotate_unwind(fs, r);
	forget_moved(fs, r);
	if (r->top) {
		node_put(fs, r->top);
		r->top = NULL;
	}
}

// --- beginning --------------------------------------------------------------------------------

// Takes a reference to the node of a path inside the vault.
static int find_path(struct fs *fs, const char *path, struct node **ret)
{
	struct fs_stat st = {.ino = FS_ROOT};
	uint64_t looked = 0;
	int err = 0;

	while (err == 0) {
		char name[FS_NAME_MAX + 1];

		path += strspn(path, "/");
		size_t len = strcspn(path, "/");
		if (len == 0) {
			break;
		}
		if (len > FS_NAME_MAX) {
			err = WERR_NAMETOOLONG;
			break;
		}
		memcpy(name, path, len);
		name[len] = '\0';
		path += len;
		err = fs_lookup(fs, st.ino, name, &st);
		if (looked) {
			fs_forget(fs, looked, 1);
		}
		looked = err == 0 ? st.ino : 0;
	}
	if (err == 0) {
		*ret = node_find(fs, st.ino);
		err = *ret ? 0 : WERR_NOTFOUND;
	}
	if (looked) {
		fs_forget(fs, looked, 1);
	}
	return err;
}

// With the lock: the machine is set to the start.
static void arm(struct fs *fs, struct rotation *r)
{
	r->what = fs->v->h->rotation;
	r->active = true;
	r->running = r->resumed = false;
	r->idle = r->passes = 0;
	r->status = (struct rotate_status){
		.state = ROTATE_COUNTING,
		.level = r->what.level,
		.subtree = r->what.number != FS_ROOT,
		.epochs = fs->v->h->masters_len,
		.started_s = r->what.started_s,
		.max_rate = r->what.max_rate,
	};
	r->window_ms = now_ms();
	r->window_bytes = 0;
}

int rotation_resume(struct fs *fs)
{
	struct rotation *r = fs->rotation;

	r->status.epochs = fs->v->h->masters_len;
	if (fs->v->h->rotation.level == VAULT_ROTATION_NONE || fs->params.readonly) {
		return 0;
	}
	// Nobody else uses the engine before it has taken over: then rotation_go_on.
	if (fs->params.taking_over && !r->taken_over) {
		return 0;
	}
	fs_log(fs, LOG_NOTICE, "a rotation to epoch %u goes on", atomic_load(&fs->epoch));
	pthread_mutex_lock(&r->lock);
	arm(fs, r);
	r->resumed = true;
	pthread_mutex_unlock(&r->lock);
	return start_thread(fs);
}

int rotation_go_on(struct fs *fs)
{
	struct rotation *r = fs->rotation;

	pthread_mutex_lock(&r->lock);
	r->closing = false;
	r->taken_over = true;
	pthread_mutex_unlock(&r->lock);
	return rotation_resume(fs);
}

int rotate_again(struct fs *fs)
{
	struct rotation *r = fs->rotation;

	pthread_mutex_lock(&fs->header_lock);
	pthread_mutex_lock(&r->lock);
	int err = !r->active ? WERR_NOTFOUND : r->status.state != ROTATE_INCOMPLETE ? WERR_BUSY : 0;
	pthread_mutex_unlock(&r->lock);
	if (err == 0) {
		join_thread(r);
		rotate_unwind(fs, r);
		pthread_mutex_lock(&r->lock);
		arm(fs, r);
		r->resumed = true;
		pthread_mutex_unlock(&r->lock);
		err = start_thread(fs);
	}
	pthread_mutex_unlock(&fs->header_lock);
	return err;
}

static int begin_locked(struct fs *fs, const uint8_t *root_key, const struct rotate_params *params,
			struct node *top)
{
	struct rotation *r = fs->rotation;
	const struct vault_rotation what = {
		.level = params->level,
		.number = top->number,
		.incarnation = top->incarnation,
		.started_s = params->now_s,
		.max_rate = params->max_rate,
	};

	pthread_mutex_lock(&r->lock);
	int err = r->active ? WERR_BUSY : r->closing ? WERR_LOCKED : 0;
	pthread_mutex_unlock(&r->lock);
	if (err) {
		return err;
	}
	join_thread(r); // of an earlier one: it has left its last checkpoint behind
	err = vault_rotation_begin(fs->v, root_key, &what);
	if (err) {
		return err;
	}
	fs_log(fs, LOG_NOTICE, "a rotation to epoch %u begins", fs->v->h->epoch);
	if (r->top) {
		node_put(fs, r->top);
	}
	node_ref(fs, top);
	r->top = top;
	pthread_mutex_lock(&r->lock);
	// Only now that the header is durable, and the ring has the master; and together, so that
	// who takes the epoch up finds a rotation to tell.
	atomic_store(&fs->epoch, fs->v->h->epoch);
	arm(fs, r);
	pthread_mutex_unlock(&r->lock);
	return start_thread(fs);
}

int rotate_begin(struct fs *fs, const uint8_t root_key[static ROOT_KEY_BYTES],
		 const struct rotate_params *params)
{
	struct node *top;

	if (atomic_load(&fs->read_only)) {
		return WERR_READONLY;
	}
	if ((params->level != VAULT_ROTATION_KEYS && params->level != VAULT_ROTATION_CONTENTS) ||
	    !vault_rate_valid(params->max_rate)) {
		return WERR_INVALID;
	}
	int err = find_path(fs, params->path ? params->path : "", &top);
	if (err) {
		return err;
	}
	if (top != fs->root && params->level != VAULT_ROTATION_CONTENTS) {
		err = WERR_INVALID;
	}
	if (err == 0) {
		lock_header(fs);
		err = begin_locked(fs, root_key, params, top);
		unlock_header(fs);
	}
	node_put(fs, top);
	return err;
}

int rotate_root_key(struct fs *fs, const struct secret *offer, uint8_t **ret)
{
	uint8_t *buf = malloc(VAULT_HEADER_BYTES);

	if (!buf) {
		return WERR_NOMEM;
	}
	// A derivation takes a second: nobody waits behind it.
	int err = rekey_header(fs, buf);
	err = err ? err : vault_root_key(buf, offer, ret);
	free(buf);
	return err;
}
