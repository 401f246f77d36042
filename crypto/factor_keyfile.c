// SPDX-License-Identifier: Apache-2.0
#include "crypto/factor.h"

int factor_keyfile_decode(const uint8_t *params, size_t len, struct factor_keyfile *ret)
{
	struct factor_keyfile k;
	struct rcursor c;

	rcursor_init(&c, params, len);
	k.offset = rcursor_u64(&c);
	k.length = rcursor_u64(&c);
	if (rcursor_finish(&c, 1))
		return WERR_MALFORMED;
	// The reader's memory and time are not for the header to spend.
	if (k.offset > INT64_MAX || k.length > FACTOR_KEYFILE_MAX)
		return WERR_LIMIT;
	*ret = k;
	return 0;
}

void factor_keyfile_encode(const struct factor_keyfile *k,
			   uint8_t out[static FACTOR_KEYFILE_PARAMS])
{
	le64_put(out, k->offset);
	le64_put(out + 8, k->length);
}

int factor_keyfile_check(const uint8_t *params, size_t len)
{
	struct factor_keyfile k;

	return factor_keyfile_decode(params, len, &k);
}
