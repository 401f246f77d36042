// SPDX-License-Identifier: Apache-2.0
// Writes the known answers: make_vectors DIRECTORY. See README.md for their form.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/object_header_body.h"
#include "crypto/recovery.h"
#include "crypto/secret.h"
#include "crypto/sha256.h"
#include "crypto/superblock_body.h"
#include "crypto/xattr_codec.h"
#include "tests/unit/fixture.h"
#include "tests/vectors/fields.h"
#include "tests/vectors/writing.h"

static void make_seals(void)
{
	static const struct {
		const char *name;
		uint32_t level;
		uint64_t index;
		uint16_t generation;
	} rows[] = {{"content", 0, 0, 1}, {"node", 3, 16592, 2}, {"xattr", LEVEL_XATTR, 15, 65535}};
	uint8_t raw[GCM_KEY_BYTES];
	uint8_t nonce[GCM_NONCE_BYTES];
	uint8_t plain[WARD_PAGE] = {0};
	uint8_t cipher[WARD_PAGE];
	struct seal seal;

	fixture_count(plain, 256, 0);
	for (int i = 0; i < 3; i++) {
		rng_bytes(raw, sizeof(raw));
		rng_bytes(nonce, sizeof(nonce));
		struct gcm_key *key = gcm_key_new(raw);
		fixture_need(seal_page(key, rows[i].generation, rows[i].level, rows[i].index, nonce,
				       plain, cipher, &seal) == 0);
		gcm_key_free(key);
		start_case(rows[i].name);
		put_bytes("key", raw, sizeof(raw));
		put_int("generation", rows[i].generation);
		put_int("level", rows[i].level);
		put_int("index", rows[i].index);
		put_bytes("nonce", nonce, sizeof(nonce));
		put_bytes("plain", plain, sizeof(plain));
		put_bytes("cipher", cipher, sizeof(cipher));
		put_bytes("seal", seal.b, SEAL_BYTES);
		expect("ok");
	}
	refuse("content", "first byte", "cipher", 0, "ff", "auth");
	refuse("content", "last byte", "cipher", 4095, "ff", "auth");
	refuse("content", "nonce", "seal", 0, "ff", "auth");
	refuse("content", "tag", "seal", 27, "ff", "auth");
	refuse("content", "generation", "seal", 28, "02", "auth");
	refuse("content", "generation 0", "seal", 28, "0000", "malformed");
	refuse("content", "flags", "seal", 30, "01", "malformed");
	refuse("content", "hole", "seal", 0, "00*32", "malformed");
	refuse_int("content", "index", 1, "auth");
	refuse_int("content", "level", 1, "auth");
}

static void put_entry(const char *name, const struct entry *e)
{
	uint8_t bytes[ENTRY_BYTES_MAX];
	size_t len = 0;

	fixture_need(entry_encode(e, bytes, sizeof(bytes), &len) == 0);
	start_case(name);
	put_fields(entry_fields, e);
	put_bytes("name", e->name, e->name_len);
	put_bytes("target", e->target, e->target_len);
	put_bytes("bytes", bytes, len);
	expect("ok");
}

