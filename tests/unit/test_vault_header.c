// SPDX-License-Identifier: Apache-2.0
#include "crypto/vault_header.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/cursor.h"
#include "crypto/hkdf.h"
#include "crypto/keyring.h"
#include "key_fixture.h"
#include "unit_main.h"

#define AT_ROTATION 960u
#define AT_SLOTS 1024u
#define AT_MASTERS 99328u
#define AT_TAIL 105472u
#define AT_MAC 106464u

static struct vault_header *header; // as made
static struct vault_header *got;    // as decoded
static struct vault_header pattern; // what stands in *got before
static uint8_t *root;
static struct keyring *ring;
static struct secret pass;
static uint8_t buf[VAULT_HEADER_BYTES]; // encoded
static uint8_t again[VAULT_HEADER_BYTES];

// Two slots, two masters, a value of its own in every field.
static void set_up(void)
{
	struct keyslot_info info = fixture_info(1, "first");
	uint8_t *first_root;

	header = malloc(sizeof *header);
	got = malloc(sizeof *got);
	ck_assert(header && got);
	memset(&pattern, 0x5a, sizeof pattern);
	pass = fixture_pass("open sesame");
	ck_assert_int_eq(keyring_create(header, &info, &pass, &first_root), 0);
	ck_assert_int_eq(keyring_renew(header, first_root, &root), 0);
	secret_free(first_root);
	info = fixture_info(2, "second");
	ck_assert_int_eq(keyslot_make(header->slots[31], 31, header->vault_id, &info, &pass, root),
			 0);
	ck_assert_int_eq(keyring_new(header, root, &ring), 0);
	header->mount = 0x010203;
	header->write_counter = 0x1112131415161718;
	header->journal_sequence = 0x2122232425262728;
	header->root_generation = 0x0102020000000005;
	header->journal_bytes = 8u << 20;
	header->created_s = 0x3132333435363738;
	ck_assert_int_eq(vault_header_encode(header, keyring_header_mac(ring), buf), 0);
}

static void tear_down(void)
{
	keyring_free(ring);
	secret_free(root);
	secret_clear(&pass);
	free(header);
	free(got);
}

// MAC of a holder of the root key over changed bytes: what only the strict decoding can refuse.
static void remac(void)
{
	ck_assert_int_eq(hkdf_hmac_sha256(keyring_header_mac(ring), buf, AT_MAC, buf + AT_MAC), 0);
}

// On failure the output must be untouched.
static int decode(void)
{
	memcpy(got, &pattern, sizeof *got);
	int err = vault_header_decode(buf, sizeof buf, root, got);

	if (err && memcmp(got, &pattern, sizeof *got) != 0)
		ck_abort_msg("output touched");
	return err;
}

static int peek(const uint8_t *p, size_t len)
{
	struct keyslot_info infos[KEYSLOT_MAX];
	uint8_t id[VAULT_ID_BYTES];

	return vault_header_peek(p, len, id, infos);
}

START_TEST(decodes_what_was_encoded)
{
	ck_assert_int_eq(decode(), 0);
	ck_assert(memcmp(got->vault_id, header->vault_id, VAULT_ID_BYTES) == 0);
	ck_assert_uint_eq(got->mount, header->mount);
	ck_assert_uint_eq(got->state, VAULT_CLEAN);
	ck_assert_uint_eq(got->replaying, 0);
	ck_assert_uint_eq(got->write_counter, header->write_counter);
	ck_assert_uint_eq(got->journal_sequence, header->journal_sequence);
	ck_assert_uint_eq(got->root_incarnation, header->root_incarnation);
	ck_assert_uint_eq(got->root_generation, header->root_generation);
	ck_assert_uint_eq(got->root_epoch, 1);
	ck_assert_uint_eq(got->epoch, 2);
	ck_assert_uint_eq(got->journal_bytes, header->journal_bytes);
	ck_assert_uint_eq(got->created_s, header->created_s);
	ck_assert(memcmp(got->slots, header->slots, sizeof got->slots) == 0);
	ck_assert_uint_eq(got->masters_len, 2);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_uint_eq(got->masters[i].class_, header->masters[i].class_);
		ck_assert_uint_eq(got->masters[i].epoch, header->masters[i].epoch);
		ck_assert(memcmp(got->masters[i].wrapped, header->masters[i].wrapped,
				 MASTER_WRAPPED_BYTES) == 0);
	}
	ck_assert_int_eq(vault_header_encode(got, keyring_header_mac(ring), again), 0);
	ck_assert(memcmp(buf, again, sizeof buf) == 0);
}
END_TEST

