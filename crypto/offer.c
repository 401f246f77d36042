// SPDX-License-Identifier: Apache-2.0
#include "crypto/offer.h"

#include <string.h>

static const uint8_t magic[16] = "wardfs offer 1\n";

#define HEAD_BYTES (4 + OFFER_TAG_BYTES)
#define PASSWORD_MAX (FACTORS_IN_KIND * 4 + FACTOR_PASSPHRASE_MAX + FACTOR_SECRET_BYTES)

static int is_set(const struct secret *offer)
{
	return offer->len >= sizeof magic && memcmp(offer->bytes, magic, sizeof magic) == 0;
}

static int length_fits(enum factor f, size_t len)
{
	if (f == FACTOR_PASSPHRASE)
		return len > 0 && len <= FACTOR_PASSPHRASE_MAX;
	return factor_type(f) && len == FACTOR_SECRET_BYTES;
}

int offer_add(struct secret *offer, enum factor f, const uint8_t *tag, const void *bytes,
	      size_t len)
{
	static const uint8_t every[OFFER_TAG_BYTES];
	const size_t old = offer->bytes ? offer->len : sizeof magic;
	const size_t total = old + HEAD_BYTES + len;
	struct wcursor c;

	if (!length_fits(f, len) || (offer->bytes && !is_set(offer)))
		return WERR_INVALID;
	if (total > OFFER_BYTES_MAX)
		return WERR_LIMIT;
	// Never grown in place: what realloc leaves behind is not wiped.
	uint8_t *room = secret_alloc(total);
	if (!room)
		return WERR_NOMEM;
	wcursor_init(&c, room, total);
	wcursor_bytes(&c, offer->bytes ? offer->bytes : magic, old);
	wcursor_u8(&c, (uint8_t)f);
	wcursor_u8(&c, 0);
	wcursor_u16(&c, (uint16_t)len);
	wcursor_bytes(&c, tag ? tag : every, OFFER_TAG_BYTES);
	wcursor_bytes(&c, bytes, len);
	secret_clear(offer);
	offer->bytes = room;
	offer->len = total;
	return 0;
}

static int is_for(const uint8_t *tag, const uint8_t *slot_tag)
{
	static const uint8_t every[OFFER_TAG_BYTES];

	return memcmp(tag, every, OFFER_TAG_BYTES) == 0 ||
	       memcmp(tag, slot_tag, OFFER_TAG_BYTES) == 0;
}

static int find_in_set(const struct secret *offer, enum factor f, const uint8_t *slot_tag,
		       const uint8_t **ret, size_t *ret_len)
{
	struct rcursor c;

	rcursor_init(&c, offer->bytes + sizeof magic, offer->len - sizeof magic);
	while (rcursor_left(&c) > 0) {
		const enum factor found = rcursor_u8(&c);
		rcursor_zero(&c, 1);
		const size_t len = rcursor_u16(&c);
		const uint8_t *tag = rcursor_take(&c, OFFER_TAG_BYTES);
		const uint8_t *bytes = rcursor_take(&c, len);

		if (!tag || !bytes || c.err)
			return WERR_MALFORMED;
		if (found == f && is_for(tag, slot_tag) && length_fits(f, len)) {
			*ret = bytes;
			*ret_len = len;
			return 0;
		}
	}
	return WERR_NOTFOUND;
}

int offer_find(const struct secret *offer, enum factor f, const uint8_t tag[static OFFER_TAG_BYTES],
	       const uint8_t **ret, size_t *ret_len)
{
	if (is_set(offer))
		return find_in_set(offer, f, tag, ret, ret_len);
	if (f != FACTOR_PASSPHRASE || offer->len == 0)
		return WERR_NOTFOUND;
	*ret = offer->bytes;
	*ret_len = offer->len;
	return 0;
}

int offer_password(const struct secret *offer, uint16_t kind,
		   const uint8_t tag[static OFFER_TAG_BYTES], struct secret *ret)
{
	enum factor need[FACTORS_IN_KIND];
	const unsigned n = factor_split(kind, need);
	const uint8_t *bytes = NULL;
	size_t len = 0;
	struct wcursor c;

	if (n == 0)
		return WERR_UNSUPPORTED;
	// The first kind there was: the passphrase as it is.
	if (kind == FACTOR_PASSPHRASE) {
		int err = offer_find(offer, FACTOR_PASSPHRASE, tag, &bytes, &len);
		if (err)
			return err == WERR_NOTFOUND ? WERR_SECRET : err;
		return secret_copy(ret, bytes, len);
	}
	SECRET_AUTO uint8_t *room = secret_alloc(PASSWORD_MAX);
	if (!room)
		return WERR_NOMEM;
	wcursor_init(&c, room, PASSWORD_MAX);
	for (unsigned i = 0; i < n; i++) {
		int err = offer_find(offer, need[i], tag, &bytes, &len);
		if (err)
			return err == WERR_NOTFOUND ? WERR_SECRET : err;
		factor_params_put(&c, need[i], bytes, len);
	}
	return c.err ? c.err : secret_copy(ret, c.base, c.len);
}
