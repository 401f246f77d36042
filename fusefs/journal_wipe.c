// SPDX-License-Identifier: Apache-2.0
// Overwriting what the log holds of before. Free is what a writer could use next: from the block
// behind the head to the block of the tail, one lap on. What is not free now becomes so when the
// tail moves on, and until then the blocks that appends fill anew are good, too.
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/rng.h"
#include "fusefs/journal_private.h"

#define WIPE_PIECE (256u << 10) // written with the lock held, no longer than a large record
#define SUPERBLOCKS 2u

static uint8_t *block_of(const struct journal *j, uint64_t position)
{
	return &j->wipe.done[position % j->log_bytes / JOURNALFILE_BLOCK];
}

// With the lock: everything is due.
static void begin_again(struct journal *j)
{
	j->wipe.left = j->log_bytes / JOURNALFILE_BLOCK;
	memset(j->wipe.done, 0, j->wipe.left);
	j->wipe.at = 0;
	j->wipe.superblocks = 0;
	j->wipe.faults = j->faults;
}

int journal_wipe_begin(struct journal *j)
{
	if (j->readonly)
		return WERR_READONLY;
	pthread_mutex_lock(&j->lock);
	if (!j->wipe.done) {
		j->wipe.random = malloc(WIPE_PIECE);
		j->wipe.done = j->wipe.random ? malloc(j->log_bytes / JOURNALFILE_BLOCK) : NULL;
	}
	const int rc = j->wipe.done ? 0 : WERR_NOMEM;
	if (rc) {
		free(j->wipe.random);
		j->wipe.random = NULL;
	} else {
		begin_again(j);
	}
	pthread_mutex_unlock(&j->lock);
	return rc;
}

void journal_wipe_end(struct journal *j)
{
	pthread_mutex_lock(&j->lock);
	free(j->wipe.done);
	free(j->wipe.random);
	j->wipe.done = j->wipe.random = NULL;
	pthread_mutex_unlock(&j->lock);
}

// Whole blocks only: of the others a part may be of before.
void journal_wiped(struct journal *j, uint64_t position, uint64_t len)
{
	const uint64_t end = journal_block_down(position + len);

	if (!j->wipe.done)
		return;
	for (uint64_t p = journal_block_up(position); p < end; p += JOURNALFILE_BLOCK) {
		j->wipe.left -= !*block_of(j, p);
		*block_of(j, p) = 1;
	}
}

// With the lock: a piece, if there is one. *ret: bytes.
static int overwrite(struct journal *j, uint64_t *ret)
{
	const uint64_t from = journal_block_up(j->head);
	const uint64_t to = journal_block_down(j->tail) + j->log_bytes;
	uint64_t start = j->wipe.at > from ? j->wipe.at : from, end;

	*ret = 0;
	if (j->before.key)
		return WERR_BUSY;
	while (start < to && *block_of(j, start))
		start += JOURNALFILE_BLOCK;
	for (end = start; end < to && end - start < WIPE_PIECE && !*block_of(j, end);) {
		end += JOURNALFILE_BLOCK;
		if (end % j->log_bytes == 0)
			break;
	}
	j->wipe.at = start;
	if (start >= to)
		return 0;
	int rc = host_pwrite(j->file, j->wipe.random, (size_t)(end - start),
			     journal_file_offset(j, start));
	if (rc)
		return rc;
	j->issued++; // so that a flush is due
	journal_wiped(j, start, end - start);
	j->wipe.at = end;
	*ret = end - start;
	return 0;
}

// With the lock. A flush that failed may have taken with it what was written here: the host calls
// such pages clean.
static int settle(struct journal *j, bool any, enum journal_wipe_state *ret)
{
	// Not what is written during the flush.
	const bool all = !j->wipe.left && j->wipe.superblocks >= SUPERBLOCKS;
	int rc = journal_flush_to(j, j->issued);

	if (j->faults != j->wipe.faults) {
		begin_again(j);
		*ret = JOURNAL_WIPE_MORE;
	} else if (all) {
		*ret = JOURNAL_WIPE_DONE;
	} else {
		*ret = any ? JOURNAL_WIPE_MORE : JOURNAL_WIPE_IN_USE;
	}
	return rc;
}

int journal_wipe(struct journal *j, enum journal_wipe_state *ret)
{
	uint64_t done = 0, bytes = 1;
	int rc = 0;

	if (!j->wipe.done)
		return WERR_INTERNAL;
	while (!rc && bytes && done < JOURNAL_WIPE_BYTES) {
		rng_bytes(j->wipe.random, WIPE_PIECE);
		pthread_mutex_lock(&j->lock);
		rc = overwrite(j, &bytes);
		pthread_mutex_unlock(&j->lock);
		done += bytes;
	}
	if (rc)
		return rc;
	pthread_mutex_lock(&j->lock);
	rc = settle(j, done > 0, ret);
	pthread_mutex_unlock(&j->lock);
	return rc;
}
