// SPDX-License-Identifier: Apache-2.0
#include "fusefs/journal.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/cursor.h"
#include "crypto/gcm.h"
#include "crypto/hkdf.h"
#include "crypto/rng.h"
#include "crypto/secret.h"
#include "fusefs/journal_private.h"

#define BLOCK JOURNALFILE_BLOCK
#define LOG_START JOURNALFILE_LOG_START
#define FRAME_BYTES 32 // clear length, nonce, tag
#define INNER_BYTES 16 // sequence, mount, zero: in front of the payload
#define CIPHER_MIN INNER_BYTES
#define CIPHER_MAX (4u << 20)
#define AAD_BYTES (4 + 4 + 8 + GCM_TAG_BYTES + VAULT_ID_BYTES)
#define WINDOW_BYTES (1u << 20)

// ---- open and close ----

static void free_list(struct unflushed *u)
{
	while (u) {
		struct unflushed *next = u->next;

		free(u);
		u = next;
	}
}

int journal_open(struct host *h, const struct keyring *ring, uint64_t bytes, int readonly,
		 struct journal **ret)
{
	if (!journalfile_bytes_valid(bytes))
		return WERR_INVALID;
	struct journal *j = calloc(1, sizeof(*j));
	if (!j)
		return WERR_NOMEM;
	pthread_mutex_init(&j->lock, NULL);
	pthread_cond_init(&j->flushed_cond, NULL);
	j->host = h;
	j->ring = ring;
	j->readonly = readonly;
	j->log_bytes = bytes - LOG_START;
	j->last = &j->first;
	j->key = gcm_key_new(keyring_journal(ring));
	int rc = j->key ? journalfile_open(h, bytes, readonly ? HOST_RDONLY : HOST_RDWR, &j->file)
			: WERR_NOMEM;
	if (rc) {
		j->file = NULL;
	} else {
		rc = journalfile_read(j->file, j->key, ring, &j->sb, &j->sb_block);
		if (!rc)
			rc = journalfile_check(&j->sb, bytes);
	}
	if (rc) {
		journal_close(j);
		return rc;
	}
	j->sb_counter = j->sb.counter;
	j->tail = j->sb.tail - LOG_START;
	j->head = journal_block_up(j->tail);
	*ret = j;
	return 0;
}

void journal_close(struct journal *j)
{
	if (!j)
		return;
	if (j->file)
		j->host->ops->file_close(j->file);
	gcm_key_free(j->key);
	gcm_key_free(j->record_key);
	gcm_key_free(j->before.key);
	gcm_key_free(j->before.record_key);
	free_list(j->first);
	free(j->spare);
	journal_wipe_end(j);
	pthread_cond_destroy(&j->flushed_cond);
	pthread_mutex_destroy(&j->lock);
	free(j);
}

const struct superblock *journal_superblock(const struct journal *j)
{
	return &j->sb;
}

int journal_record_key(const struct keyring *ring, const struct superblock *sb,
		       struct gcm_key **ret)
{
	SECRET_AUTO uint8_t *raw = secret_alloc(GCM_KEY_BYTES);
	uint8_t context[4];

	if (!raw)
		return WERR_NOMEM;
	le32_put(context, sb->mount);
	int rc = hkdf_derive(HKDF_JOURNAL_RECORD, keyring_journal(ring), GCM_KEY_BYTES, sb->salt,
			     sizeof(sb->salt), context, sizeof(context), raw);
	if (rc)
		return rc;
	*ret = gcm_key_new(raw);
	return *ret ? 0 : WERR_NOMEM;
}

// What binds a record to its place in the chain.
static void record_aad(const struct journal *j, uint32_t cipher_len, uint64_t sequence,
		       const uint8_t *previous_tag, uint8_t aad[static AAD_BYTES])
{
	struct wcursor c;

	wcursor_init(&c, aad, AAD_BYTES);
	wcursor_u32(&c, cipher_len);
	wcursor_u32(&c, j->sb.mount);
	wcursor_u64(&c, sequence);
	wcursor_bytes(&c, previous_tag, GCM_TAG_BYTES);
	wcursor_bytes(&c, keyring_vault_id(j->ring), VAULT_ID_BYTES);
}

