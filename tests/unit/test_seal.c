// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "crypto/cursor.h"
#include "crypto/rng.h"
#include "crypto/seal.h"
#include "crypto/secret.h"
#include "tests/unit/fixture.h"
#include "tests/unit/unit_main.h"

static struct gcm_key *key;
static uint8_t raw[GCM_KEY_BYTES];
static uint8_t nonce[GCM_NONCE_BYTES];
static uint8_t plain[WARD_PAGE];
static uint8_t cipher[WARD_PAGE];
static uint8_t out[WARD_PAGE];

static void setup(void)
{
	fixture_count(raw, sizeof(raw), 0x10);
	fixture_count(nonce, sizeof(nonce), 0x80);
	fixture_count(plain, sizeof(plain), 0);
	key = gcm_key_new(raw);
	ck_assert_ptr_nonnull(key);
}

static void teardown(void)
{
	gcm_key_free(key);
}

static struct seal sealed(uint32_t level, uint64_t index, uint16_t generation)
{
	struct seal s;

	ck_assert_int_eq(seal_page(key, generation, level, index, nonce, plain, cipher, &s), 0);
	return s;
}

START_TEST(round_trip)
{
	static const struct {
		uint32_t level;
		uint64_t index;
		uint16_t generation;
	} rows[] = {{0, 0, 1}, {0, UINT64_MAX, 65535}, {5, 80, 2}, {LEVEL_XATTR, 15, 7}};

	struct seal s = sealed(rows[_i].level, rows[_i].index, rows[_i].generation);
	ck_assert_int_eq(seal_check(&s), 0);
	ck_assert_uint_eq(seal_generation(&s), rows[_i].generation);
	ck_assert_mem_ne(plain, cipher, 64);
	ck_assert_int_eq(seal_open(key, &s, rows[_i].level, rows[_i].index, cipher, out), 0);
	ck_assert_mem_eq(plain, out, WARD_PAGE);
}
END_TEST

START_TEST(in_place)
{
	struct seal a = sealed(0, 3, 1);
	struct seal b;

	memcpy(out, plain, WARD_PAGE);
	ck_assert_int_eq(seal_page(key, 1, 0, 3, nonce, out, out, &b), 0);
	ck_assert_mem_eq(out, cipher, WARD_PAGE);
	ck_assert(seal_equal(&a, &b));
	ck_assert_int_eq(seal_open(key, &b, 0, 3, out, out), 0);
	ck_assert_mem_eq(out, plain, WARD_PAGE);
}
END_TEST

// The layout of the seal and of its associated data, written out by hand.
START_TEST(layout)
{
	static const uint8_t aad[16] = {0x80, 0, 0, 0, 0x02, 0x01, 0, 0, 15, 0, 0, 0, 0, 0, 0, 0};
	uint8_t tag[GCM_TAG_BYTES];
	struct seal s = sealed(LEVEL_XATTR, 15, 0x0102);

	ck_assert_int_eq(gcm_seal(key, nonce, aad, sizeof(aad), plain, WARD_PAGE, out, tag), 0);
	ck_assert_mem_eq(out, cipher, WARD_PAGE);
	ck_assert_mem_eq(s.b, nonce, 12);
	ck_assert_mem_eq(s.b + 12, tag, 16);
	ck_assert_mem_eq(s.b + 28, "\x02\x01\0\0", 4);
}
END_TEST

// Every bit of the seal, and a bit of every 64th byte of the page, counts; the refusal wipes the
// output.
START_TEST(changed_bits)
{
	static const uint8_t zero[WARD_PAGE];
	const struct seal good = sealed(0, 9, 1);

	for (size_t bit = 0; bit < SEAL_BYTES * 8; bit++) {
		struct seal s = good;
		s.b[bit / 8] ^= (uint8_t)(1u << bit % 8);
		memset(out, 0xaa, sizeof(out));
		int rc = seal_open(key, &s, 0, 9, cipher, out);
		// Flags, and the generation become 0, are refused before anything is decrypted.
		if (bit >= 30 * 8 || bit == 28 * 8) {
			ck_assert_int_eq(rc, WERR_MALFORMED);
			ck_assert_int_eq(seal_check(&s), WERR_MALFORMED);
		} else {
			ck_assert_int_eq(rc, WERR_AUTH);
			ck_assert_mem_eq(out, zero, WARD_PAGE);
		}
	}
	for (size_t at = 0; at < WARD_PAGE; at += 64) {
		cipher[at] ^= 1;
		ck_assert_int_eq(seal_open(key, &good, 0, 9, cipher, out), WERR_AUTH);
		cipher[at] ^= 1;
	}
	ck_assert_int_eq(seal_open(key, &good, 0, 9, cipher, out), 0);
}
END_TEST

START_TEST(moved)
{
	const struct seal s = sealed(0, 9, 1);

	ck_assert_int_eq(seal_open(key, &s, 0, 8, cipher, out), WERR_AUTH);
	ck_assert_int_eq(seal_open(key, &s, 0, 9 | 1ull << 32, cipher, out), WERR_AUTH);
	ck_assert_int_eq(seal_open(key, &s, 1, 9, cipher, out), WERR_AUTH);
	raw[0] ^= 1;
	struct gcm_key *other = gcm_key_new(raw);
	ck_assert_int_eq(seal_open(other, &s, 0, 9, cipher, out), WERR_AUTH);
	gcm_key_free(other);
}
END_TEST

START_TEST(holes)
{
	struct seal s = {{0}};

	ck_assert(seal_is_hole(&s));
	ck_assert_int_eq(seal_check(&s), 0);
	ck_assert_int_eq(seal_open(key, &s, 0, 0, cipher, out), WERR_MALFORMED);
	s.b[0] = 1;
	ck_assert(!seal_is_hole(&s));
	ck_assert_int_eq(seal_check(&s), WERR_MALFORMED);
	s.b[0] = 0;
	s.b[31] = 1;
	ck_assert(!seal_is_hole(&s));
	ck_assert_int_eq(seal_check(&s), WERR_MALFORMED);
	ck_assert_int_eq(seal_page(key, 0, 0, 0, nonce, plain, cipher, &s), WERR_INVALID);
}
END_TEST

// Equal pages under fresh nonces share nothing.
START_TEST(fresh_nonces)
{
	struct seal a;
	struct seal b;
	uint8_t nonces[2][GCM_NONCE_BYTES];

	rng_bytes(nonces, sizeof(nonces));
	ck_assert_mem_ne(nonces[0], nonces[1], GCM_NONCE_BYTES);
	ck_assert_int_eq(seal_page(key, 1, 0, 0, nonces[0], plain, cipher, &a), 0);
	ck_assert_int_eq(seal_page(key, 1, 0, 0, nonces[1], plain, out, &b), 0);
	ck_assert(!seal_equal(&a, &b));
	ck_assert_mem_ne(cipher, out, 32);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("seal");
	TCase *tc = tcase_create("seal");

	if (secret_init() < 0)
		return EXIT_FAILURE;
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, round_trip, 0, 4);
	tcase_add_test(tc, in_place);
	tcase_add_test(tc, layout);
	tcase_add_test(tc, changed_bits);
	tcase_add_test(tc, moved);
	tcase_add_test(tc, holes);
	tcase_add_test(tc, fresh_nonces);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
