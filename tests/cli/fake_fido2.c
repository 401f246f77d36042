// SPDX-License-Identifier: Apache-2.0
// A FIDO2 token that is a file, behind the interface of the real ones (tools/fido2.h): knows its
// own credentials by their form, counts wrong PINs, gives another value with a PIN than without.
//   0  "FAKETOKEN"   9  '1' has a PIN   10  '1' is touched   11  tries left, a digit   12  key[32]
//   44  the PIN, to the end
#include "tools/fido2.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "crypto/hkdf.h"
#include "crypto/rng.h"

#define CREDENTIAL_BYTES 64

struct token {
	uint8_t bytes[128];
	size_t len;
	int fd;
};

static int explain(char *why, int code, const char *text)
{
	snprintf(why, FIDO2_WHY_BYTES, "%s", text);
	return code;
}

int fido2_is_available(void)
{
	return 1;
}

static int open_token(const char *device, struct token *t, char *why)
{
	t->fd = device ? open(device, O_RDWR | O_CLOEXEC) : -1;
	if (t->fd < 0)
		return explain(why, WERR_NOHARDWARE,
			       "no FIDO2 token is plugged in; plug it in, or use another secret");
	const ssize_t n = read(t->fd, t->bytes, sizeof(t->bytes));
	t->len = n > 0 ? (size_t)n : 0;
	if (t->len < 44 || memcmp(t->bytes, "FAKETOKEN", 9) != 0) {
		close(t->fd);
		return explain(why, WERR_IO, "the token fails: not a fake one");
	}
	return 0;
}

int fido2_has_pin(const char *device, int *ret, char why[static FIDO2_WHY_BYTES])
{
	struct token t;
	int err = open_token(device, &t, why);

	if (err)
		return err;
	*ret = t.bytes[9] == '1';
	close(t.fd);
	return 0;
}

static int put_tries(const struct token *t)
{
	return pwrite(t->fd, t->bytes + 11, 1, 11) == 1 ? 0 : WERR_IO;
}

static int check_user(struct token *t, const struct secret *pin, char *why)
{
	if (t->bytes[11] == '0')
		return explain(why, WERR_LOCKOUT,
			       "the token is locked for good: too many wrong PINs; use another "
			       "secret");
	if (pin && (pin->len != t->len - 44 || memcmp(pin->bytes, t->bytes + 44, pin->len) != 0)) {
		t->bytes[11]--;
		return put_tries(t)
			       ? WERR_IO
			       : explain(why, WERR_SECRET, "wrong PIN for the token; try again");
	}
	if (t->bytes[10] != '1')
		return explain(why, WERR_INTERRUPTED, "the token was not touched in time");
	return 0;
}

static int enroll(const struct token *t, struct fido2_credential *ret)
{
	rng_bytes(ret->bytes, 32);
	ret->len = CREDENTIAL_BYTES;
	return hkdf_hmac_sha256(t->bytes + 12, ret->bytes, 32, ret->bytes + 32);
}

int fido2_enroll(const char *device, const struct secret *pin, struct fido2_credential *ret,
		 char why[static FIDO2_WHY_BYTES])
{
	struct token t;
	int err = open_token(device, &t, why);

	if (err)
		return err;
	err = check_user(&t, pin, why);
	if (!err)
		err = enroll(&t, ret);
	close(t.fd);
	return err;
}

static int answer(const struct token *t, int verified, const struct factor_fido2 *slot,
		  uint8_t *secret, char *why)
{
	uint8_t mac[32], seed[33];

	if (slot->credential_len != CREDENTIAL_BYTES ||
	    hkdf_hmac_sha256(t->bytes + 12, slot->credential, 32, mac) ||
	    memcmp(mac, slot->credential + 32, 32) != 0)
		return explain(
			why, WERR_NOHARDWARE,
			"the token that is plugged in is another one; plug in the right one");
	memcpy(seed, slot->credential, 32);
	seed[32] = verified ? 1 : 0;
	int err = hkdf_hmac_sha256(t->bytes + 12, seed, sizeof(seed), mac);
	return err ? err : hkdf_hmac_sha256(mac, slot->salt, sizeof(slot->salt), secret);
}

int fido2_ask(const char *device, const struct secret *pin, const struct factor_fido2 *slot,
	      uint8_t secret[static FACTOR_SECRET_BYTES], char why[static FIDO2_WHY_BYTES])
{
	struct token t;
	int err = open_token(device, &t, why);

	if (err)
		return err;
	err = check_user(&t, pin, why);
	if (!err)
		err = answer(&t, pin != NULL, slot, secret, why);
	close(t.fd);
	return err;
}
