// SPDX-License-Identifier: Apache-2.0
// The anchor at work: the file outside the vault that tells a vault from its older copies. Attached
// to the vault's host before the vault is opened (host->anchor), it is looked at by vault_open and
// vault_passwd, follows every write of the vault header, and is brought up to date by the engine
// while the vault is in use. It only ever claims what is durable in the vault. wardfs-vault(5),
// "Anchor". Thread-safe but for anchor_new and anchor_free.
#ifndef WARDFS_FUSEFS_ANCHOR_H
#define WARDFS_FUSEFS_ANCHOR_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/anchor_codec.h"
#include "crypto/keyring.h"
#include "crypto/vault_header.h"
#include "fusefs/host.h"

#define ANCHOR_FILE "anchor"

struct anchor;
struct journal_claim; // fusefs/journal.h

struct anchor_params {
	// Opens the directory that is this vault's own in the state directory (made when `create`
	// is set). WERR_NOTFOUND, WERR_NOTDIR: it is not there, and nothing in it either. What
	// fails otherwise without `create` may hide an anchor.
	int (*open)(void *arg, const uint8_t vault_id[static VAULT_ID_BYTES], int create,
		    struct host **ret);
	void *open_arg;
	const char *machine; // what to call this machine; copied, cut, cleaned; may be NULL
	int readonly;        // compares, and writes nothing
	int accepting;       // an older vault is no error: the caller will ask what to do
};
int anchor_new(const struct anchor_params *params, struct anchor **ret) WARN_UNUSED;
void anchor_free(
	struct anchor *a); // NULL is fine; keys are wiped, the directory's lock is given up

// What a comparison found.
enum anchor_verdict {
	ANCHOR_UNCHECKED,
	ANCHOR_NEW,        // none was there
	ANCHOR_SAME,       // the vault is as this machine left it
	ANCHOR_AHEAD,      // it was used elsewhere since, or the last anchor could not be written
	ANCHOR_NOPLACE,    // there is no state directory
	ANCHOR_OLDER,      // the vault is an earlier state
	ANCHOR_FORKED,     // another state of the same age
	ANCHOR_CUT,        // its journal ends too early, or is an older one
	ANCHOR_UNUSABLE,   // the anchor cannot be read: damaged, foreign
	ANCHOR_OLDER_KEYS, // nor can this one, since the vault lacks its keys: they are later ones
	ANCHOR_UNREACHABLE // there may be one, but its directory cannot be opened
};

// A keyslot that differs from the last unlock on this machine.
enum anchor_slot_change { ANCHOR_SLOT_ADDED, ANCHOR_SLOT_REMOVED, ANCHOR_SLOT_CHANGED };

struct anchor_state {
	enum anchor_verdict verdict;
	int trouble; // NOPLACE, UNUSABLE, UNREACHABLE, and when the last write failed: the code;
		     // else 0
	struct anchor_claims known; // as it was found (where none was read: zeros)
	uint32_t known_epoch;       // OLDER_KEYS: of the anchor
	// The vault that was compared.
	uint32_t mount, state, epoch;
	uint64_t write_counter;
	uint64_t journal_sequence; // CUT: where the journal ends
	unsigned changes_len;
	struct anchor_change {
		unsigned index;
		enum anchor_slot_change what;
		char label[KEYSLOT_LABEL_MAX + 1];
	} changes[KEYSLOT_MAX];
};
void anchor_get(struct anchor *a, struct anchor_state *ret);
// What the file says now.
void anchor_get_claims(struct anchor *a, struct anchor_claims *ret);

// Lines for people, without a newline; the length that snprintf gives, 0 when there is nothing to
// say. Refusal: why the vault (or the anchor) was refused. News: what there is to tell at an
// unlock.
int anchor_refusal(const struct anchor_state *s, char *buf, size_t cap);
int anchor_news(const struct anchor_state *s, char *buf, size_t cap);
// Which keyslots differ, the nth line (from 0).
int anchor_change_line(const struct anchor_state *s, unsigned n, char *buf, size_t cap);

// ---- for the vault and the engine ----

// At an unlock with slot `slot`; mac: the end of the encoded header that was read. Takes the lock
// of the anchor's directory (WERR_BUSY: another copy of the vault is in use here). WERR_ROLLBACK:
// older or forked. WERR_ANCHOR: unusable, or out of reach. No place for an anchor, and a missing
// one, are no errors.
int anchor_check(struct anchor *a, const struct vault_header *h, const struct keyring *ring,
		 const uint8_t mac[static ANCHOR_MAC_BYTES], unsigned slot) WARN_UNUSED;
// At a replay: the journal as it stands, and the root's generation that it gives. WERR_ROLLBACK.
int anchor_check_journal(struct anchor *a, const struct journal_claim *j,
			 uint64_t root_generation) WARN_UNUSED;
// The header was written, durably, to both files. Keys are taken from the ring anew.
void anchor_note_header(struct anchor *a, const struct vault_header *h, const struct keyring *ring,
			const uint8_t mac[static ANCHOR_MAC_BYTES]);
// What is durable of the journal and of the last checkpoint. `write`: at once, if it is news;
// otherwise with the next header.
void anchor_note_journal(struct anchor *a, const struct journal_claim *j, uint64_t root_generation,
			 int write);
// The slots as they are now have been told of; the next write records them.
void anchor_tell_slots(struct anchor *a);
// From here on whatever is written next counts, however old: after a person has accepted it.
void anchor_accept(struct anchor *a);
// Wipes the keys (the vault is closed): nothing is written until the next unlock.
void anchor_forget(struct anchor *a);

#endif
