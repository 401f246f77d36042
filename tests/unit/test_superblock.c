// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "crypto/secret.h"
#include "crypto/superblock.h"
#include "crypto/superblock_body.h"
#include "tests/unit/fixture.h"
#include "tests/unit/unit_main.h"

static struct gcm_key *key;
static uint8_t vault_id[VAULT_ID_BYTES];
static uint8_t nonce[GCM_NONCE_BYTES];

static void setup(void)
{
	uint8_t raw[GCM_KEY_BYTES];

	fixture_count(raw, sizeof(raw), 0x10);
	fixture_count(vault_id, sizeof(vault_id), 0x40);
	fixture_count(nonce, sizeof(nonce), 0x60);
	key = gcm_key_new(raw);
	ck_assert_ptr_nonnull(key);
}

static void teardown(void)
{
	gcm_key_free(key);
}

static struct superblock sample(void)
{
	struct superblock s = {.mount = 7,
			       .k = 11,
			       .s = 13,
			       .tail = 8200,
			       .root_generation = 17,
			       .journal_bytes = 1 << 20,
			       .counter = 19};

	fixture_count(s.salt, sizeof(s.salt), 1);
	fixture_count(s.previous_tag, sizeof(s.previous_tag), 0x90);
	return s;
}

START_TEST(round_trip)
{
	struct superblock s = sample();
	struct superblock out;
	uint8_t block[SUPERBLOCK_BYTES];
	uint8_t again[SUPERBLOCK_BYTES];

	for (uint32_t n = 0; n < 2; n++) {
		ck_assert_int_eq(superblock_seal(&s, key, vault_id, n, nonce, block), 0);
		ck_assert_int_eq(superblock_open(block, key, vault_id, n, &out), 0);
		ck_assert_uint_eq(out.tail, 8200);
		ck_assert_uint_eq(out.counter, 19);
		ck_assert_int_eq(superblock_seal(&out, key, vault_id, n, nonce, again), 0);
		ck_assert_mem_eq(block, again, SUPERBLOCK_BYTES);
		// The other block, or the other vault, does not take it.
		ck_assert_int_eq(superblock_open(block, key, vault_id, 1 - n, &out), WERR_AUTH);
		vault_id[0] ^= 1;
		ck_assert_int_eq(superblock_open(block, key, vault_id, n, &out), WERR_AUTH);
		vault_id[0] ^= 1;
	}
	ck_assert_int_eq(superblock_seal(&s, key, vault_id, 2, nonce, block), WERR_INVALID);
}
END_TEST

START_TEST(layout)
{
	struct superblock s = sample();
	uint8_t block[SUPERBLOCK_BYTES];
	uint8_t body[SUPERBLOCK_BODY_BYTES];
	uint8_t plain[SUPERBLOCK_BODY_BYTES];
	uint8_t aad[36];

	ck_assert_int_eq(superblock_body_encode(&s, body), 0);
	ck_assert_mem_eq(body, "\x07\0\0\0\0\0\0\0\x0b\0\0\0\0\0\0\0\x0d\0\0\0\0\0\0\0", 24);
	ck_assert_mem_eq(body + 24, "\x08\x20\0\0\0\0\0\0\x01\x02", 10);
	ck_assert_mem_eq(body + 64, s.previous_tag, 16);
	ck_assert_mem_eq(body + 80, "\x11\0\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\x13\0\0\0\0\0\0\0", 24);
	ck_assert_int_eq(superblock_seal(&s, key, vault_id, 1, nonce, block), 0);
	ck_assert_mem_eq(block, "WARDJNL\x01\x07\0\0\0\0\0\0\0", 16);
	ck_assert_mem_eq(block + 16, nonce, 12);
	memcpy(aad, block, 16);
	memcpy(aad + 16, vault_id, 16);
	memcpy(aad + 32, "\x01\0\0\0", 4);
	ck_assert_int_eq(gcm_open(key, nonce, aad, sizeof(aad), block + 64, 256, plain, block + 28),
			 0);
	ck_assert_mem_eq(plain, body, sizeof(body));
}
END_TEST

