// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/rotation_json.h"
#include "tools/report.h"
#include "tools/rotate.h"

#define BAR_CELLS 20u

static void print_line(const json_t *j)
{
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;

	if (text)
		dprintf(STDERR_FILENO, "%s\n", text);
	free(text);
}

static void draw(const struct rotate_status *st)
{
	static const char *const words[] = {
		[ROTATE_IDLE] = "",         [ROTATE_COUNTING] = "counting", [ROTATE_RUNNING] = "",
		[ROTATE_PAUSED] = "paused", [ROTATE_WAITING] = "waiting",   [ROTATE_ENDED] = "",
		[ROTATE_INCOMPLETE] = "",
	};
	uint64_t total = st->bytes_total ? st->bytes_total : 1;
	unsigned cells = (unsigned)(st->bytes_done * BAR_CELLS / total);
	char bar[BAR_CELLS + 1], left[48] = "";

	for (unsigned i = 0; i < BAR_CELLS; i++)
		bar[i] = i < cells ? '#' : '.';
	bar[BAR_CELLS] = 0;
	if (st->left_s != UINT64_MAX)
		snprintf(left, sizeof(left), ", %" PRIu64 ":%02" PRIu64 " left", st->left_s / 60,
			 st->left_s % 60);
	dprintf(STDERR_FILENO,
		"\r\033[K[%s] %3u %%, %" PRIu64 " of %" PRIu64 " objects, %.*f MB/s%s %s", bar,
		(unsigned)(st->bytes_done * 100 / total), st->objects_done, st->objects_total,
		st->rate < 100000 ? 3 : 1, (double)st->rate / 1e6, left, words[st->state]);
}

void rotate_show(const struct rotate_request *r, const struct rotate_status *st)
{
	if (r->progress_json) {
		json_t *j = rotation_pack(st);

		print_line(j);
		json_decref(j);
	} else if (isatty(STDERR_FILENO)) {
		draw(st);
	}
}

int rotate_show_end(const struct rotate_request *r, const struct rotate_status *st)
{
	rotate_show(r, st);
	if (!r->progress_json && isatty(STDERR_FILENO))
		dprintf(STDERR_FILENO, "\r\033[K");
	if (st->state == ROTATE_INCOMPLETE)
		return report_fail(WERR_DAMAGED, r->target,
				   "%" PRIu64
				   " objects cannot be read and keep their old keys; see "
				   "'wardfs check', then rotate again",
				   st->failed);
	if (st->subtree)
		printf("%s: sealed again under epoch %u; %u older epochs stay until the whole "
		       "vault is rotated\n",
		       r->path ? r->path : r->target, st->epoch, st->epochs - 1);
	else
		printf("%s: every object has keys of epoch %u%s; older epochs are gone\n",
		       r->target, st->epoch,
		       st->level == VAULT_ROTATION_CONTENTS ? ", every page is sealed again" : "");
	return 0;
}
