// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "crypto/secret.h"
#include "tests/unit/fixture.h"
#include "tests/unit/unit_main.h"

static struct keyring *ring;

static void setup(void)
{
	ring = fixture_keyring();
}

static void teardown(void)
{
	keyring_free(ring);
}

// Whether two expanded keys are the same key: they seal alike.
static int same_key(const struct gcm_key *a, const struct gcm_key *b)
{
	static const uint8_t nonce[GCM_NONCE_BYTES];
	uint8_t tags[2][GCM_TAG_BYTES];
	uint8_t text[2][16] = {{0}, {0}};

	ck_assert_int_eq(gcm_seal(a, nonce, "", 0, text[0], 16, text[0], tags[0]), 0);
	ck_assert_int_eq(gcm_seal(b, nonce, "", 0, text[1], 16, text[1], tags[1]), 0);
	return memcmp(tags[0], tags[1], GCM_TAG_BYTES) == 0;
}

START_TEST(round_trip)
{
	struct object_id id = fixture_id(OBJECT_FILE);
	struct object_keys *a = NULL;
	struct object_keys *b = NULL;
	size_t a_len;
	size_t b_len;

	ck_assert_int_eq(object_keys_new(ring, &id, &a), 0);
	const uint8_t *tlv = object_keys_tlv(a, &a_len);
	ck_assert_uint_eq(a_len, 52 + 56);
	ck_assert_int_eq(object_keys_check(tlv, a_len), 0);
	ck_assert_mem_eq(tlv, "\x01\0\x30\0", 4);
	ck_assert_mem_eq(tlv + 52, "\x02\0\x34\0\x01\0\0\0", 8);
	ck_assert_int_eq(object_keys_unwrap(ring, &id, tlv, a_len, &b), 0);
	ck_assert_mem_eq(object_keys_tlv(b, &b_len), tlv, a_len);
	ck_assert_uint_eq(b_len, a_len);
	ck_assert_uint_eq(object_keys_newest(b), 1);
	ck_assert(same_key(object_keys_header(a), object_keys_header(b)));
	ck_assert(same_key(object_keys_data(a, 1), object_keys_data(b, 1)));
	ck_assert(!same_key(object_keys_header(a), object_keys_data(a, 1)));
	ck_assert_ptr_null(object_keys_data(a, 0));
	ck_assert_ptr_null(object_keys_data(a, 2));
	object_keys_free(a);
	object_keys_free(b);
	object_keys_free(NULL);
}
END_TEST

// What a wrapped key is bound to, and the raw keys: written out by hand.
START_TEST(layout)
{
	struct object_id id = fixture_id(OBJECT_DIR);
	struct object_keys *keys = NULL;
	uint8_t aad[60] = "wardfs wrap 1";
	uint8_t raw[GCM_KEY_BYTES];
	uint8_t drawn[2 * GCM_KEY_BYTES];
	uint64_t state = 1;
	size_t len;

	fixture_rng(&state, drawn, sizeof(drawn));
	state = 1;
	rng_replace(fixture_rng, &state);
	ck_assert_int_eq(object_keys_new(ring, &id, &keys), 0);
	rng_replace(NULL, NULL);
	fixture_count(aad + 16, 16, 0x40);
	memcpy(aad + 32, "\xf0\xde\xbc\x9a\x78\x56\x34\x12\x10\x32\x54\x76\x98\xba\xdc\xfe", 16);
	memcpy(aad + 48, "\x02\0\x01\0\x02\0\0\0\x01\0\0\0", 12);
	const uint8_t *tlv = object_keys_tlv(keys, &len);
	const uint8_t *master = keyring_master(ring, 1, 2);
	ck_assert_ptr_nonnull(master);
	ck_assert_int_eq(siv_unwrap(master, aad, 60, tlv + 4, 32, raw), 0);
	ck_assert_mem_eq(raw, drawn, 32);
	memcpy(aad + 56, "\x02\0\x01\0", 4);
	ck_assert_int_eq(siv_unwrap(master, aad, 60, tlv + 60, 32, raw), 0);
	ck_assert_mem_eq(raw, drawn + 32, 32);
	object_keys_free(keys);
}
END_TEST

START_TEST(fresh_keys_differ)
{
	struct object_id id = fixture_id(OBJECT_FILE);
	struct object_keys *a = NULL;
	struct object_keys *b = NULL;

	ck_assert_int_eq(object_keys_new(ring, &id, &a), 0);
	ck_assert_int_eq(object_keys_new(ring, &id, &b), 0);
	ck_assert(!same_key(object_keys_header(a), object_keys_header(b)));
	ck_assert(!same_key(object_keys_data(a, 1), object_keys_data(b, 1)));
	object_keys_free(a);
	object_keys_free(b);
}
END_TEST

