// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/keyring.h"
#include "crypto/secret.h"
#include "fusefs/slots.h"
#include "key_fixture.h"
#include "unit_main.h"

static struct vault_header *h, *before;
static uint8_t *root;

static void setup(void)
{
	struct keyslot_info info = fixture_info(1, "first");
	struct secret pass = fixture_pass("first");

	h = malloc(sizeof *h);
	before = malloc(sizeof *before);
	ck_assert(h && before);
	ck_assert_int_eq(keyring_create(h, &info, &pass, &root), 0);
	h->journal_bytes = VAULT_JOURNAL_MIN_BYTES;
	h->write_counter = 1;
	*before = *h;
	secret_clear(&pass);
}

static void teardown(void)
{
	secret_free(root);
	free(h);
	free(before);
}

// Applies a change as a write of the header would: root key and counter go on.
static int apply(struct slot_change c, const char *text, unsigned *ret_index)
{
	struct secret pass = fixture_pass(text);
	uint8_t *next = NULL;

	c.offer = &pass;
	c.kind = KEYSLOT_PASSPHRASE;
	c.kdf = fixture_kdf;
	c.now_s = 1700000000;
	int err = slots_apply(h, root, &c, &next, ret_index);
	secret_clear(&pass);
	if (err)
		return err;
	secret_free(root);
	root = next;
	h->write_counter++;
	return 0;
}

static int slot_opens(const struct vault_header *of, unsigned index, const char *text,
		      uint8_t got[static ROOT_KEY_BYTES])
{
	struct secret pass = fixture_pass(text);
	uint8_t kek[ARGON_KEK_BYTES];
	int err = keyslot_kek(of->slots[index], &pass, kek);

	if (!err)
		err = keyslot_open(of->slots[index], index, of->vault_id, kek, got);
	secret_clear(&pass);
	return err;
}

static void digest(uint8_t out[static SLOTS_DIGEST_BYTES])
{
	ck_assert_int_eq(slots_digest((const uint8_t(*)[KEYSLOT_BYTES])h->slots, out), 0);
}

START_TEST(add_keeps_the_root_key)
{
	uint8_t got[ROOT_KEY_BYTES], was[ROOT_KEY_BYTES], one[32], two[32];
	unsigned index = 99;

	memcpy(was, root, sizeof was);
	digest(one);
	ck_assert_int_eq(apply((struct slot_change){.verb = SLOT_ADD}, "second", &index), 0);
	digest(two);
	ck_assert_uint_eq(index, 1);
	ck_assert_uint_eq(h->masters_len, 1);
	ck_assert_mem_eq(root, was, sizeof was);
	ck_assert_mem_ne(one, two, sizeof one);
	ck_assert_int_eq(slot_opens(h, 1, "second", got), 0);
	ck_assert_mem_eq(got, root, sizeof got);
	ck_assert_uint_eq(slots_used(h), 2);
}
END_TEST

// The removed secret with everything that it could keep opens nothing that comes after.
static void expect_shut_out(const char *text)
{
	static uint8_t file[VAULT_HEADER_BYTES];
	static struct vault_header got_h;
	struct keyring *ring = NULL;
	uint8_t got[ROOT_KEY_BYTES];

	ck_assert_int_eq(slot_opens(before, 0, text, got), 0);
	ck_assert_mem_ne(got, root, sizeof got);
	ck_assert_int_eq(keyring_new(h, got, &ring), WERR_AUTH);
	ck_assert_int_eq(keyring_new(h, root, &ring), 0);
	ck_assert_int_eq(vault_header_encode(h, keyring_header_mac(ring), file), 0);
	ck_assert_int_eq(vault_header_decode(file, sizeof file, got, &got_h), WERR_AUTH);
	ck_assert_int_eq(vault_header_decode(file, sizeof file, root, &got_h), 0);
	ck_assert_uint_eq(h->epoch, before->epoch + 1);
	ck_assert_ptr_nonnull(keyring_master(ring, VAULT_CLASS, h->epoch));
	keyring_free(ring);
}

START_TEST(remove_shuts_out)
{
	uint8_t got[ROOT_KEY_BYTES];

	ck_assert_int_eq(apply((struct slot_change){.verb = SLOT_ADD}, "second", NULL), 0);
	*before = *h;
	ck_assert_int_eq(apply((struct slot_change){.verb = SLOT_REMOVE, .index = 0}, "-", NULL),
			 0);
	expect_shut_out("first");
	ck_assert_int_eq(slot_opens(h, 0, "first", got), WERR_NOTFOUND);
	ck_assert_int_eq(slot_opens(h, 1, "second", got), 0);
	ck_assert_mem_eq(got, root, sizeof got);
	static const uint8_t zero[KEYSLOT_BYTES];
	ck_assert_mem_eq(h->slots[0], zero, sizeof zero);
}
END_TEST

START_TEST(replace_shuts_out)
{
	uint8_t got[ROOT_KEY_BYTES];
	struct keyslot_info info;

	ck_assert_int_eq(apply((struct slot_change){.verb = SLOT_ADD}, "second", NULL), 0);
	*before = *h;
	ck_assert_int_eq(
		apply((struct slot_change){.verb = SLOT_REPLACE, .index = 0}, "third", NULL), 0);
	expect_shut_out("first");
	ck_assert_int_eq(slot_opens(h, 0, "first", got), WERR_SECRET);
	ck_assert_int_eq(slot_opens(h, 0, "third", got), 0);
	ck_assert_int_eq(slot_opens(h, 1, "second", got), 0);
	ck_assert_int_eq(keyslot_info(h->slots[0], &info), 0);
	ck_assert_str_eq(info.label, "first");
	ck_assert_uint_eq(info.serial, before->write_counter + 1);
}
END_TEST

