// SPDX-License-Identifier: Apache-2.0
#include "crypto/vault_header.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/cursor.h"
#include "crypto/hkdf.h"
#include "crypto/secret.h"

#define MAC_BYTES 32
#define MACED_BYTES (VAULT_HEADER_BYTES - MAC_BYTES)
#define ROOT_NUMBER 1

// Offsets, wardfs-vault(5), "VAULT HEADER".
enum {
	AT_FORMAT = 8,
	AT_INCOMPAT = 32,
	AT_VAULT_ID = 40,
	AT_POLICY = 128,
	POLICY_BYTES = 20,
	AT_ROTATION = 960,
	AT_WRITTEN = 1008,
	AT_SLOTS = 1024,
	AT_MASTERS = AT_SLOTS + KEYSLOT_MAX * KEYSLOT_BYTES,
	MASTER_BYTES = 96,
	ROTATION_BYTES = 40,
	AT_RESERVED = AT_MASTERS + VAULT_MASTERS_MAX * MASTER_BYTES,
};
_Static_assert(AT_MASTERS == 99328, "master records");
_Static_assert(AT_RESERVED == 105472, "reserved tail");
_Static_assert(MACED_BYTES == 106464, "MAC");

static const uint8_t magic[8] = "WARDVLT\x01";

const uint8_t *vault_header_slot(const uint8_t *buf, unsigned index)
{
	return index < KEYSLOT_MAX ? buf + AT_SLOTS + (size_t)index * KEYSLOT_BYTES : NULL;
}

// What says whether the rest can be understood at all.
static int check_frame(const uint8_t *buf, size_t len)
{
	if (len < AT_FORMAT + 8)
		return WERR_TRUNCATED;
	if (memcmp(buf, magic, sizeof magic) != 0)
		return WERR_NOTVAULT;
	if (le32_get(buf + AT_FORMAT) != VAULT_FORMAT)
		return WERR_UNSUPPORTED;
	if (len < VAULT_HEADER_BYTES)
		return WERR_TRUNCATED;
	if (len > VAULT_HEADER_BYTES || le32_get(buf + AT_FORMAT + 4) != VAULT_HEADER_BYTES)
		return WERR_MALFORMED;
	return le64_get(buf + AT_INCOMPAT) == 0 ? 0 : WERR_UNSUPPORTED;
}

static int check_slots(const uint8_t *slots, struct keyslot_info infos[static KEYSLOT_MAX])
{
	unsigned used = 0;

	for (unsigned i = 0; i < KEYSLOT_MAX; i++) {
		int err = keyslot_info(slots + (size_t)i * KEYSLOT_BYTES, &infos[i]);
		if (err)
			return err;
		used += infos[i].kind != KEYSLOT_EMPTY;
	}
	// Nobody could ever open it.
	return used > 0 ? 0 : WERR_MALFORMED;
}

int vault_header_peek(const uint8_t *buf, size_t len, uint8_t vault_id[static VAULT_ID_BYTES],
		      struct keyslot_info infos[static KEYSLOT_MAX])
{
	struct keyslot_info found[KEYSLOT_MAX];
	int err = check_frame(buf, len);

	if (err)
		return err;
	err = check_slots(buf + AT_SLOTS, found);
	if (err)
		return err;
	memcpy(infos, found, sizeof found);
	memcpy(vault_id, buf + AT_VAULT_ID, VAULT_ID_BYTES);
	return 0;
}

unsigned vault_header_peek_epochs(const uint8_t *buf, uint32_t epochs[static VAULT_MASTERS_MAX])
{
	unsigned n = 0;

	while (n < VAULT_MASTERS_MAX && le16_get(buf + AT_MASTERS + n * MASTER_BYTES) != 0) {
		epochs[n] = le32_get(buf + AT_MASTERS + n * MASTER_BYTES + 4);
		n++;
	}
	return n;
}

static int check_state(const struct vault_header *h)
{
	if (h->mount > MOUNT_NUMBER_MAX)
		return WERR_LIMIT;
	switch (h->state) {
	case VAULT_CLEAN:
		return h->replaying == 0 ? 0 : WERR_MALFORMED;
	case VAULT_DIRTY:
		return h->replaying == 0 && h->journal_sequence == 0 && h->mount > 0
			       ? 0
			       : WERR_MALFORMED;
	case VAULT_REPLAYING:
		// The journal of an earlier mount, under a number of its own.
		return h->replaying > 0 && h->replaying < h->mount && h->journal_sequence == 0
			       ? 0
			       : WERR_MALFORMED;
	default:
		return WERR_MALFORMED;
	}
}

