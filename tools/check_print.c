// SPDX-License-Identifier: Apache-2.0
#include "tools/check_print.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/report.h"

#define PAGE_BYTES 4096u
#define BAR_CELLS 20

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static const char *severity_word(enum check_severity s)
{
	static const char *const words[] = {"note", "damage", "tampering"};

	return words[s];
}

static void print_string(const char *s)
{
	json_t *j = json_string(s);
	char *text = j ? json_dumps(j, JSON_ENCODE_ANY) : NULL;

	fputs(text ? text : "null", stdout);
	free(text);
	json_decref(j);
}

void check_print_begin(struct check_print *p, const char *dir, int repair)
{
	p->started_ms = now_ms();
	if (!p->json) {
		return;
	}
	fputs("{\"vault\": ", stdout);
	print_string(dir);
	printf(", \"repair\": %s, \"findings\": [", repair ? "true" : "false");
	p->announced = 1;
}

// Bytes that are no UTF-8 cannot stand in JSON as they are.
static void set_text(json_t *j, const char *key, const char *text)
{
	char hex_key[32], hex[2 * 4096 + 1];
	size_t n = 0;

	if (json_object_set_new(j, key, json_string(text)) == 0) {
		return;
	}
	for (; n < (sizeof(hex) - 1) / 2 && text[n]; n++) {
		snprintf(hex + 2 * n, 3, "%02x", (unsigned char)text[n]);
	}
	snprintf(hex_key, sizeof(hex_key), "%s_hex", key);
	json_object_set_new(j, hex_key, json_string(hex));
}

static void print_json(struct check_print *p, const struct check_finding *f)
{
	char number[17];
	json_t *j = json_pack("{ss ss}", "kind", check_word(f->kind), "severity",
			      severity_word(check_severity(f->kind)));

	if (!j) {
		return;
	}
	if (f->number) {
		snprintf(number, sizeof(number), "%016" PRIx64, f->number);
		json_object_set_new(j, "object", json_string(number));
	}
	if (f->path && p->names) {
		set_text(j, "path", f->path[0] ? f->path : "/");
	}
	if (f->host) {
		set_text(j, "host", f->host);
	}
	if (f->count) {
		json_object_set_new(j, "first_page", json_integer((json_int_t)f->first));
		json_object_set_new(j, "pages", json_integer((json_int_t)f->count));
	}
	if (f->found || f->wanted) {
		json_object_set_new(j, "found", json_integer((json_int_t)f->found));
		json_object_set_new(j, "wanted", json_integer((json_int_t)f->wanted));
	}
	json_object_set_new(j, "meaning", json_string(check_meaning(f->kind)));
	json_object_set_new(j, "repair", json_string(check_remedy(f->kind)));
	json_object_set_new(j, "loses_data", json_boolean(check_loses(f->kind)));
	fputs(p->findings ? ",\n  " : "\n  ", stdout);
	(void)json_dumpf(j, stdout, 0);
	json_decref(j);
}

static void print_pages(const struct check_finding *f)
{
	if (f->count == 1) {
		printf(", page %" PRIu64, f->first);
	} else if (f->count) {
		printf(", pages %" PRIu64 " to %" PRIu64, f->first, f->first + f->count - 1);
	}
	if (f->found || f->wanted) {
		printf(", %" PRIu64 " instead of %" PRIu64, f->found, f->wanted);
	}
}

static void print_line(const struct check_print *p, const struct check_finding *f)
{
	char shown[4 * 4096 + 8];

	printf("%s: %s", severity_word(check_severity(f->kind)), check_word(f->kind));
	if (f->number) {
		printf(": object %016" PRIx64, f->number);
	}
	print_pages(f);
	if (f->path && p->names) {
		report_escape(f->path[0] ? f->path : "/", shown, sizeof(shown));
		printf(", %s", shown);
	}
	if (f->host) {
		report_escape(f->host, shown, sizeof(shown));
		printf(", host file %s", shown);
	}
	printf(": %s; repair %s\n", check_meaning(f->kind), check_remedy(f->kind));
}

void check_print_finding(void *arg, const struct check_finding *f)
{
	struct check_print *p = arg;

	check_print_clear(p);
	if (p->json) {
		print_json(p, f);
	} else {
		print_line(p, f);
	}
	p->findings++;
}

void check_print_clear(struct check_print *p)
{
	if (p->bar) {
		dprintf(STDERR_FILENO, "\r\033[K");
	}
	p->bar = 0;
}

