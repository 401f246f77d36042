// SPDX-License-Identifier: Apache-2.0
#include "tools/slotlist.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/mounted.h"
#include "tools/progress.h"
#include "tools/report.h"

// How often a header is read again that is being changed by somebody.
#define REREADS 3

void slotlist_free(struct slotlist *list)
{
	free(list);
}

static int fill(struct slotlist *list)
{
	list->used = 0;
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
static void add_uses(const struct anchor_claims *claims, struct slotlist *list)
{
	for (unsigned i = 0; i < KEYSLOT_MAX; i++) {
		list->last_use_s[i] = 0;
		if (claims->slots[i].serial && claims->slots[i].serial == list->infos[i].serial)
			list->last_use_s[i] = claims->slots[i].last_use_s;
	}
}

static int open_with(const struct secret *offer, struct host *host,
		     const struct vault_sealed *sealed, struct slotlist *list)
{
	uint8_t mac[ANCHOR_MAC_BYTES];
	struct anchor_claims claims;
	struct vault_header *h = malloc(sizeof(*h));

	if (!h)
		return WERR_NOMEM;
	SECRET_AUTO uint8_t *root_key = NULL;
	struct progress *p = progress_start("Deriving the key");
	int err = vault_unlock(sealed, offer, &root_key, &list->opened_by, mac, h);
	progress_stop(p);
	if (!err) {
		memcpy(list->slots, h->slots, sizeof(list->slots));
		for (unsigned i = 0; i < h->masters_len; i++)
			list->epochs[i] = h->masters[i].epoch;
		list->epochs_len = h->masters_len;
		list->is_opened = 1;
		err = fill(list);
	}
	if (!err) {
		trust_ask_anchor(host, h, root_key, mac, &list->trust, &claims);
		add_uses(&claims, list);
	}
	free(h);
	return err;
}

// Whether the files are others than those that were read, which *sealed has then. A failure leaves
// it as it was.
static int reread(struct host *host, struct vault_sealed *sealed)
{
	struct vault_sealed now;
	int differs = 0;

	if (vault_read_sealed(host, &now))
		return 0;
	for (unsigned i = 0; i < 2; i++) {
		const uint8_t *a = sealed->buf[i], *b = now.buf[i];

		differs |= !a != !b || (a && b && memcmp(a, b, VAULT_HEADER_BYTES) != 0);
	}
	vault_sealed_clear(differs ? sealed : &now);
	if (differs)
		*sealed = now;
	return differs;
}

static int as_opened(const char *dir, const struct secrets_source *source, struct host *host,
		     struct vault_sealed *sealed, struct slotlist *list)
{
	SECRET_STRUCT_AUTO struct secret offer = {0};
	int tries = REREADS;
	int err = secrets_get(source, dir, sealed, &offer);

	if (err)
		return err;
	// A header that was replaced while its key was derived looks older than the anchor.
	do {
		err = open_with(&offer, host, sealed, list);
	} while (!err && trust_code(&list->trust) && tries-- > 0 && reread(host, sealed));
	return err ? report_vault(err, dir) : 0;
}

static int open_host(const char *dir, struct host **ret_host, struct vault_sealed *ret)
{
	struct host *host;
	int err = host_posix_open(dir, 0, &host);

	if (err)
		return err;
	err = vault_read_sealed(host, ret);
	if (err)
		host->ops->close(host);
	else
		*ret_host = host;
	return err;
}

int slotlist_read(const char *dir, char ret[static PATH_MAX], struct host **ret_host,
		  struct vault_sealed *ret_sealed)
{
	int err = open_host(dir, ret_host, ret_sealed);

	snprintf(ret, PATH_MAX, "%s", dir);
	if (err && mounted_vault(dir, ret))
		err = open_host(ret, ret_host, ret_sealed);
	return err ? report_vault(err, ret) : 0;
}

int slotlist_get(const char *dir, const struct secrets_source *source, struct slotlist **ret)
{
	struct slotlist *list = calloc(1, sizeof(*list));
	struct vault_sealed sealed;
	struct host *host;

	if (!list)
		return report_fail(WERR_NOMEM, NULL, "out of memory");
	int err = slotlist_read(dir, list->dir, &host, &sealed);
	if (err) {
		free(list);
		return err;
	}
	if (source && secrets_given(source)) {
		err = as_opened(list->dir, source, host, &sealed, list);
	} else {
		err = as_claimed(&sealed, list);
		if (err)
			err = report_vault(err, list->dir);
	}
	list->copies_differ = copies_differ(&sealed);
	vault_sealed_clear(&sealed);
	host->ops->close(host);
	if (err) {
		free(list);
		return err;
	}
	trust_ask_mount(list->dir, list->slots, &list->trust);
	*ret = list;
	return 0;
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
