// SPDX-License-Identifier: Apache-2.0
// mistakes NAME, or mistakes --list ("NAME PLANTED", one a line).
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/crash/mistakes.h"

#define SECONDS 150 // a test that takes longer hangs: that is a way to fail

static const struct mistake mistakes[] = {
	{"record-before-pages", "RECORD_BEFORE_PAGES", record_before_pages},
	{"write-after-truncate", "WRITE_AFTER_TRUNCATE", write_after_truncate},
	{"write-in-commit", "WRITE_IN_COMMIT", write_in_commit},
	{"late-punch", "LATE_PUNCH", late_punch},
	{"two-candidates", "TWO_CANDIDATES", two_candidates},
	{"replay-once", "REPLAY_ONCE", replay_once},
	{"half-rename", "HALF_RENAME", half_rename},
	{"evicted-error", "EVICTED_ERROR", evicted_error},
	{"old-tail", "OLD_TAIL", old_tail},
	{"link-rolled-back", "LINK_UNBOUND", link_rolled_back},
	{"old-parent", "OLD_PARENT", old_parent},
	{"orphan-early", "ORPHAN_EARLY", orphan_early},
	{"orphan-never", "ORPHAN_NEVER", orphan_never},
	{"counting-cookie", "COUNTING_COOKIE", counting_cookie},
	{"write-parked", "WRITE_PARKED", write_parked},
};

int main(int argc, char **argv)
{
	const char *name = argc == 2 ? argv[1] : "";

	for (unsigned i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		const struct mistake *m = &mistakes[i];

		if (strcmp(name, "--list") == 0) {
			printf("%s %s\n", m->name, m->planted);
		} else if (strcmp(name, m->name) == 0) {
			(void)alarm(SECONDS);
			m->test();
			return 0;
		}
	}
	return strcmp(name, "--list") == 0 ? 0 : 2;
}
