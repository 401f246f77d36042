// SPDX-License-Identifier: Apache-2.0
#include "crypto/keyslot.h"

#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "crypto/cursor.h"
#include "crypto/rng.h"
#include "crypto/siv.h"
#include "crypto/x25519.h"
#include "key_fixture.h"
#include "unit_main.h"

#define INDEX 3u

static const uint8_t vault_id[VAULT_ID_BYTES] = "a vault's own id";
static const uint8_t other_id[VAULT_ID_BYTES] = "another vault id";
static const uint8_t root[ROOT_KEY_BYTES] = "the root key, 32 bytes, no more";
static const uint8_t next_root[ROOT_KEY_BYTES] = "the next root key, also 32 bytes";

// One slot for "open sesame" and its KEK, made once per test.
static uint8_t slot[KEYSLOT_BYTES];
static uint8_t kek[ARGON_KEK_BYTES];
static uint64_t rng_state;

static void make_slot(void)
{
	struct keyslot_info info = fixture_info(7, "Jörg's laptop");
	struct secret pass = fixture_pass("open sesame");

	rng_state = 1;
	rng_replace(fixture_rng, &rng_state);
	ck_assert_int_eq(keyslot_make(slot, INDEX, vault_id, &info, &pass, root), 0);
	ck_assert_int_eq(keyslot_kek(slot, &pass, kek), 0);
	secret_clear(&pass);
}

static int open_slot(const uint8_t *s, unsigned index, const uint8_t *id, const uint8_t *key)
{
	uint8_t got[ROOT_KEY_BYTES] = {0};
	uint8_t untouched[ROOT_KEY_BYTES] = {0};
	int err = keyslot_open(s, index, id, key, got);

	ck_assert(memcmp(got, err ? untouched : root, sizeof got) == 0);
	return err;
}

START_TEST(info_tells_what_was_made)
{
	struct keyslot_info got;

	ck_assert_int_eq(keyslot_info(slot, &got), 0);
	ck_assert_uint_eq(got.kind, KEYSLOT_PASSPHRASE);
	ck_assert_uint_eq(got.serial, 7);
	ck_assert_uint_eq(got.created_s, 1700000000);
	ck_assert_str_eq(got.label, "Jörg's laptop");
	ck_assert_uint_eq(got.kdf.memory_kib, fixture_kdf.memory_kib);
	ck_assert_uint_eq(got.kdf.passes, fixture_kdf.passes);
	ck_assert_uint_eq(got.kdf.lanes, fixture_kdf.lanes);
	le32_put(slot + 4, 0); // serials begin at 1
	ck_assert_int_eq(keyslot_info(slot, &got), WERR_MALFORMED);
}
END_TEST

START_TEST(opens_only_in_its_place)
{
	uint8_t wrong[ARGON_KEK_BYTES];

	memcpy(wrong, kek, sizeof kek);
	wrong[31] ^= 1;
	ck_assert_int_eq(open_slot(slot, INDEX, vault_id, kek), 0);
	ck_assert_int_eq(open_slot(slot, INDEX, vault_id, wrong), WERR_SECRET);
	ck_assert_int_eq(open_slot(slot, INDEX + 1, vault_id, kek), WERR_AUTH);
	ck_assert_int_eq(open_slot(slot, INDEX, other_id, kek), WERR_AUTH);
	ck_assert_int_eq(open_slot(slot, KEYSLOT_MAX, vault_id, kek), WERR_LIMIT);
}
END_TEST

START_TEST(passphrases_are_bytes)
{
	static const char *const wrong[] = {"open sesam", "open sesame ", "Open sesame", "x"};
	uint8_t got[ARGON_KEK_BYTES];

	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		struct secret pass = fixture_pass(wrong[i]);
		ck_assert_int_eq(keyslot_kek(slot, &pass, got), 0);
		ck_assert_int_eq(open_slot(slot, INDEX, vault_id, got), WERR_SECRET);
		secret_clear(&pass);
	}
	struct secret nul = {NULL, 0};
	ck_assert_int_eq(secret_copy(&nul, "open sesame\0", 12), 0);
	ck_assert_int_eq(keyslot_kek(slot, &nul, got), 0);
	ck_assert_int_eq(open_slot(slot, INDEX, vault_id, got), WERR_SECRET);
	secret_clear(&nul);
}
END_TEST

