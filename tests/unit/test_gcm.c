// SPDX-License-Identifier: Apache-2.0
#include "crypto/gcm.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "crypto/rng.h"
#include "crypto/secret.h"
#include "unit_hex.h"
#include "unit_main.h"
#include "unit_maps.h"

static const char *const names[] = {"evp", "ipsec-mb"};
#define BACKENDS 2

#define MAX 65536
static uint8_t plain[MAX], sealed[MAX], opened[MAX], other[MAX];

// Whether the back end is here; else says why the test is skipped.
static int use_backend(int i)
{
	int err = gcm_init(names[i]);

	if (i == 1 && err == WERR_UNSUPPORTED) {
#ifdef WARDFS_IPSEC_MB
		puts("skipped: this CPU lacks AES-NI or PCLMULQDQ");
#else
		puts("skipped: built without libipsec-mb");
#endif
		return 0;
	}
	ck_assert_int_eq(err, 0);
	ck_assert_msg(strncmp(gcm_backend(), names[i], strlen(names[i])) == 0, "%s", gcm_backend());
	return 1;
}

// The expected values below were computed with python-cryptography: key 3i + 1, nonce 5i + len, AAD
// 7i + aad_len, plaintext 11i + len.
static const struct {
	size_t aad_len;
	size_t len;
	const char *last; // of the ciphertext, up to 8 bytes
	const char *tag;
} vectors[] = {
	{0, 1, "21", "90014beaf938710e1c34147e7e1c3fb7"},
	{1, 0, "", "0a9301e3c95c0d919ef8d0188eda0d94"},
	{16, 16, "d519d2b849238f1a", "3923d0ffdb8aef72f0a332be4614c745"},
	{16, 15, "4bf204a701e10fbc", "6d559f7078e434f0f57633370ed9ab4c"},
	{16, 17, "5427adddbb44d6eb", "597c4f6df0d2c65023ddb8041126cf63"},
	{20, 255, "72f1318d13fe40f6", "5d5bbff9a6e3a2d4ed20af5008fe5b2d"},
	{13, 256, "f539c4759e1d5308", "ad73f75d332258d97d4fcf9b8f5ac01b"},
	{16, 4095, "9ce7b3172856adfc", "22a33838c439c392a48f5c1cf5205c41"},
	{16, 4096, "1e67c2d2e33e226d", "46cb35d1c38d1e7e008a0ecb4e11f969"},
	{33, 4097, "3ae8144e6ee27214", "41d77c30339e4af20bf8ef36bcd8b78e"},
	{16, 65536, "2a1f886fc21efce7", "c898f3911d84f169d41f618ebfc600ae"},
	{1000, 1000, "a14773931c57f699", "c51ce8cc7518e4a14bfcc2dcd3a32695"},
};

START_TEST(known_answers)
{
	uint8_t raw[32], nonce[12], aad[1000], tag[16], want[16];

	if (!use_backend(_i))
		return;
	unit_pattern(raw, 32, 3, 1);
	struct gcm_key *key = gcm_key_new(raw);

	ck_assert_ptr_nonnull(key);
	for (size_t v = 0; v < sizeof(vectors) / sizeof(vectors[0]); v++) {
		size_t len = vectors[v].len;
		size_t aad_len = vectors[v].aad_len;

		unit_pattern(nonce, 12, 5, len);
		unit_pattern(aad, aad_len, 7, aad_len);
		unit_pattern(plain, len, 11, len);
		ck_assert_int_eq(gcm_seal(key, nonce, aad, aad_len, plain, len, sealed, tag), 0);
		size_t n = unit_unhex(vectors[v].last, want, sizeof(want));

		ck_assert_mem_eq(sealed + len - n, want, n);
		ck_assert_uint_eq(unit_unhex(vectors[v].tag, want, sizeof(want)), 16);
		ck_assert_mem_eq(tag, want, 16);
		ck_assert_int_eq(gcm_open(key, nonce, aad, aad_len, sealed, len, opened, tag), 0);
		ck_assert_mem_eq(opened, plain, len);
	}
	gcm_key_free(key);
}
END_TEST

