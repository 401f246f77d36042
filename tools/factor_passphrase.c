// SPDX-License-Identifier: Apache-2.0
#include "tools/factors.h"
#include "tools/strength.h"

static int is_given(const struct secrets_source *source)
{
	return source->ask_passphrase || source->passphrase.kind != PASSPHRASE_AUTO;
}

static int is_new(const struct secrets_new *fresh)
{
	return fresh->ask_passphrase || fresh->passphrase.kind != PASSPHRASE_AUTO;
}

static int get(const struct secrets_source *source, const struct factors_slot *slot,
	       struct secret *ret, char why[static FACTORS_WHY_BYTES])
{
	(void)slot, (void)why;
	return passphrase_get(&source->passphrase, source->prompt ? source->prompt : "Passphrase",
			      0, ret);
}

static int make(const struct secrets_new *fresh, struct wcursor *params, struct secret *ret)
{
	(void)params;
	int err = passphrase_get(&fresh->passphrase, "New passphrase", 1, ret);

	if (!err)
		strength_warn(ret);
	return err;
}

const struct factors_part factors_passphrase = {
	.factor = FACTOR_PASSPHRASE,
	.is_given = is_given,
	.is_new = is_new,
	.get = get,
	.make = make,
};
