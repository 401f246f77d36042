// SPDX-License-Identifier: Apache-2.0
// The key derivation of tests that open the same vault ten thousand times: its results are kept.
// Linked with -Wl,--wrap=argon_derive.
#include <string.h>

#include "crypto/argon.h"

#define KEPT 8
#define PASS_MAX 64

int __real_argon_derive(const struct argon_params *params, const void *pass, size_t pass_len,
			const uint8_t salt[static ARGON_SALT_BYTES],
			uint8_t kek[static ARGON_KEK_BYTES]);
int __wrap_argon_derive(const struct argon_params *params, const void *pass, size_t pass_len,
			const uint8_t salt[static ARGON_SALT_BYTES],
			uint8_t kek[static ARGON_KEK_BYTES]);

static struct kept {
	struct argon_params params;
	size_t pass_len;
	uint8_t pass[PASS_MAX];
	uint8_t salt[ARGON_SALT_BYTES];
	uint8_t kek[ARGON_KEK_BYTES];
} kept[KEPT];
static unsigned count;

int __wrap_argon_derive(const struct argon_params *params, const void *pass, size_t pass_len,
			const uint8_t salt[static ARGON_SALT_BYTES],
			uint8_t kek[static ARGON_KEK_BYTES])
{
	for (unsigned i = 0; i < count && i < KEPT; i++) {
		const struct kept *k = &kept[i];

		if (k->pass_len == pass_len && memcmp(k->pass, pass, pass_len) == 0 &&
		    memcmp(&k->params, params, sizeof(*params)) == 0 &&
		    memcmp(k->salt, salt, sizeof(k->salt)) == 0) {
			memcpy(kek, k->kek, sizeof(k->kek));
			return 0;
		}
	}
	int err = __real_argon_derive(params, pass, pass_len, salt, kek);

	if (err == 0 && pass_len <= PASS_MAX) {
		struct kept *k = &kept[count++ % KEPT];

		k->params = *params;
		k->pass_len = pass_len;
		memcpy(k->pass, pass, pass_len);
		memcpy(k->salt, salt, sizeof(k->salt));
		memcpy(k->kek, kek, sizeof(k->kek));
	}
	return err;
}
