// SPDX-License-Identifier: Apache-2.0
#include "tools/refusal.h"

#include "fusefs/fs.h"
#include "tools/report.h"

int refusal_report_text(int code, const char *dir, const char *reason)
{
	if (code == WERR_ANCHOR)
		return report_fail(code, dir, "%s; make a new one with 'wardfs accept'", reason);
	return report_fail(code, dir,
			   "%s; restore the newest copy, take this one with 'wardfs accept', or "
			   "look at it with 'mount --ro --no-anchor'",
			   reason);
}

int refusal_report_engine(int code, const char *dir, int is_root)
{
	const char *why = is_root ? fs_root_refusal(code) : NULL;

	if (why)
		return report_fail(code, dir, "%s", why);
	switch (code) {
	case WERR_AUTH:
		return report_fail(code, dir,
				   "files of the vault were changed outside wardfs; restore them "
				   "from a backup");
	case WERR_TRUNCATED:
	case WERR_MALFORMED:
		return report_fail(code, dir,
				   "files of the vault are damaged; see which with 'wardfs check', "
				   "and restore them from a backup");
	default:
		return report_vault(code, dir);
	}
}

void refusal_warn_foreign(const char *dir, const char *name)
{
	if (name)
		report_warn(dir,
			    "%s has the id of another vault: it was changed or put there by "
			    "somebody; the other header file is authentic and is used",
			    name);
}

int refusal_report(int code, const char *dir, struct anchor *a)
{
	struct anchor_state s;
	char line[512];

	if (!a || (code != WERR_ROLLBACK && code != WERR_ANCHOR))
		return report_vault(code, dir);
	anchor_get(a, &s);
	for (unsigned n = 0; anchor_change_line(&s, n, line, sizeof(line)) > 0; n++)
		report_warn(dir, "%s", line);
	if (anchor_refusal(&s, line, sizeof(line)) <= 0)
		return report_vault(code, dir);
	return refusal_report_text(code, dir, line);
}
