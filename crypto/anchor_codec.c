// SPDX-License-Identifier: Apache-2.0
#include "crypto/anchor_codec.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "crypto/cursor.h"
#include "crypto/hkdf.h"
#include "crypto/secret.h"

#define MAGIC "WARDANC\x01"
#define MAGIC_BYTES 8
#define VERSION 1u
#define CLEAR_BYTES 24 // magic, version, page, epoch, zero
#define KEY_ID_BYTES 12
#define HEAD_BYTES 64 // what stands before the ciphertext
// Page 1 also binds what stands before the ciphertext of page 0.
#define AAD_BYTES (CLEAR_BYTES + VAULT_ID_BYTES + HEAD_BYTES)
#define SLOT_BYTES 112
// Of a keyslot: kind, serial, label, parameters, salt, commitment, wrapped pair and public key; the
// rest changes whenever the slot is sealed again for a new root key.
#define SLOT_STABLE_BYTES 272

_Static_assert(CLEAR_BYTES + GCM_NONCE_BYTES + GCM_TAG_BYTES + KEY_ID_BYTES == HEAD_BYTES,
	       "the ciphertext starts at 64");
_Static_assert(208 + KEYSLOT_MAX * SLOT_BYTES <= ANCHOR_BODY_BYTES, "all slots fit");

struct anchor_keys {
	uint8_t vault_id[VAULT_ID_BYTES];
	uint32_t epoch;
	uint8_t id[KEY_ID_BYTES]; // of page 0's
	struct gcm_key *page[ANCHOR_PAGES];
};

// ---- keys ----

// Page 1: under a key of a master key, which outlives the root key. WERR_NOTFOUND: unknown epoch.
static int epoch_key(const struct keyring *ring, uint32_t epoch, struct gcm_key **ret)
{
	SECRET_AUTO uint8_t *raw = secret_alloc(GCM_KEY_BYTES);
	const uint8_t *master = keyring_master(ring, VAULT_CLASS, epoch);

	if (!raw)
		return WERR_NOMEM;
	if (!master)
		return WERR_NOTFOUND;
	int err = hkdf_derive(HKDF_EPOCH_ANCHOR, master, MASTER_KEY_BYTES, keyring_vault_id(ring),
			      VAULT_ID_BYTES, NULL, 0, raw);
	if (err)
		return err;
	*ret = gcm_key_new(raw);
	return *ret ? 0 : WERR_NOMEM;
}

static int page_key(const struct keyring *ring, unsigned page, uint32_t epoch, struct gcm_key **ret)
{
	if (page)
		return epoch_key(ring, epoch, ret);
	*ret = gcm_key_new(keyring_anchor(ring));
	return *ret ? 0 : WERR_NOMEM;
}

// Tells a page that was changed from one that was sealed under another root key.
static int key_id(const struct keyring *ring, uint8_t out[static KEY_ID_BYTES])
{
	static const char text[] = "wardfs 1 anchor key id";
	uint8_t mac[32];
	int err = hkdf_hmac_sha256(keyring_anchor(ring), text, sizeof(text) - 1, mac);

	memcpy(out, mac, KEY_ID_BYTES);
	return err;
}

int anchor_keys_new(const struct keyring *ring, uint32_t epoch, struct anchor_keys **ret)
{
	struct anchor_keys *keys = calloc(1, sizeof(*keys));
	int err = keys ? 0 : WERR_NOMEM;

	for (unsigned i = 0; !err && i < ANCHOR_PAGES; i++)
		err = page_key(ring, i, epoch, &keys->page[i]);
	if (!err)
		err = key_id(ring, keys->id);
	if (err) {
		anchor_keys_free(keys);
		return err;
	}
	memcpy(keys->vault_id, keyring_vault_id(ring), VAULT_ID_BYTES);
	keys->epoch = epoch;
	*ret = keys;
	return 0;
}

void anchor_keys_free(struct anchor_keys *keys)
{
	if (!keys)
		return;
	for (unsigned i = 0; i < ANCHOR_PAGES; i++)
		gcm_key_free(keys->page[i]);
	free(keys);
}

// ---- name and slots ----

static void digest(const char *what, const uint8_t *bytes, size_t len,
		   uint8_t out[static ANCHOR_DIGEST_BYTES])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned n = 0;
	int ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
		 EVP_DigestUpdate(ctx, what, strlen(what)) == 1 &&
		 EVP_DigestUpdate(ctx, bytes, len) == 1 && EVP_DigestFinal_ex(ctx, out, &n) == 1;

	EVP_MD_CTX_free(ctx);
	if (!ok)
		abort(); // SHA-256 without memory: nothing that follows could be relied on
}

