// SPDX-License-Identifier: Apache-2.0
// How far keyslots that were read can be believed: what this machine has seen of the vault, and
// what the mount says that has it open.
#ifndef WARDFS_TOOLS_TRUST_H
#define WARDFS_TOOLS_TRUST_H

#include "crypto/vault_header.h"
#include "fusefs/anchor.h"
#include "fusefs/host.h"

enum trust_basis {
	TRUST_FILES,        // nothing but the files
	TRUST_SECRET,       // opened with a secret, and nothing known here speaks against it
	TRUST_MOUNT,        // the mount has the same keyslots
	TRUST_CONTRADICTED, // the mount has others
	TRUST_OLDER,        // authentic, but older than, or another one than, this machine has seen
	TRUST_NO_RECORD,    // authentic, but this machine's record cannot be used
};

struct trust {
	enum trust_basis basis;
	struct anchor_state seen; // OLDER, NO_RECORD
};

int trust_is_verified(const struct trust *t);
// The word for JSON.
const char *trust_word(const struct trust *t);
// What a verb ends with that lists the keyslots: 0, WERR_AUTH (contradicted), WERR_ROLLBACK,
// WERR_ANCHOR.
int trust_code(const struct trust *t);

// Asks the anchor about a header that a secret opened; mac: its last bytes. Writes nothing. The
// basis is SECRET, OLDER or NO_RECORD afterwards. *ret: what the anchor has of the keyslots.
void trust_ask_anchor(struct host *host, const struct vault_header *h, const uint8_t *root_key,
		      const uint8_t mac[static ANCHOR_MAC_BYTES], struct trust *t,
		      struct anchor_claims *ret);
// Asks the mount of the vault `dir`, where there is one that is not locked: the keyslots that are
// in force are those of the mount, whatever numbers the header has that was read.
void trust_ask_mount(const char *dir, const uint8_t slots[static KEYSLOT_MAX][KEYSLOT_BYTES],
		     struct trust *t);

// One or more lines on standard error where the keyslots are not those in force.
void trust_warn(const char *dir, const struct trust *t);

#endif
