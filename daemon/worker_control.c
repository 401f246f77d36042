// SPDX-License-Identifier: Apache-2.0
#include "daemon/worker_control.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/gcm.h"
#include "daemon/kdf_child.h"
#include "daemon/rotation_json.h"

struct worker_control {
	struct worker_about about;
	struct control_server *server;

	pthread_mutex_t lock; // guards what follows
	pthread_cond_t changed;
	unsigned users; // handlers that use the engine
	int closing;
};

// ---- the engine, for handlers ----

struct fs *worker_control_fs(struct worker_control *w)
{
	pthread_mutex_lock(&w->lock);
	struct fs *fs = w->closing ? NULL : w->about.fs;
	if (fs)
		w->users++;
	pthread_mutex_unlock(&w->lock);
	return fs;
}

void worker_control_done(struct worker_control *w)
{
	pthread_mutex_lock(&w->lock);
	if (--w->users == 0)
		pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

void worker_control_event(struct worker_control *w, const char *name)
{
	w->about.event(w->about.arg, name);
}

void worker_control_adopt(struct worker_control *w, int fd)
{
	(void)!control_adopt(w->server, fd);
}

struct fuse_server *worker_control_fuse(struct worker_control *w)
{
	return w->about.server;
}

// ---- state ----

// What this machine's record of the vault says.
static void add_anchor(json_t *j, const struct fs_status *st)
{
	json_object_set_new(j, "anchor",
			    json_string(st->anchor > 0    ? "kept"
					: st->anchor == 0 ? "none"
							  : werr_text(st->anchor)));
	if (!st->closed_s)
		return;
	json_object_set_new(j, "last_closed_s", json_integer((json_int_t)st->closed_s));
	json_object_set_new(j, "last_closed_mount", json_integer(st->closed_mount));
	json_object_set_new(j, "last_closed_by", json_string(st->closed_machine));
}

// Who can open the vault: lets others compare the files with what is in force.
static void add_keyslots(json_t *j, const struct fs_status *st)
{
	char hex[2 * sizeof(st->slots_digest) + 1];

	for (size_t i = 0; i < sizeof(st->slots_digest); i++)
		snprintf(hex + 2 * i, 3, "%02x", st->slots_digest[i]);
	json_object_set_new(j, "keyslots", json_string(hex));
}

// What was refused, by kind.
static void add_findings(json_t *j, const struct fs_status *st)
{
	json_t *kinds = json_object();

	for (unsigned i = 0; i < FINDING_KINDS; i++)
		json_object_set_new(kinds, findings_word(i),
				    json_integer((json_int_t)st->findings[i]));
	json_object_set_new(j, "findings", kinds);
}

static json_t *counters(struct fs *fs)
{
	struct fs_status st;

	fs_get_status(fs, &st);
	json_t *j = json_pack("{sI sI sI sI sI sI sI sI sI sI sI sb ss}", "mount_number",
			      (json_int_t)st.mount, "checkpoints", (json_int_t)st.checkpoints,
			      "generation", (json_int_t)st.generation, "journal_used_bytes",
			      (json_int_t)st.journal_used, "journal_capacity_bytes",
			      (json_int_t)st.journal_capacity, "nodes", (json_int_t)st.nodes,
			      "overlay_bytes", (json_int_t)st.overlay_bytes, "metadata_bytes",
			      (json_int_t)st.metadata_bytes, "refusals", (json_int_t)st.refusals,
			      "fsyncs", (json_int_t)st.fsyncs, "commits", (json_int_t)st.commits,
			      "readonly", st.readonly, "readonly_reason", st.readonly_reason);
	if (j) {
		add_findings(j, &st);
		add_anchor(j, &st);
		add_keyslots(j, &st);
	}
	return j;
}

// What the broker adds to its own part of a Mount.
static int status_method(void *arg, struct control_call *c)
{
	struct worker_control *w = arg;
	struct fs *fs = worker_control_fs(w);

	if (!fs)
		return WERR_LOCKED;
	json_t *j = counters(fs);
	json_object_set_new(j, "rotation", rotation_json(fs));
	json_object_set_new(j, "frozen", json_boolean(fs_frozen(fs)));
	json_object_set_new(j, "aes_backend", json_string(gcm_backend()));
	worker_control_done(w);
	return control_result(c, json_pack("{s[o]}", "mounts", j));
}

// ---- methods ----

static int checkpoint_method(void *arg, struct control_call *c)
{
	struct worker_control *w = arg;
	struct fs *fs = worker_control_fs(w);

	if (!fs)
		return WERR_LOCKED;
	int err = fs_checkpoint(fs);
	worker_control_done(w);
	return err ? err : control_result(c, NULL);
}

static int stop_method(void *arg, struct control_call *c)
{
	struct worker_control *w = arg;

	w->about.stop(w->about.arg);
	return control_result(c, NULL);
}

static const struct control_method worker_methods[] = {
	{"Status", status_method, 0},
	{"Checkpoint", checkpoint_method, 0},
	{"Stop", stop_method, 0},
	{"Freeze", worker_freeze, 0},
	{"Thaw", worker_thaw, 0},
	{"Rotate", worker_rotate, CONTROL_FD},
	{"RotateStatus", worker_rotate_status, 0},
	{"RotatePause", worker_rotate_pause, 0},
	{"Check", worker_check, CONTROL_MORE},
	{"Header", worker_header, 0},
	{"ChangeKeyslots", worker_change_keyslots, CONTROL_FD},
};

// ---- life ----

int worker_control_start(const struct worker_about *about, struct worker_control **ret)
{
	struct worker_control *w = calloc(1, sizeof(*w));

	if (!w)
		return WERR_NOMEM;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->changed, NULL);
	w->about = *about;
	const struct control_params params = {
		.methods = worker_methods,
		.methods_len = sizeof(worker_methods) / sizeof(worker_methods[0]),
		.arg = w,
	};
	kdf_child_refuse(0);
	int err = control_new(&params, &w->server);
	if (err)
		worker_control_finish(w);
	else
		*ret = w;
	return err;
}

void worker_control_closing(struct worker_control *w)
{
	if (!w)
		return;
	control_quiesce(w->server);
	// Nobody waits for a key that is not needed any more.
	kdf_child_refuse(1);
	pthread_mutex_lock(&w->lock);
	w->closing = 1;
	while (w->users)
		pthread_cond_wait(&w->changed, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

void worker_control_finish(struct worker_control *w)
{
	if (!w)
		return;
	control_free(w->server);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->changed);
	free(w);
}
