// SPDX-License-Identifier: Apache-2.0
#include "fusefs/vault.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/rng.h"
#include "crypto/secret.h"
#include "fusefs/anchor.h"
#include "fusefs/journal.h"
#include "fusefs/vault_private.h"

_Static_assert(VAULT_JOURNAL_MIN_BYTES == JOURNAL_MIN_BYTES &&
		       VAULT_JOURNAL_MAX_BYTES == JOURNAL_MAX_BYTES,
	       "the header and the journal bound its size alike");

#define PAGE 4096u
#define COPIES VAULT_COPIES
// Beside the journal: both headers, the temporary file of a replacement, and what the host needs
// for names.
#define CREATE_MARGIN_BYTES (4ull * VAULT_HEADER_BYTES)

static const char *const copy_names[COPIES] = {VAULT_FILE, VAULT_FILE_COPY};

static void free_cleanup(void *pp)
{
	free(*(void **)pp);
}
#define FREE_AUTO __attribute__((cleanup(free_cleanup)))

// ---- reading ----

// One header file that peeks, or NULL and a code.
static int read_copy(struct host *host, const char *name, uint8_t vault_id[static VAULT_ID_BYTES],
		     struct keyslot_info *infos, uint8_t **ret)
{
	uint8_t *buf = NULL;
	size_t len = 0;
	int err = host_read_top(host, name, VAULT_HEADER_BYTES, &buf, &len);

	// Longer than any header of this format: not read at all.
	if (err == WERR_LIMIT)
		return WERR_MALFORMED;
	if (err)
		return err;
	err = vault_header_peek(buf, len, vault_id, infos);
	if (err) {
		free(buf);
		return err;
	}
	*ret = buf;
	return 0;
}

// Trouble of this machine, not of the file: the other copy, perhaps an older one, is no answer to
// it.
static int is_local_error(int err)
{
	return err == WERR_NOMEM || err == WERR_MFILE || err == WERR_PERM ||
	       err == WERR_NOTPERMITTED;
}

int vault_read_sealed(struct host *host, struct vault_sealed *ret)
{
	struct vault_sealed found = {.buf = {NULL, NULL}};
	struct keyslot_info infos[KEYSLOT_MAX];
	uint8_t vault_id[VAULT_ID_BYTES];
	int errs[COPIES];

	for (int i = 0; i < COPIES; i++) {
		errs[i] = read_copy(host, copy_names[i], vault_id, infos, &found.buf[i]);
		if (is_local_error(errs[i])) {
			vault_sealed_clear(&found);
			return errs[i];
		}
		if (errs[i] == 0)
			memcpy(found.ids[i], vault_id, sizeof vault_id);
		if (errs[i] == 0 && (i == 0 || !found.buf[0])) {
			memcpy(found.vault_id, vault_id, sizeof vault_id);
			memcpy(found.infos, infos, sizeof infos);
		}
	}
	if (!found.buf[0] && !found.buf[1]) {
		int err = errs[0] == WERR_NOTFOUND ? errs[1] : errs[0];
		return err == WERR_NOTFOUND ? WERR_NOTVAULT : err;
	}
	for (int i = 0; i < COPIES; i++) {
		if (!found.buf[i])
			memcpy(found.ids[i], found.vault_id, VAULT_ID_BYTES);
	}
	*ret = found;
	return 0;
}

void vault_sealed_clear(struct vault_sealed *s)
{
	for (int i = 0; i < COPIES; i++) {
		free(s->buf[i]);
		s->buf[i] = NULL;
	}
}

// ---- unlocking ----

// The KEKs already derived: both copies mostly hold the same slots, and each derivation is slow on
// purpose.
struct kek_cache {
	struct kek_entry {
		const uint8_t *slot; // in a buffer that outlives the cache; NULL: nothing yet
		int err;
		uint8_t kek[ARGON_KEK_BYTES];
	} entries[KEYSLOT_MAX];
};

// The MAC ends an encoded header.
static const uint8_t *mac_of(const uint8_t *buf)
{
	return buf + VAULT_HEADER_BYTES - ANCHOR_MAC_BYTES;
}

void vault_opened_clear(struct vault_opened *o)
{
	secret_free(o->root_key);
	free(o->h);
	*o = (struct vault_opened){.err = 0};
}

// Whether an offer leads to the same KEK for both slots: their whole clear parts agree.
static int same_kdf(const uint8_t *a, const uint8_t *b)
{
	uint8_t tags[2][OFFER_TAG_BYTES];

	return keyslot_tag(a, tags[0]) == 0 && keyslot_tag(b, tags[1]) == 0 &&
	       memcmp(tags[0], tags[1], OFFER_TAG_BYTES) == 0;
}

