// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "crypto/anchor_codec.h"
#include "crypto/rng.h"
#include "key_fixture.h"
#include "tests/unit/unit_main.h"

static struct vault_header *header;
static uint8_t *root_key;
static struct keyring *ring;
static const uint8_t nonces[ANCHOR_PAGES * GCM_NONCE_BYTES] = {1, 2, 3, [12] = 4, 5, 6};

static void setup(void)
{
	struct secret pass = fixture_pass("anchor");
	struct keyslot_info info = fixture_info(1, "laptop");

	header = calloc(1, sizeof(*header));
	ck_assert_ptr_nonnull(header);
	ck_assert_int_eq(keyring_create(header, &info, &pass, &root_key), 0);
	ck_assert_int_eq(keyring_new(header, root_key, &ring), 0);
	secret_clear(&pass);
}

static void teardown(void)
{
	keyring_free(ring);
	secret_free(root_key);
	free(header);
}

static struct anchor_claims sample(void)
{
	struct anchor_claims a = {
		.counter = 9,
		.written_s = 1700000000,
		.mount = 7,
		.state = VAULT_DIRTY,
		.write_counter = 21,
		.root_generation = (uint64_t)7 << 40 | 3,
		.journal_mount = 7,
		.journal_sequence = 1234,
		.journal_counter = 56,
		.closed_s = 1699999999,
		.closed_mount = 6,
		.closed_machine = "desk",
	};

	memset(a.header_mac, 0x11, sizeof(a.header_mac));
	memset(a.journal_salt, 0x22, sizeof(a.journal_salt));
	ck_assert_int_eq(anchor_codec_slot(header->slots[0], &a.slots[0]), 0);
	a.slots[0].last_use_s = 1700000001;
	return a;
}

static void seal(const struct anchor_claims *a, uint8_t *out)
{
	struct anchor_keys *keys;

	ck_assert_int_eq(anchor_keys_new(ring, header->epoch, &keys), 0);
	ck_assert_int_eq(anchor_codec_seal(a, keys, nonces, out), 0);
	anchor_keys_free(keys);
}

START_TEST(round_trip)
{
	struct anchor_claims a = sample(), b;
	uint8_t bytes[ANCHOR_BYTES];

	seal(&a, bytes);
	ck_assert_int_eq(anchor_codec_open(bytes, sizeof(bytes), ring, &b), 0);
	ck_assert_mem_eq(&a.header_mac, &b.header_mac, sizeof(a.header_mac));
	ck_assert_uint_eq(b.journal_sequence, 1234);
	ck_assert_str_eq(b.closed_machine, "desk");
	ck_assert_str_eq(b.slots[0].label, "laptop");
	ck_assert_uint_eq(b.slots[0].last_use_s, 1700000001);
	ck_assert_uint_eq(b.slots[1].serial, 0);

	uint8_t body[ANCHOR_BODY_BYTES], again[ANCHOR_BODY_BYTES];
	ck_assert_int_eq(anchor_body_encode(&a, body), 0);
	ck_assert_int_eq(anchor_body_encode(&b, again), 0);
	ck_assert_mem_eq(body, again, sizeof(body));
}
END_TEST

// Not one byte of it may change.
START_TEST(every_byte_counts)
{
	struct anchor_claims a = sample(), b = {.counter = 77};
	uint8_t bytes[ANCHOR_BYTES];

	seal(&a, bytes);
	for (size_t i = 0; i < sizeof(bytes); i++) {
		bytes[i] ^= (uint8_t)(1u << (i % 8));
		ck_assert_msg(anchor_codec_open(bytes, sizeof(bytes), ring, &b) < 0, "byte %zu", i);
		bytes[i] ^= (uint8_t)(1u << (i % 8));
	}
	ck_assert_uint_eq(b.counter, 77);
	for (size_t len = 0; len < sizeof(bytes); len += 911)
		ck_assert_int_eq(anchor_codec_open(bytes, len, ring, &b), WERR_TRUNCATED);
	ck_assert_int_eq(anchor_codec_open(bytes, sizeof(bytes) + 1, ring, &b), WERR_MALFORMED);
	ck_assert_int_eq(anchor_codec_open(bytes, sizeof(bytes), ring, &b), 0);
}
END_TEST

