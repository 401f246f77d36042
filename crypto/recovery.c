// SPDX-License-Identifier: Apache-2.0
#include "crypto/recovery.h"

#include <string.h>

#include "crypto/secret.h"
#include "crypto/sha256.h"

// Crockford's alphabet: no I, L, O and U.
static const char alphabet[33] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

#define DATA_CHARS (RECOVERY_GROUP_CHARS - 1)
#define DATA_TOTAL (RECOVERY_GROUPS * DATA_CHARS) // 52 characters, 260 bits

struct work {
	uint8_t values[DATA_TOTAL]; // 5 bits each
	uint8_t bytes[RECOVERY_BYTES];
	uint8_t digest[SHA256_BYTES];
};

// Multiplication by x in the field of 32 elements, x^5 + x^2 + 1.
static uint8_t times_x(uint8_t v)
{
	return (uint8_t)((v << 1 ^ (v & 0x10 ? 0x25 : 0)) & 0x1f);
}

// The check character of a group: any one wrong character, any two neighbours exchanged, and a
// group in another's place give another one.
static uint8_t group_check(const uint8_t *values, unsigned group)
{
	uint8_t sum = (uint8_t)(group + 1);

	for (unsigned i = 0; i < DATA_CHARS; i++)
		sum = times_x(sum) ^ values[i];
	return times_x(sum);
}

static void pack(struct work *w, uint8_t spare)
{
	for (unsigned bit = 0; bit < DATA_TOTAL * 5; bit++) {
		const unsigned from = bit / 8;
		const unsigned set = from < RECOVERY_BYTES ? w->bytes[from] >> (7 - bit % 8) & 1u
							   : spare >> (3 - (bit - 256)) & 1u;
		w->values[bit / 5] |= (uint8_t)(set << (4 - bit % 5));
	}
}

static uint8_t unpack(struct work *w)
{
	uint8_t spare = 0;

	for (unsigned bit = 0; bit < DATA_TOTAL * 5; bit++) {
		const unsigned set = w->values[bit / 5] >> (4 - bit % 5) & 1u;

		if (bit < 256)
			w->bytes[bit / 8] |= (uint8_t)(set << (7 - bit % 8));
		else
			spare = (uint8_t)(spare << 1 | set);
	}
	return spare;
}

int recovery_encode(const uint8_t bytes[static RECOVERY_BYTES],
		    char text[static RECOVERY_TEXT_BYTES])
{
	SECRET_AUTO struct work *w = secret_alloc(sizeof *w);
	char *out = text;

	if (!w)
		return WERR_NOMEM;
	memcpy(w->bytes, bytes, RECOVERY_BYTES);
	int err = sha256_of(bytes, RECOVERY_BYTES, w->digest);
	if (err)
		return err;
	pack(w, w->digest[0] >> 4);
	for (unsigned g = 0; g < RECOVERY_GROUPS; g++) {
		const uint8_t *values = w->values + g * DATA_CHARS;

		for (unsigned i = 0; i < DATA_CHARS; i++)
			*out++ = alphabet[values[i]];
		*out++ = alphabet[group_check(values, g)];
		*out++ = '-';
	}
	out[-1] = 0;
	return 0;
}

#define NOTHING 32 // between characters
#define WRONG 33

static unsigned value_of(char c)
{
	if (c >= 'a' && c <= 'z')
		c = (char)(c - 'a' + 'A');
	if (c == 'O')
		c = '0';
	if (c == 'I' || c == 'L')
		c = '1';
	if (c && strchr(" \t\r\n-.,:/_", c))
		return NOTHING;
	const char *at = c ? strchr(alphabet, c) : NULL;
	return at ? (unsigned)(at - alphabet) : WRONG;
}

// The characters into w->values; returns 0, or the group that is wrong.
static unsigned read_groups(const char *text, size_t len, struct work *w)
{
	uint8_t values[RECOVERY_GROUP_CHARS];
	unsigned group = 0, have = 0, bad = 0;

	for (size_t i = 0; i < len && !bad; i++) {
		const unsigned v = value_of(text[i]);

		if (v == NOTHING)
			continue;
		if (v == WRONG || group == RECOVERY_GROUPS) {
			bad = group + 1;
			break;
		}
		values[have++] = (uint8_t)v;
		if (have < RECOVERY_GROUP_CHARS)
			continue;
		if (group_check(values, group) != values[DATA_CHARS])
			bad = group + 1;
		memcpy(w->values + group * DATA_CHARS, values, DATA_CHARS);
		have = 0;
		group++;
	}
	secret_wipe(values, sizeof values);
	if (!bad && group < RECOVERY_GROUPS)
		bad = group + 1;
	return bad;
}

int recovery_decode(const char *text, size_t len, uint8_t bytes[static RECOVERY_BYTES],
		    unsigned *ret_group)
{
	SECRET_AUTO struct work *w = secret_alloc(sizeof *w);

	if (!w)
		return WERR_NOMEM;
	*ret_group = read_groups(text, len, w);
	if (*ret_group)
		return WERR_INVALID;
	const uint8_t spare = unpack(w);
	int err = sha256_of(w->bytes, RECOVERY_BYTES, w->digest);
	if (err)
		return err;
	if (spare != w->digest[0] >> 4)
		return WERR_INVALID;
	memcpy(bytes, w->bytes, RECOVERY_BYTES);
	return 0;
}