static void make_entries(void)
{
	uint8_t longest[ENTRY_TARGET_MAX];
	struct entry e = fixture_entry("file");

	memset(longest, 'n', sizeof(longest));
	put_entry("file", &e);
	e.kind = ENTRY_LINK;
	e.attr = (struct ward_attr){0};
	e.generation = 0;
	e.epoch = 0;
	put_entry("link", &e);
	e = fixture_entry("symlink");
	e.type = OBJECT_SYMLINK;
	e.target = (const uint8_t *)"../target";
	e.target_len = 9;
	put_entry("symlink", &e);
	e.name = longest;
	e.name_len = ENTRY_NAME_MAX;
	e.target = longest;
	e.target_len = ENTRY_TARGET_MAX;
	put_entry("longest", &e);
	e = fixture_entry("tty");
	e.type = OBJECT_CHAR;
	e.attr.rdev = 0x0501;
	e.attr.flags = 0;
	put_entry("device", &e);
	e = fixture_entry(".");
	e.type = OBJECT_DIR;
	e.number = 1;
	put_entry("dot", &e);
	refuse_cut("file", "bytes", 139, "malformed");
	refuse_cut("file", "bytes", 23, "truncated");
	refuse("file", "kind 3", "bytes", 2, "03", "malformed");
	refuse("file", "type 8", "bytes", 3, "08", "malformed");
	refuse("file", "no name", "bytes", 4, "00", "malformed");
	refuse("file", "reserved", "bytes", 5, "01", "malformed");
	refuse("file", "number 0", "bytes", 8, "00*8", "malformed");
	refuse("file", "number with the top bit", "bytes", 15, "92", "malformed");
	refuse("file", "incarnation 0", "bytes", 16, "00*8", "malformed");
	refuse("file", "mode 010000", "bytes", 25, "10", "malformed");
	refuse("file", "nlink 0", "bytes", 36, "00", "malformed");
	refuse("file", "size beyond the tree", "bytes", 46, "82", "malformed");
	refuse("file", "device number", "bytes", 56, "01", "malformed");
	refuse("file", "atime ns", "bytes", 96, "00ca9a3b", "malformed");
	refuse("file", "flag", "bytes", 112, "04", "malformed");
	refuse("file", "reserved word", "bytes", 132, "01", "malformed");
	refuse("file", "slash", "bytes", 137, "2f", "malformed");
	refuse("file", "NUL", "bytes", 137, "00", "malformed");
	refuse("link", "a directory", "bytes", 3, "02", "malformed");
	refuse("symlink", "NUL in the target", "bytes", 145, "00", "malformed");
	refuse("symlink", "a file with a target", "bytes", 3, "01", "malformed");
}

static void make_tables(void)
{
	uint8_t page[WARD_PAGE];
	uint8_t bytes[ENTRY_BYTES_MAX];
	struct entry e = fixture_entry("one");
	size_t len = 0;

	table_page_init(page);
	start_case("empty");
	put_bytes("bytes", page, sizeof(page));
	expect("ok");
	for (unsigned slot = 0; slot < 3; slot++) {
		e.number++;
		fixture_need(entry_encode(&e, bytes, sizeof(bytes), &len) == 0);
		fixture_need(table_page_put(page, slot * 2, bytes, len) == 0);
		e.kind = ENTRY_LINK;
	}
	start_case("three");
	put_bytes("bytes", page, sizeof(page));
	for (unsigned slot = 0; slot < 5; slot += 2) {
		char field[16];
		const uint8_t *at = table_page_slot(page, slot, &len);
		(void)snprintf(field, sizeof(field), "slot-%u", slot);
		put_bytes(field, at, len);
	}
	expect("ok");
	refuse("empty", "all zero", "bytes", 2, "0000", "malformed");
	refuse("empty", "count", "bytes", 0, "01", "malformed");
	refuse("empty", "reserved", "bytes", 4, "01", "malformed");
	refuse("empty", "dirt", "bytes", 4095, "01", "malformed");
	refuse("three", "count too small", "bytes", 0, "04", "malformed");
	refuse("three", "count too large", "bytes", 0, "06", "malformed");
	refuse("three", "count 61", "bytes", 0, "3d", "malformed");
	refuse("three", "heap start", "bytes", 2, "4f", "malformed");
	refuse("three", "two slots, one entry", "bytes", 12, "750f", "malformed");
	refuse("three", "an entry without a slot", "bytes", 12, "0000", "malformed");
	refuse("three", "a slot behind the count", "bytes", 126, "750f", "malformed");
	refuse("three", "dirt", "bytes", 128, "01", "malformed");
	refuse("three", "a bad entry", "bytes", 4095, "2f", "malformed");
}

