// SPDX-License-Identifier: Apache-2.0
#include "tools/new_passphrase.h"

#include <time.h>

#include "crypto/secret.h"
#include "tools/report.h"
#include "tools/strength.h"

// The new passphrase, and the slot's other factor as it was.
static int make_offer(const struct edit *e, unsigned index, uint16_t kind,
		      const struct secret *passphrase, struct secret *ret)
{
	const uint8_t *slot = vault_edit_header(e->vault)->slots[index];
	enum factor factors[FACTORS_IN_KIND];
	const unsigned n = factor_split(kind, factors);
	uint8_t tag[OFFER_TAG_BYTES];
	int err = keyslot_tag(slot, tag);

	for (unsigned i = 0; i < n && !err; i++) {
		const uint8_t *bytes = passphrase->bytes;
		size_t len = passphrase->len;

		if (factors[i] != FACTOR_PASSPHRASE)
			err = offer_find(&e->offer, factors[i], tag, &bytes, &len);
		if (!err)
			err = offer_add(ret, factors[i], NULL, bytes, len);
	}
	return err;
}

int new_passphrase(const struct edit *e, unsigned index, const struct passphrase_source *source,
		   const struct options_kdf *kdf, struct secret *offer, struct slot_change *ret,
		   uint16_t *ret_kind)
{
	SECRET_STRUCT_AUTO struct secret passphrase = {0};
	struct keyslot_info info;

	int err = edit_find_slot(e, index, &info);
	if (err)
		return err;
	const int has_one = factor_in(info.kind, FACTOR_PASSPHRASE);
	if (!has_one && !ret_kind)
		return report_fail(WERR_USAGE, e->dir,
				   "keyslot %u, which this opens, has no passphrase; use 'wardfs "
				   "key change'",
				   index);
	err = passphrase_get(source, "New passphrase", 1, &passphrase);
	if (err)
		return err;
	strength_warn(&passphrase);
	*ret = (struct slot_change){.verb = SLOT_REPLACE,
				    .index = index,
				    .kind = has_one ? info.kind : KEYSLOT_PASSPHRASE,
				    .offer = offer,
				    .params = has_one ? info.params : NULL,
				    .params_len = has_one ? info.params_len : 0,
				    .now_s = (uint64_t)time(NULL)};
	err = edit_choose_kdf(kdf, ret->kind, &ret->kdf);
	if (err)
		return err;
	err = make_offer(e, index, ret->kind, &passphrase, offer);
	if (err)
		return report_fail(err, e->dir, "%s", werr_text(err));
	if (ret_kind)
		*ret_kind = info.kind;
	return 0;
}