// The offsets of wardfs-vault(5), read without the codec.
START_TEST(fields_stand_where_the_format_says)
{
	ck_assert(memcmp(buf, "WARDVLT\x01", 8) == 0);
	ck_assert_uint_eq(le32_get(buf + 8), 1);
	ck_assert_uint_eq(le32_get(buf + 12), 106496);
	ck_assert(memcmp(buf + 40, header->vault_id, 16) == 0);
	ck_assert_uint_eq(le32_get(buf + 56), header->mount);
	ck_assert_uint_eq(le32_get(buf + 60), 0);
	ck_assert_uint_eq(le32_get(buf + 64), 0);
	ck_assert_uint_eq(le32_get(buf + 68), 32);
	ck_assert_uint_eq(le64_get(buf + 72), header->write_counter);
	ck_assert_uint_eq(le64_get(buf + 80), header->journal_sequence);
	ck_assert_uint_eq(le64_get(buf + 88), header->root_incarnation);
	ck_assert_uint_eq(le64_get(buf + 96), header->root_generation);
	ck_assert_uint_eq(le32_get(buf + 104), 1);
	ck_assert_uint_eq(le32_get(buf + 108), 2);
	ck_assert_uint_eq(le64_get(buf + 112), 8u << 20);
	ck_assert_uint_eq(le64_get(buf + 120), header->created_s);
	ck_assert(memcmp(buf + 1024, header->slots[0], KEYSLOT_BYTES) == 0);
	ck_assert(memcmp(buf + 1024 + 31 * 3072, header->slots[31], KEYSLOT_BYTES) == 0);
	ck_assert_ptr_eq(vault_header_slot(buf, 31), buf + 1024 + 31 * 3072);
	ck_assert_ptr_null(vault_header_slot(buf, 32));
	ck_assert_uint_eq(le16_get(buf + AT_MASTERS + 96), 1);
	ck_assert_uint_eq(le32_get(buf + AT_MASTERS + 96 + 4), 2);
	ck_assert(memcmp(buf + AT_MASTERS + 96 + 8, header->masters[1].wrapped, 80) == 0);
}
END_TEST

START_TEST(peek_tells_the_slots)
{
	struct keyslot_info infos[KEYSLOT_MAX];
	uint8_t id[VAULT_ID_BYTES];

	ck_assert_int_eq(vault_header_peek(buf, sizeof buf, id, infos), 0);
	ck_assert(memcmp(id, header->vault_id, sizeof id) == 0);
	ck_assert_str_eq(infos[0].label, "first");
	ck_assert_str_eq(infos[31].label, "second");
	for (unsigned i = 1; i < 31; i++)
		ck_assert_uint_eq(infos[i].kind, KEYSLOT_EMPTY);
}
END_TEST

START_TEST(lengths)
{
	static const struct {
		size_t len;
		int err;
	} cases[] = {
		{0, WERR_TRUNCATED},
		{7, WERR_TRUNCATED},
		{15, WERR_TRUNCATED},
		{16, WERR_TRUNCATED},
		{4096, WERR_TRUNCATED},
		{VAULT_HEADER_BYTES - 1, WERR_TRUNCATED},
		{VAULT_HEADER_BYTES + 1, WERR_MALFORMED},
		{SIZE_MAX, WERR_MALFORMED},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		// Exact memory, so that a sanitizer sees a read past the end; no more is looked at
		// when it is too long.
		size_t n = cases[i].len < sizeof buf ? cases[i].len : sizeof buf;
		uint8_t *cut = malloc(n ? n : 1);
		ck_assert_ptr_nonnull(cut);
		memcpy(cut, buf, n);
		ck_assert_int_eq(peek(cut, cases[i].len), cases[i].err);
		ck_assert_int_eq(vault_header_decode(cut, cases[i].len, root, got), cases[i].err);
		free(cut);
	}
}
END_TEST