// After the root key was replaced the anchor opens by the master key of its epoch, and under no
// other vault's keys.
START_TEST(other_keys)
{
	struct anchor_claims a = sample(), b;
	uint8_t bytes[ANCHOR_BYTES];
	uint8_t *new_root = NULL;
	struct keyring *renewed, *foreign;

	seal(&a, bytes);
	ck_assert_int_eq(keyring_renew(header, root_key, &new_root), 0);
	ck_assert_int_eq(keyring_new(header, new_root, &renewed), 0);
	ck_assert_int_eq(anchor_codec_open(bytes, sizeof(bytes), renewed, &b), 0);
	ck_assert_uint_eq(b.counter, 9);
	// What was sealed with the new keys is not for a holder of the old ones.
	struct anchor_keys *keys;
	ck_assert_int_eq(anchor_keys_new(renewed, header->epoch, &keys), 0);
	ck_assert_int_eq(anchor_codec_seal(&a, keys, nonces, bytes), 0);
	anchor_keys_free(keys);
	ck_assert_int_eq(anchor_codec_open(bytes, sizeof(bytes), ring, &b), WERR_AUTH);
	// But it says that it is of later ones, as long as both pages do.
	ck_assert_uint_eq(anchor_codec_epoch(bytes, sizeof(bytes)), 2);
	ck_assert_uint_eq(anchor_codec_epoch(bytes, sizeof(bytes) - 1), 0);
	bytes[16] ^= 1;
	ck_assert_uint_eq(anchor_codec_epoch(bytes, sizeof(bytes)), 0);
	bytes[16] ^= 1;
	ck_assert_int_eq(anchor_codec_open(bytes, sizeof(bytes), renewed, &b), 0);
	ck_assert_int_eq(anchor_keys_new(renewed, 99, &keys), WERR_NOTFOUND);

	// Another vault, whatever its keys: the id is bound.
	header->vault_id[0] ^= 1;
	ck_assert_int_lt(keyring_new(header, new_root, &foreign), 0);
	keyring_free(renewed);
	secret_free(new_root);
}
END_TEST

START_TEST(of_another_vault)
{
	struct anchor_claims a = sample(), b;
	uint8_t bytes[ANCHOR_BYTES];

	seal(&a, bytes);
	teardown();
	setup();
	ck_assert_int_eq(anchor_codec_open(bytes, sizeof(bytes), ring, &b), WERR_AUTH);
}
END_TEST

START_TEST(refuses_what_is_not_canonical)
{
	uint8_t body[ANCHOR_BODY_BYTES];
	struct anchor_claims b;
	static const struct {
		size_t at;
		uint8_t value;
	} bad[] = {
		{19, 1},                    // mount beyond 24 bits
		{20, 3},                    // state
		{76, 1},                    // zero
		{140, 64},                  // length of the machine's name
		{142, '\n'},                // a control byte in it
		{146, 'x'},                 // behind its end
		{204, 1},                   // zero
		{208 + 112, 1},             // a serial without a kind
		{208 + 112 + 72, 1},        // an empty slot's digest
		{208 + 112 + 104, 1},       // and its time
		{208 + 7, 0},               // NUL in a label
		{208 + 70, 1},              // zero
		{ANCHOR_BODY_BYTES - 1, 1}, // behind everything
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct anchor_claims a = sample();

		ck_assert_int_eq(anchor_body_encode(&a, body), 0);
		ck_assert_int_eq(anchor_body_decode(body, &b), 0);
		body[bad[i].at] = bad[i].value;
		ck_assert_msg(anchor_body_decode(body, &b) == WERR_MALFORMED, "byte %zu",
			      bad[i].at);
	}
	struct anchor_claims a = sample();
	a.state = 9;
	ck_assert_int_eq(anchor_body_encode(&a, body), WERR_INVALID);
	a = sample();
	a.journal_mount = 0;
	ck_assert_int_eq(anchor_body_encode(&a, body), WERR_INVALID);
}
END_TEST

// Sealing a slot again for a new root key is no change of it; another label or secret is.
START_TEST(slot_digest)
{
	struct anchor_slot a, b;
	uint8_t *new_root = NULL;

	ck_assert_int_eq(anchor_codec_slot(header->slots[0], &a), 0);
	ck_assert_int_eq(keyring_renew(header, root_key, &new_root), 0);
	ck_assert_int_eq(anchor_codec_slot(header->slots[0], &b), 0);
	ck_assert_mem_eq(&a, &b, sizeof(a));
	header->slots[0][17] = 'L';
	ck_assert_int_eq(anchor_codec_slot(header->slots[0], &b), 0);
	ck_assert_mem_ne(a.digest, b.digest, sizeof(a.digest));
	secret_free(new_root);
}
END_TEST

START_TEST(name)
{
	char a[ANCHOR_NAME_BYTES], b[ANCHOR_NAME_BYTES];

	anchor_codec_name(header->vault_id, a);
	ck_assert_uint_eq(strlen(a), 32);
	header->vault_id[15] ^= 1;
	anchor_codec_name(header->vault_id, b);
	ck_assert_str_ne(a, b);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("anchor_codec");
	TCase *tc = tcase_create("anchor_codec");

	if (secret_init())
		return EXIT_FAILURE;
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, round_trip);
	tcase_add_test(tc, every_byte_counts);
	tcase_add_test(tc, other_keys);
	tcase_add_test(tc, of_another_vault);
	tcase_add_test(tc, refuses_what_is_not_canonical);
	tcase_add_test(tc, slot_digest);
	tcase_add_test(tc, name);
	tcase_set_timeout(tc, 60);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