static int slot_kek(struct kek_cache *cache, unsigned index, const uint8_t *slot,
		    const struct secret *passphrase, const uint8_t **ret)
{
	struct kek_entry *e = &cache->entries[index];

	if (!e->slot || !same_kdf(e->slot, slot)) {
		e->err = keyslot_kek(slot, passphrase, e->kek);
		e->slot = slot;
	}
	*ret = e->kek;
	return e->err;
}

// Which failure says most: a derivation that was ended on purpose, a slot that knows the passphrase
// and was changed, then a machine too small, then "wrong".
static int graver(int a, int b)
{
	static const int order[] = {WERR_NOMEM, WERR_INTERRUPTED, WERR_AUTH, WERR_KDFMEM,
				    WERR_SECRET};

	for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
		if (a == order[i] || b == order[i])
			return order[i];
	}
	return a ? a : b;
}

// Finds the slot that the passphrase opens.
static int open_slots(const uint8_t *buf, const uint8_t *vault_id, const struct keyslot_info *infos,
		      const struct secret *passphrase, struct kek_cache *cache,
		      struct vault_opened *o)
{
	int worst = WERR_SECRET;

	for (unsigned i = 0; i < KEYSLOT_MAX; i++) {
		const uint8_t *slot = vault_header_slot(buf, i);
		const uint8_t *kek;

		if (infos[i].kind == KEYSLOT_EMPTY)
			continue;
		int err = slot_kek(cache, i, slot, passphrase, &kek);
		if (!err)
			err = keyslot_open(slot, i, vault_id, kek, o->root_key);
		if (!err) {
			o->slot = i;
			return 0;
		}
		worst = graver(worst, err);
	}
	return worst;
}

static int open_copy(const uint8_t *buf, const struct secret *passphrase, struct kek_cache *cache,
		     struct vault_opened *o)
{
	struct keyslot_info infos[KEYSLOT_MAX];
	uint8_t vault_id[VAULT_ID_BYTES];
	int err = vault_header_peek(buf, VAULT_HEADER_BYTES, vault_id, infos);

	if (err)
		return err;
	o->root_key = secret_alloc(ROOT_KEY_BYTES);
	o->h = malloc(sizeof *o->h);
	if (!o->root_key || !o->h)
		return WERR_NOMEM;
	memcpy(o->mac, mac_of(buf), sizeof o->mac);
	err = open_slots(buf, vault_id, infos, passphrase, cache, o);
	return err ? err : vault_header_decode(buf, VAULT_HEADER_BYTES, o->root_key, o->h);
}

// Two vaults that one secret opens: nobody can tell which of them was meant.
static int are_of_two_vaults(const struct vault_opened o[static COPIES])
{
	return !o[0].err && !o[1].err &&
	       memcmp(o[0].h->vault_id, o[1].h->vault_id, VAULT_ID_BYTES) != 0;
}

// Of two authentic copies the one written later.
static int choose(const struct vault_opened o[static COPIES])
{
	if (o[0].err || o[1].err)
		return o[0].err ? 1 : 0;
	return o[1].h->write_counter > o[0].h->write_counter ? 1 : 0;
}

static int same_copies(const struct vault_sealed *s)
{
	return s->buf[0] && s->buf[1] && memcmp(s->buf[0], s->buf[1], VAULT_HEADER_BYTES) == 0;
}

// Opens every usable copy and keeps the one that counts in *ret; *ret_intact has a bit for each
// file that holds it.
static int unlock(const struct vault_sealed *s, const struct secret *passphrase,
		  struct vault_opened *ret, unsigned *ret_intact)
{
	struct vault_opened o[COPIES] = {{.err = WERR_NOTFOUND}, {.err = WERR_NOTFOUND}};
	SECRET_AUTO struct kek_cache *cache = secret_alloc(sizeof *cache);

