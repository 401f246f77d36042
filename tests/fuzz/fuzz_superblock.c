// SPDX-License-Identifier: Apache-2.0
// The journal's superblock: the sealed body's codec, and a block that nobody sealed.
#include "crypto/superblock_body.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct gcm_key *key;
	uint8_t body[SUPERBLOCK_BODY_BYTES];
	uint8_t again[SUPERBLOCK_BODY_BYTES];
	uint8_t block[SUPERBLOCK_BYTES];
	uint8_t raw[GCM_KEY_BYTES] = {1};
	struct superblock s;

	if (key == NULL)
		key = gcm_key_new(raw);
	FUZZ_NEED(key != NULL);
	fuzz_pad(block, sizeof(block), data, size);
	FUZZ_NEED(superblock_open(block, key, raw, 0, &s) < 0);
	fuzz_pad(body, sizeof(body), data, size);
	if (superblock_body_decode(body, &s) < 0)
		return 0;
	FUZZ_NEED(superblock_body_encode(&s, again) == 0);
	FUZZ_NEED(memcmp(again, body, sizeof(body)) == 0);
	return 0;
}
