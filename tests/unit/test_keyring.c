// SPDX-License-Identifier: Apache-2.0
#include "crypto/keyring.h"

#include <stdlib.h>
#include <string.h>

#include "key_fixture.h"
#include "unit_main.h"

static struct vault_header *header;
static uint8_t *root;
static struct keyring *ring;
static struct secret pass;

static void set_up(void)
{
	struct keyslot_info info = fixture_info(99, "first");

	header = malloc(sizeof *header);
	ck_assert_ptr_nonnull(header);
	memset(header, 0xa5, sizeof *header);
	pass = fixture_pass("open sesame");
	ck_assert_int_eq(keyring_create(header, &info, &pass, &root), 0);
	ck_assert_int_eq(keyring_new(header, root, &ring), 0);
}

static void tear_down(void)
{
	keyring_free(ring);
	secret_free(root);
	secret_clear(&pass);
	free(header);
}

static void check_opens(unsigned index, const uint8_t *want_root)
{
	uint8_t kek[ARGON_KEK_BYTES];
	uint8_t got[ROOT_KEY_BYTES];

	ck_assert_int_eq(keyslot_kek(header->slots[index], &pass, kek), 0);
	ck_assert_int_eq(keyslot_open(header->slots[index], index, header->vault_id, kek, got), 0);
	ck_assert(memcmp(got, want_root, sizeof got) == 0);
}

START_TEST(create_fills_a_header)
{
	struct keyslot_info info;

	ck_assert_uint_eq(header->mount, 0);
	ck_assert_uint_eq(header->state, VAULT_CLEAN);
	ck_assert_uint_eq(header->replaying, 0);
	ck_assert_uint_eq(header->write_counter, 0);
	ck_assert_uint_eq(header->journal_sequence, 0);
	ck_assert_uint_ne(header->root_incarnation, 0);
	ck_assert_uint_eq(header->root_generation, 0);
	ck_assert_uint_eq(header->root_epoch, 1);
	ck_assert_uint_eq(header->epoch, 1);
	ck_assert_uint_eq(header->masters_len, 1);
	ck_assert_uint_eq(header->masters[0].class_, VAULT_CLASS);
	ck_assert_uint_eq(header->masters[0].epoch, 1);
	ck_assert_int_eq(keyslot_info(header->slots[0], &info), 0);
	ck_assert_uint_eq(info.serial, 1);
	ck_assert_str_eq(info.label, "first");
	for (unsigned i = 1; i < KEYSLOT_MAX; i++) {
		ck_assert_int_eq(keyslot_info(header->slots[i], &info), 0);
		ck_assert_uint_eq(info.kind, KEYSLOT_EMPTY);
	}
	check_opens(0, root);
}
END_TEST

START_TEST(create_refuses)
{
	struct keyslot_info info = fixture_info(1, "x");
	struct secret empty = fixture_pass("");
	uint8_t *none = NULL;

	ck_assert_int_eq(keyring_create(header, &info, &empty, &none), WERR_INVALID);
	info.label[0] = '\n';
	ck_assert_int_eq(keyring_create(header, &info, &pass, &none), WERR_INVALID);
	info.label[0] = 'x';
	info.kdf.memory_kib--;
	ck_assert_int_eq(keyring_create(header, &info, &pass, &none), WERR_LIMIT);
	ck_assert_ptr_null(none);
	secret_clear(&empty);
}
END_TEST

// Every key of a ring, the root key and those of a second vault with the same passphrase: random,
// and none twice.
static size_t collect(const struct keyring *r, const uint8_t *r_root, const uint8_t **keys)
{
	size_t n = 0;

	keys[n++] = r_root;
	keys[n++] = keyring_header_mac(r);
	keys[n++] = keyring_journal(r);
	keys[n++] = keyring_anchor(r);
	const uint8_t *master = keyring_master(r, VAULT_CLASS, 1);
	ck_assert_ptr_nonnull(master);
	ck_assert(fixture_is_random(master, MASTER_KEY_BYTES));
	keys[n++] = master;
	keys[n++] = master + 32;
	return n;
}

