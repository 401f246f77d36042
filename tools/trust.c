// SPDX-License-Identifier: Apache-2.0
#include "tools/trust.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/control_client.h"
#include "daemon/statedir.h"
#include "fusefs/slots.h"
#include "tools/mounted.h"
#include "tools/report.h"

static const struct {
	const char *word;
	int is_verified;
	int code;
} bases[] = {
	[TRUST_FILES] = {"files", 0, 0},
	[TRUST_SECRET] = {"secret", 1, 0},
	[TRUST_MOUNT] = {"mount", 1, 0},
	[TRUST_CONTRADICTED] = {"contradicted", 0, WERR_AUTH},
	[TRUST_OLDER] = {"older", 0, WERR_ROLLBACK},
	[TRUST_NO_RECORD] = {"no-record", 0, WERR_ANCHOR},
};

int trust_is_verified(const struct trust *t)
{
	return bases[t->basis].is_verified;
}

const char *trust_word(const struct trust *t)
{
	return bases[t->basis].word;
}

int trust_code(const struct trust *t)
{
	return bases[t->basis].code;
}

static enum trust_basis judge(enum anchor_verdict verdict)
{
	switch (verdict) {
	case ANCHOR_OLDER:
	case ANCHOR_FORKED:
	case ANCHOR_OLDER_KEYS:
		return TRUST_OLDER;
	case ANCHOR_UNUSABLE:
	case ANCHOR_UNREACHABLE:
		return TRUST_NO_RECORD;
	default:
		return TRUST_SECRET;
	}
}

void trust_ask_anchor(struct host *host, const struct vault_header *h, const uint8_t *root_key,
		      const uint8_t mac[static ANCHOR_MAC_BYTES], struct trust *t,
		      struct anchor_claims *ret)
{
	struct keyring *ring = NULL;
	struct anchor *anchor = NULL;

	memset(ret, 0, sizeof(*ret));
	t->basis = TRUST_NO_RECORD;
	t->seen = (struct anchor_state){.verdict = ANCHOR_UNREACHABLE, .trouble = WERR_NOMEM};
	if (keyring_new(h, root_key, &ring))
		return;
	if (!statedir_attach(host, STATEDIR_READONLY | STATEDIR_ACCEPTING, &anchor)) {
		if (!anchor_check(anchor, h, ring, mac, KEYSLOT_MAX)) {
			anchor_get(anchor, &t->seen);
			anchor_get_claims(anchor, ret);
			t->basis = judge(t->seen.verdict);
		}
		anchor_forget(anchor);
	}
	keyring_free(ring);
	host->anchor = NULL;
	anchor_free(anchor);
}

static void hex_digest(const uint8_t slots[static KEYSLOT_MAX][KEYSLOT_BYTES], char *out)
{
	uint8_t digest[SLOTS_DIGEST_BYTES];

	out[0] = 0;
	if (slots_digest(slots, digest))
		return;
	for (size_t i = 0; i < sizeof(digest); i++)
		snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

void trust_ask_mount(const char *dir, const uint8_t slots[static KEYSLOT_MAX][KEYSLOT_BYTES],
		     struct trust *t)
{
	char hex[2 * SLOTS_DIGEST_BYTES + 1], path[PATH_MAX];
	json_t *mounts = NULL, *m;
	size_t i;

	hex_digest(slots, hex);
	if (!realpath(dir, path) || control_status(&mounts))
		return;
	json_array_foreach(mounts, i, m)
	{
		const char *digest = json_string_value(json_object_get(m, "keyslots"));

		if (!digest || !mounted_path_is(m, "vault", path))
			continue;
		if (strcmp(digest, hex) != 0)
			t->basis = TRUST_CONTRADICTED;
		else if (t->basis != TRUST_SECRET)
			t->basis = TRUST_MOUNT;
	}
	json_decref(mounts);
}

void trust_warn(const char *dir, const struct trust *t)
{
	char line[512];

	switch (t->basis) {
	case TRUST_CONTRADICTED:
		report_warn(dir, "these are NOT the keyslots that are in force: the mount that has "
				 "the vault open knows others; the files were changed outside "
				 "wardfs, or are being changed just now");
		break;
	case TRUST_OLDER:
	case TRUST_NO_RECORD:
		for (unsigned n = 0; anchor_change_line(&t->seen, n, line, sizeof(line)) > 0; n++)
			report_warn(dir, "%s", line);
		anchor_refusal(&t->seen, line, sizeof(line));
		report_warn(dir, "%s; a mount refuses it", line);
		break;
	default:
		break;
	}
}
