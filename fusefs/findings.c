// SPDX-License-Identifier: Apache-2.0
#include "fusefs/findings.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define WINDOW_S 60

struct kept {
	uint64_t number;
	const char *what;
	int code;
	uint64_t count;
	time_t first; // seen
};

struct findings {
	pthread_mutex_t lock; // guards all below
	uint64_t counts[FINDING_KINDS];
	struct kept kept[FINDINGS_KEPT];
	size_t kept_len;
	time_t window; // start of the minute that lines are counted in
	unsigned lines;
	uint64_t dropped; // lines, since the last one
};

struct findings *findings_new(void)
{
	struct findings *f = calloc(1, sizeof(*f));

	if (f)
		pthread_mutex_init(&f->lock, NULL);
	return f;
}

void findings_free(struct findings *f)
{
	if (!f)
		return;
	pthread_mutex_destroy(&f->lock);
	free(f);
}

const char *findings_word(enum finding_kind kind)
{
	static const char *const words[FINDING_KINDS] = {
		[FINDING_CHANGED] = "changed",
		[FINDING_OLDER] = "older",
		[FINDING_MISSING] = "missing",
		[FINDING_MALFORMED] = "malformed",
	};

	return words[kind];
}

static enum finding_kind kind_of(int code)
{
	switch (code) {
	case WERR_AUTH:
		return FINDING_CHANGED;
	case WERR_ROLLBACK:
		return FINDING_OLDER;
	case WERR_DAMAGED:
	case WERR_NOTFOUND:
	case WERR_IO:
		return FINDING_MISSING;
	default:
		return FINDING_MALFORMED;
	}
}

// NULL: not seen yet, and no room to remember it.
static struct kept *find(struct findings *f, const struct finding *found, time_t now)
{
	for (size_t i = 0; i < f->kept_len; i++) {
		struct kept *k = &f->kept[i];

		if (k->number == found->number && k->what == found->what && k->code == found->code)
			return k;
	}
	if (f->kept_len == FINDINGS_KEPT)
		return NULL;
	struct kept *k = &f->kept[f->kept_len++];
	*k = (struct kept){
		.number = found->number, .what = found->what, .code = found->code, .first = now};
	return k;
}

static int is_power_of_ten(uint64_t n)
{
	while (n >= 10 && n % 10 == 0)
		n /= 10;
	return n == 1;
}

static int may_log(struct findings *f, time_t now)
{
	if (now - f->window >= WINDOW_S || now < f->window) {
		f->window = now;
		f->lines = 0;
	}
	if (f->lines == FINDINGS_LINES) {
		f->dropped++;
		return 0;
	}
	f->lines++;
	return 1;
}

static const char *time_text(time_t t, char *buf, size_t cap)
{
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(buf, cap, "%Y-%m-%d %H:%M:%S UTC", &tm))
		buf[0] = 0;
	return buf;
}

static size_t format(const struct finding *found, const struct kept *k, time_t now,
		     uint64_t dropped, char *line, size_t cap)
{
	char when[32], again[64] = "", lost[64] = "";

	if (k && k->count > 1)
		(void)snprintf(again, sizeof(again), ", %" PRIu64 " times", k->count);
	if (dropped)
		(void)snprintf(lost, sizeof(lost), "; %" PRIu64 " findings before were not logged",
			       dropped);
	int n = snprintf(
		line, cap, "object %016" PRIx64 "%s%s%s refused: %s%s (%s); first seen %s%s%s",
		found->number, found->name[0] ? " '" : "", found->name, found->name[0] ? "'" : "",
		found->what, found->more, werr_text(found->code),
		time_text(k ? k->first : now, when, sizeof(when)), again, lost);
	return n < 0 ? 0 : (size_t)n;
}

size_t findings_note(struct findings *f, const struct finding *found, char *line, size_t cap)
{
	const time_t now = time(NULL);
	size_t len = 0;

	pthread_mutex_lock(&f->lock);
	f->counts[kind_of(found->code)]++;
	struct kept *k = find(f, found, now);
	if (k)
		k->count++;
	if ((!k || is_power_of_ten(k->count)) && may_log(f, now)) {
		len = format(found, k, now, f->dropped, line, cap);
		f->dropped = 0;
	}
	pthread_mutex_unlock(&f->lock);
	return len;
}

void findings_count(struct findings *f, uint64_t ret[static FINDING_KINDS])
{
	pthread_mutex_lock(&f->lock);
	for (unsigned i = 0; i < FINDING_KINDS; i++)
		ret[i] = f->counts[i];
	pthread_mutex_unlock(&f->lock);
}
