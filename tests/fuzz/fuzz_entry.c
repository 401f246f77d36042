// SPDX-License-Identifier: Apache-2.0
// A directory entry: what decodes is what entry_encode makes of it.
#include "crypto/table_page.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t again[ENTRY_BYTES_MAX];
	struct entry e;
	size_t len = 0;

	if (entry_decode(data, size, &e) < 0)
		return 0;
	FUZZ_NEED(size <= ENTRY_BYTES_MAX);
	FUZZ_NEED(e.name >= data && e.name + e.name_len + e.target_len == data + size);
	FUZZ_NEED(entry_encode(&e, again, sizeof(again), &len) == 0);
	FUZZ_NEED(len == size && memcmp(again, data, size) == 0);
	return 0;
}