// ---- replay ----

struct walk {
	struct journal *j;
	uint64_t limit;    // position that no record may reach beyond: one lap behind the tail
	uint64_t position; // where the search for the next record starts
	uint64_t sequence; // last authentic record
	uint8_t tag[GCM_TAG_BYTES];
	uint8_t *window; // of the file
	size_t window_cap, window_len;
	uint64_t window_off;
	uint8_t *plain;
	size_t plain_cap, plain_used;
};

// The bytes [off, off + len) of the file; the caller has checked that they lie in it.
static int walk_bytes(struct walk *w, uint64_t off, size_t len, const uint8_t **ret)
{
	const uint64_t file_end = LOG_START + w->j->log_bytes;

	if (off < w->window_off || off + len > w->window_off + w->window_len) {
		size_t want = len < WINDOW_BYTES ? WINDOW_BYTES : len;

		if (want > file_end - off)
			want = (size_t)(file_end - off);
		if (want > w->window_cap) {
			free(w->window);
			w->window_cap = 0;
			w->window = malloc(want);
			if (!w->window)
				return WERR_NOMEM;
			w->window_cap = want;
		}
		w->window_len = 0;
		int rc = host_pread(w->j->file, w->window, want, off, NULL);
		if (rc)
			return rc;
		w->window_off = off;
		w->window_len = want;
	}
	*ret = w->window + (off - w->window_off);
	return 0;
}

static int walk_room(struct walk *w, size_t len)
{
	if (len > w->plain_cap) {
		if (w->plain)
			secret_wipe(w->plain, w->plain_used);
		free(w->plain);
		w->plain_cap = 0;
		w->plain = malloc(len);
		if (!w->plain)
			return WERR_NOMEM;
		w->plain_cap = len;
	}
	if (len > w->plain_used)
		w->plain_used = len;
	return 0;
}

// Whether the record that follows w->sequence stands at a position: 1 (decrypted into w->plain,
// *ret_len bytes), 0, or an error.
static int walk_try(struct walk *w, uint64_t position, size_t *ret_len)
{
	const struct journal *j = w->j;
	const uint64_t off = journal_file_offset(j, position);
	const uint64_t to_end = LOG_START + j->log_bytes - off;
	uint8_t aad[AAD_BYTES];
	const uint8_t *frame;

	if (to_end < FRAME_BYTES || position + FRAME_BYTES > w->limit)
		return 0;
	int rc = walk_bytes(w, off, FRAME_BYTES, &frame);
	if (rc)
		return rc;
	const uint32_t len = le32_get(frame);
	if (len < CIPHER_MIN || len > CIPHER_MAX || FRAME_BYTES + (uint64_t)len > to_end ||
	    position + FRAME_BYTES + len > w->limit)
		return 0;
	rc = walk_bytes(w, off, FRAME_BYTES + len, &frame);
	if (!rc)
		rc = walk_room(w, len);
	if (rc)
		return rc;
	record_aad(j, len, w->sequence + 1, w->tag, aad);
	rc = gcm_open(j->record_key, frame + 4, aad, sizeof(aad), frame + FRAME_BYTES, len,
		      w->plain, frame + 4 + GCM_NONCE_BYTES);
	if (rc)
		return rc == WERR_AUTH ? 0 : rc;
	if (le64_get(w->plain) != w->sequence + 1 || le32_get(w->plain + 8) != j->sb.mount ||
	    le32_get(w->plain + 12))
		return 0;
	memcpy(w->tag, frame + 4 + GCM_NONCE_BYTES, GCM_TAG_BYTES);
	w->sequence++;
	w->position = (position + FRAME_BYTES + len + 7) & ~7ull;
	*ret_len = len;
	return 1;
}

// Looks for the next record right behind the last one, at the next block, at the start of the log.
static int walk_next(struct walk *w, size_t *ret_len)
{
	const uint64_t log_bytes = w->j->log_bytes;
	const uint64_t places[3] = {
		w->position,
		journal_block_up(w->position),
		(w->position + log_bytes - 1) / log_bytes * log_bytes,
	};

	for (int i = 0; i < 3; i++) {
		if (i && places[i] == places[i - 1])
			continue;
		int rc = walk_try(w, places[i], ret_len);
		if (rc)
			return rc;
	}
	return 0;
}

