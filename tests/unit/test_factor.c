// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>

#include "crypto/factor.h"
#include "crypto/keyslot.h"
#include "crypto/offer.h"
#include "crypto/recovery.h"
#include "crypto/rng.h"
#include "crypto/text.h"
#include "key_fixture.h"
#include "unit_main.h"

static const uint8_t vault_id[VAULT_ID_BYTES] = "a vault's own id";
static const uint8_t root[ROOT_KEY_BYTES] = "the root key, 32 bytes, no more";

START_TEST(kinds)
{
	enum factor f[FACTORS_IN_KIND];
	unsigned valid = 0;

	for (unsigned kind = 0; kind < 0x10000; kind++) {
		const unsigned n = factor_split((uint16_t)kind, f);
		if (n == 0)
			continue;
		valid++;
		ck_assert_uint_eq(factor_kind(f[0], n > 1 ? f[1] : FACTOR_NONE), kind);
		ck_assert_uint_eq(factor_kind(n > 1 ? f[1] : f[0], n > 1 ? f[0] : FACTOR_NONE),
				  kind);
		ck_assert_int_eq(factor_guessable((uint16_t)kind),
				 factor_in((uint16_t)kind, FACTOR_PASSPHRASE));
	}
	ck_assert_uint_eq(valid, 15); // five alone, ten pairs
	ck_assert_uint_eq(factor_kind(FACTOR_PASSPHRASE, FACTOR_NONE), 1);
	ck_assert_ptr_null(factor_type(FACTOR_NONE));
	ck_assert_ptr_null(factor_type(FACTOR_END));
}
END_TEST

START_TEST(keyfile_bounds)
{
	static const struct {
		uint64_t offset, length;
		int err;
	} rows[] = {
		{0, 0, 0},
		{INT64_MAX, FACTOR_KEYFILE_MAX, 0},
		{1ull << 63, 0, WERR_LIMIT},
		{0, FACTOR_KEYFILE_MAX + 1, WERR_LIMIT},
		{0, UINT64_MAX, WERR_LIMIT},
	};
	uint8_t params[FACTOR_KEYFILE_PARAMS + 1] = {0};
	struct factor_keyfile got;

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const struct factor_keyfile k = {rows[i].offset, rows[i].length};
		factor_keyfile_encode(&k, params);
		ck_assert_int_eq(factor_keyfile_decode(params, FACTOR_KEYFILE_PARAMS, &got),
				 rows[i].err);
	}
	ck_assert_int_eq(factor_keyfile_decode(params, 15, &got), WERR_MALFORMED);
	ck_assert_int_eq(factor_keyfile_decode(params, 17, &got), WERR_MALFORMED);
}
END_TEST

START_TEST(blobs_are_bounded)
{
	static const uint8_t blob[FACTOR_FIDO2_CREDENTIAL_MAX + 1] = {1};
	uint8_t params[2 * FACTOR_FIDO2_CREDENTIAL_MAX];
	struct factor_fido2 fido = {.flags = 3, .credential = blob};
	struct factor_tpm2 tpm = {blob, FACTOR_TPM2_BLOB_MAX, blob, FACTOR_TPM2_BLOB_MAX};
	struct wcursor c;

	for (size_t len = 0; len <= FACTOR_FIDO2_CREDENTIAL_MAX + 1; len++) {
		wcursor_init(&c, params, sizeof params);
		fido.credential_len = len;
		factor_fido2_encode(&c, &fido);
		ck_assert_int_eq(factor_fido2_check(params, c.len),
				 len == 0 || len > FACTOR_FIDO2_CREDENTIAL_MAX ? WERR_MALFORMED
									       : 0);
		ck_assert_int_lt(factor_fido2_check(params, c.len + 1), 0);
		ck_assert_int_lt(factor_fido2_check(params, c.len - 1), 0);
	}
	wcursor_init(&c, params, sizeof params);
	factor_tpm2_encode(&c, &tpm);
	ck_assert_int_eq(factor_tpm2_check(params, c.len), 0);
	le16_put(params, FACTOR_TPM2_BLOB_MAX + 1);
	ck_assert_int_eq(factor_tpm2_check(params, c.len), WERR_MALFORMED);
	le16_put(params, 0);
	ck_assert_int_eq(factor_tpm2_check(params, c.len), WERR_MALFORMED);
}
END_TEST

