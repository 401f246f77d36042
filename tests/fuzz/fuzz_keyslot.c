// SPDX-License-Identifier: Apache-2.0
// The clear part of a keyslot: what keyslot_info accepts is within the bounds of the KDF, and opens
// with no KEK.
#include "crypto/keyslot.h"
#include "tests/fuzz/fuzz.h"

// What was accepted can be found again, within the slot.
static void try_params(const struct keyslot_info *info)
{
	for (enum factor f = FACTOR_NONE; f <= FACTOR_END; f++) {
		const uint8_t *p;
		size_t len;

		if (factor_params_find(info->params, info->params_len, f, &p, &len) < 0)
			continue;
		FUZZ_NEED(factor_in(info->kind, f));
		FUZZ_NEED(p >= info->params && p + len <= info->params + info->params_len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t vault_id[VAULT_ID_BYTES];
	static const uint8_t kek[ARGON_KEK_BYTES];
	uint8_t slot[KEYSLOT_BYTES];
	uint8_t root[ROOT_KEY_BYTES];
	struct keyslot_info info;

	fuzz_pad(slot, sizeof(slot), data, size);
	FUZZ_NEED(keyslot_open(slot, 0, vault_id, kek, root) < 0);
	if (keyslot_info(slot, &info) < 0)
		return 0;
	FUZZ_NEED(memchr(info.label, '\0', sizeof(info.label)) != NULL);
	if (info.kind == KEYSLOT_EMPTY) {
		static const uint8_t zero[KEYSLOT_BYTES];
		FUZZ_NEED(memcmp(slot, zero, sizeof(slot)) == 0);
		return 0;
	}
	FUZZ_NEED(info.serial >= 1);
	FUZZ_NEED(argon_check(&info.kdf) == 0);
	FUZZ_NEED(factor_params_check(info.kind, info.params, info.params_len) == 0);
	FUZZ_NEED(info.params_len <= FACTOR_PARAMS_MAX);
	try_params(&info);
	return 0;
}
