// SPDX-License-Identifier: Apache-2.0
#include "crypto/hkdf.h"

#include <string.h>

#include "crypto/secret.h"
#include "unit_hex.h"
#include "unit_main.h"

// Computed with python-cryptography: ikm i (32 bytes), salt 0xa0 + i (16 bytes), context 0x40 + i.
static const struct {
	enum hkdf_label label;
	const char *text;
	size_t bytes;
	size_t context_len;
	const char *out;
} vectors[] = {
	{HKDF_KEK_WRAP, "wardfs 1 kek wrap", 64, 0,
	 "ef48a34e1f3e24e208a930fdc96662777ece44f2356961da7633c41237f648ce"
	 "18711227d0c8abce7c052a8b0ce282bf6db6d7ed32438adf99233fbaeca13e57"},
	{HKDF_KEK_COMMIT, "wardfs 1 kek commit", 32, 0,
	 "7096f1cd8969bc1484c779fca1af7506e83f3648346f876fc5942658fd5636bd"},
	{HKDF_SLOT_ROOT, "wardfs 1 slot root", 64, 64,
	 "07458911fba85bb43cb09c3ba27b49f3c8db64c71198c1b2ebf259818dd1b94c"
	 "ed021461a0093992421a128a6d4066c8e16264ed5321c66b2623714237b65761"},
	{HKDF_HEADER_MAC, "wardfs 1 header mac", 32, 0,
	 "ff01fe597cf9536c49647cc4830b8fa937777bf52657e50a007ed3f8860bbca4"},
	{HKDF_JOURNAL, "wardfs 1 journal", 32, 0,
	 "17e71b9a5cd3dc93360f5f2430393f5601e0828a0e7e48106ef8d20fc256b117"},
	{HKDF_ANCHOR, "wardfs 1 anchor", 32, 0,
	 "95ed450d8702c0592254178cabcc5f074a1185f4c56e410dca45e4cbb660f84a"},
	{HKDF_MASTER_WRAP, "wardfs 1 master wrap", 64, 0,
	 "531a6e202c3701bc5d5ada2f54d483e36da649aec5f2117bb654d49d117489f0"
	 "7881e183894ef0efe75d248b593759c4d4aa4a01b303868419bf2488b997c616"},
	{HKDF_PSK_WRAP, "wardfs 1 psk wrap", 64, 0,
	 "32c61ce15adcf54a393b90c880147f021b000ac485473869c994a61c2319a736"
	 "2020a398296c4b2b135dcb4f92210520c3374f0cc9d4d338a4574c45215714bf"},
	{HKDF_JOURNAL_RECORD, "wardfs 1 journal record", 32, 4,
	 "7e3a9e8e6189b4e8d64e52cf1e32ddf62bca5268eaaf210d2d6a3e203121cca8"},
	{HKDF_EPOCH_ANCHOR, "wardfs 1 epoch anchor", 32, 0,
	 "c868b3bf787335827848e108909095e7a5621426156339015f3019a9df8b5513"},
	{HKDF_HEADER_BACKUP, "wardfs 1 header backup", 32, 0,
	 "1c245b53e3cea48097da79c68fa8d9ed0bcf4c5df7366ed66f55a61e62d58bf6"},
};
#define VECTORS (sizeof(vectors) / sizeof(vectors[0]))

START_TEST(every_label)
{
	uint8_t ikm[32], salt[16], context[64], want[64], out[80];
	enum hkdf_label label = vectors[_i].label;
	size_t bytes = vectors[_i].bytes;

	unit_pattern(ikm, sizeof(ikm), 1, 0);
	unit_pattern(salt, sizeof(salt), 1, 0xa0);
	unit_pattern(context, sizeof(context), 1, 0x40);
	memset(out, 0x99, sizeof(out));
	ck_assert_int_eq((int)label, _i);
	ck_assert_str_eq(hkdf_label(label), vectors[_i].text);
	ck_assert_uint_eq(hkdf_label_bytes(label), bytes);
	ck_assert_uint_eq(unit_unhex(vectors[_i].out, want, sizeof(want)), bytes);
	ck_assert_int_eq(hkdf_derive(label, ikm, sizeof(ikm), salt, sizeof(salt), context,
				     vectors[_i].context_len, out),
			 0);
	ck_assert_mem_eq(out, want, bytes);
	ck_assert(unit_all(out + bytes, sizeof(out) - bytes, 0x99));
}
END_TEST

START_TEST(registry)
{
	ck_assert_uint_eq(VECTORS, HKDF_LABELS);
	// No label is the beginning of another: with a context the info strings could be equal.
	for (int a = 0; a < HKDF_LABELS; a++)
		for (int b = 0; b < HKDF_LABELS; b++) {
			const char *text = hkdf_label((enum hkdf_label)a);

			if (a != b && vectors[a].context_len > 0)
				ck_assert_int_ne(
					strncmp(text, hkdf_label((enum hkdf_label)b), strlen(text)),
					0);
			if (a != b)
				ck_assert_str_ne(text, hkdf_label((enum hkdf_label)b));
		}
}
END_TEST

