// SPDX-License-Identifier: Apache-2.0
#include "fusefs/journalfile.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/rng.h"
#include "fusefs/journal.h"

#define CHUNK_BYTES (1u << 20)

int journalfile_bytes_valid(uint64_t bytes)
{
	return bytes >= JOURNAL_FILE_MIN && bytes <= JOURNAL_MAX_BYTES &&
	       bytes % JOURNALFILE_BLOCK == 0;
}

int journalfile_seal(const struct superblock *sb, const struct gcm_key *key,
		     const struct keyring *ring, uint32_t block,
		     uint8_t out[static SUPERBLOCK_BYTES])
{
	uint8_t nonce[GCM_NONCE_BYTES];

	rng_bytes(nonce, sizeof(nonce));
	return superblock_seal(sb, key, keyring_vault_id(ring), block, nonce, out);
}

static int write_superblock(struct host_file *f, const struct superblock *sb,
			    const struct gcm_key *key, const struct keyring *ring, uint32_t block)
{
	uint8_t buf[SUPERBLOCK_BYTES];
	int rc = journalfile_seal(sb, key, ring, block, buf);

	return rc ? rc : host_pwrite(f, buf, sizeof(buf), block * JOURNALFILE_BLOCK);
}

int journalfile_read(struct host_file *f, const struct gcm_key *key, const struct keyring *ring,
		     struct superblock *ret, uint32_t *ret_block)
{
	int found = 0;

	for (uint32_t block = 0; block < 2; block++) {
		uint8_t buf[SUPERBLOCK_BYTES];
		struct superblock sb;
		int rc = host_pread(f, buf, sizeof(buf), block * JOURNALFILE_BLOCK, NULL);

		if (rc)
			return rc;
		rc = superblock_open(buf, key, keyring_vault_id(ring), block, &sb);
		if (rc == WERR_NOMEM || rc == WERR_INTERNAL)
			return rc;
		if (rc || (found && sb.counter <= ret->counter))
			continue;
		found = 1;
		*ret = sb;
		*ret_block = block;
	}
	return found ? 0 : WERR_AUTH;
}

int journalfile_check(const struct superblock *sb, uint64_t bytes)
{
	if (sb->journal_bytes != bytes)
		return WERR_DAMAGED;
	if (sb->tail < JOURNALFILE_LOG_START || sb->tail >= bytes || sb->tail % 8)
		return WERR_DAMAGED;
	return 0;
}

// A superblock of mount 0: there is no record, and none will be written under it. The salt is
// random all the same, so that no two journals of a vault share a record key.
static void empty_superblock(struct superblock *sb, uint64_t bytes)
{
	memset(sb, 0, sizeof(*sb));
	rng_bytes(sb->salt, sizeof(sb->salt));
	sb->tail = JOURNALFILE_LOG_START;
	sb->journal_bytes = bytes;
}

static int write_zeros(struct host_file *f, uint64_t bytes)
{
	const size_t chunk = CHUNK_BYTES;
	uint8_t *zeros = calloc(1, chunk);
	int rc = zeros ? 0 : WERR_NOMEM;

	for (uint64_t off = 0; !rc && off < bytes; off += chunk) {
		size_t n = bytes - off < chunk ? (size_t)(bytes - off) : chunk;

		rc = host_pwrite(f, zeros, n, off);
	}
	free(zeros);
	return rc;
}

static int write_fresh(struct host_file *f, const struct keyring *ring, uint64_t bytes)
{
	struct gcm_key *key = gcm_key_new(keyring_journal(ring));
	struct superblock sb;
	int rc = key ? 0 : WERR_NOMEM;

	empty_superblock(&sb, bytes);
	for (uint32_t block = 0; !rc && block < 2; block++) {
		sb.counter = block + 1;
		rc = write_superblock(f, &sb, key, ring, block);
	}
	gcm_key_free(key);
	return rc ? rc : f->host->ops->datasync(f);
}

int journal_create(struct host *h, const struct keyring *ring, uint64_t bytes)
{
	struct host_file *f = NULL;

	if (!journalfile_bytes_valid(bytes))
		return WERR_INVALID;
	int rc = h->ops->open_top(h, JOURNAL_NAME, HOST_RDWR | HOST_CREATE | HOST_EXCL, &f);
	if (rc)
		return rc;
	rc = write_zeros(f, bytes);
	if (!rc)
		rc = write_fresh(f, ring, bytes);
	h->ops->file_close(f);
	return rc ? rc : h->ops->sync_top(h);
}

int journal_recreate(struct host *h, const struct keyring *ring, uint64_t bytes)
{
	struct host_file *f = NULL;
	uint64_t size = 0;

	if (!journalfile_bytes_valid(bytes))
		return WERR_INVALID;
	int rc = h->ops->open_top(h, JOURNAL_NAME, HOST_RDWR | HOST_CREATE, &f);
	if (rc)
		return rc;
	rc = h->ops->file_size(f, &size);
	if (!rc && size != bytes) {
		rc = h->ops->truncate(f, 0);
		if (!rc)
			rc = write_zeros(f, bytes);
	}
	if (!rc)
		rc = write_fresh(f, ring, bytes);
	h->ops->file_close(f);
	return rc ? rc : h->ops->sync_top(h);
}

int journalfile_open(struct host *h, uint64_t bytes, unsigned flags, struct host_file **ret)
{
	uint64_t size = 0;
	int rc = h->ops->open_top(h, JOURNAL_NAME, flags, ret);

	if (rc)
		return rc == WERR_NOTFOUND ? WERR_DAMAGED : rc;
	rc = h->ops->file_size(*ret, &size);
	if (!rc && size != bytes)
		rc = WERR_DAMAGED;
	if (rc)
		h->ops->file_close(*ret);
	return rc;
}

static int rekey_file(struct host_file *f, const struct keyring *old_ring,
		      const struct keyring *new_ring, uint64_t bytes)
{
	struct gcm_key *old_key = gcm_key_new(keyring_journal(old_ring));
	struct gcm_key *new_key = gcm_key_new(keyring_journal(new_ring));
	struct superblock sb;
	uint32_t block = 0;
	int rc = WERR_NOMEM;

	if (old_key && new_key)
		rc = journalfile_read(f, old_key, old_ring, &sb, &block);
	// Nothing that was logged counts any more, and none of it opens under the new keys: a
	// superblock that still named the mount would promise records.
	const uint64_t counter = rc ? 0 : sb.counter;
	if (!rc || rc == WERR_AUTH) {
		empty_superblock(&sb, bytes);
		sb.counter = counter;
		rc = 0;
	}
	// First the block that does not hold the newest: one of them is whole at every moment.
	for (int i = 0; !rc && i < 2; i++) {
		block = 1 - block;
		sb.counter++;
		rc = write_superblock(f, &sb, new_key, new_ring, block);
		if (!rc)
			rc = f->host->ops->datasync(f);
	}
	gcm_key_free(old_key);
	gcm_key_free(new_key);
	return rc;
}

int journal_rekey(struct host *h, const struct keyring *old_ring, const struct keyring *new_ring,
		  uint64_t bytes)
{
	struct host_file *f = NULL;

	if (!journalfile_bytes_valid(bytes))
		return WERR_INVALID;
	int rc = journalfile_open(h, bytes, HOST_RDWR, &f);
	if (rc)
		return rc;
	rc = rekey_file(f, old_ring, new_ring, bytes);
	h->ops->file_close(f);
	return rc;
}