START_TEST(empty_passphrase_is_none)
{
	struct keyslot_info info = fixture_info(1, "");
	struct secret empty = fixture_pass("");
	uint8_t before[KEYSLOT_BYTES];
	uint8_t got[ARGON_KEK_BYTES];

	memcpy(before, slot, sizeof slot);
	ck_assert_int_eq(keyslot_make(slot, 0, vault_id, &info, &empty, root), WERR_INVALID);
	ck_assert(memcmp(before, slot, sizeof slot) == 0);
	ck_assert_int_eq(keyslot_kek(slot, &empty, got), WERR_SECRET);
	secret_clear(&empty);
}
END_TEST

// What the change of one byte anywhere in [from, to) leads to, the right KEK given.
static const struct {
	size_t from, to;
	int err, also; // one of these
} regions[] = {
	{0, 2, WERR_UNSUPPORTED, WERR_MALFORMED}, // kind; 1 -> 0: an empty slot that is not empty
	{2, 4, WERR_MALFORMED, WERR_MALFORMED},   // flags
	{4, 8, WERR_AUTH, WERR_MALFORMED},        // serial; 0 is none
	{8, 16, 0, 0},                            // creation time: the header's MAC covers it
	{16, 80, WERR_AUTH, WERR_MALFORMED},      // label
	{80, 92, WERR_AUTH, WERR_LIMIT},          // memory, passes, lanes
	{92, 96, WERR_UNSUPPORTED, WERR_UNSUPPORTED}, // Argon2 version
	{96, 128, WERR_SECRET, WERR_SECRET},          // salt: another commitment
	{128, 160, WERR_SECRET, WERR_SECRET},         // commitment
	{160, 400, WERR_AUTH, WERR_AUTH},             // everything sealed, both public keys
	{400, KEYSLOT_BYTES, WERR_MALFORMED, WERR_MALFORMED},
};

START_TEST(no_byte_can_be_changed)
{
	for (size_t r = 0; r < sizeof regions / sizeof regions[0]; r++) {
		for (size_t at = regions[r].from; at < regions[r].to; at++) {
			for (unsigned bit = 0; bit < 8; bit += 7) {
				slot[at] ^= (uint8_t)(1u << bit);
				int err = open_slot(slot, INDEX, vault_id, kek);
				ck_assert_msg(err == regions[r].err || err == regions[r].also,
					      "byte %zu: %s", at, werr_text(err));
				slot[at] ^= (uint8_t)(1u << bit);
			}
		}
	}
}
END_TEST

START_TEST(commitment_comes_before_unwrapping)
{
	slot[128] ^= 1;
	for (size_t at = 160; at < 400; at++)
		slot[at] = 0xff;
	ck_assert_int_eq(open_slot(slot, INDEX, vault_id, kek), WERR_SECRET);
}
END_TEST

static const struct {
	uint32_t memory_kib, passes, lanes, version;
	int err;
} bounds[] = {
	{8192, 1, 1, 0x13, 0},
	{8191, 1, 1, 0x13, WERR_LIMIT},
	{0, 1, 1, 0x13, WERR_LIMIT},
	{4194304, 16, 16, 0x13, 0},
	{4194304, 17, 16, 0x13, WERR_LIMIT}, // memory times passes
	{4194305, 1, 1, 0x13, WERR_LIMIT},
	{UINT32_MAX, 1, 1, 0x13, WERR_LIMIT},
	{8192, 64, 1, 0x13, 0},
	{8192, 65, 1, 0x13, WERR_LIMIT},
	{8192, 0, 1, 0x13, WERR_LIMIT},
	{8192, UINT32_MAX, 1, 0x13, WERR_LIMIT},
	{8192, 1, 16, 0x13, 0},
	{8192, 1, 17, 0x13, WERR_LIMIT},
	{8192, 1, 0, 0x13, WERR_LIMIT},
	{8192, 1, 1, 0x10, WERR_UNSUPPORTED},
	{8192, 1, 1, 0, WERR_UNSUPPORTED},
};

START_TEST(kdf_is_bounded_before_use)
{
	struct secret pass = fixture_pass("open sesame");
	struct keyslot_info info;
	uint8_t got[ARGON_KEK_BYTES] = {0};

	le32_put(slot + 80, bounds[_i].memory_kib);
	le32_put(slot + 84, bounds[_i].passes);
	le32_put(slot + 88, bounds[_i].lanes);
	le32_put(slot + 92, bounds[_i].version);
	ck_assert_int_eq(keyslot_info(slot, &info), bounds[_i].err);
	if (bounds[_i].err) {
		uint8_t zero[ARGON_KEK_BYTES] = {0};
		ck_assert_int_eq(keyslot_kek(slot, &pass, got), bounds[_i].err);
		ck_assert(memcmp(got, zero, sizeof got) == 0);
		ck_assert_int_eq(open_slot(slot, INDEX, vault_id, kek), bounds[_i].err);
	}
	if (bounds[_i].err == WERR_LIMIT) {
		info = fixture_info(1, "");
		info.kdf.memory_kib = bounds[_i].memory_kib;
		info.kdf.passes = bounds[_i].passes;
		info.kdf.lanes = bounds[_i].lanes;
		ck_assert_int_eq(keyslot_make(slot, 0, vault_id, &info, &pass, root), WERR_LIMIT);
	}
	secret_clear(&pass);
}
END_TEST

