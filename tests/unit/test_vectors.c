// SPDX-License-Identifier: Apache-2.0
// Replays tests/vectors: every case with "expect ok" in both directions, every other one in the
// reading direction.
#include <string.h>

#include "crypto/anchor_codec.h"
#include "crypto/object_header_body.h"
#include "crypto/recovery.h"
#include "crypto/secret.h"
#include "crypto/sha256.h"
#include "crypto/xattr_codec.h"
#include "tests/unit/fixture.h"
#include "tests/unit/unit_main.h"
#include "tests/unit/vector_reader.h"
#include "tests/vectors/fields.h"

static const struct {
	const char *name;
	int rc;
} results[] = {
	{"ok", 0},
	{"auth", WERR_AUTH},
	{"malformed", WERR_MALFORMED},
	{"truncated", WERR_TRUNCATED},
	{"unsupported", WERR_UNSUPPORTED},
	{"limit", WERR_LIMIT},
	{"secret", WERR_SECRET},
	{"notvault", WERR_NOTVAULT},
	{"invalid", WERR_INVALID},
};

static int expected(const struct vector_case *c)
{
	for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
		if (c->expect != NULL && strcmp(c->expect, results[i].name) == 0)
			return results[i].rc;
	}
	ck_abort_msg("%s: unknown result", c->name);
	return 0;
}

static void check_rc(const struct vector_case *c, int rc)
{
	ck_assert_msg(rc == expected(c), "%s: %d", c->name, rc);
}

static void exactly(const struct vector_case *c, const char *field, void *buf, size_t len)
{
	size_t got = vector_bytes(c, field, buf, len);

	ck_assert_msg(got == len, "%s: %s has %zu bytes", c->name, field, got);
}

static void fill(const struct vector_case *c, const struct field *fields, void *structure)
{
	for (; fields->name != NULL; fields++)
		field_set(structure, fields, vector_int(c, fields->name));
}

static void same(const struct vector_case *c, const struct field *fields, const void *structure)
{
	for (; fields->name != NULL; fields++) {
		ck_assert_msg(field_get(structure, fields) == vector_int(c, fields->name),
			      "%s: %s is %llu", c->name, fields->name,
			      (unsigned long long)field_get(structure, fields));
	}
}

// The bytes of a field are `len` bytes at p.
static void same_bytes(const struct vector_case *c, const char *field, const void *p, size_t len)
{
	static uint8_t buf[VAULT_HEADER_BYTES + 1];
	size_t want = vector_bytes(c, field, buf, sizeof(buf));

	ck_assert_msg(want == len && (len == 0 || memcmp(buf, p, len) == 0), "%s: %s", c->name,
		      field);
}

static struct gcm_key *case_key(const struct vector_case *c, const char *field)
{
	uint8_t raw[GCM_KEY_BYTES];

	exactly(c, field, raw, sizeof(raw));
	struct gcm_key *key = gcm_key_new(raw);
	ck_assert_ptr_nonnull(key);
	return key;
}

static void replay_seal(const struct vector_case *c)
{
	static uint8_t plain[WARD_PAGE];
	static uint8_t cipher[WARD_PAGE];
	static uint8_t opened[WARD_PAGE];
	struct gcm_key *key = case_key(c, "key");
	uint32_t level = (uint32_t)vector_int(c, "level");
	uint64_t index = vector_int(c, "index");
	uint8_t nonce[GCM_NONCE_BYTES];
	struct seal seal;

	exactly(c, "cipher", cipher, sizeof(cipher));
	exactly(c, "seal", seal.b, SEAL_BYTES);
	check_rc(c, seal_open(key, &seal, level, index, cipher, opened));
	if (expected(c) == 0) {
		same_bytes(c, "plain", opened, sizeof(opened));
		memcpy(plain, opened, sizeof(plain));
		exactly(c, "nonce", nonce, sizeof(nonce));
		ck_assert_int_eq(seal_page(key, (uint16_t)vector_int(c, "generation"), level, index,
					   nonce, plain, cipher, &seal),
				 0);
		same_bytes(c, "cipher", cipher, sizeof(cipher));
		same_bytes(c, "seal", seal.b, SEAL_BYTES);
	}
	gcm_key_free(key);
}

