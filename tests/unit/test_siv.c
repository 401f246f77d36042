// SPDX-License-Identifier: Apache-2.0
#include "crypto/siv.h"

#include <string.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "crypto/rng.h"
#include "crypto/secret.h"
#include "unit_hex.h"
#include "unit_main.h"

// Computed with python-cryptography and with an implementation of RFC 5297 out of AES-CMAC and
// AES-CTR: key i, AAD 7i + aad_len, plaintext 13i + len.
static const struct {
	size_t aad_len;
	size_t len;
	const char *sealed;
} vectors[] = {
	{1, 1, "327cc541ee423dd9bf53838d7313a10326"},
	{16, 16, "1b9d1e36916d7743e59f669e324edb364bb9479c8e88195c6a43cbde7ba923f8"},
	{60, 32,
	 "7658b6057970cc7281e23bdbd86f61a3fd2e613ba721d015208656cd2681978cf859e3a8e5538ad765280f3f"
	 "53128f81"},
	{60, 64,
	 "c4b0e117fc53b6e302751d9dae19de08e036d628dae8b0ad7ed7c83e3805c8f4078d55ab6b88778288e12cdc"
	 "d72e0537cbfab230db56e48238069ed2fca07ce927d4580dc43cdb528cf566039006dcb6"},
	{17, 31,
	 "53abed446311ab71730fbcf6821a07495a72ca9525a5f584bb0dcd230f54490942adc8dcbf722eb72564c3aa"
	 "6d513e"},
	{96, 80,
	 "4a2f5e0df9e0079741b00f2d74764bd3d3562eb38f62de0a801211acdbd7a0cdd8abe52137ce78b95f0ed470"
	 "52cad16aa5d0ee5c0506048bafae29e2a236d689b64cf415cde37f0e6f0b54233e0ecdccbecd94777347ec85"
	 "5d2be77abc7d54b6"},
	{60, 15, "710db960fd961e01e691b7b509e296f3b4821a30863e0880c03381c2ea3f21"},
	{60, 17, "7d60a3cc1aa2e425c77d02aec940100f45bf570ac87f18700269ad278a3a1ba625"},
	{128, 33,
	 "eaf31b17c21fa4a32f294a3368d719feb5ab81b77cc79e51d5815dd09c306e4f2be965c6a34462b53ad14d87"
	 "ffe7168b90"},
};

START_TEST(known_answers)
{
	size_t aad_len = vectors[_i].aad_len;
	size_t len = vectors[_i].len;
	uint8_t key[64], aad[128], in[80], want[96], out[96], back[80];

	unit_pattern(key, 64, 1, 0);
	unit_pattern(aad, aad_len, 7, aad_len);
	unit_pattern(in, len, 13, len);
	ck_assert_uint_eq(unit_unhex(vectors[_i].sealed, want, sizeof(want)), len + SIV_OVERHEAD);
	ck_assert_int_eq(siv_wrap(key, aad, aad_len, in, len, out), 0);
	ck_assert_mem_eq(out, want, len + SIV_OVERHEAD);
	ck_assert_int_eq(siv_unwrap(key, aad, aad_len, want, len, back), 0);
	ck_assert_mem_eq(back, in, len);
}
END_TEST

static void cmac(const uint8_t key[32], const uint8_t *msg, size_t len, uint8_t out[16])
{
	char name[] = "AES-256-CBC";
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_CIPHER, name, 0),
		OSSL_PARAM_construct_end(),
	};
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "CMAC", NULL);
	EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(mac);
	size_t n;

	ck_assert(EVP_MAC_init(ctx, key, 32, params) && EVP_MAC_update(ctx, msg, len) &&
		  EVP_MAC_final(ctx, out, &n, 16) && n == 16);
	EVP_MAC_CTX_free(ctx);
	EVP_MAC_free(mac);
}

static void dbl(uint8_t b[16])
{
	uint8_t carry = b[0] >> 7;

	for (int i = 0; i < 15; i++)
		b[i] = (uint8_t)(b[i] << 1 | b[i + 1] >> 7);
	b[15] = (uint8_t)(b[15] << 1 ^ (carry ? 0x87 : 0));
}

// RFC 5297, sections 2.4 (S2V) and 2.6, with one associated-data string.
static void rfc_wrap(const uint8_t key[64], const uint8_t *aad, size_t aad_len, const uint8_t *in,
		     size_t len, uint8_t *out)
{
	uint8_t d[16] = {0}, a[16], t[256], q[16];
	size_t t_len = len > 16 ? len : 16;
	int n;

	cmac(key, d, 16, d);
	dbl(d);
	cmac(key, aad, aad_len, a);
	for (int i = 0; i < 16; i++)
		d[i] ^= a[i];
	memset(t, 0, sizeof(t));
	memcpy(t, in, len);
	if (len < 16) {
		t[len] = 0x80;
		dbl(d);
	}
	for (size_t i = 0; i < 16; i++)
		t[t_len - 16 + i] ^= d[i];
	cmac(key, t, t_len, out);
	memcpy(q, out, 16);
	q[8] &= 0x7f;
	q[12] &= 0x7f;
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();

	ck_assert(EVP_EncryptInit_ex2(ctx, EVP_aes_256_ctr(), key + 32, q, NULL) &&
		  EVP_EncryptUpdate(ctx, out + 16, &n, in, (int)len));
	EVP_CIPHER_CTX_free(ctx);
}

