// SPDX-License-Identifier: Apache-2.0
// Writes the seed corpora: make_corpus DIRECTORY. The same bytes at every run. Besides each good
// input, two with one bit changed, so that the corpora hold refusals too.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "crypto/object_header_body.h"
#include "crypto/record.h"
#include "crypto/superblock_body.h"
#include "crypto/xattr_codec.h"
#include "tests/unit/fixture.h"

static const char *root_dir;

static void write_file(const char *target, const char *name, const uint8_t *data, size_t len)
{
	char path[512];

	(void)snprintf(path, sizeof(path), "%s/%s", root_dir, target);
	if (mkdir(path, 0777) < 0 && errno != EEXIST)
		perror(path);
	(void)snprintf(path, sizeof(path), "%s/%s/%s", root_dir, target, name);
	FILE *file = fopen(path, "wb");
	if (file == NULL || fwrite(data, 1, len, file) != len || fclose(file) != 0) {
		perror(path);
		exit(EXIT_FAILURE);
	}
}

static void emit(const char *target, const char *name, const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len + 1);
	char changed[80];

	fixture_need(copy != NULL);
	write_file(target, name, data, len);
	for (size_t i = 1; i <= 2 && len > 2; i++) {
		memcpy(copy, data, len);
		copy[len * i / 3] ^= (uint8_t)(1u << (len + i) % 8);
		(void)snprintf(changed, sizeof(changed), "%s-changed%zu", name, i);
		write_file(target, changed, copy, len);
	}
	free(copy);
}

// Targets of a fixed size pad with zeros themselves.
static void emit_trimmed(const char *target, const char *name, const uint8_t *data, size_t len)
{
	while (len > 0 && data[len - 1] == 0)
		len--;
	emit(target, name, data, len);
}

static struct entry sample_entry(int which, uint8_t target[static ENTRY_TARGET_MAX])
{
	struct entry e = fixture_entry("file");

	memset(target, 't', ENTRY_TARGET_MAX);
	switch (which) {
	case 1:
		e.kind = ENTRY_LINK;
		break;
	case 2:
		e.type = OBJECT_SYMLINK;
		e.target = target;
		e.target_len = 20;
		break;
	case 3:
		e.type = OBJECT_CHAR;
		e.attr.rdev = 0x0501;
		break;
	case 4:
		e.type = OBJECT_DIR;
		e.number = 1;
		e.name = (const uint8_t *)".";
		e.name_len = 1;
		break;
	case 5:
		e.type = OBJECT_SYMLINK;
		e.target = target;
		e.target_len = ENTRY_TARGET_MAX;
		e.name = target;
		e.name_len = ENTRY_NAME_MAX;
		break;
	default:
		break;
	}
	return e;
}

static size_t encode_sample(int which, uint8_t bytes[static ENTRY_BYTES_MAX])
{
	uint8_t target[ENTRY_TARGET_MAX];
	struct entry e = sample_entry(which, target);
	size_t len = 0;

	fixture_need(entry_encode(&e, bytes, ENTRY_BYTES_MAX, &len) == 0);
	return len;
}

static void make_entries(void)
{
	static const char *const names[] = {"file", "link", "symlink", "device", "dot", "longest"};
	uint8_t bytes[ENTRY_BYTES_MAX];

	for (int i = 0; i < 6; i++)
		emit("entry", names[i], bytes, encode_sample(i, bytes));
}

static void make_table_pages(void)
{
	uint8_t page[WARD_PAGE];
	uint8_t bytes[ENTRY_BYTES_MAX];

	table_page_init(page);
	emit("table_page", "empty", page, sizeof(page));
	for (int i = 0; i < 6; i++)
		fixture_need(
			table_page_put(page, (unsigned)i * 3, bytes, encode_sample(i, bytes)) == 0);
	emit("table_page", "mixed", page, sizeof(page));
	fixture_need(table_page_put(page, 9, NULL, 0) == 0);
	fixture_need(table_page_put(page, 0, bytes, encode_sample(2, bytes)) == 0);
	emit("table_page", "moved", page, sizeof(page));
	table_page_init(page);
	for (unsigned i = 0; i < TABLE_SLOTS; i++)
		fixture_need(table_page_put(page, i, bytes, encode_sample(1, bytes)) == 0);
	emit("table_page", "full", page, sizeof(page));
}

static void make_xattrs(void)
{
	static const char *const names[] = {"user.b", "user.a", "security.selinux", "user.ab", "z"};
	uint8_t bufs[2][1024] = {{0}};
	size_t len = 0;

	emit("xattr", "empty", bufs[0], 0);
	for (int i = 0; i < 5; i++) {
		fixture_need(xattr_codec_set(bufs[i % 2], len, names[i], names[4 - i],
					     strlen(names[4 - i]), bufs[1 - i % 2], sizeof(bufs[0]),
					     &len) == 0);
		emit("xattr", names[i], bufs[1 - i % 2], len);
	}
}