START_TEST(random_bytes_are_no_vault)
{
	uint64_t state = 5;

	fixture_rng(&state, buf, sizeof buf);
	ck_assert_int_eq(peek(buf, sizeof buf), WERR_NOTVAULT);
	ck_assert_int_eq(peek(buf, 100), WERR_NOTVAULT);
	ck_assert_int_eq(decode(), WERR_NOTVAULT);
}
END_TEST

static void flip(size_t from, size_t to, size_t stride)
{
	for (size_t at = from; at < to; at += stride) {
		const uint8_t bit = (uint8_t)(1u << at % 8);
		buf[at] ^= bit;
		int want = at < 8                ? WERR_NOTVAULT
			   : at < 12             ? WERR_UNSUPPORTED
			   : at < 16             ? WERR_MALFORMED
			   : at >= 32 && at < 40 ? WERR_UNSUPPORTED
						 : WERR_AUTH;
		int err = decode();
		if (err != want)
			ck_abort_msg("byte %zu: %s", at, werr_text(err));
		buf[at] ^= bit;
	}
}

START_TEST(no_byte_can_be_changed)
{
	flip(0, AT_SLOTS, 1);
	flip(AT_SLOTS, AT_SLOTS + 400, 7);
	flip(AT_SLOTS + 400, AT_MASTERS, 101);
	flip(AT_MASTERS, AT_MASTERS + 192, 1);
	flip(AT_MASTERS + 192, AT_MAC, 31);
	flip(AT_MAC, VAULT_HEADER_BYTES, 1);
}
END_TEST

START_TEST(other_root_key_is_refused)
{
	for (size_t i = 0; i < ROOT_KEY_BYTES; i++) {
		root[i] ^= 1;
		ck_assert_int_eq(decode(), WERR_AUTH);
		root[i] ^= 1;
	}
}
END_TEST

// Whoever holds the root key cannot make a header that means the same in two ways: reserved bytes
// first.
START_TEST(reserved_bytes_are_zero)
{
	static const struct {
		size_t from, to, stride;
	} zones[] = {
		{142, 144, 1},                                    // policy
		{148, AT_ROTATION, 1},                            // reserve
		{AT_ROTATION + 4, AT_SLOTS - 16, 1},              // no rotation is under way
		{AT_SLOTS + 2, AT_SLOTS + 4, 1},                  // slot flags
		{AT_SLOTS + 400, AT_SLOTS + 3072, 13},            // slot reserve
		{AT_SLOTS + 3072 + 2, AT_SLOTS + 31 * 3072, 211}, // empty slots
		{AT_MASTERS + 2, AT_MASTERS + 4, 1},              // record flags
		{AT_MASTERS + 88, AT_MASTERS + 96, 1},            // record reserve
		{AT_MASTERS + 192 + 2, AT_MASTERS + 288, 1},      // an empty record
		{AT_TAIL - 94, AT_TAIL, 1},                       // the last record
		{AT_TAIL, AT_MAC, 1},                             // reserve
	};

	for (size_t z = 0; z < sizeof zones / sizeof zones[0]; z++) {
		for (size_t at = zones[z].from; at < zones[z].to; at += zones[z].stride) {
			if (at >= AT_SLOTS + 3072 && at < AT_MASTERS && (at - AT_SLOTS) % 3072 < 2)
				continue; // kind of an empty slot
			buf[at] = 1;
			remac();
			int err = decode();
			if (err != WERR_MALFORMED)
				ck_abort_msg("byte %zu: %s", at, werr_text(err));
			buf[at] = 0;
		}
	}
	remac();
	ck_assert_int_eq(decode(), 0);
}
END_TEST