static int check_masters(const struct vault_header *h)
{
	if (h->masters_len == 0 || h->masters_len > VAULT_MASTERS_MAX)
		return WERR_MALFORMED;
	for (unsigned i = 0; i < h->masters_len; i++) {
		const struct master_record *m = &h->masters[i];

		if (m->class_ != VAULT_CLASS)
			return WERR_UNSUPPORTED;
		if (m->epoch == 0 || (i > 0 && m->epoch <= m[-1].epoch))
			return WERR_MALFORMED;
	}
	// New keys are wrapped under the newest epoch: a current one that is not would undo a
	// removal.
	return h->epoch == h->masters[h->masters_len - 1].epoch ? 0 : WERR_MALFORMED;
}

static int check_serials(const struct keyslot_info infos[static KEYSLOT_MAX])
{
	for (unsigned i = 0; i < KEYSLOT_MAX; i++) {
		for (unsigned j = 0; j < i; j++) {
			if (infos[i].kind != KEYSLOT_EMPTY && infos[i].serial == infos[j].serial)
				return WERR_MALFORMED;
		}
	}
	return 0;
}

static int check_policy(const struct vault_policy *p)
{
	if (p->idle_s > VAULT_POLICY_TIME_MAX_S || p->max_time_s > VAULT_POLICY_TIME_MAX_S)
		return WERR_MALFORMED;
	for (unsigned i = 0; i < VAULT_POLICY_EVENTS; i++) {
		if (p->on[i] > VAULT_POLICY_NOTHING)
			return WERR_MALFORMED;
	}
	// A low number would destroy the vault for a slip of the owner.
	return p->wipe_after == 0 ||
			       (p->wipe_after >= VAULT_WIPE_MIN && p->wipe_after <= VAULT_WIPE_MAX)
		       ? 0
		       : WERR_MALFORMED;
}

static int check_rotation(const struct vault_header *h)
{
	const struct vault_rotation *r = &h->rotation;

	if (r->level == VAULT_ROTATION_NONE)
		return r->number == 0 && r->incarnation == 0 && r->started_s == 0 &&
				       r->max_rate == 0
			       ? 0
			       : WERR_MALFORMED;
	if (r->level > VAULT_ROTATION_CONTENTS)
		return WERR_UNSUPPORTED;
	if (r->number == 0 || r->number >> 63 != 0 || r->incarnation == 0 ||
	    !vault_rate_valid(r->max_rate))
		return WERR_MALFORMED;
	if (r->number == ROOT_NUMBER)
		return r->incarnation == h->root_incarnation ? 0 : WERR_MALFORMED;
	// Keys are rotated for the sake of the old epochs, which only a whole rotation ends.
	return r->level == VAULT_ROTATION_CONTENTS ? 0 : WERR_MALFORMED;
}

// Everything that must hold in a header: of decode before it answers, of encode before it writes.
static int check_header(const struct vault_header *h)
{
	struct keyslot_info infos[KEYSLOT_MAX];
	int err = check_state(h);

	if (err)
		return err;
	err = check_slots(h->slots[0], infos);
	if (err)
		return err;
	err = check_serials(infos);
	if (err)
		return err;
	err = check_masters(h);
	if (err)
		return err;
	err = check_policy(&h->policy);
	if (err)
		return err;
	err = check_rotation(h);
	if (err)
		return err;
	if (h->root_incarnation == 0 || h->root_epoch == 0 || h->root_epoch > h->epoch)
		return WERR_MALFORMED;
	// No object is newer than the mount that wrote it.
	if (h->root_generation >> 40 > h->mount)
		return WERR_MALFORMED;
	if (h->journal_bytes < VAULT_JOURNAL_MIN_BYTES ||
	    h->journal_bytes > VAULT_JOURNAL_MAX_BYTES || h->journal_bytes % 4096 != 0)
		return WERR_LIMIT;
	return 0;
}

