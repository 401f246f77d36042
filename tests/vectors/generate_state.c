// SPDX-License-Identifier: Apache-2.0
// Writes the known answers that came after those of generate.c: make_state_vectors DIRECTORY. The
// anchor, and vault headers with a rotation under way.
#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"
#include "tests/vectors/writing.h"

struct made {
	struct vault_header h;
	uint8_t *root;
};

static void make_header(struct made *m)
{
	struct keyslot_info info = {.kind = KEYSLOT_PASSPHRASE,
				    .serial = 1,
				    .created_s = 1700000000,
				    .label = "vectors",
				    .kdf = {8192, 1, 1}};
	struct secret pass = {0};

	fixture_need(secret_copy(&pass, "correct horse", 13) == 0);
	fixture_need(keyring_create(&m->h, &info, &pass, &m->root) == 0);
	secret_clear(&pass);
	m->h.mount = 7;
	m->h.state = VAULT_CLEAN;
	m->h.journal_sequence = 99;
	m->h.journal_bytes = 64ull << 20;
	m->h.created_s = 1700000000;
}

static struct keyring *ring_of(const struct made *m)
{
	struct keyring *ring = NULL;

	fixture_need(keyring_new(&m->h, m->root, &ring) == 0);
	return ring;
}

static void put_vault(const struct made *m, const char *field)
{
	static uint8_t file[VAULT_HEADER_BYTES];
	struct keyring *ring = ring_of(m);

	fixture_need(vault_header_encode(&m->h, keyring_header_mac(ring), file) == 0);
	put_bytes("passphrase", "correct horse", 13);
	put_bytes("root-key", m->root, ROOT_KEY_BYTES);
	put_bytes("vault-id", m->h.vault_id, VAULT_ID_BYTES);
	put_bytes(field, file, sizeof(file));
	keyring_free(ring);
}

// The root key is another one from here on, and there is one more epoch.
static void renew(struct made *m)
{
	uint8_t *root = NULL;

	fixture_need(keyring_renew(&m->h, m->root, &root) == 0);
	secret_free(m->root);
	m->root = root;
}

// ---- rotation ----

static void put_rotation(const struct made *m, const char *name)
{
	struct keyring *ring = ring_of(m);

	start_case(name);
	put_vault(m, "file");
	put_bytes("master", keyring_master(ring, 1, 1), MASTER_KEY_BYTES);
	put_bytes("header-mac-key", keyring_header_mac(ring), 32);
	put_bytes("journal-key", keyring_journal(ring), 32);
	put_bytes("anchor-key", keyring_anchor(ring), 32);
	put_fields(vault_fields, &m->h);
	put_fields(rotation_fields, &m->h);
	expect("ok");
	keyring_free(ring);
}

static void make_rotations(void)
{
	struct made m = {0};

	make_header(&m);
	renew(&m);
	m.h.root_generation = (uint64_t)7 << 40 | 5;
	m.h.rotation = (struct vault_rotation){.level = VAULT_ROTATION_KEYS,
					       .number = 1,
					       .incarnation = m.h.root_incarnation,
					       .started_s = 1700000100};
	put_rotation(&m, "keys of everything");
	m.h.state = VAULT_DIRTY;
	m.h.journal_sequence = 0;
	m.h.rotation.level = VAULT_ROTATION_CONTENTS;
	put_rotation(&m, "contents of everything, dirty");
	m.h.rotation.number = 0x123456789abcdef0;
	m.h.rotation.incarnation = 0xfedcba9876543210;
	put_rotation(&m, "contents of one directory");
	secret_free(m.root);
	refuse("keys of everything", "level", "file", 960, "02", "auth");
	refuse("keys of everything", "no rotation", "file", 960, "00*40", "auth");
	refuse("contents of one directory", "number", "file", 968, "f1", "auth");
	refuse("contents of one directory", "incarnation", "file", 976, "11", "auth");
	refuse("contents of one directory", "when it began", "file", 984, "00", "auth");
	refuse("contents of one directory", "behind it", "file", 992, "01", "auth");
}

// ---- the anchor ----