static int walk_chain(struct walk *w, journal_fn fn, void *arg)
{
	size_t len = 0;
	int rc;

	while ((rc = walk_next(w, &len)) == 1) {
		rc = fn(arg, w->sequence, w->plain + INNER_BYTES, len - INNER_BYTES);
		if (rc)
			break;
	}
	if (w->plain)
		secret_wipe(w->plain, w->plain_used);
	free(w->plain);
	free(w->window);
	return rc;
}

int journal_replay(struct journal *j, journal_fn fn, void *arg, uint64_t *ret_last)
{
	int rc = 0;

	if (j->issued)
		return WERR_INTERNAL;
	if (!j->record_key)
		rc = journal_record_key(j->ring, &j->sb, &j->record_key);
	if (rc)
		return rc;
	struct walk w = {
		.j = j,
		.limit = journal_block_down(j->tail) + j->log_bytes,
		.position = j->tail,
		.sequence = j->sb.s,
	};
	memcpy(w.tag, j->sb.previous_tag, sizeof(w.tag));
	rc = walk_chain(&w, fn, arg);
	// A predecessor that was killed may have left records in the host's cache only.
	if (!rc && !j->readonly)
		rc = j->host->ops->datasync(j->file);
	if (rc) {
		gcm_key_free(j->record_key);
		j->record_key = NULL;
		return rc;
	}
	j->head = journal_block_up(w.position);
	j->sequence = j->durable = w.sequence;
	memcpy(j->tag, w.tag, sizeof(j->tag));
	*ret_last = w.sequence;
	return 0;
}

// ---- writing ----

static struct unflushed *unflushed_new(size_t cap)
{
	struct unflushed *u = malloc(sizeof(*u) + cap);

	if (u) {
		u->next = NULL;
		u->len = 0;
	}
	return u;
}

// Writes and keeps; takes over u, also on failure. With the lock.
static int write_kept(struct journal *j, struct unflushed *u)
{
	int rc = WERR_IO;

	// A record that is not written ends in a vault that takes no more changes: what passes by
	// itself is given the time to.
	for (unsigned tries = 0; rc && tries < JOURNAL_WRITE_TRIES; tries++)
		rc = host_pwrite(j->file, u->bytes, u->len, u->off);
	if (rc) {
		free(u);
		return rc;
	}
	*j->last = u;
	j->last = &u->next;
	j->unflushed_bytes += u->len;
	j->issued++;
	return 0;
}

// Makes the place of a failed write no record. With the lock.
static int lay_ghost(struct journal *j)
{
	if (!j->has_ghost)
		return 0;
	struct unflushed *u = unflushed_new(FRAME_BYTES);
	if (!u)
		return WERR_NOMEM;
	u->off = journal_file_offset(j, j->ghost);
	u->len = FRAME_BYTES;
	memset(u->bytes, 0, FRAME_BYTES);
	int rc = write_kept(j, u);
	if (!rc)
		j->has_ghost = 0;
	return rc;
}

static int rewrite(const struct journal *j, const struct unflushed *list)
{
	for (const struct unflushed *u = list; u; u = u->next) {
		int rc = host_pwrite(j->file, u->bytes, u->len, u->off);

		if (rc)
			return rc;
	}
	return 0;
}

// Without the lock: makes a list durable, writing it again where an earlier flush failed.
static int flush_list(const struct journal *j, const struct unflushed *list, int again,
		      uint64_t *faults)
{
	int rc = again ? rewrite(j, list) : 0;

	if (!rc)
		rc = j->host->ops->datasync(j->file);
	if (rc)
		*faults += 1;
	if (!rc || again)
		return rc;
	rc = rewrite(j, list);
	return rc ? rc : j->host->ops->datasync(j->file);
}