// A slot for two factors, and offers that hold one, the other, both, or the wrong ones.
START_TEST(both_are_needed)
{
	struct keyslot_info info = fixture_info(9, "two");
	uint8_t slot[KEYSLOT_BYTES], kek[ARGON_KEK_BYTES], got[ROOT_KEY_BYTES];
	uint8_t bytes[FACTOR_PARAMS_MAX], range[FACTOR_KEYFILE_PARAMS] = {0};
	uint8_t key[FACTOR_SECRET_BYTES] = "thirty-two bytes out of a file.";
	struct secret offer = {0};
	struct wcursor c;

	wcursor_init(&c, bytes, sizeof bytes);
	factor_params_put(&c, FACTOR_KEYFILE, range, sizeof range);
	info.kind = factor_kind(FACTOR_KEYFILE, FACTOR_PASSPHRASE);
	info.params = bytes;
	info.params_len = c.len;
	ck_assert_int_eq(offer_add(&offer, FACTOR_PASSPHRASE, NULL, "open sesame", 11), 0);
	ck_assert_int_eq(keyslot_make(slot, 0, vault_id, &info, &offer, root), WERR_INVALID);
	ck_assert_int_eq(offer_add(&offer, FACTOR_KEYFILE, NULL, key, sizeof key), 0);
	ck_assert_int_eq(keyslot_make(slot, 0, vault_id, &info, &offer, root), 0);
	ck_assert_int_eq(keyslot_kek(slot, &offer, kek), 0);
	ck_assert_int_eq(keyslot_open(slot, 0, vault_id, kek, got), 0);
	ck_assert(memcmp(got, root, sizeof got) == 0);
	secret_clear(&offer);
	// The passphrase alone does not even cost the derivation.
	struct secret pass = fixture_pass("open sesame");
	ck_assert_int_eq(keyslot_kek(slot, &pass, kek), WERR_SECRET);
	secret_clear(&pass);
	for (unsigned wrong = 0; wrong < 3; wrong++) {
		key[0] ^= wrong & 1;
		ck_assert_int_eq(offer_add(&offer, FACTOR_KEYFILE, NULL, key, sizeof key), 0);
		ck_assert_int_eq(offer_add(&offer, FACTOR_PASSPHRASE, NULL, "open sesame!",
					   wrong & 2 ? 12 : 11),
				 0);
		ck_assert_int_eq(keyslot_kek(slot, &offer, kek), 0);
		ck_assert_int_eq(keyslot_open(slot, 0, vault_id, kek, got),
				 wrong ? WERR_SECRET : 0);
		secret_clear(&offer);
	}
}
END_TEST

// A secret that was got for one slot is tried at no other: a copy of the header with other
// parameters must not spoil the right one.
START_TEST(offers_are_for_their_slot)
{
	uint8_t mine[OFFER_TAG_BYTES] = "mine", other[OFFER_TAG_BYTES] = "other";
	uint8_t a[FACTOR_SECRET_BYTES] = "a", b[FACTOR_SECRET_BYTES] = "b";
	struct secret offer = {0};
	const uint8_t *got;
	size_t len;

	ck_assert_int_eq(offer_add(&offer, FACTOR_TPM2, other, b, sizeof b), 0);
	ck_assert_int_eq(offer_find(&offer, FACTOR_TPM2, mine, &got, &len), WERR_NOTFOUND);
	ck_assert_int_eq(offer_add(&offer, FACTOR_TPM2, mine, a, sizeof a), 0);
	ck_assert_int_eq(offer_find(&offer, FACTOR_TPM2, mine, &got, &len), 0);
	ck_assert(memcmp(got, a, len) == 0);
	ck_assert_int_eq(offer_find(&offer, FACTOR_FIDO2, mine, &got, &len), WERR_NOTFOUND);
	ck_assert_int_eq(offer_add(&offer, FACTOR_TPM2, NULL, a, 31), WERR_INVALID);
	ck_assert_int_eq(offer_add(&offer, FACTOR_PASSPHRASE, NULL, a, 0), WERR_INVALID);
	ck_assert_int_eq(offer_add(&offer, FACTOR_NONE, NULL, a, 32), WERR_INVALID);
	secret_clear(&offer);
	// A bare passphrase stays what it is.
	struct secret pass = fixture_pass("bare");
	ck_assert_int_eq(offer_find(&pass, FACTOR_PASSPHRASE, mine, &got, &len), 0);
	ck_assert_uint_eq(len, 4);
	ck_assert_int_eq(offer_add(&pass, FACTOR_TPM2, NULL, a, 32), WERR_INVALID);
	secret_clear(&pass);
}
END_TEST

