// SPDX-License-Identifier: Apache-2.0
#include "tests/model/world.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/rng.h"
#include "crypto/secret.h"
#include "fusefs/rekey.h"
#include "fusefs/vault_edit.h"
#include "fusefs/check.h"
#include "fusefs/anchor.h"
#include "fusefs/journal.h"
#include "fusefs/rotate.h"
#include "fusefs/salvage.h"
#include "fusefs/vault.h"
#include "tests/crash/simhost.h"
#include "tests/model/prng.h"
#include "tests/model/trace.h"

#define LOOK_EVERY 5u // times that it is opened it is checked before

struct world {
	struct simhost *disk;
	// The anchor's own disk, in the same machine: its power goes with the vault's, but each
	// keeps what it likes of the unflushed. anchor_old: as it was a while ago.
	struct simhost *anchor_disk, *anchor_old;
	struct anchor *anchor;
	struct vault *vault; // NULL: not open
	struct fs *fs;
	struct prng rng;
	int64_t clock_s;
	uint32_t clock_ns;
	struct secret passphrase;
	unsigned opens;
	int cut_kind;       // -1: random
	uint64_t fail_from; // flush that fails; UINT64_MAX: none
	int failed;
	void (*on_flush)(void *arg);
	void *on_flush_arg;
	void (*on_change)(void *arg);
	void *on_change_arg;
};

static void repeatable_bytes(void *arg, void *buf, size_t n)
{
	prng_fill(arg, buf, n);
}

static void now(void *arg, struct ward_time *ret)
{
	struct world *w = arg;

	w->clock_s += 1;
	w->clock_ns = (w->clock_ns + 123456789u) % 1000000000u;
	*ret = (struct ward_time){.s = w->clock_s, .ns = w->clock_ns};
}

static void note(void *arg, int priority, const char *line)
{
	(void)arg;
	trace_op("engine (%d): %s", priority, line);
}

// ---- the anchor ----

static int changes(enum simcall kind)
{
	return kind == SIM_WRITE || kind == SIM_DATASYNC || kind == SIM_TRUNCATE ||
	       kind == SIM_PUNCH || kind == SIM_UNLINK || kind == SIM_RENAME ||
	       kind == SIM_SYNC_FOLDER || kind == SIM_SYNC_TOP;
}

static void anchor_call(void *arg, enum simcall kind)
{
	struct world *w = arg;

	if (w->on_change && changes(kind))
		w->on_change(w->on_change_arg);
	if (simhost_is_off(w->disk) && !simhost_is_off(w->anchor_disk))
		simhost_power_off_after(w->anchor_disk, 0);
}

static int open_anchor(void *arg, const uint8_t *vault_id, int create, struct host **ret)
{
	struct world *w = arg;

	(void)vault_id;
	(void)create;
	simhost_on_call(w->anchor_disk, anchor_call, w);
	*ret = simhost_open(w->anchor_disk);
	return 0;
}

static struct host *host_with_anchor(struct world *w)
{
	const struct anchor_params params = {
		.open = open_anchor, .open_arg = w, .machine = "model"};
	struct host *host = simhost_open(w->disk);

	if (anchor_new(&params, &w->anchor))
		trace_fail("out of memory");
	host->anchor = w->anchor;
	return host;
}

static void drop_anchor(struct world *w)
{
	anchor_free(w->anchor);
	w->anchor = NULL;
}

static void replace_anchor_disk(struct world *w, struct simhost *disk)
{
	simhost_free(w->anchor_disk);
	w->anchor_disk = disk;
}

// The state directory may be restored from a backup or lost: an anchor that is older than the
// vault, or none at all, is never an alarm. Nor is the newest one, whatever the cut took from the
// vault.
static void cut_anchor(struct world *w)
{
	static const struct simcut cut = {.what = SIMCUT_RANDOM};

	if (w->anchor_old && prng_chance(&w->rng, 20)) {
		trace_op("an older anchor");
		replace_anchor_disk(w, simhost_clone_after_kill(w->anchor_old));
	} else if (prng_chance(&w->rng, 5)) {
		trace_op("no anchor");
		replace_anchor_disk(w, simhost_new());
	} else {
		replace_anchor_disk(
			w, simhost_clone_after_cut(w->anchor_disk, prng_next(&w->rng), &cut));
	}
}