START_TEST(another_object)
{
	struct object_id ids[6];
	struct object_keys *a = NULL;
	struct object_keys *b = NULL;
	size_t len;

	for (int i = 0; i < 6; i++)
		ids[i] = fixture_id(OBJECT_FILE);
	ids[0].number ^= 1;
	ids[1].incarnation ^= 1;
	ids[2].type = OBJECT_DIR;
	ids[3].epoch = 1;
	ids[4].epoch = 3; // no such master key
	ids[5].class_ = 2;
	struct object_id id = fixture_id(OBJECT_FILE);
	ck_assert_int_eq(object_keys_new(ring, &id, &a), 0);
	const uint8_t *tlv = object_keys_tlv(a, &len);
	ck_assert_int_eq(object_keys_unwrap(ring, &ids[_i], tlv, len, &b), WERR_AUTH);
	ck_assert_ptr_null(b);
	if (_i >= 4)
		ck_assert_int_eq(object_keys_new(ring, &ids[_i], &b), WERR_AUTH);
	object_keys_free(a);
}
END_TEST

START_TEST(bad_ids)
{
	struct object_id ids[4];
	struct object_keys *keys = NULL;

	for (int i = 0; i < 4; i++)
		ids[i] = fixture_id(OBJECT_FILE);
	ids[0].number = 0;
	ids[1].number |= 1ull << 63;
	ids[2].incarnation = 0;
	ids[3].epoch = 0;
	ck_assert_int_eq(object_keys_new(ring, &ids[_i], &keys), WERR_INVALID);
	ck_assert_ptr_null(keys);
}
END_TEST

START_TEST(changed_bytes)
{
	struct object_id id = fixture_id(OBJECT_FILE);
	struct object_keys *a = NULL;
	struct object_keys *b = NULL;
	uint8_t tlv[OBJECT_KEYS_TLV_MAX];
	size_t len;

	ck_assert_int_eq(object_keys_new(ring, &id, &a), 0);
	const uint8_t *good = object_keys_tlv(a, &len);
	ck_assert_uint_eq(len, 108);
	memcpy(tlv, good, len);
	object_keys_free(a);
	for (size_t at = 0; at < len; at++) {
		tlv[at] ^= 0x40;
		int rc = object_keys_unwrap(ring, &id, tlv, len, &b);
		// Kind, length and the reserved half-word are structure; the generation and the
		// wraps are authenticated.
		int structure_only = at < 4 || (at >= 52 && at < 56) || (at >= 58 && at < 60);
		ck_assert(structure_only ? rc == WERR_MALFORMED || rc == WERR_UNSUPPORTED
					 : rc == WERR_AUTH);
		ck_assert_ptr_null(b);
		tlv[at] ^= 0x40;
	}
	// The two wraps do not take each other's place.
	uint8_t swap[48];
	memcpy(swap, tlv + 4, 48);
	memcpy(tlv + 4, tlv + 60, 48);
	memcpy(tlv + 60, swap, 48);
	ck_assert_int_eq(object_keys_unwrap(ring, &id, tlv, len, &b), WERR_AUTH);
}
END_TEST

// Seven generations: every one is found, the last is the newest.
START_TEST(many_generations)
{
	struct object_id id = fixture_id(OBJECT_FILE);
	struct object_keys *keys = NULL;
	uint8_t tlv[OBJECT_KEYS_TLV_MAX];
	uint8_t aad[60] = "wardfs wrap 1";
	uint8_t raw[GCM_KEY_BYTES];
	size_t len = fixture_tlv(tlv, 7);

	ck_assert_uint_eq(len, OBJECT_KEYS_TLV_MAX);
	fixture_count(aad + 16, 16, 0x40);
	le64_put(aad + 32, id.number);
	le64_put(aad + 40, id.incarnation);
	memcpy(aad + 48, "\x01\0\x01\0\x02\0\0\0\x01\0\0\0", 12);
	for (unsigned i = 0; i <= 7; i++) {
		uint8_t *at = tlv + (i == 0 ? 4 : 52 + 56 * (i - 1) + 8);
		fixture_count(raw, sizeof(raw), (uint8_t)(16 * i));
		le16_put(aad + 56, i == 0 ? 1 : 2);
		le16_put(aad + 58, (uint16_t)i);
		ck_assert_int_eq(siv_wrap(keyring_master(ring, 1, 2), aad, 60, raw, 32, at), 0);
	}
	ck_assert_int_eq(object_keys_unwrap(ring, &id, tlv, len, &keys), 0);
	ck_assert_uint_eq(object_keys_newest(keys), 7);
	for (uint16_t i = 1; i <= 7; i++) {
		fixture_count(raw, sizeof(raw), (uint8_t)(16 * i));
		struct gcm_key *key = gcm_key_new(raw);
		ck_assert(same_key(key, object_keys_data(keys, i)));
		gcm_key_free(key);
	}
	ck_assert_ptr_null(object_keys_data(keys, 8));
	object_keys_free(keys);
}
END_TEST