// NIST CAVP, gcmEncryptExtIV256, [IVlen = 96, PTlen = 0, AADlen = 0], count 0.
START_TEST(nist_empty)
{
	uint8_t raw[32], nonce[12], tag[16], want[16];

	if (!use_backend(_i))
		return;
	unit_unhex("b52c505a37d78eda5dd34f20c22540ea1b58963cf8e5bf8ffa85f9f2492505b4", raw, 32);
	unit_unhex("516c33929df5a3284ff463d7", nonce, 12);
	unit_unhex("bdc1ac884d332457a1d2664f168c76f0", want, 16);
	struct gcm_key *key = gcm_key_new(raw);

	ck_assert_int_eq(gcm_seal(key, nonce, NULL, 0, NULL, 0, NULL, tag), 0);
	ck_assert_mem_eq(tag, want, 16);
	ck_assert_int_eq(gcm_open(key, nonce, NULL, 0, NULL, 0, NULL, tag), 0);
	tag[3] ^= 1;
	ck_assert_int_eq(gcm_open(key, nonce, NULL, 0, NULL, 0, NULL, tag), WERR_AUTH);
	gcm_key_free(key);
}
END_TEST

START_TEST(every_length_in_place)
{
	uint8_t raw[32], nonce[12], aad[16], tag[16];

	if (!use_backend(_i))
		return;
	rng_bytes(raw, sizeof(raw));
	rng_bytes(plain, 4200);
	struct gcm_key *key = gcm_key_new(raw);

	for (size_t len = 0; len <= 4100; len++) {
		rng_bytes(nonce, sizeof(nonce));
		rng_bytes(aad, sizeof(aad));
		memcpy(opened, plain, len);
		memset(opened + len, 0x3c, 64);
		memset(sealed + len, 0x3c, 64);
		ck_assert_int_eq(gcm_seal(key, nonce, aad, len % 17, plain, len, sealed, tag), 0);
		ck_assert_int_eq(gcm_seal(key, nonce, aad, len % 17, opened, len, opened, tag), 0);
		ck_assert_mem_eq(opened, sealed, len);
		ck_assert(len < 16 || memcmp(opened, plain, len) != 0);
		ck_assert_int_eq(gcm_open(key, nonce, aad, len % 17, opened, len, opened, tag), 0);
		ck_assert_mem_eq(opened, plain, len);
		ck_assert_msg(unit_all(opened + len, 64, 0x3c) && unit_all(sealed + len, 64, 0x3c),
			      "written beyond %zu", len);
	}
	gcm_key_free(key);
}
END_TEST

// What one back end seals, the other opens, and both give the same bytes.
START_TEST(backends_agree)
{
	uint8_t raw[32], nonce[12], aad[64], tag[16], tag2[16];

	if (!use_backend(1))
		return;
	rng_bytes(raw, sizeof(raw));
	rng_bytes(plain, 4200);
	struct gcm_key *ipsec = gcm_key_new(raw);

	ck_assert(use_backend(0));
	struct gcm_key *evp = gcm_key_new(raw);

	for (size_t len = 0; len <= 4100; len++) {
		size_t aad_len = len % 65;

		rng_bytes(nonce, sizeof(nonce));
		rng_bytes(aad, sizeof(aad));
		ck_assert_int_eq(gcm_seal(evp, nonce, aad, aad_len, plain, len, sealed, tag), 0);
		ck_assert_int_eq(gcm_seal(ipsec, nonce, aad, aad_len, plain, len, other, tag2), 0);
		ck_assert_mem_eq(sealed, other, len);
		ck_assert_mem_eq(tag, tag2, 16);
		ck_assert_int_eq(gcm_open(ipsec, nonce, aad, aad_len, sealed, len, opened, tag), 0);
		ck_assert_mem_eq(opened, plain, len);
		ck_assert_int_eq(gcm_open(evp, nonce, aad, aad_len, sealed, len, opened, tag), 0);
		ck_assert_mem_eq(opened, plain, len);
	}
	gcm_key_free(evp);
	gcm_key_free(ipsec);
}
END_TEST

// One sealed text and everything that belongs to it, for tampering.
struct sealed_text {
	uint8_t raw[32];
	uint8_t nonce[12];
	uint8_t aad[24];
	size_t aad_len;
	uint8_t cipher[300];
	size_t len;
	uint8_t tag[16];
};

