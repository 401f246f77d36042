// SPDX-License-Identifier: Apache-2.0
// The keyslots of a vault as people see them: without a secret as the files claim, with one as the
// vault says.
#ifndef WARDFS_TOOLS_SLOTLIST_H
#define WARDFS_TOOLS_SLOTLIST_H

#include <jansson.h>
#include <limits.h>

#include "fusefs/slots.h"
#include "tools/secrets.h"
#include "tools/trust.h"

struct slotlist {
	uint8_t slots[KEYSLOT_MAX][KEYSLOT_BYTES];
	struct keyslot_info infos[KEYSLOT_MAX]; // point into slots
	unsigned used;
	uint32_t epochs[VAULT_MASTERS_MAX]; // of the master keys that the vault still has
	unsigned epochs_len;
	int is_opened;      // with a secret
	unsigned opened_by; // then: the slot
	struct trust trust;
	char dir[PATH_MAX];               // of the vault
	uint64_t last_use_s[KEYSLOT_MAX]; // on this machine, where it is known; else 0
	int copies_differ;                // the two header files name different secrets
};

// Reads the header of the vault `dir`, or of the one that is mounted there; opens it where the user
// named a secret (source may be NULL). Works beside a mount. Asks this machine's anchor and the
// mount how far it can be believed. Prints what goes wrong. The caller frees *ret with
// slotlist_free.
int slotlist_get(const char *dir, const struct secrets_source *source,
		 struct slotlist **ret) WARN_UNUSED;
void slotlist_free(struct slotlist *list);
// Opens and reads the vault `dir`, or the one that is mounted there; its path goes to ret. Prints
// what goes wrong. The caller closes and clears the other two.
int slotlist_read(const char *dir, char ret[static PATH_MAX], struct host **ret_host,
		  struct vault_sealed *ret_sealed) WARN_UNUSED;

// One slot as JSON; NULL: out of memory.
json_t *slotlist_json(const struct slotlist *list, unsigned index);
// "1024 MiB, 1 pass, 4 lanes"
void slotlist_cost(const struct argon_params *kdf, char *out, size_t cap);
// "2026-11-22"
void slotlist_date(uint64_t seconds, char *out, size_t cap);
// Prints an object as JSON and lets go of it. Prints what goes wrong.
int slotlist_print_json(json_t *object) WARN_UNUSED;

#endif
