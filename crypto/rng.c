// SPDX-License-Identifier: Apache-2.0
#include "crypto/rng.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

static rng_fn replacement;
static void *replacement_arg;

void rng_replace(rng_fn fn, void *arg)
{
	replacement = fn;
	replacement_arg = arg;
}

void rng_bytes(void *buf, size_t n)
{
	uint8_t *p = buf;

	if (replacement) {
		replacement(replacement_arg, buf, n);
		return;
	}
	while (n > 0) {
		ssize_t got = getrandom(p, n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		// A predictable key or a repeated nonce is worse than no process.
		if (got <= 0)
			abort();
		p += got;
		n -= (size_t)got;
	}
}
