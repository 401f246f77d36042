// SPDX-License-Identifier: Apache-2.0
// The journal file: framing, AEAD chain, superblocks, space. Payloads are opaque here
// (crypto/record.h gives them meaning). wardfs-vault(5), "Journal". Lock: one internal mutex ("log"
// in the lock order), held for pwrite of the record but never for a flush.
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

// Creates the file: every byte written once (random-looking is not needed: zeros), superblocks of
// mount 0 in both blocks, datasync, sync_top. bytes: a multiple of 4096,
// JOURNAL_FILE_MIN..JOURNAL_MAX_BYTES (WERR_INVALID; the vault layer asks for JOURNAL_MIN_BYTES at
// least). WERR_EXISTS. After another failure the file may be there, unfinished.
#define JOURNAL_FILE_MIN (64ull << 10)
int journal_create(struct host *h, const struct keyring *ring, uint64_t bytes) WARN_UNUSED;

// For a vault whose header says clean (everything is in its places) and whose journal is missing,
// of the wrong size or has no authentic superblock: like journal_create, but over whatever plain
// file is there. Content is written again only where the size is wrong: records of earlier mounts
// never authenticate under a later mount's key. Never call it on a dirty vault.
int journal_recreate(struct host *h, const struct keyring *ring, uint64_t bytes) WARN_UNUSED;

// Moves the journal of a clean vault to new keys (same vault id): writes the empty superblock of
// mount 0 to both blocks under the new ring, one after the other, each synced, with counters higher
// than those that open under the old ring. Records become unreadable: never call it on a dirty
// vault. WERR_DAMAGED: missing or of the wrong size.
int journal_rekey(struct host *h, const struct keyring *old_ring, const struct keyring *new_ring,
		  uint64_t bytes) WARN_UNUSED;

// Opens the file and reads the newest authentic superblock. WERR_DAMAGED: missing, of another size
// than `bytes` (which the vault header tells), or a superblock that contradicts it; WERR_AUTH: none
// is authentic. `readonly`: nothing will ever be written. Host and ring must outlive the journal.
int journal_open(struct host *h, const struct keyring *ring, uint64_t bytes, int readonly,
		 struct journal **ret) WARN_UNUSED;
void journal_close(struct journal *j); // flushes nothing
// The newest superblock; changes with journal_start and journal_advance, so it is for the thread
// that calls these.
const struct superblock *journal_superblock(const struct journal *j);

// Walks the chain from the superblock's tail: calls fn(payload) for each authentic record in order
// (sequence s+1, s+2, …) and stops at the first break (not an error). fn's non-zero return stops
// with that code. Payload memory is the journal's, valid during the call. Afterwards appending
// continues behind the last authentic record, at a new block, in the same chain (same mount, key,
// sequence). *ret_last = sequence of the last record (s when there is none); all of them are
// durable on return (unless readonly). A read error is WERR_IO, never an end. May be repeated until
// the first append; single-threaded.
typedef int (*journal_fn)(void *arg, uint64_t sequence, const uint8_t *payload, size_t len);
int journal_replay(struct journal *j, journal_fn fn, void *arg, uint64_t *ret_last) WARN_UNUSED;

// Starts a new mount's chain: fresh salt and key; the log restarts at a fresh block behind the
// current head (behind the tail when journal_replay was not called: clean vault); writes and syncs
// a superblock {mount, k, s = 0 …} saying that everything is in its places. Sequences start at 1.
// Single-threaded. After a failure the journal takes no more records (the new superblock may be
// durable or not): close it.
int journal_start(struct journal *j, uint32_t mount, uint64_t k,
		  uint64_t root_generation) WARN_UNUSED;

// Appends one record (seals it, pwrites it; no flush). *ret_sequence is its number. Durable once
// journal_durable() reaches it. WERR_NOSPACE when the log has no room for it beyond the reserve:
// `reserve` bytes must stay free after it (pass 0 to use all). WERR_LIMIT: len >
// JOURNAL_PAYLOAD_MAX. WERR_INTERNAL: neither replayed nor started. On failure nothing was
// appended, and what a failed write may have left is destroyed before anything else is written.
// Flushes by itself, before it takes the lock, when JOURNAL_UNFLUSHED_MAX bytes wait for a flush
// (they are kept in memory); if that fails, with its error.
// WERR_LIMIT, too: so many records were sealed under this mount's key (random nonces are safe up to
// 2^32); the next mount has another one.
#define JOURNAL_RECORDS_MAX (3ull << 30)
#define JOURNAL_PAYLOAD_MAX ((4u << 20) - 16)
#define JOURNAL_UNFLUSHED_MAX (8u << 20)
// So often a write is tried before it counts as failed.
#define JOURNAL_WRITE_TRIES 8u
int journal_append(struct journal *j, const uint8_t *payload, size_t len, uint64_t reserve,
		   uint64_t *ret_sequence) WARN_UNUSED;