static void replay_entry(const struct vector_case *c)
{
	uint8_t bytes[ENTRY_BYTES_MAX];
	uint8_t name[ENTRY_NAME_MAX];
	uint8_t target[ENTRY_TARGET_MAX];
	struct entry e = {0};
	size_t len = vector_bytes(c, "bytes", bytes, sizeof(bytes));

	check_rc(c, entry_decode(bytes, len, &e));
	if (expected(c) != 0)
		return;
	same(c, entry_fields, &e);
	same_bytes(c, "name", e.name, e.name_len);
	same_bytes(c, "target", e.target, e.target_len);
	memset(&e, 0, sizeof(e));
	fill(c, entry_fields, &e);
	e.name_len = (uint8_t)vector_bytes(c, "name", name, sizeof(name));
	e.name = name;
	e.target_len = (uint16_t)vector_bytes(c, "target", target, sizeof(target));
	e.target = target;
	ck_assert_int_eq(entry_encode(&e, bytes, sizeof(bytes), &len), 0);
	same_bytes(c, "bytes", bytes, len);
}

static void replay_table(const struct vector_case *c)
{
	uint8_t page[WARD_PAGE];
	char field[16];
	size_t len;

	exactly(c, "bytes", page, sizeof(page));
	check_rc(c, table_page_check(page));
	for (unsigned slot = 0; expected(c) == 0 && slot < TABLE_SLOTS; slot++) {
		const uint8_t *at = table_page_slot(page, slot, &len);
		(void)snprintf(field, sizeof(field), "slot-%u", slot);
		same_bytes(c, field, at, len);
	}
}

static void replay_xattr(const struct vector_case *c)
{
	uint8_t set[1024];
	uint8_t bufs[2][1024] = {{0}};
	char name[256];
	uint8_t value[256];
	char field[32];
	size_t len = vector_bytes(c, "bytes", set, sizeof(set));
	size_t built = 0;
	int n = 0;

	check_rc(c, xattr_codec_check(set, len));
	if (expected(c) != 0)
		return;
	for (;; n++) {
		(void)snprintf(field, sizeof(field), "name-%d", n);
		if (vector_value(c, field) == NULL)
			break;
		name[vector_bytes(c, field, name, sizeof(name) - 1)] = '\0';
		(void)snprintf(field, sizeof(field), "value-%d", n);
		size_t value_len = vector_bytes(c, field, value, sizeof(value));
		ck_assert_int_eq(xattr_codec_set(bufs[n % 2], built, name, value, value_len,
						 bufs[1 - n % 2], sizeof(bufs[0]), &built),
				 0);
	}
	same_bytes(c, "bytes", bufs[n % 2], built);
}

static void fixed_rng(void *arg, void *buf, size_t n)
{
	const uint8_t **next = arg;

	memcpy(buf, *next, n);
	*next += n;
}

// Makes the object's keys anew from the raw ones of the case.
static struct object_keys *make_keys(const struct keyring *ring, const struct object_id *id,
				     const struct vector_case *c)
{
	uint8_t raw[2 * GCM_KEY_BYTES];
	const uint8_t *next = raw;
	struct object_keys *keys = NULL;

	exactly(c, "keys", raw, sizeof(raw));
	rng_replace(fixed_rng, &next);
	ck_assert_int_eq(object_keys_new(ring, id, &keys), 0);
	rng_replace(NULL, NULL);
	ck_assert_ptr_eq(next, raw + sizeof(raw));
	return keys;
}

static void replay_keys(const struct vector_case *c)
{
	struct keyring *ring = fixture_keyring();
	struct object_id id = {.number = vector_int(c, "number"),
			       .incarnation = vector_int(c, "incarnation"),
			       .type = (uint16_t)vector_int(c, "type"),
			       .class_ = (uint16_t)vector_int(c, "class"),
			       .epoch = (uint32_t)vector_int(c, "epoch")};
	uint8_t tlv[OBJECT_KEYS_TLV_MAX];
	size_t len = vector_bytes(c, "tlv", tlv, sizeof(tlv));
	struct object_keys *keys = NULL;

	check_rc(c, object_keys_unwrap(ring, &id, tlv, len, &keys));
	object_keys_free(keys);
	if (expected(c) == 0) {
		same_bytes(c, "vault-id", keyring_vault_id(ring), VAULT_ID_BYTES);
		same_bytes(c, "master", keyring_master(ring, id.class_, id.epoch),
			   MASTER_KEY_BYTES);
		keys = make_keys(ring, &id, c);
		const uint8_t *own = object_keys_tlv(keys, &len);
		same_bytes(c, "tlv", own, len);
		object_keys_free(keys);
	}
	keyring_free(ring);
}

