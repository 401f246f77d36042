// SPDX-License-Identifier: Apache-2.0
// The one place where the programs gather what opens a vault: which factors (passphrase, key file,
// recovery code, TPM2, FIDO2), from where, for which keyslot. wardfs(1), "Secrets". Everything that
// needs a file, a chip or a token happens here, in the command that the user started: the process
// that holds the keys gets finished bytes and needs no device, and crypto/ knows no hardware. The
// factors' own parts stand behind one table, one file each (tools/factor_*.c).
#ifndef WARDFS_TOOLS_SECRETS_H
#define WARDFS_TOOLS_SECRETS_H

#include <argp.h>

#include "crypto/offer.h"
#include "fusefs/vault.h"
#include "tools/passphrase.h"

// Where hardware is found.
struct secrets_hardware {
	const char *tpm2;  // TCTI of the TPM, NULL: the machine's
	const char *fido2; // path of the token, NULL: the only one there is
	struct passphrase_source pin;
};

// What opens a vault.
struct secrets_source {
	struct passphrase_source passphrase;
	const char *prompt; // for it; NULL: "Passphrase"
	int ask_passphrase; // even where a key file alone would do
	const char *keyfile;
	// Which bytes of it; 0, 0: all of them. Only a keyslot that takes just these is tried.
	uint64_t keyfile_offset, keyfile_length;
	struct passphrase_source recovery;
	int use_recovery;
	int use_tpm2;
	int use_fido2;
	struct secrets_hardware hardware;
	int slot;      // this one only; -1: any
	int is_wanted; // ask although the user named nothing
};
#define SECRETS_SOURCE_INIT                                                   \
	{                                                                     \
		.passphrase = {.credential = "wardfs.passphrase"},            \
		.recovery = {.credential = "wardfs.recovery"},                \
		.hardware = {.pin = {.credential = "wardfs.pin"}}, .slot = -1 \
	}

// --passfile, --passfd, --extpass, --passphrase, --keyfile, --keyfile-offset, --keyfile-size,
// --recovery, --recovery-file, --tpm2,
// --fido2, --pinfile, --pinfd, --tpm2-device, --fido2-device, --slot. Input: struct secrets_source.
extern const struct argp secrets_options;

// What a new keyslot is made of: one factor or two; none said: a passphrase.
struct secrets_new {
	struct passphrase_source passphrase;
	int ask_passphrase;
	const char *keyfile;
	uint64_t keyfile_offset, keyfile_length;
	int use_recovery;
	int show_qr;
	int use_tpm2;
	int use_fido2;
	struct secrets_hardware hardware;
};
#define SECRETS_NEW_INIT                                                             \
	{                                                                            \
		.passphrase = {.credential = "wardfs.new-passphrase"}, .hardware = { \
			.pin = {.credential = "wardfs.new-pin"}                      \
		}                                                                    \
	}

// --new-passfile …. Input: struct secrets_new. secrets_new_passphrase_options: only those of a
// passphrase.
extern const struct argp secrets_new_options;
extern const struct argp secrets_new_passphrase_options;

// Gathers an offer for the vault whose header files are in `sealed`; asks where nothing else is
// said. Prints what goes wrong. dir: for messages. The caller clears *ret.
int secrets_get(const struct secrets_source *source, const char *dir,
		const struct vault_sealed *sealed, struct secret *ret) WARN_UNUSED;
// The same from the path of the vault directory.
int secrets_get_at(const struct secrets_source *source, const char *dir,
		   struct secret *ret) WARN_UNUSED;

// Whether the user named any secret.
int secrets_given(const struct secrets_source *source) WARN_UNUSED;
// Whether secrets_make would ask on the terminal.
int secrets_new_asks(const struct secrets_new *fresh) WARN_UNUSED;

// The factors of a new slot, from what the user said.
struct secrets_made {
	uint16_t kind;
	uint8_t params[FACTOR_PARAMS_MAX];
	size_t params_len;
	struct secret offer; // for every slot
};
// Makes the secrets of a new slot: asks for the passphrase twice, reads the key file, draws a
// recovery code and shows it, makes keys in hardware. Prints what goes wrong. secrets_made_clear in
// any case.
int secrets_make(const struct secrets_new *fresh, struct secrets_made *ret) WARN_UNUSED;
void secrets_made_clear(struct secrets_made *m);

// "passphrase", "passphrase and key file" …, for people; cap at least 64.
void secrets_kind_name(uint16_t kind, char *out, size_t cap);
// "passphrase", "passphrase+keyfile" …, for programs.
void secrets_kind_word(uint16_t kind, char *out, size_t cap);

#endif