// Every byte of the block counts.
START_TEST(changed_bytes)
{
	struct superblock s = sample();
	struct superblock out = {.counter = 4711};
	uint8_t block[SUPERBLOCK_BYTES];

	ck_assert_int_eq(superblock_seal(&s, key, vault_id, 0, nonce, block), 0);
	for (size_t at = 0; at < SUPERBLOCK_BYTES; at++) {
		block[at] ^= 0x20;
		int rc = superblock_open(block, key, vault_id, 0, &out);
		int reserved =
			at < 8 || (at >= 12 && at < 16) || (at >= 44 && at < 64) || at >= 320;
		ck_assert_int_eq(rc, reserved ? WERR_MALFORMED : WERR_AUTH);
		block[at] ^= 0x20;
	}
	ck_assert_uint_eq(out.counter, 4711);
	ck_assert_int_eq(superblock_open(block, key, vault_id, 0, &out), 0);
}
END_TEST

static const struct {
	const char *what;
	size_t at;
	uint8_t value;
} bad_bodies[] = {
	{"mount beyond 24 bits", 3, 1},
	{"reserved word", 4, 1},
	{"reserved word, end", 7, 1},
	{"tail unaligned", 24, 9},
	{"tail in the superblocks", 25, 0x1f},
	{"tail behind the journal", 26, 0x11},
	{"journal not whole blocks", 89, 0x01},
	{"reserved", 104, 1},
	{"reserved, end", 255, 1},
	{"a tag before the first record", 16, 0},
};

START_TEST(body_refusals)
{
	struct superblock s = sample();
	struct superblock out = {.counter = 4711};
	uint8_t body[SUPERBLOCK_BODY_BYTES];

	ck_assert_int_eq(superblock_body_encode(&s, body), 0);
	body[bad_bodies[_i].at] = bad_bodies[_i].value;
	ck_assert_msg(superblock_body_decode(body, &out) == WERR_MALFORMED, "%s",
		      bad_bodies[_i].what);
	ck_assert_uint_eq(out.counter, 4711);
}
END_TEST

START_TEST(seal_refusals)
{
	struct superblock rows[] = {sample(), sample(), sample(), sample()};
	uint8_t block[SUPERBLOCK_BYTES];

	rows[0].mount = 1 << 24;
	rows[1].tail = 8201;
	rows[2].journal_bytes += 8;
	rows[3].s = 0;
	ck_assert_int_eq(superblock_seal(&rows[_i], key, vault_id, 0, nonce, block), WERR_INVALID);
}
END_TEST

// Authentic, but the clear mount number is not the sealed one.
START_TEST(two_mounts)
{
	struct superblock s = sample();
	struct superblock out;
	uint8_t block[SUPERBLOCK_BYTES];
	uint8_t body[SUPERBLOCK_BODY_BYTES];
	uint8_t aad[36];

	ck_assert_int_eq(superblock_seal(&s, key, vault_id, 0, nonce, block), 0);
	s.mount = 8;
	ck_assert_int_eq(superblock_body_encode(&s, body), 0);
	memcpy(aad, block, 16);
	memcpy(aad + 16, vault_id, 16);
	memset(aad + 32, 0, 4);
	nonce[0] ^= 1;
	memcpy(block + 16, nonce, 12);
	ck_assert_int_eq(gcm_seal(key, nonce, aad, sizeof(aad), body, 256, block + 64, block + 28),
			 0);
	ck_assert_int_eq(superblock_open(block, key, vault_id, 0, &out), WERR_MALFORMED);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("superblock");
	TCase *tc = tcase_create("superblock");

	if (secret_init() < 0)
		return EXIT_FAILURE;
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, round_trip);
	tcase_add_test(tc, layout);
	tcase_add_test(tc, changed_bytes);
	tcase_add_loop_test(tc, body_refusals, 0, sizeof(bad_bodies) / sizeof(bad_bodies[0]));
	tcase_add_loop_test(tc, seal_refusals, 0, 4);
	tcase_add_test(tc, two_mounts);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