// One flush, led by this thread. With the lock, which is released meanwhile.
static int flush_lead(struct journal *j)
{
	int rc = lay_ghost(j);

	if (rc)
		return rc;
	struct unflushed *list = j->first;
	struct unflushed **list_end = j->last;
	const size_t bytes = j->unflushed_bytes;
	const uint64_t upto = j->issued;
	const uint64_t sequence = j->sequence;
	const int again = j->failed;
	uint64_t faults = 0;

	j->first = NULL;
	j->last = &j->first;
	j->flushing = 1;
	// From here on the last block may become durable: nothing more goes into it.
	j->head = journal_block_up(j->head);
	pthread_mutex_unlock(&j->lock);
	rc = flush_list(j, list, again, &faults);
	if (!rc)
		free_list(list);
	pthread_mutex_lock(&j->lock);
	if (rc) {
		*list_end = j->first;
		if (!j->first)
			j->last = list_end;
		j->first = list;
	} else {
		j->unflushed_bytes -= bytes;
		j->flushed = upto;
		j->durable = sequence;
	}
	j->flushing = 0;
	j->faults += faults;
	j->failed = rc != 0;
	j->rounds++;
	j->round_rc = rc;
	j->round_upto = upto;
	pthread_cond_broadcast(&j->flushed_cond);
	return rc;
}

int journal_flush_to(struct journal *j, uint64_t ticket)
{
	while (j->flushed < ticket) {
		if (!j->flushing) {
			int rc = flush_lead(j);

			if (rc)
				return rc;
			continue;
		}
		const uint64_t round = j->rounds;
		while (j->rounds == round)
			pthread_cond_wait(&j->flushed_cond, &j->lock);
		if (j->round_rc && j->round_upto >= ticket)
			return j->round_rc;
	}
	return 0;
}

int journal_sync(struct journal *j)
{
	pthread_mutex_lock(&j->lock);
	int rc = journal_flush_to(j, j->issued);
	pthread_mutex_unlock(&j->lock);
	return rc;
}

// Where a record of size bytes (a multiple of 8) goes. One block always stays free, so that a full
// log is no empty one.
static int place(const struct journal *j, uint64_t size, uint64_t reserve, uint64_t *ret)
{
	const uint64_t room = j->log_bytes - BLOCK;
	const uint64_t left_in_lap = j->log_bytes - j->head % j->log_bytes;
	const uint64_t position = size > left_in_lap ? j->head + left_in_lap : j->head;
	const uint64_t used = journal_block_up(position + size) - journal_block_down(j->tail);

	if (reserve > room || used > room - reserve)
		return WERR_NOSPACE;
	*ret = position;
	return 0;
}

// The record, and the rest of the block that it ends in.
#define SPARE_BYTES (FRAME_BYTES + INNER_BYTES + JOURNAL_PREPARED_MAX + 8u + JOURNALFILE_BLOCK)

// Makes the sealed record for a position. With the lock.
static int seal_record(struct journal *j, uint64_t position, const uint8_t *payload, size_t len,
		       int prepared, struct unflushed **ret)
{
	const uint32_t cipher_len = (uint32_t)(INNER_BYTES + len);
	const uint64_t end = position + ((FRAME_BYTES + (uint64_t)cipher_len + 7) & ~7ull);
	// A block entered for the first time is written whole, so that the host need not read its
	// old content.
	const uint64_t stop = journal_block_down(end - 1) >= position ? journal_block_up(end) : end;
	const size_t room = (size_t)(stop - position);
	struct unflushed *u = unflushed_new(room);

	if (!u && prepared && room <= SPARE_BYTES) {
		u = j->spare;
		j->spare = NULL;
	}
	if (!u)
		return WERR_NOMEM;
	uint8_t *frame = u->bytes;
	uint8_t *inner = frame + FRAME_BYTES;
	uint8_t aad[AAD_BYTES];

	*ret = u;
	u->len = room;
	u->off = journal_file_offset(j, position);
	le32_put(frame, cipher_len);
	rng_bytes(frame + 4, GCM_NONCE_BYTES);
	le64_put(inner, j->sequence + 1);
	le32_put(inner + 8, j->sb.mount);
	le32_put(inner + 12, 0);
	if (len)
		memcpy(inner + INNER_BYTES, payload, len);
	memset(inner + cipher_len, 0, u->len - FRAME_BYTES - cipher_len);
	record_aad(j, cipher_len, j->sequence + 1, j->tag, aad);
	return gcm_seal(j->record_key, frame + 4, aad, sizeof(aad), inner, cipher_len, inner,
			frame + 4 + GCM_NONCE_BYTES);
}

