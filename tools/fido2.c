// SPDX-License-Identifier: Apache-2.0
#include "tools/fido2.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/apart.h"

__attribute__((format(printf, 3, 4))) static int explain(char *why, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, FIDO2_WHY_BYTES, fmt, ap);
	va_end(ap);
	return code;
}

#ifdef WARDFS_FIDO2
#include <fido.h>

#include "crypto/rng.h"

#define TOKENS_MAX 16

// What the child is asked, and what it answers.
enum what { HAS_PIN, ENROLL, ASK };

struct job {
	enum what what;
	const char *device;
	const struct secret *pin;
	const struct factor_fido2 *slot;
};

struct answer {
	struct fido2_credential credential;
	uint8_t secret[FACTOR_SECRET_BYTES];
	int has_pin;
	char pin[128]; // as the library wants it
	char why[FIDO2_WHY_BYTES];
};

static int report(struct answer *a, int code)
{
	switch (code) {
	case FIDO_ERR_PIN_INVALID:
	case FIDO_ERR_PIN_AUTH_INVALID:
		return explain(a->why, WERR_SECRET, "wrong PIN for the token; try again");
	case FIDO_ERR_PIN_REQUIRED:
		return explain(a->why, WERR_SECRET, "the token wants its PIN; use --pinfile");
	case FIDO_ERR_PIN_NOT_SET:
		return explain(a->why, WERR_NOHARDWARE,
			       "the token has lost its PIN: it was reset; use another secret");
	case FIDO_ERR_PIN_AUTH_BLOCKED:
		return explain(a->why, WERR_LOCKOUT,
			       "the token takes no PIN until it is plugged in again");
	case FIDO_ERR_PIN_BLOCKED:
	case FIDO_ERR_UV_BLOCKED:
		return explain(a->why, WERR_LOCKOUT,
			       "the token is locked for good: too many wrong PINs; use another "
			       "secret");
	case FIDO_ERR_ACTION_TIMEOUT:
	case FIDO_ERR_USER_ACTION_TIMEOUT:
	case FIDO_ERR_OPERATION_DENIED:
	case FIDO_ERR_KEEPALIVE_CANCEL:
		return explain(a->why, WERR_INTERRUPTED, "the token was not touched in time");
	case FIDO_ERR_NO_CREDENTIALS:
	case FIDO_ERR_INVALID_CREDENTIAL:
		return explain(
			a->why, WERR_NOHARDWARE,
			"the token that is plugged in is another one; plug in the right one");
	case FIDO_ERR_UNSUPPORTED_EXTENSION:
	case FIDO_ERR_UNSUPPORTED_OPTION:
		return explain(a->why, WERR_NOTSUP, "the token does not know hmac-secret");
	default:
		return explain(a->why, WERR_IO, "the token fails: %s", fido_strerr(code));
	}
}

static int no_token(struct answer *a)
{
	return explain(a->why, WERR_NOHARDWARE,
		       "no FIDO2 token is plugged in; plug it in, or use another secret");
}

static const char *pin_text(const struct job *job, struct answer *a)
{
	if (!job->pin)
		return NULL;
	if (job->pin->len >= sizeof(a->pin) || memchr(job->pin->bytes, 0, job->pin->len))
		return NULL;
	memcpy(a->pin, job->pin->bytes, job->pin->len);
	a->pin[job->pin->len] = 0;
	return a->pin;
}

static int enroll_on(fido_dev_t *dev, const struct job *job, struct answer *a)
{
	uint8_t random[64];
	fido_cred_t *cred = fido_cred_new();
	int code = cred ? FIDO_OK : FIDO_ERR_INTERNAL;

	rng_bytes(random, sizeof(random));
	if (code == FIDO_OK)
		code = fido_cred_set_type(cred, COSE_ES256);
	if (code == FIDO_OK)
		code = fido_cred_set_clientdata_hash(cred, random, 32);
	if (code == FIDO_OK)
		code = fido_cred_set_rp(cred, FIDO2_RP, FIDO2_RP);
	if (code == FIDO_OK)
		code = fido_cred_set_user(cred, random + 32, 32, FIDO2_RP, NULL, NULL);
	if (code == FIDO_OK)
		code = fido_cred_set_extensions(cred, FIDO_EXT_HMAC_SECRET);
	if (code == FIDO_OK)
		code = fido_dev_make_cred(dev, cred, pin_text(job, a));
	int err = code == FIDO_OK ? 0 : report(a, code);
	if (!err) {
		a->credential.len = fido_cred_id_len(cred);
		if (a->credential.len == 0 || a->credential.len > sizeof(a->credential.bytes))
			err = explain(a->why, WERR_NOTSUP,
				      "the token's credential is too long for a keyslot");
		else
			memcpy(a->credential.bytes, fido_cred_id_ptr(cred), a->credential.len);
	}
	fido_cred_free(&cred);
	return err;
}

