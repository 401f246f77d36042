// SPDX-License-Identifier: Apache-2.0
// What of a vault tells how old a header is, and making it fit again.
#include <stdlib.h>
#include <string.h>

#include "crypto/object_header.h"
#include "fusefs/anchor.h"
#include "fusefs/header_backup.h"
#include "fusefs/journal.h"
#include "fusefs/journalfile.h"
#include "fusefs/vault_private.h"

#define ROOT_NUMBER 1
#define STEP_OBJECTS 64

struct scan {
	struct host *host;
	const struct keyring *ring;
	const struct vault_header *h;
	struct header_state *state;
	struct object_header *object; // scratch
	int (*step)(void *arg, uint64_t objects);
	void *arg;
};

// Opens the object's header with whatever type fits; the type is bound to the keys.
static int open_header(const struct scan *s, const uint8_t *page, struct object_id *id,
		       const uint8_t *tlv, size_t tlv_len)
{
	for (unsigned type = OBJECT_FILE; type <= OBJECT_BLOCK; type++) {
		struct object_keys *keys = NULL;

		id->type = (uint16_t)type;
		int err = object_keys_unwrap(s->ring, id, tlv, tlv_len, &keys);
		if (err == WERR_NOMEM)
			return err;
		if (err)
			continue;
		err = object_header_open(page, keys, s->object);
		object_keys_free(keys);
		return err;
	}
	return WERR_AUTH;
}

static int look(const struct scan *s, uint64_t number, const uint8_t *page)
{
	struct header_state *st = s->state;
	struct object_id id = {0};
	const uint8_t *tlv;
	size_t tlv_len;

	if (object_header_prefix(page, &id, &tlv, &tlv_len) || id.number != number)
		return 0;
	if (id.epoch > st->epoch)
		st->epoch = id.epoch;
	if (id.epoch > s->h->epoch) {
		st->newer++;
		return 0;
	}
	int err = open_header(s, page, &id, tlv, tlv_len);
	if (err)
		return err == WERR_NOMEM ? err : 0;
	st->opened++;
	const uint32_t mount = (uint32_t)(s->object->generation >> 40);
	if (mount > st->mount)
		st->mount = mount;
	if (number == ROOT_NUMBER && id.incarnation == s->h->root_incarnation)
		st->generation = s->object->generation;
	secret_wipe(s->object, sizeof *s->object);
	return 0;
}

static int look_at_object(void *arg, const char *name, uint64_t number)
{
	struct scan *s = arg;
	uint8_t page[WARD_PAGE];
	struct host_file *f = NULL;
	size_t got = 0;

	(void)name;
	if (number == 0 || s->host->ops->open_object(s->host, number, HOST_RDONLY, &f))
		return 0;
	s->state->objects++;
	int err = host_pread(f, page, sizeof page, 0, &got);
	s->host->ops->file_close(f);
	// What cannot be read says nothing about the header.
	err = err || got < sizeof page ? 0 : look(s, number, page);
	if (!err && s->step && s->state->objects % STEP_OBJECTS == 0)
		err = s->step(s->arg, s->state->objects);
	return err;
}

static int look_at_journal(struct host *host, const struct vault_header *h,
			   const struct keyring *ring, struct header_state *st)
{
	struct gcm_key *key = gcm_key_new(keyring_journal(ring));
	struct host_file *f = NULL;
	struct superblock sb;
	uint32_t block;
	int err = key ? journalfile_open(host, h->journal_bytes, HOST_RDONLY, &f) : WERR_NOMEM;

	if (!err) {
		err = journalfile_read(f, key, ring, &sb, &block);
		st->is_journal_of_others = err == WERR_AUTH;
		host->ops->file_close(f);
	}
	gcm_key_free(key);
	if (!err && !journalfile_check(&sb, h->journal_bytes)) {
		st->has_journal = 1;
		st->journal_mount = sb.mount;
		if (sb.mount > st->mount)
			st->mount = sb.mount;
	}
	return err == WERR_NOMEM ? err : 0;
}

// What stands in the place of the header now: a claim only.
static int look_at_header(struct host *host, const struct vault_header *h, struct header_state *st)
{
	uint32_t epochs[VAULT_MASTERS_MAX];
	struct vault_sealed sealed;
	int err = vault_read_sealed(host, &sealed);

	if (err)
		return err == WERR_NOMEM ? err : 0;
	const uint8_t *buf = sealed.buf[0] ? sealed.buf[0] : sealed.buf[1];
	const unsigned n = vault_header_peek_epochs(buf, epochs);
	st->is_foreign = memcmp(sealed.vault_id, h->vault_id, VAULT_ID_BYTES) != 0;
	if (!st->is_foreign && n > 0)
		st->other_epoch = epochs[n - 1];
	vault_sealed_clear(&sealed);
	return 0;
}

int header_state_read(struct host *host, const struct vault_header *h, const struct keyring *ring,
		      int (*step)(void *arg, uint64_t objects), void *arg, struct header_state *ret)
{
	struct header_state st = {.mount = h->mount};
	struct scan s = {
		.host = host, .ring = ring, .h = h, .state = &st, .step = step, .arg = arg};
	int err = look_at_header(host, h, &st);

	if (!err)
		err = look_at_journal(host, h, ring, &st);
	s.object = secret_alloc(sizeof *s.object);
	if (!s.object)
		err = WERR_NOMEM;
	for (unsigned folder = 0; !err && folder < HOST_FOLDERS; folder++) {
		err = host->ops->list_folder(host, folder, look_at_object, &s);
		if (err == WERR_NOTFOUND)
			err = 0;
	}
	secret_free(s.object);
	if (!err)
		*ret = st;
	return err;
}

// Numbers that this machine has seen go on too.
static void pass_anchor(struct host *host, struct vault_header *h, uint32_t *mount)
{
	struct anchor_state seen;

	if (!host->anchor)
		return;
	anchor_get(host->anchor, &seen);
	if (seen.known.mount > *mount)
		*mount = seen.known.mount;
	if (seen.known.write_counter > h->write_counter)
		h->write_counter = seen.known.write_counter;
	anchor_accept(host->anchor);
}

int header_restore(struct host *host, struct vault_header *h, const struct keyring *ring,
		   const struct header_state *state)
{
	uint32_t mount = state->mount;
	unsigned intact = 0, done;

	pass_anchor(host, h, &mount);
	// A replay that was cut may have used the next number.
	if (mount > MOUNT_NUMBER_MAX - 2)
		return WERR_LIMIT;
	if (state->has_journal && state->journal_mount > 0) {
		// As if a replay had been cut short: the journal of that mount comes first,
		// whatever it has, under a number that nobody used.
		h->state = VAULT_REPLAYING;
		h->replaying = state->journal_mount;
		h->mount = mount + 2;
		h->journal_sequence = 0;
	} else {
		h->state = VAULT_CLEAN;
		h->replaying = 0;
		h->mount = mount + 2;
		h->root_generation = state->generation;
	}
	int err = vault_write_opened(host, h, ring, &intact, &done);
	// What is there must not be taken for this vault's by a later restore. A failure changes
	// nothing: the clean header ignores the journal, and the next mount makes it anew.
	if (!err && !state->has_journal) {
		int ignored = journal_recreate(host, ring, h->journal_bytes);
		(void)ignored;
	}
	return err;
}
