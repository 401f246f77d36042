// SPDX-License-Identifier: Apache-2.0
// Argon2id in a short-lived child process: the hundreds of MiB that a passphrase was ground
// through are never part of the process that goes on with the key. The child dies with its parent.
#ifndef WARDFS_DAEMON_KDF_CHILD_H
#define WARDFS_DAEMON_KDF_CHILD_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/argon.h"

// From now on argon_derive works through kdf_child_derive.
void kdf_child_install(void);

// As argon_derive. WERR_KDFMEM also when the child was killed: that is what the kernel does when
// memory runs out. WERR_INTERRUPTED: see kdf_child_refuse. The calling process must not ignore
// SIGCHLD.
int kdf_child_derive(const struct argon_params *params, const void *pass, size_t pass_len,
		     const uint8_t *salt, uint8_t *kek) WARN_UNUSED;

// refuse: ends every derivation that runs, and lets none begin: they fail with WERR_INTERRUPTED.
// 0: they may begin again. As at the start. Thread-safe.
void kdf_child_refuse(int refuse);

#endif
