// SPDX-License-Identifier: Apache-2.0
// The TPM 2.0 of this machine, through tpm2-tss: sealing 32 bytes behind a PIN. wardfs-vault(5),
// "TPM2". What happens here happens in a child (tools/apart.h).
#ifndef WARDFS_TOOLS_TPM2_H
#define WARDFS_TOOLS_TPM2_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/factor.h"
#include "crypto/secret.h"

#define TPM2_WHY_BYTES 256

struct tpm2_sealed {
	uint8_t secret[FACTOR_SECRET_BYTES]; // drawn here
	uint8_t pub[FACTOR_TPM2_BLOB_MAX];
	size_t pub_len;
	uint8_t priv[FACTOR_TPM2_BLOB_MAX];
	size_t priv_len;
};

int tpm2_is_available(void) WARN_UNUSED;

// device: a TCTI ("device:/dev/tpmrm0", "swtpm:path=…"); NULL: the machine's TPM. why: one line,
// what was wrong and what to do next. tpm2_find only looks whether it is there. WERR_NOHARDWARE: no
// TPM. WERR_NOTSUP: this build has no support.
int tpm2_find(const char *device, char why[static TPM2_WHY_BYTES]) WARN_UNUSED;
int tpm2_seal(const char *device, const struct secret *pin, struct tpm2_sealed *ret,
	      char why[static TPM2_WHY_BYTES]) WARN_UNUSED;
// WERR_SECRET: wrong PIN. WERR_LOCKOUT: too many of them. WERR_NOHARDWARE: also another TPM than
// the one that sealed it, or this one after it was cleared.
int tpm2_unseal(const char *device, const struct secret *pin, const struct factor_tpm2 *object,
		uint8_t secret[static FACTOR_SECRET_BYTES],
		char why[static TPM2_WHY_BYTES]) WARN_UNUSED;

#endif
