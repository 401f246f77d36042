// SPDX-License-Identifier: Apache-2.0
#include "tools/options.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/argon.h"
#include "crypto/keyslot.h"
#include "crypto/text.h"
#include "crypto/werr.h"

enum {
	KEY_PASSFILE = 0x1000,
	KEY_PASSFD,
	KEY_EXTPASS,
	KEY_MEMORY,
	KEY_PASSES,
	KEY_TIME,
};

uint64_t options_number(struct argp_state *state, const char *option, const char *text,
			uint64_t min, uint64_t max)
{
	char *end = NULL;

	errno = 0;
	unsigned long long n = isdigit((unsigned char)*text) ? strtoull(text, &end, 10) : 0;
	if (!end || *end || errno)
		argp_failure(state, EXIT_WARD_USAGE, 0, "--%s: '%s' is not a number", option, text);
	else if (n < min || n > max)
		argp_failure(state, EXIT_WARD_LIMIT, 0,
			     "--%s: %s is out of bounds; choose %llu to %llu", option, text,
			     (unsigned long long)min, (unsigned long long)max);
	return n;
}

static void set_source(struct argp_state *state, struct passphrase_source *source,
		       enum passphrase_kind kind)
{
	if (source->kind != PASSPHRASE_AUTO)
		argp_failure(state, EXIT_WARD_USAGE, 0,
			     "more than one source of the same passphrase; name one");
	source->kind = kind;
}

static error_t parse_passphrase(int key, char *arg, struct argp_state *state)
{
	struct passphrase_source *source = state->input;

	switch (key) {
	case KEY_PASSFILE:
		set_source(state, source, PASSPHRASE_FILE);
		source->path = arg;
		return 0;
	case KEY_PASSFD:
		set_source(state, source, PASSPHRASE_FD);
		source->fd = (int)options_number(state, "passfd", arg, 0, INT_MAX);
		return 0;
	case KEY_EXTPASS:
		set_source(state, source, PASSPHRASE_COMMAND);
		source->command = arg;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option passphrase_table[] = {
	{NULL, 0, NULL, 0, "Where the passphrase comes from:", 2},
	{"passfile", KEY_PASSFILE, "FILE", 0, "the first line of FILE", 2},
	{"passfd", KEY_PASSFD, "N", 0, "the first line read from file descriptor N", 2},
	{"extpass", KEY_EXTPASS, "CMD", 0, "the first line that the shell command CMD prints", 2},
	{0},
};
const struct argp options_passphrase = {.options = passphrase_table, .parser = parse_passphrase};

static const struct argp_option new_passphrase_table[] = {
	{NULL, 0, NULL, 0, "Where the new passphrase comes from:", 3},
	{"new-passfile", KEY_PASSFILE, "FILE", 0, "the first line of FILE", 3},
	{"new-passfd", KEY_PASSFD, "N", 0, "the first line read from file descriptor N", 3},
	{"new-extpass", KEY_EXTPASS, "CMD", 0, "the first line that the shell command CMD prints",
	 3},
	{0},
};
const struct argp options_new_passphrase = {.options = new_passphrase_table,
					    .parser = parse_passphrase};

// Seconds, maybe with a fraction, as milliseconds.
static uint32_t parse_time(struct argp_state *state, const char *text)
{
	char *end = NULL;
	double s = isdigit((unsigned char)*text) ? strtod(text, &end) : 0;

	if (!end || *end)
		argp_failure(state, EXIT_WARD_USAGE, 0, "--kdf-time: '%s' is not a number", text);
	else if (s < 0.1 || s > 60)
		argp_failure(state, EXIT_WARD_LIMIT, 0,
			     "--kdf-time: %s is out of bounds; choose 0.1 to 60 seconds", text);
	return (uint32_t)(s * 1000);
}

static error_t parse_kdf(int key, char *arg, struct argp_state *state)
{
	struct options_kdf *kdf = state->input;

	switch (key) {
	case KEY_MEMORY:
		kdf->memory_mib = (uint32_t)options_number(state, "kdf-memory", arg,
							   ARGON_MEMORY_MIN_KIB / 1024,
							   ARGON_MEMORY_MAX_KIB / 1024);
		return 0;
	case KEY_PASSES:
		kdf->passes =
			(uint32_t)options_number(state, "kdf-passes", arg, 1, ARGON_PASSES_MAX);
		return 0;
	case KEY_TIME:
		kdf->time_ms = parse_time(state, arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option kdf_table[] = {
	{NULL, 0, NULL, 0, "What a guess at the passphrase costs (measured when not given):", 1},
	{"kdf-memory", KEY_MEMORY, "MIB", 0, "memory of Argon2id, 8 to 4096 MiB", 1},
	{"kdf-passes", KEY_PASSES, "N", 0, "passes of Argon2id, 1 to 64", 1},
	{"kdf-time", KEY_TIME, "SECONDS", 0, "what to measure for, 0.1 to 60 (default 1)", 1},
	{0},
};
const struct argp options_kdf_argp = {.options = kdf_table, .parser = parse_kdf};

const char *options_label(struct argp_state *state, const char *text)
{
	if (strlen(text) > KEYSLOT_LABEL_MAX)
		argp_failure(state, EXIT_WARD_LIMIT, 0, "label: longer than %d bytes",
			     KEYSLOT_LABEL_MAX);
	if (!text_is_printable(text, strlen(text)))
		argp_failure(state, EXIT_WARD_USAGE, 0, "label: control characters, or not UTF-8");
	return text;
}

void options_parse(const struct argp *argp, int argc, char **argv, void *input)
{
	if (argp_parse(argp, argc, argv, 0, NULL, input))
		exit(EXIT_WARD_USAGE);
}

error_t options_operands(int key, char *arg, struct argp_state *state, const char **operands,
			 unsigned count, const char *names)
{
	switch (key) {
	case ARGP_KEY_ARG:
		if (state->arg_num >= count)
			argp_failure(state, EXIT_WARD_USAGE, 0,
				     "'%s' is one argument too many; see '%s --help'", arg,
				     state->name);
		operands[state->arg_num] = arg;
		return 0;
	case ARGP_KEY_END:
		if (state->arg_num < count)
			argp_failure(state, EXIT_WARD_USAGE, 0,
				     "argument missing: %s; see '%s --help'", names, state->name);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}