static int check_mac(const uint8_t *buf, const uint8_t *root_key)
{
	uint8_t mac[MAC_BYTES];
	SECRET_AUTO uint8_t *mac_key = secret_alloc(MAC_BYTES);

	if (!mac_key)
		return WERR_NOMEM;
	int err = hkdf_derive(HKDF_HEADER_MAC, root_key, ROOT_KEY_BYTES, buf + AT_VAULT_ID,
			      VAULT_ID_BYTES, NULL, 0, mac_key);
	if (err)
		return err;
	err = hkdf_hmac_sha256(mac_key, buf, MACED_BYTES, mac);
	if (err)
		return err;
	return secret_equal(mac, buf + MACED_BYTES, MAC_BYTES) ? 0 : WERR_AUTH;
}

static void parse_policy(struct rcursor *c, struct vault_policy *p)
{
	p->idle_s = rcursor_u32(c);
	p->max_time_s = rcursor_u32(c);
	rcursor_bytes(c, p->on, sizeof p->on);
	rcursor_zero(c, 2);
	p->wipe_after = rcursor_u32(c);
}

int vault_header_peek_policy(const uint8_t *buf, struct vault_policy *ret)
{
	struct vault_policy p;
	struct rcursor c;

	rcursor_init(&c, buf + AT_POLICY, POLICY_BYTES);
	parse_policy(&c, &p);
	int err = rcursor_finish(&c, 1);
	if (!err)
		err = check_policy(&p);
	if (!err)
		*ret = p;
	return err;
}

static void parse_rotation(struct rcursor *c, struct vault_rotation *r)
{
	r->level = rcursor_u32(c);
	rcursor_zero(c, 4);
	r->number = rcursor_u64(c);
	r->incarnation = rcursor_u64(c);
	r->started_s = rcursor_u64(c);
	r->max_rate = rcursor_u64(c);
	rcursor_zero(c, AT_WRITTEN - AT_ROTATION - ROTATION_BYTES);
}

static int parse_fixed(struct rcursor *c, struct vault_header *h)
{
	(void)rcursor_take(c, sizeof magic + 8); // check_frame
	uint64_t compat = rcursor_u64(c);
	uint64_t ro_compat = rcursor_u64(c);
	uint64_t incompat = rcursor_u64(c);
	// This program rewrites the header and has no place to keep what it does not know.
	if (compat != 0 || ro_compat != 0 || incompat != 0)
		return WERR_UNSUPPORTED;
	rcursor_bytes(c, h->vault_id, VAULT_ID_BYTES);
	h->mount = rcursor_u32(c);
	h->state = rcursor_u32(c);
	h->replaying = rcursor_u32(c);
	if (rcursor_u32(c) != KEYSLOT_MAX)
		return WERR_MALFORMED;
	h->write_counter = rcursor_u64(c);
	h->journal_sequence = rcursor_u64(c);
	h->root_incarnation = rcursor_u64(c);
	h->root_generation = rcursor_u64(c);
	h->root_epoch = rcursor_u32(c);
	h->epoch = rcursor_u32(c);
	h->journal_bytes = rcursor_u64(c);
	h->created_s = rcursor_u64(c);
	parse_policy(c, &h->policy);
	rcursor_zero(c, AT_ROTATION - AT_POLICY - POLICY_BYTES);
	parse_rotation(c, &h->rotation);
	rcursor_bytes(c, h->written, sizeof h->written);
	return 0;
}

static int parse_masters(struct rcursor *c, struct vault_header *h)
{
	for (unsigned i = 0; i < VAULT_MASTERS_MAX; i++) {
		struct master_record *m = &h->masters[h->masters_len];

		m->class_ = rcursor_u16(c);
		if (m->class_ == 0) {
			rcursor_zero(c, MASTER_BYTES - 2);
			continue;
		}
		if (h->masters_len != i) // a used record behind an empty one
			return WERR_MALFORMED;
		rcursor_zero(c, 2);
		m->epoch = rcursor_u32(c);
		rcursor_bytes(c, m->wrapped, sizeof m->wrapped);
		rcursor_zero(c, 8);
		h->masters_len++;
	}
	return 0;
}

