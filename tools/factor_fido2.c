// SPDX-License-Identifier: Apache-2.0
// A secret that a FIDO2 token gives when it is touched, and told its PIN if it has one.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "crypto/rng.h"
#include "tools/factors.h"
#include "tools/fido2.h"
#include "tools/pin.h"
#include "tools/report.h"

static int is_given(const struct secrets_source *source)
{
	return source->use_fido2;
}

static int is_new(const struct secrets_new *fresh)
{
	return fresh->use_fido2;
}

static void tell_touch(void)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "wardfs: touch the token now\n");
}

static int get(const struct secrets_source *source, const struct factors_slot *slot,
	       struct secret *ret, char why[static FACTORS_WHY_BYTES])
{
	SECRET_AUTO uint8_t *key = secret_alloc(FACTOR_SECRET_BYTES);
	const struct secret *pin = NULL;
	struct factor_fido2 f;

	if (!key)
		return factors_why(why, WERR_NOMEM, "out of memory");
	int err = factor_fido2_decode(slot->params, slot->params_len, &f);
	if (!err && !fido2_is_available())
		return factors_why(why, WERR_NOTSUP,
				   "this build of wardfs cannot use FIDO2 tokens (libfido2)");
	if (!err && f.flags & FACTOR_FIDO2_PIN)
		err = pin_get(&source->hardware, "PIN for the token", &pin);
	if (err)
		return err;
	if (f.flags & FACTOR_FIDO2_TOUCH)
		tell_touch();
	err = fido2_ask(source->hardware.fido2, pin, &f, key, why);
	return err ? err : secret_copy(ret, key, FACTOR_SECRET_BYTES);
}

// The credential, and the first answer that it gives.
static int enroll(const struct secrets_new *fresh, const struct secret *pin,
		  struct fido2_credential *credential, struct factor_fido2 *f, uint8_t *key,
		  char why[static FIDO2_WHY_BYTES])
{
	const char *device = fresh->hardware.fido2;

	tell_touch();
	int err = fido2_enroll(device, pin, credential, why);
	if (err)
		return err;
	f->flags = FACTOR_FIDO2_TOUCH | (pin ? FACTOR_FIDO2_PIN : 0);
	f->credential = credential->bytes;
	f->credential_len = credential->len;
	rng_bytes(f->salt, sizeof(f->salt));
	tell_touch();
	return fido2_ask(device, pin, f, key, why);
}

static int make(const struct secrets_new *fresh, struct wcursor *params, struct secret *ret)
{
	SECRET_AUTO uint8_t *key = secret_alloc(FACTOR_SECRET_BYTES);
	SECRET_STRUCT_AUTO struct secret pin = {0};
	uint8_t encoded[FACTOR_FIDO2_CREDENTIAL_MAX + 64];
	char why[FIDO2_WHY_BYTES] = "";
	struct fido2_credential credential;
	struct factor_fido2 f;
	struct wcursor c;
	int has_pin = 0;

	if (!key)
		return report_fail(WERR_NOMEM, NULL, "out of memory");
	int err = fido2_has_pin(fresh->hardware.fido2, &has_pin, why);
	if (err)
		return report_fail(err, NULL, "%s", why);
	if (has_pin)
		err = passphrase_get(&fresh->hardware.pin, "PIN for the token", 0, &pin);
	if (err)
		return err;
	err = enroll(fresh, has_pin ? &pin : NULL, &credential, &f, key, why);
	if (err)
		return report_fail(err, NULL, "%s", why[0] ? why : werr_text(err));
	wcursor_init(&c, encoded, sizeof(encoded));
	factor_fido2_encode(&c, &f);
	factor_params_put(params, FACTOR_FIDO2, encoded, c.len);
	err = secret_copy(ret, key, FACTOR_SECRET_BYTES);
	return err ? report_fail(err, NULL, "%s", werr_text(err)) : 0;
}

const struct factors_part factors_fido2 = {
	.factor = FACTOR_FIDO2,
	.is_per_slot = 1,
	.is_given = is_given,
	.is_new = is_new,
	.get = get,
	.make = make,
	.end = pin_forget,
};