// Memory for one record of at most JOURNAL_PREPARED_MAX bytes: with it journal_append_prepared does
// not fail with WERR_NOMEM. One caller at a time may count on it. WERR_NOMEM, and the errors of
// destroying what a failed write has left.
#define JOURNAL_PREPARED_MAX 8192u
int journal_prepare(struct journal *j) WARN_UNUSED;
int journal_append_prepared(struct journal *j, const uint8_t *payload, size_t len, uint64_t reserve,
			    uint64_t *ret_sequence) WARN_UNUSED;

// Flushes: everything appended before the call is durable when it returns 0. Concurrent callers
// share one fdatasync where possible. After a flush the next record starts a new block. A failed
// flush is sticky until the same bytes were rewritten from memory and flushed again: the journal
// keeps what was appended since the last good flush (bounded) and retries once itself. May be
// called again after a failure.
int journal_sync(struct journal *j) WARN_UNUSED;
uint64_t journal_durable(struct journal *j);  // last durable sequence
uint64_t journal_sequence(struct journal *j); // last appended sequence
uint64_t
journal_used(struct journal *j); // bytes from tail to head, in whole blocks, skipped ones included
uint64_t journal_capacity(const struct journal *j); // bytes that used can reach

// What is durable of the journal: its chain (mount and salt), the newest superblock's counter, the
// last record. Thread-safe.
struct journal_claim {
	uint32_t mount;
	uint64_t counter, sequence;
	uint8_t salt[SUPERBLOCK_SALT_BYTES];
};
void journal_claim(struct journal *j, struct journal_claim *ret);

// A mark of the position right behind the record appended last: taken at the cut of a checkpoint.
struct journal_mark {
	uint64_t sequence;
	uint64_t offset;
	uint8_t tag[GCM_TAG_BYTES];
};
void journal_mark(struct journal *j, struct journal_mark *ret);

// Step 5 of a checkpoint: writes the other superblock {k, S = mark} and syncs; only then the space
// before the mark is free. WERR_INTERNAL: the mark is older than the superblock. On failure nothing
// is freed; call it again with this or a later mark (the superblock may have become durable all the
// same: the caller's places were, so that is the truth).
int journal_advance(struct journal *j, uint64_t k, const struct journal_mark *mark,
		    uint64_t root_generation) WARN_UNUSED;

// A new root key while the journal is in use (everything is at its place, all records are durable,
// nobody appends): the chain goes on from here under the record key of another ring, which is only
// read in this call. The newest superblock under the key before stays in the other block, so that
// either key opens a journal that says the same, whichever header counts. Then either _keep, once
// the header is durable (the next journal_advance writes over the older superblock), or _undo: the
// chain before goes on. On failure it does so at once. WERR_INTERNAL: records are not durable.
int journal_rekey_live(struct journal *j, const struct keyring *ring,
		       uint64_t root_generation) WARN_UNUSED;
void journal_rekey_keep(struct journal *j);
void journal_rekey_undo(struct journal *j);

// What the file holds of before, while it is in use: records that nothing refers to any more still
// open with the keys of their time. _begin notes that all blocks are due, those of the superblocks
// too; records and superblocks written from then on make theirs good. Memory is kept until _end (or
// journal_close). WERR_NOMEM, WERR_READONLY.
int journal_wipe_begin(struct journal *j) WARN_UNUSED;
enum journal_wipe_state {
	JOURNAL_WIPE_MORE,   // call again
	JOURNAL_WIPE_IN_USE, // what is left is not free: when journal_advance has been called
	JOURNAL_WIPE_DONE,   // nothing is left of what the file held at _begin, durably
};
// Overwrites a bounded piece of what is free and due with random bytes, and flushes. The lock is
// held for a smaller piece at a time, and not for the flush. Only blocks that the newest durable
// superblock's chain cannot reach are touched. Where a flush of anybody's failed, all begins again.
// The caller sees to it that no journal_rekey_live is between its beginning and its end
// (WERR_BUSY). One thread at a time.
#define JOURNAL_WIPE_BYTES (1u << 20)
int journal_wipe(struct journal *j, enum journal_wipe_state *ret) WARN_UNUSED;
void journal_wipe_end(struct journal *j);

#endif