static void make_xattrs(void)
{
	static const char *const names[] = {"security.capability", "user.a", "user.ab", "user.b"};
	uint8_t bufs[2][512] = {{0}};
	size_t len = 0;
	char field[16];

	start_case("empty");
	put_bytes("bytes", bufs[0], 0);
	expect("ok");
	start_case("four");
	for (int i = 0; i < 4; i++) {
		fixture_need(xattr_codec_set(bufs[i % 2], len, names[i], names[3 - i],
					     (size_t)i * 3, bufs[1 - i % 2], 512, &len) == 0);
		(void)snprintf(field, sizeof(field), "name-%d", i);
		put_bytes(field, names[i], strlen(names[i]));
		(void)snprintf(field, sizeof(field), "value-%d", i);
		put_bytes(field, names[3 - i], (size_t)i * 3);
	}
	put_bytes("bytes", bufs[0], len);
	expect("ok");
	refuse_cut("four", "bytes", len - 1, "malformed");
	refuse_cut("four", "bytes", 3, "malformed");
	refuse("four", "reserved", "bytes", 1, "01", "malformed");
	refuse("four", "no name", "bytes", 0, "00", "malformed");
	refuse("four", "NUL in a name", "bytes", 5, "00", "malformed");
	refuse("four", "order", "bytes", 4, "75736572ff", "malformed");
	refuse("four", "duplicate", "bytes", 55, "61", "malformed");
}

static void make_keys(const struct keyring *ring)
{
	struct object_id id = fixture_id(OBJECT_FILE);
	struct object_keys *keys = NULL;
	uint8_t raw[2 * GCM_KEY_BYTES];
	uint64_t state = 3;
	size_t len;

	fixture_rng(&state, raw, sizeof(raw));
	state = 3;
	rng_replace(fixture_rng, &state);
	fixture_need(object_keys_new(ring, &id, &keys) == 0);
	start_case("one");
	put_bytes("vault-id", keyring_vault_id(ring), VAULT_ID_BYTES);
	put_bytes("master", keyring_master(ring, 1, 2), MASTER_KEY_BYTES);
	put_int("number", id.number);
	put_int("incarnation", id.incarnation);
	put_int("type", id.type);
	put_int("class", id.class_);
	put_int("epoch", id.epoch);
	put_bytes("keys", raw, sizeof(raw));
	const uint8_t *tlv = object_keys_tlv(keys, &len);
	put_bytes("tlv", tlv, len);
	expect("ok");
	object_keys_free(keys);
	refuse_int("one", "number", id.number + 1, "auth");
	refuse_int("one", "incarnation", id.incarnation + 1, "auth");
	refuse_int("one", "type", OBJECT_DIR, "auth");
	refuse_int("one", "epoch", 1, "auth");
	refuse("one", "header key", "tlv", 51, "ff", "auth");
	refuse("one", "data key", "tlv", 60, "ff", "auth");
	refuse("one", "generation", "tlv", 56, "02", "auth");
	refuse("one", "generation 0", "tlv", 56, "00", "malformed");
	refuse("one", "reserved", "tlv", 58, "01", "malformed");
	refuse("one", "two header keys", "tlv", 52, "01", "malformed");
	refuse("one", "later kind", "tlv", 52, "03", "unsupported");
	refuse_cut("one", "tlv", 52, "malformed");
	refuse_cut("one", "tlv", 107, "malformed");
}

static struct object_header *inline_header(void)
{
	static struct object_header h;

	memset(&h, 0, sizeof(h));
	h.type = OBJECT_FILE;
	h.generation = (uint64_t)7 << 40 | 5;
	h.size = 14;
	h.parent_number = 1;
	h.parent_incarnation = 0x1122334455667788;
	h.data_seals = 0;
	h.header_seals = 3;
	h.name_len = 5;
	memcpy(h.name, "hello", 5);
	memcpy(h.inline_data, "Hello, world.\n", 14);
	memcpy(h.xattr_inline, "\x06\0\x02\0user.axy", 12);
	h.xattr_len = 12;
	return &h;
}

static struct object_header *tree_header(void)
{
	struct object_header *h = inline_header();