START_TEST(keys_are_distinct_and_random)
{
	struct keyslot_info info = fixture_info(1, "first");
	struct vault_header *second = malloc(sizeof *second);
	struct keyring *second_ring;
	uint8_t *second_root;
	const uint8_t *keys[32];

	ck_assert_ptr_nonnull(second);
	ck_assert_int_eq(keyring_create(second, &info, &pass, &second_root), 0);
	ck_assert_int_eq(keyring_new(second, second_root, &second_ring), 0);
	ck_assert(memcmp(second->vault_id, header->vault_id, VAULT_ID_BYTES) != 0);
	ck_assert(memcmp(keyring_vault_id(ring), header->vault_id, VAULT_ID_BYTES) == 0);
	ck_assert_uint_ne(second->root_incarnation, header->root_incarnation);
	size_t n = collect(ring, root, keys);
	n += collect(second_ring, second_root, keys + n);
	for (size_t a = 0; a < n; a++) {
		ck_assert_msg(fixture_is_random(keys[a], 32), "key %zu", a);
		for (size_t i = 0; i + 32 <= MASTER_WRAPPED_BYTES; i++)
			ck_assert(memcmp(header->masters[0].wrapped + i, keys[a], 32) != 0);
		for (size_t b = 0; b < a; b++)
			ck_assert_msg(memcmp(keys[a], keys[b], 32) != 0, "keys %zu, %zu", a, b);
	}
	ck_assert(fixture_is_random(header->masters[0].wrapped, MASTER_WRAPPED_BYTES));
	keyring_free(second_ring);
	secret_free(second_root);
	free(second);
}
END_TEST

START_TEST(same_root_same_keys)
{
	struct keyring *again;

	ck_assert_int_eq(keyring_new(header, root, &again), 0);
	ck_assert(memcmp(keyring_header_mac(again), keyring_header_mac(ring), 32) == 0);
	ck_assert(memcmp(keyring_journal(again), keyring_journal(ring), 32) == 0);
	ck_assert(memcmp(keyring_anchor(again), keyring_anchor(ring), 32) == 0);
	ck_assert(memcmp(keyring_master(again, 1, 1), keyring_master(ring, 1, 1),
			 MASTER_KEY_BYTES) == 0);
	keyring_free(again);
}
END_TEST

START_TEST(unknown_masters_are_null)
{
	ck_assert_ptr_null(keyring_master(ring, 1, 0));
	ck_assert_ptr_null(keyring_master(ring, 1, 2));
	ck_assert_ptr_null(keyring_master(ring, 0, 0));
	ck_assert_ptr_null(keyring_master(ring, 0, 1));
	ck_assert_ptr_null(keyring_master(ring, 2, 1));
}
END_TEST

START_TEST(masters_are_bound)
{
	struct keyring *none = NULL;

	root[0] ^= 1;
	ck_assert_int_eq(keyring_new(header, root, &none), WERR_AUTH);
	root[0] ^= 1;
	header->vault_id[0] ^= 1;
	ck_assert_int_eq(keyring_new(header, root, &none), WERR_AUTH);
	header->vault_id[0] ^= 1;
	header->masters[0].epoch = 2;
	ck_assert_int_eq(keyring_new(header, root, &none), WERR_AUTH);
	header->masters[0].epoch = 1;
	header->masters[0].class_ = 2;
	ck_assert_int_eq(keyring_new(header, root, &none), WERR_AUTH);
	header->masters[0].class_ = VAULT_CLASS;
	for (size_t i = 0; i < MASTER_WRAPPED_BYTES; i++) {
		header->masters[0].wrapped[i] ^= 0x80;
		ck_assert_int_eq(keyring_new(header, root, &none), WERR_AUTH);
		header->masters[0].wrapped[i] ^= 0x80;
	}
	header->masters_len = VAULT_MASTERS_MAX + 1;
	ck_assert_int_eq(keyring_new(header, root, &none), WERR_MALFORMED);
	ck_assert_ptr_null(none);
}
END_TEST

static void add_slot(unsigned index, uint32_t serial)
{
	struct keyslot_info info = fixture_info(serial, "more");

	ck_assert_int_eq(
		keyslot_make(header->slots[index], index, header->vault_id, &info, &pass, root), 0);
}

