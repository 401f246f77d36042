// SPDX-License-Identifier: Apache-2.0
// Freeze and Thaw: a point at which the vault directory can be copied or snapshotted.
#include "daemon/worker_control.h"

#define TIMEOUT_S_DEFAULT 60
#define TIMEOUT_S_MAX 3600

static void thawed(void *arg)
{
	struct worker_control *w = arg;

	fuse_server_open_gate(worker_control_fuse(w));
	worker_control_event(w, "thawed");
}

static int freeze(struct worker_control *w, struct fs *fs, unsigned timeout_ms)
{
	int err = fuse_server_close_gate(worker_control_fuse(w));

	if (err)
		return err;
	err = fs_freeze(fs, timeout_ms, thawed, w);
	if (err)
		fuse_server_open_gate(worker_control_fuse(w));
	return err;
}

int worker_freeze(void *arg, struct control_call *c)
{
	struct worker_control *w = arg;
	const json_t *given = json_object_get(control_params(c), "timeout_s");
	json_int_t timeout_s = TIMEOUT_S_DEFAULT;

	if (json_is_integer(given))
		timeout_s = json_integer_value(given);
	if ((given && !json_is_integer(given) && !json_is_null(given)) || timeout_s < 1 ||
	    timeout_s > TIMEOUT_S_MAX)
		return control_invalid(c, "timeout_s");
	struct fs *fs = worker_control_fs(w);
	if (!fs)
		return WERR_LOCKED;
	int err = fs_frozen(fs) ? WERR_BUSY : freeze(w, fs, (unsigned)timeout_s * 1000);
	worker_control_done(w);
	if (err)
		return err;
	worker_control_event(w, "frozen");
	return control_result(c, json_pack("{sI}", "timeout_s", timeout_s));
}

int worker_thaw(void *arg, struct control_call *c)
{
	struct worker_control *w = arg;
	struct fs *fs = worker_control_fs(w);

	if (!fs)
		return WERR_LOCKED;
	int err = fs_thaw(fs);
	worker_control_done(w);
	return control_result(c, json_pack("{sb}", "was_frozen", err == 0));
}
