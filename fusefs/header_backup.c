// SPDX-License-Identifier: Apache-2.0
#include "fusefs/header_backup.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/cursor.h"
#include "crypto/hkdf.h"
#include "crypto/rng.h"
#include "crypto/secret.h"

#define HEAD_BYTES 32
#define AT_MAC (HEAD_BYTES + VAULT_HEADER_BYTES)
#define ERASE_NAMES 4

static const uint8_t magic[8] = "WARDHBK\x01";

static int backup_mac(const uint8_t *buf, const uint8_t *vault_id, const uint8_t *root_key,
		      uint8_t mac[static 32])
{
	SECRET_AUTO uint8_t *key = secret_alloc(32);

	if (!key)
		return WERR_NOMEM;
	int err = hkdf_derive(HKDF_HEADER_BACKUP, root_key, ROOT_KEY_BYTES, vault_id,
			      VAULT_ID_BYTES, NULL, 0, key);
	return err ? err : hkdf_hmac_sha256(key, buf, AT_MAC, mac);
}

int header_backup_make(const struct vault_header *h, const uint8_t root_key[static ROOT_KEY_BYTES],
		       uint64_t now_s, uint8_t *out)
{
	struct keyring *ring = NULL;
	struct wcursor c;
	int err = keyring_new(h, root_key, &ring);

	if (err)
		return err;
	wcursor_init(&c, out, HEAD_BYTES);
	wcursor_bytes(&c, magic, sizeof magic);
	wcursor_u32(&c, VAULT_HEADER_BYTES);
	wcursor_u32(&c, 0);
	wcursor_u64(&c, now_s);
	wcursor_u64(&c, 0);
	err = vault_header_encode(h, keyring_header_mac(ring), out + HEAD_BYTES);
	keyring_free(ring);
	return err ? err : backup_mac(out, h->vault_id, root_key, out + AT_MAC);
}

int header_backup_peek(const uint8_t *buf, size_t len, struct vault_sealed *ret,
		       uint64_t *ret_made_s)
{
	struct vault_sealed found = {.buf = {NULL, NULL}};
	struct rcursor c;

	if (len < sizeof magic || memcmp(buf, magic, sizeof magic) != 0)
		return WERR_NOTVAULT;
	if (len != HEADER_BACKUP_BYTES)
		return len < HEADER_BACKUP_BYTES ? WERR_TRUNCATED : WERR_MALFORMED;
	rcursor_init(&c, buf + sizeof magic, HEAD_BYTES - sizeof magic);
	const uint32_t header_len = rcursor_u32(&c);
	rcursor_zero(&c, 4);
	const uint64_t made_s = rcursor_u64(&c);
	rcursor_zero(&c, 8);
	if (header_len != VAULT_HEADER_BYTES || rcursor_finish(&c, 1))
		return WERR_MALFORMED;
	found.buf[0] = malloc(VAULT_HEADER_BYTES);
	if (!found.buf[0])
		return WERR_NOMEM;
	memcpy(found.buf[0], buf + HEAD_BYTES, VAULT_HEADER_BYTES);
	int err = vault_header_peek(found.buf[0], VAULT_HEADER_BYTES, found.vault_id, found.infos);
	if (err) {
		vault_sealed_clear(&found);
		return err;
	}
	for (unsigned i = 0; i < 2; i++)
		memcpy(found.ids[i], found.vault_id, VAULT_ID_BYTES);
	*ret = found;
	*ret_made_s = made_s;
	return 0;
}

int header_backup_check(const uint8_t buf[static HEADER_BACKUP_BYTES],
			const uint8_t root_key[static ROOT_KEY_BYTES])
{
	struct keyslot_info infos[KEYSLOT_MAX];
	uint8_t vault_id[VAULT_ID_BYTES], mac[32];
	int err = vault_header_peek(buf + HEAD_BYTES, VAULT_HEADER_BYTES, vault_id, infos);

	if (!err)
		err = backup_mac(buf, vault_id, root_key, mac);
	if (err)
		return err;
	return secret_equal(mac, buf + AT_MAC, sizeof mac) ? 0 : WERR_AUTH;
}

// ---- destroying ----

// Writes over all that the file has, as far as it is the size of a header: first random bytes, so
// that no host keeps a run of zeros as a hole beside the old blocks, then zeros.
static int overwrite(struct host_file *f, uint8_t *buf)
{
	for (int pass = 0; pass < 2; pass++) {
		if (pass == 0)
			rng_bytes(buf, VAULT_HEADER_BYTES);
		else
			memset(buf, 0, VAULT_HEADER_BYTES);
		int err = host_pwrite(f, buf, VAULT_HEADER_BYTES, 0);
		if (!err)
			err = f->host->ops->datasync(f);
		if (err)
			return err;
	}
	return 0;
}

static int erase_file(struct host *host, const char *name, uint8_t *buf)
{
	struct host_file *f = NULL;
	int err = host->ops->open_top(host, name, HOST_RDWR, &f);

	if (err)
		return err;
	err = overwrite(f, buf);
	host->ops->file_close(f);
	// Blocks that nobody owns are given back to a flash disk, which may then forget them.
	const int unlinked = host->ops->unlink_top(host, name);
	return err ? err : unlinked;
}

int header_erase(struct host *host, unsigned *ret_done)
{
	// What a cut replacement left is a header too.
	static const char *const names[ERASE_NAMES] = {VAULT_FILE, VAULT_FILE_COPY,
						       VAULT_FILE ".new", VAULT_FILE_COPY ".new"};
	uint8_t *buf = malloc(VAULT_HEADER_BYTES);
	unsigned found = 0;
	int first = 0;

	*ret_done = 0;
	if (!buf)
		return WERR_NOMEM;
	for (unsigned i = 0; i < ERASE_NAMES; i++) {
		int err = erase_file(host, names[i], buf);
		if (err == WERR_NOTFOUND)
			continue;
		found |= 1u << i;
		if (!err)
			*ret_done |= 1u << i;
		else if (!first)
			first = err;
	}
	free(buf);
	*ret_done &= 3u;
	if (!(found & 3u))
		return first ? first : WERR_NOTVAULT;
	int err = host->ops->sync_top(host);
	return first ? first : err;
}