// Any other change that a holder of the root key makes is refused, or decodes to something that
// encodes to the same bytes.
START_TEST(decoding_is_canonical)
{
	unsigned accepted = 0;

	for (size_t at = 0; at < AT_MAC; at += at < 128 ? 1 : at < AT_MASTERS ? 97 : 5) {
		const uint8_t was = buf[at];
		buf[at] = (uint8_t)(was + 1);
		remac();
		if (decode() == 0) {
			accepted++;
			ck_assert_int_eq(vault_header_encode(got, keyring_header_mac(ring), again),
					 0);
			ck_assert_msg(memcmp(buf, again, sizeof buf) == 0, "byte %zu", at);
		}
		buf[at] = was;
	}
	ck_assert_uint_gt(accepted, 30);
}
END_TEST

static const struct {
	const char *what;
	size_t at;
	unsigned bytes;
	uint64_t value;
	int err;
} numbers[] = {
	{"format 0", 8, 4, 0, WERR_UNSUPPORTED},
	{"format 2", 8, 4, 2, WERR_UNSUPPORTED},
	{"length", 12, 4, 106495, WERR_MALFORMED},
	{"compatible feature", 16, 8, 1ull << 63, WERR_UNSUPPORTED},
	{"read-only compatible feature", 24, 8, 1, WERR_UNSUPPORTED},
	{"incompatible feature", 32, 8, 1, WERR_UNSUPPORTED},
	{"largest mount", 56, 4, 0xffffff, 0},
	{"mount of 25 bits", 56, 4, 0x1000000, WERR_LIMIT},
	{"mount before the root's generation", 56, 4, 0x010201, WERR_MALFORMED},
	{"mount of the root's generation", 56, 4, 0x010202, 0},
	{"dirty with a journal sequence", 60, 4, 1, WERR_MALFORMED},
	{"state 3", 60, 4, 3, WERR_MALFORMED},
	{"clean and replaying", 64, 4, 1, WERR_MALFORMED},
	{"slot limit 31", 68, 4, 31, WERR_MALFORMED},
	{"slot limit 33", 68, 4, 33, WERR_MALFORMED},
	{"write counter 0", 72, 8, 0, 0},
	{"journal sequence", 80, 8, UINT64_MAX, 0},
	{"no root incarnation", 88, 8, 0, WERR_MALFORMED},
	{"no root generation", 96, 8, 0, 0},
	{"root of a later mount", 96, 8, 0x0102040000000000, WERR_MALFORMED},
	{"root epoch 0", 104, 4, 0, WERR_MALFORMED},
	{"root epoch now", 104, 4, 2, 0},
	{"root epoch to come", 104, 4, 3, WERR_MALFORMED},
	{"epoch without a master", 108, 4, 3, WERR_MALFORMED},
	{"epoch of an older master", 108, 4, 1, WERR_MALFORMED},
	{"epoch 0", 108, 4, 0, WERR_MALFORMED},
	{"journal too small", 112, 8, (8u << 20) - 4096, WERR_LIMIT},
	{"smallest journal", 112, 8, 8u << 20, 0},
	{"part of a page", 112, 8, (8u << 20) + 512, WERR_LIMIT},
	{"largest journal", 112, 8, 4ull << 30, 0},
	{"journal too large", 112, 8, (4ull << 30) + 4096, WERR_LIMIT},
	{"journal of nothing", 112, 8, 0, WERR_LIMIT},
	{"journal of all", 112, 8, UINT64_MAX, WERR_LIMIT},
	{"rotation of a later level", AT_ROTATION, 4, 3, WERR_UNSUPPORTED},
	{"rotation aimed at nothing", AT_ROTATION, 4, 1, WERR_MALFORMED},
	{"idle time beyond a year", 128, 4, 31622401, WERR_MALFORMED},
	{"longest idle time", 128, 4, 31622400, 0},
	{"longest time beyond a year", 132, 4, 31622401, WERR_MALFORMED},
	{"action at idleness", 136, 1, 4, WERR_MALFORMED},
	{"last action at the end of a session", 141, 1, 3, 0},
	{"action at the end of a session", 141, 1, 4, WERR_MALFORMED},
	{"wipe at a slip", 144, 4, 2, WERR_MALFORMED},
	{"earliest wipe", 144, 4, 3, 0},
	{"latest wipe", 144, 4, 1000, 0},
	{"wipe never reached", 144, 4, 1001, WERR_MALFORMED},
	{"unknown slot kind", AT_SLOTS, 2, FACTOR_END, WERR_UNSUPPORTED},
	{"kind without parameters", AT_SLOTS, 2, FACTOR_KEYFILE, WERR_MALFORMED},
	{"kind with its factors the wrong way round", AT_SLOTS, 2, 0x0102, WERR_UNSUPPORTED},
	{"weak KDF", AT_SLOTS + 80, 4, 8191, WERR_LIMIT},
	{"greedy KDF", AT_SLOTS + 80, 4, 4194305, WERR_LIMIT},
	{"slot without a serial", AT_SLOTS + 4, 4, 0, WERR_MALFORMED},
	{"serial used twice", AT_SLOTS + 4, 4, 2, WERR_MALFORMED},
	{"unknown class", AT_MASTERS, 2, 2, WERR_UNSUPPORTED},
	{"hole among the records", AT_MASTERS, 2, 0, WERR_MALFORMED},
	{"record of epoch 0", AT_MASTERS + 4, 4, 0, WERR_MALFORMED},
	{"records of one epoch", AT_MASTERS + 4, 4, 2, WERR_MALFORMED},
	{"records out of order", AT_MASTERS + 4, 4, 3, WERR_MALFORMED},
};

