// SPDX-License-Identifier: Apache-2.0
// A table page: a page that passes the check keeps passing it while its entries are taken out and
// put back.
#include "crypto/table_page.h"
#include "tests/fuzz/fuzz.h"

struct kept {
	uint8_t bytes[ENTRY_BYTES_MAX];
	size_t len;
};

static void keep_all(const uint8_t *page, struct kept kept[static TABLE_SLOTS])
{
	struct entry e;
	size_t len = 0;

	for (unsigned slot = 0; slot < TABLE_SLOTS; slot++) {
		const uint8_t *at = table_page_slot(page, slot, &kept[slot].len);
		if (at == NULL)
			continue;
		FUZZ_NEED(entry_decode(at, kept[slot].len, &e) == 0);
		FUZZ_NEED(entry_encode(&e, kept[slot].bytes, ENTRY_BYTES_MAX, &len) == 0);
		FUZZ_NEED(len == kept[slot].len && memcmp(kept[slot].bytes, at, len) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct kept kept[TABLE_SLOTS];
	uint8_t page[WARD_PAGE];
	uint8_t before[WARD_PAGE];
	uint8_t empty[WARD_PAGE];

	fuzz_pad(page, sizeof(page), data, size);
	if (table_page_check(page) < 0)
		return 0;
	memcpy(before, page, sizeof(page));
	keep_all(page, kept);
	unsigned used = table_page_used(page);
	size_t room = table_page_free(page);
	for (unsigned slot = 0; slot < TABLE_SLOTS; slot++) {
		FUZZ_NEED(table_page_put(page, slot, kept[slot].bytes, kept[slot].len) == 0);
		FUZZ_NEED(memcmp(page, before, sizeof(page)) == 0);
	}
	for (unsigned slot = 0; slot < TABLE_SLOTS; slot++) {
		FUZZ_NEED(table_page_put(page, slot, NULL, 0) == 0);
		FUZZ_NEED(table_page_check(page) == 0);
	}
	table_page_init(empty);
	FUZZ_NEED(memcmp(page, empty, sizeof(page)) == 0);
	for (unsigned slot = TABLE_SLOTS; slot-- > 0;) {
		size_t len;
		FUZZ_NEED(table_page_put(page, slot, kept[slot].bytes, kept[slot].len) == 0);
		FUZZ_NEED(table_page_check(page) == 0);
		const uint8_t *at = table_page_slot(page, slot, &len);
		FUZZ_NEED(len == kept[slot].len);
		FUZZ_NEED(len == 0 || memcmp(at, kept[slot].bytes, len) == 0);
	}
	FUZZ_NEED(table_page_used(page) == used && table_page_free(page) == room);
	return 0;
}
