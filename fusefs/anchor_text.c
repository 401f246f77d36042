// SPDX-License-Identifier: Apache-2.0
// What the anchor found, in words.
#include "fusefs/anchor.h"

#include <stdio.h>
#include <time.h>

#define TIME_CAP 32

static const char *time_text(uint64_t s, char buf[static TIME_CAP])
{
	const time_t t = (time_t)s;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(buf, TIME_CAP, "%Y-%m-%d %H:%M:%S UTC", &tm))
		snprintf(buf, TIME_CAP, "%llu", (unsigned long long)s);
	return buf;
}

static int older(const struct anchor_state *s, char *buf, size_t cap)
{
	const struct anchor_claims *k = &s->known;
	char when[TIME_CAP];

	return snprintf(buf, cap,
			"an older state than this machine has seen: mount %u, header write %llu, "
			"instead of mount %u, header write %llu of %s",
			s->mount, (unsigned long long)s->write_counter, k->mount,
			(unsigned long long)k->write_counter, time_text(k->written_s, when));
}

static int forked(const struct anchor_state *s, char *buf, size_t cap)
{
	const struct anchor_claims *k = &s->known;
	char when[TIME_CAP];

	return snprintf(buf, cap,
			"another history than the one that this machine has seen (mount %u of %s): "
			"a copy that went its own way",
			k->mount, time_text(k->written_s, when));
}

static int cut(const struct anchor_state *s, char *buf, size_t cap)
{
	const struct anchor_claims *k = &s->known;
	char when[TIME_CAP];

	return snprintf(buf, cap,
			"its journal was cut or replaced by an older one: it ends at record %llu, "
			"but record %llu of mount %u was durable on %s",
			(unsigned long long)s->journal_sequence,
			(unsigned long long)k->journal_sequence, k->journal_mount,
			time_text(k->written_s, when));
}

int anchor_refusal(const struct anchor_state *s, char *buf, size_t cap)
{
	switch (s->verdict) {
	case ANCHOR_OLDER:
		return older(s, buf, cap);
	case ANCHOR_FORKED:
		return forked(s, buf, cap);
	case ANCHOR_CUT:
		return cut(s, buf, cap);
	case ANCHOR_UNUSABLE:
		return snprintf(buf, cap,
				"this machine's record of it (the anchor) cannot be used: %s",
				s->trouble == WERR_AUTH
					? "it was changed, is another vault's, or the vault's keys "
					  "were rotated on another machine"
					: werr_text(s->trouble));
	case ANCHOR_OLDER_KEYS:
		return snprintf(buf, cap,
				"an older state than this machine has seen: its keys are of epoch "
				"%u instead of %u; a secret was changed or removed in between, and "
				"opens this one again",
				s->epoch, s->known_epoch);
	case ANCHOR_UNREACHABLE:
		return snprintf(buf, cap,
				"this machine's record of it (the anchor) is out of reach (%s), so "
				"an older state of it would not be noticed",
				werr_text(s->trouble));
	default:
		if (cap)
			buf[0] = 0;
		return 0;
	}
}

int anchor_news(const struct anchor_state *s, char *buf, size_t cap)
{
	const struct anchor_claims *k = &s->known;
	char when[TIME_CAP];

	switch (s->verdict) {
	case ANCHOR_NEW:
		return snprintf(buf, cap,
				"first use on this machine: from now on an older state of it is "
				"noticed here");
	case ANCHOR_NOPLACE:
		return snprintf(buf, cap,
				"this machine cannot keep a record of it (%s): an older state of "
				"it would not be noticed",
				werr_text(s->trouble));
	case ANCHOR_SAME:
	case ANCHOR_AHEAD:
		// A replay is told to no anchor, but by who restored or accepted that header.
		if (s->state == VAULT_REPLAYING && s->verdict == ANCHOR_SAME)
			return snprintf(buf, cap,
					"its header was restored, or an earlier state of it "
					"accepted; what its journal has is replayed");
		if (k->closed_s == 0)
			return s->state == VAULT_CLEAN
				       ? 0
				       : snprintf(buf, cap,
						  "not closed cleanly the last time, nor ever on "
						  "this machine");
		return snprintf(buf, cap, "%slast closed cleanly on %s by %s (mount %u)%s",
				s->state == VAULT_CLEAN ? "" : "not closed cleanly the last time; ",
				time_text(k->closed_s, when), k->closed_machine, k->closed_mount,
				s->verdict == ANCHOR_AHEAD && s->mount > k->mount
					? "; used on another machine since"
					: "");
	default:
		return 0;
	}
}

int anchor_change_line(const struct anchor_state *s, unsigned n, char *buf, size_t cap)
{
	static const char *const words[] = {
		[ANCHOR_SLOT_ADDED] = "was added",
		[ANCHOR_SLOT_REMOVED] = "was removed",
		[ANCHOR_SLOT_CHANGED] = "was changed",
	};

	if (n >= s->changes_len)
		return 0;
	const struct anchor_change *c = &s->changes[n];
	return snprintf(buf, cap, "keyslot %u%s%s%s %s since the last unlock on this machine",
			c->index, c->label[0] ? " '" : "", c->label, c->label[0] ? "'" : "",
			words[c->what]);
}
