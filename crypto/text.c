// SPDX-License-Identifier: Apache-2.0
#include "crypto/text.h"

// Length of the UTF-8 sequence that starts with this byte, and its payload bits; 0: none does.
static size_t sequence(uint8_t first, uint32_t *bits)
{
	if (first < 0x80) {
		*bits = first;
		return 1;
	}
	if (first >= 0xc2 && first < 0xe0) {
		*bits = first & 0x1f;
		return 2;
	}
	if (first >= 0xe0 && first < 0xf0) {
		*bits = first & 0x0f;
		return 3;
	}
	if (first >= 0xf0 && first < 0xf5) {
		*bits = first & 0x07;
		return 4;
	}
	return 0;
}

static int is_harmless(uint32_t c)
{
	static const struct {
		uint32_t from, to;
	} refused[] = {
		{0x00, 0x1f},     {0x7f, 0x9f},     {0x61c, 0x61c},
		{0x200e, 0x200f}, {0x2028, 0x202e}, // separators, marks and embeddings of direction
		{0x2066, 0x2069}, {0xd800, 0xdfff}, {0x110000, UINT32_MAX},
	};

	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
		if (c >= refused[i].from && c <= refused[i].to)
			return 0;
	}
	return 1;
}

size_t text_printable(const void *p, size_t len)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	const uint8_t *b = p;
	uint32_t c = 0;

	if (len == 0)
		return 0;
	const size_t n = sequence(b[0], &c);
	if (n == 0 || n > len)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((b[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (b[i] & 0x3fu);
	}
	return c >= least[n] && is_harmless(c) ? n : 0;
}

int text_is_printable(const void *p, size_t len)
{
	const uint8_t *b = p;

	while (len > 0) {
		const size_t n = text_printable(b, len);
		if (n == 0)
			return 0;
		b += n;
		len -= n;
	}
	return 1;
}