static void make_superblocks(void)
{
	struct superblock s = {.tail = 8192, .journal_bytes = 8 << 20, .counter = 1};
	uint8_t body[SUPERBLOCK_BODY_BYTES];

	fixture_need(superblock_body_encode(&s, body) == 0);
	emit_trimmed("superblock", "created", body, sizeof(body));
	s.mount = 0xffffff;
	s.k = 77;
	s.s = 1000;
	s.tail = 12288;
	fixture_count(s.salt, sizeof(s.salt), 1);
	fixture_count(s.previous_tag, sizeof(s.previous_tag), 0x80);
	s.root_generation = 5;
	fixture_need(superblock_body_encode(&s, body) == 0);
	emit_trimmed("superblock", "used", body, sizeof(body));
}

static struct object_header *sample_header(int which)
{
	static struct object_header h;

	memset(&h, 0, sizeof(h));
	h.type = OBJECT_FILE;
	h.generation = 5;
	h.parent_number = 1;
	h.parent_incarnation = 7;
	h.name_len = 1;
	h.name[0] = 'n';
	if (which == 0) {
		h.size = 5;
		memcpy(h.inline_data, "hello", 5);
		memcpy(h.xattr_inline, "\x01\0\x02\0axy", 7);
		h.xattr_len = 7;
		return &h;
	}
	h.layout = LAYOUT_TREE;
	h.size = 8192;
	h.direct[0] = fixture_seal(1, 1);
	h.roots[2] = fixture_seal(2, 1);
	if (which == 2) {
		h.type = OBJECT_DIR;
		h.name_len = 0;
		h.parent_number = 0;
		h.parent_incarnation = 0;
		h.xattr_layout = 1;
		h.xattr_len = 4097;
		h.xattr_seals[0] = fixture_seal(3, 1);
		h.xattr_seals[1] = fixture_seal(4, 1);
	}
	return &h;
}

static void make_object_headers(void)
{
	static const char *const names[] = {"body-inline", "body-tree", "body-dir"};
	uint8_t bytes[1 + WARD_PAGE] = {0};
	uint8_t nonce[GCM_NONCE_BYTES];
	struct object_id id = fixture_id(OBJECT_FILE);
	struct keyring *ring = fixture_keyring();
	struct object_keys *keys = NULL;

	for (int i = 0; i < 3; i++) {
		fixture_need(object_header_body_encode(sample_header(i), bytes + 1) == 0);
		emit_trimmed("object_header", names[i], bytes, 1 + OBJECT_BODY_BYTES);
	}
	fixture_need(object_keys_new(ring, &id, &keys) == 0);
	rng_bytes(nonce, sizeof(nonce));
	bytes[0] = 1;
	fixture_need(object_header_seal(sample_header(0), &id, keys, nonce, bytes + 1) == 0);
	emit("object_header", "page", bytes, sizeof(bytes));
	emit("object_header", "page-prefix", bytes, 1 + OBJECT_PREFIX_BYTES);
	object_keys_free(keys);
	keyring_free(ring);
}

static void emit_record(struct record *r, const char *name)
{
	fixture_need(r->err == 0);
	emit("record", name, r->buf, r->len);
	record_reset(r);
}

static void make_records(void)
{
	static const struct objref ref = {0x123456789abcdef0, 0xfedcba9876543210, 5};
	static uint8_t page[WARD_PAGE];
	struct ward_attr attr = fixture_attr();
	struct seal seal = fixture_seal(1, 1);
	uint8_t entry[ENTRY_BYTES_MAX];
	uint8_t tlv[OBJECT_KEYS_TLV_MAX];
	struct record r;

	record_init(&r);
	record_slot(&r, &ref, 0, 2, entry, encode_sample(2, entry));
	record_slot(&r, &ref, 1, 3, NULL, 0);
	record_attr(&r, &ref, 1, 3, 77, &attr);
	emit_record(&r, "names");
	record_object(&r, &ref, OBJECT_FILE, 1, 1, 1, 7, tlv, fixture_tlv(tlv, 2));
	record_size(&r, &ref, 1 << 20, LAYOUT_TREE);
	uint8_t *seals = record_run(&r, &ref, 3, 2, RUN_OLD_OK);
	fixture_need(seals != NULL);
	memcpy(seals, seal.b, SEAL_BYTES);
	memset(seals + SEAL_BYTES, 0, SEAL_BYTES);
	record_settled(&r, &ref, 3, 5);
	emit_record(&r, "seals");
	record_size(&r, &ref, 3, LAYOUT_INLINE);
	record_inline(&r, &ref, (const uint8_t *)"abc", 3);
	record_xattr(&r, &ref, (const uint8_t *)"\x01\0\x02\0axy", 7);
	record_drop(&r, &ref, 3, UINT64_MAX);
	record_orphan(&r, &ref);
	record_freed(&r, 5, 6);
	emit_record(&r, "inline");
	record_page(&r, &ref, 9, &seal, page);
	emit_record(&r, "page");
	record_image(&r, 5, 6, 0, page);
	record_checkpoint(&r, 1, 2, 3, 4, 1);
	emit_record(&r, "image");
	record_mount(&r, 1);
	emit_record(&r, "mount");
	record_free(&r);
}