START_TEST(renew_changes_all_but_the_masters)
{
	struct keyring *next;
	uint8_t *next_root = NULL;
	struct master_record before = header->masters[0];
	uint8_t kek[ARGON_KEK_BYTES];
	uint8_t got[ROOT_KEY_BYTES];

	add_slot(5, 2);
	add_slot(KEYSLOT_MAX - 1, 3);
	ck_assert_int_eq(keyring_renew(header, root, &next_root), 0);
	ck_assert(memcmp(root, next_root, ROOT_KEY_BYTES) != 0);
	ck_assert_int_eq(keyring_new(header, next_root, &next), 0);
	ck_assert_uint_eq(header->epoch, 2);
	ck_assert_uint_eq(header->root_epoch, 1);
	ck_assert_uint_eq(header->masters_len, 2);
	ck_assert_uint_eq(header->masters[1].class_, VAULT_CLASS);
	ck_assert_uint_eq(header->masters[1].epoch, 2);
	ck_assert(memcmp(before.wrapped, header->masters[0].wrapped, sizeof before.wrapped) != 0);
	const uint8_t *old_master = keyring_master(ring, 1, 1);
	ck_assert(memcmp(keyring_master(next, 1, 1), old_master, MASTER_KEY_BYTES) == 0);
	ck_assert(fixture_is_random(keyring_master(next, 1, 2), MASTER_KEY_BYTES));
	ck_assert(memcmp(keyring_master(next, 1, 2), old_master, MASTER_KEY_BYTES) != 0);
	ck_assert(memcmp(keyring_header_mac(next), keyring_header_mac(ring), 32) != 0);
	ck_assert(memcmp(keyring_journal(next), keyring_journal(ring), 32) != 0);
	ck_assert(memcmp(keyring_anchor(next), keyring_anchor(ring), 32) != 0);
	check_opens(0, next_root);
	check_opens(5, next_root);
	check_opens(KEYSLOT_MAX - 1, next_root);
	// A resealed slot moved to another place opens nothing.
	ck_assert_int_eq(keyslot_kek(header->slots[5], &pass, kek), 0);
	ck_assert_int_eq(keyslot_open(header->slots[5], 6, header->vault_id, kek, got), WERR_AUTH);
	// The old root key opens nothing of the new header, nor does a record under another epoch.
	struct keyring *none = NULL;
	ck_assert_int_eq(keyring_new(header, root, &none), WERR_AUTH);
	struct master_record swap = header->masters[0];
	memcpy(header->masters[0].wrapped, header->masters[1].wrapped, sizeof swap.wrapped);
	memcpy(header->masters[1].wrapped, swap.wrapped, sizeof swap.wrapped);
	ck_assert_int_eq(keyring_new(header, next_root, &none), WERR_AUTH);
	keyring_free(next);
	secret_free(next_root);
}
END_TEST

static void check_untouched(int want)
{
	struct vault_header *before = malloc(sizeof *before);
	uint8_t *none = NULL;

	ck_assert_ptr_nonnull(before);
	memcpy(before, header, sizeof *before);
	ck_assert_int_eq(keyring_renew(header, root, &none), want);
	ck_assert_ptr_null(none);
	ck_assert(memcmp(before, header, sizeof *before) == 0);
	free(before);
}