START_TEST(labels_are_printable)
{
	static const struct {
		const char *bytes;
		uint8_t len;
		int err;
	} cases[] = {
		{"", 0, 0},
		{"work", 4, 0},
		{"a\x1b[2J", 5, WERR_MALFORMED},
		{"a\nb", 3, WERR_MALFORMED},
		{"a\x7f", 2, WERR_MALFORMED},
		{"a\0b", 3, WERR_MALFORMED},
		{"work", 3, WERR_MALFORMED}, // rest behind the label
		{"work", 5, WERR_MALFORMED}, // NUL in the label
		{"work", 64, WERR_MALFORMED},
		{"work", 255, WERR_MALFORMED},
	};
	struct keyslot_info info;

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		memset(slot + 16, 0, 64);
		slot[16] = cases[i].len;
		memcpy(slot + 17, cases[i].bytes, cases[i].len < 6 ? cases[i].len : 4);
		if (strcmp(cases[i].bytes, "work") == 0)
			memcpy(slot + 17, "work", 4);
		ck_assert_msg(keyslot_info(slot, &info) == cases[i].err, "case %zu", i);
	}
	memset(slot + 16, 'x', 64);
	slot[16] = 63;
	ck_assert_int_eq(keyslot_info(slot, &info), 0);
	ck_assert_uint_eq(strlen(info.label), 63);
}
END_TEST

START_TEST(make_refuses_what_info_would)
{
	struct secret pass = fixture_pass("open sesame");
	struct keyslot_info ok = fixture_info(1, "x");
	struct keyslot_info bad[4] = {ok, ok, ok, ok};
	uint8_t before[KEYSLOT_BYTES];

	bad[0].serial = 0;
	bad[1].kind = KEYSLOT_EMPTY;
	bad[2].label[0] = '\r';
	memset(bad[3].label, 'x', sizeof bad[3].label);
	memcpy(before, slot, sizeof slot);
	for (size_t i = 0; i < 4; i++)
		ck_assert_int_eq(keyslot_make(slot, 0, vault_id, &bad[i], &pass, root),
				 WERR_INVALID);
	ck_assert_int_eq(keyslot_make(slot, KEYSLOT_MAX, vault_id, &ok, &pass, root), WERR_LIMIT);
	ck_assert(memcmp(before, slot, sizeof slot) == 0);
	secret_clear(&pass);
}
END_TEST

START_TEST(empty_slot_is_zero)
{
	struct secret pass = fixture_pass("open sesame");
	struct keyslot_info info;

	memset(slot, 0, sizeof slot);
	ck_assert_int_eq(keyslot_info(slot, &info), 0);
	ck_assert_uint_eq(info.kind, KEYSLOT_EMPTY);
	ck_assert_int_eq(keyslot_kek(slot, &pass, kek), WERR_NOTFOUND);
	ck_assert_int_eq(open_slot(slot, 0, vault_id, kek), WERR_NOTFOUND);
	ck_assert_int_eq(keyslot_reseal(slot, 0, vault_id, root, next_root), WERR_NOTFOUND);
	for (size_t at = 2; at < sizeof slot; at++) {
		slot[at] = 1;
		ck_assert_int_eq(keyslot_info(slot, &info), WERR_MALFORMED);
		slot[at] = 0;
	}
	secret_clear(&pass);
}
END_TEST

