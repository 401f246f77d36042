// SPDX-License-Identifier: Apache-2.0
// Freezing: everything is brought to its place, and then one thread holds the locks under which the
// vault directory is written to, until it is told to let go or its time is over. Reads take none of
// them.
#include "fusefs/engine.h"

#include <errno.h>
#include <syslog.h>
#include <time.h>

// New changes wait at fs_admit from the second on, so few rounds find anything that came in
// between.
#define ROUNDS 16

static void deadline_in(struct timespec *ts, unsigned ms)
{
	clock_gettime(CLOCK_MONOTONIC, ts);
	ts->tv_sec += ms / 1000;
	ts->tv_nsec += (long)(ms % 1000) * 1000000;
	if (ts->tv_nsec >= 1000000000) {
		ts->tv_sec++;
		ts->tv_nsec -= 1000000000;
	}
}

static void hold(struct fs *fs, bool header)
{
	pthread_mutex_lock(&fs->checkpoint_lock);
	if (header) {
		pthread_mutex_lock(&fs->header_lock);
	}
	pthread_mutex_lock(&fs->commit_lock);
	pthread_rwlock_wrlock(&fs->cut);
}

static void let_go(struct fs *fs, bool header)
{
	pthread_rwlock_unlock(&fs->cut);
	pthread_mutex_unlock(&fs->commit_lock);
	if (header) {
		pthread_mutex_unlock(&fs->header_lock);
	}
	pthread_mutex_unlock(&fs->checkpoint_lock);
}

// 0: the locks are held, and all that was changed before stands in the vault directory, durably.
// header: that of the header, too.
static int settle(struct fs *fs, bool header)
{
	int err = 0;

	for (unsigned round = 0; err == 0 && round < ROUNDS; round++) {
		err = fs->params.readonly ? 0 : checkpoint_run(fs);
		if (err) {
			return err;
		}
		// Not before: a server has let in what it was processing.
		atomic_store(&fs->freezing, true);
		hold(fs, header);
		if (!checkpoint_pending(fs) || round == ROUNDS - 1) {
			break;
		}
		let_go(fs, header);
	}
	if (fs->params.readonly) {
		return 0;
	}
	err = hostcache_sync_all(fs->hc);
	for (unsigned i = 0; err == 0 && i < HOST_FOLDERS; i++) {
		err = object_sync_folder(fs, i);
	}
	if (err) {
		let_go(fs, header);
	}
	return err;
}

// Says how it stands, and lets fs_admit and fs_freeze see it.
static void enter(struct fs *fs, enum freeze_state state, int err)
{
	pthread_mutex_lock(&fs->freeze_lock);
	fs->freeze_state = state;
	atomic_store(&fs->freezing, state == FREEZE_HELD);
	fs->freeze_error = err;
	pthread_cond_broadcast(&fs->freeze_cond);
	pthread_mutex_unlock(&fs->freeze_lock);
}

static void *freezer(void *arg)
{
	struct fs *fs = arg;
	int err = settle(fs, false);

	if (err) {
		enter(fs, FREEZE_ENDED, err);
		return NULL;
	}
	enter(fs, FREEZE_HELD, 0);
	struct timespec until;
	deadline_in(&until, fs->freeze_ms);
	pthread_mutex_lock(&fs->freeze_lock);
	int rc = 0;
	while (!fs->thaw_asked && rc != ETIMEDOUT) {
		rc = pthread_cond_timedwait(&fs->freeze_cond, &fs->freeze_lock, &until);
	}
	pthread_mutex_unlock(&fs->freeze_lock);
	let_go(fs, false);
	if (rc == ETIMEDOUT) {
		fs_log(fs, LOG_WARNING, "the freeze has reached its time limit: changes go on");
	}
	if (fs->thawed) {
		fs->thawed(fs->thawed_arg);
	}
	// Last: who waits for the end may free what the callback uses.
	enter(fs, FREEZE_ENDED, 0);
	return NULL;
}