START_TEST(an_epoch_is_added_and_older_ones_retired)
{
	struct keyring *fresh;
	uint8_t first[MASTER_KEY_BYTES];

	memcpy(first, keyring_master(ring, 1, 1), sizeof first);
	root[0] ^= 1;
	ck_assert_int_eq(keyring_add_epoch(header, root), WERR_AUTH);
	ck_assert_uint_eq(header->epoch, 1);
	root[0] ^= 1;
	ck_assert_int_eq(keyring_add_epoch(header, root), 0);
	ck_assert_uint_eq(header->epoch, 2);
	ck_assert_uint_eq(header->masters_len, 2);
	ck_assert_ptr_null(keyring_master(ring, 1, 2));
	ck_assert_int_eq(keyring_learn(ring, header, root), 0);
	ck_assert_ptr_nonnull(keyring_master(ring, 1, 2));
	ck_assert(memcmp(keyring_master(ring, 1, 2), first, sizeof first) != 0);
	ck_assert_int_eq(keyring_new(header, root, &fresh), 0);
	ck_assert(memcmp(keyring_master(ring, 1, 2), keyring_master(fresh, 1, 2),
			 MASTER_KEY_BYTES) == 0);
	keyring_free(fresh);
	// The header forgets; the ring of a vault in use does not.
	keyring_retire(header);
	ck_assert_uint_eq(header->masters_len, 1);
	ck_assert_uint_eq(header->masters[0].epoch, 2);
	ck_assert_uint_eq(header->epoch, 2);
	ck_assert_int_eq(keyring_new(header, root, &fresh), 0);
	ck_assert_ptr_null(keyring_master(fresh, 1, 1));
	ck_assert(memcmp(keyring_master(fresh, 1, 2), keyring_master(ring, 1, 2),
			 MASTER_KEY_BYTES) == 0);
	keyring_free(fresh);
	ck_assert(memcmp(keyring_master(ring, 1, 1), first, sizeof first) == 0);
}
END_TEST

START_TEST(a_ring_learns_up_to_a_bound)
{
	int err = 0;
	unsigned added = 0;

	while (err == 0 && added < 1000) {
		ck_assert_int_eq(keyring_add_epoch(header, root), 0);
		err = keyring_learn(ring, header, root);
		keyring_retire(header);
		added++;
	}
	ck_assert_int_eq(err, WERR_LIMIT);
	ck_assert_uint_ge(added, VAULT_MASTERS_MAX);
	ck_assert_ptr_nonnull(keyring_master(ring, 1, 1));
	ck_assert_ptr_nonnull(keyring_master(ring, 1, added));
}
END_TEST

START_TEST(renew_fails_without_a_trace)
{
	root[31] ^= 1;
	check_untouched(WERR_AUTH);
	root[31] ^= 1;
	add_slot(4, 2);
	header->slots[4][352] ^= 1; // its pre-shared secret, found out after the masters were done
	check_untouched(WERR_AUTH);
	header->slots[4][352] ^= 1;
	header->epoch = UINT32_MAX;
	check_untouched(WERR_LIMIT);
}
END_TEST

START_TEST(renew_ends_when_the_records_are_full)
{
	for (unsigned i = 1; i < VAULT_MASTERS_MAX; i++) {
		uint8_t *next_root;
		ck_assert_int_eq(keyring_renew(header, root, &next_root), 0);
		secret_free(root);
		root = next_root;
	}
	ck_assert_uint_eq(header->masters_len, VAULT_MASTERS_MAX);
	ck_assert_uint_eq(header->epoch, VAULT_MASTERS_MAX);
	check_untouched(WERR_LIMIT);
	struct keyring *full;
	ck_assert_int_eq(keyring_new(header, root, &full), 0);
	for (uint32_t a = 1; a <= VAULT_MASTERS_MAX; a++) {
		for (uint32_t b = 1; b < a; b++)
			ck_assert(memcmp(keyring_master(full, 1, a), keyring_master(full, 1, b),
					 MASTER_KEY_BYTES) != 0);
	}
	ck_assert(memcmp(keyring_master(full, 1, 1), keyring_master(ring, 1, 1),
			 MASTER_KEY_BYTES) == 0);
	check_opens(0, root);
	keyring_free(full);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("keyring");
	TCase *t = tcase_create("keyring");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, create_fills_a_header);
	tcase_add_test(t, create_refuses);
	tcase_add_test(t, keys_are_distinct_and_random);
	tcase_add_test(t, same_root_same_keys);
	tcase_add_test(t, unknown_masters_are_null);
	tcase_add_test(t, masters_are_bound);
	tcase_add_test(t, renew_changes_all_but_the_masters);
	tcase_add_test(t, an_epoch_is_added_and_older_ones_retired);
	tcase_add_test(t, a_ring_learns_up_to_a_bound);
	tcase_add_test(t, renew_fails_without_a_trace);
	tcase_add_test(t, renew_ends_when_the_records_are_full);
	suite_add_tcase(s, t);
	return unit_main(s);
}
