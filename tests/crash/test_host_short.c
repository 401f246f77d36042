// SPDX-License-Identifier: Apache-2.0
// A host that moves less than it was asked to, and is interrupted: what the shim reads and writes
// is whole all the same, whatever the pieces. The seed is printed.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/uio.h>

#include "tests/model/prng.h"
#include "tests/unit/hostenv.h"
#include "tests/unit/unit_main.h"

#define BYTES 50000u
#define PIECES 90
#define ROUNDS 2000

static struct prng rng;
static int short_calls;

ssize_t __real_preadv64(int fd, const struct iovec *iov, int n, off_t off);
ssize_t __real_pwritev64(int fd, const struct iovec *iov, int n, off_t off);
ssize_t __wrap_preadv64(int fd, const struct iovec *iov, int n, off_t off);
ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int n, off_t off);

// The first bytes of it only, or none yet.
static int shorten(const struct iovec *iov, struct iovec *ret)
{
	if (prng_chance(&rng, 20)) {
		errno = EINTR;
		return 0;
	}
	*ret = iov[0];
	if (ret->iov_len > 1)
		ret->iov_len = (size_t)prng_range(&rng, 1, ret->iov_len);
	short_calls++;
	return 1;
}

ssize_t __wrap_preadv64(int fd, const struct iovec *iov, int n, off_t off)
{
	struct iovec some;

	if (n == 0 || iov[0].iov_len == 0 || prng_chance(&rng, 10))
		return __real_preadv64(fd, iov, n, off);
	return shorten(iov, &some) ? __real_preadv64(fd, &some, 1, off) : -1;
}

ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int n, off_t off)
{
	struct iovec some;

	if (n == 0 || iov[0].iov_len == 0 || prng_chance(&rng, 10))
		return __real_pwritev64(fd, iov, n, off);
	return shorten(iov, &some) ? __real_pwritev64(fd, &some, 1, off) : -1;
}

// Pieces of a buffer, in order; their number.
static int cut_up(uint8_t *buf, size_t len, struct iovec iov[static PIECES])
{
	int n = 0;

	while (len) {
		size_t take = n == PIECES - 1 ? len : (size_t)prng_range(&rng, 1, len / 4 + 1);

		iov[n++] = (struct iovec){buf, take};
		buf += take;
		len -= take;
	}
	return n;
}

START_TEST(short_counts)
{
	static uint8_t model[2 * BYTES], buf[BYTES];
	struct iovec iov[PIECES];
	const struct host_ops *ops = env.host->ops;
	struct host_file *f;
	uint64_t size = 0;

	ck_ok(ops->open_object(env.host, 0x0123456789abcdefull, HOST_RDWR | HOST_CREATE, &f));
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t off = prng_below(&rng, BYTES);
		size_t len = (size_t)prng_range(&rng, 1, BYTES), got = 0;
		int n = cut_up(buf, len, iov);

		if (prng_chance(&rng, 50)) {
			prng_fill(&rng, buf, len);
			ck_ok(ops->pwritev(f, iov, n, off));
			memcpy(model + off, buf, len);
			size = off + len > size ? off + len : size;
		} else {
			ck_ok(ops->preadv(f, iov, n, off, &got));
			ck_assert_uint_eq(got, off >= size        ? 0
					       : size - off < len ? size - off
								  : len);
			ck_assert_int_eq(memcmp(buf, model + off, len), 0);
		}
	}
	ck_assert_int_gt(short_calls, ROUNDS);
	ops->file_close(f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("host-short");
	TCase *c = tcase_create("host-short");

	if (getrandom(&rng.state, 4, 0) != 4)
		return 1;
	printf("seed %lu\n", (unsigned long)rng.state);
	tcase_set_timeout(c, 120);
	tcase_add_checked_fixture(c, hostenv_setup, hostenv_teardown);
	tcase_add_test(c, short_counts);
	suite_add_tcase(suite, c);
	return unit_main(suite);
}