static void print_bar(struct check_print *p, const struct check_progress *g, uint64_t rate,
		      uint64_t left_s)
{
	char bar[BAR_CELLS + 1];
	int full = (int)(g->share * BAR_CELLS);

	for (int i = 0; i < BAR_CELLS; i++) {
		bar[i] = i < full ? '#' : '.';
	}
	bar[BAR_CELLS] = 0;
	dprintf(STDERR_FILENO,
		"\r[%s] %" PRIu64 " of %" PRIu64 " objects, %" PRIu64 " MiB, %" PRIu64
		" MiB/s, %" PRIu64 ":%02" PRIu64 " left \033[K",
		bar, g->objects, g->objects_expected, g->bytes >> 20, rate >> 20, left_s / 60,
		left_s % 60);
	p->bar = 1;
}

void check_print_progress(void *arg, const struct check_progress *g)
{
	struct check_print *p = arg;
	uint64_t ms = now_ms() - p->started_ms;
	uint64_t rate = ms ? g->bytes * 1000 / ms : 0;
	double left = g->share > 0 ? (double)ms / g->share * (1 - g->share) / 1000 : 0;

	if (p->progress_json) {
		dprintf(STDERR_FILENO,
			"{\"objects\": %" PRIu64 ", \"objects_expected\": %" PRIu64
			", \"bytes\": %" PRIu64 ", \"bytes_per_s\": %" PRIu64
			", \"share\": %.4f, \"seconds_left\": %" PRIu64 "}\n",
			g->objects, g->objects_expected, g->bytes, rate, g->share, (uint64_t)left);
	} else if (isatty(STDERR_FILENO) && ms > 500) {
		print_bar(p, g, rate, (uint64_t)left);
	}
}

static void end_json(const struct check_print *p, const struct check_totals *t, const char *result,
		     uint64_t repaired, const char *quarantine)
{
	printf("%s], \"result\": \"%s\", \"totals\": {\"objects\": %" PRIu64
	       ", \"directories\": %" PRIu64 ", \"names\": %" PRIu64 ", \"bytes\": %" PRIu64
	       ", \"notes\": %" PRIu64 ", \"damage\": %" PRIu64 ", \"tampering\": %" PRIu64
	       ", \"kinds\": {",
	       p->findings ? "\n" : "", result, t->objects, t->directories, t->names, t->bytes,
	       t->notes, t->damages, t->tampered);
	const char *comma = "";

	for (int k = 1; k < CHECK_KINDS; k++) {
		if (t->kinds[k]) {
			printf("%s\"%s\": %" PRIu64, comma, check_word((enum check_kind)k),
			       t->kinds[k]);
			comma = ", ";
		}
	}
	printf("}}, \"repaired\": %" PRIu64, repaired);
	if (quarantine && *quarantine) {
		fputs(", \"quarantine\": ", stdout);
		print_string(quarantine);
	}
	puts("}");
}

void check_print_end(struct check_print *p, const struct check_totals *t, const char *result,
		     uint64_t repaired, const char *quarantine)
{
	check_print_clear(p);
	if (p->json) {
		end_json(p, t, result, repaired, quarantine);
		return;
	}
	printf("%s: %" PRIu64 " objects, %" PRIu64 " directories, %" PRIu64 " names, %" PRIu64
	       " MiB read; %" PRIu64 " tampering, %" PRIu64 " damage, %" PRIu64 " notes",
	       result, t->objects, t->directories, t->names, t->bytes >> 20, t->tampered,
	       t->damages, t->notes);
	if (repaired) {
		printf("; %" PRIu64 " repaired", repaired);
	}
	putchar('\n');
	if (quarantine && *quarantine) {
		printf("report and what was recovered without a place: %s in the vault\n",
		       quarantine);
	}
}

void check_print_next(const struct check_print *p, const struct check_totals *t, int mounted)
{
	// These concern the vault as a whole, and say themselves what to do.
	if (p->json || t->kinds[CHECK_VAULT_ROLLBACK] || t->kinds[CHECK_NEWER] ||
	    t->kinds[CHECK_JOURNAL_LOST]) {
		return;
	}
	printf("next: write these files anew from a backup, or %slet 'wardfs check --repair' say "
	       "what "
	       "can be kept and give up the rest%s\n",
	       mounted ? "unmount and " : "",
	       p->names ? "" : "; --names shows which files they are");
}