	if (!cache)
		return WERR_NOMEM;
	const int same = same_copies(s);
	for (int i = 0; i < COPIES; i++) {
		if (s->buf[i] && !(i == 1 && same))
			o[i].err = open_copy(s->buf[i], passphrase, cache, &o[i]);
	}
	const int chosen = choose(o);
	const int is_mixed = are_of_two_vaults(o);
	if (o[chosen].err || is_mixed) {
		int err = o[0].err == WERR_NOTFOUND ? o[1].err : graver(o[0].err, o[1].err);
		if (is_mixed)
			err = WERR_AUTH;
		vault_opened_clear(&o[0]);
		vault_opened_clear(&o[1]);
		return err;
	}
	*ret = o[chosen];
	vault_opened_clear(&o[1 - chosen]);
	*ret_intact = same ? 3u : 1u << chosen;
	for (int i = 0; i < COPIES; i++) {
		if (s->buf[i] && memcmp(s->ids[i], ret->h->vault_id, VAULT_ID_BYTES) != 0)
			ret->foreign |= 1u << i;
	}
	return 0;
}

const char *vault_foreign_name(unsigned foreign)
{
	for (int i = 0; i < COPIES; i++) {
		if (foreign & 1u << i)
			return copy_names[i];
	}
	return NULL;
}

const char *vault_foreign_copy(const struct vault *v)
{
	return vault_foreign_name(v->foreign);
}

int vault_unlock(const struct vault_sealed *s, const struct secret *passphrase,
		 uint8_t **ret_root_key, unsigned *ret_slot, uint8_t *ret_mac,
		 struct vault_header *ret)
{
	struct vault_opened o;
	unsigned intact;
	int err = unlock(s, passphrase, &o, &intact);

	if (err)
		return err;
	*ret = *o.h;
	*ret_root_key = o.root_key;
	if (ret_slot)
		*ret_slot = o.slot;
	if (ret_mac)
		memcpy(ret_mac, o.mac, sizeof o.mac);
	free(o.h);
	return 0;
}

// ---- writing ----

// Writes over a header file as it stands. Only while the other one is whole: a crash tears this
// one.
static int overwrite_copy(struct host *host, int copy, const uint8_t *buf)
{
	struct host_file *f = NULL;
	int err = host->ops->open_top(host, copy_names[copy], HOST_RDWR, &f);

	if (err)
		return err;
	err = host_pwrite(f, buf, VAULT_HEADER_BYTES, 0);
	if (!err)
		err = host->ops->truncate(f, VAULT_HEADER_BYTES);
	if (!err)
		err = host->ops->datasync(f);
	host->ops->file_close(f);
	return err;
}

// What forbids a second file beside the old one, but not writing over the old one.
static int is_room_error(int err)
{
	return err == WERR_NOSPACE || err == WERR_QUOTA || err == WERR_DAMAGED;
}

// A full host must not keep a vault from being opened: deleting is what makes room again. Both
// files are written over, the one that is not needed first, so that at every moment one of them is
// whole.
static int overwrite_both(struct host *host, const uint8_t *buf, unsigned *intact, unsigned done)
{
	const int first = *intact & 1u ? 1 : 0;

	for (int n = 0; n < COPIES; n++) {
		const int copy = n == 0 ? first : 1 - first;

		if (done & 1u << copy)
			continue;
		*intact &= ~(1u << copy);
		int err = overwrite_copy(host, copy, buf);
		if (err)
			return err;
		*intact |= 1u << copy;
	}
	return 0;
}

// The files that hold exactly these bytes: after a failure, when a rename or a write may have
// happened and only its flush failed.
static unsigned files_holding(struct host *host, const uint8_t *buf)
{
	unsigned done = 0;

	for (int i = 0; i < COPIES; i++) {
		uint8_t *found = NULL;
		size_t len = 0;

		if (host_read_top(host, copy_names[i], VAULT_HEADER_BYTES, &found, &len))
			continue;
		if (len == VAULT_HEADER_BYTES && memcmp(found, buf, len) == 0)
			done |= 1u << i;
		free(found);
	}
	return done;
}

// Makes both header files hold buf, durably, wardfs.vault first. *intact: the files known to be
// whole, before and after.
static int write_both(struct host *host, const uint8_t *buf, unsigned *intact)
{
	unsigned done = 0;

	for (int i = 0; i < COPIES; i++) {
		int err = host_renew_top(host, copy_names[i], buf, VAULT_HEADER_BYTES);
		if (is_room_error(err))
			return overwrite_both(host, buf, intact, done) ? err : 0;
		if (err)
			return err;
		done |= 1u << i;
		*intact |= 1u << i;
	}
	return 0;
}

// Encodes with a write counter that no header of this vault had before. The counter stays raised
// even when the write fails later: part of it may have reached the host.
static int encode_next(struct vault_header *h, const uint8_t *mac_key, uint8_t *buf)
{
	if (h->write_counter == UINT64_MAX)
		return WERR_LIMIT;
	h->write_counter++;
	rng_bytes(h->written, sizeof h->written);
	return vault_header_encode(h, mac_key, buf);
}

