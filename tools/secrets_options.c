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
	KEY_TPM2,
	KEY_FIDO2,
	KEY_PINFILE,
	KEY_PINFD,
	KEY_TPM2_DEVICE,
	KEY_FIDO2_DEVICE,
};

static error_t parse_hardware(int key, char *arg, struct argp_state *state)
{
	struct secrets_hardware *h = state->input;

	switch (key) {
	case KEY_PINFILE:
		h->pin.kind = PASSPHRASE_FILE;
		h->pin.path = arg;
		return 0;
	case KEY_PINFD:
		h->pin.kind = PASSPHRASE_FD;
		h->pin.fd = (int)options_number(state, "pinfd", arg, 0, INT_MAX);
		return 0;
	case KEY_TPM2_DEVICE:
		h->tpm2 = arg;
		return 0;
	case KEY_FIDO2_DEVICE:
		h->fido2 = arg;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option hardware_table[] = {
	{"pinfile", KEY_PINFILE, "FILE", 0, "the PIN of TPM or token, the first line of FILE", 2},
	{"pinfd", KEY_PINFD, "N", 0, "the PIN, the first line read from file descriptor N", 2},
	{"tpm2-device", KEY_TPM2_DEVICE, "TCTI", 0, "which TPM (default device:/dev/tpmrm0)", 2},
	{"fido2-device", KEY_FIDO2_DEVICE, "PATH", 0, "which token (default: any)", 2},
	{0},
};
static const struct argp hardware = {.options = hardware_table, .parser = parse_hardware};
static const struct argp_option new_hardware_table[] = {
	{"new-pinfile", KEY_PINFILE, "FILE", 0, "the new slot's PIN, the first line of FILE", 3},
	{"new-pinfd", KEY_PINFD, "N", 0, "the PIN, the first line read from file descriptor N", 3},
	{"new-tpm2-device", KEY_TPM2_DEVICE, "TCTI", 0, "which TPM", 3},
	{"new-fido2-device", KEY_FIDO2_DEVICE, "PATH", 0, "which token (default: the first)", 3},
	{0},
};
static const struct argp new_hardware = {.options = new_hardware_table, .parser = parse_hardware};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct secrets_source *s = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &s->passphrase;
		state->child_inputs[1] = &s->hardware;
		return 0;
	case KEY_TPM2:
		s->use_tpm2 = 1;
		return 0;
	case KEY_FIDO2:
		s->use_fido2 = 1;
		return 0;
	case KEY_PASSPHRASE:
		s->ask_passphrase = 1;
		return 0;
	case KEY_KEYFILE:
		s->keyfile = arg;
		return 0;
	case KEY_OFFSET:
		s->keyfile_offset = options_number(state, "keyfile-offset", arg, 0, INT64_MAX);
		return 0;
	case KEY_SIZE:
		s->keyfile_length =
			options_number(state, "keyfile-size", arg, 1, FACTOR_KEYFILE_MAX);
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
	case ARGP_KEY_END:
		if ((s->keyfile_offset || s->keyfile_length) && !s->keyfile)
			argp_failure(state, EXIT_WARD_USAGE, 0,
				     "--keyfile-offset and --keyfile-size go with --keyfile");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option table[] = {
	{"passphrase", KEY_PASSPHRASE, NULL, 0,
	 "ask for the passphrase, even where another secret would do", 2},
	{"keyfile", KEY_KEYFILE, "FILE", 0, "the key file of a keyslot", 2},
	{"keyfile-offset", KEY_OFFSET, "BYTES", 0, "where in FILE the key begins (default 0)", 2},
	{"keyfile-size", KEY_SIZE, "BYTES", 0, "bytes of the key (default: to the end of FILE)", 2},
	{"recovery", KEY_RECOVERY, NULL, 0, "ask for a recovery code", 2},
	{"recovery-file", KEY_RECOVERY_FILE, "FILE", 0, "a recovery code, the first line of FILE",
	 2},
	{"tpm2", KEY_TPM2, NULL, 0, "the machine's TPM, which asks for a PIN", 2},
	{"fido2", KEY_FIDO2, NULL, 0, "a FIDO2 token", 2},
	{"slot", KEY_SLOT, "N", 0, "use the secret for keyslot N only", 2},
	{0},
};
static const struct argp_child children[] = {
	{&options_passphrase, 0, NULL, 0},
	{&hardware, 0, NULL, 0},
	{0},
};
const struct argp secrets_options = {.options = table, .parser = parse, .children = children};

static error_t parse_new(int key, char *arg, struct argp_state *state)
{
	struct secrets_new *n = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &n->passphrase;
		state->child_inputs[1] = &n->hardware;
		return 0;
	case KEY_TPM2:
		n->use_tpm2 = 1;
		return 0;
	case KEY_FIDO2:
		n->use_fido2 = 1;
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
		n->keyfile_length = options_number(state, "new-keyfile-size", arg,
						   FACTOR_KEYFILE_MIN, FACTOR_KEYFILE_MAX);
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
	 "bytes of the key, 16 to 8 MiB (default: to the end of FILE)", 3},
	{"new-recovery", KEY_RECOVERY, NULL, 0, "draw a recovery code and show it once", 3},
	{"new-tpm2", KEY_TPM2, NULL, 0, "seal a secret in the machine's TPM, behind a PIN", 3},
	{"new-fido2", KEY_FIDO2, NULL, 0, "take a secret from a FIDO2 token", 3},
	{"qr", KEY_QR, NULL, 0, "show the recovery code as a QR code too", 3},
	{0},
};
static const struct argp_child new_children[] = {
	{&options_new_passphrase, 0, NULL, 0},
	{&new_hardware, 0, NULL, 0},
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

static const struct argp_child new_passphrase_children[] = {
	{&options_new_passphrase, 0, NULL, 0},
	{0},
};
const struct argp secrets_new_passphrase_options = {.parser = parse_new_passphrase,
						    .children = new_passphrase_children};
