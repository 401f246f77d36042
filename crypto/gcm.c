// SPDX-License-Identifier: Apache-2.0
#include "crypto/gcm.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "crypto/gcm_backend.h"
#include "crypto/secret.h"

#define KEY_ALIGN 64

// The best first.
static const struct gcm_backend *const backends[] = {
#ifdef WARDFS_IPSEC_MB
	&gcm_ipsec,
#endif
	&gcm_evp,
};
#define BACKENDS (sizeof(backends) / sizeof(backends[0]))

static pthread_mutex_t init_lock = PTHREAD_MUTEX_INITIALIZER;
// Guarded by init_lock: 1 = not yet tried, else what init and the known answers of a back end gave.
static int backend_result[BACKENDS] = {[0 ... BACKENDS - 1] = 1};
static _Atomic(const struct gcm_backend *) current;
static atomic_uint_fast64_t last_id;

static struct gcm_key *key_new(const struct gcm_backend *b, const uint8_t *raw)
{
	struct gcm_key *key = secret_alloc(sizeof(*key) + b->expanded_bytes + KEY_ALIGN);

	if (!key)
		return NULL;
	uintptr_t at = (uintptr_t)(key + 1);

	key->backend = b;
	key->id = atomic_fetch_add(&last_id, 1) + 1;
	key->expanded = (uint8_t *)(key + 1) + (KEY_ALIGN - at % KEY_ALIGN) % KEY_ALIGN;
	b->expand(key, raw);
	return key;
}

void gcm_key_free(struct gcm_key *key)
{
	if (!key)
		return;
	key->backend->forget(key);
	secret_free(key);
}

static void key_cleanup(struct gcm_key **key)
{
	gcm_key_free(*key);
}
#define KEY_AUTO __attribute__((cleanup(key_cleanup)))

// One length for both back ends; EVP counts in int.
static int check_lengths(size_t aad_len, size_t len)
{
	return aad_len > INT_MAX || len > INT_MAX ? WERR_LIMIT : 0;
}

int gcm_seal(const struct gcm_key *key, const uint8_t nonce[static GCM_NONCE_BYTES],
	     const void *aad, size_t aad_len, const void *in, size_t len, void *out,
	     uint8_t tag[static GCM_TAG_BYTES])
{
	const struct gcm_text text = {nonce, aad, aad_len, in, len, out};
	int err = key ? check_lengths(aad_len, len) : WERR_NOMEM;

	if (err)
		return err;
	err = key->backend->seal(key, &text, tag);
	if (err) {
		secret_wipe(out, len);
		secret_wipe(tag, GCM_TAG_BYTES);
	}
	return err;
}

int gcm_open(const struct gcm_key *key, const uint8_t nonce[static GCM_NONCE_BYTES],
	     const void *aad, size_t aad_len, const void *in, size_t len, void *out,
	     const uint8_t tag[static GCM_TAG_BYTES])
{
	const struct gcm_text text = {nonce, aad, aad_len, in, len, out};
	int err = key ? check_lengths(aad_len, len) : WERR_NOMEM;

	if (err)
		return err;
	err = key->backend->open(key, &text, tag);
	if (err)
		secret_wipe(out, len);
	return err;
}

// Test cases 13 to 16 of McGrew and Viega, "The Galois/Counter Mode of Operation" (the ones for
// 256-bit keys and 96-bit nonces), on which NIST SP 800-38D rests.
struct known {
	uint8_t key[GCM_KEY_BYTES];
	uint8_t nonce[GCM_NONCE_BYTES];
	uint8_t aad[20];
	size_t aad_len;
	uint8_t plain[64];
	uint8_t cipher[64];
	size_t len;
	uint8_t tag[GCM_TAG_BYTES];
};

#define KNOWN_KEY                                                          \
	"\xfe\xff\xe9\x92\x86\x65\x73\x1c\x6d\x6a\x8f\x94\x67\x30\x83\x08" \
	"\xfe\xff\xe9\x92\x86\x65\x73\x1c\x6d\x6a\x8f\x94\x67\x30\x83\x08"