// One of each kind that has parameters, and one with two factors.
static void make_kinds(uint8_t slot[static 1000])
{
	static const uint8_t blob[64] = {1, 2, 3};
	const struct factor_tpm2 tpm2 = {blob, 40, blob, 60};
	const struct factor_fido2 fido2 = {
		.flags = 3, .credential = blob, .credential_len = sizeof(blob)};
	uint8_t params[2][FACTOR_PARAMS_MAX];
	struct wcursor c, whole;

	wcursor_init(&whole, slot + 402, 598);
	wcursor_init(&c, params[0], sizeof(params[0]));
	factor_tpm2_encode(&c, &tpm2);
	factor_params_put(&whole, FACTOR_TPM2, params[0], c.len);
	le16_put(slot, FACTOR_TPM2);
	le16_put(slot + 400, (uint16_t)whole.len);
	emit("keyslot", "tpm2", slot, 402 + whole.len);
	wcursor_init(&c, params[1], sizeof(params[1]));
	factor_fido2_encode(&c, &fido2);
	factor_params_put(&whole, FACTOR_FIDO2, params[1], c.len);
	le16_put(slot, factor_kind(FACTOR_TPM2, FACTOR_FIDO2));
	le16_put(slot + 400, (uint16_t)whole.len);
	emit("keyslot", "tpm2-fido2", slot, 402 + whole.len);
	memset(slot + 400, 0, 600);
	wcursor_init(&whole, slot + 402, 598);
	factor_params_put(&whole, FACTOR_KEYFILE, params[1], 0);
	wcursor_zero(&whole, FACTOR_KEYFILE_PARAMS);
	slot[404] = FACTOR_KEYFILE_PARAMS;
	le16_put(slot, factor_kind(FACTOR_PASSPHRASE, FACTOR_KEYFILE));
	le16_put(slot + 400, (uint16_t)whole.len);
	emit("keyslot", "passphrase-keyfile", slot, 402 + whole.len);
}

static void make_keyslots(void)
{
	uint8_t slot[1000] = {0};

	emit("keyslot", "empty", slot, 0);
	fixture_count(slot + 96, 400 - 96, 1);
	le16_put(slot, 1);
	le32_put(slot + 4, 3);
	le64_put(slot + 8, 1700000000);
	le32_put(slot + 80, 65536);
	le32_put(slot + 84, 3);
	le32_put(slot + 88, 4);
	le32_put(slot + 92, 0x13);
	emit("keyslot", "no-label", slot, 400);
	slot[16] = 63;
	memset(slot + 17, 'l', 63);
	emit("keyslot", "long-label", slot, 400);
	make_kinds(slot);
}

// Patches: u24 offset, u8 length, bytes (see fuzz_vault_header.c).
static void make_vault_headers(void)
{
#define SEED(name, bytes) emit("vault_header", name, (const uint8_t *)(bytes), sizeof(bytes) - 1)
	SEED("good", "");
	SEED("clean", "\x3c\0\0\x01\0\x50\0\0\x01\x09");
	SEED("replaying", "\x3c\0\0\x01\x02\x40\0\0\x01\x06");
	SEED("format-2", "\x08\0\0\x01\x02");
	SEED("incompat", "\x20\0\0\x01\x01");
	SEED("slot-kind", "\0\x04\0\x01\x02");
	SEED("slot-memory", "\x50\x04\0\x04\xff\xff\xff\xff");
	SEED("slot-pasted", "\0\x10\0\x08\x01\0\0\0\x01\0\0\0");
	SEED("master-epoch", "\x64\x84\x01\x01\x05");
	SEED("masters-swapped", "\x04\x84\x01\x01\x02\x64\x84\x01\x01\x01");
	SEED("reserved", "\xff\x9f\x01\x01\x01");
	SEED("file", "\xffWARDVLT\x01\x01\0\0\0\0\xa0\x01\0");
#undef SEED
}

int main(int argc, char **argv)
{
	uint64_t state = 7;

	if (argc != 2) {
		(void)fprintf(stderr, "usage: make_corpus DIRECTORY\n");
		return 2;
	}
	root_dir = argv[1];
	rng_replace(fixture_rng, &state);
	make_entries();
	make_table_pages();
	make_xattrs();
	make_superblocks();
	make_object_headers();
	make_records();
	make_keyslots();
	make_vault_headers();
	return EXIT_SUCCESS;
}
