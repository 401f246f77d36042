// SPDX-License-Identifier: Apache-2.0
// Private to gcm*.c: what a back end of AES-256-GCM has to offer. Its functions get checked lengths
// and leave the wiping of outputs to gcm.c.
#ifndef WARDFS_CRYPTO_GCM_BACKEND_H
#define WARDFS_CRYPTO_GCM_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/gcm.h"

struct gcm_backend;

// In secret memory. A key stays with the back end that expanded it.
struct gcm_key {
	const struct gcm_backend *backend;
	uint64_t id;    // unique in the process, never 0, never used again
	void *expanded; // backend->expanded_bytes, 64-byte aligned, in the same object
};

struct gcm_text {
	const uint8_t *nonce;
	const void *aad;
	size_t aad_len;
	const void *in;
	size_t len;
	void *out;
};

struct gcm_backend {
	const char *name;
	size_t expanded_bytes;
	// Sets up what the process needs; WERR_UNSUPPORTED when the machine cannot. Called once,
	// under a lock, before anything below.
	int (*init)(void);
	// Whether this one should be taken where nobody asks for another.
	int (*preferred)(void);
	// Name with version.
	const char *(*describe)(void);
	void (*expand)(struct gcm_key *key, const uint8_t raw[static GCM_KEY_BYTES]);
	int (*seal)(const struct gcm_key *key, const struct gcm_text *text,
		    uint8_t tag[static GCM_TAG_BYTES]);
	int (*open)(const struct gcm_key *key, const struct gcm_text *text,
		    const uint8_t tag[static GCM_TAG_BYTES]);
	// Wipes whatever the back end keeps of a key outside key->expanded, in every thread.
	void (*forget)(const struct gcm_key *key);
};

extern const struct gcm_backend gcm_evp;
#ifdef WARDFS_IPSEC_MB
extern const struct gcm_backend gcm_ipsec;
#endif

#endif