START_TEST(replace_and_remove_in_one)
{
	static const uint8_t zero[KEYSLOT_BYTES];
	uint8_t got[ROOT_KEY_BYTES];

	ck_assert_int_eq(apply((struct slot_change){.verb = SLOT_ADD}, "second", NULL), 0);
	ck_assert_int_eq(apply((struct slot_change){.verb = SLOT_ADD}, "kept", NULL), 0);
	*before = *h;
	ck_assert_int_eq(apply((struct slot_change){.verb = SLOT_REPLACE, .index = 0, .keep = 4},
			       "third", NULL),
			 0);
	expect_shut_out("first");
	ck_assert_int_eq(slot_opens(h, 0, "third", got), 0);
	ck_assert_int_eq(slot_opens(h, 2, "kept", got), 0);
	ck_assert_mem_eq(got, root, sizeof got);
	ck_assert_mem_eq(h->slots[1], zero, sizeof zero);
	ck_assert_uint_eq(slots_used(h), 2);
}
END_TEST

START_TEST(relabel_keeps_the_rest)
{
	uint8_t got[ROOT_KEY_BYTES];
	const struct slot_change c = {.verb = SLOT_RELABEL, .index = 0, .label = "renamed"};
	struct keyslot_info info;

	ck_assert_int_eq(apply(c, "wrong", NULL), WERR_SECRET);
	ck_assert_mem_eq(h, before, sizeof *h);
	ck_assert_int_eq(apply(c, "first", NULL), 0);
	ck_assert_int_eq(keyslot_info(h->slots[0], &info), 0);
	ck_assert_str_eq(info.label, "renamed");
	ck_assert_uint_eq(info.serial, 1);
	ck_assert_uint_eq(h->epoch, 1);
	ck_assert_int_eq(slot_opens(h, 0, "first", got), 0);
}
END_TEST

START_TEST(refusals_change_nothing)
{
	char label[KEYSLOT_LABEL_MAX + 2];
	const struct {
		struct slot_change c;
		const char *text;
		int err;
	} rows[] = {
		{{.verb = SLOT_REMOVE, .index = 0}, "-", WERR_INVALID}, // the last one
		{{.verb = SLOT_REMOVE, .index = 1}, "-", WERR_NOTFOUND},
		{{.verb = SLOT_REPLACE, .index = 31}, "x", WERR_NOTFOUND},
		{{.verb = SLOT_REPLACE, .index = 32}, "x", WERR_NOTFOUND},
		{{.verb = SLOT_RELABEL, .index = 7}, "first", WERR_NOTFOUND},
		{{.verb = SLOT_ADD, .label = "a\nb"}, "x", WERR_INVALID},
		{{.verb = SLOT_ADD, .label = label}, "x", WERR_INVALID},
		{{.verb = SLOT_ADD}, "", WERR_INVALID},
	};

	memset(label, 'x', sizeof label - 1);
	label[sizeof label - 1] = 0;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		ck_assert_msg(apply(rows[i].c, rows[i].text, NULL) == rows[i].err, "row %zu", i);
		ck_assert_mem_eq(h, before, sizeof *h);
	}
}
END_TEST

START_TEST(all_slots)
{
	uint8_t got[ROOT_KEY_BYTES];
	char text[16];

	for (unsigned i = 1; i < KEYSLOT_MAX; i++) {
		snprintf(text, sizeof text, "secret %u", i);
		ck_assert_int_eq(apply((struct slot_change){.verb = SLOT_ADD}, text, NULL), 0);
	}
	ck_assert_int_eq(apply((struct slot_change){.verb = SLOT_ADD}, "x", NULL), WERR_LIMIT);
	ck_assert_int_eq(apply((struct slot_change){.verb = SLOT_REMOVE, .index = 5}, "-", NULL),
			 0);
	for (unsigned i = 1; i < KEYSLOT_MAX; i++) {
		snprintf(text, sizeof text, "secret %u", i);
		ck_assert_int_eq(slot_opens(h, i, text, got), i == 5 ? WERR_NOTFOUND : 0);
	}
}
END_TEST

// A new root key seals every slot again, but the secrets are the same.
START_TEST(digest_is_of_the_secrets)
{
	uint8_t one[32], two[32];
	uint8_t *next = NULL;

	digest(one);
	ck_assert_int_eq(keyring_renew(h, root, &next), 0);
	digest(two);
	ck_assert_mem_eq(one, two, sizeof one);
	secret_free(next);
	for (size_t at = 0; at < 272; at++) {
		h->slots[0][at] ^= 1;
		digest(two);
		ck_assert_mem_ne(one, two, sizeof one);
		h->slots[0][at] ^= 1;
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("slots");
	TCase *tc = tcase_create("slots");

	if (secret_init() < 0)
		return EXIT_FAILURE;
	tcase_set_timeout(tc, 100);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, add_keeps_the_root_key);
	tcase_add_test(tc, remove_shuts_out);
	tcase_add_test(tc, replace_shuts_out);
	tcase_add_test(tc, replace_and_remove_in_one);
	tcase_add_test(tc, relabel_keeps_the_rest);
	tcase_add_test(tc, refusals_change_nothing);
	tcase_add_test(tc, all_slots);
	tcase_add_test(tc, digest_is_of_the_secrets);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
