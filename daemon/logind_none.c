// SPDX-License-Identifier: Apache-2.0
// Built without libsystemd: nobody asks logind.
#include "daemon/logind.h"

#include <stdlib.h>

const char logind_lack[] = "this build of wardfs cannot ask logind, which would tell of";

struct logind {
	int unused;
};

int logind_new(const struct logind_params *params, struct logind **ret)
{
	struct logind *l = calloc(1, sizeof(*l));

	if (!l)
		return WERR_NOMEM;
	(void)params;
	*ret = l;
	return 0;
}

void logind_want(struct logind *l, int events, int delay)
{
	(void)l;
	(void)events;
	(void)delay;
}

void logind_let_sleep(struct logind *l)
{
	(void)l;
}

enum logind_state logind_state(struct logind *l)
{
	(void)l;
	return LOGIND_ABSENT;
}

int64_t logind_delay_ms(struct logind *l)
{
	(void)l;
	return 0;
}

void logind_free(struct logind *l)
{
	free(l);
}