// A new epoch: the header key is another one, what was sealed before still opens, what comes next
// is under a key that the old master never wrapped.
START_TEST(renewed)
{
	struct object_id id = fixture_id(OBJECT_FILE);
	struct object_id next = id;
	struct object_keys *old = NULL;
	struct object_keys *made = NULL;
	struct object_keys *back = NULL;
	size_t len;

	id.epoch = 1;
	next.epoch = 2;
	ck_assert_int_eq(object_keys_new(ring, &id, &old), 0);
	ck_assert_int_eq(object_keys_renew(ring, &id, old, 2, &made), 0);
	const uint8_t *tlv = object_keys_tlv(made, &len);
	ck_assert_uint_eq(len, 52 + 2 * 56);
	ck_assert_int_eq(object_keys_check(tlv, len), 0);
	ck_assert_int_eq(object_keys_unwrap(ring, &id, tlv, len, &back), WERR_AUTH);
	ck_assert_int_eq(object_keys_unwrap(ring, &next, tlv, len, &back), 0);
	ck_assert_uint_eq(object_keys_newest(back), 2);
	ck_assert(same_key(object_keys_data(back, 1), object_keys_data(old, 1)));
	ck_assert(same_key(object_keys_data(back, 2), object_keys_data(made, 2)));
	ck_assert(same_key(object_keys_header(back), object_keys_header(made)));
	ck_assert(!same_key(object_keys_header(made), object_keys_header(old)));
	ck_assert(!same_key(object_keys_data(made, 2), object_keys_data(made, 1)));
	ck_assert(!same_key(object_keys_data(made, 2), object_keys_header(made)));
	ck_assert_uint_eq(object_keys_newest(old), 1);
	object_keys_free(old);
	object_keys_free(made);
	object_keys_free(back);
}
END_TEST

// Within one epoch as often as there is room; then the data keys stay and only the header key goes.
START_TEST(trimmed_to_the_newest)
{
	struct object_id id = fixture_id(OBJECT_FILE);
	struct object_keys *keys = NULL;
	struct object_keys *next = NULL;
	struct object_keys *trimmed = NULL;
	size_t len;

	ck_assert_int_eq(object_keys_new(ring, &id, &keys), 0);
	ck_assert_uint_eq(object_keys_count(keys), 1);
	ck_assert_int_eq(object_keys_renew(ring, &id, keys, id.epoch, &next), 0);
	ck_assert_uint_eq(object_keys_count(next), 2);
	ck_assert_int_eq(object_keys_trim(ring, &id, next, &trimmed), 0);
	ck_assert_uint_eq(object_keys_count(trimmed), 1);
	ck_assert_uint_eq(object_keys_newest(trimmed), 2);
	ck_assert_int_eq(object_keys_check(object_keys_tlv(trimmed, &len), 52 + 56), 0);
	ck_assert_uint_eq(len, 52 + 56);
	ck_assert(same_key(object_keys_header(trimmed), object_keys_header(next)));
	ck_assert(same_key(object_keys_data(trimmed, 2), object_keys_data(next, 2)));
	ck_assert_ptr_null(object_keys_data(trimmed, 1));
	object_keys_free(keys);
	object_keys_free(next);
	object_keys_free(trimmed);
}
END_TEST

START_TEST(renewed_until_full)
{
	struct object_id id = fixture_id(OBJECT_FILE);
	struct object_keys *keys = NULL;
	struct object_keys *next = NULL;
	size_t len;

	ck_assert_int_eq(object_keys_new(ring, &id, &keys), 0);
	for (uint16_t i = 2; i <= OBJECT_DATA_KEYS_MAX; i++) {
		ck_assert(!object_keys_full(keys));
		ck_assert_int_eq(object_keys_renew(ring, &id, keys, id.epoch, &next), 0);
		ck_assert_uint_eq(object_keys_newest(next), i);
		object_keys_free(keys);
		keys = next;
	}
	ck_assert(object_keys_full(keys));
	ck_assert_int_eq(object_keys_renew(ring, &id, keys, id.epoch, &next), 0);
	ck_assert_uint_eq(object_keys_newest(next), OBJECT_DATA_KEYS_MAX);
	(void)object_keys_tlv(next, &len);
	ck_assert_uint_eq(len, OBJECT_KEYS_TLV_MAX);
	for (uint16_t i = 1; i <= OBJECT_DATA_KEYS_MAX; i++)
		ck_assert(same_key(object_keys_data(keys, i), object_keys_data(next, i)));
	ck_assert(!same_key(object_keys_header(keys), object_keys_header(next)));
	object_keys_free(keys);
	object_keys_free(next);
}
END_TEST

