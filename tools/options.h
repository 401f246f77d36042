// SPDX-License-Identifier: Apache-2.0
// Option bits that several verbs share, as argp children, and parsing of numbers.
#ifndef WARDFS_TOOLS_OPTIONS_H
#define WARDFS_TOOLS_OPTIONS_H

#include <argp.h>
#include <stdint.h>

#include "tools/passphrase.h"

// --passfile, --passfd, --extpass. Input: struct passphrase_source.
extern const struct argp options_passphrase;
// --new-passfile, --new-passfd, --new-extpass. Input: struct passphrase_source.
extern const struct argp options_new_passphrase;

struct options_kdf {
	uint32_t memory_mib; // 0: calibrate
	uint32_t passes;     // 0: calibrate
	uint32_t time_ms;    // what to calibrate for; 0: a second
};
// --kdf-memory, --kdf-passes, --kdf-time. Input: struct options_kdf.
extern const struct argp options_kdf_argp;

// Runs argp over a verb's arguments. More than the expected number of operands, or fewer, is an
// error. operands: `count` of them. Ends the program (usage error, --help) where argp does.
void options_parse(const struct argp *argp, int argc, char **argv, void *input);

// A decimal number in min..max; ends the program with a usage error naming `option` otherwise.
uint64_t options_number(struct argp_state *state, const char *option, const char *text,
			uint64_t min, uint64_t max);

// A label for a keyslot; ends the program with a usage error where it cannot be one.
const char *options_label(struct argp_state *state, const char *text);

// For parser functions: takes the operands ARGP_KEY_ARG, and checks their number at ARGP_KEY_END.
// `names` is what is missing ("DIR MNT").
error_t options_operands(int key, char *arg, struct argp_state *state, const char **operands,
			 unsigned count, const char *names);

#endif