START_TEST(reseal_needs_no_secret)
{
	uint8_t before[KEYSLOT_BYTES];
	uint8_t got[ROOT_KEY_BYTES];

	memcpy(before, slot, sizeof slot);
	ck_assert_int_eq(keyslot_reseal(slot, INDEX, vault_id, root, next_root), 0);
	ck_assert_int_eq(keyslot_open(slot, INDEX, vault_id, kek, got), 0);
	ck_assert(memcmp(got, next_root, sizeof got) == 0);
	// What belongs to the secret stays, what belongs to the root key is new.
	ck_assert(memcmp(slot, before, 272) == 0);
	ck_assert(memcmp(slot + 272, before + 272, 32) != 0);
	ck_assert(memcmp(slot + 304, before + 304, 16) != 0);
	ck_assert(memcmp(slot + 352, before + 352, 16) != 0);
	// And back again, through the new root key only.
	ck_assert_int_eq(keyslot_reseal(slot, INDEX, vault_id, root, root), WERR_AUTH);
	ck_assert_int_eq(keyslot_reseal(slot, INDEX, vault_id, next_root, root), 0);
	ck_assert_int_eq(open_slot(slot, INDEX, vault_id, kek), 0);
	ck_assert(memcmp(slot + 272, before + 272, 32) != 0);
}
END_TEST

// The slot as wardfs-vault(5) describes it, opened by hand.
static size_t aad_by_hand(uint8_t aad[static 156], uint16_t purpose)
{
	memcpy(aad, "wardfs slot 1\0\0\0", 16);
	memcpy(aad + 16, vault_id, 16);
	le32_put(aad + 32, INDEX);
	le32_put(aad + 36, 7); // serial
	le16_put(aad + 40, 1); // kind
	le16_put(aad + 42, purpose);
	if (purpose == 1) {
		memcpy(aad + 44, slot + 16, 112); // label, parameters, salt
		return 156;
	}
	memcpy(aad + 44, slot + 240, 64); // both public keys
	return 108;
}

static void derive_by_hand(const char *label, const uint8_t *ikm, size_t ikm_len,
			   const uint8_t *salt, size_t salt_len, const uint8_t *context,
			   size_t context_len, uint8_t *out, size_t out_len)
{
	uint8_t prk[32], block[32], msg[160];
	size_t n = 0;
	unsigned len = sizeof prk;

	ck_assert_ptr_nonnull(HMAC(EVP_sha256(), salt, (int)salt_len, ikm, ikm_len, prk, &len));
	for (uint8_t i = 1; n < out_len; i++) {
		size_t m = i > 1 ? 32 : 0;
		memcpy(msg, block, m);
		memcpy(msg + m, label, strlen(label));
		m += strlen(label);
		if (context_len)
			memcpy(msg + m, context, context_len);
		m += context_len;
		msg[m++] = i;
		ck_assert_ptr_nonnull(HMAC(EVP_sha256(), prk, 32, msg, m, block, &len));
		memcpy(out + n, block, 32);
		n += 32;
	}
}

START_TEST(slot_follows_the_format)
{
	uint8_t key[64], pair[64], ikm[64], psk[32], got[32], aad[156];

	derive_by_hand("wardfs 1 kek commit", kek, 32, slot + 96, 32, NULL, 0, got, 32);
	ck_assert(memcmp(got, slot + 128, 32) == 0);
	derive_by_hand("wardfs 1 kek wrap", kek, 32, slot + 96, 32, NULL, 0, key, 64);
	ck_assert_int_eq(siv_unwrap(key, aad, aad_by_hand(aad, 1), slot + 160, 64, pair), 0);
	ck_assert_int_eq(x25519_public(pair, got), 0);
	ck_assert(memcmp(got, slot + 240, 32) == 0);
	ck_assert_int_eq(x25519_shared(pair, slot + 272, ikm), 0);
	memcpy(ikm + 32, pair + 32, 32);
	derive_by_hand("wardfs 1 slot root", ikm, 64, vault_id, 16, slot + 240, 64, key, 64);
	ck_assert_int_eq(siv_unwrap(key, aad, aad_by_hand(aad, 2), slot + 304, 32, got), 0);
	ck_assert(memcmp(got, root, 32) == 0);
	derive_by_hand("wardfs 1 psk wrap", root, 32, vault_id, 16, NULL, 0, key, 64);
	ck_assert_int_eq(siv_unwrap(key, aad, aad_by_hand(aad, 3), slot + 352, 32, psk), 0);
	ck_assert(memcmp(psk, pair + 32, 32) == 0);
	// Another pre-shared secret, rightly wrapped: the next reseal would lock this slot's holder
	// out.
	psk[0] ^= 1;
	ck_assert_int_eq(siv_wrap(key, aad, aad_by_hand(aad, 3), psk, 32, slot + 352), 0);
	ck_assert_int_eq(open_slot(slot, INDEX, vault_id, kek), WERR_AUTH);
}
END_TEST

