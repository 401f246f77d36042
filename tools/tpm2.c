// SPDX-License-Identifier: Apache-2.0
#include "tools/tpm2.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/apart.h"

__attribute__((format(printf, 3, 4))) static int explain(char *why, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, TPM2_WHY_BYTES, fmt, ap);
	va_end(ap);
	return code;
}

#ifdef WARDFS_TPM2
#include <tss2/tss2_esys.h>
#include <tss2/tss2_mu.h>
#include <tss2/tss2_rc.h>
#include <tss2/tss2_tctildr.h>

#include "crypto/rng.h"
#include "crypto/sha256.h"

#define DEFAULT_DEVICE "device:/dev/tpmrm0"

// A connection, the parent key, and a session that encrypts what passes to and fro.
struct tpm {
	TSS2_TCTI_CONTEXT *tcti;
	ESYS_CONTEXT *esys;
	ESYS_TR parent;
	ESYS_TR session;
	char *why;
};

// The storage root key of wardfs-vault(5), "TPM2".
static const TPM2B_PUBLIC parent_template = {
	.publicArea = {
		.type = TPM2_ALG_ECC,
		.nameAlg = TPM2_ALG_SHA256,
		.objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
				    TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH |
				    TPMA_OBJECT_NODA | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT,
		.parameters.eccDetail =
			{
				.symmetric = {.algorithm = TPM2_ALG_AES,
					      .keyBits.aes = 128,
					      .mode.aes = TPM2_ALG_CFB},
				.scheme.scheme = TPM2_ALG_NULL,
				.curveID = TPM2_ECC_NIST_P256,
				.kdf.scheme = TPM2_ALG_NULL,
			},
	}};

// Without noDA: wrong PINs count.
static const TPM2B_PUBLIC object_template = {
	.publicArea = {
		.type = TPM2_ALG_KEYEDHASH,
		.nameAlg = TPM2_ALG_SHA256,
		.objectAttributes =
			TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_USERWITHAUTH,
		.parameters.keyedHashDetail.scheme.scheme = TPM2_ALG_NULL,
	}};

// The TPM's own error number, without the handle, session or parameter that it names.
static TSS2_RC plain_code(TSS2_RC rc)
{
	const TSS2_RC low = rc & 0xfff;

	return low & TPM2_RC_FMT1 ? low & (TPM2_RC_FMT1 | 0x3f) : low;
}

static uint32_t property(struct tpm *t, uint32_t which)
{
	TPMS_CAPABILITY_DATA *data = NULL;
	TPMI_YES_NO more;
	uint32_t value = 0;

	if (Esys_GetCapability(t->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
			       TPM2_CAP_TPM_PROPERTIES, which, 1, &more, &data))
		return 0;
	if (data->data.tpmProperties.count == 1 &&
	    data->data.tpmProperties.tpmProperty[0].property == which)
		value = data->data.tpmProperties.tpmProperty[0].value;
	Esys_Free(data);
	return value;
}

// Each interval without a wrong PIN takes one from the count. How much of the current one has
// passed the TPM does not say.
static int report_lockout(struct tpm *t)
{
	const uint32_t tries = property(t, TPM2_PT_LOCKOUT_COUNTER);
	const uint32_t most = property(t, TPM2_PT_MAX_AUTH_FAIL);
	const uint64_t left = (tries >= most ? tries - most + 1ull : 1ull) *
			      property(t, TPM2_PT_LOCKOUT_INTERVAL);

	if (left == 0)
		return explain(t->why, WERR_LOCKOUT,
			       "the TPM is locked until it is reset: too many wrong PINs; use "
			       "another secret");
	return explain(t->why, WERR_LOCKOUT,
		       "the TPM is locked: too many wrong PINs; it takes the next one in at most "
		       "%llu min %llu s",
		       (unsigned long long)left / 60, (unsigned long long)left % 60);
}

static int report_wrong_pin(struct tpm *t)
{
	const uint32_t tries = property(t, TPM2_PT_LOCKOUT_COUNTER);
	const uint32_t most = property(t, TPM2_PT_MAX_AUTH_FAIL);

	return explain(t->why, WERR_SECRET, "wrong PIN; the TPM takes %u more before it locks",
		       most > tries ? most - tries : 0);
}

static int report_rc(struct tpm *t, const char *what, TSS2_RC rc)
{
	switch (plain_code(rc)) {
	case TPM2_RC_LOCKOUT:
		return report_lockout(t);
	case TPM2_RC_AUTH_FAIL:
		return report_wrong_pin(t);
	case TPM2_RC_INTEGRITY:
		return explain(t->why, WERR_NOHARDWARE,
			       "sealed by another TPM, or by this one before it was cleared; use "
			       "another secret");
	case TPM2_RC_RETRY:
	case TPM2_RC_YIELDED:
		return explain(t->why, WERR_BUSY, "the TPM is busy; try again");
	default:
		return explain(t->why, WERR_IO, "the TPM fails to %s: %s", what,
			       Tss2_RC_Decode(rc));
	}
}

