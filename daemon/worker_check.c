// SPDX-License-Identifier: Apache-2.0
// Check: the vault verified while it is mounted. Findings and how far it is come as replies.
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "daemon/worker_control.h"
#include "fusefs/check.h"

struct call {
	struct control_call *c;
	int names;
	_Atomic int stop;
	pthread_mutex_t lock; // two threads have something to say
};

// One at a time: it reads everything there is.
static atomic_flag busy = ATOMIC_FLAG_INIT;

// Bytes that are no UTF-8 cannot stand in JSON as they are.
static void set_text(json_t *j, const char *key, const char *text)
{
	char hex_key[32], hex[2 * 4096 + 1];
	size_t n = 0;

	if (json_object_set_new(j, key, json_string(text)) == 0)
		return;
	for (; n < (sizeof(hex) - 1) / 2 && text[n]; n++)
		snprintf(hex + 2 * n, 3, "%02x", (unsigned char)text[n]);
	hex[2 * n] = 0;
	snprintf(hex_key, sizeof(hex_key), "%s_hex", key);
	json_object_set_new(j, hex_key, json_string(hex));
}

static void say(struct call *call, json_t *reply)
{
	pthread_mutex_lock(&call->lock);
	if (control_progress(call->c, reply))
		atomic_store(&call->stop, 1);
	pthread_mutex_unlock(&call->lock);
}

static void on_found(void *arg, const struct check_finding *f)
{
	struct call *call = arg;
	char number[17];
	json_t *j = json_object();

	snprintf(number, sizeof(number), "%016" PRIx64, f->number);
	json_object_set_new(j, "kind", json_string(check_word(f->kind)));
	json_object_set_new(j, "object", json_string(number));
	if (f->path && call->names)
		set_text(j, "path", f->path);
	if (f->host)
		set_text(j, "host", f->host);
	json_object_set_new(j, "first_page", json_integer((json_int_t)f->first));
	json_object_set_new(j, "pages", json_integer((json_int_t)f->count));
	json_object_set_new(j, "found", json_integer((json_int_t)f->found));
	json_object_set_new(j, "wanted", json_integer((json_int_t)f->wanted));
	say(call, json_pack("{so}", "finding", j));
}

static void on_progress(void *arg, const struct check_progress *p)
{
	struct call *call = arg;
	json_t *j = json_pack("{sI sI sI sf}", "objects", (json_int_t)p->objects,
			      "objects_expected", (json_int_t)p->objects_expected, "bytes",
			      (json_int_t)p->bytes, "share", p->share);

	say(call, json_pack("{so}", "progress", j));
	if (control_gone(call->c))
		atomic_store(&call->stop, 1);
}

static json_t *totals_json(const struct check_totals *t)
{
	json_t *kinds = json_object();

	for (int k = 1; k < CHECK_KINDS; k++) {
		if (t->kinds[k])
			json_object_set_new(kinds, check_word((enum check_kind)k),
					    json_integer((json_int_t)t->kinds[k]));
	}
	return json_pack("{sI sI sI sI sI sI sI so}", "objects", (json_int_t)t->objects,
			 "directories", (json_int_t)t->directories, "names", (json_int_t)t->names,
			 "bytes", (json_int_t)t->bytes, "notes", (json_int_t)t->notes, "damage",
			 (json_int_t)t->damages, "tampering", (json_int_t)t->tampered, "kinds",
			 kinds);
}

int worker_check(void *arg, struct control_call *c)
{
	struct worker_control *w = arg;
	const json_t *names = json_object_get(control_params(c), "names");
	struct call call = {
		.c = c, .names = json_is_true(names), .lock = PTHREAD_MUTEX_INITIALIZER};
	struct check_totals t;

	if (names && !json_is_boolean(names) && !json_is_null(names))
		return control_invalid(c, "names");
	if (atomic_flag_test_and_set(&busy))
		return WERR_BUSY;
	struct fs *fs = worker_control_fs(w);
	int err = fs ? 0 : WERR_LOCKED;
	if (fs) {
		const struct check_params params = {
			.live = true,
			.stop = &call.stop,
			.found = on_found,
			.progress = on_progress,
			.arg = &call,
		};
		err = fs_check(fs, &params, &t);
		worker_control_done(w);
	}
	atomic_flag_clear(&busy);
	return err ? err : control_result(c, json_pack("{so}", "totals", totals_json(&t)));
}