static void remember_anchor(struct world *w)
{
	if (w->anchor_old && !prng_chance(&w->rng, 30))
		return;
	if (w->anchor_old)
		simhost_free(w->anchor_old);
	w->anchor_old = simhost_clone_after_kill(w->anchor_disk);
}

// ---- the vault ----

struct world *world_new(uint64_t seed)
{
	struct world *w = trace_calloc(1, sizeof(*w));
	struct vault_create_params params = {
		.kdf = {.memory_kib = ARGON_MEMORY_MIN_KIB, .passes = 1, .lanes = 1},
		.label = "",
		.created_s = 1700000000,
		.journal_bytes = JOURNAL_MIN_BYTES,
	};

	w->rng.state = seed ^ 0x5eed;
	w->clock_s = 1700000000;
	w->cut_kind = -1;
	w->fail_from = UINT64_MAX;
	rng_replace(repeatable_bytes, &w->rng);
	if (secret_init())
		trace_fail("no secret memory");
	if (secret_copy(&w->passphrase, "model", 5))
		trace_fail("out of memory");
	w->disk = simhost_new();
	w->anchor_disk = simhost_new();
	struct host *host = host_with_anchor(w);
	int err = vault_create(host, &params, &w->passphrase);

	TRACE_CHECK(!err, "making the vault: %d (%s)", err, werr_text(err));
	host->ops->close(host);
	drop_anchor(w);
	return w;
}

struct world *world_copy(const struct world *w)
{
	struct world *copy = trace_calloc(1, sizeof(*copy));

	*copy = *w;
	if (secret_copy(&copy->passphrase, w->passphrase.bytes, w->passphrase.len))
		trace_fail("out of memory");
	copy->disk = simhost_clone_after_kill(w->disk);
	copy->anchor_disk = simhost_clone_after_kill(w->anchor_disk);
	copy->anchor_old = NULL;
	rng_replace(repeatable_bytes, &copy->rng);
	return copy;
}

void world_small_blocks(struct world *w)
{
	simhost_set_block(w->disk, 512);
}

void world_free(struct world *w)
{
	simhost_free(w->disk);
	simhost_free(w->anchor_disk);
	if (w->anchor_old)
		simhost_free(w->anchor_old);
	secret_clear(&w->passphrase);
	rng_replace(NULL, NULL);
	free(w);
}

static void report_finding(void *arg, const struct check_finding *f)
{
	// A power cut while a clean vault is mounted may tear the journal, which means nothing
	// then; one between the two headers of a new root key leaves the second of before.
	*(uint64_t *)arg += f->kind == CHECK_JOURNAL || f->kind == CHECK_HEADER_COPY;
	trace_op("check: %s, object %016lx, %s, pages %lu+%lu, %lu/%lu", check_word(f->kind),
		 f->number, f->path ? f->path : f->host, f->first, f->count, f->found, f->wanted);
}

// What check says of the vault as it stands, clean or not: nothing, whatever happened to it before.
// On a disk of its own, and without a trace in the order of random numbers.
static void look(struct world *w)
{
	struct prng before = w->rng;
	struct simhost *disk = simhost_clone_after_kill(w->disk);
	struct salvage salvage = {0};
	struct fs_params params = {
		.manual = 1, .cache_mib = 1, .salvage = &salvage, .log = note, .log_arg = w};
	uint64_t harmless = 0;
	const struct check_params check = {.threads = 1, .found = report_finding, .arg = &harmless};
	struct check_totals t;
	struct vault *v;
	struct fs *fs;
	int err = vault_open(simhost_open(disk), &w->passphrase, 1, &v);

	TRACE_CHECK(!err, "opening for a check: %d (%s)", err, werr_text(err));
	err = fs_open(v, &params, &fs);
	TRACE_CHECK(!err, "the engine for a check: %d (%s)", err, werr_text(err));
	err = fs_check(fs, &check, &t);
	TRACE_CHECK(!err, "check: %d (%s)", err, werr_text(err));
	TRACE_CHECK(t.damages + t.tampered == harmless, "check: %lu findings",
		    t.damages + t.tampered);
	(void)!fs_close(fs);
	vault_close(v);
	free(salvage.dirs);
	simhost_free(disk);
	w->rng = before;
}