static void close_tpm(struct tpm *t)
{
	if (t->session != ESYS_TR_NONE)
		(void)Esys_FlushContext(t->esys, t->session);
	if (t->parent != ESYS_TR_NONE)
		(void)Esys_FlushContext(t->esys, t->parent);
	Esys_Finalize(&t->esys);
	Tss2_TctiLdr_Finalize(&t->tcti);
}

static int make_parent(struct tpm *t)
{
	const TPM2B_SENSITIVE_CREATE nothing = {.size = 0};
	const TPM2B_DATA outside = {.size = 0};
	const TPML_PCR_SELECTION pcrs = {.count = 0};
	TSS2_RC rc = Esys_CreatePrimary(t->esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, ESYS_TR_NONE,
					ESYS_TR_NONE, &nothing, &parent_template, &outside, &pcrs,
					&t->parent, NULL, NULL, NULL, NULL);

	return rc ? report_rc(t, "make its storage key", rc) : 0;
}

static int start_session(struct tpm *t)
{
	const TPMT_SYM_DEF aes = {
		.algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB};
	const TPMA_SESSION both =
		TPMA_SESSION_DECRYPT | TPMA_SESSION_ENCRYPT | TPMA_SESSION_CONTINUESESSION;
	TSS2_RC rc = Esys_StartAuthSession(t->esys, t->parent, ESYS_TR_NONE, ESYS_TR_NONE,
					   ESYS_TR_NONE, ESYS_TR_NONE, NULL, TPM2_SE_HMAC, &aes,
					   TPM2_ALG_SHA256, &t->session);

	if (!rc)
		rc = Esys_TRSess_SetAttributes(t->esys, t->session, both, 0xff);
	return rc ? report_rc(t, "start a session", rc) : 0;
}

static int open_tpm(const char *device, char *why, struct tpm *t)
{
	const char *name = device ? device : DEFAULT_DEVICE;

	*t = (struct tpm){.parent = ESYS_TR_NONE, .session = ESYS_TR_NONE, .why = why};
	// The library prints what it thinks of each error, in many lines.
	setenv("TSS2_LOG", "all+NONE", 0);
	if (Tss2_TctiLdr_Initialize(name, &t->tcti) || Esys_Initialize(&t->esys, t->tcti, NULL)) {
		if (t->tcti)
			Tss2_TctiLdr_Finalize(&t->tcti);
		return explain(why, WERR_NOHARDWARE,
			       "no TPM at %s, or no permission (group tss); use another secret, or "
			       "name it with --tpm2-device",
			       name);
	}
	int err = make_parent(t);
	if (!err)
		err = start_session(t);
	if (err)
		close_tpm(t);
	return err;
}

// A TPM drops zeros at the end of an authorization.
static int set_auth(const struct secret *pin, TPM2B_AUTH *auth)
{
	int err = sha256_of(pin->bytes, pin->len, auth->buffer);

	auth->size = SHA256_BYTES;
	while (auth->size > 0 && auth->buffer[auth->size - 1] == 0)
		auth->size--;
	return err;
}

static int create(struct tpm *t, const struct secret *pin, struct tpm2_sealed *s)
{
	TPM2B_SENSITIVE_CREATE in = {.size = 0};
	const TPM2B_DATA outside = {.size = 0};
	const TPML_PCR_SELECTION pcrs = {.count = 0};
	TPM2B_PUBLIC *pub = NULL;
	TPM2B_PRIVATE *priv = NULL;

	rng_bytes(s->secret, sizeof(s->secret));
	int err = set_auth(pin, &in.sensitive.userAuth);
	if (err)
		return err;
	in.sensitive.data.size = sizeof(s->secret);
	memcpy(in.sensitive.data.buffer, s->secret, sizeof(s->secret));
	TSS2_RC rc = Esys_Create(t->esys, t->parent, t->session, ESYS_TR_NONE, ESYS_TR_NONE, &in,
				 &object_template, &outside, &pcrs, &priv, &pub, NULL, NULL, NULL);
	if (!rc)
		rc = Tss2_MU_TPM2B_PUBLIC_Marshal(pub, s->pub, sizeof(s->pub), &s->pub_len);
	if (!rc)
		rc = Tss2_MU_TPM2B_PRIVATE_Marshal(priv, s->priv, sizeof(s->priv), &s->priv_len);
	Esys_Free(pub);
	Esys_Free(priv);
	return rc ? report_rc(t, "seal a secret", rc) : 0;
}

