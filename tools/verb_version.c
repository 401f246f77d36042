// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include <fuse_lowlevel.h>
#include <jansson.h>
#include <openssl/crypto.h>

#include "crypto/gcm.h"
#include "crypto/vault_header.h"
#include "tools/options.h"
#include "tools/report.h"
#include "tools/verbs.h"

// The library does not tell its version; the build does.
#ifndef WARDFS_ARGON2_VERSION
#define WARDFS_ARGON2_VERSION "unknown"
#endif

static error_t parse(int key, char *arg, struct argp_state *state)
{
	return options_operands(key, arg, state, NULL, 0, "");
}

int verb_version(int argc, char **argv)
{
	const struct argp argp = {.parser = parse,
				  .doc = "Says the versions of the program, of its vault format, "
					 "and of the libraries "
					 "it runs with."};

	options_parse(&argp, argc, argv, NULL);
	int err = gcm_init(NULL);
	if (err)
		return report_fail(err, NULL, "AES-256-GCM failed its self-test: %s",
				   werr_text(err));
	printf("wardfs %s\n", WARDFS_VERSION);
	printf("vault format: %d\n", VAULT_FORMAT);
	printf("AES-256-GCM: %s\n", gcm_backend());
	printf("libcrypto: %s\n", OpenSSL_version(OPENSSL_VERSION));
	printf("libargon2: %s\n", WARDFS_ARGON2_VERSION);
	printf("libfuse: %s\n", fuse_pkgversion());
	printf("jansson: %s\n", jansson_version_str());
	return 0;
}
