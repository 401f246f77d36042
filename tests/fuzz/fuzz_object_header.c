// SPDX-License-Identifier: Apache-2.0
// The header page of an object. First byte 0: the rest is a sealed body, already opened. Else: the
// rest is a page, opened with keys that did not seal it.
#include "crypto/object_header_body.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/fixture.h"

static struct keyring *ring;
static struct object_keys *keys;

static void fuzz_body(const uint8_t *data, size_t size)
{
	static struct object_header h;
	uint8_t body[OBJECT_BODY_BYTES];
	uint8_t again[OBJECT_BODY_BYTES];

	fuzz_pad(body, sizeof(body), data, size);
	if (object_header_body_decode(body, &h) < 0)
		return;
	FUZZ_NEED(object_header_body_encode(&h, again) == 0);
	FUZZ_NEED(memcmp(again, body, sizeof(body)) == 0);
}

static void fuzz_page(const uint8_t *data, size_t size)
{
	static struct object_header h;
	uint8_t page[WARD_PAGE];
	struct object_id id;
	struct object_keys *own = NULL;
	const uint8_t *tlv;
	size_t tlv_len;

	fuzz_pad(page, sizeof(page), data, size);
	FUZZ_NEED(object_header_open(page, keys, &h) < 0);
	if (object_header_prefix(page, &id, &tlv, &tlv_len) < 0)
		return;
	FUZZ_NEED(tlv == page + 40 && tlv_len <= OBJECT_KEYS_TLV_MAX);
	FUZZ_NEED(object_keys_check(tlv, tlv_len) == 0);
	id.type = OBJECT_FILE;
	if (object_keys_unwrap(ring, &id, tlv, tlv_len, &own) < 0)
		return;
	// Keys of the seeds: the page opens only if it is a seed.
	(void)!object_header_open(page, own, &h);
	object_keys_free(own);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct object_id id = fixture_id(OBJECT_FILE);

	if (ring == NULL) {
		ring = fixture_keyring();
		FUZZ_NEED(object_keys_new(ring, &id, &keys) == 0);
	}
	if (size == 0)
		return 0;
	if (data[0] == 0)
		fuzz_body(data + 1, size - 1);
	else
		fuzz_page(data + 1, size - 1);
	return 0;
}
