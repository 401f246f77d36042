// SPDX-License-Identifier: Apache-2.0
// A set of extended attributes: one that passes the check is what xattr_codec_set makes of its
// attributes, put in backwards; on any other, the readers stay within it.
#include "crypto/xattr_codec.h"
#include "tests/fuzz/fuzz.h"

#define NAMES_MAX (XATTR_SET_MAX + 1)

static char names[NAMES_MAX];
static uint8_t bufs[2][XATTR_SET_MAX];

// Puts every attribute of the set into an empty one, the last first; returns the buffer.
static const uint8_t *rebuild(const uint8_t *set, size_t size, size_t names_len, size_t *ret_len)
{
	size_t len = 0;
	int which = 0;

	for (size_t end = names_len; end > 0;) {
		size_t start = end - 1;
		const uint8_t *value;
		size_t value_len;

		while (start > 0 && names[start - 1] != '\0')
			start--;
		const char *name = names + start;
		FUZZ_NEED(xattr_codec_get(set, size, name, &value, &value_len) == 0);
		FUZZ_NEED(xattr_codec_set(bufs[which], len, name, value, value_len, bufs[1 - which],
					  sizeof(bufs[0]), &len) == 0);
		which = 1 - which;
		end = start;
	}
	*ret_len = len;
	return bufs[which];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *value;
	size_t value_len;
	size_t names_len = 0;
	size_t len;

	if (xattr_codec_check(data, size) < 0) {
		int rc = xattr_codec_get(data, size, "user.a", &value, &value_len);
		FUZZ_NEED(rc < 0 || (value >= data && value + value_len <= data + size));
		(void)!xattr_codec_list(data, size, names, sizeof(names), &names_len);
		(void)!xattr_codec_set(data, size, "user.a", "x", 1, bufs[0], sizeof(bufs[0]),
				       &len);
		(void)!xattr_codec_remove(data, size, "user.a", bufs[0], sizeof(bufs[0]), &len);
		return 0;
	}
	FUZZ_NEED(xattr_codec_list(data, size, names, sizeof(names), &names_len) == 0);
	const uint8_t *again = rebuild(data, size, names_len, &len);
	FUZZ_NEED(len == size && (size == 0 || memcmp(again, data, size) == 0));
	if (names_len == 0)
		return 0;
	FUZZ_NEED(xattr_codec_remove(data, size, names, bufs[0], sizeof(bufs[0]), &len) == 0);
	FUZZ_NEED(len < size && xattr_codec_check(bufs[0], len) == 0);
	FUZZ_NEED(xattr_codec_get(bufs[0], len, names, &value, &value_len) == WERR_NODATA);
	return 0;
}
