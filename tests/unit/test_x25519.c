// SPDX-License-Identifier: Apache-2.0
#include "crypto/x25519.h"

#include <string.h>

#include "crypto/rng.h"
#include "crypto/secret.h"
#include "unit_hex.h"
#include "unit_main.h"

// RFC 7748: both vectors of section 5.2, and Bob's side of section 6.1.
static const struct {
	const char *own;
	const char *peer;
	const char *shared;
} vectors[] = {
	{"a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
	 "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
	 "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"},
	{"4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
	 "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
	 "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957"},
	{"5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
	 "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
	 "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"},
};

START_TEST(known_answers)
{
	uint8_t own[32], peer[32], want[32], shared[32];

	unit_unhex(vectors[_i].own, own, 32);
	unit_unhex(vectors[_i].peer, peer, 32);
	unit_unhex(vectors[_i].shared, want, 32);
	ck_assert_int_eq(x25519_shared(own, peer, shared), 0);
	ck_assert_mem_eq(shared, want, 32);
}
END_TEST

START_TEST(public_key)
{
	uint8_t own[32], want[32], out[32];

	unit_unhex(vectors[2].own, own, 32);
	unit_unhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f", want, 32);
	ck_assert_int_eq(x25519_public(own, out), 0);
	ck_assert_mem_eq(out, want, 32);
}
END_TEST

// RFC 7748, section 5.2: the function a thousand times over.
START_TEST(iterated)
{
	uint8_t k[32] = {9}, u[32] = {9}, next[32], want[32];

	for (int i = 1; i <= 1000; i++) {
		ck_assert_int_eq(x25519_shared(k, u, next), 0);
		memcpy(u, k, 32);
		memcpy(k, next, 32);
		if (i == 1) {
			unit_unhex(
				"422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079",
				want, 32);
			ck_assert_mem_eq(k, want, 32);
		}
	}
	unit_unhex("684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51", want, 32);
	ck_assert_mem_eq(k, want, 32);
}
END_TEST

START_TEST(both_sides_agree)
{
	uint8_t a[32], a_public[32], b[32], b_public[32], ab[32], ba[32];

	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(x25519_generate(a, a_public), 0);
		ck_assert_int_eq(x25519_generate(b, b_public), 0);
		ck_assert_mem_ne(a, b, 32);
		ck_assert_mem_ne(a_public, b_public, 32);
		ck_assert_int_eq(x25519_shared(a, b_public, ab), 0);
		ck_assert_int_eq(x25519_shared(b, a_public, ba), 0);
		ck_assert_mem_eq(ab, ba, 32);
		ck_assert_int_eq(x25519_shared(a, a_public, ba), 0);
		ck_assert_mem_ne(ab, ba, 32);
	}
}
END_TEST

// Points of small order give the same secret, zero, with any key: whoever forges a slot would know
// it.
static const char *const small_order[] = {
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
};

START_TEST(small_order_is_refused)
{
	uint8_t own[32], own_public[32], peer[32], shared[32];

	unit_unhex(small_order[_i], peer, 32);
	ck_assert_int_eq(x25519_generate(own, own_public), 0);
	memset(shared, 4, sizeof(shared));
	ck_assert_int_eq(x25519_shared(own, peer, shared), WERR_AUTH);
	ck_assert(unit_all(shared, sizeof(shared), 0));
	// The failure leaves nothing behind that disturbs the next.
	ck_assert_int_eq(x25519_shared(own, own_public, shared), 0);
}
END_TEST

static void sevens(void *arg, void *buf, size_t n)
{
	(void)arg;
	memset(buf, 7, n);
}

START_TEST(keys_come_from_rng)
{
	uint8_t own[32], own_public[32], want[32];

	rng_replace(sevens, NULL);
	ck_assert_int_eq(x25519_generate(own, own_public), 0);
	rng_replace(NULL, NULL);
	ck_assert(unit_all(own, sizeof(own), 7));
	ck_assert_int_eq(x25519_public(own, want), 0);
	ck_assert_mem_eq(own_public, want, 32);
}
END_TEST

int main(void)
{
	if (secret_init() != 0)
		return EXIT_FAILURE;

	Suite *suite = suite_create("x25519");
	TCase *tc = tcase_create("x25519");

	tcase_add_loop_test(tc, known_answers, 0, (int)(sizeof(vectors) / sizeof(vectors[0])));
	tcase_add_test(tc, public_key);
	tcase_add_test(tc, iterated);
	tcase_add_test(tc, both_sides_agree);
	tcase_add_loop_test(tc, small_order_is_refused, 0,
			    (int)(sizeof(small_order) / sizeof(small_order[0])));
	tcase_add_test(tc, keys_come_from_rng);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
