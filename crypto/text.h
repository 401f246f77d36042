// SPDX-License-Identifier: Apache-2.0
// Text that comes from outside and is shown on terminals. Thread-safe.
#ifndef WARDFS_CRYPTO_TEXT_H
#define WARDFS_CRYPTO_TEXT_H

#include <stddef.h>
#include <stdint.h>

// The bytes (1 to 4) of the character at p if it can be shown as it is: well-formed UTF-8, no
// control character (C0, DEL, C1), no line or paragraph separator, nothing that changes the
// direction of what stands beside it. 0 otherwise, and for len 0.
size_t text_printable(const void *p, size_t len);

// Whether all of it can be shown as it is.
int text_is_printable(const void *p, size_t len);

#endif