START_TEST(relabel_takes_the_secret)
{
	struct keyslot_info info = fixture_info(9, "before");
	struct secret pass = fixture_pass("open sesame");
	uint8_t slot[KEYSLOT_BYTES], before[KEYSLOT_BYTES];
	uint8_t kek[ARGON_KEK_BYTES], got[ROOT_KEY_BYTES], wrong[ARGON_KEK_BYTES] = {0};

	ck_assert_int_eq(keyslot_make(slot, 0, vault_id, &info, &pass, root), 0);
	ck_assert_int_eq(keyslot_kek(slot, &pass, kek), 0);
	memcpy(before, slot, sizeof slot);
	ck_assert_int_eq(keyslot_relabel(slot, 0, vault_id, wrong, "after"), WERR_SECRET);
	ck_assert_int_eq(keyslot_relabel(slot, 0, vault_id, kek, "a\xc2\x9b"), WERR_INVALID);
	ck_assert_int_eq(keyslot_relabel(slot, 1, vault_id, kek, "after"), WERR_AUTH);
	ck_assert(memcmp(slot, before, sizeof slot) == 0);
	ck_assert_int_eq(keyslot_relabel(slot, 0, vault_id, kek, "after"), 0);
	ck_assert_int_eq(keyslot_info(slot, &info), 0);
	ck_assert_str_eq(info.label, "after");
	ck_assert_int_eq(keyslot_open(slot, 0, vault_id, kek, got), 0);
	ck_assert(memcmp(got, root, sizeof got) == 0);
	secret_clear(&pass);
}
END_TEST

START_TEST(recovery_round_trip)
{
	char text[RECOVERY_TEXT_BYTES], typed[2 * RECOVERY_TEXT_BYTES];
	uint8_t bytes[RECOVERY_BYTES], got[RECOVERY_BYTES];
	unsigned group;

	for (unsigned round = 0; round < 200; round++) {
		rng_bytes(bytes, sizeof bytes);
		ck_assert_int_eq(recovery_encode(bytes, text), 0);
		ck_assert_uint_eq(strlen(text), RECOVERY_TEXT_BYTES - 1);
		size_t n = 0;
		for (size_t i = 0; text[i]; i++) {
			char c = text[i];
			if (c == '-')
				c = round & 1 ? ' ' : '.';
			if (c == '0')
				c = round & 2 ? 'o' : 'O';
			if (c == '1')
				c = round & 2 ? 'l' : 'I';
			if (c >= 'A' && c <= 'Z' && round & 4)
				c = (char)(c - 'A' + 'a');
			typed[n++] = c;
			if (round & 8)
				typed[n++] = '\t';
		}
		ck_assert_int_eq(recovery_decode(typed, n, got, &group), 0);
		ck_assert(memcmp(got, bytes, sizeof got) == 0);
	}
}
END_TEST

