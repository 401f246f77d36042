// SPDX-License-Identifier: Apache-2.0
// Rotate, RotateStatus, RotatePause: rotation of a mounted vault. wardfs-rotate(1).
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "crypto/offer.h"
#include "daemon/rotation_json.h"
#include "daemon/worker_control.h"
#include "fusefs/rekey.h"
#include "fusefs/rotate.h"
#include "fusefs/vault.h"

#define OFFER_WAIT_MS 30000

// What opens the vault, to its end, from the descriptor that came with the call.
static int read_offer(struct control_call *c, int fd, struct secret *ret)
{
	SECRET_AUTO uint8_t *buf = secret_alloc(OFFER_BYTES_MAX);
	size_t len = 0;

	if (!buf)
		return WERR_NOMEM;
	while (len < OFFER_BYTES_MAX) {
		int err = control_wait_ms(c, fd, OFFER_WAIT_MS);

		if (err)
			return err;
		ssize_t n = read(fd, buf + len, OFFER_BYTES_MAX - len);
		if (n < 0)
			return WERR_IO;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	return secret_copy(ret, buf, len);
}

// Out of a copy of the header: what waits for a client, or derives a key, must not hold the engine,
// for whose end a lock waits.
static int take_root_key(struct worker_control *w, struct control_call *c, int fd, uint8_t **ret)
{
	SECRET_STRUCT_AUTO struct secret offer = {0};
	uint8_t *buf = malloc(VAULT_HEADER_BYTES);
	int err = buf ? read_offer(c, fd, &offer) : WERR_NOMEM;

	if (!err) {
		struct fs *fs = worker_control_fs(w);

		err = fs ? rekey_header(fs, buf) : WERR_LOCKED;
		if (fs)
			worker_control_done(w);
	}
	if (!err)
		err = vault_root_key(buf, &offer, ret);
	free(buf);
	// Only the end of the engine interrupts it, or of the client, which hears nothing then.
	return err == WERR_INTERRUPTED ? WERR_LOCKED : err;
}

// Or nothing.
static bool is_rate(const json_t *rate)
{
	if (!rate || json_is_null(rate))
		return true;
	return json_is_integer(rate) && json_integer_value(rate) >= 0 &&
	       vault_rate_valid((uint64_t)json_integer_value(rate));
}

int worker_rotate(void *arg, struct control_call *c)
{
	struct worker_control *w = arg;
	const json_t *rate = json_object_get(control_params(c), "max_rate");
	const char *level = control_string(c, "level");
	struct rotate_params params = {
		.level = VAULT_ROTATION_KEYS,
		.path = control_string(c, "path"),
		.now_s = (uint64_t)time(NULL),
	};

	if (level && !strcmp(level, "contents"))
		params.level = VAULT_ROTATION_CONTENTS;
	else if (level && strcmp(level, "keys") != 0)
		return control_invalid(c, "level");
	if (!is_rate(rate))
		return control_invalid(c, "max_rate");
	if (json_is_integer(rate))
		params.max_rate = (uint64_t)json_integer_value(rate);
	SECRET_AUTO uint8_t *root_key = NULL;
	int fd = control_fd(c), err = 0;
	const int again = fd < 0;
	if (!again) {
		err = take_root_key(w, c, fd, &root_key);
		close(fd);
	}
	struct fs *fs = err ? NULL : worker_control_fs(w);
	if (!fs)
		return err ? err : WERR_LOCKED;
	err = again ? rotate_again(fs) : rotate_begin(fs, root_key, &params);
	json_t *state = err ? NULL : rotation_json(fs);
	worker_control_done(w);
	if (err)
		return err;
	worker_control_event(w, "rotation");
	return control_result(c, json_pack("{so}", "rotation", state));
}

int worker_rotate_status(void *arg, struct control_call *c)
{
	struct worker_control *w = arg;
	struct fs *fs = worker_control_fs(w);

	if (!fs)
		return WERR_LOCKED;
	json_t *state = rotation_json(fs);
	worker_control_done(w);
	return control_result(c, json_pack("{so}", "rotation", state));
}

int worker_rotate_pause(void *arg, struct control_call *c)
{
	struct worker_control *w = arg;
	const json_t *pause = json_object_get(control_params(c), "pause");
	const json_t *rate = json_object_get(control_params(c), "max_rate");
	struct rotate_status st;

	if (pause && !json_is_boolean(pause) && !json_is_null(pause))
		return control_invalid(c, "pause");
	if (!is_rate(rate))
		return control_invalid(c, "max_rate");
	struct fs *fs = worker_control_fs(w);
	if (!fs)
		return WERR_LOCKED;
	rotate_get_status(fs, &st);
	int err = st.state == ROTATE_IDLE || st.state == ROTATE_ENDED ? WERR_NOTFOUND : 0;
	if (!err && json_is_boolean(pause))
		rotate_pause(fs, json_is_true(pause));
	if (!err && json_is_integer(rate))
		rotate_set_rate(fs, (uint64_t)json_integer_value(rate));
	json_t *state = err ? NULL : rotation_json(fs);
	worker_control_done(w);
	return err ? err : control_result(c, json_pack("{so}", "rotation", state));
}