int fs_freeze(struct fs *fs, unsigned timeout_ms, void (*thawed)(void *arg), void *arg)
{
	int err = 0;

	if (atomic_load(&fs->read_only) && !fs->params.readonly) {
		return WERR_READONLY; // what memory has cannot be brought to its place
	}
	pthread_mutex_lock(&fs->freeze_lock);
	if (fs->freeze_state == FREEZE_ASKED || fs->freeze_state == FREEZE_HELD) {
		pthread_mutex_unlock(&fs->freeze_lock);
		return WERR_BUSY;
	}
	if (fs->freeze_state == FREEZE_ENDED) {
		pthread_join(fs->freezer, NULL);
	}
	fs->thaw_asked = false;
	fs->freeze_ms = timeout_ms;
	fs->thawed = thawed;
	fs->thawed_arg = arg;
	fs->freeze_state = FREEZE_ASKED;
	if (pthread_create(&fs->freezer, NULL, freezer, fs)) {
		fs->freeze_state = FREEZE_NONE;
		err = WERR_NOMEM;
	}
	while (fs->freeze_state == FREEZE_ASKED) {
		pthread_cond_wait(&fs->freeze_cond, &fs->freeze_lock);
	}
	if (err == 0 && fs->freeze_state == FREEZE_ENDED) {
		err = fs->freeze_error;
	}
	pthread_cond_broadcast(&fs->freeze_cond);
	pthread_mutex_unlock(&fs->freeze_lock);
	return err;
}

int fs_thaw(struct fs *fs)
{
	pthread_mutex_lock(&fs->freeze_lock);
	while (fs->freeze_state == FREEZE_ASKED) {
		pthread_cond_wait(&fs->freeze_cond, &fs->freeze_lock);
	}
	bool was = fs->freeze_state == FREEZE_HELD;
	fs->thaw_asked = true;
	pthread_cond_broadcast(&fs->freeze_cond);
	while (fs->freeze_state == FREEZE_HELD) {
		pthread_cond_wait(&fs->freeze_cond, &fs->freeze_lock);
	}
	pthread_mutex_unlock(&fs->freeze_lock);
	return was ? 0 : WERR_NOTFOUND;
}

// Little is left then for the time in which others wait.
static int settle_before(struct fs *fs)
{
	int err = 0;

	for (unsigned round = 0; err == 0 && round < 3 && checkpoint_pending(fs); round++) {
		err = checkpoint_run(fs);
	}
	return err ? err : hostcache_sync_all(fs->hc);
}

int quiet_begin(struct fs *fs)
{
	if (atomic_load(&fs->read_only)) {
		return WERR_READONLY;
	}
	int err = fs_frozen(fs) ? WERR_BUSY : settle_before(fs);
	if (err) {
		return err;
	}
	pthread_mutex_lock(&fs->freeze_lock);
	while (fs->freeze_state == FREEZE_ASKED) {
		pthread_cond_wait(&fs->freeze_cond, &fs->freeze_lock);
	}
	if (fs->freeze_state == FREEZE_HELD) {
		pthread_mutex_unlock(&fs->freeze_lock);
		return WERR_BUSY;
	}
	if (fs->freeze_state == FREEZE_ENDED) {
		pthread_join(fs->freezer, NULL);
	}
	fs->freeze_state = FREEZE_ASKED;
	pthread_mutex_unlock(&fs->freeze_lock);
	err = settle(fs, true);
	if (err == 0 && (checkpoint_pending(fs) || fs->unfinished)) {
		let_go(fs, true);
		err = WERR_BUSY;
	}
	if (err) {
		enter(fs, FREEZE_NONE, 0);
	}
	return err;
}

void quiet_end(struct fs *fs)
{
	let_go(fs, true);
	enter(fs, FREEZE_NONE, 0);
}

void freeze_end(struct fs *fs)
{
	(void)!fs_thaw(fs);
	pthread_mutex_lock(&fs->freeze_lock);
	bool join = fs->freeze_state == FREEZE_ENDED;
	fs->freeze_state = FREEZE_NONE;
	pthread_mutex_unlock(&fs->freeze_lock);
	if (join) {
		pthread_join(fs->freezer, NULL);
	}
}

bool fs_frozen(struct fs *fs)
{
	pthread_mutex_lock(&fs->freeze_lock);
	bool frozen = fs->freeze_state == FREEZE_HELD;
	pthread_mutex_unlock(&fs->freeze_lock);
	return frozen;
}

void freeze_wait(struct fs *fs)
{
	if (!atomic_load(&fs->freezing)) {
		return;
	}
	pthread_mutex_lock(&fs->freeze_lock);
	if (fs->freeze_state == FREEZE_ASKED || fs->freeze_state == FREEZE_HELD) {
		fs_blocking(fs);
	}
	while (fs->freeze_state == FREEZE_ASKED || fs->freeze_state == FREEZE_HELD) {
		pthread_cond_wait(&fs->freeze_cond, &fs->freeze_lock);
	}
	pthread_mutex_unlock(&fs->freeze_lock);
}
