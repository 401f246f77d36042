// SPDX-License-Identifier: Apache-2.0
// What can be said of a new passphrase before it is used.
#ifndef WARDFS_TOOLS_STRENGTH_H
#define WARDFS_TOOLS_STRENGTH_H

#include "crypto/secret.h"

// Prints a warning when the passphrase is easy to guess: too short, or weak in the eyes of
// libpwquality where the build has it. Never refuses.
void strength_warn(const struct secret *passphrase);

#endif
