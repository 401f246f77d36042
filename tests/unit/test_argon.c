// SPDX-License-Identifier: Apache-2.0
#include "crypto/argon.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

#include "crypto/secret.h"
#include "unit_hex.h"
#include "unit_main.h"
#include "unit_process.h"

// Computed with python-cryptography (OpenSSL's Argon2id, another implementation): salt i.
static const struct {
	struct argon_params params;
	const char *pass;
	size_t pass_len;
	const char *kek;
} vectors[] = {
	{{8192, 1, 1},
	 "password",
	 8,
	 "e2f170cd0a233b0f20a3a327afdc0144c361ba826fbcd568cd2ea84abab62646"},
	{{8192, 1, 1}, "", 0, "0be3e16c0430bc1dc539c3af3856bbcb42c2b78bde426ba2d27e5ce6893c034b"},
	{{8192, 1, 1},
	 "a\0b\xff",
	 4,
	 "38debfdf7376cac452466ed63c5d9b2c891a999b34449de03b99402656f9c10e"},
	{{8192, 3, 4},
	 "password",
	 8,
	 "b021c843525e7ffacc6b9b0836f09a0a06eade17e12d0727d39c05ab5d69984f"},
	{{16384, 2, 2},
	 "password",
	 8,
	 "896bba6269b38b88be892169189478f3e2dd3c4d7f9e13346dbf20f84d19af3c"},
	{{8192, 1, 16},
	 "password",
	 8,
	 "b0d87cefb9e3d6f3552abe24a1d9073cf9dfdbc22c97bcbb85bfa19236e91b7e"},
};

START_TEST(known_answers)
{
	uint8_t salt[32], want[32], kek[32];

	unit_pattern(salt, sizeof(salt), 1, 0);
	unit_unhex(vectors[_i].kek, want, sizeof(want));
	ck_assert_int_eq(argon_derive(&vectors[_i].params, vectors[_i].pass, vectors[_i].pass_len,
				      salt, kek),
			 0);
	ck_assert_mem_eq(kek, want, sizeof(want));
}
END_TEST

static int without_threads(void *arg)
{
	uint8_t salt[32], want[32], kek[32];

	(void)arg;
	if (unit_refuse(SYS_clone, EAGAIN) != 0 || unit_refuse(SYS_clone3, EAGAIN) != 0)
		return 77;
	unit_pattern(salt, sizeof(salt), 1, 0);
	unit_unhex(vectors[3].kek, want, sizeof(want));
	if (argon_derive(&vectors[3].params, "password", 8, salt, kek) != 0)
		return 1;
	return memcmp(kek, want, sizeof(want)) == 0 ? 0 : 2;
}

START_TEST(threads_refused)
{
	ck_assert_exited(unit_child(without_threads, NULL), 0);
}
END_TEST

START_TEST(inputs_count)
{
	const struct argon_params p = {8192, 1, 1};
	const struct argon_params others[] = {{8200, 1, 1}, {8192, 2, 1}, {8192, 1, 2}};
	uint8_t salt[32] = {0}, kek[32], other[32], pass[65];

	memset(pass, 'x', sizeof(pass));
	ck_assert_int_eq(argon_derive(&p, pass, 64, salt, kek), 0);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(argon_derive(&others[i], pass, 64, salt, other), 0);
		ck_assert_mem_ne(kek, other, 32);
	}
	salt[31] = 1;
	ck_assert_int_eq(argon_derive(&p, pass, 64, salt, other), 0);
	ck_assert_mem_ne(kek, other, 32);
	salt[31] = 0;
	ck_assert_int_eq(argon_derive(&p, pass, 65, salt, other), 0);
	ck_assert_mem_ne(kek, other, 32);
	// The passphrase is only read.
	ck_assert(unit_all(pass, sizeof(pass), 'x'));
	ck_assert_int_eq(argon_derive(&p, pass, 64, salt, other), 0);
	ck_assert_mem_eq(kek, other, 32);
}
END_TEST

static const struct {
	struct argon_params params;
	int err;
} bounds[] = {
	{{8192, 1, 1}, 0},
	{{8191, 1, 1}, WERR_LIMIT},
	{{0, 1, 1}, WERR_LIMIT},
	{{4194304, 16, 16}, 0}, // exactly 64 GiB of work
	{{4194304, 17, 1}, WERR_LIMIT},
	{{4194305, 1, 1}, WERR_LIMIT},
	{{UINT32_MAX, 1, 1}, WERR_LIMIT},
	{{UINT32_MAX, UINT32_MAX, UINT32_MAX}, WERR_LIMIT},
	{{8192, 0, 1}, WERR_LIMIT},
	{{8192, 64, 1}, 0},
	{{8192, 65, 1}, WERR_LIMIT},
	{{1048576, 64, 1}, 0},
	{{1048577, 64, 1}, WERR_LIMIT},
	{{8192, 1, 0}, WERR_LIMIT},
	{{8192, 1, 16}, 0},
	{{8192, 1, 17}, WERR_LIMIT},
};

START_TEST(limits)
{
	uint8_t salt[32] = {0}, kek[32];

	ck_assert_int_eq(argon_check(&bounds[_i].params), bounds[_i].err);
	if (bounds[_i].err == 0)
		return;
	memset(kek, 3, sizeof(kek));
	ck_assert_int_eq(argon_derive(&bounds[_i].params, "x", 1, salt, kek), WERR_LIMIT);
	ck_assert(unit_all(kek, sizeof(kek), 3));
}
END_TEST

