// SPDX-License-Identifier: Apache-2.0
#include "fusefs/anchor.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crypto/rng.h"
#include "fusefs/journal.h"

// Guarded by lock; the lock is held while the anchor is written, and nothing else is locked under
// it.
struct anchor {
	pthread_mutex_t lock;
	struct anchor_params params;
	char machine[ANCHOR_MACHINE_MAX + 1];
	struct host *dir;         // NULL: not open
	struct anchor_keys *keys; // NULL: no vault is open
	struct anchor_claims claims;
	struct anchor_slot slots[KEYSLOT_MAX]; // of the header as it is now
	struct anchor_state found;
	int slots_told; // slots go into the claims
	int unwritten;  // claims differ from the file
	int trouble;    // of the last write
};

static uint64_t now_s(void)
{
	return (uint64_t)time(NULL);
}

int anchor_new(const struct anchor_params *params, struct anchor **ret)
{
	struct anchor *a = calloc(1, sizeof(*a));
	const char *name = params->machine ? params->machine : "";

	if (!a)
		return WERR_NOMEM;
	a->params = *params;
	for (size_t i = 0; i < ANCHOR_MACHINE_MAX && name[i]; i++) {
		const unsigned char c = (unsigned char)name[i];

		a->machine[i] = c < 0x20 || c >= 0x7f ? '?' : name[i];
	}
	a->params.machine = a->machine;
	pthread_mutex_init(&a->lock, NULL);
	*ret = a;
	return 0;
}

static void close_dir(struct anchor *a)
{
	if (a->dir)
		a->dir->ops->close(a->dir);
	a->dir = NULL;
}

