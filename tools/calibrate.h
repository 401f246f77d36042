// SPDX-License-Identifier: Apache-2.0
// Measures this machine and chooses Argon2id parameters for a new keyslot.
#ifndef WARDFS_TOOLS_CALIBRATE_H
#define WARDFS_TOOLS_CALIBRATE_H

#include "crypto/argon.h"
#include "tools/options.h"

// About one second and a quarter of the free memory (at most 1 GiB), unless the user said
// otherwise. *ret_ms: what the measurement lets expect. WERR_LIMIT: what the user asked for is out
// of bounds. Prints what goes wrong.
int calibrate_kdf(const struct options_kdf *asked, struct argon_params *ret,
		  uint32_t *ret_ms) WARN_UNUSED;

// Derives once with these parameters, from nothing secret, and takes the time. Codes of
// argon_derive.
int calibrate_measure(const struct argon_params *probe, uint32_t *ret_ms) WARN_UNUSED;

#endif
