// SPDX-License-Identifier: Apache-2.0
#include <limits.h>

#include "tools/options.h"
#include "tools/secrets.h"

enum {
	KEY_PASSPHRASE = 0x2000,
	KEY_KEYFILE,
	KEY_RECOVERY,
	KEY_RECOVERY_FILE,
	KEY_SLOT,
	KEY_OFFSET,
	KEY_SIZE,
	KEY_QR,
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct secrets_source *s = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &s->passphrase;
		return 0;
	case KEY_PASSPHRASE:
		s->ask_passphrase = 1;
		return 0;
	case KEY_KEYFILE:
		s->keyfile = arg;
		return 0;
	case KEY_RECOVERY_FILE:
		s->recovery.kind = PASSPHRASE_FILE;
		s->recovery.path = arg;
		s->use_recovery = 1;
		return 0;
	case KEY_RECOVERY:
		s->use_recovery = 1;
		return 0;
	case KEY_SLOT:
		s->slot = (int)options_number(state, "slot", arg, 0, KEYSLOT_MAX - 1);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option table[] = {
	{"passphrase", KEY_PASSPHRASE, NULL, 0,
	 "ask for the passphrase, even where another secret would do", 2},
	{"keyfile", KEY_KEYFILE, "FILE", 0, "the key file of a keyslot", 2},
	{"recovery", KEY_RECOVERY, NULL, 0, "ask for a recovery code", 2},
	{"recovery-file", KEY_RECOVERY_FILE, "FILE", 0, "a recovery code, the first line of FILE",
	 2},
	{"slot", KEY_SLOT, "N", 0, "use the secret for keyslot N only", 2},
	{0},
};
static const struct argp_child children[] = {
	{&options_passphrase, 0, NULL, 0},
	{0},
};
const struct argp secrets_options = {.options = table, .parser = parse, .children = children};

static error_t parse_new(int key, char *arg, struct argp_state *state)
{
	struct secrets_new *n = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &n->passphrase;
		return 0;
	case KEY_PASSPHRASE:
		n->ask_passphrase = 1;
		return 0;
	case KEY_KEYFILE:
		n->keyfile = arg;
		return 0;
	case KEY_OFFSET:
		n->keyfile_offset = options_number(state, "new-keyfile-offset", arg, 0, INT64_MAX);
		return 0;
	case KEY_SIZE:
		n->keyfile_length =
			options_number(state, "new-keyfile-size", arg, 1, FACTOR_KEYFILE_MAX);
		return 0;
	case KEY_RECOVERY:
		n->use_recovery = 1;
		return 0;
	case KEY_QR:
		n->show_qr = 1;
		return 0;
	case ARGP_KEY_END:
		if ((n->keyfile_offset || n->keyfile_length) && !n->keyfile)
			argp_failure(state, EXIT_WARD_USAGE, 0,
				     "--new-keyfile-offset and --new-keyfile-size go with "
				     "--new-keyfile");
		if (n->show_qr && !n->use_recovery)
			argp_failure(state, EXIT_WARD_USAGE, 0, "--qr goes with --new-recovery");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option new_table[] = {
	{"new-passphrase", KEY_PASSPHRASE, NULL, 0,
	 "ask for a new passphrase, to go with another new secret", 3},
	{"new-keyfile", KEY_KEYFILE, "FILE", 0, "FILE becomes a key file", 3},
	{"new-keyfile-offset", KEY_OFFSET, "BYTES", 0, "where in FILE the key begins (default 0)",
	 3},
	{"new-keyfile-size", KEY_SIZE, "BYTES", 0,
	 "bytes of the key, at most 8 MiB (default: to the end of FILE)", 3},
	{"new-recovery", KEY_RECOVERY, NULL, 0, "draw a recovery code and show it once", 3},
	{"qr", KEY_QR, NULL, 0, "show the recovery code as a QR code too", 3},
	{0},
};
static const struct argp_child new_children[] = {
	{&options_new_passphrase, 0, NULL, 0},
	{0},
};
const struct argp secrets_new_options = {
	.options = new_table, .parser = parse_new, .children = new_children};

static error_t parse_new_passphrase(int key, char *arg, struct argp_state *state)
{
	struct secrets_new *n = state->input;

	(void)arg;
	if (key != ARGP_KEY_INIT)
		return ARGP_ERR_UNKNOWN;
	state->child_inputs[0] = &n->passphrase;
	return 0;
}

const struct argp secrets_new_passphrase_options = {.parser = parse_new_passphrase,
						    .children = new_children};