	h->layout = LAYOUT_TREE;
	h->size = 20000 * 4096ull;
	h->xattr_layout = 1;
	h->xattr_len = 5000;
	h->xattr_seals[0] = fixture_seal(1, 1);
	h->xattr_seals[1] = fixture_seal(2, 1);
	h->direct[0] = fixture_seal(3, 1);
	h->direct[79] = fixture_seal(4, 2);
	h->roots[0] = fixture_seal(5, 2);
	h->roots[2] = fixture_seal(6, 2);
	return h;
}

static void put_header(const char *name, const struct keyring *ring, const struct object_header *h)
{
	struct object_id id = fixture_id(OBJECT_FILE);
	struct object_keys *keys = NULL;
	uint8_t raw[2 * GCM_KEY_BYTES];
	uint8_t nonce[GCM_NONCE_BYTES];
	uint8_t body[OBJECT_BODY_BYTES];
	uint8_t page[WARD_PAGE];
	uint64_t state = 4;

	fixture_rng(&state, raw, sizeof(raw));
	state = 4;
	rng_replace(fixture_rng, &state);
	fixture_need(object_keys_new(ring, &id, &keys) == 0);
	rng_bytes(nonce, sizeof(nonce));
	fixture_need(object_header_body_encode(h, body) == 0);
	fixture_need(object_header_seal(h, &id, keys, nonce, page) == 0);
	object_keys_free(keys);
	start_case(name);
	put_int("number", id.number);
	put_int("incarnation", id.incarnation);
	put_int("epoch", id.epoch);
	put_bytes("keys", raw, sizeof(raw));
	put_bytes("nonce", nonce, sizeof(nonce));
	put_fields(header_fields, h);
	put_bytes("name", h->name, h->name_len);
	put_bytes("body", body, sizeof(body));
	put_bytes("page", page, sizeof(page));
	expect("ok");
}

static void make_headers(const struct keyring *ring)
{
	put_header("inline", ring, inline_header());
	put_header("tree", ring, tree_header());
	refuse("inline", "magic", "page", 7, "02", "malformed");
	refuse("inline", "suite", "page", 8, "02", "unsupported");
	refuse("inline", "class", "page", 10, "02", "unsupported");
	refuse("inline", "epoch", "page", 12, "01", "auth");
	refuse("inline", "number", "page", 16, "ff", "auth");
	refuse("inline", "reserved", "page", 34, "01", "malformed");
	refuse("inline", "behind the keys", "page", 483, "01", "malformed");
	refuse("inline", "nonce", "page", 484, "ff", "auth");
	refuse("inline", "tag", "page", 511, "ff", "auth");
	refuse("inline", "ciphertext", "page", 4095, "ff", "auth");
	refuse("inline", "type 8", "body", 0, "08", "malformed");
	refuse("inline", "an inline directory", "body", 0, "02", "malformed");
	refuse("inline", "layout", "body", 2, "02", "malformed");
	refuse("inline", "xattr bytes", "body", 4, "0d", "malformed");
	refuse("inline", "size", "body", 16, "0d", "malformed");
	refuse("inline", "half a parent", "body", 24, "00", "malformed");
	refuse("inline", "xattr bytes in pages", "body", 40, "01", "malformed");
	refuse("inline", "reserved", "body", 64, "01", "malformed");
	refuse("inline", "slash in the name", "body", 99, "2f", "malformed");
	refuse("inline", "behind the name", "body", 351, "01", "malformed");
	refuse("inline", "last byte", "body", 3583, "01", "malformed");
	refuse("tree", "xattr bytes that would be inline", "body", 40, "0002", "malformed");
	refuse("tree", "xattr pages", "body", 40, "0010", "malformed");
	refuse("tree", "seal flags", "body", 894, "01", "malformed");
	refuse("tree", "seal generation 0", "body", 892, "0000", "malformed");
	refuse("tree", "size", "body", 22, "82", "malformed");
}