int vault_write_opened(struct host *host, struct vault_header *h, const struct keyring *ring,
		       unsigned *intact, unsigned *ret_done)
{
	FREE_AUTO uint8_t *buf = malloc(VAULT_HEADER_BYTES);

	*ret_done = 0;
	if (!buf)
		return WERR_NOMEM;
	int err = encode_next(h, keyring_header_mac(ring), buf);
	if (err)
		return err;
	err = write_both(host, buf, intact);
	*ret_done = err ? files_holding(host, buf) : 3u;
	// Both files are durable: only now the anchor may know of it.
	if (!err && host->anchor)
		anchor_note_header(host->anchor, h, ring, mac_of(buf));
	return err;
}

static int note_slots(struct vault *v)
{
	uint8_t digest[SLOTS_DIGEST_BYTES];
	int err = slots_digest((const uint8_t(*)[KEYSLOT_BYTES])v->h->slots, digest);

	if (err)
		return err;
	pthread_mutex_lock(&v->slots_lock);
	memcpy(v->slots_digest, digest, sizeof digest);
	pthread_mutex_unlock(&v->slots_lock);
	return 0;
}

void vault_slots_digest(struct vault *v, uint8_t out[static SLOTS_DIGEST_BYTES])
{
	pthread_mutex_lock(&v->slots_lock);
	memcpy(out, v->slots_digest, SLOTS_DIGEST_BYTES);
	pthread_mutex_unlock(&v->slots_lock);
}

int vault_write(struct vault *v)
{
	if (v->readonly)
		return WERR_READONLY;
	unsigned done;

	int err = vault_write_opened(v->host, v->h, v->ring, &v->intact, &done);
	return err ? err : note_slots(v);
}

int vault_replace(struct vault *v, struct vault_header *next, const struct keyring *ring,
		  int *ret_in_force)
{
	unsigned done = 0, again = 0;

	*ret_in_force = 0;
	if (v->readonly)
		return WERR_READONLY;
	int err = vault_write_opened(v->host, next, ring, &v->intact, &done);
	if (err && done) // a second chance for the copy: both must say the same
		err = vault_write_opened(v->host, next, ring, &v->intact, &again);
	if (err && !done) {
		v->h->write_counter = next->write_counter;
		return err;
	}
	*ret_in_force = 1;
	*v->h = *next;
	keyring_adopt(v->ring, ring);
	int noted = note_slots(v);
	return err ? err : noted;
}

// ---- opening and closing ----

int vault_read_opened(struct host *host, const struct secret *passphrase, struct vault_opened *ret,
		      unsigned *ret_intact)
{
	struct vault_sealed sealed;
	int err = vault_read_sealed(host, &sealed);

	if (err)
		return err;
	err = unlock(&sealed, passphrase, ret, ret_intact);
	vault_sealed_clear(&sealed);
	return err;
}

// Whether this machine has seen a newer state of the vault.
static int compare_anchor(struct host *host, const struct vault_opened *o,
			  const struct keyring *ring)
{
	return host->anchor ? anchor_check(host->anchor, o->h, ring, o->mac, o->slot) : 0;
}

int vault_open(struct host *host, const struct secret *passphrase, int readonly, struct vault **ret)
{
	struct vault_opened o = {.err = 0};
	struct vault *v = calloc(1, sizeof *v);
	int err = WERR_NOMEM;

	if (!v)
		goto fail;
	err = host->ops->lock(host, !readonly);
	if (err)
		goto fail;
	err = vault_read_opened(host, passphrase, &o, &v->intact);
	if (err)
		goto fail;
	err = keyring_new(o.h, o.root_key, &v->ring);
	if (!err)
		err = compare_anchor(host, &o, v->ring);
	if (err)
		goto fail;
	v->host = host;
	v->h = o.h;
	v->slot = o.slot;
	v->foreign = o.foreign;
	v->readonly = readonly;
	pthread_mutex_init(&v->slots_lock, NULL);
	err = note_slots(v);
	if (err)
		goto fail;
	secret_free(o.root_key);
	*ret = v;
	return 0;
fail:
	vault_opened_clear(&o);
	if (v)
		keyring_free(v->ring);
	free(v);
	if (host->anchor)
		anchor_forget(host->anchor);
	host->ops->close(host);
	return err;
}

void vault_set_readonly(struct vault *v, int readonly)
{
	v->readonly = readonly;
}

