// SPDX-License-Identifier: Apache-2.0
// OpenSSL. Setting a key costs about as much as sealing a KiB, so each thread keeps a context for
// either direction, which remembers its last key.
#include "crypto/gcm_backend.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

struct direction {
	EVP_CIPHER_CTX *ctx;
	uint64_t key_id; // whose schedule the context holds; 0: none
};

struct contexts {
	pthread_mutex_t lock;    // guards dir; contended only while a key is being forgotten
	struct direction dir[2]; // 0 open, 1 seal
	LIST_ENTRY(contexts) link;
};

// Lock order: all_lock, then a thread's contexts.lock.
static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER; // guards all
static LIST_HEAD(contexts_list, contexts) all = LIST_HEAD_INITIALIZER(all);

static _Thread_local struct contexts *own;
static pthread_key_t exit_key;
static EVP_CIPHER *cipher;

static void contexts_free(void *arg)
{
	struct contexts *c = arg;

	own = NULL;
	pthread_mutex_lock(&all_lock);
	LIST_REMOVE(c, link);
	pthread_mutex_unlock(&all_lock);
	EVP_CIPHER_CTX_free(c->dir[0].ctx);
	EVP_CIPHER_CTX_free(c->dir[1].ctx);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static struct contexts *contexts_new(void)
{
	struct contexts *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	pthread_mutex_init(&c->lock, NULL);
	c->dir[0].ctx = EVP_CIPHER_CTX_new();
	c->dir[1].ctx = EVP_CIPHER_CTX_new();
	pthread_mutex_lock(&all_lock);
	LIST_INSERT_HEAD(&all, c, link);
	pthread_mutex_unlock(&all_lock);
	if (c->dir[0].ctx && c->dir[1].ctx && pthread_setspecific(exit_key, c) == 0) {
		own = c;
		return c;
	}
	contexts_free(c);
	return NULL;
}

static int evp_init(void)
{
	cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	if (!cipher)
		return WERR_UNSUPPORTED;
	return pthread_key_create(&exit_key, contexts_free) == 0 ? 0 : WERR_NOMEM;
}

static int evp_preferred(void)
{
	return 1;
}

static const char *evp_describe(void)
{
	static char text[64]; // written once, under the lock of gcm_init

	if (!text[0])
		(void)snprintf(text, sizeof(text), "evp (OpenSSL %s)",
			       OpenSSL_version(OPENSSL_VERSION_STRING));
	return text;
}

static void evp_expand(struct gcm_key *key, const uint8_t raw[static GCM_KEY_BYTES])
{
	memcpy(key->expanded, raw, GCM_KEY_BYTES);
}

// Frees the key schedule (OpenSSL wipes it, and so does its allocator).
static void direction_forget(struct direction *d)
{
	EVP_CIPHER_CTX_reset(d->ctx);
	d->key_id = 0;
}

static int direction_start(struct direction *d, const struct gcm_key *key, const uint8_t *nonce,
			   int enc)
{
	if (d->key_id == key->id)
		return EVP_CipherInit_ex2(d->ctx, NULL, NULL, nonce, enc, NULL);
	const EVP_CIPHER *set = EVP_CIPHER_CTX_get0_cipher(d->ctx) ? NULL : cipher;

	d->key_id = key->id;
	return EVP_CipherInit_ex2(d->ctx, set, key->expanded, nonce, enc, NULL);
}

static int direction_text(struct direction *d, const struct gcm_text *t)
{
	int n;

	if (t->aad_len > 0 && EVP_CipherUpdate(d->ctx, NULL, &n, t->aad, (int)t->aad_len) != 1)
		return 0;
	return t->len == 0 || EVP_CipherUpdate(d->ctx, t->out, &n, t->in, (int)t->len) == 1;
}

static int seal_locked(struct direction *d, const struct gcm_key *key, const struct gcm_text *t,
		       uint8_t *tag)
{
	uint8_t none[GCM_TAG_BYTES];
	int n;

	if (direction_start(d, key, t->nonce, 1) == 1 && direction_text(d, t) &&
	    EVP_CipherFinal_ex(d->ctx, none, &n) == 1 &&
	    EVP_CIPHER_CTX_ctrl(d->ctx, EVP_CTRL_AEAD_GET_TAG, GCM_TAG_BYTES, tag) == 1)
		return 0;
	direction_forget(d);
	ERR_clear_error();
	return WERR_INTERNAL;
}

static int open_locked(struct direction *d, const struct gcm_key *key, const struct gcm_text *t,
		       const uint8_t *tag)
{
	uint8_t expected[GCM_TAG_BYTES];
	uint8_t none[GCM_TAG_BYTES];
	int n;

	memcpy(expected, tag, sizeof(expected));
	if (direction_start(d, key, t->nonce, 0) != 1 || !direction_text(d, t) ||
	    EVP_CIPHER_CTX_ctrl(d->ctx, EVP_CTRL_AEAD_SET_TAG, GCM_TAG_BYTES, expected) != 1) {
		direction_forget(d);
		ERR_clear_error();
		return WERR_INTERNAL;
	}
	// OpenSSL compares the tags in constant time.
	return EVP_CipherFinal_ex(d->ctx, none, &n) == 1 ? 0 : WERR_AUTH;
}

static int evp_seal(const struct gcm_key *key, const struct gcm_text *text,
		    uint8_t tag[static GCM_TAG_BYTES])
{
	struct contexts *c = own ? own : contexts_new();

	if (!c)
		return WERR_NOMEM;
	pthread_mutex_lock(&c->lock);
	int err = seal_locked(&c->dir[1], key, text, tag);

	pthread_mutex_unlock(&c->lock);
	return err;
}

static int evp_open(const struct gcm_key *key, const struct gcm_text *text,
		    const uint8_t tag[static GCM_TAG_BYTES])
{
	struct contexts *c = own ? own : contexts_new();

	if (!c)
		return WERR_NOMEM;
	pthread_mutex_lock(&c->lock);
	int err = open_locked(&c->dir[0], key, text, tag);

	pthread_mutex_unlock(&c->lock);
	return err;
}

static void evp_forget(const struct gcm_key *key)
{
	struct contexts *c;

	pthread_mutex_lock(&all_lock);
	LIST_FOREACH(c, &all, link)
	{
		pthread_mutex_lock(&c->lock);
		for (int i = 0; i < 2; i++)
			if (c->dir[i].key_id == key->id)
				direction_forget(&c->dir[i]);
		pthread_mutex_unlock(&c->lock);
	}
	pthread_mutex_unlock(&all_lock);
}

const struct gcm_backend gcm_evp = {
	.name = "evp",
	.expanded_bytes = GCM_KEY_BYTES,
	.init = evp_init,
	.preferred = evp_preferred,
	.describe = evp_describe,
	.expand = evp_expand,
	.seal = evp_seal,
	.open = evp_open,
	.forget = evp_forget,
};