static int open_text(const struct sealed_text *t, uint8_t *out)
{
	struct gcm_key *key = gcm_key_new(t->raw);

	ck_assert_ptr_nonnull(key);
	int err = gcm_open(key, t->nonce, t->aad, t->aad_len, t->cipher, t->len, out, t->tag);

	gcm_key_free(key);
	return err;
}

static void refused(const struct sealed_text *t)
{
	uint8_t out[400];

	memset(out, 0x77, sizeof(out));
	ck_assert_int_eq(open_text(t, out), WERR_AUTH);
	ck_assert_msg(unit_all(out, t->len, 0), "plaintext of a forgery was given out");
	ck_assert(unit_all(out + t->len, sizeof(out) - t->len, 0x77));

	// The same in place.
	memcpy(out, t->cipher, t->len);
	struct gcm_key *key = gcm_key_new(t->raw);

	ck_assert_int_eq(gcm_open(key, t->nonce, t->aad, t->aad_len, out, t->len, out, t->tag),
			 WERR_AUTH);
	ck_assert(unit_all(out, t->len, 0));
	gcm_key_free(key);
}

static void refused_with_any_bit_flipped(struct sealed_text *t, uint8_t *field, size_t n)
{
	for (size_t bit = 0; bit < n * 8; bit++) {
		field[bit / 8] ^= (uint8_t)(1u << bit % 8);
		refused(t);
		field[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

START_TEST(tampering)
{
	struct sealed_text t = {.aad_len = 23, .len = 299};
	uint8_t out[400], text[300];

	if (!use_backend(_i))
		return;
	rng_bytes(t.raw, sizeof(t.raw));
	rng_bytes(t.nonce, sizeof(t.nonce));
	rng_bytes(t.aad, sizeof(t.aad));
	rng_bytes(text, sizeof(text));
	struct gcm_key *key = gcm_key_new(t.raw);

	ck_assert_int_eq(gcm_seal(key, t.nonce, t.aad, t.aad_len, text, t.len, t.cipher, t.tag), 0);
	gcm_key_free(key);
	ck_assert_int_eq(open_text(&t, out), 0);
	ck_assert_mem_eq(out, text, t.len);

	refused_with_any_bit_flipped(&t, t.raw, sizeof(t.raw));
	refused_with_any_bit_flipped(&t, t.nonce, sizeof(t.nonce));
	refused_with_any_bit_flipped(&t, t.tag, sizeof(t.tag));
	refused_with_any_bit_flipped(&t, t.aad, t.aad_len);
	refused_with_any_bit_flipped(&t, t.cipher, t.len);
	for (t.len = 0; t.len < 299; t.len++)
		refused(&t);
	t.len = 299;
	for (t.aad_len = 0; t.aad_len <= 24; t.aad_len++)
		if (t.aad_len != 23)
			refused(&t);
	t.aad_len = 23;
	ck_assert_int_eq(open_text(&t, out), 0);
	ck_assert_mem_eq(out, text, t.len);
}
END_TEST

// The contexts of a thread remember their last key: it must be the right one, for sealing and for
// opening.
START_TEST(keys_alternate)
{
	enum { KEYS = 5, ROUNDS = 200 };
	struct gcm_key *keys[KEYS];
	uint8_t nonce[12] = {0}, tag[16], first[KEYS][80], first_tag[KEYS][16];

	if (!use_backend(_i))
		return;
	memset(plain, 0, 64);
	for (int k = 0; k < KEYS; k++) {
		uint8_t raw[32] = {(uint8_t)(k + 1)};

		keys[k] = gcm_key_new(raw);
		ck_assert_int_eq(
			gcm_seal(keys[k], nonce, "a", 1, plain, 64, first[k], first_tag[k]), 0);
		for (int j = 0; j < k; j++)
			ck_assert_mem_ne(first[j], first[k], 64);
	}
	for (int i = 0; i < ROUNDS; i++) {
		uint8_t byte;

		rng_bytes(&byte, 1);
		int k = byte % KEYS;
		int o = byte / KEYS % KEYS;

		ck_assert_int_eq(gcm_seal(keys[k], nonce, "a", 1, plain, 64, sealed, tag), 0);
		ck_assert_mem_eq(sealed, first[k], 64);
		ck_assert_mem_eq(tag, first_tag[k], 16);
		ck_assert_int_eq(gcm_open(keys[o], nonce, "a", 1, sealed, 64, opened, tag),
				 o == k ? 0 : WERR_AUTH);
		ck_assert(unit_all(opened, 64, 0));
	}
	for (int k = 0; k < KEYS; k++)
		gcm_key_free(keys[k]);
}
END_TEST

struct shared {
	struct gcm_key *common;
	pthread_barrier_t barrier;
	atomic_int failures;
	int rounds;
};

static void *seal_and_open(void *arg)
{
	struct shared *s = arg;
	uint8_t raw[32], nonce[12], tag[16], in[512], out[512], back[512];

	rng_bytes(raw, sizeof(raw));
	rng_bytes(in, sizeof(in));
	for (int i = 0; i < s->rounds; i++) {
		struct gcm_key *own = gcm_key_new(raw);
		const struct gcm_key *key = i % 3 ? s->common : own;

		rng_bytes(nonce, sizeof(nonce));
		if (!own || gcm_seal(key, nonce, raw, 16, in, sizeof(in), out, tag) != 0 ||
		    gcm_open(key, nonce, raw, 16, out, sizeof(out), back, tag) != 0 ||
		    memcmp(in, back, sizeof(in)) != 0)
			atomic_fetch_add(&s->failures, 1);
		tag[0] ^= 1;
		if (gcm_open(key, nonce, raw, 16, out, sizeof(out), back, tag) != WERR_AUTH)
			atomic_fetch_add(&s->failures, 1);
		gcm_key_free(own);
	}
	return NULL;
}

START_TEST(threads_share_a_key)
{
	struct shared s = {.rounds = 1500};
	uint8_t raw[32];
	pthread_t threads[4];

	if (!use_backend(_i))
		return;
	rng_bytes(raw, sizeof(raw));
	s.common = gcm_key_new(raw);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, seal_and_open, &s), 0);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	ck_assert_int_eq(atomic_load(&s.failures), 0);
	gcm_key_free(s.common);
}
END_TEST

// Uses the key once in either direction, and again waits with warm contexts.
static void *use_and_wait(void *arg)
{
	struct shared *s = arg;
	uint8_t nonce[12] = {1}, tag[16], buf[64] = {0};

	if (gcm_seal(s->common, nonce, NULL, 0, buf, 64, buf, tag) != 0 ||
	    gcm_open(s->common, nonce, NULL, 0, buf, 64, buf, tag) != 0)
		atomic_fetch_add(&s->failures, 1);
	pthread_barrier_wait(&s->barrier);
	pthread_barrier_wait(&s->barrier);
	return NULL;
}

#define MASK 0x5c

// A key schedule starts with the key itself, so that the key's bytes find every copy.
START_TEST(freed_key_is_nowhere)
{
	struct shared s = {0};
	uint8_t masked[32], raw[32];
	pthread_t threads[3];

	if (!use_backend(_i))
		return;
	rng_bytes(masked, sizeof(masked));
	for (size_t i = 0; i < sizeof(raw); i++)
		raw[i] = masked[i] ^ MASK;
	s.common = gcm_key_new(raw);
	secret_wipe(raw, sizeof(raw));
	ck_assert_uint_ge(unit_maps_count(masked, MASK, 32), 1);
	unsigned alone = unit_maps_count(masked, MASK, 32);

	// A thread that ends takes its contexts with it.
	ck_assert_int_eq(pthread_barrier_init(&s.barrier, NULL, 1), 0);
	ck_assert_int_eq(pthread_create(&threads[0], NULL, use_and_wait, &s), 0);
	ck_assert_int_eq(pthread_join(threads[0], NULL), 0);
	ck_assert_uint_eq(unit_maps_count(masked, MASK, 32), alone);
	pthread_barrier_destroy(&s.barrier);

	// The contexts of threads that live on are cleared.
	ck_assert_int_eq(pthread_barrier_init(&s.barrier, NULL, 4), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, use_and_wait, &s), 0);
	pthread_barrier_wait(&s.barrier);
	if (_i == 0)
		ck_assert_uint_eq(unit_maps_count(masked, MASK, 32), alone + 2 * 3);
	gcm_key_free(s.common);
	ck_assert_uint_eq(unit_maps_count(masked, MASK, 32), 0);
	pthread_barrier_wait(&s.barrier);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	ck_assert_int_eq(atomic_load(&s.failures), 0);
	pthread_barrier_destroy(&s.barrier);
}
END_TEST

