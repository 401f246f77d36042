// SPDX-License-Identifier: Apache-2.0
#include "crypto/cursor.h"

#include <string.h>

// Leaves no bytes, so that a loop over what is left ends. Called once: every read looks at err
// first.
static void rcursor_fail(struct rcursor *c, int err)
{
	c->err = err;
	c->p = c->end;
}

void rcursor_init(struct rcursor *c, const void *buf, size_t len)
{
	static const uint8_t nothing[1];

	c->p = buf ? buf : nothing;
	c->end = c->p + (buf ? len : 0);
	c->err = buf || len == 0 ? 0 : WERR_TRUNCATED;
}

size_t rcursor_left(const struct rcursor *c)
{
	return (size_t)(c->end - c->p);
}

const uint8_t *rcursor_take(struct rcursor *c, size_t n)
{
	const uint8_t *p = c->p;

	if (c->err)
		return NULL;
	if (n > rcursor_left(c)) {
		rcursor_fail(c, WERR_TRUNCATED);
		return NULL;
	}
	c->p += n;
	return p;
}

uint8_t rcursor_u8(struct rcursor *c)
{
	const uint8_t *p = rcursor_take(c, 1);

	return p ? *p : 0;
}

uint16_t rcursor_u16(struct rcursor *c)
{
	const uint8_t *p = rcursor_take(c, 2);

	return p ? le16_get(p) : 0;
}

uint32_t rcursor_u32(struct rcursor *c)
{
	const uint8_t *p = rcursor_take(c, 4);

	return p ? le32_get(p) : 0;
}

uint64_t rcursor_u64(struct rcursor *c)
{
	const uint8_t *p = rcursor_take(c, 8);

	return p ? le64_get(p) : 0;
}

int64_t rcursor_i64(struct rcursor *c)
{
	return (int64_t)rcursor_u64(c);
}

void rcursor_bytes(struct rcursor *c, void *out, size_t n)
{
	const uint8_t *p = rcursor_take(c, n);

	if (n == 0)
		return;
	if (p)
		memcpy(out, p, n);
	else
		memset(out, 0, n);
}

void rcursor_zero(struct rcursor *c, size_t n)
{
	const uint8_t *p = rcursor_take(c, n);
	uint8_t any = 0;

	if (!p)
		return;
	for (size_t i = 0; i < n; i++)
		any |= p[i];
	if (any)
		rcursor_fail(c, WERR_MALFORMED);
}

int rcursor_finish(const struct rcursor *c, int all)
{
	if (c->err)
		return c->err;
	return all && rcursor_left(c) > 0 ? WERR_MALFORMED : 0;
}

void wcursor_init(struct wcursor *c, void *buf, size_t cap)
{
	c->base = buf;
	c->len = 0;
	c->cap = buf ? cap : 0;
	c->err = 0;
}

uint8_t *wcursor_take(struct wcursor *c, size_t n)
{
	if (c->err || !c->base || n > c->cap - c->len) {
		c->err = WERR_LIMIT;
		return NULL;
	}
	c->len += n;
	return c->base + c->len - n;
}

void wcursor_u8(struct wcursor *c, uint8_t v)
{
	uint8_t *p = wcursor_take(c, 1);

	if (p)
		*p = v;
}

void wcursor_u16(struct wcursor *c, uint16_t v)
{
	uint8_t *p = wcursor_take(c, 2);

	if (p)
		le16_put(p, v);
}

void wcursor_u32(struct wcursor *c, uint32_t v)
{
	uint8_t *p = wcursor_take(c, 4);

	if (p)
		le32_put(p, v);
}

void wcursor_u64(struct wcursor *c, uint64_t v)
{
	uint8_t *p = wcursor_take(c, 8);

	if (p)
		le64_put(p, v);
}

void wcursor_i64(struct wcursor *c, int64_t v)
{
	wcursor_u64(c, (uint64_t)v);
}

void wcursor_bytes(struct wcursor *c, const void *in, size_t n)
{
	if (n == 0)
		return;
	uint8_t *p = wcursor_take(c, n);

	if (p)
		memcpy(p, in, n);
}

void wcursor_zero(struct wcursor *c, size_t n)
{
	if (n == 0)
		return;
	uint8_t *p = wcursor_take(c, n);

	if (p)
		memset(p, 0, n);
}
