// SPDX-License-Identifier: Apache-2.0
// The vault header. The input patches a good header (u24 offset, u8 length, bytes, and so on), so
// that inputs stay small; the MAC is then made right again, as a holder of the root key could. A
// first byte of 255 means: the rest is the file as it is.
#include "crypto/vault_header.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/fixture.h"

#define MAC_AT (VAULT_HEADER_BYTES - 32)

static struct keyring *ring;
static uint8_t root[ROOT_KEY_BYTES];
static uint8_t good[VAULT_HEADER_BYTES];
static uint8_t buf[VAULT_HEADER_BYTES];

// A slot that is well-formed; it opens with nothing.
static void fill_slot(uint8_t slot[static KEYSLOT_BYTES], uint32_t serial)
{
	fixture_count(slot + 96, 400 - 96, (uint8_t)serial);
	le16_put(slot, KEYSLOT_PASSPHRASE);
	le32_put(slot + 4, serial);
	le64_put(slot + 8, 1700000000);
	slot[16] = 4;
	memcpy(slot + 17, "slot", 4);
	le32_put(slot + 80, 65536);
	le32_put(slot + 84, 3);
	le32_put(slot + 88, 4);
	le32_put(slot + 92, 0x13);
}

static void start(void)
{
	static struct vault_header h;

	fixture_header(&h, root);
	fill_slot(h.slots[0], 1);
	fill_slot(h.slots[5], 2);
	ring = fixture_keyring();
	FUZZ_NEED(vault_header_encode(&h, keyring_header_mac(ring), good) == 0);
	FUZZ_NEED(vault_header_decode(good, sizeof(good), root, &h) == 0);
}

static void peek(const uint8_t *data, size_t size)
{
	static struct keyslot_info infos[KEYSLOT_MAX];
	uint8_t vault_id[VAULT_ID_BYTES];

	if (vault_header_peek(data, size, vault_id, infos) == 0)
		FUZZ_NEED(size == VAULT_HEADER_BYTES && memcmp(vault_id, data + 40, 16) == 0);
}

static void patch(const uint8_t *data, size_t size)
{
	struct rcursor c;

	memcpy(buf, good, sizeof(buf));
	rcursor_init(&c, data, size);
	while (rcursor_left(&c) > 4) {
		size_t at = rcursor_u16(&c);
		at |= (size_t)rcursor_u8(&c) << 16;
		size_t len = rcursor_u8(&c);
		if (len > rcursor_left(&c))
			len = rcursor_left(&c);
		const uint8_t *bytes = rcursor_take(&c, len);
		at %= MAC_AT;
		if (len > MAC_AT - at)
			len = MAC_AT - at;
		memcpy(buf + at, bytes, len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vault_header h;
	static uint8_t again[VAULT_HEADER_BYTES];

	if (ring == NULL)
		start();
	if (size > 0 && data[0] == 255) {
		peek(data + 1, size - 1);
		FUZZ_NEED(vault_header_decode(data + 1, size - 1, root, &h) < 0 ||
			  memcmp(data + 1, good, sizeof(good)) == 0);
		return 0;
	}
	patch(data, size);
	peek(buf, sizeof(buf));
	FUZZ_NEED(vault_header_decode(buf, sizeof(buf), root, &h) < 0 ||
		  memcmp(buf, good, sizeof(buf)) == 0);
	FUZZ_NEED(hkdf_hmac_sha256(keyring_header_mac(ring), buf, MAC_AT, buf + MAC_AT) == 0);
	if (vault_header_decode(buf, sizeof(buf), root, &h) < 0)
		return 0;
	FUZZ_NEED(vault_header_encode(&h, keyring_header_mac(ring), again) == 0);
	FUZZ_NEED(memcmp(again, buf, sizeof(buf)) == 0);
	return 0;
}