static void put(size_t at, unsigned bytes, uint64_t value)
{
	for (unsigned i = 0; i < bytes; i++)
		buf[at + i] = (uint8_t)(value >> 8 * i);
}

START_TEST(numbers_are_bounded)
{
	put(numbers[_i].at, numbers[_i].bytes, numbers[_i].value);
	remac();
	int err = decode();
	ck_assert_msg(err == numbers[_i].err, "%s: %s", numbers[_i].what, werr_text(err));
}
END_TEST

static const struct {
	uint32_t mount, state, replaying;
	uint64_t sequence;
	int err;
} states[] = {
	{5, VAULT_CLEAN, 0, 0, 0},
	{5, VAULT_CLEAN, 0, 9, 0},
	{0, VAULT_CLEAN, 0, 0, 0},
	{5, VAULT_CLEAN, 4, 0, WERR_MALFORMED},
	{5, VAULT_DIRTY, 0, 0, 0},
	{0, VAULT_DIRTY, 0, 0, WERR_MALFORMED},
	{5, VAULT_DIRTY, 0, 1, WERR_MALFORMED},
	{5, VAULT_DIRTY, 4, 0, WERR_MALFORMED},
	{5, VAULT_REPLAYING, 4, 0, 0},
	{5, VAULT_REPLAYING, 1, 0, 0},
	{5, VAULT_REPLAYING, 0, 0, WERR_MALFORMED},
	{5, VAULT_REPLAYING, 5, 0, WERR_MALFORMED},
	{5, VAULT_REPLAYING, 6, 0, WERR_MALFORMED},
	{5, VAULT_REPLAYING, 4, 1, WERR_MALFORMED},
	{5, 3, 0, 0, WERR_MALFORMED},
	{5, UINT32_MAX, 0, 0, WERR_MALFORMED},
};

// Both ways: what decode refuses, encode does not write.
START_TEST(states_are_consistent)
{
	header->root_generation = 0;
	header->mount = states[_i].mount;
	header->state = states[_i].state;
	header->replaying = states[_i].replaying;
	header->journal_sequence = states[_i].sequence;
	ck_assert_int_eq(vault_header_encode(header, keyring_header_mac(ring), again),
			 states[_i].err);
	put(96, 8, 0);
	put(56, 4, states[_i].mount);
	put(60, 4, states[_i].state);
	put(64, 4, states[_i].replaying);
	put(80, 8, states[_i].sequence);
	remac();
	ck_assert_int_eq(decode(), states[_i].err);
	if (!states[_i].err)
		ck_assert(memcmp(buf, again, sizeof buf) == 0);
}
END_TEST

