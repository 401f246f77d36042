// SPDX-License-Identifier: Apache-2.0
// A secret sealed in the TPM behind a PIN. The TPM counts wrong PINs over all that it guards.
#include <stdio.h>
#include <string.h>

#include "tools/factors.h"
#include "tools/pin.h"
#include "tools/report.h"
#include "tools/tpm2.h"

static int is_given(const struct secrets_source *source)
{
	return source->use_tpm2;
}

static int is_new(const struct secrets_new *fresh)
{
	return fresh->use_tpm2;
}

static int get(const struct secrets_source *source, const struct factors_slot *slot,
	       struct secret *ret, char why[static FACTORS_WHY_BYTES])
{
	SECRET_AUTO uint8_t *key = secret_alloc(FACTOR_SECRET_BYTES);
	const struct secret *pin = NULL;
	struct factor_tpm2 object;

	if (!key)
		return factors_why(why, WERR_NOMEM, "out of memory");
	int err = factor_tpm2_decode(slot->params, slot->params_len, &object);
	if (!err && !tpm2_is_available())
		return factors_why(why, WERR_NOTSUP,
				   "this build of wardfs cannot use a TPM (tpm2-tss)");
	if (!err)
		err = pin_get(&source->hardware, "PIN for the TPM", &pin);
	if (err)
		return err;
	err = tpm2_unseal(source->hardware.tpm2, pin, &object, key, why);
	return err ? err : secret_copy(ret, key, FACTOR_SECRET_BYTES);
}

static int make(const struct secrets_new *fresh, struct wcursor *params, struct secret *ret)
{
	SECRET_AUTO struct tpm2_sealed *s = secret_alloc(sizeof(*s));
	SECRET_STRUCT_AUTO struct secret pin = {0};
	uint8_t encoded[2 * FACTOR_TPM2_BLOB_MAX + 4];
	char why[TPM2_WHY_BYTES] = "";
	struct wcursor c;

	if (!s)
		return report_fail(WERR_NOMEM, NULL, "out of memory");
	// Nobody chooses a PIN for a chip that is not there.
	int err = tpm2_find(fresh->hardware.tpm2, why);
	if (err)
		return report_fail(err, NULL, "%s", why);
	err = pin_get_new(&fresh->hardware, "New PIN for the TPM", &pin);
	if (err)
		return err;
	err = tpm2_seal(fresh->hardware.tpm2, &pin, s, why);
	if (err)
		return report_fail(err, NULL, "%s", why);
	wcursor_init(&c, encoded, sizeof(encoded));
	factor_tpm2_encode(&c, &(struct factor_tpm2){s->pub, s->pub_len, s->priv, s->priv_len});
	factor_params_put(params, FACTOR_TPM2, encoded, c.len);
	err = secret_copy(ret, s->secret, FACTOR_SECRET_BYTES);
	return err ? report_fail(err, NULL, "%s", werr_text(err)) : 0;
}

const struct factors_part factors_tpm2 = {
	.factor = FACTOR_TPM2,
	.is_per_slot = 1,
	.is_given = is_given,
	.is_new = is_new,
	.get = get,
	.make = make,
	.end = pin_forget,
};
