// SPDX-License-Identifier: Apache-2.0
// An older state of a vault that a person takes for the newest: what goes back in time, and the
// step forward. wardfs-vault(5), "Anchor".
#include "fusefs/anchor.h"
#include "fusefs/journal.h"
#include "fusefs/vault.h"

// Header writes that a state may have seen whose record this copy has no keys for.
#define UNSEEN_WRITES (1u << 20)

static int pass_over(void *arg, uint64_t sequence, const uint8_t *payload, size_t len)
{
	(void)arg;
	(void)sequence;
	(void)payload;
	(void)len;
	return 0;
}

int vault_compare_journal(struct vault *v)
{
	struct journal_claim claim;
	struct journal *j;
	uint64_t last;

	if (v->h->state == VAULT_CLEAN || !v->host->anchor)
		return 0;
	int err = journal_open(v->host, v->ring, v->h->journal_bytes, 1, &j);
	if (err)
		return err;
	err = journal_replay(j, pass_over, NULL, &last);
	if (!err) {
		journal_claim(j, &claim);
		// The root's generation is known after a replay only.
		err = anchor_check_journal(v->host->anchor, &claim, UINT64_MAX);
	}
	journal_close(j);
	return err;
}

int vault_accept(struct vault *v)
{
	struct vault_header *h = v->h;
	struct anchor_state seen;

	if (!v->host->anchor)
		return WERR_INVALID;
	anchor_get(v->host->anchor, &seen);
	const struct anchor_claims *k = &seen.known;
	const uint32_t mount = h->mount > k->mount ? h->mount : k->mount;

	// Generations of the state that is given up must never come again: the number goes on
	// behind both. A dirty vault keeps the mount number of its journal, as if a replay had been
	// cut short.
	if (mount >= MOUNT_NUMBER_MAX)
		return WERR_LIMIT;
	if (h->state != VAULT_CLEAN) {
		h->replaying = h->state == VAULT_REPLAYING ? h->replaying : h->mount;
		h->state = VAULT_REPLAYING;
		h->mount = mount + 1;
	} else {
		h->mount = mount;
	}
	if (k->write_counter > h->write_counter)
		h->write_counter = k->write_counter;
	// The state that is given up must be the older one all the same.
	if (seen.verdict == ANCHOR_OLDER_KEYS)
		h->write_counter += UNSEEN_WRITES;
	anchor_accept(v->host->anchor);
	return vault_write(v);
}
