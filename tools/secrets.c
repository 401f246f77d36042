// SPDX-License-Identifier: Apache-2.0
#include "tools/secrets.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tools/factors.h"
#include "tools/report.h"

static const struct factors_part *const parts[] = {
	&factors_passphrase, &factors_keyfile, &factors_recovery, &factors_tpm2, &factors_fido2,
};
#define PARTS (sizeof(parts) / sizeof(parts[0]))

int factors_why(char why[static FACTORS_WHY_BYTES], int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, FACTORS_WHY_BYTES, fmt, ap);
	va_end(ap);
	return code;
}

static void end_parts(void)
{
	for (size_t i = 0; i < PARTS; i++) {
		if (parts[i]->end)
			parts[i]->end();
	}
}

static const struct factors_part *part_of(enum factor f)
{
	for (size_t i = 0; i < PARTS; i++) {
		if (parts[i]->factor == f)
			return parts[i];
	}
	return NULL;
}

static void join_kind(uint16_t kind, int for_people, char *out, size_t cap)
{
	enum factor f[FACTORS_IN_KIND];
	const unsigned n = factor_split(kind, f);
	size_t len = 0;

	out[0] = 0;
	for (unsigned i = 0; i < n; i++) {
		const struct factor_type *t = factor_type(f[i]);
		const char *between = for_people ? " and " : "+";
		int w = snprintf(out + len, cap - len, "%s%s", i ? between : "",
				 for_people ? t->name : t->word);
		if (w < 0 || (size_t)w >= cap - len)
			return;
		len += (size_t)w;
	}
}

void secrets_kind_name(uint16_t kind, char *out, size_t cap)
{
	join_kind(kind, 1, out, cap);
}

void secrets_kind_word(uint16_t kind, char *out, size_t cap)
{
	join_kind(kind, 0, out, cap);
}

// ---- which slots could be opened, and with which factors ----

// The keyslots of both header files, each once.
struct slot_list {
	unsigned count;
	struct listed {
		unsigned index;
		unsigned factors; // a bit for each
		struct keyslot_info info;
		uint8_t tag[OFFER_TAG_BYTES];
	} slots[2 * KEYSLOT_MAX];
};

static unsigned factor_bits(uint16_t kind)
{
	enum factor f[FACTORS_IN_KIND];
	const unsigned n = factor_split(kind, f);
	unsigned bits = 0;

	for (unsigned i = 0; i < n; i++)
		bits |= 1u << f[i];
	return bits;
}

static int is_listed(const struct slot_list *list, const uint8_t *tag)
{
	for (unsigned i = 0; i < list->count; i++) {
		if (memcmp(list->slots[i].tag, tag, OFFER_TAG_BYTES) == 0)
			return 1;
	}
	return 0;
}

static int list_slots(const struct vault_sealed *sealed, int only, struct slot_list *list)
{
	for (unsigned copy = 0; copy < 2; copy++) {
		for (unsigned i = 0; sealed->buf[copy] && i < KEYSLOT_MAX; i++) {
			struct listed *s = &list->slots[list->count];
			const uint8_t *slot = vault_header_slot(sealed->buf[copy], i);

			if (only >= 0 && (unsigned)only != i)
				continue;
			int err = keyslot_info(slot, &s->info);
			if (err)
				return err;
			if (s->info.kind == KEYSLOT_EMPTY)
				continue;
			err = keyslot_tag(slot, s->tag);
			if (err)
				return err;
			if (is_listed(list, s->tag))
				continue;
			s->index = i;
			s->factors = factor_bits(s->info.kind);
			list->count++;
		}
	}
	return 0;
}

static unsigned given_bits(const struct secrets_source *source)
{
	unsigned bits = 0;

	for (size_t i = 0; i < PARTS; i++) {
		if (parts[i]->is_given(source))
			bits |= 1u << parts[i]->factor;
	}
	return bits;
}

// Those of the named factors that a slot needs which needs no other.
static unsigned usable_factors(const struct slot_list *list, unsigned given)
{
	unsigned usable = 0;

	for (unsigned i = 0; i < list->count; i++) {
		if ((list->slots[i].factors & ~given) == 0)
			usable |= list->slots[i].factors;
	}
	return usable;
}

