// SPDX-License-Identifier: Apache-2.0
// libipsec-mb through its direct API: the manager is a table of functions and keeps nothing of a
// key.
#include "crypto/gcm_backend.h"

#ifdef WARDFS_IPSEC_MB

#include <stdio.h>

#include <intel-ipsec-mb.h>

#include "crypto/secret.h"

static IMB_MGR *mgr; // written once, kept for the life of the process

static int ipsec_init(void)
{
	const uint64_t needed = IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ;
	IMB_MGR *m = alloc_mb_mgr(0);

	if (!m)
		return WERR_NOMEM;
	init_mb_mgr_auto(m, NULL);
	if (imb_get_errno(m) != 0 || (m->features & needed) != needed) {
		free_mb_mgr(m);
		return WERR_UNSUPPORTED;
	}
	mgr = m;
	return 0;
}

// Without these it is no faster than OpenSSL.
static int ipsec_preferred(void)
{
	const uint64_t wide = IMB_FEATURE_VAES | IMB_FEATURE_VPCLMULQDQ;

	return (mgr->features & wide) == wide;
}

static const char *ipsec_describe(void)
{
	static char text[64]; // written once, under the lock of gcm_init

	if (!text[0])
		(void)snprintf(text, sizeof(text), "ipsec-mb (%s)", imb_get_version_str());
	return text;
}

static void ipsec_expand(struct gcm_key *key, const uint8_t raw[static GCM_KEY_BYTES])
{
	IMB_AES256_GCM_PRE(mgr, raw, key->expanded);
}

static int ipsec_seal(const struct gcm_key *key, const struct gcm_text *t,
		      uint8_t tag[static GCM_TAG_BYTES])
{
	struct gcm_context_data ctx;

	IMB_AES256_GCM_ENC(mgr, key->expanded, &ctx, t->out, t->in, t->len, t->nonce, t->aad,
			   t->aad_len, tag, GCM_TAG_BYTES);
	secret_wipe(&ctx, sizeof(ctx));
	return 0;
}

static int ipsec_open(const struct gcm_key *key, const struct gcm_text *t,
		      const uint8_t tag[static GCM_TAG_BYTES])
{
	struct gcm_context_data ctx;
	uint8_t right[GCM_TAG_BYTES];

	IMB_AES256_GCM_DEC(mgr, key->expanded, &ctx, t->out, t->in, t->len, t->nonce, t->aad,
			   t->aad_len, right, GCM_TAG_BYTES);
	int err = secret_equal(right, tag, GCM_TAG_BYTES) ? 0 : WERR_AUTH;

	// The right tag of a forged text is a forgery.
	secret_wipe(right, sizeof(right));
	secret_wipe(&ctx, sizeof(ctx));
	return err;
}

static void ipsec_forget(const struct gcm_key *key)
{
	(void)key;
}

const struct gcm_backend gcm_ipsec = {
	.name = "ipsec-mb",
	.expanded_bytes = sizeof(struct gcm_key_data),
	.init = ipsec_init,
	.preferred = ipsec_preferred,
	.describe = ipsec_describe,
	.expand = ipsec_expand,
	.seal = ipsec_seal,
	.open = ipsec_open,
	.forget = ipsec_forget,
};

#endif