static void put_record(struct record *r, const char *name)
{
	struct assignment a;
	size_t offset = 0;
	uint8_t attr[ATTR_BYTES];

	fixture_need(r->err == 0);
	fixture_need(record_next(r->buf, r->len, &offset, &a) == 1 && offset == r->len);
	start_case(name);
	put_fields(assignment_fields, &a);
	if (a.tag == REC_ATTR) {
		attr_encode(&a.attr, attr);
		put_bytes("attr", attr, sizeof(attr));
	}
	if (a.bytes != NULL)
		put_bytes("bytes", a.bytes, a.len);
	if (a.seals != NULL)
		put_bytes("seals", a.seals, a.tag == REC_RUN ? a.count * SEAL_BYTES : SEAL_BYTES);
	put_bytes("payload", r->buf, r->len);
	expect("ok");
	record_reset(r);
}

static void make_content_records(struct record *r, const struct objref *ref)
{
	static uint8_t page[WARD_PAGE];
	struct seal seal = fixture_seal(9, 1);
	uint8_t tlv[OBJECT_KEYS_TLV_MAX];

	page[0] = 1;
	record_object(r, ref, OBJECT_FILE, 1, 2, 1, 7, tlv, fixture_tlv(tlv, 1));
	put_record(r, "object");
	record_size(r, ref, 1 << 20, LAYOUT_TREE);
	put_record(r, "size");
	record_inline(r, ref, (const uint8_t *)"content", 7);
	put_record(r, "inline");
	uint8_t *seals = record_run(r, ref, 80, 2, RUN_OLD_OK);
	fixture_need(seals != NULL);
	memcpy(seals, seal.b, SEAL_BYTES);
	memset(seals + SEAL_BYTES, 0, SEAL_BYTES);
	put_record(r, "run");
	record_page(r, ref, 81, &seal, page);
	put_record(r, "page");
	record_drop(r, ref, 3, UINT64_MAX);
	put_record(r, "drop");
	record_settled(r, ref, 80, 82);
	put_record(r, "settled");
	record_xattr(r, ref, (const uint8_t *)"\x06\0\x02\0user.axy", 12);
	put_record(r, "xattr");
	record_image(r, ref->number, ref->incarnation, 226, page);
	put_record(r, "image");
}

static void make_records(void)
{
	static const struct objref ref = {0x123456789abcdef0, 0xfedcba9876543210, 5};
	struct ward_attr attr = fixture_attr();
	struct entry e = fixture_entry("file");
	uint8_t entry[ENTRY_BYTES_MAX];
	struct record r;
	size_t len = 0;

	record_init(&r);
	fixture_need(entry_encode(&e, entry, sizeof(entry), &len) == 0);
	record_slot(&r, &ref, 3, 59, entry, len);
	put_record(&r, "slot");
	record_slot(&r, &ref, 3, 2, NULL, 0);
	put_record(&r, "slot-emptied");
	record_attr(&r, &ref, 3, 59, 77, &attr);
	put_record(&r, "attr");
	make_content_records(&r, &ref);
	record_orphan(&r, &ref);
	put_record(&r, "orphan");
	record_freed(&r, 5, 6);
	put_record(&r, "freed");
	record_checkpoint(&r, 1, 2, 3, 4, 5);
	put_record(&r, "checkpoint");
	record_mount(&r, 7);
	put_record(&r, "mount");
	record_free(&r);
	refuse("slot", "slot 60", "payload", 36, "3c", "malformed");
	refuse("slot", "its entry", "payload", 45, "01", "malformed");
	refuse("attr", "mode", "payload", 49, "10", "malformed");
	refuse("object", "its keys", "payload", 58, "02", "malformed");
	refuse("object", "epoch 0", "payload", 36, "00", "malformed");
	refuse("size", "layout 2", "payload", 40, "02", "malformed");
	refuse("run", "count 0", "payload", 40, "00", "malformed");
	refuse("run", "count 3", "payload", 40, "03", "truncated");
	refuse("run", "flags 2", "payload", 44, "02", "malformed");
	refuse("page", "hole", "payload", 40, "00*32", "malformed");
	refuse("drop", "nothing", "payload", 40, "0300000000000000", "malformed");
	refuse("xattr", "its set", "payload", 33, "01", "malformed");
	refuse("mount", "mount 0", "payload", 8, "00", "malformed");
	refuse("mount", "tag 16", "payload", 0, "10", "malformed");
	refuse("mount", "reserved", "payload", 2, "01", "malformed");
	refuse("mount", "length", "payload", 4, "09", "truncated");
	refuse_cut("mount", "payload", 7, "truncated");
}