START_TEST(rotation_is_aimed_at_an_object)
{
	struct vault_header *h = malloc(sizeof *h);

	ck_assert_ptr_nonnull(h);
	ck_assert_int_eq(vault_header_decode(buf, VAULT_HEADER_BYTES, root, h), 0);
	const uint64_t incarnation = h->root_incarnation;
	const struct {
		uint64_t level, number, incarnation;
		int err;
	} cases[] = {
		{1, 1, incarnation, 0},
		{2, 1, incarnation, 0},
		{1, 1, incarnation ^ 1, WERR_MALFORMED},
		{2, 1, 0, WERR_MALFORMED},
		{2, 77, 5, 0},
		{1, 77, 5, WERR_MALFORMED},
		{2, 77, 0, WERR_MALFORMED},
		{2, 1ull << 63 | 77, 5, WERR_MALFORMED},
		{0, 1, incarnation, WERR_MALFORMED},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		put(AT_ROTATION, 4, cases[i].level);
		put(AT_ROTATION + 8, 8, cases[i].number);
		put(AT_ROTATION + 16, 8, cases[i].incarnation);
		remac();
		ck_assert_msg(vault_header_decode(buf, VAULT_HEADER_BYTES, root, h) == cases[i].err,
			      "case %zu", i);
	}
	put(AT_ROTATION, 4, 2);
	put(AT_ROTATION + 8, 8, 77);
	put(AT_ROTATION + 16, 8, 5);
	put(AT_ROTATION + 24, 8, 1700000000);
	static const struct {
		uint64_t rate;
		int err;
	} rates[] = {{1, WERR_MALFORMED},
		     {VAULT_RATE_MIN - 1, WERR_MALFORMED},
		     {VAULT_RATE_MAX + 1, WERR_MALFORMED},
		     {VAULT_RATE_MIN, 0},
		     {0, 0},
		     {VAULT_RATE_MAX, 0}};
	for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
		put(AT_ROTATION + 32, 8, rates[i].rate);
		remac();
		ck_assert_int_eq(vault_header_decode(buf, VAULT_HEADER_BYTES, root, h),
				 rates[i].err);
	}
	ck_assert_uint_eq(h->rotation.max_rate, VAULT_RATE_MAX);
	ck_assert_int_eq(vault_header_decode(buf, VAULT_HEADER_BYTES, root, h), 0);
	ck_assert_uint_eq(h->rotation.level, VAULT_ROTATION_CONTENTS);
	ck_assert_uint_eq(h->rotation.number, 77);
	ck_assert_uint_eq(h->rotation.incarnation, 5);
	ck_assert_uint_eq(h->rotation.started_s, 1700000000);
	free(h);
}
END_TEST

START_TEST(policy_is_kept)
{
	static const struct vault_policy p = {
		.idle_s = 600, .max_time_s = 36000, .on = {1, 2, 3, 1, 2, 3}, .wipe_after = 20};
	struct vault_policy seen = {0};

	ck_assert_int_eq(vault_header_peek_policy(buf, &seen), 0);
	ck_assert(seen.idle_s == 0 && seen.wipe_after == 0 && seen.on[0] == 0);
	put(128, 4, 600);
	put(132, 4, 36000);
	for (unsigned i = 0; i < 6; i++)
		put(136 + i, 1, i % 3 + 1);
	put(144, 4, 20);
	remac();
	ck_assert_int_eq(decode(), 0);
	ck_assert(memcmp(&got->policy, &p, sizeof p) == 0);
	ck_assert_int_eq(vault_header_peek_policy(buf, &seen), 0);
	ck_assert(memcmp(&seen, &p, sizeof p) == 0);
	ck_assert_int_eq(vault_header_encode(got, keyring_header_mac(ring), again), 0);
	ck_assert_mem_eq(buf, again, sizeof buf);
	put(144, 4, 1);
	ck_assert_int_eq(vault_header_peek_policy(buf, &seen), WERR_MALFORMED);
	ck_assert(memcmp(&seen, &p, sizeof p) == 0);
}
END_TEST