static int little_memory(void *arg)
{
	const struct argon_params p = {1024 * 1024, 1, 2};
	const struct rlimit limit = {1 << 29, 1 << 29};
	uint8_t salt[32] = {0}, kek[32];

	(void)arg;
	memset(kek, 3, sizeof(kek));
	if (setrlimit(RLIMIT_AS, &limit) != 0)
		return 77;
	if (argon_derive(&p, "x", 1, salt, kek) != WERR_KDFMEM)
		return 1;
	return unit_all(kek, sizeof(kek), 0) ? 0 : 2;
}

START_TEST(memory_refused)
{
	if (UNIT_SANITIZED) {
		puts("skipped: a sanitizer needs its address space");
		return;
	}
	ck_assert_exited(unit_child(little_memory, NULL), 0);
}
END_TEST

static const struct {
	struct argon_params probe;
	uint32_t probe_ms;
	uint64_t free_kib;
	uint32_t target_ms;
	uint32_t lanes;
	struct argon_params want;
} calibrations[] = {
	// 64 MiB in 50 ms: 1,280 MiB in a second, of which 1 GiB is memory.
	{{65536, 1, 4}, 50, 16777216, 1000, 4, {1048576, 1, 4}},
	// The same with 1 GiB free: 256 MiB, five times.
	{{65536, 1, 4}, 50, 1048576, 1000, 4, {262144, 5, 4}},
	// Slow: 64 MiB takes a second.
	{{65536, 1, 1}, 1000, 16777216, 1000, 1, {65536, 1, 1}},
	// Slower than the least: the bounds win.
	{{65536, 1, 1}, 60000, 16777216, 1000, 1, {8192, 1, 1}},
	// Hardly any memory free.
	{{65536, 1, 2}, 100, 100, 1000, 2, {8192, 64, 2}},
	{{8192, 4, 2}, 100, 8192 * 4, 100, 2, {8192, 4, 2}},
	// A clock that showed no time, and a machine out of this world.
	{{8192, 1, 1}, 0, UINT64_MAX, UINT32_MAX, 64, {1048576, 64, 16}},
	{{0, 0, 0}, 0, 0, 0, 0, {8192, 1, 1}},
	{{UINT32_MAX, UINT32_MAX, 1}, 1, UINT64_MAX, UINT32_MAX, UINT32_MAX, {1048576, 64, 16}},
	// Whole MiB.
	{{65536, 1, 1}, 100, 16777216, 159, 1, {103424, 1, 1}},
};

START_TEST(calibration)
{
	struct argon_params got = argon_calibrate(
		&calibrations[_i].probe, calibrations[_i].probe_ms, calibrations[_i].free_kib,
		calibrations[_i].target_ms, calibrations[_i].lanes);
	const struct argon_params *want = &calibrations[_i].want;

	ck_assert_uint_eq(got.memory_kib, want->memory_kib);
	ck_assert_uint_eq(got.passes, want->passes);
	ck_assert_uint_eq(got.lanes, want->lanes);
	ck_assert_int_eq(argon_check(&got), 0);
}
END_TEST

START_TEST(calibration_is_within_bounds)
{
	static const uint64_t numbers[] = {0,    1,      7,       999,     8192,
					   8193, 100000, 1048576, 4194304, UINT32_MAX};
	enum { N = sizeof(numbers) / sizeof(numbers[0]) };

	for (int i = 0; i < N * N * N * N; i++) {
		const struct argon_params probe = {(uint32_t)numbers[i % N],
						   (uint32_t)numbers[i / N % N], 1};
		struct argon_params got = argon_calibrate(
			&probe, (uint32_t)numbers[i / N / N % N], numbers[i / N / N / N] * 1000,
			(uint32_t)numbers[(i + 3) % N], (uint32_t)numbers[i % N]);

		ck_assert_int_eq(argon_check(&got), 0);
	}
}
END_TEST

// A number from a header is compared with what the machine has before anything is taken.
START_TEST(memory_of_the_machine)
{
	const struct argon_params params = {.memory_kib = 16384, .passes = 1, .lanes = 1};
	static const uint8_t salt[ARGON_SALT_BYTES];
	uint8_t kek[ARGON_KEK_BYTES] = {0};
	const uint8_t zero[ARGON_KEK_BYTES] = {0};

	argon_set_memory(16383);
	ck_assert_int_eq(argon_derive(&params, "x", 1, salt, kek), WERR_KDFMEM);
	ck_assert_mem_eq(kek, zero, sizeof(kek));
	argon_set_memory(16384);
	ck_assert_int_eq(argon_derive(&params, "x", 1, salt, kek), 0);
	argon_set_memory(UINT64_MAX);
}
END_TEST

int main(void)
{
	if (secret_init() != 0)
		return EXIT_FAILURE;

	Suite *suite = suite_create("argon");
	TCase *tc = tcase_create("argon");

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, known_answers, 0, (int)(sizeof(vectors) / sizeof(vectors[0])));
	tcase_add_test(tc, memory_of_the_machine);
	tcase_add_test(tc, threads_refused);
	tcase_add_test(tc, inputs_count);
	tcase_add_loop_test(tc, limits, 0, (int)(sizeof(bounds) / sizeof(bounds[0])));
	tcase_add_test(tc, memory_refused);
	tcase_add_loop_test(tc, calibration, 0,
			    (int)(sizeof(calibrations) / sizeof(calibrations[0])));
	tcase_add_test(tc, calibration_is_within_bounds);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
