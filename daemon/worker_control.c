// SPDX-License-Identifier: Apache-2.0
#include "daemon/worker_control.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "crypto/gcm.h"
#include "daemon/rundir.h"
#include "daemon/varlink.h"

struct worker_control {
	char *vault, *mountpoint, *device;
	struct worker_about about; // its strings are the ones above
	time_t since;
	struct control_server *server;

	pthread_mutex_t lock; // guards what follows
	pthread_cond_t changed;
	unsigned users; // handlers that use the engine
	int closing, ended, code;
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

struct control_server *worker_control_server(struct worker_control *w)
{
	return w->server;
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
	if (j)
		add_anchor(j, &st);
	return j;
}

static json_t *describe(struct worker_control *w)
{
	struct fs *fs = worker_control_fs(w);
	json_t *j = json_pack("{so so ss ss sI sI sI sb ss}", "vault", varlink_path(w->vault),
			      "mountpoint", varlink_path(w->mountpoint), "device", w->device,
			      "state", fs ? "mounted" : "closing", "since", (json_int_t)w->since,
			      "pid", (json_int_t)getpid(), "user_id", (json_int_t)geteuid(),
			      "mounted_readonly", w->about.readonly, "aes_backend", gcm_backend());

	if (fs) {
		json_t *more = counters(fs);

		json_object_update(j, more);
		json_object_set_new(j, "frozen", json_boolean(fs_frozen(fs)));
		json_decref(more);
		worker_control_done(w);
	}
	return j;
}

// ---- methods ----

static int status_method(void *arg, struct control_call *c)
{
	return control_result(c, json_pack("{s[o]}", "mounts", describe(arg)));
}

static int watch_method(void *arg, struct control_call *c)
{
	if (control_progress(c, json_pack("{so}", "mount", describe(arg))))
		return control_result(c, NULL);
	return control_watch(c);
}

static int wait_method(void *arg, struct control_call *c)
{
	struct worker_control *w = arg;

	// From here on the end is not missed.
	if (control_progress(c, NULL))
		return control_result(c, NULL);
	pthread_mutex_lock(&w->lock);
	while (!w->ended)
		pthread_cond_wait(&w->changed, &w->lock);
	int code = w->code;
	pthread_mutex_unlock(&w->lock);
	return control_result(c, json_pack("{si}", "code", code));
}

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
	{"Watch", watch_method, CONTROL_MORE},
	{"Wait", wait_method, CONTROL_MORE},
	{"Checkpoint", checkpoint_method, 0},
	{"Stop", stop_method, 0},
	{"Freeze", worker_freeze, 0},
	{"Thaw", worker_thaw, 0},
};

// ---- life ----

static void release(struct worker_control *w)
{
	free(w->vault);
	free(w->mountpoint);
	free(w->device);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->changed);
	free(w);
}

static int listen_here(struct worker_control *w)
{
	char dir[PATH_MAX], path[PATH_MAX + 32];
	int err = rundir_own(dir);

	if (err)
		return err;
	snprintf(path, sizeof(path), "%s/%d", dir, (int)getpid());
	return control_listen(w->server, path);
}

int worker_control_start(const struct worker_about *about, struct worker_control **ret)
{
	struct worker_control *w = calloc(1, sizeof(*w));

	if (!w)
		return WERR_NOMEM;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->changed, NULL);
	w->about = *about;
	w->since = time(NULL);
	w->vault = strdup(about->vault);
	w->mountpoint = strdup(about->mountpoint);
	w->device = strdup(about->device);
	const struct control_params params = {
		.methods = worker_methods,
		.methods_len = sizeof(worker_methods) / sizeof(worker_methods[0]),
		.arg = w,
	};
	int err = w->vault && w->mountpoint && w->device ? control_new(&params, &w->server)
							 : WERR_NOMEM;
	if (!err)
		err = listen_here(w);
	if (err) {
		control_free(w->server, 0);
		release(w);
		return err;
	}
	*ret = w;
	return 0;
}

void worker_control_closing(struct worker_control *w)
{
	if (!w)
		return;
	control_event(w->server, json_pack("{ss}", "event", "closing"));
	control_quiesce(w->server);
	pthread_mutex_lock(&w->lock);
	w->closing = 1;
	while (w->users)
		pthread_cond_wait(&w->changed, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

void worker_control_finish(struct worker_control *w, int code)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->ended = 1;
	w->code = code;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
	// The end of the process closes the connections, which is what the other side waits for.
	control_free(w->server, 1);
	release(w);
}