START_TEST(too_long)
{
	volatile size_t huge = (size_t)INT32_MAX + 1;
	uint8_t raw[32] = {0}, nonce[12] = {0}, tag[16], buf[16];

	if (!use_backend(_i))
		return;
	struct gcm_key *key = gcm_key_new(raw);

	memset(buf, 9, sizeof(buf));
	memset(tag, 9, sizeof(tag));
	ck_assert_int_eq(gcm_seal(key, nonce, NULL, 0, buf, huge, buf, tag), WERR_LIMIT);
	ck_assert_int_eq(gcm_seal(key, nonce, buf, huge, buf, 1, buf, tag), WERR_LIMIT);
	ck_assert_int_eq(gcm_open(key, nonce, NULL, 0, buf, huge, buf, tag), WERR_LIMIT);
	ck_assert_int_eq(gcm_open(key, nonce, buf, huge, buf, 1, buf, tag), WERR_LIMIT);
	ck_assert(unit_all(buf, sizeof(buf), 9));
	ck_assert(unit_all(tag, sizeof(tag), 9));
	gcm_key_free(key);
	gcm_key_free(NULL);
}
END_TEST

static void forbidden(void *arg, void *buf, size_t n)
{
	(void)arg, (void)buf, (void)n;
	ck_abort_msg("the self-test drew randomness");
}