static int load_and_unseal(struct tpm *t, const struct secret *pin,
			   const struct factor_tpm2 *object, uint8_t *secret)
{
	TPM2B_SENSITIVE_DATA *data = NULL;
	ESYS_TR loaded = ESYS_TR_NONE;
	TPM2B_PUBLIC pub = {.size = 0};
	TPM2B_PRIVATE priv = {.size = 0};
	TPM2B_AUTH auth = {.size = 0};
	size_t at = 0;

	if (Tss2_MU_TPM2B_PUBLIC_Unmarshal(object->pub, object->pub_len, &at, &pub))
		return explain(t->why, WERR_MALFORMED, "the sealed object is damaged");
	at = 0;
	if (Tss2_MU_TPM2B_PRIVATE_Unmarshal(object->priv, object->priv_len, &at, &priv))
		return explain(t->why, WERR_MALFORMED, "the sealed object is damaged");
	int err = set_auth(pin, &auth);
	if (err)
		return err;
	TSS2_RC rc = Esys_Load(t->esys, t->parent, t->session, ESYS_TR_NONE, ESYS_TR_NONE, &priv,
			       &pub, &loaded);
	if (rc)
		return report_rc(t, "load the sealed object", rc);
	rc = Esys_TR_SetAuth(t->esys, loaded, &auth);
	if (!rc)
		rc = Esys_Unseal(t->esys, loaded, t->session, ESYS_TR_NONE, ESYS_TR_NONE, &data);
	if (rc) {
		err = report_rc(t, "unseal the secret", rc);
	} else if (data->size != FACTOR_SECRET_BYTES) {
		err = explain(t->why, WERR_MALFORMED, "the sealed object is another program's");
	} else {
		memcpy(secret, data->buffer, FACTOR_SECRET_BYTES);
	}
	Esys_Free(data);
	(void)Esys_FlushContext(t->esys, loaded);
	return err;
}

// ---- in the child ----

struct job {
	const char *device;
	const struct secret *pin;         // NULL: only look whether it is there
	const struct factor_tpm2 *object; // NULL: seal
};

struct answer {
	struct tpm2_sealed sealed;
	char why[TPM2_WHY_BYTES];
};

static int work(void *arg, void *out)
{
	const struct job *job = arg;
	struct answer *a = out;
	struct tpm t;

	int err = open_tpm(job->device, a->why, &t);
	if (err)
		return err;
	if (job->object)
		err = load_and_unseal(&t, job->pin, job->object, a->sealed.secret);
	else if (job->pin)
		err = create(&t, job->pin, &a->sealed);
	close_tpm(&t);
	return err;
}

static int run(const struct job *job, struct tpm2_sealed *ret, char *why)
{
	SECRET_AUTO struct answer *a = secret_alloc(sizeof(*a));

	if (!a)
		return explain(why, WERR_NOMEM, "out of memory");
	int err = apart_run(work, (void *)job, a, sizeof(*a));
	if (err) {
		memcpy(why, a->why, sizeof(a->why));
		return why[0] ? err : explain(why, err, "the TPM: %s", werr_text(err));
	}
	*ret = a->sealed;
	return 0;
}

int tpm2_is_available(void)
{
	return 1;
}

int tpm2_find(const char *device, char why[static TPM2_WHY_BYTES])
{
	const struct job job = {.device = device};
	SECRET_AUTO struct tpm2_sealed *s = secret_alloc(sizeof(*s));

	return s ? run(&job, s, why) : explain(why, WERR_NOMEM, "out of memory");
}

int tpm2_seal(const char *device, const struct secret *pin, struct tpm2_sealed *ret,
	      char why[static TPM2_WHY_BYTES])
{
	const struct job job = {.device = device, .pin = pin};

	return run(&job, ret, why);
}

int tpm2_unseal(const char *device, const struct secret *pin, const struct factor_tpm2 *object,
		uint8_t secret[static FACTOR_SECRET_BYTES], char why[static TPM2_WHY_BYTES])
{
	const struct job job = {.device = device, .pin = pin, .object = object};
	SECRET_AUTO struct tpm2_sealed *s = secret_alloc(sizeof(*s));

	if (!s)
		return explain(why, WERR_NOMEM, "out of memory");
	int err = run(&job, s, why);
	if (!err)
		memcpy(secret, s->secret, FACTOR_SECRET_BYTES);
	return err;
}

#else

static int refuse(char *why)
{
	return explain(why, WERR_NOTSUP, "this build of wardfs cannot use a TPM (tpm2-tss)");
}

int tpm2_is_available(void)
{
	return 0;
}

int tpm2_find(const char *device, char why[static TPM2_WHY_BYTES])
{
	(void)device;
	return refuse(why);
}

int tpm2_seal(const char *device, const struct secret *pin, struct tpm2_sealed *ret,
	      char why[static TPM2_WHY_BYTES])
{
	(void)device, (void)pin, (void)ret;
	return refuse(why);
}

int tpm2_unseal(const char *device, const struct secret *pin, const struct factor_tpm2 *object,
		uint8_t secret[static FACTOR_SECRET_BYTES], char why[static TPM2_WHY_BYTES])
{
	(void)device, (void)pin, (void)object, (void)secret;
	return refuse(why);
}

#endif