int world_open(struct world *w)
{
	struct fs_params params = {
		.manual = 1, .cache_mib = 1, .now = now, .now_arg = w, .log = note, .log_arg = w};

	if (++w->opens % LOOK_EVERY == 0)
		look(w);
	int err = vault_open(host_with_anchor(w), &w->passphrase, 0, &w->vault);
	if (err) {
		w->vault = NULL;
		drop_anchor(w);
		return err;
	}
	err = fs_open(w->vault, &params, &w->fs);
	if (err) {
		w->fs = NULL;
		vault_close(w->vault);
		w->vault = NULL;
		drop_anchor(w);
	}
	// Not before: it may still be of another root key.
	if (!err)
		remember_anchor(w);
	return err;
}

struct fs *world_fs(const struct world *w)
{
	return w->fs;
}

// Ends the process that has the vault open, if any.
static void stop(struct world *w)
{
	if (w->fs)
		fs_abandon(w->fs);
	w->fs = NULL;
	if (w->vault)
		vault_close(w->vault);
	w->vault = NULL;
	drop_anchor(w);
}

static void before_call(void *arg, enum simcall kind)
{
	const struct world *w = arg;

	if (kind == SIM_DATASYNC && w->on_flush)
		w->on_flush(w->on_flush_arg);
	if (w->on_change && changes(kind))
		w->on_change(w->on_change_arg);
}

static void set_hook(struct world *w)
{
	simhost_on_call(w->disk, w->on_flush || w->on_change ? before_call : NULL, w);
}

static void replace_disk(struct world *w, struct simhost *disk)
{
	w->failed = world_flushes_failed(w);
	w->fail_from = UINT64_MAX; // the new one counts anew
	simhost_free(w->disk);
	w->disk = disk;
	set_hook(w);
}

void world_kill(struct world *w)
{
	stop(w);
	replace_disk(w, simhost_clone_after_kill(w->disk));
	replace_anchor_disk(w, simhost_clone_after_kill(w->anchor_disk));
}

void world_cut_kind(struct world *w, int kind)
{
	w->cut_kind = kind;
}

static void cut_disk(struct world *w)
{
	static const struct simcut cuts[WORLD_CUTS] = {
		{.what = SIMCUT_NONE},
		{.what = SIMCUT_ALL},
		{.what = SIMCUT_ONLY_FILE, .file = JOURNAL_NAME},
		{.what = SIMCUT_ALL_BUT_FILE, .file = JOURNAL_NAME},
		{.what = SIMCUT_RANDOM, .tear = JOURNAL_NAME},
		{.what = SIMCUT_RANDOM},
	};
	uint64_t kind =
		w->cut_kind >= 0 ? (uint64_t)w->cut_kind : prng_below(&w->rng, 2 * WORLD_CUTS);
	const struct simcut *cut = &cuts[kind < WORLD_CUTS ? kind : WORLD_CUTS - 1];

	trace_op("cut %d, tear %s", (int)cut->what, cut->tear ? cut->tear : "nothing");
	replace_disk(w, simhost_clone_after_cut(w->disk, prng_next(&w->rng), cut));
	cut_anchor(w);
}

void world_cut(struct world *w)
{
	// The anchor may be as new as it can be.
	if (w->fs && !simhost_is_off(w->disk) && prng_chance(&w->rng, 50))
		fs_note_anchor(w->fs);
	// What was not flushed before the power went is taken as it stood then.
	world_power_off(w);
	stop(w);
	cut_disk(w);
}

int world_close(struct world *w)
{
	int err = fs_close(w->fs);

	w->fs = NULL;
	vault_close(w->vault);
	w->vault = NULL;
	drop_anchor(w);
	// A vault that was closed needs nothing more: the power may go right then.
	if (!err && !simhost_is_off(w->disk) && prng_chance(&w->rng, 50)) {
		trace_op("power cut after the end");
		cut_disk(w);
	}
	return err;
}

int world_rotate(struct world *w, const struct rotate_params *params)
{
	uint8_t *root_key = NULL;
	int err = rotate_root_key(w->fs, &w->passphrase, &root_key);

	if (!err)
		err = rotate_begin(w->fs, root_key, params);
	secret_free(root_key);
	return err;
}