static int ask_on(fido_dev_t *dev, const struct job *job, struct answer *a)
{
	const struct factor_fido2 *s = job->slot;
	uint8_t random[32];
	fido_assert_t *as = fido_assert_new();
	int code = as ? FIDO_OK : FIDO_ERR_INTERNAL;

	rng_bytes(random, sizeof(random));
	if (code == FIDO_OK)
		code = fido_assert_set_clientdata_hash(as, random, sizeof(random));
	if (code == FIDO_OK)
		code = fido_assert_set_rp(as, FIDO2_RP);
	if (code == FIDO_OK)
		code = fido_assert_allow_cred(as, s->credential, s->credential_len);
	if (code == FIDO_OK)
		code = fido_assert_set_extensions(as, FIDO_EXT_HMAC_SECRET);
	if (code == FIDO_OK)
		code = fido_assert_set_hmac_salt(as, s->salt, sizeof(s->salt));
	if (code == FIDO_OK)
		code = fido_assert_set_up(as, s->flags & FACTOR_FIDO2_TOUCH ? FIDO_OPT_TRUE
									    : FIDO_OPT_FALSE);
	if (code == FIDO_OK)
		code = fido_dev_get_assert(dev, as, pin_text(job, a));
	int err = code == FIDO_OK ? 0 : report(a, code);
	if (!err && (fido_assert_count(as) < 1 ||
		     fido_assert_hmac_secret_len(as, 0) != FACTOR_SECRET_BYTES))
		err = report(a, FIDO_ERR_UNSUPPORTED_EXTENSION);
	if (!err)
		memcpy(a->secret, fido_assert_hmac_secret_ptr(as, 0), FACTOR_SECRET_BYTES);
	fido_assert_free(&as);
	return err;
}

static int work_on(const char *path, const struct job *job, struct answer *a)
{
	fido_dev_t *dev = fido_dev_new();
	int err;

	if (!dev)
		return explain(a->why, WERR_NOMEM, "out of memory");
	if (fido_dev_open(dev, path) != FIDO_OK) {
		fido_dev_free(&dev);
		return explain(a->why, WERR_NOHARDWARE,
			       "the token at %s cannot be opened; plug it in, or check the "
			       "permission (group plugdev)",
			       path);
	}
	if (!fido_dev_is_fido2(dev)) {
		err = report(a, FIDO_ERR_UNSUPPORTED_EXTENSION);
	} else if (job->what == HAS_PIN) {
		a->has_pin = fido_dev_has_pin(dev);
		err = 0;
	} else {
		err = job->what == ENROLL ? enroll_on(dev, job, a) : ask_on(dev, job, a);
	}
	fido_dev_close(dev);
	fido_dev_free(&dev);
	return err;
}

// The first token that does it; one that is another's is no reason to stop.
static int work(void *arg, void *out)
{
	const struct job *job = arg;
	struct answer *a = out;
	fido_dev_info_t *tokens;
	size_t found = 0;

	fido_init(0);
	if (job->device)
		return work_on(job->device, job, a);
	tokens = fido_dev_info_new(TOKENS_MAX);
	if (!tokens || fido_dev_info_manifest(tokens, TOKENS_MAX, &found) != FIDO_OK || found == 0)
		return no_token(a);
	int err = WERR_NOHARDWARE;
	for (size_t i = 0; i < found && err == WERR_NOHARDWARE; i++)
		err = work_on(fido_dev_info_path(fido_dev_info_ptr(tokens, i)), job, a);
	fido_dev_info_free(&tokens, TOKENS_MAX);
	return err;
}

static int run(const struct job *job, struct answer *a, char *why)
{
	int err = apart_run(work, (void *)job, a, sizeof(*a));

	if (err && a->why[0])
		memcpy(why, a->why, sizeof(a->why));
	else if (err)
		(void)explain(why, err, "the token: %s", werr_text(err));
	return err;
}

int fido2_is_available(void)
{
	return 1;
}

int fido2_has_pin(const char *device, int *ret, char why[static FIDO2_WHY_BYTES])
{
	const struct job job = {.what = HAS_PIN, .device = device};
	SECRET_AUTO struct answer *a = secret_alloc(sizeof(*a));

	if (!a)
		return explain(why, WERR_NOMEM, "out of memory");
	int err = run(&job, a, why);
	if (!err)
		*ret = a->has_pin;
	return err;
}

int fido2_enroll(const char *device, const struct secret *pin, struct fido2_credential *ret,
		 char why[static FIDO2_WHY_BYTES])
{
	const struct job job = {.what = ENROLL, .device = device, .pin = pin};
	SECRET_AUTO struct answer *a = secret_alloc(sizeof(*a));

	if (!a)
		return explain(why, WERR_NOMEM, "out of memory");
	int err = run(&job, a, why);
	if (!err)
		*ret = a->credential;
	return err;
}

int fido2_ask(const char *device, const struct secret *pin, const struct factor_fido2 *slot,
	      uint8_t secret[static FACTOR_SECRET_BYTES], char why[static FIDO2_WHY_BYTES])
{
	const struct job job = {.what = ASK, .device = device, .pin = pin, .slot = slot};
	SECRET_AUTO struct answer *a = secret_alloc(sizeof(*a));

	if (!a)
		return explain(why, WERR_NOMEM, "out of memory");
	int err = run(&job, a, why);
	if (!err)
		memcpy(secret, a->secret, FACTOR_SECRET_BYTES);
	return err;
}

#else

static int refuse(char *why)
{
	return explain(why, WERR_NOTSUP, "this build of wardfs cannot use FIDO2 tokens (libfido2)");
}

int fido2_is_available(void)
{
	return 0;
}

int fido2_has_pin(const char *device, int *ret, char why[static FIDO2_WHY_BYTES])
{
	(void)device, (void)ret;
	return refuse(why);
}

int fido2_enroll(const char *device, const struct secret *pin, struct fido2_credential *ret,
		 char why[static FIDO2_WHY_BYTES])
{
	(void)device, (void)pin, (void)ret;
	return refuse(why);
}

int fido2_ask(const char *device, const struct secret *pin, const struct factor_fido2 *slot,
	      uint8_t secret[static FACTOR_SECRET_BYTES], char why[static FIDO2_WHY_BYTES])
{
	(void)device, (void)pin, (void)slot, (void)secret;
	return refuse(why);
}

#endif