#define KNOWN_NONCE "\xca\xfe\xba\xbe\xfa\xce\xdb\xad\xde\xca\xf8\x88"
#define KNOWN_PLAIN                                                        \
	"\xd9\x31\x32\x25\xf8\x84\x06\xe5\xa5\x59\x09\xc5\xaf\xf5\x26\x9a" \
	"\x86\xa7\xa9\x53\x15\x34\xf7\xda\x2e\x4c\x30\x3d\x8a\x31\x8a\x72" \
	"\x1c\x3c\x0c\x95\x95\x68\x09\x53\x2f\xcf\x0e\x24\x49\xa6\xb5\x25" \
	"\xb1\x6a\xed\xf5\xaa\x0d\xe6\x57\xba\x63\x7b\x39\x1a\xaf\xd2\x55"
#define KNOWN_CIPHER                                                       \
	"\x52\x2d\xc1\xf0\x99\x56\x7d\x07\xf4\x7f\x37\xa3\x2a\x84\x42\x7d" \
	"\x64\x3a\x8c\xdc\xbf\xe5\xc0\xc9\x75\x98\xa2\xbd\x25\x55\xd1\xaa" \
	"\x8c\xb0\x8e\x48\x59\x0d\xbb\x3d\xa7\xb0\x8b\x10\x56\x82\x88\x38" \
	"\xc5\xf6\x1e\x63\x93\xba\x7a\x0a\xbc\xc9\xf6\x62\x89\x80\x15\xad"

static const struct known knowns[] = {
	{.tag = "\x53\x0f\x8a\xfb\xc7\x45\x36\xb9\xa9\x63\xb4\xf1\xc4\xcb\x73\x8b"},
	{.cipher = "\xce\xa7\x40\x3d\x4d\x60\x6b\x6e\x07\x4e\xc5\xd3\xba\xf3\x9d\x18",
	 .len = 16,
	 .tag = "\xd0\xd1\xc8\xa7\x99\x99\x6b\xf0\x26\x5b\x98\xb5\xd4\x8a\xb9\x19"},
	{.key = KNOWN_KEY,
	 .nonce = KNOWN_NONCE,
	 .plain = KNOWN_PLAIN,
	 .cipher = KNOWN_CIPHER,
	 .len = 64,
	 .tag = "\xb0\x94\xda\xc5\xd9\x34\x71\xbd\xec\x1a\x50\x22\x70\xe3\xcc\x6c"},
	{.key = KNOWN_KEY,
	 .nonce = KNOWN_NONCE,
	 .aad = "\xfe\xed\xfa\xce\xde\xad\xbe\xef\xfe\xed\xfa\xce\xde\xad\xbe\xef\xab\xad\xda\xd2",
	 .aad_len = 20,
	 .plain = KNOWN_PLAIN,
	 .cipher = KNOWN_CIPHER,
	 .len = 60,
	 .tag = "\x76\xfc\x6e\xce\x0f\x4e\x17\x68\xcd\xdf\x88\x53\xbb\x2d\x55\x1b"},
};

static int known_passes(const struct gcm_backend *b, const struct known *k)
{
	static const uint8_t zeros[sizeof(k->plain)];
	KEY_AUTO struct gcm_key *key = key_new(b, k->key);
	uint8_t out[sizeof(k->plain)];
	uint8_t tag[GCM_TAG_BYTES];

	if (!key)
		return 0;
	if (gcm_seal(key, k->nonce, k->aad, k->aad_len, k->plain, k->len, out, tag) ||
	    memcmp(out, k->cipher, k->len) != 0 || memcmp(tag, k->tag, sizeof(tag)) != 0)
		return 0;
	if (gcm_open(key, k->nonce, k->aad, k->aad_len, out, k->len, out, tag) ||
	    memcmp(out, k->plain, k->len) != 0)
		return 0;
	tag[GCM_TAG_BYTES - 1] ^= 0x80;
	return gcm_open(key, k->nonce, k->aad, k->aad_len, k->cipher, k->len, out, tag) ==
		       WERR_AUTH &&
	       memcmp(out, zeros, k->len) == 0;
}

// Pseudo-random bytes of our own (xorshift64): the self-test must not draw from rng_bytes, whose
// replacement under test has to give the same bytes whether or not a self-test came first.
static void fill(uint64_t *state, uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		*state ^= *state << 13;
		*state ^= *state >> 7;
		*state ^= *state << 17;
		p[i] = (uint8_t)(*state >> 32);
	}
}

struct cross {
	uint8_t plain[4096];
	uint8_t sealed[2][4096];
	uint8_t opened[4096];
	uint8_t aad[80];
	uint8_t nonce[GCM_NONCE_BYTES];
	uint8_t tag[2][GCM_TAG_BYTES];
};