static void make_superblocks(void)
{
	struct superblock s = {.mount = 7,
			       .k = 11,
			       .s = 13,
			       .tail = 8200,
			       .root_generation = 17,
			       .journal_bytes = 8 << 20,
			       .counter = 19};
	uint8_t raw[GCM_KEY_BYTES];
	uint8_t vault_id[VAULT_ID_BYTES];
	uint8_t nonce[GCM_NONCE_BYTES];
	uint8_t block[SUPERBLOCK_BYTES];

	rng_bytes(raw, sizeof(raw));
	rng_bytes(vault_id, sizeof(vault_id));
	rng_bytes(nonce, sizeof(nonce));
	rng_bytes(s.salt, sizeof(s.salt));
	rng_bytes(s.previous_tag, sizeof(s.previous_tag));
	struct gcm_key *key = gcm_key_new(raw);
	fixture_need(superblock_seal(&s, key, vault_id, 1, nonce, block) == 0);
	gcm_key_free(key);
	start_case("one");
	put_bytes("key", raw, sizeof(raw));
	put_bytes("vault-id", vault_id, sizeof(vault_id));
	put_int("number", 1);
	put_bytes("nonce", nonce, sizeof(nonce));
	put_fields(superblock_fields, &s);
	put_bytes("salt", s.salt, sizeof(s.salt));
	put_bytes("previous-tag", s.previous_tag, sizeof(s.previous_tag));
	put_bytes("block", block, sizeof(block));
	expect("ok");
	refuse_int("one", "number", 0, "auth");
	refuse("one", "other vault", "vault-id", 0, "00", "auth");
	refuse("one", "magic", "block", 7, "02", "malformed");
	refuse("one", "mount", "block", 8, "08", "auth");
	refuse("one", "reserved", "block", 12, "01", "malformed");
	refuse("one", "nonce", "block", 16, "00", "auth");
	refuse("one", "tag", "block", 43, "00", "auth");
	refuse("one", "reserved, second", "block", 63, "01", "malformed");
	refuse("one", "ciphertext", "block", 319, "00", "auth");
	refuse("one", "behind it", "block", 4095, "01", "malformed");
}

// The vault of case "one", with a policy.
static void put_policy(struct vault_header *h, const struct keyring *ring, uint8_t *file)
{
	h->policy = (struct vault_policy){
		.idle_s = 600, .max_time_s = 36000, .on = {1, 2, 3, 1, 2, 3}, .wipe_after = 20};
	fixture_need(vault_header_encode(h, keyring_header_mac(ring), file) == 0);
	start_case("policy");
	(void)fprintf(out, "like one\n");
	put_fields(vault_fields, h);
	put_bytes("file", file, VAULT_HEADER_BYTES);
	expect("ok");
}