void anchor_codec_name(const uint8_t vault_id[static VAULT_ID_BYTES],
		       char out[static ANCHOR_NAME_BYTES])
{
	static const char digits[] = "0123456789abcdef";
	uint8_t hash[ANCHOR_DIGEST_BYTES];

	digest("wardfs 1 anchor name", vault_id, VAULT_ID_BYTES, hash);
	for (size_t i = 0; i < (ANCHOR_NAME_BYTES - 1) / 2; i++) {
		out[2 * i] = digits[hash[i] >> 4];
		out[2 * i + 1] = digits[hash[i] & 15];
	}
	out[ANCHOR_NAME_BYTES - 1] = 0;
}

int anchor_codec_slot(const uint8_t slot[static KEYSLOT_BYTES], struct anchor_slot *ret)
{
	struct keyslot_info info;
	int err = keyslot_info(slot, &info);

	if (err)
		return err;
	memset(ret, 0, sizeof(*ret));
	if (info.kind == KEYSLOT_EMPTY)
		return 0;
	ret->serial = info.serial;
	ret->kind = info.kind;
	memcpy(ret->label, info.label, sizeof(ret->label));
	digest("wardfs 1 anchor slot", slot, SLOT_STABLE_BYTES, ret->digest);
	return 0;
}

// ---- body ----

// A text of at most max bytes, in a field of 1 + max: length, bytes, zeros. No NUL, no control
// bytes: it is shown on terminals.
static void put_text(struct wcursor *w, const char *text, size_t max)
{
	size_t len = strnlen(text, max);

	wcursor_u8(w, (uint8_t)len);
	wcursor_bytes(w, text, len);
	wcursor_zero(w, max - len);
}

static int text_is_valid(const char *text, size_t max)
{
	size_t len = strnlen(text, max + 1);

	if (len > max)
		return 0;
	for (size_t i = 0; i < len; i++) {
		const uint8_t c = (uint8_t)text[i];

		if (c < 0x20 || c == 0x7f)
			return 0;
	}
	return 1;
}

static void get_text(struct rcursor *c, char *text, size_t max)
{
	size_t len = rcursor_u8(c);

	if (len > max)
		c->err = WERR_MALFORMED;
	if (c->err)
		len = 0;
	rcursor_bytes(c, text, len);
	text[len] = 0;
	rcursor_zero(c, max - len);
	if (strlen(text) != len || !text_is_valid(text, max))
		c->err = WERR_MALFORMED;
}

static int slot_is_empty(const struct anchor_slot *s)
{
	static const struct anchor_slot empty;

	return s->kind == 0 && s->last_use_s == 0 && s->label[0] == 0 &&
	       memcmp(s->digest, empty.digest, sizeof(s->digest)) == 0;
}

static int check(const struct anchor_claims *a)
{
	static const uint8_t no_salt[SUPERBLOCK_SALT_BYTES];

	if (a->mount > MOUNT_NUMBER_MAX || a->journal_mount > MOUNT_NUMBER_MAX ||
	    a->closed_mount > MOUNT_NUMBER_MAX || a->state > VAULT_REPLAYING)
		return WERR_MALFORMED;
	if (a->journal_mount == 0 && (a->journal_sequence || a->journal_counter ||
				      memcmp(a->journal_salt, no_salt, sizeof(no_salt)) != 0))
		return WERR_MALFORMED;
	if (a->closed_s == 0 && (a->closed_mount || a->closed_machine[0]))
		return WERR_MALFORMED;
	if (!text_is_valid(a->closed_machine, ANCHOR_MACHINE_MAX))
		return WERR_MALFORMED;
	for (unsigned i = 0; i < KEYSLOT_MAX; i++) {
		const struct anchor_slot *s = &a->slots[i];

		if (!text_is_valid(s->label, KEYSLOT_LABEL_MAX))
			return WERR_MALFORMED;
		if (s->serial ? s->kind == 0 : !slot_is_empty(s))
			return WERR_MALFORMED;
	}
	return 0;
}

