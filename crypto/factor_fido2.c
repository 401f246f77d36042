// SPDX-License-Identifier: Apache-2.0
#include "crypto/factor.h"

int factor_fido2_decode(const uint8_t *params, size_t len, struct factor_fido2 *ret)
{
	struct factor_fido2 f;
	struct rcursor c;

	rcursor_init(&c, params, len);
	f.flags = rcursor_u16(&c);
	rcursor_bytes(&c, f.salt, sizeof f.salt);
	f.credential_len = rcursor_u16(&c);
	if (f.credential_len == 0 || f.credential_len > FACTOR_FIDO2_CREDENTIAL_MAX)
		return WERR_MALFORMED;
	f.credential = rcursor_take(&c, f.credential_len);
	if (!f.credential || rcursor_finish(&c, 1))
		return WERR_MALFORMED;
	if (f.flags & ~(FACTOR_FIDO2_PIN | FACTOR_FIDO2_TOUCH))
		return WERR_UNSUPPORTED;
	*ret = f;
	return 0;
}

void factor_fido2_encode(struct wcursor *c, const struct factor_fido2 *f)
{
	wcursor_u16(c, f->flags);
	wcursor_bytes(c, f->salt, sizeof f->salt);
	wcursor_u16(c, (uint16_t)f->credential_len);
	wcursor_bytes(c, f->credential, f->credential_len);
}

int factor_fido2_check(const uint8_t *params, size_t len)
{
	struct factor_fido2 f;

	return factor_fido2_decode(params, len, &f);
}