static int rekey(struct world *w, uint8_t *buf)
{
	struct vault_sealed sealed = {.buf = {buf, NULL}};
	struct vault_edit *e = NULL;
	const uint8_t *root_key;
	int in_force = 0;
	int err = rekey_header(w->fs, buf);

	if (!err)
		err = vault_header_peek(buf, VAULT_HEADER_BYTES, sealed.vault_id, sealed.infos);
	if (!err)
		err = vault_edit_open_sealed(&sealed, &w->passphrase, &e);
	if (err)
		return err;
	const struct slot_change change = {.verb = SLOT_REPLACE,
					   .index = vault_edit_slot(e),
					   .offer = &w->passphrase,
					   .kind = KEYSLOT_PASSPHRASE,
					   .kdf = sealed.infos[vault_edit_slot(e)].kdf};
	err = vault_edit_apply(e, &change, NULL);
	if (!err)
		err = vault_edit_encode(e, &root_key, buf);
	if (!err)
		err = rekey_apply(w->fs, root_key, buf, &in_force);
	vault_edit_close(e);
	return err;
}

int world_rekey(struct world *w)
{
	uint8_t *buf = malloc(VAULT_HEADER_BYTES);
	int err = buf ? rekey(w, buf) : WERR_NOMEM;

	free(buf);
	// An anchor of the root key before can be read only as long as its epoch is in the vault:
	// restored after the next rotation it would be a foreign one, which a person has to accept.
	if (w->anchor_old)
		simhost_free(w->anchor_old);
	w->anchor_old = NULL;
	return err;
}

int world_read_object(struct world *w, uint64_t number, uint8_t page[static 4096])
{
	struct host *host = w->vault->host;
	struct host_file *f = NULL;

	if (host->ops->open_object(host, number, HOST_RDONLY, &f))
		return 0;
	int err = host_pread(f, page, 4096, 0, NULL);

	host->ops->file_close(f);
	return !err;
}

void world_arm(struct world *w, uint64_t calls)
{
	trace_op("the power goes off after %lu calls", calls);
	simhost_power_off_after(w->disk, calls);
}

void world_disarm(struct world *w)
{
	if (!simhost_is_off(w->disk))
		simhost_power_off_after(w->disk, UINT64_MAX / 2);
}

int world_dark(const struct world *w)
{
	return simhost_is_off(w->disk);
}

struct visit {
	void (*fn)(void *arg, uint64_t number, const char *name);
	void *arg;
};

static int visit_name(void *arg, const char *name, uint64_t number)
{
	const struct visit *v = arg;

	v->fn(v->arg, number, name);
	return 0;
}

void world_objects(struct world *w, void (*fn)(void *arg, uint64_t number, const char *name),
		   void *arg)
{
	struct visit v = {.fn = fn, .arg = arg};
	const struct host_ops *ops = w->vault->host->ops;

	for (unsigned folder = 0; folder < HOST_FOLDERS; folder++) {
		int err = ops->list_folder(w->vault->host, folder, visit_name, &v);

		TRACE_CHECK(!err || err == WERR_NOTFOUND, "listing folder %02x: %d (%s)", folder,
			    err, werr_text(err));
	}
}

void world_fail_flush(struct world *w, uint64_t nth, uint64_t count)
{
	struct simfault fault = {
		.kind = SIM_DATASYNC, .nth = nth, .count = count, .error = WERR_IO};

	trace_op("flushes %lu to %lu fail", nth, nth + count - 1);
	w->fail_from = simhost_calls(w->disk, SIM_DATASYNC) + nth;
	simhost_fail(w->disk, &fault);
}

int world_flushes_failed(const struct world *w)
{
	return w->failed || simhost_calls(w->disk, SIM_DATASYNC) >= w->fail_from;
}

void world_on_flush(struct world *w, void (*fn)(void *arg), void *arg)
{
	w->on_flush = fn;
	w->on_flush_arg = arg;
	set_hook(w);
}

void world_on_change(struct world *w, void (*fn)(void *arg), void *arg)
{
	w->on_change = fn;
	w->on_change_arg = arg;
	set_hook(w);
}

void world_power_off(struct world *w)
{
	if (!simhost_is_off(w->disk))
		simhost_power_off_after(w->disk, 0);
}

struct simhost *world_cut_copy(struct world *w, uint64_t seed, const struct simcut *cut)
{
	world_power_off(w);
	stop(w);
	return simhost_clone_after_cut(w->disk, seed, cut);
}

void world_take(struct world *w, struct simhost *disk)
{
	replace_disk(w, disk);
	// As new as it can be, or as the power cut has left it too.
	if (prng_chance(&w->rng, 50))
		cut_anchor(w);
	else
		replace_anchor_disk(w, simhost_clone_after_kill(w->anchor_disk));
}