START_TEST(without_salt)
{
	uint8_t ikm[32], want[32], out[32];

	unit_pattern(ikm, sizeof(ikm), 1, 0);
	unit_unhex("062cf8b3ffcb6add9dbcb313bcfeec3617405c0ef510994e7aa737d11eb96b59", want, 32);
	ck_assert_int_eq(hkdf_derive(HKDF_JOURNAL, ikm, 32, NULL, 0, NULL, 0, out), 0);
	ck_assert_mem_eq(out, want, 32);
}
END_TEST

// Every input counts: each derivation differs from all the others.
START_TEST(inputs_count)
{
	static const struct {
		uint8_t ikm, salt, context;
		size_t ikm_len, salt_len;
	} inputs[] = {
		{1, 2, 3, 32, 16}, {4, 2, 3, 32, 16}, {1, 4, 3, 32, 16},
		{1, 2, 4, 32, 16}, {1, 2, 3, 31, 16}, {1, 2, 3, 64, 16},
		{1, 2, 3, 32, 15}, {1, 2, 3, 32, 1},  {1, 2, 3, 32, 0},
	};
	uint8_t outs[9][32], ikm[64], salt[32], context[4];

	for (size_t i = 0; i < sizeof(inputs) / sizeof(inputs[0]); i++) {
		memset(ikm, inputs[i].ikm, sizeof(ikm));
		memset(salt, inputs[i].salt, sizeof(salt));
		memset(context, inputs[i].context, sizeof(context));
		ck_assert_int_eq(hkdf_derive(HKDF_JOURNAL_RECORD, ikm, inputs[i].ikm_len, salt,
					     inputs[i].salt_len, context, 4, outs[i]),
				 0);
		for (size_t k = 0; k < i; k++)
			ck_assert_mem_ne(outs[i], outs[k], 32);
	}
}
END_TEST

START_TEST(wrong_shapes)
{
	uint8_t ikm[32] = {1}, context[65] = {0}, out[64];

	memset(out, 5, sizeof(out));
	ck_assert_int_eq(hkdf_derive(HKDF_JOURNAL, ikm, 32, NULL, 0, context, 1, out),
			 WERR_INVALID);
	ck_assert_int_eq(hkdf_derive(HKDF_JOURNAL_RECORD, ikm, 32, NULL, 0, context, 0, out),
			 WERR_INVALID);
	ck_assert_int_eq(hkdf_derive(HKDF_JOURNAL_RECORD, ikm, 32, NULL, 0, context, 5, out),
			 WERR_INVALID);
	ck_assert_int_eq(hkdf_derive(HKDF_SLOT_ROOT, ikm, 32, NULL, 0, context, 65, out),
			 WERR_INVALID);
	ck_assert_int_eq(hkdf_derive(HKDF_JOURNAL, ikm, 0, NULL, 0, NULL, 0, out), WERR_INVALID);
	ck_assert_int_eq(hkdf_derive(HKDF_LABELS, ikm, 32, NULL, 0, NULL, 0, out), WERR_INVALID);
	ck_assert_int_eq(hkdf_derive((enum hkdf_label) - 1, ikm, 32, NULL, 0, NULL, 0, out),
			 WERR_INVALID);
	ck_assert(unit_all(out, sizeof(out), 5));
}
END_TEST

// RFC 4231, test cases 1 to 4: HMAC pads short keys with zeros, so they fit in 32 bytes.
static const struct {
	const char *key;
	const char *msg;
	const char *mac;
} macs[] = {
	{"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "4869205468657265",
	 "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
	{"4a656665", "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
	 "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
	{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	 "ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
	 "ddd"
	 "dddddddd",
	 "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
	{"0102030405060708090a0b0c0d0e0f10111213141516171819",
	 "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdc"
	 "dcd"
	 "cdcdcdcd",
	 "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
};

START_TEST(hmac)
{
	uint8_t key[32] = {0}, msg[64], want[32], mac[32];

	unit_unhex(macs[_i].key, key, sizeof(key));
	size_t len = unit_unhex(macs[_i].msg, msg, sizeof(msg));

	unit_unhex(macs[_i].mac, want, sizeof(want));
	ck_assert_int_eq(hkdf_hmac_sha256(key, msg, len, mac), 0);
	ck_assert_mem_eq(mac, want, 32);
	msg[len - 1] ^= 1;
	ck_assert_int_eq(hkdf_hmac_sha256(key, msg, len, mac), 0);
	ck_assert_mem_ne(mac, want, 32);
}
END_TEST

START_TEST(hmac_of_nothing)
{
	uint8_t key[32] = {0}, want[32], mac[32];

	// HMAC-SHA-256 with an empty key and an empty message.
	unit_unhex("b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad", want, 32);
	ck_assert_int_eq(hkdf_hmac_sha256(key, NULL, 0, mac), 0);
	ck_assert_mem_eq(mac, want, 32);
}
END_TEST

int main(void)
{
	if (secret_init() != 0)
		return EXIT_FAILURE;

	Suite *suite = suite_create("hkdf");
	TCase *tc = tcase_create("hkdf");

	tcase_add_loop_test(tc, every_label, 0, (int)VECTORS);
	tcase_add_test(tc, registry);
	tcase_add_test(tc, without_salt);
	tcase_add_test(tc, inputs_count);
	tcase_add_test(tc, wrong_shapes);
	tcase_add_loop_test(tc, hmac, 0, (int)(sizeof(macs) / sizeof(macs[0])));
	tcase_add_test(tc, hmac_of_nothing);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