// Which factors to gather: what was named, if that is enough for a slot; else what a slot needs
// beside it. Nothing named: a passphrase where one is enough. 0: no slot takes what was named.
// *ret_must: the factors that a slot must have to be meant.
static unsigned choose_factors(const struct slot_list *list, unsigned given, unsigned *ret_must)
{
	const unsigned passphrase = 1u << FACTOR_PASSPHRASE;
	const unsigned keyfile = 1u << FACTOR_KEYFILE;
	unsigned best = 0;

	*ret_must = 0;
	for (unsigned i = 0; i < list->count; i++) {
		const unsigned need = list->slots[i].factors;

		if (given ? (need & ~given) == 0 : need == passphrase)
			return given ? usable_factors(list, given) : need;
		*ret_must = given;
		if ((need & given) != given)
			continue;
		// What the program can ask for goes before what it cannot.
		if (!best || ((best & ~given & keyfile) && !(need & ~given & keyfile)))
			best = need;
	}
	return best;
}

int secrets_given(const struct secrets_source *source)
{
	return given_bits(source) != 0 || source->slot >= 0 || source->is_wanted;
}

// ---- gathering ----

struct gathering {
	const struct secrets_source *source;
	const char *dir;
	const struct slot_list *list;
	unsigned factors; // to gather
	unsigned must;    // that a slot must have
	struct secret offer;
	int err; // of the first slot whose secret could not be had
	char why[FACTORS_WHY_BYTES];
};

static int fail(struct gathering *g, int err, const char *why)
{
	if (!g->err) {
		g->err = err;
		snprintf(g->why, sizeof(g->why), "%s", why);
	}
	return err;
}

static int add_for_slot(struct gathering *g, const struct factors_part *part,
			const struct listed *listed, const struct factors_slot *slot)
{
	SECRET_STRUCT_AUTO struct secret got = {0};
	char why[FACTORS_WHY_BYTES] = "";
	int err = part->get(g->source, slot, &got, why);

	if (!err) {
		err = offer_add(&g->offer, part->factor, listed->tag, got.bytes, got.len);
		if (err)
			return fail(g, err, werr_text(err));
	}
	return err ? fail(g, err, why) : 0;
}

// A factor that is the same secret for every slot, or for the one slot that was named.
static int add_for_all(struct gathering *g, const struct factors_part *part)
{
	SECRET_STRUCT_AUTO struct secret got = {0};
	char why[FACTORS_WHY_BYTES] = "";
	int err = part->get(g->source, NULL, &got, why);

	if (err)
		return fail(g, err, why);
	if (g->source->slot < 0)
		err = offer_add(&g->offer, part->factor, NULL, got.bytes, got.len);
	for (unsigned i = 0; !err && g->source->slot >= 0 && i < g->list->count; i++)
		err = offer_add(&g->offer, part->factor, g->list->slots[i].tag, got.bytes, got.len);
	return err ? fail(g, err, werr_text(err)) : 0;
}

// A factor that is another secret for each slot: one slot's failure does not keep the others from
// being opened. Returns how many secrets there are.
static unsigned add_for_slots(struct gathering *g, const struct factors_part *part)
{
	unsigned got = 0;

	for (unsigned i = 0; i < g->list->count; i++) {
		const struct listed *s = &g->list->slots[i];
		struct factors_slot slot = {.index = s->index, .label = s->info.label};

		if (!(s->factors & 1u << part->factor) || (s->factors & ~g->factors) ||
		    (s->factors & g->must) != g->must)
			continue;
		if (part->is_per_slot &&
		    factor_params_find(s->info.params, s->info.params_len, part->factor,
				       &slot.params, &slot.params_len))
			continue;
		int err = add_for_slot(g, part, s, &slot);
		got += err == 0;
		// Asked for, and not given, or refused by somebody who counts: not again.
		if (err == WERR_LOCKOUT || err == WERR_INTERRUPTED || err == WERR_USAGE)
			break;
	}
	return got;
}

