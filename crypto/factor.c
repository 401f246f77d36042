// SPDX-License-Identifier: Apache-2.0
#include "crypto/factor.h"

static const struct factor_type types[FACTOR_END] = {
	[FACTOR_PASSPHRASE] = {"passphrase", "passphrase", 1, NULL},
	[FACTOR_KEYFILE] = {"key file", "keyfile", 0, factor_keyfile_check},
	[FACTOR_RECOVERY] = {"recovery code", "recovery", 0, NULL},
	[FACTOR_TPM2] = {"TPM2 with PIN", "tpm2", 0, factor_tpm2_check},
	[FACTOR_FIDO2] = {"FIDO2 token", "fido2", 0, factor_fido2_check},
};

const struct factor_type *factor_type(enum factor f)
{
	return f > FACTOR_NONE && f < FACTOR_END ? &types[f] : NULL;
}

unsigned factor_split(uint16_t kind, enum factor out[static FACTORS_IN_KIND])
{
	const enum factor low = kind & 0xff;
	const enum factor high = kind >> 8;

	if (!factor_type(low))
		return 0;
	out[0] = low;
	out[1] = high;
	if (high == FACTOR_NONE)
		return 1;
	// Ascending, so that there is one number for each pair.
	return factor_type(high) && high > low ? 2 : 0;
}

int factor_in(uint16_t kind, enum factor f)
{
	enum factor found[FACTORS_IN_KIND];
	const unsigned n = factor_split(kind, found);

	return (n > 0 && found[0] == f) || (n > 1 && found[1] == f);
}

int factor_guessable(uint16_t kind)
{
	enum factor found[FACTORS_IN_KIND];
	const unsigned n = factor_split(kind, found);

	for (unsigned i = 0; i < n; i++) {
		if (types[found[i]].guessable)
			return 1;
	}
	return 0;
}

// One block of the parameters: head and bytes.
static int take_block(struct rcursor *c, enum factor *ret, const uint8_t **bytes, size_t *len)
{
	const enum factor f = rcursor_u8(c);

	rcursor_zero(c, 1);
	*len = rcursor_u16(c);
	*bytes = rcursor_take(c, *len);
	*ret = f;
	return *bytes ? c->err : WERR_MALFORMED;
}

int factor_params_check(uint16_t kind, const uint8_t *params, size_t len)
{
	enum factor need[FACTORS_IN_KIND];
	const unsigned n = factor_split(kind, need);
	struct rcursor c;

	if (n == 0)
		return WERR_UNSUPPORTED;
	if (len > FACTOR_PARAMS_MAX)
		return WERR_MALFORMED;
	rcursor_init(&c, params, len);
	for (unsigned i = 0; i < n; i++) {
		enum factor f;
		const uint8_t *bytes;
		size_t bytes_len;

		if (!types[need[i]].check)
			continue;
		int err = take_block(&c, &f, &bytes, &bytes_len);
		if (err || f != need[i])
			return WERR_MALFORMED;
		err = types[f].check(bytes, bytes_len);
		if (err)
			return err;
	}
	return rcursor_finish(&c, 1) ? WERR_MALFORMED : 0;
}

int factor_params_find(const uint8_t *params, size_t len, enum factor f, const uint8_t **ret,
		       size_t *ret_len)
{
	struct rcursor c;

	rcursor_init(&c, params, len);
	while (rcursor_left(&c) > 0) {
		enum factor found;
		const uint8_t *bytes;
		size_t bytes_len;
		int err = take_block(&c, &found, &bytes, &bytes_len);

		if (err)
			return err;
		if (found == f) {
			*ret = bytes;
			*ret_len = bytes_len;
			return 0;
		}
	}
	return WERR_NOTFOUND;
}

void factor_params_put(struct wcursor *c, enum factor f, const uint8_t *params, size_t len)
{
	wcursor_u8(c, (uint8_t)f);
	wcursor_u8(c, 0);
	wcursor_u16(c, (uint16_t)len);
	wcursor_bytes(c, params, len);
}