// A refusal patches the page or the body; the other one of the two is then as it was, and good.
static int open_header(const uint8_t *page, const uint8_t *body, const struct object_keys *keys,
		       struct object_header *h)
{
	int rc = object_header_open(page, keys, h);

	return rc < 0 ? rc : object_header_body_decode(body, h);
}

static void replay_header(const struct vector_case *c)
{
	static struct object_header h;
	static uint8_t page[WARD_PAGE];
	static uint8_t body[OBJECT_BODY_BYTES];
	struct keyring *ring = fixture_keyring();
	struct object_id id = fixture_id(OBJECT_FILE);
	struct object_keys *keys = make_keys(ring, &id, c);
	uint8_t nonce[GCM_NONCE_BYTES];

	exactly(c, "page", page, sizeof(page));
	exactly(c, "body", body, sizeof(body));
	check_rc(c, open_header(page, body, keys, &h));
	if (expected(c) == 0) {
		ck_assert_uint_eq(vector_int(c, "number"), id.number);
		ck_assert_uint_eq(vector_int(c, "incarnation"), id.incarnation);
		ck_assert_uint_eq(vector_int(c, "epoch"), id.epoch);
		same(c, header_fields, &h);
		same_bytes(c, "name", h.name, h.name_len);
		exactly(c, "nonce", nonce, sizeof(nonce));
		ck_assert_int_eq(object_header_seal(&h, &id, keys, nonce, page), 0);
		same_bytes(c, "page", page, sizeof(page));
		ck_assert_int_eq(object_header_body_encode(&h, body), 0);
		same_bytes(c, "body", body, sizeof(body));
	}
	object_keys_free(keys);
	keyring_free(ring);
}

static void replay_record(const struct vector_case *c)
{
	static uint8_t payload[8192];
	uint8_t attr[ATTR_BYTES];
	size_t len = vector_bytes(c, "payload", payload, sizeof(payload));
	struct assignment a;
	size_t offset = 0;
	int rc = record_next(payload, len, &offset, &a);

	check_rc(c, rc == 1 ? 0 : rc);
	if (expected(c) != 0)
		return;
	ck_assert_uint_eq(offset, len);
	same(c, assignment_fields, &a);
	attr_encode(&a.attr, attr);
	same_bytes(c, "attr", attr, a.tag == REC_ATTR ? sizeof(attr) : 0);
	same_bytes(c, "bytes", a.bytes, a.len);
	size_t seals = a.tag == REC_RUN ? a.count : a.tag == REC_PAGE;
	same_bytes(c, "seals", a.seals, seals * SEAL_BYTES);
}

static void replay_superblock(const struct vector_case *c)
{
	struct gcm_key *key = case_key(c, "key");
	uint32_t number = (uint32_t)vector_int(c, "number");
	uint8_t vault_id[VAULT_ID_BYTES];
	uint8_t nonce[GCM_NONCE_BYTES];
	uint8_t block[SUPERBLOCK_BYTES];
	struct superblock s;

	exactly(c, "vault-id", vault_id, sizeof(vault_id));
	exactly(c, "block", block, sizeof(block));
	check_rc(c, superblock_open(block, key, vault_id, number, &s));
	if (expected(c) == 0) {
		same(c, superblock_fields, &s);
		same_bytes(c, "salt", s.salt, sizeof(s.salt));
		same_bytes(c, "previous-tag", s.previous_tag, sizeof(s.previous_tag));
		exactly(c, "nonce", nonce, sizeof(nonce));
		ck_assert_int_eq(superblock_seal(&s, key, vault_id, number, nonce, block), 0);
		same_bytes(c, "block", block, sizeof(block));
	}
	gcm_key_free(key);
}

// Opens as a program does: clear part, one slot, MAC and all.
static int open_vault(const struct vector_case *c, const uint8_t *file, size_t len,
		      uint8_t root[static ROOT_KEY_BYTES], struct vault_header *h)
{
	struct keyslot_info infos[KEYSLOT_MAX];
	uint8_t vault_id[VAULT_ID_BYTES];
	uint8_t kek[ARGON_KEK_BYTES];
	uint8_t text[64];
	struct secret pass = {0};
	int rc = vault_header_peek(file, len, vault_id, infos);

	if (rc < 0)
		return rc;
	ck_assert_int_eq(secret_copy(&pass, text, vector_bytes(c, "passphrase", text, 64)), 0);
	rc = keyslot_kek(vault_header_slot(file, 0), &pass, kek);
	secret_clear(&pass);
	if (rc == 0)
		rc = keyslot_open(vault_header_slot(file, 0), 0, vault_id, kek, root);
	return rc < 0 ? rc : vault_header_decode(file, len, root, h);
}