static struct anchor_claims claims_of(const struct vault_header *h)
{
	struct anchor_claims a = {
		.counter = 9,
		.written_s = 1700000005,
		.mount = 7,
		.state = VAULT_DIRTY,
		.write_counter = 21,
		.root_generation = (uint64_t)7 << 40 | 3,
		.journal_mount = 7,
		.journal_sequence = 1234,
		.journal_counter = 56,
		.closed_s = 1699999999,
		.closed_mount = 6,
		.closed_machine = "desk",
	};

	rng_bytes(a.header_mac, sizeof(a.header_mac));
	rng_bytes(a.journal_salt, sizeof(a.journal_salt));
	fixture_need(anchor_codec_slot(h->slots[0], &a.slots[0]) == 0);
	a.slots[0].last_use_s = 1700000001;
	return a;
}

static void put_anchor(const struct made *m)
{
	uint8_t nonces[ANCHOR_PAGES * GCM_NONCE_BYTES], file[ANCHOR_BYTES];
	const struct anchor_claims a = claims_of(&m->h);
	struct keyring *ring = ring_of(m);
	char name[ANCHOR_NAME_BYTES];
	struct anchor_keys *keys = NULL;

	rng_bytes(nonces, sizeof(nonces));
	fixture_need(anchor_keys_new(ring, m->h.epoch, &keys) == 0);
	fixture_need(anchor_codec_seal(&a, keys, nonces, file) == 0);
	anchor_codec_name(m->h.vault_id, name);
	put_fields(anchor_fields, &a);
	put_bytes("header-mac", a.header_mac, sizeof(a.header_mac));
	put_bytes("journal-salt", a.journal_salt, sizeof(a.journal_salt));
	put_bytes("closed-machine", a.closed_machine, strlen(a.closed_machine));
	put_bytes("slot-label", a.slots[0].label, strlen(a.slots[0].label));
	put_bytes("slot-digest", a.slots[0].digest, sizeof(a.slots[0].digest));
	put_bytes("anchor-key", keyring_anchor(ring), 32);
	put_bytes("nonces", nonces, sizeof(nonces));
	put_bytes("folder", name, strlen(name));
	put_bytes("file", file, sizeof(file));
	anchor_keys_free(keys);
	keyring_free(ring);
}

static void make_anchors(void)
{
	struct made m = {0}, other = {0};

	make_header(&m);
	start_case("one");
	put_vault(&m, "header");
	put_anchor(&m);
	expect("ok");
	// The header has another root key since; page 1 tells.
	renew(&m);
	start_case("after a new root key");
	(void)fputs("like one\n", out);
	put_vault(&m, "header");
	expect("ok");
	make_header(&other);
	start_case("another vault's header");
	(void)fputs("like one\n", out);
	put_vault(&other, "header");
	expect("auth");
	secret_free(m.root);
	secret_free(other.root);
	refuse("one", "magic", "file", 7, "02", "malformed");
	refuse("one", "version", "file", 8, "02", "unsupported");
	refuse("one", "number of the page", "file", 4108, "00", "malformed");
	refuse("one", "epoch of one page", "file", 16, "02", "malformed");
	refuse("one", "no epoch", "file", 16, "00", "malformed");
	refuse("one", "reserved", "file", 20, "01", "malformed");
	refuse("one", "nonce", "file", 24, "ff", "auth");
	refuse("one", "tag", "file", 51, "ff", "auth");
	refuse("one", "key id", "file", 52, "ff", "auth");
	refuse("one", "key id in page 1", "file", 4148, "ff", "malformed");
	refuse("one", "page 0", "file", 64, "ff*16", "auth");
	refuse("one", "end of page 1", "file", 8191, "ff*1", "auth");
	refuse("after a new root key", "tag of page 0", "file", 51, "ff", "auth");
	refuse("after a new root key", "page 1", "file", 5000, "ff*16", "auth");
	refuse_cut("one", "file", 8191, "truncated");
	refuse_cut("one", "file", 4096, "truncated");
}

int main(int argc, char **argv)
{
	uint64_t state = 2027;

	if (argc != 2) {
		(void)fprintf(stderr, "usage: make_state_vectors DIRECTORY\n");
		return 2;
	}
	rng_replace(fixture_rng, &state);
	begin(argv[1], "anchor.txt");
	make_anchors();
	begin(argv[1], "rotation.txt");
	make_rotations();
	return fclose(out) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