static void make_vault(void)
{
	static struct vault_header h;
	static uint8_t file[VAULT_HEADER_BYTES];
	struct keyslot_info info = {.kind = KEYSLOT_PASSPHRASE,
				    .serial = 1,
				    .created_s = 1700000000,
				    .label = "vectors",
				    .kdf = {8192, 1, 1}};
	struct secret pass = {0};
	struct keyring *ring = NULL;
	uint8_t *root = NULL;

	fixture_need(secret_copy(&pass, "correct horse", 13) == 0);
	fixture_need(keyring_create(&h, &info, &pass, &root) == 0);
	h.mount = 7;
	h.state = VAULT_CLEAN;
	h.journal_sequence = 99;
	h.journal_bytes = 64ull << 20;
	h.created_s = 1700000000;
	fixture_need(keyring_new(&h, root, &ring) == 0);
	fixture_need(vault_header_encode(&h, keyring_header_mac(ring), file) == 0);
	start_case("one");
	put_bytes("passphrase", pass.bytes, pass.len);
	put_bytes("root-key", root, ROOT_KEY_BYTES);
	put_bytes("vault-id", h.vault_id, VAULT_ID_BYTES);
	put_bytes("master", keyring_master(ring, 1, 1), MASTER_KEY_BYTES);
	put_bytes("header-mac-key", keyring_header_mac(ring), 32);
	put_bytes("journal-key", keyring_journal(ring), 32);
	put_bytes("anchor-key", keyring_anchor(ring), 32);
	put_fields(vault_fields, &h);
	put_bytes("file", file, sizeof(file));
	expect("ok");
	put_policy(&h, ring, file);
	keyring_free(ring);
	secret_free(root);
	secret_clear(&pass);
	refuse("one", "other passphrase", "passphrase", 0, "43", "secret");
	refuse("one", "magic", "file", 7, "02", "notvault");
	refuse("one", "format 2", "file", 8, "02", "unsupported");
	refuse("one", "mount", "file", 56, "08", "auth");
	refuse("one", "MAC", "file", 106495, "00", "auth");
	refuse("one", "memory beyond the limit", "file", 1024 + 80, "01004000", "limit");
	refuse("one", "salt", "file", 1024 + 96, "00*32", "secret");
	refuse("one", "key pair", "file", 1024 + 160, "00*32", "auth");
	refuse("one", "sealed root key", "file", 1024 + 304, "00*32", "auth");
	refuse_cut("one", "file", 106495, "truncated");
}

static void put_slot_factor(enum factor f, struct wcursor *params, struct secret *offer)
{
	uint8_t secret[FACTOR_SECRET_BYTES], file[256], encoded[FACTOR_PARAMS_MAX];
	struct factor_keyfile range = {.offset = 16, .length = 64};
	char text[RECOVERY_TEXT_BYTES];
	struct wcursor c;

	fixture_count(file, sizeof(file), 1);
	rng_bytes(secret, sizeof(secret));
	wcursor_init(&c, encoded, sizeof(encoded));
	if (f == FACTOR_PASSPHRASE) {
		put_bytes("passphrase", "correct horse", 13);
		fixture_need(offer_add(offer, f, NULL, "correct horse", 13) == 0);
		return;
	}
	if (f == FACTOR_KEYFILE) {
		put_bytes("file", file, sizeof(file));
		fixture_need(sha256_of(file + 16, 64, secret) == 0);
		factor_keyfile_encode(&range, wcursor_take(&c, FACTOR_KEYFILE_PARAMS));
	} else if (f == FACTOR_RECOVERY) {
		fixture_need(recovery_encode(secret, text) == 0);
		put_bytes("code", text, strlen(text));
	} else if (f == FACTOR_TPM2) {
		factor_tpm2_encode(&c, &(struct factor_tpm2){file, 80, file + 80, 160});
	} else {
		struct factor_fido2 fido = {.flags = 3, .credential = file, .credential_len = 64};
		rng_bytes(fido.salt, sizeof(fido.salt));
		factor_fido2_encode(&c, &fido);
	}
	if (c.len > 0)
		factor_params_put(params, f, encoded, c.len);
	put_bytes(factor_type(f)->word, secret, sizeof(secret));
	fixture_need(offer_add(offer, f, NULL, secret, sizeof(secret)) == 0);
}