// With the lock.
static int append_locked(struct journal *j, const uint8_t *payload, size_t len, uint64_t reserve,
			 int prepared)
{
	const uint64_t size = (FRAME_BYTES + INNER_BYTES + (uint64_t)len + 7) & ~7ull;
	struct unflushed *u = NULL;
	uint64_t position = 0;
	int rc = WERR_INTERNAL;

	if (j->readonly)
		rc = WERR_READONLY;
	else if (j->record_key && j->sb.mount)
		rc = j->sequence < JOURNAL_RECORDS_MAX ? 0 : WERR_LIMIT;
	if (!rc && j->unflushed_bytes > JOURNAL_UNFLUSHED_MAX)
		rc = journal_flush_to(j, j->issued);
	if (!rc)
		rc = lay_ghost(j);
	if (!rc)
		rc = place(j, size, reserve, &position);
	if (!rc)
		rc = seal_record(j, position, payload, len, prepared, &u);
	if (rc) {
		free(u);
		return rc;
	}
	uint8_t tag[GCM_TAG_BYTES];
	memcpy(tag, u->bytes + 4 + GCM_NONCE_BYTES, sizeof(tag));
	const size_t written = u->len;
	rc = write_kept(j, u);
	if (rc) {
		j->has_ghost = 1;
		j->ghost = position;
		return rc;
	}
	journal_wiped(j, position, written);
	memcpy(j->tag, tag, sizeof(tag));
	j->sequence++;
	j->head = position + size;
	return 0;
}

static int append(struct journal *j, const uint8_t *payload, size_t len, uint64_t reserve,
		  int prepared, uint64_t *ret_sequence)
{
	if (len > JOURNAL_PAYLOAD_MAX)
		return WERR_LIMIT;
	pthread_mutex_lock(&j->lock);
	int rc = append_locked(j, payload, len, reserve, prepared);
	if (!rc)
		*ret_sequence = j->sequence;
	pthread_mutex_unlock(&j->lock);
	return rc;
}

int journal_append(struct journal *j, const uint8_t *payload, size_t len, uint64_t reserve,
		   uint64_t *ret_sequence)
{
	return append(j, payload, len, reserve, 0, ret_sequence);
}

int journal_append_prepared(struct journal *j, const uint8_t *payload, size_t len, uint64_t reserve,
			    uint64_t *ret_sequence)
{
	return append(j, payload, len, reserve, 1, ret_sequence);
}

int journal_prepare(struct journal *j)
{
	pthread_mutex_lock(&j->lock);
	if (!j->spare)
		j->spare = unflushed_new(SPARE_BYTES);
	int rc = j->spare ? lay_ghost(j) : WERR_NOMEM;
	pthread_mutex_unlock(&j->lock);
	return rc;
}

int journal_put_superblock(struct journal *j, struct superblock *sb)
{
	const uint32_t block = 1 - j->sb_block;
	struct unflushed *u = unflushed_new(SUPERBLOCK_BYTES);

	if (!u)
		return WERR_NOMEM;
	sb->counter = ++j->sb_counter;
	u->off = block * BLOCK;
	u->len = SUPERBLOCK_BYTES;
	int rc = journalfile_seal(sb, j->key, j->ring, block, u->bytes);
	if (rc) {
		free(u);
		return rc;
	}
	rc = write_kept(j, u);
	if (!rc)
		rc = journal_flush_to(j, j->issued);
	if (rc)
		return rc;
	j->sb = *sb;
	j->sb_block = block;
	j->wipe.superblocks++;
	return 0;
}

// With the lock.
static int start_locked(struct journal *j, uint32_t mount, uint64_t k, uint64_t root_generation)
{
	struct gcm_key *record_key = NULL;
	struct superblock sb = {
		.mount = mount,
		.k = k,
		.root_generation = root_generation,
		.journal_bytes = LOG_START + j->log_bytes,
	};

	j->head = journal_block_up(j->head);
	sb.tail = journal_file_offset(j, j->head);
	rng_bytes(sb.salt, sizeof(sb.salt));
	int rc = journal_record_key(j->ring, &sb, &record_key);
	if (rc)
		return rc;
	rc = journal_put_superblock(j, &sb);
	// When it failed the superblock may stand there or not: no chain can safely go on, neither
	// the old one nor the new one.
	gcm_key_free(j->record_key);
	j->record_key = NULL;
	if (rc) {
		gcm_key_free(record_key);
		return rc;
	}
	j->record_key = record_key;
	j->tail = j->head;
	j->sequence = j->durable = 0;
	memset(j->tag, 0, sizeof(j->tag));
	return 0;
}

