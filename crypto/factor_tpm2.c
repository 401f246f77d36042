// SPDX-License-Identifier: Apache-2.0
#include "crypto/factor.h"

// A blob of 1 to FACTOR_TPM2_BLOB_MAX bytes behind its length. What is in it only a TPM can tell.
static const uint8_t *take_blob(struct rcursor *c, size_t *ret_len)
{
	*ret_len = rcursor_u16(c);
	if (*ret_len == 0 || *ret_len > FACTOR_TPM2_BLOB_MAX)
		return NULL;
	return rcursor_take(c, *ret_len);
}

int factor_tpm2_decode(const uint8_t *params, size_t len, struct factor_tpm2 *ret)
{
	struct factor_tpm2 t;
	struct rcursor c;

	rcursor_init(&c, params, len);
	t.pub = take_blob(&c, &t.pub_len);
	if (!t.pub)
		return WERR_MALFORMED;
	t.priv = take_blob(&c, &t.priv_len);
	if (!t.priv || rcursor_finish(&c, 1))
		return WERR_MALFORMED;
	*ret = t;
	return 0;
}

void factor_tpm2_encode(struct wcursor *c, const struct factor_tpm2 *t)
{
	wcursor_u16(c, (uint16_t)t->pub_len);
	wcursor_bytes(c, t->pub, t->pub_len);
	wcursor_u16(c, (uint16_t)t->priv_len);
	wcursor_bytes(c, t->priv, t->priv_len);
}

int factor_tpm2_check(const uint8_t *params, size_t len)
{
	struct factor_tpm2 t;

	return factor_tpm2_decode(params, len, &t);
}
