// SPDX-License-Identifier: Apache-2.0
// FIDO2 tokens with hmac-secret, through libfido2. wardfs-vault(5), "FIDO2". What happens here
// happens in a child (tools/apart.h). tests/cli/fake_fido2.c is the other implementation.
#ifndef WARDFS_TOOLS_FIDO2_H
#define WARDFS_TOOLS_FIDO2_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/factor.h"
#include "crypto/secret.h"

#define FIDO2_WHY_BYTES 256
#define FIDO2_RP "wardfs"

struct fido2_credential {
	uint8_t bytes[FACTOR_FIDO2_CREDENTIAL_MAX];
	size_t len;
};

int fido2_is_available(void) WARN_UNUSED;

// device: its path; NULL: the token that is plugged in (with several: the first one for a new
// credential, the one that knows it for an old one). why: one line, what was wrong and what to do
// next. WERR_NOHARDWARE: no token, or none that knows the credential. WERR_SECRET: wrong PIN.
// WERR_LOCKOUT: too many of them. WERR_INTERRUPTED: not touched in time. WERR_NOTSUP: the token has
// no hmac-secret, or this build no support.

// Whether the token has a PIN.
int fido2_has_pin(const char *device, int *ret, char why[static FIDO2_WHY_BYTES]) WARN_UNUSED;
// pin: NULL for a token without one.
int fido2_enroll(const char *device, const struct secret *pin, struct fido2_credential *ret,
		 char why[static FIDO2_WHY_BYTES]) WARN_UNUSED;
int fido2_ask(const char *device, const struct secret *pin, const struct factor_fido2 *slot,
	      uint8_t secret[static FACTOR_SECRET_BYTES],
	      char why[static FIDO2_WHY_BYTES]) WARN_UNUSED;

#endif