static int cross_passes(struct cross *x, struct gcm_key *const keys[2], size_t aad_len, size_t len)
{
	for (int i = 0; i < 2; i++)
		if (gcm_seal(keys[i], x->nonce, x->aad, aad_len, x->plain, len, x->sealed[i],
			     x->tag[i]))
			return 0;
	if (memcmp(x->sealed[0], x->sealed[1], len) != 0 ||
	    memcmp(x->tag[0], x->tag[1], GCM_TAG_BYTES) != 0)
		return 0;
	for (int i = 0; i < 2; i++)
		if (gcm_open(keys[i], x->nonce, x->aad, aad_len, x->sealed[!i], len, x->opened,
			     x->tag[!i]) ||
		    memcmp(x->opened, x->plain, len) != 0)
			return 0;
	return 1;
}

// One back end against the other: every length about a block and about the strides of the vector
// code, up to a page.
static int cross_check(const struct gcm_backend *a, const struct gcm_backend *b)
{
	uint64_t state = 0x77617264667331ull;
	uint8_t raw[GCM_KEY_BYTES];
	SECRET_AUTO struct cross *x = secret_alloc(sizeof(*x));

	if (!x)
		return WERR_NOMEM;
	fill(&state, raw, sizeof(raw));
	KEY_AUTO struct gcm_key *key_a = key_new(a, raw);
	KEY_AUTO struct gcm_key *key_b = key_new(b, raw);

	if (!key_a || !key_b)
		return WERR_NOMEM;
	struct gcm_key *const keys[2] = {key_a, key_b};

	fill(&state, x->plain, sizeof(x->plain));
	for (size_t len = 0; len <= sizeof(x->plain); len += len < 33 ? 1 : len < 512 ? 31 : 239) {
		fill(&state, x->nonce, sizeof(x->nonce));
		fill(&state, x->aad, sizeof(x->aad));
		if (!cross_passes(x, keys, len % (sizeof(x->aad) + 1), len))
			return WERR_INTERNAL;
	}
	return cross_passes(x, keys, 16, sizeof(x->plain)) ? 0 : WERR_INTERNAL;
}

// With init_lock held.
static int backend_start(size_t i)
{
	const struct gcm_backend *b = backends[i];

	if (backend_result[i] <= 0)
		return backend_result[i];
	int err = b->init();

	for (size_t k = 0; !err && k < sizeof(knowns) / sizeof(knowns[0]); k++)
		if (!known_passes(b, &knowns[k]))
			err = WERR_INTERNAL;
	backend_result[i] = err;
	return err;
}

// With init_lock held. Compares once every two back ends that this machine has.
static int backends_agree(void)
{
	static int result = 1; // 1: not yet compared

	if (result > 0) {
		result = 0;
		for (size_t i = 0; i + 1 < BACKENDS && !result; i++)
			if (!backend_start(i) && !backend_start(i + 1))
				result = cross_check(backends[i], backends[i + 1]);
	}
	return result;
}

static int init_locked(const char *name)
{
	for (size_t i = 0; i < BACKENDS; i++) {
		if (name && strcmp(name, backends[i]->name) != 0)
			continue;
		int err = backend_start(i);

		// A back end that the machine lacks, or that is no better, is passed over; one that
		// answers wrongly is never replaced in silence.
		if (!name && (err == WERR_UNSUPPORTED || (!err && !backends[i]->preferred())))
			continue;
		if (!err)
			err = backends_agree();
		if (!err)
			atomic_store(&current, backends[i]);
		return err;
	}
	return WERR_UNSUPPORTED;
}

int gcm_init(const char *backend)
{
	pthread_mutex_lock(&init_lock);
	int err = init_locked(backend);

	pthread_mutex_unlock(&init_lock);
	return err;
}

// The back end in use; the best one when nobody has chosen.
static const struct gcm_backend *chosen(void)
{
	const struct gcm_backend *b = atomic_load(&current);

	if (!b && gcm_init(NULL) == 0)
		b = atomic_load(&current);
	return b;
}

const char *gcm_backend(void)
{
	const struct gcm_backend *b = chosen();

	return b ? b->describe() : "none";
}

struct gcm_key *gcm_key_new(const uint8_t key[static GCM_KEY_BYTES])
{
	const struct gcm_backend *b = chosen();

	return b ? key_new(b, key) : NULL;
}
