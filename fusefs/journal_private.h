// SPDX-License-Identifier: Apache-2.0
// Private to the journal: journal.c, journal_rekey.c for another root key, and journal_wipe.c for
// what is left of before.
#ifndef WARDFS_FUSEFS_JOURNAL_PRIVATE_H
#define WARDFS_FUSEFS_JOURNAL_PRIVATE_H

#include <pthread.h>

#include "crypto/gcm.h"
#include "fusefs/journal.h"
#include "fusefs/journalfile.h"

// Bytes written since the last good flush. After a failed flush the kernel calls the pages clean
// although the disk does not have them: only writing them again helps.
struct unflushed {
	struct unflushed *next;
	uint64_t off;
	size_t len;
	uint8_t bytes[];
};

// Positions (tail, head, ghost) count bytes of the log since open, laps included, so that they only
// grow; position p stands at JOURNALFILE_LOG_START + p % log_bytes of the file.
struct journal {
	struct host *host;
	const struct keyring *ring;
	struct host_file *file;
	int readonly;
	uint64_t log_bytes;
	struct gcm_key *key; // of superblocks

	pthread_mutex_t lock; // guards all below
	pthread_cond_t flushed_cond;
	struct superblock sb;       // the newest durable one
	uint32_t sb_block;          // where it stands; the next one goes into the other block
	uint64_t sb_counter;        // last one given out, failed attempts included
	struct gcm_key *record_key; // NULL until replayed or started
	uint64_t tail, head;
	uint64_t sequence, durable;
	uint8_t tag[GCM_TAG_BYTES]; // of the last record
	// A record whose write failed may stand there all the same; it must not be found by a
	// replay.
	int has_ghost;
	uint64_t ghost;

	struct unflushed *spare; // journal_prepare
	struct unflushed *first, **last;
	size_t unflushed_bytes;
	uint64_t issued, flushed; // writes kept, and how many of them are durable
	int flushing;
	int failed; // the last flush
	uint64_t rounds, round_upto;
	int round_rc;
	uint64_t faults; // flushes that failed, those included that were made good at once

	// Between journal_rekey_live and its end: what was before; key is NULL at other times.
	struct {
		struct gcm_key *key, *record_key;
		struct superblock sb;
		uint32_t sb_block;
		uint64_t tail;
	} before;

	// From journal_wipe_begin to _end.
	struct {
		uint8_t *done;   // a byte for each block of the log; NULL: not under way
		uint8_t *random; // WIPE_PIECE bytes
		uint64_t left;   // blocks that are due
		uint64_t at;     // position: no free block before it is due
		unsigned superblocks;
		uint64_t faults; // at the beginning
	} wipe;
};

static inline uint64_t journal_block_up(uint64_t position)
{
	return (position + JOURNALFILE_BLOCK - 1) & ~(JOURNALFILE_BLOCK - 1);
}

static inline uint64_t journal_block_down(uint64_t position)
{
	return position & ~(JOURNALFILE_BLOCK - 1);
}

static inline uint64_t journal_file_offset(const struct journal *j, uint64_t position)
{
	return JOURNALFILE_LOG_START + position % j->log_bytes;
}

// The key of one mount's records.
int journal_record_key(const struct keyring *ring, const struct superblock *sb,
		       struct gcm_key **ret) WARN_UNUSED;
// Waits until the write number `ticket` (of j->issued) is durable, leading a flush where nobody
// does. With the lock, which is released meanwhile.
int journal_flush_to(struct journal *j, uint64_t ticket) WARN_UNUSED;
// These bytes of the log have been written. With the lock.
void journal_wiped(struct journal *j, uint64_t position, uint64_t len);
// Writes a superblock into the other block and waits until it is durable. With the lock.
int journal_put_superblock(struct journal *j, struct superblock *sb) WARN_UNUSED;

#endif