static void replay_vault(const struct vector_case *c)
{
	static struct vault_header h;
	static uint8_t file[VAULT_HEADER_BYTES];
	uint8_t root[ROOT_KEY_BYTES] = {0};
	struct keyring *ring = NULL;
	size_t len = vector_bytes(c, "file", file, sizeof(file));

	check_rc(c, open_vault(c, file, len, root, &h));
	if (expected(c) != 0)
		return;
	same(c, vault_fields, &h);
	same_bytes(c, "root-key", root, sizeof(root));
	same_bytes(c, "vault-id", h.vault_id, sizeof(h.vault_id));
	ck_assert_int_eq(keyring_new(&h, root, &ring), 0);
	same_bytes(c, "master", keyring_master(ring, 1, 1), MASTER_KEY_BYTES);
	same_bytes(c, "header-mac-key", keyring_header_mac(ring), 32);
	same_bytes(c, "journal-key", keyring_journal(ring), 32);
	same_bytes(c, "anchor-key", keyring_anchor(ring), 32);
	memset(file, 0, sizeof(file));
	ck_assert_int_eq(vault_header_encode(&h, keyring_header_mac(ring), file), 0);
	same_bytes(c, "file", file, sizeof(file));
	keyring_free(ring);
}

static void replay_rotation(const struct vector_case *c)
{
	static struct vault_header h;
	static uint8_t file[VAULT_HEADER_BYTES];
	uint8_t root[ROOT_KEY_BYTES] = {0};
	size_t len = vector_bytes(c, "file", file, sizeof(file));

	replay_vault(c);
	if (expected(c) != 0)
		return;
	ck_assert_int_eq(open_vault(c, file, len, root, &h), 0);
	same(c, rotation_fields, &h);
}

// Sealed again with the same nonces it must be the same bytes.
static void seal_anchor(const struct vector_case *c, const struct keyring *ring, uint32_t epoch)
{
	uint8_t nonces[ANCHOR_PAGES * GCM_NONCE_BYTES], out[ANCHOR_BYTES];
	struct anchor_claims a = {0};
	struct anchor_keys *keys;

	fill(c, anchor_fields, &a);
	exactly(c, "header-mac", a.header_mac, sizeof(a.header_mac));
	exactly(c, "journal-salt", a.journal_salt, sizeof(a.journal_salt));
	exactly(c, "slot-digest", a.slots[0].digest, sizeof(a.slots[0].digest));
	vector_bytes(c, "closed-machine", a.closed_machine, sizeof(a.closed_machine));
	vector_bytes(c, "slot-label", a.slots[0].label, sizeof(a.slots[0].label));
	exactly(c, "nonces", nonces, sizeof(nonces));
	ck_assert_int_eq(anchor_keys_new(ring, epoch, &keys), 0);
	ck_assert_int_eq(anchor_codec_seal(&a, keys, nonces, out), 0);
	same_bytes(c, "file", out, sizeof(out));
	anchor_keys_free(keys);
}

static void replay_anchor(const struct vector_case *c)
{
	static struct vault_header h;
	static uint8_t header[VAULT_HEADER_BYTES], file[ANCHOR_BYTES + 1];
	uint8_t root[ROOT_KEY_BYTES] = {0};
	struct keyring *ring = NULL;
	struct anchor_claims a = {0};
	char folder[ANCHOR_NAME_BYTES];
	size_t len = vector_bytes(c, "header", header, sizeof(header));

	ck_assert_int_eq(open_vault(c, header, len, root, &h), 0);
	same_bytes(c, "root-key", root, sizeof(root));
	ck_assert_int_eq(keyring_new(&h, root, &ring), 0);
	len = vector_bytes(c, "file", file, sizeof(file));
	check_rc(c, anchor_codec_open(file, len, ring, &a));
	if (expected(c) == 0) {
		same(c, anchor_fields, &a);
		same_bytes(c, "header-mac", a.header_mac, sizeof(a.header_mac));
		same_bytes(c, "journal-salt", a.journal_salt, sizeof(a.journal_salt));
		same_bytes(c, "closed-machine", a.closed_machine, strlen(a.closed_machine));
		same_bytes(c, "slot-label", a.slots[0].label, strlen(a.slots[0].label));
		same_bytes(c, "slot-digest", a.slots[0].digest, sizeof(a.slots[0].digest));
		ck_assert_uint_eq(a.slots[1].serial, 0);
		anchor_codec_name(h.vault_id, folder);
		same_bytes(c, "folder", folder, strlen(folder));
		if (h.epoch == 1)
			seal_anchor(c, ring, h.epoch);
	}
	keyring_free(ring);
}

