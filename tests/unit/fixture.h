// SPDX-License-Identifier: Apache-2.0
// Fixed inputs for the tests, vectors and fuzz targets of the codecs: a counter instead of
// randomness, a vault with two known epochs. Abort on failure: nothing here may fail.
#ifndef WARDFS_TESTS_FIXTURE_H
#define WARDFS_TESTS_FIXTURE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/cursor.h"
#include "crypto/hkdf.h"
#include "crypto/keyring.h"
#include "crypto/object_header.h"
#include "crypto/object_keys.h"
#include "crypto/rng.h"
#include "crypto/siv.h"
#include "crypto/table_page.h"

#define FIXTURE_EPOCHS 2

static inline void fixture_need(int truth)
{
	if (!truth)
		abort();
}

// n bytes counting up from first.
static inline void fixture_count(void *buf, size_t n, uint8_t first)
{
	for (size_t i = 0; i < n; i++)
		((uint8_t *)buf)[i] = (uint8_t)(first + i);
}

// For rng_replace: splitmix64, so that every draw differs and every run is the same. arg: uint64_t
// state.
static inline void fixture_rng(void *arg, void *buf, size_t n)
{
	uint64_t *state = arg;
	uint8_t *out = buf;

	for (size_t i = 0; i < n; i++) {
		uint64_t z = *state += 0x9e3779b97f4a7c15ull;
		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
		z = (z ^ z >> 27) * 0x94d049bb133111ebull;
		out[i] = (uint8_t)(z >> 56);
	}
}

// The vault: root key 00 01 …, vault id 40 41 …, master of epoch e: 64 bytes counting up from 0x80
// * (e - 1).
static inline void fixture_header(struct vault_header *h, uint8_t root[static ROOT_KEY_BYTES])
{
	uint8_t wrap[SIV_KEY_BYTES];
	uint8_t aad[40] = "wardfs mastr 1";

	fixture_count(root, ROOT_KEY_BYTES, 0);
	memset(h, 0, sizeof(*h));
	fixture_count(h->vault_id, VAULT_ID_BYTES, 0x40);
	h->mount = 7;
	h->state = VAULT_DIRTY;
	h->write_counter = 9;
	h->root_incarnation = 0x1122334455667788;
	h->root_generation = (uint64_t)6 << 40 | 5;
	h->root_epoch = 1;
	h->epoch = FIXTURE_EPOCHS;
	h->journal_bytes = 64ull << 20;
	h->created_s = 1700000000;
	h->masters_len = FIXTURE_EPOCHS;
	fixture_need(hkdf_derive(HKDF_MASTER_WRAP, root, ROOT_KEY_BYTES, h->vault_id,
				 VAULT_ID_BYTES, NULL, 0, wrap) == 0);
	memcpy(aad + 16, h->vault_id, VAULT_ID_BYTES);
	for (uint32_t epoch = 1; epoch <= FIXTURE_EPOCHS; epoch++) {
		struct master_record *m = &h->masters[epoch - 1];
		uint8_t master[MASTER_KEY_BYTES];

		fixture_count(master, sizeof(master), (uint8_t)(0x80 * (epoch - 1)));
		m->class_ = 1;
		m->epoch = epoch;
		le16_put(aad + 32, 1);
		le32_put(aad + 36, epoch);
		fixture_need(siv_wrap(wrap, aad, sizeof(aad), master, sizeof(master), m->wrapped) ==
			     0);
	}
}

static inline struct keyring *fixture_keyring(void)
{
	struct vault_header *h = malloc(sizeof(*h));
	uint8_t root[ROOT_KEY_BYTES];
	struct keyring *ring = NULL;

	fixture_need(h != NULL);
	fixture_header(h, root);
	fixture_need(keyring_new(h, root, &ring) == 0);
	free(h);
	return ring;
}

static inline struct object_id fixture_id(uint16_t type)
{
	return (struct object_id){.number = 0x123456789abcdef0,
				  .incarnation = 0xfedcba9876543210,
				  .type = type,
				  .class_ = 1,
				  .epoch = 2};
}

// A structurally valid TLV area with n data keys of generations 1..n; returns its length.
static inline size_t fixture_tlv(uint8_t tlv[static OBJECT_KEYS_TLV_MAX], unsigned n)
{
	struct wcursor w;

	wcursor_init(&w, tlv, OBJECT_KEYS_TLV_MAX);
	wcursor_u16(&w, 1);
	wcursor_u16(&w, 48);
	fixture_count(wcursor_take(&w, 48), 48, 1);
	for (unsigned i = 1; i <= n; i++) {
		wcursor_u16(&w, 2);
		wcursor_u16(&w, 52);
		wcursor_u16(&w, (uint16_t)i);
		wcursor_u16(&w, 0);
		fixture_count(wcursor_take(&w, 48), 48, (uint8_t)(i * 16));
	}
	fixture_need(w.err == 0);
	return w.len;
}

// A seal with its bytes filled and the given generation.
static inline struct seal fixture_seal(uint8_t first, uint16_t generation)
{
	struct seal s;

	fixture_count(s.b, 28, first);
	le16_put(s.b + 28, generation);
	le16_put(s.b + 30, 0);
	return s;
}

static inline struct ward_attr fixture_attr(void)
{
	return (struct ward_attr){
		.mode = 0644,
		.uid = 1000,
		.gid = 100,
		.nlink = 1,
		.size = 12345,
		.pages = 4,
		.flags = ATTR_HAS_OBJECT,
		.atime = {1700000001, 1},
		.mtime = {-1, 999999999},
		.ctime = {1700000003, 3},
		.btime = {1700000004, 4},
	};
}

// A home entry of a file with this name (NUL-terminated, kept by pointer).
static inline struct entry fixture_entry(const char *name)
{
	return (struct entry){
		.kind = ENTRY_HOME,
		.type = OBJECT_FILE,
		.name_len = (uint8_t)strlen(name),
		.name = (const uint8_t *)name,
		.number = 0x123456789abcdef0,
		.incarnation = 0xfedcba9876543210,
		.attr = fixture_attr(),
		.generation = (uint64_t)7 << 40 | 1,
		.epoch = 2,
	};
}

#endif
