// SPDX-License-Identifier: Apache-2.0
// The recovery code: 32 random bytes as 13 groups of 5 letters and digits, for paper.
// wardfs-vault(5), "Recovery code". Bytes in, bytes out; thread-safe.
#ifndef WARDFS_CRYPTO_RECOVERY_H
#define WARDFS_CRYPTO_RECOVERY_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/werr.h"

#define RECOVERY_BYTES 32
#define RECOVERY_GROUPS 13
#define RECOVERY_GROUP_CHARS 5
#define RECOVERY_TEXT_BYTES (RECOVERY_GROUPS * (RECOVERY_GROUP_CHARS + 1)) // with hyphens and NUL

// text: secret memory of the caller.
int recovery_encode(const uint8_t bytes[static RECOVERY_BYTES],
		    char text[static RECOVERY_TEXT_BYTES]) WARN_UNUSED;

// Takes what people type: either case, O for 0, I and L for 1, any of space, tab, hyphen, dot,
// comma, colon, slash and underscore between any two characters. WERR_INVALID: *ret_group is the
// first group (1 to 13) that is mistyped, incomplete or in another's place, 0 when each is right by
// itself but they do not belong together, 14 when more follows. bytes is untouched on failure.
int recovery_decode(const char *text, size_t len, uint8_t bytes[static RECOVERY_BYTES],
		    unsigned *ret_group) WARN_UNUSED;

#endif