void vault_close(struct vault *v)
{
	if (!v)
		return;
	keyring_free(v->ring);
	free(v->h);
	if (v->host->anchor)
		anchor_forget(v->host->anchor);
	v->host->ops->close(v->host);
	free(v);
}

// ---- creating ----

static int refuse_any(void *arg, const char *name)
{
	(void)arg;
	(void)name;
	return WERR_NOTEMPTY;
}

static uint64_t free_bytes(const struct host_space *space)
{
	uint64_t bytes;

	if (__builtin_mul_overflow(space->blocks_avail, space->block_bytes, &bytes))
		return UINT64_MAX;
	return bytes;
}

// The journal's size: as asked, or the default for this host. WERR_LIMIT, WERR_NOSPACE.
static int journal_size(struct host *host, uint64_t asked, uint64_t *ret)
{
	struct host_space space;
	uint64_t bytes = asked;
	int err = host->ops->space(host, &space);

	if (err)
		return err;
	const uint64_t avail = free_bytes(&space);
	if (bytes == 0) {
		bytes = avail / 100;
		if (bytes > JOURNAL_DEFAULT_BYTES)
			bytes = JOURNAL_DEFAULT_BYTES;
		if (bytes < JOURNAL_MIN_BYTES)
			bytes = JOURNAL_MIN_BYTES;
		bytes -= bytes % PAGE;
	}
	if (bytes < JOURNAL_MIN_BYTES || bytes > JOURNAL_MAX_BYTES || bytes % PAGE != 0)
		return WERR_LIMIT;
	if (avail < bytes + CREATE_MARGIN_BYTES)
		return WERR_NOSPACE;
	*ret = bytes;
	return 0;
}

static int new_header(const struct vault_create_params *params, const struct secret *passphrase,
		      uint64_t journal_bytes, struct vault_header *h, struct keyring **ret_ring)
{
	struct keyslot_info info = {
		.kind = KEYSLOT_PASSPHRASE, .created_s = params->created_s, .kdf = params->kdf};
	const size_t label_len = strlen(params->label);

	if (label_len > KEYSLOT_LABEL_MAX)
		return WERR_INVALID;
	memcpy(info.label, params->label, label_len);
	SECRET_AUTO uint8_t *root_key = NULL;
	int err = keyring_create(h, &info, passphrase, &root_key);
	if (err)
		return err;
	h->journal_bytes = journal_bytes;
	h->created_s = params->created_s;
	return keyring_new(h, root_key, ret_ring);
}

// Everything that vault_create makes. wardfs.vault is the last: what a crash leaves before it is no
// vault, or, with the copy already there, a whole one.
static int write_new(struct host *host, struct vault_header *h, const struct keyring *ring)
{
	FREE_AUTO uint8_t *buf = malloc(VAULT_HEADER_BYTES);

	if (!buf)
		return WERR_NOMEM;
	int err = encode_next(h, keyring_header_mac(ring), buf);
	if (err)
		return err;
	err = journal_create(host, ring, h->journal_bytes);
	if (err)
		return err;
	err = host_replace_top(host, VAULT_FILE_COPY, buf, VAULT_HEADER_BYTES);
	if (!err)
		err = host_replace_top(host, VAULT_FILE, buf, VAULT_HEADER_BYTES);
	if (!err && host->anchor)
		anchor_note_header(host->anchor, h, ring, mac_of(buf));
	return err;
}

// After a failure: the directory was empty before. What cannot be removed is reported by nobody, it
// is junk.
static void remove_new(struct host *host)
{
	static const char *const names[] = {VAULT_FILE, VAULT_FILE_COPY, JOURNAL_NAME};

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		int ignored = host->ops->unlink_top(host, names[i]);
		(void)ignored;
	}
}

int vault_create(struct host *host, const struct vault_create_params *params,
		 const struct secret *passphrase)
{
	struct keyring *ring = NULL;
	uint64_t journal_bytes;
	int err = host->ops->lock(host, 1);

	if (err)
		return err;
	err = host->ops->list_top(host, refuse_any, NULL);
	if (err)
		return err;
	err = journal_size(host, params->journal_bytes, &journal_bytes);
	if (err)
		return err;
	FREE_AUTO struct vault_header *h = malloc(sizeof *h);
	if (!h)
		return WERR_NOMEM;
	err = new_header(params, passphrase, journal_bytes, h, &ring);
	if (err)
		return err;
	err = write_new(host, h, ring);
	if (err)
		remove_new(host);
	keyring_free(ring);
	return err;
}