static int gather(struct gathering *g)
{
	for (enum factor f = FACTOR_PASSPHRASE; f < FACTOR_END; f++) {
		const struct factors_part *part = part_of(f);

		if (!part || !(g->factors & 1u << f))
			continue;
		if (part->is_per_slot) {
			if (add_for_slots(g, part) > 0)
				continue;
		} else if (!add_for_all(g, part)) {
			continue;
		}
		if (g->why[0])
			return report_fail(g->err, g->dir, "%s", g->why);
		return g->err ? g->err : WERR_SECRET;
	}
	return 0;
}

int secrets_get(const struct secrets_source *source, const char *dir,
		const struct vault_sealed *sealed, struct secret *ret)
{
	struct slot_list list = {0};
	struct gathering g = {.source = source, .dir = dir, .list = &list};

	int err = list_slots(sealed, source->slot, &list);
	if (err)
		return report_vault(err, dir);
	if (list.count == 0)
		return report_fail(WERR_NOTFOUND, dir, "has no keyslot %d; see 'wardfs key list'",
				   source->slot);
	g.factors = choose_factors(&list, given_bits(source), &g.must);
	if (!g.factors)
		return report_fail(WERR_SECRET, dir,
				   "no keyslot takes such a secret; see 'wardfs key list'");
	err = gather(&g);
	end_parts();
	if (err) {
		secret_clear(&g.offer);
		return err;
	}
	*ret = g.offer;
	return 0;
}

int secrets_get_at(const struct secrets_source *source, const char *dir, struct secret *ret)
{
	struct vault_sealed sealed;
	struct host *host;
	int err = host_posix_open(dir, 0, &host);

	if (!err) {
		err = vault_read_sealed(host, &sealed);
		host->ops->close(host);
	}
	if (err)
		return report_vault(err, dir);
	err = secrets_get(source, dir, &sealed, ret);
	vault_sealed_clear(&sealed);
	return err;
}

// ---- new ones ----

int secrets_new_asks(const struct secrets_new *fresh)
{
	unsigned others = 0;

	for (size_t i = 0; i < PARTS; i++)
		others += parts[i] != &factors_passphrase && parts[i]->is_new(fresh);
	if (others && !factors_passphrase.is_new(fresh))
		return 0;
	return passphrase_asks(&fresh->passphrase);
}

// The parts that the user named, ascending; a passphrase when none.
static unsigned choose_new(const struct secrets_new *fresh, const struct factors_part **ret)
{
	unsigned n = 0;

	for (size_t i = 0; i < PARTS; i++) {
		if (!parts[i]->is_new(fresh))
			continue;
		if (n < FACTORS_IN_KIND)
			ret[n] = parts[i];
		n++;
	}
	if (n == 0)
		ret[n++] = &factors_passphrase;
	return n;
}

static int make_one(const struct secrets_new *fresh, const struct factors_part *part,
		    struct wcursor *params, struct secret *offer)
{
	SECRET_STRUCT_AUTO struct secret secret = {0};
	int err = part->make(fresh, params, &secret);

	if (err)
		return err;
	err = params->err;
	if (!err)
		err = offer_add(offer, part->factor, NULL, secret.bytes, secret.len);
	return err ? report_fail(err, NULL, "the new keyslot cannot hold this: %s", werr_text(err))
		   : 0;
}

int secrets_make(const struct secrets_new *fresh, struct secrets_made *ret)
{
	const struct factors_part *chosen[FACTORS_IN_KIND] = {NULL};
	const unsigned n = choose_new(fresh, chosen);
	struct wcursor params;
	int err = 0;

	*ret = (struct secrets_made){.kind = 0};
	if (n > FACTORS_IN_KIND)
		return report_fail(WERR_USAGE, NULL,
				   "a keyslot is made of one secret or of two; name no more");
	wcursor_init(&params, ret->params, sizeof(ret->params));
	for (unsigned i = 0; i < n && !err; i++)
		err = make_one(fresh, chosen[i], &params, &ret->offer);
	end_parts();
	if (err)
		return err;
	ret->kind = factor_kind(chosen[0]->factor, n > 1 ? chosen[1]->factor : FACTOR_NONE);
	ret->params_len = params.len;
	return 0;
}

void secrets_made_clear(struct secrets_made *m)
{
	secret_clear(&m->offer);
}
