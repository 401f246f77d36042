// SPDX-License-Identifier: Apache-2.0
// What a guess at a passphrase costs: measured here, and estimated for somebody with better
// machines.
#include <math.h>
#include <stdio.h>

#include "tools/calibrate.h"
#include "tools/machine.h"
#include "tools/options.h"
#include "tools/report.h"
#include "tools/slotlist.h"
#include "tools/verbs.h"

// Argon2id is bound by memory traffic: each pass writes its memory once and reads it about twice.
// An accelerator of 2023 (2 TB/s, 700 W) at full bandwidth, which no known attack reaches.
#define TRAFFIC_PER_PASS 3.0
#define RIVAL_BYTES_PER_S 2e12
#define RIVAL_WATTS 700.0
#define PRICE_PER_KWH 0.10 // in dollars, power alone
#define SECONDS_PER_YEAR 31557600.0

struct request {
	int kdf;
	int json;
	struct options_kdf asked;
	const char *dir;
};

enum { KEY_KDF = 1, KEY_JSON };

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct request *r = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &r->asked;
		return 0;
	case KEY_KDF:
		r->kdf = 1;
		return 0;
	case KEY_JSON:
		r->json = 1;
		return 0;
	case ARGP_KEY_END:
		if (!r->kdf)
			argp_failure(state, EXIT_WARD_USAGE, 0,
				     "what is to be measured? --kdf is what there is");
		return 0;
	default:
		return options_operands(key, arg, state, &r->dir, 1, "DIR");
	}
}

static const struct argp_option table[] = {
	{"kdf", KEY_KDF, NULL, 0, "the key derivation: what an attacker pays for a guess", 0},
	{"json", KEY_JSON, NULL, 0, "print one JSON object", 0},
	{0},
};
static const struct argp_child children[] = {
	{&options_kdf_argp, 0, NULL, 0},
	{0},
};
static const struct argp argp = {
	.options = table,
	.parser = parse,
	.args_doc = "[DIR]",
	.doc = "Measures what a guess at a passphrase costs: for the vault DIR, that of its "
	       "cheapest "
	       "keyslot with a passphrase; without, what a new vault would get on this machine.",
	.children = children,
};

// Passphrases that people choose from so many, evenly.
static const struct example {
	const char *text;
	double bits;
} examples[] = {
	{"one of the million commonest passwords", 19.93},
	{"8 random letters and digits", 47.63},
	{"4 random words of a list of 7776", 51.70},
	{"6 random words", 77.55},
};

struct cost {
	struct argon_params kdf;
	double here_s;    // a guess on this machine
	double rival_s;   // on an accelerator, at least
	double rival_usd; // power for it
};

static int measure(const struct argon_params *kdf, struct cost *ret)
{
	uint32_t ms = 0;
	int err = calibrate_measure(kdf, &ms);

	if (err)
		return report_fail(err, NULL, "cannot measure the key derivation: %s",
				   werr_text(err));
	const double traffic = kdf->memory_kib * 1024.0 * kdf->passes * TRAFFIC_PER_PASS;
	*ret = (struct cost){.kdf = *kdf, .here_s = ms / 1000.0};
	ret->rival_s = traffic / RIVAL_BYTES_PER_S;
	ret->rival_usd = ret->rival_s * RIVAL_WATTS / 3.6e6 * PRICE_PER_KWH;
	return 0;
}

// The keyslot that an attacker would choose.
static int cheapest(const char *dir, struct argon_params *ret)
{
	struct slotlist *list;
	uint64_t least = UINT64_MAX;
	int err = slotlist_get(dir, NULL, &list);

	if (err)
		return err;
	for (unsigned i = 0; i < KEYSLOT_MAX; i++) {
		const struct keyslot_info *info = &list->infos[i];
		const uint64_t work = (uint64_t)info->kdf.memory_kib * info->kdf.passes;

		// Two secrets: the other one cannot be guessed.
		if (info->kind == KEYSLOT_PASSPHRASE && work < least) {
			least = work;
			*ret = info->kdf;
		}
	}
	slotlist_free(list);
	if (least == UINT64_MAX)
		return report_fail(
			WERR_NOTFOUND, dir,
			"has no keyslot that a passphrase alone opens: there is nothing to "
			"guess");
	return 0;
}

static double example_years(const struct cost *c, const struct example *e)
{
	return pow(2, e->bits - 1) * c->rival_s / SECONDS_PER_YEAR;
}

static double example_usd(const struct cost *c, const struct example *e)
{
	return pow(2, e->bits - 1) * c->rival_usd;
}

static int print_json(const struct cost *c)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < sizeof(examples) / sizeof(examples[0]); i++)
		json_array_append_new(list, json_pack("{ss sf sf sf}", "passphrase",
						      examples[i].text, "bits", examples[i].bits,
						      "years", example_years(c, &examples[i]),
						      "usd", example_usd(c, &examples[i])));
	return slotlist_print_json(json_pack(
		"{s{sI sI sI} sf sf sf so}", "kdf", "memory_kib", (json_int_t)c->kdf.memory_kib,
		"passes", (json_int_t)c->kdf.passes, "lanes", (json_int_t)c->kdf.lanes,
		"seconds_here", c->here_s, "seconds_accelerator", c->rival_s, "usd_per_guess",
		c->rival_usd, "examples", list));
}

static void print_text(const struct cost *c)
{
	char cost[64];

	slotlist_cost(&c->kdf, cost, sizeof(cost));
	printf("A guess takes %s of memory and moves %.1f GiB.\n", cost,
	       c->kdf.memory_kib / 1048576.0 * c->kdf.passes * TRAFFIC_PER_PASS);
	printf("This machine (%u cores): %.3f s, %.2f guesses a second.\n", machine_cores(),
	       c->here_s, 1 / c->here_s);
	printf("An accelerator with 2 TB/s of memory bandwidth and 700 W, at best: %.4f s, %.0f "
	       "guesses a second;\n%.2g dollars of power for each (0.10 a kWh).\n\n",
	       c->rival_s, 1 / c->rival_s, c->rival_usd);
	printf("%-40s %12s  %16s\n", "half of all guesses at", "years", "dollars of power");
	for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++)
		printf("%-40s %12.2g  %16.2g\n", examples[i].text, example_years(c, &examples[i]),
		       example_usd(c, &examples[i]));
}

int verb_bench(int argc, char **argv)
{
	struct request r = {.kdf = 0};
	struct argon_params kdf;
	struct cost c;
	uint32_t ms;

	options_parse(&argp, argc, argv, &r);
	int err = r.dir ? cheapest(r.dir, &kdf) : calibrate_kdf(&r.asked, &kdf, &ms);
	if (!err)
		err = measure(&kdf, &c);
	if (err)
		return err;
	if (r.json)
		return print_json(&c);
	print_text(&c);
	return 0;
}