START_TEST(structure_of_the_rfc)
{
	uint8_t key[64], aad[100], in[200], want[216], out[216], back[200];

	for (size_t len = 1; len <= sizeof(in); len += len < 70 ? 1 : 13) {
		size_t aad_len = 1 + len * 7 % sizeof(aad);

		rng_bytes(key, sizeof(key));
		rng_bytes(aad, sizeof(aad));
		rng_bytes(in, sizeof(in));
		rfc_wrap(key, aad, aad_len, in, len, want);
		ck_assert_int_eq(siv_wrap(key, aad, aad_len, in, len, out), 0);
		ck_assert_mem_eq(out, want, len + SIV_OVERHEAD);
		ck_assert_int_eq(siv_unwrap(key, aad, aad_len, want, len, back), 0);
		ck_assert_mem_eq(back, in, len);
	}
}
END_TEST

struct wrapped {
	uint8_t key[64];
	uint8_t aad[60];
	size_t aad_len;
	uint8_t text[48];
	size_t len;
};

static void refused(const struct wrapped *w)
{
	uint8_t out[64];

	memset(out, 0x66, sizeof(out));
	ck_assert_int_eq(siv_unwrap(w->key, w->aad, w->aad_len, w->text, w->len, out), WERR_AUTH);
	ck_assert_msg(unit_all(out, w->len, 0), "plaintext of a forgery was given out");
	ck_assert(unit_all(out + w->len, sizeof(out) - w->len, 0x66));
}

static void refused_with_any_bit_flipped(struct wrapped *w, uint8_t *field, size_t n)
{
	for (size_t bit = 0; bit < n * 8; bit++) {
		field[bit / 8] ^= (uint8_t)(1u << bit % 8);
		refused(w);
		field[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

START_TEST(tampering)
{
	struct wrapped w = {.aad_len = 59, .len = 32};
	uint8_t in[32], out[32];

	rng_bytes(w.key, sizeof(w.key));
	rng_bytes(w.aad, sizeof(w.aad));
	rng_bytes(in, sizeof(in));
	ck_assert_int_eq(siv_wrap(w.key, w.aad, w.aad_len, in, sizeof(in), w.text), 0);
	ck_assert_int_eq(siv_unwrap(w.key, w.aad, w.aad_len, w.text, w.len, out), 0);
	ck_assert_mem_eq(out, in, sizeof(in));

	refused_with_any_bit_flipped(&w, w.key, sizeof(w.key));
	refused_with_any_bit_flipped(&w, w.aad, w.aad_len);
	refused_with_any_bit_flipped(&w, w.text, sizeof(w.text));
	for (w.len = 1; w.len < 32; w.len++)
		refused(&w);
	for (w.aad_len = 1; w.aad_len <= 60; w.aad_len++)
		if (w.aad_len != 59)
			refused(&w);
	w.aad_len = 59;
	ck_assert_int_eq(siv_unwrap(w.key, w.aad, w.aad_len, w.text, w.len, out), 0);
}
END_TEST

START_TEST(empty_strings_are_refused)
{
	uint8_t key[64] = {0}, buf[64], out[64];

	memset(buf, 1, sizeof(buf));
	memset(out, 2, sizeof(out));
	ck_assert_int_eq(siv_wrap(key, NULL, 0, buf, 16, out), WERR_INVALID);
	ck_assert_int_eq(siv_wrap(key, buf, 16, buf, 0, out), WERR_INVALID);
	ck_assert_int_eq(siv_unwrap(key, NULL, 0, buf, 16, out), WERR_INVALID);
	ck_assert_int_eq(siv_unwrap(key, buf, 16, buf, 0, out), WERR_INVALID);
	ck_assert(unit_all(out, sizeof(out), 2));
}
END_TEST

START_TEST(too_long)
{
	volatile size_t huge = (size_t)INT32_MAX + 1;
	uint8_t key[64] = {0}, buf[64], out[64];

	memset(buf, 1, sizeof(buf));
	memset(out, 2, sizeof(out));
	ck_assert_int_eq(siv_wrap(key, buf, huge, buf, 16, out), WERR_LIMIT);
	ck_assert_int_eq(siv_wrap(key, buf, 1, buf, huge, out), WERR_LIMIT);
	ck_assert_int_eq(siv_unwrap(key, buf, huge, buf, 16, out), WERR_LIMIT);
	ck_assert_int_eq(siv_unwrap(key, buf, 1, buf, huge, out), WERR_LIMIT);
	ck_assert(unit_all(out, sizeof(out), 2));
}
END_TEST

// Two calls do not share anything: an unwrap that failed does not disturb the next.
START_TEST(stateless)
{
	uint8_t key[64] = {1}, in[64] = {2}, a[80], b[80], out[64];

	ck_assert_int_eq(siv_wrap(key, "x", 1, in, 64, a), 0);
	a[0] ^= 1;
	ck_assert_int_eq(siv_unwrap(key, "x", 1, a, 64, out), WERR_AUTH);
	a[0] ^= 1;
	ck_assert_int_eq(siv_wrap(key, "x", 1, in, 64, b), 0);
	ck_assert_mem_eq(a, b, 80);
	ck_assert_int_eq(siv_wrap(key, "y", 1, in, 64, b), 0);
	ck_assert_mem_ne(a, b, 16);
	ck_assert_mem_ne(a + 16, b + 16, 64);
}
END_TEST

int main(void)
{
	if (secret_init() != 0)
		return EXIT_FAILURE;

	Suite *suite = suite_create("siv");
	TCase *tc = tcase_create("siv");

	tcase_add_loop_test(tc, known_answers, 0, (int)(sizeof(vectors) / sizeof(vectors[0])));
	tcase_add_test(tc, structure_of_the_rfc);
	tcase_add_test(tc, tampering);
	tcase_add_test(tc, empty_strings_are_refused);
	tcase_add_test(tc, too_long);
	tcase_add_test(tc, stateless);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
