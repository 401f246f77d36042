// SPDX-License-Identifier: Apache-2.0
// The anchor: the sealed body's codec, and a file that nobody sealed.
#include "crypto/anchor_codec.h"
#include "crypto/rng.h"
#include "crypto/secret.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/fixture.h"

static struct keyring *a_keyring(void)
{
	struct keyslot_info info = {.kdf = {ARGON_MEMORY_MIN_KIB, 1, 1}};
	struct vault_header *h = calloc(1, sizeof(*h));
	struct secret pass = {0};
	struct keyring *ring = NULL;
	uint8_t *root = NULL;

	FUZZ_NEED(h != NULL && secret_init() == 0 && secret_copy(&pass, "fuzz", 4) == 0);
	FUZZ_NEED(keyring_create(h, &info, &pass, &root) == 0);
	FUZZ_NEED(keyring_new(h, root, &ring) == 0);
	secret_free(root);
	secret_clear(&pass);
	free(h);
	return ring;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct keyring *ring;
	static uint8_t file[ANCHOR_BYTES];
	uint8_t body[ANCHOR_BODY_BYTES], again[ANCHOR_BODY_BYTES];
	struct anchor_claims claims;

	if (ring == NULL)
		ring = a_keyring();
	fuzz_pad(file, sizeof(file), data, size);
	FUZZ_NEED(anchor_codec_open(file, sizeof(file), ring, &claims) < 0);
	FUZZ_NEED(anchor_codec_open(data, size, ring, &claims) < 0);
	fuzz_pad(body, sizeof(body), data, size);
	if (anchor_body_decode(body, &claims) < 0)
		return 0;
	FUZZ_NEED(anchor_body_encode(&claims, again) == 0);
	FUZZ_NEED(memcmp(again, body, sizeof(body)) == 0);
	return 0;
}