START_TEST(renew_refusals)
{
	struct object_id id = fixture_id(OBJECT_FILE);
	struct object_id other = id;
	struct object_keys *keys = NULL;
	struct object_keys *next = NULL;

	other.number ^= 1;
	ck_assert_int_eq(object_keys_new(ring, &id, &keys), 0);
	ck_assert_int_eq(object_keys_renew(ring, &id, keys, 0, &next), WERR_INVALID);
	ck_assert_int_eq(object_keys_renew(ring, &id, keys, 3, &next), WERR_AUTH);
	ck_assert_int_eq(object_keys_renew(ring, &other, keys, 2, &next), WERR_AUTH);
	ck_assert_ptr_null(next);
	object_keys_free(keys);
}
END_TEST

// Structure. The area of two data keys: 0 header key, 52 data key 1, 108 data key 2, end 164.
static const struct {
	const char *what;
	size_t at;
	uint16_t value;
	size_t len;
	int rc;
} rows[] = {
	{"whole", 0, 1, 164, 0},
	{"one data key", 0, 1, 108, 0},
	{"generation 65535", 112, 65535, 164, 0},
	{"empty", 0, 1, 0, WERR_MALFORMED},
	{"no data key", 0, 1, 52, WERR_MALFORMED},
	{"cut in a wrap", 0, 1, 163, WERR_MALFORMED},
	{"cut in a TLV header", 0, 1, 111, WERR_MALFORMED},
	{"no header key", 0, 2, 164, WERR_MALFORMED},
	{"kind 0", 0, 0, 164, WERR_MALFORMED},
	{"kind 3", 108, 3, 164, WERR_UNSUPPORTED},
	{"second header key", 108, 1, 164, WERR_MALFORMED},
	{"header key too long", 2, 49, 164, WERR_MALFORMED},
	{"data key too short", 54, 51, 164, WERR_MALFORMED},
	{"generation 0", 56, 0, 164, WERR_MALFORMED},
	{"generations equal", 112, 1, 164, WERR_MALFORMED},
	{"generations descend", 56, 3, 164, WERR_MALFORMED},
	{"reserved", 58, 1, 164, WERR_MALFORMED},
	{"reserved, high byte", 114, 0x100, 164, WERR_MALFORMED},
};

START_TEST(structure)
{
	uint8_t tlv[OBJECT_KEYS_TLV_MAX];

	ck_assert_uint_eq(fixture_tlv(tlv, 2), 164);
	le16_put(tlv + rows[_i].at, rows[_i].value);
	ck_assert_msg(object_keys_check(tlv, rows[_i].len) == rows[_i].rc, "%s", rows[_i].what);
}
END_TEST

START_TEST(structure_too_long)
{
	uint8_t tlv[OBJECT_KEYS_TLV_MAX + 56];

	ck_assert_int_eq(object_keys_check(tlv, fixture_tlv(tlv, 7)), 0);
	memcpy(tlv + OBJECT_KEYS_TLV_MAX, "\x02\0\x34\0\x08\0\0\0", 8);
	memset(tlv + OBJECT_KEYS_TLV_MAX + 8, 1, 48);
	ck_assert_int_eq(object_keys_check(tlv, sizeof(tlv)), WERR_MALFORMED);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("object_keys");
	TCase *tc = tcase_create("object_keys");

	if (secret_init() < 0)
		return EXIT_FAILURE;
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, round_trip);
	tcase_add_test(tc, layout);
	tcase_add_test(tc, fresh_keys_differ);
	tcase_add_loop_test(tc, another_object, 0, 6);
	tcase_add_loop_test(tc, bad_ids, 0, 4);
	tcase_add_test(tc, changed_bytes);
	tcase_add_test(tc, many_generations);
	tcase_add_test(tc, renewed);
	tcase_add_test(tc, trimmed_to_the_newest);
	tcase_add_test(tc, renewed_until_full);
	tcase_add_test(tc, renew_refusals);
	tcase_add_loop_test(tc, structure, 0, sizeof(rows) / sizeof(rows[0]));
	tcase_add_test(tc, structure_too_long);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
