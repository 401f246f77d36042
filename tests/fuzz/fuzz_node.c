// SPDX-License-Identifier: Apache-2.0
// Pages and nodes: the tree of an object whose roots and nodes are the input's, with look-ups,
// seeks, changes and drops all over it; and a page opened with a seal that nobody made.
#include "crypto/cursor.h"
#include "crypto/gcm.h"
#include "fusefs/tree.h"
#include "tests/fuzz/fuzz.h"

struct source {
	const uint8_t *data;
	size_t size;
	unsigned loads;
};

// A node is a slice of the input, chosen by where it stands.
static int load(void *arg, unsigned level, uint64_t first, uint64_t position,
		const struct seal *seal, struct seal out[static SEALS_PER_NODE])
{
	struct source *s = arg;
	const size_t from = s->size ? (size_t)((position + first + seal->b[0]) % s->size) : 0;

	FUZZ_NEED(level >= 1 && level <= OBJECT_ROOTS && !seal_is_hole(seal));
	FUZZ_NEED(first < TREE_PAGES_MAX && position > 0);
	if (++s->loads % 37 == 36)
		return WERR_AUTH;
	fuzz_pad((uint8_t *)out, SEALS_PER_NODE * SEAL_BYTES, s->data + from, s->size - from);
	return 0;
}

static int reseal(void *arg, unsigned level, uint64_t first, uint64_t position,
		  const struct seal seals[static SEALS_PER_NODE], int fresh, struct seal *ret)
{
	(void)arg;
	(void)seals;
	(void)fresh;
	FUZZ_NEED(level >= 1 && level <= OBJECT_ROOTS && position > 0 && first < TREE_PAGES_MAX);
	memset(ret, 0, sizeof(*ret));
	ret->b[0] = (uint8_t)level;
	ret->b[28] = 1;
	return 0;
}

static void one(struct tree *t, const uint8_t op[static 16])
{
	const uint64_t index = le64_get(op + 1) >> (op[9] % 64);
	const size_t n = op[10] % 64 + 1u;
	struct seal seals[64] = {0};
	uint64_t where = 0, count = 0, positions[OBJECT_ROOTS];
	int err = 0;

	switch (op[0] % 6) {
	case 0:
		err = tree_get_range(t, index, n, seals);
		if (!err)
			FUZZ_NEED(tree_missing(t, index, positions) == 0 &&
				  tree_get(t, index, &seals[63]) == 0);
		break;
	case 1:
		err = tree_seek(t, index, TREE_PAGES_MAX, op[11] & 1, &where);
		if (!err)
			FUZZ_NEED(where >= index || where == TREE_PAGES_MAX);
		break;
	case 2:
		err = tree_prepare(t, index, n);
		for (size_t i = 0; !err && i < n; i++) {
			seals[0].b[28] = op[11] & 1;
			(void)tree_set(t, index + i, &seals[0]);
		}
		break;
	case 3:
		err = tree_drop(t, index, index + le32_get(op + 11), op[15] & 1 ? &count : NULL);
		break;
	case 4:
		err = tree_seal(t, reseal, NULL);
		if (!err)
			FUZZ_NEED(!tree_is_dirty(t));
		break;
	default:
		if (index < TREE_PAGES_MAX)
			FUZZ_NEED(tree_position(index) > 0);
		FUZZ_NEED(tree_extent(index) > 0);
	}
	FUZZ_NEED(err == 0 || err == WERR_AUTH || err == WERR_MALFORMED || err == WERR_FBIG ||
		  err == WERR_NOMEM);
}

static void open_page(const uint8_t *data, size_t size)
{
	static struct gcm_key *key;
	static uint8_t cipher[WARD_PAGE], plain[WARD_PAGE];
	const uint8_t raw[GCM_KEY_BYTES] = {1};
	struct seal s;

	if (key == NULL)
		key = gcm_key_new(raw);
	FUZZ_NEED(key != NULL);
	fuzz_pad(s.b, sizeof(s.b), data, size);
	fuzz_pad(cipher, sizeof(cipher), data, size);
	FUZZ_NEED(seal_open(key, &s, 0, 0, cipher, plain) < 0);
}

// The first 2720 bytes are the seals in the header; then operations of 16 bytes, while nodes are
// slices of all of it.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seal roots[OBJECT_DIRECT + OBJECT_ROOTS];
	struct source source = {data, size, 0};
	struct tree *t = NULL;

	open_page(data, size);
	fuzz_pad((uint8_t *)roots, sizeof(roots), data, size);
	FUZZ_NEED(tree_new(load, &source, &t) == 0);
	for (size_t i = 0; i < OBJECT_DIRECT + OBJECT_ROOTS; i++) {
		if (seal_check(&roots[i]))
			memset(&roots[i], 0, sizeof(roots[i]));
	}
	tree_load_roots(t, roots, roots + OBJECT_DIRECT);
	for (size_t at = sizeof(roots), ops = 0; at + 16 <= size && ops < 64; at += 16, ops++)
		one(t, data + at);
	tree_free(t);
	return 0;
}
