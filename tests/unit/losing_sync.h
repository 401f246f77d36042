// SPDX-License-Identifier: Apache-2.0
// A host whose flush of the journal fails: for the check programs that set env.on_sync.
#ifndef WARDFS_TESTS_LOSING_SYNC_H
#define WARDFS_TESTS_LOSING_SYNC_H

#include "tests/unit/journalenv.h"

// A failed flush as the kernel does it: the pages are lost, and the next flush says that all is
// well.
static int fail_syncs;
static uint8_t *durable_file;

static int losing_sync(struct host_file *f)
{
	if (fail_syncs) {
		fail_syncs--;
		hostenv_poke(JOURNAL_NAME, durable_file, SMALL, 0);
		return WERR_IO;
	}
	free(durable_file);
	durable_file = hostenv_slurp(JOURNAL_NAME, SMALL);
	return env.real->datasync(f);
}

#endif
