// SPDX-License-Identifier: Apache-2.0
// Where passphrases come from. wardfs(1), "Passphrase sources". A passphrase passes through secret
// memory only; it is bytes, not text: everything up to the first newline.
#ifndef WARDFS_TOOLS_PASSPHRASE_H
#define WARDFS_TOOLS_PASSPHRASE_H

#include "crypto/secret.h"
#include "crypto/werr.h"

#define PASSPHRASE_MAX_BYTES 4096

enum passphrase_kind {
	PASSPHRASE_AUTO, // systemd credential, else terminal, else standard input
	PASSPHRASE_FILE,
	PASSPHRASE_FD,
	PASSPHRASE_COMMAND,
};

struct passphrase_source {
	enum passphrase_kind kind;
	const char *path;       // PASSPHRASE_FILE
	int fd;                 // PASSPHRASE_FD; read byte by byte, never past the newline
	const char *command;    // PASSPHRASE_COMMAND, for /bin/sh -c
	const char *credential; // PASSPHRASE_AUTO: file name in $CREDENTIALS_DIRECTORY
};

// Gets the passphrase and prints what goes wrong. prompt: what a terminal user is asked for
// ("Passphrase"); ask_twice: a terminal user types it a second time. Empty ones are refused.
// *ret is the caller's to clear; untouched on failure.
int passphrase_get(const struct passphrase_source *source, const char *prompt, int ask_twice,
		   struct secret *ret) WARN_UNUSED;

// Whether passphrase_get would ask on the terminal.
int passphrase_asks(const struct passphrase_source *source) WARN_UNUSED;

#endif
