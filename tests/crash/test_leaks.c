// SPDX-License-Identifier: Apache-2.0
// What only the inside can show: over a long run no nonce is used twice, whatever is sealed with
// it, and no key is wrapped twice for different objects, nor is any key but random bytes. Every
// call of gcm_seal and siv_wrap is seen (-Wl,--wrap). And how much the host is asked at a mount and
// at the first look at a file does not depend on how many objects there are.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/gcm.h"
#include "crypto/siv.h"
#include "tests/crash/simvault.h"

#define ENTRY 32u // longest of what is kept

// Strings of a fixed length, sorted when asked.
struct seen {
	size_t width, len, cap;
	uint8_t *bytes;
};
static struct seen nonces = {.width = GCM_NONCE_BYTES}, keys = {.width = ENTRY};

static void keep(struct seen *s, const uint8_t *bytes)
{
	if (s->len == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 4096;
		s->bytes = realloc(s->bytes, s->cap * s->width);
		EXPECT(s->bytes != NULL, "out of memory");
	}
	memcpy(s->bytes + s->len++ * s->width, bytes, s->width);
}

static size_t compared;
static int compare(const void *a, const void *b)
{
	return memcmp(a, b, compared);
}

// How many of them stand there more than once.
static size_t repeated(struct seen *s)
{
	size_t n = 0;

	compared = s->width;
	qsort(s->bytes, s->len, s->width, compare);
	for (size_t i = 1; i < s->len; i++)
		n += memcmp(s->bytes + (i - 1) * s->width, s->bytes + i * s->width, s->width) == 0;
	return n;
}

int __real_gcm_seal(const struct gcm_key *key, const uint8_t nonce[static GCM_NONCE_BYTES],
		    const void *aad, size_t aad_len, const void *in, size_t len, void *out,
		    uint8_t tag[static GCM_TAG_BYTES]);
int __wrap_gcm_seal(const struct gcm_key *key, const uint8_t nonce[static GCM_NONCE_BYTES],
		    const void *aad, size_t aad_len, const void *in, size_t len, void *out,
		    uint8_t tag[static GCM_TAG_BYTES]);
int __wrap_gcm_seal(const struct gcm_key *key, const uint8_t nonce[static GCM_NONCE_BYTES],
		    const void *aad, size_t aad_len, const void *in, size_t len, void *out,
		    uint8_t tag[static GCM_TAG_BYTES])
{
	keep(&nonces, nonce);
	return __real_gcm_seal(key, nonce, aad, aad_len, in, len, out, tag);
}

int __real_siv_wrap(const uint8_t key[static SIV_KEY_BYTES], const void *aad, size_t aad_len,
		    const void *plain, size_t len, void *out);
int __wrap_siv_wrap(const uint8_t key[static SIV_KEY_BYTES], const void *aad, size_t aad_len,
		    const void *plain, size_t len, void *out);
int __wrap_siv_wrap(const uint8_t key[static SIV_KEY_BYTES], const void *aad, size_t aad_len,
		    const void *plain, size_t len, void *out)
{
	if (len == ENTRY) // keys of objects
		keep(&keys, plain);
	return __real_siv_wrap(key, aad, aad_len, plain, len, out);
}

// ---- nonces and keys ----

static void work(struct simvault *v, unsigned round)
{
	char name[32];

	for (unsigned i = 0; i < 120; i++) {
		(void)snprintf(name, sizeof(name), "f%u", i);
		uint64_t ino = sv_lookup(v, FS_ROOT, name);

		if (!ino)
			ino = sv_make(v, FS_ROOT, name, OBJECT_FILE);
		sv_put(v, ino, (uint64_t)SIM_PAGE * (i % 7) * round, SIM_PAGE * (1 + i % 30),
		       round + 1);
		if (i % 5 == 0)
			sv_sync(v, ino);
		if (i % 40 == 39)
			EXPECT_OK(fs_checkpoint(v->fs));
	}
}

// Of random bytes each value is as frequent as any other: Pearson's chi-square with 255 degrees of
// freedom is 255 on average, and above 480 once in 10^15 runs.
static void check_random(const struct seen *s)
{
	const size_t total = s->len * s->width;
	const double mean = (double)total / 256;
	size_t counts[256] = {0};
	double chi_square = 0;

	for (size_t i = 0; i < total; i++)
		counts[s->bytes[i]]++;
	for (unsigned i = 0; i < 256; i++)
		chi_square += ((double)counts[i] - mean) * ((double)counts[i] - mean) / mean;
	EXPECT(chi_square < 480, "%zu bytes are not random: %f", total, chi_square);
}

static void long_run(void)
{
	struct simvault v;

	simvault_begin(&v, NULL);
	for (unsigned round = 0; round < 12; round++) {
		work(&v, round);
		if (round % 3 == 2) {
			simvault_kill(&v);
			simvault_open(&v);
		} else {
			simvault_remount(&v);
		}
	}
	simvault_end(&v);
	EXPECT(nonces.len > 20000, "only %zu seals", nonces.len);
	EXPECT(repeated(&nonces) == 0, "%zu nonces were used twice", repeated(&nonces));
	EXPECT(keys.len > 240, "only %zu keys", keys.len);
	// A header that is written again has the same keys wrapped as before, never wrapped anew.
	EXPECT(repeated(&keys) == 0, "%zu keys were wrapped twice", repeated(&keys));
	check_random(&keys);
	printf("ok %zu nonces and %zu keys, all different\n", nonces.len, keys.len);
}

// ---- mounting ----

// Host calls of a mount, of a look-up and of a read, in a vault of so many objects.
static uint64_t calls_of_a_mount(unsigned dirs, unsigned files)
{
	struct simvault v;
	char name[32];

	simvault_begin(&v, NULL);
	for (unsigned d = 0; d < dirs; d++) {
		(void)snprintf(name, sizeof(name), "d%u", d);
		uint64_t dir = sv_make(&v, FS_ROOT, name, OBJECT_DIR);

		for (unsigned f = 0; f < files; f++) {
			(void)snprintf(name, sizeof(name), "f%u", f);
			uint64_t ino = sv_make(&v, dir, name, OBJECT_FILE);

			sv_put(&v, ino, 0, 64, 1);
			fs_forget(v.fs, ino, 1);
		}
		fs_forget(v.fs, dir, 1);
		EXPECT_OK(fs_checkpoint(v.fs));
	}
	simvault_close(&v);
	const uint64_t objects = simhost_objects(v.disk);
	EXPECT(objects >= (uint64_t)dirs * files, "%lu objects", (unsigned long)objects);
	const uint64_t before = simhost_calls(v.disk, SIM_ANY);
	simvault_open(&v);
	uint64_t ino = sv_find(&v, sv_find(&v, FS_ROOT, "d0"), "f0");
	EXPECT(sv_version(&v, ino, 0, 64) == 1, "the first file");
	const uint64_t calls = simhost_calls(v.disk, SIM_ANY) - before;

	simvault_end(&v);
	printf("# %lu objects: %lu host calls for a mount and the first read of a file\n",
	       (unsigned long)objects, (unsigned long)calls);
	return calls;
}

int main(void)
{
	long_run();
	const uint64_t few = calls_of_a_mount(10, 100), many = calls_of_a_mount(1000, 100);

	// A larger root directory has some more pages.
	EXPECT(many <= few + few / 2, "%lu host calls instead of %lu", (unsigned long)many,
	       (unsigned long)few);
	printf("ok a mount of a hundred times as many objects asks the host as often\n");
	free(nonces.bytes);
	free(keys.bytes);
	return EXIT_SUCCESS;
}