static int encode(void)
{
	return vault_header_encode(header, keyring_header_mac(ring), again);
}

START_TEST(encode_refuses_what_decode_does)
{
	struct vault_header *ok = malloc(sizeof *ok);

	ck_assert_ptr_nonnull(ok);
	*ok = *header;
	header->mount = 0x1000000;
	ck_assert_int_eq(encode(), WERR_LIMIT);
	*header = *ok;
	header->epoch = 1;
	ck_assert_int_eq(encode(), WERR_MALFORMED);
	*header = *ok;
	header->masters_len = 0;
	ck_assert_int_eq(encode(), WERR_MALFORMED);
	header->masters_len = VAULT_MASTERS_MAX + 1;
	ck_assert_int_eq(encode(), WERR_MALFORMED);
	*header = *ok;
	header->masters[0].class_ = 0;
	ck_assert_int_eq(encode(), WERR_UNSUPPORTED);
	*header = *ok;
	header->journal_bytes = 0;
	ck_assert_int_eq(encode(), WERR_LIMIT);
	*header = *ok;
	memcpy(header->slots[7], header->slots[0], KEYSLOT_BYTES);
	ck_assert_int_eq(encode(), WERR_MALFORMED);
	*header = *ok;
	memset(header->slots[0], 0, KEYSLOT_BYTES);
	ck_assert_int_eq(encode(), 0);
	memset(header->slots[31], 0, KEYSLOT_BYTES);
	ck_assert_int_eq(encode(), WERR_MALFORMED);
	*header = *ok;
	ck_assert_int_eq(encode(), 0);
	free(ok);
}
END_TEST

START_TEST(peek_refuses_slots_before_any_secret)
{
	static const struct {
		size_t at;
		uint8_t value;
		int err;
	} cases[] = {
		{AT_SLOTS, 9, WERR_UNSUPPORTED},   // kind
		{AT_SLOTS + 2, 1, WERR_MALFORMED}, // flags
		{AT_SLOTS + 83, 0xff, WERR_LIMIT}, // 4 TiB
		{AT_SLOTS + 84, 65, WERR_LIMIT},   // passes
		{AT_SLOTS + 84, 0, WERR_LIMIT},
		{AT_SLOTS + 88, 0, WERR_LIMIT},          // lanes
		{AT_SLOTS + 92, 0x10, WERR_UNSUPPORTED}, // Argon2 version
		{AT_SLOTS + 17, 0x1b, WERR_MALFORMED},   // label
		{AT_SLOTS + 31 * 3072 + 88, 17, WERR_LIMIT},
		{AT_SLOTS + 7 * 3072 + 3000, 1, WERR_MALFORMED}, // an empty slot
		{32, 1, WERR_UNSUPPORTED},
		{39, 0x80, WERR_UNSUPPORTED},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const uint8_t was = buf[cases[i].at];
		buf[cases[i].at] = cases[i].value;
		int err = peek(buf, sizeof buf);
		ck_assert_msg(err == cases[i].err, "case %zu: %s", i, werr_text(err));
		buf[cases[i].at] = was;
	}
	// What stands outside the slots is not looked at: nothing may be acted on before the MAC.
	memset(buf + 16, 0xff, 16);
	memset(buf + 56, 0xff, AT_SLOTS - 56);
	memset(buf + AT_MASTERS, 0xff, VAULT_HEADER_BYTES - AT_MASTERS);
	ck_assert_int_eq(peek(buf, sizeof buf), 0);
	memset(buf + AT_SLOTS, 0, 3072);
	memset(buf + AT_SLOTS + 31 * 3072, 0, 3072);
	ck_assert_int_eq(peek(buf, sizeof buf), WERR_MALFORMED); // nobody can open it
}
END_TEST