static void put_slot(const char *name, enum factor a, enum factor b, unsigned index)
{
	struct keyslot_info info = {.kind = factor_kind(a, b),
				    .serial = index + 1,
				    .created_s = 1700000000,
				    .label = "vectors",
				    .kdf = {8192, 1, 1}};
	uint8_t slot[KEYSLOT_BYTES], root[ROOT_KEY_BYTES], vault_id[VAULT_ID_BYTES];
	uint8_t bytes[FACTOR_PARAMS_MAX];
	struct secret offer = {0};
	struct wcursor params;

	start_case(name);
	rng_bytes(root, sizeof(root));
	rng_bytes(vault_id, sizeof(vault_id));
	wcursor_init(&params, bytes, sizeof(bytes));
	put_slot_factor(a, &params, &offer);
	if (b)
		put_slot_factor(b, &params, &offer);
	info.params = bytes;
	info.params_len = params.len;
	fixture_need(keyslot_make(slot, index, vault_id, &info, &offer, root) == 0);
	put_int("index", index);
	put_int("kind", info.kind);
	put_bytes("vault-id", vault_id, sizeof(vault_id));
	put_bytes("root-key", root, sizeof(root));
	put_bytes("slot", slot, sizeof(slot));
	expect("ok");
	secret_clear(&offer);
}

static void make_slots(void)
{
	put_slot("passphrase", FACTOR_PASSPHRASE, FACTOR_NONE, 0);
	put_slot("keyfile", FACTOR_KEYFILE, FACTOR_NONE, 1);
	put_slot("recovery", FACTOR_RECOVERY, FACTOR_NONE, 2);
	put_slot("tpm2", FACTOR_TPM2, FACTOR_NONE, 3);
	put_slot("fido2", FACTOR_FIDO2, FACTOR_NONE, 4);
	put_slot("passphrase and keyfile", FACTOR_PASSPHRASE, FACTOR_KEYFILE, 5);
	put_slot("keyfile and recovery", FACTOR_KEYFILE, FACTOR_RECOVERY, 6);
	put_slot("tpm2 and fido2", FACTOR_TPM2, FACTOR_FIDO2, 31);
	refuse("keyfile", "other content", "file", 16, "ff", "secret");
	refuse("keyfile", "offset", "slot", 406, "11", "secret");
	refuse("keyfile", "length beyond the limit", "slot", 414, "01008000", "limit");
	refuse("keyfile", "no parameters", "slot", 400, "00*22", "malformed");
	refuse("keyfile", "other factor's parameters", "slot", 402, "04", "malformed");
	refuse("recovery", "other code", "code", 1, "30", "invalid");
	refuse("recovery", "with parameters", "slot", 400, "0400 02000000", "malformed");
	refuse("tpm2", "other secret", "tpm2", 0, "00", "secret");
	refuse("tpm2", "empty blob", "slot", 406, "0000", "malformed");
	refuse("tpm2", "changed blob", "slot", 500, "ff", "auth");
	refuse("fido2", "flag", "slot", 406, "04", "unsupported");
	refuse("fido2", "PIN no longer asked for", "slot", 406, "02", "auth");
	refuse("passphrase and keyfile", "other passphrase", "passphrase", 0, "43", "secret");
	refuse("passphrase and keyfile", "the wrong way round", "slot", 0, "0201", "unsupported");
	refuse("passphrase and keyfile", "a passphrase alone", "slot", 1, "00", "malformed");
	refuse("tpm2 and fido2", "twice the same", "slot", 0, "0404", "unsupported");
	refuse("tpm2 and fido2", "behind the parameters", "slot", 1423, "01", "malformed");
}

int main(int argc, char **argv)
{
	uint64_t state = 2026;

	if (argc != 2) {
		(void)fprintf(stderr, "usage: make_vectors DIRECTORY\n");
		return 2;
	}
	rng_replace(fixture_rng, &state);
	struct keyring *ring = fixture_keyring();
	begin(argv[1], "vault.txt");
	make_vault();
	begin(argv[1], "seal.txt");
	make_seals();
	begin(argv[1], "entry.txt");
	make_entries();
	begin(argv[1], "table.txt");
	make_tables();
	begin(argv[1], "xattr.txt");
	make_xattrs();
	begin(argv[1], "record.txt");
	make_records();
	begin(argv[1], "superblock.txt");
	make_superblocks();
	begin(argv[1], "keys.txt");
	make_keys(ring);
	begin(argv[1], "header.txt");
	make_headers(ring);
	keyring_free(ring);
	begin(argv[1], "slot.txt");
	make_slots();
	return fclose(out) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