int journal_start(struct journal *j, uint32_t mount, uint64_t k, uint64_t root_generation)
{
	if (j->readonly)
		return WERR_READONLY;
	if (!mount)
		return WERR_INVALID;
	pthread_mutex_lock(&j->lock);
	int rc = start_locked(j, mount, k, root_generation);
	pthread_mutex_unlock(&j->lock);
	return rc;
}

// ---- checkpoints and numbers ----

void journal_mark(struct journal *j, struct journal_mark *ret)
{
	pthread_mutex_lock(&j->lock);
	ret->sequence = j->sequence;
	ret->offset = journal_file_offset(j, j->head);
	memcpy(ret->tag, j->tag, sizeof(ret->tag));
	pthread_mutex_unlock(&j->lock);
}

// With the lock.
static int advance_locked(struct journal *j, uint64_t k, const struct journal_mark *mark,
			  uint64_t root_generation)
{
	uint64_t position;

	if (!j->record_key || mark->sequence < j->sb.s || mark->sequence > j->sequence ||
	    mark->offset < LOG_START || mark->offset >= LOG_START + j->log_bytes)
		return WERR_INTERNAL;
	if (mark->sequence ==
	    j->sequence) { // nothing is left in the log: the next record may as well start a block
		j->head = journal_block_up(j->head);
		position = j->head;
	} else if (mark->sequence == j->sb.s) {
		position = j->tail; // may lie behind the mark, at the next block
	} else {
		uint64_t lap = mark->offset - LOG_START + j->log_bytes - j->tail % j->log_bytes;

		position = j->tail + lap % j->log_bytes;
	}
	if (position > j->head)
		return WERR_INTERNAL;
	struct superblock sb = {
		.mount = j->sb.mount,
		.k = k,
		.s = mark->sequence,
		.tail = journal_file_offset(j, position),
		.root_generation = root_generation,
		.journal_bytes = LOG_START + j->log_bytes,
	};
	memcpy(sb.salt, j->sb.salt, sizeof(sb.salt));
	memcpy(sb.previous_tag, mark->tag, sizeof(sb.previous_tag));
	int rc = journal_put_superblock(j, &sb);
	if (!rc)
		j->tail = position;
	return rc;
}

int journal_advance(struct journal *j, uint64_t k, const struct journal_mark *mark,
		    uint64_t root_generation)
{
	if (j->readonly)
		return WERR_READONLY;
	pthread_mutex_lock(&j->lock);
	int rc = advance_locked(j, k, mark, root_generation);
	pthread_mutex_unlock(&j->lock);
	return rc;
}

uint64_t journal_durable(struct journal *j)
{
	pthread_mutex_lock(&j->lock);
	uint64_t durable = j->durable;
	pthread_mutex_unlock(&j->lock);
	return durable;
}

uint64_t journal_sequence(struct journal *j)
{
	pthread_mutex_lock(&j->lock);
	uint64_t sequence = j->sequence;
	pthread_mutex_unlock(&j->lock);
	return sequence;
}

uint64_t journal_used(struct journal *j)
{
	pthread_mutex_lock(&j->lock);
	uint64_t used =
		j->head == j->tail ? 0 : journal_block_up(j->head) - journal_block_down(j->tail);
	pthread_mutex_unlock(&j->lock);
	return used;
}

uint64_t journal_capacity(const struct journal *j)
{
	return j->log_bytes - BLOCK;
}

void journal_claim(struct journal *j, struct journal_claim *ret)
{
	pthread_mutex_lock(&j->lock);
	ret->mount = j->sb.mount;
	ret->counter = j->sb.counter;
	ret->sequence = j->durable;
	memcpy(ret->salt, j->sb.salt, sizeof(ret->salt));
	pthread_mutex_unlock(&j->lock);
}
