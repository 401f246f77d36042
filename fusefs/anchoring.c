// SPDX-License-Identifier: Apache-2.0
// Keeps the anchor up with the vault in use: a thread that looks every two seconds whether more has
// become durable, so that the anchor is never more than five behind, however long a checkpoint
// takes. wardfs-vault(5), "Anchor".
#include <errno.h>
#include <string.h>
#include <time.h>

#include "fusefs/anchor.h"
#include "fusefs/engine.h"

#define ANCHOR_EVERY_S 2

void anchoring_note(struct fs *fs, bool write)
{
	struct journal_claim claim;

	if (!fs->host->anchor || fs->params.readonly || !fs->j) {
		return;
	}
	// The generation first: a checkpoint that ends meanwhile is claimed the next time.
	uint64_t root_generation = atomic_load(&fs->root->base);
	journal_claim(fs->j, &claim);
	anchor_note_journal(fs->host->anchor, &claim, root_generation, write);
}

void fs_note_anchor(struct fs *fs)
{
	anchoring_note(fs, true);
}

int anchoring_check(struct fs *fs, uint64_t root_generation)
{
	struct journal_claim claim;

	if (!fs->host->anchor) {
		return 0;
	}
	journal_claim(fs->j, &claim);
	return anchor_check_journal(fs->host->anchor, &claim, root_generation);
}

void anchoring_status(struct fs *fs, struct fs_status *ret)
{
	struct anchor_claims claims;
	struct anchor_state state;

	if (!fs->host->anchor) {
		return;
	}
	anchor_get(fs->host->anchor, &state);
	anchor_get_claims(fs->host->anchor, &claims);
	ret->anchor = state.trouble ? state.trouble : claims.written_s != 0;
	ret->closed_s = claims.closed_s;
	ret->closed_mount = claims.closed_mount;
	memcpy(ret->closed_machine, claims.closed_machine, sizeof ret->closed_machine);
}

static void *anchorer(void *arg)
{
	struct fs *fs = arg;

	pthread_mutex_lock(&fs->work_lock);
	while (!fs->anchorer_stop) {
		struct timespec due;

		clock_gettime(CLOCK_MONOTONIC, &due);
		due.tv_sec += ANCHOR_EVERY_S;
		while (!fs->anchorer_stop &&
		       pthread_cond_timedwait(&fs->anchorer_cond, &fs->work_lock, &due) !=
			       ETIMEDOUT) {
		}
		if (fs->anchorer_stop) {
			break;
		}
		pthread_mutex_unlock(&fs->work_lock);
		anchoring_note(fs, true);
		pthread_mutex_lock(&fs->work_lock);
	}
	pthread_mutex_unlock(&fs->work_lock);
	return NULL;
}

int anchoring_start(struct fs *fs)
{
	if (!fs->host->anchor || fs->params.readonly || fs->params.manual) {
		return 0;
	}
	if (pthread_create(&fs->anchorer, NULL, anchorer, fs)) {
		return WERR_NOMEM;
	}
	fs->anchorer_runs = true;
	return 0;
}

void anchoring_stop(struct fs *fs)
{
	if (!fs->anchorer_runs) {
		return;
	}
	pthread_mutex_lock(&fs->work_lock);
	fs->anchorer_stop = true;
	pthread_cond_broadcast(&fs->anchorer_cond);
	pthread_mutex_unlock(&fs->work_lock);
	pthread_join(fs->anchorer, NULL);
	fs->anchorer_runs = false;
}
