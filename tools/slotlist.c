// SPDX-License-Identifier: Apache-2.0
#include "tools/slotlist.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/statedir.h"
#include "tools/progress.h"
#include "tools/report.h"

void slotlist_free(struct slotlist *list)
{
	free(list);
}

static int fill(struct slotlist *list)
{
	for (unsigned i = 0; i < KEYSLOT_MAX; i++) {
		int err = keyslot_info(list->slots[i], &list->infos[i]);
		if (err)
			return err;
		list->used += list->infos[i].kind != KEYSLOT_EMPTY;
	}
	return 0;
}

static int copies_differ(const struct vault_sealed *sealed)
{
	uint8_t digests[2][SLOTS_DIGEST_BYTES];

	for (unsigned i = 0; i < 2; i++) {
		if (!sealed->buf[i])
			return 0;
		// All slots stand in one piece.
		const uint8_t *first = vault_header_slot(sealed->buf[i], 0);
		if (slots_digest((const uint8_t(*)[KEYSLOT_BYTES])(const void *)first, digests[i]))
			return 0;
	}
	return memcmp(digests[0], digests[1], SLOTS_DIGEST_BYTES) != 0;
}

static int as_claimed(const struct vault_sealed *sealed, struct slotlist *list)
{
	const uint8_t *buf = sealed->buf[0] ? sealed->buf[0] : sealed->buf[1];

	memcpy(list->slots, vault_header_slot(buf, 0), sizeof(list->slots));
	list->epochs_len = vault_header_peek_epochs(buf, list->epochs);
	return fill(list);
}

// What this machine's anchor remembers of the slots.
static void add_uses(struct host *host, const struct vault_header *h, const uint8_t *root_key,
		     struct slotlist *list)
{
	const uint8_t unknown[ANCHOR_MAC_BYTES] = {0};
	struct anchor_claims claims;
	struct keyring *ring = NULL;
	struct anchor *anchor = NULL;

	if (keyring_new(h, root_key, &ring))
		return;
	if (!statedir_attach(host, STATEDIR_READONLY | STATEDIR_ACCEPTING, &anchor)) {
		// Only what it knows is wanted, not what it thinks of the vault.
		int verdict = anchor_check(anchor, h, ring, unknown, KEYSLOT_MAX);
		(void)verdict;
		anchor_get_claims(anchor, &claims);
		for (unsigned i = 0; i < KEYSLOT_MAX; i++) {
			if (claims.slots[i].serial &&
			    claims.slots[i].serial == list->infos[i].serial)
				list->last_use_s[i] = claims.slots[i].last_use_s;
		}
		anchor_forget(anchor);
	}
	keyring_free(ring);
	host->anchor = NULL;
	anchor_free(anchor);
}

static int as_opened(const char *dir, const struct secrets_source *source, struct host *host,
		     const struct vault_sealed *sealed, struct slotlist *list)
{
	SECRET_STRUCT_AUTO struct secret offer = {0};

	int err = secrets_get(source, dir, sealed, &offer);
	if (err)
		return err;
	struct vault_header *h = malloc(sizeof(*h));
	if (!h)
		return report_fail(WERR_NOMEM, NULL, "out of memory");
	SECRET_AUTO uint8_t *root_key = NULL;
	struct progress *p = progress_start("Deriving the key");
	err = vault_unlock(sealed, &offer, &root_key, &list->opened_by, h);
	progress_stop(p);
	if (!err) {
		memcpy(list->slots, h->slots, sizeof(list->slots));
		for (unsigned i = 0; i < h->masters_len; i++)
			list->epochs[i] = h->masters[i].epoch;
		list->epochs_len = h->masters_len;
		list->is_verified = 1;
		err = fill(list);
		if (!err)
			add_uses(host, h, root_key, list);
	}
	free(h);
	return err ? report_vault(err, dir) : 0;
}

static int read_vault(const char *dir, struct host **ret_host, struct vault_sealed *ret)
{
	struct host *host;
	int err = host_posix_open(dir, 0, &host);

	if (err)
		return report_vault(err, dir);
	err = vault_read_sealed(host, ret);
	if (err) {
		host->ops->close(host);
		return report_vault(err, dir);
	}
	*ret_host = host;
	return 0;
}

int slotlist_get(const char *dir, const struct secrets_source *source, struct slotlist **ret)
{
	struct slotlist *list = calloc(1, sizeof(*list));
	struct vault_sealed sealed;
	struct host *host;

	if (!list)
		return report_fail(WERR_NOMEM, NULL, "out of memory");
	int err = read_vault(dir, &host, &sealed);
	if (err) {
		free(list);
		return err;
	}
	if (source && secrets_given(source)) {
		err = as_opened(dir, source, host, &sealed, list);
	} else {
		err = as_claimed(&sealed, list);
		if (err)
			err = report_vault(err, dir);
	}
	list->copies_differ = copies_differ(&sealed);
	vault_sealed_clear(&sealed);
	host->ops->close(host);
	if (err)
		free(list);
	else
		*ret = list;
	return err;
}

json_t *slotlist_json(const struct slotlist *list, unsigned index)
{
	const struct keyslot_info *info = &list->infos[index];
	char word[64], label[4 * KEYSLOT_LABEL_MAX + 8];

	secrets_kind_word(info->kind, word, sizeof(word));
	// JSON wants UTF-8; what is none is shown as it is elsewhere.
	report_escape(info->label, label, sizeof(label));
	json_t *used = list->last_use_s[index] ? json_integer((json_int_t)list->last_use_s[index])
					       : json_null();
	return json_pack("{si ss ss sI sI so s{sI sI sI}}", "slot", (int)index, "kind", word,
			 "label", label, "serial", (json_int_t)info->serial, "created",
			 (json_int_t)info->created_s, "last_use", used, "kdf", "memory_kib",
			 (json_int_t)info->kdf.memory_kib, "passes", (json_int_t)info->kdf.passes,
			 "lanes", (json_int_t)info->kdf.lanes);
}

void slotlist_cost(const struct argon_params *kdf, char *out, size_t cap)
{
	snprintf(out, cap, "%u MiB, %u %s", kdf->memory_kib / 1024, kdf->passes,
		 kdf->passes == 1 ? "pass" : "passes");
}

void slotlist_date(uint64_t seconds, char *out, size_t cap)
{
	const time_t t = (time_t)seconds;
	struct tm tm;

	if (seconds > INT64_MAX || !localtime_r(&t, &tm) ||
	    strftime(out, cap, "%Y-%m-%d", &tm) == 0)
		snprintf(out, cap, "?");
}

int slotlist_print_json(json_t *object)
{
	int failed = !object || json_dumpf(object, stdout, JSON_INDENT(2)) || putchar('\n') == EOF;

	json_decref(object);
	return failed ? report_fail(WERR_IO, "standard output", "cannot be written") : 0;
}