void anchor_free(struct anchor *a)
{
	if (!a)
		return;
	anchor_keys_free(a->keys);
	close_dir(a);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

void anchor_get(struct anchor *a, struct anchor_state *ret)
{
	pthread_mutex_lock(&a->lock);
	*ret = a->found;
	if (a->trouble)
		ret->trouble = a->trouble;
	pthread_mutex_unlock(&a->lock);
}

void anchor_get_claims(struct anchor *a, struct anchor_claims *ret)
{
	pthread_mutex_lock(&a->lock);
	*ret = a->claims;
	pthread_mutex_unlock(&a->lock);
}

// ---- the file; all with the lock ----

// The vault's own directory, and its lock: two copies of one vault must not take turns with one
// anchor.
static int open_dir(struct anchor *a, const uint8_t *vault_id, int create)
{
	if (a->dir)
		return 0;
	int err = a->params.open(a->params.open_arg, vault_id, create, &a->dir);
	if (err) {
		a->dir = NULL;
		return err;
	}
	if (a->params.readonly)
		return 0;
	err = a->dir->ops->lock(a->dir, 1);
	if (err == WERR_BUSY) {
		close_dir(a);
		return err;
	}
	return 0; // a host without locks is used without
}

static int seal_and_replace(struct anchor *a)
{
	uint8_t nonces[ANCHOR_PAGES * GCM_NONCE_BYTES];
	uint8_t *buf = malloc(ANCHOR_BYTES);

	if (!buf)
		return WERR_NOMEM;
	rng_bytes(nonces, sizeof(nonces));
	int err = anchor_codec_seal(&a->claims, a->keys, nonces, buf);
	if (!err)
		err = host_replace_top(a->dir, ANCHOR_FILE, buf, ANCHOR_BYTES);
	free(buf);
	return err;
}

// A failure is remembered and tried again with the next news: a full home directory must not keep
// anybody from working in a vault.
static void put(struct anchor *a)
{
	if (a->params.readonly || !a->keys || !a->dir)
		return;
	if (a->slots_told) {
		memcpy(a->claims.slots, a->slots, sizeof(a->slots));
		a->slots_told = 0;
	}
	a->claims.counter++;
	a->claims.written_s = now_s();
	a->trouble = seal_and_replace(a);
	a->unwritten = a->trouble != 0;
}

// What the anchor remembers of the header's slots, with the times of use that it knows.
static void take_slots(struct anchor *a, const struct vault_header *h)
{
	for (unsigned i = 0; i < KEYSLOT_MAX; i++) {
		const uint64_t used = a->slots[i].last_use_s;
		const uint32_t serial = a->slots[i].serial;

		if (anchor_codec_slot(h->slots[i], &a->slots[i]))
			memset(&a->slots[i], 0, sizeof(a->slots[i]));
		if (a->slots[i].serial && a->slots[i].serial == serial)
			a->slots[i].last_use_s = used;
	}
}

static int take_keys(struct anchor *a, const struct vault_header *h, const struct keyring *ring)
{
	struct anchor_keys *keys = NULL;
	int err = anchor_keys_new(ring, h->epoch, &keys);

	if (err)
		return err; // those of before still open what they seal
	anchor_keys_free(a->keys);
	a->keys = keys;
	return 0;
}

// ---- comparing ----

static void add_change(struct anchor_state *f, unsigned index, enum anchor_slot_change what,
		       const char *label)
{
	struct anchor_change *c = &f->changes[f->changes_len++];

	c->index = index;
	c->what = what;
	memcpy(c->label, label, sizeof(c->label));
}

static void compare_slots(struct anchor *a)
{
	struct anchor_state *f = &a->found;

	for (unsigned i = 0; i < KEYSLOT_MAX; i++) {
		const struct anchor_slot *was = &f->known.slots[i], *is = &a->slots[i];

		if (was->serial == 0 && is->serial == 0)
			continue;
		if (was->serial == 0)
			add_change(f, i, ANCHOR_SLOT_ADDED, is->label);
		else if (is->serial == 0)
			add_change(f, i, ANCHOR_SLOT_REMOVED, was->label);
		else if (was->serial != is->serial ||
			 memcmp(was->digest, is->digest, sizeof(was->digest)) != 0)
			add_change(f, i, ANCHOR_SLOT_CHANGED, is->label);
	}
}

// Every write of the header raises its counter, every mount its number; both only ever grow, and so
// does the root's generation. So does what the anchor says, which was durable.
static enum anchor_verdict judge(const struct anchor_claims *k, const struct vault_header *h,
				 const uint8_t *mac)
{
	if (h->write_counter < k->write_counter)
		return ANCHOR_OLDER;
	if (h->write_counter == k->write_counter)
		return memcmp(mac, k->header_mac, ANCHOR_MAC_BYTES) == 0 ? ANCHOR_SAME
									 : ANCHOR_FORKED;
	if (h->mount < k->mount)
		return ANCHOR_FORKED;
	if (h->state == VAULT_CLEAN && h->root_generation < k->root_generation)
		return ANCHOR_FORKED;
	return ANCHOR_AHEAD;
}

// NEW when there is none, UNUSABLE with the code in found.trouble.
static enum anchor_verdict read_anchor(struct anchor *a, const struct vault_header *h,
				       const struct keyring *ring)
{
	uint8_t *buf = NULL;
	size_t len = 0;
	int err = host_read_top(a->dir, ANCHOR_FILE, ANCHOR_BYTES, &buf, &len);

	if (err == WERR_NOTFOUND)
		return ANCHOR_NEW;
	if (!err)
		err = anchor_codec_open(buf, len, ring, &a->found.known);
	// A header of before a secret was changed has no key that would open the anchor. What it
	// says of itself is believed as far as to say why.
	if (err == WERR_AUTH)
		a->found.known_epoch = anchor_codec_epoch(buf, len);
	free(buf);
	a->found.trouble = err;
	if (a->found.known_epoch > h->epoch)
		return ANCHOR_OLDER_KEYS;
	return err ? ANCHOR_UNUSABLE : ANCHOR_UNCHECKED;
}

static void fill_found(struct anchor *a, const struct vault_header *h)
{
	memset(&a->found, 0, sizeof(a->found));
	a->found.mount = h->mount;
	a->found.state = h->state;
	a->found.epoch = h->epoch;
	a->found.write_counter = h->write_counter;
}

// Where the directory cannot be opened. Only a missing one is sure to hold no anchor: whoever can
// keep this process away from it must not be able to switch the comparison off.
static enum anchor_verdict without_dir(const struct anchor *a, int err)
{
	switch (err) {
	case WERR_BUSY:
		return ANCHOR_UNCHECKED;
	case WERR_NOTFOUND:
		return a->params.readonly ? ANCHOR_NEW : ANCHOR_NOPLACE;
	case WERR_NOTDIR:
	case WERR_NAMETOOLONG:
		return ANCHOR_NOPLACE;
	default:
		return ANCHOR_UNREACHABLE;
	}
}

// *ret_err: 0 when it is open.
static enum anchor_verdict find_dir(struct anchor *a, const uint8_t *vault_id, int *ret_err)
{
	int err = open_dir(a, vault_id, 0);

	*ret_err = err;
	if (err == WERR_NOTFOUND && !a->params.readonly) {
		*ret_err = open_dir(a, vault_id, 1);
		if (*ret_err && *ret_err != WERR_BUSY)
			return ANCHOR_NOPLACE;
	}
	return *ret_err ? without_dir(a, *ret_err) : ANCHOR_UNCHECKED;
}

static void compare(struct anchor *a, const struct vault_header *h, const struct keyring *ring,
		    const uint8_t *mac)
{
	struct anchor_state *f = &a->found;
	int err;

	fill_found(a, h);
	f->verdict = find_dir(a, h->vault_id, &err);
	if (err) {
		f->trouble = f->verdict == ANCHOR_NEW ? 0 : err;
	} else {
		f->verdict = read_anchor(a, h, ring);
		if (f->verdict == ANCHOR_UNCHECKED)
			f->verdict = judge(&f->known, h, mac);
	}
	memset(a->slots, 0, sizeof(a->slots));
	memcpy(a->slots, f->known.slots, sizeof(a->slots));
	take_slots(a, h);
	if (f->known.written_s || f->known.counter)
		compare_slots(a);
	a->claims = f->known;
	a->claims.state = h->state; // what a clean end is told by
	a->slots_told = f->verdict == ANCHOR_NEW;
}

int anchor_check(struct anchor *a, const struct vault_header *h, const struct keyring *ring,
		 const uint8_t mac[static ANCHOR_MAC_BYTES], unsigned slot)
{
	pthread_mutex_lock(&a->lock);
	compare(a, h, ring, mac);
	int err = 0;
	switch (a->found.verdict) {
	case ANCHOR_UNCHECKED:
		err = WERR_BUSY;
		break;
	case ANCHOR_OLDER:
	case ANCHOR_FORKED:
	case ANCHOR_OLDER_KEYS:
		err = WERR_ROLLBACK;
		break;
	case ANCHOR_UNUSABLE:
	case ANCHOR_UNREACHABLE:
		err = a->found.trouble == WERR_NOMEM ? WERR_NOMEM : WERR_ANCHOR;
		break;
	default:
		break;
	}
	if (a->params.accepting && err != WERR_BUSY && err != WERR_NOMEM)
		err = 0;
	if (!err && slot < KEYSLOT_MAX && a->slots[slot].serial) {
		a->slots[slot].last_use_s = now_s();
		// The time is no change of the slot: it goes where the slot is known as it is.
		if (a->claims.slots[slot].serial == a->slots[slot].serial)
			a->claims.slots[slot].last_use_s = a->slots[slot].last_use_s;
	}
	pthread_mutex_unlock(&a->lock);
	return err;
}

static int is_chain(const struct anchor_claims *k, const struct journal_claim *j)
{
	return k->journal_mount == j->mount &&
	       memcmp(k->journal_salt, j->salt, sizeof(j->salt)) == 0;
}

int anchor_check_journal(struct anchor *a, const struct journal_claim *j, uint64_t root_generation)
{
	pthread_mutex_lock(&a->lock);
	struct anchor_state *f = &a->found;
	const struct anchor_claims *k = &f->known;
	int bad = 0;

	if (k->journal_mount && (f->verdict == ANCHOR_SAME || f->verdict == ANCHOR_AHEAD)) {
		if (is_chain(k, j))
			bad = j->sequence < k->journal_sequence ||
			      root_generation < k->root_generation;
		else if (f->verdict == ANCHOR_SAME)
			// A replay that was cut short may have started its own chain since.
			bad = j->mount < k->journal_mount || j->counter < k->journal_counter;
	}
	f->journal_sequence = j->sequence;
	if (bad)
		f->verdict = ANCHOR_CUT;
	pthread_mutex_unlock(&a->lock);
	return bad && !a->params.accepting ? WERR_ROLLBACK : 0;
}

// ---- following ----

void anchor_note_header(struct anchor *a, const struct vault_header *h, const struct keyring *ring,
			const uint8_t mac[static ANCHOR_MAC_BYTES])
{
	pthread_mutex_lock(&a->lock);
	struct anchor_claims *c = &a->claims;
	// A vault that was just made comes without a comparison.
	int born = a->found.verdict == ANCHOR_UNCHECKED && c->write_counter == 0;
	int err = born ? open_dir(a, h->vault_id, 1) : 0;

	// A replay may still refuse what it finds. Whoever then puts the right files back must not
	// be told that they are older than the attempt.
	if (h->state == VAULT_REPLAYING && !a->params.accepting) {
		pthread_mutex_unlock(&a->lock);
		return;
	}

	if (born)
		a->slots_told = 1;
	if (c->state != VAULT_CLEAN && h->state == VAULT_CLEAN) {
		c->closed_s = now_s();
		c->closed_mount = h->mount;
		memcpy(c->closed_machine, a->machine, sizeof(c->closed_machine));
	}
	c->mount = h->mount;
	c->state = h->state;
	c->write_counter = h->write_counter;
	memcpy(c->header_mac, mac, ANCHOR_MAC_BYTES);
	if (h->state == VAULT_CLEAN)
		c->root_generation = h->root_generation;
	take_slots(a, h);
	if (!err)
		err = take_keys(a, h, ring);
	if (err) {
		a->trouble = err;
		a->unwritten = 1;
	} else {
		put(a);
	}
	pthread_mutex_unlock(&a->lock);
}

void anchor_note_journal(struct anchor *a, const struct journal_claim *j, uint64_t root_generation,
			 int write)
{
	pthread_mutex_lock(&a->lock);
	struct anchor_claims *c = &a->claims;

	if (!is_chain(c, j) || c->journal_sequence != j->sequence ||
	    c->journal_counter != j->counter || c->root_generation != root_generation) {
		c->journal_mount = j->mount;
		c->journal_sequence = j->sequence;
		c->journal_counter = j->counter;
		memcpy(c->journal_salt, j->salt, sizeof(c->journal_salt));
		c->root_generation = root_generation;
		a->unwritten = 1;
	}
	if (write && a->unwritten)
		put(a);
	pthread_mutex_unlock(&a->lock);
}

void anchor_tell_slots(struct anchor *a)
{
	pthread_mutex_lock(&a->lock);
	a->slots_told = a->unwritten = 1;
	pthread_mutex_unlock(&a->lock);
}

void anchor_accept(struct anchor *a)
{
	pthread_mutex_lock(&a->lock);
	struct anchor_claims *c = &a->claims;
	const struct anchor_claims was = *c;

	memset(c, 0, sizeof(*c));
	c->counter = was.counter;
	// When it was closed stays true of the vault that was.
	c->closed_s = was.closed_s;
	c->closed_mount = was.closed_mount;
	memcpy(c->closed_machine, was.closed_machine, sizeof(c->closed_machine));
	a->slots_told = a->unwritten = 1;
	a->found.verdict = ANCHOR_NEW;
	a->found.trouble = 0;
	pthread_mutex_unlock(&a->lock);
}

void anchor_forget(struct anchor *a)
{
	pthread_mutex_lock(&a->lock);
	anchor_keys_free(a->keys);
	a->keys = NULL;
	close_dir(a);
	pthread_mutex_unlock(&a->lock);
}
