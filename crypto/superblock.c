// SPDX-License-Identifier: Apache-2.0
#include "crypto/superblock.h"

#include <string.h>

#include "crypto/cursor.h"
#include "crypto/secret.h"
#include "crypto/superblock_body.h"
#include "crypto/vault_header.h"

#define MAGIC "WARDJNL\x01"
#define MAGIC_BYTES 8
#define CLEAR_BYTES 16
#define RESERVED_BYTES 20
#define LOG_START 8192
#define AAD_BYTES (CLEAR_BYTES + VAULT_ID_BYTES + 4)

_Static_assert(CLEAR_BYTES + GCM_NONCE_BYTES + GCM_TAG_BYTES + RESERVED_BYTES == 64,
	       "the ciphertext starts at 64");

static int superblock_check(const struct superblock *s)
{
	static const uint8_t no_tag[GCM_TAG_BYTES];

	if (s->mount > MOUNT_NUMBER_MAX || s->journal_bytes % SUPERBLOCK_BYTES != 0)
		return WERR_MALFORMED;
	if (s->tail < LOG_START || s->tail > s->journal_bytes || s->tail % 8 != 0)
		return WERR_MALFORMED;
	if (s->s == 0 && memcmp(s->previous_tag, no_tag, sizeof(no_tag)) != 0)
		return WERR_MALFORMED;
	return 0;
}

int superblock_body_decode(const uint8_t body[static SUPERBLOCK_BODY_BYTES], struct superblock *ret)
{
	struct superblock s = {0};
	struct rcursor c;

	rcursor_init(&c, body, SUPERBLOCK_BODY_BYTES);
	s.mount = rcursor_u32(&c);
	rcursor_zero(&c, 4);
	s.k = rcursor_u64(&c);
	s.s = rcursor_u64(&c);
	s.tail = rcursor_u64(&c);
	rcursor_bytes(&c, s.salt, sizeof(s.salt));
	rcursor_bytes(&c, s.previous_tag, sizeof(s.previous_tag));
	s.root_generation = rcursor_u64(&c);
	s.journal_bytes = rcursor_u64(&c);
	s.counter = rcursor_u64(&c);
	rcursor_zero(&c, rcursor_left(&c));
	if (rcursor_finish(&c, 1) < 0 || superblock_check(&s) < 0)
		return WERR_MALFORMED;
	*ret = s;
	return 0;
}

int superblock_body_encode(const struct superblock *s, uint8_t body[static SUPERBLOCK_BODY_BYTES])
{
	struct wcursor w;

	if (superblock_check(s) < 0)
		return WERR_INVALID;
	wcursor_init(&w, body, SUPERBLOCK_BODY_BYTES);
	wcursor_u32(&w, s->mount);
	wcursor_u32(&w, 0);
	wcursor_u64(&w, s->k);
	wcursor_u64(&w, s->s);
	wcursor_u64(&w, s->tail);
	wcursor_bytes(&w, s->salt, sizeof(s->salt));
	wcursor_bytes(&w, s->previous_tag, sizeof(s->previous_tag));
	wcursor_u64(&w, s->root_generation);
	wcursor_u64(&w, s->journal_bytes);
	wcursor_u64(&w, s->counter);
	wcursor_zero(&w, SUPERBLOCK_BODY_BYTES - w.len);
	return w.err < 0 ? WERR_INTERNAL : 0;
}

static void superblock_aad(const uint8_t clear[static CLEAR_BYTES],
			   const uint8_t vault_id[static VAULT_ID_BYTES], uint32_t block,
			   uint8_t aad[static AAD_BYTES])
{
	memcpy(aad, clear, CLEAR_BYTES);
	memcpy(aad + CLEAR_BYTES, vault_id, VAULT_ID_BYTES);
	le32_put(aad + CLEAR_BYTES + VAULT_ID_BYTES, block);
}

int superblock_seal(const struct superblock *s, const struct gcm_key *key,
		    const uint8_t vault_id[static VAULT_ID_BYTES], uint32_t block,
		    const uint8_t nonce[static GCM_NONCE_BYTES],
		    uint8_t out[static SUPERBLOCK_BYTES])
{
	uint8_t body[SUPERBLOCK_BODY_BYTES];
	uint8_t aad[AAD_BYTES];
	struct wcursor w;
	int rc = superblock_body_encode(s, body);

	if (rc < 0)
		return rc;
	if (block > 1)
		return WERR_INVALID;
	wcursor_init(&w, out, SUPERBLOCK_BYTES);
	wcursor_bytes(&w, MAGIC, MAGIC_BYTES);
	wcursor_u32(&w, s->mount);
	wcursor_u32(&w, 0);
	wcursor_bytes(&w, nonce, GCM_NONCE_BYTES);
	uint8_t *tag = wcursor_take(&w, GCM_TAG_BYTES);
	wcursor_zero(&w, RESERVED_BYTES);
	uint8_t *cipher = wcursor_take(&w, sizeof(body));
	wcursor_zero(&w, SUPERBLOCK_BYTES - w.len);
	if (w.err < 0)
		return WERR_INTERNAL;
	superblock_aad(out, vault_id, block, aad);
	rc = gcm_seal(key, nonce, aad, sizeof(aad), body, sizeof(body), cipher, tag);
	secret_wipe(body, sizeof(body));
	return rc;
}

int superblock_open(const uint8_t in[static SUPERBLOCK_BYTES], const struct gcm_key *key,
		    const uint8_t vault_id[static VAULT_ID_BYTES], uint32_t block,
		    struct superblock *ret)
{
	uint8_t body[SUPERBLOCK_BODY_BYTES];
	uint8_t aad[AAD_BYTES];
	struct superblock s;
	struct rcursor c;

	rcursor_init(&c, in, SUPERBLOCK_BYTES);
	const uint8_t *magic = rcursor_take(&c, MAGIC_BYTES);
	uint32_t mount = rcursor_u32(&c);
	rcursor_zero(&c, 4);
	const uint8_t *nonce = rcursor_take(&c, GCM_NONCE_BYTES);
	const uint8_t *tag = rcursor_take(&c, GCM_TAG_BYTES);
	rcursor_zero(&c, RESERVED_BYTES);
	const uint8_t *cipher = rcursor_take(&c, sizeof(body));
	rcursor_zero(&c, rcursor_left(&c));
	if (rcursor_finish(&c, 1) < 0 || memcmp(magic, MAGIC, MAGIC_BYTES) != 0)
		return WERR_MALFORMED;
	superblock_aad(in, vault_id, block, aad);
	int rc = gcm_open(key, nonce, aad, sizeof(aad), cipher, sizeof(body), body, tag);
	if (rc < 0)
		return rc;
	rc = superblock_body_decode(body, &s);
	secret_wipe(body, sizeof(body));
	if (rc < 0)
		return rc;
	if (s.mount != mount)
		return WERR_MALFORMED;
	*ret = s;
	return 0;
}
