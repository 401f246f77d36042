// SPDX-License-Identifier: Apache-2.0
// The one bounded cursor through which every parser and encoder goes: little-endian, sticky error.
// After the first overrun every read yields zeros and every write does nothing; check
// cursor_error() once at the end. Not thread-safe; owns nothing.
#ifndef WARDFS_CRYPTO_CURSOR_H
#define WARDFS_CRYPTO_CURSOR_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/werr.h"

struct rcursor {
	const uint8_t *p;   // next byte
	const uint8_t *end; // one behind the last
	int err;            // 0, WERR_TRUNCATED or WERR_MALFORMED
};

void rcursor_init(struct rcursor *c, const void *buf, size_t len);
uint8_t rcursor_u8(struct rcursor *c);
uint16_t rcursor_u16(struct rcursor *c);
uint32_t rcursor_u32(struct rcursor *c);
uint64_t rcursor_u64(struct rcursor *c);
int64_t rcursor_i64(struct rcursor *c);
void rcursor_bytes(struct rcursor *c, void *out, size_t n);
// A pointer to the next n bytes inside the buffer (valid as long as it is), or NULL on overrun.
const uint8_t *rcursor_take(struct rcursor *c, size_t n);
// n bytes which must be zero: else WERR_MALFORMED.
void rcursor_zero(struct rcursor *c, size_t n);
size_t rcursor_left(const struct rcursor *c);
// The sticky error; WERR_MALFORMED also when `all` is set and bytes are left over.
int rcursor_finish(const struct rcursor *c, int all) WARN_UNUSED;

struct wcursor {
	uint8_t *base;
	size_t len; // written
	size_t cap;
	int err; // 0 or WERR_LIMIT
};

void wcursor_init(struct wcursor *c, void *buf, size_t cap);
void wcursor_u8(struct wcursor *c, uint8_t v);
void wcursor_u16(struct wcursor *c, uint16_t v);
void wcursor_u32(struct wcursor *c, uint32_t v);
void wcursor_u64(struct wcursor *c, uint64_t v);
void wcursor_i64(struct wcursor *c, int64_t v);
void wcursor_bytes(struct wcursor *c, const void *in, size_t n);
void wcursor_zero(struct wcursor *c, size_t n);
// Room for n bytes to be filled by the caller, or NULL (sticky error).
uint8_t *wcursor_take(struct wcursor *c, size_t n);

// Plain little-endian loads and stores (inline: hot paths).
static inline uint16_t le16_get(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}
static inline uint32_t le32_get(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline uint64_t le64_get(const uint8_t *p)
{
	return (uint64_t)le32_get(p) | (uint64_t)le32_get(p + 4) << 32;
}
static inline void le16_put(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}
static inline void le32_put(uint8_t *p, uint32_t v)
{
	le16_put(p, (uint16_t)v);
	le16_put(p + 2, (uint16_t)(v >> 16));
}
static inline void le64_put(uint8_t *p, uint64_t v)
{
	le32_put(p, (uint32_t)v);
	le32_put(p + 4, (uint32_t)(v >> 32));
}

#endif