static int parse(const uint8_t *buf, struct vault_header *h)
{
	struct rcursor c;

	rcursor_init(&c, buf, MACED_BYTES);
	int err = parse_fixed(&c, h);
	if (err)
		return err;
	rcursor_bytes(&c, h->slots, sizeof h->slots);
	err = parse_masters(&c, h);
	if (err)
		return err;
	rcursor_zero(&c, rcursor_left(&c));
	err = rcursor_finish(&c, 1);
	return err ? err : check_header(h);
}

int vault_header_decode(const uint8_t *buf, size_t len,
			const uint8_t root_key[static ROOT_KEY_BYTES], struct vault_header *ret)
{
	int err = check_frame(buf, len);

	if (err)
		return err;
	err = check_mac(buf, root_key);
	if (err)
		return err;
	struct vault_header *h = calloc(1, sizeof *h);
	if (!h)
		return WERR_NOMEM;
	err = parse(buf, h);
	if (!err)
		*ret = *h;
	free(h);
	return err;
}

static void write_policy(struct wcursor *c, const struct vault_policy *p)
{
	wcursor_u32(c, p->idle_s);
	wcursor_u32(c, p->max_time_s);
	wcursor_bytes(c, p->on, sizeof p->on);
	wcursor_zero(c, 2);
	wcursor_u32(c, p->wipe_after);
}

static void write_rotation(struct wcursor *c, const struct vault_rotation *r)
{
	wcursor_u32(c, r->level);
	wcursor_zero(c, 4);
	wcursor_u64(c, r->number);
	wcursor_u64(c, r->incarnation);
	wcursor_u64(c, r->started_s);
	wcursor_u64(c, r->max_rate);
	wcursor_zero(c, AT_WRITTEN - AT_ROTATION - ROTATION_BYTES);
}

static void write_fixed(struct wcursor *c, const struct vault_header *h)
{
	wcursor_bytes(c, magic, sizeof magic);
	wcursor_u32(c, VAULT_FORMAT);
	wcursor_u32(c, VAULT_HEADER_BYTES);
	wcursor_zero(c, AT_VAULT_ID - 16); // feature words
	wcursor_bytes(c, h->vault_id, VAULT_ID_BYTES);
	wcursor_u32(c, h->mount);
	wcursor_u32(c, h->state);
	wcursor_u32(c, h->replaying);
	wcursor_u32(c, KEYSLOT_MAX);
	wcursor_u64(c, h->write_counter);
	wcursor_u64(c, h->journal_sequence);
	wcursor_u64(c, h->root_incarnation);
	wcursor_u64(c, h->root_generation);
	wcursor_u32(c, h->root_epoch);
	wcursor_u32(c, h->epoch);
	wcursor_u64(c, h->journal_bytes);
	wcursor_u64(c, h->created_s);
	write_policy(c, &h->policy);
	wcursor_zero(c, AT_ROTATION - AT_POLICY - POLICY_BYTES);
	write_rotation(c, &h->rotation);
	wcursor_bytes(c, h->written, sizeof h->written);
}

static void write_masters(struct wcursor *c, const struct vault_header *h)
{
	for (unsigned i = 0; i < h->masters_len; i++) {
		const struct master_record *m = &h->masters[i];

		wcursor_u16(c, m->class_);
		wcursor_zero(c, 2);
		wcursor_u32(c, m->epoch);
		wcursor_bytes(c, m->wrapped, sizeof m->wrapped);
		wcursor_zero(c, 8);
	}
	wcursor_zero(c, (size_t)(VAULT_MASTERS_MAX - h->masters_len) * MASTER_BYTES);
}

int vault_header_encode(const struct vault_header *h, const uint8_t mac_key[static 32],
			uint8_t *buf)
{
	struct wcursor c;
	int err = check_header(h);

	if (err)
		return err;
	wcursor_init(&c, buf, MACED_BYTES);
	write_fixed(&c, h);
	wcursor_bytes(&c, h->slots, sizeof h->slots);
	write_masters(&c, h);
	wcursor_zero(&c, MACED_BYTES - AT_RESERVED);
	if (c.err || c.len != MACED_BYTES)
		return WERR_INTERNAL;
	return hkdf_hmac_sha256(mac_key, buf, MACED_BYTES, buf + MACED_BYTES);
}
