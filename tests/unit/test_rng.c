// SPDX-License-Identifier: Apache-2.0
#include "crypto/rng.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>

#include "unit_hex.h"
#include "unit_main.h"
#include "unit_process.h"

static uint8_t big[1 << 20];

static size_t at_most = SIZE_MAX;
static unsigned interruptions;

// Takes the place of the C library's in this program: the kernel may give less than asked for, or
// be interrupted.
ssize_t getrandom(void *buf, size_t n, unsigned flags)
{
	if (interruptions > 0) {
		interruptions--;
		errno = EINTR;
		return -1;
	}
	return syscall(SYS_getrandom, buf, n < at_most ? n : at_most, flags);
}

START_TEST(short_and_interrupted)
{
	uint8_t ever[100] = {0};

	// Each byte is reached: none stays zero in 8 rounds but with a probability of 2^-57.
	for (int round = 0; round < 8; round++) {
		uint8_t buf[104] = {0};

		at_most = 7;
		interruptions = 3;
		rng_bytes(buf, 100);
		ck_assert_uint_eq(interruptions, 0);
		ck_assert(unit_all(buf + 100, 4, 0));
		for (size_t i = 0; i < 100; i++)
			ever[i] |= buf[i];
	}
	for (size_t i = 0; i < 100; i++)
		ck_assert_uint_ne(ever[i], 0);
}
END_TEST

START_TEST(kernel_bytes)
{
	uint8_t a[32] = {0}, b[32] = {0};
	unsigned long ones = 0;

	at_most = SIZE_MAX;
	rng_bytes(a, sizeof(a));
	rng_bytes(b, sizeof(b));
	ck_assert_mem_ne(a, b, sizeof(a));

	// More than one getrandom call may give; 8 Mi bits, so 4 Mi ones with a deviation of 1,448.
	rng_bytes(big, sizeof(big));
	for (size_t i = 0; i < sizeof(big); i++)
		ones += (unsigned)__builtin_popcount(big[i]);
	ck_assert_uint_gt(ones, (4ul << 20) - 20000);
	ck_assert_uint_lt(ones, (4ul << 20) + 20000);
	ck_assert_int_eq(unit_all(big + sizeof(big) - 16, 16, 0), 0);
}
END_TEST

START_TEST(exactly_n_bytes)
{
	for (size_t n = 0; n < 64; n++) {
		uint8_t buf[80];
		unsigned changed = 0;

		for (int round = 0; round < 8; round++) {
			memset(buf, 0x55, sizeof(buf));
			rng_bytes(buf + 8, n);
			ck_assert(unit_all(buf, 8, 0x55));
			ck_assert(unit_all(buf + 8 + n, sizeof(buf) - 8 - n, 0x55));
			changed += n > 0 && buf[8 + n - 1] != 0x55;
		}
		ck_assert_int_eq(changed > 0, n > 0);
	}
}
END_TEST

static void count_up(void *arg, void *buf, size_t n)
{
	uint8_t *next = arg;

	for (size_t i = 0; i < n; i++)
		((uint8_t *)buf)[i] = (*next)++;
}

START_TEST(replacement)
{
	uint8_t next = 7, want[10], buf[10], zero[10] = {0};

	unit_pattern(want, sizeof(want), 1, 7);
	rng_replace(count_up, &next);
	rng_bytes(buf, 4);
	rng_bytes(buf + 4, 6);
	ck_assert_mem_eq(buf, want, sizeof(buf));
	rng_replace(NULL, NULL);
	memset(buf, 0, sizeof(buf));
	rng_bytes(buf, sizeof(buf));
	ck_assert_mem_ne(buf, zero, sizeof(buf));
	ck_assert_uint_eq(next, 17);
}
END_TEST

static int without_kernel(void *err)
{
	uint8_t buf[16];

	if (unit_refuse(SYS_getrandom, *(int *)err) != 0)
		return 77;
	rng_bytes(buf, sizeof(buf));
	return 0;
}

START_TEST(aborts_without_randomness)
{
	int err = ENOSYS;

	ck_assert_signalled(unit_child(without_kernel, &err), SIGABRT);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rng");
	TCase *tc = tcase_create("rng");

	tcase_add_test(tc, kernel_bytes);
	tcase_add_test(tc, short_and_interrupted);
	tcase_add_test(tc, exactly_n_bytes);
	tcase_add_test(tc, replacement);
	tcase_add_test(tc, aborts_without_randomness);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