// Every single wrong character and every exchange of neighbours within a group is placed.
START_TEST(recovery_finds_the_group)
{
	static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
	char text[RECOVERY_TEXT_BYTES];
	uint8_t bytes[RECOVERY_BYTES], got[RECOVERY_BYTES];
	unsigned group;

	rng_bytes(bytes, sizeof bytes);
	ck_assert_int_eq(recovery_encode(bytes, text), 0);
	const size_t len = strlen(text);
	for (size_t i = 0; i < len; i++) {
		const char was = text[i];
		if (was == '-')
			continue;
		for (size_t a = 0; a < 32; a++) {
			if (alphabet[a] == was)
				continue;
			text[i] = alphabet[a];
			ck_assert_int_eq(recovery_decode(text, len, got, &group), WERR_INVALID);
			ck_assert_uint_eq(group, i / 6 + 1);
		}
		text[i] = was;
		const char next = text[i + 1];
		if (next == '-' || next == 0 || next == was)
			continue;
		text[i] = next;
		text[i + 1] = was;
		ck_assert_int_eq(recovery_decode(text, len, got, &group), WERR_INVALID);
		ck_assert_uint_eq(group, i / 6 + 1);
		text[i] = was;
		text[i + 1] = next;
	}
	ck_assert_int_eq(recovery_decode(text, len - 1, got, &group), WERR_INVALID);
	ck_assert_uint_eq(group, 13);
	ck_assert_int_eq(recovery_decode(text, 0, got, &group), WERR_INVALID);
	ck_assert_uint_eq(group, 1);
	text[4] = 'U'; // not a letter of the code
	ck_assert_int_eq(recovery_decode(text, len, got, &group), WERR_INVALID);
	ck_assert_uint_eq(group, 1);
}
END_TEST

START_TEST(recovery_of_two_codes)
{
	char one[RECOVERY_TEXT_BYTES], two[RECOVERY_TEXT_BYTES], more[RECOVERY_TEXT_BYTES + 2];
	uint8_t bytes[RECOVERY_BYTES] = {0}, got[RECOVERY_BYTES];
	unsigned refused = 0, group;

	ck_assert_int_eq(recovery_encode(bytes, one), 0);
	for (unsigned i = 1; i < 256; i++) {
		memset(bytes, (int)i, sizeof bytes);
		ck_assert_int_eq(recovery_encode(bytes, two), 0);
		memcpy(two, one, 6); // the first group of the other
		const int err = recovery_decode(two, strlen(two), got, &group);
		if (err == WERR_INVALID)
			ck_assert_uint_eq(group, 0);
		refused += err == WERR_INVALID;
	}
	ck_assert_uint_gt(refused, 220); // 15 of 16, in the mean
	snprintf(more, sizeof more, "%s0", one);
	ck_assert_int_eq(recovery_decode(more, strlen(more), got, &group), WERR_INVALID);
	ck_assert_uint_eq(group, 14);
}
END_TEST

START_TEST(printable)
{
	static const struct {
		const char *text;
		int ok;
	} rows[] = {
		{"", 1},
		{"plain ~", 1},
		{"J\xc3\xb6rg", 1},
		{"\xe2\x82\xac \xf0\x9f\x94\x91", 1},
		{"a\x1b[2J", 0},
		{"a\n", 0},
		{"\x7f", 0},
		{"\x9b", 0},     // C1 as a byte
		{"\xc2\x9b", 0}, // C1 in UTF-8: CSI on many terminals
		{"\xc2\x80", 0},
		{"\xc2\xa0", 1},     // the first behind them
		{"\xe2\x80\xae", 0}, // turns what follows around
		{"\xe2\x80\xa8", 0}, // line separator
		{"\xc0\xaf", 0},     // overlong
		{"\xe0\x80\xaf", 0},
		{"\xed\xa0\x80", 0},     // surrogate
		{"\xf4\x90\x80\x80", 0}, // beyond Unicode
		{"\xc3", 0},             // cut
		{"\xff", 0},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		ck_assert_msg(text_is_printable(rows[i].text, strlen(rows[i].text)) == rows[i].ok,
			      "row %zu", i);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("factor");
	TCase *tc = tcase_create("factor");

	if (secret_init() < 0)
		return EXIT_FAILURE;
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, kinds);
	tcase_add_test(tc, keyfile_bounds);
	tcase_add_test(tc, blobs_are_bounded);
	tcase_add_test(tc, both_are_needed);
	tcase_add_test(tc, offers_are_for_their_slot);
	tcase_add_test(tc, relabel_takes_the_secret);
	tcase_add_test(tc, recovery_round_trip);
	tcase_add_test(tc, recovery_finds_the_group);
	tcase_add_test(tc, recovery_of_two_codes);
	tcase_add_test(tc, printable);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
