// SPDX-License-Identifier: Apache-2.0
#include "fusefs/engine.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <syslog.h>

void fs_log(struct fs *fs, int priority, const char *fmt, ...)
{
	char line[256];
	va_list ap;

	if (!fs->params.log) {
		return;
	}
	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	fs->params.log(fs->params.log_arg, priority, line);
}

// Findings are what an operator of the storage may have done: the first thousand are logged, all
// are counted, so that a hostile vault cannot fill the log.
#define LOGGED_REFUSALS_MAX 1000u

int fs_refuse(struct fs *fs, uint64_t number, int err, const char *what)
{
	uint64_t n = atomic_fetch_add(&fs->refusals, 1);

	if (n < LOGGED_REFUSALS_MAX) {
		fs_log(fs, LOG_ERR, "object %016" PRIx64 " refused: %s (%s)", number, what,
		       werr_text(err));
	} else if (n == LOGGED_REFUSALS_MAX) {
		fs_log(fs, LOG_ERR, "further integrity findings are counted, not logged");
	}
	return err;
}

void fs_set_read_only(struct fs *fs, const char *reason)
{
	bool was = atomic_exchange(&fs->read_only, true);

	if (!was) {
		(void)snprintf(fs->read_only_reason, sizeof fs->read_only_reason, "%s", reason);
		fs_log(fs, LOG_CRIT, "vault is read-only from now on: %s", reason);
	}
}
