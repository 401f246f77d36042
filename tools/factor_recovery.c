// SPDX-License-Identifier: Apache-2.0
// The recovery code: drawn here, shown once, typed in from paper on a bad day.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "crypto/recovery.h"
#include "crypto/rng.h"
#include "tools/factors.h"
#include "tools/qr.h"
#include "tools/report.h"

static int is_given(const struct secrets_source *source)
{
	return source->use_recovery;
}

static int is_new(const struct secrets_new *fresh)
{
	return fresh->use_recovery;
}

static int get(const struct secrets_source *source, const struct factors_slot *slot,
	       struct secret *ret, char why[static FACTORS_WHY_BYTES])
{
	SECRET_STRUCT_AUTO struct secret text = {0};
	uint8_t bytes[RECOVERY_BYTES];
	unsigned group = 0;

	(void)slot;
	int err = passphrase_get(&source->recovery, "Recovery code", 0, &text);
	if (err)
		return err;
	err = recovery_decode((const char *)text.bytes, text.len, bytes, &group);
	if (err == WERR_INVALID && group > RECOVERY_GROUPS)
		return factors_why(why, WERR_USAGE,
				   "the recovery code has more than %d groups of %d characters; "
				   "type it again",
				   RECOVERY_GROUPS, RECOVERY_GROUP_CHARS);
	if (err == WERR_INVALID && group)
		return factors_why(why, WERR_USAGE,
				   "group %u of the recovery code is mistyped or missing; type it "
				   "again",
				   group);
	if (err == WERR_INVALID)
		return factors_why(why, WERR_USAGE,
				   "the groups of the recovery code do not belong together; type "
				   "it again");
	if (!err)
		err = secret_copy(ret, bytes, sizeof(bytes));
	secret_wipe(bytes, sizeof(bytes));
	return err;
}

// To standard output, through no buffer that would keep it. Nobody else has it from here on.
static int write_out(const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDOUT_FILENO, text, len);

		if (n <= 0)
			return WERR_IO;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

static int show(char text[static RECOVERY_TEXT_BYTES], int with_qr)
{
	const int is_tty = isatty(STDOUT_FILENO);
	int err = 0;

	fflush(stdout);
	if (is_tty)
		fprintf(stderr, "This recovery code opens the vault. Write it down; it is not "
				"shown again:\n\n");
	err = write_out(text, strlen(text));
	if (!err)
		err = write_out("\n", 1);
	if (!err && with_qr)
		err = qr_print(text);
	if (!err && is_tty)
		fprintf(stderr, "\n");
	return err;
}

static int make(const struct secrets_new *fresh, struct wcursor *params, struct secret *ret)
{
	SECRET_AUTO uint8_t *bytes = secret_alloc(RECOVERY_BYTES);
	SECRET_AUTO char *text = secret_alloc(RECOVERY_TEXT_BYTES);

	(void)params;
	if (!bytes || !text)
		return report_fail(WERR_NOMEM, NULL, "out of memory");
	if (fresh->show_qr && !qr_is_available())
		return report_fail(WERR_NOTSUP, "--qr",
				   "this build of wardfs cannot draw QR codes (libqrencode)");
	rng_bytes(bytes, RECOVERY_BYTES);
	int err = recovery_encode(bytes, text);
	if (!err)
		err = secret_copy(ret, bytes, RECOVERY_BYTES);
	if (err)
		return report_fail(err, NULL, "%s", werr_text(err));
	// Before the slot exists: a code that could not be shown must not open anything.
	err = show(text, fresh->show_qr);
	return err ? report_fail(err, "standard output", "the recovery code cannot be shown") : 0;
}

const struct factors_part factors_recovery = {
	.factor = FACTOR_RECOVERY,
	.is_given = is_given,
	.is_new = is_new,
	.get = get,
	.make = make,
};
