// SPDX-License-Identifier: Apache-2.0
#include "crypto/xattr_codec.h"

#include <string.h>

#include "crypto/cursor.h"

#define XATTR_NAME_MAX_BYTES 255
#define XATTR_VALUE_MAX 65535
#define XATTR_FIXED 4

struct xattr {
	const uint8_t *start; // of the encoded attribute
	const uint8_t *name;
	size_t name_len;
	const uint8_t *value;
	size_t value_len;
};

// Decodes the attribute at the cursor. WERR_MALFORMED.
static int xattr_next(struct rcursor *c, struct xattr *ret)
{
	ret->start = c->p;
	ret->name_len = rcursor_u8(c);
	rcursor_zero(c, 1);
	ret->value_len = rcursor_u16(c);
	ret->name = rcursor_take(c, ret->name_len);
	ret->value = rcursor_take(c, ret->value_len);
	if (rcursor_finish(c, 0) < 0 || ret->name_len == 0)
		return WERR_MALFORMED;
	// A NUL would make two names one for listxattr(2).
	if (memchr(ret->name, '\0', ret->name_len) != NULL)
		return WERR_MALFORMED;
	return 0;
}

static int name_compare(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
	int order = memcmp(a, b, a_len < b_len ? a_len : b_len);

	if (order != 0)
		return order;
	return a_len < b_len ? -1 : a_len > b_len;
}

int xattr_codec_check(const uint8_t *set, size_t len)
{
	struct xattr prev = {0};
	struct xattr x;
	struct rcursor c;

	if (len > XATTR_SET_MAX)
		return WERR_MALFORMED;
	rcursor_init(&c, set, len);
	while (rcursor_left(&c) > 0) {
		int rc = xattr_next(&c, &x);
		if (rc < 0)
			return rc;
		if (prev.name != NULL &&
		    name_compare(prev.name, prev.name_len, x.name, x.name_len) >= 0)
			return WERR_MALFORMED;
		prev = x;
	}
	return 0;
}

// Where `name` stands or would stand: *ret_before bytes come before it; *ret_x is the attribute
// itself when the result is 1 and undefined when it is 0.
static int xattr_find(const uint8_t *set, size_t len, const char *name, size_t name_len,
		      size_t *ret_before, struct xattr *ret_x)
{
	struct rcursor c;

	if (len > XATTR_SET_MAX)
		return WERR_MALFORMED;
	rcursor_init(&c, set, len);
	while (rcursor_left(&c) > 0) {
		size_t before = len - rcursor_left(&c);
		int rc = xattr_next(&c, ret_x);
		if (rc < 0)
			return rc;
		int order =
			name_compare(ret_x->name, ret_x->name_len, (const uint8_t *)name, name_len);
		if (order >= 0) {
			*ret_before = before;
			return order == 0;
		}
	}
	*ret_before = len;
	return 0;
}

static int name_length(const char *name, size_t *ret)
{
	size_t n = strnlen(name, XATTR_NAME_MAX_BYTES + 1);

	if (n == 0)
		return WERR_INVALID;
	if (n > XATTR_NAME_MAX_BYTES)
		return WERR_RANGE;
	*ret = n;
	return 0;
}

int xattr_codec_get(const uint8_t *set, size_t len, const char *name, const uint8_t **ret_value,
		    size_t *ret_len)
{
	struct xattr x;
	size_t before;
	size_t name_len;
	int rc = name_length(name, &name_len);

	if (rc < 0)
		return rc;
	rc = xattr_find(set, len, name, name_len, &before, &x);
	if (rc < 0)
		return rc;
	if (rc == 0)
		return WERR_NODATA;
	*ret_value = x.value;
	*ret_len = x.value_len;
	return 0;
}

static size_t xattr_size(const struct xattr *x)
{
	return XATTR_FIXED + x->name_len + x->value_len;
}

int xattr_codec_set(const uint8_t *set, size_t len, const char *name, const void *value,
		    size_t value_len, uint8_t *out, size_t cap, size_t *ret_len)
{
	struct xattr x;
	struct wcursor w;
	size_t before;
	size_t name_len;
	int rc = name_length(name, &name_len);

	if (rc < 0)
		return rc;
	if (value_len > XATTR_VALUE_MAX)
		return WERR_TOOBIG;
	rc = xattr_find(set, len, name, name_len, &before, &x);
	if (rc < 0)
		return rc;
	size_t behind = before + (rc == 1 ? xattr_size(&x) : 0);

	wcursor_init(&w, out, cap < XATTR_SET_MAX ? cap : XATTR_SET_MAX);
	wcursor_bytes(&w, set, before);
	wcursor_u8(&w, (uint8_t)name_len);
	wcursor_u8(&w, 0);
	wcursor_u16(&w, (uint16_t)value_len);
	wcursor_bytes(&w, name, name_len);
	wcursor_bytes(&w, value, value_len);
	if (behind < len)
		wcursor_bytes(&w, set + behind, len - behind);
	if (w.err < 0)
		return WERR_NOSPACE;
	*ret_len = w.len;
	return 0;
}

int xattr_codec_remove(const uint8_t *set, size_t len, const char *name, uint8_t *out, size_t cap,
		       size_t *ret_len)
{
	struct xattr x;
	struct wcursor w;
	size_t before;
	size_t name_len;
	int rc = name_length(name, &name_len);

	if (rc < 0)
		return rc;
	rc = xattr_find(set, len, name, name_len, &before, &x);
	if (rc < 0)
		return rc;
	if (rc == 0)
		return WERR_NODATA;
	size_t behind = before + xattr_size(&x);

	wcursor_init(&w, out, cap);
	wcursor_bytes(&w, set, before);
	wcursor_bytes(&w, set + behind, len - behind);
	if (w.err < 0)
		return WERR_NOSPACE;
	*ret_len = w.len;
	return 0;
}

int xattr_codec_list(const uint8_t *set, size_t len, char *buf, size_t cap, size_t *ret_len)
{
	struct xattr x;
	struct rcursor c;
	struct wcursor w;
	size_t need = 0;
	int counting = buf == NULL || cap == 0;

	if (len > XATTR_SET_MAX)
		return WERR_MALFORMED;
	rcursor_init(&c, set, len);
	wcursor_init(&w, buf, counting ? 0 : cap);
	while (rcursor_left(&c) > 0) {
		int rc = xattr_next(&c, &x);
		if (rc < 0)
			return rc;
		need += x.name_len + 1;
		if (!counting) {
			wcursor_bytes(&w, x.name, x.name_len);
			wcursor_u8(&w, 0);
		}
	}
	if (w.err < 0)
		return WERR_RANGE;
	*ret_len = need;
	return 0;
}
