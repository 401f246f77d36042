// SPDX-License-Identifier: Apache-2.0
// Between tools/secrets.c and the factors' own parts (tools/factor_*.c).
#ifndef WARDFS_TOOLS_FACTORS_H
#define WARDFS_TOOLS_FACTORS_H

#include "tools/secrets.h"

#define FACTORS_WHY_BYTES 256

// A slot whose secret is wanted.
struct factors_slot {
	unsigned index;
	const char *label;
	const uint8_t *params; // this factor's
	size_t params_len;
};

struct factors_part {
	enum factor factor;
	// Whether the secret is another one for each slot (it depends on the slot's parameters).
	int is_per_slot;
	// Whether the user named this factor.
	int (*is_given)(const struct secrets_source *source);
	int (*is_new)(const struct secrets_new *fresh);
	// The secret of a slot (NULL where it is the same for all). why: one line, what was wrong
	// and what to do next; empty where it was printed already.
	int (*get)(const struct secrets_source *source, const struct factors_slot *slot,
		   struct secret *ret, char why[static FACTORS_WHY_BYTES]);
	// A new secret; its parameters, if any, into params. Prints what goes wrong.
	int (*make)(const struct secrets_new *fresh, struct wcursor *params, struct secret *ret);
	// Lets go of what get and make keep (a PIN asked for once, a connection); NULL: nothing.
	void (*end)(void);
};

extern const struct factors_part factors_passphrase;
extern const struct factors_part factors_keyfile;
extern const struct factors_part factors_recovery;
extern const struct factors_part factors_tpm2;
extern const struct factors_part factors_fido2;

// vsnprintf into why; returns code.
int factors_why(char why[static FACTORS_WHY_BYTES], int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
