// SPDX-License-Identifier: Apache-2.0
// The vault header: codec and MAC. wardfs-vault(5), "Vault header". Bytes in, bytes out;
// thread-safe. Order of checks when opening: magic, format, length, incompatible features, clear
// parts of the slots (canonical, KDF bounds) → a slot opened with the secret → MAC → everything
// else (canonical zeros, numbers in range, state, serials, masters). Nothing else is acted on
// before the MAC.
#ifndef WARDFS_CRYPTO_VAULT_HEADER_H
#define WARDFS_CRYPTO_VAULT_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/keyslot.h"
#include "crypto/werr.h"

#define VAULT_HEADER_BYTES 106496
#define VAULT_FORMAT 1
#define VAULT_MASTERS_MAX 64
#define MASTER_KEY_BYTES 64
#define MASTER_WRAPPED_BYTES (16 + MASTER_KEY_BYTES)
#define MOUNT_NUMBER_MAX 0xffffffu
#define VAULT_WRITTEN_BYTES 16
#define VAULT_CLASS 1 // the one class of format 1
#define VAULT_JOURNAL_MIN_BYTES (8ull << 20)
#define VAULT_JOURNAL_MAX_BYTES (4ull << 30)

enum vault_state {
	VAULT_CLEAN = 0,
	VAULT_DIRTY = 1,
	VAULT_REPLAYING = 2, // dirty, and the journal of `replaying` is being replayed
};

struct master_record {
	uint16_t class_; // 0: empty
	uint32_t epoch;
	uint8_t wrapped[MASTER_WRAPPED_BYTES];
};

// A rotation that is under way (fusefs/rotate.h). All zero: none.
enum vault_rotation_level {
	VAULT_ROTATION_NONE = 0,
	VAULT_ROTATION_KEYS = 1,     // every object gets new keys under the current epoch
	VAULT_ROTATION_CONTENTS = 2, // and every page is sealed again
};
struct vault_rotation {
	uint32_t level;       // enum vault_rotation_level
	uint64_t number;      // object at whose subtree it is aimed; 1 (the root): everything
	uint64_t incarnation; // of that object
	uint64_t started_s;
	uint64_t max_rate; // bytes a second, VAULT_RATE_MIN..VAULT_RATE_MAX; 0: no limit
};
#define VAULT_RATE_MIN 4096u // a page
#define VAULT_RATE_MAX (1ull << 50)
static inline bool vault_rate_valid(uint64_t rate)
{
	return rate == 0 || (rate >= VAULT_RATE_MIN && rate <= VAULT_RATE_MAX);
}

// When the vault is locked by itself, and when it destroys itself (daemon/policy.h). All zero:
// nothing is said.
#define VAULT_POLICY_TIME_MAX_S (366u * 86400)
#define VAULT_POLICY_EVENTS 6 // idle, max-time, signal, sleep, screen lock, session end
#define VAULT_WIPE_MIN 3
#define VAULT_WIPE_MAX 1000
enum vault_policy_action {
	VAULT_POLICY_UNSAID = 0,
	VAULT_POLICY_LOCK = 1,
	VAULT_POLICY_UNMOUNT = 2,
	VAULT_POLICY_NOTHING = 3,
};
struct vault_policy {
	uint32_t idle_s, max_time_s; // at most VAULT_POLICY_TIME_MAX_S
	uint8_t on[VAULT_POLICY_EVENTS];
	uint32_t wipe_after; // failed attempts: 0, or VAULT_WIPE_MIN..VAULT_WIPE_MAX
};

struct vault_header {
	uint8_t vault_id[VAULT_ID_BYTES];
	uint32_t mount;     // mount number, 24 bits; 0: never mounted, only in VAULT_CLEAN
	uint32_t state;     // enum vault_state
	uint32_t replaying; // mount number below `mount`, only in VAULT_REPLAYING
	uint64_t write_counter;
	uint64_t journal_sequence; // only in VAULT_CLEAN
	uint64_t root_incarnation; // not 0
	uint64_t root_generation;  // the least that the root object may show; of `mount` or an
				   // earlier one
	uint32_t root_epoch;       // the least, 1..epoch
	uint32_t epoch;            // current epoch of class 1: that of the last master
	uint64_t journal_bytes;    // VAULT_JOURNAL_MIN_BYTES..MAX, whole pages
	uint64_t created_s;
	uint8_t written[VAULT_WRITTEN_BYTES]; // random, new with every write: two copies of a
					      // vault that went their own ways differ in it
	struct vault_policy policy;
	struct vault_rotation rotation;
	uint8_t slots[KEYSLOT_MAX][KEYSLOT_BYTES];
	unsigned masters_len;
	struct master_record masters[VAULT_MASTERS_MAX]; // sorted by (class, epoch)
};

// What can be known without a secret, unauthenticated: used to open one slot only.
// WERR_NOTVAULT (magic), WERR_TRUNCATED, WERR_MALFORMED (length), WERR_UNSUPPORTED (format,
// incompat features), WERR_LIMIT (slot parameters), WERR_MALFORMED, WERR_UNSUPPORTED (slots).
// Outputs untouched on failure.
int vault_header_peek(const uint8_t *buf, size_t len, uint8_t vault_id[static VAULT_ID_BYTES],
		      struct keyslot_info infos[static KEYSLOT_MAX]) WARN_UNUSED;

// A pointer to slot `index` inside an encoded header of VAULT_HEADER_BYTES; NULL beyond the last
// slot.
const uint8_t *vault_header_slot(const uint8_t *buf, unsigned index);

// The epochs of the master records of a header that peeks, unauthenticated; returns how many.
unsigned vault_header_peek_epochs(const uint8_t *buf, uint32_t epochs[static VAULT_MASTERS_MAX]);

// The policy of a header that peeks, unauthenticated: for showing it, and for what happens when
// nobody can open the vault. WERR_MALFORMED; *ret untouched on failure.
int vault_header_peek_policy(const uint8_t *buf, struct vault_policy *ret) WARN_UNUSED;

// Checks the MAC (WERR_AUTH) and then decodes strictly (WERR_MALFORMED, WERR_LIMIT,
// WERR_UNSUPPORTED: any feature bit, a class or slot kind of a later format). *ret untouched on
// failure.
int vault_header_decode(const uint8_t *buf, size_t len,
			const uint8_t root_key[static ROOT_KEY_BYTES],
			struct vault_header *ret) WARN_UNUSED;

// Encodes and MACs into buf[VAULT_HEADER_BYTES] with the header MAC key (32 bytes, from
// keyring_header_mac()). Refuses what decode would refuse, with the same code.
int vault_header_encode(const struct vault_header *h, const uint8_t mac_key[static 32],
			uint8_t *buf) WARN_UNUSED;

#endif
