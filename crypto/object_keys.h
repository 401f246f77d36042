// SPDX-License-Identifier: Apache-2.0
// The keys of one object: a header key and 1..7 data-key generations, random, wrapped by the master
// key of (class, epoch). wardfs-vault(5), "Object keys". Opaque, in secret memory; read-only after
// creation: thread-safe.
#ifndef WARDFS_CRYPTO_OBJECT_KEYS_H
#define WARDFS_CRYPTO_OBJECT_KEYS_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/gcm.h"
#include "crypto/keyring.h"
#include "crypto/werr.h"

#define OBJECT_KEYS_TLV_MAX 444
#define OBJECT_DATA_KEYS_MAX 7

// Who the keys belong to: the associated data of every wrap.
struct object_id {
	uint64_t number;
	uint64_t incarnation;
	uint16_t type; // enum object_type
	uint16_t class_;
	uint32_t epoch;
};

// 0, or WERR_MALFORMED: number 0 or with the top bit, incarnation 0.
static inline int object_id_check(uint64_t number, uint64_t incarnation)
{
	return number == 0 || number >> 63 != 0 || incarnation == 0 ? WERR_MALFORMED : 0;
}

// Structure of a TLV area without any key: one header key, then 1..7 data keys with ascending
// generations, and not a byte more. WERR_MALFORMED, WERR_UNSUPPORTED (unknown kind).
int object_keys_check(const uint8_t *tlv, size_t tlv_len) WARN_UNUSED;

struct object_keys;

// Fresh random keys (one header key, data key generation 1) and their TLV area. The caller owns
// *ret. WERR_INVALID (id), WERR_AUTH (no master key of this epoch), WERR_NOMEM. *ret untouched on
// failure.
int object_keys_new(const struct keyring *ring, const struct object_id *id,
		    struct object_keys **ret) WARN_UNUSED;
// Unwraps a TLV area. WERR_MALFORMED, WERR_AUTH, WERR_UNSUPPORTED (unknown epoch → WERR_AUTH),
// WERR_NOMEM. *ret untouched on failure.
int object_keys_unwrap(const struct keyring *ring, const struct object_id *id, const uint8_t *tlv,
		       size_t tlv_len, struct object_keys **ret) WARN_UNUSED;
// The keys that follow `keys` (of `id`) from now on, wrapped under `epoch`: a fresh header key, all
// data keys, and a fresh one of the next generation. Where the area has no room for that one
// (object_keys_full) the data keys stay what they are. For an object whose master key is not the
// current one any more, or whose key has made too many seals. `keys` stays as it is; the caller
// owns *ret. WERR_INVALID (epoch 0), WERR_AUTH (no master key of this epoch, or id is not that of
// `keys`), WERR_NOMEM. *ret untouched on failure.
int object_keys_renew(const struct keyring *ring, const struct object_id *id,
		      const struct object_keys *keys, uint32_t epoch,
		      struct object_keys **ret) WARN_UNUSED;
// Whether object_keys_renew can add no data key any more.
int object_keys_full(const struct object_keys *keys);
unsigned object_keys_count(const struct object_keys *keys); // data keys
// The same keys without the data keys before the newest one: for an object of which no page is
// sealed under those any more. Codes as object_keys_unwrap; the caller owns *ret.
int object_keys_trim(const struct keyring *ring, const struct object_id *id,
		     const struct object_keys *keys, struct object_keys **ret) WARN_UNUSED;
void object_keys_free(struct object_keys *keys);

// Expanded when first asked for. NULL: no memory.
const struct gcm_key *object_keys_header(const struct object_keys *keys);
// The header was opened or sealed, and will not be again soon: frees the expanded form of its key.
// Nobody else uses keys at this moment.
void object_keys_settle(struct object_keys *keys);
// The data key of a generation, or NULL: no memory, or there is none of it. As above.
const struct gcm_key *object_keys_data(const struct object_keys *keys, uint16_t generation);
// Why object_keys_data has answered NULL: WERR_NOMEM, or WERR_AUTH: nothing authentic is under such
// a key.
int object_keys_missing(const struct object_keys *keys, uint16_t generation) WARN_UNUSED;
uint16_t object_keys_newest(const struct object_keys *keys);
// The wrapped form; *ret_len <= OBJECT_KEYS_TLV_MAX. Valid as long as keys.
const uint8_t *object_keys_tlv(const struct object_keys *keys, size_t *ret_len);

#endif