START_TEST(reseal_refuses_foreign_slots)
{
	uint8_t before[KEYSLOT_BYTES];

	memcpy(before, slot, sizeof slot);
	ck_assert_int_eq(keyslot_reseal(slot, INDEX, vault_id, next_root, root), WERR_AUTH);
	ck_assert_int_eq(keyslot_reseal(slot, INDEX + 1, vault_id, root, next_root), WERR_AUTH);
	ck_assert_int_eq(keyslot_reseal(slot, INDEX, other_id, root, next_root), WERR_AUTH);
	ck_assert_int_eq(keyslot_reseal(slot, KEYSLOT_MAX, vault_id, root, next_root), WERR_LIMIT);
	ck_assert(memcmp(before, slot, sizeof slot) == 0);
	// A public key of the attacker's choice would get the next root key sealed to it.
	memset(slot + 240, 9, 32);
	ck_assert_int_eq(keyslot_reseal(slot, INDEX, vault_id, root, next_root), WERR_AUTH);
}
END_TEST

START_TEST(old_seal_does_not_fit_a_resealed_slot)
{
	uint8_t before[KEYSLOT_BYTES];

	memcpy(before, slot, sizeof slot);
	ck_assert_int_eq(keyslot_reseal(slot, INDEX, vault_id, root, next_root), 0);
	memcpy(slot + 304, before + 304, 48); // root key of before under the ephemeral key of now
	ck_assert_int_eq(open_slot(slot, INDEX, vault_id, kek), WERR_AUTH);
	memcpy(slot + 272, before + 272, 32); // both of before, the pre-shared secret's wrap of now
	ck_assert_int_eq(open_slot(slot, INDEX, vault_id, kek), WERR_AUTH);
	memcpy(slot + 352, before + 352, 48);
	ck_assert_int_eq(open_slot(slot, INDEX, vault_id, kek), 0);
}
END_TEST

// Same passphrase, same root key: nothing of one slot shows in the other.
START_TEST(slots_share_nothing)
{
	struct keyslot_info info = fixture_info(7, "Jörg's laptop");
	struct secret pass = fixture_pass("open sesame");
	uint8_t other[KEYSLOT_BYTES];

	rng_replace(NULL, NULL);
	ck_assert_int_eq(keyslot_make(other, INDEX, vault_id, &info, &pass, root), 0);
	ck_assert(memcmp(slot, other, 96) == 0);
	for (size_t a = 96; a + 16 <= 400; a++) {
		for (size_t b = 96; b + 16 <= 400; b++)
			ck_assert(memcmp(slot + a, other + b, 16) != 0);
		for (size_t b = a + 1; b + 16 <= 400; b++)
			ck_assert(memcmp(other + a, other + b, 16) != 0);
	}
	static const struct {
		size_t at, len;
	} fields[] = {{96, 32}, {128, 32}, {160, 80}, {240, 32}, {272, 32}, {304, 48}, {352, 48}};
	for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
		ck_assert_msg(fixture_is_random(other + fields[i].at, fields[i].len),
			      "field at %zu", fields[i].at);
	// No secret stands in the clear.
	for (size_t a = 0; a + 8 <= sizeof other; a++) {
		ck_assert(memcmp(other + a, root, 8) != 0);
		ck_assert(memcmp(other + a, pass.bytes, 8) != 0);
	}
	secret_clear(&pass);
}
END_TEST

START_TEST(same_randomness_same_slot)
{
	uint8_t before[KEYSLOT_BYTES];

	memcpy(before, slot, sizeof slot);
	make_slot();
	ck_assert(memcmp(before, slot, sizeof slot) == 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("keyslot");
	TCase *t = tcase_create("keyslot");

	tcase_add_checked_fixture(t, make_slot, NULL);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, info_tells_what_was_made);
	tcase_add_test(t, opens_only_in_its_place);
	tcase_add_test(t, passphrases_are_bytes);
	tcase_add_test(t, empty_passphrase_is_none);
	tcase_add_test(t, no_byte_can_be_changed);
	tcase_add_test(t, commitment_comes_before_unwrapping);
	tcase_add_loop_test(t, kdf_is_bounded_before_use, 0, sizeof bounds / sizeof bounds[0]);
	tcase_add_test(t, labels_are_printable);
	tcase_add_test(t, make_refuses_what_info_would);
	tcase_add_test(t, empty_slot_is_zero);
	tcase_add_test(t, slot_follows_the_format);
	tcase_add_test(t, reseal_needs_no_secret);
	tcase_add_test(t, reseal_refuses_foreign_slots);
	tcase_add_test(t, old_seal_does_not_fit_a_resealed_slot);
	tcase_add_test(t, slots_share_nothing);
	tcase_add_test(t, same_randomness_same_slot);
	suite_add_tcase(s, t);
	return unit_main(s);
}
