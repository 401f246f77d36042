// SPDX-License-Identifier: Apache-2.0
#include "tools/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "crypto/text.h"

#define LINE_MAX_BYTES 2048

void report_escape(const char *text, char *out, size_t cap)
{
	const char *end = text + strlen(text);
	size_t n = 0;

	while (text < end && n + 5 <= cap) {
		const size_t shown = text_printable(text, (size_t)(end - text));

		if (shown) {
			memcpy(out + n, text, shown);
			n += shown;
			text += shown;
		} else {
			n += (size_t)snprintf(out + n, cap - n, "\\%03o", (unsigned char)*text);
			text++;
		}
	}
	out[n] = 0;
}

__attribute__((format(printf, 3, 0))) static void print_line(const char *kind, const char *subject,
							     const char *fmt, va_list ap)
{
	char text[LINE_MAX_BYTES], line[2 * LINE_MAX_BYTES];

	vsnprintf(text, sizeof(text), fmt, ap);
	report_escape(text, line, sizeof(line));
	if (!subject) {
		fprintf(stderr, "wardfs: %s%s\n", kind, line);
		return;
	}
	report_escape(subject, text, sizeof(text));
	fprintf(stderr, "wardfs: %s%s: %s\n", kind, text, line);
}

int report_fail(int code, const char *subject, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	print_line("", subject, fmt, ap);
	va_end(ap);
	return code;
}

void report_warn(const char *subject, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	print_line("warning: ", subject, fmt, ap);
	va_end(ap);
}

static const struct advice {
	int code;
	const char *text;
} advices[] = {
	{WERR_SECRET, "wrong passphrase or other secret; try again"},
	{WERR_AUTH, "the vault header was changed outside wardfs; restore wardfs.vault and "
		    "wardfs.vault.2 from a backup"},
	{WERR_UNSUPPORTED, "made by a newer version of wardfs; use that version"},
	{WERR_TRUNCATED, "the vault header is cut short; restore wardfs.vault from a backup"},
	{WERR_MALFORMED, "the vault header is damaged; restore wardfs.vault from a backup"},
	{WERR_LIMIT, "the vault header asks for a key derivation that is out of bounds; restore "
		     "wardfs.vault from a backup"},
	{WERR_NOTFOUND, "no such directory; check the path, or make a vault with 'wardfs init'"},
	{WERR_NOTDIR, "not a directory; name the directory of a vault"},
	{WERR_NOTVAULT, "not a wardfs vault; check the path, or make one with 'wardfs init'"},
	{WERR_BUSY, "already mounted or in use; see 'wardfs status', unmount it first"},
	{WERR_PERM, "permission denied; run wardfs as the owner of the vault"},
	{WERR_NOTPERMITTED, "operation not permitted; run wardfs as the owner of the vault"},
	{WERR_READONLY, "its filesystem is read-only; mount it with --ro"},
	{WERR_NOSPACE, "no space left on its filesystem; free some space, or mount it with --ro"},
	{WERR_QUOTA, "the quota of its filesystem is used up; free some space, or mount it with "
		     "--ro"},
	{WERR_DAMAGED, "a file that the vault needs is missing or no plain file; restore it from a "
		       "backup"},
	{WERR_ROLLBACK, "something in it was put back to an earlier state; restore the newest "
			"backup (see the log for what is old)"},
	{WERR_ANCHOR, "this machine's record of it is damaged; make a new one with 'wardfs "
		      "accept'"},
	{WERR_KDFMEM, "too little free memory for the key derivation of this vault; end other "
		      "programs, or use a machine with more memory"},
	{WERR_MFILE, "too many open files; raise the limit with 'ulimit -n'"},
	{WERR_IO, "input/output error; check the disk below it (dmesg)"},
};

static char hint[256];

void report_hint(const char *text)
{
	if (!hint[0])
		snprintf(hint, sizeof(hint), "%s", text);
}

int report_vault(int code, const char *dir)
{
	if (code == WERR_SECRET && hint[0])
		return report_fail(code, dir, "wrong passphrase or other secret; %s", hint);
	for (size_t i = 0; i < sizeof(advices) / sizeof(advices[0]); i++) {
		if (advices[i].code == code)
			return report_fail(code, dir, "%s", advices[i].text);
	}
	return report_fail(code, dir, "%s", werr_text(code));
}