int anchor_body_encode(const struct anchor_claims *a, uint8_t body[static ANCHOR_BODY_BYTES])
{
	struct wcursor w;

	if (check(a) < 0)
		return WERR_INVALID;
	wcursor_init(&w, body, ANCHOR_BODY_BYTES);
	wcursor_u64(&w, a->counter);
	wcursor_u64(&w, a->written_s);
	wcursor_u32(&w, a->mount);
	wcursor_u32(&w, a->state);
	wcursor_u64(&w, a->write_counter);
	wcursor_bytes(&w, a->header_mac, sizeof(a->header_mac));
	wcursor_u64(&w, a->root_generation);
	wcursor_u32(&w, a->journal_mount);
	wcursor_u32(&w, 0);
	wcursor_u64(&w, a->journal_sequence);
	wcursor_u64(&w, a->journal_counter);
	wcursor_bytes(&w, a->journal_salt, sizeof(a->journal_salt));
	wcursor_u64(&w, a->closed_s);
	wcursor_u32(&w, a->closed_mount);
	put_text(&w, a->closed_machine, ANCHOR_MACHINE_MAX);
	wcursor_zero(&w, 4);
	for (unsigned i = 0; i < KEYSLOT_MAX; i++) {
		const struct anchor_slot *s = &a->slots[i];

		wcursor_u32(&w, s->serial);
		wcursor_u16(&w, s->kind);
		put_text(&w, s->label, KEYSLOT_LABEL_MAX);
		wcursor_zero(&w, 2);
		wcursor_bytes(&w, s->digest, sizeof(s->digest));
		wcursor_u64(&w, s->last_use_s);
	}
	wcursor_zero(&w, ANCHOR_BODY_BYTES - w.len);
	return w.err < 0 ? WERR_INTERNAL : 0;
}

static void decode_slot(struct rcursor *c, struct anchor_slot *s)
{
	s->serial = rcursor_u32(c);
	s->kind = rcursor_u16(c);
	get_text(c, s->label, KEYSLOT_LABEL_MAX);
	rcursor_zero(c, 2);
	rcursor_bytes(c, s->digest, sizeof(s->digest));
	s->last_use_s = rcursor_u64(c);
}

int anchor_body_decode(const uint8_t body[static ANCHOR_BODY_BYTES], struct anchor_claims *ret)
{
	struct anchor_claims a = {0};
	struct rcursor c;

	rcursor_init(&c, body, ANCHOR_BODY_BYTES);
	a.counter = rcursor_u64(&c);
	a.written_s = rcursor_u64(&c);
	a.mount = rcursor_u32(&c);
	a.state = rcursor_u32(&c);
	a.write_counter = rcursor_u64(&c);
	rcursor_bytes(&c, a.header_mac, sizeof(a.header_mac));
	a.root_generation = rcursor_u64(&c);
	a.journal_mount = rcursor_u32(&c);
	rcursor_zero(&c, 4);
	a.journal_sequence = rcursor_u64(&c);
	a.journal_counter = rcursor_u64(&c);
	rcursor_bytes(&c, a.journal_salt, sizeof(a.journal_salt));
	a.closed_s = rcursor_u64(&c);
	a.closed_mount = rcursor_u32(&c);
	get_text(&c, a.closed_machine, ANCHOR_MACHINE_MAX);
	rcursor_zero(&c, 4);
	for (unsigned i = 0; i < KEYSLOT_MAX; i++)
		decode_slot(&c, &a.slots[i]);
	rcursor_zero(&c, rcursor_left(&c));
	if (rcursor_finish(&c, 1) < 0 || check(&a) < 0)
		return WERR_MALFORMED;
	*ret = a;
	return 0;
}

// ---- pages ----

// page: the one that is sealed or opened; page 0 stands before page 1.
static size_t page_aad(const uint8_t *page, unsigned index,
		       const uint8_t vault_id[static VAULT_ID_BYTES], uint8_t aad[static AAD_BYTES])
{
	memcpy(aad, page, CLEAR_BYTES);
	memcpy(aad + CLEAR_BYTES, vault_id, VAULT_ID_BYTES);
	if (index == 0)
		return CLEAR_BYTES + VAULT_ID_BYTES;
	memcpy(aad + CLEAR_BYTES + VAULT_ID_BYTES, page - ANCHOR_PAGE_BYTES, HEAD_BYTES);
	return AAD_BYTES;
}

static int seal_page(const uint8_t *body, unsigned index, const struct anchor_keys *keys,
		     const uint8_t *nonce, uint8_t *page)
{
	static const uint8_t no_id[KEY_ID_BYTES];
	uint8_t aad[AAD_BYTES];
	struct wcursor w;

	wcursor_init(&w, page, ANCHOR_PAGE_BYTES);
	wcursor_bytes(&w, MAGIC, MAGIC_BYTES);
	wcursor_u32(&w, VERSION);
	wcursor_u32(&w, index);
	wcursor_u32(&w, keys->epoch);
	wcursor_u32(&w, 0);
	wcursor_bytes(&w, nonce, GCM_NONCE_BYTES);
	uint8_t *tag = wcursor_take(&w, GCM_TAG_BYTES);
	wcursor_bytes(&w, index ? no_id : keys->id, KEY_ID_BYTES);
	uint8_t *cipher = wcursor_take(&w, ANCHOR_BODY_BYTES);

	if (w.err < 0)
		return WERR_INTERNAL;
	const size_t aad_len = page_aad(page, index, keys->vault_id, aad);
	return gcm_seal(keys->page[index], nonce, aad, aad_len, body, ANCHOR_BODY_BYTES, cipher,
			tag);
}

