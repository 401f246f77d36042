// SPDX-License-Identifier: Apache-2.0
#include "crypto/seal.h"

#include <string.h>

#include "crypto/cursor.h"

#define SEAL_NONCE 0
#define SEAL_TAG 12
#define SEAL_GENERATION 28
#define SEAL_FLAGS 30
#define SEAL_AAD_BYTES 16

int seal_is_hole(const struct seal *s)
{
	static const struct seal hole;

	return memcmp(s->b, hole.b, SEAL_BYTES) == 0;
}

int seal_equal(const struct seal *a, const struct seal *b)
{
	return memcmp(a->b, b->b, SEAL_BYTES) == 0;
}

uint16_t seal_generation(const struct seal *s)
{
	return le16_get(s->b + SEAL_GENERATION);
}

int seal_check(const struct seal *s)
{
	if (le16_get(s->b + SEAL_FLAGS) != 0)
		return WERR_MALFORMED;
	if (seal_generation(s) == 0 && !seal_is_hole(s))
		return WERR_MALFORMED;
	return 0;
}

// Level and index bind a page to its place in the tree: a page moved within its object does not
// open.
static void seal_aad(uint8_t aad[static SEAL_AAD_BYTES], uint16_t generation, uint32_t level,
		     uint64_t index)
{
	le32_put(aad, level);
	le32_put(aad + 4, generation);
	le64_put(aad + 8, index);
}

int seal_page(const struct gcm_key *key, uint16_t generation, uint32_t level, uint64_t index,
	      const uint8_t nonce[static GCM_NONCE_BYTES], const uint8_t *plain, uint8_t *cipher,
	      struct seal *ret)
{
	uint8_t aad[SEAL_AAD_BYTES];
	struct seal s;

	if (generation == 0)
		return WERR_INVALID;
	seal_aad(aad, generation, level, index);
	memcpy(s.b + SEAL_NONCE, nonce, GCM_NONCE_BYTES);
	le16_put(s.b + SEAL_GENERATION, generation);
	le16_put(s.b + SEAL_FLAGS, 0);
	int rc = gcm_seal(key, nonce, aad, sizeof(aad), plain, WARD_PAGE, cipher, s.b + SEAL_TAG);
	if (rc < 0)
		return rc;
	*ret = s;
	return 0;
}

int seal_open(const struct gcm_key *key, const struct seal *s, uint32_t level, uint64_t index,
	      const uint8_t *cipher, uint8_t *plain)
{
	uint8_t aad[SEAL_AAD_BYTES];

	if (seal_generation(s) == 0 || le16_get(s->b + SEAL_FLAGS) != 0)
		return WERR_MALFORMED;
	seal_aad(aad, seal_generation(s), level, index);
	return gcm_open(key, s->b + SEAL_NONCE, aad, sizeof(aad), cipher, WARD_PAGE, plain,
			s->b + SEAL_TAG);
}
