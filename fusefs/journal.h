// SPDX-License-Identifier: Apache-2.0
// The journal file: framing, AEAD chain, superblocks, space. Payloads are opaque here (crypto/record.h gives them meaning).
// wardfs-vault(5), "Journal". Lock: one internal mutex ("log" in the lock order), held for pwrite of the record but never for a flush.
#ifndef WARDFS_FUSEFS_JOURNAL_H
#define WARDFS_FUSEFS_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/keyring.h"
#include "crypto/superblock.h"
#include "crypto/werr.h"
#include "fusefs/host.h"

#define JOURNAL_NAME "wardfs.journal"
#define JOURNAL_MIN_BYTES (8ull << 20)
#define JOURNAL_DEFAULT_BYTES (64ull << 20)
#define JOURNAL_MAX_BYTES (4ull << 30)

struct journal;

// Creates the file: every byte written once (random-looking is not needed: zeros), datasync, superblock in both blocks
// (mount 0). Progress callback may be NULL.
int journal_create(struct host *h, const struct keyring *ring, uint64_t bytes) WARN_UNUSED;

// Opens the file and reads the newest authentic superblock. WERR_DAMAGED: missing; WERR_AUTH: none is authentic.
// `readonly`: nothing will ever be written.
int journal_open(struct host *h, const struct keyring *ring, uint64_t bytes, int readonly,
		 struct journal **ret) WARN_UNUSED;
void journal_close(struct journal *j);
const struct superblock *journal_superblock(const struct journal *j);

// Walks the chain from the superblock's tail: calls fn(payload) for each authentic record in order (sequence s+1, s+2, …) and
// stops at the first break (not an error). fn's non-zero return stops with that code. Payload memory is the journal's, valid
// during the call. Afterwards appending continues behind the last authentic record, at a new block, in the same chain
// (same mount, key, sequence). *ret_last = sequence of the last record (s when there is none).
typedef int (*journal_fn)(void *arg, uint64_t sequence, const uint8_t *payload, size_t len);
int journal_replay(struct journal *j, journal_fn fn, void *arg, uint64_t *ret_last) WARN_UNUSED;

// Starts a new mount's chain: fresh salt and key; the log restarts at a fresh block behind the current head; writes and syncs a
// superblock {mount, k, s = 0 …} saying that everything is in its places. Sequences start at 1.
int journal_start(struct journal *j, uint32_t mount, uint64_t k, uint64_t root_generation) WARN_UNUSED;

// Appends one record (seals it, pwrites it; no flush). *ret_sequence is its number. Durable once journal_durable() reaches it.
// WERR_NOSPACE when the log has no room for it beyond the reserve: `reserve` bytes must stay free after it (pass 0 to use all).
int journal_append(struct journal *j, const uint8_t *payload, size_t len, uint64_t reserve,
		   uint64_t *ret_sequence) WARN_UNUSED;

// Flushes: everything appended before the call is durable when it returns 0. Concurrent callers share one fdatasync where
// possible. After a flush the next record starts a new block. A failed flush is sticky until the same bytes were rewritten from
// memory and flushed again: the journal keeps what was appended since the last good flush (bounded) and retries once itself.
int journal_sync(struct journal *j) WARN_UNUSED;
uint64_t journal_durable(struct journal *j);   // last durable sequence
uint64_t journal_sequence(struct journal *j);  // last appended sequence
uint64_t journal_used(struct journal *j);      // bytes from tail to head
uint64_t journal_capacity(const struct journal *j); // bytes of the log

// A mark of the position right behind the record appended last: taken at the cut of a checkpoint.
struct journal_mark {
	uint64_t sequence;
	uint64_t offset;
	uint8_t tag[GCM_TAG_BYTES];
};
void journal_mark(struct journal *j, struct journal_mark *ret);

// Step 5 of a checkpoint: writes the other superblock {k, S = mark} and syncs; only then the space before the mark is free.
int journal_advance(struct journal *j, uint64_t k, const struct journal_mark *mark,
		    uint64_t root_generation) WARN_UNUSED;

#endif