int anchor_codec_seal(const struct anchor_claims *claims, const struct anchor_keys *keys,
		      const uint8_t nonces[static ANCHOR_PAGES * GCM_NONCE_BYTES],
		      uint8_t out[static ANCHOR_BYTES])
{
	uint8_t body[ANCHOR_BODY_BYTES];
	int err = anchor_body_encode(claims, body);

	for (unsigned i = 0; !err && i < ANCHOR_PAGES; i++)
		err = seal_page(body, i, keys, nonces + i * GCM_NONCE_BYTES,
				out + i * ANCHOR_PAGE_BYTES);
	secret_wipe(body, sizeof(body));
	return err;
}

// The head of a page, checked but for what the key tells.
struct head {
	uint32_t epoch;
	const uint8_t *nonce, *tag, *id, *cipher;
};

static int read_head(const uint8_t *page, unsigned index, struct head *ret)
{
	struct rcursor c;

	rcursor_init(&c, page, ANCHOR_PAGE_BYTES);
	const uint8_t *magic = rcursor_take(&c, MAGIC_BYTES);
	const uint32_t version = rcursor_u32(&c);
	const uint32_t number = rcursor_u32(&c);

	ret->epoch = rcursor_u32(&c);
	rcursor_zero(&c, 4);
	ret->nonce = rcursor_take(&c, GCM_NONCE_BYTES);
	ret->tag = rcursor_take(&c, GCM_TAG_BYTES);
	if (index == 0)
		ret->id = rcursor_take(&c, KEY_ID_BYTES);
	else
		rcursor_zero(&c, KEY_ID_BYTES);
	ret->cipher = rcursor_take(&c, ANCHOR_BODY_BYTES);
	if (memcmp(magic, MAGIC, MAGIC_BYTES) != 0)
		return WERR_MALFORMED;
	if (version != VERSION)
		return WERR_UNSUPPORTED;
	if (rcursor_finish(&c, 1) < 0 || number != index)
		return WERR_MALFORMED;
	return ret->epoch ? 0 : WERR_MALFORMED;
}

// WERR_NOTFOUND: of an epoch that is gone.
static int open_page(const uint8_t *page, unsigned index, const struct head *head,
		     const struct keyring *ring, struct anchor_claims *ret)
{
	uint8_t body[ANCHOR_BODY_BYTES];
	uint8_t aad[AAD_BYTES];
	struct gcm_key *key = NULL;
	int err = page_key(ring, index, head->epoch, &key);

	if (err)
		return err;
	const size_t aad_len = page_aad(page, index, keyring_vault_id(ring), aad);
	err = gcm_open(key, head->nonce, aad, aad_len, head->cipher, sizeof(body), body, head->tag);
	gcm_key_free(key);
	if (!err)
		err = anchor_body_decode(body, ret);
	secret_wipe(body, sizeof(body));
	return err;
}

int anchor_codec_open(const uint8_t *in, size_t len, const struct keyring *ring,
		      struct anchor_claims *ret)
{
	uint8_t id[KEY_ID_BYTES];
	struct anchor_claims claims;
	struct head head[ANCHOR_PAGES] = {{0}};

	if (len != ANCHOR_BYTES)
		return len < ANCHOR_BYTES ? WERR_TRUNCATED : WERR_MALFORMED;
	int err = key_id(ring, id);
	for (unsigned i = 0; !err && i < ANCHOR_PAGES; i++)
		err = read_head(in + i * ANCHOR_PAGE_BYTES, i, &head[i]);
	if (!err && head[0].epoch != head[1].epoch)
		err = WERR_MALFORMED;
	if (err)
		return err;
	// The root key may have been replaced on another machine meanwhile; then page 1 tells,
	// since the master keys stay. Otherwise both must be as they were sealed.
	const int ours = secret_equal(head[0].id, id, sizeof(id));
	err = open_page(in + ANCHOR_PAGE_BYTES, 1, &head[1], ring, &claims);
	if (err == WERR_NOTFOUND)
		err = ours ? 0 : WERR_AUTH;
	if (!err && ours)
		err = open_page(in, 0, &head[0], ring, &claims);
	if (!err)
		*ret = claims;
	return err;
}

uint32_t anchor_codec_epoch(const uint8_t *in, size_t len)
{
	struct head head[ANCHOR_PAGES] = {{0}};

	if (len != ANCHOR_BYTES)
		return 0;
	for (unsigned i = 0; i < ANCHOR_PAGES; i++) {
		if (read_head(in + i * ANCHOR_PAGE_BYTES, i, &head[i]) < 0)
			return 0;
	}
	return head[0].epoch == head[1].epoch ? head[0].epoch : 0;
}