// The secret of a factor as a program gets it.
static int slot_factor(const struct vector_case *c, enum factor f, const uint8_t *slot,
		       struct secret *offer)
{
	struct keyslot_info info;
	struct factor_keyfile range;
	const uint8_t *params;
	uint8_t secret[256], data[256];
	size_t params_len, len = FACTOR_SECRET_BYTES;
	unsigned group;
	int rc = 0;

	if (f == FACTOR_PASSPHRASE) {
		len = vector_bytes(c, "passphrase", secret, sizeof(secret));
	} else if (f == FACTOR_KEYFILE) {
		ck_assert_int_eq(keyslot_info(slot, &info), 0);
		ck_assert_int_eq(
			factor_params_find(info.params, info.params_len, f, &params, &params_len),
			0);
		ck_assert_int_eq(factor_keyfile_decode(params, params_len, &range), 0);
		vector_bytes(c, "file", data, sizeof(data));
		ck_assert_int_eq(sha256_of(data + range.offset, range.length, secret), 0);
	} else if (f == FACTOR_RECOVERY) {
		len = vector_bytes(c, "code", data, sizeof(data));
		rc = recovery_decode((const char *)data, len, secret, &group);
		len = FACTOR_SECRET_BYTES;
	} else {
		vector_bytes(c, factor_type(f)->word, secret, sizeof(secret));
	}
	return rc ? rc : offer_add(offer, f, NULL, secret, len);
}

static int open_slot(const struct vector_case *c, const uint8_t *slot,
		     uint8_t root[static ROOT_KEY_BYTES])
{
	enum factor factors[FACTORS_IN_KIND];
	uint8_t kek[ARGON_KEK_BYTES], vault_id[VAULT_ID_BYTES];
	struct keyslot_info info;
	struct secret offer = {0};
	int rc = keyslot_info(slot, &info);

	if (rc < 0)
		return rc;
	const unsigned n = factor_split(info.kind, factors);
	for (unsigned i = 0; i < n && rc == 0; i++)
		rc = slot_factor(c, factors[i], slot, &offer);
	if (rc == 0)
		rc = keyslot_kek(slot, &offer, kek);
	vector_bytes(c, "vault-id", vault_id, sizeof(vault_id));
	if (rc == 0)
		rc = keyslot_open(slot, (unsigned)vector_int(c, "index"), vault_id, kek, root);
	secret_clear(&offer);
	return rc;
}

static void replay_slot(const struct vector_case *c)
{
	uint8_t slot[KEYSLOT_BYTES], root[ROOT_KEY_BYTES];

	ck_assert_uint_eq(vector_bytes(c, "slot", slot, sizeof(slot)), sizeof(slot));
	check_rc(c, open_slot(c, slot, root));
	if (expected(c) != 0)
		return;
	same_bytes(c, "root-key", root, sizeof(root));
	ck_assert_uint_eq(le16_get(slot), vector_int(c, "kind"));
}

// How many cases each file has: a case that is not read must not go unnoticed.
static const struct {
	const char *file;
	size_t cases;
	void (*replay)(const struct vector_case *c);
} files[] = {
	{"seal", 13, replay_seal},     {"entry", 27, replay_entry},
	{"table", 15, replay_table},   {"xattr", 9, replay_xattr},
	{"keys", 14, replay_keys},     {"header", 28, replay_header},
	{"record", 33, replay_record}, {"superblock", 11, replay_superblock},
	{"vault", 12, replay_vault},   {"slot", 25, replay_slot},
	{"anchor", 19, replay_anchor}, {"rotation", 9, replay_rotation},
};

START_TEST(replay)
{
	struct vector_file *f = vector_load(files[_i].file);

	ck_assert_uint_eq(f->cases_len, files[_i].cases);
	for (size_t i = 0; i < f->cases_len; i++)
		files[_i].replay(&f->cases[i]);
	vector_free(f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("vectors");
	TCase *tc = tcase_create("vectors");

	if (secret_init() < 0)
		return EXIT_FAILURE;
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, replay, 0, sizeof(files) / sizeof(files[0]));
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