// Without these OpenSSL is as fast.
static int cpu_is_wide(void)
{
#if defined(WARDFS_IPSEC_MB) && defined(__x86_64__)
	unsigned a, b, c, d;

	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c & bit_VAES) && (c & bit_VPCLMULQDQ);
#else
	return 0;
#endif
}

START_TEST(choice)
{
	uint8_t raw[32] = {0};

	// The first key chooses by itself, and without touching the replaceable randomness.
	rng_replace(forbidden, NULL);
	struct gcm_key *key = gcm_key_new(raw);

	rng_replace(NULL, NULL);
	ck_assert_ptr_nonnull(key);
	gcm_key_free(key);
	ck_assert_int_eq(strncmp(gcm_backend(), "ipsec-mb (", 10) == 0, cpu_is_wide());
	ck_assert_int_eq(strncmp(gcm_backend(), "evp (OpenSSL 3", 14) == 0, !cpu_is_wide());

	char best[64];

	ck_assert_uint_lt(strlen(gcm_backend()), sizeof(best));
	strncpy(best, gcm_backend(), sizeof(best) - 1);
	best[sizeof(best) - 1] = 0;
	ck_assert_int_eq(gcm_init("aegis"), WERR_UNSUPPORTED);
	ck_assert_int_eq(gcm_init(""), WERR_UNSUPPORTED);
	ck_assert_str_eq(gcm_backend(), best);
	ck_assert_int_eq(gcm_init("evp"), 0);
	ck_assert(strncmp(gcm_backend(), "evp (OpenSSL 3", 14) == 0);
	ck_assert_int_eq(gcm_init(NULL), 0);
	ck_assert_str_eq(gcm_backend(), best);
}
END_TEST

int main(void)
{
	if (secret_init() != 0)
		return EXIT_FAILURE;

	Suite *suite = suite_create("gcm");
	TCase *tc = tcase_create("gcm");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, choice);
	tcase_add_loop_test(tc, known_answers, 0, BACKENDS);
	tcase_add_loop_test(tc, nist_empty, 0, BACKENDS);
	tcase_add_loop_test(tc, every_length_in_place, 0, BACKENDS);
	tcase_add_test(tc, backends_agree);
	tcase_add_loop_test(tc, tampering, 0, BACKENDS);
	tcase_add_loop_test(tc, keys_alternate, 0, BACKENDS);
	tcase_add_loop_test(tc, threads_share_a_key, 0, BACKENDS);
	tcase_add_loop_test(tc, freed_key_is_nowhere, 0, BACKENDS);
	tcase_add_loop_test(tc, too_long, 0, BACKENDS);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