START_TEST(master_records_have_no_hole)
{
	memcpy(buf + AT_MASTERS + 192, buf + AT_MASTERS + 96, 96);
	memset(buf + AT_MASTERS + 96, 0, 96);
	remac();
	ck_assert_int_eq(decode(), WERR_MALFORMED);
	memset(buf + AT_MASTERS, 0, AT_TAIL - AT_MASTERS);
	remac();
	ck_assert_int_eq(decode(), WERR_MALFORMED);
}
END_TEST

// A slot moved to another place, with a MAC that is right: its own seals refuse.
START_TEST(slots_keep_their_places)
{
	uint8_t kek[ARGON_KEK_BYTES];
	uint8_t key[ROOT_KEY_BYTES];
	uint8_t slot[KEYSLOT_BYTES];

	memcpy(slot, vault_header_slot(buf, 0), sizeof slot);
	memcpy(buf + AT_SLOTS, vault_header_slot(buf, 31), sizeof slot);
	memcpy(buf + AT_SLOTS + 31 * 3072, slot, sizeof slot);
	ck_assert_int_eq(decode(), WERR_AUTH);
	remac();
	ck_assert_int_eq(decode(), 0);
	for (unsigned i = 0; i < KEYSLOT_MAX; i += 31) {
		ck_assert_int_eq(keyslot_kek(got->slots[i], &pass, kek), 0);
		ck_assert_int_eq(keyslot_open(got->slots[i], i, got->vault_id, kek, key),
				 WERR_AUTH);
	}
}
END_TEST

START_TEST(slot_removed_or_pasted_breaks_the_mac)
{
	struct keyslot_info info = fixture_info(1, "first");
	struct vault_header *other = malloc(sizeof *other);
	uint8_t *other_root;
	uint8_t kek[ARGON_KEK_BYTES];
	uint8_t key[ROOT_KEY_BYTES];

	ck_assert_ptr_nonnull(other);
	memset(buf + AT_SLOTS + 31 * 3072, 0, 3072);
	ck_assert_int_eq(peek(buf, sizeof buf), 0);
	ck_assert_int_eq(decode(), WERR_AUTH);
	// The slot of another vault with the same passphrase, at the same index.
	ck_assert_int_eq(keyring_create(other, &info, &pass, &other_root), 0);
	memcpy(buf + AT_SLOTS, other->slots[0], KEYSLOT_BYTES);
	ck_assert_int_eq(decode(), WERR_AUTH);
	ck_assert_int_eq(keyslot_kek(buf + AT_SLOTS, &pass, kek), 0);
	ck_assert_int_eq(keyslot_open(buf + AT_SLOTS, 0, header->vault_id, kek, key), WERR_AUTH);
	secret_free(other_root);
	free(other);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vault_header");
	TCase *t = tcase_create("vault_header");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 100);
	tcase_add_test(t, decodes_what_was_encoded);
	tcase_add_test(t, fields_stand_where_the_format_says);
	tcase_add_test(t, peek_tells_the_slots);
	tcase_add_test(t, lengths);
	tcase_add_test(t, random_bytes_are_no_vault);
	tcase_add_test(t, no_byte_can_be_changed);
	tcase_add_test(t, other_root_key_is_refused);
	tcase_add_test(t, reserved_bytes_are_zero);
	tcase_add_test(t, rotation_is_aimed_at_an_object);
	tcase_add_test(t, policy_is_kept);
	tcase_add_test(t, decoding_is_canonical);
	tcase_add_loop_test(t, numbers_are_bounded, 0, sizeof numbers / sizeof numbers[0]);
	tcase_add_loop_test(t, states_are_consistent, 0, sizeof states / sizeof states[0]);
	tcase_add_test(t, encode_refuses_what_decode_does);
	tcase_add_test(t, peek_refuses_slots_before_any_secret);
	tcase_add_test(t, master_records_have_no_hole);
	tcase_add_test(t, slots_keep_their_places);
	tcase_add_test(t, slot_removed_or_pasted_breaks_the_mac);
	suite_add_tcase(s, t);
	return unit_main(s);
}
